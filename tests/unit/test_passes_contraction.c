// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contraction recognition and the view passes: fire, do not fire, numbers stay.
#include "passes_support.h"

static arena A;
static graph *G;
static int N, D, H, K;
static node *X, *W;

static void begin(dtype t) {
  G = graph_new(&A, STR("t"));
  N = graph_add_axis(G, STR("N"), ix_const(&G->ix, 4));
  D = graph_add_axis(G, STR("D"), ix_const(&G->ix, 6));
  H = graph_add_axis(G, STR("H"), ix_const(&G->ix, 8));
  K = graph_add_axis(G, STR("K"), ix_const(&G->ix, 3));
  X = graph_param(G, STR("x"), t, (int[]){N, D}, 2);
  W = graph_param(G, STR("w"), t, (int[]){D, H}, 2);
}

static node *bin(op o, node *a, node *b) { return graph_binary(G, o, a, b); }
static node *sum(node *a, int axis) { return graph_reduce(G, OP_sum, a, &axis, 1); }

static graph *after(const char *pass, node *n, bool fast) {
  G->outputs.len = 0;
  graph_output(G, n, STR("out"));
  graph *g = run_pass(&A, G, pass, fast);
  results x = evaluate_wide(&A, G, 11), y = evaluate_wide(&A, g, 11);
  cr_assert_leq(difference(&x, &y), 1e-12);
  return g;
}

Test(passes_contraction, a_sum_of_products_is_a_dot) {
  begin(DT_f32);
  graph *g = after("contraction", sum(bin(OP_mul, X, W), D), false);
  cr_assert_eq(count_op(g, OP_dot), 1);
  cr_assert_eq(count_op(g, OP_mul), 0);
  g = after("contraction", sum(graph_unary(G, OP_neg, bin(OP_mul, X, W)), D), false);
  cr_assert_eq(count_op(g, OP_dot), 1);
}

Test(passes_contraction, products_of_rows_stay_reductions) {
  begin(DT_f32);
  cr_assert_eq(count_op(after("contraction", sum(bin(OP_mul, X, X), D), false), OP_dot), 0);
  node *rows = graph_dot(G, X, X, &D, 1);
  graph *g = after("contraction", rows, false);
  cr_assert_eq(count_op(g, OP_dot), 0);
  cr_assert_eq(count_op(g, OP_sum), 1);
}

Test(passes_contraction, exact_casts_of_the_factors_go) {
  begin(DT_bf16);
  node *x = graph_cast(G, X, DT_f32), *w = graph_cast(G, W, DT_f32);
  graph *g = after("contraction", sum(bin(OP_mul, x, w), D), false);
  cr_assert_eq(count_op(g, OP_dot), 1);
  cr_assert_eq(count_op(g, OP_cast), 0);
  g = after("contraction", graph_dot(G, x, w, &D, 1), false);
  cr_assert_eq(count_op(g, OP_cast), 0);
}

Test(passes_contraction, sums_of_small_integers_are_cut_off) {
  static const dtype small[] = {DT_i8, DT_u8, DT_i16, DT_u16};
  for (int i = 0; i < 4; i++) {
    begin(small[i]);
    node *c = graph_const(G, small[i], (scalar){.i = 57});  // so that products and sums wrap
    node *w = bin(OP_mul, W, c), *product = bin(OP_mul, bin(OP_mul, X, c), w);
    graph *g = after("contraction", sum(product, D), false);
    cr_assert_eq(count_op(g, OP_dot), 1);
    cr_assert_eq(count_op(g, OP_cast), 1);
    g = after("contraction", sum(graph_unary(G, OP_neg, bin(OP_mul, X, w)), D), false);
    cr_assert_eq(count_op(g, OP_dot), 1);
    g = after("contraction", sum(bin(OP_mul, bin(OP_mul, X, w), c), D), false);
    cr_assert_eq(count_op(g, OP_dot), 1);
  }
}

Test(passes_contraction, rounding_casts_stay) {
  begin(DT_f32);
  node *x = graph_cast(G, graph_cast(G, X, DT_bf16), DT_f32);
  graph *g = after("contraction", sum(bin(OP_mul, x, W), D), false);
  cr_assert_eq(count_op(g, OP_dot), 1);
  cr_assert_eq(count_op(g, OP_cast), 2);
}

Test(passes_contraction, several_axes_and_broadcast_factors) {
  begin(DT_f32);
  G = graph_new(&A, STR("t"));
  N = graph_add_axis(G, STR("N"), ix_const(&G->ix, 4));
  D = graph_add_axis(G, STR("D"), ix_const(&G->ix, 6));
  H = graph_add_axis(G, STR("H"), ix_const(&G->ix, 8));
  K = graph_add_axis(G, STR("K"), ix_const(&G->ix, 3));
  node *x = graph_param(G, STR("x"), DT_f32, (int[]){N, D, K}, 3);
  node *w = graph_param(G, STR("w"), DT_f32, (int[]){K, H}, 2);  // lacks D
  int over[2] = {D, K};
  graph *g = after("contraction", graph_reduce(G, OP_sum, bin(OP_mul, x, w), over, 2), false);
  cr_assert_eq(count_op(g, OP_dot), 1);
}

Test(passes_contraction, factors_leave_the_sum_only_when_exact) {
  begin(DT_f32);
  node *half = graph_const_float(G, DT_f32, 0.5), *third = graph_const_float(G, DT_f32, 1.0 / 3);
  node *product = bin(OP_mul, X, W);
  cr_assert_eq(count_op(after("contraction", sum(bin(OP_mul, product, half), D), false), OP_dot), 1);
  cr_assert_eq(count_op(after("contraction", sum(bin(OP_mul, product, third), D), false), OP_dot), 0);
  graph *g = run_pass(&A, G, "contraction", true);  // the last graph under fast math
  cr_assert_eq(count_op(g, OP_dot), 1);
  // A factor with the summed axis is no scale.
  node *d = graph_cast(G, graph_index(G, DT_i32, D), DT_f32);
  cr_assert_eq(count_op(after("contraction", sum(bin(OP_mul, product, d), D), false), OP_dot), 0);
}

// ---- views

static node *split_h(node *a, int p, int q) {  // [N, H] as [N, P, Q]
  int axes[3] = {N, p, q};
  ix h = ix_add(&G->ix, ix_scale(&G->ix, ix_axis(&G->ix, p), 4), ix_axis(&G->ix, q));
  return graph_view(G, a, (ix[]){ix_axis(&G->ix, N), h}, axes, 3);
}

Test(passes_views, split_then_merge_is_nothing) {
  begin(DT_f32);
  int P = graph_add_axis(G, STR("P"), ix_const(&G->ix, 2));
  int Q = graph_add_axis(G, STR("Q"), ix_const(&G->ix, 4));
  node *h = graph_dot(G, X, W, &D, 1), *parts = split_h(h, P, Q);
  int axes[2] = {N, H};
  ix e = ix_axis(&G->ix, H), four = ix_const(&G->ix, 4);
  node *merged = graph_view(G, parts, (ix[]){ix_axis(&G->ix, N), ix_div(&G->ix, e, four),
                                             ix_mod(&G->ix, e, four)}, axes, 2);
  cr_assert_eq(count_op(after("views", merged, false), OP_view), 0);
  cr_assert_eq(count_op(after("views", parts, false), OP_view), 1);
}

Test(passes_views, maps_move_before_the_view_of_a_product) {
  begin(DT_f32);
  int P = graph_add_axis(G, STR("P"), ix_const(&G->ix, 2));
  int Q = graph_add_axis(G, STR("Q"), ix_const(&G->ix, 4));
  node *e = graph_unary(G, OP_exp, split_h(graph_dot(G, X, W, &D, 1), P, Q));
  graph *g = after("views", e, false);
  cr_assert_eq(g->outputs.data[0].value->op, OP_view);
  // A slice would compute elements that nobody asked for.
  int T = graph_add_axis(G, STR("T"), ix_const(&G->ix, 2));
  node *part = graph_view(G, graph_dot(G, X, W, &D, 1),
                          (ix[]){ix_axis(&G->ix, N), ix_axis(&G->ix, T)}, (int[]){N, T}, 2);
  g = after("views", graph_unary(G, OP_exp, part), false);
  cr_assert_eq(g->outputs.data[0].value->op, OP_exp);
}

Test(passes_views, storage_order_of_a_result_is_kept) {
  begin(DT_f32);
  node *t = graph_reorder(G, X, (int[]){D, N});
  graph *g = after("views", t, false);
  cr_assert_eq(g->outputs.data[0].value->axes[0], D);
  // ... but a map reads its operands in any order.
  node *sum2 = bin(OP_add, X, t);
  cr_assert_eq(count_op(after("views", sum2, false), OP_view), 0);
}

Test(passes_views, a_gather_passes_the_cast_of_its_table) {
  begin(DT_f32);
  G = graph_new(&A, STR("t"));
  N = graph_add_axis(G, STR("N"), ix_const(&G->ix, 4));
  D = graph_add_axis(G, STR("D"), ix_const(&G->ix, 6));
  int V = graph_add_axis(G, STR("V"), ix_const(&G->ix, 9));
  node *table = graph_param(G, STR("table"), DT_bf16, (int[]){V, D}, 2);
  node *ids = graph_param(G, STR("ids"), DT_i32, &N, 1);
  graph *g = after("views", graph_gather(G, graph_cast(G, table, DT_f32), V, ids), false);
  cr_assert_eq(g->outputs.data[0].value->op, OP_cast);
}

Test(passes_views, pads_that_stay_inside_are_views) {
  begin(DT_f32);
  int T = graph_add_axis(G, STR("T"), ix_const(&G->ix, 3));
  int U = graph_add_axis(G, STR("U"), ix_const(&G->ix, 8));
  node *zero = graph_const_float(G, DT_f32, 0);
  ix shifted = ix_sub(&G->ix, ix_axis(&G->ix, U), ix_const(&G->ix, 1));
  node *inside = graph_pad(G, X, zero, (ix[]){ix_axis(&G->ix, N), ix_axis(&G->ix, T)},
                           (int[]){N, T}, 2);
  node *outside = graph_pad(G, X, zero, (ix[]){ix_axis(&G->ix, N), shifted}, (int[]){N, U}, 2);
  cr_assert_eq(count_op(after("views", inside, false), OP_pad), 0);
  cr_assert_eq(count_op(after("views", outside, false), OP_pad), 1);
}
