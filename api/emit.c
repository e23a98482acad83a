// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Looking inside: a program as text at every stage, passes by name, formatting, lists.
#include <limits.h>
#include <stdlib.h>

#include "api/session.h"
#include "frontend/frontend.h"

enum { MAX_PASSES = 256 };

typedef struct emission {
  tcf_program *program;
  const tcf_emit_options *options;
  tcf_status status;
  arena arena, scratch;
  const pass_info *passes[MAX_PASSES];
  int npasses;  // -1: the pipeline
  str schedule;  // of the function
  char *text;    // malloc'd
  size_t size;
} emission;

// ---- which passes

static tcf_status unknown_pass(tcf_session *s, arena *a, str name) {
  int count, best = 3;
  const pass_info *all = passes_all(&count);
  const char *nearest = NULL;
  for (int i = 0; i < count; i++) {
    int d = str_distance(name, str_from(all[i].name));
    if (d < best) best = d, nearest = all[i].name;
  }
  str hint = nearest ? str_printf(a, "; did you mean %s?", nearest) : STR("");
  return session_fail(s, TCF_WRONG_USE, "there is no pass %.*s%.*s", STR_FMT(name), STR_FMT(hint));
}

static tcf_status choose_passes(emission *e) {
  const char *names = e->options->passes;
  e->npasses = names || e->options->stage == TCF_STAGE_GRAPH ? 0 : -1;
  for (const char *at = names, *end; at && *at; at = *end ? end + 1 : end) {
    for (end = at; *end && *end != ',';) end++;
    if (end == at || (*end && !end[1]))
      return session_fail(e->program->session, TCF_WRONG_USE, "an empty name in the passes %s",
                          names);
    str name = {at, (int)(end - at)};
    const pass_info *pass = passes_find(name);
    if (!pass) return unknown_pass(e->program->session, &e->arena, name);
    if (e->npasses == MAX_PASSES)
      return session_fail(e->program->session, TCF_WRONG_USE, "more than %d passes", MAX_PASSES);
    e->passes[e->npasses++] = pass;
  }
  return TCF_OK;
}

// ---- one function

static void show_after(void *ctx, const pass_info *pass, graph *g) {
  emission *e = ctx;
  strbuf text = sb_new(&e->arena);
  graph_print(g, &text);
  e->options->after_pass(e->options->user, pass->name, text.data);
}

static graph *run_passes(emission *e, graph *g) {
  tcf_session *s = e->program->session;
  if (e->npasses == 0 || (e->npasses < 0 && g->fused)) return g;
  pass_options options = session_pass_options(s, s->schedule);
  pass_ctx ctx = {g, &e->scratch, &options, &e->program->diags};
  e->status = session_run_passes(s, &ctx, e->npasses < 0 ? NULL : e->passes, e->npasses,
                                 e->options->after_pass ? show_after : NULL, e);
  return e->status ? NULL : ctx.graph;
}

static graph *graph_of(emission *e, tcf_function *f) {
  tcf_session *s = e->program->session;
  int64_t sizes[f->sig.nsymbols + 1];
  e->status = function_sizes(f, e->options->sizes, e->options->nsizes, sizes);
  if (e->status) return NULL;
  // Nothing is bound: the text stays what it is, names of axes included.
  bool any = false;
  for (int k = 0; k < f->sig.nsymbols; k++) any |= sizes[k] >= 0;
  graph *g = any ? function_specialise(f, &e->arena, sizes) : graph_copy(&e->arena, f->graph);
  bool runs = e->npasses < 0 && e->options->stage > TCF_STAGE_FUSED;
  e->schedule = runs ? tuned_schedule(s, g) : s->schedule;
  return run_passes(e, g);
}

static void emit_code(emission *e, const tcf_function *f, struct program *p, strbuf *out) {
  tcf_stage stage = e->options->stage;
  code_kind kind = stage == TCF_STAGE_LLVM  ? CODE_LLVM_IR
                   : stage == TCF_STAGE_ASM ? CODE_ASSEMBLY
                                            : CODE_OBJECT;
  code text;
  codegen_options options = {.kind = kind, .symbol = str_from(f->symbol)};
  e->status = session_codegen(e->program->session, &e->arena, p, options, &text);
  if (!e->status) sb_put(out, (str){text.data, (int)text.size});
}

/// The fused graph with what the lowering made of each kernel.
static void print_plan(arena *a, const graph *g, const schedule_choices *made, strbuf *out) {
  graph *with = graph_copy(a, g);
  with->plans.len = 0;
  for (int k = 0; k < g->nkernels; k++) vec_push(a, &with->plans, schedule_plan(a, made, k));
  graph_print(with, out);
}

static void emit_function(emission *e, tcf_function *f, strbuf *out, bool first) {
  tcf_session *s = e->program->session;
  tcf_stage stage = e->options->stage;
  if (!first && stage <= TCF_STAGE_TILE) sb_putc(out, '\n');
  if (f->tile && stage < TCF_STAGE_TILE) {
    e->status = session_fail(s, TCF_WRONG_USE, "%s is tile IR: there is no graph to show", f->name);
    return;
  }
  struct program *p = f->tile;
  if (!p) {
    graph *g = graph_of(e, f);
    if (!g) return;
    if (stage <= TCF_STAGE_FUSED) return graph_print(g, out);
    if (!g->fused) {
      e->status = session_fail(s, TCF_WRONG_USE,
                               "%s is not in kernels yet: the passes must end with "
                               "fuse to lower it to tiles",
                               f->name);
      return;
    }
    e->status = session_kernels_fit(s, g, &e->arena);
    if (e->status) return;
    pass_options options = session_pass_options(s, e->schedule);
    schedule_choices made = {0};
    options.choices = &made;
    e->status = session_tiles(s, &e->arena, g, &options, &p);
    if (e->status) return;
    if (stage == TCF_STAGE_PLAN) return print_plan(&e->arena, g, &made, out);
  }
  if (stage == TCF_STAGE_TILE)
    program_print(p, out);
  else
    emit_code(e, f, p, out);
}

static tcf_status emit(void *args) {
  emission *e = args;
  tcf_session *s = e->program->session;
  const target_info *info;
  tcf_status status = choose_passes(e);
  bool needs_target = e->npasses != 0 || e->options->stage > TCF_STAGE_FUSED;
  if (!status && needs_target) status = session_target(s, &info);
  if (status) return status;
  strbuf out = sb_new(&e->arena);
  bool found = false;
  for (int i = 0; i < e->program->nfunctions && !e->status; i++) {
    tcf_function *f = &e->program->functions[i];
    if (e->options->function && strcmp(e->options->function, f->name)) continue;
    emit_function(e, f, &out, !found);
    found = true;
  }
  if (!e->status && !found && e->options->function)
    return session_fail(s, TCF_WRONG_USE, "there is no function %s", e->options->function);
  if (!e->status) e->text = text_for_caller(sb_str(&out));
  e->size = (size_t)out.len;
  return e->status;
}

static tcf_status run_emission(emission *e) {
  tcf_status status = session_compile_guard(e->program->session, emit, e);
  arena_free(&e->arena);
  arena_free(&e->scratch);
  return status;
}

static tcf_status read_options(tcf_session *s, const tcf_emit_options *given,
                               tcf_emit_options *out) {
  tcf_status status = need(s, given, "the options");
  if (status) return status;
  if (given->size < sizeof given->size)
    return session_fail(s, TCF_WRONG_USE, "tcf_emit_options.size is not set");
  // A caller built against an older header has a shorter struct; what it lacks stays zero.
  *out = (tcf_emit_options){0};
  memcpy(out, given, given->size < sizeof *out ? given->size : sizeof *out);
  if ((unsigned)out->stage > TCF_STAGE_ASM)
    return session_fail(s, TCF_WRONG_USE, "there is no stage %d", (int)out->stage);
  return need_sizes(s, out->sizes, out->nsizes);
}

tcf_status tcf_program_emit(tcf_program *p, const tcf_emit_options *options, char **text) {
  entry in;
  tcf_status status = entry_open(&in, p ? p->session : NULL);
  if (status) return status;
  tcf_emit_options o;
  emission e = {.program = p, .options = &o};
  status = read_options(in.session, options, &o);
  if (!status) status = need(in.session, text, "the text");
  if (!status) status = run_emission(&e);
  if (!status) *text = e.text;
  return entry_close(&in, status);
}

tcf_status function_object(tcf_function *f, const tcf_size *sizes, size_t nsizes, char **data,
                           size_t *size) {
  tcf_emit_options options = {.size = sizeof options,
                              .function = f->name,
                              .stage = (tcf_stage)(TCF_STAGE_ASM + 1),
                              .sizes = sizes,
                              .nsizes = nsizes};
  emission e = {.program = f->program, .options = &options};
  tcf_status status = run_emission(&e);
  if (status) return status;
  *data = e.text;
  *size = e.size;
  return TCF_OK;
}

tcf_status tcf_function_object(tcf_function *f, const tcf_size *sizes, size_t nsizes, char **data,
                               size_t *size) {
  entry in;
  tcf_status status = entry_open_function(&in, f);
  if (status) return status;
  status = need(in.session, data, "the data");
  if (!status) status = need(in.session, size, "the size");
  if (!status) status = need_sizes(in.session, sizes, nsizes);
  return entry_close(&in, status ? status : function_object(f, sizes, nsizes, data, size));
}

// ---- formatting

typedef struct format_args {
  tcf_session *session;
  const char *name, *text;
  size_t size;
  arena arena;
  char *out;
} format_args;

static tcf_status format(void *args_) {
  format_args *args = args_;
  arena *a = &args->arena;
  diag_list diags = {.arena = a};
  str text = {str_z(a, (str){args->text, (int)args->size}), (int)args->size}, out;
  uint32_t file = diag_add_file(&diags, str_from(args->name), text);
  bool ok = frontend_format(a, &diags, file, &out);
  tcf_status status = session_diagnose(args->session, &diags, 0);
  if (status || !ok) return status ? status : TCF_WRONG_PROGRAM;
  args->out = text_for_caller(out);
  return TCF_OK;
}

tcf_status tcf_format_source(tcf_session *s, const char *name, const char *text, size_t size,
                             char **formatted) {
  entry in;
  tcf_status status = entry_open(&in, s);
  if (status) return status;
  format_args args = {s, name, text, size, {0}, NULL};
  status = need(s, name, "the name");
  if (!status) status = need(s, text, "the text");
  if (!status) status = need(s, formatted, "the formatted text");
  if (!status && size > INT_MAX / 2)
    status = session_fail(s, TCF_WRONG_USE, "a text of %zu bytes", size);
  if (!status) status = session_compile_guard(s, format, &args);
  arena_free(&args.arena);
  if (!status) *formatted = args.out;
  return entry_close(&in, status);
}

// ---- lists

static bool pass_row(size_t i, const char **name, const char **summary) {
  int count;
  const pass_info *all = passes_all(&count);
  // Rows that run a pass once more have no summary.
  for (int k = 0; k < count; k++) {
    if (!all[k].summary || i-- > 0) continue;
    *name = all[k].name;
    *summary = all[k].summary;
    return true;
  }
  return false;
}

/// The targets, then the architectures and processors that may stand after "cuda:" and "cpu:".
static bool target_row(size_t i, const char **name, const char **summary) {
  static const char *const rows[][2] = {
      {"cpu", "this machine's processor, through LLVM"},
      {"cuda, cuda:N", "NVIDIA device 0, or N"},
      {"cuda:sm_NN", "code for an NVIDIA architecture, to be looked at"},
      {"interp", "the graph interpreter, the reference: every value is rounded to its type"},
      {"interp-tile", "the interpreter of the tile IR: what the kernels mean, without code"},
  };
  enum { ROWS = sizeof rows / sizeof *rows };
  if (i >= ROWS) return target_named_row((int)i - ROWS, name, summary);
  *name = rows[i][0];
  *summary = rows[i][1];
  return true;
}

int tcf_list_row(tcf_list list, size_t i, int *number, const char **name, const char **summary) {
  int count;
  if (number) *number = 0;
  if (!name || !summary) return 0;
  switch (list) {
    case TCF_LIST_PASSES:
      return pass_row(i, name, summary);
    case TCF_LIST_TARGETS:
      return target_row(i, name, summary);
    case TCF_LIST_OPS:
      if (i >= OP_COUNT) return 0;
      *name = op_get((op)i)->name;
      *summary = op_class_name(op_get((op)i)->class);
      return 1;
    case TCF_LIST_ERRORS: {
      const diag_info *all = diag_codes(&count);
      if (i >= (size_t)count) return 0;
      if (number) *number = all[i].code;
      *name = all[i].name;
      *summary = all[i].explanation;
      return 1;
    }
  }
  return 0;
}
