// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inverse trigonometric functions: asin acos atan atan2.
//
//   asin t = t + t z P(z), z = t^2, |t| <= 1/2;  asin x = pi/2 - 2 asin sqrt((1 - x) / 2) above
//   atan t = t + t z Q(z), |t| <= 1;  angles beyond are what is left to a multiple of pi/2
//
// The multiples of pi/2 are constants in two parts; the low part joins the small term.
#include "codegen/math.h"
#include "codegen/math/coefs.h"

#define POLY(m, stem, x) \
  ((m)->t == DT_f64 ? M_POLY((m), stem##_f64, (x)) : M_POLY((m), stem##_f32, (x)))

static double half_pi_high(const mathb *m) {
  return m->t == DT_f64 ? 0x1.921fb54442d18p0 : 0x1.921fb6p0;
}
static double half_pi_low(const mathb *m) {
  return m->t == DT_f64 ? 0x1.1a62633145c07p-54 : -0x1.777a5cp-25;
}

typedef struct arcsine {
  val t;     // asin t = t + small; t has the sign of x up to 1/2 and is positive beyond
  val small;
  val beyond;  // |x| > 1/2: t = sqrt((1 - |x|) / 2), NaN above 1
} arcsine;

static arcsine arcsine_of(const mathb *m, val x) {
  val magnitude = m_abs(m, x), half = m_const(m, 0.5);
  val beyond = m_cmp(m, LLVMRealOGT, magnitude, half);
  val rest = m_mul(m, m_sub(m, m_const(m, 1), magnitude), half);
  val z = m_select(m, beyond, rest, m_mul(m, x, x));
  val t = m_select(m, beyond, m_sqrt(m, z), x);
  return (arcsine){t, m_mul(m, m_mul(m, t, z), POLY(m, asin, z)), beyond};
}

val math_asin(const mathb *m, val x) {
  arcsine a = arcsine_of(m, x);
  val near = m_add(m, a.t, a.small), low = m_const(m, 0.5 * half_pi_low(m));
  val twice = m_add(m, a.t, m_sub(m, a.small, low));
  val far = m_sub(m, m_const(m, half_pi_high(m)), m_add(m, twice, twice));
  return m_copysign(m, m_select(m, a.beyond, far, near), x);
}

/// pi/2 - asin x up to 1/2; beyond 2 asin t, of negative x pi - 2 asin t.
val math_acos(const mathb *m, val x) {
  arcsine a = arcsine_of(m, x);
  val zero = m_const(m, 0), negative = m_cmp(m, LLVMRealOLT, x, zero);
  val plain = LLVMBuildAnd(m->b, a.beyond, LLVMBuildNot(m->b, negative, ""), "");
  val low = m_select(m, plain, zero, m_const(m, half_pi_low(m)));
  val angle = m_add(m, a.t, m_sub(m, a.small, low));
  angle = m_select(m, plain, angle, m_sub(m, m_const(m, half_pi_high(m)), angle));
  return m_select(m, a.beyond, m_add(m, angle, angle), angle);
}

/// atan x = pi/2 - atan(1/x) beyond 1, then one polynomial.
val math_atan(const mathb *m, val x) {
  val magnitude = m_abs(m, x);
  val beyond = m_cmp(m, LLVMRealOGT, magnitude, m_const(m, 1));
  val t = m_select(m, beyond, m_div(m, m_const(m, -1), magnitude), magnitude);
  val z = m_mul(m, t, t), zero = m_const(m, 0);
  val offset = m_select(m, beyond, m_const(m, half_pi_low(m)), zero);
  val y = m_add(m, t, m_mad(m, m_mul(m, t, z), POLY(m, atan, z), offset));
  val far = m_add(m, m_const(m, half_pi_high(m)), y);
  return m_copysign(m, m_select(m, beyond, far, y), x);
}

/// The smaller of |x|, |y| by the larger; of two zeros 0, of two infinities 1.
static val slope(const mathb *m, val small, val large) {
  val zero = m_const(m, 0);
  val equal = m_select(m, m_cmp(m, LLVMRealOEQ, large, zero), zero, m_const(m, 1));
  val quotient = m_div(m, small, large);
  return m_select(m, m_cmp(m, LLVMRealOEQ, small, large), equal, quotient);
}

/// The angle of (x, y) from the nearest half axis: 0, pi/2 or pi, plus or minus the arctangent of
/// the slope; the sign is that of y. A zero x counts by its sign.
val math_atan2(const mathb *m, val y, val x) {
  LLVMBuilderRef b = m->b;
  val ax = m_abs(m, x), ay = m_abs(m, y), zero = m_const(m, 0);
  val steep = m_cmp(m, LLVMRealOGT, ay, ax);
  val t = slope(m, m_select(m, steep, ax, ay), m_select(m, steep, ay, ax));
  val left = LLVMBuildICmp(b, LLVMIntSLT, m_bits(m, x), m_int(m, 0), "");
  val minus = LLVMBuildXor(b, steep, left, "");
  val z = m_mul(m, t, t);
  t = m_select(m, minus, m_neg(m, t), t);
  double high = half_pi_high(m), low = half_pi_low(m);
  val base = m_select(m, steep, m_const(m, high), m_select(m, left, m_const(m, 2 * high), zero));
  val offset = m_select(m, steep, m_const(m, low), m_select(m, left, m_const(m, 2 * low), zero));
  val angle = m_add(m, t, m_mad(m, m_mul(m, t, z), POLY(m, atan, z), offset));
  return m_copysign(m, m_add(m, base, angle), y);
}
