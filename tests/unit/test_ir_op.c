// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The op table: type rules, the meaning of ops on the values where it is easy to get wrong, and the
// published vectors of the random number generator.
#include <criterion/criterion.h>
#include <math.h>

#include "ir/op.h"

static double float_op(op o, dtype t, double a, double b) {
  return op_eval(o, t, t, (scalar[]){{.f = a}, {.f = b}, {.f = 0}}).f;
}

static int64_t int_op(op o, dtype t, int64_t a, int64_t b) {
  return op_eval(o, t, t, (scalar[]){{.i = a}, {.i = b}, {.i = 0}}).i;
}

static bool compare(op o, dtype t, double a, double b) {
  return op_eval(o, t, DT_bool, (scalar[]){{.f = a}, {.f = b}}).i;
}

Test(ir_op, minimum_and_maximum_propagate_nan) {
  cr_expect(isnan(float_op(OP_min, DT_f32, NAN, 1)) && isnan(float_op(OP_min, DT_f32, 1, NAN)));
  cr_expect(isnan(float_op(OP_max, DT_f64, NAN, 1)) && isnan(float_op(OP_max, DT_f64, 1, NAN)));
  cr_expect(signbit(float_op(OP_min, DT_f32, 0.0, -0.0)));
  cr_expect(signbit(float_op(OP_min, DT_f32, -0.0, 0.0)));
  cr_expect_not(signbit(float_op(OP_max, DT_f32, -0.0, 0.0)));
  cr_expect_eq(float_op(OP_max, DT_f32, -INFINITY, 3), 3);
  cr_expect_eq(int_op(OP_min, DT_i64, INT64_MIN, INT64_MAX), INT64_MIN);
}

Test(ir_op, sign_keeps_zero_and_nan) {
  cr_expect(signbit(float_op(OP_sign, DT_f32, -0.0, 0)));
  cr_expect(isnan(float_op(OP_sign, DT_f32, NAN, 0)));
  cr_expect_eq(float_op(OP_sign, DT_f32, -3, 0), -1);
  cr_expect_eq(int_op(OP_sign, DT_i8, -3, 0), -1);
}

Test(ir_op, integer_division_is_total) {
  cr_expect_eq(int_op(OP_div, DT_i32, -7, 2), -3);
  cr_expect_eq(int_op(OP_rem, DT_i32, -7, 2), -1);
  cr_expect_eq(int_op(OP_div, DT_i32, 7, 0), 0);
  cr_expect_eq(int_op(OP_rem, DT_i32, 7, 0), 0);
  cr_expect_eq(int_op(OP_div, DT_i32, INT32_MIN, -1), INT32_MIN);
  cr_expect_eq(int_op(OP_div, DT_i64, INT64_MIN, -1), INT64_MIN);
  cr_expect_eq(int_op(OP_rem, DT_i64, INT64_MIN, -1), 0);
  cr_expect_eq(float_op(OP_rem, DT_f32, -7.5, 2), -1.5);
}

Test(ir_op, integers_wrap) {
  cr_expect_eq(int_op(OP_add, DT_i32, INT32_MAX, 1), INT32_MIN);
  cr_expect_eq(int_op(OP_mul, DT_i64, INT64_MAX, 2), -2);
  cr_expect_eq(int_op(OP_sub, DT_u8, 3, 5), 254);
  cr_expect_eq(int_op(OP_neg, DT_i8, -128, 0), -128);
  cr_expect_eq(int_op(OP_sub, DT_u16, 3, 5), 65534);
  cr_expect_eq(int_op(OP_mul, DT_u32, UINT32_MAX, UINT32_MAX), 1);
  cr_expect_eq(int_op(OP_add, DT_u64, -1, 2), 1);
  cr_expect_eq(int_op(OP_abs, DT_i64, INT64_MIN, 0), INT64_MIN);
}

/// Of u64 the values are given as the int64_t with the same bits.
Test(ir_op, unsigned_order) {
  const int64_t large = INT64_MIN;  // 2^63
  cr_expect_eq(int_op(OP_div, DT_u64, -2, 2), INT64_MAX);
  cr_expect_eq(int_op(OP_div, DT_u64, large, -1), 0);
  cr_expect_eq(int_op(OP_rem, DT_u64, -1, 10), 5);
  cr_expect_eq(int_op(OP_rem, DT_u64, -1, 0), 0);
  cr_expect_eq(int_op(OP_min, DT_u64, large, 1), 1);
  cr_expect_eq(int_op(OP_max, DT_u64, large, 1), large);
  cr_expect_eq(int_op(OP_sign, DT_u64, large, 0), 1);
  cr_expect_eq(int_op(OP_abs, DT_u64, large, 0), large);
  cr_expect_eq(int_op(OP_shr, DT_u64, -1, 63), 1);
  cr_expect_eq(int_op(OP_shr, DT_u32, UINT32_MAX, 31), 1);
  cr_expect_eq(int_op(OP_div, DT_u32, UINT32_MAX, 2), INT32_MAX);
  scalar in[] = {{.i = large}, {.i = 1}};
  cr_expect_eq(op_eval(OP_gt, DT_u64, DT_bool, in).i, 1);
  cr_expect_eq(op_eval(OP_lt, DT_u64, DT_bool, in).i, 0);
  cr_expect_eq(op_eval(OP_ne, DT_u64, DT_bool, in).i, 1);
}

Test(ir_op, bits) {
  cr_expect_eq(int_op(OP_shl, DT_i32, 1, 33), 2);
  cr_expect_eq(int_op(OP_shl, DT_u8, 0x81, 1), 2);
  cr_expect_eq(int_op(OP_shr, DT_i16, -8, 1), -4);
  cr_expect_eq(int_op(OP_shr, DT_u8, 0x80, 7), 1);
  cr_expect_eq(int_op(OP_not, DT_u8, 0x0f, 0), 0xf0);
  cr_expect_eq(int_op(OP_not, DT_bool, 1, 0), 0);
  cr_expect_eq(int_op(OP_xor, DT_i32, -1, 5), -6);
}

Test(ir_op, comparisons_with_nan) {
  cr_expect_not(compare(OP_eq, DT_f32, NAN, NAN));
  cr_expect(compare(OP_ne, DT_f32, NAN, NAN));
  cr_expect_not(compare(OP_lt, DT_f32, NAN, 1));
  cr_expect_not(compare(OP_ge, DT_f32, NAN, 1));
  cr_expect(compare(OP_eq, DT_f32, 0.0, -0.0));
  cr_expect(compare(OP_is_nan, DT_f32, NAN, 0));
  cr_expect(compare(OP_is_inf, DT_f32, -INFINITY, 0));
}

Test(ir_op, results_are_rounded_once) {
  cr_expect_eq(float_op(OP_add, DT_f32, 1, ldexp(1, -24)), 1);
  cr_expect_eq(float_op(OP_div, DT_f32, 1, 3), (double)(1.0f / 3.0f));
  // a*b + c is just above the middle of two f32 values; in double it rounds to the middle first.
  scalar in[] = {{.f = 1 + ldexp(1, -23)}, {.f = 1 + ldexp(1, -1)}, {.f = ldexp(1, -60)}};
  double got = op_eval(OP_fma, DT_f32, DT_f32, in).f;
  cr_expect_eq(got, (double)fmaf((float)in[0].f, (float)in[1].f, (float)in[2].f));
  cr_expect_eq(got, 1.5 + ldexp(1, -22));
  cr_expect_eq(float_op(OP_round, DT_f32, 2.5, 0), 2);
  cr_expect_eq(float_op(OP_round, DT_f32, 3.5, 0), 4);
}

Test(ir_op, where_and_casts) {
  scalar in[] = {{.i = 1}, {.f = 2}, {.f = 3}};
  cr_expect_eq(op_eval(OP_where, DT_f32, DT_f32, in).f, 2);
  in[0].i = 0;
  cr_expect_eq(op_eval(OP_where, DT_f32, DT_f32, in).f, 3);
  cr_expect_eq(op_eval(OP_cast, DT_f32, DT_i8, &(scalar){.f = 1e9}).i, 127);
  cr_expect_eq(op_eval(OP_bitcast, DT_f32, DT_i32, &(scalar){.f = 1}).i, 0x3f800000);
  cr_expect_eq(op_eval(OP_bitcast, DT_i64, DT_f64, &(scalar){.i = INT64_C(0x4000000000000000)}).f, 2);
}

Test(ir_op, every_map_has_a_meaning) {
  for (int o = 0; o < OP_COUNT; o++) {
    if (!op_is_map((op)o)) continue;
    dtype types[] = {DT_f32, DT_i32, DT_bool, DT_i64};
    bool any = false;
    for (int k = 0; k < 4; k++) {
      dtype in[3] = {types[k], types[k], types[k]}, out;
      if (o == OP_where) in[0] = DT_bool;
      dtype wanted = types[k] == DT_f32 ? DT_i32 : DT_f64;
      str why;
      arena a = {0};
      if (op_result_type((op)o, in, op_get((op)o)->arity, wanted, &out, &why, &a)) {
        op_eval((op)o, in[o == OP_where], out, (scalar[]){{0}, {0}, {0}});
        any = true;
      }
      arena_free(&a);
    }
    cr_expect(any, "%s takes no types", op_get((op)o)->name);
  }
}

static bool takes_pair(op o, dtype t) {
  arena a = {0};
  dtype out;
  str why;
  bool ok = op_result_type(o, (dtype[]){t, t}, 2, t, &out, &why, &a) && out == t;
  arena_free(&a);
  return ok;
}

/// Values of a type that an identity could change.
static int trial_values(dtype t, scalar *out) {
  int n = 0;
  if (dtype_is_float(t)) {
    const double trials[] = {-2.5, 1, 0, -0.0, INFINITY, -INFINITY};
    for (; n < 6; n++) out[n].f = trials[n];
  } else {
    const int64_t trials[] = {0, 1, 100, -1, INT64_MIN, INT64_MAX};
    for (; n < 6; n++) out[n] = scalar_cast((scalar){.i = trials[n]}, DT_i64, t);
  }
  return n;
}

Test(ir_op, identities_change_nothing) {
  int monoids = 0;
  for (int k = 0; k < OP_COUNT; k++) {
    op o = op_combiner((op)k);
    cr_expect_eq(op_get((op)k)->combine != OP_none, op_is_monoid(o) && !op_is_monoid((op)k));
    if (!op_is_monoid(o)) continue;
    monoids++;
    for (int i = 0; i < DT_COUNT; i++) {
      dtype t = (dtype)i;
      scalar v[8];
      if (!takes_pair(o, t)) continue;
      for (int n = trial_values(t, v); n--;) {
        scalar got = op_combine((op)k, t, op_neutral((op)k, t), v[n]);
        cr_expect_eq(got.i, v[n].i, "neutral %s of %s", op_get((op)k)->name, dtype_name(t));
        got = op_combine((op)k, t, op_identity((op)k, t), v[n]);
        bool same = dtype_is_float(t) ? got.f == v[n].f : got.i == v[n].i;
        cr_expect(same, "identity of %s of %s", op_get((op)k)->name, dtype_name(t));
      }
    }
  }
  cr_expect_geq(monoids, 20);
}

Test(ir_op, laws_hold) {
  for (int k = 0; k < OP_COUNT; k++) {
    const op_info *info = op_get((op)k);
    cr_expect(!info->splits || info->combine != OP_none, "%s", info->name);
    for (int i = 0; info->commutes && i < DT_COUNT; i++) {
      dtype t = (dtype)i, result;
      scalar v[8];
      arena a = {0};
      str why;
      if (op_result_type((op)k, (dtype[]){t, t}, 2, t, &result, &why, &a))
        for (int n = trial_values(t, v); n-- > 1;) {
          scalar x = op_eval((op)k, t, result, (scalar[]){v[n], v[n - 1]});
          scalar y = op_eval((op)k, t, result, (scalar[]){v[n - 1], v[n]});
          bool nan = dtype_is_float(result) && isnan(x.f) && isnan(y.f);
          cr_expect(nan || x.i == y.i, "%s of %s", info->name, dtype_name(t));
        }
      arena_free(&a);
    }
  }
}

Test(ir_op, identities) {
  cr_expect_eq(op_identity(OP_any, DT_bool).i, 0);
  cr_expect_eq(op_identity(OP_all, DT_bool).i, 1);
  cr_expect_eq(op_identity(OP_reduce_max, DT_i8).i, -128);
  cr_expect_eq(op_identity(OP_reduce_min, DT_u8).i, 255);
  cr_expect_eq(op_identity(OP_reduce_min, DT_i64).i, INT64_MAX);
  cr_expect_eq(op_identity(OP_reduce_min, DT_u64).i, -1);
  cr_expect_eq(op_identity(OP_reduce_max, DT_u64).i, 0);
  cr_expect_eq(op_identity(OP_reduce_min, DT_u32).i, UINT32_MAX);
}

Test(ir_op, type_rules) {
  arena a = {0};
  dtype out;
  str why;
#define GIVES(o, wanted, want, ...)                                                          \
  do {                                                                                       \
    dtype in[] = {__VA_ARGS__};                                                              \
    cr_expect(op_result_type(o, in, sizeof in / sizeof *in, wanted, &out, &why, &a), #o);    \
    cr_expect_eq(out, want, #o);                                                             \
  } while (0)
#define FAILS(o, wanted, text, ...)                                                              \
  do {                                                                                           \
    dtype in[] = {__VA_ARGS__};                                                                  \
    cr_expect_not(op_result_type(o, in, sizeof in / sizeof *in, wanted, &out, &why, &a), #o);    \
    cr_expect_str_eq(str_z(&a, why), text);                                                      \
  } while (0)
  GIVES(OP_add, 0, DT_i8, DT_i8, DT_i8);
  GIVES(OP_lt, 0, DT_bool, DT_f64, DT_f64);
  GIVES(OP_eq, 0, DT_bool, DT_bool, DT_bool);
  GIVES(OP_where, 0, DT_bf16, DT_bool, DT_bf16, DT_bf16);
  GIVES(OP_dot, 0, DT_f32, DT_bf16, DT_bf16);
  GIVES(OP_dot, 0, DT_i32, DT_u8, DT_u8);
  GIVES(OP_dot, 0, DT_u32, DT_u16, DT_u16);
  GIVES(OP_dot, 0, DT_u64, DT_u64, DT_u64);
  GIVES(OP_argmax, 0, DT_i32, DT_f32);
  GIVES(OP_cast, DT_f16, DT_f16, DT_bool);
  GIVES(OP_gather, 0, DT_f16, DT_f16, DT_i64);
  FAILS(OP_add, 0, "add needs equal number types other than f16, bf16, not f32, i32", DT_f32, DT_i32);
  FAILS(OP_add, 0, "add needs equal number types other than f16, bf16, not bf16, bf16", DT_bf16, DT_bf16);
  FAILS(OP_exp, 0, "exp needs f64 or f32 operands of one type, not i32", DT_i32);
  FAILS(OP_lt, 0, "lt needs two equal types other than f16, bf16 (bool: only eq and ne), not bool, bool",
        DT_bool, DT_bool);
  FAILS(OP_neg, 0, "neg takes 1 operand, not 2", DT_f32, DT_f32);
  FAILS(OP_bitcast, DT_i64, "bitcast needs f32 to i32 or u32, f64 to i64 or u64, or back, not f32",
        DT_f32);
  arena_free(&a);
}

// From kat_vectors of the Random123 library, philox4x32 with 10 rounds.
Test(ir_op, philox_known_answers) {
  const struct {
    uint32_t counter[4], key[2], want[4];
  } cases[] = {
      {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
       {0xffffffff, 0xffffffff},
       {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       {0xa4093822, 0x299f31d0},
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (size_t k = 0; k < 3; k++) {
    uint32_t c[4];
    memcpy(c, cases[k].counter, sizeof c);
    op_philox(c, (uint64_t)cases[k].key[1] << 32 | cases[k].key[0]);
    cr_expect_arr_eq(c, cases[k].want, sizeof c, "case %zu", k);
  }
  cr_expect_eq(op_random_bits(0, 0), UINT64_C(0xe169c58d6627e8d5));
}
