// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels in an order that needs less memory: found where there is one, legal, left alone where it saves little.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "graph_text.h"
#include "lower_targets.h"
#include "passes/fusion/fuse.h"

static graph *fused(arena *a, const char *text) {
  target_info target = cpu_target(2);
  arena scratch = {0};
  pass_options options = {.target = &target};
  diag_list diags = {.arena = a};
  pass_ctx ctx = {graph_of_text(a, text), &scratch, &options, &diags};
  pass_fuse(&ctx);
  arena_free(&scratch);
  return ctx.graph;
}

static int kernel_of(const graph *g, op o) {
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == o) return g->nodes.data[i]->kernel;
  return -1;
}

static int64_t live_bytes(const graph *g) {
  target_info target = cpu_target(2);
  pass_options options = {.target = &target};
  return graph_temporaries(g, &options).live;
}

#define AXES "axis N = 256 axis D = 256 axis E = 256 axis F = 16\n"
enum { SQUARE = 256 * 256 * 4, STRIP = 256 * 16 * 4 };

// %3 waits for its last reader, which is late in the program, while %5 is made.
#define WAITING(PHASE) "graph @f(%x: f32[N, D], %w: f32[D, E], %u: f32[E, F]) { " AXES \
  "%3 = dot %x, %w over D : f32[N, E] %4 = cumsum %3 over N : f32[N, E] %5 = cumprod %4 over E : f32[N, E] " \
  "%6 = dot %5, %u over E : f32[N, F] %7 = dot %3, %u over E : f32[N, F]" PHASE " return %6, %7 }"

static int kernel_of_output(const graph *g, int i) { return g->outputs.data[i].value->kernel; }

Test(kernel_order, a_value_is_read_before_others_are_made) {
  arena a = {0};
  const graph *g = fused(&a, WAITING(""));
  cr_assert_lt(kernel_of_output(g, 1), kernel_of(g, OP_cumprod));
  cr_assert_eq(live_bytes(g), 2 * SQUARE);
  arena_free(&a);
}

Test(kernel_order, later_phases_stay_behind) {
  arena a = {0};
  const graph *g = fused(&a, WAITING(" phase 1"));
  cr_assert_eq(kernel_of_output(g, 1), g->nkernels - 1);
  cr_assert_eq(live_bytes(g), 3 * SQUARE);
  arena_free(&a);
}

Test(kernel_order, host_functions_are_called_in_their_order) {
  arena a = {0};
  const graph *g = fused(&a, "graph @f(%x: f32[N, D], %w: f32[D, E]) { " AXES
    "%2 = dot %x, %w over D : f32[N, E] %3 = cumsum %2 over N : f32[N, E] %4 = cumprod %3 over E : f32[N, E] "
    "%5 = call @first(%4) : f32[N, F] %6 = call @second(%2) : f32[N, F] return %5, %6 }");
  cr_assert_lt(kernel_of_output(g, 0), kernel_of_output(g, 1));
  cr_assert_eq(live_bytes(g), 3 * SQUARE);
  arena_free(&a);
}

Test(kernel_order, not_for_little) {
  arena a = {0};
  const graph *g = fused(&a, "graph @f(%x: f32[N, D], %w: f32[D, F], %v: f32[F, E], %u: f32[E, F]) { " AXES
    "%4 = dot %x, %w over D : f32[N, F] %5 = dot %4, %v over F : f32[N, E] %6 = cumsum %5 over N : f32[N, E] "
    "%7 = cumprod %6 over E : f32[N, E] %8 = dot %7, %u over E : f32[N, F] %9 = cumsum %4 over N : f32[N, F] "
    "return %8, %9 }");
  cr_assert_eq(kernel_of_output(g, 1), g->nkernels - 1);
  cr_assert_eq(live_bytes(g), 2 * SQUARE + STRIP);
  arena_free(&a);
}

// ---- against all orders

enum { MOST = 8 };
typedef struct dag {
  int n, bytes[MOST];
  bool reads[MOST][MOST];  // [reader][maker]
} dag;

static int64_t peak_of(const dag *d, const int *order) {
  int at[MOST];
  int64_t peak = 0;
  for (int p = 0; p < d->n; p++) at[order[p]] = p;
  for (int p = 0; p < d->n; p++) {
    int64_t live = 0;
    for (int v = 0; v < d->n; v++) {
      int last = at[v];
      for (int r = 0; r < d->n; r++)
        if (d->reads[r][v] && at[r] > last) last = at[r];
      if (at[v] <= p && p <= last && last > at[v]) live += d->bytes[v];
    }
    if (live > peak) peak = live;
  }
  return peak;
}

static int64_t least_peak(const dag *d, int *order, int n, unsigned used) {
  if (n == d->n) return peak_of(d, order);
  int64_t least = INT64_MAX;
  for (int k = 0; k < d->n; k++) {
    bool ready = !(used >> k & 1);
    for (int i = 0; i < d->n; i++) ready &= !d->reads[k][i] || used >> i & 1;
    if (!ready) continue;
    order[n] = k;
    int64_t peak = least_peak(d, order, n + 1, used | 1u << k);
    if (peak < least) least = peak;
  }
  return least;
}

static int below(uint64_t *state, int n) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (int)((*state >> 33) % (uint64_t)n);
}

/// Kernels of maps, each along an axis of its own so that sizes differ and nothing is in the place of what it reads.
/// The last one is returned, and reads what nothing else does.
static graph *random_dag(arena *a, uint64_t seed, dag *d) {
  uint64_t r = seed;
  strbuf out = sb_new(a), kernels = sb_new(a);
  int value[MOST], next = 1;
  *d = (dag){.n = 5 + below(&r, MOST - 4)};
  sb_puts(&out, "fused graph @f(%x: f32[N]) { axis N = 64 ");
  for (int k = 0; k < d->n; k++) {
    int size = 16 << below(&r, 5);
    bool last = k + 1 == d->n;
    d->bytes[k] = last ? 0 : 4 * size;
    sb_printf(&out, "axis A%d = %d ", k, size);
    sb_printf(&kernels, "kernel %d { %%%d = view %%x[A%d %% 64] : f32[A%d] ", k, next, k, k);
    sb_printf(&kernels, "%%%d = neg %%%d : f32[A%d] ", next + 1, next, k);
    next += 2;
    for (int i = 0; i < k; i++) {
      bool read = false;
      for (int j = 0; j < k; j++) read |= d->reads[j][i];
      d->reads[k][i] = last ? !read : below(&r, k - i + 1) == 0;
      if (!d->reads[k][i]) continue;
      sb_printf(&kernels, "%%%d = view %%%d[A%d %% %d] : f32[A%d] ", next, value[i], k, d->bytes[i] / 4, k);
      sb_printf(&kernels, "%%%d = add %%%d, %%%d : f32[A%d] ", next + 1, next - 1, next, k);
      next += 2;
    }
    value[k] = next - 1;
    sb_puts(&kernels, "} ");
  }
  sb_put(&out, sb_str(&kernels));
  sb_printf(&out, "return %%%d }", next - 1);
  return graph_of_text(a, out.data);
}

Test(kernel_order, close_to_the_best_of_all) {
  int better = 0, best = 0, possible = 0;
  for (uint64_t seed = 0; seed < 2000; seed++) {
    arena a = {0};
    dag d;
    const graph *g = random_dag(&a, seed, &d);
    int order[MOST], plain[MOST], room[MOST];
    for (int i = 0; i < d.n; i++) plain[i] = i;
    int64_t before = peak_of(&d, plain), least = least_peak(&d, room, 0, 0);
    bool found = kernels_in_less_memory(g, &a, order);
    int64_t after = found ? peak_of(&d, order) : before;
    if (found) {
      uint32_t done = 0;
      for (int i = 0; i < d.n; done |= 1u << order[i++])
        for (int k = 0; k < d.n; k++) cr_assert(!d.reads[order[i]][k] || done >> k & 1, "seed %d", (int)seed);
      cr_assert_eq(done, (1u << d.n) - 1);
      cr_assert_lt(after, before - before / 32);
    }
    possible += least < before - before / 32;
    better += found;
    best += found && after == least;
    arena_free(&a);
  }
  cr_log_info("of 2000 graphs %d could take less, %d do, %d the least", possible, better, best);
  cr_assert_gt(possible, 500);
  cr_assert_gt(better, 0.95 * possible);
  cr_assert_gt(best, 0.85 * possible);
}
