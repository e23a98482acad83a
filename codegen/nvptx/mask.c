// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Conditions on coordinates, decided by the bounds of the ranges.
//
//   %m = le %t, %s      %t = index T, %s = index S
//   %y = where %m, %x, -inf
//
// A scalar may stand for one of the two. Register by register a comparison may be known; what is not may hold in the whole tile, which the
// bases of its ranges tell at run time: a uniform branch goes around the selects then, and around what is
// loaded and computed for them alone.
#include "base/fault.h"
#include "codegen/nvptx/nvptx.h"

/// A value that is a coordinate of the current range, plus a constant; or a scalar, of axis -1.
typedef struct coordinate {
  int axis, extent;
  int64_t plus;
  const tval *scalar;
} coordinate;

static const tstmt *made_by(const ngen *g, const tval *v) { return g->definition[v->id]; }

static bool constant_of(const ngen *g, const tval *v, int64_t *n) {
  const tstmt *s = made_by(g, v);
  if (!s || s->kind != TILE_CONST || !dtype_is_int(v->type)) return false;
  *n = s->value.i;
  return true;
}

/// Sums that may leave the type are none: the expression would not wrap around as they do.
static bool stays_inside(ngen *g, const tval *v, const coordinate *c) {
  int64_t last = ix_bounds(&g->ix, g->k->axes.data[c->axis].size).max;
  if (v->type == DT_i64) return c->plus > -INT32_MAX && c->plus < INT32_MAX;
  return v->type == DT_i32 && c->plus > -INT32_MAX &&
         (c->plus <= 0 || (last < INT32_MAX && last + c->plus < INT32_MAX));
}

static bool find_coordinate(ngen *g, const tval *v, coordinate *c) {
  const tstmt *s = made_by(g, v);
  int64_t n;
  if (!v->naxes && v->type == DT_i32) {
    *c = (coordinate){.axis = -1, .extent = 1, .scalar = v};
    return true;
  }
  if (s && s->kind == TILE_INDEX) {
    const range *r = g->ranges[s->axis];
    *c = (coordinate){.axis = s->axis, .extent = v->extents[0]};
    return r && r->extent == c->extent;
  }
  bool sum = s && s->kind == TILE_MAP && (s->op == OP_add || s->op == OP_sub);
  if (!sum || !constant_of(g, s->in[1], &n) || !find_coordinate(g, s->in[0], c)) return false;
  if (n < -INT32_MAX || n > INT32_MAX || c->scalar) return false;
  c->plus += s->op == OP_add ? n : -n;
  return stays_inside(g, v, c);
}

/// A comparison that holds where larger - smaller >= least.
typedef struct order {
  coordinate larger, smaller;
  int64_t least;
} order;

static bool find_order(ngen *g, const tstmt *s, order *o) {
  bool strict = s->op == OP_lt || s->op == OP_gt, swapped = s->op == OP_gt || s->op == OP_ge;
  if (!strict && s->op != OP_le && s->op != OP_ge) return false;
  o->least = strict;
  return find_coordinate(g, s->in[!swapped], &o->larger) &&
         find_coordinate(g, s->in[swapped], &o->smaller);
}

static ix difference(ngen *g, const order *o, ix larger, ix smaller) {
  ix plus = ix_const(&g->ix, o->larger.plus - o->smaller.plus);
  return ix_add(&g->ix, ix_sub(&g->ix, larger, smaller), plus);
}

lval nv_known_comparison(ngen *g, const tstmt *s) {
  order o;
  if (s->kind != TILE_MAP || s->nin != 2 || !find_order(g, s, &o)) return NULL;
  if (o.larger.scalar || o.smaller.scalar) return NULL;
  ix d = difference(g, &o, nv_coordinate(g, o.larger.axis), nv_coordinate(g, o.smaller.axis));
  ix_range r = ix_bounds(&g->ix, d);
  if (r.min >= o.least) return emit_int(g->e->i1, 1);
  return r.max < o.least ? emit_int(g->e->i1, 0) : NULL;
}

/// f32 holds whatever the expression is.
static bool is_exact(ngen *g, ix whole) {
  ix_range r = ix_bounds(&g->ix, whole);
  int64_t divisor = ix_divisor(&g->ix, whole), holds = (divisor & -divisor) << 24;
  int64_t most = -r.min > r.max ? -r.min : r.max;
  return !divisor || holds >= (INT64_C(1) << 31) || (r.min > INT32_MIN && most <= holds);
}

lval nv_distance(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  coordinate c[2];
  const tstmt *d = s->op == OP_cast && s->out[0]->type == DT_f32 ? made_by(g, s->in[0]) : NULL;
  if (!d || d->kind != TILE_MAP || d->op != OP_sub) return NULL;
  ix whole[2], lane[2];
  int64_t at[2];
  for (int k = 0; k < 2; k++) {
    if (!find_coordinate(g, d->in[k], &c[k]) || c[k].scalar) return NULL;
    const spread *inside = spread_of(g, c[k].axis, c[k].extent);
    whole[k] = g->ranges[c[k].axis]->base;
    lane[k] = inside->first;
    at[k] = inside->pos[g->at[c[k].axis]] + c[k].plus;
  }
  ix base = ix_sub(&g->ix, whole[0], whole[1]);
  bool small = at[0] - at[1] < (1 << 20) && at[0] - at[1] > -(1 << 20);
  if (!small || !is_exact(g, base)) return NULL;
  // Made again in each step: sums of lanes and registers that outlive it would fill the registers.
  lval first = nv_ix32(g, ix_sub(&g->ix, lane[0], lane[1]));
  first = LLVMBuildAdd(b, first, g->hidden_zero, "");
  lval near = LLVMBuildSIToFP(b, first, g->e->f32, ""), step = nv_ix32(g, base);
  // LLVM would make the sum of a cast and a constant a cast of a sum.
  lval parts[] = {near, LLVMConstReal(g->e->f32, (double)(at[0] - at[1]))};
  near = emit_intrinsic(g->e, "llvm.nvvm.add.rn.f", NULL, 0, parts, 2);
  return LLVMBuildFAdd(b, near, LLVMBuildSIToFP(b, step, g->e->f32, ""), "");
}

/// Of the first lane, as an i64.
static lval first_of(ngen *g, const coordinate *c) {
  LLVMBuilderRef b = g->e->builder;
  lval v = c->scalar ? LLVMBuildSExt(b, nv_at(g, c->scalar), g->e->i64, "")
                     : nv_ix64(g, g->ranges[c->axis]->base);
  return LLVMBuildNSWAdd(b, v, i64_of(g, c->plus), "");
}

static bool holds_everywhere(ngen *g, const tval *condition, lval *test);

/// One of the two does: what cannot be told of the other does not matter.
static bool either_holds(ngen *g, const tstmt *s, lval *test) {
  lval tests[2] = {0}, some = NULL;
  bool told = false;
  for (int i = 0; i < 2; i++) {
    if (!holds_everywhere(g, s->in[i], &tests[i])) continue;
    if (!tests[i]) return true;
    told = true;
    some = some ? LLVMBuildOr(g->e->builder, some, tests[i], "") : tests[i];
  }
  if (told) *test = nv_both(g, *test, some);
  return told;
}

/// Whether the condition holds in all lanes of the tile: *test is narrowed by what the bases of its
/// ranges must fulfil (null: nothing). False: that cannot be told from them.
static bool holds_everywhere(ngen *g, const tval *condition, lval *test) {
  const tstmt *s = made_by(g, condition);
  order o;
  if (!s || s->kind != TILE_MAP || s->nin != 2) return false;
  if (s->op == OP_and && s->in[0]->type == DT_bool)
    return holds_everywhere(g, s->in[0], test) && holds_everywhere(g, s->in[1], test);
  if (s->op == OP_or && s->in[0]->type == DT_bool) return either_holds(g, s, test);
  if (!find_order(g, s, &o)) return false;
  if (o.larger.scalar || o.smaller.scalar) {
    lval d = LLVMBuildNSWSub(g->e->builder, first_of(g, &o.larger), first_of(g, &o.smaller), "");
    lval least = i64_of(g, o.least + o.smaller.extent - 1);
    *test = nv_both(g, *test, LLVMBuildICmp(g->e->builder, LLVMIntSGE, d, least, ""));
    return true;
  }
  ix d = difference(g, &o, g->ranges[o.larger.axis]->base, g->ranges[o.smaller.axis]->base);
  int64_t least = o.least + o.smaller.extent - 1;  // the smaller one's last lane
  if (ix_bounds(&g->ix, d).min >= least) return true;
  lval v = nv_ix(g, d);
  lval holds = LLVMBuildICmp(g->e->builder, LLVMIntSGE, v, emit_int(LLVMTypeOf(v), least), "");
  *test = nv_both(g, *test, holds);
  return true;
}

/// The same, without making code.
static bool is_decided(ngen *g, const tval *condition) {
  const tstmt *s = made_by(g, condition);
  order o;
  if (!s || s->kind != TILE_MAP || s->nin != 2) return false;
  if (s->op == OP_and && s->in[0]->type == DT_bool)
    return is_decided(g, s->in[0]) && is_decided(g, s->in[1]);
  if (s->op == OP_or && s->in[0]->type == DT_bool) return is_decided(g, s->in[0]) || is_decided(g, s->in[1]);
  return find_order(g, s, &o);
}

bool nv_is_mask(ngen *g, const tstmt *s) {
  enum { MANY = 24 };
  return s->kind == TILE_MAP && s->op == OP_where && is_decided(g, s->in[0]) &&
         nv_shape_of(g, s->out[0]).nregs >= MANY;
}

// ---- what is made for a mask alone

static bool reads(const tstmt *s, const tval *v) {
  bool found = false;
  for (int k = 0; k < s->nin; k++) found |= s->in[k] == v;
  return found;
}

/// The condition of the mask needs it, and nothing else.
static bool is_for_mask(ngen *g, const tregion *r, int at, const tstmt *mask) {
  const tval *v = r->stmts.data[at]->out[0];
  int users = 0;
  for (int i = at + 1; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (!reads(s, v)) continue;
    if (s == mask ? s->in[1] == v || s->in[2] == v : !nv_waits_for_mask(g, r, i, mask)) return false;
    users++;
  }
  return users == g->lazy[v->id].users;
}

/// Bools and integers, of coordinates and of arguments that nobody stores.
static bool can_wait(const ngen *g, const tstmt *s) {
  if (s->nout != 1 || !s->out[0]->naxes || dtype_is_float(s->out[0]->type)) return false;
  if (s->kind == TILE_LOAD) return !s->nin && !g->k->bufs.data[s->buf].local && !g->k->bufs.data[s->buf].written;
  bool floats = false;
  for (int k = 0; k < s->nin; k++) floats |= dtype_is_float(s->in[k]->type);
  return s->kind == TILE_INDEX || (s->kind == TILE_MAP && !floats);
}

bool nv_waits_for_mask(ngen *g, const tregion *r, int at, const tstmt *mask) {
  if (!can_wait(g, r->stmts.data[at])) return false;
  if (mask) return is_for_mask(g, r, at, mask);
  for (int i = at + 1; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (!nv_is_mask(g, s) || !is_for_mask(g, r, at, s)) continue;
    vec_push(g->arena, &g->waiting, r->stmts.data[at]);
    return true;
  }
  return false;
}

/// `seen` by value id: the search has been there.
static bool leads_to(const ngen *g, const tval *v, const tstmt *s, bool *seen) {
  const tstmt *def = made_by(g, v);
  if (!def || def == s) return def == s;
  bool found = false;
  for (int k = 0; k < def->nin && def->kind == TILE_MAP && !seen[v->id] && !found; k++)
    found = leads_to(g, def->in[k], s, seen);
  seen[v->id] |= !found;
  return found;
}

static bool is_made_of(const ngen *g, const tval *v, const tstmt *s) {
  return leads_to(g, v, s, arena_array(g->arena, bool, g->k->nvals));
}

static void make_waiting(ngen *g, const tval *condition) {
  for (int i = 0; i < g->waiting.len; i++)
    if (is_made_of(g, condition, g->waiting.data[i])) nv_statement(g, g->waiting.data[i]);
}

/// Each part of a conjunction behind a branch of its own.
static void mask_by(ngen *g, const tstmt *s, const tval *condition, lval *out) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *def = made_by(g, condition);
  shape sh = nv_shape_of(g, s->out[0]);
  lval holds = NULL;
  if (def->op == OP_and) {
    for (int k = 0; k < 2; k++) mask_by(g, s, def->in[k], out);
    return;
  }
  check(holds_everywhere(g, condition, &holds));
  if (!holds) return;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b);
  guard w = nv_guard(g, LLVMBuildNot(b, holds, ""));
  lval *masked = arena_array(g->arena, lval, sh.nregs);
  make_waiting(g, condition);
  for (int r = 0; r < sh.nregs; r++) {
    nv_enter(g, &sh, r);
    lval seen = nv_at(g, condition), none = nv_at(g, s->in[2]);
    masked[r] = out[r] && seen && none ? LLVMBuildSelect(b, seen, out[r], none, "") : NULL;
  }
  LLVMBasicBlockRef inside = LLVMGetInsertBlock(b);
  nv_guard_end(g, w);
  for (int r = 0; r < sh.nregs; r++) {
    if (!masked[r] || masked[r] == out[r]) continue;
    lval phi = LLVMBuildPhi(b, LLVMTypeOf(out[r]), ""), values[] = {out[r], masked[r]};
    LLVMAddIncoming(phi, values, (LLVMBasicBlockRef[]){before, inside}, 2);
    out[r] = phi;
  }
}

void nv_mask(ngen *g, const tstmt *s) {
  shape sh = nv_shape_of(g, s->out[0]);
  lval *out = nv_define(g, s->out[0]);
  for (int r = 0; r < sh.nregs; r++) {
    nv_enter(g, &sh, r);
    out[r] = nv_at(g, s->in[1]);
  }
  mask_by(g, s, s->in[0], out);
  int left = 0;
  for (int i = 0; i < g->waiting.len; i++)
    if (!is_made_of(g, s->in[0], g->waiting.data[i])) g->waiting.data[left++] = g->waiting.data[i];
  g->waiting.len = left;
}
