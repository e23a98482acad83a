// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps of ir/grad_stream.c.
#pragma once
#include "ir/graph.h"

/// Numbers of contracts, each and 1.
typedef struct streamed_derivative {
  int block;    // the streamed block
  int derived;  // what is not yet streamed of its derivative
} streamed_derivative;

/// Sums over the stream of products with what the block adds up itself become sums over other axes
/// (ir/grad_rows.c): fills the table for graph_compact of the nodes there were, of which those that nothing
/// needs are still there: the block's own sum may be one.
void grad_sum_by_rows(graph *g, arena *a, const streamed_derivative *d, node **replacement, int count);
/// Maps and reductions of whole rows that wait for nothing of the derivative's walks leave its contract.
void grad_rows_before_walks(graph *g, arena *a, const streamed_derivative *d);
/// Row factors of exponentials of a block of a derivative go into the exponents (ir/grad_exponents.c).
/// block: 1 and the number of its contract. Node numbers change.
void grad_factors_into_exponents(graph *g, arena *a, int block);

/// What the blocks of a derivative compute, by node below count.
typedef struct stream_results {
  int count, nwalks;
  const int *walk;    // of a result: 1 and the number of the axes that it is summed over; else 0
  const bool *inner;  // not in memory but where it is a result: kernels compute it themselves
} stream_results;

/// part, by node that is a result: a number, the same for those that are of one kernel, so that no kernels wait
/// for each other (ir/grad_stages.c).
void grad_stage_results(const graph *g, arena *a, const stream_results *r, int *part);
