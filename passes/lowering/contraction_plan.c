// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decides how a contraction runs: which operand carries the lanes, register blocks by the cycles of
// all their edges, blocks of K, packing, and grid tiles by predicted time.
#include <math.h>

#include "base/fault.h"
#include "ir/units.h"
#include "passes/lowering/lower_contraction.h"

void contraction_classify(contraction_plan *p, const node *dot) {
  p->dot = dot;
  const node *a = dot->in[p->a], *b = dot->in[p->b];
  p->nbatch = p->nm = p->nn = p->nk = 0;
  for (int i = 0; i < a->naxes; i++) {
    int axis = a->axes[i];
    if (axes_have(dot->attr_axes, dot->nattr_axes, axis)) p->k[p->nk++] = axis;
    else if (node_has_axis(b, axis)) p->batch[p->nbatch++] = axis;
    else p->m[p->nm++] = axis;
  }
  for (int i = 0; i < b->naxes; i++) {
    int axis = b->axes[i];
    if (axes_have(dot->attr_axes, dot->nattr_axes, axis)) {
      if (!axes_have(p->k, p->nk, axis)) p->k[p->nk++] = axis;
    } else if (!node_has_axis(a, axis)) {
      p->n[p->nn++] = axis;
    }
  }
}

static int64_t total(const kbuild *b, const int *axes, int n) {
  int64_t size = 1;
  for (int i = 0; i < n; i++) size = estimate_times(size, kb_estimate(b, axes[i]));
  return size;
}

/// The operand is a buffer, possibly through views, of the accumulator's type.
bool contraction_plain(const kbuild *b, const node *x, dtype t) {
  while (kb_in_group(b, x) && x->op == OP_view) x = x->in[0];
  return !kb_in_group(b, x) && x->type == t;
}

const access *contraction_access(const kbuild *b, const node *x) {
  while (kb_in_group(b, x) && op_get(x->op)->class != CLASS_leaf && x->nin) x = x->in[0];
  if (kb_in_group(b, x)) return NULL;
  for (int i = 0; i < b->accesses.len; i++)
    if (!b->accesses.data[i].store && b->accesses.data[i].buffer == b->l->buffer_of[x->id])
      return &b->accesses.data[i];
  return NULL;
}

/// How well lanes along the axis fit: unit stride in the result, then in the operand; long enough.
/// Where lanes would be idle in every step of a long sum, how its result is stored matters little.
/// size: how many, with the axes that it collapses with.
static double lanes_score(const kbuild *b, const node *operand, int axis, int64_t size) {
  if (axis < 0) return -1;
  const node *dot = b->group->anchor;
  const access *in = contraction_access(b, operand);
  int64_t steps = total(b, dot->attr_axes, dot->nattr_axes);
  bool is_short = size < b->lanes;
  double score = 1, stored = is_short ? 4.0 * b->lanes / (double)(b->lanes + steps) : 4;
  for (int k = 0; k < b->accesses.len; k++)
    if (b->accesses.data[k].store && kb_unit_stride(&b->accesses.data[k], b, axis)) score += stored;
  if (in && kb_unit_stride(in, b, axis)) score += 2;
  return score * (is_short ? (double)size / b->lanes : 1);
}

static int lanes_among(const kbuild *b, const node *operand, const int *axes, int n, double *most) {
  int best = -1;
  *most = -1;
  for (int i = 0; i < n; i++) {
    double score = lanes_score(b, operand, axes[i], kb_run(b, axes, n, i));
    bool longer = best < 0 || kb_estimate(b, axes[i]) > kb_estimate(b, best);
    if (score < *most || (score == *most && !longer)) continue;
    best = axes[i];
    *most = score;
  }
  return best;
}

int64_t contraction_size(const kbuild *b, int kernel_axis) {
  int64_t size = kernel_axis >= 0 ? kb_kernel_size(b, kernel_axis) : 1;
  return size > 0 ? size : 1;
}

/// Cycles of one step of K (or pair of steps) for a block of mr rows and nv vectors: two fmas or
/// loads a cycle, and at least the latency of an fma; a block has its own loop and edges.
/// Interleaving the rows of b makes each vector two loads and a shuffle.
static double block_cycles(int mr, int nv, bool interleave) {
  int more = interleave ? nv : 0;
  double latency = 4, fmas = (mr * nv + more) / 2.0, loads = (mr + nv + more) / 2.0;
  double cycles = fmas > loads ? fmas : loads;
  // Many rows read in place are as many streams that compete for the first-level cache.
  double streams = mr > 8 ? 1 + 0.012 * (mr - 8) : 1;
  return (cycles > latency ? cycles : latency) * streams + 1.5;
}

/// Cycles of one step of K over all of m rows and `vectors` vectors, edges included.
static double sweep_cycles(int64_t m, int64_t vectors, int mr, int nv, bool interleave) {
  double cycles = 0;
  int rows[] = {mr, (int)(m % mr)}, columns[] = {nv, (int)(vectors % nv)};
  int64_t row_times[] = {m / mr, m % mr > 0}, column_times[] = {vectors / nv, vectors % nv > 0};
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < 2; k++)
      cycles += block_cycles(rows[i], columns[k], interleave) * (double)row_times[i] *
                (double)column_times[k];
  // Edges are code of their own, entered anew for every panel.
  return cycles +
         2 * (double)((row_times[1] > 0) * column_times[0] + (column_times[1] > 0) * row_times[0]);
}

/// Register blocks whose accumulators, one row of b and a broadcast fit in the registers.
static void choose_block(const kbuild *b, contraction_plan *p) {
  static const int wide[][2] = {{6, 4}, {8, 3}, {12, 2}, {14, 2}, {24, 1}, {4, 4}, {1, 8}};
  static const int narrow[][2] = {{6, 2}, {4, 3}, {12, 1}, {4, 2}, {1, 4}};
  bool many = b->l->target->vector_registers >= 32;
  const int(*list)[2] = many ? wide : narrow;
  int count = many ? (int)(sizeof wide / sizeof *wide) : (int)(sizeof narrow / sizeof *narrow);
  int64_t m = contraction_size(b, p->rows), n = contraction_size(b, p->lanes);
  int64_t vectors = (n + b->lanes - 1) / b->lanes;
  double best = 0;
  for (int i = 0; i < count; i++) {
    int mr = list[i][0] < m ? list[i][0] : (int)m,
        nv = list[i][1] < vectors ? list[i][1] : (int)vectors;
    double cycles = sweep_cycles(m, vectors, mr, nv, p->interleave_b);
    if (best > 0 && cycles >= best * 0.995) continue;
    best = cycles;
    p->mr = mr;
    p->nr = nv * b->lanes;
  }
  p->mr = (int)schedule_option(b->l, "mr", p->mr);
  p->nr = (int)schedule_option(b->l, "nr", p->nr);
}

int64_t contraction_product(const kbuild *b, const int *axes, int n) {
  int64_t size = 1;
  for (int i = 0; i < n; i++) size = estimate_times(size, contraction_size(b, axes[i]));
  return size;
}

int contraction_round(int64_t v, int step) {
  int64_t r = (v + step - 1) / step * step;
  return (int)(r < step ? step : r > (1 << 24) ? (1 << 24) / step * step : r);
}

/// What is asked for, up to whole steps.
static int option_round(const kbuild *b, const char *key, int64_t otherwise, int step) {
  return contraction_round(schedule_option(b->l, key, contraction_round(otherwise, step)), step);
}

enum {
  // Starting a loop on several threads: the lines of the job and of the operands move between
  // cores, twice a microsecond when everyone is awake.
  FORK_NS = 2000,
  TILE_NS = 300,       // taking a tile
  ENTRY_NS = 100,      // of a batch: its edges and addresses
  STREAM_ROW_NS = 40,  // a row of b in a tile that reads it once: until its lines come steadily
  LATE_PERCENT = 20,   // of a tile: what is waited for when a thread starts late or is interrupted
  SCRATCH_BYTES = 64 << 20,  // of a panel or of the partial sums of a tile, for each thread
};

static double flops_per_second(const target_info *t, const contraction_plan *p) {
  return p->pairs && t->pair_flops_per_second > 0 ? t->pair_flops_per_second : t->flops_per_second;
}

/// Predicted seconds of the whole contraction with grid tiles of mt x nt.
static double tiling_seconds(const kbuild *b, const contraction_plan *p, int64_t mt, int64_t nt,
                             int64_t outer) {
  const target_info *t = b->l->target;
  int64_t m = contraction_size(b, p->rows), n = contraction_size(b, p->lanes),
          k = contraction_product(b, p->kk, p->nkk);
  int64_t block = p->kc && p->kc < k ? p->kc : k, cores = t->cores > 0 ? t->cores : 1;
  int bytes = dtype_bytes(p->type);
  double kd = (double)k, area = (double)(mt < m ? mt : m) * (double)(nt < n ? nt : n);
  double seconds = 2 * area * kd / flops_per_second(t, p) + 1e-9 * TILE_NS;
  // Packing moves an element about as fast as the second-level cache gives it; transposing and
  // converting take longer.
  double pack_rate = t->l2_bytes_per_second / 4 / (p->transposes_b ? 4 : 2);
  if (p->pack_b) seconds += (double)nt * kd / pack_rate;
  if (p->stream_b) {
    double reading = (double)nt * kd * bytes * (double)cores / t->bytes_per_second;
    if (reading > seconds) seconds = reading;
    seconds += kd * 1e-9 * STREAM_ROW_NS;
  }
  if (p->pack_a) seconds += (double)mt * kd / pack_rate;
  else seconds += (double)mt * kd * bytes / t->l2_bytes_per_second;
  // The block of b stays in the second-level cache while rows pass by, or comes again each time.
  if (p->pack_b && nt * block * bytes > t->l2_bytes / 2) seconds *= 1.15;
  // Partial sums beside it.
  if (p->kc && !p->partial_in_output && mt * nt * 4 > t->l2_bytes / 4) seconds *= 1.15;
  int64_t tiles = outer * ((m + mt - 1) / mt) * ((n + nt - 1) / nt);
  if (tiles == 1 || cores == 1) return seconds * (double)tiles;
  double rounds = (double)((tiles + cores - 1) / cores) + LATE_PERCENT / 100.0;
  return seconds * rounds + 1e-9 * FORK_NS;
}

static int least_common_multiple(int a, int b) {
  int x = a, y = b;
  while (y) {
    int rest = x % y;
    x = y;
    y = rest;
  }
  return a / x * b;
}

/// The larger of `unit` and what part of `size` (rows or columns, of `bytes` of scratch memory
/// each) fits into SCRATCH_BYTES. Sizes may be estimates of symbols that turn out small: what they
/// were planned with must not decide how much memory a call takes.
static int64_t fits_scratch(int64_t size, int unit, double bytes) {
  double most = SCRATCH_BYTES / bytes;
  if ((double)size <= most) return size;
  return most < unit ? unit : (int64_t)most / unit * unit;
}

int64_t contraction_outer(const kbuild *b, const contraction_plan *p) {
  int64_t outer = contraction_product(b, p->kbatch, p->nkbatch);
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) outer = estimate_times(outer, contraction_size(b, p->kn[i]));
  for (int i = 0; i < p->nkm; i++)
    if (p->km[i] != p->rows) outer = estimate_times(outer, contraction_size(b, p->km[i]));
  return outer;
}

/// Grid tiles: enough to balance the cores, large enough to repay packing.
static void choose_tiles(const kbuild *b, contraction_plan *p) {
  int64_t m = contraction_size(b, p->rows), n = contraction_size(b, p->lanes);
  int64_t outer = contraction_outer(b, p);
  enum { PARTS = 32 };
  double best = 0;
  int64_t best_mt = m, best_nt = n;
  int64_t k = contraction_product(b, p->kk, p->nkk), block = p->kc && p->kc < k ? p->kc : k;
  for (int rows = 1; rows <= (p->stream_b ? 1 : PARTS); rows++)
    for (int columns = 1; columns <= PARTS; columns++) {
      int64_t mt = contraction_round((m + rows - 1) / rows, p->mr),
              nt = contraction_round((n + columns - 1) / columns, p->nr);
      if (p->pack_b) nt = fits_scratch(nt, p->nr, (double)block * dtype_bytes(p->type));
      if (p->kc && !p->partial_in_output) mt = fits_scratch(mt, p->mr, (double)nt * 4);
      double seconds = tiling_seconds(b, p, mt, nt, outer);
      if (best > 0 && seconds >= best * 0.99) continue;
      best = seconds;
      best_mt = mt;
      best_nt = nt;
    }
  // A block of a divides the grid tile, and is packed in whole vectors.
  int64_t mc = best_mt < 192 ? best_mt : 192;
  int step = contraction_along_rows(b, p) ? least_common_multiple(p->mr, b->lanes) : p->mr;
  p->mc = p->pack_a ? option_round(b, "mc", contraction_round(mc, step), step) : 0;
  p->mt = option_round(b, "mt", best_mt, p->mc ? p->mc : p->mr);
  p->nt = option_round(b, "nt", best_nt, p->nr);
}

/// Small products of a batch share a grid tile, so that handing it out is worth while.
static void choose_batch_tiles(const kbuild *b, contraction_plan *p) {
  double flops = 2.0 * p->mt * p->nt * (double)contraction_product(b, p->kk, p->nkk);
  double seconds = flops / flops_per_second(b->l->target, p) + 1e-9 * ENTRY_NS;
  int64_t together = (int64_t)(2e-9 * FORK_NS / seconds);
  for (int i = p->nkbatch - 1; i >= 0; i--) {
    int64_t size = contraction_size(b, p->kbatch[i]);
    p->bt[i] = together < 1 ? 1 : (int)(together < size ? together : size);
    together /= p->bt[i];
  }
}

/// Rows of b a multiple of the page apart fall into few sets of the caches.
static bool steps_alias(const kbuild *b, const contraction_plan *p, const access *in_b) {
  enum { PAGE = 4096 };
  for (int i = 0; i < p->nk; i++) {
    int64_t step_elements;
    if (in_b->coef[p->k[i]] && ix_is_const(&b->k->ix, in_b->coef[p->k[i]], &step_elements) &&
        step_elements * dtype_bytes(p->type) % PAGE == 0)
      return true;
  }
  return false;
}

/// The lanes of b lie side by side in memory.
static bool lanes_in_order(const kbuild *b, const contraction_plan *p, const access *in_b) {
  for (int i = 0; in_b && i < p->nn; i++)
    if (b->kaxis[p->n[i]] == p->lanes && kb_unit_stride(in_b, b, p->n[i])) return true;
  return false;
}

static void choose_blocking(const kbuild *b, contraction_plan *p) {
  const target_info *t = b->l->target;
  const node *a = p->dot->in[p->a], *bo = p->dot->in[p->b];
  int64_t m = contraction_product(b, p->km, p->nkm);
  int64_t n = contraction_size(b, p->lanes);
  int64_t k = contraction_product(b, p->kk, p->nkk);
  const access *in_b = contraction_access(b, bo);
  bool in_order = lanes_in_order(b, p, in_b), direct_b = contraction_plain(b, bo, p->type) && in_order;
  bool big_b = n * k * dtype_bytes(p->type) >= t->l2_bytes / 2;
  p->stream_b = p->lanes >= 0 && direct_b && big_b && (p->pairs ? p->interleave_b : m <= 32);
  bool reused = !p->stream_b && m > 4 * p->mr;
  p->pack_b =
      !direct_b || (p->pairs ? !p->interleave_b : reused && (big_b || steps_alias(b, p, in_b)));
  p->transposes_b = p->pack_b && !in_order;
  p->pack_a = !contraction_plain(b, a, p->type) || (p->pairs && !contraction_along_k(b, p, a));
  const group *g = b->group;
  p->partial_in_output = g->outputs.len == 1 && g->outputs.data[0]->type == p->dot->type &&
                         b->l->outputs_of[g->outputs.data[0]->id].len <= 1;
  int64_t inner = k / contraction_size(b, p->nkk ? p->kk[0] : -1);
  p->kc = 0;
  // Measured: 2 kB of a column, and where b is streamed, what its columns leave of the few
  // sets of the caches that they share. Rows of bf16 are half as far apart there.
  int64_t limit = p->stream_b ? (p->pairs ? 96 : 32) : p->pairs ? 1024 : 512;
  if (k > limit * 2 || (p->stream_b && k > limit)) {
    p->kc = (int)(limit / (inner > 0 ? inner : 1));
    if (p->kc < 1) p->kc = 1;
  }
  // Neither a block nor the sum of blocks is to round off much more than 2 sqrt(k) steps do.
  enum { BLOCKS = 2048 };
  while (p->kc && k / inner / p->kc > BLOCKS && (int64_t)p->kc * p->kc * inner < k) p->kc *= 2;
  p->kc = (int)schedule_option(b->l, "kc", p->kc);
  if (p->pairs && p->nkk == 1) p->kc += p->kc % 2;
  p->pack_b = schedule_option(b->l, "pack_b", p->pack_b) != 0;
}

bool contraction_along_rows(const kbuild *b, const contraction_plan *p) {
  const access *in_a = contraction_access(b, p->dot->in[p->a]);
  if (!in_a || p->rows < 0 || !p->nkk || kb_kernel_size(b, p->rows) < b->lanes) return false;
  if (kb_kernel_size(b, p->kk[p->nkk - 1]) < b->lanes) return false;
  for (int i = 0; i < p->nm; i++)
    if (b->kaxis[p->m[i]] == p->rows && kb_unit_stride(in_a, b, p->m[i])) return true;
  return false;
}

bool contraction_along_k(const kbuild *b, const contraction_plan *p, const node *x) {
  const access *m = contraction_access(b, x);
  if (!m || !p->nkk) return false;  // all contracted axes may have size 1
  for (int i = 0; i < p->nk; i++)
    if (b->kaxis[p->k[i]] == p->kk[p->nkk - 1] && kb_unit_stride(m, b, p->k[i])) return true;
  return false;
}

// Per result, combining the lanes of an inner product costs about 5 cycles; per element of b,
// transposing costs about one, shared by the rows.
enum { COMBINE = 5, PAIR_ROWS = 32 };

static bool inner_product_is_better(const kbuild *b, const contraction_plan *p) {
  const node *x = p->dot->in[p->a], *y = p->dot->in[p->b];
  if (p->rows < 0 || p->lanes < 0 || p->nkm != 1 || p->nkn != 1 || !p->nkk) return false;
  if (!contraction_plain(b, x, p->dot->type) || !contraction_plain(b, y, p->dot->type)) return false;
  if (!dtype_is_float(p->dot->type)) return false;
  if (!contraction_along_k(b, p, x) || !contraction_along_k(b, p, y)) return false;
  bool better = contraction_size(b, p->rows) * COMBINE < contraction_product(b, p->kk, p->nkk) &&
                contraction_size(b, p->kk[p->nkk - 1]) >= 2 * b->lanes;
  return schedule_option(b->l, "inner", better) != 0;
}

/// The same by pairs, in whole vectors of them. Transposing 32-bit pairs costs a third as much an
/// element, and many rows repay it whatever the size of K.
static bool inner_pairs_are_better(const kbuild *b, const contraction_plan *p) {
  const node *x = p->dot->in[0], *y = p->dot->in[1];
  const target_info *t = b->l->target;
  int64_t k;
  if (p->rows < 0 || p->lanes < 0 || p->nkm != 1 || p->nkn != 1 || p->nk != 1) return false;
  if (p->dot->type != DT_f32 || t->pair_flops_per_second <= t->flops_per_second) return false;
  if (!contraction_plain(b, x, DT_bf16) || !contraction_plain(b, y, DT_bf16)) return false;
  if (!ix_is_const(&b->l->g->ix, graph_axis_size(b->l->g, p->k[0]), &k)) return false;
  const access *in_x = contraction_access(b, x), *in_y = contraction_access(b, y);
  if (!in_x || !kb_unit_stride(in_x, b, p->k[0])) return false;
  if (!in_y || !kb_unit_stride(in_y, b, p->k[0])) return false;
  bool whole = k > 0 && k % (2 * b->lanes) == 0;
  int64_t rows = contraction_size(b, p->rows);
  bool better = rows < PAIR_ROWS && rows * 3 * COMBINE < k;
  return whole && schedule_option(b->l, "inner", better) != 0;
}

/// Without reuse of either operand there is nothing to block: a reduction of products.
static bool reduction_is_better(const kbuild *b, const contraction_plan *p) {
  int64_t m = total(b, p->m, p->nm), n = total(b, p->n, p->nn), k = total(b, p->k, p->nk);
  if (k < 2 * b->lanes) return m == 1 && n == 1;
  const access *in_a = contraction_access(b, p->dot->in[0]), *in_b = contraction_access(b, p->dot->in[1]);
  bool along_k = false;
  for (int i = 0; i < p->nk; i++)
    along_k |= in_a && in_b && kb_unit_stride(in_a, b, p->k[i]) && kb_unit_stride(in_b, b, p->k[i]);
  return (m == 1 || n == 1) && along_k;
}

static void choose_inner_tiles(const kbuild *b, contraction_plan *p) {
  bool many = b->l->target->vector_registers >= 32;
  int64_t m = contraction_size(b, p->rows), n = contraction_size(b, p->lanes);
  p->mr = m < 4 ? (int)m : many ? 4 : 2;
  p->nr = many ? (p->mr < 3 ? 8 : 6) : 4;
  int64_t tiles = 4 * (b->l->target->cores > 1 ? b->l->target->cores : 2);
  // Of whole blocks and whole steps of the epilogue.
  p->nt = contraction_round((n + tiles - 1) / tiles, least_common_multiple(2 * b->lanes, p->nr));
  p->mt = contraction_round(m, p->mr);
  p->pack_b = false;
}

/// Whether elements of x along the axis may differ: what was only broadcast along it is loaded
/// without it.
/// fixed: by node id, 1 + an axis along which it is known not to.
static bool varies_along(const kbuild *b, const node *x, int axis, int *fixed) {
  if (!node_has_axis(x, axis)) return false;
  if (!kb_in_group(b, x)) return true;
  op_class class = op_get(x->op)->class;
  if (class == CLASS_leaf) return true;
  if (fixed[x->id] == axis + 1) return false;
  bool varies = false;
  if (class == CLASS_view) {
    const node *from = x->in[0];
    for (int k = 0; k < from->naxes && !varies; k++)
      varies = ix_uses_axis(&b->l->g->ix, x->index[k], axis) &&
               varies_along(b, from, from->axes[k], fixed);
  } else {
    for (int i = 0; i < x->nin && !varies; i++) varies = varies_along(b, x->in[i], axis, fixed);
  }
  if (!varies) fixed[x->id] = axis + 1;
  return varies;
}

/// Dots of bf16 pairs, where the CPU has fast ones, both operands vary along the axis of the pairs,
/// and an odd size of it does not waste what they gain.
static void choose_unit(const kbuild *b, contraction_plan *p) {
  const target_info *t = b->l->target;
  const node *x = p->dot->in[0], *y = p->dot->in[1];
  p->type = p->dot->type;
  if (p->dot->type != DT_f32 || x->type != y->type || !unit_takes(DOT_PAIRS, x->type)) return;
  if (p->lanes < 0 || !p->nkk) return;
  int inner = p->kk[p->nkk - 1];
  bool in_both = true;
  int *fixed = arena_array(b->l->a, int, b->l->g->nodes.len);
  for (int i = 0; i < p->nk; i++)
    if (b->kaxis[p->k[i]] == inner)
      in_both &= varies_along(b, x, p->k[i], fixed) && varies_along(b, y, p->k[i], fixed);
  double size = (double)contraction_size(b, inner), used = size / (2 * ceil(size / 2));
  bool faster = used * t->pair_flops_per_second > t->flops_per_second;
  if (!in_both || !schedule_option(b->l, "pairs", faster)) return;
  p->pairs = true;
  p->type = DT_bf16;
  // Interleaving b for some blocks of rows costs what packing it costs.
  enum { INTERLEAVE_ROWS = 24 };
  const node *bo = p->dot->in[p->b];
  p->interleave_b = contraction_plain(b, bo, DT_bf16) &&
                    lanes_in_order(b, p, contraction_access(b, bo)) &&
                    contraction_product(b, p->km, p->nkm) <= INTERLEAVE_ROWS;
}

/// Whether to pack operand 0 and read operand 1 in place, where lanes fit both alike: one that is to
/// be computed is packed anyway, else it is the smaller one.
static bool is_better_packed(const kbuild *b, const node *dot) {
  const node *x = dot->in[0], *y = dot->in[1];
  bool plain_x = contraction_plain(b, x, dot->type), plain_y = contraction_plain(b, y, dot->type);
  if (plain_x != plain_y) return plain_y;
  return plain_x && total(b, x->axes, x->naxes) < total(b, y->axes, y->naxes);
}

/// Vectors no wider than a short axis of the lanes: narrow ones of which all lanes work are at
/// least as fast as wide ones of which a half is idle.
static void narrow_lanes(kbuild *b, const contraction_plan *p) {
  enum { NARROWEST = 4 };
  int64_t n;
  if (p->lanes < 0 || p->pairs || !ix_is_const(&b->k->ix, b->k->axes.data[p->lanes].size, &n))
    return;
  while (b->lanes > NARROWEST && n <= b->lanes / 2) b->lanes /= 2;
}

contraction_form contraction_choose(kbuild *b, contraction_plan *p) {
  const node *dot = b->group->anchor;
  *p = (contraction_plan){
      .a = 0, .b = 1, .a_buf = -1, .b_buf = -1, .c_buf = -1, .rows = -1, .pair = -1};
  kb_survey(b);
  contraction_classify(p, dot);
  if (reduction_is_better(b, p)) return CONTRACTION_REDUCTION;
  double score_a, score_b;
  int lane_b = lanes_among(b, dot->in[1], p->n, p->nn, &score_b);
  int lane_a = lanes_among(b, dot->in[0], p->m, p->nm, &score_a);
  if (score_a > score_b || (score_a == score_b && lane_a >= 0 && is_better_packed(b, dot))) {
    p->a = 1;
    p->b = 0;
    contraction_classify(p, dot);
    lane_b = lane_a;
  }
  p->nkbatch = kb_collapse(b, p->batch, p->nbatch, p->kbatch);
  p->nkm = kb_collapse(b, p->m, p->nm, p->km);
  p->nkn = kb_collapse(b, p->n, p->nn, p->kn);
  p->lanes = lane_b < 0 ? -1 : b->kaxis[lane_b];
  for (int i = 0; i < p->nkm; i++)
    if (p->rows < 0 || kb_kernel_size(b, p->km[i]) >= kb_kernel_size(b, p->rows))
      p->rows = p->km[i];
  if (inner_pairs_are_better(b, p)) {
    p->nkk = 1;
    p->kk[0] = kb_pair_axis(b, p->k[0], &p->pair);
    p->pairs = true;
  } else {
    p->nkk = kb_collapse(b, p->k, p->nk, p->kk);
  }
  if (p->pair >= 0 || inner_product_is_better(b, p)) {
    choose_inner_tiles(b, p);
    choose_batch_tiles(b, p);
    return CONTRACTION_INNER;
  }
  choose_unit(b, p);
  narrow_lanes(b, p);
  choose_block(b, p);
  choose_blocking(b, p);
  choose_tiles(b, p);
  choose_batch_tiles(b, p);
  return CONTRACTION_BLOCKED;
}
