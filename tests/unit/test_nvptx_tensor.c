// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels with dots on tensor cores, from tile IR to PTX: which instructions, no local memory, no
// spills.
#include <criterion/criterion.h>

#include "codegen/codegen.h"
#include "frontend_fixture.h"
#include "lower_targets.h"
#include "nvptx_fixture.h"
#include "tile_fixture.h"

/// PTX of the golden program; assembled where that is possible.
static str kernel_ptx(tile_fixture *f, const char *name, const char *arch) {
  tile_fixture_load(f, name);
  codegen_options options = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  str error;
  cr_assert(codegen_cuda(&f->arena, f->p, &options, &out, &error), "%.*s", STR_FMT(error));
  str ptx = {out.data, (int)out.size};
  nvptx_report r = nvptx_assemble(ptx, arch);
  cr_expect(!r.spill_bytes && !r.warnings, "%s on %s: %d registers, %d bytes spilled, warnings %d",
            name, arch, r.registers, r.spill_bytes, r.warnings);
  cr_expect_eq(nvptx_count(ptx, ".local"), 0);
  return ptx;
}

Test(nvptx_tensor, wgmma_with_producers) {
  tile_fixture f = {0};
  str ptx = kernel_ptx(&f, "gpu_matmul.tile", "sm_90a");
  cr_expect_eq(nvptx_count(ptx, "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16"), 4);
  cr_expect_eq(nvptx_count(ptx, "cp.async.bulk.tensor.2d.shared::cluster"), 3);  // b: two panels
  cr_expect_eq(nvptx_count(ptx, "setmaxnreg"), 2);
  cr_expect_eq(nvptx_count(ptx, ".reqntid 384"), 1);
  cr_expect_eq(nvptx_count(ptx, "st.shared"), 0);
  // the result: two blocks of 64 columns by stmatrix, 16 columns each, and the engine
  cr_expect_eq(nvptx_count(ptx, "stmatrix.sync.aligned.m8n8.x4"), 8);
  cr_expect_eq(nvptx_count(ptx, "cp.async.bulk.tensor.2d.global.shared::cta"), 2);
  cr_expect_eq(nvptx_count(ptx, "st.global"), 0);
  tile_fixture_free(&f);
}

// ---- from source text

typedef struct product_case {
  const char *what, *arch, *text;
  bool mma, wgmma, engine, ring;  // mma.sync, wgmma, TMA, cp.async
  bool tf32;                      // allowed
  bool engine_stores;             // results by TMA
} product_case;

static const product_case products[] = {
    {"plain", "sm_90a",
     "fn f(a: bf16[M = 512, K = 512], b: bf16[K, N = 1024]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .wgmma = true, .engine = true},
    {"weights [N, K]", "sm_90a",
     "fn f(a: f16[M = 512, K = 512], w: f16[N = 1024, K]) -> f16[M, N] {"
     " return f16(dot(a, w, K)) }",
     .wgmma = true, .engine = true},
    {"bias and gelu", "sm_90a",
     "fn f(a: bf16[M = 512, K = 512], b: bf16[K, N = 1024], c: bf16[N]) -> bf16[M, N] {"
     " return bf16(gelu(dot(a, b, K) + c)) }",
     .wgmma = true, .engine = true},
    {"ends inside of tiles", "sm_90a",
     "fn f(a: bf16[M = 1000, K = 712], b: bf16[K, N = 1288]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .wgmma = true, .engine = true},
    {"odd pitches", "sm_90a",
     "fn f(a: bf16[M = 1001, K = 711], b: bf16[K, N = 1289]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .wgmma = true, .engine = true},
    {"odd pitches, too small for copies", "sm_90a",
     "fn f(a: bf16[M = 101, K = 71], b: bf16[K, N = 129]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .wgmma = true},
    {"odd pitches", "sm_80",
     "fn f(a: bf16[M = 1001, K = 711], b: bf16[K, N = 1289]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .mma = true, .ring = true},
    {"one column more than tiles", "sm_90a",
     "fn f(a: bf16[M = 4095, K = 512], w: bf16[N = 4097, K]) -> bf16[M, N] {"
     " return bf16(dot(a, w, K)) }",
     .wgmma = true, .engine = true},
    {"two blocks", "sm_90a",
     "fn f(a: f16[M = 32768, K = 384], w: f16[N = 1536, K], c: f16[N]) -> f16[M, N] {"
     " return f16(gelu(dot(a, w, K) + c)) }",
     .wgmma = true, .engine = true, .engine_stores = true},
    {"attention over few keys", "sm_90a",
     "fn f(q: f16[B = 64, S = 200, D = 64], k: f16[B, T = 150, D], v: f16[B, T, E = 64])"
     " -> f16[B, S, E] { return f16(dot(f16(softmax(dot(q, k, D), T)), v, T)) }",
     .wgmma = true},
    {"attention over few keys", "sm_80",
     "fn f(q: f16[B = 64, S = 200, D = 64], k: f16[B, T = 100, D], v: f16[B, T, E = 64])"
     " -> f16[B, S, E] { return f16(dot(f16(softmax(dot(q, k, D), T)), v, T)) }",
     .mma = true},
    {"perceptron", "sm_90a",
     "fn f(x: f16[M = 8192, K = 384], u: f16[N = 192, K], w: f16[P = 64, N]) -> f16[M, P] {"
     " return f16(dot(f16(gelu(dot(x, u, K))), w, N)) }",
     .wgmma = true, .engine = true},
    {"rows of two axes", "sm_90a",
     "fn f(a: bf16[B = 16, S = 250, K = 384], w: bf16[N = 384, K], c: bf16[N]) -> bf16[B, S, N] {"
     " return bf16(dot(a, w, K) + c) }",
     .wgmma = true, .engine = true, .engine_stores = true},
    {"heads in one axis", "sm_90a",
     "fn f(q: f16[B = 8, S = 200, A = 384], k: f16[B, T = 200, A]) -> f16[B, H, S, T] {"
     " return f16(dot(q[A -> (H, K = 96)], k[A -> (H, K = 96)], K)) }",
     .wgmma = true, .engine = true, .engine_stores = true},
    {"heads made one axis", "sm_90a",
     "fn f(a: f16[B = 8, S = 200, H = 12, K = 32], w: f16[N = 384, A = H * K]) -> f16[B, S, N] {"
     " return f16(dot(a[(H, K) -> A], w, A)) }",
     .wgmma = true, .engine = true, .engine_stores = true},
    {"tf32", "sm_80",
     "fn f(a: f32[M = 512, K = 512], b: f32[K, N = 1024]) -> f32[M, N] { return dot(a, b, K) }",
     .mma = true, .ring = true, .tf32 = true},
    {"tf32, weights [N, K]", "sm_120a",
     "fn f(a: f32[M = 512, K = 512], w: f32[N = 1024, K]) -> f32[M, N] { return dot(a, w, K) }",
     .mma = true, .ring = true, .tf32 = true},
    {"tf32", "sm_100a",
     "fn f(a: f32[M = 500, K = 300], b: f32[K, N = 1000]) -> f32[M, N] { return dot(a, b, K) }",
     .mma = true, .ring = true, .tf32 = true},
    {"tf32, weights [N, K]", "sm_90a",
     "fn f(a: f32[M = 512, K = 512], w: f32[N = 1024, K]) -> f32[M, N] { return dot(a, w, K) }",
     .wgmma = true, .engine = true, .tf32 = true},
    {"tf32, rows through registers", "sm_90a",
     "fn f(a: f32[M = 512, K = 512], b: f32[K, N = 1024]) -> f32[M, N] { return dot(a, b, K) }",
     .wgmma = true, .engine = true, .tf32 = true},
    {"tf32, both along the result", "sm_90a",
     "fn f(a: f32[K = 512, M = 512], b: f32[K, N = 1024]) -> f32[M, N] { return dot(a, b, K) }",
     .wgmma = true, .ring = true, .tf32 = true},
    {"prologue", "sm_90a",
     "fn f(a: bf16[M = 512, K = 512], s: f32[K], b: bf16[K, N = 1024]) -> bf16[M, N] {"
     " return bf16(dot(bf16(a * s), b, K)) }",
     .wgmma = true, .ring = true},
    {"few rows", "sm_90a",
     "fn f(a: bf16[M = 16, K = 4096], b: bf16[K, N = 8192]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .wgmma = true, .engine = true},
    {"ampere", "sm_80",
     "fn f(a: bf16[M = 512, K = 512], b: bf16[K, N = 1024]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .mma = true, .ring = true},
    {"ampere, f16 weights [N, K]", "sm_80",
     "fn f(a: f16[M = 512, K = 512], w: f16[N = 1024, K]) -> f16[M, N] {"
     " return f16(dot(a, w, K)) }",
     .mma = true, .ring = true},
    {"blackwell", "sm_100a",
     "fn f(a: bf16[M = 512, K = 512], b: bf16[K, N = 1024]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .mma = true, .ring = true},
    {"blackwell", "sm_120a",
     "fn f(a: bf16[M = 512, K = 512], b: bf16[K, N = 1024]) -> bf16[M, N] {"
     " return bf16(dot(a, b, K)) }",
     .mma = true, .ring = true},
    {"exact f32", "sm_90a",
     "fn f(a: f32[M = 512, K = 512], b: f32[K, N = 512]) -> f32[M, N] { return dot(a, b, K) }",
     .ring = true},
};

static str product_ptx(program_test *t, const product_case *c) {
  target_info target;
  str error;
  program_test_run(t, c->what, str_from(c->text));
  cr_assert(t->ok, "%s: %.*s", c->what, STR_FMT(program_test_messages(t)));
  target = gpu_named(c->arch);
  if (c->tf32) target.tf32_flops_per_second = target.tensor_flops_per_second / 2;
  pass_options options = {.target = &target};
  arena scratch = {0};
  pass_ctx ctx = {t->graphs.graphs.data[0], &scratch, &options, &t->diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  program *p = lower_to_tiles(&t->arena, ctx.graph, &options);
  codegen_options o = {.cpu = str_from(c->arch), .kind = CODE_ASSEMBLY};
  code out;
  cr_assert(codegen_cuda(&t->arena, p, &o, &out, &error), "%.*s", STR_FMT(error));
  arena_free(&scratch);
  return (str){out.data, (int)out.size};
}

Test(nvptx_tensor, products) {
  for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
    const product_case *c = &products[i];
    program_test t = {0};
    str ptx = product_ptx(&t, c);
    nvptx_report r = nvptx_assemble(ptx, c->arch);
    const struct {
      const char *text;
      bool wanted;
    } has[] = {{"mma.sync.aligned", c->mma},
               {"wgmma.mma_async", c->wgmma},
               {"cp.async.bulk.tensor", c->engine},
               {"cp.async.cg", c->ring}};
    for (size_t k = 0; k < sizeof has / sizeof *has; k++)
      cr_expect_eq(nvptx_count(ptx, has[k].text) > 0, has[k].wanted, "%s on %s: %s", c->what,
                   c->arch, has[k].text);
    if (c->engine_stores)
      cr_expect_gt(nvptx_count(ptx, "global.shared::cta"), 0, "%s: stores", c->what);
    cr_expect_eq(nvptx_count(ptx, ".local"), 0, "%s: local memory", c->what);
    cr_expect(!r.spill_bytes && !r.warnings,
              "%s on %s: %d registers, %d bytes spilled, warnings %d", c->what, c->arch,
              r.registers, r.spill_bytes, r.warnings);
    program_test_free(&t);
  }
}
