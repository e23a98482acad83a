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

static void put(strbuf *b, const void *data, size_t size) {
  sb_put(b, (str){(const char *)data, (int)size});
}

static void put_int(strbuf *b, int v) { put(b, &v, sizeof v); }

/// Everything that makes a node what it is, but its position.
static str key_of(arena *a, const node *n) {
  strbuf b = sb_new(a);
  put_int(&b, n->op);
  put_int(&b, n->type);
  put_int(&b, (int)(n->flags & ~(unsigned)NODE_KEEP));
  // What is computed in a block stays in its kernel, and what is outside does not come in.
  put_int(&b, op_get(n->op)->class == CLASS_leaf ? 0 : n->contract);
  bool swap = op_get(n->op)->commutes && n->in[0]->id > n->in[1]->id;
  for (int k = 0; k < n->nin; k++) put_int(&b, n->in[swap ? 1 - k : k]->id);
  put_int(&b, -1);
  for (int k = 0; k < n->naxes; k++) put_int(&b, n->axes[k]);
  put_int(&b, -1);
  for (int k = 0; k < n->nattr_axes; k++) put_int(&b, n->attr_axes[k]);
  put_int(&b, -1);
  if (n->op == OP_const) put(&b, &n->value, sizeof n->value);
  int nindex = n->op == OP_size ? 1 : op_get(n->op)->class == CLASS_view ? n->in[0]->naxes : 0;
  for (int k = 0; k < nindex; k++) put(&b, &n->index[k], sizeof n->index[k]);
  return sb_str(&b);
}

static node *share(const rewrite *r, node *n) {
  state *s = r->state;
  if (op_get(n->op)->class == CLASS_opaque) return n;
  str key = key_of(s->scratch, n);
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
