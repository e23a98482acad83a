// What a contraction becomes on a GPU: chosen by gpu_contract_plan.c, emitted by gpu_contract.c.
#pragma once
#include "passes/gpu.h"

typedef struct gpu_dot {
  contract_plan p;  // axes; a is the operand of the rows, b that of the columns
  int row_axis;     // graph axis along which finished rows are reduced, -1 none
  int depth;        // the kernel axis of K that is walked in blocks, -1: nothing is contracted
  dot_unit unit;
  int bm, bn, bk;        // block tile and step
  gpu_share m, n;        // FMA: shares of rows and columns
  int warps_m, warps_n;  // tensor cores
  bool pair;             // two resident blocks on a multiprocessor
  int stages, threads, producers, blocks_per_sm;
} gpu_dot;

/// Surveys the group's accesses and decides; false: it is a reduction of products.
bool gpu_dot_choose(kbuild *b, gpu_dot *d);
/// The operand is copied from memory as it is.
bool gpu_dot_is_copy(const kbuild *b, const gpu_dot *d, int which);
/// Elements of 128 bytes: rows of the operands on chip for tensor cores, and the step of K.
int gpu_dot_panel(const gpu_dot *d);
/// Neighbours in memory are neighbours along K.
bool gpu_dot_along_depth(const kbuild *b, const gpu_dot *d, int which);
