// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The graph interpreter: views, padding, gather and scatter.
//
// The coordinate expressions of a view are sums of terms. A term that depends on one axis becomes
// a table over that axis; what depends on several is evaluated per element. So the usual view
// costs an addition per operand axis and element, whatever divisions it has.
#include "base/fault.h"
#include "ir/graph_interp.h"

// ---- compiled coordinate expressions

/// One operand axis: coordinate = base + table[k][coordinate along walk axis k]... + rest.
typedef struct coordinate {
  int64_t base, size;
  int64_t *table[WALK_AXES];  // null: does not depend on that axis alone
  ix rest;                    // terms over several axes; 0 none
} coordinate;

/// Coordinates in the walk, for ix_eval.
typedef struct place {
  const walk *w;
  int64_t inner;  // along the row
} place;

static int64_t place_coordinate(void *ctx, int along) {
  const place *p = ctx;
  int last = p->w->naxes - 1;
  return p->w->axes[last] == along ? p->inner : walk_coordinate(p->w, along);
}

typedef struct single {
  int axis, count;
} single;

static void count_axis(void *ctx, int along) {
  single *s = ctx;
  s->axis = along;
  s->count++;
}

static int64_t *axis_table(run *r, coordinate *c, const walk *w, int along) {
  for (int k = 0; k < w->naxes; k++) {
    if (w->axes[k] != along) continue;
    if (!c->table[k]) c->table[k] = arena_array(r->arena, int64_t, w->size[k]);
    return c->table[k];
  }
  panic("a coordinate uses an axis that the result lacks");
}

static int64_t single_coordinate(void *ctx, int along) {
  (void)along;
  return *(int64_t *)ctx;
}

static void compile_term(run *r, coordinate *c, const walk *w, ix term) {
  single s = {-1, 0};
  ix_axes(&r->pool, term, count_axis, &s);
  int64_t v = 0;
  if (s.count == 0) {
    check(ix_is_const(&r->pool, term, &v));
    c->base += v;
  } else if (s.count == 1) {
    int64_t *table = axis_table(r, c, w, s.axis);
    for (int64_t i = 0; i < r->axis_size[s.axis]; i++)
      table[i] += ix_eval(&r->pool, term, NULL, single_coordinate, &i);
  } else {
    c->rest = c->rest ? ix_add(&r->pool, c->rest, term) : term;
  }
}

static coordinate compile_coordinate(run *r, const walk *w, ix e, int64_t size) {
  coordinate c = {.size = size};
  ix_pool *p = &r->pool;
  ix bound = ix_bind(p, &r->g->ix, e, run_symbol, r);
  ix_node n = *ix_get(p, bound);
  if (n.kind != IX_SUM) {
    compile_term(r, &c, w, bound);
    return c;
  }
  for (int k = 0; k < n.nterms; k++) {
    ix term = ix_const(p, n.terms[k].coef);
    for (int i = 0; i < n.terms[k].natoms; i++) term = ix_mul(p, term, n.terms[k].atoms[i]);
    compile_term(r, &c, w, term);
  }
  return c;
}

/// The part of the coordinate that is the same along the row.
static int64_t row_base(const coordinate *c, const walk *w) {
  int64_t v = c->base;
  for (int k = 0; k < w->naxes - 1; k++)
    if (c->table[k]) v += c->table[k][w->at[k]];
  return v;
}

static int64_t coordinate_at(run *r, const coordinate *c, const walk *w, int64_t base, int64_t j) {
  const int64_t *table = c->table[w->naxes - 1];
  if (table) base += table[j];
  if (c->rest) base += ix_eval(&r->pool, c->rest, NULL, place_coordinate, &(place){w, j});
  return base;
}

str index_error_text(arena *a, int64_t index, str axis, int64_t size) {
  str name = axis.len ? str_printf(a, "axis %.*s", STR_FMT(axis)) : STR("an axis");
  str of = size < 0 ? STR("") : str_printf(a, " of size %lld", (long long)size);
  return str_printf(a, "index %lld is outside of %.*s%.*s", (long long)index, STR_FMT(name),
                    STR_FMT(of));
}

// ---- views

bool interp_view(run *r, const node *n, value *out) {
  const node *a = n->in[0];
  walk w = walk_over(r, n->axes, n->naxes);
  if (!walk_first(&w)) return true;
  coordinate c[MAX_AXES];
  for (int k = 0; k < a->naxes; k++)
    c[k] = compile_coordinate(r, &w, n->index[k], r->axis_size[a->axes[k]]);
  const scalar *in = r->values[a->id].data;
  scalar *to = out->data;
  for (bool more = true; more; more = walk_next(&w)) {
    int64_t base[MAX_AXES];
    for (int k = 0; k < a->naxes; k++) base[k] = row_base(&c[k], &w);
    for (int64_t j = 0; j < w.row; j++) {
      int64_t offset = 0;
      int outside = -1;
      for (int k = 0; k < a->naxes; k++) {
        int64_t at = coordinate_at(r, &c[k], &w, base[k], j);
        if (at < 0 || at >= c[k].size) outside = k;
        offset = (int64_t)((uint64_t)offset * (uint64_t)c[k].size + (uint64_t)at);
      }
      if (outside < 0) {
        *to++ = in[offset];
      } else if (n->op == OP_pad) {
        *to++ = r->values[n->in[1]->id].data[0];
      } else {
        str name = r->g->axes.data[a->axes[outside]].name;
        int64_t at = coordinate_at(r, &c[outside], &w, base[outside], j);
        str text = index_error_text(r->arena, at, name, c[outside].size);
        return run_fail(r, n, "%.*s", STR_FMT(text));
      }
    }
  }
  return true;
}

// ---- indirect access

static bool bad_index(run *r, const node *n, int64_t at) {
  str name = r->g->axes.data[n->attr_axes[0]].name;
  str text = index_error_text(r->arena, at, name, r->axis_size[n->attr_axes[0]]);
  return run_fail(r, n, "%.*s", STR_FMT(text));
}

/// Operand strides of a tensor whose axis `along` is indexed: that axis is left out of the walk
/// (a walk axis of the same number belongs to the indices) and its stride returned.
static int indexed_operand(const run *r, walk *w, const node *n, int along, int64_t *stride) {
  int operand = walk_operand(r, w, n);
  for (int k = 0; k < w->naxes; k++)
    if (w->axes[k] == along) w->stride[operand][k] = 0;
  *stride = 1;
  for (int k = n->naxes - 1; n->axes[k] != along; k--) *stride *= r->axis_size[n->axes[k]];
  return operand;
}

bool interp_gather(run *r, const node *n, value *out) {
  int along = n->attr_axes[0];
  int64_t stride, size = r->axis_size[along];
  walk w = walk_over(r, n->axes, n->naxes);
  int a = indexed_operand(r, &w, n->in[0], along, &stride), b = walk_operand(r, &w, n->in[1]);
  const scalar *from = r->values[n->in[0]->id].data, *indices = r->values[n->in[1]->id].data;
  scalar *to = out->data;
  for (bool more = walk_first(&w); more; more = walk_next(&w)) {
    for (int64_t j = 0; j < w.row; j++) {
      int64_t at = indices[w.offset[b] + j * w.step[b]].i;
      if (at < 0 || at >= size) return bad_index(r, n, at);
      *to++ = from[w.offset[a] + j * w.step[a] + at * stride];
    }
  }
  return true;
}

/// The axes of indices and updates, and those of the base but the indexed one.
static walk scatter_walk(const run *r, const node *n) {
  int axes[WALK_AXES], count = 0;
  for (int k = 0; k < n->nin; k++) {
    const node *in = n->in[k];
    for (int i = 0; i < in->naxes; i++) {
      bool known = k == 0 && in->axes[i] == n->attr_axes[0];
      for (int m = 0; m < count; m++) known = known || axes[m] == in->axes[i];
      if (known) continue;
      check(count < WALK_AXES);
      axes[count++] = in->axes[i];
    }
  }
  return walk_over(r, axes, count);
}

bool interp_scatter(run *r, const node *n, value *out) {
  int along = n->attr_axes[0];
  int64_t stride, size = r->axis_size[along];
  walk w = scatter_walk(r, n);
  int to = indexed_operand(r, &w, n->in[0], along, &stride);
  int b = walk_operand(r, &w, n->in[1]), c = walk_operand(r, &w, n->in[2]);
  const scalar *base = r->values[n->in[0]->id].data, *indices = r->values[n->in[1]->id].data;
  const scalar *updates = r->values[n->in[2]->id].data;
  op_running *running = run_start(r, n, out, base);
  for (bool more = walk_first(&w); more; more = walk_next(&w)) {
    for (int64_t j = 0; j < w.row; j++) {
      int64_t at = indices[w.offset[b] + j * w.step[b]].i;
      if (at < 0 || at >= size) return bad_index(r, n, at);
      op_step(&running[w.offset[to] + j * w.step[to] + at * stride], n->op, n->type,
              updates[w.offset[c] + j * w.step[c]]);
    }
  }
  run_finish(n, running, out);
  return true;
}
