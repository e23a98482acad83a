// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// f32 on tensor cores, where it is allowed: which unit, how operands lie on chip, and that the tile IR
// still computes the product.
#include <criterion/criterion.h>
#include <math.h>

#include "gpu_fixture.h"

static void expect_dots(const char *source, bool allowed, const char *unit, const char *columns) {
  target_info t = gpu_target;
  lowered l;
  if (allowed) t.tf32_flops_per_second = t.tensor_flops_per_second / 2;
  lowered_make_for(&l, source, &t);
  cr_expect_eq(lowered_count(&l, unit), 1, "%s: no \"%s\" in\n%s", source, unit, l.text.ptr);
  cr_expect_eq(lowered_count(&l, columns), 1, "%s: no \"%s\" in\n%s", source, columns, l.text.ptr);
  lowered_free(&l);
}

#define PRODUCT \
  "fn f(a: f32[M = 512, K = 512], b: f32[K, N = 1024]) -> f32[M, N] { return dot(a, b, K) }"
#define WEIGHTS \
  "fn f(a: f32[M = 512, K = 512], w: f32[N = 1024, K]) -> f32[M, N] { return dot(a, w, K) }"
#define ACROSS \
  "fn f(a: f32[K = 512, M = 512], b: f32[K, N = 1024]) -> f32[M, N] { return dot(a, b, K) }"

Test(gpu_tf32, it_fires) {
  expect_dots(WEIGHTS, true, "dot wgmma", "local columns1 : f32[N:64, K:32] panel K:32 swizzle");
  // Columns along K: the sides change places, and the rows are as in memory.
  expect_dots(PRODUCT, true, "dot wgmma", "local columns1 : f32[M:64, K:32] panel K:32 swizzle");
  expect_dots(PRODUCT, true, "dot wgmma", "local rows0 : f32[K:32, N:64] panel N:32 swizzle");
  expect_dots(ACROSS, true, "dot wgmma", "local columns1 : f32[N:64, K:32] panel K:32 swizzle");
}

Test(gpu_tf32, it_does_not_fire) {
  expect_dots(WEIGHTS, false, "= dot ", "= dot %");
  expect_dots(
      "fn f(a: f64[M = 512, K = 512], b: f64[K, N = 64]) -> f64[M, N] {"
      " return dot(a, b, K) }",
      true, "= dot ", "= dot %");
}

static interp_tensor values(arena *a, int64_t rows, int64_t columns) {
  interp_tensor t = {.type = DT_f32, .rank = 2, .dims = {rows, columns}};
  t.data = arena_array(a, scalar, rows * columns);
  for (int64_t i = 0; i < rows * columns; i++)
    t.data[i].f = (float)sin(12.9898 * (double)i + (double)rows);
  return t;
}

Test(gpu_tf32, numbers_stay) {
  static const struct {
    const char *source;
    int64_t a[2], b[2];
  } cases[] = {
      {"fn f(a: f32[M = 130, K = 70], b: f32[K, N = 72]) -> f32[M, N] { return dot(a, b, K) }",
       {130, 70},
       {70, 72}},
      {"fn f(a: f32[M = 130, K = 72], w: f32[N = 72, K]) -> f32[M, N] { return dot(a, w, K) }",
       {130, 72},
       {72, 72}},
      {"fn f(a: f32[K = 70, M = 132], b: f32[K, N = 72]) -> f32[M, N] { return dot(a, b, K) }",
       {70, 132},
       {70, 72}},
  };
  target_info t = gpu_target;
  t.tf32_flops_per_second = t.tensor_flops_per_second / 2;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lowered l;
    lowered_make_for(&l, cases[i].source, &t);
    arena *a = &l.test.arena;
    cr_expect_eq(lowered_count(&l, "dot wgmma"), 1, "%s", l.text.ptr);
    interp_tensor in[2] = {values(a, cases[i].a[0], cases[i].a[1]),
                           values(a, cases[i].b[0], cases[i].b[1])};
    lowered_compare(&l, in, 1e-4);
    lowered_free(&l);
  }
}
