// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Under `fuse stream(T)`: numbers that scale an operand of a product scale the product instead, so
// that operands are what lies in memory, and equal programs have equal products.
//
//   %a = bf16(%q * 0.3)
//   %b = bf16(%k * 0.3)                          %d = dot %q, %k over D
//   %s = dot %a, %b over D            ──▶        %s = %d * 0.09
//
// A rounding between drops out: with --exact-casts such operands stay.
#include "passes/rewrite/rewrite.h"

static bool is_number(const node *n) { return !n->naxes && dtype_is_float(n->type); }

/// x without its scale, which *by becomes; x: it has none.
static node *take_scale(const pass_ctx *ctx, node *x, node **by, op *how) {
  node *of = x;
  bool rounds = x->op == OP_cast && dtype_is_float(x->type) && dtype_is_float(x->in[0]->type) &&
                !dtype_cast_is_exact(x->in[0]->type, x->type);
  if (rounds) of = x->in[0];
  if (rounds && rules_switched_off(ctx->options) & RULE_roundings) return x;
  if ((of->op != OP_mul && of->op != OP_div) || !dtype_is_float(of->type)) return x;
  int k = of->op == OP_mul && is_number(of->in[0]) ? 0 : 1;
  node *rest = of->in[1 - k];
  if (!is_number(of->in[k]) || is_number(rest)) return x;
  if (rounds && (rest->op != OP_cast || rest->in[0]->type != x->type)) return x;
  *by = of->in[k];
  *how = of->op;
  return rounds ? rest->in[0] : rest;
}

static node *scaled_product(const pass_ctx *ctx, node *n) {
  graph *g = ctx->graph;
  node *in[2], *by[2] = {NULL, NULL};
  op how[2];
  for (int k = 0; k < 2; k++) in[k] = take_scale(ctx, n->in[k], &by[k], &how[k]);
  if (!by[0] && !by[1]) return n;
  node *r = graph_dot(g, in[0], in[1], n->attr_axes, n->nattr_axes);
  if (r->type != n->type || !node_same_axis_set(r, n)) return n;
  double x, y;
  if (by[0] && by[1] && how[0] == OP_mul && how[1] == OP_mul && node_is_const(by[0], &x) &&
      node_is_const(by[1], &y)) {
    by[0] = graph_const_float(g, r->type, x * y);
    by[1] = NULL;
  }
  for (int k = 0; k < 2; k++) {
    if (!by[k]) continue;
    node *scale = by[k]->type == r->type ? by[k] : graph_cast(g, by[k], r->type);
    r = graph_binary(g, how[k], r, scale);
  }
  return graph_reorder(g, r, n->axes);
}

bool stream_take_scales(pass_ctx *ctx, int number) {
  graph *g = ctx->graph;
  int count = g->nodes.len;
  enum { BUILT = 8 };  // nodes for a product, at most
  if (rules_switched_off(ctx->options) & RULE_scales) return false;
  node **to = arena_array(ctx->scratch, node *, (BUILT + 1) * count);
  bool any = false;
  for (int id = 0; id < count; id++) {
    node *n = g->nodes.data[id];
    if (n->op != OP_dot || n->contract != number + 1 || !dtype_is_float(n->type)) continue;
    int first = g->nodes.len;
    g->contract = number + 1;
    node *scaled = scaled_product(ctx, n);
    g->contract = 0;
    for (int k = first; k < g->nodes.len; k++) g->nodes.data[k]->at = n->at;
    if (scaled != n) to[id] = scaled, any = true;
  }
  if (any) g->contracts.data[number].rules |= RULE_scales;
  if (g->nodes.len > count) graph_compact(g, any ? to : NULL);
  return any;
}
