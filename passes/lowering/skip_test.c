// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps of a walk that conditions empty (skip.h). What bounds do not say is decided in each step, from
// the least and the most that operands are in it:
//
//   document[S] == document[T] && ...        a, b = min, max of document over the rows of the tile
//
//   loop T:256 below S + 64 {
//     c, d = min, max of document over the step
//     if any a <= d and c <= b { the step }
//   }
//
// Bools are intervals as well: false to true. On GPUs all steps are decided before the walk, by elements
// of the stream beside the tile of rows: the walk is within the first and the last that may change it.
//
//   e, f = loop T:6144 below S + 192 { e, f = min, max of T where a <= document and document <= b }
//   loop T:128 below S + 192 within e, f + 1 { the step }
//
// Where all elements between these are seen by all rows, as those of one document are, steps inside need
// no mask: the condition is `e <= T && T <= f || document[S] == document[T]`, of which a GPU's code looks
// at the first half alone, once for the whole step (codegen/nvptx/mask.c).
#include "base/fault.h"
#include "passes/lowering/skip.h"

typedef enum side { LOW, HIGH } side;

static side other(side w) { return w == LOW ? HIGH : LOW; }

// ---- what is known of a step

/// Elements of the axis that a step has, 0: it walks them itself.
static int open_extent(const skip *s, int axis) {
  if (axis == s->stream) return s->step > 1 ? s->step : s->points + 1;
  for (int i = 0; i < s->nopen; i++)
    if (s->open[i].axis == axis) return s->open[i].extent;
  return 0;
}

/// Sees each node once.
static bool is_made_of_inputs(const kbuild *b, const outline *o, const node *n, bool *seen) {
  if (!kb_in_group(b, n) || seen[n->id]) return true;
  seen[n->id] = true;
  if (o->values[n->id].kept || o->values[n->id].state) return false;
  for (int k = 0; k < n->nin; k++)
    if (!is_made_of_inputs(b, o, n->in[k], seen)) return false;
  return true;
}

bool skip_is_at_hand(const kbuild *b, const outline *o, const node *n) {
  return is_made_of_inputs(b, o, n, kb_unseen(b));
}

/// Varies along one axis at most in a step, which is *axis (-1: along none).
static bool is_line(const skip *s, const node *n, int *axis) {
  *axis = -1;
  for (int a = 0; a < s->b->k->axes.len; a++) {
    if (!kb_uses(s->b, n, a)) continue;
    int extent = open_extent(s, a);
    if (!extent || (extent > 1 && *axis >= 0)) return false;
    if (extent > 1) *axis = a;
  }
  return skip_is_at_hand(s->b, s->o, n);
}

static bool is_comparison(op o) { return o >= OP_lt && o <= OP_ne; }

/// Whether there are bounds of n in a step. `known` keeps the answers: 0 not asked, 1 no, 2 yes.
static bool has_bounds(const skip *s, const node *n, uint8_t *known) {
  int axis;
  if (known[n->id]) return known[n->id] == 2;
  bool is_int = dtype_is_int(n->type), wide = is_int && dtype_cast_is_exact(n->type, DT_i64);
  bool inner = kb_in_group(s->b, n);
  bool ok = (wide || n->type == DT_bool) && is_line(s, n, &axis);
  const node *x = n->nin ? n->in[0] : NULL, *y = n->nin > 1 ? n->in[1] : NULL;
  if (!ok && inner && n->type == DT_bool) {
    bool both = n->op == OP_and || n->op == OP_or, compares = is_comparison(n->op);
    both |= compares && dtype_is_int(x->type);
    ok = (both && has_bounds(s, x, known) && has_bounds(s, y, known)) ||
         (n->op == OP_not && has_bounds(s, x, known));
  } else if (!ok && inner && n->type == DT_i32 && n->op != OP_cast) {
    bool both = n->op == OP_add || n->op == OP_sub || n->op == OP_min || n->op == OP_max;
    ok = both && has_bounds(s, x, known) && has_bounds(s, y, known);
  } else if (!ok && inner && n->op == OP_cast && wide && dtype_is_int(x->type)) {
    ok = dtype_cast_is_exact(x->type, n->type) && has_bounds(s, x, known);
  }
  known[n->id] = ok ? 2 : 1;
  return ok;
}

// ---- bounds as tiles

/// The least or most of n along the axis, in the current ranges. Threads hold all of it.
static tval *along(skip_test *k, const node *n, int axis, op combine) {
  kbuild *b = k->s.b;
  tval *v = k->s.points ? kb_value_here(b, n) : NULL;
  if (v) return kb_reduce_tile(b, combine, v, &axis, 1);
  bool by_lane = axis == b->k->vec_axis;
  int axes[MAX_AXES], extents[MAX_AXES], count = 0, width = 1;
  if (by_lane) width = b->extent[axis] < 4 * b->lanes ? b->extent[axis] : 4 * b->lanes;
  for (int a = 0; a < b->k->axes.len; a++) {
    if (!kb_uses(b, n, a) || (a == axis && !by_lane)) continue;
    axes[count] = a;
    extents[count++] = a == axis ? width : b->extent[a];
  }
  tval *sum = kb_fill(b, n->type, op_identity(combine, n->type), axes, extents, count);
  sum = kb_loop(b, axis, width, &sum, 1)->body->params[0];
  v = kb_value_here(b, n);
  if (!by_lane) v = kb_reduce_tile(b, combine, v, &axis, 1);
  sum = kb_accumulate(b, combine, (tval *[]){sum, v}, 2);
  sum = kb_end_loop(b, &sum, 1)[0];
  return by_lane ? kb_reduce_tile(b, combine, sum, &axis, 1) : sum;
}

static tval *line_bound(skip_test *k, const node *n, int axis, side w) {
  bool is_bool = n->type == DT_bool, alone = axis < 0 || (k->s.points && axis == k->s.stream);
  op combine = is_bool ? (w == LOW ? OP_and : OP_or) : w == LOW ? OP_min : OP_max;
  return alone ? kb_value_here(k->s.b, n) : along(k, n, axis, combine);
}

static tval *bound_of(skip_test *k, const node *n, side w);

/// Null while either operand is. Integers of two types, or that are added, have 64 bits.
static tval *combined(skip_test *k, op o, dtype type, tval *x, tval *y) {
  if (!x || !y) return NULL;
  if (x->type != y->type || type == DT_i64) {
    x = kb_as_type(k->s.b, x, DT_i64);
    y = kb_as_type(k->s.b, y, DT_i64);
  }
  return kb_map(k->s.b, o, type, x, y, NULL);
}

/// x < y or x <= y; on the high side: somewhere.
static tval *ordered(skip_test *k, op o, const node *x, const node *y, side w) {
  tval *left = bound_of(k, x, other(w)), *right = bound_of(k, y, w);
  return combined(k, o, DT_bool, left, right);
}

static tval *comparison(skip_test *k, const node *n, side w) {
  const node *x = n->in[0], *y = n->in[1];
  if (n->op == OP_lt || n->op == OP_le) return ordered(k, n->op, x, y, w);
  if (n->op == OP_gt) return ordered(k, OP_lt, y, x, w);
  if (n->op == OP_ge) return ordered(k, OP_le, y, x, w);
  op o = n->op == OP_ne ? OP_lt : OP_le;
  tval *less = ordered(k, o, x, y, w), *more = ordered(k, o, y, x, w);
  return combined(k, n->op == OP_ne ? OP_or : OP_and, DT_bool, less, more);
}

/// Of 32 bits in 64, so that nothing wraps around. A result that would have is anything.
static tval *arithmetic(skip_test *k, const node *n, side w) {
  kbuild *b = k->s.b;
  tval *ends[2];
  for (side i = LOW; i <= HIGH; i++) {
    tval *x = bound_of(k, n->in[0], i);
    tval *y = bound_of(k, n->in[1], n->op == OP_sub ? other(i) : i);
    ends[i] = combined(k, n->op, DT_i64, x, y);
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

static tval *compute_bound(skip_test *k, const node *n, side w) {
  int axis;
  if (is_line(&k->s, n, &axis))
    return k->before && kb_uses(k->s.b, n, k->s.stream) ? NULL : line_bound(k, n, axis, w);
  if (is_comparison(n->op)) return comparison(k, n, w);
  if (n->op == OP_cast) return bound_of(k, n->in[0], w);
  if (n->op == OP_not) {
    tval *v = bound_of(k, n->in[0], other(w));
    return v ? kb_map(k->s.b, OP_not, DT_bool, v, NULL, NULL) : NULL;
  }
  if (n->op != OP_and && n->op != OP_or) return arithmetic(k, n, w);
  tval *x = bound_of(k, n->in[0], w), *y = bound_of(k, n->in[1], w);
  return combined(k, n->op, DT_bool, x, y);
}

/// Null before the walk, where it is of a step.
static tval *bound_of(skip_test *k, const node *n, side w) {
  tval **v = &k->bound[w][n->id];
  bool *seen = &k->seen[w][n->id];
  if (*v || (*seen && k->before)) return *v;
  *seen = true;
  return *v = compute_bound(k, n, w);
}

// ---- a walk

static bool is_test(const skip_test *k, const skip_condition *c) {
  return !c->bounded && has_bounds(&k->s, c->n, k->known);
}

/// HIGH: the step may change something; LOW: no condition masks any of it. Null: nothing is tested.
static tval *tests(skip_test *k, side w) {
  tval *all = NULL;
  for (int i = 0; i < k->s.conditions.len; i++) {
    const skip_condition *c = &k->s.conditions.data[i];
    if (!is_test(k, c)) continue;
    tval *v = bound_of(k, c->n, c->negated ? other(w) : w);
    if (k->before) continue;
    if (c->negated) v = kb_map(k->s.b, OP_not, DT_bool, v, NULL, NULL);
    all = all ? kb_map(k->s.b, OP_and, DT_bool, all, v, NULL) : v;
  }
  return all;
}

/// What does not move along the stream.
static void tests_before(skip_test *k, side w) {
  k->before = true;
  tests(k, w);
  k->before = false;
}

void skip_test_begin(skip_test *k, int walk) {
  kbuild *b = k->s.b;
  int nodes = b->l->g->nodes.len;
  skip_find(&k->s, walk);
  k->known = arena_array(b->l->a, uint8_t, nodes);
  for (side w = LOW; w <= HIGH; w++) {
    k->bound[w] = arena_array(b->l->a, tval *, nodes);
    k->seen[w] = arena_array(b->l->a, bool, nodes);
  }
  if (!k->s.points) tests_before(k, HIGH);
}

tval *skip_test_step(skip_test *k) { return k->known && !k->s.points ? tests(k, HIGH) : NULL; }

static int64_t most_of_stream(const skip *s) {
  return ix_bounds(&s->b->k->ix, s->b->k->axes.data[s->stream].size).max;
}

/// What the block has of the stream at a time: 16 bytes of neighbours a thread, several times over.
static int lay_points(const skip *s) {
  enum { NEAR = 4, MOST = 4 };
  kernel *k = s->b->k;
  int more = 1;
  while (more < MOST && most_of_stream(s) > more * NEAR * k->threads) more *= 2;
  layout_digit digits[] = {{NEAR, 0}, {k->threads, 1}, {more, 0}};
  kernel_set_layout(k, 0, s->stream, digits, more > 1 ? 3 : 2);
  return NEAR * k->threads * more;
}

/// All elements v, along the stream and where there is one position.
static tval *fill_points(const skip *s, int64_t v, int extent) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int a = 0; a < s->b->k->axes.len; a++) {
    int e = a == s->stream ? extent : s->b->extent[a];
    if (e != 1 && a != s->stream) continue;
    axes[n] = a;
    extents[n++] = e;
  }
  return kb_fill(s->b, DT_i32, (scalar){.i = v}, axes, extents, n);
}

static bool has_tests(const skip_test *k) {
  bool any = false;
  for (int i = 0; i < k->s.conditions.len; i++) any |= is_test(k, &k->s.conditions.data[i]);
  return any && most_of_stream(&k->s) > k->s.step;
}

static tval *int_map(const skip *s, op o, tval *x, tval *y) { return kb_map(s->b, o, DT_i32, x, y, NULL); }
static tval *int_const(const skip *s, int64_t v) { return kb_const(s->b, DT_i32, (scalar){.i = v}); }

/// Where all between the ends is seen by all rows, these; else what nothing is between.
static void set_sure(skip_test *k, tval *const within[2], tval *count) {
  const skip *s = &k->s;
  tval *all = int_map(s, OP_sub, within[HIGH], within[LOW]);
  all = kb_map(s->b, OP_eq, DT_bool, all, count, NULL);
  for (side w = LOW; w <= HIGH; w++)
    k->sure[w] = kb_map(s->b, OP_where, DT_i32, all, within[w], int_const(s, w == LOW ? INT32_MAX : 0));
}

bool skip_within(skip_test *k, tval *within[2], bool sure) {
  enum { COUNT = 2, ENDS };  // after LOW and HIGH
  static const op combine[] = {OP_min, OP_max, OP_add};
  static const int64_t none[] = {INT32_MAX, -1, 0};
  const skip *s = &k->s;
  kbuild *b = s->b;
  ix_pool *pool = &b->k->ix;
  if (!k->known || !s->points || !has_tests(k)) return false;
  for (side w = sure ? LOW : HIGH; w <= HIGH; w++) tests_before(k, w);
  int extent = lay_points(s), n = sure ? ENDS : COUNT;
  tval *ends[ENDS];
  for (int i = 0; i < n; i++) ends[i] = fill_points(s, none[i], extent);
  tstmt *loop = kb_loop(b, s->stream, extent, ends, n);
  if (s->from) loop->from = ix_scale(pool, ix_div(pool, s->from, ix_const(pool, extent)), extent);
  loop->below = s->below;
  tval *may = tests(k, HIGH), *at = kb_index_value(b, ix_axis(pool, s->stream), DT_i32);
  for (int i = 0; i < n; i++) {
    tval *x = i == COUNT ? kb_as_type(b, tests(k, LOW), DT_i32)
                         : kb_map(b, OP_where, DT_i32, may, at, int_const(s, none[i]));
    ends[i] = kb_accumulate(b, combine[i], (tval *[]){loop->body->params[i], x}, 2);
  }
  tval **found = kb_end_loop(b, ends, n);
  for (int i = 0; i < n; i++)
    ends[i] = kb_reduce_tile(b, combine[i], found[i], found[i]->axes, found[i]->naxes);
  within[LOW] = ends[LOW];
  within[HIGH] = int_map(s, OP_add, ends[HIGH], int_const(s, 1));
  if (sure) set_sure(k, within, ends[COUNT]);
  return true;
}

void skip_in_step(skip_test *k) {
  const skip *s = &k->s;
  kbuild *b = s->b;
  if (!k->sure[LOW]) return;
  tval *at = kb_index_value(b, ix_axis(&b->k->ix, s->stream), DT_i32);
  tval *from = kb_map(b, OP_le, DT_bool, k->sure[LOW], at, NULL);
  tval *below = kb_map(b, OP_lt, DT_bool, at, k->sure[HIGH], NULL);
  tval *sure = kb_map(b, OP_and, DT_bool, from, below, NULL);
  for (int i = 0; i < s->conditions.len; i++) {
    const skip_condition *c = &s->conditions.data[i];
    if (!is_test(k, c)) continue;
    tval *v = kb_value_here(b, c->n);
    tval *known = c->negated ? kb_map(b, OP_not, DT_bool, sure, NULL, NULL) : sure;
    kb_set_value(b, c->n, kb_map(b, c->negated ? OP_and : OP_or, DT_bool, known, v, NULL));
  }
}
