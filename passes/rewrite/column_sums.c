// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums of columns that a kernel of rows may keep while it walks them (passes/columns.h): what is summed is made
// of what a reduction along the columns reads or gives, or of what is stored as a whole.
//
//   m = mean x over D         d = sum (dy * (x - m)) over N        x is read by both
//   store z = f(x)            d = sum z over N
#include "passes/rewrite/column_sums.h"

typedef struct search {
  const graph *g;
  const node *sum, *x;  // the sum over rows, its operand over rows and columns
  uint8_t *made;        // by node id: of what x is made of, with all its axes; and what is made of that
  bool multiplied;      // a product gives some of it
} search;

static bool is_whole(const search *s, const node *n) { return node_same_axis_set(n, s->x); }

/// A reduction of rows: over the columns, and one for each row.
static bool reduces_rows(const search *s, const node *n) {
  return op_is_reduce(n->op) && axes_equal(n->attr_axes, n->nattr_axes, s->sum->axes, s->sum->naxes) &&
         axes_equal(n->axes, n->naxes, s->sum->attr_axes, s->sum->nattr_axes);
}

/// True: a reduction of rows is among what n is made of.
static bool mark_sources(search *s, const node *n) {
  if (s->made[n->id]) return false;
  s->made[n->id] = is_whole(s, n);
  if (reduces_rows(s, n)) return true;
  s->multiplied |= op_get(n->op)->class == CLASS_contraction && is_whole(s, n);
  if (!op_is_map(n->op)) return false;
  for (int k = 0; k < n->nin; k++)
    if (mark_sources(s, n->in[k])) return true;
  return false;
}

/// A reduction of rows reads what x is made of. *stored: so does a map that goes to memory.
static bool find_reader(search *s, bool *stored) {
  const graph *g = s->g;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; k < n->nin; k++) {
      if (!s->made[n->in[k]->id]) continue;
      if (reduces_rows(s, n)) return true;
      if (op_is_map(n->op)) s->made[i] |= is_whole(s, n);
      else if (op_get(n->op)->class == CLASS_contraction) *stored |= op_is_map(n->in[k]->op);
    }
  }
  for (int i = 0; i < g->outputs.len; i++)
    *stored |= s->made[g->outputs.data[i].value->id] && op_is_map(g->outputs.data[i].value->op);
  return false;
}

column_rows column_sum_rows(const graph *g, const node *n, arena *a) {
  if (n->op == OP_dot || !n->naxes) return COLUMNS_ALONE;
  const node *x = n->in[0];
  search s = {.g = g, .sum = n, .x = x, .made = arena_array(a, uint8_t, g->nodes.len)};
  bool stored = false;
  if (mark_sources(&s, x) || find_reader(&s, &stored)) return COLUMNS_OF_ROWS;
  return stored && !s.multiplied ? COLUMNS_OF_STORED : COLUMNS_ALONE;
}

columns_plan column_sum_plan(const graph *g, const node *n, const target_info *t) {
  static const double least_registers = 1.5;  // the sum, and half a word of what is summed
  const node *x = n->in[0];
  columns_plan none = {0};
  columns_threads threads;
  int64_t rows = 1, columns = 1, size;
  if (x->naxes - n->nattr_axes + 2 > MAX_AXES || !node_has_axis(n, x->axes[x->naxes - 1])) return none;
  for (int i = 0; i < x->naxes; i++) {
    if (!ix_is_const(&g->ix, graph_axis_size(g, x->axes[i]), &size)) return none;
    int64_t *of = node_has_axis(n, x->axes[i]) ? &columns : &rows;
    *of = estimate_times(*of, size);
  }
  if (rows < 1 || columns < 1 || rows > INT32_MAX) return none;
  return columns_fit(t, columns, least_registers, &threads) ? columns_plan_of(t, rows, columns) : none;
}
