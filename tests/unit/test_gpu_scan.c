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
