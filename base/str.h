// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Strings with a length, and a growable text buffer.
#pragma once
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

typedef struct str {
  const char *ptr;
  int len;
} str;

#define STR(literal) ((str){"" literal, (int)sizeof(literal) - 1})
/// For printf: printf("%.*s", STR_FMT(s))
#define STR_FMT(s) (s).len, (s).ptr

str str_from(const char *z);
bool str_eq(str a, str b);
bool str_eqz(str a, const char *z);
int str_cmp(str a, str b);
bool str_starts(str s, str prefix);
bool str_ends(str s, str suffix);
str str_dup(arena *a, str s);
/// Null-terminated copy.
char *str_z(arena *a, str s);
str str_printf(arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
str str_vprintf(arena *a, const char *format, va_list args);
/// Edit distance, for "did you mean": letters left out, put in, changed, or two neighbours swapped
/// (optimal string alignment). Strings over 64 bytes count as far apart.
int str_distance(str a, str b);

/// Text being written. The text is always null-terminated.
typedef struct strbuf {
  arena *arena;
  char *data;
  int len, cap;
} strbuf;

strbuf sb_new(arena *a);
void sb_put(strbuf *b, str s);
void sb_puts(strbuf *b, const char *z);
void sb_putc(strbuf *b, char c);
void sb_printf(strbuf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
str sb_str(const strbuf *b);

/// Shortest decimal that reads back as the same double: "1", "0.1", "1e-05", "inf", "-inf",
/// "nan"; always with '.', 'e', or a word, never a bare integer ("1.0").
void sb_put_float(strbuf *b, double v);
