// docs/passes.md holds the tables of passes.def and reasons.def between markers; they are checked
// here and rewritten with TCF_REWRITE_GOLDEN=1.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes/passes.h"

static const char path[] = TCF_SOURCE_DIR "/docs/passes.md";

static char *read_docs(arena *a) {
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
  cr_assert(begin && end && begin < end, "docs/passes.md has no section %s", name);
  begin = strchr(begin, '\n') + 1;
  strbuf out = sb_new(a);
  sb_put(&out, (str){text, (int)(begin - text)});
  put(&out);
  sb_puts(&out, end);
  return out.data;
}

Test(passes_golden, docs_hold_the_tables) {
  arena a = {0};
  char *text = read_docs(&a);
  char *wanted = with_section(&a, text, "passes.def", put_passes);
  wanted = with_section(&a, wanted, "reasons.def", put_reasons);
  if (getenv("TCF_REWRITE_GOLDEN")) {
    FILE *f = fopen(path, "wb");
    cr_assert(f);
    fputs(wanted, f);
    fclose(f);
  } else {
    cr_assert_str_eq(text, wanted, "docs/passes.md is stale: ./dev golden");
  }
  arena_free(&a);
}
