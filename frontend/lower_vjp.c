// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Derivatives that the program gives: `fn f(x: ..) -> .. vjp f_back`. f_back takes the values that f
// takes, the result and its cotangent, then the axes that f takes, and returns a cotangent for each
// float among the values. What is inside of f is then nothing to `grad`.
#include "base/fault.h"
#include "frontend/lower.h"
#include "ir/grad.h"

/// The scope of the call is where f_back is called from: its names are the arguments.
struct custom_result {
  const node *n;
  scope *callee;
  grad_custom operands;
  int nfloats,
      *place;  // floats among the values; the place of each operand among these: a constant is none
};

static const str RESULT = {" result", 7}, COTANGENT = {" cotangent", 10};  // no names of programs

/// The last of the values that d takes is declared as cotangents of the result are, or not as a value.
static bool takes_cotangent(const func *f, const func *d, int values) {
  const param *p = &d->params.data[values + 1];
  if (p->kind != PARAM_VALUE || p->type.real) return true;
  if (f->results[0].real) return p->type.elem == DT_f32 || p->type.elem == DT_f64;
  return !dtype_is_float(f->results[0].elem) || p->type.elem == grad_type(f->results[0].elem);
}

bool derivative_fits(lowerer *l, const func *f) {
  const func *d = f->derivative;
  int values = 0;
  if (!d) return true;
  for (int i = 0; i < f->params.len; i++) values += f->params.data[i].kind == PARAM_VALUE;
  diag *e = NULL;
  if (f->nresults != 1 || f->tuple_result)
    e = diag_error(l->diags, DIAG_vjp_form, f->vjp_at,
                   "only functions with one result have a derivative");
  else if (d->params.len != f->params.len + 2)
    e = diag_error(
        l->diags, DIAG_vjp_form, f->vjp_at,
        "`%.*s` takes %d parameters; as a derivative of `%.*s` it would take %d: its values, the "
        "result and its cotangent%s",
        STR_FMT(d->name), d->params.len, STR_FMT(f->name), f->params.len + 2,
        values < f->params.len ? ", then its axes" : "");
  else if (!takes_cotangent(f, d, values))
    e = diag_error(
        l->diags, DIAG_vjp_form, d->params.data[values + 1].type.at,
        "the cotangent of the result of `%.*s` is %s", STR_FMT(f->name),
        f->results[0].real ? "real, or f32 or f64" : dtype_name(grad_type(f->results[0].elem)));
  if (e && d->name_at.file) diag_add_note(l->diags, e, d->name_at, "defined here");
  return !e;
}

value with_derivative(scope *s, value v) {
  lowerer *l = s->l;
  if (!s->f->derivative || v.kind != VALUE_NODE || !dtype_is_float(v.n->type)) return v;
  custom_result *c = arena_new(l->arena, custom_result);
  c->callee = s;
  c->operands.of = arena_array(l->arena, node *, s->f->params.len);
  c->place = arena_array(l->arena, int, s->f->params.len);
  for (int i = 0; i < s->f->params.len; i++) {
    const param *p = &s->f->params.data[i];
    if (p->kind != PARAM_VALUE || !(p->type.real || dtype_is_float(p->type.elem))) continue;
    const local *arg = map_get(&s->locals, p->name);
    if (arg && arg->v.kind == VALUE_NODE) {
      c->place[c->operands.n] = c->nfloats;
      c->operands.of[c->operands.n++] = arg->v.n;
    }
    c->nfloats++;
  }
  v.n = another_node(l->g, v.n, NODE_CUSTOM);
  c->n = v.n;
  vec_push(l->arena, &l->custom, c);
  return v;
}

static const custom_result *find_custom(const lowerer *l, const node *n) {
  for (int i = 0; i < l->custom.len; i++)
    if (l->custom.data[i]->n == n) return l->custom.data[i];
  return NULL;
}

const grad_custom *custom_operands(void *ctx, const node *n) {
  const grad_call_site *at = ctx;
  const custom_result *c = find_custom(at->s->l, n);
  return c ? &c->operands : NULL;
}

static expr *name_expr(scope *s, str name, span at) {
  expr *e = arena_new(s->l->arena, expr);
  *e = (expr){.kind = EXPR_NAME, .at = at, .name = name, .name_at = at};
  return e;
}

/// The call f_back(values, result, cotangent, axes).
static expr *backward_call(scope *s, const func *f, span at) {
  expr *e = name_expr(s, f->derivative->name, at);
  e->kind = EXPR_CALL;
  e->callee = f->derivative;
  e->args = arena_array(s->l->arena, expr *, f->params.len + 2);
  for (int i = 0; i < f->params.len; i++)
    if (f->params.data[i].kind == PARAM_VALUE)
      e->args[e->nargs++] = name_expr(s, f->params.data[i].name, at);
  e->args[e->nargs++] = name_expr(s, RESULT, at);
  e->args[e->nargs++] = name_expr(s, COTANGENT, at);
  for (int i = 0; i < f->params.len; i++)
    if (f->params.data[i].kind != PARAM_VALUE)
      e->args[e->nargs++] = name_expr(s, f->params.data[i].name, at);
  return e;
}

static void set_local(scope *s, str name, node *n, span at) {
  local *v = arena_new(s->l->arena, local);
  *v = (local){node_value(n, at), at};
  map_put(s->l->arena, &s->locals, name, v);
}

/// No axes but those of the operand, and those that the cotangent has beside those of the result.
static bool axes_fit(scope *s, const func *f, span at, const node *got, const node *operand,
                     const node *result, const node *g) {
  for (int k = 0; k < got->naxes; k++) {
    int axis = got->axes[k];
    if (node_has_axis(operand, axis) || (node_has_axis(g, axis) && !node_has_axis(result, axis)))
      continue;
    diag *d =
        scope_error(s, DIAG_vjp_form, at, "`%.*s` gives %.*s for an operand of `%.*s` that is %.*s",
                    STR_FMT(f->derivative->name), STR_FMT(node_text(s, got)), STR_FMT(f->name),
                    STR_FMT(node_text(s, operand)));
    scope_note(s, d, f->vjp_at, "the derivative is given here");
    return false;
  }
  return true;
}

static bool take_results(scope *s, const custom_result *c, span at, value v, node *result, node *g,
                         node **gives) {
  const func *f = s->f;
  int n = v.kind == VALUE_TUPLE ? v.nitems : 1;
  if (n != c->nfloats) {
    diag *d = scope_error(s, DIAG_vjp_form, at,
                          "`%.*s` gives %d value%s for the %d float operand%s of `%.*s`",
                          STR_FMT(f->derivative->name), n, n == 1 ? "" : "s", c->nfloats,
                          c->nfloats == 1 ? "" : "s", STR_FMT(f->name));
    scope_note(s, d, f->vjp_at, "the derivative is given here");
    return false;
  }
  for (int k = 0; k < c->operands.n; k++) {
    value item = v.kind == VALUE_TUPLE ? v.items[c->place[k]] : v;
    node *got = need_node(s, item);
    if (!got) return false;
    if (!dtype_is_float(got->type)) {
      scope_error(s, DIAG_vjp_form, at, "`%.*s` gives %s; a cotangent is a float",
                  STR_FMT(f->derivative->name), dtype_name(got->type));
      return false;
    }
    if (!axes_fit(s, f, at, got, c->operands.of[k], result, g)) return false;
    gives[k] = got;
  }
  return true;
}

bool custom_apply(void *ctx, node *n, node *g, node **gives) {
  const grad_call_site *at = ctx;
  lowerer *l = at->s->l;
  const custom_result *c = find_custom(l, n);
  check(c);
  scope *s = c->callee;
  l->stamped = l->g->nodes.len;
  set_local(s, RESULT, n, at->at);
  set_local(s, COTANGENT, graph_spread(l->g, g, n->axes, n->naxes), at->at);
  value v = lower_call(s, backward_call(s, s->f, at->at));
  l->stamped = l->g->nodes.len;
  return !is_poison(v) && take_results(s, c, at->at, v, n, g, gives);
}
