// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Hash map from byte strings to void* (XXH3), in an arena; iteration is in insertion order.
#pragma once
#include "base/str.h"

typedef struct map_entry {
  str key;
  void *value;
} map_entry;

typedef struct map {
  map_entry *entries;  // in insertion order
  int len, cap;
  int *slots;  // open addressing: entry index + 1, or 0
  int nslots;
} map;

/// The value, or null. Keys are copied on insertion.
void *map_get(const map *m, str key);
/// Inserts or replaces; a null value counts as absent.
void map_put(arena *a, map *m, str key, void *value);
/// Key from the bytes of an object without padding.
#define MAP_KEY(object) ((str){(const char *)&(object), (int)sizeof(object)})
