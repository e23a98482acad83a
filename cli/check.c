// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// --check: the same call in the interpreter. Where a result is outside the tolerance, whether the
// program itself explains it:
//
//   check out: 64 elements, max error 0.0312 absolute, ...; tolerance 1.9e-06: FAILED
//   check out: 9 of 64 elements are outside; the worst, element 3, is 0.5, not 0.46875
//   check out: arguments changed in their last place change it by 0.0625: the program cancels ...
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

typedef struct reference {
  tcf_session *session;
  tcf_function *function;
  tcf_tensor **results;
} reference;

/// A tolerance of a session's function; tile IR has no graph to derive one from.
static double tolerance_by_rule(const checking *c, size_t i) {
  double t;
  tcf_status status = tcf_function_tolerance(c->function, c->args, c->nargs, i, &t);
  return status ? 1e-5 : t;
}

// ---- what arguments that differ in their last place make of a result

static uint64_t exponent_bits(tcf_dtype t) {
  switch (t) {
    case TCF_F64:
      return UINT64_C(0x7ff) << 52;
    case TCF_F32:
      return UINT64_C(0xff) << 23;
    case TCF_F16:
      return 0x7c00;
    case TCF_BF16:
      return 0x7f80;
    default:
      return 0;
  }
}

/// Row-major element number i.
static const char *element(const tcf_tensor *t, int64_t i) {
  const char *at = tcf_tensor_data(t);
  for (int k = tcf_tensor_rank(t) - 1; k >= 0; i /= tcf_tensor_dims(t)[k], k--)
    at += i % tcf_tensor_dims(t)[k] * tcf_tensor_strides(t)[k];
  return at;
}

/// A neighbour of the value: up or down as chance has it. Zeros, infinities and NaN stay.
static uint64_t neighbour(uint64_t bits, uint64_t exponent, uint64_t chance) {
  uint64_t sign = exponent + (exponent & -exponent), magnitude = bits & (sign - 1);
  if (!magnitude || (bits & exponent) == exponent) return bits;
  bool up = chance * UINT64_C(0x9e3779b97f4a7c15) >> 63;
  if (up && ((bits + 1) & exponent) == exponent) up = false;
  return up ? bits + 1 : bits - 1;
}

/// A copy, of floats with changes in the last places unless the number is 0. Null: no memory.
static tcf_tensor *nudged(const tcf_tensor *t, int number) {
  tcf_tensor *out;
  uint64_t exponent = exponent_bits(tcf_tensor_dtype(t));
  size_t size = tcf_dtype_size(tcf_tensor_dtype(t));
  if (tcf_tensor_new(NULL, tcf_tensor_dtype(t), tcf_tensor_rank(t), tcf_tensor_dims(t), &out))
    return NULL;
  char *to = tcf_tensor_data(out);
  for (int64_t i = 0; i < tcf_tensor_elements(t); i++, to += size) {
    uint64_t bits = 0;  // little-endian, as all machines that this runs on
    memcpy(&bits, element(t, i), size);
    if (exponent && number) bits = neighbour(bits, exponent, (uint64_t)(4 * i + number));
    memcpy(to, &bits, size);
  }
  return out;
}

/// How far result i is from what it was, called with arguments of which `nudge` numbers a change (0:
/// none). False: not known.
static bool measure_change(const checking *c, size_t i, int nudge, double *moved) {
  tcf_tensor **args = calloc(c->nargs + 1, sizeof *args);
  tcf_tensor **results = calloc(c->nresults + 1, sizeof *results);
  bool ok = args && results;
  for (size_t k = 0; ok && k < c->nargs; k++) ok = (args[k] = nudged(c->args[k], nudge));
  ok = ok && !tcf_call(c->function, (const tcf_tensor *const *)args, c->nargs, results,
                       c->nresults);
  tcf_difference d;
  ok = ok && !tcf_tensor_compare(c->session, results[i], c->results[i], 0, &d);
  for (size_t k = 0; args && k < c->nargs; k++) tcf_tensor_free(args[k]);
  for (size_t k = 0; results && k < c->nresults; k++) tcf_tensor_free(results[k]);
  free(args);
  free(results);
  if (ok && d.max_abs > *moved) *moved = d.max_abs;
  return ok;
}

// ---- what is said

/// A program that turns changes of its arguments by one rounding into differences like this one does
/// the same with the roundings on the way: its tolerance does not hold at these arguments.
static void explain_change(const checking *c, size_t i, const char *name, const tcf_difference *d) {
  double again = 0, moved = 0;
  if (!measure_change(c, i, 0, &again)) return;
  for (int nudge = 1; nudge < 5; nudge++)
    if (!measure_change(c, i, nudge, &moved)) return;
  if (again > moved / 2 && again > 0) {
    printf("check %s: another call with the same arguments differs by %.3g\n", name, again);
    return;
  }
  printf("check %s: arguments changed in their last place change it by %.3g: %s\n", name, moved,
         moved * 16 >= d->max_abs
             ? "the program cancels or jumps there, which makes differences like this one"
             : "too little to explain the difference, unless large constants of it cancel");
}

static void explain_failure(const checking *c, size_t i, const char *name,
                            const tcf_difference *d) {
  int exact = 0;
  double rule = tolerance_by_rule(c, i);
  bool floats = tcf_tensor_dtype(c->results[i]) <= TCF_BF16;
  if (c->tolerance >= 0 && floats && d->max_abs <= rule * d->scale) {
    printf("check %s: it is within the tolerance for the roundings of the program, %.3g\n", name,
           rule);
    return;
  }
  if (tcf_function_is_exact(c->function, c->args, c->nargs, i, &exact)) exact = floats ? 0 : 1;
  if (exact) return;
  if (!floats)
    printf("check %s: these %s are made of floats: where one is near a boundary, its last "
           "roundings decide\n",
           name, tcf_tensor_dtype(c->results[i]) == TCF_BOOL ? "truth values" : "integers");
  explain_change(c, i, name, d);
}

/// "ok", and of how many elements that says nothing.
static void print_verdict(const tcf_difference *d) {
  int64_t special = d->nan + d->infinite;
  bool none = d->elements && special == d->elements;
  fputs(d->failed ? "FAILED" : none ? "ok, but no element is a finite number" : "ok", stdout);
  if (d->nan) printf("; %lld NaN", (long long)d->nan);
  if (d->infinite) printf("; %lld infinite", (long long)d->infinite);
  putchar('\n');
}

static int compare(const checking *c, const reference *r, size_t i) {
  tcf_difference d;
  tcf_value_info info;
  double tolerance = c->tolerance >= 0 ? c->tolerance : tolerance_by_rule(c, i);
  tcf_function_result(c->function, i, &info);
  tcf_status status = tcf_tensor_compare(r->session, c->results[i], r->results[i], tolerance, &d);
  if (status) return report(r->session, status);
  bool floats = info.dtype <= TCF_BF16;
  printf("check %s: %lld element%s, max error %.3g absolute", info.name, (long long)d.elements,
         d.elements == 1 ? "" : "s", d.max_abs);
  if (floats) printf(", %.3g relative, %.3g ulp", d.max_rel, d.max_ulp);
  printf(", %.3g of the largest", d.scale > 0 ? d.max_abs / d.scale : 0);
  printf("; tolerance %.3g: ", tolerance);
  print_verdict(&d);
  if (!d.failed) return EXIT_DONE;
  printf(
      "check %s: %lld of %lld elements are outside; the worst, element %lld, is %.9g, not %.9g\n",
      info.name, (long long)d.failed, (long long)d.elements, (long long)d.worst, plain_nan(d.got),
      plain_nan(d.wanted));
  explain_failure(c, i, info.name, &d);
  return EXIT_CHECK;
}

static int compare_all(const checking *c, const reference *r) {
  int status = report(r->session,
                      tcf_call(r->function, c->args, c->nargs, r->results, c->nresults));
  for (size_t i = 0; i < c->nresults && (!status || status == EXIT_CHECK); i++) {
    int one = compare(c, r, i);
    if (one) status = one;
  }
  return status;
}

int check_results(const checking *c) {
  common options = c->common;
  options.deterministic = options.unordered_sums = options.fast_math = options.tf32 =
      options.autotune = false;
  reference r = {.results = calloc(c->nresults + 1, sizeof *r.results)};
  tcf_program *p;
  if (!r.results) return complain("out of memory"), EXIT_ENVIRONMENT;
  int status = open_session(&options, "interp", &r.session);
  if (!status) status = report(r.session, tcf_program_load_file(r.session, c->file, &p));
  if (!status) {
    r.function = tcf_program_function(p, tcf_function_name(c->function));
    status = compare_all(c, &r);
  }
  for (size_t i = 0; i < c->nresults; i++) tcf_tensor_free(r.results[i]);
  free(r.results);
  tcf_session_free(r.session);
  return status;
}
