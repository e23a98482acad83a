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
/// The same of a graph that was divided into kernels, which are written into it; a: for what it takes.
struct fusion;
remat_judgement remat_judge_divided(struct fusion *f, pass_ctx *ctx, arena *a);
/// The same of the graph after remat_clone().
remat_judgement remat_judge_plan(const graph *g, const bool *recomputed,
                                 const pass_options *options);
/// What the arena of the compiled program really takes with the plan, with what kernels keep for themselves.
temporaries remat_allocated(const graph *g, const bool *recomputed, const pass_options *options);
/// By id: a kernel of a later phase reads it from memory.
bool *remat_read_later(arena *a, const graph *g, const bool *recomputed,
                       const pass_options *options);
/// Where the most is live; node ids are those of *fused.
memory_peak remat_peak(arena *a, const graph *g, const bool *recomputed,
                       const pass_options *options, const graph **fused);

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
  bool *free;      // computed wherever it is read: views, constants
  bool *held;      // in memory whatever is decided: params, results
  bool *anyway;    // the forward pass stores it for itself
  bool *kernel;    // computed again, it is a kernel of its own
  bool *delicate;  // a sum of floats that is to be the same: only the same kernel gives its bits
  double *bytes, *flops;
  double *
      keep;  // seconds of storing and loading it; INFINITY: never kept (free, or inside of a checkpoint)
  double *kept_hidden;  // what of it is left where arithmetic hides it
  double *work;  // seconds of arithmetic that may hide behind the traffic of the kernel it is in
  double *over;  // the part of it that does not, if it is all that the kernel computes again
  double
      *fixed;  // further seconds of computing it again; INFINITY: never (kept by the program, ...)
  vec(remat_group) groups;
  vec(remat_read) reads;
  double bandwidth;  // bytes per second
  remat_judgement kept;  // of the graph as it is
} remat_units;

/// False: a contract of the program is no kernel. options->target is there.
bool remat_price(arena *a, const graph *g, const pass_options *options, remat_units *u);
/// It is kept from now on, and never computed again.
void remat_forbid(remat_units *u, int id);
/// Forbids what of the plan would be computed by a kernel other than that of the forward pass, so that its
/// bits might differ. How many.
int remat_forbid_changed(const graph *g, const bool *recomputed, const pass_options *options,
                         remat_units *u);
/// slack: the share of `work` that is paid. memory: what bytes that are kept cost besides, in loads of
/// them.
remat_problem remat_weigh(arena *a, const remat_units *u, double slack, double memory);

// ---- remat_search.c
typedef struct remat_goal {
  double
      slack;  // plans within this share of the least seconds count as equal; the least memory decides
  int64_t budget;  // bytes of the arena, within which the least seconds decide; -1: there is none
} remat_goal;

typedef struct remat_judged {
  const bool *recomputed;  // by node id
  remat_judgement j;
  int64_t tried_for;  // the budget for which its neighbours were tried; -2: they were not
} remat_judged;

/// Plans of a graph that were judged.
typedef struct remat_search {
  arena *a;
  const graph *g;
  const pass_options *options;
  remat_units units;
  vec(remat_judged) plans;     // each once; the first keeps all that may be kept
  int left;                    // judgements
  bool all, cut, least_known;  // all plans were tried, cuts were, those with the least peak were
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

// ---- remat_segment.c
/// Stretches of the forward pass between narrow places, each with what later phases do for it.
typedef struct remat_segments {
  int n;    // 1: there is no narrow place
  int *of;  // by id: its segment; -1 params, free nodes, what is read all over
  int *first_reader, *last_reader;  // by id: segments
  bool *returned;                   // by id
  int *heads;                       // by segment but the last: the value that leads out of it
  double *carried;  // by segment: bytes of later phases that are made before it and read after it
  double aside_bytes;  // of values that are read all over
} remat_segments;

/// A run of segments as a graph of its own.
typedef struct remat_run {
  int first, last;
  ints ids;  // by node of its graph: that of the whole graph; the params, from elsewhere, first
  int nparams;
  double
      outer_bytes;  // of what comes from other runs or goes there, the value at its beginning aside
  double head_bytes;  // of the value that leads out of it; 0: it is the last
} remat_run;

remat_segments remat_divide(arena *a, const graph *g, const remat_units *u);
remat_run remat_run_of(arena *a, const graph *g, const remat_units *u, const remat_segments *s,
                       int first, int last);
/// The value of the run is returned, or read elsewhere.
bool remat_leaves_run(const remat_segments *s, const remat_run *r, int id);
graph *remat_run_graph(arena *a, const graph *g, const remat_segments *s, const remat_run *r);
/// Equal for runs whose graphs differ in names only.
str remat_run_text(arena *a, const graph *g, const remat_segments *s, const remat_run *r);

// ---- remat_compose.c
/// Plans of a graph's segments, to be put together.
typedef struct remat_composer remat_composer;
/// Null: the graph is one segment. nodes: how many are judged, about.
remat_composer *remat_composer_new(arena *a, const remat_search *whole, int nodes);
int remat_segment_count(const remat_composer *c);  // null: 1
/// Clears in may_save what the fastest choice within the budget (bytes, of the segments' own measure)
/// computes again. False: there is none.
bool remat_compose(remat_composer *c, double budget, bool *may_save);
/// ... what the leanest of the fast plans of each segment does.
void remat_compose_fast(remat_composer *c, double slack, bool *may_save);
/// The least budget for which there is a choice, about; INFINITY: none up to `most`.
double remat_compose_least(remat_composer *c, double most);

// ---- remat_budget.c
/// Judges plans with as small a peak as can be found.
void remat_search_least(remat_search *s, remat_composer *c);
/// The least peak of all plans found, of all that there are in small programs; looks for them once.
int64_t remat_least(remat_search *s, remat_composer *c);
/// Judges plans that are as fast as they can be within the budget. c may be null.
void remat_try_budget(remat_search *s, remat_composer *c, int64_t budget);

// ---- remat_solve.c
typedef struct remat_solution {
  remat_search search;
  remat_composer *composer;  // null: the graph is one segment, or was not divided
  remat_goal goal;
  int chosen;           // of search.plans
  bool fits;            // within the budget, if there is one
  int64_t budget;       // bytes; -1 none. With one:
  int64_t least, full;  // the least peak found, and that of keeping all
  int64_t allocated;    // what the arena takes with what was chosen
} remat_solution;

/// Finds the plan that the options ask for. False: a contract is no kernel.
bool remat_solve(arena *a, const graph *g, const pass_options *options, remat_solution *s);

// ---- remat.c
/// Nothing has been decided yet.
bool remat_is_open(const graph *g);
/// An axis of a value whose size is not known; -1: all are.
int remat_unknown_axis(const graph *g);

// ---- split_phases.c
typedef struct phase_split {
  graph *forward;  // the results of the function, then what is saved
  graph *
      backward;  // params of the function that it needs, results and saved values that it reads, seeds
  int first_saved;  // of forward's outputs
} phase_split;

/// Before the passes: two phases, whatever derivatives the function has itself.
void settle_phases(graph *joint, int results);
/// Before `remat`: what is made of seeds, the params after so many, is of the backward part.
void settle_seeds(graph *joint, int params);
/// Divides what graph_add_backward() made of a function with so many params and results, after the passes
/// up to `remat`. Parameters of the backward part have the names of parameters and outputs of the forward
/// part. Both graphs are in arena a.
phase_split split_phases(arena *a, const graph *joint, int params, int results,
                         const pass_options *options);
