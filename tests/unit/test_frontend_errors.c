// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Wrong programs: tests/diag/NAME.tdsl and the exact messages in NAME.err. TCF_REWRITE_GOLDEN=1
// rewrites the messages. A file named after a code must give that code, and every code has one
// (those of IR text are for test_ir_errors.c).
#include <criterion/criterion.h>
#include <stdlib.h>

#include "tests/unit/frontend_fixture.h"

#define FOLDER TCF_SOURCE_DIR "/tests/diag"

static str base_name(str path) {
  int slash = path.len;
  while (slash && path.ptr[slash - 1] != '/') slash--;
  return (str){path.ptr + slash, path.len - slash};
}

static void check_file(arena *a, str path) {
  bool found;
  str name = base_name(path);
  str text = read_whole_file(a, path.ptr, &found);
  program_test t;
  program_test_run(&t, str_z(a, name), text);
  str messages = program_test_messages(&t);
  str golden = str_printf(a, "%.*s.err", path.len - 5, path.ptr);
  if (getenv("TCF_REWRITE_GOLDEN")) write_whole_file(golden.ptr, messages);
  str expected = read_whole_file(a, golden.ptr, &found);
  cr_expect(found && str_eq(messages, expected), "%.*s gives\n%.*s\nnot\n%.*s", STR_FMT(name),
            STR_FMT(messages), STR_FMT(expected));
  int code = name.ptr[0] == 'E' || name.ptr[0] == 'W' ? atoi(name.ptr + 1) : 0;
  bool warning = name.ptr[0] == 'W';
  if (code)
    cr_expect(program_test_has(&t, code, warning), "%.*s does not give its code", STR_FMT(name));
  cr_expect(t.ok == (t.diags.errors == 0), "%.*s", STR_FMT(name));
  program_test_free(&t);
}

Test(frontend_errors, messages_are_exact) {
  arena a = {0};
  str *files;
  int n = list_files(&a, FOLDER, ".tdsl", &files);
  cr_assert(n > 40);
  for (int i = 0; i < n; i++) check_file(&a, files[i]);
  arena_free(&a);
}

/// The file would be 16 MB, see below; the error comes with data, see test_api.c; with an option, see
/// tests/cli/budget.sh.
static bool has_no_file(int code) {
  return code == DIAG_file_too_large || code == DIAG_index_out_of_range || code == DIAG_budget_sizes ||
         code == DIAG_budget;
}

Test(frontend_errors, every_code_has_a_program_and_a_line_in_the_documentation) {
  arena a = {0};
  int n;
  bool found;
  const diag_info *codes = diag_codes(&n);
  str docs = read_whole_file(&a, TCF_SOURCE_DIR "/docs/diagnostics.md", &found);
  for (int i = 0; i < n; i++) {
    int code = codes[i].code;
    str name = str_printf(&a, "%c%04d", code >= 800 && code < 900 ? 'W' : 'E', code);
    bool ir = code >= 500 && code < 600;
    str path = str_printf(&a, FOLDER "/%s.%s", name.ptr, ir ? "graph" : "tdsl");
    read_whole_file(&a, path.ptr, &found);
    cr_expect(found || has_no_file(code), "%s (%s) has no program", name.ptr, codes[i].name);
    cr_expect(strstr(docs.ptr, name.ptr), "%s is not in docs/diagnostics.md", name.ptr);
    for (int k = 0; k < i; k++) cr_expect(codes[k].code != code, "%d twice", code);
  }
  arena_free(&a);
}

Test(frontend_errors, a_file_beyond_the_limit) {
  arena a = {0};
  strbuf text = sb_new(&a);
  while (text.len <= 16 << 20) sb_puts(&text, "// a line of a very long comment ..........\n");
  program_test t;
  program_test_run(&t, "long.tdsl", sb_str(&text));
  cr_expect(!t.ok);
  cr_expect_str_eq(program_test_messages(&t).ptr,
                   "long.tdsl:1:1: error[E0107]: the file has 16777244 bytes; the limit is 16777216\n"
                   "   1 | // a line of a very long comment ..........\n"
                   "     | ^\n");
  program_test_free(&t);
  arena_free(&a);
}
