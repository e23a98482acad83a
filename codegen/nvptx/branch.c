// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where ways part and meet: values carried through blocks, and ifs. All threads of a block take the
// same way.
#include "base/fault.h"
#include "codegen/nvptx/walk.h"

// ---- carried values

static int regs_of(ngen *g, const tval *t) { return nv_shape_of(g, t).nregs; }

int carry_count(ngen *g, tval *const *values, int n) {
  int total = 0;
  for (int i = 0; i < n; i++) total += regs_of(g, values[i]);
  return total;
}

void carry_set_one(ngen *g, lval *carry, tval *const *values, int n) {
  int at = 0;
  for (int i = 0; i < n; i++)
    for (int r = 0; r < regs_of(g, values[i]); r++) {
      lval v = g->regs[values[i]->id][r];
      carry[at++] = v ? v : LLVMGetPoison(emit_type(g->e, values[i]->type, 0));
    }
}

void carry_set(ngen *g, lval *carry, tval *const *values, int n) {
  for (int i = 0; i < n; i++) flight_land(g, values[i]);
  carry_set_one(g, carry, values, n);
}

void carry_get(ngen *g, const lval *carry, tval *const *values, int n) {
  int at = 0;
  for (int i = 0; i < n; i++) {
    lval *regs = nv_define(g, values[i]);
    for (int r = 0; r < regs_of(g, values[i]); r++) regs[r] = carry[at++];
  }
}

void carry_merge(ngen *g, lval *carry, int n, const lval *other, LLVMBasicBlockRef from,
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

void settle_scratch(ngen *g) {
  if (g->scratch_used) nv_barrier(g);
  g->scratch_used = false;
}

// ---- ifs

static lval condition(ngen *g, const tstmt *s) {
  LLVMBuilderRef b = g->e->builder;
  if (s->cond == COND_FINISHED) return nv_finished(g, s);
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
  int64_t top = g->shared_top;
  nv_region(g, r);
  tval *const *yields = tregion_yields(r, &found);
  check(found == n);
  lval *carry = arena_array(g->arena, lval, nregs);
  carry_set(g, carry, yields, n);
  flight_land_all(g);
  settle_scratch(g);
  scope_close(g, mark);
  shared_release(g, top);
  return carry;
}

static void part_ways(ngen *g, const tstmt *s, lval yes) {
  LLVMBuilderRef b = g->e->builder;
  int nregs = carry_count(g, s->out, s->nout);
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
  const uint8_t *before = accesses_now(g);
  LLVMPositionBuilderAtEnd(b, then);
  lval *carry = run_arm(g, s->body, s->nout, nregs);
  const uint8_t *after_then = accesses_now(g);
  LLVMBasicBlockRef then_end = LLVMGetInsertBlock(b);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, other);
  accesses_set(g, before);
  lval *carry2 = run_arm(g, s->other, s->nout, nregs);
  LLVMBasicBlockRef other_end = LLVMGetInsertBlock(b);
  LLVMBuildBr(b, after);
  LLVMPositionBuilderAtEnd(b, after);
  carry_merge(g, carry, nregs, carry2, then_end, other_end);
  accesses_join(g, after_then);
  mark_accesses(g, s->body);
  mark_accesses(g, s->other);
  carry_get(g, carry, s->out, s->nout);
}

void nv_if(ngen *g, const tstmt *s) {
  flight_land_all(g);
  lval yes = condition(g, s);
  if (s->cond != COND_FINISHED) return part_ways(g, s, yes);
  range *tile = g->ranges[s->axis];
  g->ranges[s->axis] = NULL;  // the region walks all of the axis
  part_ways(g, s, yes);
  g->ranges[s->axis] = tile;
}
