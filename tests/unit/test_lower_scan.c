// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scans on CPUs: along rows of neighbours the walk is scalar and what belongs to it vector code;
// lanes run along another axis where neighbours are there.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "gpu_fixture.h"
#include "random_graph.h"

static const target_info cpu = {.name = {"test", 4}, .vector_bytes = 32, .vector_registers = 16,
    .l1_bytes = 32 << 10, .l2_bytes = 1 << 20, .l3_bytes = 8 << 20, .cores = 2,
    .flops_per_second = 80e9, .bytes_per_second = 25e9, .l2_bytes_per_second = 100e9};

/// In blocks of rows, if `blocks`; with lanes, if `lanes`.
static void compare(const char *source, bool blocks, bool lanes) {
  lowered l;
  lowered_make_for(&l, source, &cpu);
  interp_tensor in[4];
  for (int i = 0; i < l.original->nparams; i++)
    in[i] = random_input(&l.test.arena, l.original, l.original->nodes.data[i], 5);
  cr_expect_eq(lowered_count(&l, "local scanned") > 0, blocks, "%s\n%s", source, l.text.ptr);
  cr_expect_eq(lowered_count(&l, ") vec ") > 0, lanes, "%s\n%s", source, l.text.ptr);
  lowered_compare(&l, in, 1e-4);
  lowered_free(&l);
}

Test(lower_scan, rows_of_neighbours) {
  compare("fn f(x: f32[N = 5, T = 700]) -> f32[N, T] { return cumsum(x, T) }", false, false);
  compare("fn f(x: f32[N = 5, T = 700]) -> f32[N, T] { return tanh(cumsum(exp(x), T)) }", true, true);
  compare("fn f(x: f32[N = 5, T = 70]) -> f32[N, T] { return cumprod(sin(x), T, exclusive = true) }", true, true);
  compare("fn f(x: f64[N = 5, T = 700]) -> f64[N, T] { return cumsum(x * x, T, reverse = true) }", true, true);
  compare("fn f(x: i32[T = 700]) -> i32[T] { return cummax(x % 7 - 3, T, reverse = true) }", true, true);
  compare("fn f(a: f32[T = 700], x: f32[N = 5, T]) -> f32[N, T] {\n"
          " return affine_scan(sigmoid(a), tanh(x), T) * exp(x) }", true, true);
  compare("fn f(a: f64[N = 5], x: f64[N, T = 700]) -> (f64[N, T], f64[N, T]) {\n"
          " let y = affine_scan(sin(a), sin(x), T, reverse = true, exclusive = true)\n return (y, y * x) }", true, true);
  // One value for both operands.
  compare("fn f(x: f32[N = 5, T = 300]) -> f32[N, T] {\n let v = tanh(x)\n return affine_scan(v, v, T) }", true, true);
}

Test(lower_scan, columns_of_neighbours) {
  compare("fn f(x: f32[T = 700, N = 40]) -> f32[T, N] { return cumsum(x, T) }", false, true);
  compare("fn f(x: f32[T = 70, N = 40]) -> f32[T, N] { return tanh(cumsum(exp(x), T)) }", false, true);
  // Both: vectors of neighbours need no blocks.
  compare("fn f(a: f32[N = 40, T = 70], x: f32[T, N]) -> f32[T, N] { return affine_scan(sin(a), x, T) }", false, true);
}
