// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Views: composed, dropped where they change nothing, and moved out of the way of fusion.
//
//   x[N -> (A, B)][(A, B) -> M]          ──▶  x[N -> M] or x
//   pad(pad(x, Y), X)                    ──▶  pad(x, Y, X)                   of one fill value
//   exp(dot(x, w)[E -> (H, K)])          ──▶  exp(dot(x, w))[E -> (H, K)]     exp is an epilogue
//   x + dot(p, v)[(H, E) -> M]           ──▶  (x[M -> (H, E)] + dot(p, v))[(H, E) -> M]
//   f32(table)[V = tokens]               ──▶  f32(table[V = tokens])         table is a buffer
//   x + b[.. -> N] (x has N)             ──▶  x + b                          maps broadcast anyway
//   concat(x, y, (P, Q) -> D)[D -> P]    ──▶  x                              its choice is known
//
// A view is an index map, so composing two is substituting coordinates; the normal form of index
// expressions does the rest.
#include "passes/rewrite/rewrite.h"

/// Coordinates of inner's operand in terms of outer's axes.
static ix *compose(graph *g, const node *outer, const node *inner) {
  ix *by = arena_array(g->arena, ix, g->axes.len);
  for (int k = 0; k < inner->naxes; k++) by[inner->axes[k]] = outer->index[k];
  const node *from = inner->in[0];
  ix *index = arena_array(g->arena, ix, from->naxes);
  for (int k = 0; k < from->naxes; k++)
    index[k] = ix_substitute(&g->ix, &g->ix, inner->index[k], by, g->axes.len);
  return index;
}

static bool is_inside(graph *g, ix e, ix size) {
  return ix_known_le(&g->ix, ix_const(&g->ix, 0), e) &&
         ix_known_le(&g->ix, ix_add(&g->ix, e, ix_const(&g->ix, 1)), size);
}

/// Where inner is inside of its operand, its coordinate k is in [0, size): some coordinate of the
/// operand is that plus a constant.
static bool is_implied(graph *g, const node *inner, int k) {
  ix_pool *p = &g->ix;
  ix axis = ix_axis(p, inner->axes[k]), size = graph_axis_size(g, inner->axes[k]);
  for (int i = 0; i < inner->in[0]->naxes; i++) {
    ix before = ix_sub(p, axis, inner->index[i]), end = graph_axis_size(g, inner->in[0]->axes[i]);
    if (ix_is_size(p, before) && ix_known_le(p, ix_const(p, 0), before) &&
        ix_known_le(p, ix_add(p, before, end), size))
      return true;
  }
  return false;
}

static bool is_same_const(const node *a, const node *b) {
  return a == b || (a->op == OP_const && b->op == OP_const && a->type == b->type &&
                    memcmp(&a->value, &b->value, sizeof a->value) == 0);
}

/// A pad tests the coordinates of its own operand: it composes where the tests of the operand's
/// operand say the same.
static bool pad_composes(graph *g, const node *pad, const node *inner) {
  if (inner->op == OP_pad ? !is_same_const(pad->in[1], inner->in[1]) : inner->op != OP_view)
    return false;
  for (int k = 0; k < inner->naxes; k++)
    if (!is_implied(g, inner, k) &&
        !is_inside(g, pad->index[k], graph_axis_size(g, inner->axes[k])))
      return false;
  return true;
}

static node *view_of_view(graph *g, const node *n) {
  const node *inner = n->in[0];
  if (n->op == OP_pad && !pad_composes(g, n, inner)) return NULL;
  if (n->op == OP_view && inner->op == OP_view)
    return graph_view(g, inner->in[0], compose(g, n, inner), n->axes, n->naxes);
  if (inner->op == OP_view || inner->op == OP_pad)
    return graph_pad(g, inner->in[0], n->op == OP_pad ? n->in[1] : inner->in[1],
                     compose(g, n, inner), n->axes, n->naxes);
  return NULL;
}

static node *drop_identity(graph *g, const node *n) {
  const node *a = n->in[0];
  if (!view_is_reorder(g, n)) return NULL;
  for (int k = 0; k < n->naxes; k++)
    if (n->axes[k] != a->axes[k]) return NULL;
  return n->in[0];
}

/// A pad that never leaves its operand is a view.
static node *pad_inside(graph *g, const node *n) {
  const node *a = n->in[0];
  for (int k = 0; k < a->naxes; k++)
    if (!is_inside(g, n->index[k], graph_axis_size(g, a->axes[k]))) return NULL;
  return graph_view(g, n->in[0], n->index, n->axes, n->naxes);
}

// ---- choices by coordinates

/// A number made of coordinates and sizes, seen through the view (null: as it is); 0: something else.
static ix number_of(graph *g, const node *n, const node *view) {
  double v;
  if (n->op == OP_size) return n->index[0];
  if (dtype_is_int(n->type) && node_is_const(n, &v)) return ix_const(&g->ix, n->value.i);
  if (n->op != OP_index) return 0;
  for (int k = 0; view && k < view->in[0]->naxes; k++)
    if (view->in[0]->axes[k] == n->attr_axes[0]) return view->index[k];
  return view ? 0 : ix_axis(&g->ix, n->attr_axes[0]);
}

static bool is_below(graph *g, ix a, ix b) {
  return ix_known_le(&g->ix, ix_add(&g->ix, a, ix_const(&g->ix, 1)), b);
}

typedef enum truth { UNKNOWN, HOLDS, FAILS } truth;

/// What is known of a condition on coordinates wherever the view reads it.
static truth truth_of(graph *g, const node *c, const node *view) {
  if (c->op == OP_and || c->op == OP_or) {
    truth decides = c->op == OP_and ? FAILS : HOLDS;
    truth a = truth_of(g, c->in[0], view), b = truth_of(g, c->in[1], view);
    return a == decides || b == decides ? decides : a == b ? a : UNKNOWN;
  }
  if (c->nin != 2 || !dtype_is_int(c->in[0]->type)) return UNKNOWN;
  ix a = number_of(g, c->in[0], view), b = number_of(g, c->in[1], view);
  if (!a || !b) return UNKNOWN;
  switch (c->op) {
    case OP_lt: return is_below(g, a, b) ? HOLDS : ix_known_le(&g->ix, b, a) ? FAILS : UNKNOWN;
    case OP_ge: return is_below(g, a, b) ? FAILS : ix_known_le(&g->ix, b, a) ? HOLDS : UNKNOWN;
    case OP_gt: return is_below(g, b, a) ? HOLDS : ix_known_le(&g->ix, a, b) ? FAILS : UNKNOWN;
    case OP_le: return is_below(g, b, a) ? FAILS : ix_known_le(&g->ix, a, b) ? HOLDS : UNKNOWN;
    case OP_eq: return is_below(g, a, b) || is_below(g, b, a) ? FAILS : UNKNOWN;
    case OP_ne: return is_below(g, a, b) || is_below(g, b, a) ? HOLDS : UNKNOWN;
    default: return UNKNOWN;
  }
}

/// The value at the coordinates at which the view reads a choice of it.
static node *seen_through(graph *g, node *value, const node *view) {
  ix index[MAX_AXES];
  const node *from = view->in[0];
  for (int k = 0; k < value->naxes; k++)
    for (int i = 0; i < from->naxes; i++)
      if (from->axes[i] == value->axes[k]) index[k] = view->index[i];
  return graph_view(g, value, index, view->axes, view->naxes);
}

/// A slice of a concatenation is a slice of its part, and the like: n is a choice, or a view of one.
static node *known_choice(graph *g, const node *n) {
  const node *view = n->op == OP_view ? n : NULL, *choice = view ? view->in[0] : n;
  if (choice->op != OP_where) return NULL;
  truth known = truth_of(g, choice->in[0], view);
  if (known == UNKNOWN) return NULL;
  node *value = choice->in[known == HOLDS ? 1 : 2];
  return view ? seen_through(g, value, view) : spread(g, value, n);
}

// ---- maps and views

/// The view only repeats its operand along new axes.
static bool is_broadcast(const graph *g, const node *view) {
  if (view->op != OP_view || view->naxes == view->in[0]->naxes) return false;
  for (int k = 0; k < view->in[0]->naxes; k++) {
    int axis;
    if (!ix_is_axis(&g->ix, view->index[k], &axis) || axis != view->in[0]->axes[k]) return false;
  }
  return true;
}

static node *with_operand(graph *g, const node *n, int k, node *operand) {
  node *in[3];
  for (int i = 0; i < n->nin; i++) in[i] = i == k ? operand : n->in[i];
  return graph_map(g, n->op, in, n->nin, n->type);
}

/// Maps broadcast by themselves where another operand has the axes.
static node *drop_broadcast(graph *g, const node *n) {
  for (int k = 0; k < n->nin; k++) {
    const node *view = n->in[k];
    if (!is_broadcast(g, view) && !view_is_reorder(g, view)) continue;
    bool covered = true;
    for (int i = 0; i < n->naxes && covered; i++) {
      covered = node_has_axis(view->in[0], n->axes[i]);
      for (int j = 0; j < n->nin && !covered; j++)
        covered = j != k && node_has_axis(n->in[j], n->axes[i]);
    }
    if (covered) return with_operand(g, n, k, view->in[0]);
  }
  return NULL;
}

static bool same_index(const node *a, const node *b) {
  if (b->op != OP_view || a->in[0]->naxes != b->in[0]->naxes || !node_same_axis_set(a, b))
    return false;
  for (int k = 0; k < a->in[0]->naxes; k++)
    if (a->in[0]->axes[k] != b->in[0]->axes[k] || a->index[k] != b->index[k]) return false;
  return true;
}

/// A map of views of one kind is computed before the view: there it can be the epilogue of a
/// contraction, and equal maps of differently renamed values are one. Not where the view leaves
/// elements out or repeats them.
static node *map_before_view(const rewrite *r, const node *n) {
  graph *g = r->g;
  node *view = NULL, *in[3];
  for (int k = 0; k < n->nin; k++) {
    node *a = n->in[k];
    in[k] = a;
    if (!a->naxes) continue;
    if (a->op != OP_view || a->naxes != n->naxes || !rewrite_used_once(r, a)) return NULL;
    if (view && !same_index(view, a)) return NULL;
    view = a;
    in[k] = a->in[0];
  }
  if (!view) return NULL;
  if (node_elements(g, view) != node_elements(g, view->in[0])) return NULL;
  return graph_view(g, graph_map(g, n->op, in, n->nin, n->type), view->index, n->axes, n->naxes);
}

/// Made by maps and views of what is in memory; or, `combined`, by maps of what a combining op gave.
static bool is_made(const node *n, bool combined, int depth) {
  enum { DEPTH = 8 };
  op_class c = op_get(n->op)->class;
  if (c == CLASS_reduce || c == CLASS_contraction || c == CLASS_scan) return combined;
  bool any = !combined && (c == CLASS_leaf || n->op == OP_param);
  if (any || depth > DEPTH || (c != CLASS_map && (combined || n->op != OP_view))) return any;
  any = !combined;
  for (int k = 0; k < n->nin; k++) {
    bool made = is_made(n->in[k], combined, depth + 1);
    any = combined ? any || made : any && made;
  }
  return any;
}

/// The operand at the coordinates of what the view shows; null: nobody knows that it has them. `index` is the
/// inverse of the view, in the pool.
static node *before(graph *g, node *operand, const node *view, const ix_pool *pool, const ix *index) {
  const node *x = view->in[0];
  ix at[MAX_AXES];
  int axes[MAX_AXES], naxes = 0;
  for (int i = 0; i < operand->naxes; i++) {
    int j = 0;
    while (view->axes[j] != operand->axes[i]) j++;
    at[i] = ix_substitute(&g->ix, pool, index[j], NULL, 0);
    ix size = graph_axis_size(g, operand->axes[i]), end = ix_add(&g->ix, at[i], ix_const(&g->ix, 1));
    if (ix_bounds(&g->ix, at[i]).min < 0 || !ix_known_le(&g->ix, end, size)) return NULL;
  }
  for (int k = 0; k < x->naxes; k++) {
    bool used = false;
    for (int i = 0; i < operand->naxes; i++) used |= ix_uses_axis(&g->ix, at[i], x->axes[k]);
    if (used) axes[naxes++] = x->axes[k];
  }
  return operand->naxes ? graph_view(g, operand, at, axes, naxes) : operand;
}

/// A map of what was combined, seen through a view, and of what is in memory is computed before the view,
/// too: there it is an epilogue, and the view ends the kernel.
static node *map_before_end(const rewrite *r, const node *n) {
  graph *g = r->g;
  node *view = NULL, *in[3];
  ix_pool pool;
  ix index[MAX_AXES];
  bool any = false;
  for (int k = 0; k < n->nin; k++) any |= n->in[k]->op == OP_view;
  for (int k = 0; k < n->nin; k++) {
    node *a = n->in[k];
    if (!any) return NULL;
    bool seen = a->op == OP_view && is_made(a->in[0], true, 0);
    if (!seen && !is_made(a, false, 0)) return NULL;
    if (seen && (view || !rewrite_used_once(r, a) || !node_same_axis_set(a, n))) return NULL;
    if (seen) view = a;
  }
  if (!view || view_is_reorder(g, view) || !view_inverse(g->arena, g, view, &pool, index)) return NULL;
  if (node_elements(g, n) == ix_const(&g->ix, 0))  // no element has a coordinate
    return spread(g, graph_const(g, n->type, (scalar){.i = 0}), n);
  for (int k = 0; k < n->nin; k++) {
    in[k] = n->in[k] == view ? view->in[0] : before(g, n->in[k], view, &pool, index);
    if (!in[k]) return NULL;
  }
  node *map = graph_map(g, n->op, in, n->nin, n->type);
  ix at[MAX_AXES];
  for (int k = 0; k < map->naxes; k++)
    for (int i = 0; i < map->naxes; i++)
      if (view->in[0]->axes[i] == map->axes[k]) at[k] = view->index[i];
  return graph_view(g, map, at, n->axes, n->naxes);
}

/// Gathered operands are buffers, so a cast of one moves behind the gather.
static node *gather_before_cast(graph *g, const node *n) {
  const node *cast = n->in[0];
  if (cast->op != OP_cast) return NULL;
  node *rows = graph_gather(g, cast->in[0], n->attr_axes[0], n->in[1]);
  rows->at = n->at;
  rows->flags = n->flags;
  return graph_cast(g, rows, n->type);
}

static node *views(const rewrite *r, node *n) {
  graph *g = r->g;
  node *to = NULL;
  switch (op_get(n->op)->class) {
    case CLASS_view:
      to = view_of_view(g, n);
      if (!to && n->op == OP_view) to = drop_identity(g, n);
      if (!to && n->op == OP_pad) to = pad_inside(g, n);
      if (!to && n->op == OP_view) to = known_choice(g, n);
      break;
    case CLASS_map:
      to = known_choice(g, n);
      if (!to) to = drop_broadcast(g, n);
      if (!to) to = map_before_view(r, n);
      if (!to) to = map_before_end(r, n);
      break;
    case CLASS_gather: to = gather_before_cast(g, n); break;
    default: break;
  }
  return to ? to : n;
}

bool pass_views(pass_ctx *ctx) { return rewrite_graph(ctx, views, NULL); }
