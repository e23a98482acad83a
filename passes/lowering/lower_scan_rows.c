// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scans along rows whose elements are neighbours in memory, on CPUs. Lanes along another axis would
// gather from as many rows, which share sets of a cache where rows are long. So the walk itself is
// scalar, and what is made of and for it is vector code, in blocks of a row:
//
//   loop T:256 carry c {
//     local x[T], y[T]
//     loop T:64 { x = exp(load) }                    operands that are computed
//     loop T:1 carry c { c = c + x; y = c }
//     loop T:64 { store tanh(y) }
//   }
#include "base/fault.h"
#include "passes/lowering/lower_scan.h"
#include "passes/lowering/sums.h"

enum { BLOCK = 256 };

/// Elements that are read and stored beside their neighbours along the axis.
static double neighbours(const kbuild *b, int axis) {
  double count = 0;
  for (int i = 0; i < b->accesses.len && axis >= 0; i++)
    if (kb_unit_stride(&b->accesses.data[i], b, axis)) count += b->accesses.data[i].elements;
  return count;
}

bool scan_is_along_rows(const kbuild *b, const node *scan, int lanes) {
  return neighbours(b, scan->attr_axes[0]) > neighbours(b, lanes);
}

bool scan_has_maps(const kbuild *b) {
  for (int i = 0; i < b->group->nodes.len; i++)
    if (op_is_map(b->group->nodes.data[i]->op) && b->group->nodes.data[i]->naxes) return true;
  return false;
}

/// The kernel axes of a row: one element of the others, and the row.
typedef struct row {
  int axes[MAX_AXES + 1], n;
  int axis;
} row;

static int row_local(kbuild *b, const node *n, const char *name, const row *r) {
  int buf = kb_local(b, name, n->type, r->axes, r->n);
  b->local_of[n->id] = buf;
  b->local_ready[n->id] = false;
  return buf;
}

static int vectors(const kbuild *b, int axis) {
  enum { MOST = 4 };
  int64_t most = b->extent[axis] ? b->extent[axis] : kb_kernel_size(b, axis);
  int n = MOST;
  while (n > 1 && (int64_t)n * b->lanes > most) n /= 2;
  return n * b->lanes;
}

/// Operands that are computed and vary along the row, in vectors.
static void make_operands(kbuild *b, const node *scan, const row *r) {
  int bufs[2] = {-1, -1};
  for (int k = 0; k < scan->nin; k++) {
    const node *x = scan->in[k];
    bool twice = k && x == scan->in[0];
    if (op_is_map(x->op) && kb_in_group(b, x) && kb_uses(b, x, r->axis) && !twice)
      bufs[k] = row_local(b, x, "row", r);
  }
  if (bufs[0] < 0 && bufs[1] < 0) return;
  kb_loop(b, r->axis, vectors(b, r->axis), NULL, 0);
  for (int k = 0; k < scan->nin; k++)
    if (bufs[k] >= 0) kb_store_local(b, bufs[k], kb_value_here(b, scan->in[k]));
  kb_end_loop(b, NULL, 0);
  for (int k = 0; k < scan->nin; k++)
    if (bufs[k] >= 0) b->local_ready[scan->in[k]->id] = true;
}

static void forget(kbuild *b, const node *n) {
  b->local_of[n->id] = -1;
  b->local_ready[n->id] = false;
}

/// A block, or a short row: what the walk goes on with.
static tval **walk_block(kbuild *b, const node *scan, const row *r, tval *const *from, int n,
                         void (*store)(kbuild *b)) {
  int axis = r->axis;
  make_operands(b, scan, r);
  int buf = row_local(b, scan, "scanned", r);
  tval *next[2];
  tstmt *loop = kb_loop(b, axis, 1, from, n);
  loop->reverse = scan->flags & NODE_REVERSE;
  tval **now = loop->body->params, **shown = scan->flags & NODE_EXCLUSIVE ? now : next;
  scan_advance(b, scan, axis, now, n, next);
  tval *value = n > 1 ? kb_map(b, OP_add, shown[0]->type, shown[0], shown[1], NULL) : shown[0];
  kb_store_local(b, buf, kb_as_type(b, value, scan->type));
  tval **ends = kb_end_loop(b, next, n);
  b->local_ready[scan->id] = true;
  kb_loop(b, axis, vectors(b, axis), NULL, 0);
  store(b);
  kb_end_loop(b, NULL, 0);
  forget(b, scan);
  for (int k = 0; k < scan->nin; k++) forget(b, scan->in[k]);
  return ends;
}

void scan_rows_walk(kbuild *b, const int *axes, int count, int axis, void (*store)(kbuild *b)) {
  const node *scan = b->group->anchor;
  int extents[MAX_AXES];
  row r = {.n = count, .axis = axis};
  for (int i = 0; i < count; i++) {
    r.axes[i] = axes[i];
    extents[i] = b->extent[axes[i]];
  }
  r.axes[r.n++] = axis;
  bool is_long = scan_is_long(b, scan, axis);
  dtype t = is_long ? DT_f64 : scan->type;
  int n = is_long && scan->type == DT_f64 ? 2 : 1;
  tval *from[2] = {kb_fill(b, t, scan_start(scan), axes, extents, count), NULL};
  if (n > 1) from[1] = kb_like(b, from[0], (scalar){.f = 0});
  if (sum_steps(b, axis, 1) <= BLOCK) {
    walk_block(b, scan, &r, from, n, store);
    return;
  }
  tstmt *loop = kb_loop(b, axis, BLOCK, from, n);
  loop->reverse = scan->flags & NODE_REVERSE;
  kb_end_loop(b, walk_block(b, scan, &r, loop->body->params, n, store), n);
}
