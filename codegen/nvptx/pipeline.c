// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loops with stages, filled by all threads; see pipeline.h for the picture.
#include "codegen/nvptx/pipeline.h"

#include "base/fault.h"
#include "codegen/nvptx/pending.h"
#include "codegen/nvptx/ptx.h"
#include "codegen/nvptx/ring.h"

// ---- finding them

static bool uses_value(const tregion *r, const tval *v) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; k < s->nin; k++)
      if (s->in[k] == v) return true;
    if (uses_value(s->body, v) || uses_value(s->other, v)) return true;
  }
  return false;
}

/// A stage loop that needs nothing from other steps.
static bool fills_ahead(const tstmt *loop, const tstmt *s) {
  if (s->kind != TILE_LOOP || !s->stage || s->nin) return false;
  for (int i = 0; i < loop->body->nparams; i++)
    if (uses_value(s->body, loop->body->params[i])) return false;
  return true;
}

/// The loop's locals and stage loops, which come first; null when there are none.
static pipe *pipe_new(ngen *g, const tstmt *s) {
  pipe *p = arena_new(g->arena, pipe);
  *p = (pipe){.loop = s};
  for (; p->first < s->body->stmts.len; p->first++) {
    const tstmt *t = s->body->stmts.data[p->first];
    if (p->nlocals == MAX_FILLS || p->nfills == MAX_FILLS) return NULL;
    if (t->kind == TILE_LOCAL) p->locals[p->nlocals++] = t->buf;
    else if (fills_ahead(s, t)) p->fills[p->nfills++] = t;
    else break;
  }
  return p->nfills && p->nlocals ? p : NULL;
}

static void scan_region(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    pipe *p = s->kind == TILE_LOOP && s->stages > 1 ? pipe_new(g, s) : NULL;
    if (p) vec_push(g->arena, &g->pipes, p);
    scan_region(g, s->body);
    scan_region(g, s->other);
  }
}

bool producers_walk(ngen *g, const tstmt *s) {
  return pipeline_of(g, s) || (s->kind == TILE_LOOP && pipeline_inside(g, s->body));
}

bool pipeline_inside(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (pipeline_of(g, s) || pipeline_inside(g, s->body) || pipeline_inside(g, s->other))
      return true;
  }
  return false;
}

/// Producers walk loops, not ifs, and one pipe is not inside another.
static bool producers_can_follow(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool nested = pipeline_of(g, s) && pipeline_inside(g, s->body);
    if (nested ||
        (s->kind == TILE_IF && (pipeline_inside(g, s->body) || pipeline_inside(g, s->other))))
      return false;
    if (!producers_can_follow(g, s->body)) return false;
  }
  return true;
}

/// Bytes of on-chip buffers that no ring has.
static int64_t other_bytes(const ngen *g) {
  int64_t bytes = 0, dims[MAX_AXES], strides[MAX_AXES], panel;
  for (int i = g->k->nargs; i < g->k->bufs.len; i++) {
    const tile_buf *t = &g->k->bufs.data[i];
    bool known = true;
    for (int n = 0; n < g->rings.len; n++)
      for (int k = 0; k < g->rings.data[n]->nfills; k++)
        known &= g->rings.data[n]->copies[k].store->buf != i;
    for (int d = 0; d < t->rank; d++) known &= ix_is_const(&g->k->ix, t->dims[d], &dims[d]);
    if (known) bytes += tile_buf_strides(t, dims, strides, &panel) * dtype_bytes(t->type);
  }
  return bytes;
}

/// Where shared memory has room for the staging.
static void plan_writebacks(ngen *g) {
  enum { BESIDES = 4 << 10 };
  int maps = g->maps.len;
  writeback_plan(g);
  int64_t others = g->adds.len ? other_bytes(g) + g->adds_bytes : 0;
  if (ring_bytes(g) + others + g->staging_bytes + BESIDES <= g->e->target->shared_per_block) return;
  g->writebacks.len = 0;
  g->maps.len = g->map_axes.len = maps;
  g->staging_bytes = 0;
}

void pipeline_scan(ngen *g) {
  const kernel *k = g->k;
  scan_region(g, &k->body);
  g->specialised = g->pipes.len && k->producer_warps > 0 && ptx_has(g->e, PTX_SETMAXNREG) &&
                   producers_can_follow(g, &k->body);
  for (int i = 0; g->specialised && i < g->pipes.len; i++)
    g->specialised = ring_plan(g, g->pipes.data[i]);
  if (g->specialised) {
    ring_plan_once(g, &k->body);
    ring_plan_within(g, &k->body);
  }
  else g->maps.len = g->map_axes.len = g->rings.len = 0;
  adds_plan(g);
  bool one_step = !g->pipes.len && region_has_tensor_dot(&k->body, DOT_WGMMA);
  if (g->specialised || one_step) plan_writebacks(g);
}

pipe *pipeline_of(ngen *g, const tstmt *s) {
  for (int i = 0; i < g->pipes.len; i++)
    if (g->pipes.data[i]->loop == s) return g->pipes.data[i];
  return NULL;
}

// ---- pipeline stages

/// Statements that follow see copy `slot` of the buffers, at the ranges as they are.
static void enter_copy(ngen *g, pipe *p, lval slot) {
  for (int i = 0; i < p->nlocals; i++) {
    local_place *l = &g->locals[p->locals[i]];
    local_enter_step(g, p->locals[i]);
    l->copy = LLVMBuildMul(g->e->builder, slot, i32_of(g, l->bytes), "");
    l->written = l->read = false;
  }
}

static lval slot_of(ngen *g, const pipe *p, lval step) {
  lval before = g->specialised ? rings_filled_before(g, p) : NULL;
  if (before) step = LLVMBuildAdd(g->e->builder, before, step, "");
  return LLVMBuildURem(g->e->builder, step, i32_of(g, p->loop->stages), "");
}

/// The range of a step that is filled ahead, where there is such a step.
typedef struct ahead {
  range r;
  guard exists;
} ahead;

static void ahead_open(ngen *g, pipe *p, lval index, ahead *a) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *s = p->loop;
  a->exists = nv_guard(g, LLVMBuildICmp(b, LLVMIntSLT, index, p->steps, ""));
  lval number = index;
  if (s->reverse) {
    lval last = LLVMBuildNSWSub(b, p->steps, i32_of(g, 1), "");
    number = LLVMBuildNSWSub(b, last, index, "");
  }
  ix size = g->k->axes.data[s->axis].size;
  ix most = ix_add(&g->ix, ix_div(&g->ix, size, ix_const(&g->ix, s->extent)), ix_const(&g->ix, 1));
  ix step = nv_root(g, number, 1, most);
  ix base = ix_add(&g->ix, p->start, ix_scale(&g->ix, step, s->extent));
  a->r = (range){g->ranges[s->axis], s->axis, s->extent, base, p->whole, index, p->steps};
  g->ranges[s->axis] = &a->r;
  enter_copy(g, p, slot_of(g, p, index));
}

static void ahead_close(ngen *g, pipe *p, ahead *a) {
  g->ranges[p->loop->axis] = a->r.outer;
  nv_guard_end(g, a->exists);
}

/// A stage loop of one step that loads, computes and stores, without control flow.
static bool can_be_late(ngen *g, const tstmt *fill) {
  const tregion *r = fill->body;
  const range *now = g->ranges[fill->axis];
  if (!now || now->extent != fill->extent) return false;
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    bool local = (s->kind == TILE_LOAD || s->kind == TILE_STORE) && g->k->bufs.data[s->buf].local;
    bool load = s->kind == TILE_LOAD && !local && !s->nin, store = s->kind == TILE_STORE && local;
    bool map = s->kind == TILE_MAP || s->kind == TILE_CONST || s->kind == TILE_SIZE ||
               s->kind == TILE_INDEX;
    if (!load && !map && !store) return false;
  }
  return true;
}

/// The loads of a fill, or all but those.
static tregion part_of(ngen *g, const tstmt *fill, bool loads) {
  tregion part = {0};
  for (int i = 0; i < fill->body->stmts.len; i++) {
    tstmt *s = fill->body->stmts.data[i];
    if ((s->kind == TILE_LOAD) == loads) vec_push(g->arena, &part.stmts, s);
  }
  return part;
}

static int enter_layout(ngen *g, const tstmt *loop) {
  int outside = g->layout;
  if (loop->layout) g->layout = loop->layout;
  return outside;
}

/// Decides which fills are finished late: those that pass registers, while there are enough.
static void choose_late(ngen *g, pipe *p, bool late) {
  enum { MOST_REGISTERS = 64 };
  int used = 0;
  for (int i = 0; i < p->nfills; i++) {
    const tstmt *f = p->fills[i];
    p->late[i] = late && can_be_late(g, f);
    if (!p->late[i]) continue;
    int outside = enter_layout(g, f), n = 0;
    tregion loads = part_of(g, f, true);
    for (int k = 0; k < loads.stmts.len; k++)
      n += nv_shape_of(g, loads.stmts.data[k]->out[0]).nregs;
    p->late[i] = used + n <= MOST_REGISTERS && !nv_copy_async(g, f->body, true);
    if (p->late[i]) used += n;
    g->layout = outside;
  }
}

/// Registers that were made inside of the guard, known after it.
static void carry_out(ngen *g, const tval *v, LLVMBasicBlockRef before, LLVMBasicBlockRef inside) {
  lval *regs = g->regs[v->id];
  for (int r = 0; r < nv_shape_of(g, v).nregs; r++) {
    if (!regs[r] || LLVMIsConstant(regs[r])) continue;
    lval phi = LLVMBuildPhi(g->e->builder, LLVMTypeOf(regs[r]), "");
    lval values[] = {LLVMGetPoison(LLVMTypeOf(regs[r])), regs[r]};
    LLVMAddIncoming(phi, values, (LLVMBasicBlockRef[]){before, inside}, 2);
    regs[r] = phi;
  }
}

/// Fills the copy of a step; of what is finished late, only loads.
static void fill(ngen *g, pipe *p, lval index, bool late) {
  ahead a;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(g->e->builder);
  ahead_open(g, p, index, &a);
  choose_late(g, p, late);
  g->filling = true;
  for (int i = 0; i < p->nfills; i++)
    if (!p->late[i]) nv_loop(g, p->fills[i]);
  g->filling = false;
  for (int i = 0; i < p->nfills; i++) {
    if (!p->late[i]) continue;
    int outside = enter_layout(g, p->fills[i]);
    tregion loads = part_of(g, p->fills[i], true);
    nv_region(g, &loads);
    g->layout = outside;
  }
  LLVMBasicBlockRef inside = LLVMGetInsertBlock(g->e->builder);
  ahead_close(g, p, &a);
  for (int i = 0; i < p->nfills; i++) {
    if (!p->late[i]) continue;
    int outside = enter_layout(g, p->fills[i]);
    tregion loads = part_of(g, p->fills[i], true);
    for (int k = 0; k < loads.stmts.len; k++)
      carry_out(g, loads.stmts.data[k]->out[0], before, inside);
    g->layout = outside;
  }
}

static void finish_late(ngen *g, pipe *p, lval index) {
  bool any = false;
  for (int i = 0; i < p->nfills; i++) any |= p->late[i];
  if (!any) return;
  ahead a;
  ahead_open(g, p, index, &a);
  for (int i = 0; i < p->nfills; i++) {
    if (!p->late[i]) continue;
    int outside = enter_layout(g, p->fills[i]);
    tregion rest = part_of(g, p->fills[i], false);
    nv_region(g, &rest);
    g->layout = outside;
  }
  ahead_close(g, p, &a);
}

// ---- the walk

void pipeline_open(ngen *g, pipe *p) {
  if (!p->placed) {
    // the range of the loop is closed here, and the buffers' extents along it are constants
    for (int i = 0; i < p->nlocals; i++) local_place_at_top(g, p->locals[i], p->loop->stages);
    p->placed = true;
  }
  if (g->specialised) {
    rings_begin(g, p);
    return;
  }
  for (int i = 0; i < p->nlocals; i++)
    if (g->locals[p->locals[i]].read || g->locals[p->locals[i]].written) {
      nv_barrier(g);
      break;
    }
  for (int i = 0; i < p->loop->stages - 1; i++) {
    fill(g, p, i32_of(g, i), false);
    ptx_cp_async_commit(g->e);
  }
}

void pipeline_step(ngen *g, pipe *p, lval index) {
  const tstmt *s = p->loop;
  if (g->producing) {
    rings_fill(g, p, index);
    return;
  }
  lval ahead_of = LLVMBuildNSWAdd(g->e->builder, index, i32_of(g, s->stages - 1), "");
  if (!g->specialised) {
    ptx_cp_async_wait(g->e, s->stages - 2);
    nv_barrier(g);
    fill(g, p, ahead_of, true);
    ptx_cp_async_commit(g->e);
  }
  pipeline_enter(g, p, index);
  nv_statements(g, s->body, p->first, s->body->stmts.len);
  if (g->specialised) return;
  flight_land_all(g);
  finish_late(g, p, ahead_of);
}

void pipeline_enter(ngen *g, pipe *p, lval index) {
  if (g->specialised) rings_enter(g, p, index);
  enter_copy(g, p, slot_of(g, p, index));
}

void pipeline_close(ngen *g, pipe *p) {
  if (g->specialised) {
    rings_end(g, p, p->steps);
    return;
  }
  ptx_cp_async_wait(g->e, 0);
  for (int i = 0; i < p->nlocals; i++) {
    g->locals[p->locals[i]].copy = NULL;
    g->locals[p->locals[i]].read = true;
  }
}

// ---- order of grid tiles

int rows_of_group(int extent) {
  enum { MOST = 16, ROWS = 2048 };  // rows whose operands fit the cache beside the columns'
  return ROWS / extent < MOST ? ROWS / extent : MOST;
}

void grouped_tile(ngen *g, lval t, lval m, lval n, int of_one, lval *row, lval *column) {
  LLVMBuilderRef b = g->e->builder;
  lval of_group = LLVMBuildMul(b, n, i32_of(g, of_one), "");
  lval group = LLVMBuildUDiv(b, t, of_group, ""), rest = LLVMBuildURem(b, t, of_group, "");
  lval first = LLVMBuildMul(b, group, i32_of(g, of_one), "");
  lval left = LLVMBuildSub(b, m, first, "");
  lval full = LLVMBuildICmp(b, LLVMIntSGE, left, i32_of(g, of_one), "");
  lval rows = LLVMBuildSelect(b, full, i32_of(g, of_one), left, "");
  *row = LLVMBuildAdd(b, first, LLVMBuildURem(b, rest, rows, ""), "");
  *column = LLVMBuildUDiv(b, rest, rows, "");
}
