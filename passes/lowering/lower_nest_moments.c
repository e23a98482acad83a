// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums about running means in a kernel of loop nests.
//
//   local m2[S], m1[S], sum[S], centre[S], move[S], count[S], before[S]
//   loop T:256 {
//     loop S:1 { sum = sum + reduce x over T }
//     loop S:1 { before = count;  count = min(count + 256, T)
//                c = sum / count;  move = centre - c;  centre = c }
//     loop S:1 { m2 = m2 + move * (2 * m1 + move * before) }    what they were, about the new
//     loop S:1 { m1 = m1 + move * before }
//     loop S:1 { m2, m1 = m2 + reduce (x - centre)^2, m1 + reduce (x - centre) }
//   }
//
// Any centre is right, so what it was rounded by does not matter. Source: Chan, Golub and LeVeque,
// "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979); that the
// first moment is kept, which is 0 about the mean, makes up for the rounding of the mean.
#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/nest.h"

bool nest_is_weight(const nest *t, const node *state) {
  const group *g = t->b->group;
  if (!t->o.values[state->id].state || t->o.values[state->id].ncentres) return false;
  for (int i = 0; i < g->nodes.len; i++) {
    const outline_value *v = &t->o.values[g->nodes.data[i]->id];
    for (int k = 0; k < v->ncentres; k++)
      if (v->below[k] == state) return true;
  }
  return false;
}

static bool counts(const nest *t, const node *c) { return !t->o.values[c->id].weight; }

void nest_declare_centre(nest *t, const node *c) {
  kbuild *b = t->b;
  nest_declare(t, c, "centre");
  if (t->o.values[c->id].in_memory) return;
  int axes[MAX_KERNEL_AXES], n = nest_axes_of(t, c, nest_loops_of(t, c).lanes, axes);
  t->move_of[c->id] = kb_local(b, "move", c->type, axes, n);
  if (!counts(t, c)) return;
  t->count_of[c->id] = kb_local(b, "count", c->type, axes, n);
  t->before_of[c->id] = kb_local(b, "before", c->type, axes, n);
}

void nest_begin_centre(nest *t, const node *c) {
  kbuild *b = t->b;
  nest_declare_centre(t, c);
  nest_loops s = nest_loops_of(t, c);
  int o = nest_open(t, c, &s);
  tval *zero = nest_filled(t, c, c->type, (scalar){.f = 0}, -1, 0);
  nest_keep(t, c, zero);
  if (counts(t, c)) nest_keep_in(t, c, t->count_of[c->id], zero);
  nest_close(t, o);
  nest_forget(b);
}

/// Elements along the stream that were seen, with those of the step.
static tval *count_elements(const nest *t, const node *c, tval *before) {
  kbuild *b = t->b;
  int axis = t->stream[0];
  ix size = b->k->axes.data[axis].size;
  tval *step = kb_const(b, c->type, (scalar){.f = b->extent[axis]});
  tval *all =
      kb_index_value(b, b->part.below ? ix_sub(&b->k->ix, size, b->part.from) : size, DT_i64);
  if (b->part.below) all = kb_reduce_tile(b, OP_max, all, &t->chunk, 1);  // of one chunk
  all = kb_as_type(b, all, c->type);
  return kb_map(b, OP_min, c->type, kb_map(b, OP_add, c->type, before, step, NULL), all, NULL);
}

tval *nest_finite_mean(kbuild *b, dtype type, tval *sum, tval *by) {
  tval *mean = kb_map(b, OP_div, type, sum, by, NULL);
  tval *zero = kb_const(b, type, (scalar){.f = 0});
  tval *apart = kb_map(b, OP_sub, type, mean, mean, NULL);
  tval *finite = kb_map(b, OP_eq, DT_bool, apart, zero, NULL);
  return kb_map(b, OP_where, type, finite, mean, zero);
}

/// The mean of all elements so far. 0 where there is none, or it is infinite: no difference can be
/// taken then.
static void move_centre(nest *t, const node *c) {
  kbuild *b = t->b;
  const outline_value *v = &t->o.values[c->id];
  tval *by;
  if (counts(t, c)) {
    tval *before = nest_kept(t, c, t->count_of[c->id]);
    by = count_elements(t, c, before);
    nest_keep_in(t, c, t->before_of[c->id], before);
    nest_keep_in(t, c, t->count_of[c->id], by);
  } else {
    by = nest_kept(t, v->weight, b->local_of[v->weight->id]);
  }
  tval *sum = nest_kept(t, v->sum, b->local_of[v->sum->id]);
  tval *mean =
      nest_finite_mean(b, c->type, kb_as_type(b, sum, c->type), kb_as_type(b, by, c->type));
  tval *before = nest_kept(t, c, b->local_of[c->id]);
  nest_keep_in(t, c, t->move_of[c->id], kb_map(b, OP_sub, c->type, before, mean, NULL));
  nest_keep(t, c, mean);
}

/// A sum below the state, before the step.
static tval *value_below(const nest *t, const node *c, const node *below) {
  const kbuild *b = t->b;
  if (!below) return nest_kept(t, c, t->before_of[c->id]);
  bool seen = b->local_ready[below->id] && nest_is_weight(t, below);
  return nest_kept(t, below, seen ? t->before_of[below->id] : b->local_of[below->id]);
}

/// What the state came to, about where centre c is now.
static tval *moved(const nest *t, const node *state, const node *c, tval *was) {
  kbuild *b = t->b;
  const outline_value *v = &t->o.values[state->id];
  dtype type = was->type;
  tval *h = kb_as_type(b, nest_kept(t, c, t->move_of[c->id]), type), *sum = NULL;
  bool twice = v->ncentres == 2 && v->centres[0] == c && v->centres[1] == c;
  for (int i = 0; i < v->ncentres; i++) {
    if (v->centres[i] != c) continue;
    tval *below = kb_as_type(b, value_below(t, c, v->below[i]), type);
    sum = sum ? kb_map(b, OP_add, type, sum, below, NULL) : below;
  }
  if (twice) {
    const outline_value *one = &t->o.values[v->below[0]->id];
    tval *least = kb_as_type(b, value_below(t, c, one->below[0]), type);
    sum = kb_map(b, OP_add, type, sum, kb_map(b, OP_mul, type, h, least, NULL), NULL);
  }
  // Where it did not move nothing changes, not even if a sum is infinite.
  tval *still = kb_map(b, OP_eq, DT_bool, h, kb_const(b, type, (scalar){.f = 0}), NULL);
  tval *now = kb_map(b, OP_add, type, was, kb_map(b, OP_mul, type, h, sum, NULL), NULL);
  return kb_map(b, OP_where, type, still, was, now);
}

/// States about c with so many centres.
static void move_states(nest *t, const node *c, int ncentres) {
  const kbuild *b = t->b;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    bool about = false;
    for (int k = 0; k < v->ncentres; k++) about |= v->centres[k] == c;
    if (!v->state || v->ncentres != ncentres || !about) continue;
    nest_loops s = nest_loops_of(t, n);
    int o = nest_open(t, n, &s);
    nest_keep(t, n, moved(t, n, c, nest_kept(t, n, b->local_of[n->id])));
    nest_close(t, o);
    nest_forget(t->b);
  }
}

void nest_emit_centre(nest *t, const node *c) {
  kbuild *b = t->b;
  nest_loops s = nest_loops_of(t, c);
  int o = nest_open(t, c, &s);
  move_centre(t, c);
  nest_close(t, o);
  b->local_ready[c->id] = true;
  nest_forget(b);
  // Those above others first: they need what these were.
  for (int k = OUTLINE_MOST_CENTRES; k > 0; k--) move_states(t, c, k);
}
