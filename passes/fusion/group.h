// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What one kernel may hold. The fuse pass asks, the lowering relies on it.
//
// A group is a set of nodes with at most one *anchor kind*:
//   GROUP_MAP      maps, views, gathers of buffers, leaves. All outputs have the same axis set.
//   GROUP_REDUCE   at least one reduction. All reductions reduce over the same axis set R (by
//                  axis number). Let P be the axes of the reductions' results (one set P for all
//                  reductions of the group). Outputs have axes P, or contain P and other axes
//                  (then all such outputs have one axis set, usually P + R). A path from
//                  a reduction to another node of the group passes no view, pad or gather that
//                  touches an axis of P: the value is used at identical P coordinates.
//                  Reductions may depend on each other (levels), on maps, views, and gathers of
//                  buffers. argmin/argmax included.
//                  Values that reductions depend on may be outputs too (a residual sum).
//                  GPUs: also sums of columns (passes/columns.h), over chunks of the rows P, of values
//                  over P and R; all have one chunk axis C, results have C and R, and nothing in the
//                  kernel depends on them. Outputs then have axes P, or P and R; there need be no other
//                  reduction where one has all of these. R has a size that a block's registers hold.
//   GROUP_CONTRACTION exactly one dot. Producers of its operands inside the group (prologue) are
//                  maps, views, pads, gathers of buffers, leaves. Consumers (epilogue) are maps
//                  that take the dot's value at identical coordinates, with the other
//                  operands of any allowed prologue kind. All outputs have exactly the axis set
//                  of the dot, and none is something the dot depends on. GPUs: reductions of what
//                  the dot gave, along one axis of one operand that a block tile holds whole, and
//                  maps of these rows (a softmax of scores); then a second dot, over that axis, of
//                  what was made of them with a value that does not depend on them (attention).
//                  Outputs have the axes of the second dot then.
//   GROUP_SCAN     one scan; maps, views... before it; maps after it at identical coordinates.
//                  Outputs as for GROUP_CONTRACTION.
//   GROUP_SCATTER  one scatter_add; maps... producing indices and updates; its base operand and
//                  its result are buffers of one storage order, or the base is one number for all
//                  elements, of which the result is made; nothing after it.
//   GROUP_OPAQUE   one call; inputs and result are buffers, in the storage order they had when the
//                  graph was built.
//   GROUP_NEST     under a contract: several loop nests over one tile of rows, with values in on-chip
//                  buffers between them. What is none of the others; see outline.h.
//   GROUP_STREAM   under a streamed contract, on GPUs with products of warpgroups: one walk over the
//                  stream with its states in registers; see stream_form.h.
// A result may be stored through a view that is one to one and changes axes which the rules above keep
// (through.c): the view belongs to the kernel, and the value that it shows is the output.
// Gathered operands (in[0] of gather) and inputs of opaque calls are buffers: params or outputs
// of other kernels, possibly through views (composed into the access).
// A node that belongs to several kernels has been cloned: every node is in one kernel.
// Params belong to none (kernel = -1). Views, consts, sizes and index nodes are cloned into each
// kernel that uses them; a view of a param that is returned is a GROUP_MAP kernel (a copy).
#pragma once
#include "passes/columns.h"
#include "passes/passes.h"

/// Elements of a reduction up to which every block of a GPU computes it again, so that outputs with
/// axes of their own are distributed over all blocks. Others stay with the block of their rows.
enum { GROUP_REDUCED_AGAIN = 64 };
enum { MAX_GROUP_OUTPUTS = 24 };
/// Work of one kernel per element, in the costs of ir/ops.def, and its reductions, under a contract
/// and without one. The time that LLVM takes for a kernel grows faster than its length; at these
/// lengths the memory traffic between two kernels is small beside the arithmetic of either, and
/// that of a row which is walked once more beside all its walks.
enum { MAX_GROUP_WORK = 1000, MAX_GROUP_REDUCTIONS = 64, MAX_PLAIN_REDUCTIONS = 32 };

typedef enum group_kind {
  GROUP_MAP, GROUP_REDUCE, GROUP_CONTRACTION, GROUP_SCAN, GROUP_SCATTER, GROUP_OPAQUE,
  GROUP_NEST, GROUP_STREAM
} group_kind;

/// The sums of columns that a kernel of rows keeps.
typedef struct column_form {
  const node *sums[MAX_PLAIN_REDUCTIONS];
  int n;
  const node *row;                    // a reduction of rows; null: none
  int rows[MAX_AXES], nrows;          // P, numbered through in this order
  int columns[MAX_AXES], ncolumns;    // R
  int chunk;                          // C
  int64_t length;                     // rows of a chunk
  double registers;                   // for each element of R
  columns_threads threads;
} column_form;

typedef struct group {
  group_kind kind;
  int kernel;
  vec(node *) nodes;      // in order, without views that outputs are stored through
  vec(node *) inputs;     // buffers read: params and other kernels' outputs, each once
  vec(node *) outputs;    // nodes stored, but for sums of columns
  vec(node *) written;    // what is in memory then: outputs, and views that they are stored through
  node *anchor;           // the (first) dot, scan, scatter or call
  node *second;           // the dot over rows of the first; null
  vec(node *) reductions; // but for sums of columns
  const column_form *columns;  // with these; null: it has none
} group;

/// Nothing it makes has elements: no kernel is needed. Never so of calls.
bool group_is_empty(const graph *g, const group *grp);

/// Marks what goes to memory by node id: outputs, params, and what another kernel reads.
void graph_stored(const graph *g, uint8_t *stored);
/// The groups of a graph that was fused for the target, in order; check()s the rules above.
group *graph_groups(const graph *g, const target_info *target, arena *a, int *count);
/// Of a fused graph that was read from text: a node of the first kernel that breaks them, and how;
/// null: none does. With a target, of those too that only hold for others.
const node *graph_illegal_group(const graph *g, const target_info *t, arena *a, str *why);

// ---- group_rows.c
/// By node id: who reads it, products or what knows no strides.
uint8_t *group_readers(const graph *g, const group *groups, int ngroups, arena *a);
/// Elements that rows of a temporary take a multiple of: products on tensor cores read rows that
/// begin at multiples of 16 bytes several times as fast, and those that begin with a cache line
/// touch no part of another. Not where they would be much longer, nor for host functions and
/// scatters, which know no strides.
int group_row_unit(const graph *g, const target_info *t, const uint8_t *readers, const node *n);

// ---- in_place.c
/// By node id: the operand in whose memory a kernel's result is stored; null: it has its own.
node **graph_in_place(const graph *g, const target_info *t, const group *groups, int ngroups, arena *a);

/// The contract that the nodes of a kernel are under; null none.
const contract *group_contract(const graph *g, const node *member);
