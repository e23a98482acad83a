// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCATTER, in one of two forms, shared by CPUs (lower_scatter*.c) and GPUs (gpu_scatter.c).
//
// In order: one kernel copies the base and walks the updates one after the other.
//
// By rows: kernels that see the indices alone list, for each place of the scattered axis, the updates
// that are for it in their order. A last kernel, whose grid tiles own rows of the result, adds up what
// is listed for a row and stores the row once:
//
//   order[ends[v] .. ends[v + 1])    numbers of the updates for v, ascending
#pragma once
#include "passes/lowering/lower.h"

typedef struct scatter_axes {
  int own[MAX_AXES], nown;        // graph axes of the result besides the scattered one
  int walked[MAX_AXES], nwalked;  // those of indices and updates
  int kown[MAX_AXES], kwalked[MAX_AXES], target;  // kernel axes
  int columns, step;  // kernel axis walked inside of the others, in such steps; -1 none
} scatter_axes;

void scatter_make_axes(kbuild *b, scatter_axes *s);
/// An element may get more floats than can be added without a thought to rounding.
bool scatter_adds_many(const kbuild *b, const scatter_axes *s);
/// The base in the type of the sums.
tval *scatter_base_as(kbuild *b, const node *base, dtype t);
/// Copies the base `rows` rows at a time, then adds the updates one after the other.
void scatter_walk(kbuild *b, const scatter_axes *s, int rows);

// ---- by rows

typedef struct scatter_lists {
  int batch[MAX_AXES], nbatch;    // graph axes that result and indices share: a list for each
  int listed[MAX_AXES], nlisted;  // those of the indices alone: what is numbered
  int free[MAX_AXES], nfree;      // those of the result that the indices do not have
  dtype type;                     // of numbers and places
  int ends, order;                // buffers [batch.., V + 1], [batch.., updates]
  int keys, parts;                // GPUs: [batch.., updates], [batch.., updates / part, free..]; parts -1: none
} scatter_lists;

/// Whether the lists pay; fills all but the buffers.
bool scatter_by_rows(const kbuild *b, const scatter_axes *s, scatter_lists *lists);
/// Finds the axes and decides. True: by rows, and the buffers of the lists are there.
bool scatter_open(kbuild *b, scatter_axes *s, scatter_lists *lists);
/// Adds the buffers, and on a CPU the kernel that fills them.
void scatter_add_lists(lower *l, const node *n, scatter_lists *lists);
void scatter_list_updates(lower *l, const group *grp, const scatter_lists *lists);
/// How many updates are listed.
ix scatter_count(kbuild *b, const scatter_lists *lists);
/// A buffer [batch.., further dimensions].
int scatter_workspace(lower *l, const node *n, const scatter_lists *lists, const char *name, dtype t,
                      const ix *dims, const char *const *names, int ndims);
/// Where the list of the row that is open begins and ends.
void scatter_find_list(kbuild *b, const scatter_axes *s, const scatter_lists *lists, tval **within);
/// The batch's coordinates, then one more; gives the rank.
int scatter_in_batch(const kbuild *b, const scatter_lists *lists, ix at, ix *index);
/// What changes nothing when it is added.
static inline scalar scatter_nothing(dtype t) {
  return dtype_is_float(t) ? (scalar){.f = -0.0} : (scalar){.i = 0};
}
/// The base and what is listed for the row, along the axes that are open. updates: the lists' kernel axis.
tval *scatter_row_sum(kbuild *b, const scatter_axes *s, const scatter_lists *lists, int updates,
                      tval *const within[2]);

/// What is added up: in a wider type, or in two variables of which one has what the other loses.
typedef struct scatter_sum {
  dtype type;
  int n;
} scatter_sum;
scatter_sum scatter_sum_of(const kbuild *b, const scatter_axes *s);
void scatter_add_to(kbuild *b, const scatter_sum *sum, tval *const *now, tval *x, tval **next);
/// Sets the coordinates of an update by its number(s).
void scatter_find_update(kbuild *b, const scatter_lists *lists, tval *number);
/// The update(s) at these coordinates.
tval *scatter_update_as(kbuild *b, dtype t);
/// The base along everything that is open.
tval *scatter_start_of_row(kbuild *b, dtype t);
