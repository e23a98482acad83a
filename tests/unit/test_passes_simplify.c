// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rewrites: each fires, does not fire where it must not, and leaves the numbers as they are.
#include "passes_support.h"

static arena A;
static graph *G;
static int N, D, ONE;
static node *X, *Y, *I;

static void begin(void) {
  G = graph_new(&A, STR("t"));
  N = graph_add_axis(G, STR("N"), ix_const(&G->ix, 5));
  D = graph_add_axis(G, STR("D"), ix_const(&G->ix, 7));
  ONE = graph_add_axis(G, STR("O"), ix_const(&G->ix, 1));
  X = graph_param(G, STR("x"), DT_f32, (int[]){N, D}, 2);
  Y = graph_param(G, STR("y"), DT_f32, (int[]){N, D}, 2);
  I = graph_param(G, STR("i"), DT_i32, (int[]){N, D}, 2);
}

static node *number(dtype t, double v) { return graph_const_float(G, t, v); }
static node *f32c(double v) { return number(DT_f32, v); }
static node *bin(op o, node *a, node *b) { return graph_binary(G, o, a, b); }

/// Simplifies a graph that returns n; without fast math every bit stays.
static graph *simplified(node *n, bool fast) {
  G->outputs.len = 0;
  graph_output(G, n, STR("out"));
  graph *after = run_pass(&A, G, "simplify", fast);
  results x = evaluate(&A, G, 7), y = evaluate(&A, after, 7);
  double worst = difference(&x, &y);
  cr_assert_leq(worst, fast ? 1e-5 : 0);
  return after;
}

static const node *result(const graph *g) { return g->outputs.data[0].value; }
static bool is_param(const graph *g, const char *name) {
  return result(g)->op == OP_param && str_eqz(result(g)->name, name);
}

Test(passes_simplify, neutral_elements_go) {
  begin();
  cr_assert(is_param(simplified(bin(OP_mul, X, f32c(1)), false), "x"));
  cr_assert(is_param(simplified(bin(OP_mul, f32c(1), X), false), "x"));
  cr_assert(is_param(simplified(bin(OP_div, X, f32c(1)), false), "x"));
  cr_assert(is_param(simplified(bin(OP_sub, X, f32c(0)), false), "x"));
  cr_assert(is_param(simplified(bin(OP_add, X, f32c(-0.0)), false), "x"));
  cr_assert(is_param(simplified(bin(OP_add, I, number(DT_i32, 0)), false), "i"));
}

Test(passes_simplify, recurrences_with_a_factor_of_one_are_running_sums) {
  begin();
  int axes[2] = {N, D};
  node *ones = graph_view(G, f32c(1), NULL, axes, 2);
  node *row = graph_reduce(G, OP_reduce_max, X, &N, 1);
  const node *sum = result(simplified(graph_affine_scan(G, f32c(1), X, D, NODE_REVERSE), false));
  cr_assert_eq(sum->op, OP_cumsum);
  cr_assert_eq(sum->flags, NODE_REVERSE);
  sum = result(simplified(graph_affine_scan(G, ones, row, N, NODE_EXCLUSIVE), false));
  cr_assert_eq(sum->op, OP_cumsum);
  cr_assert_eq(sum->naxes, 2);
  cr_assert_eq(result(simplified(graph_affine_scan(G, f32c(0.5), X, D, 0), false))->op, OP_affine_scan);
  cr_assert_eq(result(simplified(graph_affine_scan(G, X, f32c(1), D, 0), false))->op, OP_affine_scan);
}

Test(passes_simplify, adding_zero_stays_because_of_negative_zero) {
  begin();
  cr_assert_eq(result(simplified(bin(OP_add, X, f32c(0)), false))->op, OP_add);
  cr_assert_eq(result(simplified(bin(OP_sub, X, f32c(-0.0)), false))->op, OP_sub);
  cr_assert_eq(result(simplified(bin(OP_mul, X, f32c(0)), false))->op, OP_mul);
  cr_assert(is_param(simplified(bin(OP_add, X, f32c(0)), true), "x"));
}

Test(passes_simplify, subtracting_itself_is_zero_for_integers_only) {
  begin();
  cr_assert_eq(result(simplified(bin(OP_sub, I, I), false))->op, OP_view);
  cr_assert_eq(result(simplified(bin(OP_sub, X, X), false))->op, OP_sub);
  cr_assert_eq(result(simplified(bin(OP_sub, X, X), true))->op, OP_view);
}

Test(passes_simplify, division_by_a_power_of_two_is_a_product) {
  begin();
  cr_assert_eq(result(simplified(bin(OP_div, X, f32c(8)), false))->op, OP_mul);
  cr_assert_eq(result(simplified(bin(OP_div, X, f32c(-0.25)), false))->op, OP_mul);
  cr_assert_eq(result(simplified(bin(OP_div, X, f32c(3)), false))->op, OP_div);
  cr_assert_eq(result(simplified(bin(OP_div, X, f32c(0x1p126)), false))->op, OP_div);
  cr_assert_eq(result(simplified(bin(OP_div, I, number(DT_i32, 4)), false))->op, OP_div);
  cr_assert_eq(result(simplified(bin(OP_div, X, f32c(3)), true))->op, OP_mul);
}

Test(passes_simplify, small_integer_powers_are_products) {
  begin();
  cr_assert_eq(count_op(simplified(bin(OP_pow, X, f32c(2)), false), OP_pow), 0);
  cr_assert(is_param(simplified(bin(OP_pow, X, f32c(1)), false), "x"));
  cr_assert_eq(count_op(simplified(bin(OP_pow, X, f32c(2.5)), false), OP_pow), 1);
  cr_assert_eq(count_op(simplified(bin(OP_pow, X, f32c(0.5)), false), OP_pow), 1);
}

Test(passes_simplify, double_negation_and_signs) {
  begin();
  node *neg = graph_unary(G, OP_neg, X);
  cr_assert(is_param(simplified(graph_unary(G, OP_neg, neg), false), "x"));
  cr_assert_eq(result(simplified(bin(OP_add, Y, neg), false))->op, OP_sub);
  cr_assert_eq(result(simplified(bin(OP_sub, Y, neg), false))->op, OP_add);
  cr_assert_eq(count_op(simplified(bin(OP_mul, neg, graph_unary(G, OP_neg, Y)), false), OP_neg), 0);
  cr_assert_eq(count_op(simplified(bin(OP_mul, neg, Y), false), OP_neg), 1);
}

Test(passes_simplify, where_of_equal_arms) {
  begin();
  node *c = graph_map(G, OP_lt, (node *[]){X, Y}, 2, DT_bool);
  cr_assert(is_param(simplified(graph_where(G, c, X, X), false), "x"));
  graph *g = simplified(graph_where(G, graph_unary(G, OP_not, c), X, Y), false);
  cr_assert_eq(count_op(g, OP_not), 0);
  cr_assert_eq(result(simplified(graph_where(G, c, X, Y), false))->op, OP_where);
}

Test(passes_simplify, casts_of_widening_casts) {
  begin();
  node *wide = graph_cast(G, X, DT_f64);
  cr_assert(is_param(simplified(graph_cast(G, wide, DT_f32), false), "x"));
  cr_assert_eq(count_op(simplified(graph_cast(G, wide, DT_bf16), false), OP_cast), 1);
  node *narrow = graph_cast(G, X, DT_bf16);
  cr_assert_eq(count_op(simplified(graph_cast(G, narrow, DT_f32), false), OP_cast), 2);
  // i32 to f64 is exact, but f64 to i8 saturates where i32 to i8 wraps.
  node *real = graph_cast(G, bin(OP_mul, I, number(DT_i32, 100)), DT_f64);
  cr_assert_eq(count_op(simplified(graph_cast(G, real, DT_i8), false), OP_cast), 2);
  cr_assert_eq(count_op(simplified(graph_cast(G, graph_cast(G, I, DT_i64), DT_i8), false), OP_cast),
               1);
}

Test(passes_simplify, integer_constants_are_gathered) {
  begin();
  node *sum = bin(OP_add, bin(OP_add, I, number(DT_i32, 2)), number(DT_i32, 3));
  cr_assert_eq(count_op(simplified(sum, false), OP_add), 2);  // 2 + 3 is fold's
  node *real = bin(OP_add, bin(OP_add, X, f32c(2)), f32c(3));
  graph *exact = simplified(real, false), *fast = simplified(real, true);
  cr_assert_eq(result(exact)->in[0]->op, OP_add);
  cr_assert_eq(result(fast)->in[0]->op, OP_param);
}

Test(passes_simplify, reductions_over_one_element_select_it) {
  begin();
  G = graph_new(&A, STR("t"));
  N = graph_add_axis(G, STR("N"), ix_const(&G->ix, 5));
  ONE = graph_add_axis(G, STR("O"), ix_const(&G->ix, 1));
  X = graph_param(G, STR("x"), DT_f32, (int[]){N, ONE}, 2);
  cr_assert_eq(result(simplified(graph_reduce(G, OP_reduce_max, X, &ONE, 1), false))->op, OP_view);
  cr_assert_eq(result(simplified(graph_reduce(G, OP_prod, X, &ONE, 1), false))->op, OP_view);
  cr_assert_eq(result(simplified(graph_reduce(G, OP_sum, X, &ONE, 1), false))->op, OP_sum);
  cr_assert_eq(result(simplified(graph_reduce(G, OP_sum, X, &ONE, 1), true))->op, OP_view);
  cr_assert_eq(result(simplified(graph_reduce(G, OP_prod, X, &N, 1), false))->op, OP_prod);
}

Test(passes_simplify, reductions_of_reductions_join) {
  begin();
  node *rows = graph_reduce(G, OP_reduce_max, X, &D, 1);
  graph *g = simplified(graph_reduce(G, OP_reduce_max, rows, &N, 1), false);
  cr_assert_eq(count_op(g, OP_reduce_max), 1);
  cr_assert_eq(result(g)->nattr_axes, 2);
  cr_assert_eq(count_op(simplified(graph_reduce(G, OP_reduce_min, rows, &N, 1), false),
                        OP_reduce_max), 1);
}

Test(passes_simplify, fast_math_hoists_the_division_and_fuses_multiply_add) {
  begin();
  node *rows = graph_reduce(G, OP_sum, bin(OP_mul, X, X), &D, 1);
  node *normal = bin(OP_div, X, rows);
  cr_assert_eq(result(simplified(normal, false))->op, OP_div);
  cr_assert_eq(result(simplified(normal, true))->op, OP_mul);
  node *line = bin(OP_add, bin(OP_mul, X, Y), f32c(2));
  cr_assert_eq(result(simplified(line, true))->op, OP_fma);
  cr_assert_eq(result(simplified(line, false))->op, OP_add);
  node *root = bin(OP_div, Y, graph_unary(G, OP_sqrt, bin(OP_mul, X, X)));
  cr_assert_eq(count_op(simplified(root, true), OP_rsqrt), 1);
  cr_assert_eq(count_op(simplified(root, false), OP_rsqrt), 0);
}

// ---- constant folding

static graph *folded(node *n) {
  G->outputs.len = 0;
  graph_output(G, n, STR("out"));
  graph *after = run_pass(&A, G, "fold", false);
  results x = evaluate(&A, G, 7), y = evaluate(&A, after, 7);
  cr_assert_eq(difference(&x, &y), 0);
  return after;
}

Test(passes_fold, constants_and_sizes) {
  begin();
  node *c = bin(OP_mul, f32c(2), graph_unary(G, OP_exp, f32c(1)));
  cr_assert_eq(result(folded(c))->op, OP_const);
  node *size = graph_cast(G, graph_size(G, DT_i64, graph_axis_size(G, D)), DT_f32);
  const node *seven = result(folded(size));
  cr_assert_eq(seven->op, OP_const);
  cr_assert_eq(seven->value.f, 7);
  cr_assert_eq(result(folded(bin(OP_mul, X, c)))->op, OP_mul);
}

Test(passes_fold, a_symbolic_size_takes_the_cast) {
  begin();
  node *size = graph_cast(G, graph_size(G, DT_i64, ix_sym(&G->ix, STR("S"))), DT_f32);
  int S = graph_add_axis(G, STR("S"), ix_sym(&G->ix, STR("S")));
  vec_push(&A, &G->symbols, STR("S"));
  (void)S;
  graph_output(G, size, STR("out"));
  arena scratch = {0};
  pass_ctx ctx = {.graph = G, .scratch = &scratch};
  pass_fold(&ctx);
  cr_assert_eq(result(G)->op, OP_size);
  cr_assert_eq(result(G)->type, DT_f32);
}

// ---- common subexpressions

static graph *shared(node *n) {
  G->outputs.len = 0;
  graph_output(G, n, STR("out"));
  graph *after = run_pass(&A, G, "cse", false);
  results x = evaluate(&A, G, 7), y = evaluate(&A, after, 7);
  cr_assert_eq(difference(&x, &y), 0);
  return after;
}

Test(passes_cse, equal_expressions_are_one) {
  begin();
  node *a = graph_unary(G, OP_exp, bin(OP_add, X, Y)), *b = graph_unary(G, OP_exp, bin(OP_add, Y, X));
  graph *g = shared(bin(OP_mul, a, b));
  cr_assert_eq(count_op(g, OP_exp), 1);
  cr_assert_eq(count_op(g, OP_add), 1);
}

Test(passes_cse, different_ones_are_not) {
  begin();
  node *a = bin(OP_sub, X, Y), *b = bin(OP_sub, Y, X);
  cr_assert_eq(count_op(shared(bin(OP_mul, a, b)), OP_sub), 2);
  node *m = bin(OP_add, graph_reduce(G, OP_sum, X, &D, 1), f32c(0.0));
  node *z = bin(OP_add, graph_reduce(G, OP_sum, X, &D, 1), f32c(-0.0));
  graph *g = shared(bin(OP_div, m, z));
  cr_assert_eq(count_op(g, OP_add), 2);  // 0 and -0 are two constants
  cr_assert_eq(count_op(g, OP_sum), 1);
}

Test(passes_simplify, selections_of_bounds_are_extrema) {
  begin();
  node *zero = f32c(0), *minus = f32c(-0.0), *two = f32c(2);
  cr_assert_eq(result(simplified(graph_where(G, bin(OP_le, X, zero), f32c(0), X), false))->op, OP_max);
  cr_assert_eq(result(simplified(graph_where(G, bin(OP_ge, X, two), f32c(2), X), false))->op, OP_min);
  cr_assert_eq(result(simplified(graph_where(G, bin(OP_le, X, minus), f32c(-0.0), X), false))->op, OP_where);
  cr_assert_eq(result(simplified(graph_where(G, bin(OP_ge, X, zero), f32c(0), X), false))->op, OP_where);
  cr_assert_eq(result(simplified(graph_where(G, bin(OP_le, X, two), f32c(3), X), false))->op, OP_where);
  cr_assert_eq(result(simplified(graph_where(G, bin(OP_le, X, zero), X, f32c(0)), false))->op, OP_where);
}
