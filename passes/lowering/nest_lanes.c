// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The loops of a kernel of loop nests: for each value the axis of the lanes and the block of registers.
//
// On CPUs lanes run along the stream or along the rows of the tile. Along the rows, what products of
// a step multiply the rows with is read as it lies, and the rows are packed once for all steps; maxima,
// sums and factors of all rows are vectors:
//
//   local packed[D, S:64]                       q, its rows innermost
//   loop T:256 {
//     loop T:8 { loop S:32 { s[T, S] = loop D:1 { dot k[T, D], packed[D, S] } } }
//     loop S:64 { loop T:1 { max } }  ...
//
// Not where a step reads memory by rows and stream, in the order of the stream.
#include "passes/lowering/nest.h"

static int kernel_axis(const nest *t, int graph_axis) { return t->b->kaxis[graph_axis]; }

static bool is_streamed(const nest *t, const node *n) {
  return t->nstream && kb_uses(t->b, n, t->stream[t->nstream - 1]);
}

static bool has_only_rows(const nest *t, const node *n) {
  for (int k = 0; k < n->naxes; k++) {
    int axis = kernel_axis(t, n->axes[k]);
    if (axis >= 0 && !axes_have(t->rows, t->nrows, axis)) return false;
  }
  return true;
}

int nest_unit_axis(const nest *t, const node *x) {
  const kbuild *b = t->b;
  while (kb_in_group(b, x) && !t->o.values[x->id].kept && x->nin) x = x->in[0];
  if (kb_in_group(b, x)) return -1;
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    if (m->store || m->buffer != b->l->buffer_of[x->id]) continue;
    for (int axis = 0; axis < b->l->g->axes.len; axis++)
      if (kb_unit_stride(m, b, axis)) return axis;
  }
  return -1;
}

int nest_contraction_lanes(const nest *t, const node *n) {
  int best = -1;
  double best_score = 0;
  if (t->row_lanes && kb_uses(t->b, n, t->block) && is_streamed(t, n)) return t->block;
  for (int k = 0; k < n->naxes; k++) {
    int axis = kernel_axis(t, n->axes[k]);
    bool in_a = node_has_axis(n->in[0], n->axes[k]), in_b = node_has_axis(n->in[1], n->axes[k]);
    if (axis < 0 || in_a == in_b) continue;
    double score = (double)nest_held(t, axis);
    if (score > 4 * t->b->lanes) score = 4 * t->b->lanes;
    if (nest_unit_axis(t, n->in[in_b]) == n->axes[k]) score *= 2;
    if (axis == t->block) score /= 4;  // the other operand's rows repay it
    if (score > best_score) best = axis, best_score = score;
  }
  return best;
}

/// Lanes of the product that n is an operand of, where they run along n.
static int product_lanes(const nest *t, const node *n) {
  const group *g = t->b->group;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *user = g->nodes.data[i];
    if (op_get(user->op)->class != CLASS_contraction || (user->in[0] != n && user->in[1] != n))
      continue;
    int lanes = nest_contraction_lanes(t, user);
    if (lanes >= 0 && kb_uses(t->b, n, lanes)) return lanes;
  }
  return -1;
}

static int result_lanes(const nest *t, const node *n) {
  const kbuild *b = t->b;
  int axes[MAX_AXES], count = 0, vec = b->k->vec_axis, product = product_lanes(t, n);
  if (t->row_lanes && kb_uses(t->b, n, t->block) && (is_streamed(t, n) || has_only_rows(t, n)))
    return t->block;
  if (product >= 0 && nest_held(t, product) >= b->lanes) return product;
  if (vec >= 0 && vec != t->block && kb_uses(t->b, n, vec) && nest_held(t, vec) >= b->lanes) return vec;
  for (int k = 0; k < n->naxes; k++)
    if (kernel_axis(t, n->axes[k]) >= 0 && nest_held(t, kernel_axis(t, n->axes[k])) > 1)
      axes[count++] = n->axes[k];
  int best = kb_best_lanes(b, axes, count);
  return best < 0 ? -1 : kernel_axis(t, best);
}

/// The best of these graph axes that is not the tile's rows; -1 none.
static int column_of(const nest *t, const int *axes, int n) {
  int own[MAX_AXES], count = 0;
  for (int k = 0; k < n; k++) {
    int axis = kernel_axis(t, axes[k]);
    if (axis >= 0 && !axes_have(t->rows, t->nrows, axis) && nest_held(t, axis) > 1) own[count++] = axes[k];
  }
  int best = kb_best_lanes(t->b, own, count);
  return best < 0 ? -1 : kernel_axis(t, best);
}

static bool has_neighbours(const nest *t, int graph_axis) {
  for (int i = 0; i < t->b->accesses.len; i++)
    if (kb_unit_stride(&t->b->accesses.data[i], t->b, graph_axis)) return true;
  return false;
}

/// Of a running combine: along another axis than its own, where that gives vectors of neighbours.
static int scan_lanes(const nest *t, const node *n) {
  int lanes = result_lanes(t, n), axes[MAX_AXES], count = 0;
  if (lanes < 0 || lanes != kernel_axis(t, n->attr_axes[0])) return lanes;
  for (int k = 0; k < n->naxes; k++) {
    int axis = kernel_axis(t, n->axes[k]);
    bool full = axis >= 0 && axis != lanes && nest_held(t, axis) >= t->b->lanes;
    if (full && has_neighbours(t, n->axes[k])) axes[count++] = n->axes[k];
  }
  int best = kb_best_lanes(t->b, axes, count);
  return best < 0 ? lanes : kernel_axis(t, best);
}

/// On GPUs: columns of the result on threads, or else what it is reduced over.
static nest_loops thread_loops(const nest *t, const node *n) {
  enum { NEIGHBOURS = 4 };
  nest_loops s = {.lanes = column_of(t, n->axes, n->naxes), .vectors = 1, .packed = -1, .across = t->block};
  bool over = op_get(n->op)->class == CLASS_reduce || n->op == OP_dot;
  if (s.lanes < 0 && over) s.lanes = column_of(t, n->attr_axes, n->nattr_axes);
  if (s.lanes < 0) return s;
  while (s.vectors < NEIGHBOURS && s.vectors * t->lanes < nest_held(t, s.lanes)) s.vectors *= 2;
  return s;
}

int nest_rows(const nest *t, const nest_loops *s) {
  return t->threads ? t->tile[t->nrows - 1] : s->rows;
}

int nest_width(const nest *t, const nest_loops *s) {
  kbuild *b = t->b;
  if (s->width) return s->width;
  int width = s->vectors * t->lanes, open = b->extent[s->lanes], each = s->vectors;
  if (open && width > open) width = open;
  if (!t->threads) return width;
  // Threads without columns do nothing.
  while (width > 1 && width / 2 >= kb_kernel_size(b, s->lanes)) width /= 2;
  while (each > 1 && width / each < t->lanes) each /= 2;
  layout_digit digits[] = {{each, 0}, {width / each, 1}};
  kernel_set_layout(b->k, 0, s->lanes, digits, 2);
  return width;
}

/// Lanes beyond the last row, in steps of so many vectors: they are computed for nothing.
static int64_t beyond_rows(const nest *t, int vectors) {
  int64_t rows = kb_kernel_size(t->b, t->block), step = vectors * t->b->lanes;
  return (rows + step - 1) / step * step - rows;
}

nest_loops nest_loops_of(const nest *t, const node *n) {
  if (t->threads) return thread_loops(t, n);
  const kbuild *b = t->b;
  nest_loops s = {.lanes = -1, .vectors = 1, .rows = 1, .packed = -1, .across = t->block};
  op_class class = op_get(n->op)->class;
  bool along = false;  // combines along the kernel's lanes
  for (int k = 0; class == CLASS_reduce && k < n->nattr_axes; k++)
    along |= kernel_axis(t, n->attr_axes[k]) == b->k->vec_axis;
  if (along) s.lanes = b->k->vec_axis;
  else if (class == CLASS_contraction) s.lanes = nest_contraction_lanes(t, n);
  else if (class == CLASS_scan) s.lanes = scan_lanes(t, n);
  else s.lanes = result_lanes(t, n);
  if (s.lanes < 0) return s;
  bool product = class == CLASS_contraction;
  int64_t size = nest_held(t, s.lanes);
  s.vectors = product ? 2 : 4;
  while (s.vectors > 1 && size < (int64_t)s.vectors * b->lanes) s.vectors /= 2;
  if (!product) return s;
  int most = b->l->target->vector_registers >= 32 ? 8 : 4;
  // The same registers by fewer rows take fewer loads, where vectors are full.
  bool wide = s.lanes == t->block && most == 8 && size >= 4 * b->lanes;
  if (wide && 16 * beyond_rows(t, 4) <= kb_kernel_size(b, t->block)) s.vectors = most = 4;
  if (s.lanes == t->block) s.across = is_streamed(t, n) ? t->stream[t->nstream - 1] : -1;
  if (s.across >= 0) s.rows = (int)nest_held(t, s.across) < most ? (int)nest_held(t, s.across) : most;
  int which = kb_uses(t->b, n->in[1], s.lanes);
  const node *x = n->in[which];
  bool kept = kb_in_group(b, x) && t->o.values[x->id].kept;
  // Read by vectors as it lies; else, and where every element would be converted again for each
  // block of rows, copied first.
  if (kept) return s;
  int unit = nest_unit_axis(t, x);
  if (unit < 0 || kernel_axis(t, unit) != s.lanes || x->type != n->type) s.packed = which;
  return s;
}

// ---- lanes along rows

/// Reads or stores elements by rows and stream, and neighbours are not rows.
static bool lies_otherwise(const nest *t, const access *m) {
  bool rows = false, streamed = false, unit = false;
  for (int axis = 0; axis < t->b->l->g->axes.len; axis++) {
    if (!m->coef[axis] && !m->irregular[axis]) continue;
    int at = kernel_axis(t, axis);
    rows |= at == t->block;
    streamed |= axes_have(t->stream, t->nstream, at);
    unit |= at == t->block && kb_unit_stride(m, t->b, axis);
  }
  return rows && streamed && !unit;
}

bool nest_suits_row_lanes(const nest *t) {
  const kbuild *b = t->b;
  bool product = false;
  if (t->threads || !t->nstream || t->block < 0 || nest_held(t, t->block) < 2 * b->lanes) return false;
  if (3 * beyond_rows(t, 2) > kb_kernel_size(b, t->block)) return false;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    bool both = kb_uses(t->b, n, t->block) && is_streamed(t, n);
    product |= both && op_get(n->op)->class == CLASS_contraction;
  }
  for (int i = 0; i < b->accesses.len; i++) product &= !lies_otherwise(t, &b->accesses.data[i]);
  return product;
}
