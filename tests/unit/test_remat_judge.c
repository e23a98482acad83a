// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Judgements of a graph are what becomes of it: kernels, predicted seconds, the arena.
#include <criterion/criterion.h>
#include <time.h>

#include "base/fault.h"
#include "lower_targets.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"
#include "random_graph.h"

static str text_of(arena *a, const graph *g) {
  strbuf out = sb_new(a);
  graph_print(g, &out);
  return sb_str(&out);
}

/// What scatters and loop nests keep for themselves is not judged.
static bool keeps_more(const program *p) {
  for (int i = 0; i < p->buffers.len; i++)
    if (p->buffers.data[i].kind == BUFFER_TEMP && p->buffers.data[i].name.ptr[0] != 't')
      return true;
  return false;
}

typedef struct seen {
  int temps, shared, more;
} seen;

static void compare(const graph *g, const target_info *target, uint64_t seed, seen *count) {
  arena a = {0}, scratch = {0};
  pass_options options = {.target = target};
  str before = text_of(&a, g);
  remat_judgement j = remat_judge(g, &options);
  cr_assert(j.possible);
  cr_assert(str_eq(before, text_of(&a, g)), "seed %llu: the graph changed",
            (unsigned long long)seed);
  pass_ctx ctx = {.graph = graph_copy(&a, g), .scratch = &scratch, .options = &options};
  pass_fuse(&ctx);
  program *p = lower_to_tiles(&a, ctx.graph, &options);
  temporaries t = program_temporaries(p);
  cr_assert_eq(j.kernels, ctx.graph->nkernels);
  cr_assert_float_eq(j.seconds, fused_seconds(ctx.graph, target, &a), 1e-9 * j.seconds,
                     "seed %llu: %g s", (unsigned long long)seed, j.seconds);
  if (keeps_more(p)) {
    count->more++;
    cr_assert_leq(j.memory.live, t.live);
  } else {
    cr_assert(j.memory.bytes == t.bytes && j.memory.live == t.live,
              "seed %llu: judged %lld bytes, %lld live; allocated %lld, %lld",
              (unsigned long long)seed, (long long)j.memory.bytes, (long long)j.memory.live,
              (long long)t.bytes, (long long)t.live);
    count->temps += t.bytes > 0;
  }
  count->shared += p->buffers.len - p->nparams - p->noutputs > 1;
  arena_free(&scratch);
  arena_free(&a);
}

/// After all passes but the last.
static void judge_random(uint64_t from, uint64_t to, const target_info *target, seen *count) {
  for (uint64_t seed = from; seed < to; seed++) {
    arena a = {0}, scratch = {0};
    pass_options options = {.target = target};
    diag_list diags = {.arena = &a};
    pass_ctx ctx = {random_graph(&a, seed), &scratch, &options, &diags};
    int n;
    const pass_info *all = passes_all(&n), *list[64];
    for (int i = 0; i < n - 1; i++) list[i] = &all[i];
    cr_assert(passes_run(&ctx, list, n - 1, NULL, NULL));
    compare(ctx.graph, target, seed, count);
    arena_free(&scratch);
    arena_free(&a);
  }
}

Test(remat_judge, is_what_becomes_of_random_graphs) {
  target_info cpu = cpu_target(2), sm_80 = sm_80_target();
  seen count = {0};
  judge_random(0, 300, &cpu, &count);
  judge_random(0, 300, &gpu_target, &count);
  judge_random(300, 400, &sm_80, &count);
  cr_log_info("%d graphs with intermediates, %d with several, %d whose kernels keep more",
              count.temps, count.shared, count.more);
  cr_assert(count.temps > 60 && count.shared > 20);
}

// ---- long programs

/// Layers of a product, a norm and a map with the residual; every value of the first half is read again
/// in the second, as gradients do.
static graph *layers(arena *a, int count) {
  graph *g = graph_new(a, STR("layers"));
  int N = graph_add_axis(g, STR("N"), ix_const(&g->ix, 4096));
  int D = graph_add_axis(g, STR("D"), ix_const(&g->ix, 1024));
  int E = graph_add_axis(g, STR("E"), ix_const(&g->ix, 1024));
  node *x = graph_param(g, STR("x"), DT_f32, (int[]){N, D}, 2);
  node *w = graph_param(g, STR("w"), DT_f32, (int[]){D, E}, 2);
  node *v = graph_param(g, STR("v"), DT_f32, (int[]){E, D}, 2);
  node **kept = arena_array(a, node *, count);
  for (int i = 0; i < count; i++) {
    node *square = graph_reduce(g, OP_sum, graph_binary(g, OP_mul, x, x), &D, 1);
    node *norm = graph_binary(g, OP_mul, x, graph_unary(g, OP_rsqrt, square));
    kept[i] = graph_unary(g, OP_tanh, graph_dot(g, norm, w, &D, 1));
    x = graph_binary(g, OP_add, x, graph_dot(g, kept[i], v, &E, 1));
  }
  for (int i = count - 1; i >= 0; i--) {
    node *back = graph_binary(g, OP_mul, graph_dot(g, x, w, &D, 1), kept[i]);
    x = graph_binary(g, OP_add, x, graph_dot(g, back, v, &E, 1));
  }
  graph_output(g, x, STR("out"));
  return g;
}

Test(remat_judge, memory_of_kept_values) {
  enum { COUNT = 8, BYTES = 4096 * 1024 * 4 };
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  remat_judgement j = remat_judge(layers(&a, COUNT), &options);
  // All that is kept, and what the first step back reads and makes.
  cr_assert_geq(j.memory.live, (int64_t)COUNT * BYTES);
  cr_assert_leq(j.memory.live, (int64_t)(COUNT + 4) * BYTES);
  cr_assert_leq((double)j.memory.bytes, 1.05 * (double)j.memory.live);
  arena_free(&a);
}

// A judgement is asked for hundreds of times.
Test(remat_judge, ten_thousand_operators) {
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  graph *g = layers(&a, 900);
  clock_t before = clock();
  remat_judgement j = remat_judge(g, &options);
  double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
  cr_log_info("%d nodes, %d kernels, %lld bytes, %.4f times those live: %.0f ms", g->nodes.len,
              j.kernels, (long long)j.memory.bytes, (double)j.memory.bytes / (double)j.memory.live,
              1e3 * seconds);
  cr_assert_lt(seconds, 3);
  arena_free(&a);
}
