// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the tests of passes share: random inputs, running a pass, comparing two graphs' results.
#pragma once
#include <criterion/criterion.h>
#include <math.h>

#include "base/fault.h"
#include "passes/passes.h"

typedef struct rng {
  uint64_t state;
} rng;

static inline uint64_t rng_next(rng *r) {
  r->state += 0x9E3779B97F4A7C15u;
  uint64_t z = r->state;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

static inline int rng_below(rng *r, int n) { return (int)(rng_next(r) % (uint64_t)n); }

/// Standard normal: Box and Muller.
static inline double rng_normal(rng *r) {
  double u = ((double)(rng_next(r) >> 11) + 1) / 9007199254740993.0;
  double v = (double)(rng_next(r) >> 11) / 9007199254740992.0;
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/// A tensor of random values for a param whose sizes are constants: floats normal, integers in
/// [0, 4), which index axes of four and more.
static inline interp_tensor random_tensor(arena *a, const graph *g, const node *p, rng *r) {
  interp_tensor t = {.type = p->type, .rank = p->naxes};
  int64_t count = 1;
  for (int i = 0; i < p->naxes; i++) {
    cr_assert(ix_is_const(&g->ix, graph_axis_size(g, p->axes[i]), &t.dims[i]));
    count *= t.dims[i];
  }
  t.data = arena_array(a, scalar, count);
  for (int64_t i = 0; i < count; i++) {
    if (dtype_is_float(p->type))
      t.data[i] = scalar_cast((scalar){.f = rng_normal(r)}, DT_f64, p->type);
    else
      t.data[i].i = rng_below(r, p->type == DT_bool ? 2 : 4);
  }
  return t;
}

typedef struct results {
  interp_tensor out[16];
  int n;
} results;

/// Runs the graph on random inputs of the seed.
static inline results evaluate(arena *a, const graph *g, uint64_t seed) {
  rng r = {seed};
  interp_tensor *params = arena_array(a, interp_tensor, g->nparams + 1);
  for (int i = 0; i < g->nparams; i++) params[i] = random_tensor(a, g, g->nodes.data[i], &r);
  results res = {.n = g->outputs.len};
  cr_assert(res.n <= 16);
  str error = {0};
  span at;
  cr_assert(graph_interpret(g, a, params, res.out, NULL, &error, &at), "%.*s",
            STR_FMT(error));
  return res;
}

/// The same with f64 in the place of f32, so that little is rounded: what is left of a difference
/// between two graphs is one of meaning.
static inline results evaluate_wide(arena *a, const graph *g, uint64_t seed) {
  graph *wide = graph_copy(a, g);
  for (int i = 0; i < wide->nodes.len; i++)
    if (wide->nodes.data[i]->type == DT_f32) wide->nodes.data[i]->type = DT_f64;
  return evaluate(a, wide, seed);
}

/// Largest difference relative to 1 + |value|; infinite where shapes or non-finite values differ.
static inline double difference(const results *x, const results *y) {
  double worst = 0;
  if (x->n != y->n) return INFINITY;
  for (int o = 0; o < x->n; o++) {
    const interp_tensor *a = &x->out[o], *b = &y->out[o];
    int64_t count = 1;
    if (a->type != b->type || a->rank != b->rank) return INFINITY;
    for (int i = 0; i < a->rank; i++) {
      if (a->dims[i] != b->dims[i]) return INFINITY;
      count *= a->dims[i];
    }
    for (int64_t i = 0; i < count; i++) {
      if (!dtype_is_float(a->type)) {
        if (a->data[i].i != b->data[i].i) return INFINITY;
        continue;
      }
      double u = a->data[i].f, v = b->data[i].f;
      if (u == v || (isnan(u) && isnan(v))) continue;
      if (!isfinite(u) || !isfinite(v)) return INFINITY;
      worst = fmax(worst, fabs(u - v) / (1 + fabs(u)));
    }
  }
  return worst;
}

/// Runs one pass by name (null: the pipeline) on a copy of the graph.
static inline graph *run_pass(arena *a, const graph *g, const char *name, bool fast_math) {
  arena scratch = {0};
  pass_options options = {.fast_math = fast_math};
  pass_ctx ctx = {.graph = graph_copy(a, g), .scratch = &scratch, .options = &options};
  const pass_info *pass = name ? passes_find(str_from(name)) : NULL;
  cr_assert(!name || pass);
  passes_run(&ctx, name ? &pass : NULL, 1, NULL, NULL);
  arena_free(&scratch);
  if (!ctx.graph->fused) graph_compact(ctx.graph, NULL);  // tests count what is left
  return ctx.graph;
}

static inline int count_op(const graph *g, op o) {
  int n = 0;
  for (int i = 0; i < g->nodes.len; i++) n += g->nodes.data[i]->op == o;
  return n;
}
