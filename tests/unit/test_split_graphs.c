// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// split_phases() on random graphs, with what is computed again chosen at random: forward and backward part,
// one after the other, have the bits of the whole.
#include "ir/grad.h"
#include "lower_targets.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"
#include "passes_support.h"
#include "random_graph.h"

enum { MOST = 64 };

/// The values of a run by name: params and outputs.
typedef struct known {
  str name[4 * MOST];
  interp_tensor value[4 * MOST];
  int n;
} known;

static void learn(known *k, str name, interp_tensor value) {
  cr_assert_lt(k->n, 4 * MOST);
  k->name[k->n] = name;
  k->value[k->n++] = value;
}

static const interp_tensor *recall(const known *k, str name) {
  for (int i = 0; i < k->n; i++)
    if (str_eq(k->name[i], name)) return &k->value[i];
  return NULL;
}

/// False: an index is out of range, as it may be in random graphs.
static bool run_on(arena *a, const graph *g, known *k) {
  interp_tensor in[4 * MOST], out[4 * MOST];
  str error = {0};
  span at;
  for (int i = 0; i < g->nparams; i++) {
    const interp_tensor *v = recall(k, g->nodes.data[i]->name);
    cr_assert(v, "nothing is called %.*s", STR_FMT(g->nodes.data[i]->name));
    in[i] = *v;
  }
  if (!graph_interpret(g, a, in, out, NULL, &error, &at)) return false;
  for (int i = 0; i < g->outputs.len; i++) learn(k, g->outputs.data[i].name, out[i]);
  return true;
}

static bool has_float_result(const graph *g) {
  for (int i = 0; i < g->outputs.len; i++)
    if (dtype_is_float(g->outputs.data[i].value->type)) return true;
  return false;
}

/// The graph of the seed with its backward part, or null where it has none.
static graph *draw(arena *a, uint64_t seed, int *params, int *results) {
  graph *g = random_graph(a, seed);
  node *x[MOST];
  int nx = 0;
  grad_result r;
  *params = g->nparams;
  *results = g->outputs.len;
  for (int i = 0; i < g->nparams; i++)
    if (dtype_is_float(g->nodes.data[i]->type)) x[nx++] = g->nodes.data[i];
  if (!nx || !has_float_result(g) || !graph_add_backward(g, x, nx, NULL, &r)) return NULL;
  graph_compact(g, NULL);
  return g;
}

/// Copies of about a third of the forward nodes.
static void copy_some(arena *a, graph *g, rng *r) {
  bool *again = arena_array(a, bool, g->nodes.len);
  for (int id = g->nparams; id < g->nodes.len; id++)
    again[id] = !g->nodes.data[id]->phase && !rng_below(r, 3);
  remat_clone(g, again);
}

/// What tcf_function_split() does.
static graph *plan(graph *g, int params, int results, const pass_options *options) {
  int count, n = 0;
  const pass_info *all = passes_all(&count), *list[MOST];
  arena scratch = {0};
  while (all[n].run != pass_remat) list[n] = &all[n], n++;
  list[n] = &all[n];
  pass_ctx ctx = {g, &scratch, options, NULL};
  settle_phases(g, results);
  passes_run(&ctx, list, n, NULL, NULL);
  settle_seeds(ctx.graph, params);
  passes_run(&ctx, &list[n], 1, NULL, NULL);
  arena_free(&scratch);
  return ctx.graph;
}

static void check_bits(const known *whole, const known *halves, const graph *joint, uint64_t seed) {
  for (int i = 0; i < joint->outputs.len; i++) {
    str name = joint->outputs.data[i].name;
    const interp_tensor *got = recall(halves, name), *want = recall(whole, name);
    cr_assert(got && want, "seed %d: %.*s is not there", (int)seed, STR_FMT(name));
    cr_expect_eq(tensor_distance(got, want), 0, "seed %d: %.*s differs", (int)seed, STR_FMT(name));
  }
}

static void verify(arena *a, const graph *g, uint64_t seed) {
  str report;
  cr_assert(graph_verify(g, a, &report), "seed %d: %.*s", (int)seed, STR_FMT(report));
}

static void nothing_is_saved_twice(const phase_split *s, uint64_t seed) {
  for (int i = s->first_saved; i < s->forward->outputs.len; i++)
    for (int k = 0; k < i; k++)
      cr_expect_neq(s->forward->outputs.data[i].value, s->forward->outputs.data[k].value, "seed %d",
                    (int)seed);
}

static bool check_seed(uint64_t seed, int *saved) {
  arena a = {0};
  int params, results;
  rng r = {seed};
  target_info cpu = cpu_target(2);
  pass_options options = {.target = seed % 3 ? &cpu : gpu_default(), .phases_apart = true};
  graph *g = draw(&a, seed, &params, &results);
  bool done = g;
  if (done && rng_below(&r, 2)) copy_some(&a, g, &r);
  else if (done) g = plan(g, params, results, &options);
  if (done) {
    known whole = {.n = 0}, halves = {.n = 0};
    phase_split s = split_phases(&a, g, params, results, &options);
    verify(&a, s.forward, seed);
    verify(&a, s.backward, seed);
    nothing_is_saved_twice(&s, seed);
    for (int i = 0; i < g->nparams; i++) {
      interp_tensor v = random_input(&a, g, g->nodes.data[i], seed + (uint64_t)i);
      learn(&whole, g->nodes.data[i]->name, v);
      learn(&halves, g->nodes.data[i]->name, v);
    }
    *saved += s.forward->outputs.len - s.first_saved;
    done = run_on(&a, g, &whole);
    if (done) {
      cr_assert(run_on(&a, s.forward, &halves) && run_on(&a, s.backward, &halves), "seed %d",
                (int)seed);
      check_bits(&whole, &halves, g, seed);
    }
  }
  arena_free(&a);
  return done;
}

Test(split_graphs, halves_are_the_whole) {
  int done = 0, saved = 0;
  for (uint64_t seed = 0; seed < 400; seed++) done += check_seed(seed, &saved);
  cr_log_info("%d graphs, %d saved values", done, saved);
  cr_assert_gt(done, 100);
  cr_assert_gt(saved, 100);
}
