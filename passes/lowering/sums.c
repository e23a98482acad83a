// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See sums.h.
#include "passes/lowering/sums.h"

int64_t sum_steps(const kbuild *b, int axis, int extent) {
  if (b->part.below && axis == b->part.axis) return b->part.steps;
  int64_t size;
  if (!ix_is_const(&b->k->ix, b->k->axes.data[axis].size, &size)) size = SUM_UNKNOWN;
  return (size + extent - 1) / extent;
}

int64_t sum_room(int64_t lanes) { return 4 * lanes > SUM_BLOCK ? 4 * lanes : SUM_BLOCK; }

bool sum_is_long(const kbuild *b, op o, dtype t, int axis, int extent) {
  return o == OP_add && dtype_is_float(t) && sum_steps(b, axis, extent) > sum_room(extent);
}

tval *kb_like(kbuild *b, const tval *v, scalar x) {
  return kb_fill(b, v->type, x, v->axes, v->extents, v->naxes);
}

/// Only of numbers the difference from themselves is 0.
static tval *beside_infinities(kbuild *b, tval *sum, tval *lost) {
  tval *zero = kb_const(b, sum->type, (scalar){.f = 0});
  tval *none = kb_map(b, OP_sub, sum->type, sum, sum, NULL);
  tval *finite = kb_map(b, OP_eq, DT_bool, none, zero, NULL);
  return kb_map(b, OP_where, sum->type, finite, lost, zero);
}

/// Knuth, "The Art of Computer Programming", vol. 2, 4.2.2: exact whichever is larger.
void sum_pair(kbuild *b, tval *x, tval *y, tval **next) {
  dtype t = x->type;
  tval *sum = kb_map(b, OP_add, t, x, y, NULL);
  tval *from_y = kb_map(b, OP_sub, t, sum, x, NULL);
  tval *from_x = kb_map(b, OP_sub, t, sum, from_y, NULL);
  tval *off_x = kb_map(b, OP_sub, t, x, from_x, NULL);
  tval *off_y = kb_map(b, OP_sub, t, y, from_y, NULL);
  next[0] = sum;
  next[1] = beside_infinities(b, sum, kb_map(b, OP_add, t, off_x, off_y, NULL));
}

/// Kahan, CACM 8 (1965) 40: not all that is lost where y is the larger one, but what is left out
/// then is a rounding of y, so that the bound on the sum of many is the same.
void sum_pair_short(kbuild *b, tval *x, tval *y, tval **next) {
  dtype t = x->type;
  tval *sum = kb_map(b, OP_add, t, x, y, NULL);
  tval *added = kb_map(b, OP_sub, t, sum, x, NULL);
  next[0] = sum;
  next[1] = beside_infinities(b, sum, kb_map(b, OP_sub, t, y, added, NULL));
}
