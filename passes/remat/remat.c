// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which values of the forward pass are computed again for gradients.
//
//   prices ──▶ cuts at several weights ──▶ each written into a copy, fused and placed ──▶ the best
//
// Prices tell structure, the fuse pass tells the truth: kernels that overlap memory with arithmetic, what
// joins what, and the peak of memory are no sums over values. Keeping all is among what is judged, so the
// result is never predicted to be slower than that by more than SLACK; within it, the least memory wins.
// Then single values change sides, as long as that is better and there is time.
#include "passes/remat/remat.h"

#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

// Predictions that differ by less count as equal.
static const double SLACK = 0.01;
// The share of the memory that is worth trusting predictions that close.
static const double WORTH = 0.1;
/// Judgements together: of so many nodes, and so many plans at most.
enum { MAX_NODES_JUDGED = 40000, MAX_JUDGED = 48, MIN_JUDGED = 4 };

typedef struct judged {
  bool *recomputed;  // by node id
  remat_judgement j;
} judged;

typedef struct search {
  arena *a;
  const graph *g;
  const pass_options *options;
  remat_units units;
  vec(judged) plans;
  int left;  // judgements
} search;

// ---- judging

static judged *find_plan(search *s, const bool *recomputed) {
  for (int i = 0; i < s->plans.len; i++)
    if (!memcmp(s->plans.data[i].recomputed, recomputed, sizeof(bool) * (size_t)s->units.n))
      return &s->plans.data[i];
  return NULL;
}

/// Without free nodes that read nothing that is computed again: all phases may read these.
static bool *needed_copies(search *s, const bool *recomputed) {
  bool *needed = arena_array(s->a, bool, s->units.n);
  for (int id = 0; id < s->units.n; id++) {
    if (!recomputed[id]) continue;
    needed[id] = !s->units.free[id];
    for (int i = s->units.first[id]; i < s->units.first[id + 1]; i++)
      needed[id] |= needed[s->units.operands.data[i]];
  }
  return needed;
}

static void judge(search *s, const bool *all) {
  const bool *recomputed = needed_copies(s, all);
  if (s->left <= 0 || find_plan(s, recomputed)) return;
  s->left--;
  scratch room;
  scratch_open(&room);
  graph *copy = graph_copy(&room.arena, s->g);
  remat_clone(copy, recomputed);
  judged plan = {.j = remat_judge(copy, s->options)};
  scratch_close(&room);
  plan.recomputed = arena_copy(s->a, recomputed, sizeof(bool) * (size_t)s->units.n);
  if (plan.j.possible) vec_push(s->a, &s->plans, plan);
}

static double least_seconds(const search *s) {
  double least = INFINITY;
  for (int i = 0; i < s->plans.len; i++) least = fmin(least, s->plans.data[i].j.seconds);
  return least;
}

/// The one with the least memory of those that are as fast as any.
static const judged *best_plan(const search *s) {
  const judged *best = NULL;
  double least = least_seconds(s);
  for (int i = 0; i < s->plans.len; i++) {
    const judged *p = &s->plans.data[i];
    if (p->j.seconds > (1 + SLACK) * least) continue;
    bool less =
        best && (p->j.memory.bytes < best->j.memory.bytes ||
                 (p->j.memory.bytes == best->j.memory.bytes && p->j.seconds < best->j.seconds));
    if (!best || less) best = p;
  }
  return best;
}

/// The best one, or the first, which keeps all, if that saves too little.
static const judged *final_plan(const search *s) {
  const judged *best = best_plan(s), *all = &s->plans.data[0];
  bool fast = all->j.seconds <= (1 + SLACK) * least_seconds(s);
  double saved = (double)all->j.memory.bytes - (double)best->j.memory.bytes;
  return fast && saved < WORTH * (double)all->j.memory.bytes ? all : best;
}

// ---- plans

/// All that may be kept is.
static void judge_kept(search *s) {
  remat_problem p = remat_weigh(s->a, &s->units, 1, 0);
  bool *may_save = arena_array(s->a, bool, s->units.n);
  for (int i = 0; i < s->units.n; i++) may_save[i] = !isinf(s->units.keep[i]);
  remat_plan plan;
  remat_follow(s->a, &p, may_save, &plan);
  judge(s, plan.recomputed);
}

static void judge_cuts(search *s) {
  static const double slacks[] = {0.5, 0, 1, 0.1}, memory[] = {0, 4, 1, 16};
  enum { NSLACKS = sizeof slacks / sizeof *slacks, NMEMORY = sizeof memory / sizeof *memory };
  for (int m = 0; m < NMEMORY; m++)
    for (int k = 0; k < NSLACKS; k++) {
      remat_problem p = remat_weigh(s->a, &s->units, slacks[k], memory[m]);
      remat_plan plan;
      if (remat_cut(s->a, &p, &plan)) judge(s, plan.recomputed);
    }
}

/// The plan but for unit v, which changes sides; false: it cannot.
static bool flip(search *s, const bool *recomputed, int v, remat_plan *plan) {
  remat_problem p = remat_weigh(s->a, &s->units, 1, 0);
  bool *may_save = arena_array(s->a, bool, s->units.n);
  for (int i = 0; i < s->units.n; i++) may_save[i] = !recomputed[i] && !isinf(s->units.keep[i]);
  may_save[v] = recomputed[v];
  remat_follow(s->a, &p, may_save, plan);
  return !isinf(plan->price);
}

typedef struct candidate_unit {
  int id;
  double bytes;
} candidate_unit;

static int by_bytes(const void *a, const void *b) {
  const candidate_unit *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return (x->id > y->id) - (x->id < y->id);
}

/// Values that may be kept and may be computed again, large ones first.
static int find_candidates(const search *s, candidate_unit *list) {
  const remat_units *u = &s->units;
  int n = 0;
  for (int id = 0; id < u->n; id++)
    if (u->bytes[id] > 0 && !isinf(u->keep[id]) && !isinf(u->fixed[id]))
      list[n++] = (candidate_unit){id, u->bytes[id]};
  qsort(list, (size_t)n, sizeof *list, by_bytes);
  return n;
}

static void judge_flips(search *s) {
  candidate_unit *list = arena_array(s->a, candidate_unit, s->units.n);
  int n = find_candidates(s, list);
  bool changed = true;
  while (changed && s->left > 0) {
    changed = false;
    for (int i = 0; i < n && s->left > 0; i++) {
      const bool *now = best_plan(s)->recomputed;
      remat_plan plan;
      if (!flip(s, now, list[i].id, &plan)) continue;
      judge(s, plan.recomputed);
      changed |= best_plan(s)->recomputed != now;
    }
  }
}

// ---- the pass

static bool is_joint(const graph *g) {
  bool joint = false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    // Decided before; streamed blocks have copies of their own.
    if (n->flags & NODE_RECOMPUTED && !n->contract) return false;
    joint |= g->nodes.data[i]->phase > 0;
  }
  return joint;
}

static bool any(const bool *set, int n) {
  for (int i = 0; i < n; i++)
    if (set[i]) return true;
  return false;
}

bool pass_remat(pass_ctx *ctx) {
  graph *g = ctx->graph;
  if (g->fused || !is_joint(g)) return false;
  pass_options options = ctx->options ? *ctx->options : (pass_options){0};
  options.target = target_or_default(ctx->options);
  search s = {.a = ctx->scratch, .g = g, .options = &options};
  s.left = MAX_NODES_JUDGED / g->nodes.len;
  if (s.left > MAX_JUDGED) s.left = MAX_JUDGED;
  if (s.left < MIN_JUDGED) s.left = MIN_JUDGED;
  // A contract that is no kernel: the fuse pass says why.
  if (!remat_price(s.a, g, &options, &s.units)) return false;
  judge_kept(&s);
  if (!s.plans.len) return false;
  judge_cuts(&s);
  judge_flips(&s);
  const judged *best = final_plan(&s);
  if (!any(best->recomputed, s.units.n)) return false;
  remat_clone(g, best->recomputed);
  return true;
}
