// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Element types: names, and the exact conversions that casts, loads and stores mean.
//
// f16 and bf16 are encoded from double in one rounding (to nearest, ties to even), so a cast from
// f64 does not round twice by way of f32.
#include "ir/dtype.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clocale.h"

typedef struct dtype_info {
  const char *name;
  int bytes;
  char class;
} dtype_info;

static const dtype_info infos[DT_COUNT] = {
#define X(name, bytes, class, npy) {#name, bytes, #class[0]},
    DTYPES(X)
#undef X
};

int dtype_bytes(dtype t) { return infos[t].bytes; }
const char *dtype_name(dtype t) { return infos[t].name; }

bool dtype_parse(str name, dtype *out) {
  for (int t = 0; t < DT_COUNT; t++) {
    if (!str_eqz(name, infos[t].name)) continue;
    *out = (dtype)t;
    return true;
  }
  return false;
}

bool dtype_is_float(dtype t) { return infos[t].class == 'F'; }

bool dtype_cast_is_exact(dtype from, dtype to) {
  if (from == to) return true;
  if (to == DT_bool) return false;
  if (from == DT_bool) return true;
  if (dtype_is_float(from)) {
    if (!dtype_is_float(to)) return false;
    return to == DT_f64 || (to == DT_f32 && from != DT_f64);
  }
  int magnitude = 8 * dtype_bytes(from) - (dtype_is_unsigned(from) ? 0 : 1);  // bits
  if (dtype_is_float(to))
    return magnitude <= (to == DT_f64 ? 53 : to == DT_f32 ? 24 : to == DT_f16 ? 11 : 8);
  if (dtype_is_unsigned(to) && !dtype_is_unsigned(from)) return false;
  return dtype_bytes(to) > dtype_bytes(from);
}

bool dtype_is_int(dtype t) { return infos[t].class == 'I' || infos[t].class == 'U'; }
bool dtype_is_unsigned(dtype t) { return infos[t].class == 'U' || infos[t].class == 'B'; }
bool dtype_is_storage(dtype t) { return t == DT_f16 || t == DT_bf16; }

/// A 16-bit float format with the layout sign, exponent, mantissa.
typedef struct small_float {
  int exponent_bits, mantissa_bits;
} small_float;

static const small_float F16 = {5, 10}, BF16 = {8, 7};

static uint16_t small_encode(small_float f, double v) {
  uint64_t bits;
  memcpy(&bits, &v, 8);
  unsigned sign = (unsigned)(bits >> 63) << 15;
  unsigned infinity = ((1u << f.exponent_bits) - 1) << f.mantissa_bits;
  uint64_t fraction = bits & ((UINT64_C(1) << 52) - 1);
  if (isnan(v)) {
    unsigned quiet = 1u << (f.mantissa_bits - 1);
    return (uint16_t)(sign | infinity | quiet | (unsigned)(fraction >> (52 - f.mantissa_bits)));
  }
  if (isinf(v)) return (uint16_t)(sign | infinity);
  int bias = (1 << (f.exponent_bits - 1)) - 1;
  int exponent = (int)(bits >> 52 & 0x7ff) - 1023, smallest = 1 - bias;
  int shift = 52 - f.mantissa_bits;
  if (exponent < smallest) shift += smallest - exponent;
  if (shift > 54) return (uint16_t)sign;  // less than half the smallest subnormal, or zero
  uint64_t significand = fraction | UINT64_C(1) << 52;
  uint64_t rest = significand & ((UINT64_C(1) << shift) - 1), half = UINT64_C(1) << (shift - 1);
  uint64_t kept = significand >> shift;
  if (rest > half || (rest == half && (kept & 1))) kept++;
  // For normal numbers `kept` holds the implicit one, which carries into the exponent.
  if (exponent >= smallest) kept += (uint64_t)(exponent - smallest) << f.mantissa_bits;
  if (kept > infinity) kept = infinity;
  return (uint16_t)(sign | kept);
}

static double small_decode(small_float f, uint16_t bits) {
  int mantissa = bits & ((1 << f.mantissa_bits) - 1);
  int top = (1 << f.exponent_bits) - 1, exponent = bits >> f.mantissa_bits & top;
  int bias = (1 << (f.exponent_bits - 1)) - 1;
  uint64_t sign = (uint64_t)(bits >> 15) << 63;
  double magnitude;
  if (exponent == top) {
    uint64_t wide = UINT64_C(0x7ff) << 52 | (uint64_t)mantissa << (52 - f.mantissa_bits);
    memcpy(&magnitude, &wide, 8);
  } else if (exponent == 0) {
    magnitude = ldexp(mantissa, 1 - bias - f.mantissa_bits);
  } else {
    magnitude = ldexp(mantissa | 1 << f.mantissa_bits, exponent - bias - f.mantissa_bits);
  }
  uint64_t wide;
  memcpy(&wide, &magnitude, 8);
  wide |= sign;
  memcpy(&magnitude, &wide, 8);
  return magnitude;
}

static double round_float(double v, dtype to) {
  switch (to) {
    case DT_f32: return (float)v;
    case DT_f16: return small_decode(F16, small_encode(F16, v));
    case DT_bf16: return small_decode(BF16, small_encode(BF16, v));
    default: return v;
  }
}

static int64_t wrap_int(int64_t v, dtype to) {
  switch (to) {
    case DT_i32: return (int32_t)v;
    case DT_i16: return (int16_t)v;
    case DT_i8: return (int8_t)v;
    case DT_u32: return (uint32_t)v;
    case DT_u16: return (uint16_t)v;
    case DT_u8: return (uint8_t)v;
    case DT_bool: return v != 0;
    default: return v;
  }
}

static int64_t saturate_float(double v, dtype to) {
  if (to == DT_bool) return v != 0;
  if (isnan(v)) return 0;
  int bits = dtype_bytes(to) * 8;
  bool is_unsigned = dtype_is_unsigned(to);
  double low = is_unsigned ? 0 : -ldexp(1, bits - 1);
  double above = ldexp(1, is_unsigned ? bits : bits - 1);  // the first value too large
  if (v <= low) return scalar_limit(to, false).i;
  if (v >= above) return scalar_limit(to, true).i;
  return to == DT_u64 ? (int64_t)(uint64_t)v : (int64_t)v;
}

scalar scalar_limit(dtype t, bool largest) {
  int unused = 64 - (t == DT_bool ? 1 : dtype_bytes(t) * 8);
  if (dtype_is_unsigned(t)) return (scalar){.i = largest ? (int64_t)(UINT64_MAX >> unused) : 0};
  return (scalar){.i = (largest ? INT64_MAX : INT64_MIN) >> unused};
}

/// One rounding also for the integers that double cannot hold.
static double float_from_int(int64_t v, dtype from, dtype to) {
  bool negative = v < 0 && from != DT_u64;
  uint64_t magnitude = negative ? -(uint64_t)v : (uint64_t)v;
  if (to == DT_f64) return negative ? -(double)magnitude : (double)magnitude;
  if (to == DT_f32) return negative ? -(float)magnitude : (float)magnitude;
  // Round to odd at bit 11, so that the rounding of the double to 16 bits sees what was cut off.
  if (magnitude >> 53) magnitude = (magnitude & ~UINT64_C(2047)) | (magnitude & 2047 ? 2048 : 0);
  return round_float(negative ? -(double)magnitude : (double)magnitude, to);
}

scalar scalar_cast(scalar v, dtype from, dtype to) {
  if (dtype_is_float(from)) {
    if (dtype_is_float(to)) return (scalar){.f = round_float(v.f, to)};
    return (scalar){.i = saturate_float(v.f, to)};
  }
  if (dtype_is_float(to)) return (scalar){.f = float_from_int(v.i, from, to)};
  return (scalar){.i = wrap_int(v.i, to)};
}

bool scalar_less(scalar a, scalar b, dtype t) {
  if (dtype_is_float(t)) return a.f < b.f;
  return t == DT_u64 ? (uint64_t)a.i < (uint64_t)b.i : a.i < b.i;
}

double scalar_double(scalar v, dtype t) {
  return dtype_is_float(t) ? v.f : scalar_cast(v, t, DT_f64).f;
}

scalar scalar_load(const void *p, dtype t) {
#define LOAD(T, member)           \
  do {                            \
    T raw;                        \
    memcpy(&raw, p, sizeof raw);  \
    return (scalar){.member = raw}; \
  } while (0)
  uint16_t half;
  switch (t) {
    case DT_f64: LOAD(double, f);
    case DT_f32: LOAD(float, f);
    case DT_i64:
    case DT_u64: LOAD(int64_t, i);
    case DT_i32: LOAD(int32_t, i);
    case DT_i16: LOAD(int16_t, i);
    case DT_i8: LOAD(int8_t, i);
    case DT_u32: LOAD(uint32_t, i);
    case DT_u16: LOAD(uint16_t, i);
    case DT_u8: LOAD(uint8_t, i);
    case DT_bool: return (scalar){.i = *(const uint8_t *)p != 0};
    default: memcpy(&half, p, 2); return (scalar){.f = small_decode(t == DT_f16 ? F16 : BF16, half)};
  }
#undef LOAD
}

void scalar_store(void *p, dtype t, scalar v) {
#define STORE(T, member)         \
  do {                           \
    T raw = (T)v.member;         \
    memcpy(p, &raw, sizeof raw); \
    return;                      \
  } while (0)
  uint16_t half;
  switch (t) {
    case DT_f64: STORE(double, f);
    case DT_f32: STORE(float, f);
    case DT_i64:
    case DT_u64: STORE(int64_t, i);
    case DT_i32: STORE(int32_t, i);
    case DT_i16: STORE(int16_t, i);
    case DT_i8: STORE(int8_t, i);
    case DT_u32: STORE(uint32_t, i);
    case DT_u16: STORE(uint16_t, i);
    case DT_u8: STORE(uint8_t, i);
    case DT_bool: *(uint8_t *)p = v.i != 0; return;
    default:
      half = small_encode(t == DT_f16 ? F16 : BF16, v.f);
      memcpy(p, &half, 2);
  }
#undef STORE
}

// ---- text

static void print_float(double v, dtype t, strbuf *out) {
  if (isnan(v)) return sb_puts(out, "nan");
  if (isinf(v)) return sb_puts(out, v < 0 ? "-inf" : "inf");
  char text[40];
  for (int digits = 1; digits <= 17; digits++) {
    clocale_snprintf(text, sizeof text, "%.*g", digits, v);
    if (round_float(clocale_strtod(text, NULL), t) == v) break;
  }
  sb_puts(out, text);
  if (!strpbrk(text, ".e")) sb_puts(out, ".0");
}

void scalar_print(scalar v, dtype t, strbuf *out) {
  if (dtype_is_float(t)) print_float(v.f, t, out);
  else if (t == DT_bool) sb_puts(out, v.i ? "true" : "false");
  else if (t == DT_u64) sb_printf(out, "%llu", (unsigned long long)v.i);
  else sb_printf(out, "%lld", (long long)v.i);
}

bool scalar_parse(str text, dtype t, scalar *out) {
  char copy[64], *end;
  if (text.len == 0 || text.len >= (int)sizeof copy) return false;
  memcpy(copy, text.ptr, (size_t)text.len);
  copy[text.len] = 0;
  if (t == DT_bool) {
    out->i = str_eqz(text, "true");
    return out->i || str_eqz(text, "false");
  }
  errno = 0;
  if (dtype_is_float(t)) {
    out->f = round_float(clocale_strtod(copy, &end), t);
    return *end == 0;
  }
  if (t == DT_u64) {
    out->i = (int64_t)strtoull(copy, &end, 10);
    return *end == 0 && errno == 0 && *copy != '-';
  }
  out->i = strtoll(copy, &end, 10);
  return *end == 0 && errno == 0 && wrap_int(out->i, t) == out->i;
}
