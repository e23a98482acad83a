// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See factor.h. Only the algebra column of ir/ops.def is looked at, and the operands' dependences.
#include "passes/rewrite/factor.h"

#include <math.h>

#include "passes/rewrite/rewrite.h"

bool factor_carries(const factoring *f, const node *n) {
  for (int i = 0; i < f->naxes; i++)
    if (node_has_axis(n, f->axes[i])) return true;
  return false;
}

bool factor_refuse(factoring *f, reason why, const node *at) {
  f->obstacle = (obstacle){why, at, 0};
  return false;
}

/// False where the rule is switched off, which alone is in the way.
static bool applies(factoring *f, unsigned rule, reason why, const node *at) {
  f->obstacle = (obstacle){why, at, rule};
  return !(f->off & rule);
}

static node *times(graph *g, node *a, node *b) {
  return !a ? b : !b ? a : graph_binary(g, OP_mul, a, b);
}

static node *plus(graph *g, node *a, node *b) {
  return !a ? b : !b ? a : graph_binary(g, OP_add, a, b);
}

static node *minus(graph *g, node *a) { return a ? graph_unary(g, OP_neg, a) : NULL; }

static node *both(graph *g, node *a, node *b) {
  return !a || a == b ? b : !b ? a : graph_binary(g, OP_and, a, b);
}

bool factor_product(factoring *f, const term *a, const term *b, const node *at, term *out) {
  graph *g = f->g;
  int nsums = a->nsums + b->nsums;
  if (nsums > FACTOR_MOST_SUMS) return factor_refuse(f, REASON_degree, at);
  if ((a->rounds && b->rounds) || ((a->rounds || b->rounds) && nsums))
    return factor_refuse(f, REASON_rounded_between, at);
  const term *round = b->rounds ? b : a, *other = b->rounds ? a : b;
  *out = (term){.rounds = round->rounds, .type = round->type, .nsums = nsums};
  for (int i = 0; i < nsums; i++) out->sums[i] = i < a->nsums ? a->sums[i] : b->sums[i - a->nsums];
  out->mask = both(g, a->mask, b->mask);
  out->row_mask = both(g, a->row_mask, b->row_mask);
  out->factor = times(g, a->factor, b->factor);
  out->divisor = times(g, a->divisor, b->divisor);
  out->row_exponent = plus(g, a->row_exponent, b->row_exponent);
  if (round->rounds) {
    // What multiplies a rounded value is not rounded with it.
    if (other->exponent) return factor_refuse(f, REASON_rounded_between, at);
    out->inner = round->inner;
    out->exponent = round->exponent;
    out->after = times(g, round->after, times(g, other->inner, other->after));
    return true;
  }
  out->inner = times(g, a->inner, b->inner);
  out->after = times(g, a->after, b->after);
  out->exponent = plus(g, a->exponent, b->exponent);
  return true;
}

// ---- exponents

typedef struct parts {
  node *tile, *row;
} parts;

static bool is_infinite(const node *n, int sign) {
  return n->op == OP_const && dtype_is_float(n->type) && isinf(n->value.f) &&
         (n->value.f > 0) == (sign > 0);
}

/// Values that use another one twice, and that one another, have exponentially many factors or
/// terms.
static bool is_too_long(factoring *f) {
  enum { MOST_VISITS = 1000 };
  return f->visits++ > MOST_VISITS;
}

/// n = tile + row, where the row part waits and the tile part does not.
static bool split_sum(factoring *f, node *n, parts *out) {
  graph *g = f->g;
  *out = (parts){0};
  if (!factor_carries(f, n)) return out->row = n, true;
  if (!f->waits[n->id]) return out->tile = n, true;
  if (is_too_long(f)) return factor_refuse(f, REASON_too_large, n);
  parts a, b;
  switch (op_get(n->op)->algebra) {
    case ALGEBRA_sum:
    case ALGEBRA_difference:
      if (!split_sum(f, n->in[0], &a) || !split_sum(f, n->in[1], &b)) return false;
      if (n->op == OP_sub) b = (parts){minus(g, b.tile), minus(g, b.row)};
      *out = (parts){plus(g, a.tile, b.tile), plus(g, a.row, b.row)};
      return true;
    case ALGEBRA_negate:
      if (!split_sum(f, n->in[0], &a)) return false;
      *out = (parts){minus(g, a.tile), minus(g, a.row)};
      return true;
    case ALGEBRA_product:
    case ALGEBRA_quotient: {
      // A factor that is the same for all of T distributes over the sum.
      int k = factor_carries(f, n->in[0]) ? 0 : 1;
      node *by = n->in[1 - k];
      if (factor_carries(f, by) || f->waits[by->id] || (n->op == OP_div && k)) break;
      if (!split_sum(f, n->in[k], &a)) return false;
      if (a.tile) out->tile = graph_binary(g, n->op, a.tile, by);
      if (a.row) out->row = graph_binary(g, n->op, a.row, by);
      return true;
    }
    case ALGEBRA_rounding:
      // Widening loses nothing of either part; narrowing rounds the sum, and a sum of integers wraps.
      if (!dtype_cast_is_exact(n->in[0]->type, n->type) || dtype_is_int(n->in[0]->type)) break;
      if (!split_sum(f, n->in[0], &a)) return false;
      *out = (parts){a.tile ? graph_cast(g, a.tile, n->type) : NULL,
                     a.row ? graph_cast(g, a.row, n->type) : NULL};
      return true;
    case ALGEBRA_select:
      // exp(where(c, s, -inf)) is exp(s) where c, else nothing.
      if (f->waits[n->in[0]->id]) return factor_refuse(f, REASON_condition_waits, n);
      if (!is_infinite(n->in[2], -1) || !split_sum(f, n->in[1], &a) || !a.tile) break;
      out->tile = graph_where(g, n->in[0], a.tile, n->in[2]);
      out->row = a.row;
      return true;
    default: break;
  }
  return factor_refuse(f, REASON_not_additive, n);
}

/// n * ln 2. A factor of log2(e) cancels: what both were rounded by is no more than their product
/// is.
static node *to_base_e(graph *g, node *n) {
  double c = 0.69314718055994530942, d;
  double rounding = n->type == DT_f64 ? 0x1p-51 : 0x1p-22;
  int k = n->op == OP_mul && node_is_const(n->in[0], &d) ? 0 : 1;
  if (n->op == OP_mul && node_is_const(n->in[k], &d)) {
    n = n->in[1 - k];
    c *= d;
  }
  if (fabs(c - 1) <= rounding) return n;
  return graph_binary(g, OP_mul, n, graph_const_float(g, n->type, c));
}

static bool exponential(factoring *f, node *n, term *out) {
  parts p;
  if (!split_sum(f, n->in[0], &p) || !applies(f, RULE_exponents, REASON_rule_off, n)) return false;
  if (n->op == OP_exp2) {
    if (p.tile) p.tile = to_base_e(f->g, p.tile);
    if (p.row) p.row = to_base_e(f->g, p.row);
  }
  *out = (term){.exponent = p.tile, .row_exponent = p.row};
  return true;
}

// ---- values

/// Only where the arm that drops out is zero does one term remain.
static bool selected(factoring *f, node *n, term *out) {
  graph *g = f->g;
  node *c = n->in[0];
  bool of_rows = !factor_carries(f, c);
  if (f->waits[c->id] && !of_rows) return factor_refuse(f, REASON_condition_waits, n);
  int arm = of_rows && node_is_zero(n->in[1]) ? 2 : 1;
  if (!dtype_is_float(n->type) || !node_is_zero(n->in[3 - arm]))
    return factor_refuse(f, REASON_not_separable, n);
  if (!factor_value(f, n->in[arm], out)) return false;
  if (of_rows) {
    out->row_mask = both(g, out->row_mask, arm == 1 ? c : graph_unary(g, OP_not, c));
    return true;
  }
  if (out->exponent) {
    node *least = graph_const_float(g, out->exponent->type, -INFINITY);
    out->exponent = graph_where(g, c, out->exponent, least);
  }
  if (out->nsums) {  // a value that is not selected counts nowhere, not even as NaN
    out->mask = both(g, out->mask, c);
  } else if (out->exponent) {
    return true;
  } else if (out->rounds || !out->inner) {
    node *one = graph_const_float(g, n->type, 1);
    out->after = times(g, out->after, graph_where(g, c, one, n->in[2]));
  } else {
    out->inner = graph_where(g, c, out->inner, n->in[2]);
  }
  return true;
}

/// 1 / term: parts change sides.
static bool inverted(factoring *f, const term *a, const node *at, term *out) {
  graph *g = f->g;
  if (a->rounds) return factor_refuse(f, REASON_rounded_between, at);
  if (a->nsums || a->row_mask) return factor_refuse(f, REASON_not_separable, at);
  node *tile = times(g, a->inner, a->after), *one = graph_const_float(g, at->type, 1);
  *out = (term){.factor = a->divisor, .divisor = a->factor, .exponent = minus(g, a->exponent),
                .row_exponent = minus(g, a->row_exponent)};
  if (tile) out->inner = graph_binary(g, OP_div, one, tile);
  return true;
}

static bool quotient(factoring *f, node *n, term *out) {
  term a, b, inverse;
  if (!dtype_is_float(n->type))
    return factor_refuse(f, REASON_not_separable, n);  // each quotient is cut off
  if (!factor_value(f, n->in[0], &a)) return false;
  node *by = n->in[1];
  if (!factor_carries(f, by)) {
    *out = a;
    out->divisor = times(f->g, a.divisor, by);
    return true;
  }
  // A divisor along T that waits for nothing divides what is inside, as it is written.
  if (!f->waits[by->id] && !a.rounds) {
    *out = a;
    node *one = graph_const_float(f->g, n->type, 1);
    out->inner = graph_binary(f->g, OP_div, a.inner ? a.inner : one, by);
    return true;
  }
  return factor_value(f, by, &b) && inverted(f, &b, n, &inverse) &&
         factor_product(f, &a, &inverse, n, out);
}

static bool rounded(factoring *f, node *n, term *out) {
  dtype from = n->in[0]->type;
  if (!dtype_is_float(from) || !dtype_is_float(n->type))
    return factor_refuse(f, REASON_not_separable, n);
  if (!factor_value(f, n->in[0], out)) return false;
  if (dtype_cast_is_exact(from, n->type)) {
    node **all[] = {&out->inner, &out->after, &out->exponent,
                    &out->factor, &out->divisor, &out->row_exponent};
    for (int i = 0; i < 6; i++)
      if (*all[i] && (*all[i])->type == from && !out->rounds) *all[i] = graph_cast(f->g, *all[i], n->type);
    for (int i = 0; i < out->nsums; i++) {
      tile_and_row *sum = &out->sums[i];
      *sum =
          (tile_and_row){graph_cast(f->g, sum->tile, n->type), graph_cast(f->g, sum->row, n->type)};
    }
    return true;
  }
  if (out->rounds || out->after || out->nsums) return factor_refuse(f, REASON_rounded_between, n);
  // f16 has no range to spare: the part with T must be known to be small.
  if (n->type == DT_f16 && !(out->exponent && !out->inner))
    return factor_refuse(f, REASON_range_unknown, n);
  out->rounds = true;
  out->type = n->type;
  return applies(f, RULE_roundings, REASON_rounded_between, n);
}

/// A sum whose parts can be told apart.
static bool shifted(factoring *f, node *n, term *out) {
  parts p;
  if (!dtype_is_float(n->type)) return factor_refuse(f, REASON_not_separable, n);
  if (!split_sum(f, n, &p))
    return f->obstacle.why == REASON_not_additive && factor_refuse(f, REASON_too_many_terms, n);
  if (!p.tile || !p.row) return factor_refuse(f, REASON_not_separable, n);
  out->sums[out->nsums++] = (tile_and_row){p.tile, p.row};
  return applies(f, RULE_moment_shift, REASON_rule_off, n);
}

/// Running sums, and what is added in recurrences, let factors out that are the same all along.
static bool running(factoring *f, node *n, term *out) {
  graph *g = f->g;
  bool affine = n->op == OP_affine_scan && !f->waits[n->in[0]->id];
  if ((n->op != OP_cumsum && !affine) || !factor_value(f, n->in[affine], out))
    return factor_refuse(f, REASON_scan_waits, n);
  node *tile = times(g, out->inner, out->after);
  if (out->exponent || out->rounds || out->nsums || !tile)
    return factor_refuse(f, REASON_scan_waits, n);
  out->inner = affine ? graph_affine_scan(g, n->in[0], tile, n->attr_axes[0], n->flags)
                      : graph_scan(g, n->op, tile, n->attr_axes[0], n->flags);
  out->after = NULL;
  return true;
}

bool factor_value(factoring *f, node *n, term *out) {
  *out = (term){0};
  if (!factor_carries(f, n)) return out->factor = n, true;
  if (!f->waits[n->id]) return out->inner = n, true;
  if (is_too_long(f)) return factor_refuse(f, REASON_too_large, n);
  term a, b;
  switch (op_get(n->op)->algebra) {
    case ALGEBRA_exponential: return exponential(f, n, out);
    case ALGEBRA_product:
      return factor_value(f, n->in[0], &a) && factor_value(f, n->in[1], &b) &&
             factor_product(f, &a, &b, n, out);
    case ALGEBRA_quotient: return quotient(f, n, out);
    case ALGEBRA_rounding: return rounded(f, n, out);
    case ALGEBRA_select: return selected(f, n, out);
    case ALGEBRA_negate:
      if (!factor_value(f, n->in[0], out)) return false;
      out->factor = out->factor ? minus(f->g, out->factor) : graph_const_float(f->g, n->type, -1);
      return true;
    case ALGEBRA_linear:
      // Axes of the same names: the parts have them, too, and align by name.
      if (!view_is_reorder(f->g, n)) return factor_refuse(f, REASON_not_separable, n);
      return factor_value(f, n->in[0], out);
    case ALGEBRA_sum:
    case ALGEBRA_difference: return shifted(f, n, out);
    default:
      if (op_get(n->op)->class == CLASS_scan) return running(f, n, out);
      return factor_refuse(f, REASON_not_separable, n);
  }
}

bool factor_is_mean(const graph *g, const node *n) {
  double by, one;
  int64_t count;
  if ((n->op != OP_div && n->op != OP_mul) || n->in[0]->op != OP_sum || n->in[0]->nattr_axes != 1)
    return false;
  ix elements = graph_axis_size(g, n->in[0]->attr_axes[0]);
  const node *k = n->in[1], *inverse = n->op == OP_mul && k->op == OP_div ? k : NULL;
  if (inverse) k = node_is_const(inverse->in[0], &one) && one == 1 ? inverse->in[1] : NULL;
  if (k && k->op == OP_size) return (n->op == OP_div || inverse) && k->index[0] == elements;
  if (inverse || !node_is_const(k, &by) || !ix_is_const(&g->ix, elements, &count)) return false;
  double size = (double)count;
  return n->op == OP_div ? by == size
                         : fabs(by * size - 1) <= 0x1p-22;  // pass simplify makes products
}
