// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the files of the tile verifier share.
#pragma once
#include "ir/tile_text.h"

typedef void tile_complain(void *ctx, const tstmt *s, str text);
/// The rules about threads of a kernel that keeps all others; complains about statements, or about
/// the kernel itself (null).
void tile_verify_threads(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for loops whose steps overlap (skew, turns).
void tile_verify_skew(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for what the last of several tiles does (if finished).
void tile_verify_finish(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for what loads and stores reach: it is inside of their buffers.
void tile_verify_bounds(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// The same for how much code it asks for.
void tile_verify_code(const kernel *k, arena *a, tile_complain *complain, void *ctx);

/// kernel_verify that also appends the violations to *faults.
bool tile_verify_kernel(const kernel *k, arena *a, tile_faults *faults, str *report);
/// Temps inside of the arena, aligned, and disjoint while both are live; appends what is not.
/// `pool` is where sizes are compared. The buffers and steps have been judged.
void tile_verify_arena(const program *p, arena *a, ix_pool *pool, tile_faults *faults);

// What is known of integer values, for indices that are values (ir/tile_verify_values.c). Whoever
// walks the kernel says which ranges are open and notes every statement once it was judged.
typedef struct tile_values tile_values;
tile_values *tile_values_new(const kernel *k, ix_pool *pool, arena *a);
typedef struct tile_range {
  int extent, number;
} tile_range;
/// Opens a range of the axis and gives the one outside, for tile_values_close().
tile_range tile_values_open(tile_values *f, int axis, int extent);
void tile_values_close(tile_values *f, int axis, tile_range outer);
void tile_values_note(tile_values *f, const tstmt *s);
/// What checks say since the mark holds no more.
int tile_values_mark(const tile_values *f);
void tile_values_restore(tile_values *f, int mark);
/// index + offset is from 0 to below size in all lanes that are valid here.
bool tile_values_inside(tile_values *f, const tval *index, ix offset, ix size);
