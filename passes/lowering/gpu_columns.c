// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows whose kernel also keeps sums of columns (passes/columns.h): a block walks the rows of one chunk, brings them
// on chip ahead of use, and keeps what their columns come to in registers.
//
//   kernel @layernorm_grad.0(...) threads 256 {
//     layout { D:4096 = r8 t256@1 r2 }
//     grid C:1 {
//       loop D:4096 {                                             one step; weights are loaded here, once
//         s = loop N:1 from C*63 below C*63 + 63 stages=4 carry c = 0 {
//           local row0 : bf16[N:1, D:4096]
//           loop D:4096 stage { row0 = x[N, D] }
//           reductions, stores
//           accum add c, ...
//         }
//         store part[C, D], (reduce s over N)
//
// Short rows lie side by side on the threads of a block, each with sums of its own until the walk ends. The
// last chunk may have fewer rows. What all chunks come to is added up by another kernel.
#include "base/fault.h"
#include "passes/lowering/gpu_rows.h"

enum { MOST_STAGES = 4, RESERVED = 2 << 10 };  // bytes of shared memory for reductions of rows

/// The sums, by lane.
typedef struct column_sums {
  const column_form *form;
  tval *values[MAX_PLAIN_REDUCTIONS];
} column_sums;

static int row_axis(kbuild *b, const column_form *f) {
  int rows[MAX_AXES], n = 0;
  for (int i = 0; i < f->nrows; i++) {
    int64_t size;
    ix all = ix_substitute(&b->k->ix, &b->l->g->ix, graph_axis_size(b->l->g, f->rows[i]), NULL, 0);
    if (ix_is_const(&b->k->ix, all, &size) && size == 1) b->sigma[f->rows[i]] = ix_const(&b->k->ix, 0);
    else rows[n++] = f->rows[i];
  }
  check(n > 0);
  return n == 1 ? kb_own_axis(b, rows[0]) : kb_merge_axes(b, rows, n);
}

/// Blocks walk the rows of their chunks.
static void divide(kbuild *b, gpu_rows *g, const column_form *f) {
  ix_pool *pool = &b->k->ix;
  int at_once = gpu_extent(g->row_share[0]);
  kernel_set_grid(b->k, g->chunk, 1);
  ix from = ix_scale(pool, ix_axis(pool, g->chunk), f->length);
  ix below = ix_add(pool, from, ix_const(pool, f->length));
  check(f->length % at_once == 0);
  b->part = (walked_part){.axis = g->rows[0], .from = from, .below = below, .steps = f->length / at_once};
}

/// Bytes through which threads add up what they have of the same columns: a word for each, twice, as exchanges
/// take turns.
static double exchanged(const gpu_rows *g) {
  double bytes = 2 * sizeof(int64_t) * (double)gpu_extent(g->row_share[0]);
  for (int i = 0; i < g->p.nkr; i++) bytes *= gpu_extent(g->r_share[i]);
  return gpu_extent(g->row_share[0]) == 1 ? 0 : bytes;
}

/// Copies of the rows at hand that shared memory has room for, 1: they are loaded when they are used.
static int stages_of(kbuild *b, gpu_rows *g) {
  const target_info *t = b->l->target;
  double staged = 0, shared = 0, rows = (double)gpu_extent(g->row_share[0]);
  if (!t->async_copies || g->p.nkr != 1 || !gpu_survey_rows(b, g, &staged, &shared)) return 1;
  int resident = b->k->blocks_per_sm > 1 ? b->k->blocks_per_sm : 1;
  double room = (double)t->shared_per_core / resident - RESERVED - t->shared_reserved;
  if (room > t->shared_per_block - RESERVED) room = t->shared_per_block - RESERVED;
  room -= exchanged(g);
  int most = (int)(room / (rows * gpu_extent(g->r_share[0]) * staged));
  int n = (int)schedule_option(b->l, "stages", most < MOST_STAGES ? most : MOST_STAGES);
  return n < 2 || n > most ? 1 : n;
}

static void start(kbuild *b, const gpu_rows *g, column_sums *s) {
  int axes[MAX_AXES + 1], extents[MAX_AXES + 1], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    bool along = axes_have(g->p.kr, g->p.nkr, axis);
    if (!along && axis != g->rows[0]) continue;
    axes[n] = axis;
    extents[n++] = along ? g->p.step[axis] : gpu_extent(g->row_share[0]);
  }
  for (int i = 0; i < s->form->n; i++) {
    const node *sum = s->form->sums[i];
    s->values[i] = kb_fill(b, sum->type, op_identity(sum->op, sum->type), axes, extents, n);
  }
}

static void add_rows(kbuild *b, column_sums *s) {
  for (int i = 0; i < s->form->n; i++) {
    const node *sum = s->form->sums[i];
    tval *in[] = {s->values[i], kb_value_here(b, sum->in[0]->in[0])};
    s->values[i] = kb_accumulate(b, op_combiner(sum->op), in, 2);
  }
}

static void store_sums(kbuild *b, const gpu_rows *g, const column_sums *s) {
  for (int i = 0; i < s->form->n; i++) {
    const node *sum = s->form->sums[i];
    tval *v = kb_reduce_tile(b, op_combiner(sum->op), s->values[i], g->rows, 1);
    kb_store_node(b, sum, v, false);
  }
}

/// With other threads, a row has as many more or less of them.
static columns_threads chosen_threads(const kbuild *b, const column_form *f) {
  columns_threads t = f->threads;
  int threads = schedule_power(b->l, "threads", t.threads), along = t.along * threads / t.threads;
  if (threads < GPU_WARP) return t;
  return (columns_threads){threads, along > 1 ? along : 1, threads > GPU_BLOCK ? 1 : t.blocks};
}

static void lay_out_columns(kbuild *b, gpu_rows *g, const column_form *f, columns_threads t) {
  int stride = 1;
  gpu_deal_reduced(b, g, t.along);
  for (int lanes = 1; lanes >= 0; lanes--)
    for (int i = g->p.nkr - 1; i >= 0; i--)
      if ((g->p.kr[i] == g->vec) == lanes) gpu_lay(b, 0, g->p.kr[i], g->r_share[i], &stride);
  for (int i = 0; i < g->p.nkr; i++) g->p.step[g->p.kr[i]] = gpu_extent(g->r_share[i]);
  int rows = t.threads / stride;
  while (rows > 1 && f->length % rows) rows /= 2;
  g->row_share[0] = (gpu_share){1, rows, 1};
  gpu_lay(b, 0, g->rows[0], g->row_share[0], &stride);
  gpu_set_threads(b, stride);
}

void gpu_column_rows(kbuild *b) {
  const column_form *f = b->group->columns;
  node rows = {.axes = (int *)f->rows, .naxes = f->nrows};
  gpu_rows g = {.row = f->row ? f->row : &rows, .along = true};
  memcpy(g.p.r_axes, f->columns, sizeof *f->columns * (size_t)f->ncolumns);
  g.p.nr = f->ncolumns;
  g.p.next_row = -1;
  kb_survey(b);
  reduce_levels(b, &g.p);
  int lanes = kb_best_lanes(b, g.p.r_axes, g.p.nr);
  g.chunk = kb_own_axis(b, f->chunk);
  g.rows[g.nrows++] = row_axis(b, f);
  g.p.nkr = kb_collapse(b, g.p.r_axes, g.p.nr, g.p.kr);
  g.vec = lanes < 0 ? -1 : b->kaxis[lanes];
  g.vector = gpu_vector(b);
  columns_threads t = chosen_threads(b, f);
  lay_out_columns(b, &g, f, t);
  divide(b, &g, f);
  b->k->blocks_per_sm = (int)schedule_option(b->l, "blocks_per_sm", t.blocks);
  int stages = stages_of(b, &g);
  kb_begin(b);
  reduce_open_loops(b, g.p.kr, g.p.step, g.p.nkr, NULL, 0, 1);
  column_sums s = {.form = f};
  start(b, &g, &s);
  tstmt *loop = kb_loop(b, g.rows[0], gpu_extent(g.row_share[0]), s.values, f->n);
  memcpy(s.values, loop->body->params, sizeof *s.values * (size_t)f->n);
  loop->stages = stages > 1 ? stages : 0;
  if (stages > 1) gpu_stage_rows(b, &g, (int[]){g.rows[0], g.p.kr[0]}, 2);
  gpu_resident_row(b, &g);
  add_rows(b, &s);
  tval **sums = kb_end_loop(b, s.values, f->n);
  memcpy(s.values, sums, sizeof *s.values * (size_t)f->n);
  store_sums(b, &g, &s);
  reduce_close_loops(b, g.p.nkr, NULL, 0);
}
