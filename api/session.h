// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is behind the handles of tcc_fuse.h, and what the files of api/ share.
//
//   session.c    sessions, messages, diagnostics, the boundary
//   entry.c      one call at a time, in the default floating point modes
//   program.c    loading sources, imports, IR text; introspection
//   signature.c  params, results and the binding of size symbols
//   tensor.c     tensors and array files
//   split.c      forward and backward part of a function apart
//   call.c       arguments, results
//   invoke.c     running compiled code, and errors it reports
//   recall.c     the short way for a call like the one before
//   device.c     the session's device: opening it, running on it, waiting for it
//   staging.c    arguments and results of calls on a device
//   dlpack.c     tensors from and to other libraries
//   measure.c    times on a device
//   autotune.c   schedules by trial
//   compile.c    variants: specialise, run the passes, lower, generate, load
//   cache.c      the cache directory: listed, verified, cleared
//   list.c       functions with their signatures, as text and JSON
//   saved.c      what a cached object needs to know besides its code
//   host.c       host functions
//   interp.c     the two interpreters as targets
//   emit.c       IR as text, passes by name, formatting, lists
//   header.c     declarations of ahead-of-time output
//   library.c    shared libraries and archives
//   estimate.c   tolerances
//   explain.c    explanations and costs
//   usage.c      registers and shared memory of kernels
#pragma once
#include <stdatomic.h>

#include "api/signature.h"
#include "base/fault.h"
#include "codegen/codegen.h"
#include "ir/tile.h"
#include "passes/passes.h"
#include "runtime/cache.h"
#include "runtime/call.h"
#include "runtime/cuda_tensor.h"
#include "runtime/modes.h"
#include "runtime/pool.h"
#include "tcc_fuse.h"

typedef enum target_kind { TARGET_CPU, TARGET_CUDA, TARGET_INTERP, TARGET_INTERP_TILE } target_kind;

struct tcf_session {
  atomic_bool busy;  // a call is inside
  arena arena;  // lives as long as the session
  target_kind target;
  str cpu;  // of "cpu:NAME"; empty: the host. Of "cuda:sm_90a", "interp-tile:sm_90a", or the device's architecture
  int ordinal;  // of "cuda:1"; -1: an architecture without a device
  unsigned flags;
  int threads;
  tcf_parallel_for parallel_for;
  void *parallel_user;
  tcf_diagnostic_callback diagnostic;
  void *diagnostic_user;
  str schedule;
  memory_budget budget;
  str budget_text;         // as it was given
  double recompute_slack;
  str cache_dir;
  bool cache_wanted, cache_default_dir;
  uint64_t cache_bytes;
  char *cache_found_dir;  // of cache.c: the default one, malloc'd; null: not asked for yet

  char message[2048];
  char *diagnostics_json;  // malloc'd

  // Made when first needed.
  pool *pool;
  cache *cache;
  jit *jit;
  target_info *figures;
  str identity;
  map externs;  // name -> host_entry
  map tuned;    // of autotune.c: key -> str
  tcf_trial_callback trial;
  void *trial_user;
  call_memory memory, scratch;
  cuda_device *device;
  call_memory device_arena;
  bool unchecked_errors;  // calls with checks were started and not waited for

  tcf_program *programs;
};

struct tcf_function {
  tcf_program *program;
  char *name;
  graph *graph;          // of a source or of graph IR text
  struct program *tile;  // of tile IR text
  const char *symbol;    // in output ahead of time
  signature sig;
  bool *symbolic;          // by symbol: kept out of specialisation
  int saved, nsaved;       // of a forward part: results for its backward part
  const tcf_function *part;  // of two parts of a function: the other one; null: it is no part
  bool backward;             // which of the two
  map variants;            // variant_key -> variant
  struct last_call *last;  // of recall.c; null: none yet
};

struct tcf_program {
  tcf_session *session;
  tcf_program *next;
  tcf_program
      *owner;  // freed with it: the program of which this has the parts of a function; null: none
  arena arena;
  diag_list diags;
  struct frontend *source;  // null: IR text
  module graphs;
  tile_module tiles;
  bool is_tile;
  tcf_function *functions;
  int nfunctions;
};

/// Why a check site failed: its position and, where known, the size that was exceeded.
typedef struct site {
  int step, number;
  int node;  // of the specialised graph, whose position is the site's; -1 unknown
  span at;
} site;

/// A host function called by a step: element types and ranks of its inputs, then its result.
typedef struct host_step {
  int step;
  str name;
  int nbufs;
  dtype *types;
  int *ranks;
} host_step;

/// Where a step's operations are, for errors of the device.
typedef struct step_place {
  int node;  // as of a site
  span at;
} step_place;

typedef struct variant {
  tcf_function *function;
  arena arena;
  str schedule;           // that it was compiled with
  graph *specialised;     // null for tile IR text
  struct program *tiles;  // TARGET_INTERP_TILE and tile IR text
  vec(site) sites;
  vec(host_step) hosts;
  vec(step_place) steps;
  vec(str) symbols;  // int64 arguments, in order
  jit_object *object;
  call_shape shape;
  void (*entry)(void);
  int64_t (*arena_size)(const int64_t *);
  int64_t (*scratch_size)(const int64_t *);
  // TARGET_CUDA
  cuda_module *module;
  tcf_device_error *errors;  // null: nothing is checked
} variant;

// ---- entry.c

/// The begin of every function of tcc_fuse.h that uses a session, or what comes from one.
/// TCF_WRONG_USE without a message: there is no session, or another call is inside of it (of another
/// thread, or the one that has called back).
typedef struct entry {
  tcf_session *session;
  float_modes modes;
} entry;
tcf_status entry_open(entry *e, tcf_session *s);
tcf_status entry_open_function(entry *e, const tcf_function *f);
/// For functions that need the session for their message only: without one, or in use, it becomes
/// null and they do without.
void entry_open_tensors(entry *e, tcf_session **s);
/// Gives back the status.
tcf_status entry_close(entry *e, tcf_status status);
/// TCF_WRONG_USE for a pointer that is null; what: "the name".
tcf_status need(tcf_session *s, const void *pointer, const char *what);
tcf_status need_sizes(tcf_session *s, const tcf_size *sizes, size_t n);

// ---- session.c

/// Runs work(args) inside a fault frame; a fault becomes TCF_NO_MEMORY or TCF_INTERNAL.
tcf_status session_guard(tcf_session *s, tcf_status (*work)(void *), void *args);
/// Sets the message and returns the status.
tcf_status session_fail(tcf_session *s, tcf_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
tcf_status session_fail_error(tcf_session *s, const error *e);
/// Hands diagnostics [from, end) of the list to the callback and keeps their JSON; the message
/// becomes the first error.
tcf_status session_diagnose(tcf_session *s, diag_list *list, int from);
/// An error in the data of a call, at a position of the program: delivered like those of a load.
tcf_status session_data_error(tcf_program *p, span at, str text);
/// malloc'd copy for the caller; null raises.
char *text_for_caller(str text);

// ---- room.c

enum { COMPILE_STACK = 1 << 20, LLVM_ROOM = 96 << 20 };  // documented in tcc_fuse.h

/// session_guard for work that parses or compiles, which recurses as the program nests:
/// TCF_NO_MEMORY when the calling thread has less than COMPILE_STACK left.
tcf_status session_compile_guard(tcf_session *s, tcf_status (*work)(void *), void *args);
/// Before LLVM is entered: TCF_NO_MEMORY unless LLVM_ROOM can be had.
tcf_status session_llvm_room(tcf_session *s);

// ---- host.c

typedef struct host_entry {
  tcf_host_function function;
  void *user;
  // plain C functions
  void (*plain)(void);
  struct host_signature *signature;
} host_entry;
/// Frees what the registered functions hold.
void host_release(tcf_session *s);
/// Checks that every host function the variant calls is registered.
tcf_status host_check(tcf_session *s, const variant *v);
/// tcf_frame.host_call; the context is a host_context.
int32_t host_call(void *context, int32_t step, void *const *ptrs, const int64_t *dims);
typedef struct host_context {
  tcf_session *session;
  const variant *variant;
  char message[256];
  bool no_memory;
} host_context;
/// What a call says that ended with TCF_CALL_HOST.
tcf_status host_failure(const host_context *c);
/// The bytes of buffer i of a host step, dims being those of buffers i, i + 1, ...
size_t host_bytes(const host_step *h, int i, const int64_t *dims);
/// Calls an entry; false with a text when it failed or does not fit.
bool host_invoke(const host_entry *h, str name, const tensor *const *in, int nin, tensor *out,
                 char *message, size_t size);

// ---- invoke.c

/// One run of compiled code.
typedef struct invocation {
  variant *variant;
  void **pointers;   // params, then results
  int64_t *symbols;  // as variant->symbols
  int64_t arena_bytes, scratch_bytes;
} invocation;
tcf_status invoke(const invocation *in);
/// The diagnostic of a failed check: site as tcf_frame.error_site; symbols as variant->symbols, or
/// null where the values are not known any more.
tcf_status report_index_error(const variant *v, int64_t error_site, int64_t index,
                              const int64_t *symbols);

// ---- device.c

/// The session's device, opened when first asked for. TCF_UNAVAILABLE without one.
tcf_status session_device(tcf_session *s, cuda_device **out);
/// The figures of the device, or of the architecture that stands for one.
tcf_status device_figures(tcf_session *s, target_info *out);
/// Of the architecture that the session's target names.
tcf_status named_figures(tcf_session *s, target_info *out);
/// What a host object carries (codegen/abi.h). Loaded by open; close unloads it.
typedef struct device_code {
  jit_object *object;
  const tcf_kernel_info *kernels;
  const char *image;  // PTX, ended by a zero byte
  int64_t image_size;
} device_code;
tcf_status device_code_open(tcf_session *s, arena *a, str function, code object, device_code *out);
void device_code_close(tcf_session *s, device_code *c);
/// Loads the kernels of a variant whose host object is loaded.
tcf_status device_load(tcf_session *s, variant *v);
void device_unload(tcf_session *s, variant *v);
/// Starts the call on the device's stream; waits for it when it has checks, and reports them.
tcf_status device_invoke(const invocation *in);
/// Starts it in the order of a caller's stream and never waits.
tcf_status device_invoke_on(const invocation *in, void *stream);
/// The ordinal that tensors of in-place calls have: -1 for CPUs.
int session_ordinal(const tcf_session *s);

// ---- call.c

typedef struct call {
  tcf_function *function;
  const tensor *const *args;
  size_t nargs;
  tcf_tensor **results;
  size_t nresults;
  arena arena;
  const tensor **used;  // the arguments, or compact copies of those that code cannot take
  tensor **copies;      // by param; freed after the call
  tensor **targets;     // by result: what the code writes
  tensor **made;        // by result: new tensors; for the caller, or freed after the call
  tensor **fresh;       // by result, on devices: tensors of the host for the caller
  int64_t *sizes;
  bool prepare_only, tunes;
  bool waits;     // results or arguments in the host's memory: the call is over when it returns
  bool borrowed;  // a caller's stream
  void *stream;
} call;

/// TCF_WRONG_USE when the tensor is missing or not of the value's type and rank.
tcf_status call_check_value(const tcf_function *f, const char *what, const sig_value *v,
                            const tensor *t);
bool call_overlaps(const call *c, const tensor *t, int result);

/// tcf_call and tcf_prepare, from inside of the session.
tcf_status function_call(tcf_function *f, const tensor *const *args, size_t nargs, tensor **results,
                         size_t nresults);
tcf_status function_prepare(tcf_function *f, const tensor *const *args, size_t nargs);

/// What runs the variant on the call's arguments; results: by result.
invocation call_invocation(const call *c, arena *a, variant *v, tensor *const *results);

// ---- autotune.c

/// Looks for the best schedule of a call that is about to be compiled, unless it is known already.
tcf_status autotune(call *c);
/// The session's schedule, with what trials found for this specialised graph.
str tuned_schedule(tcf_session *s, const graph *g);
void session_keep_schedule(tcf_session *s, const cache_key *key, str schedule);

// ---- staging.c

/// For calls on a device, instead of call.c's choices for CPUs.
tcf_status stage_arguments(call *c);
tcf_status stage_result(call *c, int i, const int64_t *dims);
/// Copies results to where the caller wants them.
tcf_status unstage_results(call *c);

// ---- recall.c

/// Remembers a call whose arguments were used as they are and whose results are row-major.
void recall_keep(tcf_function *f, const invocation *in, const tensor *const *args,
                 tensor *const *results);
/// Runs the remembered variant when this call is like the remembered one: the same sizes and
/// strides, results given that do not overlap. stream: a caller's, or null. False: go the long way.
bool recall(tcf_function *f, const tensor *const *args, size_t nargs, tensor **results,
            size_t nresults, void *const *stream, tcf_status *status);

// ---- c_names.c

/// An identifier that is no keyword, and as far as its form tells no macro.
bool c_name_is_plain(str name);
/// A function may be exported under it.
bool c_symbol_is_free(arena *a, str symbol);
/// What a function of that name is exported as: `softmax`, `malloc_`.
str c_symbol(arena *a, str name);

// ---- compile.c

/// The disk cache; null: none.
cache *session_cache(tcf_session *s);
/// Code of a program for the session's target; `wanted` says what, not for which. Without a symbol
/// in it the entry is c_symbol() of the program's name.
tcf_status session_codegen(tcf_session *s, arena *a, const struct program *p,
                           codegen_options wanted, code *out);
/// passes_run; a contract that does not hold is told as diagnostics and is TCF_WRONG_PROGRAM.
tcf_status session_run_passes(tcf_session *s, pass_ctx *ctx, const pass_info *const *list, int n,
                              pass_observer *observe, void *observer_ctx);
/// The pipeline and the lowering of a copy of the graph.
tcf_status session_lower(tcf_session *s, diag_list *diags, arena *a, const graph *g, str schedule,
                         struct program **out);

/// The variant for these sizes and strides, compiled when there is none.
tcf_status variant_for(tcf_function *f, const tensor *const *args, const int64_t *sizes,
                       variant **out);
void variant_free(tcf_session *s, variant *v);
/// "target name=cpu ... options deterministic=0 ... schedule rows=4": what the session adds to a
/// program before code is made of it. After session_target.
str session_code_facts(const tcf_session *s, arena *a);
/// Everything besides the graph that the object depends on. Empty: do not cache.
str session_identity(tcf_session *s);
/// A variant that is the caller's, with this schedule, of which nothing is kept on disk.
tcf_status variant_new(tcf_function *f, const tensor *const *args, const int64_t *sizes,
                       str schedule, variant **out);
bool variant_is_made(const tcf_function *f, const tensor *const *args, const int64_t *sizes);
pass_options session_pass_options(tcf_session *s, str schedule);
/// The figures of the target for the cost models (those of the host for the interpreters).
tcf_status session_target(tcf_session *s, const target_info **out);
/// The kernels of a graph, if it is fused, can be made for the session's target and these sizes: a
/// text may have been fused for others. After session_target.
tcf_status session_kernels_fit(tcf_session *s, const graph *g, arena *a);
/// lower_to_tiles, verified: panics with the report when the lowering broke a rule.
tcf_status session_tiles(tcf_session *s, arena *a, const graph *g, const pass_options *options,
                         struct program **out);
/// The sizes given (entries < 0 are unknown) suit the function: its facts, and no axis inside of it
/// gets a negative size.
tcf_status function_check_sizes(const tcf_function *f, const int64_t *sizes);
/// The same of another graph with the function's symbols.
graph *function_specialise_other(const tcf_function *f, arena *a, const graph *g,
                                 const int64_t *sizes);
/// Specialised on the sizes that are not kept symbolic.
graph *function_specialise(const tcf_function *f, arena *a, const int64_t *sizes);
/// Specialised on sizes, and on strides that are not row-major (args null: on none).
graph *variant_graph(const tcf_function *f, arena *a, const tensor *const *args,
                     const int64_t *sizes);
/// The same for the sizes of arguments.
tcf_status function_specialise_for(tcf_function *f, const tensor *const *args, size_t nargs,
                                   arena *a, graph **out);

// ---- library.c, header.c

/// In one library, or declared in one header.
enum { MOST_LIBRARY_FUNCTIONS = 7 };
/// TCF_WRONG_USE unless there are 1 to MOST_LIBRARY_FUNCTIONS, of this session and exported under names of
/// their own.
tcf_status functions_belong_together(tcf_session *s, tcf_function *const *functions, size_t count);

// ---- usage.c

struct explain_usage;
/// An explain_ask (passes/explain/explain.h); the context is the session.
void usage_of_kernels(void *session, arena *a, const struct program *p, struct explain_usage *out);

// ---- saved.c

void variant_describe(variant *v, const struct program *p);
void saved_print(const variant *v, strbuf *out);
bool saved_parse(variant *v, str text);
/// Names this build of the library: empty when the linker left no build id.
str build_identity(arena *a);

// ---- interp.c

tcf_status interp_target_call(variant *v, const tensor *const *args, tensor *const *results);

// ---- emit.c, estimate.c

/// tcf_function_object and tcf_function_tolerance, from inside of the session.
tcf_status function_object(tcf_function *f, const tcf_size *sizes, size_t nsizes, char **data,
                           size_t *size);
tcf_status function_tolerance(tcf_function *f, const tensor *const *args, size_t nargs,
                              size_t result, double *out);

// ---- program.c

/// tcf_program_free, from inside of the session.
void program_free(tcf_program *p);
/// An empty one, in the list of the session; null: no memory.
tcf_program *program_new(tcf_session *s);
/// The functions of p->graphs, or of p->tiles.
void program_make_functions(tcf_program *p);

/// Sizes by symbol number from a list of names (others are ignored); missing ones are -1.
tcf_status function_sizes(tcf_function *f, const tcf_size *sizes, size_t n, int64_t *out);
