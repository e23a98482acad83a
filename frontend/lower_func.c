// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls of functions: after binding, the body is lowered in place and the result is matched with
// the declared type; axes that the function made get their names in the caller.
#include "base/fault.h"
#include "frontend/lower.h"

// ---- results

static str type_text(scope *s, const type_ref *t) {
  str text = s->l->diags->files.data[t->at.file - 1].text;
  return (str){text.ptr + t->at.begin, (int)(t->at.end - t->at.begin)};
}

static node *axes_differ(scope *s, value v, const node *n, const type_ref *t, const char *what) {
  diag *d = scope_error(s, DIAG_axes_mismatch, v.at, "%s is declared %.*s, but this is %.*s", what,
                        STR_FMT(type_text(s, t)), STR_FMT(node_text(s, n)));
  scope_note(s, d, t->at, "declared here");
  if (n->phase && n->naxes > t->naxes)
    scope_note(s, d, v.at, "a derivative has the axes of what it is taken for, and those of the seed that "
                           "the differentiated value lacks");
  return NULL;
}

/// The axes of the declared type in its order; false when n has others.
static bool declared_order(scope *s, const node *n, const type_ref *t, axis_set *order) {
  axis_set named = {.n = 0};
  for (int i = 0; i < t->naxes; i++) {
    const axis_decl *decl = &t->axes[i];
    const axis_set *pack = decl->rest ? NULL : map_get(&s->packs, decl->name);
    const axis_name *a = decl->rest || pack ? NULL : find_axis(s, decl->name);
    if (!decl->rest && !pack && (!a || a->axis < 0)) return false;
    for (int k = 0; pack && k < pack->n; k++) set_add(&named, pack->axes[k]);
    if (a) set_add(&named, a->axis);
  }
  for (int i = 0; i < t->naxes; i++) {
    const axis_decl *decl = &t->axes[i];
    const axis_set *pack = decl->rest ? NULL : map_get(&s->packs, decl->name);
    if (decl->rest) pack = &s->rest;
    for (int k = 0; pack && k < pack->n; k++)
      if (!decl->rest || !set_has(&named, pack->axes[k])) set_add(order, pack->axes[k]);
    if (!pack) set_add(order, find_axis(s, decl->name)->axis);
  }
  if (order->n != n->naxes) return false;
  for (int i = 0; i < order->n; i++)
    if (!node_has_axis(n, order->axes[i])) return false;
  return true;
}

node *match_type(scope *s, value v, const type_ref *t, const char *what) {
  if (is_poison(v)) return NULL;
  node *n;
  if (t->real) {
    n = v.kind == VALUE_CONST && !v.c->fixed ? constant_node(s, v.c, DT_f32, v.at)
                                             : need_node(s, v);
    if (n && !dtype_is_float(n->type)) {
      diag *d = scope_error(s, DIAG_declared_type, v.at, "%s is declared a float, but this is %s",
                            what, dtype_name(n->type));
      scope_note(s, d, t->at, "declared here");
      return NULL;
    }
  } else {
    n = coerce(s, v, t->elem, what, t->elem_at);
  }
  axis_set order = {.n = 0};
  if (!n) return NULL;
  if (!declared_order(s, n, t, &order)) return axes_differ(s, v, n, t, what);
  n = graph_reorder(s->l->g, n, order.axes);
  stamp_nodes(s->l, stamp_span(s, v.at));
  return n;
}

static void lower_return(scope *s, const stmt *st) {
  const func *f = s->f;
  const expr *e = st->value;
  bool tuple = e->kind == EXPR_TUPLE;
  if (!tuple && f->nresults == 1 && !f->tuple_result) {
    value v = lower_expr(s, e);
    node *n = match_type(s, v, &f->results[0], "the result");
    if (n) s->result = node_value(n, v.at);
    return;
  }
  if (!tuple && f->nresults != 1) {
    value v = lower_expr(s, e);
    if (is_poison(v)) return;
    if (v.kind != VALUE_TUPLE || v.nitems != f->nresults) {
      diag *d = scope_error(s, DIAG_result_count, e->at, "`%.*s` returns %d values, not %d",
                            STR_FMT(f->name), f->nresults,
                            v.kind == VALUE_TUPLE ? v.nitems : 1);
      scope_note(s, d, f->results[0].at, "declared here");
      return;
    }
    s->result = v;
  } else {
    int n = tuple ? e->nargs : 1;
    if (n != f->nresults) {
      diag *d = scope_error(s, DIAG_result_count, e->at, "`%.*s` returns %d value%s, not %d",
                            STR_FMT(f->name), f->nresults, f->nresults == 1 ? "" : "s", n);
      scope_note(s, d, f->results[0].at, "declared here");
      return;
    }
    value v = {.kind = VALUE_TUPLE, .at = e->at, .nitems = n};
    v.items = arena_array(s->l->arena, value, n);
    for (int i = 0; i < n; i++) v.items[i] = lower_expr(s, tuple ? e->args[i] : e);
    s->result = v;
  }
  bool fine = true;
  for (int i = 0; i < s->result.nitems; i++) {
    const char *what = str_printf(s->l->arena, "result %d", i + 1).ptr;
    node *n = match_type(s, s->result.items[i], &f->results[i], what);
    fine = fine && n;
    s->result.items[i] = n ? node_value(n, s->result.items[i].at) : poison_at(e->at);
  }
  if (!fine) s->result = poison_at(e->at);
}

// ---- bodies

// A name whose value failed is known all the same, so that its uses are not errors.
static void lower_let(scope *s, const stmt *st) {
  value v = lower_expr(s, st->value);
  if (st->nnames == 1 && st->type) {
    node *n = match_type(s, v, st->type,
                         str_printf(s->l->arena, "`%.*s`", STR_FMT(st->names[0].name)).ptr);
    if (n && !size_declared_axes(s, st->type, false)) n = NULL;
    v = n ? node_value(n, v.at) : poison_at(v.at);
  }
  if (st->nnames == 1) {
    if (v.kind == VALUE_TUPLE) {
      diag *d = scope_error(s, DIAG_tuple_misuse, st->names[0].at,
                            "this call returns %d values; name each of them", v.nitems);
      scope_note(s, d, v.at, "write let (a, b) = ...");
      v = poison_at(v.at);
    }
    define_local(s, st->names[0].name, st->names[0].at, v);
    return;
  }
  if (!is_poison(v) && (v.kind != VALUE_TUPLE || v.nitems != st->nnames)) {
    scope_error(s, DIAG_result_count, st->names[0].at, "%d names for %d value%s", st->nnames,
                v.kind == VALUE_TUPLE ? v.nitems : 1, v.kind == VALUE_TUPLE ? "s" : "");
    v = poison_at(v.at);
  }
  for (int i = 0; i < st->nnames; i++)
    define_local(s, st->names[i].name, st->names[i].at, is_poison(v) ? v : v.items[i]);
}

static void lower_block(scope *s, const block *b);

/// fuse stream(T, U, passes = 2)
static bool stream_options(scope *s, const stmt *st, contract *c) {
  for (int i = 0; i < st->stream.len; i++) {
    const expr *e = st->stream.data[i];
    if (e->kind == EXPR_POISON) return false;
    if (e->kind == EXPR_NAMED && str_eqz(e->name, "passes")) {
      const expr *n = e->args[0];
      if (n->kind != EXPR_INT || n->integer < 1 || n->integer > 64) {
        scope_error(s, DIAG_contract_form, n->at, "`passes` is a number from 1 to 64");
        return false;
      }
      if (c->passes) {
        scope_error(s, DIAG_contract_form, e->at, "`passes` is given twice");
        return false;
      }
      c->passes = (int)n->integer;
      continue;
    }
    if (e->kind != EXPR_NAME) {
      scope_error(s, DIAG_contract_form, e->at, "expected an axis, or `passes = n`");
      return false;
    }
    const axis_name *a = find_axis(s, e->name);
    if (!a || a->axis < 0) {
      scope_error(s, DIAG_unknown_axis, e->at, "there is no axis %.*s here", STR_FMT(e->name));
      return false;
    }
    for (int k = 0; k < c->naxes; k++)
      if (c->axes[k] == a->axis) {
        scope_error(s, DIAG_contract_form, e->at, "%.*s is streamed twice", STR_FMT(e->name));
        return false;
      }
    if (c->naxes == MAX_AXES) {
      scope_error(s, DIAG_too_many_axes, e->at, "more than %d streamed axes", MAX_AXES);
      return false;
    }
    c->axes[c->naxes++] = a->axis;
  }
  if (c->naxes) return true;
  scope_error(s, DIAG_contract_form, st->at, "`stream` names the axes that are walked: stream(T)");
  return false;
}

/// The calls through which the user's program came to the block.
static int calls_to(const scope *s, contract_call *calls) {
  int n = 0;
  for (s = user_scope(s); s->caller && n < MOST_CALL_NOTES; s = s->caller)
    calls[n++] = (contract_call){s->call_at, s->f->name};
  return n;
}

/// A kept value is in memory, which the block forbids for those along its axes.
static void kept_along_stream(scope *s, const stmt *st, int number, int first) {
  const graph *g = s->l->g;
  const contract *c = &g->contracts.data[number];
  for (int id = first; c->streamed && id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    if (!(n->flags & NODE_KEEP) || n->contract != number + 1) continue;
    for (int k = 0; k < c->naxes; k++) {
      if (!node_has_axis(n, c->axes[k])) continue;
      diag *d = scope_error(s, DIAG_keep_forbidden, n->at, "`keep` would store a value along %.*s",
                            STR_FMT(axis_text(s, c->axes[k])));
      scope_note(s, d, st->at, "this block has no such values in memory");
      break;
    }
  }
}

/// The nodes made for the block are under a contract of their own; a function with a block that is
/// called twice has two.
static void lower_fuse(scope *s, const stmt *st) {
  lowerer *l = s->l;
  if (l->block) {
    diag *d = scope_error(s, DIAG_contract_form, st->at,
                          "a contract within a contract: the outer one is one kernel already");
    scope_note(s, d, l->block->at, "the outer one");
    return lower_block(s, &st->body);
  }
  if (!st->body.len) {
    if (!s->f->bad_syntax)
      scope_error(s, DIAG_contract_form, st->at, "the block of `fuse` is empty");
    return;
  }
  int axes[MAX_AXES];
  contract_call calls[MOST_CALL_NOTES];
  contract c = {.streamed = st->streamed, .axes = axes, .at = stamp_span(s, st->at),
                .ncalls = calls_to(s, calls), .calls = calls};
  int first = l->g->nodes.len;
  l->block = st;
  l->g->contract = 1 + graph_add_contract(l->g, c);
  lower_block(s, &st->body);
  l->block = NULL;
  int number = l->g->contract - 1;
  l->g->contract = 0;
  // Streamed axes may be made in the block.
  if (st->streamed && stream_options(s, st, &c)) {
    contract *made = &l->g->contracts.data[number];
    made->passes = c.passes;
    made->naxes = c.naxes;
    made->axes = arena_copy(l->g->arena, axes, sizeof(int) * (size_t)c.naxes);
  }
  kept_along_stream(s, st, number, first);
  if (l->g->nodes.len == first && !l->errors && !s->f->bad_syntax)
    scope_error(s, DIAG_contract_form, st->at, "nothing is computed in the block of `fuse`");
}

/// A block within another is part of it: what the outer one does not save, the inner one does not.
static void lower_checkpoint(scope *s, const stmt *st) {
  lowerer *l = s->l;
  if (l->checkpoint) return lower_block(s, &st->body);
  l->checkpoint = st;
  l->checkpoint_scope = s;
  l->g->region = ++l->g->nregions;
  lower_block(s, &st->body);
  l->g->region = 0;
  l->checkpoint = NULL;
}

static void lower_block(scope *s, const block *b) {
  for (int i = 0; i < b->len && !s->l->stopped; i++) {
    const stmt *st = b->data[i];
    if (st->kind == STMT_LET) lower_let(s, st);
    if (st->kind == STMT_RETURN) lower_return(s, st);
    if (st->kind == STMT_FUSE) lower_fuse(s, st);
    if (st->kind == STMT_CHECKPOINT) lower_checkpoint(s, st);
  }
}

void lower_body(scope *s) { lower_block(s, &s->f->body); }

static value lower_extern(scope *s, const expr *e) {
  graph *g = s->l->g;
  func *f = s->f;
  node *in[64];
  int nin = 0;
  for (int i = 0; i < f->params.len; i++) {
    const local *v = map_get(&s->locals, f->params.data[i].name);
    in[nin] = match_type(s, v->v, &f->params.data[i].type, "the argument");
    if (!in[nin++]) return poison_at(e->at);
  }
  axis_set order = {.n = 0};
  const type_ref *t = &f->results[0];
  for (int i = 0; i < t->naxes; i++) {
    const axis_name *a = find_axis(s, t->axes[i].name);
    check(a && a->axis >= 0);  // the declaration was looked at before
    set_add(&order, a->axis);
  }
  return node_value(graph_call(g, f->name, in, nin, t->elem, order.axes, order.n), e->at);
}

// ---- the result in the caller's names

/// Stand-ins are the caller's axes again, which the value must not have beside them.
static node *export_stand_ins(scope *s, node *n, span at) {
  graph *g = s->l->g;
  int axes[MAX_AXES];
  ix index[MAX_AXES];
  bool renamed = false;
  for (int k = 0; k < n->naxes; k++) {
    axes[k] = n->axes[k];
    for (int i = 0; i < s->stand_ins.len; i++) {
      axis_pair pair = s->stand_ins.data[i];
      if (pair.axis != n->axes[k]) continue;
      for (int j = 0; j < n->naxes; j++) {
        int other = j < k ? axes[j] : n->axes[j];
        if (other != pair.original) continue;
        diag *d = scope_error(s->caller, DIAG_axis_bound_twice, at,
                              "%.*s and %.*s of `%.*s` would both be the axis %.*s",
                              STR_FMT(axis_text(s, n->axes[j])), STR_FMT(axis_text(s, pair.axis)),
                              STR_FMT(s->f->name), STR_FMT(axis_text(s->caller, other)));
        scope_note(s->caller, d, s->f->name_at,
                   "`%.*s` is defined here; rename an axis of one argument: x[N -> M]",
                   STR_FMT(s->f->name));
        return NULL;
      }
      axes[k] = pair.original;
      renamed = true;
    }
    index[k] = ix_axis(&g->ix, axes[k]);
  }
  return renamed ? graph_view(g, n, index, axes, n->naxes) : n;
}

/// An axis made by the callee gets its name in the caller: a new one, or that of an equal axis.
static node *export_axes(scope *s, node *n, span at) {
  scope *to = s->caller;
  graph *g = s->l->g;
  int axes[MAX_AXES];
  ix index[MAX_AXES];
  bool renamed = false;
  for (int k = 0; k < n->naxes; k++) {
    axes[k] = n->axes[k];
    bool known = set_has(&s->rest, n->axes[k]);
    for (int i = 0; i < to->axes.len; i++)
      known |= ((axis_name *)to->axes.entries[i].value)->axis == n->axes[k];
    str name = axis_text(s, n->axes[k]);
    axis_name *there = find_axis(to, name);
    if (!known && (!there || there->axis < 0)) {
      if (map_get(&to->locals, name)) {
        scope_error(to, DIAG_name_conflict, at,
                    "`%.*s` returns an axis %.*s, which is the name of a value here",
                    STR_FMT(s->f->name), STR_FMT(name));
        return NULL;
      }
      axis_name *a = there ? there : arena_new(s->l->arena, axis_name);
      *a = (axis_name){.name = name, .axis = n->axes[k], .at = at};
      bind_axis(to, name, a);
    } else if (!known) {
      if (node_has_axis(n, there->axis)) {
        scope_error(to, DIAG_duplicate_axis, at,
                    "`%.*s` returns a new axis %.*s, but the result has an axis of that name",
                    STR_FMT(s->f->name), STR_FMT(name));
        return NULL;
      }
      axes[k] = define_axis(to, name, at, graph_axis_size(g, n->axes[k]));
      if (axes[k] < 0) return NULL;
      renamed = true;
    }
    index[k] = ix_axis(&g->ix, axes[k]);
  }
  return renamed ? graph_view(g, n, index, axes, n->naxes) : n;
}

static value export_value(scope *s, value v, span at) {
  v.at = at;
  if (v.kind == VALUE_NODE) {
    v.n = export_stand_ins(s, v.n, at);
    if (v.n) v.n = export_axes(s, v.n, at);
    return v.n ? v : poison_at(at);
  }
  for (int i = 0; v.kind == VALUE_TUPLE && i < v.nitems; i++) {
    v.items[i] = export_value(s, v.items[i], at);
    if (is_poison(v.items[i])) return poison_at(at);
  }
  return v;
}

value lower_call(scope *s, const expr *e) {
  lowerer *l = s->l;
  const builtin *b = builtin_find(e->name);
  if (b) return lower_builtin(s, e, b);
  func *f = e->callee;
  if (!f || f->bad_syntax || f->state == FUNC_FAILED) return l->errors++, poison_at(e->at);
  if (!count_arguments(s, f, e)) return poison_at(e->at);
  if (s->depth >= MAX_INLINE_DEPTH || ++l->calls > MAX_CALLS) {
    bool deep = s->depth >= MAX_INLINE_DEPTH;
    scope_error(s, deep ? DIAG_inline_depth : DIAG_too_large, e->at,
                deep ? "calls are nested more than %d deep" : "more than %d calls after inlining",
                deep ? MAX_INLINE_DEPTH : MAX_CALLS);
    l->stopped = true;
    return poison_at(e->at);
  }
  scope *callee = arena_new(l->arena, scope);
  *callee = (scope){.l = l, .f = f, .caller = s, .call_at = e->at, .depth = s->depth + 1};
  if (!bind_arguments(callee, e)) return poison_at(e->at);
  if (f->is_extern) callee->result = lower_extern(callee, e);
  else lower_body(callee);
  callee->result = with_derivative(callee, callee->result);
  return export_value(callee, callee->result, e->at);
}
