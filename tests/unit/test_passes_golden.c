// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Golden tests of the passes: tests/golden/passes/<pass>_<case>.ir is run through <pass> (with
// --fast-math where the case begins with "fast") and compared with its .expected. For the fuse
// pass the decisions follow. TCF_REWRITE_GOLDEN=1 writes the expectations. Every pass has a file.
#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/passes.h"

static const char folder[] = TCF_SOURCE_DIR "/tests/golden/passes";

static bool read_file(arena *a, const char *path, str *out) {
  FILE *f = fopen(path, "rb");
  if (!f) return false;
  strbuf b = sb_new(a);
  char chunk[4096];
  for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) sb_put(&b, (str){chunk, (int)n});
  fclose(f);
  *out = b.len ? sb_str(&b) : (str){"", 0};
  return true;
}

static int is_input(const struct dirent *e) { return str_ends(str_from(e->d_name), STR(".ir")); }

static void put_decisions(const graph *g, strbuf *out) {
  for (int i = 0; i < g->decisions.len; i++) {
    const decision *d = &g->decisions.data[i];
    sb_printf(out, "// %s %%%d -> %%%d %s, %lld bytes, %lld flops\n",
              d->fused ? "fused" : "cut  ", d->producer, d->consumer, reason_name(d->why),
              (long long)d->bytes, (long long)d->flops);
  }
}

/// Of "<pass>_<case>.ir", where names of passes may have an underline themselves.
static const pass_info *pass_of(str file) {
  int n;
  const pass_info *all = passes_all(&n);
  for (int i = 0; i < n; i++) {
    str name = str_from(all[i].name);
    if (str_starts(file, name) && file.len > name.len && file.ptr[name.len] == '_') return &all[i];
  }
  return NULL;
}

static void transform(arena *a, str name, str text, strbuf *out) {
  diag_list diags = {.arena = a};
  uint32_t file = diag_add_file(&diags, name, text);
  module m = {.arena = a};
  if (!module_parse(a, &diags, file, &m)) {
    for (int i = 0; i < diags.items.len; i++)
      diag_render_text(&diags, diags.items.data[i], false, out);
    return;
  }
  const pass_info *pass = pass_of(name);
  cr_assert(pass, "%.*s: no such pass", STR_FMT(name));
  arena scratch = {0};
  pass_options options = {.fast_math = str_starts(str_from(name.ptr + strlen(pass->name) + 1),
                                                  STR("fast"))};
  options.unordered_sums =
      str_starts(str_from(name.ptr + strlen(pass->name) + 1), STR("unordered"));
  if (options.unordered_sums) options.target = target_gpu(STR("sm_90a"));
  for (int i = 0; i < m.graphs.len; i++) {
    pass_ctx ctx = {.graph = m.graphs.data[i], .scratch = &scratch, .options = &options};
    passes_run(&ctx, &pass, 1, NULL, NULL);
    graph_print(ctx.graph, out);
    put_decisions(ctx.graph, out);
  }
  arena_free(&scratch);
}

static void check_file(const char *name) {
  arena a = {0};
  char path[1024];
  str text = {0}, expected = {0};
  snprintf(path, sizeof path, "%s/%s", folder, name);
  cr_assert(read_file(&a, path, &text), "%s", path);
  strbuf out = sb_new(&a);
  transform(&a, str_from(name), text, &out);
  snprintf(path, sizeof path, "%s/%.*s.expected", folder, (int)strlen(name) - 3, name);
  if (getenv("TCF_REWRITE_GOLDEN")) {
    FILE *f = fopen(path, "wb");
    cr_assert(f, "%s", path);
    fwrite(out.data, 1, (size_t)out.len, f);
    fclose(f);
  } else {
    cr_expect(read_file(&a, path, &expected), "%s is missing", path);
    cr_expect(str_eq(sb_str(&out), expected), "%s gave\n%s", name, out.data);
  }
  arena_free(&a);
}

Test(passes_golden, every_file_gives_what_is_expected) {
  struct dirent **entries;
  int n = scandir(folder, &entries, is_input, alphasort);
  cr_assert_geq(n, 20, "%s", folder);
  for (int i = 0; i < n; i++) {
    check_file(entries[i]->d_name);
    free(entries[i]);
  }
  free(entries);
}

static bool has_file(const pass_info *pass, struct dirent **entries, int n) {
  for (int i = 0; i < n; i++) {
    const pass_info *of = pass_of(str_from(entries[i]->d_name));
    if (of && !strcmp(of->name, pass->name)) return true;
  }
  return false;
}

Test(passes_golden, every_pass_has_a_file) {
  struct dirent **entries;
  int passes, n = scandir(folder, &entries, is_input, alphasort);
  const pass_info *all = passes_all(&passes);
  for (int i = 0; i < passes; i++)
    cr_expect(has_file(&all[i], entries, n), "%s has none", all[i].name);
  for (int i = 0; i < n; i++) free(entries[i]);
  free(entries);
}
