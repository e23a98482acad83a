// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The graph interpreter: from the shapes of the params to the values of the size symbols and axes.
#include "base/fault.h"
#include "ir/graph_interp.h"
#include "ir/sizes.h"

typedef struct binder {
  run *run;
  const interp_tensor *params;
  size_system sizes;
} binder;

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

static void solve(binder *b) {
  const graph *g = b->run->g;
  for (int i = 0; i < g->nparams; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->naxes; k++)
      size_system_add(&b->sizes, graph_axis_size(g, n->axes[k]), b->params[i].dims[k], i);
  }
  size_system_solve(&b->sizes);
}

static bool mismatch(const binder *b, int param, int k, int64_t expected) {
  run *r = b->run;
  const graph *g = r->g;
  const node *n = g->nodes.data[param];
  const axis *a = &g->axes.data[n->axes[k]];
  long long got = b->params[param].dims[k];
  str name = a->name;
  const ix_node *size = ix_get(&g->ix, a->size);
  const size_symbol *by = size->kind == IX_SYM ? size_system_find(&b->sizes, size->name) : NULL;
  if (by && by->param != param) {
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
      ix left = size_system_bind(&b->sizes, form);
      int64_t v, got = b->params[i].dims[k];
      if (!ix_is_const(&b->sizes.pool, left, &v)) {
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
  for (int k = 0; k < b->sizes.nsymbols; k++) {
    const size_symbol *symbol = &b->sizes.symbols[k];
    str name = symbol->name;
    if (symbol->value < 0)
      return run_fail(r, NULL, "the size %.*s follows from no argument", STR_FMT(name));
    const ix_fact *fact = ix_find_fact(&r->g->ix, name);
    if (!fact) continue;
    long long v = symbol->value;
    const node *n = r->g->nodes.data[symbol->param];
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
static void bind_axes(run *r) {
  const graph *g = r->g;
  r->axis_size = arena_array(r->arena, int64_t, g->axes.len);
  for (int k = 0; k < g->axes.len; k++) {
    ix size = ix_bind(&r->pool, &g->ix, g->axes.data[k].size, run_symbol, r);
    check(ix_is_const(&r->pool, size, &r->axis_size[k]));
    ix_set_axis(&r->pool, k, size);
  }
}

bool interp_bind(run *r, const interp_tensor *params) {
  const graph *g = r->g;
  ix_init(&r->pool, r->arena);
  binder b = {r, params, size_system_new(r->arena, &g->ix, g->symbols.data, g->symbols.len)};
  if (!check_params(&b)) return false;
  solve(&b);
  if (!check_equations(&b) || !check_facts(&b)) return false;
  r->symbols = arena_array(r->arena, int64_t, g->symbols.len);
  for (int k = 0; k < g->symbols.len; k++) r->symbols[k] = b.sizes.symbols[k].value;
  bind_axes(r);
  return !r->pool.overflow || run_fail(r, NULL, "a size does not fit into 64 bits");
}
