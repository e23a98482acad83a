// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The remainder of float division (C's fmod), exactly: long division with digits of 2^27 or 2^50.
//
//   while |x| >= |y|:  x -= trunc(x / d) d,  d = y 2^s, s as small as keeps the quotient exact
//
// The number of steps depends on the values, so this is the one function that is a loop: a private
// function of the module, made when first used, per type, width and kind of target.
#include <stdio.h>

#include "base/fault.h"
#include "codegen/math.h"

static val exponent_of(const mathb *m, val x) {
  LLVMBuilderRef b = m->b;
  val tiny = m_cmp(m, LLVMRealOLT, x, m_const(m, 0x1p-1022));
  val bits = m_bits(m, m_select(m, tiny, m_mul(m, x, m_const(m, 0x1p54)), x));
  val lift = m_select(m, tiny, m_int(m, 54), m_int(m, 0));
  return LLVMBuildSub(b, LLVMBuildLShr(b, bits, m_int(m, 52), ""), lift, "");
}

static val power(const mathb *m, val k) {
  val bits = LLVMBuildAdd(m->b, k, m_int(m, 1023), "");
  return m_from_bits(m, LLVMBuildShl(m->b, bits, m_int(m, 52), ""));
}

/// a - q d, which is representable. Without a fused multiply-add the product of tiny operands is
/// made from scaled ones, whose halves do not underflow.
static val exact_step(const mathb *m, val q, val d, val a) {
  if (m->fma) return m_residual(m, q, d, a);
  val tiny = m_cmp(m, LLVMRealOLT, a, m_const(m, 0x1p-500)), one = m_const(m, 1);
  val up = m_select(m, tiny, m_const(m, 0x1p500), one);
  val down = m_select(m, tiny, m_const(m, 0x1p-500), one);
  return m_mul(m, m_residual(m, q, m_mul(m, d, up), m_mul(m, a, up)), down);
}

static val reduce_once(const mathb *m, val a, val y, int digits) {
  LLVMBuilderRef b = m->b;
  val gap = LLVMBuildSub(b, exponent_of(m, a), exponent_of(m, y), "");
  val s = LLVMBuildSub(b, gap, m_int(m, digits), "");
  s = m_select(m, LLVMBuildICmp(b, LLVMIntSGT, s, m_int(m, 0), ""), s, m_int(m, 0));
  val half = LLVMBuildLShr(b, s, m_int(m, 1), "");
  val d = m_mul(m, m_mul(m, y, power(m, half)), power(m, LLVMBuildSub(b, s, half, "")));
  val q = math_floor_like(m, OP_trunc, m_div(m, a, d));
  val r = exact_step(m, q, d, a);
  r = m_select(m, m_cmp(m, LLVMRealOLT, r, m_const(m, 0)), m_add(m, r, d), r);
  return m_select(m, m_cmp(m, LLVMRealOGE, a, y), r, a);
}

static val any_lane(const mathb *m, val condition) {
  if (!m->lanes) return condition;
  LLVMTypeRef type = m->bt;
  return emit_intrinsic(m->e, "llvm.vector.reduce.or", &type, 1, &condition, 1);
}

/// r(a, y) for a >= 0, y > 0 finite, in f64 lanes.
static void build_body(const mathb *m, val f, int digits) {
  LLVMContextRef context = m->e->context;
  LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(context, f, "entry");
  LLVMBasicBlockRef test = LLVMAppendBasicBlockInContext(context, f, "test");
  LLVMBasicBlockRef step = LLVMAppendBasicBlockInContext(context, f, "step");
  LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(context, f, "done");
  val y = LLVMGetParam(f, 1);
  LLVMPositionBuilderAtEnd(m->b, entry);
  LLVMBuildBr(m->b, test);
  LLVMPositionBuilderAtEnd(m->b, test);
  val a = LLVMBuildPhi(m->b, m->ft, "");
  LLVMBuildCondBr(m->b, any_lane(m, m_cmp(m, LLVMRealOGE, a, y)), step, done);
  LLVMPositionBuilderAtEnd(m->b, step);
  val next = reduce_once(m, a, y, digits);
  LLVMBuildBr(m->b, test);
  LLVMAddIncoming(a, (val[]){LLVMGetParam(f, 0), next}, (LLVMBasicBlockRef[]){entry, step}, 2);
  LLVMPositionBuilderAtEnd(m->b, done);
  LLVMBuildRet(m->b, a);
}

static void copy_attribute(val from, val to, const char *name) {
  unsigned length = (unsigned)strlen(name);
  LLVMAttributeRef a =
      LLVMGetStringAttributeAtIndex(from, (unsigned)LLVMAttributeFunctionIndex, name, length);
  if (a) LLVMAddAttributeAtIndex(to, (unsigned)LLVMAttributeFunctionIndex, a);
}

static val division_function(const mathb *m, int digits, LLVMTypeRef type) {
  char name[48];
  snprintf(name, sizeof name, "tcf.fmod.%d.x%d", digits, m->lanes);
  val f = LLVMGetNamedFunction(m->e->module, name);
  if (f) return f;
  LLVMBasicBlockRef here = LLVMGetInsertBlock(m->b);
  f = LLVMAddFunction(m->e->module, name, type);
  LLVMSetLinkage(f, LLVMInternalLinkage);
  val caller = LLVMGetBasicBlockParent(here);
  copy_attribute(caller, f, "target-cpu");
  copy_attribute(caller, f, "target-features");
  build_body(m, f, digits);
  LLVMPositionBuilderAtEnd(m->b, here);
  return f;
}

val math_fmod(const mathb *m, val x, val y) {
  LLVMBuilderRef b = m->b;
  bool is_double = m->t == DT_f64;
  mathb d = math_builder(m->e, DT_f64, m->lanes);
  val infinity = m_const(&d, __builtin_inf()), zero = m_const(&d, 0);
  val wide_x = is_double ? x : LLVMBuildFPExt(b, x, d.ft, "");
  val wide_y = is_double ? y : LLVMBuildFPExt(b, y, d.ft, "");
  val a = m_abs(&d, wide_x), c = m_abs(&d, wide_y);
  val valid = LLVMBuildAnd(b, m_cmp(&d, LLVMRealOLT, a, infinity),
                           m_cmp(&d, LLVMRealOGT, c, zero), "");
  LLVMTypeRef params[2] = {d.ft, d.ft};
  LLVMTypeRef type = LLVMFunctionType(d.ft, params, 2, false);
  val args[2] = {m_select(&d, valid, a, zero), m_select(&d, valid, c, infinity)};
  val f = division_function(&d, is_double ? 50 : 27, type);
  val r = LLVMBuildCall2(b, type, f, args, 2, "");
  r = m_select(&d, valid, m_copysign(&d, r, wide_x), m_const(&d, __builtin_nan("")));
  return is_double ? r : LLVMBuildFPTrunc(b, r, m->ft, "");
}
