// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Emission of inline float functions: the arithmetic they are written in, and the functions.
//
// A `mathb` is an emitter narrowed to one float type and vector width, so that one text serves
// f32 and f64, scalars and vectors. Private to codegen/.
#pragma once
#include "codegen/emit.h"

typedef LLVMValueRef val;

typedef struct mathb {
  emit *e;
  LLVMBuilderRef b;
  dtype t;  // f32 or f64
  int lanes;
  LLVMTypeRef ft, it, bt;  // float, integer of the same width, condition
  bool fma;                // a fused multiply-add is one instruction
  bool wide;               // AVX-512 instructions fit: 16 or 8 x f32, 8 or 4 x f64
  int mantissa;            // stored bits: 23, 52
  int bias;                // 127, 1023
} mathb;

mathb math_builder(emit *e, dtype t, int lanes);

// ---- arithmetic (codegen/math.c)
val m_const(const mathb *m, double v);
val m_int(const mathb *m, int64_t v);
val m_add(const mathb *m, val x, val y);
val m_sub(const mathb *m, val x, val y);
val m_mul(const mathb *m, val x, val y);
val m_div(const mathb *m, val x, val y);
val m_neg(const mathb *m, val x);
val m_abs(const mathb *m, val x);
/// math_nvptx.c: f32 scalars on GPUs.
bool math_nvptx_fits(const mathb *m);
val math_nvptx_exp(const mathb *m, val x);
val math_nvptx_exp2(const mathb *m, val x);
val math_nvptx_div(const mathb *m, val n, val d);
val math_nvptx_quotient(const mathb *m, val n, val d);
/// Whether there is a short exact division by this constant.
bool math_nvptx_divides_by(double d);
val math_nvptx_div_by(const mathb *m, val x, double d);
/// x * y + z: one rounding where that is one instruction, else two. For polynomials.
val m_mad(const mathb *m, val x, val y, val z);
/// x * y = *high + *low exactly (absent under- and overflow): fma, or Dekker's product.
void m_two_prod(const mathb *m, val x, val y, val *high, val *low);
/// x + y = *high + *low exactly; fast: |x| >= |y|.
void m_two_sum(const mathb *m, val x, val y, val *high, val *low);
void m_fast_two_sum(const mathb *m, val x, val y, val *high, val *low);
/// n - q d exactly, where that is representable: q is a quotient of n and d within an ulp or so.
val m_residual(const mathb *m, val q, val d, val n);
val m_select(const mathb *m, val condition, val x, val y);
val m_cmp(const mathb *m, LLVMRealPredicate p, val x, val y);
val m_is_nan(const mathb *m, val x);
/// The smaller (larger) of a constant and x; a NaN x stays NaN.
val m_at_most(const mathb *m, double limit, val x);
val m_at_least(const mathb *m, double limit, val x);
val m_bits(const mathb *m, val x);       // as integer
val m_from_bits(const mathb *m, val x);  // as float
val m_copysign(const mathb *m, val magnitude, val sign);
val m_sqrt(const mathb *m, val x);

/// c[0] + c[1] x + ... + c[n - 1] x^(n - 1), Horner.
val m_poly(const mathb *m, const double *c, int n, val x);
#define M_POLY(m, c, x) m_poly((m), (c), (int)(sizeof(c) / sizeof *(c)), (x))

/// x * factor rounded to an integer (the nearest, or one as near as rounding the product allows),
/// below 2^22 (f32) or 2^51 (f64); *k gets it as an integer when not null.
val m_round_product(const mathb *m, val x, double factor, val *k);
/// x * 2^k, k an integer value (as float in kf), with one rounding of subnormal results.
val m_scale(const mathb *m, val x, val k, val kf);

/// The first (last) half of a vector's lanes, and the inverse.
val m_half(const mathb *m, val x, int which);
val m_join(const mathb *m, val first, val last);

// ---- functions, by file
val math_floor_like(const mathb *m, op o, val x);  // math_round.c: floor ceil round trunc

val math_exp(const mathb *m, val x);  // math_exp.c
val math_exp_sum(const mathb *m, val x, val low);
val math_exp2(const mathb *m, val x);
val math_expm1(const mathb *m, val x);
val math_sigmoid(const mathb *m, val x);
val math_tanh(const mathb *m, val x);
val math_sinh(const mathb *m, val x);
val math_cosh(const mathb *m, val x);

val math_log(const mathb *m, val x);  // math_log.c
val math_log2(const mathb *m, val x);
val math_log10(const mathb *m, val x);
val math_log1p(const mathb *m, val x);

/// An odd function as 32 polynomials over quarter-octaves of |x|, see math/tables.sollya.
typedef struct odd_table {
  const double (*rows)[7];
  int first;  // interval 0 ends where 4 * exponent + quarter is first + 1
  double most;  // the function is constant from here on, at the end of the last interval or before
} odd_table;
extern const odd_table math_tanh_table, math_erf_table;  // math_table.c
val math_odd_by_table(const mathb *m, val x, const odd_table *table);

/// x = 2^e (1 + f), 1 + f in [0.75, 1.5) exactly; any value for zero, infinity and NaN.
void math_split_exponent(const mathb *m, val x, val *e, val *f);

val math_erf(const mathb *m, val x);         // math_erf.c
val math_erfc(const mathb *m, val x);
val math_pow(const mathb *m, val x, val y);  // math_pow.c
val math_fma(const mathb *m, val x, val y, val z);  // math_fma.c
val math_fmod(const mathb *m, val x, val y);        // math_fmod.c

val math_sin(const mathb *m, val x);  // math_trig.c
val math_cos(const mathb *m, val x);
/// Sines, or cosines, of n scalars on a GPU (math_nvptx_fits).
void math_sines(const mathb *m, const val *x, val *out, int n, bool cosine);
val math_tan(const mathb *m, val x);

val math_asin(const mathb *m, val x);  // math_arc.c
val math_acos(const mathb *m, val x);
val math_atan(const mathb *m, val x);
val math_atan2(const mathb *m, val y, val x);

// ---- AVX-512 (math_x86.c), only when m->wide
val x86_scalef(const mathb *m, val x, val k);          // x * 2^floor(k)
val x86_getmant(const mathb *m, val x);                // significand in [0.75, 1.5), unsigned
val x86_getexp(const mathb *m, val x);                 // floor(log2 |x|), subnormals too
val x86_fix_log(const mathb *m, val x, val y);         // y, but log's value at special x
val x86_rsqrt14(const mathb *m, val x);
val x86_rcp14(const mathb *m, val x);
/// table[index * stride] by permutations of registers (512 bits only), n <= 4 times the lanes; when
/// that is a power of two times the lanes, the upper bits of index do not matter.
bool x86_can_lookup(const mathb *m);
val x86_lookup(const mathb *m, const double *table, int stride, int n, val index);

/// All of the above by op: the float functions of the op table.
val emit_math(emit *e, op o, dtype t, val *in, int nin);
/// Casts between any two element types (cast.c), the meaning of scalar_cast().
val emit_cast(emit *e, val x, dtype from, dtype to);
