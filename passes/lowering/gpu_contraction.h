// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a contraction becomes on a GPU: chosen by gpu_contraction_plan.c, emitted by gpu_contraction.c.
#pragma once
#include "passes/lowering/gpu.h"

typedef struct gpu_dot {
  contraction_plan p;  // axes; a is the operand of the rows, b that of the columns
  int row_axis;     // graph axis along which finished rows are reduced, -1 none
  int depth;        // the kernel axis of K that is walked in blocks, -1: nothing is contracted
  dot_unit unit;
  int bm, bn, bk;        // block tile and step
  gpu_share m, n;        // FMA: shares of rows and columns
  int warps_m, warps_n;  // tensor cores
  bool pair;             // two resident blocks on a multiprocessor
  int stages, threads, producers, blocks_per_sm;
} gpu_dot;

/// A second contraction over the rows of the first, see gpu_second.c.
typedef struct gpu_second {
  const node *dot, *rows, *side;  // its operands: made of the first one's rows, and the other
  int axis, extent;               // kernel axis of the columns of `side`, and how many at a time
  int layout, fill_layout;        // of the sums, and of filling the buffer of `side`
} gpu_second;
/// Graph axis of those columns.
int gpu_second_axis(const group *g);
/// After the axes are made, before the layouts are final.
void gpu_second_plan(kbuild *b, const gpu_dot *d, gpu_second *s);
/// The group's outputs from the sums of the first contraction.
void gpu_second_emit(kbuild *b, const gpu_dot *d, const gpu_second *s, tval *sum);

// ---- gpu_contraction.c
/// The accumulator of mma and wgmma: rows on lanes / 4 and warps, columns in pairs on lanes % 4.
void gpu_dot_lay_sums(kbuild *b, const gpu_dot *d, int layout, int columns, int extent);
/// A layout in which neighbouring threads copy along `fast`; its number.
int gpu_dot_lay_copy(kbuild *b, const gpu_dot *d, dtype type, int fast, int fast_size, int slow,
                     int slow_size);
/// sum plus the product of two buffers over the axes.
tval *gpu_dot_multiply(kbuild *b, const gpu_dot *d, int rows, int columns, const int *over, int n,
                       tval *sum);

// ---- gpu_contraction_plan.c
/// Surveys the group's accesses and decides; false: it is a reduction of products.
bool gpu_dot_choose(kbuild *b, gpu_dot *d);
/// The operand is copied from memory as it is.
bool gpu_dot_is_copy(const kbuild *b, const gpu_dot *d, int which);
/// Elements of 128 bytes: rows of the operands on chip for tensor cores, and the step of K.
int gpu_dot_panel(const gpu_dot *d);
/// Neighbours in memory are neighbours along K.
bool gpu_dot_along_depth(const kbuild *b, const gpu_dot *d, int which);
