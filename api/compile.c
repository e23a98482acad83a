// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Variants of a function: compiled once for sizes and strides, kept in the session, and on disk.
//
//   graph ─specialise─▶ graph ─passes─▶ fused ─lower─▶ tile IR ─codegen─▶ object ─▶ loaded
//                         │                                        ▲
//                         └──────── hash of its text ── disk cache ┘
#include <stdlib.h>

#include "api/session.h"
#include "passes/fusion/group.h"

// ---- what the session gives

static tcf_status cpu_figures(tcf_session *s, target_info *info) {
  enum { DETERMINISTIC_CORES = 8 };
  str why = STR("");
  tcf_status status = session_llvm_room(s);
  if (status) return status;
  if (!codegen_cpu_target(&s->arena, s->cpu, info, &why))
    return session_fail(s, TCF_UNAVAILABLE, "%.*s", STR_FMT(why));
  // Plans are for the threads that will run, not for all that the machine has; where results must not depend on these,
  // for as many as a desktop has: kernels that are parted otherwise sum otherwise.
  info->cores = s->flags & TCF_DETERMINISTIC ? DETERMINISTIC_CORES : s->threads;
  return TCF_OK;
}

tcf_status named_figures(tcf_session *s, target_info *info) {
  str why = STR("");
  const target_info *t = codegen_cuda_target(&s->arena, s->cpu, &why);
  if (!t) return session_fail(s, TCF_UNAVAILABLE, "%.*s", STR_FMT(why));
  *info = *t;
  return TCF_OK;
}

tcf_status session_target(tcf_session *s, const target_info **out) {
  if (!s->figures) {
    str error;
    if (!schedule_check(s->schedule, &error))
      return session_fail(s, TCF_WRONG_USE, "%.*s", STR_FMT(error));
    target_info *info = arena_new(&s->arena, target_info);
    bool named = s->target == TARGET_INTERP_TILE && s->cpu.len;
    tcf_status status = s->target == TARGET_CUDA ? device_figures(s, info)
                        : named                  ? named_figures(s, info)
                                                 : cpu_figures(s, info);
    if (status) return status;
    if (!(s->flags & TCF_TF32)) info->tf32_flops_per_second = 0;
    s->figures = info;
  }
  *out = s->figures;
  return TCF_OK;
}

pass_options session_pass_options(tcf_session *s, str schedule) {
  return (pass_options){
#define PASS_OPTION(flag, name) .name = s->flags & TCF_##flag,
#include "ir/options.def"
      .target = s->figures, .schedule = schedule,
      .budget = s->budget, .recompute_slack = s->recompute_slack};
}

static codegen_options code_options(const tcf_session *s, codegen_options wanted) {
  wanted.cpu = s->cpu;
  wanted.fast_math = s->flags & TCF_FAST_MATH;
  wanted.deterministic = s->flags & TCF_DETERMINISTIC;
  return wanted;
}

/// An object that this process loads.
static codegen_options options_here(tcf_session *s) {
  bool named = s->target == TARGET_CPU && s->cpu.len;
  return (codegen_options){.kind = CODE_OBJECT,
                           .features = named ? codegen_cpu_lacks_here(&s->arena) : STR("")};
}

tcf_status session_codegen(tcf_session *s, arena *a, const struct program *p,
                           codegen_options wanted, code *out) {
  codegen_options options = code_options(s, wanted);
  struct program named = *p;
  str why = STR("");
  tcf_status status = session_llvm_room(s);
  if (status) return status;
  named.name = wanted.symbol.len ? wanted.symbol : c_symbol(a, p->name);
  bool ok = s->target == TARGET_CUDA ? codegen_cuda(a, &named, &options, out, &why)
                                     : codegen_cpu(a, &named, &options, out, &why);
  return ok ? TCF_OK : session_fail(s, TCF_UNAVAILABLE, "%.*s", STR_FMT(why));
}

str session_code_facts(const tcf_session *s, arena *a) {
  strbuf out = sb_new(a);
  sb_puts(&out, "target ");
  target_print(s->figures, &out);
  sb_puts(&out, " options");
#define PASS_OPTION(flag, name) sb_printf(&out, " " #name "=%d", (s->flags & TCF_##flag) != 0);
#define TARGET_OPTION(flag, name) PASS_OPTION(flag, name)
#include "ir/options.def"
  sb_printf(&out, " schedule %.*s budget %.*s slack %.17g", STR_FMT(s->schedule),
            STR_FMT(s->budget_text), s->recompute_slack);
  return sb_str(&out);
}

str session_identity(tcf_session *s) {
  if (s->identity.len || !s->cache_wanted) return s->identity;
  str build = build_identity(&s->arena);
  if (!build.len) return build;
  codegen_options options = code_options(s, options_here(s));
  bool cuda = s->target == TARGET_CUDA;
  str code = (cuda ? codegen_cuda_identity : codegen_cpu_identity)(&s->arena, &options);
  str facts = session_code_facts(s, &s->arena);
  s->identity = str_printf(&s->arena, "%s %.*s %.*s %.*s", tcf_version(), STR_FMT(build),
                           STR_FMT(code), STR_FMT(facts));
  return s->identity;
}

cache *session_cache(tcf_session *s) {
  if (!s->cache && s->cache_wanted)
    s->cache = cache_open(s->cache_default_dir ? NULL : s->cache_dir.ptr, s->cache_bytes);
  return s->cache;
}

/// A directory that was asked for must serve; without a usable default one there is no cache.
static tcf_status check_cache(tcf_session *s) {
  error e;
  if (s->cache_default_dir || !s->cache_wanted || s->cache) return TCF_OK;
  if (!session_cache(s)) return session_fail(s, TCF_NO_MEMORY, "out of memory");
  if (cache_usable(s->cache, &e)) return TCF_OK;
  cache_close(s->cache);
  s->cache = NULL;  // the next call asks again
  return session_fail_error(s, &e);
}

// ---- specialising

#define MAX_FUNCTION_ELEMENTS ((int64_t)1 << 56)

typedef struct known_sizes {
  const tcf_function *function;
  const int64_t *sizes;
} known_sizes;

static bool known_size(void *ctx, str name, int64_t *v) {
  const known_sizes *k = ctx;
  int i = signature_symbol(&k->function->sig, name);
  if (i < 0 || k->function->symbolic[i] || k->sizes[i] < 0) return false;
  *v = k->sizes[i];
  return true;
}

static bool given_size(void *ctx, str name, int64_t *v) {
  const known_sizes *k = ctx;
  int i = signature_symbol(&k->function->sig, name);
  return i >= 0 && (*v = k->sizes[i]) >= 0;
}

/// The check of the sizes that a call would give a function.
typedef struct fitting {
  known_sizes known;
  const ix_pool *from;
  ix_pool pool;  // sizes under `known`
  arena *arena;
  int64_t elements;  // of the values so far
  str why;
} fitting;

/// No size is negative (a window may not fit) or beyond 64 bits. One that is not known counts as 1.
static bool size_fits(fitting *t, str axis, ix size, int64_t *out) {
  ix bound = ix_bind(&t->pool, t->from, size, given_size, &t->known);
  if (t->pool.overflow) {
    t->why = str_printf(t->arena, "the size of the axis %.*s would not fit 64 bits", STR_FMT(axis));
    return false;
  }
  if (!ix_is_const(&t->pool, bound, out)) *out = 1;
  if (*out >= 0) return true;
  strbuf form = sb_new(t->arena);
  ix_print(t->from, size, NULL, NULL, &form);
  t->why = str_printf(t->arena, "the axis %.*s would have the size %s = %lld", STR_FMT(axis),
                      form.data, (long long)*out);
  return false;
}

/// All values of the function together have so few elements that no position or size in memory
/// that is computed from them overflows, whichever of them are stored. Empty axes count as 1:
/// strides are computed from all of them.
static bool value_fits(fitting *t, const int64_t *dims, int rank) {
  int64_t elements = 1;
  bool fits = true;
  for (int k = 0; k < rank; k++)
    if (dims[k]) fits = fits && !__builtin_mul_overflow(elements, dims[k], &elements);
  fits = fits && !__builtin_add_overflow(t->elements, elements, &t->elements);
  if (fits && t->elements <= MAX_FUNCTION_ELEMENTS) return true;
  t->why = str_printf(t->arena, "at these sizes its values have more than %lld elements together",
                      (long long)MAX_FUNCTION_ELEMENTS);
  return false;
}

static bool graph_fits(fitting *t, const graph *g) {
  int64_t *sizes = arena_array(t->arena, int64_t, g->axes.len);
  for (int i = 0; i < g->axes.len; i++)
    if (!size_fits(t, g->axes.data[i].name, g->axes.data[i].size, &sizes[i])) return false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    int64_t dims[MAX_AXES];
    for (int k = 0; k < n->naxes; k++) dims[k] = sizes[n->axes[k]];
    if (!value_fits(t, dims, n->naxes)) return false;
  }
  return true;
}

static bool buffers_fit(fitting *t, const struct program *p) {
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    int64_t dims[MAX_AXES];
    for (int k = 0; k < b->rank; k++)
      if (!size_fits(t, b->axis_names[k], b->dims[k], &dims[k])) return false;
    if (!value_fits(t, dims, b->rank)) return false;
  }
  return true;
}

tcf_status function_check_sizes(const tcf_function *f, const int64_t *sizes) {
  scratch work;
  scratch_open(&work);
  fitting t = {.known = {f, sizes}, .from = f->sig.ix, .arena = &work.arena, .why = STR("")};
  ix_init(&t.pool, &work.arena);
  bool fits = signature_keeps_facts(&f->sig, sizes, &work.arena, &t.why) &&
              (f->graph ? graph_fits(&t, f->graph) : buffers_fit(&t, f->tile));
  tcf_status status = TCF_OK;
  if (!fits)
    status = session_fail(f->program->session, TCF_WRONG_USE, "%s: %.*s", f->name, STR_FMT(t.why));
  scratch_close(&work);
  return status;
}

graph *function_specialise_other(const tcf_function *f, arena *a, const graph *g,
                                 const int64_t *sizes) {
  known_sizes known = {f, sizes};
  return graph_specialise(a, g, known_size, &known);
}

graph *function_specialise(const tcf_function *f, arena *a, const int64_t *sizes) {
  return function_specialise_other(f, a, f->graph, sizes);
}

tcf_status function_specialise_for(tcf_function *f, const tensor *const *args, size_t nargs,
                                   arena *a, graph **out) {
  tcf_session *s = f->program->session;
  if (!f->graph)
    return session_fail(s, TCF_WRONG_USE, "%s is tile IR: its graph is unknown", f->name);
  if (nargs != (size_t)f->sig.nparams)
    return session_fail(s, TCF_WRONG_USE, "%s takes %d arguments, not %zu", f->name, f->sig.nparams,
                        nargs);
  tcf_status given = nargs ? need(s, args, "the list of arguments") : TCF_OK;
  for (int i = 0; !given && i < f->sig.nparams; i++)
    given = call_check_value(f, "argument", &f->sig.params[i], args[i]);
  if (given) return given;
  int64_t *sizes = arena_array(a, int64_t, f->sig.nsymbols);
  str why = STR("");
  if (!signature_bind(&f->sig, args, sizes, a, &why))
    return session_fail(s, TCF_WRONG_USE, "%.*s", STR_FMT(why));
  tcf_status status = function_check_sizes(f, sizes);
  if (status) return status;
  *out = function_specialise(f, a, sizes);
  return TCF_OK;
}

/// Params that are not row-major carry the strides of their arguments.
static void set_strides(graph *g, const tensor *const *args) {
  for (int i = 0; args && i < g->nparams; i++) {
    const tensor *t = args[i];
    if (tensor_is_contiguous(t)) continue;
    node *n = g->nodes.data[i];
    n->strides = arena_array(g->arena, int64_t, t->rank);
    for (int k = 0; k < t->rank; k++) n->strides[k] = t->strides[k] / dtype_bytes(t->type);
  }
}

graph *variant_graph(const tcf_function *f, arena *a, const tensor *const *args,
                     const int64_t *sizes) {
  graph *g = function_specialise(f, a, sizes);
  set_strides(g, args);
  return g;
}

/// Which variant: the sizes it is compiled for and the strides that are not row-major.
static str variant_key(const tcf_function *f, arena *a, const tensor *const *args,
                       const int64_t *sizes) {
  strbuf key = sb_new(a);
  for (int k = 0; k < f->sig.nsymbols; k++)
    sb_printf(&key, f->symbolic[k] ? "?," : "%lld,", (long long)sizes[k]);
  for (int i = 0; i < f->sig.nparams; i++) {
    if (tensor_is_contiguous(args[i])) continue;
    sb_printf(&key, " %d:", i);
    for (int k = 0; k < args[i]->rank; k++)
      sb_printf(&key, "%lld,", (long long)args[i]->strides[k]);
  }
  return sb_str(&key);
}

// ---- building

tcf_status session_kernels_fit(tcf_session *s, const graph *g, arena *a) {
  str why;
  bool unordered = false;
  for (int k = 0; k < g->contracts.len; k++) unordered |= g->contracts.data[k].unordered;
  if (g->fused && unordered && s->flags & TCF_DETERMINISTIC)
    return session_fail(
        s, TCF_WRONG_USE,
        "@%.*s has sums that are added up in no order: results are not deterministic",
        STR_FMT(g->name));
  if (!g->fused || !graph_illegal_group(g, s->figures, a, &why)) return TCF_OK;
  return session_fail(s, TCF_WRONG_USE,
                      "@%.*s was fused for another target or other sizes: %.*s", STR_FMT(g->name),
                      STR_FMT(why));
}

/// Graphs that were planned or fused before they came here are taken as they are.
static tcf_status within_budget(tcf_session *s, const graph *g, const struct program *p,
                                const pass_options *options) {
  int64_t bytes = program_temporaries(p).bytes;
  if (options->budget.kind != BUDGET_BYTES || bytes <= options->budget.bytes) return TCF_OK;
  return session_fail(s, TCF_WRONG_USE,
                      "@%.*s takes %lld bytes for intermediate results, more than the budget of %lld",
                      STR_FMT(g->name), (long long)bytes, (long long)options->budget.bytes);
}

tcf_status session_tiles(tcf_session *s, arena *a, const graph *g, const pass_options *options,
                         struct program **out) {
  pass_options with = *options;
  schedule_choices made = {0};
  if (!with.choices) with.choices = &made;
  *out = lower_to_tiles(a, g, &with);
  str report, why;
  if (!program_verify(*out, a, &report))
    panic("the tile IR of @%.*s breaks rules:\n%.*s", STR_FMT(g->name), STR_FMT(report));
  tcf_status status = within_budget(s, g, *out, options);
  if (status) return status;
  // The schedule of the options comes before what the graph says.
  if (options->schedule.len || schedule_is_kept(a, g, with.choices, &why)) return TCF_OK;
  return session_fail(s, TCF_WRONG_USE, "@%.*s: %.*s", STR_FMT(g->name), STR_FMT(why));
}

tcf_status session_run_passes(tcf_session *s, pass_ctx *ctx, const pass_info *const *list, int n,
                              pass_observer *observe, void *observer_ctx) {
  int from = ctx->diags->items.len;
  if (passes_run(ctx, list, n, observe, observer_ctx)) return TCF_OK;
  diag_drop_repeated(ctx->diags, from);
  return session_diagnose(s, ctx->diags, from);
}

tcf_status session_lower(tcf_session *s, diag_list *diags, arena *a, const graph *g, str schedule,
                         struct program **out) {
  scratch work;
  scratch_open(&work);
  pass_options options = session_pass_options(s, schedule);
  pass_ctx ctx = {graph_copy(a, g), &work.arena, &options, diags};
  tcf_status status = session_run_passes(s, &ctx, NULL, 0, NULL, NULL);
  scratch_close(&work);
  return status ? status : session_tiles(s, a, ctx.graph, &options, out);
}

static tcf_status load_object(tcf_session *s, variant *v, const void *object, size_t size) {
  str why = STR("");
  arena *a = &v->arena;
  const char *name = v->function->name, *symbol = c_symbol(a, str_from(name)).ptr;
  tcf_status status = session_llvm_room(s);
  if (status) return status;
  if (!s->jit) s->jit = jit_new(&why, &s->arena);
  if (s->jit) v->object = jit_load(s->jit, object, size, a, &why);
  if (v->object) {
    v->entry = (void (*)(void))jit_symbol(s->jit, v->object, symbol, a, &why);
    v->arena_size = (int64_t(*)(const int64_t *))jit_symbol(
        s->jit, v->object, str_printf(a, "%s_arena_size", symbol).ptr, a, &why);
    v->scratch_size = (int64_t(*)(const int64_t *))jit_symbol(
        s->jit, v->object, str_printf(a, "%s_scratch_size", symbol).ptr, a, &why);
  }
  if (!v->entry || !v->arena_size || !v->scratch_size)
    return session_fail(s, TCF_INTERNAL, "the compiled code of %s cannot be loaded: %.*s", name,
                        STR_FMT(why));
  error e;
  const signature *sig = &v->function->sig;
  if (!call_prepare(&v->shape, sig->nparams + sig->nresults, v->symbols.len, true, &e))
    return session_fail_error(s, &e);
  return s->target == TARGET_CUDA ? device_load(s, v) : TCF_OK;
}

/// *block: of the cache, to be freed when no fault can come any more.
static bool load_cached(tcf_session *s, variant *v, const cache_key *key, char **block) {
  cache_entry entry;
  if (!cache_load(session_cache(s), key, &entry)) return false;
  *block = entry.block;
  bool ok = entry.text_size < INT32_MAX &&
            saved_parse(v, (str){entry.text, (int)entry.text_size}) &&
            !load_object(s, v, entry.object, entry.object_size);
  if (!ok) {
    v->sites.len = v->hosts.len = v->steps.len = 0;
    device_unload(s, v);
    call_release(&v->shape);
    if (v->object) jit_unload(s->jit, v->object);
    v->object = NULL;
  }
  return ok;
}

static tcf_status compile(tcf_session *s, variant *v, arena *a, const cache_key *key) {
  const target_info *info;
  tcf_status status = session_target(s, &info);  // for the interpreter of tiles
  if (status) return status;
  struct program *p = v->function->tile;
  if (!p) status = session_kernels_fit(s, v->specialised, a);
  if (!p && !status)
    status = session_lower(s, &v->function->program->diags, a, v->specialised, v->schedule, &p);
  if (status) return status;
  variant_describe(v, p);
  if (s->target == TARGET_INTERP_TILE) return v->tiles = p, TCF_OK;
  code object;
  status = session_codegen(s, a, p, options_here(s), &object);
  if (status) return status;
  if (key) {
    strbuf text = sb_new(a);
    saved_print(v, &text);
    cache_store(session_cache(s), key, text.data, (size_t)text.len, object.data, object.size);
  }
  return load_object(s, v, object.data, object.size);
}

/// An instruction that the machine does not have would end the process.
static tcf_status check_machine(tcf_session *s) {
  str lacks;
  if (s->target != TARGET_CPU || !s->cpu.len || codegen_cpu_runs_here(&s->arena, s->cpu, &lacks))
    return TCF_OK;
  return session_fail(s, TCF_UNAVAILABLE, "this machine cannot run code for cpu:%.*s: it lacks %.*s",
                      STR_FMT(s->cpu), STR_FMT(lacks));
}

typedef struct build_args {
  tcf_session *session;
  variant *variant;
  const tensor *const *args;
  const int64_t *sizes;
  const str *schedule;  // null: what is known of the graph
  bool keep;            // the object, on disk
  arena work;           // of the compilation, freed after it
  char *block;          // of the cache, likewise
} build_args;

/// Host functions of the graph interpreter: the graph says which it calls.
static void describe_calls(variant *v) {
  const graph *g = v->specialised;
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == OP_call)
      vec_push(&v->arena, &v->hosts, ((host_step){.step = -1, .name = g->nodes.data[i]->name}));
}

static tcf_status build(void *args_) {
  build_args *args = args_;
  tcf_session *s = args->session;
  variant *v = args->variant;
  const tcf_function *f = v->function;
  arena *kept = s->target == TARGET_INTERP_TILE ? &v->arena : &args->work;
  if (f->graph) {
    bool code = s->target < TARGET_INTERP;
    v->specialised = variant_graph(f, &v->arena, code ? args->args : NULL, args->sizes);
    if (!code) {
      v->schedule = s->schedule;
      if (s->target == TARGET_INTERP) return describe_calls(v), TCF_OK;
      return compile(s, v, kept, NULL);
    }
    for (int k = 0; k < v->specialised->symbols.len; k++)
      vec_push(&v->arena, &v->symbols, v->specialised->symbols.data[k]);
  } else {
    v->symbols.len = 0;
    for (int k = 0; k < f->tile->symbols.len; k++)
      vec_push(&v->arena, &v->symbols, f->tile->symbols.data[k]);
    if (s->target >= TARGET_INTERP) return v->tiles = f->tile, variant_describe(v, f->tile), TCF_OK;
  }
  const target_info *info;
  tcf_status status = session_target(s, &info);
  if (!status) status = check_machine(s);
  if (!status) status = check_cache(s);
  if (status) return status;
  if (f->graph)
    v->schedule =
        args->schedule ? str_dup(&v->arena, *args->schedule) : tuned_schedule(s, v->specialised);
  str who = f->graph && args->keep ? session_identity(s) : STR("");
  if (!who.len) return compile(s, v, kept, NULL);
  strbuf text = sb_new(&args->work);
  graph_print(v->specialised, &text);
  sb_printf(&text, "schedule %.*s", STR_FMT(v->schedule));
  cache_key key = cache_key_of(who.ptr, (size_t)who.len, text.data, (size_t)text.len);
  return load_cached(s, v, &key, &args->block) ? TCF_OK : compile(s, v, kept, &key);
}

void variant_free(tcf_session *s, variant *v) {
  device_unload(s, v);
  if (v->object) jit_unload(s->jit, v->object);
  call_release(&v->shape);
  arena_free(&v->arena);
  free(v);
}

static tcf_status make_variant(tcf_function *f, const tensor *const *args, const int64_t *sizes,
                               const str *schedule, bool keep, variant **out) {
  tcf_session *s = f->program->session;
  variant *v = calloc(1, sizeof *v);
  if (!v) return session_fail(s, TCF_NO_MEMORY, "out of memory");
  v->function = f;
  build_args b = {s, v, args, sizes, schedule, keep, {0}, NULL};
  tcf_status status = session_compile_guard(s, build, &b);
  arena_free(&b.work);
  free(b.block);
  if (status) variant_free(s, v);
  else *out = v;
  return status;
}

tcf_status variant_new(tcf_function *f, const tensor *const *args, const int64_t *sizes,
                       str schedule, variant **out) {
  return make_variant(f, args, sizes, &schedule, false, out);
}

bool variant_is_made(const tcf_function *f, const tensor *const *args, const int64_t *sizes) {
  scratch work;
  scratch_open(&work);
  bool made = map_get(&f->variants, variant_key(f, &work.arena, args, sizes));
  scratch_close(&work);
  return made;
}

static tcf_status add_variant(tcf_function *f, const tensor *const *args, const int64_t *sizes,
                              str key, variant **out) {
  variant *v;
  tcf_status status = make_variant(f, args, sizes, NULL, true, &v);
  if (status) return status;
  arena *kept = &f->program->arena;
  fault_frame frame;
  if (fault_try(&frame)) map_put(kept, &f->variants, str_dup(kept, key), v);
  fault_pop(&frame);
  if (frame.kind) {
    variant_free(f->program->session, v);
    fault_raise(frame.kind, "%s", frame.text);
  }
  *out = v;
  return TCF_OK;
}

tcf_status variant_for(tcf_function *f, const tensor *const *args, const int64_t *sizes,
                       variant **out) {
  scratch work;  // calls that find the variant leave nothing behind
  scratch_open(&work);
  str key = variant_key(f, &work.arena, args, sizes);
  *out = map_get(&f->variants, key);
  tcf_status status = *out ? TCF_OK : add_variant(f, args, sizes, key, out);
  scratch_close(&work);
  return status;
}
