// GROUP_SCAN and GROUP_SCATTER: walks that must go in order along some axes, and are parallel
// along the others.
//
//   grid N:64 {                        lanes along an axis that is not scanned
//     loop T:1 carry c = identity {    forward or reverse
//       y = c + x[T, N]; store (c if exclusive, else y); yield y
#include "base/fault.h"
#include "passes/lowering/lower_scan.h"

enum { GRID_ELEMENTS = 16384 };

/// Lanes along `axis` when it is worth it; else scalar code.
static void use_lanes(kbuild *b, int graph_axis) {
  if (graph_axis < 0 || kb_estimate(b, graph_axis) < 2) return;
  b->k->vec_axis = b->kaxis[graph_axis];
  b->k->vec_lanes = b->lanes;
}

/// Parallel axes as a grid with loops; returns the number of loops opened.
static int open_parallel(kbuild *b, const int *axes, int n, int64_t inner) {
  int step[MAX_AXES] = {0};
  for (int i = 0; i < n; i++) step[i] = axes[i] == b->k->vec_axis ? b->lanes : 1;
  schedule_grid(b, axes, step, n, GRID_ELEMENTS / (inner > 0 ? inner : 1));
  kb_begin(b);
  for (int i = 0; i < n; i++) kb_loop(b, axes[i], step[i], NULL, 0);
  return n;
}

void scan_walk(kbuild *b, const int *axes, int n, int axis) {
  const node *scan = b->group->anchor;
  int carried_axes[MAX_AXES], extents[MAX_AXES];
  for (int i = 0; i < n; i++) {
    carried_axes[i] = axes[i];
    extents[i] = b->extent[axes[i]];
  }
  op combine = op_combiner(scan->op);
  tval *start = kb_fill(b, scan->type, op_identity(scan->op, scan->type), carried_axes, extents, n);
  tstmt *loop = kb_loop(b, axis, 1, &start, 1);
  loop->reverse = scan->flags & NODE_REVERSE;
  tval *before = loop->body->params[0];
  tval *x = kb_value_here(b, scan->in[0]);
  x = kb_reduce_tile(b, combine, x, &axis, 1);
  tval *after = kb_map(b, combine, scan->type, before, x, NULL);
  b->done[scan->id] = scan->flags & NODE_EXCLUSIVE ? before : after;
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    kb_store_node(b, out, kb_value_here(b, out), false);
  }
  kb_end_loop(b, &after, 1);
}

void lower_scan_group(kbuild *b) {
  const node *scan = b->group->anchor;
  int along = scan->attr_axes[0], others[MAX_AXES], n = 0;
  for (int i = 0; i < scan->naxes; i++)
    if (scan->axes[i] != along) others[n++] = scan->axes[i];
  kb_survey(b);
  int lanes = kb_best_lanes(b, others, n);
  int axes[MAX_AXES];
  n = kb_collapse(b, others, n, axes);
  int axis = kb_own_axis(b, along);
  use_lanes(b, lanes);
  int opened = open_parallel(b, axes, n, kb_estimate(b, along));
  scan_walk(b, axes, n, axis);
  while (opened--) kb_end_loop(b, NULL, 0);
}

// a + updates added at indices, in the order of the updates: the walk over the index axes is
// sequential and grid tiles own disjoint parts of the other axes, so there are no races.

void scatter_find_axes(const kbuild *b, scatter_axes *s) {
  const node *n = b->group->anchor, *base = n->in[0], *indices = n->in[1], *updates = n->in[2];
  *s = (scatter_axes){0};
  for (int i = 0; i < n->naxes; i++)
    if (n->axes[i] != n->attr_axes[0]) s->own[s->nown++] = n->axes[i];
  for (int i = 0; i < updates->naxes; i++)
    if (!node_has_axis(base, updates->axes[i])) s->walked[s->nwalked++] = updates->axes[i];
  for (int i = 0; i < indices->naxes; i++) {
    bool known = node_has_axis(base, indices->axes[i]);
    for (int k = 0; k < s->nwalked; k++) known |= s->walked[k] == indices->axes[i];
    if (!known) s->walked[s->nwalked++] = indices->axes[i];
  }
}

void scatter_make_axes(kbuild *b, scatter_axes *s) {
  for (int i = 0; i < s->nown; i++) s->kown[i] = kb_own_axis(b, s->own[i]);
  for (int i = 0; i < s->nwalked; i++) s->kwalked[i] = kb_own_axis(b, s->walked[i]);
  s->target = kb_own_axis(b, b->group->anchor->attr_axes[0]);
}

void scatter_walk(kbuild *b, const scatter_axes *s, int rows) {
  const node *n = b->group->anchor;
  kb_loop(b, s->target, rows, NULL, 0);
  kb_store_node(b, n, kb_value_here(b, n->in[0]), false);
  kb_end_loop(b, NULL, 0);
  for (int i = 0; i < s->nwalked; i++) kb_loop(b, s->kwalked[i], 1, NULL, 0);
  tval *index = kb_value_here(b, n->in[1]), *update = kb_value_here(b, n->in[2]);
  // Updates to one place, which does not move with an axis that is walked: one by one.
  int along[MAX_AXES], nalong = 0;
  for (int i = 0; i < s->nwalked; i++)
    if (!tval_extent(index, s->kwalked[i])) along[nalong++] = s->kwalked[i];
  kb_add_at(b, n, index, kb_reduce_tile(b, OP_add, update, along, nalong));
  for (int i = 0; i < s->nwalked; i++) kb_end_loop(b, NULL, 0);
}

void lower_scatter_group(kbuild *b) {
  const node *n = b->group->anchor;
  scatter_axes s;
  scatter_find_axes(b, &s);
  kb_survey(b);
  int free_axes[MAX_AXES], nfree = 0;
  for (int i = 0; i < s.nown; i++)
    if (!node_has_axis(n->in[1], s.own[i])) free_axes[nfree++] = s.own[i];
  int lanes = kb_best_lanes(b, free_axes, nfree);
  scatter_make_axes(b, &s);
  use_lanes(b, lanes);
  int opened = open_parallel(b, s.kown, s.nown, kb_estimate(b, n->attr_axes[0]));
  scatter_walk(b, &s, 1);
  while (opened--) kb_end_loop(b, NULL, 0);
}
