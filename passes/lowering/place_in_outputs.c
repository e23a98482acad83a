// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Temps in the memory of results that are written later.
//
//   step     0   1   2   3   4
//   %t      [w───r]                     %t may lie in %out, which the caller gives and nothing has
//   %out                 [w───]         written yet
//
// Only what is in memory in the step in which most is goes there, the largest first, each to the output that is
// written first of those that are free long enough, and only where the arena gets smaller by it. Sizes are known.
#include "base/fault.h"
#include "passes/lowering/lower.h"

enum {
  MOST_PLACED = 128,      // the entry of the program has code for each
  MOST_TRIED = 8,         // of a step
  WORTH = 32,             // a share of the arena that is saved at least
  DEVICE_ALIGNMENT = 16,  // of results in a device's memory; elsewhere they are aligned to their elements
};

typedef struct placer {
  const lower *l;
  arena *a;
  arena_item *items;      // of temps that go to outputs bytes become 0
  int64_t *bytes;         // by buffer
  const int64_t *after;   // find_room_after()
  vec(int) placed;        // temps
} placer;

static int64_t rounded(int64_t bytes) {
  return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

/// Not rounded up: outputs are as large as their elements. 0: not known.
static int64_t exact_bytes(program *p, const struct buffer *b) {
  ix n = ix_const(&p->ix, dtype_bytes(b->type));
  if (b->rank) n = ix_mul(&p->ix, n, ix_mul(&p->ix, b->dims[0], b->strides[0]));
  int64_t bytes;
  return ix_is_const(&p->ix, n, &bytes) && bytes > 0 ? bytes : 0;
}

/// The lowest offset in the output that is free while the temp lives; -1: none.
static int64_t find_room(const placer *s, int temp, int output) {
  const program *p = s->l->p;
  const arena_item *item = &s->items[temp];
  int64_t at = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int i = 0; i < s->placed.len; i++) {
      int other = s->placed.data[i];
      const arena_item *o = &s->items[other];
      if (p->buffers.data[other].host != output + 1 || o->last < item->first || o->first > item->last) continue;
      if (rounded(o->offset + s->bytes[other]) <= at || at + s->bytes[temp] <= o->offset) continue;
      at = rounded(o->offset + s->bytes[other]);
      moved = true;
    }
  }
  return at + s->bytes[temp] <= s->bytes[output] ? at : -1;
}

static bool is_free(const placer *s, int temp, int output) {
  const program *p = s->l->p;
  const struct buffer *t = &p->buffers.data[temp], *o = &p->buffers.data[output];
  int alignment = s->l->target->sm ? DEVICE_ALIGNMENT : dtype_bytes(o->type);
  return s->items[output].last >= 0 && s->items[temp].last < s->items[output].first &&
         dtype_bytes(t->type) <= alignment;
}

/// Puts the temp into an output. False: none has room.
static bool place(placer *s, int temp) {
  program *p = s->l->p;
  int best = -1;
  int64_t offset = 0;
  for (int o = p->nparams; o < p->nparams + p->noutputs; o++) {
    if (!is_free(s, temp, o) || (best >= 0 && s->items[best].first <= s->items[o].first)) continue;
    int64_t at = find_room(s, temp, o);
    if (at >= 0) best = o, offset = at;
  }
  if (best < 0) return false;
  p->buffers.data[temp].host = best + 1;
  s->items[temp].offset = offset;
  s->items[temp].bytes = 0;
  vec_push(s->a, &s->placed, temp);
  return true;
}

/// The first step in which most lives.
static int peak_step(const placer *s, int64_t *live) {
  const program *p = s->l->p;
  memset(live, 0, sizeof *live * (size_t)(p->steps.len + 1));
  for (int i = 0; i < p->buffers.len; i++)
    if (s->items[i].last >= 0 && s->items[i].bytes) {
      live[s->items[i].first] += s->items[i].bytes;
      live[s->items[i].last + 1] -= s->items[i].bytes;
    }
  int best = 0;
  int64_t sum = 0, most = 0;
  for (int step = 0; step < p->steps.len; step++) {
    sum += live[step];
    if (sum > most) most = sum, best = step;
  }
  return best;
}

/// By step, the most bytes that an output has which is written later.
static int64_t *find_room_after(const placer *s) {
  const program *p = s->l->p;
  int64_t *most = arena_array(s->a, int64_t, p->steps.len + 1);
  for (int o = p->nparams; o < p->nparams + p->noutputs; o++) {
    int first = s->items[o].last < 0 ? 0 : s->items[o].first;
    if (first && s->bytes[o] > most[first - 1]) most[first - 1] = s->bytes[o];
  }
  for (int step = p->steps.len - 1; step > 0; step--)
    if (most[step] > most[step - 1]) most[step - 1] = most[step];
  return most;
}

/// The largest temp of the step that finds room. False: none does, of the first that might.
static bool place_one(placer *s, int step) {
  const program *p = s->l->p;
  int tried[MOST_TRIED], n = 0;
  while (n < MOST_TRIED) {
    int best = -1;
    for (int i = p->nparams + p->noutputs; i < p->buffers.len; i++) {
      const arena_item *item = &s->items[i];
      if (!item->bytes || item->first > step || item->last < step || s->bytes[i] > s->after[item->last]) continue;
      bool again = false;
      for (int k = 0; k < n; k++) again |= tried[k] == i;
      if (!again && (best < 0 || item->bytes > s->items[best].bytes)) best = i;
    }
    if (best < 0) return false;
    if (place(s, best)) return true;
    tried[n++] = best;
  }
  return false;
}

static void settle(placer *s, int64_t before) {
  program *p = s->l->p;
  int64_t after = arena_live(s->items, p->buffers.len);
  bool worth = after < before - before / WORTH;
  for (int i = 0; i < s->placed.len; i++) {
    int temp = s->placed.data[i];
    struct buffer *b = &p->buffers.data[temp];
    if (worth) {
      b->offset = ix_const(&p->ix, s->items[temp].offset);
      continue;
    }
    b->host = 0;
    s->items[temp].bytes = rounded(s->bytes[temp]);
  }
}

void lower_place_in_outputs(lower *l, arena_item *items) {
  program *p = l->p;
  if (!p->noutputs || !p->steps.len) return;
  placer s = {.l = l, .a = l->a, .items = items};
  s.bytes = arena_array(l->a, int64_t, p->buffers.len);
  for (int i = p->nparams; i < p->buffers.len; i++) s.bytes[i] = exact_bytes(p, &p->buffers.data[i]);
  s.after = find_room_after(&s);
  int64_t before = arena_live(items, p->buffers.len), *live = arena_array(l->a, int64_t, p->steps.len + 1);
  while (s.placed.len < MOST_PLACED && place_one(&s, peak_step(&s, live))) {}
  settle(&s, before);
}
