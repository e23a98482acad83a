// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the cotangent of a reduction or contraction gives to its operands.
#include "base/fault.h"
#include "ir/grad_rules.h"
#include "ir/grad_view.h"

/// Computed again by other code, of the same operands, it has the same bits.
static bool repeats(const node *n) {
  switch (op_get(n->op)->class) {
    case CLASS_leaf:
    case CLASS_view:
    case CLASS_gather: return true;
    case CLASS_map: break;
    default: return !dtype_is_float(n->type);
  }
  switch (n->op) {
    case OP_neg:
    case OP_abs:
    case OP_sign:
    case OP_min:
    case OP_max:
    case OP_where:
    case OP_cast:
    case OP_floor:
    case OP_ceil:
    case OP_round:
    case OP_trunc: return true;
    default: return !dtype_is_float(n->type);
  }
}

/// a is of a streamed block, so that what the derivative needs of it is computed again, and not to the bit.
static bool varies(const gradient *d, const node *a) {
  int block = a->contract;
  if (!block || !d->g->contracts.data[block - 1].streamed) return false;
  scratch room;
  scratch_open(&room);
  bool *differs = arena_array(&room.arena, bool, a->id + 1);
  for (int id = 0; id <= a->id; id++) {
    const node *n = d->g->nodes.data[id];
    if (n->contract != block) continue;
    differs[id] = !repeats(n);
    for (int k = 0; k < n->nin; k++) differs[id] |= differs[n->in[k]->id];
  }
  bool result = differs[a->id];
  scratch_close(&room);
  return result;
}

/// The axes of an extremum, those last that its block streams; false where these are several: their places
/// are no states of one walk.
static bool axes_by_walk(const gradient *d, const node *n, int *axes) {
  const contract *c = &d->g->contracts.data[n->contract - 1];
  int inner = 0, walked = 0;
  for (int k = 0; k < n->nattr_axes; k++) {
    bool streamed = axes_have(c->axes, c->naxes, n->attr_axes[k]);
    if (streamed) axes[n->nattr_axes - ++walked] = n->attr_axes[k];
    else axes[inner++] = n->attr_axes[k];
  }
  return walked <= 1;
}

/// Where the extreme is, of equals the first.
static node *place_of_extremum(gradient *d, const node *n, const int *axes) {
  graph *g = d->g;
  op o = n->op == OP_reduce_max ? OP_argmax : OP_argmin;
  node *is_it = NULL, *rest = n->in[0];
  for (int k = 0; k < n->nattr_axes; k++) {
    node *place = graph_reduce(g, o, rest, &axes[k], 1);
    node *here = graph_binary(g, OP_eq, graph_index(g, place->type, axes[k]), place);
    is_it = is_it ? graph_binary(g, OP_and, is_it, here) : here;
    if (k + 1 < n->nattr_axes) rest = graph_reduce(g, n->op, rest, &axes[k], 1);
  }
  return is_it;
}

/// Extrema: equal elements share, whatever the order in which they are compared. In a streamed block nothing
/// need equal the extreme any more, when the elements are computed again.
static void give_extremum(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *a = n->in[0];
  int axes[MAX_AXES];
  if (varies(d, a) && axes_by_walk(d, n, axes)) {
    node *here = place_of_extremum(d, n, axes);
    if (c.mask) here = graph_binary(g, OP_and, c.mask, here);
    grad_give(d, a, (cotangent){c.value, here}, NULL, 0);
    return;
  }
  node *is_it = graph_binary(g, OP_eq, a, n);
  node *count = graph_reduce(g, OP_sum, graph_cast(g, is_it, n->type), n->attr_axes, n->nattr_axes);
  node *mask = c.mask ? graph_binary(g, OP_and, c.mask, is_it) : is_it;
  grad_give(d, a, (cotangent){graph_binary(g, OP_div, c.value, count), mask}, NULL, 0);
}

/// The product of all others, as that of those before and those after: right with any number of
/// zeros, and differentiable again.
static void give_product(gradient *d, node *n, cotangent c) {
  graph *g = d->g;
  node *a = n->in[0], *line = a;
  int flat = n->attr_axes[0];
  if (n->nattr_axes > 1) line = graph_flatten(g, a, n->attr_axes, n->nattr_axes, &flat);
  node *before = graph_scan(g, OP_cumprod, line, flat, NODE_EXCLUSIVE);
  node *after = graph_scan(g, OP_cumprod, line, flat, NODE_EXCLUSIVE | NODE_REVERSE);
  node *others = graph_binary(g, OP_mul, before, after);
  if (line != a) others = view_transpose(g, line, others, NULL);
  grad_give(d, a, (cotangent){graph_binary(g, OP_mul, c.value, others), c.mask}, NULL, 0);
}

// ---- contractions

/// The operand of a product with a cotangent, of 16-bit operands rounded to their type, so that the
/// product is one for matrix units.
static node *as_factor(gradient *d, node *v, dtype t) {
  if (dtype_is_storage(t) && d->options->exact) t = DT_f32;
  return v->type == t ? v : graph_cast(d->g, v, t);
}

/// dot(g, b) over the axes of the result that a lacks. Along those that g lacks b is summed before.
static node *give_factor(gradient *d, const node *n, node *gy, const node *a, node *b) {
  graph *g = d->g;
  int over[MAX_AXES], nover = 0, before[MAX_AXES], nbefore = 0;
  for (int k = 0; k < n->naxes; k++) {
    if (node_has_axis(a, n->axes[k])) continue;
    if (node_has_axis(gy, n->axes[k])) over[nover++] = n->axes[k];
    else before[nbefore++] = n->axes[k];
  }
  if (nbefore || !nover) {
    if (b->type != gy->type) b = graph_cast(g, b, gy->type);
    b = grad_sum_present(g, b, before, nbefore);
  }
  if (!nover) return graph_binary(g, OP_mul, gy, b);
  dtype t = b->type;
  return graph_dot(g, as_factor(d, gy, t), as_factor(d, b, t), over, nover);
}

/// in: the factors; over: the summed axes, which one of them may lack.
static void give_factors(gradient *d, const node *n, cotangent c, node *const *in, const int *over,
                         int nover) {
  node *gy = grad_value(d, c);
  for (int k = 0; k < 2; k++) {
    if (!d->open[in[k]->id]) continue;
    cotangent gives = {give_factor(d, n, gy, in[k], in[1 - k]), NULL};
    grad_give(d, in[k], gives, over, nover);
  }
}

void grad_dot(gradient *d, node *n, cotangent c) { give_factors(d, n, c, n->in, NULL, 0); }

// ---- sums

static bool has_own_axis(const node *n, const node *a, const node *b) {
  for (int k = 0; k < n->naxes; k++)
    if (node_has_axis(a, n->axes[k]) && !node_has_axis(b, n->axes[k])) return true;
  return false;
}

/// The 16-bit value that is only widened to be a factor here.
static node *narrow_factor(const gradient *d, node *a) {
  bool widened = a->op == OP_cast && dtype_is_storage(a->in[0]->type) &&
                 !(a->flags & NODE_FRONTEND) && !d->is_x[a->id];
  return widened ? a->in[0] : NULL;
}

/// A sum of products of 16-bit values is a dot (passes/rewrite/contraction.c), and is differentiated as
/// one: the two spellings should not differ in speed and rounding.
static bool give_as_dot(gradient *d, node *n, cotangent c) {
  const node *product = n->in[0];
  if (product->op != OP_mul || d->is_x[product->id]) return false;
  node *in[2] = {narrow_factor(d, product->in[0]), narrow_factor(d, product->in[1])};
  if (!in[0] || !in[1] || in[0]->type != in[1]->type) return false;
  if (!has_own_axis(n, in[0], in[1]) || !has_own_axis(n, in[1], in[0])) return false;
  give_factors(d, n, c, in, n->attr_axes, n->nattr_axes);
  return true;
}

void grad_reduce(gradient *d, node *n, cotangent c) {
  if (!grad_wants(d, n, 0)) return;
  switch (n->op) {
    case OP_sum:
      if (!give_as_dot(d, n, c)) grad_give(d, n->in[0], c, NULL, 0);
      return;
    case OP_prod: give_product(d, n, c); return;
    default: give_extremum(d, n, c);
  }
}
