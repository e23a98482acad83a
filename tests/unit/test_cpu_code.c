// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compiled code is like: errors of calls, options, the quality of a matrix product's inner
// loop.
#include <criterion/criterion.h>
#include <stdio.h>

#include "base/fault.h"
#include "cpu_fixture.h"

static void parse(tile_fixture *f, const char *text) {
  str report;
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s", text);
  cr_assert(program_verify(f->p, &f->arena, &report), "%s", report.ptr);
}

// ---- failed checks

static const char two_gathers[] =
    "program @p(V, N) {\n buffer %t : f32[V] param 0\n buffer %i : i32[N] param 1\n"
    " buffer %j : i32[N] param 2\n buffer %out : f32[N] output 0\n buffer %out2 : f32[N] output 1\n"
    " call @k(%t, %i, %i, %out)\n call @k(%t, %j, %i, %out2)\n}\n"
    "kernel @k(t: f32[V], i: i32[N], j: i32[N], out: f32[N]) vec N:16 {\n axes N\n grid N:32 {\n"
    "  %0 = load i[N] : i32[N:32]\n  check %0 below V site 0\n  %1 = load j[N] : i32[N:32]\n"
    "  check %1 below V site 1\n  %2 = load t[%0] : f32[N:32]\n  store out[N], %2\n }\n}\n";

/// Runs with one bad index at a position of the first or second index array.
static cpu_result run_with_bad_index(cpu_code *code, tile_fixture *f, int array, int at, int bad) {
  enum { V = 40, N = 45 };
  interp_tensor in[3], out[2];
  in[0] = random_tensor(f, DT_f32, 1, (int64_t[]){V});
  for (int i = 1; i < 3; i++) {
    in[i] = random_tensor(f, DT_i32, 1, (int64_t[]){N});
    for (int k = 0; k < N; k++) in[i].data[k].i = random_below(f, V);
  }
  if (array) in[array].data[at].i = bad;
  return cpu_run(&f->arena, code, (int64_t[]){V, N}, 2, in, out);
}

Test(cpu_code, a_bad_index_stops_the_call_and_is_named) {
  tile_fixture f = {0};
  cpu_code code;
  parse(&f, two_gathers);
  cpu_code_make(&code, f.p, "");
  cr_expect(run_with_bad_index(&code, &f, 0, 0, 0).status == 0);
  static const struct {
    int array, at, bad, step, site;
  } cases[] = {{1, 0, 40, 0, 0}, {1, 44, -1, 0, 0}, {1, 31, 1 << 30, 0, 0}, {2, 17, 77, 1, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    cpu_result r = run_with_bad_index(&code, &f, cases[i].array, cases[i].at, cases[i].bad);
    cr_expect(r.status == 1, "case %zu: status %d", i, r.status);
    cr_expect(r.error_index == cases[i].bad, "case %zu: index %lld", i, (long long)r.error_index);
    cr_expect(r.error_site == 1 + (((int64_t)cases[i].step << 16) | cases[i].site),
              "case %zu: site %llx", i, (long long)r.error_site);
  }
  cpu_code_free(&code);
  tile_fixture_free(&f);
}

// ---- options

static const char copy_text[] =
    "program @p(N) {\n buffer %x : f32[N] param 0\n buffer %out : f32[N] output 0\n"
    " call @k(%x, %out)\n}\n"
    "kernel @k(x: f32[N], out: f32[N]) vec N:16 {\n axes N\n grid N:64 {\n"
    "  %0 = load x[N] : f32[N:64]\n  store out[N], %0\n }\n}\n";

Test(cpu_code, unknown_cpus_are_an_error) {
  tile_fixture f = {0};
  parse(&f, copy_text);
  code text;
  str error = {0};
  target_info target;
  codegen_options options = {.cpu = STR("pentium-9000")};
  cr_expect(!codegen_cpu(&f.arena, f.p, &options, &text, &error));
  cr_expect(str_eqz(error, "unknown CPU \"pentium-9000\""), "%.*s", STR_FMT(error));
  cr_expect(!codegen_cpu_target(&f.arena, options.cpu, &target, &error));
  tile_fixture_free(&f);
}

Test(cpu_code, named_cpus_have_their_vectors) {
  static const struct {
    const char *cpu, *has, *lacks;
    int bytes;
  } cases[] = {{"x86-64", "%xmm", "%ymm", 16},
               {"x86-64-v3", "%ymm", "%zmm", 32},
               {"skylake-avx512", "%zmm", "%k7", 64},
               {"znver5", "%zmm", "%k7", 64}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    target_info target;
    str error;
    parse(&f, copy_text);
    const char *text = cpu_assembly(&f, cases[i].cpu).ptr;
    cr_expect(strstr(text, cases[i].has) && !strstr(text, cases[i].lacks), "%s", cases[i].cpu);
    cr_assert(codegen_cpu_target(&f.arena, str_from(cases[i].cpu), &target, &error));
    cr_expect(target.vector_bytes == cases[i].bytes, "%s: %d", cases[i].cpu, target.vector_bytes);
    tile_fixture_free(&f);
  }
}

Test(cpu_code, cpus_where_pairs_are_faster) {
  static const struct {
    const char *cpu;
    bool faster;
  } cases[] = {{"znver5", true},          {"znver4", true},      {"znver3", false},
               {"sapphirerapids", false}, {"cooperlake", false}, {"skylake-avx512", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    arena a = {0};
    target_info t;
    str error;
    cr_assert(codegen_cpu_target(&a, str_from(cases[i].cpu), &t, &error));
    cr_expect_eq(t.pair_flops_per_second > t.flops_per_second, cases[i].faster, "%s", cases[i].cpu);
    arena_free(&a);
  }
}

Test(cpu_code, the_same_program_gives_the_same_bytes) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "matmul_packed.tile");
  code first, second;
  str error;
  codegen_options options = {.cpu = STR("x86-64-v3")};
  cr_assert(codegen_cpu(&f.arena, f.p, &options, &first, &error));
  cr_assert(codegen_cpu(&f.arena, f.p, &options, &second, &error));
  cr_expect(first.size == second.size && !memcmp(first.data, second.data, first.size));
  tile_fixture_free(&f);
}

Test(cpu_code, running_out_of_memory_is_a_fault) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "matmul_packed.tile");
  arena small = {.limit = 64};
  code out;
  str error;
  codegen_options options = {0};
  fault_frame frame;
  if (fault_try(&frame)) codegen_cpu(&small, f.p, &options, &out, &error);
  fault_pop(&frame);
  cr_expect(frame.kind == FAULT_NOMEM);
  arena_free(&small);
  tile_fixture_free(&f);
}

// ---- the inner loop of a matrix product

static int count(const char *text, const char *word) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) n++;
  return n;
}

/// 6 x 64 sums in 24 registers: the loop is fma, loads and broadcasts, and nothing is spilled.
Test(cpu_code, contractions_stay_in_registers) {
  tile_fixture f = {0};
  parse(&f,
        "program @p {\n buffer %a : f32[M = 96, K = 256] param 0\n"
        " buffer %b : f32[K = 256, N = 256] param 1\n buffer %out : f32[M = 96, N = 256] output 0\n"
        " call @k(%a, %b, %out)\n}\n"
        "kernel @k(a: f32[96, 256], b: f32[256, 256], out: f32[96, 256]) vec N:16 {\n"
        " axes M = 96, N = 256, K = 256\n grid M:96, N:256 {\n"
        "  local bp : f32[K:256, N:256] panel N:64\n  loop K:256 {\n   loop N:64 stage {\n"
        "    loop K:1 stage {\n     %0 = load b[K, N] : f32[K:1, N:64]\n"
        "     store bp[K, N], %0\n    }\n   }\n   loop N:64 {\n    loop M:6 {\n"
        "     %1 = const 0.0 : f32[M:6, N:64]\n     %2 = loop K:1 unroll 4 carry %3 = %1 {\n"
        "      %4 = load a[M, K] : f32[M:6, K:1]\n      %5 = load bp[K, N] : f32[K:1, N:64]\n"
        "      %6 = dot %4, %5, %3 over K : f32[M:6, N:64]\n      yield %6\n     }\n"
        "     store out[M, N], %2\n    }\n   }\n  }\n }\n}\n");
  const char *text = cpu_assembly(&f, "skylake-avx512").ptr;
  cr_expect(count(text, "vfmadd") == 4 * 24, "%d fma", count(text, "vfmadd"));
  for (const char *line = text; line && *line; line = strchr(line + 1, '\n')) {
    const char *end = strchr(line + 1, '\n');
    const char *zmm = strstr(line, "%zmm"), *stack = strstr(line, "(%rsp)");
    cr_assert(!(end && zmm && zmm < end && stack && stack < end), "a register is spilled");
  }
  tile_fixture_free(&f);
}

/// Rows of `out` are contiguous, whichever axis has the lanes: 32 rows of 32 bytes are 32 lines, not
/// an element each.
Test(cpu_code, a_line_is_prefetched_once) {
  static const char *const lanes[] = {"M:32", "N:32"};
  for (int i = 0; i < 2; i++) {
    tile_fixture f = {0};
    char source[1000];
    snprintf(source, sizeof source,
             "program @p {\n buffer %%x : bool[N = 256, M = 96] param 0\n"
             " buffer %%out : bool[M = 96, N = 256] output 0\n call @k(%%x, %%out)\n}\n"
             "kernel @k(x: bool[256, 96], out: bool[96, 256]) vec %s {\n axes M = 96, N = 256\n"
             " grid M:32 {\n  loop N:32 {\n   %%0 = load x[N, M] : bool[M:32, N:32]\n"
             "   store out[M, N], %%0\n   prefetch out[M, N + 32] level 1 write\n  }\n }\n}\n",
             lanes[i]);
    parse(&f, source);
    int n = count(cpu_assembly(&f, "skylake-avx512").ptr, "prefetch");
    cr_expect_eq(n, 32, "%s: %d", lanes[i], n);
    tile_fixture_free(&f);
  }
}

/// Lanes that are a few vectors apart come by loads of these and permutations; those further apart by
/// a gather.
Test(cpu_code, near_lanes_are_permuted) {
  static const struct {
    const char *at;
    bool near;
  } cases[] = {{"D*2", true}, {"(D / 2) % 8", true}, {"D*4", true}, {"D*5", false}, {"D*D", false}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    char source[1000];
    snprintf(source, sizeof source,
             "program @p {\n buffer %%x : f32[X = 16384] param 0\n buffer %%out : f32[D = 128] "
             "output 0\n"
             " call @k(%%x, %%out)\n}\n"
             "kernel @k(x: f32[16384], out: f32[128]) vec D:16 {\n axes D = 128\n grid D:128 {\n"
             "  loop D:16 {\n   %%0 = load x[%s] : f32[D:16]\n   store out[D], %%0\n  }\n }\n}\n",
             cases[i].at);
    parse(&f, source);
    const char *text = cpu_assembly(&f, "skylake-avx512").ptr;
    cr_expect_eq(strstr(text, "gather") == NULL, cases[i].near, "%s:\n%s", cases[i].at, text);
    tile_fixture_free(&f);
  }
}
