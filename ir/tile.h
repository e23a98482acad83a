// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR: a program is a list of kernel calls over buffers; a kernel is a small structured
// program over tiles. Both backends lower this and nothing else; the interpreter runs it.
//
//   program @softmax {
//     buffer %x   : f32[N, T] param 0
//     buffer %out : f32[N, T] output 0
//     call @softmax.0(%x, %out)
//   }
//   kernel @softmax.0(x: f32[N, T], out: f32[N, T]) vec T:16 {
//     axes N, T
//     grid N:1 {
//       %0 = const -inf : f32[N:1, T:64]
//       %1 = loop T:64 carry %2 = %0 {
//         %3 = load x[N, T] : f32[N:1, T:64]
//         %4 = accum max %2, %3 : f32[N:1, T:64]
//         yield %4
//       }
//       ...
//
// Ranges. At every point each kernel axis is closed or has a current range [base, base + extent)
// cut off at the axis' size. `grid A:e` and `loop A:e` open it and walk it in steps of e; a loop
// inside the range of the same axis walks that range in smaller (or equal) steps, which divide
// the extent of the range. Extents are constants. Loops start only steps whose base is below the
// end of what they walk, so an axis of size 0 has no step and a loop over it gives its inits.
//
// Tiles. A value has a type, axes and a constant extent per axis. Map ops align tiles by axis
// name and broadcast, as in the graph; extents of a shared axis are equal. A statement reads
// the lanes of a value by the ranges at the statement: along an axis that is open there with
// the value's extent, lane k stands for coordinate base + k and is *invalid* when that is not
// below the axis' size; along any other axis all lanes count (results kept by lane after their
// loop was closed). Invalid lanes hold unspecified values, whoever computed them; store, accum,
// arg, check, reduce, dot and any/all conditions ignore them: accum and arg leave the lane of
// the accumulator as it was, reduce and dot skip it. So a value computed in a range must be
// combined there, or carried by accum, before it is used in another range of the same axis.
//
// Memory. The axes that an index expression uses are open where it stands. A loaded tile has
// exactly these axes and those of its indirect coordinates, with the current extents. Only valid
// lanes touch memory, and theirs are in bounds (loads with a guard: or give the fill).
//
// Threads. A kernel for a GPU says how many threads a block (one grid tile) has and how the elements
// of a range lie on them: a layout gives for an axis at an extent the position along the axis in
// mixed radix, innermost digit first. A digit is held in registers (rS: S positions, all by one
// thread) or by threads (tS@D: thread t has position (t / D) % S). Sizes of thread digits are powers
// of two but for the topmost, whose threads are the last of the block (t3@128 of 384). Axes that one
// value or access has lie on different threads; others may share them.
//
// With `cluster C`, C blocks run a grid tile together: their threads are numbered through, and what
// lies along digits of C (strides from the threads of a block on) is spread over the blocks, on-chip
// buffers included. Only reductions bring values from block to block.
//
//   kernel @k(...) threads 256 {
//     layout { N:8 = t8@32, T:1024 = r8 t32@1 r4 }      // a warp per row, 8 elements a piece
//
// An axis at an extent that the layout does not name is in registers, alike in all threads; so is a
// tile along the thread digits of axes that it lacks. What a range holds where is no part of the
// meaning of a kernel: without layouts it says the same.
//
// Finish. Grid tiles of a GPU combine what each of them made by a kernel that ends with
//
//   grid C:1, N:1 {
//     ...                         a part of the work for each C
//     store part[C, N], %1
//     if finished C {             the last of the tiles of one N, whichever it is
//       loop C:512 { %2 = load part[C, N]; %3 = reduce add %2 over C; store out[N], %3 }
//     }
//   }
//
// All tiles come there, each once: the if stands at the end of the kernel's body, without else and
// results. In it the axis is closed and no value, no on-chip buffer of before is visible, so that
// nothing depends on which tile is the last: what it stores is the same in every run. There may be
// at most FINISH_MOST groups of such tiles.
//
// Sums in memory. On GPUs `store x[N], %v add` adds each valid lane to its element, one after the other, in
// an order that nobody knows: grid tiles may add to the same elements. These are f32 that a step before
// has written, and the kernel neither loads nor stores them otherwise.
//
// Values are visible in the region of their definition and regions inside it; out of a loop or
// an if only through its results. Inits, params, yields and results agree in type and shape.
#pragma once
#include "ir/graph.h"

typedef struct tval {
  int id;  // dense per kernel
  dtype type;
  int naxes;
  int axes[MAX_AXES];
  int extents[MAX_AXES];
} tval;

typedef enum tile_op {
  TILE_MAP,       // op, in[]                      elementwise; cast: to result type
  TILE_CONST,     // value                         all elements alike; the type says the axes
  TILE_SIZE,      // ix[0]                         a size as a number of the result type
  TILE_INDEX,     // axis                          coordinates of the current range: [axis: extent]
  TILE_LOAD,      // buf, ix[], in[]               see below
  TILE_STORE,     // buf, ix[], in[0] = value      axes of the value: some or all of those the
                  //                               index uses; broadcast over the others
  TILE_ACCUM,     // op, in[0] = acc, in[1]        acc combined with value in valid lanes;
                  //                               op is add mul min max and or; or fma with
                  //                               in[2]: acc + in[1] * in[2]. The axes of acc
                  //                               include those of the values; a lane is valid
                  //                               when every open axis of acc or of a value is
  TILE_REDUCE,    // op, in[0], axes               combine over the extents of axes; op as accum.
                  //                               extent N: over one axis, of which N lanes are left,
                  //                               each lane of in[0] combined into one of them, in
                  //                               an order and place that are the backend's
  TILE_ARG,       // op max|min, in = best, besti, v, i: two results best', besti' in valid lanes:
                  //   v better than best (NaN is best of all; equal: the smaller i wins);
                  //   axes as for accum, best and besti alike
  TILE_ARG_REDUCE,  // op max|min, in = v, i; axes: two results v', i'; i's axes are among v's
  TILE_DOT,       // in = a, b, acc; axes          acc + sum over axes of a*b, one fma a step; a and
                  //                               b already have acc's type; axes are in a or b,
                  //                               not in acc; all others of a and b are in acc
  TILE_LOOP,      // axis, extent; in = inits, then what it is `within`; body with params; results
  TILE_IF,        // cond; body / other            results = yields of the region taken
  TILE_YIELD,     // in                            ends a region (may be absent: yields nothing)
  TILE_LOCAL,     // buf                           declares an on-chip buffer, see tile_buf; its
                  //                               elements are unspecified until stored
  TILE_PREFETCH,  // buf, ix[], level (1..3), write
  TILE_CHECK,     // in[0] index, ix[0] size, site: valid lanes outside [0, size) are reported and
                  // end the call; what depends on the index is not executed
} tile_op;

/// What multiplies (ir/units.def). All units give sums of products in the accumulator's type; with a tensor core
/// unit (GPUs) a and b are widening casts of loads from on-chip buffers, or loads of f32, which the
/// unit rounds to tf32; acc is f32, and the layouts of its two axes are those of the unit's
/// accumulator. Pairs (CPUs): a and b are widening casts of bf16 values, acc is f32, and the last
/// contracted axis has an even extent: its elements are multiplied and added two by two, in an
/// order that is the CPU's.
typedef enum dot_unit {
#define UNIT(id, ...) DOT_##id,
#include "ir/units.def"
#undef UNIT
  DOT_UNITS
} dot_unit;
/// "mma", "pairs", ...
const char *dot_unit_name(dot_unit u);

typedef enum tile_cond {
  COND_FIRST,  // the current range of `axis` is the first, in walking order, of the innermost
               // loop or grid that opened it
  COND_LAST,   // ... last
  COND_ANY,    // in[0], a bool tile, is true in some valid lane
  COND_ALL,
  COND_FINISHED,  // of the grid tiles that differ in their range of `axis` alone, this one is the last
                  // to come here, and what they stored before is there: see Finish above
} tile_cond;

typedef struct tstmt tstmt;
typedef struct tregion {
  vec(tstmt *) stmts;
  tval **params;  // loop-carried values
  int nparams;
} tregion;

struct tstmt {
  tile_op kind;
  op op;             // MAP, ACCUM, REDUCE, ARG, ARG_REDUCE (ACCUM..: OP_add OP_mul OP_min OP_max
                     // OP_and OP_or)
  int nin;
  tval **in;
  int nout;
  tval **out;
  scalar value;      // CONST
  int axis;          // INDEX, LOOP, IF first/last/finished
  int naxes;
  int *axes;         // REDUCE, DOT, ARG_REDUCE
  int extent;        // LOOP: step; REDUCE: lanes that are left along its axis; 0: none
  int buf;           // LOAD STORE LOCAL PREFETCH: index into kernel->bufs
  int nix;
  ix *ix;            // per buffer dimension: coordinate over kernel axes; SIZE, CHECK: [0]
  // LOAD, STORE: dimension k's coordinate is ix[k] plus, when indirect[k] >= 0, the integer
  // tile in[indirect[k]] (LOAD: in[0..]; STORE: in[1..] hold them). Indirect coordinates have
  // been checked or clamped before, or the statement is marked.
  int8_t *indirect;
  bool unchecked;    // LOAD, STORE with indirect coordinates: they are inside, and nobody tests it
  bool guard;        // LOAD: where a coordinate is outside the buffer the value is in[nin - 1]
  bool nontemporal;  // STORE
  bool adds;         // STORE: to what is there, see Sums in memory above
  bool stage;        // LOOP: an on-chip copy; backends may make it asynchronous
  bool vec;          // LOOP: inside, lanes run along this loop's axis instead of the kernel's;
                     // no value that carries the kernel's lane axis is visible inside, and the
                     // loop carries nothing
  bool reverse;      // LOOP: walks from the last step to the first
  // LOOP over an axis that is closed around it: steps whose base is below `from`, or not below
  // `below`, are not taken. Over sizes, and open axes at the bases of their ranges; 0: no bound
  ix from, below;
  bool within;       // ... nor those that end at or before in[nout], or begin at or after in[nout + 1]:
                     // integer scalars, alike in all threads
  int unroll;        // LOOP: 0 or 1 none
  int stages;        // LOOP: pipeline stages: copies of the buffers that its stage loops fill,
                     // so that filling runs ahead of use; 0 or 1: one
  bool skew;         // LOOP with stages: the last statement that has a tensor core dot, and what
                     // follows it, may be done when the next step's first dot is under way
  bool turns;        // LOOP with skew: warpgroups issue their dots one after the other
  int layout;        // LOOP: layout inside; 0: as outside
  dot_unit unit;     // DOT
  tile_cond cond;    // IF
  int level;         // PREFETCH
  bool write;        // PREFETCH: will be written
  int site;          // CHECK
  tregion *body, *other;
  span at;
};

/// A buffer a kernel sees: an argument, or an on-chip buffer declared by TILE_LOCAL.
typedef struct tile_buf {
  str name;
  dtype type;
  int rank;
  ix dims[MAX_AXES];     // sizes
  ix strides[MAX_AXES];  // in elements; arguments only
  bool local;
  bool written;          // arguments: some store
  // local: dimension k follows local_axes[k] over its range at the declaration (or the whole
  // axis when closed there) and is indexed by absolute coordinates; dims hold that extent.
  // Layout: row-major, or with panel > 0: split in panels of `panel` along dimension
  // panel_dim, [dim / panel][other dims...][panel]; the last panel is full in memory.
  int local_axes[MAX_AXES];
  int panel_dim, panel;
  // The 16-byte pieces of each 128 bytes are permuted: piece i of row r of a panel is at
  // i ^ (r % 8). Panels are 128 bytes wide then.
  bool swizzle;
  int pad;  // row-major: elements by which each row of the last dimension is longer in memory
  // CPUs: elements 2i and 2i + 1 along dimension pair_dim, which is neither the panel's nor the
  // last, lie side by side: [.. dim / 2 ..][last][2]; the last pair is full in memory.
  bool pairs;
  int pair_dim;
} tile_buf;

/// One digit of a position along an axis; see Threads above.
typedef struct layout_digit {
  int size;
  int stride;  // of thread numbers; 0: registers
} layout_digit;

enum { MAX_DIGITS = 8 };
typedef struct axis_layout {
  int axis, extent;  // extent = product of the digits' sizes
  int ndigits;
  layout_digit digits[MAX_DIGITS];  // innermost first
} axis_layout;

typedef struct thread_layout {
  vec(axis_layout) axes;
} thread_layout;

/// How the grid is walked is a hint: the order of tiles, for caches and balance.
typedef struct grid_axis {
  int axis, extent;
  bool descending;  // the last tiles are worth starting first
  int group;        // so many tiles for each tile of the next axis, then the next so many; 0: the
                    // backend decides
} grid_axis;

enum { MOST_VEC_LANES = 64, MOST_LAYOUTS = 8, FINISH_MOST = 1024 };

typedef struct kernel {
  arena *arena;
  str name;
  ix_pool ix;
  vec(axis) axes;       // kernel axes: name and size; numbers are the IX_AXIS values
  vec(tile_buf) bufs;   // arguments first
  int nargs;
  vec(grid_axis) grid;  // outermost first; the same axis at most once
  int vec_axis;         // lanes run along it; -1 scalar code
  int vec_lanes;        // a power of two, at most MOST_VEC_LANES
  int threads;          // of a block, without producers; 0: not for a GPU
  vec(thread_layout) layouts;  // [0] is the kernel's
  int producer_warps;   // further warps that run the stage loops of loops with stages
  int cluster;          // blocks that run a grid tile together; 0: one
  int blocks_per_sm;    // that many resident blocks walk the grid; 0: a block per grid tile
  ix resident_size;     // ... where this size, a symbol, is at most resident_most, else a block per
  int64_t resident_most;  // grid tile; 0: always
  tregion body;
  int nvals;
  int nsites;
  span at;  // its name in the text it was read from
} kernel;

typedef enum buffer_kind { BUFFER_PARAM, BUFFER_OUTPUT, BUFFER_TEMP } buffer_kind;

typedef struct buffer {
  str name;
  buffer_kind kind;
  int number;  // of the param or output
  dtype type;
  int rank;
  str axis_names[MAX_AXES];
  ix dims[MAX_AXES];
  ix strides[MAX_AXES];
  ix offset;  // TEMP: bytes from the start of the arena, 64-byte aligned
  int host;   // TEMP: 1 + the output that is written later, in whose memory it lies instead; 0: none
  span at;    // its name in the text it was read from
} buffer;

typedef enum step_kind { STEP_KERNEL, STEP_HOST } step_kind;

typedef struct step {
  step_kind kind;
  int kernel;     // index into program->kernels
  int group;      // of a lowered graph: its kernel that the step is a part of. The text does not say
  int nbufs;
  int *bufs;      // buffers for the kernel's arguments in order; HOST: inputs, then the result
  str host_name;  // HOST: the extern function
  int nsites;
  span *sites;    // positions for the kernel's check sites
  str *site_axes; // the axes that they index, for messages; null: unknown
  span at;        // for messages: the ops the step computes
  str what;       // short label, e.g. "softmax: reduce_max, exp, sum, div"
} step;

typedef struct program {
  arena *arena;
  str name;
  ix_pool ix;
  vec(str) symbols;
  vec(buffer) buffers;  // params in order, then outputs, then temps
  vec(kernel *) kernels;  // structurally equal kernels are one
  vec(step) steps;
  ix arena_bytes;
  span at;  // its name in the text it was read from
  int nparams, noutputs;
} program;

typedef struct tile_module {
  arena *arena;
  vec(program *) programs;
} tile_module;

// Building (ir/tile_build.c). A builder appends to a region; loops and ifs give a builder for
// their body. Builders check() types and shapes as far as they see them; kernel_verify sees all.
typedef struct tile_builder {
  kernel *k;
  tregion *region;
  span at;  // given to the statements
} tile_builder;

/// The statement at the end of the body that the last of several tiles takes; null: none.
const tstmt *kernel_finish(const kernel *k);
/// A store of the kernel adds to the buffer.
bool kernel_adds_to(const kernel *k, int buf);
/// Threads that run a grid tile, those of all blocks of a cluster.
int kernel_tile_threads(const kernel *k);
/// The digits of an axis at an extent; null: in registers, alike in all threads.
const axis_layout *thread_layout_find(const thread_layout *l, int axis, int extent);
/// Appends an empty layout and gives its number.
int kernel_add_layout(kernel *k);
/// Gives the axis these digits (innermost first; those of size 1 are left out) at the extent that
/// is their product, unless it has some there already.
void kernel_set_layout(kernel *k, int layout, int axis, const layout_digit *digits, int n);

kernel *kernel_new(arena *a, str name);
int kernel_add_axis(kernel *k, str name, ix size);
int kernel_add_arg(kernel *k, str name, dtype t, int rank, const ix *dims, const ix *strides);
tval *tile_value(kernel *k, dtype t, const int *axes, const int *extents, int naxes);
tstmt *tile_stmt(tile_builder *b, tile_op kind, tval *const *in, int nin);
tval *tile_map(tile_builder *b, op o, tval *const *in, int nin, dtype result);
tval *tile_const(tile_builder *b, dtype t, scalar v, const int *axes, const int *extents, int naxes);
bool tstmt_is_indirect(const tstmt *s);  // some coordinate is data
bool tstmt_on_tensor_cores(const tstmt *s);
int tval_extent(const tval *v, int axis);  // 0: lacks it
bool tval_same_shape(const tval *a, const tval *b);  // axes in the same order, extents equal

tile_builder kernel_builder(kernel *k);
int kernel_find_axis(const kernel *k, str name);  // -1 absent
void kernel_set_grid(kernel *k, int axis, int extent);  // appends a grid axis, inside the others
/// Declares an on-chip buffer at this point; extents[k] is the extent of the current range of
/// axes[k], or 0 for the whole axis when it is closed. panel 0: row-major. Gives the buffer.
int tile_local(tile_builder *b, str name, dtype t, const int *axes, const int *extents, int rank,
               int panel_dim, int panel);
tval *tile_size(tile_builder *b, dtype t, ix size);
tval *tile_index(tile_builder *b, dtype t, int axis, int extent);
/// indirect: per buffer dimension a tile or null; or null altogether. fill: guard, or null.
tval *tile_load(tile_builder *b, int buf, const ix *index, tval *const *indirect, tval *fill,
                const int *axes, const int *extents, int naxes);
tstmt *tile_store(tile_builder *b, int buf, const ix *index, tval *const *indirect, tval *value);
tval *tile_accum(tile_builder *b, op o, tval *acc, tval *value);
tval *tile_reduce(tile_builder *b, op o, tval *value, const int *axes, int naxes);
/// Combines along one axis, of which `lanes` are left.
tval *tile_reduce_to(tile_builder *b, op o, tval *value, int axis, int lanes);
tval *tile_dot(tile_builder *b, tval *x, tval *y, tval *acc, const int *axes, int naxes);
/// best and besti are replaced by the results.
void tile_arg(tile_builder *b, op o, tval **best, tval **besti, tval *v, tval *i);
void tile_arg_reduce(tile_builder *b, op o, tval **v, tval **i, const int *axes, int naxes);
void tile_check(tile_builder *b, tval *index, ix size, int site);
void tile_prefetch(tile_builder *b, int buf, const ix *index, int level, bool write);
/// A loop with its params and results; fill the body through *body and end it with tile_yield
/// when something is carried.
tstmt *tile_loop(tile_builder *b, int axis, int extent, tval *const *inits, int n,
                 tile_builder *body);
/// any/all take the bool tile, the others the axis. tile_else opens the other region; with
/// results, both regions yield, then tile_if_results makes them.
tstmt *tile_if(tile_builder *b, tile_cond cond, int axis, tval *tile, tile_builder *body);
tile_builder tile_else(tile_builder *b, tstmt *s);
void tile_if_results(tile_builder *b, tstmt *s);
void tile_yield(tile_builder *body, tval *const *values, int n);
/// The values a region ends with; *n = 0 without a yield.
tval *const *tregion_yields(const tregion *r, int *n);

/// How the body of a loop with skew falls apart: its statements [from, issued), up to the first dot
/// on tensor cores, come before [cut, end) of the step before, from the last dot on.
typedef struct tile_halves {
  int from;  // after the locals and stage loops
  int issued, cut;
} tile_halves;
/// False: no two statements of the body have dots of unit wgmma.
bool tile_split_steps(const tregion *body, tile_halves *out);
/// The statement, or one inside it, that is a dot of unit wgmma; null: none.
const tstmt *tile_wgmma_dot(const tstmt *s);
/// The statement or one inside it reads a carried value of the loop with this body.
bool tile_uses_carried(const tstmt *s, const tregion *body);

// Text (ir/tile_print.c, ir/tile_parse.c): canonical, byte-stable, parses back.
void kernel_print(const kernel *k, strbuf *out);
void program_print(const program *p, strbuf *out);  // the program, then its kernels
void tile_module_print(const tile_module *m, strbuf *out);
bool tile_module_parse(arena *a, diag_list *diags, uint32_t file, tile_module *out);

/// Collects every violation of the rules above; false with the annotated text in *report.
bool kernel_verify(const kernel *k, arena *a, str *report);
bool program_verify(const program *p, arena *a, str *report);

/// A violation in a program that was read from text: the statement, step, buffer or head.
typedef struct tile_fault {
  span at;
  str text;
} tile_fault;
typedef vec(tile_fault) tile_faults;
/// program_verify for such a program: true when nothing was appended.
bool program_find_faults(const program *p, arena *a, tile_faults *faults);

/// Runs the program like graph_interpret: same conventions. Strides of params are honoured by
/// the caller's interp_tensor being logical (row-major over dims). Invalid lanes hold NaN (or
/// a poison integer) so that a kernel which lets them through is caught.
bool program_interpret(const program *p, arena *a, const interp_tensor *params,
                       interp_tensor *outputs, const interp_host *host, str *error, span *at);

/// Bytes moved and flops of one call of the kernel when sizes are the estimates (for explain).
/// Bytes: every element of an argument that is loaded (stored) counts once, however often: what no
/// cache can avoid. Flops: costs of the op table, 2 per step of a dot, for all lanes computed.
/// Moved: bytes of all loads and stores of arguments, each time. Waits: steps that begin with copies
/// to on-chip memory, of all tiles.
typedef struct kernel_cost {
  int64_t bytes_read, bytes_written, flops, moved, waits;
} kernel_cost;
kernel_cost kernel_estimate(const kernel *k);
/// The share of the steps of its bounded loops that bounds leave out, with sizes as estimated; 0: it has none.
double kernel_skipped_share(const kernel *k);
/// Data decides which steps of some loop are taken.
bool kernel_skips_by_data(const kernel *k);
