// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Forward and backward part of a function, as two functions for hosts with a loop of their own.
//
//   source ─lower─▶ function + gradients ─passes up to remat─▶ ─split─▶ f_forward, f_backward
//
// What is saved is decided here, once, for both; sizes that are known later do not change it. The two are
// graphs like others from then on, which the passes go through when code is made of them.
#include "api/session.h"
#include "frontend/frontend.h"
#include "ir/grad.h"
#include "passes/remat/remat.h"

typedef struct split_args {
  tcf_function *function;
  tcf_split_options options;
  tcf_program *made;
  arena arena;
  int *x, nx;  // params that gradients are for
} split_args;

// ---- what is asked

static tcf_status refuse(const split_args *s, const char *text, const char *name) {
  return session_fail(s->function->program->session, TCF_WRONG_USE, text, s->function->name, name);
}

static int find_param(const signature *sig, const char *name) {
  for (int i = 0; i < sig->nparams; i++)
    if (!strcmp(sig->params[i].name, name)) return i;
  return -1;
}

static tcf_status unknown_param(split_args *s, const char *name) {
  const signature *sig = &s->function->sig;
  enum { LISTED = 12 };
  const char *near = NULL;
  int best = (int)strlen(name) / 3;  // a letter is no slip of another
  for (int i = 0; i < sig->nparams; i++) {
    int d = str_distance(str_from(name), str_from(sig->params[i].name));
    if (d <= best && (!near || d < best)) best = d, near = sig->params[i].name;
  }
  strbuf more = sb_new(&s->arena);
  if (near) sb_printf(&more, "; did you mean %s?", near);
  for (int i = 0; !near && i < sig->nparams && sig->nparams <= LISTED; i++)
    if (dtype_is_float(sig->params[i].type))
      sb_printf(&more, "%s%s", more.len ? ", " : "; it has ", sig->params[i].name);
  return session_fail(s->function->program->session, TCF_WRONG_USE,
                      "%s has no parameter '%s' to take gradients for%.*s", s->function->name, name,
                      STR_FMT(sb_str(&more)));
}

static tcf_status read_wrt(split_args *s) {
  const signature *sig = &s->function->sig;
  s->x = arena_array(&s->arena, int, sig->nparams);
  for (int i = 0; !s->options.wrt && i < sig->nparams; i++)
    if (dtype_is_float(sig->params[i].type)) s->x[s->nx++] = i;
  for (size_t k = 0; s->options.wrt && k < s->options.nwrt; k++) {
    const char *name = s->options.wrt[k];
    tcf_status status = need(s->function->program->session, name, "a name of wrt");
    if (status) return status;
    int i = find_param(sig, name);
    if (i < 0) return unknown_param(s, name);
    if (!dtype_is_float(sig->params[i].type))
      return session_fail(s->function->program->session, TCF_WRONG_USE,
                          "the parameter %s of %s is %s: gradients are for floats", name,
                          s->function->name, dtype_name(sig->params[i].type));
    for (int j = 0; j < s->nx; j++)
      if (s->x[j] == i) return refuse(s, "gradients of %s are asked for twice for %s", name);
    s->x[s->nx++] = i;
  }
  return s->nx ? TCF_OK : refuse(s, "%s has no parameter to take gradients for%s", "");
}

static bool is_value(const signature *sig, const char *name) {
  for (int i = 0; i < sig->nresults; i++)
    if (!strcmp(sig->results[i].name, name)) return true;
  return find_param(sig, name) >= 0;
}

/// Seeds and gradients have names that nothing else has.
static tcf_status check_names(split_args *s) {
  const signature *sig = &s->function->sig;
  int floats = 0;
  for (int i = 0; i < sig->nresults + s->nx; i++) {
    bool seed = i < sig->nresults;
    const sig_value *v = seed ? &sig->results[i] : &sig->params[s->x[i - sig->nresults]];
    if (!dtype_is_float(v->type)) continue;
    floats += seed;
    const char *name = graph_derivative_name(&s->arena, str_from(v->name)).ptr;
    if (is_value(sig, name))
      return session_fail(s->function->program->session, TCF_WRONG_USE,
                          "%s has a value %s, which is what the derivative of %s would be called: "
                          "rename it",
                          s->function->name, name, v->name);
  }
  return floats ? TCF_OK : refuse(s, "%s has no float result to differentiate%s", "");
}

static tcf_status check_function(split_args *s) {
  const tcf_function *f = s->function;
  if (!f->graph) return refuse(s, "%s is tile IR: its graph is unknown%s", "");
  if (f->graph->fused) return refuse(s, "%s is in kernels already: split it before%s", "");
  tcf_status status = read_wrt(s);
  return status ? status : check_names(s);
}

// ---- the joint graph

/// Of IR text: what the language says of derivatives (`stop`, `vjp`) is not in it.
static graph *add_backward(split_args *s) {
  graph *g = graph_copy(&s->arena, s->function->graph);
  diag_list *diags = &s->made->diags;
  node **x = arena_array(&s->arena, node *, s->nx);
  grad_result r;
  for (int i = 0; i < s->nx; i++) x[i] = g->nodes.data[s->x[i]];
  if (!graph_add_backward(g, x, s->nx, NULL, &r)) {
    bool call = r.failed->op == OP_call;
    str name = call ? r.failed->name : str_from(op_get(r.failed->op)->name);
    diag_error(diags, DIAG_no_derivative, r.failed->at, "`%.*s` has no derivative%s", STR_FMT(name),
               call ? " in IR text" : "");
    return NULL;
  }
  for (int i = 0; i < s->nx; i++)
    if (!r.reached[i])
      diag_warning(diags, DIAG_grad_independent, x[i]->at,
                   "the gradient for %.*s is 0: no result depends on it", STR_FMT(x[i]->name));
  graph_derive_streams(g);
  graph_compact(g, NULL);
  return g;
}

/// Null: diagnostics of s->made say why.
static graph *joint_graph(split_args *s) {
  const tcf_function *f = s->function;
  struct frontend *source = f->program->source;
  if (!source) return add_backward(s);
  return frontend_add_backward(source, &s->arena, &s->made->diags, str_from(f->name), s->x, s->nx);
}

/// The passes that come before what is saved is decided, and that.
static tcf_status plan(split_args *s, graph **joint) {
  tcf_session *session = s->function->program->session;
  scratch work;
  int count, n = 0;
  const pass_info *all = passes_all(&count);
  const pass_info **list = arena_array(&s->arena, const pass_info *, count);
  do list[n] = &all[n];
  while (list[n++]->run != pass_remat);
  pass_options options = session_pass_options(session, session->schedule);
  options.phases_apart = true;
  scratch_open(&work);
  pass_ctx ctx = {*joint, &work.arena, &options, &s->made->diags};
  tcf_status status = session_run_passes(session, &ctx, list, n - 1, NULL, NULL);
  if (!status) {
    settle_seeds(ctx.graph, s->function->sig.nparams);
    status = session_run_passes(session, &ctx, &list[n - 1], 1, NULL, NULL);
  }
  scratch_close(&work);
  *joint = ctx.graph;
  return status;
}

/// What contracts do not hold is said here, of the function as it was written.
static tcf_status check_contracts(split_args *s, const graph *joint) {
  tcf_session *session = s->function->program->session;
  const pass_info *fuse = passes_find(STR("fuse"));
  if (!joint->contracts.len) return TCF_OK;
  scratch work;
  scratch_open(&work);
  pass_options options = session_pass_options(session, session->schedule);
  options.phases_apart = true;
  pass_ctx ctx = {graph_copy(&s->arena, joint), &work.arena, &options, &s->made->diags};
  tcf_status status = session_run_passes(session, &ctx, &fuse, 1, NULL, NULL);
  scratch_close(&work);
  return status;
}

// ---- the two functions

static void name_parts(split_args *s) {
  tcf_function *forward = &s->made->functions[0], *backward = &s->made->functions[1];
  const char *symbol = s->function->symbol;
  arena *a = &s->made->arena;
  bool given = !str_eqz(c_symbol(a, str_from(s->function->name)), symbol);
  forward->part = backward;
  backward->part = forward;
  backward->backward = true;
  if (given) forward->symbol = str_printf(a, "%s_forward", symbol).ptr;
  if (given) backward->symbol = str_printf(a, "%s_backward", symbol).ptr;
  for (int i = 0; i < s->function->sig.nsymbols; i++)
    for (int k = 0; k < 2; k++) {
      int there =
          signature_symbol(&s->made->functions[k].sig, str_from(s->function->sig.symbols[i]));
      if (there >= 0) s->made->functions[k].symbolic[there] = s->function->symbolic[i];
    }
}

static void make_functions(split_args *s, const phase_split *parts) {
  tcf_program *made = s->made;
  made->graphs.arena = &made->arena;
  vec_push(&made->arena, &made->graphs.graphs, graph_copy(&made->arena, parts->forward));
  vec_push(&made->arena, &made->graphs.graphs, graph_copy(&made->arena, parts->backward));
  program_make_functions(made);
  name_parts(s);
  tcf_function *forward = &made->functions[0];
  forward->saved = parts->first_saved;
  forward->nsaved = forward->sig.nresults - parts->first_saved;
}

/// Positions of the parts are those of the function.
static void share_files(split_args *s) {
  const diag_list *from = &s->function->program->diags;
  diag_list *to = &s->made->diags;
  to->arena = &s->made->arena;
  for (int i = 0; i < from->files.len; i++) vec_push(to->arena, &to->files, from->files.data[i]);
}

static bool any_known(const int64_t *sizes, int n) {
  for (int k = 0; k < n; k++)
    if (sizes[k] >= 0) return true;
  return false;
}

static tcf_status split(void *args) {
  split_args *s = args;
  const signature *sig = &s->function->sig;
  tcf_session *session = s->function->program->session;
  const target_info *target;
  tcf_status status = check_function(s);
  if (status) return status;
  int64_t *sizes = arena_array(&s->arena, int64_t, sig->nsymbols);
  status = function_sizes(s->function, s->options.sizes, s->options.nsizes, sizes);
  if (!status) status = session_target(session, &target);
  if (status) return status;
  share_files(s);
  graph *joint = joint_graph(s);
  status = session_diagnose(session, &s->made->diags, 0);
  if (!joint || status) return status ? status : TCF_WRONG_PROGRAM;
  settle_phases(joint, sig->nresults);
  if (any_known(sizes, sig->nsymbols))
    joint = function_specialise_other(s->function, &s->arena, joint, sizes);
  status = plan(s, &joint);
  if (!status) status = check_contracts(s, joint);
  if (status) return status;
  pass_options options = session_pass_options(session, session->schedule);
  phase_split parts = split_phases(&s->arena, joint, sig->nparams, sig->nresults, &options);
  make_functions(s, &parts);
  return TCF_OK;
}

static tcf_status read_options(tcf_session *s, const tcf_split_options *given,
                               tcf_split_options *out) {
  *out = (tcf_split_options){0};
  if (!given) return TCF_OK;
  if (given->size < sizeof given->size)
    return session_fail(s, TCF_WRONG_USE, "tcf_split_options.size is not set");
  // A caller built against an older header has a shorter struct; what it lacks stays zero.
  memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
  tcf_status status = out->nwrt ? need(s, out->wrt, "the list of wrt") : TCF_OK;
  return status ? status : need_sizes(s, out->sizes, out->nsizes);
}

static tcf_status make_parts(tcf_session *session, split_args *s) {
  s->made = program_new(session);
  if (!s->made) return session_fail(session, TCF_NO_MEMORY, "out of memory");
  s->made->owner = s->function->program;
  tcf_status status = session_compile_guard(session, split, s);
  arena_free(&s->arena);
  if (status) program_free(s->made);
  return status;
}

tcf_status tcf_function_split(tcf_function *f, const tcf_split_options *options,
                              tcf_function **forward, tcf_function **backward) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  split_args s = {.function = f};
  status = read_options(e.session, options, &s.options);
  if (!status) status = need(e.session, forward, "the forward part");
  if (!status) status = need(e.session, backward, "the backward part");
  if (!status) status = make_parts(e.session, &s);
  if (!status) *forward = &s.made->functions[0], *backward = &s.made->functions[1];
  return entry_close(&e, status);
}

tcf_status tcf_function_saved(const tcf_function *f, size_t *first, size_t *count) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  status = need(e.session, first, "the first");
  if (!status) status = need(e.session, count, "the count");
  if (!status) *first = (size_t)(f->nsaved ? f->saved : f->sig.nresults);
  if (!status) *count = (size_t)f->nsaved;
  return entry_close(&e, status);
}

tcf_program *tcf_function_program(const tcf_function *f) { return f ? f->program : NULL; }
