// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loops with stages: their on-chip buffers are rings of copies that are filled ahead of use.
//
//   loop K:64 stages=4 { local a, b; stage loop ... (a); stage loop ... (b); rest }
//
// All threads fill and compute (cp.async):
//
//   fill 0, 1, 2      | step i: until copy i is there, barrier, fill i + 3, rest on copy i
//
// (of what is no plain copy, the loads come before the rest of the step, maps and stores after it).
//
// Producer warps (copy engine, sm_90a), when every stage loop is a copy that the engine can do:
//
//   producers: until copy i is empty, start its boxes, which complete `full`
//   others:    until `full` of copy i, rest on copy i, arrive at `empty`
//
// where both walk the same loops around, so that the producers run ahead into the next grid tile
// (ring.h).
#pragma once
#include "codegen/nvptx/nvptx.h"

enum { MAX_FILLS = 8 };

/// A copy by the engine: boxes of one panel each.
typedef struct tma_copy {
  const tstmt *load, *store;
  int map;  // number in ngen.maps
  map_walk walk;
  int panels;
  int64_t panel_bytes, bytes;  // of a copy
  bool once;                   // no other grid tile reads the same elements
} tma_copy;

struct pipe {
  const tstmt *loop;
  int first;  // statement of the body after the locals and stage loops
  int nlocals, locals[MAX_FILLS];
  int nfills;
  const tstmt *fills[MAX_FILLS];
  bool late[MAX_FILLS];        // of the step being made: finished after the rest
  bool placed;                 // the buffers have their places
  ix start;                    // of the walk being made
  lval steps;                  // i32, of the walk
  bool whole;                  // all steps are
};

/// Finds the loops with stages and decides how they are filled. Before the function is made: says
/// which tensor maps it takes.
void pipeline_scan(ngen *g);
/// null: a plain loop.
pipe *pipeline_of(ngen *g, const tstmt *s);
/// Around the steps of the walk; start, steps and whole are set.
void pipeline_open(ngen *g, pipe *p);
void pipeline_close(ngen *g, pipe *p);
/// In place of the body, in the range of step `index`.
void pipeline_step(ngen *g, pipe *p, lval index);
/// What follows sees the buffers as step `index` has them, in its range.
void pipeline_enter(ngen *g, pipe *p, lval index);
/// Contains a loop with stages.
bool pipeline_inside(ngen *g, const tregion *r);
/// A loop that leads to the producers' copies.
bool producers_walk(ngen *g, const tstmt *s);

// ---- producer.c
bool copy_is_pure(const kernel *k, const tregion *r);
/// The code of the kernel from its start: barriers, then a branch for each role, in which walk makes
/// the code of the grid tiles.
void producer_split(ngen *g, void (*walk)(ngen *g));
int producer_threads(const ngen *g);  // of the block, all
int producer_blocks(ngen *g);         // that are to fit on a multiprocessor

// ---- map.c
/// The map has the argument's dimensions; false: pitches do not fit, or a box does not end with it.
bool map_walk_dimensions(ngen *g, const tstmt *s, const box_extents *box, map_walk *w);
/// The map is over the axes that the access moves with.
bool map_walk_axes(ngen *g, const tstmt *s, map_walk *w);
int map_walk_along(const map_walk *w, int axis);  // the map's dimension; -1 none
/// Dimension of the argument of a load or store that runs along the axis, alone and with coefficient
/// 1; -1: none.
int dimension_along(ngen *g, const tstmt *s, int axis);
/// Lanes that are invalid lie outside the tensor, where the engine reads zeros and writes nothing.
bool ends_with_tensor(ngen *g, const tstmt *s, int d, int axis, int64_t extent);
bool pitches_fit(ngen *g, const tile_buf *t, int unit);
int map_number(ngen *g, const tcf_map_info *map, const map_axes *over);

// ---- adds.c
void adds_plan(ngen *g);
void adds_open(ngen *g);                   // reserves shared memory
bool adds_store(ngen *g, const tstmt *s);  // false: not one of them
void adds_close(ngen *g);                  // at the end of the kernel

// ---- writeback.c
/// Finds the stores that the engine can do; adds the maps. Before the function is made.
void writeback_plan(ngen *g);
void writeback_open(ngen *g);                   // reserves shared memory
bool writeback_store(ngen *g, const tstmt *s);  // false: not one of them
void writeback_close(ngen *g);                  // at the end of the kernel

// ---- order of grid tiles
/// Tile t of m by n becomes (*row, *column): of_one rows for each column, then the next so many rows.
void grouped_tile(ngen *g, lval t, lval m, lval n, int of_one, lval *row, lval *column);
/// Rows whose operands stay in the cache beside the columns', of tiles so long.
int rows_of_group(int extent);
