// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Constant folding: what can be computed now is, by the same scalar meanings the interpreter uses.
//
//   %a = const 2.0 : f32
//   %b = const 3.0 : f32
//   %c = mul %a, %b : f32        ──▶   %c = const 6.0 : f32
//
// A size that has become a number is a constant; a cast of a size is a size of that type.
#include "passes/rewrite/rewrite.h"

static node *fold_map(graph *g, const node *n) {
  scalar in[3];
  for (int k = 0; k < n->nin; k++) {
    if (n->in[k]->op != OP_const) return NULL;
    in[k] = n->in[k]->value;
  }
  dtype operand = n->op == OP_where ? n->in[1]->type : n->in[0]->type;
  return graph_const(g, n->type, op_eval(n->op, operand, n->type, in));
}

static node *fold_size(graph *g, const node *n) {
  int64_t value;
  if (!ix_is_const(&g->ix, n->index[0], &value)) return NULL;
  return graph_const(g, n->type, scalar_cast((scalar){.i = value}, DT_i64, n->type));
}

/// The cast of a size: exact types only, since i32 wraps where f32 would round.
static node *fold_cast_of_size(graph *g, const node *n) {
  const node *size = n->in[0];
  if (size->op != OP_size) return NULL;
  ix_range r = ix_bounds(&g->ix, size->index[0]);
  bool fits = size->type == DT_i64 ||
              (size->type == DT_i32 && r.min >= INT32_MIN && r.max <= INT32_MAX);
  return fits ? graph_size(g, n->type, size->index[0]) : NULL;
}

static node *fold_where(graph *g, const node *n) {
  if (n->op != OP_where || n->in[0]->op != OP_const) return NULL;
  return spread(g, n->in[0]->value.i ? n->in[1] : n->in[2], n);
}

/// The coordinate along an axis of size 1 is 0.
static node *fold_index(graph *g, const node *n) {
  int64_t size;
  if (!ix_is_const(&g->ix, graph_axis_size(g, n->attr_axes[0]), &size) || size != 1) return NULL;
  return spread(g, graph_const(g, n->type, (scalar){.i = 0}), n);
}

/// Coordinates of a constant do not matter: a view of a view of one is a view of one, and a pad
/// with the same value is too.
static node *fold_pad(graph *g, const node *n) {
  const node *a = n->in[0], *fill = n->in[1];
  if (a->op == OP_view && a->in[0]->op == OP_const) a = a->in[0];
  if (a->op != OP_const || fill->op != OP_const) return NULL;
  if (memcmp(&a->value, &fill->value, sizeof a->value)) return NULL;
  return spread(g, n->in[1], n);
}

static node *fold(const rewrite *r, node *n) {
  graph *g = r->g;
  node *to = NULL;
  if (op_is_map(n->op)) to = fold_map(g, n);
  if (!to && n->op == OP_where) to = fold_where(g, n);
  if (!to && n->op == OP_size) to = fold_size(g, n);
  if (!to && n->op == OP_cast) to = fold_cast_of_size(g, n);
  if (!to && n->op == OP_index) to = fold_index(g, n);
  if (!to && n->op == OP_pad) to = fold_pad(g, n);
  return to ? to : n;
}

bool pass_fold(pass_ctx *ctx) { return rewrite_graph(ctx, fold, NULL); }
