// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a contraction becomes: its axes, its form, its blocks and tiles. Chosen by
// contraction_plan.c, emitted by lower_contraction.c.
#pragma once
#include "passes/lowering/lower.h"

typedef enum contraction_form {
  CONTRACTION_BLOCKED,    // register blocks over panels of b
  CONTRACTION_INNER,      // inner products along K, for few rows
  CONTRACTION_REDUCTION,  // no reuse: a reduction of products
} contraction_form;

typedef struct contraction_plan {
  const node *dot;
  int a, b;  // operand numbers: b carries the lanes
  int batch[MAX_AXES], nbatch;  // graph axes in both operands
  int m[MAX_AXES], nm;          // only in a
  int n[MAX_AXES], nn;          // only in b
  int k[MAX_AXES], nk;          // contracted
  // kernel axes after collapsing; -1 none
  int kbatch[MAX_AXES], nkbatch, km[MAX_AXES], nkm, kn[MAX_AXES], nkn, kk[MAX_AXES], nkk;
  int rows, lanes;   // the axes of the register block
  int pair;          // kk[0] walks pairs, this axis the elements of one; -1: kk walks elements
  int mr, nr;        // its extents
  int kc;            // block of kk[0]; 0: not blocked
  int mt, nt;        // grid tile
  int bt[MAX_AXES];  // ... along each of kbatch
  int mc;            // rows of a packed at a time; 0: a is read in place
  bool pack_a, pack_b, transposes_b;
  bool stream_b;     // b is read once in order: N outside M
  bool pairs;        // dots of bf16 pairs along the last of kk
  bool interleave_b;  // ... made of two rows of b wherever they are used
  dtype type;         // of the operands' elements in on-chip buffers
  bool partial_in_output;
  int a_buf, b_buf, c_buf;  // on-chip buffers, -1 none
} contraction_plan;

/// Surveys the group's accesses, makes the kernel axes (not for a reduction) and decides.
contraction_form contraction_choose(kbuild *b, contraction_plan *p);

/// Sorts the graph axes of the dot by the operands that have them.
void contraction_classify(contraction_plan *p, const node *dot);
/// Turns the kernel under construction into a reduction of products.
void contraction_become_reduction(kbuild *b);
/// How the operand, seen through maps and views, is read; null when it is not from memory.
const access *contraction_access(const kbuild *b, const node *x);
/// The operand is a buffer of type t, possibly through views.
bool contraction_plain(const kbuild *b, const node *x, dtype t);
/// Estimated size of several kernel axes.
int64_t contraction_product(const kbuild *b, const int *axes, int n);
/// Products of one pair of axes that there are.
int64_t contraction_outer(const kbuild *b, const contraction_plan *p);
/// Zeros over all open axes but the contracted ones.
tval *contraction_zero(kbuild *b, const contraction_plan *p);
/// Takes the dot's value, and the reductions of its rows.
void contraction_finish(kbuild *b, const contraction_plan *p, tval *sum);
/// Stores the outputs, which are made of the dot's value.
void contraction_epilogue(kbuild *b, const contraction_plan *p, tval *sum);

/// Estimate of a kernel axis for planning: an empty or absent one counts as 1.
int64_t contraction_size(const kbuild *b, int kernel_axis);
/// v up to a multiple of step, at least step, at most 2^24.
int contraction_round(int64_t v, int step);
/// Vectors of a run along its rows in memory, and both these and K are long enough for them.
bool contraction_along_rows(const kbuild *b, const contraction_plan *p);
/// The operand can be read along K with unit stride.
bool contraction_along_k(const kbuild *b, const contraction_plan *p, const node *x);
