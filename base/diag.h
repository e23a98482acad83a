// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Diagnostics: collected as data, rendered on request. Nothing here prints.
//
//   program.tdsl:3:12: error[E0210]: x has no axis K; it has N, D
//      3 |   return sum(x, K)
//        |                 ^
//   program.tdsl:1:14: note: x is declared here
#pragma once
#include "base/str.h"
#include "base/vec.h"

/// Byte range [begin, end) of a source file; file 0 is "no position".
typedef struct span {
  uint32_t file, begin, end;
} span;

typedef enum { DIAG_ERROR, DIAG_WARNING, DIAG_NOTE } diag_severity;

typedef struct diag_note {
  span at;
  str text;
} diag_note;

/// Replace the bytes of `at` (empty range: insert) by `text`.
typedef struct diag_fixit {
  span at;
  str text;
} diag_fixit;

typedef struct diag {
  int code;  // 210 prints as E0210; warnings as W0210
  diag_severity severity;
  span at;
  str text;
  vec(diag_note) notes;
  vec(diag_fixit) fixits;
} diag;

typedef struct source_file {
  str path;  // as the user wrote it; "<stdin>" for standard input
  str text;
  vec(int) lines;  // where they begin
} source_file;

/// Files and diagnostics of one compilation.
typedef struct diag_list {
  arena *arena;
  vec(source_file) files;  // span.file is index + 1
  vec(diag *) items;
  int errors;
  bool suppressed;  // the error limit was reached; a last diagnostic says so
} diag_list;

enum { DIAG_ERROR_LIMIT = 50 };

/// The codes by name, from base/diag.def: DIAG_bad_character = 101.
typedef enum diag_code {
#define DIAG(code, name, explanation) DIAG_##name = code,
#include "base/diag.def"
#undef DIAG
} diag_code;

/// Every diagnostic code with a line of explanation.
typedef struct diag_info {
  int code;
  const char *name, *explanation;
} diag_info;
const diag_info *diag_codes(int *count);

/// Registers a file (text is borrowed, must outlive the list); returns its number for spans.
uint32_t diag_add_file(diag_list *list, str path, str text);
/// Appends an error; returns it for notes and fix-its. Never null (over the limit: a dummy).
diag *diag_error(diag_list *list, int code, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
diag *diag_warning(diag_list *list, int code, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/// Drops errors from item `from` on whose code, position and text are those of one before.
void diag_drop_repeated(diag_list *list, int from);
void diag_add_note(diag_list *list, diag *d, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void diag_add_fixit(diag_list *list, diag *d, span at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/// 1-based line and column (column in code points of UTF-8).
typedef struct line_col {
  int line, col;
} line_col;
line_col diag_line_col(const diag_list *list, span at);

/// The form shown above; color: ANSI escapes.
void diag_render_text(const diag_list *list, const diag *d, bool color, strbuf *out);
/// One JSON object per diagnostic, in an array.
void diag_render_json(const diag_list *list, strbuf *out);

/// The span from the start of a to the end of b.
span span_join(span a, span b);
