// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// GROUP_SCATTER by rows on CPUs: a counting sort of the updates, and the sum of a row.
//
//   loop place:16 { ends = 0 }
//   loop N:1 { i = index[N]; ends[i + 1] += 1 }
//   loop V:1 carry s = 0 { c = ends[V + 1]; ends[V + 1] = s; yield s + c }
//   loop N:1 { i = index[N]; order[ends[i + 1]] = N; ends[i + 1] += 1 }
//
// Each row's counter ends where the row's list ends, which is where the next one begins. Grid tiles are
// batches, so that the order is that of the updates however many threads there are.
#include "base/fault.h"
#include "passes/lowering/lower_scatter.h"
#include "passes/lowering/sums.h"

int scatter_workspace(lower *l, const node *n, const scatter_lists *lists, const char *name,
                      dtype t, const ix *dims, const char *const *names, int ndims) {
  ix all[MAX_AXES];
  str called[MAX_AXES];
  int rank = 0;
  for (int i = 0; i < lists->nbatch; i++) {
    called[rank] = l->g->axes.data[lists->batch[i]].name;
    all[rank++] = ix_substitute(&l->p->ix, &l->g->ix, graph_axis_size(l->g, lists->batch[i]), NULL, 0);
  }
  check(rank + ndims <= MAX_AXES);
  for (int i = 0; i < ndims; i++) {
    called[rank] = str_from(names[i]);
    all[rank++] = dims[i];
  }
  return lower_add_workspace(l, n, name, t, all, called, rank);
}

void scatter_add_lists(lower *l, const node *n, scatter_lists *lists) {
  ix_pool *pool = &l->p->ix;
  const ix_pool *from = &l->g->ix;
  ix rows = ix_substitute(pool, from, graph_axis_size(l->g, n->attr_axes[0]), NULL, 0);
  // An index into an axis without places is an error that has been reported, and is taken for 0.
  rows = ix_add(pool, rows, ix_const(pool, ix_bounds(pool, rows).min < 1 ? 2 : 1));
  ix count = ix_const(pool, 1);
  for (int i = 0; i < lists->nlisted; i++) {
    ix size = ix_substitute(pool, from, graph_axis_size(l->g, lists->listed[i]), NULL, 0);
    count = ix_mul(pool, count, size);
  }
  dtype t = lists->type;
  lists->ends = scatter_workspace(l, n, lists, "ends", t, &rows, (const char *[]){"place"}, 1);
  lists->order = scatter_workspace(l, n, lists, "order", t, &count, (const char *[]){"update"}, 1);
}

ix scatter_count(kbuild *b, const scatter_lists *lists) {
  ix count = ix_const(&b->k->ix, 1);
  for (int i = 0; i < lists->nlisted; i++)
    count = ix_mul(&b->k->ix, count, kb_axis_size(b, lists->listed[i]));
  return count;
}

// ---- the lists

int scatter_in_batch(const kbuild *b, const scatter_lists *lists, ix at, ix *index) {
  int rank = 0;
  for (int i = 0; i < lists->nbatch; i++) index[rank++] = b->sigma[lists->batch[i]];
  index[rank++] = at;
  return rank;
}

/// Of the updates of the batch that is open: the counter of the row that the index says.
static indirect_place counter(kbuild *b, const scatter_lists *lists) {
  const node *n = b->group->anchor;
  ix rows = kb_axis_size(b, n->attr_axes[0]);
  indirect_place p = {.buf = kb_arg(b, lists->ends)};
  p.unchecked = (n->flags & NODE_UNCHECKED) || ix_bounds(&b->k->ix, rows).min < 1;
  p.rank = scatter_in_batch(b, lists, ix_const(&b->k->ix, 1), p.at);
  tval *raw = kb_value_here(b, n->in[1]);
  p.index[p.rank - 1] = kb_checked_index(b, n, raw, rows);
  return p;
}

static tval *one_more(kbuild *b, tval *v) {
  return kb_map(b, OP_add, v->type, v, kb_const(b, v->type, (scalar){.i = 1}), NULL);
}

static tval *as_scalar(kbuild *b, tval *v) {
  return v->naxes ? kb_reduce_tile(b, OP_max, v, v->axes, v->naxes) : v;
}

/// The number of the update whose axes are open.
static tval *number(kbuild *b, const scatter_lists *lists) {
  ix_pool *pool = &b->k->ix;
  ix e = ix_const(pool, 0);
  for (int i = 0; i < lists->nlisted; i++)
    e = ix_add(pool, ix_mul(pool, e, kb_axis_size(b, lists->listed[i])), b->sigma[lists->listed[i]]);
  return as_scalar(b, kb_index_value(b, e, lists->type));
}

/// Walks the updates in order: counts them, or places them where their counters are.
static void walk_updates(kbuild *b, const scatter_lists *lists, bool place) {
  for (int i = 0; i < lists->nlisted; i++) kb_loop(b, b->kaxis[lists->listed[i]], 1, NULL, 0);
  indirect_place at = counter(b, lists);
  tval *count = kb_load_indirect(b, &at);
  if (place) {
    indirect_place p = {.buf = kb_arg(b, lists->order), .unchecked = true};
    p.rank = scatter_in_batch(b, lists, ix_const(&b->k->ix, 0), p.at);
    p.index[p.rank - 1] = count;
    kb_store_indirect(b, &p, number(b, lists));
  }
  kb_store_indirect(b, &at, one_more(b, count));
  for (int i = 0; i < lists->nlisted; i++) kb_end_loop(b, NULL, 0);
}

static void clear_counters(kbuild *b, const scatter_lists *lists, int place, int lanes) {
  ix index[MAX_AXES];
  kb_loop(b, place, lanes, NULL, 0);
  int rank = scatter_in_batch(b, lists, ix_axis(&b->k->ix, place), index);
  kb_store(b, kb_arg(b, lists->ends), kb_const(b, lists->type, (scalar){.i = 0}), index, rank);
  kb_end_loop(b, NULL, 0);
}

/// Each counter becomes the sum of those before it.
static void sum_counters(kbuild *b, const scatter_lists *lists, int target) {
  ix_pool *pool = &b->k->ix;
  ix index[MAX_AXES];
  int ends = kb_arg(b, lists->ends);
  tval *zero = kb_const(b, lists->type, (scalar){.i = 0});
  tstmt *loop = kb_loop(b, target, 1, &zero, 1);
  tval *before = loop->body->params[0];
  int rank = scatter_in_batch(b, lists, ix_add(pool, ix_axis(pool, target), ix_const(pool, 1)), index);
  tval *count = kb_load_at(b, ends, index);
  kb_store(b, ends, before, index, rank);
  count = kb_reduce_tile(b, OP_add, count, count->axes, count->naxes);
  tval *after = kb_map(b, OP_add, lists->type, before, count, NULL);
  kb_end_loop(b, &after, 1);
}

void scatter_list_updates(lower *l, const group *grp, const scatter_lists *lists) {
  kbuild b;
  kb_init(&b, l, grp, "");
  for (int i = 0; i < lists->nbatch; i++) kernel_set_grid(b.k, kb_own_axis(&b, lists->batch[i]), 1);
  for (int i = 0; i < lists->nlisted; i++) kb_own_axis(&b, lists->listed[i]);
  int target = kb_own_axis(&b, grp->anchor->attr_axes[0]);
  ix places = ix_add(&b.k->ix, b.k->axes.data[target].size, ix_const(&b.k->ix, 1));
  int place = kb_axis(&b, STR("place"), places), lanes = l->target->vector_bytes / dtype_bytes(lists->type);
  b.k->vec_axis = place;
  b.k->vec_lanes = lanes;
  kb_begin(&b);
  for (int i = 0; i < lists->nbatch; i++) kb_loop(&b, b.kaxis[lists->batch[i]], 1, NULL, 0);
  clear_counters(&b, lists, place, lanes);
  walk_updates(&b, lists, false);
  sum_counters(&b, lists, target);
  walk_updates(&b, lists, true);
  for (int i = 0; i < lists->nbatch; i++) kb_end_loop(&b, NULL, 0);
  lower_add_step(&b, STR("updates by row"));
}

// ---- the sum of a row

void scatter_find_list(kbuild *b, const scatter_axes *s, const scatter_lists *lists, tval **within) {
  ix_pool *pool = &b->k->ix;
  ix index[MAX_AXES];
  for (int i = 0; i < 2; i++) {
    scatter_in_batch(b, lists, ix_add(pool, ix_axis(pool, s->target), ix_const(pool, i)), index);
    within[i] = as_scalar(b, kb_load_at(b, kb_arg(b, lists->ends), index));
  }
}

void scatter_find_update(kbuild *b, const scatter_lists *lists, tval *rest) {
  for (int i = lists->nlisted - 1; i >= 0; i--) {
    tval *at = rest;
    if (i) {
      tval *size = kb_index_value(b, kb_axis_size(b, lists->listed[i]), lists->type);
      at = kb_map(b, OP_rem, lists->type, rest, size, NULL);
      rest = kb_map(b, OP_div, lists->type, rest, size, NULL);
    }
    b->sigma[lists->listed[i]] = kb_indirect(b, at, true);
  }
}

tval *scatter_start_of_row(kbuild *b, dtype t) {
  const node *n = b->group->anchor;
  const node *number = n->in[0];
  while (number->op == OP_view) number = number->in[0];
  if (kb_in_group(b, n->in[0]) && number->op == OP_const)
    return kb_fill_open(b, t, scalar_cast(number->value, number->type, t), -1, 0);
  tval *base = scatter_base_as(b, n->in[0], t);
  int open = 0;
  for (int axis = 0; axis < b->k->axes.len; axis++) open += b->extent[axis] > 0;
  if (base->naxes == open) return base;
  tval *one = kb_fill_open(b, t, scalar_cast((scalar){.i = 1}, DT_i64, t), -1, 0);
  return kb_map(b, OP_mul, t, base, one, NULL);
}

scatter_sum scatter_sum_of(const kbuild *b, const scatter_axes *s) {
  dtype t = b->group->anchor->type;
  bool many = scatter_adds_many(b, s);
  return (scatter_sum){.type = many ? DT_f64 : t, .n = many && t == DT_f64 ? 2 : 1};
}

tval *scatter_update_as(kbuild *b, dtype t) {
  return kb_as_type(b, kb_value_here(b, b->group->anchor->in[2]), t);
}

void scatter_add_to(kbuild *b, const scatter_sum *sum, tval *const *now, tval *x, tval **next) {
  if (sum->n == 1) next[0] = kb_accumulate(b, OP_add, (tval *[]){now[0], x}, 2);
  else sum_pair_short(b, now[0], kb_map(b, OP_add, sum->type, x, now[1], NULL), next);
}

/// What the list has at the position that is open.
static tval *listed_here(kbuild *b, const scatter_lists *lists, int updates) {
  ix index[MAX_AXES];
  scatter_in_batch(b, lists, ix_axis(&b->k->ix, updates), index);
  return as_scalar(b, kb_load_at(b, kb_arg(b, lists->order), index));
}

tval *scatter_row_sum(kbuild *b, const scatter_axes *s, const scatter_lists *lists, int updates,
                      tval *const within[2]) {
  scatter_sum sum = scatter_sum_of(b, s);
  tval *sums[2] = {scatter_start_of_row(b, sum.type)}, *next[2];
  if (sum.n > 1) sums[1] = kb_like(b, sums[0], (scalar){.f = 0});
  tstmt *loop = kb_loop(b, updates, 1, sums, sum.n);
  kb_loop_within(b, loop, within);
  scatter_find_update(b, lists, listed_here(b, lists, updates));
  scatter_add_to(b, &sum, loop->body->params, scatter_update_as(b, sum.type), next);
  return kb_as_type(b, kb_end_loop(b, next, sum.n)[0], b->group->anchor->type);
}
