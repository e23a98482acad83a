// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Parts of the language by value: arguments of extremes along several axes, new axes with a size,
// cross-entropy with targets that are none, attention whose values are as wide as its keys.
#include <math.h>

#include "tests/unit/api_support.h"

typedef struct by_value {
  const char *text;
  double want[12];
  int n;
} by_value;

/// f(x) with x = [[3, -1, 7], [7, 2, nan or 0]].
static void check_values(const by_value *cases, int count, float last) {
  float x[] = {3, -1, 7, 7, 2, last};
  for (int t = 0; t < TARGETS; t++)
    for (int k = 0; k < count; k++) {
      tcf_session *s = open_on(every_target[t]);
      tcf_function *f = compile(s, cases[k].text);
      tcf_tensor *in, *out = NULL;
      cr_assert_eq(tcf_tensor_borrow(s, TCF_F32, 2, (int64_t[]){2, 3}, NULL, x, &in), TCF_OK);
      cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){in}, 1, &out, 1), TCF_OK, "%s",
                   tcf_session_message(s));
      cr_assert_eq(tcf_tensor_elements(out), cases[k].n, "%s", cases[k].text);
      for (int i = 0; i < cases[k].n; i++)
        cr_expect_float_eq(tcf_tensor_get(out, i), cases[k].want[i], 1e-5,
                           "%s on %s: element %d is %g, not %g", cases[k].text, every_target[t], i,
                           tcf_tensor_get(out, i), cases[k].want[i]);
      tcf_tensor_free(in);
      tcf_tensor_free(out);
      tcf_session_free(s);
    }
}
#define CHECK(last, ...)                                                      \
  do {                                                                        \
    static const by_value cases_[] = {__VA_ARGS__};                           \
    check_values(cases_, (int)(sizeof cases_ / sizeof *cases_), (last));      \
  } while (0)

#define FN(type) "fn f(x: f32[A = 2, B = 3]) -> " type " { return "

Test(api_language, extremes_along_several_axes) {
  CHECK(0, {FN("i32") "argmax(x, A, B) }", {2}, 1},     // 0 * 3 + 2: the first 7
        {FN("i32") "argmax(x, B, A) }", {1}, 1},        // 0 * 2 + 1: by columns the 7 of row 1
        {FN("i32") "argmin(x, A, B) }", {1}, 1},
        {FN("i32") "argmin(x, B, A) }", {2}, 1},
        {"fn f(x: f32[A, B]) -> i32 { return argmax(x, B, A) }", {1}, 1},
        {FN("i32[C = 2]") "argmax(x * broadcast(1 - 2 * f32(index(C = 2)), A, B), A, B) }", {2, 1}, 2},
        {FN("i32[A]") "argmax(x[B -> (P = 3, Q = 1)], Q, P) }", {2, 0}, 2});
  CHECK(NAN, {FN("i32") "argmax(x, A, B) }", {5}, 1}, {FN("i32") "argmin(x, B, A) }", {5}, 1});
}

Test(api_language, extremes_of_bools) {
  CHECK(0, {FN("i32[A]") "argmax(x < 1, B) }", {1, 2}, 2},   // the first true one
        {FN("i32[A]") "argmin(x > 2, B) }", {1, 1}, 2},      // the first false one
        {FN("i32[A]") "argmax(x > 100, B) }", {0, 0}, 2},    // none: all are equal
        {FN("i32") "argmax(x == 2, A, B) }", {4}, 1});
}

Test(api_language, axes_with_a_size) {
  CHECK(0, {FN("i32[R = 4]") "index(R = 4) }", {0, 1, 2, 3}, 4},
        {FN("f32[A, R = 2]") "broadcast(x[B = 0], R = 2) }", {3, 3, 7, 7}, 4},
        {FN("f32[R = 1, A]") "broadcast(x[B = 0], R = 1) }", {3, 7}, 2},
        {FN("f32[M = 3]") "broadcast(0.5, M = 3) }", {0.5, 0.5, 0.5}, 3},
        {FN("i64[A, R = 2]") "linear_index(A, R = 2) }", {0, 1, 2, 3}, 4},
        {"fn f(x: f32[A, B]) -> i32[R = A + B] { return index(R = A + B) * 2 }", {0, 2, 4, 6, 8}, 5},
        {"fn f(x: f32[A, B]) -> i32[B] { return index(B = B) + index(R = 3)[R = 1] }", {1, 2, 3}, 3});
}

static tcf_tensor *targets_of(tcf_session *s, int32_t *data) {
  tcf_tensor *t;
  cr_assert_eq(tcf_tensor_borrow(s, TCF_I32, 1, (int64_t[]){2}, NULL, data, &t), TCF_OK);
  return t;
}

Test(api_language, targets_outside_are_errors_unless_ignored) {
  static const char *const texts[] = {
      "fn f(x: f32[N, V], t: i32[N]) -> f32[N] { return cross_entropy(x, t, V) }",
      "fn f(x: f32[N, V], t: i32[N]) -> f32[N] { return cross_entropy(x * 1.0, t, V) }",
      "fn f(x: f32[N, V], t: i32[N]) -> f32[N] { return masked_cross_entropy(x, t, -7, V) }"};
  float logits[] = {0, 0, 0, 1, 2, 3};
  const double row = log(exp(1) + exp(2) + exp(3));
  for (int target = 0; target < TARGETS; target++)
    for (int k = 0; k < 3; k++) {
      tcf_session *s = open_on(every_target[target]);
      tcf_function *f = compile(s, texts[k]);
      int32_t t[] = {2, 0};
      tcf_tensor *x, *out = NULL, *ts = targets_of(s, t);
      cr_assert_eq(tcf_tensor_borrow(s, TCF_F32, 2, (int64_t[]){2, 3}, NULL, logits, &x), TCF_OK);
      const tcf_tensor *in[] = {x, ts};
      cr_assert_eq(tcf_call(f, in, 2, &out, 1), TCF_OK);
      cr_expect_float_eq(tcf_tensor_get(out, 0), log(3), 1e-5);
      cr_expect_float_eq(tcf_tensor_get(out, 1), row - 1, 1e-5);
      for (int bad = -8; bad < 5; bad++) {
        t[0] = bad;
        bool inside = bad >= 0 && bad < 3, ignored = k == 2 && bad == -7;
        tcf_status want = inside || ignored ? TCF_OK : TCF_WRONG_DATA;
        cr_expect_eq(tcf_call(f, in, 2, &out, 1), want, "%s on %s: target %d", texts[k],
                     every_target[target], bad);
        if (ignored) cr_expect_eq(tcf_tensor_get(out, 0), 0);
      }
      tcf_tensor_free(x);
      tcf_tensor_free(ts);
      tcf_tensor_free(out);
      tcf_session_free(s);
    }
}

/// An ignored row has no influence, whatever its logits are.
Test(api_language, ignored_rows_may_hold_anything) {
  float logits[] = {INFINITY, NAN, 0, 1, 2, 3};
  int32_t t[] = {-100, 2};
  for (int target = 0; target < TARGETS; target++) {
    tcf_session *s = open_on(every_target[target]);
    tcf_function *f = compile(s, "fn f(x: f32[N, V], t: i32[N]) -> f32 {\n"
                                 "  let n = sum(f32(t != -100), N)\n"
                                 "  return sum(masked_cross_entropy(x, t, -100, V), N) / n\n}");
    tcf_tensor *x, *out = NULL, *ts = targets_of(s, t);
    cr_assert_eq(tcf_tensor_borrow(s, TCF_F32, 2, (int64_t[]){2, 3}, NULL, logits, &x), TCF_OK);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x, ts}, 2, &out, 1), TCF_OK);
    cr_expect_float_eq(tcf_tensor_get(out, 0), log(exp(1) + exp(2) + exp(3)) - 3, 1e-5);
    tcf_tensor_free(x);
    tcf_tensor_free(ts);
    tcf_tensor_free(out);
    tcf_session_free(s);
  }
}

/// Values with the axis D of queries and keys, and with another one of the same size: the same.
Test(api_language, attention_values_as_wide_as_keys) {
  CHECK(0,
        {FN("f32[A, B]") "attention(x, x[A -> T], x[A -> T], T, B) - "
                         "attention(x, x[A -> T], x[A -> T, B -> E], T, B)[E -> B] }",
         {0, 0, 0, 0, 0, 0}, 6},
        {FN("f32[A, B]") "masked_attention(x, x[A -> T], x[A -> T], index(A) != index(T), T, B) }",
         {7, 2, 0, 3, -1, 7}, 6});
}

/// Two names of a function for one axis of the caller: the axes are two in the function.
Test(api_language, names_of_a_function_are_its_own) {
  CHECK(0,
        {"fn both(a: f32[P, D], b: f32[Q, D]) -> f32[D] { return sum(a, P) * sum(b, Q) + sum(a * b, P, Q) }\n"
         "fn f(x: f32[A, B]) -> f32[B] { return both(x, x) }",
         {200, 2, 98}, 3},
        {"fn swap(a: real[.., P], b: real[.., Q]) -> real[.., Q] { return max(a, P) + b }\n"
         "fn f(x: f32[A, B]) -> f32[A, B] { return swap(x, x) }",
         {10, 6, 14, 14, 9, 7}, 6});
}
