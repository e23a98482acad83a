// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Outputs that are larger than what is reduced, on a GPU: they are distributed as maps are and every
// block computes the reductions that it needs, only where that is less than what it stores, and the
// numbers are the graph's.
#include <criterion/criterion.h>
#include <math.h>

#include "gpu_fixture.h"

#define SCALED(y)                                       \
  "fn f(s: f32[N = 3, C = 6], y: f32[" y "]) -> f32[" y \
  "] {"                                                 \
  " return y / (sum(s * s, C) + max(s, C)) }"
#define FEW_ROWS "fn f(x: f16[N = 8, T = 128256]) -> f16[N, T] { return f16(softmax(x, T)) }"

/// What a grid tile of the last kernel has of an axis; 0: all of it.
static int tile_of(const lowered *l, const char *axis) {
  const kernel *k = l->p->kernels.data[l->p->kernels.len - 1];
  for (int i = 0; i < k->grid.len; i++)
    if (str_eqz(k->axes.data[k->grid.data[i].axis].name, axis)) return k->grid.data[i].extent;
  return 0;
}

/// Blocks share out the axis T of what the last kernel stores.
static void expect_tiles(const char *source, bool wanted) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(tile_of(&l, "T") > 0, wanted, "%s in\n%s", source, l.text.ptr);
  lowered_free(&l);
}

static void expect_kernels(const char *source, int n) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq((int)l.p->kernels.len, n, "%s in\n%s", source, l.text.ptr);
  lowered_free(&l);
}

Test(gpu_beside, it_fires) {
  expect_tiles(SCALED("N, T = 5000"), true);
  expect_tiles(SCALED("T = 5000, N"), true);  // lanes along the rows
  expect_tiles(FEW_ROWS, true);               // the last kernel of a split reduction
  expect_tiles("fn f(s: f32[N, C = 64], y: f32[N, T]) -> f32[N, T] { return y / sum(s * s, C) }",
               true);
}

Test(gpu_beside, it_does_not_fire) {
  // An output of rows alone; one along what is reduced; less to store than to reduce.
  expect_tiles(
      "fn f(s: f32[N = 3, C = 6], y: f32[N, T = 5000]) -> (f32[N, T], f32[N]) {"
      " let t = sum(s * s, C)\n return (y / t, t) }",
      false);
  expect_tiles(
      "fn f(s: f32[N = 3, C = 6], y: f32[N, C, T = 5000]) -> f32[N, C, T] {"
      " return y * s / sum(s * s, C) }",
      false);
  expect_tiles(
      "fn f(s: f32[N = 3000, C = 60], y: f32[N, T = 50]) -> f32[N, T] {"
      " return y / sum(s * s, C) }",
      false);
}

/// More than a block should repeat is a kernel of its own where the rows would leave the device idle.
Test(gpu_beside, long_reductions_of_few_rows_stay_apart) {
  expect_kernels(
      "fn f(s: f32[N = 3, C = 600], y: f32[N, T = 900000]) -> f32[N, T] {"
      " return y / sum(s * s, C) }",
      2);
  expect_kernels(
      "fn f(s: f32[N = 3000, C = 600], y: f32[N, T = 900000]) -> f32[N, T] {"
      " return y / sum(s * s, C) }",
      1);
}

static void compare(const char *source, int64_t reduced, int64_t first,
                    int64_t second) {
  lowered l;
  lowered_make(&l, source);
  cr_assert(tile_of(&l, "T"), "%s", l.text.ptr);
  interp_tensor in[] = {lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){3, reduced}),
                        lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){first, second})};
  lowered_compare(&l, in, 1e-4);
  lowered_free(&l);
}

Test(gpu_beside, the_numbers_stay) {
  compare(SCALED("N, T = 5000"), 6, 3, 5000);
  compare(SCALED("T = 1001, N"), 6, 1001, 3);
  // Reductions in one walk.
  compare(
      "fn f(s: f32[N = 3, C = 50], y: f32[N, T = 5000]) -> f32[N, T] {"
      " let m = max(s, C)\n return y * sum(exp(s - m), C) }",
      50, 3, 5000);
  lowered l;
  target_info small = gpu_target;
  small.cores = 8;
  lowered_make_for(&l, "fn f(x: f32[N = 2, T = 66000]) -> f32[N, T] { return softmax(x, T) }",
                   &small);
  cr_assert(tile_of(&l, "T"), "%s", l.text.ptr);
  interp_tensor x = lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){2, 66000});
  lowered_compare(&l, &x, 1e-4);
  lowered_free(&l);
}
