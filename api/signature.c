// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Binding size symbols: see api/signature.h.
#include "api/signature.h"

#include "ir/sizes.h"

int signature_symbol(const signature *s, str name) {
  for (int k = 0; k < s->nsymbols; k++)
    if (str_eqz(name, s->symbols[k])) return k;
  return -1;
}

static sig_value value_of(arena *a, ix_pool *pool, str name, dtype type, int rank, const ix *dims,
                          const str *axes) {
  sig_value v = {.name = str_z(a, name), .type = type, .rank = rank};
  for (int k = 0; k < rank; k++) {
    strbuf size = sb_new(a);
    ix_print(pool, dims[k], NULL, NULL, &size);
    v.dims[k] = dims[k];
    v.axes[k] = str_z(a, axes[k]);
    v.sizes[k] = size.data;
  }
  return v;
}

static sig_value value_of_node(arena *a, graph *g, const node *n, str name) {
  ix dims[MAX_AXES];
  str axes[MAX_AXES];
  for (int k = 0; k < n->naxes; k++) {
    dims[k] = graph_axis_size(g, n->axes[k]);
    axes[k] = g->axes.data[n->axes[k]].name;
  }
  return value_of(a, &g->ix, name, n->type, n->naxes, dims, axes);
}

static void set_symbols(arena *a, signature *s, const str *names, int n) {
  s->nsymbols = n;
  s->symbols = arena_array(a, char *, n);
  for (int k = 0; k < n; k++) s->symbols[k] = str_z(a, names[k]);
}

signature signature_of_graph(arena *a, graph *g) {
  signature s = {.ix = &g->ix, .nparams = g->nparams, .nresults = g->outputs.len};
  set_symbols(a, &s, g->symbols.data, g->symbols.len);
  s.params = arena_array(a, sig_value, s.nparams);
  s.results = arena_array(a, sig_value, s.nresults);
  for (int i = 0; i < s.nparams; i++)
    s.params[i] = value_of_node(a, g, g->nodes.data[i], g->nodes.data[i]->name);
  for (int i = 0; i < s.nresults; i++)
    s.results[i] = value_of_node(a, g, g->outputs.data[i].value, g->outputs.data[i].name);
  return s;
}

signature signature_of_program(arena *a, struct program *p) {
  signature s = {.ix = &p->ix, .nparams = p->nparams, .nresults = p->noutputs};
  set_symbols(a, &s, p->symbols.data, p->symbols.len);
  s.params = arena_array(a, sig_value, s.nparams);
  s.results = arena_array(a, sig_value, s.nresults);
  for (int i = 0; i < s.nparams + s.nresults; i++) {
    const buffer *b = &p->buffers.data[i];
    sig_value v = value_of(a, &p->ix, b->name, b->type, b->rank, b->dims, b->axis_names);
    if (b->kind == BUFFER_PARAM)
      s.params[b->number] = v;
    else
      s.results[b->number] = v;
  }
  return s;
}

/// Axis `at` of a param has the size that the symbols give it.
static bool check_axis(const signature *s, size_system *sizes, const size_equation *e, int at,
                       arena *a, str *why) {
  const sig_value *v = &s->params[e->param];
  int64_t wanted;
  long long got = e->value;
  bool known = ix_is_const(&sizes->pool, size_system_bind(sizes, e->size), &wanted);
  if (known && wanted == got) return true;
  const size_symbol *symbol = size_system_find(sizes, str_from(v->sizes[at]));
  if (!known)
    *why = str_printf(a, "axis %s of %s has size %lld, which no %s can be", v->axes[at], v->name,
                      got, v->sizes[at]);
  else if (symbol && symbol->param >= 0 && symbol->param != e->param)
    *why = str_printf(a, "%s has %s = %lld, but %s has %s = %lld", s->params[symbol->param].name,
                      v->sizes[at], (long long)wanted, v->name, v->sizes[at], got);
  else if (symbol)
    *why = str_printf(a, "axis %s of %s has size %lld, but %s = %lld", v->axes[at], v->name, got,
                      v->sizes[at], (long long)wanted);
  else if (ix_is_const(s->ix, e->size, &wanted))
    *why = str_printf(a, "axis %s of %s must have size %lld, but has %lld", v->axes[at], v->name,
                      (long long)wanted, got);
  else
    *why = str_printf(a, "axis %s of %s must have size %s = %lld, but has %lld", v->axes[at],
                      v->name, v->sizes[at], (long long)wanted, got);
  return false;
}

static bool check_axes(const signature *s, size_system *sizes, arena *a, str *why) {
  const size_equation *e = sizes->equations.data;
  for (int i = 0; i < s->nparams; i++)
    for (int k = 0; k < s->params[i].rank; k++, e++)
      if (!check_axis(s, sizes, e, k, a, why)) return false;
  return true;
}

bool signature_keeps_facts(const signature *s, const int64_t *sizes, arena *a, str *why) {
  for (int k = 0; k < s->nsymbols; k++) {
    const ix_fact *fact = map_get(&s->ix->facts, str_from(s->symbols[k]));
    long long v = sizes[k];
    if (!fact || v < 0) continue;
    const char *name = s->symbols[k];
    if (v < fact->min || v > fact->max)
      *why = str_printf(
          a, "%s = %lld, but the function demands %s %s %lld", name, v, name,
          v < fact->min ? ">=" : "<=", (long long)(v < fact->min ? fact->min : fact->max));
    else if (fact->multiple_of > 1 && v % fact->multiple_of)
      *why = str_printf(a, "%s = %lld, but the function demands a multiple of %lld", name, v,
                        (long long)fact->multiple_of);
    else
      continue;
    return false;
  }
  return true;
}

bool signature_bind(const signature *s, const tensor *const *args, int64_t *sizes, arena *a,
                    str *why) {
  str *names = arena_array(a, str, s->nsymbols);
  for (int k = 0; k < s->nsymbols; k++) names[k] = str_from(s->symbols[k]);
  size_system system = size_system_new(a, s->ix, names, s->nsymbols);
  for (int i = 0; i < s->nparams; i++)
    for (int k = 0; k < s->params[i].rank; k++)
      size_system_add(&system, s->params[i].dims[k], args[i]->dims[k], i);
  size_system_solve(&system);
  if (!check_axes(s, &system, a, why)) return false;
  for (int k = 0; k < s->nsymbols; k++) {
    sizes[k] = system.symbols[k].value;
    if (sizes[k] >= 0) continue;
    *why = str_printf(a, "no argument determines the size %s", s->symbols[k]);
    return false;
  }
  return signature_keeps_facts(s, sizes, a, why);
}

typedef struct evaluation {
  const signature *sig;
  const int64_t *sizes;
  str missing;
} evaluation;

static int64_t size_of_symbol(void *ctx, str name) {
  evaluation *e = ctx;
  int k = signature_symbol(e->sig, name);
  if (k >= 0 && e->sizes[k] >= 0) return e->sizes[k];
  e->missing = name;
  return 1;
}

bool signature_dims(const signature *s, const sig_value *v, const int64_t *sizes, int64_t *dims,
                    str *missing) {
  evaluation e = {.sig = s, .sizes = sizes};
  for (int k = 0; k < v->rank; k++) dims[k] = ix_eval(s->ix, v->dims[k], size_of_symbol, NULL, &e);
  *missing = e.missing;
  return !e.missing.ptr;
}

static void put_fact(strbuf *out, const char **before, const char *symbol, const char *relation,
                     int64_t bound) {
  sb_printf(out, "%s%s %s %lld", *before, symbol, relation, (long long)bound);
  *before = ", ";
}

bool signature_put_facts(const signature *s, const int64_t *known, const char *before, strbuf *out) {
  const char *first = before;
  for (int k = 0; k < s->nsymbols; k++) {
    const char *symbol = s->symbols[k];
    const ix_fact *fact = ix_find_fact(s->ix, str_from(symbol));
    if ((known && known[k] >= 0) || !fact) continue;
    if (fact->multiple_of > 1) {
      const char *relation = str_printf(out->arena, "%% %lld ==", (long long)fact->multiple_of).ptr;
      put_fact(out, &before, symbol, relation, 0);
    }
    if (fact->min > 0) put_fact(out, &before, symbol, ">=", fact->min);
    if (fact->max < INT64_MAX) put_fact(out, &before, symbol, "<=", fact->max);
  }
  return before != first;
}
