// GROUP_SCAN and GROUP_SCATTER on a GPU: threads over the axes that are not walked in order.
//
//   layout { N:64 = t64@1 }
//   grid N:64 { loop T:1 carry c = identity { y = c + x[T, N]; store y; yield y } }
#include "base/fault.h"
#include "passes/gpu.h"
#include "passes/lower_scan.h"

/// The parallel axes as a grid, one element per thread and small blocks: the walk is long.
static void open_parallel(kbuild *b, const int *axes, int n, int lanes) {
  enum { SMALL = 64 };
  gpu_share shares[MAX_AXES];
  int stride = 1;
  int threads = schedule_power(b->l, "threads", SMALL);
  gpu_spread(b, axes, n, lanes, 1, threads, 1, shares);
  for (int pass = 0; pass < 2; pass++)
    for (int i = n - 1; i >= 0; i--)
      if ((axes[i] == lanes) != pass) gpu_lay(b, 0, axes[i], shares[i], &stride);
  gpu_set_threads(b, stride);
  for (int i = 0; i < n; i++) kernel_set_grid(b->k, axes[i], gpu_extent(shares[i]));
  kb_begin(b);
}

static int kernel_lanes(const kbuild *b, int graph_axis) {
  return graph_axis < 0 ? -1 : b->kaxis[graph_axis];
}

void gpu_scan_group(kbuild *b) {
  const node *scan = b->group->anchor;
  int along = scan->attr_axes[0], others[MAX_AXES], n = 0;
  for (int i = 0; i < scan->naxes; i++)
    if (scan->axes[i] != along) others[n++] = scan->axes[i];
  kb_survey(b);
  int lanes = kb_best_lanes(b, others, n);
  int axes[MAX_AXES];
  n = kb_collapse(b, others, n, axes);
  int axis = kb_own_axis(b, along);
  open_parallel(b, axes, n, kernel_lanes(b, lanes));
  scan_walk(b, axes, n, axis);
}

void gpu_scatter_group(kbuild *b) {
  enum { ROWS = 16 };  // copied at a time, each thread its own
  scatter_axes s;
  scatter_find_axes(b, &s);
  kb_survey(b);
  int lanes = kb_best_lanes(b, s.own, s.nown);
  scatter_make_axes(b, &s);
  open_parallel(b, s.kown, s.nown, kernel_lanes(b, lanes));
  int rows = gpu_pow2(kb_kernel_size(b, s.target));
  scatter_walk(b, &s, rows < ROWS ? rows : ROWS);
}
