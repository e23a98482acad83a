// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From the shapes of arguments to the values of size symbols. Each axis of a param is an equation:
// its size, an expression in symbols, is the dimension that the argument has.
#pragma once
#include "ir/ix.h"

typedef struct size_symbol {
  str name;
  int64_t value;  // -1: unknown
  int param;      // that gave the value; -1: none
} size_symbol;

typedef struct size_equation {
  ix size;
  int64_t value;
  int param;
} size_equation;

typedef struct size_system {
  const ix_pool *from;  // of the sizes
  ix_pool pool;         // for sizes that are partly known
  size_symbol *symbols;
  int nsymbols;
  vec(size_equation) equations;
} size_system;

/// All symbols unknown, no equations. What it needs is taken from the arena.
size_system size_system_new(arena *a, const ix_pool *from, const str *symbols, int nsymbols);
void size_system_add(size_system *s, ix size, int64_t value, int param);
/// What is linear in one unknown symbol is solved, again and again, until nothing is left to solve.
/// Equations that contradict one another are left to whoever checks them, with size_system_bind().
void size_system_solve(size_system *s);

/// The size with the known symbols replaced, in s->pool.
ix size_system_bind(size_system *s, ix size);
/// Null: no such symbol.
size_symbol *size_system_find(const size_system *s, str name);
