// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// grad(y, x...), stop(x): derivatives are nodes like others from here on (ir/grad.h).
#include "frontend/lower.h"
#include "ir/grad.h"

/// The same value as a node of its own.
node *another_node(graph *g, node *n, unsigned flags) {
  ix index[MAX_AXES];
  for (int k = 0; k < n->naxes; k++) index[k] = ix_axis(&g->ix, n->axes[k]);
  node *v = graph_view(g, n, index, n->axes, n->naxes);
  v->flags |= flags;
  return v;
}

/// Two parameters are two variables, also where a call gives them one value; and what was computed
/// of the value before the call is not computed of the parameter.
value as_variable(scope *s, value v) {
  if (!s->f->differentiates || v.kind != VALUE_NODE || !dtype_is_float(v.n->type)) return v;
  v.n = another_node(s->l->g, v.n, 0);
  return v;
}

value lower_stop(scope *s, const expr *e) {
  value v = lower_expr(s, e->args[0]);
  if (v.kind == VALUE_TUPLE) return need_node(s, v), poison_at(e->at);
  if (v.kind == VALUE_NODE && dtype_is_float(v.n->type))
    v.n = another_node(s->l->g, v.n, NODE_STOP);
  v.at = e->at;
  return v;
}

/// What a block recomputes, its own keep() may except; that of a function which the block calls would be
/// a surprise to whoever wrote the block.
value lower_keep(scope *s, const expr *e) {
  lowerer *l = s->l;
  value v = lower_expr(s, e->args[0]);
  if (v.kind == VALUE_TUPLE) return need_node(s, v), poison_at(e->at);
  if (l->checkpoint && l->checkpoint_scope != s) {
    diag *d = scope_error(
        s, DIAG_keep_forbidden, e->at,
        "`keep` in a function that a `checkpoint` block calls: the block saves none of its values");
    scope_note(s, d, l->checkpoint->at, "this block");
    return poison_at(e->at);
  }
  if (v.kind == VALUE_NODE && v.n->op != OP_param) v.n->flags |= NODE_KEEP;
  v.at = e->at;
  return v;
}

void forget_variables(graph *g) {
  for (int id = 0; id < g->nodes.len; id++) g->nodes.data[id]->flags &= ~(unsigned)NODE_FRONTEND;
}

// ---- grad

typedef struct grad_call {
  scope *s;
  const expr *e;
  node *y, *seed;
  span y_at, seed_at;
  vec(node *) x;
  ints x_arg;  // by x: its place among the arguments
  grad_options options;
} grad_call;

/// help: what to do where it is no float.
static node *float_operand(grad_call *c, value v, const char *help) {
  node *n = need_node(c->s, v);
  if (!n || dtype_is_float(n->type)) return n;
  diag *d = scope_error(c->s, DIAG_grad_operand, v.at, "`grad` differentiates floats; this is %s",
                        dtype_name(n->type));
  scope_note(c->s, d, v.at, "%s", help);
  return NULL;
}

static bool read_variable(grad_call *c, int arg) {
  const expr *e = c->e->args[arg];
  if (e->kind != EXPR_NAME) {
    if (e->kind == EXPR_POISON) return c->s->l->errors++, false;
    diag *d = scope_error(c->s, DIAG_grad_operand, e->at,
                          "`grad` is for values that have a name: y is a function of these");
    scope_note(c->s, d, e->at, "name it before y is computed: let x = ..., and use x in y");
    return false;
  }
  value v = lower_expr(c->s, e);
  if (is_poison(v)) return false;
  if (v.kind == VALUE_CONST) {
    diag *d = scope_error(c->s, DIAG_grad_operand, e->at, "%.*s is a number without a type here",
                          STR_FMT(source_text(c->s, e->at)));
    scope_note(c->s, d, e->at, "give it one where it comes from: f32(...)");
    return false;
  }
  node *n = float_operand(c, v, "it is a constant; name a float that is made of it, before y is: "
                                "let v = f32(...), and use v in y");
  if (!n) return false;
  vec_push(c->s->l->arena, &c->x, n);
  vec_push(c->s->l->arena, &c->x_arg, arg);
  return true;
}

static bool read_option(grad_call *c, const expr *option) {
  const expr *given = option->args[0];
  if (str_eqz(option->name, "exact")) {
    if (given->kind == EXPR_BOOL) return c->options.exact = given->integer, true;
    scope_error(c->s, DIAG_argument_kind, given->at, "this option is true or false");
    return false;
  }
  if (!str_eqz(option->name, "seed")) {
    scope_error(c->s, DIAG_unknown_option, option->name_at,
                "there is no option `%.*s`; the options are seed and exact", STR_FMT(option->name));
    return false;
  }
  c->seed_at = given->at;
  c->seed =
      coerce(c->s, lower_expr(c->s, given), grad_type(c->y->type), "the seed of `grad`", c->y_at);
  return c->seed;
}

static bool read_call(grad_call *c) {
  const expr *e = c->e;
  value y = lower_expr(c->s, e->args[0]);
  if (is_poison(y)) return false;
  c->y_at = y.at;
  c->y = float_operand(c, y, "it changes in steps, and has no derivative for anything");
  if (!c->y) return false;
  bool fine = true;
  for (int i = 1; i < e->nargs; i++)
    fine =
        (e->args[i]->kind == EXPR_NAMED ? read_option(c, e->args[i]) : read_variable(c, i)) && fine;
  if (fine && !c->x.len) {
    scope_error(c->s, DIAG_argument_count, e->at,
                "`grad` takes the values to differentiate for: "
                "grad(y, x...)");
    return false;
  }
  return fine;
}

static bool seed_fits(grad_call *c) {
  if (!c->seed) {
    if (!c->y->naxes) return true;
    diag *d =
        scope_error(c->s, DIAG_grad_seed, c->y_at, "`grad` differentiates one number; this is %.*s",
                    STR_FMT(node_text(c->s, c->y)));
    scope_note(c->s, d, c->y_at, "sum it, or weigh its elements: grad(y, x, seed = dy)");
    return false;
  }
  for (int i = 0; i < c->x.len; i++) {
    int further = 0;
    for (int k = 0; k < c->seed->naxes; k++) {
      int axis = c->seed->axes[k];
      if (node_has_axis(c->y, axis)) continue;
      further++;
      if (!node_has_axis(c->x.data[i], axis)) continue;
      str name = axis_text(c->s, axis);
      diag *d =
          scope_error(c->s, DIAG_grad_axis, c->seed_at,
                      "the derivative would have the axis %.*s twice: of the seed, and of %.*s",
                      STR_FMT(name), STR_FMT(source_text(c->s, c->e->args[c->x_arg.data[i]]->at)));
      scope_note(c->s, d, c->seed_at, "rename it in the seed: dy[%.*s -> K]", STR_FMT(name));
      return false;
    }
    if (c->x.data[i]->naxes + further <= MAX_AXES) continue;
    scope_error(c->s, DIAG_too_many_axes, c->e->at,
                "the derivative would have %d axes; the limit is %d", c->x.data[i]->naxes + further,
                MAX_AXES);
    return false;
  }
  return true;
}

static void warn(scope *s, span at, str text) {
  vec_push(s->l->arena, &s->l->warnings,
           (late_warning){DIAG_grad_independent, stamp_span(s, at), text});
}

static void warn_of_independent(grad_call *c, const grad_result *r) {
  arena *a = c->s->l->arena;
  for (int i = 0; i < c->x.len; i++) {
    span at = c->e->args[c->x_arg.data[i]]->at;
    str name = source_text(c->s, at);
    if (r->reached[i]) continue;
    if (r->flat[i])
      warn(c->s, at,
           str_printf(a,
                      "the derivative for %.*s is 0: only ops that are flat (floor, round, sign) "
                      "lead from it to the value",
                      STR_FMT(name)));
    else
      warn(c->s, at,
           str_printf(a, "the derivative for %.*s is 0: the value does not depend on it",
                      STR_FMT(name)));
  }
}

static void no_derivative(grad_call *c, const grad_result *r) {
  if (r->reported) return;
  const node *n = r->failed;
  if (r->axes) {
    diag *d = scope_error(c->s, DIAG_too_many_axes, c->e->at,
                          "the derivative is made of values with %d axes; the limit is %d", r->axes,
                          MAX_AXES);
    scope_note(c->s, d, n->at, "here, with the further axes of the seed");
    return;
  }
  diag *d = scope_error(c->s, DIAG_no_derivative, c->e->at,
                        n->op == OP_call ? "`%.*s` is an extern function without a derivative"
                                         : "`%.*s` has no derivative",
                        STR_FMT(n->op == OP_call ? n->name : str_from(op_get(n->op)->name)));
  scope_note(c->s, d, n->at,
             "used here, on the way from the value to what it is differentiated for");
  const func *f = n->op == OP_call ? map_get(&c->s->l->p->functions, n->name) : NULL;
  if (n->op == OP_call)
    scope_note(c->s, d, f ? f->name_at : c->e->at,
               "give it one: extern fn %.*s(...) -> ... vjp NAME", STR_FMT(n->name));
  else scope_note(c->s, d, c->e->at, "stop(...) makes a value a constant for `grad`");
}

value lower_grad(scope *s, const expr *e) {
  grad_call_site site = {s, e->at};
  grad_call c = {.s = s, .e = e};
  c.options = (grad_options){
      .custom = custom_operands, .apply = custom_apply, .ctx = &site, .at = stamp_span(s, e->at)};
  if (!read_call(&c) || !seed_fits(&c)) return poison_at(e->at);
  lowerer *l = s->l;
  grad_result r;
  stamp_nodes(l, stamp_span(s, e->at));
  if (!graph_grad(l->g, c.y, c.x.data, c.x.len, c.seed, &c.options, &r)) {
    no_derivative(&c, &r);
    return poison_at(e->at);
  }
  l->stamped = l->g->nodes.len;  // derivatives have the positions of what they come from
  warn_of_independent(&c, &r);
  if (c.x.len == 1) return node_value(r.dx[0], e->at);
  value v = {.kind = VALUE_TUPLE, .at = e->at, .nitems = c.x.len};
  v.items = arena_array(l->arena, value, c.x.len);
  for (int i = 0; i < c.x.len; i++) v.items[i] = node_value(r.dx[i], e->at);
  return v;
}
