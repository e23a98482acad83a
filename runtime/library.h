// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the two runtimes of libraries share: looking at arguments, and messages. Compiled into them
// (not into libtccfuse), together with the files of runtime/ that they need.
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "codegen/library.h"
#include "runtime/error.h"

/// TCF_CALL_OK, or TCF_CALL_ARGUMENTS with *e: sizes that the function does not take, or a pointer
/// that is null, not at a multiple of `alignment` and of its elements, or of a result that shares
/// memory with another. bytes: room for one number per pointer.
int32_t library_check(const tcf_library *l, void *const *pointers, const int64_t *symbols,
                      int64_t alignment, int64_t *bytes, error *e);
/// TCF_CALL_INDEX with *e. site: as tcf_frame.error_site. symbols: of the call, or null when they are
/// not known any more.
int32_t library_index_error(const tcf_library *l, int64_t site, int64_t index,
                            const int64_t *symbols, error *e);
