// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Elements of arguments at an index that is a value, and what a scatter does to them. See lower.h.
#include "base/fault.h"
#include "passes/lowering/lower_stmt.h"
#include "passes/lowering/sums.h"

static tstmt *access_at(kbuild *b, tile_op kind, const indirect_place *p, tval *value) {
  tval *in[MAX_AXES + 1];
  int8_t indirect[MAX_AXES];
  int nin = 0;
  if (value) in[nin++] = value;
  for (int i = 0; i < p->rank; i++) {
    indirect[i] = (int8_t)(p->index[i] ? nin : -1);
    if (p->index[i]) in[nin++] = p->index[i];
  }
  tstmt *st = kb_stmt(b, kind, in, nin);
  kb_set_index(b, st, p->buf, p->at, p->rank);
  memcpy(st->indirect, indirect, (size_t)p->rank);
  axes_seen seen = {0};
  for (int i = 0; i < p->rank; i++) ix_axes(&b->k->ix, p->at[i], kb_see_axis, &seen);
  dtype t = b->k->bufs.data[p->buf].type;
  if (!value) kb_one_result(b, st, kb_union_value(b, t, &seen, in, nin));
  if (value) b->k->bufs.data[p->buf].written = true;
  st->unchecked = p->unchecked;
  kb_append(b, b->scope, st);
  return st;
}

tval *kb_load_indirect(kbuild *b, const indirect_place *p) {
  return access_at(b, TILE_LOAD, p, NULL)->out[0];
}

void kb_store_indirect(kbuild *b, const indirect_place *p, tval *v) {
  access_at(b, TILE_STORE, p, v);
}

/// The element(s) of a buffer in the shape of a scatter's result, at the index along its axis.
static indirect_place place_of(const kbuild *b, const node *n, int buf, tval *index) {
  indirect_place p = {.buf = buf, .rank = n->naxes};
  p.unchecked = n->flags & NODE_UNCHECKED;
  for (int i = 0; i < n->naxes; i++) {
    bool scattered = n->axes[i] == n->attr_axes[0];
    p.at[i] = scattered ? ix_const(&b->k->ix, 0) : b->sigma[n->axes[i]];
    if (scattered) p.index[i] = index;
  }
  return p;
}

static tval *load_from(kbuild *b, const node *n, int buf, tval *index) {
  indirect_place p = place_of(b, n, buf, index);
  return kb_load_indirect(b, &p);
}

static void store_to(kbuild *b, const node *n, int buf, tval *v, tval *index) {
  indirect_place p = place_of(b, n, buf, index);
  kb_store_indirect(b, &p, v);
}

/// The new value of the element.
static tval *add_update(kbuild *b, const node *n, const scatter_sums *s, tval *update, tval *at) {
  tval *old = load_from(b, n, s->sums, at);
  dtype t = old->type;
  if (t != update->type) update = kb_map(b, OP_cast, t, update, NULL, NULL);
  if (s->lost < 0) return kb_map(b, OP_add, t, old, update, NULL);
  tval *lost = load_from(b, n, s->lost, at), *next[2];
  sum_pair_short(b, old, kb_map(b, OP_add, t, update, lost, NULL), next);
  store_to(b, n, s->lost, next[1], at);
  return next[0];
}

void kb_add_at(kbuild *b, const node *n, tval *index, tval *update, const scatter_sums *s) {
  ix size = kb_axis_size(b, n->attr_axes[0]);
  tval *at = kb_checked_index(b, n, index, size);
  // Nothing can be added to an empty axis; the failed check has been reported.
  int64_t least = ix_bounds(&b->k->ix, size).min;
  if (least < 1) {
    tval *elements = kb_index_value(b, size, DT_i64);
    tval *some = kb_map(b, OP_gt, DT_bool, elements, kb_int(b, DT_i64, 0), NULL);
    kb_if(b, COND_ALL, 0, some);
  }
  tval *sum = add_update(b, n, s, update, at);
  store_to(b, n, s->sums, sum, at);
  const int_vec *outs = &b->l->outputs_of[n->id];
  for (int i = 1; i < outs->len && !s->apart; i++)
    store_to(b, n, kb_arg(b, outs->data[i]), sum, at);
  if (least < 1) {
    kb_else(b, NULL, 0);
    kb_end_if(b, NULL, 0);
  }
}

void kb_copy_at(kbuild *b, const node *n, tval *index, int from, const int *to, int nto) {
  tval *at = kb_checked_index(b, n, index, kb_axis_size(b, n->attr_axes[0]));
  tval *v = kb_as_type(b, load_from(b, n, from, at), b->k->bufs.data[to[0]].type);
  for (int i = 0; i < nto; i++) store_to(b, n, to[i], v, at);
}
