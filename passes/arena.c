// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Offsets in the arena. One after the other, items take the lowest gap that is free in all their steps:
//
//   offset
//     ▲      ┌──────┐            in the order a, b, c, d: when a is dead, c and d share its bytes
//     │      │  b   ├────┐
//     │  ┌───┴──┐   │ d  │
//     │  │      ├───┴────┤
//     │  │  a   │   c    │
//     └──┴──────┴────────┴──▶ step
//
// The order decides. Largest first is good where sizes differ most, longest first where lives do. The
// best of a few is improved: what ends at the top goes to the front, again and again, and the lowest
// top that was seen is kept. It often reaches the most that is live, which ends the search.
#include "passes/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/fault.h"

typedef struct ranked {
  double key, tie;  // larger ones first
  int item;
} ranked;

/// Of what is placed, in the order of offsets.
typedef struct place {
  int64_t offset, end;
  int first, last, item;
} place;

typedef struct placer {
  const arena_item *items;
  int n;          // items that live and have bytes
  int *order;     // of the next try
  place *places;  // of the last try
  int *best_order;
  int64_t *best;  // by item: offset
  int64_t peak;   // of the best; -1 none
} placer;

static int64_t rounded(int64_t bytes) {
  return (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
}

static bool is_placed(const arena_item *i) { return i->bytes > 0 && i->first <= i->last; }

// ---- live bytes

typedef struct change {
  int step;
  int64_t bytes;
} change;

/// What goes before a step goes before what comes in it.
static int by_step(const void *a, const void *b) {
  const change *x = a, *y = b;
  if (x->step != y->step) return x->step < y->step ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes);
}

int64_t arena_live(const arena_item *items, int n) {
  scratch s;
  scratch_open(&s);
  change *changes = arena_array(&s.arena, change, 2 * n + 1);
  int count = 0;
  for (int i = 0; i < n; i++) {
    if (!is_placed(&items[i])) continue;
    changes[count++] = (change){items[i].first, rounded(items[i].bytes)};
    changes[count++] = (change){items[i].last + 1, -rounded(items[i].bytes)};
  }
  qsort(changes, (size_t)count, sizeof *changes, by_step);
  int64_t live = 0, most = 0;
  for (int i = 0; i < count; i++) {
    live += changes[i].bytes;
    if (live > most) most = live;
  }
  scratch_close(&s);
  return most;
}

// ---- one order

/// The lowest gap for the item, and how many places begin at or below it.
static int64_t find_gap(const placer *p, int nplaces, const arena_item *item, int *before) {
  int64_t at = 0, bytes = rounded(item->bytes);
  int k = 0;
  for (; k < nplaces; k++) {
    const place *other = &p->places[k];
    if (other->last < item->first || other->first > item->last) continue;
    if (other->offset - at >= bytes) break;
    if (other->end > at) at = other->end;
  }
  while (k > 0 && p->places[k - 1].offset > at) k--;
  *before = k;
  return at;
}

/// Places all in p->order. The peak, or where it went over that of the best.
static int64_t place_all(placer *p) {
  int64_t peak = 0;
  for (int i = 0; i < p->n; i++) {
    const arena_item *item = &p->items[p->order[i]];
    int before;
    int64_t at = find_gap(p, i, item, &before), end = at + rounded(item->bytes);
    memmove(&p->places[before + 1], &p->places[before], sizeof(place) * (size_t)(i - before));
    p->places[before] = (place){at, end, item->first, item->last, p->order[i]};
    if (end > peak) peak = end;
  }
  return peak;
}

/// Keeps what is better than all before.
static void try_order(placer *p) {
  int64_t peak = place_all(p);
  if (p->peak >= 0 && peak >= p->peak) return;
  p->peak = peak;
  memcpy(p->best_order, p->order, sizeof(int) * (size_t)p->n);
  for (int i = 0; i < p->n; i++) p->best[p->places[i].item] = p->places[i].offset;
}

// ---- orders

typedef enum { BY_BYTES, BY_LIFE, BY_AREA, ORDERS } order_kind;

static int by_key(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? 1 : -1;
  if (x->tie != y->tie) return x->tie < y->tie ? 1 : -1;
  return (x->item > y->item) - (x->item < y->item);
}

static void set_order(placer *p, order_kind kind, ranked *r) {
  for (int i = 0; i < p->n; i++) {
    const arena_item *item = &p->items[p->order[i]];
    double bytes = (double)rounded(item->bytes), life = (double)item->last - item->first + 1;
    r[i] = (ranked){kind == BY_BYTES  ? bytes
                    : kind == BY_LIFE ? life
                                      : bytes * life,
                    kind == BY_BYTES ? life : bytes, p->order[i]};
  }
  qsort(r, (size_t)p->n, sizeof *r, by_key);
  for (int i = 0; i < p->n; i++) p->order[i] = r[i].item;
}

/// What ended at the top of the last try goes to the front of its order.
static void lift_top(placer *p) {
  int64_t top = 0;
  for (int i = 0; i < p->n; i++)
    if (p->places[i].end > top) top = p->places[i].end;
  for (int i = 0; i < p->n; i++) {
    if (p->places[i].end != top) continue;
    int at = 0, item = p->places[i].item;
    while (p->order[at] != item) at++;
    memmove(&p->order[1], p->order, sizeof(int) * (size_t)at);
    p->order[0] = item;
  }
}

/// Tries as many orders as the number of items allows: one takes time quadratic in it.
static void search(placer *p, int64_t live, ranked *r) {
  enum { EFFORT = 20000000, REPAIRS = 64 };
  int64_t tries = EFFORT / ((int64_t)p->n * p->n) + 1, most = ORDERS + REPAIRS;
  if (tries > most) tries = most;
  for (int i = 0; i < tries && p->peak != live; i++) {
    if (i < ORDERS) set_order(p, (order_kind)i, r);
    else if (i > ORDERS) lift_top(p);
    else memcpy(p->order, p->best_order, sizeof(int) * (size_t)p->n);
    try_order(p);
  }
}

int64_t arena_place(arena_item *items, int n) {
  scratch s;
  scratch_open(&s);
  placer p = {.items = items, .peak = -1};
  p.order = arena_array(&s.arena, int, n);
  p.best_order = arena_array(&s.arena, int, n);
  p.best = arena_array(&s.arena, int64_t, n);
  p.places = arena_array(&s.arena, place, n);
  for (int i = 0; i < n; i++)
    if (is_placed(&items[i])) p.order[p.n++] = i;
  int64_t live = arena_live(items, n);
  if (p.n) search(&p, live, arena_array(&s.arena, ranked, p.n));
  for (int i = 0; i < n; i++) items[i].offset = p.best[i];
  int64_t peak = p.n ? p.peak : 0;
  scratch_close(&s);
  check(peak >= live);
  return peak;
}
