// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCAN: walks that must go in order along an axis, and are parallel along the others.
//
//   grid N:64 {                        lanes along an axis that is not scanned
//     loop T:1 carry c = identity {    forward or reverse
//       y = c + x[T, N]; store (c if exclusive, else y); yield y
//
// Long sums of floats go block by block, so that rounding errors do not grow with the length: a
// block adds up its own elements from 0, so that blocks also do not wait for one another.
//
//   loop T:128 carry s = 0, lost = 0 {
//     loop T:1 carry c = 0 { y = c + x; store s + y; yield y }
//     yield s + (c + lost), and what that rounds off (passes/lowering/sums.h)
#include "base/fault.h"
#include "passes/lowering/lower_scan.h"
#include "passes/lowering/sums.h"

enum { GRID_ELEMENTS = 16384 };

void scan_use_lanes(kbuild *b, int graph_axis) {
  if (graph_axis < 0 || kb_estimate(b, graph_axis) < 2) return;
  b->k->vec_axis = b->kaxis[graph_axis];
  b->k->vec_lanes = b->lanes;
}

int scan_open_parallel(kbuild *b, const int *axes, int n, int64_t inner) {
  int step[MAX_AXES] = {0};
  for (int i = 0; i < n; i++) step[i] = axes[i] == b->k->vec_axis ? b->lanes : 1;
  schedule_grid(b, axes, step, n, GRID_ELEMENTS / (inner > 0 ? inner : 1));
  kb_begin(b);
  for (int i = 0; i < n; i++) kb_loop(b, axes[i], step[i], NULL, 0);
  return n;
}

void scan_advance(kbuild *b, const node *scan, int axis, tval *const *now, int n, tval **next) {
  dtype t = now[0]->type;
  if (scan->op == OP_affine_scan) {
    affine_step step = affine_next(b, scan, t, axis);
    if (n > 1) affine_pair(b, &step, now, next);
    else next[0] = affine_after(b, &step, now[0]);
    return;
  }
  op combine = op_combiner(scan->op);
  tval *x = kb_value_here(b, scan->in[0]);
  x = kb_as_type(b, axis < 0 ? x : kb_reduce_tile(b, combine, x, &axis, 1), t);
  if (n > 1) sum_pair_short(b, now[0], kb_map(b, OP_add, t, x, now[1], NULL), next);
  else next[0] = kb_map(b, combine, t, now[0], x, NULL);
}

bool scan_is_long(const kbuild *b, const node *scan, int axis) {
  bool adds = scan->op == OP_affine_scan || op_combiner(scan->op) == OP_add;
  return adds && axis >= 0 && dtype_is_float(scan->type) && sum_steps(b, axis, 1) > SUM_BLOCK;
}

/// The walk itself. With `base`, what is stored is counted from there.
static tval *walk_steps(kbuild *b, const scan_steps *s, tval *start, tval *base) {
  const node *scan = b->group->anchor;
  op combine = op_combiner(scan->op);
  tstmt *loop = kb_loop(b, s->axis, 1, &start, 1);
  loop->reverse = s->reverse;
  loop->unroll = s->unroll;
  tval *before = loop->body->params[0];
  tval *after;
  if (s->store) {
    scan_advance(b, scan, s->axis, &before, 1, &after);
  } else {
    tval *x = kb_reduce_tile(b, combine, kb_value_here(b, scan->in[0]), &s->axis, 1);
    after = kb_accumulate(b, combine, (tval *[]){before, x}, 2);
  }
  if (s->store) {
    tval *shown = scan->flags & NODE_EXCLUSIVE ? before : after;
    b->done[scan->id] = base ? kb_map(b, OP_add, scan->type, base, shown, NULL) : shown;
    s->store(b);
    b->done[scan->id] = NULL;
  }
  return kb_end_loop(b, &after, 1)[0];
}

tval *scan_from(kbuild *b, const scan_steps *s, tval *start) {
  const node *scan = b->group->anchor;
  if (!sum_is_long(b, op_combiner(scan->op), scan->type, s->axis, 1))
    return walk_steps(b, s, start, NULL);
  tval *zero = kb_like(b, start, (scalar){.f = 0}), *inits[] = {start, zero};
  tstmt *loop = kb_loop(b, s->axis, SUM_BLOCK, inits, 2);
  loop->reverse = s->reverse;
  tval *sum = loop->body->params[0], *lost = loop->body->params[1];
  tval *next[2];
  tval *block = walk_steps(b, s, zero, sum);
  sum_pair(b, sum, kb_map(b, OP_add, scan->type, block, lost, NULL), next);
  tval **ends = kb_end_loop(b, next, 2);
  return s->store ? NULL : kb_map(b, OP_add, scan->type, ends[0], ends[1], NULL);
}

static void store_outputs(kbuild *b) {
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    kb_store_node(b, out, kb_value_here(b, out), false);
  }
}

void scan_walk(kbuild *b, const int *axes, int n, int axis) {
  const node *scan = b->group->anchor;
  int extents[MAX_AXES];
  for (int i = 0; i < n; i++) extents[i] = b->extent[axes[i]];
  tval *start = kb_fill(b, scan->type, scan_start(scan), axes, extents, n);
  scan_steps steps = {.axis = axis, .reverse = scan->flags & NODE_REVERSE, .store = store_outputs};
  if (scan->op == OP_affine_scan) affine_from(b, &steps, start);
  else scan_from(b, &steps, start);
}

int scan_other_axes(const node *scan, int others[MAX_AXES]) {
  int n = 0;
  for (int i = 0; i < scan->naxes; i++)
    if (scan->axes[i] != scan->attr_axes[0]) others[n++] = scan->axes[i];
  return n;
}

void lower_scan_group(kbuild *b) {
  const node *scan = b->group->anchor;
  int along = scan->attr_axes[0], others[MAX_AXES], n = scan_other_axes(scan, others);
  kb_survey(b);
  int lanes = kb_best_lanes(b, others, n);
  int axes[MAX_AXES];
  n = kb_collapse(b, others, n, axes);
  int axis = kb_own_axis(b, along);
  bool rows = scan_is_along_rows(b, scan, lanes), maps = scan_has_maps(b);
  scan_use_lanes(b, !rows ? lanes : maps ? along : -1);
  int opened = scan_open_parallel(b, axes, n, kb_estimate(b, along));
  if (rows && maps) scan_rows_walk(b, axes, n, axis, store_outputs);
  else scan_walk(b, axes, n, axis);
  while (opened--) kb_end_loop(b, NULL, 0);
}
