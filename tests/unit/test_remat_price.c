// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What keeping and computing again is said to take: as the kernels that would do it.
#include "lower_targets.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"
#include "passes_support.h"

typedef struct program_of_test {
  arena a;
  graph *g;
  int N, H, E;
  node *t;  // sin(x w)
  remat_units u;
} program_of_test;

/// s = sum(sin(x w)), with w of D rows; a later phase multiplies the sines by g, element by element or as
/// matrices, and waits for s.
static void open_program(program_of_test *p, int size, bool multiplied, const target_info *target,
                         bool deterministic) {
  *p = (program_of_test){0};
  graph *g = p->g = graph_new(&p->a, STR("f"));
  p->N = graph_add_axis(g, STR("N"), ix_const(&g->ix, 4096));
  int D = graph_add_axis(g, STR("D"), ix_const(&g->ix, size));
  p->H = graph_add_axis(g, STR("H"), ix_const(&g->ix, 4096));
  p->E = graph_add_axis(g, STR("E"), ix_const(&g->ix, 4096));
  node *x = graph_param(g, STR("x"), DT_f32, (int[]){p->N, D}, 2);
  node *w = graph_param(g, STR("w"), DT_f32, (int[]){D, p->H}, 2);
  node *other = graph_param(g, STR("g"), DT_f32, (int[]){p->N, multiplied ? p->E : p->H}, 2);
  p->t = graph_unary(g, OP_sin, graph_dot(g, x, w, &D, 1));
  node *s = graph_reduce(g, OP_sum, p->t, (int[]){p->N, p->H}, 2);
  g->phase = 1;
  node *scaled = graph_binary(g, OP_mul, other, s);
  node *d =
      multiplied ? graph_dot(g, scaled, p->t, &p->N, 1) : graph_binary(g, OP_mul, scaled, p->t);
  graph_output(g, s, STR("s"));
  graph_output(g, d, STR("d"));
  pass_options options = {.target = target, .deterministic = deterministic};
  cr_assert(remat_price(&p->a, g, &options, &p->u));
}

static int product_of(const program_of_test *p) { return p->t->in[0]->id; }

Test(remat_price, arithmetic_under_the_traffic_of_its_reader_is_free) {
  program_of_test p;
  open_program(&p, 4096, false, gpu_default(), false);
  int t = p.t->id;
  cr_assert(p.u.work[t] > 0 && p.u.over[t] < 0.01 * p.u.work[t], "%g of %g", p.u.over[t],
            p.u.work[t]);
  cr_assert_not(p.u.kernel[t]);
  // Nothing hides the load of what a kernel bound by memory reads.
  cr_assert_geq(p.u.kept_hidden[t], 0.99 * 4096 * 4096 * 4 / p.u.bandwidth);
  arena_free(&p.a);
}

Test(remat_price, a_product_hides_loads_and_pays_for_what_it_computes_in_every_tile) {
  program_of_test p;
  open_program(&p, 4096, true, gpu_default(), false);
  int t = p.t->id;
  cr_assert_lt(p.u.kept_hidden[t], 0.1 * p.u.keep[t]);
  cr_assert(p.u.kernel[t]);
  cr_assert_gt(p.u.fixed[t], 4096.0 * 4096 * 4 / p.u.bandwidth);
  arena_free(&p.a);
}

/// The same operation, dear and cheap: its shape decides.
Test(remat_price, shapes_decide_on_products) {
  program_of_test wide, narrow;
  open_program(&wide, 4096, false, gpu_default(), false);
  open_program(&narrow, 8, false, gpu_default(), false);
  int w = product_of(&wide), n = product_of(&narrow);
  cr_assert(wide.u.kernel[w] && narrow.u.kernel[n]);
  cr_assert_gt(wide.u.fixed[w], 5 * wide.u.keep[w]);
  cr_assert_lt(narrow.u.fixed[n], 2 * narrow.u.keep[n]);
  arena_free(&wide.a);
  arena_free(&narrow.a);
}

Test(remat_price, sums_of_floats_that_are_to_be_the_same) {
  program_of_test p;
  open_program(&p, 4096, true, gpu_default(), true);
  int dot = product_of(&p);
  cr_assert(p.u.delicate[dot] && !isinf(p.u.fixed[dot]));
  cr_assert(!p.u.delicate[p.t->id]);
  arena_free(&p.a);
}

/// Two values of one kernel, both operands of products: a copy of that kernel is one kernel again.
Test(remat_price, copies_of_one_kernel_share_its_launch) {
  arena a = {0};
  graph *g = graph_new(&a, STR("f"));
  int N = graph_add_axis(g, STR("N"), ix_const(&g->ix, 4096));
  int D = graph_add_axis(g, STR("D"), ix_const(&g->ix, 4096));
  int E = graph_add_axis(g, STR("E"), ix_const(&g->ix, 4096));
  node *x = graph_param(g, STR("x"), DT_f32, (int[]){N, D}, 2);
  node *y = graph_param(g, STR("y"), DT_f32, (int[]){N, E}, 2);
  node *s = graph_unary(g, OP_sin, x), *c = graph_unary(g, OP_cos, x);
  node *sum = graph_reduce(g, OP_sum, graph_binary(g, OP_mul, s, c), (int[]){N, D}, 2);
  g->phase = 1;
  graph_output(g, sum, STR("sum"));
  graph_output(g, graph_dot(g, y, s, &N, 1), STR("ds"));
  graph_output(g, graph_dot(g, y, c, &N, 1), STR("dc"));
  pass_options options = {.target = gpu_default()};
  remat_units u;
  cr_assert(remat_price(&a, g, &options, &u));
  cr_assert(u.kernel[s->id] && u.kernel[c->id]);
  cr_assert_eq(u.groups.len, 1);
  cr_assert(u.groups.data[0].n >= 2 && u.groups.data[0].price == gpu_default()->launch_seconds);
  arena_free(&a);
}
