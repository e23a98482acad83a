// Tile IR from a file may say anything. Dumps of lowered programs with a number, a name, an operand
// or a line changed: whatever parses and verifies becomes LLVM IR without a fault. Under the
// sanitizers this also says that nothing is read out of bounds on the way.
#include <criterion/criterion.h>
#include <ctype.h>

#include "base/fault.h"
#include "codegen/codegen.h"
#include "tile_fixture.h"

static const char *const files[] = {"temps_host.tile",   "softmax_last.tile", "matmul_packed.tile",
                                    "gather_check.tile", "pad_guard.tile",    "argmax.tile",
                                    "nested_tails.tile", "scatter_add.tile",  "skip_blocks.tile",
                                    "everything.tile"};
enum { NFILES = sizeof files / sizeof *files, MUTATIONS = 60 };

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

/// 1: accepted and compiled; 0: refused.
static int try_text(const char *name, str text) {
  tile_fixture f = {0};
  fault_frame frame;
  int accepted = 0;
  if (fault_try(&frame) && tile_fixture_parse(&f, text) && f.p) {
    str report, why = STR("");
    if (program_verify(f.p, &f.arena, &report)) {
      codegen_options options = {.kind = CODE_LLVM_IR};
      code out;
      accepted = codegen_cpu(&f.arena, f.p, &options, &out, &why);
      cr_expect(accepted, "%s: %.*s\n%.*s", name, STR_FMT(why), STR_FMT(text));
    } else {
      cr_expect(report.len > 0);
    }
  }
  fault_pop(&frame);
  cr_expect(frame.kind == FAULT_NONE, "%s: %s\n%.*s", name, frame.text, STR_FMT(text));
  tile_fixture_free(&f);
  return accepted;
}

Test(tile_mutation, what_verifies_compiles) {
  tile_fixture random = {.random = 0x2545F4914F6CDD1Du};
  int accepted = 0, tried = 0;
  for (int i = 0; i < NFILES; i++) {
    tile_fixture f = {0};
    str text = tile_fixture_read(&f, files[i]);
    cr_expect(try_text(files[i], text), "%s itself is refused", files[i]);
    for (int k = 0; k < MUTATIONS; k++, tried++)
      accepted += try_text(files[i], mutate(&random, &f.arena, text));
    tile_fixture_free(&f);
  }
  // Both happen: the verifier neither refuses everything nor lets everything through.
  cr_expect(accepted > 0 && accepted < tried, "%d of %d", accepted, tried);
}
