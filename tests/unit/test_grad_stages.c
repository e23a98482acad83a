// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which results of a streamed derivative are of one kernel (ir/grad_stages.c), on graphs of additions.
#include <criterion/criterion.h>

#include "ir/grad_stream.h"

enum { NODES = 60, WALKS = 3 };

static uint64_t state;

static int below(int n) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (int)((state >> 33) % (uint64_t)n);
}

typedef struct stages_test {
  arena arena;
  graph *g;
  int walk[NODES], part[NODES];
  bool inner[NODES];
} stages_test;

static void begin(stages_test *t) {
  *t = (stages_test){.g = NULL};
  t->g = graph_new(&t->arena, STR("t"));
  graph_param(t->g, STR("x"), DT_f32, NULL, 0);
}

/// walk: of a result, 1 and its number.
static int add(stages_test *t, int a, int b, int walk, bool inner) {
  node *n = graph_binary(t->g, OP_add, t->g->nodes.data[a], t->g->nodes.data[b]);
  t->walk[n->id] = walk;
  t->inner[n->id] = walk || inner;
  return n->id;
}

static void solve(stages_test *t) {
  const stream_results r = {t->g->nodes.len, WALKS, t->walk, t->inner};
  grad_stage_results(t->g, &t->arena, &r, t->part);
}

/// A kernel computes what is inner itself, up to what others have stored. needs: by part.
static void collect(const stages_test *t, int id, int part, int walk, bool in_kernel, bool *needs) {
  const node *n = t->g->nodes.data[id];
  for (int k = 0; k < n->nin; k++) {
    int from = n->in[k]->id;
    bool inside = in_kernel && t->inner[from] &&
                  (!t->walk[from] || (t->walk[from] == walk && t->part[from] == part));
    if (t->walk[from] && !inside) needs[t->part[from]] = true;
    else collect(t, from, part, walk, inside, needs);
  }
}

static void check_order(const stages_test *t) {
  enum { PARTS = NODES * WALKS };
  static bool waits[PARTS][PARTS];
  memset(waits, 0, sizeof waits);
  for (int id = 0; id < t->g->nodes.len; id++) {
    if (!t->walk[id]) continue;
    cr_assert(t->part[id] >= 0 && t->part[id] < PARTS);
    for (int k = 0; k < id; k++)
      cr_assert(!t->walk[k] || t->part[k] != t->part[id] || t->walk[k] == t->walk[id],
                "one kernel walks twice");
    collect(t, id, t->part[id], t->walk[id], true, waits[t->part[id]]);
  }
  for (int k = 0; k < PARTS; k++)
    for (int a = 0; a < PARTS; a++)
      for (int b = 0; b < PARTS && waits[a][k]; b++) waits[a][b] |= waits[k][b];
  for (int a = 0; a < PARTS; a++) cr_assert(!waits[a][a], "kernel %d waits for itself", a);
}

Test(grad_stages, no_kernels_wait_for_each_other) {
  state = 11;
  for (int turn = 0; turn < 2000; turn++) {
    stages_test t;
    begin(&t);
    int count = 2 + below(18), results = 1 + below(4);
    while (t.g->nodes.len < count) {
      int near = t.g->nodes.len < 4 ? t.g->nodes.len : 4, a = t.g->nodes.len - 1 - below(near),
          b = t.g->nodes.len - 1 - below(near);
      add(&t, a, b, below(results) ? 0 : 1 + below(WALKS), below(3));
    }
    solve(&t);
    check_order(&t);
    arena_free(&t.arena);
  }
}

Test(grad_stages, many_kernels) {
  stages_test t;
  begin(&t);
  for (int last = 0; t.g->nodes.len < NODES;)
    last = add(&t, last, last, 1 + t.g->nodes.len % 2, true);
  solve(&t);
  check_order(&t);
  arena_free(&t.arena);
}

// Of the derivative of attention c and dq are one kernel, dk and dv another.
Test(grad_stages, what_need_not_be_apart_is_together) {
  stages_test t;
  begin(&t);
  int c = add(&t, 0, 0, 1, true), ds = add(&t, c, 0, 0, true), dq = add(&t, ds, 0, 1, true),
      dv = add(&t, 0, 0, 2, true), dk = add(&t, ds, 0, 2, true);
  solve(&t);
  cr_assert_eq(t.part[c], t.part[dq]);
  cr_assert_eq(t.part[dk], t.part[dv]);
  cr_assert_neq(t.part[c], t.part[dk]);
  arena_free(&t.arena);
}

// What is made of a result outside of the block is not there while the result's kernel runs.
Test(grad_stages, what_comes_back_from_outside_is_apart) {
  stages_test t;
  begin(&t);
  int a = add(&t, 0, 0, 1, true), outside = add(&t, a, a, 0, false),
      b = add(&t, outside, 0, 1, true);
  solve(&t);
  cr_assert_neq(t.part[a], t.part[b]);
  arena_free(&t.arena);
}
