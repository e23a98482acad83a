// Passes over the graph IR and the lowering to tile IR.
#pragma once
#include "ir/graph.h"
#include "ir/tile.h"

/// What the cost model knows of a target. Figures are per core (CPU) or per device.
typedef struct target_info {
  str name;              // "cpu", "cpu:skylake-avx512", ...
  int vector_bytes;      // 64, 32, 16
  int vector_registers;  // 32, 16
  int64_t l1_bytes, l2_bytes, l3_bytes;  // l1, l2 per core
  int cores;
  double flops_per_second;     // f32 fma peak of one core, 2 per fma
  // dots of bf16 pairs with f32 sums, one core; 0: the CPU has none, or none worth using
  double pair_flops_per_second;
  double bytes_per_second;     // from memory, all cores together
  double l2_bytes_per_second;  // one core
  // GPUs. A "core" above is a multiprocessor, l1 its shared memory, l2 the device's.
  int sm;                      // 80, 90, 100, 120; 0: a CPU
  bool sm_specific;            // sm_90a: wgmma and its kin
  int threads_per_core, registers_per_core;
  int64_t shared_per_block;    // bytes a block may have
  double tensor_flops_per_second;  // f16, bf16 with f32 sums, whole device
  bool tf32;                       // allowed by the user: f32 factors rounded for tensor cores
} target_info;

/// Another choice that a schedule could make for a kernel.
typedef struct schedule_alternative {
  int kernel;  // its number, as in `explain`
  str items;   // "m=128,n=64"
} schedule_alternative;

/// What lower_to_tiles could have done otherwise, for who tries it.
typedef struct schedule_choices {
  vec(schedule_alternative) alternatives;  // of kernels that are the first of their kind
  vec(int) kernels, same_as;               // by kernel: its number, and that of the first equal one
  vec(int) shared;                         // by kernel: which of the program's it is
} schedule_choices;

/// What tensor cores reach in a product of these types; 0: they do not take it.
double target_tensor_flops(const target_info *t, dtype a, dtype b);

typedef struct pass_options {
  bool fast_math;      // reassociation and friends; else only exact rewrites
  bool deterministic;
  bool unchecked;
  const target_info *target;
  str schedule;        // overrides "key=value,..." for the lowering
  schedule_choices *choices;  // filled by lower_to_tiles; null: not wanted
} pass_options;

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
/// the copy.
void passes_run(pass_ctx *ctx, const pass_info *const *list, int n, pass_observer *observe,
                void *observer_ctx);

/// Whether "key=value,..." names keys that lower_to_tiles knows with values that it takes; else
/// *error says what it takes (static text).
bool schedule_check(str text, str *error);
/// The schedule with an alternative for all kernels that are equal to its own.
str schedule_with(arena *a, str schedule, const schedule_choices *c,
                  const schedule_alternative *alternative);

/// Fused graph to tile IR: a kernel per group with a schedule from the cost model, structurally
/// equal kernels shared, temps placed in the arena. Panics on a graph that the fuse pass did
/// not produce.
program *lower_to_tiles(arena *a, const graph *g, const pass_options *options);
