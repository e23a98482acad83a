// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Results in the memory of operands that nothing needs any more.
//
//   kernel 4 {                                     call @k.4(%t3, %x)
//     %7 = mul %3, %x : f32[N, D]        ──▶       what was %3 is %8 then
//     %8 = exp %7 : f32[N, D]
//   }
//
// A kernel of maps reads an element of %3 where it makes the element of %8 that depends on it, and
// nowhere else, so that one may take the place of the other: same axes in the same order, same type, and
// every way from the operand through the kernel leads through maps alone. It must be the last kernel that
// reads the operand, and both must be memory of the program's own: no parameter, no result.
//
// Which pairs a kernel has does not depend on the order of the kernels. Which of them are taken does.
#include "base/fault.h"
#include "passes/fusion/fuse.h"

void in_place_init(in_place *p, const graph *g, arena *a) {
  *p = (in_place){.g = g, .a = a};
  p->stored = arena_array(a, uint8_t, g->nodes.len);
  p->returned = arena_array(a, uint8_t, g->nodes.len);
  p->after = arena_array(a, uint8_t, g->nodes.len);
  graph_stored(g, p->stored);
  for (int i = 0; i < g->outputs.len; i++) p->returned[g->outputs.data[i].value->id] = 1;
}

bool in_place_is_temporary(const in_place *p, const node *n) {
  return p->stored[n->id] && !p->returned[n->id] && n->op != OP_param;
}

/// Maps, and what they read through views; nothing is stored through one. In one walk: under a contract, and
/// where results have other axes, each has a walk of its own, which would find the operand overwritten.
static bool is_map_kernel(const in_place *p, int first, int end) {
  const node *result = NULL;
  for (int id = first; id < end; id++) {
    const node *n = p->g->nodes.data[id];
    op_class c = op_get(n->op)->class;
    if (c != CLASS_map && c != CLASS_leaf && (c != CLASS_view || p->stored[id])) return false;
    if (n->contract || (result && p->stored[id] && !node_same_axis_set(n, result))) return false;
    if (p->stored[id]) result = n;
  }
  return true;
}

static bool reads(const node *n, const node *x) {
  for (int k = 0; k < n->nin; k++)
    if (n->in[k] == x) return true;
  return false;
}

static bool same_layout(const node *a, const node *b) {
  if (a->type != b->type || a->naxes != b->naxes) return false;
  return !memcmp(a->axes, b->axes, sizeof(int) * (size_t)a->naxes);
}

/// Marks what depends on the operand in p->after. False: it is seen through a view.
static bool follow(in_place *p, const node *operand, int first, int end) {
  for (int id = first; id < end; id++) {
    const node *n = p->g->nodes.data[id];
    p->after[id] = reads(n, operand);
    for (int k = 0; k < n->nin && !p->after[id]; k++)
      p->after[id] = n->in[k]->id >= first && p->after[n->in[k]->id];
    if (p->after[id] && op_get(n->op)->class != CLASS_map) return false;
  }
  return true;
}

static void add_pairs(in_place *p, const node *operand, int first, int end, overwrites *pairs) {
  bool known = false;
  for (int i = 0; i < pairs->len; i++) known |= pairs->data[i].operand == operand->id;
  if (known || !in_place_is_temporary(p, operand) || !operand->naxes) return;
  if (!follow(p, operand, first, end)) return;
  for (int id = first; id < end; id++) {
    const node *n = p->g->nodes.data[id];
    if (p->after[id] && in_place_is_temporary(p, n) && same_layout(n, operand))
      vec_push(p->a, pairs, (overwrite){id, operand->id});
  }
}

void in_place_pairs(in_place *p, int first, int end, overwrites *pairs) {
  bool makes = false;
  for (int id = first; id < end; id++) makes |= in_place_is_temporary(p, p->g->nodes.data[id]);
  if (!makes || !is_map_kernel(p, first, end)) return;
  for (int id = first; id < end; id++) {
    const node *n = p->g->nodes.data[id];
    for (int k = 0; k < n->nin; k++)
      if (n->in[k]->kernel != n->kernel) add_pairs(p, n->in[k], first, end, pairs);
  }
}

/// Kuhn's: the operand takes a result that is free, or whose operand finds another one.
static bool take_for(overwrites *pairs, int operand) {
  for (int i = 0; i < pairs->len; i++) {
    overwrite *pair = &pairs->data[i], *owner = NULL;
    if (pair->operand != operand || pair->seen) continue;
    for (int k = 0; k < pairs->len; k++) {
      if (pairs->data[k].result != pair->result) continue;
      pairs->data[k].seen = true;
      if (pairs->data[k].taken) owner = &pairs->data[k];
    }
    if (owner && !take_for(pairs, owner->operand)) continue;
    if (owner) owner->taken = false;
    return pair->taken = true;
  }
  return false;
}

void in_place_take(overwrites *pairs, in_place_ends *ends, void *ctx) {
  int kept = 0;
  for (int i = 0; i < pairs->len; i++)
    if (ends(ctx, &pairs->data[i])) pairs->data[kept++] = pairs->data[i];
  pairs->len = kept;
  for (int i = 0; i < pairs->len; i++) pairs->data[i].taken = false;
  for (int i = 0; i < pairs->len; i++) {
    if (i && pairs->data[i].operand == pairs->data[i - 1].operand) continue;
    for (int k = 0; k < pairs->len; k++) pairs->data[k].seen = false;
    take_for(pairs, pairs->data[i].operand);
  }
}

typedef struct chooser {
  const graph *g;
  const target_info *target;
  const uint8_t *readers;  // group_readers()
  const int *last;         // by node id: the last kernel that reads it
} chooser;

static bool is_ready(void *ctx, const overwrite *pair) {
  const chooser *c = ctx;
  const node *result = c->g->nodes.data[pair->result], *operand = c->g->nodes.data[pair->operand];
  return c->last[operand->id] == result->kernel &&
         group_row_unit(c->g, c->target, c->readers, result) ==
             group_row_unit(c->g, c->target, c->readers, operand);
}

node **graph_in_place(const graph *g, const target_info *t, const group *groups, int ngroups, arena *a) {
  node **over = arena_array(a, node *, g->nodes.len);
  int *last = arena_array(a, int, g->nodes.len);
  for (int id = g->nparams; id < g->nodes.len; id++)
    for (int k = 0; k < g->nodes.data[id]->nin; k++)
      last[g->nodes.data[id]->in[k]->id] = g->nodes.data[id]->kernel;  // ascending
  in_place p;
  in_place_init(&p, g, a);
  chooser c = {g, t, group_readers(g, groups, ngroups, a), last};
  for (int first = g->nparams, end; first < g->nodes.len; first = end) {
    overwrites pairs = {0};
    for (end = first; end < g->nodes.len && g->nodes.data[end]->kernel == g->nodes.data[first]->kernel;)
      end++;
    in_place_pairs(&p, first, end, &pairs);
    in_place_take(&pairs, is_ready, &c);
    for (int i = 0; i < pairs.len; i++)
      check(groups[g->nodes.data[first]->kernel].kind == GROUP_MAP);
    for (int i = 0; i < pairs.len; i++)
      if (pairs.data[i].taken) over[pairs.data[i].result] = g->nodes.data[pairs.data[i].operand];
  }
  return over;
}
