// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Axes that are walked together, and lie side by side in memory, become one:
//
//   s = dot(q, k[P, R, D], D)    max(s, P, R)   sum(.., P, R)   dot(.., v[P, R, E], P, R)
//   s = dot(q, k'[T, D], D)      max(s, T)      sum(.., T)      dot(.., v'[T, E], T)       T = P*R
//
// with k' = k[P = T / R, R = T % R], which reads what k reads. Only where a contract streams both, or
// products are summed over them and they are reduced in another way as well: the plans of streams are
// those of one axis. Not where something has one of them alone or is returned with them.
#include "passes/rewrite/rewrite.h"

typedef struct merging {
  graph *g;
  int outer, inner;
  uint8_t *in;  // by node id: is rebuilt
  bool product, reduction, streamed;
} merging;

/// Both or none of them; *any: both.
static bool agrees(const merging *m, const int *axes, int n, bool *any) {
  bool outer = axes_have(axes, n, m->outer);
  *any |= outer;
  return outer == axes_have(axes, n, m->inner);
}

static bool combines(const node *n) {
  op_class c = op_get(n->op)->class;
  return c == CLASS_contraction || (c == CLASS_reduce && !op_is_arg(n->op));
}

/// One beside the other in memory, or none of them.
static bool lies_together(const merging *m, const node *n) {
  for (int k = 0; k < n->naxes; k++)
    if (n->axes[k] == m->outer) return k + 1 < n->naxes && n->axes[k + 1] == m->inner;
  return !node_has_axis(n, m->inner);
}

static bool is_read(const node *n) { return n->op == OP_param || n->op == OP_view; }

/// Marks what is rebuilt. False: something is in the way.
static bool find(merging *m) {
  const graph *g = m->g;
  memset(m->in, 0, (size_t)g->nodes.len);
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    bool of_result = false, over = false, reads = false;
    for (int k = 0; k < n->nin; k++) reads |= m->in[n->in[k]->id] && node_has_axis(n->in[k], m->outer);
    if (is_read(n) && !reads) continue;
    if (!agrees(m, n->axes, n->naxes, &of_result) || !agrees(m, n->attr_axes, n->nattr_axes, &over))
      return false;
    if (!of_result && !over && !reads) continue;
    if (!combines(n) && !op_is_map(n->op)) return false;
    for (int k = 0; k < n->nin; k++)
      if (is_read(n->in[k]) && !lies_together(m, n->in[k])) return false;
    m->in[id] = 1;
    m->product |= over && op_get(n->op)->class == CLASS_contraction;
    m->reduction |= over && op_get(n->op)->class == CLASS_reduce;
  }
  for (int k = 0; k < g->outputs.len; k++) {
    const node *n = g->outputs.data[k].value;
    if (m->in[n->id] && node_has_axis(n, m->outer)) return false;
  }
  for (int k = 0; k < g->contracts.len; k++) {
    const contract *c = &g->contracts.data[k];
    if (!agrees(m, c->axes, c->naxes, &m->streamed)) return false;
  }
  return m->streamed || (m->product && m->reduction);
}

/// The axes with the merged one in the place of both.
static int merged(const merging *m, int axis, const int *axes, int n, int *out) {
  int count = 0;
  for (int k = 0; k < n; k++)
    if (axes[k] != m->inner) out[count++] = axes[k] == m->outer ? axis : axes[k];
  return count;
}

static node *read_merged(merging *m, node *n, int axis) {
  graph *g = m->g;
  ix *index = arena_array(g->arena, ix, n->naxes), at = ix_axis(&g->ix, axis);
  ix size = graph_axis_size(g, m->inner);
  int *axes = arena_array(g->arena, int, n->naxes), count = merged(m, axis, n->axes, n->naxes, axes);
  for (int k = 0; k < n->naxes; k++)
    index[k] = n->axes[k] == m->outer   ? ix_div(&g->ix, at, size)
               : n->axes[k] == m->inner ? ix_mod(&g->ix, at, size)
                                        : ix_axis(&g->ix, n->axes[k]);
  return graph_view(g, n, index, axes, count);
}

static node *rebuild(merging *m, const node *n, int axis, node **by) {
  graph *g = m->g;
  node *in[3], *to;
  int *attr = arena_array(g->arena, int, n->nattr_axes);
  int count = merged(m, axis, n->attr_axes, n->nattr_axes, attr);
  for (int k = 0; k < n->nin; k++) {
    node *x = n->in[k];
    if (!by[x->id] && node_has_axis(x, m->outer)) by[x->id] = read_merged(m, x, axis);
    in[k] = by[x->id] ? by[x->id] : x;
  }
  g->contract = n->contract, g->phase = n->phase, g->region = n->region;
  switch (op_get(n->op)->class) {
    case CLASS_contraction: to = graph_dot(g, in[0], in[1], attr, count); break;
    case CLASS_reduce: to = graph_reduce(g, n->op, in[0], attr, count); break;
    default: to = graph_map(g, n->op, in, n->nin, n->type);
  }
  to->at = n->at;
  to->flags = n->flags;
  if (!node_has_axis(n, m->outer)) to = graph_reorder(g, to, n->axes);
  g->contract = g->phase = g->region = 0;
  return to;
}

static void merge(merging *m) {
  graph *g = m->g;
  str a = g->axes.data[m->outer].name, b = g->axes.data[m->inner].name;
  ix size = ix_mul(&g->ix, graph_axis_size(g, m->outer), graph_axis_size(g, m->inner));
  int axis = graph_add_axis(g, str_printf(g->arena, "%.*s_%.*s", STR_FMT(a), STR_FMT(b)), size);
  int count = g->nodes.len;
  node **by = arena_array(g->arena, node *, count), **last;
  for (int id = 0; id < count; id++)
    if (m->in[id]) by[id] = rebuild(m, g->nodes.data[id], axis, by);
  for (int k = 0; k < g->contracts.len; k++) {
    contract *c = &g->contracts.data[k];
    int *axes = arena_array(g->arena, int, c->naxes);
    c->naxes = merged(m, axis, c->axes, c->naxes, axes);
    c->axes = axes;
  }
  last = arena_array(g->arena, node *, g->nodes.len);
  for (int id = 0; id < count; id++)
    if (m->in[id]) last[id] = by[id];
  graph_compact(g, last);
}

/// A pair that is reduced over together, side by side in an operand.
static bool find_pair(merging *m) {
  const graph *g = m->g;
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    for (int k = 0; k < n->nin && combines(n) && n->nattr_axes > 1; k++)
      for (int i = 0; i + 1 < n->in[k]->naxes; i++) {
        m->outer = n->in[k]->axes[i], m->inner = n->in[k]->axes[i + 1];
        m->product = m->reduction = m->streamed = false;
        bool both = axes_have(n->attr_axes, n->nattr_axes, m->outer) &&
                    axes_have(n->attr_axes, n->nattr_axes, m->inner);
        if (both && find(m)) return true;
      }
  }
  return false;
}

bool pass_merge_axes(pass_ctx *ctx) {
  bool any = false;
  merging m = {.g = ctx->graph};
  if (ctx->graph->fused) return false;
  for (;; any = true) {
    m.in = arena_array(ctx->scratch, uint8_t, m.g->nodes.len);
    if (!find_pair(&m)) return any;
    merge(&m);
  }
}
