// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Casts between element types, exactly as scalar_cast() defines them, in straight-line code.
//
//   float -> int    truncate; out of range saturates; NaN gives 0
//   int   -> int    wraps
//   any   -> float  one rounding, to nearest even, subnormals kept, NaN made quiet
//
// f16 and bf16 are converted with integer arithmetic wherever the target would call a library
// (no F16C) or flush subnormals (vcvtneps2bf16). Casts to them from f64 and wide integers go by
// way of f32 rounded to odd, so that the second rounding is the only one that counts.
#include "base/fault.h"
#include "codegen/math.h"

typedef struct caster {
  emit *e;
  LLVMBuilderRef b;
  int lanes;
} caster;

static LLVMTypeRef type_of(caster *c, dtype t) { return emit_type(c->e, t, c->lanes); }
static val int_const(caster *c, dtype t, int64_t v) { return emit_int(type_of(c, t), v); }
static val float_const(caster *c, dtype t, double v) { return emit_float(type_of(c, t), v); }
static val bits_of(caster *c, val x, dtype as) {
  return LLVMBuildBitCast(c->b, x, type_of(c, as), "");
}

static val icmp(caster *c, LLVMIntPredicate p, val x, val y) {
  return LLVMBuildICmp(c->b, p, x, y, "");
}
static val select_(caster *c, val condition, val x, val y) {
  return LLVMBuildSelect(c->b, condition, x, y, "");
}

// ---- 16-bit floats

/// Subnormals of f16 are multiples of 2^-24; other values move the exponent from bias 15 to 127.
static val half_to_float_bits(caster *c, val half) {
  LLVMBuilderRef b = c->b;
  val h = LLVMBuildZExt(b, half, type_of(c, DT_i32), "");
  val sign = LLVMBuildShl(b, LLVMBuildAnd(b, h, int_const(c, DT_i32, 0x8000), ""),
                          int_const(c, DT_i32, 16), "");
  val magnitude = LLVMBuildAnd(b, h, int_const(c, DT_i32, 0x7fff), "");
  val shifted = LLVMBuildShl(b, magnitude, int_const(c, DT_i32, 13), "");
  val normal = LLVMBuildAdd(b, shifted, int_const(c, DT_i32, (127 - 15) << 23), "");
  val special = LLVMBuildOr(b, shifted, int_const(c, DT_i32, 255 << 23), "");
  val tiny = LLVMBuildFMul(b, LLVMBuildSIToFP(b, magnitude, type_of(c, DT_f32), ""),
                           float_const(c, DT_f32, 0x1p-24), "");
  val is_special = icmp(c, LLVMIntUGE, magnitude, int_const(c, DT_i32, 0x7c00));
  val is_tiny = icmp(c, LLVMIntULT, magnitude, int_const(c, DT_i32, 0x0400));
  val is_nan = icmp(c, LLVMIntUGT, magnitude, int_const(c, DT_i32, 0x7c00));
  val r = select_(c, is_special, special, normal);
  r = select_(c, is_tiny, bits_of(c, tiny, DT_i32), r);
  r = select_(c, is_nan, LLVMBuildOr(b, r, int_const(c, DT_i32, 1 << 22), ""), r);
  return LLVMBuildOr(b, r, sign, "");
}

/// Normal results: add half a unit (ties by the lowest kept bit) in the f32 encoding and shift.
/// Subnormal results: adding 0.5 to the magnitude makes the FPU round to multiples of 2^-24.
static val half_from_float_bits(caster *c, val x) {
  LLVMBuilderRef b = c->b;
  val u = bits_of(c, x, DT_i32);
  val sign = LLVMBuildAnd(b, LLVMBuildLShr(b, u, int_const(c, DT_i32, 16), ""),
                          int_const(c, DT_i32, 0x8000), "");
  val magnitude = LLVMBuildAnd(b, u, int_const(c, DT_i32, 0x7fffffff), "");
  val odd = LLVMBuildAnd(b, LLVMBuildLShr(b, magnitude, int_const(c, DT_i32, 13), ""),
                         int_const(c, DT_i32, 1), "");
  val biased = LLVMBuildAdd(b, magnitude, int_const(c, DT_i32, 0xfff - ((127 - 15) << 23)), "");
  val normal = LLVMBuildLShr(b, LLVMBuildAdd(b, biased, odd, ""), int_const(c, DT_i32, 13), "");
  val sum = LLVMBuildFAdd(b, bits_of(c, magnitude, DT_f32), float_const(c, DT_f32, 0.5), "");
  val tiny = LLVMBuildSub(b, bits_of(c, sum, DT_i32), int_const(c, DT_i32, 0x3f000000), "");
  val payload = LLVMBuildAnd(b, LLVMBuildLShr(b, magnitude, int_const(c, DT_i32, 13), ""),
                             int_const(c, DT_i32, 0x3ff), "");
  val nan = LLVMBuildOr(b, payload, int_const(c, DT_i32, 0x7e00), "");
  val is_tiny = icmp(c, LLVMIntULT, magnitude, int_const(c, DT_i32, (127 - 14) << 23));
  val is_large = icmp(c, LLVMIntUGE, magnitude, int_const(c, DT_i32, 0x477ff000));  // 65520
  val is_nan = icmp(c, LLVMIntUGT, magnitude, int_const(c, DT_i32, 0x7f800000));
  val r = select_(c, is_tiny, tiny, normal);
  r = select_(c, is_large, int_const(c, DT_i32, 0x7c00), r);
  r = LLVMBuildOr(b, select_(c, is_nan, nan, r), sign, "");
  return LLVMBuildTrunc(b, r, type_of(c, DT_i16), "");
}

static bool has_half_instructions(const emit *e) {
  return e->arch != ARCH_X86 || e->f16c || e->avx512;
}

static val f32_from_f16(caster *c, val x) {
  if (has_half_instructions(c->e)) return LLVMBuildFPExt(c->b, x, type_of(c, DT_f32), "");
  return bits_of(c, half_to_float_bits(c, bits_of(c, x, DT_i16)), DT_f32);
}

static val f16_from_f32(caster *c, val x) {
  if (has_half_instructions(c->e)) return LLVMBuildFPTrunc(c->b, x, type_of(c, DT_f16), "");
  return bits_of(c, half_from_float_bits(c, x), DT_f16);
}

static val f32_from_bf16(caster *c, val x) {
  val wide = LLVMBuildZExt(c->b, bits_of(c, x, DT_i16), type_of(c, DT_i32), "");
  return bits_of(c, LLVMBuildShl(c->b, wide, int_const(c, DT_i32, 16), ""), DT_f32);
}

static val bf16_from_f32(caster *c, val x) {
  LLVMBuilderRef b = c->b;
  if (c->e->arch == ARCH_NVPTX) {  // one instruction
    LLVMTypeRef type = emit_vec(LLVMBFloatTypeInContext(c->e->context), emit_lanes(LLVMTypeOf(x)));
    return bits_of(c, LLVMBuildFPTrunc(b, x, type, ""), DT_bf16);
  }
  val u = bits_of(c, x, DT_i32), sixteen = int_const(c, DT_i32, 16);
  val top = LLVMBuildLShr(b, u, sixteen, "");
  val odd = LLVMBuildAnd(b, top, int_const(c, DT_i32, 1), "");
  val half = LLVMBuildAdd(b, LLVMBuildAdd(b, u, odd, ""), int_const(c, DT_i32, 0x7fff), "");
  val quiet = LLVMBuildOr(b, top, int_const(c, DT_i32, 0x40), "");
  val is_nan = LLVMBuildFCmp(b, LLVMRealUNO, x, x, "");
  val r = select_(c, is_nan, quiet, LLVMBuildLShr(b, half, sixteen, ""));
  return bits_of(c, LLVMBuildTrunc(b, r, type_of(c, DT_i16), ""), DT_bf16);
}

/// f64 to f32, toward zero with the lowest bit set when inexact ("to odd"): a later rounding to 22
/// bits or fewer then gives what one rounding would have (Boldo and Melquiond, 2008).
static val f32_to_odd(caster *c, val x) {
  LLVMBuilderRef b = c->b;
  LLVMTypeRef f64 = type_of(c, DT_f64);
  val y = LLVMBuildFPTrunc(b, x, type_of(c, DT_f32), "");
  val back = LLVMBuildFPExt(b, y, f64, "");
  val x_abs = emit_intrinsic(c->e, "llvm.fabs", &f64, 1, &x, 1);
  val y_abs = emit_intrinsic(c->e, "llvm.fabs", &f64, 1, &back, 1);
  val above = LLVMBuildFCmp(b, LLVMRealOGT, y_abs, x_abs, "");
  val inexact = LLVMBuildFCmp(b, LLVMRealONE, back, x, "");
  LLVMTypeRef i32 = type_of(c, DT_i32);
  val toward_zero = LLVMBuildSub(b, bits_of(c, y, DT_i32), LLVMBuildZExt(b, above, i32, ""), "");
  val odd = LLVMBuildOr(b, toward_zero, LLVMBuildZExt(b, inexact, i32, ""), "");
  return bits_of(c, odd, DT_f32);
}

// ---- floats

static val float_to_float(caster *c, val x, dtype from, dtype to) {
  if (from == to) return x;
  if (from == DT_f16 || from == DT_bf16) {
    val y = from == DT_f16 ? f32_from_f16(c, x) : f32_from_bf16(c, x);
    return float_to_float(c, y, DT_f32, to);
  }
  if (to == DT_f64) return LLVMBuildFPExt(c->b, x, type_of(c, to), "");
  if (to == DT_f32) return LLVMBuildFPTrunc(c->b, x, type_of(c, to), "");
  if (from == DT_f64) x = f32_to_odd(c, x);
  return to == DT_f16 ? f16_from_f32(c, x) : bf16_from_f32(c, x);
}

/// The types of 8 and 16 bits saturate before the conversion, where their limits are exact in any
/// float type; for the others the first value above the range is a power of two and tested for.
static val float_to_int(caster *c, val x, dtype from, dtype to) {
  LLVMBuilderRef b = c->b;
  int bits = dtype_bytes(to) * 8;
  bool is_unsigned = dtype_is_unsigned(to);
  double low = is_unsigned ? 0 : -(double)(1ull << (bits - 1));
  double above = (is_unsigned ? 2 : 1) * (double)(1ull << (bits - 1));
  LLVMTypeRef ft = type_of(c, from);
  val zero = emit_float(ft, 0);
  val ordered = select_(c, LLVMBuildFCmp(b, LLVMRealORD, x, x, ""), x, zero);
  val at_least = emit_float(ft, low);
  val clamped = select_(c, LLVMBuildFCmp(b, LLVMRealOLT, ordered, at_least, ""), at_least, ordered);
  if (bits < 32) {
    val most = emit_float(ft, above - 1);
    clamped = select_(c, LLVMBuildFCmp(b, LLVMRealOGT, clamped, most, ""), most, clamped);
    val wide = LLVMBuildFPToSI(b, clamped, type_of(c, DT_i32), "");
    return LLVMBuildTrunc(b, wide, type_of(c, to), "");
  }
  val large = LLVMBuildFCmp(b, LLVMRealOGE, clamped, emit_float(ft, above), "");
  val small = select_(c, large, zero, clamped);
  val inside = is_unsigned ? LLVMBuildFPToUI(b, small, type_of(c, to), "")
                           : LLVMBuildFPToSI(b, small, type_of(c, to), "");
  return select_(c, large, int_const(c, to, scalar_limit(to, true).i), inside);
}

// ---- integers

static val int_to_int(caster *c, val x, dtype from, dtype to) {
  LLVMTypeRef type = type_of(c, to);
  int have = from == DT_bool ? 1 : dtype_bytes(from) * 8, want = dtype_bytes(to) * 8;
  if (have > want) return LLVMBuildTrunc(c->b, x, type, "");
  if (have == want) return x;
  bool is_signed = !dtype_is_unsigned(from);
  return is_signed ? LLVMBuildSExt(c->b, x, type, "") : LLVMBuildZExt(c->b, x, type, "");
}

/// From 2^53 on the lowest 11 bits become one sticky bit, so that f64 holds the rest exactly.
static val sticky_i64(caster *c, val x, bool is_unsigned) {
  LLVMBuilderRef b = c->b;
  LLVMTypeRef i64 = type_of(c, DT_i64);
  val kept = LLVMBuildAnd(b, x, int_const(c, DT_i64, ~INT64_C(2047)), "");
  val rest = LLVMBuildAnd(b, x, int_const(c, DT_i64, 2047), "");
  val lost = icmp(c, LLVMIntNE, rest, int_const(c, DT_i64, 0));
  val sticky = LLVMBuildShl(b, LLVMBuildZExt(b, lost, i64, ""), int_const(c, DT_i64, 11), "");
  val by = int_const(c, DT_i64, 53), none = int_const(c, DT_i64, 0);
  val top = is_unsigned ? LLVMBuildLShr(b, x, by, "") : LLVMBuildAShr(b, x, by, "");
  val small = icmp(c, LLVMIntEQ, top, none);
  if (!is_unsigned)
    small = LLVMBuildOr(b, small, icmp(c, LLVMIntEQ, top, int_const(c, DT_i64, -1)), "");
  return select_(c, small, x, LLVMBuildOr(b, kept, sticky, ""));
}

static val int_to_float(caster *c, val x, dtype from, dtype to) {
  if (to == DT_f32 || to == DT_f64) {
    bool is_signed = !dtype_is_unsigned(from);
    return is_signed ? LLVMBuildSIToFP(c->b, x, type_of(c, to), "")
                     : LLVMBuildUIToFP(c->b, x, type_of(c, to), "");
  }
  if (from == DT_bool || dtype_bytes(from) < 4)  // exact in f32
    return float_to_float(c, int_to_float(c, x, from, DT_f32), DT_f32, to);
  if (dtype_bytes(from) == 8) x = sticky_i64(c, x, from == DT_u64);
  return float_to_float(c, int_to_float(c, x, from, DT_f64), DT_f64, to);
}

LLVMValueRef emit_cast(emit *e, LLVMValueRef x, dtype from, dtype to) {
  caster c = {e, e->builder, emit_lanes(LLVMTypeOf(x))};
  if (from == to) return x;
  if (to == DT_bool) {
    if (dtype_is_storage(from)) x = float_to_float(&c, x, from, DT_f32);
    val zero = LLVMConstNull(LLVMTypeOf(x));
    return dtype_is_float(from) ? LLVMBuildFCmp(c.b, LLVMRealUNE, x, zero, "")
                                : icmp(&c, LLVMIntNE, x, zero);
  }
  if (!dtype_is_float(from))
    return dtype_is_float(to) ? int_to_float(&c, x, from, to) : int_to_int(&c, x, from, to);
  if (dtype_is_float(to)) return float_to_float(&c, x, from, to);
  if (!dtype_is_storage(from)) return float_to_int(&c, x, from, to);
  return float_to_int(&c, float_to_float(&c, x, from, DT_f32), DT_f32, to);
}
