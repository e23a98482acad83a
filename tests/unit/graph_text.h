// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graphs of tests that are written as text.
#pragma once
#include <criterion/criterion.h>

#include "base/fault.h"
#include "passes/passes.h"

/// The one graph of the text; a text with a mistake fails the test with what is wrong.
static inline graph *graph_of_text(arena *a, const char *text) {
  diag_list diags = {.arena = a};
  module m = {.arena = a};
  uint32_t file = diag_add_file(&diags, STR("test.ir"), str_from(text));
  bool fine = module_parse(a, &diags, file, &m);
  strbuf why = sb_new(a);
  for (int i = 0; i < diags.items.len; i++) diag_render_text(&diags, diags.items.data[i], false, &why);
  cr_assert(fine && m.graphs.len == 1, "%s\n%.*s", text, STR_FMT(sb_str(&why)));
  return m.graphs.data[0];
}
