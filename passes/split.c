// Splits a long reduction with few rows in two, so that there are enough rows for all cores:
//
//   sum x over N                  y = view x [N = C*len + R] : [C, R]
//                          =>     p = sum y over R           : [C]
//                                 sum p over C
//
// The number of chunks depends on sizes only, never on threads: results do not change with the
// thread count. Sizes without a fitting divisor are padded with the identity. Reductions that
// see their rows as a whole (argmin, argmax) stay as they are.
#include "ir/graph.h"
#include "passes/passes.h"

enum {
  ENOUGH_ROWS = 16,       // grid tiles that keep a desktop's cores busy
  LONG = 1 << 16,         // elements of a reduction worth a second kernel
  CHUNK = 1 << 14,        // elements per chunk aimed at
  MOST_CHUNKS = 128,
  STRIP = 64,             // columns that share a grid tile when lanes run along rows
};

static bool is_splittable(const node *n) {
  switch (n->op) {
    case OP_sum:
    case OP_prod:
    case OP_reduce_min:
    case OP_reduce_max:
    case OP_any:
    case OP_all:
    case OP_dot: return true;
    default: return false;
  }
}

static int64_t constant_size(const graph *g, int axis_number) {
  int64_t v;
  return ix_is_const(&g->ix, graph_axis_size(g, axis_number), &v) ? v : 0;
}

/// Rows that can run in parallel as the lowering will see them.
static int64_t parallel_rows(const graph *g, const node *n) {
  int64_t rows = 1;
  for (int i = 0; i < n->naxes; i++) rows *= ix_estimate(&g->ix, graph_axis_size(g, n->axes[i]));
  const node *x = n->in[0];
  bool columns = x->naxes && node_has_axis(n, x->axes[x->naxes - 1]);
  return columns ? (rows + STRIP - 1) / STRIP : rows;
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

/// A divisor of size near `want`, else want itself (the last chunk is padded).
static int64_t chunk_count(int64_t size, int64_t want) {
  for (int64_t delta = 0; delta <= want / 2; delta++) {
    if (size % (want + delta) == 0) return want + delta;
    if (size % (want - delta) == 0) return want - delta;
  }
  return want;
}

/// x with `along` replaced by (chunk, within).
static node *chunked(graph *g, node *x, int along, int chunk, int within, op reduction) {
  ix index[MAX_AXES];
  int axes[MAX_AXES + 1], naxes = 0;
  ix len = graph_axis_size(g, within);
  for (int i = 0; i < x->naxes; i++) {
    index[i] = ix_axis(&g->ix, x->axes[i]);
    if (x->axes[i] != along) {
      axes[naxes++] = x->axes[i];
      continue;
    }
    axes[naxes++] = chunk;
    axes[naxes++] = within;
    index[i] = ix_add(&g->ix, ix_mul(&g->ix, ix_axis(&g->ix, chunk), len), ix_axis(&g->ix, within));
  }
  int64_t size = constant_size(g, along);
  bool exact = constant_size(g, chunk) * constant_size(g, within) == size;
  if (exact) return graph_view(g, x, index, axes, naxes);
  scalar fill = reduction == OP_dot ? scalar_cast((scalar){.i = 0}, DT_i64, x->type)
                                    : op_identity(reduction, x->type);
  return graph_pad(g, x, graph_const(g, x->type, fill), index, axes, naxes);
}

static node *split(graph *g, node *n, int along, int64_t size) {
  int64_t chunks = size / CHUNK < 2 ? 2 : size / CHUNK > MOST_CHUNKS ? MOST_CHUNKS : size / CHUNK;
  chunks = chunk_count(size, chunks);
  ix len = ix_const(&g->ix, (size + chunks - 1) / chunks);
  int chunk = graph_add_axis(g, STR("C"), ix_const(&g->ix, chunks));
  int within = graph_add_axis(g, g->axes.data[along].name, len);
  int inner[MAX_AXES];
  for (int i = 0; i < n->nattr_axes; i++)
    inner[i] = n->attr_axes[i] == along ? within : n->attr_axes[i];
  node *x = chunked(g, n->in[0], along, chunk, within, n->op), *partial;
  if (n->op == OP_dot)
    partial = graph_dot(g, x, chunked(g, n->in[1], along, chunk, within, n->op), inner, n->nattr_axes);
  else
    partial = graph_reduce(g, n->op, x, inner, n->nattr_axes);
  node *whole = graph_reduce(g, n->op == OP_dot ? OP_sum : n->op, partial, &chunk, 1);
  partial->at = whole->at = n->at;
  return node_same_axis_set(whole, n) ? graph_reorder(g, whole, n->axes) : whole;
}

bool pass_split_reductions(pass_ctx *ctx) {
  graph *g = ctx->graph;
  int count = g->nodes.len;
  node **replacement = NULL;
  for (int i = 0; i < count; i++) {
    node *n = g->nodes.data[i];
    int64_t size;
    if (!is_splittable(n) || parallel_rows(g, n) >= ENOUGH_ROWS) continue;
    int along = longest_axis(g, n, &size);
    if (along < 0 || size < LONG) continue;
    if (n->op == OP_dot && (!node_has_axis(n->in[0], along) || !node_has_axis(n->in[1], along)))
      continue;
    if (!replacement) replacement = arena_array(ctx->scratch, node *, count + 1);
    replacement[i] = split(g, n, along, size);
  }
  if (!replacement) return false;
  // New nodes have no entry in the table.
  node **all = arena_array(ctx->scratch, node *, g->nodes.len);
  memcpy(all, replacement, sizeof(node *) * (size_t)count);
  graph_compact(g, all);
  return true;
}
