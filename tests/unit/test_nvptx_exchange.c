// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values that threads of a block pass to one another, as PTX: barriers where one writes what others
// read, on chip or in memory, and none elsewhere; places on chip that are free again.
#include <criterion/criterion.h>
#include <stdio.h>

#include "codegen/codegen.h"
#include "nvptx_fixture.h"
#include "tile_fixture.h"

static str compile(tile_fixture *f, const char *text, bool *ok) {
  str report, error;
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s", text);
  cr_assert(program_verify(f->p, &f->arena, &report), "%.*s", STR_FMT(report));
  codegen_options options = {.cpu = STR("sm_80"), .kind = CODE_ASSEMBLY};
  code out;
  *ok = codegen_cuda(&f->arena, f->p, &options, &out, &error);
  return *ok ? (str){out.data, (int)out.size} : error;
}

static int barriers(const char *text) {
  tile_fixture f = {0};
  bool ok;
  str ptx = compile(&f, text, &ok);
  cr_assert(ok, "%.*s", STR_FMT(ptx));
  nvptx_assemble(ptx, "sm_80");
  int n = nvptx_count(ptx, "bar.sync") + nvptx_count(ptx, "barrier.sync");
  tile_fixture_free(&f);
  return n;
}

#define PROGRAM                                       \
  "program @p(N) {\n"                                 \
  "  size N where N >= 1, N <= 4096\n"                \
  "  arena 524288\n"                                  \
  "  buffer %x : f32[N, M = 32] param 0\n"            \
  "  buffer %out : f32[N, M = 32] output 0\n"         \
  "  buffer %t : f32[K = 4096, M = 32] temp at 0\n"       \
  "  call @k(%x, %out, %t)\n"                         \
  "}\n"                                               \
  "kernel @k(x: f32[N, 32], out: f32[N, 32], t: f32[4096, 32]) threads 128 {\n" \
  "  size N where N >= 1, N <= 4096\n"                \
  "  axes N, M = 32\n"

#define GRID_FILLS_T                                  \
  "  grid N:4 {\n"                                    \
  "    loop M:32 {\n"                                 \
  "      %0 = load x[N, M] : f32[N:4, M:32]\n"        \
  "      store t[N, M], %0\n"                         \
  "    }\n"

// All elements of a row, which other threads have stored, are added up by each of them.
#define ROW_SUM(where)                                \
  "    %1 = const 0.0 : f32[N:4]\n"                   \
  "    %2 = loop M:1 carry %3 = %1 {\n"               \
  "      %4 = load " where "[N, M] : f32[N:4, M:1]\n" \
  "      %5 = reduce add %4 over M : f32[N:4]\n"      \
  "      %6 = add %3, %5 : f32[N:4]\n"                \
  "      yield %6\n"                                  \
  "    }\n"

Test(nvptx_exchange, arguments_that_others_read_wait_for_barriers) {
  cr_expect_eq(barriers(PROGRAM
                        "  layout { N:4 = t4@32, M:32 = t32@1 }\n"
                        GRID_FILLS_T ROW_SUM("t")
                        "    loop M:32 {\n"
                        "      store out[N, M], %2\n"
                        "    }\n"
                        "  }\n"
                        "}\n"),
               2);  // one in each of two versions: for whole tiles, and for the last one
}

Test(nvptx_exchange, own_elements_need_no_barrier) {
  cr_expect_eq(barriers(PROGRAM
                        "  layout { N:4 = t4@32, M:32 = t32@1 }\n"
                        GRID_FILLS_T
                        "    loop M:32 {\n"
                        "      %1 = load t[N, M] : f32[N:4, M:32]\n"
                        "      store out[N, M], %1\n"
                        "    }\n"
                        "  }\n"
                        "}\n"),
               0);
}

Test(nvptx_exchange, walks_that_start_early_have_other_elements) {
  cr_expect_gt(barriers("program @p {\n"
                        "  arena 8448\n"
                        "  buffer %x : f32[N = 64, M = 33] param 0\n"
                        "  buffer %out : f16[N = 64, M = 33] output 0\n"
                        "  buffer %t : f32[N = 64, M = 33] temp at 0\n"
                        "  call @k(%x, %out, %t)\n"
                        "}\n"
                        "kernel @k(x: f32[64, 33], out: f16[64, 33], t: f32[64, 33]) threads 128 {\n"
                        "  axes N = 64, M = 33\n"
                        "  layout { N:8 = t8@16, M:64 = r4 t16@1 }\n"
                        "  grid N:8 {\n"
                        "    loop M:64 {\n"
                        "      %0 = load x[N, M] : f32[N:8, M:64]\n"
                        "      store t[N, M], %0\n"
                        "    }\n"
                        "    loop M:64 {\n"
                        "      %1 = load t[N, M] : f32[N:8, M:64]\n"
                        "      %2 = cast %1 : f16[N:8, M:64]\n"
                        "      store out[N, M], %2\n"
                        "    }\n"
                        "  }\n"
                        "}\n"),
               0);
}

Test(nvptx_exchange, a_buffer_is_stored_again_when_all_have_read_it) {
  // In each step before the sums and, in the next one, before the store; the step is made three times:
  // for whole tiles, and for the others whole and as the last one.
  cr_expect_eq(barriers(PROGRAM
                        "  layout { N:4 = t4@32, M:32 = t32@1 }\n"
                        "  grid N:512 {\n"
                        "    loop N:4 {\n"
                        "    local b : f32[N:4, M]\n"
                        "    loop M:32 {\n"
                        "      %0 = load x[N, M] : f32[N:4, M:32]\n"
                        "      store b[N, M], %0\n"
                        "    }\n" ROW_SUM("b")
                        "    loop M:32 {\n"
                        "      store out[N, M], %2\n"
                        "      store t[N, M], %2\n"
                        "    }\n"
                        "    }\n"
                        "  }\n"
                        "}\n"),
               6);
}

Test(nvptx_exchange, a_loop_without_steps_has_no_barrier_for_others) {
  // In the loop before c is stored again and before it is loaded; after it once more, since K may be 0.
  cr_expect_eq(barriers("program @p(K) {\n"
                        "  size K where K >= 0, K <= 4096\n"
                        "  buffer %x : f32[N = 4, M = 32] param 0\n"
                        "  buffer %y : f32[K, M = 32] param 1\n"
                        "  buffer %out : f32[N = 4, M = 32] output 0\n"
                        "  buffer %sums : f32[N = 4, M = 32] output 1\n"
                        "  call @k(%x, %y, %out, %sums)\n"
                        "}\n"
                        "kernel @k(x: f32[4, 32], y: f32[K, 32], out: f32[4, 32], sums: f32[4, 32]) threads 128 {\n"
                        "  size K where K >= 0, K <= 4096\n"
                        "  axes N = 4, M = 32, K\n"
                        "  layout { N:4 = t4@32, M:32 = t32@1 }\n"
                        "  grid N:4 {\n"
                        "    local b : f32[N:4, M]\n"
                        "    loop M:32 {\n"
                        "      %0 = load x[N, M] : f32[N:4, M:32]\n"
                        "      store b[N, M], %0\n"
                        "      %1 = const 0.0 : f32[N:4, M:32]\n"
                        "      %2 = loop K:1 carry %3 = %1 {\n"
                        "        local c : f32[M:32, K:1]\n"
                        "        %4 = load y[K, M] : f32[M:32, K:1]\n"
                        "        store c[M, K], %4\n"
                        "        %5 = load c[M, K] : f32[M:32, K:1]\n"
                        "        %6 = reduce add %5 over K : f32[M:32]\n"
                        "        %7 = add %3, %6 : f32[N:4, M:32]\n"
                        "        yield %7\n"
                        "      }\n"
                        "      store sums[N, M], %2\n"
                        "    }\n"
                        "    %8 = const 0.0 : f32[N:4]\n"
                        "    %9 = loop M:1 carry %10 = %8 {\n"
                        "      %11 = load b[N, M] : f32[N:4, M:1]\n"
                        "      %12 = reduce add %11 over M : f32[N:4]\n"
                        "      %13 = add %10, %12 : f32[N:4]\n"
                        "      yield %13\n"
                        "    }\n"
                        "    loop M:32 {\n"
                        "      store out[N, M], %9\n"
                        "    }\n"
                        "  }\n"
                        "}\n"),
               3);
}

#define LARGE(from, to)                               \
  "    loop M:32 {\n"                                 \
  "      local b" to " : f32[N:1024, M:32]\n"         \
  "      %" to "0 = load " from "[N, M] : f32[N:1024, M:32]\n" \
  "      store b" to "[N, M], %" to "0\n"             \
  "      %" to "1 = load b" to "[N, M] : f32[N:1024, M:32]\n" \
  "      store " to "[N, M], %" to "1\n"              \
  "    }\n"

Test(nvptx_exchange, places_are_free_after_the_region) {
  // 128 KiB in each of two loops, of the 163 that a block may have.
  tile_fixture f = {0};
  bool ok;
  str ptx = compile(&f,
                    "program @p {\n"
                    "  buffer %x : f32[N = 1024, M = 32] param 0\n"
                    "  buffer %out : f32[N = 1024, M = 32] output 0\n"
                    "  buffer %t : f32[N = 1024, M = 32] output 1\n"
                    "  call @k(%x, %out, %t)\n"
                    "}\n"
                    "kernel @k(x: f32[1024, 32], out: f32[1024, 32], t: f32[1024, 32]) threads 1024 {\n"
                    "  axes N = 1024, M = 32\n"
                    "  layout { N:1024 = r32 t32@32, M:32 = t32@1 }\n"
                    "  grid N:1024 {\n" LARGE("x", "out") LARGE("x", "t")
                    "  }\n"
                    "}\n",
                    &ok);
  cr_expect(ok, "%.*s", STR_FMT(ptx));
  // The second loop's buffer is where the first one's was.
  if (ok) cr_expect_geq(nvptx_count(ptx, "bar.sync") + nvptx_count(ptx, "barrier.sync"), 3);
  tile_fixture_free(&f);
}

// ---- buffers that tiles reach beyond

/// A buffer of M elements that steps of 128 fill, and a dot that reads it.
static bool store_is_guarded(const char *elements) {
  char text[2048];
  snprintf(text, sizeof text,
           "program @p {\n"
           "  buffer %%x : f32[M = %s] param 0\n"
           "  buffer %%out : f32 output 0\n"
           "  call @k(%%x, %%out)\n"
           "}\n"
           "kernel @k(x: f32[%s], out: f32) threads 128 {\n"
           "  axes M = %s\n"
           "  layout { M:128 = t128@1 }\n"
           "  grid {\n"
           "    local kept : f32[M]\n"
           "    %%one = const 1.0 : f32\n"
           "    loop M:128 {\n"
           "      store kept[M], %%one\n"
           "    }\n"
           "    %%0 = const 0.0 : f32\n"
           "    %%1 = loop M:128 carry %%2 = %%0 {\n"
           "      %%3 = load x[M] : f32[M:128]\n"
           "      %%4 = load kept[M] : f32[M:128]\n"
           "      %%5 = dot %%3, %%4, %%2 over M : f32\n"
           "      yield %%5\n"
           "    }\n"
           "    store out[], %%1\n"
           "  }\n"
           "}\n", elements, elements, elements);
  tile_fixture f = {0};
  bool ok;
  str ptx = compile(&f, text, &ok);
  cr_assert(ok, "%.*s", STR_FMT(ptx));
  const char *store = NULL, *guard = strstr(ptx.ptr, "@%p");
  for (const char *s = ptx.ptr; (s = strstr(s, "st.shared")); s++) store = s;
  cr_assert(store);
  bool guarded = guard && guard < store;  // the last one
  tile_fixture_free(&f);
  return guarded;
}

Test(nvptx_exchange, lanes_beyond_a_buffer_store_nothing) {
  cr_expect(store_is_guarded("33"));   // 95 threads have no element of it
  cr_expect(store_is_guarded("200"));  // nor 56 in the second step
}

#define ROWS_OF_301(body)                                              \
  "program @p {\n"                                                     \
  "  buffer %x : f32[N = 64, M = 301] param 0\n"                       \
  "  buffer %out : f32[N = 64, M = 301] output 0\n"                    \
  "  call @k(%x, %out)\n"                                              \
  "}\n"                                                                \
  "kernel @k(x: f32[64, 301], out: f32[64, 301]) threads 128 {\n"      \
  "  axes N = 64, M = 301\n"                                           \
  "  layout { N:4 = t4@32, M:128 = r4 t32@1 }\n"                       \
  "  grid N:4 {\n" body                                                \
  "  }\n"                                                              \
  "}\n"

static int ptx_count(const char *text, const char *what) {
  tile_fixture f = {0};
  bool ok;
  str ptx = compile(&f, text, &ok);
  cr_assert(ok, "%.*s", STR_FMT(ptx));
  int n = nvptx_count(ptx, what);
  tile_fixture_free(&f);
  return n;
}

Test(nvptx_exchange, walks_over_buffers_on_chip_do_not_start_early) {
  // Rows of 301 are unaligned: a walk that starts before them stores aligned vectors in memory. Before
  // a row on chip there is another one, or nothing.
  const char *alone = ROWS_OF_301(
      "    loop M:128 {\n"
      "      %0 = load x[N, M] : f32[N:4, M:128]\n"
      "      store out[N, M], %0\n"
      "    }\n");
  const char *kept = ROWS_OF_301(
      "    local kept : f32[N:4, M]\n"
      "    loop M:128 {\n"
      "      %0 = load x[N, M] : f32[N:4, M:128]\n"
      "      store kept[N, M], %0\n"
      "    }\n"
      "    loop M:128 {\n"
      "      %1 = load kept[N, M] : f32[N:4, M:128]\n"
      "      store out[N, M], %1\n"
      "    }\n");
  cr_expect_gt(ptx_count(alone, "st.global.v4"), 0);
  cr_expect_eq(ptx_count(kept, "st.global.v4"), 0);
}
