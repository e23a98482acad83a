// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Lowering for GPUs: which thread of a block holds what. Sizes of grid tiles and loops are chosen
// together with their layouts; see "Threads" in ir/tile.h. Values come from the building blocks of
// passes/lowering/lower.h, as for CPUs.
#pragma once
#include "passes/lowering/lower_contraction.h"
#include "passes/lowering/lower_reduce.h"

enum { GPU_WARP = 32, GPU_BLOCK = 256, GPU_MOST_THREADS = 1024 };

/// An extent, distributed: pieces of `vector` neighbours, over `threads` threads, `repeat` times.
typedef struct gpu_share {
  int vector, threads, repeat;
} gpu_share;
int gpu_extent(gpu_share s);

int gpu_pow2(int64_t v);  // the least power of two that is not smaller; at most 2^24
int64_t gpu_pieces(int64_t size, int64_t piece);  // rounded up
/// Elements of a vector access: 16 bytes of the narrowest type that is streamed, at most 8.
int gpu_vector(const kbuild *b);
/// Threads along pieces of an axis, a power of two up to `most`: as many as can be without an
/// eighth of them idle, but enough for whole memory sectors.
int gpu_threads_along(int64_t size, int vector, int most);
/// Distributes axes (outermost first) to about `threads` threads with `elements` elements each: first
/// along `lanes` (a kernel axis, -1 none) in vectors, then from the innermost outwards.
void gpu_spread(const kbuild *b, const int *axes, int n, int lanes, int vector, int threads,
                int elements, gpu_share *out);
/// Writes the share of an axis into a layout; thread digits begin at *stride, which moves on.
void gpu_lay(kbuild *b, int layout, int axis, gpu_share s, int *stride);
/// Parallel axes as a grid of small blocks, whose threads walk something long each. lanes: kernel axis.
void gpu_open_walks(kbuild *b, const int *axes, int n, int lanes);
/// The threads of a block whose layouts use `used` of them.
void gpu_set_threads(kbuild *b, int used);
/// Stores every output that the group has, in the current ranges.
void gpu_store_outputs(kbuild *b);

// one lowering per kind of group
void gpu_map_group(kbuild *b);
void gpu_reduce_group(kbuild *b);
void gpu_contraction_group(kbuild *b);
void gpu_scan_group(kbuild *b);
void gpu_scatter_group(kbuild *b);
void gpu_stream_group(kbuild *b);
