// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The interpreters as targets: tensors become arrays of scalars and back.
#include <stdio.h>

#include "api/session.h"

typedef struct interp_state {
  tcf_session *session;
  char message[256];
} interp_state;

static interp_tensor to_scalars(arena *a, const tensor *t) {
  int64_t n = tensor_elements(t);
  interp_tensor out = {.type = t->type, .rank = t->rank};
  memcpy(out.dims, t->dims, sizeof out.dims);
  out.data = arena_array(a, scalar, n);
  if (!tensor_is_contiguous(t)) {
    for (int64_t i = 0; i < n; i++) out.data[i] = tensor_at(t, i);
    return out;
  }
  const char *p = t->data;
  for (int64_t i = 0; i < n; i++, p += dtype_bytes(t->type)) out.data[i] = scalar_load(p, t->type);
  return out;
}

/// `to` is row-major.
static void from_scalars(tensor *to, const interp_tensor *from) {
  int64_t n = tensor_elements(to);
  char *p = to->data;
  for (int64_t i = 0; i < n; i++, p += dtype_bytes(to->type))
    scalar_store(p, to->type, from->data[i]);
}

static bool call_host(void *ctx, str name, const interp_tensor *in, int nin, interp_tensor *out) {
  interp_state *state = ctx;
  const host_entry *h = map_get(&state->session->externs, name);
  if (!h || nin > 64) return false;
  tensor *values[65];
  error e = {0};
  for (int i = 0; i <= nin; i++) {
    const interp_tensor *t = i < nin ? &in[i] : out;
    values[i] = e.kind ? NULL : tensor_new(t->type, t->rank, t->dims, &e);
    if (values[i] && i < nin) from_scalars(values[i], t);
  }
  tensor *result = values[nin];
  bool ok = !e.kind && host_invoke(h, name, (const tensor *const *)values, nin, result,
                                   state->message, sizeof state->message);
  for (int64_t i = 0; ok && i < tensor_elements(result); i++) out->data[i] = tensor_at(result, i);
  for (int i = 0; i <= nin; i++) tensor_free(values[i]);
  if (e.kind) fault_raise(FAULT_NOMEM, "%s", e.text);
  return ok;
}

typedef struct interp_args {
  variant *v;
  const tensor *const *args;
  tensor *const *results;
  arena arena;
} interp_args;

static tcf_status report(const variant *v, str why, span at, const interp_state *state) {
  tcf_session *s = state->session;
  if (state->message[0]) return session_fail(s, TCF_WRONG_DATA, "%s", state->message);
  return session_data_error(v->function->program, at, why);
}

static tcf_status interpret(void *args_) {
  interp_args *args = args_;
  variant *v = args->v;
  const signature *sig = &v->function->sig;
  arena *a = &args->arena;
  interp_tensor *in = arena_array(a, interp_tensor, sig->nparams);
  interp_tensor *out = arena_array(a, interp_tensor, sig->nresults);
  for (int i = 0; i < sig->nparams; i++) in[i] = to_scalars(a, args->args[i]);
  interp_state state = {.session = v->function->program->session};
  interp_host host = {call_host, &state};
  str why = STR("the interpreter failed");
  span at = {0};
  bool ok = v->tiles ? program_interpret(v->tiles, a, in, out, &host, &why, &at)
                     : graph_interpret(v->specialised, a, in, out, &host, &why, &at);
  if (!ok) return report(v, why, at, &state);
  for (int i = 0; i < sig->nresults; i++) from_scalars(args->results[i], &out[i]);
  return TCF_OK;
}

tcf_status interp_target_call(variant *v, const tensor *const *args, tensor *const *results) {
  interp_args a = {v, args, results, {.user = "the interpreter"}};
  tcf_status status = session_guard(v->function->program->session, interpret, &a);
  arena_free(&a.arena);
  return status;
}
