// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Registers of tiles, and the statements that compute element by element.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

// ---- shapes

shape shape_of_axes(const kgen *g, const int *axes, const int *extents, int naxes) {
  shape s = {.rows = 1};
  for (int i = 0; i < naxes; i++) {
    if (axes[i] == g->vec_axis) {
      s.vec_extent = extents[i];
      s.vecs = (extents[i] + g->lanes - 1) / g->lanes;
      continue;
    }
    s.axes[s.naxes] = axes[i];
    s.extents[s.naxes++] = extents[i];
    s.rows *= extents[i];
  }
  return s;
}

shape tile_shape(const kgen *g, const tval *t) {
  return shape_of_axes(g, t->axes, t->extents, t->naxes);
}

int shape_regs(const shape *s) { return s->rows * (s->vecs ? s->vecs : 1); }

void shape_enter(kgen *g, const shape *s, int row) {
  for (int a = s->naxes - 1; a >= 0; a--) {
    g->coord[s->axes[a]] = row % s->extents[a];
    row /= s->extents[a];
  }
}

// ---- registers

lval *tile_define(kgen *g, const tval *t) {
  shape s = tile_shape(g, t);
  g->pairs[t->id] = NULL;
  return g->regs[t->id] = arena_array(g->arena, lval, shape_regs(&s));
}

/// Once in a block: further registers of a tile and further operands find it.
lval splat(kgen *g, lval scalar) {
  struct {
    lval scalar;
    LLVMBasicBlockRef block;
  } key = {scalar, LLVMGetInsertBlock(g->e->builder)};
  lval known = map_get(&g->splats, MAP_KEY(key));
  if (known) return known;
  lval lanes = emit_splat(g->e, scalar, g->lanes);
  map_put(g->arena, &g->splats, MAP_KEY(key), lanes);
  return lanes;
}

int reg_number(const kgen *g, const tval *t, int v, bool *vector) {
  int row = 0, vecs = 0;
  for (int a = 0; a < t->naxes; a++) {
    if (t->axes[a] == g->vec_axis) vecs = (t->extents[a] + g->lanes - 1) / g->lanes;
    else row = row * t->extents[a] + g->coord[t->axes[a]];
  }
  *vector = vecs > 0;
  return vecs ? row * vecs + v : row;
}

lval tile_at(kgen *g, const tval *t, int v, bool vector) {
  bool has_lanes;
  lval reg = g->regs[t->id][reg_number(g, t, v, &has_lanes)];
  return reg && vector && !has_lanes ? splat(g, reg) : reg;
}

LLVMTypeRef reg_type(kgen *g, const tval *t) {
  bool vector = g->vec_axis >= 0 && tval_extent(t, g->vec_axis);
  return emit_type(g->e, t->type, vector ? g->lanes : 0);
}

lval reg_or_poison(kgen *g, const tval *t, lval reg) {
  return reg ? reg : LLVMGetPoison(reg_type(g, t));
}

lval const_reg(kgen *g, dtype t, scalar v, int lanes) {
  LLVMTypeRef type = emit_type(g->e, t, lanes);
  if (dtype_is_storage(t)) {
    uint16_t bits;
    scalar_store(&bits, t, v);
    LLVMTypeRef integer = memory_type(g, t, lanes);
    return LLVMBuildBitCast(g->e->builder, emit_int(integer, bits), type, "");
  }
  return dtype_is_float(t) ? emit_float(type, v.f) : emit_int(type, v.i);
}

// ---- statements

void gen_const(kgen *g, const tstmt *s) {
  shape sh = tile_shape(g, s->out[0]);
  lval *out = tile_define(g, s->out[0]);
  lval read = constant_read(g, s);
  lval value = !read     ? const_reg(g, s->out[0]->type, s->value, sh.vecs ? g->lanes : 0)
               : sh.vecs ? splat(g, read)
                         : read;
  for (int i = 0; i < shape_regs(&sh); i++) out[i] = value;
}

void gen_size(kgen *g, const tstmt *s) {
  const tval *t = s->out[0];
  lval size = ix_value(g, s->ix[0]);
  if (t->type != DT_i64) size = emit_map(g->e, OP_cast, DT_i64, t->type, &size, 1);
  lval *out = tile_define(g, t);
  shape sh = tile_shape(g, t);
  for (int i = 0; i < shape_regs(&sh); i++) out[i] = sh.vecs ? splat(g, size) : size;
}

static lval index_vector(kgen *g, dtype t, int axis, int v) {
  ix first = row_coordinate(g, axis, v * g->lanes, false);
  ix lane = ix_axis(&g->ix, g->lane_axis);
  return ix_lanes(g, ix_add(&g->ix, first, lane), t != DT_i64);
}

static lval index_scalar(kgen *g, dtype t, int axis, int i) {
  lval v = ix_value(g, row_coordinate(g, axis, i, true));
  return t == DT_i64 ? v : LLVMBuildTrunc(g->e->builder, v, g->e->i32, "");
}

void gen_index(kgen *g, const tstmt *s) {
  const tval *t = s->out[0];
  check(t->type == DT_i32 || t->type == DT_i64);
  shape sh = tile_shape(g, t);
  lval *out = tile_define(g, t);
  for (int i = 0; i < shape_regs(&sh); i++) {
    g->coord[s->axis] = sh.vecs ? 0 : i;
    if (reg_dead(g, &sh, sh.vecs ? i : 0)) continue;
    out[i] = sh.vecs ? index_vector(g, t->type, s->axis, i)
                     : index_scalar(g, t->type, s->axis, i);
  }
}

/// One register of a map; null when an operand is dead.
static lval map_reg(kgen *g, const tstmt *s, dtype operand, int v, bool vector) {
  enum { MOST_OPERANDS = 3 };
  lval in[MOST_OPERANDS];
  check(s->nin <= MOST_OPERANDS);
  for (int i = 0; i < s->nin; i++)
    if (!(in[i] = tile_at(g, s->in[i], v, vector))) return NULL;
  return emit_map(g->e, s->op, operand, s->out[0]->type, in, s->nin);
}

void gen_map(kgen *g, const tstmt *s) {
  shape sh = tile_shape(g, s->out[0]);
  lval *out = tile_define(g, s->out[0]);
  if (g->unread[s->out[0]->id]) return;
  dtype operand = s->in[s->op == OP_where ? 1 : 0]->type;
  int vecs = sh.vecs ? sh.vecs : 1;
  for (int row = 0; row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    for (int v = 0; v < vecs; v++)
      if (!reg_dead(g, &sh, v)) out[row * vecs + v] = map_reg(g, s, operand, v, sh.vecs > 0);
  }
}
