// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Under `fuse stream(T)`: sums over T whose elements wait for other reductions over T are written so
// that they wait for a running maximum at most, and all else comes after the sum.
//
//   %m = reduce_max %s over T
//   %e = exp (%s - %m)                          (the same)
//   %l = sum %e over T
//   %p = bf16(%e / %l)                          %q = bf16(%e)
//   %o = dot %p, %v over T              ──▶     %n = dot %q, %v over T
//                                               %o = %n / %l
//
// The maximum of what is in the exponent is the *frame*: if the program has it, that is it, and it
// cancels; else it is made. Numerics: docs/contracts.md.
#include "passes/rewrite/stream.h"

#include "base/fault.h"

static bool combines_stream(const stream *s, const node *n) {
  op_class c = op_get(n->op)->class;
  if (c != CLASS_reduce && c != CLASS_contraction) return false;
  for (int k = 0; k < n->nattr_axes; k++)
    for (int i = 0; i < s->f.naxes; i++)
      if (n->attr_axes[k] == s->f.axes[i]) return true;
  return false;
}

/// Entries for what was built: a long element may have many parts.
static void make_room(stream *s) {
  int need = s->g->nodes.len + 1;
  if (need <= s->room) return;
  uint8_t *waits = arena_array(s->scratch, uint8_t, 2 * need);
  uint8_t *depth = arena_array(s->scratch, uint8_t, 2 * need);
  node **replacement = arena_array(s->scratch, node *, 2 * need);
  if (s->seen) memcpy(waits, s->waits, (size_t)s->seen);
  if (s->seen) memcpy(depth, s->depth, (size_t)s->seen);
  if (s->seen) memcpy(replacement, s->replacement, sizeof(node *) * (size_t)s->seen);
  s->room = 2 * need;
  s->replacement = replacement;
  s->depth = depth;
  s->f.waits = s->waits = waits;
}

static void see(stream *s, const node *n, bool combines) {
  enum { DEEPEST = 250 };
  uint8_t depth = 0;
  for (int k = 0; k < n->nin; k++)
    if (s->depth[n->in[k]->id] > depth) depth = s->depth[n->in[k]->id];
  s->depth[n->id] = depth + (combines && depth < DEEPEST);
  s->waits[n->id] = s->depth[n->id] >= s->level;
}

/// Tile and row parts of what is built wait as their operands do.
static void see_new(stream *s) {
  make_room(s);
  for (; s->seen < s->g->nodes.len; s->seen++) {
    const node *n = s->g->nodes.data[s->seen];
    see(s, n, combines_stream(s, n));
  }
}

bool stream_same_axes(const node *a, const node *b) {
  bool same = a->nattr_axes == b->nattr_axes;
  for (int k = 0; k < a->nattr_axes && same; k++) {
    bool found = false;
    for (int j = 0; j < b->nattr_axes; j++) found |= a->attr_axes[k] == b->attr_axes[j];
    same = found;
  }
  return same;
}

/// The program's own maximum of the value over the same axes; null: it has none.
static node *find_maximum(const stream *s, const node *of, const node *like) {
  for (int id = 0; id < s->g->nodes.len; id++) {
    node *n = s->g->nodes.data[id];
    if (n->op == OP_reduce_max && n->in[0] == of && n->contract == s->number &&
        stream_same_axes(n, like))
      return n;
  }
  return NULL;
}

/// The element without what comes after the sum.
static node *element_of(stream *s, const term *t, node *frame) {
  graph *g = s->g;
  node *e = NULL;
  if (t->exponent) e = graph_unary(g, OP_exp, graph_binary(g, OP_sub, t->exponent, frame));
  if (t->inner) e = e ? graph_binary(g, OP_mul, t->inner, e) : t->inner;
  if (!e) return t->after;  // what was rounded is 1: all else of it waits
  if (t->rounds) e = graph_cast(g, e, t->type);
  if (t->after) {
    node *after = t->after;
    if (e->type != after->type) e = graph_cast(g, e, after->type);
    e = graph_binary(g, OP_mul, e, after);
  }
  return e;
}

/// The row exponent is the frame, taken away.
static bool cancels(const term *t, const node *frame) {
  return t->row_exponent && t->row_exponent->op == OP_neg && t->row_exponent->in[0] == frame;
}

node *stream_finished(stream *s, const term *t, node *frame, node *sum) {
  graph *g = s->g;
  node *r = sum;
  if (t->exponent) {
    if (!cancels(t, frame)) {
      node *shift = t->row_exponent ? graph_binary(g, OP_add, frame, t->row_exponent) : frame;
      r = graph_binary(g, OP_mul, r, graph_unary(g, OP_exp, shift));
    }
  } else if (t->row_exponent) {
    r = graph_binary(g, OP_mul, r, graph_unary(g, OP_exp, t->row_exponent));
  }
  if (t->factor) r = graph_binary(g, OP_mul, r, t->factor);
  if (t->divisor) r = graph_binary(g, OP_div, r, t->divisor);
  if (t->row_mask) r = graph_where(g, t->row_mask, r, graph_const_float(g, r->type, 0));
  return r;
}

node *stream_as_type(graph *g, node *n, dtype t) { return n->type == t ? n : graph_cast(g, n, t); }

node *stream_times(graph *g, node *a, node *b) {
  return !a ? b : !b ? a : graph_binary(g, OP_mul, a, b);
}

static void widen_rows(stream *s, term *t, dtype type) {
  node **rows[] = {&t->factor, &t->divisor, &t->row_exponent};
  for (int i = 0; i < 3; i++)
    if (*rows[i]) *rows[i] = stream_as_type(s->g, *rows[i], type);
}

/// The element is exp(x - frame) and nothing comes after the sum: it has the form.
static bool is_canonical(const term *t, const node *frame, const node *element) {
  return frame && !t->factor && !t->divisor && !t->row_mask && cancels(t, frame) && element->op == OP_exp &&
         element->in[0]->op == OP_sub && element->in[0]->in[1] == frame;
}

ix stream_count(stream *s, const node *n) {
  graph *g = s->g;
  ix size = ix_const(&g->ix, 1);
  for (int k = 0; k < n->nattr_axes; k++)
    size = ix_mul(&g->ix, size, graph_axis_size(g, n->attr_axes[k]));
  return size;
}

node *stream_unless_empty(stream *s, const node *n, node *r) {
  graph *g = s->g;
  ix size = stream_count(s, n);
  if (ix_bounds(&g->ix, size).min > 0) return r;
  node *zero = graph_const(g, r->type, op_identity(op_combiner(n->op), r->type));
  node *some = graph_binary(g, OP_gt, graph_size(g, DT_i64, size), graph_const(g, DT_i64, (scalar){.i = 0}));
  return graph_where(g, some, r, zero);
}

node *stream_frame(stream *s, const term *t, const node *n) {
  node *frame = find_maximum(s, t->exponent, n);
  for (int k = 0; !frame && k < n->nattr_axes; k++)
    if (!node_has_axis(t->exponent, n->attr_axes[k])) return NULL;
  return frame ? frame
               : graph_reduce(s->g, OP_reduce_max, t->exponent, n->attr_axes, n->nattr_axes);
}

/// The elements of a state: a term, times what waits for nothing or another term.
typedef struct element {
  term t, u;
  node *other;  // the operand that waits for nothing
  bool two;     // both are terms, and their product is larger than either
  int waiting;  // operand number of t
} element;

/// False: they have no form.
static bool take_element(stream *s, const node *n, element *e) {
  *e = (element){0};
  s->f.visits = 0;
  if (n->nin == 1) return factor_value(&s->f, n->in[0], &e->t);
  e->waiting = s->waits[n->in[0]->id] ? 0 : 1;
  if (!s->waits[n->in[0]->id] || !s->waits[n->in[1]->id]) {
    e->other = n->in[1 - e->waiting];
    return factor_value(&s->f, n->in[e->waiting], &e->t);
  }
  // Two factors that wait become one where the product is no larger than they are.
  term a;
  if (!factor_value(&s->f, n->in[0], &a) || !factor_value(&s->f, n->in[1], &e->u)) return false;
  e->two = !node_same_axis_set(n->in[0], n->in[1]);
  if (!e->two) return factor_product(&s->f, &a, &e->u, n, &e->t);
  e->t = a;
  if (a.nsums + e->u.nsums > 0) return !a.rounds && !e->u.rounds;
  return !a.exponent && !e->u.exponent;
}

/// Through sums about means; null: they have no form.
static node *moments(stream *s, node *n, const element *e) {
  term other = {0};
  if (e->other) other.inner = e->other;
  const term *second = e->two ? &e->u : e->other ? &other : NULL;
  unsigned late = RULE_late_factors;
  bool exponent = e->t.exponent || (second && second->exponent);
  bool factor = e->t.factor || e->t.divisor || (second && (second->factor || second->divisor));
  if (factor && s->f.off & late) return NULL;
  s->applied = RULE_moment_shift | (factor ? late : 0) | (exponent ? RULE_exponents : 0);
  return stream_moments(s, n, &e->t, second);
}

/// What replaces the state n; null: it stays as it is.
static node *settled(stream *s, node *n, node *r, const node *sum) {
  if (!r || r->type != n->type || !node_same_axis_set(r, n)) return NULL;
  if (r != sum) r = stream_unless_empty(s, n, r);
  return graph_reorder(s->g, r, n->axes);
}

static node *canonical(stream *s, node *n);

/// Sums of the terms that the waiting operand is a sum of; null: they are no better.
static node *by_terms(stream *s, node *n) {
  graph *g = s->g;
  int k = s->waits[n->in[0]->id] ? 0 : 1;
  node *x = n->in[k], *parts[2];
  unsigned applied = RULE_terms;
  if (s->f.off & RULE_terms || (x->op != OP_add && x->op != OP_sub) || !dtype_is_float(x->type) ||
      (n->nin == 2 && s->waits[n->in[1 - k]->id]))
    return NULL;
  for (int i = 0; i < 2; i++) {
    node *in[2] = {n->in[0], n->nin == 2 ? n->in[1] : NULL};
    in[k] = x->in[i];
    for (int j = 0; j < n->nattr_axes; j++)
      if (!node_has_axis(in[k], n->attr_axes[j])) return NULL;
    if (!(parts[i] = in[k]->type == n->type ? stream_sum(s, n, in[0], in[1])
                                            : graph_dot(g, in[0], in[1], n->attr_axes, n->nattr_axes)))
      return NULL;
    see_new(s);
    if (!s->waits[in[k]->id]) continue;
    if (!(parts[i] = canonical(s, parts[i]))) return NULL;
    applied |= s->applied;
  }
  s->applied = applied;
  node *r = graph_binary(g, x->op, parts[0], parts[1]);
  return r->type == n->type && node_same_axis_set(r, n) ? graph_reorder(g, r, n->axes) : NULL;
}

/// The sum of products of two factors that wait, of which each has axes of its own.
static node *of_two(stream *s, node *n, const element *e) {
  graph *g = s->g;
  const term *t[2] = {&e->t, &e->u};
  node *x[2];
  s->applied = 0;
  for (int k = 0; k < 2; k++) {
    bool late = t[k]->factor || t[k]->divisor;
    if (!t[k]->inner && !t[k]->after) return NULL;
    if (late && s->f.off & RULE_late_factors) return NULL;
    s->applied |= (late ? RULE_late_factors : 0) | (t[k]->rounds ? RULE_roundings : 0) |
                  (t[k]->row_exponent ? RULE_exponents : 0);
    x[k] = stream_as_type(g, element_of(s, t[k], NULL), n->in[k]->type);
  }
  node *sum = graph_dot(g, x[0], x[1], n->attr_axes, n->nattr_axes);
  node *r = stream_finished(s, t[1], NULL, stream_finished(s, t[0], NULL, sum));
  return settled(s, n, r, sum);
}

/// The state in canonical form; null: it stays as it is.
static node *canonical(stream *s, node *n) {
  graph *g = s->g;
  element e;
  if (!take_element(s, n, &e)) return by_terms(s, n);
  term t = e.t;
  node *other = e.other, *frame = NULL, *sum;
  if (t.nsums || e.two) {
    widen_rows(s, &e.t, n->type);
    widen_rows(s, &e.u, n->type);
    return t.nsums + e.u.nsums ? settled(s, n, moments(s, n, &e), NULL) : of_two(s, n, &e);
  }
  if (!t.inner && !t.after && !t.exponent) return NULL;  // the same for all of T
  if ((t.factor || t.divisor) && s->f.off & RULE_late_factors) return NULL;
  s->applied = (t.factor || t.divisor ? RULE_late_factors : 0) | (t.exponent ? RULE_exponents : 0) |
               (t.rounds ? RULE_roundings : 0);
  widen_rows(s, &t, n->type);
  if (t.exponent && !(frame = stream_frame(s, &t, n))) return NULL;
  int waiting = other ? e.waiting : 0;
  if (is_canonical(&t, frame, n->in[waiting])) return NULL;
  node *x = element_of(s, &t, frame);
  if (other) {
    x = stream_as_type(g, x, n->in[waiting]->type);
    sum = waiting == 0 ? graph_dot(g, x, other, n->attr_axes, n->nattr_axes)
                       : graph_dot(g, other, x, n->attr_axes, n->nattr_axes);
  } else {
    sum = graph_reduce(g, OP_sum, stream_as_type(g, x, n->type), n->attr_axes, n->nattr_axes);
  }
  return settled(
      s, n, stream_finished(s, &t, frame ? stream_as_type(g, frame, n->type) : NULL, sum), sum);
}

/// Which values of the program wait for a reduction over the stream; the deepest.
static int see_program(stream *s) {
  int deepest = 0;
  for (int id = 0; id < s->count; id++) {
    const node *n = s->g->nodes.data[id];
    see(s, n, combines_stream(s, n) && n->contract == s->number);
    if (s->depth[id] > deepest) deepest = s->depth[id];
  }
  s->seen = s->count;
  return deepest;
}

static bool is_waiting(const stream *s, const node *n) {
  if (n->contract != s->number || !combines_stream(s, n)) return false;
  bool waits = false;
  for (int k = 0; k < n->nin; k++) waits |= s->waits[n->in[k]->id];
  return waits;
}

/// What waits for `level` walks and more, for those that follow. False: nothing does.
static bool run_level(stream *s, int level, bool *changed) {
  graph *g = s->g;
  enum { MOST = 64 };  // nodes that are built per node there was, about
  bool any = false;
  s->count = g->nodes.len;
  s->level = level;
  s->seen = 0;
  make_room(s);
  memset(s->replacement, 0, sizeof(node *) * (size_t)s->room);
  if (see_program(s) < level) return false;
  for (int id = 0; id < s->count && g->nodes.len < MOST * s->count; id++) {
    node *n = g->nodes.data[id];
    int first = g->nodes.len;
    if (!is_waiting(s, n)) continue;
    g->contract = s->number, g->phase = n->phase, g->region = n->region;
    bool sums = n->op == OP_sum || n->op == OP_dot;
    node *to = sums ? canonical(s, n) : stream_extreme(s, n);
    g->contract = g->phase = g->region = 0;
    for (int k = first; k < g->nodes.len; k++) g->nodes.data[k]->at = n->at;
    see_new(s);
    if (to && to != n) {
      s->replacement[id] = to;
      any = true;
      g->contracts.data[s->number - 1].rules |= s->applied;
    }
  }
  if (any) graph_compact(g, s->replacement);
  else if (g->nodes.len > s->count) graph_compact(g, NULL);
  *changed |= any;
  return true;
}

static void run_stream(pass_ctx *ctx, int number, bool *changed) {
  graph *g = ctx->graph;
  contract *c = &g->contracts.data[number];
  stream s = {.g = g, .number = number + 1, .scratch = ctx->scratch};
  s.f = (factoring){
      .g = g, .axes = c->axes, .naxes = c->naxes, .off = rules_switched_off(ctx->options)};
  bool off = s.f.off & RULE_frames;
  *changed |= c->without_frames != off;
  c->without_frames = off;
  for (int level = 1; run_level(&s, level, changed); level++) {}
}

bool pass_stream(pass_ctx *ctx) {
  if (ctx->graph->fused || !ctx->graph->contracts.len) return false;
  bool changed = stream_one_axis(ctx);
  changed |= stream_local(ctx);
  for (int k = 0; k < ctx->graph->contracts.len; k++)
    if (ctx->graph->contracts.data[k].streamed) run_stream(ctx, k, &changed);
  changed |= stream_free_shifts(ctx);
  return changed;
}
