// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// floor, ceil, round (ties to even) and trunc: an instruction where there is one, else (x86 before
// SSE4.1) by adding and subtracting 2^mantissa, which LLVM would otherwise leave to a library.
#include "base/fault.h"
#include "codegen/math.h"

static bool has_instruction(const emit *e) { return e->arch != ARCH_X86 || e->avx2 || e->avx512; }

val math_floor_like(const mathb *m, op o, val x) {
  LLVMTypeRef type = m->ft;
  const char *name = o == OP_floor   ? "llvm.floor"
                     : o == OP_ceil  ? "llvm.ceil"
                     : o == OP_round ? "llvm.roundeven"
                                     : "llvm.trunc";
  if (has_instruction(m->e)) return emit_intrinsic(m->e, name, &type, 1, &x, 1);
  double unit = m->t == DT_f64 ? 0x1p52 : 0x1p23;  // from here on all values are integers
  val a = m_abs(m, x), one = m_const(m, 1), limit = m_const(m, unit);
  val y = m_copysign(m, m_sub(m, m_add(m, a, limit), limit), x);
  val up = m_add(m, y, one), down = m_sub(m, y, one);
  val above = m_cmp(m, LLVMRealOGT, y, x), below = m_cmp(m, LLVMRealOLT, y, x);
  val negative = m_cmp(m, LLVMRealOLT, x, m_const(m, 0));
  switch (o) {
    case OP_floor: y = m_select(m, above, down, y); break;
    case OP_ceil: y = m_select(m, below, up, y); break;
    case OP_round: break;
    case OP_trunc:
      y = m_select(m, negative, m_select(m, below, up, y), m_select(m, above, down, y));
      break;
    default: panic("%s is not a rounding", op_get(o)->name);
  }
  y = m_copysign(m, y, x);  // ceil(-0.5) is -0
  return m_select(m, m_cmp(m, LLVMRealOLT, a, limit), y, x);
}
