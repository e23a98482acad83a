// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Simplifications under --fast-math: true of real numbers. Results may differ in the last bits, and
// where NaN, infinities or -0 appear.
//
//   (x * 2) * 3     ──▶  x * 6              x / 3         ──▶  x * (1/3)
//   x + 0, x - x    ──▶  x, 0               e / s[row]    ──▶  e * (1 / s)    one division a row
//   x * a + b       ──▶  fma(x, a, b)       1 / sqrt(x)   ──▶  rsqrt(x)
//   exp(log(x))     ──▶  x                  sum(x * 3, T) ──▶  sum(x, T) * 3
#include <math.h>

#include "passes/rewrite/simplify.h"

static node *zero_like(graph *g, const node *n) {
  return spread(g, graph_const_float(g, n->type, 0), n);
}

static node *fast_add(const rewrite *r, const node *n) {
  node *a = n->in[0], *b = n->in[1];
  if (node_is_zero(b) && node_same_axis_set(a, n)) return a;
  if (node_is_zero(a) && node_same_axis_set(b, n)) return b;
  for (int k = 0; k < 2; k++) {
    const node *product = n->in[k];
    if (product->op == OP_mul && rewrite_used_once(r, product))
      return graph_map(r->g, OP_fma, (node *[]){product->in[0], product->in[1], n->in[1 - k]}, 3,
                       n->type);
  }
  return NULL;
}

/// What it multiplies is not needed for the result, but for walking the stream once (stream_moments.c).
static bool is_shift(const rewrite *r, const node *n) {
  return n->contract && r->g->contracts.data[n->contract - 1].rules & RULE_moment_shift;
}

static node *fast_sub(const rewrite *r, const node *n) {
  if (n->in[0] == n->in[1]) return is_shift(r, n) ? NULL : zero_like(r->g, n);
  if (node_is_zero(n->in[0]) && node_same_axis_set(n->in[1], n))
    return graph_unary(r->g, OP_neg, n->in[1]);
  return NULL;
}

static node *fast_div(const rewrite *r, const node *n) {
  graph *g = r->g;
  node *a = n->in[0], *b = n->in[1];
  double c;
  if (node_is_const(b, &c) && c != 0 && isfinite(1 / c))
    return graph_binary(g, OP_mul, a, graph_const_float(g, n->type, 1 / c));
  if (b->op == OP_sqrt) {
    node *root = graph_unary(g, OP_rsqrt, b->in[0]);
    return node_is_value(a, 1) ? root : graph_binary(g, OP_mul, a, root);
  }
  // The reciprocal is computed once for all elements that share the divisor.
  if (b->naxes == n->naxes || a->op == OP_const) return NULL;
  node *reciprocal = graph_binary(g, OP_div, graph_const_float(g, n->type, 1), b);
  return graph_binary(g, OP_mul, a, reciprocal);
}

/// (x op c1) op c2 is x op (c1 op c2).
static node *fast_constants(const rewrite *r, const node *n) {
  const node *a = n->in[0];
  if (a->op != n->op || n->in[1]->op != OP_const || a->in[1]->op != OP_const) return NULL;
  return graph_binary(r->g, n->op, a->in[0], graph_binary(r->g, n->op, a->in[1], n->in[1]));
}

static node *fast_mul(const rewrite *r, const node *n) {
  return node_is_zero(n->in[1]) ? zero_like(r->g, n) : fast_constants(r, n);
}

static node *fast_inverse(const node *n, op inverse) {
  return n->in[0]->op == inverse ? n->in[0]->in[0] : NULL;
}

/// Factors that lack the reduced axes leave the sum.
static node *fast_sum(const rewrite *r, const node *n) {
  const node *product = n->in[0];
  if (product->op != OP_mul || !rewrite_used_once(r, product)) return NULL;
  for (int k = 0; k < 2; k++) {
    node *factor = product->in[k], *rest = product->in[1 - k];
    if (!node_same_axis_set(rest, product)) continue;
    bool outside = true;
    for (int i = 0; i < n->nattr_axes; i++) outside &= !node_has_axis(factor, n->attr_axes[i]);
    if (!outside) continue;
    node *sum = graph_reduce(r->g, OP_sum, rest, n->attr_axes, n->nattr_axes);
    return graph_binary(r->g, OP_mul, sum, factor);
  }
  return NULL;
}

node *simplify_fast(const rewrite *r, const node *n) {
  if (!dtype_is_float(n->type)) return NULL;
  switch (n->op) {
    case OP_add: {
      node *to = fast_constants(r, n);
      return to ? to : fast_add(r, n);
    }
    case OP_sub: return fast_sub(r, n);
    case OP_mul: return fast_mul(r, n);
    case OP_div: return fast_div(r, n);
    case OP_exp: return fast_inverse(n, OP_log);
    case OP_log: return fast_inverse(n, OP_exp);
    case OP_sum: return fast_sum(r, n);
    case OP_pow:
      if (node_is_value(n->in[1], 0.5)) return graph_unary(r->g, OP_sqrt, n->in[0]);
      if (node_is_value(n->in[1], -0.5)) return graph_unary(r->g, OP_rsqrt, n->in[0]);
      return NULL;
    default: return NULL;
  }
}
