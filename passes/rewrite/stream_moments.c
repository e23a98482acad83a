// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums over T of differences from what waits for a reduction over T, as those of a variance.
//
//   %m = (sum %x over T) / T                %c = %m           the centre: here the program's mean
//   %d = %x - %r                            %e = %x - %c
//   %v = sum %d * %d over T          ──▶    %2 = sum %e * %e over T
//                                           %1 = sum %e over T
//                                           %h = %c - %r
//                                           %v = %2 + %h * (2 * %1 + %h * T)
//
// That holds for any centre. What the kernel takes is the mean of the elements so far: it moves the
// sums along when that changes (passes/lowering/lower_nest_moments.c), by the same formula. So
// differences are as small as those of the program. Expanding the square instead, sum(x * x) - 2 r
// sum(x) + T r r, would lose all digits where the mean is large beside the deviation.
//
// Weights w that cannot be negative give sum(w * x) / sum(w) as the centre; with others that may be
// anywhere, so it is the mean of all elements (that a mask selects). Numerics: docs/contracts.md.
#include "passes/rewrite/stream.h"

enum { SIDES = 2, MOST = FACTOR_MOST_SUMS };

/// One operand of the sum: weight * (tile + row) * (tile + row), where the mask is true.
typedef struct side {
  node *weight, *mask;
} side;

typedef struct moment {
  stream *s;
  node *n;  // the sum
  side sides[SIDES];
  int nsides;
  struct {
    node *tile, *row, *centre;
    int side;
  } sums[MOST];
  int nsums;
  bool positive;  // no weight is negative
} moment;

/// How a difference enters a sum: not at all, taken from its centre, or as the tile it is of.
typedef enum pick { LEFT_OUT, CENTRED, WHOLE } pick;

// ---- signs

static bool is_positive(const node *n, int *visits) {
  double c;
  if (++*visits > 100) return false;
  if (node_is_const(n, &c)) return c >= 0;
  switch (n->op) {
    case OP_exp:
    case OP_exp2:
    case OP_abs:
    case OP_sqrt:
    case OP_rsqrt:
    case OP_sigmoid: return true;
    case OP_size:
    case OP_index: return true;
    case OP_mul:
      return n->in[0] == n->in[1] ||
             (is_positive(n->in[0], visits) && is_positive(n->in[1], visits));
    case OP_add:
    case OP_div:
    case OP_min: return is_positive(n->in[0], visits) && is_positive(n->in[1], visits);
    case OP_max: return is_positive(n->in[0], visits) || is_positive(n->in[1], visits);
    case OP_where: return is_positive(n->in[1], visits) && is_positive(n->in[2], visits);
    case OP_cast:
      return n->in[0]->type == DT_bool ||
             (dtype_is_float(n->type) && is_positive(n->in[0], visits));
    case OP_sum:
    case OP_prod:
    case OP_view:
    case OP_reduce_min: return is_positive(n->in[0], visits);
    default: return false;
  }
}

bool stream_is_positive(const node *n) {
  int visits = 0;
  return is_positive(n, &visits);
}

// ---- sums

static bool has_all(const node *n, const int *axes, int naxes) {
  for (int k = 0; k < naxes; k++)
    if (!node_has_axis(n, axes[k])) return false;
  return true;
}

/// An operand with these of its differences; null: nothing is left, which is 1.
static node *operand(const moment *m, int which, const pick *picks) {
  graph *g = m->s->g;
  const side *d = &m->sides[which];
  node *e = NULL;
  for (int i = 0; i < m->nsums; i++) {
    if (m->sums[i].side != which || picks[i] == LEFT_OUT) continue;
    node *x = m->sums[i].tile;
    e = stream_times(g, e, picks[i] == CENTRED ? graph_binary(g, OP_sub, x, m->sums[i].centre) : x);
  }
  e = stream_times(g, e, d->weight);
  if (!d->mask) return e;
  node *zero = graph_const_float(g, m->n->type, 0);
  return graph_where(g, d->mask, e ? e : graph_const_float(g, m->n->type, 1), zero);
}

node *stream_sum(stream *s, const node *n, node *a, node *b) {
  graph *g = s->g;
  if (!a || !b) {
    node *one = a ? a : b;
    if (!one) return graph_size(g, n->type, stream_count(s, n));
    return has_all(one, n->attr_axes, n->nattr_axes)
               ? graph_reduce(g, OP_sum, one, n->attr_axes, n->nattr_axes)
               : NULL;
  }
  if (!has_all(a, n->attr_axes, n->nattr_axes) || !has_all(b, n->attr_axes, n->nattr_axes))
    return NULL;
  // No product where one operand has all axes, nor of what lacks some: each tile of rows combines
  // it again.
  bool sum = has_all(a, n->axes, n->naxes) || has_all(b, n->axes, n->naxes);
  for (int k = 0; k < n->naxes && !sum; k++)
    sum = !node_has_axis(a, n->axes[k]) && !node_has_axis(b, n->axes[k]);
  if (sum)
    return graph_reduce(g, OP_sum, graph_binary(g, OP_mul, a, b), n->attr_axes, n->nattr_axes);
  return graph_dot(g, a, b, n->attr_axes, n->nattr_axes);
}

static node *sum_of(const moment *m, node *a, node *b) { return stream_sum(m->s, m->n, a, b); }

static node *moment_of(const moment *m, const pick *picks) {
  node *a = operand(m, 0, picks), *b = m->nsides > 1 ? operand(m, 1, picks) : NULL;
  return sum_of(m, a, b);
}

// ---- centres

/// The program's own mean of the tile over the same axes; null: it has none.
static node *find_mean(const moment *m, const node *tile) {
  stream *s = m->s;
  for (int id = 0; id < s->g->nodes.len; id++) {
    node *n = s->g->nodes.data[id];
    if (n->contract != s->number || !factor_is_mean(s->g, n)) continue;
    const node *sum = n->in[0];
    if (sum->in[0] == tile && sum->contract == s->number && stream_same_axes(sum, m->n)) return n;
  }
  return NULL;
}

/// a / b, 0 where b is 0: nothing was weighed so far.
static node *guarded(graph *g, node *a, node *b) {
  node *zero = graph_const_float(g, a->type, 0);
  return graph_where(g, graph_binary(g, OP_eq, b, graph_const_float(g, b->type, 0)), zero,
                     graph_binary(g, OP_div, a, b));
}

/// Mean of sums[i].tile; null: it lacks axes.
static node *centre_of(moment *m, int i) {
  graph *g = m->s->g;
  const node *n = m->n;
  node *x = m->sums[i].tile, *mask = m->sides[m->sums[i].side].mask, *found;
  if (m->positive) {
    pick none[MOST] = {LEFT_OUT, LEFT_OUT}, whole[MOST] = {LEFT_OUT, LEFT_OUT};
    whole[i] = WHOLE;
    node *sum = moment_of(m, whole), *weight = moment_of(m, none);
    return sum && weight ? guarded(g, sum, weight) : NULL;
  }
  if (!mask && (found = find_mean(m, x))) return found;
  if (mask) {
    node *zero = graph_const_float(g, n->type, 0), *one = graph_const_float(g, n->type, 1);
    node *some = sum_of(m, graph_where(g, mask, x, zero), NULL),
         *count = sum_of(m, graph_where(g, mask, one, zero), NULL);
    return some && count ? guarded(g, some, count) : NULL;
  }
  node *sum = sum_of(m, x, NULL), *count = sum_of(m, NULL, NULL);
  return sum ? graph_binary(g, OP_div, sum, count) : NULL;
}

// ---- the formula

/// What sums[i] is above its centre by. Where the program takes the centre away that is 0, and
/// stays in the text: through it the result depends on the sums that the kernel moves along.
static node *shift_of(const moment *m, int i) {
  return graph_binary(m->s->g, OP_add, m->sums[i].centre, m->sums[i].row);
}

/// The sum relative to the program's rows, of that relative to the centres. *none: the sum of
/// weights.
static node *moved(const moment *m, node *about, node **none) {
  graph *g = m->s->g;
  node *h[MOST], *r = about;
  pick picks[MOST] = {LEFT_OUT, LEFT_OUT};
  for (int i = 0; i < m->nsums; i++) h[i] = shift_of(m, i);
  if (!(*none = moment_of(m, picks))) return NULL;
  for (int i = 0; m->nsums == MOST && i < MOST; i++) {
    pick other[MOST] = {LEFT_OUT, LEFT_OUT};
    other[1 - i] = CENTRED;
    node *below = moment_of(m, other);
    if (!below) return NULL;
    r = graph_binary(g, OP_add, r, graph_binary(g, OP_mul, h[i], below));
  }
  node *all = m->nsums == MOST ? graph_binary(g, OP_mul, h[0], h[1]) : h[0];
  return graph_binary(g, OP_add, r, graph_binary(g, OP_mul, all, *none));
}

/// Of what is infinite no difference can be taken: where a sum is, it is the program's, unless the
/// rows are.
static node *unless_infinite(const moment *m, node *about, node *r) {
  graph *g = m->s->g;
  node *kept = about;
  for (int i = 0; i < m->nsums; i++)
    kept = graph_binary(g, OP_add, kept, graph_binary(g, OP_sub, m->sums[i].row, m->sums[i].row));
  return graph_where(g, graph_unary(g, OP_is_inf, about), kept, r);
}

/// It is what this pass has made.
static bool is_done(const moment *m) {
  const graph *g = m->s->g;
  for (int id = m->n->id + 1; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    if (n->op != OP_where || n->in[0]->op != OP_is_inf || n->in[0]->in[0] != m->n) continue;
    const node *kept = n->in[1];
    while (kept->op == OP_add && kept->in[1]->op == OP_sub &&
           kept->in[1]->in[0] == kept->in[1]->in[1])
      kept = kept->in[0];
    if (kept == m->n && kept != n->in[1]) return true;
  }
  return false;
}

// ---- the terms

static node *weight_of(stream *s, const term *t, node *frame, dtype type) {
  graph *g = s->g;
  node *e =
      t->exponent ? graph_unary(g, OP_exp, graph_binary(g, OP_sub, t->exponent, frame)) : NULL;
  e = stream_times(g, t->inner, e);
  e = e ? stream_as_type(g, e, type) : NULL;
  return stream_times(g, t->after ? stream_as_type(g, t->after, type) : NULL, e);
}

static void take_side(moment *m, const term *t, node *frame) {
  graph *g = m->s->g;
  int which = m->nsides++;
  m->sides[which] = (side){weight_of(m->s, t, frame, m->n->type), t->mask};
  for (int i = 0; i < t->nsums; i++) {
    m->sums[m->nsums].tile = stream_as_type(g, t->sums[i].tile, m->n->type);
    m->sums[m->nsums].row = stream_as_type(g, t->sums[i].row, m->n->type);
    m->sums[m->nsums++].side = which;
  }
}

node *stream_moments(stream *s, node *n, const term *a, const term *b) {
  graph *g = s->g;
  term t = *a;
  moment m = {.s = s, .n = n};
  node *frame = NULL, *none;
  // An axis of one element is not walked.
  if (n->nattr_axes != 1 || graph_axis_is_single(g, n->attr_axes[0])) return NULL;
  if (a->nsums + (b ? b->nsums : 0) > MOST || (b && a->exponent && b->exponent)) return NULL;
  const term *framed = b && b->exponent ? b : a;
  if (framed->exponent && !(frame = stream_frame(s, framed, n))) return NULL;
  take_side(&m, a, frame);
  if (b) take_side(&m, b, frame);
  if (is_done(&m)) return NULL;
  m.positive = m.sides[0].weight || m.sides[1].weight;
  for (int k = 0; k < SIDES; k++)
    m.positive &= !m.sides[k].weight || stream_is_positive(m.sides[k].weight);
  for (int i = 0; i < m.nsums; i++)
    if (!(m.sums[i].centre = centre_of(&m, i))) return NULL;
  pick all[MOST] = {CENTRED, CENTRED};
  node *about = moment_of(&m, all);
  node *r = about ? moved(&m, about, &none) : NULL;
  if (!r) return NULL;
  r = unless_infinite(&m, about, r);
  // Where all is masked the rows may be anything.
  if (a->mask || (b && b->mask))
    r = graph_where(g, graph_binary(g, OP_eq, none, graph_const_float(g, none->type, 0)), about, r);
  if (b) {
    t.exponent = framed->exponent;
    t.row_exponent = !a->row_exponent   ? b->row_exponent
                     : !b->row_exponent ? a->row_exponent
                                        : graph_binary(g, OP_add, a->row_exponent, b->row_exponent);
    t.factor = stream_times(g, a->factor, b->factor);
    t.divisor = stream_times(g, a->divisor, b->divisor);
    t.row_mask = !a->row_mask   ? b->row_mask
                 : !b->row_mask ? a->row_mask
                                : graph_binary(g, OP_and, a->row_mask, b->row_mask);
  }
  return stream_finished(s, &t, frame ? stream_as_type(g, frame, n->type) : NULL, r);
}
