// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_NEST: one kernel of several loop nests. What lower_nest.c and nest_plan.c share.
#pragma once
#include "passes/fusion/outline.h"
#include "passes/lowering/lower.h"

typedef struct nest {
  kbuild *b;
  outline o;
  uint8_t *member, *stored;  // by node id
  int rows[MAX_AXES], nrows;      // kernel axes
  int tile[MAX_AXES];             // grid tile along each
  int block;                      // the row axis that products block; -1 none
  int stream[MAX_AXES], nstream;  // kernel axes
  int step;                       // elements of a step along the innermost of them
  int *scale_of;                  // node id of a frame -> buffer of the factor of a step
  int *best_of;   // node id of an argmin or argmax -> buffer of the extreme that its state is the place of
  int *shift_of;                  // ... of what is taken from exponents: the maximum, 0 while there is none
} nest;

/// Makes the kernel axes; chooses the tile of rows and the steps, so that what is kept fits the caches.
void nest_choose(nest *t);

/// The loop nest of one kept or stored value.
typedef struct nest_loops {
  int lanes;      // kernel axis of the vector lanes; -1: scalar code
  int vectors;    // per step along it
  int rows;       // elements per step along nest.block
  int packed;     // operand of a contraction that is copied first, its lanes innermost; -1 none
} nest_loops;
nest_loops nest_loops_of(const nest *t, const node *n);
/// n's kernel axes: of its own, rows first, the lanes last.
int nest_axes_of(const nest *t, const node *n, int lanes, int *axes);

/// Loops over the result's axes of a nest: rows and other axes, then the lanes. Gives how many.
int nest_open(const nest *t, const node *n, const nest_loops *s);
void nest_close(const nest *t, int opened);
/// The value v for all open axes that result n has, and for `extent` elements of the axis `more`.
tval *nest_filled(const nest *t, const node *n, dtype type, scalar v, int more, int extent);
/// Kernel axes that n combines along.
int nest_reduced(const nest *t, const node *n, int *axes);

/// The value in that type.
tval *nest_as_type(kbuild *b, tval *v, dtype t);
/// The buffer of a kept value may have the type of a product that the value goes into: it is stored
/// in that type, and computed with in its own.
void nest_keep(kbuild *b, const node *n, tval *v);
tval *nest_kept(kbuild *b, const node *n);
/// A buffer for the kept value n.
void nest_declare(nest *t, const node *n, const char *name);
/// What a state was before the step, times the factor by which its frame shrinks it.
tval *nest_scaled(const nest *t, const node *state, tval *before);

// ---- reductions (lower_nest_reduce.c); `needed`: what the walk needs, null between walks

void nest_emit_reduction(nest *t, const node *n, const uint8_t *needed);

// ---- argmin and argmax (lower_nest_arg.c)

/// The extreme of a state, beside its place.
void nest_declare_arg(nest *t, const node *n);
/// Nothing was seen: an extreme that every element reaches, and the place 0.
void nest_begin_arg(const nest *t, const node *n);
void nest_emit_arg(nest *t, const node *n);
