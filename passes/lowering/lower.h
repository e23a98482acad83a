// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside the lowering from fused graphs to tile IR (lower*.c only).
//
// One kernel is built at a time by a kbuild. Values are computed by demand: kb_value(n, sigma)
// gives the tile of node n at coordinates sigma (one index expression over kernel axes per axis
// of n) in the current ranges. Views only rewrite sigma, so they cost nothing; a node used
// through two different views is computed twice. A statement is placed in the outermost scope
// that opens all axes it depends on, so row-level work stays out of the loops.
#pragma once
#include "passes/arena.h"
#include "passes/fusion/group.h"
#include "passes/passes.h"

enum { MAX_KERNEL_AXES = 48, PSEUDO_AXIS = 1 << 16 };

typedef vec(int) int_vec;

/// What the kernel that is built knows of nodes, by node id. One set for all kernels, so that it is
/// not made anew for each: only the nodes and inputs of the group have entries.
typedef struct node_tables {
  tval **done;        // value of a finished reduction, dot, or scan step
  int *local_of;      // on-chip buffer holding its values, -1
  bool *local_ready;  // ... written in an earlier pass
  int *level, *first_pass;  // see row_plan
  bool *along, *saved, *seen;
} node_tables;

/// A buffer holds a node's value as a view shows it: the buffer's coordinates over the node's, in a
/// pool whose axes are graph axes.
typedef struct seen_through {
  const node *view;
  const ix_pool *pool;
  ix index[MAX_AXES];
} seen_through;

typedef struct lower {
  arena *a;
  const graph *g;
  const pass_options *options;
  const target_info *target;
  program *p;
  int number;            // of the kernel that is built, as in `explain`
  int *buffer_of;        // node id -> its first buffer, -1 none
  int_vec *outputs_of;  // node id -> buffers it is stored in, where these are several or outputs
  vec(seen_through *) through;  // by buffer; null, or beyond the end: it holds the node as it is
  ix_pool *inverse_pool;        // of all of these; null: there is none
  map taken;                    // names of params and outputs, once a temporary was named
  map kernels;           // text without the name -> kernel number + 1
  node_tables tables;
  const group *tabled;   // the group with entries in them
} lower;

/// A region under construction: the kernel body, a loop body, or an arm of an if.
typedef struct scope {
  struct scope *outer;
  tregion *region;
  tstmt *stmt;  // the loop that owns the region; appended to outer when it ends
  int depth;
  int axis, extent;  // the axis a loop scope opens, -1 none
  int extent_outside;  // of that axis around the loop
  map memo;          // (node, guarded, sigma) -> tval
} scope;

/// How one access moves through memory with each graph axis (element units).
typedef struct access {
  int buffer;  // program buffer
  bool store;
  double elements;   // estimate of the accesses one walk of the kernel makes
  ix *coef;          // graph axis -> step per coordinate; 0 does not move
  bool *irregular;   // graph axis -> moves, but not by a fixed step
  bool *near;        // graph axis -> neighbours along it are within a few vectors
} access;

/// Walks of a kernel axis go through a part of it.
typedef struct walked_part {
  int axis;
  ix from, below;  // multiples of the walks' steps; below 0: all of the axis
  int64_t steps;
} walked_part;
/// Of `count` equal parts of a size, in whole steps; the last ones may be shorter or empty.
ix kb_part_length(ix_pool *pool, ix size, int64_t count, int64_t step);

typedef struct kbuild {
  lower *l;
  const group *group;
  kernel *k;
  vec(int) arg_buffers;  // program buffer of each kernel argument
  vec(span) sites;
  vec(str) site_axes;
  scope *top, *scope;
  int extent[MAX_KERNEL_AXES];  // current extent of a kernel axis; 0 closed
  ix_pool *pool;                // of sigma: the survey's (axes are graph axes), then k->ix
  ix *sigma;                    // graph axis -> coordinate, 0 not mapped
  int *kaxis;                   // graph axis -> the kernel axis it is part of, -1 none
  tval **done;                  // of l->tables
  int *local_of;
  bool *local_ready;
  const node *added;            // what the kernel adds up in memory; null: nothing
  int guarded;                  // inside a pad: loads are guarded
  map consts;     // (type, value) -> tval
  int npseudo;
  tval *pseudo[MAX_KERNEL_AXES];  // value of indirect coordinate PSEUDO_AXIS + i
  bool unchecked[MAX_KERNEL_AXES];  // likewise: nothing says that it is inside
  walked_part part;
  vec(int) val_depth;             // scope depth by value id
  // from kb_survey
  vec(access) accesses;
  bool *pinned;  // graph axis -> its coordinate itself is used (index, pad)
  const node *unread;  // an operand of the anchor that the kernel does without
  const node *only;    // what it computes instead of what the group stores
  int lanes;     // vector lanes that suit the element types
} kbuild;

/// What the buffer holds as a view shows it; null: nothing, or there is no such buffer.
static inline const seen_through *lower_seen_through(const lower *l, int buffer) {
  return buffer >= 0 && buffer < l->through.len ? l->through.data[buffer] : NULL;
}
/// Known to have no elements.
bool lower_is_empty(const lower *l, const node *n);
/// A further buffer in the shape of the node's, for the kernel that is built.
int lower_add_temporary(lower *l, const node *n, const char *name, dtype t);
/// A further buffer of the kernels of a node: these dimensions and their names.
int lower_add_workspace(lower *l, const node *n, const char *name, dtype t, const ix *dims,
                        const str *names, int rank);
/// Adds a kernel that was built as a step.
void lower_add_step(kbuild *b, str what);
/// The same for `count` chunks of what makes the node's elements: [C, axes of n].
int lower_add_parts(lower *l, const node *n, ix count, dtype t);

// place_temps.c
/// Offsets of temps and the size of the arena, after all steps are there.
void lower_place_temporaries(lower *l);
// place_in_outputs.c
/// Those that it pays for get places in outputs, and are of no more bytes for the arena. items: by buffer.
void lower_place_in_outputs(lower *l, arena_item *items);
/// node_of: by buffer.
memory_peak program_peak(arena *a, const program *p, const int *node_of);

// lower_build.c, lower_value.c, lower_indirect.c: building blocks
void kb_init(kbuild *b, lower *l, const group *grp, const char *label);
node_tables node_tables_new(arena *a, int nodes);
/// By node id, all false: nodes of the group that a walk has seen. Until the next call.
bool *kb_unseen(const kbuild *b);
void kb_begin(kbuild *b);  // opens the top scope, after axes and grid are settled
int kb_axis(kbuild *b, str name, ix size);
/// The size of a graph axis, in the kernel's pool.
ix kb_axis_size(const kbuild *b, int graph_axis);
/// Maps a graph axis to a kernel axis of its own.
int kb_own_axis(kbuild *b, int graph_axis);
/// The same for an axis of even size whose elements are walked two by two: the kernel axis of the
/// pairs, and in *element that of the elements of a pair.
int kb_pair_axis(kbuild *b, int graph_axis, int *element);
/// sigma of n from the graph-wide mapping (identity on what was mapped).
void kb_identity(const kbuild *b, const node *n, ix *sigma);
bool kb_is_identity(const kbuild *b, const node *n, const ix *sigma);
/// Where n at the identity lies in a buffer that it is stored in; gives the number of coordinates.
int kb_place(const kbuild *b, const node *n, int buffer, ix *index);
/// sigma of operand i of n when n is at sigma.
void kb_operand_sigma(kbuild *b, const node *n, int i, const ix *sigma, ix *out);
bool kb_in_group(const kbuild *b, const node *n);
/// The coordinates of n move with the kernel axis.
bool kb_uses(const kbuild *b, const node *n, int kernel_axis);
int kb_arg(kbuild *b, int buffer);
/// The tile of n at sigma in the current ranges.
tval *kb_value(kbuild *b, const node *n, const ix *sigma);
tval *kb_value_here(kbuild *b, const node *n);  // at the identity
/// v stands for it in the ranges that are open.
void kb_set_value(kbuild *b, const node *n, tval *v);
/// The indices of a gather or scatter as a tile inside [0, size), checked unless told not to.
tval *kb_checked_index(kbuild *b, const node *n, tval *raw, ix size);
/// A coordinate that is a value; unchecked: nothing says that it is inside.
ix kb_indirect(kbuild *b, tval *v, bool unchecked);
/// An index expression as a tile of integers.
tval *kb_index_value(kbuild *b, ix e, dtype t);
tval *kb_map(kbuild *b, op o, dtype result, tval *x, tval *y, tval *z);
tval *kb_as_type(kbuild *b, tval *v, dtype t);
tval *kb_const(kbuild *b, dtype t, scalar v);
/// All elements v over these axes at their given extents.
tval *kb_fill(kbuild *b, dtype t, scalar v, const int *axes, const int *extents, int naxes);
/// The same along everything that is open, and `more` of another axis (-1 none).
tval *kb_fill_open(kbuild *b, dtype t, scalar v, int other, int more);
/// A TILE_ACCUM on in[0].
tval *kb_accumulate(kbuild *b, op o, tval *const *in, int nin);
/// v combined over the ranges of the axes. It need not vary along those that are open.
tval *kb_reduce_tile(kbuild *b, op o, tval *v, const int *axes, int naxes);
/// Sums of v over the range of the axis, `lanes` of them: which lane each element is added to is
/// unspecified.
tval *kb_sum_lanes(kbuild *b, tval *v, int axis, int lanes);
/// Loop over axis in steps of extent; inits may be null. Returns the loop statement; the carried
/// values inside are stmt->body->params, the results after kb_end_loop stmt->out.
tstmt *kb_loop(kbuild *b, int axis, int extent, tval *const *inits, int ninits);
/// The loop is within two scalars.
void kb_loop_within(kbuild *b, tstmt *loop, tval *const within[2]);
tval **kb_end_loop(kbuild *b, tval *const *yields, int nyields);
tstmt *kb_if(kbuild *b, tile_cond cond, int axis, tval *on);
void kb_else(kbuild *b, tval *const *yields, int nyields);  // ends the first arm
tval **kb_end_if(kbuild *b, tval *const *yields, int nyields);
/// What the last of the grid tiles along the axis does (Finish in ir/tile.h): nothing of before is known.
void kb_begin_finish(kbuild *b, int axis);
void kb_end_finish(kbuild *b);
int kb_local(kbuild *b, const char *name, dtype t, const int *axes, int naxes);
tval *kb_load_local(kbuild *b, int buf);
/// What the buffer has at these coordinates, in the current ranges.
tval *kb_load_at(kbuild *b, int buf, const ix *index);
/// The node's element(s) of an argument in its shape.
tval *kb_load_arg(kbuild *b, const node *n, int buf);
/// What was stored to the node's (first) buffer, at the identity.
tval *kb_load_buffer(kbuild *b, const node *n);
tstmt *kb_store(kbuild *b, int buf, tval *v, const ix *index, int rank);
void kb_store_local(kbuild *b, int buf, tval *v);
/// Stores the node's value to every buffer it owns.
void kb_store_node(kbuild *b, const node *n, tval *v, bool nontemporal);
/// Element(s) of a kernel argument whose coordinates along some dimensions are index[dim] + at[dim].
typedef struct indirect_place {
  int buf, rank;
  ix at[MAX_AXES];
  tval *index[MAX_AXES];  // null: none
  bool unchecked;  // nothing says that it is inside
} indirect_place;
tval *kb_load_indirect(kbuild *b, const indirect_place *p);
void kb_store_indirect(kbuild *b, const indirect_place *p, tval *v);
/// Adds v to the node's elements, which a step before makes 0 (lower.c).
void kb_add_to_node(kbuild *b, const node *n, tval *v);
/// Where a scatter adds up: kernel arguments that hold the base at first.
typedef struct scatter_sums {
  int sums;
  bool apart;  // not the buffer of the node, and perhaps of a wider type
  int lost;    // what additions rounded off; -1: nobody keeps it
} scatter_sums;
/// n is a scatter_add: adds the update at the index (checked).
void kb_add_at(kbuild *b, const node *n, tval *index, tval *update, const scatter_sums *s);
/// Where n is a scatter_add along an axis that has elements: what one argument in its shape has at the index
/// (checked) goes to the others, of one type.
void kb_copy_at(kbuild *b, const node *n, tval *index, int from, const int *to, int nto);
void kb_append(kbuild *b, scope *s, tstmt *st);

// lower_axes.c: what the kernel touches, which axes collapse, where the lanes run. Axes are
// graph axes unless said.
/// Records every load and store of the group, and makes the kernel's arguments.
void kb_survey(kbuild *b);
/// Makes kernel axes for the given axes (outermost first): adjacent ones collapse where every
/// access walks them as one, 1-sized ones vanish. Returns the number of kernel axes in out.
int kb_collapse(kbuild *b, const int *axes, int n, int *out);
/// How many elements axes[i] has with those around it that collapse with it.
int64_t kb_run(const kbuild *b, const int *axes, int n, int i);
/// One kernel axis through all positions of the given axes, however accesses walk them.
int kb_merge_axes(kbuild *b, const int *axes, int n);
/// The axis of `axes` whose lanes make the cheapest memory accesses; -1 when n is 0.
int kb_best_lanes(const kbuild *b, const int *axes, int n);
/// An axis other than `lanes` along which some big access has unit stride; -1 none.
int kb_other_unit_axis(const kbuild *b, int lanes, const int *axes, int n);
int64_t kb_estimate(const kbuild *b, int axis);
int64_t kb_kernel_size(const kbuild *b, int kernel_axis);  // estimate
bool kb_unit_stride(const access *m, const kbuild *b, int axis);
/// Whether stores to this buffer should bypass the caches: much larger than they are.
bool kb_nontemporal(const kbuild *b, int buffer);
int64_t kb_buffer_bytes(const kbuild *b, int buffer);  // estimate
/// Prefetches into the innermost scope what the loads of `loads` read `steps` further along the
/// kernel axis, from buffers of more than `larger_than` bytes.
void kb_prefetch_next(kbuild *b, const tregion *loads, int kernel_axis, int64_t steps, int level,
                      int64_t larger_than);
/// The same for what the stores of `stores` write later; not for those that bypass the caches.
void kb_prefetch_stores(kbuild *b, const tregion *stores, int kernel_axis, int64_t steps, int level,
                        int64_t larger_than);

// schedule.c: sizes of tiles
/// An integer from --schedule "key=value,...", or `otherwise`. What is near is an alternative.
int64_t schedule_option(const lower *l, const char *key, int64_t otherwise);
/// The same, where alternatives are offered by the caller.
int64_t schedule_given(const lower *l, const char *key, int64_t otherwise);
/// The value that a key has in the end, where that is not what an option gave.
void schedule_settle(const lower *l, const char *key, int64_t value);
/// How many values are settled; forgets those beyond such a number: a form was tried that does not apply.
int schedule_settled(const lower *l);
void schedule_unsettle(const lower *l, int count);
void schedule_offer(const lower *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
/// The same, down to a power of two.
int schedule_power(const lower *l, const char *key, int otherwise);
/// Grid extents for kernel axes (outermost first) so that one grid tile has about `elements`
/// elements; extents are multiples of step[i].
void schedule_grid(kbuild *b, const int *axes, const int *step, int n, int64_t elements);

// one lowering per kind of group
void lower_map_group(kbuild *b);
void lower_reduce_group(kbuild *b);
void lower_contraction_group(kbuild *b);
void lower_scan_group(kbuild *b);
void lower_scatter_group(kbuild *b);
void lower_nest_group(kbuild *b);
