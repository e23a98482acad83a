// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rule exp-shift: sums of exponentials below a running maximum in one walk.
//
//   m = max x over T                     loop T carry m = -inf, s = 0 {
//   s = sum exp(x - m) * g over T   =>     m' = max m, (reduce max x over T)
//                                          s' = s * exp(m - m') + exp(x - m') * g
//
// exp(x - m) exp(m - m') = exp(x - m'), so what was summed under an older maximum is rescaled.
// While the maximum is -inf, 0 stands for it in differences; a maximum that stays infinite makes
// the sum NaN, as it would be in two walks. In place of m there may be where(c, constant, m), c
// depending on m, which programs use to keep rows of -inf from NaN. The rounding differs from two
// walks by that of the rescaling factors. Milakov and Gimelshein, "Online normalizer calculation
// for softmax", 2018.
#include "passes/lowering/gpu_online.h"

#include <math.h>

/// The value depends on m without passing another reduction.
static bool leads_to(const kbuild *b, const node *n, const node *m, bool *seen) {
  if (n == m) return true;
  if (!kb_in_group(b, n) || op_is_reduce(n->op) || seen[n->id]) return false;
  seen[n->id] = true;
  for (int i = 0; i < n->nin; i++)
    if (leads_to(b, n->in[i], m, seen)) return true;
  return false;
}

static bool depends_on(const kbuild *b, const node *n, const node *m) {
  return leads_to(b, n, m, kb_unseen(b));
}

/// m itself, or m with a constant in its place where it is infinite, or so.
static bool stands_for(const kbuild *b, const node *n, const node *m) {
  if (n == m) return true;
  if (!kb_in_group(b, n) || n->op != OP_where || n->type != m->type) return false;
  return (n->in[1] == m && n->in[2]->op == OP_const) || (n->in[2] == m && n->in[1]->op == OP_const);
}

/// The value is exp(x - shift), maybe times what does not depend on the maximum m of x. *shift is m
/// or stands for it; the same in all sums.
static bool scales_with(const kbuild *b, const node *n, const node *m, const node **shift) {
  if (!kb_in_group(b, n)) return false;
  if (n->op == OP_exp) {
    const node *d = n->in[0];
    if (!kb_in_group(b, d) || d->op != OP_sub || d->in[0] != m->in[0]) return false;
    if (!stands_for(b, d->in[1], m) || (*shift && *shift != d->in[1])) return false;
    *shift = d->in[1];
    return true;
  }
  if (n->op != OP_mul) return false;
  for (int k = 0; k < 2; k++)
    if (!depends_on(b, n->in[1 - k], m) && depends_on(b, n->in[k], m))
      return scales_with(b, n->in[k], m, shift);
  return false;
}

static bool spans(const node *n, const row_plan *p) {
  for (int i = 0; i < p->nr; i++)
    if (!node_has_axis(n, p->r_axes[i])) return false;
  return true;
}

/// The sum grows with the maximum alone, not with another reduction of the first level.
static bool is_scaled_sum(const kbuild *b, const row_plan *p, online *o, const node *sum) {
  if (!spans(sum->in[0], p)) return false;
  if (sum->op != OP_sum || !dtype_is_float(sum->type) ||
      !scales_with(b, sum->in[0], o->max, &o->shift))
    return false;
  for (int i = 0; i < o->nothers; i++)
    if (depends_on(b, sum->in[0], o->others[i])) return false;
  return true;
}

bool online_applies(const kbuild *b, const row_plan *p, online *o) {
  const group *g = b->group;
  *o = (online){0};
  for (int i = 0; i < g->reductions.len; i++) {
    const node *n = g->reductions.data[i];
    if (p->level[n->id] != 1) continue;
    bool max = n->op == OP_reduce_max && dtype_is_float(n->type) && spans(n->in[0], p);
    if (max && !o->max) o->max = n;
    else if (o->nothers < MAX_REDUCTIONS / 2) o->others[o->nothers++] = n;
    else return false;
  }
  for (int i = 0; o->max && i < g->reductions.len; i++) {
    const node *n = g->reductions.data[i];
    if (p->level[n->id] != 2) continue;
    if (o->nsums == MAX_REDUCTIONS / 2 || !is_scaled_sum(b, p, o, n)) return false;
    o->sums[o->nsums++] = n;
  }
  return o->nsums > 0;
}

static tval *number(kbuild *b, dtype t, double v) { return kb_const(b, t, (scalar){.f = v}); }

/// v for every row that is open.
static tval *row_fill(kbuild *b, const row_plan *p, dtype t, double v) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (!b->extent[axis] || p->beside[axis]) continue;
    axes[n] = axis;
    extents[n++] = b->extent[axis];
  }
  return kb_fill(b, t, (scalar){.f = v}, axes, extents, n);
}

/// What is taken from exponents under the maximum, which done[] has from here on.
static tval *shift_of(kbuild *b, const online *o, tval *max) {
  dtype t = o->max->type;
  tval *none = kb_map(b, OP_eq, DT_bool, max, number(b, t, -INFINITY), NULL);
  b->done[o->max->id] = kb_map(b, OP_where, t, none, number(b, t, 0), max);
  return kb_value_here(b, o->shift);
}

/// By how much what was summed under an older maximum and shift shrinks: to 0 where nothing was.
static tval *factor_of(kbuild *b, dtype t, tval *old, tval *old_shift, tval *shift, tval *lowest,
                       tval *zero) {
  tval *ratio = kb_map(b, OP_exp, t, kb_map(b, OP_sub, t, old_shift, shift, NULL), NULL, NULL);
  return kb_map(b, OP_where, t, kb_map(b, OP_eq, DT_bool, old, lowest, NULL), zero, ratio);
}

/// One step. carried: the maximum, what stood for it, the sums: rows, finished up to here; then the
/// others, by lane.
static void online_step(kbuild *b, const row_plan *p, const online *o, tval **carried) {
  dtype t = o->max->type;
  tval *old = carried[0], *lowest = number(b, t, -INFINITY), *zero = number(b, t, 0);
  tval *x = kb_reduce_tile(b, OP_max, kb_value_here(b, o->max->in[0]), p->kr, p->nkr);
  tval *now = kb_map(b, OP_max, t, old, x, NULL);
  tval *shift = shift_of(b, o, now);
  tval *factor = factor_of(b, t, old, carried[1], shift, lowest, zero);
  carried[0] = now;
  carried[1] = shift;
  for (int i = 0; i < o->nsums; i++) {
    dtype type = o->sums[i]->type;
    tval *part = kb_reduce_tile(b, OP_add, kb_value_here(b, o->sums[i]->in[0]), p->kr, p->nkr);
    carried[2 + i] = kb_map(b, OP_fma, type, carried[2 + i], kb_as_type(b, factor, type), part);
  }
  b->done[o->max->id] = NULL;
  for (int i = 0, at = 2 + o->nsums; i < o->nothers; i++) {
    reduce_accumulate(b, o->others[i], &carried[at], &carried[at]);
    at += op_is_arg(o->others[i]->op) ? 2 : 1;
  }
}

/// The maximum and the sums of rows.
static void finish_sums(kbuild *b, const online *o, tval **carried) {
  dtype t = o->max->type;
  b->done[o->max->id] = carried[0];
  tval *shift = kb_value_here(b, o->shift);
  tval *zero = kb_map(b, OP_sub, t, shift, shift, NULL);  // NaN where the exponents are
  for (int i = 0; i < o->nsums; i++) {
    dtype type = o->sums[i]->type;
    b->done[o->sums[i]->id] =
        kb_map(b, OP_add, type, carried[2 + i], kb_as_type(b, zero, type), NULL);
  }
}

static void online_finish(kbuild *b, const row_plan *p, const online *o, tval **carried) {
  finish_sums(b, o, carried);
  for (int i = 0, at = 2 + o->nsums; i < o->nothers; i++) {
    reduce_finish(b, p, o->others[i], &carried[at]);
    at += op_is_arg(o->others[i]->op) ? 2 : 1;
  }
}

/// The walk; gives how many values it leaves.
static int run_walk(kbuild *b, const row_plan *p, const online *o, tval **carried) {
  carried[0] = row_fill(b, p, o->max->type, -INFINITY);
  carried[1] = row_fill(b, p, o->max->type, 0);
  for (int i = 0; i < o->nsums; i++) carried[2 + i] = row_fill(b, p, o->sums[i]->type, 0);
  running r = {.n = o->nothers};
  for (int i = 0; i < o->nothers; i++) r.reductions[i] = o->others[i];
  reduce_start(b, p, &r);
  memcpy(carried + 2 + o->nsums, r.values, sizeof *carried * (size_t)r.nvalues);
  int n = 2 + o->nsums + r.nvalues;
  reduce_open_loops(b, p->kr, p->step, p->nkr, carried, n, 1);
  online_step(b, p, o, carried);
  reduce_close_loops(b, p->nkr, carried, n);
  return n;
}

void online_walk(kbuild *b, const row_plan *p, const online *o) {
  tval *carried[2 * MAX_REDUCTIONS + 2];
  run_walk(b, p, o, carried);
  online_finish(b, p, o, carried);
}

int online_chunk(kbuild *b, const row_plan *p, const online *o, tval **values) {
  run_walk(b, p, o, values);
  return 2 + o->nsums;
}

void online_merge(kbuild *b, const row_plan *over, const online *o, tval **values) {
  dtype t = o->max->type;
  tval *lowest = number(b, t, -INFINITY), *zero = number(b, t, 0), *olds = values[0];
  values[0] = kb_reduce_tile(b, OP_max, olds, over->kr, over->nkr);
  tval *shift = shift_of(b, o, values[0]);
  tval *factor = factor_of(b, t, olds, values[1], shift, lowest, zero);
  values[1] = shift;
  for (int i = 0; i < o->nsums; i++) {
    dtype type = o->sums[i]->type;
    tval *scaled = kb_map(b, OP_mul, type, values[2 + i], kb_as_type(b, factor, type), NULL);
    values[2 + i] = kb_reduce_tile(b, OP_add, scaled, over->kr, over->nkr);
  }
  b->scope->memo = (map){0};  // from here on the maximum is itself where it is infinite
  finish_sums(b, o, values);
}
