// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Odd functions of f32 by table: no division, no exponential. Needs a lookup of 32 entries in
// registers (vpermi2ps).
//
//   |x| in interval i = 4 * exponent + the top two bits of the significand, counted from the first
//   f(|x|) = c0[i] + c1[i] r + ... + c5[i] r^5,   r = |x| - centre[i]
#include "codegen/math.h"
#include "codegen/math/tables.h"

const odd_table math_tanh_table = {tanh_table, -19, 9.75};
const odd_table math_erf_table = {erf_table, -24, 0x1.fffffep1};

/// NaN keeps through the clamp and the polynomial, whatever row it picks.
val math_odd_by_table(const mathb *m, val x, const odd_table *table) {
  enum { DEGREE = 5, INTERVALS = 32, STRIDE = 7 };
  LLVMTypeRef it = m->it;
  val a = m_at_most(m, table->most, m_abs(m, x));
  val quarter = LLVMBuildLShr(m->b, m_bits(m, a), m_int(m, m->mantissa - 2), "");
  val index = LLVMBuildSub(m->b, quarter, m_int(m, 4 * m->bias + table->first), "");
  index = emit_intrinsic(m->e, "llvm.smax", &it, 1, (val[]){index, m_int(m, 0)}, 2);
  const double *row = table->rows[0];
  val r = m_sub(m, a, x86_lookup(m, row, STRIDE, INTERVALS, index));
  val p = x86_lookup(m, row + 1 + DEGREE, STRIDE, INTERVALS, index);
  for (int k = DEGREE - 1; k >= 0; k--)
    p = m_mad(m, p, r, x86_lookup(m, row + 1 + k, STRIDE, INTERVALS, index));
  return m_copysign(m, p, x);
}
