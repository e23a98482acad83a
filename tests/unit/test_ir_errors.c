// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Wrong IR: tests/diag/CODE.graph and CODE.tile with the exact messages in CODE.graph.err and
// CODE.tile.err. TCF_REWRITE_GOLDEN=1 rewrites the messages.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tcc_fuse.h"
#include "tests/unit/frontend_fixture.h"

#define FOLDER TCF_SOURCE_DIR "/tests/diag"

typedef struct messages {
  strbuf text;
  int code;  // of the first
} messages;

static void keep(void *user, const tcf_diagnostic *d) {
  messages *m = user;
  if (!m->code) m->code = d->code;
  sb_puts(&m->text, d->text);
}

static void check_file(arena *a, str path) {
  messages m = {.text = sb_new(a)};
  tcf_options options = {.size = sizeof options, .target = "interp", .diagnostic = keep,
                         .diagnostic_user = &m};
  tcf_session *s;
  tcf_program *p;
  cr_assert_eq(tcf_session_new(&options, &s), TCF_OK);
  const char *name = strrchr(path.ptr, '/') + 1;
  bool found;
  str text = read_whole_file(a, path.ptr, &found);
  cr_expect_eq(tcf_program_load(s, name, text.ptr, (size_t)text.len, &p), TCF_WRONG_PROGRAM, "%s",
               name);
  str golden = str_printf(a, "%s.err", path.ptr);
  if (getenv("TCF_REWRITE_GOLDEN")) write_whole_file(golden.ptr, sb_str(&m.text));
  str expected = read_whole_file(a, golden.ptr, &found);
  cr_expect(found && str_eq(sb_str(&m.text), expected), "%s gives\n%s\nnot\n%.*s", name,
            m.text.data, STR_FMT(expected));
  cr_expect_eq(m.code, atoi(name + 1), "%s", name);
  tcf_session_free(s);
}

static int check_files(const char *suffix) {
  arena a = {0};
  str *files;
  int n = list_files(&a, FOLDER, suffix, &files);
  for (int i = 0; i < n; i++) check_file(&a, files[i]);
  arena_free(&a);
  return n;
}

Test(ir_errors, messages_are_exact) {
  cr_expect_eq(check_files(".graph"), 13);
  cr_expect_eq(check_files(".tile"), 11);
}
