// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Dinic's algorithm (1970) on flat arrays: distances to the sink in what capacity is left, then all
// flow along the shortest paths, until no path is left.
//
// Each edge is two arcs that share a capacity: what flows along one may flow back along the other.
// The arcs that leave a node are neighbours in memory. A path takes away from its narrowest arc all
// that is left, exactly, so that paths end and distances grow whatever is rounded.
#include "base/maxflow.h"

#include <float.h>
#include <math.h>

#include "base/fault.h"

typedef struct flow {
  int n, source, sink;
  int *first;     // n + 1: the arcs of node v are first[v] .. first[v + 1] - 1
  int *to;        // by arc
  int *back;      // by arc: the other one of the edge
  double *left;   // by arc: capacity that is not used
  int *distance;  // to the sink, by node; -1: unknown
  int *next;      // the arc to go on with, by node
  int *queue;     // nodes; during a search for paths: arcs of the path
} flow;

int flow_add_node(flow_network *net) { return net->nodes++; }

void flow_add_edge(flow_network *net, int from, int to, double capacity) {
  check(from >= 0 && from < net->nodes && to >= 0 && to < net->nodes && capacity >= 0);
  if (from == to || capacity == 0) return;
  vec_push(net->arena, &net->edges, (flow_edge){from, to, capacity});
}

static flow flow_new(arena *a, const flow_network *net, int source, int sink) {
  int n = net->nodes, arcs = 2 * net->edges.len;
  flow f = {.n = n, .source = source, .sink = sink};
  f.first = arena_array(a, int, n + 1);
  f.to = arena_array(a, int, arcs + 1);
  f.back = arena_array(a, int, arcs + 1);
  f.left = arena_array(a, double, arcs + 1);
  f.distance = arena_array(a, int, n);
  f.next = arena_array(a, int, n);
  f.queue = arena_array(a, int, n);
  for (int i = 0; i < net->edges.len; i++) {
    f.first[net->edges.data[i].from + 1]++;
    f.first[net->edges.data[i].to + 1]++;
  }
  for (int v = 0; v < n; v++) f.first[v + 1] += f.first[v];
  memcpy(f.next, f.first, sizeof(int) * (size_t)n);
  for (int i = 0; i < net->edges.len; i++) {
    const flow_edge *e = &net->edges.data[i];
    int there = f.next[e->from]++, back = f.next[e->to]++;
    f.to[there] = e->to, f.back[there] = back, f.left[there] = e->capacity;
    f.to[back] = e->from, f.back[back] = there;
  }
  return f;
}

/// Distances to the sink up to that of the source. False: the source cannot reach it.
static bool find_distances(flow *f) {
  int head = 0, tail = 0;
  memset(f->distance, -1, sizeof(int) * (size_t)f->n);
  f->distance[f->sink] = 0;
  f->queue[tail++] = f->sink;
  while (head < tail) {
    int v = f->queue[head++];
    for (int i = f->first[v]; i < f->first[v + 1]; i++) {
      int u = f->to[i];
      if (f->distance[u] >= 0 || f->left[f->back[i]] <= 0) continue;
      f->distance[u] = f->distance[v] + 1;
      f->next[u] = f->first[u];
      if (u == f->source) return true;
      f->queue[tail++] = u;
    }
  }
  return false;
}

/// The next arc of v that leads on towards the sink; -1 none.
static int arc_onwards(flow *f, int v) {
  for (int *i = &f->next[v]; *i < f->first[v + 1]; ++*i)
    if (f->left[*i] > 0 && f->distance[f->to[*i]] == f->distance[v] - 1) return *i;
  return -1;
}

/// Fills the path to the brim. How long it still is up to the arc that is full now.
static int push_along(flow *f, const int *path, int length) {
  double least = INFINITY;
  int full = 0;
  for (int i = 0; i < length; i++)
    if (f->left[path[i]] < least) least = f->left[path[i]], full = i;
  check(least < INFINITY);
  for (int i = 0; i < length; i++) {
    f->left[path[i]] -= least;
    double *back = &f->left[f->back[path[i]]];
    if (*back < INFINITY) *back = fmin(*back + least, DBL_MAX);
  }
  return full;
}

/// All flow along shortest paths. The path is kept: what leads to a full arc is walked once.
static void block_paths(flow *f) {
  int *path = f->queue, length = 0, v = f->source;
  for (;;) {
    int arc = arc_onwards(f, v);
    if (arc >= 0) {
      path[length++] = arc;
      v = f->to[arc];
      if (v != f->sink) continue;
      length = push_along(f, path, length);
      v = f->to[f->back[path[length]]];
    } else {
      if (v == f->source) return;
      v = f->to[f->back[path[--length]]];
      f->next[v]++;
    }
  }
}

/// Marks what the source reaches along arcs with more than `above` left; from: null, or where from.
static void mark_reached(flow *f, double above, bool *reached, int *from) {
  int head = 0, tail = 0;
  memset(reached, 0, sizeof(bool) * (size_t)f->n);
  reached[f->source] = true;
  f->queue[tail++] = f->source;
  while (head < tail) {
    int v = f->queue[head++];
    for (int i = f->first[v]; i < f->first[v + 1]; i++) {
      int u = f->to[i];
      if (reached[u] || f->left[i] <= above) continue;
      reached[u] = true;
      if (from) from[u] = v;
      f->queue[tail++] = u;
    }
  }
}

double maxflow_cut(const flow_network *net, int source, int sink, bool *side) {
  check(source != sink);
  scratch s;
  scratch_open(&s);
  flow f = flow_new(&s.arena, net, source, sink);
  mark_reached(&f, DBL_MAX, side, NULL);
  bool finite = !side[sink];
  if (finite) {
    while (find_distances(&f)) block_paths(&f);
    mark_reached(&f, 0, side, NULL);
  }
  scratch_close(&s);
  double sum = 0;
  for (int i = 0; finite && i < net->edges.len; i++) {
    const flow_edge *e = &net->edges.data[i];
    if (side[e->from] && !side[e->to]) sum += e->capacity;
  }
  return finite ? sum : INFINITY;
}

ints flow_infinite_path(const flow_network *net, int source, int sink) {
  scratch s;
  scratch_open(&s);
  flow f = flow_new(&s.arena, net, source, sink);
  bool *reached = arena_array(&s.arena, bool, net->nodes);
  int *from = arena_array(&s.arena, int, net->nodes);
  mark_reached(&f, DBL_MAX, reached, from);
  ints path = {0};
  for (int v = sink; reached[sink]; v = from[v]) {
    vec_push(net->arena, &path, v);
    if (v == source) break;
  }
  for (int i = 0, k = path.len - 1; i < k; i++, k--) {
    int v = path.data[i];
    path.data[i] = path.data[k], path.data[k] = v;
  }
  scratch_close(&s);
  return path;
}
