// The graph interpreter: from the shapes of the params to the values of the size symbols.
//
// Each axis of a param is an equation size = dimension. What is linear in one unknown symbol is
// solved, again and again, until nothing is left to solve; then every equation is checked.
#include "base/fault.h"
#include "ir/graph_interp.h"

typedef struct binding {
  bool known;
  int param, axis;  // who bound it: the param and the position of the axis
} binding;

typedef struct binder {
  run *run;
  const interp_tensor *params;
  binding *bindings;  // by symbol
} binder;

static int symbol_at(const run *r, str name) {
  for (int k = 0; k < r->g->symbols.len; k++)
    if (str_eq(r->g->symbols.data[k], name)) return k;
  return -1;
}

static bool bound_value(void *ctx, str name, int64_t *v) {
  const binder *b = ctx;
  int k = symbol_at(b->run, name);
  if (k < 0 || !b->bindings[k].known) return false;
  *v = b->run->symbols[k];
  return true;
}

static str param_name(const binder *b, int param) { return b->run->g->nodes.data[param]->name; }

static str size_text(const binder *b, ix e) {
  strbuf text = sb_new(b->run->arena);
  ix_print(&b->run->g->ix, e, NULL, NULL, &text);
  return sb_str(&text);
}

static bool check_params(const binder *b) {
  run *r = b->run;
  for (int i = 0; i < r->g->nparams; i++) {
    const node *n = r->g->nodes.data[i];
    const interp_tensor *t = &b->params[i];
    if (t->type != n->type)
      return run_fail(r, n, "%.*s is %s, not %s", STR_FMT(n->name), dtype_name(t->type),
                      dtype_name(n->type));
    if (t->rank != n->naxes)
      return run_fail(r, n, "%.*s has %d axes, not %d", STR_FMT(n->name), t->rank, n->naxes);
    for (int k = 0; k < t->rank; k++)
      if (t->dims[k] < 0) return run_fail(r, n, "%.*s has a negative size", STR_FMT(n->name));
  }
  return true;
}

/// size = coef * symbol + rest with a symbol yet unknown; false when it has another form.
static bool linear_in_one(const ix_pool *p, ix size, str *symbol, int64_t *coef, int64_t *rest) {
  const ix_node *n = ix_get(p, size);
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

/// Solves one equation; true when a symbol became known.
static bool solve(binder *b, int param, int k) {
  run *r = b->run;
  const graph *g = r->g;
  ix size = graph_axis_size(g, g->nodes.data[param]->axes[k]);
  ix left = ix_bind(&r->pool, &g->ix, size, bound_value, b);
  str symbol;
  int64_t coef, rest, by;
  if (!linear_in_one(&r->pool, left, &symbol, &coef, &rest)) return false;
  int s = symbol_at(r, symbol);
  if (s < 0 || __builtin_sub_overflow(b->params[param].dims[k], rest, &by)) return false;
  if (by % coef || by / coef < 0) return false;  // reported when equations are checked
  r->symbols[s] = by / coef;
  b->bindings[s] = (binding){true, param, k};
  return true;
}

static bool mismatch(const binder *b, int param, int k, int64_t expected) {
  run *r = b->run;
  const graph *g = r->g;
  const node *n = g->nodes.data[param];
  const axis *a = &g->axes.data[n->axes[k]];
  long long got = b->params[param].dims[k];
  str name = a->name;
  const ix_node *size = ix_get(&g->ix, a->size);
  int s = size->kind == IX_SYM ? symbol_at(r, size->name) : -1;
  if (s >= 0 && b->bindings[s].param != param) {
    const binding *by = &b->bindings[s];
    return run_fail(r, n, "%.*s has %.*s = %lld, but %.*s has %.*s = %lld",
                    STR_FMT(param_name(b, by->param)), STR_FMT(size->name), (long long)expected,
                    STR_FMT(n->name), STR_FMT(size->name), got);
  }
  if (size->kind == IX_CONST)
    return run_fail(r, n, "axis %.*s of %.*s is %lld, not %lld", STR_FMT(name), STR_FMT(n->name), got,
                    (long long)expected);
  str form = size_text(b, a->size);
  return run_fail(r, n, "axis %.*s of %.*s is %lld, but its size is %.*s = %lld", STR_FMT(name),
                  STR_FMT(n->name), got, STR_FMT(form), (long long)expected);
}

static bool check_equations(binder *b) {
  run *r = b->run;
  const graph *g = r->g;
  for (int i = 0; i < g->nparams; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->naxes; k++) {
      ix form = graph_axis_size(g, n->axes[k]);
      ix left = ix_bind(&r->pool, &g->ix, form, bound_value, b);
      int64_t v, got = b->params[i].dims[k];
      if (!ix_is_const(&r->pool, left, &v)) {
        str text = size_text(b, form);
        return run_fail(r, n, "axis %.*s of %.*s is %lld, which is no value of %.*s",
                        STR_FMT(g->axes.data[n->axes[k]].name), STR_FMT(n->name), (long long)got,
                        STR_FMT(text));
      }
      if (v != got) return mismatch(b, i, k, v);
    }
  }
  return true;
}

static bool check_facts(const binder *b) {
  run *r = b->run;
  for (int k = 0; k < r->g->symbols.len; k++) {
    str name = r->g->symbols.data[k];
    if (!b->bindings[k].known)
      return run_fail(r, NULL, "the size %.*s follows from no argument", STR_FMT(name));
    const ix_fact *fact = ix_find_fact(&r->g->ix, name);
    if (!fact) continue;
    long long v = r->symbols[k];
    const node *n = r->g->nodes.data[b->bindings[k].param];
#define HOLDS(cond, text, limit)                                                             \
  if (!(cond))                                                                               \
    return run_fail(r, n, "%.*s has %.*s = %lld, but the program says %.*s " text,           \
                    STR_FMT(n->name), STR_FMT(name), v, STR_FMT(name), (long long)(limit));
    HOLDS(v >= fact->min, ">= %lld", fact->min)
    HOLDS(v <= fact->max, "<= %lld", fact->max)
    HOLDS(fact->multiple_of <= 1 || v % fact->multiple_of == 0, "%% %lld == 0", fact->multiple_of)
#undef HOLDS
  }
  return true;
}

/// With every symbol known: the sizes of all axes, and a pool in which they are constants.
static void bind_axes(binder *b) {
  run *r = b->run;
  const graph *g = r->g;
  r->axis_size = arena_array(r->arena, int64_t, g->axes.len);
  for (int k = 0; k < g->axes.len; k++) {
    ix size = ix_bind(&r->pool, &g->ix, g->axes.data[k].size, bound_value, b);
    check(ix_is_const(&r->pool, size, &r->axis_size[k]));
    ix_set_axis(&r->pool, k, size);
  }
}

bool interp_bind(run *r, const interp_tensor *params) {
  const graph *g = r->g;
  ix_init(&r->pool, r->arena);
  r->symbols = arena_array(r->arena, int64_t, g->symbols.len);
  binder b = {r, params, arena_array(r->arena, binding, g->symbols.len)};
  if (!check_params(&b)) return false;
  for (bool progress = true; progress;) {
    progress = false;
    for (int i = 0; i < g->nparams; i++)
      for (int k = 0; k < g->nodes.data[i]->naxes; k++) progress |= solve(&b, i, k);
  }
  if (!check_equations(&b) || !check_facts(&b)) return false;
  bind_axes(&b);
  return !r->pool.overflow || run_fail(r, NULL, "a size does not fit into 64 bits");
}
