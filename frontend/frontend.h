// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The front end: programs of the language to graph IR, and the formatter.
#pragma once
#include "ir/graph.h"

typedef struct frontend_options {
  /// Finds an imported file: `path` as written, `importer` the path of the file that imports it.
  /// On success the name to show in messages (equal names are one file) and the text, both of
  /// which must outlive the diagnostics; else a reason in *error. Null: nothing can be imported.
  bool (*load)(void *ctx, str importer, str path, str *name, str *text, str *error);
  void *ctx;
  bool unchecked;  // gather and scatter without the test of their indices
} frontend_options;

/// A file that was compiled, as long as its arena lives.
typedef struct frontend frontend;

/// Compiles the file (registered in diags) and what it imports. Each function of the file whose
/// signature is concrete (no real, .., axis) becomes a graph of *out, in the order of the file;
/// the others are checked where they are called. False when there were errors; *out then holds
/// nothing. *kept (may be null) is for frontend_add_backward().
bool frontend_compile(arena *a, diag_list *diags, uint32_t file, const frontend_options *options,
                      module *out, frontend **kept);

/// The graph of a function once more, in arena a, with its backward part for these parameters, which are
/// floats (graph_add_backward() of ir/grad.h). Of warnings only those about the derivatives. diags has
/// the files of the compilation. Null when there were errors.
graph *frontend_add_backward(frontend *f, arena *a, diag_list *diags, str function,
                             const int *params, int nparams);

/// The canonical layout of a file that parses; comments are kept. False when it does not parse.
bool frontend_format(arena *a, diag_list *diags, uint32_t file, str *out);

/// The standard library's text, written in the language; visible without an import.
str frontend_std_text(void);
