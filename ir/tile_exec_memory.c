// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tile interpreter: loads, stores, on-chip buffers and checked indices. Every access of a
// valid lane is tested against the bounds of its buffer.
#include "base/fault.h"
#include "ir/tile_exec.h"

static tile_memory *memory_of(machine *m, int buf) {
  return buf < m->k->nargs ? m->call->args[buf] : &m->locals[buf];
}

/// Sets the coordinates of the axes walked, for index expressions.
static void walk_locate(machine *m, const tile_walk *w) {
  for (int i = 0; i < w->naxes; i++)
    m->coordinate[w->axes[i]] = m->axes[w->axes[i]].base + w->at[i];
}

typedef struct access {
  tile_memory *mem;
  const lanes *indirect[MAX_AXES];  // per dimension, or null
  int operand[MAX_AXES];            // its number in the walk
} access;

static access access_of(machine *m, const tstmt *s, tile_walk *w) {
  access a = {.mem = memory_of(m, s->buf)};
  for (int d = 0; d < s->nix; d++) {
    if (s->indirect[d] < 0) continue;
    const tval *v = s->in[s->indirect[d]];
    a.indirect[d] = exec_lanes(m, v);
    a.operand[d] = twalk_operand(w, v);
  }
  return a;
}

/// The element's number for the walk's lane; -1: outside, or an error (then *fine is false).
static int64_t locate(machine *m, const tstmt *s, const access *a, const tile_walk *w, bool *fine) {
  const tile_memory *mem = a->mem;
  int64_t element = 0;
  walk_locate(m, w);
  for (int d = 0; d < mem->rank; d++) {
    int64_t c = exec_coordinate(m, s->ix[d]);
    if (a->indirect[d]) {
      int lane = w->offset[a->operand[d]];
      if (a->indirect[d]->poison[lane])
        return *fine = exec_fail(m, s, "an index of %.*s is unspecified", STR_FMT(mem->name)), -1;
      if (__builtin_add_overflow(c, a->indirect[d]->data[lane].i, &c)) c = INT64_MAX;
    }
    bool inside = c >= mem->origin[d] && c - mem->origin[d] < mem->dims[d];
    if (!inside) {
      if (!s->guard)
        *fine = exec_fail(m, s, "coordinate %lld of %.*s, dimension %d, is outside [%lld, %lld)",
                          (long long)c, STR_FMT(mem->name), d, (long long)mem->origin[d],
                          (long long)(mem->origin[d] + mem->dims[d]));
      return -1;
    }
    element = element * mem->dims[d] + c - mem->origin[d];
  }
  return element;
}

bool exec_load(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = exec_lanes(m, out);
  tile_walk w;
  twalk_over(m, &w, out);
  access a = access_of(m, s, &w);
  const lanes *fill = s->guard ? exec_lanes(m, s->in[s->nin - 1]) : NULL;
  int fill_at = s->guard ? twalk_operand(&w, s->in[s->nin - 1]) : 0;
  bool fine = true;
  int lane = -1;
  do {
    lane++;
    exec_poison_lane(o, lane, out->type);
    if (!twalk_valid(&w)) continue;
    int64_t element = locate(m, s, &a, &w, &fine);
    if (!fine) return false;
    if (element < 0) {
      o->data[lane] = fill->data[w.offset[fill_at]];
      o->poison[lane] = fill->poison[w.offset[fill_at]];
      continue;
    }
    int32_t writer = a.mem->writer ? a.mem->writer[element] : 0;
    bool finished = m->finishing && writer && exec_group(m, writer) == exec_group(m, m->tile);
    if (writer && writer != m->tile && !finished)
      return exec_fail(m, s, "loads what another grid tile stores in %.*s", STR_FMT(a.mem->name));
    o->data[lane] = a.mem->data[element];
    o->poison[lane] = a.mem->poison[element];
  } while (twalk_next(&w));
  return true;
}

/// The axes of the stored lanes: those of the value, then the others that the index uses, over
/// which it is broadcast.
typedef struct store_walk {
  machine *m;
  tile_walk *w;
} store_walk;

static void add_store_axis(void *ctx, int axis) {
  store_walk *sw = ctx;
  for (int i = 0; i < sw->w->naxes; i++)
    if (sw->w->axes[i] == axis) return;
  twalk_axis(sw->m, sw->w, axis, sw->m->axes[axis].extent);
}

bool exec_store(machine *m, const tstmt *s) {
  const lanes *value = exec_lanes(m, s->in[0]);
  tile_walk w;
  twalk_over(m, &w, s->in[0]);
  for (int d = 0; d < s->nix; d++) {
    ix_axes(&m->k->ix, s->ix[d], add_store_axis, &(store_walk){m, &w});
    if (s->indirect[d] < 0) continue;
    const tval *v = s->in[s->indirect[d]];
    for (int i = 0; i < v->naxes; i++) add_store_axis(&(store_walk){m, &w}, v->axes[i]);
  }
  twalk_operand(&w, s->in[0]);
  access a = access_of(m, s, &w);
  tile_memory *mem = a.mem;
  bool fine = true;
  do {
    if (!twalk_valid(&w)) continue;
    int64_t element = locate(m, s, &a, &w, &fine);
    if (!fine) return false;
    if (s->adds) {
      mem->poison[element] |= value->poison[w.offset[0]];
      if (mem->poison[element])
        return exec_fail(m, s, "adds up what is not specified in %.*s", STR_FMT(mem->name));
      scalar terms[] = {mem->data[element], value->data[w.offset[0]]};
      mem->data[element] = op_eval(OP_add, mem->type, mem->type, terms);
      continue;
    }
    if (mem->writer && mem->writer[element] && mem->writer[element] != m->tile)
      return exec_fail(m, s, "two grid tiles store the same element of %.*s", STR_FMT(mem->name));
    if (mem->writer) mem->writer[element] = m->tile;
    mem->data[element] = value->data[w.offset[0]];
    mem->poison[element] = value->poison[w.offset[0]];
    if (mem->kept && mem->poison[element])
      return exec_fail(m, s, "stores an unspecified value in %.*s", STR_FMT(mem->name));
  } while (twalk_next(&w));
  return true;
}

void exec_local(machine *m, const tstmt *s) {
  const tile_buf *b = &m->k->bufs.data[s->buf];
  tile_memory *mem = &m->locals[s->buf];
  if (!mem->data) {
    *mem = (tile_memory){.name = b->name, .type = b->type, .rank = b->rank};
    for (int d = 0; d < b->rank; d++) mem->dims[d] = exec_size(m, b->dims[d]);
    if (!tile_memory_count(mem)) fault_raise(FAULT_NOMEM, "an on-chip buffer is too large");
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

bool exec_check(machine *m, const tstmt *s) {
  const lanes *in = exec_lanes(m, s->in[0]);
  int64_t size = exec_size(m, s->ix[0]);
  tile_walk w;
  twalk_over(m, &w, s->in[0]);
  int lane = -1;
  do {
    lane++;
    if (!twalk_valid(&w)) continue;
    if (in->poison[lane]) return exec_fail(m, s, "checks an unspecified index");
    int64_t index = in->data[lane].i;
    if (index >= 0 && index < size) continue;
    str name = m->call->site_axes ? m->call->site_axes[s->site] : (str){0};
    *m->error = index_error_text(m->arena, index, name, size);
    *m->at = m->call->sites ? m->call->sites[s->site] : s->at;
    return false;
  } while (twalk_next(&w));
  return true;
}
