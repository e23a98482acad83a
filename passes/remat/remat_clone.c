// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Writes a plan into the graph: what is computed again becomes nodes of its own.
//
//   %1 = exp %x                          %1 = exp %x
//   %2 = mul %1, %1                      %2 = mul %1, %1
//   %3 = mul %g, %2 : ... phase 1        %3 = exp %x : ... recomputed phase 1
//                                  ──▶   %4 = mul %3, %3 : ... recomputed phase 1
//                                        %5 = mul %g, %4 : ... phase 1
//
// Each stands directly before the first node that reads it, so that its kernel runs as late as it can:
// all at once at the beginning of the backward pass, they would take the memory that they save.
#include "base/fault.h"
#include "passes/remat/remat.h"

/// By node id: the first later phase that reads it, through what is computed again.
static int *reading_phases(arena *a, const graph *g, const bool *recomputed) {
  int *phase = arena_array(a, int, g->nodes.len);
  for (int id = g->nodes.len - 1; id >= 0; id--) {
    const node *n = g->nodes.data[id];
    int own = n->phase ? n->phase : recomputed[id] ? phase[id] : 0;
    for (int k = 0; own && k < n->nin; k++) {
      int *of = &phase[n->in[k]->id];
      if (!*of || own < *of) *of = own;
    }
  }
  return phase;
}

void remat_clone(graph *g, const bool *recomputed) {
  scratch s;
  scratch_open(&s);
  int count = g->nodes.len;
  const int *phase = reading_phases(&s.arena, g, recomputed);
  node **again = arena_array(&s.arena, node *, count);
  for (int id = 0; id < count; id++) {
    node *n = g->nodes.data[id];
    if (!n->phase && !(recomputed[id] && phase[id])) continue;
    node **in = arena_array(&s.arena, node *, n->nin);
    for (int k = 0; k < n->nin; k++) in[k] = again[n->in[k]->id] ? again[n->in[k]->id] : n->in[k];
    if (n->phase) {
      for (int k = 0; k < n->nin; k++) n->in[k] = in[k];
      continue;
    }
    check(n->op != OP_param);
    again[id] = graph_clone_node(g, n, in);
    again[id]->flags |= NODE_RECOMPUTED;
    again[id]->phase = phase[id];
    again[id]->contract = again[id]->region = 0;
  }
  graph_compact(g, NULL);
  scratch_close(&s);
}
