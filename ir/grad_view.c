// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transposed views: the equations index(r) = c are solved for r (ir/ix_solve.h), and the cotangent
// is read there, summed over what stays free:
//
//   y = view x[E + 2] : [E]              gx = pad gy[N - 2], 0
//   y = view x[D*64 + K] : [D, K]        gx = view gy[N / 64, N % 64]
//   y = view x[V, 3] : [V]               gx = where(index(T) == 3, gy, 0)
//   y = view x[P*2 + R] : [P, R]         gx = sum over S of pad gy[N/2 - S, S*2 + N%2], 0
//   y = view x[V*W] : [V, W]             gx = scatter_add of gy: nobody solves products
#include "ir/grad_view.h"

#include "base/fault.h"
#include "ir/graph_index.h"
#include "ir/ix_solve.h"

typedef struct transposing {
  graph *g;
  const node *view, *x;
  node *gy;
  ix_system s;
  bool counted[IX_MOST_UNKNOWNS];  // of the free unknowns: what is summed depends on it
  ix *by;                          // coordinates of the system as those of the graph
} transposing;

static node *zero_of(graph *g, dtype type) { return graph_const_float(g, type, 0); }

static bool is_empty(const graph *g, const node *n) {
  for (int k = 0; k < n->naxes; k++)
    if (ix_bounds(&g->ix, graph_axis_size(g, n->axes[k])).max == 0) return true;
  return false;
}

static bool is_further(const transposing *t, int axis) { return !node_has_axis(t->view, axis); }

node *sum_of_equal(graph *g, node *v, ix size) {
  if (ix_get(&g->ix, size)->kind == IX_CONST && ix_get(&g->ix, size)->value == 1) return v;
  return graph_binary(g, OP_mul, v, graph_size(g, v->type, size));
}

// ---- the equations

static void write_equations(transposing *t, arena *a) {
  const graph *g = t->g;
  ix_system *s = &t->s;
  ix given[MAX_AXES], *by = arena_array(a, ix, g->axes.len);
  ix_system_init(s, a, &g->ix);
  for (int k = 0; k < t->x->naxes; k++) {
    ix size = ix_substitute(&s->pool, &g->ix, graph_axis_size(g, t->x->axes[k]), NULL, 0);
    given[k] = ix_system_given(s, size);
  }
  for (int j = 0; j < t->view->naxes; j++) {
    ix size = ix_substitute(&s->pool, &g->ix, graph_axis_size(g, t->view->axes[j]), NULL, 0);
    by[t->view->axes[j]] = ix_system_wanted(s, size);
  }
  for (int k = 0; k < t->x->naxes; k++)
    ix_system_equate(s, ix_substitute(&s->pool, &g->ix, t->view->index[k], by, g->axes.len),
                     given[k]);
}

// ---- what of the solution is needed

static bool is_free(const transposing *t, int i) { return !t->s.value[i]; }

static bool has_unknown(const transposing *t, ix e, int i) {
  return ix_uses_axis(&t->s.pool, e, t->s.ngiven + i);
}

/// Free, and read nowhere but at gy's own axis: the sum over it can be taken at once.
static bool is_alone(const transposing *t, int i) {
  const ix_system *s = &t->s;
  for (int k = 0; k < s->nwanted; k++)
    if (s->value[k] && has_unknown(t, s->value[k], i)) return false;
  for (int k = 0; k < s->conditions.len; k++)
    if (has_unknown(t, s->conditions.data[k].e, i)) return false;
  return is_free(t, i);
}

/// Sums gy over axes that the view only repeats its operand along.
static void sum_repeated(transposing *t) {
  graph *g = t->g;
  int axes[MAX_AXES], naxes = 0;
  for (int j = 0; j < t->view->naxes; j++) {
    int axis = t->view->axes[j];
    if (!is_alone(t, j)) continue;
    if (node_has_axis(t->gy, axis)) axes[naxes++] = axis;
    else t->gy = sum_of_equal(g, t->gy, graph_axis_size(g, axis));
  }
  if (naxes) t->gy = graph_reduce(g, OP_sum, t->gy, axes, naxes);
}

static bool is_known_inside(ix_pool *p, ix e, ix size) {
  return ix_known_le(p, ix_const(p, 0), e) && ix_known_le(p, ix_add(p, e, ix_const(p, 1)), size);
}

/// gy may lack axes along which it is constant; those whose coordinates may be outside are tested.
/// False: too many.
static bool add_tested_axes(transposing *t) {
  ix_system *s = &t->s;
  int axes[2 * MAX_AXES], naxes = 0;
  ix index[MAX_AXES];
  for (int k = 0; k < t->gy->naxes; k++) {
    axes[naxes++] = t->gy->axes[k];
    index[k] = ix_axis(&t->g->ix, t->gy->axes[k]);
  }
  for (int j = 0; j < t->view->naxes; j++) {
    if (node_has_axis(t->gy, t->view->axes[j]) || is_free(t, j)) continue;
    if (s->guarded || !is_known_inside(&s->pool, s->value[j], s->size[j]))
      axes[naxes++] = t->view->axes[j];
  }
  if (naxes > MAX_AXES) return false;
  if (naxes > t->gy->naxes) t->gy = graph_view(t->g, t->gy, index, axes, naxes);
  return true;
}

/// Marks the free unknowns that e has.
static void count_unknowns(transposing *t, ix e) {
  for (int i = 0; i < t->s.nunknown; i++)
    if (is_free(t, i) && has_unknown(t, e, i)) t->counted[i] = true;
}

/// What is summed for an element is more than all there is: a scatter is less work.
static bool is_wasteful(const transposing *t) {
  int64_t summed = 1, all = 1;
  for (int i = 0; i < t->s.nunknown; i++) {
    int64_t size = ix_estimate(&t->s.pool, t->s.size[i]);
    if (t->counted[i]) summed = estimate_times(summed, size);
    if (i < t->s.nwanted) all = estimate_times(all, size);
  }
  return summed > all;
}

static int wanted_of(const transposing *t, int axis) {
  int j = 0;
  while (t->view->axes[j] != axis) j++;
  return j;
}

static ix coordinate(transposing *t, int j) {
  return t->s.value[j] ? t->s.value[j] : ix_axis(&t->s.pool, t->s.ngiven + j);
}

// ---- as nodes of the graph

static ix to_graph(const transposing *t, ix e) {
  return ix_substitute(&t->g->ix, &t->s.pool, e, t->by, t->s.ngiven + t->s.nunknown);
}

/// Axes for the unknowns that are summed: the view's own where the operand has not got it, too.
/// -1: too many.
static int name_axes(transposing *t, arena *a, int *summed) {
  graph *g = t->g;
  const ix_system *s = &t->s;
  int n = 0;
  t->by = arena_array(a, ix, s->ngiven + s->nunknown);
  for (int k = 0; k < t->x->naxes; k++) t->by[k] = ix_axis(&g->ix, t->x->axes[k]);
  for (int i = 0; i < s->nunknown; i++) {
    if (!t->counted[i]) continue;
    int axis = t->view->axes[s->like[i]];
    if (i >= s->nwanted || node_has_axis(t->x, axis))
      axis = graph_add_axis(g, g->axes.data[axis].name, to_graph(t, s->size[i]));
    t->by[s->ngiven + i] = ix_axis(&g->ix, axis);
    if (n == MAX_AXES) return -1;
    summed[n++] = axis;
  }
  return n;
}

typedef struct axis_marks {
  const graph *g;
  bool *used;
} axis_marks;

static void mark(void *ctx, int axis) { ((axis_marks *)ctx)->used[axis] = true; }

/// gy at these coordinates, by its axes; zero outside.
static node *read_at(transposing *t, arena *a, const ix *index, const int *summed, int nsummed) {
  graph *g = t->g;
  node *gy = t->gy;
  axis_marks marks = {g, arena_array(a, bool, g->axes.len)};
  int axes[2 * MAX_AXES], naxes = 0;
  bool inside = !t->s.guarded, same = true;
  for (int k = 0; k < gy->naxes; k++) {
    ix_axes(&g->ix, index[k], mark, &marks);
    same = same && index[k] == ix_axis(&g->ix, gy->axes[k]);
    inside = inside && is_known_inside(&g->ix, index[k], graph_axis_size(g, gy->axes[k]));
  }
  if (same) return gy;
  for (int k = 0; k < t->x->naxes; k++)
    if (marks.used[t->x->axes[k]]) axes[naxes++] = t->x->axes[k];
  for (int k = 0; k < gy->naxes; k++)
    if (is_further(t, gy->axes[k])) axes[naxes++] = gy->axes[k];
  for (int k = 0; k < nsummed; k++)
    if (marks.used[summed[k]]) axes[naxes++] = summed[k];
  if (naxes > MAX_AXES) return NULL;
  return inside ? graph_view(g, gy, index, axes, naxes)
                : graph_pad(g, gy, zero_of(g, gy->type), index, axes, naxes);
}

/// The operand's axes come first, in its order.
static void order_axes(const transposing *t, node *v) {
  int axes[MAX_AXES], n = 0;
  for (int k = 0; k < t->x->naxes; k++)
    if (node_has_axis(v, t->x->axes[k])) axes[n++] = t->x->axes[k];
  for (int k = 0; k < v->naxes; k++)
    if (!node_has_axis(t->x, v->axes[k])) axes[n++] = v->axes[k];
  memcpy(v->axes, axes, sizeof(int) * (size_t)n);
}

/// v where the conditions hold that have something summed in them, or those that have nothing.
static node *under_conditions(transposing *t, node *v, bool summed) {
  graph *g = t->g;
  const ix_system *s = &t->s;
  node *all = NULL;
  for (int k = 0; k < s->conditions.len; k++) {
    ix_condition c = s->conditions.data[k];
    bool has = false;
    for (int i = 0; i < s->nunknown; i++) has |= t->counted[i] && has_unknown(t, c.e, i);
    if (has != summed) continue;
    ix e = to_graph(t, c.e);
    node *holds = c.below ? graph_ix_is_inside(g, e, to_graph(t, c.below)) : graph_ix_is_zero(g, e);
    if (holds) all = all ? graph_binary(g, OP_and, all, holds) : holds;
  }
  if (!all) return v;
  v = graph_where(g, all, v, zero_of(g, v->type));
  order_axes(t, v);
  return v;
}

/// Over those of the axes that v has; of the others it is that many times as much.
static node *sum_over(graph *g, node *v, const int *axes, int n) {
  int has[MAX_AXES], nhas = 0;
  for (int k = 0; k < n; k++)
    if (node_has_axis(v, axes[k])) has[nhas++] = axes[k];
  if (nhas) v = graph_reduce(g, OP_sum, v, has, nhas);
  for (int k = 0; k < n; k++)
    if (!axes_have(has, nhas, axes[k])) v = sum_of_equal(g, v, graph_axis_size(g, axes[k]));
  return v;
}

static node *emit(transposing *t, arena *a) {
  graph *g = t->g;
  ix_system *s = &t->s;
  ix index[MAX_AXES];
  int summed[MAX_AXES], nsummed;
  if (s->never) return zero_of(g, t->gy->type);
  sum_repeated(t);
  if (!add_tested_axes(t)) return NULL;
  for (int k = 0; k < t->gy->naxes; k++)
    if (!is_further(t, t->gy->axes[k]))
      count_unknowns(t, coordinate(t, wanted_of(t, t->gy->axes[k])));
  for (int k = 0; k < s->conditions.len; k++) count_unknowns(t, s->conditions.data[k].e);
  if (is_wasteful(t)) return NULL;
  if ((nsummed = name_axes(t, a, summed)) < 0) return NULL;
  for (int k = 0; k < t->gy->naxes; k++) {
    int axis = t->gy->axes[k];
    index[k] = is_further(t, axis) ? ix_axis(&g->ix, axis)
                                   : to_graph(t, coordinate(t, wanted_of(t, axis)));
  }
  node *v = read_at(t, a, index, summed, nsummed);
  if (!v) return NULL;
  v = sum_over(g, under_conditions(t, v, true), summed, nsummed);
  for (int i = 0; i < s->nunknown; i++)  // summed, and nothing depends on it
    if (is_free(t, i) && !t->counted[i] && !(i < s->nwanted && is_alone(t, i)))
      v = sum_of_equal(g, v, to_graph(t, s->size[i]));
  return under_conditions(t, v, false);
}

// ---- what is not solved

/// How many elements follow one step along x's axis k.
static ix stride_of(graph *g, const node *x, int k) {
  ix stride = ix_const(&g->ix, 1);
  for (int i = k + 1; i < x->naxes; i++)
    stride = ix_mul(&g->ix, stride, graph_axis_size(g, x->axes[i]));
  return stride;
}

/// The coordinates of a view or pad are inside of its operand; null: always.
static node *inside_of(graph *g, const node *view) {
  node *all = NULL;
  for (int k = 0; k < view->in[0]->naxes && view->op == OP_pad; k++) {
    node *one = graph_ix_is_inside(g, view->index[k], graph_axis_size(g, view->in[0]->axes[k]));
    if (one) all = all ? graph_binary(g, OP_and, all, one) : one;
  }
  return all;
}

static bool reads_axis(const graph *g, const node *view, int axis) {
  for (int k = 0; k < view->in[0]->naxes; k++)
    if (ix_uses_axis(&g->ix, view->index[k], axis)) return true;
  return false;
}

/// v without the axes of the view that it only repeats its operand along.
static node *without_repeated(graph *g, const node *view, node *v) {
  int axes[MAX_AXES], naxes = 0;
  for (int j = 0; j < view->naxes; j++)
    if (!reads_axis(g, view, view->axes[j])) axes[naxes++] = view->axes[j];
  return sum_over(g, v, axes, naxes);
}

/// Where it stands in x, flattened; what is outside goes behind the last element.
static node *position_in(graph *g, const node *view, ix elements) {
  const node *x = view->in[0];
  ix position = ix_const(&g->ix, 0);
  for (int k = 0; k < x->naxes; k++)
    position = ix_add(&g->ix, position, ix_mul(&g->ix, view->index[k], stride_of(g, x, k)));
  dtype type = graph_ix_type(g, ix_add(&g->ix, position, elements));
  node *at = graph_ix_value(g, position, type), *inside = inside_of(g, view);
  return inside ? graph_where(g, inside, at, graph_ix_value(g, elements, type)) : at;
}

/// Null: it would walk too many axes.
static node *scatter(graph *g, const node *view, node *gy) {
  const node *x = view->in[0];
  ix_pool *p = &g->ix;
  ix elements = node_elements(g, x), index[MAX_AXES], at = ix_const(p, 0);
  node *position = position_in(g, view, elements);
  bool pad = view->op == OP_pad;
  str name = x->naxes ? g->axes.data[x->axes[0]].name : STR("X");
  int flat = graph_add_axis(g, name, pad ? ix_add(p, elements, ix_const(p, 1)) : elements);
  int axes[MAX_AXES + 1] = {flat}, naxes = 1, to[2 * MAX_AXES], nto = x->naxes;
  gy = without_repeated(g, view, gy);
  for (int k = 0; k < gy->naxes; k++)
    if (!node_has_axis(view, gy->axes[k])) axes[naxes++] = gy->axes[k];
  if (view->naxes + naxes > MAX_AXES) return NULL;
  node *base = graph_view(g, zero_of(g, gy->type), NULL, axes, naxes);
  node *sums = graph_scatter_add(g, base, flat, position, gy);
  sums->flags |= NODE_UNCHECKED;
  for (int k = 0; k < x->naxes; k++) {
    to[k] = x->axes[k];
    at = ix_add(p, at, ix_mul(p, ix_axis(p, x->axes[k]), stride_of(g, x, k)));
  }
  index[0] = at;
  for (int k = 1; k < naxes; k++) index[k] = ix_axis(p, axes[k]), to[nto++] = axes[k];
  return graph_view(g, sums, index, to, nto);
}

// ---- both operands

node *view_transpose(graph *g, const node *view, node *gy, bool *scattered) {
  check(view->op == OP_view || view->op == OP_pad);
  scratch room;
  if (scattered) *scattered = false;
  if (is_empty(g, view) || is_empty(g, view->in[0])) return zero_of(g, gy->type);
  scratch_open(&room);
  transposing *t = arena_new(&room.arena, transposing);
  *t = (transposing){.g = g, .view = view, .x = view->in[0], .gy = gy};
  write_equations(t, &room.arena);
  node *gx = ix_system_solve(&t->s) ? emit(t, &room.arena) : NULL;
  scratch_close(&room);
  if (gx) return gx;
  if (scattered) *scattered = true;
  return scatter(g, view, gy);
}

node *pad_transpose_fill(graph *g, const node *pad, node *gy) {
  check(pad->op == OP_pad);
  node *inside = is_empty(g, pad) ? NULL : inside_of(g, pad);
  if (!inside) return zero_of(g, gy->type);
  return sum_over(g, graph_where(g, inside, zero_of(g, gy->type), gy), pad->axes, pad->naxes);
}
