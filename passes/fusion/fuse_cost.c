// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a kernel costs: a roofline of the bytes it moves and the flops it computes, recomputation
// included. Sizes that are still symbols count as their estimates.
#include <math.h>

#include "ir/units.h"
#include "passes/fusion/fuse.h"

// A contraction computes an operand's elements again for each block of this many elements of the
// other side, because panels are packed once per block.
static const double contraction_block = 512, gpu_contraction_block = 128;
// The operands of a contraction are computed into panels on chip, which are written and read once
// more, so their arithmetic counts for more than that of an epilogue.
static const double panel_penalty = 4;
// A value that lacks the lane axis is computed once per tile along it.
static const double lane_extent = 64;

fuse_scratch fuse_scratch_new(arena *a, int n) {
  fuse_scratch s = {.n = n, .arena = a};
  s.after = arena_array(a, uint8_t, n);
  s.before = arena_array(a, uint8_t, n);
  s.seen = arena_array(a, uint8_t, n);
  s.panel = arena_array(a, uint8_t, n);
  s.direct = arena_array(a, double, n);
  s.viewed = arena_array(a, double, n);
  s.touched = arena_array(a, double, n);
  s.flops = arena_array(a, double, n);
  s.work = arena_array(a, double, n);
  s.count = arena_array(a, double, n);
  s.asked = arena_array(a, uint8_t, n);
  s.sums = arena_array(a, const column_sum *, n);
  s.through = through_room_new(a, n);
  s.inverse = arena_array(a, uint8_t, n);
  return s;
}

const target_info *target_or_default(const pass_options *options) {
  return options && options->target ? options->target : target_unknown();
}

double node_count(const graph *g, const node *n) {
  double count = 1;
  for (int i = 0; i < n->naxes; i++)
    count *= (double)ix_estimate(&g->ix, graph_axis_size(g, n->axes[i]));
  return count;
}

/// node_count, found once per node.
static double count_of(const candidate *c, const fuse_scratch *s, const node *n) {
  double *count = &s->count[n->id];
  if (*count == 0) *count = 1 + node_count(c->g, n);
  return *count - 1;
}

double node_bytes(const graph *g, const node *n) { return node_count(g, n) * dtype_bytes(n->type); }

/// The axis the lanes most likely run along: the last one of the largest stored value.
static int lane_axis(const candidate *c) {
  const node *best = NULL;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    if (c->stored[n->id] && n->naxes && (!best || n->naxes > best->naxes)) best = n;
  }
  for (int i = 0; i < c->n && !best; i++)
    if (c->nodes[i]->op != OP_const && c->nodes[i]->naxes) best = c->nodes[i];
  return best ? best->axes[best->naxes - 1] : -1;
}

/// What the estimates of one candidate share.
typedef struct estimate {
  const candidate *c;
  const target_info *t;
  int lanes;             // axis
  const node *reduction;  // a reduction of the kernel: its axes are the rows
  double *direct;        // evaluations by node id for memoised uses: the largest counts
  double *viewed;        // ... for uses through views: each asks again
  uint8_t *panel;        // by node id: used for an operand of a contraction
  const fuse_scratch *scratch;
} estimate;

static bool is_row_value(const estimate *e, const node *n) {
  for (int i = 0; i < n->naxes; i++)
    if (!e->reduction || !node_has_axis(e->reduction, n->axes[i])) return false;
  return true;
}

/// How often operand k is evaluated for `evals` evaluations of n.
static double operand_evals(const estimate *e, const node *n, int k, double evals) {
  const graph *g = e->c->g;
  const node *in = n->in[k];
  double count = count_of(e->c, e->scratch, in);
  switch (op_get(n->op)->class) {
    case CLASS_reduce:
    case CLASS_scan: return count;  // finished rows are kept, whoever reads them
    case CLASS_contraction: {
      double other = 1;  // elements of the result per element of this operand's free axes
      for (int i = 0; i < n->naxes; i++)
        if (!node_has_axis(in, n->axes[i]))
          other *= (double)ix_estimate(&g->ix, graph_axis_size(g, n->axes[i]));
      return count * fmax(1, other / (e->t->sm ? gpu_contraction_block : contraction_block));
    }
    case CLASS_map:
      if (!in->naxes) return 1;
      if (in->naxes == n->naxes) return evals;
      if (is_row_value(e, in)) return fmin(count, evals);  // once a row
      return node_has_axis(in, e->lanes) ? evals : fmax(fmin(count, evals), evals / lane_extent);
    case CLASS_gather:
    case CLASS_scatter: return k == 0 ? 0 : fmin(count, evals);
    default: return k == 1 && n->op == OP_pad ? 1 : evals;  // views: one per element of the view
  }
}

/// The rows that a contraction before n finished: they are where they are needed.
static bool is_row_operand(const candidate *c, const node *n, int k) {
  for (int i = 0; i < c->n && c->nodes[i] != n; i++)
    if (c->nodes[i]->op == OP_dot) return node_same_axis_set(c->nodes[i], n->in[k]);
  return false;
}

/// Evaluations of each member, by demand from the stored values.
static estimate count_evals(const candidate *c, const target_info *t, fuse_scratch *s) {
  estimate e = {.c = c, .t = t, .lanes = lane_axis(c), .scratch = s};
  e.direct = s->direct, e.viewed = s->viewed, e.panel = s->panel;
  for (int i = 0; i < c->n; i++) {
    int id = c->nodes[i]->id;
    e.direct[id] = e.viewed[id] = e.panel[id] = 0;
  }
  column_form f;
  candidate on = *c;
  on.target = t;
  if (fuse_columns(&on, s, &f)) e.reduction = f.row;
  else
    for (int i = 0; i < c->n && !e.reduction; i++)
      if (op_is_reduce(c->nodes[i]->op)) e.reduction = c->nodes[i];
  for (int i = c->n - 1; i >= 0; i--) {
    const node *n = c->nodes[i];
    op_class class = op_get(n->op)->class;
    double evals = e.direct[n->id] + e.viewed[n->id];
    if (c->stored[n->id]) evals = fmax(evals, count_of(c, s, n));
    e.direct[n->id] = evals;
    for (int k = 0; k < n->nin; k++) {
      int id = n->in[k]->id;
      if (!c->member[id]) continue;
      double wanted = operand_evals(&e, n, k, evals);
      if (class == CLASS_view) e.viewed[id] += wanted;
      else e.direct[id] = fmax(e.direct[id], wanted);
      if ((class == CLASS_contraction && !is_row_operand(c, n, k)) || e.panel[n->id]) e.panel[id] = 1;
    }
  }
  return e;
}

double fuse_node_flops(const candidate *c, const fuse_scratch *s, const node *n, double evals) {
  const op_info *info = op_get(n->op);
  switch (info->class) {
    case CLASS_contraction:
    case CLASS_reduce:
    case CLASS_scan: {
      double count = count_of(c, s, n);
      for (int i = 0; i < n->nattr_axes && info->class != CLASS_scan; i++)
        count *= (double)ix_estimate(&c->g->ix, graph_axis_size(c->g, n->attr_axes[i]));
      return count * info->cost;
    }
    case CLASS_scatter: return count_of(c, s, n->in[2]) * info->cost;
    default: return evals * info->cost;
  }
}

const double *fuse_input_bytes(const candidate *c, fuse_scratch *s) {
  double *touched = s->touched;
  for (int i = 0; i < s->inputs.len; i++) touched[s->inputs.data[i]] = 0;
  s->inputs.len = 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    for (int k = 0; k < n->nin; k++) {
      const node *in = n->in[k];
      if (c->member[in->id]) continue;
      double whole = count_of(c, s, in) * dtype_bytes(in->type), part = whole;
      bool partial = n->op == OP_view || (n->op == OP_gather && k == 0);
      if (partial) part = fmin(whole, count_of(c, s, n) * dtype_bytes(in->type));
      if (touched[in->id] == 0 && part > 0) vec_push(s->arena, &s->inputs, in->id);
      touched[in->id] = fmin(whole, touched[in->id] + part);
    }
  }
  return touched;
}

double fuse_contraction_peak(const target_info *t, const node *dot) {
  dtype a = dot->in[0]->type, b = dot->in[1]->type;
  double plain = t->flops_per_second * t->cores, tensor = target_tensor_flops(t, a, b);
  if (tensor > 0) return tensor;
  bool pairs = a == b && unit_takes(DOT_PAIRS, a);
  return pairs ? fmax(plain, t->pair_flops_per_second * t->cores) : plain;
}

/// Work of a contraction's flop: tensor cores and dots of pairs do several in the time of one.
static double contraction_share(const target_info *t, const node *dot) {
  return t->flops_per_second * t->cores / fuse_contraction_peak(t, dot);
}

/// Operands whose rows are unaligned pass the registers of the threads that compute.
static double unaligned_seconds(const estimate *e) {
  double elements = 0;
  for (int i = 0; i < e->c->n; i++) {
    const node *n = e->c->nodes[i];
    for (int k = 0; n->op == OP_dot && k < 2; k++)
      if (fuse_unaligned_operand(e->c->g, e->t, n, k, e->c->member))
        elements += operand_evals(e, n, k, 0);
  }
  return elements > 0 ? elements / (e->t->shifted_per_second * e->t->cores) : 0;
}

/// Padded operands that are packed, by element, in every tile, where a copy is not made.
static double packing_seconds(const estimate *e) {
  static const double packed_per_second = 1e9;
  double elements = 0;
  for (int i = 0; i < e->c->n; i++) {
    const node *n = e->c->nodes[i];
    for (int k = 0; n->op == OP_dot && k < 2; k++)
      elements += fuse_packed_elements(e->c->g, n, k, e->c->member);
  }
  return elements / (packed_per_second * e->t->cores);
}

/// An output that keeps few long rows in a block each: one along what is reduced, which waits for a reduction
/// or lacks one of the axes. Blocks share rows otherwise (passes/lowering/gpu_chunks.c).
static bool keeps_rows_together(const candidate *c, uint8_t *late, const node *reduction,
                                double reduced) {
  enum { SHARED = 1 << 16 };
  bool any = false;
  if (reduced < SHARED) return false;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    late[n->id] = op_is_reduce(n->op);
    for (int k = 0; k < n->nin; k++) late[n->id] |= c->member[n->in[k]->id] && late[n->in[k]->id];
    int along = 0;
    for (int k = 0; k < reduction->nattr_axes; k++)
      along += node_has_axis(n, reduction->attr_axes[k]);
    any |= c->stored[n->id] && along && (late[n->id] || along < reduction->nattr_axes);
  }
  return any;
}

/// The part of a GPU that is busy: outputs with axes that are neither rows nor reduced wait for long
/// reductions in the blocks of their rows, of which there may be few.
static double busy_share(const candidate *c, const target_info *t, fuse_scratch *s,
                         const node *reduction) {
  if (!t->sm || !reduction) return 1;
  for (int i = 0; i < c->n; i++)
    if (c->nodes[i]->op == OP_dot) return 1;  // a contraction distributes its results otherwise
  double rows = count_of(c, s, reduction);
  if (rows >= t->cores) return 1;
  double reduced = 1;
  for (int i = 0; i < reduction->nattr_axes; i++)
    reduced *= (double)ix_estimate(&c->g->ix, graph_axis_size(c->g, reduction->attr_axes[i]));
  if (keeps_rows_together(c, s->seen, reduction, reduced)) return fmax(rows, 1) / t->cores;
  for (int i = 0; i < c->n && reduced > GROUP_REDUCED_AGAIN; i++) {
    const node *n = c->nodes[i];
    for (int k = 0; k < n->naxes && c->stored[n->id]; k++)
      if (!node_has_axis(reduction, n->axes[k]) && !node_has_axis(reduction->in[0], n->axes[k]))
        return fmax(rows, 1) / t->cores;
  }
  return 1;
}

/// Several results of what maps make of a product's sums: what they share is in registers for the whole tile
/// while one after the other is stored, and beyond these goes through the caches and back.
static double spill_seconds(const candidate *c, const target_info *t, fuse_scratch *s) {
  enum { MOST = 4, BYTES = 2 * 4 };  // values of an element; more than the first two do not fit
  const node *dot = NULL;
  int stored = 0, shared = 1;
  if (!t->wgmma) return 0;
  for (int i = 0; i < c->n && !dot; i++)
    if (c->nodes[i]->op == OP_dot) dot = c->nodes[i];
  if (!dot || dot->contract) return 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    if (!op_is_map(n->op) || !node_same_axis_set(n, dot)) continue;
    stored += c->stored[n->id];
    int uses = 0;
    for (int k = i + 1; k < c->n; k++)
      for (int j = 0; j < c->nodes[k]->nin; j++) uses += c->nodes[k]->in[j] == n;
    shared += uses > 1;
  }
  if (stored < 2 || shared <= MOST) return 0;
  return (shared - 2) * count_of(c, s, dot) * BYTES / (t->l2_bytes_per_second * t->cores);
}

static double traffic_seconds(double bytes, const target_info *t) {
  bool cached = bytes <= (double)t->l2_bytes * (t->sm ? 1 : t->cores);  // a GPU shares its cache
  return bytes / (cached ? t->l2_bytes_per_second * t->cores : t->bytes_per_second);
}

double fuse_memory_seconds(double bytes, const target_info *t) {
  return traffic_seconds(bytes, t) + t->launch_seconds;
}

cost fuse_cost(const candidate *c, const target_info *t, fuse_scratch *s) {
  cost r = {0};
  const double *touched = fuse_input_bytes(c, s);
  for (int i = 0; i < s->inputs.len; i++) r.bytes_read += touched[s->inputs.data[i]];
  estimate e = count_evals(c, t, s);
  double work = 0;  // the peak counts a multiply-add as two; other operations reach half of it
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    bool contracts = op_get(n->op)->class == CLASS_contraction;
    double flops = fuse_node_flops(c, s, n, e.direct[n->id]);
    s->flops[n->id] = flops;
    s->work[n->id] =
        flops * (contracts ? contraction_share(t, n) : 2) * (e.panel[n->id] ? panel_penalty : 1);
    r.flops += flops;
    work += s->work[n->id];
    if (c->stored[n->id]) r.bytes_written += count_of(c, s, n) * dtype_bytes(n->type);
  }
  r.memory_seconds = traffic_seconds(r.bytes_read + r.bytes_written, t);
  r.compute_seconds = work / (t->flops_per_second * t->cores) + unaligned_seconds(&e) + packing_seconds(&e) +
                      spill_seconds(c, t, s);
  r.launch_seconds = t->launch_seconds;
  double share = busy_share(c, t, s, e.reduction);
  r.seconds = fmax(r.memory_seconds, r.compute_seconds) / share + r.launch_seconds;
  return r;
}

double fused_seconds(const graph *g, const target_info *t, arena *a) {
  fuse_scratch s = fuse_scratch_new(a, g->nodes.len);
  uint8_t *member = arena_array(a, uint8_t, g->nodes.len), *stored = arena_array(a, uint8_t, g->nodes.len);
  node **nodes = arena_array(a, node *, g->nodes.len);
  graph_stored(g, stored);
  double seconds = 0;
  for (int k = 0, id = g->nparams; k < g->nkernels; k++) {
    candidate c = {.g = g, .nodes = nodes, .member = member, .stored = stored};
    for (; id < g->nodes.len && g->nodes.data[id]->kernel == k; id++)
      nodes[c.n++] = g->nodes.data[id], member[id] = 1;
    seconds += fuse_cost(&c, t, &s).seconds;
    for (int i = 0; i < c.n; i++) member[nodes[i]->id] = 0;
  }
  return seconds;
}
