// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR to vector LLVM IR: what the files of this folder share.
//
// A tile lives in SSA registers. Lanes run along the kernel's vector axis in vectors of vec_lanes;
// the other axes are unrolled, the last of them fastest:
//
//   f32[M:2, N:32] with vec N:16   ->   reg[0] = row 0, lanes 0..15   reg[1] = row 0, lanes 16..31
//                                       reg[2] = row 1, ...           reg[3]
//
// A tile without the vector axis has one scalar per row. A register that holds nothing valid
// (a row known to be beyond the size of its axis) is null; statements skip it.
//
// Coordinates are index expressions over *roots*: LLVM values (loop counters, clamped rows) that
// have an axis number in the generator's own pool. Each expression is emitted once, at the level
// (function, grid, loop) where the roots it uses exist, so loop-invariant code is outside loops
// without an optimisation pass.
#pragma once
#include "codegen/codegen.h"
#include "codegen/emit.h"
#include "ir/tile.h"

typedef LLVMValueRef lval;

/// Where hoisted code goes: before the terminator of the anchor block. Level 0 is the function.
typedef struct level {
  LLVMBasicBlockRef anchor;
} level;

/// An i64 known at `level`; the pool's axis stands for value / scale, which is exact.
typedef struct root {
  lval value;
  int64_t scale;
  int level;
} root;

typedef enum valid_kind {
  VALID_ALL,    // the whole extent
  VALID_FIRST,  // the first `count`
  VALID_ASK,    // the first `limit`, a value > 0
} valid_kind;

/// The current range of an axis.
typedef struct range {
  struct range *outer;
  int axis, extent;
  ix base;             // over roots
  int level;           // where base and limit exist
  valid_kind valid;
  int64_t count;
  lval limit;          // i64
  int64_t multiple;    // known divisor of limit
  bool whole_too;      // VALID_ASK: code for whole steps too, not only for the last, partial one
  // for first and last: this step starts `ahead` after `position`, counted from the loop's start
  lval position, end;
  int64_t ahead;
  bool reverse;
  lval *masks;         // VALID_ASK: per vector, made on demand
  lval limits;         // and what they compare with: the limit in each lane
  ix *clamped;         // VALID_ASK: min(row, limit - 1) as a root, made on demand
  lval *row_valid;     // VALID_ASK: row < limit
} range;

typedef struct memo {
  lval value;
  int level;  // + 1; 0 unknown
} memo;

/// What lies behind the last valid lane of an on-chip buffer and may be touched.
typedef enum local_room {
  ROOM_NONE,
  ROOM_VECTOR,  // the rest of a vector whose first lane is valid
  ROOM_STEP,    // all vectors of a step
} local_room;

typedef struct local_place {
  ix offset;             // in bytes from the worker's scratch
  bool over_range[MAX_AXES];
  ix base[MAX_AXES];     // coordinate of the first element
  ix strides[MAX_AXES];  // in elements, of the row-major form
  ix panel_stride;
} local_place;

typedef vec(ix) ix_list;

/// Generates one function: a kernel's task, or the program's entry (k is null then).
typedef vec(const tstmt *) constants;

typedef struct kgen {
  emit *e;
  arena *arena;
  const program *program;
  const kernel *k;
  int vec_axis;   // lanes run along it here; -1: scalar code
  int lanes;      // of a vector
  int lane_axis;  // the pool's axis for the lane of a vector, 0 <= lane < lanes
  ix_pool ix;     // a copy of the kernel's (the program's): over axes, lane_axis and roots
  int first_root;
  vec(root) roots;  // by axis number - first_root
  vec(memo) memos;  // by expression
  map pointers;     // (buffer, expression) -> address
  map splats;       // (scalar, block) -> vector
  vec(level) levels;
  LLVMBuilderRef hoist;
  lval function;
  range **ranges;  // by axis: innermost, null when closed
  lval **regs;     // by value id
  int *coord;      // by axis: row within the range
  ix *place;       // by axis: scratch for substitutions
  lval *symbols;   // by program symbol; null: not read yet
  lval symbol_words;  // where that reads them: words of 8 bytes
  lval frame, site_base, scratch;
  constants constants;  // that are read; constants.c
  lval constant_words;
  lval *bufs;      // by buffer: address of element 0; null of an argument: buffer_base loads it
  local_place *locals;
  ix scratch_top;  // bytes in use by the locals declared so far
  ix_list peaks;   // every value of scratch_top, for the size function
  // pairs.c, by value id
  const tval **narrow;  // the bf16 value that this operand of a dot of pairs is a cast of
  bool *unread;         // nothing else reads the cast
  int *pair_axis;       // of a load that is only read as pairs along it; -1 otherwise
  lval **pairs;         // registers of pairs, numbered like regs; null where there are none
  int tails;       // partial steps around the code being made
  bool nontemporal;
} kgen;

/// The shape of a tile in registers.
typedef struct shape {
  int naxes;  // without the vector axis
  int axes[MAX_AXES], extents[MAX_AXES];
  int rows;
  int vecs;  // per row; 0: scalars
  int vec_extent;
} shape;

// ---- tiles.c: registers
shape tile_shape(const kgen *g, const tval *t);
shape shape_of_axes(const kgen *g, const int *axes, const int *extents, int naxes);
int shape_regs(const shape *s);
/// Sets g->coord to the row.
void shape_enter(kgen *g, const shape *s, int row);
/// Fresh (null) registers for a value.
lval *tile_define(kgen *g, const tval *t);
/// Its number, and whether it is a vector, of the register of t at g->coord, vector v.
int reg_number(const kgen *g, const tval *t, int v, bool *vector);
/// The register of t at g->coord, vector v, null when dead; splat to a vector when asked to.
lval tile_at(kgen *g, const tval *t, int v, bool vector);
lval splat(kgen *g, lval scalar);
lval const_reg(kgen *g, dtype t, scalar v, int lanes);
LLVMTypeRef reg_type(kgen *g, const tval *t);
lval reg_or_poison(kgen *g, const tval *t, lval reg);
void gen_map(kgen *g, const tstmt *s);
void gen_const(kgen *g, const tstmt *s);
void gen_size(kgen *g, const tstmt *s);
void gen_index(kgen *g, const tstmt *s);

// ---- ranges.c: ranges and validity
range *range_open(kgen *g, int axis, int extent, ix base);
void range_close(kgen *g, range *r);
/// False when row i of an axis with this extent is known to be invalid; *ok is narrowed by the
/// test to make (null: valid).
bool row_alive(kgen *g, int axis, int extent, int i, lval *ok);
/// The same for all axes of the shape at g->coord.
bool rows_alive(kgen *g, const shape *s, lval *ok);
/// The same for lanes [v * lanes, ...) of an axis; *mask is null when all are valid.
bool lanes_alive(kgen *g, int axis, int extent, int v, lval *mask);
/// Both, for register v of the row at g->coord: *valid is null, an i1 or a vector of i1.
bool reg_alive(kgen *g, const shape *s, int v, lval *valid);
/// Register v of the row at g->coord holds nothing valid.
bool reg_dead(kgen *g, const shape *s, int v);
/// yes where valid, else no.
lval blend(kgen *g, lval valid, lval yes, lval no);
/// base + i, with invalid rows sent to the last valid one.
ix row_coordinate(kgen *g, int axis, int i, bool clamp);

// ---- address.c: expressions to code
/// Starts (and ends) generating a function: entry block, level 0, builders, index pool.
kgen kgen_open(emit *e, arena *a, const program *p, const kernel *k, lval function);
void kgen_close(kgen *g);
/// Opens a level: what is hoisted to it goes before the code that follows.
void level_open(kgen *g);
void level_open_at(kgen *g, LLVMBasicBlockRef anchor);
void level_close(kgen *g);
/// The hoisting builder, placed in a level; until the next call that emits an expression.
LLVMBuilderRef level_builder(kgen *g, int at);
ix root_new(kgen *g, lval value, int64_t scale, int level, ix size);
lval ix_value(kgen *g, ix e);
/// Per lane, at the current position: a vector of i64, or of i32 with narrow.
lval ix_lanes(kgen *g, ix e, bool narrow);
bool ix_fits_i32(kgen *g, ix e);
/// Address of element e of a buffer; e is over roots.
lval address(kgen *g, int buf, ix e);
/// The address of element 0, for use where the builder is.
lval buffer_base(kgen *g, int buf);
LLVMTypeRef memory_type(kgen *g, dtype t, int lanes);
LLVMBasicBlockRef block_new(kgen *g);
lval int64(kgen *g, int64_t v);

// ---- memory.c, transpose.c: loads and stores
typedef struct access {
  int buf;
  dtype type;
  ix offset;             // elements, over kernel axes
  ix coords[MAX_AXES];   // per dimension
  ix dims[MAX_AXES];
  int rank;
  local_room room;
} access;
access access_of(kgen *g, const tstmt *s);
/// e at g->coord: axes replaced by roots, `along` (-1: none) by base + block * lanes + lane.
ix placed(kgen *g, ix e, int along, int block, bool clamp);
/// coef * lane + rest.
bool lane_affine(kgen *g, ix e, ix *coef, ix *rest);
/// The axes of a store: those its index uses, by the current ranges, and those of its value and
/// indirect coordinates.
shape store_shape(kgen *g, const tstmt *s, const access *a);
/// The mask of vector v, or none when the invalid lanes may be touched.
lval needed_mask(const access *a, int v, lval mask);
lval from_memory(kgen *g, dtype t, lval x);
lval to_memory(kgen *g, dtype t, lval x);
/// Zeros outside the mask.
/// rest: what the other lanes hold; null: zero.
lval load_masked(kgen *g, LLVMTypeRef type, lval pointer, lval mask, int alignment, lval rest);
lval load_vector(kgen *g, dtype t, lval pointer, lval mask);
void store_vector(kgen *g, dtype t, lval x, lval pointer, lval mask);
void gen_load(kgen *g, const tstmt *s);
void gen_store(kgen *g, const tstmt *s);
void gen_prefetch(kgen *g, const tstmt *s);
/// The CPU has masked moves of such elements.
bool moves_masked(const kgen *g, int bytes);
/// pattern.c: lane i is at base + offset[i], in so many vectors from base on.
typedef struct lane_pattern {
  ix base;
  int offset[MOST_VEC_LANES], chunks;
} lane_pattern;
/// Null where the distances of lanes are not known, or large.
lane_pattern *pattern_of(kgen *g, ix e);
/// Null, false: which lanes are valid is not known here, or two are at one place.
lval pattern_load(kgen *g, dtype t, int buf, const lane_pattern *p, lval mask);
bool pattern_store(kgen *g, dtype t, lval x, int buf, const lane_pattern *p, lval mask);
/// True when the access was done by loading (storing) vectors along another axis and transposing
/// them in registers.
bool gen_load_transposed(kgen *g, const tstmt *s, const access *a);
bool gen_store_transposed(kgen *g, const tstmt *s, const access *a);
/// The same for pairs along `axis`, which are 32-bit elements here.
bool gen_load_pairs_transposed(kgen *g, const tstmt *s, const access *a, int axis);
/// Runs the code that follows only where `ok`; close with guard_end. Null: always.
LLVMBasicBlockRef guard_begin(kgen *g, lval ok);
void guard_end(kgen *g, LLVMBasicBlockRef after);

// ---- combine.c: reductions
void gen_accum(kgen *g, const tstmt *s);
void gen_reduce(kgen *g, const tstmt *s);
void gen_arg(kgen *g, const tstmt *s);
void gen_arg_reduce(kgen *g, const tstmt *s);
void gen_dot(kgen *g, const tstmt *s);
/// The i1 of an any/all condition.
lval gen_condition(kgen *g, const tstmt *s);
void gen_check(kgen *g, const tstmt *s);

// ---- pairs.c: bf16 pairs
/// Finds out which values are read as pairs.
void pairs_open(kgen *g);
/// True when the statement was done with pairs; of a dot, `out` holds the sums and is updated.
bool gen_load_pairs(kgen *g, const tstmt *s, const access *a);
bool gen_store_pairs(kgen *g, const tstmt *s, const access *a);
bool gen_dot_pairs(kgen *g, const tstmt *s, const shape *inner, lval *out);

// ---- local.c
void gen_local(kgen *g, const tstmt *s);
ix local_offset(kgen *g, int buf, const ix *coords);
local_room local_room_of(const kgen *g, const tstmt *s);

// ---- loop.c, kernel.c
void gen_loop(kgen *g, const tstmt *s);
void gen_region(kgen *g, const tregion *r);
/// Some statement works on whole tiles of the range, not only inside loops that walk it: the last,
/// partial step then deserves code of its own.
bool region_works_along(const kernel *k, const tregion *r, int axis, int extent);
/// The code of a partial step serves whole steps too: contractions (and copies for them) are long,
/// and pay for masks and tests once per tile.
bool one_version(const kgen *g, const tregion *r, int axis);
/// It has so many statements that none should be made twice.
bool program_is_long(const program *p);
int64_t common_divisor(int64_t a, int64_t b);
/// Words of the argument block of a kernel.
enum { ARG_FRAME, ARG_SITE, ARG_SCRATCH, ARG_SYMBOLS };
/// Makes the task function of a kernel; what its locals need is appended to *peaks, as
/// expressions of the pool `sizes`.
lval gen_kernel(emit *e, arena *a, const program *p, const kernel *k, bool reads_constants,
                ix_pool *sizes, ix_list *peaks);

// ---- constants.c
/// By kernel: the first one that differs from it in constants alone, maybe itself; -1: none.
int *kernels_like(arena *a, const program *p);
/// Where the block has the constants of a step's kernel.
int constants_word(const program *p);
/// They themselves.
lval constants_table(emit *e, arena *a, const kernel *k);
void constants_open(kgen *g);
/// The constant's value where the kernel reads it; null: it does not.
lval constant_read(kgen *g, const tstmt *s);

// ---- entry.c
/// How the kernels of a program are run: by the task functions here, or by frame->launch.
typedef struct entry_kernels {
  const lval *tasks;         // by kernel
  const lval *constants;     // by kernel: those that its task reads, or null; null: none does
  const ix_pool *sizes;      // of peaks
  const ix_list *peaks;      // scratch sizes of all kernels
  const struct tcf_kernel_info *infos;  // by kernel; null: tasks
  const struct kernel_maps *maps;       // by kernel; null: of the arguments' dimensions
} entry_kernels;
/// The exported functions of codegen/abi.h.
void gen_entry(emit *e, arena *a, const program *p, const entry_kernels *kernels);

// ---- words.c
/// The call has so many pointers that its arguments are read as words of memory; f.run then is the
/// function with pointers and symbols as arrays.
bool call_takes_words(const program *p);
/// A function that takes any arguments, and its first n as words.
lval words_function(emit *e, arena *a, str name);
lval words_of_arguments(kgen *g, int n);

// ---- library.c
/// The device's side of a library.
typedef struct library_images {
  lval kernels;  // the table
  code ptx, cubin;
} library_images;
/// Makes what gen_entry made private and exports the functions of codegen/library.h instead.
/// images null: kernels are tasks.
void gen_library(emit *e, arena *a, const program *p, const library_spec *spec,
                 const library_images *images);

// ---- module.c
lval function_new(emit *e, const char *name, LLVMTypeRef type, bool exported);
/// A global constant; private when not exported.
lval constant_new(emit *e, str name, lval value, bool exported, unsigned alignment);
/// With a zero byte behind them.
lval constant_bytes(emit *e, code bytes);
/// The address of a text; null for a null one.
lval constant_text(emit *e, const char *text);
/// Fills the open module with the functions of p.
typedef void module_fill(emit *e, const program *p, void *ctx);
/// codegen_cpu with another filling.
bool module_compile(arena *a, const program *p, const codegen_options *options, module_fill *fill,
                    void *ctx, code *out, str *error);
