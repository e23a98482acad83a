// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Turns: one warpgroup after the other issues its products, so that each computes while another
// multiplies.
//
//   warpgroup 0   take  dots  give | compute          | take  dots ...
//   warpgroup 1                    | take  dots  give | compute ...
//
// A named barrier for each warpgroup: it waits there for its turn, and the one before it arrives.
#include "codegen/nvptx/ptx.h"
#include "codegen/nvptx/walk.h"

enum { WARPGROUP = 128 };

static int warpgroups(const ngen *g) { return g->k->threads / WARPGROUP; }

static lval warpgroup(ngen *g) { return LLVMBuildLShr(g->e->builder, g->warp, i32_of(g, 2), ""); }

/// After the barriers of write-backs.
static lval barrier_of(ngen *g, lval group) {
  return LLVMBuildAdd(g->e->builder, group, i32_of(g, CONSUMERS_BARRIER + 1 + warpgroups(g)), "");
}

void turn_take(ngen *g, const tstmt *s) {
  if (s->turns) ptx_barrier_of(g->e, barrier_of(g, warpgroup(g)), 2 * WARPGROUP);
}

void turn_give(ngen *g, const tstmt *s) {
  if (!s->turns) return;
  LLVMBuilderRef b = g->e->builder;
  lval next = LLVMBuildAdd(b, warpgroup(g), i32_of(g, 1), "");
  lval over = LLVMBuildICmp(b, LLVMIntEQ, next, i32_of(g, warpgroups(g)), "");
  next = LLVMBuildSelect(b, over, i32_of(g, 0), next, "");
  ptx_barrier_arrive_of(g->e, barrier_of(g, next), 2 * WARPGROUP);
}

static guard only_group(ngen *g, int group) {
  LLVMBuilderRef b = g->e->builder;
  return nv_guard(g, LLVMBuildICmp(b, LLVMIntEQ, warpgroup(g), i32_of(g, group), ""));
}

/// Nobody waits for all the others in its turn: what the threads put on chip is there before.
static void wait_for_locals(ngen *g) {
  bool written = false;
  for (int i = 0; i < g->k->bufs.len; i++) written |= g->locals[i].written;
  if (written) nv_barrier(g);
}

/// The last one lets the first one begin, which takes the turn that is left at the end.
void turns_begin(ngen *g, const tstmt *s) {
  if (!s->turns) return;
  wait_for_locals(g);
  guard w = only_group(g, warpgroups(g) - 1);
  turn_give(g, s);
  nv_guard_end(g, w);
  turn_take(g, s);
}

void turns_end(ngen *g, const tstmt *s) {
  if (!s->turns) return;
  guard w = only_group(g, 0);
  turn_take(g, s);
  nv_guard_end(g, w);
}
