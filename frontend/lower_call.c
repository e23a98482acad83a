// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Built-in functions of values; those that take axes are in lower_axes.c.
#include "frontend/lower.h"

static value bad_arguments(scope *s, const expr *e, const builtin *b) {
  scope_error(s, DIAG_argument_count, e->at, "`%s` takes other arguments: %s", b->name, b->usage);
  return poison_at(e->at);
}

static value lower_fma(scope *s, const expr *e) {
  value v[3];
  for (int i = 0; i < 3; i++) v[i] = lower_expr(s, e->args[i]);
  node *in[4];
  // a meets b, then the pair meets c, so that constants find the type among all three.
  if (v[0].kind == VALUE_CONST && v[1].kind == VALUE_CONST) {
    value swap = v[0];
    v[0] = v[2], v[2] = swap;
    if (!meet_types(s, v[0], v[2], e->at, "`fma`", &in[2], &in[0])) return poison_at(e->at);
    if (!meet_types(s, node_value(in[2], v[0].at), v[1], e->at, "`fma`", &in[3], &in[1]))
      return poison_at(e->at);
  } else {
    if (!meet_types(s, v[0], v[1], e->at, "`fma`", &in[0], &in[1])) return poison_at(e->at);
    if (!meet_types(s, node_value(in[0], v[0].at), v[2], e->at, "`fma`", &in[3], &in[2]))
      return poison_at(e->at);
  }
  if (!dtype_is_float(in[0]->type)) {
    scope_error(s, DIAG_operand_type, e->at, "`fma` needs floats, not %s",
                dtype_name(in[0]->type));
    return poison_at(e->at);
  }
  axis_set axes = {.n = 0};
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < in[i]->naxes; k++) set_add(&axes, in[i]->axes[k]);
  if (!check_axis_count(s, &axes, e->at)) return poison_at(e->at);
  return node_value(graph_map(s->l->g, OP_fma, in, 3, in[0]->type), e->at);
}

static value lower_clamp(scope *s, const expr *e) {
  value x = lower_expr(s, e->args[0]), low = lower_expr(s, e->args[1]);
  value high = lower_expr(s, e->args[2]);
  if (is_poison(x) || is_poison(low) || is_poison(high)) return poison_at(e->at);
  value v = lower_binary_op(s, OP_max, "`clamp`", x, low, e->at);
  return lower_binary_op(s, OP_min, "`clamp`", v, high, e->at);
}

/// Two constants are f32 when one of them can only be a float, else i32: the choice between them is
/// known when the program runs, so it is a value with a type and not a constant.
static bool where_arms(scope *s, value a, value b, span at, node **na, node **nb) {
  bool adapt = a.kind == VALUE_CONST && b.kind == VALUE_CONST && !a.c->fixed && !b.c->fixed;
  if (!adapt) return meet_types(s, a, b, at, "`where`", na, nb);
  dtype t = a.c->is_float || b.c->is_float ? DT_f32 : DT_i32;
  *na = constant_node(s, a.c, t, a.at);
  *nb = constant_node(s, b.c, t, b.at);
  return *na && *nb;
}

static value lower_where(scope *s, const expr *e) {
  value c = lower_expr(s, e->args[0]), a = lower_expr(s, e->args[1]);
  value b = lower_expr(s, e->args[2]);
  node *in[3];
  if (is_poison(c) || is_poison(a) || is_poison(b)) return poison_at(e->at);
  if (c.kind != VALUE_NODE || c.n->type != DT_bool) {
    node *n = c.kind == VALUE_NODE ? c.n : NULL;
    diag *d = scope_error(s, DIAG_operand_type, c.at, "the condition of `where` is a bool, not %s",
                          n ? dtype_name(n->type) : "a number");
    if (n) scope_note(s, d, c.at, "write a comparison, such as %.*s != 0",
                      STR_FMT(source_text(s, c.at)));
    return poison_at(e->at);
  }
  in[0] = c.n;
  if (!where_arms(s, a, b, e->at, &in[1], &in[2])) return poison_at(e->at);
  axis_set axes = {.n = 0};
  for (int i = 0; i < 3; i++)
    for (int k = 0; k < in[i]->naxes; k++) set_add(&axes, in[i]->axes[k]);
  if (!check_axis_count(s, &axes, e->at)) return poison_at(e->at);
  return node_value(graph_where(s->l->g, in[0], in[1], in[2]), e->at);
}

static value lower_random_bits(scope *s, const expr *e) {
  node *in[2];
  for (int i = 0; i < 2; i++) {
    value v = lower_expr(s, e->args[i]);
    in[i] = coerce(s, v, DT_i64, i ? "the counter of `random_bits`" : "the key of `random_bits`",
                   e->at);
    if (!in[i]) return poison_at(e->at);
  }
  axis_set axes = {.n = 0};
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < in[i]->naxes; k++) set_add(&axes, in[i]->axes[k]);
  if (!check_axis_count(s, &axes, e->at)) return poison_at(e->at);
  return node_value(graph_binary(s->l->g, OP_random_bits, in[0], in[1]), e->at);
}

/// Options (name = value) are only taken by some; views (->) too.
static bool plain_arguments(scope *s, const expr *e) {
  for (int i = 0; i < e->nargs; i++) {
    const expr *a = e->args[i];
    if (a->kind != EXPR_NAMED && a->kind != EXPR_SLICE) continue;
    scope_error(s, DIAG_unknown_option, a->name_at, "`%.*s` has no option `%.*s`",
                STR_FMT(e->name), STR_FMT(a->name));
    return false;
  }
  return true;
}

/// Of two options of one name the last would count.
static bool options_once(scope *s, const expr *e) {
  for (int i = 0; i < e->nargs; i++)
    for (int k = 0; k < i; k++) {
      const expr *a = e->args[i], *before = e->args[k];
      if (a->kind != EXPR_NAMED || before->kind != EXPR_NAMED || !str_eq(a->name, before->name))
        continue;
      diag *d = scope_error(s, DIAG_argument_count, a->name_at, "`%.*s` is given twice",
                            STR_FMT(a->name));
      scope_note(s, d, before->name_at, "here before");
      return false;
    }
  return true;
}

static value lower_plain(scope *s, const expr *e, const builtin *b) {
  const char *name = str_printf(s->l->arena, "`%s`", b->name).ptr;
  if (!plain_arguments(s, e)) return poison_at(e->at);
  switch (b->kind) {
    case BUILTIN_UNARY: {
      value v = lower_expr(s, e->args[0]);
      return is_poison(v) ? v : lower_unary_op(s, b->op, name, v, e->at);
    }
    case BUILTIN_BINARY: {
      value v = lower_expr(s, e->args[0]), w = lower_expr(s, e->args[1]);
      if (is_poison(v) || is_poison(w)) return poison_at(e->at);
      return lower_binary_op(s, b->op, name, v, w, e->at);
    }
    case BUILTIN_FMA: return lower_fma(s, e);
    case BUILTIN_CLAMP: return lower_clamp(s, e);
    case BUILTIN_WHERE: return lower_where(s, e);
    default: return lower_random_bits(s, e);
  }
}

static bool takes_axes(const expr *e, const builtin *b) {
  if (b->kind == BUILTIN_MINMAX) return e->nargs != 2;
  return b->kind >= BUILTIN_REDUCE && b->kind != BUILTIN_RANDOM_BITS;
}

/// Of two arguments the second is an axis or a value: which, the first may have made, max(x[N -> (A, B)], A).
static value lower_minmax(scope *s, const expr *e, const builtin *b) {
  if (e->args[1]->kind != EXPR_REST && !plain_arguments(s, e)) return poison_at(e->at);
  value v = lower_expr(s, e->args[0]);
  if (is_axis_expr(s, e->args[1])) return lower_reduce(s, e, b, b->op2, v);
  value w = lower_expr(s, e->args[1]);
  if (is_poison(v) || is_poison(w)) return poison_at(e->at);
  return lower_binary_op(s, b->op, str_printf(s->l->arena, "`%s`", b->name).ptr, v, w, e->at);
}

value lower_builtin(scope *s, const expr *e, const builtin *b) {
  if (b->kind == BUILTIN_LATER) {
    scope_error(s, DIAG_not_available, e->name_at,
                "`%s` is part of the language but not available yet: %s", b->name, b->usage);
    return poison_at(e->at);
  }
  if (e->nargs < b->least || (b->most >= 0 && e->nargs > b->most)) return bad_arguments(s, e, b);
  if (!options_once(s, e)) return poison_at(e->at);
  if (b->kind == BUILTIN_MINMAX && e->nargs == 2) return lower_minmax(s, e, b);
  if (b->kind == BUILTIN_GRAD) return lower_grad(s, e);
  if (b->kind == BUILTIN_STOP || b->kind == BUILTIN_KEEP) {
    if (!plain_arguments(s, e)) return poison_at(e->at);
    return b->kind == BUILTIN_STOP ? lower_stop(s, e) : lower_keep(s, e);
  }
  return takes_axes(e, b) ? lower_with_axes(s, e, b) : lower_plain(s, e, b);
}
