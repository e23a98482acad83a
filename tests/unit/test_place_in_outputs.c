// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Temps in the memory of outputs that are written later: which go there, what the verifier refuses, the numbers.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "cpu_fixture.h"
#include "graph_text.h"
#include "lower_targets.h"
#include "passes/passes.h"
#include "random_graph.h"

#define HEAD "fused graph @f(%x: f32[N, D], %w: f32[D, E], %v: f32[E, D]) { axis N = 32 axis D = 48 axis E = 64 "
// %3 is dead when the last product is stored; %4 is not.
#define EARLY "kernel 0 { %3 = dot %x, %w over D : f32[N, E] } kernel 1 { %4 = cumsum %3 over N : f32[N, E] } "
enum { SQUARE = 32 * 64 * 4 };

static int hosted(const program *p) {
  int n = 0;
  for (int i = 0; i < p->buffers.len; i++) n += p->buffers.data[i].host > 0;
  return n;
}

/// Interpreted and compiled as the graph says; as text it is the same.
static void check_program(arena *a, const graph *g, const program *p, bool compiled) {
  interp_tensor in[8], want[8], got[8];
  str report = {0}, error = {0};
  span at;
  cr_assert(program_verify(p, a, &report), "%.*s", STR_FMT(report));
  for (int i = 0; i < g->nparams; i++) in[i] = random_input(a, g, g->nodes.data[i], 3);
  cr_assert(graph_interpret(g, a, in, want, NULL, &error, &at), "%.*s", STR_FMT(error));
  cr_assert(program_interpret(p, a, in, got, NULL, &error, &at), "%.*s", STR_FMT(error));
  for (int i = 0; i < g->outputs.len; i++) cr_assert_lt(tensor_distance(&got[i], &want[i]), 1e-4);
  if (!compiled) return;
  int64_t sizes[4] = {0};
  cpu_code code;
  cpu_code_make(&code, p, "");
  cr_assert_eq(cpu_run(a, &code, sizes, 3, in, got).status, 0);
  cpu_code_free(&code);
  for (int i = 0; i < g->outputs.len; i++) cr_assert_lt(tensor_distance(&got[i], &want[i]), 1e-4);
}

static void check_text(arena *a, const program *p) {
  strbuf text = sb_new(a), again = sb_new(a);
  program_print(p, &text);
  diag_list diags = {.arena = a};
  tile_module m = {0};
  cr_assert(tile_module_parse(a, &diags, diag_add_file(&diags, STR("t.tile"), sb_str(&text)), &m), "%s", text.data);
  program_print(m.programs.data[0], &again);
  cr_assert_str_eq(text.data, again.data);
}

static void expect(const char *text, const target_info *target, int temps, int64_t bytes) {
  arena a = {0};
  pass_options options = {.target = target};
  const graph *g = graph_of_text(&a, text);
  const program *p = lower_to_tiles(&a, g, &options);
  temporaries t = program_temporaries(p), bare = graph_temporaries(g, &options);
  cr_assert_eq(hosted(p), temps, "%s: %d", text, hosted(p));
  cr_assert_eq(t.bytes, bytes, "%s: %lld", text, (long long)t.bytes);
  cr_assert(t.bytes == bare.bytes && t.live == bare.live && t.hosted == bare.hosted);
  check_program(&a, g, p, !target->sm);
  check_text(&a, p);
  arena_free(&a);
}

Test(place_in_outputs, what_is_dead_before_they_are_written) {
  target_info cpu = cpu_target(2);
  const char *text = HEAD EARLY "kernel 2 { %5 = dot %4, %v over E : f32[N, D] } "
                                "kernel 3 { %6 = dot %5, %w over D : f32[N, E] } return %5, %6 }";
  expect(text, &cpu, 1, SQUARE);  // %3 and %4 are there at once
  expect(text, &gpu_target, 1, SQUARE);
}

// The step that writes the output reads %4, so that one of the two must be elsewhere.
Test(place_in_outputs, not_what_the_writing_step_reads) {
  target_info cpu = cpu_target(2);
  expect(HEAD EARLY "kernel 2 { %5 = cumprod %4 over E : f32[N, E] } return %5 }", &cpu, 1, SQUARE);
}

Test(place_in_outputs, not_where_they_are_too_small) {
  target_info cpu = cpu_target(2);
  expect(HEAD EARLY "kernel 2 { %5 = dot %4, %v over E : f32[N, D] } "
                    "kernel 3 { %6 = cumsum %5 over N : f32[N, D] } return %5, %6 }", &cpu, 0, 2 * SQUARE);
}

// On CPUs arrays of calls are aligned to their elements only.
Test(place_in_outputs, not_where_elements_are_smaller) {
  target_info cpu = cpu_target(2);
  const char *text = "fused graph @f(%x: f32[N], %y: bf16[K]) { axis N = 64 axis K = 128 "
    "kernel 0 { %2 = cumsum %x over N : f32[N] } kernel 1 { %3 = cumprod %2 over N : f32[N] } "
    "kernel 2 { %4 = reduce_max %3 over N : f32 } "
    "kernel 3 { %5 = cast %y : f32[K] %6 = mul %4, %5 : f32[K] %7 = cast %6 : bf16[K] } return %7 }";
  arena a = {0};
  pass_options options = {.target = &cpu};
  cr_assert_eq(hosted(lower_to_tiles(&a, graph_of_text(&a, text), &options)), 0);
  options.target = &gpu_target;
  cr_assert_gt(hosted(lower_to_tiles(&a, graph_of_text(&a, text), &options)), 0);
  arena_free(&a);
}

Test(place_in_outputs, not_where_sizes_are_symbols) {
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  const graph *g = graph_of_text(&a, "fused graph @f(%x: f32[N, D]) { kernel 0 { %1 = cumsum %x over N : f32[N, D] } "
                              "kernel 1 { %2 = cumprod %1 over D : f32[N, D] } "
                              "kernel 2 { %3 = cumsum %2 over N : f32[N, D] } return %3 }");
  cr_assert_eq(hosted(lower_to_tiles(&a, g, &options)), 0);
  arena_free(&a);
}

// Where a program has many buffers, their addresses wait in a table.
Test(place_in_outputs, of_long_programs) {
  enum { KERNELS = 400 };
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  strbuf text = sb_new(&a);
  sb_puts(&text, "fused graph @f(%x: f32[N, D]) { axis N = 64 axis D = 16 kernel 0 { %1 = cumsum %x over N : f32[N, D] } "
                 "kernel 1 { %2 = cummin %1 over N : f32[N, D] } kernel 2 { %3 = reduce_max %2 over N : f32[D] } ");
  for (int i = 3; i < KERNELS; i++) sb_printf(&text, "kernel %d { %%%d = cummax %%%d over D : f32[D] } ", i, i + 1, i);
  sb_printf(&text, "kernel %d { %%%d = mul %%x, %%%d : f32[N, D] } return %%%d }", KERNELS, KERNELS + 1, KERNELS,
            KERNELS + 1);
  const graph *g = graph_of_text(&a, text.data);
  const program *p = lower_to_tiles(&a, g, &options);
  cr_assert(hosted(p) > 0 && p->buffers.len >= KERNELS);
  check_program(&a, g, p, true);
  arena_free(&a);
}

// ---- texts

#define COPY "kernel @copy(a: f32[64], b: f32[64]) vec N:16 { axes N = 64 grid N:64 { %0 = load a[N] : f32[N:64] store b[N], %0 } }"
#define PROGRAM(ARENA, BUFFERS, CALLS) "program @f {" ARENA " buffer %x : f32[N = 64] param 0 " \
  "buffer %y : f32[N = 64] output 0 " BUFFERS CALLS " } " COPY

static void judge(const char *text, const char *fault) {
  arena a = {0};
  diag_list diags = {.arena = &a};
  tile_module m = {0};
  bool fine = tile_module_parse(&a, &diags, diag_add_file(&diags, STR("t.tile"), str_from(text)), &m);
  strbuf why = sb_new(&a);
  for (int i = 0; i < diags.items.len; i++) diag_render_text(&diags, diags.items.data[i], false, &why);
  str report = {0};
  if (fine && m.programs.len) fine = program_verify(m.programs.data[0], &a, &report);
  sb_put(&why, report);
  if (!fault) cr_assert(fine, "%s\n%.*s", text, STR_FMT(sb_str(&why)));
  else cr_assert(!fine && strstr(why.data, fault), "%s\n%.*s", text, STR_FMT(sb_str(&why)));
  arena_free(&a);
}

Test(place_in_outputs, texts) {
  judge(PROGRAM(" arena 256", "buffer %s : f32[N = 64] temp at 0 of %y buffer %t : f32[N = 64] temp at 0 ",
                "call @copy(%x, %s) call @copy(%s, %t) call @copy(%t, %y)"), NULL);
  judge(PROGRAM("", "buffer %t : f32[N = 64] temp at 0 of %y ", "call @copy(%x, %t) call @copy(%t, %y)"),
        "temp t lies in y and is used when that is");
  judge(PROGRAM(" arena 256", "buffer %s : f32[N = 64] temp at 64 of %y buffer %t : f32[N = 64] temp at 0 ",
                "call @copy(%x, %s) call @copy(%s, %t) call @copy(%t, %y)"), "temp s does not end inside of the output");
  judge(PROGRAM(" arena 256", "buffer %r : f32[N = 64] temp at 0 of %y buffer %s : f32[N = 64] temp at 0 of %y "
                "buffer %t : f32[N = 64] temp at 0 ",
                "call @copy(%x, %r) call @copy(%r, %s) call @copy(%s, %t) call @copy(%t, %y)"),
        "temps s and r overlap and are live in the same step");
  judge(PROGRAM("", "buffer %t : f32[N = 64] temp at 0 of %x ", "call @copy(%x, %t) call @copy(%t, %y)"),
        "no output is called %x");
}

// What is written over is unspecified, in the output as well.
Test(place_in_outputs, the_interpreter_forgets_what_is_written_over) {
  static const char *const text =
    "program @f { buffer %x : f32[N = 64] param 0 buffer %y : f32[N = 64] output 0 buffer %z : f32[N = 64] output 1 "
    "buffer %t : f32[N = 64] temp at 0 of %y call @copy(%x, %y) call @copy(%x, %t) call @copy(%t, %z) } " COPY;
  tile_fixture f = {0};
  cr_assert(tile_fixture_parse(&f, str_from(text)));
  interp_tensor in = random_tensor(&f, DT_f32, 1, (int64_t[]){64}), out[2];
  str error = {0};
  span at;
  cr_assert_not(program_interpret(f.p, &f.arena, &in, out, NULL, &error, &at));
  cr_assert(strstr(str_z(&f.arena, error), "was never stored"), "%.*s", STR_FMT(error));
  tile_fixture_free(&f);
}
