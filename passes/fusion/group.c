// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The kernels of a fused graph as groups, checked against the rules of passes/fusion/group.h.
#include "passes/fusion/group.h"

#include "base/fault.h"
#include "passes/fusion/fuse.h"

void graph_stored(const graph *g, uint8_t *stored) {
  for (int i = 0; i < g->outputs.len; i++) stored[g->outputs.data[i].value->id] = 1;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->nin; k++)
      if (n->in[k]->kernel != n->kernel) stored[n->in[k]->id] = 1;
  }
}

static void push_once(arena *a, group *grp, node *n) {
  for (int i = 0; i < grp->inputs.len; i++)
    if (grp->inputs.data[i] == n) return;
  vec_push(a, &grp->inputs, n);
}

static void add_node(arena *a, group *grp, node *n, bool stored) {
  vec_push(a, &grp->nodes, n);
  for (int k = 0; k < n->nin; k++)
    if (n->in[k]->kernel != n->kernel) push_once(a, grp, n->in[k]);
  if (stored) {
    vec_push(a, &grp->outputs, n);
    vec_push(a, &grp->written, n);
  }
  switch (op_get(n->op)->class) {
    case CLASS_reduce: vec_push(a, &grp->reductions, n); break;
    case CLASS_contraction:
      if (grp->anchor) grp->second = n;
      else grp->anchor = n;
      break;
    case CLASS_scan:
    case CLASS_scatter:
    case CLASS_opaque: grp->anchor = n; break;
    default: break;
  }
}

/// Without the sums of columns among the reductions and outputs.
static void set_columns(const candidate *c, arena *a, group *grp, column_form *f) {
  fuse_columns_fit(c, f);
  grp->columns = arena_copy(a, f, sizeof *f);
  grp->nodes.len = grp->outputs.len = grp->reductions.len = 0;
  for (int i = 0; i < c->n; i++) {
    node *n = c->nodes[i];
    vec_push(a, &grp->nodes, n);
    if (column_form_has(f, n)) continue;
    if (c->stored[n->id]) vec_push(a, &grp->outputs, n);
    if (op_get(n->op)->class == CLASS_reduce) vec_push(a, &grp->reductions, n);
  }
}

static verdict judge_group(const graph *g, group *grp, const uint8_t *stored, uint8_t *member,
                           const target_info *target, fuse_scratch *s) {
  for (int i = 0; i < grp->nodes.len; i++) member[grp->nodes.data[i]->id] = 1;
  candidate c = {g, grp->nodes.data, grp->nodes.len, member, stored,
                 .promise = group_contract(g, grp->nodes.data[0]),
                 .target = target};
  verdict v = fuse_legal(&c, s, &grp->kind);
  candidate seen = fuse_through(&c, s);
  column_form f;
  if (v.ok && grp->kind == GROUP_REDUCE && fuse_columns(&seen, s, &f)) set_columns(&seen, s->arena, grp, &f);
  for (int i = 0; i < grp->nodes.len; i++) member[grp->nodes.data[i]->id] = 0;
  if (seen.n == c.n || grp->columns) return v;
  grp->nodes.len = grp->outputs.len = 0;
  for (int i = 0; i < seen.n; i++) {
    vec_push(s->arena, &grp->nodes, seen.nodes[i]);
    if (seen.stored[seen.nodes[i]->id]) vec_push(s->arena, &grp->outputs, seen.nodes[i]);
  }
  return v;
}

static bool is_empty(const graph *g, const node *n) {
  for (int i = 0; i < n->naxes; i++) {
    int64_t size;
    if (ix_is_const(&g->ix, graph_axis_size(g, n->axes[i]), &size) && size == 0) return true;
  }
  return false;
}

const contract *group_contract(const graph *g, const node *member) {
  return member->contract ? &g->contracts.data[member->contract - 1] : NULL;
}

bool group_is_empty(const graph *g, const group *grp) {
  if (grp->kind == GROUP_OPAQUE) return false;
  for (int i = 0; i < grp->written.len; i++)
    if (!is_empty(g, grp->written.data[i])) return false;
  return true;
}

/// The groups, up to the first that breaks a rule: *broken says how, *count is its number then.
static group *find_groups(const graph *g, const target_info *t, arena *a, int *count,
                          verdict *broken) {
  check(g->fused);
  group *groups = arena_array(a, group, g->nkernels);
  uint8_t *stored = arena_array(a, uint8_t, g->nodes.len);
  graph_stored(g, stored);
  int last = -1;
  for (int i = g->nparams; i < g->nodes.len; i++) {
    node *n = g->nodes.data[i];
    check(n->kernel == last || n->kernel == last + 1);
    check(n->kernel < g->nkernels);
    last = n->kernel;
    groups[last].kernel = last;
    add_node(a, &groups[last], n, stored[n->id]);
  }
  check(last == g->nkernels - 1);
  uint8_t *member = arena_array(a, uint8_t, g->nodes.len);
  fuse_scratch s = fuse_scratch_new(a, g->nodes.len);
  for (*count = 0; *count < g->nkernels; ++*count) {
    *broken = judge_group(g, &groups[*count], stored, member, t, &s);
    if (!broken->ok) break;
  }
  return groups;
}

group *graph_groups(const graph *g, const target_info *target, arena *a, int *count) {
  verdict broken = {.ok = true};
  group *groups = find_groups(g, target, a, count, &broken);
  if (!broken.ok)
    panic("kernel %d of @%.*s is not a legal group: %s (node %d)", *count, STR_FMT(g->name),
          reason_text(broken.why), broken.node);
  return groups;
}

/// What no pass leaves in a fused graph, but a text may have: a result that no kernel stores, and
/// values that nothing needs.
static const node *outside_kernels(const graph *g, arena *a, str *why) {
  bool *needed = arena_array(a, bool, g->nodes.len);
  for (int i = 0; i < g->outputs.len; i++) {
    const node *n = g->outputs.data[i].value;
    *why = str_printf(a, "a kernel stores each result, and %%%.*s is a parameter", STR_FMT(n->name));
    if (n->op == OP_param) return n;
    needed[n->id] = true;
  }
  *why = STR("no result needs this value");
  for (int i = g->nodes.len - 1; i >= g->nparams; i--) {
    const node *n = g->nodes.data[i];
    if (!needed[n->id]) return n;
    for (int k = 0; k < n->nin; k++) needed[n->in[k]->id] = true;
  }
  return NULL;
}

const node *graph_illegal_group(const graph *g, const target_info *t, arena *a, str *why) {
  const node *outside = t ? NULL : outside_kernels(g, a, why);
  if (outside) return outside;
  int kernel;
  verdict broken = {.ok = true};
  const group *groups = find_groups(g, t, a, &kernel, &broken);
  if (broken.ok) return NULL;
  *why = str_printf(a, "kernel %d cannot be one kernel: %s", kernel, reason_text(broken.why));
  const node *first = groups[kernel].nodes.data[0];
  return broken.node >= 0 ? g->nodes.data[broken.node] : first;
}
