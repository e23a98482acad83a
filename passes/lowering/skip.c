// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See skip.h. Conditions on coordinates are bounds of the walk:
//
//   where(index(T) <= index(S), s, -inf)           below S + rows of the tile
//   ... && index(S) - index(T) < 1024              from (S - 1023) / step * step
//
// A step that a condition empties changes no state: its maximum is -inf, its exponentials are 0. The
// condition still masks the steps that are taken. Where indices are tested all steps are taken, so that
// one that is out of range is found.
#include "passes/lowering/skip.h"

#include <math.h>

#include "base/fault.h"

enum { LARGE = 1 << 30 };  // what is smaller does not wrap around when it is added to a coordinate

/// What a value must be to change nothing.
typedef enum nothing { ZERO, ONE, LEAST, MOST } nothing;

typedef struct search {
  skip *s;
  ix *linear;     // by node id: integers as index expressions over kernel axes; 0: others
  uint8_t *seen;  // by node id, a bit of each `nothing`
  vec(skip_condition) found;  // of one state
} search;

// ---- conditions of a state

static bool is_constant(const node *n, nothing want) {
  if (n->op != OP_const) return false;
  if (want == LEAST || want == MOST) {
    scalar none = op_identity(want == LEAST ? OP_max : OP_min, n->type);
    return dtype_is_float(n->type) ? n->value.f == none.f : n->value.i == none.i;
  }
  return dtype_is_float(n->type) ? n->value.f == (want == ONE) : n->value.i == (want == ONE);
}

static void add_condition(search *a, const node *c, bool negated) {
  // Another kernel's result is in memory as a whole, whatever it was made of.
  bool splits = c->type == DT_bool && kb_in_group(a->s->b, c);
  bool both = splits && (c->op == (negated ? OP_or : OP_and));
  if (c->op == OP_not && splits) {
    add_condition(a, c->in[0], !negated);
  } else if (both) {
    add_condition(a, c->in[0], negated);
    add_condition(a, c->in[1], negated);
  } else {
    for (int i = 0; i < a->found.len; i++)
      if (a->found.data[i].n == c && a->found.data[i].negated == negated) return;
    vec_push(a->s->b->l->a, &a->found, (skip_condition){c, negated, false});
  }
}

static nothing opposite(nothing want) { return want == LEAST ? MOST : want == MOST ? LEAST : want; }

static bool is_positive(const node *n) {
  return n->op == OP_const && n->value.f > 0 && n->value.f < INFINITY;
}

/// Finds conditions without which n is what is wanted. A factor or term beside it does not matter, be
/// it infinite or NaN.
static void see(search *a, const node *n, nothing want) {
  if (!kb_in_group(a->s->b, n) || a->seen[n->id] & 1 << want) return;
  a->seen[n->id] |= (uint8_t)(1 << want);
  const node *x = n->nin ? n->in[0] : NULL, *y = n->nin > 1 ? n->in[1] : NULL;
  bool extreme = want == LEAST || want == MOST;
  if (n->op == OP_where) {
    const node *z = n->in[2];
    if (is_constant(z, want)) add_condition(a, x, false), see(a, y, want);
    else if (is_constant(y, want)) add_condition(a, x, true), see(a, z, want);
    return;
  }
  if (!dtype_is_float(n->type)) return;
  switch (n->op) {
    case OP_cast:
      if (dtype_is_float(x->type)) see(a, x, want);
      return;
    case OP_neg: return want == ONE ? (void)0 : see(a, x, opposite(want));
    case OP_add:
      if (extreme) see(a, x, want), see(a, y, want);
      return;
    case OP_sub:
      if (extreme) see(a, x, want), see(a, y, opposite(want));
      return;
    case OP_mul:
      if (want == ZERO || (extreme && is_positive(y))) see(a, x, want);
      if (want == ZERO || (extreme && is_positive(x))) see(a, y, want);
      return;
    case OP_div:
      if (want == ZERO || (extreme && is_positive(y))) see(a, x, want);
      return;
    case OP_exp:
    case OP_exp2:
      if (want == ZERO) see(a, x, LEAST);
      return;
    default: return;
  }
}

static void see_state(search *a, const node *n) {
  memset(a->seen, 0, (size_t)a->s->b->l->g->nodes.len);
  a->found.len = 0;
  switch (n->op) {
    case OP_sum: see(a, n->in[0], ZERO); return;
    case OP_dot: see(a, n->in[0], ZERO), see(a, n->in[1], ZERO); return;
    case OP_prod: see(a, n->in[0], ONE); return;
    case OP_reduce_max:
    case OP_argmax: see(a, n->in[0], LEAST); return;
    case OP_reduce_min:
    case OP_argmin: see(a, n->in[0], MOST); return;
    default: return;
  }
}

/// Keeps the conditions that empty this state, too.
static void keep_common(search *a, bool first) {
  skip *s = a->s;
  int kept = 0;
  for (int i = 0; i < a->found.len && first; i++)
    vec_push(s->b->l->a, &s->conditions, a->found.data[i]);
  for (int i = 0; i < s->conditions.len; i++) {
    const skip_condition *c = &s->conditions.data[i];
    bool common = false;
    for (int k = 0; k < a->found.len; k++)
      common |= a->found.data[k].n == c->n && a->found.data[k].negated == c->negated;
    if (common) s->conditions.data[kept++] = *c;
  }
  s->conditions.len = kept;
}

/// All states of the walk are made of nothing where one of the conditions is false.
static void find_conditions(search *a, int walk) {
  const group *g = a->s->b->group;
  bool first = true;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    const outline_value *v = &a->s->o->values[n->id];
    bool gathers = v->streamed && op_get(n->op)->class == CLASS_gather;
    bool shown = v->streamed && a->s->stored[n->id] && v->walk == walk && !v->added;
    if ((gathers && !(n->flags & NODE_UNCHECKED)) || shown) {
      a->s->conditions.len = 0;
      return;
    }
    if (!(v->state || v->added) || v->walk != walk) continue;
    see_state(a, n);
    keep_common(a, first);
    first = false;
  }
}

// ---- bounds

static ix linear_of(const search *a, const node *n) {
  kbuild *b = a->s->b;
  ix_pool *pool = &b->k->ix;
  if (n->type != DT_i32 && n->type != DT_i64) return 0;  // others wrap around
  ix x = n->nin ? a->linear[n->in[0]->id] : 0, y = n->nin > 1 ? a->linear[n->in[1]->id] : 0;
  switch (n->op) {
    case OP_index: return b->sigma[n->axes[0]];
    case OP_size: return ix_substitute(pool, &b->l->g->ix, n->index[0], NULL, 0);
    case OP_const:
      return n->value.i > -LARGE && n->value.i < LARGE ? ix_const(pool, n->value.i) : 0;
    case OP_cast: return x;
    case OP_neg: return x ? ix_scale(pool, x, -1) : 0;
    case OP_add: return x && y ? ix_add(pool, x, y) : 0;
    case OP_sub: return x && y ? ix_sub(pool, x, y) : 0;
    default: return 0;
  }
}

static void find_linear(search *a) {
  const group *g = a->s->b->group;
  a->linear = arena_array(a->s->b->l->a, ix, a->s->b->l->g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++)
    a->linear[g->nodes.data[i]->id] = linear_of(a, g->nodes.data[i]);
}

typedef struct only_axes {
  const skip *s;
  bool ok;
} only_axes;

/// Bounds may use axes that are open around the walk.
static void see_axis(void *ctx, int axis) {
  only_axes *seen = ctx;
  bool open = false;
  for (int i = 0; i < seen->s->nopen; i++) open |= seen->s->open[i].axis == axis;
  seen->ok &= open;
}

/// The most (or least) that e is over what is open around the walk, at its base; 0: not known.
static ix over_open(const skip *s, ix e, bool most) {
  ix_pool *pool = &s->b->k->ix;
  only_axes seen = {s, true};
  ix_axes(pool, e, see_axis, &seen);
  if (!seen.ok) return 0;
  ix result = e;
  for (int i = 0; i < s->nopen; i++) {
    ix coef, rest;
    int64_t step;
    const grid_axis *open = &s->open[i];
    if (open->extent == 1 || !ix_uses_axis(pool, e, open->axis)) continue;
    if (!ix_affine(pool, e, open->axis, &coef, &rest) || !ix_is_const(pool, coef, &step)) return 0;
    if ((step > 0) != most) continue;
    result = ix_add(pool, result, ix_const(pool, step * (open->extent - 1)));
  }
  return result;
}

/// e down to a multiple of a step.
static ix whole_steps(const skip *s, ix e) {
  ix_pool *pool = &s->b->k->ix;
  int64_t least = ix_bounds(pool, e).min, lift = 0;
  if (least < 0 && least > -LARGE) lift = (-least + s->step - 1) / s->step * s->step;
  ix steps = ix_div(pool, ix_add(pool, e, ix_const(pool, lift)), ix_const(pool, s->step));
  return ix_sub(pool, ix_scale(pool, steps, s->step), ix_const(pool, lift));
}

/// e >= 0 must hold. False: no bound says it.
static bool require(skip *s, ix e) {
  ix_pool *pool = &s->b->k->ix;
  ix coef, rest;
  int64_t sign;
  if (!ix_uses_axis(pool, e, s->stream) || !ix_affine(pool, e, s->stream, &coef, &rest) ||
      !ix_is_const(pool, coef, &sign) || (sign != 1 && sign != -1))
    return false;
  bool above = sign < 0;  // T <= rest, else T >= -rest
  ix limit = over_open(s, above ? rest : ix_scale(pool, rest, -1), above);
  if (!limit || (above ? s->below : s->from)) return false;
  if (above) s->below = ix_add(pool, limit, ix_const(pool, 1));
  else s->from = whole_steps(s, limit);
  return true;
}

static void bound(search *a, skip_condition *c) {
  skip *s = a->s;
  ix_pool *pool = &s->b->k->ix;
  op o = c->n->op;
  bool less = o == OP_le || o == OP_lt, greater = o == OP_ge || o == OP_gt;
  bool strict = o == OP_lt || o == OP_gt;
  if (!less && !greater && o != (c->negated ? OP_ne : OP_eq)) return;
  ix x = a->linear[c->n->in[0]->id], y = a->linear[c->n->in[1]->id];
  if (!x || !y) return;
  if ((less || greater) && c->negated) {
    bool swap = less;
    less = greater, greater = swap, strict = !strict;
  }
  ix one = ix_const(pool, strict);
  c->bounded = true;
  if (!greater) c->bounded &= require(s, ix_sub(pool, ix_sub(pool, y, x), one));
  if (!less) c->bounded &= require(s, ix_sub(pool, ix_sub(pool, x, y), one));
}

void skip_find(skip *s, int walk) {
  search a = {.s = s, .seen = arena_array(s->b->l->a, uint8_t, s->b->l->g->nodes.len + 1)};
  find_conditions(&a, walk);
  if (!s->conditions.len) return;
  find_linear(&a);
  for (int i = 0; i < s->conditions.len; i++) bound(&a, &s->conditions.data[i]);
}
