// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Results in the place of operands that nothing reads any more: which kernels have such, which have not, what the
// arena is then, and that the numbers stay what they are.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "cpu_fixture.h"
#include "graph_text.h"
#include "lower_targets.h"
#include "passes/explain/explain.h"
#include "passes/passes.h"
#include "random_graph.h"

#define SIZES "axis N = 48 axis D = 32 axis E = 64 axis H = 64 "
/// A first kernel that makes %4, and %5 where it is of use.
#define HEAD "fused graph @f(%x: f32[N, D], %w: f32[D, E], %v: f32[E, D], %s: f32[H]) { " SIZES
#define FIRST "kernel 0 { %4 = dot %x, %w over D : f32[N, E] } "
#define TWO FIRST "kernel 1 { %5 = mul %x, %x : f32[N, D] %6 = dot %5, %w over D : f32[N, E] } "

typedef struct sample {
  const char *what, *text;
  int temps;  // that the program has
} sample;

static const sample samples[] = {
  {"a map", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] } kernel 2 { %6 = dot %5, %v over E : f32[N, D] } return %6 }", 1},
  {"one after the other", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] } kernel 2 { %6 = neg %5 : f32[N, E] } "
   "kernel 3 { %7 = dot %6, %v over E : f32[N, D] } return %7 }", 1},
  {"with what is read through a view", HEAD FIRST
   "kernel 1 { %5 = view %s[E] : f32[E] %6 = mul %4, %5 : f32[N, E] } "
   "kernel 2 { %7 = dot %6, %v over E : f32[N, D] } return %7 }", 1},
  {"two results, two operands", HEAD TWO
   "kernel 2 { %7 = mul %4, %6 : f32[N, E] %8 = tanh %4 : f32[N, E] } "
   "kernel 3 { %9 = dot %7, %v over E : f32[N, D] } kernel 4 { %10 = dot %8, %v over E : f32[N, D] } "
   "return %9, %10 }", 2},
  {"two results, one operand", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] %6 = neg %4 : f32[N, E] } "
   "kernel 2 { %7 = dot %5, %v over E : f32[N, D] } kernel 3 { %8 = dot %6, %v over E : f32[N, D] } "
   "return %7, %8 }", 2},
  {"read later", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] } kernel 2 { %6 = dot %5, %v over E : f32[N, D] } "
   "kernel 3 { %7 = dot %4, %v over E : f32[N, D] } return %6, %7 }", 2},
  {"stored across", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[E, N] } kernel 2 { %6 = dot %5, %v over E : f32[N, D] } return %6 }", 2},
  {"of more axes", HEAD FIRST
   "kernel 1 { %5 = mul %4, %s : f32[N, E, H] } kernel 2 { %6 = dot %5, %v over E : f32[N, H, D] } return %6 }", 2},
  {"of another type", HEAD FIRST
   "kernel 1 { %5 = cast %4 : bf16[N, E] } "
   "kernel 2 { %6 = cast %5 : f32[N, E] %7 = dot %6, %v over E : f32[N, D] } return %7 }", 2},
  {"of a parameter", HEAD
   "kernel 0 { %4 = tanh %x : f32[N, D] } kernel 1 { %5 = dot %4, %w over D : f32[N, E] } return %5 }", 1},
  {"of a result", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] } kernel 2 { %6 = dot %5, %v over E : f32[N, D] } return %4, %6 }", 1},
  {"returned", HEAD FIRST "kernel 1 { %5 = tanh %4 : f32[N, E] } return %5 }", 1},
  {"seen through a view as well", HEAD FIRST
   "kernel 1 { %5 = view %4[N, -E + 63] : f32[N, E] %6 = mul %4, %5 : f32[N, E] } "
   "kernel 2 { %7 = dot %6, %v over E : f32[N, D] } return %7 }", 2},
  {"seen through a view later", HEAD FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] %6 = view %5[N, -E + 63] : f32[N, E] %7 = mul %6, %5 : f32[N, E] } "
   "kernel 2 { %8 = dot %7, %v over E : f32[N, D] } return %8 }", 2},
  {"under a contract, where each result has a walk of its own", HEAD "fuse#0 " FIRST
   "kernel 1 { %5 = tanh %4 : f32[N, E] in fuse#0 %6 = neg %4 : f32[N, E] in fuse#0 %7 = mul %s, %s : f32[H] in fuse#0 } "
   "kernel 2 { %8 = dot %5, %v over E : f32[N, D] } kernel 3 { %9 = dot %6, %v over E : f32[N, D] } "
   "return %7, %8, %9 }", 3},
  {"not made of it", HEAD TWO
   "kernel 2 { %7 = tanh %6 : f32[N, E] %8 = neg %4 : f32[N, E] } "
   "kernel 3 { %9 = dot %7, %v over E : f32[N, D] } kernel 4 { %10 = dot %6, %v over E : f32[N, D] } "
   "return %8, %9, %10 }", 3},
};
enum { NSAMPLES = sizeof samples / sizeof *samples };

static int temps_of(const program *p) { return p->buffers.len - p->nparams - p->noutputs; }

static void compare_numbers(arena *a, const graph *g, const program *p, const char *what) {
  interp_tensor in[8], want[40], got[40];
  str error = {0};
  span at;
  for (int i = 0; i < g->nparams; i++) in[i] = random_input(a, g, g->nodes.data[i], 7);
  cr_assert(graph_interpret(g, a, in, want, NULL, &error, &at), "%.*s", STR_FMT(error));
  cr_assert(program_interpret(p, a, in, got, NULL, &error, &at), "%s: %.*s", what, STR_FMT(error));
  for (int i = 0; i < g->outputs.len; i++) cr_assert_lt(tensor_distance(&got[i], &want[i]), 1e-4, "%s", what);
}

static void try_sample(const sample *s, const target_info *target) {
  arena a = {0};
  pass_options options = {.target = target};
  const graph *g = graph_of_text(&a, s->text);
  const program *p = lower_to_tiles(&a, g, &options);
  str report = {0};
  cr_assert(program_verify(p, &a, &report), "%s: %.*s", s->what, STR_FMT(report));
  strbuf text = sb_new(&a);
  program_print(p, &text);
  cr_assert_eq(temps_of(p), s->temps, "%s on %.*s: %d temps\n%s", s->what, STR_FMT(target->name), temps_of(p),
               text.data);
  temporaries bare = graph_temporaries(g, &options), whole = program_temporaries(p);
  cr_assert(bare.bytes == whole.bytes && bare.live == whole.live, "%s", s->what);
  compare_numbers(&a, g, p, s->what);
  arena_free(&a);
}

Test(in_place, where_it_may_be_and_nowhere_else) {
  target_info cpu = cpu_target(2), sm_80 = sm_80_target();
  for (int i = 0; i < NSAMPLES; i++) {
    try_sample(&samples[i], &cpu);
    try_sample(&samples[i], &sm_80);
    try_sample(&samples[i], &gpu_target);
  }
}

// Equal axes have equal sizes, known or not.
Test(in_place, sizes_that_are_symbols) {
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  const graph *g = graph_of_text(&a, "fused graph @f(%x: f32[N, D], %w: f32[D, E], %v: f32[E, D]) { "
                              "kernel 0 { %3 = dot %x, %w over D : f32[N, E] } kernel 1 { %4 = tanh %3 : f32[N, E] } "
                              "kernel 2 { %5 = dot %4, %v over E : f32[N, D] } return %5 }");
  const program *p = lower_to_tiles(&a, g, &options);
  str report = {0};
  cr_assert(program_verify(p, &a, &report), "%.*s", STR_FMT(report));
  cr_assert_eq(temps_of(p), 1);
  arena_free(&a);
}

// Of several values in one place the peak has the one that is there then.
Test(in_place, the_peak_names_what_is_there) {
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  memory_peak peak = graph_peak(&a, graph_of_text(&a, samples[1].text), &options);
  cr_assert_eq(peak.values.len, 1);
  cr_assert_eq(peak.step, 0);
  cr_assert_eq(peak.values.data[0].node, 4);
  cr_assert_eq(peak.values.data[0].last, 3);
  arena_free(&a);
}

Test(in_place, explain_says_so) {
  arena a = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  strbuf text = sb_new(&a), json = sb_new(&a);
  const explanation *e = graph_explain(&a, graph_of_text(&a, samples[0].text), &options, NULL, NULL);
  explain_text(e, NULL, &text);
  explain_json(e, NULL, &json);
  cr_assert(strstr(text.data, "%5 f32[N, E] 12.3 kB (intermediate, in place of %4)"), "%s", text.data);
  cr_assert(strstr(json.data, "\"in_place_of\": \"%4\"") || strstr(json.data, "\"in_place_of\":\"%4\""), "%s", json.data);
  arena_free(&a);
}

// ---- random kernels of maps

static int rng_below(uint64_t *state, int n) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (int)((*state >> 33) % (uint64_t)n);
}

/// Kernels of maps over all that there is so far, some of it turned round, at last one that reads what nothing read.
static str random_kernels(arena *a, uint64_t *r) {
  enum { KERNELS = 8, MOST = 4, OUTPUTS = 3 };
  static const char *const maps[] = {"mul", "add", "sub", "max"};
  strbuf out = sb_new(a);
  sb_puts(&out, "fused graph @f(%x0: f32[N, E], %x1: f32[N, E], %s: f32[E]) { axis N = 45 axis E = 45 ");
  int next = 3, stored[KERNELS * MOST + 2] = {0, 1}, n = 2;
  bool read[128] = {0};
  for (int k = 0; k < KERNELS; k++) {
    sb_printf(&out, "kernel %d { ", k);
    int made[2 * MOST], nmade = 0, before = n;
    for (int count = 1 + rng_below(r, MOST); count > 0; count--) {
      int x[2];
      for (int i = 0; i < 2; i++) {
        bool own = nmade && rng_below(r, 3) == 0;
        // Of late values more often, so that many are read for the last time.
        int back = rng_below(r, 2) ? 3 : before;
        x[i] = own ? made[rng_below(r, nmade)] : stored[before - 1 - rng_below(r, back < before ? back : before)];
        read[x[i]] |= !own;
        if (rng_below(r, 8)) continue;
        if (x[i] < 2) sb_printf(&out, "%%%d = view %%x%d[N, -E + 44] : f32[N, E] ", next, x[i]);
        else sb_printf(&out, "%%%d = view %%%d[N, -E + 44] : f32[N, E] ", next, x[i]);
        x[i] = next++;
      }
      sb_printf(&out, "%%%d = %s ", next, maps[rng_below(r, 4)]);
      for (int i = 0; i < 2; i++) sb_printf(&out, x[i] < 2 ? "%%x%d%s " : "%%%d%s ", x[i], i ? "" : ",");
      sb_puts(&out, rng_below(r, 6) ? ": f32[N, E] " : ": f32[E, N] ");
      made[nmade++] = next++;
    }
    for (int i = 0; i < nmade; i++) stored[n++] = made[i];
    sb_puts(&out, "} ");
  }
  sb_printf(&out, "kernel %d { ", KERNELS);
  int last = 0;
  for (int i = 2; i < n; i++) {
    if (read[stored[i]]) continue;
    sb_printf(&out, last > 1 ? "%%%d = add %%%d, %%%d : f32[N, E] " : "%%%d = add %%%d, %%x0 : f32[N, E] ", next,
              stored[i], last);
    last = next++;
  }
  sb_puts(&out, "} ");
  // Outputs that are written when all else is dead, so that temps may lie in them.
  for (int i = 0; i < OUTPUTS; i++)
    sb_printf(&out, "kernel %d { %%%d = mul %%%d, %%x%d : f32[N, E] } ", KERNELS + 1 + i, next + i, last, i % 2);
  sb_puts(&out, "return ");
  for (int i = 0; i < OUTPUTS; i++) sb_printf(&out, i ? ", %%%d" : "%%%d", next + i);
  sb_puts(&out, " }");
  return sb_str(&out);
}

static bool reuses(const program *p) {
  bool *seen = arena_array(p->arena, bool, p->buffers.len);
  for (int i = 0; i < p->steps.len; i++) {
    const step *s = &p->steps.data[i];
    for (int k = 0; k < s->nbufs; k++)
      if (p->kernels.data[s->kernel]->bufs.data[k].written && seen[s->bufs[k]]) return true;
    for (int k = 0; k < s->nbufs; k++) seen[s->bufs[k]] = true;
  }
  return false;
}

static void run_compiled(arena *a, const graph *g, const program *p, uint64_t seed) {
  interp_tensor in[3], want[40], got[40];
  str error = {0};
  span at;
  for (int i = 0; i < g->nparams; i++) in[i] = random_input(a, g, g->nodes.data[i], seed);
  cr_assert(graph_interpret(g, a, in, want, NULL, &error, &at), "%.*s", STR_FMT(error));
  int64_t sizes[4] = {0};
  cpu_code code;
  cpu_code_make(&code, p, "");
  cr_assert_eq(cpu_run(a, &code, sizes, 3, in, got).status, 0);
  cpu_code_free(&code);
  for (int i = 0; i < g->outputs.len; i++)
    cr_assert_lt(tensor_distance(&got[i], &want[i]), 1e-4, "seed %llu", (unsigned long long)seed);
}

Test(in_place, random_kernels_of_maps) {
  target_info targets[] = {cpu_target(2), gpu_target, sm_80_target()};
  int found = 0, compiled = 0, hosted = 0;
  str report = {0};
  for (uint64_t seed = 0; seed < 120; seed++) {
    arena a = {0};
    uint64_t r = seed;
    str text = random_kernels(&a, &r);
    const target_info *target = &targets[seed % 3];
    pass_options options = {.target = target};
    const graph *g = graph_of_text(&a, text.ptr);
    const program *p = lower_to_tiles(&a, g, &options);
    temporaries bare = graph_temporaries(g, &options), whole = program_temporaries(p);
    cr_assert(bare.bytes == whole.bytes && bare.live == whole.live, "%s", text.ptr);
    found += reuses(p);
    for (int i = 0; i < p->buffers.len; i++) hosted += p->buffers.data[i].host > 0;
    cr_assert(program_verify(p, &a, &report), "%.*s", STR_FMT(report));
    compare_numbers(&a, g, p, text.ptr);
    if (!target->sm && compiled++ < 12) run_compiled(&a, g, p, seed);
    arena_free(&a);
  }
  cr_log_info("%d of 120 programs have results in place; %d temps lie in outputs", found, hosted);
  cr_assert_gt(hosted, 50);
  cr_assert_gt(found, 100);
}
