// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Numbers and messages as text, the same whatever the locale of the host is.
//
// printf, strtod, strerror and isalpha follow the locale of the calling thread: after
// setlocale(LC_ALL, "de_DE.UTF-8") they write and read 0,5. What the library reads and prints goes
// through the functions here, which use the C locale for as long as they run, on this thread only
// (tests/check_layers.sh sees to it that nothing else does).
#pragma once
#include <locale.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

double clocale_strtod(const char *text, char **end);
int clocale_vsnprintf(char *to, size_t size, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));
int clocale_snprintf(char *to, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/// What errno says: "No such file or directory". Static, or until the thread's next one.
const char *clocale_error(int number);

/// Around calls of other libraries that print or read numbers: the C locale for this thread until
/// clocale_leave(). No callback of the host runs in between.
locale_t clocale_enter(void);
void clocale_leave(locale_t before);

static inline bool char_is_digit(char c) { return c >= '0' && c <= '9'; }
static inline bool char_is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static inline bool char_is_word(char c) {
  return char_is_letter(c) || char_is_digit(c) || c == '_';
}
static inline char char_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }
static inline bool char_is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
