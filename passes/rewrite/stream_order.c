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

/// Floats that a narrower type holds as one are equal afterwards, as are those that floor sees.
static bool makes_equal(const node *x) {
  if (x->op == OP_cast) return !dtype_cast_is_exact(x->in[0]->type, x->type);
  return x->nin == 1 && x->op != OP_neg && x->op != OP_exp && x->op != OP_exp2;
}

static bool follow(factoring *f, bool place, node *x, node **tile, bool *turned) {
  enum { LONG = 100 };
  if (!f->waits[x->id]) return *tile = x, true;
  if (f->visits++ > LONG) return factor_refuse(f, REASON_too_large, x);
  int k = x->nin > 1 && !factor_carries(f, x->in[0]) ? 1 : 0;
  const node *by = x->nin > 1 ? x->in[1 - k] : NULL;
  bool is_float = x->nin && dtype_is_float(x->type) && dtype_is_float(x->in[k]->type);
  if (!is_float || x->nin > 2 || (by && factor_carries(f, by)) || (place && makes_equal(x)))
    return factor_refuse(f, REASON_not_monotone, x);
  switch (op_get(x->op)->algebra) {
    case ALGEBRA_sum:
    case ALGEBRA_exponential:
    case ALGEBRA_rounding: break;
    case ALGEBRA_difference: *turned ^= k == 1; break;
    case ALGEBRA_negate: *turned ^= true; break;
    case ALGEBRA_rising:
      if (by && place) return factor_refuse(f, REASON_not_monotone, x);
      break;
    case ALGEBRA_quotient:
      if (k == 1) return factor_refuse(f, REASON_not_monotone, x);
      // fall through
    case ALGEBRA_product:
      if (!stream_is_positive(by)) return factor_refuse(f, REASON_sign_unknown, x);
      break;
    default: return factor_refuse(f, REASON_not_monotone, x);
  }
  return follow(f, place, x->in[k], tile, turned);
}

bool factor_order(factoring *f, const node *n, node **tile, bool *turned) {
  *turned = false;
  f->visits = 0;
  if (!follow(f, op_is_arg(n->op), n->in[0], tile, turned)) return false;
  f->obstacle = (obstacle){REASON_rule_off, n, RULE_order};
  return !(f->off & RULE_order);
}

/// x, of the extreme in the place of the tile.
static node *made_of(const factoring *f, node *x, const node *tile, node *extreme) {
  graph *g = f->g;
  if (x == tile) return extreme;
  if (!factor_carries(f, x)) return x;
  node *a = made_of(f, x->in[0], tile, extreme);
  if (x->op == OP_cast) return graph_cast(g, a, x->type);
  return x->nin == 1 ? graph_unary(g, x->op, a)
                     : graph_binary(g, x->op, a, made_of(f, x->in[1], tile, extreme));
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
  node *tile;
  bool turned, known = n->op == OP_reduce_max || n->op == OP_reduce_min || op_is_arg(n->op);
  if (!known || !factor_order(&s->f, n, &tile, &turned)) return NULL;
  for (int k = 0; k < n->nattr_axes; k++)
    if (!node_has_axis(tile, n->attr_axes[k])) return NULL;
  s->applied = RULE_order;
  op kind = turned ? other_extreme(n->op) : n->op;
  node *r = graph_reduce(s->g, kind, tile, n->attr_axes, n->nattr_axes);
  if (!op_is_arg(n->op)) r = stream_unless_empty(s, n, made_of(&s->f, n->in[0], tile, r));
  return r->type == n->type && node_same_axis_set(r, n) ? graph_reorder(s->g, r, n->axes) : NULL;
}
