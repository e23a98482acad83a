// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Unaligned rows: operands of products are copied to aligned rows where that
// pays, temporaries get such rows at once, loads shift two aligned vectors, and results leave through
// shared memory.
#include <criterion/criterion.h>
#include <math.h>

#include "codegen/codegen.h"
#include "gpu_fixture.h"
#include "nvptx_fixture.h"

/// A device so slow at shifting operands that copies pay at sizes which the interpreter does in no
/// time.
static target_info one_core(void) {
  target_info t = gpu_target;
  t.cores = 1;
  return t;
}

static interp_tensor values(arena *a, dtype type, int64_t rows, int64_t columns) {
  interp_tensor t = {.type = type, .rank = 2, .dims = {rows, columns}};
  t.data = arena_array(a, scalar, rows * columns);
  for (int64_t i = 0; i < rows * columns; i++) {
    scalar v = {.f = sin(12.9898 * (double)i + (double)rows)};
    t.data[i] = scalar_cast(v, DT_f64, type);
  }
  return t;
}

static void expect_copies(const char *source, int copies, int padded) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, "what \"copy\""), copies, "%s\n%s", source, l.text.ptr);
  cr_expect_eq(lowered_count(&l, "] strides ["), padded, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

// Strides are printed with the buffer and with each argument that it is passed for.

Test(gpu_align, large_products_copy_their_operands) {
  expect_copies(
      "fn f(a: bf16[M = 1001, K = 711], b: bf16[K, N = 1289]) -> bf16[M, N] {"
      " return bf16(dot(a, b, K)) }",
      2, 6);
  expect_copies(
      "fn f(a: f16[M = 1000, K = 711], b: f16[K, N = 1288]) -> f32[M, N] { return dot(a, b, K) }",
      1, 3);
  // Seen through a view; two products share the copy.
  expect_copies(
      "fn f(a: bf16[M = 1024, K = 2, J = 511], b: bf16[N = 1288, K, J], c: bf16[N, K, J])"
      " -> (f32[M, N], f32[M, N]) { let x = a[(K, J) -> L]\n let y = b[(K, J) -> L]\n"
      " let z = c[(K, J) -> L]\n return (dot(x, y, L), dot(x, z, L)) }",
      3, 7);
}

Test(gpu_align, copies_that_do_not_pay_are_not_made) {
  expect_copies(
      "fn f(a: bf16[M = 1000, K = 712], b: bf16[K, N = 1288]) -> bf16[M, N] {"
      " return bf16(dot(a, b, K)) }",
      0, 0);
  expect_copies(
      "fn f(a: bf16[M = 99, K = 103], b: bf16[K, N = 101]) -> bf16[M, N] {"
      " return bf16(dot(a, b, K)) }",
      0, 0);
  expect_copies(
      "fn f(a: f32[M = 1001, K = 711], b: f32[K, N = 1289]) -> f32[M, N] { return dot(a, b, K) }",
      0, 0);
}

#define TWO_PRODUCTS                                                                      \
  "fn f(a: bf16[M = 40, K = 72], b: bf16[K, N = 267], c: bf16[N, P = 48]) -> f32[M, P] {" \
  " let h = bf16(tanh(dot(a, b, K)))\n return dot(h, c, N) }"

Test(gpu_align, temporaries_get_aligned_rows) {
  expect_copies(TWO_PRODUCTS, 0, 3);
  // Rows that a third would be added to stay as they are.
  expect_copies(
      "fn f(a: bf16[M = 40, K = 72], b: bf16[K, N = 9], c: bf16[N, P = 48]) -> f32[M, P] {"
      " let h = bf16(tanh(dot(a, b, K)))\n return dot(h, c, N) }",
      0, 0);
  // A reduction reads them at full speed anyway.
  expect_copies(
      "fn f(a: bf16[M = 40, K = 72], b: bf16[K, N = 67]) -> f32[M, N] {"
      " return softmax(dot(a, b, K), N) }",
      0, 0);
}

Test(gpu_align, numbers_stay) {
  lowered l;
  lowered_make(&l, TWO_PRODUCTS);
  arena *a = &l.test.arena;
  interp_tensor in[3] = {values(a, DT_bf16, 40, 72), values(a, DT_bf16, 72, 267),
                         values(a, DT_bf16, 267, 48)};
  lowered_compare(&l, in, 1e-2);
  lowered_free(&l);
  target_info slow = one_core();
  lowered_make_for(&l,
                   "fn f(a: bf16[M = 130, K = 67], b: bf16[K, N = 131]) -> bf16[M, N] {"
                   " return bf16(dot(a, b, K)) }",
                   &slow);
  a = &l.test.arena;
  interp_tensor odd[2] = {values(a, DT_bf16, 130, 67), values(a, DT_bf16, 67, 131)};
  lowered_compare(&l, odd, 1e-2);
  lowered_free(&l);
}

// ---- code

static str ptx_of(lowered *l, const char *arch) {
  codegen_options o = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  str error;
  cr_assert(codegen_cuda(&l->test.arena, l->p, &o, &out, &error), "%.*s",
            STR_FMT(error));
  return (str){out.data, (int)out.size};
}

Test(gpu_align, loads_shift_two_aligned_vectors) {
  static const struct {
    const char *source;
    bool shifts;
  } cases[] = {
      {"fn f(x: bf16[N = 64, T = 4097]) -> bf16[N, T] { return bf16(tanh(x[N -> N, T -> T])) }",
       false},
      {"fn f(x: bf16[N = 64, T = 4104], w: bf16[T]) -> bf16[N, S = 4096] {"
       " return bf16(x[T = 1:4097 -> S] * 2.0) }",
       true},
      {"fn f(x: f32[N = 64, T = 4104]) -> f32[N, S = 4096] { return x[T = 2:4098 -> S] * 2.0 }",
       false},
      {"fn f(x: f32[N = 64, T = 4104]) -> f32[N, S = 4096] { return x[T = 3:4099 -> S] * 2.0 }",
       true},
      {"fn f(x: u8[N = 64, T = 4104]) -> u8[N, S = 4096] { return x[T = 3:4099 -> S] + u8(1) }",
       false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lowered l;
    lowered_make(&l, cases[i].source);
    str ptx = ptx_of(&l, "sm_90a");
    bool shifts = nvptx_count(ptx, "selp.b32") + nvptx_count(ptx, "shf.") > 4;
    cr_expect_eq(shifts, cases[i].shifts, "%s\n%.*s", cases[i].source, STR_FMT(ptx));
    nvptx_report r = nvptx_assemble(ptx, "sm_90a");
    cr_expect(!r.spill_bytes);
    lowered_free(&l);
  }
}

Test(gpu_align, odd_results_leave_through_shared_memory) {
  lowered l;
  lowered_make(&l,
               "fn f(a: bf16[M = 1000, K = 704], b: bf16[N = 1289, K]) -> bf16[M, N] {"
               " return bf16(dot(a, b, K)) }");
  str ptx = ptx_of(&l, "sm_90a");
  cr_expect_gt(nvptx_count(ptx, "stmatrix"), 0);
  cr_expect_gt(nvptx_count(ptx, "st.global.b32"), 0);
  cr_expect_eq(nvptx_count(ptx, "global.shared::cta"), 0);  // not by the engine
  nvptx_report r = nvptx_assemble(ptx, "sm_90a");
  cr_expect(!r.spill_bytes && !r.warnings);
  lowered_free(&l);
}
