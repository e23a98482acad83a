// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// docs/passes.md holds the tables of passes.def and reasons.def between markers, docs/numerics.md
// what ops.def says of errors; they are checked here and rewritten with TCF_REWRITE_GOLDEN=1.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"

static char *read_docs(arena *a, const char *path) {
  FILE *f = fopen(path, "rb");
  cr_assert(f, "%s", path);
  strbuf b = sb_new(a);
  char chunk[4096];
  for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) sb_put(&b, (str){chunk, (int)n});
  fclose(f);
  return b.data;
}

static void put_passes(strbuf *out) {
  int n;
  const pass_info *all = passes_all(&n);
  sb_puts(out, "| | pass | what it does |\n|---|---|---|\n");
  for (int i = 0; i < n; i++)
    sb_printf(out, "| %d | `%s` | %s |\n", i + 1, all[i].name,
              all[i].summary ? all[i].summary : "once more, on what came out");
}

static void put_reasons(strbuf *out) {
  sb_puts(out, "| reason | meaning |\n|---|---|\n");
  for (int r = 0; r < REASON_COUNT; r++)
    sb_printf(out, "| `%s` | %s |\n", reason_name((reason)r), reason_text((reason)r));
}

/// Replaces what is between the markers of `name`.
static char *with_section(arena *a, const char *text, const char *name, void put(strbuf *)) {
  const char *begin = strstr(text, str_printf(a, "<!-- begin %s -->\n", name).ptr);
  const char *end = strstr(text, str_printf(a, "<!-- end %s -->", name).ptr);
  cr_assert(begin && end && begin < end, "the document has no section %s", name);
  begin = strchr(begin, '\n') + 1;
  strbuf out = sb_new(a);
  sb_put(&out, (str){text, (int)(begin - text)});
  put(&out);
  sb_puts(&out, end);
  return out.data;
}

/// Ops by the rule of their errors.
static void put_errors(strbuf *out) {
  static const char *const rules[] = {
#define X(name, text) text,
      OP_ERRORS(X)
#undef X
  };
  sb_puts(out, "| e of the result | operations |\n|---|---|\n");
  for (int e = 0; e < ERROR_COUNT; e++) {
    sb_printf(out, "| %s | `", rules[e]);
    bool first = true;
    for (int o = 0; o < OP_COUNT; o++) {
      const op_info *info = op_get((op)o);
      if ((int)info->error != e || o == OP_param) continue;
      sb_printf(out, "%s%s", first ? "" : " ", info->name);
      first = false;
    }
    sb_puts(out, "` |\n");
  }
}

static void keep_or_compare(const char *path, const char *text, const char *wanted) {
  if (!getenv("TCF_REWRITE_GOLDEN")) {
    cr_assert_str_eq(text, wanted, "%s is stale: ./dev golden", path);
    return;
  }
  FILE *f = fopen(path, "wb");
  cr_assert(f);
  fputs(wanted, f);
  fclose(f);
}

Test(passes_golden, docs_hold_the_tables) {
  static const char passes[] = TCF_SOURCE_DIR "/docs/passes.md";
  static const char numerics[] = TCF_SOURCE_DIR "/docs/numerics.md";
  arena a = {0};
  char *text = read_docs(&a, passes);
  char *wanted = with_section(&a, text, "passes.def", put_passes);
  wanted = with_section(&a, wanted, "reasons.def", put_reasons);
  keep_or_compare(passes, text, wanted);
  text = read_docs(&a, numerics);
  keep_or_compare(numerics, text, with_section(&a, text, "ops.def", put_errors));
  arena_free(&a);
}
