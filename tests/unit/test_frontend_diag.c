// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rendering of diagnostics: positions, carets, notes, fix-its, JSON.
#include <criterion/criterion.h>
#include <jansson.h>

#include "base/diag.h"

typedef struct rendering {
  arena arena;
  diag_list list;
  uint32_t file;
} rendering;

static void begin(rendering *r, const char *text) {
  *r = (rendering){0};
  r->list.arena = &r->arena;
  r->file = diag_add_file(&r->list, STR("a.tdsl"), str_from(text));
}

static span at(const rendering *r, uint32_t begin, uint32_t end) {
  return (span){r->file, begin, end};
}

static void expect_text(rendering *r, const char *expected) {
  strbuf out = sb_new(&r->arena);
  for (int i = 0; i < r->list.items.len; i++)
    diag_render_text(&r->list, r->list.items.data[i], false, &out);
  cr_expect_str_eq(out.data, expected);
  arena_free(&r->arena);
}

Test(diag, caret_notes_and_fixits) {
  rendering r;
  begin(&r, "fn f(x: f32[N])\n  return sum(x, K)\n");
  diag *d = diag_error(&r.list, 210, at(&r, 32, 33), "%s has no axis %c", "x", 'K');
  diag_add_fixit(&r.list, d, at(&r, 32, 33), "N");
  diag_add_fixit(&r.list, d, at(&r, 33, 33), ",");
  diag_add_fixit(&r.list, d, at(&r, 25, 28), "%s", "");
  diag_add_note(&r.list, d, at(&r, 5, 14), "x is declared here");
  expect_text(&r,
              "a.tdsl:2:17: error[E0210]: x has no axis K\n"
              "   2 |   return sum(x, K)\n"
              "     |                 ^\n"
              "     = fix: replace `K` with `N`\n"
              "     = fix: insert `,`\n"
              "     = fix: remove `sum`\n"
              "a.tdsl:1:6: note: x is declared here\n"
              "   1 | fn f(x: f32[N])\n"
              "     |      ^~~~~~~~~\n");
}

Test(diag, columns_are_code_points_and_carets_are_cells) {
  rendering r;
  begin(&r, "\t\"\xc3\xa9\xe6\xbc\xa2\" +\tq\r\nrest");
  diag_warning(&r.list, 801, at(&r, 11, 12), "here");
  expect_text(&r,
              "a.tdsl:1:9: warning[W0801]: here\n"
              "   1 | \t\"\xc3\xa9\xe6\xbc\xa2\" +\tq\n"
              "     | \t       \t^\n");
}

Test(diag, spans_at_the_end_and_over_lines) {
  rendering r;
  begin(&r, "let a = (1 +\n 2)");
  diag_error(&r.list, 201, at(&r, 8, 16), "over two lines");
  diag_error(&r.list, 201, at(&r, 16, 16), "at the end");
  diag_error(&r.list, 201, at(&r, 900, 905), "beyond the end");
  diag_error(&r.list, 201, (span){0}, "no position");
  expect_text(&r,
              "a.tdsl:1:9: error[E0201]: over two lines\n"
              "   1 | let a = (1 +\n"
              "     |         ^~~~\n"
              "a.tdsl:2:4: error[E0201]: at the end\n"
              "   2 |  2)\n"
              "     |    ^\n"
              "a.tdsl:2:4: error[E0201]: beyond the end\n"
              "   2 |  2)\n"
              "     |    ^\n"
              "error[E0201]: no position\n");
}

Test(diag, escapes_and_bad_bytes_are_not_sent_to_the_terminal) {
  rendering r;
  begin(&r, "a\x1b[31m\xff b");
  diag_error(&r.list, 101, at(&r, 8, 9), "control \x1b");
  expect_text(&r,
              "a.tdsl:1:9: error[E0101]: control \xef\xbf\xbd\n"
              "   1 | a\xef\xbf\xbd[31m\xef\xbf\xbd b\n"
              "     |         ^\n");
}

Test(diag, long_lines_are_cut_around_the_caret) {
  rendering r;
  char text[1001];
  memset(text, 'x', 1000);
  text[1000] = 0;
  begin(&r, text);
  diag_error(&r.list, 201, at(&r, 500, 505), "in the middle");
  strbuf out = sb_new(&r.arena);
  diag_render_text(&r.list, r.list.items.data[0], false, &out);
  cr_expect_lt(out.len, 400);
  const char *caret = strchr(out.data, '^'), *line = caret;
  while (line[-1] != '\n') line--;
  cr_expect_eq(caret - line, 7 + 3 + 60, "caret in column %d", (int)(caret - line));
  arena_free(&r.arena);
}

Test(diag, the_number_of_errors_is_limited) {
  rendering r;
  begin(&r, "x");
  for (int i = 0; i < 200; i++) diag_error(&r.list, 201, at(&r, 0, 1), "error %d", i);
  cr_expect_eq(r.list.items.len, DIAG_ERROR_LIMIT + 1);
  cr_expect_eq(r.list.items.data[DIAG_ERROR_LIMIT]->code, DIAG_too_many_errors);
  cr_expect(r.list.suppressed);
  arena_free(&r.arena);
}

Test(diag, json_holds_everything) {
  rendering r;
  begin(&r, "let \xff = 1\nx");
  diag *d = diag_error(&r.list, 210, at(&r, 4, 5), "bad \xff byte");
  diag_add_note(&r.list, d, at(&r, 10, 11), "note");
  diag_add_fixit(&r.list, d, at(&r, 4, 5), "y");
  diag_warning(&r.list, 801, at(&r, 10, 11), "unused");
  strbuf out = sb_new(&r.arena);
  diag_render_json(&r.list, &out);
  json_t *root = json_loads(out.data, 0, NULL);
  cr_assert(root && json_array_size(root) == 2);
  json_t *first = json_array_get(root, 0);
  cr_expect_str_eq(json_string_value(json_object_get(first, "code")), "E0210");
  cr_expect_str_eq(json_string_value(json_object_get(first, "severity")), "error");
  cr_expect_str_eq(json_string_value(json_object_get(first, "message")),
                   "bad \xef\xbf\xbd byte");
  cr_expect_eq(json_integer_value(json_object_get(first, "line")), 1);
  cr_expect_eq(json_integer_value(json_object_get(first, "column")), 5);
  cr_expect_eq(json_integer_value(json_object_get(first, "end_column")), 6);
  json_t *note = json_array_get(json_object_get(first, "notes"), 0);
  cr_expect_eq(json_integer_value(json_object_get(note, "line")), 2);
  json_t *fixit = json_array_get(json_object_get(first, "fixits"), 0);
  cr_expect_str_eq(json_string_value(json_object_get(fixit, "replacement")), "y");
  json_decref(root);
  arena_free(&r.arena);
}

Test(frontend_diag, positions_of_a_long_file_are_looked_up) {
  arena a = {0};
  strbuf text = sb_new(&a);
  for (int i = 0; i < 1000; i++) sb_printf(&text, "%.*s\n", i % 3, "ab");
  diag_list list = {.arena = &a};
  uint32_t file = diag_add_file(&list, STR("long.tdsl"), sb_str(&text));
  cr_expect_eq(list.files.data[0].lines.len, 1001);
  int line = 1, col = 1;
  for (int at = 0; at <= text.len; at++) {
    line_col pos = diag_line_col(&list, (span){file, (uint32_t)at, (uint32_t)at});
    cr_expect(pos.line == line && pos.col == col, "%d: %d:%d", at, pos.line, pos.col);
    bool ends = at < text.len && text.data[at] == '\n';
    line += ends;
    col = ends ? 1 : col + 1;
  }
  arena_free(&a);
}
