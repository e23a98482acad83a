// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The plan of the least price is a minimum cut.
//
//             rec u              rec v
//   source ─────────▶ u_in    source ─────────▶ v_in          v reads u and is needed
//                      │ save u                  │ save v
//                      ▼              ∞          ▼      ∞
//                     u_out ─────────────▶ v_in v_out ─────▶ sink
//
// v_in at the sink: v is computed again. v_out at the sink: v is there in the backward pass. A finite
// cut pays `rec` for the first, and `save` where the second holds without the first; the infinite
// edges say that what is needed is there, and so are the operands of what is computed again.
// Conversely each plan is a cut of its price. A group is a node in front of its members, with the
// group's price; a read is a node behind u_in, with its price, and in front of its readers.
#include "passes/remat/remat.h"

#include <math.h>

#include "base/fault.h"
#include "base/maxflow.h"

enum { SOURCE, SINK, UNITS };  // then v_in and v_out of each unit, then groups, then reads

static int node_in(int unit) { return UNITS + 2 * unit; }
static int node_out(int unit) { return UNITS + 2 * unit + 1; }

static flow_network build_network(arena *a, const remat_problem *p) {
  flow_network net = {.arena = a};
  for (int i = 0; i < UNITS + 2 * p->units; i++) flow_add_node(&net);
  for (int v = 0; v < p->units; v++) {
    flow_add_edge(&net, SOURCE, node_in(v), p->rec[v]);
    flow_add_edge(&net, node_in(v), node_out(v), p->save[v]);
    if (p->need[v]) flow_add_edge(&net, node_out(v), SINK, INFINITY);
    for (int i = p->first[v]; i < p->first[v + 1]; i++)
      flow_add_edge(&net, node_out(p->operands[i]), node_in(v), INFINITY);
  }
  for (int i = 0; i < p->ngroups; i++) {
    int group = flow_add_node(&net);
    flow_add_edge(&net, SOURCE, group, p->groups[i].price);
    for (int k = 0; k < p->groups[i].n; k++)
      flow_add_edge(&net, group, node_in(p->groups[i].members[k]), INFINITY);
  }
  for (int i = 0; i < p->nreads; i++) {
    int read = flow_add_node(&net);
    flow_add_edge(&net, node_in(p->reads[i].operand), read, p->reads[i].price);
    for (int k = 0; k < p->reads[i].n; k++)
      flow_add_edge(&net, read, node_in(p->reads[i].readers[k]), INFINITY);
  }
  return net;
}

static bool any_of(const bool *set, const int *units, int n) {
  for (int i = 0; i < n; i++)
    if (set[units[i]]) return true;
  return false;
}

static double price_of(const remat_problem *p, const remat_plan *plan) {
  double sum = 0;
  for (int v = 0; v < p->units; v++) {
    if (plan->saved[v]) sum += p->save[v];
    if (plan->recomputed[v]) sum += p->rec[v];
  }
  for (int i = 0; i < p->ngroups; i++)
    if (any_of(plan->recomputed, p->groups[i].members, p->groups[i].n)) sum += p->groups[i].price;
  for (int i = 0; i < p->nreads; i++) {
    const remat_read *r = &p->reads[i];
    if (!plan->recomputed[r->operand] && any_of(plan->recomputed, r->readers, r->n))
      sum += r->price;
  }
  return sum;
}

void remat_follow(arena *a, const remat_problem *p, const bool *may_save, remat_plan *plan) {
  bool *wanted = arena_array(a, bool, p->units);
  *plan = (remat_plan){.saved = arena_array(a, bool, p->units),
                       .recomputed = arena_array(a, bool, p->units)};
  for (int v = p->units - 1; v >= 0; v--) {
    if (!wanted[v] && !p->need[v]) continue;
    plan->saved[v] = may_save[v];
    plan->recomputed[v] = !may_save[v];
    for (int i = p->first[v]; !may_save[v] && i < p->first[v + 1]; i++) {
      check(p->operands[i] < v);
      wanted[p->operands[i]] = true;
    }
  }
  plan->price = price_of(p, plan);
}

/// The units of an infinite path: it enters each by v_in, and leaves by v_out but to another that reads
/// it in memory.
static ints units_of_path(arena *a, const remat_problem *p, const ints *path) {
  ints units = {0};
  for (int i = 0; i < path->len; i++) {
    int node = path->data[i];
    if (node >= UNITS && node < UNITS + 2 * p->units && (node - UNITS) % 2 == 0)
      vec_push(a, &units, (node - UNITS) / 2);
  }
  return units;
}

bool remat_cut(arena *a, const remat_problem *p, remat_plan *plan) {
  scratch s;
  scratch_open(&s);
  flow_network net = build_network(&s.arena, p);
  bool *side = arena_array(&s.arena, bool, net.nodes);
  ints contradiction = {0};
  if (isinf(maxflow_cut(&net, SOURCE, SINK, side))) {
    ints path = flow_infinite_path(&net, SOURCE, SINK);
    contradiction = units_of_path(a, p, &path);
  }
  bool *may_save = arena_array(&s.arena, bool, p->units);
  for (int v = 0; v < p->units; v++) may_save[v] = side[node_in(v)];
  remat_follow(a, p, may_save, plan);
  plan->contradiction = contradiction;
  scratch_close(&s);
  return !contradiction.len;
}
