// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random programs that are the same function by algebra: one written straight, one rewritten by
// identities. Under contract both are one kernel in one walk, and give the same numbers.
#pragma once
#include "tests/fuzz/run_program.h"

/// Both functions, `straight` and `rewritten`, as text.
void identity_print(uint64_t seed, char *text, int size);
verdict identity_run(uint64_t seed, const run_options *options, char *why, int why_size);
