// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What keeps a value of a later walk from the one before: the operation that no rule of streams takes
// out of a reduction's elements, or the rules that would, which are switched off.
#include "passes/fusion/outline.h"

/// By node id: it depends on a state of walk `first` or a later one.
static const uint8_t *find_waiting(const outline *o, arena *a, node *const *nodes, int n, int first) {
  uint8_t *waits = arena_array(a, uint8_t, o->g->nodes.len);
  for (int i = 0; i < n; i++) {
    const node *x = nodes[i];
    const outline_value *v = &o->values[x->id];
    waits[x->id] = v->state && v->walk >= first;
    for (int k = 0; k < x->nin; k++) waits[x->id] |= waits[x->in[k]->id];
  }
  return waits;
}

/// Rules that make sums of such terms in one walk.
static unsigned rules_for(const term *t) {
  return (t->factor || t->divisor ? RULE_late_factors : 0) | (t->exponent ? RULE_frames : 0);
}

/// Where the waiting operand of a sum is a sum of terms with forms of their own, the rules that make
/// it several sums in one walk; 0: it is not.
static unsigned rules_for_terms(factoring *f, const node *state) {
  int k = f->waits[state->in[0]->id] ? 0 : 1;
  const node *x = state->in[k];
  bool both = state->nin == 2 && f->waits[state->in[1 - k]->id];
  if (f->obstacle.at != x || (x->op != OP_add && x->op != OP_sub) || both) return 0;
  unsigned rules = RULE_terms;
  for (int i = 0; i < 2; i++) {
    term t = {0};
    if (!factor_carries(f, x->in[i])) return 0;
    if (f->waits[x->in[i]->id] && !factor_value(f, x->in[i], &t)) return 0;
    rules |= rules_for(&t);
  }
  return rules;
}

static obstacle obstacle_of_sum(factoring *f, const node *state) {
  term t[2] = {0}, product;
  int waiting = 0;
  for (int k = 0; k < state->nin; k++) {
    if (!f->waits[state->in[k]->id]) continue;
    if (!factor_value(f, state->in[k], &t[waiting++])) {
      obstacle found = f->obstacle;
      unsigned off = rules_for_terms(f, state) & f->off;
      return off ? (obstacle){REASON_rule_off, found.at, off} : found;
    }
  }
  bool same = waiting < 2 || node_same_axis_set(state->in[0], state->in[1]);
  if (waiting == 2 && same && !factor_product(f, &t[0], &t[1], state, &product)) return f->obstacle;
  unsigned off = (rules_for(&t[0]) | rules_for(&t[1])) & f->off;
  return (obstacle){off ? REASON_rule_off : same ? REASON_not_separable : REASON_both_wait, state, off};
}

/// Of an extreme, or what is no sum.
static obstacle obstacle_of_order(factoring *f, const node *state) {
  node *tile;
  bool turned;
  return factor_order(f, state, &tile, &turned) ? (obstacle){REASON_not_separable, state, 0} : f->obstacle;
}

obstacle outline_obstacle(const outline *o, arena *a, node *const *nodes, int n, unsigned off,
                          const node *value) {
  const outline_value *v = &o->values[value->id];
  obstacle found = {REASON_stored_along_stream, value, 0};
  if (!v->state) return found;
  graph *g = graph_copy(a, o->g);  // nodes are built for the question
  const node *state = g->nodes.data[value->id];
  bool sum = state->op == OP_sum || state->op == OP_dot;
  // Where nothing is in the way of the walk before, what kept the state from those before that is.
  for (int first = v->walk - 1; first > 0; first--) {
    factoring f = {.g = g, .waits = find_waiting(o, a, nodes, n, first), .axes = o->stream,
                   .naxes = o->nstream, .off = off};
    found = sum ? obstacle_of_sum(&f, state) : obstacle_of_order(&f, state);
    if (found.at != state || found.why != REASON_not_separable) break;
  }
  found.at = o->g->nodes.data[found.at->id];
  return found;
}
