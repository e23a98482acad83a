// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The standard library against plain loops, through the interpreter of the graph IR.
#include <criterion/criterion.h>
#include <math.h>

#include "tests/unit/frontend_fixture.h"

static uint64_t state = 0x2545f4914f6cdd1d;

static double uniform_number(void) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return (double)(state >> 11) / 9007199254740992.0;
}

static double normal_number(void) {
  double u = uniform_number() + 1e-12;
  return sqrt(-2 * log(u)) * cos(2 * M_PI * uniform_number());
}

/// A random tensor of the given sizes (up to 4, ended by 0).
static interp_tensor random_tensor(arena *a, dtype type, const int *dims) {
  interp_tensor t = {.type = type};
  int64_t n = 1;
  for (; dims[t.rank]; t.rank++) n *= t.dims[t.rank] = dims[t.rank];
  t.data = arena_array(a, scalar, n);
  for (int64_t i = 0; i < n; i++)
    t.data[i] = dtype_is_float(type)
                    ? scalar_cast((scalar){.f = normal_number()}, DT_f64, type)
                    : (scalar){.i = (int64_t)(uniform_number() * 3)};
  return t;
}
#define DIMS(...) ((const int[]){__VA_ARGS__, 0})

static program_test test;
static void close_test(void) { program_test_free(&test); }

static interp_tensor run(const char *text, interp_tensor *in) {
  program_test_run(&test, "test.tdsl", str_from(text));
  cr_assert(test.ok, "%s", program_test_messages(&test).ptr);
  static interp_tensor out[4];
  str error = {0};
  span at;
  bool ok = graph_interpret(test.graphs.graphs.data[0], &test.arena, in, out, NULL, &error,
                            &at);
  cr_assert(ok, "%.*s", STR_FMT(error));
  return out[0];
}

static void near(double got, double want, const char *what, int i) {
  cr_expect(fabs(got - want) <= 1e-9 * (1 + fabs(want)), "%s[%d] is %.12g, not %.12g", what, i, got,
            want);
}

enum { N = 5, T = 7, D = 3 };

Test(frontend_std, softmax_and_logsumexp, .fini = close_test) {
  arena a = {0};
  interp_tensor x = random_tensor(&a, DT_f64, DIMS(N, T));
  interp_tensor p = run("fn f(x: f64[N, T]) -> f64[N, T] { return softmax(x, T) }", &x);
  for (int n = 0; n < N; n++) {
    double sum = 0;
    for (int t = 0; t < T; t++) sum += exp(x.data[n * T + t].f);
    for (int t = 0; t < T; t++)
      near(p.data[n * T + t].f, exp(x.data[n * T + t].f) / sum, "softmax", n * T + t);
  }
  close_test();
  for (int t = 0; t < T; t++) x.data[t].f = -INFINITY;  // a row without any weight
  interp_tensor l = run("fn f(x: f64[N, T]) -> f64[N] { return logsumexp(x, T) }", &x);
  cr_expect_eq(l.data[0].f, -INFINITY);
  for (int n = 1; n < N; n++) {
    double sum = 0;
    for (int t = 0; t < T; t++) sum += exp(x.data[n * T + t].f);
    near(l.data[n].f, log(sum), "logsumexp", n);
  }
  arena_free(&a);
}

/// Text of a program over f32[4, 3] on these rows.
static interp_tensor run_rows(arena *a, const char *text) {
  static const double rows[4][3] = {{-INFINITY, -INFINITY, -INFINITY},
                                    {INFINITY, 1, -INFINITY},
                                    {-INFINITY, 200, 200},
                                    {0, 0, 0}};
  interp_tensor x = {.type = DT_f32, .rank = 2, .dims = {4, 3}};
  x.data = arena_array(a, scalar, 12);
  for (int i = 0; i < 12; i++) x.data[i].f = rows[i / 3][i % 3];
  return run(text, &x);
}

Test(frontend_std, infinities_and_zeros, .fini = close_test) {
  arena a = {0};
  interp_tensor y = run_rows(&a, "fn f(x: f32[N, T]) -> f32[N] { return logsumexp(x, T) }");
  cr_expect_eq(y.data[0].f, -INFINITY);
  cr_expect_eq(y.data[1].f, INFINITY);
  cr_expect_float_eq(y.data[2].f, 200 + log(2), 2e-5);
  cr_expect_float_eq(y.data[3].f, log(3), 1e-6);
  close_test();
  const char *both[] = {"fn f(x: f32[N, T]) -> f32[N, T] { return softmax(x, T) }",
                        "fn f(x: f32[N, T]) -> f32[N, T] { return exp(log_softmax(x, T)) }"};
  for (int k = 0; k < 2; k++) {
    y = run_rows(&a, both[k]);
    for (int i = 0; i < 6; i++) cr_expect(isnan(y.data[i].f));
    cr_expect_eq(y.data[6].f, 0);
    cr_expect_float_eq(y.data[7].f, 0.5, 1e-6);
    cr_expect_float_eq(y.data[9].f, 1.0 / 3, 1e-6);
    close_test();
  }
  y = run_rows(&a, "fn f(x: f32[N, T]) -> f32[N, T] { return normalize(where(is_inf(x), 0, x), T) }");
  for (int i = 0; i < 12; i++) {
    double want = i == 4 ? 1 : i == 7 || i == 8 ? sqrt(0.5) : 0;
    cr_expect_float_eq(y.data[i].f, want, 1e-6);
  }
  arena_free(&a);
}

Test(frontend_std, layernorm_and_rmsnorm, .fini = close_test) {
  arena a = {0};
  interp_tensor in[3] = {random_tensor(&a, DT_f64, DIMS(N, T)), random_tensor(&a, DT_f64, DIMS(T)),
                         random_tensor(&a, DT_f64, DIMS(T))};
  interp_tensor y = run("fn f(x: f64[N, T], g: f64[T], b: f64[T]) -> f64[N, T] {\n"
                        "  return layernorm(x, g, b, 1e-5, T) + rmsnorm(x, g, 1e-6, T)\n}", in);
  for (int n = 0; n < N; n++) {
    double mean = 0, square = 0, var = 0;
    for (int t = 0; t < T; t++) mean += in[0].data[n * T + t].f / T;
    for (int t = 0; t < T; t++) square += pow(in[0].data[n * T + t].f, 2) / T;
    for (int t = 0; t < T; t++) var += pow(in[0].data[n * T + t].f - mean, 2) / T;
    for (int t = 0; t < T; t++) {
      double x = in[0].data[n * T + t].f, g = in[1].data[t].f, b = in[2].data[t].f;
      double want = (x - mean) / sqrt(var + 1e-5) * g + b + x / sqrt(square + 1e-6) * g;
      near(y.data[n * T + t].f, want, "norms", n * T + t);
    }
  }
  arena_free(&a);
}

Test(frontend_std, activations, .fini = close_test) {
  arena a = {0};
  interp_tensor x = random_tensor(&a, DT_f64, DIMS(100));
  interp_tensor y = run("fn f(x: f64[N]) -> f64[N] {\n"
                        "  return gelu(x) + 2 * gelu_tanh(x) + 3 * silu(x) + 4 * relu(x) +\n"
                        "      5 * softplus(x) + 6 * elu(x) + 7 * leaky_relu(x, 0.1)\n}", &x);
  for (int i = 0; i < 100; i++) {
    double v = x.data[i].f, cube = 0.044715 * v * v * v;
    double want = 0.5 * v * (1 + erf(v / sqrt(2))) + v * (1 + tanh(sqrt(2 / M_PI) * (v + cube))) +
                  3 * v / (1 + exp(-v)) + 4 * fmax(v, 0) + 5 * log1p(exp(v)) +
                  6 * (v > 0 ? v : expm1(v)) + 7 * (v >= 0 ? v : 0.1 * v);
    near(y.data[i].f, want, "activations", i);
  }
  arena_free(&a);
}

Test(frontend_std, attention_with_a_mask, .fini = close_test) {
  arena a = {0};
  interp_tensor in[4] = {random_tensor(&a, DT_f64, DIMS(N, D)),
                         random_tensor(&a, DT_f64, DIMS(T, D)),
                         random_tensor(&a, DT_f64, DIMS(T, 4)),
                         random_tensor(&a, DT_bool, DIMS(N, T))};
  for (int i = 0; i < N * T; i++)  // the first query sees nothing
    in[3].data[i].i = i >= T && (i % T == 0 || in[3].data[i].i > 0);
  interp_tensor y = run("fn f(q: f64[S, D], k: f64[T, D], v: f64[T, E], m: bool[S, T])\n"
                        "    -> f64[S, E] { return masked_attention(q, k, v, m, T, D) }", in);
  for (int n = 0; n < N; n++)
    for (int e = 0; e < 4; e++) {
      double sum = 0, total = 0;
      for (int t = 0; t < T; t++) {
        double score = 0;
        for (int d = 0; d < D; d++) score += in[0].data[n * D + d].f * in[1].data[t * D + d].f;
        double weight = in[3].data[n * T + t].i ? exp(score / sqrt(D)) : 0;
        sum += weight * in[2].data[t * 4 + e].f;
        total += weight;
      }
      near(y.data[n * 4 + e].f, n ? sum / total : 0, "attention", n * 4 + e);
    }
  arena_free(&a);
}

Test(frontend_std, conv2d_and_pooling, .fini = close_test) {
  enum { C = 2, Y = 7, X = 6, O = 3, R = 3, S = 2, P = 4, Q = 3 };
  arena a = {0};
  interp_tensor in[2] = {random_tensor(&a, DT_f64, DIMS(C, Y, X)),
                         random_tensor(&a, DT_f64, DIMS(O, C, R, S))};
  interp_tensor y = run("fn f(x: f64[C, Y, X], w: f64[O, C, R = 3, S = 2]) -> f64[O, P, Q] {\n"
                        "  return conv2d(pad(x, Y -> H, 1, 1, 0), w, 2, P, Q)\n}", in);
  cr_assert(y.dims[1] == P && y.dims[2] == Q);
  for (int i = 0; i < O * P * Q; i++) {
    int o = i / (P * Q), p = i / Q % P, q = i % Q;
    double sum = 0;
    for (int k = 0; k < C * R * S; k++) {
      int c = k / (R * S), r = k / S % R, s = k % S, row = p * 2 + r - 1;
      if (row < 0 || row >= Y) continue;
      sum += in[0].data[(c * Y + row) * X + q * 2 + s].f * in[1].data[o * C * R * S + k].f;
    }
    near(y.data[i].f, sum, "conv2d", i);
  }
  close_test();
  y = run("fn f(x: f64[C, Y, X]) -> f64[C, P, Q] {\n"
          "  return max_pool(x, 2, 2, P, Q) + avg_pool(x, 2, 2, P, Q)\n}", in);
  for (int i = 0; i < C * 3 * 3; i++) {
    const scalar *v = &in[0].data[(i / 9 * Y + i / 3 % 3 * 2) * X + i % 3 * 2];
    double most = fmax(fmax(v[0].f, v[1].f), fmax(v[X].f, v[X + 1].f));
    near(y.data[i].f, most + (v[0].f + v[1].f + v[X].f + v[X + 1].f) / 4, "pools", i);
  }
  arena_free(&a);
}

Test(frontend_std, cross_entropy, .fini = close_test) {
  arena a = {0};
  interp_tensor in[2] = {random_tensor(&a, DT_f64, DIMS(N, T)), random_tensor(&a, DT_i32, DIMS(N))};
  interp_tensor y = run("fn f(z: f64[N, V], t: i32[N]) -> f64[N] {\n"
                        "  return cross_entropy(z, t, V)\n}", in);
  for (int n = 0; n < N; n++) {
    double sum = 0;
    for (int t = 0; t < T; t++) sum += exp(in[0].data[n * T + t].f);
    near(y.data[n].f, log(sum) - in[0].data[n * T + in[1].data[n].i].f, "cross_entropy", n);
  }
  arena_free(&a);
}

Test(frontend_std, random_numbers_have_their_moments, .fini = close_test) {
  enum { COUNT = 20000 };
  interp_tensor seed = {.type = DT_i64, .data = &(scalar){.i = 42}};
  for (int kind = 0; kind < 2; kind++) {
    static const char *const programs[] = {
        "fn f(s: i64) -> f32[A = 100, B = 200] { return uniform(s, A, B) }",
        "fn f(s: i64) -> f32[A = 100, B = 200] { return normal(s, A, B) }"};
    interp_tensor x = run(programs[kind], &seed);
    double mean = 0, square = 0, least = INFINITY, most = -INFINITY;
    for (int i = 0; i < COUNT; i++) {
      double v = x.data[i].f;
      mean += v / COUNT;
      square += v * v / COUNT;
      least = fmin(least, v), most = fmax(most, v);
    }
    double variance = square - mean * mean, want = kind ? 1 : 1.0 / 12;
    cr_expect(fabs(mean - (kind ? 0 : 0.5)) < 4 * sqrt(want / COUNT), "mean %g", mean);
    cr_expect(fabs(variance - want) < 0.05 * want, "variance %g", variance);
    if (!kind) cr_expect(least >= 0 && most < 1 && least < 0.001 && most > 0.999);
    close_test();
  }
}
