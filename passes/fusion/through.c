// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Views at the end of a kernel: results are stored through them.
//
//   o = dot(p, v, T)                       S, H, E
//   return o[(H, E) -> M]                  o is stored at [S, H * 64 + E]
//
// Such a view only says where elements go, so that a kernel is judged and lowered as if it returned what
// is seen. Where a shape can read the values through the view it does, and this is not needed.
#include "passes/fusion/fuse.h"

bool view_keeps(const graph *g, const node *view, const int *fixed, int nfixed) {
  const node *from = view->in[0];
  for (int k = 0; k < from->naxes; k++) {
    int axis;
    bool is_fixed = false;
    for (int i = 0; i < nfixed; i++) is_fixed |= fixed[i] == from->axes[k];
    if (is_fixed) {
      if (!ix_is_axis(&g->ix, view->index[k], &axis) || axis != from->axes[k]) return false;
      continue;
    }
    for (int i = 0; i < nfixed; i++)
      if (ix_uses_axis(&g->ix, view->index[k], fixed[i])) return false;
  }
  return true;
}

/// By node id: made of what a combining op gave.
static uint8_t *find_after(const candidate *c, arena *a) {
  uint8_t *after = arena_array(a, uint8_t, c->g->nodes.len);
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    after[n->id] = op_combines(n->op);
    for (int k = 0; k < n->nin; k++) after[n->id] |= c->member[n->in[k]->id] && after[n->in[k]->id];
  }
  return after;
}

/// A running combine along an axis of one element, or of none, has a loop over it, and its values that
/// axis, which a view need not show.
static bool walks_single(const candidate *c) {
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    if (op_get(n->op)->class == CLASS_scan &&
        ix_bounds(&c->g->ix, graph_axis_size(c->g, n->attr_axes[0])).max <= 1)
      return true;
  }
  return false;
}

/// The view is the end of the kernel, and of what a combining op gave.
static bool is_end(const candidate *c, const node *view, const uint8_t *after) {
  if (!c->member[view->in[0]->id] || !after[view->in[0]->id]) return false;
  for (int i = 0; i < c->n; i++)
    for (int k = 0; k < c->nodes[i]->nin; k++)
      if (c->nodes[i]->in[k] == view) return false;
  return true;
}

static bool is_in_the_way(const candidate *c, const node *view) {
  if (c->promise) return !view_is_reorder(c->g, view);
  for (int i = 0; i < c->n; i++)
    if (op_combines(c->nodes[i]->op) &&
        !view_keeps(c->g, view, c->nodes[i]->axes, c->nodes[i]->naxes))
      return true;
  return false;
}

candidate fuse_through(const candidate *c, arena *a) {
  candidate r = *c;
  uint8_t *member = NULL, *stored = NULL, *after = NULL;
  for (int i = 0; i < c->n; i++) {
    const node *view = c->nodes[i];
    ix_pool pool;
    ix index[MAX_AXES];
    if (view->op != OP_view || !c->stored[view->id]) continue;
    if (!after) after = find_after(c, a);
    if (!is_end(c, view, after) || !is_in_the_way(c, view) || walks_single(c)) continue;
    if (!view_inverse(a, c->g, view, &pool, index)) continue;
    if (!member) {
      member = arena_copy(a, c->member, (size_t)c->g->nodes.len);
      stored = arena_copy(a, c->stored, (size_t)c->g->nodes.len);
    }
    member[view->id] = stored[view->id] = 0;
    stored[view->in[0]->id] = 1;
  }
  if (!member) return r;
  r.nodes = arena_array(a, node *, c->n);
  r.member = member;
  r.stored = stored;
  r.n = 0;
  for (int i = 0; i < c->n; i++)
    if (member[c->nodes[i]->id]) r.nodes[r.n++] = c->nodes[i];
  return r;
}
