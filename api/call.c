// Calls: check the arguments, bind sizes, find the variant, run it, hand over the results.
#include "api/session.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct call {
  tcf_function *function;
  const tensor *const *args;
  size_t nargs;
  tcf_tensor **results;
  size_t nresults;
  arena arena;
  const tensor **used;    // the arguments, or compact copies of those that code cannot take
  tensor **copies;        // by param; freed after the call
  tensor **targets;       // by result: what the code writes
  tensor **made;          // by result: new tensors for the caller; freed on failure
  int64_t *sizes;
  bool prepare_only;
} call;

static tcf_status wrong(const call *c, const char *text) {
  return session_fail(c->function->program->session, TCF_WRONG_USE, "%s", text);
}

static tcf_status check_value(const call *c, const char *what, const sig_value *v, const tensor *t) {
  tcf_session *s = c->function->program->session;
  if (!t) return session_fail(s, TCF_WRONG_USE, "%s %s is missing", what, v->name);
  if (t->type != v->type)
    return session_fail(s, TCF_WRONG_USE, "%s %s must be %s, but is %s", what, v->name,
                        dtype_name(v->type), dtype_name(t->type));
  if (t->rank != v->rank)
    return session_fail(s, TCF_WRONG_USE, "%s %s must have %d axes, but has %d", what, v->name, v->rank,
                        t->rank);
  return TCF_OK;
}

static tcf_status bind(call *c) {
  tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  const signature *sig = &f->sig;
  if (c->nargs != (size_t)sig->nparams)
    return session_fail(s, TCF_WRONG_USE, "%s takes %d arguments, not %zu", f->name, sig->nparams,
                        c->nargs);
  for (int i = 0; i < sig->nparams; i++) {
    tcf_status status = check_value(c, "argument", &sig->params[i], c->args[i]);
    if (status) return status;
  }
  c->sizes = arena_array(&c->arena, int64_t, sig->nsymbols);
  for (int k = 0; k < sig->nsymbols; k++) c->sizes[k] = -1;
  str why = STR("");
  if (!signature_bind(sig, c->args, c->sizes, &c->arena, &why)) return wrong(c, why.ptr);
  return TCF_OK;
}

/// Compiled code wants elements at multiples of their size; host functions row-major memory.
static tcf_status choose_arguments(call *c) {
  const tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  int n = f->sig.nparams;
  c->used = arena_array(&c->arena, const tensor *, n);
  c->copies = arena_array(&c->arena, tensor *, n);
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

static bool writable(const call *c, const tensor *t, int result) {
  if (!tensor_is_contiguous(t) || !tensor_is_aligned(t)) return false;
  for (int i = 0; i < c->function->sig.nparams; i++)
    if (tensor_overlaps(t, c->used[i])) return false;
  for (int i = 0; i < result; i++)
    if (tensor_overlaps(t, c->targets[i])) return false;
  return true;
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
    tcf_status status = check_value(c, "result", v, given);
    if (status) return status;
    for (int k = 0; k < v->rank; k++)
      if (given->dims[k] != dims[k])
        return session_fail(s, TCF_WRONG_USE, "axis %s of result %s must have size %lld, but has %lld",
                            v->axes[k], v->name, (long long)dims[k], (long long)given->dims[k]);
    if (writable(c, given, i)) return c->targets[i] = given, TCF_OK;
  }
  c->made[i] = c->targets[i] = tensor_new(v->type, v->rank, dims, &e);
  return c->made[i] ? TCF_OK : session_fail_error(s, &e);
}

static tcf_status choose_results(call *c) {
  const tcf_function *f = c->function;
  if (c->nresults != (size_t)f->sig.nresults)
    return session_fail(f->program->session, TCF_WRONG_USE, "%s has %d results, not %zu", f->name,
                        f->sig.nresults, c->nresults);
  c->targets = arena_array(&c->arena, tensor *, f->sig.nresults);
  c->made = arena_array(&c->arena, tensor *, f->sig.nresults);
  for (int i = 0; i < f->sig.nresults; i++) {
    tcf_status status = choose_result(c, i);
    if (status) return status;
  }
  return TCF_OK;
}

// ---- running compiled code

/// Sets the floating point mode on whichever thread runs a range, and restores it.
typedef struct flushing {
  tcf_frame inner;
  void *pool;
  void (*parallel_for)(void *, tcf_task, void *, int64_t);
} flushing;

typedef struct flushed_task {
  tcf_task task;
  void *args;
} flushed_task;

static void run_flushed(void *args, int64_t begin, int64_t end, int32_t worker) {
  flushed_task *t = args;
  unsigned state = denormals_flush();
  t->task(t->args, begin, end, worker);
  denormals_restore(state);
}

static void flushing_for(void *pool_, tcf_task task, void *args, int64_t n) {
  flushing *f = pool_;
  flushed_task t = {task, args};
  f->parallel_for(f->pool, run_flushed, &t, n);
}

static tcf_status make_frame(call *c, const variant *v, tcf_frame *frame, const int64_t *symbols) {
  tcf_session *s = c->function->program->session;
  error e;
  if (!s->parallel_for && !s->pool && !(s->pool = pool_new(s->threads)))
    return session_fail(s, TCF_NO_MEMORY, "out of memory");
  *frame = (tcf_frame){.pool = s->parallel_for ? s->parallel_user : s->pool,
                       .parallel_for = s->parallel_for ? s->parallel_for : pool_run,
                       .workers = s->parallel_for ? s->threads : pool_workers(s->pool)};
  int64_t scratch = v->scratch_size(symbols);
  if (!call_memory_reserve(&s->memory, v->arena_size(symbols), &e) ||
      !call_memory_reserve(&s->scratch, scratch * frame->workers, &e))
    return session_fail_error(s, &e);
  frame->arena = s->memory.data;
  frame->scratch = s->scratch.data;
  return TCF_OK;
}

static tcf_status index_error(call *c, const variant *v, const tcf_frame *frame) {
  tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  int64_t where = frame->error_site - 1;
  const site *found = NULL;
  for (int i = 0; i < v->sites.len; i++)
    if (v->sites.data[i].step == where >> 16 && v->sites.data[i].number == (where & 0xffff))
      found = &v->sites.data[i];
  strbuf text = sb_new(&c->arena);
  sb_printf(&text, "index %lld is out of range", (long long)frame->error_index);
  if (found && found->node >= 0) {
    const node *n = v->specialised->nodes.data[found->node];
    const node *a = n->in[0];
    int number_of = n->attr_axes[0];
    int64_t size;
    if (node_has_axis(a, number_of) &&
        ix_is_const(&v->specialised->ix, graph_axis_size(v->specialised, number_of), &size))
      sb_printf(&text, ": the axis %.*s has size %lld",
                STR_FMT(v->specialised->axes.data[number_of].name), (long long)size);
  }
  diag_list *list = &f->program->diags;
  int before = list->items.len;
  list->errors = 0;
  diag_error(list, DIAG_index_out_of_range, found ? found->at : (span){0}, "%s", text.data);
  session_diagnose(s, list, before);
  list->items.len = before;
  return TCF_WRONG_DATA;
}

static tcf_status run_compiled(call *c, const variant *v) {
  tcf_function *f = c->function;
  tcf_session *s = f->program->session;
  int nparams = f->sig.nparams, nresults = f->sig.nresults;
  void **pointers = arena_array(&c->arena, void *, nparams + nresults);
  int64_t *symbols = arena_array(&c->arena, int64_t, v->symbols.len);
  for (int i = 0; i < nparams; i++) pointers[i] = c->used[i]->data;
  for (int i = 0; i < nresults; i++) pointers[nparams + i] = c->targets[i]->data;
  for (int k = 0; k < v->symbols.len; k++)
    symbols[k] = c->sizes[signature_symbol(&f->sig, v->symbols.data[k])];
  tcf_frame frame;
  tcf_status status = make_frame(c, v, &frame, symbols);
  if (status) return status;
  host_context host = {.session = s, .variant = v};
  frame.host = &host;
  frame.host_call = host_call;
  flushing flush = {.pool = frame.pool, .parallel_for = frame.parallel_for};
  if (s->flags & TCF_FLUSH_DENORMALS) {
    frame.pool = &flush;
    frame.parallel_for = flushing_for;
  }
  switch (call_invoke(&v->shape, v->entry, pointers, symbols, &frame)) {
    case TCF_CALL_OK: return TCF_OK;
    case TCF_CALL_INDEX: return index_error(c, v, &frame);
    case TCF_CALL_HOST: return session_fail(s, TCF_WRONG_DATA, "%s", host.message);
    default: return session_fail(s, TCF_INTERNAL, "%s returned an unknown status", f->name);
  }
}

// ---- the call

static tcf_status run_call(void *args_) {
  call *c = args_;
  tcf_session *s = c->function->program->session;
  tcf_status status = bind(c);
  if (!status) status = choose_arguments(c);
  if (!status && !c->prepare_only) status = choose_results(c);
  variant *v;
  if (!status) status = variant_for(c->function, c->used, c->sizes, &v);
  if (!status && !c->prepare_only) status = host_check(s, v);
  if (status || c->prepare_only) return status;
  return v->entry ? run_compiled(c, v) : interp_target_call(v, c->used, c->targets);
}

/// Copies into results the code could not write, and hands over or frees the others.
static void finish(call *c, tcf_status status) {
  const signature *sig = &c->function->sig;
  for (int i = 0; c->made && i < sig->nresults; i++) {
    tensor *t = c->made[i];
    if (!t) continue;
    if (!status && !c->results[i]) {
      c->results[i] = t;
      continue;
    }
    if (!status) tensor_copy(c->results[i], t);
    tensor_free(t);
  }
  for (int i = 0; c->copies && i < sig->nparams; i++) tensor_free(c->copies[i]);
  arena_free(&c->arena);
}

tcf_status tcf_call(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                    tcf_tensor **results, size_t nresults) {
  call c = {.function = f, .args = args, .nargs = nargs, .results = results, .nresults = nresults};
  tcf_status status = session_guard(f->program->session, run_call, &c);
  finish(&c, status);
  return status;
}

tcf_status tcf_prepare(tcf_function *f, const tcf_tensor *const *args, size_t nargs) {
  call c = {.function = f, .args = args, .nargs = nargs, .prepare_only = true};
  tcf_status status = session_guard(f->program->session, run_call, &c);
  finish(&c, status);
  return status;
}
