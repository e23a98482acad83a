// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Between the files of the simplification pass.
#pragma once
#include "passes/rewrite/rewrite.h"

/// Rules that hold for real numbers but not for their roundings; null when none applies.
node *simplify_fast(const rewrite *r, const node *n);
