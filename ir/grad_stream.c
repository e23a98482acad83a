// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Derivatives of streamed blocks.
//
// What a derivative needs of the inside of a `fuse stream(T)` block would, as a value that is used
// outside of the block, be in memory along T, which the block promises not to have. So it is
// computed again, in blocks that stream themselves: the derivative of attention, of which
//
//   fuse stream(T) { p = exp(q k - m) / l ; o = p v }
//
// has the parts
//
//   fuse stream(T) gradient { p, dp = do v, ds = p (dp - c) ; dq = ds k, c }     walks T, rows of S
//   fuse stream(S) gradient { p, dp, ds ; dk = ds q, dv = p do }                  walks S, rows of T
//
// is a block for each set of axes that the results are summed over, or several one after the other
// (ir/grad_stages.c). Values without a streamed axis
// (the maximum, the sum, c) are results of the block that has them, and read by the others.
//
// While a derivative is built, its nodes for a block are in a contract `gradient` of their own that
// is no stream yet (ir/grad.c); this pass, when a function is complete, makes blocks of these. The derivative of
// a derivative has one too: it computes the inside of both again, and is the first to be made.
#include "base/fault.h"
#include "ir/grad.h"
#include "ir/grad_stream.h"

typedef struct walk {
  int *axes, naxes;
} walk;

typedef struct part {
  const walk *walk;
  int number;    // grad_stage_results()
  int contract;  // 1 + its number
  node **copy;   // by old node id
} part;

typedef struct deriving {
  graph *g;
  arena *a;
  int count;           // of nodes before
  int phase;           // of the derivative
  int block, derived;  // 1 + contract: of the block, and of what was derived from it
  const contract *c;   // the block
  const bool *walkable;  // by axis: a sum over it may be walked
  bool *interior;  // by node: of what is derived, and along a streamed axis: not to be in memory
  vec(walk *) walks;
  vec(node *) results;  // those that are found later behind
  int *walk_of;         // by node: of a result, 1 + the place of its walk
  bool *passed;         // by node: it is a result, or in memory by other means
  int *part_of;         // by node: of a result
  vec(part *) parts;
} deriving;

static bool is_derived(const deriving *d, const node *n) {
  return n->id < d->count && n->contract == d->derived;
}

/// Computed again by each part that needs it.
static bool is_inner(const deriving *d, const node *n) {
  return n->id < d->count && (n->contract == d->derived || d->interior[n->id]);
}

static bool is_sum(const node *n) {
  op_class c = op_get(n->op)->class;
  return c == CLASS_reduce || c == CLASS_contraction;
}

static bool is_streamed_axis(const deriving *d, int axis) {
  return axes_have(d->c->axes, d->c->naxes, axis);
}

/// Of the block, or of a derivative that this one is of.
static bool is_before(const deriving *d, const node *n) {
  return n->contract == d->block || (n->contract && n->contract < d->derived &&
                                     d->g->contracts.data[n->contract - 1].of == d->block);
}

static bool carries_stream(const deriving *d, const node *n) {
  for (int k = 0; k < n->naxes; k++)
    if (is_streamed_axis(d, n->axes[k])) return true;
  return false;
}

// ---- what there is

static bool sums_walkable(const deriving *d, const node *n) {
  for (int k = 0; is_sum(n) && k < n->nattr_axes; k++)
    if (d->walkable[n->attr_axes[k]]) return true;
  return false;
}

/// Values along a streamed axis that nothing of the program beside it reads. What a derivative sums over its
/// walks is in memory.
static void find_interior(deriving *d) {
  const graph *g = d->g;
  d->interior = arena_array(d->a, bool, d->count);
  for (int id = 0; id < d->count; id++) {
    const node *n = g->nodes.data[id];
    d->interior[id] = is_before(d, n) &&
                      (carries_stream(d, n) || op_get(n->op)->class == CLASS_leaf) &&
                      (n->contract == d->block || !sums_walkable(d, n));
  }
  for (int id = 0; id < d->count; id++) {
    const node *user = g->nodes.data[id];
    for (int k = 0; k < user->nin; k++) {
      const node *n = user->in[k];
      if (d->interior[n->id] && !is_before(d, user) && user->phase == n->phase)
        d->interior[n->id] = false;
    }
  }
  for (int k = 0; k < g->outputs.len; k++) d->interior[g->outputs.data[k].value->id] = false;
}

/// The streamed axes, and those that all sums of a block over them keep.
static bool *find_walkable(const graph *g, arena *a, int block) {
  const contract *c = &g->contracts.data[block - 1];
  int sums = 0, *kept = arena_array(a, int, g->axes.len);
  bool *walkable = arena_array(a, bool, g->axes.len);
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    bool streams = false;
    for (int k = 0; k < n->nattr_axes; k++)
      streams |= axes_have(c->axes, c->naxes, n->attr_axes[k]);
    if (n->contract != block || !is_sum(n) || !streams) continue;
    sums++;
    for (int k = 0; k < n->naxes; k++) kept[n->axes[k]]++;
  }
  for (int i = 0; i < g->axes.len; i++) walkable[i] = sums && kept[i] == sums;
  for (int k = 0; k < c->naxes; k++) walkable[c->axes[k]] = true;
  return walkable;
}

// ---- which part has a result

typedef struct walk_axes {
  int axes[MAX_AXES], n;
  bool mixed;   // ways to sums over different axes
  bool viewed;  // a sum is seen through a view that changes its axes
} walk_axes;

/// Axes that a value has in common with the result that it is on the way to: under the same name, a view
/// may have given another axis that name.
typedef struct common_axes {
  int axes[MAX_AXES], n;
} common_axes;

static common_axes common_with(const deriving *d, const node *n, const common_axes *to) {
  const graph *g = d->g;
  common_axes c = {.n = 0};
  for (int k = 0; k < to->n; k++) {
    bool same = node_has_axis(n, to->axes[k]);
    const node *in = op_get(n->op)->class == CLASS_view ? n->in[0] : NULL;
    for (int i = 0; in && i < in->naxes; i++) {
      int axis;
      bool read = ix_is_axis(&g->ix, n->index[i], &axis) && axis == in->axes[i];
      if (in->axes[i] == to->axes[k]) same = same && read;
    }
    if (same) c.axes[c.n++] = to->axes[k];
  }
  return c;
}

/// The walkable axes that n sums over and the result lacks.
static int summed_axes(const deriving *d, const node *n, const common_axes *common, int *axes) {
  int count = 0;
  for (int k = 0; is_sum(n) && k < n->nattr_axes; k++)
    if (d->walkable[n->attr_axes[k]] && !axes_have(common->axes, common->n, n->attr_axes[k]))
      axes[count++] = n->attr_axes[k];
  return count;
}

/// The nearest sums over walkable axes on all ways from n; seen is by node.
static void find_walk(const deriving *d, const common_axes *above, const node *n, bool *seen,
                      bool viewed, walk_axes *w) {
  if (seen[n->id]) return;
  seen[n->id] = true;
  int axes[MAX_AXES], count = summed_axes(d, n, above, axes);
  if (count && !w->n) {
    w->n = count;
    memcpy(w->axes, axes, sizeof(int) * (size_t)count);
  } else if (count && !axes_equal(axes, count, w->axes, w->n)) {
    w->mixed = true;
  }
  w->viewed |= count && viewed;
  if (sums_walkable(d, n)) return;
  viewed |= op_get(n->op)->class == CLASS_view &&
            !(view_is_reorder(d->g, n) && node_same_axis_set(n, n->in[0]));
  common_axes common = common_with(d, n, above);
  for (int k = 0; k < n->nin; k++)
    if (is_inner(d, n->in[k])) find_walk(d, &common, n->in[k], seen, viewed, w);
}

static walk_axes walk_of(const deriving *d, const node *result) {
  walk_axes w = {.n = 0};
  common_axes own = {.n = result->naxes};
  memcpy(own.axes, result->axes, sizeof(int) * (size_t)own.n);
  find_walk(d, &own, result, arena_array(d->a, bool, d->count), false, &w);
  if (w.n) return w;
  w.n = d->c->naxes;
  memcpy(w.axes, d->c->axes, sizeof(int) * (size_t)w.n);
  return w;
}

static int walk_number(deriving *d, const walk_axes *w) {
  for (int i = 0; i < d->walks.len; i++)
    if (axes_equal(d->walks.data[i]->axes, d->walks.data[i]->naxes, w->axes, w->n)) return i;
  walk *made = arena_new(d->a, walk);
  made->axes = arena_copy(d->a, w->axes, sizeof(int) * (size_t)w->n);
  made->naxes = w->n;
  vec_push(d->a, &d->walks, made);
  return d->walks.len - 1;
}

/// Makes n a result of a part. A map of sums over different axes is in no part, but what it reads is; nor is
/// what follows a view of a sum.
static void add_result(deriving *d, node *n) {
  if (d->passed[n->id]) return;
  d->passed[n->id] = true;
  walk_axes w = walk_of(d, n);
  if ((w.mixed || w.viewed) && !is_sum(n) && is_derived(d, n)) {
    n->contract = 0;
    for (int k = 0; k < n->nin; k++)
      if (is_inner(d, n->in[k])) add_result(d, n->in[k]);
    return;
  }
  d->walk_of[n->id] = 1 + walk_number(d, &w);
  vec_push(d->a, &d->results, n);
}

/// n sums over axes that the walk is not along: it is a result of another.
static bool is_of_another(const deriving *d, const walk *w, const node *n) {
  for (int k = 0; is_sum(n) && k < n->nattr_axes; k++)
    if (d->walkable[n->attr_axes[k]] && !axes_have(w->axes, w->naxes, n->attr_axes[k])) return true;
  return false;
}

/// What a result reads of other walks are results too.
static void find_others(deriving *d, const walk *w, node *n, bool *seen) {
  if (!is_inner(d, n) || seen[n->id]) return;
  seen[n->id] = true;
  if (is_of_another(d, w, n)) {
    add_result(d, n);
    return;
  }
  for (int k = 0; k < n->nin; k++) find_others(d, w, n->in[k], seen);
}

static void find_results(deriving *d, const bool *read) {
  for (int id = 0; id < d->count; id++)
    if (read[id] && is_derived(d, d->g->nodes.data[id])) add_result(d, d->g->nodes.data[id]);
  for (int i = 0; i < d->results.len; i++) {
    node *n = d->results.data[i];
    find_others(d, d->walks.data[d->walk_of[n->id] - 1], n, arena_array(d->a, bool, d->count));
  }
}

static void find_parts(deriving *d) {
  bool *inner = arena_array(d->a, bool, d->count);
  for (int id = 0; id < d->count; id++) inner[id] = is_inner(d, d->g->nodes.data[id]);
  const stream_results r = {d->count, d->walks.len, d->walk_of, inner};
  grad_stage_results(d->g, d->a, &r, d->part_of);
}

// ---- copies

static part *part_with(deriving *d, int number, const walk *w) {
  for (int i = 0; i < d->parts.len; i++)
    if (d->parts.data[i]->number == number) return d->parts.data[i];
  part *p = arena_new(d->a, part);
  *p = (part){.walk = w, .number = number, .copy = arena_array(d->a, node *, d->count)};
  contract made = *d->c;
  made.gradient = true;
  made.asked = d->g->contracts.data[d->derived - 1].asked;
  made.axes = w->axes;
  made.naxes = w->naxes;
  made.passes = made.of = 0;
  p->contract = 1 + graph_add_contract(d->g, made);
  d->c = &d->g->contracts.data[d->block - 1];  // they may have moved
  vec_push(d->a, &d->parts, p);
  return p;
}

static node *copy_into(deriving *d, part *p, node *n) {
  if (!is_inner(d, n) || is_of_another(d, p->walk, n)) return n;
  if (d->walk_of[n->id] && d->part_of[n->id] != p->number) return n;
  if (p->copy[n->id]) return p->copy[n->id];
  node **in = arena_array(d->a, node *, n->nin);
  for (int k = 0; k < n->nin; k++) in[k] = copy_into(d, p, n->in[k]);
  node *copy = graph_clone_node(d->g, n, in);
  if (!is_derived(d, n)) copy->flags |= NODE_RECOMPUTED;
  copy->contract = p->contract;
  if (copy->phase < d->phase) copy->phase = d->phase;
  return p->copy[n->id] = copy;
}

/// A cast of a result that nothing else reads, or its storage order, belongs to it: the wide value need not be in
/// memory.
static void take_casts(deriving *d) {
  const graph *g = d->g;
  const int *uses = graph_use_counts(g, d->a);
  for (int id = 0; id < d->count; id++) {
    node *n = g->nodes.data[id];
    bool stores = n->op == OP_cast ||
                  (n->op == OP_view && view_is_reorder(g, n) && node_same_axis_set(n, n->in[0]));
    if (stores && !n->contract && is_derived(d, n->in[0]) && uses[n->in[0]->id] == 1)
      n->contract = d->derived;
  }
}

static void derive(deriving *d) {
  graph *g = d->g;
  const streamed_derivative parts = {d->block, d->derived};
  grad_rows_before_walks(g, d->a, &parts);
  d->count = g->nodes.len;
  d->passed = arena_array(d->a, bool, d->count);
  d->walk_of = arena_array(d->a, int, d->count);
  d->part_of = arena_array(d->a, int, d->count);
  for (int id = 0; id < d->count; id++)
    if (is_derived(d, g->nodes.data[id]) && (!d->phase || g->nodes.data[id]->phase < d->phase))
      d->phase = g->nodes.data[id]->phase;
  if (!d->phase) return;
  take_casts(d);
  find_interior(d);
  bool *read = arena_array(d->a, bool, d->count);
  for (int id = 0; id < d->count; id++)
    for (int k = 0; k < g->nodes.data[id]->nin; k++)
      if (g->nodes.data[id]->contract != d->derived) read[g->nodes.data[id]->in[k]->id] = true;
  for (int k = 0; k < g->outputs.len; k++) read[g->outputs.data[k].value->id] = true;
  find_results(d, read);
  find_parts(d);
  node **results = arena_array(d->a, node *, d->count);
  for (int i = 0; i < d->results.len; i++) {
    node *n = d->results.data[i];
    results[n->id] =
        copy_into(d, part_with(d, d->part_of[n->id], d->walks.data[d->walk_of[n->id] - 1]), n);
  }
  node **replacement = arena_array(d->a, node *, g->nodes.len);
  memcpy(replacement, results, sizeof(node *) * (size_t)d->count);
  graph_compact(g, replacement);
  for (int i = 0; i < d->parts.len; i++) grad_factors_into_exponents(g, d->a, d->parts.data[i]->contract);
}

/// The contracts that were no streams yet go, and the others are numbered again.
static void drop_derived(graph *g) {
  scratch s;
  scratch_open(&s);
  int *number = arena_array(&s.arena, int, g->contracts.len + 1), kept = 0;
  for (int k = 0; k < g->contracts.len; k++) {
    if (g->contracts.data[k].of) continue;
    g->contracts.data[kept++] = g->contracts.data[k];
    number[k + 1] = kept;
  }
  g->contracts.len = kept;
  for (int id = 0; id < g->nodes.len; id++)
    g->nodes.data[id]->contract = number[g->nodes.data[id]->contract];
  scratch_close(&s);
}

/// Before the nodes go that nothing needs, and after that.
static void sum_by_rows(graph *g) {
  scratch s;
  scratch_open(&s);
  int count = g->nodes.len;
  node **replacement = arena_array(&s.arena, node *, count);
  for (int k = 0; k < g->contracts.len; k++) {
    const streamed_derivative d = {g->contracts.data[k].of, k + 1};
    if (d.block) grad_sum_by_rows(g, &s.arena, &d, replacement, count);
  }
  node **all = arena_array(&s.arena, node *, g->nodes.len);
  memcpy(all, replacement, sizeof(node *) * (size_t)count);
  graph_compact(g, all);
  scratch_close(&s);
}

/// Where only the derivative needs a block, what it shares with it is all that is left: no stream.
static void drop_empty(graph *g, arena *a, int block) {
  const contract *c = &g->contracts.data[block - 1];
  bool *walked = arena_array(a, bool, g->axes.len);
  for (int id = 0; id < g->nodes.len; id++) {
    const node *n = g->nodes.data[id];
    for (int k = 0; n->contract == block && k < n->nattr_axes; k++) walked[n->attr_axes[k]] = true;
  }
  for (int k = 0; k < c->naxes; k++) {
    if (walked[c->axes[k]]) continue;
    for (int id = 0; id < g->nodes.len; id++)
      if (g->nodes.data[id]->contract == block) g->nodes.data[id]->contract = 0;
    return;
  }
}

void graph_derive_streams(graph *g) {
  scratch room;
  scratch_open(&room);
  int count = g->contracts.len;
  bool any = false, **walkable = arena_array(&room.arena, bool *, count);
  // Before the sums are gone that only the block itself needs.
  for (int k = 0; k < count; k++) {
    int block = g->contracts.data[k].of;
    if (block) walkable[k] = find_walkable(g, &room.arena, block);
    any |= block;
  }
  sum_by_rows(g);
  bool *done = arena_array(&room.arena, bool, count);
  for (int k = 0; k < count; k++) {
    int block = g->contracts.data[k].of;
    // Derivatives of derivatives first.
    for (int last = count - 1; block && last >= k; last--) {
      if (done[last] || g->contracts.data[last].of != block) continue;
      done[last] = true;
      scratch s;
      scratch_open(&s);
      deriving d = {
          .g = g, .a = &s.arena, .derived = last + 1, .block = block, .walkable = walkable[last]};
      d.c = &g->contracts.data[block - 1];
      derive(&d);
      scratch_close(&s);
    }
  }
  for (int k = 0; k < count; k++)
    if (g->contracts.data[k].of) drop_empty(g, &room.arena, g->contracts.data[k].of);
  if (any) drop_derived(g);
  scratch_close(&room);
}
