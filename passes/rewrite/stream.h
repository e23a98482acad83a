// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside pass `stream`: what stream.c and stream_moments.c share.
#pragma once
#include "passes/rewrite/factor.h"
#include "passes/rewrite/rewrite.h"

typedef struct stream {
  graph *g;
  factoring f;
  uint8_t *waits;  // by node id, with room for those that are built: its depth is `level` or more
  uint8_t *depth;  // likewise: reductions over the stream that it waits for, one after the other
  int level;       // what waits for less is there when the walk begins
  int seen, room;       // nodes that there are entries for, and may be
  arena *scratch;
  node **replacement;  // by node id of the nodes there were
  int count;
  int number;        // 1 + the contract's
  unsigned applied;  // rules, to the last state that was rewritten
} stream;

/// Both reduce over the same axes.
bool stream_same_axes(const node *a, const node *b);
/// The product, or the one that is there; null: neither is.
node *stream_times(graph *g, node *a, node *b);
node *stream_as_type(graph *g, node *n, dtype t);
/// Elements that n combines.
ix stream_count(stream *s, const node *n);
/// The maximum of the exponent: the program's own, else a new one; null: the sum has axes that it
/// lacks.
node *stream_frame(stream *s, const term *t, const node *n);
/// The sum n of the terms a, or of their products with b (null: n has one operand), where either
/// has sums: through states about running means. Null: it stays as it is, or there are no sums.
node *stream_moments(stream *s, node *n, const term *a, const term *b);
/// The sum over n's axes of the products of a and b, of n's type (null: 1); null: they have not got all
/// of these axes.
node *stream_sum(stream *s, const node *n, node *a, node *b);
/// The value is not negative; NaN counts as such.
bool stream_is_positive(const node *n);
/// The extreme n (or its place) of what keeps or turns the order of a value that waits for nothing:
/// made of that value's. Null: it stays as it is.
node *stream_extreme(stream *s, node *n);
/// For an axis without elements n is what combining none gives, else r.
node *stream_unless_empty(stream *s, const node *n, node *r);
/// What a sum of the term's elements is multiplied with: exp(frame + row exponent) * factor /
/// divisor.
node *stream_finished(stream *s, const term *t, node *frame, node *sum);
/// Derivatives over several streamed axes walk one on targets with products of warpgroups (stream_axes.c).
bool stream_one_axis(pass_ctx *ctx);
