// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which sets of nodes may be one kernel: the rules of passes/fusion/group.h, with the reason when not.
//
// Used twice: the fuse pass asks before it merges, and graph_groups checks what came out. The
// profit of a merge is another question (fuse_cost.c).
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/fusion/stream_form.h"

enum { MAX_GROUP_NODES = 1500, MAX_GROUP_INPUTS = 64 };

typedef struct legality {
  const candidate *c;
  group_kind kind;
  node *anchor;     // the dot, scan, scatter or call
  const node *reduction;  // the first one, but for sums of columns
  const column_form *columns;  // with these; null: none
  node *finish;     // the first reduction of what a contraction gave
  node *second;     // a contraction over rows of the first
  uint8_t *after;   // by node id: depends on the anchor or on a reduction
  uint8_t *before;  // by node id: the anchor or a reduction depends on it
} legality;

static verdict good(void) { return (verdict){.ok = true, .node = -1}; }
static verdict bad(reason why, const node *n) {
  return (verdict){.why = why, .node = n ? n->id : -1};
}

static op_class class_of(const node *n) { return op_get(n->op)->class; }

// ---- the anchor

/// Why a reduction and this anchor are not one kernel.
static reason reduction_beside(op_class anchor) {
  return anchor == CLASS_scan      ? REASON_reduction_and_scan
         : anchor == CLASS_scatter ? REASON_scatter_order
         : anchor == CLASS_opaque  ? REASON_opaque
                                   : REASON_reduction_and_contraction;
}

static verdict find_anchor(legality *l) {
  const candidate *c = l->c;
  for (int i = 0; i < c->n; i++) {
    node *n = c->nodes[i];
    group_kind kind;
    reason clash;
    switch (class_of(n)) {
      case CLASS_contraction: kind = GROUP_CONTRACTION, clash = REASON_second_contraction; break;
      case CLASS_scan: kind = GROUP_SCAN, clash = REASON_scan_order; break;
      case CLASS_scatter: kind = GROUP_SCATTER, clash = REASON_scatter_order; break;
      case CLASS_opaque: kind = GROUP_OPAQUE, clash = REASON_opaque; break;
      case CLASS_reduce:
        if (column_form_has(l->columns, n)) {
          l->kind = GROUP_REDUCE;
          continue;
        }
        if (l->anchor && l->kind == GROUP_CONTRACTION) {
          if (!l->finish) l->finish = n;
          continue;
        }
        if (l->anchor) return bad(reduction_beside(class_of(l->anchor)), n);
        if (!l->reduction) l->reduction = n;
        l->kind = GROUP_REDUCE;
        continue;
      default: continue;
    }
    if (l->reduction) return bad(reduction_beside(class_of(n)), n);
    if (l->anchor && kind == GROUP_CONTRACTION && l->kind == GROUP_CONTRACTION && !l->second) {
      l->second = n;
      continue;
    }
    if (l->anchor) {
      op_class first = class_of(l->anchor);
      if (first == CLASS_opaque) clash = REASON_opaque;
      else if (first == CLASS_scatter) clash = REASON_scatter_order;
      else if (first == CLASS_scan) clash = REASON_scan_order;
      return bad(clash, n);
    }
    l->anchor = n;
    l->kind = kind;
  }
  if (l->kind == GROUP_OPAQUE && c->n > 1) return bad(REASON_opaque, l->anchor);
  return good();
}

/// Sums of columns are finished when all blocks are.
static verdict check_parts(const legality *l) {
  const candidate *c = l->c;
  for (int i = 0; i < c->n; i++)
    for (int k = 0; k < c->nodes[i]->nin; k++)
      if (column_form_has(l->columns, c->nodes[i]->in[k])) return bad(REASON_columns_wait, c->nodes[i]);
  return good();
}

static verdict check_rows(const legality *l) {
  const node *first = l->reduction;
  for (int i = 0; i < l->c->n; i++) {
    const node *n = l->c->nodes[i];
    if (class_of(n) != CLASS_reduce || column_form_has(l->columns, n)) continue;
    if (!axes_equal(n->axes, n->naxes, first->axes, first->naxes) ||
        !axes_equal(n->attr_axes, n->nattr_axes, first->attr_axes, first->nattr_axes))
      return bad(REASON_different_rows, n);
  }
  return good();
}

/// What the others come before or after.
static bool is_center(const legality *l, const node *n) {
  return n == l->anchor || (class_of(n) == CLASS_reduce && !l->finish);
}

static void mark_order(legality *l) {
  const candidate *c = l->c;
  for (int i = 0; i < c->n; i++) l->before[c->nodes[i]->id] = 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    bool on = is_center(l, n);
    for (int k = 0; k < n->nin && !on; k++) on = c->member[n->in[k]->id] && l->after[n->in[k]->id];
    l->after[n->id] = on;
  }
  for (int i = c->n - 1; i >= 0; i--) {
    const node *n = c->nodes[i];
    bool on = is_center(l, n) || l->before[n->id];
    for (int k = 0; k < n->nin && on; k++)
      if (c->member[n->in[k]->id]) l->before[n->in[k]->id] = 1;
  }
}

// ---- rows that a contraction finishes

static int64_t estimate_of(const graph *g, int axis) {
  return ix_estimate(&g->ix, graph_axis_size(g, axis));
}

/// An axis of one operand only, of a known size that a block tile can have, beside rows.
static bool is_row_axis(const graph *g, const node *dot, int axis) {
  int64_t size, others = 1;
  bool in_a = node_has_axis(dot->in[0], axis), in_b = node_has_axis(dot->in[1], axis);
  if (!node_has_axis(dot, axis) || in_a == in_b) return false;
  const node *other = dot->in[in_a];
  for (int i = 0; i < other->naxes; i++)
    if (node_has_axis(dot, other->axes[i]) && !node_has_axis(dot->in[!in_a], other->axes[i]))
      others *= estimate_of(g, other->axes[i]);
  return others > 1 && ix_is_const(&g->ix, graph_axis_size(g, axis), &size) && size > 1 &&
         size <= FUSE_TILE_COLUMNS;
}

/// Of numbers, and its result is a value.
static bool is_plain_reduction(op o) {
  return op_get(o)->splits && op_get(o)->types == TYPES_NUM;
}

static verdict check_finished_rows(const legality *l) {
  const node *first = l->finish, *dot = l->anchor;
  if (first->nattr_axes != 1 || !is_row_axis(l->c->g, dot, first->attr_axes[0]))
    return bad(REASON_reduction_and_contraction, first);
  for (int i = 0; i < l->c->n; i++) {
    const node *n = l->c->nodes[i];
    if (class_of(n) != CLASS_reduce) continue;
    bool same = n->nattr_axes == 1 && n->attr_axes[0] == first->attr_axes[0];
    const node *of = n->in[0];
    if (!same) return bad(REASON_different_rows, n);
    if (!is_plain_reduction(n->op) || !l->c->member[of->id] || !l->after[of->id] ||
        !axes_equal(of->axes, of->naxes, dot->axes, dot->naxes))
      return bad(REASON_reduction_and_contraction, n);
  }
  return good();
}

/// Axes of the operand besides the contracted one and those that both sides of the first have: one,
/// of a size that a block tile can have, beside the rows in registers.
static bool is_side_operand(const graph *g, const node *first, const node *x, int over) {
  int own = 0;
  for (int i = 0; i < x->naxes; i++) {
    int axis = x->axes[i];
    bool batch = node_has_axis(first->in[0], axis) && node_has_axis(first->in[1], axis) &&
                 node_has_axis(first, axis);
    int64_t size;
    if (axis == over || batch) continue;
    if (own++ || node_has_axis(first, axis)) return false;
    if (!ix_is_const(&g->ix, graph_axis_size(g, axis), &size) || size < 2 ||
        size > FUSE_SIDE_COLUMNS || size + estimate_of(g, over) > FUSE_BOTH_COLUMNS)
      return false;
  }
  return own == 1 && node_has_axis(x, over);
}

static bool is_half(const node *n) { return n->type == DT_f16 || n->type == DT_bf16; }

/// The second contraction takes the rows that the first one finished, over their axis.
static verdict check_second(const legality *l) {
  const node *first = l->anchor, *n = l->second;
  const graph *g = l->c->g;
  verdict no = bad(REASON_second_contraction, n);
  int rows = -1, over = n->attr_axes[0];
  for (int k = 0; k < 2; k++)
    if (l->c->member[n->in[k]->id] && l->after[n->in[k]->id]) rows = rows < 0 ? k : 2;
  if (rows != 0 && rows != 1) return no;
  const node *row = n->in[rows], *side = n->in[1 - rows];
  if (n->nattr_axes != 1 || !is_row_axis(g, first, over) || !op_is_map(row->op)) return no;
  if (l->finish && l->finish->attr_axes[0] != over) return no;
  if (!axes_equal(row->axes, row->naxes, first->axes, first->naxes)) return no;
  if (!is_half(row) || side->type != row->type || !is_half(first->in[0]) ||
      first->in[0]->type != first->in[1]->type)
    return no;
  return is_side_operand(g, first, side, over) ? good() : no;
}

// ---- values that leave the anchor

/// A node that uses a value computed after the anchor.
static verdict check_after(const legality *l, const node *n) {
  const graph *g = l->c->g;
  switch (class_of(n)) {
    case CLASS_reduce: return good();
    case CLASS_contraction: return n == l->second ? good() : bad(REASON_second_contraction, n);
    case CLASS_map:
      if (l->second && axes_equal(n->axes, n->naxes, l->second->axes, l->second->naxes))
        return good();
      if (l->finish && axes_equal(n->axes, n->naxes, l->finish->axes, l->finish->naxes))
        return good();
      if (l->kind == GROUP_CONTRACTION || l->kind == GROUP_SCAN)
        if (!axes_equal(n->axes, n->naxes, l->anchor->axes, l->anchor->naxes))
          return bad(REASON_no_common_space, n);
      return l->kind == GROUP_SCATTER ? bad(REASON_scatter_order, n) : good();
    case CLASS_view: {
      const node *fixed = l->kind == GROUP_REDUCE ? l->reduction : l->anchor;
      bool keeps = view_keeps(g, n, fixed->axes, fixed->naxes);
      // A pad of a finished value would need it where it does not exist.
      if (n->op == OP_pad && l->kind != GROUP_REDUCE) keeps = false;
      return keeps ? good() : bad(REASON_view_of_reduction, n);
    }
    case CLASS_gather: return bad(REASON_indirect, n);
    default: return bad(REASON_reduction_and_contraction, n);
  }
}

static verdict check_flow(const legality *l) {
  const candidate *c = l->c;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    for (int k = 0; k < n->nin; k++) {
      const node *in = n->in[k];
      if (!c->member[in->id] || !l->after[in->id]) continue;
      verdict v = column_form_shows(l->columns, n) ? good() : check_after(l, n);
      if (!v.ok) return v;
    }
  }
  return good();
}

/// Gathered operands are buffers, possibly through views; a scatter's base is a buffer as it is, or
/// one number for all elements; a call's inputs are buffers as they are.
static verdict check_buffers(const candidate *c) {
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    if (node_gathers_buffer(n)) {
      const node *from = n->in[0];
      while (c->member[from->id] && from->op == OP_view && !c->stored[from->id]) from = from->in[0];
      if (c->member[from->id]) return bad(REASON_indirect, n);
    }
    if (n->op == OP_scatter_add && c->member[n->in[0]->id] && !node_is_one_number(n->in[0]))
      return bad(REASON_scatter_order, n);
    if (n->op == OP_call)
      for (int k = 0; k < n->nin; k++)
        if (c->member[n->in[k]->id]) return bad(REASON_opaque, n);
  }
  return good();
}

// ---- outputs

static bool contains_rows(const node *n, const node *reduction) {
  for (int i = 0; i < reduction->naxes; i++)
    if (!node_has_axis(n, reduction->axes[i])) return false;
  return true;
}

/// Besides rows.
static bool has_columns_only(const column_form *f, const node *n) {
  for (int i = 0; i < f->ncolumns; i++)
    if (!node_has_axis(n, f->columns[i])) return false;
  return n->naxes == f->nrows + f->ncolumns;
}

static verdict check_output(const legality *l, const node *n, const node **space) {
  const node *want = NULL;
  switch (l->kind) {
    case GROUP_MAP: want = *space ? *space : (*space = n); break;
    case GROUP_REDUCE:
      if (column_form_has(l->columns, n)) return good();
      if (!contains_rows(n, l->reduction)) return bad(REASON_no_common_space, n);
      if (n->naxes == l->reduction->naxes) return good();
      if (l->columns && !has_columns_only(l->columns, n)) return bad(REASON_no_common_space, n);
      want = *space ? *space : (*space = n);
      break;
    case GROUP_CONTRACTION:
    case GROUP_SCAN:
      if (l->before[n->id] && n != l->anchor) return bad(REASON_operand_is_output, n);
      want = l->second ? l->second : l->anchor;
      break;
    case GROUP_SCATTER:
    case GROUP_OPAQUE:
    case GROUP_NEST:
    case GROUP_STREAM:
      return n == l->anchor ? good() : bad(REASON_scatter_order, n);
  }
  return axes_equal(n->axes, n->naxes, want->axes, want->naxes) ? good()
                                                              : bad(REASON_no_common_space, n);
}

static verdict check_outputs(const legality *l) {
  const candidate *c = l->c;
  const node *space = NULL;
  int outputs = 0;
  for (int i = 0; i < c->n; i++) {
    if (!c->stored[c->nodes[i]->id]) continue;
    verdict v = check_output(l, c->nodes[i], &space);
    if (!v.ok) return v;
    outputs++;
  }
  return outputs <= MAX_GROUP_OUTPUTS ? good() : bad(REASON_too_large, NULL);
}

/// False: more than one kernel should compute.
static bool fits_one(const candidate *c) {
  int work = 0, reductions = 0;
  for (int i = 0; i < c->n; i++) {
    work += op_get(c->nodes[i]->op)->cost;
    reductions += class_of(c->nodes[i]) == CLASS_reduce;
  }
  int most = c->promise ? MAX_GROUP_REDUCTIONS : MAX_PLAIN_REDUCTIONS;
  return c->n <= MAX_GROUP_NODES && work <= MAX_GROUP_WORK && reductions <= most;
}

static verdict check_size(const candidate *c, uint8_t *seen) {
  if (!fits_one(c)) return bad(REASON_too_large, NULL);
  int inputs = 0;
  for (int i = 0; i < c->n; i++)
    for (int k = 0; k < c->nodes[i]->nin; k++) seen[c->nodes[i]->in[k]->id] = 0;
  for (int i = 0; i < c->n; i++)
    for (int k = 0; k < c->nodes[i]->nin; k++) {
      int id = c->nodes[i]->in[k]->id;
      if (c->member[id] || seen[id]) continue;
      seen[id] = 1;
      inputs++;
    }
  return inputs <= MAX_GROUP_INPUTS ? good() : bad(REASON_too_large, NULL);
}

static bool is_gpu(const candidate *c) { return c->target && c->target->sm; }

/// A block that is none of the shapes may still be a kernel of loop nests.
static verdict check_nest(const candidate *c, fuse_scratch *s, bool *framed) {
  outline o;
  verdict v = {.ok = true, .node = -1};
  *framed = false;
  if (!c->n) return v;
  v.ok = outline_make(&o, s->arena, c->g, c->nodes, c->n, c->member, c->stored,
                      c->promise, &v.why, &v.node);
  for (int i = 0; v.ok && i < c->n; i++)
    if (o.values[c->nodes[i]->id].added) v = bad(REASON_unordered_sum, c->nodes[i]);
  if (v.ok && is_gpu(c))
    v.ok = outline_place(&o, s->arena, c->nodes, c->n, outline_room(c->target), &v.why, &v.node, &v.detail);
  for (int i = 0; v.ok && i < c->n; i++)
    *framed |= o.values[c->nodes[i]->id].is_frame || o.values[c->nodes[i]->id].is_centre;
  return v;
}

/// A walk over the stream whose states are in registers.
static verdict check_stream(const candidate *c, fuse_scratch *s) {
  outline o;
  stream_form f;
  verdict v = {.ok = true, .node = -1};
  v.ok = outline_make(&o, s->arena, c->g, c->nodes, c->n, c->member, c->stored, c->promise, &v.why,
                      &v.node) &&
         stream_form_of(&f, &o, s->arena, c->nodes, c->n, c->member, c->stored, &v.why, &v.node,
                        &v.detail);
  return v;
}

static bool has_contraction(const candidate *c) {
  for (int i = 0; i < c->n; i++)
    if (class_of(c->nodes[i]) == CLASS_contraction) return true;
  return false;
}

/// Columns of a contraction's block tile on the target; 0: blocks of CPUs do not hold whole rows.
static int64_t tile_columns(const target_info *t) {
  enum { WITH_MMA = 128 };
  return !t || (t->sm && t->wgmma) ? FUSE_TILE_COLUMNS : t->sm ? WITH_MMA : 0;
}

/// Reductions of what a contraction gave, and a second one over its rows, are for targets whose
/// blocks hold the rows.
static verdict rows_fit(const legality *l) {
  const node *n = l->finish ? l->finish : l->second;
  int64_t size;
  bool known = n && ix_is_const(&l->c->g->ix, graph_axis_size(l->c->g, n->attr_axes[0]), &size);
  if (!n || (known && size <= tile_columns(l->c->target))) return good();
  return bad(l->finish ? REASON_reduction_and_contraction : REASON_second_contraction, n);
}

static verdict legal_shape(const candidate *c, fuse_scratch *s, group_kind *kind) {
  legality l = {.c = c, .kind = GROUP_MAP, .after = s->after, .before = s->before};
  column_form f;
  if (fuse_columns(c, s, &f)) l.columns = &f;
  verdict v = find_anchor(&l);
  if (kind) *kind = l.kind;
  if (v.ok && l.columns) v = check_parts(&l);
  if (v.ok && l.reduction) v = check_rows(&l);
  if (!v.ok) return v;
  node rows = l.columns ? (node){.axes = f.rows, .naxes = f.nrows} : (node){0};
  if (l.columns && !l.reduction) l.reduction = &rows;
  mark_order(&l);
  if (l.finish) v = check_finished_rows(&l);
  if (v.ok && l.second) v = check_second(&l);
  if (v.ok) v = check_buffers(c);
  if (v.ok) v = check_flow(&l);
  if (v.ok) v = check_outputs(&l);
  if (v.ok) v = check_size(c, s->seen);
  if (v.ok && l.columns && !fuse_columns_fit(c, &f)) v = bad(REASON_columns_too_long, f.sums[0]);
  return v.ok ? rows_fit(&l) : v;
}

verdict fuse_legal(const candidate *of, fuse_scratch *s, group_kind *kind) {
  candidate seen = fuse_through_in(of, s, &s->through);
  const candidate *c = &seen;
  for (int i = 0; i < of->n; i++) s->after[of->nodes[i]->id] = 0;
  group_kind shape;
  const contract *promise = c->promise;
  bool streamed = promise && promise->streamed, framed;
  // A text is read before its target is known: of some target it is.
  bool warpgroups = c->target ? c->target->wgmma : streamed && promise->unordered;
  if (streamed && warpgroups && has_contraction(c)) {
    verdict v = check_stream(c, s);
    if (v.ok && kind) *kind = GROUP_STREAM;
    if (v.ok) return v;
  }
  if (streamed) {
    // Blocks of GPUs walk rows faster as a shape, but what is relative to a maximum takes that as it
    // is, of infinite ones no difference can be taken, and what is relative to a mean would take two walks.
    verdict v = check_nest(c, s, &framed);
    if (v.ok && kind) *kind = GROUP_NEST;
    if (v.ok && (framed || !is_gpu(c))) return v;
  }
  verdict v = legal_shape(c, s, &shape);
  if (kind) *kind = shape;
  if (v.ok || !promise) return v;
  verdict nests = check_nest(c, s, &framed);
  if (nests.ok && kind) *kind = GROUP_NEST;
  return nests;
}
