// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Solving index equations: see ir/ix_solve.h.
//
// An equation is solved for the unknowns in it one by one. A quotient or remainder is replaced by
// what it is of, a = (a/m)*m + a%m, with the other of the two as a new unknown; then the equation
// is a sum of unknowns with coefficients, of which one is the leading term of a division:
//
//   c*x + rest = v,  0 <= rest < c         x = v / c,      rest = v % c
//   c*x + rest = v,  0 <= rest <= most     x = v / c - s,  rest = v % c + c*s,   s < most/c + 1
//   x + rest = v                           x = v - rest
//
// The first is exact; of the others the one with the fewest choices is taken.
#include "ir/ix_solve.h"

#include "base/fault.h"
#include "ir/ix_terms.h"

enum { MOST_STEPS = 64 };

// ---- building

void ix_system_init(ix_system *s, arena *a, const ix_pool *from) {
  *s = (ix_system){0};
  ix_init(&s->pool, a);
  for (int k = 0; k < from->facts.len; k++)
    *ix_fact_of(&s->pool, from->facts.entries[k].key) = *(ix_fact *)from->facts.entries[k].value;
}

static bool is_value(const ix_pool *p, ix e, int64_t value) {
  int64_t v;
  return ix_is_const(p, e, &v) && v == value;
}

ix ix_system_given(ix_system *s, ix size) {
  check(!s->nunknown);
  ix_set_axis(&s->pool, s->ngiven++, size);
  return is_value(&s->pool, size, 1) ? ix_const(&s->pool, 0) : ix_axis(&s->pool, s->ngiven - 1);
}

static ix unknown(const ix_system *s, int i) {
  return s->value[i] ? s->value[i] : ix_axis((ix_pool *)&s->pool, s->ngiven + i);
}

/// -1: too many.
static int add_unknown(ix_system *s, ix size, int like) {
  if (s->nunknown == IX_MOST_UNKNOWNS) return -1;
  int i = s->nunknown++;
  ix_set_axis(&s->pool, s->ngiven + i, size);
  s->size[i] = size;
  s->like[i] = like;
  if (is_value(&s->pool, size, 1)) s->value[i] = ix_const(&s->pool, 0);
  return i;
}

ix ix_system_wanted(ix_system *s, ix size) {
  int i = add_unknown(s, size, s->nunknown);
  check(i >= 0);
  s->nwanted = s->nunknown;
  return unknown(s, i);
}

static void add_equation(ix_system *s, ix e, uint64_t fixed) {
  vec_push(s->pool.arena, &s->pending, ((ix_equation){e, fixed}));
}

void ix_system_equate(ix_system *s, ix a, ix b) { add_equation(s, ix_sub(&s->pool, a, b), 0); }

static void add_condition(ix_system *s, ix e, ix below) {
  vec_push(s->pool.arena, &s->conditions, ((ix_condition){e, below}));
}

// ---- questions

static bool is_open(const ix_system *s, int i, uint64_t fixed) {
  return !s->value[i] && !(fixed >> i & 1);
}

/// How many unknowns in e may be solved for; *first: one of them.
static int count_open(const ix_system *s, ix e, uint64_t fixed, int *first) {
  int n = 0;
  for (int i = s->nunknown - 1; i >= 0; i--)
    if (is_open(s, i, fixed) && ix_uses_axis(&s->pool, e, s->ngiven + i)) n++, *first = i;
  return n;
}

static bool has_open(const ix_system *s, ix e, uint64_t fixed) {
  int first;
  return count_open(s, e, fixed, &first) > 0;
}

static bool is_inside(ix_pool *p, ix e, ix size) {
  return ix_known_le(p, ix_const(p, 0), e) && ix_known_le(p, ix_add(p, e, ix_const(p, 1)), size);
}

static bool is_factor(ix_pool *p, ix atom, ix size) {
  ix_poly poly = ix_poly_of(p, size);
  for (int i = 0; poly.len == 1 && i < poly.data[0].natoms; i++)
    if (poly.data[0].atoms[i] == atom) return true;
  return false;
}

/// A size is positive where an axis that has it as a factor has an element.
static bool atom_is_positive(ix_system *s, ix atom) {
  ix_pool *p = &s->pool;
  if (ix_bounds(p, atom).min >= 1) return true;
  for (int k = 0; k < s->ngiven; k++)
    if (is_factor(p, atom, p->axis_size.data[k])) return true;
  for (int i = 0; i < s->nwanted; i++)
    if (is_factor(p, atom, s->size[i])) return s->guarded = true;
  return false;
}

static bool is_positive(ix_system *s, ix e) {
  if (!ix_is_size(&s->pool, e)) return false;
  if (ix_bounds(&s->pool, e).min >= 1) return true;
  ix_poly poly = ix_poly_of(&s->pool, e);
  if (poly.len != 1 || poly.data[0].coef < 1) return false;
  for (int i = 0; i < poly.data[0].natoms; i++)
    if (!atom_is_positive(s, poly.data[0].atoms[i])) return false;
  return true;
}

/// |e|, with *negative; 0: the sign is not known.
static ix magnitude(ix_system *s, ix e, bool *negative) {
  *negative = false;
  if (is_positive(s, e)) return e;
  *negative = true;
  ix minus = ix_scale(&s->pool, e, -1);
  return is_positive(s, minus) ? minus : 0;
}

// ---- steps

/// Unknown i is that. False: it depends on itself.
static bool assign(ix_system *s, int i, ix value) {
  ix_pool *p = &s->pool;
  int axis = s->ngiven + i, n = s->ngiven + s->nunknown;
  if (ix_uses_axis(p, value, axis)) return false;
  ix *by = arena_array(p->arena, ix, n);
  by[axis] = value;
  s->value[i] = value;
  for (int k = 0; k < s->nunknown; k++)
    if (s->value[k]) s->value[k] = ix_substitute(p, p, s->value[k], by, n);
  for (int k = 0; k < s->conditions.len; k++)
    s->conditions.data[k].e = ix_substitute(p, p, s->conditions.data[k].e, by, n);
  for (int k = 0; k < s->pending.len; k++)
    s->pending.data[k].e = ix_substitute(p, p, s->pending.data[k].e, by, n);
  if (i >= s->nwanted) add_condition(s, value, s->size[i]);
  return true;
}

/// What is left of e without c*x + ..., as a division: coefficients of the open unknowns.
typedef struct linear {
  int n;
  int unknown[IX_MOST_UNKNOWNS];
  ix coef[IX_MOST_UNKNOWNS];
  ix rest;
} linear;

static bool find_linear(ix_system *s, ix_equation q, linear *l) {
  l->n = 0;
  l->rest = q.e;
  for (int i = 0; i < s->nunknown; i++) {
    if (!is_open(s, i, q.fixed) || !ix_uses_axis(&s->pool, q.e, s->ngiven + i)) continue;
    l->unknown[l->n] = i;
    if (!ix_affine(&s->pool, l->rest, s->ngiven + i, &l->coef[l->n], &l->rest)) return false;
    if (!ix_is_size(&s->pool, l->coef[l->n++])) return false;
  }
  return true;
}

/// What divides all coefficients: 1 where there is nothing more.
static ix common_factor(ix_system *s, const linear *l) {
  ix_pool *p = &s->pool;
  int64_t g = 0;
  bool negative;
  for (int k = 0; k < l->n; k++) {
    ix by = magnitude(s, l->coef[k], &negative);
    int i = 0;
    while (by && i < l->n && ix_exact_quotient(p, l->coef[i], by)) i++;
    if (by && i == l->n) return by;
    ix_poly poly = ix_poly_of(p, l->coef[k]);
    for (i = 0; i < poly.len; i++) g = ix_gcd(poly.data[i].coef, g);
  }
  return ix_const(p, g > 0 ? g : 1);
}

/// v / g where g is known to divide it: rounded so that it is known to be in [0, size), if it can.
static ix exact_part(ix_system *s, ix v, ix g, ix size) {
  ix_pool *p = &s->pool;
  ix down = ix_div(p, v, g), up = ix_div(p, ix_sub(p, ix_add(p, v, g), ix_const(p, 1)), g);
  return !is_inside(p, down, size) && is_inside(p, up, size) ? up : down;
}

/// Divides the equation by what all coefficients have in common; the rest must be a multiple. The
/// first coefficient becomes positive.
static bool reduce(ix_system *s, linear *l) {
  ix_pool *p = &s->pool;
  ix g = common_factor(s, l);
  bool negative;
  magnitude(s, l->coef[0], &negative);
  ix v = negative ? l->rest : ix_scale(p, l->rest, -1);
  for (int k = 0; k < l->n; k++) {
    l->coef[k] = ix_exact_quotient(p, negative ? ix_scale(p, l->coef[k], -1) : l->coef[k], g);
    if (!l->coef[k]) return false;
  }
  if (!is_value(p, g, 1)) {
    add_condition(s, ix_mod(p, v, g), 0);
    v = l->n == 1 ? exact_part(s, v, g, s->size[l->unknown[0]]) : ix_div(p, v, g);
  }
  l->rest = ix_scale(p, v, -1);
  return true;
}

/// A term of an equation as the leading one of a division.
typedef struct leading {
  ix coef;         // > 0
  bool negative;   // the term is -coef * x
  ix least, span;  // of the other terms: least <= rest <= least + span
  bool exact;
  int64_t choices;  // of free unknowns, estimated
} leading;

/// The terms of l but for term k.
static ix other_terms(ix_system *s, const linear *l, int k) {
  ix sum = ix_const(&s->pool, 0);
  for (int i = 0; i < l->n; i++)
    if (i != k)
      sum = ix_add(&s->pool, sum, ix_mul(&s->pool, l->coef[i], unknown(s, l->unknown[i])));
  return sum;
}

/// Dividing by the largest coefficients first: how many choices that leaves, without terms `done`.
static int64_t division_choices(const ix_system *s, const linear *l, uint64_t done) {
  const ix_pool *p = &s->pool;
  int64_t choices = 1;
  for (;;) {
    int64_t most = 0, span = 0;
    int top = -1;
    for (int i = 0; i < l->n; i++) {
      if (done >> i & 1) continue;
      int64_t c = ix_estimate(p, l->coef[i]), extent = ix_estimate(p, s->size[l->unknown[i]]);
      if (c < 0) c = -c;
      span += estimate_times(c, extent - 1);
      if (c > most) most = c, top = i;
    }
    if (top < 0) return choices;
    span -= estimate_times(most, ix_estimate(p, s->size[l->unknown[top]]) - 1);
    choices = estimate_times(choices, span / most + 1);
    done |= (uint64_t)1 << top;
  }
}

static int64_t free_choices(const ix_system *s, const linear *l, int k) {
  int64_t choices = 1;
  for (int i = 0; i < l->n; i++)
    if (i != k) choices = estimate_times(choices, ix_estimate(&s->pool, s->size[l->unknown[i]]));
  return choices;
}

static bool find_leading(ix_system *s, const linear *l, int k, leading *t) {
  ix_pool *p = &s->pool;
  t->coef = magnitude(s, l->coef[k], &t->negative);
  if (!t->coef) return false;
  ix others = other_terms(s, l, k), most = ix_upper_bound(p, others);
  t->least = ix_lower_bound(p, others);
  if (!t->least || !most) return false;
  t->span = ix_sub(p, most, t->least);
  t->exact = ix_known_le(p, ix_add(p, t->span, ix_const(p, 1)), t->coef);
  int64_t coef = ix_estimate(p, t->coef), span = ix_estimate(p, t->span);
  t->choices = t->exact ? 1
                        : estimate_times((span < 0 ? 0 : span) / (coef < 1 ? 1 : coef) + 1,
                                         division_choices(s, l, (uint64_t)1 << k));
  return true;
}

/// x = +-((v - least) / coef - s), and what is left of the equation.
static bool divide(ix_system *s, const linear *l, int k, const leading *t, uint64_t fixed) {
  ix_pool *p = &s->pool;
  int x = l->unknown[k];
  ix from = ix_scale(p, ix_add(p, l->rest, t->least), -1);  // coef * x + others - least
  ix value = ix_div(p, from, t->coef);
  ix rest = ix_sub(p, ix_sub(p, other_terms(s, l, k), t->least), ix_mod(p, from, t->coef));
  if (!t->exact) {
    int i = add_unknown(s, ix_add(p, ix_div(p, t->span, t->coef), ix_const(p, 1)),
                        s->like[l->unknown[!k]]);
    if (i < 0) return false;
    value = ix_sub(p, value, unknown(s, i));
    rest = ix_sub(p, rest, ix_mul(p, t->coef, unknown(s, i)));
    fixed |= (uint64_t)1 << i;
  }
  if (l->n > 1) add_equation(s, rest, fixed);
  return assign(s, x, t->negative ? ix_scale(p, value, -1) : value);
}

/// x = +-(v - the others), which stay free.
static bool isolate(ix_system *s, const linear *l, int k, bool negative) {
  ix sum = ix_add(&s->pool, other_terms(s, l, k), l->rest);
  return assign(s, l->unknown[k], negative ? sum : ix_scale(&s->pool, sum, -1));
}

static bool solve_linear(ix_system *s, ix_equation q) {
  linear l;
  leading best = {.choices = INT64_MAX}, t;
  int at = -1, unit = -1;
  int64_t unit_choices = INT64_MAX;
  if (!find_linear(s, q, &l) || !reduce(s, &l)) return false;
  for (int k = 0; k < l.n; k++) {
    bool plus = is_value(&s->pool, l.coef[k], 1), minus = is_value(&s->pool, l.coef[k], -1);
    int64_t choices = plus || minus ? free_choices(s, &l, k) : INT64_MAX;
    if (choices < unit_choices) unit = k, unit_choices = choices;
    if (find_leading(s, &l, k, &t) && t.choices < best.choices) best = t, at = k;
  }
  if (at >= 0 && (best.exact || best.choices < unit_choices) && l.n > 1)
    return divide(s, &l, at, &best, q.fixed);
  return unit >= 0 && isolate(s, &l, unit, is_value(&s->pool, l.coef[unit], -1));
}

// ---- quotients and remainders

/// The part of the division that atom / m and atom % m have in common: a = m * (q + first) + r.
typedef struct parts {
  ix a, m, first, count;  // q < count
} parts;

static bool find_parts(ix_system *s, ix atom, parts *d) {
  ix_pool *p = &s->pool;
  ix_node n = *ix_get(p, atom);
  *d = (parts){.a = n.a, .m = n.b};
  if (!is_positive(s, n.b)) return false;
  ix least = ix_lower_bound(p, n.a), most = ix_upper_bound(p, n.a);
  if (!least || !most) return false;
  ix one = ix_const(p, 1), end = ix_add(p, most, one);
  d->first = is_value(p, least, 0) ? least : ix_div(p, least, n.b);
  ix last = ix_exact_quotient(p, end, n.b);
  if (!last) last = ix_add(p, ix_div(p, most, n.b), one);
  d->count = ix_sub(p, last, d->first);
  return true;
}

static ix whole(ix_pool *p, const parts *d, ix quotient, ix rest) {
  return ix_sub(p, ix_sub(p, d->a, ix_mul(p, d->m, quotient)), rest);
}

static bool step(ix_system *s, ix_equation q);

/// atom = v, which has no open unknown.
static bool solve_atom(ix_system *s, ix atom, ix v, uint64_t fixed) {
  ix_pool *p = &s->pool;
  parts d;
  int first = 0;
  bool quotient = ix_get(p, atom)->kind == IX_DIV;
  if (!find_parts(s, atom, &d) || !count_open(s, atom, fixed, &first)) return false;
  int i = add_unknown(s, quotient ? d.m : d.count, s->like[first]);
  if (i < 0) return false;
  ix other = unknown(s, i);
  if (!quotient) add_condition(s, v, d.m);
  ix e = quotient ? whole(p, &d, v, other) : whole(p, &d, ix_add(p, other, d.first), v);
  return step(s, (ix_equation){e, fixed | (uint64_t)1 << i});
}

/// Replaces atom / m and atom % m by unknowns of their own.
static bool split_atom(ix_system *s, ix atom, uint64_t fixed) {
  ix_pool *p = &s->pool;
  parts d;
  int first = 0;
  if (!find_parts(s, atom, &d) || !count_open(s, atom, fixed, &first)) return false;
  int quotient = add_unknown(s, d.count, s->like[first]),
      rest = add_unknown(s, d.m, s->like[first]);
  if (quotient < 0 || rest < 0) return false;
  ix e = whole(p, &d, ix_add(p, unknown(s, quotient), d.first), unknown(s, rest));
  return step(s, (ix_equation){e, fixed | (uint64_t)1 << quotient | (uint64_t)1 << rest});
}

/// A quotient or remainder of something open without such inside; 0 none.
static ix innermost(const ix_system *s, ix e, uint64_t fixed) {
  ix_node n = *ix_get(&s->pool, e);
  ix found = 0;
  if (n.kind == IX_DIV || n.kind == IX_MOD) {
    if (!has_open(s, e, fixed)) return 0;
    found = innermost(s, n.a, fixed);
    if (!found) found = innermost(s, n.b, fixed);
    return found ? found : e;
  }
  for (int k = 0; n.kind == IX_SUM && k < n.nterms; k++)
    for (int i = 0; i < n.terms[k].natoms && !found; i++)
      found = innermost(s, n.terms[k].atoms[i], fixed);
  return found;
}

/// e = coef * atom + rest, where the atom is a quotient or remainder and has all that is open.
static bool is_one_atom(ix_system *s, ix_equation q, ix *atom, ix *coef, ix *rest) {
  ix_pool *p = &s->pool;
  ix_poly poly = ix_poly_of(p, q.e);
  *atom = 0;
  for (int k = 0; k < poly.len; k++) {
    ix_term t = poly.data[k];
    for (int i = 0; i < t.natoms; i++) {
      if (!has_open(s, t.atoms[i], q.fixed)) continue;
      if (*atom || ix_get(p, t.atoms[i])->kind == IX_AXIS) return false;
      ix_term one = {.coef = 1, .natoms = 1, .atoms = &t.atoms[i]}, others;
      if (!ix_term_divide(p, &t, &one, &others)) return false;
      *atom = t.atoms[i];
      *coef = ix_from_term(p, others);
      *rest = ix_sub(p, q.e, ix_from_term(p, t));
    }
  }
  return *atom && ix_is_size(p, *coef);
}

static bool step(ix_system *s, ix_equation q) {
  ix_pool *p = &s->pool;
  ix atom, coef, rest;
  bool negative;
  int first;
  if (!count_open(s, q.e, q.fixed, &first)) {
    if (!q.fixed || !has_open(s, q.e, 0)) add_condition(s, q.e, 0);
    else add_equation(s, q.e, 0);
    return true;
  }
  if (is_one_atom(s, q, &atom, &coef, &rest)) {
    ix c = magnitude(s, coef, &negative);
    if (!c) return false;
    if (!negative) rest = ix_scale(p, rest, -1);
    if (!is_value(p, c, 1)) add_condition(s, ix_mod(p, rest, c), 0);
    return solve_atom(s, atom, ix_div(p, rest, c), q.fixed);
  }
  atom = innermost(s, q.e, q.fixed);
  if (!atom) return solve_linear(s, q);
  add_equation(s, q.e, q.fixed);
  return split_atom(s, atom, q.fixed);
}

// ---- the whole

/// Takes the equation with the fewest unknowns, of such one without quotients.
static ix_equation next_equation(ix_system *s) {
  int best = 0, fewest = INT32_MAX, first;
  for (int k = 0; k < s->pending.len; k++) {
    ix_equation q = s->pending.data[k];
    int n = 2 * count_open(s, q.e, q.fixed, &first) + (innermost(s, q.e, q.fixed) != 0);
    if (n < fewest) fewest = n, best = k;
  }
  ix_equation q = s->pending.data[best];
  for (int k = best + 1; k < s->pending.len; k++) s->pending.data[k - 1] = s->pending.data[k];
  s->pending.len--;
  return q;
}

static bool holds(ix_system *s, ix_condition c) {
  ix_pool *p = &s->pool;
  return c.below ? is_inside(p, c.e, c.below) : is_value(p, c.e, 0);
}

static bool fails(ix_system *s, ix_condition c) {
  ix_range r = ix_bounds(&s->pool, c.e);
  if (!c.below) return r.min > 0 || r.max < 0;
  return r.max < 0 || ix_known_le(&s->pool, c.below, c.e);
}

static void drop_conditions(ix_system *s) {
  int n = 0;
  for (int k = 0; k < s->conditions.len; k++) {
    ix_condition c = s->conditions.data[k];
    bool known = holds(s, c);
    for (int i = 0; i < n && !known; i++)
      known = s->conditions.data[i].e == c.e && s->conditions.data[i].below == c.below;
    if (known) continue;
    if (fails(s, c)) s->never = true;
    s->conditions.data[n++] = c;
  }
  s->conditions.len = n;
}

bool ix_system_solve(ix_system *s) {
  for (int steps = 0; s->pending.len; steps++)
    if (steps == MOST_STEPS || !step(s, next_equation(s)) || s->pool.overflow) return false;
  drop_conditions(s);
  return !s->pool.overflow;
}
