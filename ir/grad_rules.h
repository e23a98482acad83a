// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the files of the derivatives share.
//
//   grad.c         the walk from y to x, sums of contributions, axes, masks, rounding
//   grad_mask.c    masks of what is combined
//   grad_map.c     the table ir/derivatives.def
//   grad_reduce.c  sums, products, extrema, contractions
//   grad_scan.c    running sums, products, extrema
//   grad_index.c   gathers, scatters
//   grad_stream.c  derivatives of streamed blocks, as such blocks
//   grad_view.c    views and pads, transposed by solving their index expressions
#pragma once
#include "ir/grad.h"

/// Nothing where the mask is false, whatever the value is there: every contribution is linear in g,
/// so a selection may wait until values are combined. So `where(x > 0, log(x), 0)` has the derivative
/// 0 at 0, and not 0 / 0, with no more selections than there are in the program.
typedef struct cotangent {
  node *value;  // null: zero
  node *mask;   // null: true everywhere
} cotangent;

typedef struct gradient {
  graph *g;
  const grad_options *options;
  grad_result *out;
  int count;                 // nodes there were before
  int contract, ncontracts;  // as they were before
  cotangent *of;             // by node id below count: what has been given so far
  bool *open;                // by node id below count: some x is reached through floats
  bool *is_x;                // by node id below count
  bool *fragile;             // by node id below count: zeros where a mask is false may become NaN below
} gradient;

/// Adds what a use gives to the cotangent of n. over: the axes along which the use is repeated; the
/// contributions along those that n lacks are added up.
void grad_give(gradient *d, node *n, cotangent c, const int *over, int nover);
/// The value with its mask applied.
node *grad_value(gradient *d, cotangent c);
/// Its operand k is on the way.
bool grad_wants(const gradient *d, const node *n, int k);
/// n has no derivative.
void grad_fail(gradient *d, const node *n);

// ---- grad_mask.c; each gives null where no mask is needed.
void grad_find_fragile(gradient *d);
/// Of a sum of two contributions to n.
node *grad_mask_of_both(gradient *d, const node *n, node *a, node *b);
/// Of a contribution to n that is summed over the axes.
node *grad_mask_over(gradient *d, const node *n, node *mask, const int *axes, int naxes);
/// Of what the view's operand gets.
node *grad_mask_through(gradient *d, const node *view, node *mask);

// What the cotangent c of n gives to its operands.
void grad_map(gradient *d, node *n, cotangent c);
void grad_reduce(gradient *d, node *n, cotangent c);
void grad_dot(gradient *d, node *n, cotangent c);
void grad_scan(gradient *d, node *n, cotangent c);
void grad_gather(gradient *d, node *n, cotangent c);
void grad_scatter(gradient *d, node *n, cotangent c);

// Helpers that build nodes.
node *grad_number(gradient *d, double v, dtype t);
/// Sums over those of the axes that n has.
node *grad_sum_present(graph *g, node *n, const int *axes, int naxes);
