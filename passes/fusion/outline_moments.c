// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums of differences from means of the same walk, in the form that pass `stream` gives them
// (passes/rewrite/stream_moments.c): they need no finished mean, for what they came to is moved when the mean
// of the elements so far does.
//
//   %2 = sum w * (x - c) * (y - d)         centres c, d; below them  %0, %1
//   %1 = sum w * (x - c)                   centre c; below it %3
//   %0 = sum w * (y - d)
//   %3 = sum w, or how many elements there are
#include "passes/fusion/outline_moments.h"

#include "passes/rewrite/factor.h"

enum { MOST_FACTORS = 16, MOST_VISITS = 200 };

/// The element of a sum as a product, in no order.
typedef struct product {
  const node *mask;  // else it is 0; null: always
  const node *factors[MOST_FACTORS];
  int n, visits;
  bool ok;
} product;

typedef struct finder {
  outline *o;
  node *const *nodes;
  int n;
  const uint8_t *member, *waits;
  product *products;  // by place in nodes
} finder;

static bool is_sum(const node *n) { return n->op == OP_sum || n->op == OP_dot; }

static void take(const finder *f, product *p, const node *n) {
  if (++p->visits > MOST_VISITS || p->n == MOST_FACTORS) {
    p->ok = false;
  } else if (f->member[n->id] && f->waits[n->id] && n->op == OP_mul) {
    take(f, p, n->in[0]);
    take(f, p, n->in[1]);
  } else {
    p->factors[p->n++] = n;
  }
}

static void take_operand(const finder *f, product *p, const node *n) {
  const node *zero = n->op == OP_where ? n->in[2] : NULL;
  bool masked = zero && f->member[n->id] && zero->op == OP_const && dtype_is_float(n->type) &&
                zero->value.f == 0;
  if (masked && !p->mask && !f->waits[n->in[0]->id]) {
    p->mask = n->in[0];
    n = n->in[1];
    // A mask alone selects ones.
    if (n->op == OP_const && n->value.f == 1) return;
  }
  take(f, p, n);
}

/// The products are equal, but for factor `without` (-1 none) of a.
static bool same_product(const product *a, int without, const product *b) {
  bool used[MOST_FACTORS] = {0};
  if (a->mask != b->mask || a->n - (without >= 0) != b->n) return false;
  for (int i = 0; i < a->n; i++) {
    int k = 0;
    if (i == without) continue;
    while (k < b->n && (used[k] || b->factors[k] != a->factors[i])) k++;
    if (k == b->n) return false;
    used[k] = true;
  }
  return true;
}

static bool same_axis(const node *a, const node *b) {
  return a->nattr_axes == 1 && b->nattr_axes == 1 && a->attr_axes[0] == b->attr_axes[0];
}

/// The element of sum `at` without a factor is that of sum i. Of two operands of a product the sum
/// of weights is one of their products.
static bool is_below(const finder *f, int at, int without, int i) {
  const product *p = &f->products[i];
  const node *one = p->n == 1 ? p->factors[0] : NULL;
  if (same_product(&f->products[at], without, p)) return true;
  if (!one || one->op != OP_mul) return false;
  product two = {.mask = p->mask, .factors = {one->in[0], one->in[1]}, .n = 2};
  return same_product(&f->products[at], without, &two);
}

/// The sum of the same, but for a factor.
static const node *find_below(const finder *f, int at, int without) {
  for (int i = 0; i < f->n; i++)
    if (i != at && f->products[i].ok && f->nodes[i]->type == f->nodes[at]->type &&
        same_axis(f->nodes[i], f->nodes[at]) && is_below(f, at, without, i))
      return f->nodes[i];
  return NULL;
}

/// A mean of elements along the axis of the sum: what it divides, and by which sum (null: how many
/// they are).
static bool is_centre(const finder *f, const node *c, const node *sum, outline_value *v) {
  if (!f->member[c->id] || !f->waits[c->id]) return false;
  if (factor_is_mean(f->o->g, c)) {
    v->sum = c->in[0];
    return f->member[v->sum->id] && same_axis(v->sum, sum);
  }
  // where(w == 0, 0, s / w), or s * (1 / w)
  if (c->op != OP_where || c->in[0]->op != OP_eq || c->in[1]->op != OP_const ||
      c->in[1]->value.f != 0)
    return false;
  const node *w = c->in[0]->in[0], *zero = c->in[0]->in[1], *q = c->in[2],
             *by = q->nin == 2 ? q->in[1] : NULL;
  bool inverse = q->op == OP_mul && by->op == OP_div && by->in[0]->op == OP_const &&
                 by->in[0]->value.f == 1 && by->in[1] == w;
  if (zero->op != OP_const || zero->value.f != 0 || !((q->op == OP_div && by == w) || inverse))
    return false;
  v->sum = q->in[0];
  v->weight = w;
  return is_sum(v->sum) && is_sum(w) && f->member[v->sum->id] && f->member[w->id] &&
         same_axis(v->sum, sum) && same_axis(w, sum);
}

/// The differences among the factors, and the sums below them.
static void find_centres(const finder *f, int at) {
  const node *n = f->nodes[at];
  const product *p = &f->products[at];
  outline_value *v = &f->o->values[n->id], found = {0};
  for (int i = 0; i < p->n; i++) {
    const node *x = p->factors[i];
    outline_value centre = {0};
    if (!f->waits[x->id]) continue;
    if (x->op != OP_sub || f->waits[x->in[0]->id] || !is_centre(f, x->in[1], n, &centre)) {
      if (found.framed) return;  // two that wait for something else
      found.framed = x;
      continue;
    }
    if (found.ncentres == OUTLINE_MOST_CENTRES) return;
    const node *below = find_below(f, at, i);
    if (!below && (p->n > 1 || p->mask)) return;
    found.centres[found.ncentres] = x->in[1];
    found.below[found.ncentres++] = below;
  }
  for (int i = 0; i < found.ncentres; i++) {
    outline_value *c = &f->o->values[found.centres[i]->id];
    is_centre(f, found.centres[i], n, c);
    v->centres[i] = found.centres[i];
    v->below[i] = found.below[i];
  }
  v->ncentres = found.ncentres;
  v->framed = found.framed;
}

void outline_find_moments(outline *o, arena *a, node *const *nodes, int n, const uint8_t *member,
                          const uint8_t *waits) {
  finder f = {o, nodes, n, member, waits, arena_array(a, product, n)};
  if (o->nstream != 1) return;
  for (int i = 0; i < n; i++) {
    product *p = &f.products[i];
    p->ok = is_sum(nodes[i]) && nodes[i]->nattr_axes == 1 && nodes[i]->attr_axes[0] == o->stream[0];
    for (int k = 0; p->ok && k < nodes[i]->nin; k++) take_operand(&f, p, nodes[i]->in[k]);
  }
  for (int i = 0; i < n; i++)
    if (f.products[i].ok) find_centres(&f, i);
}
