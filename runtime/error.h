// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How the runtime says that the world failed: a kind and one line of text, filled by the callee.
//
// Functions here return false or null and describe why in `error`; they hold no other state and
// never unwind, so a caller can release what it owns.
#pragma once
#include <stdbool.h>

typedef enum error_kind {
  ERROR_NONE,
  ERROR_FILE,    // missing, unreadable, unwritable
  ERROR_FORMAT,  // the file is not what it should be
  ERROR_MEMORY,
  ERROR_DEVICE,  // the driver or the device does not do it
  ERROR_USAGE,  // the request makes no sense: a wrong key, a type no format can hold
} error_kind;

typedef struct error {
  error_kind kind;
  char text[512];
} error;

/// Fills *e (null: ignored) and returns false, so that `return error_set(...)` reads well.
bool error_set(error *e, error_kind kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
