// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which form of a scatter takes less time, by estimates of what is moved. See lower_scatter.h.
#include <math.h>

#include "passes/lowering/gpu_scatter.h"

// What a core takes for a step that depends on the one before in memory that is near, and that is not;
// to begin a row's walk or find an update; columns that it then has at a time.
static const double near_seconds = 1.5e-9, far_seconds = 6e-9, begin_seconds = 2e-9, columns_at_once = 64;
enum { GPU_COLUMNS = 512 };  // of a block

typedef struct scatter_sizes {
  double batches, listed, rows, columns;
  double updates, results;  // elements of all batches
  double read;              // of updates that are read: through views, fewer
  double element, wide;     // bytes: of the result; of what is added up in memory, 0: the result
  bool reads_base, few;
} scatter_sizes;

static double product(const kbuild *b, const int *axes, int n) {
  double all = 1;
  for (int i = 0; i < n; i++) all *= (double)kb_estimate(b, axes[i]);
  return all;
}

static double elements_read(const kbuild *b, const node *n) {
  double least = product(b, n->axes, n->naxes);
  while (n->op == OP_view) {
    n = n->in[0];
    least = fmin(least, product(b, n->axes, n->naxes));
  }
  return least;
}

static scatter_sizes sizes_of(const kbuild *b, const scatter_axes *s, const scatter_lists *lists) {
  const node *n = b->group->anchor;
  scatter_sizes z = {.batches = product(b, lists->batch, lists->nbatch)};
  z.listed = product(b, lists->listed, lists->nlisted);
  z.rows = (double)kb_estimate(b, n->attr_axes[0]);
  z.columns = product(b, lists->free, lists->nfree);
  z.updates = z.batches * z.listed * z.columns;
  z.read = elements_read(b, n->in[2]);
  z.results = z.batches * z.rows * z.columns;
  z.element = dtype_bytes(n->type);
  z.wide = scatter_adds_many(b, s) ? 8 : 0;
  z.reads_base = !node_is_one_number(n->in[0]);
  z.few = z.wide > 0 && n->type != DT_f64 && z.columns >= columns_at_once &&
          3 * z.listed < z.rows;
  return z;
}

/// Bytes per second that some threads get of a set of that size.
static double rate(const target_info *t, double set, double threads) {
  double near = t->l2_bytes_per_second * threads;
  if (set <= fmax((double)t->l2_bytes * threads, (double)t->l3_bytes)) return near;
  return fmin(near, t->bytes_per_second * threads / t->cores);
}

/// One kernel, parallel over batches and columns.
static double seconds_in_order(const target_info *t, const scatter_sizes *z) {
  double threads = fmin(t->cores, z->batches * ceil(z->columns / columns_at_once));
  double stored = z->results * (z->element + (z->reads_base ? z->element : 0));
  double set = z->results * (z->element + (z->few ? 0 : z->wide));
  double each = 2 * (z->wide > 0 ? z->wide : z->element), read = z->read * z->element;
  double walks = 1;
  if (z->few) {  // the places are copied to the sums and back
    each += 2 * (z->element + z->wide);
    walks = 3;
    set = fmin(set, z->updates * (z->element + z->wide));
  } else {
    stored += 2 * z->results * z->wide;
  }
  double found = z->listed * z->batches / fmin(threads, z->batches);
  return stored / rate(t, stored, threads) + read / rate(t, read, threads) +
         z->updates * each / rate(t, set, threads) + walks * found * begin_seconds;
}

/// The lists, parallel over batches; and the rows.
static double seconds_by_rows(const target_info *t, const scatter_sizes *z) {
  enum { COUNTER = 4 };
  double lists = z->batches / fmin(t->cores, z->batches);
  double step = COUNTER * z->rows <= (double)t->l2_bytes ? near_seconds : far_seconds;
  double listing = lists * (2 * z->listed * step + z->rows * near_seconds);
  double stored = z->results * z->element * (z->reads_base ? 2 : 1), read = z->read * z->element;
  double begun = z->batches * ceil(z->columns / columns_at_once) * (z->rows + z->listed);
  // Rows of updates are read in an order that nothing foresees.
  double far = read > (double)t->l3_bytes ? 4 : 1;
  return listing + stored / rate(t, stored, t->cores) + far * read / rate(t, read, t->cores) +
         begun * begin_seconds / t->cores;
}

// ---- on a GPU

static double gpu_seconds_in_order(const target_info *t, const scatter_sizes *z) {
  enum { COLUMNS = 64, COPIED = 16 };
  double blocks = z->batches * ceil(z->columns / COLUMNS);
  double waits = 2 * z->listed + z->rows / COPIED * (z->reads_base || z->wide > 0);
  double at_once = fmin(blocks, (double)t->cores * t->blocks_per_core);
  double each = z->element + 2 * z->wide;
  return waits * t->memory_latency * blocks / at_once +
         (z->results + z->updates) * each / t->bytes_per_second;
}

static double gpu_seconds_by_rows(const target_info *t, const scatter_sizes *z) {
  enum { KERNELS = 7, COUNTER = 4, WALKS = 4, INSTRUCTIONS = 6, WAITS = 4 };
  double chunk = (double)gpu_list_chunk((int64_t)z->rows);
  double counters = z->batches * ceil(z->listed / chunk) * z->rows;
  double compared = z->batches * z->listed * fmin(chunk, z->listed) * INSTRUCTIONS;
  double lists = KERNELS * t->launch_seconds + counters * COUNTER * WALKS / t->bytes_per_second +
                 compared / (t->flops_per_second / 2 * t->cores);
  double moved = z->results * z->element * (z->reads_base ? 2 : 1) + z->updates * z->element;
  double side = fmax(1, GPU_COLUMNS / (4 * ceil(z->columns / 4)));  // rows of a block
  double blocks = z->batches * ceil(z->rows / side) * ceil(z->columns / GPU_COLUMNS);
  double at_once = (double)t->cores * fmin(t->blocks_per_core, t->threads_per_core / (GPU_COLUMNS / 4.0));
  return lists + fmax(moved / t->bytes_per_second, WAITS * t->memory_latency * ceil(blocks / at_once));
}

static bool is_less(const kbuild *b, const scatter_axes *s, const scatter_lists *lists) {
  const target_info *t = b->l->target;
  const node *n = b->group->anchor;
  scatter_sizes z = sizes_of(b, s, lists);
  if (t->sm) return gpu_seconds_by_rows(t, &z) < gpu_seconds_in_order(t, &z);
  bool rows = n->axes[n->naxes - 1] != n->attr_axes[0] && !node_has_axis(n->in[1], n->axes[n->naxes - 1]);
  if (lists->nfree && !rows) return false;  // a row's elements are no neighbours
  return seconds_by_rows(t, &z) < seconds_in_order(t, &z);
}

/// Which axes are what.
static void sort_axes(const kbuild *b, const scatter_axes *s, scatter_lists *lists) {
  const node *indices = b->group->anchor->in[1];
  *lists = (scatter_lists){.type = DT_i64};
  for (int i = 0; i < s->nown; i++) {
    bool batch = node_has_axis(indices, s->own[i]);
    if (batch) lists->batch[lists->nbatch++] = s->own[i];
    else lists->free[lists->nfree++] = s->own[i];
  }
  for (int i = 0; i < s->nwalked; i++) lists->listed[lists->nlisted++] = s->walked[i];
}

bool scatter_by_rows(const kbuild *b, const scatter_axes *s, scatter_lists *lists) {
  const graph *g = b->l->g;
  sort_axes(b, s, lists);
  if (!lists->nlisted) return false;  // one update
  bool known = true;
  int64_t size, all = 1;
  for (int i = 0; i < lists->nlisted; i++) {
    known = known && ix_is_const(&g->ix, graph_axis_size(g, lists->listed[i]), &size);
    all = known ? estimate_times(all, size) : 0;
  }
  if (known && all <= INT32_MAX) lists->type = DT_i32;
  return schedule_option(b->l, "by_rows", is_less(b, s, lists));
}
