// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Fusion: which operators share a kernel, which do not, and the reasons recorded.
#include <criterion/criterion.h>
#include <time.h>

#include "base/fault.h"
#include "passes/fusion/group.h"
#include "passes/passes.h"

typedef struct fixture {
  arena a, scratch;
  graph *g;
  int N, D, H, E;
} fixture;

static fixture *begin(void) {
  static fixture f;  // one test runs per process
  f.g = graph_new(&f.a, STR("t"));
  f.N = graph_add_axis(f.g, STR("N"), ix_const(&f.g->ix, 512));
  f.D = graph_add_axis(f.g, STR("D"), ix_const(&f.g->ix, 768));
  f.H = graph_add_axis(f.g, STR("H"), ix_const(&f.g->ix, 3072));
  f.E = graph_add_axis(f.g, STR("E"), ix_const(&f.g->ix, 256));
  return &f;
}

static node *param(fixture *f, const char *name, dtype t, int a, int b) {
  int axes[2] = {a, b};
  return graph_param(f->g, str_from(name), t, axes, b < 0 ? 1 : 2);
}

static group *fuse(fixture *f, int *count) {
  pass_options options = {0};
  pass_ctx ctx = {.graph = f->g, .scratch = &f->scratch, .options = &options};
  pass_fuse(&ctx);
  cr_assert(f->g->fused);
  return graph_groups(f->g, NULL, &f->a, count);
}

static int count_reason(const graph *g, reason why, bool fused) {
  int n = 0;
  for (int i = 0; i < g->decisions.len; i++)
    n += g->decisions.data[i].why == why && g->decisions.data[i].fused == fused;
  return n;
}

static node *softmax(graph *g, node *x, int axis) {
  node *e = graph_unary(g, OP_exp, graph_binary(g, OP_sub, x,
                                                graph_reduce(g, OP_reduce_max, x, &axis, 1)));
  return graph_binary(g, OP_div, e, graph_reduce(g, OP_sum, e, &axis, 1));
}

static node *rmsnorm(graph *g, node *x, int axis) {
  node *square = graph_binary(g, OP_mul, x, x);
  node *mean = graph_binary(g, OP_div, graph_reduce(g, OP_sum, square, &axis, 1),
                            graph_size(g, x->type, graph_axis_size(g, axis)));
  return graph_binary(g, OP_mul, x, graph_unary(g, OP_rsqrt, mean));
}

Test(passes_fuse, softmax_is_one_kernel_along_any_axis) {
  for (int along = 0; along < 2; along++) {
    fixture *f = begin();
    node *x = param(f, "x", DT_f32, f->N, f->D);
    graph_output(f->g, softmax(f->g, x, along ? f->D : f->N), STR("out"));
    int n;
    group *groups = fuse(f, &n);
    cr_assert_eq(n, 1);
    cr_assert_eq(groups[0].kind, GROUP_REDUCE);
    cr_assert_eq(groups[0].reductions.len, 2);
    cr_assert_eq(groups[0].inputs.len, 1);
    cr_assert_eq(groups[0].outputs.len, 1);
  }
}

Test(passes_fuse, residual_and_rmsnorm_share_a_kernel_with_two_outputs) {
  fixture *f = begin();
  node *x = param(f, "x", DT_f32, f->N, f->D), *y = param(f, "y", DT_f32, f->N, f->D);
  node *r = graph_binary(f->g, OP_add, x, y);
  graph_output(f->g, rmsnorm(f->g, r, f->D), STR("out0"));
  graph_output(f->g, r, STR("out1"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 1);
  cr_assert_eq(groups[0].outputs.len, 2);
}

Test(passes_fuse, cross_entropy_is_one_kernel) {
  fixture *f = begin();
  graph *g = f->g;
  node *z = param(f, "z", DT_f32, f->N, f->D), *target = param(f, "t", DT_i32, f->N, -1);
  node *m = graph_reduce(g, OP_reduce_max, z, &f->D, 1);
  node *s = graph_reduce(g, OP_sum, graph_unary(g, OP_exp, graph_binary(g, OP_sub, z, m)), &f->D, 1);
  node *lse = graph_binary(g, OP_add, graph_unary(g, OP_log, s), m);
  node *hit = graph_map(g, OP_eq, (node *[]){graph_index(g, DT_i32, f->D), target}, 2, DT_bool);
  node *picked = graph_reduce(g, OP_sum,
                              graph_where(g, hit, z, graph_const_float(g, DT_f32, 0)), &f->D, 1);
  graph_output(g, graph_binary(g, OP_sub, lse, picked), STR("out"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 1);
  cr_assert_eq(groups[0].reductions.len, 3);
}

Test(passes_fuse, bias_activation_and_rounding_are_the_epilogue) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_bf16, f->N, f->D), *w1 = param(f, "w1", DT_bf16, f->D, f->H);
  node *b = param(f, "b", DT_f32, f->H, -1), *w2 = param(f, "w2", DT_bf16, f->H, f->E);
  node *h = graph_binary(g, OP_add, graph_dot(g, x, w1, &f->D, 1), b);
  h = graph_binary(g, OP_mul, h, graph_unary(g, OP_sigmoid, h));
  h = graph_cast(g, h, DT_bf16);
  graph_output(g, graph_cast(g, graph_dot(g, h, w2, &f->H, 1), DT_bf16), STR("out"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 2);
  for (int i = 0; i < 2; i++) {
    cr_assert_eq(groups[i].kind, GROUP_CONTRACTION);
    cr_assert_eq(groups[i].outputs.len, 1);
    cr_assert_eq(groups[i].outputs.data[0]->type, DT_bf16);
  }
  cr_assert_eq(count_reason(g, REASON_second_contraction, false), 1);
  cr_assert_geq(count_reason(g, REASON_epilogue, true), 4);
}

Test(passes_fuse, a_cheap_cast_is_a_prologue) {
  fixture *f = begin();
  node *x = param(f, "x", DT_f32, f->N, f->D), *w = param(f, "w", DT_bf16, f->D, f->E);
  graph_output(f->g, graph_dot(f->g, graph_cast(f->g, x, DT_bf16), w, &f->D, 1), STR("out"));
  int n;
  fuse(f, &n);
  cr_assert_eq(n, 1);
  cr_assert_eq(count_reason(f->g, REASON_prologue, true), 1);
}

Test(passes_fuse, an_expensive_operand_used_by_many_tiles_is_stored) {
  fixture *f = begin();
  graph *g = f->g;
  int wide = graph_add_axis(g, STR("W"), ix_const(&g->ix, 65536));
  node *x = param(f, "x", DT_f32, f->N, f->D), *w = param(f, "w", DT_f32, f->D, wide);
  node *p = graph_unary(g, OP_tanh, graph_unary(g, OP_sin, x));
  graph_output(g, graph_dot(g, p, w, &f->D, 1), STR("out"));
  int n;
  fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(count_reason(g, REASON_operand_reused, false), 1);
}

Test(passes_fuse, reductions_over_other_axes_are_other_kernels) {
  fixture *f = begin();
  node *x = param(f, "x", DT_f32, f->N, f->D);
  node *rows = graph_reduce(f->g, OP_sum, x, &f->D, 1);
  node *scaled = graph_binary(f->g, OP_mul, x, rows);
  graph_output(f->g, graph_reduce(f->g, OP_sum, scaled, &f->N, 1), STR("out"));
  int n;
  fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(count_reason(f->g, REASON_different_rows, false), 2);  // the edge and the shared x
}

Test(passes_fuse, cheap_values_are_recomputed_in_each_kernel) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D);
  node *y = graph_binary(g, OP_mul, x, graph_const_float(g, DT_f32, 3));
  graph_output(g, graph_reduce(g, OP_sum, y, &f->D, 1), STR("out0"));
  graph_output(g, graph_reduce(g, OP_sum, y, &f->N, 1), STR("out1"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 2);
  for (int i = 0; i < 2; i++) cr_assert_eq(groups[i].inputs.data[0]->op, OP_param);
  cr_assert_eq(count_reason(g, REASON_recomputed, true), 2);
}

Test(passes_fuse, siblings_that_read_the_same_data_share_a_kernel) {
  fixture *f = begin();
  node *x = param(f, "x", DT_f32, f->N, f->D);
  graph_output(f->g, graph_unary(f->g, OP_exp, x), STR("out0"));
  graph_output(f->g, graph_unary(f->g, OP_sin, x), STR("out1"));
  graph_output(f->g, graph_reduce(f->g, OP_sum, x, &f->D, 1), STR("out2"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 1);
  cr_assert_eq(groups[0].outputs.len, 3);
  cr_assert_eq(count_reason(f->g, REASON_siblings, true), 2);
}

Test(passes_fuse, a_kernel_never_waits_for_itself) {
  fixture *f = begin();
  graph *g = f->g;
  // y reads x's product both directly and through a contraction that is its own kernel.
  node *x = param(f, "x", DT_f32, f->N, f->D), *w = param(f, "w", DT_f32, f->D, f->E);
  node *e = graph_unary(g, OP_exp, x);
  node *d = graph_dot(g, e, w, &f->D, 1);
  node *s = graph_reduce(g, OP_sum, d, &f->E, 1);
  node *y = graph_binary(g, OP_mul, e, s);
  graph_output(g, e, STR("out0"));
  graph_output(g, y, STR("out1"));
  int n;
  group *groups = fuse(f, &n);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < groups[i].inputs.len; k++)
      cr_assert_lt(groups[i].inputs.data[k]->kernel, i);
  cr_assert_geq(n, 3);
}

Test(passes_fuse, a_returned_parameter_is_copied) {
  fixture *f = begin();
  node *x = param(f, "x", DT_f32, f->N, f->D);
  graph_output(f->g, x, STR("out"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 1);
  cr_assert_eq(groups[0].kind, GROUP_MAP);
  cr_assert_eq(groups[0].outputs.data[0]->op, OP_view);
}

Test(passes_fuse, a_view_of_the_product_ends_the_epilogue) {
  fixture *f = begin();
  graph *g = f->g;
  int A = graph_add_axis(g, STR("A"), ix_const(&g->ix, 8));
  int B = graph_add_axis(g, STR("B"), ix_const(&g->ix, 32));
  node *x = param(f, "x", DT_f32, f->N, f->D), *w = param(f, "w", DT_f32, f->D, f->E);
  node *s = param(f, "s", DT_f32, A, -1);
  node *d = graph_dot(g, x, w, &f->D, 1);
  ix e = ix_add(&g->ix, ix_scale(&g->ix, ix_axis(&g->ix, A), 32), ix_axis(&g->ix, B));
  int axes[3] = {f->N, A, B};
  node *v = graph_view(g, d, (ix[]){ix_axis(&g->ix, f->N), e}, axes, 3);
  graph_output(g, graph_binary(g, OP_mul, v, s), STR("out"));
  int n;
  fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(count_reason(g, REASON_view_of_reduction, false), 1);
}

Test(passes_fuse, row_values_are_finished_where_the_rows_are) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D);
  node *s = graph_reduce(g, OP_sum, graph_unary(g, OP_exp, x), &f->D, 1);
  node *m = graph_reduce(g, OP_reduce_max, x, &f->D, 1);
  node *row = graph_binary(g, OP_sub, graph_unary(g, OP_log, s), m);
  graph_output(g, graph_reduce(g, OP_sum, row, &f->N, 1), STR("out"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(groups[0].outputs.len, 1);  // log(s) - m, not s and m
  cr_assert_eq(groups[0].outputs.data[0]->op, OP_sub);
}

Test(passes_fuse, numbers_made_of_sizes_are_computed_in_place) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D), *w = param(f, "w", DT_f32, f->D, f->E);
  node *scale = graph_unary(g, OP_rsqrt, graph_size(g, DT_f32, graph_axis_size(g, f->D)));
  graph_output(g, graph_binary(g, OP_mul, graph_dot(g, x, w, &f->D, 1), scale), STR("out0"));
  graph_output(g, graph_binary(g, OP_mul, x, scale), STR("out1"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 2);
  for (int i = 0; i < 2; i++)
    for (int k = 0; k < groups[i].inputs.len; k++)
      cr_assert_eq(groups[i].inputs.data[k]->op, OP_param);
}

Test(passes_fuse, intermediates_are_stored_in_the_order_of_the_product) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D), *w = param(f, "w", DT_f32, f->D, f->E);
  node *b = param(f, "b", DT_f32, f->E, -1);
  node *h = graph_binary(g, OP_add, b, graph_dot(g, x, w, &f->D, 1));  // written E, N
  graph_output(g, graph_reduce(g, OP_reduce_max, h, &f->E, 1), STR("out"));
  int n;
  group *groups = fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(groups[0].outputs.data[0]->axes[0], f->N);
  cr_assert_eq(groups[0].outputs.data[0]->axes[1], f->E);
}

Test(passes_fuse, host_functions_and_scatters_get_their_operands_in_memory) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D), *ids = param(f, "ids", DT_i32, f->E, -1);
  int order[2] = {f->D, f->N};
  node *t = graph_reorder(g, graph_unary(g, OP_exp, x), order);
  node *y = graph_call(g, STR("host"), &t, 1, DT_f32, order, 2);
  node *base = graph_unary(g, OP_neg, y);
  node *rows = graph_unary(g, OP_sin, graph_gather(g, base, f->N, ids));
  graph_output(g, graph_scatter_add(g, base, f->N, ids, rows), STR("out"));
  int n;
  group *groups = fuse(f, &n);
  for (int i = 0; i < n; i++) {
    if (groups[i].kind == GROUP_OPAQUE) {
      cr_assert_eq(groups[i].nodes.len, 1);
      cr_assert_eq(groups[i].inputs.data[0]->axes[0], f->D);  // the order the function declares
    }
    if (groups[i].kind == GROUP_SCATTER) cr_assert_geq(groups[i].nodes.len, 2);
  }
  cr_assert_eq(groups[n - 1].kind, GROUP_SCATTER);
  cr_assert_gt(count_reason(g, REASON_opaque, false), 0);
}

/// A scatter to 0.5, or else to what is made of a param.
static group *scatter_to(fixture *f, bool number, bool returned, int *n) {
  graph *g = f->g;
  node *ids = param(f, "ids", DT_i32, f->E, -1), *u = param(f, "u", DT_f32, f->E, f->D);
  node *x = number ? NULL : param(f, "x", DT_f32, f->N, f->D);
  int axes[2] = {f->N, f->D};
  node *base = number ? graph_view(g, graph_const_float(g, DT_f32, 0.5), NULL, axes, 2)
                      : graph_unary(g, OP_exp, x);
  graph_output(g, graph_scatter_add(g, base, f->N, ids, u), STR("out"));
  if (returned) graph_output(g, base, STR("base"));
  return fuse(f, n);
}

Test(passes_fuse, scatters_begin_with_one_number_without_reading_it) {
  int n;
  fixture *f = begin();
  group *groups = scatter_to(f, true, false, &n);
  cr_assert_eq(n, 1);
  cr_assert_eq(groups[0].inputs.len, 2);  // ids, u
  cr_assert_eq(groups[0].outputs.data[0]->axes[0], f->N);
  // A constant that is returned is in memory anyway.
  groups = scatter_to(begin(), true, true, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(groups[1].inputs.len, 3);
  // Numbers that differ are a buffer.
  groups = scatter_to(begin(), false, false, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(groups[1].inputs.len, 3);
}

/// Quadratic work would take minutes.
Test(passes_fuse, a_very_long_chain_is_cut_at_the_size_limit_in_reasonable_time) {
  enum { LENGTH = 24000 };
  fixture *f = begin();
  node *x = param(f, "x", DT_f32, f->N, f->D);
  for (int i = 0; i < LENGTH; i++) x = graph_unary(f->g, i % 2 ? OP_tanh : OP_neg, x);
  graph_output(f->g, x, STR("out"));
  clock_t start = clock();
  int n;
  fuse(f, &n);
  int work = LENGTH / 2 * (op_get(OP_tanh)->cost + op_get(OP_neg)->cost);
  cr_assert(n >= work / MAX_GROUP_WORK && n <= work / (MAX_GROUP_WORK - 20), "%d kernels", n);
  cr_assert_eq(count_reason(f->g, REASON_too_large, false), n - 1);
  cr_assert_lt((double)(clock() - start) / CLOCKS_PER_SEC, 10);
}

Test(passes_fuse, kernels_that_read_the_same_data_say_why_they_are_two) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D);
  graph_output(g, graph_reduce(g, OP_sum, x, &f->D, 1), STR("out0"));
  graph_output(g, graph_reduce(g, OP_sum, x, &f->N, 1), STR("out1"));
  int n;
  fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(g->decisions.len, 1);
  const decision *d = &g->decisions.data[0];
  cr_assert(!d->fused && d->why == REASON_different_rows);
  cr_assert_eq(d->bytes, 512 * 768 * 4);
  cr_assert_neq(g->nodes.data[d->producer]->kernel, g->nodes.data[d->consumer]->kernel);
}

Test(passes_fuse, two_products_of_one_operand_are_two_contractions) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D);
  node *a = param(f, "a", DT_f32, f->D, f->H), *b = param(f, "b", DT_f32, f->D, f->H);
  node *gate = graph_unary(g, OP_sigmoid, graph_dot(g, x, a, &f->D, 1));
  graph_output(g, graph_binary(g, OP_mul, gate, graph_dot(g, x, b, &f->D, 1)), STR("out"));
  int n;
  fuse(f, &n);
  cr_assert_eq(n, 2);
  cr_assert_eq(count_reason(g, REASON_second_contraction, false), 2);  // the edge and the shared x
}

Test(passes_fuse, a_scan_beside_a_reduction_is_no_contraction) {
  fixture *f = begin();
  graph *g = f->g;
  node *x = param(f, "x", DT_f32, f->N, f->D);
  node *run = graph_scan(g, OP_cumsum, graph_unary(g, OP_exp, x), f->D, 0);
  graph_output(g, graph_binary(g, OP_div, run, graph_reduce(g, OP_sum, x, &f->D, 1)), STR("out"));
  int n;
  fuse(f, &n);
  cr_assert_gt(count_reason(g, REASON_reduction_and_scan, false), 0);
  cr_assert_eq(count_reason(g, REASON_reduction_and_contraction, false), 0);
}
