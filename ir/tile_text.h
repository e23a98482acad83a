// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the printer, the parser, the verifier and the interpreter of the tile IR share.
#pragma once
#include "ir/tile.h"

/// Printing with remarks: `note` gives the text to put below a statement (null statement: below
/// the kernel's first lines), or an empty one. Lines of a note begin with "// ^ ".
typedef str tile_note_fn(void *ctx, const tstmt *s);
void kernel_print_notes(const kernel *k, tile_note_fn *note, void *ctx, strbuf *out);

/// The words of the text form.
const char *tile_op_word(tile_op kind);

// The same for what a kernel says of its threads (ir/tile_threads.c).
void tile_print_threads(const kernel *k, strbuf *out);
void tile_print_layouts(const kernel *k, strbuf *out);

/// Strides of a contiguous row-major buffer, in the pool of the dims.
void ix_row_major(ix_pool *p, const ix *dims, int rank, ix *strides);

/// True when the statement (a load, store, prefetch) names a dimension beyond its arrays; the
/// printer must not follow broken statements.
bool tile_access_is_whole(const kernel *k, const tstmt *s);
