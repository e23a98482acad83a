// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Minimum cuts of networks with capacities that are doubles, infinite ones among them.
//
//   flow_network net = {.arena = a};
//   int s = flow_add_node(&net), v = flow_add_node(&net), t = flow_add_node(&net);
//   flow_add_edge(&net, s, v, 3);
//   flow_add_edge(&net, v, t, INFINITY);
//   maxflow_cut(&net, s, t, side);   // 3; side[v] is false: v is with the sink
#pragma once
#include "base/vec.h"

typedef struct flow_edge {
  int from, to;
  double capacity;  // not below 0; INFINITY: never cut
} flow_edge;

typedef struct flow_network {
  arena *arena;
  int nodes;
  vec(flow_edge) edges;
} flow_network;

/// Its number: 0, 1, 2, ...
int flow_add_node(flow_network *net);
void flow_add_edge(flow_network *net, int from, int to, double capacity);

/// What the edges from the source's side to the sink's cost together, least of all ways to part the
/// nodes; side (of all nodes) becomes true for those with the source. Of several such parts, the one
/// with the fewest nodes at the source. INFINITY when a path of infinite capacity joins the two:
/// side is then what such paths reach. The finite capacities together must not overflow a double.
/// The flow is found in doubles: of cuts that differ by roundings of them either may be given, but
/// the result is the sum over the edges of that given. Deterministic.
double maxflow_cut(const flow_network *net, int source, int sink, bool *side);

/// The nodes of a shortest path of infinite capacity, from source to sink; none: there is no such path.
ints flow_infinite_path(const flow_network *net, int source, int sink);
