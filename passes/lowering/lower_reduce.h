// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reductions per row: what the loops for CPUs (lower_reduce.c) and the layouts for GPUs
// (gpu_reduce.c) have in common.
#pragma once
#include "passes/lowering/lower.h"

enum { MAX_REDUCTIONS = MAX_GROUP_REDUCTIONS };

typedef struct row_plan {
  int passes;
  int *level;                 // node id -> passes that must have finished before it can be computed
  int *first_pass;            // node id -> the pass that computes it along R first, INT_MAX never
  bool *along;                // node id -> carries an axis of R
  bool *saved;                // node id -> later passes read it from a row buffer
  int r_axes[MAX_AXES], nr;   // graph axes
  int kr[MAX_AXES], nkr;      // kernel axes of R
  int step[MAX_KERNEL_AXES];  // loop extents by kernel axis
  bool stores;                // the first pass stores outputs along R
  int next_row;               // the innermost row axis when lanes run along the rows, else -1
  bool beside[MAX_KERNEL_AXES];  // axes of outputs alone that are open all the while: the reductions
                                 // are the same along them
} row_plan;

/// The running values of the reductions of one pass: one tile each, two for arg*.
typedef struct running {
  const node *reductions[MAX_REDUCTIONS];
  int n;
  tval *values[2 * MAX_REDUCTIONS];
  int nvalues;
} running;

/// R in the storage order of what is reduced.
void reduce_axes(const group *g, row_plan *p);
/// Which reductions wait for which: levels and passes.
void reduce_levels(kbuild *b, row_plan *p);
/// Axes of the outputs that are neither rows nor reduced.
int reduce_further_axes(const kbuild *b, const row_plan *p, const node *row, int *axes);
/// Whether the output has axes that rows lack.
bool reduce_carries_more(const node *out, const node *row);
bool reduce_outputs_use(const kbuild *b, int kernel_axis);
tstmt *reduce_statement(kbuild *b, tile_op kind, op o, tval *const *in, int nin, int nout);

/// Identities of the reductions r->reductions over the open axes and the steps along R.
void reduce_start(kbuild *b, const row_plan *p, running *r);
/// One step of a reduction: from[] are its running values, to[] the next ones.
void reduce_accumulate(kbuild *b, const node *red, tval **from, tval **to);
/// Combines lanes: values become those of rows, one, or two of a reduction that has a place.
void reduce_combine(kbuild *b, const row_plan *p, const node *red, tval **values);
/// The same, and gives the row value of a finished reduction.
void reduce_finish(kbuild *b, const row_plan *p, const node *red, tval **values);
/// Long sums of floats by blocks.
typedef struct reduce_blocks {
  int axes[MAX_AXES], split;  // R, outermost loop first; axes[split] is walked in blocks, -1 none
  int step[MAX_KERNEL_AXES];  // outside of the blocks
} reduce_blocks;
void reduce_find_blocks(const kbuild *b, const row_plan *p, const node *const *reductions,
                        int nreductions, reduce_blocks *s);
/// lower_reduce_columns.c: all of a kernel whose lanes run along the columns `vec` of `rows`, by rows as they
/// lie in memory; false where it is not one of those.
bool reduce_columns(kbuild *b, row_plan *p, const int *rows, int nrows, int vec);
/// Loops over R with the reductions of the pass; their running values, by lane, are in r.
void reduce_walk(kbuild *b, const row_plan *p, int pass, running *r);
/// The same, and they are finished.
void reduce_run_pass(kbuild *b, const row_plan *p, int pass);
/// Outputs over rows; gives whether there are others.
bool reduce_store_rows(kbuild *b, const node *row);
/// Outputs along more than rows, here.
void reduce_store_others(kbuild *b, const node *row);
/// Outputs over rows here, the others in loops over the kernel axes `more`.
void reduce_store_outputs(kbuild *b, row_plan *p, const node *row, const int *more, int nmore);
/// Opens loops over kernel axes, the lanes innermost; the carried values pass through all.
void reduce_open_loops(kbuild *b, const int *axes, const int *step, int n, tval **carried,
                       int ncarried, int unroll);
void reduce_close_loops(kbuild *b, int n, tval **carried, int ncarried);
