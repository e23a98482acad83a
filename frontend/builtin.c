// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "frontend/builtin.h"

#define UNARY(name) {#name, BUILTIN_UNARY, OP_##name, 0, 1, 1, #name "(x)"}
#define BINARY(name, op) {#name, BUILTIN_BINARY, OP_##op, 0, 2, 2, #name "(a, b)"}
#define MINMAX(name)                                       \
  {#name, BUILTIN_MINMAX, OP_##name, OP_reduce_##name, 2, -1, \
   #name "(a, b) or " #name "(x, AXIS...)"}
#define REDUCE(name) {#name, BUILTIN_REDUCE, OP_##name, 0, 2, -1, #name "(x, AXIS...)"}
#define SCAN(name) \
  {#name, BUILTIN_SCAN, OP_##name, 0, 2, 4, #name "(x, AXIS[, reverse = true][, exclusive = true])"}
#define LATER(name, usage) {#name, BUILTIN_LATER, 0, 0, 0, -1, usage}

static const builtin builtins[] = {
    UNARY(exp),
    UNARY(exp2),
    UNARY(expm1),
    UNARY(log),
    UNARY(log2),
    UNARY(log10),
    UNARY(log1p),
    UNARY(sqrt),
    UNARY(rsqrt),
    UNARY(sin),
    UNARY(cos),
    UNARY(tan),
    UNARY(asin),
    UNARY(acos),
    UNARY(atan),
    UNARY(sinh),
    UNARY(cosh),
    UNARY(tanh),
    UNARY(erf),
    UNARY(erfc),
    UNARY(sigmoid),
    UNARY(floor),
    UNARY(ceil),
    UNARY(round),
    UNARY(trunc),
    UNARY(abs),
    UNARY(sign),
    UNARY(is_nan),
    UNARY(is_inf),
    {"bit_not", BUILTIN_UNARY, OP_not, 0, 1, 1, "bit_not(x)"},
    BINARY(pow, pow),
    BINARY(atan2, atan2),
    BINARY(bit_and, and),
    BINARY(bit_or, or),
    BINARY(bit_xor, xor),
    BINARY(shift_left, shl),
    BINARY(shift_right, shr),
    MINMAX(min),
    MINMAX(max),
    {"fma", BUILTIN_FMA, OP_fma, 0, 3, 3, "fma(a, b, c)"},
    {"clamp", BUILTIN_CLAMP, OP_min, OP_max, 3, 3, "clamp(x, low, high)"},
    {"where", BUILTIN_WHERE, OP_where, 0, 3, 3, "where(condition, a, b)"},
    REDUCE(sum),
    REDUCE(prod),
    REDUCE(any),
    REDUCE(all),
    {"argmin", BUILTIN_ARG, OP_argmin, 0, 2, -1, "argmin(x, AXIS...)"},
    {"argmax", BUILTIN_ARG, OP_argmax, 0, 2, -1, "argmax(x, AXIS...)"},
    SCAN(cumsum),
    SCAN(cumprod),
    SCAN(cummax),
    SCAN(cummin),
    {"affine_scan", BUILTIN_AFFINE_SCAN, OP_affine_scan, 0, 3, 5,
     "affine_scan(a, b, AXIS[, reverse = true][, exclusive = true])"},
    {"dot", BUILTIN_DOT, OP_dot, 0, 2, -1, "dot(a, b, AXIS...)"},
    {"index", BUILTIN_INDEX, OP_index, 0, 1, 1, "index(AXIS) or index(AXIS = size)"},
    {"linear_index", BUILTIN_LINEAR_INDEX, OP_index, 0, 1, -1, "linear_index(AXIS...)"},
    {"random_bits", BUILTIN_RANDOM_BITS, OP_random_bits, 0, 2, 2, "random_bits(key, counter)"},
    {"broadcast", BUILTIN_BROADCAST, OP_view, 0, 2, -1,
     "broadcast(x, AXIS...) or broadcast(x, AXIS = size)"},
    {"concat", BUILTIN_CONCAT, OP_pad, 0, 3, -1, "concat(a, b, (P, Q) -> D)"},
    {"pad", BUILTIN_PAD, OP_pad, 0, 5, 5, "pad(x, D -> E, before, after, value)"},
    {"scatter_add", BUILTIN_SCATTER_ADD, OP_scatter_add, 0, 3, 3,
     "scatter_add(x, AXIS = indices, updates)"},
    {"grad", BUILTIN_GRAD, OP_none, 0, 2, -1, "grad(y, x...[, seed = dy][, exact = true])"},
    {"stop", BUILTIN_STOP, OP_view, 0, 1, 1, "stop(x)"},
    {"keep", BUILTIN_KEEP, OP_view, 0, 1, 1, "keep(x)"},
    LATER(sort, "sort(x, AXIS)"),
    LATER(topk, "topk(x, AXIS -> K)"),
};

const builtin *builtin_table(int *count) {
  *count = (int)(sizeof builtins / sizeof *builtins);
  return builtins;
}

const builtin *builtin_find(str name) {
  for (size_t i = 0; i < sizeof builtins / sizeof *builtins; i++)
    if (str_eqz(name, builtins[i].name)) return &builtins[i];
  return NULL;
}
