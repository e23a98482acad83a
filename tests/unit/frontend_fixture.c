// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tests/unit/frontend_fixture.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "lower_targets.h"

/// What a program that begins with "// target: sm_80" is for; otherwise a CPU.
static target_info target_of(str text) {
  str line = STR("// target: ");
  if (!str_starts(text, line)) return cpu_target(4);
  int end = line.len;
  while (end < text.len && text.ptr[end] != '\n') end++;
  const target_info *t = target_gpu((str){text.ptr + line.len, end - line.len});
  cr_assert(t);
  return *t;
}

/// As `tcc-fuse check` does.
static void check_contracts(program_test *t, str text) {
  const target_info target = target_of(text);
  pass_options options = {.target = &target};
  int from = t->diags.items.len;
  for (int i = 0; i < t->graphs.graphs.len; i++) {
    const graph *g = t->graphs.graphs.data[i];
    if (!g->contracts.len) continue;
    arena scratch = {0};
    pass_ctx ctx = {graph_copy(&t->arena, g), &scratch, &options, &t->diags};
    t->ok &= passes_run(&ctx, NULL, 0, NULL, NULL);
    arena_free(&scratch);
  }
  diag_drop_repeated(&t->diags, from);
}

void program_test_run(program_test *t, const char *path, str text) {
  *t = (program_test){0};
  t->diags.arena = &t->arena;
  uint32_t file = diag_add_file(&t->diags, str_from(path), text);
  t->ok = frontend_compile(&t->arena, &t->diags, file, NULL, &t->graphs, NULL);
  for (int i = 0; i < t->graphs.graphs.len; i++) {
    str report = {0};
    bool good = graph_verify(t->graphs.graphs.data[i], &t->arena, &report);
    cr_assert(good, "%s: %.*s", path, STR_FMT(report));
  }
  if (t->ok) check_contracts(t, text);
}

void program_test_free(program_test *t) { arena_free(&t->arena); }

str program_test_messages(program_test *t) {
  strbuf out = sb_new(&t->arena);
  for (int i = 0; i < t->diags.items.len; i++)
    diag_render_text(&t->diags, t->diags.items.data[i], false, &out);
  return sb_str(&out);
}

bool program_test_has(const program_test *t, int code, bool warning) {
  for (int i = 0; i < t->diags.items.len; i++) {
    const diag *d = t->diags.items.data[i];
    if (d->code == code && (d->severity == DIAG_WARNING) == warning) return true;
  }
  return false;
}

str read_whole_file(arena *a, const char *path, bool *found) {
  FILE *f = fopen(path, "rb");
  strbuf text = sb_new(a);
  *found = f != NULL;
  for (int c; f && (c = fgetc(f)) != EOF;) sb_putc(&text, (char)c);
  if (f) fclose(f);
  return sb_str(&text);
}

void write_whole_file(const char *path, str text) {
  FILE *f = fopen(path, "wb");
  cr_assert(f, "cannot write %s", path);
  fwrite(text.ptr, 1, (size_t)text.len, f);
  fclose(f);
}

static int compare(const void *a, const void *b) {
  return str_cmp(*(const str *)a, *(const str *)b);
}

int list_files(arena *a, const char *folder, const char *suffix, str **names) {
  vec(str) found = {0};
  DIR *dir = opendir(folder);
  cr_assert(dir, "no folder %s", folder);
  for (struct dirent *e; (e = readdir(dir));)
    if (str_ends(str_from(e->d_name), str_from(suffix)))
      vec_push(a, &found, str_printf(a, "%s/%s", folder, e->d_name));
  closedir(dir);
  if (found.len) qsort(found.data, (size_t)found.len, sizeof(str), compare);
  *names = found.data;
  return found.len;
}
