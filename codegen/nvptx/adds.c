// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stores that add what tensor cores made, through shared memory: each warp puts its 16 rows of the accumulator
// there, and 16 of its lanes have the copy engine add a row each (cp.reduce.async.bulk). Nobody but the warp waits
// for it: before it fills its rows again, they have been read.
//
//   rows of a warp     [16][columns of the warpgroup + 8] f32: the 8 put rows that are stored together in other banks
#include "base/fault.h"
#include "codegen/nvptx/access.h"
#include "codegen/nvptx/pipeline.h"

enum { WARP = 32, WARPGROUP = 128, ROWS = 16, BLOCK = 64, PAD = 8, ALIGNED = 4, COLUMNS_UNIT = 8 };

static bool is_unit_stride(ngen *g, const tstmt *s, int axis) {
  ix step, rest, offset = access_offset(g, s, s->buf);
  int64_t one;
  return ix_affine(&g->ix, offset, axis, &step, &rest) && ix_is_const(&g->ix, step, &one) && one == 1;
}

/// Columns of a warpgroup, which are in its registers; 0: the axis does not lie so.
static int own_columns(const axis_layout *l) {
  int own = unit_column_digits(DOT_WGMMA, l), columns = 1;
  for (int i = 0; own && i < l->ndigits; i++) {
    bool last = i + 1 == l->ndigits && l->digits[i].stride >= WARPGROUP;
    if (i >= own && l->digits[i].stride && !last) return 0;
    if (!last) columns *= l->digits[i].size;
  }
  return own ? columns : 0;
}

/// Each warpgroup has 64 rows.
static bool has_block_of_rows(const axis_layout *l) {
  int own = unit_row_digits(DOT_WGMMA, l);
  for (int i = own; own && i < l->ndigits; i++)
    if (!l->digits[i].stride) return false;
  return own;
}

static bool plan_add(ngen *g, const tstmt *s, int layout, row_adds *a) {
  const tval *v = s->in[0];
  *a = (row_adds){.store = s, .m = -1, .n = -1};
  if (!s->adds || s->nin != 1 || g->k->threads % WARPGROUP) return false;
  for (int i = 0; i < v->naxes; i++) {
    const axis_layout *l = thread_layout_find(&g->k->layouts.data[layout], v->axes[i], v->extents[i]);
    int columns = l ? own_columns(l) : 0;
    if (l && has_block_of_rows(l)) a->m = i;
    else if (columns && is_unit_stride(g, s, v->axes[i])) a->n = i, a->columns = columns;
    else if (v->extents[i] > 1) return false;
  }
  return a->m >= 0 && a->n >= 0;
}

static void plan_region(ngen *g, const tregion *r, int layout) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    row_adds a;
    int inside = s->kind == TILE_LOOP && s->layout ? s->layout : layout;
    plan_region(g, s->body, inside);
    plan_region(g, s->other, layout);
    if (s->kind == TILE_STORE && plan_add(g, s, layout, &a)) vec_push(g->arena, &g->adds, a);
  }
}

static int64_t pitch_of(const row_adds *a) { return (a->columns + PAD) * (int64_t)sizeof(float); }

void adds_plan(ngen *g) {
  if (!ptx_has(g->e, PTX_TMA) || !region_has_tensor_dot(&g->k->body, DOT_WGMMA)) return;
  plan_region(g, &g->k->body, 0);
  for (int i = 0; i < g->adds.len; i++) {
    int64_t bytes = g->k->threads / WARP * ROWS * pitch_of(&g->adds.data[i]);
    if (bytes > g->adds_bytes) g->adds_bytes = bytes;
  }
}

void adds_open(ngen *g) {
  enum { ALIGN = 128 };
  if (!g->adds.len) return;
  g->adds_place = (g->shared_top + ALIGN - 1) / ALIGN * ALIGN;
  g->shared_top = g->adds_place + g->adds_bytes;
  if (g->shared_top > g->shared_peak) g->shared_peak = g->shared_top;
}

/// The register at the accumulator's position: half of the warp's 16 rows, column of the thread's.
static lval sum_at(ngen *g, const row_adds *a, const shape *sh, int half, int column) {
  const tval *v = a->store->in[0];
  int at = 0;
  for (int i = 0; i < sh->naxes; i++)
    at = at * sh->on[i]->nregs + (i == a->m ? half : i == a->n ? column : 0);
  lval x = g->regs[v->id][at];
  return x ? x : nv_zero(g, v->type);
}

/// Each lane its pairs of columns of two rows.
static void fill_rows(ngen *g, const row_adds *a, const shape *sh, lval place) {
  LLVMBuilderRef b = g->e->builder;
  lval lane = LLVMBuildAnd(b, g->tid, i32_of(g, WARP - 1), "");
  lval row = LLVMBuildLShr(b, lane, i32_of(g, 2), ""), pair = LLVMBuildAnd(b, lane, i32_of(g, 3), "");
  lval at = LLVMBuildAdd(b, place, LLVMBuildMul(b, row, i32_of(g, pitch_of(a)), ""), "");
  at = LLVMBuildAdd(b, at, LLVMBuildShl(b, pair, i32_of(g, 3), ""), "");
  lval start = ptx_shared(g->e, at);  // one address for all
  for (int half = 0; half < 2; half++)
    for (int c = 0; c < a->columns / COLUMNS_UNIT; c++) {
      lval offset = i32_of(g, half * ROWS / 2 * pitch_of(a) + c * COLUMNS_UNIT * (int64_t)sizeof(float));
      lval two = LLVMGetPoison(emit_vec(g->e->f32, 2));
      for (int i = 0; i < 2; i++)
        two = LLVMBuildInsertElement(b, two, sum_at(g, a, sh, half, 2 * c + i), i32_of(g, i), "");
      lval to = LLVMBuildGEP2(b, g->e->i8, start, &offset, 1, "");
      LLVMSetAlignment(LLVMBuildStore(b, two, to), 8);
    }
}

static lval plus(ngen *g, lval a, lval b) { return b ? LLVMBuildAdd(g->e->builder, a, b, "") : a; }

bool adds_store(ngen *g, const tstmt *s) {
  const row_adds *a = NULL;
  for (int i = 0; i < g->adds.len; i++)
    if (g->adds.data[i].store == s) a = &g->adds.data[i];
  if (!a) return false;
  LLVMBuilderRef b = g->e->builder;
  const tval *v = s->in[0];
  shape sh = nv_shape_of(g, v);
  int axis = v->axes[a->m];
  const range *r = g->ranges[axis];
  ix step, rest, offset = access_offset(g, s, s->buf), first = nv_at_bases(g, offset);
  if (!ix_affine(&g->ix, offset, axis, &step, &rest) || !ix_is_size(&g->ix, step)) return false;
  if (ix_divisor(&g->ix, step) % ALIGNED || ix_divisor(&g->ix, first) % ALIGNED) return false;
  lval place = LLVMBuildPtrToInt(b, g->smem, g->e->i32, "");
  place = LLVMBuildAdd(b, place, i32_of(g, g->adds_place), "");
  place = plus(g, place, LLVMBuildMul(b, g->warp, i32_of(g, ROWS * pitch_of(a)), ""));
  ptx_bulk_wait(g->e, 0, true);
  ptx_barrier_warp(g->e);
  fill_rows(g, a, &sh, place);
  ptx_fence_async(g->e);
  ptx_barrier_warp(g->e);
  lval lane = LLVMBuildAnd(b, g->tid, i32_of(g, WARP - 1), "");
  lval of_group = LLVMBuildAnd(b, g->warp, i32_of(g, WARPGROUP / WARP - 1), "");
  lval row = LLVMBuildAdd(b, LLVMBuildMul(b, of_group, i32_of(g, ROWS), ""), lane, "");
  row = plus(g, row, tensor_side_first(g, sh.on[a->m], true));
  lval ok = LLVMBuildICmp(b, LLVMIntULT, lane, i32_of(g, ROWS), "");
  if (!r->whole) {
    lval left = nv_ix(g, ix_sub(&g->ix, g->k->axes.data[axis].size, r->base));
    lval wide = LLVMBuildZExt(b, row, g->e->i64, "");
    if (LLVMTypeOf(left) == g->e->i32) wide = row;
    ok = LLVMBuildAnd(b, ok, LLVMBuildICmp(b, LLVMIntSLT, wide, left, ""), "");
  }
  guard w = nv_guard(g, ok);
  lval down = LLVMBuildMul(b, LLVMBuildZExt(b, row, g->e->i64, ""), nv_ix64(g, step), "");
  lval at = LLVMBuildAdd(b, nv_ix64(g, first), down, ""), column = tensor_side_first(g, sh.on[a->n], false);
  if (column) at = LLVMBuildAdd(b, at, LLVMBuildZExt(b, column, g->e->i64, ""), "");
  lval to = LLVMBuildGEP2(b, g->e->f32, g->bufs[s->buf], &at, 1, "");
  lval from = plus(g, place, LLVMBuildMul(b, lane, i32_of(g, pitch_of(a)), ""));
  ptx_bulk_add(g->e, to, from, a->columns * (int)sizeof(float));
  nv_guard_end(g, w);
  ptx_bulk_commit(g->e);
  return true;
}

void adds_close(ngen *g) {
  if (g->adds.len) ptx_bulk_wait(g->e, 0, true);
}
