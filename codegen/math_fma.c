// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fused multiply-add where the hardware has none (x86 before FMA3), which LLVM would leave to a
// library. The sum is first rounded to odd: a later rounding to fewer bits is then the only one.
// Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008.
#include "codegen/math.h"

/// x + y to odd: when inexact, whichever neighbour of the sum has its last bit set.
static val add_to_odd(const mathb *m, val x, val y) {
  LLVMBuilderRef b = m->b;
  val sum, error, zero = m_const(m, 0), one = m_int(m, 1);
  m_two_sum(m, x, y, &sum, &error);
  val bits = m_bits(m, sum);
  val inexact = m_cmp(m, LLVMRealONE, error, zero);
  val even = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, bits, one, ""), m_int(m, 0), "");
  val outward = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildLShr(b, bits, m_int(m, 63), ""),
                              LLVMBuildLShr(b, m_bits(m, error), m_int(m, 63), ""), "");
  val step = m_select(m, outward, one, m_int(m, -1));
  val change = LLVMBuildAnd(b, inexact, even, "");
  step = m_select(m, change, step, m_int(m, 0));
  return m_from_bits(m, LLVMBuildAdd(b, bits, step, ""));
}

static val fma_f32(const mathb *m, val x, val y, val z) {
  mathb d = math_builder(m->e, DT_f64, m->lanes);
  LLVMBuilderRef b = m->b;
  val product = m_mul(&d, LLVMBuildFPExt(b, x, d.ft, ""), LLVMBuildFPExt(b, y, d.ft, ""));
  val sum = add_to_odd(&d, product, LLVMBuildFPExt(b, z, d.ft, ""));
  return LLVMBuildFPTrunc(b, sum, m->ft, "");
}

/// The unbiased exponent of a finite x, subnormals included, and x 2^-exponent; zero stays zero.
static val normalise(const mathb *m, val x, val *scaled) {
  LLVMBuilderRef b = m->b;
  val tiny = m_cmp(m, LLVMRealOLT, m_abs(m, x), m_const(m, 0x1p-1022));
  val bits = m_bits(m, m_select(m, tiny, m_mul(m, x, m_const(m, 0x1p54)), x));
  val field = LLVMBuildAnd(b, LLVMBuildLShr(b, bits, m_int(m, 52), ""), m_int(m, 0x7ff), "");
  val e = LLVMBuildSub(b, field, m_int(m, 1023), "");
  val down = LLVMBuildSub(b, bits, LLVMBuildShl(b, e, m_int(m, 52), ""), "");
  val is_zero = m_cmp(m, LLVMRealOEQ, x, m_const(m, 0));
  *scaled = m_select(m, is_zero, x, m_from_bits(m, down));
  e = LLVMBuildSub(b, e, m_select(m, tiny, m_int(m, 54), m_int(m, 0)), "");
  return m_select(m, is_zero, m_int(m, -3000), e);
}

static val int_clamp(const mathb *m, val x, int64_t low, int64_t high) {
  val below = LLVMBuildICmp(m->b, LLVMIntSLT, x, m_int(m, low), "");
  x = m_select(m, below, m_int(m, low), x);
  val above = LLVMBuildICmp(m->b, LLVMIntSGT, x, m_int(m, high), "");
  return m_select(m, above, m_int(m, high), x);
}

static val scale_exactly(const mathb *m, val x, val k) {
  val bits = LLVMBuildAdd(m->b, k, m_int(m, 1023), "");
  return m_mul(m, x, m_from_bits(m, LLVMBuildShl(m->b, bits, m_int(m, 52), "")));
}

/// Operands are brought to [1, 2); z relative to the product by at most 2^+-110, beyond which only
/// its being there matters. The sum p + q + z, to odd below its leading part, is scaled back.
static val fma_f64(const mathb *m, val x, val y, val z) {
  LLVMBuilderRef b = m->b;
  val xs, ys, zs, p, q, uh, ul, th, tl;
  val e = LLVMBuildAdd(b, normalise(m, x, &xs), normalise(m, y, &ys), "");
  e = int_clamp(m, e, -2400, 2400);
  val shift = LLVMBuildSub(b, normalise(m, z, &zs), e, "");
  val clamped = int_clamp(m, shift, -110, 110);
  val excess = LLVMBuildSub(b, shift, clamped, "");
  // A z far above the product gives the scale; far below, the product does.
  val up = int_clamp(m, excess, 0, 4000);
  e = LLVMBuildAdd(b, e, up, "");
  val moved = scale_exactly(m, zs, clamped);
  m_two_prod(m, xs, ys, &p, &q);
  m_two_sum(m, moved, q, &uh, &ul);
  m_two_sum(m, p, uh, &th, &tl);
  val low = add_to_odd(m, tl, ul);
  // Results that become subnormal are rounded by the scaling, so they too are summed to odd.
  val top = normalise(m, m_add(m, th, low), &(val){0});
  val final = LLVMBuildAdd(b, top, e, "");
  val subnormal = LLVMBuildICmp(b, LLVMIntSLT, final, m_int(m, -1022), "");
  val sum = m_select(m, subnormal, add_to_odd(m, th, low), m_add(m, th, low));
  val k = int_clamp(m, e, -2400, 2400), third;
  third = LLVMBuildSDiv(b, k, m_int(m, 3), "");
  val r = scale_exactly(m, sum, third);
  r = scale_exactly(m, r, LLVMBuildSub(b, k, LLVMBuildAdd(b, third, third, ""), ""));
  r = scale_exactly(m, r, third);
  // Zeros, infinities and NaN follow the plain operations.
  val plain = m_add(m, m_mul(m, x, y), z), infinity = m_const(m, __builtin_inf());
  val a = m_abs(m, x), c = m_abs(m, y), d = m_abs(m, z), zero = m_const(m, 0);
  val finite = LLVMBuildAnd(b, m_cmp(m, LLVMRealOLT, a, infinity),
                            m_cmp(m, LLVMRealOLT, c, infinity), "");
  finite = LLVMBuildAnd(b, finite, m_cmp(m, LLVMRealOLT, d, infinity), "");
  val nonzero = LLVMBuildAnd(b, m_cmp(m, LLVMRealONE, x, zero), m_cmp(m, LLVMRealONE, y, zero), "");
  return m_select(m, LLVMBuildAnd(b, finite, nonzero, ""), r, plain);
}

val math_fma(const mathb *m, val x, val y, val z) {
  if (m->fma) return m_mad(m, x, y, z);
  return m->t == DT_f64 ? fma_f64(m, x, y, z) : fma_f32(m, x, y, z);
}
