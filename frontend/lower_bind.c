// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Binding a call: axes and values of the arguments to the parameters of an inlined function.
//
// Axes of an argument are matched with those of the parameter's type: axes the function has bound
// must be there; the others go by name when the argument has all of them, else by position, those
// before `..` from the left and those after it from the right; what is left is `..`. An axis that
// has another name in the function already gets a stand-in of its size, which is that axis again in
// the result: the names in a function are its own.
#include "frontend/lower.h"

// ---- binding an argument

typedef struct match {
  scope *s;            // of the callee
  const param *p;
  node *n;
  span at;
  bool taken[MAX_AXES];
} match;

static str callers_type(const match *m) { return node_text(m->s->caller, m->n); }

static void axes_error(match *m, const char *what, str axis) {
  diag *d = scope_error(m->s->caller, DIAG_axes_mismatch, m->at,
                        "`%.*s` of `%.*s` %s%.*s; this is %.*s", STR_FMT(m->p->name),
                        STR_FMT(m->s->f->name), what, STR_FMT(axis), STR_FMT(callers_type(m)));
  scope_note(m->s->caller, d, m->p->type.at, "declared here");
}

static int place_of(const match *m, int axis) {
  for (int k = 0; k < m->n->naxes; k++)
    if (m->n->axes[k] == axis && !m->taken[k]) return k;
  return -1;
}

static axis_name *bound_axis(const match *m, str name) {
  axis_name *a = find_axis(m->s, name);
  return a && a->axis >= 0 ? a : NULL;
}

/// Axes that are bound already: given as `axis`, or by an argument before.
static bool take_bound(match *m) {
  for (int i = 0; i < m->p->type.naxes; i++) {
    const axis_decl *decl = &m->p->type.axes[i];
    const axis_set *pack = decl->rest ? NULL : map_get(&m->s->packs, decl->name);
    const axis_name *a = decl->rest ? NULL : bound_axis(m, decl->name);
    int single = a ? a->axis : -1;
    const int *axes = pack ? pack->axes : &single;
    for (int k = 0; k < (pack ? pack->n : a ? 1 : 0); k++) {
      int place = place_of(m, axes[k]);
      if (place < 0) {
        axes_error(m, "needs the axis ", axis_text(m->s->caller, axes[k]));
        return false;
      }
      m->taken[place] = true;
    }
  }
  return true;
}

static bool is_open(const match *m, const axis_decl *decl) {
  return !decl->rest && !map_get(&m->s->packs, decl->name) && !bound_axis(m, decl->name);
}

/// m->n with the axis at that place under a new axis of the same size, which is returned.
static int stand_in(match *m, str name, int place) {
  lowerer *l = m->s->l;
  int axes[MAX_AXES], original = m->n->axes[place];
  ix index[MAX_AXES];
  int fresh = graph_add_axis(l->g, name, graph_axis_size(l->g, original));
  for (int k = 0; k < m->n->naxes; k++) {
    axes[k] = k == place ? fresh : m->n->axes[k];
    index[k] = ix_axis(&l->g->ix, axes[k]);
  }
  m->n = graph_view(l->g, m->n, index, axes, m->n->naxes);
  vec_push(l->arena, &m->s->stand_ins, (axis_pair){fresh, original});
  return fresh;
}

static bool has_a_name(const scope *s, int axis) {
  for (int i = 0; i < s->axes.len; i++)
    if (((const axis_name *)s->axes.entries[i].value)->axis == axis) return true;
  return false;
}

static void bind_place(match *m, const axis_decl *decl, int place) {
  bool again = has_a_name(m->s, m->n->axes[place]);
  m->taken[place] = true;
  axis_name *a = find_axis(m->s, decl->name);
  if (!a) {
    a = arena_new(m->s->l->arena, axis_name);
    a->name = decl->name;
    a->at = decl->at;
    bind_axis(m->s, decl->name, a);
  }
  a->axis = again ? stand_in(m, decl->name, place) : m->n->axes[place];
}

/// When the argument has axes of all the open names: those.
static bool take_by_name(match *m) {
  int places[MAX_AXES], n = 0;
  for (int i = 0; i < m->p->type.naxes; i++) {
    const axis_decl *decl = &m->p->type.axes[i];
    if (!is_open(m, decl)) continue;
    const axis_name *a = find_axis(m->s->caller, decl->name);
    int place = a && a->axis >= 0 ? place_of(m, a->axis) : -1;
    if (place < 0) return false;
    places[n++] = place;
  }
  n = 0;
  for (int i = 0; i < m->p->type.naxes; i++)
    if (is_open(m, &m->p->type.axes[i])) bind_place(m, &m->p->type.axes[i], places[n++]);
  return true;
}

/// The first axis from the left (or right) that no name has taken. An axis that is in `..` by an
/// argument before is one of them here, unless nothing else is left.
static int next_free(const match *m, bool from_right, bool has_rest) {
  int n = m->n->naxes, spare = -1;
  for (int i = 0; i < n; i++) {
    int place = from_right ? n - 1 - i : i;
    if (m->taken[place]) continue;
    if (!has_rest || !set_has(&m->s->rest, m->n->axes[place])) return place;
    if (spare < 0) spare = place;
  }
  return spare;
}

static bool take_by_position(match *m) {
  const type_ref *t = &m->p->type;
  int rest = -1;
  for (int i = 0; i < t->naxes; i++)
    if (t->axes[i].rest) rest = i;
  for (int i = 0; i < (rest < 0 ? t->naxes : rest); i++) {
    if (!is_open(m, &t->axes[i])) continue;
    int place = next_free(m, false, rest >= 0);
    if (place < 0) return axes_error(m, "needs an axis for ", t->axes[i].name), false;
    bind_place(m, &t->axes[i], place);
  }
  for (int i = t->naxes - 1; rest >= 0 && i > rest; i--) {
    if (!is_open(m, &t->axes[i])) continue;
    int place = next_free(m, true, true);
    if (place < 0) return axes_error(m, "needs an axis for ", t->axes[i].name), false;
    bind_place(m, &t->axes[i], place);
  }
  return true;
}

/// *n is replaced where an axis of it gets a stand-in.
static bool bind_tensor(scope *s, const param *p, node **n, span at) {
  match m = {.s = s, .p = p, .n = *n, .at = at};
  bool rest = false;
  for (int i = 0; i < p->type.naxes; i++) rest |= p->type.axes[i].rest;
  if (!take_bound(&m)) return false;
  if (!take_by_name(&m) && !take_by_position(&m)) return false;
  *n = m.n;
  for (int k = 0; k < m.n->naxes; k++) {
    if (m.taken[k]) continue;
    if (!rest) {
      axes_error(&m, "has no place for the axis ", axis_text(s->caller, m.n->axes[k]));
      return false;
    }
    set_add(&s->rest, m.n->axes[k]);
  }
  return true;
}

/// Integer scalars given as constants stay constants, so that they can be sizes in the function.
static bool stays_constant(const param *p, value v) {
  bool scalar = !p->type.real && dtype_is_int(p->type.elem) && p->type.naxes == 0;
  return scalar && v.kind == VALUE_CONST && v.c->size && !v.c->is_float &&
         (!v.c->fixed || v.c->type == p->type.elem);
}

static value bind_value(scope *s, const param *p, value v) {
  scope *from = s->caller;
  const char *what = str_printf(s->l->arena, "`%.*s` of `%.*s`", STR_FMT(p->name),
                                STR_FMT(s->f->name)).ptr;
  if (stays_constant(p, v)) {
    constant *c = arena_copy(s->l->arena, v.c, sizeof *v.c);
    c->fixed = true;
    c->type = p->type.elem;
    if (c->known && !constant_node(from, v.c, p->type.elem, v.at)) return poison_at(v.at);
    return const_value(c, v.at);
  }
  node *n;
  // A constant for a `real` scalar takes the type of what it meets in the function.
  if (p->type.real && p->type.naxes == 0 && v.kind == VALUE_CONST && !v.c->fixed) return v;
  if (p->type.real) {
    n = v.kind == VALUE_CONST && !v.c->fixed ? constant_node(from, v.c, DT_f32, v.at)
                                             : need_node(from, v);
    if (n && !dtype_is_float(n->type)) {
      diag *d = scope_error(from, DIAG_operand_type, v.at, "%s is a float, not %s", what,
                            dtype_name(n->type));
      scope_fix_wrap(from, d, v.at, "f32");
      scope_note(from, d, p->type.at, "declared here");
      return poison_at(v.at);
    }
  } else {
    n = coerce(from, v, p->type.elem, what, p->type.at);
  }
  if (!n || !bind_tensor(s, p, &n, v.at)) return poison_at(v.at);
  return node_value(n, v.at);
}

// ---- binding a call

/// `axis T`: the caller's axis, or a name new to the caller, which the callee defines.
static bool bind_axis_param(scope *s, const param *p, const expr *e) {
  scope *from = s->caller;
  if (e->kind == EXPR_POISON) return s->l->errors++, false;
  bool is_new = e->kind == EXPR_NAME && !find_axis(from, e->name) &&
                !map_get(&from->locals, e->name) && !map_get(&from->packs, e->name);
  if (is_new) {
    axis_name *a = arena_new(s->l->arena, axis_name);
    *a = (axis_name){.name = e->name, .axis = -1, .at = e->at};
    bind_axis(from, e->name, a);
  }
  axis_name *a = e->kind == EXPR_NAME ? find_axis(from, e->name) : NULL;
  if (a) {
    bind_axis(s, p->name, a);
    return true;
  }
  scope_error(from, DIAG_argument_kind, e->at, "`%.*s` of `%.*s` is an axis; name one here",
              STR_FMT(p->name), STR_FMT(s->f->name));
  return false;
}

static bool bind_pack(scope *s, const param *p, const expr *e, int first) {
  axis_set *set = arena_new(s->l->arena, axis_set);
  if (!collect_axis_args(s->caller, e, first, set)) return false;
  map_put(s->l->arena, &s->packs, p->name, set);
  return true;
}

bool count_arguments(scope *s, const func *f, const expr *e) {
  int n = f->params.len;
  bool pack = n && f->params.data[n - 1].kind == PARAM_AXES;
  for (int i = 0; i < e->nargs; i++) {
    if (e->args[i]->kind != EXPR_NAMED) continue;
    scope_error(s, DIAG_unknown_option, e->args[i]->name_at,
                "`%.*s` has no option `%.*s`; arguments are given in order", STR_FMT(f->name),
                STR_FMT(e->args[i]->name));
    return false;
  }
  if (pack ? e->nargs >= n : e->nargs == n) return true;
  diag *d = scope_error(s, DIAG_argument_count, e->at, "`%.*s` takes %s%d argument%s, not %d",
                        STR_FMT(f->name), pack ? "at least " : "", n, n == 1 ? "" : "s", e->nargs);
  scope_note(s, d, f->name_at, "`%.*s` is defined here", STR_FMT(f->name));
  return false;
}

/// Two names of the function must not be one axis: x * y would silently be taken along both.
static bool names_are_distinct(scope *s, const expr *e) {
  for (int i = 0; i < s->axes.len; i++) {
    const axis_name *a = s->axes.entries[i].value;
    str name = s->axes.entries[i].key;
    if (a->axis < 0) continue;
    for (int k = 0; k < i; k++) {
      const axis_name *b = s->axes.entries[k].value;
      if (a->axis != b->axis) continue;
      diag *d = scope_error(s->caller, DIAG_axis_bound_twice, e->at,
                            "%.*s and %.*s of `%.*s` would both be the axis %.*s",
                            STR_FMT(s->axes.entries[k].key), STR_FMT(name), STR_FMT(s->f->name),
                            STR_FMT(axis_text(s->caller, a->axis)));
      scope_note(s->caller, d, s->f->name_at,
                 "`%.*s` is defined here; rename an axis of one argument: x[N -> M]",
                 STR_FMT(s->f->name));
      return false;
    }
    if (!set_has(&s->rest, a->axis)) continue;
    diag *d = scope_error(s->caller, DIAG_axis_bound_twice, e->at,
                          "the axis %.*s is %.*s of `%.*s` and also among its `..`",
                          STR_FMT(axis_text(s->caller, a->axis)), STR_FMT(name),
                          STR_FMT(s->f->name));
    scope_note(s->caller, d, s->f->name_at,
               "`%.*s` is defined here; rename an axis of one argument: x[N -> M]",
               STR_FMT(s->f->name));
    return false;
  }
  return true;
}

/// Sizes written in a type: f32[N, D = 64], f32[D, E = D].
bool size_declared_axes(scope *s, const type_ref *t, bool at_call) {
  bool fine = true;
  for (int i = 0; i < t->naxes; i++) {
    const axis_decl *decl = &t->axes[i];
    const axis_name *a = decl->size ? find_axis(s, decl->name) : NULL;
    ix want;
    if (!a || a->axis < 0) continue;
    if (!size_of_expr(s, decl->size, &want)) {
      fine = false;
      continue;
    }
    ix have = graph_axis_size(s->l->g, a->axis);
    if (sizes_equal(s, have, want)) continue;
    fine = false;
    if (!at_call) {
      diag *d = scope_error(s, DIAG_size_mismatch, decl->at,
                            "the axis %.*s has size %.*s, not %.*s", STR_FMT(decl->name),
                            STR_FMT(size_text(s, have)), STR_FMT(size_text(s, want)));
      note_equal_sizes(s, d, a, have, want);
      continue;
    }
    diag *d = scope_error(s->caller, DIAG_size_mismatch, s->call_at,
                          "`%.*s` asks for %.*s of size %.*s; here it is %.*s of size %.*s",
                          STR_FMT(s->f->name), STR_FMT(decl->name), STR_FMT(size_text(s, want)),
                          STR_FMT(axis_text(s->caller, a->axis)), STR_FMT(size_text(s, have)));
    scope_note(s->caller, d, decl->at, "declared here");
  }
  return fine;
}

/// Axes that only the result has and whose size is written are there from the beginning.
static void predefine_results(scope *s) {
  for (int r = 0; r < s->f->nresults; r++)
    for (int i = 0; i < s->f->results[r].naxes; i++) {
      const axis_decl *decl = &s->f->results[r].axes[i];
      const axis_name *a = decl->rest ? NULL : find_axis(s, decl->name);
      ix size;
      if (decl->size && (!a || a->axis < 0) && size_of_expr(s, decl->size, &size))
        define_axis(s, decl->name, decl->at, size);
    }
}

bool bind_arguments(scope *s, const expr *e) {
  func *f = s->f;
  bool fine = true;
  // Values first: an axis named by a later argument may come from a call in an earlier one.
  value *values = arena_array(s->l->arena, value, f->params.len);
  for (int i = 0; i < f->params.len; i++)
    if (f->params.data[i].kind == PARAM_VALUE) values[i] = lower_expr(s->caller, e->args[i]);
  for (int i = 0; i < f->params.len; i++) {
    const param *p = &f->params.data[i];
    if (p->kind == PARAM_AXIS) fine = bind_axis_param(s, p, e->args[i]) && fine;
    if (p->kind == PARAM_AXES) fine = bind_pack(s, p, e, i) && fine;
  }
  for (int i = 0; i < f->params.len; i++) {
    const param *p = &f->params.data[i];
    if (p->kind != PARAM_VALUE) continue;
    value v = values[i];
    if (fine && !is_poison(v)) v = as_variable(s, bind_value(s, p, v));
    fine = fine && !is_poison(v);
    if (fine) fine = define_local(s, p->name, p->at, v);
  }
  if (!fine || !names_are_distinct(s, e)) return false;
  for (int i = 0; i < f->params.len; i++)
    if (f->params.data[i].kind == PARAM_VALUE)
      fine = size_declared_axes(s, &f->params.data[i].type, true) && fine;
  int errors = s->l->errors;
  for (int i = 0; fine && i < f->facts.len; i++) lower_fact(s, f->facts.data[i]);
  if (fine) predefine_results(s);
  for (int i = 0; fine && i < f->nresults; i++)
    fine = size_declared_axes(s, &f->results[i], true);
  return fine && s->l->errors == errors;
}
