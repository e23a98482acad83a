// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which sums of columns may be kept by a kernel of rows.
#pragma once
#include "passes/columns.h"

typedef enum column_rows {
  COLUMNS_ALONE,      // nothing else walks the rows
  COLUMNS_OF_STORED,  // what is stored as a whole does
  COLUMNS_OF_ROWS,    // reductions of the rows do
} column_rows;
/// n is a reduction that may be split.
column_rows column_sum_rows(const graph *g, const node *n, arena *a);
/// Into how many chunks it is split then; sizes are known. Fewer than 2: it is not worth it, or a block does
/// not hold the columns.
columns_plan column_sum_plan(const graph *g, const node *n, const target_info *t);
