// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values that do not vary along an axis that is walked, and axes of no or of one element, in every
// kind of kernel: as many elements count as there are.
#include <criterion/criterion.h>
#include <math.h>

#include "base/fault.h"
#include "frontend_fixture.h"
#include "lower_targets.h"
#include "random_graph.h"

static const target_info cpu = {.name = {"test", 4}, .vector_bytes = 32, .vector_registers = 16,
    .l1_bytes = 32 << 10, .l2_bytes = 1 << 20, .l3_bytes = 8 << 20, .cores = 2,
    .flops_per_second = 80e9, .bytes_per_second = 25e9, .l2_bytes_per_second = 100e9};

typedef struct machine {
  const char *name;
  target_info target;
  const char *schedule;
} machine;

enum { MACHINES = 7 };

static void machines(machine *m) {
  target_info older = sm_80_target(), wide = cpu, small = cpu, few = gpu_target;
  wide.vector_bytes = 64;
  wide.vector_registers = 32;
  wide.pair_flops_per_second = 2 * wide.flops_per_second;
  small.l2_bytes = 4 << 10;
  few.cores = 2;  // so that a few long rows are brought on chip ahead of use
  const machine all[MACHINES] = {{"cpu", cpu, ""},          {"wide", wide, ""},
                                 {"small", small, ""},      {"blocks", cpu, "kc=64"},
                                 {"sm_90a", gpu_target, ""}, {"sm_80", older, ""},
                                 {"few", few, ""}};
  memcpy(m, all, sizeof all);
}

/// The graph with these sizes for the axes that are open, in the order of their names.
static interp_tensor input(arena *a, const graph *g, const node *param, const int64_t *sizes) {
  interp_tensor t = {.type = param->type, .rank = param->naxes};
  int64_t n = 1;
  for (int i = 0; i < param->naxes; i++) {
    ix size = graph_axis_size(g, param->axes[i]);
    int64_t known;
    t.dims[i] = ix_is_const(&g->ix, size, &known)
                    ? known
                    : sizes[g->axes.data[param->axes[i]].name.ptr[0] - 'A'];
    n *= t.dims[i];
  }
  t.data = arena_array(a, scalar, n);
  for (int64_t i = 0; i < n; i++) {
    scalar v = {.f = sin(12.9898 * (double)i + (double)n)};
    t.data[i] = dtype_is_float(t.type) ? scalar_cast(v, DT_f64, t.type)
                                       : scalar_cast((scalar){.i = i * 7 % 23 - 11}, DT_i64, t.type);
    if (t.type == DT_bool) t.data[i].i = i % 3 == 0;
  }
  return t;
}

static void compare_on(const char *source, const machine *m, const int64_t (*sizes)[26], int runs) {
  program_test test = {0};
  arena scratch = {0}, *a = &test.arena;
  program_test_run(&test, "test.tdsl", str_from(source));
  cr_assert(test.ok, "%.*s", STR_FMT(program_test_messages(&test)));
  const graph *g = test.graphs.graphs.data[0];
  pass_options options = {.target = &m->target, .schedule = str_from(m->schedule)};
  pass_ctx ctx = {graph_copy(a, g), &scratch, &options, &test.diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  const program *p = lower_to_tiles(a, ctx.graph, &options);
  strbuf text = sb_new(a);
  program_print(p, &text);
  str report;
  cr_assert(program_verify(p, a, &report), "%s: %s\n%.*s", m->name, source, STR_FMT(report));
  for (int run = 0; run < runs; run++) {
    interp_tensor in[8], want[4], got[4];
    for (int i = 0; i < g->nparams; i++) in[i] = input(a, g, g->nodes.data[i], sizes[run]);
    str error = {0};
    span at;
    cr_assert(graph_interpret(g, a, in, want, NULL, &error, &at), "%.*s", STR_FMT(error));
    cr_assert(program_interpret(p, a, in, got, NULL, &error, &at), "%s: %s\n%.*s\n%s",
              m->name, source, STR_FMT(error), text.data);
    for (int i = 0; i < p->noutputs; i++) {
      double d = tensor_distance(&got[i], &want[i]);
      cr_expect_lt(d, 1e-4, "%s, sizes %d: output %d is off by %g\n%s\n%s", m->name, run, i, d,
                   source, text.data);
    }
  }
  arena_free(&scratch);
  program_test_free(&test);
}

static void compare(const char *const *sources, int n, const int64_t (*sizes)[26], int runs) {
  machine all[MACHINES];
  machines(all);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < MACHINES; k++) {
      fault_frame f;
      if (fault_try(&f)) compare_on(sources[i], &all[k], sizes, runs);
      fault_pop(&f);
      cr_expect(f.kind == FAULT_NONE, "%s: %s\n%s", all[k].name, f.text, sources[i]);
    }
}

#define COUNT(list) (int)(sizeof(list) / sizeof *(list))

/// By the letter of an axis.
#define SIZES(b, k, m, n) \
  { ['B' - 'A'] = b, ['K' - 'A'] = k, ['M' - 'A'] = m, ['N' - 'A'] = n }

static const int64_t usual[][26] = {SIZES(3, 37, 5, 19), SIZES(1, 1, 1, 1), SIZES(2, 1100, 3, 2),
                                    SIZES(5, 8, 1, 16)};

static const int64_t tiles[][26] = {SIZES(3, 37, 5, 19), SIZES(1, 1, 1, 1), SIZES(2, 130, 3, 2)};

// p lacks the axis along which v is reduced.
#define SAME "fn f(p: f32[B], x: f32[B, K]) -> f32[B, K] { let v: f32[B, K] = where(x == x, p, p)\n"
#define ONE "fn f(p: f32[B], x: f32[B, K]) -> f32[B] { let v: f32[B, K] = where(x == x, p, p)\n"
#define NONE "fn f(p: f32, x: f32[B, K]) -> f32[B] { let v: f32[B, K] = where(x == x, p, p)\n"

Test(lower_constant, reductions) {
  static const char *const sources[] = {
      SAME "return softmax(v, K) }",
      ONE "return logsumexp(v, K) }",
      ONE "return sum(v, K) }",
      ONE "return sum(v, K) + max(x, K) }",
      ONE "return sum(exp(v - max(v, K)) * p, K) }",
      ONE "return sum(exp(x - max(x, K)), K) + sum(v, K) }",
      ONE "return sum(exp(v - max(v, K)) * exp(p), K) + sum(x, K) }",
      ONE "let m = max(x, K)\n return sum(exp(broadcast(m, K) - m), K) }",
      ONE "let m = max(x, K)\n let e: f32[B, K] = broadcast(m, K)\n"
          " return sum(exp(e - max(e, K)), K) }",
      SAME "let m = mean(v, K)\n return (x - m) * rsqrt(mean((v - m) * (v - m), K) + 0.1) }",
      NONE "return sum(v, K) + logsumexp(v, K) }",
      NONE "return prod(v, K) }",
      ONE "return sum(where(index(K) == 3, v, 0), K) }",
      NONE "return f32(argmax(v, K)) + max(v, K) }",
      "fn f(p: i32[B], x: f32[B, K]) -> i32[B] { return sum(broadcast(p, K), K) + argmin(x, K) }",
      "fn f(p: f32[B], x: f32[B, K = 600]) -> f32[B, K] {\n"
      " return softmax(broadcast(p, K), K) + softmax(x, K) }",
      "fn f(p: f32[K], x: f32[B, K, M]) -> f32[B, M] {\n"
      " return sum(exp(x - max(x, K)), K) + sum(broadcast(p, B, M), K) }",
      "fn f(p: f32[M], x: f32[B, K, M]) -> f32[B] {\n"
      " let v: f32[B, K, M] = where(x == x, p, p)\n return logsumexp(v, K, M) }",
      "fn f(p: f32[K], x: f32[B, K, M]) -> f32[B] {\n"
      " let v: f32[B, K, M] = where(x == x, p, p)\n return logsumexp(v, K, M) }",
      "fn f(p: f32, x: f32[K = 70000]) -> f32 { return logsumexp(where(x == x, p, p), K) }",
      "fn f(p: f32[B], x: f32[B = 2, K = 35000]) -> f32[B, K] {\n"
      " return softmax(where(x == x, p, p), K) }",
      "fn f(p: f32[B], x: f32[B = 9, K = 13000]) -> f32[B, K] {\n"
      " return softmax(where(x == x, p, p), K) * x + sum(broadcast(p, K), K) }",
  };
  compare(sources, COUNT(sources), usual, COUNT(usual));
}

Test(lower_constant, sums_of_small_integers) {
  static const char *const sources[] = {
      "fn f(x: i8[M, K], w: i8[K, N]) -> i8[M, N] { return sum(x * w, K) }",
      "fn f(x: u8[M, K], w: u8[K, N]) -> u8[M, N] { return sum(x * w * 77, K) }",
      "fn f(x: i16[M, K], w: i16[N, K]) -> i16[N, M] { return sum(-(x * w), K) + 1 }",
      "fn f(x: i8[M, K], w: i8[K, N], p: i8[N]) -> i8[M, N] { return sum(x * (w * p), K) }",
      "fn f(x: i8[M, K], w: i8[M, K]) -> i8[M] { return sum(x * w, K) }",
      "fn f(x: i16[K], w: i16[K, N]) -> i16[N] { return sum(x * w, K) }",
      "fn f(x: u16[M, K], w: u16[K, N]) -> u16[M, N] { return sum(x * w * 999, K) }",
      "fn f(x: i8[M, K], w: i8[K, N]) -> i32[M, N] { return sum(i32(x) * i32(w), K) }",
      "fn f(x: i8[M, K], w: i8[K, N]) -> i16[M, N] { return sum(i16(x) * i16(w), K) }",
  };
  compare(sources, COUNT(sources), tiles, COUNT(tiles));
}

Test(lower_constant, scans) {
  static const char *const sources[] = {
      SAME "return cumsum(v, K) }",
      SAME "return cumsum(v, K) * x + cumsum(x, K) }",
      NONE "return cumsum(v, K)[K = 0] + p }",
      SAME "return affine_scan(tanh(v), x, K) * x + affine_scan(0.5, v, K) }",
      SAME "return affine_scan(tanh(x), v, K, reverse = true) + p }",
      NONE "return affine_scan(v * 0.001, v, K)[K = 0] + p }",
      "fn f(p: f32[B], x: f32[K = 999]) -> f32[B, K] { return affine_scan(sin(x), p, K, exclusive = true) }",
      "fn f(p: f32[B], x: f32[K = 300]) -> f32[B, K] { return affine_scan(sin(p), x, K) }",
      "fn f(p: f32[B], x: f32[B, K = 999]) -> f32[B, K] { return cumsum(where(x == x, p, p), K) }",
      "fn f(p: i32[B], x: f32[B, K = 1000]) -> i32[B, K] { return cumprod(where(x == x, p, p), K) }",
      "fn f(p: f32, x: f32[B, K = 1000]) -> f32[B, K] { return cummax(where(x == x, p, p), K) + x }",
      // Along one element, seen without its axis.
      "fn f(p: i8[K = 1], x: i8[K]) -> i8 { return sum(-(affine_scan(p, x, K) * x), K) }",
      "fn f(x: f32[M, K = 1], w: f32[M, K]) -> f32[E] {\n"
      " let v = affine_scan(x, w, K) / (abs(w) + 0.5)\n return silu(v)[(M, K) -> E] }",
      "fn f(x: f32[M, K = 0], w: f32[N]) -> f32[N, E] {\n"
      " let v = affine_scan(w, x, K)\n return silu(v)[(M, K) -> E] }",
      "fn f(p: i8[K = 1], x: i8[K]) -> i8 { return sum(-(cumsum(p, K) * x), K) }",
      "fn f(x: f32[M, K = 1], w: f32[M, K]) -> f32[E] {\n"
      " let v = cumsum(x, K) / (abs(w) + 0.5)\n return silu(v)[(M, K) -> E] }",
      "fn f(x: f32[M, K = 0], w: f32[N]) -> f32[N, E] {\n"
      " let v = cumsum(x, K)\n return w * v[(M, K) -> E] }",
  };
  compare(sources, COUNT(sources), usual, COUNT(usual));
}

Test(lower_constant, scatters_to_one_number) {
  static const char *const sources[] = {
      "fn f(i: i32[N], u: f32[N, M]) -> f32[V = 30, M] {\n"
      " return scatter_add(broadcast(0.0, V = 30, M), V = abs(i) % 30, u * 0.5) }",
      "fn f(i: i32[N], u: f64[N, M]) -> f64[M, V = 30] {\n"
      " return scatter_add(broadcast(f64(-1.5), M, V = 30), V = abs(i) % 30, u) }",
      "fn f(i: i32[N, M]) -> i32[V = 30] {\n"
      " return scatter_add(broadcast(0, V = 30), V = abs(i) % 30, 1) }",
      "fn f(i: i32[T = 8], u: f32[M, T]) -> f32[V = 30, M] {\n"
      " return scatter_add(broadcast(f32(M), V = 30, M), V = abs(i) % 30, u) }",
  };
  compare(sources, COUNT(sources), usual, COUNT(usual));
}

Test(lower_constant, products) {
  static const char *const sources[] = {
      "fn f(p: f32[M], x: f32[M, K], w: f32[K, N]) -> f32[M, N] {\n"
      " return dot(where(x == x, p, p), w, K) }",
      "fn f(p: f32[N], x: f32[M, K], w: f32[K, N]) -> f32[M, N] {\n"
      " return dot(x, where(w == w, p, p), K) }",
      "fn f(p: f32[M], q: f32[N], x: f32[M, K], w: f32[K, N]) -> f32[M, N] {\n"
      " return dot(where(x == x, p, p), where(w == w, q, q), K) }",
      "fn f(p: f32, x: f32[M, K], w: f32[K, N]) -> f32[M, N] {\n"
      " return dot(where(x == x, p, p), where(w == w, p, p), K) }",
      "fn f(p: f32[K], x: f32[M, K], w: f32[K, N]) -> f32[M, N] {\n"
      " return dot(where(x == x, p, p), where(w == w, p, p), K) }",
      "fn f(p: f32[K], x: f32[M, K], w: f32[K, N]) -> f32[M, N] {\n"
      " return dot(where(x == x, p, p), w, K) }",
      "fn f(p: f32[B, K], w: f32[K, N]) -> f32[B, M = 5, N] {\n"
      " return dot(broadcast(p, M), w, K) }",
      "fn f(p: f32[M], x: f32[B, M, K], w: f32[B, N, K]) -> f32[B, M, N] {\n"
      " return dot(where(x == x, p, p), w, K) }",
      "fn f(p: bf16[M], w: bf16[K, N]) -> f32[M, N] { return dot(broadcast(p, K), w, K) }",
      "fn f(p: bf16[M], q: bf16[N], x: f32[K]) -> f32[M, N] {\n"
      " return dot(broadcast(p, K), broadcast(q, K), K) + sum(x, K) }",
      "fn f(p: bf16[M], w: bf16[K]) -> f32[M] { return dot(broadcast(p, K), w, K) }",
      "fn f(p: f16[M], w: f16[N, K]) -> f32[M, N] { return dot(broadcast(p, K), w, K) }",
      "fn f(p: i8[M], w: i8[K, N]) -> i32[M, N] { return dot(broadcast(p, K), w, K) }",
      "fn f(p: i32[M], q: i32[N], w: f32[K]) -> i32[M, N] {\n"
      " return dot(broadcast(p, K), broadcast(q, K), K) + i32(sum(w, K) * 0.0) }",
      "fn f(p: f32[M = 17], q: f32[N = 20], w: f32[K = 1500]) -> f32[M, N] {\n"
      " return dot(broadcast(p, K), broadcast(q, K), K) + sum(w, K) }",
      "fn f(p: bf16[M], q: bf16[N = 64], w: bf16[M, K = 64]) -> f32[M, N] {\n"
      " return dot(bf16(where(f32(w) == f32(w), p, p)), broadcast(q, K), K) }",
      "fn f(p: f32[K], q: f32, w: f32[K, N]) -> f32[N] { return dot(where(p == p, q, q), w, K) }",
      "fn f(p: f32[M], w: f32[M, K]) -> f32[M] { return dot(broadcast(p, K), w, K) }",
      "fn f(x: bf16[M = 128, K = 64], w: bf16[K, N = 128], p: f32[M], v: bf16[N, B = 64])\n"
      " -> f32[M, B] {\n"
      " let s = dot(x, w, K)\n return dot(bf16(softmax(where(s == s, p, p), N)), v, N) }",
      "fn f(x: bf16[M = 128, K = 64], w: bf16[K, N = 100], v: bf16[N, B = 64])\n -> f32[M, B] {\n"
      " let s = dot(x, w, K)\n let m = max(s, N)\n"
      " return dot(bf16(exp(s - m) / sum(exp(broadcast(m, N) - m), N)), v, N) }",
  };
  compare(sources, COUNT(sources), tiles, COUNT(tiles));
}

static const int64_t empty[][26] = {SIZES(2, 0, 9, 19), SIZES(1, 0, 1, 1), SIZES(2, 3, 9, 19),
                                    SIZES(2, 70, 9, 19), SIZES(0, 5, 9, 19), SIZES(2, 5, 0, 19),
                                    SIZES(2, 5, 9, 0)};

Test(lower_constant, empty_axes_of_products) {
  static const char *const sources[] = {
      "fn f(a: f32[K], b: f32[K, N]) -> f32[N] { return dot(a, b, K) }",
      "fn f(a: f32[K, N], b: f32[K]) -> f32[N] { return tanh(dot(a, b, K)) }",
      "fn f(a: f32[M, K], b: f32[K, N], c: f32[N]) -> f32[M, N] { return exp(dot(a, b, K) + c) }",
      "fn f(a: f32[M, K], b: f32[K, N]) -> (f32[M, N], f32[M, N]) {\n"
      " let d = dot(a, b, K)\n return (d, d * 2.0 + 1.0) }",
      "fn f(a: f32[M, K, B], b: f32[K, B, N]) -> f32[M, N] { return dot(a, b, K, B) + 1.0 }",
      "fn f(a: f32[B, M, K], b: f32[B, N, K]) -> f32[B, M, N] { return gelu(dot(a, b, K)) }",
      "fn f(a: bf16[M, K], b: bf16[K, N], c: f32[N]) -> f32[M, N] { return dot(a, b, K) + c }",
      "fn f(a: bf16[M, K], b: bf16[N, K], c: f32[N]) -> f32[M, N] { return dot(a, b, K) + c }",
      "fn f(a: i8[M, K], b: i8[K, N]) -> i32[M, N] { return dot(a, b, K) + 1 }",
      "fn f(a: i8[K], b: i8[K, N]) -> i32[N] { return dot(a, b, K) + 1 }",
      "fn f(a: f64[M, K], b: f64[K]) -> f64[M] { return dot(a, b, K) + 1.0 }",
      // One column, so that there are no lanes.
      "fn f(p: f32[K], x: f32[K, M, C = 1], w: f32[M, K]) -> (f32[C], f32[K, M, C]) {\n"
      " let v = where(x == x, p, p)\n return (dot(v, w, K, M), v) }",
      // Kept for a later pass, by a loop over K.
      "fn f(x: f32[K, B], p: f32[B], w: f32[B, K]) -> (f32, f32[B]) {\n"
      " let v = atan2(p, abs(p) + 0.5)\n return (dot(w, x * v, K, B), v) }",
  };
  compare(sources, COUNT(sources), empty, COUNT(empty));
}

Test(lower_constant, empty_axes_of_the_rest) {
  static const char *const sources[] = {
      ONE "return sum(x, K) + p }",
      ONE "return sum(v, K) + prod(x, K) }",
      SAME "return cumsum(x, K) + v }",
      SAME "return affine_scan(tanh(v), x, K) + v }",
      ONE "return sum(where(index(K) == 3, x, 0), K) + p }",
      "fn f(x: f32[B, K], p: f32[B]) -> f32[B] { return sum(exp(x) / (1.0 + sum(x, K)), K) + p }",
      "fn f(x: f32[M], i: i32[K], u: f32[K]) -> f32[M] {\n"
      " return scatter_add(x, M = i * 0, u * 0.5) }",
      "fn f(x: f32[M], i: i32[K], u: f32[K]) -> f32[M] {\n"
      " return x + scatter_add(broadcast(0.5, M), M = i * 0, u * 0.5) }",
  };
  compare(sources, COUNT(sources), empty, COUNT(empty) - 2);
}

// Loads of what does not vary along an axis of no elements may stand before its loop.
Test(lower_constant, first_elements_of_empty_axes) {
  static const char *const sources[] = {
      "fn f(p: f32[K], q: u8[A = 0, M]) -> f32 { return prod(broadcast(p, A)[(K, A) -> E], E) }",
      "fn f(p: f32[K], q: f32[A = 0, K]) -> f32 {\n"
      " let v = (p + q * 0.5)[(K, A) -> E]\n return sum(log10(abs(v) + 0.5), E) }",
      "fn f(p: f32[N], q: f32[N, A = 0], w: f32[N]) -> (f32[N, E = A], f32) {\n"
      " let v = broadcast(w, A)\n return (p * v[(N, A) -> E], dot(p, dot(q, v, A), N)) }",
  };
  compare(sources, COUNT(sources), empty, COUNT(empty));
}
