// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rows on a GPU, from source text to PTX: what is kept in registers, exchanged over clusters and
// copied ahead; no spills where none must be.
#include <criterion/criterion.h>

#include "codegen/codegen.h"
#include "gpu_fixture.h"
#include "nvptx_fixture.h"

typedef struct rows {
  lowered l;
  str ptx;
  nvptx_report report;
} rows;

static void rows_make(rows *r, const char *source, const char *arch) {
  target_info target = gpu_named(arch);
  str error;
  code out;
  lowered_make_for(&r->l, source, &target);
  codegen_options o = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  cr_assert(codegen_cuda(&r->l.test.arena, r->l.p, &o, &out, &error), "%.*s",
            STR_FMT(error));
  r->ptx = (str){out.data, (int)out.size};
  r->report = nvptx_assemble(r->ptx, arch);
}

/// The PTX has the text so often; -1: at all.
static void expect(const rows *r, const char *source, const char *text, int times) {
  int n = nvptx_count(r->ptx, text);
  cr_expect(times < 0 ? n > 0 : n == times, "%s: %d times \"%s\"", source, n, text);
}

static void expect_no_spills(const rows *r, const char *source) {
  expect(r, source, ".local", 0);
  cr_expect(!r->report.spill_bytes && !r->report.warnings, "%s: %d registers, %d bytes spilled",
            source, r->report.registers, r->report.spill_bytes);
}

#define SOFTMAX(n, t) \
  "fn f(x: bf16[N = " n ", T = " t "]) -> bf16[N, T] { return bf16(softmax(x, T)) }"
#define NORM(n, t)                                                                \
  "fn f(x: bf16[N = " n ", T = " t "], w: bf16[T], b: bf16[T]) -> bf16[N, T] {" \
  " return bf16(layernorm(x, w, b, 1e-5, T)) }"

Test(nvptx_rows, clusters_exchange_and_copy_ahead) {
  const char *source = NORM("8192", "50257");
  rows r;
  rows_make(&r, source, "sm_90a");
  expect_no_spills(&r, source);
  expect(&r, source, ".reqnctapercluster 2, 1, 1", 1);
  expect(&r, source, "st.async.shared::cluster", 2);  // two reductions, one value each
  expect(&r, source, "barrier.cluster.arrive", 2);    // start and end
  expect(&r, source, "cp.async.cg.shared.global", -1);
  expect(&r, source, "st.shared.v4", 0);  // rows do not pass registers on their way
  lowered_free(&r.l);
}

static void expect_divisions(const char *source, int times) {
  rows r;
  rows_make(&r, source, "sm_80");
  expect(&r, source, "div.rn.f32", times);
  lowered_free(&r.l);
}

Test(nvptx_rows, constants_divide_by_multiply_adds) {
  expect_divisions("fn f(x: f32[N]) -> f32[N] { return x / 30 }", 0);
  expect_divisions("fn f(x: f32[N]) -> f32[N] { return x / -1.7 }", 0);
  expect_divisions("fn f(x: f32[N]) -> f32[N] { return x / 0.3 }", -1);  // may overflow on the way
  expect_divisions("fn f(x: f32[N]) -> f32[N] { return 30 / x }", -1);
  expect_divisions("fn f(x: f32[N], y: f32[N]) -> f32[N] { return x / y }", -1);
}

Test(nvptx_rows, clusters_are_refused_where_there_are_none) {
  lowered l;
  lowered_make(&l, SOFTMAX("8192", "50257"));
  codegen_options o = {.cpu = STR("sm_80"), .kind = CODE_ASSEMBLY};
  code out;
  str error;
  cr_assert(!codegen_cuda(&l.test.arena, l.p, &o, &out, &error));
  cr_expect(strstr(error.ptr, "needs clusters of blocks, which sm_80 has not"), "%s", error.ptr);
  lowered_free(&l);
}

Test(nvptx_rows, kernels_of_the_other_kind_are_refused) {
  target_info cpu;
  lowered l;
  code out;
  str error;
  codegen_options o = {.cpu = STR("x86-64"), .kind = CODE_ASSEMBLY};
  lowered_make(&l, SOFTMAX("128", "512"));
  cr_assert(!codegen_cpu(&l.test.arena, l.p, &o, &out, &error));
  cr_expect(strstr(error.ptr, "has threads: it was lowered for a GPU"), "%s", error.ptr);
  lowered_free(&l);
  arena scratch = {0};
  cr_assert(codegen_cpu_target(&scratch, o.cpu, &cpu, &error));
  lowered_make_for(&l, SOFTMAX("128", "512"), &cpu);
  o.cpu = STR("sm_90a");
  cr_assert(!codegen_cuda(&l.test.arena, l.p, &o, &out, &error));
  cr_expect(strstr(error.ptr, "has no threads: it was lowered for a CPU"), "%s", error.ptr);
  lowered_free(&l);
  arena_free(&scratch);
}

Test(nvptx_rows, rings_need_no_clusters) {
  const char *source = SOFTMAX("4096", "32768");
  rows r;
  rows_make(&r, source, "sm_80");
  expect_no_spills(&r, source);
  expect(&r, source, "cp.async.cg.shared.global", -1);
  expect(&r, source, "cluster", 0);
  lowered_free(&r.l);
}

/// Rows of the shapes that matter are loaded in vectors, once, and nothing is spilled.
Test(nvptx_rows, rows_in_registers) {
  static const struct {
    const char *source;
    int loads;
  } cases[] = {{SOFTMAX("16384", "4096"), 4},
               {SOFTMAX("65536", "1024"), 4},
               {SOFTMAX("4096", "16384"), 8},
               {NORM("65536", "1024"), 12},
               {NORM("4096", "16384"), 24}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    rows r;
    rows_make(&r, cases[i].source, "sm_90a");
    expect_no_spills(&r, cases[i].source);
    expect(&r, cases[i].source, "ld.global.nc.v4.b32", cases[i].loads);
    lowered_free(&r.l);
  }
}

/// Wide blocks make the exponentials of a softmax again rather than keep them.
Test(nvptx_rows, exponentials_are_made_again_in_large_rows) {
  rows r;
  rows_make(&r, SOFTMAX("4096", "16384"), "sm_90a");
  expect(&r, "16384", "ex2.approx.ftz.f32", 128);  // 64 elements, twice
  lowered_free(&r.l);
  rows_make(&r, SOFTMAX("16384", "4096"), "sm_90a");
  expect(&r, "4096", "ex2.approx.ftz.f32", 32);
  lowered_free(&r.l);
}

/// The maximum of 16-bit rows is found two elements at a time.
Test(nvptx_rows, extremes_of_halves_are_paired) {
  rows r;
  rows_make(&r, SOFTMAX("16384", "4096"), "sm_90a");
  expect(&r, "bf16", "max.NaN.bf16x2", -1);
  lowered_free(&r.l);
  rows_make(&r, "fn f(x: f32[N = 16384, T = 4096]) -> f32[N] { return max(x, T) }", "sm_90a");
  expect(&r, "f32", "bf16x2", 0);
  lowered_free(&r.l);
}

/// Cross-entropy reads a logit without comparing indices, and its exponentials, only summed, are
/// not corrected; those of an f32 softmax are.
Test(nvptx_rows, exponentials_that_are_only_summed_are_short) {
  rows r;
  rows_make(&r, "fn f(x: bf16[N = 1024, T = 128256], t: i32[N]) -> f32[N] {"
                " return cross_entropy(x, t, T) }", "sm_90a");
  expect(&r, "sums", "ex2.approx.ftz.f32", -1);
  expect_no_spills(&r, "sums");
  lowered_free(&r.l);
  rows_make(&r, "fn f(x: f32[N = 1024, T = 1024]) -> f32[N, T] { return softmax(x, T) }", "sm_90a");
  expect(&r, "values", "ex2.approx.ftz.f32", 0);
  lowered_free(&r.l);
}

/// One branch for large arguments serves four elements.
Test(nvptx_rows, sines_branch_together) {
  rows r;
  rows_make(&r, "fn f(x: f32[N = 1048576]) -> f32[N] { return cos(x) }", "sm_90a");
  expect(&r, "cos", "call.uni", 4);  // four in one far block, of the vectors of a thread
  lowered_free(&r.l);
}
