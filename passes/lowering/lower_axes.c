// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a kernel touches: a survey of its memory accesses over graph axes, from which follow the
// collapsing of axes, the axis the vector lanes run along, and streaming stores.
#include <math.h>

#include "base/fault.h"
#include "passes/lowering/lower.h"

typedef struct survey {
  kbuild *b;
  ix_pool pool;  // axis numbers are graph axes; PSEUDO_AXIS stands for an indirect coordinate
  map seen;      // (node, sigma) walked already
  bool *indirect;  // graph axes that move the indirect coordinates of the load being walked
} survey;

static void walk(survey *s, const node *n, const ix *sigma);

typedef struct axis_marks {
  bool *marks;
  int n;
} axis_marks;

static void mark_axis(void *ctx, int axis) {
  axis_marks *m = ctx;
  if (axis < m->n) m->marks[axis] = true;
}

/// Pins the axes of coordinates that are more than a bare axis.
static void pin(survey *s, ix e, bool bare_too) {
  int axis;
  if (!bare_too && ix_is_axis(&s->pool, e, &axis)) return;
  axis_marks m = {s->b->pinned, s->b->l->g->axes.len};
  ix_axes(&s->pool, e, mark_axis, &m);
}

/// The first elements along the axis, as many as there are lanes, are at fixed distances of few
/// vectors: what codegen/cpu/pattern.c loads and permutes.
static bool lanes_are_near(const survey *s, ix offset, int axis) {
  enum { VECTORS = 4 };
  int64_t size = kb_estimate(s->b, axis), low = 0, high = 0, at;
  ix *place = arena_array(s->b->l->a, ix, s->b->l->g->axes.len);
  for (int i = 0; i < s->b->l->g->axes.len; i++) place[i] = ix_const(&s->b->k->ix, 0);
  for (int lane = 0; lane < s->b->lanes && lane < size; lane++) {
    place[axis] = ix_const(&s->b->k->ix, lane);
    ix e = ix_substitute(&s->b->k->ix, (ix_pool *)&s->pool, offset, place, s->b->l->g->axes.len);
    if (!ix_is_const(&s->b->k->ix, e, &at)) return false;
    low = at < low ? at : low;
    high = at > high ? at : high;
  }
  return high - low < VECTORS * s->b->lanes;
}

static void record(survey *s, const ix *sigma, int buffer, bool store) {
  lower *l = s->b->l;
  int naxes = l->g->axes.len;
  const struct buffer *buf = &l->p->buffers.data[buffer];
  access m = {.buffer = buffer, .store = store, .elements = 1};
  m.coef = arena_array(l->a, ix, naxes);
  m.irregular = arena_array(l->a, bool, naxes);
  m.near = arena_array(l->a, bool, naxes);
  ix offset = ix_const(&s->pool, 0);
  for (int i = 0; i < buf->rank; i++) {
    ix stride = ix_substitute(&s->pool, &l->p->ix, buf->strides[i], NULL, 0);
    offset = ix_add(&s->pool, offset, ix_mul(&s->pool, sigma[i], stride));
  }
  bool *used = arena_array(l->a, bool, naxes);
  axis_marks marks = {used, naxes};
  ix_axes(&s->pool, offset, mark_axis, &marks);
  for (int axis = 0; axis < naxes; axis++) {
    ix coef, rest;
    if (s->indirect && s->indirect[axis]) m.irregular[axis] = true;
    if (used[axis] && ix_affine(&s->pool, offset, axis, &coef, &rest))
      m.coef[axis] = ix_substitute(&s->b->k->ix, &s->pool, coef, NULL, 0);
    else if (used[axis])
      m.irregular[axis] = true;
    if (used[axis] && !s->indirect) m.near[axis] = lanes_are_near(s, offset, axis);
    if (used[axis] || m.irregular[axis]) m.elements *= (double)kb_estimate(s->b, axis);
  }
  vec_push(l->a, &s->b->accesses, m);
  kb_arg(s->b, buffer);
}

static void walk_gather(survey *s, const node *n, const ix *sigma) {
  ix at[MAX_AXES];
  kb_operand_sigma(s->b, n, 1, sigma, at);
  walk(s, n->in[1], at);
  if (node_is_checked_index(n) && kb_in_group(s->b, n->in[0])) return;
  bool *outer = s->indirect;
  int naxes = s->b->l->g->axes.len;
  s->indirect = arena_array(s->b->l->a, bool, naxes);
  for (int i = 0; outer && i < naxes; i++) s->indirect[i] = outer[i];
  axis_marks m = {s->indirect, naxes};
  for (int i = 0; i < n->in[1]->naxes; i++) ix_axes(&s->pool, at[i], mark_axis, &m);
  const node *table = n->in[0];
  for (int i = 0; i < table->naxes; i++) {
    at[i] = 0;
    for (int k = 0; k < n->naxes; k++)
      if (n->axes[k] == table->axes[i]) at[i] = sigma[k];
    if (table->axes[i] == n->attr_axes[0]) at[i] = ix_axis(&s->pool, PSEUDO_AXIS);
  }
  walk(s, table, at);
  s->indirect = outer;
}

static void walk(survey *s, const node *n, const ix *sigma) {
  struct {
    int id, indirect;
    ix at[MAX_AXES];
  } key = {.id = n->id, .indirect = s->indirect != NULL};
  memcpy(key.at, sigma, sizeof(ix) * (size_t)n->naxes);
  if (map_get(&s->seen, MAP_KEY(key))) return;
  map_put(s->b->l->a, &s->seen, MAP_KEY(key), s);
  if (!kb_in_group(s->b, n)) {
    record(s, sigma, s->b->l->buffer_of[n->id], false);
    return;
  }
  if (n->op == OP_index) pin(s, sigma[0], true);
  if (n->op == OP_gather) {
    walk_gather(s, n, sigma);
    return;
  }
  ix at[MAX_AXES];
  for (int i = 0; i < n->nin; i++) {
    if (n == s->b->group->anchor && n->in[i] == s->b->unread) continue;
    kb_operand_sigma(s->b, n, i, sigma, at);
    if (n->op == OP_pad && i == 0)
      for (int k = 0; k < n->in[0]->naxes; k++) pin(s, at[k], false);
    walk(s, n->in[i], at);
  }
}

void kb_survey(kbuild *b) {
  lower *l = b->l;
  const graph *g = l->g;
  survey s = {.b = b};
  ix_init(&s.pool, l->a);
  s.pool.facts = b->k->ix.facts;
  b->pinned = arena_array(l->a, bool, g->axes.len + 1);
  b->pool = &s.pool;
  for (int i = 0; i < g->axes.len; i++)
    vec_push(l->a, &s.pool.axis_size, ix_substitute(&s.pool, &g->ix, g->axes.data[i].size, NULL, 0));
  for (int i = 0; i < g->axes.len; i++) b->sigma[i] = ix_axis(&s.pool, i);
  int widest = 2;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    if (n->type != DT_bool && op_get(n->op)->class != CLASS_leaf && dtype_bytes(n->type) > widest)
      widest = dtype_bytes(n->type);
  }
  b->lanes = l->target->vector_bytes / widest;
  if (b->only) {
    ix sigma[MAX_AXES];
    kb_identity(b, b->only, sigma);
    walk(&s, b->only, sigma);
  }
  for (int i = 0; i < b->group->outputs.len && !b->only; i++) {
    const node *n = b->group->outputs.data[i];
    ix sigma[MAX_AXES];
    kb_identity(b, n, sigma);
    walk(&s, n, sigma);
    int nouts = l->outputs_of[n->id].len;
    for (int k = 0; k < (nouts ? nouts : 1); k++) {
      int buffer = nouts ? l->outputs_of[n->id].data[k] : l->buffer_of[n->id];
      kb_place(b, n, buffer, sigma);
      record(&s, sigma, buffer, true);
    }
  }
  for (int i = 0; b->group->columns && i < b->group->columns->n; i++) {
    const node *sum = b->group->columns->sums[i], *summed = sum->in[0]->in[0];
    ix sigma[MAX_AXES];
    kb_identity(b, summed, sigma);
    walk(&s, summed, sigma);
    kb_identity(b, sum, sigma);
    record(&s, sigma, l->buffer_of[sum->id], true);
  }
  memset(b->sigma, 0, sizeof(ix) * (size_t)g->axes.len);
  b->pool = &b->k->ix;
}

int64_t kb_estimate(const kbuild *b, int axis) {
  return ix_estimate(&b->l->g->ix, graph_axis_size(b->l->g, axis));
}

int64_t kb_kernel_size(const kbuild *b, int kernel_axis) {
  return ix_estimate(&b->k->ix, b->k->axes.data[kernel_axis].size);
}

bool kb_unit_stride(const access *m, const kbuild *b, int axis) {
  int64_t v;
  return m->coef[axis] && !m->irregular[axis] && ix_is_const(&b->k->ix, m->coef[axis], &v) && v == 1;
}

/// Whether every access walks b right after a: step(a) = step(b) * size(b).
static bool walked_as_one(const kbuild *b, int outer, int inner) {
  if (b->pinned[outer] || b->pinned[inner]) return false;
  ix size = ix_substitute(&b->k->ix, &b->l->g->ix, graph_axis_size(b->l->g, inner), NULL, 0);
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    if (m->irregular[outer] != m->irregular[inner]) return false;
    if (m->irregular[outer] && (m->coef[outer] || m->coef[inner])) return false;
    if (!m->coef[outer] != !m->coef[inner]) return false;
    if (m->coef[outer] && m->coef[outer] != ix_mul(&b->k->ix, m->coef[inner], size)) return false;
  }
  return true;
}

int64_t kb_run(const kbuild *b, const int *axes, int n, int i) {
  int64_t size = kb_estimate(b, axes[i]);
  for (int k = i; k > 0 && walked_as_one(b, axes[k - 1], axes[k]); k--)
    size = estimate_times(size, kb_estimate(b, axes[k - 1]));
  for (int k = i; k + 1 < n && walked_as_one(b, axes[k], axes[k + 1]); k++)
    size = estimate_times(size, kb_estimate(b, axes[k + 1]));
  return size;
}

int kb_merge_axes(kbuild *b, const int *axes, int n) {
  kernel *k = b->k;
  strbuf name = sb_new(b->l->a);
  ix total = ix_const(&k->ix, 1);
  for (int i = 0; i < n; i++) {
    str part = b->l->g->axes.data[axes[i]].name;
    int len = 0;
    while (len < part.len && part.ptr[len] != '.') len++;
    if (i > 0) sb_putc(&name, '_');
    sb_put(&name, (str){part.ptr, len});
    total = ix_mul(&k->ix, total,
                   ix_substitute(&k->ix, &b->l->g->ix, graph_axis_size(b->l->g, axes[i]), NULL, 0));
  }
  int axis = kb_axis(b, sb_str(&name), total);
  ix rest = ix_axis(&k->ix, axis);
  for (int i = n - 1; i >= 0; i--) {
    ix part = ix_substitute(&k->ix, &b->l->g->ix, graph_axis_size(b->l->g, axes[i]), NULL, 0);
    b->sigma[axes[i]] = i == 0 ? rest : ix_mod(&k->ix, rest, part);
    rest = ix_div(&k->ix, rest, part);
    b->kaxis[axes[i]] = axis;
  }
  return axis;
}

int kb_collapse(kbuild *b, const int *axes, int n, int *out) {
  kernel *k = b->k;
  int count = 0;
  for (int first = 0; first < n;) {
    int64_t one;
    ix size = ix_substitute(&k->ix, &b->l->g->ix, graph_axis_size(b->l->g, axes[first]), NULL, 0);
    if (ix_is_const(&k->ix, size, &one) && one == 1) {
      b->sigma[axes[first++]] = ix_const(&k->ix, 0);
      continue;
    }
    int last = first + 1;
    while (last < n && walked_as_one(b, axes[last - 1], axes[last])) last++;
    if (last == first + 1) {
      out[count++] = kb_own_axis(b, axes[first]);
      first = last;
      continue;
    }
    out[count++] = kb_merge_axes(b, axes + first, last - first);
    first = last;
  }
  return count;
}

/// Lanes along what is reduced are combined for every row.
static double combining_cost(const kbuild *b, int axis) {
  enum { COMBINE = 10 };
  double cost = 0;
  for (int i = 0; i < b->group->reductions.len; i++) {
    const node *red = b->group->reductions.data[i];
    double rows = COMBINE;
    for (int k = 0; k < red->naxes; k++) rows *= (double)kb_estimate(b, red->axes[k]);
    if (axes_have(red->attr_axes, red->nattr_axes, axis)) cost += rows;
  }
  return cost;
}

/// Element accesses per element when lanes run along the axis; gathers cost several.
/// run: how many there are, with the axes that it collapses with.
static double lane_cost(const kbuild *b, int axis, int64_t run) {
  enum { NEAR = 2, STRIDED = 5, IRREGULAR = 8 };
  double cost = combining_cost(b, axis), size = (double)run;
  // Lanes beyond a short axis are wasted where a vector is moved at once.
  double idle = size < b->lanes && size > 0 ? b->lanes / size : 1;
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    bool unit = kb_unit_stride(m, b, axis), moves = m->coef[axis] || m->irregular[axis];
    double by_element = m->irregular[axis] ? IRREGULAR : STRIDED;
    double each = unit            ? idle
                  : !moves        ? 0
                  : m->near[axis] ? fmin(NEAR * idle, by_element)
                                  : by_element;
    cost += each * m->elements * (m->store ? 1.5 : 1);
  }
  return cost;
}

/// Rows and what is reduced do not collapse with each other.
static int64_t run_of_kind(const kbuild *b, const int *axes, int n, int i) {
  const node *red = b->group->reductions.len ? b->group->reductions.data[0] : NULL;
  int first = i, last = i;
  bool reduced = red && axes_have(red->attr_axes, red->nattr_axes, axes[i]);
  while (first > 0 &&
         (red && axes_have(red->attr_axes, red->nattr_axes, axes[first - 1])) == reduced)
    first--;
  while (last + 1 < n &&
         (red && axes_have(red->attr_axes, red->nattr_axes, axes[last + 1])) == reduced)
    last++;
  return kb_run(b, axes + first, last + 1 - first, i - first);
}

int kb_best_lanes(const kbuild *b, const int *axes, int n) {
  int best = -1;
  double best_cost = 0;
  for (int i = n - 1; i >= 0; i--) {
    if (kb_estimate(b, axes[i]) <= 1 && n > 1) continue;
    double cost = lane_cost(b, axes[i], run_of_kind(b, axes, n, i));
    if (best >= 0 && (cost > best_cost ||
                      (cost == best_cost && kb_estimate(b, axes[i]) <= kb_estimate(b, best))))
      continue;
    best = axes[i];
    best_cost = cost;
  }
  return best >= 0 ? best : n ? axes[n - 1] : -1;
}

int kb_other_unit_axis(const kbuild *b, int lanes, const int *axes, int n) {
  int best = -1;
  double most = 0;
  for (int i = 0; i < b->accesses.len; i++) {
    const access *m = &b->accesses.data[i];
    if (!m->coef[lanes] || m->irregular[lanes] || kb_unit_stride(m, b, lanes)) continue;
    for (int k = 0; k < n; k++)
      if (axes[k] != lanes && kb_unit_stride(m, b, axes[k]) && m->elements > most) {
        best = axes[k];
        most = m->elements;
      }
  }
  return best;
}

int64_t kb_buffer_bytes(const kbuild *b, int buffer) {
  const struct buffer *buf = &b->l->p->buffers.data[buffer];
  int64_t bytes = dtype_bytes(buf->type);
  for (int i = 0; i < buf->rank; i++) bytes = estimate_times(bytes, ix_estimate(&b->l->p->ix, buf->dims[i]));
  return bytes;
}

bool kb_nontemporal(const kbuild *b, int buffer) {
  if (b->l->target->sm) return false;
  // Streaming pays once the output would push everything else out of the private caches.
  return kb_buffer_bytes(b, buffer) > 4 * b->l->target->l2_bytes;
}

/// The access moved by `steps` along the kernel axis; null when it does not move.
static tstmt *moved_prefetch(kbuild *b, const tstmt *access, int kernel_axis, int64_t steps,
                             int level) {
  kernel *k = b->k;
  ix moved[MAX_KERNEL_AXES] = {0};
  moved[kernel_axis] = ix_add(&k->ix, ix_axis(&k->ix, kernel_axis), ix_const(&k->ix, steps));
  bool moves = false;
  tstmt *st = arena_new(b->l->a, tstmt);
  *st = (tstmt){.kind = TILE_PREFETCH, .buf = access->buf, .nix = access->nix, .level = level};
  st->ix = arena_array(b->l->a, ix, access->nix);
  st->indirect = arena_array(b->l->a, int8_t, access->nix);
  for (int d = 0; d < access->nix; d++) {
    st->ix[d] = ix_substitute(&k->ix, &k->ix, access->ix[d], moved, k->axes.len);
    st->indirect[d] = -1;
    moves |= st->ix[d] != access->ix[d];
  }
  return moves ? st : NULL;
}

void kb_prefetch_next(kbuild *b, const tregion *loads, int kernel_axis, int64_t steps, int level,
                      int64_t larger_than) {
  int count = loads->stmts.len;
  for (int i = 0; i < count; i++) {
    const tstmt *load = loads->stmts.data[i];
    if (load->kind != TILE_LOAD || load->guard || load->nin || load->buf >= b->k->nargs) continue;
    if (kb_buffer_bytes(b, b->arg_buffers.data[load->buf]) <= larger_than) continue;
    tstmt *st = moved_prefetch(b, load, kernel_axis, steps, level);
    if (st) kb_append(b, b->scope, st);
  }
}

void kb_prefetch_stores(kbuild *b, const tregion *stores, int kernel_axis, int64_t steps, int level,
                        int64_t larger_than) {
  int count = stores->stmts.len;
  for (int i = 0; i < count; i++) {
    const tstmt *store = stores->stmts.data[i];
    if (store->kind != TILE_STORE || store->nontemporal || store->nin != 1) continue;
    if (store->buf >= b->k->nargs) continue;
    if (kb_buffer_bytes(b, b->arg_buffers.data[store->buf]) <= larger_than) continue;
    tstmt *st = moved_prefetch(b, store, kernel_axis, steps, level);
    if (!st) continue;
    st->write = true;
    kb_append(b, b->scope, st);
  }
}
