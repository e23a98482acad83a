// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_NEST: one kernel of several loop nests. What lower_nest.c and nest_plan.c share.
#pragma once
#include "passes/fusion/outline.h"
#include "passes/lowering/lower.h"
#include "passes/lowering/skip.h"

typedef struct nest {
  kbuild *b;
  outline o;
  uint8_t *member, *stored;  // by node id
  int rows[MAX_AXES], nrows;      // kernel axes
  int tile[MAX_AXES];             // grid tile along each
  int block;                      // the row axis that products block; -1 none
  int stream[MAX_AXES], nstream;  // kernel axes
  int step;                       // elements of a step along the innermost of them
  int lanes;                      // CPUs: of a vector; GPUs: threads along the columns of a tile
  bool row_lanes;                 // CPUs: lanes run along the block's rows (nest_lanes.c)
  bool threads;                   // a GPU: lanes are threads of a block
  bool no_staging;                // ... whose buffers on chip leave no room for operands of products
  int sums;                       // ... layout of sums of tensor cores, 0 none yet; others are of copies
  int *kept_in;                   // node id -> argument that keeps it in memory; -1: on chip
  int *scale_of;                  // node id of a frame -> buffer of the factor of a step
  int *shift_of;                  // ... of what is taken from exponents: the maximum, 0 while there is none
  int walk;                       // that is emitted
  const uint8_t *needed;          // ... by node id: the streamed values that it needs; null between walks
  const node **in_place_of;       // node id -> the value in whose place its loop stores it; null none
  int *packed_of;                 // node id of a product -> what was packed of an operand before the walk, 0 nothing
  int *best_of;                   // node id of an argmin or argmax -> buffer of the extreme that its state is the place of
  int *carry_of;                  // ... of a running combine along the stream -> of what it came to
  int *lost_of;                   // ... of what that has lost, where it is a long sum of f64
  int *move_of;                   // ... of a centre -> of what it was before the step, less what it is now
  int *count_of;                  // ... of a centre that counts -> of the elements so far
  int *before_of;                 // ... of the same, or of a sum of weights -> of that before the step
  int chunk;                 // GPUs: kernel axis of the chunks that blocks walk, -1: each walks all
  int *part_of, *part_more;  // ... node id -> arguments with what chunks came to, and more_of that
  bool centred;                   // what is about centres may be combined: those of the step are there
} nest;

/// Makes the kernel axes; chooses the tile of rows and the steps, so that what is kept fits the
/// caches.
void nest_choose(nest *t);

/// Bytes of what a block of a GPU keeps on chip.
int64_t nest_chip_bytes(const nest *t);
/// The value is kept where it is returned.
bool nest_keeps_output(const nest *t, const node *n);

/// Elements of the axis that are on chip.
int64_t nest_held(const nest *t, int axis);
/// Lanes along the rows of the tile pay.
bool nest_suits_row_lanes(const nest *t);
/// The axis of a contraction's result along which lanes run: of one operand alone; better one in whose
/// order that operand lies in memory, better a long one.
int nest_contraction_lanes(const nest *t, const node *n);

/// The loop nest of one kept or stored value.
typedef struct nest_loops {
  int lanes;      // kernel axis of the vector lanes, or of the columns' threads; -1: none
  int vectors;    // per step along it; GPUs: neighbours that a thread has
  int across;     // kernel axis of the registers beside the lanes: nest.block, or the stream; -1: none
  int rows;       // elements per step along it
  int packed;     // operand of a contraction that is copied first, its lanes innermost; -1 none
  int width;      // fixed elements per step along the lanes; 0: by vectors
  int layout;     // of the rows' loop; 0: the kernel's
} nest_loops;

/// An operand of a product that is brought on chip: its buffer's last two axes, and the layout of
/// the copy.
typedef struct nest_stage {
  int outer, inner, layout;
  bool across;  // neighbours in memory are not neighbours in the buffer
} nest_stage;

/// A product of a block of threads.
typedef struct nest_product {
  dot_unit unit;
  int rows, columns;         // operand numbers; rows are those of the tile
  int lanes, depth;          // kernel axes: of the columns, and contracted
  int width, step;           // elements at a time along them
  bool staged[2];            // rows and columns: brought on chip, else they are there
  nest_stage stage[2];
} nest_product;
nest_loops nest_loops_of(const nest *t, const node *n);
/// Elements of a step along the lanes, inside the range that is open; on GPUs they get a layout.
int nest_width(const nest *t, const nest_loops *s);
/// Elements of a step along s->across.
int nest_rows(const nest *t, const nest_loops *s);
/// n's kernel axes: of its own, rows first, the lanes last.
int nest_axes_of(const nest *t, const node *n, int lanes, int *axes);

/// Loops over the result's axes of a nest: rows and other axes, then the lanes. Gives how many.
int nest_open(const nest *t, const node *n, const nest_loops *s);
void nest_close(const nest *t, int opened);
/// The value v for all open axes that result n has, and for `extent` elements of the axis `more`.
tval *nest_filled(const nest *t, const node *n, dtype type, scalar v, int more, int extent);
/// Kernel axes that n combines along.
int nest_reduced(const nest *t, const node *n, int *axes);

/// What a nest leaves behind must not be taken for what a later one needs: the buffers change.
void nest_forget(kbuild *b);
/// A buffer for the kept value n.
void nest_declare(nest *t, const node *n, const char *name);
/// The elements of a buffer in the shape of n's, in the current ranges; storing them; keeping n. The
/// buffer of a kept value may have the type of a product that the value goes into: it is stored in
/// that type, and computed with in its own.
tval *nest_kept(const nest *t, const node *n, int buf);
void nest_keep_in(const nest *t, const node *n, int buf, tval *v);
void nest_keep(const nest *t, const node *n, tval *v);
/// Where the operand's elements lie next to one another: the graph axis, -1 unknown.
int nest_unit_axis(const nest *t, const node *x);
/// What a state was before the step, times the factor by which its frame shrinks it.
tval *nest_scaled(const nest *t, const node *state, tval *before);

// ---- reductions (lower_nest_reduce.c)

void nest_emit_reduction(nest *t, const node *n);
/// They have the same kernel axes.
bool nest_same_axes(const nest *t, const node *x, const node *y);
/// What n is made of is there, but for `beside`, whose loop it shall share.
bool nest_is_ready(const nest *t, const node *n, const node *beside, bool *seen);
/// The kept map n can be stored in the loop of the reduction when what both are made of is there.
bool nest_goes_beside(const nest *t, const node *n, const node *red);

/// What empties steps of the walk over the last stream, with the rows of a tile open (nest_plan.c).
skip nest_skip(const nest *t, int step, bool points);

// ---- operands copied with the lanes innermost (nest_pack.c)

/// Copies x, as that type, over the current ranges.
int nest_pack(nest *t, const node *x, dtype type, int lanes);
/// Operands in memory of what is reduced are read from copies from here on; gives how many.
int nest_pack_operands(nest *t, const node *red, int lanes, const node **packed);
void nest_unpack_operands(nest *t, const node *const *packed, int count);

// ---- values in the place of others (nest_reuse.c)

/// A buffer for the value n of a step, which the loop of `reds` stores: perhaps that of a value which
/// nothing else needs.
void nest_declare_value(nest *t, const node *n, const node *const *reds, int nreds);
/// The loops of n have been emitted.
void nest_is_there(nest *t, const node *n);
/// The elements of the reduction are worth keeping, in the place of what they are made of.
bool nest_keeps_elements(const nest *t, const node *red);
/// A reduction in whose loop the kept map n is stored; null none.
const node *nest_reduction_beside(const nest *t, const node *n);

// ---- argmin and argmax (lower_nest_arg.c)

/// The extreme of a state, beside its place.
void nest_declare_arg(nest *t, const node *n);
/// Nothing was seen: an extreme that every element reaches, and the place 0.
void nest_begin_arg(const nest *t, const node *n);
void nest_emit_arg(nest *t, const node *n);

// ---- running combines (lower_nest_scan.c)

/// Before the walk nothing has been combined.
void nest_begin_carry(nest *t, const node *n);
void nest_emit_scan(nest *t, const node *n);

// ---- running means (lower_nest_moments.c)

/// Buffers of a centre, and of what it needs beside.
void nest_declare_centre(nest *t, const node *c);
/// Before the walk: of nothing the mean is 0.
void nest_begin_centre(nest *t, const node *c);
/// When its sums have the elements of the step: the mean of all so far; states about it are moved
/// there.
void nest_emit_centre(nest *t, const node *c);
/// The sum of weights that states about centres are above.
bool nest_is_weight(const nest *t, const node *state);

// ---- products of blocks of threads (nest_product.c)

enum { NEST_STAGED = 18 << 10 };  // bytes of both operands at most
/// Whether tensor cores can multiply it, and how; makes no layouts.
bool nest_on_tensor_cores(const nest *t, const node *dot, nest_product *d);
/// How the nest brings operands on chip, with layouts and the loops that suit; false: it does not.
bool nest_product_begin(nest *t, const node *dot, nest_loops *s, nest_product *d);
/// The buffer of n gets panels when tensor cores read them in place.
void nest_lay_in_panels(const nest *t, const node *n, int buf);
/// Brings a step of the operands on chip; from[]: the buffers of both, by operand number, -1:
/// values.
void nest_product_stage(nest *t, const node *dot, const nest_product *d, int *from);
/// sum plus the product of the step on tensor cores.
tval *nest_product_multiply(nest *t, const node *dot, const nest_product *d, const int *from,
                            tval *sum);

// ---- few rows of a long stream (nest_finish.c)

enum { NEST_WORTH_CHUNKS = 1 << 14 };  // elements of a step's values in all steps of a block
/// Cuts the stream into chunks where that is more than one block for each tile.
void nest_choose_chunks(nest *t, int64_t tiles);
/// Arguments for what chunks come to.
void nest_make_parts(nest *t);
/// After the walk: what follows is done by the last block, with the states of all.
void nest_begin_finish(nest *t);
/// Keeps what is taken from exponents below the maximum.
void nest_keep_shift(const nest *t, const node *frame, tval *max);
/// sum / by; 0 where that is not finite.
tval *nest_finite_mean(kbuild *b, dtype type, tval *sum, tval *by);
/// The best of the pairs that the arguments have, `width` at a time along the chunks.
void nest_merge_arg(nest *t, const node *n, int width, int best, int places);
