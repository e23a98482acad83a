// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reading the text of both IRs: a cursor that stops at the first error. After an error every
// function below returns at once with a harmless value, so that a parser asks `failed` only where
// it loops or follows what it read.
#pragma once
#include "base/diag.h"
#include "ir/dtype.h"
#include "ir/ix.h"

typedef struct text_cursor {
  arena *arena;
  diag_list *diags;
  uint32_t file;
  str text;
  int at;
  bool failed;
} text_cursor;

/// Reports an error from `begin` to here, once.
void text_fail(text_cursor *c, int code, int begin, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/// Skips blanks and comments; the character that follows, 0 at the end.
char text_peek(text_cursor *c);
bool text_accept(text_cursor *c, char punctuation);
void text_expect(text_cursor *c, char punctuation);
/// A name: letters, digits, '_' and '.', not beginning with a digit or '.'.
str text_name(text_cursor *c, const char *what);
/// The name that follows without taking it; empty when there is none.
str text_peek_name(text_cursor *c);
bool text_accept_word(text_cursor *c, const char *word);
void text_expect_word(text_cursor *c, const char *word);
/// The name after a sigil, '@' or '%'; digits are letters there.
str text_sigil_name(text_cursor *c, char sigil);
/// An integer in [min, max].
int64_t text_int(text_cursor *c, int64_t min, int64_t max);
/// "..." with \" \\ and \n.
str text_quoted(text_cursor *c);
dtype text_dtype(text_cursor *c);
/// A size: names are symbols.
ix text_size(text_cursor *c, ix_pool *pool);
/// "strides [a, b]" when present, else row-major.
void text_strides(text_cursor *c, ix_pool *pool, const ix *dims, int rank, ix *strides);
/// Facts after "where": "N >= 1, N % 16 == 0, N ~ 512", all about that symbol.
void text_fact_list(text_cursor *c, ix_fact *f, str symbol);
/// Lines "size N where N >= 1, ..." into the pool's facts.
void text_facts(text_cursor *c, ix_pool *pool);
span text_span(const text_cursor *c, int begin);
