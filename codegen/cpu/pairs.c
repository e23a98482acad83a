// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Dots of bf16 pairs: registers whose 32-bit lanes hold two elements that are neighbours along the
// contracted axis.
//
//   dot pairs a[M:6, K:2], b[K:2, N:64]
//     b: lanes along N       b[k,n] b[k+1,n] | b[k,n+1] b[k+1,n+1] | ...
//     a: the same for all    a[m,k] a[m,k+1] | a[m,k]   a[m,k+1]   | ...
//
// A load that only such dots (and stores to buffers of pairs) read keeps pairs in its registers
// where memory has them side by side; of other values pairs are made where they are used. Where
// the second element of a pair is beyond the size of the axis, it is zero in the register.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

// ---- which values are read as pairs

typedef struct pair_uses {
  const kgen *g;
  const tstmt **maker;  // by value id
  int *uses, *by_pairs;
  int *along;  // the axis of the pairs
} pair_uses;

/// The instruction has this dot's form: lanes of the sums, none of the contracted axes.
static bool fits(const kgen *g, const tstmt *s, int vec_axis) {
  if (s->kind != TILE_DOT || s->unit != DOT_PAIRS || vec_axis < 0) return false;
  for (int i = 0; i < s->naxes; i++)
    if (s->axes[i] == vec_axis) return false;
  bool width = g->lanes == 4 || g->lanes == 8 || g->lanes == 16;
  return g->e->avx512_bf16 && width && tval_extent(s->out[0], vec_axis);
}

static int pair_axis_of(const tstmt *s) { return s->axes[s->naxes - 1]; }

/// The axis of pairs when the statement stores whole pairs to a buffer of pairs; -1 otherwise.
static int stored_pairs(const kgen *g, const tstmt *s, int vec_axis) {
  int axis;
  if (s->kind != TILE_STORE || s->nin > 1 || vec_axis < 0 || !g->e->avx512_bf16) return -1;
  const tile_buf *b = &g->k->bufs.data[s->buf];
  if (!b->pairs || b->local_axes[b->rank - 1] != vec_axis) return -1;
  if (!ix_is_axis(&g->k->ix, s->ix[b->pair_dim], &axis)) return -1;
  int extent = tval_extent(s->in[0], axis);
  bool whole = axis == b->local_axes[b->pair_dim] && extent && extent % 2 == 0;
  return whole && tval_extent(s->in[0], vec_axis) ? axis : -1;
}

static void read_as_pairs(pair_uses *u, const tval *v, int axis) {
  u->by_pairs[v->id]++;
  if (u->by_pairs[v->id] > 1 && u->along[v->id] != axis) u->by_pairs[v->id] = -1;
  u->along[v->id] = axis;
}

static void see_region(pair_uses *u, const tregion *r, int vec_axis) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; k < s->nin; k++) u->uses[s->in[k]->id]++;
    for (int k = 0; k < s->nout; k++) u->maker[s->out[k]->id] = s;
    int stored = stored_pairs(u->g, s, vec_axis);
    if (stored >= 0) read_as_pairs(u, s->in[0], stored);
    for (int k = 0; k < 2 && fits(u->g, s, vec_axis); k++)
      read_as_pairs(u, s->in[k], pair_axis_of(s));
    int inside = s->kind == TILE_LOOP && s->vec ? s->axis : vec_axis;
    if (s->body) see_region(u, s->body, inside);
    if (s->other) see_region(u, s->other, inside);
  }
}

/// Casts that only dots of pairs read are not executed: the dots read their operands.
static void see_casts(kgen *g, pair_uses *u) {
  for (int v = 0; v < g->k->nvals; v++) {
    const tstmt *cast = u->maker[v];
    bool widens = cast && cast->kind == TILE_MAP && cast->op == OP_cast &&
                  cast->in[0]->type == DT_bf16 && cast->out[0]->type == DT_f32;
    if (!u->by_pairs[v] || !widens) continue;
    const tval *narrow = cast->in[0];
    g->narrow[v] = narrow;
    g->unread[v] = u->by_pairs[v] == u->uses[v];
    if (g->unread[v]) read_as_pairs(u, narrow, u->along[v]);
  }
}

void pairs_open(kgen *g) {
  int n = g->k->nvals;
  pair_uses u = {g, arena_array(g->arena, const tstmt *, n), arena_array(g->arena, int, n),
                 arena_array(g->arena, int, n), arena_array(g->arena, int, n)};
  g->narrow = arena_array(g->arena, const tval *, n);
  g->unread = arena_array(g->arena, bool, n);
  g->pair_axis = arena_array(g->arena, int, n);
  g->pairs = arena_array(g->arena, lval *, n);
  for (int v = 0; v < n; v++) g->pair_axis[v] = -1;
  see_region(&u, &g->k->body, g->vec_axis);
  see_casts(g, &u);
  for (int v = 0; v < n; v++) {
    bool load = u.maker[v] && u.maker[v]->kind == TILE_LOAD;
    if (load && u.uses[v] && u.uses[v] == u.by_pairs[v]) g->pair_axis[v] = u.along[v];
  }
}

// ---- registers of pairs

static lval zero_extended(kgen *g, lval x) {
  return LLVMBuildZExt(g->e->builder, x, emit_vec(g->e->i32, emit_lanes(LLVMTypeOf(x))), "");
}

/// low and high lane by lane; high may be null for zeros.
static lval interleave(kgen *g, lval low, lval high) {
  LLVMBuilderRef b = g->e->builder;
  int n = emit_lanes(LLVMTypeOf(low));
  if (!high) return zero_extended(g, low);
  if (!n) {
    lval upper = LLVMBuildShl(b, zero_extended(g, high), emit_int(g->e->i32, 16), "");
    return LLVMBuildOr(b, zero_extended(g, low), upper, "");
  }
  lval order[64];
  for (int i = 0; i < n; i++) {
    order[2 * i] = emit_int(g->e->i32, i);
    order[2 * i + 1] = emit_int(g->e->i32, n + i);
  }
  lval all = LLVMBuildShuffleVector(b, low, high, LLVMConstVector(order, 2 * (unsigned)n), "");
  return LLVMBuildBitCast(b, all, emit_vec(g->e->i32, n), "");
}

/// The pair at g->coord, whose coordinate along the axis is even; null when dead.
static lval pair_at(kgen *g, const tval *t, int axis, int v, bool vector) {
  bool has_lanes;
  int number = reg_number(g, t, v, &has_lanes), k = g->coord[axis];
  lval pair = g->pairs[t->id] ? g->pairs[t->id][number] : NULL;
  if (!pair) {
    lval low = g->regs[t->id][number], high = NULL, ok = NULL;
    if (!low) return NULL;
    g->coord[axis] = k + 1;
    if (row_alive(g, axis, tval_extent(t, axis), k + 1, &ok))
      high = g->regs[t->id][reg_number(g, t, v, &has_lanes)];
    g->coord[axis] = k;
    if (high) high = blend(g, ok, high, LLVMConstNull(LLVMTypeOf(high)));
    pair = interleave(g, low, high);
  }
  return vector && !has_lanes ? splat(g, pair) : pair;
}

/// Sets g->coord to the row when that is the first of a pair and some of it exists; *ok as for
/// row_alive.
static bool enter_pair(kgen *g, const shape *sh, int row, int axis, lval *ok) {
  shape_enter(g, sh, row);
  if (g->vec_axis >= 0) g->coord[g->vec_axis] = 0;
  return g->coord[axis] % 2 == 0 && rows_alive(g, sh, ok);
}

// ---- loads

/// What remains of a pair whose second element may not exist.
static lval mask_second(kgen *g, const tval *t, int axis, lval pair) {
  LLVMTypeRef type = LLVMTypeOf(pair);
  lval ok = NULL, first = LLVMBuildAnd(g->e->builder, pair, emit_int(type, 0xffff), "");
  if (!row_alive(g, axis, tval_extent(t, axis), g->coord[axis] + 1, &ok)) return first;
  return blend(g, ok, pair, first);
}

/// Where the pair at g->coord begins, if its second element lies behind the first: coef * lane +
/// rest. Loads clamp rows.
static bool pair_place(kgen *g, const access *a, int axis, int v, bool vector, bool clamp, ix *coef,
                       ix *rest) {
  int along = vector ? g->vec_axis : -1;
  int64_t step;
  ix first = placed(g, a->offset, along, v, false);
  g->coord[axis]++;
  ix second = placed(g, a->offset, along, v, false);
  g->coord[axis]--;
  if (!ix_is_const(&g->ix, ix_sub(&g->ix, second, first), &step) || step != 1) return false;
  return lane_affine(g, placed(g, a->offset, along, v, clamp), coef, rest);
}

/// All pairs of the tile lie side by side in memory, and in the order of the lanes if it has any.
static bool loads_as_pairs(kgen *g, const tstmt *s, const access *a, int axis) {
  shape sh = tile_shape(g, s->out[0]);
  for (int d = 0; d < s->nix; d++)
    if (s->indirect && s->indirect[d] >= 0) return false;
  for (int row = 0; row < sh.rows; row++) {
    lval ok;
    ix coef, rest;
    int64_t c;
    if (!enter_pair(g, &sh, row, axis, &ok)) continue;
    if (!pair_place(g, a, axis, 0, sh.vecs > 0, true, &coef, &rest)) return false;
    if (sh.vecs && !(ix_is_const(&g->ix, coef, &c) && c == 2)) return false;
  }
  return !s->guard;
}

/// A single pair: both halves are read at once only when both are known to exist.
static lval load_pair(kgen *g, const tval *t, const access *a, int axis, ix place) {
  LLVMBuilderRef b = g->e->builder;
  lval ok = NULL, pointer = address(g, a->buf, place);
  bool second = row_alive(g, axis, tval_extent(t, axis), g->coord[axis] + 1, &ok);
  lval x = LLVMBuildLoad2(b, second && !ok ? g->e->i32 : g->e->i16, pointer, "");
  LLVMSetAlignment(x, 2);
  if (second && !ok) return x;
  x = zero_extended(g, x);
  if (!second) return x;
  lval one = int64(g, 1), next = LLVMBuildGEP2(b, g->e->i16, pointer, &one, 1, "");
  lval high = LLVMBuildLoad2(b, g->e->i16, LLVMBuildSelect(b, ok, next, pointer, ""), "");
  LLVMSetAlignment(high, 2);
  high = LLVMBuildShl(b, zero_extended(g, high), emit_int(g->e->i32, 16), "");
  return LLVMBuildOr(b, x, blend(g, ok, high, emit_int(g->e->i32, 0)), "");
}

bool gen_load_pairs(kgen *g, const tstmt *s, const access *a) {
  const tval *t = s->out[0];
  int axis = g->pair_axis[t->id];
  if (axis < 0) return false;
  if (!loads_as_pairs(g, s, a, axis)) return gen_load_pairs_transposed(g, s, a, axis);
  shape sh = tile_shape(g, t);
  lval *out = g->pairs[t->id] = arena_array(g->arena, lval, shape_regs(&sh));
  for (int row = 0; row < sh.rows; row++) {
    lval ok, mask;
    ix coef, rest;
    if (!enter_pair(g, &sh, row, axis, &ok)) continue;
    for (int v = 0; v < (sh.vecs ? sh.vecs : 1); v++) {
      if (sh.vecs && !lanes_alive(g, g->vec_axis, sh.vec_extent, v, &mask)) continue;
      check(pair_place(g, a, axis, v, sh.vecs > 0, true, &coef, &rest));
      lval *pair = &out[row * (sh.vecs ? sh.vecs : 1) + v];
      if (!sh.vecs) *pair = load_pair(g, t, a, axis, rest);
      else
        *pair = mask_second(
            g, t, axis, load_vector(g, DT_i32, address(g, a->buf, rest), needed_mask(a, v, mask)));
    }
  }
  return true;
}

// ---- stores

bool gen_store_pairs(kgen *g, const tstmt *s, const access *a) {
  int axis = stored_pairs(g, s, g->vec_axis);
  if (axis < 0) return false;
  shape sh = store_shape(g, s, a);
  for (int row = 0; row < sh.rows; row++) {
    lval ok, mask;
    ix coef, rest;
    if (!enter_pair(g, &sh, row, axis, &ok)) continue;
    LLVMBasicBlockRef after = guard_begin(g, ok);
    for (int v = 0; v < sh.vecs; v++) {
      if (!lanes_alive(g, g->vec_axis, sh.vec_extent, v, &mask)) continue;
      lval pair = pair_at(g, s->in[0], axis, v, true);
      check(pair_place(g, a, axis, v, true, false, &coef, &rest));
      if (pair) store_vector(g, DT_i32, pair, address(g, a->buf, rest), needed_mask(a, v, mask));
    }
    guard_end(g, after);
  }
  return true;
}

// ---- dots

/// All pairs of an operand as vectors, numbered like its registers.
static lval *operand_pairs(kgen *g, const tval *t, int axis) {
  shape sh = tile_shape(g, t);
  int vecs = sh.vecs ? sh.vecs : 1;
  lval *pairs = arena_array(g->arena, lval, shape_regs(&sh));
  for (int row = 0; row < sh.rows; row++) {
    lval ok;
    if (!enter_pair(g, &sh, row, axis, &ok)) continue;
    for (int v = 0; v < vecs; v++) pairs[row * vecs + v] = pair_at(g, t, axis, v, true);
  }
  return pairs;
}

static lval pair_dot(kgen *g, lval acc, lval a, lval b) {
  const char *name = g->lanes == 16  ? "llvm.x86.avx512bf16.dpbf16ps.512"
                     : g->lanes == 8 ? "llvm.x86.avx512bf16.dpbf16ps.256"
                                     : "llvm.x86.avx512bf16.dpbf16ps.128";
  LLVMTypeRef type = emit_vec(LLVMBFloatTypeInContext(g->e->context), 2 * g->lanes);
  lval args[] = {acc, LLVMBuildBitCast(g->e->builder, a, type, ""),
                 LLVMBuildBitCast(g->e->builder, b, type, "")};
  return emit_intrinsic(g->e, name, NULL, 0, args, 3);
}

bool gen_dot_pairs(kgen *g, const tstmt *s, const shape *inner, lval *out) {
  if (!fits(g, s, g->vec_axis)) return false;
  int axis = pair_axis_of(s);
  const tval *a = g->narrow[s->in[0]->id], *b = g->narrow[s->in[1]->id];
  lval *pa = operand_pairs(g, a, axis), *pb = operand_pairs(g, b, axis);
  shape sh = tile_shape(g, s->out[0]);
  for (int step = 0; step < inner->rows; step++) {
    lval ok;
    if (!enter_pair(g, inner, step, axis, &ok)) continue;
    for (int row = 0; row < sh.rows; row++) {
      shape_enter(g, &sh, row);
      for (int v = 0; v < sh.vecs; v++) {
        bool lanes;
        lval *acc = &out[row * sh.vecs + v];
        lval x = pa[reg_number(g, a, v, &lanes)], y = pb[reg_number(g, b, v, &lanes)];
        if (!*acc || reg_dead(g, &sh, v) || !x || !y) continue;
        *acc = blend(g, ok, pair_dot(g, *acc, x, y), *acc);
      }
    }
  }
  return true;
}
