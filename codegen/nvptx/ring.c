// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rings: what the copy engine can fill, who reads it, and the barriers between; see ring.h.
#include "codegen/nvptx/ring.h"

#include "base/fault.h"
#include "codegen/nvptx/host.h"
#include "codegen/nvptx/pending.h"
#include "codegen/nvptx/ptx.h"

enum { WARP = 32, BARRIER_BYTES = 8, WITHIN_BYTES = 8 };

// ---- what the engine can copy

static int64_t constant_dim(ngen *g, const tile_buf *t, int d) {
  int64_t n;
  check(ix_is_const(&g->ix, t->dims[d], &n));
  return n;
}

/// The box of one panel, and that the elements land where the buffer has them: its dimensions, from
/// the innermost, must be the map's in the same order.
static bool plan_box(ngen *g, tma_copy *c, tcf_map_info *map) {
  const tile_buf *l = &g->k->bufs.data[c->store->buf];
  int bytes = dtype_bytes(l->type), l_unit = l->panel > 0 ? l->panel_dim : l->rank - 1, last = 0;
  int64_t inner = constant_dim(g, l, l_unit);
  c->panels = l->panel > 0 ? (int)((inner + l->panel - 1) / l->panel) : 1;
  if (l->panel > 0) inner = l->panel;
  if (map_walk_along(&c->walk, l->local_axes[l_unit]) || inner * bytes % 16) return false;
  map->box[0] = (int32_t)inner;
  c->panel_bytes = inner * bytes;
  for (int j = l->rank - 1; j >= 0; j--) {
    int64_t extent = constant_dim(g, l, j);
    if (j == l_unit) continue;
    int at = map_walk_along(&c->walk, l->local_axes[j]);
    if (at < 1 || (extent > 1 && at <= last)) return false;
    if (extent > 1) last = at;
    map->box[at] = (int32_t)extent;
    c->panel_bytes *= extent;
  }
  for (int i = 0; i < c->walk.rank; i++)
    if (map->box[i] > 256) return false;
  return !l->swizzle || (inner * bytes == 128 && c->panel_bytes % 1024 == 0);
}

/// Every grid axis of more than one tile moves the box, and the tensor would fill much of the cache:
/// what is read need not stay there.
static bool read_once(ngen *g, const tstmt *load) {
  enum { LARGE = 16 << 20 };
  const tile_buf *t = &g->k->bufs.data[load->buf];
  ix bytes = ix_const(&g->ix, dtype_bytes(t->type));
  for (int d = 0; d < t->rank; d++) bytes = ix_mul(&g->ix, bytes, t->dims[d]);
  if (ix_bounds(&g->ix, bytes).min < LARGE) return false;
  for (int i = 0; i < g->k->grid.len; i++) {
    const grid_axis *a = &g->k->grid.data[i];
    bool moves = ix_bounds(&g->ix, g->k->axes.data[a->axis].size).max <= a->extent;
    for (int d = 0; d < load->nix; d++) moves |= ix_uses_axis(&g->ix, load->ix[d], a->axis);
    if (!moves) return false;
  }
  return true;
}

/// In one step, each position of the buffer where it is loaded for.
static bool plan_extents(ngen *g, const tma_copy *c, box_extents *box) {
  const tile_buf *l = &g->k->bufs.data[c->store->buf];
  *box = (box_extents){0};
  if (l->pad) return false;
  for (int j = 0; j < l->rank; j++) {
    int axis = l->local_axes[j], stored;
    int64_t extent = constant_dim(g, l, j);
    if (!ix_is_axis(&g->ix, c->store->ix[j], &stored) || stored != axis) return false;
    if (tval_extent(c->load->out[0], axis) != extent) return false;
    box->axes[box->n] = axis;
    box->extents[box->n++] = extent;
  }
  return true;
}

static bool plan_copy(ngen *g, const tstmt *loop, tma_copy *c) {
  const kernel *k = g->k;
  box_extents box;
  if (!copy_is_pure(k, loop->body)) return false;
  *c = (tma_copy){.load = loop->body->stmts.data[0], .store = loop->body->stmts.data[1]};
  const tile_buf *t = &k->bufs.data[c->load->buf], *l = &k->bufs.data[c->store->buf];
  if (!plan_extents(g, c, &box)) return false;
  c->once = read_once(g, c->load);
  for (int over_axes = 0; over_axes < 2; over_axes++) {
    bool walks = over_axes ? map_walk_axes(g, c->load, &c->walk)
                           : map_walk_dimensions(g, c->load, &box, &c->walk);
    tcf_map_info map = {.word = TCF_KERNEL_SYMBOLS + g->program->symbols.len + c->load->buf,
                        .rank = c->walk.rank,
                        .element_bytes = dtype_bytes(t->type),
                        .swizzle = l->swizzle ? 128 : 0,
                        .box = {1, 1, 1, 1, 1}};
    if (!walks || !plan_box(g, c, &map)) continue;
    c->map = map_number(g, &map, &c->walk.over);
    return true;
  }
  return false;
}

/// False: the engine cannot do the copy.
static bool add_ring(ngen *g, const tstmt *fill, int slots, const pipe *of, tally *count) {
  ring r = {.slots = slots, .nfills = 1, .fills = {fill}, .of = of, .fill = count};
  if (!plan_copy(g, fill, &r.copies[0])) return false;
  r.copies[0].bytes = r.copies[0].panel_bytes * r.copies[0].panels;
  vec_push(g->arena, &g->rings, arena_copy(g->arena, &r, sizeof r));
  return true;
}

bool ring_plan(ngen *g, pipe *p) {
  tally *count = arena_new(g->arena, tally);
  for (int i = 0; i < p->nfills; i++)
    if (!add_ring(g, p->fills[i], p->loop->stages, p, count)) return false;
  return true;
}

void ring_plan_once(ngen *g, const tregion *r) {
  bool beside = false;
  for (int i = r->stmts.len - 1; i >= 0; i--) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind != TILE_LOOP) continue;
    if (pipeline_of(g, s)) {
      beside = true;
      continue;
    }
    if (!s->stage) ring_plan_once(g, s->body);
    else if (beside && !s->nin && add_ring(g, s, 1, NULL, arena_new(g->arena, tally)))
      g->rings.data[g->rings.len - 1]->home = r;
  }
}

void ring_plan_within(ngen *g, const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (!producers_walk(g, s)) continue;
    ring_plan_within(g, s->body);
    if (!s->within) continue;
    ring x = {.within = s, .slots = 1, .fill = arena_new(g->arena, tally)};
    vec_push(g->arena, &g->rings, arena_copy(g->arena, &x, sizeof x));
  }
}

ring *ring_filled_once(ngen *g, const tstmt *s) {
  for (int i = 0; i < g->rings.len; i++)
    if (!g->rings.data[i]->of && g->rings.data[i]->fills[0] == s) return g->rings.data[i];
  return NULL;
}

int64_t ring_bytes(const ngen *g) {
  int64_t bytes = 0;
  for (int i = 0; i < g->rings.len; i++)
    for (int k = 0; k < g->rings.data[i]->nfills; k++)
      bytes += g->rings.data[i]->copies[k].bytes * g->rings.data[i]->slots;
  return bytes;
}

// ---- readers

/// How a statement reads a buffer. What is loaded in place is read by the dot.
typedef struct reading {
  bool any, plainly;
  bool again;  // and perhaps by statements after it
} reading;

static void find_reading(ngen *g, const tstmt *s, int buf, reading *out) {
  bool load = s->kind == TILE_LOAD && s->buf == buf && !tensor_reads_in_place(g, s);
  out->any |= load;
  out->plainly |= load;
  out->again |= load && lazy_reads_again(g, s);
  for (int k = 0; s->kind == TILE_DOT && k < 2; k++) {
    const tstmt *in_place = g->in_place[s->in[k]->id];
    if (!in_place || in_place->buf != buf) continue;
    out->any = true;
    out->plainly |= tensor_reads_plainly(g, s);
  }
  const tregion *inside[] = {s->body, s->other};
  for (int k = 0; k < 2; k++)
    for (int i = 0; inside[k] && i < inside[k]->stmts.len; i++)
      find_reading(g, inside[k]->stmts.data[i], buf, out);
}

static int statement_after(const tregion *r, const tstmt *s) {
  for (int i = 0; i < r->stmts.len; i++)
    if (r->stmts.data[i] == s) return i + 1;
  return 0;
}

static void find_readers(ngen *g, ring *r) {
  if (r->of) r->home = r->of->loop->body;
  int from = r->of ? r->of->first : statement_after(r->home, r->fills[0]), n = r->home->stmts.len;
  r->first = -1;
  for (int i = from; i < n; i++) {
    reading found = {0};
    find_reading(g, r->home->stmts.data[i], r->copies[0].store->buf, &found);
    if (!found.any) continue;
    if (r->first < 0) r->first = i;
    r->last = found.again ? n - 1 : i;
    r->plainly |= found.plainly;
    if (found.again) break;
  }
  if (r->first < 0) r->first = r->last = n - 1;
}

/// Makes the fill of `from` one of `to`, where the same statements read both, or where it is little and
/// read between: it costs no wait of its own then, and keeps its place for longer.
static bool join(ring *to, const ring *from) {
  enum { LITTLE = 1 << 10 };
  if (to->fill != from->fill || to->nfills == MAX_FILLS) return false;
  bool between =
      from->copies[0].bytes <= LITTLE && to->first <= from->first && from->last <= to->last;
  if (!between && (to->first != from->first || to->last != from->last)) return false;
  to->fills[to->nfills] = from->fills[0];
  to->copies[to->nfills++] = from->copies[0];
  to->plainly |= from->plainly;
  return true;
}

void rings_open(ngen *g) {
  LLVMBuilderRef b = g->e->builder;
  int n = 0;
  for (int i = 0; i < g->rings.len; i++) {
    ring *r = g->rings.data[i];
    bool joined = false;
    if (!r->within) find_readers(g, r);
    for (int k = 0; k < n && !joined; k++) joined = join(g->rings.data[k], r);
    if (!joined) g->rings.data[n++] = r;
  }
  g->rings.len = n;
  for (int i = 0; i < n; i++) {
    ring *r = g->rings.data[i];
    r->barriers = g->shared_top;
    g->shared_top += 2 * BARRIER_BYTES * r->slots + (r->within ? WITHIN_BYTES : 0);
    if (r->fill->consumed) continue;
    r->fill->consumed = LLVMBuildAlloca(b, g->e->i32, "");
    r->fill->produced = LLVMBuildAlloca(b, g->e->i32, "");
    LLVMBuildStore(b, i32_of(g, 0), r->fill->consumed);
    LLVMBuildStore(b, i32_of(g, 0), r->fill->produced);
  }
}

// ---- barriers

static lval shared_at(ngen *g, int64_t offset) {
  lval base = LLVMBuildPtrToInt(g->e->builder, g->smem, g->e->i32, "");
  return LLVMBuildAdd(g->e->builder, base, i32_of(g, offset), "");
}

typedef struct phase {
  lval slot, parity;  // parity of the phase in which the slot is full
} phase;

static phase phase_of(ngen *g, const ring *r) {
  LLVMBuilderRef b = g->e->builder;
  lval n = LLVMBuildAdd(b, r->fill->before, r->fill->index, ""), slots = i32_of(g, r->slots);
  phase t = {.slot = LLVMBuildURem(b, n, slots, "")};
  t.parity = LLVMBuildAnd(b, LLVMBuildUDiv(b, n, slots, ""), i32_of(g, 1), "");
  return t;
}

static lval barrier_at(ngen *g, const ring *r, lval slot, bool empty) {
  int64_t first = r->barriers + (empty ? BARRIER_BYTES * r->slots : 0);
  lval offset = LLVMBuildMul(g->e->builder, slot, i32_of(g, BARRIER_BYTES), "");
  return LLVMBuildAdd(g->e->builder, shared_at(g, first), offset, "");
}

void rings_init(ngen *g) {
  for (int i = 0; i < g->rings.len; i++) {
    const ring *r = g->rings.data[i];
    for (int s = 0; s < r->slots; s++) {
      ptx_mbarrier_init(g->e, shared_at(g, r->barriers + BARRIER_BYTES * s), 1);
      ptx_mbarrier_init(g->e, shared_at(g, r->barriers + BARRIER_BYTES * (r->slots + s)),
                        r->within ? 1 : g->k->threads / WARP);
    }
  }
}

static lval counter(ngen *g, const tally *t) { return g->producing ? t->produced : t->consumed; }

static void tally_begin(ngen *g, tally *t) {
  t->before = LLVMBuildLoad2(g->e->builder, g->e->i32, counter(g, t), "");
}

static void tally_end(ngen *g, tally *t, lval steps) {
  lval sum = LLVMBuildAdd(g->e->builder, t->before, steps, "");
  LLVMBuildStore(g->e->builder, sum, counter(g, t));
}

static tally *tally_of(ngen *g, const pipe *p) {
  for (int i = 0; i < g->rings.len; i++)
    if (g->rings.data[i]->of == p) return g->rings.data[i]->fill;
  panic("a loop with stages in %.*s has no ring", STR_FMT(g->k->name));
}

void rings_begin(ngen *g, const pipe *p) { tally_begin(g, tally_of(g, p)); }
void rings_end(ngen *g, const pipe *p, lval steps) { tally_end(g, tally_of(g, p), steps); }
lval rings_filled_before(ngen *g, const pipe *p) { return tally_of(g, p)->before; }

void rings_enter(ngen *g, const pipe *p, lval index) { tally_of(g, p)->index = index; }

// ---- readers' side

void rings_before(ngen *g, const tregion *r, int i) {
  for (int n = 0; n < g->rings.len; n++) {
    ring *x = g->rings.data[n];
    if (x->home != r || x->first != i) continue;
    if (!x->of) {
      tally_begin(g, x->fill);
      x->fill->index = i32_of(g, 0);
    }
    phase t = phase_of(g, x);
    ptx_mbarrier_wait(g->e, barrier_at(g, x, t.slot, false), t.parity);
  }
}

void rings_after(ngen *g, const tregion *r, int i) {
  for (int n = 0; n < g->rings.len; n++) {
    ring *x = g->rings.data[n];
    if (x->home != r || x->last != i) continue;
    flight_then_free(g, x, phase_of(g, x).slot);
    if (!x->of) tally_end(g, x->fill, i32_of(g, 1));
  }
}

/// What was read as ordinary memory must be known to have been read before the engine writes there.
void ring_free(ngen *g, ring *r, lval slot) {
  LLVMBuilderRef b = g->e->builder;
  if (r->plainly) {
    ptx_fence_async(g->e);
    ptx_barrier_warp(g->e);
  }
  lval lane = LLVMBuildAnd(b, g->tid, i32_of(g, WARP - 1), "");
  guard w = nv_guard(g, LLVMBuildICmp(b, LLVMIntEQ, lane, i32_of(g, 0), ""));
  ptx_mbarrier_arrive(g->e, barrier_at(g, r, slot, true));
  nv_guard_end(g, w);
}

// ---- what walks are within

/// One thread of the others puts it where the producers read it, when these have read what was there:
/// a ring of one slot that is filled the other way round. Nobody waits for ever: both roles walk the same
/// loops in the same order, the others come here after walks whose copies the producers have started,
/// and the producers after walks whose copies are free again.
void rings_pass_within(ngen *g, const tstmt *loop, lval at[2]) {
  LLVMBuilderRef b = g->e->builder;
  int n = 0;
  while (g->rings.data[n]->within != loop) n++;
  ring *r = g->rings.data[n];
  tally_begin(g, r->fill);
  r->fill->index = i32_of(g, 0);
  phase t = phase_of(g, r);
  bool gives = !g->producing;
  lval one = LLVMBuildICmp(b, LLVMIntEQ, g->tid_local, i32_of(g, 0), "");
  guard w = nv_guard(g, gives ? one : NULL);
  lval parity = gives ? LLVMBuildXor(b, t.parity, i32_of(g, 1), "") : t.parity;
  ptx_mbarrier_wait(g->e, barrier_at(g, r, t.slot, gives), parity);
  for (int i = 0; i < 2; i++) {
    lval offset = i32_of(g, r->barriers + 2 * BARRIER_BYTES + i * WITHIN_BYTES / 2);
    lval there = LLVMBuildGEP2(b, g->e->i8, g->smem, &offset, 1, "");
    if (gives) LLVMBuildStore(b, at[i], there);
    else at[i] = LLVMBuildLoad2(b, g->e->i32, there, "");
  }
  ptx_mbarrier_arrive(g->e, barrier_at(g, r, t.slot, !gives));
  nv_guard_end(g, w);
  tally_end(g, r->fill, i32_of(g, 1));
}

// ---- producers' side

static void start_copy(ngen *g, const ring *r, const tma_copy *c, phase t) {
  LLVMBuilderRef b = g->e->builder;
  const local_place *l = &g->locals[c->store->buf];
  int words = TCF_KERNEL_SYMBOLS + g->program->symbols.len + g->k->nargs;
  lval map = LLVMGetParam(g->function, (unsigned)(words + c->map));
  lval copy = LLVMBuildMul(b, t.slot, i32_of(g, l->bytes), "");
  lval there = LLVMBuildAdd(b, shared_at(g, l->offset), copy, "");
  int inner = g->maps.data[c->map].box[0];
  for (int panel = 0; panel < c->panels; panel++) {
    lval at[5];
    for (int i = 0; i < c->walk.rank; i++) {
      ix first = nv_at_bases(g, c->walk.at[i]);
      if (i == 0) first = ix_add(&g->ix, first, ix_const(&g->ix, panel * inner));
      at[i] = nv_ix32(g, first);
    }
    lval to = LLVMBuildAdd(b, there, i32_of(g, panel * c->panel_bytes), "");
    ptx_tma_load(g->e, to, barrier_at(g, r, t.slot, false), map, at, c->walk.rank,
                 c->once ? PTX_EVICT_FIRST : 0);
  }
}

/// In the range of the stage loop's axis: all of it, where it is closed around the loop.
static void start_copies(ngen *g, const ring *r, phase t) {
  for (int i = 0; i < r->nfills; i++) {
    int axis = r->fills[i]->axis;
    range all = {.axis = axis, .extent = r->fills[i]->extent, .base = ix_const(&g->ix, 0)};
    range *outside = g->ranges[axis];
    if (!outside) g->ranges[axis] = &all;
    start_copy(g, r, &r->copies[i], t);
    g->ranges[axis] = outside;
  }
}

static void fill(ngen *g, const ring *r) {
  phase t = phase_of(g, r);
  int64_t bytes = 0;
  for (int i = 0; i < r->nfills; i++) bytes += r->copies[i].bytes;
  lval before = LLVMBuildXor(g->e->builder, t.parity, i32_of(g, 1), "");
  ptx_mbarrier_wait(g->e, barrier_at(g, r, t.slot, true), before);
  ptx_mbarrier_expect(g->e, barrier_at(g, r, t.slot, false), i32_of(g, bytes));
  start_copies(g, r, t);
}

void rings_fill(ngen *g, const pipe *p, lval index) {
  rings_enter(g, p, index);
  for (int i = 0; i < g->rings.len; i++)
    if (g->rings.data[i]->of == p) fill(g, g->rings.data[i]);
}

void ring_fill_once(ngen *g, ring *r) {
  tally_begin(g, r->fill);
  r->fill->index = i32_of(g, 0);
  fill(g, r);
  tally_end(g, r->fill, i32_of(g, 1));
}
