// Binding size symbols: see api/signature.h.
#include "api/signature.h"

typedef struct binder {
  const signature *sig;
  const tensor *const *args;
  int64_t *sizes;
  int *bound_by;  // by symbol: the param
  arena *arena;
  ix_pool pool;  // for partly bound sizes
} binder;

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

static bool bound(void *ctx, str name, int64_t *v) {
  const binder *b = ctx;
  int k = signature_symbol(b->sig, name);
  if (k < 0 || b->sizes[k] < 0) return false;
  *v = b->sizes[k];
  return true;
}

/// e = coef * symbol + rest with one symbol; false when it has another form.
static bool linear(const ix_pool *p, ix e, str *symbol, int64_t *coef, int64_t *rest) {
  const ix_node *n = ix_get(p, e);
  *coef = 1, *rest = 0;
  if (n->kind == IX_SYM) return *symbol = n->name, true;
  if (n->kind != IX_SUM || n->nterms > 2 || n->terms[0].natoms != 1) return false;
  if (n->nterms == 2 && n->terms[1].natoms) return false;
  const ix_node *atom = ix_get(p, n->terms[0].atoms[0]);
  if (atom->kind != IX_SYM) return false;
  *symbol = atom->name;
  *coef = n->terms[0].coef;
  if (n->nterms == 2) *rest = n->terms[1].coef;
  return true;
}

/// Solves the equation of one axis; true when a symbol became known.
static bool solve(binder *b, int param, int at) {
  const signature *s = b->sig;
  ix left = ix_bind(&b->pool, s->ix, s->params[param].dims[at], bound, b);
  str symbol;
  int64_t coef, rest, by;
  if (!linear(&b->pool, left, &symbol, &coef, &rest)) return false;
  int k = signature_symbol(s, symbol);
  if (k < 0 || __builtin_sub_overflow(b->args[param]->dims[at], rest, &by)) return false;
  if (by % coef || by / coef < 0) return false;  // reported by check_axis
  b->sizes[k] = by / coef;
  b->bound_by[k] = param;
  return true;
}

static bool check_axis(binder *b, int param, int at, str *why) {
  const sig_value *v = &b->sig->params[param];
  ix left = ix_bind(&b->pool, b->sig->ix, v->dims[at], bound, b);
  int64_t wanted;
  long long got = b->args[param]->dims[at];
  bool known = ix_is_const(&b->pool, left, &wanted);
  if (known && wanted == got) return true;
  if (!known) {
    *why = str_printf(b->arena, "axis %s of %s has size %lld, which no %s can be", v->axes[at],
                      v->name, got, v->sizes[at]);
    return false;
  }
  int k = signature_symbol(b->sig, str_from(v->sizes[at]));
  if (k >= 0 && b->bound_by[k] >= 0 && b->bound_by[k] != param)
    *why = str_printf(b->arena, "%s has %s = %lld, but %s has %s = %lld",
                      b->sig->params[b->bound_by[k]].name, b->sig->symbols[k], (long long)wanted,
                      v->name, b->sig->symbols[k], got);
  else if (k >= 0)
    *why = str_printf(b->arena, "axis %s of %s has size %lld, but %s = %lld", v->axes[at], v->name,
                      got, b->sig->symbols[k], (long long)wanted);
  else if (ix_is_const(b->sig->ix, v->dims[at], &wanted))
    *why = str_printf(b->arena, "axis %s of %s must have size %lld, but has %lld", v->axes[at],
                      v->name, (long long)wanted, got);
  else
    *why = str_printf(b->arena, "axis %s of %s must have size %s = %lld, but has %lld", v->axes[at],
                      v->name, v->sizes[at], (long long)wanted, got);
  return false;
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
  binder b = {.sig = s, .args = args, .sizes = sizes, .arena = a};
  ix_init(&b.pool, a);
  b.bound_by = arena_array(a, int, s->nsymbols);
  for (int k = 0; k < s->nsymbols; k++) b.bound_by[k] = -1;
  for (bool again = true; again;) {
    again = false;
    for (int i = 0; i < s->nparams; i++)
      for (int k = 0; k < s->params[i].rank; k++) again |= solve(&b, i, k);
  }
  for (int i = 0; i < s->nparams; i++)
    for (int k = 0; k < s->params[i].rank; k++)
      if (!check_axis(&b, i, k, why)) return false;
  for (int k = 0; k < s->nsymbols; k++) {
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
