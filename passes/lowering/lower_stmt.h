// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements of the kernel under construction: for those who place them themselves.
#pragma once
#include "passes/lowering/lower.h"

/// Axes that index expressions use.
typedef struct axes_seen {
  bool used[MAX_KERNEL_AXES];
  bool pseudo[MAX_KERNEL_AXES];
} axes_seen;
/// Visitor for ix_axes; ctx is an axes_seen.
void kb_see_axis(void *ctx, int axis);

/// The scope that opens the axis now: a loop, or the top for grid axes; null when closed.
scope *kb_opener(const kbuild *b, int axis);
scope *kb_scope_at(const kbuild *b, int depth);
/// The outermost scope that has these operands and opens these axes.
int kb_depth_of(const kbuild *b, const axes_seen *seen, tval *const *in, int nin);

tstmt *kb_stmt(kbuild *b, tile_op kind, tval *const *in, int nin);
void kb_one_result(kbuild *b, tstmt *st, tval *v);
/// A value over the union of the operands' axes and the axes seen, in axis order.
tval *kb_union_value(kbuild *b, dtype t, const axes_seen *seen, tval *const *in, int nin);
tval *kb_map_of(kbuild *b, op o, dtype result, tval *const *in, int nin);
tval *kb_int(kbuild *b, dtype t, int64_t v);
void kb_set_index(kbuild *b, tstmt *st, int buf, const ix *index, int rank);
