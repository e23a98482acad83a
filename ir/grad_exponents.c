// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Row factors of exponentials, in the streamed blocks of a derivative, go into the exponent: there they are
// known before the walk, so that one row value does for two, and an element takes one step less.
//
//   exp(x - m) * r                    =  exp2(x * c - (m - log(r)) * c)              p;  c = log2(e)
//   exp(x - m) * (d * r + z)          =  p * (d + z / r)
//
// r is known to be positive: a softmax's 1 / sum(exp(..)), of which m - log(r) is the log-sum-exp.
// Source: Dao, "FlashAttention-2" (2023), section 3.1.
#include "ir/grad_stream.h"

static const double log2e = 1.4426950408889634074;

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

/// exp2(x * c - (m - log(factor)) * c): the row part is made once.
static node *with_factor(const rewriting *r, const node *e, node *factor) {
  graph *g = r->g;
  g->contract = 0;
  node *c = graph_const_float(g, DT_f32, log2e);
  node *shift = graph_binary(g, OP_sub, e->in[0]->in[1], graph_unary(g, OP_log, factor));
  shift = graph_binary(g, OP_mul, shift, c);
  g->contract = r->block;
  node *x = graph_binary(g, OP_mul, e->in[0]->in[0], graph_const_float(g, DT_f32, log2e));
  node *power = graph_binary(g, OP_sub, x, shift), *made = graph_unary(g, OP_exp2, power);
  x->flags = power->flags = made->flags |= e->flags & NODE_RECOMPUTED;
  return made;
}

/// The positive factor of whole rows that the product or quotient n has beside n->in[k]; null: it has none.
static node *row_factor(const rewriting *r, const node *n, int k) {
  if (n->op == OP_mul) return is_factor(r, n->in[1 - k]) ? n->in[1 - k] : NULL;
  if (n->op != OP_div || k || !is_factor(r, n->in[1])) return NULL;
  graph *g = r->g;
  g->contract = 0;
  node *inverse = graph_binary(g, OP_div, graph_const_float(g, DT_f32, 1), n->in[1]);
  g->contract = r->block;
  return inverse;
}

/// What the product of the exponential and other is; null: it stays.
static node *product(const rewriting *r, const node *e, node *other) {
  graph *g = r->g;
  bool sum = (other->op == OP_add || other->op == OP_sub) && is_inside(r, other);
  node *y = sum ? other->in[0] : NULL, *factor = NULL;
  if (!sum || !is_inside(r, y) || y->nin != 2 || !is_row(r, other->in[1])) return NULL;
  int k = 0;
  while (k < 2 && !(is_inside(r, y->in[k]) && (factor = row_factor(r, y, k)))) k++;
  if (!factor) return NULL;
  g->contract = 0;
  node *z = graph_binary(g, OP_div, other->in[1], factor);
  g->contract = r->block;
  return graph_binary(g, OP_mul, graph_binary(g, other->op, y->in[k], z), with_factor(r, e, factor));
}

static void rewrite(rewriting *r, node *n) {
  graph *g = r->g;
  if ((n->op != OP_mul && n->op != OP_div) || n->type != DT_f32 || !is_inside(r, n)) return;
  int k = is_exponential(r, n->in[0]) ? 0 : 1, first = g->nodes.len;
  if (!is_exponential(r, n->in[k])) return;
  g->contract = r->block;
  node *factor = row_factor(r, n, k);
  node *to = factor ? with_factor(r, n->in[k], factor) : n->op == OP_mul ? product(r, n->in[k], n->in[1 - k]) : NULL;
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
