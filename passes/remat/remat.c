// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which values of the forward pass are computed again for gradients: the pass.
#include "passes/remat/remat.h"

#include "base/fault.h"
#include "passes/fusion/fuse.h"

/// Judgements together: of so many nodes, and so many plans at most.
enum { MAX_NODES_JUDGED = 40000, MAX_JUDGED = 64, MIN_JUDGED = 4 };

static bool is_joint(const graph *g) {
  bool joint = false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    // Decided before; streamed blocks have copies of their own.
    if (n->flags & NODE_RECOMPUTED && !n->contract) return false;
    joint |= g->nodes.data[i]->phase > 0;
  }
  return joint;
}

static bool any(const bool *set, int n) {
  for (int i = 0; i < n; i++)
    if (set[i]) return true;
  return false;
}

static int judgements_for(const graph *g) {
  int n = MAX_NODES_JUDGED / g->nodes.len;
  return n > MAX_JUDGED ? MAX_JUDGED : n < MIN_JUDGED ? MIN_JUDGED : n;
}

bool pass_remat(pass_ctx *ctx) {
  static const double memory[] = {0, 4, 1, 16};
  graph *g = ctx->graph;
  if (g->fused || !is_joint(g)) return false;
  pass_options options = ctx->options ? *ctx->options : (pass_options){0};
  options.target = target_or_default(ctx->options);
  remat_goal goal = {.slack = 0.01, .budget = -1};
  remat_search s;
  if (!remat_open(&s, ctx->scratch, g, &options, judgements_for(g))) return false;
  if (!remat_try_all(&s)) {
    remat_try_cuts(&s, memory, sizeof memory / sizeof *memory);
    remat_try_flips(&s, &goal);
  }
  const bool *recomputed = s.plans.data[remat_choose(&s, &goal)].recomputed;
  if (!any(recomputed, s.units.n)) return false;
  remat_clone(g, recomputed);
  return true;
}
