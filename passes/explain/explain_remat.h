// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What gradients find in memory and what they compute again, in three formats.
#pragma once
#include "passes/explain/explain.h"
#include "passes/remat/remat_study.h"

/// Why there is nothing to tell of the function; null: there is.
const char *explain_remat_nothing(const remat_study *x);
void explain_remat_text(const remat_study *x, const diag_list *files, strbuf *out);
void explain_remat_json(const remat_study *x, const diag_list *files, strbuf *out);
/// The curve of predicted time over peak memory, as a picture; empty without gradients.
void explain_remat_svg(const remat_study *x, strbuf *out);
