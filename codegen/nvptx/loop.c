// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loops: structured tile IR to blocks and phis. All threads of a block take the same way.
//
//   loop T:1024 over a size N       for (i = 0; i < N / 1024; i++) body       all positions valid
//                                   if (N % 1024) body                        tests per register
//
// One step is straight code. Bodies with dots are long and are made once, with tests.
#include "base/fault.h"
#include "codegen/nvptx/ring.h"
#include "codegen/nvptx/walk.h"

bool region_has_dot(const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_DOT || region_has_dot(s->body) || region_has_dot(s->other)) return true;
  }
  return false;
}

void mark_accesses(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_LOAD) g->locals[s->buf].read = true;
    if (s->kind == TILE_STORE) g->locals[s->buf].written = true;
    mark_accesses(g, s->body);
    mark_accesses(g, s->other);
  }
}

enum { WRITTEN = 1, READ = 2 };

uint8_t *accesses_now(ngen *g) {
  uint8_t *now = arena_array(g->arena, uint8_t, g->k->bufs.len + 1);
  for (int i = 0; i < g->k->bufs.len; i++)
    now[i] = (uint8_t)((g->locals[i].written ? WRITTEN : 0) | (g->locals[i].read ? READ : 0));
  return now;
}

void accesses_join(ngen *g, const uint8_t *accesses) {
  for (int i = 0; i < g->k->bufs.len; i++) {
    g->locals[i].written |= (accesses[i] & WRITTEN) != 0;
    g->locals[i].read |= (accesses[i] & READ) != 0;
  }
}

void accesses_set(ngen *g, const uint8_t *accesses) {
  for (int i = 0; i < g->k->bufs.len; i++) g->locals[i].written = g->locals[i].read = false;
  accesses_join(g, accesses);
}

// ---- steps

static void open_pipe(ngen *g, walk *w, lval steps, bool whole) {
  if (!w->pipe) return;
  w->pipe->start = w->start;
  w->pipe->steps = steps;
  w->pipe->whole = whole;
  pipeline_open(g, w->pipe);
}

static void close_pipe(ngen *g, walk *w) {
  if (w->pipe) pipeline_close(g, w->pipe);
}

static void run_in_range(ngen *g, walk *w, range *r) {
  const tstmt *s = w->s;
  g->ranges[s->axis] = r;
  int outside = g->layout, n;
  int64_t top = g->shared_top;
  if (s->layout) g->layout = s->layout;
  if (!g->producing) carry_get(g, w->carry, s->body->params, s->body->nparams);
  for (int i = 0; w->one && i < s->nout; i++) flight_name(g, s->in[i], s->body->params[i]);
  if (w->pipe) pipeline_step(g, w->pipe, r->index);
  else nv_region(g, s->body);
  tval *const *yields = tregion_yields(s->body, &n);
  check(n == s->nout);
  if (w->one) carry_set_one(g, w->carry, yields, n);
  else if (!g->producing) carry_set(g, w->carry, yields, n);
  g->layout = outside;
  g->ranges[s->axis] = r->outer;
  shared_release(g, top);
}

range step_range(ngen *g, const walk *w, const walk_step *s) {
  const tstmt *loop = w->s;
  range r = {.outer = g->ranges[loop->axis], .axis = loop->axis, .extent = loop->extent};
  r.base = s->base;
  r.whole = s->whole;
  r.index = s->index;
  r.count = s->count;
  r.early = w->early && LLVMIsConstant(s->index);
  if (r.early) r.most = (int64_t)LLVMConstIntGetZExtValue(s->index) * loop->extent;
  r.least = r.most - (ALIGN_BYTES - 1);
  return r;
}

void run_step(ngen *g, walk *w, walk_step s) {
  range r = step_range(g, w, &s);
  run_in_range(g, w, &r);
}

static ix base_of(ngen *g, const walk *w, ix number) {
  return ix_add(&g->ix, w->start, ix_scale(&g->ix, number, w->s->extent));
}

/// The base counted down from that of the first step, so that conditions on it can be decided.
static ix base_from_last(ngen *g, const walk *w, lval index, int least) {
  ix before = ix_const(&g->ix, least);
  if (!LLVMIsConstant(index)) {
    lval more = LLVMBuildNSWSub(g->e->builder, index, i32_of(g, least), "");
    before = ix_add(&g->ix, nv_root(g, more, 1, ix_const(&g->ix, w->most)), before);
  } else {
    before = ix_const(&g->ix, (int64_t)LLVMConstIntGetZExtValue(index));
  }
  return ix_sub(&g->ix, w->last, ix_scale(&g->ix, before, w->s->extent));
}

walk_step step_of(ngen *g, const walk *w, const counted *c, lval index, int least, bool whole) {
  walk_step s = {.whole = whole, .index = index, .count = c->count};
  if (w->last) {
    s.base = base_from_last(g, w, index, least);
    return s;
  }
  lval number = w->s->reverse ? LLVMBuildNSWSub(g->e->builder, c->last, index, "") : index;
  s.base = base_of(g, w, nv_root(g, number, 1, ix_const(&g->ix, w->most)));
  return s;
}

/// Of one of the copies of the body that make an iteration.
static walk_step copied_step(ngen *g, const walk *w, const counted *c, lval i, int copy) {
  if (!copy) return step_of(g, w, c, i, 0, c->whole);
  lval index = LLVMBuildNSWAdd(g->e->builder, i, i32_of(g, copy), "");
  if (w->s->reverse) return step_of(g, w, c, index, 0, c->whole);
  ix number = ix_add(&g->ix, nv_root(g, i, 1, ix_const(&g->ix, w->most)), ix_const(&g->ix, copy));
  return (walk_step){base_of(g, w, number), c->whole, index, c->count};
}

/// All threads wait for one another at the start of a step, in the next one for readers of this one too.
static bool begins_with_barrier(const ngen *g, const walk *w) { return w->pipe && !g->specialised; }

void counted_loop(ngen *g, walk *w, counted c) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef skip = NULL, before = LLVMGetInsertBlock(b), header = nv_block(g);
  lval *inits = arena_copy(g->arena, w->carry, sizeof(lval) * (size_t)w->ncarry);
  LLVMBasicBlockRef entry = before;
  const uint8_t *around = accesses_now(g);
  if (c.maybe_none) {
    LLVMBasicBlockRef some = nv_block(g);
    skip = nv_block(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSGT, c.n, i32_of(g, 0), ""), some, skip);
    LLVMPositionBuilderAtEnd(b, some);
    entry = some;
  }
  LLVMBuildBr(b, header);
  LLVMPositionBuilderAtEnd(b, header);
  int mark = scope_open(g);
  lval i = LLVMBuildPhi(b, g->e->i32, ""), zero = i32_of(g, 0);
  LLVMAddIncoming(i, &zero, &entry, 1);
  lval *phis = arena_array(g->arena, lval, w->ncarry);
  for (int k = 0; k < w->ncarry; k++) {
    phis[k] = LLVMBuildPhi(b, LLVMTypeOf(inits[k]), "");
    LLVMAddIncoming(phis[k], &inits[k], &entry, 1);
    w->carry[k] = phis[k];
  }
  mark_accesses(g, w->s->body);
  settle_scratch(g);
  lval zero_outside = g->hidden_zero;
  bool was_in_loop = g->in_loop;
  g->in_loop = true;
  g->hidden_zero = LLVMBuildAnd(b, zero_outside, i, "");
  for (int copy = 0; copy < c.copies; copy++) run_step(g, w, copied_step(g, w, &c, i, copy));
  flight_land_all(g);
  if (!begins_with_barrier(g, w)) settle_scratch(g);
  g->hidden_zero = zero_outside;
  g->in_loop = was_in_loop;
  lval next = LLVMBuildNSWAdd(b, i, i32_of(g, c.copies), "");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(b), after = nv_block(g);
  LLVMAddIncoming(i, &next, &latch, 1);
  for (int k = 0; k < w->ncarry; k++) LLVMAddIncoming(phis[k], &w->carry[k], &latch, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, c.n, ""), header, after);
  LLVMPositionBuilderAtEnd(b, after);
  scope_close(g, mark);
  if (!c.maybe_none) return;
  LLVMBuildBr(b, skip);
  LLVMPositionBuilderAtEnd(b, skip);
  accesses_join(g, around);
  carry_merge(g, w->carry, w->ncarry, inits, after, before);
}

static void some_steps(ngen *g, walk *w, counted c) {
  if (walk_overlaps(g, w)) skewed_loop(g, w, c);
  else counted_loop(g, w, c);
}

static void known_walk(ngen *g, walk *w) {
  const tstmt *s = w->s;
  int64_t e = s->extent, full = w->length / e, steps = (w->length + e - 1) / e;
  bool tail = w->length % e != 0;
  lval count = i32_of(g, steps);
  bool straight = steps <= 1 || steps <= s->unroll;
  open_pipe(g, w, count, !tail);
  if (straight) {
    for (int64_t i = 0; i < steps; i++) {
      int64_t at = s->reverse ? steps - 1 - i : i;
      ix base = base_of(g, w, ix_const(&g->ix, at));
      run_step(g, w, (walk_step){base, at < full, i32_of(g, i), count});
    }
    close_pipe(g, w);
    return;
  }
  bool together = tail && (s->reverse || w->pipe || region_has_dot(s->body));
  int64_t n = together ? steps : full;
  int copies = s->unroll > 1 && n % s->unroll == 0 ? s->unroll : 1;
  w->most = steps;
  counted c = {i32_of(g, n), false, !together, count, i32_of(g, n - 1), copies};
  if (n) some_steps(g, w, c);
  ix end = base_of(g, w, ix_const(&g->ix, full));
  if (tail && !together) run_step(g, w, (walk_step){end, false, i32_of(g, full), count});
  close_pipe(g, w);
}

static void dynamic_walk(ngen *g, walk *w) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *s = w->s;
  lval e = i32_of(g, s->extent), none = i32_of(g, 0);
  lval up = LLVMBuildNSWAdd(b, w->dynamic, i32_of(g, s->extent - 1), "");
  lval steps = LLVMBuildSDiv(b, up, e, "");
  lval last = LLVMBuildNSWSub(b, steps, i32_of(g, 1), "");
  bool whole = s->extent == 1 || (w->whole && w->pipe && g->specialised);
  open_pipe(g, w, steps, whole);
  if (s->reverse || s->extent == 1 || w->pipe || region_has_dot(s->body)) {
    // Without the way around, a short loop would be unrolled otherwise than it was tuned for.
    counted c = {steps, !w->some || !s->skew, whole, steps, last, 1};
    some_steps(g, w, c);
    close_pipe(g, w);
    return;
  }
  lval full = LLVMBuildSDiv(b, w->dynamic, e, "");
  counted c = {full, true, true, steps, last, 1};
  counted_loop(g, w, c);
  lval left = LLVMBuildICmp(b, LLVMIntSGT, LLVMBuildSRem(b, w->dynamic, e, ""), none, "");
  lval *before = arena_copy(g->arena, w->carry, sizeof(lval) * (size_t)w->ncarry);
  LLVMBasicBlockRef from = LLVMGetInsertBlock(b);
  const uint8_t *around = accesses_now(g);
  guard t = nv_guard(g, left);
  mark_accesses(g, s->body);
  settle_scratch(g);
  ix root = nv_root(g, full, 1, ix_const(&g->ix, w->most));
  run_step(g, w, (walk_step){base_of(g, w, root), false, full, steps});
  settle_scratch(g);
  LLVMBasicBlockRef end = LLVMGetInsertBlock(b);
  nv_guard_end(g, t);
  accesses_join(g, around);
  carry_merge(g, w->carry, w->ncarry, before, end, from);
}

/// A loop in steps as long as the range that is open: one step, the range itself.
static void run_whole_range(ngen *g, walk *w) {
  range *outer = g->ranges[w->s->axis], r = *outer;
  r.outer = outer;
  if (!r.whole && g->in_loop) r.hidden = g->hidden_zero;
  r.index = i32_of(g, 0);
  r.count = i32_of(g, 1);
  run_in_range(g, w, &r);
}

// ---- the statement

/// An upper bound of the steps of a walk of at most so many positions.
static int64_t most_steps(const tstmt *s, int64_t positions) {
  return (positions > INT32_MAX ? INT32_MAX : positions) / s->extent + 1;
}

/// The base of the last step that `below` allows, where the range of another axis of the same size
/// ends there, and so comes before the end of this one. 0: not known.
static ix last_base(ngen *g, const tstmt *s, ix below) {
  ix base = ix_sub(&g->ix, below, ix_const(&g->ix, s->extent));
  if (ix_divisor(&g->ix, base) % s->extent) return 0;
  for (int axis = 0; axis < g->k->axes.len; axis++) {
    const range *r = g->ranges[axis];
    bool alike =
        r && axis != s->axis && g->k->axes.data[axis].size == g->k->axes.data[s->axis].size;
    if (alike && base == r->base) return base;
  }
  return 0;
}

static lval larger(ngen *g, lval a, lval b) {
  LLVMBuilderRef e = g->e->builder;
  return LLVMBuildSelect(e, LLVMBuildICmp(e, LLVMIntSGT, a, b, ""), a, b, "");
}

/// Steps that begin before a bound.
static lval steps_before(ngen *g, const tstmt *s, lval bound) {
  LLVMBuilderRef b = g->e->builder;
  lval up = LLVMBuildNSWAdd(b, bound, i32_of(g, s->extent - 1), "");
  return larger(g, LLVMBuildSDiv(b, up, i32_of(g, s->extent), ""), i32_of(g, 0));
}

/// What the loop is within, from 0 on, as i32s.
static void find_within(ngen *g, const tstmt *s, lval at[2]) {
  LLVMBuilderRef b = g->e->builder;
  for (int i = 0; i < 2 && !g->producing; i++) {
    const tval *v = s->in[s->nout + i];
    at[i] = nv_at(g, v);
    lval none = LLVMConstNull(LLVMTypeOf(at[i])), most = emit_int(LLVMTypeOf(at[i]), INT32_MAX);
    at[i] = larger(g, at[i], none);
    if (v->type != DT_i64) continue;
    lval less = LLVMBuildICmp(b, LLVMIntSLT, at[i], most, "");
    at[i] = LLVMBuildTrunc(b, LLVMBuildSelect(b, less, at[i], most, ""), g->e->i32, "");
  }
  if (g->specialised && producers_walk(g, s)) rings_pass_within(g, s, at);
}

/// Cuts the walk off before step `end`.
static void end_walk(ngen *g, walk *w, lval end) {
  LLVMBuilderRef b = g->e->builder;
  lval limit = LLVMBuildNSWMul(b, end, i32_of(g, w->s->extent), "");
  lval less = LLVMBuildICmp(b, LLVMIntSLT, limit, w->dynamic, "");
  w->dynamic = LLVMBuildSelect(b, less, limit, w->dynamic, "");
}

/// Cuts the walk of a whole axis off at the loop's bounds.
static void set_bounds(ngen *g, walk *w, int64_t most) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *s = w->s;
  w->some = w->whole = false;
  lval first = NULL, within[2];
  if (s->within) find_within(g, s, within);
  if (s->below) {
    ix below = nv_at_bases(g, s->below);
    end_walk(g, w, steps_before(g, s, nv_ix32(g, below)));
    if (s->reverse && !s->within) w->last = last_base(g, s, below);
  }
  if (s->from) first = steps_before(g, s, nv_ix32(g, nv_at_bases(g, s->from)));
  if (s->within) {
    lval less = LLVMBuildICmp(b, LLVMIntSLT, within[1], w->dynamic, "");
    end_walk(g, w, steps_before(g, s, LLVMBuildSelect(b, less, within[1], w->dynamic, "")));
    lval low = LLVMBuildSDiv(b, within[0], i32_of(g, s->extent), "");
    first = first ? larger(g, first, low) : low;
  }
  if (first) {
    w->start = ix_scale(&g->ix, nv_root(g, first, 1, ix_const(&g->ix, most)), s->extent);
    lval left_out = LLVMBuildNSWMul(b, first, i32_of(g, s->extent), "");
    w->dynamic = larger(g, LLVMBuildNSWSub(b, w->dynamic, left_out, ""), i32_of(g, 0));
  }
  w->some = w->last && !first;
}

static bool has_bounds(const tstmt *s) { return s->from || s->below || s->within; }

/// `left`: from where the walk starts to the end of the axis.
static void walk_unknown(ngen *g, walk *w, const range *outer, ix left) {
  LLVMBuilderRef b = g->e->builder;
  ix_range bounds = ix_bounds(&g->ix, left);
  int64_t most = bounds.max, divisor = ix_divisor(&g->ix, left);
  w->dynamic = nv_ix32(g, left);
  w->whole = divisor && divisor % w->s->extent == 0;
  w->some = bounds.min >= 1;
  if (outer) {
    lval extent = i32_of(g, outer->extent);
    lval less = LLVMBuildICmp(b, LLVMIntSLT, w->dynamic, extent, "");
    w->dynamic = LLVMBuildSelect(b, less, w->dynamic, extent, "");
    if (most > outer->extent) most = outer->extent;
  }
  w->most = most_steps(w->s, most);
  if (has_bounds(w->s)) set_bounds(g, w, w->most);
  dynamic_walk(g, w);
}

/// What is carried out of the loop.
static void finish(ngen *g, const walk *w) {
  const tstmt *s = w->s;
  int n;
  if (g->producing) return;
  carry_get(g, w->carry, s->out, s->nout);
  tval *const *yields = tregion_yields(s->body, &n);
  for (int i = 0; w->one && i < n; i++) flight_name(g, yields[i], s->out[i]);
}

void nv_loop(ngen *g, const tstmt *s) {
  const range *outer = g->ranges[s->axis];
  ix size = g->k->axes.data[s->axis].size;
  walk w = {.s = s, .start = outer ? outer->base : ix_const(&g->ix, 0), .pipe = pipeline_of(g, s)};
  w.ncarry = g->producing ? 0 : carry_count(g, s->in, s->nout);
  w.carry = arena_array(g->arena, lval, w.ncarry);
  ix left = ix_sub(&g->ix, size, w.start);
  int64_t n;
  bool itself = outer && s->extent == outer->extent && !w.pipe;
  bool known = ix_is_const(&g->ix, left, &n) && !has_bounds(s);
  w.one = !g->producing && (itself || (!outer && !w.pipe && known && n > 0 && n <= s->extent));
  if (!w.one) flight_land_all(g);
  if (w.one) carry_set_one(g, w.carry, s->in, s->nout);
  else if (!g->producing) carry_set(g, w.carry, s->in, s->nout);
  if (itself) {
    run_whole_range(g, &w);
    finish(g, &w);
    return;
  }
  ix_range bounds = ix_bounds(&g->ix, left);
  if (outer && (outer->whole || bounds.min >= outer->extent)) {
    w.length = outer->extent;
    known_walk(g, &w);
  } else if (known) {
    w.length = n < 0 ? 0 : outer && n > outer->extent ? outer->extent : n;
    ix start = outer || !n ? 0 : early_start(g, s, w.length);
    if (start) early_walk(g, &w, start);
    else known_walk(g, &w);
  } else {
    walk_unknown(g, &w, outer, left);
  }
  finish(g, &w);
}
