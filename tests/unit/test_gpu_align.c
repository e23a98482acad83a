// Rows that begin anywhere in memory: loads shift two aligned vectors, and
// results leave through shared memory.
#include <criterion/criterion.h>

#include "codegen/codegen.h"
#include "gpu_fixture.h"
#include "nvptx_fixture.h"

// ---- code

static str ptx_of(lowered *l, const char *arch) {
  codegen_options o = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  str error;
  cr_assert(codegen_cuda(&l->test.arena, l->p, &o, (code){0}, &out, &error), "%.*s",
            STR_FMT(error));
  return (str){out.data, (int)out.size};
}

Test(gpu_align, loads_shift_two_aligned_vectors) {
  static const struct {
    const char *source;
    bool shifts;
  } cases[] = {
      {"fn f(x: bf16[N = 64, T = 4097]) -> bf16[N, T] { return bf16(tanh(x[N -> N, T -> T])) }",
       false},
      {"fn f(x: bf16[N = 64, T = 4104], w: bf16[T]) -> bf16[N, S = 4096] {"
       " return bf16(x[T = 1:4097 -> S] * 2.0) }",
       true},
      {"fn f(x: f32[N = 64, T = 4104]) -> f32[N, S = 4096] { return x[T = 2:4098 -> S] * 2.0 }",
       false},
      {"fn f(x: f32[N = 64, T = 4104]) -> f32[N, S = 4096] { return x[T = 3:4099 -> S] * 2.0 }",
       true},
      {"fn f(x: u8[N = 64, T = 4104]) -> u8[N, S = 4096] { return x[T = 3:4099 -> S] + u8(1) }",
       false},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    lowered l;
    lowered_make(&l, cases[i].source);
    str ptx = ptx_of(&l, "sm_90a");
    bool shifts = nvptx_count(ptx, "selp.b32") + nvptx_count(ptx, "shf.") > 4;
    cr_expect_eq(shifts, cases[i].shifts, "%s\n%.*s", cases[i].source, STR_FMT(ptx));
    nvptx_report r = nvptx_assemble(ptx, "sm_90a");
    cr_expect(!r.spill_bytes);
    lowered_free(&l);
  }
}

Test(gpu_align, odd_results_leave_through_shared_memory) {
  lowered l;
  lowered_make(&l,
               "fn f(a: bf16[M = 1000, K = 704], b: bf16[N = 1289, K]) -> bf16[M, N] {"
               " return bf16(dot(a, b, K)) }");
  str ptx = ptx_of(&l, "sm_90a");
  cr_expect_gt(nvptx_count(ptx, "stmatrix"), 0);
  cr_expect_gt(nvptx_count(ptx, "st.global.b32"), 0);
  cr_expect_eq(nvptx_count(ptx, "global.shared::cta"), 0);  // not by the engine
  nvptx_report r = nvptx_assemble(ptx, "sm_90a");
  cr_expect(!r.spill_bytes && !r.warnings);
  lowered_free(&l);
}
