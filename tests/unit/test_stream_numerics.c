// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What rules of streams do to numbers (docs/contracts.md): attention under a contract against f64,
// and against the program as it is written, where scores have outliers, grow in every step, or are
// no numbers.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tcc_fuse.h"
#include "tile_fixture.h"

/// CPU code, its loop nests as tile IR, and those of GPUs: with mma, and with states in registers
/// of warpgroups.
static const char *const targets[] = {"cpu", "interp-tile", "interp-tile:sm_80",
                                      "interp-tile:sm_90a"};
enum { TARGETS = sizeof targets / sizeof *targets };

enum { S = 48, T = 700, D = 64, E = 32 };

/// Operands as they are in memory, rounded to `type`, and the exact result.
typedef struct attention {
  dtype type;
  double q[S * D], k[T * D], v[T * E], bias[S * T], want[S * E];
} attention;

static attention *attention_new(arena *a, dtype type) {
  attention *x = arena_array(a, attention, 1);
  x->type = type;
  return x;
}

static double rounded(double v, dtype t) { return scalar_cast((scalar){.f = v}, DT_f64, t).f; }

/// softmax(q k / 8 + bias) v, in f64.
static void attention_exact(attention *x) {
  for (int s = 0; s < S; s++) {
    double score[T], top = -INFINITY, sum = 0;
    for (int t = 0; t < T; t++) {
      score[t] = 0;
      for (int d = 0; d < D; d++) score[t] += x->q[s * D + d] * x->k[t * D + d];
      score[t] = score[t] / 8 + x->bias[s * T + t];
      top = score[t] > top || isnan(score[t]) ? score[t] : top;
    }
    for (int t = 0; t < T; t++) sum += score[t] = exp(score[t] - top);
    for (int e = 0; e < E; e++) {
      double total = 0;
      for (int t = 0; t < T; t++) total += score[t] / sum * x->v[t * E + e];
      x->want[s * E + e] = total;
    }
  }
}

static const char softmax_text[] = "dot(%s(softmax(s, T)), v, T)";
static const char guarded_text[] =
    "dot(%s(exp(s - where(max(s, T) == -inf, 0, max(s, T)))), v, T)"
    " / where(max(s, T) == -inf, 1, sum(exp(s - where(max(s, T) == -inf, 0, max(s, T))), T))";

static const char causal_text[] = "dot(%s(softmax(where(index(T) <= index(S), s, -inf), T)), v, T)";

/// Under a contract: one walk. Else several, as it is written, whatever the cost model says.
typedef enum form { STREAMED, WRITTEN } form;

/// The program. `result` is one of the texts above.
static void attention_text(const attention *x, const char *result, form how, char *out,
                           size_t size) {
  const char *t = dtype_name(x->type);
  char value[512];
  // NOLINTNEXTLINE: the texts are those above
  snprintf(value, sizeof value, result, t);
  snprintf(out, size,
           "fn f(q: %s[S, D = %d], k: %s[T, D], v: %s[T, E = %d], bias: f32[S, T]) -> f32[S, E] {\n"
           "  %s\n  let s = dot(q, k, D) * 0.125 + bias\n  return %s\n  %s\n}\n",
           t, D, t, t, E, how == STREAMED ? "fuse stream(T, passes = 1) {" : "", value,
           how == STREAMED ? "}" : "");
}

static tcf_tensor *tensor_of(tcf_session *session, dtype type, int64_t rows, int64_t columns,
                             const double *from) {
  tcf_tensor *t;
  cr_assert_eq(tcf_tensor_new(session, (tcf_dtype)type, 2, (int64_t[]){rows, columns}, &t), TCF_OK);
  char *to = tcf_tensor_data(t);
  for (int64_t i = 0; i < rows * columns; i++)
    scalar_store(to + i * dtype_bytes(type), type, (scalar){.f = from[i]});
  return t;
}

static void attention_run(const attention *x, const char *target, const char *result, form how,
                          double *got) {
  tcf_session *session;
  tcf_program *program;
  char text[2048];
  attention_text(x, result, how, text, sizeof text);
  tcf_options options = {.size = sizeof options, .target = target, .threads = 1, .cache_dir = ""};
  if (how == WRITTEN) options.flags = TCF_NO_LATE_FACTORS | TCF_NO_FRAMES | TCF_EXACT_CASTS;
  cr_assert_eq(tcf_session_new(&options, &session), TCF_OK);
  tcf_status status = tcf_program_load(session, "a.tdsl", text, strlen(text), &program);
  cr_assert_eq(status, TCF_OK, "%s", tcf_session_message(session));
  tcf_tensor *args[] = {
      tensor_of(session, x->type, S, D, x->q), tensor_of(session, x->type, T, D, x->k),
      tensor_of(session, x->type, T, E, x->v), tensor_of(session, DT_f32, S, T, x->bias)};
  tcf_tensor *out = NULL;
  status =
      tcf_call(tcf_program_function(program, "f"), (const tcf_tensor *const *)args, 4, &out, 1);
  cr_assert_eq(status, TCF_OK, "%s on %s: %s", text, target, tcf_session_message(session));
  for (int i = 0; i < S * E; i++) got[i] = tcf_tensor_get(out, i);
  for (int i = 0; i < 4; i++) tcf_tensor_free(args[i]);
  tcf_tensor_free(out);
  tcf_program_free(program);
  tcf_session_free(session);
}

/// Root of the mean square of the difference.
static double rmse(const double *got, const double *want) {
  double sum = 0;
  for (int i = 0; i < S * E; i++) sum += (got[i] - want[i]) * (got[i] - want[i]);
  return sqrt(sum / (S * E));
}

// ---- outliers: N(0, 1), and one element in a thousand that is N(0, 100) besides

static void fill_with_outliers(attention *x, tile_fixture *random) {
  double *const all[] = {x->q, x->k, x->v};
  const int counts[] = {S * D, T * D, T * E};
  for (int i = 0; i < 3; i++)
    for (int j = 0; j < counts[i]; j++) {
      double v = random_normal(random);
      if (!random_below(random, 1000)) v += 10 * random_normal(random);
      all[i][j] = rounded(v, x->type);
    }
}

/// The streamed form is off f64 by `bound` at most, and by `most` times what the program is on that
/// target when it is computed as it is written.
static void check_outliers(dtype type, double bound, double most) {
  tile_fixture random = {.random = 0x9E3779B97F4A7C15u};
  attention *x = attention_new(&random.arena, type);
  double written[S * E], got[S * E];
  fill_with_outliers(x, &random);
  attention_exact(x);
  for (int i = 0; i < TARGETS; i++) {
    attention_run(x, targets[i], softmax_text, WRITTEN, written);
    attention_run(x, targets[i], softmax_text, STREAMED, got);
    double off = rmse(got, x->want), before = rmse(written, x->want);
    cr_expect_leq(off, bound, "%s on %s: RMSE %g", dtype_name(type), targets[i], off);
    cr_expect_leq(off, most * before, "%s on %s: RMSE %g, as written %g", dtype_name(type),
                  targets[i], off, before);
  }
  tile_fixture_free(&random);
}

Test(stream_numerics, outliers) {
  check_outliers(DT_f32, 1.2e-7, 1.5);
  check_outliers(DT_f16, 1.5e-5, 0.75);
  check_outliers(DT_bf16, 1.2e-4, 0.6);
}

// ---- scores in order

/// Scores are `slope` times the place of the key, exactly: slopes are 0 or powers of two.
static void fill_in_order(attention *x, tile_fixture *random, const double *slopes, int nslopes) {
  for (int s = 0; s < S; s++) x->q[s * D] = x->q[s * D + 1] = 8 * slopes[s % nslopes];
  for (int t = 0; t < T; t++) {
    x->k[t * D] = t - t % 64;
    x->k[t * D + 1] = t % 64;
  }
  for (int i = 0; i < T * E; i++) x->v[i] = rounded(random_normal(random), x->type);
}

/// No row is off by more than the bound.
static void check_order(dtype type, const double *slopes, int nslopes, double bound) {
  tile_fixture random = {.random = 0x9E3779B97F4A7C15u};
  attention *x = attention_new(&random.arena, type);
  double got[S * E];
  fill_in_order(x, &random, slopes, nslopes);
  attention_exact(x);
  for (int i = 0; i < TARGETS; i++) {
    double worst = 0;
    attention_run(x, targets[i], softmax_text, STREAMED, got);
    for (int j = 0; j < S * E; j++) worst = fmax(worst, fabs(got[j] - x->want[j]));
    cr_expect_leq(worst, bound, "%s on %s, %g for each key: off by %g", dtype_name(type),
                  targets[i], slopes[0], worst);
  }
  tile_fixture_free(&random);
}

/// Walks run up or down, and each rescales in every step in one of the two orders.
Test(stream_numerics, scores_that_grow_in_every_step_and_fall) {
  static const double slopes[] = {1, 0x1p-3, 0x1p-7, -1, -0x1p-3, -0x1p-7};
  for (int i = 0; i < 6; i++) {
    check_order(DT_f32, &slopes[i], 1, 1e-6);
    check_order(DT_f16, &slopes[i], 1, 2e-4);
    check_order(DT_bf16, &slopes[i], 1, 2e-3);
  }
}

/// Weights of equal scores are 1 before they are divided, in 16 bits as well.
Test(stream_numerics, equal_scores) {
  static const double none = 0;
  check_order(DT_f32, &none, 1, 2e-7);
  check_order(DT_f16, &none, 1, 2e-7);
  check_order(DT_bf16, &none, 1, 2e-7);
}

Test(stream_numerics, rows_of_a_tile_in_different_orders) {
  static const double slopes[] = {0x1p-4, -0x1p-4, 0, 1, -1};
  check_order(DT_f32, slopes, 5, 1e-6);
  check_order(DT_f16, slopes, 5, 2e-4);
  check_order(DT_bf16, slopes, 5, 2e-3);
}

// ---- rows that are no numbers

enum {
  ALL_HIDDEN = 1,
  ONE_INFINITE,
  ONE_NAN,
  LAST_ONLY,
  EVERY_THIRD,
  LATE,
  EARLY,
  NAN_QUERY,
  ALL_INFINITE,
  ROWS
};

static bool is_hidden(int row, int t) {
  switch (row) {
    case ALL_HIDDEN: return true;
    case LAST_ONLY: return t < T - 1;
    case EVERY_THIRD: return t % 3;
    case LATE: return t < 600;
    case EARLY: return t >= 70;
    default: return false;
  }
}

static void fill_special_rows(attention *x, tile_fixture *random) {
  for (int i = 0; i < S * D; i++) x->q[i] = rounded(random_normal(random), x->type);
  for (int i = 0; i < T * D; i++) x->k[i] = rounded(random_normal(random), x->type);
  for (int i = 0; i < T * E; i++) x->v[i] = rounded(random_normal(random), x->type);
  for (int row = 0; row < ROWS; row++)
    for (int t = 0; t < T; t++)
      x->bias[row * T + t] = is_hidden(row, t) ? -INFINITY : row == ALL_INFINITE ? INFINITY : 0;
  x->bias[ONE_INFINITE * T + 450] = INFINITY;
  x->bias[ONE_NAN * T + 300] = NAN;
  x->q[NAN_QUERY * D + 5] = NAN;
}

/// NaN in the rows where f64 has it and nowhere else; rows without a key are NaN, or 0 where
/// `guarded`.
static void check_special_rows(dtype type, bool guarded, double bound) {
  tile_fixture random = {.random = 0x9E3779B97F4A7C15u};
  attention *x = attention_new(&random.arena, type);
  double got[S * E];
  fill_special_rows(x, &random);
  attention_exact(x);
  for (int e = 0; guarded && e < E; e++) x->want[ALL_HIDDEN * E + e] = 0;
  for (int i = -1; i < TARGETS; i++) {
    const char *target = i < 0 ? "interp" : targets[i];
    attention_run(x, target, guarded ? guarded_text : softmax_text, i < 0 ? WRITTEN : STREAMED,
                  got);
    for (int j = 0; j < S * E; j++) {
      double want = x->want[j];
      bool right = isnan(want) ? isnan(got[j]) : fabs(got[j] - want) <= bound;
      cr_expect(right, "%s on %s%s: row %d has %g, not %g", dtype_name(type), target,
                guarded ? ", guarded" : "", j / E, got[j], want);
      if (!right) break;
    }
  }
  tile_fixture_free(&random);
}

Test(stream_numerics, rows_of_infinities_and_nan) {
  for (int guarded = 0; guarded < 2; guarded++) {
    check_special_rows(DT_f32, guarded, 4e-6);
    check_special_rows(DT_f16, guarded, 2e-3);
    check_special_rows(DT_bf16, guarded, 2e-2);
  }
}

/// Keys that a mask hides may be anything, in steps that are left out and in those that are not.
static void check_hidden_keys(dtype type, double bound) {
  tile_fixture random = {.random = 0x9E3779B97F4A7C15u};
  attention *x = attention_new(&random.arena, type);
  double got[S * E];
  fill_special_rows(x, &random);
  x->q[NAN_QUERY * D + 5] = 1;
  for (int i = 0; i < S * T; i++) x->bias[i] = i % T <= i / T ? 0 : -INFINITY;
  attention_exact(x);
  for (int i = 0; i < S * T; i++) x->bias[i] = i % T <= i / T ? 0 : i % 3 ? NAN : INFINITY;
  for (int t = S; t < T; t++) x->k[t * D + t % D] = t % 2 ? NAN : INFINITY;
  for (int i = 0; i < TARGETS; i++) {
    double worst = 0;
    attention_run(x, targets[i], causal_text, STREAMED, got);
    for (int j = 0; j < S * E; j++) {
      double off = fabs(got[j] - x->want[j]);
      worst = off <= worst ? worst : off;
    }
    cr_expect_leq(worst, bound, "%s on %s: off by %g", dtype_name(type), targets[i], worst);
  }
  tile_fixture_free(&random);
}

Test(stream_numerics, keys_that_a_mask_hides) {
  check_hidden_keys(DT_f32, 4e-6);
  check_hidden_keys(DT_f16, 2e-3);
  check_hidden_keys(DT_bf16, 2e-2);
}
