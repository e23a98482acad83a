// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Long rows on a GPU are brought on chip ahead of use, as the operands of products are:
//
//   kernel @softmax.0(...) threads 512 cluster 2 {
//     layout { T:57344 = r8 t512@1 t2@512 r7 }     // a row over the threads of two blocks
//     grid N_2:1, N:128 {
//       loop T:57344 {                             // one step; weights are loaded here, once
//         loop N:1 stages=3 {                      // rows N*64 + N_2
//           local row0 : bf16[N_2:1, N:1, T:57344]
//           loop T:57344 stage { row0 = x[N*64 + N_2, T] }
//           reductions, stores
//
// Threads read back what they copied themselves. A block walks rows that begin at the same place in
// a line of memory, so that the registers of what all rows share (weights) suit every row. Where the
// rows are no whole number of such walks, some end one row earlier:
//
//     grid N_2:1, N_3:1 {
//       loop T:57344 {
//         loop N:1 stages=3 below (#N - N_2 - N_3*640 + 63) / 64 {    // rows N_3*640 + N*64 + N_2
#include "passes/lowering/gpu_rows.h"

enum {
  THREADS = 512,
  SHORT_ROW = 48 << 10,   // bytes up to which several rows are in flight on a multiprocessor anyway
  RESERVED = 2 << 10,     // bytes of shared memory for reductions
  BESIDES = 36,           // registers of a thread for other things than what is kept
  MOST_STAGES = 4,
  LINE = 128,             // bytes
};

// ---- what moves

static bool is_loaded(const kbuild *b, const node *n) {
  if (!kb_in_group(b, n)) return n->op != OP_const;
  return op_get(n->op)->class == CLASS_view && n->op != OP_pad && !kb_in_group(b, n->in[0]);
}

static int axes_among(const node *n, const int *axes, int count) {
  int found = 0;
  for (int i = 0; i < count; i++) found += node_has_axis(n, axes[i]);
  return found;
}

/// Sorts what n is made of into what comes with each row and what all rows share; bytes per element
/// of R. False: something moves otherwise.
static bool survey(const kbuild *b, gpu_rows *g, const node *n, bool *seen, double *staged,
                   double *shared) {
  if (seen[n->id]) return true;
  seen[n->id] = true;
  if (is_loaded(b, n)) {
    int along = axes_among(n, g->p.r_axes, g->p.nr), of_row = axes_among(n, g->row->axes, g->row->naxes);
    if (!along) return true;
    if (along < g->p.nr || g->ring.nstaged == MAX_AXES) return false;
    if (!of_row) return *shared += dtype_bytes(n->type), true;
    g->ring.staged[g->ring.nstaged++] = n;
    *staged += dtype_bytes(n->type);
    return of_row == g->row->naxes;
  }
  if (!kb_in_group(b, n)) return true;
  for (int i = 0; i < n->nin; i++)
    if (!survey(b, g, n->in[i], seen, staged, shared)) return false;
  return true;
}

bool gpu_survey_rows(const kbuild *b, gpu_rows *g, double *staged, double *shared) {
  const group *grp = b->group;
  bool *seen = kb_unseen(b);
  for (int i = 0; grp->columns && i < grp->columns->n; i++)
    if (!survey(b, g, grp->columns->sums[i]->in[0]->in[0], seen, staged, shared)) return false;
  for (int i = 0; i < grp->reductions.len; i++)
    if (!survey(b, g, grp->reductions.data[i], seen, staged, shared)) return false;
  for (int i = 0; i < grp->outputs.len; i++)
    if (!survey(b, g, grp->outputs.data[i], seen, staged, shared)) return false;
  return g->ring.nstaged > 0;
}

// ---- rows that begin alike

/// The innermost graph axis of the rows.
static int row_axis(const kbuild *b, const gpu_rows *g) {
  for (int i = g->row->naxes - 1; i >= 0; i--)
    if (kb_estimate(b, g->row->axes[i]) > 1) return g->row->axes[i];
  return -1;
}

/// Rows until one begins at the same place in a line again, for all operands; 0: unknown.
static int phase_of(const kbuild *b, int axis) {
  int64_t phase = 1;
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    int64_t pitch, line = LINE / dtype_bytes(b->l->p->buffers.data[m->buffer].type);
    if (m->irregular[axis]) return 0;
    if (!m->coef[axis]) continue;
    if (!ix_is_const(&b->k->ix, m->coef[axis], &pitch)) return 0;
    int64_t own = line / ix_gcd(line, pitch);
    if (own > phase) phase = own;
  }
  return (int)phase;
}

// ---- the plan

/// Sets repeat and stages for rows over `cluster` blocks, `resident` of them on a multiprocessor.
/// False: they do not fit.
static bool fit(const kbuild *b, gpu_rows *g, int64_t size, double staged, double kept) {
  const target_info *t = b->l->target;
  gpu_ring *r = &g->ring;
  int64_t piece = (int64_t)g->vector * r->threads * r->cluster;
  r->repeat = (int)gpu_pieces(size + LINE - 1, piece);
  double elements = (double)r->repeat * g->vector, registers = elements * kept + BESIDES;
  double room = (double)(t->shared_per_block - RESERVED) / r->resident;
  int stages = (int)(room / (elements * r->rows * r->threads * staged));
  r->stages = (int)schedule_option(b->l, "stages", stages < MOST_STAGES ? stages : MOST_STAGES);
  return r->stages >= 2 && r->stages <= stages &&
         registers * r->threads * r->resident <= t->registers_per_core;
}

/// The fewest blocks with which a row is copied ahead; two rather than one where then two rows are.
/// What more blocks exchange takes longer than what it brings (measured).
static bool plan_cluster(const kbuild *b, gpu_rows *g, int64_t size, double staged, double kept) {
  int cluster = (int)schedule_given(b->l, "cluster", 0);
  g->ring.resident = (int)schedule_option(b->l, "blocks_per_sm", 1);
  gpu_ring best = {0};
  for (int c = 1; c <= b->l->target->cluster_most; c *= 2) {
    g->ring.cluster = c;
    if ((cluster && c != cluster) || !fit(b, g, size, staged, kept)) continue;
    if (!best.cluster || (c == 2 && best.stages == 2 && g->ring.stages > 2)) best = g->ring;
  }
  if (best.cluster) g->ring = best;
  schedule_settle(b->l, "cluster", g->ring.cluster);
  schedule_settle(b->l, "stages", g->ring.stages);
  return best.cluster > 0;
}

static bool ring_fits(const kbuild *b, gpu_rows *g, int axis) {
  double staged = 0, shared = 0;
  int64_t size = contraction_size(b, g->p.kr[0]), rows = gpu_row_count(b, g);
  if (axis < 0 || !gpu_survey_rows(b, g, &staged, &shared)) return false;
  g->ring.threads = schedule_power(b->l, "threads", THREADS);
  g->ring.rows = (int)schedule_option(b->l, "rows", 1);
  g->ring.phase = phase_of(b, axis);
  if ((double)size * staged <= SHORT_ROW || rows < 4 * b->l->target->cores || !g->ring.phase)
    return false;
  ix n = b->k->axes.data[g->rows[0]].size;
  bool constant = ix_is_const(&b->k->ix, n, &rows);
  if (!constant && ix_divisor(&b->k->ix, n) % g->ring.phase) return false;
  g->ring.uneven = constant && rows % g->ring.phase;
  if (g->ring.uneven && g->ring.rows > 1) return false;
  return plan_cluster(b, g, size, staged, g->held + shared / 4);
}

bool gpu_ring_applies(const kbuild *b, gpu_rows *g) {
  if (!g->along || g->p.nkr != 1 || g->nrows != 1 || g->nfurther || !b->l->target->async_copies)
    return false;
  // What is settled on the way to no ring says nothing of the kernel.
  int settled = schedule_settled(b->l);
  bool applies = schedule_given(b->l, "ring", 1) && ring_fits(b, g, row_axis(b, g));
  if (!applies) schedule_unsettle(b->l, settled);
  schedule_settle(b->l, "ring", applies);
  return applies;
}

// ---- the kernel

/// The kernel axis gets another size, and `as` stands for what its coordinate was.
static void replace_axis(kbuild *b, int axis, ix size, ix as) {
  ix_pool *pool = &b->k->ix;
  int n = b->k->axes.len;
  b->k->axes.data[axis].size = size;
  ix_set_axis(pool, axis, size);
  ix *by = arena_array(b->l->a, ix, n);
  for (int i = 0; i < n; i++) by[i] = i == axis ? as : ix_axis(pool, i);
  for (int i = 0; i < b->l->g->axes.len; i++)
    if (b->sigma[i]) b->sigma[i] = ix_substitute(pool, pool, b->sigma[i], by, n);
}

/// Axis n becomes n * by + a new one of `by` positions; gives that.
static int split_inner(kbuild *b, int n, int by) {
  ix_pool *pool = &b->k->ix;
  ix size = ix_const(pool, by), up = ix_add(pool, b->k->axes.data[n].size, ix_const(pool, by - 1));
  int inner = kb_axis(b, b->k->axes.data[n].name, size);
  ix walked = ix_scale(pool, ix_axis(pool, n), by);
  replace_axis(b, n, ix_div(pool, up, size), ix_add(pool, walked, ix_axis(pool, inner)));
  return inner;
}

/// The walks of `steps` rows are an axis of their own, and end where the rows do.
static void cut_walks(kbuild *b, gpu_rows *g, ix rows, int steps) {
  gpu_ring *r = &g->ring;
  ix_pool *pool = &b->k->ix;
  int64_t walks = gpu_pieces(kb_kernel_size(b, g->rows[0]), steps);
  r->walk = kb_axis(b, b->k->axes.data[g->rows[0]].name, ix_const(pool, walks));
  ix first = ix_scale(pool, ix_axis(pool, r->walk), steps);
  replace_axis(b, g->rows[0], ix_const(pool, steps), ix_add(pool, ix_axis(pool, g->rows[0]), first));
  kernel_set_grid(b->k, r->walk, 1);
  ix left = ix_sub(pool, rows, ix_add(pool, ix_axis(pool, r->inner), ix_scale(pool, first, r->phase)));
  r->below = ix_div(pool, ix_add(pool, left, ix_const(pool, r->phase - 1)), ix_const(pool, r->phase));
}

/// Rows become N * phase + N_2.
static void lay_out(kbuild *b, gpu_rows *g) {
  gpu_ring *r = &g->ring;
  layout_digit digits[] = {{g->vector, 0}, {r->threads, 1}, {r->cluster, r->threads}, {r->repeat, 0}};
  int axis = g->p.kr[0], clusters = b->l->target->cores * r->resident / r->cluster / r->phase;
  kernel_add_layout(b->k);
  kernel_set_layout(b->k, 0, axis, digits, 4);
  g->p.step[axis] = g->vector * r->threads * r->cluster * r->repeat;
  gpu_set_threads(b, r->threads);
  ix all = b->k->axes.data[g->rows[0]].size;
  r->inner = r->phase > 1 ? split_inner(b, g->rows[0], r->phase) : -1;
  b->k->cluster = r->cluster > 1 ? r->cluster : 0;
  if (r->inner >= 0) kernel_set_grid(b->k, r->inner, 1);
  int64_t rows = kb_kernel_size(b, g->rows[0]);
  int64_t steps = gpu_pieces(gpu_pieces(rows, clusters > 1 ? clusters : 1), r->rows);
  if (r->uneven) cut_walks(b, g, all, (int)steps);
  else kernel_set_grid(b->k, g->rows[0], (int)steps * r->rows);
}

void gpu_stage_rows(kbuild *b, gpu_rows *g, const int *axes, int naxes) {
  int bufs[MAX_AXES];
  for (int i = 0; i < g->ring.nstaged; i++)
    bufs[i] = kb_local(b, "row", g->ring.staged[i]->type, axes, naxes);
  for (int i = 0; i < g->ring.nstaged; i++) {
    tstmt *loop = kb_loop(b, g->p.kr[0], g->p.step[g->p.kr[0]], NULL, 0);
    loop->stage = true;
    kb_store_local(b, bufs[i], kb_value_here(b, g->ring.staged[i]));
    kb_end_loop(b, NULL, 0);
  }
  for (int i = 0; i < g->ring.nstaged; i++) {
    b->local_of[g->ring.staged[i]->id] = bufs[i];
    b->local_ready[g->ring.staged[i]->id] = true;
  }
}

static void stage_row(kbuild *b, gpu_rows *g) {
  int axes[4], n = 0;
  if (g->ring.uneven) axes[n++] = g->ring.walk;
  if (g->ring.inner >= 0) axes[n++] = g->ring.inner;
  axes[n++] = g->rows[0];
  axes[n++] = g->p.kr[0];
  gpu_stage_rows(b, g, axes, n);
}

void gpu_ring_rows(kbuild *b, gpu_rows *g) {
  lay_out(b, g);
  kb_begin(b);
  reduce_open_loops(b, g->p.kr, g->p.step, 1, NULL, 0, 1);
  tstmt *rows = kb_loop(b, g->rows[0], g->ring.rows, NULL, 0);
  rows->stages = g->ring.stages;
  rows->below = g->ring.below;
  stage_row(b, g);
  gpu_resident_row(b, g);
  kb_end_loop(b, NULL, 0);
  reduce_close_loops(b, 1, NULL, 0);
}
