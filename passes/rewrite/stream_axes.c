// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Derivatives of streamed blocks for products of warpgroups, which walk one axis. Where heads share keys (J of
// them here), the gradient of a key is summed over rows and heads:
//
//   %d = dot %w, %q over S, J                    %e = dot %w, %q over S       [.., J]: walked by blocks of
//   %g = bf16(%d)                    ──▶         %d = sum %e over J           their own, and added up after
//                                                %g = bf16(%d)                the block
//
// What is stored for that is as long as the rows' gradients, and not along the forward block's stream.
#include "base/fault.h"
#include "passes/rewrite/stream.h"

typedef struct axes_split {
  graph *g;
  int number;           // 1 + contract
  const int *axes;      // streamed
  int naxes, keep;      // that is walked
  uint8_t *sums, *after;  // by node id: over streamed axes; made of such
} axes_split;

static bool carries(const axes_split *s, const node *n) {
  for (int k = 0; k < s->naxes; k++)
    if (node_has_axis(n, s->axes[k])) return true;
  return false;
}

/// What is made of sums does not go on in the walk, and there is nothing else over the streamed axes.
static bool find_sums(axes_split *s) {
  const graph *g = s->g;
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    if (n->contract != s->number) continue;
    int over = 0;
    bool leaf = op_get(n->op)->class == CLASS_leaf;
    for (int k = 0; k < n->nattr_axes && !leaf; k++) over += axes_have(s->axes, s->naxes, n->attr_axes[k]);
    for (int k = 0; k < n->nin; k++) s->after[id] |= s->sums[n->in[k]->id] | s->after[n->in[k]->id];
    if (over && n->op != OP_sum && n->op != OP_dot) return false;
    if (over && (over < s->naxes || s->after[id])) return false;
    s->sums[id] = over > 0;
    if (s->after[id] && (carries(s, n) || !(op_is_map(n->op) || n->op == OP_view))) return false;
  }
  return true;
}

static node *divided(const axes_split *s, const node *n) {
  graph *g = s->g;
  int walked[MAX_AXES], others[MAX_AXES], nwalked = 0, nothers = 0;
  for (int k = 0; k < n->nattr_axes; k++) {
    int axis = n->attr_axes[k];
    if (axis != s->keep && axes_have(s->axes, s->naxes, axis)) others[nothers++] = axis;
    else walked[nwalked++] = axis;
  }
  int first = g->nodes.len;
  g->contract = s->number;
  node *sum = n->op == OP_dot ? graph_dot(g, n->in[0], n->in[1], walked, nwalked)
                              : graph_reduce(g, OP_sum, n->in[0], walked, nwalked);
  g->contract = 0;
  check(sum->type == n->type);
  node *to = graph_reorder(g, graph_reduce(g, OP_sum, sum, others, nothers), n->axes);
  for (int id = first; id < g->nodes.len; id++) {
    g->nodes.data[id]->at = n->at;
    g->nodes.data[id]->phase = n->phase;
  }
  return to;
}

/// The longest of the streamed axes, of equal ones the last of the first product that has them: what the forward
/// block has tiles of (passes/fusion/stream_form.c).
static int row_of(const graph *g, int number, const contract *c) {
  int keep = c->axes[0];
  int64_t longest = 0;
  for (int id = 0; id < g->nodes.len && !longest; id++) {
    const node *n = g->nodes.data[id];
    if (n->contract != number || op_get(n->op)->class != CLASS_contraction || !node_has_axis(n, keep)) continue;
    for (int k = 0; k < n->naxes; k++) {
      int64_t size = ix_estimate(&g->ix, graph_axis_size(g, n->axes[k]));
      if (axes_have(c->axes, c->naxes, n->axes[k]) && size >= longest) longest = size, keep = n->axes[k];
    }
  }
  return keep;
}

static bool split(graph *g, arena *a, int number) {
  contract *c = &g->contracts.data[number - 1];
  axes_split s = {.g = g, .number = number, .axes = c->axes, .naxes = c->naxes, .keep = row_of(g, number, c)};
  int n = g->nodes.len;
  s.sums = arena_array(a, uint8_t, n);
  s.after = arena_array(a, uint8_t, n);
  if (!find_sums(&s)) return false;
  node **to = arena_array(a, node *, 4 * n + 4);
  for (int id = 0; id < n; id++) {
    if (s.sums[id]) to[id] = divided(&s, g->nodes.data[id]);
    if (s.after[id]) g->nodes.data[id]->contract = 0;
  }
  check(g->nodes.len <= 4 * n + 4);
  c->axes = arena_copy(g->arena, &s.keep, sizeof s.keep);
  c->naxes = 1;
  graph_compact(g, to);
  return true;
}

bool stream_one_axis(pass_ctx *ctx) {
  graph *g = ctx->graph;
  const target_info *t = ctx->options ? ctx->options->target : NULL;
  bool changed = false;
  for (int k = 0; t && t->wgmma && k < g->contracts.len; k++) {
    const contract *c = &g->contracts.data[k];
    if (c->streamed && c->gradient && c->naxes > 1) changed |= split(g, ctx->scratch, k + 1);
  }
  return changed;
}
