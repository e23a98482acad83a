// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is saved and what is computed again, against all saved sets of small programs.
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <time.h>

#include "passes/remat/remat.h"

enum { MOST = 14 };

static uint64_t state;

static uint32_t draw(uint32_t below) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((state >> 33) % below);
}

/// A problem that can be written to.
typedef struct drawn {
  int first[MOST + 1], operands[MOST * 3];
  bool need[MOST];
  double save[MOST], rec[MOST];
  int members[3 * MOST], readers[4 * MOST];
  remat_group groups[3];
  remat_read reads[4];
  remat_problem p;
} drawn;

/// Every price in eighths, so that sums are exact. `keep` and `checkpoint` forbid one or the other.
static void draw_problem(drawn *d, int units) {
  *d = (drawn){0};
  for (int v = 0, at = 0; v < units; v++) {
    d->first[v] = at;
    for (int k = v ? (int)draw(3) : 0; k > 0; k--) d->operands[at++] = (int)draw((uint32_t)v);
    d->first[v + 1] = at;
    d->need[v] = draw(3) == 0;
    d->save[v] = draw(5) == 0 ? INFINITY : draw(8) == 0 ? 0 : draw(100) / 8.0;
    d->rec[v] = draw(8) == 0 ? INFINITY : draw(6) == 0 ? 0 : draw(60) / 8.0;
  }
  int ngroups = (int)draw(4), nreads = (int)draw(4);
  for (int i = 0, at = 0; i < ngroups; i++) {
    remat_group *group = &d->groups[i];
    *group = (remat_group){.members = d->members + at, .price = draw(80) / 8.0};
    for (int v = 0; v < units; v++)
      if (draw(3) == 0) d->members[at++] = v, group->n++;
  }
  d->p = (remat_problem){units,  d->first,  d->operands, d->need,  d->save,
                         d->rec, d->groups, ngroups,     d->reads, nreads};
  for (int i = 0, at = 0; i < nreads; i++) {
    remat_read *read = &d->reads[i];
    *read = (remat_read){(int)draw((uint32_t)units), d->readers + at, 0, draw(40) / 8.0};
    for (int k = 0; k < d->first[units]; k++) {
      if (d->operands[k] != read->operand || draw(4) == 0) continue;
      int v = 0;
      while (d->first[v + 1] <= k) v++;
      if (!read->n || d->readers[at - 1] != v) d->readers[at++] = v, read->n++;
    }
  }
}

/// Of saving these and computing again what is needed besides.
static double price_of(const remat_problem *p, uint32_t saved, uint32_t *again) {
  uint32_t there = 0;
  double sum = 0;
  *again = 0;
  for (int v = 0; v < p->units; v++) there |= p->need[v] ? 1u << v : 0;
  for (int v = p->units - 1; v >= 0; v--) {
    if (!(there >> v & 1)) continue;
    sum += saved >> v & 1 ? p->save[v] : p->rec[v];
    if (saved >> v & 1) continue;
    *again |= 1u << v;
    for (int i = p->first[v]; i < p->first[v + 1]; i++) there |= 1u << p->operands[i];
  }
  for (int i = 0; i < p->ngroups; i++) {
    uint32_t members = 0;
    for (int k = 0; k < p->groups[i].n; k++) members |= 1u << p->groups[i].members[k];
    if (members & *again) sum += p->groups[i].price;
  }
  for (int i = 0; i < p->nreads; i++) {
    uint32_t readers = 0;
    for (int k = 0; k < p->reads[i].n; k++) readers |= 1u << p->reads[i].readers[k];
    if (readers & *again && !(*again >> p->reads[i].operand & 1)) sum += p->reads[i].price;
  }
  return sum;
}

/// again: as many as are computed again in a plan of the least price.
static double least_price(const remat_problem *p, int *again) {
  double best = INFINITY;
  *again = 0;
  for (uint32_t saved = 0; saved < 1u << p->units; saved++) {
    uint32_t set;
    double price = price_of(p, saved, &set);
    int n = __builtin_popcount(set);
    if (price < best || (price == best && n > *again)) best = price, *again = n;
  }
  return best;
}

static void expect_contradiction(const remat_problem *p, const ints *chain) {
  cr_assert_gt(chain->len, 0);
  cr_assert(isinf(p->rec[chain->data[0]]));
  cr_assert(p->need[chain->data[chain->len - 1]]);
  for (int i = 0; i < chain->len; i++) {
    int v = chain->data[i];
    bool reads = i == 0;
    cr_assert(isinf(p->save[v]));
    for (int k = p->first[v]; k < p->first[v + 1]; k++)
      reads |= i > 0 && p->operands[k] == chain->data[i - 1];
    cr_assert(reads, "%d does not read the one before", v);
  }
}

static uint32_t bits(const bool *set, int n) {
  uint32_t out = 0;
  for (int i = 0; i < n; i++) out |= set[i] ? 1u << i : 0;
  return out;
}

Test(remat_cut, least_of_all_saved_sets) {
  int impossible = 0, both = 0;
  for (int number = 0; number < 10000; number++) {
    state = (uint64_t)number;
    drawn d;
    arena a = {0};
    remat_plan plan;
    draw_problem(&d, 1 + (int)draw(number % 16 == 0 ? MOST : 8));
    int most;
    double want = least_price(&d.p, &most);
    bool possible = remat_cut(&a, &d.p, &plan);
    cr_assert_eq(possible, !isinf(want), "program %d", number);
    if (!possible) {
      impossible++;
      expect_contradiction(&d.p, &plan.contradiction);
    } else {
      uint32_t saved = bits(plan.saved, d.p.units), again = bits(plan.recomputed, d.p.units), set;
      cr_assert_eq(plan.price, want, "program %d: %g instead of %g", number, plan.price, want);
      cr_assert_eq(price_of(&d.p, saved, &set), want, "program %d", number);
      cr_assert_eq(set, again, "program %d", number);
      cr_assert_eq(saved & again, 0);
      cr_assert_eq(__builtin_popcount(again), most, "program %d", number);
      both += saved && again;
    }
    arena_free(&a);
  }
  cr_assert(impossible > 300 && both > 2000, "%d, %d", impossible, both);
}

// ---- small programs

/// x -> u -> v, the end of a chain is needed.
static bool chain(arena *a, const double *save, const double *rec, remat_plan *plan) {
  static const int first[] = {0, 0, 1, 2}, operands[] = {0, 1};
  static const bool need[] = {false, false, true};
  return remat_cut(a, &(remat_problem){3, first, operands, need, save, rec}, plan);
}

Test(remat_cut, saves_where_least_crosses) {
  arena a = {0};
  remat_plan plan;
  // The value in the middle is small, and what follows is cheap.
  cr_assert(chain(&a, (double[]){8, 1, 8}, (double[]){INFINITY, 5, 2}, &plan));
  cr_assert(plan.price == 3 && plan.saved[1] && plan.recomputed[2] && !plan.recomputed[1]);
  cr_assert(!plan.saved[0] && !plan.saved[2]);
  // Nothing is free: long arithmetic is saved instead.
  cr_assert(chain(&a, (double[]){0, 4, 4}, (double[]){INFINITY, 3, 3}, &plan));
  cr_assert(plan.price == 4 && plan.saved[2] && !plan.recomputed[1]);
  // In memory anyway.
  cr_assert(chain(&a, (double[]){0, 4, 4}, (double[]){INFINITY, 1, 2}, &plan));
  cr_assert(plan.price == 3 && plan.saved[0] && plan.recomputed[1] && plan.recomputed[2]);
  arena_free(&a);
}

Test(remat_cut, keep_and_checkpoint) {
  arena a = {0};
  remat_plan plan;
  // keep u: what comes after it may be computed again, it itself may not.
  cr_assert(chain(&a, (double[]){0, 9, 20}, (double[]){INFINITY, INFINITY, 1}, &plan));
  cr_assert(plan.price == 10 && plan.saved[1] && plan.recomputed[2]);
  // A block around u and v: whatever it costs.
  cr_assert(chain(&a, (double[]){0, INFINITY, INFINITY}, (double[]){INFINITY, 100, 100}, &plan));
  cr_assert(plan.price == 200 && plan.saved[0]);
  // Both of u: v comes from it.
  cr_assert(!chain(&a, (double[]){0, INFINITY, INFINITY}, (double[]){0, INFINITY, 1}, &plan));
  cr_assert_eq(plan.contradiction.len, 2);
  cr_assert(plan.contradiction.data[0] == 1 && plan.contradiction.data[1] == 2);
  arena_free(&a);
}

// Two needed maps of one row statistic: its pass over the data is paid once.
Test(remat_cut, groups_are_paid_once) {
  arena a = {0};
  remat_plan plan;
  static const int first[] = {0, 0, 1, 2}, operands[] = {0, 0}, members[] = {1, 2};
  static const bool need[] = {false, true, true};
  double save[] = {0, 4, 4}, rec[] = {INFINITY, 0, 0};
  remat_group pass = {members, 2, 6};
  remat_problem p = {3, first, operands, need, save, rec, &pass, 1};
  cr_assert(remat_cut(&a, &p, &plan));
  cr_assert(plan.price == 6 && plan.recomputed[1] && plan.recomputed[2]);
  pass.price = 9;
  cr_assert(remat_cut(&a, &p, &plan));
  cr_assert(plan.price == 8 && plan.saved[1] && plan.saved[2]);
  // For one of them alone it never pays.
  save[2] = 1, pass.price = 4.5;
  cr_assert(remat_cut(&a, &p, &plan));
  cr_assert(plan.price == 4.5 && plan.recomputed[1] && plan.recomputed[2]);
  arena_free(&a);
}

// Loading the operand of what is computed again costs something, unless that is computed again too.
Test(remat_cut, reads_of_saved_operands) {
  arena a = {0};
  remat_plan plan;
  static const int first[] = {0, 0, 1}, operands[] = {0};
  static const bool need[] = {true, true};
  double save[] = {3, 10}, rec[] = {4, 1};
  static const int reader = 1;
  remat_read load = {0, &reader, 1, 1.5};
  remat_problem p = {2, first, operands, need, save, rec, .reads = &load, .nreads = 1};
  cr_assert(remat_cut(&a, &p, &plan));
  cr_assert(plan.price == 5 && plan.recomputed[0] && plan.recomputed[1]);
  p.nreads = 0;
  cr_assert(remat_cut(&a, &p, &plan));
  cr_assert(plan.price == 4 && plan.saved[0] && plan.recomputed[1]);
  arena_free(&a);
}

Test(remat_cut, five_thousand_units) {
  enum { UNITS = 5000 };
  arena a = {0};
  int *first = arena_array(&a, int, UNITS + 1), *operands = arena_array(&a, int, 2 * UNITS);
  bool *need = arena_array(&a, bool, UNITS);
  double *save = arena_array(&a, double, UNITS), *rec = arena_array(&a, double, UNITS);
  state = 1;
  for (int v = 0, at = 0; v < UNITS; v++) {
    if (v) operands[at++] = v - 1;
    if (v > 1 && v % 2) operands[at++] = v - 1 - (int)draw(v < 20 ? 2 : 20);
    first[v + 1] = at;
    need[v] = v % 3 == 0 || v == UNITS - 1;
    save[v] = 1 + draw(200) / 7.0, rec[v] = v % 100 == 0 ? 500 : draw(30) / 7.0;
  }
  remat_problem p = {UNITS, first, operands, need, save, rec};
  remat_plan plan, all;
  clock_t before = clock();
  cr_assert(remat_cut(&a, &p, &plan));
  double seconds = (double)(clock() - before) / CLOCKS_PER_SEC;
  int saved = 0, again = 0;
  bool *may = arena_array(&a, bool, UNITS);
  for (int v = 0; v < UNITS; v++)
    saved += plan.saved[v], again += plan.recomputed[v], may[v] = true;
  remat_follow(&a, &p, may, &all);
  cr_log_info("%d saved, %d computed again for %g instead of %g: %.1f ms", saved, again, plan.price,
              all.price, 1e3 * seconds);
  cr_assert(saved > 100 && again > 100 && plan.price < all.price);
  cr_assert_lt(seconds, 1);
  arena_free(&a);
}
