// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading: source text, imports, IR text; and what a program tells about its functions.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/session.h"
#include "base/clocale.h"
#include "frontend/frontend.h"
#include "ir/tile_text.h"
#include "passes/fusion/group.h"
#include "runtime/file.h"

enum { SOURCE_LIMIT = 64 << 20 };

// ---- imports

/// "a/b/../c/./d" -> "a/c/d", so that one file has one name.
static str normalise(arena *a, str path) {
  vec(str) parts = {0};
  for (int at = 0, end; at <= path.len; at = end + 1) {
    for (end = at; end < path.len && path.ptr[end] != '/';) end++;
    str part = {path.ptr + at, end - at};
    bool up = str_eqz(part, "..");
    if (up && parts.len && !str_eqz(parts.data[parts.len - 1], ".."))
      parts.len--;
    else if (part.len && !str_eqz(part, "."))
      vec_push(a, &parts, part);
  }
  strbuf out = sb_new(a);
  for (int i = 0; i < parts.len; i++) {
    if (i || path.ptr[0] == '/') sb_putc(&out, '/');
    sb_put(&out, parts.data[i]);
  }
  return sb_str(&out);
}

static bool load_import(void *ctx, str from, str path, str *name, str *text, str *why) {
  arena *a = ctx;
  int folder = from.len;
  while (folder && from.ptr[folder - 1] != '/') folder--;
  bool absolute = path.len && path.ptr[0] == '/';
  *name =
      normalise(a, absolute ? path : str_printf(a, "%.*s%.*s", folder, from.ptr, STR_FMT(path)));
  error e;
  size_t size;
  char *data = file_read(str_z(a, *name), SOURCE_LIMIT, &size, &e);
  if (!data) {
    *why = str_dup(a, str_from(e.text));
    return false;
  }
  // The copy may raise, and the buffer is not in an arena.
  fault_frame frame;
  char *volatile copy = NULL;
  if (fault_try(&frame)) copy = arena_copy(a, data, size + 1);
  fault_pop(&frame);
  free(data);
  if (!copy) fault_raise(FAULT_NOMEM, "out of memory");
  *text = (str){copy, (int)size};
  return true;
}

// ---- loading

typedef struct load_args {
  tcf_session *session;
  const char *name, *text;
  size_t size;
  tcf_program *program;
} load_args;

/// The first word of the text, after white space and // comments.
static str first_word(str text) {
  int at = 0;
  for (;;) {
    while (at < text.len && char_is_space(text.ptr[at])) at++;
    if (at + 1 >= text.len || text.ptr[at] != '/' || text.ptr[at + 1] != '/') break;
    while (at < text.len && text.ptr[at] != '\n') at++;
  }
  int end = at;
  while (end < text.len && char_is_letter(text.ptr[end])) end++;
  return (str){text.ptr + at, end - at};
}

/// Arrays of calls are row-major for tile IR: params and outputs cannot have other strides.
static const buffer *strided_buffer(struct program *t) {
  for (int i = 0; i < t->nparams + t->noutputs; i++) {
    const buffer *b = &t->buffers.data[i];
    ix strides[MAX_AXES];
    ix_row_major(&t->ix, b->dims, b->rank, strides);
    for (int d = 0; d < b->rank; d++)
      if (strides[d] != b->strides[d]) return b;
  }
  return NULL;
}

static bool parse_tiles(tcf_program *p, uint32_t file) {
  p->tiles.arena = &p->arena;
  if (!tile_module_parse(&p->arena, &p->diags, file, &p->tiles)) return false;
  bool sound = true;
  for (int i = 0; i < p->tiles.programs.len; i++) {
    struct program *t = p->tiles.programs.data[i];
    tile_faults faults = {0};
    const buffer *strided = NULL;
    if (program_find_faults(t, &p->arena, &faults) && (strided = strided_buffer(t)))
      vec_push(&p->arena, &faults,
               ((tile_fault){strided->at, str_printf(&p->arena, "buffer %.*s is not row-major",
                                                     STR_FMT(strided->name))}));
    for (int k = 0; k < faults.len; k++)
      diag_error(&p->diags, DIAG_ir_invalid, faults.data[k].at, "%.*s",
                 STR_FMT(faults.data[k].text));
    sound = sound && !faults.len;
  }
  return sound;
}

static bool parse_graphs(tcf_program *p, uint32_t file) {
  bool sound = module_parse(&p->arena, &p->diags, file, &p->graphs);
  for (int i = 0; sound && i < p->graphs.graphs.len; i++) {
    const graph *g = p->graphs.graphs.data[i];
    str why;
    const node *at = g->fused ? graph_illegal_group(g, NULL, &p->arena, &why) : NULL;
    if (at) diag_error(&p->diags, DIAG_ir_invalid, at->at, "%.*s", STR_FMT(why));
    sound = !at;
  }
  return sound;
}

static bool parse(tcf_program *p, uint32_t file, str text) {
  str word = first_word(text);
  p->is_tile = str_eqz(word, "program") || str_eqz(word, "kernel");
  if (p->is_tile) return parse_tiles(p, file);
  p->graphs.arena = &p->arena;
  if (str_eqz(word, "graph") || str_eqz(word, "fused"))
    return parse_graphs(p, file);
  frontend_options options = {
      .load = load_import, .ctx = &p->arena, .unchecked = p->session->flags & TCF_UNCHECKED};
  return frontend_compile(&p->arena, &p->diags, file, &options, &p->graphs, &p->source);
}

void program_make_functions(tcf_program *p) {
  p->nfunctions = p->is_tile ? p->tiles.programs.len : p->graphs.graphs.len;
  p->functions = arena_array(&p->arena, tcf_function, p->nfunctions);
  for (int i = 0; i < p->nfunctions; i++) {
    tcf_function *f = &p->functions[i];
    f->program = p;
    if (p->is_tile) {
      f->tile = p->tiles.programs.data[i];
      f->sig = signature_of_program(&p->arena, f->tile);
    } else {
      f->graph = p->graphs.graphs.data[i];
      f->sig = signature_of_graph(&p->arena, f->graph);
    }
    f->name = str_z(&p->arena, p->is_tile ? f->tile->name : f->graph->name);
    f->symbol = c_symbol(&p->arena, str_from(f->name)).ptr;
    f->symbolic = arena_array(&p->arena, bool, f->sig.nsymbols);
  }
}

static tcf_status load(void *args_) {
  load_args *args = args_;
  tcf_program *p = args->program;
  if (args->size > SOURCE_LIMIT)
    return session_fail(args->session, TCF_WRONG_PROGRAM, "%s: larger than the limit of %d bytes",
                        args->name, SOURCE_LIMIT);
  p->diags.arena = &p->arena;
  str text = {str_z(&p->arena, (str){args->text, (int)args->size}), (int)args->size};
  str name = str_dup(&p->arena, str_from(args->name));
  bool ok = parse(p, diag_add_file(&p->diags, name, text), text);
  tcf_status status = session_diagnose(args->session, &p->diags, 0);
  if (status || !ok) return status ? status : TCF_WRONG_PROGRAM;
  program_make_functions(p);
  return TCF_OK;
}

tcf_program *program_new(tcf_session *s) {
  tcf_program *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->session = s;
  p->next = s->programs;
  s->programs = p;
  return p;
}

static tcf_status load_text(tcf_session *s, const char *name, const char *text, size_t size,
                            tcf_program **out) {
  if (size > SOURCE_LIMIT)
    return session_fail(s, TCF_WRONG_USE, "%s: larger than the limit of %d bytes", name,
                        SOURCE_LIMIT);
  tcf_program *p = program_new(s);
  if (!p) return session_fail(s, TCF_NO_MEMORY, "out of memory");
  load_args args = {s, name, text, size, p};
  tcf_status status = session_compile_guard(s, load, &args);
  if (status) program_free(p);
  else
    *out = p;
  return status;
}

tcf_status tcf_program_load(tcf_session *s, const char *name, const char *text, size_t size,
                            tcf_program **out) {
  entry e;
  tcf_status status = entry_open(&e, s);
  if (status) return status;
  status = need(s, name, "the name");
  if (!status) status = need(s, text, "the text");
  if (!status) status = need(s, out, "the program");
  return entry_close(&e, status ? status : load_text(s, name, text, size, out));
}

static tcf_status load_file(tcf_session *s, const char *path, tcf_program **out) {
  error e;
  size_t size;
  char *text = file_read(path, SOURCE_LIMIT, &size, &e);
  if (!text) return session_fail_error(s, &e);
  tcf_status status = load_text(s, strcmp(path, "-") ? path : "<stdin>", text, size, out);
  free(text);
  return status;
}

tcf_status tcf_program_load_file(tcf_session *s, const char *path, tcf_program **out) {
  entry e;
  tcf_status status = entry_open(&e, s);
  if (status) return status;
  status = need(s, path, "the path");
  if (!status) status = need(s, out, "the program");
  return entry_close(&e, status ? status : load_file(s, path, out));
}

static tcf_program *owned_by(const tcf_program *owner) {
  tcf_program *p = owner->session->programs;
  while (p && p->owner != owner) p = p->next;
  return p;
}

void program_free(tcf_program *p) {
  for (tcf_program *part; (part = owned_by(p));) program_free(part);
  for (tcf_program **at = &p->session->programs; *at; at = &(*at)->next)
    if (*at == p) {
      *at = p->next;
      break;
    }
  for (int i = 0; i < p->nfunctions; i++) {
    const map *variants = &p->functions[i].variants;
    for (int k = 0; k < variants->len; k++) variant_free(p->session, variants->entries[k].value);
  }
  arena_free(&p->arena);
  free(p);
}

void tcf_program_free(tcf_program *p) {
  entry e;
  if (entry_open(&e, p ? p->session : NULL)) return;  // null, or in use
  program_free(p);
  entry_close(&e, TCF_OK);
}

// ---- introspection

size_t tcf_program_count(const tcf_program *p) { return p ? (size_t)p->nfunctions : 0; }

int tcf_program_is_tile(const tcf_program *p) { return p && p->is_tile; }

tcf_function *tcf_program_at(const tcf_program *p, size_t i) {
  return i < tcf_program_count(p) ? &p->functions[i] : NULL;
}

static tcf_function *find_function(const tcf_program *p, const char *name) {
  for (int i = 0; i < p->nfunctions; i++)
    if (!strcmp(p->functions[i].name, name)) return &p->functions[i];
  char known[256] = "none";
  size_t used = 0;
  for (int i = 0; i < p->nfunctions && used < sizeof known; i++)
    used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                             p->functions[i].name);
  session_fail(p->session, TCF_WRONG_USE, "there is no function %s; the program has %s", name, known);
  return NULL;
}

tcf_function *tcf_program_function(const tcf_program *p, const char *name) {
  entry e;
  if (!name || entry_open(&e, p ? p->session : NULL)) return NULL;
  tcf_function *f = find_function(p, name);
  entry_close(&e, TCF_OK);
  return f;
}

const char *tcf_function_name(const tcf_function *f) { return f ? f->name : NULL; }
const char *tcf_function_export_name(const tcf_function *f) { return f ? f->symbol : NULL; }
size_t tcf_function_params(const tcf_function *f) { return f ? (size_t)f->sig.nparams : 0; }
size_t tcf_function_results(const tcf_function *f) { return f ? (size_t)f->sig.nresults : 0; }
size_t tcf_function_symbols(const tcf_function *f) { return f ? (size_t)f->sig.nsymbols : 0; }

typedef struct export_args {
  tcf_function *function;
  const char *symbol;
} export_args;

static tcf_status export_as(void *args_) {
  export_args *args = args_;
  tcf_function *f = args->function;
  arena *a = &f->program->arena;
  str symbol = str_from(args->symbol);
  if (!c_symbol_is_free(a, symbol))
    return session_fail(f->program->session, TCF_WRONG_USE,
                        "%s cannot be exported as '%s': that is no identifier of C, or one that C, "
                        "C++ or their libraries have",
                        f->name, args->symbol);
  f->symbol = str_z(a, symbol);
  return TCF_OK;
}

tcf_status tcf_function_export_as(tcf_function *f, const char *symbol) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  status = need(e.session, symbol, "the symbol");
  if (!status) status = session_compile_guard(e.session, export_as, &(export_args){f, symbol});
  return entry_close(&e, status);
}

const char *tcf_function_symbol(const tcf_function *f, size_t i) {
  return i < tcf_function_symbols(f) ? f->sig.symbols[i] : NULL;
}

static void fill_info(const sig_value *v, tcf_value_info *info) {
  *info = (tcf_value_info){.name = v->name, .dtype = (tcf_dtype)v->type, .rank = v->rank};
  for (int k = 0; k < v->rank; k++) {
    info->axes[k] = v->axes[k];
    info->sizes[k] = v->sizes[k];
  }
}

static tcf_status no_such(const tcf_function *f, const char *what, size_t i, int n) {
  return session_fail(f->program->session, TCF_WRONG_USE, "%s has %d %s, there is no number %zu",
                      f->name, n, what, i);
}

static tcf_status value_info(const tcf_function *f, const char *what, const sig_value *values,
                             int n, size_t i, tcf_value_info *info) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  status = i < (size_t)n ? need(e.session, info, "the info") : no_such(f, what, i, n);
  if (!status) fill_info(&values[i], info);
  return entry_close(&e, status);
}

tcf_status tcf_function_param(const tcf_function *f, size_t i, tcf_value_info *info) {
  return f ? value_info(f, "parameters", f->sig.params, f->sig.nparams, i, info) : TCF_WRONG_USE;
}

tcf_status tcf_function_result(const tcf_function *f, size_t i, tcf_value_info *info) {
  return f ? value_info(f, "results", f->sig.results, f->sig.nresults, i, info) : TCF_WRONG_USE;
}

tcf_status function_sizes(tcf_function *f, const tcf_size *sizes, size_t n, int64_t *out) {
  for (int k = 0; k < f->sig.nsymbols; k++) out[k] = -1;
  for (size_t i = 0; i < n; i++) {
    int k = signature_symbol(&f->sig, str_from(sizes[i].name));
    if (k < 0) continue;  // one list may serve several functions
    if (sizes[i].value < 0)
      return session_fail(f->program->session, TCF_WRONG_USE, "the size %s is negative",
                          sizes[i].name);
    out[k] = sizes[i].value;
  }
  return function_check_sizes(f, out);
}

typedef struct dims_args {
  tcf_function *function;
  const sig_value *value;
  const tcf_size *sizes;
  size_t nsizes;
  int64_t *dims;
} dims_args;

static tcf_status value_dims(void *args_) {
  dims_args *args = args_;
  tcf_function *f = args->function;
  int64_t values[f->sig.nsymbols + 1];
  tcf_status status = function_sizes(f, args->sizes, args->nsizes, values);
  if (status) return status;
  str missing;
  if (signature_dims(&f->sig, args->value, values, args->dims, &missing)) return TCF_OK;
  return session_fail(f->program->session, TCF_WRONG_USE, "the size %.*s is not given",
                      STR_FMT(missing));
}

static tcf_status dims_of(const tcf_function *f, const char *what, const sig_value *list, int n,
                          size_t i, dims_args *args) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  if (i >= (size_t)n) status = no_such(f, what, i, n);
  if (!status) status = need(e.session, args->dims, "the list of dims");
  if (!status) status = need_sizes(e.session, args->sizes, args->nsizes);
  args->value = &list[i];
  return entry_close(&e, status ? status : session_guard(e.session, value_dims, args));
}

tcf_status tcf_function_param_dims(const tcf_function *f, size_t i, const tcf_size *sizes,
                                   size_t nsizes, int64_t *dims) {
  dims_args args = {(tcf_function *)f, NULL, sizes, nsizes, dims};
  return f ? dims_of(f, "parameters", f->sig.params, f->sig.nparams, i, &args) : TCF_WRONG_USE;
}

tcf_status tcf_function_result_dims(const tcf_function *f, size_t i, const tcf_size *sizes,
                                    size_t nsizes, int64_t *dims) {
  dims_args args = {(tcf_function *)f, NULL, sizes, nsizes, dims};
  return f ? dims_of(f, "results", f->sig.results, f->sig.nresults, i, &args) : TCF_WRONG_USE;
}

tcf_status tcf_function_keep_symbolic(tcf_function *f, const char *symbol, int keep) {
  entry e;
  tcf_status status = entry_open_function(&e, f);
  if (status) return status;
  status = need(e.session, symbol, "the symbol");
  int k = status ? -1 : signature_symbol(&f->sig, str_from(symbol));
  if (!status && k < 0)
    status = session_fail(e.session, TCF_WRONG_USE, "%s has no size symbol %s", f->name, symbol);
  if (!status) f->symbolic[k] = keep;
  return entry_close(&e, status);
}
