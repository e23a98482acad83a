// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Places in one block of memory for values that live for a while.
#pragma once
#include <stdint.h>

enum { ARENA_ALIGNMENT = 64 };  // bytes: of places and, rounded up, of sizes

typedef struct arena_item {
  int first, last;  // steps in which it lives, both included; first > last: it never does
  int64_t bytes;
  int64_t offset;  // filled
} arena_item;

/// Gives each item a place where no other lives in the same steps. What the block must hold, never
/// below arena_live() and equal to it where little is in the way. All bytes together, rounded up, must
/// not overflow. Deterministic; takes up to some 10 ms for 1000 items, 100 ms for 10,000.
int64_t arena_place(arena_item *items, int n);

/// The most bytes that live in one step: no placing takes less.
int64_t arena_live(const arena_item *items, int n);
