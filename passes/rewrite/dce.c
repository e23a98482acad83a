// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Dead code: what no output needs is gone. Parameters stay, they are the signature.
//
//   %a = exp %x          %a = exp %x
//   %b = sin %x    ──▶   return %a
//   return %a
#include "passes/passes.h"

bool pass_dce(pass_ctx *ctx) {
  graph *g = ctx->graph;
  if (g->fused) return false;  // its clones are all alive
  int before = g->nodes.len;
  node **keep = arena_array(ctx->scratch, node *, before + 1);
  graph_compact(g, keep);
  return g->nodes.len != before;
}
