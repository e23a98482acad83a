// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A program that can be trained has these functions. State is parameters, then the first moment of
// each, then the second; further values are given by their names:
//
//   init(parameters, ...) -> parameters          of the arguments the sizes count
//   step(state, ...) -> (state, loss, norm of the gradient, number of examples)
//   evaluate(parameters, ...) -> numbers         optional
//   next(parameters, written, count, ...) -> the token after the first `count` of `written`; optional
//
//   seed, step, steps, warmup, count, rate, drop   numbers
//   rows, test_rows                                0, 1, 2, ...
//   any other                                      the array NAME.npy of the data
#include "train.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fail(int status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  fputs("train: ", stderr);
  vfprintf(stderr, format, args);
  fputc('\n', stderr);
  va_end(args);
  exit(status);
}

void must(tcf_session *session, tcf_status status) {
  if (status) fail(3, "%s: %s", tcf_status_name(status), tcf_session_message(session));
}

// FNV-1a
uint64_t hash_bytes(uint64_t hash, const void *data, size_t size) {
  const unsigned char *p = data;
  hash ^= 0xcbf29ce484222325;
  for (size_t i = 0; i < size; i++) hash = (hash ^ p[i]) * 0x100000001b3;
  return hash;
}

int64_t tensor_bytes(const tcf_tensor *t) {
  return tcf_tensor_elements(t) * (int64_t)tcf_dtype_size(tcf_tensor_dtype(t));
}

static int on_device(const model *m) { return !strncmp(m->options->target, "cuda", 4); }

static tcf_tensor *tensor_new(model *m, tcf_dtype type, int rank, const int64_t *dims) {
  tcf_tensor *t = NULL;
  must(m->session, on_device(m) ? tcf_tensor_new_device(m->session, type, rank, dims, &t)
                                : tcf_tensor_new(m->session, type, rank, dims, &t));
  return t;
}

static void diagnostic(void *user, const tcf_diagnostic *d) {
  (void)user;
  fputs(d->text, stderr);
}

static tcf_value_info param_of(model *m, tcf_function *f, size_t i) {
  tcf_value_info info = {0};
  must(m->session, tcf_function_param(f, i, &info));
  return info;
}

static input *input_find(model *m, const char *name) {
  for (size_t i = 0; i < m->ninputs; i++)
    if (!strcmp(m->inputs[i].name, name)) return &m->inputs[i];
  return NULL;
}

// ---- what is given by name

static int is_number(const char *name, double *value, const train_options *o) {
  const struct {
    const char *name;
    double value;
  } numbers[] = {{"seed", (double)o->seed}, {"step", 0},         {"steps", (double)o->steps},
                 {"count", 0},              {"rate", o->rate},   {"warmup", (double)o->warmup},
                 {"drop", o->drop}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (strcmp(name, numbers[i].name)) continue;
    *value = numbers[i].value;
    return 1;
  }
  return 0;
}

static void dims_of(model *m, tcf_function *f, size_t i, int64_t *dims) {
  if (tcf_function_param_dims(f, i, m->options->sizes, m->options->nsizes, dims))
    fail(2, "%s: %s; --size gives it", m->options->program, tcf_session_message(m->session));
}

static tcf_tensor *load_data(model *m, const char *name) {
  char path[4096];
  if (snprintf(path, sizeof path, "%s/%s.npy", m->options->data, name) >= (int)sizeof path)
    fail(2, "the path of the data is too long");
  tcf_tensor *host = NULL;
  must(m->session, tcf_npy_load(m->session, path, &host));
  m->data_hash = hash_bytes(m->data_hash, tcf_tensor_data(host), (size_t)tensor_bytes(host));
  if (!on_device(m)) return host;
  tcf_tensor *t = tensor_new(m, tcf_tensor_dtype(host), tcf_tensor_rank(host), tcf_tensor_dims(host));
  must(m->session, tcf_tensor_copy(m->session, t, host));
  tcf_tensor_free(host);
  return t;
}

static tcf_tensor *input_make(model *m, tcf_function *f, size_t i, const tcf_value_info *p) {
  double value;
  int64_t dims[TCF_MAX_RANK];
  tcf_tensor *t = NULL;
  int rows = !strcmp(p->name, "rows") || !strcmp(p->name, "test_rows");
  if (is_number(p->name, &value, m->options)) {
    must(m->session, tcf_tensor_new(m->session, p->dtype, 0, NULL, &t));
    tcf_tensor_fill(t, value);
  } else if (rows || !strcmp(p->name, "written")) {
    dims_of(m, f, i, dims);
    must(m->session, tcf_tensor_new(m->session, p->dtype, p->rank, dims, &t));
    if (rows) tcf_tensor_fill_iota(t);
    else tcf_tensor_fill(t, 0);
  } else t = load_data(m, p->name);
  return t;
}

static void add_inputs(model *m, tcf_function *f, size_t first) {
  size_t n = tcf_function_params(f);
  if (n > MAX_ARGS) fail(1, "%s takes more than %d values", tcf_function_name(f), MAX_ARGS);
  for (size_t i = first; i < n; i++) {
    tcf_value_info p = param_of(m, f, i);
    if (input_find(m, p.name)) continue;
    if (m->ninputs == MAX_ARGS) fail(1, "more than %d values", MAX_ARGS);
    input *in = &m->inputs[m->ninputs++];
    snprintf(in->name, sizeof in->name, "%s", p.name);
    in->tensor = input_make(m, f, i, &p);
  }
}

// The arguments of a function: state first, then what has the names of its parameters.
static size_t arguments(model *m, tcf_function *f, size_t nstate, const tcf_tensor **args) {
  size_t n = tcf_function_params(f);
  for (size_t i = 0; i < n; i++)
    args[i] = i < nstate ? m->state[m->now][i] : input_find(m, param_of(m, f, i).name)->tensor;
  return n;
}

static void set_number(model *m, const char *name, double value) {
  input *in = input_find(m, name);
  if (in) tcf_tensor_fill(in->tensor, value);
}

// ---- opening

static tcf_function *function_of(model *m, const char *name, int needed) {
  tcf_function *f = tcf_program_function(m->program, name);
  if (!f && needed) fail(1, "%s: %s", m->options->program, tcf_session_message(m->session));
  return f;
}

static int has_symbol(const tcf_function *f, const char *name) {
  for (size_t i = 0; i < tcf_function_symbols(f); i++)
    if (!strcmp(tcf_function_symbol(f, i), name)) return 1;
  return 0;
}

static void check_sizes(const model *m) {
  for (size_t i = 0; i < m->options->nsizes; i++) {
    int known = 0;
    for (size_t k = 0; !known && k < tcf_program_count(m->program); k++)
      known = has_symbol(tcf_program_at(m->program, k), m->options->sizes[i].name);
    if (!known) fail(2, "--size: the program has no size symbol %s", m->options->sizes[i].name);
  }
}

void model_open(model *m, const train_options *options) {
  *m = (model){.options = options};
  tcf_options o = {.size = sizeof o, .target = options->target, .threads = options->threads,
                   .diagnostic = diagnostic};
  o.flags = options->deterministic ? TCF_DETERMINISTIC : 0;
  if (tcf_session_new(&o, &m->session)) fail(2, "no session for target %s", options->target);
  if (tcf_program_load_file(m->session, options->program, &m->program))
    fail(1, "%s", tcf_session_message(m->session));
  check_sizes(m);
  m->init = function_of(m, "init", 1);
  m->step = function_of(m, "step", 1);
  m->evaluate = function_of(m, "evaluate", 0);
  m->next = function_of(m, "next", 0);
  m->nparams = tcf_function_results(m->init);
  m->nstate = 3 * m->nparams;
  if (tcf_function_results(m->step) != m->nstate + 3 || tcf_function_params(m->step) < m->nstate)
    fail(1, "%s: step does not take and return %zu parameters and their moments, loss, norm and count",
         options->program, m->nparams);
  for (size_t i = 0; i < m->nstate; i++) {
    int64_t dims[TCF_MAX_RANK];
    tcf_value_info p = param_of(m, m->step, i);
    dims_of(m, m->step, i, dims);
    for (int k = 0; k < 2; k++) {
      m->state[k][i] = tensor_new(m, p.dtype, p.rank, dims);
      tcf_tensor_fill(m->state[k][i], 0);
    }
  }
  add_inputs(m, m->init, m->nparams);
  add_inputs(m, m->step, m->nstate);
  if (m->evaluate) add_inputs(m, m->evaluate, m->nparams);
  if (m->next) add_inputs(m, m->next, m->nparams);
}

void model_close(model *m) {
  for (int k = 0; k < 2; k++)
    for (size_t i = 0; i < m->nstate; i++) tcf_tensor_free(m->state[k][i]);
  for (size_t i = 0; i < m->ninputs; i++) tcf_tensor_free(m->inputs[i].tensor);
  tcf_session_free(m->session);
}

// ---- running

void model_init(model *m) {
  const tcf_tensor *args[MAX_ARGS];
  size_t n = arguments(m, m->init, m->nparams, args);
  must(m->session, tcf_call(m->init, args, n, m->state[!m->now], m->nparams));
  m->now = !m->now;
}

// Numbers come to the host: a call with them has run when it returns.
static void numbers_new(model *m, tcf_function *f, size_t first, size_t n, tcf_tensor **to) {
  for (size_t i = 0; i < n; i++) {
    tcf_value_info r;
    must(m->session, tcf_function_result(f, first + i, &r));
    if (r.rank) fail(1, "result %zu of %s is no number", first + i, tcf_function_name(f));
    must(m->session, tcf_tensor_new(m->session, r.dtype, 0, NULL, &to[i]));
  }
}

step_result model_step(model *m, int64_t step) {
  const tcf_tensor *args[MAX_ARGS];
  tcf_tensor *results[3 * MAX_ARGS];
  tcf_tensor **numbers = results + m->nstate;
  set_number(m, "step", (double)step);
  size_t n = arguments(m, m->step, m->nstate, args);
  memcpy(results, m->state[!m->now], m->nstate * sizeof *results);
  numbers_new(m, m->step, m->nstate, 3, numbers);
  must(m->session, tcf_call(m->step, args, n, results, m->nstate + 3));
  m->now = !m->now;
  step_result r = {tcf_tensor_get(numbers[0], 0), tcf_tensor_get(numbers[1], 0),
                   tcf_tensor_get(numbers[2], 0)};
  for (int i = 0; i < 3; i++) tcf_tensor_free(numbers[i]);
  return r;
}

size_t model_evaluate(model *m, double *values, size_t n) {
  const tcf_tensor *args[MAX_ARGS];
  tcf_tensor *results[8] = {0};
  if (!m->evaluate) return 0;
  size_t count = tcf_function_results(m->evaluate);
  if (count > n || count > 8) fail(1, "evaluate returns more than %zu numbers", n);
  numbers_new(m, m->evaluate, 0, count, results);
  size_t nargs = arguments(m, m->evaluate, m->nparams, args);
  must(m->session, tcf_call(m->evaluate, args, nargs, results, count));
  for (size_t i = 0; i < count; i++) {
    values[i] = tcf_tensor_get(results[i], 0);
    tcf_tensor_free(results[i]);
  }
  return count;
}

// Writes `count` tokens, each as the byte that letters.npy has for it. The window holds the last of
// them; when it is full, its older half goes.
void model_sample(model *m, int64_t count, FILE *to) {
  const tcf_tensor *args[MAX_ARGS];
  input *written = m->next ? input_find(m, "written") : NULL;
  if (!written) return;
  tcf_tensor *letters = load_data(m, "letters");
  int64_t window = tcf_tensor_elements(written->tensor), have = 1;
  uint8_t *tokens = tcf_tensor_data(written->tensor);
  memset(tokens, 0, (size_t)window);
  for (int64_t i = 0; i < count; i++) {
    tcf_tensor *token = NULL;
    set_number(m, "step", (double)i);
    set_number(m, "count", (double)have);
    size_t n = arguments(m, m->next, m->nparams, args);
    must(m->session, tcf_call(m->next, args, n, &token, 1));
    if (have == window) {
      have = window - window / 2;
      memmove(tokens, tokens + window / 2, (size_t)have);
    }
    tokens[have++] = (uint8_t)tcf_tensor_get(token, 0);
    fputc((int)tcf_tensor_get(letters, tokens[have - 1]), to);
    tcf_tensor_free(token);
  }
  fputc('\n', to);
  tcf_tensor_free(letters);
}
