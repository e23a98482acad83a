// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// argmin and argmax in a kernel of loop nests: a pair, the extreme so far and its place.
//
//   local best[S], state[S]                    inf, 0
//   loop T:256 {
//     loop S:1 {
//       v, i = loop T:64 carry { arg v, i, x, index(T) };  v, i = arg reduce over T
//       best, state = arg best, state, v, i
//     } }
//
// The place 0 with an extreme that every element reaches is right where all elements are just that,
// and along an axis without elements.
#include "base/fault.h"
#include "passes/lowering/lower_reduce.h"
#include "passes/lowering/nest.h"

typedef struct pair {
  tval *best, *place;
} pair;

static pair nothing(const nest *t, const node *n, int more, int extent) {
  dtype type = n->in[0]->type;
  return (pair){nest_filled(t, n, type, op_identity(n->op, type), more, extent),
                nest_filled(t, n, DT_i32, (scalar){.i = 0}, more, extent)};
}

/// The better of two pairs, of equal ones that with the smaller place.
static pair better(kbuild *b, const node *n, pair x, pair y) {
  tval *in[] = {x.best, x.place, y.best, y.place};
  tstmt *st = reduce_statement(b, TILE_ARG, op_combiner(n->op), in, 4, 2);
  for (int k = 0; k < 2; k++)
    st->out[k] = tile_value(b->k, in[k]->type, in[k]->axes, in[k]->extents, in[k]->naxes);
  st->at = n->at;
  kb_append(b, b->scope, st);
  return (pair){st->out[0], st->out[1]};
}

/// The best pair along the axis.
static pair best_along(kbuild *b, const node *n, pair x, int axis) {
  tval *in[] = {x.best, x.place};
  tstmt *st = reduce_statement(b, TILE_ARG_REDUCE, op_combiner(n->op), in, 2, 2);
  st->axes = arena_copy(b->l->a, &axis, sizeof axis);
  st->naxes = 1;
  int axes[MAX_AXES], extents[MAX_AXES], count = 0;
  for (int i = 0; i < x.best->naxes; i++) {
    if (x.best->axes[i] == axis) continue;
    axes[count] = x.best->axes[i];
    extents[count++] = x.best->extents[i];
  }
  for (int k = 0; k < 2; k++) st->out[k] = tile_value(b->k, in[k]->type, axes, extents, count);
  kb_append(b, b->scope, st);
  return (pair){st->out[0], st->out[1]};
}

/// The best pair of the elements in the open ranges, in steps of `width`.
static pair walk(nest *t, const node *n, int axis, int width) {
  kbuild *b = t->b;
  pair none = nothing(t, n, axis, width);
  tval *run[] = {none.best, none.place};
  tstmt *loop = kb_loop(b, axis, width, run, 2);
  tval *x = kb_value_here(b, n->in[0]);
  if (x->type != n->in[0]->type) x = kb_map(b, OP_cast, n->in[0]->type, x, NULL, NULL);
  tval *at = kb_index_value(b, b->sigma[n->attr_axes[0]], DT_i32);
  pair so_far = {loop->body->params[0], loop->body->params[1]};
  pair now = better(b, n, so_far, (pair){x, at});
  tval **out = kb_end_loop(b, (tval *[]){now.best, now.place}, 2);
  return best_along(b, n, (pair){out[0], out[1]}, axis);
}

void nest_declare_arg(nest *t, const node *n) {
  int axes[MAX_KERNEL_AXES], count = nest_axes_of(t, n, nest_loops_of(t, n).lanes, axes);
  if (t->o.values[n->id].in_memory) return;
  t->best_of[n->id] = kb_local(t->b, "best", n->in[0]->type, axes, count);
}

void nest_begin_arg(const nest *t, const node *n) {
  pair none = nothing(t, n, -1, 0);
  nest_keep_in(t, n, t->best_of[n->id], none.best);
  nest_keep(t, n, none.place);
}

void nest_emit_arg(nest *t, const node *n) {
  kbuild *b = t->b;
  nest_loops s = nest_loops_of(t, n);
  int over[MAX_AXES], nover = nest_reduced(t, n, over);
  check(n->nattr_axes == 1 && nover <= 1);
  int o = nest_open(t, n, &s), width = 1;
  if (nover && over[0] == s.lanes) width = nest_width(t, &s);
  pair now = nover ? walk(t, n, over[0], width) : nothing(t, n, -1, 0);
  if (t->o.values[n->id].state) {
    pair before = {nest_kept(t, n, t->best_of[n->id]), nest_kept(t, n, b->local_of[n->id])};
    now = better(b, n, before, now);
    nest_keep_in(t, n, t->best_of[n->id], now.best);
  }
  nest_keep(t, n, now.place);
  nest_close(t, o);
}

void nest_merge_arg(nest *t, const node *n, int width, int best, int places) {
  kbuild *b = t->b;
  pair none = nothing(t, n, t->chunk, width);
  tval *run[] = {none.best, none.place};
  tstmt *loop = kb_loop(b, t->chunk, width, run, 2);
  pair so_far = {loop->body->params[0], loop->body->params[1]};
  ix index[MAX_AXES] = {ix_axis(&b->k->ix, t->chunk)};
  kb_identity(b, n, index + 1);
  pair now = better(b, n, so_far, (pair){kb_load_at(b, best, index), kb_load_at(b, places, index)});
  tval **out = kb_end_loop(b, (tval *[]){now.best, now.place}, 2);
  nest_keep(t, n, best_along(b, n, (pair){out[0], out[1]}, t->chunk).place);
}
