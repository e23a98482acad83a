// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the cotangent of a scan gives to its operand.
#include "ir/grad_rules.h"

/// The transpose of a running sum is one from the other end.
static void give_cumsum(gradient *d, node *n, cotangent c) {
  node *gy = graph_spread(d->g, grad_value(d, c), n->attr_axes, 1);
  node *v = graph_scan(d->g, OP_cumsum, gy, n->attr_axes[0], n->flags ^ NODE_REVERSE);
  grad_give(d, n->in[0], (cotangent){v, NULL}, NULL, 0);
}

/// L[t] = g[t] + a[t + 1] L[t + 1]: what all later steps give to the value at t of y[t] = a[t] y[t - 1] + ...;
/// of an exclusive scan, whose value at t is y[t - 1], g[t + 1] instead of g[t].
static node *later_steps(gradient *d, const node *n, node *a, node *gy) {
  graph *g = d->g;
  unsigned other = (n->flags ^ NODE_REVERSE) | NODE_EXCLUSIVE;
  int along = n->attr_axes[0];
  gy = graph_spread(g, gy, &along, 1);
  if (n->flags & NODE_EXCLUSIVE) return graph_affine_scan(g, a, gy, along, other);
  return graph_binary(g, OP_add, gy,
                      graph_affine_scan(g, a, graph_binary(g, OP_mul, a, gy), along, other));
}

/// The scan n of the same operands, before each step.
static node *before_steps(gradient *d, node *n) {
  if (n->flags & NODE_EXCLUSIVE) return n;
  unsigned flags = n->flags | NODE_EXCLUSIVE;
  if (n->op == OP_affine_scan)
    return graph_affine_scan(d->g, n->in[0], n->in[1], n->attr_axes[0], flags);
  return graph_scan(d->g, n->op, n->in[0], n->attr_axes[0], flags);
}

static void give_affine(gradient *d, node *n, cotangent c) {
  node *later = later_steps(d, n, n->in[0], grad_value(d, c));
  if (grad_wants(d, n, 1)) grad_give(d, n->in[1], (cotangent){later, NULL}, n->axes, n->naxes);
  if (!grad_wants(d, n, 0)) return;
  node *v = graph_binary(d->g, OP_mul, later, before_steps(d, n));
  grad_give(d, n->in[0], (cotangent){v, NULL}, n->axes, n->naxes);
}

/// No quotient of products: zeros are fine.
static void give_cumprod(gradient *d, node *n, cotangent c) {
  node *later = later_steps(d, n, n->in[0], grad_value(d, c));
  grad_give(d, n->in[0], (cotangent){graph_binary(d->g, OP_mul, later, before_steps(d, n)), NULL},
            NULL, 0);
}

/// An element that beats all before it has what comes until it is beaten: the first of equals.
static void give_running_extremum(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *a = n->in[0], *gy = grad_value(d, c);
  node *beats = graph_binary(g, n->op == OP_cummax ? OP_gt : OP_lt, a, before_steps(d, n));
  node *keeps = graph_cast(g, graph_unary(g, OP_not, beats), a->type);
  grad_give(d, a, (cotangent){later_steps(d, n, keeps, gy), beats}, NULL, 0);
}

void grad_scan(gradient *d, node *n, cotangent c) {
  switch (n->op) {
    case OP_cumsum: give_cumsum(d, n, c); return;
    case OP_cumprod: give_cumprod(d, n, c); return;
    case OP_cummax:
    case OP_cummin: give_running_extremum(d, n, c); return;
    case OP_affine_scan: give_affine(d, n, c); return;
    default: grad_fail(d, n);
  }
}
