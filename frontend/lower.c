// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One graph per concrete function: parameters with their axes and sizes, the body, outputs.
//
// A fact found on the way (x[D = 3] needs D >= 4) changes how expressions made before it would
// have been simplified, so the function is lowered again with the facts known from the start.
#include "frontend/lower.h"

#include "base/fault.h"
#include "frontend/program.h"
#include "ir/grad.h"

// ---- axes and sizes of the signature

typedef struct signature {
  scope *s;
  vec(const axis_decl *) decls;  // of all parameters, then of all results
  int nparam_decls;
} signature;

static void add_type(signature *g, const type_ref *t) {
  for (int i = 0; i < t->naxes; i++) {
    const axis_decl *decl = &t->axes[i];
    vec_push(g->s->l->arena, &g->decls, decl);
  }
}

static const axis_decl *sized_decl(const signature *g, str name, int n) {
  for (int i = 0; i < n; i++)
    if (g->decls.data[i]->size && str_eq(g->decls.data[i]->name, name)) return g->decls.data[i];
  return NULL;
}

static bool declared_before(const signature *g, int n, str name) {
  for (int i = 0; i < n; i++)
    if (str_eq(g->decls.data[i]->name, name)) return true;
  return false;
}

/// Every axis in the size expression has its size; an axis of no parameter is an error.
static bool names_are_sized(signature *g, const expr *e, bool *fine) {
  if (e->kind == EXPR_NAME) {
    const axis_name *a = find_axis(g->s, e->name);
    if (a) return true;
    if (declared_before(g, g->decls.len, e->name)) return false;
    scope_error(g->s, DIAG_size_not_bound, e->at,
                "no parameter has an axis %.*s, so nothing gives its size", STR_FMT(e->name));
    *fine = false;
    return false;
  }
  for (int i = 0; i < e->nargs; i++)
    if (e->args[i] && !names_are_sized(g, e->args[i], fine)) return false;
  return true;
}

static void add_symbol(scope *s, const axis_decl *decl) {
  graph *g = s->l->g;
  vec_push(g->arena, &g->symbols, decl->name);
  define_axis(s, decl->name, decl->at, ix_sym(&g->ix, decl->name));
}

/// Defines what can be defined; an axis with a size waits for the axes the size is made of.
static bool define_sized(signature *g, int limit) {
  bool fine = true, progress = true, waiting = true;
  while (progress && waiting && fine) {
    progress = waiting = false;
    for (int i = 0; i < limit && fine; i++) {
      const axis_decl *decl = g->decls.data[i];
      ix size;
      if (!decl->size || find_axis(g->s, decl->name)) continue;
      if (!names_are_sized(g, decl->size, &fine)) {
        waiting = true;
      } else if (!size_of_expr(g->s, decl->size, &size)) {
        fine = false;
      } else {
        progress = true;
        fine = define_axis(g->s, decl->name, decl->at, size) >= 0;
      }
    }
  }
  for (int i = 0; i < limit && fine && waiting; i++) {
    const axis_decl *decl = g->decls.data[i];
    if (!decl->size || find_axis(g->s, decl->name)) continue;
    scope_error(g->s, DIAG_size_not_bound, decl->at,
                "the size of %.*s depends on itself or on an axis without a size",
                STR_FMT(decl->name));
    fine = false;
  }
  return fine;
}

/// A negative or absurd size in the program text is an error there, not at the first call.
static bool sizes_are_possible(signature *g) {
  bool fine = true;
  for (int i = 0; i < g->decls.len; i++) {
    const axis_decl *decl = g->decls.data[i];
    const axis_name *a = decl->size ? find_axis(g->s, decl->name) : NULL;
    if (!a || a->axis < 0) continue;
    fine = size_is_possible(g->s, graph_axis_size(g->s->l->g, a->axis), decl->at) && fine;
  }
  return fine;
}

static bool lower_signature(scope *s) {
  signature *g = arena_new(s->l->arena, signature);
  func *f = s->f;
  int errors = s->l->errors;
  g->s = s;
  for (int i = 0; i < f->params.len; i++) add_type(g, &f->params.data[i].type);
  g->nparam_decls = g->decls.len;
  for (int i = 0; i < f->nresults; i++) add_type(g, &f->results[i]);
  for (int i = 0; i < g->nparam_decls; i++) {
    const axis_decl *decl = g->decls.data[i];
    if (!declared_before(g, i, decl->name) && !sized_decl(g, decl->name, g->nparam_decls))
      add_symbol(s, decl);
  }
  if (!define_sized(g, g->nparam_decls) || !define_sized(g, g->decls.len)) return false;
  // The same axis with two sizes.
  bool fine = true;
  for (int i = 0; i < f->params.len; i++)
    fine = size_declared_axes(s, &f->params.data[i].type, false) && fine;
  for (int i = 0; i < f->nresults; i++)
    fine = size_declared_axes(s, &f->results[i], false) && fine;
  return fine && sizes_are_possible(g) && s->l->errors == errors;
}

static void add_params(scope *s) {
  for (int i = 0; i < s->f->params.len; i++) {
    const param *p = &s->f->params.data[i];
    int axes[MAX_AXES];
    for (int k = 0; k < p->type.naxes; k++)
      axes[k] = find_axis(s, p->type.axes[k].name)->axis;
    node *n = graph_param(s->l->g, p->name, p->type.elem, axes, p->type.naxes);
    n->at = p->at;
    define_local(s, p->name, p->at, node_value(n, p->at));
  }
  s->l->stamped = s->l->g->nodes.len;
}

// ---- functions

static void add_outputs(scope *s) {
  graph *g = s->l->g;
  if (s->result.kind == VALUE_NODE && !s->f->tuple_result) {
    graph_output(g, s->result.n, graph_result_name(g, 0, false, g->arena));
    return;
  }
  value one = s->result;
  value *items = s->result.kind == VALUE_TUPLE ? s->result.items : &one;
  int n = s->result.kind == VALUE_TUPLE ? s->result.nitems : 1;
  for (int i = 0; i < n; i++) graph_output(g, items[i].n, graph_result_name(g, i, true, g->arena));
}

static bool lower_once(lowerer *l, func *f) {
  l->g = graph_new(l->arena, f->name);
  l->errors = l->calls = l->depth = l->stamped = 0;
  l->stopped = l->assumed = false;
  l->block = l->checkpoint = NULL;
  l->warnings.len = l->custom.len = 0;
  restore_facts(l);
  scope *s = arena_new(l->arena, scope);
  *s = (scope){.l = l, .f = f};
  if (lower_signature(s)) {
    add_params(s);
    for (int i = 0; i < f->facts.len; i++) lower_fact(s, f->facts.data[i]);
    lower_body(s);
  }
  if (l->g->ix.overflow && !l->errors)
    scope_error(s, DIAG_too_large, f->name_at, "a size becomes too large to compute with");
  close_error(l);
  if (l->errors || is_poison(s->result)) return false;
  for (; l->stamped < l->g->nodes.len; l->stamped++)
    l->g->nodes.data[l->stamped]->at = f->name_at;
  add_outputs(s);
  return !l->backward || add_backward(s);
}

/// Blocks that nothing reads are no kernels. Of a function that is called this is said where it is compiled
/// by itself.
static void warn_of_dead_blocks(lowerer *l) {
  graph *g = l->g;
  const bool *live = graph_live(g, l->arena);
  bool *read = arena_array(l->arena, bool, g->contracts.len + 1);
  for (int id = 0; id < g->nodes.len; id++) read[g->nodes.data[id]->contract] |= live[id];
  for (int k = 0; k < g->contracts.len; k++)
    if (!read[k + 1] && !g->contracts.data[k].ncalls && !g->contracts.data[k].gradient)
      diag_warning(l->diags, DIAG_dead_block, g->contracts.data[k].at,
                   "nothing that is returned needs this block: it has no effect, and its promise is not judged");
}

bool lower_function(lowerer *l, func *f) {
  enum { MOST_ATTEMPTS = 8 };
  l->facts = (map){0};
  for (int i = 0; i < MOST_ATTEMPTS; i++) {
    if (!lower_once(l, f)) return false;
    if (!l->assumed) break;
  }
  if (!l->backward) warn_of_dead_blocks(l);
  for (int i = 0; i < l->warnings.len; i++)
    diag_warning(l->diags, l->warnings.data[i].code, l->warnings.data[i].at, "%.*s", STR_FMT(l->warnings.data[i].text));
  forget_variables(l->g);
  graph_derive_streams(l->g);
  graph_compact(l->g, NULL);
  return true;
}

/// The sizes of the result follow from those of the parameters.
static bool extern_sizes_known(lowerer *l, func *f) {
  scope *s = arena_new(l->arena, scope);
  *s = (scope){.l = l, .f = f};
  l->g = graph_new(l->arena, f->name);
  bool known = lower_signature(s);
  for (int i = 0; known && i < f->results[0].naxes; i++) {
    const axis_decl *decl = &f->results[0].axes[i];
    if (find_axis(s, decl->name)) continue;
    scope_error(s, DIAG_extern_form, decl->at,
                "the size of the axis %.*s is not known; write it: %.*s = 64", STR_FMT(decl->name),
                STR_FMT(decl->name));
    known = false;
  }
  close_error(l);
  return known;
}

/// An extern function is a C function: concrete, one result.
static void check_extern(lowerer *l, func *f) {
  enum { MOST_PARAMS = 64 };
  if (!f->is_extern || f->bad_syntax || f->bad_signature) return;
  const char *wrong = f->generic                      ? "cannot be generic"
                      : f->nresults != 1              ? "returns one value"
                      : f->params.len > MOST_PARAMS   ? "has at most 64 parameters"
                                                      : NULL;
  if (!wrong && extern_sizes_known(l, f)) return;
  if (wrong)
    diag_error(l->diags, DIAG_extern_form, f->name_at, "an extern function %s", wrong);
  f->state = FUNC_FAILED;
}

struct frontend {
  program program;
  frontend_options options;
};

bool frontend_compile(arena *a, diag_list *diags, uint32_t file, const frontend_options *options,
                      module *out, frontend **kept) {
  frontend *f = arena_new(a, frontend);
  program *p = &f->program;
  if (options) f->options = *options;
  *p = (program){.arena = a, .diags = diags, .options = &f->options};
  int errors = diags->errors;
  *out = (module){.arena = a};
  program_load(p, file);
  lowerer l = {.arena = a, .diags = diags, .p = p};
  const unit *root = p->units.data[1];
  for (int u = 1; u < p->units.len; u++)
    for (int i = 0; i < p->units.data[u]->funcs.len; i++) {
      func *fn = p->units.data[u]->funcs.data[i];
      check_extern(&l, fn);
      if (!derivative_fits(&l, fn)) fn->state = FUNC_FAILED;
    }
  for (int i = 0; i < root->funcs.len; i++) {
    func *fn = root->funcs.data[i];
    if (fn->generic || fn->is_extern || fn->bad_signature || !fn->name.len) continue;
    if (fn->state == FUNC_FAILED) continue;
    if (lower_function(&l, fn)) {
      vec_push(a, &out->graphs, l.g);
      continue;
    }
    if (diags->errors == errors) panic("@%.*s failed without an error", STR_FMT(fn->name));
    fn->state = FUNC_FAILED;
  }
  if (kept) *kept = f;
  if (diags->errors == errors) return program_warn_unused(p), true;
  out->graphs.len = 0;
  return false;
}

graph *frontend_add_backward(frontend *f, arena *a, diag_list *diags, str function,
                             const int *params, int nparams) {
  const unit *root = f->program.units.data[1];
  backward_request request = {params, nparams};
  lowerer l = {.arena = a, .diags = diags, .p = &f->program, .backward = &request};
  for (int i = 0; i < root->funcs.len; i++) {
    func *fn = root->funcs.data[i];
    if (str_eq(fn->name, function)) return lower_function(&l, fn) ? l.g : NULL;
  }
  panic("there is no function %.*s", STR_FMT(function));
}
