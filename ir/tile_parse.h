// Inside of the parser of the tile IR; only ir/tile_parse*.c.
#pragma once
#include "ir/text.h"
#include "ir/tile_text.h"

/// A kernel after the word "kernel" (ir/tile_parse.c); null on failure.
kernel *tile_parse_kernel(text_cursor *c);
