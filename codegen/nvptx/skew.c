// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps that overlap:
//
//   loop T carry %o = %0 { a; %s = dot ..; b; %d = dot .. %p, .. %q; yield %d }        skew
//
//   a s b of step 0      | step i: a s of i, d of i - 1, b of i | d of the last step
//
// so that the products of two steps are under way together while b waits for the first only. What d
// and what follows it take from the statements before is carried; of rows in registers, the words.
// Each part is made in the range, and sees the buffers, of its own step: which waits arise where
// follows from that (pending.h, ring.h).
#include "base/fault.h"
#include "codegen/nvptx/walk.h"

typedef struct halves {
  tile_halves at;  // [from, issued), [issued, cut): the head; [cut, end): the tail
  const tregion *body;
  int end;
  vec(tval *) between;      // what the tail takes from the head
  vec(const tstmt *) rows;  // dots of the tail that take rows in registers from it: their words
} halves;

static bool is_made_in(const tstmt *s, const tval *v) {
  for (int k = 0; k < s->nout; k++)
    if (s->out[k] == v) return true;
  return false;
}

static bool is_of_head(const halves *h, const tval *v) {
  for (int i = 0; i < h->body->nparams; i++)
    if (h->body->params[i] == v) return true;
  for (int i = h->at.from; i < h->at.cut; i++)
    if (is_made_in(h->body->stmts.data[i], v)) return true;
  return false;
}

static void add_between(ngen *g, halves *h, tval *v) {
  for (int i = 0; i < h->between.len; i++)
    if (h->between.data[i] == v) return;
  if (is_of_head(h, v)) vec_push(g->arena, &h->between, v);
}

/// True: the words of its rows are carried.
static bool add_rows(ngen *g, halves *h, const tstmt *dot) {
  const tval *rows = dot->kind == TILE_DOT ? tensor_rows_from(g, dot) : NULL;
  if (!rows || !is_of_head(h, rows)) return false;
  for (int i = 0; i < h->rows.len; i++)
    if (tensor_rows_from(g, h->rows.data[i]) == rows) return true;
  vec_push(g->arena, &h->rows, dot);
  return true;
}

/// What a unit reads where it lies is no value, nor is a cast that only dots read.
static void find_between(ngen *g, halves *h, const tstmt *s) {
  if (tensor_reads_in_place(g, s)) return;
  bool tensor = s->kind == TILE_DOT && unit_is_tensor(s->unit), rows = add_rows(g, h, s);
  for (int k = 0; k < s->nin; k++) {
    bool placed = tensor && k < 2 && g->in_place[s->in[k]->id];
    if (!placed && !(rows && k == 0)) add_between(g, h, s->in[k]);
  }
  const tregion *inside[] = {s->body, s->other};
  for (int k = 0; k < 2; k++)
    for (int i = 0; inside[k] && i < inside[k]->stmts.len; i++)
      find_between(g, h, inside[k]->stmts.data[i]);
}

static void halves_of(ngen *g, const walk *w, halves *h) {
  *h = (halves){.body = w->s->body, .end = w->s->body->stmts.len};
  check(tile_split_steps(h->body, &h->at) && h->at.from == w->pipe->first);
  for (int i = h->at.cut; i < h->end; i++) find_between(g, h, h->body->stmts.data[i]);
}

// ---- what is carried between the halves

typedef struct parcel {
  lval *values;
  int n;
} parcel;

/// Words of the i-th rows are at[i] ... at[i + 1].
static int *word_places(ngen *g, const halves *h, int first) {
  int *at = arena_array(g->arena, int, h->rows.len + 1);
  at[0] = first;
  for (int i = 0; i < h->rows.len; i++) {
    const tval *rows = tensor_rows_from(g, h->rows.data[i]);
    at[i + 1] = at[i] + nv_shape_of(g, rows).nregs / 2;
  }
  return at;
}

/// From the head of the step that is open.
static parcel parcel_pack(ngen *g, const halves *h) {
  int first = carry_count(g, h->between.data, h->between.len), at = 0;
  int *words = word_places(g, h, first);
  parcel p = {.n = words[h->rows.len]};
  p.values = arena_array(g->arena, lval, p.n);
  for (int i = 0; i < h->between.len; i++) {
    const tval *v = h->between.data[i];
    shape sh = nv_shape_of(g, v);
    for (int r = 0; r < sh.nregs; r++) {
      nv_enter(g, &sh, r);
      lval x = nv_at(g, v);
      p.values[at++] = x ? x : LLVMGetPoison(emit_type(g->e, v->type, 0));
    }
  }
  for (int i = 0; i < h->rows.len; i++) {
    int n;
    lval *fragments = tensor_row_words(g, h->rows.data[i], &n);
    check(n == words[i + 1] - words[i]);
    for (int k = 0; k < n; k++) p.values[words[i] + k] = fragments[k];
  }
  flight_land_all(g);
  return p;
}

static void give_words(ngen *g, const halves *h, const lval *values) {
  int *at = word_places(g, h, carry_count(g, h->between.data, h->between.len));
  for (int i = 0; i < h->rows.len; i++) {
    int n = at[i + 1] - at[i];
    lval *words = values ? arena_copy(g->arena, values + at[i], sizeof *words * (size_t)n) : NULL;
    tensor_give_rows(g, tensor_rows_from(g, h->rows.data[i]), words);
  }
}

// ---- parts of steps

/// Statements [from, to) of walk_step s, and with `out` what its tail takes, while its range tells which
/// lanes are invalid.
static void run_part(ngen *g, walk *w, const halves *h, walk_step s, int from, int to,
                     parcel *out) {
  range r = step_range(g, w, &s);
  g->ranges[w->s->axis] = &r;
  pipeline_enter(g, w->pipe, s.index);
  for (int i = h->at.from; i < h->end; i++)
    if (h->body->stmts.data[i]->kind == TILE_LOCAL)
      local_enter_step(g, h->body->stmts.data[i]->buf);
  nv_statements(g, h->body, from, to);
  if (out) *out = parcel_pack(g, h);
  g->ranges[w->s->axis] = r.outer;
}

/// The head up to its first dot, then, in its turn, `tail` of the step before, then the rest.
static void run_first_part(ngen *g, walk *w, const halves *h, walk_step s) {
  run_part(g, w, h, s, h->at.from, h->at.issued, NULL);
}

static parcel run_second_part(ngen *g, walk *w, const halves *h, walk_step s) {
  parcel p;
  run_part(g, w, h, s, h->at.issued, h->at.cut, &p);
  return p;
}

/// What the step yields becomes what the next one is given, where it is under way as well.
static void yields_to_params(ngen *g, const tregion *body) {
  int n;
  tval *const *yields = tregion_yields(body, &n);
  lval **params = arena_array(g->arena, lval *, n);
  for (int i = 0; i < n; i++) {
    size_t nregs = (size_t)nv_shape_of(g, yields[i]).nregs;
    params[i] = arena_copy(g->arena, g->regs[yields[i]->id], sizeof(lval) * nregs);
  }
  for (int i = 0; i < n; i++) {
    lval *regs = nv_define(g, body->params[i]);
    for (int r = 0; r < nv_shape_of(g, body->params[i]).nregs; r++) regs[r] = params[i][r];
    flight_name(g, yields[i], body->params[i]);
  }
}

/// With what the step's head gave. What the head of another step has given since stays.
static void run_tail(ngen *g, walk *w, const halves *h, const lval *values, walk_step s) {
  int n = h->between.len;
  lval **fresh = arena_array(g->arena, lval *, n);
  flight **under_way = arena_array(g->arena, flight *, n);
  for (int i = 0; i < n; i++) {
    fresh[i] = g->regs[h->between.data[i]->id];
    under_way[i] = g->in_flight[h->between.data[i]->id];
  }
  carry_get(g, values, h->between.data, n);
  give_words(g, h, values);
  run_part(g, w, h, s, h->at.cut, h->end, NULL);
  give_words(g, h, NULL);
  yields_to_params(g, h->body);
  for (int i = 0; i < n; i++) {
    g->regs[h->between.data[i]->id] = fresh[i];
    if (under_way[i]) flight_resume(g, h->between.data[i], under_way[i]);
  }
}

// ---- the loop

bool walk_overlaps(const ngen *g, const walk *w) {
  return w->s->skew && w->pipe && g->specialised && !g->producing;
}

/// A step after the first: its head around the tail of the step before, which `values` are for.
static parcel run_turn(ngen *g, walk *w, const counted *c, const halves *h, lval i,
                       const lval *values) {
  bool whole = c->whole || w->s->reverse;  // what is partial comes first
  lval before = LLVMBuildNSWSub(g->e->builder, i, i32_of(g, 1), "");
  walk_step now = step_of(g, w, c, i, 1, whole);
  turn_take(g, w->s);
  run_first_part(g, w, h, now);
  run_tail(g, w, h, values, step_of(g, w, c, before, 0, c->whole));
  turn_give(g, w->s);
  return run_second_part(g, w, h, now);
}

/// Steps 1 ... n - 1, from the parcel of step 0 to that of the last one, in its place.
static void overlapping_steps(ngen *g, walk *w, const counted *c, const halves *h, parcel *p) {
  LLVMBuilderRef b = g->e->builder;
  lval one = i32_of(g, 1), *phis = arena_array(g->arena, lval, p->n);
  LLVMBasicBlockRef entry = LLVMGetInsertBlock(b), header = nv_block(g), after = nv_block(g);
  const uint8_t *around = accesses_now(g);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSGT, c->n, one, ""), header, after);
  LLVMPositionBuilderAtEnd(b, header);
  int mark = scope_open(g);
  lval i = LLVMBuildPhi(b, g->e->i32, ""), zero_outside = g->hidden_zero;
  LLVMAddIncoming(i, &one, &entry, 1);
  for (int k = 0; k < p->n; k++) {
    phis[k] = LLVMBuildPhi(b, LLVMTypeOf(p->values[k]), "");
    LLVMAddIncoming(phis[k], &p->values[k], &entry, 1);
  }
  bool was_in_loop = g->in_loop;
  g->in_loop = true;
  g->hidden_zero = LLVMBuildAnd(b, zero_outside, i, "");
  parcel latest = run_turn(g, w, c, h, i, phis);
  settle_scratch(g);
  g->hidden_zero = zero_outside;
  g->in_loop = was_in_loop;
  lval next = LLVMBuildNSWAdd(b, i, one, "");
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(b);
  LLVMAddIncoming(i, &next, &latch, 1);
  for (int k = 0; k < p->n; k++) LLVMAddIncoming(phis[k], &latest.values[k], &latch, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, c->n, ""), header, after);
  LLVMPositionBuilderAtEnd(b, after);
  scope_close(g, mark);
  accesses_join(g, around);
  carry_merge(g, p->values, p->n, latest.values, entry, latch);
}

static parcel run_first_head(ngen *g, walk *w, const counted *c, const halves *h) {
  walk_step first = step_of(g, w, c, i32_of(g, 0), 0, c->whole);
  turns_begin(g, w->s);
  run_first_part(g, w, h, first);
  turn_give(g, w->s);
  return run_second_part(g, w, h, first);
}

static void run_last_tail(ngen *g, walk *w, const counted *c, const halves *h, const lval *values) {
  lval last = LLVMBuildNSWSub(g->e->builder, c->n, i32_of(g, 1), "");
  turn_take(g, w->s);
  run_tail(g, w, h, values, step_of(g, w, c, last, 0, c->whole));
  turn_give(g, w->s);
  carry_set(g, w->carry, h->body->params, h->body->nparams);
  flight_land_all(g);
  turns_end(g, w->s);
}

void skewed_loop(ngen *g, walk *w, counted c) {
  LLVMBuilderRef b = g->e->builder;
  halves h;
  halves_of(g, w, &h);
  LLVMBasicBlockRef skip = NULL, before = LLVMGetInsertBlock(b);
  lval *inits = arena_copy(g->arena, w->carry, sizeof(lval) * (size_t)w->ncarry);
  const uint8_t *around = accesses_now(g);
  if (c.maybe_none) {
    LLVMBasicBlockRef some = nv_block(g);
    skip = nv_block(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSGT, c.n, i32_of(g, 0), ""), some, skip);
    LLVMPositionBuilderAtEnd(b, some);
  }
  int mark = scope_open(g);
  mark_accesses(g, h.body);
  settle_scratch(g);
  carry_get(g, inits, h.body->params, h.body->nparams);
  parcel p = run_first_head(g, w, &c, &h);
  overlapping_steps(g, w, &c, &h, &p);
  run_last_tail(g, w, &c, &h, p.values);
  LLVMBasicBlockRef end = LLVMGetInsertBlock(b);
  scope_close(g, mark);
  if (!c.maybe_none) return;
  LLVMBuildBr(b, skip);
  LLVMPositionBuilderAtEnd(b, skip);
  accesses_join(g, around);
  carry_merge(g, w->carry, w->ncarry, inits, end, before);
}
