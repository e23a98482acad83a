// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the cotangent of a reduction or contraction gives to its operands.
#include "ir/grad_rules.h"
#include "ir/grad_view.h"

/// Extrema: equal elements share, whatever the order in which they are compared.
static void give_extremum(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *a = n->in[0], *is_it = graph_binary(g, OP_eq, a, n);
  node *count = graph_reduce(g, OP_sum, graph_cast(g, is_it, n->type), n->attr_axes, n->nattr_axes);
  node *mask = c.mask ? graph_binary(g, OP_and, c.mask, is_it) : is_it;
  grad_give(d, a, (cotangent){graph_binary(g, OP_div, c.value, count), mask}, NULL, 0);
}

/// The product of all others, as that of those before and those after: right with any number of
/// zeros, and differentiable again.
static void give_product(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *a = n->in[0], *line = a;
  int flat = n->attr_axes[0];
  if (n->nattr_axes > 1) line = graph_flatten(g, a, n->attr_axes, n->nattr_axes, &flat);
  node *before = graph_scan(g, OP_cumprod, line, flat, NODE_EXCLUSIVE);
  node *after = graph_scan(g, OP_cumprod, line, flat, NODE_EXCLUSIVE | NODE_REVERSE);
  node *others = graph_binary(g, OP_mul, before, after);
  if (line != a) others = view_transpose(g, line, others, NULL);
  grad_give(d, a, (cotangent){graph_binary(g, OP_mul, c.value, others), c.mask}, NULL, 0);
}

// ---- contractions

/// The operand of a product with a cotangent, of 16-bit operands rounded to their type, so that the
/// product is one for matrix units.
static node *as_factor(gradient *d, node *v, dtype t) {
  if (dtype_is_storage(t) && d->options->exact) t = DT_f32;
  return v->type == t ? v : graph_cast(d->g, v, t);
}

/// dot(g, b) over the axes of the result that a lacks. Along those that g lacks b is summed before.
static node *give_factor(gradient *d, const node *n, node *gy, const node *a, node *b) {
  graph *g = d->g;
  int over[MAX_AXES], nover = 0, before[MAX_AXES], nbefore = 0;
  for (int k = 0; k < n->naxes; k++) {
    if (node_has_axis(a, n->axes[k])) continue;
    if (node_has_axis(gy, n->axes[k])) over[nover++] = n->axes[k];
    else before[nbefore++] = n->axes[k];
  }
  if (nbefore || !nover) {
    if (b->type != gy->type) b = graph_cast(g, b, gy->type);
    b = grad_sum_present(g, b, before, nbefore);
  }
  if (!nover) return graph_binary(g, OP_mul, gy, b);
  dtype t = b->type;
  return graph_dot(g, as_factor(d, gy, t), as_factor(d, b, t), over, nover);
}

/// in: the factors; over: the summed axes, which one of them may lack.
static void give_factors(gradient *d, const node *n, cotangent c, node *const *in, const int *over,
                         int nover) {
  node *gy = grad_value(d, c);
  for (int k = 0; k < 2; k++) {
    if (!d->open[in[k]->id]) continue;
    cotangent gives = {give_factor(d, n, gy, in[k], in[1 - k]), NULL};
    grad_give(d, in[k], gives, over, nover);
  }
}

void grad_dot(gradient *d, node *n, cotangent c) { give_factors(d, n, c, n->in, NULL, 0); }

// ---- sums

static bool has_own_axis(const node *n, const node *a, const node *b) {
  for (int k = 0; k < n->naxes; k++)
    if (node_has_axis(a, n->axes[k]) && !node_has_axis(b, n->axes[k])) return true;
  return false;
}

/// The 16-bit value that is only widened to be a factor here.
static node *narrow_factor(const gradient *d, node *a) {
  bool widened = a->op == OP_cast && dtype_is_storage(a->in[0]->type) &&
                 !(a->flags & NODE_FRONTEND) && !d->is_x[a->id];
  return widened ? a->in[0] : NULL;
}

/// A sum of products of 16-bit values is a dot (passes/rewrite/contraction.c), and is differentiated as
/// one: the two spellings should not differ in speed and rounding.
static bool give_as_dot(gradient *d, node *n, cotangent c) {
  const node *product = n->in[0];
  if (product->op != OP_mul || d->is_x[product->id]) return false;
  node *in[2] = {narrow_factor(d, product->in[0]), narrow_factor(d, product->in[1])};
  if (!in[0] || !in[1] || in[0]->type != in[1]->type) return false;
  if (!has_own_axis(n, in[0], in[1]) || !has_own_axis(n, in[1], in[0])) return false;
  give_factors(d, n, c, in, n->attr_axes, n->nattr_axes);
  return true;
}

void grad_reduce(gradient *d, node *n, cotangent c) {
  if (!grad_wants(d, n, 0)) return;
  switch (n->op) {
    case OP_sum:
      if (!give_as_dot(d, n, c)) grad_give(d, n->in[0], c, NULL, 0);
      return;
    case OP_prod: give_product(d, n, c); return;
    default: give_extremum(d, n, c);
  }
}
