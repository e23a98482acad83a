// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The lists of a scatter by rows on a GPU: a stable counting sort without atomics, so that the order
// is that of the updates. The updates are cut into chunks, and
//
//   keys[u]         the row that update u is for, checked
//   ranks[u]        how many before it in its chunk are for that row
//   counts[c, v]    how many of chunk c are for row v, stored by the first of them; else 0
//   before[c, v]    how many of all earlier chunks are for row v; totals[v], of all chunks
//   sums[k]         totals of the k-th block of rows
//   ends[v]         totals of all earlier rows: the blocks before its own, then the rows of its own
//
// so that update u stands at ends[v] + before[c, v] + ranks[u]. Ranks are found by comparing all of a
// chunk with each other, so that a chunk takes the square of its length and all chunks take `counts`:
// the length that takes least is about the root of the number of rows. Chunks are summed one after the
// other, and where that are many in groups side by side, `before` being what is before them in their group:
//
//   groups[g, v]    how many of the chunks of group g are for row v; earlier[g, v], of all earlier groups
#include "base/fault.h"
#include "passes/lowering/gpu.h"
#include "passes/lowering/gpu_scatter.h"

enum { THREADS = 256, SHORTEST = 256, LONGEST = 1 << 14, AT_ONCE = 8, GROUP = 64 };

typedef struct listing {
  lower *l;
  const group *grp;
  scatter_lists *lists;
  int64_t chunk;
  bool grouped;
  int ranks, counts, before, totals, sums, groups, earlier;  // buffers
} listing;

int64_t gpu_list_chunk(int64_t rows) {
  // Bytes that counts and what is made of them move, in comparisons of two numbers.
  enum { WORTH = 24 };
  int64_t length = SHORTEST;
  while (length < LONGEST && length * length < WORTH * rows) length *= 2;
  return length;
}

static ix pieces_of(ix_pool *pool, ix size, int64_t piece) {
  return ix_div(pool, ix_add(pool, size, ix_const(pool, piece - 1)), ix_const(pool, piece));
}

static void add_buffers(listing *s, const node *n) {
  ix_pool *pool = &s->l->p->ix;
  const struct buffer *order = &s->l->p->buffers.data[s->lists->order];
  ix size = graph_axis_size(s->l->g, n->attr_axes[0]), count = order->dims[order->rank - 1];
  ix rows = ix_substitute(pool, &s->l->g->ix, size, NULL, 0), some = rows;
  // As in scatter_add_lists.
  if (ix_bounds(pool, rows).min < 1) some = ix_add(pool, rows, ix_const(pool, 1));
  ix blocks = pieces_of(pool, rows, THREADS), chunks = pieces_of(pool, count, s->chunk);
  ix places[] = {chunks, ix_add(pool, rows, ix_const(pool, s->chunk))}, table[] = {chunks, some};
  const char *const update[] = {"update"}, *const row[] = {"row"}, *const block[] = {"block"};
  const char *const both[] = {"chunk", "row"}, *const grouped[] = {"group", "row"};
  ix groups[] = {pieces_of(pool, count, s->chunk * GROUP), some};
  dtype t = s->lists->type;
  s->lists->keys = scatter_workspace(s->l, n, s->lists, "keys", t, &count, update, 1);
  s->ranks = scatter_workspace(s->l, n, s->lists, "ranks", t, &count, update, 1);
  s->counts = scatter_workspace(s->l, n, s->lists, "counts", t, places, both, 2);
  s->before = scatter_workspace(s->l, n, s->lists, "before", t, table, both, 2);
  s->totals = scatter_workspace(s->l, n, s->lists, "totals", t, &rows, row, 1);
  s->sums = scatter_workspace(s->l, n, s->lists, "sums", t, &blocks, block, 1);
  if (!s->grouped) return;
  s->groups = scatter_workspace(s->l, n, s->lists, "groups", t, groups, grouped, 2);
  s->earlier = scatter_workspace(s->l, n, s->lists, "earlier", t, groups, grouped, 2);
}

// ---- parts of kernels

static void open_kernel(kbuild *b, const listing *s) {
  kb_init(b, s->l, s->grp, "");
  for (int i = 0; i < s->lists->nbatch; i++)
    kernel_set_grid(b->k, kb_own_axis(b, s->lists->batch[i]), 1);
  gpu_set_threads(b, THREADS);
}

/// Thread digits of the block, and registers, of an axis; gives what it has of it.
static int lay(kbuild *b, int axis, int threads, int registers) {
  int stride = 1;
  gpu_share share = {1, threads, registers};
  gpu_lay(b, 0, axis, share, &stride);
  return gpu_extent(share);
}

static ix part_of(ix_pool *pool, int axis, int64_t length) {
  return ix_scale(pool, ix_axis(pool, axis), length);
}

/// Walks a part of an axis.
static tstmt *loop_between(kbuild *b, int axis, int extent, ix from, ix length, tval *const *inits, int n) {
  tstmt *loop = kb_loop(b, axis, extent, inits, n);
  loop->from = from;
  loop->below = ix_add(&b->k->ix, from, length);
  return loop;
}

static tval *load(kbuild *b, const listing *s, int buffer, ix at) {
  ix index[MAX_AXES];
  scatter_in_batch(b, s->lists, at, index);
  return kb_load_at(b, kb_arg(b, buffer), index);
}

static void store(kbuild *b, const listing *s, int buffer, ix at, tval *v) {
  ix index[MAX_AXES];
  int rank = scatter_in_batch(b, s->lists, at, index);
  kb_store(b, kb_arg(b, buffer), v, index, rank);
}

/// Elements at one or two values.
static indirect_place place_at(kbuild *b, const listing *s, int buffer, tval *first, tval *second) {
  indirect_place p = {.buf = kb_arg(b, buffer), .unchecked = true};
  p.rank = scatter_in_batch(b, s->lists, ix_const(&b->k->ix, 0), p.at);
  p.index[p.rank - 1] = first;
  if (second) {
    p.at[p.rank] = ix_const(&b->k->ix, 0);
    p.index[p.rank++] = second;
  }
  return p;
}

static tval *number(kbuild *b, const listing *s, int64_t v) {
  return kb_const(b, s->lists->type, (scalar){.i = v});
}

static tval *map_of(kbuild *b, const listing *s, op o, tval *x, tval *y) {
  return kb_map(b, o, s->lists->type, x, y, NULL);
}

static tval *coordinate(kbuild *b, const listing *s, int axis) {
  return kb_index_value(b, ix_axis(&b->k->ix, axis), s->lists->type);
}

/// The sum of x over the axis, where the condition holds.
static tval *sum_where(kbuild *b, const listing *s, tval *condition, tval *x, int axis) {
  x = kb_map(b, OP_where, s->lists->type, condition, x, number(b, s, 0));
  return kb_reduce_tile(b, OP_add, x, &axis, 1);
}

/// Nothing, for the batch and so many of an axis.
static tval *none_of(kbuild *b, const listing *s, int axis, int extent) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < s->lists->nbatch; i++) {
    axes[n] = b->kaxis[s->lists->batch[i]];
    extents[n++] = 1;
  }
  axes[n] = axis;
  extents[n++] = extent;
  return kb_fill(b, s->lists->type, (scalar){.i = 0}, axes, extents, n);
}

// ---- the kernels

static void find_keys(const listing *s) {
  kbuild b;
  open_kernel(&b, s);
  const node *n = s->grp->anchor;
  int update = kb_merge_axes(&b, s->lists->listed, s->lists->nlisted);
  kernel_set_grid(b.k, update, lay(&b, update, THREADS, 1));
  kb_begin(&b);
  tval *key = kb_checked_index(&b, n, kb_value_here(&b, n->in[1]), kb_axis_size(&b, n->attr_axes[0]));
  store(&b, s, s->lists->keys, ix_axis(&b.k->ix, update), kb_as_type(&b, key, s->lists->type));
  lower_add_step(&b, STR("updates by row: keys"));
}

static void clear_counts(const listing *s) {
  kbuild b;
  open_kernel(&b, s);
  ix_pool *pool = &b.k->ix;
  int chunk = kb_axis(&b, STR("chunk"), pieces_of(pool, scatter_count(&b, s->lists), s->chunk));
  int row = kb_own_axis(&b, s->grp->anchor->attr_axes[0]);
  kernel_set_grid(b.k, chunk, 1);
  kernel_set_grid(b.k, row, lay(&b, row, THREADS, 4));
  kb_begin(&b);
  ix index[MAX_AXES];
  int rank = scatter_in_batch(&b, s->lists, ix_axis(pool, chunk), index);
  index[rank++] = ix_axis(pool, row);
  kb_store(&b, kb_arg(&b, s->counts), number(&b, s, 0), index, rank);
  lower_add_step(&b, STR("updates by row: nothing counted"));
}

/// The first update of its chunk for a row says how many there are; others write behind the rows.
static void store_count(kbuild *b, const listing *s, int update, tval *key, tval *rank, tval *count) {
  tval *at = coordinate(b, s, update), *length = number(b, s, s->chunk);
  ix rows = kb_axis_size(b, s->grp->anchor->attr_axes[0]);
  tval *behind = map_of(b, s, OP_rem, at, length);
  behind = map_of(b, s, OP_add, kb_index_value(b, rows, s->lists->type), behind);
  tval *first = kb_map(b, OP_eq, DT_bool, rank, number(b, s, 0), NULL);
  tval *place = kb_map(b, OP_where, s->lists->type, first, key, behind);
  indirect_place p = place_at(b, s, s->counts, map_of(b, s, OP_div, at, length), place);
  kb_store_indirect(b, &p, count);
}

static void compare_keys(const listing *s) {
  enum { REGISTERS = 2 };
  kbuild b;
  open_kernel(&b, s);
  ix_pool *pool = &b.k->ix;
  ix count = scatter_count(&b, s->lists), length = ix_const(pool, s->chunk);
  int update = kb_axis(&b, STR("update"), count), other = kb_axis(&b, STR("other"), count);
  kernel_set_grid(b.k, update, lay(&b, update, THREADS, s->chunk >= REGISTERS * THREADS ? REGISTERS : 1));
  int step = lay(&b, other, 1, AT_ONCE);
  kb_begin(&b);
  tval *key = load(&b, s, s->lists->keys, ix_axis(pool, update)), *at = coordinate(&b, s, update);
  tval *none = none_of(&b, s, update, b.extent[update]), *inits[] = {none, none}, *next[2];
  ix from = ix_mul(pool, ix_div(pool, ix_axis(pool, update), length), length);
  tstmt *loop = loop_between(&b, other, step, from, length, inits, 2);
  tval *same = kb_map(&b, OP_eq, DT_bool, key, load(&b, s, s->lists->keys, ix_axis(pool, other)), NULL);
  tval *before = kb_map(&b, OP_lt, DT_bool, coordinate(&b, s, other), at, NULL);
  tval *conditions[] = {kb_map(&b, OP_and, DT_bool, same, before, NULL), same};
  for (int i = 0; i < 2; i++) {
    tval *found = sum_where(&b, s, conditions[i], number(&b, s, 1), other);
    next[i] = map_of(&b, s, OP_add, loop->body->params[i], found);
  }
  tval **found = kb_end_loop(&b, next, 2);
  store(&b, s, s->ranks, ix_axis(pool, update), found[0]);
  store_count(&b, s, update, key, found[0], found[1]);
  lower_add_step(&b, STR("updates by row: ranks in chunks"));
}

/// [batch.., at, row]; gives the rank.
static int in_table(const kbuild *b, const listing *s, int at, int row, ix *index) {
  int rank = scatter_in_batch(b, s->lists, ix_axis(&b->k->ix, at), index);
  index[rank++] = ix_axis(&b->k->ix, row);
  return rank;
}

/// Of chunks of so many updates, or of groups of them: which of the tables says how many there are, and which
/// is for how many are before.
typedef struct table {
  int64_t length;
  int counts, before;
  bool by_group;  // totals are those of each group
} table;

/// Sums of a step of chunks, from what is before it on; stores what is before each of them.
static tval *sum_step(kbuild *b, const listing *s, const table *t, int row, int chunk, int other, tval *sum) {
  ix_pool *pool = &b->k->ix;
  ix index[MAX_AXES];
  tstmt *loop = loop_between(b, other, AT_ONCE, ix_axis(pool, chunk), ix_const(pool, AT_ONCE), &sum, 1);
  in_table(b, s, other, row, index);
  tval *counts = kb_load_at(b, kb_arg(b, t->counts), index), *before = loop->body->params[0];
  tval *earlier = kb_map(b, OP_lt, DT_bool, coordinate(b, s, other), coordinate(b, s, chunk), NULL);
  tval *here = map_of(b, s, OP_add, before, sum_where(b, s, earlier, counts, other));
  int rank = in_table(b, s, chunk, row, index);
  kb_store(b, kb_arg(b, t->before), here, index, rank);
  sum = map_of(b, s, OP_add, before, kb_reduce_tile(b, OP_add, counts, &other, 1));
  return kb_end_loop(b, &sum, 1)[0];
}

/// Rows side by side, chunks one after the other, several at a time in registers.
static void sum_chunks(const listing *s, const table *t) {
  kbuild b;
  open_kernel(&b, s);
  ix_pool *pool = &b.k->ix;
  ix count = scatter_count(&b, s->lists), chunks = pieces_of(pool, count, t->length);
  int row = kb_own_axis(&b, s->grp->anchor->attr_axes[0]), group = -1;
  int block = kb_axis(&b, STR("block"), pieces_of(pool, b.k->axes.data[row].size, THREADS));
  int chunk = kb_axis(&b, STR("chunk"), chunks), other = kb_axis(&b, STR("other"), chunks);
  if (t->by_group) {
    group = kb_axis(&b, STR("group"), pieces_of(pool, count, t->length * GROUP));
    kernel_set_grid(b.k, group, 1);
  }
  kernel_set_grid(b.k, block, 1);
  lay(&b, row, THREADS, 1);
  lay(&b, chunk, 1, AT_ONCE);
  lay(&b, other, 1, AT_ONCE);
  kb_begin(&b);
  loop_between(&b, row, THREADS, part_of(pool, block, THREADS), ix_const(pool, THREADS), NULL, 0);
  tval *sum = none_of(&b, s, row, THREADS);
  tstmt *loop = t->by_group ? loop_between(&b, chunk, AT_ONCE, part_of(pool, group, GROUP),
                                           ix_const(pool, GROUP), &sum, 1)
                            : kb_loop(&b, chunk, AT_ONCE, &sum, 1);
  sum = sum_step(&b, s, t, row, chunk, other, loop->body->params[0]);
  sum = kb_end_loop(&b, &sum, 1)[0];
  if (t->by_group) {
    ix index[MAX_AXES];
    int rank = in_table(&b, s, group, row, index);
    kb_store(&b, kb_arg(&b, s->groups), sum, index, rank);
  } else {
    store(&b, s, s->totals, ix_axis(pool, row), sum);
    store(&b, s, s->sums, ix_axis(pool, block), kb_reduce_tile(&b, OP_add, sum, &row, 1));
  }
  kb_end_loop(&b, NULL, 0);
  lower_add_step(&b, t->by_group ? STR("updates by row: totals of groups") : STR("updates by row: totals"));
}

/// What all earlier blocks of rows have.
static tval *earlier_blocks(kbuild *b, const listing *s, int block, int other) {
  tval *sum = none_of(b, s, other, THREADS);
  tval *own = kb_reduce_tile(b, OP_max, coordinate(b, s, block), &block, 1);
  tstmt *loop = kb_loop(b, other, THREADS, &sum, 1);
  loop->below = ix_axis(&b->k->ix, block);
  tval *earlier = kb_map(b, OP_lt, DT_bool, coordinate(b, s, other), own, NULL);
  tval *found = load(b, s, s->sums, ix_axis(&b->k->ix, other));
  found = kb_map(b, OP_where, s->lists->type, earlier, found, number(b, s, 0));
  sum = kb_accumulate(b, OP_add, (tval *[]){loop->body->params[0], found}, 2);
  sum = kb_end_loop(b, &sum, 1)[0];
  return kb_reduce_tile(b, OP_add, sum, &other, 1);
}

static void find_ends(const listing *s) {
  kbuild b;
  open_kernel(&b, s);
  ix_pool *pool = &b.k->ix;
  int row = kb_own_axis(&b, s->grp->anchor->attr_axes[0]);
  ix rows = b.k->axes.data[row].size, places = ix_add(pool, rows, ix_const(pool, 1));
  int place = kb_axis(&b, STR("place"), places);
  int block = kb_axis(&b, STR("block"), pieces_of(pool, places, THREADS));
  int other = kb_axis(&b, STR("other"), pieces_of(pool, rows, THREADS));
  kernel_set_grid(b.k, block, 1);
  lay(&b, place, THREADS, 1);
  lay(&b, other, THREADS, 1);
  int step = lay(&b, row, 1, AT_ONCE);
  kb_begin(&b);
  tval *earlier = earlier_blocks(&b, s, block, other);
  ix from = part_of(pool, block, THREADS), length = ix_const(pool, THREADS);
  loop_between(&b, place, THREADS, from, length, NULL, 0);
  tval *sum = none_of(&b, s, place, THREADS);
  tstmt *loop = loop_between(&b, row, step, from, length, &sum, 1);
  tval *before = kb_map(&b, OP_lt, DT_bool, coordinate(&b, s, row), coordinate(&b, s, place), NULL);
  tval *found = sum_where(&b, s, before, load(&b, s, s->totals, ix_axis(pool, row)), row);
  sum = map_of(&b, s, OP_add, loop->body->params[0], found);
  sum = kb_end_loop(&b, &sum, 1)[0];
  store(&b, s, s->lists->ends, ix_axis(pool, place), map_of(&b, s, OP_add, sum, earlier));
  kb_end_loop(&b, NULL, 0);
  lower_add_step(&b, STR("updates by row: ends of lists"));
}

static void place_updates(const listing *s) {
  kbuild b;
  open_kernel(&b, s);
  ix_pool *pool = &b.k->ix;
  int update = kb_axis(&b, STR("update"), scatter_count(&b, s->lists));
  kernel_set_grid(b.k, update, lay(&b, update, THREADS, 1));
  kb_begin(&b);
  tval *key = load(&b, s, s->lists->keys, ix_axis(pool, update)), *at = coordinate(&b, s, update);
  tval *chunk = map_of(&b, s, OP_div, at, number(&b, s, s->chunk));
  indirect_place ends = place_at(&b, s, s->lists->ends, key, NULL);
  indirect_place before = place_at(&b, s, s->before, chunk, key);
  tval *place = map_of(&b, s, OP_add, kb_load_indirect(&b, &ends), kb_load_indirect(&b, &before));
  if (s->grouped) {
    tval *group = map_of(&b, s, OP_div, at, number(&b, s, s->chunk * GROUP));
    indirect_place earlier = place_at(&b, s, s->earlier, group, key);
    place = map_of(&b, s, OP_add, place, kb_load_indirect(&b, &earlier));
  }
  place = map_of(&b, s, OP_add, place, load(&b, s, s->ranks, ix_axis(pool, update)));
  indirect_place order = place_at(&b, s, s->lists->order, place, NULL);
  kb_store_indirect(&b, &order, at);
  lower_add_step(&b, STR("updates by row: places"));
}

void gpu_list_updates(lower *l, const group *grp, scatter_lists *lists) {
  const node *n = grp->anchor;
  int64_t rows = ix_estimate(&l->g->ix, graph_axis_size(l->g, n->attr_axes[0]));
  listing s = {.l = l, .grp = grp, .lists = lists, .chunk = gpu_list_chunk(rows)};
  int64_t count = 1;
  for (int i = 0; i < lists->nlisted; i++)
    count = estimate_times(count, ix_estimate(&l->g->ix, graph_axis_size(l->g, lists->listed[i])));
  s.grouped = count > 2 * GROUP * s.chunk;
  add_buffers(&s, n);
  find_keys(&s);
  clear_counts(&s);
  compare_keys(&s);
  table chunks = {s.chunk, s.counts, s.before, s.grouped}, groups = {s.chunk * GROUP, s.groups, s.earlier, false};
  sum_chunks(&s, &chunks);
  if (s.grouped) sum_chunks(&s, &groups);
  find_ends(&s);
  place_updates(&s);
}
