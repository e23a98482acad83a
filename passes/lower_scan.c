// GROUP_SCAN and GROUP_SCATTER: walks that must go in order along some axes, and are parallel
// along the others.
//
//   grid N:64 {                        lanes along an axis that is not scanned
//     loop T:1 carry c = identity {    forward or reverse
//       y = c + x[T, N]; store (c if exclusive, else y); yield y
#include "base/fault.h"
#include "passes/lower.h"

enum { GRID_ELEMENTS = 16384 };

static op scan_combine(op o) {
  switch (o) {
    case OP_cumsum: return OP_add;
    case OP_cumprod: return OP_mul;
    case OP_cummax: return OP_max;
    case OP_cummin: return OP_min;
    default: panic("%s is not a scan", op_get(o)->name);
  }
}

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
  int carried_axes[MAX_AXES], extents[MAX_AXES];
  for (int i = 0; i < n; i++) {
    carried_axes[i] = axes[i];
    extents[i] = b->extent[axes[i]];
  }
  op combine = scan_combine(scan->op);
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
  while (opened--) kb_end_loop(b, NULL, 0);
}

// a + updates added at indices, in the order of the updates: the walk over the index axes is
// sequential and grid tiles own disjoint parts of the other axes, so there are no races.
void lower_scatter_group(kbuild *b) {
  const node *n = b->group->anchor, *base = n->in[0], *indices = n->in[1], *updates = n->in[2];
  int own[MAX_AXES], nown = 0, walked[MAX_AXES], nwalked = 0;
  for (int i = 0; i < n->naxes; i++)
    if (n->axes[i] != n->attr_axes[0]) own[nown++] = n->axes[i];
  for (int i = 0; i < updates->naxes; i++)
    if (!node_has_axis(base, updates->axes[i])) walked[nwalked++] = updates->axes[i];
  for (int i = 0; i < indices->naxes; i++) {
    bool known = node_has_axis(base, indices->axes[i]);
    for (int k = 0; k < nwalked; k++) known |= walked[k] == indices->axes[i];
    if (!known) walked[nwalked++] = indices->axes[i];
  }
  kb_survey(b);
  int free_axes[MAX_AXES], nfree = 0;
  for (int i = 0; i < nown; i++)
    if (!node_has_axis(indices, own[i])) free_axes[nfree++] = own[i];
  int lanes = kb_best_lanes(b, free_axes, nfree), axes[MAX_AXES], kwalked[MAX_AXES];
  int nk = 0;
  for (int i = 0; i < nown; i++) axes[nk++] = kb_own_axis(b, own[i]);
  for (int i = 0; i < nwalked; i++) kwalked[i] = kb_own_axis(b, walked[i]);
  int target = kb_own_axis(b, n->attr_axes[0]);
  use_lanes(b, lanes);
  int opened = open_parallel(b, axes, nk, kb_estimate(b, n->attr_axes[0]));

  kb_loop(b, target, 1, NULL, 0);
  kb_store_node(b, n, kb_value_here(b, base), false);
  kb_end_loop(b, NULL, 0);

  for (int i = 0; i < nwalked; i++) kb_loop(b, kwalked[i], 1, NULL, 0);
  kb_add_at(b, n, kb_value_here(b, indices), kb_value_here(b, updates));
  for (int i = 0; i < nwalked; i++) kb_end_loop(b, NULL, 0);
  while (opened--) kb_end_loop(b, NULL, 0);
}
