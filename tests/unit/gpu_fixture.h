// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A function lowered for a GPU, to be looked at and run by the tile interpreter.
#pragma once
#include "frontend_fixture.h"
#include "lower_targets.h"

typedef struct lowered {
  program_test test;
  graph *original;
  graph *fused;
  program *p;
  str text;  // of the tile IR
} lowered;

/// The first function of the source; its tile IR is verified.
void lowered_make(lowered *l, const char *source);
void lowered_make_for(lowered *l, const char *source, const target_info *target);
void lowered_make_scheduled(lowered *l, const char *source, const target_info *target,
                            const char *schedule);
void lowered_free(lowered *l);
int lowered_count(const lowered *l, const char *what);
/// The tile IR computes what the graph says of these inputs.
void lowered_compare(lowered *l, const interp_tensor *in, double tolerance);
/// Values in [-1, 1], of an i32 0 to 2.
interp_tensor lowered_values(arena *a, dtype type, int rank, const int64_t *dims);
