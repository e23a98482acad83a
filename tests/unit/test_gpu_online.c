// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rule exp-shift on a GPU: it fires, it does not where it must not, and infinities and NaN come
// out as in two walks.
#include <criterion/criterion.h>
#include <math.h>

#include "gpu_fixture.h"

static void expect_walks(const char *source, int walks) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, "loop "), walks, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

#define FN "fn f(x: f32[N, T], w: f32[T]) -> f32[N] { let m = max(x, T)\n "

Test(gpu_online, it_fires) {
  expect_walks(FN "return m + log(sum(exp(x - m), T)) }", 1);
  expect_walks(FN "return sum(exp(x - m) * w, T) / sum(exp(x - m), T) }", 1);
  expect_walks(FN "return sum(exp(x - m), T) + sum(x, T) }", 1);
  expect_walks(
      "fn f(x: f32[N, T]) -> f32[N, T] { let e = exp(x - max(x, T))\n return e / sum(e, T) }", 2);
}

#define SAFE FN "let s = where(m == -inf, 0, m)\n "

Test(gpu_online, the_shift_may_be_made_safe) {
  expect_walks(SAFE "return s + log(sum(exp(x - s), T)) }", 1);
  expect_walks(FN "return cross_entropy(x, i32(m), T) + w[T = 0] }", 2);  // the target needs m
  expect_walks("fn f(x: f32[N, T], t: i32[N]) -> f32[N] { return cross_entropy(x, t, T) }", 1);
}

Test(gpu_online, it_does_not_fire) {
  expect_walks(FN "return sum(exp(x - m) + w, T) }", 2);  // not a multiple of the exponential
  expect_walks(FN "return sum(exp(m - x), T) }", 2);      // grows the other way
  expect_walks(FN "return sum(exp(x * 2.0 - m), T) }",
               2);  // m is no bound of what is exponentiated
  expect_walks(FN "return sum(exp(x - m) * (x - m), T) }", 2);
  expect_walks(FN "return sum(exp(x - m) * sum(x, T), T) }", 2);
  expect_walks("fn f(x: f32[N, T]) -> f32[N] { let m = min(x, T)\n return sum(exp(x - m), T) }", 2);
  // A row that fits is read once anyway, without a running maximum.
  expect_walks(
      "fn f(x: f32[N, T = 1000]) -> f32[N] { let m = max(x, T)\n"
      " return m + log(sum(exp(x - m), T)) }",
      1);
}

enum { ROWS = 7 };

/// Ordinary rows, and rows of infinities and NaN in different places.
static void fill(interp_tensor *x, int64_t length) {
  for (int64_t i = 0; i < ROWS * length; i++) x->data[i].f = sin(12.9898 * (double)i) * 20;
  for (int64_t j = 0; j < length; j++) {
    if (j < length - 1) x->data[length + j].f = -INFINITY;
    x->data[2 * length + j].f = -INFINITY;
    if (j % 3) x->data[3 * length + j].f = -INFINITY;
  }
  x->data[4 * length + length / 2].f = INFINITY;
  x->data[5 * length].f = NAN;
  x->data[6 * length + length - 1].f = 1e4;
}

static void compare(const char *source, int64_t length) {
  lowered l;
  lowered_make(&l, source);
  arena *a = &l.test.arena;
  interp_tensor in[2] = {{.type = DT_f32, .rank = 2, .dims = {ROWS, length}},
                         {.type = DT_f32, .rank = 1, .dims = {length}}};
  in[0].data = arena_array(a, scalar, ROWS * length);
  in[1].data = arena_array(a, scalar, length);
  fill(&in[0], length);
  for (int64_t i = 0; i < length; i++) in[1].data[i].f = cos((double)i);
  lowered_compare(&l, in, 4e-6);
  lowered_free(&l);
}

Test(gpu_online, results_are_those_of_two_walks) {
  static const int64_t lengths[] = {1, 2, 7, 511, 513, 3000};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    compare(FN "return m + log(sum(exp(x - m), T)) + w[T = 0] * 0 }", lengths[i]);
    compare(SAFE "return s + log(sum(exp(x - s), T)) + w[T = 0] * 0 }", lengths[i]);
    compare(FN "let s = where(m == inf, 3, m)\n return sum(exp(x - s), T) + w[T = 0] }",
            lengths[i]);
    compare(FN "return sum(exp(x - m) * w, T) / sum(exp(x - m), T) + sum(x, T) }", lengths[i]);
    compare(
        "fn f(x: f32[N, T], w: f32[T]) -> f32[N, T] { let e = exp(x - max(x, T))\n"
        " return e / sum(e, T) + w }",
        lengths[i]);
  }
}
