// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The error function and its complement.
//
//   |x| <= 1   x + x P(x^2)
//   |x| >  1   1 - exp(Q(|x| - 1)), Q fitted to log(1 - erf): its error is scaled by 1 - erf < 0.16
//   from 4 (f32), 6 (f64) on it is 1 in the type.
//
//   x <= 15/32  erfc x = 1 - erf x
//   x >  15/32  exp(-x^2) R / (1 + 2 x), R a polynomial in (x - c) / (x + c)
#include "codegen/math.h"
#include "codegen/math/coefs.h"

#define POLY(m, stem, x) \
  ((m)->t == DT_f64 ? M_POLY((m), stem##_f64, (x)) : M_POLY((m), stem##_f32, (x)))

static val portable_erf(const mathb *m, val x) {
  bool is_double = m->t == DT_f64;
  val one = m_const(m, 1), magnitude = m_abs(m, x);
  val square = m_mul(m, x, x);
  val near = m_mad(m, POLY(m, erf, square), magnitude, magnitude);
  val u = m_sub(m, m_at_most(m, is_double ? 6 : 4, magnitude), one);
  val far = m_sub(m, one, math_exp(m, POLY(m, erfc, u)));
  val is_near = m_cmp(m, LLVMRealOLT, magnitude, one);
  return m_copysign(m, m_select(m, is_near, near, far), x);
}

val math_erf(const mathb *m, val x) {
  if (m->t == DT_f32 && x86_can_lookup(m)) return math_odd_by_table(m, x, &math_erf_table);
  return portable_erf(m, x);
}

/// erfc of x >= 15/32. The square is exact in two parts: a rounding of it would be one of the
/// exponential's argument, hundreds of ulps in the tail. Clamped where the result is 0.
static val erfc_tail(const mathb *m, val x) {
  bool is_double = m->t == DT_f64;
  x = m_at_most(m, is_double ? 27.3 : 10.1, x);
  val c = m_const(m, is_double ? 4 : 2), high, low;
  val q = m_div(m, m_sub(m, x, c), m_add(m, x, c));
  m_two_prod(m, x, x, &high, &low);
  val e = math_exp_sum(m, m_neg(m, high), m_neg(m, low));
  val divisor = m_add(m, m_add(m, x, x), m_const(m, 1));
  return m_div(m, m_mul(m, e, POLY(m, erfc_far, q)), divisor);
}

val math_erfc(const mathb *m, val x) {
  val limit = m_const(m, 15.0 / 32), one = m_const(m, 1), magnitude = m_abs(m, x);
  val small = m_mad(m, POLY(m, erf, m_mul(m, x, x)), x, x);
  val far = erfc_tail(m, magnitude);
  val negative = m_cmp(m, LLVMRealOLT, x, m_const(m, 0));
  far = m_select(m, negative, m_sub(m, m_const(m, 2), far), far);
  val is_near = m_cmp(m, LLVMRealOLT, magnitude, limit);
  return m_select(m, is_near, m_sub(m, one, small), far);
}
