// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Few rows of a long stream on a GPU: a kernel of loop nests whose blocks walk a chunk of the stream each.
// The last block of a tile of rows combines the states of all of them (Finish in ir/tile.h):
//
//   grid C:1, S:16 {
//     local m, l, o;  loop T:256 from C*4096 below C*4096 + 4096 { ... }
//     loop S:16 { store part_m[C, S], m;  part_l[C, S], l };  loop S:16 { loop E:64 { part_o[C, S, E], o } }
//     if finished C {
//       local m, l, o
//       loop S:16 { m = reduce max part_m over C;  shift }
//       loop S:16 { l = reduce add part_l * exp(part_m - shift) over C }
//       loop S:16 { loop E:64 { o = loop C:1 { + part_o * exp(part_m - shift) } } }
//       store out, o / l
//     }
//   }
//
// What was summed under the maximum of a chunk shrinks as it does from step to step; what was summed about
// the mean of a chunk is moved to that of all as it is from step to step (lower_nest_moments.c):
// M2 + h (2 M1 + h W), h the difference of the means. Chunks are combined in the order of C.
#include "base/fault.h"
#include "passes/lowering/gpu.h"
#include "passes/lowering/nest.h"

// ---- which, and how many

static bool is_part(const nest *t, const node *n) {
  const outline_value *v = &t->o.values[n->id];
  return v->state || v->is_centre;
}

/// What a chunk leaves is states alone, on chip, that do not depend on the order of the stream.
static bool leaves_states(const nest *t) {
  const group *g = t->b->group;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    const outline_value *v = &t->o.values[n->id];
    if (v->carries || v->in_memory || (t->stored[n->id] && v->streamed)) return false;
    if (is_part(t, n) && n->naxes == MAX_AXES) return false;
    // What several tiles have alike would be one part of all of them.
    for (int k = 0; is_part(t, n) && k < t->nrows; k++) {
      ix size = t->b->k->axes.data[t->rows[k]].size;
      if (!kb_uses(t->b, n, t->rows[k]) && ix_bounds(&t->b->k->ix, size).max > t->tile[k]) return false;
    }
  }
  return true;
}

/// All steps of the stream are taken.
static bool takes_all_steps(const nest *t) {
  skip s = nest_skip(t, t->step, true);
  return !s.from && !s.below && !s.conditions.len;
}

/// Tickets are few: so must the tiles be, whatever sizes there are.
static bool tiles_are_few(const nest *t) {
  const kbuild *b = t->b;
  int64_t most = 1;
  for (int i = 0; i < t->nrows; i++) {
    int64_t size = ix_bounds(&b->k->ix, b->k->axes.data[t->rows[i]].size).max;
    if (size > (int64_t)FINISH_MOST * t->tile[i]) return false;
    most *= gpu_pieces(size, t->tile[i]);
    if (most > FINISH_MOST) return false;
  }
  return true;
}

/// What a block keeps, and the last one once more for all of them.
static bool states_fit(const nest *t) {
  return 2 * nest_chip_bytes(t) + NEST_STAGED <= outline_room(t->b->l->target);
}

/// Elements of a step's values beside one another: as many, whatever the tile of rows.
static void lengthen_step(nest *t, int64_t tiles) {
  enum { ELEMENTS = 4096 };
  const kbuild *b = t->b;
  int64_t size = kb_kernel_size(b, t->stream[t->nstream - 1]), rows = t->nrows ? t->tile[t->nrows - 1] : 1;
  while (t->step * rows < ELEMENTS && t->step * 2 * b->l->target->cores < size * tiles) {
    t->step *= 2;
    if (states_fit(t)) continue;
    t->step /= 2;
    break;
  }
}

static int64_t steps_of(const nest *t) {
  return gpu_pieces(kb_kernel_size(t->b, t->stream[t->nstream - 1]), t->step);
}

void nest_choose_chunks(nest *t, int64_t tiles) {
  enum { LEAST = 4 };  // steps of a block that may share them
  kbuild *b = t->b;
  t->chunk = -1;
  if (!t->nstream || t->o.walks != 1 || t->o.reversed || tiles >= b->l->target->cores) return;
  bool asked = schedule_given(b->l, "chunks", 0);
  int64_t work = steps_of(t) * t->step * (t->nrows ? t->tile[t->nrows - 1] : 1);
  if (work < NEST_WORTH_CHUNKS && !asked) return;
  if (!states_fit(t) || !leaves_states(t) || !tiles_are_few(t) || !takes_all_steps(t)) return;
  if (!schedule_given(b->l, "step", 0)) lengthen_step(t, tiles);
  int64_t steps = steps_of(t), resident = b->l->target->threads_per_core / GPU_BLOCK;
  int64_t by_memory = b->l->target->shared_per_core / (nest_chip_bytes(t) + NEST_STAGED);
  if (by_memory < resident) resident = by_memory > 1 ? by_memory : 1;
  int64_t most = resident * b->l->target->cores / tiles;
  if (most > steps) most = steps;
  if ((steps >= LEAST && most >= 2) || asked) most = schedule_option(b->l, "chunks", most);
  if (most > steps) most = steps;
  if ((steps < LEAST && !asked) || most < 2 || (steps + most) * t->step > INT32_MAX) return;
  int64_t each = (steps + most - 1) / most, count = (steps + each - 1) / each;
  if (count < 2) return;
  int axis = t->stream[t->nstream - 1];
  ix_pool *pool = &b->k->ix;
  ix length = kb_part_length(pool, b->k->axes.data[axis].size, count, t->step);
  t->chunk = kb_axis(b, STR("C"), ix_const(pool, count));
  ix from = ix_mul(pool, ix_axis(pool, t->chunk), length);
  b->part = (walked_part){.axis = axis, .from = from, .below = ix_add(pool, from, length), .steps = each};
}

static int make_part(nest *t, const node *n, dtype type) {
  ix count = ix_const(&t->b->l->p->ix, kb_kernel_size(t->b, t->chunk));
  return kb_arg(t->b, lower_add_parts(t->b->l, n, count, type));
}

void nest_make_parts(nest *t) {
  const group *g = t->b->group;
  for (int i = 0; t->chunk >= 0 && i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (!is_part(t, n)) continue;
    t->part_of[n->id] = make_part(t, n, n->type);
    if (t->o.values[n->id].state && op_is_arg(n->op)) t->part_more[n->id] = make_part(t, n, n->in[0]->type);
    if (t->o.values[n->id].is_centre && !t->o.values[n->id].weight) t->part_more[n->id] = make_part(t, n, n->type);
  }
}

// ---- what a chunk came to

static int place(const nest *t, const node *n, ix *index) {
  index[0] = ix_axis(&t->b->k->ix, t->chunk);
  kb_identity(t->b, n, index + 1);
  return n->naxes + 1;
}

static tval *load_part(const nest *t, const node *n, int arg) {
  ix index[MAX_AXES];
  place(t, n, index);
  return kb_load_at(t->b, arg, index);
}

static tval *part(const nest *t, const node *n) { return load_part(t, n, t->part_of[n->id]); }

/// The buffer with what a state or centre has besides itself: the extreme, the number of elements; -1.
static int more_of(const nest *t, const node *n) {
  const outline_value *v = &t->o.values[n->id];
  if (v->state && op_is_arg(n->op)) return t->best_of[n->id];
  return v->is_centre && !v->weight ? t->count_of[n->id] : -1;
}

static void store_parts(nest *t) {
  kbuild *b = t->b;
  for (int i = 0; i < b->group->nodes.len; i++) {
    const node *n = b->group->nodes.data[i];
    if (!is_part(t, n)) continue;
    ix index[MAX_AXES];
    nest_loops s = nest_loops_of(t, n);
    int o = nest_open(t, n, &s), rank = place(t, n, index), more = more_of(t, n);
    kb_store(b, t->part_of[n->id], nest_kept(t, n, b->local_of[n->id]), index, rank);
    if (more >= 0) kb_store(b, t->part_more[n->id], nest_kept(t, n, more), index, rank);
    nest_close(t, o);
    nest_forget(b);
  }
}

// ---- what all of them came to

/// Columns of a result lie on threads, else the chunks do.
static nest_loops merge_loops(const nest *t, const node *n) {
  nest_loops s = nest_loops_of(t, n);
  if (s.lanes >= 0 && kb_uses(t->b, n, s.lanes) && s.lanes != t->block) return s;
  s.lanes = t->chunk;
  s.vectors = 1;
  while (s.vectors < 4 && s.vectors * t->lanes < nest_held(t, t->chunk)) s.vectors *= 2;
  return s;
}

/// By how much what was summed in a chunk shrinks; null: by nothing.
static tval *part_factor(const nest *t, const node *n) {
  kbuild *b = t->b;
  const node *frame = t->o.values[n->id].frame;
  if (!frame) return NULL;
  tval *shift = nest_kept(t, frame, t->shift_of[frame->id]);
  return kb_map(b, OP_exp, frame->type, kb_map(b, OP_sub, frame->type, part(t, frame), shift, NULL), NULL, NULL);
}

/// The number of elements of a chunk, or a state of it.
static tval *part_below(const nest *t, const node *c, const node *below, dtype type) {
  tval *v = below ? part(t, below) : load_part(t, c, t->part_more[c->id]);
  return kb_as_type(t->b, v, type);
}

/// Where a chunk's mean was, from that of all.
static tval *part_move(const nest *t, const node *c, dtype type) {
  kbuild *b = t->b;
  tval *h = kb_map(b, OP_sub, c->type, part(t, c), nest_kept(t, c, b->local_of[c->id]), NULL);
  return kb_as_type(b, h, type);
}

static tval *times(kbuild *b, tval *x, tval *y) { return kb_map(b, OP_mul, x->type, x, y, NULL); }
static tval *plus(kbuild *b, tval *x, tval *y) { return kb_map(b, OP_add, x->type, x, y, NULL); }

/// What a chunk came to, about the means of all: (a - c)(b - d) is M + h_c (M_b + h_d W) + h_d M_a, of
/// one mean M + h (2 M_a + h W), in which what is large comes first.
static tval *moved_part(const nest *t, const node *n) {
  kbuild *b = t->b;
  const outline_value *v = &t->o.values[n->id];
  tval *was = part(t, n), *h[OUTLINE_MOST_CENTRES] = {0}, *by[OUTLINE_MOST_CENTRES], *now = was;
  if (!v->ncentres) return was;
  bool same = v->ncentres == 2 && v->centres[0] == v->centres[1];
  for (int i = 0; i < v->ncentres; i++) {
    h[i] = part_move(t, v->centres[i], n->type);
    by[i] = part_below(t, v->centres[i], v->below[i], n->type);
  }
  if (v->ncentres == 2) {
    const node *least = t->o.values[v->below[0]->id].below[0];
    by[0] = plus(b, by[0], times(b, h[1], part_below(t, v->centres[1], least, n->type)));
  }
  if (same) by[0] = plus(b, by[0], by[1]);
  for (int i = 0; i < (same ? 1 : v->ncentres); i++) now = plus(b, now, times(b, h[i], by[i]));
  // Where the means are the same nothing changes, not even if a sum is infinite.
  tval *zero = kb_const(b, n->type, (scalar){.f = 0}), *still = kb_map(b, OP_eq, DT_bool, h[0], zero, NULL);
  if (v->ncentres == 2)
    still = kb_map(b, OP_and, DT_bool, still, kb_map(b, OP_eq, DT_bool, h[1], zero, NULL), NULL);
  return kb_map(b, OP_where, n->type, still, was, now);
}

static void merge_state(nest *t, const node *n) {
  kbuild *b = t->b;
  nest_loops s = merge_loops(t, n);
  op combine = n->op == OP_dot ? OP_add : op_combiner(n->op);
  int o = nest_open(t, n, &s);
  bool by_chunk = s.lanes == t->chunk;
  int width = by_chunk ? nest_width(t, &s) : 1;
  scalar none = op_identity(n->op == OP_dot ? OP_sum : n->op, n->type);
  tval *sum = nest_filled(t, n, n->type, none, by_chunk ? t->chunk : -1, width);
  tstmt *loop = kb_loop(b, t->chunk, width, &sum, 1);
  if (!by_chunk) loop->unroll = 4;
  tval *x = moved_part(t, n), *factor = part_factor(t, n);
  if (factor) x = times(b, x, kb_as_type(b, factor, n->type));
  if (!by_chunk) x = kb_reduce_tile(b, combine, x, &t->chunk, 1);
  sum = kb_accumulate(b, combine, (tval *[]){loop->body->params[0], x}, 2);
  sum = kb_end_loop(b, &sum, 1)[0];
  if (by_chunk) sum = kb_reduce_tile(b, combine, sum, &t->chunk, 1);
  if (t->o.values[n->id].is_frame) nest_keep_shift(t, n, sum);
  nest_keep(t, n, sum);
  nest_close(t, o);
}

static void merge_arg(nest *t, const node *n) {
  nest_loops s = merge_loops(t, n);
  s.lanes = t->chunk;
  int o = nest_open(t, n, &s);
  nest_merge_arg(t, n, nest_width(t, &s), t->part_more[n->id], t->part_of[n->id]);
  nest_close(t, o);
}

/// Of the elements of all chunks; 0 where it is infinite, as from step to step.
static void merge_centre(nest *t, const node *c) {
  kbuild *b = t->b;
  const outline_value *v = &t->o.values[c->id];
  nest_loops s = nest_loops_of(t, c);
  int o = nest_open(t, c, &s);
  tval *sum = kb_as_type(b, nest_kept(t, v->sum, b->local_of[v->sum->id]), c->type), *by;
  if (v->weight) by = nest_kept(t, v->weight, b->local_of[v->weight->id]);
  else by = kb_index_value(b, b->k->axes.data[t->stream[0]].size, DT_i64);
  nest_keep(t, c, nest_finite_mean(b, c->type, sum, kb_as_type(b, by, c->type)));
  nest_close(t, o);
}

static void merge(nest *t, const node *n) {
  const outline_value *v = &t->o.values[n->id];
  int axes[MAX_KERNEL_AXES];
  nest_declare(t, n, v->is_centre ? "centre" : "state");
  if (v->is_frame)
    t->shift_of[n->id] = kb_local(t->b, "shift", n->type, axes, nest_axes_of(t, n, -1, axes));
  if (v->is_centre) merge_centre(t, n);
  else if (op_is_arg(n->op)) merge_arg(t, n);
  else merge_state(t, n);
  nest_is_there(t, n);
  nest_forget(t->b);
}

void nest_begin_finish(nest *t) {
  kbuild *b = t->b;
  const group *g = b->group;
  store_parts(t);
  kb_begin_finish(b, t->chunk);
  nest_forget(b);
  for (int i = 0; i < g->nodes.len; i++)
    if (is_part(t, g->nodes.data[i])) merge(t, g->nodes.data[i]);
  // As after a walk: what reads a mean reads the quotient of its sums, infinite or not.
  for (int i = 0; i < g->nodes.len; i++)
    if (t->o.values[g->nodes.data[i]->id].is_centre) b->local_ready[g->nodes.data[i]->id] = false;
}
