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
static void find_after(const candidate *c, uint8_t *after) {
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    after[n->id] = op_combines(n->op);
    for (int k = 0; k < n->nin; k++) after[n->id] |= c->member[n->in[k]->id] && after[n->in[k]->id];
  }
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

/// One to one; found once per view.
static bool has_inverse(const candidate *c, const node *view, fuse_scratch *s) {
  enum { UNKNOWN, ONE_TO_ONE, OTHER };
  uint8_t *known = &s->inverse[view->id];
  ix index[MAX_AXES];
  if (*known == UNKNOWN && !s->pool) {
    s->pool = arena_new(s->arena, ix_pool);
    ix_init(s->pool, s->arena);
    ix_copy_pool(s->pool, &c->g->ix);
  }
  if (*known == UNKNOWN) *known = view_inverse_in(s->pool, c->g, view, index) ? ONE_TO_ONE : OTHER;
  return *known == ONE_TO_ONE;
}

/// The views that results are stored through.
static ints find_ends(const candidate *c, fuse_scratch *s, uint8_t *after) {
  ints ends = {0};
  bool found = false;
  for (int i = 0; i < c->n; i++) {
    const node *view = c->nodes[i];
    if (view->op != OP_view || !c->stored[view->id]) continue;
    if (!found) find_after(c, after);
    found = true;
    if (is_end(c, view, after) && is_in_the_way(c, view) && !walks_single(c) &&
        has_inverse(c, view, s))
      vec_push(s->arena, &ends, i);
  }
  return ends;
}

through_room through_room_new(arena *a, int n) {
  return (through_room){.after = arena_array(a, uint8_t, n),
                        .member = arena_array(a, uint8_t, n),
                        .stored = arena_array(a, uint8_t, n),
                        .nodes = arena_array(a, node *, n)};
}

static candidate without(const candidate *c, const ints *ends, through_room *room) {
  for (int i = 0; i < room->n; i++)
    room->member[room->nodes[i]->id] = room->stored[room->nodes[i]->id] = 0;
  candidate r = *c;
  r.nodes = room->nodes, r.member = room->member, r.stored = room->stored;
  r.n = 0;
  for (int i = 0, end = 0; i < c->n; i++) {
    node *n = c->nodes[i];
    if (end < ends->len && ends->data[end] == i) end++;
    else r.nodes[r.n++] = n, room->member[n->id] = 1, room->stored[n->id] = c->stored[n->id];
  }
  for (int k = 0; k < ends->len; k++) room->stored[c->nodes[ends->data[k]]->in[0]->id] = 1;
  room->n = r.n;
  return r;
}

candidate fuse_through_in(const candidate *c, fuse_scratch *s, through_room *room) {
  ints ends = find_ends(c, s, room->after);
  return ends.len ? without(c, &ends, room) : *c;
}

candidate fuse_through(const candidate *c, fuse_scratch *s) {
  ints ends = find_ends(c, s, s->through.after);
  if (!ends.len) return *c;
  through_room room = through_room_new(s->arena, c->g->nodes.len);
  return without(c, &ends, &room);
}
