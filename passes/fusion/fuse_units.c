// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Units and clusters of the fuse pass: who reads whom, which cluster computes what, and what two would
// be as one.
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

enum { MAX_WALKED_WORK = 400 };  // per element of a row, in the costs of ir/ops.def

static op_class class_of(const node *n) { return op_get(n->op)->class; }

static void push_unique(arena *a, ints *v, int x) {
  for (int i = 0; i < v->len; i++)
    if (v->data[i] == x) return;
  vec_push(a, v, x);
}

static void insert_sorted(arena *a, ints *v, int x) {
  vec_push(a, v, x);
  for (int i = v->len - 1; i > 0 && v->data[i - 1] > v->data[i]; i--) {
    int t = v->data[i];
    v->data[i] = v->data[i - 1];
    v->data[i - 1] = t;
  }
}

static void drop(ints *v, int x) {
  int k = 0;
  for (int i = 0; i < v->len; i++)
    if (v->data[i] != x) v->data[k++] = v->data[i];
  v->len = k;
}

static int by_number(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}

void ints_sort_unique(ints *v) {
  if (v->len) qsort(v->data, (size_t)v->len, sizeof(int), by_number);
  int n = 0;
  for (int i = 0; i < v->len; i++)
    if (!n || v->data[n - 1] != v->data[i]) v->data[n++] = v->data[i];
  v->len = n;
}

void heap_push(arena *a, ints *heap, int x) {
  vec_push(a, heap, x);
  int i = heap->len - 1;
  for (; i > 0 && heap->data[(i - 1) / 2] > x; i = (i - 1) / 2) heap->data[i] = heap->data[(i - 1) / 2];
  heap->data[i] = x;
}

int heap_pop(ints *heap) {
  int least = heap->data[0], x = heap->data[--heap->len], i = 0;
  for (int child; (child = 2 * i + 1) < heap->len; i = child) {
    if (child + 1 < heap->len && heap->data[child + 1] < heap->data[child]) child++;
    if (heap->data[child] >= x) break;
    heap->data[i] = heap->data[child];
  }
  heap->data[i] = x;
  return least;
}

// ---- setting up

/// A number that follows from sizes and constants alone, such as rsqrt(D).
static bool is_number_of_sizes(const fusion *f, const node *n) {
  if (!op_is_map(n->op) || n->naxes) return false;
  for (int k = 0; k < n->nin; k++)
    if (!f->free[n->in[k]->id]) return false;
  return true;
}

static bool can_be_free(const fusion *f, const node *n) {
  switch (class_of(n)) {
    case CLASS_view: return !node_is_copy(f->g, n);
    case CLASS_leaf: return n->op != OP_param;
    default: break;
  }
  if (is_number_of_sizes(f, n)) return true;
  return n->op == OP_cast && dtype_cast_is_exact(n->in[0]->type, n->type) &&
         dtype_bytes(n->type) > dtype_bytes(n->in[0]->type);
}

/// Operands that must be buffers as they are.
static void force_buffers(fusion *f, const node *n) {
  if (n->op == OP_call)
    for (int k = 0; k < n->nin; k++) f->free[n->in[k]->id] = false;
  if (n->op == OP_scatter_add && !node_is_one_number(n->in[0])) f->free[n->in[0]->id] = false;
  if (node_gathers_buffer(n)) {
    const node *from = n->in[0];
    while (from->op == OP_view && f->free[from->id]) from = from->in[0];
    f->free[from->id] = false;
  }
}

static void find_live(fusion *f) {
  for (int i = 0; i < f->g->outputs.len; i++) {
    f->live[f->g->outputs.data[i].value->id] = true;
    f->returned[f->g->outputs.data[i].value->id] = true;
  }
  for (int id = f->n - 1; id >= 0; id--)
    for (int k = 0; f->live[id] && k < f->nodes[id]->nin; k++)
      f->live[f->nodes[id]->in[k]->id] = true;
}

bool is_unit(const fusion *f, int id) {
  return f->live[id] && !f->free[id] && f->nodes[id]->op != OP_param;
}

static void find_deps(fusion *f, const node *n, ints *deps) {
  for (int k = 0; k < n->nin; k++) {
    const node *in = n->in[k];
    if (f->free[in->id]) {
      ints *through = &f->deps[in->id];
      for (int i = 0; i < through->len; i++) push_unique(f->a, deps, through->data[i]);
    } else if (in->op != OP_param) {
      push_unique(f->a, deps, in->id);
    }
  }
}

/// A map of finished rows has their axes: it is best computed where the rows are.
static int row_source(const fusion *f, int id) {
  const node *n = f->nodes[id];
  if (op_is_reduce(n->op)) return id;
  if (!op_is_map(n->op)) return -1;
  for (int i = 0; i < f->deps[id].len; i++) {
    int dep = f->deps[id].data[i];
    if (f->rows[dep] >= 0 && node_same_axis_set(f->nodes[dep], n)) return f->rows[dep];
  }
  return -1;
}

void fusion_init(fusion *f, pass_ctx *ctx) {
  graph *g = ctx->graph;
  *f = (fusion){.g = g, .a = ctx->scratch, .target = target_or_default(ctx->options)};
  f->off = rules_switched_off(ctx->options);
  f->apart = ctx->options && ctx->options->phases_apart;
  f->ordered = ctx->options && ctx->options->deterministic;
  f->n = g->nodes.len;
  f->nodes = arena_copy(f->a, g->nodes.data, sizeof(node *) * (size_t)f->n);
  f->live = arena_array(f->a, bool, f->n);
  f->returned = arena_array(f->a, bool, f->n);
  f->free = arena_array(f->a, bool, f->n);
  f->deps = arena_array(f->a, ints, f->n);
  f->users = arena_array(f->a, ints, f->n);
  f->homes = arena_array(f->a, ints, f->n);
  f->clusters = arena_array(f->a, ints, f->n);
  f->rows = arena_array(f->a, int, f->n);
  f->facts = arena_array(f->a, cluster_facts, f->n);
  f->inputs = arena_array(f->a, cluster_inputs, f->n);
  f->epoch = 1;
  f->asked[0] = f->asked[1] = -2;
  f->member = arena_array(f->a, uint8_t, f->n);
  f->stored = arena_array(f->a, uint8_t, f->n);
  f->candidate = arena_array(f->a, node *, f->n);
  f->region = arena_array(f->a, uint8_t, f->n);
  f->level = arena_array(f->a, int, f->n);
  f->scratch = fuse_scratch_new(f->a, f->n);
  find_live(f);
  for (int id = 0; id < f->n; id++) f->free[id] = can_be_free(f, f->nodes[id]) && !f->returned[id];
  for (int id = f->n - 1; id >= 0; id--)
    if (f->live[id]) force_buffers(f, f->nodes[id]);
  for (int id = 0; id < f->n; id++) {
    if (!f->live[id] || f->nodes[id]->op == OP_param) continue;
    find_deps(f, f->nodes[id], &f->deps[id]);
    if (f->free[id]) continue;
    f->rows[id] = row_source(f, id);
    f->recomputes |= (f->nodes[id]->flags & NODE_RECOMPUTED) != 0;
    for (int i = 0; i < f->deps[id].len; i++)
      vec_push(f->a, &f->users[f->deps[id].data[i]], id);
    int cluster = f->nclusters++;
    vec_push(f->a, &f->clusters[cluster], id);
    vec_push(f->a, &f->homes[id], cluster);
  }
  order_init(f);
}

// ---- questions

bool in_cluster(const fusion *f, int unit, int cluster) {
  for (int i = 0; i < f->homes[unit].len; i++)
    if (f->homes[unit].data[i] == cluster) return true;
  return false;
}

bool unit_is_stored(const fusion *f, int unit, int a, int b) {
  if (f->returned[unit]) return true;
  bool joined = in_cluster(f, unit, a) || in_cluster(f, unit, b);
  for (int i = 0; i < f->users[unit].len; i++) {
    const ints *homes = &f->homes[f->users[unit].data[i]];
    for (int k = 0; k < homes->len; k++) {
      int home = homes->data[k];
      if (joined && (home == a || home == b)) continue;
      if (!in_cluster(f, unit, home)) return true;
    }
  }
  return false;
}

static void mark(fusion *f, int id) {
  if (f->member[id]) return;
  f->member[id] = 1;
  vec_push(f->a, &f->marked, id);
  const node *n = f->nodes[id];
  for (int k = 0; k < n->nin; k++)
    if (f->free[n->in[k]->id]) mark(f, n->in[k]->id);
}

/// In order; where the ids lie close together a walk over all of them is faster than sorting.
static void sort_marked(fusion *f) {
  ints *marked = &f->marked;
  int low = f->n, high = -1, n = 0;
  for (int i = 0; i < marked->len; i++) {
    if (marked->data[i] < low) low = marked->data[i];
    if (marked->data[i] > high) high = marked->data[i];
  }
  if (marked->len < (high - low) / 16) {
    qsort(marked->data, (size_t)marked->len, sizeof(int), by_number);
    return;
  }
  for (int id = low; id <= high; id++)
    if (f->member[id]) marked->data[n++] = id;
}

static void find_candidate(fusion *f, int a, int b) {
  for (int i = 0; i < f->marked.len; i++)
    f->member[f->marked.data[i]] = f->stored[f->marked.data[i]] = 0;
  f->marked.len = 0;
  const int pair[2] = {a, b};
  for (int i = 0; i < 2; i++) {
    if (pair[i] < 0) continue;
    const ints *units = &f->clusters[pair[i]];
    for (int k = 0; k < units->len; k++) {
      int u = units->data[k], owner = f->homes[u].data[0];
      mark(f, u);
      if ((owner == a || owner == b) && unit_is_stored(f, u, a, b)) f->stored[u] = 1;
    }
  }
  sort_marked(f);
  f->asked_nodes += f->marked.len;
  for (int i = 0; i < f->marked.len; i++) f->candidate[i] = f->nodes[f->marked.data[i]];
}

candidate fusion_candidate(fusion *f, int a, int b) {
  if (f->asked[0] != a || f->asked[1] != b) {
    find_candidate(f, a, b);
    f->union_cost.seconds = -1;
  }
  f->asked[0] = a, f->asked[1] = b;
  int number = cluster_contract(f, a);
  return (candidate){.g = f->g, .promise = number ? &f->g->contracts.data[number - 1] : NULL,
                     .n = f->marked.len, .nodes = f->candidate, .member = f->member,
                     .stored = f->stored, .target = f->target};
}

/// The first phase that the cluster computes values again for; MAX_PHASE + 1: it does not.
static int recomputed_phase(const fusion *f, int cluster) {
  int first = MAX_PHASE + 1;
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    const node *n = f->nodes[f->clusters[cluster].data[i]];
    if (n->flags & NODE_RECOMPUTED && n->phase < first) first = n->phase;
  }
  return first;
}

/// The cluster has units of its own of a phase before this one.
static bool has_earlier(const fusion *f, int cluster, int phase) {
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    int unit = f->clusters[cluster].data[i];
    if (f->homes[unit].data[0] == cluster && f->nodes[unit]->phase < phase) return true;
  }
  return false;
}

bool units_apart(const fusion *f, int a, int b) {
  return f->apart && (f->nodes[a]->phase > 0) != (f->nodes[b]->phase > 0);
}

bool clusters_apart(const fusion *f, int a, int b) {
  // Those of one cluster are of one side.
  bool units = f->clusters[a].len && f->clusters[b].len;
  if (units && units_apart(f, f->clusters[a].data[0], f->clusters[b].data[0])) return true;
  if (!f->recomputes) return false;
  int phase_a = recomputed_phase(f, a), phase_b = recomputed_phase(f, b);
  return (phase_a <= MAX_PHASE && has_earlier(f, b, phase_a)) ||
         (phase_b <= MAX_PHASE && has_earlier(f, a, phase_b));
}

op_class cluster_anchor(fusion *f, int cluster) {
  cluster_facts *facts = &f->facts[cluster];
  if (facts->has_anchor) return facts->anchor;
  facts->has_anchor = true;
  facts->anchor = CLASS_map;
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    op_class c = class_of(f->nodes[f->clusters[cluster].data[i]]);
    if (c == CLASS_contraction || c == CLASS_scan || c == CLASS_scatter || c == CLASS_opaque)
      return facts->anchor = c;
    if (c == CLASS_reduce) facts->anchor = c;
  }
  return facts->anchor;
}

/// Rows that do not fit into the registers of a GPU's block are walked once for each reduction that
/// waits for another, and every walk computes again what those before it did.
static verdict walks_fit(fusion *f, const candidate *c) {
  int *level = f->level, walks = 0;
  int64_t work = 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    level[n->id] = 0;
    for (int k = 0; k < n->nin; k++)
      if (c->member[n->in[k]->id] && level[n->in[k]->id] > level[n->id])
        level[n->id] = level[n->in[k]->id];
    if (class_of(n) == CLASS_reduce && ++level[n->id] > walks) walks = level[n->id];
  }
  for (int i = 0; i < c->n; i++)
    work += (int64_t)op_get(c->nodes[i]->op)->cost * (walks + 1 - level[c->nodes[i]->id]);
  if (work <= MAX_WALKED_WORK) return (verdict){.ok = true, .node = -1};
  return (verdict){.why = REASON_too_large, .node = -1};
}

verdict clusters_legal(fusion *f, int a, int b, group_kind *kind) {
  if (b >= 0 && (cluster_contract(f, a) || cluster_contract(f, b)))
    return (verdict){.why = REASON_contract, .node = -1};
  candidate c = fusion_candidate(f, a, b);
  group_kind found;
  verdict v = fuse_legal(&c, &f->scratch, &found);
  if (kind) *kind = found;
  return v.ok && found == GROUP_REDUCE && f->target->sm ? walks_fit(f, &c) : v;
}

ints unit_reading_clusters(fusion *f, int unit) {
  ints found = {0};
  for (int i = 0; i < f->users[unit].len; i++) {
    const ints *homes = &f->homes[f->users[unit].data[i]];
    for (int k = 0; k < homes->len; k++)
      if (!in_cluster(f, unit, homes->data[k])) push_unique(f->a, &found, homes->data[k]);
  }
  if (found.len) qsort(found.data, (size_t)found.len, sizeof(int), by_number);
  return found;
}

// ---- changes

/// While every unit is in one cluster, what a kernel stores does not depend on how the others are
/// divided; afterwards any change may.
static void begin_change(fusion *f, int cluster) {
  f->asked[0] = f->asked[1] = -2;
  f->facts[cluster] = (cluster_facts){0};
  f->inputs[cluster].found_at = 0;
  if (f->shared) f->epoch++;
  order_changed(f, cluster);
}

void cluster_add(fusion *f, int cluster, int unit) {
  if (in_cluster(f, unit, cluster)) return;
  f->shared = true;
  begin_change(f, cluster);
  insert_sorted(f->a, &f->clusters[cluster], unit);
  vec_push(f->a, &f->homes[unit], cluster);
}

void cluster_remove(fusion *f, int cluster, int unit) {
  f->shared = true;
  begin_change(f, cluster);
  drop(&f->clusters[cluster], unit);
  drop(&f->homes[unit], cluster);
  if (f->homes[unit].len) order_changed(f, f->homes[unit].data[0]);  // it may store the unit now
}

void cluster_restore(fusion *f, int cluster, ints units) {
  begin_change(f, cluster);
  f->clusters[cluster] = units;
}

void clusters_merge(fusion *f, int a, int b) {
  op_class kind = cluster_anchor(f, a), other = cluster_anchor(f, b);
  bool costed = !f->shared && f->asked[0] == a && f->asked[1] == b && f->union_cost.seconds >= 0;
  begin_change(f, a);
  begin_change(f, b);
  if (kind == CLASS_map || other == CLASS_map)
    f->facts[a] = (cluster_facts){.has_anchor = true, .anchor = kind == CLASS_map ? other : kind};
  if (costed) cluster_note_cost(f, a, f->union_cost);
  ints moved = f->clusters[b];
  f->clusters[b] = (ints){0};
  for (int i = 0; i < moved.len; i++) {
    int u = moved.data[i];
    ints *homes = &f->homes[u];
    if (in_cluster(f, u, a)) {
      drop(homes, b);
      continue;
    }
    for (int k = 0; k < homes->len; k++)
      if (homes->data[k] == b) homes->data[k] = a;
    insert_sorted(f->a, &f->clusters[a], u);
  }
  order_merged(f, a, b);
}
