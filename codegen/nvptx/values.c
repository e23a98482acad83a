// Statements that work register by register: maps, constants, sizes, coordinates.
#include "base/fault.h"
#include "codegen/math.h"
#include "codegen/nvptx/nvptx.h"

static lval constant(ngen *g, dtype t, scalar v) {
  LLVMTypeRef type = emit_type(g->e, t, 0);
  if (dtype_is_storage(t)) {
    uint16_t bits;
    scalar_store(&bits, t, v);
    return LLVMBuildBitCast(g->e->builder, emit_int(g->e->i16, bits), type, "");
  }
  return dtype_is_float(t) ? emit_float(type, v.f) : emit_int(type, v.i);
}

void gpu_const(ngen *g, const tstmt *s) {
  shape sh = gpu_shape_of(g, s->out[0]);
  lval *out = gpu_define(g, s->out[0]), v = constant(g, s->out[0]->type, s->value);
  for (int r = 0; r < sh.nregs; r++) out[r] = v;
}

void gpu_size(ngen *g, const tstmt *s) {
  const tval *t = s->out[0];
  lval size = gpu_ix64(g, s->ix[0]);
  if (t->type != DT_i64) size = emit_map(g->e, OP_cast, DT_i64, t->type, &size, 1);
  shape sh = gpu_shape_of(g, t);
  lval *out = gpu_define(g, t);
  for (int r = 0; r < sh.nregs; r++) out[r] = size;
}

void gpu_index(ngen *g, const tstmt *s) {
  const tval *t = s->out[0];
  check(t->type == DT_i32 || t->type == DT_i64);
  shape sh = gpu_shape_of(g, t);
  lval *out = gpu_define(g, t);
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    gpu_enter(g, &sh, r);
    if (!gpu_alive(g, &sh, &ok)) continue;
    ix at = gpu_coordinate(g, s->axis);
    out[r] = t->type == DT_i64 ? gpu_ix64(g, at) : gpu_ix32(g, at);
  }
}

/// A quotient that is only rounded to 16 bits needs no more than 2 ulp.
static lval map_reg(ngen *g, const tstmt *s, dtype operand, lval *in) {
  bool narrow = s->op == OP_div && operand == DT_f32 && g->only_narrowed[s->out[0]->id];
  if (!narrow) return emit_map(g->e, s->op, operand, s->out[0]->type, in, s->nin);
  mathb m = math_builder(g->e, DT_f32, 0);
  return math_nvptx_div(&m, in[0], in[1]);
}

void gpu_map(ngen *g, const tstmt *s) {
  enum { MOST_OPERANDS = 3 };
  shape sh = gpu_shape_of(g, s->out[0]);
  lval *out = gpu_define(g, s->out[0]);
  dtype operand = s->in[s->op == OP_where ? 1 : 0]->type;
  check(s->nin <= MOST_OPERANDS);
  for (int r = 0; r < sh.nregs; r++) {
    lval in[MOST_OPERANDS], ok = NULL;
    bool known = true;
    gpu_enter(g, &sh, r);
    if (!gpu_alive(g, &sh, &ok)) continue;
    for (int i = 0; i < s->nin; i++) known &= (in[i] = gpu_at(g, s->in[i])) != NULL;
    if (known) out[r] = map_reg(g, s, operand, in);
  }
}
