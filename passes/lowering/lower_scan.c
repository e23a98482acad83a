// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCAN and GROUP_SCATTER: walks that must go in order along some axes, and are parallel
// along the others.
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
  use_lanes(b, !rows ? lanes : maps ? along : -1);
  int opened = open_parallel(b, axes, n, kb_estimate(b, along));
  if (rows && maps) scan_rows_walk(b, axes, n, axis, store_outputs);
  else scan_walk(b, axes, n, axis);
  while (opened--) kb_end_loop(b, NULL, 0);
}

// a + updates added at indices, in the order of the updates: the walk over the index axes is
// sequential and grid tiles own disjoint parts of the other axes, so there are no races.
//
// Where an element may get many floats, these are added up in a buffer of doubles; for doubles a
// second buffer keeps what the additions round off and the next one takes it in. Blocks as in scans
// would not do: it is not known before which elements are added to.

void scatter_find_axes(const kbuild *b, scatter_axes *s) {
  const node *n = b->group->anchor, *base = n->in[0], *indices = n->in[1], *updates = n->in[2];
  *s = (scatter_axes){.columns = -1};
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

/// An element may get more floats than can be added without a thought to rounding.
static bool adds_many(const kbuild *b, const scatter_axes *s) {
  enum { FEW = 16 };
  int64_t count = 1, size;
  if (!dtype_is_float(b->group->anchor->type)) return false;
  for (int i = 0; i < s->nwalked && count <= FEW; i++) {
    bool known = ix_is_const(&b->l->g->ix, graph_axis_size(b->l->g, s->walked[i]), &size);
    count = known && size <= FEW ? count * size : FEW + 1;
  }
  return count > FEW;
}

static scatter_sums make_sums(kbuild *b, const scatter_axes *s) {
  lower *l = b->l;
  const node *n = b->group->anchor;
  const int_vec *outs = &l->outputs_of[n->id];
  bool many = adds_many(b, s), apart = many && n->type != DT_f64;
  int own = outs->len ? outs->data[0] : l->buffer_of[n->id];
  scatter_sums sums = {.apart = apart, .lost = -1};
  sums.sums = kb_arg(b, apart ? lower_add_temporary(l, n, "sums", DT_f64) : own);
  if (many && !apart) sums.lost = kb_arg(b, lower_add_temporary(l, n, "lost", n->type));
  return sums;
}

/// The base in the type of the sums.
static tval *base_as(kbuild *b, const node *base, dtype t) {
  const node *number = base;
  while (number->op == OP_view) number = number->in[0];
  if (!kb_in_group(b, base) || number->op != OP_const) return kb_as_type(b, kb_value_here(b, base), t);
  return kb_const(b, t, scalar_cast(number->value, base->type, t));
}

/// Rows of the result as they lie in memory: all columns of a grid tile for one place after the other.
static void open_columns(kbuild *b, const scatter_axes *s) {
  if (s->columns >= 0) kb_loop(b, s->columns, s->step, NULL, 0);
}

static void close_columns(kbuild *b, const scatter_axes *s) {
  if (s->columns >= 0) kb_end_loop(b, NULL, 0);
}

/// Of the target's places the updates are for few: wide sums are kept of these alone.
static bool are_few(const kbuild *b, const scatter_axes *s, const scatter_sums *sums) {
  enum { TIMES = 3 };  // a place that is updated is copied back and forth
  int64_t updates = TIMES, least = ix_bounds(&b->k->ix, b->k->axes.data[s->target].size).min;
  if (!sums->apart || s->columns < 0 || least < 1 || b->l->target->sm) return false;
  for (int i = 0; i < s->nwalked; i++)
    updates = estimate_times(updates, kb_kernel_size(b, s->kwalked[i]));
  return updates < kb_kernel_size(b, s->target);
}

/// For all places that are updated, once or more: the wide sums from what the result has, or back.
static void copy_places(kbuild *b, const scatter_axes *s, const scatter_sums *sums, bool back) {
  const node *n = b->group->anchor;
  const int_vec *outs = &b->l->outputs_of[n->id];
  int own[MAX_GROUP_OUTPUTS + 1], nown = 0;
  for (int i = 0; i < outs->len && nown < MAX_GROUP_OUTPUTS; i++)
    own[nown++] = kb_arg(b, outs->data[i]);
  if (!nown) own[nown++] = kb_arg(b, b->l->buffer_of[n->id]);
  for (int i = 0; i < s->nwalked; i++) kb_loop(b, s->kwalked[i], 1, NULL, 0);
  open_columns(b, s);
  tval *index = kb_value_here(b, n->in[1]);
  if (back) kb_copy_at(b, n, index, sums->sums, own, nown);
  else kb_copy_at(b, n, index, own[0], &sums->sums, 1);
  close_columns(b, s);
  for (int i = 0; i < s->nwalked; i++) kb_end_loop(b, NULL, 0);
}

/// The base, and nothing lost.
static void start_sums(kbuild *b, const scatter_sums *s, bool few) {
  const node *n = b->group->anchor;
  tval *base = base_as(b, n->in[0], s->apart && !few ? DT_f64 : n->type);
  ix index[MAX_AXES];
  kb_identity(b, n, index);
  if (s->apart && !few) kb_store(b, s->sums, base, index, n->naxes);
  else kb_store_node(b, n, base, few && kb_nontemporal(b, b->l->buffer_of[n->id]));
  if (s->lost >= 0) kb_store(b, s->lost, kb_const(b, n->type, (scalar){.f = 0}), index, n->naxes);
}

void scatter_walk(kbuild *b, const scatter_axes *s, int rows) {
  const node *n = b->group->anchor;
  scatter_sums sums = make_sums(b, s);
  bool few = are_few(b, s, &sums);
  kb_loop(b, s->target, rows, NULL, 0);
  open_columns(b, s);
  start_sums(b, &sums, few);
  close_columns(b, s);
  kb_end_loop(b, NULL, 0);
  if (few) copy_places(b, s, &sums, false);
  for (int i = 0; i < s->nwalked; i++) kb_loop(b, s->kwalked[i], 1, NULL, 0);
  open_columns(b, s);
  tval *index = kb_value_here(b, n->in[1]), *update = kb_value_here(b, n->in[2]);
  // Updates to one place, which does not move with an axis that is walked: one by one.
  int along[MAX_AXES], nalong = 0;
  for (int i = 0; i < s->nwalked; i++)
    if (!tval_extent(index, s->kwalked[i])) along[nalong++] = s->kwalked[i];
  kb_add_at(b, n, index, kb_reduce_tile(b, OP_add, update, along, nalong), &sums);
  close_columns(b, s);
  for (int i = 0; i < s->nwalked; i++) kb_end_loop(b, NULL, 0);
  if (few) copy_places(b, s, &sums, true);
  if (!sums.apart || few) return;
  kb_loop(b, s->target, rows, NULL, 0);
  open_columns(b, s);
  tval *sum = kb_load_arg(b, n, sums.sums);
  kb_store_node(b, n, kb_map(b, OP_cast, n->type, sum, NULL, NULL), false);
  close_columns(b, s);
  kb_end_loop(b, NULL, 0);
}

/// The columns are walked inside of what is added up; a grid tile for each core, or all of them.
static int columns_width(const kbuild *b, const scatter_axes *s, int64_t others) {
  int64_t columns = kb_kernel_size(b, s->columns), cores = b->l->target->cores;
  int64_t tiles = others >= cores || others < 1 ? 1 : (cores + others - 1) / others;
  int64_t width = (columns + tiles - 1) / tiles, most = 1 << 20;
  if (width > most) width = most;
  return (int)((width + s->step - 1) / s->step * s->step);
}

/// Takes the lanes' axis out of those that are parallel outside.
static int take_columns(kbuild *b, scatter_axes *s, int *outer) {
  enum { VECTORS = 2 };
  int n = 0;
  int64_t others = 1;
  for (int i = 0; i < s->nown; i++) {
    bool lanes = s->kown[i] == b->k->vec_axis && b->k->vec_lanes > 1;
    if (lanes && kb_kernel_size(b, s->kown[i]) >= 2 * VECTORS * b->lanes) {
      s->columns = s->kown[i];
      s->step = VECTORS * b->lanes;
      continue;
    }
    outer[n++] = s->kown[i];
    others = estimate_times(others, kb_kernel_size(b, s->kown[i]));
  }
  if (s->columns >= 0)
    vec_push(b->l->a, &b->k->grid, (grid_axis){s->columns, columns_width(b, s, others)});
  return n;
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
  int outer[MAX_AXES], nouter = take_columns(b, &s, outer);
  int opened = open_parallel(b, outer, nouter, kb_estimate(b, n->attr_axes[0]));
  scatter_walk(b, &s, 1);
  while (opened--) kb_end_loop(b, NULL, 0);
}
