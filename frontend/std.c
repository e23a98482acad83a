// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The standard library's text, embedded by the build from std/std.tdsl.
#include "frontend/frontend.h"

extern const unsigned char tcf_std_tdsl[];
extern const int tcf_std_tdsl_len;

str frontend_std_text(void) { return (str){(const char *)tcf_std_tdsl, tcf_std_tdsl_len}; }
