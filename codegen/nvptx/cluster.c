// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reductions over the blocks of a cluster. Every block sends what it has to the shared memory of all:
//
//   slot 0: [block 0: n words] [block 1: n words] ...    barrier 0
//   slot 1: the same                                     barrier 1
//
// The stores complete the barrier of the block that receives them, which waits for nothing else; no
// fence over the device is needed. A reduction uses its two slots in turn: a block is at most one
// exchange ahead of another, so it never overwrites what that one has not read.
#include "base/fault.h"
#include "codegen/nvptx/nvptx.h"
#include "codegen/nvptx/ptx.h"

enum { WORD = 8, SLOTS = 2 };

static int64_t slot_bytes(const ngen *g, const exchange *x) {
  return (int64_t)g->k->cluster * x->words * WORD;
}

static void add_exchange(ngen *g, const tstmt *s) {
  unsigned bits = 0;
  for (int i = 0; i < s->naxes; i++) {
    int extent = 0;
    for (int k = 0; k < s->nin && !extent; k++) extent = tval_extent(s->in[k], s->axes[i]);
    if (extent) bits |= spread_of(g, s->axes[i], extent)->threads;
  }
  if (!(bits & nv_bits_of_blocks(g))) return;
  exchange x = {.reduction = s, .words = nv_shape_of(g, s->out[0]).nregs * s->nout};
  x.offset = g->shared_top;
  x.count = LLVMBuildAlloca(g->e->builder, g->e->i32, "");
  LLVMBuildStore(g->e->builder, i32_of(g, 0), x.count);
  g->shared_top += SLOTS * (slot_bytes(g, &x) + WORD);
  vec_push(g->arena, &g->exchanges, x);
}

static void scan(ngen *g, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    int outside = g->layout;
    if (s->layout) g->layout = s->layout;
    bool sums = s->kind == TILE_DOT && s->unit == DOT_FMA;
    if (s->kind == TILE_REDUCE || s->kind == TILE_ARG_REDUCE || sums) add_exchange(g, s);
    scan(g, s->body);
    scan(g, s->other);
    g->layout = outside;
  }
}

static lval address(ngen *g, lval offset) {
  lval base = LLVMBuildPtrToInt(g->e->builder, g->smem, g->e->i32, "");
  return LLVMBuildAdd(g->e->builder, base, offset, "");
}

static lval barrier_of(ngen *g, const exchange *x, lval slot) {
  lval at = LLVMBuildMul(g->e->builder, slot, i32_of(g, WORD), "");
  at = LLVMBuildAdd(g->e->builder, at, i32_of(g, x->offset + SLOTS * slot_bytes(g, x)), "");
  return address(g, at);
}

void cluster_open(ngen *g) {
  if (!g->k->cluster) return;
  scan(g, &g->k->body);
  if (g->shared_top > g->shared_peak) g->shared_peak = g->shared_top;
  lval first = LLVMBuildICmp(g->e->builder, LLVMIntEQ, g->tid_local, i32_of(g, 0), "");
  guard w = nv_guard(g, first);
  for (int i = 0; i < g->exchanges.len; i++)
    for (int slot = 0; slot < SLOTS; slot++)
      ptx_mbarrier_init(g->e, barrier_of(g, &g->exchanges.data[i], i32_of(g, slot)), 1);
  ptx_mbarrier_init_fence(g->e);
  nv_guard_end(g, w);
  ptx_barrier_cluster(g->e);
}

void cluster_close(ngen *g) {
  if (g->k->cluster) ptx_barrier_cluster(g->e);
}

static exchange *exchange_of(ngen *g, const tstmt *reduction) {
  for (int i = 0; i < g->exchanges.len; i++)
    if (g->exchanges.data[i].reduction->out[0] == reduction->out[0]) return &g->exchanges.data[i];
  panic("a reduction over a cluster without room for it");
}

/// Thread t sends this block's words to block t.
static void send(ngen *g, const exchange *x, lval slot_at, lval barrier, const lval *words) {
  LLVMBuilderRef b = g->e->builder;
  lval rank = ptx_cluster_rank(g->e);
  guard w = nv_guard(g, LLVMBuildICmp(b, LLVMIntULT, g->tid_local, i32_of(g, g->k->cluster), ""));
  lval theirs = ptx_in_block(g->e, barrier, g->tid_local);
  for (int i = 0; i < x->words; i++) {
    lval at = LLVMBuildMul(b, rank, i32_of(g, x->words * WORD), "");
    at = LLVMBuildAdd(b, at, LLVMBuildAdd(b, slot_at, i32_of(g, i * WORD), ""), "");
    ptx_store_async(g->e, ptx_in_block(g->e, at, g->tid_local), words[i], theirs);
  }
  nv_guard_end(g, w);
}

void cluster_exchange(ngen *g, const tstmt *reduction, const lval *words, int n, unsigned mask,
                      lval *out) {
  LLVMBuilderRef b = g->e->builder;
  exchange *x = exchange_of(g, reduction);
  check(n == x->words);
  lval one = i32_of(g, 1), count = LLVMBuildLoad2(b, g->e->i32, x->count, "");
  lval slot = LLVMBuildAnd(b, count, one, "");
  lval parity = LLVMBuildAnd(b, LLVMBuildLShr(b, count, one, ""), one, "");
  LLVMBuildStore(b, LLVMBuildAdd(b, count, one, ""), x->count);
  lval slot_at = LLVMBuildMul(b, slot, i32_of(g, slot_bytes(g, x)), "");
  slot_at = address(g, LLVMBuildAdd(b, slot_at, i32_of(g, x->offset), ""));
  lval barrier = barrier_of(g, x, slot);
  guard w = nv_guard(g, LLVMBuildICmp(b, LLVMIntEQ, g->tid_local, i32_of(g, 0), ""));
  ptx_mbarrier_expect(g->e, barrier, i32_of(g, slot_bytes(g, x)));
  nv_guard_end(g, w);
  send(g, x, slot_at, barrier, words);
  ptx_mbarrier_wait(g->e, barrier, parity);
  lval others = LLVMBuildAnd(b, ptx_cluster_rank(g->e), i32_of(g, (int64_t)~mask), "");
  for (int j = 0; j < 1 << __builtin_popcount(mask); j++) {
    lval block = LLVMBuildOr(b, others, i32_of(g, nv_deposit(mask, (unsigned)j)), "");
    for (int i = 0; i < n; i++) {
      lval at = LLVMBuildMul(b, block, i32_of(g, n * WORD), "");
      at = LLVMBuildAdd(b, at, LLVMBuildAdd(b, slot_at, i32_of(g, i * WORD), ""), "");
      lval word = LLVMBuildLoad2(b, g->e->i64, ptx_shared(g->e, at), "");
      LLVMSetVolatile(word, true);  // it was written by another block
      out[j * n + i] = word;
    }
  }
}
