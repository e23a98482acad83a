// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_CONTRACTION on a GPU: a block tile of sums in registers, operands staged on chip.
//
//   layout { M:128 = ..., N:128 = ... }              the sums
//   layout { M:128 = ..., K:64 = r8 t8@1 }           filling a
//   layout { K:64 = ..., N:128 = r8 t16@1 }          filling b
//   grid batch:1, M:128, N:128 {
//     acc = loop K:64 stages=4 carry c = 0 {
//       local a, b
//       loop K:64 stage layout=1 { a = operand a }   prologue: loads, maps, rounding
//       loop K:64 stage layout=2 { b = operand b }
//       c + a * b                                    tensor cores: the whole step at once
//     }                                              fma: loop K:1 with a column and a row
//     epilogue(acc); store
#include "passes/lowering/gpu_contraction.h"

#include "base/fault.h"
#include "ir/units.h"

enum { STAGE_LAYOUTS = 1, MOST_UNROLL = 32 };

static bool on_tensor_cores(const gpu_dot *d) { return unit_is_tensor(d->unit); }

// ---- layouts

void gpu_dot_lay_sums(kbuild *b, const gpu_dot *d, int layout, int columns, int extent) {
  const unit_info *unit = unit_get(d->unit);
  int together = unit->threads / GPU_WARP, groups = d->warps_m / together;
  int rows_done = unit->m * groups, columns_done = unit->n * d->warps_n;
  layout_digit m[MAX_DIGITS], n[MAX_DIGITS];
  int nm = 0, nn = 0;
  while (unit->rows[nm].size) m[nm] = unit->rows[nm], nm++;
  while (unit->columns[nn].size) n[nn] = unit->columns[nn], nn++;
  m[nm++] = (layout_digit){groups, unit->threads};
  m[nm++] = (layout_digit){d->bm / rows_done, 0};
  n[nn++] = (layout_digit){extent / columns_done, 0};
  n[nn++] = (layout_digit){d->warps_n, GPU_WARP * d->warps_m};
  kernel_set_layout(b->k, layout, d->p.rows, m, nm);
  kernel_set_layout(b->k, layout, columns, n, nn);
}

static void lay_sums(kbuild *b, const gpu_dot *d) {
  kernel_add_layout(b->k);
  int stride = 1;
  if (on_tensor_cores(d)) {
    gpu_dot_lay_sums(b, d, 0, d->p.lanes, d->bn);
    return;
  }
  gpu_lay(b, 0, d->p.lanes, d->n, &stride);
  gpu_lay(b, 0, d->p.rows, d->m, &stride);
}

int gpu_dot_lay_copy(kbuild *b, const gpu_dot *d, dtype type, int fast, int fast_size, int slow,
                     int slow_size) {
  int threads = d->threads;  // without the producers, whose copies the engine makes whole
  int layout = kernel_add_layout(b->k), stride = 1, vector = 16 / dtype_bytes(type);
  if (vector > 8) vector = 8;
  while (vector > 1 && (vector > fast_size || fast_size % vector)) vector /= 2;
  int t = fast_size / vector;
  t &= -t;
  if (t > threads) t = threads;
  gpu_lay(b, layout, fast, (gpu_share){vector, t, fast_size / (vector * t)}, &stride);
  t = threads / t < slow_size ? threads / t : slow_size;
  while (t & (t - 1)) t &= t - 1;
  while (slow_size % t) t /= 2;
  gpu_lay(b, layout, slow, (gpu_share){1, t, slow_size / t}, &stride);
  return layout;
}

/// Neighbouring threads along what is contiguous in memory. Gives the number of the layout.
static int lay_stage(kbuild *b, const gpu_dot *d, int which, bool along_depth) {
  int across = which == d->p.b ? d->p.lanes : d->p.rows;
  int tile = which == d->p.b ? d->bn : d->bm;
  dtype type = d->p.dot->in[which]->type;
  return along_depth ? gpu_dot_lay_copy(b, d, type, d->depth, d->bk, across, tile)
                     : gpu_dot_lay_copy(b, d, type, across, tile, d->depth, d->bk);
}

// ---- operands

/// A buffer for a step of an operand. Tensor cores read panels of 128 bytes along K, or along the
/// tile where that is how the operand lies in memory; fma reads rows along the tile. The columns of
/// tf32 are along K for wgmma.
static int stage_buffer(kbuild *b, const gpu_dot *d, int which, bool along_depth) {
  const contraction_plan *p = &d->p;
  bool is_b = which == p->b;
  int across = is_b ? p->lanes : p->rows, tile = is_b ? d->bn : d->bm;
  int axes[MAX_AXES], n = 0;
  const int *own = is_b ? p->kn : p->km;
  for (int i = 0; i < p->nkbatch; i++) axes[n++] = p->kbatch[i];
  for (int i = 0; i < (is_b ? p->nkn : p->nkm); i++)
    if (own[i] != across) axes[n++] = own[i];
  for (int i = 0; i < p->nkk; i++)
    if (p->kk[i] != d->depth) axes[n++] = p->kk[i];
  bool k_major = is_b && d->unit == DOT_WGMMA && p->dot->in[which]->type == DT_f32;
  bool depth_last = on_tensor_cores(d) && (along_depth || tile % gpu_dot_panel(d) || k_major);
  axes[n++] = depth_last ? across : d->depth;
  axes[n++] = depth_last ? d->depth : across;
  dtype t = on_tensor_cores(d) ? p->dot->in[which]->type : p->dot->type;
  int buf = kb_local(b, is_b ? "columns" : "rows", t, axes, n);
  tile_buf *local = &b->k->bufs.data[buf];
  if (on_tensor_cores(d)) {
    local->panel_dim = n - 1;
    local->panel = gpu_dot_panel(d);
    local->swizzle = true;
  } else if (along_depth) {
    local->pad = 16 / dtype_bytes(t) > 1 ? 16 / dtype_bytes(t) : 1;  // rows begin on other banks
  }
  return buf;
}

static int stage_operand(kbuild *b, const gpu_dot *d, int which) {
  const node *x = d->p.dot->in[which];
  bool along_depth = gpu_dot_along_depth(b, d, which);
  int buf = stage_buffer(b, d, which, along_depth);
  tstmt *loop = kb_loop(b, d->depth, d->bk, NULL, 0);
  loop->stage = true;
  loop->layout = STAGE_LAYOUTS + (which == d->p.b);
  tval *v = kb_value_here(b, x);
  dtype t = b->k->bufs.data[buf].type;
  kb_store_local(b, buf, v->type == t ? v : kb_map(b, OP_cast, t, v, NULL, NULL));
  kb_end_loop(b, NULL, 0);
  return buf;
}

static tval *widened(kbuild *b, const gpu_dot *d, tval *v) {
  dtype t = d->p.dot->type;
  return v->type == t ? v : kb_map(b, OP_cast, t, v, NULL, NULL);
}

tval *gpu_dot_multiply(kbuild *b, const gpu_dot *d, int rows, int columns, const int *over, int n,
                       tval *sum) {
  tval *in[] = {widened(b, d, kb_load_local(b, rows)), widened(b, d, kb_load_local(b, columns)),
                sum};
  tstmt *st = arena_new(b->l->a, tstmt);
  *st = (tstmt){.kind = TILE_DOT, .nin = 3, .nout = 1, .unit = d->unit, .naxes = n};
  st->in = arena_copy(b->l->a, in, sizeof in);
  st->axes = arena_copy(b->l->a, over, sizeof(int) * (size_t)n);
  st->out = arena_array(b->l->a, tval *, 1);
  st->out[0] = tile_value(b->k, sum->type, sum->axes, sum->extents, sum->naxes);
  st->at = d->p.dot->at;
  kb_append(b, b->scope, st);
  return st->out[0];
}

static tval *dot_step(kbuild *b, const gpu_dot *d, int rows, int columns, tval *sum) {
  return gpu_dot_multiply(b, d, rows, columns, d->p.kk, d->p.nkk, sum);
}

// ---- the walk along K

/// One step: the operands on chip, then their product added to the sums.
static tval *depth_step(kbuild *b, const gpu_dot *d, tval *sum) {
  int rows = stage_operand(b, d, d->p.a), columns = stage_operand(b, d, d->p.b);
  if (on_tensor_cores(d)) return dot_step(b, d, rows, columns, sum);
  tstmt *loop = kb_loop(b, d->depth, 1, &sum, 1);
  loop->unroll = d->bk < MOST_UNROLL ? d->bk : MOST_UNROLL;
  sum = dot_step(b, d, rows, columns, loop->body->params[0]);
  return kb_end_loop(b, &sum, 1)[0];
}

static tval *contraction(kbuild *b, const gpu_dot *d) {
  const contraction_plan *p = &d->p;
  tval *sum = contraction_zero(b, p);
  int opened = 0;
  for (int pass = 0; pass < 2; pass++)  // the blocks of K innermost
    for (int i = 0; i < p->nkk; i++) {
      if ((p->kk[i] == d->depth) != pass) continue;
      tstmt *loop = kb_loop(b, p->kk[i], pass ? d->bk : 1, &sum, 1);
      if (pass) loop->stages = d->stages > 1 ? d->stages : 0;
      sum = loop->body->params[0];
      opened++;
    }
  sum = depth_step(b, d, sum);
  while (opened--) sum = kb_end_loop(b, &sum, 1)[0];
  return sum;
}

/// All contracted axes have one element: no sums, the factors as they are.
static tval *outer_product(kbuild *b, const gpu_dot *d) {
  tval *x = widened(b, d, kb_value_here(b, d->p.dot->in[d->p.a]));
  tval *y = widened(b, d, kb_value_here(b, d->p.dot->in[d->p.b]));
  return kb_map(b, OP_mul, d->p.dot->type, x, y, NULL);
}

static void make_grid(kbuild *b, const gpu_dot *d) {
  const contraction_plan *p = &d->p;
  for (int i = 0; i < p->nkbatch; i++) kernel_set_grid(b->k, p->kbatch[i], 1);
  for (int i = 0; i < p->nkm; i++)
    if (p->km[i] != p->rows) kernel_set_grid(b->k, p->km[i], 1);
  for (int i = 0; i < p->nkn; i++)
    if (p->kn[i] != p->lanes) kernel_set_grid(b->k, p->kn[i], 1);
  kernel_set_grid(b->k, p->rows, d->bm);
  kernel_set_grid(b->k, p->lanes, d->bn);
}

void gpu_contraction_group(kbuild *b) {
  gpu_dot d;
  if (!gpu_dot_choose(b, &d)) {
    contraction_become_reduction(b);
    gpu_reduce_group(b);
    return;
  }
  lay_sums(b, &d);
  for (int i = 0; d.depth >= 0 && i < 2; i++) {
    int which = i ? d.p.b : d.p.a;
    lay_stage(b, &d, which, gpu_dot_along_depth(b, &d, which));
  }
  gpu_second s;
  if (b->group->second) gpu_second_plan(b, &d, &s);
  gpu_set_threads(b, d.threads);
  b->k->producer_warps = d.producers;
  b->k->blocks_per_sm = (int)schedule_option(b->l, "blocks_per_sm", d.blocks_per_sm);
  make_grid(b, &d);
  kb_begin(b);
  tval *sum = d.depth < 0 ? outer_product(b, &d) : contraction(b, &d);
  if (b->group->second) gpu_second_emit(b, &d, &s, sum);
  else contraction_epilogue(b, &d.p, sum);
}
