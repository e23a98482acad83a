// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is added up, rounded and compared alike on every target: one program, all ways to run it.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tcc_fuse.h"

static const char *const targets[] = {"interp", "interp-tile", "interp-tile:sm_90a", "cpu"};
enum { TARGETS = 4, CPU = 3 };

typedef struct call {
  tcf_session *session;
  tcf_program *program;
  tcf_tensor *args[4], *result;
  size_t nargs;
} call;

static void open_call(call *c, const char *target, const char *text) {
  *c = (call){0};
  tcf_options options = {.size = sizeof options, .target = target, .threads = 1, .cache_dir = ""};
  cr_assert_eq(tcf_session_new(&options, &c->session), TCF_OK);
  tcf_status status = tcf_program_load(c->session, "n.tdsl", text, strlen(text), &c->program);
  cr_assert_eq(status, TCF_OK, "%s", tcf_session_message(c->session));
}

/// The next argument, of zeros.
static void *add_argument(call *c, tcf_dtype type, int rank, const int64_t *dims) {
  tcf_tensor **x = &c->args[c->nargs++];
  cr_assert_eq(tcf_tensor_new(c->session, type, rank, dims, x), TCF_OK);
  size_t bytes = type == TCF_F64 || type == TCF_I64 ? 8 : 4;
  return memset(tcf_tensor_data(*x), 0, (size_t)tcf_tensor_elements(*x) * bytes);
}

static void run_call(call *c) {
  const tcf_tensor *const *args = (const tcf_tensor *const *)c->args;
  tcf_function *f = tcf_program_function(c->program, "f");
  tcf_status status = tcf_call(f, args, c->nargs, &c->result, 1);
  cr_assert_eq(status, TCF_OK, "%s", tcf_session_message(c->session));
}

static void close_call(call *c) {
  for (size_t i = 0; i < c->nargs; i++) tcf_tensor_free(c->args[i]);
  tcf_tensor_free(c->result);
  tcf_program_free(c->program);
  tcf_session_free(c->session);
}

// ---- rounding

static double scalar_result(const char *target, const char *text, tcf_dtype type, const void *x,
                            size_t bytes) {
  call c;
  open_call(&c, target, text);
  memcpy(add_argument(&c, type, 0, NULL), x, bytes);
  run_call(&c);
  double got = tcf_tensor_get(c.result, 0);
  close_call(&c);
  return got;
}

Test(numerics, every_value_is_rounded_to_its_type) {
  double tenth = 0.1;
  float large = 1e20F;
  int32_t odd = 16777217;
  int64_t above_tie = (INT64_C(1) << 54) + (INT64_C(1) << 30) + 1;
#define RESULT(text, type, x) scalar_result(targets[i], text, type, &(x), sizeof(x))
  for (int i = 0; i < TARGETS; i++) {
    cr_expect_eq(RESULT("fn f(x: f64) -> f64 { return x - f64(f32(x)) }", TCF_F64, tenth),
                 0.1 - (double)0.1F, "%s", targets[i]);
    cr_expect_eq(RESULT("fn f(x: i32) -> i32 { return i32(f32(x)) - x }", TCF_I32, odd), -1, "%s",
                 targets[i]);
    cr_expect_eq(RESULT("fn f(x: f32) -> f32 { return sqrt(x * x) }", TCF_F32, large), INFINITY,
                 "%s", targets[i]);
    cr_expect_eq(RESULT("fn f(x: i64) -> f32 { return f32(x) }", TCF_I64, above_tie),
                 (double)(float)above_tie, "%s", targets[i]);
    cr_expect_eq(RESULT("fn f(x: f64) -> f32 { return f32(f16(x)) }", TCF_F64, tenth),
                 0.0999755859375, "%s", targets[i]);
  }
#undef RESULT
}

// ---- long sums

/// What L additions may be off, of the largest sum (docs/numerics.md).
static double bound(double length, tcf_dtype type) {
  return (2 * sqrt(length) + 8) * (type == TCF_F64 ? 0x1p-53 : 0x1p-24);
}

static void fill(void *data, tcf_dtype type, int64_t n, double v) {
  for (int64_t i = 0; i < n; i++)
    if (type == TCF_F64) ((double *)data)[i] = v;
    else ((float *)data)[i] = (float)v;
}

/// `text` over x: TYPE[dims] of v gives `want` of (number, length): f32, then f64.
static void check_sums(const char *what, const char *text, int rank, const int64_t *dims, double v,
                       int64_t length, int most, double (*count)(int64_t number, int64_t length)) {
  for (int i = 0; i < 2 * TARGETS; i++) {
    tcf_dtype type = i % 2 ? TCF_F64 : TCF_F32;
    const char *name = type == TCF_F64 ? "f64" : "f32";
    char typed[256];
    if (i / 2 > most) continue;
    // NOLINTNEXTLINE: the texts are those below
    snprintf(typed, sizeof typed, text, name, name);
    call c;
    open_call(&c, targets[i / 2], typed);
    int64_t n = 1;
    for (int d = 0; d < rank; d++) n *= dims[d];
    fill(add_argument(&c, type, rank, dims), type, n, v);
    run_call(&c);
    double each = type == TCF_F64 ? v : (double)(float)v, worst = 0, largest = 0;
    for (int64_t k = 0; k < tcf_tensor_elements(c.result); k++) {
      double want = each * count(k, length), off = fabs(tcf_tensor_get(c.result, k) - want);
      worst = off > worst || isnan(off) ? off : worst;
      largest = fmax(largest, fabs(want));
    }
    cr_expect_leq(worst, bound((double)length, type) * largest, "%s of %s on %s: off by %g of %g",
                  what, name, targets[i / 2], worst, largest);
    close_call(&c);
  }
}

static double all(int64_t number, int64_t length) { return (void)number, (double)length; }
static double up_to(int64_t number, int64_t length) { return (double)(number % length + 1); }
static double before(int64_t number, int64_t length) { return (double)(number % length); }
static double from(int64_t number, int64_t length) { return (double)(length - number % length); }
static double down_columns(int64_t number, int64_t length) {
  return (void)length, (double)(number / 3 + 1);
}

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})

Test(numerics, running_sums_do_not_lose_digits) {
  enum { LONG = 1000000, SHORT = 50000 };
  static const char up[] = "fn f(x: %s[T]) -> %s[T] { return cumsum(x, T) }";
  check_sums("cumsum", up, 1, DIMS(LONG), 0.1, LONG, CPU, up_to);
  check_sums("cumsum", "fn f(x: %s[N, T]) -> %s[N, T] { return cumsum(x, T) }", 2, DIMS(2, SHORT),
             0.1, SHORT, CPU, up_to);
  check_sums("cumsum", "fn f(x: %s[T, N]) -> %s[T, N] { return cumsum(x, T) }", 2, DIMS(SHORT, 3),
             0.1, SHORT, CPU, down_columns);
  check_sums("reverse", "fn f(x: %s[T]) -> %s[T] { return cumsum(x, T, reverse = true) }", 1,
             DIMS(SHORT), 0.1, SHORT, CPU, from);
  check_sums("exclusive", "fn f(x: %s[T]) -> %s[T] { return cumsum(x, T, exclusive = true) }", 1,
             DIMS(SHORT), 0.1, SHORT, CPU, before);
}

Test(numerics, affine_scans_do_not_lose_digits) {
  enum { LONG = 1000000, SHORT = 50000 };
#define ONES "x / x"
  check_sums("affine_scan", "fn f(x: %s[T]) -> %s[T] { return affine_scan(" ONES ", x, T) }", 1,
             DIMS(LONG), 0.1, LONG, CPU, up_to);
  check_sums("affine_scan", "fn f(x: %s[T, N]) -> %s[T, N] { return affine_scan(" ONES ", x, T) }", 2,
             DIMS(SHORT, 3), 0.1, SHORT, CPU, down_columns);
  check_sums("reverse", "fn f(x: %s[T]) -> %s[T] { return affine_scan(" ONES ", x, T, reverse = true) }",
             1, DIMS(SHORT), 0.1, SHORT, CPU, from);
  check_sums("exclusive",
             "fn f(x: %s[T]) -> %s[T] { return affine_scan(" ONES ", x, T, exclusive = true) }", 1,
             DIMS(SHORT), 0.1, SHORT, CPU, before);
#undef ONES
}

Test(numerics, running_combines_of_streams_do_not_lose_digits) {
  enum { LONG = 100000 };
#define STREAMED(sum) \
  "fn f(x: %s[N, T]) -> %s[N, T] {\n  fuse stream(T) { let y = " sum " }\n  return y\n}"
  check_sums("cumsum", STREAMED("cumsum(x, T)"), 2, DIMS(2, LONG), 0.1, LONG, CPU, up_to);
  check_sums("reverse", STREAMED("cumsum(x, T, reverse = true)"), 2, DIMS(2, LONG), 0.1, LONG, CPU, from);
  check_sums("affine_scan", STREAMED("affine_scan(x / x, x, T, exclusive = true)"), 2, DIMS(2, LONG), 0.1,
             LONG, CPU, before);
#undef STREAMED
}

Test(numerics, sums_of_ones_pass_two_to_the_24) {
  int64_t n = (1 << 24) + 1000;
  call c;
  open_call(&c, "cpu", "fn f(x: f32[T]) -> f32[T] { return cumsum(x, T) }");
  fill(add_argument(&c, TCF_F32, 1, &n), TCF_F32, n, 1);
  run_call(&c);
  cr_expect_eq(tcf_tensor_get(c.result, n - 1), (double)n);
  close_call(&c);
}

Test(numerics, reductions_and_products_do_not_lose_digits) {
  enum { LONG = 1000000, SHORT = 60000 };
  check_sums("rows", "fn f(x: %s[N, T]) -> %s[N] { return sum(x, T) }", 2, DIMS(17, LONG), 0.1,
             LONG, 0, all);
  static const int64_t rows[] = {17, SHORT}, columns[] = {SHORT, 17};
  check_sums("rows", "fn f(x: %s[N, T]) -> %s[N] { return sum(x, T) }", 2, rows, 0.1, SHORT, CPU,
             all);
  check_sums("columns", "fn f(x: %s[T, N]) -> %s[N] { return sum(x, T) }", 2, columns, 0.1, SHORT,
             CPU, all);
  check_sums("products", "fn f(x: %s[T, N]) -> %s[N, M] {\n let y = x[N -> M] * 0 + 1\n"
             " return dot(x, y, T) }", 2, columns, 0.1, SHORT, CPU, all);
  check_sums("inner products", "fn f(x: %s[N, T]) -> %s[N, M] {\n let y = x[N -> M] * 0 + 1\n"
             " return dot(x, y, T) }", 2, rows, 0.1, SHORT, CPU, all);
}

static void check_scatter(const char *target, bool is_double, int64_t n) {
  call c;
  open_call(&c, target, is_double
            ? "fn f(a: f64[V], i: i32[U], x: f64[U]) -> f64[V] { return scatter_add(a, V = i, x) }"
            : "fn f(a: f32[V], i: i32[U], x: f32[U]) -> f32[V] { return scatter_add(a, V = i, x) }");
  tcf_dtype type = is_double ? TCF_F64 : TCF_F32;
  int64_t bins = 3;
  add_argument(&c, type, 1, &bins);
  int32_t *index = add_argument(&c, TCF_I32, 1, &n);
  for (int64_t k = 0; k < n; k++) index[k] = k % 100 == 0 ? 2 : 1;
  fill(add_argument(&c, type, 1, &n), type, n, 0.1);
  run_call(&c);
  double want = (is_double ? 0.1 : (double)0.1F) * 0.99 * (double)n;
  double off = fabs(tcf_tensor_get(c.result, 1) - want);
  cr_expect_leq(off, bound((double)n, type) * want, "%s: off by %g of %g", target, off, want);
  cr_expect_eq(tcf_tensor_get(c.result, 0), 0);
  close_call(&c);
}

Test(numerics, scattered_sums_do_not_lose_digits) {
  for (int i = 0; i < TARGETS; i++) {
    check_scatter(targets[i], false, 200000);
    check_scatter(targets[i], true, 200000);
  }
}

/// Updates that are larger than what they are added to.
Test(numerics, growing_updates_do_not_lose_digits) {
  enum { UPDATES = 20000 };
  for (int i = 0; i < TARGETS; i++) {
    int64_t n = UPDATES, bins = 2;
    call c;
    open_call(
        &c, targets[i],
        "fn f(a: f64[V], i: i32[U], x: f64[U]) -> f64[V] { return scatter_add(a, V = i, x) }");
    add_argument(&c, TCF_F64, 1, &bins);
    int32_t *index = add_argument(&c, TCF_I32, 1, &n);
    double *x = add_argument(&c, TCF_F64, 1, &n);
    long double want = 0;
    for (int64_t k = 0; k < n; k++) {
      index[k] = 1;
      // Each block begins small again, and ends far above the sum before it.
      want += x[k] =
          pow(1.7, (double)(k % 50) - 20) * (k % 3 ? 1 : -0.3) * (1 + (double)k / UPDATES);
    }
    run_call(&c);
    double off = fabs(tcf_tensor_get(c.result, 1) - (double)want);
    // interp adds in order
    double most = i == 0 ? bound((double)n, TCF_F64) : 8 * 0x1p-53;
    cr_expect_leq(off, most * (double)want, "%s: off by %g of %Lg", targets[i], off, want);
    close_call(&c);
  }
}

// ---- infinities in sums that keep what they round off

Test(numerics, infinities_stay_what_they_are) {
  enum { LENGTH = 1000 };
  int64_t n = LENGTH, bins = 2;
  for (int i = 0; i < TARGETS; i++) {
    call c;
    open_call(&c, targets[i], "fn f(x: f32[T]) -> f32[T] { return cumsum(x, T) }");
    float *x = add_argument(&c, TCF_F32, 1, &n);
    fill(x, TCF_F32, n, 1);
    x[300] = INFINITY;
    x[900] = -INFINITY;
    run_call(&c);
    cr_expect_eq(tcf_tensor_get(c.result, 299), 300, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 300), INFINITY, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 899), INFINITY, "%s", targets[i]);
    cr_expect(isnan(tcf_tensor_get(c.result, 900)), "%s", targets[i]);
    cr_expect(isnan(tcf_tensor_get(c.result, n - 1)), "%s", targets[i]);
    close_call(&c);
    open_call(&c, targets[i],
              "fn f(x: f32[T]) -> f32[T] { return affine_scan(0.5, x, T) }");
    x = add_argument(&c, TCF_F32, 1, &n);
    fill(x, TCF_F32, n, 1);
    x[300] = INFINITY;
    x[900] = -INFINITY;
    run_call(&c);
    cr_expect_eq(tcf_tensor_get(c.result, 299), 2, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 899), INFINITY, "%s", targets[i]);
    cr_expect(isnan(tcf_tensor_get(c.result, n - 1)), "%s", targets[i]);
    close_call(&c);
    open_call(&c, targets[i],
              "fn f(x: f64[T]) -> f64[T] { return affine_scan(2.0, x, T) }");
    fill(add_argument(&c, TCF_F64, 1, &(int64_t){2000}), TCF_F64, 2000, 1);
    run_call(&c);
    cr_expect_eq(tcf_tensor_get(c.result, 1022), 0x1p1023, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 1999), INFINITY, "%s", targets[i]);
    close_call(&c);
    open_call(&c, targets[i],
              "fn f(a: f64[V], i: i32[T], x: f64[T]) -> f64[V] { return scatter_add(a, V = i, x) }");
    add_argument(&c, TCF_F64, 1, &bins);
    add_argument(&c, TCF_I32, 1, &n);
    double *y = add_argument(&c, TCF_F64, 1, &n);
    fill(y, TCF_F64, n, 1);
    y[10] = INFINITY;
    run_call(&c);
    cr_expect_eq(tcf_tensor_get(c.result, 0), INFINITY, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 1), 0, "%s", targets[i]);
    close_call(&c);
  }
}

// ---- the standard library

Test(numerics, logsumexp_of_infinities) {
  int64_t dims[] = {4, 3};
  static const float rows[] = {-INFINITY, -INFINITY, -INFINITY, INFINITY,  1, -INFINITY,
                               -INFINITY, 0,         -INFINITY, NAN, 1, 2};
  for (int i = 0; i < TARGETS; i++) {
    call c;
    open_call(&c, targets[i], "fn f(x: f32[N, T]) -> f32[N] { return logsumexp(x, T) }");
    memcpy(add_argument(&c, TCF_F32, 2, dims), rows, sizeof rows);
    run_call(&c);
    cr_expect_eq(tcf_tensor_get(c.result, 0), -INFINITY, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 1), INFINITY, "%s", targets[i]);
    cr_expect_eq(tcf_tensor_get(c.result, 2), 0, "%s", targets[i]);
    cr_expect(isnan(tcf_tensor_get(c.result, 3)), "%s", targets[i]);
    close_call(&c);
  }
}
