// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the derivative of a streamed block needs of whole rows, without a walk of its own.
//
//   fuse stream(T) { o = dot(bf16(e * r), v, T) }        with r = 1 / sum(e, T)
//
// The derivative needs the sum over T of de * e, where de = dot(do, v, E). That is
//
//   sum(dot(do, v, E) * e, T) * r  =  dot(do, dot(e * r, v, T), E)  =  dot(do, o, E)
//
// of which nothing is along T: the row is read once, and the walk does not wait for another. Where the
// derivative would round de, and the block stores o rounded, it is the rounded o that is read, and de is not
// rounded.
// Source: Dao et al., "FlashAttention" (NeurIPS 2022), appendix B.4, for softmax; here any factors e, r.
//
// And maps and reductions of what is in memory (that sum, a maximum) are computed once, before the walks.
#include "ir/grad_stream.h"

enum { MOST_FACTORS = 8 };

/// A product; row factors do not carry the stream. `over`: they divide.
typedef struct factors {
  node *along[MOST_FACTORS];
  int nalong;
  struct { node *x; bool over; } row[MOST_FACTORS];
  int nrow;
  bool negative;
} factors;

typedef struct rewriting {
  graph *g;
  arena *a;
  const streamed_derivative *d;
  node **replacement;
  int count;  // of nodes before
} rewriting;

static bool along_stream(const rewriting *r, const node *n) {
  const contract *c = &r->g->contracts.data[r->d->block - 1];
  for (int k = 0; k < c->naxes; k++)
    if (node_has_axis(n, c->axes[k])) return true;
  return false;
}

/// The axes are the streamed ones.
static bool is_over_stream(const rewriting *r, const node *n) {
  const contract *c = &r->g->contracts.data[r->d->block - 1];
  return axes_equal(n->attr_axes, n->nattr_axes, c->axes, c->naxes);
}

/// The value without casts between floats, in whatever storage order.
static node *unrounded(const rewriting *r, node *n, bool *rounded) {
  for (;; n = n->in[0]) {
    bool cast = n->op == OP_cast && dtype_is_float(n->type) && dtype_is_float(n->in[0]->type);
    bool reorder = n->op == OP_view && view_is_reorder(r->g, n) && node_same_axis_set(n, n->in[0]);
    if (!cast && !reorder) return n;
    *rounded |= cast && !dtype_cast_is_exact(n->in[0]->type, n->type);
  }
}

/// False: they are too many.
static bool take_factors(const rewriting *r, node *n, bool over, factors *f) {
  bool along = along_stream(r, n), rounded = false;
  if (along) n = unrounded(r, n, &rounded);
  if (along && n->op == OP_neg) {
    f->negative = !f->negative;
    return take_factors(r, n->in[0], over, f);
  }
  if (along && n->op == OP_mul)
    return take_factors(r, n->in[0], over, f) && take_factors(r, n->in[1], over, f);
  if (along && n->op == OP_div && !along_stream(r, n->in[1]))
    return take_factors(r, n->in[0], over, f) && take_factors(r, n->in[1], !over, f);
  if (f->nalong == MOST_FACTORS || f->nrow == MOST_FACTORS) return false;
  if (along) f->along[f->nalong++] = n;
  else f->row[f->nrow].x = n, f->row[f->nrow++].over = over;
  return true;
}

/// The factors along the stream are the same but for `without` of a.
static bool same_along(const factors *a, int without, const factors *b) {
  bool used[MOST_FACTORS] = {false};
  if (a->nalong - 1 != b->nalong) return false;
  for (int i = 0; i < a->nalong; i++) {
    bool found = i == without;
    for (int k = 0; k < b->nalong && !found; k++) {
      found = !used[k] && a->along[i] == b->along[k];
      used[k] |= found;
    }
    if (!found) return false;
  }
  return true;
}

/// Takes the row factors of b out of a; those that a lacks stay in b.
static void divide_rows(factors *a, factors *b) {
  for (int i = 0; i < b->nrow; i++)
    for (int k = 0; k < a->nrow; k++)
      if (a->row[k].x == b->row[i].x && a->row[k].over == b->row[i].over) {
        a->row[k] = a->row[--a->nrow];
        b->row[i--] = b->row[--b->nrow];
        break;
      }
}

/// dot(do, v, E): the operand along the stream, the other one; false: it is no such product.
static bool weighted_product(const rewriting *r, const node *dot, node **rows, node **values) {
  if (dot->op != OP_dot || dot->contract != r->d->derived || !along_stream(r, dot)) return false;
  int k = along_stream(r, dot->in[1]);
  *rows = dot->in[!k], *values = dot->in[k];
  for (int i = 0; i < dot->nattr_axes; i++)
    if (axes_have(r->g->contracts.data[r->d->block - 1].axes,
                  r->g->contracts.data[r->d->block - 1].naxes, dot->attr_axes[i]))
      return false;
  return along_stream(r, *values) && !along_stream(r, *rows);
}

/// What the block itself rounds the product to, or the product.
static node *as_stored(const rewriting *r, node *product, bool rounded) {
  for (int id = product->id + 1; rounded && id < r->count; id++) {
    node *n = r->g->nodes.data[id];
    if (n->op == OP_cast && n->in[0] == product && n->contract == r->d->block &&
        dtype_is_float(n->type) && dtype_bytes(n->type) < dtype_bytes(product->type))
      return graph_cast(r->g, n, product->type);
  }
  return product;
}

/// The product of the block that adds up over the stream what `of` has beside factor `without`, times the
/// values; *left: its row factors.
static node *find_product(const rewriting *r, const factors *of, int without, const node *values,
                          factors *left) {
  bool rounded = false;
  const node *v = unrounded(r, (node *)values, &rounded);
  for (int id = 0; id < r->count; id++) {
    node *p = r->g->nodes.data[id];
    if (p->op != OP_dot || p->contract != r->d->block || !is_over_stream(r, p)) continue;
    for (int k = 0; k < 2; k++) {
      *left = (factors){.nalong = 0};
      if (unrounded(r, p->in[k], &rounded) != v) continue;
      node *weights = unrounded(r, p->in[!k], &rounded);
      if (take_factors(r, weights, false, left) && same_along(of, without, left)) return p;
    }
  }
  return NULL;
}

static void set_origin(const rewriting *r, const node *n, int first) {
  for (int id = first; id < r->g->nodes.len; id++) {
    node *made = r->g->nodes.data[id];
    made->at = n->at;
    made->phase = n->phase;
    made->contract = 0;
  }
}

static node *times_rows(graph *g, node *n, const factors *f, bool turned) {
  for (int k = 0; k < f->nrow; k++)
    n = graph_binary(g, f->row[k].over != turned ? OP_div : OP_mul, n, f->row[k].x);
  return n;
}

/// Uses of n times x are replaced by that product, which `to` makes.
static void replace_products(rewriting *r, const node *n, const node *x, node *to) {
  for (int id = 0; id < r->count; id++) {
    node *m = r->g->nodes.data[id];
    bool found = m->op == OP_mul && ((m->in[0] == n && m->in[1] == x) || (m->in[1] == n && m->in[0] == x));
    if (found && node_same_axis_set(m, to)) r->replacement[id] = graph_reorder(r->g, to, m->axes);
  }
}

/// de is not rounded: what is taken from it, their mean, is not either, and in a row they cancel.
static void drop_roundings(rewriting *r, node *dot) {
  for (int id = dot->id + 1; id < r->count; id++) {
    node *n = r->g->nodes.data[id];
    bool rounded = false;
    bool same = n->op == OP_cast && n->type == dot->type && n->contract == r->d->derived;
    if (!same || unrounded(r, n, &rounded) != dot || !rounded) continue;
    node *to = graph_reorder(r->g, dot, n->axes);
    to->contract = n->contract;  // a view of the block's, if it is new
    if (to->phase < n->phase) to->phase = n->phase;
    r->replacement[id] = to;
  }
}

static void rewrite_sum(rewriting *r, node *n) {
  graph *g = r->g;
  factors f = {.nalong = 0}, left;
  if (n->op != OP_sum || n->contract != r->d->derived || !is_over_stream(r, n) ||
      !take_factors(r, n->in[0], false, &f))
    return;
  for (int i = 0; i < f.nalong; i++) {
    node *dot = f.along[i], *rows, *values;
    if (!weighted_product(r, dot, &rows, &values)) continue;
    node *product = find_product(r, &f, i, values, &left);
    if (!product) continue;
    factors rest = f;
    divide_rows(&rest, &left);
    bool divides = left.nrow == 1 && !left.row[0].over;
    if (left.nrow > 1) continue;
    int first = g->nodes.len;
    bool rounded = rows->type != product->type;
    node *x = graph_binary(g, OP_mul, graph_cast(g, rows, product->type), as_stored(r, product, rounded));
    x = graph_reduce(g, OP_sum, x, dot->attr_axes, dot->nattr_axes);
    if (f.negative != left.negative) x = graph_unary(g, OP_neg, x);
    x = times_rows(g, x, &rest, false);
    if (!divides) x = times_rows(g, x, &left, true);
    // The sum without a factor of 0 would be a quotient of zeros: only its product with it is known.
    if (divides) replace_products(r, n, left.row[0].x, x);
    else if (node_same_axis_set(x, n)) r->replacement[n->id] = graph_reorder(g, x, n->axes);
    set_origin(r, n, first);
    drop_roundings(r, dot);
    return;
  }
}

void grad_sum_by_rows(graph *g, arena *a, const streamed_derivative *d, node **replacement, int count) {
  rewriting r = {.g = g, .a = a, .d = d, .count = count, .replacement = replacement};
  for (int id = 0; id < count; id++) rewrite_sum(&r, g->nodes.data[id]);
}

void grad_rows_before_walks(graph *g, arena *a, const streamed_derivative *d) {
  rewriting r = {.g = g, .a = a, .d = d};
  for (int id = 0; id < g->nodes.len; id++) {
    node *n = g->nodes.data[id];
    bool simple = op_is_map(n->op) || op_get(n->op)->class == CLASS_reduce;
    bool ready = n->contract == d->derived && simple && !along_stream(&r, n);
    for (int k = 0; k < n->nin && ready; k++)
      ready = n->in[k]->contract != d->derived && !along_stream(&r, n->in[k]);
    if (ready) n->contract = 0;
  }
}
