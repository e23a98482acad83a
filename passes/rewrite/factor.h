// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values of a reduction over T that wait for another reduction over T, taken apart into what carries
// T and what does not:
//
//   bf16(exp(s - m) / l) * v      with m = max(s, T), l = sum(exp(s - m), T)
//     = v * round(1 * exp(s)) * exp(-m) * 1 / l
//        after      inner      exponent   row exponent, divisor
//
// A sum over T of such a term needs no finished row while T is walked: the row parts come after it.
//
// A factor that is a sum, as x - mean of a variance, stays whole: what it waits for comes out of
// the sum over T by another way (stream_moments.c).
#pragma once
#include "ir/graph.h"

/// tile + row: the row part waits, and carries no T.
typedef struct tile_and_row {
  node *tile, *row;
} tile_and_row;

enum { FACTOR_MOST_SUMS = 2 };

/// after * round(inner * exp(exponent)) * sums[0] * sums[1] * exp(row_exponent) * factor / divisor,
/// or 0 where a mask is false; null parts are absent. With sums nothing is rounded, and only with
/// sums there is a mask along T.
typedef struct term {
  node *inner, *after, *exponent;         // carry T, wait for nothing
  node *factor, *divisor, *row_exponent;  // do not carry T
  tile_and_row sums[FACTOR_MOST_SUMS];
  int nsums;
  node *mask;                             // carries T, waits for nothing
  node *row_mask;                         // does not carry T
  bool rounds;                            // to a narrower float type:
  dtype type;
} term;

/// Why a value has no such form; the texts are in ir/reasons.def.
typedef struct obstacle {
  reason why;
  const node *at;
  unsigned rules;  // switched off, that would take it out of the way; 0: none would
} obstacle;

typedef struct factoring {
  graph *g;
  const uint8_t *waits;  // by node id: depends on a reduction over the stream
  const int *axes;       // the streamed axes
  int naxes;
  unsigned off;          // rules that are not applied
  int visits;            // of the element that is taken apart; a long one is left as it is
  obstacle obstacle;     // of the last value that has no form
} factoring;

/// The value carries a streamed axis.
bool factor_carries(const factoring *f, const node *n);
/// True: *out is n. New nodes may have been built in f->g.
bool factor_value(factoring *f, node *n, term *out);
/// The product of two terms.
bool factor_product(factoring *f, const term *a, const term *b, const node *at, term *out);
/// The element of an extreme n keeps the order of *tile, which waits for nothing, or turns it around.
bool factor_order(factoring *f, const node *n, node **tile, bool *turned);
/// Sets the obstacle; false.
bool factor_refuse(factoring *f, reason why, const node *at);
/// n is the mean, over one axis, of the elements that sum n->in[0] adds up.
bool factor_is_mean(const graph *g, const node *n);
