// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `explain`: the decisions of the fuse pass for every function, as text, JSON or HTML; and what
// a call costs.
#include "passes/explain/explain.h"

#include "api/session.h"
#include "passes/explain/explain_remat.h"

typedef struct explain_args {
  tcf_program *program;
  const char *function;
  const tcf_size *sizes;
  size_t nsizes;
  tcf_format format;
  arena arena, scratch;
  int pictures;         // functions that have one,
  strbuf pictured;      // ... their names
  const char *nothing;  // why the last one that has none has none
  char *text;
} explain_args;

static tcf_status explain_function(explain_args *x, tcf_function *f, strbuf *out) {
  tcf_session *s = x->program->session;
  if (!f->graph)
    return session_fail(s, TCF_WRONG_USE, "%s is tile IR: its graph is unknown", f->name);
  int64_t sizes[f->sig.nsymbols + 1];
  tcf_status status = function_sizes(f, x->sizes, x->nsizes, sizes);
  if (status) return status;
  graph *g = function_specialise(f, &x->arena, sizes);
  status = session_kernels_fit(s, g, &x->arena);
  if (status) return status;
  pass_options options = session_pass_options(s, tuned_schedule(s, g));
  pass_ctx ctx = {g, &x->scratch, &options, &x->program->diags};
  if (!ctx.graph->fused) status = session_run_passes(s, &ctx, NULL, 0, NULL, NULL);
  if (status) return status;
  explain_ask *ask = s->target == TARGET_CUDA ? usage_of_kernels : NULL;
  const explanation *e = graph_explain(&x->arena, ctx.graph, &options, ask, s);
  (x->format == TCF_JSON   ? explain_json
   : x->format == TCF_HTML ? explain_html
                           : explain_text)(e, &x->program->diags, out);
  return TCF_OK;
}

/// A picture is of one function: of the one that is named, or of the only one that has something to show.
static tcf_status one_picture(const explain_args *x) {
  tcf_session *s = x->program->session;
  if (x->pictures == 1) return TCF_OK;
  if (x->pictures)
    return session_fail(s, TCF_WRONG_USE, "a picture is of one function; name one of %.*s",
                        STR_FMT(sb_str(&x->pictured)));
  return session_fail(s, TCF_WRONG_USE, "there is no picture%s%s: %s", x->function ? " of " : "",
                      x->function ? x->function : "",
                      x->nothing ? x->nothing : "there is no function");
}

typedef tcf_status explain_one(explain_args *x, tcf_function *f, strbuf *out);

/// The functions that are asked for, one after the other, in one text.
static tcf_status explain_each(explain_args *x, explain_one *one) {
  tcf_session *s = x->program->session;
  const target_info *info;
  tcf_status status = session_target(s, &info);
  strbuf out = sb_new(&x->arena);
  int found = 0;
  if (x->format == TCF_JSON) sb_puts(&out, "[\n");
  if (x->format == TCF_HTML) explain_html_open(&out);
  for (int i = 0; i < x->program->nfunctions && !status; i++) {
    tcf_function *f = &x->program->functions[i];
    if (x->function && strcmp(x->function, f->name)) continue;
    if (found++ && x->format != TCF_SVG) sb_puts(&out, x->format == TCF_JSON ? ",\n" : "\n");
    status = one(x, f, &out);
  }
  if (x->format == TCF_JSON) sb_puts(&out, "]\n");
  if (x->format == TCF_HTML) explain_html_close(&out);
  if (!status && !found && x->function)
    return session_fail(s, TCF_WRONG_USE, "there is no function %s", x->function);
  if (!status && x->format == TCF_SVG) status = one_picture(x);
  if (!status) x->text = text_for_caller(sb_str(&out));
  return status;
}

static tcf_status explain(void *args) { return explain_each(args, explain_function); }

tcf_status tcf_program_explain(tcf_program *p, const char *function, const tcf_size *sizes,
                               size_t nsizes, tcf_format format, char **text) {
  entry in;
  tcf_status status = entry_open(&in, p ? p->session : NULL);
  if (status) return status;
  explain_args x = {
      .program = p, .function = function, .sizes = sizes, .nsizes = nsizes, .format = format};
  if ((unsigned)format > TCF_HTML)
    status = session_fail(in.session, TCF_WRONG_USE, "there is no format %d", (int)format);
  if (!status) status = need(in.session, text, "the text");
  if (!status) status = need_sizes(in.session, sizes, nsizes);
  if (!status) status = session_compile_guard(in.session, explain, &x);
  arena_free(&x.arena);
  arena_free(&x.scratch);
  if (!status) *text = x.text;
  return entry_close(&in, status);
}

// ---- recomputation

/// The passes before it.
static int passes_before_remat(const pass_info **list, int most) {
  int n, before = 0;
  const pass_info *all = passes_all(&n);
  for (; before < n && all[before].run != pass_remat; before++) {
    check(before < most);
    list[before] = &all[before];
  }
  return before;
}

static void explain_picture(explain_args *x, const char *name, const remat_study *study,
                            strbuf *out) {
  const char *nothing = explain_remat_nothing(study);
  if (nothing) {
    x->nothing = nothing;
    return;
  }
  if (!x->pictures) x->pictured = sb_new(&x->arena);
  sb_printf(&x->pictured, "%s%s", x->pictures++ ? ", " : "", name);
  explain_remat_svg(study, out);
}

static tcf_status explain_recomputation_of(explain_args *x, tcf_function *f, strbuf *out) {
  enum { MOST = 64 };
  const pass_info *list[MOST];
  tcf_session *s = x->program->session;
  if (!f->graph)
    return session_fail(s, TCF_WRONG_USE, "%s is tile IR: its graph is unknown", f->name);
  int64_t sizes[f->sig.nsymbols + 1];
  tcf_status status = function_sizes(f, x->sizes, x->nsizes, sizes);
  if (status) return status;
  pass_options options = session_pass_options(s, s->schedule);
  pass_ctx ctx = {function_specialise(f, &x->arena, sizes), &x->scratch, &options,
                  &x->program->diags};
  int n = passes_before_remat(list, MOST);
  if (!ctx.graph->fused) status = session_run_passes(s, &ctx, list, n, NULL, NULL);
  if (status) return status;
  const remat_study *study = remat_study_of(&x->arena, ctx.graph, &options);
  if (x->format == TCF_JSON) explain_remat_json(study, &x->program->diags, out);
  else if (x->format == TCF_SVG) explain_picture(x, f->name, study, out);
  else explain_remat_text(study, &x->program->diags, out);
  return TCF_OK;
}

static tcf_status explain_recomputation(void *args) {
  return explain_each(args, explain_recomputation_of);
}

tcf_status tcf_program_explain_recomputation(tcf_program *p, const char *function,
                                             const tcf_size *sizes, size_t nsizes,
                                             tcf_format format, char **text) {
  entry in;
  tcf_status status = entry_open(&in, p ? p->session : NULL);
  if (status) return status;
  explain_args x = {
      .program = p, .function = function, .sizes = sizes, .nsizes = nsizes, .format = format};
  if (format != TCF_TEXT && format != TCF_JSON && format != TCF_SVG)
    status = session_fail(in.session, TCF_WRONG_USE, "there is no format %d of this", (int)format);
  if (!status) status = need(in.session, text, "the text");
  if (!status) status = need_sizes(in.session, sizes, nsizes);
  if (!status) status = session_compile_guard(in.session, explain_recomputation, &x);
  arena_free(&x.arena);
  arena_free(&x.scratch);
  if (!status) *text = x.text;
  return entry_close(&in, status);
}

// ---- contracts

typedef struct check_args {
  tcf_program *program;
  arena arena, scratch;
} check_args;

static tcf_status check_contracts(void *args) {
  check_args *c = args;
  tcf_session *s = c->program->session;
  const target_info *info;
  diag_list *diags = &c->program->diags;
  int from = diags->items.len;
  for (int i = 0; i < c->program->nfunctions; i++) {
    const graph *g = c->program->functions[i].graph;
    if (!g || !g->contracts.len || g->fused) continue;
    tcf_status status = session_target(s, &info);
    if (status) return status;
    pass_options options = session_pass_options(s, s->schedule);
    pass_ctx ctx = {graph_copy(&c->arena, g), &c->scratch, &options, diags};
    passes_run(&ctx, NULL, 0, NULL, NULL);
  }
  // A block in a function that others call is in each of these.
  diag_drop_repeated(diags, from);
  return session_diagnose(s, diags, from);
}

tcf_status tcf_program_check(tcf_program *p) {
  if (!p) return TCF_WRONG_USE;
  check_args c = {.program = p};
  tcf_status status = session_compile_guard(p->session, check_contracts, &c);
  arena_free(&c.arena);
  arena_free(&c.scratch);
  return status;
}

// ---- cost

typedef struct cost_args {
  tcf_function *function;
  const tensor *const *args;
  size_t nargs;
  arena arena, scratch;
  tcf_cost cost;
} cost_args;

static tcf_status cost(void *args) {
  cost_args *e = args;
  graph *g;
  const target_info *info;
  tcf_session *s = e->function->program->session;
  tcf_status status = function_specialise_for(e->function, e->args, e->nargs, &e->arena, &g);
  if (!status) status = session_target(s, &info);
  if (!status) status = session_kernels_fit(s, g, &e->arena);
  if (status) return status;
  pass_options options = session_pass_options(s, s->schedule);
  pass_ctx ctx = {g, &e->scratch, &options, &e->function->program->diags};
  if (!g->fused) status = session_run_passes(s, &ctx, NULL, 0, NULL, NULL);
  if (status) return status;
  const explanation *x = graph_explain(&e->arena, ctx.graph, &options, NULL, NULL);
  e->cost.kernels = x->kernels.len;
  for (int i = 0; i < x->kernels.len; i++) {
    e->cost.bytes_read += x->kernels.data[i].bytes_read;
    e->cost.bytes_written += x->kernels.data[i].bytes_written;
    e->cost.flops += x->kernels.data[i].flops;
  }
  return TCF_OK;
}

tcf_status tcf_function_cost(tcf_function *f, const tcf_tensor *const *args, size_t nargs,
                             tcf_cost *out) {
  entry in;
  tcf_status status = entry_open_function(&in, f);
  if (status) return status;
  cost_args e = {.function = f, .args = args, .nargs = nargs};
  status = need(in.session, out, "the cost");
  if (!status) status = session_compile_guard(in.session, cost, &e);
  arena_free(&e.arena);
  arena_free(&e.scratch);
  if (!status) *out = e.cost;
  return entry_close(&in, status);
}
