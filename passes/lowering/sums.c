// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See sums.h.
#include "passes/lowering/sums.h"

int64_t sum_steps(const kbuild *b, int axis, int extent) {
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

/// Knuth, "The Art of Computer Programming", vol. 2, 4.2.2: exact whichever is larger.
void sum_pair(kbuild *b, tval *x, tval *y, tval **next) {
  dtype t = x->type;
  tval *sum = kb_map(b, OP_add, t, x, y, NULL);
  tval *from_y = kb_map(b, OP_sub, t, sum, x, NULL);
  tval *from_x = kb_map(b, OP_sub, t, sum, from_y, NULL);
  tval *off_x = kb_map(b, OP_sub, t, x, from_x, NULL);
  tval *off_y = kb_map(b, OP_sub, t, y, from_y, NULL);
  tval *lost = kb_map(b, OP_add, t, off_x, off_y, NULL);
  tval *infinite = kb_map(b, OP_is_inf, DT_bool, sum, NULL, NULL);
  next[0] = sum;
  next[1] = kb_map(b, OP_where, t, infinite, kb_const(b, t, (scalar){.f = 0}), lost);
}
