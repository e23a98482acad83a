// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside outline_make: sums about running means.
#pragma once
#include "passes/fusion/outline.h"

/// Fills in centres of the states, and what they are means of. `waits`: by node id, depends on a state.
void outline_find_moments(outline *o, arena *a, node *const *nodes, int n, const uint8_t *member,
                          const uint8_t *waits);
