// Reading the text of the tile IR: a cursor that stops at the first error. After an error every
// function below returns at once with a harmless value, so that a parser asks `failed` only where
// it loops or follows what it read.
#pragma once
#include "base/diag.h"
#include "ir/tile.h"

enum {
  TILE_E_SYNTAX = 550,
  TILE_E_UNKNOWN = 551,
  TILE_E_TWICE = 552,
  TILE_E_NUMBER = 553,
  TILE_E_LIMIT = 554,
};

typedef struct tile_cursor {
  arena *arena;
  diag_list *diags;
  uint32_t file;
  str text;
  int at;
  bool failed;
} tile_cursor;

/// Reports an error from `begin` to here, once.
void tlex_fail(tile_cursor *c, int code, int begin, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/// Skips blanks and comments; the character that follows, 0 at the end.
char tlex_peek(tile_cursor *c);
bool tlex_accept(tile_cursor *c, char punctuation);
void tlex_expect(tile_cursor *c, char punctuation);
/// A name: letters, digits, '_' and '.', not beginning with a digit or '.'.
str tlex_name(tile_cursor *c, const char *what);
/// The name that follows without taking it; empty when there is none.
str tlex_peek_name(tile_cursor *c);
bool tlex_accept_word(tile_cursor *c, const char *word);
void tlex_expect_word(tile_cursor *c, const char *word);
/// The name after a sigil, '@' or '%'; digits are letters there.
str tlex_sigil_name(tile_cursor *c, char sigil);
/// An integer in [min, max].
int64_t tlex_int(tile_cursor *c, int64_t min, int64_t max);
/// "..." with \" \\ and \n.
str tlex_quoted(tile_cursor *c);
dtype tlex_dtype(tile_cursor *c);
/// A size: names are symbols.
ix tlex_size(tile_cursor *c, ix_pool *pool);
/// "strides [a, b]" when present, else row-major.
void tlex_strides(tile_cursor *c, ix_pool *pool, const ix *dims, int rank, ix *strides);
/// Lines "size N where N >= 1, ..." into the pool's facts.
void tlex_facts(tile_cursor *c, ix_pool *pool);
span tlex_span(const tile_cursor *c, int begin);

/// A kernel after the word "kernel" (ir/tile_parse.c); null on failure.
kernel *tile_parse_kernel(tile_cursor *c);
