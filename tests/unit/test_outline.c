// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Walk numbers of kernels of loop nests, on random small graphs: what outline_make finds going once
// through the nodes is the least that any assignment of walks to states can be.
#include <criterion/criterion.h>

#include "passes/fusion/outline.h"

enum { STATES = 5, NODES = 40 };

typedef struct sample {
  arena a;
  graph *g;
  int rows, stream;         // axes
  node *tile[NODES], *row[NODES];
  int ntile, nrow, nstates;
  node *states[STATES];
  uint8_t *member, *stored;
  unsigned *deps;           // by node id: states that it depends on, as bits
  uint64_t random;
} sample;

static int pick(sample *s, int n) {
  s->random ^= s->random << 13;  // xorshift (Marsaglia 2003)
  s->random ^= s->random >> 7;
  s->random ^= s->random << 17;
  return (int)(s->random % (uint64_t)n);
}

static node *any_tile(sample *s) { return s->tile[pick(s, s->ntile)]; }
static node *any_row(sample *s) { return s->row[pick(s, s->nrow)]; }

static void add_tile(sample *s) {
  graph *g = s->g;
  node *n;
  switch (pick(s, 8)) {
    case 0: n = graph_binary(g, OP_mul, any_tile(s), any_tile(s)); break;
    case 1: n = graph_binary(g, OP_add, any_tile(s), any_row(s)); break;
    case 2: n = graph_unary(g, OP_neg, any_tile(s)); break;
    case 3: n = graph_binary(g, OP_div, any_tile(s), any_row(s)); break;
    case 4: n = graph_where(g, graph_binary(g, OP_gt, any_tile(s), any_row(s)), any_tile(s),
                            graph_const_float(g, DT_f32, 0)); break;
    default: n = graph_unary(g, OP_exp, graph_binary(g, OP_sub, any_tile(s), any_row(s))); break;
  }
  s->tile[s->ntile++] = n;
}

static void add_state(sample *s) {
  op kind = pick(s, 2) ? OP_reduce_max : OP_sum;
  node *n = graph_reduce(s->g, kind, any_tile(s), &s->stream, 1);
  for (int i = 0; i < s->nstates; i++)
    if (s->states[i]->op == n->op && s->states[i]->in[0] == n->in[0]) return;
  s->states[s->nstates++] = s->row[s->nrow++] = n;
  graph_output(s->g, n, str_printf(&s->a, "o%d", s->nstates));
}

static void make(sample *s, uint64_t seed) {
  *s = (sample){.random = seed * 0x9e3779b97f4a7c15};
  graph *g = s->g = graph_new(&s->a, STR("f"));
  s->rows = graph_add_axis(g, STR("S"), ix_sym(&g->ix, STR("S")));
  s->stream = graph_add_axis(g, STR("T"), ix_sym(&g->ix, STR("T")));
  int both[2] = {s->rows, s->stream};
  s->tile[s->ntile++] = graph_param(g, STR("x"), DT_f32, both, 2);
  s->tile[s->ntile++] = graph_param(g, STR("y"), DT_f32, both, 2);
  s->row[s->nrow++] = graph_param(g, STR("r"), DT_f32, &s->rows, 1);
  for (int i = 0; i < 14; i++) {
    if (s->nstates < STATES && pick(s, 3) == 0) add_state(s);
    else if (pick(s, 4) == 0) s->row[s->nrow++] = graph_binary(g, OP_mul, any_row(s), any_row(s));
    else add_tile(s);
  }
  if (!s->nstates) add_state(s);
  int count = g->nodes.len;
  s->member = arena_array(&s->a, uint8_t, count);
  s->stored = arena_array(&s->a, uint8_t, count);
  s->deps = arena_array(&s->a, unsigned, count);
  for (int i = 0; i < count; i++) s->member[i] = g->nodes.data[i]->op != OP_param;
  for (int i = 0; i < s->nstates; i++) s->stored[s->states[i]->id] = 1;
  for (int i = 0; i < count; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->nin; k++) s->deps[i] |= s->deps[n->in[k]->id];
    for (int k = 0; k < s->nstates; k++)
      if (s->states[k] == n) s->deps[i] |= 1u << k;
  }
}

/// n is exp(x - max), times what depends on no state.
static bool is_relative(const sample *s, const node *n, const node *max) {
  const node *x = n->in[0], *y = n->nin > 1 ? n->in[1] : NULL;
  if (!s->deps[n->id]) return false;
  switch (n->op) {
    case OP_exp: return x->op == OP_sub && x->in[1] == max && !s->deps[x->in[0]->id];
    case OP_neg: return is_relative(s, x, max);
    case OP_mul:
      return (!s->deps[y->id] && is_relative(s, x, max)) || (!s->deps[x->id] && is_relative(s, y, max));
    case OP_div: return !s->deps[y->id] && is_relative(s, x, max);
    case OP_where: return !s->deps[x->id] && is_relative(s, y, max);
    default: return false;
  }
}

/// Each state is in a later walk than what its elements depend on, or in that of the maximum that they
/// are relative to.
static bool is_valid(const sample *s, const int *walk) {
  for (int i = 0; i < s->nstates; i++) {
    const node *n = s->states[i], *x = n->in[0];
    bool later = true, with_frame = false;
    for (int k = 0; k < s->nstates; k++) {
      if (s->deps[x->id] >> k & 1) later &= walk[k] < walk[i];
      // A maximum that depends on nothing but finished states of its own.
      bool relative = n->op == OP_sum && s->states[k]->op == OP_reduce_max && is_relative(s, x, s->states[k]);
      bool finished = true;
      for (int j = 0; j < s->nstates; j++)
        if (j != k && (s->deps[x->id] >> j & 1)) finished &= walk[j] < walk[i];
      with_frame |= relative && finished && walk[k] <= walk[i];
    }
    if (!later && !with_frame) return false;
  }
  return true;
}

/// The least walk of each state over all assignments.
static void search(const sample *s, int *walk, int at, int *least) {
  if (at == s->nstates) {
    if (!is_valid(s, walk)) return;
    for (int i = 0; i < at; i++)
      if (walk[i] < least[i]) least[i] = walk[i];
    return;
  }
  for (walk[at] = 1; walk[at] <= s->nstates; walk[at]++) search(s, walk, at + 1, least);
}

Test(outline, walks_are_the_least_there_are) {
  int several = 0, framed = 0;
  for (uint64_t seed = 1; seed <= 400; seed++) {
    sample s;
    make(&s, seed);
    contract c = {.streamed = true, .naxes = 1, .axes = &s.stream};
    node **nodes = arena_array(&s.a, node *, s.g->nodes.len);
    int n = 0;
    for (int i = 0; i < s.g->nodes.len; i++)
      if (s.member[i]) nodes[n++] = s.g->nodes.data[i];
    outline o;
    reason why;
    int at, walk[STATES], least[STATES], most = 0;
    cr_assert(outline_make(&o, &s.a, s.g, nodes, n, s.member, s.stored, &c, &why, &at));
    for (int i = 0; i < s.nstates; i++) least[i] = STATES + 1;
    search(&s, walk, 0, least);
    for (int i = 0; i < s.nstates; i++) {
      const outline_value *v = &o.values[s.states[i]->id];
      cr_expect_eq(v->walk, least[i], "seed %d: state %d is in walk %d, not %d", (int)seed, i, v->walk,
                   least[i]);
      if (least[i] > most) most = least[i];
      framed += v->frame != NULL;
    }
    cr_expect_eq(o.walks, most);
    several += most > 1;
    arena_free(&s.a);
  }
  cr_expect_gt(several, 100);
  cr_expect_gt(framed, 20);
}
