// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Walks along unaligned rows start early, so that their vectors are aligned in memory:
//
//   base = -(offset of the row % 64)         the first positions, of the row before, are invalid
#include "codegen/nvptx/walk.h"

/// The element offset of a global access, over kernel axes, without indirect parts.
static ix row_offset(ngen *g, const tstmt *s) {
  const tile_buf *t = &g->k->bufs.data[s->buf];
  ix sum = ix_const(&g->ix, 0);
  for (int i = 0; i < t->rank; i++)
    sum = ix_add(&g->ix, sum, ix_mul(&g->ix, s->ix[i], t->strides[i]));
  return sum;
}

/// The access that decides: a store, else a load, with unit stride along the axis.
static const tstmt *deciding_access(ngen *g, const tregion *r, int axis, const tstmt *best) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    best = deciding_access(g, s->body, axis, best);
    best = deciding_access(g, s->other, axis, best);
    if (s->kind != TILE_LOAD && s->kind != TILE_STORE) continue;
    const tile_buf *t = &g->k->bufs.data[s->buf];
    if (t->local || s->guard || t->rank < 2) continue;
    ix coef, rest, offset = row_offset(g, s);
    int64_t one;
    if (!ix_affine(&g->ix, offset, axis, &coef, &rest)) continue;
    if (!ix_is_const(&g->ix, coef, &one) || one != 1) continue;
    if (!best || (best->kind == TILE_LOAD && s->kind == TILE_STORE)) best = s;
  }
  return best;
}

/// The alignment in elements: 128 bytes, less where a walk of one step would become two; 0 none.
static int early_alignment(const tstmt *s, int run, int bytes, int64_t length) {
  int align = ALIGN_BYTES / bytes;
  if (length > s->extent) return s->extent % align == 0 ? align : 0;
  while (align >= run && length + align - 1 > s->extent) align /= 2;
  return align >= run ? align : 0;
}

/// Threads wait for one another, or read on chip what others have stored.
static bool is_shared(const ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (is_shared(g, s->body) || is_shared(g, s->other)) return true;
    if (s->kind == TILE_LOCAL || s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE) return true;
    bool access = s->kind == TILE_STORE || s->kind == TILE_LOAD;
    if (access && g->k->bufs.data[s->buf].local) return true;
  }
  return false;
}

static bool declares(const tregion *r, int buf) {
  bool found = false;
  for (int i = 0; !found && r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    found = (s->kind == TILE_LOCAL && s->buf == buf) || declares(s->body, buf) || declares(s->other, buf);
  }
  return found;
}

/// A buffer that has the whole axis: before its first element there is another row, or nothing.
static bool reaches_rows(const ngen *g, const tregion *all, const tregion *r, int axis) {
  bool found = false;
  for (int i = 0; !found && r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    found = reaches_rows(g, all, s->body, axis) || reaches_rows(g, all, s->other, axis);
    bool access = s->kind == TILE_STORE || s->kind == TILE_LOAD;
    const tile_buf *t = access ? &g->k->bufs.data[s->buf] : NULL;
    for (int d = 0; t && t->local && d < t->rank; d++)
      found |= t->local_axes[d] == axis && !declares(all, s->buf);
  }
  return found;
}

/// Threads of a block have several positions along the axis.
static bool lies_on_threads(ngen *g, int axis) {
  const spread *on = spread_of(g, axis, g->ranges[axis]->extent);
  for (int d = 0; on->layout && d < on->layout->ndigits; d++)
    if (on->layout->digits[d].stride && on->layout->digits[d].stride < g->k->threads) return true;
  return false;
}

ix early_start(ngen *g, const tstmt *s, int64_t length) {
  const spread *on = spread_of(g, s->axis, s->extent);
  if (s->reverse || s->stages > 1 || on->run < 2 || !on->layout) return 0;
  if (reaches_rows(g, s->body, s->body, s->axis)) return 0;
  const tstmt *access = deciding_access(g, s->body, s->axis, NULL);
  if (!access) return 0;
  const tile_buf *t = &g->k->bufs.data[access->buf];
  int align = early_alignment(s, on->run, dtype_bytes(t->type), length), n = g->k->axes.len;
  if (!align) return 0;
  ix *by = arena_array(g->arena, ix, n + 1), row = row_offset(g, access);
  for (int axis = 0; axis < n; axis++) {
    if (!ix_uses_axis(&g->ix, row, axis)) continue;
    if (axis == s->axis) {
      by[axis] = ix_const(&g->ix, 0);
      continue;
    }
    ix coef, rest;
    if (ix_affine(&g->ix, row, axis, &coef, &rest) && ix_divisor(&g->ix, coef) % align == 0) {
      by[axis] = ix_const(&g->ix, 0);  // the same start suits all positions
      continue;
    }
    if (!g->ranges[axis] || spread_of(g, axis, g->ranges[axis]->extent)->nregs != 1) return 0;
    // Steps of threads with other rows are others: nothing may pass between them.
    if (lies_on_threads(g, axis) && is_shared(g, s->body)) return 0;
    g->at[axis] = 0;
    by[axis] = nv_coordinate(g, axis);
  }
  row = ix_substitute(&g->ix, &g->ix, row, by, n);
  int64_t divisor = ix_divisor(&g->ix, row);
  if (divisor % on->run == 0) return 0;
  ix down = ix_scale(&g->ix, ix_div(&g->ix, row, ix_const(&g->ix, align)), align);
  return ix_sub(&g->ix, down, row);
}

void early_walk(ngen *g, walk *w, ix start) {
  const tstmt *s = w->s;
  int64_t e = s->extent, steps = w->length <= e ? 1 : (w->length + ALIGN_BYTES - 1 + e - 1) / e;
  int64_t inner = w->length / e;
  lval count = i32_of(g, steps);
  w->early = true;
  w->start = start;
  w->most = steps;
  if (inner < 3) inner = 1;
  run_step(g, w, (walk_step){start, false, i32_of(g, 0), count});
  if (inner > 1) {
    walk between = *w;
    between.start = ix_add(&g->ix, start, ix_const(&g->ix, e));
    counted c = {i32_of(g, inner - 1), false, true, count, NULL, 1};
    counted_loop(g, &between, c);
  }
  for (int64_t i = inner; i < steps; i++) {
    ix base = ix_add(&g->ix, start, ix_const(&g->ix, i * e));
    run_step(g, w, (walk_step){base, false, i32_of(g, i), count});
  }
}
