// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From a graph to the plan that is taken, for what the options ask.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

// Predictions that differ by less count as equal.
static const double SLACK = 0.01;
/// Judgements together, without a budget and with one: of so many nodes, and so many plans at most.
enum { NODES_JUDGED = 40000, PLANS_JUDGED = 64, NODES_FOR_BUDGET = 250000, PLANS_FOR_BUDGET = 2000 };
enum { LEAST_JUDGED = 6 };
/// Programs from here on are planned by segments without a budget too.
enum { LONG_PROGRAM = 1200, SEGMENT_NODES = 40000 };

static int judgements(int nodes, int all, int most) {
  int n = all / (nodes + 1);
  return n > most ? most : n < LEAST_JUDGED ? LEAST_JUDGED : n;
}

static void search_fast(remat_solution *s) {
  static const double memory[] = {0, 4, 1, 16};
  remat_search *r = &s->search;
  if (remat_try_all(r)) return;
  if (s->composer) {
    bool *may_save = remat_may_save(r->a, &r->units);
    remat_compose_fast(s->composer, s->goal.slack, may_save);
    remat_try_saved(r, may_save);
  }
  remat_try_cuts(r, memory, sizeof memory / sizeof *memory);
  remat_try_flips(r, &s->goal);
}

static int64_t allocated(const remat_solution *s, int plan) {
  const remat_search *r = &s->search;
  return remat_allocated(r->g, r->plans.data[plan].recomputed, r->options).bytes;
}

/// Kernels that keep something for themselves take more than was judged: then for less.
static void search_budget(remat_solution *s, const memory_budget *budget) {
  enum { TRIES = 4 };
  remat_search *r = &s->search;
  const remat_goal least = {.budget = 0};
  s->full = allocated(s, 0);
  remat_least(r, s->composer);
  s->least = allocated(s, remat_best(r, &least));
  int64_t bytes = budget->bytes;
  if (budget->kind == BUDGET_SHARE)
    bytes = s->full <= s->least
                ? s->full
                : s->least + (int64_t)(budget->share * (double)(s->full - s->least));
  s->budget = bytes;
  s->goal.budget = bytes;
  for (int i = 0; i < TRIES; i++) {
    remat_try_budget(r, s->composer, s->goal.budget);
    s->chosen = remat_best(r, &s->goal);
    s->allocated = allocated(s, s->chosen);
    if (s->allocated <= bytes) return;
    s->goal.budget -= s->allocated - bytes;
    if (s->goal.budget < r->plans.data[remat_best(r, &least)].j.memory.bytes) break;
  }
  s->chosen = remat_best(r, &least);
  s->allocated = s->least;
  s->fits = s->least <= bytes;
}

static void search(remat_solution *s) {
  const memory_budget *budget = &s->search.options->budget;
  if (budget->kind != BUDGET_NONE) {
    search_budget(s, budget);
    return;
  }
  search_fast(s);
  s->chosen = remat_choose(&s->search, &s->goal);
}

/// False: the plan gives the bits of the program without it.
static bool forbid_changed(remat_solution *s, bool all) {
  remat_search *r = &s->search;
  const bool *recomputed = r->plans.data[s->chosen].recomputed;
  int changed = 0;
  for (int id = 0; all && id < r->units.n; id++)
    if (r->units.delicate[id] && recomputed[id]) remat_forbid(&r->units, id), changed++;
  if (!all) changed = remat_forbid_changed(r->g, recomputed, r->options, &r->units);
  return changed > 0;
}

static bool any_delicate(const remat_solution *s) {
  const remat_search *r = &s->search;
  const bool *recomputed = r->plans.data[s->chosen].recomputed;
  for (int id = 0; id < r->units.n; id++)
    if (r->units.delicate[id] && recomputed[id]) return true;
  return false;
}

static bool start(remat_solution *s, int most) {
  remat_search *r = &s->search;
  r->plans.len = 0;
  r->left = most;
  r->cut = r->least_known = false;
  s->fits = true;
  s->goal.budget = -1;
  if (!remat_keep_all(r)) return false;
  bool budgeted = r->options->budget.kind != BUDGET_NONE;
  if (budgeted || r->g->nodes.len >= LONG_PROGRAM)
    s->composer = remat_composer_new(r->a, r, SEGMENT_NODES);
  search(s);
  return true;
}

bool remat_solve(arena *a, const graph *g, const pass_options *options, remat_solution *s) {
  enum { ROUNDS = 3 };
  bool budgeted = options->budget.kind != BUDGET_NONE;
  int most = judgements(g->nodes.len, budgeted ? NODES_FOR_BUDGET : NODES_JUDGED,
                        budgeted ? PLANS_FOR_BUDGET : PLANS_JUDGED);
  *s = (remat_solution){.budget = -1, .full = -1, .least = -1, .allocated = -1};
  s->search = (remat_search){.a = a, .g = g, .options = options};
  double slack = options->recompute_slack;
  s->goal.slack = slack == 0 ? SLACK : slack < 0 ? 0 : slack;
  if (!remat_price(a, g, options, &s->search.units) || !start(s, most)) return false;
  for (int i = 0; i <= ROUNDS && any_delicate(s) && forbid_changed(s, i == ROUNDS); i++)
    if (!start(s, most)) return false;
  return true;
}
