// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Producer warps: a branch for each role; see pipeline.h for the picture.
//
// The block has a warpgroup more than the layouts say. One of its lanes starts the copies; the
// registers that it does not need go to the others (setmaxnreg).
#include "base/fault.h"
#include "codegen/nvptx/pipeline.h"
#include "codegen/nvptx/ptx.h"
#include "codegen/nvptx/ring.h"

enum { WARP = 32, WARPGROUP = 128 };

int producer_threads(const ngen *g) {
  return g->k->threads + (g->specialised ? WARP * g->k->producer_warps : 0);
}

static void init_barriers(ngen *g) {
  emit *e = g->e;
  guard w = nv_guard(g, LLVMBuildICmp(e->builder, LLVMIntEQ, g->tid, i32_of(g, 0), ""));
  rings_init(g);
  ptx_mbarrier_init_fence(e);
  nv_guard_end(g, w);
  ptx_barrier(e, 0, 0);
}

static bool some_walk_is_skewed(const ngen *g) {
  for (int i = 0; i < g->pipes.len; i++)
    if (g->pipes.data[i]->loop->skew) return true;
  return false;
}

static int64_t elements_of(const tval *v) {
  int64_t elements = 1;
  for (int d = 0; d < v->naxes; d++) elements *= v->extents[d];
  return elements;
}

/// The sums of several products are carried: each register is of use. Statistics of rows are few elements.
static bool some_walk_is_full(const ngen *g) {
  enum { OF_PRODUCT = 8 };  // elements of a thread
  for (int i = 0; i < g->pipes.len; i++) {
    const tstmt *loop = g->pipes.data[i]->loop;
    int sums = 0;
    for (int k = 0; k < loop->nout; k++)
      sums += elements_of(loop->out[k]) >= OF_PRODUCT * g->k->threads;
    if (sums > 1) return true;
  }
  return false;
}

/// Elements that the loop and those inside of it carry: the sums of all its products.
static int64_t carried_elements(const tstmt *s) {
  int64_t sum = 0;
  for (int k = 0; s->kind == TILE_LOOP && k < s->nout; k++) sum += elements_of(s->out[k]);
  const tregion *inside[] = {s->body, s->other};
  for (int k = 0; k < 2; k++)
    for (int i = 0; inside[k] && i < inside[k]->stmts.len; i++)
      sum += carried_elements(inside[k]->stmts.data[i]);
  return sum;
}

/// Two blocks, where the schedule leaves it open and their rings and sums allow it.
int producer_blocks(ngen *g) {
  enum { BESIDES = 2 << 10, SUMS_OF_TWO = 32 };
  if (g->k->blocks_per_sm) return g->k->blocks_per_sm;
  if (some_walk_is_skewed(g) || some_walk_is_full(g)) return 1;  // the sums of two products at once
  int64_t rings = ring_bytes(g) + g->staging_bytes, sums = 0;
  for (int i = 0; i < g->pipes.len; i++)
    sums += carried_elements(g->pipes.data[i]->loop) / g->k->threads;
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
  enum { PLENTY = 40, FEWEST = 24 };  // where steps overlap each one is of use to the others
  bool whole = g->k->producer_warps == WARPGROUP / WARP && g->k->threads % WARPGROUP == 0;
  if (!whole) return;
  int few = some_walk_is_skewed(g) || some_walk_is_full(g) ? FEWEST : PLENTY;
  int n = producer ? few : consumer_registers(g, few);
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
  rings_open(g);
  writeback_open(g);
  adds_open(g);
  init_barriers(g);
  LLVMBasicBlockRef compute = nv_block(g), copy = nv_block(g), end = nv_block(g);
  lval first = i32_of(g, g->k->threads / WARP);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntULT, g->warp, first, ""), compute, copy);
  for (int producer = 0; producer < 2; producer++) {
    LLVMPositionBuilderAtEnd(b, producer ? copy : compute);
    int mark = scope_open(g);
    g->scratch_used = false;  // the other role's: nobody here waits for its readers
    give_registers(g, producer);
    if (producer) produce(g, walk);
    else walk(g);
    if (!producer) writeback_close(g);
    if (!producer) adds_close(g);
    scope_close(g, mark);
    LLVMBuildBr(b, end);
  }
  LLVMPositionBuilderAtEnd(b, end);
}
