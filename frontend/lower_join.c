// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Built-in functions that make a value of several, or of more elements: concat, pad, scatter_add.
#include "frontend/lower.h"

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

value lower_pad(scope *s, const expr *e, const builtin *b) {
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
value lower_concat(scope *s, const expr *e, const builtin *b) {
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

value lower_scatter_add(scope *s, const expr *e, const builtin *b) {
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
  axis_set walked = {.n = 0};
  for (int i = 0; i < n->naxes; i++) set_add(&walked, n->axes[i]);
  for (int i = 0; i < indices->naxes; i++) set_add(&walked, indices->axes[i]);
  if (walked.n > MAX_AXES) {
    scope_error(s, DIAG_too_many_axes, e->at,
                "`scatter_add` would walk %d axes together; the limit is %d", walked.n, MAX_AXES);
    return poison_at(e->at);
  }
  node *result = graph_scatter_add(g, n, axis, indices, updates);
  if (s->l->p->options->unchecked) result->flags |= NODE_UNCHECKED;
  return node_value(result, e->at);
}
