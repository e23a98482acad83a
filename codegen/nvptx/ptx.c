// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Instructions: threads, barriers, copies. The matrix instructions are in ptx_matrix.c.
#include "codegen/nvptx/ptx.h"

#include <stdio.h>

#include "base/fault.h"

bool ptx_has(const emit *e, ptx_feature f) {
  const target_info *t = e->target;
  if (e->arch != ARCH_NVPTX || !t) return false;
  switch (f) {
    case PTX_CP_ASYNC: return t->async_copies;
    case PTX_TMA: return t->copy_engine;
    case PTX_SETMAXNREG: return t->moves_registers;
    case PTX_WGMMA: return t->wgmma;
  }
  return false;
}

static lval number(emit *e, int64_t v) { return emit_int(e->i32, v); }
static lval flag(emit *e, bool v) { return emit_int(e->i1, v); }

static lval call0(emit *e, const char *name) { return emit_intrinsic(e, name, NULL, 0, NULL, 0); }

static lval call1(emit *e, const char *name, lval a) {
  return emit_intrinsic(e, name, NULL, 0, &a, 1);
}

static lval call2(emit *e, const char *name, lval a, lval b) {
  return emit_intrinsic(e, name, NULL, 0, (lval[]){a, b}, 2);
}

lval ptx_shared(emit *e, lval address) {
  return LLVMBuildIntToPtr(e->builder, address, LLVMPointerTypeInContext(e->context, SPACE_SHARED),
                           "");
}

// ---- threads

lval ptx_read(emit *e, ptx_sreg r) {
  static const char *const names[] = {"tid", "ctaid", "nctaid"};
  char name[48];
  snprintf(name, sizeof name, "llvm.nvvm.read.ptx.sreg.%s.x", names[r]);
  return call0(e, name);
}

void ptx_barrier(emit *e, int id, int count) {
  check(id >= 0 && id < 16 && count % 32 == 0);
  if (count) call2(e, "llvm.nvvm.barrier.cta.sync.aligned.count", number(e, id), number(e, count));
  else call1(e, "llvm.nvvm.barrier.cta.sync.aligned.all", number(e, id));
}

void ptx_barrier_of(emit *e, lval id, int count) {
  check(count && count % 32 == 0);
  call2(e, "llvm.nvvm.barrier.cta.sync.aligned.count", id, number(e, count));
}

void ptx_barrier_arrive_of(emit *e, lval id, int count) {
  check(count && count % 32 == 0);
  call2(e, "llvm.nvvm.barrier.cta.arrive.aligned.count", id, number(e, count));
}

static lval whole_warp(emit *e) { return number(e, -1); }

void ptx_barrier_warp(emit *e) { call1(e, "llvm.nvvm.bar.warp.sync", whole_warp(e)); }

lval ptx_barrier_or(emit *e, lval condition) {
  return call2(e, "llvm.nvvm.barrier.cta.red.or.aligned.all", number(e, 0), condition);
}

lval ptx_take_ticket(emit *e, lval ticket, lval most) {
  static const char text[] = "atom.acq_rel.gpu.global.inc.u32 $0, [$1], $2;";
  static const char operands[] = "=r,l,r,~{memory}";
  LLVMTypeRef types[] = {LLVMPointerTypeInContext(e->context, SPACE_GLOBAL), e->i32};
  LLVMTypeRef type = LLVMFunctionType(e->i32, types, 2, 0);
  lval code = LLVMGetInlineAsm(type, text, sizeof text - 1, operands, sizeof operands - 1, 1, 0,
                               LLVMInlineAsmDialectATT, 0);
  return LLVMBuildCall2(e->builder, type, code, (lval[]){ticket, most}, 2, "");
}

void ptx_add_to_memory(emit *e, lval global, const lval *v, int n) {
  static const char *const text[] = {[1] = "red.relaxed.gpu.global.add.f32 [$0], $1;",
                                     [2] = "red.relaxed.gpu.global.add.v2.f32 [$0], {$1, $2};",
                                     [4] = "red.relaxed.gpu.global.add.v4.f32 [$0], {$1, $2, $3, $4};"};
  static const char *const operands[] = {
      [1] = "l,f,~{memory}", [2] = "l,f,f,~{memory}", [4] = "l,f,f,f,f,~{memory}"};
  check(n == 1 || ((n == 2 || n == 4) && ptx_has(e, PTX_TMA)));
  LLVMTypeRef types[] = {LLVMPointerTypeInContext(e->context, SPACE_GLOBAL), e->f32, e->f32, e->f32, e->f32};
  lval values[] = {global, v[0], n > 1 ? v[1] : NULL, n > 2 ? v[2] : NULL, n > 2 ? v[3] : NULL};
  LLVMTypeRef type = LLVMFunctionType(e->void_, types, (unsigned)n + 1, 0);
  lval code = LLVMGetInlineAsm(type, text[n], strlen(text[n]), operands[n], strlen(operands[n]), 1, 0,
                               LLVMInlineAsmDialectATT, 0);
  LLVMBuildCall2(e->builder, type, code, values, (unsigned)n + 1, "");
}

lval ptx_shuffle_from(emit *e, lval v, lval from) {
  LLVMTypeRef type = LLVMTypeOf(v);
  check(type == e->i32 || type == e->f32);
  const char *name = type == e->f32 ? "llvm.nvvm.shfl.sync.idx.f32" : "llvm.nvvm.shfl.sync.idx.i32";
  return emit_intrinsic(e, name, NULL, 0, (lval[]){whole_warp(e), v, from, number(e, 31)}, 4);
}

lval ptx_elect(emit *e) {
  check(ptx_has(e, PTX_TMA));
  lval r = call1(e, "llvm.nvvm.elect.sync", whole_warp(e));
  return LLVMBuildExtractValue(e->builder, r, 1, "");
}

void ptx_setmaxnreg(emit *e, bool inc, int registers) {
  check(ptx_has(e, PTX_SETMAXNREG) && registers % 8 == 0 && registers >= 24 && registers <= 256);
  call1(e,
        inc ? "llvm.nvvm.setmaxnreg.inc.sync.aligned.u32"
            : "llvm.nvvm.setmaxnreg.dec.sync.aligned.u32",
        number(e, registers));
}

// ---- cp.async

void ptx_cp_async(emit *e, lval shared, lval global, int bytes, lval size) {
  check(ptx_has(e, PTX_CP_ASYNC) && (bytes == 4 || bytes == 8 || bytes == 16));
  char name[64];
  // cg goes past L1, which only whole 16 bytes may
  snprintf(name, sizeof name, "llvm.nvvm.cp.async.%s.shared.global.%d%s", bytes == 16 ? "cg" : "ca",
           bytes, size ? ".s" : "");
  lval args[] = {ptx_shared(e, shared), global, size};
  emit_intrinsic(e, name, NULL, 0, args, size ? 3 : 2);
}

void ptx_cp_async_commit(emit *e) {
  check(ptx_has(e, PTX_CP_ASYNC));
  call0(e, "llvm.nvvm.cp.async.commit.group");
}

void ptx_cp_async_wait(emit *e, int pending) {
  check(ptx_has(e, PTX_CP_ASYNC));
  call1(e, "llvm.nvvm.cp.async.wait.group", number(e, pending));
}

// ---- mbarriers

void ptx_mbarrier_init(emit *e, lval address, int arrivals) {
  check(ptx_has(e, PTX_TMA));
  call2(e, "llvm.nvvm.mbarrier.init.shared", ptx_shared(e, address), number(e, arrivals));
}

void ptx_mbarrier_init_fence(emit *e) {
  check(ptx_has(e, PTX_TMA));
  call0(e, "llvm.nvvm.fence.mbarrier_init.release.cluster");
  ptx_fence_async(e);
}

void ptx_mbarrier_arrive(emit *e, lval address) {
  check(ptx_has(e, PTX_TMA));
  call2(e, "llvm.nvvm.mbarrier.arrive.scope.cta.space.cta", ptx_shared(e, address), number(e, 1));
}

void ptx_mbarrier_expect(emit *e, lval address, lval bytes) {
  check(ptx_has(e, PTX_TMA));
  call2(e, "llvm.nvvm.mbarrier.arrive.expect.tx.scope.cta.space.cta", ptx_shared(e, address),
        bytes);
}

void ptx_mbarrier_wait(emit *e, lval address, lval parity) {
  check(ptx_has(e, PTX_TMA));
  lval function = LLVMGetBasicBlockParent(LLVMGetInsertBlock(e->builder));
  LLVMBasicBlockRef again = LLVMAppendBasicBlockInContext(e->context, function, "");
  LLVMBasicBlockRef over = LLVMAppendBasicBlockInContext(e->context, function, "");
  LLVMBuildBr(e->builder, again);
  LLVMPositionBuilderAtEnd(e->builder, again);
  lval done = call2(e, "llvm.nvvm.mbarrier.try.wait.parity.scope.cta.space.cta",
                    ptx_shared(e, address), parity);
  LLVMBuildCondBr(e->builder, done, over, again);
  LLVMPositionBuilderAtEnd(e->builder, over);
}

// ---- clusters

lval ptx_cluster_rank(emit *e) {
  check(ptx_has(e, PTX_TMA));
  return call0(e, "llvm.nvvm.read.ptx.sreg.cluster.ctarank");
}

void ptx_barrier_cluster(emit *e) {
  check(ptx_has(e, PTX_TMA));
  call0(e, "llvm.nvvm.barrier.cluster.arrive.aligned");
  call0(e, "llvm.nvvm.barrier.cluster.wait.aligned");
}

lval ptx_in_block(emit *e, lval address, lval rank) {
  check(ptx_has(e, PTX_TMA));
  return call2(e, "llvm.nvvm.mapa.shared.cluster", ptx_shared(e, address), rank);
}

void ptx_store_async(emit *e, lval to, lval value, lval mbarrier) {
  static const char text[] =
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.b64 [$0], $1, [$2];";
  static const char operands[] = "l,l,l,~{memory}";
  LLVMTypeRef cluster = LLVMPointerTypeInContext(e->context, SPACE_CLUSTER);
  LLVMTypeRef types[] = {cluster, e->i64, cluster};
  LLVMTypeRef type = LLVMFunctionType(e->void_, types, 3, 0);
  lval code = LLVMGetInlineAsm(type, text, sizeof text - 1, operands, sizeof operands - 1, 1, 0,
                               LLVMInlineAsmDialectATT, 0);
  LLVMBuildCall2(e->builder, type, code, (lval[]){to, value, mbarrier}, 3, "");
}

// ---- tensor memory access

// createpolicy.fractional.L2::evict_first with fraction 1, as the toolkit's headers encode it
const uint64_t PTX_EVICT_FIRST = 0x12F0000000000000;

void ptx_fence_async(emit *e) {
  check(ptx_has(e, PTX_TMA));
  call0(e, "llvm.nvvm.fence.proxy.async.shared_cta");
}

void ptx_tma_load(emit *e, lval shared, lval mbarrier, lval map, const lval *at, int rank,
                  uint64_t hint) {
  check(ptx_has(e, PTX_TMA) && rank >= 1 && rank <= 5);
  char name[64];
  lval args[16];
  int n = 0;
  LLVMTypeRef cluster = LLVMPointerTypeInContext(e->context, SPACE_CLUSTER);
  args[n++] = LLVMBuildAddrSpaceCast(e->builder, ptx_shared(e, shared), cluster, "");
  args[n++] = ptx_shared(e, mbarrier);
  args[n++] = map;
  for (int i = 0; i < rank; i++) args[n++] = at[i];
  args[n++] = emit_int(e->i16, 0);  // multicast
  args[n++] = emit_int(e->i64, (int64_t)hint);
  args[n++] = flag(e, false);
  args[n++] = flag(e, hint != 0);
  args[n++] = number(e, 0);
  snprintf(name, sizeof name, "llvm.nvvm.cp.async.bulk.tensor.g2s.tile.%dd", rank);
  emit_intrinsic(e, name, NULL, 0, args, n);
}

void ptx_tma_store(emit *e, lval shared, lval map, const lval *at, int rank) {
  check(ptx_has(e, PTX_TMA) && rank >= 1 && rank <= 5);
  char name[64];
  lval args[16];
  int n = 0;
  args[n++] = ptx_shared(e, shared);
  args[n++] = map;
  for (int i = 0; i < rank; i++) args[n++] = at[i];
  args[n++] = emit_int(e->i64, 0);
  args[n++] = flag(e, false);
  snprintf(name, sizeof name, "llvm.nvvm.cp.async.bulk.tensor.s2g.tile.%dd", rank);
  emit_intrinsic(e, name, NULL, 0, args, n);
}

void ptx_bulk_add(emit *e, lval global, lval shared, int bytes) {
  static const char text[] =
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [$0], [$1], $2;";
  static const char operands[] = "l,r,r,~{memory}";
  check(ptx_has(e, PTX_TMA) && bytes % 16 == 0);
  LLVMTypeRef types[] = {LLVMPointerTypeInContext(e->context, SPACE_GLOBAL), e->i32, e->i32};
  LLVMTypeRef type = LLVMFunctionType(e->void_, types, 3, 0);
  lval code = LLVMGetInlineAsm(type, text, sizeof text - 1, operands, sizeof operands - 1, 1, 0,
                               LLVMInlineAsmDialectATT, 0);
  LLVMBuildCall2(e->builder, type, code, (lval[]){global, shared, number(e, bytes)}, 3, "");
}

void ptx_bulk_commit(emit *e) {
  check(ptx_has(e, PTX_TMA));
  call0(e, "llvm.nvvm.cp.async.bulk.commit.group");
}

void ptx_bulk_wait(emit *e, int pending, bool read) {
  check(ptx_has(e, PTX_TMA));
  call1(e, read ? "llvm.nvvm.cp.async.bulk.wait.group.read" : "llvm.nvvm.cp.async.bulk.wait.group",
        number(e, pending));
}
