// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Logarithms: log log2 log10 log1p.
//
//   x = 2^e m, m in [0.75, 1.5), f = m - 1 exactly;  log x = e ln 2 + f - f^2/2 + f^3 P(f)
#include "codegen/math.h"
#include "codegen/math/coefs.h"

#define POLY(m, stem, x) \
  ((m)->t == DT_f64 ? M_POLY((m), stem##_f64, (x)) : M_POLY((m), stem##_f32, (x)))

typedef struct parts {
  val e;  // as float
  val f;
} parts;

/// Any x that is not special; subnormals are scaled up first. Adding the distance of 0.75 from 1
/// to the encoding puts the carry into the exponent where the significand passes 1.5.
static parts portable_parts(const mathb *m, val x, val *scale) {
  LLVMBuilderRef b = m->b;
  bool is_double = m->t == DT_f64;
  val tiny = m_cmp(m, LLVMRealOLT, x, m_const(m, is_double ? 0x1p-1022 : 0x1p-126));
  double up = is_double ? 0x1p54 : 0x1p25;
  val bits = m_bits(m, m_select(m, tiny, m_mul(m, x, m_const(m, up)), x));
  int64_t base = is_double ? 0x3fe8000000000000 : 0x3f400000;  // 0.75
  val above = LLVMBuildSub(b, bits, m_int(m, base), "");
  val e = LLVMBuildAShr(b, above, m_int(m, m->mantissa), "");
  val shifted = LLVMBuildShl(b, e, m_int(m, m->mantissa), "");
  val significand = m_from_bits(m, LLVMBuildSub(b, bits, shifted, ""));
  val lift = m_select(m, tiny, m_int(m, is_double ? 54 : 25), m_int(m, 0));
  e = LLVMBuildSub(b, e, lift, "");
  if (scale) {  // 2^-e, but for tiny x, and for the last exponent, where twice that
    val biased = LLVMBuildSub(b, m_int(m, m->bias), e, "");
    val positive = LLVMBuildICmp(b, LLVMIntSGT, biased, m_int(m, 0), "");
    biased = m_select(m, positive, biased, m_int(m, 1));
    *scale = m_from_bits(m, LLVMBuildShl(b, biased, m_int(m, m->mantissa), ""));
  }
  val small = is_double ? LLVMBuildTrunc(b, e, emit_vec(m->e->i32, m->lanes), "") : e;
  return (parts){LLVMBuildSIToFP(b, small, m->ft, ""), m_sub(m, significand, m_const(m, 1))};
}

static parts split_parts(const mathb *m, val x) {
  if (!m->wide) return portable_parts(m, x, NULL);
  val significand = x86_getmant(m, x), e = x86_getexp(m, x), one = m_const(m, 1);
  val below = m_cmp(m, LLVMRealOLT, significand, one);  // it was halved
  return (parts){m_select(m, below, m_add(m, e, one), e), m_sub(m, significand, one)};
}

void math_split_exponent(const mathb *m, val x, val *e, val *f) {
  parts a = split_parts(m, x);
  *e = a.e;
  *f = a.f;
}

static val special_values(const mathb *m, val x, val y) {
  if (m->wide) return x86_fix_log(m, x, y);
  val zero = m_const(m, 0), infinity = m_const(m, __builtin_inf());
  y = m_select(m, m_cmp(m, LLVMRealOGE, x, zero), y, m_const(m, __builtin_nan("")));
  y = m_select(m, m_cmp(m, LLVMRealOEQ, x, zero), m_neg(m, infinity), y);
  return m_select(m, m_cmp(m, LLVMRealOEQ, x, infinity), infinity, y);
}

/// e ln 2 + log(1 + f) (1 + c / (1 + f)): ln 2 in two parts, the small terms summed first.
static val log_sum(const mathb *m, parts a) {
  bool is_double = m->t == DT_f64;
  double high = is_double ? 0x1.62e42fee00000p-1 : 0x1.62e4p-1;
  double low = is_double ? 0x1.a39ef35793c76p-33 : 0x1.7f7d1cp-20;
  val tail = m_mad(m, POLY(m, log, a.f), a.f, m_const(m, -0.5));
  val square = m_mul(m, a.f, a.f);
  val small = m_mad(m, a.e, m_const(m, low), m_mul(m, tail, square));
  return m_mad(m, a.e, m_const(m, high), m_add(m, a.f, small));
}

val math_log(const mathb *m, val x) { return special_values(m, x, log_sum(m, split_parts(m, x))); }

/// e + f + f Q(f), where e + f is kept in two parts: near x = 3/4 it cancels.
val math_log2(const mathb *m, val x) {
  parts a = split_parts(m, x);
  val high, low;
  m_two_sum(m, a.e, a.f, &high, &low);
  val y = m_add(m, high, m_mad(m, POLY(m, log2, a.f), a.f, low));
  return special_values(m, x, y);
}

/// e log10 2 + f / ln 10 + tail / ln 10: the leading terms in two parts each, as they cancel near
/// x = 3/4; the upper part of log10 2 is short, so that its product is exact.
val math_log10(const mathb *m, val x) {
  bool is_double = m->t == DT_f64;
  parts a = split_parts(m, x);
  val two_high = m_const(m, is_double ? 0x1.34413509f8000p-2 : 0x1.344p-2);
  val two_low = m_const(m, is_double ? -0x1.80433b83b532ap-44 : 0x1.3509f8p-18);
  val ten_high = m_const(m, is_double ? 0x1.bcb7b1526e50ep-2 : 0x1.bcb7b2p-2);
  val ten_low = m_const(m, is_double ? 0x1.95355baaafad3p-57 : -0x1.5b235ep-27);
  val linear, linear_low, high, low;
  m_two_prod(m, a.f, ten_high, &linear, &linear_low);
  m_two_sum(m, m_mul(m, a.e, two_high), linear, &high, &low);
  val tail = m_mad(m, POLY(m, log, a.f), a.f, m_const(m, -0.5));
  val square = m_mul(m, a.f, a.f);
  val small = m_mad(m, a.e, two_low, m_mul(m, m_mul(m, tail, square), ten_high));
  low = m_add(m, low, m_mad(m, a.f, ten_low, linear_low));
  return special_values(m, x, m_add(m, high, m_add(m, low, small)));
}

/// log(1 + x): u = 1 + x rounded to 2^e (1 + f), and what the rounding lost, scaled, is added to f.
val math_log1p(const mathb *m, val x) {
  val one = m_const(m, 1), u = m_add(m, one, x), high, lost, scale;
  m_two_sum(m, one, x, &high, &lost);
  parts a;
  if (m->wide) {
    a = split_parts(m, u);
    lost = x86_scalef(m, lost, m_neg(m, a.e));
  } else {
    a = portable_parts(m, u, &scale);
    lost = m_mul(m, lost, scale);
  }
  a.f = m_add(m, a.f, lost);
  val y = special_values(m, u, log_sum(m, a));
  return m_select(m, m_cmp(m, LLVMRealOEQ, x, m_const(m, 0)), x, y);  // keeps -0
}
