// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What kernels for GPUs say of their threads: every rule fires where it is broken, and layouts
// change nothing of what a kernel computes.
#include <criterion/criterion.h>
#include <math.h>

#include "tile_fixture.h"

#define KERNEL(head, layouts, grid, body)                                                     \
  "program @p(N, D) {\n buffer %x : bf16[N, D] param 0\n buffer %out : bf16[N, D] output 0\n" \
  " call @k(%x, %out)\n}\nkernel @k(x: bf16[N, D], out: bf16[N, D]) " head                    \
  " {\n axes N, D, E = 64\n"                                                                  \
  " " layouts "\n grid " grid " {\n" body                                                     \
  "\n %z = const 1.0 : bf16\n store out[N, D], %z\n }\n}\n"
#define LAID(layouts) KERNEL("threads 64", layouts, "N:8, D:64", "")
#define SOUND "layout { N:8 = t8@8, D:64 = r8 t8@1 }"
#define BODY(body) \
  KERNEL("threads 64", SOUND " layout { N:8 = r8, D:64 = t64@1 }", "N:8, D:64", body)
#define ACC "layout { N:16 = t8@4 r2, D:8 = r2 t4@1 }"
#define PANELS                                                          \
  " %c = const 0.0 : f32[N:16, D:8]\n %d = loop E:16 carry %s = %c {\n" \
  " local a : bf16[N:16, E:16]\n local b : bf16[E:16, D:8]\n"
#define PRODUCT                                                                 \
  " %pa = load a[N, E] : bf16[N:16, E:16]\n %fa = cast %pa : f32[N:16, E:16]\n" \
  " %pb = load b[E, D] : bf16[E:16, D:8]\n %fb = cast %pb : f32[E:16, D:8]\n"
#define DOT(unit) " %r = dot " unit " %fa, %fb, %s over E : f32[N:16, D:8]\n yield %r\n }"

static str report_of(tile_fixture *f, const char *text) {
  str report;
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s\n%.*s", text,
            STR_FMT(f->diags.items.data[0]->text));
  program_verify(f->p, &f->arena, &report);
  return report;
}

static void expect_sound(const char *text) {
  tile_fixture f = {0};
  str report = report_of(&f, text);
  cr_expect(!report.len, "%.*s", STR_FMT(report));
  tile_fixture_free(&f);
}

static void expect_note(const char *text, const char *note) {
  tile_fixture f = {0};
  str report = report_of(&f, text);
  str line = str_printf(&f.arena, "// ^ %s\n", note);
  cr_expect(report.len && strstr(report.ptr, line.ptr), "expected \"%s\" in\n%.*s of\n%s", note,
            STR_FMT(report), text);
  tile_fixture_free(&f);
}

Test(tile_threads, sound_kernels_pass) {
  expect_sound(LAID(SOUND));
  expect_sound(KERNEL("threads 64 blocks_per_sm 32", SOUND, "N:8, D:64", ""));
  expect_sound(LAID("layout { N:8 = t8@8, D:64 = r2 t8@1 r4 }"));
  expect_sound(KERNEL("threads 32", ACC, "N:16, D:8", PANELS PRODUCT DOT("mma")));
  // Digits of one extent may be those of another that is not open with it.
  expect_sound(KERNEL("threads 64", "layout { N:64 = t64@1, D:64 = t64@1 }", "N:64, D:8", ""));
  // Values without digits are alike everywhere.
  expect_sound(
      BODY(" %a = const 1.0 : f32[E:4]\n loop D:64 stage layout=1 {\n %b = neg %a : f32[E:4]\n }"));
}

typedef struct wrong {
  const char *text, *note;
} wrong;

Test(tile_threads, every_rule_fires) {
  static const wrong cases[] = {
      {LAID("layout { N:8 = t8@8, D:64 = r8 t4@1 }"), "the digits of D:64 do not make that extent"},
      {LAID("layout { D:48 = t3@1 r16 }"),
       "t3@1 of D: sizes and strides of thread digits are powers of two"},
      {LAID("layout { D:64 = t64@2 }"), "t64@2 of D goes beyond 64 threads"},
      {LAID("layout { D:64 = t8@4 t8@8 }"), "digits of D:64 overlap in the thread number"},
      {LAID("layout { D:64 = r64, D:64 = t64@1 }"), "layout 0 names D:64 twice"},
      {LAID("layout { N:8 = t8@1, D:64 = r8 t8@4 }"), "D:64 lies on threads of another axis"},
      {KERNEL("threads 48", "", "N:8, D:64", ""),
       "48 threads and 0 producer warps: a block has whole warps, at most 1024 threads"},
      {KERNEL("threads 1024 producers 4", "", "N:8, D:64", ""),
       "1024 threads and 4 producer warps: a block has whole warps, at most 1024 threads"},
      {KERNEL("", SOUND, "N:8, D:64", ""),
       "a kernel without threads has no layouts, clusters, producers or resident blocks"},
      {KERNEL("", "", "N:8, D:64", " loop E:8 stages=2 {\n }"),
       "stages and layouts are for threads"},
      {BODY(" loop D:64 layout=7 {\n }"), "there is no layout 7"},
      {BODY(" %a = const 1.0 : f32\n %b = loop D:64 layout=1 carry %c = %a {\n yield %c\n }"),
       "a loop with a layout of its own carries nothing"},
      {BODY(" %a = load x[N, D] : bf16[N:8, D:64]\n loop D:64 stage layout=1 {\n"
            " store out[N, D], %a\n }"),
       "operand 0 lies otherwise along N where it was made"},
      {BODY(" local s : bf16[N:8, D:64] panel D:32 swizzle"),
       "s is swizzled, but its panels are not 128 bytes wide"},
      {KERNEL("", "", "N:8, D:64", " local s : bf16[N:8, D:64] pad 2"),
       "s is padded: only rows without panels are, for threads"},
      {KERNEL("threads 64", SOUND " layout { N:8 = t8@1, D:64 = r8 t8@1 }", "N:8, D:64",
              " loop D:64 stage layout=1 {\n %q = load x[N, D] : bf16[N:8, D:64]\n }"),
       "D:64 lies on threads of another axis"},
      {KERNEL("threads 32", "layout { N:16 = t8@4 r2, D:8 = t4@1 r2 }", "N:16, D:8",
              PANELS PRODUCT DOT("mma")),
       "the accumulator does not lie as the tensor core wants it"},
      {KERNEL("threads 32", ACC, "N:16, D:8", PANELS PRODUCT DOT("wgmma")),
       "the accumulator does not lie as the tensor core wants it"},
      {KERNEL("threads 32", ACC, "N:16, D:8",
              PANELS
              " %fa = const 1.0 : f32[N:16, E:16]\n %fb = const 1.0 : f32[E:16, D:8]\n" DOT("mma")),
       "operands of tensor cores are widened loads of on-chip buffers, alike in type"},
      {KERNEL("", "", "N:16, D:8", PANELS PRODUCT DOT("mma")), "a tensor core needs threads"},
      {KERNEL("threads 32", ACC, "N:16, D:8", PANELS PRODUCT DOT("pairs")),
       "threads have no dots of pairs"},
      {KERNEL("threads 32", ACC, "N:16, D:8", " local s : bf16[N:16, D:8] pairs N"),
       "s has pairs, which threads do not read"},
      {KERNEL("", "", "N:16, D:8",
              PANELS " %fa = const 1.0 : f32[N:16, E:16]\n %fb = const 1.0 : f32[E:16, D:8]\n" DOT(
                  "pairs")),
       "operands of pairs are widened bf16 values"},
      {KERNEL(
           "", "", "N:16, D:8",
           " %c = const 0.0 : f32[N:16, D:8]\n %d = loop E:3 carry %s = %c {\n"
           " local a : bf16[N:16, E:3]\n local b : bf16[E:3, D:8]\n"
           " %pa = load a[N, E] : bf16[N:16, E:3]\n %fa = cast %pa : f32[N:16, E:3]\n"
           " %pb = load b[E, D] : bf16[E:3, D:8]\n %fb = cast %pb : f32[E:3, D:8]\n" DOT("pairs")),
       "an operand of pairs has 3 elements along E"},
      {KERNEL("threads 32", ACC, "N:16, D:8", PANELS PRODUCT DOT("wgmma")),
       "wgmma is done by 128 threads together"},
      {KERNEL("threads 128", "layout { N:64 = t8@4 r2 t4@32, D:8 = r2 t4@1 }", "N:64, D:8",
              " %c = const 0.0 : f32[N:64, D:8]\n %d = loop E:16 carry %s = %c {\n"
              " local a : bf16[N:64, E:16]\n local b : bf16[E:16, D:8]\n"
              " %pa = load a[N, E] : bf16[N:64, E:16]\n %fa = cast %pa : f32[N:64, E:16]\n"
              " %pb = load b[E, D] : bf16[E:16, D:8]\n %fb = cast %pb : f32[E:16, D:8]\n"
              " %r = dot wgmma %fa, %fb, %s over E : f32[N:64, D:8]\n yield %r\n }"),
       "wgmma cannot read operand 0: operand is not in swizzled panels of 128 bytes"},
      {KERNEL("threads 32", ACC, "N:16, D:8", PANELS PRODUCT " store a[N, E], %pa\n" DOT("mma")),
       "operand 0 has been stored to since it was loaded"},
      {KERNEL("threads 32", ACC, "N:16, D:8",
              PANELS PRODUCT " %q = loop E:16 carry %t = %s {\n %r = dot mma %fa, %fb, %t over E"
                             " : f32[N:16, D:8]\n yield %r\n }\n yield %q\n }"),
       "operand 1 is loaded outside of the region of the dot"},
      {KERNEL("threads 32", ACC, "N:16, D:8",
              " %c = const 0.0 : f32[N:16, D:8]\n loop E:32 {\n local a : bf16[N:16, E:32]\n"
              " local b : bf16[E:32, D:8]\n %d = loop E:16 carry %s = %c {\n" PRODUCT DOT("mma")
              "\n }"),
       "mma cannot read operand 0: an operand is not the whole of its buffer"},
      {KERNEL("threads 256 blocks_per_sm 9", "", "N:8, D:64", ""),
       "9 blocks of 256 threads: a multiprocessor has at most 2048"},
      {LAID("layout { } layout { } layout { } layout { } layout { } layout { } layout { } layout { }"
            " layout { }"),
       "more than 8 layouts"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_note(cases[i].text, cases[i].note);
}

Test(tile_threads, on_chip_buffers_have_a_constant_size) {
  expect_note("program @p(N, D) {\n buffer %x : bf16[N, D] param 0\n"
              " buffer %out : bf16[N, D] output 0\n call @k(%x, %out)\n}\n"
              "kernel @k(x: bf16[N, D], out: bf16[N, D]) threads 64 {\n axes N, D\n grid N:8 {\n"
              " local s : bf16[N:8, D]\n loop D:64 {\n %a = load x[N, D] : bf16[N:8, D:64]\n"
              " store out[N, D], %a\n }\n }\n}\n",
              "s has no constant size, as threads need it");
}

Test(tile_threads, layouts_change_nothing) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "gpu_matmul.tile");
  interp_tensor in[2] = {random_tensor(&f, DT_bf16, 2, (int64_t[]){256, 128}),
                         random_tensor(&f, DT_bf16, 2, (int64_t[]){128, 256})};
  interp_tensor out[1];
  tile_fixture_run(&f, in, out);
  for (int i = 0; i < 256; i += 37)
    for (int j = 0; j < 256; j += 29) {
      double sum = 0;
      for (int k = 0; k < 128; k++) sum += in[0].data[i * 128 + k].f * in[1].data[k * 256 + j].f;
      double got = out[0].data[i * 256 + j].f;
      cr_expect(fabs(got - sum) <= 0.01 * fabs(sum) + 0.01, "[%d, %d]: %g for %g", i, j, got, sum);
    }
  tile_fixture_free(&f);
}
