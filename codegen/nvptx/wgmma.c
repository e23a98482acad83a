// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// wgmma: a warpgroup multiplies 64 positions along M by up to 256 along N straight from shared
// memory. Operands are 128-byte-swizzled panels in one of two forms:
//
//   rows along k: [k / 64][i][64]      next k step 32 bytes on, in the row; 8 rows are 1024 bytes
//   rows along i: [i / 64][k][64]      next k step 16 rows on; panels at the leading distance
//
// tf32 cannot be read in the second form. Its rows (a) pass registers then, as mma.sync has them; its
// columns are put into the first form when they are staged.
//
// A descriptor holds the address in units of 16 bytes, so that steps are added to it.
#include "base/fault.h"
#include "codegen/nvptx/mma.h"

enum { ROW = UNIT_ROW, N_BLOCK = 8, N_MOST = 256, UNUSED = 16 };

static int step_of(dtype t) { return unit_step(DOT_WGMMA, t); }

/// Descriptor of an operand at the beginning of the warpgroup's side, and bytes from there to block position i, step k.
static lval descriptor(emit *e, const mma_operand *o, const mma_side *side) {
  LLVMBuilderRef b = e->builder;
  lval at = o->base, first = side->first;
  int align = side->align;
  if (first) {
    int unit = o->k_unit ? 1 : o->panel;
    int bytes = o->k_unit ? ROW : o->panel_stride;
    lval rows = LLVMBuildUDiv(b, first, emit_int(e->i32, unit), "");
    at = LLVMBuildAdd(b, at, LLVMBuildMul(b, rows, emit_int(e->i32, bytes), ""), "");
    if (!o->k_unit && align % unit) {
      lval in_row = LLVMBuildURem(b, first, emit_int(e->i32, unit), "");
      at = LLVMBuildAdd(b, at, LLVMBuildMul(b, in_row, emit_int(e->i32, dtype_bytes(o->type)), ""),
                        "");
    }
  }
  return ptx_wgmma_descriptor(e, at, o->k_unit ? UNUSED : o->panel_stride);
}

static lval moved(emit *e, const mma_operand *o, lval descriptor, int i, int k) {
  int along_row = o->k_unit ? k : i, rows = o->k_unit ? i : k;
  int bytes = rows * ROW + along_row / o->panel * o->panel_stride +
              along_row % o->panel * dtype_bytes(o->type);
  return LLVMBuildAdd(e->builder, descriptor, emit_int(e->i64, bytes / 16), "");
}

static wgmma_major major(const mma_operand *o) {
  return o->k_unit ? WGMMA_K_MAJOR : WGMMA_MN_MAJOR;
}

/// One instruction's accumulators: a block along M, up to 32 blocks along N.
typedef struct piece {
  int m, n, blocks;
  lval *acc;  // within the one array of all pieces
} piece;

/// Moves registers between p->acc and the order of the instruction.
static void exchange(const mma_product *p, const piece *x, bool back) {
  for (int r = 0; r < 4 * x->blocks; r++) {
    int along_m = 2 * x->m + (r & 2) / 2, along_n = 2 * (x->n + r / 4) + (r & 1);
    lval *there = &p->acc[along_m * p->acc_m + along_n * p->acc_n];
    if (back) *there = x->acc[r];
    else x->acc[r] = *there;
  }
}

static int cut(emit *e, const mma_product *p, piece *pieces) {
  int n = 0;
  lval *acc = arena_array(e->arena, lval, 4 * p->m.n * p->n.n);
  for (int m = 0; m < p->m.n; m++)
    for (int j = 0; j < p->n.n; j += N_MOST / N_BLOCK) {
      int left = p->n.n - j;
      int blocks = left < N_MOST / N_BLOCK ? left : N_MOST / N_BLOCK;
      pieces[n++] = (piece){m, j, blocks, acc};
      acc += 4 * blocks;
    }
  return n;
}

bool wgmma_loads_rows(const mma_operand *a) { return a->type == DT_f32 && !a->k_unit; }

/// The fragments of all steps, [k][block][4]: loaded before the first instruction, for none of them
/// may change while it runs.
static lval *load_rows(emit *e, const mma_product *p) {
  LLVMBuilderRef b = e->builder;
  int step = step_of(DT_f32), steps = p->depth / step;
  lval *all = arena_array(e->arena, lval, 4 * p->m.n * steps), *next = all;
  lval lane = LLVMBuildAnd(b, p->tid, emit_int(e->i32, 31), "");
  lval warp =
      LLVMBuildAnd(b, LLVMBuildLShr(b, p->tid, emit_int(e->i32, 5), ""), emit_int(e->i32, 3), "");
  lval first = LLVMBuildShl(b, warp, emit_int(e->i32, 4), "");
  if (p->m.first) first = LLVMBuildAdd(b, first, p->m.first, "");
  for (int k = 0; k < p->depth; k += step)
    for (int m = 0; m < p->m.n; m++, next += 4) {
      mma_load_single(e, &p->a, first, lane, p->m.at[m], k, 2, next, 4);
      for (int i = 0; i < 4; i++) next[i] = ptx_to_tf32(e, next[i]);
    }
  return all;
}

/// The sums start at zero: the first step writes them instead of adding, and needs none.
static bool starts_fresh(const mma_product *p) {
  for (int i = 0; i < 4 * p->m.n * p->n.n; i++)
    if (!LLVMIsConstant(p->acc[i]) || !LLVMIsNull(p->acc[i])) return false;
  return true;
}

/// One value, or two that the compiler will find to be one.
static bool is_same(lval a, lval b) {
  if (a == b) return !LLVMIsConstant(a);
  lval x = LLVMIsABinaryOperator(a), y = LLVMIsABinaryOperator(b);
  return x && y && LLVMGetInstructionOpcode(x) == LLVMGetInstructionOpcode(y) &&
         LLVMGetOperand(x, 0) == LLVMGetOperand(y, 0) &&
         LLVMGetOperand(x, 1) == LLVMGetOperand(y, 1);
}

/// Sums that start from one value get registers of their own. The assembler would wait for all that is
/// under way at a copy from one that the unit adds to.
static void set_apart(emit *e, const mma_product *p) {
  int n = 4 * p->m.n * p->n.n;
  lval *made = arena_copy(e->arena, p->acc, sizeof(lval) * (size_t)n);
  for (int i = 0; i < n; i++)
    for (int k = 0; k < n; k++) {
      if (i == k || !is_same(made[k], made[i])) continue;
      p->acc[i] = ptx_copy(e, made[i]);
      break;
    }
}

void wgmma_emit(emit *e, const mma_product *p) {
  check(!product_refuses(DOT_WGMMA, p));
  piece *pieces = arena_array(e->arena, piece, p->m.n * ((p->n.n * N_BLOCK + N_MOST - 1) / N_MOST));
  int n = cut(e, p, pieces);
  lval *rows = p->rows ? p->rows : wgmma_loads_rows(&p->a) ? load_rows(e, p) : NULL;
  lval a = rows ? NULL : descriptor(e, &p->a, &p->m), b = descriptor(e, &p->b, &p->n);
  bool fresh = starts_fresh(p);
  if (!fresh) set_apart(e, p);
  for (int i = 0; i < n; i++) exchange(p, &pieces[i], false);
  for (int i = 0; fresh && i < 4 * p->m.n * p->n.n; i++) pieces[0].acc[i] = LLVMGetPoison(e->f32);
  ptx_wgmma_fence(e);
  for (int k = 0; k < p->depth; k += step_of(p->a.type))
    for (int i = 0; i < n; i++) {
      piece *x = &pieces[i];
      wgmma_a from = {.major = WGMMA_K_MAJOR};
      if (rows) from.fragment = rows + 4 * (k / step_of(p->a.type) * p->m.n + x->m);
      else from = (wgmma_a){moved(e, &p->a, a, p->m.at[x->m], k), major(&p->a), NULL};
      ptx_wgmma(e, p->a.type, x->blocks * N_BLOCK, x->acc, from,
                moved(e, &p->b, b, x->n * N_BLOCK, k), major(&p->b),
                emit_int(e->i32, !fresh || k > 0));
    }
  ptx_wgmma_commit(e);
  for (int i = 0; i < n; i++) exchange(p, &pieces[i], true);
}
