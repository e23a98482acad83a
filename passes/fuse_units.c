// Units and clusters of the fuse pass: who reads whom, which cluster computes what, and whether
// two clusters could be one.
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fuse.h"

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
    case CLASS_view: return true;
    case CLASS_leaf: return n->op != OP_param;
    default: break;
  }
  if (is_number_of_sizes(f, n)) return true;
  return n->op == OP_cast && cast_is_exact(n->in[0]->type, n->type) &&
         dtype_bytes(n->type) > dtype_bytes(n->in[0]->type);
}

/// Operands that must be buffers as they are.
static void force_buffers(fusion *f, const node *n) {
  if (n->op == OP_call)
    for (int k = 0; k < n->nin; k++) f->free[n->in[k]->id] = false;
  if (n->op == OP_scatter_add) f->free[n->in[0]->id] = false;
  if (n->op == OP_gather) {
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
  f->member = arena_array(f->a, uint8_t, f->n);
  f->stored = arena_array(f->a, uint8_t, f->n);
  f->candidate = arena_array(f->a, node *, f->n);
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
    for (int i = 0; i < f->deps[id].len; i++)
      vec_push(f->a, &f->users[f->deps[id].data[i]], id);
    int cluster = f->nclusters++;
    vec_push(f->a, &f->clusters[cluster], id);
    vec_push(f->a, &f->homes[id], cluster);
  }
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

static int by_number(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}

candidate fusion_candidate(fusion *f, int a, int b) {
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
  if (f->marked.len) qsort(f->marked.data, (size_t)f->marked.len, sizeof(int), by_number);
  candidate c = {.g = f->g, .n = f->marked.len, .member = f->member, .stored = f->stored};
  c.nodes = f->candidate;
  for (int i = 0; i < c.n; i++) c.nodes[i] = f->nodes[f->marked.data[i]];
  return c;
}

verdict clusters_legal(fusion *f, int a, int b, group_kind *kind) {
  candidate c = fusion_candidate(f, a, b);
  return fuse_legal(&c, &f->scratch, kind);
}

double clusters_seconds(fusion *f, int a, int b) {
  if (!f->clusters[a].len && (b < 0 || !f->clusters[b].len)) return 0;
  candidate c = fusion_candidate(f, a, b);
  return fuse_cost(&c, f->target, &f->scratch).seconds;
}

/// Visits the clusters that `cluster` waits for; true when one of them is a or b.
static bool waits_for(fusion *f, int cluster, int a, int b, uint8_t *seen) {
  const ints *units = &f->clusters[cluster];
  for (int i = 0; i < units->len; i++) {
    const ints *deps = &f->deps[units->data[i]];
    for (int k = 0; k < deps->len; k++) {
      int dep = deps->data[k], from = f->homes[dep].data[0];
      if (in_cluster(f, dep, cluster)) continue;
      bool inside = cluster == a || cluster == b;
      if (inside && (in_cluster(f, dep, a) || in_cluster(f, dep, b))) continue;
      if (from == a || from == b) return true;
      if (seen[from]) continue;
      seen[from] = 1;
      if (waits_for(f, from, a, b, seen)) return true;
    }
  }
  return false;
}

bool clusters_cyclic(fusion *f, int a, int b) {
  uint8_t *seen = f->scratch.seen;
  memset(seen, 0, (size_t)f->nclusters);
  return waits_for(f, a, a, b, seen) || (b >= 0 && waits_for(f, b, a, b, seen));
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

void cluster_add(fusion *f, int cluster, int unit) {
  if (in_cluster(f, unit, cluster)) return;
  insert_sorted(f->a, &f->clusters[cluster], unit);
  vec_push(f->a, &f->homes[unit], cluster);
}

void cluster_remove(fusion *f, int cluster, int unit) {
  drop(&f->clusters[cluster], unit);
  drop(&f->homes[unit], cluster);
}

void clusters_merge(fusion *f, int a, int b) {
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
}
