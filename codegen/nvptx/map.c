// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensor maps: an argument as the copy engine sees it, and how a load walks it.
//
// Mostly the map has the argument's dimensions. Where views split or merge these, it is over the
// kernel's axes instead, each with the step that it makes in memory:
//
//   load x[B, S, H*32 + K]  of x: f16[B, S, A = 384]      K:32 by 1, H:12 by 32, S:128 by 384, ...
//   load y[B, S, A / 32, A % 32]  of y: f16[B, S, H, K]   A:384 by 1, S:128 by 384, ...
//
// so that a box ends where its axes do, and beyond is nothing but zeros.
#include "base/fault.h"
#include "codegen/nvptx/access.h"
#include "codegen/nvptx/host.h"
#include "codegen/nvptx/pipeline.h"

int dimension_along(ngen *g, const tstmt *load, int axis) {
  const tile_buf *t = &g->k->bufs.data[load->buf];
  ix coef, rest;
  int64_t one;
  int found = -1;
  for (int d = 0; d < t->rank; d++) {
    if (!ix_uses_axis(&g->ix, load->ix[d], axis)) continue;
    bool affine = ix_affine(&g->ix, load->ix[d], axis, &coef, &rest);
    if (found >= 0 || !affine || !ix_is_const(&g->ix, coef, &one) || one != 1) return -1;
    found = d;
  }
  return found;
}

bool ends_with_tensor(ngen *g, const tstmt *load, int d, int axis, int64_t extent) {
  ix size = g->k->axes.data[axis].size;
  int64_t divisor = ix_divisor(&g->ix, size);
  if (divisor && divisor % extent == 0) return true;
  ix before = ix_sub(&g->ix, load->ix[d], ix_axis(&g->ix, axis));
  return ix_sub(&g->ix, g->k->bufs.data[load->buf].dims[d], before) == size;
}

bool pitches_fit(ngen *g, const tile_buf *t, int unit) {
  int bytes = dtype_bytes(t->type);
  int64_t one;
  if (!ix_is_const(&g->ix, t->strides[unit], &one) || one != 1) return false;
  for (int d = 0; d < t->rank; d++)
    if (d != unit && ix_divisor(&g->ix, t->strides[d]) * bytes % 16) return false;
  return true;
}

int map_number(ngen *g, const tcf_map_info *map, const map_axes *over) {
  for (int i = 0; i < g->maps.len; i++)
    if (!memcmp(&g->maps.data[i], map, sizeof *map) &&
        !memcmp(&g->map_axes.data[i], over, sizeof *over))
      return i;
  vec_push(g->arena, &g->maps, *map);
  vec_push(g->arena, &g->map_axes, *over);
  return g->maps.len - 1;
}

int map_walk_along(const map_walk *w, int axis) {
  for (int i = 0; i < w->rank; i++)
    if (w->axis[i] == axis) return i;
  return -1;
}

bool map_walk_dimensions(ngen *g, const tstmt *s, const box_extents *box, map_walk *w) {
  const tile_buf *t = &g->k->bufs.data[s->buf];
  *w = (map_walk){.rank = t->rank};
  if (t->rank < 1 || t->rank > 5) return false;
  if (!pitches_fit(g, t, map_dimension(g->k, s->buf, 0))) return false;
  for (int i = 0; i < t->rank; i++) {
    int d = map_dimension(g->k, s->buf, i);
    w->at[i] = s->ix[d];
    w->axis[i] = -1;
    for (int k = 0; k < box->n; k++) {
      if (dimension_along(g, s, box->axes[k]) != d) continue;
      if (!ends_with_tensor(g, s, d, box->axes[k], box->extents[k])) return false;
      w->axis[i] = box->axes[k];
    }
  }
  return true;
}

/// The step of the offset along the axis, and what is left of it; false: not by a fixed step.
static bool step_along(ngen *g, int axis, ix *offset, ix *step) {
  ix rest;
  if (!ix_affine(&g->ix, *offset, axis, step, &rest) || !ix_is_size(&g->ix, *step)) return false;
  *offset = rest;
  return true;
}

bool map_walk_axes(ngen *g, const tstmt *s, map_walk *w) {
  const tile_buf *t = &g->k->bufs.data[s->buf];
  ix offset = access_offset(g, s, s->buf), step;
  int64_t v;
  *w = (map_walk){.rank = 1, .axis = {-1}, .over = {.used = true}};
  for (int axis = g->k->axes.len - 1; axis >= 0; axis--) {
    if (!ix_uses_axis(&g->ix, offset, axis)) continue;
    if (!step_along(g, axis, &offset, &step)) return false;
    bool unit = ix_is_const(&g->ix, step, &v) && v == 1;
    int i = unit ? 0 : w->rank++;
    if (i >= 5 || (unit && w->axis[0] >= 0)) return false;
    if (!unit && ix_divisor(&g->ix, step) * dtype_bytes(t->type) % 16) return false;
    w->axis[i] = axis;
    w->at[i] = ix_axis(&g->ix, axis);
    w->over.size[i] = g->k->axes.data[axis].size;
    w->over.stride[i] = step;
  }
  return w->axis[0] >= 0 && ix_is_const(&g->ix, offset, &v) && v == 0;
}
