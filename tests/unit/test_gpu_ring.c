// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Long rows on a GPU: they are brought on chip ahead of use, by clusters where one block has no room,
// only where they are long, many and alike, and the numbers are the graph's.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gpu_fixture.h"
#include "passes/explain/explain_format.h"

#define SOFTMAX(n, t) \
  "fn f(x: bf16[N = " n ", T = " t "]) -> bf16[N, T] { return bf16(softmax(x, T)) }"
#define NORM(n, t)                                                          \
  "fn f(x: bf16[N = " n ", T = " t "], w: bf16[T], b: bf16[T]) -> bf16[N, T] {" \
  " return bf16(layernorm(x, w, b, 1e-5, T)) }"
#define ADD_NORM(n, t)                                                                      \
  "fn f(x: bf16[N = " n ", T = " t "], y: bf16[N, T], w: bf16[T]) -> (bf16[N, T], bf16[N, T]) {" \
  " let s = bf16(f32(x) + f32(y))\n return (s, bf16(rmsnorm(s, w, 1e-5, T))) }"

static void expect(const char *source, const target_info *target, const char *text, bool wanted) {
  lowered l;
  lowered_make_for(&l, source, target);
  cr_expect_eq(lowered_count(&l, text) > 0, wanted, "%s: \"%s\" in\n%s", source, text, l.text.ptr);
  lowered_free(&l);
}

Test(gpu_ring, it_fires) {
  expect(SOFTMAX("8192", "50257"), &gpu_target, "threads 512 cluster 2 {", true);
  expect(SOFTMAX("8192", "50257"), &gpu_target, "loop N:1 stages=4", true);
  expect(SOFTMAX("8192", "50257"), &gpu_target, "a0[N*64 + N_2, T]", true);
  expect(NORM("8192", "50257"), &gpu_target, "threads 512 cluster 2 {", true);
  expect(ADD_NORM("8192", "50257"), &gpu_target, "local row1 : bf16[N_2:1, N:1, T:57344]", true);
  expect(SOFTMAX("4096", "32768"), &gpu_target, "stages=3", true);  // rows that all begin alike
  expect(SOFTMAX("4096", "32768"), &gpu_target, "cluster", false);
}

Test(gpu_ring, walks_end_where_the_rows_do) {
  expect(SOFTMAX("8191", "50257"), &gpu_target, "axes N = 128, T = 50257, N_2 = 64, N_3 = 1", true);
  expect(SOFTMAX("8191", "50257"), &gpu_target, "loop N:1 below (62 - N_2) / 64 + 128 - N_3*128 stages=4", true);
  expect(SOFTMAX("1000", "50257"), &gpu_target, "below", true);
  expect(SOFTMAX("8192", "50257"), &gpu_target, "below", false);
  expect(SOFTMAX("8191", "32768"), &gpu_target, "axes N = 8191, T = 32768", true);
}

/// Whatever the number of rows, a contract is one launch.
Test(gpu_ring, a_contract_is_one_launch) {
  static const char *const rows[] = {"528", "529", "1000", "2000", "8191", "10000"};
  static const char *const blocks[] = {
      "-> f32[N, T] { fuse { return softmax(x, T) } }",
      "-> f32[N, T] { fuse { return layernorm(x, w, w, 1e-5, T) } }",
      "-> f32[N] { fuse { return sum(x, T) } }",
      "-> i32[N] { fuse { return argmax(x, T) } }",
      "-> f32[N, T] { fuse stream(T, passes = 2) { return softmax(x, T) } }",
  };
  for (int i = 0; i < (int)(sizeof rows / sizeof *rows); i++)
    for (int k = 0; k < (int)(sizeof blocks / sizeof *blocks); k++) {
      lowered l;
      char source[256];
      snprintf(source, sizeof source, "fn f(x: f32[N = %s, T = 50257], w: f32[T]) %s", rows[i], blocks[k]);
      lowered_make(&l, source);
      cr_expect_eq(l.p->steps.len, 1, "%s: %d launches", source, l.p->steps.len);
      lowered_free(&l);
    }
}

Test(gpu_ring, explain_counts_clusters_and_what_is_on_its_way) {
  lowered l;
  lowered_make(&l, SOFTMAX("8192", "50257"));
  explain_schedule s =
      explain_kernel_schedule(&l.test.arena, l.p->kernels.data[0], &gpu_target, NULL);
  cr_expect_eq(s.tiles, 64);
  cr_expect_eq(s.cluster, 2);
  cr_expect_eq(s.ring_stages, 4);
  cr_expect(s.shared_bytes > 1 << 17 && s.shared_bytes <= gpu_target.shared_per_block);
  strbuf out = sb_new(&l.test.arena);
  explain_put_schedule(&out, &s);
  cr_expect(strstr(out.data, "128 blocks of 512 threads in clusters of 2"), "%s", out.data);
  cr_expect(strstr(out.data, "in 4 stages"), "%s", out.data);
  // Enough bytes are on their way for the whole bandwidth; with the threads alone they are not.
  double memory = 400e-6, full = explain_gpu_seconds(&gpu_target, &s, memory, 0, 0);
  cr_expect_float_eq(full, memory, 1e-9);
  s.ring_stages = 1;
  cr_expect_gt(explain_gpu_seconds(&gpu_target, &s, memory, 0, 0), 1.2 * memory);
  lowered_free(&l);
}

Test(gpu_ring, older_devices_have_no_clusters) {
  target_info older = gpu_named("sm_80");
  expect(SOFTMAX("4096", "32768"), &older, "stages=2", true);
  expect(SOFTMAX("4096", "32768"), &older, "cluster", false);
  expect(SOFTMAX("8192", "50257"), &older, "stages=", false);  // no room for two rows
}

Test(gpu_ring, it_does_not_fire) {
  expect(SOFTMAX("8192", "16384"), &gpu_target, "stages=", false);  // several fit anyway
  expect(SOFTMAX("256", "50257"), &gpu_target, "stages=", false);   // too few
  expect("fn f(x: bf16[N = 8192, T]) -> bf16[N, T] { return bf16(softmax(x, T)) }", &gpu_target,
         "stages=", false);  // of unknown length
  expect("fn f(x: bf16[T = 50257, N = 8192]) -> bf16[T, N] { return bf16(softmax(x, T)) }",
         &gpu_target, "stages=", false);  // columns
  expect("fn f(x: f32[N = 8192, T = 400000]) -> f32[N, T] { return softmax(x, T) }", &gpu_target,
         "stages=", false);  // too long for eight blocks
}

/// Few multiprocessors ask for few rows, which the interpreter walks in a second.
static void compare(const char *source, int64_t rows, int64_t length, const char *text) {
  target_info small = gpu_target;
  small.cores = 2;
  lowered l;
  lowered_make_for(&l, source, &small);
  cr_assert(strstr(l.text.ptr, text), "no \"%s\" in\n%s", text, l.text.ptr);
  arena *a = &l.test.arena;
  interp_tensor in[3] = {{.type = DT_bf16, .rank = 2, .dims = {rows, length}},
                         {.type = DT_bf16, .rank = 1, .dims = {length}},
                         {.type = DT_bf16, .rank = 1, .dims = {length}}};
  if (strstr(source, "y: ")) in[1] = in[0], in[2].rank = 1;
  for (int i = 0; i < 3; i++) {
    int64_t n = in[i].rank == 2 ? rows * length : length;
    in[i].data = arena_array(a, scalar, n);
    for (int64_t k = 0; k < n; k++) {
      double v = sin(12.9898 * (double)k + i) * 4;
      in[i].data[k] = scalar_cast((scalar){.f = v}, DT_f64, DT_bf16);
    }
  }
  lowered_compare(&l, in, 1e-2);
  lowered_free(&l);
}

Test(gpu_ring, the_numbers_stay) {
  compare(SOFTMAX("8", "24640"), 8, 24640, "stages=4");
  compare(SOFTMAX("8", "24648"), 8, 24648, "a0[N*8 + N_2, T]");
  compare(NORM("9", "25600"), 9, 25600, "stages=");
  compare(SOFTMAX("13", "24648"), 13, 24648, "loop N:1 below (4 - N_2) / 8 + 2 - N_3*2 stages=4");
  compare(SOFTMAX("15", "24648"), 15, 24648, "below");
  compare(NORM("17", "24648"), 17, 24648, "below");
  compare(ADD_NORM("8", "24648"), 8, 24648, "local row1");
}
