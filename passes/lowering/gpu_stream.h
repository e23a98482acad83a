// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_STREAM: rows of a product in registers while its other axis is walked once. Sizes are chosen
// by gpu_stream_plan.c, statements emitted by gpu_stream.c.
#pragma once
#include "passes/fusion/stream_form.h"
#include "passes/lowering/gpu_contraction.h"
#include "passes/lowering/skip.h"

/// An operand on chip: of the rows once, along the stream for each step.
typedef struct stream_operand {
  const node *x;
  int head, extent;   // kernel axis that is not the rows' or the stream's, and its size
  bool rows;          // else along the stream
  bool along_head;    // neighbours along it are neighbours in memory
  int layout, buf;
} stream_operand;

/// A value along the stream without rows, on chip for each step.
typedef struct stream_vector {
  const node *x;
  int layout, buf;
} stream_vector;

enum { STREAM_OPERANDS = 2 * STREAM_LEADS + STREAM_PRODUCTS, STREAM_VECTORS = 4 };

typedef struct gpu_stream {
  kbuild *b;
  outline o;
  stream_form f;
  uint8_t *member, *stored;  // by node id
  gpu_dot d;                 // rows of a block, warps, unit: for the layouts
  int row, stream;           // kernel axes
  int depth[STREAM_LEADS], columns[STREAM_PRODUCTS];  // likewise
  int own[STREAM_PRODUCTS];  // elements of columns
  stream_operand operands[STREAM_OPERANDS];           // each once
  int noperands;
  int rows_of[STREAM_LEADS], keys_of[STREAM_LEADS], values_of[STREAM_PRODUCTS];  // their numbers
  stream_vector vectors[STREAM_VECTORS];
  int nvectors;
  bool starts;               // sums of a lead start from the vector that is added to them
  int keys;                  // elements of a step along the stream
  int sharing;               // warpgroups that share the columns of what is added up in memory
  int weights, added_layout;  // its weights on chip, and how the product lies
  int stages, heads;
  bool skew, turns;
  skip_test tests;           // of the walk: its bounds
  tval **running;            // by node id: states in the walk
  tval **scale;              // by node id of a frame: what was added up before shrinks by it in this step
} gpu_stream;

/// Makes the kernel axes and decides.
void gpu_stream_plan(gpu_stream *s);
/// What the frame's elements, and so the frame itself, are a positive multiple of: the scale goes into
/// exponents. The node below the multiples, and their product.
const node *gpu_stream_unscaled(const node *n, double *scale);
/// The only value made of a lead's dot, where that is the dot and a vector (1) or less a vector (-1);
/// else null.
const node *gpu_stream_shifted(const gpu_stream *s, int lead, const node **vector, double *sign);
/// n along the columns of a product; -1: it has none.
int gpu_stream_columns(const gpu_stream *s, const node *n);
