// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What was decided of each value that gradients read, why, and what other plans there were: the data behind
// `tcc-fuse explain --remat`.
#include "passes/remat/remat_study.h"

#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

/// Judgements for each of the budgets of the curve, and nodes that are judged for it.
enum { BUDGETS = 16, LEAST_PER_BUDGET = 4, MOST_PER_BUDGET = 200, NODES_PER_BUDGET = 40000 };

/// A value is worth a hint when it is at least one such part of what is kept.
enum { LARGE_SHARE = 50 };

// ---- values

/// The type to which the readers in the forward pass round the value, at once or after further maps; DT_COUNT:
/// there are none, or others.
static dtype rounded_to(const graph *g, const ints *users, const node *n, int depth) {
  enum { DEEPEST = 8 };
  dtype found = DT_COUNT;
  if (depth > DEEPEST) return DT_COUNT;
  for (int i = 0; i < users[n->id].len; i++) {
    const node *u = g->nodes.data[users[n->id].data[i]];
    if (u->phase) continue;
    dtype to = DT_COUNT;
    if (u->op == OP_cast && dtype_is_float(u->type) && dtype_bytes(u->type) == 2) to = u->type;
    else if (op_is_map(u->op) || u->op == OP_view) to = rounded_to(g, users, u, depth + 1);
    if (to == DT_COUNT || (found != DT_COUNT && found != to)) return DT_COUNT;
    found = to;
  }
  return found;
}

static reason why_saved(const remat_units *u, const node *n) {
  if (n->flags & NODE_KEEP) return REASON_saved_kept;
  if (n->contract) return REASON_saved_contract;
  if (isinf(u->fixed[n->id])) return REASON_saved_not_reproducible;
  return u->anyway[n->id] || u->held[n->id] ? REASON_saved_in_memory_anyway : REASON_saved_cheaper;
}

/// again_anyway: the plan without a budget does so too; null: there is no budget.
static reason why_recomputed(const remat_units *u, int id, const bool *again_anyway) {
  if (isinf(u->keep[id])) return REASON_recomputed_checkpoint;
  if (again_anyway && !again_anyway[id]) return REASON_recomputed_for_budget;
  return u->kernel[id] ? REASON_recomputed_cheaper : REASON_recomputed_fuses;
}

static int by_bytes(const void *a, const void *b) {
  const remat_value *x = a, *y = b;
  if (x->recomputed != y->recomputed) return x->recomputed ? 1 : -1;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return (x->value->id > y->value->id) - (x->value->id < y->value->id);
}

static void find_values(remat_study *x, const remat_search *s, const bool *recomputed,
                        const bool *again_anyway) {
  const remat_units *u = &s->units;
  const graph *g = s->g;
  ints *users = arena_array(s->a, ints, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++)
    for (int k = 0; k < g->nodes.data[i]->nin; k++)
      vec_push(s->a, &users[g->nodes.data[i]->in[k]->id], i);
  bool *may_save = remat_may_save(s->a, u);
  for (int i = 0; i < u->n; i++) may_save[i] &= !recomputed[i];
  remat_problem p = remat_weigh(s->a, u, 1, 0);
  remat_plan plan;
  remat_follow(s->a, &p, may_save, &plan);
  const bool *read = remat_read_later(s->a, g, recomputed, s->options);
  for (int id = g->nparams; id < u->n; id++) {
    const node *n = g->nodes.data[id];
    if (u->free[id] || !(plan.saved[id] || plan.recomputed[id])) continue;
    remat_value v = {.value = n, .bytes = u->bytes[id], .flops = u->flops[id]};
    // What is to be kept the fuse pass may still compute where it is read.
    v.recomputed = plan.recomputed[id] || !read[id];
    v.keep = isinf(u->keep[id]) ? INFINITY : u->kept_hidden[id];
    v.again = u->fixed[id] + u->over[id];
    v.why = !v.recomputed         ? why_saved(u, n)
            : plan.recomputed[id] ? why_recomputed(u, id, again_anyway)
                                  : REASON_recomputed_fuses;
    v.narrow = DT_COUNT;
    bool large = LARGE_SHARE * v.bytes >= (double)x->chosen.saved;
    if (!v.recomputed && large && n->type == DT_f32) v.narrow = rounded_to(g, users, n, 0);
    vec_push(x->arena, &x->values, v);
  }
  if (x->values.len) qsort(x->values.data, (size_t)x->values.len, sizeof *x->values.data, by_bytes);
}

// ---- the curve

static int count_recomputed(const remat_search *s, const bool *recomputed) {
  int n = 0;
  for (int i = 0; i < s->units.n; i++) n += recomputed[i] && !s->units.free[i];
  return n;
}

static remat_point point_of(const remat_search *s, const remat_judged *p, remat_corner corner) {
  return (remat_point){.corner = corner,
                       .seconds = p->j.seconds,
                       .peak = p->j.memory.bytes,
                       .saved = p->j.saved,
                       .recomputed = count_recomputed(s, p->recomputed)};
}

static bool same_plan(const remat_point *p, const remat_point *q) {
  return p->seconds == q->seconds && p->peak == q->peak && p->saved == q->saved;
}

static void add_point(remat_study *x, remat_point p) {
  for (int i = 0; i < x->curve.len; i++) {
    remat_point *q = &x->curve.data[i];
    if (!same_plan(q, &p)) continue;
    q->corner |= p.corner;
    return;
  }
  vec_push(x->arena, &x->curve, p);
}

/// What else the plan of a point is.
static unsigned corners_of(const remat_study *x, const remat_point *p) {
  for (int i = 0; i < x->curve.len; i++)
    if (same_plan(&x->curve.data[i], p)) return x->curve.data[i].corner;
  return p->corner;
}

static int by_peak(const void *a, const void *b) {
  const remat_point *x = a, *y = b;
  if (x->peak != y->peak) return x->peak < y->peak ? -1 : 1;
  return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

static void find_curve(remat_study *x, const remat_solution *chosen) {
  remat_search s = chosen->search;
  s.a = x->arena;
  int each = NODES_PER_BUDGET / (s.g->nodes.len + 1);
  if (each > MOST_PER_BUDGET) each = MOST_PER_BUDGET;
  if (each < LEAST_PER_BUDGET) each = LEAST_PER_BUDGET;
  remat_composer *c = chosen->composer;
  if (!c) c = remat_composer_new(x->arena, &s, NODES_PER_BUDGET);
  s.left = 4 * each;
  x->least = remat_least(&s, c);
  x->full = s.plans.data[0].j.memory.bytes;
  for (int k = 0; k < BUDGETS; k++) {
    int64_t budget = x->least + (int64_t)((double)(x->full - x->least) * k / (BUDGETS - 1));
    s.left = each;
    remat_try_budget(&s, c, budget);
  }
  for (int k = 0; k < BUDGETS; k++) {
    remat_goal goal = {.budget =
                           x->least + (int64_t)((double)(x->full - x->least) * k / (BUDGETS - 1))};
    add_point(x, point_of(&s, &s.plans.data[remat_best(&s, &goal)], 0));
  }
  add_point(x, point_of(&s, &s.plans.data[0], CORNER_KEEPS_ALL));
  add_point(x,
            point_of(&s, &s.plans.data[remat_best(&s, &(remat_goal){.budget = 0})], CORNER_LEAST));
  add_point(x, point_of(&s, &chosen->search.plans.data[chosen->chosen], CORNER_CHOSEN));
  qsort(x->curve.data, (size_t)x->curve.len, sizeof *x->curve.data, by_peak);
}

// ---- both

remat_study *remat_study_of(arena *a, const graph *g, const pass_options *given) {
  pass_options *options = arena_copy(a, given, sizeof *given);
  options->target = target_or_default(given);
  remat_study *x = arena_new(a, remat_study);
  *x = (remat_study){.arena = a, .g = g, .target = options->target, .budget = -1};
  for (int i = 0; i < g->nodes.len; i++) x->gradients |= g->nodes.data[i]->phase > 0;
  x->decided = !remat_is_open(g);
  bool budgeted = options->budget.kind != BUDGET_NONE;
  x->unsized = budgeted && remat_unknown_axis(g) >= 0;
  remat_solution s, plain;
  if (x->decided || !x->gradients || x->unsized || !remat_solve(a, g, options, &s)) return x;
  const bool *again_anyway = NULL;
  pass_options *without = arena_copy(a, options, sizeof *options);
  without->budget = (memory_budget){0};
  if (budgeted && remat_solve(a, g, without, &plain))
    again_anyway = plain.search.plans.data[plain.chosen].recomputed;
  const remat_judged *chosen = &s.search.plans.data[s.chosen];
  x->planned = true;
  x->fits = s.fits;
  x->budget = s.budget;
  x->chosen = point_of(&s.search, chosen, CORNER_CHOSEN);
  x->all = point_of(&s.search, &s.search.plans.data[0], CORNER_KEEPS_ALL);
  x->allocated = budgeted ? s.allocated : remat_allocated(g, chosen->recomputed, options).bytes;
  find_values(x, &s.search, chosen->recomputed, again_anyway);
  find_curve(x, &s);
  x->chosen.corner = corners_of(x, &x->chosen);
  x->all.corner = corners_of(x, &x->all);
  return x;
}
