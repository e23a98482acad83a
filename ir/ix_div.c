// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions: folding of floor division and modulo.
//
//   (x*K + y) / K          ->  x            when 0 <= y < K
//   (x*K + y) % K          ->  y
//   x/4/8                  ->  x / 32
//   x % 64 / 8             ->  x/8 % 8
//   (x*8 + y) / 64         ->  x / 8        when 0 <= y < 8
//   x/K*K + x%K            ->  x
//   x/8%4*8 + x%8          ->  x % 32
//   D/16*16                ->  D            when D is known to be a multiple of 16
//
// With these, splitting an axis and merging it again is the identity, and so is the reverse.
// Division and modulo share one decomposition, so that a quotient always meets its remainder.
#include "ir/ix_terms.h"

static bool is_zero(const ix_pool *p, ix e) {
  int64_t v;
  return ix_is_const(p, e, &v) && v == 0;
}

/// The term of b that leads the long division: one with the most atoms.
static ix_term leading_term(ix_pool *p, ix b) {
  ix_poly poly = ix_poly_of(p, b);
  ix_term lead = poly.data[0];
  for (int k = 1; k < poly.len; k++)
    if (poly.data[k].natoms > lead.natoms) lead = poly.data[k];
  return lead;
}

/// quotient += the part of t that is a multiple of the leading term; true when there is one.
static bool take_multiple(ix_pool *p, const ix_term *t, const ix_term *lead, ix_term *part) {
  ix_term whole = *t, unit = *lead;
  whole.coef = unit.coef = 1;
  if (!lead->coef || t->coef == INT64_MIN || !ix_term_divide(p, &whole, &unit, part)) return false;
  // A constant is cut to [0, k), so that offsets have one form; other coefficients to (-k, k).
  part->coef = t->natoms ? t->coef / lead->coef : ix_floor_div(t->coef, lead->coef);
  return part->coef != 0;
}

/// a = quotient * b + rest by long division; no range is known of the rest.
static void divide_terms(ix_pool *p, ix a, ix b, ix *quotient, ix *rest) {
  ix_term lead = leading_term(p, b);
  *quotient = ix_const(p, 0);
  for (int step = 0; step < IX_MOST_TERMS; step++) {
    ix_poly poly = ix_poly_of(p, a);
    ix_term part;
    int k = 0;
    while (k < poly.len && !take_multiple(p, &poly.data[k], &lead, &part)) k++;
    if (k == poly.len) break;
    ix taken = ix_from_term(p, part);
    *quotient = ix_add(p, *quotient, taken);
    a = ix_sub(p, a, ix_mul(p, taken, b));
  }
  *rest = a;
}

static bool within(ix_pool *p, ix e, ix b) {
  ix zero = ix_const(p, 0);
  return ix_known_le(p, zero, e) && ix_known_le(p, e, ix_sub(p, b, ix_const(p, 1)));
}

/// The greatest common monomial of a term and a monomial.
static ix_term common_factor(ix_pool *p, const ix_term *t, const ix_term *m) {
  ix_term g = {.coef = ix_gcd(t->coef, m->coef)};
  ix *atoms = arena_array(p->arena, ix, m->natoms);
  for (int i = 0, j = 0; i < t->natoms && j < m->natoms;) {
    if (t->atoms[i] == m->atoms[j]) {
      atoms[g.natoms++] = t->atoms[i];
      i++, j++;
    } else if (t->atoms[i] < m->atoms[j]) {
      i++;
    } else {
      j++;
    }
  }
  g.atoms = atoms;
  return g;
}

/// r = g * high + low with low in [0, g).
typedef struct scaled {
  ix g, high, low;
} scaled;

static bool split_by(ix_pool *p, ix r, const ix_term *g, scaled *out) {
  ix_poly poly = ix_poly_of(p, r), high = {0}, low = {0};
  for (int k = 0; k < poly.len; k++) {
    ix_term t = poly.data[k], quotient;
    if (ix_term_divide(p, &t, g, &quotient)) {
      ix_poly_add_term(p, &high, quotient);
    } else if (!t.natoms && !g->natoms) {
      int64_t above = ix_floor_div(t.coef, g->coef);
      ix_poly_add_term(p, &high, (ix_term){.coef = above});
      ix_poly_add_term(p, &low, (ix_term){.coef = t.coef - above * g->coef});
    } else {
      ix_poly_add_term(p, &low, t);
    }
  }
  if (!high.len) return false;
  *out = (scaled){ix_from_term(p, *g), ix_poly_finish(p, &high), ix_poly_finish(p, &low)};
  return within(p, out->low, out->g);
}

/// Finds a common factor of b and a part of r such that the rest of r is below it.
static bool split_scaled(ix_pool *p, ix r, ix b, scaled *out) {
  ix_poly divisor = ix_poly_of(p, b);
  if (divisor.len != 1) return false;
  ix_poly poly = ix_poly_of(p, r);
  for (int k = 0; k < poly.len; k++) {
    ix_term g = common_factor(p, &poly.data[k], &divisor.data[0]);
    bool trivial = g.natoms == 0 && g.coef == 1;
    if (!trivial && ix_from_term(p, g) != b && split_by(p, r, &g, out)) return true;
  }
  return false;
}

ix ix_exact_quotient(ix_pool *p, ix a, ix b) {
  ix quotient, rest;
  if (is_zero(p, b)) return 0;
  divide_terms(p, a, b, &quotient, &rest);
  return is_zero(p, rest) ? quotient : 0;
}

/// Terms known to be multiples of the constant k (by facts) leave the rest as quotients.
static void divide_by_facts(ix_pool *p, ix *quotient, ix *rest, int64_t k, ix b) {
  ix_poly poly = ix_poly_of(p, *rest);
  for (int i = 0; i < poly.len && poly.len > 1; i++) {
    if (!poly.data[i].natoms) continue;
    ix t = ix_from_term(p, poly.data[i]);
    if (ix_divisor(p, t) % k) continue;
    *quotient = ix_add(p, *quotient, ix_div(p, t, b));
    *rest = ix_sub(p, *rest, t);
  }
}

/// a = quotient * b + rest, and the rest in [0, b) when `exact`.
typedef struct division {
  ix quotient, rest;
  bool exact;
} division;

static division divide(ix_pool *p, ix a, ix b) {
  division d = {0};
  int64_t k;
  divide_terms(p, a, b, &d.quotient, &d.rest);
  if (ix_is_const(p, b, &k)) {
    divide_by_facts(p, &d.quotient, &d.rest, k, b);
    ix_range range = ix_bounds(p, d.rest);
    int64_t low = ix_floor_div(range.min, k), high = ix_floor_div(range.max, k);
    bool finite = range.min != INT64_MIN && range.max != INT64_MAX;
    if (finite && low == high) {
      d.quotient = ix_add(p, d.quotient, ix_const(p, low));
      d.rest = ix_sub(p, d.rest, ix_const(p, ix_mul_checked(p, low, k)));
      d.exact = true;
      return d;
    }
  }
  d.exact = within(p, d.rest, b);
  if (d.exact || ix_bounds(p, d.rest).min >= 0) return d;
  ix above = ix_add(p, d.rest, b);  // N - 1 - n lost its N to the quotient
  if (!within(p, above, b)) return d;
  return (division){ix_sub(p, d.quotient, ix_const(p, 1)), above, true};
}

static bool trivial_divisor(ix_pool *p, ix_kind kind, ix a, ix b, ix *result) {
  int64_t k, v;
  if (!ix_is_const(p, b, &k)) return false;
  if (ix_is_const(p, a, &v)) {
    *result = ix_const(p, kind == IX_DIV ? ix_floor_div(v, k) : ix_floor_mod(v, k));
    return true;
  }
  if (k == 0) *result = ix_const(p, 0);
  if (k == 1) *result = kind == IX_DIV ? a : ix_const(p, 0);
  if (k < 0) *result = ix_intern_quotient(p, kind, a, b);
  return k <= 1;
}

/// Division of what long division left over.
static ix divide_rest(ix_pool *p, ix r, ix b) {
  scaled s;
  if (split_scaled(p, r, b, &s)) return ix_div(p, s.high, ix_exact_quotient(p, b, s.g));
  ix_node n = *ix_get(p, r);
  if (n.kind == IX_DIV) return ix_div(p, n.a, ix_mul(p, n.b, b));
  if (n.kind == IX_MOD) {
    ix times = ix_exact_quotient(p, n.b, b);
    if (times) return ix_mod(p, ix_div(p, n.a, b), times);
  }
  return ix_intern_quotient(p, IX_DIV, r, b);
}

ix ix_div(ix_pool *p, ix a, ix b) {
  ix result = ix_recall(p, '/', a, b);
  if (result || trivial_divisor(p, IX_DIV, a, b, &result)) return result;
  division d = divide(p, a, b);
  result = d.exact ? d.quotient : ix_add(p, d.quotient, divide_rest(p, d.rest, b));
  return ix_remember(p, '/', a, b, result);
}

/// x % (K*m) inside of a sum modulo K counts as x.
static ix unwrap_modulo(ix_pool *p, ix r, ix b) {
  ix_poly poly = ix_poly_of(p, r);
  for (int k = 0; k < poly.len; k++) {
    const ix_term *t = &poly.data[k];
    for (int i = 0; i < t->natoms; i++) {
      ix_node n = *ix_get(p, t->atoms[i]);
      if (n.kind != IX_MOD || !ix_exact_quotient(p, n.b, b)) continue;
      ix_term atom = {.coef = 1, .natoms = 1, .atoms = &t->atoms[i]}, others;
      if (!ix_term_divide(p, t, &atom, &others)) continue;
      ix changed = ix_mul(p, ix_from_term(p, others), ix_sub(p, n.a, t->atoms[i]));
      return ix_add(p, r, changed);
    }
  }
  return r;
}

/// Modulo of what long division left over.
static ix modulo_rest(ix_pool *p, ix r, ix b) {
  int64_t k;
  ix unwrapped = unwrap_modulo(p, r, b);
  if (unwrapped != r) return ix_mod(p, unwrapped, b);
  if (ix_is_const(p, b, &k) && ix_divisor(p, r) % k == 0) return ix_const(p, 0);
  scaled s;
  if (split_scaled(p, r, b, &s))
    return ix_add(p, ix_mul(p, s.g, ix_mod(p, s.high, ix_exact_quotient(p, b, s.g))), s.low);
  return ix_intern_quotient(p, IX_MOD, r, b);
}

ix ix_mod(ix_pool *p, ix a, ix b) {
  ix result = ix_recall(p, '%', a, b);
  if (result || trivial_divisor(p, IX_MOD, a, b, &result)) return result;
  division d = divide(p, a, b);
  return ix_remember(p, '%', a, b, d.exact ? d.rest : modulo_rest(p, d.rest, b));
}

// ---- folding inside of sums

static bool has_term(const ix_poly *poly, const ix_term *t) {
  for (int k = 0; k < poly->len; k++)
    if (ix_term_same_atoms(&poly->data[k], t)) return poly->data[k].coef == t->coef;
  return false;
}

/// Replaces the terms `match` (all present) and t by e.
static void replace_terms(ix_pool *p, ix_poly *poly, ix_term t, ix match, ix e) {
  ix_poly_add_term(p, poly, (ix_term){-t.coef, t.natoms, t.atoms});
  ix_poly_add(p, poly, match, -1);
  ix_poly_add(p, poly, e, 1);
}

/// t = others * (x % b) and the sum holds others * b * (x / b) too.
static bool fold_remainder(ix_pool *p, ix_poly *poly, ix_term t, ix others, ix_node mod) {
  ix quotient = ix_mul(p, ix_mul(p, others, mod.b), ix_div(p, mod.a, mod.b));
  ix_poly match = ix_poly_of(p, quotient);
  for (int k = 0; k < match.len; k++)
    if (!has_term(poly, &match.data[k])) return false;
  if (!match.len) return false;
  replace_terms(p, poly, t, quotient, ix_mul(p, others, mod.a));
  return true;
}

/// t = others * (x % a) and the sum holds others * a * (x / a % b) too.
static bool fold_nested(ix_pool *p, ix_poly *poly, ix_term t, ix others, ix_node mod) {
  ix quotient = ix_div(p, mod.a, mod.b);
  for (int k = 0; k < poly->len; k++) {
    for (int i = 0; i < poly->data[k].natoms; i++) {
      ix atom = poly->data[k].atoms[i];
      ix_node outer = *ix_get(p, atom);
      if (outer.kind != IX_MOD || outer.a != quotient) continue;
      ix match = ix_mul(p, ix_mul(p, others, mod.b), atom);
      ix_poly terms = ix_poly_of(p, match);
      if (terms.len != 1 || !has_term(poly, &terms.data[0])) continue;
      ix whole = ix_mod(p, mod.a, ix_mul(p, mod.b, outer.b));
      replace_terms(p, poly, t, match, ix_mul(p, others, whole));
      return true;
    }
  }
  return false;
}

/// t = others * (x / k) where others is a multiple of k and x is known to be one.
static bool fold_multiple(ix_pool *p, ix_poly *poly, ix_term t, ix_term others, ix_node div) {
  int64_t k;
  if (!ix_is_const(p, div.b, &k) || k <= 1 || others.coef % k || ix_divisor(p, div.a) % k)
    return false;
  others.coef /= k;
  replace_terms(p, poly, t, ix_const(p, 0), ix_mul(p, ix_from_term(p, others), div.a));
  return true;
}

bool ix_fold_quotients(ix_pool *p, ix_poly *poly) {
  for (int k = 0; k < poly->len; k++) {
    ix_term t = poly->data[k];
    for (int i = 0; i < t.natoms; i++) {
      ix_node n = *ix_get(p, t.atoms[i]);
      if (n.kind != IX_DIV && n.kind != IX_MOD) continue;
      ix_term atom = {.coef = 1, .natoms = 1, .atoms = &t.atoms[i]}, others;
      if (t.coef == INT64_MIN || !ix_term_divide(p, &t, &atom, &others)) continue;
      if (n.kind == IX_DIV) {
        if (fold_multiple(p, poly, t, others, n)) return true;
        continue;
      }
      if (poly->len == 1) continue;
      ix factor = ix_from_term(p, others);
      if (fold_remainder(p, poly, t, factor, n) || fold_nested(p, poly, t, factor, n)) return true;
    }
  }
  return false;
}
