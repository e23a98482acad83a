// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Map ops: one vector (or scalar) of operands to one of results; the meaning of op_eval().
//
// Integers wrap; division truncates, by zero it gives 0 and the smallest value divided by -1 is
// itself, so nothing traps. min and max are NaN when either operand is; which of two zeros of
// opposite sign they give is left open. No calls but LLVM intrinsics with instructions for them.
#include "base/fault.h"
#include "codegen/math.h"

static val splat_int(val like, int64_t v) { return emit_int(LLVMTypeOf(like), v); }

static val int_compare(emit *e, op o, bool is_signed, val x, val y) {
  LLVMIntPredicate p;
  switch (o) {
    case OP_lt: p = is_signed ? LLVMIntSLT : LLVMIntULT; break;
    case OP_le: p = is_signed ? LLVMIntSLE : LLVMIntULE; break;
    case OP_gt: p = is_signed ? LLVMIntSGT : LLVMIntUGT; break;
    case OP_ge: p = is_signed ? LLVMIntSGE : LLVMIntUGE; break;
    case OP_eq: p = LLVMIntEQ; break;
    case OP_ne: p = LLVMIntNE; break;
    default: panic("%s does not compare", op_get(o)->name);
  }
  return LLVMBuildICmp(e->builder, p, x, y, "");
}

static val float_compare(emit *e, op o, val x, val y) {
  LLVMRealPredicate p;
  switch (o) {
    case OP_lt: p = LLVMRealOLT; break;
    case OP_le: p = LLVMRealOLE; break;
    case OP_gt: p = LLVMRealOGT; break;
    case OP_ge: p = LLVMRealOGE; break;
    case OP_eq: p = LLVMRealOEQ; break;
    case OP_ne: p = LLVMRealUNE; break;
    default: panic("%s does not compare", op_get(o)->name);
  }
  return LLVMBuildFCmp(e->builder, p, x, y, "");
}

/// The quotient in a float type that holds every operand: it is then off by less than its distance
/// to the next integer (which is at least 1 / y), so truncating it is exact.
static val divide_in_float(emit *e, LLVMTypeRef ft, bool is_signed, val x, val y) {
  LLVMBuilderRef b = e->builder;
  LLVMTypeRef it = LLVMTypeOf(x);
  if (is_signed) {
    val q = LLVMBuildFDiv(b, LLVMBuildSIToFP(b, x, ft, ""), LLVMBuildSIToFP(b, y, ft, ""), "");
    return LLVMBuildFPToSI(b, q, it, "");
  }
  val q = LLVMBuildFDiv(b, LLVMBuildUIToFP(b, x, ft, ""), LLVMBuildUIToFP(b, y, ft, ""), "");
  return LLVMBuildFPToUI(b, q, it, "");
}

static val int_div_rem(emit *e, op o, dtype t, val x, val y) {
  LLVMBuilderRef b = e->builder;
  LLVMTypeRef type = LLVMTypeOf(x);
  int lanes = emit_lanes(type), bits = dtype_bytes(t) * 8;
  bool is_signed = !dtype_is_unsigned(t);
  val zero = emit_int(type, 0), one = emit_int(type, 1);
  val by_zero = LLVMBuildICmp(b, LLVMIntEQ, y, zero, "");
  val unsafe = by_zero;
  if (is_signed) {
    val lowest = LLVMBuildICmp(b, LLVMIntEQ, x, emit_int(type, (int64_t)(~0ull << (bits - 1))), "");
    val minus = LLVMBuildICmp(b, LLVMIntEQ, y, emit_int(type, -1), "");
    unsafe = LLVMBuildOr(b, unsafe, LLVMBuildAnd(b, lowest, minus, ""), "");
  }
  val safe = LLVMBuildSelect(b, unsafe, one, y, ""), q;
  if (lanes && bits < 64 && !LLVMIsConstant(y))
    q = divide_in_float(e, emit_vec(bits == 32 ? e->f64 : e->f32, lanes), is_signed, x, safe);
  else
    q = is_signed ? LLVMBuildSDiv(b, x, safe, "") : LLVMBuildUDiv(b, x, safe, "");
  val result = o == OP_div ? q : LLVMBuildSub(b, x, LLVMBuildMul(b, q, safe, ""), "");
  return LLVMBuildSelect(b, by_zero, zero, result, "");
}

static val int_min_max(emit *e, op o, bool is_signed, val x, val y) {
  val less = int_compare(e, OP_lt, is_signed, x, y);
  return LLVMBuildSelect(e->builder, less, o == OP_min ? x : y, o == OP_min ? y : x, "");
}

static val int_sign(emit *e, bool is_signed, val x) {
  LLVMBuilderRef b = e->builder;
  LLVMTypeRef type = LLVMTypeOf(x);
  val zero = emit_int(type, 0);
  val positive = LLVMBuildZExt(b, int_compare(e, OP_gt, is_signed, x, zero), type, "");
  if (!is_signed) return positive;
  val negative = LLVMBuildAShr(b, x, splat_int(x, (int64_t)LLVMGetIntTypeWidth(
      emit_lanes(type) ? LLVMGetElementType(type) : type) - 1), "");
  return LLVMBuildOr(b, positive, negative, "");
}

static val map_int(emit *e, op o, dtype t, val *in) {
  LLVMBuilderRef b = e->builder;
  val x = in[0], y = op_get(o)->arity > 1 ? in[1] : NULL;
  bool is_signed = !dtype_is_unsigned(t);
  int bits = dtype_bytes(t) * 8;
  switch (o) {
    case OP_add: return LLVMBuildAdd(b, x, y, "");
    case OP_sub: return LLVMBuildSub(b, x, y, "");
    case OP_mul: return LLVMBuildMul(b, x, y, "");
    case OP_div:
    case OP_rem: return int_div_rem(e, o, t, x, y);
    case OP_min:
    case OP_max: return int_min_max(e, o, is_signed, x, y);
    case OP_neg: return LLVMBuildNeg(b, x, "");
    case OP_abs:
      if (!is_signed) return x;
      return int_min_max(e, OP_max, true, x, LLVMBuildNeg(b, x, ""));
    case OP_sign: return int_sign(e, is_signed, x);
    case OP_and: return LLVMBuildAnd(b, x, y, "");
    case OP_or: return LLVMBuildOr(b, x, y, "");
    case OP_xor: return LLVMBuildXor(b, x, y, "");
    case OP_not: return LLVMBuildNot(b, x, "");
    case OP_shl: return LLVMBuildShl(b, x, LLVMBuildAnd(b, y, splat_int(y, bits - 1), ""), "");
    case OP_shr:
      y = LLVMBuildAnd(b, y, splat_int(y, bits - 1), "");
      return is_signed ? LLVMBuildAShr(b, x, y, "") : LLVMBuildLShr(b, x, y, "");
    default: return int_compare(e, o, is_signed, x, y);
  }
}

static val map_bool(emit *e, op o, val *in) {
  LLVMBuilderRef b = e->builder;
  switch (o) {
    case OP_and: return LLVMBuildAnd(b, in[0], in[1], "");
    case OP_or: return LLVMBuildOr(b, in[0], in[1], "");
    case OP_ne:
    case OP_xor: return LLVMBuildXor(b, in[0], in[1], "");
    case OP_not: return LLVMBuildNot(b, in[0], "");
    default: return int_compare(e, o, false, in[0], in[1]);
  }
}

/// min or max, NaN if either is NaN: the x86 instruction gives y when the comparison is unordered,
/// which leaves the case of a NaN x.
static val float_min_max(emit *e, op o, val x, val y) {
  LLVMBuilderRef b = e->builder;
  if (e->arch == ARCH_NVPTX) {
    LLVMTypeRef type = LLVMTypeOf(x);
    return emit_intrinsic(e, o == OP_min ? "llvm.minimum" : "llvm.maximum", &type, 1,
                          (val[]){x, y}, 2);
  }
  if (LLVMIsConstant(y)) {  // then the second select folds away
    val swap = x;
    x = y;
    y = swap;
  }
  val better = LLVMBuildFCmp(b, o == OP_min ? LLVMRealOLT : LLVMRealOGT, x, y, "");
  val m = LLVMBuildSelect(b, better, x, y, "");
  return LLVMBuildSelect(b, LLVMBuildFCmp(b, LLVMRealUNO, x, x, ""), x, m, "");
}

static val float_sign(emit *e, val x) {
  LLVMBuilderRef b = e->builder;
  LLVMTypeRef type = LLVMTypeOf(x);
  val zero = emit_float(type, 0);
  val negative = LLVMBuildFCmp(b, LLVMRealOLT, x, zero, "");
  val positive = LLVMBuildFCmp(b, LLVMRealOGT, x, zero, "");
  val y = LLVMBuildSelect(b, negative, emit_float(type, -1), x, "");
  return LLVMBuildSelect(b, positive, emit_float(type, 1), y, "");
}

static val contractable(const emit *e, val v) {
  if (e->fused_multiply_add && LLVMIsAInstruction(v))
    LLVMSetFastMathFlags(v, LLVMFastMathAllowContract);
  return v;
}

static val map_float(emit *e, op o, dtype t, val *in, int nin) {
  LLVMBuilderRef b = e->builder;
  val x = in[0], y = nin > 1 ? in[1] : NULL;
  LLVMTypeRef type = LLVMTypeOf(x);
  switch (o) {
    case OP_add: return contractable(e, LLVMBuildFAdd(b, x, y, ""));
    case OP_sub: return contractable(e, LLVMBuildFSub(b, x, y, ""));
    case OP_mul: return contractable(e, LLVMBuildFMul(b, x, y, ""));
    case OP_div: return LLVMBuildFDiv(b, x, y, "");
    case OP_min:
    case OP_max: return float_min_max(e, o, x, y);
    case OP_neg: return LLVMBuildFNeg(b, x, "");
    case OP_abs: return emit_intrinsic(e, "llvm.fabs", &type, 1, &x, 1);
    case OP_sign: return float_sign(e, x);
    case OP_is_nan: return LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
    case OP_is_inf: {
      val magnitude = emit_intrinsic(e, "llvm.fabs", &type, 1, &x, 1);
      return LLVMBuildFCmp(b, LLVMRealOEQ, magnitude, emit_float(type, __builtin_inf()), "");
    }
    case OP_lt:
    case OP_le:
    case OP_gt:
    case OP_ge:
    case OP_eq:
    case OP_ne: return float_compare(e, o, x, y);
    default: return emit_math(e, o, t, in, nin);
  }
}

/// Philox4x32-10 on (counter, 0) with a 64-bit key; the words live in 64-bit lanes, where a product
/// of two of them is one instruction. Salmon et al., SC'11, as in op_random_bits().
static val random_bits(emit *e, val key, val counter) {
  LLVMBuilderRef b = e->builder;
  val word = splat_int(key, 0xffffffff), half = splat_int(key, 32);
  val k[2] = {LLVMBuildAnd(b, key, word, ""), LLVMBuildLShr(b, key, half, "")};
  val c[4] = {LLVMBuildAnd(b, counter, word, ""), LLVMBuildLShr(b, counter, half, ""),
              splat_int(key, 0), splat_int(key, 0)};
  for (int round = 0; round < 10; round++) {
    val even = LLVMBuildMul(b, c[0], splat_int(key, 0xD2511F53), "");
    val odd = LLVMBuildMul(b, c[2], splat_int(key, 0xCD9E8D57), "");
    c[0] = LLVMBuildXor(b, LLVMBuildXor(b, LLVMBuildLShr(b, odd, half, ""), c[1], ""), k[0], "");
    c[1] = LLVMBuildAnd(b, odd, word, "");
    c[2] = LLVMBuildXor(b, LLVMBuildXor(b, LLVMBuildLShr(b, even, half, ""), c[3], ""), k[1], "");
    c[3] = LLVMBuildAnd(b, even, word, "");
    k[0] = LLVMBuildAnd(b, LLVMBuildAdd(b, k[0], splat_int(key, 0x9E3779B9), ""), word, "");
    k[1] = LLVMBuildAnd(b, LLVMBuildAdd(b, k[1], splat_int(key, 0xBB67AE85), ""), word, "");
  }
  return LLVMBuildOr(b, LLVMBuildShl(b, c[1], half, ""), c[0], "");
}

LLVMValueRef emit_map(emit *e, op o, dtype t, dtype result, LLVMValueRef *in, int nin) {
  int lanes = emit_lanes(LLVMTypeOf(in[nin - 1]));
  switch (o) {
    case OP_cast: return emit_cast(e, in[0], t, result);
    case OP_bitcast:
      return LLVMBuildBitCast(e->builder, in[0], emit_type(e, result, lanes), "");
    case OP_where: return LLVMBuildSelect(e->builder, in[0], in[1], in[2], "");
    case OP_random_bits: return random_bits(e, in[0], in[1]);
    default: break;
  }
  if (t == DT_bool) return map_bool(e, o, in);
  if (dtype_is_int(t)) return map_int(e, o, t, in);
  if (!dtype_is_storage(t)) return map_float(e, o, t, in, nin);
  val wide[3];  // f16 and bf16 are compared in f32
  for (int k = 0; k < nin; k++) wide[k] = emit_cast(e, in[k], t, DT_f32);
  val y = map_float(e, o, DT_f32, wide, nin);
  return result == DT_bool ? y : emit_cast(e, y, DT_f32, result);
}

LLVMValueRef emit_combine(emit *e, op o, dtype t, LLVMValueRef a, LLVMValueRef b) {
  return emit_map(e, o, t, t, (val[]){a, b}, 2);
}
