// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loops and ifs: structured tile IR to blocks and phis.
//
//   loop T:16 over a size N          full = N - N % 16
//                                    for (t = 0; t < full; t += 16) body         all lanes valid
//                                    if (full < N) body with N - full valid lanes
//
// Loops are do-while behind a test, so that nothing runs for sizes of 0, and what is carried stays
// in registers. Short loops of known length are straight code.
#include "base/fault.h"
#include "codegen/cpu/cpu.h"

typedef struct walk {
  const tstmt *s;
  ix base;           // coordinate where the walk starts
  bool known;
  int64_t total;     // known: length of the walk
  lval end;          // the length as an i64
  int64_t multiple;  // known divisor of the length
  ix steps;          // an upper bound of the number of steps, for ranges of counters
  lval *carry;       // registers of the carried values, one after the other
  int ncarry;
} walk;

int64_t common_divisor(int64_t a, int64_t b) { return b ? common_divisor(b, a % b) : a; }

// ---- carried values

static int regs_of(const kgen *g, const tval *t) {
  shape s = tile_shape(g, t);
  return shape_regs(&s);
}

static void carry_set(kgen *g, walk *w, tval *const *values) {
  int at = 0;
  for (int i = 0; i < w->s->nout; i++)
    for (int r = 0; r < regs_of(g, values[i]); r++)
      w->carry[at++] = reg_or_poison(g, values[i], g->regs[values[i]->id][r]);
}

static void carry_get(kgen *g, const walk *w, tval *const *values) {
  int at = 0;
  for (int i = 0; i < w->s->nout; i++) {
    lval *regs = tile_define(g, values[i]);
    for (int r = 0; r < regs_of(g, values[i]); r++) regs[r] = w->carry[at++];
  }
}

static lval *carry_copy(kgen *g, const walk *w) {
  return arena_copy(g->arena, w->carry, sizeof(lval) * (size_t)w->ncarry);
}

static LLVMBasicBlockRef here(kgen *g) { return LLVMGetInsertBlock(g->e->builder); }

/// Phis of what comes from two blocks; constants that agree stay.
static void carry_merge(kgen *g, walk *w, const lval *other, LLVMBasicBlockRef from,
                        LLVMBasicBlockRef other_from) {
  for (int i = 0; i < w->ncarry; i++) {
    if (w->carry[i] == other[i]) continue;
    lval phi = LLVMBuildPhi(g->e->builder, LLVMTypeOf(other[i]), "");
    lval values[] = {w->carry[i], other[i]};
    LLVMBasicBlockRef blocks[] = {from, other_from};
    LLVMAddIncoming(phi, values, blocks, 2);
    w->carry[i] = phi;
  }
}

// ---- steps

/// The body once. The caller filled in how much of the range is valid.
static void run_step(kgen *g, walk *w, range *r) {
  const tregion *body = w->s->body;
  r->end = w->end;
  r->reverse = w->s->reverse;
  carry_get(g, w, body->params);
  gen_region(g, body);
  int n;
  tval *const *yields = tregion_yields(body, &n);
  check(n == w->s->nout);
  carry_set(g, w, yields);
  range_close(g, r);
}

static void step_known(kgen *g, walk *w, int64_t at, int64_t count) {
  const tstmt *s = w->s;
  range *r = range_open(g, s->axis, s->extent, ix_add(&g->ix, w->base, ix_const(&g->ix, at)));
  if (count < s->extent) r->valid = VALID_FIRST;
  r->count = count;
  r->position = int64(g, at);
  run_step(g, w, r);
}

typedef struct loop {
  LLVMBasicBlockRef header;
  lval counter, from, to;
  lval *phis;
  int64_t stride;
} loop;

/// for (counter = from; counter < to; counter += stride), which runs at least once.
static loop loop_open(kgen *g, walk *w, lval from, lval to, int64_t stride) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef before = here(g);
  loop l = {.header = block_new(g), .from = from, .to = to, .stride = stride};
  lval first = w->s->reverse ? LLVMBuildNSWSub(b, to, int64(g, stride), "") : from;
  LLVMBuildBr(b, l.header);
  LLVMPositionBuilderAtEnd(b, l.header);
  l.counter = LLVMBuildPhi(b, g->e->i64, "");
  LLVMAddIncoming(l.counter, &first, &before, 1);
  for (int i = 0; i < w->ncarry; i++) {
    lval phi = LLVMBuildPhi(b, LLVMTypeOf(w->carry[i]), "");
    LLVMAddIncoming(phi, &w->carry[i], &before, 1);
    w->carry[i] = phi;
  }
  l.phis = carry_copy(g, w);
  level_open_at(g, l.header);
  return l;
}

static void loop_close(kgen *g, walk *w, loop *l) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef latch = here(g), after = block_new(g);
  bool reverse = w->s->reverse;
  lval next = LLVMBuildNSWAdd(b, l->counter, int64(g, reverse ? -l->stride : l->stride), "");
  lval more = reverse ? LLVMBuildICmp(b, LLVMIntSGT, l->counter, l->from, "")
                      : LLVMBuildICmp(b, LLVMIntSLT, next, l->to, "");
  LLVMBuildCondBr(b, more, l->header, after);
  LLVMAddIncoming(l->counter, &next, &latch, 1);
  for (int i = 0; i < w->ncarry; i++) LLVMAddIncoming(l->phis[i], &w->carry[i], &latch, 1);
  LLVMPositionBuilderAtEnd(b, after);
  level_close(g);
}

/// Full steps over [from, to), `copies` per turn; from and to are multiples of copies * extent.
static void full_steps(kgen *g, walk *w, lval from, lval to, int copies) {
  const tstmt *s = w->s;
  int64_t stride = (int64_t)s->extent * copies;
  loop l = loop_open(g, w, from, to, stride);
  ix turns = ix_div(&g->ix, ix_add(&g->ix, w->steps, ix_const(&g->ix, copies - 1)),
                    ix_const(&g->ix, copies));
  ix turn = root_new(g, l.counter, stride, g->levels.len - 1, turns);
  ix start = ix_add(&g->ix, w->base, ix_scale(&g->ix, turn, stride));
  for (int c = 0; c < copies; c++) {
    int64_t ahead = (int64_t)(s->reverse ? copies - 1 - c : c) * s->extent;
    range *r = range_open(g, s->axis, s->extent, ix_add(&g->ix, start, ix_const(&g->ix, ahead)));
    r->position = l.counter;
    r->ahead = ahead;
    run_step(g, w, r);
  }
  loop_close(g, w, &l);
}

// ---- walks of known length

static void known_full_steps(kgen *g, walk *w, int64_t first, int64_t count, int copies) {
  int extent = w->s->extent;
  if (count > copies) {
    full_steps(g, w, int64(g, first * extent), int64(g, (first + count) * extent), copies);
    return;
  }
  for (int64_t i = 0; i < count; i++) {
    int64_t at = w->s->reverse ? first + count - 1 - i : first + i;
    step_known(g, w, at * extent, extent);
  }
}

static void walk_known(kgen *g, walk *w) {
  int extent = w->s->extent, copies = w->s->unroll > 1 ? w->s->unroll : 1;
  int64_t full = w->total / extent, tail = w->total % extent, main = full - full % copies;
  if (w->s->reverse) {
    if (tail) step_known(g, w, full * extent, tail);
    known_full_steps(g, w, main, full - main, 1);
    known_full_steps(g, w, 0, main, copies);
    return;
  }
  known_full_steps(g, w, 0, main, copies);
  known_full_steps(g, w, main, full - main, 1);
  if (tail) step_known(g, w, full * extent, tail);
}

// ---- walks of a length known at run time

typedef struct branch {
  LLVMBasicBlockRef before, after;
  lval *carry;
} branch;

static branch branch_open(kgen *g, walk *w, lval from, lval to) {
  LLVMBuilderRef b = g->e->builder;
  branch br = {.before = here(g), .after = block_new(g), .carry = carry_copy(g, w)};
  LLVMBasicBlockRef body = block_new(g);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, from, to, ""), body, br.after);
  LLVMPositionBuilderAtEnd(b, body);
  return br;
}

static void branch_close(kgen *g, walk *w, branch *br) {
  LLVMBasicBlockRef from = here(g);
  LLVMBuildBr(g->e->builder, br->after);
  LLVMPositionBuilderAtEnd(g->e->builder, br->after);
  carry_merge(g, w, br->carry, from, br->before);
}

static void full_steps_if_any(kgen *g, walk *w, lval from, lval to, int copies) {
  branch br = branch_open(g, w, from, to);
  full_steps(g, w, from, to, copies);
  branch_close(g, w, &br);
}

static void tail_step(kgen *g, walk *w, lval full) {
  const tstmt *s = w->s;
  branch br = branch_open(g, w, full, w->end);
  level_open(g);
  int at = g->levels.len - 1;
  ix turn = root_new(g, full, s->extent, at, w->steps);
  range *r = range_open(g, s->axis, s->extent,
                        ix_add(&g->ix, w->base, ix_scale(&g->ix, turn, s->extent)));
  r->valid = s->extent == 2 ? VALID_FIRST : VALID_ASK;  // part of two is one
  r->count = 1;
  r->limit = LLVMBuildNSWSub(level_builder(g, at), w->end, full, "");
  r->multiple = common_divisor(w->multiple, s->extent);
  r->position = full;
  g->tails++;
  run_step(g, w, r);
  g->tails--;
  level_close(g);
  branch_close(g, w, &br);
}

static lval rounded_down(kgen *g, lval x, int64_t to) {
  if (to == 1) return x;
  LLVMBuilderRef b = g->e->builder;
  return LLVMBuildNSWSub(b, x, LLVMBuildURem(b, x, int64(g, to), ""), "");
}

static void walk_asked(kgen *g, walk *w) {
  const tstmt *s = w->s;
  int copies = s->unroll > 1 ? s->unroll : 1;
  bool exact = w->multiple % s->extent == 0;
  bool whole = w->multiple % ((int64_t)s->extent * copies) == 0;
  lval full = exact ? w->end : rounded_down(g, w->end, s->extent);
  lval main = whole         ? w->end
              : copies == 1 ? full
                            : rounded_down(g, w->end, (int64_t)s->extent * copies);
  if (s->reverse) {
    if (!exact) tail_step(g, w, full);
    if (copies > 1 && !whole) full_steps_if_any(g, w, main, full, 1);
    full_steps_if_any(g, w, int64(g, 0), main, copies);
    return;
  }
  full_steps_if_any(g, w, int64(g, 0), main, copies);
  if (copies > 1 && !whole) full_steps_if_any(g, w, main, full, 1);
  if (!exact) tail_step(g, w, full);
}

/// A loop with one copy of its body, in which every step may be short; whole ones may have code of
/// their own within it.
static void walk_ranges(kgen *g, walk *w, bool whole_too) {
  const tstmt *s = w->s;
  LLVMBuilderRef b = g->e->builder;
  lval steps = LLVMBuildNSWAdd(b, w->end, int64(g, s->extent - 1), "");
  lval end = rounded_down(g, steps, s->extent);
  branch br = branch_open(g, w, int64(g, 0), end);
  loop l = loop_open(g, w, int64(g, 0), end, s->extent);
  int at = g->levels.len - 1;
  ix turn = root_new(g, l.counter, s->extent, at, w->steps);
  range *r = range_open(g, s->axis, s->extent,
                        ix_add(&g->ix, w->base, ix_scale(&g->ix, turn, s->extent)));
  LLVMBuilderRef header = level_builder(g, at);
  lval left = LLVMBuildNSWSub(header, w->end, l.counter, "");
  lval some = LLVMBuildICmp(header, LLVMIntSLT, left, int64(g, s->extent), "");
  r->valid = VALID_ASK;
  r->limit = LLVMBuildSelect(header, some, left, int64(g, s->extent), "");
  r->multiple = common_divisor(w->multiple, s->extent);
  r->whole_too = whole_too;
  r->position = l.counter;
  run_step(g, w, r);
  loop_close(g, w, &l);
  branch_close(g, w, &br);
}

// ---- the statement

static ix step_count(kgen *g, ix length, int extent) {
  ix up = ix_add(&g->ix, length, ix_const(&g->ix, extent - 1));
  return ix_div(&g->ix, up, ix_const(&g->ix, extent));
}

/// Of two i64s.
static lval larger(LLVMBuilderRef b, lval x, lval y) {
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, x, y, ""), x, y, "");
}

static lval smaller(LLVMBuilderRef b, lval x, lval y) {
  return LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSLT, x, y, ""), x, y, "");
}

/// The first position of a step at or after i64 `at`.
static lval step_after(kgen *g, const tstmt *s, lval at) {
  LLVMBuilderRef b = level_builder(g, g->levels.len - 1);
  at = LLVMBuildNSWAdd(b, larger(b, at, int64(g, 0)), int64(g, s->extent - 1), "");
  return LLVMBuildNSWSub(b, at, LLVMBuildURem(b, at, int64(g, s->extent), ""), "");
}

/// The same, of a bound at the bases of the open ranges.
static lval step_at(kgen *g, const tstmt *s, ix bound) {
  int n = g->k->axes.len;
  ix *by = arena_array(g->arena, ix, n + 1);
  for (int axis = 0; axis < n; axis++)
    if (g->ranges[axis]) by[axis] = g->ranges[axis]->base;
  return step_after(g, s, ix_value(g, ix_substitute(&g->ix, &g->ix, bound, by, n)));
}

/// Where what the loop is within begins and ends, at 0 or after it.
static lval within_at(kgen *g, const tstmt *s, int which) {
  lval at = g->regs[s->in[s->nout + which]->id][0];
  LLVMBuilderRef b = level_builder(g, g->levels.len - 1);
  return larger(b, LLVMBuildSExt(b, at, g->e->i64, ""), int64(g, 0));
}

/// Cuts the walk of a whole axis off at the loop's bounds.
static void set_bounds(kgen *g, walk *w) {
  const tstmt *s = w->s;
  int level = g->levels.len - 1;
  lval end = w->end, first = s->from ? step_at(g, s, s->from) : NULL;
  if (s->below) {
    lval limit = step_at(g, s, s->below);
    end = smaller(level_builder(g, level), end, limit);
  }
  if (s->within) {
    lval low = within_at(g, s, 0), high = within_at(g, s, 1);
    LLVMBuilderRef b = level_builder(g, level);
    high = step_after(g, s, smaller(b, high, w->end));
    end = smaller(b = level_builder(g, level), end, high);
    low = LLVMBuildNSWSub(b, low, LLVMBuildURem(b, low, int64(g, s->extent), ""), "");
    first = first ? larger(b, first, low) : low;
  }
  if (first) {
    ix most = ix_add(&g->ix, w->steps, ix_const(&g->ix, 1));
    LLVMBuilderRef b = level_builder(g, level);
    first = smaller(b, first, step_at(g, s, g->k->axes.data[s->axis].size));
    end = larger(b, LLVMBuildNSWSub(b, end, first, ""), int64(g, 0));
    w->base = ix_scale(&g->ix, root_new(g, first, s->extent, level, most), s->extent);
  }
  w->known = false;
  w->end = end;
  w->multiple = common_divisor(w->multiple, s->extent);
}

/// What the loop walks: the range around it, or the whole axis.
static walk walk_of(kgen *g, const tstmt *s) {
  walk w = {.s = s, .base = ix_const(&g->ix, 0), .multiple = 1};
  range *r = g->ranges[s->axis];
  ix size = g->k->axes.data[s->axis].size;
  if (r) {
    w.base = r->base;
    w.known = r->valid != VALID_ASK;
    w.total = r->valid == VALID_FIRST ? r->count : r->extent;
    w.end = w.known ? int64(g, w.total) : r->limit;
    w.multiple = w.known ? w.total : r->multiple;
    w.steps = ix_const(&g->ix, (r->extent + s->extent - 1) / s->extent);
    return w;
  }
  w.known = ix_is_const(&g->ix, size, &w.total);
  w.end = ix_value(g, size);
  w.multiple = ix_divisor(&g->ix, size);
  w.steps = step_count(g, size, s->extent);
  if (s->from || s->below || s->within) set_bounds(g, &w);
  return w;
}

/// A dot in the region itself sums over the axis.
static bool reduces_along(const tregion *r, int axis) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; s->kind == TILE_DOT && k < s->naxes; k++)
      if (s->axes[k] == axis) return true;
  }
  return false;
}

/// Code so long, within a straight loop or by many loops, that LLVM's time for a second copy is
/// worse than masks in every step, which cost nothing with AVX-512; but whole vectors past the
/// caches have no masks.
static bool is_long(const kgen *g, const tregion *r) {
  enum { LONG_BODY = 40 };
  if (!g->e->avx512 || (r->stmts.len < LONG_BODY && !g->e->is_long)) return false;
  for (int i = 0; i < r->stmts.len; i++)
    if (r->stmts.data[i]->body || r->stmts.data[i]->nontemporal) return false;
  return true;
}

void gen_loop(kgen *g, const tstmt *s) {
  if (s->within) level_open(g);  // where its values are
  walk w = walk_of(g, s);
  int outer_vec_axis = g->vec_axis;
  for (int i = 0; i < s->nout; i++) w.ncarry += regs_of(g, s->in[i]);
  w.carry = arena_array(g->arena, lval, w.ncarry);
  carry_set(g, &w, s->in);
  if (s->vec && g->lanes > 1) g->vec_axis = s->axis;
  bool exact = w.multiple % s->extent == 0;
  bool short_walk = w.known && w.total <= s->extent;
  bool only_cuts = !region_works_along(g->k, s->body, s->axis, s->extent);
  // Of the innermost loop of a contraction a part is cheap, and a test in every step is not.
  bool shared = one_version(g, s->body, s->axis) && !reduces_along(s->body, s->axis);
  bool long_body = shared || (s->stage && g->tails);
  bool straight = is_long(g, s->body) && s->unroll <= 1;
  bool one = only_cuts || (!w.known && (long_body || straight));
  if (!exact && !short_walk && one && !s->reverse) walk_ranges(g, &w, !straight);
  else if (w.known) walk_known(g, &w);
  else walk_asked(g, &w);
  g->vec_axis = outer_vec_axis;
  carry_get(g, &w, s->out);
  if (s->within) level_close(g);
}

static bool has_along(tval *const *values, int n, int axis, int extent) {
  for (int i = 0; i < n; i++)
    if (tval_extent(values[i], axis) == extent) return true;
  return false;
}

static bool stmt_works_along(const kernel *k, const tstmt *s, int axis, int extent) {
  if (has_along(s->in, s->nin, axis, extent)) return true;
  if (has_along(s->out, s->nout, axis, extent)) return true;
  for (int d = 0; s->kind == TILE_STORE && d < s->nix; d++)
    if (ix_uses_axis(&k->ix, s->ix[d], axis)) return true;
  return false;
}

bool region_works_along(const kernel *k, const tregion *r, int axis, int extent) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (stmt_works_along(k, s, axis, extent)) return true;
    if (s->kind == TILE_LOOP && s->axis == axis) continue;
    if (s->body && region_works_along(k, s->body, axis, extent)) return true;
    if (s->other && region_works_along(k, s->other, axis, extent)) return true;
  }
  return false;
}

static bool has_dot(const tregion *r) {
  if (!r) return false;
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_DOT || has_dot(s->body) || has_dot(s->other)) return true;
  }
  return false;
}

bool one_version(const kgen *g, const tregion *r, int axis) {
  // without AVX-512 masks are vectors, and registers for them are missing in the inner loop
  return (g->e->avx512 || axis != g->vec_axis) && has_dot(r);
}
