// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a kernel one grid tile after the other, each statement over all lanes of its tiles.
//
// The semantics are those stated in ir/tile.h, held strictly. Each lane and each element carries a
// poison mark beside its value: lanes beyond the size of an axis, locals not yet stored and
// temporaries not yet written are poisoned, map ops pass poison on, and using it where it matters
// (a stored output, a condition, an index) is an internal error, as are accesses out of bounds and
// grid tiles that meddle with each other's elements. Here: values, walks and control.
#include "ir/tile_exec.h"

#include <math.h>

#include "base/fault.h"

bool exec_fail(machine *m, const tstmt *s, const char *format, ...) {
  va_list args;
  va_start(args, format);
  str text = str_vprintf(m->arena, format, args);
  va_end(args);
  *m->error = str_printf(m->arena, "internal error in kernel @%.*s: %.*s", STR_FMT(m->k->name),
                         STR_FMT(text));
  *m->at = s->at;
  return false;
}

scalar tile_poison(dtype t) {
  if (dtype_is_float(t)) return (scalar){.f = NAN};
  return (scalar){.i = t == DT_bool ? 1 : 85};
}

bool tile_memory_count(tile_memory *m) {
  enum { MOST_BITS = 40 };
  m->count = 1;
  for (int d = 0; d < m->rank; d++) {
    if (m->dims[d] <= 0) return m->count = 0, true;
    if (__builtin_mul_overflow(m->count, m->dims[d], &m->count)) m->count = INT64_MAX;
    if (m->count >> MOST_BITS) m->count = INT64_MAX / 2;  // a later 0 may still empty it
  }
  return m->count >> MOST_BITS == 0;
}

// ---- sizes and coordinates

static int64_t symbol_value(void *ctx, str name) {
  const machine *m = ctx;
  for (int i = 0; i < m->call->nsymbols; i++)
    if (str_eq(m->call->symbols[i].name, name)) return m->call->symbols[i].value;
  panic("size symbol %.*s has no value", STR_FMT(name));
}

static int64_t axis_value(void *ctx, int axis) { return ((const machine *)ctx)->coordinate[axis]; }

int64_t exec_size(machine *m, ix e) { return ix_eval(&m->k->ix, e, symbol_value, NULL, m); }

int64_t exec_coordinate(machine *m, ix e) {
  int axis;
  if (ix_is_axis(&m->k->ix, e, &axis)) return m->coordinate[axis];
  return ix_eval(&m->k->ix, e, symbol_value, axis_value, m);
}

static int64_t axis_base(void *ctx, int axis) { return ((const machine *)ctx)->axes[axis].base; }

int64_t exec_at_bases(machine *m, ix e) {
  return ix_eval(&m->k->ix, e, symbol_value, axis_base, m);
}

// ---- walking lanes

/// How many lanes are valid of a tile's axis with this extent.
static int live_lanes(const machine *m, int axis, int extent) {
  const axis_state *s = &m->axes[axis];
  if (s->extent != extent) return extent;
  int64_t left = s->size - s->base;
  return left < 0 ? 0 : left < extent ? (int)left : extent;
}

void twalk_axis(const machine *m, tile_walk *w, int axis, int extent) {
  w->axes[w->naxes] = axis;
  w->extents[w->naxes] = extent;
  w->at[w->naxes] = 0;
  w->live[w->naxes] = live_lanes(m, axis, extent);
  w->beyond += w->live[w->naxes] == 0;
  w->naxes++;
}

void twalk_over(const machine *m, tile_walk *w, const tval *v) {
  w->naxes = w->noperands = w->beyond = 0;
  for (int i = 0; i < v->naxes; i++) twalk_axis(m, w, v->axes[i], v->extents[i]);
}

int twalk_operand(tile_walk *w, const tval *v) {
  int *stride = w->stride[w->noperands];
  for (int i = 0; i < w->naxes; i++) stride[i] = 0;
  int step = 1;
  for (int i = v->naxes - 1; i >= 0; i--) {
    for (int j = 0; j < w->naxes; j++)
      if (w->axes[j] == v->axes[i]) stride[j] = step;
    step *= v->extents[i];
  }
  w->offset[w->noperands] = 0;
  return w->noperands++;
}

bool twalk_next(tile_walk *w) {
  for (int i = w->naxes - 1; i >= 0; i--) {
    w->beyond -= w->at[i] >= w->live[i];
    if (++w->at[i] < w->extents[i]) {
      w->beyond += w->at[i] >= w->live[i];
      for (int o = 0; o < w->noperands; o++) w->offset[o] += w->stride[o][i];
      return true;
    }
    for (int o = 0; o < w->noperands; o++) w->offset[o] -= w->stride[o][i] * (w->extents[i] - 1);
    w->at[i] = 0;
    w->beyond += w->live[i] == 0;
  }
  return false;
}

bool twalk_valid(const tile_walk *w) { return w->beyond == 0; }

lanes *exec_lanes(machine *m, const tval *v) {
  lanes *l = &m->values[v->id];
  if (l->data) return l;
  l->n = 1;
  for (int i = 0; i < v->naxes; i++) l->n *= v->extents[i];
  l->data = arena_array(m->arena, scalar, l->n);
  l->poison = arena_array(m->arena, uint8_t, l->n);
  return l;
}

void exec_copy(machine *m, const tval *to, const tval *from) {
  lanes *a = exec_lanes(m, to), *b = exec_lanes(m, from);
  check(a->n == b->n);
  memcpy(a->data, b->data, sizeof(scalar) * (size_t)a->n);
  memcpy(a->poison, b->poison, (size_t)a->n);
}

void exec_poison_lane(lanes *l, int i, dtype t) {
  l->data[i] = tile_poison(t);
  l->poison[i] = 1;
}

void exec_poison_invalid(machine *m, const tval *v) {
  bool any = false;
  for (int i = 0; i < v->naxes; i++)
    any |= live_lanes(m, v->axes[i], v->extents[i]) < v->extents[i];
  if (!any) return;
  lanes *l = exec_lanes(m, v);
  tile_walk w;
  int i = 0;
  twalk_over(m, &w, v);
  do {
    if (!twalk_valid(&w)) exec_poison_lane(l, i, v->type);
    i++;
  } while (twalk_next(&w));
}

// ---- control

static bool run_region(machine *m, const tregion *r);

static void copy_yields(machine *m, const tregion *r, const tstmt *s) {
  int n;
  tval *const *yields = tregion_yields(r, &n);
  for (int i = 0; i < n; i++) exec_copy(m, s->out[i], yields[i]);
}

static int64_t steps_to(int64_t length, int extent) {
  return length > 0 ? (length - 1) / extent + 1 : 0;
}

static int64_t within_at(machine *m, const tstmt *s, int end) {
  return exec_lanes(m, s->in[s->nout + end])->data[0].i;
}

/// Of a loop with bounds, the first step and the one after the last, of `steps`.
static int64_t bounded_steps(machine *m, const tstmt *s, int64_t *steps) {
  int64_t first = s->from ? steps_to(exec_at_bases(m, s->from), s->extent) : 0;
  int64_t end = s->below ? steps_to(exec_at_bases(m, s->below), s->extent) : *steps;
  if (s->within) {
    int64_t low = within_at(m, s, 0), high = steps_to(within_at(m, s, 1), s->extent);
    if (low / s->extent > first) first = low / s->extent;
    if (high < end) end = high;
  }
  if (end > *steps) end = *steps;
  *steps = end > first ? end - first : 0;
  return first;
}

/// Between steps what is carried waits in the results, which the body cannot see: params may be
/// yielded in any order.
static bool run_loop(machine *m, const tstmt *s) {
  axis_state *a = &m->axes[s->axis], outer = *a;
  int64_t start = outer.extent ? outer.base : 0, end = a->size;
  if (outer.extent && outer.base + outer.extent < end) end = outer.base + outer.extent;
  int64_t steps = steps_to(end - start, s->extent);
  for (int i = s->nout; i < s->nin; i++)
    if (exec_lanes(m, s->in[i])->poison[0]) return exec_fail(m, s, "walks within an unspecified value");
  start += bounded_steps(m, s, &steps) * s->extent;
  for (int i = 0; i < s->nout; i++) exec_copy(m, s->out[i], s->in[i]);
  for (int64_t n = 0; n < steps; n++) {
    int64_t at = s->reverse ? steps - 1 - n : n;
    *a = (axis_state){.size = a->size,
                      .base = start + at * s->extent,
                      .extent = s->extent,
                      .first = n == 0,
                      .last = n == steps - 1};
    for (int i = 0; i < s->body->nparams; i++) exec_copy(m, s->body->params[i], s->out[i]);
    if (!run_region(m, s->body)) return false;
    copy_yields(m, s->body, s);
  }
  *a = outer;
  return true;
}

int64_t exec_group(const machine *m, int32_t tile) {
  int64_t number = tile - 1;
  return number / (m->apart * m->along) * m->apart + number % m->apart;
}

/// Of the tiles along the axis, those before have come already: this may be the last.
static bool run_finish(machine *m, const tstmt *s) {
  int32_t *arrived = &m->arrived[exec_group(m, m->tile)];
  if (++*arrived < m->along) return true;
  *arrived = 0;
  axis_state *a = &m->axes[s->axis], outer = *a;
  a->extent = 0;
  a->base = 0;
  m->finishing = true;
  bool fine = run_region(m, s->body);
  m->finishing = false;
  *a = outer;
  return fine;
}

static bool run_condition(machine *m, const tstmt *s, bool *taken) {
  if (s->cond == COND_FIRST || s->cond == COND_LAST) {
    const axis_state *a = &m->axes[s->axis];
    *taken = s->cond == COND_FIRST ? a->first : a->last;
    return true;
  }
  const lanes *in = exec_lanes(m, s->in[0]);
  bool any = false, all = true;
  tile_walk w;
  twalk_over(m, &w, s->in[0]);
  int lane = -1;
  do {
    lane++;
    if (!twalk_valid(&w)) continue;
    if (in->poison[lane]) return exec_fail(m, s, "branches on an unspecified value");
    any |= in->data[lane].i != 0;
    all &= in->data[lane].i != 0;
  } while (twalk_next(&w));
  *taken = s->cond == COND_ANY ? any : all;
  return true;
}

static bool run_if(machine *m, const tstmt *s) {
  bool taken;
  if (s->cond == COND_FINISHED) return run_finish(m, s);
  if (!run_condition(m, s, &taken)) return false;
  const tregion *r = taken ? s->body : s->other;
  if (!r) return true;
  if (!run_region(m, r)) return false;
  copy_yields(m, r, s);
  return true;
}

static bool run_stmt(machine *m, const tstmt *s) {
  switch (s->kind) {
    case TILE_MAP:
      return exec_map(m, s), true;
    case TILE_CONST:
      return exec_fill(m, s->out[0], s->value), true;
    case TILE_SIZE:
      return exec_size_value(m, s), true;
    case TILE_INDEX:
      return exec_index(m, s), true;
    case TILE_LOAD:
      return exec_load(m, s);
    case TILE_STORE:
      return exec_store(m, s);
    case TILE_ACCUM:
      return exec_accum(m, s), true;
    case TILE_REDUCE:
      return exec_reduce(m, s), true;
    case TILE_ARG:
      return exec_arg(m, s), true;
    case TILE_ARG_REDUCE:
      return exec_arg_reduce(m, s), true;
    case TILE_DOT:
      return exec_dot(m, s), true;
    case TILE_LOOP:
      return run_loop(m, s);
    case TILE_IF:
      return run_if(m, s);
    case TILE_LOCAL:
      return exec_local(m, s), true;
    case TILE_CHECK:
      return exec_check(m, s);
    case TILE_YIELD:
    case TILE_PREFETCH:
      return true;
  }
  panic("unknown tile statement %d", (int)s->kind);
}

static bool run_region(machine *m, const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++)
    if (!run_stmt(m, r->stmts.data[i])) return false;
  return true;
}

/// `number`: of the tile along the axes before.
static bool run_grid(machine *m, int level, int64_t number) {
  if (level == m->k->grid.len) {
    m->tile = (int32_t)number + 1;
    return run_region(m, &m->k->body);
  }
  grid_axis g = m->k->grid.data[level];
  axis_state *a = &m->axes[g.axis];
  int64_t tiles = steps_to(a->size, g.extent);
  for (int64_t i = 0; i < tiles; i++) {
    int64_t at = m->call->backwards ? tiles - 1 - i : i;
    *a = (axis_state){.size = a->size,
                      .base = at * g.extent,
                      .extent = g.extent,
                      .first = at == 0,
                      .last = at == tiles - 1};
    if (!run_grid(m, level + 1, number * tiles + at)) return false;
  }
  a->extent = 0;
  return true;
}

/// Which tiles finish together.
static void open_finish(machine *m) {
  const tstmt *s = kernel_finish(m->k);
  int64_t groups = 1;
  for (int i = 0; s && i < m->k->grid.len; i++) {
    grid_axis g = m->k->grid.data[i];
    int64_t tiles = steps_to(m->axes[g.axis].size, g.extent);
    m->apart *= tiles;
    if (g.axis == s->axis) m->along = tiles, m->apart = 1;
    else groups *= tiles;
  }
  m->arrived = arena_array(m->arena, int32_t, groups + 1);
}

bool kernel_execute(const tile_call *call, str *error, span *at) {
  const kernel *k = call->k;
  machine m = {.call = call, .k = k, .arena = call->arena, .error = error, .at = at};
  m.axes = arena_array(m.arena, axis_state, k->axes.len);
  m.coordinate = arena_array(m.arena, int64_t, k->axes.len);
  m.values = arena_array(m.arena, lanes, k->nvals);
  m.locals = arena_array(m.arena, tile_memory, k->bufs.len);
  for (int i = 0; i < k->axes.len; i++) m.axes[i].size = exec_size(&m, k->axes.data[i].size);
  open_finish(&m);
  return run_grid(&m, 0, 0);
}
