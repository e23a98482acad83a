// The error function.
//
//   |x| <= 1   x + x P(x^2)
//   |x| >  1   1 - exp(Q(|x| - 1)), Q fitted to log(1 - erf): its error is scaled by 1 - erf < 0.16
//   from 4 (f32), 6 (f64) on it is 1 in the type.
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
