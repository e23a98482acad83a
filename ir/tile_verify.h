// What the files of the tile verifier share.
#pragma once
#include "ir/tile_text.h"

/// Temps inside of the arena, aligned, and disjoint while both are live: a "// ..." line in *text
/// per violation. `pool` is where sizes are compared. The buffers and steps have been judged.
void tile_verify_arena(const program *p, ix_pool *pool, strbuf *text);
