// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// One-hot sums: they become gathers of the same value bit for bit, where they are what they seem.
#include "passes_support.h"

static arena A;
static graph *G;
static int N, T;
static node *X, *TARGET;

static void begin(dtype type, int64_t length) {
  G = graph_new(&A, STR("t"));
  N = graph_add_axis(G, STR("N"), ix_const(&G->ix, 5));
  T = graph_add_axis(G, STR("T"), ix_const(&G->ix, length));
  X = graph_param(G, STR("x"), type, (int[]){N, T}, 2);
  TARGET = graph_param(G, STR("t"), DT_i32, (int[]){N}, 1);
}

static node *zero(dtype t) { return graph_const_float(G, t, 0); }

/// sum over T of where(index T == target, X, other)
static node *selection(node *target, node *other) {
  node *here = graph_binary(G, OP_eq, graph_index(G, DT_i32, T), target);
  return graph_reduce(G, OP_sum, graph_where(G, here, X, other), &T, 1);
}

static int gathers_after(node *n) {
  G->outputs.len = 0;
  graph_output(G, n, STR("out"));
  graph *g = run_pass(&A, G, "onehot", false);
  results x = evaluate(&A, G, 5), y = evaluate(&A, g, 5);
  cr_assert_eq(difference(&x, &y), 0);
  return count_op(g, OP_gather);
}

Test(passes_onehot, it_fires) {
  begin(DT_f32, 7);
  cr_expect_eq(gathers_after(selection(TARGET, zero(DT_f32))), 1);
  begin(DT_i32, 7);
  cr_expect_eq(gathers_after(selection(TARGET, zero(DT_i32))), 1);
}

Test(passes_onehot, targets_outside_select_nothing) {
  begin(DT_f32, 3);  // the targets go up to 3
  cr_expect_eq(gathers_after(selection(TARGET, zero(DT_f32))), 1);
  begin(DT_f32, 7);
  node *far = graph_binary(G, OP_sub, TARGET, graph_const_float(G, DT_i32, 2));
  cr_expect_eq(gathers_after(selection(far, zero(DT_f32))), 1);
}

Test(passes_onehot, it_does_not_fire) {
  begin(DT_f32, 7);
  cr_expect_eq(gathers_after(selection(TARGET, graph_const_float(G, DT_f32, 1))), 0);
  cr_expect_eq(gathers_after(selection(TARGET, graph_const_float(G, DT_f32, -0.0))), 0);
  node *along = graph_binary(G, OP_rem, graph_cast(G, graph_unary(G, OP_floor, X), DT_i32),
                             graph_const_float(G, DT_i32, 3));
  cr_expect_eq(gathers_after(selection(along, zero(DT_f32))), 0);  // a target for each element
  node *best = graph_binary(G, OP_le, graph_index(G, DT_i32, T), TARGET);
  node *several = graph_where(G, best, X, zero(DT_f32));
  cr_expect_eq(gathers_after(graph_reduce(G, OP_sum, several, &T, 1)), 0);
  cr_expect_eq(gathers_after(graph_reduce(G, OP_reduce_max, several, &T, 1)), 0);
  begin(DT_f32, 1);  // the sum keeps -0
  cr_expect_eq(gathers_after(selection(TARGET, zero(DT_f32))), 0);
}

/// index(T)[T = target] is the target, checked: so is the gather, along an axis of any size.
Test(passes_onehot, checked_targets_stay_checked) {
  for (int length = 1; length < 8; length += 6) {
    begin(DT_f32, length);
    node *target = graph_gather(G, graph_index(G, DT_i32, T), T, TARGET);
    graph_output(G, selection(target, zero(DT_f32)), STR("out"));
    graph *g = run_pass(&A, G, "onehot", false);
    const node *sum = g->outputs.data[0].value, *read = sum->in[0];
    cr_assert(sum->op == OP_add && read->op == OP_gather);
    cr_expect(read->in[0]->op == OP_param && read->in[1]->op == OP_param && !read->flags);
  }
}
