// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What was fused, what was not, why, and what it costs: the data behind `tcc-fuse explain`.
//
// Figures are predictions of the cost model (passes/fusion/fuse_cost.c) for the sizes of the graph, or for
// the estimates of sizes that are symbols; measured_seconds is for whoever ran the kernel.
#pragma once
#include "passes/fusion/group.h"
#include "passes/passes.h"

/// LATENCY: a GPU waits, for there are too few blocks, or they ask for too little at once.
typedef enum explain_bound {
  BOUND_MEMORY,
  BOUND_COMPUTE,
  BOUND_LAUNCH,
  BOUND_LATENCY
} explain_bound;
typedef enum explain_role { ROLE_PARAM, ROLE_OUTPUT, ROLE_TEMP } explain_role;

typedef struct explain_buffer {
  const node *value;
  str name;  // "x", "out", "%12"
  str type;  // "f32[N, D]"
  explain_role role;
  str over;       // "%9": written where this value was, which nothing needs any more; empty
  int64_t bytes;  // read (of a gathered table: the rows) or written
} explain_buffer;

typedef struct explain_edge {
  decision why;
  str producer, consumer;  // "dot %3"; empty: none
  str shared;              // "x": the buffer that both read, where neither reads the other; or empty
  int other_kernel;        // of the producer when not fused; -1 a parameter or none
} explain_edge;

/// What the device's compiler made of a kernel.
typedef struct explain_usage {
  str source;  // "the driver", "ptxas"; empty: not known
  int registers;
  int spilled_bytes;     // of a thread: spills and stack
  int64_t shared_bytes;  // of a block
  str unknown;           // why not, where it was asked for
} explain_usage;

/// Asks for all kernels of a program; everything is allocated in a.
typedef void explain_ask(void *ctx, arena *a, const program *p, explain_usage *by_kernel);

/// How a kernel runs on a GPU.
typedef struct explain_schedule {
  int threads;           // of a block; 0: not a GPU's kernel
  int producer_threads;  // further ones, which copy operands
  int64_t tiles;         // of the grid
  int cluster;           // blocks that share a tile, 1: none do
  int64_t
      chunks;  // tiles that make parts of one result, which the last of them combines; 0: none do
  int64_t part_bytes;    // ... of all parts, which go through memory
  int column_sums;       // that a block keeps of the rows that it walks,
  int64_t chunk_rows;    // ... so many
  int ring_stages;       // tiles or steps that are on their way on chip at once, 1: none ahead
  int64_t shared_bytes;  // on-chip buffers of a block
  int resident;  // blocks on a multiprocessor, by threads, on-chip memory, and registers if known
  bool persistent;       // blocks stay and walk the tiles
  double occupancy;      // share of a multiprocessor's threads
  const char *unit;      // what multiplies in a contraction, or null
  str layout;            // who holds what, as in the tile IR
  explain_usage usage;
} explain_schedule;

/// What is combined over the steps of a streamed kernel.
typedef struct explain_state {
  str value;  // "sum %14"
  int walk;   // from 1 on
  str frame;  // the running maximum that it is relative to; empty none
} explain_state;

/// Why something is in a later walk than the first.
typedef struct explain_later {
  str value;  // "sum %14": a state, or a result along the stream
  int walk;
  str waits;       // "sum %9"
  reason why;      // what is in the way,
  str obstacle;    // "where", the operation that is,
  span at;         // and its place
  unsigned rules;  // of ir/rules.def, switched off, that would take it out of the way
} explain_later;

typedef struct explain_contract {
  bool there;
  str promise;             // "fuse stream(T)", "fuse stream(S) gradient"
  str axes;                // streamed: "T"
  bool chosen;             // by the cost model: not a promise of the program
  int walks;               // 0: not streamed
  vec(explain_state) states;
  vec(explain_later) later;
  unsigned rules;          // of ir/rules.def, applied
  double skipped;          // share of the steps that bounds leave out
  bool skips_by_data;      // data leaves out others
  str other_form;          // GPUs: why it is loop nests and no products of warpgroups; empty: it need not be said
  vec(str) added;          // "dot %38", added up in memory in no order
  vec(str) memory;         // GPUs: "dot %3 (4.2 MB)", kept in memory between loop nests
} explain_contract;

typedef struct explain_kernel {
  int number;
  group_kind kind;
  str what;  // "dot, add, erf, mul, cast"
  span at;
  vec(span) spans;  // of its operators, without repeats
  int operators;
  int first_phase, last_phase;  // of what it writes: 0 the forward pass, above it gradients
  vec(explain_buffer) inputs, outputs;
  vec(explain_edge) edges;  // that end here, in program order
  double bytes_read, bytes_written;
  double flops;             // as computed, recomputation included
  double needed_flops;      // each operator once
  double needed_bytes;      // of params and outputs of the function only
  double intensity;         // flops per byte
  double attainable;        // flops per second the roofline allows at this intensity
  double balance;           // the intensity from which on its arithmetic limits; 0: it has none
  const char *heaviest;     // "exp": the operation that its arithmetic spends most on; null: none
  double heaviest_share;    // of its arithmetic, 0 to 1
  double memory_seconds, compute_seconds;  // its traffic, its arithmetic at full speed
  double seconds;           // predicted
  double roof_seconds;      // its bytes and needed flops at full speed
  double roof_share;        // roof_seconds / seconds, 0 to 1
  double measured_seconds;  // 0: not run
  explain_bound bound;
  explain_schedule schedule;
  explain_contract contract;  // what the program promises of it, and how that holds
  vec(str) limits;  // what keeps it from the roofline and what the remainder needs, a line each
} explain_kernel;

typedef struct explanation {
  str function;
  const target_info *target;
  vec(str) assumed;  // "N = 1024": sizes that are not known
  vec(explain_kernel) kernels;
  double bytes, flops, seconds;
  double needed_bytes;  // params and outputs of the function, once: a lower bound
  double unfused_bytes;  // if every operator read its operands from and wrote its result to memory
  temporaries memory;    // that a call allocates for intermediates
} explanation;

const char *group_kind_name(group_kind k);

/// "N = 1024": what predictions take a size symbol of the graph to be.
str explain_assumed(arena *a, const graph *g, int symbol);
/// The schedule of a kernel of tile IR, with sizes that are symbols as estimated. usage: null or
/// without a source where it is not known.
explain_schedule explain_kernel_schedule(arena *a, const kernel *k, const target_info *t,
                                         const explain_usage *usage);
/// Time of a kernel with this schedule, given what its traffic and its arithmetic take at full
/// speed.
double explain_gpu_seconds(const target_info *t, const explain_schedule *s, double memory,
                           double compute, double launch);

/// Of a kernel of loop nests.
double explain_nest_seconds(const target_info *t, const explain_schedule *s, const kernel_cost *c,
                            double memory, double compute, double launch);

/// What a contract promises of the kernel and how it holds. off: rules that are switched off;
/// k: the kernel in tile IR, null: unknown.
explain_contract explain_contract_of(arena *a, const graph *g, const target_info *t, unsigned off,
                                     const group *grp, const kernel *k);
/// In a line; empty: it is under none.
str explain_contract_text(arena *a, const explain_contract *c, const diag_list *files);
/// Fills k->limits from its figures.
void explain_limits(arena *a, const target_info *t, explain_kernel *k);

/// Explains a fused graph; everything is allocated in a. ask(ctx, ...) is called for kernels of a
/// GPU; null: what its compiler makes of them is of no interest.
explanation *graph_explain(arena *a, const graph *g, const pass_options *options, explain_ask *ask,
                           void *ctx);
/// `files` gives names and lines to positions; null leaves them out.
void explain_text(const explanation *e, const diag_list *files, strbuf *out);
void explain_json(const explanation *e, const diag_list *files, strbuf *out);
/// Sections of one page: open, any number of explanations, close.
void explain_html_open(strbuf *out);
void explain_html(const explanation *e, const diag_list *files, strbuf *out);
void explain_html_close(strbuf *out);
