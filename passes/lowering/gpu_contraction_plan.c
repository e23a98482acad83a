// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Decides how a contraction runs on a GPU: the unit that multiplies, block tiles by predicted time
// of all waves of blocks, stages by the shared memory they take.
#include <math.h>

#include "base/fault.h"
#include "ir/units.h"
#include "passes/lowering/gpu_contraction.h"

enum { WARPGROUP = 128 };

int gpu_dot_panel(const gpu_dot *d) {
  return UNIT_ROW / dtype_bytes(d->p.dot->in[0]->type);
}

// ---- operands

bool gpu_dot_is_copy(const kbuild *b, const gpu_dot *d, int which) {
  const node *x = d->p.dot->in[which];
  const access *m = contraction_access(b, x);
  if (!m || !contraction_plain(b, x, x->type)) return false;
  for (int i = 0; i < b->l->g->axes.len; i++)
    if (m->irregular[i]) return false;
  return true;
}

static bool unit_stride_along(const kbuild *b, const access *m, const int *axes, int n,
                              int kernel_axis) {
  for (int i = 0; i < n; i++)
    if (b->kaxis[axes[i]] == kernel_axis && kb_unit_stride(m, b, axes[i])) return true;
  return false;
}

bool gpu_dot_along_depth(const kbuild *b, const gpu_dot *d, int which) {
  const contraction_plan *p = &d->p;
  const access *m = contraction_access(b, p->dot->in[which]);
  if (!m || d->depth < 0) return true;
  if (unit_stride_along(b, m, p->k, p->nk, d->depth)) return true;
  return !(which == p->b ? unit_stride_along(b, m, p->n, p->nn, p->lanes)
                         : unit_stride_along(b, m, p->m, p->nm, p->rows));
}

/// Whether results are contiguous along an axis of operand 0.
static bool results_along_first(const kbuild *b, const contraction_plan *p) {
  for (int k = 0; k < b->accesses.len; k++)
    for (int i = 0; b->accesses.data[k].store && i < p->nm; i++)
      if (kb_unit_stride(&b->accesses.data[k], b, p->m[i]) && kb_estimate(b, p->m[i]) > 1)
        return true;
  return false;
}

static int longest(const kbuild *b, const int *axes, int n) {
  int best = -1;
  for (int i = 0; i < n; i++)
    if (best < 0 || kb_kernel_size(b, axes[i]) >= kb_kernel_size(b, best)) best = axes[i];
  return best;
}

/// The columns: the axis that results are contiguous along, if it is not short.
static int choose_columns(const kbuild *b, const contraction_plan *p) {
  for (int k = 0; k < b->accesses.len; k++)
    for (int i = 0; b->accesses.data[k].store && i < p->nn; i++)
      if (kb_unit_stride(&b->accesses.data[k], b, p->n[i]) && kb_estimate(b, p->n[i]) >= 8)
        return b->kaxis[p->n[i]];
  return longest(b, p->kn, p->nkn);
}

static void swap_axes(int *x, int *nx, int *y, int *ny) {
  int kept[MAX_AXES], n = *nx;
  memcpy(kept, x, sizeof kept);
  memcpy(x, y, sizeof kept);
  memcpy(y, kept, sizeof kept);
  *nx = *ny;
  *ny = n;
}

/// wgmma takes tf32 columns along K only; rows may pass registers, in any order.
static bool wants_other_columns(const kbuild *b, const gpu_dot *d) {
  return d->unit == DOT_WGMMA && d->p.dot->in[0]->type == DT_f32 &&
         !gpu_dot_along_depth(b, d, d->p.b) && gpu_dot_along_depth(b, d, d->p.a) &&
         contraction_size(b, d->p.lanes) >= 64;
}

/// The operand of the rows becomes that of the columns.
static void swap_sides(contraction_plan *p) {
  int a = p->a, rows = p->rows;
  p->a = p->b;
  p->b = a;
  p->rows = p->lanes;
  p->lanes = rows;
  swap_axes(p->m, &p->nm, p->n, &p->nn);
  swap_axes(p->km, &p->nkm, p->kn, &p->nkn);
}

// ---- units

/// Of the whole device; 0: tensor cores do not take it.
static double tensor_flops(const kbuild *b, const gpu_dot *d) {
  const node *dot = d->p.dot;
  if (d->depth < 0 || dot->type != DT_f32) return 0;
  return target_tensor_flops(b->l->target, dot->in[0]->type, dot->in[1]->type);
}

static dot_unit choose_unit(const kbuild *b, const gpu_dot *d) {
  if (tensor_flops(b, d) <= 0) return DOT_FMA;
  const target_info *t = b->l->target;
  int64_t m = contraction_size(b, d->p.rows), n = contraction_size(b, d->p.lanes);
  bool warpgroups = t->wgmma;
  if (d->row_axis >= 0) n = 0;  // the sides stay as they are
  dot_unit unit = warpgroups && (m >= 64 || n >= 64) ? DOT_WGMMA : DOT_MMA;
  int64_t wanted = schedule_option(b->l, "unit", unit);
  if (wanted == DOT_WGMMA && !warpgroups) return unit;
  return (dot_unit)wanted;
}

// ---- block tiles

typedef struct tile {
  int bm, bn;
  int warps_m, warps_n;  // tensor cores
  gpu_share m, n;        // FMA
  double rate;           // share of the unit's peak that it can reach
  bool pair;             // two blocks on a multiprocessor: one multiplies while one finishes
} tile;

static const tile wgmma_tiles[] = {
    {128, 256, 8, 1, .rate = 1},
    {256, 128, 8, 1, .rate = 0.97},
    {128, 192, 8, 1, .rate = 0.98},
    {128, 128, 8, 1, .rate = 0.92},
    {128, 64, 8, 1, .rate = 0.7},
    {128, 32, 8, 1, .rate = 0.45},
    {128, 16, 8, 1, .rate = 0.25},
    {64, 256, 4, 1, .rate = 0.85},
    {64, 128, 4, 1, .rate = 0.75},
    {64, 64, 4, 1, .rate = 0.6},
    {64, 32, 4, 1, .rate = 0.4},
    {64, 16, 4, 1, .rate = 0.22},
    {64, 8, 4, 1, .rate = 0.12},
    {128, 128, 8, 1, .rate = 0.88, .pair = true},
    {128, 64, 8, 1, .rate = 0.68, .pair = true},
};
static const tile mma_tiles[] = {
    {128, 128, 2, 4, .rate = 0.65}, {128, 64, 4, 2, .rate = 0.55}, {64, 128, 2, 4, .rate = 0.55},
    {64, 64, 2, 2, .rate = 0.45},   {32, 64, 1, 4, .rate = 0.35},  {64, 32, 4, 1, .rate = 0.35},
    {32, 32, 2, 2, .rate = 0.25},   {16, 128, 1, 4, .rate = 0.25}, {16, 64, 1, 4, .rate = 0.2},
    {64, 16, 4, 1, .rate = 0.2},    {16, 16, 1, 2, .rate = 0.1},
};
static const tile fma_tiles[] = {
    {.m = {4, 16, 2}, .n = {4, 16, 2}}, {.m = {4, 16, 1}, .n = {4, 16, 2}},
    {.m = {4, 16, 2}, .n = {4, 16, 1}}, {.m = {4, 16, 1}, .n = {4, 16, 1}},
    {.m = {4, 8, 1}, .n = {4, 8, 1}},   {.m = {2, 16, 1}, .n = {2, 16, 1}},
    {.m = {2, 4, 1}, .n = {4, 16, 1}},  {.m = {4, 16, 1}, .n = {2, 4, 1}},
    {.m = {4, 1, 1}, .n = {4, 64, 1}},  {.m = {4, 2, 1}, .n = {4, 32, 1}},
    {.m = {4, 4, 1}, .n = {4, 32, 1}},  {.m = {4, 1, 2}, .n = {2, 64, 1}},
    {.m = {4, 64, 1}, .n = {4, 1, 1}},  {.m = {4, 32, 1}, .n = {4, 4, 1}},
    {.m = {2, 8, 1}, .n = {2, 8, 1}},
};

/// Seconds one multiprocessor takes for a step of K: arithmetic or the operands from the
/// second-level cache, and at least what handing a stage over takes.
static double step_seconds(const kbuild *b, const gpu_dot *d, const tile *t) {
  const target_info *info = b->l->target;
  double products = (double)t->bm * t->bn * d->bk;
  double peak = d->unit == DOT_FMA ? info->flops_per_second : tensor_flops(b, d) / info->cores;
  double arithmetic = 2 * products / (peak * t->rate);
  int bytes = dtype_bytes(d->p.dot->in[0]->type);
  double memory = (double)(t->bm + t->bn) * d->bk * bytes / info->l2_bytes_per_second;
  // The longer of the two, and some of the other: they do not overlap entirely.
  return fmax(fmax(arithmetic, memory) + fmin(arithmetic, memory) / 4, info->stage_seconds);
}

/// Along the rows and the columns: there is an element of it for each of the product.
static bool is_of_tile(const kbuild *b, const gpu_dot *d, const node *n) {
  bool rows = false, columns = false;
  for (int k = 0; k < n->naxes; k++) {
    ix at = b->sigma[n->axes[k]];
    rows |= at && ix_uses_axis(&b->k->ix, at, d->p.rows);
    columns |= at && ix_uses_axis(&b->k->ix, at, d->p.lanes);
  }
  return rows && columns;
}

/// What the maps after the product take for an element.
typedef struct finish {
  double flops, bytes;  // bytes: of memory
  double registers;     // beside the sum: what is loaded, and with several results what they are made of
} finish;

static finish finish_of(const kbuild *b, const gpu_dot *d) {
  const group *g = b->group;
  finish f = {0};
  bool *seen = kb_unseen(b);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n == d->p.dot || !op_is_map(n->op) || !is_of_tile(b, d, n)) continue;
    f.flops += op_get(n->op)->cost;
    for (int k = 0; k < n->nin; k++) {
      const node *x = n->in[k];
      if (kb_in_group(b, x) || seen[x->id] || !is_of_tile(b, d, x)) continue;
      seen[x->id] = true;
      f.bytes += dtype_bytes(x->type);
      f.registers += dtype_bytes(x->type) / 4.0;
    }
  }
  for (int i = 0; i < g->outputs.len; i++)
    if (is_of_tile(b, d, g->outputs.data[i])) f.bytes += dtype_bytes(g->outputs.data[i]->type);
  if (g->outputs.len > 1) f.registers += 0.5;
  return f;
}

/// Seconds that the maps after the product take for a tile, and what comes with every tile.
static double finish_seconds(const kbuild *b, const gpu_dot *d, const finish *f, const tile *t) {
  const target_info *info = b->l->target;
  double elements = (double)t->bm * t->bn;
  // The peak counts a multiply-add as two.
  double seconds = info->tile_seconds + 2 * f->flops * elements / info->flops_per_second;
  return d->unit == DOT_WGMMA ? seconds + f->bytes * elements / (info->bytes_per_second / info->cores) : seconds;
}

/// What a warpgroup's thread cannot hold beside its sums goes through the caches and back.
static double spill_seconds(const kbuild *b, const gpu_dot *d, const finish *f, const tile *t) {
  enum { ALONE = 240 - 24, PAIRED = 96 - 16, BYTES = 2 * 4 };  // registers of a thread
  double threads = (double)GPU_WARP * t->warps_m * t->warps_n;
  double spilled = t->bm * t->bn / threads * (1 + f->registers) - (t->pair ? PAIRED : ALONE);
  if (d->unit != DOT_WGMMA || spilled <= 0) return 0;
  return spilled * BYTES * threads / b->l->target->l2_bytes_per_second;
}

static int64_t tiles_of(int64_t outer, int64_t rows, int64_t columns) {
  return estimate_times(outer, estimate_times(rows, columns));
}

static double tile_seconds(const kbuild *b, const gpu_dot *d, const finish *f, const tile *t, int64_t outer) {
  const target_info *info = b->l->target;
  int64_t m = contraction_size(b, d->p.rows), n = contraction_size(b, d->p.lanes);
  int64_t k = contraction_product(b, d->p.kk, d->p.nkk);
  int64_t tiles = tiles_of(outer, gpu_pieces(m, t->bm), gpu_pieces(n, t->bn));
  double product = step_seconds(b, d, t) * (double)gpu_pieces(k, d->bk);
  double after = finish_seconds(b, d, f, t), one = product + after;
  if (t->pair) one = fmax(product, after) + fmin(product, after) / 4;
  one += spill_seconds(b, d, f, t);
  return one * (double)gpu_pieces(tiles, info->cores);
}

/// f64 takes twice the registers for its sums, and its operands twice the shared memory.
static tile fma_tile(const kbuild *b, const gpu_dot *d, tile t) {
  if (dtype_bytes(d->p.dot->type) == 8) t.m.repeat = t.n.repeat = 1;
  (void)b;
  double rm = t.m.vector * t.m.repeat, rn = t.n.vector * t.n.repeat;
  t.bm = gpu_extent(t.m);
  t.bn = gpu_extent(t.n);
  t.rate = rm * rn / (rm * rn + 2 * (rm + rn));
  return t;
}

/// Twice what is there is never needed.
static bool too_wide(int extent, int64_t size, int least) {
  return extent > least && extent >= 2 * size;
}

/// Enough tiles for two blocks on each multiprocessor, fed by the copy engine.
static bool can_pair(const kbuild *b, const gpu_dot *d, const tile *t, int64_t outer) {
  int64_t m = contraction_size(b, d->p.rows), n = contraction_size(b, d->p.lanes);
  int64_t tiles = tiles_of(outer, gpu_pieces(m, t->bm), gpu_pieces(n, t->bn));
  return tiles >= 2 * b->l->target->cores && contraction_size(b, d->depth) > d->bk &&
         gpu_dot_is_copy(b, d, d->p.a) && gpu_dot_is_copy(b, d, d->p.b);
}

/// Columns that lie along the tile in memory are turned around on their way where the tile is no whole
/// panel, and the copy engine cannot do that.
static bool turns_columns(const kbuild *b, const gpu_dot *d, const tile *t) {
  return d->unit == DOT_WGMMA && t->bn % gpu_dot_panel(d) && !gpu_dot_along_depth(b, d, d->p.b) &&
         gpu_dot_is_copy(b, d, d->p.b);
}

/// Sets the tile and gives its seconds. Tiles below `offer_below` are offered as alternatives.
static double choose_among(const kbuild *b, gpu_dot *d, int64_t outer, double offer_below) {
  const tile *list = d->unit == DOT_WGMMA ? wgmma_tiles
                     : d->unit == DOT_MMA ? mma_tiles
                                          : fma_tiles;
  int count = d->unit == DOT_WGMMA ? (int)(sizeof wgmma_tiles / sizeof *wgmma_tiles)
              : d->unit == DOT_MMA ? (int)(sizeof mma_tiles / sizeof *mma_tiles)
                                   : (int)(sizeof fma_tiles / sizeof *fma_tiles);
  int64_t m = contraction_size(b, d->p.rows), n = contraction_size(b, d->p.lanes);
  int want_m = (int)schedule_given(b->l, "m", 0), want_n = (int)schedule_given(b->l, "n", 0);
  dot_unit block = d->unit == DOT_FMA ? DOT_MMA : d->unit;  // what is wide for fma likewise
  int least_m = unit_get(block)->m, least_n = unit_get(block)->n;
  finish f = finish_of(b, d);
  double best = 0;
  for (int i = 0; i < count; i++) {
    tile t = d->unit == DOT_FMA ? fma_tile(b, d, list[i]) : list[i];
    bool wanted = (!want_m || t.bm == want_m) && (!want_n || t.bn == want_n);
    bool holds = d->row_axis < 0 || t.bn >= contraction_size(b, d->p.lanes);
    if (t.pair && !can_pair(b, d, &t, outer)) continue;
    bool turned = turns_columns(b, d, &t);
    bool wide = too_wide(t.bm, m, least_m) || too_wide(t.bn, n, least_n);
    bool narrow = t.bn < n && n <= 32;  // the large operand would be read several times
    double seconds = tile_seconds(b, d, &f, &t, outer) * (wide || narrow ? 1.5 : 1);
    seconds *= turned ? 2 : 1;
    if (holds && seconds < offer_below) schedule_offer(b->l, "m=%d,n=%d", t.bm, t.bn);
    seconds *= (holds ? 1 : 1e9) * (wanted ? 1 : 1e3);
    if (best > 0 && seconds >= best * 0.995) continue;
    best = seconds;
    d->bm = t.bm;
    d->bn = t.bn;
    d->m = t.m;
    d->n = t.n;
    d->warps_m = t.warps_m;
    d->warps_n = t.warps_n;
    d->pair = t.pair;
  }
  return best;
}

/// The tile that the model likes most; those that it does not find much slower are alternatives.
static void choose_tile(const kbuild *b, gpu_dot *d, int64_t outer) {
  double best = choose_among(b, d, outer, 0);
  choose_among(b, d, outer, 1.5 * best);
  schedule_settle(b->l, "m", d->bm);
  schedule_settle(b->l, "n", d->bn);
}

static void choose_step(const kbuild *b, gpu_dot *d) {
  enum { FMA_STEP = 16 };
  int64_t k = contraction_size(b, d->depth);
  int panel = gpu_dot_panel(d);
  d->bk = d->unit == DOT_FMA ? FMA_STEP : panel;  // whole steps of the unit
  if (d->unit == DOT_FMA && gpu_pow2(k) < d->bk) d->bk = gpu_pow2(k);
  int wanted = schedule_power(b->l, "k", d->bk);
  if (d->unit == DOT_FMA || wanted % panel == 0) d->bk = wanted;
}

/// Bytes of one copy of the staged operands.
static int64_t stage_bytes(const gpu_dot *d) {
  dtype t = d->unit == DOT_FMA ? d->p.dot->type : d->p.dot->in[0]->type;
  return (int64_t)(d->bm + d->bn) * d->bk * dtype_bytes(t);
}

static bool copies_both(const kbuild *b, const gpu_dot *d) {
  return gpu_dot_is_copy(b, d, d->p.a) && gpu_dot_is_copy(b, d, d->p.b);
}

static int64_t block_tiles(const kbuild *b, const gpu_dot *d, int64_t outer) {
  return tiles_of(outer, gpu_pieces(contraction_size(b, d->p.rows), d->bm),
                  gpu_pieces(contraction_size(b, d->p.lanes), d->bn));
}

/// Blocks stay and walk the tiles, so that the next operands arrive during an epilogue: where there
/// are more tiles than blocks, of some size.
static bool walks_tiles(const kbuild *b, const gpu_dot *d, int64_t outer) {
  enum { LARGE = 24 << 10 };
  return d->unit == DOT_WGMMA && copies_both(b, d) && stage_bytes(d) >= LARGE &&
         block_tiles(b, d, outer) > b->l->target->cores;
}

/// Of the rows and the side operand of a second contraction.
static int64_t second_bytes(const kbuild *b, const gpu_dot *d) {
  const group *g = b->group;
  if (!g->second) return 0;
  int64_t panel = gpu_dot_panel(d), columns = kb_estimate(b, gpu_second_axis(g));
  columns = gpu_pieces(columns, panel) * panel;
  return (d->bm + columns) * (int64_t)d->bn * dtype_bytes(g->second->in[0]->type);
}

/// As many copies as hide the way from memory, within the shared memory that the epilogue leaves.
static void choose_stages(const kbuild *b, gpu_dot *d, int64_t outer) {
  enum { EPILOGUE = 33 << 10, LARGE = 48 << 10, SMALL = 16 << 10 };
  int64_t stage = stage_bytes(d), steps = gpu_pieces(contraction_size(b, d->depth), d->bk);
  // Three large stages do as well as four and leave room (measured with 128 x 256).
  int64_t stages = d->unit == DOT_FMA ? 2 : stage >= LARGE ? 3 : stage < SMALL ? 6 : 4;
  if (d->unit == DOT_MMA && stages > 4) stages = 4;
  if (stages > 2 && !copies_both(b, d)) stages = 2;  // what is computed waits for its loads anyway
  // Those of the next tile follow, but a tile of one step has nothing to overlap with.
  bool follows = steps > 1 && walks_tiles(b, d, outer);
  if (stages > steps && !follows) stages = steps;
  stages = schedule_option(b->l, "stages", stages);
  int64_t room = -second_bytes(b, d);
  room += b->l->target->shared_per_block / (d->pair ? 2 : 1) - EPILOGUE / (d->pair ? 2 : 1);
  while (stages > 1 && stages * stage > room) stages--;
  d->stages = (int)stages;
}

/// A warpgroup of producers where operands are copied as they are: one thread of it may do, and the
/// registers of the others are given away. Two blocks have none to give: a warp for each.
static void choose_producers(const kbuild *b, gpu_dot *d, int64_t outer) {
  if (d->unit != DOT_WGMMA || d->stages < 2) return;
  if (!copies_both(b, d)) return;
  d->producers = d->pair ? 1 : WARPGROUP / GPU_WARP;
  d->blocks_per_sm = d->pair ? 2 : walks_tiles(b, d, outer);
}

int gpu_second_axis(const group *g) {
  const node *dot = g->second, *first = g->anchor;
  for (int i = 0; i < dot->naxes; i++)
    if (!node_has_axis(first, dot->axes[i])) return dot->axes[i];
  panic("the second contraction of a kernel has no columns");
}

/// Finished rows are reduced along the columns, which are that axis alone.
static void choose_row_axis(kbuild *b, gpu_dot *d) {
  contraction_plan *p = &d->p;
  const node *second = b->group->second;
  d->row_axis = -1;
  if (!b->group->reductions.len && !second) return;
  d->row_axis = second ? second->attr_axes[0] : b->group->reductions.data[0]->attr_axes[0];
  b->pinned[d->row_axis] = true;
  if (second) b->pinned[gpu_second_axis(b->group)] = true;
  if (axes_have(p->m, p->nm, d->row_axis)) swap_sides(p);
}

bool gpu_dot_choose(kbuild *b, gpu_dot *d) {
  const node *dot = b->group->anchor;
  contraction_plan *p = &d->p;
  *d = (gpu_dot){.p = {.dot = dot, .a = 0, .b = 1, .a_buf = -1, .b_buf = -1, .c_buf = -1}};
  kb_survey(b);
  contraction_classify(p, dot);
  int64_t m = 1, n = 1;
  for (int i = 0; i < p->nm; i++) m = estimate_times(m, kb_estimate(b, p->m[i]));
  for (int i = 0; i < p->nn; i++) n = estimate_times(n, kb_estimate(b, p->n[i]));
  if (m <= 1 || n <= 1) return false;
  choose_row_axis(b, d);
  if (d->row_axis < 0 && results_along_first(b, p)) swap_sides(p);
  p->nkbatch = kb_collapse(b, p->batch, p->nbatch, p->kbatch);
  p->nkm = kb_collapse(b, p->m, p->nm, p->km);
  p->nkn = kb_collapse(b, p->n, p->nn, p->kn);
  p->nkk = kb_collapse(b, p->k, p->nk, p->kk);
  p->lanes = d->row_axis >= 0 ? b->kaxis[d->row_axis] : choose_columns(b, p);
  p->rows = longest(b, p->km, p->nkm);
  if (p->lanes < 0 || p->rows < 0) return false;
  d->depth = longest(b, p->kk, p->nkk);
  d->unit = choose_unit(b, d);
  if (b->group->second && d->unit == DOT_FMA) d->unit = DOT_MMA;  // reads the rows where they lie
  // A warpgroup multiplies at least 64 rows, but few columns.
  bool few_rows = d->unit == DOT_WGMMA && contraction_size(b, p->rows) < 64;
  if (d->row_axis < 0 && (few_rows || wants_other_columns(b, d))) swap_sides(p);
  int64_t outer = contraction_outer(b, p);
  choose_step(b, d);
  choose_tile(b, d, outer);
  choose_stages(b, d, outer);
  choose_producers(b, d, outer);
  d->threads =
      d->unit == DOT_FMA ? d->m.threads * d->n.threads : d->warps_m * d->warps_n * GPU_WARP;
  return true;
}
