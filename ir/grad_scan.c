// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the cotangent of a scan gives to its operand.
#include "ir/grad_rules.h"

/// The transpose of a running sum is one from the other end.
static void give_cumsum(gradient *d, node *n, cotangent c) {
  node *gy = grad_spread(d->g, grad_value(d, c), n->attr_axes, 1);
  node *v = graph_scan(d->g, OP_cumsum, gy, n->attr_axes[0], n->flags ^ NODE_REVERSE);
  grad_give(d, n->in[0], (cotangent){v, NULL}, NULL, 0);
}

void grad_scan(gradient *d, node *n, cotangent c) {
  switch (n->op) {
    case OP_cumsum: give_cumsum(d, n, c); return;
    default: grad_fail(d, n);
  }
}
