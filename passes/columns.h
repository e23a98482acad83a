// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums of columns over chunks of rows, which kernels of rows on GPUs keep of the rows that they walk:
//
//   sum x over N : [D]      =>      y = view x [C*len + n, D] : [C, n, D]     (pad where len does not divide N)
//                                   p = sum y over n : [C, D]                 kept by the block of the chunk
//                                   sum p over C : [D]                        a small kernel
//
// Rows of several axes are numbered through in storage order: [(C*len + n) / S, (C*len + n) % S, D].
// split_reductions makes them, the fuse pass joins them to kernels of rows, lowering walks the rows.
#pragma once
#include "ir/graph.h"
#include "ir/target.h"

/// How a kernel that keeps column sums runs. It depends on sizes and the kind of target alone, so that the
/// sums have the same bits in every run.
typedef struct columns_plan {
  int64_t length, chunks;  // rows of a block, blocks; fewer than 2 chunks: not worth it
} columns_plan;
columns_plan columns_plan_of(const target_info *t, int64_t rows, int64_t columns);

/// Threads of a block, and those along a row. Rows at a time are their quotient. Blocks of a multiprocessor.
typedef struct columns_threads {
  int threads, along, blocks;
} columns_threads;
/// For rows of `columns` elements that take so many registers each (column sums, and what of a row is kept).
/// False: a block's registers do not suffice.
bool columns_fit(const target_info *t, int64_t columns, double registers, columns_threads *out);

/// x with its rows as chunks: the axes `rows`, in storage order, become (chunk, within). What is beyond the
/// last row does not change a reduction by `reduction`.
node *columns_chunked(graph *g, node *x, const int *rows, int nrows, int chunk, int within, op reduction);

/// The sum of a chunk.
typedef struct column_sum {
  const node *sum, *view, *base;  // base: what is summed, over rows and columns
  int chunk;                      // axis of the sum
  int64_t length;
  int rows[MAX_AXES], nrows;      // axes of base, in storage order
} column_sum;
/// False: it is none.
bool column_sum_of(const graph *g, const node *n, column_sum *out);
