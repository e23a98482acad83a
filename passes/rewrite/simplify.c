// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Algebraic simplification. Without --fast-math only what is exact: the result is the same value
// for every operand, NaN, infinities and the sign of zero included.
//
//   x * 1, x / 1, x - 0, x + -0     ──▶  x            (x + 0 is not: -0 + 0 = 0)
//   x / 8                           ──▶  x * 0.125    (a power of two: the quotient is exact)
//   x ** 2                          ──▶  x * x        (small integer powers are products by
//                                                      definition, see docs/language.md)
//   where(c, a, a)                  ──▶  a
//   bf16(f64(x))                    ──▶  bf16(x)      (a widening cast loses nothing)
//   max(max(x, T), N)               ──▶  max(x, T, N)
//
// Rules are grouped by the class of the op they look at; each returns null when it does not apply.
// The rules that change rounding are in simplify_fast.c.
#include <math.h>

#include "passes/rewrite/rewrite.h"
#include "passes/rewrite/simplify.h"

static bool is_float(const node *n) { return dtype_is_float(n->type); }

/// The operand in place of the whole: only if it has all axes.
static node *alone(const node *n, int k) {
  return node_same_axis_set(n->in[k], n) ? n->in[k] : NULL;
}

static node *const_like(graph *g, const node *n, double v) {
  return spread(g, graph_const_float(g, n->type, v), n);
}

// ---- arithmetic

/// Constants and other values without axes go right.
static node *order_operands(graph *g, const node *n) {
  if (!op_get(n->op)->commutes) return NULL;
  if (n->in[0]->op != OP_const || n->in[1]->op == OP_const) return NULL;
  return graph_binary(g, n->op, n->in[1], n->in[0]);
}

static node *simplify_add(graph *g, const node *n) {
  const node *b = n->in[1];
  if (node_is_negative_zero(b) || (!is_float(n) && node_is_value(b, 0))) return alone(n, 0);
  if (b->op == OP_neg) return graph_binary(g, OP_sub, n->in[0], b->in[0]);
  if (n->in[0]->op == OP_neg) return graph_binary(g, OP_sub, n->in[1], n->in[0]->in[0]);
  return NULL;
}

static node *simplify_sub(graph *g, const node *n) {
  const node *b = n->in[1];
  if (node_is_value(b, 0)) return alone(n, 0);
  if (b->op == OP_neg) return graph_binary(g, OP_add, n->in[0], b->in[0]);
  if (!is_float(n) && n->in[0] == n->in[1]) return const_like(g, n, 0);
  return NULL;
}

static node *simplify_mul(graph *g, const node *n) {
  const node *a = n->in[0], *b = n->in[1];
  if (node_is_value(b, 1)) return alone(n, 0);
  if (node_is_value(b, -1) && alone(n, 0)) return graph_unary(g, OP_neg, n->in[0]);
  if (!is_float(n) && node_is_value(b, 0)) return const_like(g, n, 0);
  if (a->op == OP_neg && b->op == OP_neg) return graph_binary(g, OP_mul, a->in[0], b->in[0]);
  return NULL;
}

static node *simplify_div(graph *g, const node *n) {
  double c;
  int exponent;
  if (!node_is_const(n->in[1], &c)) return NULL;
  if (c == 1) return alone(n, 0);
  if (!is_float(n) || c == 0 || !isfinite(c)) return NULL;
  // Both 1/c and its products are what the division rounds to, unless 1/c is subnormal.
  int limit = n->type == DT_f64 ? 1000 : 120;
  if (fabs(frexp(c, &exponent)) != 0.5 || exponent > limit || exponent < -limit) return NULL;
  return graph_binary(g, OP_mul, n->in[0], graph_const_float(g, n->type, 1 / c));
}

/// Repeated multiplication, as the language defines small integer powers.
static node *simplify_pow(graph *g, const node *n) {
  node *x = n->in[0];
  double c;
  if (!node_is_const(n->in[1], &c)) return NULL;
  if (c == 0) return const_like(g, n, 1);
  if (c == 1) return alone(n, 0);
  if (c == -1) return graph_binary(g, OP_div, graph_const_float(g, n->type, 1), x);
  if (c != 2 && c != 3 && c != 4) return NULL;
  node *square = graph_binary(g, OP_mul, x, x);
  if (c == 2) return square;
  return graph_binary(g, OP_mul, square, c == 3 ? x : square);
}

/// Integers wrap, so constants may be gathered: (x + 2) + 3.
static node *gather_constants(graph *g, const node *n) {
  const node *a = n->in[0];
  if ((n->op != OP_add && n->op != OP_mul) || is_float(n) || a->op != n->op) return NULL;
  if (n->in[1]->op != OP_const || a->in[1]->op != OP_const) return NULL;
  return graph_binary(g, n->op, a->in[0], graph_binary(g, n->op, a->in[1], n->in[1]));
}

static node *simplify_extreme(const node *n) { return n->in[0] == n->in[1] ? n->in[0] : NULL; }

static node *simplify_unary(graph *g, const node *n) {
  node *a = n->in[0];
  switch (n->op) {
    case OP_neg:
    case OP_not: return a->op == n->op ? a->in[0] : NULL;
    case OP_abs:
      if (a->op == OP_neg && is_float(n)) return graph_unary(g, OP_abs, a->in[0]);
      return a->op == OP_abs ? a : NULL;
    case OP_floor: case OP_ceil: case OP_round: case OP_trunc:
      return a->op == OP_floor || a->op == OP_ceil || a->op == OP_round || a->op == OP_trunc ? a
                                                                                          : NULL;
    default: return NULL;
  }
}

// ---- logic

static node *simplify_logic(graph *g, const node *n) {
  if (n->in[0] == n->in[1])
    return n->op == OP_xor ? const_like(g, n, 0) : n->in[0];
  if (n->type != DT_bool || n->in[1]->op != OP_const) return NULL;
  bool b = n->in[1]->value.i;
  if (n->op == OP_and) return b ? alone(n, 0) : const_like(g, n, 0);
  if (n->op == OP_or) return b ? const_like(g, n, 1) : alone(n, 0);
  return b ? NULL : alone(n, 0);
}

static bool same_constant(const node *a, const node *b) {
  return a->op == OP_const && b->op == OP_const && a->type == b->type &&
         !memcmp(&a->value, &b->value, sizeof a->value);
}

/// where(x <= c, c, x) is max(x, c), and with >= min, for constants c: NaN stays NaN in both. Of zeros max
/// takes the positive one and min the negative one, so with the other zero they differ.
static node *where_as_extremum(graph *g, const node *n) {
  const node *c = n->in[0];
  if (c->op != OP_le && c->op != OP_ge) return NULL;
  node *x = c->in[0], *bound = c->in[1];
  op o = c->op == OP_le ? OP_max : OP_min;
  if (!same_constant(n->in[1], bound) || n->in[2] != x) return NULL;
  bool other_zero = o == OP_max ? node_is_negative_zero(bound) : node_is_value(bound, 0);
  if (dtype_is_float(x->type) && other_zero) return NULL;
  return graph_binary(g, o, x, bound);
}

static node *simplify_where(graph *g, const node *n) {
  const node *c = n->in[0];
  node *extremum = where_as_extremum(g, n);
  if (extremum) return extremum;
  if (n->in[1] == n->in[2]) return spread(g, n->in[1], n);
  if (c->op == OP_not) return graph_where(g, c->in[0], n->in[2], n->in[1]);
  if (c->op == OP_view && c->in[0]->op == OP_const) return spread(g, n->in[c->in[0]->value.i ? 1 : 2], n);
  return NULL;
}

// ---- casts

/// Of a cast of a cast, the inner one can go when it widened and the outer one treats the
/// original value alike (a float saturates where an integer wraps).
static node *simplify_cast(graph *g, const node *n) {
  node *a = n->in[0];
  if (a->type == n->type) return a;
  if (a->op != OP_cast || !dtype_cast_is_exact(a->in[0]->type, a->type)) return NULL;
  dtype from = a->in[0]->type;
  bool wraps = dtype_is_int(from) && dtype_is_float(a->type) && dtype_is_int(n->type);
  if (wraps && !dtype_cast_is_exact(from, n->type)) return NULL;
  return from == n->type ? a->in[0] : graph_cast(g, a->in[0], n->type);
}

// ---- reductions

/// A reduction over axes of size 1 selects the only element. Not a float sum: 0 + -0 is 0.
static node *reduce_of_one(const rewrite *r, const node *n) {
  graph *g = r->g;
  node *a = n->in[0];
  if (op_is_arg(n->op)) return NULL;
  if (n->op == OP_sum && is_float(n) && !r->fast_math) return NULL;
  ix index[MAX_AXES];
  for (int k = 0; k < a->naxes; k++) index[k] = ix_axis(&g->ix, a->axes[k]);
  for (int i = 0; i < n->nattr_axes; i++) {
    int64_t size;
    if (!ix_is_const(&g->ix, graph_axis_size(g, n->attr_axes[i]), &size) || size != 1) return NULL;
    for (int k = 0; k < a->naxes; k++)
      if (a->axes[k] == n->attr_axes[i]) index[k] = ix_const(&g->ix, 0);
  }
  return graph_view(g, a, index, n->axes, n->naxes);
}

/// Associativity of the monoid: the order in which sums are taken is not specified.
static node *reduce_of_reduce(const rewrite *r, const node *n) {
  const node *a = n->in[0];
  if (a->op != n->op || !op_get(n->op)->splits) return NULL;
  if (!rewrite_used_once(r, a)) return NULL;
  int axes[2 * MAX_AXES], naxes = 0;
  for (int k = 0; k < a->nattr_axes; k++) axes[naxes++] = a->attr_axes[k];
  for (int k = 0; k < n->nattr_axes; k++) axes[naxes++] = n->attr_axes[k];
  return graph_reduce(r->g, n->op, a->in[0], axes, naxes);
}

/// A reduction of a negated value, where it is the same monoid or its mirror image. The maximum
/// that sums of a stream are relative to is that of the exponent as it is.
static node *reduce_of_neg(const rewrite *r, const node *n) {
  const node *a = n->in[0];
  bool streamed = n->contract && r->g->contracts.data[n->contract - 1].streamed;
  if (streamed && n->op == OP_reduce_max) return NULL;
  if (a->op != OP_neg || !is_float(n) || !rewrite_used_once(r, a)) return NULL;
  op mirrored = n->op == OP_reduce_max ? OP_reduce_min : OP_reduce_max;
  if (n->op != OP_reduce_max && n->op != OP_reduce_min) return NULL;
  return graph_unary(r->g, OP_neg,
                     graph_reduce(r->g, mirrored, a->in[0], n->attr_axes, n->nattr_axes));
}

/// y = 1 y + b is a running sum.
static node *scan_of_ones(graph *g, const node *n) {
  if (n->op != OP_affine_scan) return NULL;
  const node *a = n->in[0];
  while (a->op == OP_view) a = a->in[0];
  if (!node_is_value(a, 1)) return NULL;
  return graph_scan(g, OP_cumsum, spread(g, n->in[1], n), n->attr_axes[0], n->flags);
}

// ---- the pass

static node *simplify_map(graph *g, const node *n) {
  node *to = order_operands(g, n);
  if (!to) to = gather_constants(g, n);
  if (to) return to;
  switch (n->op) {
    case OP_add: return simplify_add(g, n);
    case OP_sub: return simplify_sub(g, n);
    case OP_mul: return simplify_mul(g, n);
    case OP_div: return simplify_div(g, n);
    case OP_pow: return simplify_pow(g, n);
    case OP_min:
    case OP_max: return simplify_extreme(n);
    case OP_and:
    case OP_or:
    case OP_xor: return simplify_logic(g, n);
    case OP_where: return simplify_where(g, n);
    case OP_cast: return simplify_cast(g, n);
    default: return n->nin == 1 ? simplify_unary(g, n) : NULL;
  }
}

static node *simplify(const rewrite *r, node *n) {
  node *to = NULL;
  if (op_is_map(n->op)) to = simplify_map(r->g, n);
  if (!to && op_is_reduce(n->op)) to = reduce_of_one(r, n);
  if (!to && op_is_reduce(n->op)) to = reduce_of_reduce(r, n);
  if (!to && op_is_reduce(n->op)) to = reduce_of_neg(r, n);
  if (!to) to = scan_of_ones(r->g, n);
  if (!to && r->fast_math) to = simplify_fast(r, n);
  return to ? to : n;
}

bool pass_simplify(pass_ctx *ctx) { return rewrite_graph(ctx, simplify, NULL); }
