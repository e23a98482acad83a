// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Common subexpressions: nodes that compute the same thing from the same operands are one.
//
//   %a = exp %x        %a = exp %x
//   %b = exp %x  ──▶   %c = add %a, %a
//   %c = add %a, %b
//
// Host functions are left alone: each call the program writes is made.
#include "passes/rewrite/rewrite.h"

typedef struct state {
  arena *scratch;
  map seen;
} state;

static node *share(const rewrite *r, node *n) {
  state *s = r->state;
  if (op_get(n->op)->class == CLASS_opaque) return n;
  str key = node_key(s->scratch, n, NULL, n->contract);
  node *first = map_get(&s->seen, key);
  if (first) {
    if (first->phase > n->phase) first->phase = n->phase;
    if (first->region != n->region) first->region = 0;
    first->flags |= n->flags & NODE_KEEP;
    return first;
  }
  map_put(s->scratch, &s->seen, key, n);
  return n;
}

bool pass_cse(pass_ctx *ctx) {
  state s = {.scratch = ctx->scratch};
  return rewrite_graph_once(ctx, share, &s);  // operands come first: one walk finds all
}
