// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What clusters take, alone and as one, by the cost model. Found once, until something changes them: long
// programs ask the same of large clusters again for every unit that may join them.
#include <math.h>
#include <stdlib.h>

#include "passes/fusion/fuse.h"

void cluster_note_cost(fusion *f, int cluster, cost r) {
  f->facts[cluster].cost = r;
  f->facts[cluster].cost_at = f->epoch;
}

cost cluster_cost(fusion *f, int cluster) {
  if (f->facts[cluster].cost_at == f->epoch) return f->facts[cluster].cost;
  candidate c = fusion_candidate(f, cluster, -1);
  cluster_note_cost(f, cluster, fuse_cost(&c, f->target, &f->scratch));
  return f->facts[cluster].cost;
}

double clusters_seconds(fusion *f, int a, int b) {
  if (!f->clusters[a].len && (b < 0 || !f->clusters[b].len)) return 0;
  if (b < 0) return cluster_cost(f, a).seconds;
  candidate c = fusion_candidate(f, a, b);
  if (f->union_cost.seconds < 0) f->union_cost = fuse_cost(&c, f->target, &f->scratch);
  return f->union_cost.seconds;
}

static bool reads_from(const fusion *f, int a, int b) {
  for (int i = 0; i < f->clusters[a].len; i++) {
    const ints *deps = &f->deps[f->clusters[a].data[i]];
    for (int k = 0; k < deps->len; k++)
      if (in_cluster(f, deps->data[k], b)) return true;
  }
  return false;
}

static int by_id(const void *a, const void *b) {
  const input_bytes *x = a, *y = b;
  return (x->id > y->id) - (x->id < y->id);
}

/// What the cluster reads, ascending.
static const cluster_inputs *inputs_of(fusion *f, int cluster) {
  cluster_inputs *in = &f->inputs[cluster];
  if (in->found_at == f->epoch) return in;
  candidate c = fusion_candidate(f, cluster, -1);
  const double *bytes = fuse_input_bytes(&c, &f->scratch);
  const ints *ids = &f->scratch.inputs;
  in->list.len = 0;
  for (int i = 0; i < ids->len; i++)
    vec_push(f->a, &in->list, ((input_bytes){ids->data[i], bytes[ids->data[i]]}));
  if (ids->len) qsort(in->list.data, (size_t)ids->len, sizeof(input_bytes), by_id);
  in->found_at = f->epoch;
  return in;
}

static double bytes_in_both(const cluster_inputs *a, const cluster_inputs *b) {
  double sum = 0;
  for (int i = 0, k = 0; i < a->list.len && k < b->list.len;) {
    const input_bytes *x = &a->list.data[i], *y = &b->list.data[k];
    if (x->id == y->id) sum += fmin(x->bytes, y->bytes);
    i += x->id <= y->id, k += y->id <= x->id;
  }
  return sum;
}

double clusters_least_seconds(fusion *f, int a, int b) {
  static const double rounding = 1e-9;
  if (reads_from(f, a, b) || reads_from(f, b, a)) return 0;
  cost x = cluster_cost(f, a), y = cluster_cost(f, b);
  double both = bytes_in_both(inputs_of(f, a), inputs_of(f, b));
  double bytes = x.bytes_written + y.bytes_written + x.bytes_read + y.bytes_read - both;
  return (1 - rounding) * fuse_memory_seconds(bytes, f->target);
}
