// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See gradients.h.
#include "tests/fuzz/gradients.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"
#include "tests/fuzz/gradients_text.h"

enum { TEXT = 1 << 17, RESULTS = GRADIENTS_WRT + 1, DIFFERENCES = 10 };

typedef struct run {
  const gen_program *p;
  const gradients *g;
  tcf_session *session;
  tcf_program *program;
  tcf_dtype type;              // of floats
  double *floats[GEN_VALUES];  // elements of float parameters, by value
  char *diagnostic;
  int code;
} run;

typedef struct results {
  double *data[RESULTS];
  int64_t elements[RESULTS];
  int n;
} results;

static void on_diagnostic(void *user, const tcf_diagnostic *d) {
  run *r = user;
  if (d->severity == TCF_ERROR && !r->diagnostic)
    r->diagnostic = strdup(d->text), r->code = d->code;
}

static bool is_param(const gen_value *v) { return v->param || v->cut; }

static void make_text(const gen_program *p, const gradients *g, bool wide, char *text) {
  gradients_write(p, g, text, TEXT);
  for (char *at = text; wide && (at = strstr(at, "f32")); at += 3) memcpy(at, "f64", 3);
}

void gradients_print(const gen_program *p, char *text, int size) {
  gradients g = gradients_of(p);
  gradients_write(p, &g, text, size);
}

/// The parameters of the program, each element moved by up to `relative` of itself.
static void fill(run *r, double relative, uint64_t seed) {
  uint64_t state = seed;
  for (int i = 0; i < r->p->nvalues; i++) {
    const gen_value *v = &r->p->values[i];
    if (!is_param(v) || v->type != GEN_F32) continue;
    int64_t n = gen_elements(r->p, v);
    float *data = malloc((size_t)n * sizeof *data + 1);
    gen_fill(r->p, i, data);
    if (!r->floats[i]) r->floats[i] = malloc((size_t)n * sizeof(double) + 1);
    for (int64_t k = 0; k < n; k++) {
      double u = (double)(gen_random(&state) >> 11) * 0x1p-52 - 1;
      r->floats[i][k] = (double)data[k] * (1 + relative * u);
    }
    free(data);
  }
}

static tcf_status open_run(run *r, const gen_program *p, const gradients *g, tcf_options *options,
                           bool wide) {
  *r = (run){.p = p, .g = g, .type = wide ? TCF_F64 : TCF_F32};
  options->size = sizeof *options;
  options->cache_dir = "";
  options->diagnostic = on_diagnostic;
  options->diagnostic_user = r;
  tcf_status status = tcf_session_new(options, &r->session);
  if (status) return status;
  char *text = malloc(TEXT);
  make_text(p, g, wide, text);
  status = tcf_program_load(r->session, "gradients.tdsl", text, strlen(text), &r->program);
  free(text);
  fill(r, 0, 0);
  return status;
}

static void close_run(run *r) {
  tcf_program_free(r->program);
  tcf_session_free(r->session);
  free(r->diagnostic);
  for (int i = 0; i < GEN_VALUES; i++) free(r->floats[i]);
}

static void free_results(results *r) {
  for (int i = 0; i < r->n; i++) free(r->data[i]);
  r->n = 0;
}

static tcf_status make_argument(run *r, int value, tcf_tensor **t) {
  static const tcf_dtype others[] = {[GEN_I32] = TCF_I32, [GEN_BOOL] = TCF_BOOL};
  const gen_value *v = &r->p->values[value];
  bool is_float = v->type == GEN_F32;
  int64_t dims[GEN_RANK], n = gen_elements(r->p, v);
  for (int i = 0; i < v->rank; i++) dims[i] = r->p->axes[v->axes[i]].size;
  tcf_status status =
      tcf_tensor_new(r->session, is_float ? r->type : others[v->type], v->rank, dims, t);
  if (status) return status;
  if (!is_float) gen_fill(r->p, value, tcf_tensor_data(*t));
  for (int64_t i = 0; is_float && i < n; i++) {
    if (r->type == TCF_F64) ((double *)tcf_tensor_data(*t))[i] = r->floats[value][i];
    else ((float *)tcf_tensor_data(*t))[i] = (float)r->floats[value][i];
  }
  return TCF_OK;
}

static tcf_status call(run *r, const char *name, int nresults, results *out) {
  bool needed[GEN_VALUES];
  tcf_tensor *args[GEN_VALUES] = {0}, *got[RESULTS] = {0};
  size_t n = 0;
  tcf_status status = TCF_OK;
  *out = (results){0};
  tcf_function *f = tcf_program_function(r->program, name);
  if (!f) return TCF_WRONG_PROGRAM;
  for (size_t i = 0; r->p->seed % 3 == 0 && i < tcf_function_symbols(f); i++)
    tcf_function_keep_symbolic(f, tcf_function_symbol(f, i), 1);
  gen_needed(r->p, needed);
  for (int i = 0; i < r->p->nvalues && !status; i++)
    if (needed[i] && is_param(&r->p->values[i])) status = make_argument(r, i, &args[n++]);
  if (!status) status = tcf_call(f, (const tcf_tensor *const *)args, n, got, (size_t)nresults);
  for (int i = 0; !status && i < nresults; i++) {
    out->elements[i] = tcf_tensor_elements(got[i]);
    out->data[i] = malloc((size_t)out->elements[i] * sizeof(double) + 1);
    for (int64_t k = 0; k < out->elements[i]; k++) out->data[i][k] = tcf_tensor_get(got[i], k);
    out->n++;
  }
  for (size_t i = 0; i < n; i++) tcf_tensor_free(args[i]);
  for (int i = 0; i < nresults; i++) tcf_tensor_free(got[i]);
  return status;
}

// ---- comparing

static double largest(const results *r, int i) {
  double most = 0;
  for (int64_t k = 0; k < r->elements[i]; k++)
    if (isfinite(r->data[i][k])) most = fmax(most, fabs(r->data[i][k]));
  return most;
}

/// The largest difference; INFINITY where one is a number and the other not.
static double distance(const results *a, const results *b, int i) {
  double most = 0;
  for (int64_t k = 0; k < a->elements[i]; k++) {
    double x = a->data[i][k], y = b->data[i][k];
    if (x == y || (isnan(x) && isnan(y))) continue;
    most = fmax(most, isfinite(x) && isfinite(y) ? fabs(x - y) : INFINITY);
  }
  return most;
}

static verdict differ(const char *what, const char *name, int result, double distance,
                      double allowed, char *why, int why_size) {
  snprintf(why, (size_t)why_size, "%s: result %d of %s is off by %.3g, where %.3g may be", what,
           result, name, distance, allowed);
  return VERDICT_DIFFERS;
}

/// What two correct evaluations in f32 may differ by: what they do in the interpreter, of f64 and of
/// arguments that are off by their last bits.
static tcf_status find_noise(run *narrow, const char *name, const results *exact, double *noise,
                             results *rounded) {
  static const double last_bits[] = {0, 1e-7, 1e-6, 1e-6};
  enum { RUNS = sizeof last_bits / sizeof *last_bits };
  for (int i = 0; i < exact->n; i++) noise[i] = 0;
  for (int k = 0; k < RUNS; k++) {
    results r;
    fill(narrow, last_bits[k], 77 + (uint64_t)k);
    tcf_status status = call(narrow, name, exact->n, &r);
    if (status) return status;
    for (int i = 0; i < exact->n; i++) noise[i] = fmax(noise[i], distance(&r, exact, i));
    if (!k) *rounded = r;
    else free_results(&r);
  }
  fill(narrow, 0, 0);
  return TCF_OK;
}

static verdict fail(const run *r, tcf_status status, const char *what, char *why, int why_size) {
  snprintf(why, (size_t)why_size, "%s: %s: %s%s%s", what, tcf_status_name(status),
           r->session ? tcf_session_message(r->session) : "", r->diagnostic ? "\n" : "",
           r->diagnostic ? r->diagnostic : "");
  return r->program ? VERDICT_ERROR : VERDICT_REJECTED;
}

/// The function compiled, against the interpreter.
static verdict compare_compiled(run *compiled, run *narrow, const char *name, const results *exact,
                                char *why, int why_size) {
  static const double most = 1e-5;  // of the largest element
  double noise[RESULTS];
  results rounded = {0}, got = {0};
  verdict v = VERDICT_SAME;
  tcf_status status = find_noise(narrow, name, exact, noise, &rounded);
  if (status) return fail(narrow, status, name, why, why_size);
  status = call(compiled, name, exact->n, &got);
  if (status) v = fail(compiled, status, name, why, why_size);
  for (int i = 0; i < exact->n && v == VERDICT_SAME; i++) {
    double allowed = 30 * noise[i] + most * largest(exact, i) + 1e-6;
    double far = fmin(distance(&got, exact, i), distance(&got, &rounded, i));
    if (!(far <= allowed)) v = differ("compiled", name, i, far, allowed, why, why_size);
  }
  free_results(&rounded);
  free_results(&got);
  return v;
}

/// (y(x + h) - y(x - h)) / 2h for one element.
static tcf_status difference(run *wide, int value, int64_t element, double h, double *d) {
  double *at = &wide->floats[value][element], was = *at, y[2];
  for (int k = 0; k < 2; k++) {
    results r;
    *at = was + (k ? -h : h);
    tcf_status status = call(wide, wide->g->second ? "slope" : "value", 1, &r);
    *at = was;
    if (status) return status;
    y[k] = r.data[0][0];
    free_results(&r);
  }
  *d = (y[0] - y[1]) / (2 * h);
  return TCF_OK;
}

/// Some elements of derivatives against differences, where those of three steps agree: else it jumps near.
static verdict compare_differences(run *wide, const char *name, const results *derivatives,
                                   char *why, int why_size) {
  static const double steps[] = {1e-3, 3e-4, 1e-4};
  uint64_t state = wide->p->seed * 31 + 7;
  for (int k = 0; k < DIFFERENCES; k++) {
    int i = (int)(gen_random(&state) % (uint64_t)wide->g->nwrt);
    if (!derivatives->elements[i]) continue;
    int64_t element = (int64_t)(gen_random(&state) % (uint64_t)derivatives->elements[i]);
    double d[3], got = derivatives->data[i][element], scale = 1e-3 + largest(derivatives, i);
    for (int s = 0; s < 3; s++) {
      tcf_status status = difference(wide, wide->g->wrt[i], element, steps[s], &d[s]);
      if (status) return fail(wide, status, "differences", why, why_size);
    }
    // The error falls by the square of the step.
    double spread = fmax(fabs(d[0] - d[2]), fabs(d[1] - d[2]));
    if (!(spread < 1e-3 * scale) || fabs(d[1] - d[2]) > fabs(d[0] - d[2]) + 1e-7 * scale) continue;
    double allowed = 1e-5 * scale + 2 * spread, near = d[2];
    // Where it jumps between the steps and the point, short ones see it: roundings are 1e-16 of the value.
    for (double h = 1e-5; h > 1e-8 && fabs(got - near) > allowed; h /= 10) {
      tcf_status status = difference(wide, wide->g->wrt[i], element, h, &near);
      if (status) return fail(wide, status, "differences", why, why_size);
    }
    if (fabs(got - near) <= allowed) continue;
    snprintf(why, (size_t)why_size,
             "%s: element %lld of result %d (p%d) is %.9g, differences give %.9g, %.9g, %.9g", name,
             (long long)element, i, wide->g->wrt[i], got, d[0], d[1], d[2]);
    return VERDICT_DIFFERS;
  }
  return VERDICT_SAME;
}

/// How far the results move when the arguments move by their last bits: where it jumps there, as between equal
/// elements, each way to write it may be on another side.
static tcf_status find_jumps(run *wide, const results *straight, double *jump) {
  static const double last_bits[] = {1e-14, 1e-13, 1e-12, 1e-10};
  for (int i = 0; i < straight->n; i++) jump[i] = 0;
  for (int k = 0; k < 4; k++) {
    results r;
    fill(wide, last_bits[k], 177 + (uint64_t)k);
    tcf_status status = call(wide, "straight", straight->n, &r);
    if (status) return status;
    for (int i = 0; i < straight->n; i++) jump[i] = fmax(jump[i], distance(&r, straight, i));
    free_results(&r);
  }
  fill(wide, 0, 0);
  return TCF_OK;
}

/// Both ways to write it, in f64.
static verdict compare_forms(run *wide, const results *straight, results *rewritten, char *why,
                             int why_size) {
  double jump[RESULTS] = {0};
  bool asked = false;
  tcf_status status = call(wide, "rewritten", straight->n, rewritten);
  for (int i = 0; !status && i < straight->n; i++) {
    double allowed = 1e-7 * largest(straight, i) + 1e-8, far = distance(rewritten, straight, i);
    if (far <= allowed) continue;
    if (!asked) status = find_jumps(wide, straight, jump);
    asked = true;
    allowed += 4 * jump[i];
    if (!status && !(far <= allowed))
      return differ("in f64", "rewritten", i, far, allowed, why, why_size);
  }
  return status ? fail(wide, status, "rewritten", why, why_size) : VERDICT_SAME;
}

static verdict compare(run *wide, run *narrow, run *compiled, char *why, int why_size) {
  const gradients *g = wide->g;
  int n = g->nwrt + (g->between >= 0);
  results straight = {0}, rewritten = {0}, curvature = {0};
  tcf_status status = call(wide, "straight", n, &straight);
  verdict v = status ? fail(wide, status, "straight", why, why_size) : VERDICT_SAME;
  if (v == VERDICT_SAME) v = compare_forms(wide, &straight, &rewritten, why, why_size);
  if (v == VERDICT_SAME && !g->stops && !g->second)
    v = compare_differences(wide, "straight", &straight, why, why_size);
  if (v == VERDICT_SAME)
    v = compare_compiled(compiled, narrow, "straight", &straight, why, why_size);
  if (v == VERDICT_SAME)
    v = compare_compiled(compiled, narrow, "rewritten", &straight, why, why_size);
  if (v == VERDICT_SAME && g->second) {
    status = call(wide, "curvature", g->nwrt, &curvature);
    if (status) v = fail(wide, status, "curvature", why, why_size);
    if (v == VERDICT_SAME && !g->stops)
      v = compare_differences(wide, "curvature", &curvature, why, why_size);
    if (v == VERDICT_SAME)
      v = compare_compiled(compiled, narrow, "curvature", &curvature, why, why_size);
  }
  free_results(&straight);
  free_results(&rewritten);
  free_results(&curvature);
  return v;
}

static verdict run_once(const gen_program *p, const gradients *g, const run_options *options,
                        char *why, int why_size, int *code) {
  static const char *const schedules[] = {NULL, "step=16,mt=16", "step=16,mt=32", NULL};
  run wide = {0}, narrow = {0}, compiled = {0};
  tcf_options exact = {.target = "interp", .threads = 1}, rounded = exact;
  tcf_options fast = {.target = options->target,
                      .threads = options->threads ? options->threads : 1};
  if (p->seed % 5 == 0 || options->deterministic) fast.flags |= TCF_DETERMINISTIC;
  if (p->block_last >= 0) fast.schedule = schedules[p->seed / 2 % 4];
  if (p->seed / 8 % 2 && strstr(options->target, "sm_")) fast.schedule = run_in_chunks;
  const run *last = &wide;
  tcf_status status = open_run(&wide, p, g, &exact, true);
  if (!status) status = open_run(&narrow, p, g, &rounded, false), last = &narrow;
  if (!status) status = open_run(&compiled, p, g, &fast, false), last = &compiled;
  verdict v = status ? fail(last, status, last->type == TCF_F64 ? "f64" : "f32", why, why_size)
                     : compare(&wide, &narrow, &compiled, why, why_size);
  *code = compiled.code ? compiled.code : wide.code ? wide.code : narrow.code;
  close_run(&wide);
  close_run(&narrow);
  close_run(&compiled);
  return v;
}

verdict gradients_run(const gen_program *p, const run_options *options, char *why, int why_size) {
  gradients g = gradients_of(p);
  int code;
  if (!g.nwrt || !g.nof) return VERDICT_SAME;
  verdict v = run_once(p, &g, options, why, why_size, &code);
  // The contract does not hold, and the error says so: then without it.
  if (v == VERDICT_SAME || p->block_last < 0 || code / 100 != 3) return v;
  g.plain = true;
  return run_once(p, &g, options, why, why_size, &code);
}
