// GROUP_CONTRACT: one dot with what is fused into its loads and its result.
//
//   grid batch:1, M:MT, N:NT {
//     local %b[K, N] panels of NR          packed, converted, contiguous along N
//     loop K:KC {                          blocks of the contraction
//       stage loops: %b = operand b
//       loop M:MR { loop N:NR {            register block: accumulators stay in registers
//         c = first block ? 0 : partial sums
//         c = loop K:1 { c += a[M] * b[N] }
//         last block ? epilogue, store : store partial sums
//
// After Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication", TOMS 2008,
// without packing a: with few rows per block it is read in place as broadcasts. The lanes run
// along N, an axis of one operand only (called b; operands swap to make it so). A matrix product,
// a batched one, a convolution over window views and an outer product are the same case with
// other axes.
#include "base/fault.h"
#include "passes/lower.h"

typedef struct plan {
  const node *dot;
  int a, b;  // operand numbers: b carries the lanes
  int batch[MAX_AXES], nbatch;  // graph axes in both operands
  int m[MAX_AXES], nm;          // only in a
  int n[MAX_AXES], nn;          // only in b
  int k[MAX_AXES], nk;          // contracted
  // kernel axes after collapsing; -1 none
  int kbatch[MAX_AXES], nkbatch, km[MAX_AXES], nkm, kn[MAX_AXES], nkn, kk[MAX_AXES], nkk;
  int rows, lanes;   // the axes of the register block
  int mr, nr;        // its extents
  int kc;            // block of kk[0]; 0: not blocked
  int mt, nt;        // grid tile
  int mc;            // rows of a packed at a time; 0: a is read in place
  bool pack_a, pack_b, transposes_b;
  bool stream_b;     // b is read once in order: N outside M
  bool partial_in_output;
  int a_buf, b_buf, c_buf;  // on-chip buffers, -1 none
} plan;

static bool has(const int *axes, int n, int axis) {
  for (int i = 0; i < n; i++)
    if (axes[i] == axis) return true;
  return false;
}

static void classify(plan *p, const node *dot) {
  p->dot = dot;
  const node *a = dot->in[p->a], *b = dot->in[p->b];
  p->nbatch = p->nm = p->nn = p->nk = 0;
  for (int i = 0; i < a->naxes; i++) {
    int axis = a->axes[i];
    if (has(dot->attr_axes, dot->nattr_axes, axis)) p->k[p->nk++] = axis;
    else if (node_has_axis(b, axis)) p->batch[p->nbatch++] = axis;
    else p->m[p->nm++] = axis;
  }
  for (int i = 0; i < b->naxes; i++) {
    int axis = b->axes[i];
    if (has(dot->attr_axes, dot->nattr_axes, axis)) {
      if (!has(p->k, p->nk, axis)) p->k[p->nk++] = axis;
    } else if (!node_has_axis(a, axis)) {
      p->n[p->nn++] = axis;
    }
  }
}

static int64_t total(const kbuild *b, const int *axes, int n) {
  int64_t size = 1;
  for (int i = 0; i < n; i++) size *= kb_estimate(b, axes[i]);
  return size;
}

/// The operand is a buffer, possibly through views, of the accumulator's type.
static bool plain_operand(const kbuild *b, const node *x, dtype t) {
  while (kb_in_group(b, x) && x->op == OP_view) x = x->in[0];
  return !kb_in_group(b, x) && x->type == t;
}

static const access *operand_access(const kbuild *b, const node *x) {
  while (kb_in_group(b, x) && op_get(x->op)->class != CLASS_leaf && x->nin) x = x->in[0];
  if (kb_in_group(b, x)) return NULL;
  for (int i = 0; i < b->accesses.len; i++)
    if (!b->accesses.data[i].store && b->accesses.data[i].buffer == b->l->buffer_of[x->id])
      return &b->accesses.data[i];
  return NULL;
}

/// The axis among `axes` with unit stride in the result, else in the operand, else the largest.
static int lanes_among(const kbuild *b, const node *operand, const int *axes, int n) {
  const access *in = operand_access(b, operand);
  int best = -1;
  double best_score = -1;
  for (int i = 0; i < n; i++) {
    double score = 0;
    for (int k = 0; k < b->accesses.len; k++)
      if (b->accesses.data[k].store && kb_unit_stride(&b->accesses.data[k], b, axes[i])) score = 4;
    if (in && kb_unit_stride(in, b, axes[i])) score += 2;
    int64_t size = kb_estimate(b, axes[i]);
    score *= size < b->lanes ? (double)size / b->lanes : 1;
    if (score > best_score || (score == best_score && size > kb_estimate(b, best))) {
      best = axes[i];
      best_score = score;
    }
  }
  return best;
}

static double lanes_score(const kbuild *b, const node *operand, int axis) {
  if (axis < 0) return -1;
  const access *in = operand_access(b, operand);
  double score = 1;
  for (int k = 0; k < b->accesses.len; k++)
    if (b->accesses.data[k].store && kb_unit_stride(&b->accesses.data[k], b, axis)) score += 4;
  if (in && kb_unit_stride(in, b, axis)) score += 2;
  int64_t size = kb_estimate(b, axis);
  return score * (size < b->lanes ? (double)size / b->lanes : 1);
}

/// Estimate of a kernel axis for planning: an empty or absent one counts as 1.
static int64_t planned_size(const kbuild *b, int kernel_axis) {
  int64_t size = kernel_axis >= 0 ? kb_kernel_size(b, kernel_axis) : 1;
  return size > 0 ? size : 1;
}

/// Cycles of one step of K for a block of mr rows and nv vectors: two fmas or loads a cycle, and
/// at least the latency of an fma; a block has its own loop and edges.
static double block_cycles(int mr, int nv) {
  double latency = 4, fmas = mr * nv / 2.0, loads = (mr + nv) / 2.0;
  double cycles = fmas > loads ? fmas : loads;
  // Many rows read in place are as many streams that compete for the first-level cache.
  double streams = mr > 8 ? 1 + 0.012 * (mr - 8) : 1;
  return (cycles > latency ? cycles : latency) * streams + 1.5;
}

/// Cycles of one step of K over all of m rows and `vectors` vectors, edges included.
static double sweep_cycles(int64_t m, int64_t vectors, int mr, int nv) {
  double cycles = 0;
  int rows[] = {mr, (int)(m % mr)}, columns[] = {nv, (int)(vectors % nv)};
  int64_t row_times[] = {m / mr, m % mr > 0}, column_times[] = {vectors / nv, vectors % nv > 0};
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < 2; k++)
      cycles += block_cycles(rows[i], columns[k]) * (double)row_times[i] * (double)column_times[k];
  // Edges are code of their own, entered anew for every panel.
  return cycles + 2 * (double)((row_times[1] > 0) * column_times[0] + (column_times[1] > 0) * row_times[0]);
}

/// Register blocks whose accumulators, one row of b and a broadcast fit in the registers.
static void choose_block(const kbuild *b, plan *p) {
  static const int wide[][2] = {{6, 4}, {8, 3}, {12, 2}, {14, 2}, {24, 1}, {4, 4}, {1, 8}};
  static const int narrow[][2] = {{6, 2}, {4, 3}, {12, 1}, {4, 2}, {1, 4}};
  bool many = b->l->target->vector_registers >= 32;
  const int(*list)[2] = many ? wide : narrow;
  int count = many ? (int)(sizeof wide / sizeof *wide) : (int)(sizeof narrow / sizeof *narrow);
  int64_t m = planned_size(b, p->rows), n = planned_size(b, p->lanes);
  int64_t vectors = (n + b->lanes - 1) / b->lanes;
  double best = 0;
  for (int i = 0; i < count; i++) {
    int mr = list[i][0] < m ? list[i][0] : (int)m, nv = list[i][1] < vectors ? list[i][1] : (int)vectors;
    double cycles = sweep_cycles(m, vectors, mr, nv);
    if (best > 0 && cycles >= best * 0.995) continue;
    best = cycles;
    p->mr = mr;
    p->nr = nv * b->lanes;
  }
  p->mr = (int)schedule_option(b->l, "mr", p->mr);
  p->nr = (int)schedule_option(b->l, "nr", p->nr);
}

static int64_t product(const kbuild *b, const int *axes, int n) {
  int64_t size = 1;
  for (int i = 0; i < n; i++) size *= planned_size(b, axes[i]);
  return size;
}

static int round_to(int64_t v, int step) {
  int64_t r = (v + step - 1) / step * step;
  return (int)(r < step ? step : r > (1 << 24) ? (1 << 24) / step * step : r);
}

/// Predicted seconds of the whole contraction with grid tiles of mt x nt.
static double tiling_seconds(const kbuild *b, const plan *p, int64_t mt, int64_t nt, int64_t outer) {
  const target_info *t = b->l->target;
  int64_t m = planned_size(b, p->rows), n = planned_size(b, p->lanes), k = product(b, p->kk, p->nkk);
  int64_t block = p->kc && p->kc < k ? p->kc : k, cores = t->cores > 0 ? t->cores : 1;
  double kd = (double)k, area = (double)(mt < m ? mt : m) * (double)(nt < n ? nt : n);
  double seconds = 2 * area * kd / t->flops_per_second + 1e-6;  // 1 us to hand out a tile
  // Packing moves an element about as fast as the second-level cache gives it; transposing and
  // converting take longer.
  double pack_rate = t->l2_bytes_per_second / 4 / (p->transposes_b ? 4 : 2);
  if (p->pack_b) seconds += (double)nt * kd / pack_rate;
  if (p->pack_a) seconds += (double)mt * kd / pack_rate;
  else seconds += (double)mt * kd * 4 / t->l2_bytes_per_second;
  // The block of b stays in the second-level cache while rows pass by, or comes again each time.
  if (p->pack_b && nt * block * 4 > t->l2_bytes / 2) seconds *= 1.15;
  // Partial sums beside it.
  if (p->kc && !p->partial_in_output && mt * nt * 4 > t->l2_bytes / 4) seconds *= 1.15;
  int64_t tiles = outer * ((m + mt - 1) / mt) * ((n + nt - 1) / nt);
  return seconds * (double)((tiles + cores - 1) / cores);
}

/// Grid tiles: enough to balance the cores, large enough to repay packing.
static void choose_tiles(const kbuild *b, plan *p) {
  int64_t m = planned_size(b, p->rows), n = planned_size(b, p->lanes);
  int64_t outer = product(b, p->kbatch, p->nkbatch);
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) outer *= planned_size(b, p->kn[i]);
  for (int i = 0; i < p->nkm; i++)
    if (p->km[i] != p->rows) outer *= planned_size(b, p->km[i]);
  enum { PARTS = 32 };
  double best = 0;
  int64_t best_mt = m, best_nt = n;
  for (int rows = 1; rows <= (p->stream_b ? 1 : PARTS); rows++)
    for (int columns = 1; columns <= PARTS; columns++) {
      int64_t mt = round_to((m + rows - 1) / rows, p->mr), nt = round_to((n + columns - 1) / columns, p->nr);
      double seconds = tiling_seconds(b, p, mt, nt, outer);
      if (best > 0 && seconds >= best * 0.99) continue;
      best = seconds;
      best_mt = mt;
      best_nt = nt;
    }
  // A block of a divides the grid tile.
  int64_t mc = best_mt < 192 ? best_mt : 192;
  p->mc = p->pack_a ? (int)schedule_option(b->l, "mc", round_to(mc, p->mr)) : 0;
  p->mt = (int)schedule_option(b->l, "mt", round_to(best_mt, p->mc ? p->mc : p->mr));
  p->nt = (int)schedule_option(b->l, "nt", round_to(best_nt, p->nr));
}

/// Rows of b a multiple of the page apart fall into few sets of the caches.
static bool steps_alias(const kbuild *b, const plan *p, const access *in_b) {
  enum { PAGE = 4096 };
  for (int i = 0; i < p->nk; i++) {
    int64_t step_elements;
    if (in_b->coef[p->k[i]] && ix_is_const(&b->k->ix, in_b->coef[p->k[i]], &step_elements) &&
        step_elements * dtype_bytes(p->dot->type) % PAGE == 0)
      return true;
  }
  return false;
}

static void choose_blocking(const kbuild *b, plan *p) {
  const target_info *t = b->l->target;
  const node *a = p->dot->in[p->a], *bo = p->dot->in[p->b];
  int64_t m = product(b, p->km, p->nkm);
  int64_t n = planned_size(b, p->lanes);
  int64_t k = product(b, p->kk, p->nkk);
  const access *in_b = operand_access(b, bo);
  int lane_graph = -1;
  for (int i = 0; i < p->nn; i++)
    if (b->kaxis[p->n[i]] == p->lanes && in_b && kb_unit_stride(in_b, b, p->n[i])) lane_graph = p->n[i];
  bool direct_b = plain_operand(b, bo, p->dot->type) && lane_graph >= 0;
  bool big_b = n * k * 4 > t->l2_bytes / 2;
  p->stream_b = direct_b && m <= 32 && big_b;
  bool reused = !p->stream_b && m > 4 * p->mr;
  p->pack_b = !direct_b || (reused && (big_b || steps_alias(b, p, in_b)));
  p->transposes_b = p->pack_b && lane_graph < 0;
  p->pack_a = !plain_operand(b, a, p->dot->type);
  const group *g = b->group;
  p->partial_in_output = g->outputs.len == 1 && g->outputs.data[0]->type == p->dot->type &&
                         b->l->outputs_of[g->outputs.data[0]->id].len <= 1;
  int64_t inner = k / planned_size(b, p->nkk ? p->kk[0] : -1);
  p->kc = 0;
  int64_t limit = p->stream_b ? 32 : 512;
  if (k > limit * 2 || (p->stream_b && k > limit)) {
    p->kc = (int)(limit / (inner > 0 ? inner : 1));
    if (p->kc < 1) p->kc = 1;
  }
  p->kc = (int)schedule_option(b->l, "kc", p->kc);
  p->pack_b = schedule_option(b->l, "pack_b", p->pack_b) != 0;
}

// ---- emission

static bool contiguous_along_k(const kbuild *b, const plan *p, const node *x) {
  const access *m = operand_access(b, x);
  if (!m || !p->nkk) return false;  // all contracted axes may have size 1
  for (int i = 0; i < p->nk; i++)
    if (b->kaxis[p->k[i]] == p->kk[p->nkk - 1] && kb_unit_stride(m, b, p->k[i])) return true;
  return false;
}

/// Copies operand `which` into a local buffer over the current ranges of its axes.
static int pack(kbuild *b, const plan *p, int which, const char *name) {
  const node *x = p->dot->in[which];
  bool is_b = which == p->b;
  int axes[MAX_AXES], naxes = 0;
  for (int i = 0; i < p->nkbatch; i++) axes[naxes++] = p->kbatch[i];
  for (int i = 0; is_b && i < p->nkn; i++)
    if (p->kn[i] != p->lanes) axes[naxes++] = p->kn[i];
  for (int i = 0; !is_b && i < p->nkm; i++) axes[naxes++] = p->km[i];
  for (int i = 0; i < p->nkk; i++) axes[naxes++] = p->kk[i];
  if (is_b && p->lanes >= 0) axes[naxes++] = p->lanes;
  int buf = kb_local(b, name, p->dot->type, axes, naxes);
  if (is_b && p->lanes >= 0) {
    b->k->bufs.data[buf].panel_dim = naxes - 1;
    b->k->bufs.data[buf].panel = p->nr;
  }
  // Where the operand is contiguous along K, square tiles let the backend transpose b in
  // registers, and a is converted with its lanes along K.
  int inner_k = p->nkk ? p->kk[p->nkk - 1] : -1;
  bool along_k = contiguous_along_k(b, p, x) && kb_kernel_size(b, inner_k) >= b->lanes;
  int opened = 0;
  for (int i = 0; i < naxes; i++) {
    // b panel by panel: its lanes outermost.
    int loop_axis = !is_b || p->lanes < 0 ? axes[i] : i ? axes[i - 1] : p->lanes;
    if (b->extent[loop_axis] == 1) continue;
    int by = is_b && loop_axis == p->lanes ? (along_k ? b->lanes : p->nr)
             : loop_axis == inner_k && along_k ? b->lanes * (is_b ? 1 : 2)
                                               : 1;
    tstmt *loop = kb_loop(b, loop_axis, by, NULL, 0);
    loop->stage = true;
    loop->vec = !is_b && loop_axis == inner_k && along_k;
    if (by == 1 && i + 1 == naxes) loop->unroll = 4;
    opened++;
  }
  tval *v = kb_value_here(b, x);
  if (v->type != p->dot->type) v = kb_map(b, OP_cast, p->dot->type, v, NULL, NULL);
  kb_store_local(b, buf, v);
  while (opened--) kb_end_loop(b, NULL, 0);
  return buf;
}

static tval *operand(kbuild *b, const plan *p, int which) {
  int buf = which == p->b ? p->b_buf : p->a_buf;
  if (buf >= 0) return kb_load_local(b, buf, NULL, 0);
  tval *v = kb_value_here(b, p->dot->in[which]);
  return v->type == p->dot->type ? v : kb_map(b, OP_cast, p->dot->type, v, NULL, NULL);
}

static tval *zero_block(kbuild *b, const plan *p) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (has(p->kk, p->nkk, axis) || !b->extent[axis]) continue;
    axes[n] = axis;
    extents[n++] = b->extent[axis];
  }
  scalar zero = scalar_cast((scalar){.i = 0}, DT_i64, p->dot->type);
  return kb_fill(b, p->dot->type, zero, axes, extents, n);
}

static tval *dot_step(kbuild *b, const plan *p, tval *sum) {
  tval *in[] = {operand(b, p, p->a), operand(b, p, p->b), sum};
  tstmt *st = arena_new(b->l->a, tstmt);
  *st = (tstmt){.kind = TILE_DOT, .nin = 3, .nout = 1};
  st->in = arena_copy(b->l->a, in, sizeof in);
  st->axes = arena_copy(b->l->a, p->kk, sizeof(int) * (size_t)p->nkk);
  st->naxes = p->nkk;
  st->out = arena_array(b->l->a, tval *, 1);
  st->out[0] = tile_value(b->k, sum->type, sum->axes, sum->extents, sum->naxes);
  st->at = p->dot->at;
  kb_append(b, b->scope, st);
  return st->out[0];
}

/// The contraction over the current range of K, one step at a time. Where a is read in place
/// from a large buffer, its next rows are fetched line by line meanwhile.
static tval *contract(kbuild *b, const plan *p, tval *start) {
  if (!p->nkk) {  // an outer product
    tval *x = operand(b, p, p->a), *y = operand(b, p, p->b);
    if (dtype_is_float(start->type)) return kb_map(b, OP_fma, start->type, x, y, start);
    return kb_map(b, OP_add, start->type, kb_map(b, OP_mul, start->type, x, y, NULL), start, NULL);
  }
  enum { LINE = 16 };
  int inner = p->kk[p->nkk - 1];
  bool fetch = p->rows >= 0 && p->a_buf < 0 && kb_kernel_size(b, inner) >= 4 * LINE;
  int opened = 0;
  tval *sum = start;
  for (int i = 0; i < p->nkk + fetch; i++) {
    bool by_line = fetch && i + 1 == p->nkk;
    tstmt *loop = kb_loop(b, i < p->nkk ? p->kk[i] : inner, by_line ? LINE : 1, &sum, 1);
    if (i + 1 == p->nkk + fetch) loop->unroll = 4;
    sum = loop->body->params[0];
    opened++;
  }
  const tregion *loads = b->scope->region;
  sum = dot_step(b, p, sum);
  for (; opened; opened--) {
    sum = kb_end_loop(b, &sum, 1)[0];
    if (fetch && opened == p->nkk + 1)
      kb_prefetch_next(b, loads, p->rows, p->mr, 2, b->l->target->l2_bytes / 2);
  }
  return sum;
}

static void epilogue(kbuild *b, const plan *p, tval *sum) {
  b->done[p->dot->id] = sum;
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    // Partial sums have brought the output into the caches already.
    bool stream = !p->kc && kb_nontemporal(b, b->l->buffer_of[out->id]);
    kb_store_node(b, out, kb_value_here(b, out), stream);
  }
  b->done[p->dot->id] = NULL;
}

/// Unrolled over the register block, dear functions would make much code and run out of
/// registers: their rows are walked one by one, from a buffer.
static bool is_dear_epilogue(const kbuild *b, const plan *p) {
  enum { DEAR = 12 };
  if (p->rows < 0 || p->mr < 2) return false;
  int cost = 0;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    if (n->id > p->dot->id && op_is_map(n->op)) cost += op_get(n->op)->cost;
  }
  return cost >= DEAR;
}

static void finish_block(kbuild *b, const plan *p, tval *sum) {
  if (!is_dear_epilogue(b, p)) {
    epilogue(b, p, sum);
    return;
  }
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < sum->naxes; i++)
    if (sum->axes[i] != p->lanes) axes[n++] = sum->axes[i];
  if (p->lanes >= 0) axes[n++] = p->lanes;
  int buf = kb_local(b, "sums", sum->type, axes, n);
  kb_store_local(b, buf, sum);
  kb_loop(b, p->rows, 1, NULL, 0);
  epilogue(b, p, kb_load_local(b, buf, NULL, 0));
  kb_end_loop(b, NULL, 0);
}

static tval *load_partial(kbuild *b, const plan *p) {
  if (p->c_buf >= 0) return kb_load_local(b, p->c_buf, NULL, 0);
  return kb_load_buffer(b, b->group->outputs.data[0]);
}

static void store_partial(kbuild *b, const plan *p, tval *sum) {
  if (p->c_buf >= 0) kb_store_local(b, p->c_buf, sum);
  else kb_store_node(b, b->group->outputs.data[0], sum, false);
}

/// One register block: contraction over the current K range, then epilogue or partial sums.
static void block(kbuild *b, const plan *p) {
  tval *start = zero_block(b, p);
  if (p->kc) {
    kb_if(b, COND_FIRST, p->kk[0], NULL);
    kb_else(b, &start, 1);
    tval *partial = load_partial(b, p);
    if (p->lanes >= 0) kb_prefetch_next(b, b->scope->region, p->lanes, p->nr, 2, b->l->target->l2_bytes / 2);
    start = kb_end_if(b, &partial, 1)[0];
  }
  tval *sum = contract(b, p, start);
  if (!p->kc) {
    finish_block(b, p, sum);
    return;
  }
  kb_if(b, COND_LAST, p->kk[0], NULL);
  finish_block(b, p, sum);
  kb_else(b, NULL, 0);
  store_partial(b, p, sum);
  kb_end_if(b, NULL, 0);
}

static int declare_partial(kbuild *b, const plan *p) {
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < p->nkbatch; i++) axes[n++] = p->kbatch[i];
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) axes[n++] = p->kn[i];
  for (int i = 0; i < p->nkm; i++) axes[n++] = p->km[i];
  if (p->lanes >= 0) axes[n++] = p->lanes;
  return kb_local(b, "acc", p->dot->type, axes, n);
}

static void emit(kbuild *b, plan *p) {
  kb_begin(b);
  int opened = 0;
  // Row axes besides the blocked one stay inside the packing of b.
  p->a_buf = p->b_buf = p->c_buf = -1;
  if (p->kc && !p->partial_in_output) p->c_buf = declare_partial(b, p);
  if (p->kc) kb_loop(b, p->kk[0], p->kc, NULL, 0), opened++;
  if (p->pack_b) p->b_buf = pack(b, p, p->b, "panel");
  if (p->pack_a) {
    if (p->rows >= 0) kb_loop(b, p->rows, p->mc, NULL, 0), opened++;
    p->a_buf = pack(b, p, p->a, "block");
  }
  if (p->stream_b && p->lanes >= 0) kb_loop(b, p->lanes, p->nr, NULL, 0), opened++;
  for (int i = 0; i < p->nkm; i++)
    kb_loop(b, p->km[i], p->km[i] == p->rows ? p->mr : 1, NULL, 0), opened++;
  if (!p->stream_b && p->lanes >= 0) kb_loop(b, p->lanes, p->nr, NULL, 0), opened++;
  block(b, p);
  while (opened--) kb_end_loop(b, NULL, 0);
}

static void make_grid(kbuild *b, const plan *p) {
  kernel *k = b->k;
  for (int i = 0; i < p->nkbatch; i++) vec_push(b->l->a, &k->grid, (grid_axis){p->kbatch[i], 1});
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) vec_push(b->l->a, &k->grid, (grid_axis){p->kn[i], 1});
  if (p->lanes >= 0) vec_push(b->l->a, &k->grid, (grid_axis){p->lanes, p->nt});
  // Other row axes: one each, unless b is packed for all of them.
  for (int i = 0; i < p->nkm; i++) {
    bool inside = p->km[i] != p->rows && p->pack_b && !p->pack_a;
    int extent = p->km[i] == p->rows ? p->mt : inside ? round_to(kb_kernel_size(b, p->km[i]), 1) : 1;
    vec_push(b->l->a, &k->grid, (grid_axis){p->km[i], extent});
  }
}

// ---- inner products
//
// Where both operands are contiguous along K and there are few rows, transposing b would cost more
// than it saves: the lanes run along K, sums are kept per lane and combined at the end, and the
// epilogue runs over the finished sums with its lanes along N.
//
//   grid N:NT { local sum[M, N]
//     loop N:NR { loop M:MR { loop K:16 { acc[M, N, K] += a[M, K] * b[N, K] }; sum = reduce acc } }
//     loop M:1 { loop N:64 vec { epilogue(sum) } } }

// Per result, combining the lanes costs about 5 cycles; per element of b, transposing costs about
// one, shared by the rows.
enum { COMBINE = 5 };

static bool inner_product_is_better(const kbuild *b, const plan *p) {
  const node *x = p->dot->in[p->a], *y = p->dot->in[p->b];
  if (p->rows < 0 || p->lanes < 0 || p->nkm != 1 || p->nkn != 1 || !p->nkk) return false;
  if (!plain_operand(b, x, p->dot->type) || !plain_operand(b, y, p->dot->type)) return false;
  if (!dtype_is_float(p->dot->type)) return false;
  if (!contiguous_along_k(b, p, x) || !contiguous_along_k(b, p, y)) return false;
  bool better = planned_size(b, p->rows) * COMBINE < product(b, p->kk, p->nkk) &&
                planned_size(b, p->kk[p->nkk - 1]) >= 2 * b->lanes;
  return schedule_option(b->l, "inner", better) != 0;
}

static void sum_block(kbuild *b, const plan *p, int buf) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0, inner = p->kk[p->nkk - 1];
  for (int axis_number = 0; axis_number < b->k->axes.len; axis_number++) {
    int extent = axis_number == inner              ? b->lanes
                 : has(p->kk, p->nkk, axis_number) ? 1
                                                   : b->extent[axis_number];
    if (!extent) continue;
    axes[n] = axis_number;
    extents[n++] = extent;
  }
  tval *sum = kb_fill(b, p->dot->type, scalar_cast((scalar){.i = 0}, DT_i64, p->dot->type), axes, extents, n);
  for (int i = 0; i < p->nkk; i++) {
    tstmt *loop = kb_loop(b, p->kk[i], p->kk[i] == inner ? b->lanes : 1, &sum, 1);
    sum = loop->body->params[0];
  }
  tval *in[] = {sum, operand(b, p, p->a), operand(b, p, p->b)};
  sum = kb_accumulate(b, OP_fma, in, 3);
  for (int i = 0; i < p->nkk; i++) sum = kb_end_loop(b, &sum, 1)[0];
  kb_store_local(b, buf, kb_reduce_tile(b, OP_add, sum, p->kk, p->nkk));
}

static void lower_inner_product(kbuild *b, plan *p) {
  bool many = b->l->target->vector_registers >= 32;
  int64_t m = planned_size(b, p->rows), n = planned_size(b, p->lanes);
  p->mr = m < 4 ? (int)m : many ? 4 : 2;
  p->nr = many ? (p->mr < 3 ? 8 : 6) : 4;
  int64_t tiles = 4 * (b->l->target->cores > 1 ? b->l->target->cores : 2);
  p->nt = round_to((n + tiles - 1) / tiles, 2 * b->lanes * p->nr);
  p->mt = round_to(m, p->mr);
  p->pack_b = false;
  p->a_buf = p->b_buf = p->c_buf = -1;
  b->k->vec_axis = p->kk[p->nkk - 1];
  b->k->vec_lanes = b->lanes;
  make_grid(b, p);
  kb_begin(b);
  int buf = declare_partial(b, p);
  kb_loop(b, p->lanes, p->nr, NULL, 0);
  kb_loop(b, p->rows, p->mr, NULL, 0);
  sum_block(b, p, buf);
  kb_end_loop(b, NULL, 0);
  kb_end_loop(b, NULL, 0);
  kb_loop(b, p->rows, 1, NULL, 0);
  kb_loop(b, p->lanes, 2 * b->lanes, NULL, 0)->vec = true;
  epilogue(b, p, kb_load_local(b, buf, NULL, 0));
  kb_end_loop(b, NULL, 0);
  kb_end_loop(b, NULL, 0);
}

/// Without reuse of either operand there is nothing to block: a reduction of products.
static bool reduction_is_better(const kbuild *b, const plan *p) {
  int64_t m = total(b, p->m, p->nm), n = total(b, p->n, p->nn), k = total(b, p->k, p->nk);
  if (k < 2 * b->lanes) return m == 1 && n == 1;
  const access *in_a = operand_access(b, p->dot->in[0]), *in_b = operand_access(b, p->dot->in[1]);
  bool along_k = false;
  for (int i = 0; i < p->nk; i++)
    along_k |= in_a && in_b && kb_unit_stride(in_a, b, p->k[i]) && kb_unit_stride(in_b, b, p->k[i]);
  return (m == 1 || n == 1) && along_k;
}

static void lower_as_reduction(kbuild *b, const node *dot) {
  group *g = arena_copy(b->l->a, b->group, sizeof *b->group);
  g->kind = GROUP_REDUCE;
  g->reductions.data = NULL;
  g->reductions.len = g->reductions.cap = 0;
  vec_push(b->l->a, &g->reductions, (node *)dot);
  lower *l = b->l;
  kernel *old = b->k;
  kb_init(b, l, g, "");
  b->k->name = old->name;
  lower_reduce_group(b);
}

void lower_contract_group(kbuild *b) {
  const node *dot = b->group->anchor;
  plan p = {.a = 0, .b = 1};
  kb_survey(b);
  classify(&p, dot);
  if (reduction_is_better(b, &p)) {
    lower_as_reduction(b, dot);
    return;
  }
  int lane_b = lanes_among(b, dot->in[1], p.n, p.nn), lane_a = lanes_among(b, dot->in[0], p.m, p.nm);
  if (lanes_score(b, dot->in[0], lane_a) > lanes_score(b, dot->in[1], lane_b)) {
    p.a = 1;
    p.b = 0;
    classify(&p, dot);
    lane_b = lane_a;
  }
  p.nkbatch = kb_collapse(b, p.batch, p.nbatch, p.kbatch);
  p.nkm = kb_collapse(b, p.m, p.nm, p.km);
  p.nkn = kb_collapse(b, p.n, p.nn, p.kn);
  p.nkk = kb_collapse(b, p.k, p.nk, p.kk);
  p.lanes = lane_b < 0 ? -1 : b->kaxis[lane_b];
  p.rows = -1;
  for (int i = 0; i < p.nkm; i++)
    if (p.rows < 0 || kb_kernel_size(b, p.km[i]) >= kb_kernel_size(b, p.rows)) p.rows = p.km[i];
  if (inner_product_is_better(b, &p)) {
    lower_inner_product(b, &p);
    return;
  }
  if (p.lanes >= 0) {
    b->k->vec_axis = p.lanes;
    b->k->vec_lanes = b->lanes;
  }
  choose_block(b, &p);
  choose_blocking(b, &p);
  choose_tiles(b, &p);
  make_grid(b, &p);
  emit(b, &p);
}
