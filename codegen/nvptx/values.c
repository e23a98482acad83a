// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
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

void nv_const(ngen *g, const tstmt *s) {
  shape sh = nv_shape_of(g, s->out[0]);
  lval *out = nv_define(g, s->out[0]), v = constant(g, s->out[0]->type, s->value);
  for (int r = 0; r < sh.nregs; r++) out[r] = v;
}

void nv_size(ngen *g, const tstmt *s) {
  const tval *t = s->out[0];
  lval size = nv_ix64(g, s->ix[0]);
  if (t->type != DT_i64) size = emit_map(g->e, OP_cast, DT_i64, t->type, &size, 1);
  shape sh = nv_shape_of(g, t);
  lval *out = nv_define(g, t);
  for (int r = 0; r < sh.nregs; r++) out[r] = size;
}

void nv_index(ngen *g, const tstmt *s) {
  const tval *t = s->out[0];
  check(t->type == DT_i32 || t->type == DT_i64);
  shape sh = nv_shape_of(g, t);
  lval *out = nv_define(g, t);
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    nv_enter(g, &sh, r);
    if (!nv_alive(g, &sh, &ok)) continue;
    ix at = nv_coordinate(g, s->axis);
    out[r] = t->type == DT_i64 ? nv_ix64(g, at) : nv_ix32(g, at);
  }
}

/// x * (1 / y) with one reciprocal for many x. Where 1 / y would leave the range both are scaled.
static lval times_reciprocal(ngen *g, const mathb *m, lval x, lval y) {
  LLVMBuilderRef b = g->e->builder;
  LLVMTypeRef type = LLVMTypeOf(y);
  lval size = emit_intrinsic(g->e, "llvm.fabs", &type, 1, &y, 1);
  lval small = LLVMBuildFCmp(b, LLVMRealOLT, size, m_const(m, 0x1p-100), "");
  lval large = LLVMBuildFCmp(b, LLVMRealOGT, size, m_const(m, 0x1p100), "");
  lval scale = LLVMBuildSelect(b, large, m_const(m, 0x1p-48), m_const(m, 1), "");
  scale = LLVMBuildSelect(b, small, m_const(m, 0x1p48), scale, "");
  lval scaled = LLVMBuildFMul(b, y, scale, "");
  lval r = emit_intrinsic(g->e, "llvm.nvvm.rcp.approx.ftz.f", NULL, 0, &scaled, 1);
  return LLVMBuildFMul(b, LLVMBuildFMul(b, x, scale, ""), r, "");
}

/// A quotient that is only rounded to 16 bits needs no more than 2 ulp; exponentials that are only
/// summed, or of which only 16 bits leave the kernel, no correction. Powers of two of these have the
/// instruction's 2 ulp anyway. Constants divide by a few multiply-adds. Not so where a map must have the
/// same bits in every kernel.
static lval map_reg(ngen *g, const tstmt *s, dtype operand, lval *in) {
  unsigned uses = g->e->deterministic ? 0 : g->uses[s->out[0]->id];
  bool narrow = s->op == OP_div && operand == DT_f32 && (uses & USE_NARROWED);
  g->e->coarse = g->narrow_results || (s->op == OP_exp && (uses & USE_SUMMED)) ||
                 (s->op == OP_exp2 && (uses & USE_EITHER));
  mathb m = math_builder(g->e, DT_f32, 0);
  if (s->op == OP_div && operand == DT_f32 && LLVMIsAConstantFP(in[1])) {
    LLVMBool loses;
    double d = LLVMConstRealGetDouble(in[1], &loses);
    if (math_nvptx_divides_by(d)) return math_nvptx_div_by(&m, in[0], d);
  }
  if (!narrow) return emit_map(g->e, s->op, operand, s->out[0]->type, in, s->nin);
  bool shared = s->in[1]->naxes < s->in[0]->naxes && !LLVMIsConstant(in[1]);
  return shared ? times_reciprocal(g, &m, in[0], in[1]) : math_nvptx_div(&m, in[0], in[1]);
}

/// Several registers at once, of functions that have such a form.
static void map_many(ngen *g, const tstmt *s, const shape *sh) {
  enum { GROUP = 4 };
  lval in[GROUP], y[GROUP], *out = g->regs[s->out[0]->id];
  int at[GROUP], n = 0;
  for (int r = 0; r < sh->nregs; r++) {
    lval ok = NULL;
    nv_enter(g, sh, r);
    if (nv_alive(g, sh, &ok) && (in[n] = nv_at(g, s->in[0]))) at[n++] = r;
    if (n < GROUP && (r + 1 < sh->nregs || !n)) continue;
    emit_math_many(g->e, s->op, s->in[0]->type, in, y, n);
    for (int i = 0; i < n; i++) out[at[i]] = y[i];
    n = 0;
  }
}

bool nv_narrows(const tstmt *s) {
  return s->op == OP_cast && s->in[0]->type == DT_f32 && dtype_is_storage(s->out[0]->type);
}

bool nv_narrow(ngen *g, const tstmt *s, const lval x[2], lval out[2]) {
  LLVMBuilderRef b = g->e->builder;
  if (LLVMIsConstant(x[0]) || LLVMIsConstant(x[1])) return false;
  lval pair = LLVMGetPoison(emit_vec(g->e->f32, 2));
  for (int i = 0; i < 2; i++) pair = LLVMBuildInsertElement(b, pair, x[i], i32_of(g, i), "");
  pair = emit_map(g->e, OP_cast, DT_f32, s->out[0]->type, &pair, 1);
  for (int i = 0; i < 2; i++) out[i] = LLVMBuildExtractElement(b, pair, i32_of(g, i), "");
  return true;
}

/// Registers r and r + 1 rounded to 16 bits by one instruction. False: one of them is unknown.
static bool narrow_pair(ngen *g, const tstmt *s, const shape *sh, int r) {
  lval x[2], ok = NULL;
  for (int i = 0; i < 2; i++) {
    nv_enter(g, sh, r + i);
    x[i] = nv_alive(g, sh, &ok) ? nv_at(g, s->in[0]) : NULL;
  }
  return x[0] && x[1] && nv_narrow(g, s, x, &g->regs[s->out[0]->id][r]);
}

lval nv_map_at(ngen *g, const tstmt *s) {
  enum { MOST_OPERANDS = 3 };
  lval known = nv_known_comparison(g, s);
  if (!known) known = nv_distance(g, s);
  if (known) return known;
  lval in[MOST_OPERANDS];
  check(s->nin <= MOST_OPERANDS);
  for (int i = 0; i < s->nin; i++)
    if (!(in[i] = nv_at(g, s->in[i]))) return NULL;
  return map_reg(g, s, s->in[s->op == OP_where ? 1 : 0]->type, in);
}

void nv_map(ngen *g, const tstmt *s) {
  if (nv_is_mask(g, s)) return nv_mask(g, s);
  shape sh = nv_shape_of(g, s->out[0]);
  lval *out = nv_define(g, s->out[0]);
  if (emit_math_many(g->e, s->op, s->in[0]->type, NULL, NULL, 0)) {
    map_many(g, s, &sh);
    return;
  }
  for (int r = 0; r < sh.nregs; r++) {
    lval ok = NULL;
    nv_enter(g, &sh, r);
    if (out[r] || !nv_alive(g, &sh, &ok)) continue;
    if (nv_narrows(s) && r + 1 < sh.nregs && narrow_pair(g, s, &sh, r)) continue;
    nv_enter(g, &sh, r);
    out[r] = nv_map_at(g, s);
  }
}
