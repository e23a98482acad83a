// Float functions where a GPU has an instruction for the hard part.
#include "codegen/math.h"

static val intrinsic(const mathb *m, const char *name, val x) {
  return emit_intrinsic(m->e, name, NULL, 0, &x, 1);
}

bool math_nvptx_fits(const mathb *m) {
  return m->e->arch == ARCH_NVPTX && m->t == DT_f32 && m->lanes == 0;
}

/// e^x = 2^h 2^l: h + l = x log2 e to twice the precision; the instruction gives 2^h within 2 ulp,
/// and 2^l is 1 + l ln 2. Arguments are clamped so that h stays finite; -inf gives 0, NaN stays.
val math_nvptx_exp(const mathb *m, val x) {
  const double log2e = 0x1.715476p+0, log2e_low = 0x1.4ae0cp-26;  // the f32 and what it lacks
  x = m_at_most(m, 89, m_at_least(m, -105, x));
  val h = m_mul(m, x, m_const(m, log2e));
  val l = m_mad(m, x, m_const(m, log2e), m_neg(m, h));
  l = m_mad(m, x, m_const(m, log2e_low), l);
  val scale = m_mad(m, l, m_const(m, 0x1.62e43p-1), m_const(m, 1));
  return m_mul(m, intrinsic(m, "llvm.nvvm.ex2.approx.f", h), scale);
}

/// Within 2 ulp over the whole range, in a few instructions (div.full).
val math_nvptx_div(const mathb *m, val n, val d) {
  val q = LLVMBuildFDiv(m->b, n, d, "");
  if (LLVMIsConstant(q)) return q;
  val bound = LLVMConstReal(m->ft, 2);
  LLVMMetadataRef ulps = LLVMValueAsMetadata(bound);
  LLVMMetadataRef list = LLVMMDNodeInContext2(m->e->context, &ulps, 1);
  unsigned kind = LLVMGetMDKindIDInContext(m->e->context, "fpmath", 6);
  LLVMSetMetadata(q, kind, LLVMMetadataAsValue(m->e->context, list));
  return q;
}
