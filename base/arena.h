// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bump allocator. Everything the compiler builds lives in an arena and is freed with it at once.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct arena_block arena_block;
typedef struct arena {
  arena_block *block;
  char *at, *end;
  size_t used;   // bytes handed out
  size_t limit;  // 0: none; more than this raises FAULT_NOMEM (tests inject failures with it)
  const char *user;  // who wants the memory, for messages; null: "the compiler"
} arena;

/// Zeroed memory, 16-byte aligned; raises FAULT_NOMEM when exhausted, never returns null.
void *arena_alloc(arena *a, size_t size);
void *arena_copy(arena *a, const void *data, size_t size);
/// Grows the last allocation in place when it can, else copies.
void *arena_grow(arena *a, void *data, size_t old_size, size_t new_size);
/// Frees everything; the arena is empty and usable again.
void arena_free(arena *a);

#define arena_new(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc((a), sizeof(T) * (size_t)(n)))
