// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Inside of the tile interpreter: memories, lanes, and walks over tiles. Only ir/tile_exec*.c and
// ir/tile_interp.c.
#pragma once
#include "ir/sizes.h"
#include "ir/tile.h"

/// Elements of a buffer in row-major order of its dimensions. A poisoned element is unspecified:
/// it may be moved about, but not decide anything or end in an output.
typedef struct tile_memory {
  str name;
  dtype type;
  int rank;
  int64_t dims[MAX_AXES];
  int64_t origin[MAX_AXES];  // coordinate of element 0; locals may start inside their axis
  int64_t count;
  scalar *data;
  uint8_t *poison;
  int32_t *writer;  // which grid tile stored the element in this call, + 1; null for locals
  bool kept;        // an output: must not receive unspecified values
} tile_memory;

typedef struct tile_call {
  const kernel *k;
  arena *arena;
  tile_memory *const *args;
  const size_symbol *symbols;
  int nsymbols;
  const span *sites;
  const str *site_axes;
  bool backwards;  // grid tiles run from the last to the first
} tile_call;

/// Runs the kernel over its grid. False with a text and position: a failed check, or what only a
/// wrong kernel does (the text says "internal error").
bool kernel_execute(const tile_call *call, str *error, span *at);

/// Sets count from dims (a negative one counts as 0); false when it is out of all proportion.
bool tile_memory_count(tile_memory *m);
/// What an unspecified element of type t reads as.
scalar tile_poison(dtype t);

typedef struct lanes {
  int n;
  scalar *data;
  uint8_t *poison;
} lanes;

/// The current range of an axis; extent 0: closed.
typedef struct axis_state {
  int64_t size, base;
  int extent;
  bool first, last;
} axis_state;

typedef struct machine {
  const tile_call *call;
  const kernel *k;
  arena *arena;
  axis_state *axes;
  int64_t *coordinate;  // by axis, of the lane being addressed
  lanes *values;        // by value id
  tile_memory *locals;  // by buffer
  op_running *running;  // of the statement at work
  int nrunning;
  int32_t tile;  // number of the grid tile in the order of the grid, + 1
  int64_t apart,
      along;         // tiles that finish together: their numbers differ by multiples of `apart`,
                     // of which there are `along`; 0: none do
  int32_t *arrived;  // by group of such tiles: how many have come so far
  bool finishing;    // the last of them does what is left
  str *error;
  span *at;
} machine;

/// The group of tiles that finish together to which a tile (number + 1) belongs.
int64_t exec_group(const machine *m, int32_t tile);

bool exec_fail(machine *m, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int64_t exec_size(machine *m, ix e);
int64_t exec_coordinate(machine *m, ix e);  // at m->coordinate
int64_t exec_at_bases(machine *m, ix e);    // at the bases of the open ranges

/// The lanes of a value, made when first asked for.
lanes *exec_lanes(machine *m, const tval *v);
void exec_copy(machine *m, const tval *to, const tval *from);
void exec_poison_lane(lanes *l, int i, dtype t);
/// Invalid lanes hold unspecified values: makes sure that they do.
void exec_poison_invalid(machine *m, const tval *v);

/// An odometer over a shape, with the lane offset of each operand.
///
///   tile_walk w;
///   twalk_over(m, &w, out);
///   int a = twalk_operand(&w, in);
///   do ... w.offset[a] ... while (twalk_next(&w));
enum { TWALK_OPERANDS = MAX_AXES + 4, TWALK_AXES = 2 * MAX_AXES };
typedef struct tile_walk {
  int naxes, noperands;
  int axes[TWALK_AXES], extents[TWALK_AXES], at[TWALK_AXES];
  int live[TWALK_AXES];  // valid lanes along the axis
  int beyond;            // along how many axes this lane is not valid
  int offset[TWALK_OPERANDS];
  int stride[TWALK_OPERANDS][TWALK_AXES];
} tile_walk;

/// Starts at lane 0 of the shape of v; more axes may be added before the operands.
void twalk_over(const machine *m, tile_walk *w, const tval *v);
void twalk_axis(const machine *m, tile_walk *w, int along, int extent);
/// Follows another tile, broadcast over what it lacks; gives its number in offset[].
int twalk_operand(tile_walk *w, const tval *v);
bool twalk_next(tile_walk *w);
bool twalk_valid(const tile_walk *w);

// ir/tile_exec_ops.c
void exec_map(machine *m, const tstmt *s);
void exec_fill(machine *m, const tval *out, scalar v);
void exec_size_value(machine *m, const tstmt *s);
void exec_index(machine *m, const tstmt *s);
void exec_accum(machine *m, const tstmt *s);
void exec_reduce(machine *m, const tstmt *s);
void exec_arg(machine *m, const tstmt *s);
void exec_arg_reduce(machine *m, const tstmt *s);
void exec_dot(machine *m, const tstmt *s);
// ir/tile_exec_memory.c: false when the run ends
bool exec_load(machine *m, const tstmt *s);
bool exec_store(machine *m, const tstmt *s);
void exec_local(machine *m, const tstmt *s);
bool exec_check(machine *m, const tstmt *s);
