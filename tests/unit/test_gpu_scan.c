// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scans in chunks on a GPU: lengths with and without a rest, both storage orders, all kinds.
#include <criterion/criterion.h>
#include <math.h>

#include "base/fault.h"
#include "gpu_fixture.h"
#include "random_graph.h"

static void compare(const char *source, bool chunks) {
  lowered l;
  lowered_make(&l, source);
  interp_tensor in[4];
  for (int i = 0; i < l.original->nparams; i++)
    in[i] = random_input(&l.test.arena, l.original, l.original->nodes.data[i], 5);
  cr_expect_eq(lowered_count(&l, "local totals") > 0, chunks, "%s\n%s", source, l.text.ptr);
  lowered_compare(&l, in, 1e-5);
  lowered_free(&l);
}

Test(gpu_scan, long_ones_go_in_chunks) {
  compare("fn f(x: f32[N = 3, T = 1000]) -> f32[N, T] { return cumsum(x, T) }", true);
  compare("fn f(x: f32[N = 3, T = 1009]) -> f32[N, T] { return cumsum(x, T) }", true);
  compare("fn f(x: f32[T = 257, N = 40]) -> f32[T, N] { return cumsum(x, T) }", true);
  compare("fn f(x: f32[T = 131]) -> f32[T] { return cumsum(x, T) }", true);
  compare("fn f(x: f32[N = 5, T = 300, M = 7]) -> f32[N, T, M] { return cumsum(x, T) }", true);
  compare("fn f(x: f32[N = 3, T = 127]) -> f32[N, T] { return cumsum(x, T) }", false);
}

Test(gpu_scan, kinds) {
  compare("fn f(x: f32[N = 3, T = 331]) -> f32[N, T] { return cumsum(x, T, reverse = true) }",
          true);
  compare("fn f(x: f32[N = 3, T = 331]) -> f32[N, T] { return cumsum(x, T, exclusive = true) }",
          true);
  compare(
      "fn f(x: f32[N = 3, T = 331]) -> f32[N, T] { return cumsum(x, T, reverse = true, exclusive = "
      "true) }",
      true);
  compare("fn f(x: i32[N = 3, T = 331]) -> i32[N, T] { return cummax(x, T) }", true);
  compare("fn f(x: f32[N = 3, T = 331]) -> f32[N, T] { return cumprod(x * 0.1 + 1.0, T) }", true);
}

Test(gpu_scan, what_is_fused_with_it) {
  compare(
      "fn f(x: f32[N = 3, T = 331], w: f32[T]) -> f32[N, T] {\n"
      " return exp(cumsum(x * w, T) * 0.01) + w }",
      true);
  compare(
      "fn f(w: f32[N = 3]) -> f32[N, T = 200] {\n"
      " let one: f32[N, T] = w + f32(index(T)) * 0.0\n return cumsum(one, T) }",
      true);
}

#define AFFINE(sizes, call) "fn f(a: f32[" sizes "], x: f32[" sizes "]) -> f32[" sizes "] { return " call " }"

Test(gpu_scan, affine_ones_go_in_chunks) {
  compare(AFFINE("N = 3, T = 1000", "affine_scan(sigmoid(a), x, T)"), true);
  compare(AFFINE("N = 3, T = 1009", "affine_scan(sigmoid(a), x, T, reverse = true)"), true);
  compare(AFFINE("T = 257, N = 40", "affine_scan(tanh(a), x, T, exclusive = true)"), true);
  compare(AFFINE("T = 131", "affine_scan(cos(a), x, T, reverse = true, exclusive = true)"), true);
  compare(AFFINE("N = 5, T = 300, M = 7", "affine_scan(0.875, x, T)"), true);
  compare(AFFINE("N = 3, T = 127", "affine_scan(sigmoid(a), x, T)"), false);
  // Chunks of more than 256 elements, and what they leave over, carry f64.
  compare(AFFINE("T = 70001", "affine_scan(sigmoid(a), x, T)"), true);
  compare(
      "fn f(a: f64[T = 70001], x: f64[T]) -> f64[T] { return affine_scan(sigmoid(a), x, T) }", true);
  compare("fn f(a: i32[N = 3, T = 331], x: i32[N, T]) -> i32[N, T] { return affine_scan(a, x, T) }",
          true);
}

Test(gpu_scan, what_is_fused_with_affine_ones) {
  compare(
      "fn f(a: f32[D = 6], x: f32[N = 3, T = 331, D], w: f32[T]) -> f32[N, T, D] {\n"
      " return tanh(affine_scan(exp(-abs(a)), x * w, T)) + w }",
      true);
  compare("fn f(a: f32[N = 3, T = 200], x: f32[N]) -> f32[N, T] { return affine_scan(sin(a), x, T) }",
          true);
}

// The product of the factors of a chunk is infinite, but what it is multiplied with is 0.
Test(gpu_scan, factors_beyond_range_meet_zeros) {
  lowered l;
  lowered_make(&l, "fn f(x: f32[T = 16384]) -> f32[T] { return affine_scan(8.0, x, T) }");
  cr_assert_gt(lowered_count(&l, "local factors"), 0);
  interp_tensor in[1] = {random_input(&l.test.arena, l.original, l.original->nodes.data[0], 5)};
  for (int i = 0; i < 16384; i++) in[0].data[i].f = i == 16370;
  lowered_compare(&l, in, 1e-6);
  lowered_free(&l);
}
