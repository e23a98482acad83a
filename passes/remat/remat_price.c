// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What it takes to keep each value of the forward pass for later phases, and to compute it again, in
// seconds of the fuse pass' cost model.
//
//   keep    nothing, where the fuse pass would have it in memory for the forward pass or joins the two;
//           else storing it; and loading it, once per kernel of a later phase that reads it
//   again   maps, gathers, reductions: their arithmetic, of which a part hides under the memory roof,
//           and loading what is not loaded anyway; products and scans: a kernel of their own, so that
//           their shapes decide
//
// Views, constants, and whatever else the fuse pass computes wherever it is read, is never kept, nor is
// what a checkpoint computes for itself, unless it cannot be computed again. Of keep(v) no copy is made.

#include "passes/remat/remat.h"

#include <math.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

typedef struct pricer {
  arena *a;
  const graph *g;
  const target_info *t;
  bool deterministic;
  fusion alone;         // every unit in a cluster of its own
  fusion base;          // the partition with everything kept
  node **in_base;       // by node id of g; other ids there
  bool *read_later;     // by node id: by a later phase, directly or through free nodes
  bool *leaves_region;  // by node id: it is in no checkpoint, or the forward pass reads it outside
} pricer;

static op_class class_of(const node *n) { return op_get(n->op)->class; }

/// The unit of the base partition that the node became; -1: it is none there.
static int base_unit(const pricer *p, int id) {
  const node *n = p->in_base[id];
  bool there = n->id < p->base.n && p->base.nodes[n->id] == n && is_unit(&p->base, n->id);
  return there ? n->id : -1;
}

/// The cluster computes values of the forward pass.
static bool is_forward(const fusion *f, int cluster) {
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    int unit = f->clusters[cluster].data[i];
    if (!f->nodes[unit]->phase && f->homes[unit].data[0] == cluster) return true;
  }
  return false;
}

static double seconds_of(const pricer *p, double bytes) { return bytes / p->t->bytes_per_second; }

static double keep_seconds(pricer *p, const node *n) {
  int unit = base_unit(p, n->id), later = 0;
  double once = seconds_of(p, node_bytes(p->g, n));
  if (n->op == OP_param) return 0;
  if (unit < 0) return once;
  ints readers = unit_reading_clusters(&p->base, unit);
  for (int i = 0; i < readers.len; i++) later += !is_forward(&p->base, readers.data[i]);
  bool anyway = p->base.returned[unit] || later < readers.len;
  return once * (later + (later && !anyway ? 1 : 0));
}

/// Results that would differ in their last bits, or whose calls count, are not computed twice.
static bool is_reproducible(const pricer *p, const node *n) {
  switch (class_of(n)) {
    case CLASS_opaque: return false;
    case CLASS_scatter: return !dtype_is_float(n->type);
    case CLASS_reduce:
    case CLASS_contraction:
    case CLASS_scan: return !p->deterministic || !dtype_is_float(n->type);
    default: return true;
  }
}

static bool may_be_copied(const pricer *p, const node *n) {
  return n->op != OP_param && !n->contract && !(n->flags & NODE_KEEP) && is_reproducible(p, n);
}

static void price_unit(pricer *p, remat_units *u, int id) {
  const node *n = p->g->nodes.data[id];
  u->bytes[id] = node_bytes(p->g, n);
  u->free[id] = p->alone.free[id];
  u->keep[id] = INFINITY;
  if (u->free[id]) return;
  if (!may_be_copied(p, n) || p->leaves_region[id]) u->keep[id] = keep_seconds(p, n);
  if (!may_be_copied(p, n)) u->fixed[id] = INFINITY;
  if (!may_be_copied(p, n)) return;
  candidate c = fusion_candidate(&p->alone, p->alone.homes[id].data[0], -1);
  cost r = fuse_cost(&c, p->t, &p->alone.scratch);
  bool own =
      class_of(n) == CLASS_contraction || class_of(n) == CLASS_scan || class_of(n) == CLASS_scatter;
  if (own) u->fixed[id] = r.seconds;
  else u->work[id] = r.compute_seconds;
}

/// Loading a value that no later phase loads anyway.
static void add_read(pricer *p, remat_units *u, int id, const ints *readers) {
  if (!readers->len || p->alone.free[id] || p->read_later[id]) return;
  remat_read r = {id, readers->data, readers->len, seconds_of(p, u->bytes[id])};
  vec_push(p->a, &u->reads, r);
}

static void find_operands(pricer *p, remat_units *u) {
  const graph *g = p->g;
  ints *readers = arena_array(p->a, ints, u->n);
  for (int id = 0; id < u->n; id++) {
    const node *n = g->nodes.data[id];
    u->first[id] = u->operands.len;
    for (int k = 0; !n->phase && k < n->nin; k++) {
      vec_push(p->a, &u->operands, n->in[k]->id);
      bool twice = k && n->in[0] == n->in[k];
      if (!u->fixed[id] && !twice) vec_push(p->a, &readers[n->in[k]->id], id);
    }
  }
  u->first[u->n] = u->operands.len;
  for (int id = 0; id < u->n; id++)
    if (!g->nodes.data[id]->phase) add_read(p, u, id, &readers[id]);
}

static void find_later_readers(pricer *p, remat_units *u) {
  const graph *g = p->g;
  p->read_later = arena_array(p->a, bool, u->n);
  p->leaves_region = arena_array(p->a, bool, u->n);
  for (int id = 0; id < u->n; id++)
    p->leaves_region[id] = !g->nodes.data[id]->region || p->alone.returned[id];
  for (int id = u->n - 1; id >= 0; id--) {
    const node *n = g->nodes.data[id];
    if (!p->alone.live[id]) continue;
    for (int k = 0; k < n->nin; k++) {
      int in = n->in[k]->id;
      if (n->phase || (p->alone.free[id] && p->read_later[id])) p->read_later[in] = true;
      if (n->phase && !n->in[k]->phase) u->need[in] = true;
      p->leaves_region[in] |= !n->phase && n->region != n->in[k]->region;
    }
  }
}

/// Divides copies of the graph. False: it cannot be done.
static bool divide(pricer *p, const pass_options *options) {
  diag_list *diags = arena_new(p->a, diag_list);
  diags->arena = p->a;
  pass_ctx alone = {graph_copy(p->a, p->g), p->a, options, diags}, base = alone;
  base.graph = graph_copy(p->a, p->g);
  p->in_base =
      arena_copy(p->a, base.graph->nodes.data, sizeof(node *) * (size_t)base.graph->nodes.len);
  fusion_init(&p->alone, &alone);
  return fusion_partition(&p->base, &base);
}

bool remat_price(arena *a, const graph *g, const pass_options *options, remat_units *u) {
  int n = g->nodes.len;
  pricer p = {.a = a, .g = g, .t = options->target, .deterministic = options->deterministic};
  *u = (remat_units){.n = n, .bandwidth = p.t->bytes_per_second};
  if (!divide(&p, options)) return false;
  u->first = arena_array(a, int, n + 1);
  u->need = arena_array(a, bool, n);
  u->free = arena_array(a, bool, n);
  u->bytes = arena_array(a, double, n);
  u->keep = arena_array(a, double, n);
  u->work = arena_array(a, double, n);
  u->fixed = arena_array(a, double, n);
  find_later_readers(&p, u);
  for (int id = 0; id < n; id++)
    if (!g->nodes.data[id]->phase && p.alone.live[id]) price_unit(&p, u, id);
  find_operands(&p, u);
  return true;
}

remat_problem remat_weigh(arena *a, const remat_units *u, double slack, double memory) {
  double *save = arena_array(a, double, u->n), *rec = arena_array(a, double, u->n);
  for (int i = 0; i < u->n; i++) {
    save[i] = u->keep[i];
    // What a param takes is taken anyway.
    if (u->keep[i] > 0) save[i] += memory * u->bytes[i] / u->bandwidth;
    rec[i] = u->fixed[i] + slack * u->work[i];
  }
  return (remat_problem){.units = u->n,
                         .first = u->first,
                         .operands = u->operands.data,
                         .need = u->need,
                         .save = save,
                         .rec = rec,
                         .reads = u->reads.data,
                         .nreads = u->reads.len};
}
