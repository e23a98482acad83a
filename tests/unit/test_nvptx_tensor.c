// Kernels with dots on tensor cores, from tile IR to PTX: which instructions, no local memory, no
// spills.
#include <criterion/criterion.h>

#include "codegen/codegen.h"
#include "nvptx_fixture.h"
#include "tile_fixture.h"

/// PTX of the golden program; assembled where that is possible.
static str kernel_ptx(tile_fixture *f, const char *name, const char *arch) {
  tile_fixture_load(f, name);
  codegen_options options = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  str error;
  cr_assert(codegen_cuda(&f->arena, f->p, &options, (code){0}, &out, &error), "%.*s",
            STR_FMT(error));
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
