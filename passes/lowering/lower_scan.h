// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The ordered walks of scans, shared by the loops for CPUs (lower_scan.c) and the layouts for GPUs
// (gpu_scan.c).
#pragma once
#include "passes/lowering/lower.h"

typedef struct scan_steps {
  int axis;  // kernel axis
  bool reverse;
  int unroll;
  void (*store)(kbuild *b);  // of the outputs, after each step; null: only the total is wanted
} scan_steps;
/// Lanes along the graph axis (-1 none) when it is worth it; else scalar code.
void scan_use_lanes(kbuild *b, int graph_axis);
/// Parallel axes as a grid with loops; gives the number of loops opened. inner: elements walked in each.
int scan_open_parallel(kbuild *b, const int *axes, int n, int64_t inner);
/// The graph axes of a scan besides the scanned one, in order; gives their number.
int scan_other_axes(const node *scan, int others[MAX_AXES]);
/// What stands before the first element.
static inline scalar scan_start(const node *scan) {
  bool affine = scan->op == OP_affine_scan;
  return affine ? scalar_cast((scalar){.i = 0}, DT_i64, scan->type) : op_identity(scan->op, scan->type);
}
/// What stands after the step that is open along the kernel axis (-1: it has one element): of what
/// stood before, in the type of that; and, where n is 2, of what additions of doubles have lost by then.
void scan_advance(kbuild *b, const node *scan, int axis, tval *const *now, int n, tval **next);
/// A sum or recurrence of floats of so many steps that one variable would lose digits: one of f32 is
/// taken in f64, and one of f64 with what it loses, or in blocks.
bool scan_is_long(const kbuild *b, const node *scan, int axis);
/// Combines the elements along the axis, from `start` on; gives the total where it is wanted.
tval *scan_from(kbuild *b, const scan_steps *s, tval *start);
/// Walks kernel axis `axis` step by step with the other kernel axes open, and stores the outputs.
void scan_walk(kbuild *b, const int *axes, int n, int axis);

// lower_scan_rows.c: rows of neighbours on CPUs
/// Elements along the scan are neighbours in memory, more of them than along `lanes`.
bool scan_is_along_rows(const kbuild *b, const node *scan, int lanes);
/// Something is computed for each element besides the scan.
bool scan_has_maps(const kbuild *b);
/// As scan_walk; lanes run along the scanned axis.
void scan_rows_walk(kbuild *b, const int *axes, int n, int axis, void (*store)(kbuild *b));

// lower_affine.c: affine_scan
typedef struct affine_step {
  tval *a, *b;
} affine_step;
/// Both operands at the step that is open along the kernel axis (-1: it has one element), as t.
affine_step affine_next(kbuild *b, const node *scan, dtype t, int axis);
/// a before + b.
tval *affine_after(kbuild *b, const affine_step *s, tval *before);
/// next[0] = a now[0] + b as it is rounded, next[1] what is lost by then.
void affine_pair(kbuild *b, const affine_step *s, tval *const *now, tval **next);
/// All steps as one: y after them is a y + b, of the y before. Of that type; no a where outputs are stored.
typedef struct affine_total {
  tval *a, *b;
} affine_total;
/// The walk along the axis from `start` on.
affine_total affine_from(kbuild *b, const scan_steps *s, tval *start);
