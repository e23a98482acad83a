// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Instructions of NVIDIA GPUs as functions: LLVM's intrinsics with their types, and inline PTX for
// what has none (wgmma.mma_async, and waits that hold registers). Nothing here knows tiles.
//
// Shared memory addresses are i32 in the shared window, `lval`s of type i32; generic pointers are
// e->ptr; global ones are in address space 1. Every function check()s that the target has the
// instruction; callers ask ptx_has() first where they have a choice.
#pragma once
#include "codegen/emit.h"

typedef LLVMValueRef lval;

typedef enum ptx_feature {
  PTX_CP_ASYNC,    // cp.async, mma.sync with bf16 and tf32: sm_80
  PTX_TMA,         // mbarrier waits, bulk tensor copies, stmatrix, elect, clusters: sm_90
  PTX_SETMAXNREG,  // sm_90a and later kin
  PTX_WGMMA,       // sm_90a alone
} ptx_feature;
bool ptx_has(const emit *e, ptx_feature f);

enum { SPACE_GENERIC = 0, SPACE_GLOBAL = 1, SPACE_SHARED = 3, SPACE_CLUSTER = 7 };
/// Pointer in address space 3 for a shared address.
lval ptx_shared(emit *e, lval address);

// ---- threads
typedef enum ptx_sreg { SREG_TID, SREG_CTAID, SREG_NCTAID } ptx_sreg;  // .x
lval ptx_read(emit *e, ptx_sreg r);
/// Barrier `id` (0..15) of all threads of the block, or of `count` of them (a multiple of 32).
void ptx_barrier(emit *e, int id, int count);      // count 0: all
void ptx_barrier_of(emit *e, lval id, int count);  // id known at run time: reserves all
void ptx_barrier_arrive_of(emit *e, lval id, int count);
void ptx_barrier_warp(emit *e);
/// Barrier 0; i1: the condition (i1) of some thread of the block.
lval ptx_barrier_or(emit *e, lval condition);
/// Adds 1 to the i32 in global memory, or makes it 0 where it is `most`; gives what it was. What
/// the thread knows to be stored is there for who takes a later ticket (at the scope of the device).
lval ptx_take_ticket(emit *e, lval ticket, lval most);
/// Adds n (1, or with PTX_TMA 2 or 4) neighbouring f32 to those in global memory, aligned to all of
/// them; each by itself, in no order (at the scope of the device).
void ptx_add_to_memory(emit *e, lval global, const lval *v, int n);
/// The i32 or f32 of lane `from`.
lval ptx_shuffle_from(emit *e, lval v, lval from);
/// i1: true in one lane of the warp, which all enter.
lval ptx_elect(emit *e);
/// Gives up (dec) or takes registers, in whole warpgroups; per thread, a multiple of 8.
void ptx_setmaxnreg(emit *e, bool inc, int registers);

// ---- cp.async
/// Copies `bytes` (4, 8, 16) from global to shared memory, both aligned to it. `size`: i32, how
/// many are read, the rest being zeros; null: all.
void ptx_cp_async(emit *e, lval shared, lval global, int bytes, lval size);
void ptx_cp_async_commit(emit *e);
/// Until at most `pending` of the thread's groups are under way.
void ptx_cp_async_wait(emit *e, int pending);

// ---- mbarriers: 8 bytes of shared memory
void ptx_mbarrier_init(emit *e, lval address, int arrivals);
/// After the inits, before the barrier that makes them known.
void ptx_mbarrier_init_fence(emit *e);
void ptx_mbarrier_arrive(emit *e, lval address);
/// Arrives, and the phase waits for so many bytes of copies besides.
void ptx_mbarrier_expect(emit *e, lval address, lval bytes);
/// Loops until the phase with this parity (i32) is over. Opens blocks.
void ptx_mbarrier_wait(emit *e, lval address, lval parity);

// ---- clusters (PTX_TMA)
lval ptx_cluster_rank(emit *e);  // i32: which of the cluster's blocks this is
/// All threads of all blocks of the cluster.
void ptx_barrier_cluster(emit *e);
/// Pointer in SPACE_CLUSTER to what is at the shared address in block `rank`.
lval ptx_in_block(emit *e, lval address, lval rank);
/// Stores the i64 there and completes 8 bytes of that block's mbarrier.
void ptx_store_async(emit *e, lval to, lval value, lval mbarrier);

// ---- tensor memory access
/// Between ordinary accesses to shared memory and those of copy engine and wgmma; by every thread
/// that made them, before the barrier.
void ptx_fence_async(emit *e);
extern const uint64_t PTX_EVICT_FIRST;
/// Box at the coordinates (i32, innermost first) to shared memory; `hint`: L2 policy, 0 none.
void ptx_tma_load(emit *e, lval shared, lval mbarrier, lval map, const lval *at, int rank,
                  uint64_t hint);
void ptx_tma_store(emit *e, lval shared, lval map, const lval *at, int rank);
/// Adds so many bytes of f32 in shared memory to those in global memory, all multiples of 16: each by itself.
void ptx_bulk_add(emit *e, lval global, lval shared, int bytes);
void ptx_bulk_commit(emit *e);
/// Until at most `pending` of the thread's stores are under way; read: only until they have read
/// shared memory.
void ptx_bulk_wait(emit *e, int pending, bool read);

// ---- matrices of 8 x 8 16-bit elements
/// Loads n (1, 2, 4) matrices; lane 8 * m + r gives the address of row r of matrix m. out: i32s.
void ptx_ldmatrix(emit *e, lval address, int n, bool transposed, lval *out);
void ptx_stmatrix(emit *e, lval address, int n, bool transposed, const lval *in);
/// acc[4] += A (16 x 16, tf32: 16 x 8; i32 a[4]) * B (i32 b[2], 8 columns); f16, bf16 or f32 (tf32
/// bits).
void ptx_mma(emit *e, dtype t, lval *acc, const lval *a, const lval *b);
lval ptx_to_tf32(emit *e, lval f32_bits);  // i32 to i32, rounded to nearest

// ---- wgmma
typedef enum wgmma_major { WGMMA_K_MAJOR, WGMMA_MN_MAJOR } wgmma_major;
/// i64 descriptor of an operand in 128-byte-swizzled panels at `address` (see wgmma's layouts):
/// K-major: rows of 128 bytes along K; leading is unused. MN-major: rows k of 128 bytes along the
/// other axis; leading = bytes between panels.
lval ptx_wgmma_descriptor(emit *e, lval address, int leading);
/// acc[n / 2] = A * B + (keep ? acc : 0), 64 x n x 16 (tf32: 8). `a`: descriptor, or i32 a[4]
/// registers in `fragment`. keep: i32.
typedef struct wgmma_a {
  lval descriptor;
  wgmma_major major;
  const lval *fragment;
} wgmma_a;
void ptx_wgmma(emit *e, dtype t, int n, lval *acc, wgmma_a a, lval b, wgmma_major b_major,
               lval keep);
/// v in another register.
lval ptx_copy(emit *e, lval v);
void ptx_wgmma_fence(emit *e);
void ptx_wgmma_commit(emit *e);
/// Until at most `pending` groups are under way. The registers (f32 or i32) go through the wait, so
/// that nothing that uses them moves above it.
void ptx_wgmma_wait(emit *e, int pending, lval *registers, int n);
