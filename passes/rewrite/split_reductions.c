// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Splits a long reduction with few rows in two, so that there are enough rows for all cores:
//
//   sum x over N                  y = view x [N = C*len + R] : [C, R]
//                          =>     p = sum y over R           : [C]
//                                 sum p over C
//
// The number of chunks depends on sizes and the kind of target, never on threads: results do not
// change with the thread count. A GPU wants blocks for all its multiprocessors, and products with
// few tiles of results are split too. Sizes without a fitting divisor are padded with the identity.
// Reductions that see their rows as a whole (argmin, argmax) stay as they are, and so do those on a GPU of
// which nothing larger is made: there blocks share them in one kernel (passes/lowering/gpu_chunks.c).
// Sums of columns on a GPU that a kernel of rows may keep have the chunks of that kernel (passes/columns.h).
#include "passes/passes.h"
#include "passes/rewrite/column_sums.h"

enum {
  ENOUGH_ROWS = 16,  // grid tiles that keep a desktop's cores busy
  LONG = 1 << 16,    // elements of a reduction worth a second kernel
  CHUNK = 1 << 14,   // elements per chunk aimed at
  MOST_CHUNKS = 128,
  STRIP = 64,            // columns that share a grid tile when lanes run along rows
  MOST_FINISHED = 1024,  // GPUs: rows that blocks may share
};

static bool is_splittable(const node *n) {
  for (int i = 0; i < n->nin; i++)
    if (n->in[i]->naxes == MAX_AXES) return false;  // chunks need one more
  return op_get(n->op)->splits;
}

static int64_t constant_size(const graph *g, int axis_number) {
  int64_t v;
  return ix_is_const(&g->ix, graph_axis_size(g, axis_number), &v) ? v : 0;
}

/// What it takes to fill a target.
typedef struct grain {
  int64_t enough;    // blocks that keep it busy
  int64_t shortest;  // elements of a block's work that are worth a second kernel
  int64_t chunk;     // elements per chunk aimed at
  int64_t most;      // chunks
  int strip;         // columns that share a block when lanes run along rows
  bool gpu;
} grain;

static grain grain_of(const pass_options *options) {
  const target_info *t = options ? options->target : NULL;
  if (!t || !t->sm) return (grain){ENOUGH_ROWS, LONG, CHUNK, MOST_CHUNKS, STRIP, false};
  return (grain){.enough = t->cores,
                 .shortest = LONG,
                 .chunk = CHUNK,
                 .most = 4 * t->cores,
                 .strip = 32,
                 .gpu = true};
}

static int64_t results(const graph *g, const node *n) {
  int64_t count = 1;
  for (int i = 0; i < n->naxes; i++) count = estimate_times(count, ix_estimate(&g->ix, graph_axis_size(g, n->axes[i])));
  return count;
}

/// Lanes run along the results.
static bool in_columns(const node *n) {
  const node *x = n->in[0];
  return x->naxes && node_has_axis(n, x->axes[x->naxes - 1]);
}

/// Axes of x that the dot keeps and the other operand lacks.
static int64_t own_size(const graph *g, const node *dot, const node *x, const node *other) {
  int64_t size = 1;
  for (int i = 0; i < x->naxes; i++)
    if (node_has_axis(dot, x->axes[i]) && !node_has_axis(other, x->axes[i]))
      size = estimate_times(size, ix_estimate(&g->ix, graph_axis_size(g, x->axes[i])));
  return size;
}

/// Block tiles of a product on a GPU; 0 where it runs as a reduction.
static int64_t product_tiles(const graph *g, const node *dot) {
  enum { SIDE = 64 };
  int64_t m = own_size(g, dot, dot->in[0], dot->in[1]),
          n = own_size(g, dot, dot->in[1], dot->in[0]);
  if (m <= 1 || n <= 1) return 0;
  int64_t tiles = ((m + SIDE - 1) / SIDE) * ((n + SIDE - 1) / SIDE);
  return results(g, dot) / (m * n) * tiles;
}

/// The axis to split: the longest reduced one of known size.
static int longest_axis(const graph *g, const node *n, int64_t *size) {
  int best = -1;
  *size = 0;
  for (int i = 0; i < n->nattr_axes; i++) {
    int64_t s = constant_size(g, n->attr_axes[i]);
    if (s > *size) {
      *size = s;
      best = n->attr_axes[i];
    }
  }
  return best;
}

static int64_t reduced_elements(const graph *g, const node *n) {
  int64_t count = 1;
  for (int i = 0; i < n->nattr_axes; i++)
    count = estimate_times(count, ix_estimate(&g->ix, graph_axis_size(g, n->attr_axes[i])));
  return count;
}

/// The outermost reduced axis if it has enough elements, so that chunks are contiguous.
static int outer_axis(const graph *g, const node *n, int64_t least, int64_t *size) {
  for (int i = 0; i < n->in[0]->naxes; i++) {
    int axis = n->in[0]->axes[i];
    bool reduced = false;
    for (int k = 0; k < n->nattr_axes; k++) reduced |= n->attr_axes[k] == axis;
    if (!reduced) continue;
    if (constant_size(g, axis) < least) return -1;
    *size = constant_size(g, axis);
    return axis;
  }
  return -1;
}

/// A divisor of size near `want`, else want itself (the last chunk is padded).
static int64_t chunk_count(int64_t size, int64_t want) {
  for (int64_t delta = 0; delta <= want / 2; delta++) {
    if (size % (want + delta) == 0) return want + delta;
    if (size % (want - delta) == 0) return want - delta;
  }
  return want;
}

/// A split that would do.
typedef struct candidate {
  int along;
  int64_t size, chunks;  // fewer than 2: none
  int64_t length;        // of a chunk
  bool whole;            // nothing larger is made of the few rows
  bool columns;          // all rows are numbered through, for a kernel that walks them
} candidate;

/// The axes of one split of an axis, or of rows that are numbered through: equal splits have the same, so that
/// reductions that walk the same rows can be one kernel.
typedef struct axis_split {
  int rows[MAX_AXES], nrows, chunk, within;
  int64_t chunks, length;
} axis_split;
typedef vec(axis_split) axis_splits;

/// In the storage order of what is reduced.
static void split_rows(const node *n, const candidate *c, axis_split *s) {
  if (!c->columns) s->rows[s->nrows++] = c->along;
  for (int i = 0; c->columns && i < n->in[0]->naxes; i++)
    if (!node_has_axis(n, n->in[0]->axes[i])) s->rows[s->nrows++] = n->in[0]->axes[i];
}

static axis_split split_axis(graph *g, arena *a, axis_splits *made, const node *n, const candidate *c) {
  axis_split s = {.chunks = c->chunks, .length = c->length};
  split_rows(n, c, &s);
  for (int i = 0; i < made->len; i++) {
    const axis_split *m = &made->data[i];
    bool same = m->chunks == s.chunks && m->length == s.length && m->nrows == s.nrows;
    if (same && !memcmp(m->rows, s.rows, sizeof s.rows)) return *m;
  }
  s.chunk = graph_add_axis(g, STR("C"), ix_const(&g->ix, c->chunks));
  s.within = graph_add_axis(g, g->axes.data[s.rows[0]].name, ix_const(&g->ix, c->length));
  vec_push(a, made, s);
  return s;
}

static node *split(graph *g, node *n, const axis_split *s, bool columns) {
  int inner[MAX_AXES], ninner = 0;
  for (int i = 0; i < n->nattr_axes && !columns; i++)
    inner[ninner++] = n->attr_axes[i] == s->rows[0] ? s->within : n->attr_axes[i];
  if (columns) inner[ninner++] = s->within;
  node *x = columns_chunked(g, n->in[0], s->rows, s->nrows, s->chunk, s->within, n->op), *partial;
  if (n->op == OP_dot) {
    node *y = columns_chunked(g, n->in[1], s->rows, s->nrows, s->chunk, s->within, n->op);
    partial = graph_dot(g, x, y, inner, ninner);
  } else {
    partial = graph_reduce(g, n->op, x, inner, ninner);
  }
  node *whole = graph_reduce(g, n->op == OP_dot ? OP_sum : n->op, partial, &s->chunk, 1);
  partial->at = whole->at = n->at;
  whole->flags |= n->flags & NODE_KEEP;
  return node_same_axis_set(whole, n) ? graph_reorder(g, whole, n->axes) : whole;
}

/// Chunks of a product's contracted axis that give every multiprocessor a tile.
static int64_t product_chunks(int64_t size, int64_t tiles, int64_t enough) {
  enum { SHORTEST = 512 };  // steps: shorter chunks are all epilogue
  if (2 * tiles > enough) return 1;
  return size / SHORTEST < enough / tiles ? size / SHORTEST : enough / tiles;
}

/// Into how many chunks to split; 0 or 1: not at all. *along is the axis.
static int64_t chunks_of(const graph *g, const node *n, const grain *by, int *along,
                         int64_t *size) {
  *along = longest_axis(g, n, size);
  if (*along < 0) return 1;
  if (n->op == OP_dot && !(node_has_axis(n->in[0], *along) && node_has_axis(n->in[1], *along)))
    return 1;
  int64_t tiles = by->gpu && n->op == OP_dot ? product_tiles(g, n) : 0;
  if (tiles) return product_chunks(*size, tiles, by->enough);
  bool columns = in_columns(n);
  int64_t rows = results(g, n), work = reduced_elements(g, n);
  if (columns) {
    // On a GPU a block's threads share the strip.
    if (by->gpu) work *= rows < by->strip ? rows : by->strip;
    rows = (rows + by->strip - 1) / by->strip;
  }
  if (rows >= by->enough || work < by->shortest) return 1;
  int64_t chunks = work / by->chunk, most = by->gpu && rows > 1 ? by->most / rows : by->most;
  if (chunks > most) chunks = most;
  if (chunks < 2) chunks = 2;
  int outer = n->op == OP_dot ? -1 : outer_axis(g, n, 2 * chunks, size);
  if (outer >= 0) *along = outer;
  return chunks < *size ? chunks : *size;
}

/// The maximum, or that with a constant in its place where it is infinite.
static bool stands_for(const node *n, const node *max) {
  if (n == max) return true;
  if (n->op != OP_where) return false;
  return (n->in[1] == max && n->in[2]->op == OP_const) ||
         (n->in[2] == max && n->in[1]->op == OP_const);
}

/// exp(x - max x), which is only summed: the sums take the walk of the maximum.
static bool goes_into_sum(const node *max, const node *user, const uint8_t *made) {
  if (max->op != OP_reduce_max) return false;
  if (user->op == OP_sub) return user->in[0] == max->in[0] && stands_for(user->in[1], max);
  const node *x = user->in[0];
  return user->op == OP_exp && made[x->id] && x->op == OP_sub;
}

/// Of what is larger than rows, and goes into a sum: only that is made.
static bool is_summed(const node *max, const node *user, const node *x) {
  if (x->op == OP_sub) return user->op == OP_exp;
  bool same = user->op == OP_sum && user->nattr_axes == max->nattr_axes;
  for (int k = 0; same && k < max->nattr_axes; k++) {
    same = false;
    for (int j = 0; j < user->nattr_axes; j++) same |= user->attr_axes[j] == max->attr_axes[k];
  }
  return same;
}

static bool has_more_axes(const node *user, const node *n) {
  for (int k = 0; k < user->naxes; k++)
    if (!node_has_axis(n, user->axes[k])) return true;
  return false;
}

/// Nothing that is made of n has an axis which n lacks, so that all of it may wait for the last block.
static bool stays_small(const graph *g, const node *n, arena *a) {
  uint8_t *made = arena_array(a, uint8_t, g->nodes.len);
  int64_t rows = 1;
  for (int i = 0; i < n->naxes; i++) {
    rows *= constant_size(g, n->axes[i]);
    if (rows < 1 || rows > MOST_FINISHED) return false;
  }
  for (int i = 0; i < n->nattr_axes; i++)
    if (constant_size(g, n->attr_axes[i]) < 1) return false;
  made[n->id] = 1;
  for (int i = n->id + 1; i < g->nodes.len; i++) {
    const node *user = g->nodes.data[i];
    for (int k = 0; k < user->nin; k++) {
      const node *x = user->in[k];
      if (!made[x->id]) continue;
      made[i] = 1;
      if (has_more_axes(x, n) && !is_summed(n, user, x)) return false;
    }
    if (made[i] && has_more_axes(user, n) && !goes_into_sum(n, user, made)) return false;
  }
  for (int i = 0; i < g->outputs.len; i++) {
    const node *out = g->outputs.data[i].value;
    if (made[out->id] && has_more_axes(out, n)) return false;
  }
  return true;
}

/// A kernel of rows may keep it. What is only stored as it is walked is one kernel without a split as well, where
/// blocks are enough or few results wait for the last block.
static void split_as_columns(const graph *g, const node *n, const target_info *t, arena *a, candidate *c) {
  columns_plan p = column_sum_plan(g, n, t);
  if (p.chunks < 2) return;
  column_rows rows = column_sum_rows(g, n, a);
  if (rows == COLUMNS_ALONE || (rows == COLUMNS_OF_STORED && (c->chunks < 2 || c->whole))) return;
  *c = (candidate){.along = c->along, .size = c->size, .chunks = p.chunks, .length = p.length, .columns = true};
}

static candidate *find_candidates(const graph *g, const grain *by, const target_info *t, arena *a) {
  candidate *all = arena_array(a, candidate, g->nodes.len + 1);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    candidate *c = &all[i];
    if (n->contract || !is_splittable(n)) continue;  // under a contract it stays one kernel
    c->chunks = chunks_of(g, n, by, &c->along, &c->size);
    bool product = n->op == OP_dot && product_tiles(g, n);
    c->whole = c->chunks >= 2 && by->gpu && !product && stays_small(g, n, a);
    if (c->chunks >= 2) c->chunks = chunk_count(c->size, c->chunks);
    if (c->chunks >= 2) c->length = (c->size + c->chunks - 1) / c->chunks;
    if (by->gpu) split_as_columns(g, n, t, a, c);
  }
  return all;
}

/// Those that walk the same axis are split together, or not at all, so that one kernel walks it.
static bool is_split(const graph *g, const candidate *all, int i) {
  bool whole = all[i].whole;
  for (int k = 0; k < g->nodes.len && whole; k++)
    whole = all[k].chunks < 2 || all[k].whole || all[k].columns || all[k].along != all[i].along;
  return all[i].chunks >= 2 && !whole;
}

bool pass_split_reductions(pass_ctx *ctx) {
  graph *g = ctx->graph;
  int count = g->nodes.len;
  node **replacement = NULL;
  grain by = grain_of(ctx->options);
  axis_splits made = {0};
  const target_info *t = ctx->options ? ctx->options->target : NULL;
  const candidate *all = find_candidates(g, &by, t, ctx->scratch);
  bool *splits = arena_array(ctx->scratch, bool, count + 1);
  for (int i = 0; i < count; i++) splits[i] = is_split(g, all, i);
  for (int i = 0; i < count; i++) {
    if (!splits[i]) continue;
    if (!replacement) replacement = arena_array(ctx->scratch, node *, count + 1);
    const node *n = g->nodes.data[i];
    axis_split s = split_axis(g, ctx->scratch, &made, n, &all[i]);
    g->phase = n->phase, g->region = n->region;
    replacement[i] = split(g, g->nodes.data[i], &s, all[i].columns);
    g->phase = g->region = 0;
  }
  if (!replacement) return false;
  // New nodes have no entry in the table.
  node **by_number = arena_array(ctx->scratch, node *, g->nodes.len);
  memcpy(by_number, replacement, sizeof(node *) * (size_t)count);
  graph_compact(g, by_number);
  return true;
}
