// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCATTER on a GPU: a thread for each column that walks the updates in order, or by rows
// (lower_scatter.h): the lists of gpu_scatter_lists.c, and a block for each row.
//
//   layout { D:512 = r4 t128@1, update:4 = r4 }
//   grid V:1, D:512 {
//     n = ends[V + 1] - ends[V]
//     sums = loop update:4 within 0, n { accum what is listed at ends[V] + update, below n }
//     store sums over update
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

/// Updates that a block adds at a time: enough to wait for all at once, and threads without columns
/// take part where there are as many.
static gpu_share share_of_updates(const kbuild *b, int64_t all, const scatter_axes *s, int used) {
  enum { AT_ONCE = 4, THREADS = 128 };
  int64_t rows = kb_kernel_size(b, s->target);
  // Some lists are longer than others.
  int each = gpu_pow2(gpu_pieces(estimate_times(2, all), rows > 0 ? rows : 1));
  gpu_share share = {1, 1, each < AT_ONCE ? each : AT_ONCE};
  while (share.threads * used < THREADS && gpu_extent(share) < each) share.threads *= 2;
  return share;
}

static void add_by_rows(kbuild *b, scatter_axes *s, const scatter_lists *lists) {
  enum { THREADS = 256, ELEMENTS = 4 };
  const node *n = b->group->anchor;
  int free_axes[MAX_AXES], stride = 1;
  gpu_share shares[MAX_AXES];
  b->unread = n->in[1];
  kb_survey(b);
  int lanes = lists->nfree ? kb_best_lanes(b, lists->free, lists->nfree) : -1;
  for (int i = 0; i < lists->nbatch; i++) kernel_set_grid(b->k, kb_own_axis(b, lists->batch[i]), 1);
  s->target = kb_own_axis(b, n->attr_axes[0]);
  kernel_set_grid(b->k, s->target, 1);
  int nfree = kb_collapse(b, lists->free, lists->nfree, free_axes);
  int vec = lanes < 0 ? -1 : b->kaxis[lanes];
  gpu_spread(b, free_axes, nfree, vec, ELEMENTS, THREADS, ELEMENTS, shares);
  for (int pass = 0; pass < 2; pass++)
    for (int i = nfree - 1; i >= 0; i--)
      if ((free_axes[i] == vec) != pass) gpu_lay(b, 0, free_axes[i], shares[i], &stride);
  for (int i = 0; i < nfree; i++) kernel_set_grid(b->k, free_axes[i], gpu_extent(shares[i]));
  ix_pool *pool = &b->k->ix;
  ix count = scatter_count(b, lists);
  gpu_share at_once = share_of_updates(b, ix_estimate(pool, count), s, stride);
  // Positions in the list: whole steps, so that no sum has an element without a position.
  ix extent = ix_const(pool, gpu_extent(at_once));
  ix steps = ix_div(pool, ix_add(pool, count, ix_const(pool, gpu_extent(at_once) - 1)), extent);
  int updates = kb_axis(b, STR("update"), ix_mul(pool, steps, extent));
  gpu_lay(b, 0, updates, at_once, &stride);
  gpu_set_threads(b, stride);
  kb_begin(b);
  tval *within[2];
  scatter_find_list(b, s, lists, within);
  tval *sum = scatter_row_sum_by_lanes(b, s, lists, updates, gpu_extent(at_once), within);
  kb_store_node(b, n, sum, false);
}

void gpu_scatter_group(kbuild *b) {
  lower *l = b->l;
  const group *grp = b->group;
  scatter_axes s;
  scatter_lists lists;
  scatter_find_axes(b, &s);
  if (!scatter_by_rows(b, &s, &lists)) {
    add_in_order(b, &s);
    return;
  }
  scatter_add_lists(l, grp->anchor, &lists);
  gpu_list_updates(l, grp, &lists);
  kb_init(b, l, grp, "");
  add_by_rows(b, &s, &lists);
}
