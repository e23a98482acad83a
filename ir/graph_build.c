// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR: the builders, and the inference of types and axes that they share with the verifier.
#include "base/fault.h"
#include "ir/graph.h"

// ---- axis sets, kept in order

typedef struct axis_list {
  int axes[2 * MAX_AXES];
  int n;
} axis_list;

static bool list_has(const int *axes, int naxes, int axis) {
  for (int k = 0; k < naxes; k++)
    if (axes[k] == axis) return true;
  return false;
}

static void list_add(axis_list *list, const int *axes, int naxes) {
  for (int k = 0; k < naxes; k++) {
    if (list_has(list->axes, list->n, axes[k])) continue;
    if (list->n < 2 * MAX_AXES) list->axes[list->n++] = axes[k];
  }
}

static void list_remove(axis_list *list, const int *axes, int naxes) {
  int n = 0;
  for (int k = 0; k < list->n; k++)
    if (!list_has(axes, naxes, list->axes[k])) list->axes[n++] = list->axes[k];
  list->n = n;
}

// ---- inference

static str axis_name(const graph *g, int axis) { return g->axes.data[axis].name; }

static bool refuse(str *why, str text) {
  *why = text;
  return false;
}

/// A reduced, scanned or gathered axis must be there, once.
static bool needs_axes(const graph *g, const node *n, const node *operand, arena *a, str *why) {
  const char *name = op_get(n->op)->name;
  for (int k = 0; k < n->nattr_axes; k++) {
    int axis = n->attr_axes[k];
    if (axis < 0 || axis >= g->axes.len)
      return refuse(why, str_printf(a, "%s names an unknown axis", name));
    if (list_has(n->attr_axes, k, axis))
      return refuse(why, str_printf(a, "%s names axis %.*s twice", name,
                                    STR_FMT(axis_name(g, axis))));
    if (operand && !node_has_axis(operand, axis))
      return refuse(why, str_printf(a, "%s: the operand has no axis %.*s", name,
                                    STR_FMT(axis_name(g, axis))));
  }
  return true;
}

static bool needs_count(const node *n, int least, int most, arena *a, str *why) {
  if (n->nattr_axes >= least && n->nattr_axes <= most) return true;
  return refuse(why, str_printf(a, "%s names %d axes", op_get(n->op)->name, n->nattr_axes));
}

typedef struct coordinate_check {
  const node *n;
  int foreign;  // an axis that is used but not n's; -1 none
} coordinate_check;

static void check_coordinate(void *ctx, int used) {
  coordinate_check *c = ctx;
  if (!node_has_axis(c->n, used)) c->foreign = used;
}

static bool infer_index_map(const graph *g, const node *n, arena *a, str *why) {
  for (int k = 0; k < n->in[0]->naxes; k++) {
    if (!n->index || !n->index[k])
      return refuse(why, str_printf(a, "%s lacks a coordinate", op_get(n->op)->name));
    coordinate_check c = {n, -1};
    ix_axes(&g->ix, n->index[k], check_coordinate, &c);
    if (c.foreign < 0) continue;
    if (c.foreign >= g->axes.len)
      return refuse(why, str_printf(a, "%s uses an unknown axis", op_get(n->op)->name));
    return refuse(why, str_printf(a, "%s uses axis %.*s, which the result lacks",
                                  op_get(n->op)->name, STR_FMT(axis_name(g, c.foreign))));
  }
  if (n->op == OP_pad && n->in[1]->naxes)
    return refuse(why, str_printf(a, "the fill value of pad has axes"));
  return true;
}

static bool infer_leaf(const graph *g, const node *n, arena *a, axis_list *axes, str *why) {
  switch (n->op) {
    case OP_param: list_add(axes, n->axes, n->naxes); return true;
    case OP_index:
      list_add(axes, n->attr_axes, n->nattr_axes);
      return needs_count(n, 1, 1, a, why) && needs_axes(g, n, NULL, a, why);
    case OP_size:
      if (n->index && n->index[0] && ix_is_size(&g->ix, n->index[0])) return true;
      return refuse(why, str_printf(a, "size needs an expression of sizes"));
    default: return true;
  }
}

/// An update belongs to one index and one place among the base's other axes: it can have the axes of
/// these only. The scattered axis is where the indices point, so that no operand but the base is
/// walked along it.
static bool needs_scatter_axes(const graph *g, const node *n, arena *a, str *why) {
  const node *base = n->in[0], *indices = n->in[1], *updates = n->in[2];
  int along = n->attr_axes[0];
  if (node_has_axis(indices, along) || node_has_axis(updates, along))
    return refuse(why, str_printf(a, "scatter_add: the %s have the scattered axis %.*s",
                                  node_has_axis(indices, along) ? "indices" : "updates",
                                  STR_FMT(axis_name(g, along))));
  for (int k = 0; k < updates->naxes; k++) {
    int one = updates->axes[k];
    if (node_has_axis(indices, one) || node_has_axis(base, one)) continue;
    return refuse(why, str_printf(a,
                                  "scatter_add: the updates have the axis %.*s, which neither the "
                                  "indices nor the base have",
                                  STR_FMT(axis_name(g, one))));
  }
  return true;
}

/// The result has the base's axes; but all axes of the operands are walked together.
static bool infer_scatter(const graph *g, const node *n, arena *a, axis_list *axes, str *why) {
  axis_list walked = {.n = 0};
  for (int k = 0; k < n->nin; k++) list_add(&walked, n->in[k]->axes, n->in[k]->naxes);
  if (walked.n > MAX_AXES)
    return refuse(why, str_printf(a, "scatter_add would walk %d axes; the limit is %d", walked.n,
                                  MAX_AXES));
  list_add(axes, n->in[0]->axes, n->in[0]->naxes);
  return needs_count(n, 1, 1, a, why) && needs_axes(g, n, n->in[0], a, why) &&
         needs_scatter_axes(g, n, a, why);
}

/// An operand may be constant along the scanned axis where another has it. Axes that only a of
/// affine_scan has come last: it is b that is scanned.
static bool infer_scan(const graph *g, const node *n, arena *a, axis_list *axes, str *why) {
  const node *with = n->in[0];
  for (int k = n->nin - 1; k >= 0; k--) {
    list_add(axes, n->in[k]->axes, n->in[k]->naxes);
    if (n->nattr_axes && node_has_axis(n->in[k], n->attr_axes[0])) with = n->in[k];
  }
  return needs_count(n, 1, 1, a, why) && needs_axes(g, n, with, a, why);
}

static bool infer_axes(const graph *g, const node *n, arena *a, axis_list *axes, str *why) {
  const node *const *in = (const node *const *)n->in;
  switch (op_get(n->op)->class) {
    case CLASS_leaf: return infer_leaf(g, n, a, axes, why);
    case CLASS_map:
      for (int k = 0; k < n->nin; k++) list_add(axes, in[k]->axes, in[k]->naxes);
      return true;
    case CLASS_reduce:
      list_add(axes, in[0]->axes, in[0]->naxes);
      list_remove(axes, n->attr_axes, n->nattr_axes);
      return needs_count(n, 1, op_is_arg(n->op) ? 1 : MAX_AXES, a, why) &&
             needs_axes(g, n, in[0], a, why);
    case CLASS_contraction:
      list_add(axes, in[0]->axes, in[0]->naxes);
      list_add(axes, in[1]->axes, in[1]->naxes);
      list_remove(axes, n->attr_axes, n->nattr_axes);
      return needs_count(n, 1, MAX_AXES, a, why) && needs_axes(g, n, in[0], a, why) &&
             needs_axes(g, n, in[1], a, why);
    case CLASS_scan: return infer_scan(g, n, a, axes, why);
    case CLASS_view:
      list_add(axes, n->axes, n->naxes);
      return infer_index_map(g, n, a, why);
    case CLASS_gather:
      if (!needs_count(n, 1, 1, a, why) || !needs_axes(g, n, in[0], a, why)) return false;
      for (int k = 0; k < in[0]->naxes; k++) {
        bool gathered = in[0]->axes[k] == n->attr_axes[0];
        list_add(axes, gathered ? in[1]->axes : &in[0]->axes[k], gathered ? in[1]->naxes : 1);
      }
      return true;
    case CLASS_scatter: return infer_scatter(g, n, a, axes, why);
    case CLASS_opaque: list_add(axes, n->axes, n->naxes); return true;
  }
  return false;
}

bool node_infer(const graph *g, const node *n, arena *a, dtype *type, int *axes, int *naxes,
                str *why) {
  dtype *in = arena_array(a, dtype, n->nin);
  for (int k = 0; k < n->nin; k++) in[k] = n->in[k]->type;
  if (!op_result_type(n->op, in, n->nin, n->type, type, why, a)) return false;
  axis_list list = {.n = 0};
  if (!infer_axes(g, n, a, &list, why)) return false;
  if (list.n > MAX_AXES)
    return refuse(why, str_printf(a, "%s would have %d axes; the limit is %d",
                                  op_get(n->op)->name, list.n, MAX_AXES));
  *naxes = list.n;
  memcpy(axes, list.axes, sizeof(int) * (size_t)list.n);
  return true;
}

// ---- builders

static node *start(graph *g, op o, node *const *in, int nin) {
  node *n = arena_new(g->arena, node);
  n->op = o;
  n->nin = nin;
  n->in = arena_copy(g->arena, in, sizeof(node *) * (size_t)nin);
  n->kernel = -1;
  if (nin) n->at = in[0]->at;  // until the caller knows better
  return n;
}

static void set_axes(graph *g, node *n, const int *axes, int naxes) {
  check(naxes <= MAX_AXES);
  n->axes = arena_copy(g->arena, axes, sizeof(int) * (size_t)naxes);
  n->naxes = naxes;
}

static void set_attr_axes(graph *g, node *n, const int *axes, int naxes) {
  n->attr_axes = arena_copy(g->arena, axes, sizeof(int) * (size_t)naxes);
  n->nattr_axes = naxes;
}

static node *finish(graph *g, node *n) {
  int axes[MAX_AXES], naxes;
  dtype type;
  str why = {0};
  if (!node_infer(g, n, g->arena, &type, axes, &naxes, &why)) panic("%.*s", STR_FMT(why));
  n->type = type;
  set_axes(g, n, axes, naxes);
  n->id = g->nodes.len;
  n->contract = n->op == OP_param ? 0 : g->contract;
  n->region = n->op == OP_param ? 0 : g->region;
  n->phase = n->op == OP_param ? 0 : g->phase;
  for (int k = 0; k < n->nin; k++)
    if (n->phase < n->in[k]->phase) n->phase = n->in[k]->phase;
  vec_push(g->arena, &g->nodes, n);
  return n;
}

node *graph_param(graph *g, str name, dtype t, const int *axes, int naxes) {
  check(g->nparams == g->nodes.len);
  node *n = start(g, OP_param, NULL, 0);
  n->type = t;
  n->name = str_dup(g->arena, name);
  set_axes(g, n, axes, naxes);
  g->nparams++;
  return finish(g, n);
}

node *graph_insert_param(graph *g, int at, str name, dtype t, const int *axes, int naxes) {
  check(at <= g->nparams);
  int nodes = g->nodes.len;
  node *n = start(g, OP_param, NULL, 0);
  n->type = t;
  n->name = str_dup(g->arena, name);
  set_axes(g, n, axes, naxes);
  finish(g, n);
  for (int id = nodes; id > at; id--) {
    g->nodes.data[id] = g->nodes.data[id - 1];
    g->nodes.data[id]->id = id;
  }
  g->nodes.data[at] = n;
  n->id = at;
  g->nparams++;
  return n;
}

node *graph_const(graph *g, dtype t, scalar v) {
  node *n = start(g, OP_const, NULL, 0);
  n->type = t;
  n->value = v;
  return finish(g, n);
}

node *graph_const_float(graph *g, dtype t, double v) {
  return graph_const(g, t, scalar_cast((scalar){.f = v}, DT_f64, t));
}

node *graph_size(graph *g, dtype t, ix size) {
  node *n = start(g, OP_size, NULL, 0);
  n->type = t;
  n->index = arena_copy(g->arena, &size, sizeof size);
  return finish(g, n);
}

node *graph_index(graph *g, dtype t, int along) {
  node *n = start(g, OP_index, NULL, 0);
  n->type = t;
  set_attr_axes(g, n, &along, 1);
  return finish(g, n);
}

node *graph_map(graph *g, op o, node *const *in, int nin, dtype result) {
  check(op_is_map(o));
  node *n = start(g, o, in, nin);
  n->type = result;
  return finish(g, n);
}

node *graph_unary(graph *g, op o, node *a) { return graph_map(g, o, &a, 1, a->type); }

node *graph_binary(graph *g, op o, node *a, node *b) {
  return graph_map(g, o, (node *[]){a, b}, 2, a->type);
}

node *graph_where(graph *g, node *c, node *a, node *b) {
  return graph_map(g, OP_where, (node *[]){c, a, b}, 3, a->type);
}

node *graph_cast(graph *g, node *a, dtype t) { return graph_map(g, OP_cast, &a, 1, t); }

node *graph_reduce(graph *g, op o, node *a, const int *axes, int naxes) {
  check(op_is_reduce(o));
  node *n = start(g, o, &a, 1);
  set_attr_axes(g, n, axes, naxes);
  return finish(g, n);
}

node *graph_dot(graph *g, node *a, node *b, const int *axes, int naxes) {
  node *n = start(g, OP_dot, (node *[]){a, b}, 2);
  set_attr_axes(g, n, axes, naxes);
  return finish(g, n);
}

node *graph_scan(graph *g, op o, node *a, int along, unsigned flags) {
  check(op_get(o)->class == CLASS_scan && op_get(o)->arity == 1);
  node *n = start(g, o, &a, 1);
  set_attr_axes(g, n, &along, 1);
  n->flags = flags;
  return finish(g, n);
}

node *graph_affine_scan(graph *g, node *a, node *b, int along, unsigned flags) {
  node *n = start(g, OP_affine_scan, (node *[]){a, b}, 2);
  set_attr_axes(g, n, &along, 1);
  n->flags = flags;
  return finish(g, n);
}

static node *index_map(graph *g, op o, node *const *in, int nin, const ix *index, const int *axes,
                       int naxes) {
  node *n = start(g, o, in, nin);
  n->index = arena_copy(g->arena, index, sizeof(ix) * (size_t)in[0]->naxes);
  set_axes(g, n, axes, naxes);
  return finish(g, n);
}

node *graph_view(graph *g, node *a, const ix *index, const int *axes, int naxes) {
  return index_map(g, OP_view, &a, 1, index, axes, naxes);
}

node *graph_pad(graph *g, node *a, node *fill, const ix *index, const int *axes, int naxes) {
  return index_map(g, OP_pad, (node *[]){a, fill}, 2, index, axes, naxes);
}

node *graph_gather(graph *g, node *a, int along, node *indices) {
  node *n = start(g, OP_gather, (node *[]){a, indices}, 2);
  set_attr_axes(g, n, &along, 1);
  return finish(g, n);
}

node *graph_scatter_add(graph *g, node *a, int along, node *indices, node *updates) {
  node *n = start(g, OP_scatter_add, (node *[]){a, indices, updates}, 3);
  set_attr_axes(g, n, &along, 1);
  return finish(g, n);
}

node *graph_call(graph *g, str name, node *const *in, int nin, dtype t, const int *axes,
                 int naxes) {
  node *n = start(g, OP_call, in, nin);
  n->type = t;
  n->name = str_dup(g->arena, name);
  set_axes(g, n, axes, naxes);
  return finish(g, n);
}

void graph_output(graph *g, node *value, str name) {
  vec_push(g->arena, &g->outputs, (output){value, str_dup(g->arena, name)});
}

/// By a param, or by an axis, whose size is an argument beside the result in headers.
static bool is_taken(const graph *g, str name) {
  for (int i = 0; i < g->nparams; i++)
    if (str_eq(g->nodes.data[i]->name, name)) return true;
  return graph_find_axis(g, name) >= 0;
}

str graph_result_name(const graph *g, int k, bool several, arena *a) {
  str name = several ? str_printf(a, "out%d", k) : STR("out");
  while (is_taken(g, name)) name = str_printf(a, "%.*s_", STR_FMT(name));
  return name;
}

node *graph_reorder(graph *g, node *a, const int *axes) {
  ix index[MAX_AXES];
  bool same = true;
  for (int k = 0; k < a->naxes; k++) {
    check(node_has_axis(a, axes[k]));
    index[k] = ix_axis(&g->ix, a->axes[k]);
    same = same && axes[k] == a->axes[k];
  }
  return same ? a : graph_view(g, a, index, axes, a->naxes);
}

node *graph_spread(graph *g, node *n, const int *axes, int naxes) {
  axis_list all = {.n = 0};
  ix index[MAX_AXES];
  list_add(&all, n->axes, n->naxes);
  list_add(&all, axes, naxes);
  for (int k = 0; k < n->naxes; k++) index[k] = ix_axis(&g->ix, n->axes[k]);
  return all.n == n->naxes ? n : graph_view(g, n, index, all.axes, all.n);
}

node *graph_rename(graph *g, node *n, const int *from, const int *to, int count) {
  int axes[MAX_AXES];
  ix index[MAX_AXES];
  bool any = false;
  for (int k = 0; k < n->naxes; k++) {
    axes[k] = n->axes[k];
    for (int i = 0; i < count; i++)
      if (n->axes[k] == from[i]) axes[k] = to[i], any = true;
    index[k] = ix_axis(&g->ix, axes[k]);
  }
  return any ? graph_view(g, n, index, axes, n->naxes) : n;
}

node *graph_flatten(graph *g, node *n, const int *axes, int naxes, int *flat) {
  ix size = ix_const(&g->ix, 1), index[MAX_AXES];
  for (int i = 0; i < naxes; i++) size = ix_mul(&g->ix, size, graph_axis_size(g, axes[i]));
  *flat = graph_add_axis(g, axis_name(g, axes[0]), size);
  axis_list all = {.n = 0};
  for (int k = 0; k < n->naxes; k++) {
    index[k] = ix_axis(&g->ix, n->axes[k]);
    list_add(&all, list_has(axes, naxes, n->axes[k]) ? flat : &n->axes[k], 1);
  }
  ix rest = ix_axis(&g->ix, *flat);
  for (int i = naxes - 1; i >= 0; i--) {
    ix one = graph_axis_size(g, axes[i]);
    for (int k = 0; k < n->naxes; k++)
      if (n->axes[k] == axes[i]) index[k] = i ? ix_mod(&g->ix, rest, one) : rest;
    rest = ix_div(&g->ix, rest, one);
  }
  return graph_view(g, n, index, all.axes, all.n);
}
