// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a test leaves out on this machine, for the list at the end of ./dev test (tests/run.sh).
#pragma once
#include <stdio.h>

/// "left out: what (why)"; one line for all tests that say the same.
static inline void left_out(const char *what, const char *why) {
  fprintf(stderr, "left out: %s (%s)\n", what, why);
}
