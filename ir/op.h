// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Op table expanded from ops.def, and what passes may ask about an op.
#pragma once
#include "ir/dtype.h"

typedef enum op {
#define OP(name, ...) OP_##name,
#include "ir/ops.def"
#undef OP
  OP_COUNT,
  OP_none = OP_COUNT
} op;

typedef enum op_class {
  CLASS_leaf, CLASS_map, CLASS_reduce, CLASS_contraction, CLASS_scan,
  CLASS_view, CLASS_gather, CLASS_scatter, CLASS_opaque
} op_class;

typedef enum op_types {
  TYPES_PARAM, TYPES_CONST, TYPES_INDEX, TYPES_SAME, TYPES_NUM, TYPES_FLOAT, TYPES_INT,
  TYPES_BOOL, TYPES_BITS, TYPES_CMP, TYPES_FCLASS, TYPES_WHERE, TYPES_CAST, TYPES_BITCAST,
  TYPES_RANDOM, TYPES_ARG, TYPES_DOT, TYPES_PAD, TYPES_GATHER, TYPES_SCATTER, TYPES_CALL
} op_types;

typedef enum op_identity_kind {
  IDENTITY_none, IDENTITY_zero, IDENTITY_one, IDENTITY_ones, IDENTITY_least, IDENTITY_most
} op_identity_kind;

/// How errors grow: e of a result by those of its operands, relative to the largest magnitude; u is
/// the unit roundoff of its type, L the number of elements that are combined (api/estimate.c). The
/// second column is the text of docs/numerics.md.
#define OP_ERRORS(X)                            \
  X(exact, "largest e")                         \
  X(once, "largest e + u")                      \
  X(step, "largest e + 4 u")                    \
  X(times, "sum of e + 4 u")                    \
  X(grow, "2 largest e + 4 u")                  \
  X(sum, "largest e + (2 sqrt(L) + 8) u")       \
  X(products, "sum of e + (2 sqrt(L) + 8) u")   \
  X(prod, "L e + (2 sqrt(L) + 8) u")            \
  X(affine, "L e of a + e of b + (2 sqrt(L) + 8) u")

typedef enum op_error {
#define X(name, text) ERROR_##name,
  OP_ERRORS(X)
#undef X
  ERROR_COUNT
} op_error;

/// What may be taken out of a reduction: see passes/rewrite/factor.c.
typedef enum op_algebra {
  ALGEBRA_none, ALGEBRA_sum, ALGEBRA_difference, ALGEBRA_negate, ALGEBRA_product, ALGEBRA_quotient,
  ALGEBRA_fma, ALGEBRA_exponential, ALGEBRA_select, ALGEBRA_rounding, ALGEBRA_linear, ALGEBRA_rising
} op_algebra;

typedef struct op_info {
  const char *name;
  int arity;  // -1: any
  op_class class;
  op_types types;
  int cost;
  bool commutes;
  op_identity_kind identity;  // of a map op that is a monoid
  op combine;                 // reductions, scans...: the monoid that they combine with
  bool splits;                // a reduction of reductions of parts is the same
  op_error error;
  op_algebra algebra;
} op_info;

const op_info *op_get(op o);
const char *op_class_name(op_class c);
bool op_parse(str name, op *out);
bool op_is_map(op o);
bool op_is_reduce(op o);
/// argmin, argmax: their results are places, not values.
bool op_is_arg(op o);
bool op_combines(op o);  // reductions, contractions, running combines
/// A small change of an operand may change the result by much.
bool op_jumps(op o);
/// A map op that has an identity: what accumulators and reductions of tiles may combine with.
bool op_is_monoid(op o);

/// Checks operand types and gives the result type; cast and bitcast take `wanted`.
/// On failure returns false and a text such as "add needs two equal number types, not f32, i32".
bool op_result_type(op o, const dtype *in, int nin, dtype wanted, dtype *out, str *why, arena *a);

/// The scalar meaning of a map op on values of type `t` (the operands' type; where: of b).
/// f32 results are rounded to f32 (scalar_cast to the result type is applied).
scalar op_eval(op o, dtype operand, dtype result, const scalar *in);
/// Reductions and scans: the identity element and the combine step.
/// The map op they combine with: sum, cumsum, dot: add; reduce_max, argmax, cummax: max; any: or...
/// A map op stands for itself, so add, mul, min, max, and, or can be given below too.
op op_combiner(op o);
/// What nothing combines to.
scalar op_identity(op o, dtype t);
/// What changes no value it is combined with, for lanes that take no part: as the identity, but
/// -0 for float sums, since 0 + -0 is 0.
scalar op_neutral(op o, dtype t);
scalar op_combine(op o, dtype t, scalar acc, scalar v);

/// A running combine inside one op, wider than its type so that it is rounded once: floats are
/// combined in double, and what each addition rounds off is kept beside the sum.
typedef struct op_running {
  scalar acc;
  double lost;
} op_running;
op_running op_start(scalar from);
void op_step(op_running *r, op o, dtype t, scalar v);
/// a * r + b: one step of affine_scan.
void op_step_affine(op_running *r, dtype t, scalar a, scalar b);
scalar op_value(op_running r, dtype t);
/// r + v for a sum of floats. Knuth, "The Art of Computer Programming", vol. 2, 4.2.2.
static inline void op_add_float(op_running *r, double v) {
  double sum = r->acc.f + v, part = sum - r->acc.f;
  r->lost += (r->acc.f - (sum - part)) + (v - part);
  r->acc.f = sum;
}
/// The accumulation type of dot for inputs of type t.
dtype op_dot_type(dtype t);
/// Philox4x32-10: replaces the counter by 128 random bits; the low half of the key comes first.
/// Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11.
void op_philox(uint32_t counter[4], uint64_t key);
/// Its first 64 bits for a 64-bit counter: the op random_bits.
uint64_t op_random_bits(uint64_t key, uint64_t counter);
