// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_MAP: one walk over the outputs' axes.
//
//   grid N:32, D:1024 { loop N:1 { loop D:64 { load, map, store } } }
//
// When some operand is contiguous along another axis than the lanes, the tile is lanes x lanes
// and such loads and stores are transposed in registers:
//
//   loop N:16 { loop D:16 { load, transpose, map, store, prefetch out[N, D + 16] write } }
#include "passes/lowering/lower.h"

enum {
  GRID_ELEMENTS = 32768,
  PREFETCH_BYTES = 4096,  // ahead of the loads: about the latency of memory at its bandwidth
};

/// Vectors per step: enough loads in flight, without running out of registers, and no more stores
/// than that is good for.
static int vectors_per_step(const kbuild *b) {
  enum { MOST_STORES = 32 };
  int work = 0, outputs = b->group->outputs.len;
  for (int i = 0; i < b->group->nodes.len; i++)
    work += op_is_map(b->group->nodes.data[i]->op) ? op_get(b->group->nodes.data[i]->op)->cost : 0;
  int most = work > 60 ? 1 : work > 24 ? 2 : 4;
  while (most > 1 && most * outputs > MOST_STORES) most /= 2;
  return b->l->target->vector_registers < 32 && most > 2 ? 2 : most;
}

/// The step along the lanes: `vectors` vectors, fewer on a short axis.
static int lane_step(const kbuild *b, int axis, int vectors) {
  int64_t size = kb_kernel_size(b, axis);
  while (vectors > 1 && size <= (int64_t)b->lanes * vectors / 2) vectors /= 2;
  return b->lanes * vectors;
}

/// Squares are stored to many rows at once, more than the processor follows by itself: the lines
/// they will write are fetched ahead.
static void prefetch_squares(kbuild *b, int vec) {
  kb_prefetch_stores(b, b->scope->region, vec, b->lanes, 1, b->l->target->l2_bytes / 4);
}

void lower_map_group(kbuild *b) {
  const node *like = b->group->outputs.data[0];
  kb_survey(b);
  int lanes = kb_best_lanes(b, like->axes, like->naxes);
  int other = lanes < 0 ? -1 : kb_other_unit_axis(b, lanes, like->axes, like->naxes);
  int axes[MAX_AXES], step[MAX_AXES];
  int n = kb_collapse(b, like->axes, like->naxes, axes);
  int vec = lanes < 0 ? -1 : b->kaxis[lanes], tall = other < 0 ? -1 : b->kaxis[other];
  if (vec >= 0) {
    b->k->vec_axis = vec;
    b->k->vec_lanes = b->lanes;
  }
  if (tall >= 0 && (tall == vec || kb_kernel_size(b, tall) < b->lanes)) tall = -1;
  int vectors = tall >= 0 ? 1 : (int)schedule_option(b->l, "vectors", vectors_per_step(b));
  for (int i = 0; i < n; i++)
    step[i] = axes[i] == vec ? lane_step(b, vec, vectors) : axes[i] == tall ? b->lanes : 1;
  schedule_grid(b, axes, step, n, schedule_option(b->l, "grid", GRID_ELEMENTS));
  kb_begin(b);
  for (int i = 0; i < n; i++) kb_loop(b, axes[i], step[i], NULL, 0);
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    // Squares would be stored past the caches by parts of lines, but for rows of whole lines.
    bool stream = kb_nontemporal(b, b->l->buffer_of[out->id]) &&
                  (tall < 0 || kb_kernel_size(b, vec) % b->lanes == 0);
    kb_store_node(b, out, kb_value_here(b, out), stream);
  }
  if (tall >= 0) prefetch_squares(b, vec);
  else if (vec >= 0)
    kb_prefetch_next(b, b->scope->region, vec, PREFETCH_BYTES / 4, 1, 4 * b->l->target->l2_bytes);
  for (int i = 0; i < n; i++) kb_end_loop(b, NULL, 0);
}
