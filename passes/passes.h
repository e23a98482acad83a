// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Passes over the graph IR and the lowering to tile IR.
#pragma once
#include "ir/graph.h"
#include "ir/target.h"
#include "ir/tile.h"

/// Another choice that a schedule could make for a kernel.
typedef struct schedule_alternative {
  int kernel;  // its number, as in `explain`
  str items;   // "m=128,n=64"
} schedule_alternative;

/// A value that the schedule of a kernel has.
typedef struct schedule_value {
  int kernel;
  const char *key;
  int64_t value;
} schedule_value;

/// What lower_to_tiles did, and could have done otherwise, for who prints or tries it.
typedef struct schedule_choices {
  vec(schedule_value) made;  // of each kernel's first part, in the order in which they were settled
  vec(schedule_alternative) alternatives;  // of kernels that are the first of their kind
  vec(int) kernels, same_as;               // by kernel: its number, and that of the first equal one
  vec(int) shared;                         // by kernel: which of the program's it is
} schedule_choices;

/// What the intermediate results of a call may take.
typedef struct memory_budget {
  enum { BUDGET_NONE, BUDGET_BYTES, BUDGET_SHARE } kind;
  int64_t bytes;
  double share;  // of the way from the least to what it is without a budget
} memory_budget;
/// "536870912", "512MiB", "1.5GB", or a share: "0.5". False: it is neither.
bool memory_budget_parse(str text, memory_budget *out);

typedef struct pass_options {
  // fast_math: reassociation and friends; else only exact rewrites. deterministic, unchecked
#define PASS_OPTION(flag, name) bool name;
#include "ir/options.def"
  const target_info *target;
  bool phases_apart;   // no kernel has nodes of the forward pass and of a later phase
  str schedule;        // overrides "key=value,..." for the lowering
  memory_budget budget;
  double recompute_slack;  // share of the time within which less memory is preferred; 0: 0.01; below 0: none
  schedule_choices *choices;  // filled by lower_to_tiles; null: not wanted
} pass_options;

/// Rules of ir/rules.def that are not to be applied.
static inline unsigned rules_switched_off(const pass_options *o) {
  unsigned off = 0;
  if (!o) return 0;
#define RULE_OPTION(flag, name, rule) off |= o->name ? RULE_##rule : 0;
#include "ir/options.def"
  // Where none may move, none drops out.
  return off & RULE_roundings ? off | RULE_excess_precision : off;
}

typedef struct pass_ctx {
  graph *graph;        // a pass may replace it by another
  arena *scratch;      // freed after the pass
  const pass_options *options;
  diag_list *diags;
} pass_ctx;

/// Changes ctx->graph; true when it may have changed something (TCF_ROUNDTRIP builds compare).
typedef bool pass_fn(pass_ctx *ctx);

// The passes: pass_dce, pass_fuse, ...
#define PASS(name, summary) pass_fn pass_##name;
#define AGAIN(name)
#include "passes/passes.def"
#undef PASS
#undef AGAIN

typedef struct pass_info {
  const char *name;
  pass_fn *run;
  const char *summary;  // one line; null where the pass runs once more
} pass_info;
const pass_info *passes_all(int *count);      // passes.def, in pipeline order
const pass_info *passes_find(str name);

/// Called after every pass (for --print-after and the round-trip of test builds).
typedef void pass_observer(void *ctx, const pass_info *pass, graph *g);

/// Runs the named passes (null: the whole pipeline), verifying after each; panics with the pass'
/// name on a violation. In TCF_ROUNDTRIP builds the graph is printed, re-parsed and continued on
/// the copy. False: a contract of the program does not hold, and ctx->diags says why.
bool passes_run(pass_ctx *ctx, const pass_info *const *list, int n, pass_observer *observe,
                void *observer_ctx);

/// Whether "key=value,..." names keys that lower_to_tiles knows with values that it takes; else
/// *error says what it takes (static text).
bool schedule_check(str text, str *error);
/// What was made of a kernel as text, "m=128,unit=mma": held to it, the kernel is the same.
str schedule_plan(arena *a, const schedule_choices *c, int kernel);
/// Whether every kernel became what the plans of the graph say; else *why names the first that did not.
bool schedule_is_kept(arena *a, const graph *g, const schedule_choices *c, str *why);
/// The schedule with an alternative for all kernels that are equal to its own.
str schedule_with(arena *a, str schedule, const schedule_choices *c,
                  const schedule_alternative *alternative);

/// What `explain` predicts of a fused graph, with schedules as the compiler chooses them.
double predicted_seconds(arena *a, const graph *g, const pass_options *options);

/// Fused graph to tile IR: a kernel per group with a schedule from the cost model, structurally
/// equal kernels shared, temps placed in the arena. Panics on a graph that the fuse pass did
/// not produce.
program *lower_to_tiles(arena *a, const graph *g, const pass_options *options);

/// What the temps of a program take, by the estimates of sizes that are symbols.
typedef struct temporaries {
  int64_t bytes;   // of its arena: what a call allocates
  int64_t live;    // the most that lives in one step: no arena could be smaller
  int64_t hosted;  // of those that lie in the memory of outputs instead
} temporaries;
temporaries program_temporaries(const program *p);
/// Of the program that a fused graph becomes, without its kernels; what scatters and loop nests keep
/// for themselves is not in it. Panics as lower_to_tiles does.
temporaries graph_temporaries(const graph *g, const pass_options *options);

/// A value that lives in the step in which most does.
typedef struct peak_value {
  int node;         // of the fused graph
  int first, last;  // steps in which it lives, from 0
  int64_t bytes;
} peak_value;

typedef struct memory_peak {
  int step, steps;
  vec(peak_value) values;  // the largest first
} memory_peak;
/// Of a fused graph, as graph_temporaries() counts.
memory_peak graph_peak(arena *a, const graph *g, const pass_options *options);
