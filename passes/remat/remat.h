// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Recomputation: which values of the forward pass a backward pass finds in memory, and which it
// computes again.
#pragma once
#include "passes/passes.h"

/// Paid once if any of its members is computed again: a pass over data that they share, a launch.
typedef struct remat_group {
  const int *members;
  int n;
  double price;
} remat_group;

/// Paid once if any of its readers is computed again and the operand is not: what it takes to load it.
typedef struct remat_read {
  int operand;
  const int *readers;
  int n;
  double price;
} remat_read;

/// Units are values of the forward pass in topological order; prices are seconds, or whatever the
/// caller adds up. None is below 0, INFINITY forbids.
typedef struct remat_problem {
  int units;
  const int *first;     // units + 1: the operands of u are operands[first[u]] .. [first[u + 1] - 1]
  const int *operands;  // below u
  const bool *need;     // the backward pass reads it
  const double *save;   // for keeping it until then
  const double *rec;    // for computing it again, from its operands
  const remat_group *groups;
  int ngroups;
  const remat_read *reads;
  int nreads;
} remat_problem;

typedef struct remat_plan {
  bool *saved, *recomputed;  // by unit; neither: the backward pass does without
  double price;
  /// No plan is possible: units that each come from the one before and may not be saved; the first may
  /// not be computed again, the last is needed. Empty: there is a plan.
  ints contradiction;
} remat_plan;

// ---- remat_cut.c
/// The plan of the least price; of several, one that recomputes more. False: see plan->contradiction.
bool remat_cut(arena *a, const remat_problem *p, remat_plan *plan);
/// Fills the plan from what may be saved: what of it is needed, and what must be computed again, with
/// the price of that, which may be INFINITY.
void remat_follow(arena *a, const remat_problem *p, const bool *may_save, remat_plan *plan);

// ---- remat_judge.c
typedef struct remat_judgement {
  bool possible;  // false: a contract of the program is no kernel any more
  int kernels;
  double seconds;      // of all kernels, by the cost model of the fuse pass
  temporaries memory;  // of graph_temporaries()
  int64_t saved;       // bytes that the first phase leaves in memory for later ones, results aside
} remat_judgement;

/// What the fuse pass would make of a graph that is not fused. The graph stays as it is.
remat_judgement remat_judge(const graph *g, const pass_options *options);
/// The same of the graph after remat_clone().
remat_judgement remat_judge_plan(const graph *g, const bool *recomputed,
                                 const pass_options *options);

// ---- remat_clone.c
/// Later phases read copies of these nodes (by id; of phase 0, no params), flagged NODE_RECOMPUTED. Nodes
/// that nothing needs any more are gone.
void remat_clone(graph *g, const bool *recomputed);

// ---- remat_price.c
/// The forward values of a graph and their prices, by node id.
typedef struct remat_units {
  int n;
  int *first;  // as in remat_problem
  ints operands;
  bool *need;
  bool *free;     // computed wherever it is read: views, constants
  bool *held;     // in memory whatever is decided: params, results
  bool *anyway;   // the forward pass stores it for itself
  bool *kernel;   // computed again, it is a kernel of its own
  bool *delicate; // a sum of floats that is to be the same: only the same kernel gives its bits
  double *bytes, *flops;
  double *keep;         // seconds of storing and loading it; INFINITY: never kept (free, or inside of a checkpoint)
  double *kept_hidden;  // what of it is left where arithmetic hides it
  double *work;   // seconds of arithmetic that may hide behind the traffic of the kernel it is in
  double *over;   // the part of it that does not, if it is all that the kernel computes again
  double *fixed;  // further seconds of computing it again; INFINITY: never (kept by the program, ...)
  vec(remat_group) groups;
  vec(remat_read) reads;
  double bandwidth;  // bytes per second
} remat_units;

/// False: a contract of the program is no kernel. options->target is there.
bool remat_price(arena *a, const graph *g, const pass_options *options, remat_units *u);
/// slack: the share of `work` that is paid. memory: what bytes that are kept cost besides, in loads of
/// them.
remat_problem remat_weigh(arena *a, const remat_units *u, double slack, double memory);

// ---- remat_search.c
typedef struct remat_goal {
  double slack;    // plans within this share of the least seconds count as equal; the least memory decides
  int64_t budget;  // bytes of the arena, within which the least seconds decide; -1: there is none
} remat_goal;

typedef struct remat_judged {
  const bool *recomputed;  // by node id
  remat_judgement j;
} remat_judged;

/// Plans of a graph that were judged.
typedef struct remat_search {
  arena *a;
  const graph *g;
  const pass_options *options;
  remat_units units;
  vec(remat_judged) plans;  // each once; the first keeps all that may be kept
  int left;                 // judgements
} remat_search;

/// Prices, and the plan that keeps all. False: a contract is no kernel. most: judgements.
bool remat_open(remat_search *s, arena *a, const graph *g, const pass_options *options, int most);
/// Judges the plan that keeps all. False: it is not the first, or impossible.
bool remat_keep_all(remat_search *s);
/// By id: what no rule forbids to keep.
bool *remat_may_save(arena *a, const remat_units *u);
/// Judges a plan. Its number; -1: it is impossible, or no judgement is left.
int remat_try(remat_search *s, const bool *recomputed);
/// The plan in which what is needed is kept where it may be, and computed again elsewhere.
int remat_try_saved(remat_search *s, const bool *may_save);
/// Cuts with each of these prices of memory, in loads.
void remat_try_cuts(remat_search *s, const double *memory, int n);
/// From the best plan on, values change sides, alone and in pairs, while that is better.
void remat_try_flips(remat_search *s, const remat_goal *goal);
/// Every plan there is. False: too many.
bool remat_try_all(remat_search *s);
/// The number of the best plan judged.
int remat_best(const remat_search *s, const remat_goal *goal);
/// The same; without a budget the first one, if the best gains little.
int remat_choose(const remat_search *s, const remat_goal *goal);

typedef struct remat_candidate {
  int id;
  double bytes;
} remat_candidate;
/// Values that may be kept and may be computed again, large ones first.
int remat_candidates(arena *a, const remat_units *u, remat_candidate **list);
