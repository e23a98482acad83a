// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GPU instructions: a kernel with every one of them compiles for each architecture as far as it has
// them, prints the expected PTX and assembles.
#include <criterion/criterion.h>

#include "nvptx_fixture.h"

typedef struct ptx_kernel {
  emit e;
  arena arena;
  lval function, in, map, smem, tid;
} ptx_kernel;

static lval n32(ptx_kernel *k, int v) { return emit_int(k->e.i32, v); }

static lval shared_at(ptx_kernel *k, int offset) {
  return LLVMBuildAdd(k->e.builder, k->smem, n32(k, offset), "");
}

/// void k(global ptr, tensor map by value), with 64 KB of dynamic shared memory.
static void kernel_open(ptx_kernel *k, const char *arch) {
  *k = (ptx_kernel){0};
  nvptx_emit_open(&k->e, &k->arena, arch);
  emit *e = &k->e;
  LLVMTypeRef params[] = {LLVMPointerTypeInContext(e->context, SPACE_GLOBAL), e->ptr};
  k->function = LLVMAddFunction(e->module, "k", LLVMFunctionType(e->void_, params, 2, false));
  LLVMSetFunctionCallConv(k->function, 71);  // ptx_kernel
  nvptx_threads(e, k->function, 384);
  nvptx_map_param(e, k->function, 1);
  k->in = LLVMGetParam(k->function, 0);
  k->map = LLVMGetParam(k->function, 1);
  LLVMPositionBuilderAtEnd(e->builder,
                           LLVMAppendBasicBlockInContext(e->context, k->function, "entry"));
  k->smem = LLVMBuildPtrToInt(e->builder, nvptx_shared_memory(e), e->i32, "");
  k->tid = ptx_read(e, SREG_TID);
}

/// Stores v (i32, f32 or i1) where the optimiser cannot drop it.
static void keep(ptx_kernel *k, lval v) {
  emit *e = &k->e;
  if (LLVMTypeOf(v) == e->i1) v = LLVMBuildZExt(e->builder, v, e->i32, "");
  lval at = LLVMBuildGEP2(e->builder, e->i32, k->in, &k->tid, 1, "");
  LLVMSetVolatile(LLVMBuildStore(e->builder, v, at), true);
}

static str kernel_close(ptx_kernel *k, const char *arch) {
  LLVMBuildRetVoid(k->e.builder);
  str ptx = nvptx_compile(&k->e, arch, STR("k"));
  nvptx_assemble(ptx, arch);
  return ptx;
}

static void kernel_free(ptx_kernel *k) {
  nvptx_emit_close(&k->e);
  arena_free(&k->arena);
}

#define cr_has(text, what) \
  cr_expect(nvptx_count(text, what) > 0, "%s not in the PTX:\n%.*s", what, STR_FMT(text))

static void thread_instructions(ptx_kernel *k) {
  emit *e = &k->e;
  ptx_barrier(e, 0, 0);
  ptx_barrier(e, 1, 256);
  ptx_barrier_arrive_of(e, n32(k, 2), 256);
  ptx_barrier_warp(e);
  keep(k, ptx_shuffle_from(e, LLVMBuildUIToFP(e->builder, k->tid, e->f32, ""), n32(k, 8)));
  keep(k, ptx_shuffle_from(e, k->tid, n32(k, 3)));
  keep(k, ptx_read(e, SREG_CTAID));
  keep(k, ptx_read(e, SREG_NCTAID));
}

static void copies_and_mma(ptx_kernel *k) {
  emit *e = &k->e;
  ptx_cp_async(e, k->smem, k->in, 16, NULL);
  ptx_cp_async(e, shared_at(k, 16), k->in, 16, k->tid);
  ptx_cp_async(e, shared_at(k, 32), k->in, 8, k->tid);
  ptx_cp_async(e, shared_at(k, 40), k->in, 4, k->tid);
  ptx_cp_async_commit(e);
  ptx_cp_async_wait(e, 1);
  lval a[4], b[4], acc[4];
  ptx_ldmatrix(e, shared_at(k, 128), 4, false, a);
  ptx_ldmatrix(e, shared_at(k, 256), 2, true, b);
  for (int i = 0; i < 4; i++) acc[i] = emit_float(e->f32, 0);
  ptx_mma(e, DT_bf16, acc, a, b);
  ptx_mma(e, DT_f16, acc, a, b);
  ptx_ldmatrix(e, shared_at(k, 512), 1, false, b);
  b[0] = ptx_to_tf32(e, b[0]);
  ptx_mma(e, DT_f32, acc, a, b);
  for (int i = 0; i < 4; i++) keep(k, acc[i]);
}

static void bulk_copies(ptx_kernel *k) {
  emit *e = &k->e;
  lval bar = shared_at(k, 32768), at[5];
  for (int i = 0; i < 5; i++) at[i] = n32(k, i);
  ptx_mbarrier_init(e, bar, 1);
  ptx_mbarrier_init_fence(e);
  keep(k, ptx_elect(e));
  ptx_mbarrier_expect(e, bar, n32(k, 4096));
  ptx_mbarrier_arrive(e, bar);
  for (int rank = 2; rank <= 5; rank++) ptx_tma_load(e, k->smem, bar, k->map, at, rank, 0);
  ptx_tma_load(e, k->smem, bar, k->map, at, 2, PTX_EVICT_FIRST);
  ptx_mbarrier_wait(e, bar, n32(k, 0));
  lval r[4];
  ptx_ldmatrix(e, k->smem, 4, false, r);
  ptx_stmatrix(e, shared_at(k, 1024), 4, false, r);
  ptx_stmatrix(e, shared_at(k, 2048), 2, true, r);
  ptx_fence_async(e);
  ptx_tma_store(e, k->smem, k->map, at, 2);
  ptx_bulk_commit(e);
  ptx_bulk_wait(e, 0, true);
  ptx_bulk_wait(e, 0, false);
}

/// One product of each width, from shared memory or with A in registers.
static void wgmma_products(ptx_kernel *k, dtype t, int n, bool fragment) {
  emit *e = &k->e;
  lval acc[128], regs[4];
  wgmma_a a = {0};
  if (fragment) {
    ptx_ldmatrix(e, k->smem, 4, false, regs);
    a.fragment = regs;
  } else {
    a.descriptor = ptx_wgmma_descriptor(e, k->smem, 16);
    a.major = t == DT_f32 ? WGMMA_K_MAJOR : WGMMA_MN_MAJOR;
  }
  wgmma_major b_major = t == DT_f32 ? WGMMA_K_MAJOR : WGMMA_MN_MAJOR;
  lval b = ptx_wgmma_descriptor(e, shared_at(k, 16384), 8192);
  for (int i = 0; i < n / 2; i++) acc[i] = LLVMGetUndef(e->f32);
  ptx_wgmma_fence(e);
  ptx_wgmma(e, t, n, acc, a, b, b_major, n32(k, 0));
  ptx_wgmma(e, t, n, acc, a, b, b_major, n32(k, 1));
  ptx_wgmma_commit(e);
  ptx_wgmma_wait(e, 0, acc, n / 2);
  for (int i = 0; i < n / 2; i++) keep(k, acc[i]);
}

static void all_that_it_has(const char *arch) {
  ptx_kernel k;
  kernel_open(&k, arch);
  thread_instructions(&k);
  copies_and_mma(&k);
  if (ptx_has(&k.e, PTX_TMA)) bulk_copies(&k);
  if (ptx_has(&k.e, PTX_SETMAXNREG)) ptx_setmaxnreg(&k.e, false, 160);
  str ptx = kernel_close(&k, arch);
  cr_has(ptx, "bar.sync \t1, 256");
  cr_has(ptx, "shfl.sync.idx.b32");
  cr_has(ptx, "cp.async.cg.shared.global");
  cr_has(ptx, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
  cr_has(ptx, "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");
  cr_has(ptx, "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16");
  if (ptx_has(&k.e, PTX_TMA)) {
    cr_has(ptx, "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier");
    cr_has(ptx, "L2::cache_hint");
    cr_has(ptx, "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group");
    cr_has(ptx, "mbarrier.try_wait.parity");
    cr_has(ptx, "stmatrix.sync.aligned.m8n8.x4.shared.b16");
  }
  cr_expect_eq(nvptx_count(ptx, ".local"), 0);
  cr_expect_eq(nvptx_count(ptx, "call"), 0, "an unknown intrinsic became a call");
  kernel_free(&k);
}

Test(ptx, all_sm_80) { all_that_it_has("sm_80"); }
Test(ptx, all_sm_90a) { all_that_it_has("sm_90a"); }
Test(ptx, all_sm_100a) { all_that_it_has("sm_100a"); }
Test(ptx, all_sm_120a) { all_that_it_has("sm_120a"); }

Test(ptx, wgmma) {
  static const struct {
    dtype t;
    int n;
    bool fragment;
    const char *text;
  } cases[] = {
      {DT_bf16, 256, false, "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16"},
      {DT_f16, 128, false, "wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16"},
      {DT_bf16, 128, true, "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16"},
      {DT_bf16, 8, false, "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16"},
      {DT_f32, 64, false, "wgmma.mma_async.sync.aligned.m64n64k8.f32.tf32.tf32"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    ptx_kernel k;
    kernel_open(&k, "sm_90a");
    wgmma_products(&k, cases[i].t, cases[i].n, cases[i].fragment);
    str ptx = kernel_close(&k, "sm_90a");
    cr_expect_eq(nvptx_count(ptx, cases[i].text), 2, "%s", cases[i].text);
    cr_has(ptx, "wgmma.wait_group.sync.aligned");
    kernel_free(&k);
  }
}

Test(ptx, features) {
  emit e = {.arch = ARCH_NVPTX, .target = target_gpu(STR("sm_90"))};
  cr_expect(ptx_has(&e, PTX_TMA) && !ptx_has(&e, PTX_WGMMA));
  e.target = target_gpu(STR("sm_90a"));
  cr_expect(ptx_has(&e, PTX_WGMMA) && ptx_has(&e, PTX_SETMAXNREG));
  e.target = target_gpu(STR("sm_100a"));
  cr_expect(!ptx_has(&e, PTX_WGMMA) && ptx_has(&e, PTX_SETMAXNREG));
  e.target = target_gpu(STR("sm_80"));
  cr_expect(ptx_has(&e, PTX_CP_ASYNC) && !ptx_has(&e, PTX_TMA));
  e.arch = ARCH_X86;
  cr_expect(!ptx_has(&e, PTX_CP_ASYNC));
}
