// Loops and ifs: structured tile IR to blocks and phis. All threads of a block take the same way.
//
//   loop T:1024 over a size N       for (i = 0; i < N / 1024; i++) body       all positions valid
//                                   if (N % 1024) body                        tests per register
//
// A walk along rows of odd length starts early, so that its vectors are aligned in memory:
//
//   base = -(offset of the row % 64)         the first positions, of the row before, are invalid
//
// One step is straight code. Bodies with dots are long and are made once, with tests.
#include "base/fault.h"
#include "codegen/nvptx/pipeline.h"

enum { ALIGN_BYTES = 128 };

typedef struct walk {
  const tstmt *s;
  bool early;      // starts up to 127 positions before 0
  ix start;
  int64_t length;  // known: >= 0
  lval dynamic;    // else the length, i32
  int64_t most;    // an upper bound of the steps, for the range of the counter
  lval *carry;
  int ncarry;
  pipe *pipe;      // null: a plain loop
} walk;

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
    bool local = (s->kind == TILE_LOAD || s->kind == TILE_STORE) && g->k->bufs.data[s->buf].local;
    if (local && s->kind == TILE_LOAD) g->locals[s->buf].read = true;
    if (local && s->kind == TILE_STORE) g->locals[s->buf].written = true;
    mark_accesses(g, s->body);
    mark_accesses(g, s->other);
  }
}

// ---- carried values

static int regs_of(ngen *g, const tval *t) { return nv_shape_of(g, t).nregs; }

static int count_regs(ngen *g, tval *const *values, int n) {
  int total = 0;
  for (int i = 0; i < n; i++) total += regs_of(g, values[i]);
  return total;
}

static void carry_set(ngen *g, lval *carry, tval *const *values, int n) {
  int at = 0;
  for (int i = 0; i < n; i++)
    for (int r = 0; r < regs_of(g, values[i]); r++) {
      lval v = g->regs[values[i]->id][r];
      carry[at++] = v ? v : LLVMGetPoison(emit_type(g->e, values[i]->type, 0));
    }
}

static void carry_get(ngen *g, const lval *carry, tval *const *values, int n) {
  int at = 0;
  for (int i = 0; i < n; i++) {
    lval *regs = nv_define(g, values[i]);
    for (int r = 0; r < regs_of(g, values[i]); r++) regs[r] = carry[at++];
  }
}

static void merge(ngen *g, lval *carry, int n, const lval *other, LLVMBasicBlockRef from,
                  LLVMBasicBlockRef other_from) {
  for (int i = 0; i < n; i++) {
    if (carry[i] == other[i]) continue;
    lval phi = LLVMBuildPhi(g->e->builder, LLVMTypeOf(carry[i]), "");
    lval values[] = {carry[i], other[i]};
    LLVMBasicBlockRef blocks[] = {from, other_from};
    LLVMAddIncoming(phi, values, blocks, 2);
    carry[i] = phi;
  }
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

/// Scratch of reductions may be read until here and written by whoever comes next.
static void settle_scratch(ngen *g) {
  if (g->scratch_used) nv_barrier(g);
  g->scratch_used = false;
}

/// The element offset of a global access, over kernel axes, without indirect parts.
static ix row_offset(ngen *g, const tstmt *s) {
  const tile_buf *t = &g->k->bufs.data[s->buf];
  ix sum = ix_const(&g->ix, 0);
  for (int i = 0; i < t->rank; i++)
    sum = ix_add(&g->ix, sum, ix_mul(&g->ix, s->ix[i], t->strides[i]));
  return sum;
}

static void run_in_range(ngen *g, walk *w, range *r) {
  const tstmt *s = w->s;
  g->ranges[s->axis] = r;
  int outside = g->layout, n;
  if (s->layout) g->layout = s->layout;
  if (!g->producing) carry_get(g, w->carry, s->body->params, s->body->nparams);
  if (w->pipe) pipeline_step(g, w->pipe, r->index);
  else nv_region(g, s->body);
  tval *const *yields = tregion_yields(s->body, &n);
  check(n == s->nin);
  if (!g->producing) carry_set(g, w->carry, yields, n);
  g->layout = outside;
  g->ranges[s->axis] = r->outer;
}

static void run_step(ngen *g, walk *w, ix base, bool whole, lval index, lval count) {
  const tstmt *s = w->s;
  range r = {.outer = g->ranges[s->axis], .axis = s->axis, .extent = s->extent, .base = base};
  r.whole = whole;
  r.index = index;
  r.count = count;
  r.early = w->early && LLVMIsConstant(index);
  if (r.early) r.most = (int64_t)LLVMConstIntGetZExtValue(index) * s->extent;
  r.least = r.most - (ALIGN_BYTES - 1);
  run_in_range(g, w, &r);
}

typedef struct counted {
  lval n;          // steps, i32
  bool maybe_none;
  bool whole;
  lval count;      // of the whole walk
  lval last;       // reverse: number of the last step
  int copies;      // steps per iteration; divides n
} counted;

static void counted_loop(ngen *g, walk *w, counted c) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef skip = NULL, before = LLVMGetInsertBlock(b), header = nv_block(g);
  lval *inits = arena_copy(g->arena, w->carry, sizeof(lval) * (size_t)w->ncarry);
  LLVMBasicBlockRef entry = before;
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
  for (int copy = 0; copy < c.copies; copy++) {
    lval index = copy ? LLVMBuildNSWAdd(b, i, i32_of(g, copy), "") : i;
    ix root;
    if (w->s->reverse) {
      root = nv_root(g, LLVMBuildNSWSub(b, c.last, index, ""), 1, ix_const(&g->ix, w->most));
    } else {
      root = copy ? ix_add(&g->ix, nv_root(g, i, 1, ix_const(&g->ix, w->most)), ix_const(&g->ix, copy))
                  : nv_root(g, i, 1, ix_const(&g->ix, w->most));
    }
    ix base = ix_add(&g->ix, w->start, ix_scale(&g->ix, root, w->s->extent));
    run_step(g, w, base, c.whole, index, c.count);
  }
  settle_scratch(g);
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
  merge(g, w->carry, w->ncarry, inits, after, before);
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
      ix base = ix_add(&g->ix, w->start, ix_const(&g->ix, at * e));
      run_step(g, w, base, at < full, i32_of(g, i), count);
    }
    close_pipe(g, w);
    return;
  }
  bool together = tail && (s->reverse || w->pipe || region_has_dot(s->body));
  int64_t n = together ? steps : full;
  int copies = s->unroll > 1 && n % s->unroll == 0 ? s->unroll : 1;
  w->most = steps;
  counted c = {i32_of(g, n), false, !together, count, i32_of(g, n - 1), copies};
  if (n) counted_loop(g, w, c);
  if (tail && !together)
    run_step(g, w, ix_add(&g->ix, w->start, ix_const(&g->ix, full * e)), false, i32_of(g, full), count);
  close_pipe(g, w);
}

// ---- rows that start anywhere

/// The access that decides: a store, else a load, with unit stride along the axis.
static const tstmt *deciding_access(ngen *g, const tregion *r, int axis, const tstmt *best) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    best = deciding_access(g, s->body, axis, best);
    best = deciding_access(g, s->other, axis, best);
    if (s->kind != TILE_LOAD && s->kind != TILE_STORE) continue;
    const tile_buf *t = &g->k->bufs.data[s->buf];
    if (t->local || s->guard || t->rank < 2) continue;
    ix coef, rest, offset = row_offset(g, s);
    int64_t one;
    if (!ix_affine(&g->ix, offset, axis, &coef, &rest)) continue;
    if (!ix_is_const(&g->ix, coef, &one) || one != 1) continue;
    if (!best || (best->kind == TILE_LOAD && s->kind == TILE_STORE)) best = s;
  }
  return best;
}

/// The alignment in elements: 128 bytes, less where a walk of one step would become two; 0 none.
static int early_alignment(const tstmt *s, int run, int bytes, int64_t length) {
  int align = ALIGN_BYTES / bytes;
  if (length > s->extent) return s->extent % align == 0 ? align : 0;
  while (align >= run && length + align - 1 > s->extent) align /= 2;
  return align >= run ? align : 0;
}

/// Where the walk starts instead of 0; 0 when it need not, or rows differ within a thread.
static ix early_start(ngen *g, const tstmt *s, int64_t length) {
  const spread *on = spread_of(g, s->axis, s->extent);
  if (s->reverse || s->stages > 1 || on->run < 2 || !on->layout) return 0;
  const tstmt *access = deciding_access(g, s->body, s->axis, NULL);
  if (!access) return 0;
  const tile_buf *t = &g->k->bufs.data[access->buf];
  int align = early_alignment(s, on->run, dtype_bytes(t->type), length), n = g->k->axes.len;
  if (!align) return 0;
  ix *by = arena_array(g->arena, ix, n + 1), row = row_offset(g, access);
  for (int axis = 0; axis < n; axis++) {
    if (!ix_uses_axis(&g->ix, row, axis)) continue;
    if (axis == s->axis) {
      by[axis] = ix_const(&g->ix, 0);
      continue;
    }
    ix coef, rest;
    if (ix_affine(&g->ix, row, axis, &coef, &rest) && ix_divisor(&g->ix, coef) % align == 0) {
      by[axis] = ix_const(&g->ix, 0);  // the same start suits all positions
      continue;
    }
    if (!g->ranges[axis] || spread_of(g, axis, g->ranges[axis]->extent)->nregs != 1) return 0;
    g->at[axis] = 0;
    by[axis] = nv_coordinate(g, axis);
  }
  row = ix_substitute(&g->ix, &g->ix, row, by, n);
  int64_t divisor = ix_divisor(&g->ix, row);
  if (divisor % on->run == 0) return 0;
  ix down = ix_scale(&g->ix, ix_div(&g->ix, row, ix_const(&g->ix, align)), align);
  return ix_sub(&g->ix, down, row);
}

/// The first step and the last ones with tests, those between without.
static void early_walk(ngen *g, walk *w, ix start) {
  const tstmt *s = w->s;
  int64_t e = s->extent, steps = w->length <= e ? 1 : (w->length + ALIGN_BYTES - 1 + e - 1) / e;
  int64_t inner = w->length / e;
  lval count = i32_of(g, steps);
  w->early = true;
  w->start = start;
  w->most = steps;
  if (inner < 3) inner = 1;
  run_step(g, w, start, false, i32_of(g, 0), count);
  if (inner > 1) {
    walk between = *w;
    between.start = ix_add(&g->ix, start, ix_const(&g->ix, e));
    counted c = {i32_of(g, inner - 1), false, true, count, NULL, 1};
    counted_loop(g, &between, c);
  }
  for (int64_t i = inner; i < steps; i++)
    run_step(g, w, ix_add(&g->ix, start, ix_const(&g->ix, i * e)), false, i32_of(g, i), count);
}

static void dynamic_walk(ngen *g, walk *w) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *s = w->s;
  lval e = i32_of(g, s->extent), none = i32_of(g, 0);
  lval up = LLVMBuildNSWAdd(b, w->dynamic, i32_of(g, s->extent - 1), "");
  lval steps = LLVMBuildSDiv(b, up, e, "");
  lval last = LLVMBuildNSWSub(b, steps, i32_of(g, 1), "");
  open_pipe(g, w, steps, s->extent == 1);
  if (s->reverse || s->extent == 1 || w->pipe || region_has_dot(s->body)) {
    counted c = {steps, true, s->extent == 1, steps, last, 1};
    counted_loop(g, w, c);
    close_pipe(g, w);
    return;
  }
  lval full = LLVMBuildSDiv(b, w->dynamic, e, "");
  counted c = {full, true, true, steps, last, 1};
  counted_loop(g, w, c);
  lval left = LLVMBuildICmp(b, LLVMIntSGT, LLVMBuildSRem(b, w->dynamic, e, ""), none, "");
  lval *before = arena_copy(g->arena, w->carry, sizeof(lval) * (size_t)w->ncarry);
  LLVMBasicBlockRef from = LLVMGetInsertBlock(b);
  guard t = nv_guard(g, left);
  mark_accesses(g, s->body);
  settle_scratch(g);
  ix root = nv_root(g, full, 1, ix_const(&g->ix, w->most));
  run_step(g, w, ix_add(&g->ix, w->start, ix_scale(&g->ix, root, s->extent)), false, full, steps);
  settle_scratch(g);
  LLVMBasicBlockRef end = LLVMGetInsertBlock(b);
  nv_guard_end(g, t);
  merge(g, w->carry, w->ncarry, before, end, from);
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

void nv_loop(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  const range *outer = g->ranges[s->axis];
  ix size = g->k->axes.data[s->axis].size;
  walk w = {.s = s, .start = outer ? outer->base : ix_const(&g->ix, 0), .pipe = pipeline_of(g, s)};
  w.ncarry = g->producing ? 0 : count_regs(g, s->in, s->nin);
  w.carry = arena_array(g->arena, lval, w.ncarry);
  if (!g->producing) carry_set(g, w.carry, s->in, s->nin);
  ix left = ix_sub(&g->ix, size, w.start);
  int64_t n;
  if (outer && s->extent == outer->extent && !w.pipe) {
    run_whole_range(g, &w);
    if (!g->producing) carry_get(g, w.carry, s->out, s->nout);
    return;
  }
  bool known = ix_is_const(&g->ix, left, &n);
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
    int64_t most = bounds.max > INT32_MAX ? INT32_MAX : bounds.max;
    w.dynamic = nv_ix32(g, left);
    if (outer) {
      lval extent = i32_of(g, outer->extent);
      lval less = LLVMBuildICmp(b, LLVMIntSLT, w.dynamic, extent, "");
      w.dynamic = LLVMBuildSelect(b, less, w.dynamic, extent, "");
      if (most > outer->extent) most = outer->extent;
    }
    w.most = most / s->extent + 1;
    dynamic_walk(g, &w);
  }
  if (!g->producing) carry_get(g, w.carry, s->out, s->nout);
}

// ---- ifs

static lval condition(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  if (s->cond == COND_ANY || s->cond == COND_ALL) return nv_condition(g, s);
  const range *r = g->ranges[s->axis];
  check(r);
  if (!r->index) return emit_int(g->e->i1, 1);
  if (s->cond == COND_FIRST) return LLVMBuildICmp(b, LLVMIntEQ, r->index, i32_of(g, 0), "");
  lval last = LLVMBuildNSWSub(b, r->count, i32_of(g, 1), "");
  return LLVMBuildICmp(b, LLVMIntEQ, r->index, last, "");
}

static lval *run_arm(ngen *g, const tregion *r, int n, int nregs) {
  if (!r) return NULL;  // no else: nothing is done and nothing results
  int mark = scope_open(g), found;
  nv_region(g, r);
  tval *const *yields = tregion_yields(r, &found);
  check(found == n);
  lval *carry = arena_array(g->arena, lval, nregs);
  carry_set(g, carry, yields, n);
  settle_scratch(g);
  scope_close(g, mark);
  return carry;
}

void nv_if(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  lval yes = condition(g, s);
  int nregs = count_regs(g, s->out, s->nout);
  if (LLVMIsConstant(yes) && LLVMIsAConstantInt(yes)) {
    const tregion *arm = LLVMConstIntGetZExtValue(yes) ? s->body : s->other;
    lval *carry = run_arm(g, arm, s->nout, nregs);
    carry_get(g, carry, s->out, s->nout);
    return;
  }
  settle_scratch(g);
  LLVMBasicBlockRef then = nv_block(g), other = nv_block(g), after = nv_block(g);
  LLVMBuildCondBr(b, yes, then, other);
  // What either arm accesses counts at the start of both, and after them.
  mark_accesses(g, s->body);
  mark_accesses(g, s->other);
  LLVMPositionBuilderAtEnd(b, then);
  lval *carry = run_arm(g, s->body, s->nout, nregs);
  LLVMBasicBlockRef then_end = LLVMGetInsertBlock(b);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, other);
  mark_accesses(g, s->body);
  mark_accesses(g, s->other);
  lval *carry2 = run_arm(g, s->other, s->nout, nregs);
  LLVMBasicBlockRef other_end = LLVMGetInsertBlock(b);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  merge(g, carry, nregs, carry2, then_end, other_end);
  mark_accesses(g, s->body);
  mark_accesses(g, s->other);
  carry_get(g, carry, s->out, s->nout);
}
