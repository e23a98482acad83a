// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which results of a streamed derivative are of one kernel.
//
//   walks T: c, dq    walks S: dk (reads c), dv         two kernels, one after the other
//   walks T: a, z     walks S: b (reads a)              z reads b: three, for that of T would wait for
//                                                       that of S, and it for that of T
//
// Results that walk the same axes are of one kernel, unless one waits for what the other one's kernel has
// written and a third has read. First each gets the earliest stage at which all is there that it needs of others; then
// stages of the same axes are joined while no kernels wait for each other.
#include "ir/grad_stream.h"

enum { MOST_PARTS = 64 };

typedef struct staging {
  const graph *g;
  arena *a;
  const stream_results *r;
  int **inside;  // by walk, by node: the stage at which a kernel of it can have the value
  int *stored;   // by node: the stage at which it is in memory
  int *stage;    // by node that is a result
} staging;

static int latest(const node *n, const int *stage) {
  int last = 0;
  for (int k = 0; k < n->nin; k++)
    if (stage[n->in[k]->id] > last) last = stage[n->in[k]->id];
  return last;
}

static void find_stages(staging *s) {
  for (int id = 0; id < s->r->count; id++) {
    const node *n = s->g->nodes.data[id];
    int walk = s->r->walk[id];
    if (walk) {
      s->stage[id] = latest(n, s->inside[walk - 1]);
      s->stored[id] = s->stage[id] + 1;
    } else {
      s->stored[id] = latest(n, s->stored);
    }
    for (int w = 0; w < s->r->nwalks; w++) {
      if (walk == w + 1) s->inside[w][id] = s->stage[id];
      else if (walk || !s->r->inner[id]) s->inside[w][id] = s->stored[id];
      else s->inside[w][id] = latest(n, s->inside[w]);
    }
  }
}

// ---- joining

typedef struct joining {
  int n, walk[MOST_PARTS], stage[MOST_PARTS];
  int joined[MOST_PARTS];              // with which it is one, the first of these
  bool waits[MOST_PARTS][MOST_PARTS];  // for what the other one stores, at once or through others
  bool apart[MOST_PARTS]
            [MOST_PARTS];  // what it waits for is made of that outside of all kernels of the walk
} joining;

static int part_of(joining *j, int walk, int stage) {
  for (int i = 0; i < j->n; i++)
    if (j->walk[i] == walk && j->stage[i] == stage) return i;
  if (j->n == MOST_PARTS) return -1;
  j->walk[j->n] = walk;
  j->stage[j->n] = stage;
  j->joined[j->n] = j->n;
  return j->n++;
}

static uint64_t all_of(const node *n, const uint64_t *needs) {
  uint64_t all = 0;
  for (int k = 0; k < n->nin; k++) all |= needs[n->in[k]->id];
  return all;
}

/// As find_stages(), the sets of parts instead of the stages.
static void find_waits(const staging *s, joining *j, const int *part) {
  int count = s->r->count, nwalks = s->r->nwalks;
  uint64_t *stored = arena_array(s->a, uint64_t, count),
           **inside = arena_array(s->a, uint64_t *, nwalks),
           **outside = arena_array(s->a, uint64_t *, nwalks);
  for (int w = 0; w < nwalks; w++) {
    inside[w] = arena_array(s->a, uint64_t, count);
    outside[w] = arena_array(s->a, uint64_t, count);
  }
  for (int id = 0; id < count; id++) {
    const node *n = s->g->nodes.data[id];
    int walk = s->r->walk[id];
    for (int i = 0; walk && i < j->n; i++) {
      j->waits[part[id]][i] |= all_of(n, inside[walk - 1]) >> i & 1;
      j->apart[part[id]][i] |= all_of(n, outside[walk - 1]) >> i & 1;
    }
    stored[id] = walk ? (uint64_t)1 << part[id] : all_of(n, stored);
    for (int w = 0; w < nwalks; w++) {
      bool inner = !walk && s->r->inner[id];
      inside[w][id] = inner ? all_of(n, inside[w]) : stored[id];
      outside[w][id] = inner ? all_of(n, outside[w]) : walk == w + 1 ? 0 : stored[id];
    }
  }
  for (int i = 0; i < j->n; i++) j->waits[i][i] = false;
}

static void close_waits(joining *j) {
  for (int k = 0; k < j->n; k++)
    for (int a = 0; a < j->n; a++)
      for (int b = 0; b < j->n; b++) j->waits[a][b] |= j->waits[a][k] && j->waits[k][b];
}

/// Nothing between the two waits for one and is waited for by the other.
static bool may_join(const joining *j, int a, int b) {
  if (j->apart[a][b] || j->apart[b][a]) return false;
  for (int k = 0; k < j->n; k++) {
    if (k == a || k == b) continue;
    if ((j->waits[a][k] && j->waits[k][b]) || (j->waits[b][k] && j->waits[k][a])) return false;
  }
  return true;
}

static void join(joining *j, int a, int b) {
  j->joined[b] = a;
  for (int k = 0; k < j->n; k++) {
    j->waits[a][k] |= j->waits[b][k];
    j->waits[k][a] |= j->waits[k][b];
    j->waits[b][k] = j->waits[k][b] = false;
    j->apart[a][k] |= j->apart[b][k];
    j->apart[k][a] |= j->apart[k][b];
  }
  j->waits[a][a] = false;
  close_waits(j);
}

void grad_stage_results(const graph *g, arena *a, const stream_results *r, int *part) {
  staging s = {.g = g, .a = a, .r = r};
  joining *j = arena_new(a, joining);
  s.stored = arena_array(a, int, r->count);
  s.stage = arena_array(a, int, r->count);
  s.inside = arena_array(a, int *, r->nwalks);
  for (int w = 0; w < r->nwalks; w++) s.inside[w] = arena_array(a, int, r->count);
  find_stages(&s);
  bool few = true;
  for (int id = 0; id < r->count && few; id++) {
    if (!r->walk[id]) continue;
    part[id] = part_of(j, r->walk[id], s.stage[id]);
    few = part[id] >= 0;
  }
  if (few) {
    find_waits(&s, j, part);
    close_waits(j);
    for (int a1 = 0; a1 < j->n; a1++)
      for (int b = a1 + 1; b < j->n; b++)
        if (j->joined[a1] == a1 && j->joined[b] == b && j->walk[a1] == j->walk[b] &&
            may_join(j, a1, b))
          join(j, a1, b);
  }
  // A stage of a walk that is one of too many to be joined has a number of its own.
  for (int id = 0; id < r->count; id++)
    if (r->walk[id])
      part[id] = few ? j->joined[part[id]] : s.stage[id] * r->nwalks + r->walk[id] - 1;
}
