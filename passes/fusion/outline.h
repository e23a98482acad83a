// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The outline of a kernel of several loop nests: which values it keeps in on-chip buffers, which
// walks over the streamed axes there are, and what is computed in which. It has no numbers: it
// depends on the graph alone, and tells whether a set of nodes can be one kernel in this form.
//
//   fuse stream(T) { o = dot(exp(s - m), v) ... }    with s = dot(q, k, D), m = max(s, T)
//
//   rows S
//   walk 1 over T {
//     save  s[S, T]          dot over D
//     state m[S]             the largest so far: the frame of the states below
//     state l[S]             times exp(m before - m) in every step
//     save  p[S, T]          an operand of a product
//     state o[S, E]
//   }
//   store out[S, E]          o / l
//
// Kept are the results of reductions, contractions and running combines, and computed operands of
// contractions; all other values are computed where they are read.
#pragma once
#include "passes/fusion/group.h"
#include "passes/rewrite/factor.h"

enum { OUTLINE_MOST_WALKS = 16, OUTLINE_MOST_CENTRES = 2 };

typedef struct outline_value {
  bool kept;          // has a buffer: a state, or the value of a step
  bool state;         // combined over the steps of its walk
  bool streamed;      // carries a streamed axis: exists for one step at a time
  bool carries;       // a running combine along the stream: the last element goes to the next step
  bool added;  // a product over a row axis, along the stream: what tiles of rows add up in memory
  bool in_memory;     // GPUs: kept in memory of the device, since a block has no room on chip for it
  int walk;           // states, kept and stored values with a streamed axis: the walk, from 1 on. Others: the
                      // walk that must have ended before, 0 none
  const node *frame;  // states: the running maximum that they are relative to; null none
  bool is_frame;      // a state that others are relative to
  // States that are sums of differences from running means (outline_moments.c):
  int ncentres;
  const node *centres[OUTLINE_MOST_CENTRES];
  const node *below
      [OUTLINE_MOST_CENTRES];  // the state without that difference; null: how many elements there are
  const node *framed;  // the factor of their elements that is relative to the frame; null none
  bool is_centre;      // a mean that such states are relative to:
  const node *sum,
      *weight;  // the states that it is the quotient of; weight null: the number of elements
} outline_value;

typedef struct outline {
  const graph *g;
  int walks;
  int rows[MAX_AXES], nrows;        // graph axes of kept and stored values, but for operands that
                                    // each tile of rows computes again
  int stream[MAX_AXES], nstream;    // walked
  bool reversed;                    // from the end, for the sake of running combines
  outline_value *values;            // by node id
} outline;

/// Whether the nodes are one kernel of loop nests. *why and *at say what is in the way.
/// Nodes in topological order; member, stored by node id; c: the contract, for its streamed axes.
bool outline_make(outline *o, arena *a, const graph *g, node *const *nodes, int n,
                  const uint8_t *member, const uint8_t *stored, const contract *c, reason *why,
                  int *at);
/// Of a kernel under a contract; false: it is in another form.
bool outline_of_group(outline *o, arena *a, const graph *g, const group *grp);
/// The type that n is kept as: operands of products are kept as what products add up, so that they
/// are converted once.
dtype outline_type(const node *n, node *const *nodes, int count);
/// Of a tile of `rows` rows and steps of `step` elements, the bytes that n takes while it is kept;
/// -1: its size is not known, and *axis the one (a graph axis) that it is not known of.
int64_t outline_bytes(const outline *o, node *const *nodes, int count, const node *n, int64_t rows,
                      int64_t step, int *axis);
/// Bytes on chip that a block has for what is kept.
int64_t outline_room(const target_info *t);
/// Decides what of what is kept a block of a GPU has on chip: with few rows and short steps all of
/// it takes at most so many bytes. What does not fit lies in memory, or is computed where it is
/// read; neither may be with results that carry a streamed axis. False then, and *detail says what
/// is short.
bool outline_place(outline *o, arena *a, node *const *nodes, int n, int64_t bytes, reason *why,
                   int *at, str *detail);
/// The walk needs the streamed value n: something in it depends on it.
bool outline_needs(const outline *o, node *const *nodes, int n, const uint8_t *member,
                   const uint8_t *stored, int walk, uint8_t *needed);
/// Why the value, a state or a result along the stream, is in a later walk than the first. off: the
/// rules that are switched off.
obstacle outline_obstacle(const outline *o, arena *a, node *const *nodes, int n, unsigned off,
                          const node *value);
