// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "base/map.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static int find(const map *m, str key) {
  if (!m->nslots) return -1;
  unsigned mask = (unsigned)m->nslots - 1;
  for (unsigned i = (unsigned)XXH3_64bits(key.ptr, (size_t)key.len) & mask;; i = (i + 1) & mask) {
    int slot = m->slots[i];
    if (!slot) return -1;
    if (str_eq(m->entries[slot - 1].key, key)) return slot - 1;
  }
}

static void place(map *m, int entry) {
  str key = m->entries[entry].key;
  unsigned mask = (unsigned)m->nslots - 1;
  unsigned i = (unsigned)XXH3_64bits(key.ptr, (size_t)key.len) & mask;
  while (m->slots[i]) i = (i + 1) & mask;
  m->slots[i] = entry + 1;
}

void *map_get(const map *m, str key) {
  int i = find(m, key);
  return i < 0 ? NULL : m->entries[i].value;
}

void map_put(arena *a, map *m, str key, void *value) {
  int i = find(m, key);
  if (i >= 0) {
    m->entries[i].value = value;
    return;
  }
  if (m->len == m->cap) {
    int cap = m->cap ? m->cap * 2 : 8;
    // Both before anything is changed: a map that outlives a fault stays whole.
    map_entry *entries = arena_grow(a, m->entries, sizeof(map_entry) * (size_t)m->cap,
                                    sizeof(map_entry) * (size_t)cap);
    int *slots = arena_array(a, int, cap * 2);
    m->entries = entries;
    m->slots = slots;
    m->cap = cap;
    m->nslots = cap * 2;
    for (int e = 0; e < m->len; e++) place(m, e);
  }
  key = str_dup(a, key);
  m->entries[m->len++] = (map_entry){key, value};
  place(m, m->len - 1);
}
