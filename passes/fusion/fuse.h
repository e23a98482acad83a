// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside the fuse pass: units, clusters, and the two questions asked about a set of nodes.
//
// A *unit* is a node that is computed in one place unless the cost model says otherwise: maps,
// reductions, contractions, gathers... *Free* nodes (constants, sizes, indices, views, pads,
// widening casts, numbers made of sizes) cost next to nothing: each kernel that uses one gets its own clone. A *cluster*
// is a set of units that becomes one kernel; a unit in several clusters is recomputed there.
#pragma once
#include "passes/fusion/group.h"
#include "passes/passes.h"

/// A set of nodes looked at as one kernel.
typedef struct candidate {
  const graph *g;
  node **nodes;  // in topological order, free nodes included
  int n;
  const uint8_t *member;  // by node id: in `nodes`
  const uint8_t *stored;  // by node id: a member that goes to memory
  const contract *promise;  // that the kernel is under; null: none. Free nodes may be under others
  const target_info *target;  // null: none is known
} candidate;

/// Room for a candidate without the views at its end.
typedef struct through_room {
  uint8_t *after, *member, *stored;  // by node id; the last two of the nodes below only
  node **nodes;
  int n;
} through_room;

/// Work space for questions about candidates of one graph, by node id; each question clears what
/// it uses, or what the last one did. Thousands are asked, so it is allocated once.
typedef struct fuse_scratch {
  arena *arena;
  int n;
  uint8_t *after, *before, *seen, *panel;
  double *direct, *viewed, *touched;
  double *flops, *work;  // of the last cost: operations, and fused multiply-adds in their time
  double *count;         // 1 + elements, 0 unknown: kept over questions
  uint8_t *asked;        // kept over questions, as is
  const column_sum **sums;  // ... what is known, then, to be a sum of columns; null: it is none
  ints inputs;    // ids with bytes in touched
  through_room through;
  uint8_t *inverse;  // by node id: what is known of a view
  ix_pool *pool;     // the graph's, to find inverses with; null: none was asked for
} fuse_scratch;
fuse_scratch fuse_scratch_new(arena *a, int n);

typedef struct verdict {
  bool ok;
  reason why;  // when not ok
  int node;    // the offending node's id, -1 none
  str detail;  // which axis, which numbers; may be empty
} verdict;

/// Columns that a block tile of a contraction has at most, with a warpgroup's instructions.
enum { FUSE_TILE_COLUMNS = 256 };
/// And of what its rows are multiplied with in the same kernel.
enum { FUSE_SIDE_COLUMNS = 128, FUSE_BOTH_COLUMNS = 256 };

// ---- fuse_legality.c
/// May these nodes be one kernel by the rules of passes/fusion/group.h? Says nothing about cycles
/// between kernels, which depend on the rest of the graph. `kind` may be null.
verdict fuse_legal(const candidate *c, fuse_scratch *s, group_kind *kind);

// ---- fuse_columns.c
/// Whether a candidate with sums of columns is meant to be a kernel of rows that keeps them: all reductions are
/// of these rows, or sums of their columns, and there is more than the sums. Not on CPUs.
bool fuse_columns(const candidate *c, fuse_scratch *s, column_form *f);
/// Whether the registers of a block suffice; gives its threads.
bool fuse_columns_fit(const candidate *c, column_form *f);
/// n is one of the sums. f may be null.
bool column_form_has(const column_form *f, const node *n);
/// The view is one by which they see chunks.
bool column_form_shows(const column_form *f, const node *view);

// ---- through.c
/// The candidate without the views at its end that its results are stored through: these are stored.
candidate fuse_through(const candidate *c, fuse_scratch *s);
/// The same, valid until the next one in this room.
candidate fuse_through_in(const candidate *c, fuse_scratch *s, through_room *room);
through_room through_room_new(arena *a, int n);
/// The view reads its operand at unchanged coordinates along the fixed axes and uses these for
/// nothing else.
bool view_keeps(const graph *g, const node *view, const int *fixed, int nfixed);

// ---- fuse_cost.c
typedef struct cost {
  double bytes_read, bytes_written;  // between memory and the kernel, each buffer once
  double flops;                      // with recomputation; a fused multiply-add is 2
  double memory_seconds, compute_seconds, launch_seconds;
  double seconds;  // max(memory, compute) + launch
} cost;
const target_info *target_or_default(const pass_options *options);
/// A kernel that moves so many bytes and waits for nothing else.
double fuse_memory_seconds(double bytes, const target_info *t);
/// Flops per second of the whole target with what multiplies the operands of this contraction.
double fuse_contraction_peak(const target_info *t, const node *dot);
/// In s->flops and s->work, what each of its nodes takes.
cost fuse_cost(const candidate *c, const target_info *t, fuse_scratch *s);
/// Operations of n when the values of a map are computed `evals` times.
double fuse_node_flops(const candidate *c, const fuse_scratch *s, const node *n, double evals);
/// Bytes read of each node outside the set, by node id; at most its size. In s->touched.
const double *fuse_input_bytes(const candidate *c, fuse_scratch *s);
/// Of all kernels of a fused graph.
double fused_seconds(const graph *g, const target_info *t, arena *a);
double node_bytes(const graph *g, const node *n);  // by the estimates of size symbols
double node_count(const graph *g, const node *n);

// ---- fuse_align.c
/// The param that operand k of a product on tensor cores lies in, when its rows are unaligned in
/// memory; null: it is another value, or its rows begin at multiples of 16 bytes. Views in between
/// are those of `member` (by node id; null: all).
const node *fuse_unaligned_operand(const graph *g, const target_info *t, const node *dot, int k,
                                   const uint8_t *member);
/// Puts a copy before each of these: an identity view, which step 3 makes a kernel of its own or
/// part of the product.
void fuse_copy_operands(graph *g, const target_info *t, arena *a);
/// A view that changes nothing: somebody wants a copy.
bool node_is_copy(const graph *g, const node *n);
node *node_copied(graph *g, node *operand);

// ---- fuse_pads.c
/// What stands for the padded operand k of a product on a CPU, made of a copy of it (a node_copied() of a
/// pad, maybe under a view); null: it is no such operand, or better packed as it is.
node *fuse_copied_pad(graph *g, const target_info *t, const node *dot, int k);
/// Elements that are packed one by one where the operand is such, and its copy one of `member`.
double fuse_packed_elements(const graph *g, const node *dot, int k, const uint8_t *member);

// ---- fuse_units.c
/// Answers about one cluster, kept until something changes them: long programs ask the same of
/// large clusters again for every unit that may join them.
typedef struct cluster_facts {
  op_class anchor;
  bool has_anchor;
  cost cost;
  int cost_at;  // the epoch in which it was found; 0 never
} cluster_facts;

typedef struct input_bytes {
  int id;
  double bytes;
} input_bytes;

/// What a cluster reads, by node id ascending.
typedef struct cluster_inputs {
  vec(input_bytes) list;
  int found_at;  // the epoch; 0 never
} cluster_inputs;

/// Where a cluster is along a chain of units: it leads to that place and what comes after, and follows what comes
/// up to the other.
typedef struct spine_part {
  int leads_to, follows;
  int found_at;  // the epoch; 0 never
} spine_part;

/// A topological order of the clusters (fuse_order.c).
typedef struct cluster_order {
  int *rank;      // by cluster: above those of all that it waits for, but where edges have changed
  bool *stale;    // by cluster: its edges have
  int *spare;     // by cluster: 1 + the one that was made part of it last, whose rank is free
  ints changed;   // these clusters
  uint8_t *mark;  // by cluster, none set: marks of a search
  ints marked, before, after, ranks;  // room for one
  int *of;                            // by rank: room for sorting
  ints spine;                         // a longest chain of units
  int *leads_to, *follows;            // by unit: its first place that the unit leads to, the last that leads to it
  spine_part *parts;                  // by cluster
  int64_t questions, steps;           // asked; edges looked at
} cluster_order;

typedef struct fusion {
  graph *g;
  arena *a;  // scratch of the pass
  const target_info *target;
  int n;           // nodes of the graph the pass started with
  node **nodes;    // these, by id
  bool *live;      // reaches an output
  bool *returned;  // by node id
  bool *free;      // cloned into each kernel that uses it
  ints *deps;      // unit: the units it reads, through free nodes
  ints *users;     // unit: the units that read it
  int *rows;       // unit: the reduction whose finished rows it maps, -1 none
  ints *homes;     // unit: the clusters that compute it; the first one stores it if any does
  ints *clusters;  // the units of each cluster, ascending; empty: gone
  int nclusters;
  cluster_facts *facts;  // by cluster
  cluster_inputs *inputs;
  int epoch;             // begins anew when a change may concern clusters that it does not touch
  cost union_cost;       // of the last two clusters asked about, while `asked` names them; seconds < 0: none
  unsigned off;          // rules that the options switch off
  bool shared;           // a unit has been in several clusters
  bool recomputes;       // there are nodes with NODE_RECOMPUTED
  bool apart;            // pass_options.phases_apart
  bool ordered;          // pass_options.deterministic
  uint8_t *member, *stored;  // of the last candidate
  ints marked;               // ids set in member
  node **candidate;          // its nodes
  uint8_t *region;           // by node id, none set: marks of a search
  int *level;                // by node id: reductions that wait for each other up to it
  int asked[2];              // its clusters; -2: none, or they changed
  cluster_order order;
  int64_t asked_nodes;       // of all candidates
  fuse_scratch scratch;
} fusion;

void ints_sort_unique(ints *v);
/// Numbers in a heap, the least one first.
void heap_push(arena *a, ints *heap, int x);
int heap_pop(ints *heap);
void fusion_init(fusion *f, pass_ctx *ctx);
bool is_unit(const fusion *f, int id);
bool in_cluster(const fusion *f, int unit, int cluster);
/// Whether the unit must be in memory: returned, or read by a cluster that does not compute it.
/// Clusters a and b count as one (-1: none).
bool unit_is_stored(const fusion *f, int unit, int a, int b);
/// The union of two clusters (b may be -1) as a candidate; valid until the next one.
candidate fusion_candidate(fusion *f, int a, int b);
verdict clusters_legal(fusion *f, int a, int b, group_kind *kind);
/// One computes values again for a later phase, to which the other does not belong: together both
/// would run early, and the values be kept after all. Or the phases are to be apart.
bool clusters_apart(const fusion *f, int a, int b);
/// The phases are to be apart, and one unit is of the forward pass, the other is not.
bool units_apart(const fusion *f, int a, int b);
/// What a cluster is built around: contraction, scan, scatter, opaque, reduce, or map for none.
op_class cluster_anchor(fusion *f, int cluster);
/// Moves the units of b into a.
void clusters_merge(fusion *f, int a, int b);
void cluster_add(fusion *f, int cluster, int unit);
void cluster_remove(fusion *f, int cluster, int unit);
/// Puts other units in the place of those of the cluster; their homes are the caller's.
void cluster_restore(fusion *f, int cluster, ints units);
/// Clusters other than those computing the unit that read it, ascending.
ints unit_reading_clusters(fusion *f, int unit);

// ---- fuse_seconds.c
cost cluster_cost(fusion *f, int cluster);
void cluster_note_cost(fusion *f, int cluster, cost c);
/// Of the union of two clusters (b may be -1).
double clusters_seconds(fusion *f, int a, int b);
/// What the union takes at least, by its traffic; 0 where one reads the other. Of hundreds of kernels that
/// read one value most pairs need no further question.
double clusters_least_seconds(fusion *f, int a, int b);

// ---- fuse_order.c
void order_init(fusion *f);
/// What the cluster waits for, or what waits for it, is not what it was.
void order_changed(fusion *f, int cluster);
/// b is now part of a.
void order_merged(fusion *f, int a, int b);
/// Whether the union would be in a cycle through other clusters.
bool clusters_cyclic(fusion *f, int a, int b);
/// True where it is easily seen that the union would be in a cycle.
bool clusters_far_apart(fusion *f, int a, int b);
/// In which they run, each after what it waits for: of those that can, the one that begins first in the
/// program.
ints clusters_in_order(const fusion *f);

// ---- fuse_contract.c
/// 1 + the number of the contract that a cluster is under; 0 none.
int cluster_contract(const fusion *f, int cluster);
/// Makes the nodes under each contract a cluster. False, with diagnostics, when one is no kernel.
bool fuse_contracts(fusion *f, diag_list *diags);

// ---- fuse.c
/// Divides ctx->graph, which is not fused, into clusters; it gets the copies that the pass makes of
/// params and operands. False, with diagnostics: a contract is no kernel.
bool fusion_partition(fusion *f, pass_ctx *ctx);

// ---- in_place.c
/// A result that may be stored where an operand of its kernel is, where nothing reads that afterwards.
typedef struct overwrite {
  int result, operand;  // node ids
  bool taken;
  bool seen;  // of a search
} overwrite;
typedef vec(overwrite) overwrites;

typedef struct in_place {
  const graph *g;  // fused
  arena *a;
  uint8_t *stored, *returned, *after;  // by node id
} in_place;
void in_place_init(in_place *p, const graph *g, arena *a);
/// It is in memory of the program's own.
bool in_place_is_temporary(const in_place *p, const node *n);
/// Appends the pairs of the kernel that has these nodes.
void in_place_pairs(in_place *p, int first, int end, overwrites *pairs);
/// Takes as many pairs of one kernel as it can, each result and each operand once, of those where the operand
/// ends there.
typedef bool in_place_ends(void *ctx, const overwrite *pair);
void in_place_take(overwrites *pairs, in_place_ends *ends, void *ctx);

// ---- kernel_order.c
/// Gives the kernels of a fused graph in an order in which less is in memory at once. False: none that is worth it
/// was found.
bool kernels_in_less_memory(const graph *g, arena *a, int *order);

// ---- fuse_emit.c
/// Rebuilds the graph in kernel order with clones, kernel numbers and, where they are asked for, the
/// decisions, which take most of the time.
void fusion_emit(fusion *f, bool decisions);
