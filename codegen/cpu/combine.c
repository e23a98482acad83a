// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements that combine: accumulators by lane, reductions, arg max and min, dot, conditions,
// bounds checks. Invalid lanes take no part.
#include "base/fault.h"
#include "codegen/abi.h"
#include "codegen/cpu/cpu.h"

#include <stddef.h>

// ---- identities and horizontal combines

/// Pairs, then pairs of pairs: short chains and one fixed order.
static lval combine_tree(kgen *g, op o, dtype t, lval *x, int n) {
  for (; n > 1; n = (n + 1) / 2)
    for (int i = 0; i < n / 2; i++) {
      x[i] = emit_combine(g->e, o, t, x[2 * i], x[2 * i + 1]);
      if (2 * i + 3 == n) x[i + 1] = x[n - 1];
    }
  return x[0];
}

/// Half of a vector as a vector, or as a scalar when a half is one lane.
static lval half(kgen *g, lval x, bool upper) {
  int n = emit_lanes(LLVMTypeOf(x)) / 2;
  lval lanes[32];
  for (int i = 0; i < n; i++) lanes[i] = emit_int(g->e->i32, upper ? n + i : i);
  if (n == 1) return LLVMBuildExtractElement(g->e->builder, x, lanes[0], "");
  return LLVMBuildShuffleVector(g->e->builder, x, LLVMGetPoison(LLVMTypeOf(x)),
                                LLVMConstVector(lanes, (unsigned)n), "");
}

static lval any_lane(kgen *g, lval bits, bool all) {
  LLVMTypeRef type = LLVMTypeOf(bits);
  if (!emit_lanes(type)) return bits;
  const char *name = all ? "llvm.vector.reduce.and" : "llvm.vector.reduce.or";
  return emit_intrinsic(g->e, name, &type, 1, &bits, 1);
}

static lval combine_lanes(kgen *g, op o, dtype t, lval x) {
  if (t == DT_bool && (o == OP_and || o == OP_or)) return any_lane(g, x, o == OP_and);
  while (emit_lanes(LLVMTypeOf(x)))
    x = emit_combine(g->e, o, t, half(g, x, false), half(g, x, true));
  return x;
}

// ---- accumulators

/// a * b + acc: one rounding where the CPU fuses, two elsewhere (exact fma in software would cost
/// dozens of operations a step).
static lval multiply_add(kgen *g, dtype t, lval a, lval b, lval acc) {
  lval in[] = {a, b, acc};
  LLVMTypeRef type = LLVMTypeOf(acc);
  bool fused = dtype_is_float(t) && (g->e->avx2 || g->e->avx512);
  if (fused) return emit_intrinsic(g->e, "llvm.fma", &type, 1, in, 3);
  lval product = emit_map(g->e, OP_mul, t, t, in, 2);
  return emit_map(g->e, OP_add, t, t, (lval[]){product, acc}, 2);
}

static lval accum_reg(kgen *g, const tstmt *s, int v, bool vector, lval valid) {
  dtype t = s->out[0]->type;
  lval acc = tile_at(g, s->in[0], v, vector);
  lval x = tile_at(g, s->in[1], v, vector);
  lval y = s->nin > 2 ? tile_at(g, s->in[2], v, vector) : NULL;
  if (!acc || !x || (s->nin > 2 && !y)) return acc;
  lval sum = s->op == OP_fma ? multiply_add(g, t, x, y, acc)
                             : emit_combine(g->e, s->op, t, acc, x);
  return blend(g, valid, sum, acc);
}

void gen_accum(kgen *g, const tstmt *s) {
  shape sh = tile_shape(g, s->out[0]);
  lval *out = tile_define(g, s->out[0]);
  int vecs = sh.vecs ? sh.vecs : 1;
  for (int row = 0; row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    for (int v = 0; v < vecs; v++) {
      lval valid;
      bool alive = reg_alive(g, &sh, v, &valid);
      out[row * vecs + v] = alive ? accum_reg(g, s, v, sh.vecs > 0, valid)
                                  : tile_at(g, s->in[0], v, sh.vecs > 0);
    }
  }
}

// ---- reductions

/// The axes of t that the statement reduces.
static shape reduced_shape(const kgen *g, const tstmt *s, const tval *t) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < s->naxes; i++) {
    if (!tval_extent(t, s->axes[i])) continue;
    axes[n] = s->axes[i];
    extents[n++] = tval_extent(t, s->axes[i]);
  }
  return shape_of_axes(g, axes, extents, n);
}

/// One result: `inner` walks the reduced rows (and vectors, when lanes are reduced).
static lval reduce_reg(kgen *g, const tstmt *s, const shape *inner, int v, bool vector) {
  dtype t = s->out[0]->type;
  int vecs = inner->vecs ? inner->vecs : 1, n = 0;
  bool lanes = vector || inner->vecs;
  lval identity = const_reg(g, t, op_neutral(s->op, t), lanes ? g->lanes : 0);
  lval *x = arena_array(g->arena, lval, inner->rows * vecs);
  for (int row = 0; row < inner->rows; row++) {
    shape_enter(g, inner, row);
    for (int w = 0; w < vecs; w++) {
      lval valid;
      if (!reg_alive(g, inner, w, &valid)) continue;
      lval reg = tile_at(g, s->in[0], inner->vecs ? w : v, lanes);
      if (reg) x[n++] = blend(g, valid, reg, identity);
    }
  }
  lval result = n ? combine_tree(g, s->op, t, x, n) : identity;
  if (inner->vecs && inner->vec_extent == 1)  // of one lane nothing is combined
    return LLVMBuildExtractElement(g->e->builder, result, emit_int(g->e->i32, 0), "");
  return inner->vecs ? combine_lanes(g, s->op, t, result) : result;
}

/// One result of a reduction that leaves lanes: the first has all of them, the others none.
static lval left_reg(kgen *g, const tstmt *s, const shape *sh, const shape *inner, int v) {
  int axis = s->axes[0];
  bool along = inner->vecs > 0, first = along ? v == 0 : g->coord[axis] == 0;
  dtype t = s->out[0]->type;
  lval none = const_reg(g, t, op_neutral(s->op, t), sh->vecs ? g->lanes : 0);
  if (!first) return none;
  lval all = reduce_reg(g, s, inner, v, sh->vecs > 0);
  return along ? LLVMBuildInsertElement(g->e->builder, none, all, emit_int(g->e->i32, 0), "") : all;
}

void gen_reduce(kgen *g, const tstmt *s) {
  shape sh = tile_shape(g, s->out[0]), inner = reduced_shape(g, s, s->in[0]);
  lval *out = tile_define(g, s->out[0]);
  int vecs = sh.vecs ? sh.vecs : 1;
  for (int row = 0; row < sh.rows; row++)
    for (int v = 0; v < vecs; v++) {
      shape_enter(g, &sh, row);
      if (reg_dead(g, &sh, v)) continue;
      out[row * vecs + v] =
          s->extent ? left_reg(g, s, &sh, &inner, v) : reduce_reg(g, s, &inner, v, sh.vecs > 0);
    }
}

// ---- arg max, arg min

typedef struct candidate {
  lval v, i;
} candidate;

static lval compare(kgen *g, op o, dtype t, lval a, lval b) {
  lval in[] = {a, b};
  return emit_map(g->e, o, t, DT_bool, in, 2);
}

/// x beats best: NaN is best of all, of equals the smaller index wins.
static lval beats(kgen *g, op o, dtype t, dtype ti, candidate x, candidate best) {
  LLVMBuilderRef b = g->e->builder;
  lval better = compare(g, o == OP_max ? OP_gt : OP_lt, t, x.v, best.v);
  lval equal = compare(g, OP_eq, t, x.v, best.v);
  if (dtype_is_float(t)) {
    lval nan = emit_map(g->e, OP_is_nan, t, DT_bool, &x.v, 1);
    lval best_nan = emit_map(g->e, OP_is_nan, t, DT_bool, &best.v, 1);
    better = LLVMBuildOr(b, better, LLVMBuildAnd(b, nan, LLVMBuildNot(b, best_nan, ""), ""), "");
    equal = LLVMBuildOr(b, equal, LLVMBuildAnd(b, nan, best_nan, ""), "");
  }
  lval smaller = compare(g, OP_lt, ti, x.i, best.i);
  return LLVMBuildOr(b, better, LLVMBuildAnd(b, equal, smaller, ""), "");
}

static candidate choose(kgen *g, lval first, candidate x, candidate y) {
  LLVMBuilderRef b = g->e->builder;
  return (candidate){LLVMBuildSelect(b, first, x.v, y.v, ""),
                     LLVMBuildSelect(b, first, x.i, y.i, "")};
}

void gen_arg(kgen *g, const tstmt *s) {
  dtype t = s->out[0]->type, ti = s->out[1]->type;
  shape sh = tile_shape(g, s->out[0]);
  lval *out = tile_define(g, s->out[0]), *outi = tile_define(g, s->out[1]);
  int vecs = sh.vecs ? sh.vecs : 1;
  bool vector = sh.vecs > 0;
  for (int row = 0; row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    for (int v = 0; v < vecs; v++) {
      lval valid;
      candidate best = {tile_at(g, s->in[0], v, vector), tile_at(g, s->in[1], v, vector)};
      candidate x = {tile_at(g, s->in[2], v, vector), tile_at(g, s->in[3], v, vector)};
      if (reg_alive(g, &sh, v, &valid) && x.v && x.i && best.v && best.i) {
        lval better = beats(g, s->op, t, ti, x, best);
        if (valid) better = blend(g, valid, better, LLVMConstNull(LLVMTypeOf(better)));
        best = choose(g, better, x, best);
      }
      out[row * vecs + v] = best.v;
      outi[row * vecs + v] = best.i;
    }
  }
}

static candidate best_of_lanes(kgen *g, const tstmt *s, candidate x) {
  dtype t = s->out[0]->type, ti = s->out[1]->type;
  while (emit_lanes(LLVMTypeOf(x.v))) {
    candidate low = {half(g, x.v, false), half(g, x.i, false)};
    candidate high = {half(g, x.v, true), half(g, x.i, true)};
    x = choose(g, beats(g, s->op, t, ti, high, low), high, low);
  }
  return x;
}

static candidate arg_reduce_reg(kgen *g, const tstmt *s, const shape *inner, int v, bool vector) {
  dtype t = s->out[0]->type, ti = s->out[1]->type;
  bool lanes = vector || inner->vecs;
  int width = lanes ? g->lanes : 0, vecs = inner->vecs ? inner->vecs : 1;
  candidate worst = {const_reg(g, t, op_neutral(s->op, t), width),
                     const_reg(g, ti, op_neutral(OP_min, ti), width)};
  candidate best = worst;
  bool any = false;
  for (int row = 0; row < inner->rows; row++) {
    shape_enter(g, inner, row);
    for (int w = 0; w < vecs; w++) {
      lval valid;
      int at = inner->vecs ? w : v;
      if (!reg_alive(g, inner, w, &valid)) continue;
      candidate x = {tile_at(g, s->in[0], at, lanes), tile_at(g, s->in[1], at, lanes)};
      if (!x.v || !x.i) continue;
      if (valid) x = choose(g, valid, x, worst);
      best = any ? choose(g, beats(g, s->op, t, ti, x, best), x, best) : x;
      any = true;
    }
  }
  return inner->vecs ? best_of_lanes(g, s, best) : best;
}

void gen_arg_reduce(kgen *g, const tstmt *s) {
  shape sh = tile_shape(g, s->out[0]), inner = reduced_shape(g, s, s->in[0]);
  lval *out = tile_define(g, s->out[0]), *outi = tile_define(g, s->out[1]);
  int vecs = sh.vecs ? sh.vecs : 1;
  for (int row = 0; row < sh.rows; row++)
    for (int v = 0; v < vecs; v++) {
      shape_enter(g, &sh, row);
      if (reg_dead(g, &sh, v)) continue;
      candidate best = arg_reduce_reg(g, s, &inner, v, sh.vecs > 0);
      out[row * vecs + v] = best.v;
      outi[row * vecs + v] = best.i;
    }
}

// ---- dot

/// The contracted axes, from whichever operand has them.
static shape contracted_shape(const kgen *g, const tstmt *s) {
  int extents[MAX_AXES];
  for (int i = 0; i < s->naxes; i++) {
    extents[i] = tval_extent(s->in[0], s->axes[i]);
    if (!extents[i]) extents[i] = tval_extent(s->in[1], s->axes[i]);
  }
  return shape_of_axes(g, s->axes, extents, s->naxes);
}

/// One step of all sums: contracted row at g->coord; `out` holds the sums and is updated.
static void dot_step(kgen *g, const tstmt *s, const shape *sh, lval ok, lval *out) {
  dtype t = s->out[0]->type;
  int vecs = sh->vecs ? sh->vecs : 1;
  bool vector = sh->vecs > 0;
  for (int row = 0; row < sh->rows; row++) {
    shape_enter(g, sh, row);
    for (int v = 0; v < vecs; v++) {
      lval *acc = &out[row * vecs + v];
      if (!*acc || reg_dead(g, sh, v)) continue;
      lval a = tile_at(g, s->in[0], v, vector), b = tile_at(g, s->in[1], v, vector);
      if (a && b) *acc = blend(g, ok, multiply_add(g, t, a, b, *acc), *acc);
    }
  }
}

/// Sums over lanes: products by lane, then across.
static lval dot_lanes(kgen *g, const tstmt *s, const shape *inner, lval acc) {
  dtype t = s->out[0]->type;
  lval zero = const_reg(g, t, (scalar){0}, g->lanes), sum = NULL;
  for (int row = 0; row < inner->rows; row++) {
    shape_enter(g, inner, row);
    for (int w = 0; w < inner->vecs; w++) {
      lval valid;
      if (!reg_alive(g, inner, w, &valid)) continue;
      lval a = tile_at(g, s->in[0], w, true), b = tile_at(g, s->in[1], w, true);
      if (!a || !b) continue;
      lval before = sum ? sum : zero;
      sum = blend(g, valid, multiply_add(g, t, a, b, before), before);
    }
  }
  if (!sum) return acc;
  return emit_combine(g->e, OP_add, t, acc, combine_lanes(g, OP_add, t, sum));
}

void gen_dot(kgen *g, const tstmt *s) {
  shape sh = tile_shape(g, s->out[0]), inner = contracted_shape(g, s);
  lval *out = tile_define(g, s->out[0]), *acc = g->regs[s->in[2]->id];
  for (int i = 0; i < shape_regs(&sh); i++) out[i] = acc[i];
  if (gen_dot_pairs(g, s, &inner, out)) return;
  for (int row = 0; inner.vecs && row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    if (out[row] && !reg_dead(g, &sh, 0)) out[row] = dot_lanes(g, s, &inner, out[row]);
  }
  for (int row = 0; !inner.vecs && row < inner.rows; row++) {
    lval ok;
    shape_enter(g, &inner, row);
    if (rows_alive(g, &inner, &ok)) dot_step(g, s, &sh, ok, out);
  }
}

// ---- conditions and checks

/// The bits of t in valid lanes combined into an i1: some (or every) bit.
static lval lanes_true(kgen *g, const tval *t, bool all) {
  LLVMBuilderRef b = g->e->builder;
  shape sh = tile_shape(g, t);
  int vecs = sh.vecs ? sh.vecs : 1;
  lval sum = NULL;
  for (int row = 0; row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    for (int v = 0; v < vecs; v++) {
      lval valid;
      if (!reg_alive(g, &sh, v, &valid)) continue;
      lval bits = tile_at(g, t, v, sh.vecs > 0);
      if (!bits) continue;
      LLVMTypeRef type = LLVMTypeOf(bits);
      bits = blend(g, valid, bits, all ? LLVMConstAllOnes(type) : LLVMConstNull(type));
      sum = !sum  ? bits
            : all ? LLVMBuildAnd(b, sum, bits, "")
                  : LLVMBuildOr(b, sum, bits, "");
    }
  }
  return sum ? any_lane(g, sum, all) : emit_int(g->e->i1, all);
}

lval gen_condition(kgen *g, const tstmt *s) {
  return lanes_true(g, s->in[0], s->cond == COND_ALL);
}

static lval frame_field(kgen *g, size_t offset) {
  lval at = int64(g, (int64_t)offset);
  return LLVMBuildGEP2(g->e->builder, g->e->i8, g->frame, &at, 1, "");
}

/// Notes the first failure in the frame and leaves the task.
static void report(kgen *g, int site, lval index) {
  emit *e = g->e;
  lval code = LLVMBuildAdd(e->builder, g->site_base, int64(g, site + 1), "");
  lval seen = frame_field(g, offsetof(tcf_frame, error_site));
  lval old = LLVMBuildAtomicCmpXchg(e->builder, seen, int64(g, 0), code,
                                    LLVMAtomicOrderingMonotonic, LLVMAtomicOrderingMonotonic, 0);
  lval first = LLVMBuildExtractValue(e->builder, old, 1, "");
  LLVMBasicBlockRef after = guard_begin(g, first);
  LLVMBuildStore(e->builder, index, frame_field(g, offsetof(tcf_frame, error_index)));
  guard_end(g, after);
  LLVMBuildRetVoid(e->builder);
}

static lval as_i64(kgen *g, dtype t, lval x) { return emit_map(g->e, OP_cast, t, DT_i64, &x, 1); }

/// The first bad lane of a vector.
static lval bad_index(kgen *g, dtype t, lval x, lval bad) {
  if (!emit_lanes(LLVMTypeOf(x))) return as_i64(g, t, x);
  LLVMTypeRef bits = LLVMIntTypeInContext(g->e->context, (unsigned)g->lanes);
  lval args[] = {LLVMBuildBitCast(g->e->builder, bad, bits, ""), emit_int(g->e->i1, 1)};
  lval lane = emit_intrinsic(g->e, "llvm.cttz", &bits, 1, args, 2);
  return as_i64(g, t, LLVMBuildExtractElement(g->e->builder, x, lane, ""));
}

/// x < 0 or x >= size, in the type of x when sizes fit it.
static lval outside(kgen *g, dtype t, lval x, lval size) {
  LLVMBuilderRef b = g->e->builder;
  int lanes = emit_lanes(LLVMTypeOf(x));
  x = emit_map(g->e, OP_cast, t, DT_i64, &x, 1);
  return LLVMBuildICmp(b, LLVMIntUGE, x, lanes ? splat(g, size) : size, "");
}

void gen_check(kgen *g, const tstmt *s) {
  const tval *t = s->in[0];
  lval size = ix_value(g, s->ix[0]);
  shape sh = tile_shape(g, t);
  int vecs = sh.vecs ? sh.vecs : 1;
  for (int row = 0; row < sh.rows; row++) {
    shape_enter(g, &sh, row);
    for (int v = 0; v < vecs; v++) {
      lval valid;
      if (!reg_alive(g, &sh, v, &valid)) continue;
      lval x = tile_at(g, t, v, sh.vecs > 0);
      if (!x) continue;
      lval bad = outside(g, t->type, x, size);
      bad = blend(g, valid, bad, LLVMConstNull(LLVMTypeOf(bad)));
      LLVMBasicBlockRef failed = block_new(g), after = block_new(g);
      LLVMBuildCondBr(g->e->builder, any_lane(g, bad, false), failed, after);
      LLVMPositionBuilderAtEnd(g->e->builder, failed);
      report(g, s->site, bad_index(g, t->type, x, bad));
      LLVMPositionBuilderAtEnd(g->e->builder, after);
    }
  }
}
