// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random graphs through the passes and the lowering to compiled code, against the interpreter of
// the graph.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/fault.h"
#include "cpu_fixture.h"
#include "passes/passes.h"
#include "random_graph.h"

typedef struct outcome {
  double distance;
  char *text;  // when it went wrong; malloced
} outcome;

static outcome compare(uint64_t seed, const char *cpu) {
  arena a = {0}, scratch = {0};
  target_info target;
  str error = {0};
  span at;
  cr_assert(codegen_cpu_target(&a, str_from(cpu), &target, &error));
  graph *g = random_graph(&a, seed), *original = graph_copy(&a, g);
  interp_tensor in[8], want[4], got[4];
  for (int i = 0; i < g->nparams; i++) in[i] = random_input(&a, g, g->nodes.data[i], seed);
  pass_options options = {.target = &target};
  diag_list diags = {.arena = &a};
  pass_ctx ctx = {.graph = g, .scratch = &scratch, .options = &options, .diags = &diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  program *p = lower_to_tiles(&a, ctx.graph, &options);
  int64_t sizes[32];
  cpu_bind_sizes(p, in, sizes);
  outcome o = {0};
  bool fine = graph_interpret(original, &a, in, want, NULL, &error, &at);
  cr_assert(fine, "%.*s", STR_FMT(error));
  cpu_code code;
  cpu_code_make(&code, p, cpu);
  int status = cpu_run(&a, &code, sizes, 3, in, got).status;
  cpu_code_free(&code);
  if (status) o.distance = 1e30;
  for (int i = 0; i < original->outputs.len && !status; i++) {
    double d = tensor_distance(&got[i], &want[i]);
    if (d > o.distance) o.distance = d;
  }
  if (!(o.distance < 1e-3)) {
    strbuf out = sb_new(&a);
    graph_print(original, &out);
    program_print(p, &out);
    o.text = strdup(out.data);
  }
  arena_free(&a);
  arena_free(&scratch);
  return o;
}

static void compare_many(uint64_t from, uint64_t to, const char *cpu) {
  const char *first = getenv("TCF_FIRST_SEED"), *count = getenv("TCF_RANDOM_GRAPHS");
  if (first) {
    to = strtoull(first, NULL, 10) + (count ? strtoull(count, NULL, 10) : to - from);
    from = strtoull(first, NULL, 10);
  }
  for (uint64_t seed = from; seed < to; seed++) {
    fault_frame f;
    outcome o = {0};
    if (fault_try(&f)) o = compare(seed, cpu);
    fault_pop(&f);
    cr_assert(f.kind == FAULT_NONE, "seed %llu: %s", (unsigned long long)seed, f.text);
    cr_assert(o.distance < 1e-3, "seed %llu, cpu \"%s\": distance %g\n%s", (unsigned long long)seed,
              cpu, o.distance, o.text ? o.text : "");
  }
}

Test(cpu_random, host) { compare_many(0, 60, ""); }

Test(cpu_random, avx2) { compare_many(60, 100, "x86-64-v3"); }

Test(cpu_random, sse) { compare_many(100, 140, "x86-64"); }
