// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Compares compiled code with the interpreter on one program. Depending on the seed, arguments have
// strides, symbols stay symbolic, results are deterministic, and several threads run.
#include "tests/fuzz/run_program.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tcc_fuse.h"
#include "tests/fuzz/gradients.h"

enum { SECONDS_PER_PROGRAM = 60, GEN_TEXT = 1 << 16 };

typedef struct side {
  tcf_session *session;
  tcf_program *program;
  tcf_tensor *args[GEN_VALUES], *results[4];
  void *blocks[4];   // memory of the results
  char *diagnostic;  // the first error, rendered
  int code;          // ... its code
} side;

static void on_diagnostic(void *user, const tcf_diagnostic *d) {
  side *s = user;
  if (d->severity == TCF_ERROR && !s->diagnostic) s->diagnostic = strdup(d->text), s->code = d->code;
}

static const tcf_dtype dtypes[] = {TCF_F64, TCF_F32, TCF_F16,  TCF_BF16, TCF_I64, TCF_I32, TCF_I16,
                                   TCF_I8,  TCF_U8,  TCF_BOOL, TCF_U64,  TCF_U32, TCF_U16};

static int shape_of(const gen_program *p, const gen_value *v, int64_t *dims) {
  for (int i = 0; i < v->rank; i++) dims[i] = p->axes[v->axes[i]].size;
  return v->rank;
}

/// Random strides for a tensor: the axes in any order in memory, with gaps. Returns the bytes.
static int64_t scatter_strides(uint64_t *state, int bytes, int rank, const int64_t *dims,
                               int64_t *strides) {
  int order[GEN_RANK];
  for (int i = 0; i < rank; i++) order[i] = i;
  for (int i = rank - 1; i > 0; i--) {
    int k = (int)(gen_random(state) % (uint64_t)(i + 1)), t = order[i];
    order[i] = order[k];
    order[k] = t;
  }
  int64_t step = bytes;
  for (int i = rank - 1; i >= 0; i--) {
    strides[order[i]] = step;
    step *= dims[order[i]] + (int64_t)(gen_random(state) % 3);
  }
  return step + bytes;
}

static void scatter_copy(const char *from, char *to, int bytes, int rank, const int64_t *dims,
                         const int64_t *strides) {
  int64_t n = 1;
  for (int i = 0; i < rank; i++) n *= dims[i];
  for (int64_t e = 0; e < n; e++) {
    int64_t rest = e, offset = 0;
    for (int i = rank - 1; i >= 0; i--) {
      offset += rest % dims[i] * strides[i];
      rest /= dims[i];
    }
    memcpy(to + offset, from + e * bytes, (size_t)bytes);
  }
}

static bool is_param(const gen_value *v) { return v->param || v->cut; }

/// Arguments of one side; memory is kept in *blocks and freed by the caller.
static tcf_status make_args(const gen_program *p, side *s, const bool *needed, bool strided,
                            void **blocks, size_t *nargs) {
  uint64_t state = p->seed ^ 0x5157;
  for (int i = 0; i < p->nvalues; i++) {
    const gen_value *v = &p->values[i];
    if (!needed[i] || !is_param(v)) continue;
    int64_t dims[GEN_RANK], strides[GEN_RANK];
    int rank = shape_of(p, v, dims), bytes = gen_type_bytes(v->type);
    char *data = malloc((size_t)(gen_elements(p, v) * bytes + 1));
    gen_fill(p, i, data);
    if (strided) {
      int64_t size = scatter_strides(&state, bytes, rank, dims, strides);
      char *spread = calloc(1, (size_t)size);
      scatter_copy(data, spread, bytes, rank, dims, strides);
      free(data);
      data = spread;
    }
    blocks[*nargs] = data;
    tcf_status status = tcf_tensor_borrow(s->session, dtypes[v->type], rank, dims,
                                          strided ? strides : NULL, data, &s->args[(*nargs)++]);
    if (status) return status;
  }
  return TCF_OK;
}

/// Results in memory of ours that looks like no result: what is not stored is seen.
static tcf_status make_results(const gen_program *p, side *s, void **blocks) {
  for (int k = 0; k < p->noutputs; k++) {
    const gen_value *v = &p->values[p->outputs[k]];
    int64_t dims[GEN_RANK];
    int rank = shape_of(p, v, dims);
    size_t bytes = (size_t)(gen_elements(p, v) * gen_type_bytes(v->type) + 1);
    blocks[k] = malloc(bytes);
    memset(blocks[k], v->type == GEN_BOOL ? 1 : 0x7e, bytes);
    tcf_status status = tcf_tensor_borrow(s->session, dtypes[v->type], rank, dims, NULL, blocks[k],
                                          &s->results[k]);
    if (status) return status;
  }
  return TCF_OK;
}

static verdict fail(const side *s, verdict v, tcf_status status, const char *what, char *why,
                    int why_size) {
  snprintf(why, (size_t)why_size, "%s: %s: %s%s%s", what, tcf_status_name(status),
           tcf_session_message(s->session), s->diagnostic ? "\n" : "",
           s->diagnostic ? s->diagnostic : "");
  return v;
}

static verdict run_side(const gen_program *p, side *s, tcf_options *options, bool strided,
                        char *why, int why_size) {
  const char *what = options->target;
  options->size = sizeof *options;
  options->cache_dir = "";
  options->diagnostic = on_diagnostic;
  options->diagnostic_user = s;
  tcf_status status = tcf_session_new(options, &s->session);
  if (status) {
    snprintf(why, (size_t)why_size, "%s: no session: %s", what, tcf_status_name(status));
    return VERDICT_ERROR;
  }
  bool needed[GEN_VALUES];
  gen_needed(p, needed);
  char *text = malloc(GEN_TEXT);
  int length = gen_print(p, text, GEN_TEXT);
  status = tcf_program_load(s->session, "random.tdsl", text, (size_t)length, &s->program);
  free(text);
  if (status) return fail(s, VERDICT_REJECTED, status, what, why, why_size);
  tcf_function *f = tcf_program_function(s->program, "f");
  if (!f) return fail(s, VERDICT_REJECTED, TCF_WRONG_PROGRAM, "no function f", why, why_size);
  bool symbolic = p->seed % 3 == 0;
  for (int i = 0; i < p->naxes; i++) symbolic |= p->axes[i].symbolic && p->axes[i].size == 0;
  for (size_t i = 0; symbolic && i < tcf_function_symbols(f); i++)
    tcf_function_keep_symbolic(f, tcf_function_symbol(f, i), 1);
  void *blocks[GEN_VALUES] = {0};
  size_t nargs = 0;
  status = make_args(p, s, needed, strided, blocks, &nargs);
  if (!status) status = make_results(p, s, s->blocks);
  if (!status)
    status = tcf_call(f, (const tcf_tensor *const *)s->args, nargs, s->results,
                      (size_t)p->noutputs);
  for (size_t i = 0; i < nargs; i++) {
    tcf_tensor_free(s->args[i]);
    free(blocks[i]);
  }
  return status ? fail(s, VERDICT_ERROR, status, what, why, why_size) : VERDICT_SAME;
}

static void close_side(side *s) {
  for (int i = 0; i < 4; i++) {
    tcf_tensor_free(s->results[i]);
    free(s->blocks[i]);
  }
  tcf_program_free(s->program);
  tcf_session_free(s->session);
  free(s->diagnostic);
}

static verdict compare_output(const gen_program *p, int k, const tcf_tensor *got,
                              const tcf_tensor *wanted, char *why, int why_size) {
  const gen_value *v = &p->values[p->outputs[k]];
  // Twice the bound: each side may be off by it. The last term is for flushed denormals.
  double tolerance = v->error > 0 ? 2 * v->error + 1e-37 : 0;
  int64_t n = gen_elements(p, v);
  if (tcf_tensor_elements(got) != n || tcf_tensor_elements(wanted) != n) {
    snprintf(why, (size_t)why_size, "output %d has %lld and %lld elements, not %lld", k,
             (long long)tcf_tensor_elements(got), (long long)tcf_tensor_elements(wanted),
             (long long)n);
    return VERDICT_DIFFERS;
  }
  for (int64_t i = 0; i < n; i++) {
    double a = tcf_tensor_get(got, i), b = tcf_tensor_get(wanted, i);
    if (a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= tolerance) continue;
    snprintf(why, (size_t)why_size,
             "output %d (%s) differs at element %lld of %lld: compiled %.9g, interpreter %.9g, "
             "tolerance %.3g", k, gen_type_name(v->type), (long long)i, (long long)n, a, b,
             tolerance);
    return VERDICT_DIFFERS;
  }
  return VERDICT_SAME;
}

const char run_in_chunks[] = "chunks=5,threads=32,vector=1,elements=1,step=16,m=1";

verdict run_program(const gen_program *p, const run_options *options, char *why, int why_size) {
  if (options->gradients) return gradients_run(p, options, why, why_size);
  side interpreted = {0}, compiled = {0};
  tcf_options plain = {.target = "interp", .threads = 1};
  tcf_options fast = {.target = options->target, .threads = options->threads};
  if (fast.threads == 0) fast.threads = p->seed % 8 == 0 ? 3 : 1;
  if (p->seed % 5 == 0 || options->deterministic) fast.flags |= TCF_DETERMINISTIC;
  // Steps that are short, so that there are several, and tiles of few rows.
  static const char *const schedules[] = {NULL, "step=16,mt=16", "step=16,mt=32", NULL};
  if (p->block_last >= 0) fast.schedule = schedules[p->seed / 2 % 4];
  if (p->seed / 8 % 2 && strstr(options->target, "sm_")) fast.schedule = run_in_chunks;
  // Either form of a scatter, or the one that is predicted to be faster.
  static const char *const forms[] = {"", "by_rows=1", "by_rows=0", "by_rows=1"};
  char schedule[128];
  const char *form = forms[p->seed / 16 % 4];
  snprintf(schedule, sizeof schedule, "%s%s%s", fast.schedule ? fast.schedule : "",
           fast.schedule && *form ? "," : "", form);
  if (*schedule) fast.schedule = schedule;
  verdict v = run_side(p, &interpreted, &plain, false, why, why_size);
  if (v == VERDICT_SAME) v = run_side(p, &compiled, &fast, p->seed % 4 == 1, why, why_size);
  int code = compiled.code ? compiled.code : interpreted.code;
  bool refused = v != VERDICT_SAME && p->block_last >= 0 && code / 100 == 3;
  if (refused) v = VERDICT_SAME;  // the contract does not hold, and the error says so
  for (int k = 0; k < p->noutputs && v == VERDICT_SAME && !refused; k++)
    v = compare_output(p, k, compiled.results[k], interpreted.results[k], why, why_size);
  close_side(&compiled);
  close_side(&interpreted);
  return v;
}

verdict run_isolated(const gen_program *p, const run_options *options, char *why, int why_size) {
  struct shared {
    verdict v;
    char why[4096];
  } *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(SECONDS_PER_PROGRAM);
    shared->v = run_program(p, options, shared->why, sizeof shared->why);
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  verdict v = shared->v;
  snprintf(why, (size_t)why_size, "%s", shared->why);
  if (WIFSIGNALED(status)) {
    v = WTERMSIG(status) == SIGALRM ? VERDICT_TIMEOUT : VERDICT_CRASHED;
    snprintf(why, (size_t)why_size, "signal %d (%s)", WTERMSIG(status),
             strsignal(WTERMSIG(status)));
  } else if (WIFEXITED(status) && WEXITSTATUS(status) != 0) {
    v = VERDICT_CRASHED;  // a sanitizer's exit
    snprintf(why, (size_t)why_size, "exit status %d", WEXITSTATUS(status));
  }
  munmap(shared, sizeof *shared);
  return v;
}
