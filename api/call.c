// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls: check the arguments, bind sizes, find the variant, run it, hand over the results.
#include "api/session.h"

static tcf_status wrong(const call *c, const char *text) {
  return session_fail(c->function->program->session, TCF_WRONG_USE, "%s", text);
}

tcf_status call_check_value(const tcf_function *f, const char *what, const sig_value *v,
                            const tensor *t) {
  tcf_session *s = f->program->session;
  if (!t) return session_fail(s, TCF_WRONG_USE, "%s %s is missing", what, v->name);
  if (t->type != v->type)
    return session_fail(s, TCF_WRONG_USE, "%s %s must be %s, but is %s", what, v->name,
                        dtype_name(v->type), dtype_name(t->type));
  if (t->rank != v->rank)
    return session_fail(s, TCF_WRONG_USE, "%s %s must have %d axes, but has %d", what, v->name,
                        v->rank, t->rank);
  int wanted = session_ordinal(s), is = tensor_ordinal(t);
  if (is >= 0 && is != wanted)
    return session_fail(s, TCF_WRONG_USE,
                        "%s %s is on CUDA device %d, which is not the session's; tcf_tensor_copy "
                        "copies between devices",
                        what, v->name, is);
  return TCF_OK;
}

static tcf_status bind(call *c) {
  tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  const signature *sig = &f->sig;
  tcf_status given = c->nargs ? need(s, c->args, "the list of arguments") : TCF_OK;
  if (given) return given;
  if (c->nargs != (size_t)sig->nparams)
    return session_fail(s, TCF_WRONG_USE, "%s takes %d argument%s, not %zu", f->name, sig->nparams,
                        sig->nparams == 1 ? "" : "s", c->nargs);
  for (int i = 0; i < sig->nparams; i++) {
    tcf_status status = call_check_value(f, "argument", &sig->params[i], c->args[i]);
    if (status) return status;
  }
  c->sizes = arena_array(&c->arena, int64_t, sig->nsymbols);
  str why = STR("");
  if (!signature_bind(sig, c->args, c->sizes, &c->arena, &why)) return wrong(c, why.ptr);
  return function_check_sizes(f, c->sizes);
}

/// Compiled code wants elements at multiples of their size; host functions row-major memory.
static tcf_status choose_arguments(call *c) {
  const tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  int n = f->sig.nparams;
  c->used = arena_array(&c->arena, const tensor *, n);
  c->copies = arena_array(&c->arena, tensor *, n);
  if (s->target == TARGET_CUDA) return stage_arguments(c);
  bool calls_host = false;
  for (int i = 0; f->graph && i < f->graph->nodes.len; i++)
    calls_host |= f->graph->nodes.data[i]->op == OP_call;
  for (int i = 0; i < n; i++) {
    const tensor *t = c->used[i] = c->args[i];
    bool strided = !tensor_is_contiguous(t);
    if (tensor_is_aligned(t) && !(strided && (calls_host || f->tile))) continue;
    error e;
    c->used[i] = c->copies[i] = tensor_compact(t, &e);
    if (!c->used[i]) return session_fail_error(s, &e);
  }
  return TCF_OK;
}

bool call_overlaps(const call *c, const tensor *t, int result) {
  for (int i = 0; i < c->function->sig.nparams; i++)
    if (tensor_overlaps(t, c->used[i])) return true;
  for (int i = 0; i < result; i++)
    if (tensor_overlaps(t, c->targets[i])) return true;
  return false;
}

static bool writable(const call *c, const tensor *t, int result) {
  return tensor_is_contiguous(t) && tensor_is_aligned(t) && !call_overlaps(c, t, result);
}

static tcf_status choose_result(call *c, int i) {
  const tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  const sig_value *v = &f->sig.results[i];
  int64_t dims[MAX_AXES];
  str missing;
  error e;
  if (!signature_dims(&f->sig, v, c->sizes, dims, &missing))
    return session_fail(s, TCF_WRONG_USE, "no argument determines the size %.*s", STR_FMT(missing));
  tensor *given = c->results[i];
  if (given) {
    tcf_status status = call_check_value(f, "result", v, given);
    if (status) return status;
    for (int k = 0; k < v->rank; k++)
      if (given->dims[k] != dims[k])
        return session_fail(s, TCF_WRONG_USE,
                            "axis %s of result %s must have size %lld, but has %lld", v->axes[k],
                            v->name, (long long)dims[k], (long long)given->dims[k]);
  }
  if (s->target == TARGET_CUDA) return stage_result(c, i, dims);
  if (given && writable(c, given, i)) return c->targets[i] = given, TCF_OK;
  c->made[i] = c->targets[i] = tensor_new(v->type, v->rank, dims, &e);
  return c->made[i] ? TCF_OK : session_fail_error(s, &e);
}

static tcf_status choose_results(call *c) {
  const tcf_function *f = c->function;
  tcf_status status =
      c->nresults ? need(f->program->session, c->results, "the list of results") : TCF_OK;
  if (status) return status;
  if (c->nresults != (size_t)f->sig.nresults)
    return session_fail(f->program->session, TCF_WRONG_USE, "%s has %d result%s, not %zu", f->name,
                        f->sig.nresults, f->sig.nresults == 1 ? "" : "s", c->nresults);
  c->targets = arena_array(&c->arena, tensor *, f->sig.nresults);
  c->made = arena_array(&c->arena, tensor *, f->sig.nresults);
  c->fresh = arena_array(&c->arena, tensor *, f->sig.nresults);
  for (int i = 0; i < f->sig.nresults; i++) {
    status = choose_result(c, i);
    if (status) return status;
  }
  return TCF_OK;
}

invocation call_invocation(const call *c, arena *a, variant *v, tensor *const *results) {
  const signature *sig = &c->function->sig;
  invocation in = {.variant = v,
                   .pointers = arena_array(a, void *, sig->nparams + sig->nresults),
                   .symbols = arena_array(a, int64_t, v->symbols.len)};
  for (int i = 0; i < sig->nparams; i++) in.pointers[i] = c->used[i]->data;
  for (int i = 0; i < sig->nresults; i++) in.pointers[sig->nparams + i] = results[i]->data;
  for (int k = 0; k < v->symbols.len; k++)
    in.symbols[k] = c->sizes[signature_symbol(sig, v->symbols.data[k])];
  in.arena_bytes = v->arena_size(in.symbols);
  in.scratch_bytes = v->scratch_size(in.symbols);
  return in;
}

static tcf_status run_compiled(call *c, variant *v) {
  const signature *sig = &c->function->sig;
  invocation in = call_invocation(c, &c->arena, v, c->targets);
  bool direct = !c->waits;
  for (int i = 0; i < sig->nparams; i++) direct &= !c->copies[i];
  if (direct) recall_keep(c->function, &in, c->args, c->targets);
  if (!v->module) return invoke(&in);
  tcf_status status = c->borrowed ? device_invoke_on(&in, c->stream) : device_invoke(&in);
  return status ? status : unstage_results(c);
}

// ---- the call

static tcf_status run_call(void *args_) {
  call *c = args_;
  tcf_session *s = c->function->program->session;
  tcf_status status = bind(c);
  c->tunes =
      s->flags & TCF_AUTOTUNE && s->target < TARGET_INTERP && c->function->graph && !c->borrowed;
  if (!status) status = choose_arguments(c);
  if (!status && !c->prepare_only) status = choose_results(c);
  variant *v;
  if (!status && c->tunes && !variant_is_made(c->function, c->used, c->sizes)) status = autotune(c);
  if (!status) status = variant_for(c->function, c->used, c->sizes, &v);
  if (!status && !c->prepare_only) status = host_check(s, v);
  if (status || c->prepare_only) return status;
  return v->entry ? run_compiled(c, v) : interp_target_call(v, c->used, c->targets);
}

/// Copies into results the code could not write, and hands over or frees the others. Those of
/// devices have been copied.
static void finish(call *c, tcf_status status) {
  const signature *sig = &c->function->sig;
  for (int i = 0; c->made && i < sig->nresults; i++) {
    tensor *t = c->made[i], *fresh = c->fresh[i];
    if (!status && !c->results[i] && (fresh || t)) {
      c->results[i] = fresh ? fresh : t;
      if (fresh) tensor_free(t);
      continue;
    }
    if (!status && t && !t->device) tensor_copy(c->results[i], t);
    tensor_free(t);
    tensor_free(fresh);
  }
  for (int i = 0; c->copies && i < sig->nparams; i++) tensor_free(c->copies[i]);
  arena_free(&c->arena);
}

tcf_status function_call(tcf_function *f, const tensor *const *args, size_t nargs, tensor **results,
                         size_t nresults) {
  tcf_status again;
  if (recall(f, args, nargs, results, nresults, NULL, &again)) return again;
  call c = {.function = f, .args = args, .nargs = nargs, .results = results, .nresults = nresults};
  tcf_status status = session_guard(f->program->session, run_call, &c);
  finish(&c, status);
  return status;
}

tcf_status tcf_call(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                    tcf_tensor **results, size_t nresults) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  return status ? status : entry_close(&e, function_call(f, args, nargs, results, nresults));
}

static tcf_status call_on_stream(tcf_function *f, const tensor *const *args, size_t nargs,
                                 tensor **results, size_t nresults, void *stream) {
  tcf_session *s = f->program->session;
  if (s->target != TARGET_CUDA)
    return session_fail(s, TCF_WRONG_USE,
                        "streams are of CUDA devices: the session's target has none");
  call c = {.function = f,
            .args = args,
            .nargs = nargs,
            .results = results,
            .nresults = nresults,
            .borrowed = true,
            .stream = stream};
  tcf_status again;
  if (recall(f, args, nargs, results, nresults, &stream, &again)) return again;
  tcf_status status = session_guard(s, run_call, &c);
  finish(&c, status);
  return status;
}

tcf_status tcf_call_on_stream(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                              tcf_tensor **results, size_t nresults, void *stream) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  return entry_close(&e, call_on_stream(f, args, nargs, results, nresults, stream));
}

tcf_status function_prepare(tcf_function *f, const tensor *const *args, size_t nargs) {
  call c = {.function = f, .args = args, .nargs = nargs, .prepare_only = true};
  tcf_status status = session_guard(f->program->session, run_call, &c);
  finish(&c, status);
  return status;
}

tcf_status tcf_prepare(tcf_function *f, const tcf_tensor *const *args, size_t nargs) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  return status ? status : entry_close(&e, function_prepare(f, args, nargs));
}
