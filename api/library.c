// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Libraries ahead of time: the object of a function (codegen/library.h), and the runtime that comes
// with it, linked into a shared library or put into an archive.
#include "codegen/library.h"

#include <stdlib.h>

#include "api/session.h"
#include "runtime/tool.h"

extern const unsigned char tcf_library_runtime_cpu[], tcf_library_runtime_cuda[];
extern const int tcf_library_runtime_cpu_len, tcf_library_runtime_cuda_len;

/// A function on its way to become an object.
typedef struct library_args {
  tcf_function *function;
  const tcf_size *sizes;
  size_t nsizes;
  char **data;  // of a cubin
  size_t *size;
  arena arena;
  ptxas_output assembled;
} library_args;

typedef struct linking {
  tcf_session *session;
  library_args functions[MOST_LIBRARY_FUNCTIONS];
  int n;
  const char *path;
  char **summary;
} linking;

// ---- the program

static tcf_status lower(library_args *l, graph **specialised, struct program **out) {
  tcf_function *f = l->function;
  tcf_session *s = f->program->session;
  const target_info *info;
  int64_t *sizes = arena_array(&l->arena, int64_t, f->sig.nsymbols);
  tcf_status status = function_sizes(f, l->sizes, l->nsizes, sizes);
  if (!status) status = session_target(s, &info);
  if (status) return status;
  *specialised = NULL;
  if (f->tile) return *out = f->tile, TCF_OK;
  *specialised = function_specialise(f, &l->arena, sizes);
  status = session_kernels_fit(s, *specialised, &l->arena);
  if (status) return status;
  return session_lower(s, &f->program->diags, &l->arena, *specialised,
                       tuned_schedule(s, *specialised), out);
}

/// The cubin by ptxas. *out is empty when there is no ptxas and it is not `needed`.
static tcf_status assemble(library_args *l, const struct program *p, bool needed, code *out) {
  tcf_session *s = l->function->program->session;
  char tool[4096];
  code ptx;
  error e;
  *out = (code){0};
  if (!needed && !ptxas_find(tool, sizeof tool)) return TCF_OK;
  codegen_options options = {.kind = CODE_ASSEMBLY};
  tcf_status status = session_codegen(s, &l->arena, p, options, &ptx);
  if (status) return status;
  if (!ptxas_run(str_z(&l->arena, s->cpu), ptx.data, ptx.size, &l->assembled, &e))
    return session_fail_error(s, &e);
  *out = (code){l->assembled.cubin, l->assembled.size};
  return TCF_OK;
}

// ---- what the object knows

static const char *place_text(library_args *l, span at) {
  diag_list *files = &l->function->program->diags;
  if (!at.file) return NULL;
  line_col lc = diag_line_col(files, at);
  return str_printf(&l->arena, "%.*s:%d:%d", STR_FMT(files->files.data[at.file - 1].path), lc.line,
                    lc.col)
      .ptr;
}

static void describe_pointers(library_args *l, library_spec *spec) {
  const signature *sig = &l->function->sig;
  int n = sig->nparams + sig->nresults;
  tcf_library_pointer *pointers = arena_array(&l->arena, tcf_library_pointer, n);
  for (int i = 0; i < n; i++) {
    bool result = i >= sig->nparams;
    const sig_value *v = result ? &sig->results[i - sig->nparams] : &sig->params[i];
    pointers[i] = (tcf_library_pointer){v->name, dtype_bytes(v->type), result};
  }
  spec->pointers = pointers;
}

static void describe_symbols(library_args *l, const struct program *p, library_spec *spec) {
  const ix_pool *ix = l->function->sig.ix;
  tcf_library_symbol *symbols = arena_array(&l->arena, tcf_library_symbol, p->symbols.len);
  for (int k = 0; k < p->symbols.len; k++) {
    const ix_fact *fact = ix_find_fact(ix, p->symbols.data[k]);
    symbols[k] = (tcf_library_symbol){str_z(&l->arena, p->symbols.data[k]), 0, INT64_MAX, 1};
    if (fact) {
      symbols[k].least = fact->min > 0 ? fact->min : 0;
      symbols[k].most = fact->max;
      symbols[k].multiple_of = fact->multiple_of;
    }
  }
  spec->symbols = symbols;
}

/// Sizes of axes inside of the function that are no plain symbol: a window may not fit.
static void describe_lengths(library_args *l, const graph *g, library_spec *spec) {
  if (!g) return;
  arena *a = &l->arena;
  ix *lengths = arena_array(a, ix, g->axes.len);
  const char **names = arena_array(a, const char *, g->axes.len);
  for (int i = 0; i < g->axes.len; i++) {
    ix size = g->axes.data[i].size;
    int64_t known;
    if (ix_is_const(&g->ix, size, &known) || ix_get(&g->ix, size)->kind == IX_SYM) continue;
    strbuf form = sb_new(a);
    ix_print(&g->ix, size, NULL, NULL, &form);
    names[spec->nlengths] =
        str_printf(a, "the axis %.*s = %s", STR_FMT(g->axes.data[i].name), form.data).ptr;
    lengths[spec->nlengths++] = size;
  }
  spec->ix = &g->ix;
  spec->lengths = lengths;
  spec->length_names = names;
}

static void describe_steps(library_args *l, const struct program *p, graph *g, library_spec *spec) {
  arena *a = &l->arena;
  variant v = {.function = l->function, .specialised = g};
  variant_describe(&v, p);
  tcf_library_site *sites = arena_array(a, tcf_library_site, v.sites.len);
  ix *sizes = arena_array(a, ix, v.sites.len);
  const char **places = arena_array(a, const char *, v.steps.len);
  for (int i = 0; i < v.sites.len; i++) {
    const site *at = &v.sites.data[i];
    bool known = g && at->node >= 0;
    int axis = known ? g->nodes.data[at->node]->attr_axes[0] : 0;
    const char *place = place_text(l, at->at);
    sites[i] =
        (tcf_library_site){(int64_t)at->step << 16 | at->number, place ? place : l->function->name,
                           known ? str_z(a, g->axes.data[axis].name) : NULL};
    if (known) sizes[i] = graph_axis_size(g, axis);
  }
  for (int i = 0; i < v.steps.len; i++) places[i] = place_text(l, v.steps.data[i].at);
  spec->sites = sites;
  spec->site_sizes = sizes;
  spec->nsites = v.sites.len;
  spec->places = places;
  arena_free(&v.arena);
}

static bool calls_host(const struct program *p) {
  for (int i = 0; i < p->steps.len; i++)
    if (p->steps.data[i].kind == STEP_HOST) return true;
  return false;
}

// ---- linking

static const char **names_of(arena *a, const char *prefix, bool cuda) {
  static const char *const own[] = {"open", "call", "message", "close", "wait"};
  const char **names = arena_array(a, const char *, 6);
  for (int i = 0; i < 4 + cuda; i++) names[i] = str_printf(a, "%s%s", prefix, own[i]).ptr;
  return names;
}

/// In an archive members have the names of functions; a number keeps those apart that begin alike.
static link_object member(library_args *l, int number, code object) {
  arena *a = &l->arena;
  const char *name = l->function->symbol;
  bool cuda = l->function->program->session->target == TARGET_CUDA;
  const char **exported = names_of(a, str_printf(a, "%s_", name).ptr, cuda);
  exported[1] = name;  // instead of "f_call"
  const char *file =
      number ? str_printf(a, "%.48s.%d.o", name, number).ptr : str_printf(a, "%.48s.o", name).ptr;
  return (link_object){file, object.data, object.size, exported};
}

static link_object runtime_member(arena *a, bool cuda) {
  return (link_object){cuda ? "tcf_library2_cuda.o" : "tcf_library2_cpu.o",
                       cuda ? tcf_library_runtime_cuda : tcf_library_runtime_cpu,
                       (size_t)(cuda ? tcf_library_runtime_cuda_len : tcf_library_runtime_cpu_len),
                       names_of(a, cuda ? LIBRARY_CUDA : LIBRARY_CPU, cuda)};
}

/// "a cubin for sm_90a, and PTX"
static void summarise(const linking *all, arena *a, bool cubin) {
  tcf_session *s = all->session;
  if (!all->summary) return;
  str text = STR("code for this machine's processor");
  if (s->target == TARGET_CUDA)
    text = str_printf(a,
                      cubin ? "a cubin for %.*s, and PTX for devices that do not take it"
                            : "PTX for %.*s (no cubin: ptxas was not found)",
                      STR_FMT(s->cpu));
  else if (s->cpu.len) text = str_printf(a, "code for %.*s", STR_FMT(s->cpu));
  *all->summary = text_for_caller(text);
}

static tcf_status make_object(library_args *l, code *object, bool *cubin) {
  tcf_function *f = l->function;
  tcf_session *s = f->program->session;
  graph *g;
  struct program *p;
  library_spec spec = {0};
  codegen_options options = {.kind = CODE_OBJECT, .symbol = str_from(f->symbol), .library = &spec};
  tcf_status status = lower(l, &g, &p);
  if (status) return status;
  if (calls_host(p))
    return session_fail(s, TCF_WRONG_USE,
                        "%s calls host functions, which a library has no way to; an object (.o) "
                        "gets them in its frame",
                        f->name);
  describe_pointers(l, &spec);
  describe_symbols(l, p, &spec);
  describe_lengths(l, g, &spec);
  describe_steps(l, p, g, &spec);
  if (s->target == TARGET_CUDA) status = assemble(l, p, false, &options.cubin);
  *cubin = options.cubin.size;
  return status ? status : session_codegen(s, &l->arena, p, options, object);
}

static tcf_status make_library(void *args) {
  linking *all = args;
  tcf_session *s = all->session;
  link_object objects[MOST_LIBRARY_FUNCTIONS + 1];
  bool cubin = false;
  error e;
  for (int i = 0; i < all->n; i++) {
    code object;
    tcf_status status = make_object(&all->functions[i], &object, &cubin);
    if (status) return status;
    objects[i] = member(&all->functions[i], i, object);
  }
  arena *a = &all->functions[0].arena;
  objects[all->n] = runtime_member(a, s->target == TARGET_CUDA);
  bool archive = str_ends(str_from(all->path), STR(".a"));
  if (!(archive ? link_archive : link_shared)(all->path, objects, all->n + 1, &e))
    return session_fail_error(s, &e);
  summarise(all, a, cubin);
  return TCF_OK;
}

// ---- the API

static bool is_library(const char *path) {
  return str_ends(str_from(path), STR(".so")) || str_ends(str_from(path), STR(".a"));
}

static tcf_status run_guarded(tcf_session *s, tcf_status (*work)(void *), void *args,
                              library_args *functions, int n) {
  tcf_status status = s->target <= TARGET_CUDA
                          ? session_compile_guard(s, work, args)
                          : session_fail(s, TCF_WRONG_USE, "interpreters have no code to write");
  for (int i = 0; i < n; i++) {
    arena_free(&functions[i].arena);
    ptxas_free(&functions[i].assembled);
  }
  return status;
}

tcf_status tcf_functions_library(tcf_function *const *functions, size_t count,
                                 const tcf_size *sizes, size_t nsizes, const char *path,
                                 char **summary) {
  entry in;
  tcf_status status = entry_open_function(&in, functions && count ? functions[0] : NULL);
  if (status) return status;
  linking all = {.session = in.session, .n = (int)count, .path = path, .summary = summary};
  status = functions_belong_together(in.session, functions, count);
  if (!status) status = need(in.session, path, "the path");
  if (!status) status = need_sizes(in.session, sizes, nsizes);
  if (!status && !is_library(path))
    status = session_fail(in.session, TCF_WRONG_USE, "%s: a library ends in .so or .a", path);
  for (size_t i = 0; !status && i < count; i++)
    all.functions[i] = (library_args){.function = functions[i], .sizes = sizes, .nsizes = nsizes};
  if (!status) status = run_guarded(in.session, make_library, &all, all.functions, all.n);
  return entry_close(&in, status);
}

tcf_status tcf_function_library(tcf_function *f, const tcf_size *sizes, size_t nsizes,
                                const char *path, char **summary) {
  return tcf_functions_library(&f, 1, sizes, nsizes, path, summary);
}

static tcf_status make_cubin(void *args) {
  library_args *l = args;
  tcf_session *s = l->function->program->session;
  graph *g;
  struct program *p;
  code cubin;
  if (s->target != TARGET_CUDA)
    return session_fail(s, TCF_WRONG_USE, "a cubin is of an NVIDIA architecture");
  tcf_status status = lower(l, &g, &p);
  if (!status) status = assemble(l, p, true, &cubin);
  if (status) return status;
  char *copy = malloc(cubin.size);
  if (!copy) return session_fail(s, TCF_NO_MEMORY, "out of memory");
  memcpy(copy, cubin.data, cubin.size);
  *l->data = copy;
  *l->size = cubin.size;
  return TCF_OK;
}

tcf_status tcf_function_cubin(tcf_function *f, const tcf_size *sizes, size_t nsizes, char **data,
                              size_t *size) {
  entry in;
  tcf_status status = entry_open_function(&in, f);
  if (status) return status;
  library_args l = {.function = f, .sizes = sizes, .nsizes = nsizes, .data = data, .size = size};
  status = need(in.session, data, "the data");
  if (!status) status = need(in.session, size, "the size");
  if (!status) status = need_sizes(in.session, sizes, nsizes);
  if (!status) status = run_guarded(in.session, make_cubin, &l, &l, 1);
  return entry_close(&in, status);
}
