// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Float functions where a GPU has an instruction for the hard part.
#include <math.h>

#include "codegen/math.h"

static val intrinsic(const mathb *m, const char *name, val x) {
  LLVMTypeRef type = LLVMTypeOf(x);
  return emit_intrinsic(m->e, name, &type, 1, &x, 1);
}

bool math_nvptx_fits(const mathb *m) {
  return m->e->arch == ARCH_NVPTX && m->t == DT_f32 && m->lanes == 0;
}

/// e^x = 2^h 2^l: h + l = x log2 e to twice the precision; the instruction gives 2^h within 2 ulp,
/// and 2^l is 1 + l ln 2. Arguments are clamped so that h stays finite; -inf gives 0, NaN stays.
val math_nvptx_exp(const mathb *m, val x) {
  const double log2e = 0x1.715476p+0, log2e_low = 0x1.4ae0cp-26;  // the f32 and what it lacks
  LLVMTypeRef type = LLVMTypeOf(x);
  if (m->e->coarse)
    return intrinsic(m, "llvm.nvvm.ex2.approx.ftz", m_mul(m, x, m_const(m, log2e)));
  x = emit_intrinsic(m->e, "llvm.maximum", &type, 1, (val[]){x, m_const(m, -105)}, 2);
  x = emit_intrinsic(m->e, "llvm.minimum", &type, 1, (val[]){x, m_const(m, 89)}, 2);
  val h = m_mul(m, x, m_const(m, log2e));
  val l = m_mad(m, x, m_const(m, log2e), m_neg(m, h));
  l = m_mad(m, x, m_const(m, log2e_low), l);
  val scale = m_mad(m, l, m_const(m, 0x1.62e43p-1), m_const(m, 1));
  return m_mul(m, intrinsic(m, "llvm.nvvm.ex2.approx", h), scale);
}

/// The instruction as it is: 2 ulp, 0 below 2^-126.
val math_nvptx_exp2(const mathb *m, val x) { return intrinsic(m, "llvm.nvvm.ex2.approx.ftz", x); }

/// n / d, within 2 ulp for d from 1 to 2^100.
val math_nvptx_quotient(const mathb *m, val n, val d) {
  return m_mul(m, n, emit_intrinsic(m->e, "llvm.nvvm.rcp.approx.ftz.f", NULL, 0, &d, 1));
}

bool math_nvptx_divides_by(double d) {
  int exponent;
  double size = d < 0 ? -d : d;
  // Below 1 a step on the way could overflow where the quotient does not.
  return size >= 1 && size <= 0x1p60 && (double)(float)d == d && frexp(size, &exponent) != 0.5;
}

/// x / d rounded to the nearest: a quotient within an ulp, with both parts of 1 / d, and its exact
/// remainder times 1 / d (Markstein, IBM J. Res. Dev. 34, 1990; Brisebarre, Muller, Raina, IEEE Trans.
/// Comput. 53, 2004). Where |x| < 2^-100 the remainder may not be exact.
val math_nvptx_div_by(const mathb *m, val x, double d) {
  double nearest = (float)(1 / d), high = nearest;
  if (fabs(high) > fabs(1 / d)) high = nextafterf((float)high, 0);
  double low = (float)(1 / d - high);  // of the same sign, so that -0 stays -0
  val q = m_mad(m, x, m_const(m, high), m_mul(m, x, m_const(m, low)));
  val excess = m_mad(m, q, m_const(m, d), m_neg(m, x));
  q = m_mad(m, m_neg(m, excess), m_const(m, nearest), q);
  val finite = m_cmp(m, LLVMRealOLT, m_abs(m, x), m_const(m, INFINITY));
  return m_select(m, finite, q, d < 0 ? m_neg(m, x) : x);
}

/// Within 2 ulp over the whole range, in a few instructions (div.full).
val math_nvptx_div(const mathb *m, val n, val d) {
  return emit_intrinsic(m->e, "llvm.nvvm.div.full", NULL, 0, (val[]){n, d}, 2);
}
