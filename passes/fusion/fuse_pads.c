// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Padded operands of products on CPUs. What has a border is packed, where a buffer is read in place,
// and element by element where its places do not lie side by side. A copy with its border pays
//
// - where few results are summed over many windows (the gradient of a convolution's weights), and
//   where windows have a stride:
//     dot %gy, pad %x[N, C, P + R - 1]   ──▶   %c = copy (pad %x[N, C, Y - 1])
//                                              dot %gy, view %c[N, C, P + R]
// - where it is small beside the product, which packs it anew for every tile.
//
// Whether it becomes a kernel is a question of cost, as for the copies of fuse_align.c.
#include "passes/fusion/fuse.h"

// A copy of all windows is larger than what they are of, as often as they overlap.
enum { MOST_REPEATS = 4, FEW_RESULTS = 8 };

/// How often the operand is packed: the axes of the other one, of which a tile holds the longest.
static double times_packed(const graph *g, const node *dot, const node *in) {
  double others = 1, longest = 1;
  for (int i = 0; i < dot->naxes; i++) {
    double size = (double)ix_estimate(&g->ix, graph_axis_size(g, dot->axes[i]));
    if (node_has_axis(in, dot->axes[i])) continue;
    others *= size;
    if (size > longest) longest = size;
  }
  return others / longest;
}

static bool is_window(const graph *g, const node *in, const node *from) {
  return node_count(g, in) > MOST_REPEATS * node_count(g, from);
}

static bool has_few_results(const graph *g, const node *dot, const node *from) {
  return FEW_RESULTS * node_count(g, dot) <= node_count(g, from);
}

/// Along some axis of the result the operand lies side by side, in vectors: these are packed fast.
static bool lies_in_vectors(graph *g, const node *dot, const node *pad) {
  enum { SHORTEST = 8 };
  const node *x = pad->in[0];
  if (!x->naxes) return true;
  for (int i = 0; i < dot->naxes; i++) {
    ix step, rest, size = graph_axis_size(g, dot->axes[i]);
    if (ix_affine(&g->ix, pad->index[x->naxes - 1], dot->axes[i], &step, &rest) &&
        step == ix_const(&g->ix, 1) && ix_estimate(&g->ix, size) >= SHORTEST)
      return true;
  }
  return false;
}

/// The operand as a view of a copy of what it is a window of, with the border.
static node *window_of_copy(graph *g, node *pad) {
  const node *x = pad->in[0];
  ix_pool *p = &g->ix;
  ix inner[MAX_AXES], outer[MAX_AXES], first[MAX_AXES], size[MAX_AXES];
  int axes[MAX_AXES];
  double count = 1;
  for (int i = 0; i < x->naxes; i++) {
    ix one = ix_const(p, 1), last = ix_upper_bound(p, pad->index[i]);
    first[i] = ix_lower_bound(p, pad->index[i]);
    if (!first[i] || !last) return NULL;
    size[i] = ix_add(p, ix_sub(p, last, first[i]), one);
    count *= (double)ix_estimate(p, size[i]);
  }
  if (count > 2 * node_count(g, x)) return NULL;
  for (int i = 0; i < x->naxes; i++) {
    axes[i] = graph_add_axis(g, g->axes.data[x->axes[i]].name, size[i]);
    inner[i] = ix_add(p, ix_axis(p, axes[i]), first[i]);
    outer[i] = ix_sub(p, pad->index[i], first[i]);
  }
  node *bordered = graph_pad(g, pad->in[0], pad->in[1], inner, axes, x->naxes);
  bordered->at = pad->at;
  node *window = graph_view(g, node_copied(g, bordered), outer, pad->axes, pad->naxes);
  window->at = pad->at;
  return window;
}

node *fuse_copied_pad(graph *g, const target_info *t, const node *dot, int k) {
  node *pad = dot->in[k];
  if (dot->op != OP_dot || t->sm || pad->op != OP_pad) return NULL;
  if (has_few_results(g, dot, pad->in[0]) || !lies_in_vectors(g, dot, pad))
    return window_of_copy(g, pad);
  return times_packed(g, dot, pad) > 1 && !is_window(g, pad, pad->in[0]) ? node_copied(g, pad)
                                                                         : NULL;
}

double fuse_packed_elements(const graph *g, const node *dot, int k, const uint8_t *member) {
  const node *in = dot->in[k], *copy = in;
  while (copy->op == OP_view && !node_is_copy(g, copy)) copy = copy->in[0];
  if (!node_is_copy(g, copy) || !member[copy->id] || copy->in[0]->op != OP_pad) return 0;
  bool few = has_few_results(g, dot, copy->in[0]->in[0]);
  return node_count(g, in) * (few ? 1 : times_packed(g, dot, in));
}
