// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contraction recognition: a sum of products is a dot, however it is written.
//
//   %p = mul %a, %b                        : f32[N, D, H]
//   %s = sum %p over D         ──▶  %s = dot %a, %b over D : f32[N, H]
//
// - Both factors must have axes of the result that the other lacks. A product of rows with
//   themselves (x * x in a norm) stays a reduction, which fuses with the others of its kernel,
//   and a dot without such axes becomes one.
// - Summed axes that a factor lacks are spread over it, in any number.
// - Casts of bf16 and f16 factors go: dot multiplies these exactly and adds in f32. Small integers
//   likewise; their own sums, which wrap, are those of the dot in i32 cut off at the end.
// - A power of two, any integer, or under --fast-math any factor without the summed axes, is
//   multiplied afterwards.
// - Products under sums and views of gradients: see product_views.c.
#include <math.h>

#include "passes/rewrite/rewrite.h"

static bool reduces(const node *sum, int axis) {
  for (int i = 0; i < sum->nattr_axes; i++)
    if (sum->attr_axes[i] == axis) return true;
  return false;
}

static bool has_free_axis(const node *a, const node *b, const node *sum) {
  for (int k = 0; k < a->naxes; k++)
    if (!reduces(sum, a->axes[k]) && !node_has_axis(b, a->axes[k])) return true;
  return false;
}

static bool is_matrix_product(const node *a, const node *b, const node *sum) {
  return has_free_axis(a, b, sum) && has_free_axis(b, a, sum);
}

/// The factor before a cast that the dot makes anyway.
static node *uncast(node *a, dtype result) {
  if (a->op != OP_cast || a->type != result) return a;
  dtype from = a->in[0]->type;
  bool exact =
      dtype_is_storage(from) || (dtype_is_int(from) && dtype_bytes(from) < dtype_bytes(result));
  return exact && op_dot_type(from) == result ? a->in[0] : a;
}

/// The factor with all summed axes.
static node *with_summed_axes(graph *g, node *a, const node *sum) {
  int missing = 0;
  for (int i = 0; i < sum->nattr_axes; i++) missing += !node_has_axis(a, sum->attr_axes[i]);
  bool fits = a->naxes + missing <= MAX_AXES;
  return fits ? graph_spread(g, a, sum->attr_axes, sum->nattr_axes) : a;
}

static node *make_dot(graph *g, node *a, node *b, const node *sum) {
  node *plain_a = uncast(a, sum->type), *plain_b = uncast(b, sum->type);
  if (plain_a->type == plain_b->type) a = plain_a, b = plain_b;
  a = with_summed_axes(g, a, sum);
  b = with_summed_axes(g, b, sum);
  node *dot = graph_dot(g, a, b, sum->attr_axes, sum->nattr_axes);
  return dot->type == sum->type ? dot : graph_cast(g, dot, sum->type);
}

/// May this factor be multiplied after the sum?
static bool leaves_sum(const rewrite *r, const node *factor, const node *sum) {
  for (int i = 0; i < sum->nattr_axes; i++)
    if (node_has_axis(factor, sum->attr_axes[i])) return false;
  if (!dtype_is_float(sum->type) || r->fast_math) return true;
  double c;
  int exponent;
  return node_is_const(factor, &c) && fabs(frexp(c, &exponent)) == 0.5 && exponent > -60 &&
         exponent < 60;
}

/// (a * b) * s and a * (b * s): the product with the factor s taken out, else null.
static node *scaled_product(const rewrite *r, const node *product, const node *sum) {
  for (int k = 0; k < 2; k++) {
    node *inner = product->in[k], *s = product->in[1 - k];
    if (inner->op != OP_mul) continue;
    if (leaves_sum(r, s, sum) && is_matrix_product(inner->in[0], inner->in[1], sum))
      return graph_binary(r->g, OP_mul, make_dot(r->g, inner->in[0], inner->in[1], sum), s);
    for (int j = 0; j < 2; j++) {
      node *scale = inner->in[j], *a = inner->in[1 - j];
      if (leaves_sum(r, scale, sum) && is_matrix_product(a, s, sum))
        return graph_binary(r->g, OP_mul, make_dot(r->g, a, s, sum), scale);
    }
  }
  return NULL;
}

static node *contraction_sum(const rewrite *r, const node *sum) {
  node *e = sum->in[0];
  if (e->op == OP_neg && e->in[0]->op == OP_mul) {
    const node *product = e->in[0];
    if (is_matrix_product(product->in[0], product->in[1], sum))
      return graph_unary(r->g, OP_neg, make_dot(r->g, product->in[0], product->in[1], sum));
  }
  if (e->op != OP_mul) return NULL;
  node *scaled = scaled_product(r, e, sum);
  if (scaled) return node_same_axis_set(scaled, sum) ? scaled : NULL;
  if (!is_matrix_product(e->in[0], e->in[1], sum)) return NULL;
  return make_dot(r->g, e->in[0], e->in[1], sum);
}

/// A dot in which neither side has axes of its own walks rows like any reduction.
static node *dot_of_rows(graph *g, const node *dot) {
  if (has_free_axis(dot->in[0], dot->in[1], dot) || has_free_axis(dot->in[1], dot->in[0], dot))
    return NULL;
  node *side[2];
  for (int k = 0; k < 2; k++)
    side[k] = dot->in[k]->type == dot->type ? dot->in[k] : graph_cast(g, dot->in[k], dot->type);
  node *product = graph_binary(g, OP_mul, side[0], side[1]);
  return graph_reduce(g, OP_sum, product, dot->attr_axes, dot->nattr_axes);
}

static node *contraction_dot(const rewrite *r, const node *dot) {
  node *a = uncast(dot->in[0], dot->type), *b = uncast(dot->in[1], dot->type);
  if ((a != dot->in[0] || b != dot->in[1]) && a->type == b->type)
    return graph_dot(r->g, a, b, dot->attr_axes, dot->nattr_axes);
  return dot_of_rows(r->g, dot);
}

static node *contraction(const rewrite *r, node *n) {
  node *to = NULL;
  if (n->op == OP_sum) to = contraction_sum(r, n);
  if (n->op == OP_dot) to = contraction_dot(r, n);
  if (!to) to = product_before_views(r, n);
  return to ? to : n;
}

bool pass_contraction(pass_ctx *ctx) { return rewrite_graph(ctx, contraction, NULL); }
