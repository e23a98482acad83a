// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps of a walk that conditions empty (skip.h), in a kernel of loop nests. What bounds do not say is
// decided in each step, from the least and the most that operands are in it:
//
//   document[S] == document[T] && ...        a, b = min, max of document over the rows of the tile
//
//   loop T:256 below S + 64 {
//     c, d = min, max of document over the step
//     if any a <= d and c <= b { the step }
//   }
//
// Bools are intervals as well: false to true. On GPUs there are bounds alone.
#include "base/fault.h"
#include "passes/lowering/nest.h"

typedef enum side { LOW, HIGH } side;

static side other(side w) { return w == LOW ? HIGH : LOW; }

// ---- what is known of a step

/// Elements of the axis that a step has, 0: it walks them itself.
static int open_extent(const skip *s, int axis) {
  if (axis == s->stream) return s->step;
  for (int i = 0; i < s->nopen; i++)
    if (s->open[i].axis == axis) return s->open[i].extent;
  return 0;
}

/// Sees each node once.
static bool is_made_of_inputs(const nest *t, const node *n, bool *seen) {
  if (!kb_in_group(t->b, n) || seen[n->id]) return true;
  seen[n->id] = true;
  const outline_value *v = &t->o.values[n->id];
  if (v->kept || v->state) return false;
  for (int k = 0; k < n->nin; k++)
    if (!is_made_of_inputs(t, n->in[k], seen)) return false;
  return true;
}

bool nest_is_at_hand(const nest *t, const node *n) {
  return is_made_of_inputs(t, n, kb_unseen(t->b));
}

/// Varies along one axis at most in a step, which is *axis (-1: along none).
static bool is_line(const nest *t, const skip *s, const node *n, int *axis) {
  *axis = -1;
  for (int a = 0; a < t->b->k->axes.len; a++) {
    if (!nest_uses(t, n, a)) continue;
    int extent = open_extent(s, a);
    if (!extent || (extent > 1 && *axis >= 0)) return false;
    if (extent > 1) *axis = a;
  }
  return nest_is_at_hand(t, n);
}

static bool is_comparison(op o) { return o >= OP_lt && o <= OP_ne; }

/// Whether there are bounds of n in a step. `known` keeps the answers: 0 not asked, 1 no, 2 yes.
static bool has_bounds(const nest *t, const skip *s, const node *n, uint8_t *known) {
  int axis;
  if (known[n->id]) return known[n->id] == 2;
  bool is_int = dtype_is_int(n->type), wide = is_int && dtype_cast_is_exact(n->type, DT_i64);
  bool inner = kb_in_group(t->b, n);
  bool ok = (wide || n->type == DT_bool) && is_line(t, s, n, &axis);
  const node *x = n->nin ? n->in[0] : NULL, *y = n->nin > 1 ? n->in[1] : NULL;
  if (!ok && inner && n->type == DT_bool) {
    bool both = n->op == OP_and || n->op == OP_or, compares = is_comparison(n->op);
    both |= compares && dtype_is_int(x->type);
    ok = (both && has_bounds(t, s, x, known) && has_bounds(t, s, y, known)) ||
         (n->op == OP_not && has_bounds(t, s, x, known));
  } else if (!ok && inner && n->type == DT_i32 && n->op != OP_cast) {
    bool both = n->op == OP_add || n->op == OP_sub || n->op == OP_min || n->op == OP_max;
    ok = both && has_bounds(t, s, x, known) && has_bounds(t, s, y, known);
  } else if (!ok && inner && n->op == OP_cast && wide && dtype_is_int(x->type)) {
    ok = dtype_cast_is_exact(x->type, n->type) && has_bounds(t, s, x, known);
  }
  known[n->id] = ok ? 2 : 1;
  return ok;
}

// ---- bounds as tiles

/// The least or most of n along the axis, in the current ranges.
static tval *along(nest *t, const node *n, int axis, op combine) {
  kbuild *b = t->b;
  bool by_lane = axis == b->k->vec_axis;
  int axes[MAX_AXES], extents[MAX_AXES], count = 0, width = 1;
  if (by_lane) width = b->extent[axis] < 4 * t->lanes ? b->extent[axis] : 4 * t->lanes;
  for (int a = 0; a < b->k->axes.len; a++) {
    if (!nest_uses(t, n, a) || (a == axis && !by_lane)) continue;
    axes[count] = a;
    extents[count++] = a == axis ? width : b->extent[a];
  }
  tval *sum = kb_fill(b, n->type, op_identity(combine, n->type), axes, extents, count);
  sum = kb_loop(b, axis, width, &sum, 1)->body->params[0];
  tval *v = kb_value_here(b, n);
  if (!by_lane) v = kb_reduce_tile(b, combine, v, &axis, 1);
  sum = kb_accumulate(b, combine, (tval *[]){sum, v}, 2);
  sum = kb_end_loop(b, &sum, 1)[0];
  return by_lane ? kb_reduce_tile(b, combine, sum, &axis, 1) : sum;
}

static tval *line_bound(nest *t, const node *n, int axis, side w) {
  bool is_bool = n->type == DT_bool;
  op combine = is_bool ? (w == LOW ? OP_and : OP_or) : w == LOW ? OP_min : OP_max;
  tval *v = axis < 0 ? kb_value_here(t->b, n) : along(t, n, axis, combine);
  return is_bool ? v : nest_as_type(t->b, v, DT_i64);
}

static tval *bound_of(nest *t, nest_skip *k, const node *n, side w);

/// Null while either operand is.
static tval *combined(nest *t, op o, dtype type, tval *x, tval *y) {
  return x && y ? kb_map(t->b, o, type, x, y, NULL) : NULL;
}

/// x < y or x <= y; on the high side: somewhere.
static tval *ordered(nest *t, nest_skip *k, op o, const node *x, const node *y, side w) {
  tval *left = bound_of(t, k, x, other(w)), *right = bound_of(t, k, y, w);
  return combined(t, o, DT_bool, left, right);
}

static tval *comparison(nest *t, nest_skip *k, const node *n, side w) {
  const node *x = n->in[0], *y = n->in[1];
  if (n->op == OP_lt || n->op == OP_le) return ordered(t, k, n->op, x, y, w);
  if (n->op == OP_gt) return ordered(t, k, OP_lt, y, x, w);
  if (n->op == OP_ge) return ordered(t, k, OP_le, y, x, w);
  op o = n->op == OP_ne ? OP_lt : OP_le;
  tval *less = ordered(t, k, o, x, y, w), *more = ordered(t, k, o, y, x, w);
  return combined(t, n->op == OP_ne ? OP_or : OP_and, DT_bool, less, more);
}

/// Of 32 bits in 64, so that nothing wraps around. A result that would have is anything.
static tval *arithmetic(nest *t, nest_skip *k, const node *n, side w) {
  kbuild *b = t->b;
  tval *ends[2];
  for (side i = LOW; i <= HIGH; i++) {
    tval *x = bound_of(t, k, n->in[0], i);
    tval *y = bound_of(t, k, n->in[1], n->op == OP_sub ? other(i) : i);
    ends[i] = combined(t, n->op, DT_i64, x, y);
  }
  if (n->op == OP_min || n->op == OP_max) return ends[w];
  if (!ends[LOW] || !ends[HIGH]) return NULL;
  tval *least = kb_const(b, DT_i64, (scalar){.i = INT32_MIN});
  tval *most = kb_const(b, DT_i64, (scalar){.i = INT32_MAX});
  tval *below = kb_map(b, OP_lt, DT_bool, ends[LOW], least, NULL);
  tval *above = kb_map(b, OP_gt, DT_bool, ends[HIGH], most, NULL);
  tval *left = kb_map(b, OP_or, DT_bool, below, above, NULL);
  return kb_map(b, OP_where, DT_i64, left, w == LOW ? least : most, ends[w]);
}

static tval *compute_bound(nest *t, nest_skip *k, const node *n, side w) {
  int axis;
  if (is_line(t, &k->s, n, &axis))
    return k->before && nest_uses(t, n, k->s.stream) ? NULL : line_bound(t, n, axis, w);
  if (is_comparison(n->op)) return comparison(t, k, n, w);
  if (n->op == OP_cast) return bound_of(t, k, n->in[0], w);
  if (n->op == OP_not) {
    tval *v = bound_of(t, k, n->in[0], other(w));
    return v ? kb_map(t->b, OP_not, DT_bool, v, NULL, NULL) : NULL;
  }
  if (n->op != OP_and && n->op != OP_or) return arithmetic(t, k, n, w);
  tval *x = bound_of(t, k, n->in[0], w), *y = bound_of(t, k, n->in[1], w);
  return combined(t, n->op, DT_bool, x, y);
}

/// Null before the walk, where it is of a step.
static tval *bound_of(nest *t, nest_skip *k, const node *n, side w) {
  tval **v = &k->bound[w][n->id];
  bool *seen = &k->seen[w][n->id];
  if (*v || (*seen && k->before)) return *v;
  *seen = true;
  return *v = compute_bound(t, k, n, w);
}

// ---- a walk

static tval *may_change(nest *t, nest_skip *k) {
  tval *all = NULL;
  for (int i = 0; i < k->s.conditions.len; i++) {
    const skip_condition *c = &k->s.conditions.data[i];
    if (c->bounded || !has_bounds(t, &k->s, c->n, k->known)) continue;
    tval *v = bound_of(t, k, c->n, c->negated ? LOW : HIGH);
    if (k->before) continue;
    if (c->negated) v = kb_map(t->b, OP_not, DT_bool, v, NULL, NULL);
    all = all ? kb_map(t->b, OP_and, DT_bool, all, v, NULL) : v;
  }
  return all;
}

/// A running combine goes on in every step.
static bool carries(const nest *t) {
  const group *g = t->b->group;
  for (int i = 0; i < g->nodes.len; i++)
    if (t->needed[g->nodes.data[i]->id] && t->o.values[g->nodes.data[i]->id].carries) return true;
  return false;
}

void nest_skip_begin(nest *t, nest_skip *k, int walk) {
  kbuild *b = t->b;
  int nodes = b->l->g->nodes.len;
  *k = (nest_skip){.s = {.b = b, .o = &t->o, .stored = t->stored, .stream = -1}, .before = true};
  if (!t->nstream || carries(t)) return;
  skip *s = &k->s;
  s->stream = t->stream[t->nstream - 1];
  s->step = t->step;
  for (int i = 0; i < b->k->grid.len; i++) s->open[s->nopen++] = b->k->grid.data[i];
  for (int i = 0; i + 1 < t->nstream; i++)
    s->open[s->nopen++] = (grid_axis){.axis = t->stream[i], .extent = 1};
  skip_find(s, walk);
  k->known = arena_array(b->l->a, uint8_t, nodes);
  for (side w = LOW; w <= HIGH; w++) {
    k->bound[w] = arena_array(b->l->a, tval *, nodes);
    k->seen[w] = arena_array(b->l->a, bool, nodes);
  }
  if (!t->threads) may_change(t, k);
  k->before = false;
}

tval *nest_skip_test(nest *t, nest_skip *k) {
  return t->threads || !t->nstream ? NULL : may_change(t, k);
}
