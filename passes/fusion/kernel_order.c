// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The order of kernels, where another one needs less memory at once.
//
//   step    0   1   2   3             step    0   2   1   3
//   %a     [w───────────r]            %a     [w───────────r]
//   %b         [w───────r]     ──▶    %c         [w─r]                 %c is dead before %b is there
//   %c     [w───────r]                %b             [w───r]
//
// From the program's order on, the step in which most is in memory is looked at: what reads values that live
// there moves before it, what makes values that are read later moves behind it, each with what must move
// along, and the best such move is kept. Nothing else moves, and where all that saves little, nothing does.
//
// Phases stay one after the other, so that what is computed again for a later one is there late; calls of
// host functions stay in their order.
#include <stdlib.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

enum {
  LEAST_EFFORT = 4096,
  EFFORT = 24,  // looks at a kernel or an operand, for each of them that there is
  WORTH = 32,   // a share of the peak that is saved at least
  MOST_MOVED = 64,
};

typedef struct value {
  int node;       // its id
  int maker;      // kernel
  int64_t bytes;  // 0: not of the arena
  ints readers;   // kernels
} value;

typedef struct kernel_info {
  ints reads, makes;  // values
  overwrites pairs;
  int before, after;  // calls of host functions that are its neighbours; -1 none
  int run;            // kernels of one phase, one after the other
} kernel_info;

typedef struct scheduler {
  const graph *g;
  arena *a;
  in_place memory;
  int n;  // kernels
  kernel_info *kernels;
  value *values;
  int nvalues;
  int *value_of;        // by node id; -1 none
  int *order, *at;      // by place; by kernel, its place
  int64_t *live, *top;  // by place: bytes before the step, in it
  ints moved;           // the kernels of a move
  bool *moves;          // by kernel, none set: in it
  int *room, *was, *best;  // orders of kernels
  value **live_values;     // room
  overwrites pairs;     // room
  int64_t effort;       // left
} scheduler;

// ---- what there is

static void add_call(scheduler *s, int kernel, int *last) {
  kernel_info *k = &s->kernels[kernel];
  k->before = *last;
  if (*last >= 0) s->kernels[*last].after = kernel;
  *last = kernel;
}

static void add_kernel(scheduler *s, int first, int end, int *last_call) {
  const graph *g = s->g;
  int kernel = g->nodes.data[first]->kernel;
  kernel_info *k = &s->kernels[kernel];
  k->before = k->after = -1;
  for (int id = first; id < end; id++) {
    const node *n = g->nodes.data[id];
    if (n->op == OP_call) add_call(s, kernel, last_call);
    if (!s->memory.stored[id]) continue;
    double bytes = in_place_is_temporary(&s->memory, n) ? node_bytes(g, n) : 0;
    s->value_of[id] = s->nvalues;
    vec_push(s->a, &k->makes, s->nvalues);
    s->values[s->nvalues++] = (value){.node = id, .maker = kernel, .bytes = bytes < 1e15 ? (int64_t)bytes : 0};
    if (n->phase > k->run) k->run = n->phase;
  }
  for (int id = first; id < end; id++)
    for (int i = 0; i < g->nodes.data[id]->nin; i++) {
      int v = s->value_of[g->nodes.data[id]->in[i]->id];
      if (v < 0 || s->values[v].maker == kernel) continue;
      ints *readers = &s->values[v].readers;
      if (readers->len && readers->data[readers->len - 1] == kernel) continue;
      vec_push(s->a, readers, kernel);
      vec_push(s->a, &k->reads, v);
    }
  in_place_pairs(&s->memory, first, end, &k->pairs);
  s->effort += EFFORT * (1 + (int64_t)k->reads.len);
}

/// Phases become numbers of runs.
static void number_runs(scheduler *s) {
  int phase = 0, run = 0;
  for (int i = 0; i < s->n; i++) {
    if (s->kernels[i].run != phase) run++;
    phase = s->kernels[i].run;
    s->kernels[i].run = run;
  }
}

static void scheduler_init(scheduler *s, const graph *g, arena *a) {
  *s = (scheduler){.g = g, .a = a, .n = g->nkernels, .effort = LEAST_EFFORT};
  in_place_init(&s->memory, g, a);
  s->kernels = arena_array(a, kernel_info, s->n);
  s->values = arena_array(a, value, g->nodes.len);
  s->value_of = arena_array(a, int, g->nodes.len);
  for (int i = 0; i < g->nodes.len; i++) s->value_of[i] = -1;
  int last_call = -1;
  for (int first = g->nparams, end; first < g->nodes.len; first = end) {
    for (end = first; end < g->nodes.len && g->nodes.data[end]->kernel == g->nodes.data[first]->kernel;)
      end++;
    add_kernel(s, first, end, &last_call);
  }
  number_runs(s);
  s->order = arena_array(a, int, s->n);
  s->at = arena_array(a, int, s->n);
  s->live = arena_array(a, int64_t, s->n + 1);
  s->top = arena_array(a, int64_t, s->n + 1);
  s->moves = arena_array(a, bool, s->n);
  s->room = arena_array(a, int, s->n);
  s->was = arena_array(a, int, s->n);
  s->best = arena_array(a, int, s->n);
  s->live_values = arena_array(a, value *, s->nvalues);
  for (int i = 0; i < s->n; i++) s->order[i] = s->at[i] = i;
}

// ---- what an order takes

/// Nothing reads the value after this place.
static bool ends_at(scheduler *s, const value *v, int place) {
  for (int i = v->readers.len - 1; i >= 0; i--, s->effort--)
    if (s->at[v->readers.data[i]] > place) return false;
  return true;
}

static bool operand_ends(void *ctx, const overwrite *pair) {
  scheduler *s = ctx;
  const value *result = &s->values[s->value_of[pair->result]];
  return ends_at(s, &s->values[s->value_of[pair->operand]], s->at[result->maker]);
}

/// Bytes of results that are stored where operands were.
static int64_t stored_in_place(scheduler *s, const kernel_info *k) {
  if (!k->pairs.len) return 0;
  s->pairs.len = 0;
  for (int i = 0; i < k->pairs.len; i++) vec_push(s->a, &s->pairs, k->pairs.data[i]);
  in_place_take(&s->pairs, operand_ends, s);
  int64_t bytes = 0;
  for (int i = 0; i < s->pairs.len; i++)
    if (s->pairs.data[i].taken) bytes += s->values[s->value_of[s->pairs.data[i].result]].bytes;
  return bytes;
}

/// Sets what is in memory in the step and after it.
static void run_step(scheduler *s, int place) {
  const kernel_info *k = &s->kernels[s->order[place]];
  int64_t made = 0, gone = 0;
  for (int i = 0; i < k->makes.len; i++) {
    made += s->values[k->makes.data[i]].bytes;
    if (!s->values[k->makes.data[i]].readers.len) gone += s->values[k->makes.data[i]].bytes;
  }
  for (int i = 0; i < k->reads.len; i++) {
    const value *v = &s->values[k->reads.data[i]];
    if (v->bytes && ends_at(s, v, place)) gone += v->bytes;
  }
  s->top[place] = s->live[place] + made - stored_in_place(s, k);
  s->live[place + 1] = s->live[place] + made - gone;
  s->effort -= 1 + k->reads.len;
}

/// The most from one place to another, with these kernels there.
static int64_t run_steps(scheduler *s, const int *kernels, int from, int to) {
  int64_t most = 0;
  for (int p = from; p <= to; p++) {
    s->order[p] = kernels[p - from];
    s->at[s->order[p]] = p;
  }
  for (int p = from; p <= to; p++) {
    run_step(s, p);
    if (s->top[p] > most) most = s->top[p];
  }
  return most;
}

static int peak_place(const scheduler *s) {
  int best = 0;
  for (int p = 1; p < s->n; p++)
    if (s->top[p] > s->top[best]) best = p;
  return best;
}

// ---- moves

/// Puts the kernel into the move. False: it is that of the peak, of another run, or too many move.
static bool move_kernel(scheduler *s, int kernel, int peak) {
  if (s->moves[kernel]) return true;
  if (s->at[kernel] == peak || s->kernels[kernel].run != s->kernels[s->order[peak]].run) return false;
  s->moves[kernel] = true;
  vec_push(s->a, &s->moved, kernel);
  return s->moved.len <= MOST_MOVED;
}

/// All that the moved kernels wait for, from the peak on. *first: the place from which on they could be.
static bool close_before(scheduler *s, int peak, int *first) {
  *first = 0;
  for (int i = 0; i < s->moved.len; i++) {
    const kernel_info *k = &s->kernels[s->moved.data[i]];
    for (int r = -1; r < k->reads.len; r++, s->effort--) {
      int dep = r < 0 ? k->before : s->values[k->reads.data[r]].maker;
      if (dep < 0) continue;
      if (s->at[dep] < peak && s->at[dep] >= *first) *first = s->at[dep] + 1;
      if (s->at[dep] >= peak && !move_kernel(s, dep, peak)) return false;
    }
  }
  int run = s->kernels[s->order[peak]].run;
  while (s->kernels[s->order[*first]].run != run) ++*first;
  return true;
}

/// All that waits for the moved kernels, up to the peak. *last: the place up to which they could be.
static bool close_after(scheduler *s, int peak, int *last) {
  *last = s->n - 1;
  for (int i = 0; i < s->moved.len; i++) {
    const kernel_info *k = &s->kernels[s->moved.data[i]];
    for (int m = -1; m < k->makes.len; m++) {
      const ints *readers = m < 0 ? NULL : &s->values[k->makes.data[m]].readers;
      for (int r = 0; r < (readers ? readers->len : 1); r++, s->effort--) {
        int user = readers ? readers->data[r] : k->after;
        if (user < 0) continue;
        if (s->at[user] > peak && s->at[user] <= *last) *last = s->at[user] - 1;
        if (s->at[user] <= peak && !move_kernel(s, user, peak)) return false;
      }
    }
  }
  int run = s->kernels[s->order[peak]].run;
  while (s->kernels[s->order[*last]].run != run) --*last;
  return true;
}

/// Places that change, and the most that is in memory there then.
typedef struct move {
  int from, to;
  int64_t most;
} move;

/// The moved kernels before all others from one place to another, or behind them. Better than the best so far it
/// is kept in s->best; the order stays.
static void try_move(scheduler *s, int from, int to, bool front, move *best) {
  int n = to - from + 1, count = 0;
  if (n > s->effort) return;
  memcpy(s->was, s->order + from, sizeof(int) * (size_t)n);
  for (int part = 0; part < 2; part++)
    for (int i = 0; i < n; i++)
      if (s->moves[s->was[i]] == (front == !part)) s->room[count++] = s->was[i];
  int64_t most = run_steps(s, s->room, from, to);
  if (most < best->most) {
    *best = (move){from, to, most};
    memcpy(s->best, s->room, sizeof(int) * (size_t)n);
  }
  run_steps(s, s->was, from, to);
}

static void clear_moved(scheduler *s) {
  for (int i = 0; i < s->moved.len; i++) s->moves[s->moved.data[i]] = false;
  s->moved.len = 0;
}

/// What reads the value after the peak runs before it.
static void try_readers_before(scheduler *s, const value *v, int peak, move *best) {
  int first, to = peak;
  bool fine = true;
  for (int i = 0; i < v->readers.len && fine; i++)
    if (s->at[v->readers.data[i]] > peak) fine = move_kernel(s, v->readers.data[i], peak);
  if (fine && s->moved.len && close_before(s, peak, &first)) {
    for (int i = 0; i < s->moved.len; i++)
      if (s->at[s->moved.data[i]] > to) to = s->at[s->moved.data[i]];
    try_move(s, peak, to, true, best);
    if (first < peak) try_move(s, first, to, true, best);
  }
  clear_moved(s);
}

/// What makes the value runs behind the peak.
static void try_maker_after(scheduler *s, const value *v, int peak, move *best) {
  int last, from = peak;
  if (move_kernel(s, v->maker, peak) && close_after(s, peak, &last)) {
    for (int i = 0; i < s->moved.len; i++)
      if (s->at[s->moved.data[i]] < from) from = s->at[s->moved.data[i]];
    try_move(s, from, peak, false, best);
    if (last > peak) try_move(s, from, last, false, best);
  }
  clear_moved(s);
}

static int by_bytes(const void *a, const void *b) {
  const value *x = *(value *const *)a, *y = *(value *const *)b;
  if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
  return (x->node > y->node) - (x->node < y->node);
}

/// Makes the best move for the peak. False: none lowers it.
static bool improve(scheduler *s) {
  int peak = peak_place(s), n = 0;
  for (int i = 0; i < s->nvalues; i++) {
    value *v = &s->values[i];
    if (v->bytes && s->at[v->maker] <= peak && !ends_at(s, v, peak - 1)) s->live_values[n++] = v;
  }
  s->effort -= s->nvalues;
  qsort(s->live_values, (size_t)n, sizeof *s->live_values, by_bytes);
  move best = {.most = s->top[peak]};
  for (int i = 0; i < n && s->effort > 0; i++) {
    const value *v = s->live_values[i];
    try_readers_before(s, v, peak, &best);
    if (s->at[v->maker] < peak) try_maker_after(s, v, peak, &best);
  }
  if (best.most == s->top[peak]) return false;
  run_steps(s, s->best, best.from, best.to);
  return true;
}

bool kernels_in_less_memory(const graph *g, arena *a, int *order) {
  scheduler s;
  if (g->nkernels < 3) return false;
  scheduler_init(&s, g, a);
  int64_t before = run_steps(&s, arena_copy(a, s.order, sizeof(int) * (size_t)s.n), 0, s.n - 1);
  while (s.effort > 0 && improve(&s)) {}
  memcpy(order, s.order, sizeof(int) * (size_t)s.n);
  return s.top[peak_place(&s)] < before - before / WORTH;
}
