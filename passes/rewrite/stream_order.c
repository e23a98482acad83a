// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Extremes over T of values that wait for a reduction over T, where the value keeps the order of what
// waits for nothing (column algebra of ir/ops.def), or turns it around:
//
//   %p = exp (%s - %m) / %l                     %x = reduce_max %s over T
//   %t = reduce_max %p over T          ──▶      %t = exp (%x - %m) / %l
//
// What is done to an extreme is bit for bit what was done to the element. Rows multiply and divide where
// they cannot be negative. Numerics: docs/contracts.md.
#include "passes/rewrite/stream.h"

typedef struct order {
  stream *s;
  const node *n;  // the reduction
  node *tile;     // what waits for nothing
  bool turned;    // larger tiles give smaller values
  int visits;
} order;

/// Floats that a narrower type holds as one are equal afterwards, as are those that floor sees.
static bool makes_equal(const node *x) {
  if (x->op == OP_cast) return !dtype_cast_is_exact(x->in[0]->type, x->type);
  return x->nin == 1 && x->op != OP_neg && x->op != OP_exp && x->op != OP_exp2;
}

static bool follow(order *o, node *x) {
  enum { LONG = 100 };
  const factoring *f = &o->s->f;
  if (!f->waits[x->id]) return o->tile = x, true;
  if (++o->visits > LONG || x->op == OP_view) return false;
  int k = x->nin > 1 && !factor_carries(f, x->in[0]) ? 1 : 0;
  const node *by = x->nin > 1 ? x->in[1 - k] : NULL;
  if (x->nin > 2 || (by && factor_carries(f, by))) return false;
  if (op_is_arg(o->n->op) && makes_equal(x)) return false;
  bool is_float = dtype_is_float(x->type) && dtype_is_float(x->in[k]->type);
  switch (op_get(x->op)->algebra) {
    case ALGEBRA_sum: break;
    case ALGEBRA_difference: o->turned ^= k == 1; break;
    case ALGEBRA_negate: o->turned ^= true; break;
    case ALGEBRA_exponential: break;
    case ALGEBRA_rising:
      if (by && op_is_arg(o->n->op)) return false;
      break;
    case ALGEBRA_rounding: break;
    case ALGEBRA_quotient:
      if (k == 1) return false;
      // fall through
    case ALGEBRA_product:
      if (!stream_is_positive(by)) return false;
      break;
    default: return false;
  }
  return is_float && follow(o, x->in[k]);
}

/// x, of the extreme in the place of the tile.
static node *made_of(const order *o, node *x, node *extreme) {
  graph *g = o->s->g;
  if (x == o->tile) return extreme;
  if (!factor_carries(&o->s->f, x)) return x;
  node *a = made_of(o, x->in[0], extreme);
  if (x->op == OP_cast) return graph_cast(g, a, x->type);
  return x->nin == 1 ? graph_unary(g, x->op, a)
                     : graph_binary(g, x->op, a, made_of(o, x->in[1], extreme));
}

static op other_extreme(op o) {
  switch (o) {
    case OP_reduce_max: return OP_reduce_min;
    case OP_reduce_min: return OP_reduce_max;
    case OP_argmax: return OP_argmin;
    default: return OP_argmax;
  }
}

node *stream_extreme(stream *s, node *n) {
  order o = {.s = s, .n = n};
  bool known = n->op == OP_reduce_max || n->op == OP_reduce_min || op_is_arg(n->op);
  if (!known || s->f.off & RULE_order || !follow(&o, n->in[0])) return NULL;
  for (int k = 0; k < n->nattr_axes; k++)
    if (!node_has_axis(o.tile, n->attr_axes[k])) return NULL;
  s->applied = RULE_order;
  op kind = o.turned ? other_extreme(n->op) : n->op;
  node *r = graph_reduce(s->g, kind, o.tile, n->attr_axes, n->nattr_axes);
  if (!op_is_arg(n->op)) r = stream_unless_empty(s, n, made_of(&o, n->in[0], r));
  return r->type == n->type && node_same_axis_set(r, n) ? graph_reorder(s->g, r, n->axes) : NULL;
}
