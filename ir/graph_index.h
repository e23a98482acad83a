// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions as values of the graph.
#pragma once
#include "ir/graph.h"

/// i32 where that holds all parts of e for every coordinate, else i64.
dtype graph_ix_type(const graph *g, ix e);
/// The value of e, with the axes that it uses.
node *graph_ix_value(graph *g, ix e, dtype type);
/// e == 0.
node *graph_ix_is_zero(graph *g, ix e);
/// 0 <= e < size; null: it always is.
node *graph_ix_is_inside(graph *g, ix e, ix size);
