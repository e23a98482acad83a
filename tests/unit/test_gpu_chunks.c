// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Few long rows on a GPU: they are cut into chunks that finish together where one walk suffices, and
// are not elsewhere; the numbers are right at sizes of all kinds, whatever the order of blocks.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "gpu_fixture.h"
#include "passes/explain/explain_format.h"
#include "random_graph.h"

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

#define SEVEN "x: f32[N = 7, T = 70001]"

Test(gpu_chunks, infinities_and_nan_come_out) {
  compare_infinities(
      FUSE(SEVEN, "f32[N]", "let m = max(x, T)\n return log(sum(exp(x - m), T)) + m"));
  compare_infinities(FUSE(SEVEN, "f32[N]",
                          "let m = max(x, T)\n let s = where(m == -inf, 0, m)\n"
                          " return log(sum(exp(x - s), T)) + s"));
  compare_infinities(FUSE(SEVEN, "(f32[N], i32[N])", "return (max(x, T), argmax(x, T))"));
}

Test(gpu_chunks, explain_says_what_goes_through_memory) {
  lowered l;
  lowered_make(&l, FUSE("x: f32[N = 2, T = 1000003]", "(f32[N], i32[N])",
                        "return (sum(x, T), argmax(x, T))"));
  const kernel *k = l.p->kernels.data[0];
  explain_schedule s = explain_kernel_schedule(&l.test.arena, k, &gpu_target, NULL);
  cr_expect_eq(s.tiles, 2 * s.chunks);
  cr_expect_eq(s.part_bytes, s.chunks * 2 * 12);  // a sum, an extreme and its place
  strbuf out = sb_new(&l.test.arena);
  explain_put_schedule(&out, &s);
  str wanted = str_printf(&l.test.arena, "; the last of %d combines what all leave in memory (",
                          (int)s.chunks);
  cr_expect(strstr(out.data, wanted.ptr), "no \"%s\" in %s", wanted.ptr, out.data);
  lowered_free(&l);
}

// ---- loop nests

#define STREAM(params, result, body) \
  "fn f(" params ") -> " result " { fuse stream(T, passes = 1) { " body " } }"
#define SOFTMAX_OF(params, scores) \
  STREAM(params, "f32[S, E]", "let s = " scores "\n return dot(softmax(s, T), v, T)")
#define HEADS "q: f32[S = 4, D = 8], k: f32[T = 5001, D], v: f32[T, E = 40]"

#define WEIGHTED(rows)                                           \
  STREAM("x: f32[B = " rows ", T = 40001], w: f32[T]", "f32[B]", \
         "let m = sum(w * x, T) / sum(w, T)\n return sum(w * (x - m) * (x - m), T) / sum(w, T)")

Test(gpu_chunks, nests_are_cut_as_well) {
  expect_chunks(WEIGHTED("3"), true);
  expect_chunks(STREAM("x: f32[N = 3, T = 100000]", "f32[N]",
                       "let m = max(x, T)\n return log(sum(exp(x - m), T)) + m"),
                true);
  expect_chunks(STREAM("x: f32[T = 100000]", "f32",
                       "let m = sum(x, T) / 100000.0\n return sum((x - m) * (x - m), T)"),
                true);
  expect_chunks(SOFTMAX_OF(HEADS, "dot(q, k, D)"), true);
}

Test(gpu_chunks, nests_that_are_not) {
  // masks leave steps out: chunks of a part of the stream would be uneven
  expect_chunks(SOFTMAX_OF(HEADS, "where(index(T) <= index(S) + 4000, dot(q, k, D), -inf)"), false);
  // tiles enough
  expect_chunks(
      SOFTMAX_OF("q: f32[S = 4000, D = 8], k: f32[T = 5001, D], v: f32[T, E = 40]", "dot(q, k, D)"),
      false);
  // a state that several tiles of rows share
  expect_chunks(WEIGHTED("100"), false);
  // two walks; a running combine along the stream; a short one
  expect_chunks(
      "fn f(x: f32[T = 100000]) -> f32 { fuse stream(T) {"
      " let m = sum(x, T) / 100000.0\n return sum(abs(x - m), T) } }",
      false);
  expect_chunks(STREAM("x: f32[T = 100000]", "f32",
                       "let m = max(x, T)\n return sum(exp(x - m), T) + max(cumsum(x, T), T)"),
                false);
  expect_chunks(STREAM("x: f32[T = 1000]", "f32", "let m = max(x, T)\n return sum(exp(x - m), T)"),
                false);
}

/// Of x[2, T] and y[2, T].
static void compare_streams(const char *body, const char *result) {
  arena text = {0};
  lowered l;
  lowered_make(
      &l,
      str_z(&text, str_printf(&text, STREAM("x: f32[B = 2, T = 40001], y: f32[B, T]", "%s", "%s"),
                              result, body)));
  cr_expect_eq(lowered_count(&l, "if finished"), 1, "%s\n%s", body, l.text.ptr);
  interp_tensor in[2];
  for (int i = 0; i < 2; i++)
    in[i] = lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){2, 40001});
  for (int i = 0; i < 40001; i++) {
    in[0].data[i].f = 3 * in[0].data[i].f + i * 1e-4;  // the maximum grows from chunk to chunk
    in[1].data[i].f += 100 + i * 1e-3;                 // and so does the mean
  }
  lowered_compare(&l, in, 2e-5);
  lowered_free(&l);
  arena_free(&text);
}

Test(gpu_chunks, states_of_all_kinds_are_combined) {
  compare_streams("let m = max(x, T)\n return (log(sum(exp(x - m), T)) + m, m * 2.0)",
                  "(f32[B], f32[B])");
  compare_streams("let m = sum(y, T) / 40001.0\n return sum((y - m) * (y - m), T)", "f32[B]");
  compare_streams(
      "let m = sum(y, T) / 40001.0\n let c = sum(x, T) / 40001.0\n"
      " return (sum((y - m) * (x - c), T), sum((x - c) * (x - c), T))",
      "(f32[B], f32[B])");
  compare_streams(
      "let p = softmax(x, T)\n let m = sum(p * y, T)\n"
      " return (m, sum(p * (y - m) * (y - m), T))",
      "(f32[B], f32[B])");
  compare_streams("let m = max(x, T)\n return (argmax(x, T), argmin(y, T), sum(exp(x - m), T))",
                  "(i32[B], i32[B], f32[B])");
}

Test(gpu_chunks, attention_of_few_rows) {
  lowered l;
  lowered_make(&l, SOFTMAX_OF(HEADS, "dot(q * 0.3, k, D) * 2.0"));
  interp_tensor in[] = {lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){4, 8}),
                        lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){5001, 8}),
                        lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){5001, 40})};
  lowered_compare(&l, in, 2e-5);
  lowered_free(&l);
}

/// The same as in one block a row.
static void compare_with_one_block(lowered *l, const interp_tensor *in) {
  arena *a = &l->test.arena;
  schedule_choices made = {0};
  pass_options options = {.target = &gpu_target, .schedule = STR("chunks=1"), .choices = &made};
  program *one = lower_to_tiles(a, l->fused, &options);
  interp_tensor want[2], got[2];
  str error = {0};
  cr_assert_null(kernel_finish(one->kernels.data[0]));
  cr_assert(program_interpret(one, a, in, want, NULL, &error, NULL), "%.*s", STR_FMT(error));
  cr_assert(program_interpret(l->p, a, in, got, NULL, &error, NULL), "%.*s", STR_FMT(error));
  for (int i = 0; i < one->noutputs; i++) {
    double d = tensor_distance(&got[i], &want[i]);
    cr_expect(d < 1e-5, "output %d: distance %g\n%s", i, d, l->text.ptr);
  }
}

/// Means and maxima that are infinite in some chunk, or in all.
Test(gpu_chunks, infinite_states_of_nests) {
  enum { ROWS = 6, LENGTH = 40001 };
  static const char *const bodies[] = {
      "let m = max(x, T)\n return log(sum(exp(x - m), T)) + m",
      "let m = sum(x, T) / 40001.0\n return sum((x - m) * (x - m), T)"};
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    arena text = {0};
    lowered l;
    lowered_make(&l,
                 str_z(&text, str_printf(&text, STREAM("x: f32[B = 6, T = 40001]", "f32[B]", "%s"),
                                         bodies[i])));
    cr_expect_eq(lowered_count(&l, "if finished"), 1, "%s", l.text.ptr);
    interp_tensor x = lowered_values(&l.test.arena, DT_f32, 2, (int64_t[]){ROWS, LENGTH});
    for (int j = 0; j < LENGTH; j++) {
      if (j < LENGTH / 2) x.data[j].f = -INFINITY;
      x.data[LENGTH + j].f = -INFINITY;
    }
    x.data[2 * LENGTH + 30000].f = INFINITY;
    x.data[3 * LENGTH + 1].f = NAN;
    x.data[4 * LENGTH + LENGTH - 1].f = 1e30;
    compare_with_one_block(&l, &x);
    lowered_free(&l);
    arena_free(&text);
  }
}

// ---- plain code

static void expect_kernels(const char *source, int kernels, int chunks) {
  lowered l;
  lowered_make(&l, source);
  cr_expect_eq(lowered_count(&l, "  call @"), kernels, "%s\n%s", source, l.text.ptr);
  cr_expect_eq(lowered_count(&l, "if finished"), chunks, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

Test(gpu_chunks, plain_reductions_are_not_split_in_two) {
  expect_kernels("fn f(x: f32[N = 1000003]) -> f32 { return sum(x, N) }", 1, 1);
  expect_kernels("fn f(x: f32[N = 30000, D = 64]) -> f32[D] { return sqrt(sum(x * x, N)) }", 1, 1);
  expect_kernels("fn f(a: f32[N = 100, K = 200000], x: f32[K]) -> f32[N] { return dot(a, x, K) }",
                 1, 1);
  expect_kernels("fn f(x: f32[B = 8, T = 100000]) -> f32[B] { return logsumexp(x, T) }", 1, 1);
  // stored as it is walked
  expect_kernels(
      "fn f(x: f32[N = 1000003], y: f32[N]) -> (f32[N], f32) {"
      " let z = x * y\n return (z, sum(z, N)) }",
      1, 1);
  expect_kernels(
      "fn f(x: f32[N = 30000, D = 64], y: f32[N, D]) -> (f32[N, D], f32[D]) {"
      " let z = x * y\n return (z, sum(z, N)) }",
      1, 1);
}

Test(gpu_chunks, plain_reductions_that_more_is_made_of) {
  // every block adds up the few parts again, for what is as long as the row
  expect_kernels("fn f(x: f32[N = 1000003]) -> f32[N] { return x / sum(x, N) }", 2, 0);
  expect_kernels("fn f(x: f32[B = 8, T = 128256]) -> f32[B, T] { return softmax(x, T) }", 4, 0);
  // a row of results along a part of what is reduced would keep the rest in one block
  expect_kernels(
      "fn f(x: f32[N = 3000], y: f32[N, M = 2000]) -> (f32[N], f32) {"
      " let z = x * 2.0\n return (z, sum(z * y, N, M)) }",
      2, 1);
}

Test(gpu_chunks, plain_results_are_right) {
  compare(
      "fn f(x: f32[N = 2, T = 70001], y: f32[T]) -> (f32[N], f32[N, T]) {"
      " let z = x * y\n return (sum(z, T), z) }",
      2, 70001);
  compare("fn f(x: f32[N = 2, T = 70001]) -> f32[N] { return logsumexp(x, T) }", 2, 70001);
  compare(
      "fn f(x: f32[N = 70001, D = 13]) -> (f32[D], f32[N, D]) {"
      " let z = x * 3.0\n return (sum(z, N), z) }",
      70001, 13);
}
