// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Dots on tensor cores: from tile IR to products of tiles in shared memory (mma.h).
//
//   %a = load left[M, K]     (not executed: the product reads `left` where it lies)
//   %x = cast %a             (not executed)
//   %d = dot wgmma %x, %y, %c over K
//
// Rows of wgmma may also be a cast of a 16-bit value: one that lies as an accumulator does has the
// unit's fragments in its registers.
#include "base/fault.h"
#include "codegen/nvptx/access.h"
#include "codegen/nvptx/mma.h"
#include "codegen/nvptx/pending.h"

// ---- which values are read in place

typedef struct uses {
  const tstmt **definition;  // by value
  int *count, *by_dots;      // by value
} uses;

static void see_region(uses *u, const tregion *r) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    for (int k = 0; k < s->nout; k++) u->definition[s->out[k]->id] = s;
    for (int k = 0; k < s->nin; k++) {
      u->count[s->in[k]->id]++;
      if (tstmt_on_tensor_cores(s) && k < 2) u->by_dots[s->in[k]->id]++;
    }
    see_region(u, s->body);
    see_region(u, s->other);
  }
}

bool region_has_tensor_dot(const tregion *r, dot_unit unit) {
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_DOT && s->unit == unit) return true;
    if (region_has_tensor_dot(s->body, unit) || region_has_tensor_dot(s->other, unit)) return true;
  }
  return false;
}

void tensor_open(ngen *g) {
  const kernel *k = g->k;
  int n = k->nvals + 1;
  bool wgmma = region_has_tensor_dot(&k->body, DOT_WGMMA);
  g->in_place = arena_array(g->arena, const tstmt *, n);
  g->unread = arena_array(g->arena, bool, n);
  g->rows_from = arena_array(g->arena, const tval *, n);
  g->row_words = arena_array(g->arena, lval *, n);
  g->definition = arena_array(g->arena, const tstmt *, n);
  if (!wgmma && !g->specialised && !region_has_tensor_dot(&k->body, DOT_MMA)) return;
  g->fence_locals = wgmma;
  // Known to be alike in the lanes of a warp, so that what is computed from it is so too.
  lval warp = LLVMBuildUDiv(g->e->builder, g->tid, i32_of(g, 32), "");
  g->warp = ptx_shuffle_from(g->e, warp, i32_of(g, 0));
  uses u = {g->definition, arena_array(g->arena, int, n), arena_array(g->arena, int, n)};
  see_region(&u, &k->body);
  for (int v = 0; v < n; v++) {
    const tstmt *d = u.definition[v];
    if (!u.by_dots[v] || !d) continue;
    const tstmt *load = d;
    if (d->kind == TILE_MAP && d->op == OP_cast) load = u.definition[d->in[0]->id];
    bool placed = unit_reads_load(k, load);
    if (!placed && load == d) continue;
    // Others may use the value too.
    g->unread[v] = u.count[v] == u.by_dots[v];
    if (!placed) {
      g->rows_from[v] = d->in[0];
      continue;
    }
    g->in_place[v] = load;
    if (load != d && g->unread[v] && u.count[d->in[0]->id] == 1) g->unread[d->in[0]->id] = true;
  }
}

bool tensor_reads_in_place(ngen *g, const tstmt *s) { return s->nout && g->unread[s->out[0]->id]; }

// ---- operands

ix nv_at_bases(ngen *g, ix e) {
  int n = g->k->axes.len;
  ix *by = arena_array(g->arena, ix, n + 1);
  for (int axis = 0; axis < n; axis++)
    if (g->ranges[axis]) by[axis] = g->ranges[axis]->base;
  return ix_substitute(&g->ix, &g->ix, e, by, n);
}

/// Coordinate along dimension d of the load's first element, from the start of the buffer.
static ix first_coordinate(ngen *g, const tstmt *load, int d) {
  return ix_sub(&g->ix, nv_at_bases(g, load->ix[d]), g->locals[load->buf].base[d]);
}

static int operand_dimension(ngen *g, const tstmt *load, int axis) {
  ix coef, rest;
  int64_t one;
  for (int d = 0; d < g->k->bufs.data[load->buf].rank; d++)
    if (ix_uses_axis(&g->ix, load->ix[d], axis) &&
        ix_affine(&g->ix, load->ix[d], axis, &coef, &rest) && ix_is_const(&g->ix, coef, &one) &&
        one == 1)
      return d;
  panic("dot operand %.*s does not run along its axis", STR_FMT(g->k->bufs.data[load->buf].name));
}

static const tstmt *operand_load(ngen *g, const tval *v) {
  const tstmt *load = g->in_place[v->id];
  if (!load) panic("an operand of a tensor core dot in %.*s is no load", STR_FMT(g->k->name));
  return load;
}

/// The place of an operand with free axis i and contracted axis k.
static mma_operand operand_of(ngen *g, const tval *v, int axis_i, int axis_k) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *load = operand_load(g, v);
  const tile_buf *t = &g->k->bufs.data[load->buf];
  const local_place *p = &g->locals[load->buf];
  int bytes = dtype_bytes(t->type), unit = t->panel > 0 ? t->panel_dim : t->rank - 1;
  int di = operand_dimension(g, load, axis_i), dk = operand_dimension(g, load, axis_k);
  check(unit == di || unit == dk);
  mma_operand o = {.type = t->type, .k_unit = unit == dk, .swizzle = t->swizzle, .panel = t->panel};
  o.pitch = (int)p->strides[unit == dk ? di : dk] * bytes;
  o.panel_stride = (int)p->panel_stride * bytes;
  ix offset = ix_const(&g->ix, 0);
  for (int d = 0; d < t->rank; d++) {
    ix at = first_coordinate(g, load, d);
    int64_t none;
    if (d == unit) check(ix_is_const(&g->ix, at, &none) && none == 0);
    else offset = ix_add(&g->ix, offset, ix_scale(&g->ix, at, p->strides[d] * bytes));
  }
  int64_t divisor = ix_divisor(&g->ix, offset);
  check(!t->swizzle || divisor % 1024 == 0);
  o.base = LLVMBuildPtrToInt(b, g->smem, g->e->i32, "");
  o.base = LLVMBuildAdd(b, o.base, i32_of(g, p->offset), "");
  if (p->copy) o.base = LLVMBuildAdd(b, o.base, p->copy, "");
  if (divisor) o.base = LLVMBuildAdd(b, o.base, nv_ix32(g, offset), "");
  return o;
}

// ---- sides

/// The blocks along a side; `own` digits belong to the instruction.
static mma_side side_of(ngen *g, const spread *s, int own) {
  LLVMBuilderRef b = g->e->builder;
  mma_side side = {.n = s->nregs / 2};
  int *at = arena_array(g->arena, int, side.n), weight = 1;
  for (int i = 0; i < side.n; i++) at[i] = s->pos[2 * i];
  side.at = at;
  for (int d = 0; d < s->layout->ndigits; d++) {
    layout_digit digit = s->layout->digits[d];
    if (d >= own && digit.stride) {
      check(digit.stride % 32 == 0);
      lval v = LLVMBuildUDiv(b, g->warp, i32_of(g, digit.stride / 32), "");
      v = LLVMBuildURem(b, v, i32_of(g, digit.size), "");
      v = LLVMBuildMul(b, v, i32_of(g, weight), "");
      side.first = side.first ? LLVMBuildAdd(b, side.first, v, "") : v;
      side.align = (int)ix_gcd(side.align, weight);
    }
    weight *= digit.size;
  }
  return side;
}

lval tensor_side_first(ngen *g, const spread *s, bool rows) {
  return side_of(g, s,
                 rows ? unit_row_digits(DOT_WGMMA, s->layout)
                      : unit_column_digits(DOT_WGMMA, s->layout))
      .first;
}

static void find_sides(ngen *g, const tstmt *s, const shape *sh, int *m, int *n) {
  *m = *n = -1;
  for (int i = 0; i < sh->naxes; i++) {
    if (unit_row_digits(s->unit, sh->on[i]->layout)) *m = i;
    else if (unit_column_digits(s->unit, sh->on[i]->layout)) *n = i;
    else if (sh->on[i]->extent > 1) *m = *n = g->k->axes.len;
  }
  if (*m < 0 || *n < 0 || *m == g->k->axes.len)
    panic("the layouts of a tensor core dot in %.*s are not the instruction's",
          STR_FMT(g->k->name));
}

static int step_along(const shape *sh, int axis) {
  int step = 1;
  for (int i = axis + 1; i < sh->naxes; i++) step *= sh->on[i]->nregs;
  return step;
}

/// The contracted axis that the step runs along; the others stand still.
static int depth_axis(ngen *g, const tstmt *s) {
  int axis = s->axes[0];
  for (int i = 0, found = 0; i < s->naxes; i++) {
    if (tval_extent(s->in[0], s->axes[i]) == 1) continue;
    if (found++)
      panic("a tensor core dot in %.*s runs along two axes at once", STR_FMT(g->k->name));
    axis = s->axes[i];
  }
  return axis;
}

bool tensor_reads_plainly(ngen *g, const tstmt *dot) {
  const tstmt *load = g->in_place[dot->in[0]->id];
  return dot->unit == DOT_MMA || (load && g->k->bufs.data[load->buf].type == DT_f32);
}

// ---- rows in registers

const tval *tensor_rows_from(const ngen *g, const tstmt *dot) {
  const tval *rows = dot->in[0];
  return g->in_place[rows->id] ? NULL : g->rows_from[rows->id];
}

void tensor_give_rows(ngen *g, const tval *rows, lval *words) { g->row_words[rows->id] = words; }

/// Two neighbouring 16-bit registers along `axis` as a word; what is invalid along it is 0, as it is
/// on chip.
static lval word_at(ngen *g, const tval *v, int axis, int at) {
  lval half[2];
  for (int i = 0; i < 2; i++) {
    lval ok = NULL, zero = nv_zero(g, v->type);
    g->at[axis] = at + i;
    lval x = nv_axis_alive(g, axis, tval_extent(v, axis), &ok) ? nv_at(g, v) : NULL;
    half[i] = x ? nv_blend(g, ok, x, zero) : zero;
  }
  return nv_pack_pair(g, v->type, half[0], half[1]);
}

/// As the instruction takes them: [k][block][4].
static lval *words_of(ngen *g, const tval *v, int m, int k, int *n) {
  shape sh = nv_shape_of(g, v);
  int blocks = 1, steps = 1;
  for (int i = 0; i < sh.naxes; i++) {
    g->at[sh.axes[i]] = 0;
    if (sh.axes[i] == m) blocks = sh.on[i]->nregs / 2;
    if (sh.axes[i] == k) steps = sh.on[i]->nregs / 4;
  }
  *n = 4 * blocks * steps;
  lval *words = arena_array(g->arena, lval, *n);
  for (int step = 0; step < steps; step++)
    for (int block = 0; block < blocks; block++)
      for (int i = 0; i < 4; i++) {
        g->at[m] = 2 * block + (i & 1);
        words[4 * (step * blocks + block) + i] = word_at(g, v, k, 4 * step + (i & 2));
      }
  return words;
}

lval *tensor_row_words(ngen *g, const tstmt *s, int *n) {
  shape sh = nv_shape_of(g, s->out[0]);
  int rows, columns;
  find_sides(g, s, &sh, &rows, &columns);
  return words_of(g, tensor_rows_from(g, s), sh.axes[rows], depth_axis(g, s), n);
}

void tensor_dot(ngen *g, const tstmt *s) {
  shape sh = nv_shape_of(g, s->out[0]);
  int m, n, nwords, k = depth_axis(g, s);
  check(s->out[0]->type == DT_f32);
  find_sides(g, s, &sh, &m, &n);
  const tval *a = s->in[0], *b = s->in[1], *rows = tensor_rows_from(g, s);
  if (!rows && !tval_extent(a, sh.axes[m])) a = s->in[1], b = s->in[0];
  if (!rows) nv_before_access(g, operand_load(g, a)->buf, false);
  nv_before_access(g, operand_load(g, b)->buf, false);
  mma_product p = {
      .a = rows ? (mma_operand){.type = rows->type} : operand_of(g, a, sh.axes[m], k),
      .b = operand_of(g, b, sh.axes[n], k),
      .m = side_of(g, sh.on[m], unit_row_digits(s->unit, sh.on[m]->layout)),
      .n = side_of(g, sh.on[n], unit_column_digits(s->unit, sh.on[n]->layout)),
      .depth = tval_extent(a, k),
      .tid = g->tid,
      .acc_m = step_along(&sh, m),
      .acc_n = step_along(&sh, n),
  };
  if (rows) p.rows = g->row_words[rows->id];
  if (rows && !p.rows) p.rows = tensor_row_words(g, s, &nwords);
  p.acc = nv_define(g, s->out[0]);
  for (int r = 0; r < sh.nregs; r++) {
    nv_enter(g, &sh, r);
    lval v = nv_at(g, s->in[2]);
    p.acc[r] = v ? v : nv_zero(g, DT_f32);
  }
  const char *no = product_refuses(s->unit, &p);
  if (no) panic("a dot in %.*s cannot be done on tensor cores: %s", STR_FMT(g->k->name), no);
  if (s->unit == DOT_MMA) {
    mma_emit(g->e, &p);
    return;
  }
  wgmma_emit(g->e, &p);
  flight_start(g, s->out[0], rows ? -1 : operand_load(g, a)->buf, operand_load(g, b)->buf);
}
