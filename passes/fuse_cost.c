// What a kernel costs: a roofline of the bytes it moves and the flops it computes, recomputation
// included. Sizes that are still symbols count as their estimates.
#include <math.h>

#include "passes/fuse.h"

// Waking the threads for one kernel and walking its grid, measured on a spinning pool.
static const double launch_seconds = 1.5e-6;
// A contraction computes an operand's elements again for each block of this many elements of the
// other side, because panels are packed once per block.
static const double contract_block = 512;
// A value that lacks the lane axis is computed once per tile along it.
static const double lane_extent = 64;

const target_info *target_or_default(const pass_options *options) {
  static const target_info generic = {
      .name = {"cpu", 3}, .vector_bytes = 32, .vector_registers = 16, .l1_bytes = 32 << 10,
      .l2_bytes = 1 << 20, .l3_bytes = 32 << 20, .cores = 2, .flops_per_second = 100e9,
      .bytes_per_second = 20e9, .l2_bytes_per_second = 80e9};
  return options && options->target ? options->target : &generic;
}

double node_count(const graph *g, const node *n) {
  double count = 1;
  for (int i = 0; i < n->naxes; i++)
    count *= (double)ix_estimate(&g->ix, graph_axis_size(g, n->axes[i]));
  return count;
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

/// How often operand k is evaluated for `evals` evaluations of n.
static double operand_evals(const candidate *c, const node *n, int k, double evals, int lanes) {
  const graph *g = c->g;
  const node *in = n->in[k];
  double count = node_count(g, in);
  switch (op_get(n->op)->class) {
    case CLASS_reduce:
    case CLASS_scan: return count;  // finished rows are kept, whoever reads them
    case CLASS_contract: {
      double other = 1;  // elements of the result per element of this operand's free axes
      for (int i = 0; i < n->naxes; i++)
        if (!node_has_axis(in, n->axes[i]))
          other *= (double)ix_estimate(&g->ix, graph_axis_size(g, n->axes[i]));
      return count * fmax(1, other / contract_block);
    }
    case CLASS_map:
      if (!in->naxes) return 1;
      if (in->naxes == n->naxes) return evals;
      return node_has_axis(in, lanes) ? evals : fmax(fmin(count, evals), evals / lane_extent);
    case CLASS_gather:
    case CLASS_scatter: return k == 0 ? 0 : fmin(count, evals);
    default: return k == 1 && n->op == OP_pad ? 1 : evals;  // views: one per element of the view
  }
}

/// Evaluations of each member, by demand from the stored values.
static double *count_evals(const candidate *c, arena *a) {
  int lanes = lane_axis(c);
  double *direct = arena_array(a, double, c->g->nodes.len);  // memoised uses: the largest counts
  double *viewed = arena_array(a, double, c->g->nodes.len);  // each view asks again
  for (int i = c->n - 1; i >= 0; i--) {
    const node *n = c->nodes[i];
    double evals = direct[n->id] + viewed[n->id];
    if (c->stored[n->id]) evals = fmax(evals, node_count(c->g, n));
    direct[n->id] = evals;
    for (int k = 0; k < n->nin; k++) {
      int id = n->in[k]->id;
      if (!c->member[id]) continue;
      double wanted = operand_evals(c, n, k, evals, lanes);
      if (op_get(n->op)->class == CLASS_view) viewed[id] += wanted;
      else direct[id] = fmax(direct[id], wanted);
    }
  }
  return direct;
}

static double node_flops(const candidate *c, const node *n, double evals) {
  const op_info *info = op_get(n->op);
  switch (info->class) {
    case CLASS_contract:
    case CLASS_reduce:
    case CLASS_scan: {
      double count = node_count(c->g, n);
      for (int i = 0; i < n->nattr_axes && info->class != CLASS_scan; i++)
        count *= (double)ix_estimate(&c->g->ix, graph_axis_size(c->g, n->attr_axes[i]));
      return count * info->cost;
    }
    case CLASS_scatter: return node_count(c->g, n->in[2]) * info->cost;
    default: return evals * info->cost;
  }
}

static double bytes_read(const candidate *c, arena *a) {
  double *by_node = arena_array(a, double, c->g->nodes.len), total = 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    for (int k = 0; k < n->nin; k++) {
      const node *in = n->in[k];
      if (c->member[in->id]) continue;
      double whole = node_bytes(c->g, in), touched = whole;
      bool partial = n->op == OP_view || (n->op == OP_gather && k == 0);
      if (partial) touched = fmin(whole, node_count(c->g, n) * dtype_bytes(in->type));
      double more = fmin(touched, whole - by_node[in->id]);
      by_node[in->id] += more;
      total += more;
    }
  }
  return total;
}

cost fuse_cost(const candidate *c, const target_info *t, arena *scratch) {
  cost r = {.bytes_read = bytes_read(c, scratch)};
  double *evals = count_evals(c, scratch), multiply_adds = 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    double flops = node_flops(c, n, evals[n->id]);
    r.flops += flops;
    if (op_get(n->op)->class == CLASS_contract) multiply_adds += flops;
    if (c->stored[n->id]) r.bytes_written += node_bytes(c->g, n);
  }
  double bytes = r.bytes_read + r.bytes_written;
  bool cached = bytes <= (double)t->l2_bytes * t->cores;
  double bandwidth = cached ? t->l2_bytes_per_second * t->cores : t->bytes_per_second;
  // The peak counts a multiply-add as two; other operations reach half of it.
  double work = multiply_adds + 2 * (r.flops - multiply_adds);
  r.memory_seconds = bytes / bandwidth;
  r.compute_seconds = work / (t->flops_per_second * t->cores);
  r.launch_seconds = launch_seconds;
  r.seconds = fmax(r.memory_seconds, r.compute_seconds) + r.launch_seconds;
  return r;
}
