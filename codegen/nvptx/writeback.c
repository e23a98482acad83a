// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Results in the layout of wgmma's accumulators, written through shared memory: a warpgroup puts
// blocks of 64 x 64 16-bit elements there (stmatrix, swizzled), and the copy engine stores them, or,
// where rows are unaligned, the warps do, row by row. Two blocks take turns, so that one
// is filled while the engine reads the other. The engine clips what lies outside of the tensor.
#include "base/fault.h"
#include "codegen/nvptx/access.h"
#include "codegen/nvptx/host.h"
#include "codegen/nvptx/pipeline.h"

enum { WARPGROUP = 128, BLOCK = 64, ROW = 128, BLOCK_BYTES = BLOCK * ROW };
enum { ROW_WARPS = 4, TOGETHER = 4 };  // of a warpgroup that store rows; rows of a warp at a time

// ---- which stores

static const axis_layout *layout_of(const kernel *k, int axis, int extent) {
  const thread_layout *l = &k->layouts.data[0];
  for (int i = 0; i < l->axes.len; i++)
    if (l->axes.data[i].axis == axis && l->axes.data[i].extent == extent) return &l->axes.data[i];
  return NULL;
}

/// The axes of the value that are rows and columns of the accumulator; false: it is none.
static bool find_sides(const kernel *k, const tval *v, int *m, int *n) {
  *m = *n = -1;
  for (int i = 0; i < v->naxes; i++) {
    const axis_layout *l = layout_of(k, v->axes[i], v->extents[i]);
    if (unit_row_digits(DOT_WGMMA, l) && v->extents[i] % BLOCK == 0) *m = i;
    else if (unit_column_digits(DOT_WGMMA, l) && v->extents[i] % BLOCK == 0) *n = i;
    else if (v->extents[i] > 1) return false;
  }
  return *m >= 0 && *n >= 0;
}

/// The step in memory along an axis of the value; false: it is not fixed.
static bool step_along(ngen *g, const tstmt *s, int axis, ix *step) {
  ix rest, offset = access_offset(g, s, s->buf);
  return ix_uses_axis(&g->ix, offset, axis) && ix_affine(&g->ix, offset, axis, step, &rest) &&
         ix_is_size(&g->ix, *step);
}

/// Boxes of a block's rows and columns, which are clipped where the axes end.
static bool plan_map(ngen *g, writeback *w) {
  const tstmt *s = w->store;
  const tval *v = s->in[0];
  box_extents box = {0};
  for (int i = 0; i < v->naxes; i++) {
    box.axes[box.n] = v->axes[i];
    box.extents[box.n++] = v->extents[i];
  }
  for (int over_axes = 0; over_axes < 2; over_axes++) {
    bool walks =
        over_axes ? map_walk_axes(g, s, &w->walk) : map_walk_dimensions(g, s, &box, &w->walk);
    int row = map_walk_along(&w->walk, v->axes[w->m]);
    if (!walks || row < 1 || map_walk_along(&w->walk, v->axes[w->n])) continue;
    bool all = true;
    for (int i = 0; i < box.n; i++) all &= map_walk_along(&w->walk, box.axes[i]) >= 0;
    if (!all) continue;
    tcf_map_info map = {.word = TCF_KERNEL_SYMBOLS + g->program->symbols.len + s->buf,
                        .rank = w->walk.rank,
                        .element_bytes = 2,
                        .swizzle = ROW,
                        .box = {BLOCK, 1, 1, 1, 1}};
    map.box[row] = BLOCK;
    w->map = map_number(g, &map, &w->walk.over);
    return true;
  }
  return false;
}

static bool plan_store(ngen *g, const tstmt *s, writeback *w) {
  const tile_buf *t = &g->k->bufs.data[s->buf];
  const tval *v = s->in[0];
  ix step;
  int64_t one;
  *w = (writeback){.store = s};
  if (t->local || s->nin != 1 || dtype_bytes(t->type) != 2) return false;
  if (!find_sides(g->k, v, &w->m, &w->n)) return false;
  if (!step_along(g, s, v->axes[w->m], &step)) return false;
  if (!step_along(g, s, v->axes[w->n], &step) || !ix_is_const(&g->ix, step, &one) || one != 1)
    return false;
  w->engine = plan_map(g, w);
  return true;
}

/// A loop of one step, which is as good as none.
static bool is_one_step(ngen *g, const tstmt *s) {
  int64_t n;
  return s->kind == TILE_LOOP && !s->stage && s->stages < 2 && !s->layout && !s->from &&
         !s->below && !s->within && ix_is_const(&g->ix, g->k->axes.data[s->axis].size, &n) && n > 0 &&
         n <= s->extent;
}

static void plan_region(ngen *g, const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    writeback w;
    if (is_one_step(g, s)) plan_region(g, s->body);
    if (s->kind != TILE_STORE || g->k->threads % WARPGROUP || !plan_store(g, s, &w)) continue;
    vec_push(g->arena, &g->writebacks, w);
    bool two = s->in[0]->extents[w.n] > BLOCK && g->k->blocks_per_sm < 2;  // else little room
    int blocks = two ? 2 : 1;
    if (blocks > g->staging_blocks) g->staging_blocks = blocks;
  }
}

/// Each store ends where the next one begins to take turns: after a whole round.
static bool ends_in_turn(const ngen *g) {
  int64_t warpgroups = g->k->threads / WARPGROUP;
  for (int i = 0; i < g->writebacks.len; i++) {
    const writeback *w = &g->writebacks.data[i];
    const int *extents = w->store->in[0]->extents;
    if (extents[w->m] / (BLOCK * warpgroups) * (extents[w->n] / BLOCK) % g->staging_blocks) return false;
  }
  return true;
}

void writeback_plan(ngen *g) {
  int64_t warpgroups = g->k->threads / WARPGROUP;
  plan_region(g, &g->k->body);
  g->staging_bytes = warpgroups * g->staging_blocks * BLOCK_BYTES;
}

void writeback_open(ngen *g) {
  enum { ALIGN = 1024 };
  if (!g->writebacks.len) return;
  g->staging = (g->shared_top + ALIGN - 1) / ALIGN * ALIGN;
  g->shared_top = g->staging + g->staging_bytes;
  if (g->shared_top > g->shared_peak) g->shared_peak = g->shared_top;
}

// ---- writing

typedef struct writer {
  const writeback *w;
  lval group;            // warpgroup
  lval first;            // i1: the thread that stores
  lval staging;          // the warpgroup's
  lval row, turn, half;  // of the lane: bytes to its row of a block, row % 8, 0 or 1
} writer;

static writer writer_new(ngen *g, const writeback *w) {
  LLVMBuilderRef b = g->e->builder;
  writer x = {.w = w};
  lval lane = LLVMBuildAnd(b, g->tid, i32_of(g, 31), "");
  lval warp = LLVMBuildAnd(b, g->warp, i32_of(g, 3), "");
  lval thread = LLVMBuildAnd(b, g->tid, i32_of(g, WARPGROUP - 1), "");
  x.group = LLVMBuildLShr(b, g->warp, i32_of(g, 2), "");
  x.first = LLVMBuildICmp(b, LLVMIntEQ, thread, i32_of(g, 0), "");
  lval base = LLVMBuildPtrToInt(b, g->smem, g->e->i32, "");
  base = LLVMBuildAdd(b, base, i32_of(g, g->staging), "");
  lval own = LLVMBuildMul(b, x.group, i32_of(g, g->staging_blocks * BLOCK_BYTES), "");
  x.staging = LLVMBuildAdd(b, base, own, "");
  lval row = LLVMBuildAdd(b, LLVMBuildShl(b, warp, i32_of(g, 4), ""),
                          LLVMBuildAnd(b, lane, i32_of(g, 15), ""), "");
  x.row = LLVMBuildMul(b, row, i32_of(g, ROW), "");
  x.turn = LLVMBuildAnd(b, lane, i32_of(g, 7), "");
  x.half = LLVMBuildLShr(b, lane, i32_of(g, 4), "");
  return x;
}

/// Register of the value at the accumulator's position: block of 64 rows, half of the 16 rows of a
/// warp, block of 8 columns, column of the thread's two.
static lval sum_at(ngen *g, const shape *sh, const writer *x, int block, int half, int j, int c) {
  int at = 0;
  for (int i = 0; i < sh->naxes; i++) {
    int reg = i == x->w->m ? 2 * block + half : i == x->w->n ? 2 * j + c : 0;
    at = at * sh->on[i]->nregs + reg;
  }
  lval v = g->regs[x->w->store->in[0]->id][at];
  return v ? v : nv_zero(g, x->w->store->in[0]->type);
}

/// 64 rows by 64 columns, 16 columns an instruction: lane l gives row l % 16 of the warp's, and of
/// two pieces of 8 columns the one l / 16.
static void fill_block(ngen *g, const shape *sh, const writer *x, lval place, int block,
                       int chunk) {
  LLVMBuilderRef b = g->e->builder;
  dtype t = x->w->store->in[0]->type;
  for (int pair = 0; pair < BLOCK / 16; pair++) {
    lval words[4];
    for (int i = 0; i < 4; i++) {
      int j = chunk * 8 + pair * 2 + i / 2;
      words[i] = nv_pack_pair(g, t, sum_at(g, sh, x, block, i % 2, j, 0),
                               sum_at(g, sh, x, block, i % 2, j, 1));
    }
    lval piece = LLVMBuildAdd(b, x->half, i32_of(g, 2 * pair), "");
    piece = LLVMBuildShl(b, LLVMBuildXor(b, piece, x->turn, ""), i32_of(g, 4), "");
    lval at = LLVMBuildAdd(b, LLVMBuildAdd(b, place, x->row, ""), piece, "");
    ptx_stmatrix(g->e, at, 4, false, words);
  }
}

/// `row`, `column`: of the block within the grid tile.
static void store_block(ngen *g, const writer *x, lval place, lval row, int column) {
  const map_walk *walk = &x->w->walk;
  int words = TCF_KERNEL_SYMBOLS + g->program->symbols.len + g->k->nargs;
  int along_rows = map_walk_along(walk, x->w->store->in[0]->axes[x->w->m]);
  guard one = nv_guard(g, x->first);
  lval at[5], map = LLVMGetParam(g->function, (unsigned)(words + x->w->map));
  for (int i = 0; i < walk->rank; i++) {
    ix first = nv_at_bases(g, walk->at[i]);
    if (i == 0) first = ix_add(&g->ix, first, ix_const(&g->ix, column));
    at[i] = nv_ix32(g, first);
    if (i == along_rows) at[i] = LLVMBuildAdd(g->e->builder, at[i], row, "");
  }
  ptx_tma_store(g->e, place, map, at, walk->rank);
  ptx_bulk_commit(g->e);
  nv_guard_end(g, one);
}

// ---- unaligned rows

/// What a warp stores of a row of 64 elements: words at even elements of the buffer.
///
///   row        a b c d e f g ...        begins at an odd element: lane 1 stores bc
///   words    . a|b c|d e|f g|...        and lane 0 the half that is a
typedef struct row_part {
  lval place;     // pointer to the row's first element
  lval word;      // of the lane
  lval shift;     // i32: 1 where the row begins at an odd element
  lval first;     // element of the row in the low half of `word`
  lval last;      // i32: the lane's own word, of which the row's last element is the high half
  lval elements;  // i32, of the row that exist
} row_part;

/// Reads row `row` of a block and moves its elements to where words begin in memory.
static row_part read_row(ngen *g, const writer *x, lval block, lval row, lval offset,
                         lval elements) {
  LLVMBuilderRef b = g->e->builder;
  row_part p = {.elements = elements};
  lval lane = LLVMBuildAnd(b, g->tid, i32_of(g, 31), "");
  lval piece = LLVMBuildXor(b, LLVMBuildLShr(b, lane, i32_of(g, 2), ""),
                            LLVMBuildAnd(b, row, i32_of(g, 7), ""), "");
  lval at = LLVMBuildAdd(b, block, LLVMBuildMul(b, row, i32_of(g, ROW), ""), "");
  at = LLVMBuildAdd(b, at, LLVMBuildShl(b, piece, i32_of(g, 4), ""), "");
  lval in_piece = LLVMBuildAnd(b, lane, i32_of(g, 3), "");
  at = LLVMBuildAdd(b, at, LLVMBuildShl(b, in_piece, i32_of(g, 2), ""), "");
  p.last = LLVMBuildLoad2(b, g->e->i32, ptx_shared(g->e, at), "");
  p.shift = LLVMBuildAnd(b, LLVMBuildTrunc(b, offset, g->e->i32, ""), i32_of(g, 1), "");
  lval before = ptx_shuffle_from(g->e, p.last, LLVMBuildSub(b, lane, i32_of(g, 1), ""));
  lval words[] = {p.last, before, LLVMBuildShl(b, p.shift, i32_of(g, 4), "")};
  p.word = emit_intrinsic(g->e, "llvm.fshl", &g->e->i32, 1, words, 3);
  p.first = LLVMBuildSub(b, LLVMBuildShl(b, lane, i32_of(g, 1), ""), p.shift, "");
  p.place = LLVMBuildGEP2(b, g->e->i16, g->bufs[x->w->store->buf], &offset, 1, "");
  return p;
}

static void store_where(ngen *g, lval ok, lval value, lval place, lval element) {
  guard w = nv_guard(g, ok);
  lval at = LLVMBuildGEP2(g->e->builder, g->e->i16, place, &element, 1, "");
  unsigned bytes = LLVMTypeOf(value) == g->e->i16 ? 2 : 4;
  LLVMSetAlignment(LLVMBuildStore(g->e->builder, value, at), bytes);
  nv_guard_end(g, w);
}

static lval half_of(ngen *g, lval word, bool high) {
  LLVMBuilderRef b = g->e->builder;
  if (high) word = LLVMBuildLShr(b, word, i32_of(g, 16), "");
  return LLVMBuildTrunc(b, word, g->e->i16, "");
}

static void write_row(ngen *g, const row_part *p) {
  LLVMBuilderRef b = g->e->builder;
  lval zero = i32_of(g, 0), second = LLVMBuildAdd(b, p->first, i32_of(g, 1), "");
  lval low = LLVMBuildICmp(b, LLVMIntULT, p->first, p->elements, "");  // not -1
  lval high = LLVMBuildICmp(b, LLVMIntULT, second, p->elements, "");
  store_where(g, LLVMBuildAnd(b, low, high, ""), p->word, p->place, p->first);
  lval half = LLVMBuildSelect(b, low, half_of(g, p->word, false), half_of(g, p->word, true), "");
  store_where(g, LLVMBuildXor(b, low, high, ""), half, p->place,
              LLVMBuildSelect(b, low, p->first, second, ""));
  // The last element of a row that begins at an odd one has no word.
  lval end = LLVMBuildAdd(b, second, p->shift, "");
  lval alone = LLVMBuildICmp(b, LLVMIntEQ, end, i32_of(g, BLOCK - 1), "");
  alone = LLVMBuildAnd(b, alone, LLVMBuildICmp(b, LLVMIntNE, p->shift, zero, ""), "");
  alone = LLVMBuildAnd(b, alone, LLVMBuildICmp(b, LLVMIntULT, end, p->elements, ""), "");
  store_where(g, alone, half_of(g, p->last, true), p->place, end);
}

/// Elements of the axis from position `at` on, no less than 0, as an i32.
static lval elements_left(ngen *g, int axis, lval at) {
  LLVMBuilderRef b = g->e->builder;
  ix left = ix_sub(&g->ix, g->k->axes.data[axis].size, g->ranges[axis]->base);
  lval n = LLVMBuildSub(b, nv_ix32(g, left), at, "");
  lval none = LLVMBuildICmp(b, LLVMIntSLT, n, i32_of(g, 0), "");
  return LLVMBuildSelect(b, none, i32_of(g, 0), n, "");
}

/// Of the block that store_rows stores.
typedef struct block_rows {
  lval place;          // in shared memory
  lval first;          // its first row within the grid tile
  lval rows, columns;  // that exist
  lval origin, pitch;  // elements, i64
} block_rows;

/// The warp's rows at `next` and every fourth after it; all are read before the first is stored.
static void store_some_rows(ngen *g, const writer *x, const block_rows *r, lval next) {
  LLVMBuilderRef b = g->e->builder;
  row_part parts[TOGETHER];
  for (int i = 0; i < TOGETHER; i++) {
    lval row = LLVMBuildAdd(b, next, i32_of(g, i * ROW_WARPS), "");
    lval exists = LLVMBuildICmp(b, LLVMIntSLT, row, r->rows, "");
    lval elements = LLVMBuildSelect(b, exists, r->columns, i32_of(g, 0), "");
    lval down = LLVMBuildSExt(b, LLVMBuildAdd(b, r->first, row, ""), g->e->i64, "");
    lval offset = LLVMBuildAdd(b, r->origin, LLVMBuildMul(b, down, r->pitch, ""), "");
    parts[i] = read_row(g, x, r->place, row, offset, elements);
  }
  for (int i = 0; i < TOGETHER; i++) write_row(g, &parts[i]);
}

/// Each warp a quarter of the rows. A loop at run time: the addresses of all rows of all blocks at
/// once would take too many registers beside the sums.
static void store_rows(ngen *g, const writer *x, lval block, lval first_row, int column) {
  LLVMBuilderRef b = g->e->builder;
  const tstmt *s = x->w->store;
  const tval *v = s->in[0];
  ix step;
  check(step_along(g, s, v->axes[x->w->m], &step));
  block_rows r = {.place = block, .first = first_row, .pitch = nv_ix64(g, step)};
  r.rows = elements_left(g, v->axes[x->w->m], first_row);
  r.columns = elements_left(g, v->axes[x->w->n], i32_of(g, column));
  r.origin = nv_ix64(g, nv_at_bases(g, access_offset(g, s, s->buf)));
  r.origin = LLVMBuildAdd(b, r.origin, i64_of(g, column), "");
  lval warp = LLVMBuildAnd(b, g->warp, i32_of(g, ROW_WARPS - 1), "");
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b), body = nv_block(g), after = nv_block(g);
  LLVMBuildBr(b, body);
  LLVMPositionBuilderAtEnd(b, body);
  lval row = LLVMBuildPhi(b, g->e->i32, "");
  LLVMAddIncoming(row, &warp, &before, 1);
  store_some_rows(g, x, &r, row);
  lval next = LLVMBuildAdd(b, row, i32_of(g, TOGETHER * ROW_WARPS), "");
  LLVMBasicBlockRef end = LLVMGetInsertBlock(b);
  LLVMAddIncoming(row, &next, &end, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, i32_of(g, BLOCK), ""), body, after);
  LLVMPositionBuilderAtEnd(b, after);
}

// ---- blocks

static bool uses_engine(const ngen *g) {
  for (int i = 0; i < g->writebacks.len; i++)
    if (g->writebacks.data[i].engine) return true;
  return false;
}

static void group_barrier(ngen *g, const writer *x) {
  lval id = LLVMBuildAdd(g->e->builder, x->group, i32_of(g, CONSUMERS_BARRIER + 1), "");
  ptx_barrier_of(g->e, id, WARPGROUP);
}

bool writeback_store(ngen *g, const tstmt *s) {
  const writeback *w = NULL;
  for (int i = 0; i < g->writebacks.len; i++)
    if (g->writebacks.data[i].store == s) w = &g->writebacks.data[i];
  if (!w) return false;
  LLVMBuilderRef b = g->e->builder;
  shape sh = nv_shape_of(g, s->in[0]);
  writer x = writer_new(g, w);
  const spread *rows = sh.on[w->m];
  int turn = 0;
  bool in_turn = ends_in_turn(g);  // else the engine may still read what is first in turn
  for (int block = 0; block < rows->nregs / 2; block++)
    for (int chunk = 0; chunk < sh.on[w->n]->extent / BLOCK; chunk++) {
      lval offset = i32_of(g, turn * BLOCK_BYTES);
      lval place = LLVMBuildAdd(b, x.staging, offset, "");
      turn = (turn + 1) % g->staging_blocks;
      if (uses_engine(g)) {
        guard one = nv_guard(g, x.first);
        bool again = !in_turn && !block && !chunk;
        ptx_bulk_wait(g->e, again ? 0 : g->staging_blocks - 1, true);
        nv_guard_end(g, one);
      }
      group_barrier(g, &x);
      fill_block(g, &sh, &x, place, block, chunk);
      if (w->engine) ptx_fence_async(g->e);
      group_barrier(g, &x);
      lval row = LLVMBuildMul(b, x.group, i32_of(g, BLOCK), "");
      row = LLVMBuildAdd(b, row, i32_of(g, rows->pos[2 * block]), "");
      if (w->engine) store_block(g, &x, place, row, chunk * BLOCK);
      else store_rows(g, &x, place, row, chunk * BLOCK);
    }
  return true;
}

void writeback_close(ngen *g) {
  if (!uses_engine(g)) return;
  lval thread = LLVMBuildAnd(g->e->builder, g->tid, i32_of(g, WARPGROUP - 1), "");
  guard one = nv_guard(g, LLVMBuildICmp(g->e->builder, LLVMIntEQ, thread, i32_of(g, 0), ""));
  ptx_bulk_wait(g->e, 0, false);
  nv_guard_end(g, one);
}
