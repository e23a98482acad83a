// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Under `fuse stream(T)`, after sums were taken apart: exponentials of rows that numerator and denominator
// share cancel, and with them whatever the program takes from its exponents.
//
//   %a = dot exp(%s - %f), %v * exp(%f - %z)
//   %b = sum exp(%s - %f) * exp(%f - %z)           %o = dot exp(%s - %f), %v / sum exp(%s - %f)
//   %o = %a / %b                             ──▶
//
// Selections that keep a factor a factor are looked through: where(c, x, 0), and the guard of a divisor,
// where(x == 0, 1, x), where x is a sum of exponentials: it is 0 only if all of them are.
#include "passes/rewrite/stream.h"

enum { MOST = 16, DEPTH = 12 };

/// Among the factors of a value.
typedef struct exponentials {
  const graph *g;
  int contract;
  const node *of[MOST];
  bool below[MOST];  // divides
  int n;
} exponentials;

/// Both compute the same, as far as a short look tells.
static bool is_same(const node *a, const node *b, int depth) {
  if (a == b) return true;
  op_class class = op_get(a->op)->class;
  if (a->op != b->op || a->type != b->type || a->flags != b->flags || a->nin != b->nin || !depth ||
      !node_same_axis_set(a, b) || !stream_same_axes(a, b))
    return false;
  if (a->op == OP_const) return a->value.i == b->value.i;
  if (!a->nin) return a->op == OP_index || (a->op == OP_size && a->index[0] == b->index[0]);
  if (class != CLASS_map && class != CLASS_reduce && class != CLASS_contraction) return false;
  for (int k = 0; k < a->nin; k++)
    if (!is_same(a->in[k], b->in[k], depth - 1)) return false;
  return true;
}

/// The arm of a selection that is a factor where the whole is; -1: there is none.
static int chosen(const node *n) {
  const node *c = n->in[0];
  if (node_is_value(n->in[2], 0)) return 1;
  bool guard = (c->op == OP_eq || c->op == OP_ne || c->op == OP_gt) && node_is_value(c->in[1], 0);
  for (int k = 1; guard && k < 3; k++)
    if (n->in[k] == c->in[0] && n->in[3 - k]->op == OP_const) return k;
  return -1;
}

static void collect(exponentials *e, const node *n, bool below, int depth) {
  int k;
  if (e->n == MOST || !depth || n->contract != e->contract) return;
  switch (n->op) {
    case OP_exp: e->of[e->n] = n, e->below[e->n++] = below; return;
    case OP_mul:
    case OP_div:
      collect(e, n->in[0], below, depth - 1);
      collect(e, n->in[1], below != (n->op == OP_div), depth - 1);
      return;
    case OP_view:
      if (view_is_reorder(e->g, n)) collect(e, n->in[0], below, depth - 1);
      return;
    case OP_where:
      if ((k = chosen(n)) > 0) collect(e, n->in[k], below, depth - 1);
      return;
    default: return;
  }
}

/// The sum of nothing is 0: no selection needs to say it.
static bool is_of_nothing(const graph *g, const node *n, const node *some) {
  if (n->op != OP_sum && n->op != OP_dot) return false;
  if (some->op != OP_gt || some->in[0]->op != OP_size || !node_is_value(some->in[1], 0))
    return false;
  return n->nattr_axes == 1 && some->in[0]->index[0] == graph_axis_size(g, n->attr_axes[0]);
}

/// A sum of exponentials relative to the frame that e = exp(frame + ..) begins with, or of products with such:
/// 0 where nothing counts. `alone`: only there, since no factor is beside them.
static bool adds_exponentials(const node *n, const node *e, bool alone, int depth) {
  if (!depth || n->contract != e->contract || e->in[0]->op != OP_add) return false;
  if (n->op == OP_exp && n->in[0]->op == OP_sub) return is_same(n->in[0]->in[1], e->in[0]->in[0], DEPTH);
  bool product = !alone && (n->op == OP_mul || n->op == OP_dot || n->op == OP_cast);
  for (int k = 0; k < n->nin && (product || n->op == OP_sum); k++)
    if (adds_exponentials(n->in[k], e, alone, depth - 1)) return true;
  return false;
}

typedef struct removal {
  graph *g;
  const node *e;       // the factor
  bool done, guarded;  // so far; a guard compares what it is a factor of
  const node *beside;  // what it was multiplied with
} removal;

/// n without a factor equal to e that multiplies, or divides (below); n: it has none.
static node *without(removal *r, node *n, bool below, int depth) {
  graph *g = r->g;
  if (!depth || n->contract != r->e->contract) return n;
  if (n->op == OP_exp && !below && is_same(n, r->e, DEPTH)) return r->done = true, graph_const_float(g, n->type, 1);
  for (int k = 0; k < 2 && (n->op == OP_mul || n->op == OP_div); k++) {
    node *in[2] = {n->in[0], n->in[1]}, *other = in[1 - k];
    in[k] = without(r, in[k], below != (k && n->op == OP_div), depth - 1);
    if (!r->done) continue;
    bool one = node_is_value(in[k], 1) && (k || n->op == OP_mul) && node_same_axis_set(other, n);
    if (one) r->beside = other;
    return one ? other : graph_binary(g, n->op, in[0], in[1]);
  }
  if (n->op == OP_view && view_is_reorder(g, n)) {
    node *x = without(r, n->in[0], below, depth - 1);
    return r->done ? graph_reorder(g, x, n->axes) : n;
  }
  int k = n->op == OP_where ? chosen(n) : -1;
  if (k < 0) return n;
  node *x = without(r, n->in[k], below, depth - 1), *c = n->in[0];
  if (!r->done) return n;
  if (node_is_value(n->in[2], 0))
    return is_of_nothing(g, x, c) ? x : graph_where(g, c, x, n->in[2]);
  r->guarded = true;
  c = graph_binary(g, c->op, x, c->in[1]);
  return graph_where(g, c, k == 1 ? x : n->in[1], k == 1 ? n->in[2] : x);
}

/// n without the factor above and below; null: it cannot lose both.
static node *cancelled(graph *g, node *n, const node *e) {
  removal above = {.g = g, .e = e}, below = above;
  node *to = without(&above, n, false, DEPTH);
  if (above.done) to = without(&below, to, true, DEPTH);
  if (!above.done || !below.done || above.guarded || !node_same_axis_set(to, n)) return NULL;
  bool sums = !below.guarded || (above.beside && below.beside && adds_exponentials(above.beside, e, false, DEPTH) &&
                                 adds_exponentials(below.beside, e, true, 2));
  return sums ? to : NULL;
}

/// A quotient in which an exponential cancels.
static node *free_shift(const rewrite *r, node *n) {
  graph *g = r->g;
  contract *c = n->contract ? &g->contracts.data[n->contract - 1] : NULL;
  exponentials e = {.g = g, .contract = n->contract};
  if (!c || !c->streamed || (n->op != OP_div && n->op != OP_mul) || !dtype_is_float(n->type)) return n;
  for (int i = 0; i < c->naxes; i++)
    if (node_has_axis(n, c->axes[i])) return n;
  collect(&e, n, false, DEPTH);
  node *to = NULL;
  g->contract = n->contract;
  for (int i = 0; i < e.n && !to; i++)
    for (int k = 0; k < e.n && !to; k++)
      if (!e.below[i] && e.below[k] && is_same(e.of[i], e.of[k], DEPTH)) to = cancelled(g, n, e.of[i]);
  g->contract = 0;
  if (to) c->rules |= RULE_free_shifts;
  return to ? to : n;
}

bool stream_free_shifts(pass_ctx *ctx) {
  return !(rules_switched_off(ctx->options) & RULE_free_shifts) && rewrite_graph_once(ctx, free_shift, NULL);
}
