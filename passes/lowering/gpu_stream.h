// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_STREAM: rows of a product in registers while its other axis is walked once. Sizes are chosen
// by gpu_stream_plan.c, statements emitted by gpu_stream.c.
#pragma once
#include "passes/fusion/stream_form.h"
#include "passes/lowering/gpu_contraction.h"
#include "passes/lowering/skip.h"

typedef struct gpu_stream {
  kbuild *b;
  outline o;
  stream_form f;
  uint8_t *member, *stored;  // by node id
  gpu_dot d;                 // rows of a block, warps, unit: for the layouts
  int row, stream, depth, columns;  // kernel axes; columns -1 none
  int keys;                  // elements of a step along the stream
  int head, own;             // of depth and columns; 0 none
  int stages, heads;
  bool skew, turns;
  skip_test tests;           // of the walk: its bounds
  int rows_buf, keys_buf, values_buf;
  tval **running;            // by node id: states in the walk
  tval **scale;              // by node id of a frame: what was added up before shrinks by it in this step
} gpu_stream;

/// Makes the kernel axes and decides.
void gpu_stream_plan(gpu_stream *s);
/// Elements along this axis are next to one another in memory, else those along the stream (the row).
bool gpu_stream_along(const gpu_stream *s, const node *operand, int graph_axis);
/// What the frame's elements, and so the frame itself, are a positive multiple of: the scale goes into
/// exponents. The node below the multiples, and their product.
const node *gpu_stream_unscaled(const node *n, double *scale);
