// Producer warps: loops with stages filled by the copy engine; see pipeline.h for the picture.
//
// The block has a warpgroup more than the layouts say. One of its lanes starts the copies; the
// registers that it does not need go to the others (setmaxnreg).
#include "base/fault.h"
#include "codegen/nvptx/host.h"
#include "codegen/nvptx/pipeline.h"
#include "codegen/nvptx/ptx.h"

enum { WARP = 32, WARPGROUP = 128, BARRIER_BYTES = 8 };

int producer_threads(const ngen *g) {
  return g->k->threads + (g->specialised ? WARP * g->k->producer_warps : 0);
}

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

bool producer_plan(ngen *g, pipe *p) {
  for (int i = 0; i < p->nfills; i++) {
    tma_copy *c = &p->copies[i];
    if (!plan_copy(g, p->fills[i], c)) return false;
    c->bytes = c->panel_bytes * c->panels;
  }
  return true;
}

// ---- barriers

static lval shared_at(ngen *g, int64_t offset) {
  lval base = LLVMBuildPtrToInt(g->e->builder, g->smem, g->e->i32, "");
  return LLVMBuildAdd(g->e->builder, base, i32_of(g, offset), "");
}

typedef struct turn {
  lval slot, parity;  // parity of the phase in which the copy is full
} turn;

static turn turn_of(ngen *g, const pipe *p, lval index) {
  LLVMBuilderRef b = g->e->builder;
  lval n = LLVMBuildAdd(b, p->before, index, ""), stages = i32_of(g, p->loop->stages);
  turn t = {.slot = LLVMBuildURem(b, n, stages, "")};
  t.parity = LLVMBuildAnd(b, LLVMBuildUDiv(b, n, stages, ""), i32_of(g, 1), "");
  return t;
}

static lval barrier_at(ngen *g, const pipe *p, lval slot, bool empty) {
  int64_t first = p->barriers + (empty ? BARRIER_BYTES * p->loop->stages : 0);
  lval offset = LLVMBuildMul(g->e->builder, slot, i32_of(g, BARRIER_BYTES), "");
  return LLVMBuildAdd(g->e->builder, shared_at(g, first), offset, "");
}

static void init_barriers(ngen *g) {
  emit *e = g->e;
  guard w = nv_guard(g, LLVMBuildICmp(e->builder, LLVMIntEQ, g->tid, i32_of(g, 0), ""));
  for (int i = 0; i < g->pipes.len; i++) {
    pipe *p = g->pipes.data[i];
    for (int s = 0; s < p->loop->stages; s++) {
      ptx_mbarrier_init(e, shared_at(g, p->barriers + BARRIER_BYTES * s), 1);
      ptx_mbarrier_init(e, shared_at(g, p->barriers + BARRIER_BYTES * (p->loop->stages + s)),
                        g->k->threads / WARP);
    }
  }
  ptx_mbarrier_init_fence(e);
  nv_guard_end(g, w);
  ptx_barrier(e, 0, 0);
}

// ---- the two roles

int64_t producer_ring_bytes(const ngen *g) {
  int64_t rings = 0;
  for (int i = 0; i < g->pipes.len; i++) {
    const pipe *p = g->pipes.data[i];
    for (int k = 0; k < p->nfills; k++) rings += p->copies[k].bytes * p->loop->stages;
  }
  return rings;
}

/// Two blocks, where the schedule leaves it open and their rings and sums allow it.
int producer_blocks(ngen *g) {
  enum { BESIDES = 2 << 10, SUMS_OF_TWO = 32 };
  if (g->k->blocks_per_sm) return g->k->blocks_per_sm;
  int64_t rings = producer_ring_bytes(g) + g->staging_bytes, sums = 0;
  for (int i = 0; i < g->pipes.len; i++) {
    const pipe *p = g->pipes.data[i];
    for (int k = 0; k < p->loop->nout; k++) {
      int64_t elements = 1;
      for (int d = 0; d < p->loop->out[k]->naxes; d++) elements *= p->loop->out[k]->extents[d];
      sums += elements / g->k->threads;
    }
  }
  return rings <= g->e->target->shared_per_core / 2 - BESIDES && sums <= SUMS_OF_TWO ? 2 : 1;
}

/// Registers of a thread that computes when the producers keep so few: of what the block has at
/// entry, a multiple of 8 for each thread. Asking for more would wait forever.
static int consumer_registers(ngen *g, int producers) {
  int warpgroups = g->k->threads / WARPGROUP;
  int entry = g->e->target->registers_per_core / (producer_threads(g) * producer_blocks(g)) / 8 * 8;
  int n = (entry * (warpgroups + 1) - producers) / warpgroups / 8 * 8;
  return n > 240 ? 240 : n;
}

static void give_registers(ngen *g, bool producer) {
  enum { PRODUCER_REGISTERS = 40 };
  bool whole = g->k->producer_warps == WARPGROUP / WARP && g->k->threads % WARPGROUP == 0;
  if (!whole) return;
  int n = producer ? PRODUCER_REGISTERS : consumer_registers(g, PRODUCER_REGISTERS);
  ptx_setmaxnreg(g->e, !producer, n);
}

static void produce(ngen *g, void (*walk)(ngen *g)) {
  LLVMBuilderRef b = g->e->builder;
  lval first = i32_of(g, g->k->threads / WARP);
  guard one_warp = nv_guard(g, LLVMBuildICmp(b, LLVMIntEQ, g->warp, first, ""));
  guard one_lane = nv_guard(g, ptx_elect(g->e));
  g->producing = true;
  walk(g);
  g->producing = false;
  nv_guard_end(g, one_lane);
  nv_guard_end(g, one_warp);
}

void producer_split(ngen *g, void (*walk)(ngen *g)) {
  LLVMBuilderRef b = g->e->builder;
  for (int i = 0; i < g->pipes.len; i++) {
    pipe *p = g->pipes.data[i];
    p->barriers = g->shared_top;
    g->shared_top += 2 * BARRIER_BYTES * p->loop->stages;
    p->consumed = LLVMBuildAlloca(b, g->e->i32, "");
    p->produced = LLVMBuildAlloca(b, g->e->i32, "");
    LLVMBuildStore(b, i32_of(g, 0), p->consumed);
    LLVMBuildStore(b, i32_of(g, 0), p->produced);
  }
  writeback_open(g);
  init_barriers(g);
  LLVMBasicBlockRef compute = nv_block(g), copy = nv_block(g), end = nv_block(g);
  lval first = i32_of(g, g->k->threads / WARP);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntULT, g->warp, first, ""), compute, copy);
  for (int producer = 0; producer < 2; producer++) {
    LLVMPositionBuilderAtEnd(b, producer ? copy : compute);
    int mark = scope_open(g);
    give_registers(g, producer);
    if (producer) produce(g, walk);
    else walk(g);
    if (!producer) writeback_close(g);
    scope_close(g, mark);
    LLVMBuildBr(b, end);
  }
  LLVMPositionBuilderAtEnd(b, end);
}

// ---- steps

void producer_wait(ngen *g, pipe *p, lval index) {
  turn t = turn_of(g, p, index);
  ptx_mbarrier_wait(g->e, barrier_at(g, p, t.slot, false), t.parity);
}

/// What was read as ordinary memory must be known to have been read before the engine writes there.
void producer_release(ngen *g, pipe *p, lval index) {
  LLVMBuilderRef b = g->e->builder;
  turn t = turn_of(g, p, index);
  if (pipeline_read_plainly(g, p, p->loop->body, p->first)) {
    ptx_fence_async(g->e);
    ptx_barrier_warp(g->e);
  }
  lval lane = LLVMBuildAnd(b, g->tid, i32_of(g, WARP - 1), "");
  guard w = nv_guard(g, LLVMBuildICmp(b, LLVMIntEQ, lane, i32_of(g, 0), ""));
  ptx_mbarrier_arrive(g->e, barrier_at(g, p, t.slot, true));
  nv_guard_end(g, w);
}

static void start_copy(ngen *g, const pipe *p, const tma_copy *c, turn t) {
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
    ptx_tma_load(g->e, to, barrier_at(g, p, t.slot, false), map, at, c->walk.rank,
                 c->once ? PTX_EVICT_FIRST : 0);
  }
}

void producer_step(ngen *g, pipe *p, lval index) {
  turn t = turn_of(g, p, index);
  int64_t bytes = 0;
  for (int i = 0; i < p->nfills; i++) bytes += p->copies[i].bytes;
  lval before = LLVMBuildXor(g->e->builder, t.parity, i32_of(g, 1), "");
  ptx_mbarrier_wait(g->e, barrier_at(g, p, t.slot, true), before);
  ptx_mbarrier_expect(g->e, barrier_at(g, p, t.slot, false), i32_of(g, bytes));
  for (int i = 0; i < p->nfills; i++) start_copy(g, p, &p->copies[i], t);
}
