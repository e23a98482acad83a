// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCATTER on a GPU: a thread for each column that walks the updates in order, or by rows.
#include "passes/lowering/gpu.h"
#include "passes/lowering/gpu_scatter.h"

static void add_in_order(kbuild *b, scatter_axes *s) {
  enum { ROWS = 16 };  // copied at a time, each thread its own
  kb_survey(b);
  int lanes = kb_best_lanes(b, s->own, s->nown);
  scatter_make_axes(b, s);
  gpu_open_walks(b, s->kown, s->nown, lanes < 0 ? -1 : b->kaxis[lanes]);
  int rows = gpu_pow2(kb_kernel_size(b, s->target));
  scatter_walk(b, s, rows < ROWS ? rows : ROWS);
}

void gpu_scatter_group(kbuild *b) {
  scatter_axes s;
  scatter_lists lists;
  if (!scatter_open(b, &s, &lists)) {
    add_in_order(b, &s);
    return;
  }
  gpu_list_updates(b->l, b->group, &lists);
  gpu_add_by_rows(b, &s, &lists);
}
