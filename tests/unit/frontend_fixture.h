// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs compiled from strings and files, for the tests of the front end.
#pragma once
#include "frontend/frontend.h"

typedef struct program_test {
  arena arena;
  diag_list diags;
  module graphs;
  bool ok;
} program_test;

/// Compiles the text under the name `path`; imports fail. Verifies what it gives.
void program_test_run(program_test *t, const char *path, str text);
void program_test_free(program_test *t);
/// All diagnostics as text, without color.
str program_test_messages(program_test *t);
bool program_test_has(const program_test *t, int code, bool warning);

/// The whole file; empty with `*found` false when it cannot be read.
str read_whole_file(arena *a, const char *path, bool *found);
void write_whole_file(const char *path, str text);
/// Names of the files in a folder that end in `suffix`, sorted, with the folder in front.
int list_files(arena *a, const char *folder, const char *suffix, str **names);
