// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Text of the tile IR: the golden files come back byte for byte; wrong text is reported.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "tile_fixture.h"

static const char *const files[] = {
    "softmax_last.tile", "softmax_first.tile", "matmul_packed.tile", "argmax.tile",
    "pad_guard.tile",    "gather_check.tile",  "scatter_add.tile",   "nested_tails.tile",
    "temps_host.tile",   "skip_blocks.tile",   "everything.tile",
    "gpu_matmul.tile",   "gpu_softmax.tile",
};
enum { NFILES = sizeof files / sizeof *files };

/// Golden files open with comments, which are not part of the canonical text.
static str without_comments(str text) {
  while (str_starts(text, STR("//"))) {
    const char *end = memchr(text.ptr, '\n', (size_t)text.len);
    int line = (int)(end - text.ptr) + 1;
    text = (str){text.ptr + line, text.len - line};
  }
  return text;
}

/// Puts the canonical text below the comments of the file: TCF_REWRITE_GOLDEN=1 unit-tests.
static void rewrite(tile_fixture *f, const char *name, str canonical) {
  str text = tile_fixture_read(f, name);
  int comments = text.len - without_comments(text).len;
  FILE *file = fopen(str_printf(&f->arena, TCF_SOURCE_DIR "/tests/golden/tile/%s", name).ptr, "wb");
  cr_assert(file, "cannot write %s", name);
  fprintf(file, "%.*s%.*s", comments, text.ptr, STR_FMT(canonical));
  fclose(file);
}

Test(tile_text, golden_files_come_back) {
  for (int i = 0; i < NFILES; i++) {
    tile_fixture f = {0};
    tile_fixture_load(&f, files[i]);
    strbuf out = sb_new(&f.arena);
    tile_module_print(&f.module, &out);
    str expected = without_comments(tile_fixture_read(&f, files[i]));
    if (getenv("TCF_REWRITE_GOLDEN"))
      rewrite(&f, files[i], sb_str(&out));
    else
      cr_expect(str_eq(sb_str(&out), expected), "%s came back as\n%s", files[i], out.data);
    tile_fixture_free(&f);
  }
}

/// Truncating the text anywhere must end in a diagnostic or a program, never in a fault.
Test(tile_text, truncated_text_is_reported) {
  for (int i = 0; i < NFILES; i++) {
    tile_fixture whole = {0};
    str text = tile_fixture_read(&whole, files[i]);
    for (int len = 0; len < text.len; len += 1 + len % 3) {
      tile_fixture f = {0};
      if (!tile_fixture_parse(&f, (str){text.ptr, len}))
        cr_expect(f.diags.errors == 1, "%s cut at %d: %d errors", files[i], len, f.diags.errors);
      tile_fixture_free(&f);
    }
    tile_fixture_free(&whole);
  }
}

/// Bytes changed at random: whatever parses can be verified and printed.
Test(tile_text, damaged_text_is_harmless) {
  static const char alphabet[] = "%@{}[]():,=+-*/. \n0123456789abNTDxyz#\"";
  tile_fixture random = {.random = 88172645463325252u};
  for (int round = 0; round < 3000; round++) {
    tile_fixture f = {0};
    str text = tile_fixture_read(&f, files[round % NFILES]);
    char *damaged = str_z(&f.arena, text);
    for (int k = 1 + random_below(&random, 3); k > 0; k--)
      damaged[random_below(&random, text.len)] =
          alphabet[random_below(&random, (int)sizeof alphabet - 1)];
    if (tile_fixture_parse(&f, (str){damaged, text.len}) && f.p) {
      str report;
      strbuf out = sb_new(&f.arena);
      program_verify(f.p, &f.arena, &report);
      program_print(f.p, &out);
    }
    tile_fixture_free(&f);
  }
}

#define HEAD                                                                                      \
  "program @p(N) {\n buffer %x : f32[N] param 0\n call @k(%x)\n}\nkernel @k(x: f32[N]) {\n axes " \
  "N\n grid N:4 {\n"
#define TAIL "\n }\n}\n"

Test(tile_text, wrong_text_names_the_mistake) {
  static const struct {
    const char *text;
    int code;
    const char *message;
  } cases[] = {
      {"kernel", 501, "expected 'program'"},
      {"program @p { buffer %x : f33[N] param 0 }", 502, "f33 is not an element type"},
      {"program @p { buffer %x : f32 param 0 buffer %x : f32 param 1 }", 503,
       "two buffers are called %x"},
      {"program @p { buffer %x : f32 param 3 }", 504, "the number is outside [0, 0]"},
      {"program @p { call @k(%y) }", 502, "there is no buffer %y"},
      {"program @p { call @k() }", 502, "there is no kernel @k"},
      {"program @p { host @f() what \"x }", 501, "the text has no closing quote"},
      {HEAD "%0 = lode x[N] : f32[N:4]" TAIL, 502, "lode is not a statement"},
      {HEAD "%0 = load y[N] : f32[N:4]" TAIL, 502, "the kernel has no buffer y"},
      {HEAD "%0 = load x[M] : f32[N:4]" TAIL, 501, "unknown name"},
      {HEAD "%0 = load x[N] : f32[M:4]" TAIL, 502, "the kernel has no axis M"},
      {HEAD "%0 = add %1, %1 : f32" TAIL, 502, "no value %1 is defined"},
      {HEAD "%0 = const 1 : i32\n%0 = const 2 : i32" TAIL, 503, "%0 is defined twice"},
      {HEAD "%0 = const 1.5 : i32" TAIL, 504, "1.5 is not a constant of type i32"},
      {HEAD "%0 = const 300 : u8" TAIL, 504, "300 does not fit into u8"},
      {HEAD "%0 = const 99999999999999999999 : i64" TAIL, 504,
       "99999999999999999999 is not a constant of type i64"},
      {HEAD "%0 = const 1 : i32[N:99999999999]" TAIL, 504, "the number is outside [1, 16777216]"},
      {HEAD "%0 = loop N:2 {\n}" TAIL, 501, "the loop has 1 results and carries 0"},
      {HEAD "local x : f32[N]" TAIL, 503, "there is a buffer x"},
      {HEAD "if maybe N {\n}" TAIL, 501, "expected first, last, any, all or finished"},
      {HEAD "%0 = reduce mean %0 over N : f32" TAIL, 502, "mean is not an op"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    cr_assert_not(tile_fixture_parse(&f, str_from(cases[i].text)), "%s", cases[i].text);
    const diag *d = f.diags.items.data[0];
    cr_expect(d->code == cases[i].code && str_eqz(d->text, cases[i].message), "%s\ngave E0%d %.*s",
              cases[i].text, d->code, STR_FMT(d->text));
    tile_fixture_free(&f);
  }
}

/// The programs in the documentation are canonical, sound text.
Test(tile_text, documented_programs_hold) {
  tile_fixture doc = {0};
  str text = tile_fixture_read(&doc, "../../../docs/tile-ir.md");
  int found = 0;
  for (const char *at = text.ptr; (at = strstr(at, "```tile\n")); found++) {
    at += strlen("```tile\n");
    str program = {at, (int)(strstr(at, "```") - at)}, report;
    tile_fixture f = {0};
    cr_assert(tile_fixture_parse(&f, program));
    cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
    strbuf out = sb_new(&f.arena);
    tile_module_print(&f.module, &out);
    cr_expect(str_eq(sb_str(&out), program), "the text comes back as\n%s", out.data);
    tile_fixture_free(&f);
  }
  cr_expect(found > 0);
  tile_fixture_free(&doc);
}
