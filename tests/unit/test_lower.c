// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The lowering: tile programs compute what the graph says, on random graphs.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/fault.h"
#include "lower_targets.h"
#include "passes/passes.h"
#include "random_graph.h"

static const target_info wide = {.name = {"test", 4}, .vector_bytes = 64, .vector_registers = 32,
    .l1_bytes = 48 << 10, .l2_bytes = 2 << 20, .l3_bytes = 32 << 20, .cores = 2,
    .flops_per_second = 170e9, .bytes_per_second = 25e9, .l2_bytes_per_second = 100e9};

/// Lowers, verifies, interprets both levels; returns the worst distance over the outputs.
static double compare(uint64_t seed, const target_info *target, str *text) {
  arena a = {0}, scratch = {0};
  graph *g = random_graph(&a, seed), *original = graph_copy(&a, g);
  interp_tensor in[8], want[4], got[4];
  for (int i = 0; i < g->nparams; i++) in[i] = random_input(&a, g, g->nodes.data[i], seed);
  pass_options options = {.target = target};
  diag_list diags = {.arena = &a};
  pass_ctx ctx = {.graph = g, .scratch = &scratch, .options = &options, .diags = &diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  program *p = lower_to_tiles(&a, ctx.graph, &options);
  str report = {0}, error = {0};
  span at;
  strbuf out = sb_new(&a);
  graph_print(original, &out);
  graph_print(ctx.graph, &out);
  program_print(p, &out);
  double worst = 0;
  if (!program_verify(p, &a, &report)) {
    sb_put(&out, report);
    worst = 1e30;
  } else if (!graph_interpret(original, &a, in, want, NULL, &error, &at) ||
             !program_interpret(p, &a, in, got, NULL, &error, &at)) {
    sb_put(&out, error);
    worst = 1e31;
  } else {
    for (int i = 0; i < original->outputs.len; i++) {
      double d = tensor_distance(&got[i], &want[i]);
      if (d > worst) worst = d;
    }
  }
  if (worst > 1e-3) *text = str_from(strdup(out.data));
  arena_free(&a);
  arena_free(&scratch);
  return worst;
}

static void compare_many(uint64_t from, uint64_t to, const target_info *target) {
  for (uint64_t seed = from; seed < to; seed++) {
    fault_frame f;
    str text = {0};
    double d = 0;
    if (fault_try(&f)) d = compare(seed, target, &text);
    fault_pop(&f);
    cr_assert(f.kind == FAULT_NONE, "seed %llu: %s", (unsigned long long)seed, f.text);
    cr_assert(d < 1e-3, "seed %llu: distance %g\n%.*s", (unsigned long long)seed, d, STR_FMT(text));
  }
}

Test(lower, random_graphs_keep_their_meaning) {
  const char *count = getenv("TCF_RANDOM_GRAPHS");
  compare_many(0, count ? strtoull(count, NULL, 10) : 300, &wide);
}

Test(lower, narrow_vectors_and_few_registers) {
  target_info narrow = wide;
  narrow.vector_bytes = 16;
  narrow.vector_registers = 16;
  narrow.l2_bytes = 4 << 10;  // blocks the contractions of small graphs too
  compare_many(1000, 1200, &narrow);
}

// Layouts say nothing about results, so that schedules for GPUs are tested without one.
Test(lower, gpu_schedules_keep_the_meaning) {
  const char *count = getenv("TCF_RANDOM_GRAPHS");
  compare_many(0, count ? strtoull(count, NULL, 10) : 200, &gpu_target);
}

Test(lower, gpus_without_warpgroups) {
  target_info older = gpu_named("sm_80");
  older.cores = 4;  // larger tiles for small graphs too
  compare_many(1000, 1150, &older);
}
