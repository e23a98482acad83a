// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// pow with the special cases of C: x^y = 2^(y log2 x) with the product known to more digits than
// the result has.
//
//   f32   log2 |x| and the product in f64, its fraction back in f32 for the last step
//   f64   log |x| and the product in two parts each (about 2^-65), then exp of both parts
#include "codegen/math.h"
#include "codegen/math/coefs.h"

/// Zero, infinity and NaN have logarithms that the split cannot give.
static val special_log(const mathb *wide, val x, val y) {
  val infinity = m_const(wide, __builtin_inf());
  y = m_select(wide, m_cmp(wide, LLVMRealOEQ, x, m_const(wide, 0)), m_neg(wide, infinity), y);
  y = m_select(wide, m_cmp(wide, LLVMRealOEQ, x, infinity), infinity, y);
  return m_select(wide, m_is_nan(wide, x), x, y);
}

static val magnitude_f32(const mathb *m, val x, val y) {
  mathb d = math_builder(m->e, DT_f64, m->lanes);
  val e, f, k;
  math_split_exponent(m, x, &e, &f);
  val fraction = LLVMBuildFPExt(m->b, f, d.ft, "");
  val whole = LLVMBuildFPExt(m->b, e, d.ft, "");
  val log = m_mad(&d, fraction, M_POLY(&d, pow_log2_f32, fraction), whole);
  if (!m->wide) log = special_log(&d, LLVMBuildFPExt(m->b, x, d.ft, ""), log);
  val t = m_mul(&d, log, LLVMBuildFPExt(m->b, y, d.ft, ""));
  t = m_at_most(&d, 129, m_at_least(&d, -151, t));
  val kf = m_round_product(&d, t, 1, &k);
  val r = LLVMBuildFPTrunc(m->b, m_sub(&d, t, kf), m->ft, "");
  k = LLVMBuildTrunc(m->b, k, m->it, "");
  val k_float = m->wide ? LLVMBuildSIToFP(m->b, k, m->ft, "") : NULL;
  return m_scale(m, M_POLY(m, exp2_f32, r), k, k_float);
}

/// log(1 + f) = 2 s + s^3 (2/3 + s^2 Q(s^2)), s = f / (2 + f), in two parts.
static void log_near_one(const mathb *m, val f, val *s2_high, val *s2_low, val *rest_high,
                         val *rest_low) {
  val two = m_const(m, 2), dh, dl, sh, sl, zh, zl, uh, ul, wh, wl, th, tl;
  m_fast_two_sum(m, two, f, &dh, &dl);
  val inverse = m_div(m, m_const(m, 1), dh);
  sh = m_mul(m, f, inverse);
  sl = m_mul(m, m_sub(m, m_residual(m, sh, dh, f), m_mul(m, sh, dl)), inverse);
  m_two_prod(m, sh, sh, &zh, &zl);
  zl = m_mad(m, m_mul(m, sh, sl), two, zl);
  val tail = m_mul(m, zh, M_POLY(m, pow_log_f64, zh));
  m_fast_two_sum(m, m_const(m, 0x1.5555555555555p-1), tail, &uh, &ul);
  ul = m_add(m, ul, m_const(m, 0x1.5555555555555p-55));
  m_two_prod(m, zh, uh, &wh, &wl);
  wl = m_add(m, wl, m_mad(m, zh, ul, m_mul(m, zl, uh)));
  m_two_prod(m, sh, wh, &th, &tl);
  tl = m_add(m, tl, m_mad(m, sh, wl, m_mul(m, sl, wh)));
  *s2_high = m_mul(m, sh, two);
  *s2_low = m_mul(m, sl, two);
  *rest_high = th;
  *rest_low = tl;
}

static val magnitude_f64(const mathb *m, val x, val y) {
  val e, f, sh, sl, th, tl, a, b, c, lh, ll, ph, pl;
  math_split_exponent(m, x, &e, &f);
  log_near_one(m, f, &sh, &sl, &th, &tl);
  m_two_sum(m, m_mul(m, e, m_const(m, 0x1.62e42fee00000p-1)), sh, &a, &b);
  m_two_sum(m, a, th, &a, &c);
  val low = m_add(m, m_add(m, sl, tl), m_add(m, b, c));
  m_two_sum(m, a, m_mul(m, e, m_const(m, 0x1.a39ef35793c76p-33)), &a, &b);
  low = m_add(m, low, m_mad(m, e, m_const(m, 0x1.9ff0342542fc3p-89), b));
  m_fast_two_sum(m, a, low, &lh, &ll);
  lh = special_log(m, x, lh);
  m_two_prod(m, y, lh, &ph, &pl);
  pl = m_mad(m, y, ll, pl);
  val inside = m_cmp(m, LLVMRealOLT, m_abs(m, ph), m_const(m, 800));
  return math_exp_sum(m, ph, m_select(m, inside, pl, m_const(m, 0)));
}

/// Whether y is an integer, and whether an odd one; all large values are even.
static void classify(const mathb *m, val y, val *is_integer, val *is_odd) {
  val half = m_mul(m, y, m_const(m, 0.5));
  val even = m_cmp(m, LLVMRealOEQ, math_floor_like(m, OP_floor, half), half);
  *is_integer = m_cmp(m, LLVMRealOEQ, math_floor_like(m, OP_floor, y), y);
  *is_odd = LLVMBuildAnd(m->b, *is_integer, LLVMBuildNot(m->b, even, ""), "");
}

val math_pow(const mathb *m, val x, val y) {
  LLVMBuilderRef b = m->b;
  val a = m_abs(m, x), one = m_const(m, 1), zero = m_const(m, 0), is_integer, is_odd;
  val r = m->t == DT_f64 ? magnitude_f64(m, a, y) : magnitude_f32(m, a, y);
  classify(m, y, &is_integer, &is_odd);
  // |x| = 1 has the power 1 for infinite y too, where the product was 0 * infinity.
  val unit = LLVMBuildAnd(b, m_cmp(m, LLVMRealOEQ, a, one), m_cmp(m, LLVMRealORD, y, y), "");
  r = m_select(m, unit, one, r);
  val sign = LLVMBuildAnd(b, m_bits(m, x), m_bits(m, m_const(m, -0.0)), "");
  val signed_r = m_from_bits(m, LLVMBuildXor(b, m_bits(m, r), sign, ""));
  r = m_select(m, is_odd, signed_r, r);
  val negative = LLVMBuildAnd(b, m_cmp(m, LLVMRealOLT, x, zero),
                              m_cmp(m, LLVMRealOGT, a, zero), "");
  val undefined = LLVMBuildAnd(b, negative, LLVMBuildNot(b, is_integer, ""), "");
  undefined = LLVMBuildAnd(b, undefined, m_cmp(m, LLVMRealONE, a, m_const(m, __builtin_inf())), "");
  r = m_select(m, undefined, m_const(m, __builtin_nan("")), r);
  val trivial = LLVMBuildOr(b, m_cmp(m, LLVMRealOEQ, x, one), m_cmp(m, LLVMRealOEQ, y, zero), "");
  return m_select(m, trivial, one, r);
}
