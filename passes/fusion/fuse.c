// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The partition into kernels.
//
//   x ─ add ─┬─ reduce_max ─┐            one kernel: the reductions walk the same rows
//            ├─ sub ─ exp ──┼─ sum ─┐
//            │        └─────┼─ div ─┴─▶ y
//   dot ─ add ─ gelu ─ cast ▶           one kernel: the maps are the epilogue of the dot
//
// 0. contracts   the nodes of a `fuse` block are a cluster that the other steps leave alone
// 1. epilogues   a contraction or scan takes the maps that follow it, up to the point where all
//                paths meet again in one value that is no larger
// 2. producers   from the outputs up, a unit moves into the clusters that read it
// 3. recompute   a stored map is cloned into all its readers where that is faster (a prologue of
//                a contraction is the case of a single reader); likewise the copies that
//                fuse_align.c puts before operands whose rows are unaligned, and fuse_pads.c before
//                those with a border
// 4. neighbours  kernels that read one another's results or the same data are joined
// Each step asks legality (fuse_legality.c), cycles (fuse_order.c) and cost (fuse_cost.c).
#include "base/fault.h"
#include "passes/fusion/fuse.h"

enum { MAX_CONE = 64 };

// Seconds: a gain below this is noise of the model.
static const double least_gain = 1e-7;

static op_class class_of(const fusion *f, int id) { return op_get(f->nodes[id]->op)->class; }

// ---- 1. epilogues

/// All values of the region but `exit` are used inside it only.
static bool single_exit(const fusion *f, const ints *region, const uint8_t *in, int exit) {
  for (int i = 0; i < region->len; i++) {
    int u = region->data[i];
    if (u == exit) continue;
    if (f->returned[u]) return false;
    for (int k = 0; k < f->users[u].len; k++)
      if (!in[f->users[u].data[k]]) return false;
  }
  return true;
}

static void push_users(const fusion *f, ints *heap, int unit) {
  for (int i = 0; i < f->users[unit].len; i++) heap_push(f->a, heap, f->users[unit].data[i]);
}

/// The maps after the anchor in order, and how many of them form the best epilogue.
static int find_epilogue(fusion *f, int anchor, ints *region, uint8_t *in) {
  const node *root = f->nodes[anchor];
  double best_bytes = node_bytes(f->g, root);
  int best = 1, work = 0;
  ints users = {0};
  vec_push(f->a, region, anchor);
  in[anchor] = 1;
  if (f->returned[anchor]) return best;
  push_users(f, &users, anchor);
  while (users.len && work <= MAX_GROUP_WORK) {
    int id = heap_pop(&users);
    if (in[id]) continue;
    bool fits = class_of(f, id) == CLASS_map && !f->nodes[id]->contract && node_same_axis_set(f->nodes[id], root) &&
                f->clusters[f->homes[id].data[0]].len == 1;
    fits &= !(f->nodes[id]->flags & NODE_RECOMPUTED) || f->nodes[id]->phase <= root->phase;
    fits &= !units_apart(f, id, anchor);
    if (!fits) break;
    vec_push(f->a, region, id);
    in[id] = 1;
    work += op_get(f->nodes[id]->op)->cost;
    push_users(f, &users, id);
    if (single_exit(f, region, in, id) && node_bytes(f->g, f->nodes[id]) <= best_bytes) {
      best = region->len;
      best_bytes = node_bytes(f->g, f->nodes[id]);
    }
    if (f->returned[id]) break;
  }
  return best;
}

static void take_epilogue(fusion *f, int anchor) {
  if (f->nodes[anchor]->contract) return;
  ints region = {0};
  uint8_t *in = f->region;
  int n = find_epilogue(f, anchor, &region, in), home = f->homes[anchor].data[0];
  for (int i = 0; i < region.len; i++) in[region.data[i]] = 0;
  ints singles = {0};
  for (int i = 1; i < n; i++) {
    vec_push(f->a, &singles, f->homes[region.data[i]].data[0]);
    clusters_merge(f, home, singles.data[i - 1]);
  }
  // A shorter prefix may be legal where the whole is not (a view in between).
  while (n > 1 && !clusters_legal(f, home, -1, NULL).ok) {
    n--;
    cluster_remove(f, home, region.data[n]);
    cluster_add(f, singles.data[n - 1], region.data[n]);
  }
}

// ---- 2. producers

static bool pays(fusion *f, int a, int b) {
  // The union last: legality asks about it before and a merge comes after.
  double apart = clusters_seconds(f, a, -1) + clusters_seconds(f, b, -1);
  return clusters_seconds(f, a, b) <= apart;
}

/// Whether the union is a kernel, whatever the other clusters are.
static bool may_join(fusion *f, int a, int b) {
  return !(b >= 0 && clusters_apart(f, a, b)) && clusters_legal(f, a, b, NULL).ok;
}

/// Readers that would be joined only because they share this value: worth it when the value is
/// about as large as what they produce.
static bool large_enough(const fusion *f, int unit, int reader) {
  double size = node_count(f->g, f->nodes[unit]);
  for (int i = 0; i < f->clusters[reader].len; i++)
    if (node_count(f->g, f->nodes[f->clusters[reader].data[i]]) > 4 * size) return false;
  return true;
}

/// The reader reduces over other axes than the rows that the unit maps.
static bool other_rows(const fusion *f, int unit, int reader) {
  if (f->rows[unit] < 0 || f->rows[unit] == unit) return false;
  const node *own = f->nodes[f->rows[unit]];
  for (int i = 0; i < f->clusters[reader].len; i++) {
    const node *n = f->nodes[f->clusters[reader].data[i]];
    if (!op_is_reduce(n->op)) continue;
    node over = {.naxes = n->nattr_axes, .axes = n->attr_axes};
    node own_over = {.naxes = own->nattr_axes, .axes = own->attr_axes};
    return !node_same_axis_set(&over, &own_over) || !node_same_axis_set(n, own);
  }
  return false;
}

static void join_readers(fusion *f, int unit) {
  int home = f->homes[unit].data[0];
  op_class own = cluster_anchor(f, home);
  if (own != CLASS_map && own != CLASS_reduce) return;
  ints readers = unit_reading_clusters(f, unit);
  bool joined = false;
  for (int i = 0; i < readers.len; i++) {
    int reader = readers.data[i];
    op_class kind = cluster_anchor(f, reader);
    if (kind == CLASS_contraction) continue;  // step 3 weighs prologues
    if ((kind == CLASS_scan || kind == CLASS_scatter) && readers.len > 1) continue;
    if (other_rows(f, unit, reader)) continue;
    if (joined && !large_enough(f, unit, reader)) continue;
    // Asked first, so that the union stays the last candidate up to the merge.
    clusters_seconds(f, home, -1);
    clusters_seconds(f, reader, -1);
    // Cycles last: in long programs the search is what takes longest.
    if (!may_join(f, home, reader) || !pays(f, home, reader)) continue;
    if (clusters_cyclic(f, home, reader)) continue;
    clusters_merge(f, home, reader);
    joined = true;
  }
}

// ---- 3. recompute

typedef struct trial {
  ints touched;  // clusters
  ints *clusters;
  ints units;
  ints *homes;
} trial;

static ints copy_ints(arena *a, const ints *v) {
  ints r = {.len = v->len, .cap = v->len};
  r.data = arena_copy(a, v->data, sizeof(int) * (size_t)v->len);
  return r;
}

static trial trial_begin(fusion *f, const ints *touched) {
  trial t = {.touched = copy_ints(f->a, touched)};
  t.clusters = arena_array(f->a, ints, touched->len);
  for (int i = 0; i < touched->len; i++) {
    const ints *units = &f->clusters[touched->data[i]];
    t.clusters[i] = copy_ints(f->a, units);
    for (int k = 0; k < units->len; k++) vec_push(f->a, &t.units, units->data[k]);
  }
  t.homes = arena_array(f->a, ints, t.units.len);
  for (int i = 0; i < t.units.len; i++) t.homes[i] = copy_ints(f->a, &f->homes[t.units.data[i]]);
  return t;
}

static void trial_undo(fusion *f, const trial *t) {
  for (int i = 0; i < t->touched.len; i++) cluster_restore(f, t->touched.data[i], t->clusters[i]);
  for (int i = 0; i < t->units.len; i++) f->homes[t->units.data[i]] = t->homes[i];
}

/// The maps of the unit's cluster that lead to it from stored values; false when there are too
/// many, or the way leads to an anchor whose value is never stored.
static bool find_cone(fusion *f, int unit, int home, ints *cone) {
  for (int i = 0; i < cone->len; i++)
    if (cone->data[i] == unit) return true;
  if (cone->len == MAX_CONE) return false;
  vec_push(f->a, cone, unit);
  for (int i = 0; i < f->deps[unit].len; i++) {
    int dep = f->deps[unit].data[i];
    if (!in_cluster(f, dep, home) || unit_is_stored(f, dep, -1, -1)) continue;
    op_class c = class_of(f, dep);
    if (c == CLASS_reduce) continue;  // small: it becomes an output
    if (c != CLASS_map && c != CLASS_gather && c != CLASS_view) return false;
    if (!find_cone(f, dep, home, cone)) return false;
  }
  return true;
}

/// Removes what nothing needs any more from the cluster.
static void prune(fusion *f, int cluster) {
  for (int i = f->clusters[cluster].len - 1; i >= 0; i--) {
    int u = f->clusters[cluster].data[i];
    bool needed = f->returned[u] && f->homes[u].data[0] == cluster;
    for (int k = 0; k < f->users[u].len && !needed; k++) {
      const ints *homes = &f->homes[f->users[u].data[k]];
      for (int h = 0; h < homes->len && !needed; h++)
        needed = homes->data[h] == cluster ||
                 (f->homes[u].data[0] == cluster && !in_cluster(f, u, homes->data[h]));
    }
    if (!needed) cluster_remove(f, cluster, u);
  }
}

static double total_seconds(fusion *f, const ints *clusters) {
  double total = 0;
  for (int i = 0; i < clusters->len; i++) total += clusters_seconds(f, clusters->data[i], -1);
  return total;
}

static void recompute(fusion *f, int unit) {
  op_class c = class_of(f, unit);
  if (f->nodes[unit]->contract) return;
  if (f->returned[unit] || (c != CLASS_map && c != CLASS_gather && c != CLASS_view)) return;
  ints touched = unit_reading_clusters(f, unit), cone = {0};
  int home = f->homes[unit].data[0], readers = touched.len;
  if (!readers || !find_cone(f, unit, home, &cone)) return;
  for (int i = 0; i < readers; i++)
    if (cluster_contract(f, touched.data[i]) ||
        units_apart(f, unit, f->clusters[touched.data[i]].data[0]))
      return;
  vec_push(f->a, &touched, home);
  double before = total_seconds(f, &touched);
  trial t = trial_begin(f, &touched);
  for (int i = 0; i < readers; i++)
    for (int k = 0; k < cone.len; k++) cluster_add(f, touched.data[i], cone.data[k]);
  prune(f, home);
  bool ok = true;
  for (int i = 0; i < touched.len && ok; i++)
    if (f->clusters[touched.data[i]].len) ok = may_join(f, touched.data[i], -1);
  ok = ok && total_seconds(f, &touched) < before - least_gain;
  for (int i = 0; i < touched.len && ok; i++)
    if (f->clusters[touched.data[i]].len) ok = !clusters_cyclic(f, touched.data[i], -1);
  if (!ok) trial_undo(f, &t);
}

// ---- 4. neighbours

static bool join_pair(fusion *f, int a, int b) {
  if (a == b || !f->clusters[a].len || !f->clusters[b].len) return false;
  if (clusters_far_apart(f, a, b)) return false;
  double apart = clusters_seconds(f, a, -1) + clusters_seconds(f, b, -1);
  if (clusters_least_seconds(f, a, b) >= apart) return false;
  if (!may_join(f, a, b) || clusters_seconds(f, a, b) >= apart) return false;
  if (clusters_cyclic(f, a, b)) return false;
  clusters_merge(f, a, b);
  return true;
}

/// Readers join the cluster that stores what they read.
static void absorb_readers(fusion *f) {
  for (int u = 0; u < f->n; u++) {
    if (!is_unit(f, u)) continue;
    ints readers = unit_reading_clusters(f, u);
    for (int i = 0; i < readers.len; i++) {
      op_class kind = cluster_anchor(f, readers.data[i]);
      bool rows = kind == CLASS_contraction && cluster_anchor(f, f->homes[u].data[0]) == kind;
      if (kind == CLASS_map || kind == CLASS_reduce || rows)
        join_pair(f, f->homes[u].data[0], readers.data[i]);
    }
  }
}

/// By id: the units that read the node, through free nodes too.
static ints *find_readers(fusion *f) {
  ints *readers = arena_array(f->a, ints, f->n);
  for (int id = 0; id < f->n; id++) {
    const node *n = f->nodes[id];
    for (int k = 0; is_unit(f, id) && k < n->nin; k++) {
      const node *in = n->in[k];
      while (f->free[in->id] && in->nin) in = in->in[0];
      vec_push(f->a, &readers[in->id], id);
    }
  }
  return readers;
}

/// The clusters of these units, ascending.
static ints clusters_of(fusion *f, const ints *units) {
  ints found = {0};
  for (int i = 0; i < units->len; i++)
    for (int k = 0; k < f->homes[units->data[i]].len; k++)
      vec_push(f->a, &found, f->homes[units->data[i]].data[k]);
  ints_sort_unique(&found);
  return found;
}

static double cluster_bytes(fusion *f, int cluster) {
  cost r = cluster_cost(f, cluster);
  return r.bytes_read + r.bytes_written;
}

/// Stores as much as a kernel may: nothing that it is not read by can join.
static bool is_full(fusion *f, int cluster) {
  int stored = 0;
  for (int i = 0; i < f->clusters[cluster].len; i++)
    stored += unit_is_stored(f, f->clusters[cluster].data[i], -1, -1);
  return stored >= MAX_GROUP_OUTPUTS;
}

/// The data is a good part of what both move, or most of what one does.
static bool is_shared_enough(double shared, double bytes, double other) {
  return (8 * shared >= bytes && 8 * shared >= other) || 2 * shared >= bytes || 2 * shared >= other;
}

static bool is_map_or_rows(fusion *f, int cluster) {
  op_class kind = cluster_anchor(f, cluster);
  return f->clusters[cluster].len && (kind == CLASS_map || kind == CLASS_reduce);
}

/// Two kernels over the same data, neither reading the other.
static void join_siblings(fusion *f, int id, const ints *readers) {
  if (f->nodes[id]->op != OP_param && !is_unit(f, id)) return;
  double shared = node_bytes(f->g, f->nodes[id]);
  ints clusters = clusters_of(f, readers);
  double *bytes = arena_array(f->a, double, clusters.len + 1);
  for (int i = 0; i < clusters.len; i++)
    if (is_map_or_rows(f, clusters.data[i])) bytes[i] = cluster_bytes(f, clusters.data[i]);
  for (int i = 0; i + 1 < clusters.len; i++) {
    int a = clusters.data[i];
    if (!is_map_or_rows(f, a)) continue;
    bool full = is_full(f, a);
    for (int k = i + 1; k < clusters.len && !full; k++) {
      int b = clusters.data[k];
      if (!is_map_or_rows(f, b) || !is_shared_enough(shared, bytes[i], bytes[k])) continue;
      if (!join_pair(f, a, b)) continue;
      bytes[i] = cluster_bytes(f, a);
      full = is_full(f, a);
    }
  }
}

/// Reductions of what one kernel gave, parts of several sums for instance, each of which takes no longer than its
/// launch.
static void join_small_readers(fusion *f, int cluster) {
  ints small = {0};
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    ints readers = unit_reading_clusters(f, f->clusters[cluster].data[i]);
    for (int k = 0; k < readers.len; k++) {
      int c = readers.data[k];
      bool brief = clusters_seconds(f, c, -1) < 2 * f->target->launch_seconds;
      if (cluster_anchor(f, c) == CLASS_reduce && brief) vec_push(f->a, &small, c);
    }
  }
  ints_sort_unique(&small);
  for (int i = 0; i < small.len; i++)
    for (int k = i + 1; k < small.len; k++) join_pair(f, small.data[i], small.data[k]);
}

// ---- the pass

/// What a contract stores in the order in which it is returned is read in that order by the kernels after it, so
/// that it is stored once.
static void read_as_returned(graph *g, arena *a) {
  bool any = false;
  for (int i = 0; i < g->outputs.len; i++) {
    node *view = g->outputs.data[i].value, *x = view->nin ? view->in[0] : NULL;
    bool reorder = view->op == OP_view && x->op != OP_param && x->contract &&
                   view_is_reorder(g, view) && node_same_axis_set(view, x);
    for (int id = x ? x->id + 1 : 0; reorder && id < g->nodes.len; id++) {
      node *user = g->nodes.data[id];
      for (int k = 0; k < user->nin; k++)
        if (user->in[k] == x && user->contract != x->contract && op_is_map(user->op)) user->in[k] = view, any = true;
    }
  }
  if (any) graph_compact(g, arena_array(a, node *, g->nodes.len));  // the view before them
}

static void copy_returned_params(graph *g) {
  for (int i = 0; i < g->outputs.len; i++) {
    node *n = g->outputs.data[i].value;
    if (n->op != OP_param) continue;
    ix index[MAX_AXES];
    for (int k = 0; k < n->naxes; k++) index[k] = ix_axis(&g->ix, n->axes[k]);
    g->outputs.data[i].value = graph_view(g, n, index, n->axes, n->naxes);
  }
}

bool fusion_partition(fusion *f, pass_ctx *ctx) {
  copy_returned_params(ctx->graph);
  read_as_returned(ctx->graph, ctx->scratch);
  fuse_copy_operands(ctx->graph, target_or_default(ctx->options), ctx->scratch);
  fusion_init(f, ctx);
  if (!fuse_contracts(f, ctx->diags)) return false;
  for (int id = 0; id < f->n; id++)
    if (is_unit(f, id) && (class_of(f, id) == CLASS_contraction || class_of(f, id) == CLASS_scan))
      take_epilogue(f, id);
  for (int id = f->n - 1; id >= 0; id--)
    if (is_unit(f, id)) join_readers(f, id);
  for (int id = 0; id < f->n; id++)
    if (is_unit(f, id)) recompute(f, id);
  absorb_readers(f);
  const ints *readers = find_readers(f);
  for (int id = 0; id < f->n; id++) join_siblings(f, id, &readers[id]);
  for (int c = 0; c < f->nclusters; c++) join_small_readers(f, c);
  return true;
}

bool pass_fuse(pass_ctx *ctx) {
  if (ctx->graph->fused) return false;
  fusion f;
  if (fusion_partition(&f, ctx)) fusion_emit(&f, true);
  return true;
}
