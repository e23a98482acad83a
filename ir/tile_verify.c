// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules of ir/tile.h, checked. Walks a kernel with the open ranges and the visible values,
// collects every violation, and shows the kernel with a remark below each offending statement:
//
//   store out[N, T], %4
//   // ^ the value has f32, the buffer bf16
//
// One row per kind of statement says how many values go in and out and which function knows the
// rest. Programs are in ir/tile_verify_program.c.
#include "ir/tile_verify.h"

typedef struct violation {
  const tstmt *at;  // null: the kernel itself
  str text;
} violation;

typedef struct verifier {
  const kernel *k;
  arena *arena;
  vec(violation) found;
  int *extent;     // by axis: of the current range; 0 closed
  bool *defined;   // by value id: somewhere above in the text
  bool *visible;   // by value id: here
  bool *declared;  // by buffer: arguments, and locals visible here
  bool *was_declared, *stored;
  bool *added, *used;  // by buffer: by stores that add; otherwise
  vec(const tval *) scope;  // what to hide again at the end of the region
  vec(int) local_scope;
} verifier;

static void bad(verifier *v, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(verifier *v, const tstmt *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  violation found = {s, str_vprintf(v->arena, format, args)};
  va_end(args);
  vec_push(v->arena, &v->found, found);
}

// ---- pieces

static bool is_axis(const verifier *v, int a) { return a >= 0 && a < v->k->axes.len; }

static char *axis_z(const verifier *v, int a) {
  return is_axis(v, a) ? str_z(v->arena, v->k->axes.data[a].name) : "?";
}

static bool is_ix(const verifier *v, ix e) { return e > 0 && (int)e < v->k->ix.nodes.len; }

static bool is_size(const verifier *v, ix e) { return is_ix(v, e) && ix_is_size(&v->k->ix, e); }

static bool axis_among(const int *axes, int n, int a) {
  for (int i = 0; i < n; i++)
    if (axes[i] == a) return true;
  return false;
}

enum { MOST_LANES = 1 << 24 };

/// A well-formed shape: known axes, each once, positive extents, no more lanes than stated.
static bool shape_is_sane(const verifier *v, const tval *t) {
  if (t->naxes < 0 || t->naxes > MAX_AXES || t->type < 0 || t->type >= DT_COUNT) return false;
  int64_t lanes = 1;
  for (int i = 0; i < t->naxes; i++) {
    if (!is_axis(v, t->axes[i]) || t->extents[i] < 1 || axis_among(t->axes, i, t->axes[i]))
      return false;
    lanes *= t->extents[i];
    if (lanes > MOST_LANES) return false;
  }
  return true;
}

/// The axes of `inner` are among those of `outer`, with the same extents.
static bool shape_within(verifier *v, const tstmt *s, const tval *inner, const tval *outer,
                         const char *what) {
  for (int i = 0; i < inner->naxes; i++) {
    int has = tval_extent(outer, inner->axes[i]);
    if (has == inner->extents[i]) continue;
    if (!has)
      bad(v, s, "%s has axis %s, which is not expected", what, axis_z(v, inner->axes[i]));
    else
      bad(v, s, "%s has extent %d along %s, not %d", what, inner->extents[i],
          axis_z(v, inner->axes[i]), has);
    return false;
  }
  return true;
}

static void expect_shape(verifier *v, const tstmt *s, const tval *got, const tval *want,
                         const char *what) {
  if (shape_within(v, s, got, want, what) && got->naxes != want->naxes)
    bad(v, s, "%s lacks an axis", what);
}

static void expect_type(verifier *v, const tstmt *s, dtype got, dtype want, const char *what) {
  if (got != want) bad(v, s, "%s has type %s, not %s", what, dtype_name(got), dtype_name(want));
}

/// Adds an axis to a shape being computed; false (reported) when the extents disagree.
static bool shape_add(verifier *v, const tstmt *s, tval *shape, int a, int extent) {
  int has = tval_extent(shape, a);
  if (has && has != extent)
    return bad(v, s, "extents %d and %d meet along %s", has, extent, axis_z(v, a)), false;
  if (has) return true;
  if (shape->naxes == MAX_AXES) return bad(v, s, "more than %d axes", MAX_AXES), false;
  shape->axes[shape->naxes] = a;
  shape->extents[shape->naxes++] = extent;
  return true;
}

static bool shape_join(verifier *v, const tstmt *s, tval *shape, const tval *t) {
  for (int i = 0; i < t->naxes; i++)
    if (!shape_add(v, s, shape, t->axes[i], t->extents[i])) return false;
  return true;
}

static void require_number(verifier *v, const tstmt *s, dtype t) {
  if (t == DT_bool || dtype_is_storage(t)) bad(v, s, "%s is not a number type", dtype_name(t));
}

/// A combining op on values of type t: add mul min max and or.
static void require_combine(verifier *v, const tstmt *s, dtype t) {
  if (!op_is_monoid(s->op)) {
    bad(v, s, "%s does not combine; add mul min max and or do", op_get(s->op)->name);
    return;
  }
  dtype result;
  str why;
  if (!op_result_type(s->op, (dtype[]){t, t}, 2, t, &result, &why, v->arena))
    bad(v, s, "%.*s", STR_FMT(why));
}

// ---- access to memory

typedef struct axes_used {
  verifier *v;
  const tstmt *s;
  tval *shape;
} axes_used;

static void use_axis(void *ctx, int a) {
  axes_used *u = ctx;
  if (!is_axis(u->v, a))
    bad(u->v, u->s, "the index uses an unknown axis");
  else if (!u->v->extent[a])
    bad(u->v, u->s, "the index uses axis %s, which is not open here", axis_z(u->v, a));
  else
    shape_add(u->v, u->s, u->shape, a, u->v->extent[a]);
}

/// Checks buffer and coordinates; *shape is the union of the axes they use.
static bool verify_access(verifier *v, const tstmt *s, tval *shape) {
  const kernel *k = v->k;
  *shape = (tval){0};
  if (s->buf < 0 || s->buf >= k->bufs.len) return bad(v, s, "unknown buffer"), false;
  const tile_buf *b = &k->bufs.data[s->buf];
  if (!tile_access_is_whole(k, s))
    return bad(v, s, "the index has %d dimensions, the buffer %d", s->nix, b->rank), false;
  bool indirect = false;
  if (!v->declared[s->buf]) bad(v, s, "local %.*s is not declared here", STR_FMT(b->name));
  for (int d = 0; d < s->nix; d++) {
    if (!is_ix(v, s->ix[d])) return bad(v, s, "dimension %d has no index", d), false;
    ix_axes(&k->ix, s->ix[d], use_axis, &(axes_used){v, s, shape});
    int at = s->indirect[d];
    if (at < 0) continue;
    indirect = true;
    if (at >= s->nin) return bad(v, s, "dimension %d has no indirect tile", d), false;
    if (!dtype_is_int(s->in[at]->type))
      bad(v, s, "the indirect coordinate is %s, not an integer", dtype_name(s->in[at]->type));
    shape_join(v, s, shape, s->in[at]);
  }
  if (indirect && b->local) bad(v, s, "on-chip buffers are indexed by axes, not by values");
  if (s->unchecked && !indirect) bad(v, s, "unchecked is for indices that are values");
  return true;
}

static void verify_load(verifier *v, const tstmt *s) {
  tval shape;
  if (!verify_access(v, s, &shape)) return;
  dtype type = v->k->bufs.data[s->buf].type;
  v->used[s->buf] = true;
  expect_type(v, s, s->out[0]->type, type, "the result");
  expect_shape(v, s, s->out[0], &shape, "the result");
  if (!s->guard) return;
  if (!s->nin) return bad(v, s, "the guard has no value");
  expect_type(v, s, s->in[s->nin - 1]->type, type, "the guard value");
  shape_within(v, s, s->in[s->nin - 1], &shape, "the guard value");
}

static void verify_store(verifier *v, const tstmt *s) {
  tval shape;
  if (!verify_access(v, s, &shape)) return;
  const tile_buf *b = &v->k->bufs.data[s->buf];
  v->stored[s->buf] = true;
  *(s->adds ? &v->added[s->buf] : &v->used[s->buf]) = true;
  if (s->adds && (b->local || b->type != DT_f32))
    bad(v, s, "only f32 in memory is added to: %.*s is %s", STR_FMT(b->name),
        b->local ? "on chip" : dtype_name(b->type));
  if (s->adds && !v->k->threads)
    bad(v, s, "blocks of GPUs add to memory: the kernel has no threads");
  expect_type(v, s, s->in[0]->type, v->k->bufs.data[s->buf].type, "the value");
  shape_within(v, s, s->in[0], &shape, "the value");
}

static void verify_prefetch(verifier *v, const tstmt *s) {
  tval shape;
  if (verify_access(v, s, &shape) && shape.naxes > v->k->axes.len) return;
  if (s->level < 1 || s->level > 3) bad(v, s, "the level is 1, 2 or 3");
}

static void verify_local_dims(verifier *v, const tstmt *s, const tile_buf *b) {
  for (int d = 0; d < b->rank; d++) {
    int a = b->local_axes[d];
    if (!is_axis(v, a) || axis_among(b->local_axes, d, a))
      return bad(v, s, "dimension %d does not follow an axis of its own", d);
    int64_t extent;
    bool constant = is_ix(v, b->dims[d]) && ix_is_const(&v->k->ix, b->dims[d], &extent);
    if (v->extent[a] && !(constant && extent == v->extent[a]))
      bad(v, s, "%s is open with extent %d, the dimension differs", axis_z(v, a), v->extent[a]);
    if (!v->extent[a] && b->dims[d] != v->k->axes.data[a].size)
      bad(v, s, "%s is closed, but the dimension is not its size", axis_z(v, a));
  }
  if (b->panel < 0) bad(v, s, "negative panel");
  if (b->panel && (b->panel_dim < 0 || b->panel_dim >= b->rank))
    bad(v, s, "the panel has no dimension");
  if (!b->pairs) return;
  if (b->pair_dim < 0 || b->pair_dim >= b->rank) bad(v, s, "the pairs have no dimension");
  if (b->pair_dim == b->rank - 1 || (b->panel && b->pair_dim == b->panel_dim))
    bad(v, s, "pairs run along another dimension than the last and the panel's");
  if (b->swizzle || b->pad) bad(v, s, "pairs are not swizzled or padded");
}

static void verify_local(verifier *v, const tstmt *s) {
  if (s->buf < v->k->nargs || s->buf >= v->k->bufs.len) return bad(v, s, "not a local buffer");
  const tile_buf *b = &v->k->bufs.data[s->buf];
  if (!b->local) bad(v, s, "not a local buffer");
  if (v->was_declared[s->buf]) return bad(v, s, "declared twice");
  v->was_declared[s->buf] = v->declared[s->buf] = true;
  vec_push(v->arena, &v->local_scope, s->buf);
  verify_local_dims(v, s, b);
}

// ---- computing

static void verify_map(verifier *v, const tstmt *s) {
  if (!op_is_map(s->op)) return bad(v, s, "%s is not elementwise", op_get(s->op)->name);
  if (s->nin != op_get(s->op)->arity)
    return bad(v, s, "%s takes %d values", op_get(s->op)->name, op_get(s->op)->arity);
  dtype types[8], result;
  str why;
  tval shape = {0};
  for (int i = 0; i < s->nin; i++) {
    types[i] = s->in[i]->type;
    if (!shape_join(v, s, &shape, s->in[i])) return;
  }
  expect_shape(v, s, s->out[0], &shape, "the result");
  if (!op_result_type(s->op, types, s->nin, s->out[0]->type, &result, &why, v->arena))
    return bad(v, s, "%.*s", STR_FMT(why));
  expect_type(v, s, s->out[0]->type, result, "the result");
}

static void verify_size(verifier *v, const tstmt *s) {
  if (s->nix != 1 || !is_size(v, s->ix[0])) bad(v, s, "not a size");
  if (s->out[0]->naxes) bad(v, s, "a size has no axes");
  require_number(v, s, s->out[0]->type);
}

static void verify_index(verifier *v, const tstmt *s) {
  if (!is_axis(v, s->axis)) return bad(v, s, "unknown axis");
  if (!v->extent[s->axis]) return bad(v, s, "axis %s is not open here", axis_z(v, s->axis));
  tval shape = {.naxes = 1, .axes = {s->axis}, .extents = {v->extent[s->axis]}};
  expect_shape(v, s, s->out[0], &shape, "the result");
  if (s->out[0]->type != DT_i32 && s->out[0]->type != DT_i64)
    bad(v, s, "an index is i32 or i64, not %s", dtype_name(s->out[0]->type));
}

static void verify_accum(verifier *v, const tstmt *s) {
  dtype t = s->in[0]->type;
  bool fused = s->op == OP_fma;
  if (s->nin != (fused ? 3 : 2)) return bad(v, s, "%d values are too many or few", s->nin);
  if (!fused)
    require_combine(v, s, t);
  else if (t != DT_f32 && t != DT_f64)
    bad(v, s, "fma is for f32 and f64");
  for (int i = 1; i < s->nin; i++) {
    expect_type(v, s, s->in[i]->type, t, "the value");
    shape_within(v, s, s->in[i], s->in[0], "the value");
  }
  expect_type(v, s, s->out[0]->type, t, "the result");
  expect_shape(v, s, s->out[0], s->in[0], "the result");
}

static void require_axes_once(verifier *v, const tstmt *s, const char *to) {
  if (!s->naxes) bad(v, s, "no axes to %s over", to);
  for (int i = 0; i < s->naxes; i++)
    if (axis_among(s->axes, i, s->axes[i]))
      bad(v, s, "axis %s is named twice", axis_z(v, s->axes[i]));
}

/// in[0] without s->axes, each of which it must have; `left` lanes stay of them, where not 0.
static tval reduced_shape(verifier *v, const tstmt *s, int left) {
  tval shape = {.type = s->in[0]->type};
  for (int i = 0; i < s->in[0]->naxes; i++) {
    bool combined = axis_among(s->axes, s->naxes, s->in[0]->axes[i]);
    if (!combined || left > 0)
      shape_add(v, s, &shape, s->in[0]->axes[i], combined ? left : s->in[0]->extents[i]);
  }
  require_axes_once(v, s, "combine");
  for (int i = 0; i < s->naxes; i++)
    if (!tval_extent(s->in[0], s->axes[i]))
      bad(v, s, "the value has no axis %s", axis_z(v, s->axes[i]));
  return shape;
}

/// Lanes that are left must not be taken for those of the range.
static void verify_left(verifier *v, const tstmt *s) {
  int left = s->extent, of = s->naxes ? tval_extent(s->in[0], s->axes[0]) : 0;
  if (s->naxes != 1) return bad(v, s, "lanes are left of one axis, not of %d", s->naxes);
  if (left < 0 || left >= of || of % left)
    return bad(v, s, "%d lanes cannot be left of %d: they divide it and are fewer", left, of);
  if (v->extent[s->axes[0]] == left)
    bad(v, s, "%s is open with extent %d, which the lanes that are left would belong to",
        axis_z(v, s->axes[0]), left);
}

static void verify_reduce(verifier *v, const tstmt *s) {
  require_combine(v, s, s->in[0]->type);
  tval shape = reduced_shape(v, s, s->extent);
  if (s->extent) verify_left(v, s);
  expect_type(v, s, s->out[0]->type, s->in[0]->type, "the result");
  expect_shape(v, s, s->out[0], &shape, "the result");
}

static void require_arg_op(verifier *v, const tstmt *s, const tval *value, const tval *index) {
  if (s->op != OP_min && s->op != OP_max) bad(v, s, "the op is min or max");
  require_number(v, s, value->type);
  if (!dtype_is_int(index->type)) bad(v, s, "the index is not an integer");
}

static void verify_arg(verifier *v, const tstmt *s) {
  tval *const *in = s->in;
  require_arg_op(v, s, in[0], in[1]);
  expect_shape(v, s, in[1], in[0], "the best index");
  expect_type(v, s, in[2]->type, in[0]->type, "the value");
  expect_type(v, s, in[3]->type, in[1]->type, "the index");
  shape_within(v, s, in[2], in[0], "the value");
  shape_within(v, s, in[3], in[0], "the index");
  for (int i = 0; i < 2; i++) {
    expect_type(v, s, s->out[i]->type, in[i]->type, "the result");
    expect_shape(v, s, s->out[i], in[0], "the result");
  }
}

static void verify_arg_reduce(verifier *v, const tstmt *s) {
  require_arg_op(v, s, s->in[0], s->in[1]);
  shape_within(v, s, s->in[1], s->in[0], "the index");
  tval shape = reduced_shape(v, s, 0);
  for (int i = 0; i < 2; i++) {
    expect_type(v, s, s->out[i]->type, s->in[i]->type, "the result");
    expect_shape(v, s, s->out[i], &shape, "the result");
  }
}

static void verify_dot(verifier *v, const tstmt *s) {
  tval *acc = s->in[2], both = {0}, shape = {0};
  require_number(v, s, acc->type);
  expect_type(v, s, s->in[0]->type, acc->type, "the first factor");
  expect_type(v, s, s->in[1]->type, acc->type, "the second factor");
  if (!shape_join(v, s, &both, s->in[0]) || !shape_join(v, s, &both, s->in[1])) return;
  require_axes_once(v, s, "sum");
  for (int i = 0; i < s->naxes; i++) {
    if (!tval_extent(&both, s->axes[i])) bad(v, s, "no factor has axis %s", axis_z(v, s->axes[i]));
    if (tval_extent(acc, s->axes[i]))
      bad(v, s, "the accumulator has axis %s", axis_z(v, s->axes[i]));
  }
  for (int i = 0; i < both.naxes; i++)
    if (!axis_among(s->axes, s->naxes, both.axes[i]))
      shape_add(v, s, &shape, both.axes[i], both.extents[i]);
  shape_within(v, s, &shape, acc, "the product");
  expect_type(v, s, s->out[0]->type, acc->type, "the result");
  expect_shape(v, s, s->out[0], acc, "the result");
}

static void verify_check(verifier *v, const tstmt *s) {
  if (!dtype_is_int(s->in[0]->type)) bad(v, s, "the index is not an integer");
  if (s->nix != 1 || !is_size(v, s->ix[0])) bad(v, s, "not checked against a size");
  if (s->site < 0 || s->site >= v->k->nsites) bad(v, s, "site %d of %d", s->site, v->k->nsites);
}

static void verify_nothing(verifier *v, const tstmt *s) { (void)v, (void)s; }

// ---- regions

static void verify_region(verifier *v, const tregion *r, const tstmt *owner);

static void expect_carried(verifier *v, const tstmt *s, tval *const *got, int n, tval *const *want,
                           int nwant, const char *what) {
  if (n != nwant) return bad(v, s, "%d %s for %d results", n, what, nwant);
  for (int i = 0; i < n; i++)
    if (got[i] && (got[i]->type != want[i]->type || !tval_same_shape(got[i], want[i])))
      bad(v, s, "%s %d differs in type or shape from the result", what, i);
}

/// Values that carry the kernel's lane axis cannot be used where lanes run along another.
static void show_lane_values(verifier *v, bool visible) {
  for (int i = 0; i < v->scope.len; i++) {
    const tval *t = v->scope.data[i];
    if (tval_extent(t, v->k->vec_axis)) v->visible[t->id] = visible;
  }
}

typedef struct bound_axes {
  verifier *v;
  const tstmt *loop;
  const char *word;
} bound_axes;

static void bound_axis(void *ctx, int a) {
  bound_axes *b = ctx;
  if (!is_axis(b->v, a)) bad(b->v, b->loop, "`%s` uses an unknown axis", b->word);
  else if (!b->v->extent[a])
    bad(b->v, b->loop, "`%s` uses axis %s, which is not open here", b->word, axis_z(b->v, a));
}

static void verify_bound(verifier *v, const tstmt *s, ix bound, const char *word) {
  if (!bound) return;
  if (!is_ix(v, bound)) return bad(v, s, "`%s` has no expression", word);
  if (v->extent[s->axis])
    bad(v, s, "%s is open here: only the walk of a whole axis has bounds", axis_z(v, s->axis));
  else ix_axes(&v->k->ix, bound, bound_axis, &(bound_axes){v, s, word});
}

static void verify_within(verifier *v, const tstmt *s, int carried) {
  if (carried < 0) return bad(v, s, "`within` needs two values");
  if (v->extent[s->axis])
    bad(v, s, "%s is open here: only the walk of a whole axis has bounds", axis_z(v, s->axis));
  for (int i = carried; i < s->nin; i++) {
    const tval *t = s->in[i];
    if (t && (t->naxes || (t->type != DT_i32 && t->type != DT_i64)))
      bad(v, s, "`within` takes scalars of type i32 or i64, which all threads share");
  }
}

static void verify_loop(verifier *v, const tstmt *s) {
  if (!is_axis(v, s->axis)) return bad(v, s, "unknown axis");
  if (!s->body) return bad(v, s, "no body");
  int outer = v->extent[s->axis];
  if (s->extent < 1) return bad(v, s, "the step is %d", s->extent);
  if (outer && outer % s->extent)
    bad(v, s, "steps of %d do not divide the range of %d", s->extent, outer);
  if (s->unroll < 0) bad(v, s, "negative unroll");
  verify_bound(v, s, s->from, "from");
  verify_bound(v, s, s->below, "below");
  int carried = s->nin - (s->within ? 2 : 0);
  if (s->within) verify_within(v, s, carried);
  expect_carried(v, s, s->in, carried < 0 ? 0 : carried, s->out, s->nout, "inits");
  expect_carried(v, s, s->body->params, s->body->nparams, s->out, s->nout, "params");
  if (s->vec && s->nout) bad(v, s, "a vec loop carries nothing");
  v->extent[s->axis] = s->extent;
  if (s->vec) show_lane_values(v, false);
  verify_region(v, s->body, s);
  if (s->vec) show_lane_values(v, true);
  v->extent[s->axis] = outer;
  int n;
  tval *const *yields = tregion_yields(s->body, &n);
  expect_carried(v, s, yields, n, s->out, s->nout, "yields");
}

/// Nothing of the tile that happens to be the last is seen: its axis is closed, its values and on-chip
/// buffers are hidden.
static void verify_finished(verifier *v, const tstmt *s) {
  int extent = v->extent[s->axis];
  for (int i = 0; i < v->scope.len; i++) v->visible[v->scope.data[i]->id] = false;
  for (int i = 0; i < v->local_scope.len; i++) v->declared[v->local_scope.data[i]] = false;
  v->extent[s->axis] = 0;
  verify_region(v, s->body, s);
  v->extent[s->axis] = extent;
  for (int i = 0; i < v->scope.len; i++) v->visible[v->scope.data[i]->id] = true;
  for (int i = 0; i < v->local_scope.len; i++) v->declared[v->local_scope.data[i]] = true;
}

static void verify_if(verifier *v, const tstmt *s) {
  bool on_tile = s->cond == COND_ANY || s->cond == COND_ALL;
  if (s->nin != on_tile) return bad(v, s, "the condition has %d tiles", s->nin);
  if (on_tile)
    expect_type(v, s, s->in[0]->type, DT_bool, "the condition");
  else if (!is_axis(v, s->axis))
    bad(v, s, "unknown axis");
  else if (!v->extent[s->axis])
    bad(v, s, "axis %s is not open here", axis_z(v, s->axis));
  if (!s->body) return bad(v, s, "no body");
  if (s->cond == COND_FINISHED && is_axis(v, s->axis)) return verify_finished(v, s);
  if (s->nout && !s->other) bad(v, s, "results need an else");
  const tregion *regions[] = {s->body, s->other};
  for (int i = 0; i < 2 && regions[i]; i++) {
    int n;
    verify_region(v, regions[i], s);
    tval *const *yields = tregion_yields(regions[i], &n);
    if (regions[i]->nparams) bad(v, s, "the region has params");
    expect_carried(v, s, yields, n, s->out, s->nout, "yields");
  }
}

// ---- the table

static const struct rule {
  int min_in, max_in, nout;  // -1: any
  bool op_is_used;
  void (*verify)(verifier *v, const tstmt *s);
} rules[] = {
    [TILE_MAP] = {1, 3, 1, true, verify_map},
    [TILE_CONST] = {0, 0, 1, false, verify_nothing},
    [TILE_SIZE] = {0, 0, 1, false, verify_size},
    [TILE_INDEX] = {0, 0, 1, false, verify_index},
    [TILE_LOAD] = {0, MAX_AXES + 1, 1, false, verify_load},
    [TILE_STORE] = {1, MAX_AXES + 1, 0, false, verify_store},
    [TILE_ACCUM] = {2, 3, 1, true, verify_accum},
    [TILE_REDUCE] = {1, 1, 1, true, verify_reduce},
    [TILE_ARG] = {4, 4, 2, true, verify_arg},
    [TILE_ARG_REDUCE] = {2, 2, 2, true, verify_arg_reduce},
    [TILE_DOT] = {3, 3, 1, false, verify_dot},
    [TILE_LOOP] = {0, -1, -1, false, verify_loop},
    [TILE_IF] = {0, 1, -1, false, verify_if},
    [TILE_YIELD] = {0, -1, 0, false, verify_nothing},
    [TILE_LOCAL] = {0, 0, 0, false, verify_local},
    [TILE_PREFETCH] = {0, 0, 0, false, verify_prefetch},
    [TILE_CHECK] = {1, 1, 0, false, verify_check},
};

static void define(verifier *v, const tstmt *s, const tval *t) {
  if (!t || t->id < 0 || t->id >= v->k->nvals) return bad(v, s, "a result has no number");
  if (v->defined[t->id]) bad(v, s, "value %d is defined twice", t->id);
  v->defined[t->id] = v->visible[t->id] = true;
  vec_push(v->arena, &v->scope, t);
}

/// Counts, operands and result shapes; false when looking further would not be safe.
static bool verify_outline(verifier *v, const tstmt *s) {
  const struct rule *r = &rules[s->kind];
  if (s->nin < r->min_in || (r->max_in >= 0 && s->nin > r->max_in))
    return bad(v, s, "%s cannot take %d values", tile_op_word(s->kind), s->nin), false;
  if (r->nout >= 0 && s->nout != r->nout)
    return bad(v, s, "%s has %d result%s, not %d", tile_op_word(s->kind), r->nout,
               r->nout == 1 ? "" : "s", s->nout),
           false;
  if (r->op_is_used && (s->op < 0 || s->op >= OP_COUNT)) return bad(v, s, "unknown op"), false;
  bool sane = true;
  for (int i = 0; i < s->nin; i++) {
    const tval *t = s->in[i];
    bool usable = t && t->id >= 0 && t->id < v->k->nvals;
    if (!usable)
      bad(v, s, "operand %d is missing", i);
    else if (!v->visible[t->id])
      bad(v, s, "operand %d is not visible here", i);
    sane = sane && usable && shape_is_sane(v, t);
  }
  for (int i = 0; i < s->nout; i++)
    if (!s->out[i] || !shape_is_sane(v, s->out[i]))
      sane = (bad(v, s, "result %d has a malformed shape", i), false);
  return sane;
}

static void verify_stmt(verifier *v, const tstmt *s) {
  if (verify_outline(v, s)) rules[s->kind].verify(v, s);
  for (int i = 0; i < s->nout; i++) define(v, s, s->out[i]);
}

static void verify_region(verifier *v, const tregion *r, const tstmt *owner) {
  int scope = v->scope.len, local_scope = v->local_scope.len;
  for (int i = 0; i < r->nparams; i++) define(v, owner, r->params[i]);
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind < 0 || s->kind > TILE_CHECK) {
      bad(v, owner, "unknown statement");
      continue;
    }
    verify_stmt(v, s);
    if (s->kind != TILE_YIELD) continue;
    if (!owner) bad(v, s, "the kernel's body yields nothing");
    if (i + 1 < r->stmts.len) bad(v, s, "a yield ends its region");
  }
  while (v->scope.len > scope) v->visible[v->scope.data[--v->scope.len]->id] = false;
  while (v->local_scope.len > local_scope)
    v->declared[v->local_scope.data[--v->local_scope.len]] = false;
}

// ---- kernels

static void verify_buffers(verifier *v) {
  const kernel *k = v->k;
  for (int i = 0; i < k->bufs.len; i++) {
    const tile_buf *b = &k->bufs.data[i];
    v->declared[i] = i < k->nargs;
    for (int j = 0; j < i; j++)
      if (str_eq(b->name, k->bufs.data[j].name))
        bad(v, NULL, "two buffers are called %.*s", STR_FMT(b->name));
    if (b->local != (i >= k->nargs)) bad(v, NULL, "%.*s is not in its place", STR_FMT(b->name));
    for (int d = 0; d < b->rank; d++)
      if (!is_size(v, b->dims[d]) || (!b->local && !is_size(v, b->strides[d])))
        bad(v, NULL, "%.*s has no size in dimension %d", STR_FMT(b->name), d);
  }
}

static void verify_head(verifier *v) {
  const kernel *k = v->k;
  for (int i = 0; i < k->axes.len; i++) {
    if (!is_size(v, k->axes.data[i].size)) bad(v, NULL, "axis %s has no size", axis_z(v, i));
    if (kernel_find_axis(k, k->axes.data[i].name) != i)
      bad(v, NULL, "two axes are called %s", axis_z(v, i));
  }
  if (k->vec_axis < -1 || k->vec_axis >= k->axes.len) bad(v, NULL, "unknown vector axis");
  if (k->vec_lanes < 1 || k->vec_lanes > MOST_VEC_LANES || (k->vec_lanes & (k->vec_lanes - 1)))
    bad(v, NULL, "%d vector lanes: they are a power of two up to %d", k->vec_lanes,
        MOST_VEC_LANES);
  for (int i = 0; i < k->grid.len; i++) {
    grid_axis g = k->grid.data[i];
    if (!is_axis(v, g.axis) || g.extent < 1 || g.group < 0)
      bad(v, NULL, "grid axis %d is malformed", i);
    else if (g.group && i + 2 != k->grid.len)
      bad(v, NULL, "%s is grouped: only the last grid axis but one is", axis_z(v, g.axis));
    else if (v->extent[g.axis])
      bad(v, NULL, "axis %s is twice in the grid", axis_z(v, g.axis));
    else
      v->extent[g.axis] = g.extent;
  }
  verify_buffers(v);
}

/// What only shows after the walk.
static void verify_tail(verifier *v) {
  for (int i = 0; i < v->k->bufs.len; i++) {
    const tile_buf *b = &v->k->bufs.data[i];
    if (b->local && !v->was_declared[i])
      bad(v, NULL, "local %.*s is never declared", STR_FMT(b->name));
    if (v->added[i] && v->used[i])
      bad(v, NULL, "%.*s is added to, and used otherwise: in what order is not known", STR_FMT(b->name));
    if (!b->local && b->written != v->stored[i])
      bad(v, NULL, "%.*s is %s, but marked otherwise", STR_FMT(b->name),
          v->stored[i] ? "stored" : "never stored");
  }
}

static str notes_of(void *ctx, const tstmt *s) {
  verifier *v = ctx;
  strbuf text = sb_new(v->arena);
  for (int i = 0; i < v->found.len; i++) {
    if (v->found.data[i].at != s) continue;
    if (text.len) sb_putc(&text, '\n');
    sb_put(&text, v->found.data[i].text);
  }
  return sb_str(&text);
}

static void complain(void *ctx, const tstmt *s, str text) {
  verifier *v = ctx;
  violation found = {s, text};
  vec_push(v->arena, &v->found, found);
}

bool tile_verify_kernel(const kernel *k, arena *a, tile_faults *faults, str *report) {
  verifier v = {.k = k, .arena = a};
  *report = (str){0};
  v.extent = arena_array(a, int, k->axes.len);
  v.defined = arena_array(a, bool, k->nvals);
  v.visible = arena_array(a, bool, k->nvals);
  v.declared = arena_array(a, bool, k->bufs.len);
  v.was_declared = arena_array(a, bool, k->bufs.len);
  v.stored = arena_array(a, bool, k->bufs.len);
  v.added = arena_array(a, bool, k->bufs.len);
  v.used = arena_array(a, bool, k->bufs.len);
  verify_head(&v);
  verify_region(&v, &k->body, NULL);
  verify_tail(&v);
  if (!v.found.len) tile_verify_finish(k, a, complain, &v);
  if (!v.found.len) tile_verify_bounds(k, a, complain, &v);
  if (!v.found.len) tile_verify_threads(k, a, complain, &v);
  if (!v.found.len) tile_verify_skew(k, a, complain, &v);
  if (!v.found.len) tile_verify_code(k, a, complain, &v);
  if (!v.found.len) return true;
  for (int i = 0; i < v.found.len; i++) {
    const tstmt *s = v.found.data[i].at;
    vec_push(a, faults, ((tile_fault){s ? s->at : k->at, v.found.data[i].text}));
  }
  strbuf out = sb_new(a);
  kernel_print_notes(k, notes_of, &v, &out);
  *report = sb_str(&out);
  return false;
}

bool kernel_verify(const kernel *k, arena *a, str *report) {
  tile_faults unused = {0};
  return tile_verify_kernel(k, a, &unused, report);
}
