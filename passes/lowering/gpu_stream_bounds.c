// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Bounds of a streamed walk, from conditions on coordinates that mask the exponents:
//
//   where(index(T) <= index(S), s, -inf)           below S + rows of the tile
//   ... && index(S) - index(T) < 1024              from (S - 1023) / keys * keys
//
// A step that a condition empties changes nothing: its maximum is -inf, its exponentials are 0. So it
// is left out, where every state is that maximum or a sum below it. The condition still masks the
// steps that are taken; code generators decide it for whole tiles where they can.
#include <math.h>

#include "base/fault.h"
#include "passes/lowering/gpu_stream.h"

enum { LARGE = 1 << 30 };  // what is smaller does not wrap around when it is added to a coordinate

/// What is known of the exponent, and where the search has been.
typedef struct search {
  gpu_stream *s;
  ix *linear;  // by node id: integers as index expressions over kernel axes; 0: others
  bool *seen;  // likewise
} search;

static ix linear_of(const search *a, const node *n) {
  kbuild *b = a->s->b;
  ix_pool *pool = &b->k->ix;
  if (!dtype_is_int(n->type)) return 0;
  ix x = n->nin ? a->linear[n->in[0]->id] : 0, y = n->nin > 1 ? a->linear[n->in[1]->id] : 0;
  switch (n->op) {
    case OP_index: return b->sigma[n->axes[0]];
    case OP_size: return ix_substitute(pool, &b->l->g->ix, n->index[0], NULL, 0);
    case OP_const: return n->value.i > -LARGE && n->value.i < LARGE ? ix_const(pool, n->value.i) : 0;
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
  for (int i = 0; i < g->nodes.len; i++) a->linear[g->nodes.data[i]->id] = linear_of(a, g->nodes.data[i]);
}

typedef struct only_axes {
  const gpu_stream *s;
  bool ok;
} only_axes;

/// Bounds may use axes that are open around the walk.
static void see_axis(void *ctx, int axis) {
  only_axes *seen = ctx;
  const kernel *k = seen->s->b->k;
  bool open = axis == seen->s->row;
  for (int i = 0; i < k->grid.len; i++) open |= k->grid.data[i].axis == axis;
  seen->ok &= open;
}

/// The most (or least) that e is over the rows of a tile, at the base of the tile; 0: not known.
static ix over_rows(const gpu_stream *s, ix e, bool most) {
  ix_pool *pool = &s->b->k->ix;
  ix coef, rest;
  int64_t step;
  only_axes seen = {s, true};
  ix_axes(pool, e, see_axis, &seen);
  if (!seen.ok) return 0;
  if (!ix_uses_axis(pool, e, s->row)) return e;
  if (!ix_affine(pool, e, s->row, &coef, &rest) || !ix_is_const(pool, coef, &step)) return 0;
  if ((step > 0) != most) return e;
  return ix_add(pool, e, ix_const(pool, step * (s->d.bm - 1)));
}

/// e down to a multiple of a step.
static ix whole_steps(const gpu_stream *s, ix e) {
  ix_pool *pool = &s->b->k->ix;
  int64_t least = ix_bounds(pool, e).min, lift = 0;
  if (least < 0 && least > -LARGE) lift = (-least + s->keys - 1) / s->keys * s->keys;
  ix steps = ix_div(pool, ix_add(pool, e, ix_const(pool, lift)), ix_const(pool, s->keys));
  return ix_sub(pool, ix_scale(pool, steps, s->keys), ix_const(pool, lift));
}

/// e >= 0 must hold.
static void require(gpu_stream *s, ix e) {
  ix_pool *pool = &s->b->k->ix;
  ix coef, rest;
  int64_t sign;
  if (!ix_uses_axis(pool, e, s->stream) || !ix_affine(pool, e, s->stream, &coef, &rest) ||
      !ix_is_const(pool, coef, &sign))
    return;
  if (sign == -1) {  // T <= rest
    ix most = over_rows(s, rest, true);
    if (most && !s->below) s->below = ix_add(pool, most, ix_const(pool, 1));
  } else if (sign == 1) {  // T >= -rest
    ix least = over_rows(s, ix_scale(pool, rest, -1), false);
    if (least && !s->from) s->from = whole_steps(s, least);
  }
}

static void see_condition(search *a, const node *c) {
  gpu_stream *s = a->s;
  ix_pool *pool = &s->b->k->ix;
  if (!kb_in_group(s->b, c) || a->seen[c->id]) return;
  a->seen[c->id] = true;
  if (c->op == OP_and) {
    see_condition(a, c->in[0]);
    see_condition(a, c->in[1]);
    return;
  }
  bool strict = c->op == OP_lt || c->op == OP_gt, less = c->op == OP_le || c->op == OP_lt;
  bool greater = c->op == OP_ge || c->op == OP_gt;
  if (!less && !greater && c->op != OP_eq) return;
  ix x = a->linear[c->in[0]->id], y = a->linear[c->in[1]->id];
  if (!x || !y) return;
  ix one = ix_const(pool, strict);
  if (!greater) require(s, ix_sub(pool, ix_sub(pool, y, x), one));
  if (!less) require(s, ix_sub(pool, ix_sub(pool, x, y), one));
}

/// Where one of these conditions is false, the value is -inf.
static void see_exponent(search *a, const node *n) {
  double scale = 1;
  n = gpu_stream_unscaled(n, &scale);
  if (!kb_in_group(a->s->b, n) || a->seen[n->id]) return;
  a->seen[n->id] = true;
  if (n->op == OP_where && n->in[2]->op == OP_const && n->in[2]->value.f == -INFINITY) {
    see_condition(a, n->in[0]);
    see_exponent(a, n->in[1]);
  } else if (n->op == OP_add) {
    see_exponent(a, n->in[0]);
    see_exponent(a, n->in[1]);
  } else if (n->op == OP_sub) {
    see_exponent(a, n->in[0]);
  }
}

/// Every state is the frame or below it: what has the exponent -inf adds nothing.
static const node *only_frame(const gpu_stream *s) {
  const group *g = s->b->group;
  const node *frame = NULL;
  for (int i = 0; i < g->nodes.len; i++)
    if (s->o.values[g->nodes.data[i]->id].is_frame) frame = g->nodes.data[i];
  for (int i = 0; i < g->nodes.len && frame; i++) {
    const node *n = g->nodes.data[i];
    const outline_value *v = &s->o.values[n->id];
    if (v->state && n != frame && v->frame != frame) return NULL;
    bool below = n->op == OP_exp && kb_in_group(s->b, n->in[0]) && n->in[0]->op == OP_sub &&
                 n->in[0]->in[1] == frame;
    if (below && n->in[0]->in[0] != frame->in[0]) return NULL;
  }
  return frame;
}

void gpu_stream_bounds(gpu_stream *s) {
  const node *frame = only_frame(s);
  search a = {.s = s, .seen = kb_unseen(s->b)};
  if (!frame) return;
  find_linear(&a);
  see_exponent(&a, frame->in[0]);
}
