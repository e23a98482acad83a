// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Exponentials, and the functions made of them: exp exp2 expm1 sigmoid tanh sinh cosh.
//
//   e^x = 2^k e^r    k = round(x / ln 2), r = x - k ln 2 in two steps (Cody and Waite), |r| <= 0.35
//
// The upper part of ln 2 is short enough for k * upper to be exact without a fused multiply-add.
// Arguments are clamped just past the thresholds of overflow and underflow; the last scaling then
// produces infinities, subnormals and zeros by itself.
#include "codegen/math.h"
#include "codegen/math/coefs.h"

#define POLY(m, stem, x) \
  ((m)->t == DT_f64 ? M_POLY((m), stem##_f64, (x)) : M_POLY((m), stem##_f32, (x)))

typedef struct reduced {
  val r;      // x - k ln 2
  val k, kf;  // as integer and as float
} reduced;

static reduced reduce(const mathb *m, val x) {
  bool is_double = m->t == DT_f64;
  reduced out;
  out.kf = m_round_product(m, x, 0x1.71547652b82fep0, &out.k);
  double high = is_double ? 0x1.62e42fee00000p-1 : 0x1.62e4p-1;  // 33, 15 bits
  double low = is_double ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cp-20;
  val r = m_mad(m, out.kf, m_const(m, -high), x);
  out.r = m_mad(m, out.kf, m_const(m, -low), r);
  return out;
}

/// NaN stays NaN; the bounds are where e^x is certainly infinite, zero.
static val clamp(const mathb *m, val x, double low, double high) {
  return m_at_most(m, high, m_at_least(m, low, x));
}

/// Where e^x is certainly 0. A multiplication that underflows costs a hundred cycles on x86, and
/// masked softmax is full of exp(-inf). So arguments below do not underflow: vscalefps is quick
/// again for exponents far below the subnormals (measured: beyond -600, -4200 for f64), and the
/// two factors of the portable form multiply a 0.
static double certain_zero(const mathb *m) { return m->t == DT_f64 ? -746 : -104; }

static val exp_reduced(const mathb *m, val x, const reduced *a, val r) {
  val p = POLY(m, exp, r);
  if (!m->wide) {
    val zero = m_cmp(m, LLVMRealOLE, x, m_const(m, certain_zero(m)));
    p = m_select(m, zero, m_const(m, 0), p);
  }
  return m_scale(m, p, a->k, a->kf);
}

static reduced reduce_clamped(const mathb *m, val x) {
  bool is_double = m->t == DT_f64;
  double low = !m->wide ? certain_zero(m) : is_double ? -20000 : -700;
  return reduce(m, clamp(m, x, low, is_double ? 710 : 89));
}

val math_exp(const mathb *m, val x) {
  if (math_nvptx_fits(m)) return math_nvptx_exp(m, x);
  reduced a = reduce_clamped(m, x);
  return exp_reduced(m, x, &a, a.r);
}

/// e^(x + low) where low is below an ulp of x.
val math_exp_sum(const mathb *m, val x, val low) {
  reduced a = reduce_clamped(m, x);
  return exp_reduced(m, x, &a, m_add(m, a.r, low));
}

val math_exp2(const mathb *m, val x) {
  if (math_nvptx_fits(m) && m->e->coarse) return math_nvptx_exp2(m, x);
  bool is_double = m->t == DT_f64;
  x = clamp(m, x, is_double ? -1076 : -151, is_double ? 1025 : 129);
  val k, kf = m_round_product(m, x, 1, &k);
  return m_scale(m, POLY(m, exp2, m_sub(m, x, kf)), k, kf);
}

/// e^x - 1 = 2^k (e^r - 1) + (2^k - 1). Up to 1/2, where that sum would cancel, k is taken as 0;
/// half of it is computed because 2^k may overflow where the result does not.
val math_expm1(const mathb *m, val x) {
  bool is_double = m->t == DT_f64;
  val near = m_cmp(m, LLVMRealOLT, m_abs(m, x), m_const(m, 0.5));
  reduced a = reduce(m, clamp(m, x, is_double ? -40 : -20, is_double ? 710 : 89));
  val r = m_select(m, near, x, a.r);
  val p = m_mad(m, POLY(m, expm1, r), m_mul(m, r, r), r);
  val one_less = LLVMBuildSub(m->b, a.k, m_int(m, 1), "");
  val biased = LLVMBuildAdd(m->b, one_less, m_int(m, m->bias), "");
  val half_scale = m_from_bits(m, LLVMBuildShl(m->b, biased, m_int(m, m->mantissa), ""));
  val half = m_mad(m, half_scale, p, m_sub(m, half_scale, m_const(m, 0.5)));
  return m_copysign(m, m_select(m, near, p, m_add(m, half, half)), x);  // keeps -0
}

/// The quotient n / d for 1 <= d <= 2.
static val divide_near_one(const mathb *m, val n, val d) {
  if (math_nvptx_fits(m)) return math_nvptx_quotient(m, n, d);
  if (!m->wide || m->t != DT_f32) return m_div(m, n, d);
  val r = x86_rcp14(m, d), minus = m_neg(m, d);
  r = m_mad(m, m_mad(m, minus, r, m_const(m, 1)), r, r);
  val q = m_mul(m, n, r);
  return m_mad(m, m_mad(m, minus, q, n), r, q);
}

/// With e = exp(-|x|), which never overflows: 1 / (1 + e) for x >= 0, else e / (1 + e).
val math_sigmoid(const mathb *m, val x) {
  val e = math_exp(m, m_neg(m, m_abs(m, x)));
  val one = m_const(m, 1);
  val negative = m_cmp(m, LLVMRealOLT, x, m_const(m, 0));
  return divide_near_one(m, m_select(m, negative, e, one), m_add(m, one, e));
}

/// Near zero a polynomial; further out 1 - 2 / (e^2|x| + 1), where the errors of e^2|x| fade.
static val portable_tanh(const mathb *m, val x) {
  val one = m_const(m, 1), magnitude = m_abs(m, x), square = m_mul(m, x, x);
  val near = m_mad(m, m_mul(m, POLY(m, tanh, square), square), magnitude, magnitude);
  val a = m_at_most(m, m->t == DT_f64 ? 22 : 10, magnitude);
  val sum = m_add(m, math_exp(m, m_add(m, a, a)), one);
  val two = m_const(m, 2);
  val ratio = math_nvptx_fits(m) ? math_nvptx_quotient(m, two, sum) : m_div(m, two, sum);
  val far = m_sub(m, one, ratio);
  val is_near = m_cmp(m, LLVMRealOLT, magnitude, m_const(m, 0.625));
  return m_copysign(m, m_select(m, is_near, near, far), x);
}

val math_tanh(const mathb *m, val x) {
  if (m->t == DT_f32 && x86_can_lookup(m)) return math_odd_by_table(m, x, &math_tanh_table);
  return portable_tanh(m, x);
}

/// e^x / 2 of x >= 0, which is finite for some x where e^x is not.
static val half_exp(const mathb *m, val x) {
  reduced a = reduce(m, m_at_most(m, m->t == DT_f64 ? 712 : 91, x));
  val k = LLVMBuildSub(m->b, a.k, m_int(m, 1), "");
  return m_scale(m, POLY(m, exp, a.r), k, m_sub(m, a.kf, m_const(m, 1)));
}

/// Near zero a polynomial, as the difference of e^x / 2 and e^-x / 2 would cancel.
val math_sinh(const mathb *m, val x) {
  val magnitude = m_abs(m, x), square = m_mul(m, x, x);
  val near = m_mad(m, m_mul(m, POLY(m, sinh, square), square), magnitude, magnitude);
  val half = half_exp(m, magnitude);
  val far = m_sub(m, half, m_div(m, m_const(m, 0.25), half));
  val is_near = m_cmp(m, LLVMRealOLT, magnitude, m_const(m, 1));
  return m_copysign(m, m_select(m, is_near, near, far), x);
}

val math_cosh(const mathb *m, val x) {
  val half = half_exp(m, m_abs(m, x));
  return m_add(m, half, m_div(m, m_const(m, 0.25), half));
}
