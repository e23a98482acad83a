// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rule of tile IR that keeps memory safe: what a valid lane of a load or store reaches is inside
// of the buffer.
//
//   load x[T + 63]           needs 0 <= T + 63 and T + 63 <= N - 1 for all 0 <= T < size of T
//   load x[T + 63] guard %f  gives %f outside of the buffer: nothing to show
//   load x[%i + T]           the index %i was tested when the kernel runs (`check`), or was made to be
//                            inside: ir/tile_verify_values.c
//   load x[%i] unchecked     nobody knows, and the text says so
//   prefetch x[N + 64]       reads nothing
//   loop N:1 below E         N <= E - 1 inside of it
//
// Valid lanes are below the sizes of their axes, so the algebra of ir/ix.h decides. What it cannot
// show is refused: a bound that only holds for some sizes needs a fact of these sizes (`where`).
#include "ir/tile_verify.h"

typedef struct bounds {
  const kernel *k;
  ix_pool pool;  // the kernel's, to compute in
  arena *arena;
  int *open;         // by axis: the extent of the current range, 0 none
  ix *last;          // by axis: the last position that `below` of its walk allows, 0: that of the axis
  bool *local_open;  // by buffer and dimension: its axis was open at the declaration
  tile_values *values;  // null: no index is a value
  tile_complain *complain;
  void *ctx;
} bounds;

static str axis_name(void *ctx, int axis) {
  const bounds *b = ctx;
  return b->k->axes.data[axis].name;
}

static str coordinate_text(const bounds *b, ix e) {
  strbuf text = sb_new(b->arena);
  ix_print(&b->pool, e, axis_name, (void *)b, &text);
  return sb_str(&text);
}

static bool *is_part(const bounds *b, int buffer, int d) {
  return &b->local_open[buffer * MAX_AXES + d];
}

/// A local buffer that follows a range holds the coordinates of this range only.
static bool follows_range(const bounds *b, const tstmt *s, int d, ix at) {
  int axis;
  if (!*is_part(b, s->buf, d)) return false;
  if (ix_is_axis(&b->pool, at, &axis) && axis == b->k->bufs.data[s->buf].local_axes[d]) return true;
  str name = axis_name((void *)b, b->k->bufs.data[s->buf].local_axes[d]);
  str text = str_printf(b->arena,
                        "dimension %d holds the current range of %.*s only; %.*s may be outside "
                        "of it",
                        d, STR_FMT(name), STR_FMT(coordinate_text(b, at)));
  b->complain(b->ctx, s, text);
  return true;
}

static void verify_value(bounds *b, const tstmt *s, int d) {
  const tile_buf *buffer = &b->k->bufs.data[s->buf];
  if (s->unchecked || tile_values_inside(b->values, s->in[s->indirect[d]], s->ix[d], buffer->dims[d]))
    return;
  b->complain(b->ctx, s,
              str_printf(b->arena,
                         "dimension %d: the index is not known to be from 0 to below %.*s; `check` "
                         "tests it, `unchecked` says that it is right",
                         d, STR_FMT(coordinate_text(b, buffer->dims[d]))));
}

/// An upper bound of e: walks that end early do not reach the ends of their axes.
static ix reached(bounds *b, ix e) {
  ix coef, rest;
  for (int axis = 0; axis < b->k->axes.len; axis++)
    if (b->last[axis] && ix_affine(&b->pool, e, axis, &coef, &rest) && ix_bounds(&b->pool, coef).min >= 0)
      e = ix_add(&b->pool, ix_mul(&b->pool, coef, b->last[axis]), rest);
  return e;
}

static void verify_dimension(bounds *b, const tstmt *s, int d) {
  const tile_buf *buffer = &b->k->bufs.data[s->buf];
  ix at = s->ix[d];
  if (s->indirect[d] >= 0) return verify_value(b, s, d);
  if (buffer->local && follows_range(b, s, d, at)) return;
  bool low = ix_known_le(&b->pool, ix_const(&b->pool, 0), at);
  ix last = ix_sub(&b->pool, buffer->dims[d], ix_const(&b->pool, 1));
  if (low && (ix_known_le(&b->pool, at, last) || ix_known_le(&b->pool, reached(b, at), last))) return;
  str bound = STR("at least 0");
  if (low)
    bound = str_printf(b->arena, "below %.*s", STR_FMT(coordinate_text(b, buffer->dims[d])));
  b->complain(b->ctx, s,
              str_printf(b->arena,
                         "dimension %d: %.*s is not known to be %.*s, and there is no guard", d,
                         STR_FMT(coordinate_text(b, at)), STR_FMT(bound)));
}

static void note_local(bounds *b, const tstmt *s) {
  const tile_buf *buffer = &b->k->bufs.data[s->buf];
  for (int d = 0; d < buffer->rank; d++)
    *is_part(b, s->buf, d) = b->open[buffer->local_axes[d]] > 0;
}

/// No step of a walk over an axis without positions ever runs.
static bool is_empty(const bounds *b, int axis) {
  int64_t size;
  return ix_is_const(&b->pool, b->k->axes.data[axis].size, &size) && size == 0;
}

static void verify_region(bounds *b, const tregion *r);

/// Of steps of one position, by a bound of coordinates that are bases too.
static ix last_below(bounds *b, const tstmt *s) {
  if (!s->below || s->extent > 1) return 0;
  for (int axis = 0; axis < b->k->axes.len; axis++)
    if (b->open[axis] != 1 && ix_uses_axis(&b->pool, s->below, axis)) return 0;
  return ix_sub(&b->pool, s->below, ix_const(&b->pool, 1));
}

static void verify_loop(bounds *b, const tstmt *s) {
  int outer = b->open[s->axis];
  ix last = b->last[s->axis];
  tile_range range = {0};
  b->last[s->axis] = last_below(b, s);
  b->open[s->axis] = s->extent;
  if (b->values) range = tile_values_open(b->values, s->axis, s->extent);
  verify_region(b, s->body);
  if (b->values) tile_values_close(b->values, s->axis, range);
  b->open[s->axis] = outer;
  b->last[s->axis] = last;
}

static void verify_region(bounds *b, const tregion *r) {
  int mark = b->values ? tile_values_mark(b->values) : 0;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool access = (s->kind == TILE_LOAD && !s->guard) || s->kind == TILE_STORE;
    for (int d = 0; access && d < s->nix; d++) verify_dimension(b, s, d);
    if (s->kind == TILE_LOCAL) note_local(b, s);
    if (s->kind == TILE_LOOP && is_empty(b, s->axis)) continue;
    if (s->kind == TILE_LOOP) {
      verify_loop(b, s);
    } else {
      bool finished = s->kind == TILE_IF && s->cond == COND_FINISHED;
      int open = finished ? b->open[s->axis] : 0;
      if (finished) b->open[s->axis] = 0;
      verify_region(b, s->body);
      verify_region(b, s->other);
      if (finished) b->open[s->axis] = open;
    }
    if (b->values) tile_values_note(b->values, s);
  }
  if (b->values) tile_values_restore(b->values, mark);
}

static bool has_index_values(const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool access = s->kind == TILE_LOAD || s->kind == TILE_STORE;
    for (int d = 0; access && d < s->nix; d++)
      if (s->indirect[d] >= 0) return true;
    if (has_index_values(s->body) || has_index_values(s->other)) return true;
  }
  return false;
}

void tile_verify_bounds(const kernel *k, arena *a, tile_complain *complain, void *ctx) {
  bounds b = {.k = k, .arena = a, .complain = complain, .ctx = ctx};
  ix_init(&b.pool, a);
  ix_copy_pool(&b.pool, &k->ix);
  b.open = arena_array(a, int, k->axes.len);
  b.last = arena_array(a, ix, k->axes.len);
  b.local_open = arena_array(a, bool, k->bufs.len * MAX_AXES);
  if (has_index_values(&k->body)) b.values = tile_values_new(k, &b.pool, a);
  for (int i = 0; i < k->grid.len; i++) {
    grid_axis g = k->grid.data[i];
    if (is_empty(&b, g.axis)) return;
    b.open[g.axis] = g.extent;
    if (b.values) tile_values_open(b.values, g.axis, g.extent);
  }
  verify_region(&b, &k->body);
}
