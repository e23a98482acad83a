// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See outline.h. Source of the frames: Dao et al., FlashAttention (NeurIPS 2022), after Milakov and
// Gimelshein, "Online normalizer calculation for softmax" (2018).
#include "passes/fusion/outline.h"

#include "base/fault.h"
#include "passes/fusion/outline_moments.h"

typedef struct maker {
  outline *o;
  arena *a;
  const graph *g;
  node *const *nodes;
  int n;
  const uint8_t *member, *stored;
  const contract *promise;
  reason *why;
  int *at;
} maker;

static op_class class_of(const node *n) { return op_get(n->op)->class; }

static bool refuse(const maker *m, reason why, const node *at) {
  *m->why = why;
  *m->at = at ? at->id : -1;
  return false;
}

static bool inside(const maker *m, const node *n) { return m->member[n->id]; }

// ---- what is kept

/// The operand lies in memory, seen through views and exact casts.
static bool in_memory(const maker *m, const node *n) {
  while (inside(m, n) && (n->op == OP_view || n->op == OP_cast)) n = n->in[0];
  return !inside(m, n);
}

/// Under a contract that allows it, a result along the stream that nothing in the kernel reads.
static bool is_added(const maker *m, const node *n) {
  bool along = m->promise && m->promise->unordered && n->op == OP_dot && m->stored[n->id] &&
               m->o->values[n->id].streamed;
  for (int i = 0; along && i < m->n; i++)
    for (int k = 0; k < m->nodes[i]->nin; k++) along &= m->nodes[i]->in[k] != n;
  return along;
}

static bool find_kept(const maker *m) {
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    outline_value *v = &m->o->values[n->id];
    for (int k = 0; k < n->naxes; k++) v->streamed |= axes_have(m->o->stream, m->o->nstream, n->axes[k]);
    if (class_of(n) == CLASS_scatter || class_of(n) == CLASS_opaque)
      return refuse(m, class_of(n) == CLASS_opaque ? REASON_opaque : REASON_scatter_order, n);
    if (op_combines(n->op)) v->kept = true;
    v->added = is_added(m, n);
    for (int k = 0; class_of(n) == CLASS_contraction && k < n->nin; k++)
      if (inside(m, n->in[k]) && !in_memory(m, n->in[k]) && class_of(n->in[k]) != CLASS_leaf)
        m->o->values[n->in[k]->id].kept = true;
  }
  return true;
}

/// Below what is kept, coordinates stay what they are: a buffer holds the elements of one step.
static bool check_views(const maker *m) {
  uint8_t *after = arena_array(m->a, uint8_t, m->g->nodes.len);
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    for (int k = 0; k < n->nin; k++) after[n->id] |= inside(m, n->in[k]) && after[n->in[k]->id];
    bool moved = after[n->id] && class_of(n) == CLASS_view && inside(m, n->in[0]) && after[n->in[0]->id];
    for (int k = 0; moved && n->op == OP_view && k < n->in[0]->naxes; k++) {
      int axis;
      if (graph_axis_is_single(m->g, n->in[0]->axes[k])) continue;  // it has one coordinate
      if (!ix_is_axis(&m->g->ix, n->index[k], &axis) || axis != n->in[0]->axes[k])
        return refuse(m, REASON_view_of_reduction, n);
    }
    if (moved && n->op == OP_pad) return refuse(m, REASON_view_of_reduction, n);
    if (node_gathers_buffer(n) && inside(m, n->in[0])) {
      const node *from = n->in[0];
      while (inside(m, from) && from->op == OP_view) from = from->in[0];
      bool along = axes_have(m->o->stream, m->o->nstream, n->attr_axes[0]);
      if (inside(m, from)) return refuse(m, along ? REASON_indirect_along_stream : REASON_indirect, n);
    }
    after[n->id] |= m->o->values[n->id].kept;
  }
  return true;
}

// ---- rows

/// All streamed axes are among those that n combines along, or none is.
static int streams_of(const maker *m, const node *n) {
  int along = 0;
  for (int k = 0; op_combines(n->op) && k < n->nattr_axes; k++)
    along += axes_have(m->o->stream, m->o->nstream, n->attr_axes[k]);
  return along;
}

/// By node id: a computed operand that lacks axes, as keys that are scaled. Each tile of rows
/// computes it again, which costs little beside its product, unless it is made of products or long
/// sums itself.
static const uint8_t *find_computed_again(const maker *m) {
  uint8_t *again = arena_array(m->a, uint8_t, m->g->nodes.len);
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    op_class c = class_of(n);
    // Of one step along the stream; or of all of it, which every tile walks: weights of moments.
    bool weights = m->promise && m->promise->rules & RULE_moment_shift && streams_of(m, n);
    bool step = (c == CLASS_reduce && weights) ||
                ((c == CLASS_reduce || c == CLASS_scan) && m->o->values[n->id].streamed);
    bool cheap = step || c == CLASS_map || c == CLASS_leaf || c == CLASS_view || c == CLASS_gather;
    again[n->id] = cheap && !m->stored[n->id];
    for (int k = 0; k < n->nin; k++) again[n->id] &= !inside(m, n->in[k]) || again[n->in[k]->id];
  }
  return again;
}

/// Views move no kept value (check_views), and all else is computed where it is read.
static bool is_row(const maker *m, const uint8_t *again, int axis) {
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    if (m->o->values[n->id].added) continue;
    bool matters = m->stored[n->id] || m->o->values[n->id].kept;
    if (matters && !node_has_axis(n, axis) && !again[n->id]) return false;
    if (op_combines(n->op) && axes_have(n->attr_axes, n->nattr_axes, axis)) return false;
  }
  return !axes_have(m->o->stream, m->o->nstream, axis);
}

static void find_rows(const maker *m) {
  const node *out = NULL;
  const uint8_t *again = find_computed_again(m);
  for (int i = 0; i < m->n && !out; i++)
    if (m->stored[m->nodes[i]->id] && !m->o->values[m->nodes[i]->id].added) out = m->nodes[i];
  for (int k = 0; out && k < out->naxes; k++)
    if (is_row(m, again, out->axes[k])) m->o->rows[m->o->nrows++] = out->axes[k];
}

// ---- states and frames

/// What n is relative to, where n is a factor that grows with exp(x - frame) alone: what it is
/// multiplied with does not wait for a state. Null: it is no such factor. `waits` says which nodes
/// depend on a state of the stream.
static const node *frame_in(const maker *m, const node *n, const uint8_t *waits) {
  if (!inside(m, n) || !waits[n->id]) return NULL;  // of two operands one waits at most
  const node *x = n->nin ? n->in[0] : NULL, *y = n->nin > 1 ? n->in[1] : NULL;
  switch (n->op) {
    case OP_exp: return x->op == OP_sub && !waits[x->in[0]->id] ? x->in[1] : NULL;
    case OP_neg:
    case OP_view: return frame_in(m, x, waits);
    case OP_cast: return dtype_is_float(n->type) ? frame_in(m, x, waits) : NULL;
    case OP_mul:
      return !waits[y->id] ? frame_in(m, x, waits) : !waits[x->id] ? frame_in(m, y, waits) : NULL;
    case OP_div: return !waits[y->id] ? frame_in(m, x, waits) : NULL;
    case OP_where: {
      bool zero = n->in[2]->op == OP_const && dtype_is_float(n->type) && n->in[2]->value.f == 0;
      return zero && !waits[x->id] ? frame_in(m, y, waits) : NULL;
    }
    default: return NULL;
  }
}

/// The running maximum that the state's elements are relative to; null: they wait for what they
/// read.
static const node *frame_of(const maker *m, const node *state, const uint8_t *waits) {
  const outline_value *v = &m->o->values[state->id];
  if ((state->op != OP_sum && state->op != OP_dot) || (m->promise && m->promise->without_frames)) return NULL;
  if (v->ncentres && !v->framed) return NULL;
  const node *x = state->in[0], *y = state->nin > 1 ? state->in[1] : NULL;
  if (v->ncentres) x = v->framed, y = NULL;
  if (y && waits[y->id]) {
    const node *other = x;
    x = y;
    y = other;
  }
  const node *frame = y && waits[y->id] ? NULL : frame_in(m, x, waits);
  if (!frame || frame->op != OP_reduce_max || !m->o->values[frame->id].state) return NULL;
  bool same = frame->nattr_axes == state->nattr_axes;
  for (int k = 0; same && k < frame->nattr_axes; k++)
    same = axes_have(state->attr_axes, state->nattr_axes, frame->attr_axes[k]);
  return same ? frame : NULL;
}

/// The means that the state's elements are differences from move in the first walk, as the state
/// does.
static bool follows_centres(const maker *m, const node *n, const uint8_t *waits) {
  const outline_value *values = m->o->values, *v = &values[n->id];
  bool ok = !v->framed || frame_of(m, n, waits);
  for (int i = 0; i < v->ncentres; i++) {
    const outline_value *c = &values[v->centres[i]->id], *sum = &values[c->sum->id];
    const outline_value *weight = c->weight ? &values[c->weight->id] : NULL;
    ok &= sum->walk == 1 && !sum->ncentres && sum->frame == (weight ? weight->frame : NULL);
    ok &= !weight || (weight->walk == 1 && !weight->ncentres);
  }
  for (int i = 0; ok && i < v->ncentres; i++)
    m->o->values[v->centres[i]->id].is_centre = m->o->values[v->centres[i]->id].kept = true;
  return ok;
}

static void mark_waiting(const maker *m, uint8_t *waits) {
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    waits[n->id] = streams_of(m, n) && class_of(n) != CLASS_scan;
    for (int k = 0; k < n->nin; k++) waits[n->id] |= inside(m, n->in[k]) && waits[n->in[k]->id];
  }
}

/// Running combines along the stream are computed in its order: all in the same.
static bool find_direction(const maker *m) {
  const node *first = NULL;
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    if (class_of(n) != CLASS_scan || !streams_of(m, n)) continue;
    if (first && (n->flags ^ first->flags) & NODE_REVERSE) return refuse(m, REASON_scan_direction, n);
    first = n;
    m->o->reversed = n->flags & NODE_REVERSE;
  }
  return true;
}

/// Walk numbers: the least ones in which everything that is read has been finished, or is the
/// frame.
static bool number_walks(const maker *m) {
  outline *o = m->o;
  uint8_t *waits = arena_array(m->a, uint8_t, m->g->nodes.len);
  int *ended = arena_array(m->a, int, m->g->nodes.len);  // walks that must have ended before
  mark_waiting(m, waits);
  if (!find_direction(m)) return false;
  if (!o->reversed && m->promise && m->promise->rules & RULE_moment_shift)
    outline_find_moments(o, m->a, m->nodes, m->n, m->member, waits);
  for (int i = 0; i < m->n; i++) {
    const node *n = m->nodes[i];
    outline_value *v = &o->values[n->id];
    for (int k = 0; k < n->nin; k++) {
      const node *in = n->in[k];
      if (!inside(m, in)) continue;
      int before = o->values[in->id].state ? o->values[in->id].walk : ended[in->id];
      if (before > ended[n->id]) ended[n->id] = before;
    }
    int along = streams_of(m, n);
    v->carries = class_of(n) == CLASS_scan && along;
    if (along && along < o->nstream) return refuse(m, REASON_part_of_stream, n);
    v->state = along && class_of(n) != CLASS_scan;
    if (v->state) {
      for (int k = 0; k < n->naxes; k++)
        if (axes_have(o->stream, o->nstream, n->axes[k])) return refuse(m, REASON_different_rows, n);
      if (v->ncentres && !follows_centres(m, n, waits)) v->ncentres = 0;
      v->frame = frame_of(m, n, waits);
      v->walk = v->ncentres ? 1 : 1 + ended[n->id];
      if (v->frame) {
        v->walk = o->values[v->frame->id].walk;
        o->values[v->frame->id].is_frame = true;
      }
      v->streamed = false;
      ended[n->id] = v->walk;
    } else {
      v->walk = v->streamed ? ended[n->id] + 1 : ended[n->id];
    }
    bool works = v->state || (v->streamed && m->stored[n->id]);
    if (works && v->walk > o->walks) o->walks = v->walk;
  }
  return o->walks <= OUTLINE_MOST_WALKS || refuse(m, REASON_too_large, NULL);
}

bool outline_make(outline *o, arena *a, const graph *g, node *const *nodes, int n,
                  const uint8_t *member, const uint8_t *stored, const contract *c, reason *why,
                  int *at) {
  maker m = {o, a, g, nodes, n, member, stored, c, why, at};
  *o = (outline){.g = g, .values = arena_array(a, outline_value, g->nodes.len)};
  // An axis of one element is not walked, and its reductions are gone.
  for (int i = 0; c && i < c->naxes; i++)
    if (!graph_axis_is_single(g, c->axes[i])) o->stream[o->nstream++] = c->axes[i];
  if (!find_kept(&m) || !check_views(&m)) return false;
  find_rows(&m);
  return number_walks(&m);
}

bool outline_of_group(outline *o, arena *a, const graph *g, const group *grp) {
  uint8_t *member = arena_array(a, uint8_t, g->nodes.len), *stored = arena_array(a, uint8_t, g->nodes.len);
  for (int i = 0; i < grp->nodes.len; i++) member[grp->nodes.data[i]->id] = 1;
  for (int i = 0; i < grp->outputs.len; i++) stored[grp->outputs.data[i]->id] = 1;
  reason why;
  int at;
  return outline_make(o, a, g, grp->nodes.data, grp->nodes.len, member, stored,
                      group_contract(g, grp->nodes.data[0]), &why, &at);
}

/// Marks the streamed values that the walk's states and stores depend on.
bool outline_needs(const outline *o, node *const *nodes, int n, const uint8_t *member,
                   const uint8_t *stored, int walk, uint8_t *needed) {
  bool any = false;
  for (int i = n - 1; i >= 0; i--) {
    const node *x = nodes[i];
    const outline_value *v = &o->values[x->id];
    bool works = v->walk == walk && (v->state || (v->streamed && stored[x->id]));
    if (!works && !(needed[x->id] && v->streamed)) continue;
    any |= works;
    needed[x->id] = 1;
    for (int k = 0; k < x->nin; k++)
      if (member[x->in[k]->id] && o->values[x->in[k]->id].streamed) needed[x->in[k]->id] = 1;
  }
  return any;
}
