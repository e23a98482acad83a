// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What it takes to keep each value of the forward pass for later phases, and to compute it again, in
// seconds of the fuse pass' cost model: by trial, in the kernels that there are with everything kept.
//
//        forward                    later: a kernel that reads v
//   ┌─ u ─ v ─ store v ─┐           ┌─ load v ─ ... ─┐  keep:  the store, and each load, as far as they do
//   └───────────────────┘           └────────────────┘         not hide behind the arithmetic of the kernel
//                                   ┌─ load u ─ v ─ ... ─┐
//                                   └────────────────────┘
//                                   again: what the kernel takes with v in it, and without
//
// Where v may not join what reads it, or would be computed more often there than a copy of it takes, it
// is a kernel of its own, and so are products and scans: then their shapes decide. What is in front of
// it is tried in that kernel. Kernels that one kernel of the forward pass would be again share a launch.
//
// Views, constants, and whatever else the fuse pass computes wherever it is read, is never kept, nor is
// what a checkpoint computes for itself, unless it cannot be computed again. Of keep(v) no copy is made.

#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

/// Values that are tried in one kernel at most.
enum { MAX_TRIED = 64 };

typedef struct pricer {
  arena *a;
  const graph *g;
  const target_info *t;
  bool deterministic;
  fusion alone;         // every unit in a cluster of its own
  fusion base;          // the partition with everything kept
  node **in_base;       // by node id of g; other ids there
  int *of_base;         // by id there: that of g; -1 a copy that the partition made
  bool *read_later;     // by node id: by a later phase, directly or through free nodes
  bool *leaves_region;  // by node id: it is in no checkpoint, or the forward pass reads it outside
  bool *copyable;       // by node id
  bool *tried;          // by node id: there is a kernel that it would be computed in
  bool *own;            // by node id: in one of its own
  double *loads;        // by node id: the part of `keep` that is loading it, hidden
  uint8_t *member, *stored;  // by id there, of the last candidate
  node **nodes;
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

// ---- kernels on trial

/// Units of the base partition, ascending, looked at as a kernel.
typedef struct host {
  ints units;
  ints stored;
  bool closed;  // under a contract: nothing may join
  cost now;
} host;

static void mark(pricer *p, int id, int *n) {
  if (p->member[id]) return;
  p->member[id] = 1;
  p->nodes[(*n)++] = p->base.nodes[id];
  const node *of = p->base.nodes[id];
  for (int k = 0; k < of->nin; k++)
    if (p->base.free[of->in[k]->id]) mark(p, of->in[k]->id, n);
}

static int by_id(const void *a, const void *b) {
  int x = (*(node *const *)a)->id, y = (*(node *const *)b)->id;
  return (x > y) - (x < y);
}

static candidate candidate_of(pricer *p, const host *h) {
  int n = 0;
  for (int i = 0; i < h->units.len; i++) mark(p, h->units.data[i], &n);
  for (int i = 0; i < h->stored.len; i++) p->stored[h->stored.data[i]] = 1;
  qsort(p->nodes, (size_t)n, sizeof *p->nodes, by_id);
  return (candidate){.g = p->base.g,
                     .nodes = p->nodes,
                     .n = n,
                     .member = p->member,
                     .stored = p->stored,
                     .target = p->t};
}

static void forget(pricer *p, const candidate *c) {
  for (int i = 0; i < c->n; i++) p->member[c->nodes[i]->id] = p->stored[c->nodes[i]->id] = 0;
}

/// False: it is no kernel. `legal` null: it is known to be one.
static bool ask(pricer *p, const host *h, bool *legal, cost *out) {
  candidate c = candidate_of(p, h);
  bool ok = !legal || fuse_legal(&c, &p->base.scratch, NULL).ok;
  if (ok) *out = fuse_cost(&c, p->t, &p->base.scratch);
  forget(p, &c);
  if (legal) *legal = ok;
  return ok;
}

static host host_of_cluster(pricer *p, int cluster) {
  fusion *f = &p->base;
  host h = {.closed = cluster_contract(f, cluster) != 0};
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    int unit = f->clusters[cluster].data[i];
    vec_push(p->a, &h.units, unit);
    if (f->homes[unit].data[0] == cluster && unit_is_stored(f, unit, -1, -1))
      vec_push(p->a, &h.stored, unit);
  }
  ask(p, &h, NULL, &h.now);
  return h;
}

static host host_of_unit(pricer *p, int unit) {
  host h = {0};
  vec_push(p->a, &h.units, unit);
  vec_push(p->a, &h.stored, unit);
  ask(p, &h, NULL, &h.now);
  return h;
}

static bool has(const ints *sorted, int x) {
  for (int i = 0; i < sorted->len; i++)
    if (sorted->data[i] == x) return true;
  return false;
}

static void insert(arena *a, ints *sorted, int x) {
  if (has(sorted, x)) return;
  vec_push(a, sorted, x);
  for (int i = sorted->len - 1; i > 0 && sorted->data[i - 1] > x; i--) {
    sorted->data[i] = sorted->data[i - 1];
    sorted->data[i - 1] = x;
  }
}

/// Of the forward pass, from memory.
static void add_reads(pricer *p, const host *h, int unit, ints *reads) {
  const ints *deps = &p->base.deps[unit];
  for (int i = 0; i < deps->len; i++)
    if (!p->base.nodes[deps->data[i]]->phase && !has(&h->units, deps->data[i]))
      insert(p->a, reads, deps->data[i]);
}

static ints reads_of(pricer *p, const host *h) {
  ints reads = {0};
  for (int i = 0; i < h->units.len; i++) add_reads(p, h, h->units.data[i], &reads);
  return reads;
}

/// What of the arithmetic does not hide behind the memory.
static double overhang(const cost *c) { return c->seconds - c->launch_seconds - c->memory_seconds; }

/// What a kernel gains when it need not move these bytes.
static double traffic_seconds(const cost *c, double bytes) {
  double all = c->bytes_read + c->bytes_written;
  if (!(all > 0)) return 0;
  double part = c->memory_seconds * fmin(bytes / all, 1);
  return fmax(c->memory_seconds, c->compute_seconds) -
         fmax(c->memory_seconds - part, c->compute_seconds);
}

static double seconds_of(const pricer *p, double bytes) { return bytes / p->t->bytes_per_second; }

/// What it takes as a kernel that stores it.
static double own_seconds(pricer *p, int unit) { return host_of_unit(p, unit).now.seconds; }

/// Whether v, which h reads, joins it; then h has it.
static bool joins(pricer *p, remat_units *u, host *h, int v, int id) {
  host with = {.stored = h->stored};
  for (int i = 0; i < h->units.len; i++) vec_push(p->a, &with.units, h->units.data[i]);
  insert(p->a, &with.units, v);
  bool legal;
  if (h->closed || !ask(p, &with, &legal, &with.now)) return false;
  double over = fmax(overhang(&with.now) - overhang(&h->now), 0);
  if (over > 0 && over > own_seconds(p, v)) return false;
  double work = fmax(with.now.compute_seconds - h->now.compute_seconds, over);
  u->over[id] += over;
  u->work[id] += work;
  *h = with;
  return true;
}

/// Tries in a kernel what it reads, what these are made of, and so on.
static void try_in(pricer *p, remat_units *u, host *h) {
  ints reads = reads_of(p, h);
  for (int tries = 0; reads.len; tries++) {
    int v = reads.data[--reads.len], id = p->of_base[v];
    if (id < 0 || !p->copyable[id]) continue;
    p->tried[id] = true;
    if (p->own[id]) continue;
    if (tries < MAX_TRIED && joins(p, u, h, v, id)) add_reads(p, h, v, &reads);
    else p->own[id] = true;
  }
}

// ---- keeping

static void price_loads(pricer *p, remat_units *u, const host *h) {
  candidate c = candidate_of(p, h);
  const double *touched = fuse_input_bytes(&c, &p->base.scratch);
  forget(p, &c);
  ints reads = reads_of(p, h);
  for (int i = 0; i < reads.len; i++) {
    int id = p->of_base[reads.data[i]];
    if (id < 0 || isinf(u->keep[id])) continue;
    double bytes = touched[reads.data[i]], hidden = traffic_seconds(&h->now, bytes);
    u->keep[id] += seconds_of(p, bytes);
    u->kept_hidden[id] += hidden;
    p->loads[id] += hidden;
  }
}

/// Storing it, where the forward pass would not.
static void price_store(pricer *p, remat_units *u, int id) {
  int unit = base_unit(p, id), later = 0;
  if (unit < 0 || isinf(u->keep[id])) return;
  ints readers = unit_reading_clusters(&p->base, unit);
  for (int i = 0; i < readers.len; i++) later += !is_forward(&p->base, readers.data[i]);
  u->anyway[id] = p->base.returned[unit] || later < readers.len;
  if (u->anyway[id]) return;
  host home = host_of_cluster(p, p->base.homes[unit].data[0]);
  u->keep[id] += seconds_of(p, u->bytes[id]);
  u->kept_hidden[id] += traffic_seconds(&home.now, u->bytes[id]);
}

// ---- computing again

static bool is_sum_of_floats(const node *n) {
  op_class c = class_of(n);
  return (c == CLASS_reduce || c == CLASS_contraction || c == CLASS_scan) &&
         dtype_is_float(n->type);
}

/// Results that would differ in their last bits, or whose calls count, are not computed twice. Of a
/// product or scan the kernel may be the same once more, which is asked when there is a plan.
static bool is_reproducible(const pricer *p, const node *n) {
  switch (class_of(n)) {
    case CLASS_opaque: return false;
    case CLASS_scatter: return !dtype_is_float(n->type);
    case CLASS_reduce: return !p->deterministic || !dtype_is_float(n->type);
    default: return true;
  }
}

static bool may_be_copied(const pricer *p, const node *n) {
  return n->op != OP_param && !n->contract && !(n->flags & NODE_KEEP) && is_reproducible(p, n);
}

static bool is_own_kernel(const node *n) {
  op_class c = class_of(n);
  return c == CLASS_contraction || c == CLASS_scan || c == CLASS_scatter;
}

/// Before anything is tried.
static void open_unit(pricer *p, remat_units *u, int id) {
  const node *n = p->g->nodes.data[id];
  u->bytes[id] = node_bytes(p->g, n);
  u->held[id] = n->op == OP_param || p->alone.returned[id];
  u->keep[id] = INFINITY;
  if (u->free[id]) return;
  bool copyable = may_be_copied(p, n);
  if (!copyable || p->leaves_region[id]) u->keep[id] = 0;
  if (!copyable) u->fixed[id] = INFINITY;
  p->copyable[id] = copyable;
  p->own[id] = is_own_kernel(n);
  u->delicate[id] = p->deterministic && is_sum_of_floats(n);
}

/// A unit that the partition has no place for: a copy in front of it hides it, or it is no unit there.
static void price_alone(pricer *p, remat_units *u, int id) {
  candidate c = fusion_candidate(&p->alone, p->alone.homes[id].data[0], -1);
  cost r = fuse_cost(&c, p->t, &p->alone.scratch);
  u->flops[id] = r.flops;
  if (!p->copyable[id] || p->tried[id]) return;
  if (p->own[id]) u->fixed[id] = r.seconds;
  else u->work[id] = r.compute_seconds;
}

static void price_own_kernel(pricer *p, remat_units *u, int id) {
  int unit = base_unit(p, id);
  if (unit < 0 || !p->copyable[id] || !p->own[id] || !p->tried[id]) return;
  host h = host_of_unit(p, unit);
  bool alone = is_own_kernel(p->g->nodes.data[id]);
  u->fixed[id] = h.now.seconds - (alone ? 0 : h.now.launch_seconds) + p->loads[id];
  u->over[id] = u->work[id] = 0;
  u->kernel[id] = true;
  try_in(p, u, &h);
}

/// Kernels that are one kernel of the forward pass are launched once.
static void find_groups(pricer *p, remat_units *u) {
  ints *members = arena_array(p->a, ints, p->base.nclusters);
  for (int id = 0; id < u->n; id++) {
    int unit = u->kernel[id] && !is_own_kernel(p->g->nodes.data[id]) ? base_unit(p, id) : -1;
    if (unit >= 0) vec_push(p->a, &members[p->base.homes[unit].data[0]], id);
  }
  for (int c = 0; c < p->base.nclusters; c++) {
    if (!members[c].len) continue;
    remat_group group = {members[c].data, members[c].len, p->t->launch_seconds};
    vec_push(p->a, &u->groups, group);
  }
}

// ---- all

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
static bool divide(pricer *p, const pass_options *options, pass_ctx *base_ctx) {
  diag_list *diags = arena_new(p->a, diag_list);
  diags->arena = p->a;
  pass_ctx alone = {graph_copy(p->a, p->g), p->a, options, diags}, base = alone;
  base.graph = graph_copy(p->a, p->g);
  p->in_base =
      arena_copy(p->a, base.graph->nodes.data, sizeof(node *) * (size_t)base.graph->nodes.len);
  fusion_init(&p->alone, &alone);
  if (!fusion_partition(&p->base, &base)) return false;
  *base_ctx = base;
  p->of_base = arena_array(p->a, int, p->base.n);
  for (int i = 0; i < p->base.n; i++) p->of_base[i] = -1;
  for (int id = 0; id < p->g->nodes.len; id++) {
    int unit = base_unit(p, id);
    if (unit >= 0) p->of_base[unit] = id;
  }
  return true;
}

static void allocate(pricer *p, remat_units *u) {
  arena *a = p->a;
  int n = u->n;
  p->read_later = arena_array(a, bool, n);
  p->leaves_region = arena_array(a, bool, n);
  p->copyable = arena_array(a, bool, n);
  p->tried = arena_array(a, bool, n);
  p->own = arena_array(a, bool, n);
  p->loads = arena_array(a, double, n);
  p->member = arena_array(a, uint8_t, p->base.n);
  p->stored = arena_array(a, uint8_t, p->base.n);
  p->nodes = arena_array(a, node *, p->base.n);
  u->first = arena_array(a, int, n + 1);
  u->need = arena_array(a, bool, n);
  u->free = arena_copy(a, p->alone.free, sizeof(bool) * (size_t)n);
  u->held = arena_array(a, bool, n);
  u->anyway = arena_array(a, bool, n);
  u->kernel = arena_array(a, bool, n);
  u->delicate = arena_array(a, bool, n);
  u->bytes = arena_array(a, double, n);
  u->flops = arena_array(a, double, n);
  u->keep = arena_array(a, double, n);
  u->kept_hidden = arena_array(a, double, n);
  u->work = arena_array(a, double, n);
  u->over = arena_array(a, double, n);
  u->fixed = arena_array(a, double, n);
}

static bool is_priced(const pricer *p, int id) {
  return !p->g->nodes.data[id]->phase && p->alone.live[id];
}

bool remat_price(arena *a, const graph *g, const pass_options *options, remat_units *u) {
  pricer p = {.a = a, .g = g, .t = options->target, .deterministic = options->deterministic};
  *u = (remat_units){.n = g->nodes.len, .bandwidth = p.t->bytes_per_second};
  pass_ctx base;
  if (!divide(&p, options, &base)) return false;
  allocate(&p, u);
  find_later_readers(&p, u);
  for (int id = 0; id < u->n; id++)
    if (is_priced(&p, id)) open_unit(&p, u, id);
  for (int c = 0; c < p.base.nclusters; c++) {
    if (!p.base.clusters[c].len || is_forward(&p.base, c)) continue;
    host h = host_of_cluster(&p, c);
    price_loads(&p, u, &h);
    try_in(&p, u, &h);
  }
  for (int id = u->n - 1; id >= 0; id--)
    if (is_priced(&p, id)) price_own_kernel(&p, u, id);
  for (int id = 0; id < u->n; id++) {
    if (!is_priced(&p, id) || u->free[id] || g->nodes.data[id]->op == OP_param) continue;
    price_store(&p, u, id);
    price_alone(&p, u, id);
  }
  find_groups(&p, u);
  find_operands(&p, u);
  // Last: it writes the kernels.
  u->kept = remat_judge_divided(&p.base, &base, a);
  return true;
}

remat_problem remat_weigh(arena *a, const remat_units *u, double slack, double memory) {
  double *save = arena_array(a, double, u->n), *rec = arena_array(a, double, u->n);
  for (int i = 0; i < u->n; i++) {
    save[i] = u->keep[i];
    if (!isinf(save[i])) save[i] = u->kept_hidden[i] + slack * (u->keep[i] - u->kept_hidden[i]);
    // What a param or a result takes is taken anyway.
    if (!u->held[i]) save[i] += memory * u->bytes[i] / u->bandwidth;
    rec[i] = u->fixed[i] + u->over[i] + slack * (u->work[i] - u->over[i]);
  }
  return (remat_problem){.units = u->n,
                         .first = u->first,
                         .operands = u->operands.data,
                         .need = u->need,
                         .save = save,
                         .rec = rec,
                         .groups = u->groups.data,
                         .ngroups = u->groups.len,
                         .reads = u->reads.data,
                         .nreads = u->reads.len};
}

void remat_forbid(remat_units *u, int id) {
  u->fixed[id] = INFINITY;
  if (isinf(u->keep[id])) u->keep[id] = u->kept_hidden[id] = 2 * u->bytes[id] / u->bandwidth;
}
