// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions: sizes and coordinates, hash-consed and kept in one normal form.
//
// A size is an expression over constants and size symbols; a coordinate expression also uses
// axis coordinates. Views are maps from coordinates to coordinate expressions, so rename, split,
// merge, select, slice and window are one op, and composing views is substitution.
// Normal form: a sum of integer * product of atoms, ordered; atoms are symbols, axis coordinates,
// x / y and x % y (floor, y > 0). (x/y)*y + x%y folds to x; division and modulo use the known
// ranges of axes, so that split-then-merge is the identity.
#pragma once
#include "base/map.h"
#include "base/vec.h"

/// Of an estimate of a size: so that sums of a few, and products with the extents of a tile, do not
/// overflow.
#define ESTIMATE_MOST ((int64_t)1 << 50)

/// a * b of estimates of sizes, at most ESTIMATE_MOST.
static inline int64_t estimate_times(int64_t a, int64_t b) {
  int64_t r;
  return __builtin_mul_overflow(a, b, &r) || r > ESTIMATE_MOST ? ESTIMATE_MOST : r;
}

typedef uint32_t ix;  // handle into a pool; 0 is "none"; equal handles = equal expressions

typedef enum ix_kind { IX_NONE, IX_CONST, IX_SYM, IX_AXIS, IX_SUM, IX_DIV, IX_MOD } ix_kind;

typedef struct ix_term {
  int64_t coef;
  int natoms;
  const ix *atoms;  // sorted handles, each IX_SYM, IX_AXIS, IX_DIV or IX_MOD
} ix_term;

typedef struct ix_node {
  ix_kind kind;
  int64_t value;         // IX_CONST; IX_AXIS: the axis number
  str name;              // IX_SYM
  ix a, b;               // IX_DIV, IX_MOD
  int nterms;            // IX_SUM
  const ix_term *terms;  // constant term (natoms == 0) last
} ix_node;

typedef struct ix_pool {
  arena *arena;
  vec(ix_node) nodes;
  map by_key;
  vec(ix) axis_size;  // by axis number: its size, for ranges; 0 unknown
  map facts;          // symbol name -> struct ix_fact*
  struct ix_memo *memo;  // recent results of arithmetic
  int memo_slots;
  bool overflow;      // a coefficient left int64 or an expression grew out of bounds: results are
                      // meaningless; whoever takes sizes from a user asks and reports
} ix_pool;

/// What is known of a size symbol besides being >= 0 (`where` facts).
typedef struct ix_fact {
  int64_t min, max;       // inclusive; max INT64_MAX when unknown
  int64_t multiple_of;    // >= 1
  int64_t estimate;       // for cost models only; 0 unknown
} ix_fact;

void ix_init(ix_pool *p, arena *a);
/// Makes `to`, fresh from ix_init, a copy of p: the same handles, axis sizes and facts.
void ix_copy_pool(ix_pool *to, const ix_pool *p);
/// States the size of an axis (before expressions that use it are built, so that they fold).
void ix_set_axis(ix_pool *p, int axis, ix size);
/// The facts of a symbol, to be changed before expressions that use it are built; a symbol without
/// facts is >= 0. ix_find_fact gives null for it.
ix_fact *ix_fact_of(ix_pool *p, str symbol);
const ix_fact *ix_find_fact(const ix_pool *p, str symbol);
ix ix_const(ix_pool *p, int64_t v);
ix ix_sym(ix_pool *p, str name);
ix ix_axis(ix_pool *p, int axis);
ix ix_add(ix_pool *p, ix a, ix b);
ix ix_sub(ix_pool *p, ix a, ix b);
ix ix_mul(ix_pool *p, ix a, ix b);
ix ix_div(ix_pool *p, ix a, ix b);  // floor
ix ix_mod(ix_pool *p, ix a, ix b);  // non-negative
ix ix_scale(ix_pool *p, ix a, int64_t by);
/// q with a = q * b whatever the sizes are, or 0: no such q is known.
ix ix_exact_quotient(ix_pool *p, ix a, ix b);

const ix_node *ix_get(const ix_pool *p, ix e);
bool ix_is_const(const ix_pool *p, ix e, int64_t *value);
bool ix_is_axis(const ix_pool *p, ix e, int *axis);
/// Uses no axis coordinate: a size.
bool ix_is_size(const ix_pool *p, ix e);
bool ix_uses_axis(const ix_pool *p, ix e, int axis);
/// Calls visit for each axis used (once each).
void ix_axes(const ix_pool *p, ix e, void (*visit)(void *ctx, int axis), void *ctx);

/// Replaces axis coordinates: by[axis] is the replacement, 0 leaves it. Result in pool `to`
/// (may equal p).
ix ix_substitute(ix_pool *to, const ix_pool *p, ix e, const ix *by, int nby);
/// Replaces size symbols by constants; value(ctx, name, &v) false leaves the symbol.
ix ix_bind(ix_pool *to, const ix_pool *p, ix e, bool (*value)(void *, str, int64_t *), void *ctx);

/// Conservative value range; axis coordinates are in [0, size).
typedef struct ix_range {
  int64_t min, max;  // INT64_MIN / INT64_MAX when unbounded
} ix_range;
ix_range ix_bounds(const ix_pool *p, ix e);
bool ix_bounds_fit(const ix_pool *p, ix e);  // into 32 bits
/// Known to be equal / known that a <= b for every binding.
bool ix_known_le(ix_pool *p, ix a, ix b);
/// Bounds of e as sizes, free of coordinates; 0: none is known.
ix ix_lower_bound(ix_pool *p, ix e);
ix ix_upper_bound(ix_pool *p, ix e);
int64_t ix_gcd(int64_t a, int64_t b);  // of 0 and b: |b|
/// The largest known divisor of the value (0 for the constant 0).
int64_t ix_divisor(const ix_pool *p, ix e);
/// For cost models: evaluates with estimates for symbols (default 1024) and 0 for coordinates;
/// between -ESTIMATE_MOST and ESTIMATE_MOST.
int64_t ix_estimate(const ix_pool *p, ix e);
/// Exact value, saturating at the ends of int64; x / 0 and x % 0 are 0; symbols and coordinates from the callbacks (either may be null if unused).
int64_t ix_eval(const ix_pool *p, ix e, int64_t (*sym)(void *, str), int64_t (*axis)(void *, int),
                void *ctx);
/// Splits a size into coef * symbol + rest, where coef is not 0; false when it is anything else.
bool ix_linear(const ix_pool *p, ix size, str *symbol, int64_t *coef, int64_t *rest);
/// Splits e into coef * axis + rest when e is affine in that axis; false if it is not.
bool ix_affine(ix_pool *p, ix e, int axis, ix *coef, ix *rest);

/// Text: "N", "N*4 + 2", "P*2 + R", "D / 64", "(H*64 + K) % 3". Without axis_name only sizes can be
/// printed. With it, plain names are coordinates and size symbols are written "#N".
void ix_print(const ix_pool *p, ix e, str (*axis_name)(void *, int), void *ctx, strbuf *out);
/// Parses that text; resolve(ctx, name) returns an ix (axis or symbol) or 0; "#N" is the symbol N
/// without asking it. Advances *at past the expression. Returns 0 and sets *error on failure.
ix ix_parse(ix_pool *p, str text, int *at, ix (*resolve)(void *, str), void *ctx,
            const char **error);
