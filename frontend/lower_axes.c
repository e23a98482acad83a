// Built-in functions that take axes: reductions, dot, scans, index, concat, pad, scatter_add.
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

/// Axes of a reduction of n. An unknown name is reported as an axis that n does not have.
static bool axes_of(scope *s, const expr *e, int from, const node *n, span n_at, axis_set *out) {
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

static bool number_operand(scope *s, const char *name, const node *n, span at) {
  if (n->type != DT_bool) return true;
  diag *d = scope_error(s, DIAG_operand_type, at, "`%s` needs numbers, not bool", name);
  scope_fix_wrap(s, d, at, "i32");
  return false;
}

static value lower_reduce(scope *s, const expr *e, const builtin *b, op o) {
  value v = lower_expr(s, e->args[0]);
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

static value lower_scan(scope *s, const expr *e, const builtin *b) {
  unsigned flags = 0;
  value v = lower_expr(s, e->args[0]);
  node *n = is_poison(v) ? NULL : need_node(s, v);
  if (!n || !number_operand(s, b->name, n, v.at)) return poison_at(e->at);
  for (int i = 2; i < e->nargs; i++) {
    if (e->args[i]->kind != EXPR_NAMED) {
      scope_error(s, DIAG_argument_count, e->args[i]->at, "`%s` runs along one axis: %s", b->name,
                  b->usage);
      return poison_at(e->at);
    }
    if (!read_flag(s, e->args[i], &flags)) return poison_at(e->at);
  }
  expr first = *e;
  first.nargs = 2;
  axis_set axes = {.n = 0};
  if (!axes_of(s, &first, 1, n, v.at, &axes)) return poison_at(e->at);
  if (axes.n != 1) {
    scope_error(s, DIAG_argument_kind, e->args[1]->at, "`%s` runs along one axis, not %d", b->name,
                axes.n);
    return poison_at(e->at);
  }
  return node_value(graph_scan(s->l->g, b->op, widen(s, n), axes.axes[0], flags), e->at);
}

/// n with the axes of the set as one, *flat, of their row-major positions; it stands where the first
/// of them stood in n.
static node *flatten(scope *s, node *n, const axis_set *set, int *flat) {
  graph *g = s->l->g;
  ix size = ix_const(&g->ix, 1), index[MAX_AXES];
  for (int i = 0; i < set->n; i++) size = ix_mul(&g->ix, size, graph_axis_size(g, set->axes[i]));
  *flat = graph_add_axis(g, g->axes.data[set->axes[0]].name, size);
  axis_set axes = {.n = 0};
  for (int k = 0; k < n->naxes; k++) {
    index[k] = ix_axis(&g->ix, n->axes[k]);
    set_add(&axes, set_has(set, n->axes[k]) ? *flat : n->axes[k]);
  }
  ix rest = ix_axis(&g->ix, *flat);
  for (int i = set->n - 1; i >= 0; i--) {
    ix one = graph_axis_size(g, set->axes[i]);
    for (int k = 0; k < n->naxes; k++)
      if (n->axes[k] == set->axes[i]) index[k] = i ? ix_mod(&g->ix, rest, one) : rest;
    rest = ix_div(&g->ix, rest, one);
  }
  return graph_view(g, n, index, axes.axes, axes.n);
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
  if (axes.n > 1) n = flatten(s, n, &axes, &axis);
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

// ---- concat and pad: a coordinate of the result minus an offset, and a fill outside

/// n with `axis` replaced by `to`, read at coordinate `to` - before, `fill` outside.
static node *shift(scope *s, node *n, node *fill, int axis, int to, ix before) {
  ix_pool *p = &s->l->g->ix;
  ix index[MAX_AXES];
  int axes[MAX_AXES];
  for (int i = 0; i < n->naxes; i++) {
    bool moved = n->axes[i] == axis;
    axes[i] = moved ? to : n->axes[i];
    index[i] = ix_axis(p, axes[i]);
    if (moved) index[i] = ix_sub(p, index[i], before);
  }
  return graph_pad(s->l->g, n, fill, index, axes, n->naxes);
}

static bool new_axis_in(scope *s, const node *n, int axis, int to, span at) {
  if (to == axis) {
    scope_error(s, DIAG_duplicate_axis, at, "the lengthened axis needs a new name");
    return false;
  }
  if (!node_has_axis(n, to)) return true;
  scope_error(s, DIAG_duplicate_axis, at, "the value has an axis %.*s already",
              STR_FMT(axis_text(s, to)));
  return false;
}

static bool is_arrow_of_names(const expr *e) {
  return e->kind == EXPR_ARROW && e->args[0]->kind == EXPR_NAME && e->args[1]->kind == EXPR_NAME;
}

static value lower_pad(scope *s, const expr *e, const builtin *b) {
  graph *g = s->l->g;
  const expr *arrow = e->args[1];
  value v = lower_expr(s, e->args[0]);
  node *n = is_poison(v) ? NULL : need_node(s, v);
  if (!n) return poison_at(e->at);
  if (!is_arrow_of_names(arrow)) {
    scope_error(s, DIAG_view_form, arrow->at, "`pad` needs the axis and its new name: %s",
                b->usage);
    return poison_at(e->at);
  }
  expr from = *e;
  from.args = arrow->args;
  from.nargs = 1;
  axis_set axis = {.n = 0};
  ix before, after, zero = ix_const(&g->ix, 0);
  if (!axes_of(s, &from, 0, n, v.at, &axis) || !size_of_expr(s, e->args[2], &before) ||
      !size_of_expr(s, e->args[3], &after))
    return poison_at(e->at);
  for (int i = 2; i < 4; i++) {
    if (assume_le(s, zero, i == 2 ? before : after)) continue;
    scope_error(s, DIAG_out_of_range, e->args[i]->at,
                "a pad cannot be negative; to cut an axis, slice it: x[D = 2:8 -> E]");
    return poison_at(e->at);
  }
  value fill = lower_expr(s, e->args[4]);
  node *fill_node = is_poison(fill) ? NULL : coerce(s, fill, n->type, "the padded value", v.at);
  if (!fill_node || axis.n != 1) return poison_at(e->at);
  if (fill_node->naxes) {
    scope_error(s, DIAG_axes_mismatch, fill.at, "the value to pad with is a scalar, not %.*s",
                STR_FMT(node_text(s, fill_node)));
    return poison_at(e->at);
  }
  ix size = ix_add(&g->ix, graph_axis_size(g, axis.axes[0]), ix_add(&g->ix, before, after));
  int to = define_axis(s, arrow->args[1]->name, arrow->args[1]->at, size);
  if (to < 0 || !new_axis_in(s, n, axis.axes[0], to, arrow->args[1]->at)) return poison_at(e->at);
  return node_value(shift(s, n, fill_node, axis.axes[0], to, before), e->at);
}

enum { MAX_PARTS = 64 };

typedef struct parts {
  node *in[MAX_PARTS];
  span at[MAX_PARTS];
  int axis[MAX_PARTS];
  int n;
  dtype type;  // of the values given
} parts;

static bool concat_form(scope *s, const expr *e, const builtin *b) {
  const expr *arrow = e->args[e->nargs - 1];
  bool ok = arrow->kind == EXPR_ARROW && arrow->args[0]->kind == EXPR_TUPLE &&
            arrow->args[1]->kind == EXPR_NAME;
  for (int i = 0; ok && i < arrow->args[0]->nargs; i++)
    ok = arrow->args[0]->args[i]->kind == EXPR_NAME;
  if (!ok) {
    scope_error(s, DIAG_view_form, arrow->at, "`concat` ends with the joined axes: %s", b->usage);
    return false;
  }
  if (arrow->args[0]->nargs != e->nargs - 1) {
    scope_error(s, DIAG_argument_count, arrow->args[0]->at,
                "%d values are joined, but %d axes named", e->nargs - 1, arrow->args[0]->nargs);
    return false;
  }
  if (e->nargs - 1 <= MAX_PARTS) return true;
  scope_error(s, DIAG_argument_count, e->at, "`concat` joins at most %d values", MAX_PARTS);
  return false;
}

/// Parts agree in type and in all axes but the joined one.
static bool same_others(scope *s, const parts *p, int i) {
  const node *a = p->in[0], *n = p->in[i];
  diag *d = NULL;
  if (n->type != a->type) {
    d = scope_error(s, DIAG_type_mismatch, p->at[i], "joined values have one type, not %s and %s",
                    dtype_name(a->type), dtype_name(n->type));
  } else {
    bool same = n->naxes == a->naxes;
    for (int k = 0; same && k < n->naxes; k++) {
      int one = n->axes[k];
      same = one == p->axis[i] || (one != p->axis[0] && node_has_axis(a, one));
    }
    if (same) return true;
    d = scope_error(s, DIAG_axes_mismatch, p->at[i],
                    "joined values agree in all axes but the joined one");
  }
  scope_note(s, d, p->at[0], "this is %.*s", STR_FMT(node_text(s, a)));
  scope_note(s, d, p->at[i], "this is %.*s", STR_FMT(node_text(s, n)));
  return false;
}

static bool collect_parts(scope *s, const expr *e, parts *p) {
  graph *g = s->l->g;
  const expr *from = e->args[e->nargs - 1]->args[0];
  bool fine = true;
  for (p->n = 0; p->n < e->nargs - 1; p->n++) {
    int i = p->n;
    value v = lower_expr(s, e->args[i]);
    p->in[i] = is_poison(v) ? NULL : need_node(s, v);
    p->at[i] = v.at;
    if (!p->in[i]) {
      fine = false;
      continue;
    }
    expr one = *from;
    one.args = from->args + i;
    one.nargs = 1;
    axis_set axis = {.n = 0};
    bool found = axes_of(s, &one, 0, p->in[i], v.at, &axis) && axis.n == 1;
    fine = found && fine;
    p->axis[i] = found ? axis.axes[0] : -1;
  }
  for (int i = 1; fine && i < p->n; i++) fine = same_others(s, p, i);
  if (fine) p->type = p->in[0]->type;
  if (!fine || p->type != DT_bool) return fine;
  for (int i = 0; i < p->n; i++) p->in[i] = graph_cast(g, p->in[i], DT_u8);
  return true;
}

/// where(index < end of the first, first, where(index < end of the second, second, ...)), each
/// part shifted to its place. Bools and storage types travel as u8 and f32: exact both ways.
static value lower_concat(scope *s, const expr *e, const builtin *b) {
  graph *g = s->l->g;
  ix_pool *pool = &g->ix;
  if (!concat_form(s, e, b)) return poison_at(e->at);
  parts *p = arena_new(s->l->arena, parts);
  if (!collect_parts(s, e, p)) return poison_at(e->at);
  ix ends[MAX_PARTS], end = ix_const(pool, 0);
  for (int i = 0; i < p->n; i++)
    ends[i] = end = ix_add(pool, end, graph_axis_size(g, p->axis[i]));
  const expr *name = e->args[e->nargs - 1]->args[1];
  int to = define_axis(s, name->name, name->at, end);
  if (to < 0) return poison_at(e->at);
  for (int i = 0; i < p->n; i++)
    if (!new_axis_in(s, p->in[i], p->axis[i], to, name->at)) return poison_at(e->at);
  node *result = NULL, *at = graph_index(g, DT_i64, to);
  for (int i = p->n - 1; i >= 0; i--) {
    node *part = widen(s, p->in[i]);
    ix begin = i ? ends[i - 1] : ix_const(pool, 0);
    part = shift(s, part, graph_const_float(g, part->type, 0), p->axis[i], to, begin);
    node *before = result ? graph_binary(g, OP_lt, at, graph_size(g, DT_i64, ends[i])) : NULL;
    result = result ? graph_where(g, before, part, result) : part;
  }
  int order[MAX_AXES];
  for (int i = 0; i < p->in[0]->naxes; i++)
    order[i] = p->in[0]->axes[i] == p->axis[0] ? to : p->in[0]->axes[i];
  if (p->type == DT_bool)
    result = graph_binary(g, OP_ne, result, graph_const(g, DT_u8, (scalar){.i = 0}));
  else if (result->type != p->type)
    result = graph_cast(g, result, p->type);
  return node_value(graph_reorder(g, result, order), e->at);
}

static value lower_scatter_add(scope *s, const expr *e, const builtin *b) {
  graph *g = s->l->g;
  const expr *where = e->args[1];
  if (where->kind != EXPR_NAMED) {
    scope_error(s, DIAG_view_form, where->at, "the second argument names the axis: %s", b->usage);
    return poison_at(e->at);
  }
  value v = lower_expr(s, e->args[0]), at = lower_expr(s, where->args[0]);
  value more = lower_expr(s, e->args[2]);
  if (is_poison(v) || is_poison(at) || is_poison(more)) return poison_at(e->at);
  node *n = need_node(s, v), *indices = need_node(s, at), *updates;
  if (!n || !indices || !number_operand(s, b->name, n, v.at)) return poison_at(e->at);
  n = widen(s, n);
  if (more.kind == VALUE_NODE) more.n = widen(s, more.n);
  updates = coerce(s, more, n->type, "the sum", v.at);
  const axis_name *a = find_axis(s, where->name);
  int axis = a ? a->axis : -1;
  if (!updates || !need_axis_of(s, n, v.at, axis, where->name_at)) return poison_at(e->at);
  if (!dtype_is_int(indices->type)) {
    scope_error(s, DIAG_operand_type, at.at, "indices are integers, not %s",
                dtype_name(indices->type));
    return poison_at(e->at);
  }
  if (node_has_axis(indices, axis)) {
    diag *d = scope_error(s, DIAG_axes_mismatch, at.at,
                          "the indices have the axis %.*s, along which they point",
                          STR_FMT(axis_text(s, axis)));
    scope_note(s, d, at.at, "the indices are %.*s", STR_FMT(node_text(s, indices)));
    return poison_at(e->at);
  }
  for (int i = 0; i < updates->naxes; i++) {
    int one = updates->axes[i];
    if (one != axis && (node_has_axis(indices, one) || node_has_axis(n, one))) continue;
    diag *d = scope_error(s, DIAG_axes_mismatch, more.at,
                          "the updates have the axis %.*s, which neither the indices nor the other "
                          "axes of the sum have", STR_FMT(axis_text(s, one)));
    scope_note(s, d, at.at, "the indices are %.*s", STR_FMT(node_text(s, indices)));
    return poison_at(e->at);
  }
  node *result = graph_scatter_add(g, n, axis, indices, updates);
  if (s->l->p->options->unchecked) result->flags |= NODE_UNCHECKED;
  return node_value(result, e->at);
}

value lower_with_axes(scope *s, const expr *e, const builtin *b) {
  switch (b->kind) {
    case BUILTIN_MINMAX: return lower_reduce(s, e, b, b->op2);
    case BUILTIN_REDUCE: return lower_reduce(s, e, b, b->op);
    case BUILTIN_ARG: return lower_arg(s, e, b);
    case BUILTIN_SCAN: return lower_scan(s, e, b);
    case BUILTIN_DOT: return lower_dot(s, e);
    case BUILTIN_INDEX: return lower_index(s, e);
    case BUILTIN_LINEAR_INDEX: return lower_linear_index(s, e);
    case BUILTIN_BROADCAST: return lower_broadcast(s, e);
    case BUILTIN_CONCAT: return lower_concat(s, e, b);
    case BUILTIN_PAD: return lower_pad(s, e, b);
    default: return lower_scatter_add(s, e, b);
  }
}
