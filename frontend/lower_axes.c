// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Built-in functions that take axes: reductions, dot, scans, index, broadcast.
#include "frontend/lower.h"

bool collect_axis_args(scope *s, const expr *e, int from, axis_set *out) {
  for (int i = from; i < e->nargs; i++)
    if (!collect_axes(s, e->args[i], out)) return false;
  return true;
}

/// sum(x, 1), sum(x, -1), sum(x, dim = 1)
static bool is_axis_number(const expr *e) {
  if ((e->kind == EXPR_NAMED || e->kind == EXPR_UNARY) && e->nargs) e = e->args[0];
  return e->kind == EXPR_INT || (e->kind == EXPR_UNARY && e->args[0]->kind == EXPR_INT);
}

bool axes_of(scope *s, const expr *e, int from, const node *n, span n_at, axis_set *out) {
  for (int i = from; i < e->nargs; i++) {
    const expr *a = e->args[i];
    bool unknown = a->kind == EXPR_NAME && !is_axis_expr(s, a) && !map_get(&s->locals, a->name);
    if (unknown && !s->f->bad_syntax) return need_axis_of(s, n, n_at, -1, a->at);
    if (is_axis_number(a)) {
      scope_error(s, DIAG_argument_kind, a->at,
                  "axes have names, not numbers; %.*s has %.*s",
                  STR_FMT(source_text(s, n_at)), STR_FMT(axes_text(s, n->axes, n->naxes)));
      return false;
    }
    int before = out->n;
    if (!collect_axes(s, a, out)) return false;
    for (int k = before; k < out->n; k++)
      if (!need_axis_of(s, n, n_at, out->axes[k], a->at)) return false;
  }
  return true;
}

bool number_operand(scope *s, const char *name, const node *n, span at) {
  if (n->type != DT_bool) return true;
  diag *d = scope_error(s, DIAG_operand_type, at, "`%s` needs numbers, not bool", name);
  scope_fix_wrap(s, d, at, "i32");
  return false;
}

value lower_reduce(scope *s, const expr *e, const builtin *b, op o, value v) {
  node *n = is_poison(v) ? NULL : need_node(s, v);
  axis_set axes = {.n = 0};
  if (!n || !axes_of(s, e, 1, n, v.at, &axes)) return poison_at(e->at);
  if (op_get(o)->types == TYPES_BOOL && n->type != DT_bool) {
    scope_error(s, DIAG_operand_type, v.at, "`%s` needs bools, not %s", b->name,
                dtype_name(n->type));
    return poison_at(e->at);
  }
  if (op_get(o)->types != TYPES_BOOL && !number_operand(s, b->name, n, v.at))
    return poison_at(e->at);
  if (op_get(o)->types != TYPES_BOOL) n = widen(s, n);
  if (!axes.n) return node_value(n, e->at);  // an empty pack or `..`
  return node_value(graph_reduce(s->l->g, o, n, axes.axes, axes.n), e->at);
}

static bool read_flag(scope *s, const expr *option, unsigned *flags) {
  unsigned bit = str_eqz(option->name, "reverse")     ? NODE_REVERSE
                 : str_eqz(option->name, "exclusive") ? NODE_EXCLUSIVE
                                                      : 0;
  if (!bit) {
    scope_error(s, DIAG_unknown_option, option->name_at,
                "there is no option `%.*s`; the options are reverse and exclusive",
                STR_FMT(option->name));
    return false;
  }
  if (option->args[0]->kind != EXPR_BOOL) {
    scope_error(s, DIAG_argument_kind, option->args[0]->at, "this option is true or false");
    return false;
  }
  if (option->args[0]->integer) *flags |= bit;
  return true;
}

/// Of a scan's arguments, args[from] names the axis, one that n has, and the rest are options. -1: an
/// error.
static int scan_axis(scope *s, const expr *e, const builtin *b, int from, const node *n, span n_at,
                     unsigned *flags) {
  for (int i = from + 1; i < e->nargs; i++) {
    if (e->args[i]->kind != EXPR_NAMED) {
      scope_error(s, DIAG_argument_count, e->args[i]->at, "`%s` runs along one axis: %s", b->name,
                  b->usage);
      return -1;
    }
    if (!read_flag(s, e->args[i], flags)) return -1;
  }
  expr first = *e;
  first.nargs = from + 1;
  axis_set axes = {.n = 0};
  if (!axes_of(s, &first, from, n, n_at, &axes)) return -1;
  if (axes.n == 1) return axes.axes[0];
  scope_error(s, DIAG_argument_kind, e->args[from]->at, "`%s` runs along one axis, not %d", b->name,
              axes.n);
  return -1;
}

static value lower_scan(scope *s, const expr *e, const builtin *b) {
  unsigned flags = 0;
  value v = lower_expr(s, e->args[0]);
  node *n = is_poison(v) ? NULL : need_node(s, v);
  if (!n || !number_operand(s, b->name, n, v.at)) return poison_at(e->at);
  int axis = scan_axis(s, e, b, 1, n, v.at, &flags);
  if (axis < 0) return poison_at(e->at);
  return node_value(graph_scan(s->l->g, b->op, widen(s, n), axis, flags), e->at);
}

/// The axis is one of either operand: messages speak of both as one value.
static value lower_affine_scan(scope *s, const expr *e, const builtin *b) {
  unsigned flags = 0;
  node *in[2];
  value v[2] = {lower_expr(s, e->args[0]), lower_expr(s, e->args[1])};
  if (!meet_types(s, v[0], v[1], e->at, "`affine_scan`", &in[0], &in[1])) return poison_at(e->at);
  if (!number_operand(s, b->name, in[0], v[0].at)) return poison_at(e->at);
  axis_set all = {.n = 0};
  for (int i = 1; i >= 0; i--)
    for (int k = 0; k < in[i]->naxes; k++) set_add(&all, in[i]->axes[k]);
  if (!check_axis_count(s, &all, e->at)) return poison_at(e->at);
  node both = {.type = in[0]->type, .axes = all.axes, .naxes = all.n};
  span both_at = {v[0].at.file, v[0].at.begin, v[1].at.end};
  int axis = scan_axis(s, e, b, 2, &both, both_at, &flags);
  if (axis < 0) return poison_at(e->at);
  return node_value(graph_affine_scan(s->l->g, in[0], in[1], axis, flags), e->at);
}

/// Of bools the first true (or false) one: they are ordered as numbers.
static value lower_arg(scope *s, const expr *e, const builtin *b) {
  value v = lower_expr(s, e->args[0]);
  node *n = is_poison(v) ? NULL : need_node(s, v);
  axis_set axes = {.n = 0};
  if (!n || !axes_of(s, e, 1, n, v.at, &axes)) return poison_at(e->at);
  if (!axes.n) {
    scope_error(s, DIAG_argument_kind, e->args[1]->at, "`%s` needs an axis: %s", b->name, b->usage);
    return poison_at(e->at);
  }
  n = n->type == DT_bool ? graph_cast(s->l->g, n, DT_u8) : widen(s, n);
  int axis = axes.axes[0];
  if (axes.n > 1) n = graph_flatten(s->l->g, n, axes.axes, axes.n, &axis);
  return node_value(graph_reduce(s->l->g, b->op, n, &axis, 1), e->at);
}

/// The narrower operand is widened; but an f32 that meets a float of 16 bits is narrowed, as products
/// of those are summed in f32 all the same, and faster.
static void fix_dot_types(scope *s, diag *d, dtype ta, span a, dtype tb, span b) {
  bool left = dtype_bytes(ta) < dtype_bytes(tb);
  dtype narrow = left ? ta : tb, wide = left ? tb : ta;
  span narrow_at = left ? a : b, wide_at = left ? b : a;
  bool half = dtype_is_float(narrow) && dtype_bytes(narrow) == 2 && wide == DT_f32;
  scope_fix_wrap(s, d, half ? wide_at : narrow_at, dtype_name(half ? narrow : wide));
  if (half)
    scope_note(s, d, narrow_at, "%s(...) of this makes it a product of %s instead",
               dtype_name(wide), dtype_name(wide));
}

/// dot takes f16 and bf16 as they are; the types of both must be equal.
static bool dot_operands(scope *s, const expr *e, node **a, node **b, value *va, value *vb) {
  *va = lower_expr(s, e->args[0]);
  *vb = lower_expr(s, e->args[1]);
  *a = is_poison(*va) ? NULL : need_node(s, *va);
  *b = is_poison(*vb) ? NULL : need_node(s, *vb);
  if (!*a || !*b) return false;
  if (!number_operand(s, "dot", *a, va->at) || !number_operand(s, "dot", *b, vb->at)) return false;
  if ((*a)->type == (*b)->type) return true;
  diag *d = scope_error(s, DIAG_type_mismatch, e->at,
                        "`dot` needs operands of one type, not %s and %s",
                        dtype_name((*a)->type), dtype_name((*b)->type));
  fix_dot_types(s, d, (*a)->type, va->at, (*b)->type, vb->at);
  return false;
}

/// dot(x, w): says which axes there are to sum over.
static value dot_without_axes(scope *s, const expr *e, const node *a, const node *b) {
  axis_set shared = {.n = 0};
  for (int i = 0; i < a->naxes; i++)
    if (node_has_axis(b, a->axes[i])) set_add(&shared, a->axes[i]);
  str names = axes_text(s, shared.axes, shared.n);
  span close = {e->at.file, e->at.end - 1, e->at.end - 1};
  if (!shared.n) {
    diag *d = scope_error(s, DIAG_argument_count, e->at,
                          "`dot` needs the axes it sums over, and its operands share none; rename "
                          "one: x[K -> D]");
    scope_note(s, d, e->args[0]->at, "this is %.*s", STR_FMT(node_text(s, a)));
    scope_note(s, d, e->args[1]->at, "this is %.*s", STR_FMT(node_text(s, b)));
  } else {
    diag *d = scope_error(s, DIAG_argument_count, e->at,
                          "`dot` needs the axes it sums over: dot(a, b, AXIS...); both operands "
                          "have %.*s", STR_FMT(names));
    scope_fixit(s, d, close, ", %.*s", STR_FMT(names));
  }
  return poison_at(e->at);
}

static value lower_dot(scope *s, const expr *e) {
  node *a, *b;
  value va, vb;
  if (!dot_operands(s, e, &a, &b, &va, &vb)) return poison_at(e->at);
  if (e->nargs == 2) return dot_without_axes(s, e, a, b);
  axis_set axes = {.n = 0}, all = {.n = 0};
  if (!axes_of(s, e, 2, a, va.at, &axes)) return poison_at(e->at);
  axis_set again = {.n = 0};
  if (!axes_of(s, e, 2, b, vb.at, &again)) return poison_at(e->at);
  for (int i = 0; i < a->naxes; i++)
    if (!set_has(&axes, a->axes[i])) set_add(&all, a->axes[i]);
  for (int i = 0; i < b->naxes; i++)
    if (!set_has(&axes, b->axes[i])) set_add(&all, b->axes[i]);
  if (!check_axis_count(s, &all, e->at)) return poison_at(e->at);
  if (!axes.n) return lower_binary_op(s, OP_mul, "`dot`", va, vb, e->at);
  return node_value(graph_dot(s->l->g, a, b, axes.axes, axes.n), e->at);
}

/// The axes that e->args[from...] name, each an axis that is there or, with a size, a new one: R = 5.
static bool collect_or_define(scope *s, const expr *e, int from, axis_set *out) {
  for (int i = from; i < e->nargs; i++) {
    const expr *a = e->args[i];
    ix size;
    if (a->kind != EXPR_NAMED) {
      if (!collect_axes(s, a, out)) return false;
      continue;
    }
    if (!size_of_expr(s, a->args[0], &size) || !size_is_possible(s, size, a->at)) return false;
    int axis = define_axis(s, a->name, a->name_at, size);
    if (axis < 0) return false;
    if (set_has(out, axis)) {
      scope_error(s, DIAG_duplicate_axis, a->at, "the axis %.*s is named twice", STR_FMT(a->name));
      return false;
    }
    set_add(out, axis);
  }
  return true;
}

static value lower_index(scope *s, const expr *e) {
  axis_set axes = {.n = 0};
  if (!collect_or_define(s, e, 0, &axes)) return poison_at(e->at);
  if (axes.n != 1) {
    scope_error(s, DIAG_argument_kind, e->at, "`index` is of one axis; linear_index takes several");
    return poison_at(e->at);
  }
  return node_value(graph_index(s->l->g, DT_i32, axes.axes[0]), e->at);
}

/// The row-major position along several axes, i64.
static value lower_linear_index(scope *s, const expr *e) {
  graph *g = s->l->g;
  axis_set axes = {.n = 0};
  if (!collect_or_define(s, e, 0, &axes) || !check_axis_count(s, &axes, e->at))
    return poison_at(e->at);
  node *sum = NULL;
  ix stride = ix_const(&g->ix, 1);
  for (int i = axes.n - 1; i >= 0; i--) {
    node *term = graph_index(g, DT_i64, axes.axes[i]);
    if (sum) term = graph_binary(g, OP_mul, term, graph_size(g, DT_i64, stride));
    sum = sum ? graph_binary(g, OP_add, term, sum) : term;
    stride = ix_mul(&g->ix, stride, graph_axis_size(g, axes.axes[i]));
  }
  return node_value(sum ? sum : graph_const(g, DT_i64, (scalar){.i = 0}), e->at);
}

/// x repeated along further axes: a view that ignores their coordinates.
static value lower_broadcast(scope *s, const expr *e) {
  graph *g = s->l->g;
  value v = lower_expr(s, e->args[0]);
  node *n = is_poison(v) ? NULL : need_node(s, v);
  axis_set more = {.n = 0}, all = {.n = 0};
  if (!n || !collect_or_define(s, e, 1, &more)) return poison_at(e->at);
  ix index[MAX_AXES];
  for (int i = 0; i < n->naxes; i++) {
    set_add(&all, n->axes[i]);
    index[i] = ix_axis(&g->ix, n->axes[i]);
  }
  for (int i = 0; i < more.n; i++) set_add(&all, more.axes[i]);
  if (!check_axis_count(s, &all, e->at)) return poison_at(e->at);
  return node_value(graph_view(g, n, index, all.axes, all.n), e->at);
}

value lower_with_axes(scope *s, const expr *e, const builtin *b) {
  switch (b->kind) {
    case BUILTIN_MINMAX: return lower_reduce(s, e, b, b->op2, lower_expr(s, e->args[0]));
    case BUILTIN_REDUCE: return lower_reduce(s, e, b, b->op, lower_expr(s, e->args[0]));
    case BUILTIN_ARG: return lower_arg(s, e, b);
    case BUILTIN_SCAN: return lower_scan(s, e, b);
    case BUILTIN_AFFINE_SCAN: return lower_affine_scan(s, e, b);
    case BUILTIN_DOT: return lower_dot(s, e);
    case BUILTIN_INDEX: return lower_index(s, e);
    case BUILTIN_LINEAR_INDEX: return lower_linear_index(s, e);
    case BUILTIN_BROADCAST: return lower_broadcast(s, e);
    case BUILTIN_CONCAT: return lower_concat(s, e, b);
    case BUILTIN_PAD: return lower_pad(s, e, b);
    default: return lower_scatter_add(s, e, b);
  }
}
