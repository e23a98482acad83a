// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR: pure SSA over tensors with named axes. See docs/ir.md.
//
//   graph @softmax(%x: f32[N, T]) {
//     %m = reduce_max %x over T : f32[N]
//     %d = sub %x, %m : f32[N, T]
//     ...
//     return %y
//   }
//
// Map ops align operands by axis: an operand lacks axes of the result = broadcast. The axes of a
// node are a set with a storage order (the order is used where the value is stored).
// After the fuse pass each node but params has a kernel number and nodes of one kernel are
// contiguous in order; a value used outside its kernel, or returned, is a buffer in memory.
#pragma once
#include "base/diag.h"
#include "ir/ix.h"
#include "ir/op.h"

enum { MAX_AXES = 16 };   // of one tensor
enum { MAX_PHASE = 64 };  // gradients of gradients
enum { MAX_REGIONS = 1 << 20 };  // `checkpoint` blocks

typedef struct axis {
  str name;  // unique in the graph
  ix size;
} axis;

typedef struct node node;
struct node {
  int id;  // dense, = position in graph->nodes
  op op;
  dtype type;
  int naxes;
  int *axes;  // axis numbers, storage order
  int nin;
  node **in;
  // attributes, by op
  int nattr_axes;
  int *attr_axes;  // reduced / contracted / scanned / gathered axes; index: its axis
  ix *index;       // view, pad: per input axis; size: [0]
  scalar value;    // const
  str name;        // param: its name; call: the function's
  unsigned flags;  // NODE_* below
  int kernel;      // fused graphs: kernel number; -1 none
  int contract;    // 1 + the number of the contract that it is under; 0 none
  int region;      // 1 + the number of the `checkpoint` block that it was made in; 0 none
  int phase;       // 0; of what a gradient adds, 1 + that of what it differentiates. Never below an operand's
  int64_t *strides;  // param: element strides per axis when not row-major contiguous, else null
  span at;
};

enum {
  NODE_REVERSE = 1,    // scans
  NODE_EXCLUSIVE = 2,  // scans
  NODE_UNCHECKED = 4,  // gather, scatter: the bounds test was removed by --unchecked
  NODE_KEEP = 32,       // saved for later phases, never recomputed for them
  NODE_RECOMPUTED = 64, // a copy of a node of an earlier phase, computed again for a later one
  // Of identity views, while the frontend lowers: what grad() may see. No text has them, and nothing
  // else asks.
  NODE_STOP = 8,       // constant for derivatives
  NODE_CUSTOM = 16,    // its derivative is given by the program
  NODE_FRONTEND = NODE_STOP | NODE_CUSTOM,
};

/// Why an edge was or was not fused; the reason codes are in ir/reasons.def.
typedef enum reason {
#define REASON(name, text) REASON_##name,
#include "ir/reasons.def"
#undef REASON
  REASON_COUNT
} reason;
const char *reason_name(reason r);
const char *reason_text(reason r);

typedef struct decision {
  reason why;
  bool fused;
  int producer, consumer;  // node ids in the fused graph; -1 none
  span producer_at, consumer_at;
  int64_t bytes;  // memory traffic saved (fused) or spent (not), estimated
  int64_t flops;  // recomputation spent
  int shared;     // 1 + the node that both read, where neither reads the other; 0 none
} decision;

/// Rules of ir/rules.def, as bits.
typedef enum stream_rule {
#define RULE(name, text) RULE_NUMBER_##name,
#include "ir/rules.def"
#undef RULE
  RULE_COUNT,
#define RULE(name, text) RULE_##name = 1 << RULE_NUMBER_##name,
#include "ir/rules.def"
#undef RULE
} stream_rule;
/// The name of rule number n.
const char *rule_name(int n);

/// A call of a function, by which a contract in it came into another.
typedef struct contract_call {
  span at;
  str function;
} contract_call;

/// A promise of the program: the nodes under it are one kernel, or the program does not compile.
/// Streamed: besides, no value with one of the axes is in memory but what the kernel reads and
/// stores for others. A fused graph has such a kernel.
typedef struct contract {
  bool streamed;
  int naxes;
  int *axes;   // streamed
  int passes;  // walks over them that are allowed; 0: any number
  unsigned rules;     // that took things out of its sums
  bool without_frames; // every sum waits for what its exponents are relative to
  bool chosen; // by the compiler, because it is faster: not a promise
  bool
      unordered;  // sums over its rows are added up in memory, in any order (passes/fusion/join_walks.c)
  bool gradient; // a part of the derivative of a streamed block (ir/grad_stream.c)
  int of;        // while that is built: 1 + the number of the block
  span at;     // the word `fuse`
  span asked;  // of a derivative: the call of grad, where there is one
  int ncalls;  // through which it came into the function, the innermost first
  const contract_call *calls;
} contract;

typedef struct output {
  node *value;
  str name;  // see graph_result_name; no parameter has it
} output;

typedef struct graph {
  arena *arena;
  str name;
  ix_pool ix;
  vec(axis) axes;
  map axis_names;      // name -> its entry, see graph_add_axis
  vec(node *) nodes;   // topological order; params first
  vec(output) outputs;
  vec(str) symbols;    // size symbols of the signature in order of appearance
  int nparams;         // nodes[0 .. nparams) are the params in order
  vec(contract) contracts;
  int contract;        // what the builders put into node.contract
  int region;          // what the builders put into node.region
  int nregions;
  int phase;           // the least phase that the builders give
  bool fused;          // kernel numbers are set
  int nkernels;
  vec(str) plans;      // by kernel, may be shorter: what its schedule is held to, "m=128,n=64"; empty: nothing
  vec(decision) decisions;
} graph;

typedef struct module {
  arena *arena;
  vec(graph *) graphs;
} module;

graph *graph_new(arena *a, str name);
graph *graph_find(const module *m, str name);
int graph_add_axis(graph *g, str name, ix size);  // the name is made unique: T, T.1, T.2
int graph_find_axis(const graph *g, str name);    // -1 absent
ix graph_axis_size(const graph *g, int axis);
bool graph_axis_is_single(const graph *g, int axis);  // known to have one element

/// What an op makes of n->in and its attributes: the type and the axes that n should have. False
/// with a text when they do not fit. Axes of view, pad, param and call, and types of leaves, casts
/// and calls are n's own. Frontends ask before building, the verifier compares.
bool node_infer(const graph *g, const node *n, arena *a, dtype *type, int *axes, int *naxes,
                str *why);

// Builders: node_infer(), check(), append. Order of result axes: operands' axes left to right
// without repeats. gather puts the axes of the indices where the gathered axis was; axes that both
// have are aligned. scatter_add walks the axes of indices and updates and a's other axes.
node *graph_param(graph *g, str name, dtype t, const int *axes, int naxes);
/// As param number `at`, when there are other nodes already: nodes from there on are numbered again.
node *graph_insert_param(graph *g, int at, str name, dtype t, const int *axes, int naxes);
node *graph_const(graph *g, dtype t, scalar v);
node *graph_const_float(graph *g, dtype t, double v);  // any type; ints are converted
node *graph_size(graph *g, dtype t, ix size);
node *graph_index(graph *g, dtype t, int axis);
node *graph_map(graph *g, op o, node *const *in, int nin, dtype result);
node *graph_unary(graph *g, op o, node *a);
node *graph_binary(graph *g, op o, node *a, node *b);
node *graph_where(graph *g, node *c, node *a, node *b);
node *graph_cast(graph *g, node *a, dtype t);
node *graph_reduce(graph *g, op o, node *a, const int *axes, int naxes);
node *graph_dot(graph *g, node *a, node *b, const int *axes, int naxes);
node *graph_scan(graph *g, op o, node *a, int axis, unsigned flags);
/// At least one of the operands has the axis. The axes are those of b, then the others of a.
node *graph_affine_scan(graph *g, node *a, node *b, int axis, unsigned flags);
/// index[k]: the coordinate of a's axis k as an expression over the result's axes.
node *graph_view(graph *g, node *a, const ix *index, const int *axes, int naxes);
node *graph_pad(graph *g, node *a, node *fill, const ix *index, const int *axes, int naxes);
node *graph_gather(graph *g, node *a, int axis, node *indices);
node *graph_scatter_add(graph *g, node *a, int axis, node *indices, node *updates);
node *graph_call(graph *g, str name, node *const *in, int nin, dtype t, const int *axes, int naxes);
void graph_output(graph *g, node *value, str name);
/// The name of result k where none is given: "out", or "out0", "out1", ... of several; where
/// params or axes have that name, with as many '_' behind it as it takes.
str graph_result_name(const graph *g, int k, bool several, arena *a);
/// Its number; the axes are copied.
int graph_add_contract(graph *g, contract c);
/// Same value with this storage order of its axes (a permutation): an identity view if needed.
node *graph_reorder(graph *g, node *a, const int *axes);

/// n along these axes too, which it is repeated along; n itself when it has all of them.
node *graph_spread(graph *g, node *n, const int *axes, int naxes);
/// n with the axes `from` called `to`; n itself when it has none of them.
node *graph_rename(graph *g, node *n, const int *from, const int *to, int count);
/// n with these axes, which it has, as one, *flat, of their row-major positions; it stands where the first
/// of them stood in n.
node *graph_flatten(graph *g, node *n, const int *axes, int naxes, int *flat);

static inline bool axes_have(const int *axes, int n, int axis) {
  for (int i = 0; i < n; i++)
    if (axes[i] == axis) return true;
  return false;
}
/// The same axes, in any order.
static inline bool axes_equal(const int *a, int na, const int *b, int nb) {
  for (int i = 0; i < na; i++)
    if (!axes_have(b, nb, a[i])) return false;
  return na == nb;
}
bool node_has_axis(const node *n, int axis);
bool node_same_axis_set(const node *a, const node *b);
/// Each result axis is read by the view at its own coordinate: only the storage order may change.
bool view_is_reorder(const graph *g, const node *view);
/// A view that is one to one: the coordinates of its axes over those of its operand's, in the pool
/// (which becomes a copy of the graph's). index has room for MAX_AXES. False: it is not known to be.
bool view_inverse(arena *a, const graph *g, const node *view, ix_pool *pool, ix *index);
/// The same in a pool that is such a copy already: for many views of one graph.
bool view_inverse_in(ix_pool *pool, const graph *g, const node *view, ix *index);
/// index(V)[V = t]: t itself, which must be a coordinate along V. Nothing is read.
bool node_is_checked_index(const node *n);
/// All elements are one constant or size, seen through views: nothing is read.
bool node_is_one_number(const node *n);
/// The gather n reads what is in a buffer: not coordinates, nor one number.
bool node_gathers_buffer(const node *n);
/// Copies n (with inputs mapped by the caller) to the end of g: the graph of n, or a copy of it by
/// graph_copy (axis numbers and index expressions are taken over as they are).
node *graph_clone_node(graph *g, const node *n, node *const *in);
/// Everything that makes a node what it is, but its position: as if it were under the contract, with
/// operands by their number (null: their own).
str node_key(arena *a, const node *n, const int *number, int contract);
/// Number of elements, as a size.
ix node_elements(graph *g, const node *n);
/// Users per node id (counted with multiplicity; outputs count).
int *graph_use_counts(const graph *g, arena *a);
/// Replaces every use (outputs included) through the table by node id, which has an entry for
/// each node there is now; null = keep; a replacement may be replaced in turn. Then drops what is
/// unreachable (never params), puts inputs before their users and renumbers.
void graph_compact(graph *g, node **replacement);
/// Params that nothing reads go, by their number; the other nodes are numbered again.
void graph_drop_params(graph *g, const bool *drop);
/// By node id: an output needs it.
bool *graph_live(const graph *g, arena *a);
/// A deep copy of the graph in arena a; axis numbers and index expressions stay the same.
graph *graph_copy(arena *a, const graph *g);
/// Binds size symbols to constants (value() as in ix_bind): specialisation.
graph *graph_specialise(arena *a, const graph *g, bool (*value)(void *, str, int64_t *), void *ctx);

// Text, in ir/graph_print.c and ir/graph_parse.c: canonical, byte-stable, parses back.
void graph_print(const graph *g, strbuf *out);
void module_print(const module *m, strbuf *out);
/// Diagnostics E05xx with spans of `file` in diags.
bool module_parse(arena *a, diag_list *diags, uint32_t file, module *out);

/// Collects every violation; false and the IR annotated at the offending nodes in *report.
bool graph_verify(const graph *g, arena *a, str *report);

/// Tensors of the interpreter: elements as scalars, row-major in the order of `axes`' sizes.
typedef struct interp_tensor {
  dtype type;
  int rank;
  int64_t dims[MAX_AXES];
  scalar *data;  // ints in .i, floats in .f (already rounded to type)
} interp_tensor;

typedef struct interp_host {
  /// Calls the extern function; in and out are filled by shape; false = unknown or failed.
  bool (*call)(void *ctx, str name, const interp_tensor *in, int nin, interp_tensor *out);
  void *ctx;
} interp_host;

/// "index 9 is outside of axis V of size 9", without a name "... of an axis of size 9": the wording
/// of all targets. size < 0: unknown, left out.
str index_error_text(arena *a, int64_t index, str axis, int64_t size);

/// Evaluates the graph with the values of symbols bound from `params`' shapes. Every element is
/// rounded once to its node's type. Outputs are allocated in a. False with a text in *error (index
/// out of range with its span in *at; conflicting sizes).
bool graph_interpret(const graph *g, arena *a, const interp_tensor *params, interp_tensor *outputs,
                     const interp_host *host, str *error, span *at);
