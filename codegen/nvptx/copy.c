// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Copies from memory to on-chip buffers that do not pass through registers (cp.async).
#include "base/fault.h"
#include "codegen/nvptx/access.h"

/// One load of an argument, and the store of what it gave.
bool copy_is_pure(const kernel *k, const tregion *r) {
  if (r->stmts.len != 2) return false;
  const tstmt *load = r->stmts.data[0], *store = r->stmts.data[1];
  if (load->kind != TILE_LOAD || store->kind != TILE_STORE || store->in[0] != load->out[0])
    return false;
  bool direct = !load->guard && load->nin == 0 && store->nin == 1;
  return direct && !k->bufs.data[load->buf].local && k->bufs.data[store->buf].local &&
         k->bufs.data[load->buf].type == k->bufs.data[store->buf].type;
}

static bool uses_same_axes(ngen *g, const tstmt *store, const tval *t) {
  const tile_buf *b = &g->k->bufs.data[store->buf];
  for (int axis = 0; axis < g->k->axes.len; axis++)
    for (int d = 0; d < b->rank; d++)
      if (ix_uses_axis(&g->ix, store->ix[d], axis) && !tval_extent(t, axis)) return false;
  return true;
}

/// Bytes of the vector at g->at from its start to its last valid element, null: all; false: none is
/// valid. What lies before the first valid one is in the same buffer.
static bool valid_bytes(ngen *g, const access *a, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  int bytes = dtype_bytes(a->type);
  lval some, all, size = i32_of(g, a->width * bytes);
  *out = NULL;
  if (!access_alive(g, a, &some, &all)) return false;
  if (a->partial) {
    ix left = ix_sub(&g->ix, g->k->axes.data[a->along].size, nv_coordinate(g, a->along));
    if (ix_bounds(&g->ix, left).min < a->width) {
      lval n = LLVMBuildMul(b, nv_ix32(g, left), i32_of(g, bytes), "");
      lval less = LLVMBuildICmp(b, LLVMIntSLT, n, size, "");
      size = LLVMBuildSelect(b, less, n, size, "");
    }
  }
  if (some || !LLVMIsConstant(size)) *out = nv_blend(g, some, size, i32_of(g, 0));
  return true;
}

bool nv_copy_async(ngen *g, const tregion *r, bool ask) {
  enum { LEAST = 4, MOST = 16 };
  LLVMBuilderRef b = g->e->builder;
  if (!ptx_has(g->e, PTX_CP_ASYNC) || !copy_is_pure(g->k, r)) return false;
  const tstmt *load = r->stmts.data[0], *store = r->stmts.data[1];
  if (g->locals[load->buf].shared) return false;  // barriers stand between statements
  dtype t = load->out[0]->type;
  if (!uses_same_axes(g, store, load->out[0])) return false;
  access from = {.s = load, .buf = load->buf, .type = t, .direct = true};
  access to = {.s = store, .buf = store->buf, .local = true, .type = t};
  from.shape = to.shape = nv_shape_of(g, load->out[0]);
  from.offset = access_offset(g, load, load->buf);
  to.offset = access_offset(g, store, store->buf);
  access_vectors(g, &from);
  access_vectors(g, &to);
  int width = from.width < to.width ? from.width : to.width;
  int bytes = width * dtype_bytes(t);
  from.width = to.width = width;
  if (width == 1) from.partial = false;
  if ((width > 1 && from.along != to.along) || bytes < LEAST || bytes > MOST) return false;
  if (ask) return true;
  unsigned covered = shape_threads(&from.shape) | nv_bits_of_blocks(g);
  guard replica = nv_guard(g, is_first_replica(g, covered));
  for (int reg = 0; reg < from.shape.nregs; reg++) {
    nv_enter(g, &from.shape, reg);
    if (width > 1 && g->at[from.along] % width) continue;
    lval size;
    bool alive = valid_bytes(g, &from, &size);
    lval there = LLVMBuildPtrToInt(b, access_pointer(g, &to), g->e->i32, "");
    lval here = alive ? access_pointer(g, &from) : g->bufs[from.buf];
    ptx_cp_async(g->e, there, here, bytes, alive ? size : i32_of(g, 0));
  }
  nv_guard_end(g, replica);
  return true;
}
