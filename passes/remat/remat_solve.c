// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// From a graph to the plan that is taken, for what the options ask.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

// Predictions that differ by less count as equal.
static const double SLACK = 0.01;
/// Judgements together, without a budget and with one: of so many nodes, and so many plans at most.
enum { NODES_JUDGED = 40000, PLANS_JUDGED = 64, NODES_FOR_BUDGET = 60000, PLANS_FOR_BUDGET = 1000 };
enum { LEAST_JUDGED = 4, LEAST_FOR_BUDGET = 12 };
/// Programs from here on are planned by segments without a budget too.
enum { LONG_PROGRAM = 1200, SEGMENT_NODES = 40000 };
/// And from here on by nothing else.
enum { VERY_LONG_PROGRAM = 4000 };

static int judgements(const graph *g, bool budgeted) {
  int n = (budgeted ? NODES_FOR_BUDGET : NODES_JUDGED) / (g->nodes.len + 1);
  int most = budgeted ? PLANS_FOR_BUDGET : PLANS_JUDGED;
  int least = budgeted ? LEAST_FOR_BUDGET : LEAST_JUDGED;
  return n > most ? most : n < least ? least : n;
}

static void search_fast(remat_solution *s) {
  static const double memory[] = {0, 4, 1, 16};
  remat_search *r = &s->search;
  if (remat_try_all(r)) return;
  if (s->composer) {
    bool *may_save = remat_may_save(r->a, &r->units);
    remat_compose_fast(s->composer, s->goal.slack, may_save);
    remat_try_saved(r, may_save);
    if (r->g->nodes.len >= VERY_LONG_PROGRAM) return;
  }
  remat_try_cuts(r, memory, sizeof memory / sizeof *memory);
  remat_try_flips(r, &s->goal);
}

static int64_t bytes_of(const remat_solution *s, int plan) {
  return s->search.plans.data[plan].j.memory.bytes;
}

/// Whether kernels may keep something for themselves: parts of results on GPUs, sums of scatters, values
/// between the loop nests of a contract.
static bool keep_more(const remat_search *r) {
  bool any = r->options->target->sm;
  for (int i = 0; i < r->g->nodes.len; i++)
    any |= r->g->nodes.data[i]->contract || op_get(r->g->nodes.data[i]->op)->class == CLASS_scatter;
  return any;
}

/// What kernels keep for themselves is not judged.
static int64_t allocated(const remat_solution *s, int plan) {
  const remat_search *r = &s->search;
  if (!keep_more(r)) return bytes_of(s, plan);
  return remat_allocated(r->g, r->plans.data[plan].recomputed, r->options).bytes;
}

/// Takes a plan, with what it really takes. False: more than the budget.
static bool take(remat_solution *s, int plan) {
  s->chosen = plan;
  s->allocated = allocated(s, plan);
  return s->allocated <= s->budget;
}

static void search_share(remat_solution *s, double share) {
  remat_search *r = &s->search;
  int64_t budget =
      s->full <= s->least ? s->full : s->least + (int64_t)(share * (double)(s->full - s->least));
  s->goal.budget = budget;
  remat_try_budget(r, s->composer, budget);
  take(s, remat_best(r, &s->goal));
  s->budget = budget + s->allocated - bytes_of(s, s->chosen);
}

/// Where kernels keep something for themselves, plans for less.
static void search_bytes(remat_solution *s, int64_t budget) {
  enum { TRIES = 4 };
  remat_search *r = &s->search;
  int least = remat_best(r, &(remat_goal){.budget = 0});
  s->budget = s->goal.budget = budget;
  for (int i = 0; i < TRIES && s->goal.budget >= s->least; i++) {
    remat_try_budget(r, s->composer, s->goal.budget);
    if (take(s, remat_best(r, &s->goal))) return;
    s->goal.budget -= s->allocated - budget;
  }
  s->fits = take(s, least);
  s->least = s->allocated;
}

static void search_budget(remat_solution *s, const memory_budget *budget) {
  s->least = remat_least(&s->search, s->composer);
  s->full = bytes_of(s, 0);
  if (budget->kind == BUDGET_SHARE) search_share(s, budget->share);
  else search_bytes(s, budget->bytes);
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
  r->all = r->cut = r->least_known = false;
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
  int most = judgements(g, options->budget.kind != BUDGET_NONE);
  *s = (remat_solution){.budget = -1, .full = -1, .least = -1, .allocated = -1};
  s->search = (remat_search){.a = a, .g = g, .options = options};
  double slack = options->recompute_slack;
  s->goal.slack = slack == 0 ? SLACK : slack < 0 ? 0 : slack;
  if (!remat_price(a, g, options, &s->search.units) || !start(s, most)) return false;
  for (int i = 0; i <= ROUNDS && any_delicate(s) && forbid_changed(s, i == ROUNDS); i++)
    if (!start(s, most)) return false;
  return true;
}
