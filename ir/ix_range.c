// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions: what is known of values. Ranges, comparison, divisors, estimates.
#include "ir/ix_terms.h"

// ---- intervals; INT64_MIN and INT64_MAX stand for infinity

static bool is_infinite(int64_t v) { return v == INT64_MIN || v == INT64_MAX; }

static int64_t bound_add(int64_t a, int64_t b, int64_t infinity) {
  int64_t sum;
  if (is_infinite(a) || is_infinite(b) || __builtin_add_overflow(a, b, &sum)) return infinity;
  return sum;
}

static int64_t bound_mul(int64_t a, int64_t b) {
  int64_t product;
  if (a == 0 || b == 0) return 0;
  if (!is_infinite(a) && !is_infinite(b) && !__builtin_mul_overflow(a, b, &product)) return product;
  return (a < 0) == (b < 0) ? INT64_MAX : INT64_MIN;
}

static ix_range range_add(ix_range a, ix_range b) {
  return (ix_range){bound_add(a.min, b.min, INT64_MIN), bound_add(a.max, b.max, INT64_MAX)};
}

static ix_range range_mul(ix_range a, ix_range b) {
  int64_t c[4] = {bound_mul(a.min, b.min), bound_mul(a.min, b.max), bound_mul(a.max, b.min),
                  bound_mul(a.max, b.max)};
  ix_range r = {c[0], c[0]};
  for (int k = 1; k < 4; k++) {
    if (c[k] < r.min) r.min = c[k];
    if (c[k] > r.max) r.max = c[k];
  }
  return r;
}

static int64_t bound_div(int64_t a, int64_t b) {
  if (is_infinite(a)) return a;
  if (b == INT64_MAX) return a < 0 ? -1 : 0;
  return ix_floor_div(a, b);
}

static ix_range range_div(ix_range a, ix_range b) {
  if (b.min < 1) b.min = 1;  // a divisor is positive
  if (b.max < 1) b.max = 1;
  int64_t c[4] = {bound_div(a.min, b.min), bound_div(a.min, b.max), bound_div(a.max, b.min),
                  bound_div(a.max, b.max)};
  ix_range r = {c[0] < c[1] ? c[0] : c[1], c[2] > c[3] ? c[2] : c[3]};
  return r;
}

static ix_range range_mod(ix_range a, ix_range b) {
  ix_range r = {0, b.max < 1 ? 0 : b.max == INT64_MAX ? INT64_MAX : b.max - 1};
  if (a.min >= 0 && a.max < r.max) r.max = a.max;
  return r;
}

ix_range ix_bounds(const ix_pool *p, ix e) {
  const ix_node *n = ix_get(p, e);
  const ix_fact *fact;
  ix_range r = {0, INT64_MAX};
  switch (n->kind) {
    case IX_CONST: return (ix_range){n->value, n->value};
    case IX_SYM:
      fact = ix_find_fact(p, n->name);
      if (fact) r = (ix_range){fact->min, fact->max};
      return r;
    case IX_AXIS:
      if (n->value >= p->axis_size.len || !p->axis_size.data[n->value]) return r;
      r.max = ix_bounds(p, p->axis_size.data[n->value]).max;
      if (r.max != INT64_MAX) r.max = r.max > 0 ? r.max - 1 : 0;
      return r;
    case IX_DIV: return range_div(ix_bounds(p, n->a), ix_bounds(p, n->b));
    case IX_MOD: return range_mod(ix_bounds(p, n->a), ix_bounds(p, n->b));
    default: break;
  }
  r = (ix_range){0, 0};
  for (int k = 0; k < n->nterms; k++) {
    ix_range product = {n->terms[k].coef, n->terms[k].coef};
    for (int i = 0; i < n->terms[k].natoms; i++)
      product = range_mul(product, ix_bounds(p, n->terms[k].atoms[i]));
    r = range_add(r, product);
  }
  return r;
}

// ---- symbolic comparison
//
// d >= 0 is shown by replacing coordinates by 0 in positive terms and by size - 1 in negative
// ones, which cancels what intervals cannot: B*C - 1 - (b*C + c) -> 0.

static ix axis_size(const ix_pool *p, int64_t axis) {
  return axis < p->axis_size.len ? p->axis_size.data[axis] : 0;
}

static ix upper_bound_atom(ix_pool *p, ix atom) {
  ix_node n = *ix_get(p, atom);
  if (ix_is_size(p, atom)) return atom;
  if (n.kind == IX_AXIS) {
    ix size = axis_size(p, n.value);
    return size ? ix_sub(p, size, ix_const(p, 1)) : 0;
  }
  if (!ix_is_size(p, n.b)) return 0;
  if (n.kind == IX_MOD) return ix_sub(p, n.b, ix_const(p, 1));
  if (ix_bounds(p, n.a).min < 0) return 0;
  ix above = ix_upper_bound(p, n.a);
  return above ? ix_div(p, above, n.b) : 0;
}

static ix upper_bound_term(ix_pool *p, const ix_term *t) {
  ix product = ix_const(p, t->coef);
  for (int i = 0; i < t->natoms; i++) {
    if (ix_bounds(p, t->atoms[i]).min < 0) return 0;
    ix above = upper_bound_atom(p, t->atoms[i]);
    if (!above) return 0;
    product = ix_mul(p, product, above);
  }
  return product;
}

static bool term_is_size(const ix_pool *p, const ix_term *t) {
  for (int i = 0; i < t->natoms; i++)
    if (!ix_is_size(p, t->atoms[i])) return false;
  return true;
}

static bool atoms_nonnegative(const ix_pool *p, const ix_term *t) {
  for (int i = 0; i < t->natoms; i++)
    if (ix_bounds(p, t->atoms[i]).min < 0) return false;
  return true;
}

ix ix_upper_bound(ix_pool *p, ix e) {
  ix_poly poly = ix_poly_of(p, e), sum = {0};
  for (int k = 0; k < poly.len; k++) {
    ix_term t = poly.data[k];
    ix above;
    if (term_is_size(p, &t)) above = ix_from_term(p, t);
    else if (t.coef < 0) above = atoms_nonnegative(p, &t) ? ix_const(p, 0) : 0;
    else above = upper_bound_term(p, &t);
    if (!above) return 0;
    ix_poly_add(p, &sum, above, 1);
  }
  return ix_poly_finish(p, &sum);
}

/// Symbols that are at least 1 because an axis in sight has them as a factor of its size.
typedef struct positive_set {
  ix_pool *pool;
  vec(ix) symbols;
} positive_set;

static void note_positive(void *ctx, int axis) {
  positive_set *set = ctx;
  ix size = axis_size(set->pool, axis);
  if (!size) return;
  ix_poly poly = ix_poly_of(set->pool, size);
  if (poly.len != 1) return;
  for (int i = 0; i < poly.data[0].natoms; i++)
    vec_push(set->pool->arena, &set->symbols, poly.data[0].atoms[i]);
}

static int64_t symbol_minimum(const ix_pool *p, ix atom, const positive_set *positive) {
  int64_t least = ix_bounds(p, atom).min;
  for (int k = 0; k < positive->symbols.len && least < 1; k++)
    if (positive->symbols.data[k] == atom) least = 1;
  return least;
}

/// Rewrites every symbol s as s + its minimum, so that what is left of it is >= 0.
static ix shift_symbols(ix_pool *p, ix e, const positive_set *positive) {
  ix_poly poly = ix_poly_of(p, e), sum = {0};
  for (int k = 0; k < poly.len; k++) {
    ix product = ix_const(p, poly.data[k].coef);
    for (int i = 0; i < poly.data[k].natoms && !p->overflow; i++) {
      ix atom = poly.data[k].atoms[i];
      int64_t least = symbol_minimum(p, atom, positive);
      bool shift = ix_get(p, atom)->kind == IX_SYM && least > 0;
      product = ix_mul(p, product, shift ? ix_add(p, atom, ix_const(p, least)) : atom);
    }
    ix_poly_add(p, &sum, product, 1);
  }
  return ix_poly_finish(p, &sum);
}

/// The least value of a shifted size expression: symbols run from 0 to max - min.
static int64_t shifted_minimum(ix_pool *p, ix e, const positive_set *positive) {
  ix_poly poly = ix_poly_of(p, e);
  ix_range sum = {0, 0};
  for (int k = 0; k < poly.len; k++) {
    ix_range product = {poly.data[k].coef, poly.data[k].coef};
    for (int i = 0; i < poly.data[k].natoms; i++) {
      ix atom = poly.data[k].atoms[i];
      ix_range r = ix_bounds(p, atom);
      int64_t least = symbol_minimum(p, atom, positive);
      if (ix_get(p, atom)->kind == IX_SYM && least > 0)
        r = (ix_range){0, bound_add(r.max, -least, INT64_MAX)};
      product = range_mul(product, r);
    }
    sum = range_add(sum, product);
  }
  return sum.min;
}

ix ix_lower_bound(ix_pool *p, ix d) {
  ix_poly poly = ix_poly_of(p, d);
  for (int k = 0; k < poly.len; k++) poly.data[k].coef = ix_mul_checked(p, poly.data[k].coef, -1);
  ix negated = ix_upper_bound(p, ix_poly_finish(p, &poly));
  return negated ? ix_scale(p, negated, -1) : 0;
}

/// d with the term t, of which `atom` is a factor, written with `by` instead.
static ix exchange(ix_pool *p, ix d, ix_term t, ix atom, ix by) {
  ix_term factor = {.coef = 1, .natoms = 1, .atoms = &atom}, others;
  if (!ix_term_divide(p, &t, &factor, &others)) return 0;
  return ix_add(p, ix_sub(p, d, ix_from_term(p, t)), ix_mul(p, ix_from_term(p, others), by));
}

enum { LARGEST_SCALE = 1 << 20 };

/// k*d with k * atom, a factor of t, written as `whole`, plus k - 1: d is an integer, so it is >= 0
/// where k*d > -k. 0 when the numbers grow too large.
static ix scale_out(ix_pool *p, ix d, ix_term t, ix atom, int64_t k, ix whole) {
  if (k > LARGEST_SCALE || t.coef < -LARGEST_SCALE || t.coef > LARGEST_SCALE) return 0;
  ix_poly rest = ix_poly_of(p, ix_sub(p, d, ix_from_term(p, t)));
  for (int i = 0; i < rest.len; i++)
    if (rest.data[i].coef > INT64_MAX / LARGEST_SCALE ||
        rest.data[i].coef < -INT64_MAX / LARGEST_SCALE)
      return 0;
  ix exchanged = exchange(p, ix_from_term(p, t), t, atom, whole);
  if (!exchanged) return 0;
  ix scaled = ix_add(p, ix_scale(p, ix_poly_finish(p, &rest), k), exchanged);
  return ix_add(p, scaled, ix_const(p, k - 1));
}

static bool nonnegative(ix_pool *p, ix d);

/// An expression that is >= 0 only if d is, without the quotient x/k in the negative term t: from
/// k*(x/k) <= x where t is a multiple of k or k is a number that d is scaled by, else from
/// m >= x/k, which is (m + 1)*k > x, or from x/k <= x, which needs x >= 0. 0 when there is none.
static ix drop_quotient(ix_pool *p, ix d, ix_term t, ix atom) {
  ix_node n = *ix_get(p, atom);
  ix_term factor = {.coef = 1, .natoms = 1, .atoms = &atom}, others, scale;
  ix_poly by = ix_poly_of(p, n.b);
  int64_t k;
  if (by.len == 1 && ix_term_divide(p, &t, &factor, &others) &&
      ix_term_divide(p, &others, &by.data[0], &scale))
    return ix_add(p, ix_sub(p, d, ix_from_term(p, t)), ix_mul(p, ix_from_term(p, scale), n.a));
  if (ix_is_const(p, n.b, &k)) return k < 1 ? 0 : scale_out(p, d, t, atom, k, n.a);
  if (t.coef == -1 && t.natoms == 1) {
    ix above = ix_mul(p, ix_add(p, ix_sub(p, d, ix_from_term(p, t)), ix_const(p, 1)), n.b);
    ix rest = ix_sub(p, ix_sub(p, above, ix_const(p, 1)), n.a);
    if (nonnegative(p, rest)) return rest;
  }
  return ix_bounds(p, n.a).min >= 0 ? exchange(p, d, t, atom, n.a) : 0;
}

/// The same for a quotient in a positive term, by k*(x/k) >= x - (k - 1).
static ix raise_quotient(ix_pool *p, ix d) {
  ix_poly poly = ix_poly_of(p, d);
  for (int i = 0; i < poly.len; i++) {
    ix_term t = poly.data[i];
    if (t.coef <= 0 || !atoms_nonnegative(p, &t)) continue;
    for (int j = 0; j < t.natoms; j++) {
      ix_node n = *ix_get(p, t.atoms[j]);
      int64_t k;
      if (n.kind != IX_DIV || !ix_is_const(p, n.b, &k) || k < 1) continue;
      ix least = ix_sub(p, n.a, ix_const(p, k - 1));
      bool multiple = t.coef % k == 0;
      if (multiple) t.coef /= k;
      ix whole = multiple ? exchange(p, ix_from_term(p, t), t, t.atoms[j], least) : 0;
      if (whole) return ix_add(p, ix_sub(p, d, ix_from_term(p, poly.data[i])), whole);
      return scale_out(p, d, poly.data[i], poly.data[i].atoms[j], k, least);
    }
  }
  return 0;
}

/// Drops a quotient or, where there is none, a remainder x%k <= x of a negative term, else a
/// quotient of a positive one; 0 when there is none.
static ix drop_floors(ix_pool *p, ix d) {
  ix_poly poly = ix_poly_of(p, d);
  for (int kind = IX_DIV; kind <= IX_MOD; kind++)
    for (int k = 0; k < poly.len; k++) {
      ix_term t = poly.data[k];
      if (t.coef >= 0 || (t.natoms > 1 && !atoms_nonnegative(p, &t))) continue;
      for (int i = 0; i < t.natoms; i++) {
        ix_node n = *ix_get(p, t.atoms[i]);
        if ((int)n.kind != kind) continue;
        ix less = 0;
        if (kind == IX_DIV) less = drop_quotient(p, d, t, t.atoms[i]);
        else if (ix_bounds(p, n.a).min >= 0) less = exchange(p, d, t, t.atoms[i], n.a);
        if (less) return less;
      }
    }
  return raise_quotient(p, d);
}

/// Whether atom `a` uses `leaf`, a symbol or coordinate.
static bool uses_leaf(const ix_pool *p, ix a, ix leaf) {
  const ix_node *n = ix_get(p, a);
  if (a == leaf) return true;
  if (n->kind == IX_DIV || n->kind == IX_MOD)
    return uses_leaf(p, n->a, leaf) || uses_leaf(p, n->b, leaf);
  for (int k = 0; n->kind == IX_SUM && k < n->nterms; k++)
    for (int i = 0; i < n->terms[k].natoms; i++)
      if (uses_leaf(p, n->terms[k].atoms[i], leaf)) return true;
  return false;
}

static bool shares_leaf(const ix_pool *p, ix a, ix b) {
  const ix_node *n = ix_get(p, b);
  if (n->kind == IX_DIV || n->kind == IX_MOD)
    return shares_leaf(p, a, n->a) || shares_leaf(p, a, n->b);
  if (n->kind == IX_CONST) return false;
  if (n->kind != IX_SUM) return uses_leaf(p, a, b);
  for (int k = 0; k < n->nterms; k++)
    for (int i = 0; i < n->terms[k].natoms; i++)
      if (shares_leaf(p, a, n->terms[k].atoms[i])) return true;
  return false;
}

static bool terms_share_leaf(const ix_pool *p, const ix_term *a, const ix_term *b) {
  for (int i = 0; i < a->natoms; i++)
    for (int k = 0; k < b->natoms; k++)
      if (shares_leaf(p, a->atoms[i], b->atoms[k])) return true;
  return false;
}

/// A long sum without the terms that are >= 0 and have nothing to do with the negative ones: it is
/// >= 0 if what is left is, which is found in less time and memory.
static ix drop_bystanders(ix_pool *p, ix d) {
  ix_poly poly = ix_poly_of(p, d), rest = {0};
  for (int k = 0; k < poly.len; k++) {
    ix_term t = poly.data[k];
    bool needed = t.coef < 0 || !t.natoms || !atoms_nonnegative(p, &t);
    for (int i = 0; i < poly.len && !needed; i++)
      needed = poly.data[i].coef < 0 && terms_share_leaf(p, &t, &poly.data[i]);
    if (needed) ix_poly_add_term(p, &rest, t);
  }
  return rest.len < poly.len ? ix_poly_finish(p, &rest) : d;
}

static bool nonnegative(ix_pool *p, ix d) {
  enum { LONG_SUM = 8 };
  if (p->overflow) return false;
  if (ix_bounds(p, d).min >= 0) return true;
  int64_t v;
  if (ix_is_const(p, d, &v)) return false;
  if (ix_get(p, d)->nterms > LONG_SUM) {
    ix rest = drop_bystanders(p, d);
    if (rest != d && nonnegative(p, rest)) return true;
  }
  positive_set positive = {.pool = p};
  ix_axes(p, d, note_positive, &positive);
  ix least = ix_lower_bound(p, d);
  if (least) {
    ix shifted = shift_symbols(p, least, &positive);
    if (shifted_minimum(p, shifted, &positive) >= 0) return true;
    // Sizes of axes may hold quotients: Y - 3 - 2*v for v < Y/2 - 1.
    if (least != d && nonnegative(p, least)) return true;
  }
  ix smaller = drop_floors(p, d);
  return smaller && nonnegative(p, smaller);
}

typedef struct axes_in_sight {
  int axes[8], n;
} axes_in_sight;

static void note_axis(void *ctx, int axis) {
  axes_in_sight *seen = ctx;
  for (int i = 0; i < seen->n; i++)
    if (seen->axes[i] == axis) return;
  if (seen->n < 8) seen->axes[seen->n++] = axis;
}

/// d >= 0 because a coordinate in it exists: its axis has an element, so d - (size - 1) >= 0 is
/// enough. With v < Y/2 - 1, for instance, Y is at least 4, and Y - 3 - (v + 1) is not negative.
static bool nonnegative_by_sizes(ix_pool *p, ix d) {
  axes_in_sight seen = {0};
  ix_axes(p, d, note_axis, &seen);
  ix least = ix_lower_bound(p, d);
  for (int i = 0; least && i < seen.n; i++) {
    ix size = axis_size(p, seen.axes[i]);
    int64_t known;
    if (!size || ix_is_const(p, size, &known)) continue;
    if (nonnegative(p, ix_sub(p, least, ix_sub(p, size, ix_const(p, 1))))) return true;
  }
  return false;
}

bool ix_known_le(ix_pool *p, ix a, ix b) {
  enum { NO = 1, YES = 2 };
  ix known = ix_recall(p, '<', a, b);
  if (known) return known == YES;
  // A proof whose expressions grow out of bounds is none, and says nothing about those of the caller.
  bool overflow = p->overflow;
  p->overflow = false;
  ix d = ix_sub(p, b, a);
  bool holds = (nonnegative(p, d) || nonnegative_by_sizes(p, d)) && !p->overflow;
  p->overflow = overflow;
  return ix_remember(p, '<', a, b, holds ? YES : NO) == YES;
}

// ---- divisors

static int64_t magnitude(int64_t v) { return v == INT64_MIN ? INT64_MAX / 2 + 1 : v < 0 ? -v : v; }

int64_t ix_divisor(const ix_pool *p, ix e) {
  const ix_node *n = ix_get(p, e);
  const ix_fact *fact;
  int64_t k, d = 0;
  switch (n->kind) {
    case IX_CONST: return magnitude(n->value);
    case IX_SYM:
      fact = ix_find_fact(p, n->name);
      return fact && fact->multiple_of > 1 ? fact->multiple_of : 1;
    case IX_AXIS: return 1;
    case IX_DIV:
      d = ix_divisor(p, n->a);
      return ix_is_const(p, n->b, &k) && k > 0 && d % k == 0 ? d / k : 1;
    case IX_MOD: return ix_gcd(ix_divisor(p, n->a), ix_divisor(p, n->b));
    default: break;
  }
  for (int i = 0; i < n->nterms; i++) {
    int64_t product = magnitude(n->terms[i].coef), more;
    for (int j = 0; j < n->terms[i].natoms; j++)
      if (!__builtin_mul_overflow(product, ix_divisor(p, n->terms[i].atoms[j]), &more))
        product = more;
    d = ix_gcd(product, d);
  }
  return d;
}

// ---- estimates

static int64_t estimate_symbol(void *ctx, str name) {
  const ix_fact *fact = ix_find_fact(ctx, name);
  int64_t v = 1024;
  if (!fact) return v;
  if (fact->estimate > 0) return fact->estimate;
  if (v > fact->max) v = fact->max;
  if (v < fact->min) v = fact->min;
  if (fact->multiple_of > 1 && v % fact->multiple_of) {
    int64_t down = v - v % fact->multiple_of;
    v = down >= fact->min && down > 0 ? down : down + fact->multiple_of;
  }
  return v;
}

static int64_t estimate_axis(void *ctx, int axis) {
  (void)ctx, (void)axis;
  return 0;
}

bool ix_bounds_fit(const ix_pool *p, ix e) {
  ix_range r = ix_bounds(p, e);
  return r.min >= INT32_MIN && r.max <= INT32_MAX;
}

int64_t ix_estimate(const ix_pool *p, ix e) {
  int64_t v = ix_eval(p, e, estimate_symbol, estimate_axis, (void *)p);
  return v > ESTIMATE_MOST ? ESTIMATE_MOST : v < -ESTIMATE_MOST ? -ESTIMATE_MOST : v;
}
