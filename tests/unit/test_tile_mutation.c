// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR from a file may say anything. Dumps of lowered programs with a number, a name, an operand
// or a line changed: whatever parses and verifies becomes LLVM IR, of a CPU or a GPU, without a fault. Under the
// sanitizers this also says that nothing is read out of bounds on the way.
#include <criterion/criterion.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/fault.h"
#include "codegen/codegen.h"
#include "tile_fixture.h"

static const char *const files[] = {"temps_host.tile",   "softmax_last.tile", "matmul_packed.tile",
                                    "gather_check.tile", "pad_guard.tile",    "argmax.tile",
                                    "nested_tails.tile", "scatter_add.tile",  "skip_blocks.tile",
                                    "everything.tile", "matmul_pairs.tile"};
static const char *const gpu_files[] = {
    "gpu_matmul.tile",          "gpu_softmax.tile",           "../gpu/map.tile",
    "../gpu/product_bf16.tile", "../gpu/product_f32.tile",    "../gpu/softmax_columns.tile",
    "../gpu/softmax_rows.tile", "../gpu/split.tile",          "../gpu/transpose.tile",
    "gpu_checks.tile",          "../gpu/scans.tile"};
static const char *const attention[] = {"../../gpu/attention/full_d128.tile",
                                        "../../gpu/attention/causal_d64.tile",
                                        "../../gpu/attention/window_d128.tile"};
enum { NFILES = sizeof files / sizeof *files, MUTATIONS = 60 };
enum { NGPU_FILES = sizeof gpu_files / sizeof *gpu_files, GPU_MUTATIONS = 40 };

typedef struct token {
  int begin, end;
} token;

/// The next word, number or %name at or after a position.
static bool token_at(str text, int from, token *out) {
  while (from < text.len && !isalnum((unsigned char)text.ptr[from]) && text.ptr[from] != '%') from++;
  out->begin = out->end = from;
  while (out->end < text.len && (isalnum((unsigned char)text.ptr[out->end]) ||
                                 strchr("%_.", text.ptr[out->end])))
    out->end++;
  return out->end > out->begin;
}

static str replace(arena *a, str text, token at, str by) {
  return str_printf(a, "%.*s%.*s%.*s", at.begin, text.ptr, STR_FMT(by), text.len - at.end,
                    text.ptr + at.end);
}

static str number_instead(tile_fixture *random, arena *a, str text, token at) {
  static const char *const numbers[] = {"0", "1", "3", "7", "16", "63", "65", "1000000"};
  while (at.begin < text.len && !isdigit((unsigned char)text.ptr[at.begin])) at.begin++;
  at.end = at.begin;
  while (at.end < text.len && isdigit((unsigned char)text.ptr[at.end])) at.end++;
  return replace(a, text, at, str_from(numbers[random_below(random, 8)]));
}

/// "%a, " is left out, or a line.
static str left_out(tile_fixture *random, arena *a, str text, token at) {
  if (random_below(random, 2)) {
    while (at.begin && text.ptr[at.begin - 1] != '\n') at.begin--;
    while (at.end < text.len && text.ptr[at.end] != '\n') at.end++;
  } else {
    while (at.end < text.len && strchr(", ", text.ptr[at.end])) at.end++;
  }
  return replace(a, text, at, STR(""));
}

/// One token becomes another of the text, of the same kind.
static str another_token(tile_fixture *random, arena *a, str text, token at) {
  for (int tries = 0; tries < 50; tries++) {
    token by;
    if (!token_at(text, random_below(random, text.len), &by)) continue;
    bool alike = (text.ptr[by.begin] == '%') == (text.ptr[at.begin] == '%') &&
                 !isdigit((unsigned char)text.ptr[by.begin]) ==
                     !isdigit((unsigned char)text.ptr[at.begin]);
    if (alike) return replace(a, text, at, (str){text.ptr + by.begin, by.end - by.begin});
  }
  return text;
}

static str mutate(tile_fixture *random, arena *a, str text) {
  token at;
  if (!token_at(text, random_below(random, text.len), &at)) return text;
  switch (random_below(random, 4)) {
    case 0:
      return number_instead(random, a, text, at);
    case 1:
      return left_out(random, a, text, at);
    default:
      return another_token(random, a, text, at);
  }
}

static bool try_program(tile_fixture *f, const char *name, str text, const program *p,
                        const char *cpu, const char *gpu) {
  str report, why = STR("");
  if (!program_verify(p, &f->arena, &report)) {
    cr_expect(report.len > 0);
    return false;
  }
  codegen_options options = {.kind = CODE_LLVM_IR, .cpu = str_from(gpu ? gpu : cpu)};
  code out;
  bool good = gpu ? codegen_cuda(&f->arena, p, &options, &out, &why)
                  : codegen_cpu(&f->arena, p, &options, &out, &why);
  // What an architecture does not have is an error that says so.
  bool lacks = gpu && why.len && strstr(str_z(&f->arena, why), " needs ");
  cr_expect(good || lacks, "%s: %.*s\n%.*s", name, STR_FMT(why), STR_FMT(text));
  return good;
}

/// 1: accepted and compiled, for the CPU or, by its name, a GPU; 0: refused.
static int try_text(const char *name, str text, const char *cpu, const char *gpu) {
  tile_fixture f = {0};
  fault_frame frame;
  int accepted = 0;
  if (fault_try(&frame) && tile_fixture_parse(&f, text))
    for (int i = 0; i < f.module.programs.len; i++)
      accepted += try_program(&f, name, text, f.module.programs.data[i], cpu, gpu);
  fault_pop(&frame);
  cr_expect(frame.kind == FAULT_NONE, "%s: %s\n%.*s", name, frame.text, STR_FMT(text));
  tile_fixture_free(&f);
  return accepted;
}

static void try_mutations(const char *const *names, int n, int mutations, const char *cpu,
                          const char *gpu) {
  tile_fixture random = {.random = 0x2545F4914F6CDD1Du};
  int accepted = 0, tried = 0;
  const char *more = getenv("TCF_MUTATIONS");  // of each file
  if (more) mutations = atoi(more);
  for (int i = 0; i < n; i++) {
    tile_fixture f = {0};
    str text = tile_fixture_read(&f, names[i]);
    cr_expect(try_text(names[i], text, cpu, gpu), "%s itself is refused", names[i]);
    for (int k = 0; k < mutations; k++, tried++) {
      str changed = mutate(&random, &f.arena, text);
      if (random_below(&random, 3) == 0) changed = mutate(&random, &f.arena, changed);
      accepted += try_text(names[i], changed, cpu, gpu) > 0;
    }
    tile_fixture_free(&f);
  }
  // Both happen: the verifier neither refuses everything nor lets everything through.
  cr_expect(accepted > 0 && accepted < tried, "%d of %d", accepted, tried);
}

Test(tile_mutation, what_verifies_compiles) { try_mutations(files, NFILES, MUTATIONS, "", NULL); }

Test(tile_mutation, what_verifies_compiles_for_dots_of_pairs) {
  static const char *const pairs[] = {"matmul_pairs.tile"};
  try_mutations(pairs, 1, 4 * MUTATIONS, "sapphirerapids", NULL);
}

Test(tile_mutation, what_verifies_compiles_for_a_gpu) {
  try_mutations(gpu_files, NGPU_FILES, GPU_MUTATIONS, "", "sm_90a");
}

Test(tile_mutation, attention_that_verifies_compiles) {
  try_mutations(attention, 3, 4 * MUTATIONS, "", "sm_90a");
}

/// A copy whose grid has n axes of which it uses one.
static str many_axes(arena *a, int n, const char *head) {
  strbuf out = sb_new(a);
  sb_puts(&out, "program @p {\n  buffer %x : f32[A = 3] param 0\n  buffer %out : f32[A = 3] output 0\n"
                "  call @k(%x, %out)\n}\nkernel @k(x: f32[3], out: f32[3])");
  sb_printf(&out, "%s {\n  axes", head);
  for (int i = 0; i < n; i++) sb_printf(&out, "%s A%d = 3", i ? "," : "", i);
  sb_puts(&out, "\n  grid");
  for (int i = 0; i < n; i++) sb_printf(&out, "%s A%d:%d", i ? "," : "", i, 2);
  sb_printf(&out, " {\n    %%0 = load x[A%d] : f32[A%d:2]\n    store out[A%d], %%0\n  }\n}\n", n - 1,
            n - 1, n - 1);
  return sb_str(&out);
}

Test(tile_mutation, as_many_axes_as_a_text_may_have) {
  arena a = {0};
  for (int n = 1; n <= 64; n += 21) {
    cr_expect(try_text("axes", many_axes(&a, n, ""), "", NULL), "%d axes on a CPU", n);
    cr_expect(try_text("axes", many_axes(&a, n, " threads 32"), "", "sm_90a"), "%d axes on a GPU", n);
  }
  arena_free(&a);
}
