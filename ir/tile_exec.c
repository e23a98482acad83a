// Runs a kernel one grid tile after the other, each statement over all lanes of its tiles.
//
// The semantics are those stated in ir/tile.h, held strictly. Each lane and each element carries a
// poison mark beside its value: lanes beyond the size of an axis, locals not yet stored and
// temporaries not yet written are poisoned, map ops pass poison on, and using it where it matters
// (a stored output, a condition, an index) is an internal error, as are accesses out of bounds and
// grid tiles that meddle with each other's elements.
#include "ir/tile_exec.h"

#include <math.h>

#include "base/fault.h"

typedef struct lanes {
  int n;
  scalar *data;
  uint8_t *poison;
} lanes;

/// The current range of an axis; extent 0: closed.
typedef struct axis_state {
  int64_t size, base;
  int extent;
  bool first, last;
} axis_state;

typedef struct machine {
  const tile_call *call;
  const kernel *k;
  arena *arena;
  axis_state *axes;
  int64_t *coordinate;  // by axis, of the lane being addressed
  lanes *values;        // by value id
  tile_memory *locals;  // by buffer
  int32_t tile;         // number of the grid tile, + 1
  str *error;
  span *at;
} machine;

static bool fail(machine *m, const tstmt *s, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static bool fail(machine *m, const tstmt *s, const char *format, ...) {
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

// ---- sizes and coordinates

static int64_t symbol_value(void *ctx, str name) {
  const machine *m = ctx;
  for (int i = 0; i < m->call->nsymbols; i++)
    if (str_eq(m->call->symbols[i].name, name)) return m->call->symbols[i].value;
  panic("size symbol %.*s has no value", STR_FMT(name));
}

static int64_t axis_value(void *ctx, int axis) { return ((const machine *)ctx)->coordinate[axis]; }

static int64_t size_of(machine *m, ix e) { return ix_eval(&m->k->ix, e, symbol_value, NULL, m); }

static int64_t coordinate_of(machine *m, ix e) {
  int axis;
  if (ix_is_axis(&m->k->ix, e, &axis)) return m->coordinate[axis];
  return ix_eval(&m->k->ix, e, symbol_value, axis_value, m);
}

// ---- walking lanes

enum { MOST_OPERANDS = MAX_AXES + 4 };

/// An odometer over a shape, with the lane offset of each operand.
typedef struct walk {
  int naxes, noperands;
  int axes[2 * MAX_AXES], extents[2 * MAX_AXES], at[2 * MAX_AXES];
  int live[2 * MAX_AXES];  // valid lanes along the axis
  int beyond;              // along how many axes this lane is not valid
  int offset[MOST_OPERANDS];
  int stride[MOST_OPERANDS][2 * MAX_AXES];
} walk;

/// How many lanes are valid of a tile's axis with this extent.
static int live_lanes(const machine *m, int axis, int extent) {
  const axis_state *s = &m->axes[axis];
  if (s->extent != extent) return extent;
  int64_t left = s->size - s->base;
  return left < 0 ? 0 : left < extent ? (int)left : extent;
}

static void walk_axis(const machine *m, walk *w, int axis, int extent) {
  w->axes[w->naxes] = axis;
  w->extents[w->naxes] = extent;
  w->at[w->naxes] = 0;
  w->live[w->naxes] = live_lanes(m, axis, extent);
  w->beyond += w->live[w->naxes] == 0;
  w->naxes++;
}

/// Starts at lane 0 of the shape of v.
static void walk_over(const machine *m, walk *w, const tval *v) {
  w->naxes = w->noperands = w->beyond = 0;
  for (int i = 0; i < v->naxes; i++) walk_axis(m, w, v->axes[i], v->extents[i]);
}

/// Follows another tile, broadcast over what it lacks; gives its number in offset[].
static int walk_operand(walk *w, const tval *v) {
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

static bool walk_next(walk *w) {
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

static bool walk_valid(const walk *w) { return w->beyond == 0; }

/// Sets the coordinates of the axes walked, for index expressions.
static void walk_locate(machine *m, const walk *w) {
  for (int i = 0; i < w->naxes; i++)
    m->coordinate[w->axes[i]] = m->axes[w->axes[i]].base + w->at[i];
}

static lanes *lanes_of(machine *m, const tval *v) {
  lanes *l = &m->values[v->id];
  if (l->data) return l;
  l->n = 1;
  for (int i = 0; i < v->naxes; i++) l->n *= v->extents[i];
  l->data = arena_array(m->arena, scalar, l->n);
  l->poison = arena_array(m->arena, uint8_t, l->n);
  return l;
}

static void copy_lanes(machine *m, const tval *to, const tval *from) {
  lanes *a = lanes_of(m, to), *b = lanes_of(m, from);
  check(a->n == b->n);
  memcpy(a->data, b->data, sizeof(scalar) * (size_t)a->n);
  memcpy(a->poison, b->poison, (size_t)a->n);
}

static void poison_lane(lanes *l, int i, dtype t) {
  l->data[i] = tile_poison(t);
  l->poison[i] = 1;
}

/// Invalid lanes hold unspecified values: makes sure that they do.
static void poison_invalid(machine *m, const tval *v) {
  bool any = false;
  for (int i = 0; i < v->naxes; i++)
    any |= live_lanes(m, v->axes[i], v->extents[i]) < v->extents[i];
  if (!any) return;
  lanes *l = lanes_of(m, v);
  walk w;
  int i = 0;
  walk_over(m, &w, v);
  do {
    if (!walk_valid(&w)) poison_lane(l, i, v->type);
    i++;
  } while (walk_next(&w));
}

// ---- map ops

/// The type a value is computed in: f32 is carried in double by the high-precision oracle.
static dtype computed(const machine *m, dtype t) {
  return t == DT_f32 && !m->call->round_each ? DT_f64 : t;
}

static scalar compute(const machine *m, op o, dtype operand, dtype result, const scalar *in) {
  if (o == OP_bitcast) {
    scalar exact = scalar_cast(*in, operand, operand);
    return op_eval(o, operand, result, &exact);
  }
  return op_eval(o, computed(m, operand), computed(m, result), in);
}

/// Poison passes through, but not where an op does not look: the branch not chosen, and the other
/// side of a decided "and" or "or".
static uint8_t map_poison(op o, dtype t, const scalar *in, const uint8_t *poison, int n) {
  if (o == OP_where) return poison[0] | (in[0].i ? poison[1] : poison[2]);
  bool decides = t == DT_bool && (o == OP_and || o == OP_or);
  for (int i = 0; decides && i < 2; i++)
    if (!poison[i] && !in[i].i == (o == OP_and)) return 0;
  uint8_t any = 0;
  for (int i = 0; i < n; i++) any |= poison[i];
  return any;
}

static void run_map(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  dtype operand = s->in[s->op == OP_where ? 1 : 0]->type;
  lanes *o = lanes_of(m, out), *in[3];
  walk w;
  walk_over(m, &w, out);
  for (int i = 0; i < s->nin; i++) {
    in[i] = lanes_of(m, s->in[i]);
    walk_operand(&w, s->in[i]);
  }
  int lane = 0;
  do {
    scalar v[3];
    uint8_t poison[3];
    for (int i = 0; i < s->nin; i++) {
      v[i] = in[i]->data[w.offset[i]];
      poison[i] = in[i]->poison[w.offset[i]];
    }
    uint8_t marked = !walk_valid(&w) || map_poison(s->op, operand, v, poison, s->nin);
    o->poison[lane] = marked;
    o->data[lane] = marked ? tile_poison(out->type) : compute(m, s->op, operand, out->type, v);
    lane++;
  } while (walk_next(&w));
}

static void run_fill(machine *m, const tval *out, scalar v) {
  lanes *o = lanes_of(m, out);
  for (int i = 0; i < o->n; i++) {
    o->data[i] = v;
    o->poison[i] = 0;
  }
  poison_invalid(m, out);
}

static void run_index(machine *m, const tstmt *s) {
  lanes *o = lanes_of(m, s->out[0]);
  for (int i = 0; i < o->n; i++) {
    o->data[i].i = m->axes[s->axis].base + i;
    o->poison[i] = 0;
  }
  poison_invalid(m, s->out[0]);
}

// ---- combining

static scalar combine_identity(op o, dtype t) {
  switch (o) {
    case OP_add: return op_identity(OP_sum, t);
    case OP_mul: return op_identity(OP_prod, t);
    case OP_min: return op_identity(OP_reduce_min, t);
    case OP_max: return op_identity(OP_reduce_max, t);
    case OP_and: return scalar_cast((scalar){.i = t == DT_bool ? 1 : -1}, DT_i64, t);
    default: return (scalar){.i = 0};  // or
  }
}

static void run_accum(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = lanes_of(m, out), *acc = lanes_of(m, s->in[0]), *in[2];
  walk w;
  walk_over(m, &w, out);
  int at = walk_operand(&w, s->in[0]);
  for (int i = 1; i < s->nin; i++) {
    in[i - 1] = lanes_of(m, s->in[i]);
    walk_operand(&w, s->in[i]);
  }
  int lane = 0;
  do {
    scalar old = acc->data[w.offset[at]];
    uint8_t poison = acc->poison[w.offset[at]];
    o->data[lane] = old;
    o->poison[lane] = poison;
    if (walk_valid(&w)) {
      scalar a = in[0]->data[w.offset[1]];
      poison |= in[0]->poison[w.offset[1]];
      if (s->op == OP_fma) {
        poison |= in[1]->poison[w.offset[2]];
        o->data[lane] = compute(m, OP_fma, out->type, out->type,
                                (scalar[]){a, in[1]->data[w.offset[2]], old});
      } else {
        o->data[lane] = compute(m, s->op, out->type, out->type, (scalar[]){old, a});
      }
      o->poison[lane] = poison;
    }
    lane++;
  } while (walk_next(&w));
}

static void run_reduce(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = lanes_of(m, out), *in = lanes_of(m, s->in[0]);
  run_fill(m, out, combine_identity(s->op, out->type));
  walk w;
  walk_over(m, &w, s->in[0]);
  walk_operand(&w, out);
  int lane = 0;
  do {
    if (walk_valid(&w)) {
      int to = w.offset[0];
      o->data[to] =
          compute(m, s->op, out->type, out->type, (scalar[]){o->data[to], in->data[lane]});
      o->poison[to] |= in->poison[lane];
    }
    lane++;
  } while (walk_next(&w));
}

/// NaN is best of all; of equals the smaller index.
static bool is_better(op o, dtype t, scalar v, scalar i, scalar best, scalar besti) {
  if (dtype_is_float(t)) {
    if (isnan(v.f) || isnan(best.f))
      return isnan(v.f) && (!isnan(best.f) || i.i < besti.i);
    if (v.f != best.f) return o == OP_max ? v.f > best.f : v.f < best.f;
  } else if (v.i != best.i) {
    return o == OP_max ? v.i > best.i : v.i < best.i;
  }
  return i.i < besti.i;
}

typedef struct best_pair {
  lanes *v, *i;
} best_pair;

static void take_better(op o, dtype t, best_pair best, int to, best_pair from, int v, int i) {
  bool better = is_better(o, t, from.v->data[v], from.i->data[i], best.v->data[to],
                          best.i->data[to]);
  uint8_t poison = best.v->poison[to] | best.i->poison[to] | from.v->poison[v] |
                   from.i->poison[i];
  if (better) {
    best.v->data[to] = from.v->data[v];
    best.i->data[to] = from.i->data[i];
  }
  best.v->poison[to] = best.i->poison[to] = poison;
}

static void run_arg(machine *m, const tstmt *s) {
  best_pair out = {lanes_of(m, s->out[0]), lanes_of(m, s->out[1])};
  best_pair best = {lanes_of(m, s->in[0]), lanes_of(m, s->in[1])};
  best_pair from = {lanes_of(m, s->in[2]), lanes_of(m, s->in[3])};
  walk w;
  walk_over(m, &w, s->out[0]);
  for (int i = 0; i < 4; i++) walk_operand(&w, s->in[i]);
  int lane = 0;
  do {
    out.v->data[lane] = best.v->data[w.offset[0]];
    out.v->poison[lane] = best.v->poison[w.offset[0]];
    out.i->data[lane] = best.i->data[w.offset[1]];
    out.i->poison[lane] = best.i->poison[w.offset[1]];
    if (walk_valid(&w))
      take_better(s->op, s->in[0]->type, out, lane, from, w.offset[2], w.offset[3]);
    lane++;
  } while (walk_next(&w));
}

static void run_arg_reduce(machine *m, const tstmt *s) {
  best_pair out = {lanes_of(m, s->out[0]), lanes_of(m, s->out[1])};
  best_pair from = {lanes_of(m, s->in[0]), lanes_of(m, s->in[1])};
  enum { EMPTY = 2 };
  for (int i = 0; i < out.v->n; i++) {
    poison_lane(out.v, i, s->out[0]->type);
    poison_lane(out.i, i, s->out[1]->type);
    out.v->poison[i] = EMPTY;
  }
  walk w;
  walk_over(m, &w, s->in[0]);
  walk_operand(&w, s->out[0]);
  walk_operand(&w, s->in[1]);
  int lane = 0;
  do {
    int to = w.offset[0], i = w.offset[1];
    if (walk_valid(&w) && out.v->poison[to] == EMPTY) {
      out.v->data[to] = from.v->data[lane];
      out.i->data[to] = from.i->data[i];
      out.v->poison[to] = out.i->poison[to] = from.v->poison[lane] | from.i->poison[i];
    } else if (walk_valid(&w)) {
      take_better(s->op, s->in[0]->type, out, to, from, lane, i);
    }
    lane++;
  } while (walk_next(&w));
  for (int i = 0; i < out.v->n; i++) out.v->poison[i] = out.v->poison[i] != 0;
}

static scalar multiply_add(machine *m, dtype t, scalar a, scalar b, scalar acc) {
  if (dtype_is_float(t)) return compute(m, OP_fma, t, t, (scalar[]){a, b, acc});
  scalar product = compute(m, OP_mul, t, t, (scalar[]){a, b});
  return compute(m, OP_add, t, t, (scalar[]){product, acc});
}

static void run_dot(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = lanes_of(m, out), *a = lanes_of(m, s->in[0]), *b = lanes_of(m, s->in[1]);
  walk w;
  walk_over(m, &w, out);
  for (int i = 0; i < s->naxes; i++) {
    int extent = tval_extent(s->in[0], s->axes[i]);
    walk_axis(m, &w, s->axes[i], extent ? extent : tval_extent(s->in[1], s->axes[i]));
  }
  walk_operand(&w, out);
  walk_operand(&w, s->in[0]);
  walk_operand(&w, s->in[1]);
  copy_lanes(m, out, s->in[2]);
  do {
    if (!walk_valid(&w)) continue;
    int to = w.offset[0], x = w.offset[1], y = w.offset[2];
    o->data[to] = multiply_add(m, out->type, a->data[x], b->data[y], o->data[to]);
    o->poison[to] |= a->poison[x] | b->poison[y];
  } while (walk_next(&w));
  poison_invalid(m, out);
}

// ---- memory

static tile_memory *memory_of(machine *m, int buf) {
  return buf < m->k->nargs ? m->call->args[buf] : &m->locals[buf];
}

typedef struct access {
  tile_memory *mem;
  const lanes *indirect[MAX_AXES];  // per dimension, or null
  int operand[MAX_AXES];            // its number in the walk
} access;

static access access_of(machine *m, const tstmt *s, walk *w) {
  access a = {.mem = memory_of(m, s->buf)};
  for (int d = 0; d < s->nix; d++) {
    if (s->indirect[d] < 0) continue;
    const tval *v = s->in[s->indirect[d]];
    a.indirect[d] = lanes_of(m, v);
    a.operand[d] = walk_operand(w, v);
  }
  return a;
}

/// The element's number for the walk's lane; -1: outside, or an error (then *fine is false).
static int64_t locate(machine *m, const tstmt *s, const access *a, const walk *w, bool *fine) {
  const tile_memory *mem = a->mem;
  int64_t element = 0;
  walk_locate(m, w);
  for (int d = 0; d < mem->rank; d++) {
    int64_t c = coordinate_of(m, s->ix[d]);
    if (a->indirect[d]) {
      int lane = w->offset[a->operand[d]];
      if (a->indirect[d]->poison[lane])
        return *fine = fail(m, s, "an index of %.*s is unspecified", STR_FMT(mem->name)), -1;
      c += a->indirect[d]->data[lane].i;
    }
    int64_t at = c - mem->origin[d];
    if (at < 0 || at >= mem->dims[d]) {
      if (!s->guard)
        *fine = fail(m, s, "coordinate %lld of %.*s, dimension %d, is outside [%lld, %lld)",
                     (long long)c, STR_FMT(mem->name), d, (long long)mem->origin[d],
                     (long long)(mem->origin[d] + mem->dims[d]));
      return -1;
    }
    element = element * mem->dims[d] + at;
  }
  return element;
}

static bool run_load(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = lanes_of(m, out);
  walk w;
  walk_over(m, &w, out);
  access a = access_of(m, s, &w);
  const lanes *fill = s->guard ? lanes_of(m, s->in[s->nin - 1]) : NULL;
  int fill_at = s->guard ? walk_operand(&w, s->in[s->nin - 1]) : 0;
  bool fine = true;
  int lane = -1;
  do {
    lane++;
    poison_lane(o, lane, out->type);
    if (!walk_valid(&w)) continue;
    int64_t element = locate(m, s, &a, &w, &fine);
    if (!fine) return false;
    if (element < 0) {
      o->data[lane] = fill->data[w.offset[fill_at]];
      o->poison[lane] = fill->poison[w.offset[fill_at]];
      continue;
    }
    const int32_t *writer = a.mem->writer;
    if (writer && writer[element] && writer[element] != m->tile)
      return fail(m, s, "loads what another grid tile stores in %.*s", STR_FMT(a.mem->name));
    o->data[lane] = a.mem->data[element];
    o->poison[lane] = a.mem->poison[element];
  } while (walk_next(&w));
  return true;
}

/// The axes of the stored lanes: those of the value, then the others that the index uses, over
/// which it is broadcast.
typedef struct store_walk {
  machine *m;
  walk *w;
} store_walk;

static void add_store_axis(void *ctx, int axis) {
  store_walk *sw = ctx;
  for (int i = 0; i < sw->w->naxes; i++)
    if (sw->w->axes[i] == axis) return;
  walk_axis(sw->m, sw->w, axis, sw->m->axes[axis].extent);
}

static bool run_store(machine *m, const tstmt *s) {
  const lanes *value = lanes_of(m, s->in[0]);
  walk w;
  walk_over(m, &w, s->in[0]);
  for (int d = 0; d < s->nix; d++) {
    ix_axes(&m->k->ix, s->ix[d], add_store_axis, &(store_walk){m, &w});
    if (s->indirect[d] < 0) continue;
    const tval *v = s->in[s->indirect[d]];
    for (int i = 0; i < v->naxes; i++) add_store_axis(&(store_walk){m, &w}, v->axes[i]);
  }
  walk_operand(&w, s->in[0]);
  access a = access_of(m, s, &w);
  tile_memory *mem = a.mem;
  bool fine = true;
  do {
    if (!walk_valid(&w)) continue;
    int64_t element = locate(m, s, &a, &w, &fine);
    if (!fine) return false;
    if (mem->writer && mem->writer[element] && mem->writer[element] != m->tile)
      return fail(m, s, "two grid tiles store the same element of %.*s", STR_FMT(mem->name));
    if (mem->writer) mem->writer[element] = m->tile;
    mem->data[element] = value->data[w.offset[0]];
    mem->poison[element] = value->poison[w.offset[0]];
    if (mem->kept && mem->poison[element])
      return fail(m, s, "stores an unspecified value in %.*s", STR_FMT(mem->name));
  } while (walk_next(&w));
  return true;
}

static void run_local(machine *m, const tstmt *s) {
  const tile_buf *b = &m->k->bufs.data[s->buf];
  tile_memory *mem = &m->locals[s->buf];
  if (!mem->data) {
    *mem = (tile_memory){.name = b->name, .type = b->type, .rank = b->rank, .count = 1};
    for (int d = 0; d < b->rank; d++) {
      mem->dims[d] = size_of(m, b->dims[d]);
      mem->count *= mem->dims[d];
    }
    mem->data = arena_array(m->arena, scalar, mem->count);
    mem->poison = arena_array(m->arena, uint8_t, mem->count);
  }
  for (int d = 0; d < b->rank; d++) {
    const axis_state *along = &m->axes[b->local_axes[d]];
    mem->origin[d] = along->extent ? along->base : 0;
  }
  for (int64_t i = 0; i < mem->count; i++) mem->data[i] = tile_poison(b->type);
  memset(mem->poison, 1, (size_t)mem->count);
}

static bool run_check(machine *m, const tstmt *s) {
  const lanes *in = lanes_of(m, s->in[0]);
  int64_t size = size_of(m, s->ix[0]);
  walk w;
  walk_over(m, &w, s->in[0]);
  int lane = -1;
  do {
    lane++;
    if (!walk_valid(&w)) continue;
    if (in->poison[lane]) return fail(m, s, "checks an unspecified index");
    int64_t index = in->data[lane].i;
    if (index >= 0 && index < size) continue;
    *m->error = str_printf(m->arena, "index %lld is out of range: the axis has size %lld",
                           (long long)index, (long long)size);
    *m->at = m->call->sites ? m->call->sites[s->site] : s->at;
    return false;
  } while (walk_next(&w));
  return true;
}

// ---- control

static bool run_region(machine *m, const tregion *r);

static void copy_yields(machine *m, const tregion *r, const tstmt *s) {
  int n;
  tval *const *yields = tregion_yields(r, &n);
  for (int i = 0; i < n; i++) copy_lanes(m, s->out[i], yields[i]);
}

/// Between steps what is carried waits in the results, which the body cannot see: params may be
/// yielded in any order.
static bool run_loop(machine *m, const tstmt *s) {
  axis_state *a = &m->axes[s->axis], outer = *a;
  int64_t start = outer.extent ? outer.base : 0, end = a->size;
  if (outer.extent && outer.base + outer.extent < end) end = outer.base + outer.extent;
  int64_t steps = end > start ? (end - start + s->extent - 1) / s->extent : 0;
  for (int i = 0; i < s->nin; i++) copy_lanes(m, s->out[i], s->in[i]);
  for (int64_t n = 0; n < steps; n++) {
    int64_t at = s->reverse ? steps - 1 - n : n;
    *a = (axis_state){.size = a->size, .base = start + at * s->extent, .extent = s->extent,
                      .first = n == 0, .last = n == steps - 1};
    for (int i = 0; i < s->body->nparams; i++) copy_lanes(m, s->body->params[i], s->out[i]);
    if (!run_region(m, s->body)) return false;
    copy_yields(m, s->body, s);
  }
  *a = outer;
  return true;
}

static bool run_condition(machine *m, const tstmt *s, bool *taken) {
  if (s->cond == COND_FIRST || s->cond == COND_LAST) {
    const axis_state *a = &m->axes[s->axis];
    *taken = s->cond == COND_FIRST ? a->first : a->last;
    return true;
  }
  const lanes *in = lanes_of(m, s->in[0]);
  bool any = false, all = true;
  walk w;
  walk_over(m, &w, s->in[0]);
  int lane = -1;
  do {
    lane++;
    if (!walk_valid(&w)) continue;
    if (in->poison[lane]) return fail(m, s, "branches on an unspecified value");
    any |= in->data[lane].i != 0;
    all &= in->data[lane].i != 0;
  } while (walk_next(&w));
  *taken = s->cond == COND_ANY ? any : all;
  return true;
}

static bool run_if(machine *m, const tstmt *s) {
  bool taken;
  if (!run_condition(m, s, &taken)) return false;
  const tregion *r = taken ? s->body : s->other;
  if (!r) return true;
  if (!run_region(m, r)) return false;
  copy_yields(m, r, s);
  return true;
}

static bool run_stmt(machine *m, const tstmt *s) {
  switch (s->kind) {
    case TILE_MAP: return run_map(m, s), true;
    case TILE_CONST: return run_fill(m, s->out[0], s->value), true;
    case TILE_SIZE: {
      scalar size = {.i = size_of(m, s->ix[0])};
      return run_fill(m, s->out[0], scalar_cast(size, DT_i64, computed(m, s->out[0]->type))), true;
    }
    case TILE_INDEX: return run_index(m, s), true;
    case TILE_LOAD: return run_load(m, s);
    case TILE_STORE: return run_store(m, s);
    case TILE_ACCUM: return run_accum(m, s), true;
    case TILE_REDUCE: return run_reduce(m, s), true;
    case TILE_ARG: return run_arg(m, s), true;
    case TILE_ARG_REDUCE: return run_arg_reduce(m, s), true;
    case TILE_DOT: return run_dot(m, s), true;
    case TILE_LOOP: return run_loop(m, s);
    case TILE_IF: return run_if(m, s);
    case TILE_LOCAL: return run_local(m, s), true;
    case TILE_CHECK: return run_check(m, s);
    case TILE_YIELD:
    case TILE_PREFETCH: return true;
  }
  panic("unknown tile statement %d", (int)s->kind);
}

static bool run_region(machine *m, const tregion *r) {
  for (int i = 0; i < r->stmts.len; i++)
    if (!run_stmt(m, r->stmts.data[i])) return false;
  return true;
}

static bool run_grid(machine *m, int level) {
  if (level == m->k->grid.len) {
    m->tile++;
    return run_region(m, &m->k->body);
  }
  grid_axis g = m->k->grid.data[level];
  axis_state *a = &m->axes[g.axis];
  for (int64_t base = 0; base < a->size; base += g.extent) {
    *a = (axis_state){.size = a->size, .base = base, .extent = g.extent, .first = base == 0,
                      .last = base + g.extent >= a->size};
    if (!run_grid(m, level + 1)) return false;
  }
  a->extent = 0;
  return true;
}

bool kernel_execute(const tile_call *call, str *error, span *at) {
  const kernel *k = call->k;
  machine m = {.call = call, .k = k, .arena = call->arena, .error = error, .at = at};
  m.axes = arena_array(m.arena, axis_state, k->axes.len);
  m.coordinate = arena_array(m.arena, int64_t, k->axes.len);
  m.values = arena_array(m.arena, lanes, k->nvals);
  m.locals = arena_array(m.arena, tile_memory, k->bufs.len);
  for (int i = 0; i < k->axes.len; i++) m.axes[i].size = size_of(&m, k->axes.data[i].size);
  return run_grid(&m, 0);
}
