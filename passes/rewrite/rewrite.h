// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The walk that local rewrites share.
//
// A rule looks at one node, whose operands have been rewritten already, and gives the node to use
// in its place (itself: no change). New nodes are built at the end of the graph; the walk gives
// them the position and the storage order of the node they replace, tries the rule on the result
// again, and repeats until a round changes nothing.
#pragma once
#include "passes/passes.h"

typedef struct rewrite {
  graph *g;
  bool fast_math;
  void *state;
  // of the round:
  node **by;   // replacements by id
  int *uses;   // by id
  int count;   // ids below it were there when the round began
} rewrite;

typedef node *rewrite_fn(const rewrite *r, node *n);
/// Until nothing changes, or once.
bool rewrite_graph(pass_ctx *ctx, rewrite_fn *rule, void *state);
bool rewrite_graph_once(pass_ctx *ctx, rewrite_fn *rule, void *state);
/// The node has one user; unknown (false) for nodes built in this round.
bool rewrite_used_once(const rewrite *r, const node *n);

// What rules ask.
bool node_is_const(const node *n, double *value);  // any type, as a double
bool node_is_value(const node *n, double value);   // a constant equal to it; 0 is +0 only
bool node_is_zero(const node *n);                  // of either sign
bool node_is_negative_zero(const node *n);
/// The value spread over the axes of `like`: a view of it when it lacks some.
node *spread(graph *g, node *value, const node *like);
/// Pass `contraction`: a sum or view of a product of a gradient as a product; null: no change.
node *product_before_views(const rewrite *r, const node *n);
/// Pass `stream` begins with stream_local.c, and ends with stream_shifts.c.
bool stream_local(pass_ctx *ctx);
bool stream_free_shifts(pass_ctx *ctx);
