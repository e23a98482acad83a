// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Long sums of floats. Additions one after the other round off more the longer they go on, so none
// goes on for more than SUM_BLOCK: what blocks come to is added up on its own, with what that
// rounds off where it is cheap.
#pragma once
#include "passes/lowering/lower.h"

enum { SUM_BLOCK = 256, SUM_UNKNOWN = 1 << 22 };

/// Steps along a kernel axis; one of unknown size is taken for a long one.
int64_t sum_steps(const kbuild *b, int axis, int extent);
/// Steps that a sum by lane may take in a row: their errors are those of 2 sqrt(L) additions at most
/// for L elements, which is what --check allows (docs/numerics.md).
int64_t sum_room(int64_t lanes);
/// Combining by `o` along the kernel axis in steps of `extent` is a sum of floats of more steps
/// than a block has, or may be.
bool sum_is_long(const kbuild *b, op o, dtype t, int axis, int extent);
/// A constant in the shape of v.
tval *kb_like(kbuild *b, const tval *v, scalar x);
/// next[0] = x + y, rounded; next[1] = what that rounds off, 0 beside infinities.
void sum_pair(kbuild *b, tval *x, tval *y, tval **next);
/// The same in half as many additions, exact where |x| >= |y|: for sums of one walk that take next[1]
/// in with the next y.
void sum_pair_short(kbuild *b, tval *x, tval *y, tval **next);
