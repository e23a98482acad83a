// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Literals and axis sizes, and what is computed of them alone. They have no type until they meet
// a typed value: `x * (1 / 2)` is half of x for a float x and zero for an integer one. Known
// values are folded in f64 or 64-bit integers and rounded once; sizes that are symbols become
// nodes, each made once per type.
#include <math.h>

#include "frontend/lower.h"

static constant *new_constant(scope *s) { return arena_new(s->l->arena, constant); }

/// Sizes beyond this are no sizes; it keeps index arithmetic away from overflow.
static bool is_size_value(whole v) { return v > -((int64_t)1 << 53) && v < (int64_t)1 << 53; }

constant *constant_int(scope *s, whole v) {
  constant *c = new_constant(s);
  *c = (constant){.known = true, .as_int = v, .as_float = (double)v, .op = OP_const};
  if (is_size_value(v)) c->size = ix_const(&s->l->g->ix, (int64_t)v);
  return c;
}

bool constant_beyond_sizes(const constant *c) {
  return c->known && !c->is_float && !is_size_value(c->as_int);
}

constant *constant_float(scope *s, double v) {
  constant *c = new_constant(s);
  *c = (constant){.is_float = true, .known = true, .as_float = v, .op = OP_const};
  return c;
}

constant *constant_size(scope *s, ix size) {
  int64_t v;
  if (ix_is_const(&s->l->g->ix, size, &v)) return constant_int(s, v);
  constant *c = new_constant(s);
  *c = (constant){.size = size, .op = OP_size};
  return c;
}

dtype constant_type(const constant *c) {
  return c->fixed ? c->type : c->is_float ? DT_f32 : DT_i32;
}

// ---- operations

static ix size_op(scope *s, op o, const constant *a, const constant *b) {
  ix_pool *p = &s->l->g->ix;
  if (!a->size || (b && !b->size)) return 0;
  int64_t divisor;
  switch (o) {
    case OP_add: return ix_add(p, a->size, b->size);
    case OP_sub: return ix_sub(p, a->size, b->size);
    case OP_mul: return ix_mul(p, a->size, b->size);
    case OP_neg: return ix_scale(p, a->size, -1);
    case OP_div: case OP_rem:
      if (ix_is_const(p, b->size, &divisor) && divisor <= 0) return 0;
      if (ix_bounds(p, a->size).min < 0 && !ix_known_le(p, ix_const(p, 0), a->size)) return 0;
      return o == OP_div ? ix_div(p, a->size, b->size) : ix_mod(p, a->size, b->size);
    default: return 0;
  }
}

/// Operands in range cannot leave 128 bits but in powers; what leaves 64 is seen by the caller.
static bool int_op(op o, whole a, whole b, whole *out) {
  switch (o) {
    case OP_add: return *out = a + b, true;
    case OP_sub: return *out = a - b, true;
    case OP_mul: return !__builtin_mul_overflow(a, b, out);
    case OP_neg: return *out = -a, true;
    case OP_abs: return *out = a >= 0 ? a : -a, true;
    case OP_sign: return *out = (a > 0) - (a < 0), true;
    case OP_div: return *out = b ? a / b : 0, true;
    case OP_rem: return *out = b ? a % b : 0, true;
    case OP_min: return *out = a < b ? a : b, true;
    case OP_max: return *out = a > b ? a : b, true;
    case OP_pow:
      if (b < 0) return false;
      for (*out = 1; b > 0; b--) {
        if (b > 64 && (a > 1 || a < -1)) return false;
        if (b > 64) b = 64 + b % 2;
        if (__builtin_mul_overflow(*out, a, out)) return false;
      }
      return true;
    default: return false;
  }
}

static bool is_any_integer(whole v) { return v >= INT64_MIN && v <= (whole)UINT64_MAX; }

static bool is_int_op(op o) {
  return op_get(o)->types == TYPES_NUM || o == OP_pow;
}

constant *constant_op(scope *s, op o, const constant *a, const constant *b) {
  enum { MOST_DEPTH = 100 };
  op_types types = op_get(o)->types;
  if (types != TYPES_NUM && types != TYPES_FLOAT) return NULL;
  if (a->fixed || (b && b->fixed)) return NULL;
  constant *c = new_constant(s);
  scalar in[2] = {{.f = a->as_float}, {.f = b ? b->as_float : 0}};
  c->is_float = !is_int_op(o) || a->is_float || (b && b->is_float);
  c->known = a->known && (!b || b->known);
  c->op = o;
  c->in[0] = a;
  c->in[1] = b;
  c->nin = b ? 2 : 1;
  c->depth = 1 + (b && b->depth > a->depth ? b->depth : a->depth);
  if (!c->known && c->depth > MOST_DEPTH) return NULL;
  if (c->known) c->as_float = op_eval(o, DT_f64, DT_f64, in).f;
  if (c->known && !c->is_float) {
    bool fits = int_op(o, a->as_int, b ? b->as_int : 0, &c->as_int);
    fits = fits && is_any_integer(c->as_int);
    c->int_overflow = !fits || a->int_overflow || (b && b->int_overflow);
    if (!c->int_overflow && is_size_value(c->as_int))
      c->size = ix_const(&s->l->g->ix, (int64_t)c->as_int);
  } else if (!c->known && !c->is_float) {
    c->size = size_op(s, o, a, b);
  }
  return c;
}

// ---- as a node of a type

static bool int_range_holds(dtype t, whole v) {
  int64_t low = scalar_limit(t, false).i, high = scalar_limit(t, true).i;
  return v >= low && v <= (t == DT_u64 ? (whole)UINT64_MAX : high);
}

static node *literal_error(scope *s, const constant *c, dtype t, span at) {
  str text = source_text(s, at);
  if (t == DT_bool) {
    scope_error(s, DIAG_literal_range, at, "a bool is needed here; %.*s is a number",
                STR_FMT(text));
  } else if (c->is_float && !dtype_is_float(t)) {
    scope_error(s, DIAG_literal_range, at, "%.*s is not an integer and cannot be %s", STR_FMT(text),
                dtype_name(t));
  } else {
    scope_error(s, DIAG_literal_range, at, "%.*s does not fit %s", STR_FMT(text), dtype_name(t));
  }
  return NULL;
}

static node *known_node(scope *s, const constant *c, dtype t, span at) {
  if (!dtype_is_float(t)) {
    if (c->int_overflow || !int_range_holds(t, c->as_int)) return literal_error(s, c, t, at);
    return graph_const(s->l->g, t, (scalar){.i = (int64_t)c->as_int});
  }
  scalar rounded = scalar_cast((scalar){.f = c->as_float}, DT_f64, t);
  if (isinf(rounded.f) && isfinite(c->as_float)) return literal_error(s, c, t, at);
  return graph_const(s->l->g, t, rounded);
}

node *constant_node(scope *s, constant *c, dtype t, span at) {
  if (c->made[t]) return c->made[t];
  if (t == DT_bool || (c->is_float && !dtype_is_float(t))) return literal_error(s, c, t, at);
  graph *g = s->l->g;
  node *n = NULL;
  if (c->known) {
    n = known_node(s, c, t, at);
  } else if (dtype_is_storage(t)) {
    n = constant_node(s, c, DT_f32, at);
    if (n) n = graph_cast(g, n, t);
  } else if (c->op == OP_size || (c->size && !dtype_is_float(t))) {
    n = graph_size(g, t, c->size);
  } else {
    node *in[2];
    for (int i = 0; i < c->nin; i++)
      if (!(in[i] = constant_node(s, (constant *)c->in[i], t, at))) return NULL;
    if (c->op == OP_pow && !dtype_is_float(t)) return literal_error(s, c, t, at);
    n = graph_map(g, c->op, in, c->nin, t);
  }
  return c->made[t] = n;
}
