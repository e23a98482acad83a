// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products of tiles in shared memory on tensor cores, sums in registers. Knows where elements lie,
// not what program asks for the product.
//
// The accumulator lies on the threads as the instructions have it: a warp's block of mma.sync is 16
// positions along M by 8 along N, a warpgroup's block of wgmma 64 by 8:
//
//   M:16 = t8@4 r2      N:8 = r2 t4@1        further digits: warps (threads) or more blocks
//   M:64 = t8@4 r2 t4@32                     (registers)
#pragma once
#include "codegen/nvptx/ptx.h"
#include "ir/units.h"

/// Element (i, k) of an operand, i along M (of a) or N (of b).
typedef struct mma_operand {
  dtype type;        // f16, bf16; f32: multiplied as tf32
  lval base;         // i32: shared address of element (0, 0); swizzled: a multiple of 1024
  bool k_unit;       // rows in memory run along k; else along i
  int pitch;         // bytes from row to row
  int panel;         // elements of a row in one panel; 0: rows are whole
  int panel_stride;  // bytes
  bool swizzle;      // 128 bytes a row: piece c of row r is at c ^ (r % 8)
} mma_operand;

/// The blocks that a thread has along M or N.
typedef struct mma_side {
  lval first;  // i32: the warp's part of the position; null: 0
  int align;   // first is a multiple of it
  int n;
  const int *at;  // by block: the rest of the position
} mma_side;

typedef struct mma_product {
  mma_operand a, b;
  mma_side m, n;
  int depth;   // along k
  lval *rows;  // wgmma: fragments of a in registers, [k][block][4] words; null: a lies on chip
  lval tid;
  lval *acc;         // f32
  int acc_m, acc_n;  // steps in acc from register to register along M and N; two registers a block
} mma_product;

/// f32 elements whose rows run along i, one by one: element (lane / 4 + 8 * (j %
/// across), lane % 4 + 4 * (j / across)) of the block at position i and step k in out[j]. first: the
/// warp's part of the position, or null.
void mma_load_single(emit *e, const mma_operand *o, lval first, lval lane, int i, int k, int across,
                     lval *out, int n);
/// Why the unit cannot do it; null: it can.
const char *product_refuses(dot_unit u, const mma_product *p);
/// acc += a * b. Shared memory has been written and a barrier passed; all warps (warpgroups) of the
/// layout enter. With wgmma the writers have fenced (ptx_fence_async), and the product is under way
/// when it returns: see pending.h.
void mma_emit(emit *e, const mma_product *p);
void wgmma_emit(emit *e, const mma_product *p);
/// The threads read the rows from shared memory themselves.
bool wgmma_loads_rows(const mma_operand *a);
