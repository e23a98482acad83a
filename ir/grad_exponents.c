// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Row factors of exponentials, in the streamed blocks of a derivative, go into the exponent: there they are
// known before the walk, so that one row value does for two, and an element takes one step less.
//
//   exp(x - m) * r                    =  exp(x - (m - log(r)))                       p
//   exp(x - m) * (d * r + z)          =  p * (d + z / r)
//
// r is known to be positive: a softmax's 1 / sum(exp(..)), of which m - log(r) is the log-sum-exp.
// Source: Dao, "FlashAttention-2" (2023), section 3.1.
#include "ir/grad_stream.h"

typedef struct rewriting {
  graph *g;
  int block;  // 1 + number of the contract
  int count;  // of nodes before
  node **replacement;
} rewriting;

static bool is_inside(const rewriting *r, const node *n) { return n->contract == r->block; }

/// A value of whole rows: nothing of the block makes it.
static bool is_row(const rewriting *r, const node *n) {
  return !is_inside(r, n) && n->type == DT_f32 && n->op != OP_const && n->naxes;
}

static bool is_positive(const node *n, int depth) {
  if (!depth || !dtype_is_float(n->type)) return false;
  switch (n->op) {
    case OP_const: return n->value.f > 0;
    case OP_exp: return true;
    case OP_sum:
    case OP_cast:
    case OP_view: return is_positive(n->in[0], depth - 1);
    case OP_add:
    case OP_mul:
    case OP_div: return is_positive(n->in[0], depth - 1) && is_positive(n->in[1], depth - 1);
    default: return false;
  }
}

/// exp(x - m) of the block, with m of whole rows.
static bool is_exponential(const rewriting *r, const node *n) {
  return n->op == OP_exp && n->type == DT_f32 && is_inside(r, n) && n->in[0]->op == OP_sub &&
         is_inside(r, n->in[0]) && is_row(r, n->in[0]->in[1]);
}

static bool is_factor(const rewriting *r, const node *n) {
  enum { DEEPEST = 8 };
  return is_row(r, n) && is_positive(n, DEEPEST);
}

/// n, made of whole rows before the block; neighbours in memory are neighbours along the longest axis, since
/// blocks walk it or have a tile of it.
static node *row(const rewriting *r, node *n) {
  int axes[MAX_AXES], longest = 0, count = 0;
  int64_t most = 0;
  for (int k = 0; k < n->naxes; k++) {
    int64_t size = ix_estimate(&r->g->ix, graph_axis_size(r->g, n->axes[k]));
    if (size > most) most = size, longest = k;
  }
  for (int k = 0; k < n->naxes; k++)
    if (k != longest) axes[count++] = n->axes[k];
  axes[count] = n->axes[longest];
  return graph_reorder(r->g, n, axes);
}

/// exp(x - (m - log(factor))).
static node *with_factor(const rewriting *r, const node *e, node *factor) {
  graph *g = r->g;
  g->contract = 0;
  node *shift = row(r, graph_binary(g, OP_sub, e->in[0]->in[1], graph_unary(g, OP_log, factor)));
  g->contract = r->block;
  node *x = graph_binary(g, OP_sub, e->in[0]->in[0], shift), *made = graph_unary(g, OP_exp, x);
  x->flags = made->flags |= e->flags & NODE_RECOMPUTED;
  return made;
}

/// What the product of the exponential and other is; null: it stays.
static node *product(const rewriting *r, const node *e, node *other) {
  graph *g = r->g;
  if (is_factor(r, other)) return with_factor(r, e, other);
  bool sum = (other->op == OP_add || other->op == OP_sub) && is_inside(r, other);
  node *y = sum ? other->in[0] : NULL;
  if (!sum || y->op != OP_mul || !is_inside(r, y) || !is_row(r, other->in[1])) return NULL;
  int k = is_factor(r, y->in[0]) ? 0 : 1;
  if (!is_factor(r, y->in[k]) || !is_inside(r, y->in[1 - k])) return NULL;
  g->contract = 0;
  node *z = row(r, graph_binary(g, OP_div, other->in[1], y->in[k]));
  g->contract = r->block;
  return graph_binary(g, OP_mul, graph_binary(g, other->op, y->in[1 - k], z), with_factor(r, e, y->in[k]));
}

static void rewrite(rewriting *r, node *n) {
  graph *g = r->g;
  if (n->op != OP_mul || n->type != DT_f32 || !is_inside(r, n)) return;
  int k = is_exponential(r, n->in[0]) ? 0 : 1, first = g->nodes.len;
  if (!is_exponential(r, n->in[k])) return;
  g->contract = r->block;
  node *to = product(r, n->in[k], n->in[1 - k]);
  if (to && node_same_axis_set(to, n)) r->replacement[n->id] = graph_reorder(g, to, n->axes);
  g->contract = 0;
  for (int id = first; id < g->nodes.len; id++) {
    node *made = g->nodes.data[id];
    made->at = n->at;
    made->phase = n->phase;
  }
}

void grad_factors_into_exponents(graph *g, arena *a, int block) {
  rewriting r = {.g = g, .block = block, .count = g->nodes.len};
  r.replacement = arena_array(a, node *, r.count);
  for (int id = 0; id < r.count; id++) rewrite(&r, g->nodes.data[id]);
  if (g->nodes.len == r.count) return;
  g->contracts.data[block - 1].rules |= RULE_exponents;
  node **all = arena_array(a, node *, g->nodes.len);
  memcpy(all, r.replacement, sizeof(node *) * (size_t)r.count);
  graph_compact(g, all);
}
