// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The pass that decides what gradients compute again: it fires, it does not, results stay, and of the
// plans that there are none is predicted to be much better.
#include <time.h>

#include "remat_nets.h"

static bool remat(net *t, const pass_options *options) {
  diag_list diags = {.arena = &t->a};
  pass_ctx ctx = {t->g, &t->scratch, options, &diags};
  clock_t before = clock();
  bool changed = pass_remat(&ctx);
  cr_log_info("%d nodes: %.0f ms", ctx.graph->nodes.len,
              1e3 * (double)(clock() - before) / CLOCKS_PER_SEC);
  t->g = ctx.graph;
  str report;
  cr_assert(graph_verify(t->g, &t->a, &report), "%.*s", STR_FMT(report));
  return changed;
}

static int count_recomputed(const graph *g) {
  int n = 0;
  for (int i = 0; i < g->nodes.len; i++) n += (g->nodes.data[i]->flags & NODE_RECOMPUTED) != 0;
  return n;
}

// ---- what it gains

Test(remat, layers_take_less_memory_in_the_same_time) {
  for (int layers = 1; layers <= 8; layers *= 2)
    for (int gpu = 0; gpu < 2; gpu++) {
      net t;
      target_info cpu = cpu_target(2);
      pass_options options = {.target = gpu ? gpu_default() : &cpu};
      open_net(&t, 4096, 1024, 4096);
      build_layers(&t, layers, DT_bf16);
      prepare(&t, &options);
      remat_judgement before = remat_judge(t.g, &options);
      bool changed = remat(&t, &options);
      remat_judgement after = remat_judge(t.g, &options);
      cr_log_info("%d layers on %.*s: %.4g ms and %.0f MB instead of %.4g ms and %.0f MB", layers,
                  STR_FMT(options.target->name), 1e3 * after.seconds,
                  (double)after.memory.bytes / 1e6, 1e3 * before.seconds,
                  (double)before.memory.bytes / 1e6);
      // A tenth less, or nothing is touched.
      cr_assert_eq(changed, (double)after.memory.bytes <= 0.9 * (double)before.memory.bytes);
      cr_assert(changed || after.memory.bytes == before.memory.bytes);
      cr_assert(changed || gpu || layers == 1);
      cr_assert_leq(after.seconds, 1.01 * before.seconds);
      // The norm, the activation and its rounding: half of what each layer keeps.
      if (layers == 8 && !gpu)
        cr_assert_lt((double)after.memory.bytes, 0.7 * (double)before.memory.bytes);
      close_net(&t);
    }
}

/// Small enough for the interpreter.
static void build_small(net *t, pass_options *options, target_info *cpu) {
  *cpu = cpu_target(2);
  options->target = cpu;
  open_net(t, 64, 32, 128);
  build_layers(t, 6, DT_f32);
  prepare(t, options);
}

Test(remat, results_stay) {
  net t;
  target_info slow;
  pass_options options = {0};
  build_small(&t, &options, &slow);
  results want = evaluate(&t.a, t.g, 3);
  cr_assert(remat(&t, &options));
  results got = evaluate(&t.a, t.g, 3);
  // The interpreter adds up in one order, so that every bit is the same.
  cr_assert_eq(difference(&want, &got), 0);
  pass_ctx ctx = {.graph = t.g, .scratch = &t.scratch, .options = &options};
  pass_fuse(&ctx);
  got = evaluate(&t.a, ctx.graph, 3);
  cr_assert_lt(difference(&want, &got), 1e-5);
  close_net(&t);
}

Test(remat, decides_once) {
  net t;
  target_info slow;
  pass_options options = {0};
  build_small(&t, &options, &slow);
  cr_assert(remat(&t, &options));
  int before = count_recomputed(t.g);
  cr_assert_gt(before, 0);
  cr_assert_not(remat(&t, &options));
  cr_assert_eq(count_recomputed(t.g), before);
  close_net(&t);
}

Test(remat, deterministic_sums_are_not_computed_twice) {
  net t;
  target_info slow;
  pass_options options = {.deterministic = true};
  build_small(&t, &options, &slow);
  cr_assert(remat(&t, &options));
  for (int i = 0; i < t.g->nodes.len; i++) {
    const node *n = t.g->nodes.data[i];
    op_class c = op_get(n->op)->class;
    if (n->flags & NODE_RECOMPUTED)
      cr_assert(c != CLASS_reduce && c != CLASS_contraction && c != CLASS_scan, "%%%d", i);
  }
  close_net(&t);
}

/// A product that a later phase reads, alone in its kernel or with a map that is stored too.
static graph *build_product(arena *a, bool with_map, node **y) {
  graph *g = graph_new(a, STR("f"));
  int N = graph_add_axis(g, STR("N"), ix_const(&g->ix, 256));
  int D = graph_add_axis(g, STR("D"), ix_const(&g->ix, 128));
  int H = graph_add_axis(g, STR("H"), ix_const(&g->ix, 64));
  int E = graph_add_axis(g, STR("E"), ix_const(&g->ix, 32));
  node *x = graph_param(g, STR("x"), DT_f32, (int[]){N, D}, 2);
  node *w = graph_param(g, STR("w"), DT_f32, (int[]){D, H}, 2);
  node *v = graph_param(g, STR("v"), DT_f32, (int[]){H, E}, 2);
  *y = graph_dot(g, x, w, &D, 1);
  node *second = graph_dot(g, with_map ? graph_unary(g, OP_sin, *y) : *y, v, &H, 1);
  g->phase = 1;
  node *third = graph_dot(g, second, *y, &N, 1);
  graph_output(g, third, STR("d"));
  for (int i = 0; i < g->nodes.len; i++)
    g->nodes.data[i]->at = (span){.file = 1, .begin = (uint32_t)i, .end = (uint32_t)i + 1};
  return g;
}

Test(remat, deterministic_products_are_computed_again_by_their_kernel_only) {
  for (int with_map = 0; with_map < 2; with_map++) {
    arena a = {0};
    node *y;
    target_info cpu = cpu_target(2);
    pass_options options = {.target = &cpu, .deterministic = true};
    graph *g = build_product(&a, with_map, &y);
    remat_units u;
    cr_assert(remat_price(&a, g, &options, &u));
    cr_assert(u.delicate[y->id] && !isinf(u.fixed[y->id]));
    bool *recomputed = arena_array(&a, bool, g->nodes.len);
    recomputed[y->id] = true;
    cr_assert_eq(remat_forbid_changed(g, recomputed, &options, &u), with_map);
    cr_assert_eq(isinf(u.fixed[y->id]) != 0, with_map);
    cr_assert(!isinf(u.keep[y->id]));
    arena_free(&a);
  }
}

/// Nodes of the forward pass that later phases read, with the operation.
static int count_read_later(const graph *g, op o) {
  int n = 0;
  for (int i = 0; i < g->nodes.len; i++) {
    bool read = false;
    for (int k = i; k < g->nodes.len && g->nodes.data[i]->op == o && !g->nodes.data[i]->phase; k++)
      for (int j = 0; j < g->nodes.data[k]->nin; j++)
        read |= g->nodes.data[k]->phase && g->nodes.data[k]->in[j] == g->nodes.data[i];
    n += read;
  }
  return n;
}

Test(remat, checkpoint_and_keep_hold) {
  for (int mark = 0; mark < 3; mark++) {
    net t;
    target_info cpu;
    pass_options options = {0};
    build_small(&t, &options, &cpu);
    results want = evaluate(&t.a, t.g, 3);
    int sigmoids = count_read_later(t.g, OP_sigmoid);
    cr_assert_gt(sigmoids, 0);
    for (int i = 0; i < t.g->nodes.len; i++) {
      node *n = t.g->nodes.data[i];
      if (mark == 1 && n->op == OP_sigmoid && !n->phase) n->region = 1;
      if (mark == 2 && n->op == OP_sigmoid && !n->phase) n->flags |= NODE_KEEP;
    }
    // Inside of the block: what reads it is there too, but the dot.
    for (int i = 0; mark == 1 && i < t.g->nodes.len; i++)
      for (int k = 0; k < t.g->nodes.data[i]->nin; k++)
        if (!t.g->nodes.data[i]->phase && t.g->nodes.data[i]->in[k]->op == OP_sigmoid)
          t.g->nodes.data[i]->region = 1;
    remat(&t, &options);
    if (mark == 1) cr_assert_eq(count_read_later(t.g, OP_sigmoid), 0);
    if (mark == 2) cr_assert_eq(count_read_later(t.g, OP_sigmoid), sigmoids);
    results got = evaluate(&t.a, t.g, 3);
    cr_assert_eq(difference(&want, &got), 0);
    close_net(&t);
  }
}

Test(remat, nothing_under_contract_is_computed_twice) {
  net t;
  target_info slow;
  pass_options options = {0};
  build_small(&t, &options, &slow);
  graph_add_contract(t.g, (contract){0});
  int marked = 0;
  for (int i = 0; i < t.g->nodes.len; i++) {
    node *n = t.g->nodes.data[i];
    if (!n->phase && n->op == OP_sigmoid) n->contract = 1, marked++;
    if (marked) break;
  }
  cr_assert(marked);
  remat(&t, &options);
  int sigmoids = 0, again = 0;
  for (int i = 0; i < t.g->nodes.len; i++) {
    const node *n = t.g->nodes.data[i];
    if (n->op == OP_sigmoid && n->contract) sigmoids++;
    again += n->op == OP_sigmoid && n->flags & NODE_RECOMPUTED;
  }
  cr_assert_eq(sigmoids, 1);
  cr_assert_lt(again, 3);
  close_net(&t);
}

// ---- against all plans

/// Units that may be kept and may be computed again; more than `most`: too many.
static int candidates(const remat_units *u, int *list, int most) {
  int n = 0;
  for (int id = 0; id < u->n && n <= most; id++) {
    if (!(u->bytes[id] > 0) || isinf(u->keep[id]) || isinf(u->fixed[id])) continue;
    if (n < most) list[n] = id;
    n++;
  }
  return n;
}

/// The least memory of all plans that are as fast as any.
static remat_judgement best_of_all(net *t, const pass_options *options, const remat_units *u,
                                   const int *list, int n) {
  remat_judgement *all = arena_array(&t->a, remat_judgement, 1 << n), best = {0};
  double least = INFINITY;
  remat_problem p = remat_weigh(&t->a, u, 1, 0);
  for (int set = 0; set < 1 << n; set++) {
    bool *may_save = arena_array(&t->a, bool, u->n);
    for (int id = 0; id < u->n; id++) may_save[id] = !u->free[id];
    for (int k = 0; k < n; k++) may_save[list[k]] = !(set >> k & 1);
    remat_plan plan;
    remat_follow(&t->a, &p, may_save, &plan);
    arena room = {0};
    graph *copy = graph_copy(&room, t->g);
    // As the pass has it: constants and views of what is there are shared.
    for (int id = 0; id < u->n; id++) {
      bool copied = !u->free[id];
      for (int k = u->first[id]; k < u->first[id + 1]; k++)
        copied |= plan.recomputed[u->operands.data[k]];
      plan.recomputed[id] &= copied;
    }
    remat_clone(copy, plan.recomputed);
    all[set] = remat_judge(copy, options);
    least = fmin(least, all[set].seconds);
    arena_free(&room);
  }
  for (int set = 0; set < 1 << n; set++)
    if (all[set].seconds <= 1.01 * least && (!best.possible || all[set].memory.bytes < best.memory.bytes))
      best = all[set];
  best.seconds = least;
  return best;
}

Test(remat, close_to_the_best_of_all_plans) {
  enum { MOST = 7, CASES = 60 };
  double slower = 0, more = 0, worst = 1, most = 1;
  int cases = 0, changed = 0, equal = 0;
  target_info cpu = cpu_target(2);
  for (uint64_t seed = 0; cases < CASES; seed++) {
    cr_assert_lt(seed, 2000);
    net t;
    pass_options options = {.target = seed % 2 ? gpu_default() : &cpu};
    draw_net(&t, seed, 6);
    prepare(&t, &options);
    remat_units u;
    int list[MOST];
    cr_assert(remat_price(&t.a, t.g, &options, &u));
    int n = candidates(&u, list, MOST);
    if (n >= 2 && n <= MOST) {
      remat_judgement best = best_of_all(&t, &options, &u, list, n);
      pass_ctx ctx = {t.g, &t.scratch, &options, NULL};
      changed += pass_remat(&ctx);
      remat_judgement j = remat_judge(ctx.graph, &options);
      double seconds = j.seconds / best.seconds;
      double bytes = ((double)j.memory.bytes + 1) / ((double)best.memory.bytes + 1);
      slower += seconds, more += bytes, cases++;
      equal += j.memory.bytes == best.memory.bytes;
      worst = fmax(worst, seconds), most = fmax(most, bytes);
    }
    close_net(&t);
  }
  cr_log_info("%d nets, %d changed: %.4f times the least seconds, at worst %.3f; %.3f times the least "
              "memory at that speed, at worst %.3f, equal in %d",
              cases, changed, slower / cases, worst, more / cases, most, equal);
  cr_assert_geq(changed, 5);
  cr_assert_geq(equal, 57);
  cr_assert(slower / cases < 1.002 && worst < 1.05, "slower");
  cr_assert(more / cases < 1.002 && most < 1.05, "more memory");
}

Test(remat, long_programs) {
  net t;
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  open_net(&t, 4096, 1024, 4096);
  build_layers(&t, 50, DT_f32);
  prepare(&t, &options);
  clock_t before = clock();
  remat(&t, &options);
  double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
  cr_assert_lt(seconds, 5);
  close_net(&t);
}
