// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#define _GNU_SOURCE  // newlocale, strerror_l
#include "base/clocale.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The C libraries of Linux have the C locale built in: nothing is allocated, nothing to be freed.
static locale_t c_locale(void) { return newlocale(LC_ALL_MASK, "C", (locale_t)0); }

locale_t clocale_enter(void) { return uselocale(c_locale()); }

void clocale_leave(locale_t before) { uselocale(before); }

double clocale_strtod(const char *text, char **end) {
  locale_t before = clocale_enter();
  double v = strtod(text, end);
  clocale_leave(before);
  return v;
}

int clocale_vsnprintf(char *to, size_t size, const char *format, va_list args) {
  locale_t before = clocale_enter();
  int n = vsnprintf(to, size, format, args);
  clocale_leave(before);
  return n;
}

int clocale_snprintf(char *to, size_t size, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = clocale_vsnprintf(to, size, format, args);
  va_end(args);
  return n;
}

const char *clocale_error(int number) { return strerror_l(number, c_locale()); }
