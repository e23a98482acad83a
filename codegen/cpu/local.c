// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// On-chip buffers: parts of the worker's scratch memory.
//
//   row-major   [M][N rounded up to whole vectors]
//   panel N:64  [N / 64][M][64]
//   pairs M     [M / 2][N][2], with panels [N / 64][M / 2][64][2]
//
// Buffers of one region lie one after the other; a region gives its part back when it ends.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

enum { ALIGNMENT = 64 };

static ix round_up(kgen *g, ix e, int64_t to) {
  ix up = ix_add(&g->ix, e, ix_const(&g->ix, to - 1));
  ix unit = ix_const(&g->ix, to);
  return ix_mul(&g->ix, ix_div(&g->ix, up, unit), unit);
}

/// Rows of a row-major buffer are whole vectors, unless they are shorter than one.
static bool rows_are_padded(const kgen *g, const tile_buf *b) {
  int64_t size;
  if (b->panel || b->rank == 0) return false;
  return !ix_is_const(&g->k->ix, b->dims[b->rank - 1], &size) || size >= g->lanes;
}

/// The size of a dimension in memory, in steps of its stride.
static ix dim_room(kgen *g, const tile_buf *b, int d) {
  ix size = b->dims[d];
  if (b->pairs && d == b->pair_dim)
    return ix_div(&g->ix, ix_add(&g->ix, size, ix_const(&g->ix, 1)), ix_const(&g->ix, 2));
  if (b->panel && d == b->panel_dim) return round_up(g, size, b->panel);
  return d == b->rank - 1 && rows_are_padded(g, b) ? round_up(g, size, g->lanes) : size;
}

/// Fills in the strides; gives the number of elements.
static ix lay_out(kgen *g, const tile_buf *b, local_place *place) {
  int unit = b->pairs ? 2 : 1;
  ix stride = ix_const(&g->ix, b->panel ? unit * b->panel : unit);
  for (int d = b->rank - 1; d >= 0; d--) {
    if (b->panel && d == b->panel_dim) continue;
    place->strides[d] = stride;
    stride = ix_mul(&g->ix, stride, dim_room(g, b, d));
  }
  if (!b->panel) return stride;
  place->strides[b->panel_dim] = ix_const(&g->ix, unit);
  place->panel_stride = stride;
  ix panels = ix_div(&g->ix, dim_room(g, b, b->panel_dim), ix_const(&g->ix, b->panel));
  return ix_mul(&g->ix, stride, panels);
}

void gen_local(kgen *g, const tstmt *s) {
  const tile_buf *b = &g->k->bufs.data[s->buf];
  local_place *place = &g->locals[s->buf];
  *place = (local_place){.offset = g->scratch_top};
  for (int d = 0; d < b->rank; d++) {
    range *r = g->ranges[b->local_axes[d]];
    place->over_range[d] = r != NULL;
    place->base[d] = r ? r->base : ix_const(&g->ix, 0);
  }
  ix elements = lay_out(g, b, place);
  ix bytes = round_up(g, ix_scale(&g->ix, elements, dtype_bytes(b->type)), ALIGNMENT);
  g->scratch_top = ix_add(&g->ix, g->scratch_top, bytes);
  vec_push(g->arena, &g->peaks, g->scratch_top);
  if (g->bufs[s->buf]) return;  // the same place in every copy of a loop body
  lval offset = ix_value(g, place->offset);
  LLVMBuilderRef entry = level_builder(g, 0);
  g->bufs[s->buf] = LLVMBuildGEP2(entry, g->e->i8, g->scratch, &offset, 1, "");
}

/// Element offset of absolute coordinates (expressions over kernel axes).
ix local_offset(kgen *g, int buf, const ix *coords) {
  const tile_buf *b = &g->k->bufs.data[buf];
  const local_place *place = &g->locals[buf];
  ix offset = ix_const(&g->ix, 0);
  for (int d = 0; d < b->rank; d++) {
    ix at = ix_sub(&g->ix, coords[d], place->base[d]);
    if (b->panel && d == b->panel_dim) {
      ix panel = ix_const(&g->ix, b->panel);
      ix outer = ix_mul(&g->ix, ix_div(&g->ix, at, panel), place->panel_stride);
      offset = ix_add(&g->ix, offset, outer);
      at = ix_mod(&g->ix, at, panel);
    }
    if (b->pairs && d == b->pair_dim) {
      ix two = ix_const(&g->ix, 2);
      offset = ix_add(&g->ix, offset, ix_mod(&g->ix, at, two));
      at = ix_div(&g->ix, at, two);
    }
    offset = ix_add(&g->ix, offset, ix_mul(&g->ix, at, place->strides[d]));
  }
  return offset;
}

/// How much an access may exceed the size of the lanes' axis, when that is plainly indexed along
/// the dimension that is contiguous: a row (or panel) is made of whole vectors, and a buffer over a
/// range has room for all of it.
local_room local_room_of(const kgen *g, const tstmt *s) {
  const tile_buf *b = &g->k->bufs.data[s->buf];
  const range *lanes = g->vec_axis >= 0 ? g->ranges[g->vec_axis] : NULL;
  if (!lanes || lanes->extent % g->lanes) return ROOM_NONE;
  local_room room = ROOM_STEP;
  for (int d = 0; d < b->rank; d++) {
    int axis;
    if (!ix_uses_axis(&g->k->ix, s->ix[d], g->vec_axis)) continue;
    bool plain = ix_is_axis(&g->k->ix, s->ix[d], &axis) && b->local_axes[d] == axis;
    bool vectors = b->panel ? d == b->panel_dim && b->panel % g->lanes == 0
                            : d == b->rank - 1 && rows_are_padded(g, b);
    if (!plain || !vectors) return ROOM_NONE;
    bool whole_panel = b->panel && b->panel % lanes->extent == 0;
    if (!g->locals[s->buf].over_range[d] && !whole_panel) room = ROOM_VECTOR;
  }
  return room;
}
