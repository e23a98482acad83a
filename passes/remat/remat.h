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
} remat_judgement;

/// What the fuse pass would make of a graph that is not fused. The graph stays as it is.
remat_judgement remat_judge(const graph *g, const pass_options *options);

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
  double *bytes;
  double *keep;   // seconds; INFINITY: never kept (free, or inside of a checkpoint)
  double *work;   // seconds of arithmetic that may hide behind the traffic of the kernel it is in
  double *fixed;  // further seconds of computing it again; INFINITY: never (kept by the program, ...)
  vec(remat_read) reads;
  double bandwidth;  // bytes per second
} remat_units;

/// False: a contract of the program is no kernel. options->target is there.
bool remat_price(arena *a, const graph *g, const pass_options *options, remat_units *u);
/// slack: the share of `work` that is paid. memory: what bytes that are kept cost besides, in loads of
/// them.
remat_problem remat_weigh(arena *a, const remat_units *u, double slack, double memory);

// ---- split_phases.c
typedef struct phase_split {
  graph *forward;  // the results of the function, then what is saved
  graph *
      backward;  // params of the function that it needs, results and saved values that it reads, seeds
  int first_saved;  // of forward's outputs
} phase_split;

/// Before the passes: two phases, whatever derivatives the function has itself.
void settle_phases(graph *joint, int results);
/// Divides what graph_add_backward() made of a function with so many params and results, after the passes
/// up to `remat`. Parameters of the backward part have the names of parameters and outputs of the forward
/// part. Both graphs are in arena a.
phase_split split_phases(arena *a, const graph *joint, int params, int results,
                         const pass_options *options);
