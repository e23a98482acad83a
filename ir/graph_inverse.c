// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The inverse of a view: where in its result an element of its operand stands.
//
//   o[(H, E) -> M]            M = H * 64 + E
//   x[P -> (A, B)]            A = P / 4, B = P % 4
#include "base/fault.h"
#include "ir/graph.h"

/// X, X / d, X / d % s of an axis X of the view, with *divisor d.
static bool part_of_axis(ix_pool *p, ix e, int *axis, ix *divisor) {
  for (*divisor = ix_const(p, 1); !ix_is_axis(p, e, axis);) {
    ix_node n = *ix_get(p, e);
    if (n.kind != IX_DIV && n.kind != IX_MOD) return false;
    if (n.kind == IX_DIV) *divisor = ix_mul(p, *divisor, n.b);
    e = n.a;
  }
  return true;
}

static int position(const node *n, int axis) {
  int at = 0;
  while (at < n->naxes && n->axes[at] != axis) at++;
  return at;
}

/// What coordinate `at` of operand axis k says of the view's coordinates.
static bool add_coordinate(ix_pool *p, const graph *g, const node *view, int k, ix at, ix *index) {
  ix e = view->index[k], divisor;
  int axis;
  if (part_of_axis(p, e, &axis, &divisor)) {
    int j = position(view, axis);
    check(j < view->naxes);
    index[j] = ix_add(p, index[j], ix_mul(p, at, divisor));
    return true;
  }
  for (int j = 0; j < view->naxes; j++) {
    ix step, rest, size = graph_axis_size(g, view->axes[j]);
    if (!ix_uses_axis(p, e, view->axes[j])) continue;
    // A step of 0 is the size of an axis without elements.
    if (!ix_affine(p, e, view->axes[j], &step, &rest) || ix_bounds(p, step).min < 0) return false;
    ix part = ix_div(p, at, step);
    bool outermost = ix_known_le(p, graph_axis_size(g, view->in[0]->axes[k]), ix_mul(p, step, size));
    index[j] = ix_add(p, index[j], outermost ? part : ix_mod(p, part, size));
  }
  return true;
}

static bool invert(ix_pool *p, const graph *g, const node *view, const ix *at, ix *index) {
  for (int j = 0; j < view->naxes; j++) index[j] = ix_const(p, 0);
  for (int k = 0; k < view->in[0]->naxes; k++)
    if (!graph_axis_is_single(g, view->in[0]->axes[k]) && !add_coordinate(p, g, view, k, at[k], index))
      return false;
  return true;
}

static ix elements(ix_pool *p, const graph *g, const node *n) {
  ix count = ix_const(p, 1);
  for (int k = 0; k < n->naxes; k++) count = ix_mul(p, count, graph_axis_size(g, n->axes[k]));
  return count;
}

bool view_inverse(arena *a, const graph *g, const node *view, ix_pool *pool, ix *index) {
  if (view->op != OP_view) return false;
  ix_init(pool, a);
  ix_copy_pool(pool, &g->ix);
  return view_inverse_in(pool, g, view, index);
}

bool view_inverse_in(ix_pool *pool, const graph *g, const node *view, ix *index) {
  const node *x = view->in[0];
  if (view->op != OP_view) return false;
  ix count = elements(pool, g, view);
  if (count != elements(pool, g, x)) return false;
  if (count == ix_const(pool, 0)) {
    for (int j = 0; j < view->naxes; j++) index[j] = count;
    return true;
  }
  // Of as many elements, each of the view is found again: then it is one to one.
  if (!invert(pool, g, view, view->index, index)) return false;
  for (int j = 0; j < view->naxes; j++)
    if (!graph_axis_is_single(g, view->axes[j]) && index[j] != ix_axis(pool, view->axes[j])) return false;
  ix at[MAX_AXES];
  for (int k = 0; k < x->naxes; k++) at[k] = ix_axis(pool, x->axes[k]);
  return invert(pool, g, view, at, index);
}
