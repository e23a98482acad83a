// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Strided vectors: an access whose lanes are far apart in memory, while another axis of the tile
// is contiguous there, moves vectors along that axis and transposes squares in registers.
//
//   memory (A contiguous)        loads along A              registers wanted (lanes along V)
//   v0: a0 a1 a2 a3              r0 = v0: a0..a3            a0: v0 v1 v2 v3
//   v1: a0 a1 a2 a3              r1 = v1: a0..a3      ->    a1: v0 v1 v2 v3
//   ...                                                     ...
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

enum { MOST_LANES = 64 };

/// Stage s exchanges the off-diagonal s x s squares of each 2s x 2s square.
static void transpose_registers(kgen *g, lval *r, int n) {
  LLVMBuilderRef b = g->e->builder;
  for (int s = 1; s < n; s <<= 1) {
    lval low[MOST_LANES], high[MOST_LANES];
    for (int l = 0; l < n; l++) {
      int from = l & ~s;
      low[l] = emit_int(g->e->i32, l & s ? n + from : from);
      high[l] = emit_int(g->e->i32, l & s ? n + from + s : from + s);
    }
    lval low_mask = LLVMConstVector(low, (unsigned)n);
    lval high_mask = LLVMConstVector(high, (unsigned)n);
    for (int i = 0; i < n; i++) {
      if (i & s) continue;
      lval x = r[i], y = r[i | s];
      r[i] = LLVMBuildShuffleVector(b, x, y, low_mask, "");
      r[i | s] = LLVMBuildShuffleVector(b, x, y, high_mask, "");
    }
  }
}

/// The axis to move along: contiguous in memory at vector granularity; -1: none, or lanes along
/// the vector axis are contiguous (or equal) already.
static int other_axis(kgen *g, const tval *t, const access *a) {
  ix coef, rest;
  int64_t c;
  int vec = g->vec_axis;
  int extent = vec >= 0 ? tval_extent(t, vec) : 0;
  if (!extent || extent % g->lanes || g->lanes < 4 || g->lanes > MOST_LANES) return -1;
  for (int i = 0; i < t->naxes; i++) g->coord[t->axes[i]] = 0;
  if (!lane_affine(g, placed(g, a->offset, vec, 0, false), &coef, &rest)) return -1;
  if (ix_is_const(&g->ix, coef, &c) && (c == 0 || c == 1)) return -1;
  for (int i = 0; i < t->naxes; i++) {
    int axis = t->axes[i];
    if (axis == vec || t->extents[i] % g->lanes || !g->ranges[axis]) continue;
    if (g->ranges[axis]->extent != t->extents[i]) continue;
    if (lane_affine(g, placed(g, a->offset, axis, 0, false), &coef, &rest) &&
        ix_is_const(&g->ix, coef, &c) && c == 1)
      return axis;
  }
  return -1;
}

/// The one of t's registers for row i of `axis` (other rows as in g->coord).
static lval *square_reg(kgen *g, const tval *t, lval *regs, int axis, int i, int v) {
  shape sh = tile_shape(g, t);
  int row = 0;
  for (int a = 0; a < sh.naxes; a++)
    row = row * sh.extents[a] + (sh.axes[a] == axis ? i : g->coord[sh.axes[a]]);
  return &regs[row * sh.vecs + v];
}

/// The address of the vector along `axis` (from its row first) at lane l of vector v.
static lval line_address(kgen *g, const access *a, int axis, int first, int l, bool clamp) {
  ix coef, rest;
  g->coord[g->vec_axis] = l;
  ix e = placed(g, a->offset, axis, first / g->lanes, clamp);
  check(lane_affine(g, e, &coef, &rest));
  return address(g, a->buf, rest);
}

static lval concatenated(kgen *g, lval low, lval high) {
  lval order[2 * MOST_LANES];
  int n = 2 * emit_lanes(LLVMTypeOf(low));
  for (int i = 0; i < n; i++) order[i] = emit_int(g->e->i32, i);
  return LLVMBuildShuffleVector(g->e->builder, low, high, LLVMConstVector(order, (unsigned)n), "");
}

/// 32-bit lanes of two elements each; the mask is by element.
static lval load_vector_of_pairs(kgen *g, lval pointer, lval mask) {
  LLVMTypeRef elements = emit_vec(g->e->i16, 2 * g->lanes);
  lval x;
  if (mask) {
    x = load_masked(g, elements, pointer, mask, 2, NULL);
  } else {
    x = LLVMBuildLoad2(g->e->builder, elements, pointer, "");
    LLVMSetAlignment(x, 2);
  }
  return LLVMBuildBitCast(g->e->builder, x, emit_vec(g->e->i32, g->lanes), "");
}

/// Loads the lines of a square, one for each lane along the vector axis, and transposes them;
/// false when no lane is valid.
static bool load_lines(kgen *g, const tval *t, const access *a, int axis, int first, int v,
                       dtype line, lval mask, lval *r) {
  int vec = g->vec_axis, n = g->lanes;
  bool any = false;
  for (int l = 0; l < n; l++) {
    int lane = v * n + l;
    lval ok = NULL;
    r[l] = LLVMGetPoison(emit_type(g->e, line, n));
    if (!row_alive(g, vec, tval_extent(t, vec), lane, &ok)) continue;
    lval at = line_address(g, a, axis, first, lane, true);
    r[l] = t->type == line ? load_vector(g, line, at, mask) : load_vector_of_pairs(g, at, mask);
    any = true;
  }
  if (any) transpose_registers(g, r, n);
  return any;
}

static void load_square(kgen *g, const tval *t, const access *a, int axis, int first, int v) {
  lval r[MOST_LANES], mask;
  int n = g->lanes;
  if (!lanes_alive(g, axis, tval_extent(t, axis), first / n, &mask)) return;
  if (!load_lines(g, t, a, axis, first, v, t->type, mask, r)) return;
  for (int i = 0; i < n; i++) *square_reg(g, t, g->regs[t->id], axis, first + i, v) = r[i];
}

/// A line is as many pairs as there are lanes, in two masks of elements.
static void load_pair_square(kgen *g, const tval *t, const access *a, int axis, int first, int v) {
  lval r[MOST_LANES], masks[2];
  int n = g->lanes, extent = tval_extent(t, axis);
  if (!lanes_alive(g, axis, extent, first / n, &masks[0])) return;
  LLVMTypeRef bits = emit_vec(g->e->i1, n);
  if (!lanes_alive(g, axis, extent, first / n + 1, &masks[1])) masks[1] = LLVMConstNull(bits);
  bool whole = !masks[0] && !masks[1];
  for (int i = 0; i < 2; i++)
    if (!masks[i]) masks[i] = LLVMConstAllOnes(bits);
  lval mask = whole ? NULL : concatenated(g, masks[0], masks[1]);
  if (!load_lines(g, t, a, axis, first, v, DT_i32, mask, r)) return;
  for (int i = 0; i < n; i++) *square_reg(g, t, g->pairs[t->id], axis, first + 2 * i, v) = r[i];
}

static void store_square(kgen *g, const tval *t, const access *a, int axis, int first, int v) {
  lval r[MOST_LANES], mask, ok;
  int extent = tval_extent(t, axis), vec = g->vec_axis, n = g->lanes;
  if (!lanes_alive(g, axis, extent, first / n, &mask)) return;
  for (int i = 0; i < n; i++)
    r[i] = reg_or_poison(g, t, *square_reg(g, t, g->regs[t->id], axis, first + i, v));
  transpose_registers(g, r, n);
  for (int l = 0; l < n; l++) {
    int lane = v * n + l;
    ok = NULL;
    if (!row_alive(g, vec, tval_extent(t, vec), lane, &ok)) return;
    LLVMBasicBlockRef after = guard_begin(g, ok);
    store_vector(g, t->type, r[l], line_address(g, a, axis, first, lane, false), mask);
    guard_end(g, after);
  }
}

typedef void square_fn(kgen *g, const tval *t, const access *a, int axis, int first, int v);

/// Calls `square` for every square of the tile, `step` rows by as many lanes as a vector has, whose
/// other rows are alive.
static void for_squares(kgen *g, const tval *t, const access *a, int axis, int step, bool guarded,
                        square_fn *square) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < t->naxes; i++) {
    if (t->axes[i] == axis || t->axes[i] == g->vec_axis) continue;
    axes[n] = t->axes[i];
    extents[n++] = t->extents[i];
  }
  shape rest = shape_of_axes(g, axes, extents, n), whole = tile_shape(g, t);
  for (int row = 0; row < rest.rows; row++) {
    lval ok;
    shape_enter(g, &rest, row);
    if (!rows_alive(g, &rest, &ok)) continue;
    LLVMBasicBlockRef after = guarded ? guard_begin(g, ok) : NULL;
    for (int first = 0; first < tval_extent(t, axis); first += step)
      for (int v = 0; v < whole.vecs; v++) square(g, t, a, axis, first, v);
    if (guarded) guard_end(g, after);
  }
}

bool gen_load_transposed(kgen *g, const tstmt *s, const access *a) {
  if (s->guard || tstmt_is_indirect(s)) return false;
  int axis = other_axis(g, s->out[0], a);
  if (axis < 0) return false;
  for_squares(g, s->out[0], a, axis, g->lanes, false, load_square);
  return true;
}

bool gen_load_pairs_transposed(kgen *g, const tstmt *s, const access *a, int axis) {
  const tval *t = s->out[0];
  if (s->guard || tstmt_is_indirect(s) || other_axis(g, t, a) != axis) return false;
  if (tval_extent(t, axis) % (2 * g->lanes)) return false;
  shape sh = tile_shape(g, t);
  g->pairs[t->id] = arena_array(g->arena, lval, shape_regs(&sh));
  for_squares(g, t, a, axis, 2 * g->lanes, false, load_pair_square);
  return true;
}

bool gen_store_transposed(kgen *g, const tstmt *s, const access *a) {
  if (tstmt_is_indirect(s)) return false;
  // a broadcast store lacks axes of the index: left to the general form
  for (int axis = 0; axis < g->k->axes.len; axis++)
    for (int d = 0; d < a->rank; d++)
      if (ix_uses_axis(&g->ix, a->coords[d], axis) && !tval_extent(s->in[0], axis)) return false;
  int axis = other_axis(g, s->in[0], a);
  if (axis < 0) return false;
  for_squares(g, s->in[0], a, axis, g->lanes, true, store_square);
  return true;
}
