// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Plans of a long program, made of plans of its segments.
//
//   options of each distinct run: plans of its graph, judged: seconds, bytes that stay, bytes at its peak
//   choice: one option for each segment, or for a run of several without the values between them, such
//   that for each   what it and all before leave + what it takes itself   is within the budget
//
// Later segments are gone by the time that a segment's turn in the backward pass comes. States (bytes left so
// far, seconds so far) go from the first segment to the last; those with more of both than another are
// dropped, so that the choice is the best of these options. What the whole then takes is judged.
#include <math.h>
#include <stdlib.h>

#include "base/fault.h"
#include "base/map.h"
#include "passes/remat/remat.h"

enum { MAX_OPTIONS = 16, JUDGED_PER_RUN = 48, JUDGED_PER_LONG_RUN = 16, LEAST_PER_RUN = 6 };
/// States after a segment, fewer where there are many segments.
enum { MAX_STATES = 4096, LEAST_STATES = 256, ALL_STATES = 1 << 15 };

/// Numbers of segments in a run; those that are too long for the program are left out.
static const int lengths[] = {1, 2, 3, 4, 6, 8};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

typedef struct plan_option {
  double seconds, saved, peak;
  const bool *recomputed;  // by node id of the run's graph
} plan_option;

/// Runs with equal graphs.
typedef struct run_kind {
  const graph *g;
  plan_option options[MAX_OPTIONS];
  int n;
} run_kind;

typedef struct placed_run {
  remat_run run;
  run_kind *kind;  // null: it has no plan
} placed_run;

struct remat_composer {
  arena *a;
  const remat_search *whole;
  remat_segments segments;
  placed_run *runs;  // by segment it begins with and length
  int *kinds;        // by segment: equal ones have equal numbers
  int left;          // nodes that may be judged
};

static placed_run *run_at(remat_composer *c, int first, int length) {
  return &c->runs[first * LENGTHS + length];
}

// ---- options

static int by_seconds(const void *a, const void *b) {
  const plan_option *x = a, *y = b;
  if (x->seconds != y->seconds) return x->seconds < y->seconds ? -1 : 1;
  if (x->saved != y->saved) return x->saved < y->saved ? -1 : 1;
  return (x->peak > y->peak) - (x->peak < y->peak);
}

/// What no other option is at least as good as in all three.
static int drop_dominated(plan_option *list, int n) {
  int kept = 0;
  qsort(list, (size_t)n, sizeof *list, by_seconds);
  for (int i = 0; i < n; i++) {
    bool dominated = false;
    for (int k = 0; k < kept && !dominated; k++)
      dominated = list[k].saved <= list[i].saved && list[k].peak <= list[i].peak;
    if (!dominated) list[kept++] = list[i];
  }
  return kept;
}

/// Spread over all that there are, the fastest and the leanest among them.
static void take_options(run_kind *kind, const plan_option *list, int n) {
  kind->n = n < MAX_OPTIONS ? n : MAX_OPTIONS;
  for (int i = 0; i < kind->n; i++)
    kind->options[i] = list[kind->n == n ? i : (int)((int64_t)i * (n - 1) / (kind->n - 1))];
}

/// Values between the segments of the run are not kept.
static void forbid_inner(const remat_composer *c, const remat_run *r, remat_units *u) {
  for (int i = r->nparams; i < r->ids.len; i++)
    for (int k = r->first; k < r->last; k++)
      if (c->segments.heads[k] == r->ids.data[i] && !isinf(u->fixed[i])) u->keep[i] = INFINITY;
}

static void try_run(remat_search *s, bool several) {
  static const double memory[] = {0, 1, 4, 0.25, 16, 64, 256, 1024, 1e4, 1e5, 1e6};
  enum { PRICES = sizeof memory / sizeof *memory };
  bool *none = arena_array(s->a, bool, s->units.n);
  int most = s->left;
  for (int i = 0; i < s->units.n; i++) none[i] = isinf(s->units.fixed[i]);
  remat_try_saved(s, none);
  if (several) {
    static const double some[] = {0, 4, 64, 1e4};
    remat_try_cuts(s, some, 4);
    return;
  }
  if (remat_try_all(s)) return;
  remat_try_cuts(s, memory, PRICES);
  remat_try_flips(s, &(remat_goal){.slack = 0.01, .budget = -1});
  s->left += most / 4;
  remat_try_flips(s, &(remat_goal){.budget = 0});
}

/// Where no two segments are equal there are too many to be generous.
static int judgements_of(const remat_composer *c, const graph *g, bool several) {
  int most = several ? JUDGED_PER_LONG_RUN : JUDGED_PER_RUN;
  int affordable = c->left / (g->nodes.len + 1);
  return affordable > most ? most : affordable < LEAST_PER_RUN ? LEAST_PER_RUN : affordable;
}

static run_kind *explore(remat_composer *c, const remat_run *r) {
  bool several = r->last > r->first;
  remat_search s = {.a = c->a, .options = c->whole->options};
  s.g = remat_run_graph(c->a, c->whole->g, &c->segments, r);
  s.left = judgements_of(c, s.g, several);
  if (!remat_price(c->a, s.g, s.options, &s.units)) return NULL;
  if (several) forbid_inner(c, r, &s.units);
  for (int i = r->nparams; i < r->ids.len; i++) {
    int id = r->ids.data[i];
    if (!isinf(c->whole->units.fixed[id])) continue;
    s.units.fixed[i] = INFINITY;
    s.units.keep[i] = fmin(s.units.keep[i], c->whole->units.keep[id]);
  }
  if (!remat_keep_all(&s)) return NULL;
  try_run(&s, several);
  c->left -= s.plans.len * s.g->nodes.len;
  plan_option *list = arena_array(c->a, plan_option, s.plans.len);
  for (int i = 0; i < s.plans.len; i++) {
    const remat_judged *p = &s.plans.data[i];
    list[i] =
        (plan_option){p->j.seconds, (double)p->j.saved, (double)p->j.memory.bytes, p->recomputed};
  }
  run_kind *kind = arena_new(c->a, run_kind);
  kind->g = s.g;
  take_options(kind, list, drop_dominated(list, s.plans.len));
  return kind;
}

/// The numbers of its segments: equal runs are made of equal segments.
static str key_of(const remat_composer *c, int first, int length) {
  strbuf out = sb_new(c->a);
  for (int i = 0; i < length; i++) sb_printf(&out, "%d ", c->kinds[first + i]);
  return sb_str(&out);
}

static void number_segments(remat_composer *c) {
  map seen = {0};
  const remat_search *w = c->whole;
  c->kinds = arena_array(c->a, int, c->segments.n);
  for (int i = 0; i < c->segments.n; i++) {
    remat_run r = remat_run_of(c->a, w->g, &w->units, &c->segments, i, i);
    str text = remat_run_text(c->a, w->g, &c->segments, &r);
    intptr_t known = (intptr_t)map_get(&seen, text);
    if (!known) map_put(c->a, &seen, text, (void *)(known = i + 1));
    c->kinds[i] = (int)known;
  }
}

/// Node for node: equal segments may be put together otherwise.
static bool is_of_kind(const remat_composer *c, const remat_run *r, const run_kind *kind) {
  if (kind->g->nodes.len != r->ids.len) return false;
  for (int i = r->nparams; i < r->ids.len; i++)
    if (kind->g->nodes.data[i]->op != c->whole->g->nodes.data[r->ids.data[i]]->op) return false;
  return true;
}

static void explore_runs(remat_composer *c) {
  map known = {0};
  const remat_search *w = c->whole;
  int n = c->segments.n;
  c->runs = arena_array(c->a, placed_run, n * LENGTHS);
  for (int k = 0; k < LENGTHS; k++)
    for (int first = 0; first + lengths[k] <= n && (k == 0 || lengths[k] < n); first++) {
      placed_run *at = run_at(c, first, k);
      at->run = remat_run_of(c->a, w->g, &w->units, &c->segments, first, first + lengths[k] - 1);
      str key = key_of(c, first, lengths[k]);
      at->kind = map_get(&known, key);
      if (!at->kind && (k == 0 || c->left > 0)) {
        at->kind = explore(c, &at->run);
        if (at->kind) map_put(c->a, &known, key, at->kind);
      }
      if (at->kind && !is_of_kind(c, &at->run, at->kind)) at->kind = NULL;
    }
}

remat_composer *remat_composer_new(arena *a, const remat_search *whole, int nodes) {
  remat_composer *c = arena_new(a, remat_composer);
  *c = (remat_composer){.a = a, .whole = whole, .left = nodes};
  c->segments = remat_divide(a, whole->g, &whole->units);
  if (c->segments.n < 2) return NULL;
  number_segments(c);
  explore_runs(c);
  for (int i = 0; i < c->segments.n; i++)
    if (!run_at(c, i, 0)->kind) return NULL;
  return c;
}

int remat_segment_count(const remat_composer *c) { return c ? c->segments.n : 1; }

// ---- choice

typedef struct state {
  double bytes, seconds;
  int from;  // of the state before it, among those of its segment
  uint8_t length, option;
} state;

typedef struct states {
  state *data;
  int n, cap;
} states;

static void push_state(arena *a, states *s, state x) {
  if (s->n == s->cap) {
    int cap = s->cap ? 2 * s->cap : 64;
    s->data =
        arena_grow(a, s->data, sizeof *s->data * (size_t)s->cap, sizeof *s->data * (size_t)cap);
    s->cap = cap;
  }
  s->data[s->n++] = x;
}

static int by_bytes(const void *a, const void *b) {
  const state *x = a, *y = b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
  if (x->seconds != y->seconds) return x->seconds < y->seconds ? -1 : 1;
  if (x->from != y->from) return x->from < y->from ? -1 : 1;
  if (x->length != y->length) return x->length < y->length ? -1 : 1;
  return (x->option > y->option) - (x->option < y->option);
}

/// Those that no other is better than. Of too many, the fastest of each part of the budget, whose bytes
/// are rounded up, so that what fits still does.
static void drop_states(states *s, double budget, int most) {
  double least = INFINITY, unit = 0;
  int kept = 0;
  if (!s->n) return;
  for (int round = 0; round < 2; round++) {
    qsort(s->data, (size_t)s->n, sizeof *s->data, by_bytes);
    kept = 0, least = INFINITY;
    for (int i = 0; i < s->n; i++) {
      if (s->data[i].seconds >= least) continue;
      least = s->data[i].seconds;
      s->data[kept++] = s->data[i];
    }
    s->n = kept;
    if (kept <= most) return;
    unit = budget / most;
    for (int i = 0; i < kept; i++) s->data[i].bytes = ceil(s->data[i].bytes / unit) * unit;
  }
}

/// The states after run number `first`, `length`, from those before it.
static void extend(remat_composer *c, arena *a, states *all, int first, int length, double budget) {
  const placed_run *at = run_at(c, first, length);
  const states *from = &all[first];
  states *to = &all[first + lengths[length]];
  double waiting =
      c->segments.aside_bytes + c->segments.carried[at->run.last] + at->run.outer_bytes;
  for (int k = 0; at->kind && k < at->kind->n; k++) {
    const plan_option *o = &at->kind->options[k];
    for (int i = 0; i < from->n; i++) {
      if (from->data[i].bytes + o->peak + waiting > budget) break;  // ascending
      push_state(a, to,
                 (state){from->data[i].bytes + o->saved + at->run.head_bytes,
                         from->data[i].seconds + o->seconds, i, (uint8_t)length, (uint8_t)k});
    }
  }
}

static void choose_saved(remat_composer *c, const placed_run *at, const plan_option *o,
                         bool *may_save) {
  int last = at->run.last;
  for (int i = at->run.nparams; i < at->run.ids.len; i++) {
    int id = at->run.ids.data[i];
    bool leads_out = last < c->segments.n - 1 && c->segments.heads[last] == id;
    if (c->segments.of[id] >= 0 && !leads_out) may_save[id] &= !o->recomputed[i];
  }
}

bool remat_compose(remat_composer *c, double budget, bool *may_save) {
  scratch room;
  scratch_open(&room);
  int n = c->segments.n, most = ALL_STATES / n;
  if (most > MAX_STATES) most = MAX_STATES;
  if (most < LEAST_STATES) most = LEAST_STATES;
  states *all = arena_array(&room.arena, states, n + 1);
  push_state(&room.arena, &all[0], (state){0});
  for (int first = 0; first < n; first++) {
    drop_states(&all[first], budget, most);
    for (int k = 0; k < LENGTHS; k++)
      if (first + lengths[k] <= n) extend(c, &room.arena, all, first, k, budget);
  }
  bool found = all[n].n > 0;
  int best = 0;
  for (int i = 0; i < all[n].n; i++)
    if (all[n].data[i].seconds < all[n].data[best].seconds) best = i;
  for (int at = found ? n : 0; at > 0;) {
    const state *s = &all[at].data[best];
    int first = at - lengths[s->length];
    const placed_run *run = run_at(c, first, s->length);
    choose_saved(c, run, &run->kind->options[s->option], may_save);
    at = first;
    best = s->from;
  }
  scratch_close(&room);
  return found;
}

void remat_compose_fast(remat_composer *c, double slack, bool *may_save) {
  for (int i = 0; i < c->segments.n; i++) {
    const placed_run *at = run_at(c, i, 0);
    const plan_option *best = NULL;
    for (int k = 0; k < at->kind->n; k++) {
      const plan_option *o = &at->kind->options[k];
      if (o->seconds > (1 + slack) * at->kind->options[0].seconds) continue;
      if (!best || o->saved < best->saved || (o->saved == best->saved && o->peak < best->peak))
        best = o;
    }
    choose_saved(c, at, best, may_save);
  }
}

double remat_compose_least(remat_composer *c, double most) {
  double low = 0, high = most;
  bool *unused = arena_array(c->a, bool, c->whole->units.n);
  if (!remat_compose(c, high, unused)) return INFINITY;
  for (int i = 0; i < 24 && high - low > 0.01 * high; i++) {
    double middle = (low + high) / 2;
    if (remat_compose(c, middle, unused)) high = middle;
    else low = middle;
  }
  return high;
}
