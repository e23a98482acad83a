// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A program: the files of one compilation, their functions by name, names of calls resolved.
#pragma once
#include "frontend/ast.h"
#include "frontend/frontend.h"

typedef struct program {
  arena *arena;
  diag_list *diags;
  const frontend_options *options;
  vec(unit *) units;  // [0] is the standard library, [1] the file being compiled
  map functions;      // name -> func*, of the user's files; these hide the library's
  map library;        // name -> func*
  vec(const let_name *) unused;
} program;

/// Parses the file and its imports; resolves calls; finds recursion, missing returns, names given
/// twice and unused. False when there were errors; functions without any can still be checked.
bool program_load(program *p, uint32_t file);

/// Warns of values that are never used; for programs without errors.
void program_warn_unused(program *p);
