// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Masks where values are combined. A value that is taken nowhere has no cotangent: adding zeros to it is right
// until something that may be infinite there multiplies them.
//
//   let l = log(x)
//   where(a, l, 0) + where(b, l, 0)      to l: (value, a or b), and 0 at x = 0 where neither is true
//   where(a, l[N -> M], 0)               the mask too is seen through the transposed view
//   where(a, l + w, 0), l without T      the mask of l: whether a is true anywhere along T
//
// Selections cost little and sums of masks more, so a mask goes on only where an elementwise op on the way
// down may need it before products and sums, which want values, take it away again.
#include "base/fault.h"
#include "ir/grad_rules.h"
#include "ir/grad_view.h"

/// Of numbers that are finite the op gives such.
static bool keeps_finite(const node *n) {
  switch (n->op) {
    case OP_div:
    case OP_rem:
    case OP_pow:
    case OP_exp:
    case OP_exp2:
    case OP_expm1:
    case OP_log:
    case OP_log2:
    case OP_log10:
    case OP_log1p:
    case OP_sqrt:
    case OP_rsqrt:
    case OP_tan:
    case OP_asin:
    case OP_acos:
    case OP_sinh:
    case OP_cosh:
    case OP_bitcast:
    case OP_call:
    case OP_reduce_max:
    case OP_reduce_min:
    case OP_cummax:
    case OP_cummin:
    case OP_prod:
    case OP_cumprod: return false;
    case OP_const: return !dtype_is_float(n->type) || (n->value.f - n->value.f == 0);
    default: return true;
  }
}

/// A partial of it may be infinite, or NaN.
static bool is_singular(const gradient *d, const node *n, const bool *finite) {
  switch (n->op) {
    case OP_mul:
    case OP_fma:
      for (int k = 0; k < 2; k++)
        if (d->open[n->in[k]->id] && !finite[n->in[1 - k]->id]) return true;
      return false;
    case OP_prod: return true;
    case OP_asin:
    case OP_acos:
    case OP_atan2: return true;
    default: return op_is_map(n->op) && !keeps_finite(n);
  }
}

static bool passes_masks(const node *n) {
  op_class c = op_get(n->op)->class;
  return c == CLASS_map || c == CLASS_view || c == CLASS_reduce;
}

void grad_find_fragile(gradient *d) {
  graph *g = d->g;
  scratch room;
  scratch_open(&room);
  bool *finite = arena_array(&room.arena, bool, d->count);
  for (int id = 0; id < d->count; id++) {
    const node *n = g->nodes.data[id];
    finite[id] = keeps_finite(n);
    for (int k = 0; k < n->nin; k++) finite[id] &= finite[n->in[k]->id];
    if (!d->open[id]) continue;
    bool below = false;
    for (int k = 0; k < n->nin; k++) below |= d->open[n->in[k]->id];
    if (!below) continue;
    d->fragile[id] = is_singular(d, n, finite);
    for (int k = 0; k < n->nin && passes_masks(n); k++)
      d->fragile[id] |= d->open[n->in[k]->id] && d->fragile[n->in[k]->id];
  }
  scratch_close(&room);
}

node *grad_mask_of_both(gradient *d, const node *n, node *a, node *b) {
  if (!a || !b || !d->fragile[n->id]) return NULL;
  return a == b ? a : graph_binary(d->g, OP_or, a, b);
}

node *grad_mask_over(gradient *d, const node *n, node *mask, const int *axes, int naxes) {
  int present[2 * MAX_AXES], count = 0;
  // In a streamed block it would be one more state.
  if (!mask || !d->fragile[n->id] || d->g->contract) return NULL;
  for (int k = 0; k < naxes; k++)
    if (node_has_axis(mask, axes[k])) present[count++] = axes[k];
  return count ? graph_reduce(d->g, OP_any, mask, present, count) : mask;
}

node *grad_mask_through(gradient *d, const node *view, node *mask) {
  graph *g = d->g;
  bool scattered;
  if (!mask || !d->fragile[view->in[0]->id] || g->contract) return NULL;
  node *count = view_transpose(g, view, graph_cast(g, mask, DT_f32), &scattered);
  return scattered ? NULL : graph_binary(g, OP_ne, count, grad_number(d, 0, DT_f32));
}
