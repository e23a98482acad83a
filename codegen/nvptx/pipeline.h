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
// where both walk the same loops around, so that the producers run ahead into the next grid tile.
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
  tma_copy copies[MAX_FILLS];  // producers only
  bool late[MAX_FILLS];        // of the step being made: finished after the rest
  bool placed;                 // the buffers have their places
  ix start;                    // of the walk being made
  lval steps;                  // i32, of the walk
  bool whole;                  // all steps are
  // producers
  int64_t barriers;         // offset of full[stages], then empty[stages]
  lval consumed, produced;  // where the steps done before this walk are counted
  lval before;              // that many
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
/// Something other than wgmma reads the buffers; r: the body, from statement `first` on.
bool pipeline_read_plainly(ngen *g, const pipe *p, const tregion *r, int first);
/// Contains a loop with stages.
bool pipeline_inside(ngen *g, const tregion *r);

// ---- producer.c
bool copy_is_pure(const kernel *k, const tregion *r);
/// Whether the engine can do all copies of the pipe; adds the maps.
bool producer_plan(ngen *g, pipe *p);
/// The code of the kernel from its start: barriers, then a branch for each role, in which walk makes
/// the code of the grid tiles.
void producer_split(ngen *g, void (*walk)(ngen *g));
int producer_threads(const ngen *g);  // of the block, all
int producer_blocks(ngen *g);         // that are to fit on a multiprocessor
void producer_wait(ngen *g, pipe *p, lval index);
void producer_release(ngen *g, pipe *p, lval index);
void producer_step(ngen *g, pipe *p, lval index);

int64_t producer_ring_bytes(const ngen *g);

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

// ---- writeback.c
/// Finds the stores that the engine can do; adds the maps. Before the function is made.
void writeback_plan(ngen *g);
void writeback_open(ngen *g);                   // reserves shared memory
bool writeback_store(ngen *g, const tstmt *s);  // false: not one of them
void writeback_close(ngen *g);                  // at the end of the kernel

// ---- order of grid tiles
/// Tile t of m by n, n fastest, becomes (*row, *column) in groups of rows that share the columns'
/// operands in the cache. extent: of a tile along m.
void grouped_tile(ngen *g, lval t, lval m, lval n, int extent, lval *row, lval *column);
