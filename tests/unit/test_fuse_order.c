// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Cycles of clusters as fuse_order.c finds them, against a search of everything, while clusters are joined,
// units computed again elsewhere, and such changes taken back.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes_support.h"
#include "random_graph.h"

/// The clusters that one waits for with a and b as one cluster, whose number is a. `seen` by cluster.
static bool reaches(const fusion *f, int cluster, int a, int b, uint8_t *seen) {
  bool inside = cluster == a;
  for (int part = 0; part < 1 + (inside && b >= 0); part++) {
    const ints *units = &f->clusters[part ? b : cluster];
    for (int i = 0; i < units->len; i++) {
      const ints *deps = &f->deps[units->data[i]];
      for (int k = 0; k < deps->len; k++) {
        int dep = deps->data[k], from = f->homes[dep].data[0];
        bool own = in_cluster(f, dep, cluster) || (inside && b >= 0 && in_cluster(f, dep, b));
        if (own) continue;
        if (from == b) from = a;
        if (from == a) return true;
        if (!seen[from] && (seen[from] = 1) && reaches(f, from, a, b, seen)) return true;
      }
    }
  }
  return false;
}

static bool is_cyclic(const fusion *f, int a, int b) {
  uint8_t *seen = arena_array(f->a, uint8_t, f->nclusters);
  return reaches(f, a, a, b, seen);
}

static int some_cluster(const fusion *f, rng *r) {
  for (;;) {
    int c = rng_below(r, f->nclusters);
    if (f->clusters[c].len) return c;
  }
}

static int far;

static void compare(fusion *f, int a, int b, uint64_t seed) {
  bool cyclic = is_cyclic(f, a, b);
  cr_assert_eq(clusters_cyclic(f, a, b), cyclic, "seed %llu: clusters %d and %d",
               (unsigned long long)seed, a, b);
  if (b >= 0 && clusters_far_apart(f, a, b)) {
    cr_assert(cyclic);
    far++;
  }
}

/// A unit of another cluster is computed by one that reads it, and then perhaps no more.
static void compute_again(fusion *f, rng *r, uint64_t seed) {
  int c = some_cluster(f, r);
  const ints *deps = &f->deps[f->clusters[c].data[rng_below(r, f->clusters[c].len)]];
  if (!deps->len) return;
  int unit = deps->data[rng_below(r, deps->len)];
  if (in_cluster(f, unit, c)) return;
  cluster_add(f, c, unit);
  bool cyclic = is_cyclic(f, c, -1);
  compare(f, c, -1, seed);
  if (!cyclic && rng_below(r, 2)) return;
  cluster_remove(f, c, unit);
  compare(f, c, -1, seed);
}

typedef struct found {
  int cyclic, joined;
} found;

static void change(uint64_t seed, found *count) {
  arena a = {0}, room = {0};
  pass_ctx ctx = {.graph = random_graph(&a, seed), .scratch = &room};
  fusion f;
  fusion_init(&f, &ctx);
  rng r = {seed};
  for (int i = 0; f.nclusters > 1 && i < 60; i++) {
    if (rng_below(&r, 3) == 0) {
      compute_again(&f, &r, seed);
      continue;
    }
    int x = some_cluster(&f, &r), y = some_cluster(&f, &r);
    if (x == y) continue;
    bool cyclic = is_cyclic(&f, x, y);
    compare(&f, x, y, seed);
    count->cyclic += cyclic;
    if (cyclic || rng_below(&r, 3) == 0) continue;
    clusters_merge(&f, x, y);
    count->joined++;
  }
  arena_free(&room);
  arena_free(&a);
}

Test(fuse_order, finds_the_cycles_that_there_are) {
  found count = {0};
  for (uint64_t seed = 0; seed < 600; seed++) change(seed, &count);
  cr_expect_gt(far, 100);
  cr_expect(count.cyclic > 500 && count.joined > 500, "%d cycles, %d joined", count.cyclic,
            count.joined);
}

/// Where the program has a cycle already, what is not on it is not said to be.
Test(fuse_order, cycles_elsewhere_do_not_matter) {
  for (uint64_t seed = 0; seed < 200; seed++) {
    arena a = {0}, room = {0};
    pass_ctx ctx = {.graph = random_graph(&a, seed), .scratch = &room};
    fusion f;
    fusion_init(&f, &ctx);
    rng r = {seed};
    for (int i = 0; f.nclusters > 1 && i < 8; i++) {
      int x = some_cluster(&f, &r), y = some_cluster(&f, &r);
      if (x != y) clusters_merge(&f, x, y);
      for (int c = 0; c < f.nclusters; c++)
        if (f.clusters[c].len) compare(&f, c, -1, seed);
    }
    arena_free(&room);
    arena_free(&a);
  }
}
