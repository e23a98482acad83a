// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What was decided of the values that gradients read, for `explain --remat`.
#pragma once
#include "passes/remat/remat.h"

typedef struct remat_value {
  const node *value;  // of the graph before the decision
  bool recomputed;    // else it is kept
  double bytes, flops;
  double keep, again;  // seconds, as far as nothing hides them; INFINITY: it may not be
  reason why;
  dtype narrow;  // what it is rounded to by all that read it in the forward pass; DT_COUNT: nothing
} remat_value;

typedef enum remat_corner {
  CORNER_KEEPS_ALL = 1,
  CORNER_LEAST = 2,  // of memory
  CORNER_CHOSEN = 4,
} remat_corner;

/// A plan that was judged.
typedef struct remat_point {
  unsigned corner;  // of remat_corner
  double seconds;
  int64_t peak, saved;  // bytes: of intermediate results at once, and those that later phases find
  int recomputed;       // values
} remat_point;

typedef struct remat_study {
  arena *arena;
  const graph *g;
  const target_info *target;
  bool gradients;           // there are some
  bool decided;             // the graph came with a plan
  bool unsized;             // a budget is given, and a size is not known
  bool planned;             // what follows is filled
  bool fits;                // within the budget
  int64_t budget;           // bytes; -1 none
  int64_t allocated;        // by the chosen plan, with what kernels keep for themselves
  int64_t least, full;      // peaks: the least found, and that of keeping all
  remat_point chosen, all;  // all: with everything kept
  vec(remat_value) values;  // kept ones first, then by bytes
  vec(remat_point) curve;   // by peak
} remat_study;

/// Of a graph on which the passes before `remat` have run.
remat_study *remat_study_of(arena *a, const graph *g, const pass_options *options);
