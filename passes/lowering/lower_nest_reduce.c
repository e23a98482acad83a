// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Reductions in a kernel of loop nests, as values of a step or states combined over the steps.
//
//   loop S:1 {
//     l, o = loop T:64 carry l = 0, o = 0 {      those that walk the same elements share a loop,
//       p = exp(s - shift)                       so that these are computed once
//       yield l + p, o + p * y
//     }
//     state l = state l * scale + reduce l over T; ...
//   }
#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/nest.h"

enum { MOST_TOGETHER = 4 };

/// Of -inf, while nothing was seen, and of inf no difference can be taken: 0 stands for them, as in a
/// program that guards its maximum.
static tval *shift_below(kbuild *b, dtype type, tval *max) {
  tval *zero = kb_const(b, type, (scalar){.f = 0});
  tval *infinite = kb_map(b, OP_is_inf, DT_bool, max, NULL, NULL);
  return kb_map(b, OP_where, type, infinite, zero, max);
}

void nest_keep_shift(const nest *t, const node *frame, tval *max) {
  nest_keep_in(t, frame, t->shift_of[frame->id], shift_below(t->b, frame->type, max));
}

/// What is taken from exponents and the factor of this step.
static void store_frame(nest *t, const node *n, tval *before, tval *now) {
  kbuild *b = t->b;
  tval *shift = shift_below(b, n->type, now);
  nest_keep_in(t, n, t->shift_of[n->id], shift);
  tval *change = kb_map(b, OP_sub, n->type, before, shift, NULL);
  nest_keep_in(t, n, t->scale_of[n->id], kb_map(b, OP_exp, n->type, change, NULL, NULL));
}

bool nest_same_axes(const nest *t, const node *x, const node *y) {
  int a[MAX_KERNEL_AXES], c[MAX_KERNEL_AXES];
  int n = nest_axes_of(t, x, -1, a), m = nest_axes_of(t, y, -1, c);
  for (int i = 0; i < m; i++)
    if (!axes_have(a, n, c[i])) return false;
  return n == m;
}

bool nest_is_ready(const nest *t, const node *n, const node *beside, bool *seen) {
  if (seen[n->id]) return true;  // else the search has ended
  seen[n->id] = true;
  for (int k = 0; k < n->nin; k++) {
    const node *x = n->in[k];
    if (!kb_in_group(t->b, x)) continue;
    const outline_value *v = &t->o.values[x->id];
    if (t->b->local_ready[x->id]) continue;
    if (x == beside || v->kept || v->state || !nest_is_ready(t, x, beside, seen)) return false;
  }
  return true;
}

/// Kept maps of elements that the reduction walks, made of what is there already: they are stored in
/// its loop, so that what both are made of is computed once.
static int find_beside(const nest *t, const node *red, const node **beside) {
  const kbuild *b = t->b;
  const group *g = b->group;
  int count = 0;
  for (int i = 0; t->needed && i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (!t->needed[n->id] || !op_is_map(n->op) || !t->o.values[n->id].kept ||
        b->local_ready[n->id] || !nest_same_axes(t, n, red->in[0]) || count + 1 == MAX_AXES)
      continue;
    if (nest_is_ready(t, n, red, kb_unseen(b))) beside[count++] = n;
  }
  if (t->needed && nest_keeps_elements(t, red)) beside[count++] = red->in[0];
  return count;
}

bool nest_goes_beside(const nest *t, const node *n, const node *red) {
  bool *ready = &t->b->local_ready[n->id];
  if (!nest_same_axes(t, n, red->in[0]) || !nest_is_ready(t, n, red, kb_unseen(t->b))) return false;
  *ready = true;
  bool goes = nest_is_ready(t, red, NULL, kb_unseen(t->b));
  *ready = false;
  return goes;
}

/// Reductions that walk the same elements and wait for nothing more: one loop for all of them, so that
/// what they are made of is computed once. reds[0] is the first.
static int find_together(nest *t, const node **reds) {
  const kbuild *b = t->b;
  const node *first = reds[0];
  nest_loops s = nest_loops_of(t, first);
  int over[MAX_AXES], nover = nest_reduced(t, first, over), count = 1;
  for (int i = 0; t->needed && i < b->group->nodes.len && count < MOST_TOGETHER; i++) {
    const node *n = b->group->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    bool same = n != first && op_get(n->op)->class == CLASS_reduce && !op_is_arg(n->op) &&
                !b->local_ready[n->id] && !v->is_frame && v->walk == t->o.values[first->id].walk &&
                v->state == t->o.values[first->id].state && (v->state || t->needed[n->id]);
    same &= !v->ncentres || t->centred;
    if (!same || !nest_same_axes(t, n, first) || !nest_same_axes(t, n->in[0], first->in[0]))
      continue;
    nest_loops own = nest_loops_of(t, n);
    int also[MAX_AXES], nalso = nest_reduced(t, n, also);
    same = own.lanes == s.lanes && own.vectors == s.vectors && nalso == nover;
    for (int k = 0; same && k < nover; k++) same = also[k] == over[k];
    if (same && nest_is_ready(t, n, NULL, kb_unseen(t->b))) reds[count++] = n;
  }
  return count;
}

/// What the loops came to, combined with what there was before the step.
static void store_reduction(nest *t, const node *n, tval *sum) {
  kbuild *b = t->b;
  const outline_value *v = &t->o.values[n->id];
  if (v->state) {
    tval *before = nest_kept(t, n, b->local_of[n->id]);
    if (nest_is_weight(t, n)) nest_keep_in(t, n, t->before_of[n->id], before);
    tval *now = kb_map(b, op_combiner(n->op), n->type, nest_scaled(t, n, before), sum, NULL);
    if (v->is_frame) store_frame(t, n, before, now);
    sum = now;
  }
  nest_keep(t, n, sum);
}

void nest_emit_reduction(nest *t, const node *n) {
  kbuild *b = t->b;
  const node *beside[MAX_AXES], *reds[MOST_TOGETHER] = {n};
  int nbeside = find_beside(t, n, beside), nreds = find_together(t, reds);
  for (int i = 0; i < nbeside; i++) nest_declare_value(t, beside[i], reds, nreds);
  for (int i = 1; i < nreds; i++)
    if (!t->o.values[reds[i]->id].state) nest_declare(t, reds[i], "v");
  nest_loops s = nest_loops_of(t, n);
  int over[MAX_AXES], nover = nest_reduced(t, n, over);
  const node *packed[MAX_AXES];
  int npacked = nest_pack_operands(t, n, s.lanes, packed);
  int o = nest_open(t, n, &s);
  bool by_lane = axes_have(over, nover, s.lanes);
  int width = by_lane ? nest_width(t, &s) : 0;
  tval *sums[MOST_TOGETHER];
  for (int i = 0; i < nreds; i++)
    sums[i] = nest_filled(t, n, reds[i]->type, op_identity(reds[i]->op, reds[i]->type),
                          by_lane ? s.lanes : -1, width);
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < nover; i++) {
      if ((over[i] == s.lanes) != pass) continue;
      tstmt *loop = kb_loop(b, over[i], over[i] == s.lanes ? width : 1, sums, nreds);
      for (int k = 0; k < nreds; k++) sums[k] = loop->body->params[k];
    }
  int singles[MAX_AXES], nsingles = 0;
  for (int i = 0; i < nover; i++)
    if (over[i] != s.lanes) singles[nsingles++] = over[i];
  for (int i = 0; i < nreds; i++) {
    op combine = op_combiner(reds[i]->op);
    tval *x = kb_reduce_tile(b, combine, kb_value_here(b, reds[i]->in[0]), singles, nsingles);
    sums[i] = kb_accumulate(b, combine, (tval *[]){sums[i], x}, 2);
  }
  for (int i = 0; i < nbeside; i++) nest_keep(t, beside[i], kb_value_here(b, beside[i]));
  for (int i = 0; i < nover; i++) {
    tval **out = kb_end_loop(b, sums, nreds);
    for (int k = 0; k < nreds; k++) sums[k] = out[k];
  }
  int lanes = s.lanes;
  for (int i = 0; i < nreds; i++) {
    if (by_lane) sums[i] = kb_reduce_tile(b, op_combiner(reds[i]->op), sums[i], &lanes, 1);
    store_reduction(t, reds[i], sums[i]);
  }
  nest_close(t, o);
  nest_unpack_operands(t, packed, npacked);
  for (int i = 0; i < nbeside; i++) nest_is_there(t, beside[i]);
  for (int i = 1; i < nreds; i++) nest_is_there(t, reds[i]);
}
