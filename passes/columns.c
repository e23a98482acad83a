// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See columns.h.
#include "passes/columns.h"

#include "base/fault.h"

// Registers of a thread for other things than what is kept of columns, more where rows begin anywhere.
enum { BESIDES = 36, UNALIGNED = 32, MOST_REGISTERS = 255, LEAST_THREADS = 256, MOST_THREADS = 1024, VECTOR = 8, MOST_ELEMENTS = 16 };

static int64_t pieces(int64_t size, int64_t piece) {
  int64_t n = (size + piece - 1) / piece;
  return n > 0 ? n : 1;
}

static int threads_along(int64_t columns, int elements) {
  int t = 1;
  while (t < MOST_THREADS && t < pieces(columns, elements)) t *= 2;
  return t;
}

/// Elements of a thread: few where rows are short, so that what is exchanged at the end is little.
static int first_elements(int64_t columns) {
  return columns <= (int64_t)LEAST_THREADS * VECTOR ? VECTOR : MOST_ELEMENTS;
}

bool columns_fit(const target_info *t, int64_t columns, double registers, columns_threads *out) {
  for (int aim = first_elements(columns); aim >= VECTOR; aim /= 2) {
    int along = threads_along(columns, aim);
    int threads = along < LEAST_THREADS ? LEAST_THREADS : along;
    double elements = (double)(VECTOR * pieces(columns, VECTOR * (int64_t)along));
    // Of two small ones, one computes while the other waits.
    *out = (columns_threads){threads, along, threads == LEAST_THREADS ? 2 : 1};
    double taken = elements * registers + BESIDES + (columns % VECTOR ? UNALIGNED : 0);
    double most = (double)t->registers_per_core / (threads * out->blocks);
    if (taken <= most && taken <= MOST_REGISTERS) return true;
  }
  return false;
}

columns_plan columns_plan_of(const target_info *t, int64_t rows, int64_t columns) {
  // Rows of a block that are worth what it adds to memory; additions one after the other.
  enum { LEAST_ROWS = 16, MOST_ADDED = 256 };
  int along = threads_along(columns, first_elements(columns));
  int64_t at_once = along < LEAST_THREADS ? LEAST_THREADS / along : 1;
  int64_t blocks = (int64_t)t->cores * (along <= LEAST_THREADS ? 2 : 1);
  int64_t length = pieces(rows, blocks);
  if (length > MOST_ADDED * at_once) length = MOST_ADDED * at_once;
  if (length < LEAST_ROWS) length = LEAST_ROWS;
  length = pieces(length, at_once) * at_once;
  columns_plan p = {.length = length, .chunks = pieces(rows, length)};
  if (2 * p.chunks < t->cores) p.chunks = 1;
  return p;
}

// ---- as views

static int64_t constant_size(const graph *g, int axis) {
  int64_t v;
  return ix_is_const(&g->ix, graph_axis_size(g, axis), &v) ? v : 0;
}

static bool is_row(int axis, const int *rows, int nrows) {
  for (int i = 0; i < nrows; i++)
    if (rows[i] == axis) return true;
  return false;
}

/// The coordinates of row C*len + n, numbered through.
static void row_index(ix_pool *pool, const int64_t *sizes, int nrows, ix number, ix *index) {
  for (int i = nrows - 1; i >= 0; i--) {
    ix size = ix_const(pool, sizes[i]);
    index[i] = i ? ix_mod(pool, number, size) : number;
    number = ix_div(pool, number, size);
  }
}

static ix row_number(ix_pool *pool, int chunk, int within, int64_t length) {
  return ix_add(pool, ix_scale(pool, ix_axis(pool, chunk), length), ix_axis(pool, within));
}

static int64_t row_sizes(const graph *g, const int *rows, int nrows, int64_t *sizes) {
  int64_t all = 1;
  for (int i = 0; i < nrows; i++) all = estimate_times(all, sizes[i] = constant_size(g, rows[i]));
  return all;
}

node *columns_chunked(graph *g, node *x, const int *rows, int nrows, int chunk, int within, op reduction) {
  ix index[MAX_AXES], of_rows[MAX_AXES];
  int64_t sizes[MAX_AXES], length = constant_size(g, within), all = row_sizes(g, rows, nrows, sizes);
  int axes[MAX_AXES + 1], naxes = 0, row = 0;
  row_index(&g->ix, sizes, nrows, row_number(&g->ix, chunk, within, length), of_rows);
  for (int i = 0; i < x->naxes; i++) {
    if (!is_row(x->axes[i], rows, nrows)) {
      index[i] = ix_axis(&g->ix, axes[naxes++] = x->axes[i]);
      continue;
    }
    if (!row) axes[naxes++] = chunk, axes[naxes++] = within;
    index[i] = of_rows[row++];
  }
  if (constant_size(g, chunk) * length == all) return graph_view(g, x, index, axes, naxes);
  node *fill = graph_const(g, x->type, op_identity(reduction, x->type));
  return graph_pad(g, x, fill, index, axes, naxes);
}

/// The one axis of n that x lacks; -1: there is none, or several.
static int axis_beside(const node *n, const node *x) {
  int found = -1;
  for (int i = 0; i < n->naxes; i++) {
    if (node_has_axis(x, n->axes[i])) continue;
    if (found >= 0) return -1;
    found = n->axes[i];
  }
  return found;
}

static bool fills_identity(const node *sum, const node *view) {
  if (view->op == OP_view) return true;
  scalar none = op_identity(sum->op, view->type);
  return view->in[1]->op == OP_const && !memcmp(&view->in[1]->value, &none, sizeof none);
}

/// The view numbers the rows through, in chunks.
static bool shows_chunks(const graph *g, const column_sum *c, int within) {
  int64_t sizes[MAX_AXES];
  ix_pool pool;
  ix index[MAX_AXES];
  scratch s;
  if (!row_sizes(g, c->rows, c->nrows, sizes)) return false;
  scratch_open(&s);
  ix_init(&pool, &s.arena);
  ix_copy_pool(&pool, &g->ix);
  row_index(&pool, sizes, c->nrows, row_number(&pool, c->chunk, within, c->length), index);
  bool same = true;
  for (int i = 0, row = 0; i < c->base->naxes; i++) {
    int axis = c->base->axes[i];
    same &= c->view->index[i] == (is_row(axis, c->rows, c->nrows) ? index[row++] : ix_axis(&pool, axis));
  }
  scratch_close(&s);
  return same;
}

bool column_sum_of(const graph *g, const node *n, column_sum *out) {
  if (!op_is_reduce(n->op) || !op_get(n->op)->splits || n->nattr_axes != 1) return false;
  const node *view = n->in[0];
  if ((view->op != OP_view && view->op != OP_pad) || !fills_identity(n, view)) return false;
  const node *base = view->in[0];
  int within = n->attr_axes[0];
  *out = (column_sum){.sum = n, .view = view, .base = base, .chunk = axis_beside(n, base)};
  if (out->chunk < 0 || node_has_axis(base, within)) return false;
  for (int i = 0; i < base->naxes; i++)
    if (!node_has_axis(view, base->axes[i])) out->rows[out->nrows++] = base->axes[i];
  out->length = constant_size(g, within);
  return out->nrows && out->length && view->naxes == base->naxes - out->nrows + 2 && shows_chunks(g, out, within);
}
