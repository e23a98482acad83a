// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A second contraction over rows that a block tile of the first one holds whole: attention over a
// few keys.
//
//   scores = loop K { ... dot ... }            f32[S:128, T:128]
//   probabilities of scores                    in registers
//   local rows[S, T] = probabilities           f16, on chip
//   loop E:64 layout=4 {                       columns of the side operand, all at once
//     local side[T, E]; stage loop: side
//     dot rows, side over T; epilogue; store
//   }
#include "base/fault.h"
#include "passes/lowering/gpu_contraction.h"

/// The side operand is read with neighbours along its columns.
static bool along_columns(const kbuild *b, const gpu_second *s, int over) {
  const access *m = contraction_access(b, s->side);
  return !m || !kb_unit_stride(m, b, over);
}

void gpu_second_plan(kbuild *b, const gpu_dot *d, gpu_second *s) {
  const node *dot = b->group->second;
  bool first_rows = node_same_axis_set(dot->in[0], d->p.dot);
  *s = (gpu_second){.dot = dot, .rows = dot->in[!first_rows], .side = dot->in[first_rows]};
  int own = gpu_second_axis(b->group);
  s->axis = b->kaxis[own] >= 0 ? b->kaxis[own] : kb_own_axis(b, own);
  int panel = gpu_dot_panel(d), over = d->p.lanes;
  s->extent = (int)gpu_pieces(kb_kernel_size(b, s->axis), panel) * panel;
  dtype t = s->side->type;
  s->fill_layout = along_columns(b, s, dot->attr_axes[0])
                       ? gpu_dot_lay_copy(b, d, t, s->axis, s->extent, over, d->bn)
                       : gpu_dot_lay_copy(b, d, t, over, d->bn, s->axis, s->extent);
  s->layout = kernel_add_layout(b->k);
  gpu_dot_lay_sums(b, d, s->layout, s->axis, s->extent);
}

/// A buffer for tensor cores with its last axis in panels.
static int panelled(kbuild *b, const gpu_dot *d, const char *name, dtype t, const int *axes,
                    int n) {
  int buf = kb_local(b, name, t, axes, n);
  tile_buf *local = &b->k->bufs.data[buf];
  local->panel_dim = n - 1;
  local->panel = gpu_dot_panel(d);
  local->swizzle = true;
  return buf;
}

/// The rows, from registers to where the instruction reads them.
static int put_rows(kbuild *b, const gpu_dot *d, const gpu_second *s) {
  int axes[MAX_KERNEL_AXES], n = 0;
  tval *v = kb_value_here(b, s->rows);
  for (int i = 0; i < v->naxes; i++)
    if (v->axes[i] != d->p.rows && v->axes[i] != d->p.lanes) axes[n++] = v->axes[i];
  axes[n++] = d->p.rows;
  axes[n++] = d->p.lanes;
  int buf = panelled(b, d, "rows", s->rows->type, axes, n);
  kb_store_local(b, buf, v);
  return buf;
}

static int stage_side(kbuild *b, const gpu_dot *d, const gpu_second *s) {
  int axes[MAX_KERNEL_AXES], n = 0;
  for (int i = 0; i < s->side->naxes; i++) {
    int axis = b->kaxis[s->side->axes[i]];
    if (axis >= 0 && axis != s->axis && axis != d->p.lanes && !axes_have(axes, n, axis))
      axes[n++] = axis;
  }
  axes[n++] = d->p.lanes;
  axes[n++] = s->axis;
  int buf = panelled(b, d, "side", s->side->type, axes, n);
  tstmt *loop = kb_loop(b, d->p.lanes, d->bn, NULL, 0);
  loop->stage = true;
  loop->layout = s->fill_layout;
  kb_store_local(b, buf, kb_value_here(b, s->side));
  kb_end_loop(b, NULL, 0);
  return buf;
}

static tval *zero_sums(kbuild *b, const gpu_dot *d, const gpu_second *s) {
  int axes[MAX_KERNEL_AXES], extents[MAX_KERNEL_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (!b->extent[axis] || axis == d->p.lanes) continue;
    axes[n] = axis;
    extents[n++] = b->extent[axis];
  }
  scalar zero = scalar_cast((scalar){.i = 0}, DT_i64, s->dot->type);
  return kb_fill(b, s->dot->type, zero, axes, extents, n);
}

void gpu_second_emit(kbuild *b, const gpu_dot *d, const gpu_second *s, tval *sum) {
  contraction_finish(b, &d->p, sum);
  int rows = put_rows(b, d, s);
  // Columns of both contractions lie on the same threads, each in a layout of its own.
  kb_loop(b, s->axis, s->extent, NULL, 0)->layout = s->layout;
  int side = stage_side(b, d, s);
  b->done[s->dot->id] = gpu_dot_multiply(b, d, rows, side, &d->p.lanes, 1, zero_sums(b, d, s));
  gpu_store_outputs(b);
  kb_end_loop(b, NULL, 0);
}
