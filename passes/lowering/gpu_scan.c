// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCAN on a GPU.
//
// A long scan is cut into chunks, T = c * len + r, which threads walk side by side: first for their
// totals, then, with what lies before each chunk, for the results.
//
//   layout { T_chunk:64 = t64@1 }
//   grid N:1, T_chunk:64 {
//     totals = loop T_step:1 { accum x }             local
//     loop T_chunk:1 carry t { before = t; t = t + totals }
//     loop T_step:1 carry c = before { y = c + x; store y; yield y }
//     loop T_tail:1 carry t { ... }                  what the chunks leave over
//
// Chunks longer than a block of passes/lowering/sums.h are walked block by block.
// Short ones are walked by a thread each.
#include "base/fault.h"
#include "passes/lowering/gpu.h"
#include "passes/lowering/lower_scan.h"

static int kernel_lanes(const kbuild *b, int graph_axis) {
  return graph_axis < 0 ? -1 : b->kaxis[graph_axis];
}

/// Lays the parallel axes out, one element per thread; gives the thread digits used.
static int lay_parallel(kbuild *b, const int *axes, int n, int lanes, int threads) {
  gpu_share shares[MAX_AXES];
  int stride = 1;
  gpu_spread(b, axes, n, lanes, 1, threads, 1, shares);
  for (int pass = 0; pass < 2; pass++)
    for (int i = n - 1; i >= 0; i--)
      if ((axes[i] == lanes) != pass) gpu_lay(b, 0, axes[i], shares[i], &stride);
  for (int i = 0; i < n; i++) kernel_set_grid(b->k, axes[i], gpu_extent(shares[i]));
  return stride;
}

void gpu_open_walks(kbuild *b, const int *axes, int n, int lanes) {
  enum { SMALL = 64 };
  gpu_set_threads(b, lay_parallel(b, axes, n, lanes, schedule_power(b->l, "threads", SMALL)));
  kb_begin(b);
}

// ---- scans in chunks

typedef struct chunks {
  int64_t size, count, len, tail;  // size = count * len + tail
  int chunk, step, rest;           // kernel axes; rest: of the tail
  int axes[MAX_AXES], naxes;       // kernel axes of the rows
  op combine;
} chunks;

/// About as many chunks as steps, with little left over; false: too short, or of unknown size.
static bool cut_into_chunks(const kbuild *b, const node *scan, chunks *c) {
  enum { SHORT = 128, MOST = 256 };
  int along = scan->attr_axes[0];
  if (!ix_is_const(&b->l->g->ix, graph_axis_size(b->l->g, along), &c->size) || c->size < SHORT)
    return false;
  int64_t want = 8;
  while (want * want < c->size && want < MOST) want *= 2;
  c->count = want;
  for (int64_t n = want; n > want * 3 / 4; n--)
    if (c->size % n < c->size % c->count) c->count = n;
  c->len = c->size / c->count;
  c->tail = c->size % c->count;
  return true;
}

static int new_axis(kbuild *b, int graph_axis, const char *what, int64_t size) {
  str base = b->l->g->axes.data[graph_axis].name;
  int len = 0;
  while (len < base.len && base.ptr[len] != '.') len++;
  str name = str_printf(b->l->a, "%.*s_%s", len, base.ptr, what);
  while (kernel_find_axis(b->k, name) >= 0) name = str_printf(b->l->a, "%.*s_", STR_FMT(name));
  return kb_axis(b, name, ix_const(&b->k->ix, size));
}

/// The coordinate along the scan is `at`, counted from the end where it runs backwards.
static void set_coordinate(kbuild *b, const node *scan, const chunks *c, ix at) {
  ix_pool *pool = &b->k->ix;
  bool back = scan->flags & NODE_REVERSE;
  b->sigma[scan->attr_axes[0]] = back ? ix_sub(pool, ix_const(pool, c->size - 1), at) : at;
}

static tval *start_of(kbuild *b, const node *scan, const chunks *c, bool by_chunk) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (!b->extent[axis] || (axis == c->chunk && !by_chunk)) continue;
    axes[n] = axis;
    extents[n++] = b->extent[axis];
  }
  return kb_fill(b, scan->type, scan_start(scan), axes, extents, n);
}

/// Walks a kernel axis from `start` on and stores the outputs.
static void walk_from(kbuild *b, const node *scan, int axis, tval *start) {
  scan_steps steps = {.axis = axis, .unroll = 4, .store = gpu_store_outputs};
  if (scan->op == OP_affine_scan) affine_from(b, &steps, start);
  else scan_from(b, &steps, start);
}

/// On-chip buffers of what the chunks come to: their totals; of an affine scan also what is multiplied
/// on, else -1.
typedef struct chunk_sums {
  int totals, factors;
  dtype type;
} chunk_sums;

static int keep_total(kbuild *b, const char *name, tval *v, const int *axes, int n) {
  int buf = kb_local(b, name, v->type, axes, n);
  kb_store_local(b, buf, v);
  return buf;
}

static chunk_sums chunk_totals(kbuild *b, const node *scan, const chunks *c, const int *axes, int n) {
  scan_steps steps = {.axis = c->step, .unroll = 4};
  tval *start = start_of(b, scan, c, true);
  chunk_sums sums = {.factors = -1, .type = scan->type};
  if (scan->op != OP_affine_scan) {
    sums.totals = keep_total(b, "totals", scan_from(b, &steps, start), axes, n);
    return sums;
  }
  affine_total total = affine_from(b, &steps, start);
  sums.type = total.b->type;
  sums.totals = keep_total(b, "totals", total.b, axes, n);
  sums.factors = keep_total(b, "factors", total.a, axes, n);
  return sums;
}

static tval *of_chunk(kbuild *b, op o, int buf, const chunks *c) {
  return kb_reduce_tile(b, o, kb_load_local(b, buf), &c->chunk, 1);
}

/// What stands after a chunk. After 0 that is its total, whatever it multiplies on: the product of
/// the factors may be infinite where no result is.
static tval *after_chunk(kbuild *b, const chunks *c, const chunk_sums *s, tval *before) {
  if (s->factors < 0)
    return kb_map(b, c->combine, s->type, before, of_chunk(b, c->combine, s->totals, c), NULL);
  affine_step chunk = {of_chunk(b, OP_mul, s->factors, c), of_chunk(b, OP_add, s->totals, c)};
  tval *zero = kb_const(b, s->type, scalar_cast((scalar){.i = 0}, DT_i64, s->type));
  tval *none = kb_map(b, OP_eq, DT_bool, before, zero, NULL);
  return kb_map(b, OP_where, s->type, none, chunk.b, affine_after(b, &chunk, before));
}

static void scan_chunks(kbuild *b, const node *scan, chunks *c) {
  ix_pool *pool = &b->k->ix;
  ix first = ix_mul(pool, ix_axis(pool, c->chunk), ix_const(pool, c->len));
  set_coordinate(b, scan, c, ix_add(pool, first, ix_axis(pool, c->step)));
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < c->naxes; i++) axes[n++] = c->axes[i];
  axes[n++] = c->chunk;
  chunk_sums sums = chunk_totals(b, scan, c, axes, n);
  int befores = kb_local(b, "before", sums.type, axes, n);
  // Each chunk begins with what all earlier ones add up to.
  tval *sum = kb_as_type(b, start_of(b, scan, c, false), sums.type);
  tstmt *loop = kb_loop(b, c->chunk, 1, &sum, 1);
  tval *before = loop->body->params[0];
  kb_store_local(b, befores, before);
  sum = after_chunk(b, c, &sums, before);
  sum = kb_end_loop(b, &sum, 1)[0];
  walk_from(b, scan, c->step, kb_load_local(b, befores));
  if (!c->tail) return;
  set_coordinate(b, scan, c,
                 ix_add(pool, ix_const(pool, c->count * c->len), ix_axis(pool, c->rest)));
  walk_from(b, scan, c->rest, sum);
}

/// Rows next to each other share a block where they are contiguous.
static void lower_chunks(kbuild *b, const node *scan, chunks *c, int lanes) {
  int along = scan->attr_axes[0];
  bool columns = false;
  for (int i = 0; i < b->accesses.len && lanes >= 0; i++)
    columns |= kb_unit_stride(&b->accesses.data[i], b, lanes);
  c->chunk = new_axis(b, along, "chunk", c->count);
  c->step = new_axis(b, along, "step", c->len);
  c->rest = c->tail ? new_axis(b, along, "tail", c->tail) : -1;
  int chunk_threads = gpu_pow2(c->count), left = GPU_MOST_THREADS / chunk_threads;
  int row_threads = columns ? (left < GPU_WARP ? left : GPU_WARP) : 1;
  int stride = lay_parallel(b, c->axes, c->naxes, kernel_lanes(b, lanes), row_threads);
  gpu_lay(b, 0, c->chunk, (gpu_share){1, chunk_threads, 1}, &stride);
  kernel_set_grid(b->k, c->chunk, chunk_threads);
  gpu_set_threads(b, stride);
  kb_begin(b);
  scan_chunks(b, scan, c);
}

void gpu_scan_group(kbuild *b) {
  const node *scan = b->group->anchor;
  int along = scan->attr_axes[0], others[MAX_AXES], n = scan_other_axes(scan, others);
  kb_survey(b);
  int lanes = kb_best_lanes(b, others, n);
  chunks c = {.combine = op_combiner(scan->op)};
  c.naxes = kb_collapse(b, others, n, c.axes);
  if (cut_into_chunks(b, scan, &c)) {
    lower_chunks(b, scan, &c, lanes);
    return;
  }
  int axis = kb_own_axis(b, along);
  gpu_open_walks(b, c.axes, c.naxes, kernel_lanes(b, lanes));
  scan_walk(b, c.axes, c.naxes, axis);
}
