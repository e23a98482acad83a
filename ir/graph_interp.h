// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside of the graph interpreter: values, and walks over coordinates. Only ir/graph_interp*.c.
#pragma once
#include "ir/graph.h"

/// The value of a node: dense, row-major in the order of the node's axes.
typedef struct value {
  arena arena;  // of data, unless it is the caller's
  scalar *data;
  int64_t count;
} value;

typedef struct run {
  const graph *g;
  arena *arena;         // scratch of the whole run
  int64_t *axis_size;   // by axis number
  ix_pool pool;         // index expressions with sizes bound
  int64_t *symbols;     // by position in g->symbols
  value *values;        // by node id
  const interp_host *host;
  str *error;
  span *at;
} run;

/// Walks a box of coordinates row by row; keeps an offset per operand.
///
///   walk w = walk_over(r, n->axes, n->naxes);
///   int out = walk_operand(r, &w, n), in = walk_operand(r, &w, n->in[0]);
///   for (bool more = walk_first(&w); more; more = walk_next(&w))
///     for (int64_t j = 0; j < w.row; j++) ... data[w.offset[in] + j * w.step[in]]
enum { WALK_AXES = 2 * MAX_AXES, WALK_OPERANDS = 4 };
typedef struct walk {
  int naxes;                 // at least 1
  int axes[WALK_AXES];       // -1: a dummy of size 1
  int64_t size[WALK_AXES], at[WALK_AXES];
  int noperands;
  int64_t stride[WALK_OPERANDS][WALK_AXES];
  int64_t offset[WALK_OPERANDS];  // at the start of the current row
  int64_t step[WALK_OPERANDS];    // along the row
  int64_t row;                    // its length
} walk;

walk walk_over(const run *r, const int *axes, int naxes);
/// Adds an operand; axes of the walk that it lacks have stride 0.
int walk_operand(const run *r, walk *w, const node *n);
bool walk_first(walk *w);
bool walk_next(walk *w);
/// The coordinate of the current row's start along an axis of the walk.
int64_t walk_coordinate(const walk *w, int along);

/// Running combines, one per element of the result, that start at `from` (null: at the identity).
op_running *run_start(run *r, const node *n, const value *out, const scalar *from);
/// What they have come to.
void run_finish(const node *n, const op_running *running, value *out);
/// The value of a size symbol, as ix_bind asks for it; ctx is the run.
bool run_symbol(void *ctx, str name, int64_t *v);
bool run_fail(run *r, const node *n, const char *format, ...) __attribute__((format(printf, 3, 4)));

// One per class of op; the value's data is allocated and zeroed.
bool interp_leaf(run *r, const node *n, value *out);
bool interp_map(run *r, const node *n, value *out);
bool interp_reduce(run *r, const node *n, value *out);
bool interp_dot(run *r, const node *n, value *out);
bool interp_scan(run *r, const node *n, value *out);
bool interp_view(run *r, const node *n, value *out);
bool interp_gather(run *r, const node *n, value *out);
bool interp_scatter(run *r, const node *n, value *out);
bool interp_call(run *r, const node *n, value *out);

/// Solves the params' axis sizes for the symbols and checks shapes, types and facts; sizes of
/// conflicting params are an error that names both.
bool interp_bind(run *r, const interp_tensor *params);
