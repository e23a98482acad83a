// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Minimum cuts against all cuts of small networks; what they take on large ones.
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <time.h>

#include "base/fault.h"
#include "base/maxflow.h"

static uint64_t state;

static uint32_t draw(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((state >> 33) % below);
}

// ---- all cuts

/// Cost of the cuts of a network, one node changing sides at a time (Gray code).
typedef struct cuts {
  const flow_network *net;
  bool side[16];
  double sum;
  int infinite;
} cuts;

static void count_edge(cuts *c, const flow_edge *e, int sign) {
  if (!c->side[e->from] || c->side[e->to]) return;
  if (isinf(e->capacity)) c->infinite += sign;
  else c->sum += sign * e->capacity;
}

static void count_edges(cuts *c, int node, int sign) {
  for (int i = 0; i < c->net->edges.len; i++) {
    const flow_edge *e = &c->net->edges.data[i];
    if (node < 0 || e->from == node || e->to == node) count_edge(c, e, sign);
  }
}

/// Source 0, sink 1. fewest: nodes with the source in the least cut that has the fewest there.
static double least_cut(const flow_network *net, int *fewest) {
  cuts c = {.net = net, .side = {true}};
  count_edges(&c, -1, 1);
  double best = c.infinite ? INFINITY : c.sum;
  int with_source = 1;
  *fewest = 1;
  for (uint32_t k = 1; k < 1u << (net->nodes - 2); k++) {
    int node = 2 + __builtin_ctz(k);
    count_edges(&c, node, -1);
    c.side[node] = !c.side[node];
    with_source += c.side[node] ? 1 : -1;
    count_edges(&c, node, 1);
    double cost = c.infinite ? INFINITY : c.sum;
    if (cost < best || (cost == best && with_source < *fewest)) best = cost, *fewest = with_source;
  }
  return best;
}

static double cost_of(const flow_network *net, const bool *side) {
  double sum = 0;
  for (int i = 0; i < net->edges.len; i++) {
    const flow_edge *e = &net->edges.data[i];
    if (side[e->from] && !side[e->to]) sum += e->capacity;
  }
  return sum;
}

static double draw_capacity(bool whole) {
  uint32_t kind = draw(8);
  if (kind < 2) return INFINITY;
  if (kind == 2) return 0;
  return whole ? 1 + draw(9) : ldexp(1 + draw(1000), -(int)draw(12)) / 3;
}

/// The path has no arc that is not there or finite.
static void expect_infinite_path(const flow_network *net, const ints *path) {
  cr_assert_geq(path->len, 2);
  cr_assert_eq(path->data[0], 0);
  cr_assert_eq(path->data[path->len - 1], 1);
  for (int i = 0; i + 1 < path->len; i++) {
    bool there = false;
    for (int k = 0; k < net->edges.len; k++) {
      const flow_edge *e = &net->edges.data[k];
      there |= e->from == path->data[i] && e->to == path->data[i + 1] && isinf(e->capacity);
    }
    cr_assert(there, "no infinite edge %d -> %d", path->data[i], path->data[i + 1]);
  }
}

Test(maxflow, least_of_all_cuts) {
  int infinite = 0, shared = 0;
  for (int number = 0; number < 10000; number++) {
    state = (uint64_t)number;
    arena a = {0};
    flow_network net = {.arena = &a};
    int n = 2 + (int)draw(number % 16 == 0 ? 13 : 9);
    for (int i = 0; i < n; i++) flow_add_node(&net);
    bool whole = number % 2 == 0;
    for (int e = (int)draw((uint32_t)(4 * n)); e >= 0; e--)
      flow_add_edge(&net, (int)draw((uint32_t)n), (int)draw((uint32_t)n), draw_capacity(whole));
    bool side[16];
    int fewest, with_source = 0;
    double got = maxflow_cut(&net, 0, 1, side), want = least_cut(&net, &fewest);
    ints path = flow_infinite_path(&net, 0, 1);
    if (isinf(want)) {
      infinite++;
      cr_assert(isinf(got), "network %d: %g instead of none", number, got);
      expect_infinite_path(&net, &path);
    } else {
      cr_assert_eq(path.len, 0);
      cr_assert(side[0] && !side[1], "network %d: source and sink on the same side", number);
      cr_assert_eq(got, cost_of(&net, side), "network %d", number);
      cr_assert(whole ? got == want : fabs(got - want) <= 1e-9,  // sums of sums here
                "network %d: %.17g instead of %.17g", number, got, want);
      for (int i = 0; i < n; i++) with_source += side[i];
      if (whole) cr_assert_eq(with_source, fewest, "network %d", number);
      shared += whole && with_source > 1 && with_source < n - 1;
    }
    arena_free(&a);
  }
  cr_assert(infinite > 1000 && infinite < 5000 && shared > 500, "%d, %d", infinite, shared);
}

Test(maxflow, paths_in_parallel_and_back) {
  arena a = {0};
  flow_network net = {.arena = &a};
  bool side[4];
  for (int i = 0; i < 4; i++) flow_add_node(&net);
  cr_assert_eq(maxflow_cut(&net, 0, 3, side), 0);  // without edges
  flow_add_edge(&net, 0, 1, 2);
  flow_add_edge(&net, 0, 1, 3);  // the same again
  flow_add_edge(&net, 1, 0, 100);
  flow_add_edge(&net, 1, 1, INFINITY);
  flow_add_edge(&net, 1, 3, 4.5);
  cr_assert_eq(maxflow_cut(&net, 0, 3, side), 4.5);
  cr_assert(side[0] && side[1] && !side[2] && !side[3]);
  flow_add_edge(&net, 1, 2, INFINITY);
  flow_add_edge(&net, 2, 3, 1e308);
  cr_assert_eq(maxflow_cut(&net, 0, 3, side), 5);
  arena_free(&a);
}

// Three paths into one: where they were pushed first must not matter.
Test(maxflow, flow_is_taken_back) {
  arena a = {0};
  flow_network net = {.arena = &a};
  bool side[6];
  for (int i = 0; i < 6; i++) flow_add_node(&net);
  flow_add_edge(&net, 0, 1, 1), flow_add_edge(&net, 0, 2, 1);
  flow_add_edge(&net, 1, 3, 1), flow_add_edge(&net, 1, 4, 1), flow_add_edge(&net, 2, 3, 1);
  flow_add_edge(&net, 3, 5, 1), flow_add_edge(&net, 4, 5, 1);
  cr_assert_eq(maxflow_cut(&net, 0, 5, side), 2);
  arena_free(&a);
}

// ---- large networks

typedef void fill(flow_network *net, int nodes, int edges);

static void random_network(flow_network *net, int nodes, int edges) {
  for (int i = 0; i < edges; i++)
    flow_add_edge(net, (int)draw((uint32_t)nodes), (int)draw((uint32_t)nodes), 1 + draw(1000));
}

/// Rows of nodes, edges to the next row only, and some back.
static void layered_network(flow_network *net, int nodes, int edges) {
  enum { ROW = 50 };
  for (int i = 0; i < ROW; i++) flow_add_edge(net, 0, 2 + i, INFINITY);
  for (int i = 0; i < ROW; i++) flow_add_edge(net, nodes - 1 - i, 1, INFINITY);
  for (int i = 0; i < edges - 2 * ROW; i++) {
    int from = 2 + (int)draw((uint32_t)(nodes - 2 - ROW)), to = from + 1 + (int)draw(ROW);
    if (i % 5 == 0) flow_add_edge(net, to, from, 1 + draw(1000) / 7.0);
    else flow_add_edge(net, from, to, 1 + draw(1000) / 7.0);
  }
}

/// What is saved and what is recomputed of a chain of values, of which `need` are read at its end:
/// shortest paths are of all lengths.
static void split_chain(flow_network *net, int nodes, int need) {
  int units = (nodes - 2) / 2;
  for (int u = 0; u < units; u++) {
    int in = 2 + 2 * u, out = in + 1;
    flow_add_edge(net, 0, in, 1 + draw(100) / 3.0);
    flow_add_edge(net, in, out, 1e4 + draw(1000));
    if (u > 0) flow_add_edge(net, out - 2, in, INFINITY);
    if (u > 3 && u % 3 == 0) flow_add_edge(net, out - 6, in, INFINITY);
    if (u >= units - need) flow_add_edge(net, out, 1, INFINITY);
  }
}

static double seconds_of_cut(fill *f, int nodes, int edges) {
  arena a = {0};
  flow_network net = {.arena = &a};
  bool *side = arena_array(&a, bool, nodes);
  state = 1;
  for (int i = 0; i < nodes; i++) flow_add_node(&net);
  f(&net, nodes, edges);
  clock_t before = clock();
  double cut = maxflow_cut(&net, 0, 1, side);
  double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
  cr_log_info("%d nodes, %d edges: cut %g, %.1f ms", nodes, net.edges.len, cut, 1e3 * seconds);
  cr_assert(cut > 0 && isfinite(cut) && side[0] && !side[1]);
  arena_free(&a);
  return seconds;
}

// A search that began anew for each path would take minutes; a recursion would be 10,000 deep.
Test(maxflow, ten_thousand_nodes) {
  enum { NODES = 10000, EDGES = 40000 };
  double limit = 1;  // some ms each where nothing else runs
  cr_assert_lt(seconds_of_cut(random_network, NODES, EDGES), limit);
  cr_assert_lt(seconds_of_cut(layered_network, NODES, EDGES), limit);
  cr_assert_lt(seconds_of_cut(split_chain, NODES, 1), limit);
  cr_assert_lt(seconds_of_cut(split_chain, NODES, 2000), limit);
}
