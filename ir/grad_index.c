// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the cotangents of gathers and scatters give to their operands.
#include "base/fault.h"
#include "ir/grad_rules.h"

/// All axes of the indices are axes of a: each element of a is read once at most, where its index says so.
static bool is_pick(const node *a, const node *indices, int along) {
  for (int k = 0; k < indices->naxes; k++)
    if (indices->axes[k] == along || !node_has_axis(a, indices->axes[k])) return false;
  return true;
}

/// Zeros along the axes of a and those that only gy has.
static node *zeros_for(gradient *d, const node *a, const node *n, const node *gy) {
  int axes[MAX_AXES], naxes = a->naxes;
  memcpy(axes, a->axes, sizeof(int) * (size_t)a->naxes);
  for (int k = 0; k < gy->naxes; k++) {
    if (node_has_axis(n, gy->axes[k]) || axes_have(axes, naxes, gy->axes[k])) continue;
    check(naxes < MAX_AXES);
    axes[naxes++] = gy->axes[k];
  }
  return graph_spread(d->g, grad_number(d, 0, gy->type), axes, naxes);
}

void grad_gather(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *a = n->in[0], *indices = n->in[1];
  int along = n->attr_axes[0];
  if (!grad_wants(d, n, 0)) return;
  if (is_pick(a, indices, along)) {
    node *here = graph_index(g, indices->type == DT_i64 ? DT_i64 : DT_i32, along);
    if (here->type != indices->type) indices = graph_cast(g, indices, here->type);
    node *picked = graph_binary(g, OP_eq, here, indices);
    if (c.mask) picked = graph_binary(g, OP_and, c.mask, picked);
    grad_give(d, a, (cotangent){c.value, picked}, NULL, 0);
    return;
  }
  node *gy = graph_spread(g, grad_value(d, c), indices->axes, indices->naxes);
  node *zeros = zeros_for(d, a, n, gy);
  if (node_has_axis(indices, along)) {  // x[V = i] with i[V]: two axes to the scatter
    int other = graph_add_axis(g, g->axes.data[along].name, graph_axis_size(g, along));
    indices = graph_rename(g, indices, &along, &other, 1);
    gy = graph_rename(g, gy, &along, &other, 1);
  }
  node *v = graph_scatter_add(g, zeros, along, indices, gy);
  grad_give(d, a, (cotangent){v, NULL}, NULL, 0);
}

/// The updates are repeated along the axes of the indices and of the base.
void grad_scatter(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *base = n->in[0], *indices = n->in[1], *updates = n->in[2];
  int along = n->attr_axes[0], over[2 * MAX_AXES], nover = 0;
  if (grad_wants(d, n, 0)) grad_give(d, base, c, NULL, 0);
  if (!grad_wants(d, n, 2)) return;
  node *gy = grad_value(d, c);
  if (node_has_axis(gy, along)) gy = graph_gather(g, gy, along, indices);
  for (int k = 0; k < indices->naxes; k++) over[nover++] = indices->axes[k];
  for (int k = 0; k < base->naxes; k++)
    if (base->axes[k] != along && !axes_have(over, nover, base->axes[k]))
      over[nover++] = base->axes[k];
  grad_give(d, updates, (cotangent){gy, NULL}, over, nover);
}
