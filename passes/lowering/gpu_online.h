// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Two levels of reductions in one walk: a maximum, and sums of exponentials below it.
#pragma once
#include "passes/lowering/lower_reduce.h"

typedef struct online {
  const node *max, *shift;                                    // shift: what the exponents subtract
  const node *sums[MAX_REDUCTIONS], *others[MAX_REDUCTIONS];  // of levels 2 and 1
  int nsums, nothers;
} online;

/// Whether the reductions of the first two levels are of this kind.
bool online_applies(const kbuild *b, const row_plan *p, online *o);
/// Walks R once for both levels; the rows are open.
void online_walk(kbuild *b, const row_plan *p, const online *o);
/// Walks a part of R and leaves the values of rows: of the maximum and the sums, gives how many; then
/// those of the others, by lane.
int online_chunk(kbuild *b, const row_plan *p, const online *o, tval **values);
/// Combines maximum and sums of several parts, which are along the axis of `over`, and finishes them.
void online_merge(kbuild *b, const row_plan *over, const online *o, tval **values);
