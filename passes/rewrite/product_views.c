// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Views of products in gradients become products of views, so that what transposes a window, a sum
// over it, is one contraction and the product of all its places is never stored:
//
//   %d = dot %gy, %w over O              : f32[P, C, R]
//   %e = pad %d[X - R, C, R], 0          : f32[X, C, R]
//   %s = sum %e over R                   : f32[X, C]
//   %v = view %s[Y + 1, C]               : f32[Y, C]        (drops the border)
//                ──▶
//   %p = pad %gy[O, Y + 1 - R], 0        : f32[O, Y, R]
//   %v = dot %p, %w over O, R            : f32[Y, C]
//
// Outside, a zero is multiplied with an element that was not looked at before: in forward values,
// where it may be infinite, nothing is changed.
#include "passes/rewrite/rewrite.h"

static bool is_gradient_product(const node *n) {
  return n->op == OP_dot && n->phase > 0 && dtype_is_float(n->type);
}

static bool is_zero(const node *n) {
  double v;
  return node_is_const(n, &v) && v == 0;
}

typedef struct axis_set {
  int axes[2 * MAX_AXES], n;
} axis_set;

static void add_axis(void *ctx, int axis) {
  axis_set *s = ctx;
  if (s->n < 2 * MAX_AXES && !axes_have(s->axes, s->n, axis)) s->axes[s->n++] = axis;
}

/// The operand of the product at the coordinates of the view, zero outside. Null: it does not fit.
static node *operand_at(graph *g, node *operand, const node *dot, const node *view) {
  ix index[MAX_AXES];
  axis_set to = {.n = 0};
  bool inside = true, same = true;
  for (int k = 0; k < operand->naxes; k++) {
    int axis = operand->axes[k], i = 0;
    ix size = graph_axis_size(g, axis), one = ix_const(&g->ix, 1);
    while (i < dot->naxes && dot->axes[i] != axis) i++;
    index[k] = i < dot->naxes ? view->index[i] : ix_axis(&g->ix, axis);
    same = same && index[k] == ix_axis(&g->ix, axis);
    inside = inside && ix_known_le(&g->ix, ix_const(&g->ix, 0), index[k]) &&
             ix_known_le(&g->ix, ix_add(&g->ix, index[k], one), size);
    ix_axes(&g->ix, index[k], add_axis, &to);
  }
  if (same) return operand;
  if (to.n > MAX_AXES) return NULL;
  return inside
             ? graph_view(g, operand, index, to.axes, to.n)
             : graph_pad(g, operand, graph_const_float(g, operand->type, 0), index, to.axes, to.n);
}

/// view(dot(a, b)) over more axes, which both have then. Null: it does not fit.
static node *product_at(graph *g, const node *view, const int *more, int nmore) {
  const node *dot = view->in[0];
  int over[2 * MAX_AXES], nover = dot->nattr_axes;
  memcpy(over, dot->attr_axes, sizeof(int) * (size_t)nover);
  for (int k = 0; k < nover; k++)
    if (node_has_axis(view, over[k])) return NULL;
  node *a = operand_at(g, dot->in[0], dot, view), *b = operand_at(g, dot->in[1], dot, view);
  if (!a || !b || nover + nmore > MAX_AXES) return NULL;
  for (int k = 0; k < nmore; k++) {
    if (!node_has_axis(a, more[k]) || !node_has_axis(b, more[k])) return NULL;
    over[nover++] = more[k];
  }
  node *product = graph_dot(g, a, b, over, nover);
  return product->naxes + nmore == view->naxes ? product : NULL;
}

/// Each axis of the product at its own coordinate, or a part of it.
static bool is_slice(graph *g, const node *view) {
  axis_set seen = {.n = 0};
  if (view->op != OP_view || view_is_reorder(g, view)) return false;
  for (int k = 0; k < view->in[0]->naxes; k++) {
    int before = seen.n, axis;
    ix_axes(&g->ix, view->index[k], add_axis, &seen);
    if (seen.n == before && ix_is_size(&g->ix, view->index[k])) continue;
    axis = seen.axes[seen.n - 1];
    if (seen.n != before + 1 ||
        !ix_is_size(&g->ix, ix_sub(&g->ix, view->index[k], ix_axis(&g->ix, axis))))
      return false;
  }
  return seen.n == view->naxes;
}

static node *sum_of_product(const rewrite *r, const node *sum) {
  const node *e = sum->in[0];
  if (!rewrite_used_once(r, e)) return NULL;
  if (is_gradient_product(e)) {
    int over[2 * MAX_AXES], n = e->nattr_axes;
    memcpy(over, e->attr_axes, sizeof(int) * (size_t)n);
    for (int k = 0; k < sum->nattr_axes; k++) {
      int axis = sum->attr_axes[k];
      if (!node_has_axis(e->in[0], axis) || !node_has_axis(e->in[1], axis)) return NULL;
      over[n++] = axis;
    }
    return n <= MAX_AXES ? graph_dot(r->g, e->in[0], e->in[1], over, n) : NULL;
  }
  if (e->op != OP_view && !(e->op == OP_pad && is_zero(e->in[1]))) return NULL;
  if (!is_gradient_product(e->in[0]) || !rewrite_used_once(r, e->in[0])) return NULL;
  return product_at(r->g, e, sum->attr_axes, sum->nattr_axes);
}

node *product_before_views(const rewrite *r, const node *n) {
  if (n->op == OP_sum && n->phase > 0) return sum_of_product(r, n);
  if (n->op != OP_view || !is_gradient_product(n->in[0]) || !rewrite_used_once(r, n->in[0]))
    return NULL;
  return is_slice(r->g, n) ? product_at(r->g, n, NULL, 0) : NULL;
}
