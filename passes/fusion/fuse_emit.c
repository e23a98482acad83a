// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The end of the fuse pass: clusters cloned into the graph, one kernel after the other, and one decision
// per edge between units.
#include "base/fault.h"
#include "passes/fusion/fuse.h"

typedef struct emitter {
  fusion *f;
  node **stored_at;  // by unit: the node that is in memory
  node **local;      // by old id: the clone in the current kernel
  ints *clones;      // by cluster: pairs old id, new id
  ints *views;       // by old id: live views of it
  uint8_t *after, *seen;  // by old id: room for one cluster's decisions; none is set in seen
  int *place;             // by old id: likewise
} emitter;

// ---- decisions

static int new_id(const emitter *e, int cluster, int old) {
  const ints *pairs = &e->clones[cluster];  // ascending
  int low = 0, high = pairs->len / 2;
  while (low < high) {
    int middle = (low + high) / 2;
    if (pairs->data[2 * middle] < old) low = middle + 1;
    else high = middle;
  }
  return 2 * low < pairs->len && pairs->data[2 * low] == old ? pairs->data[2 * low + 1] : -1;
}

static bool through_view(const fusion *f, const node *consumer, int producer) {
  for (int k = 0; k < consumer->nin; k++) {
    const node *in = consumer->in[k];
    if (!f->free[in->id] || op_get(in->op)->class != CLASS_view) continue;
    const ints *deps = &f->deps[in->id];
    for (int i = 0; i < deps->len; i++)
      if (deps->data[i] == producer) return true;
  }
  return false;
}

/// A copy of what is in memory, for the sake of where its rows begin.
static bool is_aligning(const fusion *f, int p) {
  return node_is_copy(f->g, f->nodes[p]) && f->nodes[p]->in[0]->op != OP_pad;
}

/// `after`: the units that the anchor or a reduction of the kernel leads to.
static reason fused_reason(const fusion *f, const uint8_t *after, group_kind kind, const column_form *columns,
                           int p, int c) {
  op_class consumer = op_get(f->nodes[c]->op)->class;
  if (is_aligning(f, p)) return REASON_read_unaligned;
  if (f->homes[p].len > 1) return REASON_recomputed;
  if (kind == GROUP_NEST || kind == GROUP_STREAM) return REASON_streamed;
  if (kind == GROUP_CONTRACTION && after[p])
    return consumer == CLASS_reduce     ? REASON_finished_rows
           : consumer == CLASS_contraction ? REASON_rows_multiplied
                                        : REASON_epilogue;
  if (consumer == CLASS_contraction) return REASON_prologue;
  if (columns && column_form_has(columns, f->nodes[c])) return REASON_column_sums;
  if (kind == GROUP_REDUCE && after[p]) return consumer == CLASS_reduce ? REASON_same_rows
                                                                      : REASON_row_epilogue;
  if (consumer == CLASS_reduce) return REASON_reduce_input;
  return through_view(f, f->nodes[c], p) ? REASON_view_folded : REASON_map_into_consumer;
}

static reason cut_reason(fusion *f, int from, int cluster, int p, int c) {
  verdict v = clusters_legal(f, from, cluster, NULL);
  if (!v.ok) return v.why;
  if (clusters_apart(f, from, cluster)) return REASON_recomputed_late;
  if (clusters_cyclic(f, from, cluster)) return REASON_cycle;
  if (f->returned[p]) return REASON_is_returned;
  if (is_aligning(f, p)) return REASON_aligned_copy;
  if (op_get(f->nodes[c]->op)->class == CLASS_contraction) return REASON_operand_reused;
  return REASON_several_consumers;
}

static void decide_edge(emitter *e, int cluster, const uint8_t *after, group_kind kind,
                        const column_form *columns, int p, int c) {
  fusion *f = e->f;
  graph *g = f->g;
  const node *producer = f->nodes[p], *consumer = f->nodes[c];
  int owner = f->homes[p].data[0];
  bool fused = in_cluster(f, p, cluster), stored = unit_is_stored(f, p, -1, -1);
  double bytes = node_bytes(g, producer);
  decision d = {.fused = fused, .producer_at = producer->at, .consumer_at = consumer->at};
  d.consumer = new_id(e, cluster, c);
  if (fused) {
    d.why = fused_reason(f, after, kind, columns, p, c);
    d.producer = new_id(e, cluster, p);
    d.bytes = (int64_t)(stored ? bytes : 2 * bytes);
    if (owner != cluster)
      d.flops = (int64_t)(node_count(g, producer) * op_get(producer->op)->cost);
  } else {
    d.why = cut_reason(f, owner, cluster, p, c);
    d.producer = e->stored_at[p]->id;
    d.bytes = (int64_t)(f->returned[p] ? bytes : 2 * bytes);
  }
  vec_push(g->arena, &g->decisions, d);
}

/// Views that are folded into the loads of a buffer.
static void decide_view(emitter *e, const node *old, const node *new) {
  fusion *f = e->f;
  if (op_get(old->op)->class != CLASS_view || !f->free[old->id]) return;
  decision d = {.why = REASON_view_folded, .fused = true, .producer = new->in[0]->id,
                .consumer = new->id, .producer_at = new->in[0]->at, .consumer_at = new->at};
  if (new->in[0]->kernel == new->kernel) return;
  d.bytes = (int64_t)(2 * node_bytes(f->g, new));
  vec_push(f->g->arena, &f->g->decisions, d);
}

static int stored_id(const emitter *e, int buffer) {
  const node *n = e->f->nodes[buffer];
  return n->op == OP_param ? n->id : e->stored_at[buffer]->id;
}

/// Marks by `bit` what the unit reads from memory, through the other nodes of its cluster.
static void mark_reads(emitter *e, const candidate *c, const node *n, uint8_t bit, ints *marked) {
  if (e->seen[n->id] & bit) return;
  e->seen[n->id] |= bit;
  vec_push(e->f->a, marked, n->id);
  for (int k = 0; c->member[n->id] && k < n->nin; k++) mark_reads(e, c, n->in[k], bit, marked);
}

/// The largest buffer that both units of a cluster read, of several the first; -1 none.
static int common_buffer(emitter *e, int cluster, const node *a, const node *b) {
  fusion *f = e->f;
  candidate c = fusion_candidate(f, cluster, -1);
  ints marked = {0};
  mark_reads(e, &c, a, 1, &marked);
  mark_reads(e, &c, b, 2, &marked);
  int best = -1;
  double most = 0;
  for (int i = 0; i < marked.len; i++) {
    int id = marked.data[i];
    if (e->seen[id] != 3 || c.member[id]) continue;
    double bytes = node_bytes(f->g, f->nodes[id]);
    if (best < 0 || bytes > most || (bytes == most && id < best)) best = id, most = bytes;
  }
  for (int i = 0; i < marked.len; i++) e->seen[marked.data[i]] = 0;
  return best;
}

static int find_root(ints *root, int i) {
  while (root->data[i] != i) i = root->data[i] = root->data[root->data[i]];
  return i;
}

/// By position in the cluster's units: the first unit of the part that is connected with it, or one nearer
/// to that.
static ints find_parts(emitter *e, int cluster) {
  fusion *f = e->f;
  const ints *units = &f->clusters[cluster];
  ints root = {0};
  for (int i = 0; i < units->len; i++) {
    vec_push(f->a, &root, i);
    e->place[units->data[i]] = i;
    const ints *deps = &f->deps[units->data[i]];
    for (int d = 0; d < deps->len; d++) {
      if (!in_cluster(f, deps->data[d], cluster)) continue;
      int a = find_root(&root, i), b = find_root(&root, e->place[deps->data[d]]);
      root.data[a > b ? a : b] = a > b ? b : a;
    }
  }
  return root;
}

/// Outputs of one kernel that do not depend on one another are there for the data they share.
static void decide_siblings(emitter *e, int cluster) {
  fusion *f = e->f;
  const ints *units = &f->clusters[cluster];
  ints root = find_parts(e, cluster);
  for (int i = 1; i < units->len; i++) {
    if (root.data[i] != i) continue;
    const node *first = f->nodes[units->data[0]], *other = f->nodes[units->data[i]];
    decision d = {.why = REASON_siblings, .fused = true, .producer = new_id(e, cluster, first->id),
                  .consumer = new_id(e, cluster, other->id), .producer_at = first->at,
                  .consumer_at = other->at};
    int buffer = common_buffer(e, cluster, first, other);
    if (buffer >= 0) d.shared = 1 + stored_id(e, buffer);
    vec_push(f->g->arena, &f->g->decisions, d);
  }
}

static void decide_cluster(emitter *e, int cluster) {
  fusion *f = e->f;
  group_kind kind;
  verdict v = clusters_legal(f, cluster, -1, &kind);
  if (!v.ok)
    panic("fuse: illegal group in @%.*s: %s at node %d", STR_FMT(f->g->name), reason_name(v.why),
          v.node);
  column_form form;
  candidate all = fusion_candidate(f, cluster, -1);
  const column_form *columns = fuse_columns(&all, &f->scratch, &form) ? &form : NULL;
  const ints *units = &f->clusters[cluster];
  // Questions about other clusters follow.
  for (int i = 0; i < units->len; i++) e->after[units->data[i]] = f->scratch.after[units->data[i]];
  for (int i = 0; i < units->len; i++) {
    const ints *deps = &f->deps[units->data[i]];
    for (int k = 0; k < deps->len; k++)
      decide_edge(e, cluster, e->after, kind, columns, deps->data[k], units->data[i]);
  }
  decide_siblings(e, cluster);
}

/// The first unit of the cluster that reads the buffer (a param or a stored unit), through free
/// nodes too; -1 none.
static int reading_unit(const fusion *f, int cluster, int buffer) {
  for (int i = 0; i < f->clusters[cluster].len; i++) {
    int unit = f->clusters[cluster].data[i];
    for (int k = 0; k < f->nodes[unit]->nin; k++) {
      const node *in = f->nodes[unit]->in[k];
      while (f->free[in->id] && in->nin) in = in->in[0];
      if (in->id == buffer) return unit;
    }
  }
  return -1;
}

/// Two kernels read the buffer: why they are not one, when it is a good part of what the second
/// one moves.
static void decide_shared(emitter *e, int buffer, int first, int second) {
  fusion *f = e->f;
  candidate c = fusion_candidate(f, second, -1);
  cost moved = fuse_cost(&c, f->target, &f->scratch);
  double bytes = fuse_input_bytes(&c, &f->scratch)[buffer];
  if (bytes <= 0 || 16 * bytes < moved.bytes_read + moved.bytes_written) return;
  verdict v = clusters_legal(f, first, second, NULL);
  int p = reading_unit(f, first, buffer), q = reading_unit(f, second, buffer);
  decision d = {.why = REASON_read_twice_is_faster, .bytes = (int64_t)bytes,
                .producer = new_id(e, first, p), .consumer = new_id(e, second, q),
                .producer_at = f->nodes[p]->at, .consumer_at = f->nodes[q]->at,
                .shared = 1 + stored_id(e, buffer)};
  if (!v.ok) d.why = v.why;
  else if (clusters_apart(f, first, second)) d.why = REASON_recomputed_late;
  else if (clusters_cyclic(f, first, second)) d.why = REASON_cycle;
  vec_push(f->g->arena, &f->g->decisions, d);
}

/// Kernels one after the other that read the same buffer and do not compute it.
static void decide_readers(emitter *e, const ints *order) {
  fusion *f = e->f;
  int *last = arena_array(f->a, int, f->n);  // by buffer: 1 + the last cluster that read it
  for (int i = 0; i < order->len; i++) {
    int cluster = order->data[i];
    candidate c = fusion_candidate(f, cluster, -1);
    ints buffers = {0};
    for (int k = 0; k < c.n; k++)
      for (int j = 0; j < c.nodes[k]->nin; j++)
        if (!c.member[c.nodes[k]->in[j]->id]) vec_push(f->a, &buffers, c.nodes[k]->in[j]->id);
    ints_sort_unique(&buffers);
    for (int k = 0; k < buffers.len; k++) {
      int buffer = buffers.data[k];
      if (reading_unit(f, cluster, buffer) < 0) continue;
      if (last[buffer]) decide_shared(e, buffer, last[buffer] - 1, cluster);
      last[buffer] = cluster + 1;
    }
  }
}

// ---- storage order

/// Coordinates of a view follow the order of its operand's axes, which may have changed.
static void match_index(node *clone, const node *old) {
  if (op_get(clone->op)->class != CLASS_view) return;
  const node *now = clone->in[0], *then = old->in[0];
  for (int i = 0; i < now->naxes; i++)
    for (int k = 0; k < then->naxes; k++)
      if (then->axes[k] == now->axes[i]) clone->index[i] = old->index[k];
}

/// The value whose order of axes the results of a kernel should have: the product of a
/// contraction, whose last axis is that of the lanes, or the first buffer with all axes.
static const node *order_model(const candidate *c, const node *n) {
  for (int i = c->n - 1; i >= 0; i--)
    if (op_get(c->nodes[i]->op)->class == CLASS_contraction) return c->nodes[i];
  for (int i = 0; i < c->n; i++)
    for (int k = 0; k < c->nodes[i]->nin; k++) {
      const node *in = c->nodes[i]->in[k];
      if (!c->member[in->id] && node_same_axis_set(in, n) && op_is_map(c->nodes[i]->op)) return in;
    }
  return NULL;
}

/// What a kernel of reductions reads from memory that has the axes of its result and others: in its order the
/// result leaves as it comes in.
static const node *reduced_model(const emitter *e, const candidate *c, const node *n) {
  for (int i = 0; i < c->n; i++) {
    if (op_get(c->nodes[i]->op)->class != CLASS_reduce) continue;
    for (int k = 0; k < c->n; k++)
      for (int j = 0; j < c->nodes[k]->nin && op_get(c->nodes[k]->op)->class != CLASS_view; j++) {
        const node *in = c->nodes[k]->in[j];
        if (c->member[in->id]) continue;
        const node *stored = in->op == OP_param ? in : e->stored_at[in->id];
        bool all = stored->naxes > n->naxes;
        for (int m = 0; m < n->naxes; m++) all &= node_has_axis(stored, n->axes[m]);
        if (all) return stored;
      }
  }
  return NULL;
}

/// The axes of n as the model has them.
static void order_as(const node *model, node *n) {
  int count = 0, axes[MAX_AXES];
  for (int k = 0; k < model->naxes; k++)
    if (node_has_axis(n, model->axes[k])) axes[count++] = model->axes[k];
  check(count == n->naxes);
  memcpy(n->axes, axes, sizeof(int) * (size_t)count);
}

/// Where a coordinate lies in the axis that a view makes of several: X, X / 32, X / 4 % 8. False: it
/// is something else.
static bool part_of_axis(const graph *g, ix e, int *axis, int64_t *divisor) {
  for (*divisor = 1; !ix_is_axis(&g->ix, e, axis);) {
    const ix_node *n = ix_get(&g->ix, e);
    int64_t by;
    if ((n->kind != IX_DIV && n->kind != IX_MOD) || !ix_is_const(&g->ix, n->b, &by)) return false;
    if (n->kind == IX_DIV) *divisor *= by;
    e = n->a;
  }
  return true;
}

static int position(const node *n, int axis) {
  int at = 0;
  while (at < n->naxes && n->axes[at] != axis) at++;
  return at;
}

/// The order in which a view that makes axes of the value one finds them neighbours in memory: each
/// such group where the last of its axes is in the order of `model`. False: it makes none one.
static bool order_of_merge(const graph *g, const node *view, const node *model, int *order) {
  const node *x = view->in[0];
  int group[MAX_AXES], last[MAX_AXES] = {0};
  int64_t divisor[MAX_AXES];
  bool merges = false;
  for (int k = 0; k < x->naxes; k++) {
    int axis;
    if (!part_of_axis(g, view->index[k], &axis, &divisor[k])) return false;
    group[k] = position(view, axis);
    if (group[k] == view->naxes) return false;
    merges |= divisor[k] > 1;
    int at = position(model, x->axes[k]);
    if (at > last[group[k]]) last[group[k]] = at;
  }
  bool taken[MAX_AXES] = {0};
  for (int i = 0; i < x->naxes; i++) {
    int best = -1;
    for (int k = 0; k < x->naxes; k++) {
      if (taken[k]) continue;
      int ahead = best < 0 ? 1 : last[group[best]] - last[group[k]];
      if (ahead > 0 || (ahead == 0 && divisor[k] > divisor[best])) best = k;
    }
    taken[best] = true;
    order[i] = x->axes[best];
  }
  return merges;
}

static bool is_map_kernel(const candidate *c) {
  for (int i = 0; i < c->n; i++) {
    op_class class = op_get(c->nodes[i]->op)->class;
    if (class != CLASS_map && class != CLASS_leaf && class != CLASS_view) return false;
  }
  return true;
}

/// Products that are read through such a view are stored as it wants them, and what maps make: split again, they
/// would be gathered in pieces.
static bool merged_order(const emitter *e, const node *model, const node *old, int *order) {
  const ints *views = &e->views[old->id];
  for (int i = 0; i < views->len; i++)
    if (order_of_merge(e->f->g, e->f->nodes[views->data[i]], model, order)) return true;
  return false;
}

/// What a view or pad shows lies side by side along the axis.
static bool lies_along(graph *g, const node *view, int axis) {
  const node *x = view->in[0];
  ix step, rest;
  return x->naxes && ix_affine(&g->ix, view->index[x->naxes - 1], axis, &step, &rest) &&
         step == ix_const(&g->ix, 1);
}

/// Axes of the dot that the window's operand has at k, and whether it has another one there.
static bool axes_at(const graph *g, const node *window, int k, const node *dot, int *order, int *n) {
  bool contracted = false;
  for (int i = 0; i < window->naxes; i++) {
    int axis = window->axes[i];
    if (!ix_uses_axis(&g->ix, window->index[k], axis)) continue;
    if (!node_has_axis(dot, axis)) contracted = true;
    else if (!axes_have(order, *n, axis)) order[(*n)++] = axis;
  }
  return contracted;
}

/// On CPUs products of windows, such as convolutions, have lanes along the windows' places where
/// these lie side by side and the other operand's axes do not. The result is stored as the operand
/// is, with the axes of the other one in the place of what was summed: [N, C, Y, X] gives
/// [N, O, P, Q].
static bool window_order(const fusion *f, const node *dot, int *order) {
  enum { SHORTEST = 8 };
  graph *g = f->g;
  if (dot->op != OP_dot || f->target->sm || !dot->naxes) return false;
  int n = 0, last = dot->axes[dot->naxes - 1], side = node_has_axis(dot->in[1], last);
  const node *window = dot->in[1 - side], *other = dot->in[side];
  if (op_get(window->op)->class != CLASS_view || node_has_axis(window, last)) return false;
  bool viewed = op_get(other->op)->class == CLASS_view;
  if (viewed ? lies_along(g, other, last) : other->axes[other->naxes - 1] == last) return false;
  bool along = false, placed = false;
  for (int i = 0; i < dot->naxes; i++)
    along |= ix_estimate(&g->ix, graph_axis_size(g, dot->axes[i])) >= SHORTEST &&
             node_has_axis(window, dot->axes[i]) && lies_along(g, window, dot->axes[i]);
  for (int k = 0; k < window->in[0]->naxes && along; k++) {
    int before = n;
    bool contracted = axes_at(g, window, k, dot, order, &n);
    for (int i = 0; contracted && n == before && !placed && i < dot->naxes; i++)
      if (!node_has_axis(window, dot->axes[i])) order[n++] = dot->axes[i];
    placed |= contracted && n > before && !node_has_axis(window, order[n - 1]);
  }
  return n == dot->naxes;
}

/// On CPUs lanes of products under a contract run along rows, one batch after the other: the axes that all
/// operands have go first.
static void batches_first(const fusion *f, const candidate *c, int *axes, int n) {
  int order[MAX_AXES], count = 0;
  bool batch[MAX_AXES];
  if (f->target->sm) return;
  for (int k = 0; k < n; k++) batch[k] = true;
  for (int i = 0; i < c->n; i++) {
    const node *dot = c->nodes[i];
    if (op_get(dot->op)->class != CLASS_contraction) continue;
    for (int k = 0; k < n; k++)
      batch[k] &= node_has_axis(dot->in[0], axes[k]) && node_has_axis(dot->in[1], axes[k]);
  }
  for (int rows = 0; rows < 2; rows++)
    for (int k = 0; k < n; k++)
      if (batch[k] == !rows) order[count++] = axes[k];
  memcpy(axes, order, sizeof(int) * (size_t)n);
}

/// Rows of a streamed block in the order in which its first product has them, which is that of an operand in
/// memory (a mask by coordinates before them says nothing about it), then columns.
static bool rows_order(const fusion *f, const candidate *c, const node *n, int *order) {
  const node *lead = NULL;
  if (!n->contract || !f->g->contracts.data[n->contract - 1].streamed) return false;
  for (int i = 0; i < c->n && !lead; i++)
    if (op_get(c->nodes[i]->op)->class == CLASS_contraction) lead = c->nodes[i];
  int count = 0;
  for (int k = 0; lead && k < lead->naxes; k++)
    if (node_has_axis(n, lead->axes[k])) order[count++] = lead->axes[k];
  if (!lead) return false;
  batches_first(f, c, order, count);
  for (int k = 0; k < n->naxes; k++)  // columns
    if (!node_has_axis(lead, n->axes[k])) order[count++] = n->axes[k];
  return true;
}

/// An intermediate result may be stored in any order; the program's is that of its operands as
/// written, which says nothing about memory.
static void choose_order(const emitter *e, const candidate *c, const node *old, node *clone) {
  const fusion *f = e->f;
  op_class class = op_get(old->op)->class;
  if (f->returned[old->id] || class == CLASS_scatter || class == CLASS_opaque) return;
  for (int i = 0; i < f->users[old->id].len; i++) {
    // A host function sees the order of its operands; a scatter's result has that of its base.
    const node *user = f->nodes[f->users[old->id].data[i]];
    if (user->op == OP_call || (user->op == OP_scatter_add && user->in[0] == old)) return;
  }
  const node *model = order_model(c, old);
  int rows[MAX_AXES], merged[MAX_AXES];
  if (rows_order(f, c, old, rows)) {
    bool merges = model && node_same_axis_set(model, clone) && merged_order(e, model, old, merged);
    memcpy(clone->axes, merges ? merged : rows, sizeof(int) * (size_t)clone->naxes);
    return;
  }
  if (is_map_kernel(c) && merged_order(e, old, old, merged)) {
    memcpy(clone->axes, merged, sizeof(int) * (size_t)clone->naxes);
    return;
  }
  const node *reduced = model ? NULL : reduced_model(e, c, clone);
  if (reduced) {
    if (merged_order(e, reduced, old, merged)) memcpy(clone->axes, merged, sizeof(int) * (size_t)clone->naxes);
    else order_as(reduced, clone);
    return;
  }
  if (!model || !node_same_axis_set(model, clone)) return;
  bool product = op_get(model->op)->class == CLASS_contraction;
  if ((product && merged_order(e, model, old, clone->axes)) || window_order(f, model, clone->axes)) return;
  if (!c->member[model->id] && model->op != OP_param) model = e->stored_at[model->id];
  memcpy(clone->axes, model->axes, sizeof(int) * (size_t)clone->naxes);
}

// ---- clones

static void emit_cluster(emitter *e, int cluster, int kernel) {
  fusion *f = e->f;
  candidate c = fusion_candidate(f, cluster, -1);
  for (int i = 0; i < c.n; i++) {
    node *old = c.nodes[i];
    node **in = arena_array(f->a, node *, old->nin);
    for (int k = 0; k < old->nin; k++) {
      node *from = old->in[k];
      in[k] = c.member[from->id] ? e->local[from->id]
              : from->op == OP_param ? from : e->stored_at[from->id];
      check(in[k]);
    }
    node *clone = graph_clone_node(f->g, old, in);
    clone->kernel = kernel;
    clone->contract = cluster_contract(f, cluster);
    match_index(clone, old);
    e->local[old->id] = clone;
    if (c.stored[old->id]) {
      choose_order(e, &c, old, clone);
      e->stored_at[old->id] = clone;
    }
    vec_push(f->a, &e->clones[cluster], old->id);
    vec_push(f->a, &e->clones[cluster], clone->id);
    decide_view(e, old, clone);
  }
}

static void emit_all(emitter *e, const ints *order, const int *results) {
  fusion *f = e->f;
  graph *g = f->g;
  g->decisions.len = 0;
  g->nodes.len = g->nparams;
  for (int c = 0; c < f->nclusters; c++) e->clones[c].len = 0;
  for (int i = 0; i < order->len; i++) emit_cluster(e, order->data[i], i);
  for (int i = 0; i < g->outputs.len; i++) g->outputs.data[i].value = e->stored_at[results[i]];
  g->fused = true;
  g->nkernels = order->len;
}

/// The clusters in an order that needs less memory. False: this one is as good.
static bool order_again(const graph *g, ints *order, arena *a) {
  int *kernels = arena_array(a, int, order->len);
  if (!kernels_in_less_memory(g, a, kernels)) return false;
  const int *was = arena_copy(a, order->data, sizeof(int) * (size_t)order->len);
  for (int i = 0; i < order->len; i++) order->data[i] = was[kernels[i]];
  return true;
}

void fusion_emit(fusion *f, bool decisions) {
  graph *g = f->g;
  emitter e = {.f = f};
  e.stored_at = arena_array(f->a, node *, f->n);
  e.local = arena_array(f->a, node *, f->n);
  e.after = arena_array(f->a, uint8_t, f->n);
  e.seen = arena_array(f->a, uint8_t, f->n);
  e.place = arena_array(f->a, int, f->n);
  e.clones = arena_array(f->a, ints, f->nclusters);
  e.views = arena_array(f->a, ints, f->n);
  for (int id = 0; id < f->n; id++)
    if (f->live[id] && f->nodes[id]->op == OP_view)
      vec_push(f->a, &e.views[f->nodes[id]->in[0]->id], id);
  int *results = arena_array(f->a, int, g->outputs.len);
  for (int i = 0; i < g->outputs.len; i++) results[i] = g->outputs.data[i].value->id;
  for (int i = 0; i < g->nparams; i++) g->nodes.data[i]->kernel = -1;
  ints order = clusters_in_order(f);
  emit_all(&e, &order, results);
  // Known of kernels with storage orders only: these are what may lie in the place of what.
  if (order_again(g, &order, f->a)) emit_all(&e, &order, results);
  if (!decisions) return;
  for (int i = 0; i < order.len; i++) decide_cluster(&e, order.data[i]);
  decide_readers(&e, &order);
}
