// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a graph would be as kernels, by the fuse pass itself and by the places that its intermediate
// results would get. Nothing is kept of it.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

static double all_seconds(fusion *f) {
  double sum = 0;
  for (int i = 0; i < f->nclusters; i++) sum += clusters_seconds(f, i, -1);
  return sum;
}

/// Bytes in memory that the first phase makes for later ones, beside params and results.
static int64_t bytes_across(const graph *g, arena *a) {
  uint8_t *seen = arena_array(a, uint8_t, g->nodes.len);
  for (int i = 0; i < g->outputs.len; i++) seen[g->outputs.data[i].value->id] = 1;
  double sum = 0;
  for (int i = g->nparams; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; n->phase && k < n->nin; k++) {
      const node *in = n->in[k];
      if (in->phase || in->op == OP_param || in->kernel == n->kernel || seen[in->id]) continue;
      seen[in->id] = 1;
      sum += node_bytes(g, in);
    }
  }
  return sum < 9e18 ? (int64_t)sum : INT64_MAX;
}

/// Of a graph that nobody needs afterwards.
static remat_judgement judge(graph *g, const pass_options *options, arena *a) {
  pass_options own = options ? *options : (pass_options){0};
  own.target = target_or_default(options);
  own.choices = NULL;
  diag_list diags = {.arena = a};
  pass_ctx ctx = {g, a, &own, &diags};
  fusion f;
  remat_judgement j = {.possible = fusion_partition(&f, &ctx)};
  if (!j.possible) return j;
  j.seconds = all_seconds(&f);
  fusion_emit(&f, false);
  j.kernels = ctx.graph->nkernels;
  j.memory = graph_temporaries(ctx.graph, &own);
  j.saved = bytes_across(ctx.graph, a);
  return j;
}

remat_judgement remat_judge(const graph *g, const pass_options *options) {
  scratch s;
  scratch_open(&s);
  remat_judgement j = judge(graph_copy(&s.arena, g), options, &s.arena);
  scratch_close(&s);
  return j;
}

remat_judgement remat_judge_plan(const graph *g, const bool *recomputed,
                                 const pass_options *options) {
  scratch s;
  scratch_open(&s);
  graph *copy = graph_copy(&s.arena, g);
  remat_clone(copy, recomputed);
  remat_judgement j = judge(copy, options, &s.arena);
  scratch_close(&s);
  return j;
}
