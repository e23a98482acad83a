// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Two walks of a streamed block's derivative become one, where sums may be added up in any order.
//
//   fuse#1 stream(T) { p, ds ; dq = dot(ds, k, T) }                  walks T, rows of S
//   fuse#2 stream(S) { p, ds ; dk = dot(ds, q, S), dv = .. }         walks S, rows of T
//                                    becomes
//   fuse#1 stream(S) unordered { p, ds ; dk, dv, dq = dot(ds, k, T) }
//
// What the first computes along both axes the second computes as well, so that of seven products five
// are left. Each block has a part of the rows T, so dq is what blocks add up in memory; maps of it follow in a
// kernel of their own. Both stay as they are where anything else of the first is not in the second, or where
// the target has no kernel of that form (stream_form.h).
#include "base/fault.h"
#include "passes/fusion/stream_form.h"
#include "passes/passes.h"

typedef struct joiner {
  graph *g;
  arena *a;
  int n;           // nodes there were
  int from, to;    // 1 + contracts
  int *number;     // by node id: of the equal node of `to`, else its own
  uint8_t *sum;    // by node id: of `from`, becomes a sum over rows of `to`
  uint8_t *after;  // by node id: of `from`, depends on such a sum
  uint8_t *free;   // by node id: of `from`, computed outside by what follows the sums
  node **made;     // by node id: replacements
} joiner;

static op_class class_of(const node *n) { return op_get(n->op)->class; }
static bool is_leaf(const node *n) { return n->op == OP_param || class_of(n) == CLASS_leaf; }
static bool is_from(const joiner *j, const node *n) {
  return n->contract == j->from && !is_leaf(n);
}
static bool is_matched(const joiner *j, const node *n) { return j->number[n->id] != n->id; }

static bool is_over_stream(const joiner *j, const node *n) {
  const contract *c = &j->g->contracts.data[j->from - 1];
  bool along = false;
  for (int k = 0; op_combines(n->op) && k < n->nattr_axes; k++)
    along |= axes_have(c->axes, c->naxes, n->attr_axes[k]);
  return along;
}

/// Which nodes of `from` the other has, too.
static void match(joiner *j) {
  const graph *g = j->g;
  map seen = {0};
  for (int id = 0; id < j->n; id++) j->number[id] = id;
  for (int pass = 0; pass < 2; pass++)
    for (int id = g->nparams; id < j->n; id++) {
      const node *n = g->nodes.data[id];
      if (n->contract != (pass ? j->from : j->to)) continue;
      str key = node_key(j->a, n, j->number, j->to);
      const node *same = map_get(&seen, key);
      if (same) j->number[id] = j->number[same->id];
      else if (!pass) map_put(j->a, &seen, key, (void *)n);
    }
}

/// Nothing that the second walk reads waits for what the first one gives.
static bool is_independent(const joiner *j) {
  uint8_t *waits = arena_array(j->a, uint8_t, j->n);
  for (int id = 0; id < j->n; id++) {
    const node *n = j->g->nodes.data[id];
    waits[id] = is_from(j, n);
    for (int k = 0; k < n->nin && !waits[id]; k++) waits[id] = waits[n->in[k]->id];
    if (waits[id] && n->contract == j->to && !is_leaf(n)) return false;
  }
  return true;
}

/// Maps of rows in memory, which what follows the sums computes for itself.
static bool is_free(const joiner *j, const node *n) {
  if (!is_from(j, n)) return true;
  if (!op_is_map(n->op) && n->op != OP_view) return false;
  j->free[n->id] = 1;
  for (int k = 0; k < n->nin; k++)
    if (!is_free(j, n->in[k])) return false;
  return true;
}

static bool is_sum(const joiner *j, const node *n) {
  return n->op == OP_dot && n->type == DT_f32 && n->nattr_axes == 1 && is_over_stream(j, n);
}

/// All that is left of `from` are sums over its stream, and maps of these.
static bool classify(const joiner *j) {
  int sums = 0;
  for (int id = 0; id < j->n; id++) {
    const node *n = j->g->nodes.data[id];
    if (!is_from(j, n) || is_matched(j, n)) continue;
    bool follows = false;
    for (int k = 0; k < n->nin; k++) follows |= j->sum[n->in[k]->id] || j->after[n->in[k]->id];
    if (!follows && is_sum(j, n)) {
      j->sum[id] = 1;
      sums++;
    } else if (follows) {
      if (!op_is_map(n->op) && n->op != OP_view) return false;
      j->after[id] = 1;
    } else if (!op_is_map(n->op) && n->op != OP_view) {
      return false;
    }
  }
  for (int id = 0; id < j->n; id++) {
    const node *n = j->g->nodes.data[id];
    for (int k = 0; j->after[id] && k < n->nin; k++) {
      int in = n->in[k]->id;
      if (!j->sum[in] && !j->after[in] && !is_free(j, n->in[k])) return false;
    }
  }
  return sums > 0;
}

/// The node as `to` has it; a view or map that it lacks comes with the sum.
static node *taken(const joiner *j, node *n) {
  if (is_matched(j, n)) return j->g->nodes.data[j->number[n->id]];
  if (!is_from(j, n)) return n;
  node **in = arena_array(j->a, node *, n->nin);
  for (int k = 0; k < n->nin; k++) in[k] = taken(j, n->in[k]);
  node *copy = graph_clone_node(j->g, n, in);
  copy->contract = j->to;
  return copy;
}

/// The sums, in the second walk.
static void make_sums(const joiner *j) {
  for (int id = 0; id < j->n; id++)
    if (j->sum[id]) j->made[id] = taken(j, j->g->nodes.data[id]);
}

/// The target has the kernel.
static bool is_stream(const joiner *j) {
  const graph *g = j->g;
  int total = g->nodes.len, n = 0, at;
  node **nodes = arena_array(j->a, node *, total);
  uint8_t *member = arena_array(j->a, uint8_t, total), *stored = arena_array(j->a, uint8_t, total);
  for (int id = 0; id < total; id++)
    if (g->nodes.data[id]->contract == j->to) member[id] = 1, nodes[n++] = g->nodes.data[id];
  for (int id = 0; id < j->n; id++) {
    const node *user = g->nodes.data[id];
    for (int k = 0; k < user->nin && user->contract != j->to; k++) stored[user->in[k]->id] = 1;
    if (j->made[id]) stored[j->made[id]->id] = 1;
  }
  for (int i = 0; i < g->outputs.len; i++) stored[g->outputs.data[i].value->id] = 1;
  for (int id = 0; id < total; id++) stored[id] &= member[id] && !is_leaf(g->nodes.data[id]);
  outline o;
  stream_form f;
  reason why;
  str detail;
  return outline_make(&o, j->a, g, nodes, n, member, stored, &g->contracts.data[j->to - 1], &why,
                      &at) &&
         stream_form_of(&f, &o, j->a, nodes, n, member, stored, &why, &at, &detail);
}

/// What follows the sums is in no block, and the first walk is gone.
static void drop_walk(const joiner *j) {
  graph *g = j->g;
  for (int id = 0; id < j->n; id++)
    if (j->after[id] || j->free[id]) g->nodes.data[id]->contract = 0;
  node **all = arena_array(j->a, node *, g->nodes.len);
  memcpy(all, j->made, sizeof(node *) * (size_t)j->n);
  graph_compact(g, all);
  for (int id = 0; id < g->nodes.len; id++) {
    node *n = g->nodes.data[id];
    if (n->contract == j->from) n->contract = 0;  // leaves
    if (n->contract > j->from) n->contract--;
  }
  for (int k = j->from; k < g->contracts.len; k++) g->contracts.data[k - 1] = g->contracts.data[k];
  g->contracts.len--;
}

static bool join(graph *g, arena *a, int from, int to) {
  int n = g->nodes.len;
  joiner j = {.g = g,
              .a = a,
              .n = n,
              .from = from,
              .to = to,
              .number = arena_array(a, int, n),
              .sum = arena_array(a, uint8_t, n),
              .after = arena_array(a, uint8_t, n),
              .free = arena_array(a, uint8_t, n),
              .made = arena_array(a, node *, n)};
  match(&j);
  if (!is_independent(&j) || !classify(&j)) return false;
  make_sums(&j);
  g->contracts.data[to - 1].unordered = true;
  if (is_stream(&j)) {
    drop_walk(&j);
    return true;
  }
  g->contracts.data[to - 1].unordered = false;
  graph_compact(g, arena_array(a, node *, g->nodes.len));
  return false;
}

static bool walks_gradient(const contract *c) {
  return c->streamed && c->gradient && !c->unordered && c->naxes == 1;
}

bool pass_join_walks(pass_ctx *ctx) {
  graph *g = ctx->graph;
  const pass_options *o = ctx->options;
  bool changed = false, asked = o && o->unordered_sums && !o->deterministic;
  if (g->fused || !asked || !o->target || !o->target->wgmma) return false;
  for (int from = 1; from <= g->contracts.len; from++)
    for (int to = 1; to <= g->contracts.len; to++) {
      const contract *c = g->contracts.data;
      if (from == to || from > g->contracts.len) continue;
      if (!walks_gradient(&c[from - 1]) || !walks_gradient(&c[to - 1])) continue;
      if (c[from - 1].axes[0] == c[to - 1].axes[0]) continue;
      if (!join(g, ctx->scratch, from, to)) continue;
      changed = true;
      to = 0;  // the numbers have moved
    }
  return changed;
}
