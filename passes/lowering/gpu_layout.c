// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Dealing elements out to threads.
//
//   lanes: r4 t32@1 r2          4 neighbours each, 32 threads, twice
//   rows:  t8@32                the other threads
#include "passes/lowering/gpu.h"

int gpu_extent(gpu_share s) { return s.vector * s.threads * s.repeat; }

int gpu_pow2(int64_t v) {
  int p = 1;
  while (p < v && p < 1 << 24) p *= 2;
  return p;
}

int64_t gpu_pieces(int64_t size, int64_t piece) {
  int64_t n = (size + piece - 1) / piece;
  return n > 0 ? n : 1;
}

int gpu_vector(const kbuild *b) {
  double most = 0;
  for (int i = 0; i < b->accesses.len; i++)
    if (b->accesses.data[i].elements > most) most = b->accesses.data[i].elements;
  int narrowest = 8;
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    int bytes = dtype_bytes(b->l->p->buffers.data[m->buffer].type);
    if (m->elements * 2 >= most && bytes < narrowest) narrowest = bytes;
  }
  int vector = 16 / narrowest;
  return schedule_power(b->l, "vector", vector > 8 ? 8 : vector);
}

/// No more than an eighth of it is beyond the size.
static bool is_tight(int64_t size, int64_t extent) {
  return gpu_pieces(size, extent) * extent * 8 <= size * 9;
}

int gpu_threads_along(int64_t size, int vector, int most) {
  enum { SECTORS = 8 };  // that many vectors of 16 bytes are a cache line
  int64_t pieces = gpu_pieces(size, vector);
  int largest = gpu_pow2(pieces) < most ? gpu_pow2(pieces) : most, best = largest;
  for (int t = largest; t >= SECTORS; t /= 2) {
    if (is_tight(pieces, t)) return t;
    if (gpu_pieces(pieces, t) * t < gpu_pieces(pieces, best) * best) best = t;
  }
  return best;
}

static int repeats(int64_t size, int64_t covered, int most) {
  int r = gpu_pow2(gpu_pieces(size, covered));
  while (r > most || (r > 1 && !is_tight(size, covered * r))) r /= 2;
  return r;
}

void gpu_spread(const kbuild *b, const int *axes, int n, int lanes, int vector, int threads,
                int elements, gpu_share *out) {
  for (int pass = 0; pass < 2; pass++)
    for (int i = n - 1; i >= 0; i--) {
      if ((axes[i] == lanes) == pass) continue;
      int64_t size = contraction_size(b, axes[i]);
      int v = axes[i] == lanes && vector > 1 ? vector : 1;
      while (v > 1 && v >= 2 * size) v /= 2;
      int t = gpu_threads_along(size, v, threads);
      out[i] = (gpu_share){v, t, 1};
      threads /= t;
      elements /= v;
    }
  for (int pass = 0; pass < 2; pass++)
    for (int i = n - 1; i >= 0; i--) {
      if ((axes[i] == lanes) == pass || elements < 2) continue;
      out[i].repeat = repeats(contraction_size(b, axes[i]), gpu_extent(out[i]), elements);
      elements /= out[i].repeat;
    }
}

void gpu_lay(kbuild *b, int layout, int axis, gpu_share s, int *stride) {
  while (b->k->layouts.len <= layout) kernel_add_layout(b->k);
  layout_digit digits[] = {{s.vector, 0}, {s.threads, *stride}, {s.repeat, 0}};
  kernel_set_layout(b->k, layout, axis, digits, 3);
  *stride *= s.threads;
}

void gpu_set_threads(kbuild *b, int used) { b->k->threads = used < GPU_WARP ? GPU_WARP : used; }

void gpu_store_outputs(kbuild *b) {
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    kb_store_node(b, out, kb_value_here(b, out), false);
  }
}
