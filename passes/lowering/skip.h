// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps of a walk that change nothing: from where(c, x, -inf) below a maximum, where(c, x, 0) below a
// sum, and so on. GPUs and loop nests share this.
#pragma once
#include "passes/fusion/outline.h"
#include "passes/lowering/lower.h"

typedef struct skip_condition {
  const node *n;
  bool negated;
  bool bounded;  // the bounds say all of it
} skip_condition;

typedef struct skip {
  kbuild *b;
  const outline *o;
  const uint8_t *stored;           // by node id
  int stream, step;                // kernel axis of the walk, elements of a step
  grid_axis open[MAX_KERNEL_AXES]; // axes that are open around the walk
  int nopen;
  // found:
  vec(skip_condition) conditions;  // a step in which one is false throughout changes nothing
  ix from, below;                  // bounds that those on coordinates give; 0 none
} skip;

/// Finds what empties steps of the walk. Kernel axes are settled, the walk is not open.
void skip_find(skip *s, int walk);
