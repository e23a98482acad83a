// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR to NVPTX: what the files of this folder share.
//
// A block runs one grid tile. A tile lives in registers of the block's threads, where the layout
// puts its elements (ir/tile.h, "Threads"):
//
//   f32[N:8, T:1024], layout { N:8 = t8@32, T:1024 = r8 t32@1 r4 }
//     thread t, register 8 * j + i   ->   row t / 32, column 256 * j + 8 * (t % 32) + i
//
// Registers of a value are numbered with the last axis fastest, and along an axis with the
// innermost digit fastest. A register that is known to hold nothing valid is null.
//
// Coordinates are index expressions over *roots*: values (loop counters, parts of the thread
// number) that have an axis number in the generator's own pool.
#pragma once
#include "codegen/abi.h"
#include "codegen/emit.h"
#include "codegen/nvptx/host.h"
#include "ir/tile.h"
#include "ir/units.h"

typedef LLVMValueRef lval;

/// The pool's axis stands for value / scale, which is exact; value is an i32 or i64.
typedef struct root {
  lval value;
  int64_t scale;
} root;

/// How an axis at an extent lies on the threads.
typedef struct spread {
  int axis, extent;
  int nregs;
  int *pos;       // by register: position relative to the thread's first
  int run;        // registers i * run ... i * run + run - 1 are neighbours along the axis
  ix first;       // the thread's first position, over roots
  unsigned threads;  // bits of the thread number that are digits of it
  const axis_layout *layout;  // null: all in registers
  // without the digits of the cluster's blocks: where the block keeps it on chip
  int *pos_local;
  ix first_local;
} spread;

/// The current range of an axis.
typedef struct range {
  struct range *outer;
  int axis, extent;
  ix base;           // nv_coordinate of position 0, over roots
  bool whole;        // all positions are valid
  lval index, count;  // of the step that opened it and of how many, i32; null: one step
  bool early;         // base is known to be in [least, most], which the expression does not show
  int64_t least, most;
  lval hidden;       // a zero that seems to change from step to step of a loop inside, or null
} range;

typedef struct local_place {
  int64_t offset;         // bytes from the start of shared memory
  int64_t bytes;          // of one copy
  int64_t dims[MAX_AXES];
  int64_t strides[MAX_AXES];  // elements; of the row-major form, or of rows of a panel
  int64_t panel_stride;
  ix base[MAX_AXES];      // nv_coordinate of the first element
  lval copy;              // byte offset of the current copy of a ring, i32; null: one copy
  bool ragged;            // tiles reach beyond the end: their lanes there have no place
  bool shared;            // threads read what others write: on-chip buffers, and see exchange.c
  bool written, read;     // since the last nv_barrier
} local_place;

/// A value computed from a pool expression, known where `depth` scopes are open.
typedef struct memo {
  ix e;
  lval value;
} memo;

/// Registers of a checked value as they are outside of the region of the check.
typedef struct checked {
  int id;
  lval *regs;
} checked;

typedef struct pipe pipe;      // pipeline.h
typedef struct ring ring;      // ring.h
typedef struct flight flight;  // pending.h
enum { CONSUMERS_BARRIER = 1 };  // those after it: a warpgroup each

/// Axes of what is copied at a time, and how much along each.
typedef struct box_extents {
  int n, axes[MAX_AXES];
  int64_t extents[MAX_AXES];
} box_extents;

/// A load or store through a tensor map, innermost dimension first.
typedef struct map_walk {
  int rank;
  ix at[5];       // coordinates, over the kernel's axes
  int axis[5];    // that moves it by one; -1: none of the box's
  map_axes over;  // what the map is made of, where not of the argument's dimensions
} map_walk;

/// A store that adds rows of an accumulator through shared memory, see adds.c.
typedef struct row_adds {
  const tstmt *store;
  int m, n;     // axes of the value: rows and columns
  int columns;  // of a warpgroup
} row_adds;

/// A store through shared memory, see writeback.c.
typedef struct writeback {
  const tstmt *store;
  int m, n;     // axes of the value: rows and columns of the accumulator
  bool engine;  // by the copy engine, else by warps
  map_walk walk;
  int map;      // number in ngen.maps
} writeback;

/// A value that is made where it is used, see lazy.c.
typedef struct lazy {
  const tregion *home;  // where it is defined
  bool pinned;          // some user wants all registers at once
  bool leaves;          // some user is in another region
  int users;            // statements
  bool kept;            // over reductions
  const tstmt *def;     // null: all registers are there
  bool forgotten;       // after a reduction of rows
  bool passing;         // never remembered
  bool counted;         // in kept_words
  lval *words;          // loads: the registers that are read when it has been forgotten
  struct access *from;  // loads from chip
} lazy;

/// What a value is used for: where that is all, it need not be as exact as its type.
enum {
  USE_NARROWED = 1,  // cast to a 16-bit float
  USE_SUMMED = 2,    // added up
  USE_EITHER = 4,    // one or the other
};

/// What a reduction needs to combine over the blocks of a cluster, see cluster.c.
typedef struct exchange {
  const tstmt *reduction;
  int words;        // 8 bytes each, from every block
  int64_t offset;   // in shared memory
  lval count;       // where the exchanges so far are counted
} exchange;

/// Generates one kernel.
typedef struct ngen {
  lval far, pairs, alone;  // resident blocks that take tiles in pairs: it is the second of one; pairs
                           // along the axis; the first is the second (i1, i32, i1); null: they do not
  emit *e;
  arena *arena;
  const program *program;
  const kernel *k;
  lval function;
  ix_pool ix;
  int first_root;
  vec(root) roots;  // by axis number - first_root
  vec(memo) memos;  // a stack: scopes drop what they added
  vec(int) memo_of;  // by expression: 1 + position in memos, or 0
  vec(spread *) spreads[MOST_LAYOUTS];  // by layout
  int layout;      // in force
  range **ranges;  // by axis; null: closed
  lval **regs;     // by value id
  vec(checked) checked;  // a stack: regions give back what checks in them replaced
  int *at;         // by axis: register along it, for nv_at
  lval *symbols, *bufs;
  lval error, site, tiles, smem;
  lval tickets;    // of groups of tiles that finish together, see finish.c; null: none do
  lval tid;        // of the grid tile: numbered through a cluster
  lval tid_local;  // of the block
  local_place *locals;
  lazy *lazy;        // by value id
  const tregion *planned;  // whose values were last asked whether they are kept
  int guards;        // open
  int reductions;    // of rows, made so far
  lval hidden_zero;  // i32; in a loop, one that seems to change from step to step
  bool in_loop;
  int kept_words;    // registers of rows that are kept
  unsigned *uses;       // by value id: USE_*, what all uses are
  bool narrow_results;  // all that is stored is 16-bit floats
  int64_t shared_top, shared_peak;
  vec(exchange) exchanges;  // reductions over the blocks of a cluster
  int64_t scratch_bytes;   // of one half; reductions alternate between two halves
  int scratch_half;
  bool scratch_used;       // since the last nv_barrier that all loops agree on
  // dots on tensor cores, see tensor.c
  const tstmt **in_place;  // by value: the load whose buffer tensor cores read
  bool *unread;            // by value: nothing else reads it, so that it is not made
  const tval **rows_from;  // by value: the 16-bit value that rows in registers are a cast of
  lval **row_words;        // by 16-bit value: its fragments, where they are made already
  const tstmt **definition;  // by value
  vec(flight *) flights;     // under way, in the order of their issue
  flight **in_flight;        // by value: the product that writes its registers
  lval warp;               // of the block, i32
  // loops with stages, see pipeline.h
  vec(pipe *) pipes;
  vec(ring *) rings;       // producers only
  bool specialised;        // producer warps copy, the others compute
  bool producing;          // the code being made is the producers'
  bool filling;            // stage loops copy asynchronously
  vec(tcf_map_info) maps;
  vec(map_axes) map_axes;  // of each
  vec(row_adds) adds;
  int64_t adds_place, adds_bytes;  // in shared memory
  vec(writeback) writebacks;
  int staging_blocks;      // of a warpgroup
  int64_t staging, staging_bytes;
  vec(const tstmt *) waiting;  // for masks, see mask.c
  bool fence_locals;       // asynchronous instructions read on-chip buffers
  bool zero_locals;        // invalid lanes of what is stored to on-chip buffers are zeros, where they
                           // have a place
} ngen;

/// The registers of a tile.
typedef struct shape {
  int naxes;
  int axes[MAX_AXES];
  const spread *on[MAX_AXES];
  int nregs;
} shape;

// ---- place.c: layouts, roots, expressions
void ngen_open(ngen *g);
const spread *spread_of(ngen *g, int axis, int extent);
shape nv_shape_of(ngen *g, const tval *t);
shape nv_shape_of_axes(ngen *g, const int *axes, const int *extents, int naxes);
/// Sets g->at to register r of the shape.
void nv_enter(ngen *g, const shape *s, int r);
lval *nv_define(ngen *g, const tval *t);
/// The register of t at g->at; null when nothing valid is there.
lval nv_at(ngen *g, const tval *t);
ix nv_root(ngen *g, lval value, int64_t scale, ix size);
/// i32 where the range of the expression is known to fit, else i64.
lval nv_ix(ngen *g, ix e);
lval nv_ix64(ngen *g, ix e);
lval nv_ix32(ngen *g, ix e);
/// Code that follows is in a block of its own: what is memoised in it is forgotten at the end.
int scope_open(ngen *g);
void scope_close(ngen *g, int mark);
/// Coordinate of the register at g->at along an axis.
ix nv_coordinate(ngen *g, int axis);
/// The same among the elements that the block itself has.
ix nv_local_coordinate(ngen *g, int axis);
/// Blocks that an axis at an extent is spread over.
int nv_blocks_along(const ngen *g, int axis, int extent);
/// The bits of the thread number that say which block of the cluster it is in.
unsigned nv_bits_of_blocks(const ngen *g);
/// False when the register at g->at along the axis is known to be invalid; else *ok is narrowed
/// by the test to make (null: valid).
bool nv_axis_alive(ngen *g, int axis, int extent, lval *ok);
bool nv_alive(ngen *g, const shape *s, lval *ok);
/// Thread bits that the shape's digits cover.
unsigned shape_threads(const shape *s);
/// Whether this thread is the one that acts for a tile lying on `threads`; null: all are.
lval is_first_replica(ngen *g, unsigned threads);

lval i32_of(ngen *g, int64_t v);
lval i64_of(ngen *g, int64_t v);
lval nv_both(ngen *g, lval a, lval b);  // either may be null: true
lval nv_blend(ngen *g, lval ok, lval yes, lval no);
LLVMBasicBlockRef nv_block(ngen *g);
/// Runs what follows where ok; null: always. Closed by nv_guard_end.
typedef struct guard {
  LLVMBasicBlockRef after;
  int mark;
} guard;
guard nv_guard(ngen *g, lval ok);
void nv_guard_end(ngen *g, guard w);

// ---- values.c
void nv_const(ngen *g, const tstmt *s);
void nv_size(ngen *g, const tstmt *s);
void nv_index(ngen *g, const tstmt *s);
void nv_map(ngen *g, const tstmt *s);

// ---- memory.c
lval nv_zero(ngen *g, dtype t);
void nv_load(ngen *g, const tstmt *s);
void nv_store(ngen *g, const tstmt *s);

// ---- shared.c
void nv_local(ngen *g, const tstmt *s);
/// Bytes of one copy of a local, and how its elements lie.
void local_layout(ngen *g, int buf, local_place *out);
/// The buffer holds what its declaration says of the ranges as they are.
void local_enter_step(ngen *g, int buf);
/// Reserves shared memory for so many copies of a local.
void local_place_at_top(ngen *g, int buf, int copies);
/// At the end of a region: what was placed in it since shared_top was `top` is free.
void shared_release(ngen *g, int64_t top);
/// Puts a barrier where this access to a buffer needs one.
void nv_before_access(ngen *g, int buf, bool store);
/// A nv_barrier of the threads that run statements; all that was written before is seen after.
void nv_barrier(ngen *g);
/// Of the element at these coordinates.
lval nv_local_pointer(ngen *g, int buf, const ix *coords);
/// Of the first element of the current copy.
lval nv_local_start(ngen *g, int buf);

// ---- exchange.c
/// Finds the arguments through which threads pass values to one another.
void exchange_open(ngen *g);

// ---- combine.c
void nv_accum(ngen *g, const tstmt *s);
void nv_reduce(ngen *g, const tstmt *s);
void nv_arg(ngen *g, const tstmt *s);
void nv_arg_reduce(ngen *g, const tstmt *s);
void nv_dot(ngen *g, const tstmt *s);
lval nv_condition(ngen *g, const tstmt *s);
// finish.c
/// i1: of the blocks that finish together, this one is the last.
lval nv_finished(ngen *g, const tstmt *s);
void nv_check(ngen *g, const tstmt *s);

/// The value as an i64, and back.
lval nv_to_word(ngen *g, dtype t, lval x);
lval nv_from_word(ngen *g, dtype t, lval word);

// ---- cluster.c
/// Before the body is made: room for the exchanges of its reductions, and that all blocks are ready.
void cluster_open(ngen *g);
/// After the body: no block ends while others send to it.
void cluster_close(ngen *g);
/// Words of this reduction (i64, alike in all threads of a block) from the blocks whose numbers
/// differ in the bits of mask, in their order: out[i] with words of the first, then the second, ...
void cluster_exchange(ngen *g, const tstmt *reduction, const lval *words, int n, unsigned mask,
                      lval *out);
/// The i-th of the numbers that differ from 0 in the bits of mask only.
unsigned nv_deposit(unsigned mask, unsigned i);

// ---- tensor.c
void tensor_open(ngen *g);
/// The expression at position 0 of all ranges.
ix nv_at_bases(ngen *g, ix e);
bool region_has_tensor_dot(const tregion *r, dot_unit unit);
/// A statement whose result only dots on tensor cores use, and read in place.
bool tensor_reads_in_place(ngen *g, const tstmt *s);
void tensor_dot(ngen *g, const tstmt *s);
/// The threads load operands from shared memory, not the unit.
bool tensor_reads_plainly(ngen *g, const tstmt *dot);
/// Where the warpgroup's rows or columns of wgmma begin; null: at 0.
lval tensor_side_first(ngen *g, const spread *s, bool rows);
/// The 16-bit value whose registers are the dot's rows; null: its rows lie on chip.
const tval *tensor_rows_from(const ngen *g, const tstmt *dot);
/// Its fragments in the ranges that are open, zero where it is invalid.
lval *tensor_row_words(ngen *g, const tstmt *dot, int *n);
/// The fragments of the value are these; null: made where a dot needs them.
void tensor_give_rows(ngen *g, const tval *rows, lval *words);

// ---- copy.c
/// The body of a stage loop that is one load and one store, as asynchronous copies; false: it is
/// not, or the pieces are too small. ask: makes no code.
bool nv_copy_async(ngen *g, const tregion *r, bool ask);

/// The map's register at g->at; null: unknown.
lval nv_map_at(ngen *g, const tstmt *s);
/// Casts from f32 to 16-bit floats, which go in pairs.
bool nv_narrows(const tstmt *s);
bool nv_narrow(ngen *g, const tstmt *s, const lval x[2], lval out[2]);

// ---- lazy.c
void lazy_open(ngen *g);
/// The statement is executed by the users of its result.
bool lazy_defer(ngen *g, const tstmt *s, const tregion *r);
/// After a statement.
void lazy_after(ngen *g, const tstmt *s);
/// Register r of t at g->at, which has not been made; null: nothing valid is there.
lval lazy_at(ngen *g, const tval *t, int r);
/// A load from chip whose buffer may be read once more by statements after it.
bool lazy_reads_again(ngen *g, const tstmt *load);
/// Registers that a thread gets by with, so that more blocks fit; 0: nothing was forgotten.
int lazy_registers(const ngen *g);

// ---- mask.c
/// A selection by coordinates that whole tiles mostly have no need of.
bool nv_is_mask(ngen *g, const tstmt *s);
/// All threads take the same way: around the selects where the condition holds in the whole tile.
void nv_mask(ngen *g, const tstmt *s);
/// Statement `at` of the region is made by the mask whose condition alone needs it; `mask`: by this one,
/// which is only asked.
bool nv_waits_for_mask(ngen *g, const tregion *r, int at, const tstmt *mask);
/// A comparison of coordinates that the bounds of the ranges decide at g->at; null: they do not.
lval nv_known_comparison(ngen *g, const tstmt *s);
/// f32 of the difference of two coordinates at g->at, by additions: bases of ranges are multiples of
/// powers of two and so exact in f32, as are positions in a tile; the last addition rounds as the cast
/// does. Null: it is none, or a base may not be exact.
lval nv_distance(ngen *g, const tstmt *s);

// ---- kernel.c
void nv_region(ngen *g, const tregion *r);
void nv_statement(ngen *g, const tstmt *s);
/// Statements [from, to) of it.
void nv_statements(ngen *g, const tregion *r, int from, int to);
// ---- loop.c
void nv_loop(ngen *g, const tstmt *s);
void nv_if(ngen *g, const tstmt *s);
/// Statements on tensor cores, or filling ahead: their code is not made twice.
bool region_has_dot(const tregion *r);
/// What r reads and writes counts as accessed: for the start of a loop body.
void mark_accesses(ngen *g, const tregion *r);
/// What has been accessed since the last barrier, by buffer: for code that may be gone around.
uint8_t *accesses_now(ngen *g);
/// It is this alone.
void accesses_set(ngen *g, const uint8_t *accesses);
/// It is this as well: where two ways meet.
void accesses_join(ngen *g, const uint8_t *accesses);

/// Makes the kernel function and says how to start it.
void nv_kernel(emit *e, arena *a, const program *p, const kernel *k, tcf_kernel_info *info,
                kernel_maps *maps);
