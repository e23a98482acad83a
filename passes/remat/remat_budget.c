// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plans for a budget of memory, which is met on the peak that the arena really has.
//
//   the least peak ◀── plans that keep as little as they can
//   the budget     ◀── choices of the segments' plans, for what they are said to take; judged, and again with
//                      more or less, until the peak is just below; then single values change sides
#include <math.h>

#include "base/fault.h"
#include "passes/remat/remat.h"

// ---- text

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Bytes of a unit; 0: there is none.
static double unit_bytes(str unit) {
  static const struct {
    const char *name;
    double bytes;
  } units[] = {{"", 1},
               {"B", 1},
               {"kB", 1e3},
               {"MB", 1e6},
               {"GB", 1e9},
               {"TB", 1e12},
               {"KiB", 1024},
               {"MiB", 1048576.0},
               {"GiB", 1073741824.0},
               {"TiB", 1099511627776.0}};
  for (size_t i = 0; i < sizeof units / sizeof *units; i++)
    if (str_eqz(unit, units[i].name)) return units[i].bytes;
  return 0;
}

bool memory_budget_parse(str text, memory_budget *out) {
  double value = 0, place = 1;
  int i = 0, digits = 0;
  for (; i < text.len && is_digit(text.ptr[i]); i++, digits++)
    value = 10 * value + (text.ptr[i] - '0');
  bool fraction = i < text.len && text.ptr[i] == '.';
  for (i += fraction; fraction && i < text.len && is_digit(text.ptr[i]); i++, digits++)
    value += (text.ptr[i] - '0') * (place /= 10);
  i += i + 1 < text.len && text.ptr[i] == ' ';
  str unit = {text.ptr + i, text.len - i};
  double bytes = unit_bytes(unit);
  *out = (memory_budget){.kind = BUDGET_NONE};
  if (!digits || !bytes) return false;
  if (fraction && !unit.len) {
    *out = (memory_budget){.kind = BUDGET_SHARE, .share = value};
    return value <= 1;
  }
  *out = (memory_budget){.kind = BUDGET_BYTES, .bytes = (int64_t)(value * bytes)};
  return value * bytes < 9e18;
}

// ---- plans

static const double prices[] = {0, 1, 4, 0.25, 16, 64, 256, 1024, 1e4, 1e5, 1e6};
enum { PRICES = sizeof prices / sizeof *prices };
/// Of programs from here on a judgement takes so long that only choices of segments' plans are judged.
enum { LONG_PROGRAM = 4000 };

/// The peak of a choice of segments' plans for that much; -1: there is none.
static int64_t try_choice(remat_search *s, remat_composer *c, double bytes) {
  bool *may_save = remat_may_save(s->a, &s->units);
  if (!remat_compose(c, bytes, may_save)) return -1;
  int plan = remat_try_saved(s, may_save);
  return plan < 0 ? -1 : s->plans.data[plan].j.memory.bytes;
}

static double full_bytes(const remat_search *s) { return (double)s->plans.data[0].j.memory.bytes; }

/// What segments are said to take is no less than they do, mostly: no bound is needed beyond this.
static double most_bytes(const remat_search *s) { return 4 * full_bytes(s) + 1e6; }

static void try_least(remat_search *s, remat_composer *c) {
  bool is_long = s->g->nodes.len >= LONG_PROGRAM;
  bool *none = arena_array(s->a, bool, s->units.n);
  for (int i = 0; i < s->units.n; i++) none[i] = isinf(s->units.fixed[i]);
  if (!c || !is_long) remat_try_saved(s, none);
  if (!c) return;
  double least = remat_compose_least(c, full_bytes(s));
  if (isinf(least)) least = remat_compose_least(c, most_bytes(s));
  if (isinf(least)) return;
  try_choice(s, c, least);
  if (!is_long) try_choice(s, c, 1.05 * least);
}

/// What is left of a budget that is met.
static const double CLOSE = 0.01;

/// Towards the most that the budget lets segments take, and no further.
static void approach(remat_search *s, remat_composer *c, int64_t budget) {
  enum { STEPS = 8, STEPS_OF_LONG = 4 };
  int steps = s->g->nodes.len >= LONG_PROGRAM ? STEPS_OF_LONG : STEPS;
  double low = 0, high = INFINITY, at = (double)budget;
  for (int i = 0; i < steps && s->left > 0; i++) {
    int64_t peak = try_choice(s, c, at);
    if (peak >= 0 && peak <= budget) {
      if ((double)(budget - peak) < CLOSE * (double)budget) return;
      low = at;
      at += (double)(budget - peak) + 0.01 * at;
    } else {
      high = at;
      at -= peak < 0 ? -0.25 * at : (double)(peak - budget) + 0.002 * at;
      // Nothing fits into less than the least.
      if (peak < 0) high = INFINITY, low = at / 1.25;
    }
    if (at >= high || at <= low) at = isinf(high) ? 1.25 * low : (low + high) / 2;
    if (high - low < 0.002 * high) break;
  }
}

void remat_try_budget(remat_search *s, remat_composer *c, int64_t budget) {
  remat_goal goal = {.budget = budget};
  if (s->all) return;
  if (c) approach(s, c, budget);
  if (c && s->g->nodes.len >= LONG_PROGRAM) return;
  if (!s->cut) remat_try_cuts(s, prices, PRICES);
  s->cut = true;
  remat_try_flips(s, &goal);
}

void remat_search_least(remat_search *s, remat_composer *c) {
  try_least(s, c);
  if (c && s->g->nodes.len >= LONG_PROGRAM) return;
  if (!s->cut) remat_try_cuts(s, prices, PRICES);
  s->cut = true;
  remat_try_flips(s, &(remat_goal){.budget = 0});
}

int64_t remat_least(remat_search *s, remat_composer *c) {
  enum { NEEDED = 6 };
  if (!s->least_known) {
    s->least_known = true;
    int rest = s->left - s->left / 4;
    s->left -= rest;
    s->all = remat_try_all(s);
    s->left += rest;
    int most = s->left / 4 > NEEDED ? s->left / 4 : NEEDED;
    rest = s->left > most ? s->left - most : 0;
    s->left -= rest;
    if (!s->all) remat_search_least(s, c);
    s->left += rest;
  }
  return s->plans.data[remat_best(s, &(remat_goal){.budget = 0})].j.memory.bytes;
}
