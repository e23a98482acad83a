// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Map ops and casts as compiled equal the scalar meaning (op_eval, scalar_cast) bit for bit, for
// all types, on every instruction set this machine has, as vectors and as scalar code.
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "tests/unit/math_jit.h"

enum { COUNT = 6144 };

typedef struct operands {
  dtype t;
  unsigned char *data[3];
} operands;

static uint64_t next(uint64_t *state) {  // splitmix64
  uint64_t z = (*state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static const double special_floats[] = {
    0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, -0.9, INFINITY, -INFINITY, NAN,
    // limits and ties of the float types
    0x1p-149, -0x1p-149, 0x1p-1074, 0x1p-126, 3.4e38, -3.4e38, 0x1.fffffep127, 1e300, -1e300,
    0x1p-24, 0x1p-25, 0x1.ff8p-15, 65504, 65519, 65520, 65536, 0x1.008p0, 0x1.018p0,
    0x1.00800000001p0, 0x1.01p0, 0x1.03p0, 0x1.01000001p0,
    // limits of the integer types
    127.5, 128, -128.5, -129, 255.5, 256, 32767.9, 32768, -32769, 2147483520, 2147483647,
    2147483648.0, -2147483648.0, -2147483649.0, 0x1p63, -0x1p63, 0x1p63 - 1024, 65535.9,
    4294967295.0, 4294967296.0, 0x1p64, 0x1p64 - 2048, 0x1.8p63};

static const int64_t special_ints[] = {0,
                                       1,
                                       -1,
                                       2,
                                       -2,
                                       7,
                                       31,
                                       32,
                                       63,
                                       64,
                                       127,
                                       128,
                                       -128,
                                       255,
                                       256,
                                       32767,
                                       -32768,
                                       65504,
                                       65520,
                                       INT32_MAX,
                                       INT32_MIN,
                                       INT64_MAX,
                                       INT64_MIN,
                                       0x1000001,
                                       0x1008000,
                                       0x1018001,
                                       -0x1008001,
                                       INT64_C(0x20000000000001),
                                       INT64_C(0x20000000000003),
                                       -INT64_C(0x101000000000001),
                                       65535,
                                       65536,
                                       UINT32_MAX,
                                       INT64_C(0x100000000),
                                       -INT64_C(0x7fffffffffffefff)};

/// Random bits, random values of moderate size, and every pair of special values.
static void fill(dtype t, unsigned char *out, int which, uint64_t seed) {
  int floats = (int)(sizeof special_floats / sizeof *special_floats);
  int ints = (int)(sizeof special_ints / sizeof *special_ints);
  int size = dtype_bytes(t), specials = dtype_is_float(t) ? floats : ints;
  uint64_t state = seed * 977 + (uint64_t)which;
  for (int k = 0; k < COUNT; k++) {
    scalar v;
    uint64_t r = next(&state);
    if (k < specials * specials) {
      int s = which == 0 ? k % specials : which == 1 ? k / specials : (k * 7 + 3) % specials;
      v = dtype_is_float(t) ? scalar_cast((scalar){.f = special_floats[s]}, DT_f64, t)
                            : scalar_cast((scalar){.i = special_ints[s]}, DT_i64, t);
    } else if (k % 2 || t == DT_bool) {
      v = dtype_is_float(t)
              ? scalar_cast((scalar){.f = ldexp((double)(int64_t)r, (int)(r % 40) - 80)}, DT_f64, t)
              : scalar_cast((scalar){.i = (int64_t)r >> (r & 63)}, DT_i64, t);
    } else {
      v = scalar_load(&r, t);
    }
    scalar_store(out + k * size, t, v);
  }
}

static bool same(dtype t, scalar a, scalar b, bool ignore_zero_sign) {
  if (!dtype_is_float(t)) return a.i == b.i;
  if (isnan(a.f) || isnan(b.f)) return isnan(a.f) && isnan(b.f);
  return a.f == b.f && (a.f != 0 || ignore_zero_sign || signbit(a.f) == signbit(b.f));
}

static void check_results(op o, dtype t, dtype result, const math_target *target, int lanes,
                          const operands *in, const unsigned char *got) {
  int nin = op_get(o)->arity, failures = 0;
  for (int k = 0; k < COUNT && failures < 3; k++) {
    scalar args[3];
    for (int n = 0; n < nin; n++) {
      dtype type = o == OP_where && n == 0 ? DT_bool : t;
      args[n] = scalar_load(in->data[n] + k * dtype_bytes(type), type);
    }
    scalar want = op_eval(o, t, result, args);
    scalar have = scalar_load(got + k * dtype_bytes(result), result);
    bool zeros_alike = o == OP_min || o == OP_max;
    if (same(result, want, have, zeros_alike)) continue;
    failures++;
    cr_expect(false, "%s %s -> %s on %s x%d: (%a|%lld, %a|%lld, %a) gives %a|%lld, not %a|%lld",
              op_get(o)->name, dtype_name(t), dtype_name(result), target->name, lanes, args[0].f,
              (long long)args[0].i, nin > 1 ? args[1].f : 0.0, nin > 1 ? (long long)args[1].i : 0,
              nin > 2 ? args[2].f : 0.0, have.f, (long long)have.i, want.f, (long long)want.i);
  }
}

static void check_op(math_jit *j, op o, dtype t, dtype result) {
  operands in = {.t = t};
  int nin = op_get(o)->arity, count;
  for (int n = 0; n < nin; n++) {
    dtype type = o == OP_where && n == 0 ? DT_bool : t;
    in.data[n] = malloc((size_t)COUNT * (size_t)dtype_bytes(type));
    fill(type, in.data[n], n, (uint64_t)o + 1);
  }
  unsigned char *got = malloc((size_t)COUNT * (size_t)dtype_bytes(result));
  const math_target *targets = math_targets(&count);
  for (int k = 0; k < count; k++)
    for (int wide = 0; wide < 2; wide++) {
      int lanes = wide ? targets[k].vector_bytes / 4 : 0;
      math_loop *loop = math_jit_loop(j, &targets[k], o, t, result, lanes);
      loop(got, in.data[0], in.data[1], in.data[2], COUNT);
      check_results(o, t, result, &targets[k], lanes, &in, got);
    }
  for (int n = 0; n < nin; n++) free(in.data[n]);
  free(got);
}

static void check_ops(const op *ops, int n, dtype t, bool gives_bool) {
  math_jit *j = math_jit_new();
  for (int k = 0; k < n; k++) check_op(j, ops[k], t, gives_bool ? DT_bool : t);
  math_jit_free(j);
}
#define CHECK(t, gives_bool, ...)                                                             \
  check_ops((const op[]){__VA_ARGS__}, (int)(sizeof((op[]){__VA_ARGS__}) / sizeof(op)), (t), \
            (gives_bool))

static void check_arithmetic(dtype t) {
  CHECK(t, false, OP_add, OP_sub, OP_mul, OP_div, OP_rem, OP_min, OP_max, OP_neg, OP_abs, OP_sign,
        OP_where);
  CHECK(t, true, OP_lt, OP_le, OP_gt, OP_ge, OP_eq, OP_ne);
}

static void check_float(dtype t) {
  check_arithmetic(t);
  CHECK(t, false, OP_floor, OP_ceil, OP_round, OP_trunc, OP_sqrt, OP_fma);
  CHECK(t, true, OP_is_nan, OP_is_inf);
}

static void check_int(dtype t) {
  check_arithmetic(t);
  CHECK(t, false, OP_and, OP_or, OP_xor, OP_not, OP_shl, OP_shr);
}

Test(math_map, f32) { check_float(DT_f32); }
Test(math_map, f64) { check_float(DT_f64); }
Test(math_map, i64) { check_int(DT_i64); }
Test(math_map, i32) { check_int(DT_i32); }
Test(math_map, i16) { check_int(DT_i16); }
Test(math_map, i8) { check_int(DT_i8); }
Test(math_map, u64) { check_int(DT_u64); }
Test(math_map, u32) { check_int(DT_u32); }
Test(math_map, u16) { check_int(DT_u16); }
Test(math_map, u8) { check_int(DT_u8); }

Test(math_map, booleans) {
  CHECK(DT_bool, false, OP_and, OP_or, OP_xor, OP_not, OP_where, OP_eq, OP_ne);
}

Test(math_map, storage_types) {
  CHECK(DT_f16, false, OP_where);
  CHECK(DT_bf16, false, OP_where);
}

Test(math_map, random_bits) { CHECK(DT_i64, false, OP_random_bits); }

Test(math_map, bitcasts) {
  math_jit *j = math_jit_new();
  check_op(j, OP_bitcast, DT_f32, DT_i32);
  check_op(j, OP_bitcast, DT_i32, DT_f32);
  check_op(j, OP_bitcast, DT_f64, DT_i64);
  check_op(j, OP_bitcast, DT_i64, DT_f64);
  check_op(j, OP_bitcast, DT_f32, DT_u32);
  check_op(j, OP_bitcast, DT_u64, DT_f64);
  math_jit_free(j);
}

static void check_casts_from(dtype from) {
  math_jit *j = math_jit_new();
  for (int to = 0; to < DT_COUNT; to++) check_op(j, OP_cast, from, (dtype)to);
  math_jit_free(j);
}
#define X(name, bytes, class, npy) \
  Test(math_cast, from_##name) { check_casts_from(DT_##name); }
DTYPES(X)
#undef X

/// All 65536 values of a 16-bit float to f32, then back: the same, NaN quiet.
static void check_all_of(dtype t) {
  math_jit *j = math_jit_new();
  int count;
  const math_target *targets = math_targets(&count);
  uint16_t *half = malloc(65536 * 2), *back = malloc(65536 * 2);
  float *wide = malloc(65536 * 4);
  for (int k = 0; k < 65536; k++) half[k] = (uint16_t)k;
  for (int k = 0; k < count; k++) {
    int lanes = targets[k].vector_bytes / 4;
    math_jit_loop(j, &targets[k], OP_cast, t, DT_f32, lanes)(wide, half, NULL, NULL, 65536);
    math_jit_loop(j, &targets[k], OP_cast, DT_f32, t, lanes)(back, wide, NULL, NULL, 65536);
    for (int i = 0; i < 65536; i++) {
      scalar want = scalar_load(&half[i], t);
      cr_assert(same(DT_f32, want, (scalar){.f = wide[i]}, false), "%s %x on %s: %a",
                dtype_name(t), i, targets[k].name, wide[i]);
      uint16_t expected = half[i];
      if (isnan(want.f)) expected |= t == DT_f16 ? 0x200 : 0x40;
      cr_assert(back[i] == expected, "%s %x on %s: back %x", dtype_name(t), i, targets[k].name,
                back[i]);
    }
  }
  free(half);
  free(back);
  free(wide);
  math_jit_free(j);
}

Test(math_cast, all_f16) { check_all_of(DT_f16); }
Test(math_cast, all_bf16) { check_all_of(DT_bf16); }

/// Nothing is left to a device library: the PTX declares no external function.
Test(math_map, ptx_calls_nothing) {
  const dtype types[] = {DT_f32, DT_f64};
  for (int t = 0; t < 2; t++)
    for (int o = 0; o < OP_COUNT; o++) {
      op_types rule = op_get((op)o)->types;
      if (!op_is_map((op)o) || (rule != TYPES_FLOAT && rule != TYPES_NUM && rule != TYPES_CAST))
        continue;
      char *text = math_ptx((op)o, types[t], rule == TYPES_CAST ? DT_bf16 : types[t]);
      cr_expect(strstr(text, "st.") && !strstr(text, ".extern"), "%s", op_get((op)o)->name);
      free(text);
    }
}
