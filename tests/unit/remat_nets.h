// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs with gradients for the tests of recomputation: layers, and random ones.
#pragma once
#include "ir/grad.h"
#include "lower_targets.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"
#include "passes_support.h"

typedef struct net {
  arena a, scratch;
  graph *g;
  int N, D, H;
} net;

static inline void open_net(net *t, int n, int d, int h) {
  *t = (net){0};
  t->g = graph_new(&t->a, STR("net"));
  t->N = graph_add_axis(t->g, STR("N"), ix_const(&t->g->ix, n));
  t->D = graph_add_axis(t->g, STR("D"), ix_const(&t->g->ix, d));
  t->H = graph_add_axis(t->g, STR("H"), ix_const(&t->g->ix, h));
}

static inline void close_net(net *t) {
  arena_free(&t->a);
  arena_free(&t->scratch);
}

static inline node *rmsnorm(graph *g, node *x, int axis) {
  node *mean =
      graph_binary(g, OP_div, graph_reduce(g, OP_sum, graph_binary(g, OP_mul, x, x), &axis, 1),
                   graph_size(g, DT_f32, graph_axis_size(g, axis)));
  node *eps = graph_const_float(g, DT_f32, 1e-5);
  return graph_binary(g, OP_mul, x, graph_unary(g, OP_rsqrt, graph_binary(g, OP_add, mean, eps)));
}

static inline node *silu(graph *g, node *x) {
  return graph_binary(g, OP_mul, x, graph_unary(g, OP_sigmoid, x));
}

/// Layers of x + silu(norm(x) w) v, all in `type`; returns the loss and its gradients for weights.
static inline void build_layers(net *t, int layers, dtype type) {
  graph *g = t->g;
  enum { MOST = 200 };
  node *w[2 * MOST];
  node *x = graph_param(g, STR("x"), type, (int[]){t->N, t->D}, 2);
  for (int i = 0; i < 2 * layers; i++)
    w[i] = graph_param(g, str_printf(&t->a, "w%d", i), type,
                       i % 2 ? (int[]){t->H, t->D} : (int[]){t->D, t->H}, 2);
  for (int i = 0; i < layers; i++) {
    node *wide = type == DT_f32 ? x : graph_cast(g, x, DT_f32);
    node *norm = rmsnorm(g, wide, t->D);
    if (type != DT_f32) norm = graph_cast(g, norm, type);
    node *h = graph_dot(g, norm, w[2 * i], &t->D, 1);
    if (type != DT_f32) h = graph_cast(g, graph_cast(g, h, type), DT_f32);
    node *act = silu(g, h);
    if (type != DT_f32) act = graph_cast(g, act, type);
    node *y = graph_dot(g, act, w[2 * i + 1], &t->H, 1);
    x = graph_binary(g, OP_add, wide, type == DT_f32 ? y : graph_cast(g, y, DT_f32));
    if (type != DT_f32) x = graph_cast(g, x, type);
  }
  node *wide = type == DT_f32 ? x : graph_cast(g, x, DT_f32);
  node *loss = graph_reduce(g, OP_sum, graph_binary(g, OP_mul, wide, wide), (int[]){t->N, t->D}, 2);
  grad_result r;
  cr_assert(graph_grad(g, loss, w, 2 * layers, NULL, NULL, &r));
  graph_output(g, loss, STR("loss"));
  for (int i = 0; i < 2 * layers; i++) graph_output(g, r.dx[i], str_printf(&t->a, "d%d", i));
}

/// All passes before `remat`.
static inline void prepare(net *t, const pass_options *options) {
  diag_list diags = {.arena = &t->a};
  pass_ctx ctx = {t->g, &t->scratch, options, &diags};
  int n, before = 0;
  const pass_info *all = passes_all(&n), *list[64];
  while (all[before].run != pass_remat) list[before] = &all[before], before++;
  cr_assert(passes_run(&ctx, list, before, NULL, NULL));
  t->g = ctx.graph;
}

// ---- random ones

static inline node *draw_value(net *t, rng *r, node *const *values, int n, int number) {
  graph *g = t->g;
  node *x = values[rng_below(r, 2) ? n - 1 : rng_below(r, n)];
  switch (rng_below(r, 6)) {
    case 0: return graph_unary(g, OP_tanh, x);
    case 1: return graph_unary(g, OP_sin, x);
    case 2: return graph_binary(g, OP_mul, x, values[rng_below(r, n)]);
    case 3: return rmsnorm(g, x, t->D);
    case 4: return graph_binary(g, OP_add, x, graph_reduce(g, OP_sum, x, &t->D, 1));
    default: break;
  }
  node *w = t->g->nodes.data[1 + number % 2];
  node *y = graph_dot(g, x, w, &t->D, 1);
  ix index[] = {ix_axis(&g->ix, t->N), ix_axis(&g->ix, t->D)};
  return graph_view(g, y, index, (int[]){t->N, t->D}, 2);
}

/// Up to `most` values, each a candidate or two for being computed again.
static inline void draw_net(net *t, uint64_t seed, int most) {
  enum { VALUES = 12 };
  cr_assert_leq(most, VALUES);
  rng r = {seed};
  static const int sizes[] = {256, 1024, 4096};
  int d = sizes[rng_below(&r, 3)];
  open_net(t, 4096, d, d);
  graph *g = t->g;
  node *values[VALUES + 1], *in[3];
  in[0] = values[0] = graph_param(g, STR("x"), DT_f32, (int[]){t->N, t->D}, 2);
  in[1] = graph_param(g, STR("w"), DT_f32, (int[]){t->D, t->H}, 2);
  in[2] = graph_param(g, STR("v"), DT_f32, (int[]){t->D, t->H}, 2);
  int n = 1;
  while (n <= 3 + rng_below(&r, most - 2)) values[n] = draw_value(t, &r, values, n, n), n++;
  node *last = values[n - 1];
  node *loss = graph_reduce(g, OP_sum, graph_binary(g, OP_mul, last, last), (int[]){t->N, t->D}, 2);
  grad_result res;
  cr_assert(graph_grad(g, loss, in, 3, NULL, NULL, &res));
  graph_output(g, loss, STR("loss"));
  for (int i = 0; i < 3; i++) graph_output(g, res.dx[i], str_printf(&t->a, "d%d", i));
}
