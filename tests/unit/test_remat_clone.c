// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values that are computed again: what the graph is then, that its results are the same, and that
// fusion leaves them late.
#include "graph_text.h"
#include "lower_targets.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"
#include "passes_support.h"

/// s = sum(tanh(x)^2) and a gradient of it for x by hand: 2 * tanh(x) * (1 - tanh(x)^2).
static const char text[] =
    "graph @f(%x: f32[N, D]) {\n"
    "  axis N = 64\n"
    "  axis D = 32\n"
    "  %t = tanh %x : f32[N, D]\n"
    "  %q = mul %t, %t : f32[N, D]\n"
    "  %s = sum %q over N, D : f32\n"
    "  %one = const 1 : f32 phase 1\n"
    "  %r = sub %one, %q : f32[N, D] phase 1\n"
    "  %u = mul %t, %r : f32[N, D] phase 1\n"
    "  %dx = add %u, %u : f32[N, D] phase 1\n"
    "  return %s as s, %dx as dx\n"
    "}\n";

static void verify(arena *a, const graph *g) {
  str report;
  cr_assert(graph_verify(g, a, &report), "%.*s", STR_FMT(report));
}

static int count_recomputed(const graph *g) {
  int n = 0;
  for (int i = 0; i < g->nodes.len; i++) n += (g->nodes.data[i]->flags & NODE_RECOMPUTED) != 0;
  return n;
}

static str text_of(arena *a, const graph *g) {
  strbuf out = sb_new(a);
  graph_print(g, &out);
  return sb_str(&out);
}

/// Marks the nodes with these ops of phase 0.
static bool *marked(arena *a, const graph *g, op first, op second) {
  bool *marks = arena_array(a, bool, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    marks[i] = !n->phase && (n->op == first || n->op == second);
  }
  return marks;
}

Test(remat_clone, copies_stand_before_their_first_readers) {
  arena a = {0};
  graph *g = graph_of_text(&a, text);
  results want = evaluate(&a, g, 1);
  remat_clone(g, marked(&a, g, OP_tanh, OP_mul));
  verify(&a, g);
  cr_assert_eq(count_recomputed(g), 2);
  results got = evaluate(&a, g, 1);
  cr_assert_eq(difference(&want, &got), 0);
  str once = text_of(&a, g);
  cr_assert(strstr(once.ptr, "= tanh %x : f32[N, D] recomputed phase 1\n"), "%.*s", STR_FMT(once));
  cr_assert(str_eq(once, text_of(&a, graph_of_text(&a, once.ptr))), "%.*s", STR_FMT(once));
  // The forward pass is before all of it.
  bool later = false;
  for (int i = g->nparams; i < g->nodes.len; i++) {
    later |= g->nodes.data[i]->phase > 0;
    cr_assert(!later || g->nodes.data[i]->phase || g->nodes.data[i]->op == OP_const, "%.*s",
              STR_FMT(once));
  }
  arena_free(&a);
}

Test(remat_clone, what_nothing_reads_is_not_copied) {
  arena a = {0};
  graph *g = graph_of_text(&a, text);
  bool *marks = marked(&a, g, OP_sum, OP_sum);
  str before = text_of(&a, g);
  remat_clone(g, marks);
  cr_assert(str_eq(before, text_of(&a, g)));
  // The square alone: its copy reads the tanh that is kept.
  remat_clone(g, marked(&a, g, OP_mul, OP_mul));
  cr_assert_eq(count_recomputed(g), 1);
  verify(&a, g);
  arena_free(&a);
}

Test(remat_clone, equal_expressions_stay_two) {
  arena a = {0}, scratch = {0};
  graph *g = graph_of_text(&a, text);
  remat_clone(g, marked(&a, g, OP_tanh, OP_mul));
  pass_options options = {0};
  pass_ctx ctx = {.graph = g, .scratch = &scratch, .options = &options};
  pass_cse(&ctx);
  cr_assert_eq(count_recomputed(ctx.graph), 2);
  arena_free(&a);
  arena_free(&scratch);
}

// ---- fusion

static graph *fuse(arena *a, graph *g) {
  arena scratch = {0};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = &cpu};
  pass_ctx ctx = {.graph = g, .scratch = &scratch, .options = &options};
  pass_fuse(&ctx);
  verify(a, ctx.graph);
  arena_free(&scratch);
  return ctx.graph;
}

/// Kernels that have nodes of both: copies and what is of an earlier phase and not free.
static int count_mixed(const graph *g) {
  int mixed = 0;
  for (int kernel = 0; kernel < g->nkernels; kernel++) {
    bool again = false, early = false;
    for (int i = 0; i < g->nodes.len; i++) {
      const node *n = g->nodes.data[i];
      if (n->kernel != kernel) continue;
      again |= (n->flags & NODE_RECOMPUTED) != 0;
      early |= !n->phase && op_is_map(n->op);
    }
    mixed += again && early;
  }
  return mixed;
}

static bool has_reason(const graph *g, reason why) {
  for (int i = 0; i < g->decisions.len; i++)
    if (g->decisions.data[i].why == why) return true;
  return false;
}

/// All of it reads x: without the flag both passes would be one kernel.
Test(remat_clone, copies_run_late) {
  arena a = {0};
  graph *g = graph_of_text(&a, text), *plain = graph_of_text(&a, text);
  results want = evaluate(&a, g, 1);
  remat_clone(g, marked(&a, g, OP_tanh, OP_mul));
  g = fuse(&a, g);
  cr_assert_eq(count_mixed(g), 0);
  cr_assert_eq(g->nkernels, 2);
  results got = evaluate(&a, g, 1);
  cr_assert_lt(difference(&want, &got), 1e-5);
  cr_assert(has_reason(g, REASON_recomputed_late));
  // Nodes of a gradient alone may join the forward pass.
  plain = fuse(&a, plain);
  cr_assert_eq(plain->nkernels, 1);
  cr_assert_not(has_reason(plain, REASON_recomputed_late));
  arena_free(&a);
}
