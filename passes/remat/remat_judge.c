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

remat_judgement remat_judge(const graph *g, const pass_options *options) {
  scratch s;
  scratch_open(&s);
  pass_options own = options ? *options : (pass_options){0};
  own.target = target_or_default(options);
  own.choices = NULL;
  diag_list diags = {.arena = &s.arena};
  pass_ctx ctx = {graph_copy(&s.arena, g), &s.arena, &own, &diags};
  fusion f;
  remat_judgement j = {.possible = fusion_partition(&f, &ctx)};
  if (j.possible) {
    j.seconds = all_seconds(&f);
    fusion_emit(&f, false);
    j.kernels = ctx.graph->nkernels;
    j.memory = graph_temporaries(ctx.graph, &own);
  }
  scratch_close(&s);
  return j;
}
