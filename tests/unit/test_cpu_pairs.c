// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Dots of bf16 pairs as compiled code: panels, rows read in place, transposed and computed
// operands, over odd sizes. Where the host lacks the instruction, the same texts run as fmas.
#include <criterion/criterion.h>
#include <stdio.h>

#include "cpu_fixture.h"

#define SIZES                                                                                 \
  {.sizes = {4, 32, 8}}, {.sizes = {1, 1, 1}}, {.sizes = {5, 33, 7}}, {.sizes = {7, 100, 2}}, \
      {.sizes = {3, 16, 65}}, {.sizes = {4, 31, 33}}, {.sizes = {9, 64, 0}}, {                \
    .sizes = { 0, 5, 3 }                                                                      \
  }

#define COMPARE(text)                                                      \
  do {                                                                     \
    static const cpu_case cases_[] = {SIZES};                              \
    cpu_compare_text(text, cases_, (int)(sizeof cases_ / sizeof *cases_)); \
  } while (0)

#define PRODUCT(lanes, b, body)                                                  \
  "program @p(M, N, K) {\n buffer %a : bf16[M, K] param 0\n buffer %b : bf16[" b \
  "] param 1\n"                                                                  \
  " buffer %out : f32[M, N] output 0\n call @k(%a, %b, %out)\n}\n"               \
  "kernel @k(a: bf16[M, K], b: bf16[" b "], out: f32[M, N]) vec N:" lanes        \
  " {\n"                                                                         \
  " axes M, N, K\n grid M:4 {\n" body " }\n}\n"

/// Sums of a[M, K] and what `load` makes of b as %y.
#define SUMS(load)                                                                      \
  "  loop N:32 {\n   %0 = const 0.0 : f32[M:4, N:32]\n"                                 \
  "   %1 = loop K:2 unroll 4 carry %2 = %0 {\n    %x = load a[M, K] : bf16[M:4, K:2]\n" \
  "    %wx = cast %x : f32[M:4, K:2]\n" load                                            \
  "    %wy = cast %y : f32[K:2, N:32]\n"                                                \
  "    %3 = dot pairs %wx, %wy, %2 over K : f32[M:4, N:32]\n    yield %3\n   }\n"       \
  "   store out[M, N], %1\n  }\n"

#define FROM(buffer) "    %y = load " buffer " : bf16[K:2, N:32]\n"

#define PANEL                                                               \
  "  local panel : bf16[K, N] panel N:32 pairs K\n  loop N:32 stage {\n"    \
  "   loop K:2 unroll 4 stage {\n    %p = load b[K, N] : bf16[K:2, N:32]\n" \
  "    store panel[K, N], %p\n   }\n  }\n"

Test(cpu_pairs, panels_of_pairs) {
  COMPARE(PRODUCT("16", "K, N", PANEL SUMS(FROM("panel[K, N]"))));
  COMPARE(PRODUCT("8", "K, N", PANEL SUMS(FROM("panel[K, N]"))));
  COMPARE(PRODUCT("4", "K, N", PANEL SUMS(FROM("panel[K, N]"))));
}

Test(cpu_pairs, rows_without_panels) {
  COMPARE(
      PRODUCT("16", "K, N",
              "  local rows : bf16[K, N] pairs K\n  loop K:2 stage {\n   loop N:16 stage {\n"
              "    %p = load b[K, N] : bf16[K:2, N:16]\n    store rows[K, N], %p\n   }\n  }\n" SUMS(
                  FROM("rows[K, N]"))));
}

/// Elements of pairs that are stored and loaded one by one.
Test(cpu_pairs, halves_of_pairs) {
  COMPARE(PRODUCT("16", "K, N",
                  "  local rows : bf16[K, N] pairs K\n  loop K:1 stage {\n   loop N:16 stage {\n"
                  "    %p = load b[K, N] : bf16[K:1, N:16]\n    store rows[K, N], %p\n   }\n  }\n"
                  "  loop N:32 {\n   %0 = const 0.0 : f32[M:4, N:32]\n"
                  "   %1 = loop K:1 carry %2 = %0 {\n    %x = load a[M, K] : bf16[M:4, K:1]\n"
                  "    %wx = cast %x : f32[M:4, K:1]\n"
                  "    %y = load rows[K, N] : bf16[K:1, N:32]\n"
                  "    %wy = cast %y : f32[K:1, N:32]\n"
                  "    %3 = dot %wx, %wy, %2 over K : f32[M:4, N:32]\n    yield %3\n   }\n"
                  "   store out[M, N], %1\n  }\n"));
}

Test(cpu_pairs, rows_in_place) { COMPARE(PRODUCT("16", "K, N", SUMS(FROM("b[K, N]")))); }

Test(cpu_pairs, columns_in_place) { COMPARE(PRODUCT("16", "N, K", SUMS(FROM("b[N, K]")))); }

Test(cpu_pairs, transposed_while_packing) {
  COMPARE(PRODUCT("16", "N, K",
                  "  local panel : bf16[K, N] panel N:32 pairs K\n  loop N:16 stage {\n"
                  "   loop K:32 stage {\n    %p = load b[N, K] : bf16[K:32, N:16]\n"
                  "    store panel[K, N], %p\n   }\n  }\n" SUMS(FROM("panel[K, N]"))));
}

/// The widened value has another reader, and the pairs are made of computed elements.
Test(cpu_pairs, computed_operands) {
  COMPARE(
      PRODUCT("16", "K, N",
              SUMS("    %l = load b[K, N] : bf16[K:2, N:32]\n"
                   "    %wl = cast %l : f32[K:2, N:32]\n    %t = add %wl, %wl : f32[K:2, N:32]\n"
                   "    %y = cast %t : bf16[K:2, N:32]\n")));
}

Test(cpu_pairs, computed_panels) {
  COMPARE(PRODUCT("16", "K, N",
                  "  local panel : bf16[K, N] panel N:32 pairs K\n  loop N:32 stage {\n"
                  "   loop K:2 unroll 4 stage {\n    %l = load b[K, N] : bf16[K:2, N:32]\n"
                  "    %wl = cast %l : f32[K:2, N:32]\n    %t = add %wl, %wl : f32[K:2, N:32]\n"
                  "    %p = cast %t : bf16[K:2, N:32]\n    store panel[K, N], %p\n   }\n  }\n"
                  SUMS(FROM("panel[K, N]"))));
}

Test(cpu_pairs, a_block_of_rows_on_chip) {
  COMPARE(
      "program @p(M, N, K) {\n buffer %a : f32[M, K] param 0\n buffer %b : bf16[K, N] param 1\n"
      " buffer %out : f32[M, N] output 0\n call @k(%a, %b, %out)\n}\n"
      "kernel @k(c: f32[M, K], b: bf16[K, N], out: f32[M, N]) vec N:16 {\n axes M, N, K\n"
      " grid M:4 {\n  local a : bf16[M:4, K]\n  loop M:1 {\n   loop K:32 vec stage {\n"
      "    %c = load c[M, K] : f32[M:1, K:32]\n    %n = cast %c : bf16[M:1, K:32]\n"
      "    store a[M, K], %n\n   }\n  }\n" SUMS(FROM("b[K, N]")) " }\n}\n");
}

/// Lanes along the rows of a, which are stored across.
Test(cpu_pairs, a_transposed_while_packing) {
  COMPARE(
      "program @p(M, N, K) {\n buffer %a : bf16[K, M] param 0\n buffer %b : bf16[K, N] param 1\n"
      " buffer %out : f32[M, N] output 0\n call @k(%a, %b, %out)\n}\n"
      "kernel @k(c: bf16[K, M], b: bf16[K, N], out: f32[M, N]) vec N:16 {\n axes M, N, K\n"
      " grid M:32 {\n  local a : bf16[M:32, K]\n  loop M:16 vec stage {\n   loop K:16 stage {\n"
      "    %c = load c[K, M] : bf16[M:16, K:16]\n    store a[M, K], %c\n   }\n  }\n"
      "  loop M:4 {\n" SUMS(FROM("b[K, N]")) "  }\n }\n}\n");
}

Test(cpu_pairs, lanes_that_hold_pairs) {
  static const cpu_case cases[] = {
      {.sizes = {4, 6}}, {.sizes = {1, 1}}, {.sizes = {5, 9}}, {.sizes = {0, 4}}};
  cpu_compare_text(
      "program @p(M, N) {\n buffer %a : bf16[M, K = 96] param 0\n"
      " buffer %b : bf16[N, K = 96] param 1\n buffer %out : f32[M, N] output 0\n"
      " call @k(%a, %b, %out)\n}\n"
      "kernel @k(a: bf16[M, 96], b: bf16[N, 96], out: f32[M, N]) vec K:16 {\n"
      " axes M, N, K = 48, pair = 2\n grid M:4 {\n  loop N:6 {\n"
      "   %0 = const 0.0 : f32[M:4, N:6, K:16]\n   %1 = loop K:16 carry %2 = %0 {\n"
      "    %3 = loop pair:2 carry %4 = %2 {\n"
      "     %x = load a[M, K*2 + pair] : bf16[M:4, K:16, pair:2]\n"
      "     %wx = cast %x : f32[M:4, K:16, pair:2]\n"
      "     %y = load b[N, K*2 + pair] : bf16[N:6, K:16, pair:2]\n"
      "     %wy = cast %y : f32[N:6, K:16, pair:2]\n"
      "     %5 = dot pairs %wx, %wy, %4 over pair : f32[M:4, N:6, K:16]\n     yield %5\n    }\n"
      "    yield %3\n   }\n   %6 = reduce add %1 over K : f32[M:4, N:6]\n"
      "   store out[M, N], %6\n  }\n }\n}\n",
      cases, 4);
}

// ---- the code

static int count(const char *text, const char *word) {
  int n = 0;
  for (const char *at = text; (at = strstr(at, word)); at += strlen(word)) n++;
  return n;
}

static const char block_text[] =
    "program @p {\n buffer %a : bf16[M = 96, K = 256] param 0\n"
    " buffer %b : bf16[K = 256, N = 256] param 1\n buffer %out : f32[M = 96, N = 256] output 0\n"
    " call @k(%a, %b, %out)\n}\n"
    "kernel @k(a: bf16[96, 256], b: bf16[256, 256], out: f32[96, 256]) vec N:16 {\n"
    " axes M = 96, N = 256, K = 256\n grid M:96, N:256 {\n"
    "  local bp : bf16[K:256, N:256] panel N:64 pairs K\n  loop K:256 {\n   loop N:64 stage {\n"
    "    loop K:2 stage {\n     %0 = load b[K, N] : bf16[K:2, N:64]\n"
    "     store bp[K, N], %0\n    }\n   }\n   loop N:64 {\n    loop M:6 {\n"
    "     %1 = const 0.0 : f32[M:6, N:64]\n     %2 = loop K:2 unroll 4 carry %3 = %1 {\n"
    "      %4 = load a[M, K] : bf16[M:6, K:2]\n      %5 = cast %4 : f32[M:6, K:2]\n"
    "      %6 = load bp[K, N] : bf16[K:2, N:64]\n      %7 = cast %6 : f32[K:2, N:64]\n"
    "      %8 = dot pairs %5, %7, %3 over K : f32[M:6, N:64]\n      yield %8\n     }\n"
    "     store out[M, N], %2\n    }\n   }\n  }\n }\n}\n";

static void parse(tile_fixture *f, const char *text) {
  str report;
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s", text);
  cr_assert(program_verify(f->p, &f->arena, &report), "%s", report.ptr);
}

/// 24 dots, 6 broadcasts and 4 loads for two steps of K; packing is one shuffle a vector; nothing
/// is converted, and nothing spilled.
Test(cpu_pairs, blocks_stay_in_registers) {
  tile_fixture f = {0};
  parse(&f, block_text);
  const char *text = cpu_assembly(&f, "znver5").ptr;
  cr_expect_eq(count(text, "vdpbf16ps"), 4 * 24);
  cr_expect_eq(count(text, "vbroadcastss") + count(text, "vpbroadcastd"), 4 * 6);
  cr_expect_eq(count(text, "vperm"), 4);
  cr_expect(!strstr(text, "vpslld") && !strstr(text, "vpmovzx"));
  for (const char *line = text; line && *line; line = strchr(line + 1, '\n')) {
    const char *end = strchr(line + 1, '\n');
    const char *zmm = strstr(line, "%zmm"), *stack = strstr(line, "(%rsp)");
    cr_assert(!(end && zmm && zmm < end && stack && stack < end), "a register is spilled");
  }
  tile_fixture_free(&f);
}

Test(cpu_pairs, other_cpus_widen) {
  static const char *const cpus[] = {"skylake-avx512", "x86-64-v3"};
  for (int i = 0; i < 2; i++) {
    tile_fixture f = {0};
    parse(&f, block_text);
    const char *text = cpu_assembly(&f, cpus[i]).ptr;
    cr_expect(!strstr(text, "vdpbf16ps") && strstr(text, "vfmadd"), "%s", cpus[i]);
    tile_fixture_free(&f);
  }
}
