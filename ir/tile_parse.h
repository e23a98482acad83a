// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside of the parser of the tile IR; only ir/tile_parse*.c.
#pragma once
#include "ir/text.h"
#include "ir/tile_text.h"

/// A kernel after the word "kernel" (ir/tile_parse.c); null on failure.
kernel *tile_parse_kernel(text_cursor *c);

// ir/tile_threads.c
/// "threads 256 cluster 2 producers 4 blocks_per_sm 1", all optional.
void tile_parse_threads(text_cursor *c, kernel *k);
/// Lines "layout { ... }".
void tile_parse_layouts(text_cursor *c, kernel *k);
