// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// sin cos tan atan over their whole domain.
//
//   x * 2/pi = n + r, |r| <= 1/2;  sin x = +-sin or +-cos of r pi/2, by n mod 4
//
// Only n mod 4 matters, so for a large x = x' 2^s with an integer x', 2^s 2/pi is taken mod 4 from
// a table of few s, cut in parts so that the leading products with x' are exact: one straight line
// of code for every x, however large (the idea is Payne and Hanek's, 1983). f32 is reduced in f64.
#include "codegen/math.h"
#include "codegen/math/coefs.h"
#include "codegen/math/tables.h"

#define POLY(m, stem, x) \
  ((m)->t == DT_f64 ? M_POLY((m), stem##_f64, (x)) : M_POLY((m), stem##_f32, (x)))
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/// |angle| <= pi/4 in two parts and the quadrant, as integers of the width of the type.
typedef struct angle {
  val high, low, quadrant;
} angle;

/// table[index] per lane, from memory.
static val load_each(const mathb *m, const double *table, int n, val index) {
  emit *e = m->e;
  val entries[64];
  for (int k = 0; k < n; k++) entries[k] = LLVMConstReal(e->f64, table[k]);
  LLVMTypeRef type = LLVMArrayType2(e->f64, (unsigned)n);
  val data = LLVMAddGlobal(e->module, type, "two_over_pi");
  LLVMSetInitializer(data, LLVMConstArray2(e->f64, entries, (unsigned)n));
  LLVMSetGlobalConstant(data, true);
  LLVMSetLinkage(data, LLVMPrivateLinkage);
  LLVMSetUnnamedAddress(data, LLVMGlobalUnnamedAddr);
  val out = LLVMGetPoison(m->ft);
  for (int k = 0; k < (m->lanes ? m->lanes : 1); k++) {
    val lane = LLVMConstInt(e->i32, (unsigned)k, false);
    val i = m->lanes ? LLVMBuildExtractElement(m->b, index, lane, "") : index;
    val v = LLVMBuildLoad2(m->b, e->f64, LLVMBuildGEP2(m->b, e->f64, data, &i, 1, ""), "");
    out = m->lanes ? LLVMBuildInsertElement(m->b, out, v, lane, "") : v;
  }
  return out;
}

// ---- reduction of f32, in f64 lanes

/// Row k serves |x| in [2^(16 k + 1), 2^(16 k + 17)), row 0 everything below: 2^s 2/pi mod 4 in two
/// parts, s = max(0, 16 k - 24), times 2^-s. Below row 2 that is 2/pi.
static void factors_f32(const mathb *d, val x, val index, val g[2]) {
  enum { ROWS = COUNT(two_over_pi_f32[0]) };
  if (index) {
    for (int n = 0; n < 2; n++) g[n] = x86_lookup(d, two_over_pi_f32[n], 1, ROWS, index);
    return;
  }
  val a = m_abs(d, x);
  for (int n = 0; n < 2; n++) g[n] = m_const(d, two_over_pi_f32[n][0]);
  for (int k = 2; k < ROWS; k++) {
    val reached = m_cmp(d, LLVMRealOGE, a, m_const(d, __builtin_ldexp(1, 16 * k + 1)));
    for (int n = 0; n < 2; n++)
      g[n] = m_select(d, reached, m_const(d, two_over_pi_f32[n][k]), g[n]);
  }
}

/// x is f32 in f64 lanes. x' g[0] is below 2^43 and made exact by its error, x' g[1] below 2^-10;
/// what is cut off leaves an error of 2^-62, and no f32 comes closer than 2^-32 to a multiple of
/// pi/2.
static void reduce_part(const mathb *d, val x, val index, val *theta, val *quadrant) {
  val g[2], high, low;
  factors_f32(d, x, index, g);
  m_two_prod(d, x, g[0], &high, &low);
  val r = m_sub(d, high, m_round_product(d, high, 1, quadrant));
  r = m_add(d, r, m_mad(d, x, g[1], low));
  *theta = m_mul(d, r, m_const(d, 0x1.921fb54442d18p0));
}

/// The row of a lane: its exponent / 16 from 2^1 on; the lookup takes the lowest bits.
static val row_index(const mathb *m, val x) {
  return LLVMBuildLShr(m->b, m_bits(m, m_at_least(m, 2, m_abs(m, x))), m_int(m, 23 + 4), "");
}

static angle reduce_f32(const mathb *m, val x, bool want_low) {
  mathb d = math_builder(m->e, DT_f64, m->lanes);
  val wide = LLVMBuildFPExt(m->b, x, d.ft, ""), theta, quadrant;
  if (m->wide && m->lanes == 16) {
    mathb half = math_builder(m->e, DT_f64, 8);
    val t[2], q[2], row = row_index(m, x);
    for (int k = 0; k < 2; k++) {
      val index = LLVMBuildZExt(m->b, m_half(m, row, k), half.it, "");
      reduce_part(&half, m_half(m, wide, k), index, &t[k], &q[k]);
    }
    theta = m_join(m, t[0], t[1]);
    quadrant = m_join(m, q[0], q[1]);
  } else {
    reduce_part(&d, wide, NULL, &theta, &quadrant);
  }
  angle a = {.high = LLVMBuildFPTrunc(m->b, theta, m->ft, "")};
  a.quadrant = LLVMBuildTrunc(m->b, quadrant, m->it, "");
  if (want_low) {
    val rest = m_sub(&d, theta, LLVMBuildFPExt(m->b, a.high, d.ft, ""));
    a.low = LLVMBuildFPTrunc(m->b, rest, m->ft, "");
  }
  return a;
}

// ---- reduction of f64

/// x = x' 2^(32 k); x' < 2^84 and, for k > 0, an integer. Infinity becomes NaN.
static void factors_f64(const mathb *m, val x, val *scaled, val g[4]) {
  enum { ROWS = COUNT(two_over_pi_f64[0]) };
  LLVMBuilderRef b = m->b;
  val bits = m_bits(m, x);
  val exponent = LLVMBuildAnd(b, LLVMBuildLShr(b, bits, m_int(m, 52), ""), m_int(m, 0x7ff), "");
  val k = LLVMBuildAShr(b, LLVMBuildSub(b, exponent, m_int(m, 1023 + 52), ""), m_int(m, 5), "");
  val positive = LLVMBuildICmp(b, LLVMIntSGT, k, m_int(m, 0), "");
  k = m_select(m, positive, k, m_int(m, 0));
  val down = LLVMBuildShl(b, k, m_int(m, 52 + 5), "");
  *scaled = m_add(m, m_from_bits(m, LLVMBuildSub(b, bits, down, "")), m_sub(m, x, x));
  for (int n = 0; n < 4; n++)
    g[n] = x86_can_lookup(m) ? x86_lookup(m, two_over_pi_f64[n], 1, ROWS, k)
                             : load_each(m, two_over_pi_f64[n], ROWS, k);
}

/// x - 4 round(x / 4), exactly.
static val modulo_four(const mathb *m, val x) {
  val n = math_floor_like(m, OP_round, m_mul(m, x, m_const(m, 0.25)));
  return m_mad(m, n, m_const(m, -4), x);
}

/// The four products in descending size are p0 + e0, p1 + e1, p2 + e2, p3; those that can exceed 4
/// are reduced by it, then all is summed in two parts after the nearest integer is taken off. Bits
/// down to 2^-120 count: a double may come as close as 2^-62 to a multiple of pi/2.
static angle reduce_f64(const mathb *m, val x) {
  val g[4], scaled, p0, e0, p1, e1, p2, e2, a, b, c, d, f, h, sum, error;
  factors_f64(m, x, &scaled, g);
  m_two_prod(m, scaled, g[0], &p0, &e0);
  m_two_prod(m, scaled, g[1], &p1, &e1);
  m_two_prod(m, scaled, g[2], &p2, &e2);
  m_two_sum(m, modulo_four(m, p0), modulo_four(m, e0), &a, &b);
  m_two_sum(m, a, modulo_four(m, p1), &sum, &c);
  angle out;
  sum = m_sub(m, sum, m_round_product(m, sum, 1, &out.quadrant));
  m_two_sum(m, b, c, &d, &f);
  m_two_sum(m, sum, d, &h, &error);
  m_two_sum(m, e1, p2, &a, &b);
  m_two_sum(m, h, a, &h, &c);
  val tail = m_add(m, b, m_add(m, e2, m_mad(m, scaled, g[3], f)));
  tail = m_add(m, m_add(m, error, c), tail);
  val r, rest;
  m_fast_two_sum(m, h, tail, &r, &rest);
  m_two_prod(m, r, m_const(m, 0x1.921fb54442d18p0), &out.high, &out.low);
  out.low = m_mad(m, r, m_const(m, 0x1.1a62633145c07p-54), out.low);
  out.low = m_mad(m, rest, m_const(m, 0x1.921fb54442d18p0), out.low);
  return out;
}

// ---- f32 on GPUs: half turns, short for ordinary x, a call for large ones

static val is_odd(const mathb *m, val n) {
  val bit = LLVMBuildAnd(m->b, n, m_int(m, 1), "");
  return LLVMBuildICmp(m->b, LLVMIntNE, bit, m_int(m, 0), "");
}

/// { float angle, float quadrant } reduce_large(float x), once per module. The quadrant, mod 4, is
/// returned as a float: the low word of a 64-bit register as an integer result arrived wrong.
static val large_function(const mathb *m, LLVMTypeRef *type) {
  static const char name[] = "reduce_large";
  LLVMTypeRef pair = LLVMStructTypeInContext(m->e->context, (LLVMTypeRef[]){m->ft, m->ft}, 2, 0);
  LLVMTypeRef param = m->ft;
  *type = LLVMFunctionType(pair, &param, 1, 0);
  val f = LLVMGetNamedFunction(m->e->module, name);
  if (f) return f;
  LLVMBasicBlockRef here = LLVMGetInsertBlock(m->b);
  f = LLVMAddFunction(m->e->module, name, *type);
  LLVMSetLinkage(f, LLVMInternalLinkage);
  unsigned noinline = LLVMGetEnumAttributeKindForName("noinline", 8);
  LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateEnumAttribute(m->e->context, noinline, 0));
  LLVMPositionBuilderAtEnd(m->b, LLVMAppendBasicBlockInContext(m->e->context, f, ""));
  angle a = reduce_f32(m, LLVMGetParam(f, 0), false);
  val quadrant = LLVMBuildAnd(m->b, a.quadrant, m_int(m, 3), "");
  val out = LLVMBuildInsertValue(m->b, LLVMGetPoison(pair), a.high, 0, "");
  quadrant = LLVMBuildSIToFP(m->b, quadrant, m->ft, "");
  LLVMBuildRet(m->b, LLVMBuildInsertValue(m->b, out, quadrant, 1, ""));
  LLVMPositionBuilderAtEnd(m->b, here);
  return f;
}

enum { MOST_SINES = 8 };

/// |s| <= pi/2 and an integer whose last bit says whether the sine of s is negated.
typedef struct half_turns {
  val s, parity;
} half_turns;

/// sin(x + shift pi/2) = +-sin s, by the function above. Where the quadrant is odd the cosine of its
/// angle is sin(pi/2 - |angle|), in which nothing cancels.
static half_turns reduce_far(const mathb *m, val x, int shift) {
  LLVMTypeRef type;
  val callee = large_function(m, &type);
  val pair = LLVMBuildCall2(m->b, type, callee, &x, 1, "");
  val angle_ = LLVMBuildExtractValue(m->b, pair, 0, "");
  val n = LLVMBuildFPToSI(m->b, LLVMBuildExtractValue(m->b, pair, 1, ""), m->it, "");
  n = LLVMBuildAdd(m->b, n, m_int(m, shift), "");
  val across = m_sub(m, m_const(m, 0x1.921fb54442d18p0), m_abs(m, angle_));
  val s = m_select(m, is_odd(m, n), across, angle_);
  return (half_turns){s, LLVMBuildLShr(m->b, n, m_int(m, 1), "")};
}

/// x = h pi + s, h a multiple of 1/2 with the fraction of shift / 2, by Cody and Waite in three
/// parts: x - h * upper is exact up to 2^15. With a shift -s is given, which saves a negation.
static half_turns reduce_near(const mathb *m, val x, int shift) {
  const double one_by_pi = 0x1.45f306dc9c883p-2, magic = 0x1.8p23;
  val turns = shift ? m_add(m, m_mad(m, x, m_const(m, one_by_pi), m_const(m, -0.5)), m_const(m, magic))
                    : m_mad(m, x, m_const(m, one_by_pi), m_const(m, magic));
  val h = m_sub(m, turns, m_const(m, magic));
  if (shift) h = m_add(m, h, m_const(m, 0.5));
  int sign = shift ? 1 : -1;
  val s = m_mad(m, h, m_const(m, sign * 0x1.921fb4p1), shift ? m_neg(m, x) : x);
  s = m_mad(m, h, m_const(m, sign * 0x1.4442dp-23), s);
  s = m_mad(m, h, m_const(m, sign * 0x1.84698ap-47), s);
  return (half_turns){s, m_bits(m, turns)};
}

/// Threads branch where any of their arguments is beyond 2^15, infinite or NaN.
static void reduce_half_turns(const mathb *m, const val *x, half_turns *out, int n, int shift) {
  val ordinary[MOST_SINES], all = NULL;
  for (int i = 0; i < n; i++) {
    out[i] = reduce_near(m, x[i], shift);
    ordinary[i] = m_cmp(m, LLVMRealOLT, m_abs(m, x[i]), m_const(m, 0x1p15));
    all = all ? LLVMBuildAnd(m->b, all, ordinary[i], "") : ordinary[i];
  }
  LLVMBasicBlockRef from = LLVMGetInsertBlock(m->b);
  val function = LLVMGetBasicBlockParent(from);
  LLVMBasicBlockRef large = LLVMAppendBasicBlockInContext(m->e->context, function, "");
  LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(m->e->context, function, "");
  LLVMBuildCondBr(m->b, all, after, large);
  LLVMPositionBuilderAtEnd(m->b, large);
  half_turns far[MOST_SINES];
  for (int i = 0; i < n; i++) {
    far[i] = reduce_far(m, x[i], shift);
    far[i].s = m_select(m, ordinary[i], out[i].s, far[i].s);
    far[i].parity = m_select(m, ordinary[i], out[i].parity, far[i].parity);
  }
  LLVMBuildBr(m->b, after);
  LLVMPositionBuilderAtEnd(m->b, after);
  for (int i = 0; i < n; i++) {
    val *const values[][2] = {{&out[i].s, &far[i].s}, {&out[i].parity, &far[i].parity}};
    for (int k = 0; k < 2; k++) {
      val phi = LLVMBuildPhi(m->b, LLVMTypeOf(*values[k][0]), "");
      LLVMBasicBlockRef blocks[] = {from, large};
      LLVMAddIncoming(phi, (val[]){*values[k][0], *values[k][1]}, blocks, 2);
      *values[k][0] = phi;
    }
  }
}

/// sin(x + shift pi/2) by one polynomial over half a turn, where two of half its width and the choice
/// between them would be twice the instructions.
static val sine_of_half_turn(const mathb *m, half_turns a) {
  val z = m_mul(m, a.s, a.s), cube = m_mul(m, z, a.s);
  val y = m_mad(m, M_POLY(m, half_turn_f32, z), cube, a.s);
  val sign = LLVMBuildShl(m->b, a.parity, m_int(m, 31), "");
  return m_from_bits(m, LLVMBuildXor(m->b, m_bits(m, y), sign, ""));
}

static angle reduce(const mathb *m, val x, bool want_low) {
  return m->t == DT_f64 ? reduce_f64(m, x) : reduce_f32(m, x, want_low);
}

// ---- on |angle| <= pi/4

/// sin = high + small, where small is at most a fifth of high.
static val sine_small(const mathb *m, angle a) {
  val z = m_mul(m, a.high, a.high);
  val cube = m_mul(m, z, a.high), p = POLY(m, sin, z);
  val slope = m_mad(m, z, m_const(m, -0.5), m_const(m, 1));
  return m_mad(m, p, cube, m_mul(m, a.low, slope));
}

/// cos = *high + *small: *high = 1 - z/2 rounded, and what that rounding lost is in *small.
static void cosine_parts(const mathb *m, angle a, val *high, val *small) {
  val z = m_mul(m, a.high, a.high), one = m_const(m, 1), half = m_mul(m, z, m_const(m, 0.5));
  *high = m_sub(m, one, half);
  val lost = m_sub(m, m_sub(m, one, *high), half);
  lost = m_sub(m, lost, m_mul(m, a.high, a.low));
  *small = m_mad(m, m_mul(m, z, z), POLY(m, cos, z), lost);
}

/// y with its sign flipped where bit 1 of n is set.
static val flip_sign(const mathb *m, val y, val n) {
  val bit = LLVMBuildAnd(m->b, n, m_int(m, 2), "");
  int to_top = (m->t == DT_f64 ? 64 : 32) - 2;
  val sign = LLVMBuildShl(m->b, bit, m_int(m, to_top), "");
  return m_from_bits(m, LLVMBuildXor(m->b, m_bits(m, y), sign, ""));
}

/// sin(x + shift pi/2)
static val sine(const mathb *m, val x, int shift) {
  angle a = reduce(m, x, false);
  val n = LLVMBuildAdd(m->b, a.quadrant, m_int(m, shift), ""), sine_, cosine;
  if (m->t == DT_f64) {
    val high, small;
    cosine_parts(m, a, &high, &small);
    sine_ = m_add(m, a.high, sine_small(m, a));
    cosine = m_add(m, high, small);
  } else {
    val z = m_mul(m, a.high, a.high), one = m_const(m, 1);
    sine_ = m_mad(m, POLY(m, sin, z), m_mul(m, z, a.high), a.high);
    cosine = m_mad(m, z, m_mad(m, z, POLY(m, cos, z), m_const(m, -0.5)), one);
  }
  return flip_sign(m, m_select(m, is_odd(m, n), cosine, sine_), n);
}

/// Of tiny x (x^2 / 3 below half an ulp of 1) sine and tangent are x: the reduction would lose the
/// sign of a zero and, to underflow, digits of subnormals.
static val keep_tiny(const mathb *m, val x, val y) {
  val limit = m_const(m, m->t == DT_f64 ? 0x1p-27 : 0x1p-13);
  return m_select(m, m_cmp(m, LLVMRealOLT, m_abs(m, x), limit), x, y);
}

void math_sines(const mathb *m, const val *x, val *out, int n, bool cosine) {
  for (int at = 0; at < n; at += MOST_SINES) {
    int count = n - at < MOST_SINES ? n - at : MOST_SINES;
    half_turns turns[MOST_SINES];
    reduce_half_turns(m, x + at, turns, count, cosine);
    for (int i = 0; i < count; i++) {
      out[at + i] = sine_of_half_turn(m, turns[i]);
      if (!cosine) out[at + i] = keep_tiny(m, x[at + i], out[at + i]);
    }
  }
}

static val sine_or_cosine(const mathb *m, val x, bool cosine) {
  if (math_nvptx_fits(m)) {
    val y;
    math_sines(m, &x, &y, 1, cosine);
    return y;
  }
  return cosine ? sine(m, x, 1) : keep_tiny(m, x, sine(m, x, 0));
}

val math_sin(const mathb *m, val x) { return sine_or_cosine(m, x, false); }
val math_cos(const mathb *m, val x) { return sine_or_cosine(m, x, true); }

/// sin / cos, in odd quadrants -cos / sin, of two-part operands: the quotient of the leading parts
/// corrected by its residual, so that only the last rounding counts.
val math_tan(const mathb *m, val x) {
  angle a = reduce(m, x, true);
  val sh, sl, ch, cl, cos_high, cos_small;
  m_fast_two_sum(m, a.high, sine_small(m, a), &sh, &sl);
  cosine_parts(m, a, &cos_high, &cos_small);
  m_fast_two_sum(m, cos_high, cos_small, &ch, &cl);
  val odd = is_odd(m, a.quadrant);
  val n = m_select(m, odd, m_neg(m, ch), sh), d = m_select(m, odd, sh, ch);
  val n_low = m_select(m, odd, m_neg(m, cl), sl), d_low = m_select(m, odd, sl, cl);
  val inverse = m_div(m, m_const(m, 1), d), q = m_mul(m, n, inverse);
  val rest = m_add(m, m_residual(m, q, d, n), m_sub(m, n_low, m_mul(m, q, d_low)));
  return keep_tiny(m, x, m_mad(m, rest, inverse, q));
}
