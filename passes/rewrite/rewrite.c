// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The walk that local rewrites share.
#include "passes/rewrite/rewrite.h"

#include <math.h>

#include "base/fault.h"

enum { MAX_ROUNDS = 16, MAX_STEPS = 32 };

static node *resolve(const rewrite *r, node *n) {
  while (n->id < r->count && r->by[n->id]) n = r->by[n->id];
  return n;
}

bool rewrite_used_once(const rewrite *r, const node *n) {
  return n->id < r->count && r->uses[n->id] == 1;
}

/// `to` in the place of n: same axes in the same storage order, and n's position when it is new.
static node *fit(const rewrite *r, node *to, const node *n, int first_new) {
  graph *g = r->g;
  for (int id = first_new; id < g->nodes.len; id++) {
    // A wrong index is reported where it is written: who builds a gather says so.
    if (g->nodes.data[id]->op != OP_gather) g->nodes.data[id]->at = n->at;
    g->nodes.data[id]->contract = n->contract;
    g->nodes.data[id]->region = n->region;
    g->nodes.data[id]->phase = n->phase;
  }
  check(to->type == n->type && node_same_axis_set(to, n));
  if (to->op != OP_param) to->flags |= n->flags & NODE_KEEP;
  if (to->id < first_new) return graph_reorder(g, to, n->axes);
  memcpy(to->axes, n->axes, sizeof(int) * (size_t)n->naxes);
  return to;
}

static bool reads(const node *n, const node *operand) {
  for (int k = 0; k < n->nin; k++)
    if (n->in[k] == operand) return true;
  return false;
}

/// n or what it reads is outside the operand's block and reads it: it is a result of the block.
static bool reads_result(const node *n, const node *operand) {
  bool any = reads(n, operand);
  for (int k = 0; k < n->nin; k++)
    any |= n->in[k]->contract != operand->contract && reads(n->in[k], operand);
  return any;
}

/// What was made for n looks into a block that n is not in, for a value that was no result: the
/// block would have another result.
static bool opens_contract(const rewrite *r, const node *n, int first_new) {
  const graph *g = r->g;
  if (!g->contracts.len) return false;
  for (int id = first_new; id < g->nodes.len; id++)
    for (int k = 0; k < g->nodes.data[id]->nin; k++) {
      const node *in = g->nodes.data[id]->in[k];
      if (op_get(in->op)->class == CLASS_leaf) continue;  // nothing computes it
      if (in->id < first_new && in->contract && in->contract != n->contract && !reads_result(n, in))
        return true;
    }
  return false;
}

static node *rewrite_node(const rewrite *r, rewrite_fn *rule, node *n) {
  node *result = n;
  for (int step = 0; step < MAX_STEPS; step++) {
    int first_new = r->g->nodes.len;
    node *next = rule(r, result);
    if (next == result || opens_contract(r, result, first_new)) break;
    next = fit(r, next, result, first_new);
    result = next;
    if (next->id < r->count) break;  // it had its turn
  }
  return result;
}

static bool rewrite_round(rewrite *r, rewrite_fn *rule, arena *scratch) {
  graph *g = r->g;
  bool changed = false;
  r->count = g->nodes.len;
  r->by = arena_array(scratch, node *, r->count);
  r->uses = graph_use_counts(g, scratch);
  for (int id = 0; id < r->count; id++) {
    node *n = g->nodes.data[id];
    for (int k = 0; k < n->nin; k++) n->in[k] = resolve(r, n->in[k]);
    if (n->op == OP_param) continue;
    node *to = rewrite_node(r, rule, n);
    if (to == n) continue;
    r->by[id] = to;
    changed = true;
  }
  if (!changed) {
    if (g->nodes.len > r->count) graph_compact(g, NULL);  // what rules built and did not use
    return false;
  }
  node **by = arena_array(scratch, node *, g->nodes.len);
  memcpy(by, r->by, sizeof(node *) * (size_t)r->count);
  graph_compact(g, by);
  return true;
}

static bool run(pass_ctx *ctx, rewrite_fn *rule, void *state, int rounds) {
  if (ctx->graph->fused) return false;  // kernels are settled
  rewrite r = {.g = ctx->graph, .state = state};
  r.fast_math = ctx->options && ctx->options->fast_math;
  bool changed = false;
  for (int i = 0; i < rounds && rewrite_round(&r, rule, ctx->scratch); i++) changed = true;
  return changed;
}

bool rewrite_graph(pass_ctx *ctx, rewrite_fn *rule, void *state) {
  return run(ctx, rule, state, MAX_ROUNDS);
}

bool rewrite_graph_once(pass_ctx *ctx, rewrite_fn *rule, void *state) {
  return run(ctx, rule, state, 1);
}

// ---- questions

bool node_is_const(const node *n, double *value) {
  if (n->op != OP_const) return false;
  *value = dtype_is_float(n->type) ? n->value.f : (double)n->value.i;
  return true;
}

bool node_is_value(const node *n, double value) {
  double v;
  return node_is_const(n, &v) && v == value && !signbit(v) == !signbit(value);
}

bool node_is_zero(const node *n) {
  double v;
  return node_is_const(n, &v) && v == 0;
}

bool node_is_negative_zero(const node *n) {
  double v;
  return node_is_const(n, &v) && v == 0 && signbit(v);
}

node *spread(graph *g, node *value, const node *like) {
  if (node_same_axis_set(value, like)) return value;
  ix index[MAX_AXES];
  for (int k = 0; k < value->naxes; k++) index[k] = ix_axis(&g->ix, value->axes[k]);
  return graph_view(g, value, index, like->axes, like->naxes);
}
