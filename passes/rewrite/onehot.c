// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A sum that a comparison with an index leaves one element of is that element.
//
//   %i = index V                                %t' = clamp %t to [0, V)
//   %c = eq %i, %t                              %g = gather %x along V at %t' unchecked
//   %p = where %c, %x, 0                  ──▶   %s = where %t is inside, %g + 0, 0
//   %s = sum %p over V
//
// Targets outside of the axis select nothing, as before; those that are checked, index(V)[V = t], are
// inside. A constant target inside is a view, and of an axis of two so is what `where %c, 0, %x` leaves: the other
// element. The added zero makes -0 the +0 that the sum gave, for which the axis must have another element
// (of a checked target in an axis of one element, the sign of a zero may differ).
#include "passes/rewrite/rewrite.h"

static bool is_index_along(const node *n, int axis) {
  return n->op == OP_index && n->attr_axes[0] == axis;
}

/// What the index along the axis is compared with; null: it is something else.
static node *target_of(const node *condition, int axis) {
  if (condition->op != OP_eq) return NULL;
  for (int k = 0; k < 2; k++) {
    node *target = condition->in[1 - k];
    if (is_index_along(condition->in[k], axis) && !node_has_axis(target, axis)) return target;
  }
  return NULL;
}

static node *element_at(graph *g, node *x, int axis, node *target, node *zero) {
  if (node_is_checked_index(target) && target->attr_axes[0] == axis) {
    // A target outside of the axis is an error of the call, as it was.
    node *element = graph_gather(g, x, axis, target->in[1]);
    element->flags = target->flags;
    element->at = target->at;
    return dtype_is_float(x->type) ? graph_binary(g, OP_add, element, zero) : element;
  }
  node *none = graph_const_float(g, target->type, 0);
  node *size = graph_size(g, target->type, graph_axis_size(g, axis));
  node *last = graph_binary(g, OP_sub, size, graph_const_float(g, target->type, 1));
  node *inside = graph_binary(g, OP_and, graph_binary(g, OP_ge, target, none),
                              graph_binary(g, OP_lt, target, size));
  node *at = graph_binary(g, OP_min, graph_binary(g, OP_max, target, none), last);
  node *element = graph_gather(g, x, axis, at);
  element->flags |= NODE_UNCHECKED;
  element->at = target->at;
  if (dtype_is_float(x->type)) element = graph_binary(g, OP_add, element, zero);
  return graph_where(g, inside, element, zero);
}

/// Where the comparison is with a number, the place of the element that is left; -1: it is not, or several are.
static int64_t fixed_place(const graph *g, const node *choice, int axis, const node *target, node **x) {
  int64_t size;
  double at;
  if (!ix_is_const(&g->ix, graph_axis_size(g, axis), &size) || !node_is_const(target, &at)) return -1;
  bool first = node_is_value(choice->in[2], 0);
  if (at < 0 || at >= (double)size || (!first && (size != 2 || !node_is_value(choice->in[1], 0)))) return -1;
  *x = choice->in[first ? 1 : 2];
  return first ? (int64_t)at : 1 - (int64_t)at;
}

static node *element_of(graph *g, node *x, int axis, int64_t place) {
  ix index[MAX_AXES];
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < x->naxes; i++) {
    bool fixed = x->axes[i] == axis;
    index[i] = fixed ? ix_const(&g->ix, place) : ix_axis(&g->ix, x->axes[i]);
    if (!fixed) axes[n++] = x->axes[i];
  }
  node *element = graph_view(g, x, index, axes, n);
  return dtype_is_float(x->type) ? graph_binary(g, OP_add, element, graph_const_float(g, x->type, 0)) : element;
}

/// The value is made in the block that n is in: a gather would want it in memory.
static bool is_made_beside(const node *n, const node *x) {
  while (x->op == OP_view) x = x->in[0];
  return n->contract && x->op != OP_param && x->contract == n->contract;
}

static node *select_one(const rewrite *r, node *sum) {
  if (sum->op != OP_sum || sum->nattr_axes != 1) return sum;
  const node *choice = sum->in[0];
  if (choice->op != OP_where) return sum;
  int axis = sum->attr_axes[0];
  node *x = choice->in[1], *zero = choice->in[2], *target = target_of(choice->in[0], axis);
  bool checked = target && node_is_checked_index(target) && target->attr_axes[0] == axis;
  bool has_two = checked || ix_bounds(&r->g->ix, graph_axis_size(r->g, axis)).min >= 2;
  node *left;
  int64_t place = target && has_two ? fixed_place(r->g, choice, axis, target, &left) : -1;
  if (place >= 0 && node_has_axis(left, axis)) {
    node *to = element_of(r->g, left, axis, place);
    return node_same_axis_set(to, sum) && to->type == sum->type ? to : sum;
  }
  if (is_made_beside(sum, x)) return sum;
  if (!target || !node_is_value(zero, 0) || !node_has_axis(x, axis) || !has_two) return sum;
  node *to = element_at(r->g, x, axis, target, zero);
  return node_same_axis_set(to, sum) && to->type == sum->type ? to : sum;
}

bool pass_onehot(pass_ctx *ctx) { return rewrite_graph(ctx, select_one, NULL); }
