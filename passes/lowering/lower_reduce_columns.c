// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums of columns: reductions whose lanes run along many columns walk the rows as they lie in memory, with
// the running values of all columns in an on-chip buffer. By strips of columns that registers hold, each
// row would be a short piece of a line of memory far from the next.
//
//   grid D:384 {
//     local sums[D]
//     loop N:4 {                           rows
//       loop D:32 { store sums, load sums + (reduce add x[N, D] over N)
//                   store out[N, D] ... }  outputs that wait for no reduction
//     }
//     loop D:32 { store result[D], load sums }
//   }
//
// Long sums of floats go by blocks of rows (sums.h), which are added to a second buffer.
#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/sums.h"

enum {
  ROWS = 4,                // at a time: each reads and writes the running values once
  VECTORS = 2,
  LEAST_ROWS = 48,         // fewer are walked by strips
  BUFFER_BYTES = 16 << 10,  // of running values, beside the rows in a first-level cache
  GRID_ELEMENTS = 16384,
};

typedef struct columns {
  int vec, width;          // kernel axis of the columns, of a grid tile
  int axes[MAX_AXES], naxes;  // of the results, the columns last
  bool by_blocks;
  int sums[MAX_REDUCTIONS], totals[MAX_REDUCTIONS];  // buffers
} columns;

/// Every access that moves along the columns takes them side by side.
static bool walks_side_by_side(const kbuild *b, int vec) {
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    bool moves = false, unit = false;
    for (int axis = 0; axis < b->l->g->axes.len; axis++) {
      if (b->kaxis[axis] != vec) continue;
      if (m->irregular[axis]) return false;
      moves |= m->coef[axis] != 0;
      unit |= kb_unit_stride(m, b, axis);  // of axes that collapsed, the innermost
    }
    if (moves && !unit) return false;
  }
  return true;
}

/// Nothing waits for the reductions but results of columns.
static bool takes_one_walk(const kbuild *b, const row_plan *p) {
  const group *g = b->group;
  if (p->passes != 1) return false;
  for (int i = 0; i < g->reductions.len; i++)
    if (op_is_arg(g->reductions.data[i]->op)) return false;
  for (int i = 0; i < g->outputs.len; i++)
    if (reduce_carries_more(g->outputs.data[i], g->reductions.data[0]) &&
        p->level[g->outputs.data[i]->id])
      return false;
  return true;
}

/// Columns of a grid tile, so that its running values stay in a first-level cache and every core has one.
static int width_of(const kbuild *b, int vec, int64_t others, int step) {
  int64_t columns = kb_kernel_size(b, vec), cores = b->l->target->cores, bytes = 0;
  for (int i = 0; i < b->group->reductions.len; i++)
    bytes += dtype_bytes(b->group->reductions.data[i]->type);
  int64_t tiles = others >= cores ? 1 : (cores + others - 1) / (others > 0 ? others : 1);
  int64_t width = (columns + tiles - 1) / tiles;
  if (width * bytes > BUFFER_BYTES) width = BUFFER_BYTES / bytes;
  return (int)((width + step - 1) / step * step);
}

static void fill(kbuild *b, const columns *c, const int *buffers) {
  kb_loop(b, c->vec, VECTORS * b->lanes, NULL, 0);
  for (int i = 0; i < b->group->reductions.len; i++) {
    const node *red = b->group->reductions.data[i];
    int extents[MAX_AXES];
    for (int k = 0; k < c->naxes; k++) extents[k] = b->extent[c->axes[k]];
    scalar none = op_identity(red->op, red->type);
    kb_store_local(b, buffers[i], kb_fill(b, red->type, none, c->axes, extents, c->naxes));
  }
  kb_end_loop(b, NULL, 0);
}

/// What the rows of a step come to.
static tval *of_step(kbuild *b, const row_plan *p, const node *red) {
  ix sigma[MAX_AXES];
  tval *x[2] = {0};
  for (int i = 0; i < red->nin; i++) {
    for (int k = 0; k < red->in[i]->naxes; k++) sigma[k] = b->sigma[red->in[i]->axes[k]];
    x[i] = kb_as_type(b, kb_value(b, red->in[i], sigma), red->type);
  }
  if (x[1]) x[0] = kb_map(b, OP_mul, red->type, x[0], x[1], NULL);
  return kb_reduce_tile(b, op_combiner(red->op), x[0], p->kr, p->nkr);
}

static void combine(kbuild *b, const node *red, int into, tval *v) {
  kb_store_local(b, into, kb_map(b, op_combiner(red->op), red->type, kb_load_local(b, into), v, NULL));
}

static void walk(kbuild *b, const row_plan *p, const columns *c, const reduce_blocks *s) {
  const group *g = b->group;
  int from = c->by_blocks ? s->split : 0;
  reduce_open_loops(b, s->axes + from, p->step, p->nkr - from, NULL, 0, 1);
  kb_loop(b, c->vec, VECTORS * b->lanes, NULL, 0);
  for (int i = 0; i < g->reductions.len; i++)
    combine(b, g->reductions.data[i], c->sums[i], of_step(b, p, g->reductions.data[i]));
  reduce_store_others(b, g->reductions.data[0]);
  kb_end_loop(b, NULL, 0);
  reduce_close_loops(b, p->nkr - from, NULL, 0);
}

static void walk_blocks(kbuild *b, const row_plan *p, const columns *c, const reduce_blocks *s) {
  reduce_open_loops(b, s->axes, s->step, s->split + 1, NULL, 0, 1);
  fill(b, c, c->sums);
  walk(b, p, c, s);
  kb_loop(b, c->vec, VECTORS * b->lanes, NULL, 0);
  for (int i = 0; i < b->group->reductions.len; i++)
    combine(b, b->group->reductions.data[i], c->totals[i], kb_load_local(b, c->sums[i]));
  kb_end_loop(b, NULL, 0);
  reduce_close_loops(b, s->split + 1, NULL, 0);
}

bool reduce_columns(kbuild *b, row_plan *p, const int *rows, int nrows, int vec) {
  const group *g = b->group;
  columns c = {.vec = vec};
  int step[MAX_AXES], *others = c.axes, n = 0;
  int64_t tiles = 1, walked = 1, wide = VECTORS * b->lanes;
  for (int i = 0; i < nrows; i++)
    if (rows[i] != vec) {
      tiles = estimate_times(tiles, kb_kernel_size(b, rows[i]));
      step[n] = 1;
      others[n++] = rows[i];
    }
  c.axes[n] = vec;
  c.naxes = n + 1;
  for (int i = 0; i < p->nkr; i++) walked = estimate_times(walked, kb_kernel_size(b, p->kr[i]));
  if (!p->nkr || walked < LEAST_ROWS || !takes_one_walk(b, p)) return false;
  if (!walks_side_by_side(b, vec)) return false;
  c.width = width_of(b, vec, tiles, (int)wide);
  if (c.width <= p->step[vec] || kb_kernel_size(b, vec) <= p->step[vec]) return false;
  if (!schedule_option(b->l, "columns", 1)) return false;

  p->step[p->kr[p->nkr - 1]] = ROWS;
  schedule_grid(b, others, step, n, GRID_ELEMENTS / c.width);
  vec_push(b->l->a, &b->k->grid, (grid_axis){vec, c.width});
  reduce_blocks s;
  const node *reductions[MAX_REDUCTIONS];
  for (int i = 0; i < g->reductions.len; i++) reductions[i] = g->reductions.data[i];
  reduce_find_blocks(b, p, reductions, g->reductions.len, &s);
  c.by_blocks = s.split >= 0;
  kb_begin(b);
  reduce_open_loops(b, others, p->step, n, NULL, 0, 1);
  for (int i = 0; i < g->reductions.len; i++) {
    c.sums[i] = kb_local(b, "sums", g->reductions.data[i]->type, c.axes, c.naxes);
    if (c.by_blocks) c.totals[i] = kb_local(b, "totals", g->reductions.data[i]->type, c.axes, c.naxes);
  }
  fill(b, &c, c.by_blocks ? c.totals : c.sums);
  if (c.by_blocks) walk_blocks(b, p, &c, &s);
  else walk(b, p, &c, &s);
  kb_loop(b, vec, (int)wide, NULL, 0);
  for (int i = 0; i < g->reductions.len; i++)
    b->done[g->reductions.data[i]->id] = kb_load_local(b, (c.by_blocks ? c.totals : c.sums)[i]);
  reduce_store_rows(b, g->reductions.data[0]);
  kb_end_loop(b, NULL, 0);
  for (int i = 0; i < n; i++) kb_end_loop(b, NULL, 0);
  return true;
}
