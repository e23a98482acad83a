// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_MAP on a GPU: each thread a few vectors, no loops.
//
//   layout { N_D:4096 = r8 t256@1 r2 }
//   grid N_D:4096 { load, map, store }
//
// Where some operand is contiguous along another axis than the results, a tile of it goes through
// an on-chip buffer, so that both sides of memory see neighbouring threads at neighbouring
// addresses:
//
//   grid N:64, D:64 {
//     local t : f32[D, N] pad 1
//     loop N:64 stage layout=1 { t = x[D, N] }      threads along N
//     ... t ...; store out[N, D]                    threads along D
#include "passes/lowering/gpu.h"

/// Elements per thread: enough loads in flight, enough blocks for all multiprocessors, and few
/// registers where the work per element is long.
static int elements_per_thread(const kbuild *b, const int *axes, int n, int vector) {
  int work = 0, loads = 0;
  for (int i = 0; i < b->group->nodes.len; i++)
    work += op_is_map(b->group->nodes.data[i]->op) ? op_get(b->group->nodes.data[i]->op)->cost : 0;
  for (int i = 0; i < b->accesses.len; i++) loads += !b->accesses.data[i].store;
  int64_t total = 1;
  for (int i = 0; i < n; i++) total = estimate_times(total, contraction_size(b, axes[i]));
  int elements = work > 60 || loads > 3 ? 8 : 16;
  elements = (int)schedule_option(b->l, "elements", elements);
  if (elements < vector) elements = vector;
  int64_t enough = (int64_t)b->l->target->cores * 4 * GPU_BLOCK;  // threads
  while (elements > vector && total / elements < enough) elements /= 2;
  while (elements > 1 && total / elements < enough / 8) elements /= 2;
  return elements;
}

// ---- transposed operands

enum { TILE = 64, SHORT = 16 };

typedef struct transposed {
  int lanes, other;  // graph axes
  int vec, tall;     // their kernel axes
  int layout;        // of the stage loops
  int64_t bytes;     // staged
} transposed;

/// The value is in memory with neighbours along `other`.
static bool lies_across(const kbuild *b, const transposed *t, const node *n) {
  const node *x = n;
  while (kb_in_group(b, x) && x->op == OP_view) x = x->in[0];
  if (kb_in_group(b, x) || b->l->buffer_of[x->id] < 0) return false;
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    if (m->store || m->buffer != b->l->buffer_of[x->id]) continue;
    if (kb_unit_stride(m, b, t->other) && m->coef[t->lanes] && !m->irregular[t->lanes]) return true;
  }
  return false;
}

static void stage_value(kbuild *b, transposed *t, const node *n) {
  enum { BANK = 4 };  // bytes
  int axes[MAX_KERNEL_AXES], naxes = 0;
  bool moves = false;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    bool used = false;
    for (int k = 0; k < n->naxes; k++) used |= ix_uses_axis(&b->k->ix, b->sigma[n->axes[k]], axis);
    if (used && axis != t->tall) axes[naxes++] = axis;
    moves |= used && axis == t->tall;
  }
  if (!moves) return;
  axes[naxes++] = t->tall;
  // What does not fit on chip is read across.
  int64_t bytes_staged = (int64_t)(TILE + 4) * TILE * dtype_bytes(n->type);
  if (t->bytes + bytes_staged > b->l->target->shared_per_block / 2) return;
  t->bytes += bytes_staged;
  int buf = kb_local(b, "across", n->type, axes, naxes), bytes = dtype_bytes(n->type);
  b->k->bufs.data[buf].pad = bytes < BANK ? BANK / bytes : 1;
  tstmt *loop = kb_loop(b, t->tall, b->extent[t->tall], NULL, 0);
  loop->stage = true;
  loop->layout = t->layout;
  kb_store_local(b, buf, kb_value_here(b, n));
  kb_end_loop(b, NULL, 0);
  b->local_of[n->id] = buf;
  b->local_ready[n->id] = true;
}

/// The operands of n are used at their own coordinates: a map, or a view that only reorders.
static bool keeps_coordinates(kbuild *b, const node *n) {
  if (!kb_in_group(b, n)) return false;
  if (op_is_map(n->op)) return true;
  ix here[MAX_AXES], below[MAX_AXES];
  if (n->op != OP_view) return false;
  kb_identity(b, n, here);
  for (int i = 0; i < n->in[0]->naxes; i++)
    if (!b->sigma[n->in[0]->axes[i]]) return false;
  kb_operand_sigma(b, n, 0, here, below);
  return kb_is_identity(b, n->in[0], below);
}

/// Stages what lies across among the values that n is made of at its own coordinates.
static void stage_below(kbuild *b, transposed *t, const node *n, bool *seen) {
  if (seen[n->id]) return;
  seen[n->id] = true;
  if (lies_across(b, t, n)) stage_value(b, t, n);
  else if (keeps_coordinates(b, n))
    for (int i = 0; i < n->nin; i++) stage_below(b, t, n->in[i], seen);
}

static gpu_share tile_share(const kbuild *b, int axis, int vector, int threads) {
  int extent = gpu_pow2(contraction_size(b, axis));
  if (extent > TILE) extent = TILE;
  int t = extent / vector < threads ? extent / vector : threads;
  return (gpu_share){vector, t, extent / (vector * t)};
}

/// Square tiles with two layouts; the other axes are walked by the grid.
static void lay_square(kbuild *b, const transposed *t, int vector) {
  for (int layout = 0; layout < 2; layout++) {
    int along = layout ? t->tall : t->vec, across = layout ? t->vec : t->tall, stride = 1;
    gpu_lay(b, layout, along, tile_share(b, along, vector, GPU_BLOCK), &stride);
    gpu_lay(b, layout, across, tile_share(b, across, 1, GPU_BLOCK / stride), &stride);
    if (!layout || stride > b->k->threads) gpu_set_threads(b, stride);
  }
}

static void map_transposed(kbuild *b, transposed *t, const int *axes, int n) {
  lay_square(b, t, gpu_vector(b));
  t->layout = 1;
  for (int i = 0; i < n; i++) {
    bool inside = axes[i] == t->vec || axes[i] == t->tall;
    int extent = inside ? gpu_extent(tile_share(b, axes[i], 1, GPU_BLOCK)) : 1;
    kernel_set_grid(b->k, axes[i], extent);
  }
  kb_begin(b);
  bool *seen = kb_unseen(b);
  for (int i = 0; i < b->group->outputs.len; i++)
    stage_below(b, t, b->group->outputs.data[i], seen);
  gpu_store_outputs(b);
}

void gpu_map_group(kbuild *b) {
  const node *like = b->group->outputs.data[0];
  kb_survey(b);
  int lanes = kb_best_lanes(b, like->axes, like->naxes);
  int other = lanes < 0 ? -1 : kb_other_unit_axis(b, lanes, like->axes, like->naxes);
  int axes[MAX_AXES];
  int n = kb_collapse(b, like->axes, like->naxes, axes);
  transposed t = {.lanes = lanes, .other = other};
  t.vec = lanes < 0 ? -1 : b->kaxis[lanes];
  t.tall = other < 0 ? -1 : b->kaxis[other];
  if (t.tall >= 0 && t.vec >= 0 && t.tall != t.vec && kb_kernel_size(b, t.tall) >= SHORT &&
      kb_kernel_size(b, t.vec) >= SHORT) {
    map_transposed(b, &t, axes, n);
    return;
  }
  int vector = gpu_vector(b), stride = 1;
  int elements = elements_per_thread(b, axes, n, vector);
  gpu_share shares[MAX_AXES];
  int threads = schedule_power(b->l, "threads", GPU_BLOCK);
  gpu_spread(b, axes, n, t.vec, elements < vector ? elements : vector, threads, elements, shares);
  for (int pass = 0; pass < 2; pass++)  // neighbouring threads along the lanes
    for (int i = n - 1; i >= 0; i--)
      if ((axes[i] == t.vec) != pass) gpu_lay(b, 0, axes[i], shares[i], &stride);
  gpu_set_threads(b, stride);
  for (int i = 0; i < n; i++) kernel_set_grid(b->k, axes[i], gpu_extent(shares[i]));
  kb_begin(b);
  gpu_store_outputs(b);
}
