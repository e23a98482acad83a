// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A scatter by rows on a GPU: a block for each row adds up what is listed for it.
//
//   layout { D:512 = r4 t128@1, update:4 = r4 }
//   grid V:1, D:512 {                             several rows where they are short and get little
//     sums = loop update:4 within 0, n { accum what is listed at ends[V] + update, below n }
//     store sums over update
//
// One list may have nearly all updates. Parts of the order that are for one row alone are added up before,
// by blocks of their own:
//
//   parts[p] = the sum of what is listed from 256 p on, if all 256 are for one row
//
// so that the row's block has these and what its list has before the first and behind the last of them.
#include "passes/lowering/gpu.h"
#include "passes/lowering/gpu_scatter.h"

enum { PART = 256 };

typedef struct rows {
  const scatter_lists *lists;
  scatter_sum sum;
  int stride;          // of thread numbers, so far
  int updates, lanes;  // kernel axis of positions in a list, and how many are added at a time
} rows;

/// Threads along the columns, which the grid walks.
static void lay_columns(kbuild *b, rows *r) {
  enum { THREADS = 256, ELEMENTS = 4 };
  const scatter_lists *lists = r->lists;
  int axes[MAX_AXES], lanes = lists->nfree ? kb_best_lanes(b, lists->free, lists->nfree) : -1;
  gpu_share shares[MAX_AXES];
  int n = kb_collapse(b, lists->free, lists->nfree, axes), vec = lanes < 0 ? -1 : b->kaxis[lanes];
  gpu_spread(b, axes, n, vec, ELEMENTS, THREADS, ELEMENTS, shares);
  for (int pass = 0; pass < 2; pass++)
    for (int i = n - 1; i >= 0; i--)
      if ((axes[i] == vec) != pass) gpu_lay(b, 0, axes[i], shares[i], &r->stride);
  for (int i = 0; i < n; i++) kernel_set_grid(b->k, axes[i], gpu_extent(shares[i]));
}

/// So many updates at a time as are in a list on the average, twice over for some are longer: enough to wait
/// for all at once, and threads without columns take part where there are as many.
static void lay_updates(kbuild *b, rows *r, int64_t each, int threads) {
  enum { AT_ONCE = 4 };
  ix_pool *pool = &b->k->ix;
  int most = gpu_pow2(each), registers = AT_ONCE / r->sum.n;
  gpu_share share = {1, 1, most < registers ? most : registers};
  while (share.threads * r->stride < threads && gpu_extent(share) < most) share.threads *= 2;
  r->lanes = gpu_extent(share);
  // Positions in the list: whole steps, so that no sum has an element without a position.
  ix extent = ix_const(pool, r->lanes);
  ix up = ix_add(pool, scatter_count(b, r->lists), ix_const(pool, r->lanes - 1));
  r->updates = kb_axis(b, STR("update"), ix_mul(pool, ix_div(pool, up, extent), extent));
  gpu_lay(b, 0, r->updates, share, &r->stride);
  gpu_set_threads(b, r->stride);
}

// ---- values

static tval *number(kbuild *b, const rows *r, int64_t v) {
  return kb_const(b, r->lists->type, (scalar){.i = v});
}

static tval *map_of(kbuild *b, const rows *r, op o, tval *x, tval *y) {
  return kb_map(b, o, r->lists->type, x, y, NULL);
}

static tval *choose(kbuild *b, tval *condition, tval *x, tval *y) {
  return kb_map(b, OP_where, x->type, condition, x, y);
}

/// The most of all elements, as a scalar.
static tval *most_of(kbuild *b, tval *v) {
  return v->naxes ? kb_reduce_tile(b, OP_max, v, v->axes, v->naxes) : v;
}

static tval *scalar_at(kbuild *b, const rows *r, int buffer, tval *index, int64_t further) {
  indirect_place p = {.buf = kb_arg(b, buffer), .unchecked = true};
  p.rank = scatter_in_batch(b, r->lists, ix_const(&b->k->ix, further), p.at);
  p.index[p.rank - 1] = index;
  return most_of(b, kb_load_indirect(b, &p));
}

/// Opens a loop over positions below `length`, of the longest list; *position and *listed: whether it is one.
static tstmt *open_list(kbuild *b, const rows *r, tval *length, tval *const *sums, tval **position,
                        tval **listed) {
  tval *most = most_of(b, length);
  tstmt *loop = kb_loop(b, r->updates, r->lanes, sums, r->sum.n);
  kb_loop_within(b, loop, (tval *[]){number(b, r, 0), most});
  *position = kb_index_value(b, ix_axis(&b->k->ix, r->updates), r->lists->type);
  *listed = kb_map(b, OP_lt, DT_bool, *position, length, NULL);
  return loop;
}

/// Adds x, where it is listed, and ends the loop.
static void close_list(kbuild *b, const rows *r, tstmt *loop, tval *listed, tval *x, tval **sums) {
  tval *next[2];
  x = choose(b, listed, x, kb_const(b, r->sum.type, scatter_nothing(r->sum.type)));
  scatter_add_to(b, &r->sum, loop->body->params, x, next);
  tval **out = kb_end_loop(b, next, r->sum.n);
  for (int k = 0; k < r->sum.n; k++) sums[k] = out[k];
}

/// A part of the order: `length` positions from `first` on, but for `skipped` of them behind the `head`.
typedef struct span_of_list {
  tval *first, *length, *last;
  tval *head, *skipped;  // null: none are
} span_of_list;

static void add_listed(kbuild *b, const rows *r, const span_of_list *at, tval **sums) {
  tval *position, *listed;
  tstmt *loop = open_list(b, r, at->length, sums, &position, &listed);
  tval *place = map_of(b, r, OP_add, at->first, position);
  if (at->head) {
    tval *behind = kb_map(b, OP_ge, DT_bool, position, at->head, NULL);
    place = map_of(b, r, OP_add, place, choose(b, behind, at->skipped, number(b, r, 0)));
  }
  // Beyond the list is its last update again, which is near.
  place = map_of(b, r, OP_min, place, at->last);
  indirect_place p = {.buf = kb_arg(b, r->lists->order), .unchecked = true};
  p.rank = scatter_in_batch(b, r->lists, ix_const(&b->k->ix, 0), p.at);
  p.index[p.rank - 1] = place;
  scatter_find_update(b, r->lists, kb_load_indirect(b, &p));
  close_list(b, r, loop, listed, scatter_update_as(b, r->sum.type), sums);
}

static void start_sums(kbuild *b, const rows *r, tval **sums) {
  dtype t = r->sum.type;
  for (int k = 0; k < r->sum.n; k++)
    sums[k] = kb_fill_open(b, t, scatter_nothing(t), r->updates, r->lanes);
}

static tval *end_sums(kbuild *b, const rows *r, tval *const *sums) {
  tval *sum = kb_reduce_tile(b, OP_add, sums[0], &r->updates, 1);
  if (r->sum.n == 1) return sum;
  tval *lost = kb_reduce_tile(b, OP_add, sums[1], &r->updates, 1);
  return kb_map(b, OP_add, r->sum.type, sum, lost, NULL);
}

// ---- parts

/// parts[batch.., at, free..]
static indirect_place place_of_part(kbuild *b, const rows *r, ix at, tval *index) {
  indirect_place p = {.buf = kb_arg(b, r->lists->parts), .unchecked = true};
  p.rank = scatter_in_batch(b, r->lists, at, p.at);
  p.index[p.rank - 1] = index;
  for (int i = 0; i < r->lists->nfree; i++) p.at[p.rank++] = b->sigma[r->lists->free[i]];
  return p;
}

static void add_parts_buffer(lower *l, const node *n, const scatter_sum *sum, scatter_lists *lists) {
  ix_pool *pool = &l->p->ix;
  const struct buffer *order = &l->p->buffers.data[lists->order];
  ix dims[MAX_AXES] = {ix_div(pool, order->dims[order->rank - 1], ix_const(pool, PART))};
  const char *names[MAX_AXES] = {"part"};
  int ndims = 1;
  for (int i = 0; i < lists->nfree; i++) {
    names[ndims] = str_z(l->a, l->g->axes.data[lists->free[i]].name);
    dims[ndims++] = ix_substitute(pool, &l->g->ix, graph_axis_size(l->g, lists->free[i]), NULL, 0);
  }
  lists->parts = scatter_workspace(l, n, lists, "parts", sum->type, dims, names, ndims);
}

/// As many updates as a part has, or none, where it is for several rows.
static tval *part_length(kbuild *b, const rows *r, tval *first, tval *end) {
  tval *row = scalar_at(b, r, r->lists->keys, scalar_at(b, r, r->lists->order, first, 0), 0);
  tval *from = kb_map(b, OP_le, DT_bool, scalar_at(b, r, r->lists->ends, row, 0), first, NULL);
  tval *to = kb_map(b, OP_ge, DT_bool, scalar_at(b, r, r->lists->ends, row, 1), end, NULL);
  tval *whole = kb_map(b, OP_and, DT_bool, from, to, NULL);
  return choose(b, whole, number(b, r, PART), number(b, r, 0));
}

static void sum_parts(lower *l, const group *grp, const scatter_sum *sum, const scatter_lists *lists) {
  enum { THREADS = 512 };
  kbuild b;
  rows r = {.lists = lists, .sum = *sum, .stride = 1};
  kb_init(&b, l, grp, "");
  b.only = grp->anchor->in[2];
  kb_survey(&b);
  for (int i = 0; i < lists->nbatch; i++) kernel_set_grid(b.k, kb_own_axis(&b, lists->batch[i]), 1);
  ix_pool *pool = &b.k->ix;
  int part = kb_axis(&b, STR("part"), ix_div(pool, scatter_count(&b, lists), ix_const(pool, PART)));
  kernel_set_grid(b.k, part, 1);
  lay_columns(&b, &r);
  lay_updates(&b, &r, PART, THREADS / sum->n);
  kb_begin(&b);
  tval *own = kb_index_value(&b, ix_axis(pool, part), lists->type);
  own = kb_reduce_tile(&b, OP_max, own, &part, 1);
  tval *first = map_of(&b, &r, OP_mul, own, number(&b, &r, PART)), *sums[2];
  tval *end = map_of(&b, &r, OP_add, first, number(&b, &r, PART));
  span_of_list at = {.first = first, .length = part_length(&b, &r, first, end)};
  at.last = map_of(&b, &r, OP_sub, end, number(&b, &r, 1));
  start_sums(&b, &r, sums);
  add_listed(&b, &r, &at, sums);
  indirect_place p = place_of_part(&b, &r, ix_axis(pool, part), NULL);
  kb_store(&b, p.buf, end_sums(&b, &r, sums), p.at, p.rank);
  lower_add_step(&b, STR("updates by row: sums of parts of long lists"));
}

/// The position before `end`; before none the first, of which nothing is taken.
static tval *last_before(kbuild *b, const rows *r, tval *end) {
  return map_of(b, r, OP_max, map_of(b, r, OP_sub, end, number(b, r, 1)), number(b, r, 0));
}

/// Adds `length` parts from `first` on, the last of them before `end`.
static void add_parts(kbuild *b, const rows *r, tval *first, tval *end, tval *length, tval **sums) {
  tval *position, *listed, *last = last_before(b, r, end);
  tstmt *loop = open_list(b, r, length, sums, &position, &listed);
  tval *place = map_of(b, r, OP_min, map_of(b, r, OP_add, first, position), last);
  indirect_place p = place_of_part(b, r, ix_const(&b->k->ix, 0), place);
  close_list(b, r, loop, listed, kb_load_indirect(b, &p), sums);
}

// ---- rows

/// Where the lists begin (0) and end (1).
static tval *find_lists(kbuild *b, const scatter_axes *s, const rows *r, int end) {
  ix_pool *pool = &b->k->ix;
  ix index[MAX_AXES];
  scatter_in_batch(b, r->lists, ix_add(pool, ix_axis(pool, s->target), ix_const(pool, end)), index);
  return kb_load_at(b, kb_arg(b, r->lists->ends), index);
}

/// The whole lists of the rows that are open.
static void add_list(kbuild *b, const scatter_axes *s, const rows *r, tval **sums) {
  tval *within[] = {find_lists(b, s, r, 0), find_lists(b, s, r, 1)};
  span_of_list at = {.first = within[0]};
  at.length = map_of(b, r, OP_sub, within[1], within[0]);
  at.last = last_before(b, r, within[1]);
  if (r->lists->parts < 0) {
    add_listed(b, r, &at, sums);
    return;
  }
  tval *part = number(b, r, PART);
  tval *up = map_of(b, r, OP_add, within[0], number(b, r, PART - 1));
  tval *first = map_of(b, r, OP_div, up, part), *end = map_of(b, r, OP_div, within[1], part);
  tval *parts = map_of(b, r, OP_max, map_of(b, r, OP_sub, end, first), number(b, r, 0));
  at.head = map_of(b, r, OP_sub, map_of(b, r, OP_mul, first, part), within[0]);
  at.skipped = map_of(b, r, OP_mul, parts, part);
  at.length = map_of(b, r, OP_sub, at.length, at.skipped);
  add_listed(b, r, &at, sums);
  add_parts(b, r, first, end, parts, sums);
}

/// Lists that are longer than parts are possible, and parts are added up in more than the result's type.
static bool has_parts(const kbuild *b, const scatter_lists *lists) {
  const graph *g = b->l->g;
  int64_t size, all = 1;
  for (int i = 0; i < lists->nlisted; i++) {
    if (!ix_is_const(&g->ix, graph_axis_size(g, lists->listed[i]), &size)) return true;
    all = estimate_times(all, size);
  }
  return all >= 2 * PART;
}

void gpu_add_by_rows(kbuild *b, scatter_axes *s, scatter_lists *lists) {
  enum { THREADS = 128 };
  lower *l = b->l;
  const group *grp = b->group;
  const node *n = grp->anchor;
  rows r = {.lists = lists, .sum = scatter_sum_of(b, s), .stride = 1};
  lists->parts = -1;
  if (has_parts(b, lists)) {
    add_parts_buffer(l, n, &r.sum, lists);
    sum_parts(l, grp, &r.sum, lists);
  }
  kb_init(b, l, grp, "");
  b->unread = n->in[1];
  kb_survey(b);
  for (int i = 0; i < lists->nbatch; i++) kernel_set_grid(b->k, kb_own_axis(b, lists->batch[i]), 1);
  s->target = kb_own_axis(b, n->attr_axes[0]);
  lay_columns(b, &r);
  int64_t lists_of = kb_kernel_size(b, s->target), all = ix_estimate(&b->k->ix, scatter_count(b, lists));
  lay_updates(b, &r, gpu_pieces(estimate_times(2, all), lists_of > 0 ? lists_of : 1), THREADS);
  // Rows that are short and get little, side by side.
  gpu_share side = {1, r.stride < THREADS ? THREADS / r.stride : 1, 1};
  gpu_lay(b, 0, s->target, side, &r.stride);
  gpu_set_threads(b, r.stride);
  kernel_set_grid(b->k, s->target, gpu_extent(side));
  kb_begin(b);
  tval *sums[2];
  start_sums(b, &r, sums);
  add_list(b, s, &r, sums);
  tval *sum = kb_map(b, OP_add, r.sum.type, scatter_start_of_row(b, r.sum.type), end_sums(b, &r, sums), NULL);
  kb_store_node(b, n, kb_as_type(b, sum, n->type), false);
}
