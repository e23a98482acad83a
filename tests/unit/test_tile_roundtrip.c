// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowered random graphs survive the text: printed, parsed and printed again they are the same,
// and the copy computes the same bits.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "passes/passes.h"
#include "random_graph.h"
#include "tile_fixture.h"

static const target_info target = {.name = {"test", 4},
                                   .vector_bytes = 32,
                                   .vector_registers = 16,
                                   .l1_bytes = 32 << 10,
                                   .l2_bytes = 16 << 10,
                                   .l3_bytes = 1 << 20,
                                   .cores = 2,
                                   .flops_per_second = 50e9,
                                   .bytes_per_second = 20e9,
                                   .l2_bytes_per_second = 80e9};

static void compare_outputs(const program *p, const program *copy, const interp_tensor *in,
                            arena *a, uint64_t seed) {
  interp_tensor x[8], y[8];
  str error;
  cr_assert(program_interpret(p, a, in, x, NULL, &error, NULL), "seed %d: %.*s", (int)seed,
            STR_FMT(error));
  cr_assert(program_interpret(copy, a, in, y, NULL, &error, NULL), "seed %d: %.*s", (int)seed,
            STR_FMT(error));
  for (int i = 0; i < p->noutputs; i++) {
    int64_t count = 1;
    for (int d = 0; d < x[i].rank; d++) count *= x[i].dims[d];
    cr_assert(!memcmp(x[i].data, y[i].data, sizeof(scalar) * (size_t)count), "seed %d: output %d",
              (int)seed, i);
  }
}

static void round_trip(uint64_t seed) {
  tile_fixture f = {0};
  arena *a = &f.arena, scratch = {0};
  graph *g = random_graph(a, seed);
  interp_tensor in[8];
  for (int i = 0; i < g->nparams; i++) in[i] = random_input(a, g, g->nodes.data[i], seed);
  pass_options options = {.target = &target};
  f.diags.arena = a;
  pass_ctx ctx = {.graph = g, .scratch = &scratch, .options = &options, .diags = &f.diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  program *p = lower_to_tiles(a, ctx.graph, &options);
  strbuf first = sb_new(a), second = sb_new(a);
  program_print(p, &first);
  bool parsed = tile_fixture_parse(&f, sb_str(&first));
  cr_assert(parsed, "seed %d: %s in\n%s", (int)seed,
            parsed ? "" : str_z(a, f.diags.items.data[0]->text), first.data);
  program_print(f.p, &second);
  cr_assert(str_eq(sb_str(&first), sb_str(&second)), "seed %d:\n%s\ncame back as\n%s", (int)seed,
            first.data, second.data);
  str report;
  cr_assert(program_verify(f.p, a, &report), "seed %d:\n%s", (int)seed, report.ptr);
  compare_outputs(p, f.p, in, a, seed);
  arena_free(&scratch);
  tile_fixture_free(&f);
}

Test(tile_roundtrip, lowered_random_graphs) {
  for (uint64_t seed = 1; seed <= 150; seed++) round_trip(seed);
}
