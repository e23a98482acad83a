// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Where temps lie in the arena of a program. A temp lives from the first step that uses it to the last.
//
// Known sizes get offsets (passes/arena.h). Where a size is a symbol, only an order that the algebra
// proves can be relied on: a linear scan over the steps puts a temp into the smallest dead slot that is
// known to hold it, or opens one, and slots are never split.
#include "base/fault.h"
#include "passes/lowering/lower.h"

/// Rounded up to the alignment.
static ix buffer_bytes(ix_pool *pool, const struct buffer *buf) {
  ix n = ix_const(pool, dtype_bytes(buf->type));
  if (buf->rank) n = ix_mul(pool, n, ix_mul(pool, buf->dims[0], buf->strides[0]));
  ix up = ix_add(pool, n, ix_const(pool, ARENA_ALIGNMENT - 1)),
     unit = ix_const(pool, ARENA_ALIGNMENT);
  return ix_mul(pool, ix_div(pool, up, unit), unit);
}

/// By buffer, the steps that use it; bytes are 0.
static arena_item *find_lives(arena *a, const program *p) {
  arena_item *items = arena_array(a, arena_item, p->buffers.len);
  for (int i = 0; i < p->buffers.len; i++) items[i].last = -1;
  for (int i = 0; i < p->steps.len; i++)
    for (int k = 0; k < p->steps.data[i].nbufs; k++) {
      arena_item *item = &items[p->steps.data[i].bufs[k]];
      if (item->last < 0) item->first = i;
      item->last = i;
    }
  return items;
}

// ---- known sizes

/// False: a size is not known, or all together leave 64 bits.
static bool find_bytes(program *p, const ix *bytes, arena_item *items) {
  int64_t sum = 0;
  for (int i = 0; i < p->buffers.len; i++) {
    if (p->buffers.data[i].kind != BUFFER_TEMP) continue;
    if (!ix_is_const(&p->ix, bytes[i], &items[i].bytes) || items[i].bytes < 0) return false;
    if (__builtin_add_overflow(sum, items[i].bytes, &sum)) return false;
  }
  return !p->ix.overflow;
}

static void place_known(lower *l, arena_item *items) {
  program *p = l->p;
  lower_place_in_outputs(l, items);
  p->arena_bytes = ix_const(&p->ix, arena_place(items, p->buffers.len));
  for (int i = 0; i < p->buffers.len; i++)
    if (p->buffers.data[i].kind == BUFFER_TEMP && !p->buffers.data[i].host)
      p->buffers.data[i].offset = ix_const(&p->ix, items[i].offset);
}

// ---- slots

typedef struct slot {
  ix bytes;
  int free_from;  // the first step that may reuse it
} slot;

/// The free slot that fits best: the smallest that is large enough; -1 none.
static int find_slot(program *p, const slot *slots, int n, ix bytes, int step_number) {
  int best = -1;
  for (int i = 0; i < n; i++) {
    if (slots[i].free_from > step_number) continue;
    if (!ix_known_le(&p->ix, bytes, slots[i].bytes)) continue;
    if (best < 0 || ix_known_le(&p->ix, slots[i].bytes, slots[best].bytes)) best = i;
  }
  return best;
}

static void place_in_slots(arena *a, program *p, const ix *bytes, const arena_item *items) {
  int *slot_of = arena_array(a, int, p->buffers.len);
  vec(slot) slots = {0};
  for (int i = 0; i < p->steps.len; i++)
    for (int k = 0; k < p->steps.data[i].nbufs; k++) {
      int number = p->steps.data[i].bufs[k];
      if (p->buffers.data[number].kind != BUFFER_TEMP || items[number].first != i) continue;
      if (slot_of[number]) continue;  // an argument twice
      int s = find_slot(p, slots.data, slots.len, bytes[number], i);
      if (s < 0) {
        vec_push(a, &slots, (slot){.bytes = bytes[number]});
        s = slots.len - 1;
      }
      slots.data[s].free_from = items[number].last + 1;
      slot_of[number] = s + 1;
    }
  ix *start = arena_array(a, ix, slots.len + 1);
  start[0] = ix_const(&p->ix, 0);
  for (int i = 0; i < slots.len; i++) start[i + 1] = ix_add(&p->ix, start[i], slots.data[i].bytes);
  for (int i = 0; i < p->buffers.len; i++)
    if (p->buffers.data[i].kind == BUFFER_TEMP)
      p->buffers.data[i].offset = start[slot_of[i] ? slot_of[i] - 1 : 0];
  p->arena_bytes = start[slots.len];
}

// ---- both

void lower_place_temporaries(lower *l) {
  program *p = l->p;
  arena_item *items = find_lives(l->a, p);
  ix *bytes = arena_array(l->a, ix, p->buffers.len);
  for (int i = 0; i < p->buffers.len; i++)
    if (p->buffers.data[i].kind == BUFFER_TEMP)
      bytes[i] = buffer_bytes(&p->ix, &p->buffers.data[i]);
  if (find_bytes(p, bytes, items)) place_known(l, items);
  else place_in_slots(l->a, p, bytes, items);
}

static int64_t estimated_bytes(const program *p, const struct buffer *buf) {
  int64_t bytes = dtype_bytes(buf->type);
  if (!buf->rank) return bytes;
  bytes = estimate_times(bytes, ix_estimate(&p->ix, buf->dims[0]));
  return estimate_times(bytes, ix_estimate(&p->ix, buf->strides[0]));
}

/// Of what is in the arena.
static void find_estimates(const program *p, arena_item *items) {
  for (int i = 0; i < p->buffers.len; i++)
    if (p->buffers.data[i].kind == BUFFER_TEMP && !p->buffers.data[i].host)
      items[i].bytes = estimated_bytes(p, &p->buffers.data[i]);
}

temporaries program_temporaries(const program *p) {
  scratch s;
  scratch_open(&s);
  arena_item *items = find_lives(&s.arena, p);
  find_estimates(p, items);
  temporaries t = {.live = arena_live(items, p->buffers.len)};
  if (p->arena_bytes) t.bytes = ix_estimate(&p->ix, p->arena_bytes);
  for (int i = 0; i < p->buffers.len; i++)
    if (p->buffers.data[i].host) t.hosted += estimated_bytes(p, &p->buffers.data[i]);
  scratch_close(&s);
  return t;
}

// ---- the peak

/// The first step in which most lives.
static int peak_step(const program *p, const arena_item *items) {
  int best = 0;
  int64_t most = -1;
  for (int step = 0; step < p->steps.len; step++) {
    int64_t live = 0;
    for (int i = 0; i < p->buffers.len; i++)
      if (items[i].bytes && items[i].first <= step && step <= items[i].last) live += items[i].bytes;
    if (live > most) most = live, best = step;
  }
  return best;
}

memory_peak program_peak(arena *a, const program *p, const int *node_of) {
  scratch s;
  scratch_open(&s);
  arena_item *items = find_lives(&s.arena, p);
  find_estimates(p, items);
  memory_peak peak = {.step = peak_step(p, items), .steps = p->steps.len};
  for (int i = 0; i < p->buffers.len; i++) {
    const arena_item *item = &items[i];
    if (!item->bytes || item->first > peak.step || item->last < peak.step) continue;
    vec_push(a, &peak.values, (peak_value){node_of[i], item->first, item->last, item->bytes});
    for (int k = peak.values.len - 1; k > 0 && peak.values.data[k - 1].bytes < item->bytes; k--) {
      peak_value moved = peak.values.data[k];
      peak.values.data[k] = peak.values.data[k - 1];
      peak.values.data[k - 1] = moved;
    }
  }
  scratch_close(&s);
  return peak;
}
