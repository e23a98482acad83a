// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Few long rows on a GPU: what is reduced is cut into chunks, a block has one chunk of its rows, and the
// last block of the rows combines what all of them came to (Finish in ir/tile.h).
//
//   grid C:1, N:1 {
//     acc = loop T:8192 from C*131072 below C*131072 + 131072 { accum ... }
//     store part[C, N], (reduce acc)
//     if finished C { loop C:512 { s = reduce part[C, N] over C; store out[N], f(s) } }
//   }
//
// How many chunks there are depends on sizes and the kind of device, never on what else it does, and they
// are combined in the order of C: results do not depend on which block is the last. Reductions that
// need one another take one walk where the maximum of exponents is the only one that is needed
// (gpu_online.c); others stay with one block a row, since a block cannot wait for others.
#include "base/fault.h"
#include "passes/lowering/gpu_rows.h"
#include "passes/lowering/sums.h"

enum { WORTH_ELEMENTS = 1 << 16 };  // of a block's rows

/// Tiles of rows, one at least, where each has so many.
static int64_t row_tiles(const kbuild *b, const gpu_rows *g, bool planned) {
  int64_t tiles = 1;
  for (int i = 0; i < g->nrows; i++) {
    int rows = planned ? gpu_extent(g->row_share[i]) : 1;
    tiles = estimate_times(tiles, gpu_pieces(contraction_size(b, g->rows[i]), rows));
  }
  return tiles;
}

/// Tickets are few: so must the rows be, whatever sizes there are.
static bool rows_are_few(const kbuild *b, const gpu_rows *g) {
  int64_t most = 1;
  for (int i = 0; i < g->nrows; i++) {
    int64_t size = ix_bounds(&b->k->ix, b->k->axes.data[g->rows[i]].size).max;
    if (size > FINISH_MOST || (most *= size > 0 ? size : 1) > FINISH_MOST) return false;
  }
  return true;
}

/// Results along what is reduced are stored as it is walked: they wait for no reduction.
static bool stores_go_along(const kbuild *b, const gpu_rows *g) {
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    if (!reduce_carries_more(out, g->row)) continue;
    if (g->online_ok || g->p.level[out->id]) return false;
    for (int k = 0; k < g->p.nr; k++)
      if (!node_has_axis(out, g->p.r_axes[k])) return false;
  }
  return true;
}

bool gpu_chunks_apply(const kbuild *b, const gpu_rows *g) {
  enum { STRIP = 16 };  // columns that a block has together
  bool one_walk = g->p.passes == 1 || (g->online_ok && g->p.passes == 2);
  if (!g->p.nkr || !one_walk || g->nfurther || g->row->naxes == MAX_AXES || !rows_are_few(b, g))
    return false;
  if (!stores_go_along(b, g)) return false;
  int64_t rows = gpu_row_count(b, g), work = gpu_reduced_size(b, g);
  int64_t strip = g->along ? 1 : rows < STRIP ? rows : STRIP;
  bool worth = estimate_times(work, strip) >= WORTH_ELEMENTS || schedule_given(b->l, "chunks", 0);
  return worth && gpu_pieces(rows, strip) < b->l->target->cores;
}

/// Threads of a block with these shares.
static int threads_of(const gpu_rows *g) {
  int threads = 1;
  for (int i = 0; i < g->p.nkr; i++) threads *= g->r_share[i].threads;
  for (int i = 0; i < g->nrows; i++) threads *= g->row_share[i].threads;
  return threads < GPU_WARP ? GPU_WARP : threads;
}

/// Sums of a chunk, whose steps along the axis are so many, are not so long that they would need blocks
/// of their own (sums.h), which chunks of any number of steps do not divide into.
static bool sums_are_short(const kbuild *b, const gpu_rows *g, int axis, int64_t each) {
  int64_t lanes = 1, all = each;
  for (int i = 0; i < g->p.nkr; i++) {
    int extent = gpu_extent(g->r_share[i]);
    lanes *= extent;
    if (g->p.kr[i] != axis) all = estimate_times(all, sum_steps(b, g->p.kr[i], extent));
  }
  return all <= sum_room(lanes);
}

bool gpu_chunks_plan(kbuild *b, gpu_rows *g) {
  ix_pool *pool = &b->k->ix;
  int64_t steps = 0, step = 1;
  int axis = -1;
  for (int i = 0; i < g->p.nkr; i++) {
    int64_t e = gpu_extent(g->r_share[i]), n = gpu_pieces(contraction_size(b, g->p.kr[i]), e);
    if (n > steps) axis = g->p.kr[i], steps = n, step = e;
  }
  int64_t resident = b->l->target->threads_per_core / threads_of(g), tiles = row_tiles(b, g, true);
  int64_t most = resident * b->l->target->cores / tiles;
  if (most > steps) most = steps;
  if (most >= 2) most = schedule_option(b->l, "chunks", most);
  if (most > steps) most = steps;
  // The bounds of the last chunk are positions as well.
  if (most < 2 || (steps + most) * step > INT32_MAX) return false;
  int64_t each = (steps + most - 1) / most, count = (steps + each - 1) / each;
  int64_t known = sum_steps(b, axis, (int)step),
          longest = known > each * count ? known / count + 1 : each;
  if (count < 2 || !sums_are_short(b, g, axis, longest)) return false;
  ix size = b->k->axes.data[axis].size, length = kb_part_length(pool, size, count, step);
  g->chunk = kb_axis(b, STR("C"), ix_const(pool, count));
  kernel_set_grid(b->k, g->chunk, 1);
  g->p.beside[g->chunk] = true;  // only the walk's bounds depend on it
  ix from = ix_mul(pool, ix_axis(pool, g->chunk), length);
  b->part = (walked_part){
      .axis = axis, .from = from, .below = ix_add(pool, from, length), .steps = longest};
  return true;
}

/// The chunks lie on the threads of what is reduced.
void gpu_chunks_lay_out(kbuild *b, gpu_rows *g) {
  int stride = 1, threads = 1;
  for (int i = 0; !g->along && i < g->nrows; i++) stride *= g->row_share[i].threads;
  for (int i = 0; i < g->p.nkr; i++) threads *= g->r_share[i].threads;
  int64_t count = kb_kernel_size(b, g->chunk);
  while (threads > 1 && threads / 2 >= count) threads /= 2;
  g->chunk_share = (gpu_share){1, threads, (int)gpu_pieces(count, threads)};
  gpu_lay(b, 0, g->chunk, g->chunk_share, &stride);
}

// ---- what chunks come to, in memory

/// A value of each row by each chunk.
typedef struct part {
  int arg;
  tval *v;
} part;

static int place(const kbuild *b, const gpu_rows *g, ix *index) {
  index[0] = ix_axis(&b->k->ix, g->chunk);
  kb_identity(b, g->row, index + 1);
  return g->row->naxes + 1;
}

static void store_parts(kbuild *b, const gpu_rows *g, part *parts, int n) {
  ix index[MAX_AXES];
  int rank = place(b, g, index);
  for (int i = 0; i < n; i++) {
    ix count = ix_const(&b->l->p->ix, kb_kernel_size(b, g->chunk));
    parts[i].arg = kb_arg(b, lower_add_parts(b->l, g->row, count, parts[i].v->type));
    kb_store(b, parts[i].arg, parts[i].v, index, rank);
  }
}

/// In the last block: those of all chunks.
static void load_parts(kbuild *b, const gpu_rows *g, part *parts, int n) {
  ix index[MAX_AXES];
  place(b, g, index);
  for (int i = 0; i < n; i++) parts[i].v = kb_load_at(b, parts[i].arg, index);
}

static void get(part *parts, tval *const *values, int n) {
  for (int i = 0; i < n; i++) parts[i].v = values[i];
}

static void put(const part *parts, tval **values, int n) {
  for (int i = 0; i < n; i++) values[i] = parts[i].v;
}

/// What a walk leaves, reduced to rows: of each reduction one value, two of those that have a place.
static int combine_lanes(kbuild *b, const row_plan *p, const node *const *reds, int n,
                         tval **values) {
  int at = 0;
  for (int i = 0; i < n; i++) {
    reduce_combine(b, p, reds[i], &values[at]);
    at += op_is_arg(reds[i]->op) ? 2 : 1;
  }
  return at;
}

void gpu_run_chunks(kbuild *b, gpu_rows *g) {
  part parts[2 * MAX_REDUCTIONS + 2];
  tval *values[2 * MAX_REDUCTIONS + 2];
  row_plan over = {.kr = {g->chunk}, .nkr = 1};
  running r = {0};
  int fixed = 0;
  if (g->online_ok) {
    fixed = online_chunk(b, &g->p, &g->online, values);
    r.n = g->online.nothers;
    memcpy(r.reductions, g->online.others, sizeof *r.reductions * (size_t)r.n);
  } else {
    g->p.stores = true;
    reduce_walk(b, &g->p, 0, &r);
    memcpy(values, r.values, sizeof *values * (size_t)r.nvalues);
  }
  int n = fixed + combine_lanes(b, &g->p, r.reductions, r.n, values + fixed);
  get(parts, values, n);
  store_parts(b, g, parts, n);
  kb_begin_finish(b, g->chunk);
  kb_loop(b, g->chunk, gpu_extent(g->chunk_share), NULL, 0);
  load_parts(b, g, parts, n);
  put(parts, values, n);
  if (g->online_ok) online_merge(b, &over, &g->online, values);
  for (int i = 0, at = fixed; i < r.n; i++) {
    reduce_finish(b, &over, r.reductions[i], &values[at]);
    at += op_is_arg(r.reductions[i]->op) ? 2 : 1;
  }
  reduce_store_rows(b, g->row);
  kb_end_loop(b, NULL, 0);
  kb_end_finish(b);
}
