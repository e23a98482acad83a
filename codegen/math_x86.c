// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// AVX-512 instructions with no portable form, on whole registers (512 bits) or halves (256).
#include <stdio.h>

#include "base/fault.h"
#include "codegen/math.h"

static bool is_512(const mathb *m) { return m->lanes * (m->t == DT_f64 ? 64 : 32) == 512; }

/// The all-ones write mask: one bit per lane, in at least 8 bits.
static val full_mask(const mathb *m) {
  return LLVMConstAllOnes(m->lanes == 16 ? m->e->i16 : m->e->i8);
}

/// llvm.x86.avx512.<stem>.{ps,pd}.{256,512}(args..., mask[, rounding: current])
static val call(const mathb *m, const char *stem, val *args, int nargs, bool rounding) {
  char name[96];
  snprintf(name, sizeof name, "llvm.x86.avx512.%s.%s.%d", stem, m->t == DT_f64 ? "pd" : "ps",
           is_512(m) ? 512 : 256);
  args[nargs++] = full_mask(m);
  if (rounding && is_512(m)) args[nargs++] = LLVMConstInt(m->e->i32, 4, false);
  return emit_intrinsic(m->e, name, NULL, 0, args, nargs);
}

val x86_scalef(const mathb *m, val x, val k) {
  return call(m, "mask.scalef", (val[5]){x, k, x}, 3, true);
}

val x86_getmant(const mathb *m, val x) {
  enum { INTERVAL_3_4 = 3, SIGN_OF_SOURCE = 0 };
  val control = LLVMConstInt(m->e->i32, INTERVAL_3_4 | SIGN_OF_SOURCE << 2, false);
  return call(m, "mask.getmant", (val[5]){x, control, x}, 3, true);
}

val x86_getexp(const mathb *m, val x) { return call(m, "mask.getexp", (val[4]){x, x}, 2, true); }

/// A table of responses, 4 bits for each class of x: quiet NaN, signalling NaN, zero, +1, -inf,
/// +inf, negative, positive.
val x86_fix_log(const mathb *m, val x, val y) {
  enum { KEEP = 0, QUIET = 2, INVALID = 3, MINUS_INF = 4, PLUS_INF = 5 };
  const int response[8] = {QUIET, QUIET, MINUS_INF, KEEP, INVALID, PLUS_INF, INVALID, KEEP};
  int64_t table = 0;
  for (int k = 0; k < 8; k++) table |= (int64_t)response[k] << 4 * k;
  val flags = LLVMConstInt(m->e->i32, 0, false);
  return call(m, "mask.fixupimm", (val[6]){y, x, m_int(m, table), flags}, 4, true);
}

val x86_rsqrt14(const mathb *m, val x) {
  return call(m, "rsqrt14", (val[3]){x, x}, 2, false);
}

val x86_rcp14(const mathb *m, val x) { return call(m, "rcp14", (val[3]){x, x}, 2, false); }

static val constants(const mathb *m, const double *table, int stride, int first, int n) {
  val entries[16];
  for (int k = 0; k < m->lanes; k++)
    entries[k] = LLVMConstReal(m->t == DT_f64 ? m->e->f64 : m->e->f32,
                               first + k < n ? table[(first + k) * stride] : 0);
  return LLVMConstVector(entries, (unsigned)m->lanes);
}

/// table[index] from one register of constants, or from two: index counts modulo the lanes, or
/// twice the lanes.
static val permute(const mathb *m, const double *table, int stride, int first, int n, val index) {
  val low = constants(m, table, stride, first, n);
  bool is_double = m->t == DT_f64;
  if (n - first <= m->lanes)
    return emit_intrinsic(m->e,
                          is_double ? "llvm.x86.avx512.permvar.df.512"
                                    : "llvm.x86.avx512.permvar.sf.512",
                          NULL, 0, (val[]){low, index}, 2);
  val high = constants(m, table, stride, first + m->lanes, n);
  return emit_intrinsic(m->e,
                        is_double ? "llvm.x86.avx512.vpermi2var.pd.512"
                                  : "llvm.x86.avx512.vpermi2var.ps.512",
                        NULL, 0, (val[]){low, index, high}, 3);
}

bool x86_can_lookup(const mathb *m) { return m->wide && is_512(m); }

val x86_lookup(const mathb *m, const double *table, int stride, int n, val index) {
  int two = 2 * m->lanes;
  check(x86_can_lookup(m) && n <= 2 * two);
  val low = permute(m, table, stride, 0, n, index);
  if (n <= two) return low;
  val bit = LLVMBuildAnd(m->b, index, m_int(m, two), "");
  val upper = LLVMBuildICmp(m->b, LLVMIntNE, bit, m_int(m, 0), "");
  return m_select(m, upper, permute(m, table, stride, two, n, index), low);
}
