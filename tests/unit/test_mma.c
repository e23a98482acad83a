// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products of tiles in shared memory: the instructions they take, for every order in memory, and
// that they fit in registers.
#include <criterion/criterion.h>

#include "codegen/nvptx/mma.h"
#include "nvptx_fixture.h"

typedef struct product_case {
  const char *arch;
  dtype type;
  bool a_k_unit, b_k_unit;
  int m_warps, n_warps;  // wgmma: warpgroups, 1
  int m_blocks, n_blocks;
  int depth;
} product_case;

static mma_operand operand_at(emit *e, lval smem, int offset, dtype t, bool k_unit, int extent,
                              int depth) {
  int panel = 128 / dtype_bytes(t), rows = k_unit ? extent : depth;
  return (mma_operand){.type = t,
                       .k_unit = k_unit,
                       .pitch = 128,
                       .panel = panel,
                       .panel_stride = rows * 128,
                       .base = LLVMBuildAdd(e->builder, smem, emit_int(e->i32, offset), ""),
                       .swizzle = true};
}

/// Neighbouring warps hold neighbouring blocks, or each a run of them.
static mma_side side_of(emit *e, lval warp, int warps, int block, int blocks, bool run) {
  int *at = arena_array(e->arena, int, blocks);
  for (int i = 0; i < blocks; i++) at[i] = i * block * (run ? 1 : warps);
  mma_side s = {.n = blocks, .at = at, .align = block * (run ? blocks : 1)};
  if (warps > 1) s.first = LLVMBuildMul(e->builder, warp, emit_int(e->i32, s.align), "");
  return s;
}

/// A loop that multiplies the same tiles `count` times and stores the sums.
static str product_ptx(emit *e, const product_case *c, bool wgmma, int threads, nvptx_report *r) {
  LLVMBuilderRef b = e->builder;
  LLVMTypeRef params[] = {LLVMPointerTypeInContext(e->context, SPACE_GLOBAL), e->i32};
  lval f = LLVMAddFunction(e->module, "k", LLVMFunctionType(e->void_, params, 2, false));
  LLVMSetFunctionCallConv(f, 71);
  nvptx_threads(e, f, threads);
  LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(e->context, f, "entry");
  LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(e->context, f, "body");
  LLVMBasicBlockRef end = LLVMAppendBasicBlockInContext(e->context, f, "end");
  LLVMPositionBuilderAtEnd(b, entry);
  lval smem = LLVMBuildPtrToInt(b, nvptx_shared_memory(e), e->i32, "");
  lval tid = ptx_read(e, SREG_TID);
  lval warp = LLVMBuildUDiv(b, tid, emit_int(e->i32, wgmma ? 128 : 32), "");
  int m_block = wgmma ? 64 : 16, regs = 4 * c->m_blocks * c->n_blocks;
  mma_product p = {.depth = c->depth, .tid = tid, .acc_m = 2 * c->n_blocks, .acc_n = 1};
  lval m_warp = LLVMBuildURem(b, warp, emit_int(e->i32, c->m_warps), "");
  lval n_warp = LLVMBuildUDiv(b, warp, emit_int(e->i32, c->m_warps), "");
  p.m = side_of(e, m_warp, c->m_warps, m_block, c->m_blocks, false);
  p.n = side_of(e, n_warp, c->n_warps, 8, c->n_blocks, true);
  int m = m_block * c->m_warps * c->m_blocks, n = 8 * c->n_warps * c->n_blocks;
  p.a = operand_at(e, smem, 0, c->type, c->a_k_unit, m, c->depth);
  p.b = operand_at(e, smem, 65536, c->type, c->b_k_unit, n, c->depth);
  LLVMBuildBr(b, body);
  LLVMPositionBuilderAtEnd(b, body);
  lval *phis = arena_array(e->arena, lval, regs + 1);
  for (int i = 0; i <= regs; i++) phis[i] = LLVMBuildPhi(b, i < regs ? e->f32 : e->i32, "");
  p.acc = arena_copy(e->arena, phis, sizeof *phis * (size_t)regs);
  ptx_barrier(e, 0, 0);
  const char *no = product_refuses(wgmma ? DOT_WGMMA : DOT_MMA, &p);
  cr_assert_null(no, "%s", no);
  if (wgmma) {
    wgmma_emit(e, &p);
    ptx_wgmma_wait(e, 0, p.acc, regs);
  } else {
    mma_emit(e, &p);
  }
  lval next = LLVMBuildAdd(b, phis[regs], emit_int(e->i32, 1), "");
  lval more = LLVMBuildICmp(b, LLVMIntSLT, next, LLVMGetParam(f, 1), "");
  for (int i = 0; i <= regs; i++) {
    lval in[] = {i < regs ? emit_float(e->f32, 0) : emit_int(e->i32, 0),
                 i < regs ? p.acc[i] : next};
    LLVMAddIncoming(phis[i], in, (LLVMBasicBlockRef[]){entry, LLVMGetInsertBlock(b)}, 2);
  }
  LLVMBuildCondBr(b, more, body, end);
  LLVMPositionBuilderAtEnd(b, end);
  for (int i = 0; i < regs; i++) {
    lval at =
        LLVMBuildAdd(b, LLVMBuildMul(b, tid, emit_int(e->i32, regs), ""), emit_int(e->i32, i), "");
    LLVMBuildStore(b, p.acc[i], LLVMBuildGEP2(b, e->f32, LLVMGetParam(f, 0), &at, 1, ""));
  }
  LLVMBuildRetVoid(b);
  str ptx = nvptx_compile(e, c->arch, STR("product"));
  *r = nvptx_assemble(ptx, c->arch);
  return ptx;
}

static void check_case(const product_case *c, bool wgmma, int threads, int products, int loads) {
  arena a = {0};
  emit e;
  nvptx_report r;
  nvptx_emit_open(&e, &a, c->arch);
  str ptx = product_ptx(&e, c, wgmma, threads, &r);
  const char *what = wgmma ? "wgmma.mma_async" : "mma.sync";
  cr_expect_eq(nvptx_count(ptx, what), products, "%s: %d %s", c->arch, nvptx_count(ptx, what),
               what);
  cr_expect_eq(nvptx_count(ptx, "ldmatrix"), loads, "%d ldmatrix", nvptx_count(ptx, "ldmatrix"));
  cr_expect_eq(nvptx_count(ptx, ".local"), 0);
  cr_expect(!r.spill_bytes && !r.warnings, "%s: %d registers, %d bytes spilled, warnings %d",
            c->arch, r.registers, r.spill_bytes, r.warnings);
  nvptx_emit_close(&e);
  arena_free(&a);
}

Test(mma, sync_all_orders) {
  // 8 warps, 4 by 2: 128 x 128 x 64, each 2 x 8 blocks, 4 steps
  for (int order = 0; order < 4; order++) {
    product_case c = {"sm_80", order ? DT_f16 : DT_bf16, order & 1, order & 2, 4, 2, 2, 8, 64};
    check_case(&c, false, 256, 2 * 8 * 4, 4 * (2 + 4));  // b two blocks at a time
  }
}

Test(mma, sync_tf32) {
  for (int order = 0; order < 4; order++) {
    product_case c = {"sm_90a", DT_f32, order & 1, order & 2, 4, 1, 2, 8, 32};
    // 4 steps of 8: a 2 each, b 4 each
    int loads = (order & 1 ? 8 : 0) + (order & 2 ? 16 : 0);
    check_case(&c, false, 128, 2 * 8 * 4, loads);
  }
}

Test(mma, wgmma_all_orders) {
  for (int order = 0; order < 4; order++) {
    product_case c = {"sm_90a", DT_bf16, order & 1, order & 2, 2, 1, 1, 32, 64};
    check_case(&c, true, 256, 4, 0);
  }
}

Test(mma, wgmma_shapes) {
  product_case two_rows = {"sm_90a", DT_f16, true, false, 2, 1, 2, 16, 64};
  check_case(&two_rows, true, 256, 8, 0);
  product_case narrow = {"sm_90a", DT_bf16, true, true, 1, 1, 1, 2, 128};
  check_case(&narrow, true, 128, 8, 0);
  product_case tf32 = {"sm_90a", DT_f32, true, true, 1, 1, 1, 16, 32};
  check_case(&tf32, true, 128, 4, 0);
}

Test(mma, wgmma_tf32_rows_pass_registers) {
  // 4 steps; the fragments one by one, the columns by descriptor
  product_case c = {"sm_90a", DT_f32, false, true, 2, 1, 1, 32, 32};
  check_case(&c, true, 256, 4, 0);
}

Test(mma, refusals) {
  int at[] = {0, 8};
  mma_operand o = {
      .type = DT_bf16, .pitch = 128, .panel = 64, .panel_stride = 8192, .swizzle = true};
  mma_product p = {.a = o, .b = o, .m = {.n = 1, .at = at}, .n = {.n = 2, .at = at}, .depth = 64};
  cr_expect_null(product_refuses(DOT_MMA, &p));
  cr_expect_null(product_refuses(DOT_WGMMA, &p));
  p.depth = 24;
  cr_expect_str_eq(product_refuses(DOT_MMA, &p), "depth is not a multiple of the instruction's");
  p.depth = 64;
  p.a.type = p.b.type = DT_f32;
  cr_expect_str_eq(product_refuses(DOT_WGMMA, &p), "operand is not in swizzled panels of 128 bytes");
  p.a.panel = p.b.panel = 32;
  cr_expect_str_eq(product_refuses(DOT_WGMMA, &p), "rows of tf32 columns do not run along k");
  p.a.type = p.b.type = DT_i8;
  cr_expect_str_eq(product_refuses(DOT_MMA, &p), "element types");
}
