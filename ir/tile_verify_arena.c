// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The rules of the arena: temps lie inside of it, aligned, and two that are live in the same step
// do not overlap.
//
//   step      0    1    2    3
//   %a       [w----r]              a and b share step 1: their bytes are disjoint
//   %b            [w----r]         a and c may lie at the same place
//   %c                 [w----r]
//
// Walked step by step with the live temps in the order of their places: a temp that comes in is
// compared with its two neighbours only, and what is compared grows with the number of temps.
//
// The memory of an output that is written after the last use of a temp may hold it, by the same rules.
//
// Sizes may be symbolic. What the algebra of ir/ix.h proves is right; for the rest the inequality
// must hold at a handful of bindings, small, odd and large, that the facts of the symbols allow.
#include "ir/tile_verify.h"

enum { ALIGNMENT = 64 };

// Values of symbols that inequalities are tried at.
static const int64_t bases[] = {0, 1, 2, 15, 64, 100, 1000, 4099};
enum { NBASES = sizeof bases / sizeof *bases, SPREADS = 3, NBINDINGS = NBASES * SPREADS };

typedef struct verifier {
  const program *p;
  ix_pool *pool;
  arena *arena;
  tile_faults *faults;
  bool possible[NBINDINGS];  // a call may have these sizes
} verifier;

static void bad(verifier *v, span at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void bad(verifier *v, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  tile_fault fault = {at, str_vprintf(v->arena, format, args)};
  va_end(args);
  vec_push(v->arena, v->faults, fault);
}

// ---- comparing

typedef struct binding {
  const ix_pool *pool;
  int64_t base;
  int number;
} binding;

/// A value near the base, another for each symbol, that the facts allow.
static int64_t sample(void *ctx, str name) {
  const binding *b = ctx;
  int64_t value = b->base;
  for (int i = 0; i < name.len; i++) value += b->number * (name.ptr[i] % 7);
  const ix_fact *fact = ix_find_fact(b->pool, name);
  if (!fact) return value;
  if (value < fact->min) value = fact->min;
  if (value > fact->max) value = fact->max;
  int64_t step = fact->multiple_of > 1 ? fact->multiple_of : 1;
  int64_t down = value / step * step;
  return down >= fact->min || down > INT64_MAX - step ? down : down + step;
}

static binding binding_at(const verifier *v, int i) {
  return (binding){&v->p->ix, bases[i / SPREADS], i % SPREADS};
}

/// A call with a negative size does not happen.
static bool can_happen(const program *p, binding *at) {
  for (int i = 0; i < p->buffers.len; i++)
    for (int d = 0; d < p->buffers.data[i].rank; d++)
      if (ix_eval(&p->ix, p->buffers.data[i].dims[d], sample, NULL, at) < 0) return false;
  return true;
}

/// a <= b for all bindings, as far as can be told. Sizes that leave int64 are never in order.
static bool is_le(verifier *v, ix a, ix b) {
  if (v->pool->overflow) return false;
  if (ix_known_le(v->pool, a, b)) return true;
  int64_t value;
  if (ix_is_const(v->pool, ix_sub(v->pool, b, a), &value)) return value >= 0;
  for (int i = 0; i < NBINDINGS; i++) {
    binding at = binding_at(v, i);
    if (!v->possible[i]) continue;
    if (ix_eval(v->pool, a, sample, NULL, &at) > ix_eval(v->pool, b, sample, NULL, &at))
      return false;
  }
  return true;
}

static ix common(verifier *v, ix e) { return ix_substitute(v->pool, &v->p->ix, e, NULL, 0); }

// ---- temps

typedef struct place {
  ix begin, end;       // bytes
  int64_t from, to;    // the same at a possible binding: their order
  int first, last;     // steps; first > last: unused
} place;

/// Up to the end of the last element: rows may be longer than what is in them.
static ix bytes_of(verifier *v, const buffer *b) {
  ix one = ix_const(v->pool, 1), elements = one;
  for (int d = 0; d < b->rank; d++) {
    ix last = ix_sub(v->pool, common(v, b->dims[d]), one);
    elements = ix_add(v->pool, elements, ix_mul(v->pool, last, common(v, b->strides[d])));
  }
  return ix_scale(v->pool, elements, dtype_bytes(b->type));
}

/// A binding where sizes are likely to be neither 0 nor too large to tell apart.
static binding usual_binding(const verifier *v) {
  static const int wanted[] = {5, 6, 7, 4, 3, 2, 1};
  for (int i = 0; i < (int)(sizeof wanted / sizeof *wanted); i++)
    if (v->possible[wanted[i] * SPREADS + 1]) return binding_at(v, wanted[i] * SPREADS + 1);
  return binding_at(v, 0);
}

/// Where all temps are; others stay unused.
static place *find_places(verifier *v) {
  const program *p = v->p;
  place *places = arena_array(v->arena, place, p->buffers.len);
  binding at = usual_binding(v);
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    places[i] = (place){.first = 0, .last = -1};
    if (b->kind != BUFFER_TEMP) continue;
    places[i].begin = common(v, b->offset);
    places[i].end = ix_add(v->pool, places[i].begin, bytes_of(v, b));
    places[i].from = ix_eval(v->pool, places[i].begin, sample, NULL, &at);
    places[i].to = ix_eval(v->pool, places[i].end, sample, NULL, &at);
  }
  for (int i = 0; i < p->steps.len; i++)
    for (int k = 0; k < p->steps.data[i].nbufs; k++) {
      place *used = &places[p->steps.data[i].bufs[k]];
      if (used->last < 0) used->first = i;
      used->last = i;
    }
  return places;
}

/// The bytes of an output, when there is nothing between its elements.
static ix bytes_of_host(verifier *v, const buffer *b, const buffer *host) {
  ix bytes = ix_const(v->pool, dtype_bytes(host->type));
  for (int d = 0; d < host->rank; d++) bytes = ix_mul(v->pool, bytes, common(v, host->dims[d]));
  if (!is_le(v, bytes_of(v, host), bytes))
    bad(v, b->at, "temp %.*s lies in %.*s, which has gaps", STR_FMT(b->name), STR_FMT(host->name));
  return bytes;
}

static void verify_host(verifier *v, const buffer *b, const place *at, const place *host) {
  const char *name = str_z(v->arena, v->p->buffers.data[b->host - 1].name);
  if (at->last >= at->first && host->last >= host->first && at->last >= host->first)
    bad(v, b->at, "temp %.*s lies in %s and is used when that is", STR_FMT(b->name), name);
}

static void verify_place(verifier *v, const buffer *b, const place *at, ix arena_bytes) {
  if (!is_le(v, ix_const(v->pool, 0), at->begin))
    bad(v, b->at, "temp %.*s begins before the arena", STR_FMT(b->name));
  if (!is_le(v, at->end, arena_bytes))
    bad(v, b->at, "temp %.*s does not end inside of %s", STR_FMT(b->name), b->host ? "the output" : "the arena");
  if (ix_divisor(v->pool, at->begin) % ALIGNMENT)
    bad(v, b->at, "temp %.*s is not aligned to %d bytes", STR_FMT(b->name), ALIGNMENT);
}

// ---- what is live together

/// Live temps in the order of their places.
typedef struct live_list {
  int *temps;
  int n;
} live_list;

/// Temps without bytes at the binding that gives the order are put in the one that holds elsewhere.
static bool is_before(verifier *v, const place *a, const place *b) {
  if (a->from != b->from) return a->from < b->from;
  return a->to != b->to ? a->to < b->to : is_le(v, a->end, b->begin);
}

static void verify_apart(verifier *v, const place *places, int before, int after) {
  const buffer *buffers = v->p->buffers.data;
  if (is_le(v, places[before].end, places[after].begin)) return;
  int later = before > after ? before : after, earlier = before > after ? after : before;
  bad(v, buffers[later].at, "temps %.*s and %.*s overlap and are live in the same step",
      STR_FMT(buffers[later].name), STR_FMT(buffers[earlier].name));
}

/// Each temp ends before the next one begins, so that it ends before all that follow; this stays so
/// when one between them goes.
static void enter(verifier *v, live_list *live, const place *places, int temp) {
  int at = 0, high = live->n;
  while (at < high) {
    int middle = (at + high) / 2;
    if (is_before(v, &places[live->temps[middle]], &places[temp])) at = middle + 1;
    else high = middle;
  }
  if (at > 0) verify_apart(v, places, live->temps[at - 1], temp);
  if (at < live->n) verify_apart(v, places, temp, live->temps[at]);
  memmove(&live->temps[at + 1], &live->temps[at], sizeof(int) * (size_t)(live->n - at));
  live->temps[at] = temp;
  live->n++;
}

static void leave(live_list *live, int temp) {
  int at = 0;
  while (live->temps[at] != temp) at++;
  live->n--;
  memmove(&live->temps[at], &live->temps[at + 1], sizeof(int) * (size_t)(live->n - at));
}

/// The temps in the memory of one output; 0: in the arena.
static void verify_steps(verifier *v, const place *places, int host) {
  const program *p = v->p;
  live_list live = {.temps = arena_array(v->arena, int, p->buffers.len)};
  bool *is_live = arena_array(v->arena, bool, p->buffers.len);
  for (int i = 0; i < p->steps.len; i++)
    for (int leaving = 0; leaving < 2; leaving++)
      for (int k = 0; k < p->steps.data[i].nbufs; k++) {
        int temp = p->steps.data[i].bufs[k];
        bool due = leaving ? places[temp].last == i : places[temp].first == i;
        const buffer *b = &p->buffers.data[temp];
        if (b->kind != BUFFER_TEMP || b->host != host || !due || is_live[temp] != leaving) continue;
        if (leaving) leave(&live, temp);
        else enter(v, &live, places, temp);
        is_live[temp] = !leaving;
      }
}

void tile_verify_arena(const program *p, arena *a, ix_pool *pool, tile_faults *faults) {
  verifier v = {.p = p, .pool = pool, .arena = a, .faults = faults};
  for (int i = 0; i < NBINDINGS; i++) {
    binding at = binding_at(&v, i);
    v.possible[i] = can_happen(p, &at);
  }
  ix bytes = p->arena_bytes ? p->arena_bytes : 0;
  if (bytes && ((int)bytes >= p->ix.nodes.len || !ix_is_size(&p->ix, bytes)))
    return bad(&v, p->at, "the arena has no size");
  ix arena_bytes = bytes ? common(&v, bytes) : ix_const(pool, 0);
  if (!is_le(&v, ix_const(pool, 0), arena_bytes)) bad(&v, p->at, "the arena has a negative size");
  const place *places = find_places(&v);
  bool *hosts = arena_array(a, bool, p->buffers.len + 1);
  hosts[0] = true;
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    if (b->kind != BUFFER_TEMP) continue;
    hosts[b->host] = true;
    verify_place(&v, b, &places[i], b->host ? bytes_of_host(&v, b, &p->buffers.data[b->host - 1]) : arena_bytes);
    if (b->host) verify_host(&v, b, &places[i], &places[b->host - 1]);
  }
  for (int host = 0; host <= p->buffers.len; host++)
    if (hosts[host]) verify_steps(&v, places, host);
  if (pool->overflow) bad(&v, p->at, "the sizes of the temps leave 64 bits");
}
