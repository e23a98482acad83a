// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// On-chip buffers: where they lie in shared memory, and the barriers between writing and reading them.
//
//   [ scratch of reductions | exchanges of a cluster | buffer a | ring b: copy 0, copy 1, ... ]
//
// A buffer's place is free again after the region that declares it.
//
// Rows of the last dimension, or panels, whose 16-byte pieces may be permuted (swizzle).
#include "base/fault.h"
#include "codegen/nvptx/pending.h"
#include "codegen/nvptx/ptx.h"
#include "ir/units.h"

/// Every loop over the axis has whole steps alone.
static bool is_whole(const tregion *r, int axis, int64_t size) {
  bool whole = true;
  for (int i = 0; whole && r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    whole = is_whole(s->body, axis, size) && is_whole(s->other, axis, size);
    if (s->kind == TILE_LOOP && s->axis == axis) whole &= size % s->extent == 0;
  }
  return whole;
}

void local_layout(ngen *g, int buf, local_place *out) {
  const tile_buf *t = &g->k->bufs.data[buf];
  *out = (local_place){.shared = true};
  for (int i = 0; i < t->rank; i++) {
    if (!ix_is_const(&g->ix, t->dims[i], &out->dims[i]))
      panic("on-chip buffer %.*s has no constant size", STR_FMT(t->name));
    const range *r = g->ranges[t->local_axes[i]];
    out->base[i] = r ? r->base : ix_const(&g->ix, 0);
    if (r) out->dims[i] /= nv_blocks_along(g, t->local_axes[i], r->extent);
    else out->ragged |= !is_whole(&g->k->body, t->local_axes[i], out->dims[i]);
  }
  out->bytes = tile_buf_strides(t, out->dims, out->strides, &out->panel_stride) *
               dtype_bytes(t->type);
}

/// Bytes that the buffer gets are being used as another one's, or as its own of the step before.
static bool is_in_use(const ngen *g, int buf) {
  const local_place *p = &g->locals[buf];
  for (int i = g->k->nargs; i < g->k->bufs.len; i++) {
    const local_place *other = &g->locals[i];
    // Those whose place is not known yet are declared further on in a loop around this one.
    bool apart = other->bytes && (other->offset >= p->offset + p->bytes ||
                                  p->offset >= other->offset + other->bytes);
    if ((other->written || other->read) && !apart) return true;
  }
  return false;
}

void local_place_at_top(ngen *g, int buf, int copies) {
  local_place *p = &g->locals[buf];
  bool used = p->written || p->read;
  local_layout(g, buf, p);
  int64_t align = g->k->bufs.data[buf].swizzle ? 1024 : 128;
  p->bytes = (p->bytes + align - 1) / align * align;
  g->shared_top = (g->shared_top + align - 1) / align * align;
  p->offset = g->shared_top;
  g->shared_top += p->bytes * copies;
  if (g->shared_top > g->shared_peak) g->shared_peak = g->shared_top;
  p->read = used || is_in_use(g, buf);  // a store waits for a barrier
}

void shared_release(ngen *g, int64_t top) {
  if (!g->specialised) g->shared_top = top;  // producers know where their rings are
}

void local_enter_step(ngen *g, int buf) {
  const tile_buf *t = &g->k->bufs.data[buf];
  for (int d = 0; d < t->rank; d++) {
    const range *r = g->ranges[t->local_axes[d]];
    g->locals[buf].base[d] = r ? r->base : ix_const(&g->ix, 0);
  }
}

/// Beside producers places are never given back: the declaration in further code of the same statement has that
/// of the first.
void nv_local(ngen *g, const tstmt *s) {
  local_place *p = &g->locals[s->buf];
  if (!g->specialised || !p->bytes) {
    local_place_at_top(g, s->buf, 1);
    return;
  }
  local_enter_step(g, s->buf);
  p->read |= p->written;  // a store waits for a barrier
  p->written = false;
}

/// What products under way read is as before.
static void barrier(ngen *g) {
  if (g->fence_locals) ptx_fence_async(g->e);
  if (g->specialised) ptx_barrier(g->e, CONSUMERS_BARRIER, g->k->threads);
  else ptx_barrier(g->e, 0, 0);
  for (int i = 0; i < g->k->bufs.len; i++) {
    g->locals[i].written = false;
    g->locals[i].read = flight_reads_buffer(g, i);
  }
}

void nv_barrier(ngen *g) {
  flight_land_all(g);  // they read on-chip buffers
  barrier(g);
}

/// Products under way run on beside it where all threads that meet take part in them.
static void barrier_for(ngen *g, int buf) {
  if (!g->specialised || flight_reads_buffer(g, buf)) flight_land_all(g);
  barrier(g);
}

void nv_before_access(ngen *g, int buf, bool store) {
  local_place *p = &g->locals[buf];
  if (!p->shared) return;
  if (store ? p->read : p->written) barrier_for(g, buf);
  if (store) p->written = true;
  else p->read = true;
}

/// Of the byte `at` of the current copy; null: of its first.
static lval local_byte(ngen *g, int buf, lval at) {
  const local_place *p = &g->locals[buf];
  lval offset = i32_of(g, p->offset);
  at = at ? LLVMBuildAdd(g->e->builder, at, offset, "") : offset;
  if (p->copy) at = LLVMBuildAdd(g->e->builder, at, p->copy, "");
  return LLVMBuildGEP2(g->e->builder, g->e->i8, g->smem, &at, 1, "");
}

lval nv_local_start(ngen *g, int buf) { return local_byte(g, buf, NULL); }

lval nv_local_pointer(ngen *g, int buf, const ix *coords) {
  LLVMBuilderRef b = g->e->builder;
  const tile_buf *t = &g->k->bufs.data[buf];
  const local_place *p = &g->locals[buf];
  int bytes = dtype_bytes(t->type);
  ix rows = ix_const(&g->ix, 0), column = rows;
  for (int i = 0; i < t->rank; i++) {
    ix c = ix_sub(&g->ix, coords[i], p->base[i]);
    if (t->panel > 0 && i == t->panel_dim) column = c;
    else rows = ix_add(&g->ix, rows, ix_scale(&g->ix, c, p->strides[i]));
  }
  ix offset = rows;
  if (t->panel > 0) {
    ix panel = ix_const(&g->ix, t->panel);
    ix which = ix_div(&g->ix, column, panel);
    column = ix_mod(&g->ix, column, panel);
    offset = ix_add(&g->ix, offset, ix_scale(&g->ix, which, p->panel_stride));
  }
  lval at;
  if (t->swizzle) {
    lval in_row = nv_ix32(g, ix_scale(&g->ix, column, bytes));
    int64_t panel = t->panel;
    lval row = nv_ix32(g, ix_div(&g->ix, rows, ix_const(&g->ix, panel)));
    lval turn = LLVMBuildShl(b, LLVMBuildAnd(b, row, i32_of(g, 7), ""), i32_of(g, 4), "");
    at = LLVMBuildAdd(b, nv_ix32(g, ix_scale(&g->ix, offset, bytes)),
                      LLVMBuildXor(b, in_row, turn, ""), "");
  } else {
    at = nv_ix32(g, ix_scale(&g->ix, ix_add(&g->ix, offset, column), bytes));
  }
  return local_byte(g, buf, at);
}
