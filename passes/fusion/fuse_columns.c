// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sums of columns beside rows: which candidates are kernels of rows that keep them (passes/fusion/group.h).
#include "passes/fusion/fuse.h"

/// What n is as a sum of columns; found once per node.
static const column_sum *sum_of(const candidate *c, fuse_scratch *s, const node *n) {
  if (!s->asked[n->id]) {
    column_sum found;
    s->asked[n->id] = 1;
    if (column_sum_of(c->g, n, &found)) s->sums[n->id] = arena_copy(s->arena, &found, sizeof found);
  }
  return s->sums[n->id];
}

static void open_form(const column_sum *first, column_form *f) {
  *f = (column_form){.chunk = first->chunk, .length = first->length, .nrows = first->nrows};
  memcpy(f->rows, first->rows, sizeof f->rows);
  for (int i = 0; i < first->base->naxes; i++)
    if (!axes_have(f->rows, f->nrows, first->base->axes[i])) f->columns[f->ncolumns++] = first->base->axes[i];
}

static bool is_of_form(const column_form *f, const column_sum *s) {
  return s->chunk == f->chunk && s->length == f->length && s->nrows == f->nrows &&
         !memcmp(s->rows, f->rows, sizeof *s->rows * (size_t)s->nrows) &&
         s->sum->naxes == f->ncolumns + 1;
}

static bool is_row_reduction(const column_form *f, const node *n) {
  return axes_equal(n->axes, n->naxes, f->rows, f->nrows) &&
         axes_equal(n->attr_axes, n->nattr_axes, f->columns, f->ncolumns);
}

static bool has_all(const node *n, const int *axes, int count) {
  for (int i = 0; i < count; i++)
    if (!node_has_axis(n, axes[i])) return false;
  return true;
}

/// Of other kernels, with axes of R: a row's words, kept between reductions, and what all rows share.
static double words_read(const candidate *c, const column_form *f) {
  enum { MOST = 64 };
  const node *read[MOST];
  int n = 0;
  double bytes = 0;
  for (int i = 0; i < c->n; i++)
    for (int k = 0; k < c->nodes[i]->nin && n < MOST; k++) {
      const node *in = c->nodes[i]->in[k];
      bool known = c->member[in->id];
      for (int j = 0; j < n; j++) known |= read[j] == in;
      if (known) continue;
      read[n++] = in;
      for (int j = 0; j < f->ncolumns; j++)
        if (node_has_axis(in, f->columns[j])) {
          bytes += dtype_bytes(in->type);
          break;
        }
    }
  return bytes / 4;
}

/// How many there are; 0 where they do not suit each other.
static int64_t columns_of(const candidate *c, const column_form *f) {
  int64_t all = 1, size;
  for (int i = 0; i < f->ncolumns; i++) {
    if (!ix_is_const(&c->g->ix, graph_axis_size(c->g, f->columns[i]), &size)) return 0;
    all = estimate_times(all, size);
  }
  return all;
}

static bool is_whole(const column_form *f, const node *n) {
  return has_all(n, f->rows, f->nrows) && has_all(n, f->columns, f->ncolumns);
}

/// What n reads of the value moves with the columns where that lies side by side in memory.
static bool reads_along(const candidate *c, const column_form *f, const node *n, const node *in) {
  if (!in->naxes) return true;
  int last = in->naxes - 1;
  if (op_get(n->op)->class != CLASS_view || n->in[0] != in) return !axes_have(f->rows, f->nrows, in->axes[last]);
  bool rows = false, columns = false;
  for (int i = 0; i < f->nrows; i++) rows |= ix_uses_axis(&c->g->ix, n->index[last], f->rows[i]);
  for (int i = 0; i < f->ncolumns; i++) columns |= ix_uses_axis(&c->g->ix, n->index[last], f->columns[i]);
  return columns || !rows;
}

/// Operands and results lie along the rows: others a block would read an element here and there.
static bool lies_along(const candidate *c, const column_form *f) {
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    if (c->stored[n->id] && is_whole(f, n) && axes_have(f->rows, f->nrows, n->axes[n->naxes - 1])) return false;
    for (int k = 0; k < n->nin; k++)
      if (!c->member[n->in[k]->id] && n->in[k]->naxes > f->nrows && !reads_along(c, f, n, n->in[k])) return false;
  }
  return true;
}

bool fuse_columns(const candidate *c, fuse_scratch *s, column_form *f) {
  if ((c->target && !c->target->sm) || c->promise) return false;
  bool any = false, others = false, whole = false;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    if (op_get(n->op)->class != CLASS_reduce) continue;
    const column_sum *sum = sum_of(c, s, n);
    if (!sum) continue;
    if (!any) open_form(sum, f);
    any = true;
    if (!is_of_form(f, sum) || f->n == MAX_PLAIN_REDUCTIONS) return false;
    f->sums[f->n++] = n;
    f->registers += dtype_bytes(n->type) / 4.0;
  }
  for (int i = 0; i < c->n && any; i++) {
    const node *n = c->nodes[i];
    op_class class = op_get(n->op)->class;
    if (column_form_has(f, n)) continue;
    if (n->nin && column_form_has(f, n->in[0])) continue;  // no kernel may hold both, see fuse_legality.c
    if (op_combines(n->op) && (class != CLASS_reduce || !is_row_reduction(f, n))) return false;
    if (class == CLASS_opaque || class == CLASS_scatter) return false;
    if (class == CLASS_reduce && !f->row) f->row = n;
    others |= class == CLASS_reduce;
    whole |= c->stored[n->id] && is_whole(f, n);
  }
  if (!any || !(others || whole) || !lies_along(c, f)) return false;
  f->registers += words_read(c, f);
  return true;
}

bool fuse_columns_fit(const candidate *c, column_form *f) {
  int64_t columns = columns_of(c, f);
  return columns > 0 && (!c->target || columns_fit(c->target, columns, f->registers, &f->threads));
}

bool column_form_has(const column_form *f, const node *n) {
  for (int i = 0; f && i < f->n; i++)
    if (f->sums[i] == n) return true;
  return false;
}

bool column_form_shows(const column_form *f, const node *view) {
  for (int i = 0; f && i < f->n; i++)
    if (f->sums[i]->in[0] == view) return true;
  return false;
}
