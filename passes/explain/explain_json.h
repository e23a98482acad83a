// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What explanations in JSON share: explain_json.c and explain_remat_json.c only.
#pragma once
#include <jansson.h>

#include "base/diag.h"

/// A path may hold bytes that are not UTF-8.
json_t *explain_json_text(str s);
json_t *explain_json_position(const diag_list *files, span at);  // null where it is not known
/// Appends the object and releases it.
void explain_json_dump(json_t *root, strbuf *out);
