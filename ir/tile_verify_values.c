// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is known of the integers of a kernel: whether an index that was loaded or computed stays
// inside of a dimension. A value is an expression of ir/ix.h, or lies between two:
//
//   %1 = load ids[S] : i32[S:1]      nothing
//   check %1 below V site 0          from here on %1 is a coordinate of an axis with V positions
//   %2 = const 63 : i32              63
//   %3 = min %4, %2 : i32            at most 63
//   %5 = max %3, %0 : i32            with %0 = 0: a coordinate of an axis with 64 positions
//   %6 = index T : i64[T:8]          T
//   %7 = add %6, %5 : i64[T:8]       their sum
//
// It is known of the lanes that were valid where it was computed or checked. A value that is used in
// another range of one of its axes may have further valid lanes, of which nothing is known. What a
// `check` says holds to the end of the region that it stands in.
#include "ir/tile_verify.h"

enum { MOST_TERMS = 16, MOST_ATOMS = 8 };

typedef struct fact {
  ix exact;            // 0: unknown
  ix low, high;        // inclusive; 0: unknown
  ix empty;            // exact is a checked coordinate of an axis with so many positions, which may be
                       // none: then the check was reported, and the value is any number
  int range[MAX_AXES];  // per axis of the value: the range that its lanes were valid in; 0: all were
} fact;

typedef struct saved {
  int id;
  fact was;
} saved;

struct tile_values {
  const kernel *k;
  ix_pool *pool;
  arena *arena;
  int *extent;  // by axis: of the current range; 0 closed
  int *range;   // by axis: the number of that range
  int nranges, naxes;
  fact *facts;           // by value id
  const tstmt **makers;  // likewise
  vec(saved) checked;    // what to take back at the end of the region
};

tile_values *tile_values_new(const kernel *k, ix_pool *pool, arena *a) {
  tile_values *f = arena_new(a, tile_values);
  *f = (tile_values){.k = k, .pool = pool, .arena = a, .naxes = k->axes.len};
  f->extent = arena_array(a, int, k->axes.len + 1);
  f->range = arena_array(a, int, k->axes.len + 1);
  f->facts = arena_array(a, fact, k->nvals + 1);
  f->makers = arena_array(a, const tstmt *, k->nvals + 1);
  return f;
}

tile_range tile_values_open(tile_values *f, int axis, int extent) {
  tile_range outer = {f->extent[axis], f->range[axis]};
  f->extent[axis] = extent;
  f->range[axis] = ++f->nranges;
  return outer;
}

void tile_values_close(tile_values *f, int axis, tile_range outer) {
  f->extent[axis] = outer.extent;
  f->range[axis] = outer.number;
}

int tile_values_mark(const tile_values *f) { return f->checked.len; }

void tile_values_restore(tile_values *f, int mark) {
  while (f->checked.len > mark) {
    saved s = f->checked.data[--f->checked.len];
    f->facts[s.id] = s.was;
  }
}

/// The range that lanes along the i-th axis are valid in here; 0: all lanes count.
static int range_of(const tile_values *f, const tval *v, int i) {
  int axis = v->axes[i];
  return f->extent[axis] == v->extents[i] ? f->range[axis] : 0;
}

/// What is known of the lanes that are valid here.
static fact known(const tile_values *f, const tval *v) {
  fact x = f->facts[v->id];
  for (int i = 0; i < v->naxes; i++)
    if (x.range[i] && x.range[i] != range_of(f, v, i)) return (fact){0};
  return x;
}

// ---- expressions

static ix number(tile_values *f, int64_t n) { return ix_const(f->pool, n); }

/// Not so large that nothing can be shown of it; an overflow makes it meaningless.
static ix sane(tile_values *f, ix e) {
  bool overflow = f->pool->overflow;
  f->pool->overflow = false;
  if (overflow || !e) return 0;
  const ix_node *n = ix_get(f->pool, e);
  if (n->kind != IX_SUM) return e;
  if (n->nterms > MOST_TERMS) return 0;
  for (int i = 0; i < n->nterms; i++)
    if (n->terms[i].natoms > MOST_ATOMS) return 0;
  return e;
}

/// Computed in type t it is the same number: it does not wrap around. Coordinates times sizes of
/// memory fit in i64; so do they times small numbers.
static bool fits(const tile_values *f, ix e, dtype t) {
  enum { SMALL = 1 << 20 };
  if (t != DT_i64) {
    ix_range r = ix_bounds(f->pool, e);
    if (t == DT_u64) return r.min >= 0 && r.max < INT64_MAX;
    return r.min >= scalar_limit(t, false).i && r.max <= scalar_limit(t, true).i;
  }
  const ix_node *n = ix_get(f->pool, e);
  for (int i = 0; n->kind == IX_SUM && i < n->nterms; i++)
    if (n->terms[i].natoms && (n->terms[i].coef > SMALL || n->terms[i].coef < -SMALL)) return false;
  return true;
}

static bool all_fit(const tile_values *f, const fact *x, dtype t) {
  return (!x->low || fits(f, x->low, t)) && (!x->high || fits(f, x->high, t));
}

static fact exactly(ix e) { return (fact){.exact = e, .low = e, .high = e}; }

/// A number from 0 to size - 1 of which no more is known.
static ix new_coordinate(tile_values *f, ix size) {
  int axis = f->naxes++;
  ix_set_axis(f->pool, axis, size);
  return ix_axis(f->pool, axis);
}

/// Between two bounds: a coordinate, where the lower one is not negative.
static fact between(tile_values *f, ix low, ix high) {
  fact x = {.low = low, .high = high};
  if (!low || !high || !ix_known_le(f->pool, number(f, 0), low)) return x;
  if (!ix_known_le(f->pool, number(f, 0), high)) return x;
  x.exact = new_coordinate(f, ix_add(f->pool, high, number(f, 1)));
  return x;
}

static ix smaller(tile_values *f, ix a, ix b) {
  if (!a || !b) return 0;
  return ix_known_le(f->pool, a, b) ? a : ix_known_le(f->pool, b, a) ? b : 0;
}

static ix larger(tile_values *f, ix a, ix b) {
  if (!a || !b) return 0;
  return ix_known_le(f->pool, a, b) ? b : ix_known_le(f->pool, b, a) ? a : 0;
}

// ---- operations

/// min(x, last) and max(x, 0) of a checked x leave it as it is.
static fact clamp_checked(tile_values *f, op o, fact x, fact by) {
  ix last = ix_sub(f->pool, x.empty, number(f, 1));
  bool same = o == OP_min ? by.exact == last : by.exact == number(f, 0);
  return same ? x : (fact){0};
}

static fact min_max(tile_values *f, op o, fact x, fact y, dtype t) {
  if (x.empty) return clamp_checked(f, o, x, y);
  if (y.empty) return clamp_checked(f, o, y, x);
  if (!all_fit(f, &x, t) || !all_fit(f, &y, t)) return (fact){0};
  bool le = x.high && y.low && ix_known_le(f->pool, x.high, y.low);
  bool ge = y.high && x.low && ix_known_le(f->pool, y.high, x.low);
  if (le) return o == OP_min ? x : y;
  if (ge) return o == OP_min ? y : x;
  ix low, high;
  if (o == OP_min) {
    low = smaller(f, x.low, y.low);
    high = !x.high ? y.high : !y.high ? x.high : smaller(f, x.high, y.high);
    if (!high) high = y.high;
  } else {
    high = larger(f, x.high, y.high);
    low = !x.low ? y.low : !y.low ? x.low : larger(f, x.low, y.low);
    if (!low) low = y.low;
  }
  return between(f, low, high);
}

/// Where there are lanes the divisor is at least 1: it always is, or a range is open along an axis
/// whose size is a multiple of it, and would be 0 with it.
static bool divides(tile_values *f, ix divisor) {
  int64_t least = ix_bounds(f->pool, divisor).min;
  for (int i = 0; least == 0 && i < f->k->axes.len; i++)
    if (f->extent[i] && ix_exact_quotient(f->pool, f->k->axes.data[i].size, divisor)) return true;
  return least >= 1;
}

/// Rounds towards 0, so that x is not negative; for negative ones see floor_of().
static fact divide(tile_values *f, op o, fact x, fact y, dtype t) {
  if (!y.exact || !divides(f, y.exact) || !fits(f, y.exact, t)) return (fact){0};
  bool positive = x.low && all_fit(f, &x, t) && ix_known_le(f->pool, number(f, 0), x.low);
  ix last = ix_sub(f->pool, y.exact, number(f, 1));
  if (positive && x.exact && o == OP_div) return exactly(ix_div(f->pool, x.exact, y.exact));
  if (positive && x.exact) return exactly(ix_mod(f->pool, x.exact, y.exact));
  if (o == OP_rem) return between(f, positive ? number(f, 0) : ix_scale(f->pool, last, -1), last);
  return (fact){0};
}

static const tstmt *made_by(const tile_values *f, const tval *v, op o) {
  const tstmt *s = f->makers[v->id];
  return s && s->kind == TILE_MAP && s->op == o ? s : NULL;
}

/// where(r < 0, q - 1, q) and where(r < 0, r + y, r) with q = x / y, r = x % y: rounding down.
static fact floor_of(tile_values *f, const tstmt *s) {
  const tstmt *negative = made_by(f, s->in[0], OP_lt);
  const tstmt *r = negative ? made_by(f, negative->in[0], OP_rem) : NULL;
  const tstmt *q = made_by(f, s->in[2], OP_div);
  if (!r || known(f, negative->in[1]).exact != number(f, 0)) return (fact){0};
  dtype t = s->out[0]->type;
  fact x = known(f, r->in[0]), y = known(f, r->in[1]);
  if (!x.exact || x.empty || !y.exact || !divides(f, y.exact)) return (fact){0};
  if (!fits(f, x.exact, t) || !fits(f, y.exact, t)) return (fact){0};
  if (q) {
    const tstmt *less = made_by(f, s->in[1], OP_sub);
    bool same = q->in[0] == r->in[0] && q->in[1] == r->in[1] && less && less->in[0] == s->in[2] &&
                known(f, less->in[1]).exact == number(f, 1);
    return same ? exactly(ix_div(f->pool, x.exact, y.exact)) : (fact){0};
  }
  const tstmt *more = made_by(f, s->in[1], OP_add);
  bool same = s->in[2] == r->out[0] && more && more->in[0] == r->out[0] && more->in[1] == r->in[1];
  return same ? exactly(ix_mod(f->pool, x.exact, y.exact)) : (fact){0};
}

/// One of two values.
static fact either(tile_values *f, fact x, fact y) {
  if (x.empty || y.empty) return (fact){0};
  if (x.exact && x.exact == y.exact) return x;
  return between(f, smaller(f, x.low, y.low), larger(f, x.high, y.high));
}

static fact where(tile_values *f, const tstmt *s) {
  fact x = floor_of(f, s);
  return x.exact ? x : either(f, known(f, s->in[1]), known(f, s->in[2]));
}

static fact of_map(tile_values *f, const tstmt *s) {
  dtype t = s->out[0]->type;
  if (s->op == OP_where) return where(f, s);
  for (int i = 0; i < s->nin; i++)
    if (!dtype_is_int(s->in[i]->type)) return (fact){0};
  fact x = known(f, s->in[0]), y = s->nin > 1 ? known(f, s->in[1]) : (fact){0};
  switch (s->op) {
    case OP_cast: return all_fit(f, &x, t) && (!x.empty || fits(f, x.exact, t)) ? x : (fact){0};
    case OP_min:
    case OP_max: return min_max(f, s->op, x, y, t);
    default: break;
  }
  if (x.empty || y.empty) return (fact){0};
  if (s->op == OP_div || s->op == OP_rem) return divide(f, s->op, x, y, t);
  if (!x.exact || !y.exact) return (fact){0};
  switch (s->op) {
    case OP_add: return exactly(ix_add(f->pool, x.exact, y.exact));
    case OP_sub: return exactly(ix_sub(f->pool, x.exact, y.exact));
    case OP_mul: return exactly(ix_mul(f->pool, x.exact, y.exact));
    default: return (fact){0};
  }
}

static fact of_statement(tile_values *f, const tstmt *s) {
  dtype t = s->out[0]->type;
  switch (s->kind) {
    case TILE_CONST: return t == DT_u64 && s->value.i < 0 ? (fact){0} : exactly(number(f, s->value.i));
    case TILE_SIZE: return exactly(s->ix[0]);
    case TILE_INDEX: return exactly(ix_axis(f->pool, s->axis));
    case TILE_MAP: return of_map(f, s);
    default: return (fact){0};
  }
}

static void set(tile_values *f, const tval *v, fact x) {
  for (int i = 0; i < v->naxes; i++) x.range[i] = range_of(f, v, i);
  f->facts[v->id] = x;
}

static void note_check(tile_values *f, const tstmt *s) {
  const tval *v = s->in[0];
  saved was = {v->id, f->facts[v->id]};
  vec_push(f->arena, &f->checked, was);
  ix last = ix_sub(f->pool, s->ix[0], number(f, 1));
  fact old = known(f, v), x = {0};
  bool some = ix_bounds(f->pool, s->ix[0]).min >= 1;
  if (old.exact && !old.empty && ix_known_le(f->pool, number(f, 0), old.exact) &&
      ix_known_le(f->pool, old.exact, last))
    return;
  x.exact = new_coordinate(f, s->ix[0]);
  if (some) {
    x.low = number(f, 0);
    x.high = last;
  } else {
    x.empty = s->ix[0];
  }
  set(f, v, x);
}

void tile_values_note(tile_values *f, const tstmt *s) {
  for (int i = 0; i < s->nout; i++) f->makers[s->out[i]->id] = s;
  if (s->kind == TILE_CHECK) return note_check(f, s);
  if (s->nout != 1 || !dtype_is_int(s->out[0]->type)) return;
  fact x = of_statement(f, s);
  x.exact = sane(f, x.exact);
  x.low = sane(f, x.low);
  x.high = sane(f, x.high);
  // A sum or product may have wrapped around; as an index it is right where it is right unbounded.
  if (x.exact && s->out[0]->type != DT_i64 && !fits(f, x.exact, s->out[0]->type)) x = (fact){0};
  set(f, s->out[0], x);
}

bool tile_values_inside(tile_values *f, const tval *index, ix offset, ix size) {
  fact x = known(f, index);
  ix last = ix_sub(f->pool, size, number(f, 1));
  if (!x.exact) return false;
  // Without positions the buffer has no elements either, and is not read.
  if (x.empty) return offset == number(f, 0) && x.empty == size;
  ix at = sane(f, ix_add(f->pool, x.exact, offset));
  return at && ix_known_le(f->pool, number(f, 0), at) && ix_known_le(f->pool, at, last);
}
