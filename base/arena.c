// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "base/arena.h"

#include <stdint.h>
#include <stdlib.h>

#include "base/fault.h"

struct arena_block {
  arena_block *previous;
  size_t size;
  _Alignas(16) char data[];
};

enum { FIRST_BLOCK = 4 << 10, LARGEST_BLOCK = 1 << 20 };

static size_t round_up(size_t size) { return (size + 15) & ~(size_t)15; }

static void add_block(arena *a, size_t need) {
  size_t size = a->block ? a->block->size * 2 : FIRST_BLOCK;
  if (size > LARGEST_BLOCK) size = LARGEST_BLOCK;
  if (size < need) size = need;
  arena_block *block = malloc(sizeof *block + size);
  if (!block)
    fault_raise(FAULT_NOMEM, "out of memory (%zu bytes for %s)", size,
                a->user ? a->user : "the compiler");
  block->previous = a->block;
  block->size = size;
  a->block = block;
  a->at = block->data;
  a->end = block->data + size;
}

void *arena_alloc(arena *a, size_t size) {
  if (size > PTRDIFF_MAX / 2) fault_raise(FAULT_NOMEM, "out of memory (%zu bytes)", size);
  size = round_up(size ? size : 1);
  if (a->limit && a->used + size > a->limit)
    fault_raise(FAULT_NOMEM, "out of memory (limit of %zu bytes)", a->limit);
  if (!a->at || (size_t)(a->end - a->at) < size) add_block(a, size);
  void *p = a->at;
  a->at += size;
  a->used += size;
  return memset(p, 0, size);
}

void *arena_copy(arena *a, const void *data, size_t size) {
  void *p = arena_alloc(a, size);
  return size ? memcpy(p, data, size) : p;
}

void *arena_grow(arena *a, void *data, size_t old_size, size_t new_size) {
  size_t old = round_up(old_size ? old_size : 1), more = round_up(new_size) - old;
  bool last = data && (char *)data + old == a->at;
  if (last && (size_t)(a->end - a->at) >= more && !(a->limit && a->used + more > a->limit)) {
    memset(a->at, 0, more);
    a->at += more;
    a->used += more;
    return data;
  }
  void *p = arena_alloc(a, new_size);
  if (data) memcpy(p, data, old_size);
  return p;
}

void arena_free(arena *a) {
  for (arena_block *b = a->block; b;) {
    arena_block *previous = b->previous;
    free(b);
    b = previous;
  }
  *a = (arena){.limit = a->limit, .user = a->user};
}
