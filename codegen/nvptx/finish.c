// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `if finished`: which of the blocks that make parts of one result comes last. Every block takes a
// ticket when its parts are stored:
//
//   bar.sync                                   all threads of the block have stored
//   thread 0: atom.acq_rel.gpu.inc old, [ticket of the group], blocks - 1
//   bar.red.or last, thread == 0 && old == blocks - 1
//   if last: the region
//
// The increment begins again at 0 after blocks - 1, so that the last block leaves the ticket as the first
// one found it. It releases what its block stored (stores before the barrier come before it in causality
// order, whichever thread made them) and acquires what the blocks before it released, through the chain
// of increments; after the second barrier all threads of the last block see all parts. The tickets are
// memory of the launcher's that is zero at first, and that no two kernels use at a time (codegen/abi.h).
#include "base/fault.h"
#include "codegen/nvptx/nvptx.h"
#include "codegen/nvptx/ptx.h"

_Static_assert(FINISH_MOST * sizeof(int32_t) <= TCF_TICKET_BYTES, "a ticket for each group");

/// The group of blocks that finish together: the tile's number along the other axes of the grid.
static lval group_number(ngen *g, int axis) {
  LLVMBuilderRef b = g->e->builder;
  lval number = i32_of(g, 0);
  for (int i = 0; i < g->k->grid.len; i++) {
    const range *r = g->ranges[g->k->grid.data[i].axis];
    if (g->k->grid.data[i].axis == axis || !r->index) continue;
    number = LLVMBuildAdd(b, LLVMBuildMul(b, number, r->count, ""), r->index, "");
  }
  return number;
}

lval nv_finished(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  const range *r = g->ranges[s->axis];
  nv_barrier(g);
  g->scratch_used = false;
  if (!r->index) return emit_int(g->e->i1, 1);
  check(g->tickets);
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b);
  lval first = LLVMBuildICmp(b, LLVMIntEQ, g->tid_local, i32_of(g, 0), "");
  lval most = LLVMBuildSub(b, r->count, i32_of(g, 1), ""), group = group_number(g, s->axis);
  guard w = nv_guard(g, first);
  lval ticket = LLVMBuildGEP2(b, g->e->i32, g->tickets, &group, 1, "");
  lval last = LLVMBuildICmp(b, LLVMIntEQ, ptx_take_ticket(g->e, ticket, most), most, "");
  LLVMBasicBlockRef taken = LLVMGetInsertBlock(b);
  nv_guard_end(g, w);
  lval mine = LLVMBuildPhi(b, g->e->i1, ""), no = emit_int(g->e->i1, 0);
  LLVMAddIncoming(mine, (lval[]){last, no}, (LLVMBasicBlockRef[]){taken, before}, 2);
  return ptx_barrier_or(g->e, mine);
}
