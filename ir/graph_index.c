// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions as values of the graph: T*2 - 3 is sub(mul(index T, 2), 3).
#include "ir/graph_index.h"

#include "base/fault.h"

// ---- types

/// Adds the largest magnitude that e may have; false beyond 32 bits.
static bool fits(const ix_pool *p, ix e, int64_t *sum) {
  const ix_node *n = ix_get(p, e);
  ix_range r = ix_bounds(p, e);
  int64_t inner = 0;
  if (n->kind == IX_DIV || n->kind == IX_MOD) {
    if (!fits(p, n->a, &inner) || !fits(p, n->b, &inner)) return false;
  } else if (n->kind == IX_SUM) {
    for (int k = 0; k < n->nterms; k++) {
      int64_t term = n->terms[k].coef, part;
      if (term <= -INT32_MAX || term >= INT32_MAX) return false;
      if (term < 0) term = -term;
      for (int i = 0; i < n->terms[k].natoms; i++) {
        part = 0;
        if (!fits(p, n->terms[k].atoms[i], &part)) return false;
        if (__builtin_mul_overflow(term, part > 1 ? part : 1, &term) || term > INT32_MAX)
          return false;
      }
      inner += term;
    }
  } else {
    if (r.min < -INT32_MAX || r.max > INT32_MAX - 1) return false;
    inner = r.max > -r.min ? r.max : -r.min;
  }
  *sum += inner;
  return *sum < INT32_MAX;
}

dtype graph_ix_type(const graph *g, ix e) {
  int64_t sum = 0;
  return fits(&g->ix, e, &sum) ? DT_i32 : DT_i64;
}

// ---- values

static node *constant(graph *g, dtype type, int64_t v) {
  return graph_const(g, type, (scalar){.i = v});
}

/// a % b >= 0 of any a.
static node *remainder_of(graph *g, node *a, node *b, bool positive) {
  node *r = graph_binary(g, OP_rem, a, b);
  return positive ? r : graph_binary(g, OP_rem, graph_binary(g, OP_add, r, b), b);
}

static node *quotient_value(graph *g, ix_node n, dtype type) {
  node *a = graph_ix_value(g, n.a, type), *b = graph_ix_value(g, n.b, type);
  bool positive = ix_bounds(&g->ix, n.a).min >= 0 || ix_known_le(&g->ix, ix_const(&g->ix, 0), n.a);
  if (n.kind == IX_MOD) return remainder_of(g, a, b, positive);
  if (!positive) a = graph_binary(g, OP_sub, a, remainder_of(g, a, b, false));
  return graph_binary(g, OP_div, a, b);
}

static node *times(graph *g, node *a, node *b) { return a ? graph_binary(g, OP_mul, a, b) : b; }

/// The sum of the terms of e with this sign, without it; null: there are none.
static node *terms_value(graph *g, ix e, bool negative, dtype type) {
  ix_node n = *ix_get(&g->ix, e);
  node *sum = NULL;
  for (int k = 0; k < n.nterms; k++) {
    ix_term t = n.terms[k];
    if ((t.coef < 0) != negative) continue;
    node *product = NULL;
    for (int i = 0; i < t.natoms; i++)
      product = times(g, product, graph_ix_value(g, t.atoms[i], type));
    int64_t coef = negative ? -t.coef : t.coef;
    if (coef != 1 || !product) product = times(g, product, constant(g, type, coef));
    sum = sum ? graph_binary(g, OP_add, sum, product) : product;
  }
  return sum;
}

node *graph_ix_value(graph *g, ix e, dtype type) {
  ix_node n = *ix_get(&g->ix, e);
  switch (n.kind) {
    case IX_CONST: return constant(g, type, n.value);
    case IX_SYM: return graph_size(g, type, e);
    case IX_AXIS: return graph_index(g, type, (int)n.value);
    case IX_DIV:
    case IX_MOD: return ix_is_size(&g->ix, e) ? graph_size(g, type, e) : quotient_value(g, n, type);
    default: break;
  }
  if (ix_is_size(&g->ix, e)) return graph_size(g, type, e);
  node *plus = terms_value(g, e, false, type), *minus = terms_value(g, e, true, type);
  if (!minus) return plus;
  return plus ? graph_binary(g, OP_sub, plus, minus) : graph_unary(g, OP_neg, minus);
}

// ---- comparisons

/// Of e with 0, with what is subtracted in e on the other side.
static node *compare_with_zero(graph *g, op o, ix e) {
  dtype type = graph_ix_type(g, e);
  if (ix_get(&g->ix, e)->kind != IX_SUM)
    return graph_binary(g, o, graph_ix_value(g, e, type), constant(g, type, 0));
  node *plus = terms_value(g, e, false, type), *minus = terms_value(g, e, true, type);
  return graph_binary(g, o, plus ? plus : constant(g, type, 0),
                      minus ? minus : constant(g, type, 0));
}

/// A remainder is zero whatever its sign.
node *graph_ix_is_zero(graph *g, ix e) {
  ix_node n = *ix_get(&g->ix, e);
  if (n.kind == IX_SUM && n.terms[0].coef < 0) return graph_ix_is_zero(g, ix_scale(&g->ix, e, -1));
  if (n.kind != IX_MOD) return compare_with_zero(g, OP_eq, e);
  ix_node of = *ix_get(&g->ix, n.a);
  if (of.kind == IX_SUM && of.terms[0].coef < 0)
    return graph_ix_is_zero(g, ix_mod(&g->ix, ix_scale(&g->ix, n.a, -1), n.b));
  dtype type = graph_ix_type(g, e);
  node *a = graph_ix_value(g, n.a, type), *b = graph_ix_value(g, n.b, type);
  return graph_binary(g, OP_eq, graph_binary(g, OP_rem, a, b), constant(g, type, 0));
}

node *graph_ix_is_inside(graph *g, ix e, ix size) {
  ix_pool *p = &g->ix;
  ix above = ix_sub(p, e, size);
  node *low = NULL, *high = NULL;
  if (!ix_known_le(p, ix_const(p, 0), e)) low = compare_with_zero(g, OP_ge, e);
  if (!ix_known_le(p, ix_add(p, above, ix_const(p, 1)), ix_const(p, 0)))
    high = compare_with_zero(g, OP_lt, above);
  return low && high ? graph_binary(g, OP_and, low, high) : low ? low : high;
}
