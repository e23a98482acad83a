// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See stream_form.h.
#include "passes/fusion/stream_form.h"

#include "base/fault.h"

typedef struct finder {
  stream_form *f;
  const outline *o;
  arena *a;
  node *const *nodes;
  int n;
  const uint8_t *member, *stored;
  reason *why;
  int *at;
  str *detail;
} finder;

static op_class class_of(const node *n) { return op_get(n->op)->class; }

static bool refuse(const finder *s, reason why, const node *at, str detail) {
  *s->why = why;
  *s->at = at ? at->id : -1;
  *s->detail = detail;
  return false;
}

static bool is_half(dtype t) { return t == DT_f16 || t == DT_bf16; }

const node *stream_narrow(const node *x) {
  bool widens = x->op == OP_cast && dtype_is_float(x->in[0]->type) &&
                dtype_cast_is_exact(x->in[0]->type, x->type);
  return widens ? x->in[0] : x;
}

/// The value lies in memory as it is, seen through views.
static bool is_plain(const finder *s, const node *x) {
  while (s->member[x->id] && x->op == OP_view) x = x->in[0];
  return !s->member[x->id];
}

static str axis_name(const finder *s, int axis) { return s->o->g->axes.data[axis].name; }

/// Heads of tensor cores: a size that is known, in whole steps.
static bool check_head(const finder *s, const node *at, int axis) {
  int64_t size;
  bool known = ix_is_const(&s->o->g->ix, graph_axis_size(s->o->g, axis), &size);
  if (known && size >= STREAM_LEAST_HEAD && size <= STREAM_MOST_HEAD && size % STREAM_LEAST_HEAD == 0)
    return true;
  str name = axis_name(s, axis), is;
  is = known ? str_printf(s->a, "%.*s has %lld elements", STR_FMT(name), (long long)size)
             : str_printf(s->a, "the size of %.*s is not known", STR_FMT(name));
  return refuse(s, REASON_stream_head, at,
                str_printf(s->a, "%.*s: it must be a multiple of %d from %d to %d", STR_FMT(is),
                           STREAM_LEAST_HEAD, STREAM_LEAST_HEAD, STREAM_MOST_HEAD));
}

/// Operand k of the product is a value of 16 bits in memory.
static bool check_operand(const finder *s, reason why, const node *dot, const node *x) {
  if (!is_half(x->type))
    return refuse(s, why, dot,
                  str_printf(s->a, "an operand is %s", dtype_name(x->type)));
  if (!is_plain(s, x)) return refuse(s, why, dot, STR("an operand is computed in the block"));
  return true;
}

/// The value is made of what is in memory by maps: the block that stages it computes it.
static bool is_made_of_memory(const finder *s, const node *x, uint8_t *seen) {
  if (!s->member[x->id] || seen[x->id]) return true;  // of what was seen: else the search has ended
  seen[x->id] = 1;
  op_class c = class_of(x);
  if (c != CLASS_map && c != CLASS_leaf && x->op != OP_view) return false;
  for (int k = 0; k < x->nin; k++)
    if (!is_made_of_memory(s, x->in[k], seen)) return false;
  return true;
}

// ---- the products

static int64_t estimate(const finder *s, int axis) {
  return ix_estimate(&s->o->g->ix, graph_axis_size(s->o->g, axis));
}

/// Of the axes that the rows alone have, the longest, of equal ones the last.
static int find_row(const finder *s) {
  int best = -1;  // one of a single element, if there is no other
  for (int k = 0; k < s->f->score->naxes; k++) {
    int axis = s->f->score->axes[k];
    bool own = node_has_axis(s->f->rows, axis) && !node_has_axis(s->f->keys, axis);
    if (own && (best < 0 || estimate(s, axis) >= estimate(s, best))) best = axis;
  }
  return best;
}

static bool find_score(const finder *s, const node *dot) {
  stream_form *f = s->f;
  if (f->score) return refuse(s, REASON_stream_lead, dot, STR("there is another product before it"));
  f->score = dot;
  if (dot->nattr_axes != 1 || dot->type != DT_f32)
    return refuse(s, REASON_stream_lead, dot, STR("it is not f32, over one axis"));
  int keys = node_has_axis(dot->in[1], f->stream);
  f->rows = stream_narrow(dot->in[!keys]);
  f->keys = stream_narrow(dot->in[keys]);
  f->depth = dot->attr_axes[0];
  if (node_has_axis(f->rows, f->stream) || !node_has_axis(f->keys, f->stream) ||
      f->rows->type != f->keys->type)
    return refuse(s, REASON_stream_lead, dot, STR("its operands are not rows and keys of one type"));
  uint8_t *seen = arena_array(s->a, uint8_t, s->o->g->nodes.len);
  bool computed = is_half(f->rows->type) && is_made_of_memory(s, f->rows, seen);
  if ((!computed && !check_operand(s, REASON_stream_lead, dot, f->rows)) ||
      !check_operand(s, REASON_stream_lead, dot, f->keys) || !check_head(s, dot, f->depth))
    return false;
  for (int k = 0; k < f->keys->naxes; k++) {
    int axis = f->keys->axes[k];
    if (axis != f->stream && !node_has_axis(f->rows, axis) && !graph_axis_is_single(s->o->g, axis))
      return refuse(s, REASON_stream_lead, dot,
                    str_printf(s->a, "the keys alone have %.*s", STR_FMT(axis_name(s, axis))));
  }
  f->row = find_row(s);
  return f->row >= 0 || refuse(s, REASON_stream_lead, dot, STR("it has no rows"));
}

static bool find_product(const finder *s, const node *dot) {
  stream_form *f = s->f;
  if (f->product)
    return refuse(s, REASON_stream_product, dot, STR("there is another product over the stream"));
  if (!f->score) return refuse(s, REASON_stream_lead, dot, STR("there is no product before it"));
  f->product = dot;
  if (dot->nattr_axes != 1 || dot->type != DT_f32)
    return refuse(s, REASON_stream_product, dot, STR("it is not f32, over one axis"));
  int weights = node_has_axis(dot->in[0], f->row) ? 0 : 1;
  f->weights = stream_narrow(dot->in[weights]);
  f->values = stream_narrow(dot->in[!weights]);
  if (!is_half(f->weights->type))
    return refuse(s, REASON_stream_product, dot,
                  str_printf(s->a, "the weights are %s: a cast to %s rounds them for tensor cores",
                             dtype_name(f->weights->type), dtype_name(f->keys->type)));
  if (f->weights->type != f->values->type || node_has_axis(f->values, f->row) ||
      !node_has_axis(f->weights, f->row) || !node_has_axis(f->weights, f->stream))
    return refuse(s, REASON_stream_product, dot, STR("its operands are not weights and values of one type"));
  if (!check_operand(s, REASON_stream_product, dot, f->values)) return false;
  for (int k = 0; k < dot->naxes; k++) {
    int axis = dot->axes[k];
    if (node_has_axis(f->score, axis)) continue;
    bool own = f->columns < 0 && node_has_axis(f->values, axis) && !node_has_axis(f->weights, axis);
    if (!own)
      return refuse(s, REASON_stream_product, dot,
                    str_printf(s->a, "%.*s is a second axis of its columns",
                               STR_FMT(axis_name(s, axis))));
    f->columns = axis;
  }
  if (f->columns < 0) return refuse(s, REASON_stream_product, dot, STR("it has no columns"));
  return check_head(s, dot, f->columns);
}

// ---- everything else

/// States and results have the rows of the lead product: each block finishes its own.
static bool check_rows(const finder *s, const node *n, bool columns) {
  const stream_form *f = s->f;
  for (int k = 0; k < f->score->naxes; k++) {
    int axis = f->score->axes[k];
    if (axis != f->stream && !graph_axis_is_single(s->o->g, axis) && !node_has_axis(n, axis))
      return refuse(s, REASON_different_rows, n,
                    str_printf(s->a, "it lacks %.*s", STR_FMT(axis_name(s, axis))));
  }
  for (int k = 0; k < n->naxes; k++) {
    int axis = n->axes[k];
    bool known = node_has_axis(f->score, axis) || (columns && axis == f->columns) || graph_axis_is_single(s->o->g, axis);
    if (!known)
      return refuse(s, REASON_different_rows, n,
                    str_printf(s->a, "%.*s is no axis of the rows", STR_FMT(axis_name(s, axis))));
  }
  return true;
}

static bool check_state(const finder *s, const node *n) {
  const outline_value *v = &s->o->values[n->id];
  if (class_of(n) == CLASS_contraction && !v->ncentres)
    return find_product(s, n) && check_rows(s, n, true);
  if (v->ncentres) return refuse(s, REASON_stream_between, n, STR("it is about a running mean"));
  if (op_is_arg(n->op)) return refuse(s, REASON_stream_between, n, STR("its state would be a pair"));
  if (!s->f->score) return refuse(s, REASON_stream_lead, n, STR("there is no product before it"));
  if (v->is_frame && n->type != DT_f32)
    return refuse(s, REASON_stream_between, n,
                  str_printf(s->a, "exponents are %s", dtype_name(n->type)));
  return check_rows(s, n, false);
}

static bool check_value(const finder *s, const node *n) {
  const outline_value *v = &s->o->values[n->id];
  if (v->state) return check_state(s, n);
  if (s->stored[n->id] && v->streamed)
    return refuse(s, REASON_stream_between, n, STR("it is written along the stream"));
  if (class_of(n) == CLASS_contraction) return find_score(s, n);
  if (class_of(n) == CLASS_reduce || class_of(n) == CLASS_scan)
    return refuse(s, REASON_stream_between, n, (str){0});
  return !s->stored[n->id] || (s->f->score && check_rows(s, n, true)) ||
         (!s->f->score && refuse(s, REASON_stream_lead, n, STR("there is no product before it")));
}

/// Exponentials are taken relative to the frame to the base e.
static bool check_exponent(const finder *s, const node *n) {
  if (n->op != OP_exp2 || !s->member[n->in[0]->id] || n->in[0]->op != OP_sub) return true;
  const node *frame = n->in[0]->in[1];
  if (!s->member[frame->id] || !s->o->values[frame->id].is_frame) return true;
  return refuse(s, REASON_stream_between, n, STR("exp2 below a running maximum"));
}

bool stream_form_of(stream_form *f, const outline *o, arena *a, node *const *nodes, int n,
                    const uint8_t *member, const uint8_t *stored, reason *why, int *at,
                    str *detail) {
  finder s = {f, o, a, nodes, n, member, stored, why, at, detail};
  *f = (stream_form){.stream = -1, .depth = -1, .row = -1, .columns = -1};
  *detail = (str){0};
  if (o->nstream != 1)
    return refuse(&s, REASON_stream_walks, NULL,
                  o->nstream ? str_printf(a, "%d axes are streamed", o->nstream)
                             : STR("the streamed axis has one element"));
  f->stream = o->stream[0];
  if (o->walks != 1)
    return refuse(&s, REASON_stream_walks, NULL, str_printf(a, "it would take %d walks", o->walks));
  for (int i = 0; i < n; i++)
    if (!check_value(&s, nodes[i]) || !check_exponent(&s, nodes[i])) return false;
  if (!f->score) return refuse(&s, REASON_stream_lead, NULL, STR("it has no product"));
  // The weights are in registers, and what a product is over is in memory: nothing else is kept.
  for (int i = 0; i < n; i++) {
    const outline_value *v = &o->values[nodes[i]->id];
    bool known = nodes[i] == f->score || nodes[i] == f->weights || nodes[i] == f->score->in[0] ||
                 nodes[i] == f->score->in[1] ||
                 (f->product && (nodes[i] == f->product->in[0] || nodes[i] == f->product->in[1]));
    if (v->kept && !v->state && !known)
      return refuse(&s, REASON_stream_between, nodes[i], (str){0});
  }
  return true;
}
