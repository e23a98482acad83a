// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What of an outline (outline.h) a GPU with products of warpgroups runs as one kernel: lead products
// whose rows stay with a block while the stream is walked once, states in registers, and products over
// the stream.
//
//   s = dot(q, k, D)              q[.., S, D], k[.., T, D]: 16 bits, in memory
//   t = dot(g, v, E)              the derivative of such a block has two of them, and two products
//   maps of s, t                  scales, masks, biases: where they are read
//   m = max(.., T)  l = sum(.., T)  ...
//   o = dot(bf16(..), v, T)       v[.., T, E]: 16 bits, in memory; a lead may read it too
//   maps of the states            stored: [.., S], [.., S, E]
//   a = dot(bf16(..), q, S)       [.., T, D]: where sums may be unordered, what blocks of rows add up in memory
#pragma once
#include "passes/fusion/outline.h"

enum { STREAM_LEAST_HEAD = 16, STREAM_MOST_HEAD = 256, STREAM_LEADS = 2, STREAM_PRODUCTS = 2 };
enum { STREAM_MOST_SUMS = 352 };  // columns of all products: half as many registers of a thread

/// A product that makes scores.
typedef struct stream_lead {
  const node *dot, *rows, *keys;
  int depth;  // graph axis
} stream_lead;

/// A product over the stream. Its operands are without widening casts.
typedef struct stream_product {
  const node *dot, *weights, *values;
  int columns;    // graph axis
  unsigned needs; // bits of the leads that the weights are made of
} stream_product;

/// A product over the rows, of weights of a product over the stream with the rows of a lead, which are on chip.
typedef struct stream_added {
  const node *dot, *weights;
  int lead;
} stream_added;

typedef struct stream_form {
  stream_lead lead[STREAM_LEADS];  // that from which it is furthest to the end of a step first
  int nleads;
  stream_product product[STREAM_PRODUCTS];  // those that need fewer leads first
  int nproducts;
  stream_added added;  // dot null: none
  int stream, row;  // graph axes; row: the one that a block has several elements of
} stream_form;

/// Whether the outline has the form. *why, *at and *detail (which may stay empty) say what is in the
/// way.
bool stream_form_of(stream_form *f, const outline *o, arena *a, node *const *nodes, int n,
                    const uint8_t *member, const uint8_t *stored, reason *why, int *at,
                    str *detail);
/// Elements of a step along the stream with which two warpgroups hold the form with what it adds up, and how many of
/// them share the columns of that. 0: its sums leave no registers for it.
int stream_added_step(const stream_form *f, const graph *g, int *sharing);
/// The value without a cast that widens it exactly.
const node *stream_narrow(const node *x);
/// What the rows of the lead products have, among them its rows' axis: no stream.
bool stream_has_axis(const stream_form *f, int graph_axis);
