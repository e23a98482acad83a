// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Row factors of exponentials, in the streamed blocks of a derivative, go into the exponent: there they are
// known before the walk, so that one row value does for two, and an element takes one step less.
//
//   exp(x - m) * r                    =  exp2(x * c - (m - log(r)) * c)              p;  c = log2(e)
//   exp(x - m) * (d * r + z)          =  p * (d + z / r)
//
// And a condition that the exponent has too selects nothing that the exponential does not:
//
//   where(c, a * exp2(where(c, s - m, -inf)), 0)   =  a * exp2(where(c, s - m, -inf))
//
// for a made of sums and products of what is in memory: it is finite where that is, and where that is not,
// the block's own products with exponentials of 0 are not numbers either. Of rows in which no key holds, whose m is
// not finite, what a is made of is taken to be 0.
//
// r is known to be positive: a softmax's 1 / sum(exp(..)), of which m - log(r) is the log-sum-exp.
// Source: Dao, "FlashAttention-2" (2023), section 3.1.
#include <math.h>

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

static bool is_number(const node *n, double v) { return n->op == OP_const && n->value.f == v; }

/// where(condition, .., -inf) of the block.
static bool is_masked(const rewriting *r, const node *n) {
  return n->op == OP_where && is_inside(r, n) && n->type == DT_f32 && is_number(n->in[2], -INFINITY);
}

/// exp2(x * c - (m - log(factor)) * c): the row part is made once.
static node *with_factor(const rewriting *r, const node *e, node *factor) {
  graph *g = r->g;
  g->contract = 0;
  node *c = graph_const_float(g, DT_f32, log2e);
  node *shift = graph_binary(g, OP_sub, e->in[0]->in[1], graph_unary(g, OP_log, factor));
  shift = graph_binary(g, OP_mul, shift, c);
  g->contract = r->block;
  // Where no key holds the shift is not finite either: the condition stays outside of the difference.
  node *s = e->in[0]->in[0], *condition = is_masked(r, s) ? s->in[0] : NULL;
  int first = g->nodes.len;
  node *x = graph_binary(g, OP_mul, condition ? s->in[1] : s, graph_const_float(g, DT_f32, log2e));
  node *power = graph_binary(g, OP_sub, x, shift);
  if (condition) power = graph_where(g, condition, power, graph_const_float(g, DT_f32, -INFINITY));
  node *made = graph_unary(g, OP_exp2, power);
  for (int id = first; id < g->nodes.len; id++) g->nodes.data[id]->flags |= e->flags & NODE_RECOMPUTED;
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

// ---- conditions

/// Sums and products of products of what is in memory.
static bool is_tame(const rewriting *r, const node *n, int depth) {
  if (!is_inside(r, n) || n->op == OP_const || op_get(n->op)->class == CLASS_contraction) return true;
  bool linear = n->op == OP_add || n->op == OP_sub || n->op == OP_mul || n->op == OP_neg || n->op == OP_cast;
  if (!linear || !depth) return false;
  for (int k = 0; k < n->nin; k++)
    if (!is_tame(r, n->in[k], depth - 1)) return false;
  return true;
}

/// The factor of n that is 0 unless the condition holds, the others being tame; null: there is none.
static const node *vanishing_factor(const rewriting *r, const node *n, const node *condition) {
  enum { DEEPEST = 8 };
  if (!is_inside(r, n)) return NULL;
  if (n->op == OP_exp || n->op == OP_exp2)
    return is_masked(r, n->in[0]) && n->in[0]->in[0] == condition ? n : NULL;
  const node *found = NULL;
  for (int k = 0; n->op == OP_mul && k < 2 && !found; k++)
    if (is_tame(r, n->in[1 - k], DEEPEST)) found = vanishing_factor(r, n->in[k], condition);
  return found;
}

/// n, of which rows without a key are 0.
static node *guarded(const rewriting *r, node *n, node *shift) {
  graph *g = r->g;
  if (is_row(r, n)) {
    g->contract = 0;
    node *none = graph_binary(g, OP_or, graph_unary(g, OP_is_nan, shift), graph_unary(g, OP_is_inf, shift));
    node *zero = graph_const_float(g, n->type, 0);
    n = graph_reorder(g, graph_where(g, none, zero, n), n->axes);
    g->contract = r->block;
    return n;
  }
  bool linear = is_inside(r, n) && op_is_map(n->op) && n->op != OP_exp && n->op != OP_exp2;
  if (!linear) return n;
  node *in[3];
  bool same = true;
  for (int k = 0; k < n->nin; k++) {
    in[k] = guarded(r, n->in[k], shift);
    same &= in[k] == n->in[k];
  }
  return same ? n : graph_clone_node(g, n, in);
}

static void drop_conditions(graph *g, arena *a, int block) {
  rewriting r = {.g = g, .block = block, .count = g->nodes.len};
  r.replacement = arena_array(a, node *, r.count);
  for (int id = 0; id < r.count; id++) {
    const node *n = g->nodes.data[id];
    bool masked = n->op == OP_where && n->type == DT_f32 && is_inside(&r, n) && is_number(n->in[2], 0);
    const node *power = masked ? vanishing_factor(&r, n->in[1], n->in[0]) : NULL;
    const node *x = power ? power->in[0]->in[1] : NULL;  // x - shift
    if (!x || x->op != OP_sub || !is_row(&r, x->in[1]) || !node_same_axis_set(n, n->in[1])) continue;
    node *shift = x->in[1];
    int first = g->nodes.len;
    g->contract = block;
    r.replacement[id] = graph_reorder(g, guarded(&r, n->in[1], shift), n->axes);
    g->contract = 0;
    for (int k = first; k < g->nodes.len; k++) {
      g->nodes.data[k]->at = n->at;
      g->nodes.data[k]->phase = n->phase;
    }
  }
  node **all = arena_array(a, node *, g->nodes.len);
  memcpy(all, r.replacement, sizeof(node *) * (size_t)r.count);
  graph_compact(g, all);
}

void grad_factors_into_exponents(graph *g, arena *a, int block) {
  rewriting r = {.g = g, .block = block, .count = g->nodes.len};
  r.replacement = arena_array(a, node *, r.count);
  for (int id = 0; id < r.count; id++) rewrite(&r, g->nodes.data[id]);
  if (g->nodes.len > r.count) {
    g->contracts.data[block - 1].rules |= RULE_exponents;
    node **all = arena_array(a, node *, g->nodes.len);
    memcpy(all, r.replacement, sizeof(node *) * (size_t)r.count);
    graph_compact(g, all);
  }
  drop_conditions(g, a, block);
}
