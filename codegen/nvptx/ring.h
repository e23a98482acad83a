// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Rings of on-chip copies that producer warps fill and the others read; see pipeline.h.
//
//   loop T:64 stages=2 {
//     local k, v; stage loop (k); stage loop (v)     ring of k, ring of v: 2 slots each
//     %s = dot .. k                                  wait `full` of k; `empty` when s has landed
//     %o = dot .. v                                  wait `full` of v; `empty` when o has landed
//   }
//
// What the same statements read shares a ring. A stage loop beside a loop with stages fills a ring of
// one slot, once each time its region is run, ahead of that loop.
#pragma once
#include "codegen/nvptx/pipeline.h"

/// The fills of rings that go together, counted through all walks of the kernel.
typedef struct tally {
  lval consumed, produced;  // where those before this walk are counted
  lval before;              // that many
  lval index;               // of the fill being made or read, in this walk
} tally;

typedef struct ring {
  const tstmt *within;  // the loop whose bounds it passes on; null: one of copies
  int slots;
  int nfills;
  const tstmt *fills[MAX_FILLS];
  tma_copy copies[MAX_FILLS];
  const pipe *of;       // null: filled once
  const tregion *home;  // whose statements read it,
  int first, last;      // from this one to that one
  bool plainly;         // threads read it as ordinary memory
  int64_t barriers;     // offset of full[slots], then empty[slots]
  tally *fill;
} ring;

/// Whether the engine can fill the pipe; adds a ring for each of its stage loops, and the maps.
bool ring_plan(ngen *g, pipe *p);
/// Rings of stage loops beside pipes in the region and inside of it.
void ring_plan_once(ngen *g, const tregion *r);
/// Rings of what the loops that producers walk are within.
void ring_plan_within(ngen *g, const tregion *r);
/// The ring that the statement fills, of those without a loop; null: none.
ring *ring_filled_once(ngen *g, const tstmt *s);
/// Of all slots.
int64_t ring_bytes(const ngen *g);

/// At the start of the function: finds the readers, gives what they share one ring, places barriers.
void rings_open(ngen *g);
/// Inits the barriers; one thread.
void rings_init(ngen *g);

/// What the loop is within: the producers learn it from the others, who know it.
void rings_pass_within(ngen *g, const tstmt *loop, lval at[2]);

/// Around the steps of a pipe's walk, in either role.
void rings_begin(ngen *g, const pipe *p);
void rings_end(ngen *g, const pipe *p, lval steps);
/// Steps of the walks before this one.
lval rings_filled_before(ngen *g, const pipe *p);
/// What follows reads step `index`.
void rings_enter(ngen *g, const pipe *p, lval index);
/// Around statement i of a region: waits for what it is the first to read, lets go of what it is the
/// last to read, when the products under way are done.
void rings_before(ngen *g, const tregion *r, int i);
void rings_after(ngen *g, const tregion *r, int i);
void ring_free(ngen *g, ring *r, lval slot);
/// The producers' part: starts the copies of a step.
void rings_fill(ngen *g, const pipe *p, lval index);
void ring_fill_once(ngen *g, ring *r);
