// What the files of the tile verifier share.
#pragma once
#include "ir/tile_text.h"

typedef void tile_complain(void *ctx, const tstmt *s, str text);
/// The rules about threads of a kernel that keeps all others; complains about statements, or about
/// the kernel itself (null).
void tile_verify_threads(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for loops whose steps overlap (skew, turns).
void tile_verify_skew(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for what loads and stores reach: it is inside of their buffers.
void tile_verify_bounds(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for how much code it asks for.
void tile_verify_code(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// kernel_verify that also appends the violations to *faults.
bool tile_verify_kernel(const kernel *k, arena *a, tile_faults *faults, str *report);
/// Temps inside of the arena, aligned, and disjoint while both are live; appends what is not.
/// `pool` is where sizes are compared. The buffers and steps have been judged.
void tile_verify_arena(const program *p, arena *a, ix_pool *pool, tile_faults *faults);
