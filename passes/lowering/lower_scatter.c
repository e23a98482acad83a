// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCATTER in order, and the choice on CPUs. See lower_scatter.h.
#include "passes/lowering/lower_scan.h"
#include "passes/lowering/lower_scatter.h"

enum { GRID_ELEMENTS = 16384 };

// a + updates added at indices, in the order of the updates: the walk over the index axes is
// sequential and grid tiles own disjoint parts of the other axes, so there are no races.
//
// Where an element may get many floats, these are added up in a buffer of doubles; for doubles a
// second buffer keeps what the additions round off and the next one takes it in. Blocks as in scans
// would not do: it is not known before which elements are added to.

static void find_axes(const kbuild *b, scatter_axes *s) {
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

bool scatter_adds_many(const kbuild *b, const scatter_axes *s) {
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
  bool many = scatter_adds_many(b, s), apart = many && n->type != DT_f64;
  int own = outs->len ? outs->data[0] : l->buffer_of[n->id];
  scatter_sums sums = {.apart = apart, .lost = -1};
  sums.sums = kb_arg(b, apart ? lower_add_temporary(l, n, "sums", DT_f64) : own);
  if (many && !apart) sums.lost = kb_arg(b, lower_add_temporary(l, n, "lost", n->type));
  return sums;
}

tval *scatter_base_as(kbuild *b, const node *base, dtype t) {
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
  tval *base = scatter_base_as(b, n->in[0], s->apart && !few ? DT_f64 : n->type);
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

/// The step along the lanes: `vectors` vectors, fewer on a short axis.
static int lane_step(const kbuild *b, int axis, int vectors) {
  int64_t size = kb_kernel_size(b, axis);
  while (vectors > 1 && size <= (int64_t)b->lanes * vectors / 2) vectors /= 2;
  return b->lanes * vectors;
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

static int64_t pieces(int64_t size, int64_t piece) { return size > piece ? (size + piece - 1) / piece : 1; }

/// Grid tiles own rows and, where there are several cores, parts of the columns: one row may get all.
static void set_rows_grid(kbuild *b, const scatter_axes *s, const int *free_axes, const int *step, int n) {
  int64_t row = 1, cores = b->l->target->cores;
  for (int i = 0; i < n; i++) row = estimate_times(row, kb_kernel_size(b, free_axes[i]));
  int64_t rows = GRID_ELEMENTS / (row > 0 ? row : 1);
  kernel_set_grid(b->k, s->target, rows < 1 ? 1 : (int)rows);
  for (int i = 0; i < n; i++) {
    int64_t size = kb_kernel_size(b, free_axes[i]), parts = cores, most = 1 << 20;
    while (parts > 1 && size < 4 * parts * step[i]) parts /= 2;
    int64_t extent = pieces(size, parts);
    if (extent > most) extent = most;
    kernel_set_grid(b->k, free_axes[i], (int)pieces(extent, step[i]) * step[i]);
  }
}

/// Rows in grid tiles of their own, each stored once.
static void add_by_rows(kbuild *b, scatter_axes *s, const scatter_lists *lists, int lanes) {
  enum { VECTORS = 8 };
  const node *n = b->group->anchor;
  int free_axes[MAX_AXES], step[MAX_AXES];
  for (int i = 0; i < lists->nbatch; i++) kernel_set_grid(b->k, kb_own_axis(b, lists->batch[i]), 1);
  s->target = kb_own_axis(b, n->attr_axes[0]);
  int nfree = kb_collapse(b, lists->free, lists->nfree, free_axes);
  scan_use_lanes(b, lanes);
  int updates = kb_axis(b, STR("update"), scatter_count(b, lists));
  for (int i = 0; i < nfree; i++)
    step[i] = free_axes[i] == b->k->vec_axis ? lane_step(b, free_axes[i], VECTORS) : 1;
  set_rows_grid(b, s, free_axes, step, nfree);
  kb_begin(b);
  for (int i = 0; i < lists->nbatch; i++) kb_loop(b, b->kaxis[lists->batch[i]], 1, NULL, 0);
  kb_loop(b, s->target, 1, NULL, 0);
  tval *within[2];
  scatter_find_list(b, s, lists, within);
  for (int i = 0; i < nfree; i++) kb_loop(b, free_axes[i], step[i], NULL, 0);
  tval *sum = scatter_row_sum(b, s, lists, updates, within);
  kb_store_node(b, n, sum, kb_nontemporal(b, b->l->buffer_of[n->id]));
  for (int i = 0; i < nfree + 1 + lists->nbatch; i++) kb_end_loop(b, NULL, 0);
}

/// The graph axis that lanes run along.
static int find_lanes(kbuild *b, const scatter_axes *s) {
  int free_axes[MAX_AXES], nfree = 0;
  kb_survey(b);
  for (int i = 0; i < s->nown; i++)
    if (!node_has_axis(b->group->anchor->in[1], s->own[i])) free_axes[nfree++] = s->own[i];
  return kb_best_lanes(b, free_axes, nfree);
}

static void add_in_order(kbuild *b, scatter_axes *s) {
  int lanes = find_lanes(b, s);
  scatter_make_axes(b, s);
  scan_use_lanes(b, lanes);
  int outer[MAX_AXES], nouter = take_columns(b, s, outer);
  int opened = scan_open_parallel(b, outer, nouter, kb_estimate(b, b->group->anchor->attr_axes[0]));
  scatter_walk(b, s, 1);
  while (opened--) kb_end_loop(b, NULL, 0);
}

bool scatter_open(kbuild *b, scatter_axes *s, scatter_lists *lists) {
  find_axes(b, s);
  if (!scatter_by_rows(b, s, lists)) return false;
  scatter_add_lists(b->l, b->group->anchor, lists);
  return true;
}

void lower_scatter_group(kbuild *b) {
  lower *l = b->l;
  const group *grp = b->group;
  scatter_axes s;
  scatter_lists lists;
  if (!scatter_open(b, &s, &lists)) {
    add_in_order(b, &s);
    return;
  }
  scatter_list_updates(l, grp, &lists);
  kb_init(b, l, grp, "");
  b->unread = grp->anchor->in[1];
  int lanes = find_lanes(b, &s);
  add_by_rows(b, &s, &lists, lanes);
}
