// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See identities.h. A form is a list of choices, each an identity that may be applied; the straight
// one applies none.
#include "tests/fuzz/identities.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

enum { TEXT = 1 << 13, MOST_PARAMS = 4 };

typedef struct form {
  uint64_t seed;    // what is computed: the same for both
  uint64_t choice;  // how it is written
  bool straight;
  char text[TEXT / 2];
  int length;
} form;

__attribute__((format(printf, 2, 3))) static void put(form *f, const char *format, ...) {
  va_list args;
  va_start(args, format);
  f->length += vsnprintf(f->text + f->length, sizeof f->text - (size_t)f->length, format, args);
  va_end(args);
}

/// One of n ways to write the same; 0 is the straight one.
static int way(form *f, int n) {
  int w = (int)(gen_random(&f->choice) % (uint64_t)n);
  return f->straight ? 0 : w;
}

/// One of n things to compute.
static int what(form *f, int n) { return (int)(gen_random(&f->seed) % (uint64_t)n); }

// ---- attention, and what else a softmax of scores weighs

static void put_product(form *f, const char *left, const char *right) {
  switch (way(f, 4)) {
    case 1: put(f, "dot(%s, %s, D)", right, left); break;
    case 2: put(f, "sum(%s * %s, D)", left, right); break;
    case 3: put(f, "sum(%s * %s, D)", right, left); break;
    default: put(f, "dot(%s, %s, D)", left, right); break;
  }
}

/// z: scores that are scaled by 0.3.
static void put_scores(form *f) {
  switch (way(f, 8)) {
    case 1: put(f, "    let s = "); put_product(f, "(q * 0.3)", "k"); break;
    case 2: put(f, "    let s = "); put_product(f, "q", "(0.3 * k)"); break;
    case 3: put(f, "    let s = "); put_product(f, "(q * 0.6)", "(k * 0.5)"); break;
    case 4: put(f, "    let s = "); put_product(f, "q", "k"); put(f, " / (1 / 0.3)"); break;
    case 5: put(f, "    let s = 0.3 * "); put_product(f, "q", "k"); break;
    case 6: put(f, "    let s = 3 * ("); put_product(f, "q", "k"); put(f, " / 10)"); break;
    case 7: put(f, "    let s = "); put_product(f, "q", "k"); put(f, " * 6 / 4 / 5"); break;
    default: put(f, "    let s = "); put_product(f, "q", "k"); put(f, " * 0.3"); break;
  }
  int bias = what(f, 3), mask = what(f, 3);
  put(f, "\n    let a = ");
  if (bias == 0) put(f, "s");
  if (bias == 1) put(f, way(f, 2) ? "b + s" : "s + b");
  if (bias == 2) put(f, way(f, 2) ? "-(0.1 * f32(index(T)) - s)" : "s - f32(index(T)) * 0.1");
  static const char *const sees[] = {"index(T) <= index(S) + 5", "index(S) + 5 >= index(T)",
                                     "index(T) - 6 < index(S)", "bit_not(index(T) > index(S) + 5)"};
  put(f, "\n    let z = ");
  if (mask == 0) put(f, "a");
  else {
    const char *see = sees[way(f, 3)];
    switch (way(f, 5)) {
      case 1: put(f, "a + where(%s, 0.0, -inf)", see); break;
      case 3: put(f, "where(%s, a, -1e30)", see); break;
      case 4: put(f, "a - where(%s, 0.0, 3e38)", see); break;
      case 2: put(f, "where(%s, a, 0.0) + where(%s, 0.0, -inf)", see, see); break;
      default: put(f, "where(%s, a, -inf)", see); break;
    }
  }
  put(f, "\n");
}

/// e: exponentials up to a factor of the row.
static void put_exponentials(form *f) {
  switch (way(f, 5)) {
    case 3: put(f, "    let m = mean(s, T)\n"); break;
    case 4: put(f, "    let m = max(a, T)\n"); break;
    case 1: put(f, "    let m = max(z, T) + 1\n"); break;
    case 2: put(f, "    let m = -min(-z, T)\n"); break;
    default: put(f, "    let m = max(z, T)\n"); break;
  }
  switch (way(f, 5)) {
    case 1: put(f, "    let e = exp(-(m - z))\n"); break;
    case 2: put(f, "    let e = exp2((z - m) * 1.44269504)\n"); break;
    case 3: put(f, "    let e = exp2(1.44269504 * z - 1.44269504 * m)\n"); break;
    case 4: put(f, "    let e = exp(z - m) * 2\n"); break;
    default: put(f, "    let e = exp(z - m)\n"); break;
  }
}

static void put_weighted(form *f, const char *p) {
  switch (way(f, 4)) {
    case 1: put(f, "dot(v, %s, T)", p); break;
    case 2: put(f, "sum(%s * v, T)", p); break;
    case 3: put(f, "sum(v * %s, T)", p); break;
    default: put(f, "dot(%s, v, T)", p); break;
  }
}

static void make_attention(form *f) {
  put_scores(f);
  switch (way(f, 7)) {
    case 1:  // division last
      put_exponentials(f);
      put(f, "    let o = "); put_weighted(f, "e"); put(f, " / sum(e, T)\n");
      break;
    case 2:
      put_exponentials(f);
      put(f, "    let o = "); put_weighted(f, "e"); put(f, " * (1 / sum(e, T))\n");
      break;
    case 3:  // first
      put_exponentials(f);
      put(f, "    let p = e / sum(e, T)\n    let o = "); put_weighted(f, "p"); put(f, "\n");
      break;
    case 4:  // by logarithms
      put(f, "    let p = exp(z - logsumexp(z, T))\n    let o = "); put_weighted(f, "p"); put(f, "\n");
      break;
    case 5:
      put(f, "    let p = exp(log_softmax(z, T))\n    let o = "); put_weighted(f, "p"); put(f, "\n");
      break;
    case 6:
      put_exponentials(f);
      put(f, "    let l = 1 / sum(e, T)\n    let p = l * e\n    let o = "); put_weighted(f, "p"); put(f, "\n");
      break;
    default:
      put(f, "    let p = softmax(z, T)\n    let o = "); put_weighted(f, "p"); put(f, "\n");
      break;
  }
  put(f, "    return o\n");
}

// ---- moments

static void put_mean(form *f, const char *name, const char *of) {
  put(f, "    let %s = ", name);
  switch (way(f, 5)) {
    case 1: put(f, "sum(%s, T) / T\n", of); break;
    case 2: put(f, "sum(%s, T) * (1.0 / T)\n", of); break;
    case 3: put(f, "sum(%s / T, T)\n", of); break;
    case 4: put(f, "sum((1.0 / T) * %s, T)\n", of); break;
    default: put(f, "mean(%s, T)\n", of); break;
  }
}

static void make_moments(form *f) {
  bool two = what(f, 2), weighted = what(f, 2);
  put_mean(f, "m", "x");
  if (two) put_mean(f, "n", "y");
  const char *b = two ? "y" : "x", *mb = two ? "n" : "m";
  int sign = way(f, 2), square = way(f, 3);
  char d[64];
  put(f, sign ? "    let c = m - x\n" : "    let c = x - m\n");
  if (!two && square == 0) snprintf(d, sizeof d, "c ** 2");
  else if (sign) snprintf(d, sizeof d, "c * (%s - %s)", mb, b);
  else snprintf(d, sizeof d, square == 2 ? "(%s - %s) * c" : "c * (%s - %s)", b, mb);
  put(f, "    let d = %s\n", d);
  const char *of = "d";
  if (weighted) {
    of = way(f, 2) ? "(d * w)" : "(w * d)";
    put(f, way(f, 2) ? "    let w = 1 / (1 + exp(-b))\n" : "    let w = sigmoid(b)\n");
  }
  put_mean(f, "r", of);
  put(f, "    return r\n");
}

// ---- both forms

static bool is_moments(uint64_t seed) { return seed % 3 == 2; }

static void make(uint64_t seed, bool straight, form *f) {
  *f = (form){.seed = seed, .choice = seed ^ 0x1de7717e5, .straight = straight};
  bool moments = is_moments(seed);
  put(f, "fn %s(%s) -> f32[S%s] {\n  fuse stream(T, passes = 1) {\n",
      straight ? "straight" : "rewritten",
      moments ? "x: f32[S, T], y: f32[S, T], b: f32[T]"
              : "q: f32[S, D], k: f32[T, D], v: f32[T, E], b: f32[T]",
      moments ? "" : ", E");
  if (moments) make_moments(f);
  else make_attention(f);
  put(f, "  }\n}\n");
}

void identity_print(uint64_t seed, char *text, int size) {
  static form a, b;
  make(seed, true, &a);
  make(seed, false, &b);
  snprintf(text, (size_t)size, "%s\n%s", a.text, b.text);
}

typedef struct run {
  tcf_session *session;
  tcf_program *program;
  tcf_tensor *args[MOST_PARAMS], *result;
  size_t nargs;
  char *diagnostic;
} run;

static void on_diagnostic(void *user, const tcf_diagnostic *d) {
  run *r = user;
  if (d->severity == TCF_ERROR && !r->diagnostic) r->diagnostic = strdup(d->text);
}

static double normal(uint64_t *state) {
  double u = ((double)(gen_random(state) >> 11) + 1) * 0x1p-53, v = (double)(gen_random(state) >> 11) * 0x1p-53;
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

static tcf_status open_run(uint64_t seed, const char *target, run *r) {
  char text[TEXT];
  identity_print(seed, text, sizeof text);
  tcf_options options = {.size = sizeof options, .target = target, .cache_dir = "",
                         .diagnostic = on_diagnostic, .diagnostic_user = r};
  if (seed / 8 % 2 && strstr(target, "sm_")) options.schedule = run_in_chunks;
  tcf_status status = tcf_session_new(&options, &r->session);
  if (!status) status = tcf_program_load(r->session, "identity.tdsl", text, strlen(text), &r->program);
  uint64_t state = seed * 77 + 5;
  int64_t s = 1 + (int64_t)(gen_random(&state) % 40), t = 1 + (int64_t)(gen_random(&state) % 300);
  int64_t d = 1 + (int64_t)(gen_random(&state) % 20), e = 1 + (int64_t)(gen_random(&state) % 20);
  int64_t attention[4][2] = {{s, d}, {t, d}, {t, e}, {t, 0}}, moments[3][2] = {{s, t}, {s, t}, {t, 0}};
  bool is = is_moments(seed);
  double offset = is ? 30 * normal(&state) : 0;
  for (size_t k = 0; !status && k < (is ? 3u : 4u); k++) {
    int64_t *dims = is ? moments[k] : attention[k];
    int rank = dims[1] ? 2 : 1;
    int64_t n = dims[0] * (rank == 2 ? dims[1] : 1);
    status = tcf_tensor_new(r->session, TCF_F32, rank, dims, &r->args[r->nargs++]);
    float *data = status ? NULL : tcf_tensor_data(r->args[k]);
    for (int64_t i = 0; data && i < n; i++) data[i] = (float)(normal(&state) + (rank == 2 ? offset : 0));
  }
  return status;
}

static tcf_status call(run *r, const char *name, int *kernels) {
  tcf_function *f = tcf_program_function(r->program, name);
  tcf_cost cost = {0};
  if (!f) return TCF_WRONG_PROGRAM;
  tcf_status status = tcf_call(f, (const tcf_tensor *const *)r->args, r->nargs, &r->result, 1);
  if (!status && kernels)
    status = tcf_function_cost(f, (const tcf_tensor *const *)r->args, r->nargs, &cost);
  if (kernels) *kernels = cost.kernels;
  return status;
}

static void close_run(run *r) {
  for (size_t i = 0; i < r->nargs; i++) tcf_tensor_free(r->args[i]);
  tcf_tensor_free(r->result);
  tcf_program_free(r->program);
  tcf_session_free(r->session);
  free(r->diagnostic);
}

static verdict compare(const tcf_tensor *got, const tcf_tensor *wanted, char *why, int why_size) {
  static const double most = 1e-4;  // of the largest: sums of 300, exponents up to 100, means of 100
  double largest = 0;
  int64_t n = tcf_tensor_elements(wanted);
  for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(tcf_tensor_get(wanted, i)));
  for (int64_t i = 0; i < n; i++) {
    double a = tcf_tensor_get(got, i), b = tcf_tensor_get(wanted, i);
    if (fabs(a - b) <= most * largest + 1e-6 || (isnan(a) && isnan(b))) continue;
    snprintf(why, (size_t)why_size, "element %lld is %.9g rewritten, %.9g straight", (long long)i, a, b);
    return VERDICT_DIFFERS;
  }
  return VERDICT_SAME;
}

verdict identity_run(uint64_t seed, const run_options *options, char *why, int why_size) {
  run wanted = {0}, got = {0};
  int straight = 0, rewritten = 0;
  verdict v = VERDICT_SAME;
  tcf_status status = open_run(seed, "interp", &wanted);
  if (!status) status = call(&wanted, "straight", NULL);
  if (!status) status = open_run(seed, options->target, &got);
  if (!status) status = call(&got, "straight", &straight);
  if (!status) v = compare(got.result, wanted.result, why, why_size);
  if (!status) status = call(&got, "rewritten", &rewritten);
  if (status) {
    const char *said = got.diagnostic ? got.diagnostic : wanted.diagnostic;
    snprintf(why, (size_t)why_size, "%s: %s", tcf_status_name(status), said ? said : "");
    v = VERDICT_ERROR;
  } else if (straight != 1 || rewritten != 1) {
    snprintf(why, (size_t)why_size, "%d kernels straight, %d rewritten", straight, rewritten);
    v = VERDICT_DIFFERS;
  } else if (v == VERDICT_SAME) {
    v = compare(got.result, wanted.result, why, why_size);
  }
  close_run(&got);
  close_run(&wanted);
  return v;
}
