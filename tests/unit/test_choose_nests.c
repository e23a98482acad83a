// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plain programs on GPUs take loop nests where these are predicted to be much faster, and only there;
// what is predicted of loop nests counts the waits of their products.
#include <stdio.h>
#include <criterion/criterion.h>

#include "gpu_fixture.h"

#define LAST_LAYER(before, after)                                                                     \
  "fn f(x: bf16[N = 8192, D = 4096], w: bf16[V = 128256, D], t: i32[N]) -> f32[N] {" before           \
  " let y = f32(dot(x, w, D))\n return logsumexp(y, V) - sum(where(index(V) == t, y, 0), V) " after "}"

static void expect_kernels(const char *source, const target_info *target, int kernels) {
  lowered l;
  lowered_make_for(&l, source, target);
  cr_expect_eq(lowered_count(&l, "  call @"), kernels, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

Test(choose_nests, it_fires) {
  target_info ampere = gpu_named("sm_80");
  expect_kernels("fn f(q: bf16[B = 2, H = 16, S = 4096, D = 128], k: bf16[B, H, T = 4096, D],"
                 " v: bf16[B, H, T, E = 128]) -> bf16[B, H, S, E] {"
                 " return bf16(dot(bf16(softmax(dot(q, k, D) * rsqrt(D), T)), v, T)) }",
                 &ampere, 1);
}

/// Parts that are streams on warpgroups are not given up for nests of the whole. Two of them are one, whose
/// leads share keys and values.
Test(choose_nests, streams_come_first) {
  static const char *const source =
      "fn f(q: bf16[B = 2, H = 16, S = 4096, D = 64], p: bf16[B, H, S, D], r: bf16[B, H, S, D], k: bf16[B, H, T = 4096, D],"
      " v: bf16[B, H, T, E = 64]) -> bf16[B, H, S, E] {"
      " let one = dot(bf16(softmax(dot(q, k, D), T)), v, T)\n"
      " let two = dot(bf16(softmax(dot(p, k, D), T)), v, T)\n"
      " let three = dot(bf16(softmax(dot(r, k, D), T)), v, T)\n"
      " return bf16(one - 0.5 * two%s) }";
  for (int all = 0; all < 2; all++) {
    char text[1024];
    snprintf(text, sizeof text, source, all ? " + 0.25 * three" : "");
    lowered l;
    lowered_make(&l, text);
    cr_expect_eq(lowered_count(&l, "  call @"), all ? 4 : 1, "%s", l.text.ptr);
    cr_expect_eq(lowered_count(&l, "dot wgmma"), all ? 6 : 4, "%s", l.text.ptr);
    lowered_free(&l);
  }
}

/// Where two steps are as fast or faster, or the gain is within what is not known of nests.
Test(choose_nests, it_does_not_fire) {
  static const char *const sources[] = {
      LAST_LAYER("", ""),
      "fn f(q: f32[B = 2, H = 16, S = 4096, D = 128], k: f32[B, H, T = 4096, D],"
      " v: f32[B, H, T, E = 128]) -> f32[B, H, S, E] {"
      " return dot(softmax(dot(q, k, D) * rsqrt(D), T), v, T) }",
  };
  target_info targets[] = {gpu_named("sm_80"), gpu_named("sm_90"), gpu_named("sm_90a")};
  for (int i = 0; i < 2; i++)
    for (int t = 0; t < 3; t++) {
      lowered l;
      lowered_make_for(&l, sources[i], &targets[t]);
      cr_expect_geq(lowered_count(&l, "  call @"), 2, "%s\n%s", sources[i], l.text.ptr);
      lowered_free(&l);
    }
}

static double predicted(const char *source, const target_info *target) {
  lowered l;
  lowered_make_for(&l, source, target);
  pass_options options = {.target = target};
  double seconds = predicted_seconds(&l.test.arena, l.fused, &options);
  lowered_free(&l);
  return seconds;
}

/// Measured on an H200: 76.7 ms under contract, 13.6 ms in two steps.
Test(choose_nests, predictions_count_waits) {
  double nests = predicted(LAST_LAYER("fuse stream(V, passes = 1) {", "}"), &gpu_target);
  cr_expect(nests > 0.05 && nests < 0.11, "%g s", nests);
  double steps = predicted(LAST_LAYER("", ""), &gpu_target);
  cr_expect(steps > 0.009 && steps < 0.02, "%g s", steps);
}

Test(choose_nests, numbers_stay) {
  target_info ampere = gpu_named("sm_80");
  ampere.cores = 1;
  ampere.bytes_per_second = 1e9;
  lowered l;
  lowered_make_for(&l,
                   "fn f(q: f16[S = 70, D = 32], k: f16[T = 300, D], v: f16[T, E = 32]) -> f16[S, E] {"
                   " return f16(dot(f16(softmax(dot(q, k, D) * 0.2, T)), v, T)) }",
                   &ampere);
  cr_expect_eq(lowered_count(&l, "  call @"), 1, "%s", l.text.ptr);
  arena *a = &l.test.arena;
  interp_tensor in[] = {lowered_values(a, DT_f16, 2, (int64_t[]){70, 32}),
                        lowered_values(a, DT_f16, 2, (int64_t[]){300, 32}),
                        lowered_values(a, DT_f16, 2, (int64_t[]){300, 32})};
  lowered_compare(&l, in, 1e-2);
  lowered_free(&l);
}
