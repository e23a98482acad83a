// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_STREAM on a GPU with products of warpgroups.
//
//   grid B_H:1, S:128 {
//     local q; stage loop                                     once for all steps
//     loop T:128 reverse stages=2 skew turns carry m, l, o {
//       local k, v; stage loops
//       s = loop D { dot wgmma q, k }
//       maps of s
//       m' = max(m, reduce max s over T)                      of s without its scale
//       e = exp2(s * c - m' * c)                              c: the scale and log2(e) in one
//       r = exp2((m - m') * c)
//       l' = l * r + reduce add e over T to 4                 the lanes of a row apart
//       o' = loop E { dot wgmma bf16(e), v, o * r }
//       yield m', l', o'
//     }
//     maps of m, l, o; stores
//   }
//
// The maximum grows with the scale, rounded or not, so that m is that of the program when the scale is
// applied after the walk. Source: Dao et al., FlashAttention (NeurIPS 2022); Shah et al.,
// FlashAttention-3 (2024), for products that overlap with exponentials.
#include "passes/lowering/gpu_stream.h"

#include <math.h>

#include "base/fault.h"
#include "ir/units.h"
#include "passes/lowering/lower_stmt.h"

enum { ROW_LANES = 4, KEY_THREADS = 16 };
static const double log2e = 1.4426950408889634074;

static tval *map1(kbuild *b, op o, tval *x) { return kb_map(b, o, x->type, x, NULL, NULL); }
static tval *map2(kbuild *b, op o, tval *x, tval *y) { return kb_map(b, o, x->type, x, y, NULL); }
static tval *number(kbuild *b, dtype t, double v) {
  return kb_const(b, t, scalar_cast((scalar){.f = v}, DT_f64, t));
}

// ---- operands on chip

/// The operand's own kernel axes, those of the panels last.
static int operand_buffer(gpu_stream *s, const stream_operand *o, int outer, int inner) {
  kbuild *b = s->b;
  int axes[MAX_KERNEL_AXES], n = 0;
  for (int i = 0; i < o->x->naxes; i++) {
    int axis = b->kaxis[o->x->axes[i]];
    if (axis >= 0 && axis != outer && axis != inner && !axes_have(axes, n, axis)) axes[n++] = axis;
  }
  axes[n++] = outer;
  axes[n++] = inner;
  int buf = kb_local(b, o->rows ? "rows" : "keys", o->x->type, axes, n);
  tile_buf *local = &b->k->bufs.data[buf];
  local->panel_dim = n - 1;
  local->panel = UNIT_ROW / dtype_bytes(o->x->type);
  local->swizzle = true;
  return buf;
}

/// Copies those of the rows, or of a step.
static void stage(gpu_stream *s, bool rows) {
  kbuild *b = s->b;
  int other = rows ? s->row : s->stream;
  for (int i = 0; i < s->noperands; i++) {
    stream_operand *o = &s->operands[i];
    if (o->rows != rows) continue;
    o->buf = o->along_head ? operand_buffer(s, o, other, o->head) : operand_buffer(s, o, o->head, other);
  }
  for (int i = 0; i < s->noperands; i++) {
    const stream_operand *o = &s->operands[i];
    if (o->rows != rows) continue;
    tstmt *loop = kb_loop(b, o->head, o->extent, NULL, 0);
    loop->stage = true;
    loop->layout = o->layout;
    kb_store_local(b, o->buf, kb_value_here(b, o->x));
    kb_end_loop(b, NULL, 0);
  }
}

/// Those of a step: what follows in it finds them on chip.
static void stage_vectors(gpu_stream *s) {
  kbuild *b = s->b;
  for (int i = 0; i < s->nvectors; i++) {
    stream_vector *v = &s->vectors[i];
    int axes[MAX_KERNEL_AXES], n = 0;
    for (int k = 0; k < v->x->naxes; k++) {
      int axis = b->kaxis[v->x->axes[k]];
      if (axis >= 0 && axis != s->stream && !axes_have(axes, n, axis)) axes[n++] = axis;
    }
    axes[n++] = s->stream;
    v->buf = kb_local(b, "vector", v->x->type, axes, n);
    tstmt *loop = kb_loop(b, s->stream, s->keys, NULL, 0);
    loop->stage = true;
    loop->layout = v->layout;
    kb_store_local(b, v->buf, kb_value_here(b, v->x));
    kb_end_loop(b, NULL, 0);
  }
  for (int i = 0; i < s->nvectors; i++) {
    b->local_of[s->vectors[i].x->id] = s->vectors[i].buf;
    b->local_ready[s->vectors[i].x->id] = true;
  }
}

static void forget_vectors(gpu_stream *s) {
  for (int i = 0; i < s->nvectors; i++) s->b->local_ready[s->vectors[i].x->id] = false;
}

enum { SUMS };  // the layout of the block

/// The product of what is added up in memory: rows along the stream.
static void lay_added(gpu_stream *s) {
  enum { WARPGROUP = 128 };
  const unit_info *unit = unit_get(s->d.unit);
  const stream_added *a = &s->f.added;
  layout_digit rows[MAX_DIGITS], columns[MAX_DIGITS];
  int nr = 0, nc = 0, groups = s->d.threads / WARPGROUP,
      own = s->operands[s->rows_of[a->lead]].extent;
  for (; unit->rows[nr].size; nr++) rows[nr] = unit->rows[nr];
  for (; unit->columns[nc].size; nc++) columns[nc] = unit->columns[nc];
  rows[nr++] = (layout_digit){groups / s->sharing, WARPGROUP};
  columns[nc++] = (layout_digit){own / unit->n / s->sharing, 0};
  columns[nc++] = (layout_digit){s->sharing, WARPGROUP};
  s->added_layout = kernel_add_layout(s->b->k);
  kernel_set_layout(s->b->k, s->added_layout, s->stream, rows, nr);
  kernel_set_layout(s->b->k, s->added_layout, s->depth[a->lead], columns, nc);
}

static void lay(gpu_stream *s) {
  kbuild *b = s->b;
  static const layout_digit row_lanes[] = {{ROW_LANES, 1}};
  kernel_add_layout(b->k);
  gpu_dot_lay_sums(b, &s->d, SUMS, s->stream, s->keys);
  for (int i = 0; i < s->f.nproducts; i++)
    if (!i || s->columns[i] != s->columns[0]) gpu_dot_lay_sums(b, &s->d, SUMS, s->columns[i], s->own[i]);
  kernel_set_layout(b->k, SUMS, s->stream, row_lanes, 1);
  for (int i = 0; i < s->noperands; i++) {
    stream_operand *o = &s->operands[i];
    int other = o->rows ? s->row : s->stream, extent = o->rows ? s->d.bm : s->keys;
    o->layout = o->along_head ? gpu_dot_lay_copy(b, &s->d, o->x->type, o->head, o->extent, other, extent)
                              : gpu_dot_lay_copy(b, &s->d, o->x->type, other, extent, o->head, o->extent);
  }
  if (s->f.added.dot) lay_added(s);
  if (s->nvectors) {
    layout_digit digits[] = {{s->keys / KEY_THREADS, 0}, {KEY_THREADS, 1}};
    int layout = kernel_add_layout(b->k);
    kernel_set_layout(b->k, layout, s->stream, digits, 2);
    for (int i = 0; i < s->nvectors; i++) s->vectors[i].layout = layout;
  }
}

// ---- products

/// Where the statement stands: the unit reads its operands there.
static tval *cast_here(kbuild *b, tval *v, dtype t) {
  if (v->type == t) return v;
  tstmt *st = kb_stmt(b, TILE_MAP, &v, 1);
  st->op = OP_cast;
  kb_one_result(b, st, kb_union_value(b, t, NULL, &v, 1));
  kb_append(b, b->scope, st);
  return st->out[0];
}

static tval *multiply(gpu_stream *s, const node *dot, tval *x, tval *y, tval *sum, int over) {
  kbuild *b = s->b;
  tval *in[] = {cast_here(b, x, DT_f32), cast_here(b, y, DT_f32), sum};
  tstmt *st = kb_stmt(b, TILE_DOT, in, 3);
  st->unit = s->d.unit;
  st->naxes = 1;
  st->axes = arena_copy(b->l->a, &over, sizeof over);
  st->at = dot->at;
  kb_one_result(b, st, tile_value(b->k, sum->type, sum->axes, sum->extents, sum->naxes));
  kb_append(b, b->scope, st);
  return st->out[0];
}

/// All elements v over the grid's axes and, unless extent is 0, `more`.
static tval *rows_of(gpu_stream *s, dtype t, scalar v, int more, int extent) {
  kbuild *b = s->b;
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    bool grid = false;
    for (int i = 0; i < b->k->grid.len; i++) grid |= b->k->grid.data[i].axis == axis;
    int e = axis == more ? extent : grid ? b->extent[axis] : 0;
    if (!e) continue;
    axes[n] = axis;
    extents[n++] = e;
  }
  return kb_fill(b, t, v, axes, extents, n);
}

/// What the sums of a lead start from: where registers are few, a vector that is added to them, which
/// needs none of its own there.
static tval *first_sums(gpu_stream *s, int lead, const node **is) {
  kbuild *b = s->b;
  const node *vector;
  double sign;
  *is = lead && s->starts ? gpu_stream_shifted(s, lead, &vector, &sign) : NULL;
  if (*is)
    return map2(b, OP_mul, rows_of(s, DT_f32, (scalar){.f = sign}, s->stream, s->keys),
                kb_value_here(b, vector));
  *is = s->f.lead[lead].dot;
  return rows_of(s, DT_f32, (scalar){.f = 0}, s->stream, s->keys);
}

static void set_scores(gpu_stream *s, int lead) {
  kbuild *b = s->b;
  const stream_operand *rows = &s->operands[s->rows_of[lead]], *keys = &s->operands[s->keys_of[lead]];
  const node *is;
  tval *sum = first_sums(s, lead, &is);
  sum = kb_loop(b, s->depth[lead], rows->extent, &sum, 1)->body->params[0];
  tval *x = cast_here(b, kb_load_local(b, rows->buf), DT_f32);
  tval *y = cast_here(b, kb_load_local(b, keys->buf), DT_f32);
  sum = multiply(s, s->f.lead[lead].dot, x, y, sum, s->depth[lead]);
  b->done[is->id] = kb_end_loop(b, &sum, 1)[0];
}

static int product_number(const gpu_stream *s, const node *dot) {
  int i = 0;
  while (s->f.product[i].dot != dot) i++;
  return i;
}

static tval *product(gpu_stream *s, int number, tval *weights, tval *sum) {
  kbuild *b = s->b;
  const stream_operand *values = &s->operands[s->values_of[number]];
  sum = kb_loop(b, s->columns[number], s->own[number], &sum, 1)->body->params[0];
  tval *x = cast_here(b, weights, DT_f32), *y = cast_here(b, kb_load_local(b, values->buf), DT_f32);
  sum = multiply(s, s->f.product[number].dot, x, y, sum, s->stream);
  return kb_end_loop(b, &sum, 1)[0];
}

// ---- what is added up in memory

/// The weights of a step, where all warpgroups find them: they are rows of the products over the stream, and
/// columns of this one.
static void store_weights(gpu_stream *s) {
  kbuild *b = s->b;
  const node *x = s->f.added.weights;
  int axes[MAX_KERNEL_AXES], n = 0;
  for (int i = 0; i < x->naxes; i++) {
    int axis = b->kaxis[x->axes[i]];
    if (axis >= 0 && axis != s->row && axis != s->stream && !axes_have(axes, n, axis))
      axes[n++] = axis;
  }
  axes[n++] = s->row;
  axes[n++] = s->stream;
  s->weights = kb_local(b, "weights", x->type, axes, n);
  tile_buf *local = &b->k->bufs.data[s->weights];
  local->panel_dim = n - 1;
  local->panel = UNIT_ROW / dtype_bytes(x->type);
  local->swizzle = true;
  kb_store_local(b, s->weights, kb_value_here(b, x));
}

static const node *weights_of(const gpu_stream *s, const node *state) {
  return state->op == OP_dot ? s->f.product[product_number(s, state)].weights : NULL;
}

static void add_up(gpu_stream *s) {
  kbuild *b = s->b;
  const stream_added *a = &s->f.added;
  const stream_operand *rows = &s->operands[s->rows_of[a->lead]];
  int axes[MAX_AXES], extents[MAX_AXES], n = 0;
  kb_loop(b, rows->head, rows->extent, NULL, 0)->layout = s->added_layout;
  for (int axis = 0; axis < b->k->axes.len; axis++) {
    if (!b->extent[axis] || axis == s->row) continue;
    axes[n] = axis;
    extents[n++] = b->extent[axis];
  }
  tval *sum = kb_fill(b, DT_f32, (scalar){.f = 0}, axes, extents, n);
  tval *x = cast_here(b, kb_load_local(b, s->weights), DT_f32);
  tval *y = cast_here(b, kb_load_local(b, rows->buf), DT_f32);
  sum = multiply(s, a->dot, x, y, sum, s->row);
  kb_add_to_node(b, a->dot, sum);
  kb_end_loop(b, NULL, 0);
}

// ---- frames

static bool is_least(const node *n) { return n->op == OP_const && n->value.f == -INFINITY; }

/// The masked value below the multiples; -inf stays what it is, so that a scale may pass through.
static const node *masked(const node *n) {
  return n->op == OP_where && n->type == DT_f32 && is_least(n->in[2]) ? n->in[1] : NULL;
}

/// What n is a multiple of, masked as n is.
static tval *unscaled_value(kbuild *b, const node *n, double *scale) {
  n = gpu_stream_unscaled(n, scale);
  const node *below = masked(n);
  double own = 1;
  if (!below || gpu_stream_unscaled(below, &own) == below) return kb_value_here(b, n);
  tval *v = unscaled_value(b, below, scale);
  return kb_map(b, OP_where, n->type, kb_value_here(b, n->in[0]), v, kb_value_here(b, n->in[2]));
}

/// v, of what is below the multiples in n, times these, one after the other as n has them.
static tval *scaled_value(kbuild *b, const node *n, tval *v) {
  double own = 1;
  if (gpu_stream_unscaled(n, &own) != n)
    return map2(b, n->op, scaled_value(b, n->in[0], v), kb_value_here(b, n->in[1]));
  const node *below = masked(n);
  return below && gpu_stream_unscaled(below, &own) != below ? scaled_value(b, below, v) : v;
}

/// The exponent is made of products and coordinates, not of what may stand for -inf (-1e30): then
/// what rounding the multiple of the frame leaves over is no more than what rounding the exponent did.
static bool is_moderate(const gpu_stream *s, const node *n, bool *seen) {
  enum { MODERATE = 1 << 20 };
  for (int i = 0; i < s->f.nleads; i++)
    if (n == s->f.lead[i].dot) return true;
  if (!node_has_axis(n, s->f.stream) && n->op != OP_const) return true;
  if (!kb_in_group(s->b, n)) return false;
  if (seen[n->id]) return true;  // else the search has ended
  seen[n->id] = true;
  if (n->op == OP_const)
    return !dtype_is_float(n->type) || fabs(n->value.f) < MODERATE || n->value.f == -INFINITY;
  if (n->op == OP_where) return is_moderate(s, n->in[1], seen) && is_moderate(s, n->in[2], seen);
  if (op_get(n->op)->class != CLASS_map && op_get(n->op)->class != CLASS_leaf && n->op != OP_view)
    return false;
  for (int k = 0; k < n->nin; k++)
    if (!is_moderate(s, n->in[k], seen)) return false;
  return true;
}

/// exp(x - shift) as exp2(x * c - shift * c), one fused multiply-add, or as exp2((x - shift) * c).
static void set_exponential(gpu_stream *s, const node *e, tval *x, tval *shift, double c) {
  kbuild *b = s->b;
  tval *factor = number(b, DT_f32, c), *power;
  if (is_moderate(s, e->in[0]->in[0], kb_unseen(b))) {
    tval *offset = map1(b, OP_neg, map2(b, OP_mul, shift, factor));
    power = kb_map(b, OP_fma, DT_f32, x, factor, offset);
  } else {
    power = map2(b, OP_mul, map2(b, OP_sub, x, shift), factor);
  }
  b->done[e->id] = map1(b, OP_exp2, power);
}

static void set_exponentials(gpu_stream *s, const node *frame, tval *raw, tval *shift, double c) {
  kbuild *b = s->b;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *e = b->group->nodes.data[i];
    if (e->op != OP_exp || !kb_in_group(b, e->in[0]) || e->in[0]->op != OP_sub) continue;
    const node *x = e->in[0]->in[0];
    if (e->in[0]->in[1] != frame || !s->o.values[e->id].streamed) continue;
    if (x == frame->in[0]) set_exponential(s, e, raw, shift, c);
    else set_exponential(s, e, kb_value_here(b, x), scaled_value(b, frame->in[0], shift), log2e);
  }
}

/// Of an exponential below what is no frame, but in memory (a maximum that another kernel found): what
/// two is raised to. Null where it has another form.
static tval *power_below_row(gpu_stream *s, const node *e) {
  kbuild *b = s->b;
  bool power = (e->op == OP_exp || e->op == OP_exp2) && e->type == DT_f32;
  if (!power || !s->o.values[e->id].streamed || !node_has_axis(e, s->f.row) ||
      !kb_in_group(b, e->in[0]))
    return NULL;
  const node *x = e->in[0], *below = masked(x);
  if (below) x = below;
  if (!kb_in_group(b, x) || x->op != OP_sub) return NULL;
  const node *shift = x->in[1];
  bool whole = node_has_axis(shift, s->f.row) && node_has_axis(shift, s->f.stream);
  if (whole || s->o.values[shift->id].state || !is_moderate(s, x->in[0], kb_unseen(b))) return NULL;
  double c = e->op == OP_exp ? log2e : 1;
  tval *offset = kb_value_here(b, shift);
  if (e->op == OP_exp) offset = map2(b, OP_mul, offset, number(b, DT_f32, log2e));
  offset = map1(b, OP_neg, offset);
  tval *raw = unscaled_value(b, x->in[0], &c);
  tval *made = kb_map(b, OP_fma, DT_f32, raw, number(b, DT_f32, c), offset);
  if (!below) return made;
  return kb_map(b, OP_where, DT_f32, kb_value_here(b, e->in[0]->in[0]), made,
                number(b, DT_f32, -INFINITY));
}

/// Loads of vectors stand between the powers, which have used theirs up, and the exponentials, during
/// which they arrive: behind products in issue they take long.
static void set_exponentials_below_rows(gpu_stream *s) {
  kbuild *b = s->b;
  int n = b->group->nodes.len;
  tval **powers = arena_array(b->l->a, tval *, n);
  for (int i = 0; i < n; i++) powers[i] = power_below_row(s, b->group->nodes.data[i]);
  for (int i = 0; i < s->nvectors; i++) kb_value_here(b, s->vectors[i].x);
  for (int i = 0; i < n; i++)
    if (powers[i]) b->done[b->group->nodes.data[i]->id] = map1(b, OP_exp2, powers[i]);
}

/// The running maximum, the exponentials below it, and the factor for what was added up before. While
/// nothing was seen it is -inf; of that, and of inf, no difference can be taken.
static tval *frame_step(gpu_stream *s, const node *frame) {
  kbuild *b = s->b;
  double c = log2e;
  tval *before = s->running[frame->id], *raw = unscaled_value(b, frame->in[0], &c);
  tval *now = map2(b, OP_max, before, kb_reduce_tile(b, OP_max, raw, &s->stream, 1));
  tval *empty = kb_map(b, OP_is_inf, DT_bool, now, NULL, NULL);
  tval *shift = kb_map(b, OP_where, DT_f32, empty, number(b, DT_f32, 0), now);
  set_exponentials(s, frame, raw, shift, c);
  tval *change = map2(b, OP_mul, map2(b, OP_sub, before, shift), number(b, DT_f32, c));
  s->scale[frame->id] = map1(b, OP_exp2, change);
  return now;
}

// ---- states

/// Sums whose elements lie along the stream are kept for each lane of a row.
static bool by_lane(const gpu_stream *s, const node *state) {
  return state->op == OP_sum && node_has_axis(state->in[0], s->f.stream);
}

static tval *first_value(gpu_stream *s, const node *state) {
  op combine = state->op == OP_dot ? OP_sum : state->op;
  scalar v = op_identity(combine, state->type);
  if (state->op == OP_dot) {
    int i = product_number(s, state);
    return rows_of(s, state->type, v, s->columns[i], s->own[i]);
  }
  return by_lane(s, state) ? rows_of(s, state->type, v, s->stream, ROW_LANES)
                           : rows_of(s, state->type, v, -1, 0);
}

static tval *scale_of(const gpu_stream *s, const node *state) {
  const node *frame = s->o.values[state->id].frame;
  return frame ? s->scale[frame->id] : NULL;
}

/// What the state is after this step.
static tval *state_step(gpu_stream *s, const node *state) {
  kbuild *b = s->b;
  tval *before = s->running[state->id], *scale = scale_of(s, state);
  if (s->o.values[state->id].is_frame) return frame_step(s, state);
  if (state->op == OP_dot) {
    if (scale) before = map2(b, OP_mul, before, scale);
    int i = product_number(s, state);
    return product(s, i, kb_value_here(b, s->f.product[i].weights), before);
  }
  op combine = op_combiner(state->op);
  tval *x = kb_value_here(b, state->in[0]);
  x = by_lane(s, state) ? kb_sum_lanes(b, x, s->stream, ROW_LANES)
                        : kb_reduce_tile(b, combine, x, &s->stream, 1);
  if (!scale) return map2(b, combine, before, x);
  if (scale->type != state->type) scale = kb_map(b, OP_cast, state->type, scale, NULL, NULL);
  return kb_map(b, OP_fma, state->type, before, scale, x);
}

static int states_of(const gpu_stream *s, const node **states) {
  int n = 0;
  // What is made of scores first, then what is made of exponentials, so that not both are held; the
  // products last: what follows them in a step waits for them.
  for (int pass = 0; pass < 2; pass++)
    for (int i = 0; i < s->b->group->nodes.len; i++) {
      const node *x = s->b->group->nodes.data[i];
      const outline_value *v = &s->o.values[x->id];
      if (!v->state || x->op == OP_dot || (v->is_frame || v->frame) != pass) continue;
      check(n < MAX_GROUP_REDUCTIONS);
      states[n++] = x;
    }
  for (int i = 0; i < s->f.nproducts; i++) states[n++] = s->f.product[i].dot;
  check(n <= MAX_GROUP_REDUCTIONS);
  return n;
}

static void forget_step(gpu_stream *s) {
  const group *g = s->b->group;
  for (int i = 0; i < g->nodes.len; i++) s->b->done[g->nodes.data[i]->id] = NULL;
}

/// The maximum itself is asked for after the walk.
static bool is_asked_for(const gpu_stream *s, const node *frame) {
  const group *g = s->b->group;
  bool asked = s->stored[frame->id];
  for (int i = 0; i < g->nodes.len; i++)
    for (int k = 0; k < g->nodes.data[i]->nin; k++)
      asked |= g->nodes.data[i]->in[k] == frame && !s->o.values[g->nodes.data[i]->id].streamed;
  return asked;
}

static void walk(gpu_stream *s) {
  kbuild *b = s->b;
  const node *states[MAX_GROUP_REDUCTIONS + STREAM_PRODUCTS];
  tval *values[MAX_GROUP_REDUCTIONS + STREAM_PRODUCTS];
  int n = states_of(s, states);
  tval *within[2];
  bool some = skip_within(&s->tests, within, true);
  for (int i = 0; i < n; i++) values[i] = first_value(s, states[i]);
  tstmt *loop = kb_loop(b, s->stream, s->keys, values, n);
  loop->reverse = true;
  loop->stages = s->stages;
  loop->skew = s->skew;
  loop->turns = s->turns;
  loop->from = s->tests.s.from;
  loop->below = s->tests.s.below;
  if (some) kb_loop_within(b, loop, within);
  for (int i = 0; i < n; i++) s->running[states[i]->id] = loop->body->params[i];
  stage(s, false);
  stage_vectors(s);
  skip_in_step(&s->tests);
  for (int i = 0; i < s->f.nleads; i++) set_scores(s, i);
  set_exponentials_below_rows(s);
  for (int i = 0; i < n; i++) {
    if (s->f.added.dot && weights_of(s, states[i]) == s->f.added.weights) store_weights(s);
    values[i] = state_step(s, states[i]);
  }
  if (s->f.added.dot) add_up(s);
  tval **results = kb_end_loop(b, values, n);
  forget_step(s);
  forget_vectors(s);
  for (int i = 0; i < n; i++) {
    const node *x = states[i];
    tval *v = results[i];
    if (by_lane(s, x)) v = kb_reduce_tile(b, OP_add, v, &s->stream, 1);
    if (s->o.values[x->id].is_frame && is_asked_for(s, x)) v = scaled_value(b, x->in[0], v);
    b->done[x->id] = v;
  }
}

// ---- results

static void store_results(gpu_stream *s) {
  kbuild *b = s->b;
  const group *g = b->group;
  // Those of whole rows first, then those along the columns of each product.
  for (int pass = -1; pass < s->f.nproducts; pass++) {
    bool again = pass > 0 && s->columns[pass] == s->columns[0];
    if (again) continue;
    if (pass >= 0) kb_loop(b, s->columns[pass], s->own[pass], NULL, 0);
    for (int i = 0; i < g->outputs.len; i++) {
      const node *out = g->outputs.data[i];
      if (gpu_stream_columns(s, out) == pass && out != s->f.added.dot)
        kb_store_node(b, out, kb_value_here(b, out), false);
    }
    if (pass >= 0) kb_end_loop(b, NULL, 0);
  }
}

void gpu_stream_group(kbuild *b) {
  const lower *l = b->l;
  const group *g = b->group;
  gpu_stream s = {.b = b};
  s.member = arena_array(l->a, uint8_t, l->g->nodes.len + 1);
  s.stored = arena_array(l->a, uint8_t, l->g->nodes.len + 1);
  s.running = arena_array(l->a, tval *, l->g->nodes.len + 1);
  s.scale = arena_array(l->a, tval *, l->g->nodes.len + 1);
  for (int i = 0; i < g->nodes.len; i++) s.member[g->nodes.data[i]->id] = 1;
  for (int i = 0; i < g->outputs.len; i++) s.stored[g->outputs.data[i]->id] = 1;
  const contract *c = group_contract(l->g, g->nodes.data[0]);
  reason why;
  int at;
  str detail;
  check(outline_make(&s.o, l->a, l->g, g->nodes.data, g->nodes.len, s.member, s.stored, c, &why, &at) &&
        stream_form_of(&s.f, &s.o, l->a, g->nodes.data, g->nodes.len, s.member, s.stored, &why, &at,
                       &detail));
  kb_survey(b);
  gpu_stream_plan(&s);
  lay(&s);
  gpu_set_threads(b, s.d.threads);
  b->k->producer_warps = 128 / GPU_WARP;
  kb_begin(b);
  stage(&s, true);
  walk(&s);
  store_results(&s);
}
