// The rules of the arena: temps lie inside of it, aligned, and two that are live in the same step
// do not overlap.
//
//   step      0    1    2    3
//   %a       [w----r]              a and b share step 1: their bytes are disjoint
//   %b            [w----r]         a and c may lie at the same place
//   %c                 [w----r]
//
// Sizes may be symbolic. What the algebra of ir/ix.h proves is right; for the rest the inequality
// must hold at a handful of bindings, small, odd and large, that the facts of the symbols allow.
#include "ir/tile_verify.h"

enum { ALIGNMENT = 64 };

typedef struct verifier {
  const program *p;
  ix_pool *pool;
  arena *arena;
  tile_faults *faults;
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

/// A call with a negative size does not happen.
static bool can_happen(const program *p, binding *at) {
  for (int i = 0; i < p->buffers.len; i++)
    for (int d = 0; d < p->buffers.data[i].rank; d++)
      if (ix_eval(&p->ix, p->buffers.data[i].dims[d], sample, NULL, at) < 0) return false;
  return true;
}

/// a <= b for all bindings, as far as can be told. Sizes that leave int64 are never in order.
static bool is_le(verifier *v, ix a, ix b) {
  static const int64_t bases[] = {0, 1, 2, 15, 64, 100, 1000, 4099};
  if (v->pool->overflow) return false;
  if (ix_known_le(v->pool, a, b)) return true;
  int64_t value;
  if (ix_is_const(v->pool, ix_sub(v->pool, b, a), &value)) return value >= 0;
  for (int i = 0; i < (int)(sizeof bases / sizeof *bases); i++)
    for (int spread = 0; spread < 3; spread++) {
      binding at = {&v->p->ix, bases[i], spread};
      if (!can_happen(v->p, &at)) continue;
      if (ix_eval(v->pool, a, sample, NULL, &at) > ix_eval(v->pool, b, sample, NULL, &at))
        return false;
    }
  return true;
}

static ix common(verifier *v, ix e) { return ix_substitute(v->pool, &v->p->ix, e, NULL, 0); }

// ---- temps

typedef struct place {
  ix begin, end;    // bytes
  int first, last;  // steps; first > last: unused
} place;

static place place_of(verifier *v, int number) {
  const buffer *b = &v->p->buffers.data[number];
  place at = {.begin = common(v, b->offset), .first = v->p->steps.len, .last = -1};
  ix bytes = ix_const(v->pool, dtype_bytes(b->type));
  for (int d = 0; d < b->rank; d++) bytes = ix_mul(v->pool, bytes, common(v, b->dims[d]));
  at.end = ix_add(v->pool, at.begin, bytes);
  for (int i = 0; i < v->p->steps.len; i++)
    for (int k = 0; k < v->p->steps.data[i].nbufs; k++) {
      if (v->p->steps.data[i].bufs[k] != number) continue;
      if (at.last < 0) at.first = i;
      at.last = i;
    }
  return at;
}

static void verify_place(verifier *v, const buffer *b, const place *at, ix arena_bytes) {
  if (!is_le(v, ix_const(v->pool, 0), at->begin))
    bad(v, b->at, "temp %.*s begins before the arena", STR_FMT(b->name));
  if (!is_le(v, at->end, arena_bytes))
    bad(v, b->at, "temp %.*s does not end inside of the arena", STR_FMT(b->name));
  if (ix_divisor(v->pool, at->begin) % ALIGNMENT)
    bad(v, b->at, "temp %.*s is not aligned to %d bytes", STR_FMT(b->name), ALIGNMENT);
}

void tile_verify_arena(const program *p, arena *a, ix_pool *pool, tile_faults *faults) {
  verifier v = {p, pool, a, faults};
  place *at = arena_array(a, place, p->buffers.len);
  ix bytes = p->arena_bytes ? p->arena_bytes : 0;
  if (bytes && ((int)bytes >= p->ix.nodes.len || !ix_is_size(&p->ix, bytes)))
    return bad(&v, p->at, "the arena has no size");
  ix arena_bytes = bytes ? common(&v, bytes) : ix_const(pool, 0);
  if (!is_le(&v, ix_const(pool, 0), arena_bytes)) bad(&v, p->at, "the arena has a negative size");
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    if (b->kind != BUFFER_TEMP) continue;
    at[i] = place_of(&v, i);
    verify_place(&v, b, &at[i], arena_bytes);
    for (int j = 0; j < i; j++) {
      if (p->buffers.data[j].kind != BUFFER_TEMP) continue;
      if (at[i].first > at[j].last || at[j].first > at[i].last) continue;
      if (!is_le(&v, at[i].end, at[j].begin) && !is_le(&v, at[j].end, at[i].begin))
        bad(&v, b->at, "temps %.*s and %.*s overlap and are live in the same step", STR_FMT(b->name),
            STR_FMT(p->buffers.data[j].name));
    }
  }
  if (pool->overflow) bad(&v, p->at, "the sizes of the temps leave 64 bits");
}
