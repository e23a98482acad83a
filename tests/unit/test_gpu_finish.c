// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reductions of rows that a contraction finished, in its kernel: it fires, it does not where a block
// cannot hold the rows, and the numbers stay right.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gpu_fixture.h"

static void expect_kernels(const char *source, const target_info *target, int kernels) {
  lowered l;
  lowered_make_for(&l, source, target);
  cr_expect_eq(lowered_count(&l, "  call @"), kernels, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

#define SCORES                                                                                  \
  "fn f(q: f16[B = 8, S = 200, D = 64], k: f16[B, T = 150, D], m: i32[B, T]) -> f16[B, S, T] {" \
  " return f16(softmax(where(m != 0, dot(q, k, D) * 0.125, -inf), T)) }"
#define NORM                                                                   \
  "fn f(x: f32[N = 300, D = 40], w: f32[D, E = 70], g: f32[E]) -> f32[N, E] {" \
  " let y = dot(x, w, D)\n let c = y - sum(y, E) / E\n"                        \
  " return c * rsqrt(sum(c * c, E) / E + 1e-5) * g }"

Test(gpu_finish, it_fires) {
  expect_kernels(SCORES, &gpu_target, 1);
  expect_kernels(NORM, &gpu_target, 1);
  // The axis of the first operand: the sides change places.
  expect_kernels(
      "fn f(w: f16[E = 70, D = 64], x: f16[N = 300, D]) -> f32[N, E] {"
      " return softmax(dot(w, x, D), E) }",
      &gpu_target, 1);
  target_info ampere = gpu_named("sm_80");
  expect_kernels(
      "fn f(x: f16[N = 300, D = 64], w: f16[E = 128, D]) -> f16[N, E] {"
      " return f16(softmax(dot(x, w, D), E)) }",
      &ampere, 1);
}

Test(gpu_finish, it_does_not_fire) {
  static const char *const sources[] = {
      // more columns than a block tile has
      "fn f(x: f16[N = 300, D = 64], w: f16[E = 300, D]) -> f16[N, E] {"
      " return f16(softmax(dot(x, w, D), E)) }",
      // of unknown size
      "fn f(x: f16[N = 300, D = 64], w: f16[E, D]) -> f16[N, E] {"
      " return f16(softmax(dot(x, w, D), E)) }",
      // an axis of both operands
      "fn f(x: f16[B = 8, N = 300, D = 64], w: f16[B, E = 40, D]) -> f16[B, N, E] {"
      " return f16(softmax(dot(x, w, D), B)) }",
      // along rows and along columns
      "fn f(x: f16[N = 200, D = 64], w: f16[E = 100, D]) -> f32[N, E] {"
      " let y = dot(x, w, D)\n return softmax(y, E) * sum(y, N) }",
  };
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    lowered l;
    lowered_make(&l, sources[i]);
    cr_expect_gt(lowered_count(&l, "  call @"), 1, "%s\n%s", sources[i], l.text.ptr);
    lowered_free(&l);
  }
  target_info cpu = {.name = {"cpu", 3},
                     .vector_bytes = 32,
                     .vector_registers = 16,
                     .l1_bytes = 32 << 10,
                     .l2_bytes = 1 << 20,
                     .l3_bytes = 32 << 20,
                     .cores = 2,
                     .flops_per_second = 100e9,
                     .bytes_per_second = 20e9,
                     .l2_bytes_per_second = 80e9};
  expect_kernels(NORM, &cpu, 2);
}

static void expect_head(const char *source, const char *text) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, text), 1, "%s: no \"%s\" in\n%s", source, text, l.text.ptr);
  lowered_free(&l);
}

#define LINEAR(M, K, N) \
  "fn f(x: f16[M = " #M ", K = " #K "], w: f16[N = " #N ", K], b: f16[N]) -> f16[M, N] { return "

Test(gpu_finish, two_blocks_take_turns_where_finishing_takes_long) {
  static const char two[] = "producers 1 blocks_per_sm 2 {",
                    one[] = "producers 4 blocks_per_sm 1 {";
  expect_head(LINEAR(32768, 384, 1536) "f16(gelu(dot(x, w, K) + b)) }", two);
  expect_head(LINEAR(8192, 8192, 8192) "f16(gelu(dot(x, w, K) + b)) }", one);  // long sums
  expect_head(LINEAR(1024, 384, 1536) "f16(gelu(dot(x, w, K) + b)) }",
              "producers 4 {");  // few tiles
  // What is computed on the way in passes the registers of all threads.
  expect_head(LINEAR(32768, 384, 1536) "f16(gelu(dot(f16(tanh(x)), w, K) + b)) }",
              ") threads 256 {");
}

Test(gpu_finish, numbers_stay) {
  lowered l;
  lowered_make(&l, SCORES);
  arena *a = &l.test.arena;
  interp_tensor scores[] = {lowered_values(a, DT_f16, 3, (int64_t[]){8, 200, 64}),
                            lowered_values(a, DT_f16, 3, (int64_t[]){8, 150, 64}),
                            lowered_values(a, DT_i32, 2, (int64_t[]){8, 150})};
  lowered_compare(&l, scores, 1e-3);
  lowered_free(&l);
  lowered_make(&l, NORM);
  a = &l.test.arena;
  interp_tensor norm[] = {lowered_values(a, DT_f32, 2, (int64_t[]){300, 40}),
                          lowered_values(a, DT_f32, 2, (int64_t[]){40, 70}),
                          lowered_values(a, DT_f32, 1, (int64_t[]){70})};
  lowered_compare(&l, norm, 1e-4);
  lowered_free(&l);
}

// ---- a second contraction over the rows

#define ATTENTION                                                                                  \
  "fn f(q: f16[B = 3, S = 130, D = 64], k: f16[B, T = 90, D], v: f16[B, T, E = 40], m: i32[B, T])" \
  " -> f16[B, S, E] { let s = where(m != 0, dot(q, k, D) * 0.125, -inf)\n"                         \
  " return f16(dot(f16(softmax(s, T)), v, T)) }"

Test(gpu_finish, attention_over_few_keys_is_one_kernel) {
  expect_kernels(ATTENTION, &gpu_target, 1);
  // The contracted axis of the first is the one of the second's columns.
  expect_kernels(
      "fn f(q: f16[B = 3, S = 130, H = 4, K = 32], k: f16[B, T = 90, H, K], v: f16[B, T, H, K])"
      " -> f16[B, S, A] {"
      " return f16(dot(f16(softmax(dot(q, k, K), T)), v, T))[(H, K) -> A] }",
      &gpu_target, 1);  // stored through the view
}

Test(gpu_finish, attention_is_not_one_kernel) {
  static const char *const sources[] = {
      // too many keys
      "fn f(q: f16[B = 3, S = 130, D = 64], k: f16[B, T = 300, D], v: f16[B, T, E = 40])"
      " -> f16[B, S, E] { return f16(dot(f16(softmax(dot(q, k, D), T)), v, T)) }",
      // more sums than a thread has registers for
      "fn f(x: f16[M = 300, K = 64], u: f16[N = 250, K], w: f16[P = 128, N]) -> f16[M, P] {"
      " return f16(dot(f16(tanh(dot(x, u, K))), w, N)) }",
      // the rows are f32
      "fn f(q: f16[B = 3, S = 130, D = 64], k: f16[B, T = 90, D], v: f32[B, T, E = 40])"
      " -> f32[B, S, E] { return dot(softmax(dot(q, k, D), T), v, T) }",
      // the rows are returned
      "fn f(q: f16[B = 3, S = 130, D = 64], k: f16[B, T = 90, D], v: f16[B, T, E = 40])"
      " -> (f16[B, S, T], f16[B, S, E]) { let p = f16(softmax(dot(q, k, D), T))\n"
      " return (p, f16(dot(p, v, T))) }",
      // over another axis
      "fn f(q: f16[B = 3, S = 130, D = 64], k: f16[B, T = 90, D], v: f16[B, S, E = 40])"
      " -> f16[B, T, E] { return f16(dot(f16(softmax(dot(q, k, D), T)), v, S)) }",
  };
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    lowered l;
    lowered_make(&l, sources[i]);
    cr_expect_gt(lowered_count(&l, "  call @"), 1, "%s\n%s", sources[i], l.text.ptr);
    lowered_free(&l);
  }
}

Test(gpu_finish, numbers_of_attention_stay) {
  lowered l;
  lowered_make(&l, ATTENTION);
  arena *a = &l.test.arena;
  interp_tensor in[] = {
      lowered_values(a, DT_f16, 3, (int64_t[]){3, 130, 64}), lowered_values(a, DT_f16, 3, (int64_t[]){3, 90, 64}),
      lowered_values(a, DT_f16, 3, (int64_t[]){3, 90, 40}), lowered_values(a, DT_i32, 2, (int64_t[]){3, 90})};
  lowered_compare(&l, in, 2e-3);
  lowered_free(&l);
}

#define SIGMOID                                                                                  \
  "fn f(q: f16[S = 40, D = 64], k: f16[T = %d, D], v: f16[T, E = 64]) -> f16[S, E] {"            \
  " fuse { return f16(dot(f16(sigmoid(dot(q, k, D))), v, T)) } }"
#define EXP                                                                                      \
  "fn f(q: f16[S = 40, D = 64], k: f16[T = %d, D], v: f16[T, E = 64]) -> f16[S, E] {"            \
  " fuse stream(T, passes = 1) { let e = exp(dot(q, k, D) * 0.125)\n"                            \
  " return f16(dot(f16(e), v, T) / sum(e, T)) } }"
#define ROWS                                                                                     \
  "fn f(q: f16[S = 40, D = 64], k: f16[T = %d, D]) -> f32[S, T] {"                               \
  " fuse { return softmax(dot(q, k, D), T) } }"

/// Where block tiles do not hold the rows, nests do.
Test(gpu_finish, contracts_hold_for_every_size) {
  static const char *const programs[] = {SIGMOID, EXP, ROWS};
  static const int sizes[] = {1, 2, 16, 100, 128, 129, 150, 192, 193, 200, 255, 256, 257, 300};
  target_info targets[] = {gpu_named("sm_80"), gpu_named("sm_90"), gpu_named("sm_90a"), cpu_target(4)};
  for (int p = 0; p < 3; p++)
    for (int t = 0; t < 4; t++)
      for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char source[512];
        snprintf(source, sizeof source, programs[p], sizes[i]);
        expect_kernels(source, &targets[t], 1);
      }
}

Test(gpu_finish, numbers_of_nests_instead_stay) {
  static const char *const programs[] = {SIGMOID, EXP};
  target_info ampere = gpu_named("sm_80");
  for (int p = 0; p < 2; p++) {
    lowered l;
    char source[512];
    snprintf(source, sizeof source, programs[p], 150);
    lowered_make_for(&l, source, &ampere);
    arena *a = &l.test.arena;
    interp_tensor in[] = {lowered_values(a, DT_f16, 2, (int64_t[]){40, 64}),
                          lowered_values(a, DT_f16, 2, (int64_t[]){150, 64}),
                          lowered_values(a, DT_f16, 2, (int64_t[]){150, 64})};
    lowered_compare(&l, in, 2e-2);
    lowered_free(&l);
  }
}
