// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "runtime/error.h"

#include <stdarg.h>
#include <stdio.h>

bool error_set(error *e, error_kind kind, const char *format, ...) {
  if (!e) return false;
  va_list args;
  va_start(args, format);
  e->kind = kind;
  vsnprintf(e->text, sizeof e->text, format, args);
  va_end(args);
  return false;
}
