// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Element types: all 65536 patterns of the 16-bit floats, rounding at every boundary between two
// of them, and the edges of the integer casts.
#include <criterion/criterion.h>
#include <math.h>

#include "ir/dtype.h"

static scalar load16(unsigned bits, dtype t) {
  uint16_t raw = (uint16_t)bits;
  return scalar_load(&raw, t);
}

static unsigned store16(double v, dtype t) {
  uint16_t raw;
  scalar_store(&raw, t, (scalar){.f = v});
  return raw;
}

static bool is_nan16(unsigned bits, dtype t) {
  unsigned infinity = t == DT_f16 ? 0x7c00 : 0x7f80;
  return (bits & 0x7fff) > infinity;
}

/// The value by the definition of the format.
static double value16(unsigned bits, dtype t) {
  int mantissa_bits = t == DT_f16 ? 10 : 7, bias = t == DT_f16 ? 15 : 127;
  int exponent = (int)(bits & 0x7fff) >> mantissa_bits;
  int mantissa = (int)bits & ((1 << mantissa_bits) - 1);
  if (exponent == (t == DT_f16 ? 31 : 255)) return mantissa ? NAN : bits & 0x8000 ? -INFINITY : INFINITY;
  double v = exponent ? ldexp(1 + ldexp(mantissa, -mantissa_bits), exponent - bias)
                      : ldexp(mantissa, 1 - bias - mantissa_bits);
  return bits & 0x8000 ? -v : v;
}

Test(ir_dtype, small_floats_load_and_store) {
  for (int which = 0; which < 2; which++) {
    dtype t = which ? DT_bf16 : DT_f16;
    for (unsigned bits = 0; bits < 65536; bits++) {
      double v = load16(bits, t).f, want = value16(bits, t);
      if (is_nan16(bits, t)) {
        cr_assert(isnan(v) && is_nan16(store16(v, t), t), "%s %04x", dtype_name(t), bits);
        continue;
      }
      cr_assert(v == want && signbit(v) == signbit(want), "%s %04x", dtype_name(t), bits);
      cr_assert_eq(store16(v, t), bits, "%s %04x", dtype_name(t), bits);
      cr_assert_eq(scalar_cast((scalar){.f = v}, DT_f64, t).f, v);
    }
  }
}

Test(ir_dtype, small_floats_round_to_nearest_even) {
  for (int which = 0; which < 2; which++) {
    dtype t = which ? DT_bf16 : DT_f16;
    unsigned infinity = t == DT_f16 ? 0x7c00 : 0x7f80;
    for (unsigned bits = 0; bits < infinity - 1; bits++) {
      double low = value16(bits, t), high = value16(bits + 1, t), middle = (low + high) / 2;
      unsigned even = bits & 1 ? bits + 1 : bits;
      cr_assert_eq(store16(middle, t), even, "%s between %04x and the next", dtype_name(t), bits);
      cr_assert_eq(store16(nextafter(middle, low), t), bits);
      cr_assert_eq(store16(nextafter(middle, high), t), bits + 1);
      cr_assert_eq(store16(-middle, t), even | 0x8000);
    }
    double largest = value16(infinity - 1, t), step = largest - value16(infinity - 2, t);
    cr_assert_eq(store16(largest + step / 2, t), infinity);
    cr_assert_eq(store16(nextafter(largest + step / 2, 0), t), infinity - 1);
    cr_assert_eq(store16(1e300, t), infinity);
    cr_assert_eq(store16(-INFINITY, t), infinity | 0x8000);
  }
}

Test(ir_dtype, casts_round_once) {
  // 1 + 2^-11 + 2^-40 is above the middle of two f16 values, but f32 would round it to the middle.
  double v = 1 + ldexp(1, -11) + ldexp(1, -40);
  cr_expect_eq(store16(v, DT_f16), 0x3c01);
  // The same with an integer that double cannot hold, and bf16.
  int64_t i = (INT64_C(1) << 62) + (INT64_C(1) << 54) + 1;
  cr_expect_eq(scalar_cast((scalar){.i = i}, DT_i64, DT_bf16).f, ldexp(1 + ldexp(1, -7), 62));
  cr_expect_eq(scalar_cast((scalar){.i = -i}, DT_i64, DT_bf16).f, -ldexp(1 + ldexp(1, -7), 62));
  cr_expect_eq(scalar_cast((scalar){.i = (1 << 24) + 1}, DT_i32, DT_f32).f, 1 << 24);
}

Test(ir_dtype, float_to_int_truncates_and_saturates) {
  const struct {
    double from;
    dtype to;
    int64_t want;
  } cases[] = {
      {1.9, DT_i32, 1},
      {-1.9, DT_i32, -1},
      {2147483647.5, DT_i32, INT32_MAX},
      {1e10, DT_i32, INT32_MAX},
      {-1e10, DT_i32, INT32_MIN},
      {NAN, DT_i32, 0},
      {INFINITY, DT_i64, INT64_MAX},
      {-INFINITY, DT_i64, INT64_MIN},
      {9.3e18, DT_i64, INT64_MAX},
      {-9.3e18, DT_i64, INT64_MIN},
      {NAN, DT_i64, 0},
      {300, DT_u8, 255},
      {255.9, DT_u8, 255},
      {-0.5, DT_u8, 0},
      {-7, DT_u8, 0},
      {200, DT_i8, 127},
      {-200, DT_i8, -128},
      {-128.9, DT_i8, -128},
      {40000, DT_i16, 32767},
      {0.5, DT_bool, 1},
      {0, DT_bool, 0},
      {-0.0, DT_bool, 0},
      {NAN, DT_bool, 1},
      {70000, DT_u16, 65535},
      {-1, DT_u16, 0},
      {65535.9, DT_u16, 65535},
      {5e9, DT_u32, UINT32_MAX},
      {-0.5, DT_u32, 0},
      {3e9, DT_u32, 3000000000},
      {1e20, DT_u64, -1},
      {0x1p63, DT_u64, INT64_MIN},
      {-1e20, DT_u64, 0},
      {NAN, DT_u64, 0},
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    int64_t got = scalar_cast((scalar){.f = cases[k].from}, DT_f64, cases[k].to).i;
    cr_expect_eq(got, cases[k].want, "%g to %s gives %ld", cases[k].from, dtype_name(cases[k].to), got);
  }
}

Test(ir_dtype, int_casts_wrap) {
  cr_expect_eq(scalar_cast((scalar){.i = 300}, DT_i32, DT_u8).i, 44);
  cr_expect_eq(scalar_cast((scalar){.i = -1}, DT_i32, DT_u8).i, 255);
  cr_expect_eq(scalar_cast((scalar){.i = 200}, DT_u8, DT_i8).i, -56);
  cr_expect_eq(scalar_cast((scalar){.i = INT64_C(1) << 32}, DT_i64, DT_i32).i, 0);
  cr_expect_eq(scalar_cast((scalar){.i = INT64_C(1) << 32}, DT_i64, DT_bool).i, 1);
  cr_expect_eq(scalar_cast((scalar){.i = 1}, DT_bool, DT_f32).f, 1);
  cr_expect_eq(scalar_cast((scalar){.i = -1}, DT_i32, DT_u16).i, 65535);
  cr_expect_eq(scalar_cast((scalar){.i = -1}, DT_i8, DT_u32).i, UINT32_MAX);
  cr_expect_eq(scalar_cast((scalar){.i = -1}, DT_u64, DT_f64).f, 0x1p64);
  cr_expect_eq(scalar_cast((scalar){.i = -1}, DT_u64, DT_f32).f, 0x1p64);
  cr_expect_eq(scalar_cast((scalar){.i = -1}, DT_u64, DT_bf16).f, 0x1p64);
  cr_expect_eq(scalar_cast((scalar){.i = UINT32_MAX}, DT_u32, DT_i32).i, -1);
}

Test(ir_dtype, limits) {
  cr_expect_eq(scalar_limit(DT_u64, true).i, -1);
  cr_expect_eq(scalar_limit(DT_u64, false).i, 0);
  cr_expect_eq(scalar_limit(DT_u32, true).i, UINT32_MAX);
  cr_expect_eq(scalar_limit(DT_u16, true).i, 65535);
  cr_expect_eq(scalar_limit(DT_i16, false).i, -32768);
  cr_expect_eq(scalar_limit(DT_i64, true).i, INT64_MAX);
  cr_expect_eq(scalar_limit(DT_bool, true).i, 1);
}

/// A cast is exact when it takes all values there and back, tried on the ends of each type.
Test(ir_dtype, exact_casts) {
  for (int from = 0; from < DT_COUNT; from++)
    for (int to = 0; to < DT_COUNT; to++) {
      dtype f = (dtype)from, t = (dtype)to;
      if (dtype_is_float(f)) continue;
      bool exact = true;
      for (int end = 0; end < 2; end++) {
        scalar v = scalar_limit(f, end);
        scalar there = scalar_cast(v, f, t);
        exact &= scalar_cast(there, t, f).i == v.i &&
                 (end || scalar_double(there, t) == scalar_double(v, f));
        // The largest value of a wide type survives a float by luck of saturation.
        if (dtype_is_float(t) && f != DT_bool && end) {
          scalar odd = {.i = (int64_t)((uint64_t)v.i - 2)};
          exact &= scalar_cast(scalar_cast(odd, f, t), t, f).i == odd.i;
        }
      }
      if (!dtype_is_float(t)) exact &= !(dtype_is_unsigned(t) && !dtype_is_unsigned(f));
      if (t == DT_bool) exact = f == DT_bool;
      if (!dtype_is_float(t) && f != t && f != DT_bool && dtype_bytes(t) <= dtype_bytes(f))
        exact = false;
      cr_expect_eq(dtype_cast_is_exact(f, t), exact, "%s to %s", dtype_name(f), dtype_name(t));
    }
}

Test(ir_dtype, memory_format) {
  for (int t = 0; t < DT_COUNT; t++) {
    unsigned char bytes[16];
    memset(bytes, 0xaa, sizeof bytes);
    scalar v = dtype_is_float((dtype)t) ? (scalar){.f = -1.5} : (scalar){.i = t == DT_u8 ? 200 : 1};
    scalar_store(bytes, (dtype)t, v);
    scalar back = scalar_load(bytes, (dtype)t);
    cr_expect_eq(back.i, v.i, "%s", dtype_name((dtype)t));
    cr_expect_eq(bytes[dtype_bytes((dtype)t)], 0xaa, "%s writes too much", dtype_name((dtype)t));
  }
}

Test(ir_dtype, text_reads_back) {
  arena a = {0};
  const struct {
    double v;
    dtype t;
    const char *text;
  } cases[] = {{(float)0.1, DT_f32, "0.1"}, {0.1, DT_f64, "0.1"},   {(float)0.1, DT_f64, "0.10000000149011612"},
               {1, DT_f32, "1.0"},          {-0.0, DT_f32, "-0.0"}, {INFINITY, DT_f32, "inf"},
               {-INFINITY, DT_f64, "-inf"}, {1e-5, DT_f64, "1e-05"}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    strbuf b = sb_new(&a);
    scalar back;
    scalar_print((scalar){.f = cases[k].v}, cases[k].t, &b);
    cr_expect_str_eq(b.data, cases[k].text);
    cr_expect(scalar_parse(sb_str(&b), cases[k].t, &back));
    cr_expect(back.f == cases[k].v && signbit(back.f) == signbit(cases[k].v), "%s", b.data);
  }
  scalar v;
  cr_expect(scalar_parse(STR("-9223372036854775808"), DT_i64, &v) && v.i == INT64_MIN);
  cr_expect_not(scalar_parse(STR("9223372036854775808"), DT_i64, &v));
  cr_expect_not(scalar_parse(STR("256"), DT_u8, &v));
  cr_expect(scalar_parse(STR("18446744073709551615"), DT_u64, &v) && v.i == -1);
  cr_expect_not(scalar_parse(STR("18446744073709551616"), DT_u64, &v));
  cr_expect_not(scalar_parse(STR("-1"), DT_u64, &v));
  cr_expect_not(scalar_parse(STR("65536"), DT_u16, &v));
  cr_expect_not(scalar_parse(STR("-1"), DT_u32, &v));
  strbuf largest = sb_new(&a);
  scalar_print((scalar){.i = -1}, DT_u64, &largest);
  cr_expect_str_eq(largest.data, "18446744073709551615");
  cr_expect_not(scalar_parse(STR("1.5"), DT_i32, &v));
  cr_expect_not(scalar_parse(STR("1"), DT_bool, &v));
  cr_expect_not(scalar_parse(STR(""), DT_f32, &v));
  cr_expect_not(scalar_parse(STR("1.0x"), DT_f32, &v));
  cr_expect(scalar_parse(STR("nan"), DT_f16, &v) && isnan(v.f));
  arena_free(&a);
}
