// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The arithmetic that inline functions are written in, their dispatch by op, and their bounds.
#include "codegen/math.h"

#include "base/fault.h"
#include "ir/tile.h"

mathb math_builder(emit *e, dtype t, int lanes) {
  check(t == DT_f32 || t == DT_f64);
  bool is_double = t == DT_f64;
  mathb m = {.e = e, .b = e->builder, .t = t, .lanes = lanes};
  m.ft = emit_type(e, t, lanes);
  m.it = emit_vec(is_double ? e->i64 : e->i32, lanes);
  m.bt = emit_vec(e->i1, lanes);
  m.fma = e->arch != ARCH_X86 || e->avx2 || e->avx512;
  int bits = lanes * (is_double ? 64 : 32);
  bool wide = bits == 512 || bits == 256;
  m.wide = e->arch == ARCH_X86 && e->avx512 && wide && !e->deterministic;
  m.mantissa = is_double ? 52 : 23;
  m.bias = is_double ? 1023 : 127;
  return m;
}

val m_const(const mathb *m, double v) { return emit_float(m->ft, v); }
val m_int(const mathb *m, int64_t v) { return emit_int(m->it, v); }
val m_add(const mathb *m, val x, val y) { return LLVMBuildFAdd(m->b, x, y, ""); }
val m_sub(const mathb *m, val x, val y) { return LLVMBuildFSub(m->b, x, y, ""); }
val m_mul(const mathb *m, val x, val y) { return LLVMBuildFMul(m->b, x, y, ""); }
val m_div(const mathb *m, val x, val y) { return LLVMBuildFDiv(m->b, x, y, ""); }
val m_neg(const mathb *m, val x) { return LLVMBuildFNeg(m->b, x, ""); }

static val unary(const mathb *m, const char *name, val x) {
  LLVMTypeRef type = m->ft;
  return emit_intrinsic(m->e, name, &type, 1, &x, 1);
}

val m_abs(const mathb *m, val x) { return unary(m, "llvm.fabs", x); }
val m_sqrt(const mathb *m, val x) { return unary(m, "llvm.sqrt", x); }

static val hardware_fma(const mathb *m, val x, val y, val z) {
  LLVMTypeRef type = m->ft;
  return emit_intrinsic(m->e, "llvm.fma", &type, 1, (val[]){x, y, z}, 3);
}

val m_mad(const mathb *m, val x, val y, val z) {
  return m->fma ? hardware_fma(m, x, y, z) : m_add(m, m_mul(m, x, y), z);
}

val m_select(const mathb *m, val condition, val x, val y) {
  return LLVMBuildSelect(m->b, condition, x, y, "");
}
val m_cmp(const mathb *m, LLVMRealPredicate p, val x, val y) {
  return LLVMBuildFCmp(m->b, p, x, y, "");
}
val m_is_nan(const mathb *m, val x) { return m_cmp(m, LLVMRealUNO, x, x); }

// With the constant first these are one minps, maxps, whose second operand is kept on NaN.
val m_at_most(const mathb *m, double limit, val x) {
  val c = m_const(m, limit);
  return m_select(m, m_cmp(m, LLVMRealOLT, c, x), c, x);
}
val m_at_least(const mathb *m, double limit, val x) {
  val c = m_const(m, limit);
  return m_select(m, m_cmp(m, LLVMRealOGT, c, x), c, x);
}

val m_bits(const mathb *m, val x) { return LLVMBuildBitCast(m->b, x, m->it, ""); }
val m_from_bits(const mathb *m, val x) { return LLVMBuildBitCast(m->b, x, m->ft, ""); }

val m_copysign(const mathb *m, val magnitude, val sign) {
  LLVMTypeRef type = m->ft;
  return emit_intrinsic(m->e, "llvm.copysign", &type, 1, (val[]){magnitude, sign}, 2);
}

val m_poly(const mathb *m, const double *c, int n, val x) {
  val p = m_const(m, c[n - 1]);
  for (int k = n - 2; k >= 0; k--) p = m_mad(m, p, x, m_const(m, c[k]));
  return p;
}

/// Adding 1.5 * 2^mantissa leaves no room for a fraction; the low bits of the sum are the integer.
val m_round_product(const mathb *m, val x, double factor, val *k) {
  val magic = m_const(m, m->t == DT_f64 ? 0x1.8p52 : 0x1.8p23);
  val shifted = factor == 1 ? m_add(m, x, magic) : m_mad(m, x, m_const(m, factor), magic);
  if (k) *k = LLVMBuildSub(m->b, m_bits(m, shifted), m_bits(m, magic), "");
  return m_sub(m, shifted, magic);
}

/// 2^k as a float, for normal results.
static val power_of_two(const mathb *m, val k) {
  val biased = LLVMBuildAdd(m->b, k, m_int(m, m->bias), "");
  return m_from_bits(m, LLVMBuildShl(m->b, biased, m_int(m, m->mantissa), ""));
}

/// In halves, so that neither factor leaves the normal range; the first product is exact.
val m_scale(const mathb *m, val x, val k, val kf) {
  if (m->wide) return x86_scalef(m, x, kf);
  val half = LLVMBuildAShr(m->b, k, m_int(m, 1), "");
  val rest = LLVMBuildSub(m->b, k, half, "");
  return m_mul(m, m_mul(m, x, power_of_two(m, half)), power_of_two(m, rest));
}

void m_fast_two_sum(const mathb *m, val x, val y, val *high, val *low) {
  val s = m_add(m, x, y);
  *low = m_sub(m, y, m_sub(m, s, x));
  *high = s;
}

void m_two_sum(const mathb *m, val x, val y, val *high, val *low) {
  val s = m_add(m, x, y);
  val y_part = m_sub(m, s, x), x_part = m_sub(m, s, y_part);
  *low = m_add(m, m_sub(m, x, x_part), m_sub(m, y, y_part));
  *high = s;
}

/// x = *high + *low, each of at most half the significand's bits: products of such are exact.
static void split(const mathb *m, val x, val *high, val *low) {
  int dropped = m->t == DT_f64 ? 27 : 12;
  val half = m_int(m, INT64_C(1) << (dropped - 1)), mask = m_int(m, -(INT64_C(1) << dropped));
  val rounded = LLVMBuildAdd(m->b, m_bits(m, x), half, "");
  *high = m_from_bits(m, LLVMBuildAnd(m->b, rounded, mask, ""));
  *low = m_sub(m, x, *high);
}

void m_two_prod(const mathb *m, val x, val y, val *high, val *low) {
  val p = m_mul(m, x, y);
  *high = p;
  if (m->fma) {
    *low = hardware_fma(m, x, y, m_neg(m, p));
    return;
  }
  val xh, xl, yh, yl;
  split(m, x, &xh, &xl);
  split(m, y, &yh, &yl);
  val error = m_sub(m, m_mul(m, xh, yh), p);
  error = m_add(m, error, m_mul(m, xh, yl));
  error = m_add(m, error, m_mul(m, xl, yh));
  *low = m_add(m, error, m_mul(m, xl, yl));
}

val m_residual(const mathb *m, val q, val d, val n) {
  if (m->fma) return hardware_fma(m, m_neg(m, q), d, n);
  val high, low;
  m_two_prod(m, q, d, &high, &low);
  return m_sub(m, m_sub(m, n, high), low);
}

static val shuffle(const mathb *m, val x, val y, int first, int n) {
  val indices[256];
  check(n <= 256);
  for (int k = 0; k < n; k++) indices[k] = LLVMConstInt(m->e->i32, (unsigned)(first + k), false);
  return LLVMBuildShuffleVector(m->b, x, y, LLVMConstVector(indices, (unsigned)n), "");
}

val m_half(const mathb *m, val x, int which) {
  int n = emit_lanes(LLVMTypeOf(x)) / 2;
  return shuffle(m, x, LLVMGetPoison(LLVMTypeOf(x)), which * n, n);
}

val m_join(const mathb *m, val first, val last) {
  return shuffle(m, first, last, 0, 2 * emit_lanes(LLVMTypeOf(first)));
}

/// One Newton step on the 14-bit estimate, in a form that keeps 0, infinity and NaN; elsewhere the
/// quotient by the correctly rounded square root.
static val rsqrt(const mathb *m, val x) {
  if (!m->wide || m->t != DT_f32) return m_div(m, m_const(m, 1), m_sqrt(m, x));
  val y = x86_rsqrt14(m, x);
  val root = m_mul(m, x, y);
  val error = hardware_fma(m, m_neg(m, root), y, m_const(m, 1));
  val better = hardware_fma(m, m_mul(m, y, m_const(m, 0.5)), error, y);
  return m_select(m, m_is_nan(m, better), y, better);
}

// ---- dispatch

static val dispatch(const mathb *m, op o, val *in) {
  switch (o) {
    case OP_sqrt: return m_sqrt(m, in[0]);
    case OP_rsqrt: return rsqrt(m, in[0]);
    case OP_exp: return math_exp(m, in[0]);
    case OP_exp2: return math_exp2(m, in[0]);
    case OP_expm1: return math_expm1(m, in[0]);
    case OP_sigmoid: return math_sigmoid(m, in[0]);
    case OP_tanh: return math_tanh(m, in[0]);
    case OP_sinh: return math_sinh(m, in[0]);
    case OP_cosh: return math_cosh(m, in[0]);
    case OP_log: return math_log(m, in[0]);
    case OP_log2: return math_log2(m, in[0]);
    case OP_log10: return math_log10(m, in[0]);
    case OP_log1p: return math_log1p(m, in[0]);
    case OP_erf: return math_erf(m, in[0]);
    case OP_erfc: return math_erfc(m, in[0]);
    case OP_sin: return math_sin(m, in[0]);
    case OP_cos: return math_cos(m, in[0]);
    case OP_tan: return math_tan(m, in[0]);
    case OP_asin: return math_asin(m, in[0]);
    case OP_acos: return math_acos(m, in[0]);
    case OP_atan: return math_atan(m, in[0]);
    case OP_atan2: return math_atan2(m, in[0], in[1]);
    case OP_pow: return math_pow(m, in[0], in[1]);
    case OP_fma: return math_fma(m, in[0], in[1], in[2]);
    case OP_rem: return math_fmod(m, in[0], in[1]);
    case OP_floor:
    case OP_ceil:
    case OP_round:
    case OP_trunc: return math_floor_like(m, o, in[0]);
    default: panic("%s is not a float function", op_get(o)->name);
  }
}

// ---- functions that are called

/// By op, of f32 (and what is computed in it) and of f64.
typedef int uses[2];

static void count_uses(const tregion *r, uses *n) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_MAP && dtype_is_float(s->in[0]->type)) n[s->op][s->in[0]->type == DT_f64]++;
    count_uses(s->body, n);
    count_uses(s->other, n);
  }
}

void emit_choose_called(emit *e, const program *p) {
  // In the costs of ir/ops.def, a unit of which is some instructions, of AVX-512 or a GPU fewer.
  enum { SHORT = 8, LONG = 16, LONG_BEFORE_AVX512 = 12, MUCH = 2000, VERY_MUCH = 10000 };
  int long_from = e->arch == ARCH_X86 && !e->avx512 ? LONG_BEFORE_AVX512 : LONG;
  uses *n = arena_array(e->arena, uses, OP_COUNT);
  e->called = arena_array(e->arena, emit_called, OP_COUNT);
  for (int i = 0; i < p->kernels.len; i++) count_uses(&p->kernels.data[i]->body, n);
  for (int o = 0; o < OP_COUNT; o++)
    for (int is_double = 0; is_double < 2; is_double++) {
      // The costs are those of f32; that of `rem` is the one of integers.
      int cost = (o == OP_rem ? 2 * LONG : op_get((op)o)->cost) * (1 + is_double);
      int all = n[o][is_double] * cost;
      bool very_much = e->arch == ARCH_X86 && all >= VERY_MUCH;
      e->called[o][is_double] = op_get((op)o)->class == CLASS_map && all >= MUCH &&
                                cost >= (very_much ? SHORT : long_from);
    }
}

/// The function of that op, type and width; made where it is not yet.
static val called_function(const mathb *m, op o, LLVMTypeRef type, int nin) {
  emit *e = m->e;
  str name = str_printf(e->arena, "%s.%s.%d%s", op_get(o)->name, dtype_name(m->t), m->lanes,
                        e->coarse ? ".coarse" : "");
  val f = LLVMGetNamedFunction(e->module, name.ptr);
  if (f) return f;
  f = LLVMAddFunction(e->module, name.ptr, type);
  LLVMSetLinkage(f, LLVMInternalLinkage);
  static const char *const attributes[] = {"noinline", "nounwind"};
  for (int i = 0; i < 2; i++) {
    unsigned kind = LLVMGetEnumAttributeKindForName(attributes[i], strlen(attributes[i]));
    LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                            LLVMCreateEnumAttribute(e->context, kind, 0));
  }
  LLVMBasicBlockRef here = LLVMGetInsertBlock(m->b);
  LLVMPositionBuilderAtEnd(m->b, LLVMAppendBasicBlockInContext(e->context, f, ""));
  val in[3];
  for (int i = 0; i < nin; i++) in[i] = LLVMGetParam(f, (unsigned)i);
  LLVMBuildRet(m->b, dispatch(m, o, in));
  LLVMPositionBuilderAtEnd(m->b, here);
  return f;
}

static val apply(const mathb *m, op o, val *in, int nin) {
  if (!m->e->called || !m->e->called[o][m->t == DT_f64]) return dispatch(m, o, in);
  LLVMTypeRef types[3] = {m->ft, m->ft, m->ft};
  LLVMTypeRef type = LLVMFunctionType(m->ft, types, (unsigned)nin, false);
  return LLVMBuildCall2(m->b, type, called_function(m, o, type, nin), in, (unsigned)nin, "");
}

/// Vectors of several registers are computed in halves, by the code made for one register.
val emit_math(emit *e, op o, dtype t, val *in, int nin) {
  mathb m = math_builder(e, t, emit_lanes(LLVMTypeOf(in[0])));
  bool several = m.lanes * dtype_bytes(t) > 64;
  if (e->arch != ARCH_X86 || !e->avx512 || !several || m.lanes % 2) return apply(&m, o, in, nin);
  val half[3], y[2];
  for (int k = 0; k < 2; k++) {
    for (int n = 0; n < nin; n++) half[n] = m_half(&m, in[n], k);
    y[k] = emit_math(e, o, t, half, nin);
  }
  return m_join(&m, y[0], y[1]);
}

bool emit_math_many(emit *e, op o, dtype t, const val *in, val *out, int n) {
  if ((o != OP_sin && o != OP_cos) || t != DT_f32) return false;
  mathb m = math_builder(e, t, 0);
  if (!math_nvptx_fits(&m)) return false;
  if (n) math_sines(&m, in, out, n, o == OP_cos);
  return true;
}

typedef struct bound {
  op o;
  double f32, f64;
} bound;

/// They hold for x86 without fused multiply-add and with AVX-512 alike. GPUs: docs/gpu.md.
static const bound bounds[] = {
    {OP_exp, 1.2, 1.2},  {OP_exp2, 1.1, 1.1}, {OP_expm1, 1.5, 1.5},   {OP_log, 1, 1},
    {OP_log2, 1.2, 1.2}, {OP_log1p, 1, 1},    {OP_sqrt, 0.5, 0.5},    {OP_rsqrt, 1.5, 1.5},
    {OP_tanh, 1.5, 1.5}, {OP_erf, 1.8, 1.2},  {OP_sigmoid, 2.5, 2.5}, {OP_sin, 1.6, 1},
    {OP_cos, 1.6, 1},    {OP_tan, 1.1, 1.1},  {OP_atan, 1.5, 1.2},    {OP_pow, 1.5, 1.5},
    {OP_asin, 1.8, 1.6}, {OP_acos, 1.3, 1.3}, {OP_atan2, 1.8, 1.5},   {OP_sinh, 1.8, 1.6},
    {OP_cosh, 1.7, 1.5}, {OP_erfc, 4.2, 3.2}, {OP_log10, 1.8, 1.2},
};

double math_ulp_bound(op o, dtype t) {
  for (size_t k = 0; k < sizeof bounds / sizeof *bounds; k++)
    if (bounds[k].o == o) return t == DT_f64 ? bounds[k].f64 : bounds[k].f32;
  return 0.5;
}
