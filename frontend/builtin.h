// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the language has built in, by name; lower_call.c gives the meaning.
#pragma once
#include "frontend/ast.h"
#include "ir/op.h"

typedef enum builtin_kind {
  BUILTIN_UNARY,   // op of one value
  BUILTIN_BINARY,  // op of two values
  BUILTIN_MINMAX,  // op of two values, or the reduction op2 over axes
  BUILTIN_FMA,
  BUILTIN_CLAMP,
  BUILTIN_WHERE,
  BUILTIN_GRAD,
  BUILTIN_STOP,
  BUILTIN_KEEP,
  BUILTIN_REDUCE,  // op over one or more axes
  BUILTIN_ARG,     // op over one or more axes
  BUILTIN_SCAN,
  BUILTIN_AFFINE_SCAN,  // of two values
  BUILTIN_DOT,
  BUILTIN_INDEX,
  BUILTIN_LINEAR_INDEX,
  BUILTIN_RANDOM_BITS,
  BUILTIN_BROADCAST,
  BUILTIN_CONCAT,
  BUILTIN_PAD,
  BUILTIN_SCATTER_ADD,
  BUILTIN_LATER,  // in the language, not in this version
} builtin_kind;

typedef struct builtin {
  const char *name;
  builtin_kind kind;
  op op, op2;
  int least, most;    // number of arguments; most -1: any
  const char *usage;  // for messages
} builtin;

const builtin *builtin_find(str name);
const builtin *builtin_table(int *count);
