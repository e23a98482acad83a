// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_REDUCE on a GPU. Rows that fit into the registers of their threads are read once:
//
//   layout { N:8 = t8@32, T:1024 = r8 t32@1 r4 }
//   grid N:8 {
//     loop T:1024 {                  one step
//       x = load; m = reduce max x over T; e = exp(x - m); s = reduce add e over T; store e / s
//
// Others are walked once per level of reductions, with partial results by lane:
//
//   grid N:1 { acc = loop T:4096 { accum ... }; m = reduce acc; ...; loop T:4096 { store } }
//
// where a maximum and sums of exponentials below it take one walk together (passes/lowering/gpu_online.c), or
// they are brought on chip ahead of use (passes/lowering/gpu_ring.c).
// Few long rows are cut into chunks (passes/lowering/gpu_chunks.c).
// Threads run along R where that is contiguous, else along the rows, with more of them along R.
//
// Where outputs are larger than what is reduced, they are distributed as maps are, and every block
// computes the few reductions that it needs:
//
//   layout { C:8 = r8, N:1, T:1024 = r4 t256@1 }
//   grid N:1, T:1024 { s = sum x[N, C] over C; store y[N, T] / s }
#include "base/fault.h"
#include "passes/lowering/gpu_rows.h"

// Registers of a thread for what is kept of a row: those aimed at, so that several blocks share a
// multiprocessor, and those possible; and for running values of many reductions.
enum { AIM_REGISTERS = 16, MOST_REGISTERS = 32, RUNNING_REGISTERS = 64 };

static bool is_constant(const kbuild *b, int kernel_axis) {
  int64_t size;
  return ix_is_const(&b->k->ix, b->k->axes.data[kernel_axis].size, &size) && size > 0;
}

int64_t gpu_reduced_size(const kbuild *b, const gpu_rows *g) {
  return contraction_product(b, g->p.kr, g->p.nkr);
}

int64_t gpu_row_count(const kbuild *b, const gpu_rows *g) {
  return contraction_product(b, g->rows, g->nrows);
}

static bool outputs_along(const kbuild *b, const gpu_rows *g) {
  for (int i = 0; i < g->p.nkr; i++)
    if (reduce_outputs_use(b, g->p.kr[i])) return true;
  return false;
}

/// What of a row must be kept until later levels: values from memory, and values of 16 bits that
/// were rounded from them; the rest is computed again. Adds their bytes per element, once each.
static void add_kept(const kbuild *b, const gpu_rows *g, const node *n, bool *seen, double *bytes) {
  if (seen[n->id]) return;
  seen[n->id] = true;
  bool view = kb_in_group(b, n) && op_get(n->op)->class == CLASS_view;
  bool in_row = false, loaded = !kb_in_group(b, n) || (view && !kb_in_group(b, n->in[0]));
  for (int i = 0; i < n->naxes; i++) in_row |= axes_have(g->row->axes, g->row->naxes, n->axes[i]);
  if (loaded) {
    if (in_row || !g->row->naxes) *bytes += dtype_bytes(n->type);
    return;
  }
  if (!g->p.along[n->id] && !view) return;
  if (n->op == OP_cast && dtype_bytes(n->type) == 2 && !g->p.level[n->id]) {
    *bytes += 2;
    return;
  }
  for (int i = 0; i < n->nin; i++) add_kept(b, g, n->in[i], seen, bytes);
}

/// Registers per element of R that a resident row takes; several elements may share one.
static double registers_held(const kbuild *b, const gpu_rows *g) {
  const group *grp = b->group;
  bool *seen = kb_unseen(b);
  double bytes = 0;
  for (int i = 0; i < grp->reductions.len; i++) {
    const node *n = grp->reductions.data[i];
    for (int k = 0; k < n->nin && (g->p.level[n->id] > 1 || g->p.passes == 1); k++)
      add_kept(b, g, n->in[k], seen, &bytes);
  }
  for (int i = 0; i < grp->outputs.len; i++)
    if (reduce_carries_more(grp->outputs.data[i], g->row))
      add_kept(b, g, grp->outputs.data[i], seen, &bytes);
  return bytes > 2 ? bytes / 4 : 0.5;
}

// ---- how the axes of R are distributed

int64_t gpu_deal_reduced(const kbuild *b, gpu_rows *g, int threads) {
  int64_t elements = 1;
  for (int pass = 0; pass < 2; pass++)
    for (int i = g->p.nkr - 1; i >= 0; i--) {
      if ((g->p.kr[i] == g->vec) == pass) continue;
      int64_t size = contraction_size(b, g->p.kr[i]);
      int v = g->p.kr[i] == g->vec ? g->vector : 1;
      while (v > 1 && v >= 2 * size) v /= 2;
      int t = gpu_pow2(gpu_pieces(size, v));
      if (t > threads) t = threads;
      threads /= t;
      int64_t repeat = gpu_pieces(size, (int64_t)v * t);
      g->r_share[i] = (gpu_share){v, t, (int)(repeat < 1 << 12 ? repeat : 1 << 12)};
      elements *= v * repeat;
    }
  return elements;
}

/// Registers hold only some elements at a time: the repeats of the outer axes go first.
static void cut_repeats(gpu_rows *g, int elements) {
  for (int i = 0; i < g->p.nkr; i++) elements /= g->r_share[i].vector;
  for (int pass = 0; pass < 2; pass++)
    for (int i = g->p.nkr - 1; i >= 0; i--) {
      if ((g->p.kr[i] == g->vec) == pass) continue;
      if (elements < 1) elements = 1;
      if (g->r_share[i].repeat > elements) g->r_share[i].repeat = elements;
      elements /= g->r_share[i].repeat;
    }
}

static void deal_rows(const kbuild *b, gpu_rows *g, int threads) {
  int vector = g->along ? 1 : g->vector;
  int per_thread = (int)schedule_option(b->l, "rows", vector);
  gpu_spread(b, g->rows, g->nrows, g->vec, vector, threads, per_thread, g->row_share);
}

/// Threads along a row: about AIM_REGISTERS for each, within a warp where that is possible.
static int threads_along_row(const kbuild *b, const gpu_rows *g, int64_t size) {
  int64_t aim = (int64_t)(AIM_REGISTERS / g->held), most = (int64_t)(MOST_REGISTERS / g->held);
  if (aim < g->vector) aim = g->vector;
  if (most < g->vector) most = g->vector;
  int t = gpu_pow2(gpu_pieces(size, aim));
  if (t > GPU_WARP && size <= GPU_WARP * most) t = GPU_WARP;
  // More than a block has by default wait longer for each other than they gain.
  while (t > GPU_BLOCK && gpu_pieces(size, t / 2) <= most) t /= 2;
  // Few rows: more threads for each.
  int64_t blocks = gpu_row_count(b, g) * t / GPU_BLOCK;
  while (t < GPU_MOST_THREADS && (int64_t)t * g->vector * 2 <= size &&
         blocks < b->l->target->cores) {
    t *= 2;
    blocks *= 2;
  }
  return t < GPU_MOST_THREADS ? t : GPU_MOST_THREADS;
}

/// Blocks that share rows: several on a multiprocessor, and a step at least for each where that is possible.
static int threads_of_chunk(const kbuild *b, const gpu_rows *g, int64_t size) {
  enum { MOST = 512, LEAST = 128 };
  int t = MOST;
  int64_t rows = gpu_row_count(b, g);
  while (t > LEAST &&
         estimate_times(rows, gpu_pieces(size, t * AIM_REGISTERS)) < 2 * b->l->target->cores)
    t /= 2;
  return t;
}

/// Elements at a time of a walk that keeps a running value of each for every reduction it makes.
static int64_t walked_at_a_time(const kbuild *b, const gpu_rows *g) {
  int most = 1;
  for (int pass = 1; pass <= g->p.passes; pass++) {
    int running = 0;
    for (int i = 0; i < b->group->reductions.len; i++) {
      const node *n = b->group->reductions.data[i];
      if (g->p.level[n->id] == pass) running += 1 + op_is_arg(n->op);
    }
    if (running > most) most = running;
  }
  return most * AIM_REGISTERS <= RUNNING_REGISTERS ? AIM_REGISTERS : RUNNING_REGISTERS / most;
}

static void plan_along(const kbuild *b, gpu_rows *g, bool constant) {
  int64_t size = gpu_reduced_size(b, g);
  int usual = g->chunked ? threads_of_chunk(b, g, size) : threads_along_row(b, g, size);
  int t = schedule_power(b->l, "threads", usual);
  int64_t elements = gpu_deal_reduced(b, g, t);
  g->resident = constant && !g->chunked && (double)elements * g->held <= MOST_REGISTERS * 1.01;
  if (!g->resident) {
    // A walk: blocks small enough to have several on a multiprocessor.
    int most = g->online_ok ? GPU_BLOCK / 2 : GPU_BLOCK;
    if (!g->chunked && gpu_row_count(b, g) >= 4 * b->l->target->cores && t > most) t = most;
    gpu_deal_reduced(b, g, t);
    // Every step of an online walk reduces over the block: few steps, as words are held, not floats.
    int64_t step = g->online_ok ? (int64_t)(AIM_REGISTERS / g->held) : walked_at_a_time(b, g);
    cut_repeats(g, (int)schedule_option(b->l, "elements", step));
  }
  int used = 1;
  for (int i = 0; i < g->p.nkr; i++) used *= g->r_share[i].threads;
  deal_rows(b, g, used >= GPU_BLOCK / 2 ? 1 : GPU_BLOCK / used);
}

/// Columns of a block: a cache line of them, half a line where blocks would be few.
static int columns_of_block(const kbuild *b, const gpu_rows *g) {
  int64_t size = contraction_size(b, g->vec), rows = gpu_row_count(b, g);
  int half = 4 * g->vector, columns = 8 * g->vector;  // vectors have 16 bytes
  if (rows / columns < b->l->target->cores) columns = half;
  while (columns > 1 && columns >= 2 * size) columns /= 2;
  return columns;
}

/// The widest vectors with which a column fits into the registers of threads / lanes threads;
/// 0: none does.
static int fit_columns(const kbuild *b, gpu_rows *g, int columns, int threads) {
  for (int v = g->vector < columns ? g->vector : columns; v >= 1; v /= 2) {
    int lanes = columns / v;
    if (threads < lanes) return 0;
    if ((double)gpu_deal_reduced(b, g, threads / lanes) * v * g->held <= MOST_REGISTERS) return v;
  }
  return 0;
}

/// Threads along the rows: more than `lanes` where columns are short and blocks many.
static int threads_across(const kbuild *b, const gpu_rows *g, int lanes) {
  int along_r = 1;
  for (int i = 0; i < g->p.nkr; i++) along_r *= g->r_share[i].threads;
  int64_t rows = gpu_row_count(b, g);
  while (lanes * along_r < GPU_BLOCK &&
         rows / ((int64_t)lanes * 2 * g->vector) >= 2 * b->l->target->cores)
    lanes *= 2;
  return lanes;
}

/// Lanes along the rows: whole memory sectors, yet enough blocks.
static void plan_across(const kbuild *b, gpu_rows *g, bool constant) {
  int columns = columns_of_block(b, g), vector = 0;
  int threads = schedule_power(b->l, "threads", GPU_BLOCK);
  bool again = !g->chunked && (g->p.passes > 1 || outputs_along(b, g));
  for (int t = threads; again && constant && !vector && t <= GPU_MOST_THREADS; t *= 2)
    vector = fit_columns(b, g, columns, t);
  g->resident = vector > 0;
  if (g->vector > columns) g->vector = columns;
  if (g->resident) {
    g->vector = vector;
  } else {
    int lanes = columns / g->vector, along_r = threads / lanes;
    int64_t reduced = gpu_reduced_size(b, g);
    while (along_r > 1 && along_r >= 2 * reduced) along_r /= 2;
    gpu_deal_reduced(b, g, along_r);
    int64_t step = walked_at_a_time(b, g) / g->vector, usual = g->vector < 4 ? 8 : 4;
    cut_repeats(g, (int)(step < usual ? step : usual));
  }
  deal_rows(b, g, threads_across(b, g, columns / g->vector));
}

static void plan(const kbuild *b, gpu_rows *g, bool constant) {
  if (g->along) plan_along(b, g, constant);
  else plan_across(b, g, constant);
}

// ---- layouts

static void lay_out(kbuild *b, gpu_rows *g) {
  int stride = 1;
  for (int pass = 0; pass < 2; pass++) {
    bool reduced = (pass == 0) == g->along;
    const int *axes = reduced ? g->p.kr : g->rows;
    const gpu_share *shares = reduced ? g->r_share : g->row_share;
    int n = reduced ? g->p.nkr : g->nrows;
    for (int lanes = 1; lanes >= 0; lanes--)
      for (int i = n - 1; i >= 0; i--)
        if ((axes[i] == g->vec) == lanes) gpu_lay(b, 0, axes[i], shares[i], &stride);
  }
  gpu_set_threads(b, stride);
  for (int i = 0; i < g->p.nkr; i++) g->p.step[g->p.kr[i]] = gpu_extent(g->r_share[i]);
  for (int i = 0; i < g->nrows; i++) kernel_set_grid(b->k, g->rows[i], gpu_extent(g->row_share[i]));
}

/// Axes of outputs that are neither rows nor reduced take the threads of R, which is closed then.
static void lay_out_further(kbuild *b, gpu_rows *g, bool with_reduced) {
  int threads = 1, stride = 1;
  if (!g->along)
    for (int i = 0; i < g->nrows; i++) stride *= g->row_share[i].threads;
  for (int i = 0; i < g->p.nkr; i++) threads *= g->r_share[i].threads;
  for (int i = g->nfurther - 1; i >= 0; i--) {
    g->further_share[i] = (gpu_share){1, 1, 1};
    if (!with_reduced && i == g->nfurther - 1)
      gpu_spread(b, &g->further[i], 1, g->further[i], 1, threads, 1, &g->further_share[i]);
    gpu_lay(b, 0, g->further[i], g->further_share[i], &stride);
    g->p.step[g->further[i]] = gpu_extent(g->further_share[i]);
  }
}

static void walk_levels(kbuild *b, gpu_rows *g) {
  if (g->online_ok) online_walk(b, &g->p, &g->online);
  for (int pass = g->online_ok ? 2 : 0; pass < g->p.passes; pass++) reduce_run_pass(b, &g->p, pass);
}

// ---- outputs that are larger than what is reduced

/// All outputs have all further axes and none of R; there is little to reduce.
static bool outputs_dominate(const kbuild *b, const gpu_rows *g) {
  const group *grp = b->group;
  for (int i = 0; i < grp->outputs.len; i++)
    for (int k = 0; k < g->nfurther; k++) {
      bool carried = false;
      for (int j = 0; j < grp->outputs.data[i]->naxes; j++)
        carried |= ix_uses_axis(&b->k->ix, b->sigma[grp->outputs.data[i]->axes[j]], g->further[k]);
      if (!carried) return false;
    }
  int64_t further = contraction_product(b, g->further, g->nfurther),
          reduced = gpu_reduced_size(b, g);
  return g->nfurther && !outputs_along(b, g) && further >= reduced && reduced <= GROUP_REDUCED_AGAIN;
}

static void run_beside_outputs(kbuild *b, gpu_rows *g) {
  enum { REDUCED = 16 };  // elements of R at a time
  const node *like = b->group->outputs.data[0];
  int lanes = kb_best_lanes(b, like->axes, like->naxes), axes[2 * MAX_AXES], n = 0, stride = 1;
  int vec = lanes < 0 ? -1 : b->kaxis[lanes];
  for (int i = 0; i < g->nrows; i++) axes[n++] = g->rows[i];
  for (int i = 0; i < g->nfurther; i++) axes[n++] = g->further[i];
  gpu_share shares[2 * MAX_AXES];
  gpu_spread(b, axes, n, vec, g->vector, schedule_power(b->l, "threads", GPU_BLOCK), g->vector, shares);
  for (int pass = 0; pass < 2; pass++)  // neighbouring threads along the lanes
    for (int i = n - 1; i >= 0; i--)
      if ((axes[i] == vec) != pass) gpu_lay(b, 0, axes[i], shares[i], &stride);
  gpu_set_threads(b, stride);
  for (int i = 0; i < n; i++) kernel_set_grid(b->k, axes[i], gpu_extent(shares[i]));
  gpu_deal_reduced(b, g, 1);
  cut_repeats(g, REDUCED);
  for (int i = 0; i < g->p.nkr; i++) {
    gpu_lay(b, 0, g->p.kr[i], g->r_share[i], &stride);
    g->p.step[g->p.kr[i]] = gpu_extent(g->r_share[i]);
  }
  for (int i = 0; i < g->nfurther; i++) g->p.beside[g->further[i]] = true;
  kb_begin(b);
  walk_levels(b, g);
  reduce_store_outputs(b, &g->p, g->row, NULL, 0);
}

// ---- statements

static bool has_axes(const tval *v, const int *axes, int n) {
  for (int i = 0; i < n; i++)
    if (!tval_extent(v, axes[i])) return false;
  return true;
}

/// A reduction of the row at hand, without running values where the operand spans the row.
static void reduce_resident(kbuild *b, const gpu_rows *g, const node *red) {
  const row_plan *p = &g->p;
  running r = {.reductions = {red}, .n = 1};
  tval *x = red->op == OP_dot ? NULL : kb_value_here(b, red->in[0]);
  if (x && has_axes(x, p->kr, p->nkr)) {
    r.values[0] = x;
    if (op_is_arg(red->op)) r.values[1] = kb_index_value(b, b->sigma[red->attr_axes[0]], DT_i32);
    reduce_finish(b, p, red, r.values);
    return;
  }
  reduce_start(b, p, &r);
  reduce_accumulate(b, red, r.values, r.values);
  reduce_finish(b, p, red, r.values);
}

void gpu_resident_row(kbuild *b, gpu_rows *g) {
  row_plan *p = &g->p;
  const group *grp = b->group;
  for (int pass = 1; pass <= p->passes; pass++)
    for (int i = 0; i < grp->reductions.len; i++)
      if (p->level[grp->reductions.data[i]->id] == pass)
        reduce_resident(b, g, grp->reductions.data[i]);
  reduce_store_outputs(b, p, g->row, NULL, 0);
}

static void run_resident(kbuild *b, gpu_rows *g) {
  reduce_open_loops(b, g->p.kr, g->p.step, g->p.nkr, NULL, 0, 1);
  gpu_resident_row(b, g);
  reduce_close_loops(b, g->p.nkr, NULL, 0);
}

static void run_walks(kbuild *b, gpu_rows *g) {
  int more[2 * MAX_AXES], nmore = 0;
  for (int i = 0; i < g->nfurther; i++) more[nmore++] = g->further[i];
  for (int i = 0; i < g->p.nkr; i++)
    if (reduce_outputs_use(b, g->p.kr[i])) more[nmore++] = g->p.kr[i];
  walk_levels(b, g);
  reduce_store_outputs(b, &g->p, g->row, more, nmore);
}

void gpu_reduce_group(kbuild *b) {
  if (b->group->columns) {
    gpu_column_rows(b);
    return;
  }
  gpu_rows g = {.row = b->group->reductions.data[0]};
  reduce_axes(b->group, &g.p);
  kb_survey(b);
  reduce_levels(b, &g.p);
  int both[2 * MAX_AXES], nboth = 0, further[MAX_AXES];
  for (int i = 0; i < g.row->naxes; i++) both[nboth++] = g.row->axes[i];
  for (int i = 0; i < g.p.nr; i++) both[nboth++] = g.p.r_axes[i];
  int lanes = kb_best_lanes(b, both, nboth);
  g.nrows = kb_collapse(b, g.row->axes, g.row->naxes, g.rows);
  g.p.nkr = kb_collapse(b, g.p.r_axes, g.p.nr, g.p.kr);
  int nfurther = reduce_further_axes(b, &g.p, g.row, further);
  g.nfurther = kb_collapse(b, further, nfurther, g.further);
  g.vec = lanes < 0 ? -1 : b->kaxis[lanes];
  g.along = !axes_have(g.rows, g.nrows, g.vec);
  g.p.next_row = -1;
  g.vector = gpu_vector(b);
  g.held = registers_held(b, &g);
  g.online_ok = g.p.nkr && online_applies(b, &g.p, &g.online);
  bool constant = !g.nfurther;
  for (int i = 0; i < g.p.nkr; i++) constant &= is_constant(b, g.p.kr[i]);
  if (constant && gpu_ring_applies(b, &g)) {
    gpu_ring_rows(b, &g);
    return;
  }
  if (outputs_dominate(b, &g)) {
    run_beside_outputs(b, &g);
    return;
  }
  g.chunked = gpu_chunks_apply(b, &g);
  plan(b, &g, constant);
  if (g.chunked && !gpu_chunks_plan(b, &g)) {
    g.chunked = false;
    plan(b, &g, constant);
  }
  lay_out(b, &g);
  if (g.chunked) gpu_chunks_lay_out(b, &g);
  lay_out_further(b, &g, outputs_along(b, &g));
  kb_begin(b);
  if (g.chunked) gpu_run_chunks(b, &g);
  else if (g.resident) run_resident(b, &g);
  else run_walks(b, &g);
}
