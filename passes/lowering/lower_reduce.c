// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_REDUCE: dependent reductions over the same axes R, and what hangs on them, per row.
//
//   grid N:1 {                        rows P
//     acc = loop R { accum ... }      pass 0: reductions that need no other
//     acc = loop R { accum ... }      pass 1: those that need pass 0, ...
//     loop R { store ... }            outputs that carry R (or other axes)
//   }                                 outputs over P are stored at row level
//
// Lanes run along R (partial results by lane, combined after the loop) or along P (a strip of
// columns). Values that are expensive to compute and needed in a later pass are kept in a row buffer.
// A contraction without reuse (one operand has no axis of its own) is a reduction of products.
#include <limits.h>
#include <math.h>

#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/sums.h"

enum { EXPENSIVE = 8, GRID_ELEMENTS = 16384 };

static bool is_reduction(const node *n) { return op_is_reduce(n->op) || n->op == OP_dot; }

void reduce_levels(kbuild *b, row_plan *p) {
  p->level = b->l->tables.level;
  p->first_pass = b->l->tables.first_pass;
  p->along = b->l->tables.along;
  p->saved = b->l->tables.saved;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    p->first_pass[n->id] = INT_MAX;
    p->level[n->id] = 0;
    p->along[n->id] = p->saved[n->id] = false;
    for (int k = 0; k < n->nin; k++)
      if (kb_in_group(b, n->in[k]) && p->level[n->in[k]->id] > p->level[n->id])
        p->level[n->id] = p->level[n->in[k]->id];
    if (is_reduction(n) && ++p->level[n->id] > p->passes) p->passes = p->level[n->id];
    for (int k = 0; k < n->naxes; k++) p->along[n->id] |= axes_have(p->r_axes, p->nr, n->axes[k]);
  }
}

/// Work to compute n per element of R from memory and row values.
static int cost_along(const kbuild *b, const row_plan *p, const node *n) {
  if (!kb_in_group(b, n) || !p->along[n->id]) return 0;
  int cost = op_get(n->op)->cost;
  for (int i = 0; i < n->nin && cost < EXPENSIVE; i++) cost += cost_along(b, p, n->in[i]);
  return cost;
}

/// A streamed axis has no buffer that grows with it.
static bool is_streamed(const kbuild *b, const row_plan *p, const node *n) {
  if (!n->contract) return false;
  const contract *c = &b->l->g->contracts.data[n->contract - 1];
  for (int k = 0; k < c->naxes; k++)
    if (axes_have(p->r_axes, p->nr, c->axes[k])) return true;
  return false;
}

/// A pass computes n, whatever sizes there are: it runs through axes of the rows that n lacks, too.
static bool is_reached(const kbuild *b, const row_plan *p, const node *n) {
  const graph *g = b->l->g;
  for (int i = 0; i < p->nr; i++)
    if (!node_has_axis(n, p->r_axes[i]) && ix_bounds(&g->ix, graph_axis_size(g, p->r_axes[i])).min < 1)
      return false;
  return true;
}

/// Marks what pass `pass` computes; expensive values that an earlier pass computed become cached.
static void plan_cache(kbuild *b, row_plan *p, const node *n, int pass, bool *seen) {
  if (!kb_in_group(b, n) || !p->along[n->id] || p->saved[n->id] || seen[n->id]) return;
  seen[n->id] = true;
  op_class class = op_get(n->op)->class;
  if (class == CLASS_map && p->first_pass[n->id] < pass && cost_along(b, p, n) >= EXPENSIVE &&
      !is_streamed(b, p, n) && is_reached(b, p, n)) {
    p->saved[n->id] = true;  // its buffer is declared when the row is open
    return;
  }
  if (p->first_pass[n->id] > pass) p->first_pass[n->id] = pass;
  // Below a view the coordinates differ: such values are not the cached ones.
  if (class == CLASS_view || class == CLASS_gather) return;
  for (int i = 0; i < n->nin; i++) plan_cache(b, p, n->in[i], pass, seen);
}

bool reduce_carries_more(const node *out, const node *row) {
  for (int i = 0; i < out->naxes; i++)
    if (!axes_have(row->axes, row->naxes, out->axes[i])) return true;
  return false;
}

static void plan_passes(kbuild *b, row_plan *p, const node *row) {
  const group *g = b->group;
  for (int pass = 0; pass < p->passes; pass++)
    for (int i = 0; i < g->reductions.len; i++)
      if (p->level[g->reductions.data[i]->id] == pass + 1)
        for (int k = 0; k < g->reductions.data[i]->nin; k++)
          plan_cache(b, p, g->reductions.data[i]->in[k], pass, kb_unseen(b));
  for (int i = 0; i < g->outputs.len; i++)
    if (reduce_carries_more(g->outputs.data[i], row))
      plan_cache(b, p, g->outputs.data[i], p->passes, kb_unseen(b));
}

void reduce_start(kbuild *b, const row_plan *p, running *r) {
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    int extent = b->extent[axis];
    if (axes_have(p->kr, p->nkr, axis)) extent = p->step[axis];
    if (!extent || p->beside[axis]) continue;
    axes[n] = axis;
    extents[n++] = extent;
  }
  for (int i = 0; i < r->n; i++) {
    const node *red = r->reductions[i];
    dtype t = op_is_arg(red->op) ? red->in[0]->type : red->type;
    r->values[r->nvalues++] = kb_fill(b, t, op_identity(red->op, t), axes, extents, n);
    if (op_is_arg(red->op))
      r->values[r->nvalues++] = kb_fill(b, DT_i32, (scalar){.i = INT32_MAX}, axes, extents, n);
  }
}

tstmt *reduce_statement(kbuild *b, tile_op kind, op o, tval *const *in, int nin, int nout) {
  tstmt *st = arena_new(b->l->a, tstmt);
  *st = (tstmt){.kind = kind, .op = o, .nin = nin, .nout = nout};
  st->in = arena_copy(b->l->a, in, sizeof *in * (size_t)nin);
  st->out = arena_array(b->l->a, tval *, nout);
  return st;
}

static tval *like(kbuild *b, const tval *v) {
  return tile_value(b->k, v->type, v->axes, v->extents, v->naxes);
}

/// One step of a reduction: from[] are its running values, to[] the next ones.
void reduce_accumulate(kbuild *b, const node *red, tval **from, tval **to) {
  ix sigma[MAX_AXES];
  tval *x[2] = {0};
  for (int i = 0; i < red->nin; i++) {
    for (int k = 0; k < red->in[i]->naxes; k++) sigma[k] = b->sigma[red->in[i]->axes[k]];
    x[i] = kb_value(b, red->in[i], sigma);
  }
  if (op_is_arg(red->op)) {
    ix at = b->sigma[red->attr_axes[0]];
    tval *in[] = {from[0], from[1], x[0], kb_index_value(b, at, DT_i32)};
    tstmt *st = reduce_statement(b, TILE_ARG, op_combiner(red->op), in, 4, 2);
    st->out[0] = like(b, from[0]);
    st->out[1] = like(b, from[1]);
    kb_append(b, b->scope, st);
    to[0] = st->out[0];
    to[1] = st->out[1];
  } else if (red->op == OP_dot && dtype_is_float(red->type)) {
    tval *in[] = {from[0], kb_as_type(b, x[0], red->type), kb_as_type(b, x[1], red->type)};
    to[0] = kb_accumulate(b, OP_fma, in, 3);
  } else if (red->op == OP_dot) {
    tval *p = kb_as_type(b, x[0], red->type), *q = kb_as_type(b, x[1], red->type);
    tval *in[] = {from[0], kb_map(b, OP_mul, red->type, p, q, NULL)};
    to[0] = kb_accumulate(b, OP_add, in, 2);
  } else {
    tval *in[] = {from[0], x[0]};
    to[0] = kb_accumulate(b, op_combiner(red->op), in, 2);
  }
}

void reduce_combine(kbuild *b, const row_plan *p, const node *red, tval **values) {
  if (!op_is_arg(red->op)) {
    values[0] = kb_reduce_tile(b, op_combiner(red->op), values[0], p->kr, p->nkr);
    return;
  }
  if (!p->nkr) return;
  tstmt *st = reduce_statement(b, TILE_ARG_REDUCE, op_combiner(red->op), values, 2, 2);
  st->axes = arena_copy(b->l->a, p->kr, sizeof(int) * (size_t)p->nkr);
  st->naxes = p->nkr;
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int i = 0; i < values[0]->naxes; i++)
    if (!axes_have(p->kr, p->nkr, values[0]->axes[i])) {
      axes[n] = values[0]->axes[i];
      extents[n++] = values[0]->extents[i];
    }
  st->out[0] = tile_value(b->k, values[0]->type, axes, extents, n);
  st->out[1] = tile_value(b->k, DT_i32, axes, extents, n);
  kb_append(b, b->scope, st);
  memcpy(values, st->out, sizeof *values * 2);
}

void reduce_finish(kbuild *b, const row_plan *p, const node *red, tval **values) {
  tval *row[] = {values[0], op_is_arg(red->op) ? values[1] : NULL};
  reduce_combine(b, p, red, row);
  b->done[red->id] = row[0];
  if (!op_is_arg(red->op)) return;
  // Nothing was seen along an empty axis.
  tval *none = kb_const(b, DT_i32, (scalar){.i = INT32_MAX});
  tval *empty = kb_map(b, OP_eq, DT_bool, row[1], none, NULL);
  b->done[red->id] =
      kb_map(b, OP_where, DT_i32, empty, kb_const(b, DT_i32, (scalar){.i = 0}), row[1]);
}

/// Opens loops over kernel axes, the lanes innermost; the carried values pass through all.
void reduce_open_loops(kbuild *b, const int *axes, const int *step, int n, tval **carried,
                       int ncarried, int unroll) {
  int opened = 0;
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < n; i++) {
      if ((axes[i] == b->k->vec_axis) != pass) continue;
      tstmt *loop = kb_loop(b, axes[i], step[axes[i]], carried, ncarried);
      if (++opened == n && step[axes[i]] == 1) loop->unroll = unroll;
      for (int k = 0; k < ncarried; k++) carried[k] = loop->body->params[k];
    }
}

void reduce_close_loops(kbuild *b, int n, tval **carried, int ncarried) {
  for (int i = 0; i < n; i++) {
    tval **out = kb_end_loop(b, carried, ncarried);
    for (int k = 0; k < ncarried; k++) carried[k] = out[k];
  }
}

/// Declares row buffers for the values that pass `pass` computes and later ones need.
static void declare_caches(kbuild *b, const row_plan *p, int pass) {
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    if (!p->saved[n->id] || b->local_of[n->id] >= 0 || p->first_pass[n->id] != pass) continue;
    int axes[MAX_KERNEL_AXES], naxes = 0;
    for (int axis = 0; axis < b->k->axes.len; axis++) {
      bool used = false;
      for (int k = 0; k < n->naxes; k++) used |= ix_uses_axis(&b->k->ix, b->sigma[n->axes[k]], axis);
      if (used) axes[naxes++] = axis;
    }
    // Lanes innermost, so that rows of the buffer are vectors.
    for (int k = 0; k + 1 < naxes; k++)
      if (axes[k] == b->k->vec_axis) {
        for (int j = k; j + 1 < naxes; j++) axes[j] = axes[j + 1];
        axes[naxes - 1] = b->k->vec_axis;
      }
    b->local_of[n->id] = kb_local(b, "row", n->type, axes, naxes);
  }
}

static bool caches_in(const kbuild *b, const row_plan *p, const node *n, int pass) {
  return b->local_of[n->id] >= 0 && p->first_pass[n->id] == pass;
}

// ---- long sums
//
//   s = loop T:16384 carry s = 0 {         blocks: sums begin again, what does not round goes on
//     c = loop T:64 carry c = 0 { accum }
//     accum s, c

typedef struct blocks {
  reduce_blocks of;
  tval *before[2 * MAX_REDUCTIONS];  // null: carried on
} blocks;

static bool sums_floats(const node *red) {
  return op_combiner(red->op) == OP_add && dtype_is_float(red->type);
}

/// Blocks end where the loops inside come to as many steps as a block may have.
void reduce_find_blocks(const kbuild *b, const row_plan *p, const node *const *reductions,
                        int nreductions, reduce_blocks *s) {
  *s = (reduce_blocks){.split = -1};
  int n = 0, steps = 1;
  int64_t lanes = 1, all = 1;
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < p->nkr; i++)
      if ((p->kr[i] == b->k->vec_axis) == pass) s->axes[n++] = p->kr[i];
  for (int i = 0; i < n; i++) {
    lanes *= p->step[s->axes[i]];
    if (__builtin_mul_overflow(all, sum_steps(b, s->axes[i], p->step[s->axes[i]]), &all))
      all = INT64_MAX;
  }
  bool any = false;
  for (int i = 0; i < nreductions; i++) any |= sums_floats(reductions[i]);
  memcpy(s->step, p->step, sizeof s->step);
  if (all <= sum_room(lanes)) return;
  for (int i = n - 1; i >= 0 && any && s->split < 0; i--) {
    int axis = s->axes[i], room = SUM_BLOCK / steps;
    int64_t walked = sum_steps(b, axis, p->step[axis]);
    if (walked > room) {
      s->split = i;
      s->step[axis] *= room;
    } else if (walked > 1) {
      steps *= (int)walked;
    }
  }
}

/// Loops over R with the running values.
static void open_blocks(kbuild *b, const row_plan *p, running *r, blocks *s) {
  *s = (blocks){0};
  const reduce_blocks *of = &s->of;
  reduce_find_blocks(b, p, r->reductions, r->n, &s->of);
  if (of->split < 0) {
    reduce_open_loops(b, p->kr, p->step, p->nkr, r->values, r->nvalues, 4);
    return;
  }
  reduce_open_loops(b, of->axes, of->step, of->split + 1, r->values, r->nvalues, 1);
  for (int i = 0, at = 0; i < r->n; i++) {
    if (sums_floats(r->reductions[i])) {
      s->before[at] = r->values[at];
      r->values[at] = kb_like(b, r->values[at], (scalar){.f = 0});
    }
    at += op_is_arg(r->reductions[i]->op) ? 2 : 1;
  }
  reduce_open_loops(b, of->axes + of->split, p->step, p->nkr - of->split, r->values, r->nvalues, 4);
}

static void close_blocks(kbuild *b, const row_plan *p, running *r, const blocks *s) {
  int outside = s->of.split + 1;
  reduce_close_loops(b, outside ? p->nkr - s->of.split : p->nkr, r->values, r->nvalues);
  if (!outside) return;
  for (int i = 0; i < r->nvalues; i++)
    if (s->before[i])
      r->values[i] = kb_accumulate(b, OP_add, (tval *[]){s->before[i], r->values[i]}, 2);
  reduce_close_loops(b, outside, r->values, r->nvalues);
}

bool reduce_store_rows(kbuild *b, const node *row) {
  const group *g = b->group;
  bool others = false;
  for (int i = 0; i < g->outputs.len; i++) {
    const node *out = g->outputs.data[i];
    if (reduce_carries_more(out, row)) others = true;
    else kb_store_node(b, out, kb_value_here(b, out), false);
  }
  return others;
}

void reduce_store_others(kbuild *b, const node *row) {
  const group *g = b->group;
  for (int i = 0; i < g->outputs.len; i++) {
    const node *out = g->outputs.data[i];
    if (!reduce_carries_more(out, row)) continue;
    kb_store_node(b, out, kb_value_here(b, out), kb_nontemporal(b, b->l->buffer_of[out->id]));
  }
}

void reduce_walk(kbuild *b, const row_plan *p, int pass, running *out) {
  running r = {0};
  const group *g = b->group;
  for (int i = 0; i < g->reductions.len; i++)
    if (p->level[g->reductions.data[i]->id] == pass + 1) {
      check(r.n < MAX_REDUCTIONS);
      r.reductions[r.n++] = g->reductions.data[i];
    }
  declare_caches(b, p, pass);
  reduce_start(b, p, &r);
  blocks s;
  open_blocks(b, p, &r, &s);
  for (int i = 0, at = 0; i < r.n; i++) {
    reduce_accumulate(b, r.reductions[i], &r.values[at], &r.values[at]);
    at += op_is_arg(r.reductions[i]->op) ? 2 : 1;
  }
  for (int i = 0; i < g->nodes.len; i++)
    if (caches_in(b, p, g->nodes.data[i], pass))
      kb_store_local(b, b->local_of[g->nodes.data[i]->id], kb_value_here(b, g->nodes.data[i]));
  if (p->stores) reduce_store_others(b, g->reductions.data[0]);
  // The last pass over the row is the busiest with arithmetic: it fetches the next row.
  if (pass + 1 == p->passes && p->next_row >= 0)
    kb_prefetch_next(b, b->scope->region, p->next_row, 1, 1, 4 * b->l->target->l2_bytes);
  close_blocks(b, p, &r, &s);
  for (int i = 0; i < g->nodes.len; i++)
    if (caches_in(b, p, g->nodes.data[i], pass)) b->local_ready[g->nodes.data[i]->id] = true;
  *out = r;
}

void reduce_run_pass(kbuild *b, const row_plan *p, int pass) {
  running r;
  reduce_walk(b, p, pass, &r);
  for (int i = 0, at = 0; i < r.n; i++) {
    reduce_finish(b, p, r.reductions[i], &r.values[at]);
    at += op_is_arg(r.reductions[i]->op) ? 2 : 1;
  }
}

void reduce_store_outputs(kbuild *b, row_plan *p, const node *row, const int *more, int nmore) {
  if (!reduce_store_rows(b, row)) return;
  reduce_open_loops(b, more, p->step, nmore, NULL, 0, 2);
  reduce_store_others(b, row);
  reduce_close_loops(b, nmore, NULL, 0);
}

/// R in the storage order of what is reduced.
void reduce_axes(const group *g, row_plan *p) {
  const node *red = g->reductions.data[0];
  for (int side = 0; side < red->nin; side++)
    for (int i = 0; i < red->in[side]->naxes; i++) {
      int axis = red->in[side]->axes[i];
      if (axes_have(red->attr_axes, red->nattr_axes, axis) && !axes_have(p->r_axes, p->nr, axis))
        p->r_axes[p->nr++] = axis;
    }
  for (int i = 0; i < red->nattr_axes; i++)
    if (!axes_have(p->r_axes, p->nr, red->attr_axes[i])) p->r_axes[p->nr++] = red->attr_axes[i];
}

/// Axes of the outputs that are neither rows nor reduced.
int reduce_further_axes(const kbuild *b, const row_plan *p, const node *row, int *axes) {
  int n = 0;
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    for (int k = 0; k < out->naxes; k++)
      if (!axes_have(row->axes, row->naxes, out->axes[k]) &&
          !axes_have(p->r_axes, p->nr, out->axes[k]) && !axes_have(axes, n, out->axes[k]))
        axes[n++] = out->axes[k];
  }
  return n;
}

bool reduce_outputs_use(const kbuild *b, int kernel_axis) {
  for (int i = 0; i < b->group->outputs.len; i++) {
    const node *out = b->group->outputs.data[i];
    for (int k = 0; k < out->naxes; k++)
      if (ix_uses_axis(&b->k->ix, b->sigma[out->axes[k]], kernel_axis)) return true;
  }
  return false;
}

static int largest_pass(const kbuild *b, const row_plan *p) {
  int most = 1;
  for (int pass = 1; pass <= p->passes; pass++) {
    int n = 0;
    for (int i = 0; i < b->group->reductions.len; i++)
      if (p->level[b->group->reductions.data[i]->id] == pass)
        n += op_is_arg(b->group->reductions.data[i]->op) ? 2 : 1;
    if (n > most) most = n;
  }
  return most;
}

static int vectors_for(const kbuild *b, const row_plan *p, int axis, bool along_rows) {
  int budget = b->l->target->vector_registers / 4, vectors = along_rows ? 4 : 8;
  while (vectors > 1 && vectors * largest_pass(b, p) > budget) vectors /= 2;
  vectors = (int)schedule_option(b->l, "vectors", vectors);
  int64_t size = kb_kernel_size(b, axis);
  while (vectors > 1 && size <= (int64_t)b->lanes * vectors / 2) vectors /= 2;
  return vectors;
}

static int64_t row_elements(const kbuild *b, const row_plan *p) {
  int64_t n = 1;
  for (int i = 0; i < p->nkr; i++) n = estimate_times(n, kb_kernel_size(b, p->kr[i]));
  return n > 0 ? n : 1;
}

void lower_reduce_group(kbuild *b) {
  const node *row = b->group->reductions.data[0];
  row_plan p = {0};
  reduce_axes(b->group, &p);
  kb_survey(b);
  reduce_levels(b, &p);
  plan_passes(b, &p, row);

  int both[2 * MAX_AXES], nboth = 0;
  for (int i = 0; i < row->naxes; i++) both[nboth++] = row->axes[i];
  for (int i = 0; i < p.nr; i++) both[nboth++] = p.r_axes[i];
  int lanes = kb_best_lanes(b, both, nboth);

  int rows[MAX_AXES], further[MAX_AXES], kfurther[MAX_AXES];
  int nrows = kb_collapse(b, row->axes, row->naxes, rows);
  p.nkr = kb_collapse(b, p.r_axes, p.nr, p.kr);
  int nfurther = reduce_further_axes(b, &p, row, further);
  int nkfurther = kb_collapse(b, further, nfurther, kfurther);

  int vec = lanes < 0 ? -1 : b->kaxis[lanes];
  if (vec >= 0) {
    b->k->vec_axis = vec;
    b->k->vec_lanes = b->lanes;
  }
  bool along_rows = axes_have(p.kr, p.nkr, vec);
  p.next_row = along_rows && nrows ? rows[nrows - 1] : -1;
  for (int axis = 0; axis < b->k->axes.len; axis++)
    p.step[axis] = axis == vec ? b->lanes * vectors_for(b, &p, vec, along_rows) : 1;
  if (vec >= 0 && !along_rows && !nfurther && reduce_columns(b, &p, rows, nrows, vec)) return;
  int step[MAX_AXES];
  for (int i = 0; i < nrows; i++) step[i] = p.step[rows[i]];
  int64_t grain = schedule_option(b->l, "grid", GRID_ELEMENTS) / row_elements(b, &p);
  schedule_grid(b, rows, step, nrows, grain);

  kb_begin(b);
  reduce_open_loops(b, rows, p.step, nrows, NULL, 0, 1);
  for (int pass = 0; pass < p.passes; pass++) reduce_run_pass(b, &p, pass);
  int more[2 * MAX_AXES], nmore = 0;
  for (int i = 0; i < nkfurther; i++) more[nmore++] = kfurther[i];
  for (int i = 0; i < p.nkr; i++)
    if (reduce_outputs_use(b, p.kr[i])) more[nmore++] = p.kr[i];
  reduce_store_outputs(b, &p, row, more, nmore);
  for (int i = 0; i < nrows; i++) kb_end_loop(b, NULL, 0);
}
