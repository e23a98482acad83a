// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compiles one map op into a loop over arrays, for any x86 feature level this machine has: what the
// tests of codegen/math and the benchmark of it run.
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "ir/op.h"

typedef struct math_target {
  const char *name, *cpu, *features;
  bool avx512, halves, avx2, f16c;  // halves: instructions for f16 and bf16
  int vector_bytes;
} math_target;

/// The levels this machine runs, best first; *count of them.
const math_target *math_targets(int *count);

typedef void math_loop(void *out, const void *a, const void *b, const void *c, int64_t n);

typedef struct math_jit math_jit;
math_jit *math_jit_new(void);
void math_jit_free(math_jit *j);

/// out[i] = op(a[i], b[i], c[i]) for i < n, n a multiple of lanes (0: scalar code). All operands of
/// type t, but the condition of `where`, a bool. Aborts with a message when the code needs a symbol
/// that is not in it. Valid until math_jit_free.
math_loop *math_jit_loop(math_jit *j, const math_target *target, op o, dtype t, dtype result,
                         int lanes);

/// PTX of the same op on scalars, malloc'd.
char *math_ptx(op o, dtype t, dtype result);
