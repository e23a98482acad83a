// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rule of graphs that keeps memory safe: every coordinate of a view lies inside of its operand.
// Programs keep it by construction; a graph that is read from text is asked.
//
//   view %x[V*2 + I]   needs 0 <= V*2 + I and V*2 + I <= N - 1 for all V and I
//
// The algebra of ir/ix.h decides, as it does for tile IR. What it cannot show is refused: a bound
// that only holds for some sizes needs a fact of these sizes (`size N where ...`).
#include "ir/graph_text.h"

static str axis_name(void *ctx, int axis) {
  const graph *g = ctx;
  return g->axes.data[axis].name;
}

static str text_of(graph *g, arena *a, ix e) {
  strbuf text = sb_new(a);
  ix_print(&g->ix, e, axis_name, g, &text);
  return sb_str(&text);
}

static bool is_empty(const graph *g, const node *n) {
  for (int k = 0; k < n->naxes; k++)
    if (ix_bounds(&g->ix, graph_axis_size(g, n->axes[k])).max == 0) return true;
  return false;
}

static void find_outside(graph *g, arena *a, const node *n, graph_found *found, void *ctx) {
  const node *x = n->in[0];
  for (int k = 0; k < x->naxes; k++) {
    ix at = n->index[k], size = graph_axis_size(g, x->axes[k]), one = ix_const(&g->ix, 1);
    bool low = ix_known_le(&g->ix, ix_const(&g->ix, 0), at);
    if (low && ix_known_le(&g->ix, at, ix_sub(&g->ix, size, one))) continue;
    str bound = low ? text_of(g, a, size) : STR("0");
    str axis = g->axes.data[x->axes[k]].name;
    found(ctx, n,
          str_printf(a, "axis %.*s of the operand: %.*s is not known to be %s %.*s", STR_FMT(axis),
                     STR_FMT(text_of(g, a, at)), low ? "below" : "at least", STR_FMT(bound)));
  }
}

void graph_find_outside(graph *g, arena *a, graph_found *found, void *ctx) {
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n->op == OP_view && !is_empty(g, n)) find_outside(g, a, n, found, ctx);
  }
}
