// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A topological order of the clusters, kept up while they change, and the question that it makes
// fast: would a union wait for itself?
//
//   rank   1    2    3    4    5            a and b as one: is there a way a ▶ c ▶ ... ▶ b ?
//          a ─▶ c ─▶ d    e ─▶ b            Only through ranks between theirs: both ends are followed
//          └───────────────────▶ b          by turns until they meet, or one of them is at its end.
//
// After Pearce and Kelly, "A dynamic topological sort algorithm for directed acyclic graphs" (2007): what
// changed is noted, and put right when the next question is asked. Of the clusters between the ranks of
// the new edges those before the changed one get the lower of their ranks, those after it the higher. Of
// two that become one either rank may do: where a value moves to the only kernel that reads it, which may
// be at the other end of the program, nothing else moves.
#include <limits.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

// ---- the spine
//
// A longest chain of units. What leads to one of them waits for none before it, so that of two kernels far from
// each other, as those of two layers that read one mask, most are known to have a way between them.

static void find_spine(fusion *f) {
  cluster_order *o = &f->order;
  int *length = arena_array(f->a, int, f->n), last = -1;
  o->leads_to = arena_array(f->a, int, f->n);
  o->follows = arena_array(f->a, int, f->n);
  for (int id = 0; id < f->n; id++) {
    o->leads_to[id] = INT_MAX, o->follows[id] = -1;
    if (!is_unit(f, id)) continue;
    for (int i = 0; i < f->deps[id].len; i++)
      if (length[f->deps[id].data[i]] > length[id]) length[id] = length[f->deps[id].data[i]];
    length[id]++;
    if (last < 0 || length[id] > length[last]) last = id;
  }
  o->spine.len = last < 0 ? 0 : length[last];
  o->spine.data = arena_array(f->a, int, o->spine.len);
  for (int at = o->spine.len - 1; at >= 0; at--) {
    o->spine.data[at] = last;
    o->leads_to[last] = o->follows[last] = at;
    for (int i = 0; at && i < f->deps[last].len; i++)
      if (length[f->deps[last].data[i]] == at) last = f->deps[last].data[i];
  }
  for (int id = 0; id < f->n; id++)
    for (int i = 0; i < f->deps[id].len && is_unit(f, id); i++)
      if (o->follows[f->deps[id].data[i]] > o->follows[id])
        o->follows[id] = o->follows[f->deps[id].data[i]];
  for (int id = f->n - 1; id >= 0; id--)
    for (int i = 0; i < f->deps[id].len && is_unit(f, id); i++)
      if (o->leads_to[id] < o->leads_to[f->deps[id].data[i]])
        o->leads_to[f->deps[id].data[i]] = o->leads_to[id];
}

/// Where the cluster is along the spine. Of units that others compute as well nobody needs to wait for it.
static spine_part part_of(fusion *f, int cluster) {
  spine_part *part = &f->order.parts[cluster];
  if (part->found_at == f->epoch) return *part;
  *part = (spine_part){.leads_to = INT_MAX, .follows = -1, .found_at = f->epoch};
  const ints *units = &f->clusters[cluster];
  for (int i = 0; i < units->len; i++) {
    int u = units->data[i];
    if (f->homes[u].len == 1 && f->order.leads_to[u] < part->leads_to)
      part->leads_to = f->order.leads_to[u];
    if (f->order.follows[u] > part->follows) part->follows = f->order.follows[u];
  }
  return *part;
}

/// Some unit of the spine from one place to the other is computed by neither of the two, and by one cluster.
static bool leaves_between(const fusion *f, int from, int to, int a, int b) {
  const int places[] = {from, to, from + (to - from) / 2, from + 1, to - 1};
  for (int i = 0; i < 5; i++) {
    if (places[i] < from || places[i] > to) continue;
    const ints *homes = &f->homes[f->order.spine.data[places[i]]];
    if (homes->len == 1 && homes->data[0] != a && homes->data[0] != b) return true;
  }
  return false;
}

bool clusters_far_apart(fusion *f, int a, int b) {
  spine_part x = part_of(f, a), y = part_of(f, b);
  return (x.leads_to <= y.follows && leaves_between(f, x.leads_to, y.follows, a, b)) ||
         (y.leads_to <= x.follows && leaves_between(f, y.leads_to, x.follows, a, b));
}

void order_init(fusion *f) {
  cluster_order *o = &f->order;
  o->parts = arena_array(f->a, spine_part, f->n);
  find_spine(f);
  o->rank = arena_array(f->a, int, f->n);
  o->mark = arena_array(f->a, uint8_t, f->n);
  o->stale = arena_array(f->a, bool, f->n);
  o->spare = arena_array(f->a, int, f->n);
  o->of = arena_array(f->a, int, f->n);
  for (int c = 0; c < f->nclusters; c++) o->rank[c] = c;
}

void order_changed(fusion *f, int cluster) {
  cluster_order *o = &f->order;
  o->parts[cluster].found_at = 0;
  if (o->stale[cluster]) return;
  o->stale[cluster] = true;
  vec_push(f->a, &o->changed, cluster);
}

void order_merged(fusion *f, int a, int b) {
  order_changed(f, a);
  f->order.spare[a] = b + 1;
}

// ---- edges

typedef struct edge_walk {
  int cluster, unit, edge, home;  // positions
} edge_walk;

/// The next cluster that this one waits for, perhaps not for the first time; -1: no more. *dep: the unit
/// of it that is read.
static int next_before(fusion *f, edge_walk *w, int *dep) {
  const ints *units = &f->clusters[w->cluster];
  for (; w->unit < units->len; w->unit++, w->edge = 0) {
    const ints *deps = &f->deps[units->data[w->unit]];
    while (w->edge < deps->len) {
      f->order.steps++;
      *dep = deps->data[w->edge++];
      if (!in_cluster(f, *dep, w->cluster)) return f->homes[*dep].data[0];
    }
  }
  return -1;
}

/// The next cluster that waits for this one, likewise. *unit: what it reads.
static int next_after(fusion *f, edge_walk *w, int *unit) {
  const ints *units = &f->clusters[w->cluster];
  for (; w->unit < units->len; w->unit++, w->edge = 0) {
    *unit = units->data[w->unit];
    if (f->homes[*unit].data[0] != w->cluster) continue;
    const ints *users = &f->users[*unit];
    for (; w->edge < users->len; w->edge++, w->home = 0) {
      const ints *homes = &f->homes[users->data[w->edge]];
      while (w->home < homes->len) {
        f->order.steps++;
        int home = homes->data[w->home++];
        if (!in_cluster(f, *unit, home)) return home;
      }
    }
  }
  return -1;
}

// ---- putting the order right

enum { UNSEEN, BEFORE, AFTER };

static void mark_as(fusion *f, int cluster, int mark) {
  f->order.mark[cluster] = mark;
  vec_push(f->a, &f->order.marked, cluster);
}

static void clear_marks(fusion *f) {
  cluster_order *o = &f->order;
  for (int i = 0; i < o->marked.len; i++) o->mark[o->marked.data[i]] = UNSEEN;
  o->marked.len = 0;
}

/// The ranks that edges at the cluster ask it to be between: those of the last that it waits for, and of
/// the first that waits for it.
static void find_bounds(fusion *f, int cluster, int *last_before, int *first_after) {
  const int *rank = f->order.rank;
  int unit;
  *last_before = -1, *first_after = f->nclusters;
  edge_walk w = {.cluster = cluster};
  for (int c; (c = next_before(f, &w, &unit)) >= 0;)
    if (rank[c] > *last_before) *last_before = rank[c];
  w = (edge_walk){.cluster = cluster};
  for (int c; (c = next_after(f, &w, &unit)) >= 0;)
    if (rank[c] < *first_after) *first_after = rank[c];
}

/// Marks what the cluster waits for, through ranks from `low` to `high`.
static void mark_before(fusion *f, int cluster, int low, int high, ints *list) {
  int unit, from = cluster;
  for (int i = -1; i < list->len; i++) {
    if (i >= 0) from = list->data[i];
    edge_walk w = {.cluster = from};
    for (int c; (c = next_before(f, &w, &unit)) >= 0;) {
      bool near = f->order.rank[c] >= low && f->order.rank[c] <= high;
      if (!near || f->order.mark[c] || c == cluster) continue;
      mark_as(f, c, BEFORE);
      vec_push(f->a, list, c);
    }
  }
}

/// Marks what waits for the cluster, likewise. False: a cycle.
static bool mark_after(fusion *f, int cluster, int low, int high, ints *list) {
  int unit, from = cluster;
  for (int i = -1; i < list->len; i++) {
    if (i >= 0) from = list->data[i];
    edge_walk w = {.cluster = from};
    for (int c; (c = next_after(f, &w, &unit)) >= 0;) {
      if (c == cluster || f->order.mark[c] == BEFORE) return false;
      bool near = f->order.rank[c] >= low && f->order.rank[c] <= high;
      if (!near || f->order.mark[c]) continue;
      mark_as(f, c, AFTER);
      vec_push(f->a, list, c);
    }
  }
  return true;
}

static int by_number(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return (x > y) - (x < y);
}

/// Sorts clusters by rank: through their ranks, of which `of` knows the clusters.
static void sort_by_rank(const fusion *f, ints *list, int *of, ints *ranks, arena *a) {
  int first = ranks->len;
  for (int i = 0; i < list->len; i++) {
    int rank = f->order.rank[list->data[i]];
    of[rank] = list->data[i];
    vec_push(a, ranks, rank);
  }
  if (list->len) qsort(ranks->data + first, (size_t)list->len, sizeof(int), by_number);
  for (int i = 0; i < list->len; i++) list->data[i] = of[ranks->data[first + i]];
}

/// `before`, the cluster, `after` get the ranks of all of them, ascending.
static void rank_again(fusion *f, ints *before, int cluster, ints *after) {
  cluster_order *o = &f->order;
  ints *ranks = &o->ranks;
  ranks->len = 0;
  sort_by_rank(f, before, o->of, ranks, f->a);
  sort_by_rank(f, after, o->of, ranks, f->a);
  vec_push(f->a, ranks, o->rank[cluster]);
  qsort(ranks->data, (size_t)ranks->len, sizeof(int), by_number);
  int at = 0;
  for (int i = 0; i < before->len; i++) o->rank[before->data[i]] = ranks->data[at++];
  o->rank[cluster] = ranks->data[at++];
  for (int i = 0; i < after->len; i++) o->rank[after->data[i]] = ranks->data[at++];
}

/// False: the cluster waits for itself.
static bool put_right(fusion *f, int cluster) {
  cluster_order *o = &f->order;
  int last_before, first_after, own = o->rank[cluster];
  find_bounds(f, cluster, &last_before, &first_after);
  if (last_before < own && own < first_after) return true;
  int spare = o->spare[cluster] - 1;
  if (spare >= 0 && !f->clusters[spare].len && last_before < o->rank[spare] &&
      o->rank[spare] < first_after) {
    o->rank[cluster] = o->rank[spare], o->rank[spare] = own;
    return true;
  }
  o->before.len = o->after.len = 0;
  int low = own < first_after ? own : first_after, high = own > last_before ? own : last_before;
  mark_before(f, cluster, low, high, &o->before);
  bool acyclic = mark_after(f, cluster, low, high, &o->after);
  if (acyclic) rank_again(f, &o->before, cluster, &o->after);
  clear_marks(f);
  return acyclic;
}

/// False: there is a cycle; what is not yet right is so later.
static bool put_all_right(fusion *f) {
  cluster_order *o = &f->order;
  while (o->changed.len) {
    int cluster = o->changed.data[o->changed.len - 1];
    if (f->clusters[cluster].len && !put_right(f, cluster)) return false;
    o->changed.len--;
    o->stale[cluster] = false;
  }
  return true;
}

// ---- the question

/// Clusters that are reached from the union of a and b, in one of the two directions.
typedef struct front {
  ints list;
  int at;         // the first that is still to be followed: ways are short, if there are any
  int low, high;  // ranks between which it stays
  int64_t spent;  // steps
  int mark;
} front;

static bool in_union(const fusion *f, int unit, int a, int b) {
  return in_cluster(f, unit, a) || (b >= 0 && in_cluster(f, unit, b));
}

/// Follows one cluster: true when it meets the union or the other front.
static bool follow(fusion *f, front *r, int from, int a, int b) {
  edge_walk w = {.cluster = from};
  bool inside = from == a || from == b;
  int64_t began = f->order.steps;
  int unit, c;
  while ((c = r->mark == BEFORE ? next_before(f, &w, &unit) : next_after(f, &w, &unit)) >= 0) {
    bool back = c == a || c == b;
    // Within the union it is computed, wherever it is stored.
    if (r->mark == BEFORE && inside && in_union(f, unit, a, b)) continue;
    if (r->mark == AFTER && (inside ? back : back && in_union(f, unit, a, b))) continue;
    int mark = f->order.mark[c];
    if (back || (mark && mark != r->mark)) return true;
    if (mark || f->order.rank[c] <= r->low || f->order.rank[c] >= r->high) continue;
    mark_as(f, c, r->mark);
    vec_push(f->a, &r->list, c);
  }
  r->spent += f->order.steps - began;
  return false;
}

/// A way from a or b through others to a or b. `ordered`: the clusters are, and a comes before b.
static bool waits_for_itself(fusion *f, int a, int b, bool ordered) {
  cluster_order *o = &f->order;
  front back = {.list = o->before, .low = -1, .high = f->nclusters, .mark = BEFORE};
  back.list.len = 0;
  if (ordered) back.low = o->rank[a], back.high = o->rank[b];
  front forth = back;
  forth.list = o->after, forth.mark = AFTER;
  forth.list.len = 0;
  bool found = (b >= 0 && follow(f, &back, b, a, b)) || (!ordered && follow(f, &back, a, a, b)) ||
               follow(f, &forth, a, a, b) || (!ordered && b >= 0 && follow(f, &forth, b, a, b));
  while (!found && back.at < back.list.len && forth.at < forth.list.len) {
    front *next = back.spent <= forth.spent ? &back : &forth;
    int from = next->list.data[next->at++];
    found = follow(f, next, from, a, b);
  }
  o->before = back.list, o->after = forth.list;
  clear_marks(f);
  return found;
}

bool clusters_cyclic(fusion *f, int a, int b) {
  const int *rank = f->order.rank;
  f->order.questions++;
  if (b >= 0 && a != b && clusters_far_apart(f, a, b)) return true;
  // Where there is a cycle already, there is no order.
  if (!put_all_right(f)) return waits_for_itself(f, a, b, false);
  if (b < 0 || a == b) return false;
  return rank[a] < rank[b] ? waits_for_itself(f, a, b, true) : waits_for_itself(f, b, a, true);
}

// ---- the order of the kernels

/// The clusters by their first units.
static ints in_program_order(const fusion *f) {
  int *first = arena_array(f->a, int, f->n), *next = arena_array(f->a, int, f->nclusters);
  ints order = {0};
  for (int c = f->nclusters - 1; c >= 0; c--) {  // numbers + 1; 0: none
    if (!f->clusters[c].len) continue;
    int unit = f->clusters[c].data[0];
    next[c] = first[unit];
    first[unit] = c + 1;
  }
  for (int unit = 0; unit < f->n; unit++)
    for (int c = first[unit]; c; c = next[c - 1]) vec_push(f->a, &order, c - 1);
  return order;
}

/// Clusters that each cluster leads to, once per edge between units, and how many edges lead to it.
typedef struct waiting {
  ints *next;
  int *edges;
} waiting;

static waiting find_waiting(const fusion *f) {
  waiting w = {arena_array(f->a, ints, f->nclusters), arena_array(f->a, int, f->nclusters)};
  for (int c = 0; c < f->nclusters; c++)
    for (int i = 0; i < f->clusters[c].len; i++) {
      const ints *deps = &f->deps[f->clusters[c].data[i]];
      for (int k = 0; k < deps->len; k++) {
        if (in_cluster(f, deps->data[k], c)) continue;
        vec_push(f->a, &w.next[f->homes[deps->data[k]].data[0]], c);
        w.edges[c]++;
      }
    }
  return w;
}

ints clusters_in_order(const fusion *f) {
  ints all = in_program_order(f), ready = {0}, order = {0};
  waiting w = find_waiting(f);
  int *place = arena_array(f->a, int, f->nclusters);
  for (int i = 0; i < all.len; i++) place[all.data[i]] = i;
  for (int i = 0; i < all.len; i++)
    if (!w.edges[all.data[i]]) heap_push(f->a, &ready, i);
  while (ready.len) {
    int c = all.data[heap_pop(&ready)];
    vec_push(f->a, &order, c);
    for (int i = 0; i < w.next[c].len; i++)
      if (!--w.edges[w.next[c].data[i]]) heap_push(f->a, &ready, place[w.next[c].data[i]]);
  }
  check(order.len == all.len);
  return order;
}
