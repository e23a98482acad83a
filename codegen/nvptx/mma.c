// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// mma.sync: fragments from shared memory by ldmatrix, one k step ahead of their use.
//
// ldmatrix.x4 loads four 8 x 8 matrices; lane 8 * m + r gives the address of row r of matrix m:
//
//           A, rows along k      A, rows along m (.trans)     B, rows along k     B, rows along n
//   m = 0   i 0..7,  k 0..7      k 0..7,  i 0..7              j 0..7,  k 0..7     k 0..7,  j 0..7
//   m = 1   i 8..15, k 0..7      k 0..7,  i 8..15             j 0..7,  k 8..15    k 8..15, j 0..7
//   m = 2   i 0..7,  k 8..15     k 8..15, i 0..7              j 8..15, k 0..7     k 0..7,  j 8..15
//   m = 3   i 8..15, k 8..15     k 8..15, i 8..15             j 8..15, k 8..15    k 8..15, j 8..15
//
// so a lane's row is lane % 16 and its 16-byte piece lane / 16 (first and last), or row lane % 8 +
// 8 * (lane / 16) and piece lane / 8 % 2. An f32 counts as two 16-bit elements along k.
#include "codegen/nvptx/mma.h"

#include "base/fault.h"

enum { PIECE = UNIT_PIECE, TURNS = 8, M_BLOCK = 16, N_BLOCK = 8 };

static unit_operand place_of(const mma_operand *o) {
  return (unit_operand){o->type, o->k_unit, o->pitch, o->panel, o->panel_stride, o->swizzle};
}

/// Blocks begin at multiples of their size.
static bool is_aligned(const mma_side *side, int block) {
  if (side->first && side->align % block) return false;
  for (int i = 0; i < side->n; i++)
    if (side->at[i] % block) return false;
  return true;
}

const char *product_refuses(dot_unit u, const mma_product *p) {
  const unit_info *unit = unit_get(u);
  if (p->a.type != p->b.type || !unit_takes(u, p->a.type)) return "element types";
  if (p->depth % unit_step(u, p->a.type)) return "depth is not a multiple of the instruction's";
  if (!is_aligned(&p->m, unit->m)) return "layout along M";
  if (!is_aligned(&p->n, unit->n)) return "layout along N";
  for (int i = 0; unit->places == UNIT_PANELS && i < p->n.n; i++)
    if (p->n.at[i] != i * unit->n) return "layout along N";
  // Columns that warpgroups share are whole panels, or lie in one, where rows lie along them.
  bool shared = unit->places == UNIT_PANELS && p->n.first && !p->b.k_unit;
  if (shared && p->n.align % p->b.panel && p->b.panel % p->n.align) return "layout along N";
  unit_operand a = place_of(&p->a), b = place_of(&p->b);
  if (p->rows && !unit_takes_registers(u, p->a.type)) return "rows in registers";
  const char *no = p->rows ? NULL : unit_refuses(u, &a, true);
  return no ? no : unit_refuses(u, &b, false);
}

// ---- small arithmetic on addresses

static lval num(emit *e, int v) { return emit_int(e->i32, v); }
static lval add(emit *e, lval a, lval b) { return LLVMBuildAdd(e->builder, a, b, ""); }
static lval mul(emit *e, lval a, int by) { return LLVMBuildMul(e->builder, a, num(e, by), ""); }
static lval xor_(emit *e, lval a, lval b) { return LLVMBuildXor(e->builder, a, b, ""); }
static lval low(emit *e, lval a, int below) {
  return LLVMBuildAnd(e->builder, a, num(e, below - 1), "");
}
static lval over(emit *e, lval a, int by) { return LLVMBuildUDiv(e->builder, a, num(e, by), ""); }

// ---- fragments

/// What a lane contributes to the addresses of an operand's fragments.
typedef struct loader {
  const mma_operand *o;
  const mma_side *side;
  bool fixed;  // pieces and panels of a block are known: first is a multiple of the panel
  lval lane;
  lval rows;  // base + bytes to the lane's row, and to the first panel where that is fixed
  lval turn;  // bytes that the lane adds to (swizzled: xors with) those of a piece
} loader;

static loader loader_new(emit *e, const mma_operand *o, const mma_side *side, lval tid, bool is_a) {
  loader l = {.o = o, .side = side, .lane = low(e, tid, 32)};
  lval row = low(e, l.lane, 16), piece = over(e, l.lane, 16);
  if (is_a != o->k_unit) {
    row = add(e, low(e, l.lane, 8), mul(e, piece, 8));
    piece = low(e, over(e, l.lane, 8), 2);
  }
  l.fixed = !side->first || o->k_unit || (o->panel && side->align % o->panel == 0);
  if (o->k_unit && side->first) row = add(e, row, side->first);
  l.rows = add(e, o->base, mul(e, row, o->pitch));
  if (!o->k_unit && side->first && l.fixed)
    l.rows = add(e, l.rows, mul(e, over(e, side->first, o->panel), o->panel_stride));
  l.turn = mul(e, o->swizzle ? xor_(e, piece, low(e, l.lane, TURNS)) : piece, PIECE);
  return l;
}

/// `piece`: its bytes within the row (of a panel).
static lval in_row(emit *e, const loader *l, lval piece) {
  return l->o->swizzle ? xor_(e, l->turn, piece) : add(e, l->turn, piece);
}

/// Address that a lane gives for the matrices at block position i and step k.
static lval fragment_address(emit *e, const loader *l, int i, int k) {
  const mma_operand *o = l->o;
  int bytes = dtype_bytes(o->type);
  int row = o->k_unit ? i : k, column = o->k_unit ? k : i;
  int panel = o->panel ? column / o->panel : 0;
  int inside = o->panel ? column % o->panel : column;
  if (!l->fixed) {
    lval c = add(e, l->side->first, num(e, i));
    lval at = add(e, l->rows, num(e, row * o->pitch));
    if (o->panel) at = add(e, at, mul(e, over(e, c, o->panel), o->panel_stride));
    if (o->panel) c = low(e, c, o->panel);
    return add(e, at, in_row(e, l, mul(e, c, bytes)));
  }
  lval at = add(e, l->rows, in_row(e, l, num(e, inside * bytes)));
  return add(e, at, num(e, row * o->pitch + panel * o->panel_stride));
}

static void round_all(emit *e, dtype t, lval *v, int n) {
  for (int i = 0; i < n && t == DT_f32; i++) v[i] = ptx_to_tf32(e, v[i]);
}

/// What ldmatrix cannot transpose.
void mma_load_single(emit *e, const mma_operand *o, lval first, lval lane, int i, int k, int across,
                     lval *out, int n) {
  for (int j = 0; j < n; j++) {
    lval row = add(e, low(e, lane, 4), num(e, 4 * (j / across)));
    lval column = add(e, over(e, lane, 4), num(e, i + 8 * (j % across)));
    if (first) column = add(e, column, first);
    lval at = add(e, o->base, mul(e, add(e, row, num(e, k)), o->pitch));
    if (o->panel) {
      at = add(e, at, mul(e, over(e, column, o->panel), o->panel_stride));
      column = low(e, column, o->panel);
    }
    lval inside = mul(e, column, 4);
    if (o->swizzle) inside = xor_(e, inside, mul(e, row, PIECE));
    out[j] = LLVMBuildLoad2(e->builder, e->i32, ptx_shared(e, add(e, at, inside)), "");
  }
}

static void load_a(emit *e, const loader *l, int k, lval *out) {
  const mma_operand *o = l->o;
  for (int b = 0; b < l->side->n; b++, out += 4) {
    int i = l->side->at[b];
    if (o->type == DT_f32 && !o->k_unit)
      mma_load_single(e, o, l->side->first, l->lane, i, k, 2, out, 4);
    else ptx_ldmatrix(e, fragment_address(e, l, i, k), 4, !o->k_unit, out);
    round_all(e, o->type, out, 4);
  }
}

/// Two neighbouring blocks at a time where they start at a multiple of 16.
static void load_b(emit *e, const loader *l, int k, lval *out) {
  const mma_operand *o = l->o;
  bool even = !l->side->first || l->side->align % 16 == 0;
  for (int b = 0; b < l->side->n;) {
    int i = l->side->at[b];
    bool two = b + 1 < l->side->n && l->side->at[b + 1] == i + N_BLOCK && even && i % 16 == 0;
    int n = two ? 4 : 2;
    if (o->type == DT_f32 && !o->k_unit) {
      n = 2;
      mma_load_single(e, o, l->side->first, l->lane, i, k, 1, out, 2);
    } else {
      ptx_ldmatrix(e, fragment_address(e, l, i, k), n, !o->k_unit, out);
    }
    round_all(e, o->type, out, n);
    b += n / 2;
    out += n;
  }
}

// ---- the product

static void multiply_blocks(emit *e, const mma_product *p, const lval *a, const lval *b) {
  for (int i = 0; i < p->m.n; i++)
    for (int j = 0; j < p->n.n; j++) {
      lval c[4];
      int first = 2 * i * p->acc_m + 2 * j * p->acc_n;
      int at[4] = {first, first + p->acc_n, first + p->acc_m, first + p->acc_m + p->acc_n};
      for (int r = 0; r < 4; r++) c[r] = p->acc[at[r]];
      ptx_mma(e, p->a.type, c, a + 4 * i, b + 2 * j);
      for (int r = 0; r < 4; r++) p->acc[at[r]] = c[r];
    }
}

void mma_emit(emit *e, const mma_product *p) {
  check(!product_refuses(DOT_MMA, p));
  loader la = loader_new(e, &p->a, &p->m, p->tid, true);
  loader lb = loader_new(e, &p->b, &p->n, p->tid, false);
  int step = unit_step(DOT_MMA, p->a.type);
  lval *a[2], *b[2];
  for (int i = 0; i < 2; i++) {
    a[i] = arena_array(e->arena, lval, 4 * p->m.n);
    b[i] = arena_array(e->arena, lval, 2 * p->n.n);
  }
  load_a(e, &la, 0, a[0]);
  load_b(e, &lb, 0, b[0]);
  for (int k = 0, now = 0; k < p->depth; k += step, now = !now) {
    if (k + step < p->depth) {
      load_a(e, &la, k + step, a[!now]);
      load_b(e, &lb, k + step, b[!now]);
    }
    multiply_blocks(e, p, a[now], b[now]);
  }
}
