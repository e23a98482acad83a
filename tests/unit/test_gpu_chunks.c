// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Few long rows on a GPU: they are cut into chunks that finish together where one walk suffices, and
// are not elsewhere; the numbers are right at sizes of all kinds, whatever the order of blocks.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gpu_fixture.h"

static void expect_chunks(const char *source, bool chunks) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, "  call @"), 1, "%s\n%s", source, l.text.ptr);
  cr_expect_eq(lowered_count(&l, "if finished"), chunks, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

#define FUSE(params, result, body) "fn f(" params ") -> " result " { fuse { " body " } }"
#define SUM(n) FUSE("x: f32[N = " n "]", "f32", "return sum(x, N)")

Test(gpu_chunks, it_fires) {
  expect_chunks(SUM("1000003"), true);
  expect_chunks(FUSE("x: f32[N = 131, T = 100000]", "f32[N]", "return sum(x, T)"), true);
  expect_chunks(FUSE("x: f32[N = 100000, D = 64]", "f32[D]", "return sum(x, N)"), true);
  expect_chunks(FUSE("x: f32[A = 7, B = 9, T = 100000]", "f32[A]", "return max(x, B, T)"), true);
  expect_chunks(FUSE("x: bf16[T = 100000], y: bf16[T]", "(f32, i32, f32)",
                     "return (sum(f32(x) * f32(y), T), argmax(x, T), sum(f32(x), T))"),
                true);
  expect_chunks(FUSE("x: f32[N = 3, T = 100000]", "f32[N]",
                     "let m = max(x, T)\n return log(sum(exp(x - m), T)) + m"),
                true);
}

Test(gpu_chunks, it_does_not_fire) {
  expect_chunks(SUM("1000"), false);   // a block has it at once
  expect_chunks(SUM("32768"), false);  // not worth the last block's work
  // blocks enough
  expect_chunks(FUSE("x: f32[N = 132, T = 100000]", "f32[N]", "return sum(x, T)"), false);
  // two walks: a block cannot wait for others
  expect_chunks(FUSE("x: f32[T = 100000]", "f32",
                     "let c = sum(x, T) / 100000.0\n return sum((x - c) * (x - c), T)"),
                false);
  // results along what is reduced
  expect_chunks(FUSE("x: f32[T = 100000]", "f32[T]", "return x / sum(x, T)"), false);
  // rows of a number that nobody knows
  expect_chunks("fn f(x: f32[N, T = 100000]) -> f32[N] { fuse { return sum(x, T) } }", false);
}

/// Of one result each, of few and many rows, of parts that are no whole steps, of none.
static void compare(const char *source, int64_t rows, int64_t length) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, "if finished"), 1, "%s\n%s", source, l.text.ptr);
  interp_tensor in[2];
  in[0] = rows ? lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){rows, length})
               : lowered_values(&l.test.arena, DT_f32, 1, (int64_t[]){length});
  in[1] = lowered_values(&l.test.arena, DT_f32, 1, (int64_t[]){length});
  lowered_compare(&l, in, 2e-5);
  lowered_free(&l);
}

Test(gpu_chunks, results_are_right) {
  compare(SUM("65536"), 0, 65536);
  compare(SUM("65537"), 0, 65537);
  compare(SUM("200001"), 0, 200001);
  compare(FUSE("x: f32[N = 5, T = 70001]", "f32[N]", "return sum(x, T) * 3.0"), 5, 70001);
  compare(FUSE("x: f32[N = 70001, D = 13]", "(f32[D], f32[D])", "return (sum(x, N), max(x, N))"),
          70001, 13);
  compare(FUSE("x: f32[N = 2, T = 70001], y: f32[T]", "f32[N]", "return sum(x * y, T)"), 2, 70001);
  compare(
      FUSE("x: f32[N = 2, T = 70001]", "(i32[N], i32[N])", "return (argmax(x, T), argmin(x, T))"),
      2, 70001);
  compare(FUSE("x: f32[N = 2, T = 70001], y: f32[T]", "(f32[N], f32[N], f32[N])",
               "let m = max(x, T)\n let e = exp(x - m)\n"
               " return (log(sum(e, T)) + m, sum(e * y, T) / sum(e, T), min(x, T))"),
          2, 70001);
}

/// Chunks of a length that only a call knows: some of them have no element.
Test(gpu_chunks, sizes_of_calls) {
  static const int64_t lengths[] = {0, 1, 50, 700};
  for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
    lowered l;
    lowered_make(&l,
                 "fn f(x: f32[N = 2, M, K = 100]) -> (f32[N], f32[N]) {"
                 " fuse { return (sum(x, M, K), max(x, M, K)) } }");
    cr_expect_eq(lowered_count(&l, "if finished"), 1, "%s", l.text.ptr);
    interp_tensor in = lowered_values(&l.test.arena, DT_f32, 3, (int64_t[]){2, lengths[i], 100});
    lowered_compare(&l, &in, 2e-5);
    lowered_free(&l);
  }
}

/// Rows of -inf, of infinities and NaN in one chunk, in several, in all.
static void compare_infinities(const char *source) {
  enum { ROWS = 7, LENGTH = 70001 };
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, "if finished"), 1, "%s", l.text.ptr);
  interp_tensor x = lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){ROWS, LENGTH});
  for (int j = 0; j < LENGTH; j++) {
    if (j < LENGTH - 1) x.data[LENGTH + j].f = -INFINITY;
    x.data[2 * LENGTH + j].f = -INFINITY;
    if (j < LENGTH / 2) x.data[3 * LENGTH + j].f = -INFINITY;
  }
  x.data[4 * LENGTH + 40000].f = INFINITY;
  x.data[5 * LENGTH + 1].f = NAN;
  x.data[6 * LENGTH + LENGTH - 1].f = 1e4;
  lowered_compare(&l, &x, 2e-5);
  lowered_free(&l);
}

#define ROWS "x: f32[N = 7, T = 70001]"

Test(gpu_chunks, infinities_and_nan_come_out) {
  compare_infinities(
      FUSE(ROWS, "f32[N]", "let m = max(x, T)\n return log(sum(exp(x - m), T)) + m"));
  compare_infinities(FUSE(ROWS, "f32[N]",
                          "let m = max(x, T)\n let s = where(m == -inf, 0, m)\n"
                          " return log(sum(exp(x - s), T)) + s"));
  compare_infinities(FUSE(ROWS, "(f32[N], i32[N])", "return (max(x, T), argmax(x, T))"));
}
