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

typedef struct axis_set {
  int axes[2 * MAX_AXES], n;
} axis_set;

static void add_axis(void *ctx, int axis) {
  axis_set *s = ctx;
  if (s->n < 2 * MAX_AXES && !axes_have(s->axes, s->n, axis)) s->axes[s->n++] = axis;
}

static int position(const node *n, int axis) {
  int i = 0;
  while (i < n->naxes && n->axes[i] != axis) i++;
  return i;
}

/// The coordinates of an operand of the product where the view reads it.
static void coordinates(graph *g, const node *operand, const node *view, ix *index) {
  const node *dot = view->in[0];
  for (int k = 0; k < operand->naxes; k++) {
    int i = position(dot, operand->axes[k]);
    index[k] = i < dot->naxes ? view->index[i] : ix_axis(&g->ix, operand->axes[k]);
  }
}

/// The operand at these coordinates, zero outside. Null: it does not fit.
static node *operand_at(graph *g, node *operand, const ix *index) {
  ix_pool *p = &g->ix;
  axis_set to = {.n = 0};
  bool inside = true, same = true;
  for (int k = 0; k < operand->naxes; k++) {
    ix size = graph_axis_size(g, operand->axes[k]), end = ix_add(p, index[k], ix_const(p, 1));
    same = same && index[k] == ix_axis(p, operand->axes[k]);
    inside = inside && ix_known_le(p, ix_const(p, 0), index[k]) && ix_known_le(p, end, size);
    ix_axes(p, index[k], add_axis, &to);
  }
  if (same) return operand;
  if (to.n > MAX_AXES) return NULL;
  if (inside) return graph_view(g, operand, index, to.axes, to.n);
  node *zero = graph_const_float(g, operand->type, 0);
  return graph_pad(g, operand, zero, index, to.axes, to.n);
}

// ---- strides
//
// Of a window with a stride, one operand is read at X / 2 - R and the other at R*2 + X % 2: the
// axis X of both would be one of a batch of small products. Of its quotient and rest, each operand
// has one.

/// An axis X as X + offset = quotient * by + rest.
typedef struct split {
  int axis, quotient, rest;
  ix whole, by;  // X + offset
} split;

typedef struct occurrence {
  ix whole, by;
  bool quotient, rest;
} occurrence;

/// Whether X is read in (X + offset) / by and (X + offset) % by only.
static bool find_parts(ix_pool *p, ix e, int axis, occurrence *o) {
  ix_node n = *ix_get(p, e);
  if (!ix_uses_axis(p, e, axis)) return true;
  if (n.kind == IX_DIV || n.kind == IX_MOD) {
    if (!ix_is_size(p, ix_sub(p, n.a, ix_axis(p, axis))) || !ix_is_const(p, n.b, NULL))
      return false;
    if (o->whole && (o->whole != n.a || o->by != n.b)) return false;
    o->whole = n.a, o->by = n.b;
    o->quotient |= n.kind == IX_DIV;
    o->rest |= n.kind == IX_MOD;
    return ix_bounds(p, n.a).min >= 0;
  }
  if (n.kind != IX_SUM) return false;
  for (int k = 0; k < n.nterms; k++)
    for (int i = 0; i < n.terms[k].natoms; i++)
      if (!find_parts(p, n.terms[k].atoms[i], axis, o)) return false;
  return true;
}

static bool find_split(graph *g, int axis, const ix *a, int na, const ix *b, int nb, split *s) {
  occurrence in_a = {0}, in_b = {0};
  for (int k = 0; k < na; k++)
    if (!find_parts(&g->ix, a[k], axis, &in_a)) return false;
  for (int k = 0; k < nb; k++)
    if (!find_parts(&g->ix, b[k], axis, &in_b)) return false;
  if (!in_a.whole || in_a.whole != in_b.whole || in_a.by != in_b.by) return false;
  if (in_a.quotient == in_a.rest || in_b.quotient == in_b.rest || in_a.rest == in_b.rest)
    return false;
  *s = (split){.axis = axis, .whole = in_a.whole, .by = in_a.by};
  return true;
}

/// Writes the coordinates by the two axes.
static void apply_split(graph *g, split *s, ix *a, int na, ix *b, int nb) {
  ix_pool *p = &g->ix;
  str name = g->axes.data[s->axis].name;
  ix last = ix_add(p, ix_sub(p, s->whole, ix_axis(p, s->axis)), graph_axis_size(g, s->axis));
  ix up = ix_sub(p, ix_add(p, last, s->by), ix_const(p, 1));
  s->quotient = graph_add_axis(g, name, ix_div(p, up, s->by));
  s->rest = graph_add_axis(g, name, s->by);
  ix offset = ix_sub(p, s->whole, ix_axis(p, s->axis));
  ix at = ix_add(p, ix_mul(p, ix_axis(p, s->quotient), s->by), ix_axis(p, s->rest));
  ix *by = arena_array(g->arena, ix, g->axes.len);
  by[s->axis] = ix_sub(p, at, offset);
  for (int k = 0; k < na; k++) a[k] = ix_substitute(p, p, a[k], by, g->axes.len);
  for (int k = 0; k < nb; k++) b[k] = ix_substitute(p, p, b[k], by, g->axes.len);
}

/// The product by the axes that the view has but for those summed; rests are outermost, so that
/// what was one line of memory is one by the quotients.
static node *joined(graph *g, node *product, const node *view, const int *more, int nmore,
                    const split *splits, int nsplits) {
  ix index[MAX_AXES];
  int axes[MAX_AXES], inner[2 * MAX_AXES], naxes = 0, ninner = 0;
  for (int k = 0; k < nsplits; k++) inner[ninner++] = splits[k].rest;
  for (int k = 0; k < view->naxes; k++) {
    int axis = view->axes[k];
    if (axes_have(more, nmore, axis)) continue;
    axes[naxes++] = axis;
    for (int i = 0; i < nsplits; i++)
      if (splits[i].axis == axis) axis = splits[i].quotient;
    inner[ninner++] = axis;
  }
  if (product->naxes != ninner) return NULL;
  for (int k = 0; k < ninner; k++)
    if (!node_has_axis(product, inner[k])) return NULL;
  if (!nsplits) return product;
  memcpy(product->axes, inner, sizeof(int) * (size_t)ninner);
  for (int k = 0; k < ninner; k++) {
    index[k] = ix_axis(&g->ix, inner[k]);
    for (int i = 0; i < nsplits; i++) {
      if (inner[k] == splits[i].rest) index[k] = ix_mod(&g->ix, splits[i].whole, splits[i].by);
      if (inner[k] == splits[i].quotient) index[k] = ix_div(&g->ix, splits[i].whole, splits[i].by);
    }
  }
  return graph_view(g, product, index, axes, naxes);
}

/// view(dot(a, b)) summed over more axes, which both have then. Null: it does not fit.
static node *product_at(graph *g, const node *view, const int *more, int nmore) {
  const node *dot = view->in[0];
  node *a = dot->in[0], *b = dot->in[1];
  ix at_a[MAX_AXES], at_b[MAX_AXES];
  split splits[MAX_AXES];
  int over[2 * MAX_AXES], nover = dot->nattr_axes, nsplits = 0;
  memcpy(over, dot->attr_axes, sizeof(int) * (size_t)nover);
  for (int k = 0; k < nover; k++)
    if (node_has_axis(view, over[k])) return NULL;
  coordinates(g, a, view, at_a);
  coordinates(g, b, view, at_b);
  for (int k = 0; k < view->naxes; k++) {
    split *s = &splits[nsplits];
    if (axes_have(more, nmore, view->axes[k])) continue;
    if (!find_split(g, view->axes[k], at_a, a->naxes, at_b, b->naxes, s)) continue;
    apply_split(g, s, at_a, a->naxes, at_b, b->naxes);
    nsplits++;
  }
  a = operand_at(g, a, at_a), b = operand_at(g, b, at_b);
  if (!a || !b || nover + nmore > MAX_AXES) return NULL;
  for (int k = 0; k < nmore; k++) {
    if (!node_has_axis(a, more[k]) || !node_has_axis(b, more[k])) return NULL;
    over[nover++] = more[k];
  }
  if (a->naxes + b->naxes - nover > MAX_AXES) return NULL;
  return joined(g, graph_dot(g, a, b, over, nover), view, more, nmore, splits, nsplits);
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
  if (e->op != OP_view && !(e->op == OP_pad && node_is_zero(e->in[1]))) return NULL;
  if (!is_gradient_product(e->in[0]) || !rewrite_used_once(r, e->in[0])) return NULL;
  return product_at(r->g, e, sum->attr_axes, sum->nattr_axes);
}

node *product_before_views(const rewrite *r, const node *n) {
  if (n->op == OP_sum && n->phase > 0) return sum_of_product(r, n);
  if (n->op != OP_view || !is_gradient_product(n->in[0]) || !rewrite_used_once(r, n->in[0]))
    return NULL;
  return is_slice(r->g, n) ? product_at(r->g, n, NULL, 0) : NULL;
}
