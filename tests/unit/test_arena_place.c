// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Places of temporaries: apart while they live, close to the most that is live.
#include <criterion/criterion.h>
#include <time.h>

#include "base/arena.h"
#include "base/fault.h"
#include "passes/arena.h"

static uint64_t state;

static int draw(int below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (int)((state >> 33) % (uint32_t)below);
}

static bool live_together(const arena_item *a, const arena_item *b) {
  return a->first <= b->last && b->first <= a->last;
}

/// Places these and tests every pair.
static int64_t place(arena_item *items, int n) {
  int64_t peak = arena_place(items, n), end = 0;
  for (int i = 0; i < n; i++) {
    cr_assert(items[i].offset >= 0 && items[i].offset % ARENA_ALIGNMENT == 0);
    if (items[i].first <= items[i].last && items[i].offset + items[i].bytes > end)
      end = items[i].offset + items[i].bytes;
    for (int k = 0; k < i; k++)
      if (live_together(&items[i], &items[k]) && items[i].first <= items[i].last &&
          items[k].first <= items[k].last)
        cr_assert(items[i].offset >= items[k].offset + items[k].bytes ||
                      items[k].offset >= items[i].offset + items[i].bytes,
                  "items %d and %d overlap", i, k);
  }
  cr_assert(end <= peak && peak - end < ARENA_ALIGNMENT, "items end at %lld, the arena at %lld",
            (long long)end, (long long)peak);
  cr_assert_geq(peak, arena_live(items, n));
  return peak;
}

Test(arena_place, dead_bytes_are_split) {
  arena_item items[] = {{0, 1, 6400}, {2, 3, 3840}, {2, 3, 2560}, {1, 2, 64}};
  cr_assert_eq(place(items, 3), 6400);  // in places that are never split: 8960
  cr_assert_eq(place(items, 4), 6464);
}

Test(arena_place, sizes_and_lives_at_the_edges) {
  arena_item none[] = {{0, 5, 0}, {3, 2, 100}, {0, -1, 64}};
  cr_assert_eq(place(none, 3), 0);
  cr_assert_eq(arena_place(NULL, 0), 0);
  arena_item small[] = {{0, 0, 1}, {0, 0, 63}, {0, 1, 65}, {1, 1, 100}};
  cr_assert_eq(place(small, 4), 256);
  arena_item huge[] = {
      {0, 1, (int64_t)1 << 60}, {1, 2, (int64_t)1 << 60}, {2, 3, (int64_t)1 << 60}};
  cr_assert_eq(place(huge, 3), (int64_t)1 << 61);
  arena_item late[] = {{INT32_MAX - 1, INT32_MAX - 1, 64}, {0, INT32_MAX - 1, 64}};
  cr_assert_eq(place(late, 2), 128);
}

/// The most that is live, counted step by step.
static int64_t count_live(const arena_item *items, int n, int steps) {
  int64_t most = 0;
  for (int step = 0; step < steps; step++) {
    int64_t live = 0;
    for (int i = 0; i < n; i++)
      if (items[i].first <= step && step <= items[i].last) live += (items[i].bytes + 63) / 64 * 64;
    if (live > most) most = live;
  }
  return most;
}

// ---- random lives

typedef void drawing(arena_item *items, int n);

static void any_lives(arena_item *items, int n) {
  for (int i = 0; i < n; i++) items[i] = (arena_item){.first = draw(n), .bytes = draw(64000)};
  for (int i = 0; i < n; i++) items[i].last = items[i].first + draw(n / 4 + 1);
}

/// Results that are used soon, some that are used late, in sizes of all magnitudes.
static void programs(arena_item *items, int n) {
  for (int i = 0; i < n; i++)
    items[i] = (arena_item){i, i + 1 + (draw(4) ? draw(4) : draw(n)), (int64_t)64 << draw(10)};
}

/// Half of the values of the first half wait for their turn in the second.
static void forward_and_backward(arena_item *items, int n) {
  for (int i = 0; i < n; i++) {
    if (i < n / 2 && draw(2)) items[i] = (arena_item){i, n - 1 - i, (int64_t)(1 + draw(4)) << 16};
    else items[i] = (arena_item){i, i + 1 + draw(3), (int64_t)(1 + draw(12)) << 15};
  }
}

/// Slots that are never split, as a linear scan gives them.
static int64_t slots(const arena_item *items, int n) {
  int64_t bytes[200], sum = 0;
  int last[200], count = 0;
  for (int step = 0; step < n; step++)
    for (int i = 0; i < n; i++) {
      if (items[i].first != step) continue;
      int best = -1;
      for (int s = 0; s < count; s++)
        if (last[s] < step && bytes[s] >= items[i].bytes && (best < 0 || bytes[s] <= bytes[best]))
          best = s;
      if (best < 0) bytes[best = count++] = (items[i].bytes + 63) / 64 * 64;
      last[best] = items[i].last;
    }
  for (int s = 0; s < count; s++) sum += bytes[s];
  return sum;
}

static void expect_close(const char *what, drawing *draw_items, double mean, double worst) {
  enum { CASES = 300 };
  double sum = 0, most = 0, before = 0;
  int exact = 0;
  for (int number = 0; number < CASES; number++) {
    arena_item items[200];
    state = (uint64_t)number;
    int n = 10 + draw(150);
    draw_items(items, n);
    int64_t live = arena_live(items, n), peak = place(items, n);
    cr_assert_eq(live, count_live(items, n, 2 * n + 10));
    double ratio = (double)peak / (double)live;
    exact += peak == live;
    sum += ratio;
    before += (double)slots(items, n) / (double)live;
    if (ratio > most) most = ratio;
  }
  cr_log_info("%s: %.4f times the live bytes, at worst %.3f, equal to them in %d of %d; slots %.3f",
              what, sum / CASES, most, exact, CASES, before / CASES);
  cr_assert_lt(sum / CASES, mean);
  cr_assert_lt(most, worst);
}

Test(arena_place, close_to_what_is_live) {
  expect_close("any lives", any_lives, 1.03, 1.25);
  expect_close("programs", programs, 1.01, 1.2);
  expect_close("forward and backward", forward_and_backward, 1.01, 1.2);
}

Test(arena_place, the_same_again) {
  arena_item one[150], two[150];
  state = 7;
  any_lives(one, 150);
  memcpy(two, one, sizeof one);
  cr_assert_eq(arena_place(one, 150), arena_place(two, 150));
  cr_assert_arr_eq(one, two, sizeof one);
}

Test(arena_place, ten_thousand) {
  enum { N = 10000 };
  arena a = {0};
  arena_item *items = arena_array(&a, arena_item, N);
  state = 1;
  forward_and_backward(items, N);
  clock_t before = clock();
  int64_t peak = arena_place(items, N);
  double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
  cr_log_info("%.4f times the live bytes: %.1f ms", (double)peak / (double)arena_live(items, N),
              1e3 * seconds);
  cr_assert_lt(seconds, 2);
  arena_free(&a);
}
