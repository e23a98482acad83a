// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Values of a step that take the place of others in a kernel of loop nests on CPUs: less of the caches
// is used, and what is masked or scaled in several loops is so once.
//
//   s[T, S] = dot                           a product
//   m = max(where(c, s * 0.125, -inf))      stored over s, since exponents are made of it as well
//   l = sum(exp(.. - m))                    stored over that, since a product is made of it
#include "passes/lowering/nest.h"

/// n is computed later in this walk.
static bool is_pending(const nest *t, const node *n) {
  const outline_value *v = &t->o.values[n->id];
  if (v->streamed && t->stored[n->id] && v->walk == t->walk) return true;
  if (t->b->local_ready[n->id]) return false;
  return v->state ? v->walk == t->walk : t->needed[n->id] && v->streamed && v->kept;
}

/// n is made of the kept value x, other than by way of `by`; sees each node once.
static bool is_made_of(const nest *t, const node *n, const node *x, const node *by, bool *seen) {
  if (n == x) return true;
  if (n == by || !kb_in_group(t->b, n) || seen[n->id]) return false;
  seen[n->id] = true;
  for (int k = 0; k < n->nin; k++) {
    const node *in = n->in[k];
    bool there = kb_in_group(t->b, in) && t->b->local_ready[in->id] && in != x;
    if (!there && is_made_of(t, in, x, by, seen)) return true;
  }
  return false;
}

static bool same_shape(const nest *t, const node *x, const node *y) {
  int a[MAX_KERNEL_AXES], b[MAX_KERNEL_AXES];
  int n = nest_axes_of(t, x, nest_loops_of(t, x).lanes, a);
  int m = nest_axes_of(t, y, nest_loops_of(t, y).lanes, b);
  return x->type == y->type && n == m && !memcmp(a, b, sizeof(int) * (size_t)n);
}

/// A value of the step in whose buffer n may lie: nothing needs it after n and what shares its loop
/// (reds). Null: none.
static const node *find_place(const nest *t, const node *n, const node *const *reds, int nreds) {
  const kbuild *b = t->b;
  const group *g = b->group;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *y = g->nodes.data[i];
    const outline_value *v = &t->o.values[y->id];
    if (y == n || v->state || !v->streamed || !b->local_ready[y->id]) continue;
    if (!same_shape(t, n, y) || !is_made_of(t, n, y, NULL, kb_unseen(b))) continue;
    bool needed = false;
    for (int k = 0; k < g->nodes.len && !needed; k++) {
      const node *later = g->nodes.data[k];
      bool now = later == n;
      for (int j = 0; j < nreds; j++) now |= later == reds[j];
      needed = !now && is_pending(t, later) && is_made_of(t, later, y, n, kb_unseen(b));
    }
    if (!needed) return y;
  }
  return NULL;
}

void nest_declare_value(nest *t, const node *n, const node *const *reds, int nreds) {
  const node *y = t->threads || !t->o.values[n->id].streamed ? NULL : find_place(t, n, reds, nreds);
  if (!y) {
    nest_declare(t, n, "v");
    return;
  }
  t->b->local_of[n->id] = t->b->local_of[y->id];
  t->b->local_ready[n->id] = false;
  t->in_place_of[n->id] = y;
}

void nest_is_there(nest *t, const node *n) {
  const node *y = t->in_place_of[n->id];
  t->in_place_of[n->id] = NULL;
  if (y) t->b->local_ready[y->id] = false;
  t->b->local_ready[n->id] = true;
}

/// Operations between n and what is there.
static int work(const nest *t, const node *n, bool *seen) {
  if (!kb_in_group(t->b, n) || t->b->local_ready[n->id] || seen[n->id] || !op_is_map(n->op)) return 0;
  seen[n->id] = true;
  int sum = 1;
  for (int k = 0; k < n->nin; k++) sum += work(t, n->in[k], seen);
  return sum;
}

bool nest_keeps_elements(const nest *t, const node *red) {
  enum { WORTH = 2 };
  const node *x = red->in[0];
  const kbuild *b = t->b;
  const group *g = b->group;
  const outline_value *v = &t->o.values[x->id];
  if (t->threads || !kb_in_group(b, x) || !op_is_map(x->op) || v->kept || !v->streamed ||
      work(t, x, kb_unseen(b)) < WORTH || !find_place(t, x, &red, 1))
    return false;
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i] != red && is_pending(t, g->nodes.data[i]) &&
        is_made_of(t, g->nodes.data[i], x, NULL, kb_unseen(b)))
      return true;
  return false;
}

const node *nest_reduction_beside(const nest *t, const node *n) {
  const kbuild *b = t->b;
  if (t->threads || !op_is_map(n->op)) return NULL;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *red = b->group->nodes.data[i];
    if (op_get(red->op)->class != CLASS_reduce || op_is_arg(red->op) || !is_pending(t, red)) continue;
    if (t->o.values[red->id].ncentres && !t->centred) continue;
    if (nest_loops_of(t, red).lanes != nest_loops_of(t, n).lanes) continue;
    if (nest_goes_beside(t, n, red)) return red;
  }
  return NULL;
}
