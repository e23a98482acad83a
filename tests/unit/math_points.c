// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tests/unit/math_points.h"

#include <float.h>
#include <math.h>
#include <mpfr.h>
#include <stdlib.h>

typedef struct sink {
  dtype t;
  void *data;
  int64_t len, cap;
  uint64_t state;
} sink;

static uint64_t next(sink *s) {  // splitmix64
  uint64_t z = (s->state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static void put_bits(sink *s, uint64_t bits) {
  size_t size = s->t == DT_f64 ? 8 : 4;
  if (s->len == s->cap) s->data = realloc(s->data, (size_t)(s->cap = s->cap * 2 + 64) * size);
  if (s->t == DT_f64)
    ((uint64_t *)s->data)[s->len++] = bits;
  else
    ((uint32_t *)s->data)[s->len++] = (uint32_t)bits;
}

static uint64_t bits_of(sink *s, double x) {
  uint64_t wide;
  uint32_t narrow;
  float f = (float)x;
  memcpy(&wide, &x, 8);
  memcpy(&narrow, &f, 4);
  return s->t == DT_f64 ? wide : narrow;
}

/// x, its neighbours in the type, and the same with the other sign.
static void put_around(sink *s, double x, int steps) {
  uint64_t sign = UINT64_C(1) << (s->t == DT_f64 ? 63 : 31);
  for (int k = -steps; k <= steps; k++) {
    uint64_t bits = bits_of(s, x) + (uint64_t)(int64_t)k;
    put_bits(s, bits);
    put_bits(s, bits ^ sign);
  }
}

static void put_uniform(sink *s, double low, double high, int n) {
  for (int k = 0; k < n; k++)
    put_bits(s, bits_of(s, low + (high - low) * ((double)(next(s) >> 11) * 0x1p-53)));
}

static void put_exponents(sink *s, int per_exponent) {
  int mantissa = s->t == DT_f64 ? 52 : 23, exponents = s->t == DT_f64 ? 2048 : 256;
  uint64_t mask = (UINT64_C(1) << mantissa) - 1;
  uint64_t sign = UINT64_C(1) << (s->t == DT_f64 ? 63 : 31);
  for (int e = 0; e < exponents; e++) {
    uint64_t base = (uint64_t)e << mantissa;
    const uint64_t edges[] = {0, 1, mask, mask - 1, mask >> 1, (mask >> 1) + 1};
    for (int k = 0; k < 6; k++) {
      put_bits(s, base | edges[k]);
      put_bits(s, base | edges[k] | sign);
    }
    // Where functions are neither constant nor linear, eight times as many.
    bool busy = e > exponents / 2 - 12 && e < exponents / 2 + 8;
    for (int k = 0; k < per_exponent * (busy ? 8 : 1); k++)
      put_bits(s, base | (next(s) & mask) | (next(s) & 1 ? sign : 0));
  }
}

static void put_hard(sink *s, op o, int n) {
  bool is_double = s->t == DT_f64;
  put_around(s, 1, 100);
  put_around(s, 0.75, 30);
  put_around(s, 1.5, 30);
  switch (o) {
    case OP_exp:
    case OP_expm1:
    case OP_sigmoid: {
      const double edges[] = {88.72283905, 87.33654475, 103.9720770, 103.2789299,
                              709.782712893384, 708.396418532264, 745.1332191019411};
      for (int k = 0; k < 7; k++) put_around(s, edges[k], 100);
      for (int k = 1; k < 200; k++) put_around(s, (k + 0.5) * 0.69314718055994531, 3);
      put_uniform(s, is_double ? -746 : -104, is_double ? 710 : 89, 4 * n);
      put_uniform(s, -1, 1, 2 * n);
      break;
    }
    case OP_exp2:
      for (int k = -1080; k < 1030; k++) put_around(s, k + 0.5, 1), put_around(s, k, 1);
      put_uniform(s, is_double ? -1076 : -151, is_double ? 1025 : 129, 4 * n);
      break;
    case OP_sin:
    case OP_cos:
    case OP_tan:
      for (int k = 1; k < n / 8; k++)
        put_around(s, (double)(next(s) >> (20 + k % 44)) * 1.5707963267948966, 1);
      put_uniform(s, -7, 7, 2 * n);
      put_uniform(s, -1000, 1000, 2 * n);
      put_uniform(s, -1e5, 1e5, n);
      // The double closest to a multiple of pi/2, and such floats.
      put_around(s, 6381956970095103 * 0x1p797, 2);
      put_around(s, 16367173 * 0x1p72, 2);
      put_around(s, 13571605 * 0x1p-3, 2);
      break;
    case OP_asin:
    case OP_acos:
      put_around(s, 0.5, 100);
      put_uniform(s, -1, 1, 4 * n);
      break;
    case OP_sinh:
    case OP_cosh: {
      const double edges[] = {89.41598629, 88.72283905, 710.4758600739439, 709.782712893384};
      for (int k = 0; k < 4; k++) put_around(s, edges[k], 100);
      put_uniform(s, is_double ? -711 : -90, is_double ? 711 : 90, 2 * n);
      put_uniform(s, -2, 2, 2 * n);
      break;
    }
    case OP_erfc:
      put_around(s, 15.0 / 32, 100);
      put_uniform(s, -1, 1, n);
      put_uniform(s, -6, is_double ? 28 : 10.2, 4 * n);
      break;
    case OP_log10:
      for (int k = is_double ? -308 : -38; k < (is_double ? 308 : 38); k++)
        put_around(s, pow(10, k), 2);
      put_uniform(s, 0.5, 2, 4 * n);
      break;
    default:
      put_uniform(s, 0.5, 2, 2 * n);
      put_uniform(s, -6, 6, 2 * n);
      put_uniform(s, -40, 40, n);
  }
}

/// Arguments of pow come in pairs: the exponent is drawn so that most results are finite.
static void put_powers(sink *s, int operand, int n) {
  const double special[] = {0,    -0.0, 1,   -1,  2,        -2,        3,        -3,  0.5,
                            -0.5, 1e30, 1.5, 101, INFINITY, -INFINITY, 0x1p23,   NAN, 0x1p24 - 1,
                            1e-40, -1e-40, 0x1p53 - 1, 0x1p52, 1e300, 0x1p-1074, 4, 1.0 / 3};
  int count = (int)(sizeof special / sizeof *special);
  for (int i = 0; i < count; i++)
    for (int k = 0; k < count; k++) put_bits(s, bits_of(s, special[operand ? k : i]));
  double most = s->t == DT_f64 ? 1080 : 152;
  int exponents = s->t == DT_f64 ? 1074 : 149;
  for (int k = 0; k < n; k++) {
    double scale = k % 3 == 0 ? 2 : k % 3 == 1 ? 2.0 * exponents : 0.01;
    double lx = scale * ((double)(next(s) >> 11) * 0x1p-53 - 0.5);
    double target = most * ((double)(next(s) >> 11) * 0x1p-52 - 1);
    double x = exp2(lx), y = target / lx;
    if (k % 7 == 0) y = rint(y), x = -x;
    put_bits(s, bits_of(s, operand ? y : x));
  }
}

/// Pairs of atan2: all special values together, slopes of any size, both sides of the diagonals.
static void put_slopes(sink *s, int operand, int n) {
  const double special[] = {0,    -0.0,  1,      -1,    INFINITY, -INFINITY, NAN, 1e-40, -1e-40,
                            3e38, -3e38, 1e-310, 1e308, -1e308,   0x1p-1074, 0.5, 2};
  int count = (int)(sizeof special / sizeof *special);
  for (int i = 0; i < count; i++)
    for (int k = 0; k < count; k++) put_bits(s, bits_of(s, special[operand ? k : i]));
  double most = s->t == DT_f64 ? 1000 : 120;
  for (int k = 0; k < n; k++) {
    double size = exp2(most * ((double)(next(s) >> 11) * 0x1p-52 - 1));
    double spread = k % 4 == 0 ? 60 : k % 4 == 1 ? 4 : 0.01;
    double ratio = exp2(spread * ((double)(next(s) >> 11) * 0x1p-52 - 1));
    uint64_t signs = next(s);
    double y = size * ratio * (signs & 1 ? -1 : 1), x = size * (signs & 2 ? -1 : 1);
    put_bits(s, bits_of(s, operand ? x : y));
  }
}

void *math_points(op o, dtype t, int operand, int per_exponent, int64_t *n) {
  sink s = {.t = t, .state = 20240607 + (uint64_t)o};
  int bulk = per_exponent * (t == DT_f64 ? 1024 : 256);
  if (o == OP_pow) {
    put_powers(&s, operand, 2 * bulk);
  } else if (o == OP_atan2) {
    put_slopes(&s, operand, 2 * bulk);
  } else {
    put_exponents(&s, per_exponent);
    put_hard(&s, o, bulk / 8);
  }
  while (s.len % 16) put_bits(&s, bits_of(&s, 1));
  *n = s.len;
  return s.data;
}

static void sigmoid(mpfr_t r, mpfr_t x) {
  mpfr_neg(r, x, MPFR_RNDN);
  mpfr_exp(r, r, MPFR_RNDN);
  mpfr_add_ui(r, r, 1, MPFR_RNDN);
  mpfr_ui_div(r, 1, r, MPFR_RNDN);
}

long double math_exact(op o, long double x, long double y) {
  mpfr_t a, b, r;
  mpfr_inits2(128, a, b, r, (mpfr_ptr)0);
  mpfr_set_ld(a, x, MPFR_RNDN);
  mpfr_set_ld(b, y, MPFR_RNDN);
  switch (o) {
    case OP_exp: mpfr_exp(r, a, MPFR_RNDN); break;
    case OP_exp2: mpfr_exp2(r, a, MPFR_RNDN); break;
    case OP_expm1: mpfr_expm1(r, a, MPFR_RNDN); break;
    case OP_log: mpfr_log(r, a, MPFR_RNDN); break;
    case OP_log2: mpfr_log2(r, a, MPFR_RNDN); break;
    case OP_log1p: mpfr_log1p(r, a, MPFR_RNDN); break;
    case OP_sqrt: mpfr_sqrt(r, a, MPFR_RNDN); break;
    case OP_rsqrt: mpfr_sqrt(r, a, MPFR_RNDN); mpfr_ui_div(r, 1, r, MPFR_RNDN); break;
    case OP_sin: mpfr_sin(r, a, MPFR_RNDN); break;
    case OP_cos: mpfr_cos(r, a, MPFR_RNDN); break;
    case OP_tan: mpfr_tan(r, a, MPFR_RNDN); break;
    case OP_tanh: mpfr_tanh(r, a, MPFR_RNDN); break;
    case OP_erf: mpfr_erf(r, a, MPFR_RNDN); break;
    case OP_sigmoid: sigmoid(r, a); break;
    case OP_log10: mpfr_log10(r, a, MPFR_RNDN); break;
    case OP_sinh: mpfr_sinh(r, a, MPFR_RNDN); break;
    case OP_cosh: mpfr_cosh(r, a, MPFR_RNDN); break;
    case OP_erfc: mpfr_erfc(r, a, MPFR_RNDN); break;
    case OP_asin: mpfr_asin(r, a, MPFR_RNDN); break;
    case OP_acos: mpfr_acos(r, a, MPFR_RNDN); break;
    case OP_atan: mpfr_atan(r, a, MPFR_RNDN); break;
    case OP_atan2: mpfr_atan2(r, a, b, MPFR_RNDN); break;
    case OP_pow: mpfr_pow(r, a, b, MPFR_RNDN); break;
    case OP_rem: mpfr_fmod(r, a, b, MPFR_RNDN); break;
    default: abort();
  }
  long double result = mpfr_get_ld(r, MPFR_RNDN);
  mpfr_clears(a, b, r, (mpfr_ptr)0);
  return result;
}

double math_reference(op o, double x, double y) {
  switch (o) {
    case OP_exp: return exp(x);
    case OP_exp2: return exp2(x);
    case OP_expm1: return expm1(x);
    case OP_log: return log(x);
    case OP_log2: return log2(x);
    case OP_log1p: return log1p(x);
    case OP_sqrt: return sqrt(x);
    case OP_rsqrt: return 1 / sqrt(x);
    case OP_sin: return sin(x);
    case OP_cos: return cos(x);
    case OP_tan: return tan(x);
    case OP_tanh: return tanh(x);
    case OP_erf: return erf(x);
    case OP_sigmoid: return 1 / (1 + exp(-x));
    case OP_log10: return log10(x);
    case OP_sinh: return sinh(x);
    case OP_cosh: return cosh(x);
    case OP_erfc: return erfc(x);
    case OP_asin: return asin(x);
    case OP_acos: return acos(x);
    case OP_atan: return atan(x);
    case OP_atan2: return atan2(x, y);
    case OP_pow: return pow(x, y);
    case OP_rem: return fmod(x, y);
    default: abort();
  }
}

double math_ulp_error(dtype t, long double got, long double exact) {
  int digits = t == DT_f64 ? 53 : 24, lowest = t == DT_f64 ? -1022 : -126;
  long double above = t == DT_f64 ? 0x1p1024L : 0x1p128L;
  if (isnan(got) || isnan(exact)) return isnan(got) && isnan(exact) ? 0 : INFINITY;
  if (got == exact) return exact == 0 && signbit(got) != signbit(exact) ? INFINITY : 0;
  if (isinf(exact)) return INFINITY;
  if (signbit(got) != signbit(exact)) return INFINITY;
  if (fabsl(got) > above) got = copysignl(above, got);  // any overflow will do
  if (fabsl(exact) > above) exact = copysignl(above, exact);
  int exponent = exact == 0 ? lowest : ilogbl(exact);
  if (exponent < lowest) exponent = lowest;
  if (exponent >= 128 && t == DT_f32) exponent = 127;
  if (exponent >= 1024) exponent = 1023;
  return (double)(fabsl(got - exact) / ldexpl(1, exponent - digits + 1));
}
