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

static int64_t columns_of(const finder *s, int product) {
  int64_t size = 0;
  check(ix_is_const(&s->o->g->ix, graph_axis_size(s->o->g, s->f->product[product].columns), &size));
  return size;
}

/// The threads of a block hold the sums of all products over the stream.
static bool check_sums(const finder *s, const node *at) {
  int64_t sums = 0;
  for (int i = 0; i < s->f->nproducts; i++) sums += columns_of(s, i);
  if (sums <= STREAM_MOST_SUMS) return true;
  return refuse(
      s, REASON_stream_head, at,
      str_printf(s->a, "its products have %lld columns together: at most %d are kept in registers",
                 (long long)sums, STREAM_MOST_SUMS));
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
static int find_row(const finder *s, const stream_lead *lead) {
  int best = -1;  // one of a single element, if there is no other
  for (int k = 0; k < lead->dot->naxes; k++) {
    int axis = lead->dot->axes[k];
    bool own = node_has_axis(lead->rows, axis) && !node_has_axis(lead->keys, axis);
    if (own && (best < 0 || estimate(s, axis) >= estimate(s, best))) best = axis;
  }
  return best;
}

/// All leads make scores of the same rows.
static bool check_same_scores(const finder *s, const stream_lead *lead) {
  const stream_form *f = s->f;
  if (lead == &f->lead[0]) return true;
  for (int i = 0; i < lead->dot->naxes; i++) {
    int axis = lead->dot->axes[i];
    if (!node_has_axis(f->lead[0].dot, axis) && !graph_axis_is_single(s->o->g, axis))
      return refuse(s, REASON_stream_lead, lead->dot,
                    str_printf(s->a, "a product before it lacks %.*s", STR_FMT(axis_name(s, axis))));
  }
  for (int i = 0; i < f->lead[0].dot->naxes; i++) {
    int axis = f->lead[0].dot->axes[i];
    if (!node_has_axis(lead->dot, axis) && !graph_axis_is_single(s->o->g, axis))
      return refuse(s, REASON_stream_lead, lead->dot,
                    str_printf(s->a, "it lacks %.*s, which a product before it has", STR_FMT(axis_name(s, axis))));
  }
  if (!node_has_axis(lead->rows, f->row) || node_has_axis(lead->keys, f->row))
    return refuse(s, REASON_stream_lead, lead->dot,
                  str_printf(s->a, "%.*s is no axis of its rows alone", STR_FMT(axis_name(s, f->row))));
  return lead->rows->type == f->lead[0].rows->type ||
         refuse(s, REASON_stream_lead, lead->dot, STR("its operands are of another type than those of a product before it"));
}

static bool find_lead(const finder *s, const node *dot) {
  stream_form *f = s->f;
  if (f->nleads == STREAM_LEADS)
    return refuse(s, REASON_stream_lead, dot,
                  str_printf(s->a, "there are %d other products before it", STREAM_LEADS));
  if (dot->nattr_axes != 1 || dot->type != DT_f32)
    return refuse(s, REASON_stream_lead, dot, STR("it is not f32, over one axis"));
  stream_lead *lead = &f->lead[f->nleads];
  int keys = node_has_axis(dot->in[1], f->stream);
  *lead = (stream_lead){dot, stream_narrow(dot->in[!keys]), stream_narrow(dot->in[keys]), dot->attr_axes[0]};
  if (node_has_axis(lead->rows, f->stream) || !node_has_axis(lead->keys, f->stream) ||
      lead->rows->type != lead->keys->type)
    return refuse(s, REASON_stream_lead, dot, STR("its operands are not rows and keys of one type"));
  uint8_t *seen = arena_array(s->a, uint8_t, s->o->g->nodes.len);
  bool computed = is_half(lead->rows->type) && is_made_of_memory(s, lead->rows, seen);
  if ((!computed && !check_operand(s, REASON_stream_lead, dot, lead->rows)) ||
      !check_operand(s, REASON_stream_lead, dot, lead->keys) || !check_head(s, dot, lead->depth))
    return false;
  if (!f->nleads) f->row = find_row(s, lead);
  if (f->row < 0) return refuse(s, REASON_stream_lead, dot, STR("it has no rows"));
  if (!check_same_scores(s, lead)) return false;
  f->nleads++;
  return true;
}

static bool find_product(const finder *s, const node *dot) {
  stream_form *f = s->f;
  if (f->nproducts == STREAM_PRODUCTS)
    return refuse(s, REASON_stream_product, dot,
                  str_printf(s->a, "there are %d other products over the stream", STREAM_PRODUCTS));
  if (!f->nleads) return refuse(s, REASON_stream_lead, dot, STR("there is no product before it"));
  if (dot->nattr_axes != 1 || dot->type != DT_f32)
    return refuse(s, REASON_stream_product, dot, STR("it is not f32, over one axis"));
  stream_product *p = &f->product[f->nproducts];
  int weights = node_has_axis(dot->in[0], f->row) ? 0 : 1;
  *p = (stream_product){dot, stream_narrow(dot->in[weights]), stream_narrow(dot->in[!weights]), -1, 0};
  if (!is_half(p->weights->type))
    return refuse(s, REASON_stream_product, dot,
                  str_printf(s->a, "the weights are %s: a cast to %s rounds them for tensor cores",
                             dtype_name(p->weights->type), dtype_name(f->lead[0].keys->type)));
  if (p->weights->type != p->values->type || node_has_axis(p->values, f->row) ||
      !node_has_axis(p->weights, f->row) || !node_has_axis(p->weights, f->stream))
    return refuse(s, REASON_stream_product, dot, STR("its operands are not weights and values of one type"));
  if (!check_operand(s, REASON_stream_product, dot, p->values)) return false;
  for (int k = 0; k < dot->naxes; k++) {
    int axis = dot->axes[k];
    if (node_has_axis(f->lead[0].dot, axis)) continue;
    bool own = p->columns < 0 && node_has_axis(p->values, axis) && !node_has_axis(p->weights, axis);
    if (!own)
      return refuse(s, REASON_stream_product, dot,
                    str_printf(s->a, "%.*s is a second axis of its columns",
                               STR_FMT(axis_name(s, axis))));
    p->columns = axis;
  }
  if (p->columns < 0) return refuse(s, REASON_stream_product, dot, STR("it has no columns"));
  f->nproducts++;
  return check_head(s, dot, p->columns) && check_sums(s, dot);
}

// ---- what is added up in memory

static int axis_elements(const graph *g, int axis) {
  int64_t size = 0;
  return ix_is_const(&g->ix, graph_axis_size(g, axis), &size) ? (int)size : 0;
}

// A thread has its part of the sums, of the scores of each lead, and the weights of one product in words.
int stream_added_step(const stream_form *f, const graph *g, int *sharing) {
  enum { ROWS = 64, PANEL = 64, REGISTERS = 240 - 24 };
  int columns = axis_elements(g, f->lead[f->added.lead].depth), sums = 0;
  for (int i = 0; i < f->nproducts; i++) sums += axis_elements(g, f->product[i].columns) / 2;
  for (*sharing = 2; *sharing > 0; --*sharing) {
    int step = 2 * ROWS / *sharing,
        own = columns / *sharing;  // the product's rows: of each warpgroup 64
    bool panels = *sharing == 1 || own % PANEL == 0 || PANEL % own == 0;
    if (panels && sums + f->nleads * step / 2 + step / 4 <= REGISTERS) return step;
  }
  return 0;
}

static bool find_added(const finder *s, const node *dot) {
  stream_form *f = s->f;
  stream_added *a = &f->added;
  if (a->dot)
    return refuse(s, REASON_stream_product, dot, STR("there is another sum over rows before it"));
  if (dot->nattr_axes != 1 || dot->attr_axes[0] != f->row || dot->type != DT_f32)
    return refuse(s, REASON_stream_product, dot, STR("it is not f32, over the rows"));
  int weights = node_has_axis(dot->in[0], f->stream) ? 0 : 1;
  const node *of = stream_narrow(dot->in[!weights]);
  *a = (stream_added){dot, stream_narrow(dot->in[weights]), -1};
  for (int i = 0; i < f->nleads; i++)
    if (f->lead[i].rows == of && is_plain(s, of) && node_has_axis(dot, f->lead[i].depth))
      a->lead = i;
  bool whole = is_half(a->weights->type) && a->weights->type == of->type &&
               node_has_axis(a->weights, f->row) && node_has_axis(a->weights, f->stream);
  if (a->lead < 0 || !whole)
    return refuse(s, REASON_stream_product, dot,
                  STR("its operands are not weights and the rows of a product before it"));
  for (int k = 0; k < f->lead[0].dot->naxes; k++) {
    int axis = f->lead[0].dot->axes[k];
    if (axis != f->row && !graph_axis_is_single(s->o->g, axis) && !node_has_axis(dot, axis))
      return refuse(s, REASON_different_rows, dot,
                    str_printf(s->a, "it lacks %.*s", STR_FMT(axis_name(s, axis))));
  }
  return true;
}

/// When all products are known.
static bool check_added(const finder *s) {
  const stream_form *f = s->f;
  const node *dot = f->added.dot;
  int sharing;
  if (!dot) return true;
  bool shared = false;
  for (int i = 0; i < f->nproducts; i++) shared |= f->product[i].weights == f->added.weights;
  if (!shared)
    return refuse(s, REASON_stream_product, dot,
                  STR("its weights are not those of a product over the stream"));
  if (dot->naxes != f->lead[0].dot->naxes || f->lead[0].keys->type != f->added.weights->type)
    return refuse(s, REASON_different_rows, dot, STR("it has further axes"));
  return stream_added_step(f, s->o->g, &sharing) > 0 ||
         refuse(s, REASON_stream_product, dot,
                STR("beside the sums over the stream it takes too many registers"));
}

// ---- everything else

/// States and results have the rows of the lead product: each block finishes its own.
static bool check_rows(const finder *s, const node *n, bool columns) {
  const stream_form *f = s->f;
  const node *scores = f->lead[0].dot;
  for (int k = 0; k < scores->naxes; k++) {
    int axis = scores->axes[k];
    if (axis != f->stream && !graph_axis_is_single(s->o->g, axis) && !node_has_axis(n, axis))
      return refuse(s, REASON_different_rows, n,
                    str_printf(s->a, "it lacks %.*s", STR_FMT(axis_name(s, axis))));
  }
  for (int k = 0; k < n->naxes; k++) {
    int axis = n->axes[k];
    bool known = node_has_axis(scores, axis) || graph_axis_is_single(s->o->g, axis);
    for (int i = 0; i < f->nproducts && columns; i++) known |= axis == f->product[i].columns;
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
  if (!s->f->nleads) return refuse(s, REASON_stream_lead, n, STR("there is no product before it"));
  if (v->is_frame && n->type != DT_f32)
    return refuse(s, REASON_stream_between, n,
                  str_printf(s->a, "exponents are %s", dtype_name(n->type)));
  return check_rows(s, n, false);
}

static bool check_value(const finder *s, const node *n) {
  const outline_value *v = &s->o->values[n->id];
  if (v->state) return check_state(s, n);
  if (v->added) return find_added(s, n);
  if (s->stored[n->id] && v->streamed)
    return refuse(s, REASON_stream_between, n, STR("it is written along the stream"));
  if (class_of(n) == CLASS_contraction) return find_lead(s, n);
  if (class_of(n) == CLASS_reduce || class_of(n) == CLASS_scan)
    return refuse(s, REASON_stream_between, n, (str){0});
  return !s->stored[n->id] || (s->f->nleads && check_rows(s, n, true)) ||
         (!s->f->nleads && refuse(s, REASON_stream_lead, n, STR("there is no product before it")));
}

/// Exponentials are taken relative to the frame to the base e.
static bool check_exponent(const finder *s, const node *n) {
  if (n->op != OP_exp2 || !s->member[n->in[0]->id] || n->in[0]->op != OP_sub) return true;
  const node *frame = n->in[0]->in[1];
  if (!s->member[frame->id] || !s->o->values[frame->id].is_frame) return true;
  return refuse(s, REASON_stream_between, n, STR("exp2 below a running maximum"));
}

static bool is_of_product(const stream_form *f, const node *n) {
  const node *added = f->added.dot;
  if (added && (n == added || n == f->added.weights || n == added->in[0] || n == added->in[1]))
    return true;
  for (int i = 0; i < f->nleads; i++)
    if (n == f->lead[i].dot || n == f->lead[i].dot->in[0] || n == f->lead[i].dot->in[1]) return true;
  for (int i = 0; i < f->nproducts; i++)
    if (n == f->product[i].weights || n == f->product[i].dot->in[0] || n == f->product[i].dot->in[1])
      return true;
  return false;
}

// ---- the order of a step

/// By node id: maps between n and the product furthest from it, at least 1; 0 unknown.
static int steps_after(const finder *s, const node *n, int *known) {
  if (known[n->id]) return known[n->id];
  int most = 0;
  for (int i = 0; i < s->n; i++)
    for (int k = 0; k < s->nodes[i]->nin; k++)
      if (s->nodes[i]->in[k] == n && s->o->values[s->nodes[i]->id].streamed) {
        int after = steps_after(s, s->nodes[i], known);
        if (after > most) most = after;
      }
  return known[n->id] = 1 + most;
}

static unsigned leads_below(const finder *s, const node *n, unsigned *known) {
  enum { KNOWN = 1u << 31 };
  if (!s->member[n->id]) return 0;
  if (known[n->id]) return known[n->id] & ~KNOWN;
  unsigned leads = 0;
  for (int i = 0; i < s->f->nleads; i++) leads |= (unsigned)(s->f->lead[i].dot == n) << i;
  for (int k = 0; k < n->nin; k++) leads |= leads_below(s, n->in[k], known);
  known[n->id] = leads | KNOWN;
  return leads;
}

/// While a product is under way, what the one before it made is worked on.
static void put_in_order(const finder *s) {
  stream_form *f = s->f;
  int *after = arena_array(s->a, int, s->o->g->nodes.len);
  unsigned *below = arena_array(s->a, unsigned, s->o->g->nodes.len);
  if (f->nleads == 2 && steps_after(s, f->lead[1].dot, after) > steps_after(s, f->lead[0].dot, after)) {
    stream_lead first = f->lead[0];
    f->lead[0] = f->lead[1];
    f->lead[1] = first;
    f->added.lead = 1 - f->added.lead;
  }
  for (int i = 0; i < f->nproducts; i++) f->product[i].needs = leads_below(s, f->product[i].weights, below);
  if (f->nproducts == 2 && f->product[1].needs < f->product[0].needs) {
    stream_product first = f->product[0];
    f->product[0] = f->product[1];
    f->product[1] = first;
  }
}

bool stream_form_of(stream_form *f, const outline *o, arena *a, node *const *nodes, int n,
                    const uint8_t *member, const uint8_t *stored, reason *why, int *at,
                    str *detail) {
  finder s = {f, o, a, nodes, n, member, stored, why, at, detail};
  *f = (stream_form){.stream = -1, .row = -1};
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
  if (!f->nleads) return refuse(&s, REASON_stream_lead, NULL, STR("it has no product"));
  // The weights are in registers, and what a product is over is in memory: nothing else is kept.
  for (int i = 0; i < n; i++) {
    const outline_value *v = &o->values[nodes[i]->id];
    if (v->kept && !v->state && !is_of_product(f, nodes[i]))
      return refuse(&s, REASON_stream_between, nodes[i], (str){0});
  }
  put_in_order(&s);
  return check_added(&s);
}

bool stream_has_axis(const stream_form *f, int graph_axis) {
  return graph_axis != f->stream && node_has_axis(f->lead[0].dot, graph_axis);
}
