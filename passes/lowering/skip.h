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
  bool points;                     // GPUs: tests are of elements of the stream, not of steps
  grid_axis open[MAX_KERNEL_AXES]; // axes that are open around the walk
  int nopen;
  // found:
  vec(skip_condition) conditions;  // a step in which one is false throughout changes nothing
  ix from, below;                  // bounds that those on coordinates give; 0 none
} skip;

/// Finds what empties steps of the walk. Kernel axes are settled, the walk is not open.
void skip_find(skip *s, int walk);

// ---- what bounds do not say (skip_test.c)

typedef struct skip_test {
  skip s;
  bool before;      // the walk is not open yet
  uint8_t *known;   // by node id: whether there are bounds
  tval **bound[2];  // by node id: the least and most of it in a step, or at an element
  bool *seen[2];    // ... was asked for
  tval *sure[2];    // conditions hold at least from the one to below the other; null: not asked for
} skip_test;

/// Finds what empties steps; emits what of the tests is the same in all of them.
void skip_test_begin(skip_test *k, int walk);
/// In a step: whether it may change anything; null: it is always taken.
tval *skip_test_step(skip_test *k);
/// Before a walk on a GPU: emits what finds the elements that the walk is within, and with `sure` those
/// that need no mask; false: nothing does.
bool skip_within(skip_test *k, tval *within[2], bool sure);
/// In a step: conditions hold where it is known that they do.
void skip_in_step(skip_test *k);

/// n is made of what does not wait for a value that is kept.
bool skip_is_at_hand(const kbuild *b, const outline *o, const node *n);
