// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Products of loop nests on GPUs: a step of both operands is brought on chip, where all threads of the
// block read them. Rows of the tile by columns of types that tensor cores take are multiplied by
// these, with sums in the layout of the unit:
//
//   loop S:64 layout=1 {                       rows of the tile, as the unit has them
//     loop T:64 {
//       sum = loop D:64 carry c = 0 {
//         local rows[S, D], columns[T, D]      swizzled panels
//         loop D:64 stage layout=2 { rows = ... }
//         loop D:64 stage layout=2 { columns = ... }
//         dot mma rows, columns, c over D      else: loop D:1 { dot rows, columns, c over D }
//       }
//       s[S, T] = sum
//
// What nests before have kept on chip is read where it is: always by multiply-adds, by tensor cores
// where it is the rows of a step of the stream.
#include "base/fault.h"
#include "ir/units.h"
#include "passes/lowering/gpu_contraction.h"
#include "passes/lowering/lower_stmt.h"
#include "passes/lowering/nest.h"

enum { MOST_COLUMNS = 64, LEAST_ROWS = 16, LEAST_DEPTH = 8 };
enum { STEP_BYTES = 8 << 10 };  // of an operand

static int power_between(int64_t size, int least, int most) {
  int p = least;
  while (p < most && p < size) p *= 2;
  return p;
}

/// Elements at a time along an axis; 0: fewer than the unit takes.
static int extent_along(const nest *t, int axis, int least, int most) {
  if (!axes_have(t->stream, t->nstream, axis)) return power_between(kb_kernel_size(t->b, axis), least, most);
  bool steps = axis == t->stream[t->nstream - 1] && t->step >= least;
  return steps ? (t->step < most ? t->step : most) : 0;
}

/// The longest of the axes that both operands have, or the columns alone.
static int longest(const nest *t, const node *dot, const nest_product *d, bool both) {
  const int *axes = both ? dot->attr_axes : dot->axes;
  int best = -1, n = both ? dot->nattr_axes : dot->naxes;
  for (int k = 0; k < n; k++) {
    int axis = t->b->kaxis[axes[k]];
    if (axis < 0 || axes_have(t->rows, t->nrows, axis) || !node_has_axis(dot->in[d->columns], axes[k]) ||
        node_has_axis(dot->in[d->rows], axes[k]) != both)
      continue;
    if (best < 0 || kb_kernel_size(t->b, axis) > kb_kernel_size(t->b, best)) best = axis;
  }
  return best;
}

/// The rows are what a nest has kept of this step alone.
static bool are_in_place(const nest *t, const nest_product *d, const node *x) {
  const outline_value *v = &t->o.values[x->id];
  if (!kb_in_group(t->b, x) || !v->kept || v->in_memory || !v->streamed) return false;
  if (!t->nstream || d->depth != t->stream[t->nstream - 1] || d->step != t->step) return false;
  for (int k = 0; k < x->naxes; k++) {
    int axis = t->b->kaxis[x->axes[k]];
    if (axis >= 0 && !axes_have(t->rows, t->nrows, axis) && !axes_have(t->stream, t->nstream, axis)) return false;
  }
  return true;
}

static int panel_of(dtype t) { return UNIT_ROW / dtype_bytes(t); }

/// Rows of the tile by what is the same for all of them, with room for both on chip.
static bool has_sides(const nest *t, const node *dot, nest_product *d) {
  *d = (nest_product){0};
  if (!t->threads || t->no_staging || t->block < 0 || t->tile[t->nrows - 1] < LEAST_ROWS) return false;
  if (dot->op != OP_dot) return false;
  d->rows = !kb_uses(t->b, dot->in[0], t->block);
  d->columns = !d->rows;
  if (!kb_uses(t->b, dot->in[d->rows], t->block) || kb_uses(t->b, dot->in[d->columns], t->block))
    return false;
  d->depth = longest(t, dot, d, true);
  return d->depth >= 0;
}

bool nest_on_tensor_cores(const nest *t, const node *dot, nest_product *d) {
  if (!has_sides(t, dot, d)) return false;
  dtype type = dot->in[0]->type;
  if (dot->type != DT_f32 || !unit_takes(DOT_MMA, type) || type != dot->in[1]->type ||
      target_tensor_flops(t->b->l->target, type, type) <= 0)
    return false;
  const unit_info *unit = unit_get(DOT_MMA);
  d->unit = DOT_MMA;
  d->lanes = longest(t, dot, d, false);
  if (d->lanes < 0) return false;
  d->width = extent_along(t, d->lanes, unit->n, MOST_COLUMNS);
  d->step = extent_along(t, d->depth, unit_step(DOT_MMA, type), panel_of(type));
  if (!d->width || !d->step) return false;
  d->staged[1] = true;
  d->staged[0] = !are_in_place(t, d, dot->in[d->rows]);
  return true;
}

static bool is_on_chip(const nest *t, const node *x) {
  const outline_value *v = &t->o.values[x->id];
  return kb_in_group(t->b, x) && v->kept && !v->in_memory;
}

/// Multiply-adds of what is brought on chip, in the loops that the nest has anyway.
static bool is_staged(nest *t, const node *dot, const nest_loops *s, nest_product *d) {
  if (!has_sides(t, dot, d) || s->lanes < 0) return false;
  const node *x = dot->in[d->rows], *y = dot->in[d->columns];
  if (kb_uses(t->b, x, s->lanes) || !kb_uses(t->b, y, s->lanes)) return false;
  d->unit = DOT_FMA;
  d->lanes = s->lanes;
  d->width = nest_width(t, s);
  d->step = extent_along(t, d->depth, LEAST_DEPTH, STEP_BYTES / MOST_COLUMNS / dtype_bytes(dot->type));
  d->staged[0] = !is_on_chip(t, x);
  d->staged[1] = !is_on_chip(t, y);
  return d->width <= MOST_COLUMNS && d->step && (d->staged[0] || d->staged[1]);
}

static void set_panels(const nest *t, int buf) {
  tile_buf *local = &t->b->k->bufs.data[buf];
  local->panel_dim = local->rank - 1;
  local->panel = panel_of(local->type);
  local->swizzle = true;
}

void nest_lay_in_panels(const nest *t, const node *n, int buf) {
  const group *g = t->b->group;
  nest_product d;
  const tile_buf *local = &t->b->k->bufs.data[buf];
  for (int i = 0; local->local && i < g->nodes.len; i++) {
    const node *dot = g->nodes.data[i];
    if (dot->op != OP_dot || (dot->in[0] != n && dot->in[1] != n)) continue;
    if (!nest_on_tensor_cores(t, dot, &d) || d.staged[0] || dot->in[d.rows] != n) continue;
    if (local->local_axes[local->rank - 1] == d.depth) set_panels(t, buf);
    return;
  }
}

// ---- layouts

static bool agrees(const kernel *k, int layout, const axis_layout *want) {
  const axis_layout *known = thread_layout_find(&k->layouts.data[layout], want->axis, want->extent);
  if (!known) return true;
  bool same = known->ndigits == want->ndigits;
  for (int i = 0; same && i < want->ndigits; i++)
    same = known->digits[i].size == want->digits[i].size &&
           known->digits[i].stride == want->digits[i].stride;
  return same;
}

static axis_layout digits_of(int axis, int extent, int vector, int threads, int stride) {
  layout_digit all[] = {{vector, 0}, {threads, stride}, {extent / (vector * threads), 0}};
  axis_layout a = {.axis = axis, .extent = extent};
  for (int i = 0; i < 3; i++)
    if (all[i].size > 1) a.digits[a.ndigits++] = all[i];
  return a;
}

/// A layout in which neighbouring threads copy along `fast`: one that other copies have, or a further
/// one; -1: there are too many.
static int copy_layout(nest *t, dtype type, int fast, int fast_extent, int slow, int slow_extent) {
  kernel *k = t->b->k;
  int vector = 16 / dtype_bytes(type);
  if (vector > 8) vector = 8;
  if (vector > fast_extent) vector = fast_extent;
  int along = fast_extent / vector, across = k->threads / along;
  if (across > slow_extent) across = slow_extent;
  axis_layout a = digits_of(fast, fast_extent, vector, along, 1);
  axis_layout b = digits_of(slow, slow_extent, 1, across, along);
  int layout = 1;
  while (layout < k->layouts.len &&
         (layout == t->sums || !agrees(k, layout, &a) || !agrees(k, layout, &b)))
    layout++;
  if (layout == MOST_LAYOUTS) return -1;
  if (layout == k->layouts.len) kernel_add_layout(k);
  kernel_set_layout(k, layout, fast, a.digits, a.ndigits);
  kernel_set_layout(k, layout, slow, b.digits, b.ndigits);
  return layout;
}

/// Elements of the operand are neighbours in memory along the axis.
static bool lies_along(const nest *t, const node *x, int kaxis) {
  int unit = nest_unit_axis(t, x);
  return unit >= 0 && t->b->kaxis[unit] == kaxis;
}

/// Tensor cores read panels along what is contiguous in memory where they are full, else along the
/// contracted axis; multiply-adds read rows along the operand's own axis.
static bool plan_stage(nest *t, const nest_product *d, const node *x, int own, int extent,
                       nest_stage *s) {
  bool along_own = lies_along(t, x, own), tensor = d->unit != DOT_FMA;
  *s = (nest_stage){.outer = own, .inner = d->depth};
  if (!tensor || (along_own && extent % panel_of(x->type) == 0))
    *s = (nest_stage){.outer = d->depth, .inner = own, .across = !along_own};
  s->layout = along_own ? copy_layout(t, x->type, own, extent, d->depth, d->step)
                        : copy_layout(t, x->type, d->depth, d->step, own, extent);
  return s->layout >= 0;
}

static void lay_sums(nest *t, const nest_product *d) {
  kbuild *b = t->b;
  const unit_info *unit = unit_get(d->unit);
  int rows = t->tile[t->nrows - 1], warps = b->k->threads / GPU_WARP;
  gpu_dot sums = {.unit = d->unit, .bm = rows, .warps_m = rows / unit->m};
  sums.warps_n = warps / sums.warps_m;
  while (sums.warps_n > d->width / unit->n) sums.warps_n /= 2;
  sums.p.rows = t->block;
  gpu_dot_lay_sums(b, &sums, t->sums, d->lanes, d->width);
}

bool nest_product_begin(nest *t, const node *dot, nest_loops *s, nest_product *d) {
  kbuild *b = t->b;
  bool tensor = nest_on_tensor_cores(t, dot, d);
  if (!tensor && !is_staged(t, dot, s, d)) return false;
  if (tensor && !t->sums) {
    if (b->k->layouts.len == MOST_LAYOUTS) return false;
    t->sums = kernel_add_layout(b->k);
  }
  int rows = t->tile[t->nrows - 1];
  if ((d->staged[0] && !plan_stage(t, d, dot->in[d->rows], t->block, rows, &d->stage[0])) ||
      (d->staged[1] && !plan_stage(t, d, dot->in[d->columns], d->lanes, d->width, &d->stage[1])))
    return false;
  if (!tensor) return true;
  lay_sums(t, d);
  *s = (nest_loops){.lanes = d->lanes, .packed = -1, .width = d->width, .layout = t->sums, .across = t->block};
  return true;
}

// ---- statements

/// An operand's step, as the unit reads it.
static int stage(nest *t, const node *dot, const nest_product *d, const node *x, const nest_stage *s,
                 const char *name) {
  kbuild *b = t->b;
  int axes[MAX_KERNEL_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++)
    if (kb_uses(t->b, x, axis) && axis != s->outer && axis != s->inner) axes[n++] = axis;
  axes[n++] = s->outer;
  axes[n++] = s->inner;
  dtype type = d->unit == DOT_FMA ? dot->type : x->type;
  int buf = kb_local(b, name, type, axes, n), piece = 16 / dtype_bytes(type);
  if (d->unit != DOT_FMA) set_panels(t, buf);
  else if (s->across) b->k->bufs.data[buf].pad = piece > 1 ? piece : 1;  // rows begin on other banks
  tstmt *loop = kb_loop(b, d->depth, d->step, NULL, 0);
  loop->stage = true;
  loop->layout = s->layout;
  tval *v = kb_value_here(b, x);
  kb_store_local(b, buf, v->type == type ? v : kb_map(b, OP_cast, type, v, NULL, NULL));
  kb_end_loop(b, NULL, 0);
  return buf;
}

void nest_product_stage(nest *t, const node *dot, const nest_product *d, int *from) {
  static const char *const names[] = {"rows", "columns"};
  for (int i = 0; i < 2; i++) {
    int which = i ? d->columns : d->rows;
    const node *x = dot->in[which];
    from[which] = d->staged[i]           ? stage(t, dot, d, x, &d->stage[i], names[i])
                  : d->unit != DOT_FMA ? t->b->local_of[x->id]
                                       : -1;
  }
}

/// Where the dot stands: the unit reads its operands there.
static tval *widened_here(kbuild *b, int buf) {
  tval *v = kb_load_local(b, buf);
  if (v->type == DT_f32) return v;
  tstmt *st = kb_stmt(b, TILE_MAP, &v, 1);
  st->op = OP_cast;
  kb_one_result(b, st, kb_union_value(b, DT_f32, NULL, &v, 1));
  kb_append(b, b->scope, st);
  return st->out[0];
}

tval *nest_product_multiply(nest *t, const node *dot, const nest_product *d, const int *from,
                            tval *sum) {
  kbuild *b = t->b;
  tval *rows = widened_here(b, from[d->rows]), *in[] = {rows, widened_here(b, from[d->columns]), sum};
  tstmt *st = kb_stmt(b, TILE_DOT, in, 3);
  st->unit = d->unit;
  st->axes = arena_array(b->l->a, int, dot->nattr_axes);
  for (int k = 0; k < dot->nattr_axes; k++) {
    int axis = b->kaxis[dot->attr_axes[k]];
    if (axis >= 0 && !axes_have(st->axes, st->naxes, axis)) st->axes[st->naxes++] = axis;
  }
  st->at = dot->at;
  kb_one_result(b, st, tile_value(b->k, sum->type, sum->axes, sum->extents, sum->naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}
