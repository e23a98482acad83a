// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// u16, u32 and u64 through the public header: values, indices, DLPack, on every way to run.
#include <stdio.h>

#include "tests/unit/api_support.h"

static tcf_tensor *over(tcf_dtype t, int64_t n, void *data) {
  tcf_tensor *x;
  cr_assert_eq(tcf_tensor_borrow(NULL, t, 1, &n, NULL, data, &x), TCF_OK);
  return x;
}

/// out of f(x, y) as integers.
static void call(tcf_function *f, tcf_tensor *x, tcf_tensor *y, int64_t *out, int64_t n) {
  tcf_tensor *r = NULL;
  cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x, y}, 2, &r, 1), TCF_OK);
  cr_assert_eq(tcf_tensor_elements(r), n);
  for (int64_t i = 0; i < n; i++) out[i] = tcf_tensor_get_integer(r, i);
  tcf_tensor_free(r);
}

Test(api_unsigned, arithmetic_is_without_sign) {
  static const struct {
    const char *body;
    uint64_t want[3];
  } cases[] = {
      {"x - y", {UINT64_MAX, UINT64_C(1) << 63, 3}},
      {"x / y", {0, 0, 2}},
      {"x % y", {1, INT64_MAX, 0}},
      {"max(x, y)", {2, UINT64_MAX, 6}},
      {"shift_right(x - y, 62)", {3, 2, 0}},
      {"u64(x < y)", {1, 1, 0}},
      {"x * 0 + 0xffffffffffffffff", {UINT64_MAX, UINT64_MAX, UINT64_MAX}},
      {"x * 0 + 18446744073709551615 - 5", {UINT64_MAX - 5, UINT64_MAX - 5, UINT64_MAX - 5}},
      {"u64(f64(y)) + x * 0", {2, UINT64_MAX, 3}},
      {"u64(u32(y)) + x * 0", {2, UINT32_MAX, 3}},
      {"u64(u16(i64(y))) + x * 0", {2, UINT16_MAX, 3}},
      {"u64(bool(y)) + x * 0", {1, 1, 1}},
      {"cumsum(x, N) + y * 0", {1, 1 + (uint64_t)INT64_MAX, 7 + (uint64_t)INT64_MAX}},
  };
  uint64_t x[] = {1, INT64_MAX, 6}, y[] = {2, UINT64_MAX, 3};
  for (int t = 0; t < TARGETS; t++) {
    tcf_session *s = open_on(every_target[t]);
    tcf_tensor *a = over(TCF_U64, 3, x), *b = over(TCF_U64, 3, y);
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
      char text[200];
      int64_t got[3];
      snprintf(text, sizeof text, "fn f(x: u64[N], y: u64[N]) -> u64[N] { return %s }",
               cases[k].body);
      call(compile(s, text), a, b, got, 3);
      for (int i = 0; i < 3; i++)
        cr_expect_eq((uint64_t)got[i], cases[k].want[i], "%s: element %d of %s is %llu",
                     every_target[t], i, cases[k].body, (unsigned long long)got[i]);
    }
    tcf_tensor_free(a);
    tcf_tensor_free(b);
    tcf_session_free(s);
  }
}

Test(api_unsigned, reductions_start_from_the_ends_of_the_type) {
  static const struct {
    const char *type;
    tcf_dtype t;
    uint64_t largest;
  } types[] = {{"u64", TCF_U64, UINT64_MAX}, {"u32", TCF_U32, UINT32_MAX}, {"u16", TCF_U16, 65535}};
  for (int t = 0; t < TARGETS; t++)
    for (int k = 0; k < 3; k++) {
      tcf_session *s = open_on(every_target[t]);
      char text[200];
      snprintf(text, sizeof text,
               "fn f(x: %s[N]) -> (%s, %s, i32) { return (min(x, N), max(x, N), argmin(x, N)) }",
               types[k].type, types[k].type, types[k].type);
      tcf_function *f = compile(s, text);
      for (int64_t n = 0; n < 3; n++) {
        tcf_tensor *x, *out[3] = {0};
        cr_assert_eq(tcf_tensor_new(s, types[k].t, 1, &n, &x), TCF_OK);
        if (n) memset(tcf_tensor_data(x), 0xff, (size_t)n * tcf_dtype_size(types[k].t));
        if (n) memset(tcf_tensor_data(x), 0xee, tcf_dtype_size(types[k].t));
        cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x}, 1, out, 3), TCF_OK);
        uint64_t first = types[k].largest / 15 * 14;
        uint64_t least = n ? first : types[k].largest;
        uint64_t most = n == 2 ? types[k].largest : n ? first : 0;
        cr_expect_eq((uint64_t)tcf_tensor_get_integer(out[0], 0), least, "%s of %s, %d elements",
                     types[k].type, every_target[t], (int)n);
        cr_expect_eq((uint64_t)tcf_tensor_get_integer(out[1], 0), most, "%s of %s, %d elements",
                     types[k].type, every_target[t], (int)n);
        cr_expect_eq(tcf_tensor_get_integer(out[2], 0), 0);
        for (int i = 0; i < 3; i++) tcf_tensor_free(out[i]);
        tcf_tensor_free(x);
      }
      tcf_session_free(s);
    }
}

/// An index that is small in its lower 32 bits is still outside.
Test(api_unsigned, indices) {
  static const char *const forms[] = {
      "fn f(t: u16[V = 5], i: u64[N]) -> u16[N] { return t[V = i] }",
      "fn f(t: u16[V], i: u64[N]) -> u16[N] { return t[V = i] }"};
  static const uint64_t bad[] = {5, UINT64_C(1) << 32, (UINT64_C(1) << 32) + 3, UINT64_MAX,
                                 UINT64_C(1) << 63};
  uint16_t table[] = {10, 11, 12, 13, 65535};
  for (int t = 0; t < TARGETS; t++)
    for (int k = 0; k < 2; k++) {
      tcf_session *s = open_on(every_target[t]);
      tcf_function *f = compile(s, forms[k]);
      if (k) cr_assert_eq(tcf_function_keep_symbolic(f, "V", 1), TCF_OK);
      uint64_t index[] = {4, 0, 3};
      int64_t got[3];
      tcf_tensor *v = over(TCF_U16, 5, table), *i = over(TCF_U64, 3, index), *out = NULL;
      call(f, v, i, got, 3);
      cr_expect(got[0] == 65535 && got[1] == 10 && got[2] == 13, "%s", every_target[t]);
      for (int b = 0; b < 5; b++) {
        index[1] = bad[b];
        cr_expect_eq(tcf_call(f, (const tcf_tensor *[]){v, i}, 2, &out, 1), TCF_WRONG_DATA,
                     "%s takes the index %llu", every_target[t], (unsigned long long)bad[b]);
      }
      tcf_tensor_free(v);
      tcf_tensor_free(i);
      tcf_session_free(s);
    }
}

Test(api_unsigned, elements_and_dlpack) {
  static const tcf_dtype types[] = {TCF_U64, TCF_U32, TCF_U16};
  static const char *const names[] = {"u64", "u32", "u16"};
  for (int k = 0; k < 3; k++) {
    size_t size = tcf_dtype_size(types[k]);
    cr_expect_eq(size, (size_t)8 >> k);
    cr_expect_str_eq(tcf_dtype_name(types[k]), names[k]);
    uint64_t ones = UINT64_MAX;
    tcf_tensor *x = over(types[k], 1, &ones), *back;
    cr_expect_eq(tcf_tensor_get_integer(x, 0), k ? (int64_t)((UINT64_C(1) << 8 * size) - 1) : -1);
    cr_expect_eq(tcf_tensor_get(x, 0), k ? (double)((UINT64_C(1) << 8 * size) - 1) : 0x1p64);
    struct DLManagedTensor *managed;
    cr_assert_eq(tcf_tensor_to_dlpack(NULL, x, &managed), TCF_OK);
    cr_assert_eq(tcf_tensor_from_dlpack(NULL, managed, &back), TCF_OK);
    cr_expect_eq(tcf_tensor_dtype(back), types[k]);
    cr_expect_eq(tcf_tensor_get_integer(back, 0), k ? (int64_t)((UINT64_C(1) << 8 * size) - 1) : -1);
    tcf_tensor_free(back);
  }
}

/// Fills go by value: the ends of the type saturate, a count wraps.
Test(api_unsigned, fills) {
  static const tcf_dtype types[] = {TCF_U64, TCF_U32, TCF_U16};
  const int64_t n = 70000;
  for (int k = 0; k < 3; k++) {
    uint64_t largest = UINT64_MAX >> (64 - 8 * tcf_dtype_size(types[k]));
    tcf_tensor *x;
    cr_assert_eq(tcf_tensor_new(NULL, types[k], 1, &n, &x), TCF_OK);
    tcf_tensor_fill_random(x, 1);
    uint64_t most = 0, seen = 0;
    for (int64_t i = 0; i < n; i++) {
      uint64_t v = (uint64_t)tcf_tensor_get_integer(x, i);
      most = v > most ? v : most;
      seen |= UINT64_C(1) << (v & 63);
    }
    cr_expect(most == 7 && seen == 255);
    tcf_tensor_fill_iota(x);
    cr_expect_eq((uint64_t)tcf_tensor_get_integer(x, 65537), k == 2 ? 1 : 65537);
    tcf_tensor_fill(x, 1e30);
    cr_expect_eq((uint64_t)tcf_tensor_get_integer(x, n - 1), largest);
    tcf_tensor_fill_uniform(x, 1, (double)largest * 0.9, (double)largest);
    for (int64_t i = 0; i < 1000; i++)
      cr_expect_geq((uint64_t)tcf_tensor_get_integer(x, i), (uint64_t)((double)largest * 0.89));
    tcf_tensor_free(x);
  }
}
