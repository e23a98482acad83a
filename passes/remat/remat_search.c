// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plans for one graph, each judged by the fuse pass, and the best of them for a goal.
//
//   prices ──▶ cuts at several weights ──▶ each written into a copy, fused and placed
//          ──▶ values change sides, alone and in pairs, as long as that is better
//
// Prices tell structure, the fuse pass tells the truth: kernels that overlap memory with arithmetic, what
// joins what, and the peak of memory are no sums over values. Keeping all is the first plan judged, so that
// no result is predicted to be slower than that by more than the slack.
#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

// The share of the memory that is worth trusting predictions that close.
static const double WORTH = 0.1;

// ---- judging

static int find_plan(const remat_search *s, const bool *recomputed) {
  for (int i = 0; i < s->plans.len; i++)
    if (!memcmp(s->plans.data[i].recomputed, recomputed, sizeof(bool) * (size_t)s->units.n))
      return i;
  return -1;
}

/// Without free nodes that read nothing that is computed again: all phases may read these.
static bool *needed_copies(remat_search *s, const bool *recomputed) {
  bool *needed = arena_array(s->a, bool, s->units.n);
  for (int id = 0; id < s->units.n; id++) {
    if (!recomputed[id]) continue;
    needed[id] = !s->units.free[id];
    for (int i = s->units.first[id]; i < s->units.first[id + 1]; i++)
      needed[id] |= needed[s->units.operands.data[i]];
  }
  return needed;
}

static bool any(const bool *set, int n) {
  for (int i = 0; i < n; i++)
    if (set[i]) return true;
  return false;
}

int remat_try(remat_search *s, const bool *all) {
  const bool *recomputed = needed_copies(s, all);
  int known = find_plan(s, recomputed);
  if (s->left <= 0 || known >= 0) return known;
  s->left--;
  remat_judged plan = {.recomputed = recomputed, .tried_for = -2};
  plan.j =
      any(recomputed, s->units.n) ? remat_judge_plan(s->g, recomputed, s->options) : s->units.kept;
  if (!plan.j.possible) return -1;
  vec_push(s->a, &s->plans, plan);
  return s->plans.len - 1;
}

int remat_try_saved(remat_search *s, const bool *may_save) {
  remat_problem p = remat_weigh(s->a, &s->units, 1, 0);
  remat_plan plan;
  remat_follow(s->a, &p, may_save, &plan);
  return isinf(plan.price) ? -1 : remat_try(s, plan.recomputed);
}

bool *remat_may_save(arena *a, const remat_units *u) {
  bool *may = arena_array(a, bool, u->n);
  for (int i = 0; i < u->n; i++) may[i] = !isinf(u->keep[i]);
  return may;
}

bool remat_open(remat_search *s, arena *a, const graph *g, const pass_options *options, int most) {
  *s = (remat_search){.a = a, .g = g, .options = options, .left = most};
  // A contract that is no kernel: the fuse pass says why.
  return remat_price(a, g, options, &s->units) && remat_keep_all(s);
}

bool remat_keep_all(remat_search *s) {
  return remat_try_saved(s, remat_may_save(s->a, &s->units)) == 0;
}

// ---- goals

static double least_seconds(const remat_search *s) {
  double least = INFINITY;
  for (int i = 0; i < s->plans.len; i++) least = fmin(least, s->plans.data[i].j.seconds);
  return least;
}

/// What a plan takes of memory: its peak, and what it leaves for as long as later phases wait.
static double footprint(const remat_judgement *j) {
  return (double)j->memory.bytes + (double)j->saved;
}

static bool leaner(const remat_judgement *a, const remat_judgement *b) {
  if (footprint(a) != footprint(b)) return footprint(a) < footprint(b);
  return a->seconds < b->seconds;
}

/// Within the budget before those beyond it, which are compared by what they lack; then the faster.
static bool fits_better(const remat_judgement *a, const remat_judgement *b, int64_t budget) {
  int64_t over_a = a->memory.bytes > budget ? a->memory.bytes : budget;
  int64_t over_b = b->memory.bytes > budget ? b->memory.bytes : budget;
  if (over_a != over_b) return over_a < over_b;
  if (a->seconds != b->seconds) return a->seconds < b->seconds;
  return leaner(a, b);
}

/// most: seconds of the slowest plan that counts as fast, without a budget.
static bool better(const remat_judgement *a, const remat_judgement *b, const remat_goal *goal,
                   double most) {
  if (goal->budget >= 0) return fits_better(a, b, goal->budget);
  bool fast_a = a->seconds <= most, fast_b = b->seconds <= most;
  if (fast_a != fast_b) return fast_a;
  return fast_a ? leaner(a, b) : a->seconds < b->seconds;
}

/// The best of all, or of those whose neighbours were not tried; -1 none.
static int best_of(const remat_search *s, const remat_goal *goal, bool untried) {
  int best = -1;
  double most = (1 + goal->slack) * least_seconds(s);
  for (int i = 0; i < s->plans.len; i++) {
    const remat_judged *p = &s->plans.data[i];
    if (untried && p->tried_for == goal->budget) continue;
    if (best < 0 || better(&p->j, &s->plans.data[best].j, goal, most)) best = i;
  }
  return best;
}

int remat_best(const remat_search *s, const remat_goal *goal) { return best_of(s, goal, false); }

int remat_choose(const remat_search *s, const remat_goal *goal) {
  int best = remat_best(s, goal);
  if (goal->budget >= 0) return best;
  const remat_judgement *all = &s->plans.data[0].j, *j = &s->plans.data[best].j;
  bool fast = all->seconds <= (1 + goal->slack) * least_seconds(s);
  return fast && footprint(all) - footprint(j) < WORTH * footprint(all) ? 0 : best;
}

// ---- cuts

void remat_try_cuts(remat_search *s, const double *memory, int n) {
  static const double slacks[] = {0.5, 0, 1, 0.1};
  enum { SLACKS = sizeof slacks / sizeof *slacks };
  for (int m = 0; m < n; m++)
    for (int k = 0; k < SLACKS && s->left > 0; k++) {
      remat_problem p = remat_weigh(s->a, &s->units, slacks[k], memory[m]);
      remat_plan plan;
      if (remat_cut(s->a, &p, &plan)) remat_try(s, plan.recomputed);
    }
}

// ---- flips

static int by_bytes(const void *a, const void *b) {
  const remat_candidate *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return (x->id > y->id) - (x->id < y->id);
}

int remat_candidates(arena *a, const remat_units *u, remat_candidate **list) {
  int n = 0;
  *list = arena_array(a, remat_candidate, u->n);
  for (int id = 0; id < u->n; id++)
    if (u->bytes[id] > 0 && !isinf(u->keep[id]) && !isinf(u->fixed[id]))
      (*list)[n++] = (remat_candidate){id, u->bytes[id]};
  qsort(*list, (size_t)n, sizeof **list, by_bytes);
  return n;
}

/// The plan but for units v and w (-1: none), which change sides. What they are made of is computed again with
/// them (`deep`), or may be kept in their place.
static void try_flip(remat_search *s, int plan, int v, int w, bool deep) {
  const remat_units *u = &s->units;
  const bool *recomputed = s->plans.data[plan].recomputed;
  bool *may_save = remat_may_save(s->a, u);
  for (int i = 0; i < u->n; i++) may_save[i] &= !recomputed[i];
  if (deep) {
    remat_problem p = remat_weigh(s->a, u, 1, 0);
    remat_plan now;
    remat_follow(s->a, &p, may_save, &now);
    for (int i = 0; i < u->n; i++) may_save[i] &= now.saved[i] || isinf(u->fixed[i]);
  }
  may_save[v] = recomputed[v];
  if (w >= 0) may_save[w] = recomputed[w];
  remat_try_saved(s, may_save);
}

/// Whether something is better then.
static bool flips_better(remat_search *s, const remat_goal *goal, int plan, int v, int w) {
  int now = remat_best(s, goal);
  bool again = s->plans.data[plan].recomputed[v] && (w < 0 || s->plans.data[plan].recomputed[w]);
  for (int deep = 0; deep < (again ? 1 : 2); deep++) try_flip(s, plan, v, w, deep);
  return remat_best(s, goal) != now;
}

static void flip_pairs(remat_search *s, const remat_goal *goal, const remat_candidate *list,
                       int n) {
  for (int i = 0; i < n && s->left > 0; i++)
    for (int k = i + 1; k < n && s->left > 0; k++)
      if (flips_better(s, goal, remat_best(s, goal), list[i].id, list[k].id)) return;
}

void remat_try_flips(remat_search *s, const remat_goal *goal) {
  enum { TRIED = 12 };  // plans from which nothing better was found
  remat_candidate *list;
  int n = remat_candidates(s->a, &s->units, &list), paired = -1;
  for (int vain = 0; vain < TRIED && s->left > 0;) {
    int plan = best_of(s, goal, true);
    if (plan < 0) break;
    s->plans.data[plan].tried_for = goal->budget;
    bool found = false;
    for (int i = 0; i < n && s->left > 0; i++) {
      bool gains = flips_better(s, goal, plan, list[i].id, -1);
      // On from there at once.
      if (gains && plan != remat_best(s, goal)) found = true, plan = remat_best(s, goal);
    }
    vain = found ? 0 : vain + 1;
    if (found || paired == remat_best(s, goal)) continue;
    paired = remat_best(s, goal);
    flip_pairs(s, goal, list, n);
    if (remat_best(s, goal) != paired) vain = 0;
  }
}

bool remat_try_all(remat_search *s) {
  enum { MOST = 20 };
  remat_candidate *list;
  int n = remat_candidates(s->a, &s->units, &list);
  if (n > MOST || (1 << n) > s->left) return false;
  for (int set = 0; set < 1 << n; set++) {
    bool *may_save = remat_may_save(s->a, &s->units);
    for (int k = 0; k < n; k++) may_save[list[k].id] = !(set >> k & 1);
    remat_try_saved(s, may_save);
  }
  return true;
}
