// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Current ranges of axes and which of their elements exist.
//
//   size 70, loop T:32, vectors of 16        lanes 0..15  16..31
//     steps 0, 32   VALID_ALL                  all         all
//     step  64      VALID_FIRST 6              6 of 16     dead (no code)
//
// With a symbolic size the last step is VALID_ASK: its limit is a value, vectors get masks, rows
// beyond the limit load what the last valid row loads and are skipped by stores and accumulators.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

range *range_open(kgen *g, int axis, int extent, ix base) {
  range *r = arena_new(g->arena, range);
  *r = (range){.outer = g->ranges[axis], .axis = axis, .extent = extent, .base = base,
               .level = g->levels.len - 1, .multiple = 1};
  int vecs = (extent + g->lanes - 1) / g->lanes;
  r->masks = arena_array(g->arena, lval, vecs);
  r->clamped = arena_array(g->arena, ix, extent);
  r->row_valid = arena_array(g->arena, lval, extent);
  g->ranges[axis] = r;
  return r;
}

void range_close(kgen *g, range *r) {
  check(g->ranges[r->axis] == r);
  g->ranges[r->axis] = r->outer;
}

/// The range that says which elements of a tile are valid along an axis; null: all are.
static range *range_of(kgen *g, int axis, int extent) {
  range *r = g->ranges[axis];
  return r && r->extent == extent && r->valid != VALID_ALL ? r : NULL;
}

static lval both(kgen *g, lval a, lval b) {
  return !a ? b : !b ? a : LLVMBuildAnd(g->e->builder, a, b, "");
}

bool row_alive(kgen *g, int axis, int extent, int i, lval *ok) {
  range *r = range_of(g, axis, extent);
  if (!r || i == 0) return true;
  if (r->valid == VALID_FIRST) return i < r->count;
  if (i < r->multiple) return true;
  if (!r->row_valid[i])
    r->row_valid[i] =
        LLVMBuildICmp(level_builder(g, r->level), LLVMIntSGT, r->limit, int64(g, i), "");
  *ok = both(g, *ok, r->row_valid[i]);
  return true;
}

bool rows_alive(kgen *g, const shape *s, lval *ok) {
  *ok = NULL;
  for (int a = 0; a < s->naxes; a++)
    if (!row_alive(g, s->axes[a], s->extents[a], g->coord[s->axes[a]], ok)) return false;
  return true;
}

/// lane < count - first, for a constant count.
static lval constant_mask(kgen *g, int64_t count) {
  if (count >= g->lanes) return NULL;
  lval bits[MOST_VEC_LANES];
  for (int l = 0; l < g->lanes; l++) bits[l] = emit_int(g->e->i1, l < count);
  return LLVMConstVector(bits, (unsigned)g->lanes);
}

static lval asked_mask(kgen *g, range *r, int v) {
  if (r->masks[v]) return r->masks[v];
  LLVMBuilderRef b = level_builder(g, r->level);
  lval numbers[MOST_VEC_LANES];
  for (int l = 0; l < g->lanes; l++) numbers[l] = emit_int(g->e->i32, (int64_t)v * g->lanes + l);
  lval lane = LLVMConstVector(numbers, (unsigned)g->lanes);
  LLVMTypeRef type = LLVMTypeOf(lane);
  if (!r->limits) {
    lval limit = LLVMBuildTrunc(b, r->limit, g->e->i32, ""), poison = LLVMGetPoison(type);
    lval first = LLVMBuildInsertElement(b, poison, limit, emit_int(g->e->i32, 0), "");
    r->limits = LLVMBuildShuffleVector(b, first, poison, LLVMConstNull(type), "");
  }
  return r->masks[v] = LLVMBuildICmp(b, LLVMIntSLT, lane, r->limits, "");
}

bool lanes_alive(kgen *g, int axis, int extent, int v, lval *mask) {
  range *r = range_of(g, axis, extent);
  int64_t first = (int64_t)v * g->lanes, count = extent - first;
  *mask = NULL;
  if (r && r->valid == VALID_FIRST) count = r->count - first;
  if (count <= 0) return false;
  *mask = constant_mask(g, count);
  if (!r || r->valid == VALID_FIRST) return true;
  bool whole = r->multiple % g->lanes == 0 && v == 0;
  if (!whole) *mask = asked_mask(g, r, v);
  return true;
}

bool reg_alive(kgen *g, const shape *s, int v, lval *valid) {
  lval mask = NULL, ok;
  if (!rows_alive(g, s, &ok)) return false;
  if (s->vecs && !lanes_alive(g, g->vec_axis, s->vec_extent, v, &mask)) return false;
  *valid = mask && ok ? both(g, mask, splat(g, ok)) : both(g, mask, ok);
  return true;
}

bool reg_dead(kgen *g, const shape *s, int v) {
  for (int a = 0; a < s->naxes; a++) {
    range *r = range_of(g, s->axes[a], s->extents[a]);
    if (r && r->valid == VALID_FIRST && g->coord[s->axes[a]] >= r->count) return true;
  }
  range *r = s->vecs ? range_of(g, g->vec_axis, s->vec_extent) : NULL;
  return r && r->valid == VALID_FIRST && (int64_t)v * g->lanes >= r->count;
}

lval blend(kgen *g, lval valid, lval yes, lval no) {
  return valid ? LLVMBuildSelect(g->e->builder, valid, yes, no, "") : yes;
}

ix row_coordinate(kgen *g, int axis, int i, bool clamp) {
  range *r = g->ranges[axis];
  check(r);
  bool ask = clamp && r->valid == VALID_ASK && i > 0 && i >= r->multiple;
  if (!ask) return ix_add(&g->ix, r->base, ix_const(&g->ix, i));
  if (!r->clamped[i]) {
    LLVMBuilderRef b = level_builder(g, r->level);
    lval last = LLVMBuildNSWSub(b, r->limit, int64(g, 1), "");
    lval past = LLVMBuildICmp(b, LLVMIntSLE, r->limit, int64(g, i), "");
    lval row = LLVMBuildSelect(b, past, last, int64(g, i), "");
    r->clamped[i] = root_new(g, row, 1, r->level, ix_const(&g->ix, r->extent));
  }
  return ix_add(&g->ix, r->base, r->clamped[i]);
}
