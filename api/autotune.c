// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Schedules by trial, where the session asks for it: the cost model's own choice, then alternatives
// of it kernel by kernel, the slowest first, until none is faster. A schedule is taken when it is faster in
// turns with the one before and its results are within the tolerance of the model's choice. The winner is
// kept, in the session and on disk, by the program at its sizes and all that its code depends on;
// every later compilation of these takes it.
#include <stdlib.h>
#include <time.h>

#include "api/session.h"
#include "passes/explain/explain.h"

enum { MOST_TRIALS = 80, FEWEST_RUNS = 7, MOST_RUNS = 51 };
static const double RUN_SECONDS = 0.02, BETTER = 0.98, HOPELESS = 2;

typedef struct tuning {
  call *call;
  tcf_session *session;
  tcf_function *function;
  arena arena;  // of the search
  const graph *fused;
  tensor **results[2];  // of the model's choice, of a trial
  double *tolerances;
  map seen;  // text of programs that were tried
  int trials;
  str schedule;  // the best so far, without the session's own items
  variant *best;
  double best_seconds, model_seconds;  // measured; predicted
} tuning;

// ---- what was found before

static str whole_schedule(tcf_session *s, arena *a, str tuned) {
  if (!s->schedule.len || !tuned.len) return tuned.len ? tuned : s->schedule;
  return str_printf(a, "%.*s,%.*s", STR_FMT(s->schedule), STR_FMT(tuned));
}

static cache_key key_of(tcf_session *s, const graph *g) {
  scratch work;
  scratch_open(&work);
  str who = session_identity(s);
  strbuf text = sb_new(&work.arena), about = sb_new(&work.arena);
  graph_print(g, &text);
  sb_printf(&about, "schedule found by trial; %.*s", STR_FMT(who));
  if (s->device) sb_printf(&about, "; %s", cuda_device_info(s->device)->name);
  cache_key key = cache_key_of(about.data, (size_t)about.len, text.data, (size_t)text.len);
  scratch_close(&work);
  return key;
}

static bool find_kept(tcf_session *s, const graph *g, str *out) {
  cache_key key = key_of(s, g);
  cache_entry entry;
  const str *known = map_get(&s->tuned, str_from(key.hex));
  if (known) return *out = *known, true;
  if (!session_identity(s).len || !cache_load(session_cache(s), &key, &entry)) return false;
  str error, text = {entry.text, (int)entry.text_size};
  volatile bool ok = false;
  fault_frame frame;
  if (fault_try(&frame) && (ok = schedule_check(text, &error)))
    session_keep_schedule(s, &key, *out = str_dup(&s->arena, text));
  fault_pop(&frame);
  free(entry.block);
  if (frame.kind) fault_raise(frame.kind, "%s", frame.text);
  return ok;
}

str tuned_schedule(tcf_session *s, const graph *g) {
  str found;
  bool kept = s->target < TARGET_INTERP && find_kept(s, g, &found);
  return kept ? whole_schedule(s, &s->arena, found) : s->schedule;
}

void session_keep_schedule(tcf_session *s, const cache_key *key, str schedule) {
  str *kept = arena_new(&s->arena, str);
  *kept = str_dup(&s->arena, schedule);
  map_put(&s->arena, &s->tuned, str_dup(&s->arena, str_from(key->hex)), kept);
}

// ---- running

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static tcf_status time_on_device(tuning *t, const invocation *in, int runs, double *seconds) {
  error e = {0};
  tcf_status status = TCF_OK;
  cuda_timer *timer = cuda_timer_new(t->session->device, runs, 0, &e);
  bool ok = timer;
  for (int i = 0; ok && !status && i < runs; i++) {
    ok = cuda_timer_begin(timer, &e);
    if (ok) status = invoke(in);
    ok = ok && !status && cuda_timer_end(timer, &e);
  }
  ok = ok && cuda_timer_read(timer, seconds, &e);
  cuda_timer_free(timer);
  return status || ok ? status : session_fail_error(t->session, &e);
}

static tcf_status time_here(const invocation *in, int runs, double *seconds) {
  for (int i = 0; i < runs; i++) {
    double begin = now();
    tcf_status status = invoke(in);
    if (status) return status;
    seconds[i] = now() - begin;
  }
  return TCF_OK;
}

/// Sorted.
static tcf_status time_runs(tuning *t, const invocation *in, int runs, double *seconds) {
  tcf_status status =
      in->variant->module ? time_on_device(t, in, runs, seconds) : time_here(in, runs, seconds);
  if (!status) qsort(seconds, (size_t)runs, sizeof *seconds, by_value);
  return status;
}

/// Median of as many runs as take RUN_SECONDS, after two that are not counted.
static tcf_status measure(tuning *t, variant *v, tensor *const *results, double *median) {
  double seconds[MOST_RUNS];
  invocation in = call_invocation(t->call, &t->arena, v, results);
  tcf_status status = time_runs(t, &in, 2, seconds);
  if (status) return status;
  double wanted = RUN_SECONDS / (seconds[0] + 1e-9);
  int runs = wanted < FEWEST_RUNS ? FEWEST_RUNS : wanted > MOST_RUNS ? MOST_RUNS : (int)wanted;
  status = time_runs(t, &in, runs, seconds);
  *median = seconds[runs / 2];
  return status;
}

/// NULL and a message when memory is out.
static tensor *new_result(tuning *t, const sig_value *v) {
  int64_t dims[MAX_AXES];
  str missing;
  error e;
  tensor *made = NULL;
  if (signature_dims(&t->function->sig, v, t->call->sizes, dims, &missing))
    made = t->session->target == TARGET_CUDA
               ? cuda_tensor_new(t->session->device, v->type, v->rank, dims, &e)
               : tensor_new(v->type, v->rank, dims, &e);
  else error_set(&e, ERROR_USAGE, "no argument determines the size %.*s", STR_FMT(missing));
  if (!made) session_fail_error(t->session, &e);
  return made;
}

static tcf_status make_results(tuning *t) {
  const signature *sig = &t->function->sig;
  t->tolerances = arena_array(&t->arena, double, sig->nresults);
  for (int set = 0; set < 2; set++)
    t->results[set] = arena_array(&t->arena, tensor *, sig->nresults);
  for (int i = 0; i < sig->nresults; i++) {
    tcf_status status = function_tolerance(t->function, t->call->args, t->call->nargs, (size_t)i,
                                           &t->tolerances[i]);
    if (status) return status;
    for (int set = 0; set < 2; set++)
      if (!(t->results[set][i] = new_result(t, &sig->results[i]))) return TCF_NO_MEMORY;
  }
  return TCF_OK;
}

static bool same_result(tuning *t, int i) {
  error e;
  tensor *host[2] = {0};
  bool same = true;
  for (int set = 0; set < 2; set++) same &= !!(host[set] = tensor_to_host(t->results[set][i], &e));
  // Each of the two may be off by the tolerance.
  same = same && !tensor_compare(host[1], host[0], 2 * t->tolerances[i]).failed;
  for (int set = 0; set < 2; set++) tensor_free(host[set]);
  return same;
}

static bool same_results(tuning *t) {
  for (int i = 0; i < t->function->sig.nresults; i++)
    if (!same_result(t, i)) return false;
  return true;
}

// ---- trials

static void tell(const tuning *t, str schedule, double seconds, const char *outcome) {
  tcf_session *s = t->session;
  if (!s->trial) return;
  scratch work;
  scratch_open(&work);
  tcf_trial trial = {.function = t->function->name,
                     .number = t->trials,
                     .schedule = str_z(&work.arena, schedule),
                     .seconds = seconds,
                     .best_seconds = t->best_seconds,
                     .outcome = outcome};
  s->trial(s->trial_user, &trial);
  scratch_close(&work);
}

/// The model's own view of a schedule.
typedef struct view {
  schedule_choices choices;
  explanation *explained;
  str text;  // of the program
} view;

static view look(tuning *t, arena *a, str schedule) {
  view v = {0};
  pass_options options = session_pass_options(t->session, whole_schedule(t->session, a, schedule));
  options.choices = &v.choices;
  strbuf text = sb_new(a);
  program_print(lower_to_tiles(a, t->fused, &options), &text);
  options.choices = NULL;
  v.text = sb_str(&text);
  v.explained = graph_explain(a, t->fused, &options, NULL, NULL);
  return v;
}

/// True the first time.
static bool is_new(tuning *t, str program) {
  cache_key key = cache_key_of("", 0, program.ptr, (size_t)program.len);
  str name = str_dup(&t->arena, str_from(key.hex));
  if (map_get(&t->seen, name)) return false;
  map_put(&t->arena, &t->seen, name, t);
  return true;
}

static tcf_status make_variant(tuning *t, str schedule, variant **out) {
  str whole = whole_schedule(t->session, &t->arena, schedule);
  return variant_new(t->function, t->call->used, t->call->sizes, whole, out);
}

static const char *no_better(double seconds, double best) {
  return seconds < best ? "hardly faster" : "slower";
}

/// Measures a schedule, and takes it when it is better; says what became of it.
static const char *try_variant(tuning *t, variant *v, double *seconds) {
  double before;
  if (measure(t, v, t->results[1], seconds)) return "it does not run";
  if (*seconds >= BETTER * t->best_seconds) return no_better(*seconds, t->best_seconds);
  // In turns, so that a change of clocks in between counts for none of the two.
  if (measure(t, t->best, t->results[1], &before) || measure(t, v, t->results[1], seconds))
    return "it does not run";
  t->best_seconds = before;
  if (*seconds >= BETTER * before) return no_better(*seconds, before);
  return same_results(t) ? NULL : "its results differ";
}

static bool try_schedule(tuning *t, str schedule) {
  variant *v;
  double seconds = 0;
  t->trials++;
  if (make_variant(t, schedule, &v)) {
    tell(t, schedule, 0, "it does not compile");
    return false;
  }
  const char *refused = try_variant(t, v, &seconds);
  if (!refused) {
    variant_free(t->session, t->best);
    t->best = v;
    t->best_seconds = seconds;
    t->schedule = str_dup(&t->arena, schedule);
  } else {
    variant_free(t->session, v);
  }
  tell(t, schedule, seconds, refused ? refused : "taken");
  return !refused;
}

/// The alternatives of a kernel to the best schedule so far. True when one was taken: there are new
/// ones then.
static bool try_alternatives(tuning *t, int kernel) {
  scratch work;
  scratch_open(&work);
  bool taken = false;
  view now = look(t, &work.arena, t->schedule);
  for (int i = 0; i < now.choices.alternatives.len && !taken && t->trials < MOST_TRIALS; i++) {
    const schedule_alternative *one = &now.choices.alternatives.data[i];
    if (one->kernel != kernel) continue;
    str schedule = schedule_with(&work.arena, t->schedule, &now.choices, one);
    view other = look(t, &work.arena, schedule);
    if (!is_new(t, other.text) || other.explained->seconds > HOPELESS * t->model_seconds) continue;
    taken = try_schedule(t, schedule);
  }
  scratch_close(&work);
  return taken;
}

typedef struct weight {
  int kernel;
  double seconds;  // predicted, of all that are equal to it
} weight;

static int heaviest_first(const void *a_, const void *b_) {
  const weight *a = a_, *b = b_;
  return a->seconds > b->seconds ? -1 : a->seconds < b->seconds ? 1 : a->kernel - b->kernel;
}

static int weigh(const view *v, weight *out) {
  int n = 0;
  for (int i = 0; i < v->choices.kernels.len; i++) {
    int number = v->choices.kernels.data[i], first = v->choices.same_as.data[i], at = 0;
    double seconds = 0;
    for (int k = 0; k < v->explained->kernels.len; k++)
      if (v->explained->kernels.data[k].number == number)
        seconds = v->explained->kernels.data[k].seconds;
    while (at < n && out[at].kernel != first) at++;
    if (at == n) out[n++] = (weight){first, 0};
    out[at].seconds += seconds;
  }
  qsort(out, (size_t)n, sizeof *out, heaviest_first);
  return n;
}

static tcf_status search(tuning *t) {
  arena *a = &t->arena;
  view first = look(t, a, t->schedule);
  weight *kernels = arena_array(a, weight, first.choices.kernels.len);
  int n = weigh(&first, kernels);
  t->model_seconds = first.explained->seconds;
  is_new(t, first.text);
  tcf_status status = make_results(t);
  if (!status) status = make_variant(t, t->schedule, &t->best);
  if (!status) status = measure(t, t->best, t->results[0], &t->best_seconds);
  if (status) return status;
  tell(t, t->schedule, t->best_seconds, "the model's choice");
  for (int i = 0; i < n; i++)
    while (t->trials < MOST_TRIALS && try_alternatives(t, kernels[i].kernel)) continue;
  tell(t, t->schedule, t->best_seconds, t->schedule.len ? "kept" : "the model's choice is kept");
  return TCF_OK;
}

// ----

static void finish(tuning *t) {
  for (int set = 0; set < 2; set++)
    for (int i = 0; t->results[set] && i < t->function->sig.nresults; i++)
      tensor_free(t->results[set][i]);
  if (t->best) variant_free(t->session, t->best);
  arena_free(&t->arena);
}

static tcf_status tune(void *args) {
  tuning *t = args;
  tcf_session *s = t->session;
  const target_info *info;
  str kept;
  graph *g = variant_graph(t->function, &t->arena, t->call->used, t->call->sizes);
  tcf_status status = session_target(s, &info);
  if (!status) status = session_kernels_fit(s, g, &t->arena);
  if (status) return status;
  if (find_kept(s, g, &kept)) return TCF_OK;
  scratch work;
  scratch_open(&work);
  pass_options options = session_pass_options(s, s->schedule);
  pass_ctx ctx = {graph_copy(&t->arena, g), &work.arena, &options, &t->function->program->diags};
  status = session_run_passes(s, &ctx, NULL, 0, NULL, NULL);
  scratch_close(&work);
  if (status) return status;
  t->fused = ctx.graph;
  status = search(t);
  if (status) return status;
  cache_key key = key_of(s, g);
  session_keep_schedule(s, &key, t->schedule);
  if (session_identity(s).len)
    cache_store(session_cache(s), &key, t->schedule.ptr, (size_t)t->schedule.len, "", 0);
  return TCF_OK;
}

tcf_status autotune(call *c) {
  tuning t = {.call = c,
              .function = c->function,
              .session = c->function->program->session,
              .schedule = STR("")};
  tcf_status status = session_compile_guard(t.session, tune, &t);
  finish(&t);
  return status;
}
