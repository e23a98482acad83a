// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What of an outline (outline.h) a GPU with products of warpgroups runs as one kernel: a lead product
// whose rows stay with a block while the stream is walked once, states in registers, and at most one
// product over the stream.
//
//   s = dot(q, k, D)              q[.., S, D], k[.., T, D]: 16 bits, in memory
//   maps of s                     scales, masks, biases: where they are read
//   m = max(.., T)  l = sum(.., T)  ...
//   o = dot(bf16(..), v, T)       v[.., T, E]: 16 bits, in memory
//   maps of the states            stored: [.., S], [.., S, E]
#pragma once
#include "passes/fusion/outline.h"

enum { STREAM_LEAST_HEAD = 16, STREAM_MOST_HEAD = 256 };

typedef struct stream_form {
  const node *score;             // the lead product
  const node *rows, *keys;       // its operands
  const node *product;           // over the stream; null: none
  const node *weights, *values;  // its operands, without widening casts
  int stream, depth, row;        // graph axes; row: the one that a block has several elements of
  int columns;                   // of the product, -1 none
} stream_form;

/// Whether the outline has the form. *why, *at and *detail (which may stay empty) say what is in the
/// way.
bool stream_form_of(stream_form *f, const outline *o, arena *a, node *const *nodes, int n,
                    const uint8_t *member, const uint8_t *stored, reason *why, int *at,
                    str *detail);
/// The value without a cast that widens it exactly.
const node *stream_narrow(const node *x);
