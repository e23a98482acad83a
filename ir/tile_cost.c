// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What one call of a kernel moves and computes, when size symbols have their estimates.
//
// Bytes are the traffic that no cache can avoid: of each argument, the elements that some load
// (some store) touches, each once. They are boxes: per dimension the interval that the index
// reaches over the whole axes. Flops are the costs of the op table times the lanes computed; tails
// count for what they hold, recomputed values for each time.
#include <math.h>

#include "base/fault.h"
#include "ir/tile.h"

typedef struct interval {
  double min, max;
} interval;

typedef struct box {
  bool touched;
  interval at[MAX_AXES];
  double elements;  // the sum over accesses that differ; at most the box holds
} box;

typedef struct walk_state {
  double size;
  double walked;  // of it
  int extent;  // 0 closed
  bool once;   // inside an if first or last: one step of the walk
} walk_state;

typedef struct estimator {
  const kernel *k;
  arena *scratch;
  walk_state *axes;
  box *read, *written;          // by argument
  vec(const tstmt *) accesses;  // seen, for telling repeated ones
  double flops, moved, waits;
} estimator;

// ---- bytes

static interval multiply(interval a, interval b) {
  double p[] = {a.min * b.min, a.min * b.max, a.max * b.min, a.max * b.max};
  interval r = {p[0], p[0]};
  for (int i = 1; i < 4; i++) {
    if (p[i] < r.min) r.min = p[i];
    if (p[i] > r.max) r.max = p[i];
  }
  return r;
}

/// The values of an index while every axis runs over its whole size.
static interval reach(const estimator *e, ix index) {
  const ix_pool *pool = &e->k->ix;
  const ix_node *n = ix_get(pool, index);
  switch (n->kind) {
    case IX_CONST:
      return (interval){(double)n->value, (double)n->value};
    case IX_AXIS:
      return (interval){0, e->axes[n->value].size - 1};
    case IX_SUM: {
      interval sum = {0, 0};
      for (int t = 0; t < n->nterms; t++) {
        double coef = (double)n->terms[t].coef;
        interval term = {coef, coef};
        for (int i = 0; i < n->terms[t].natoms; i++)
          term = multiply(term, reach(e, n->terms[t].atoms[i]));
        sum.min += term.min;
        sum.max += term.max;
      }
      return sum;
    }
    case IX_DIV: {
      interval a = reach(e, n->a);
      double by = (double)ix_estimate(pool, n->b);
      if (by < 1) by = 1;
      return (interval){floor(a.min / by), floor(a.max / by)};
    }
    case IX_MOD: {
      interval a = reach(e, n->a);
      double by = (double)ix_estimate(pool, n->b);
      return a.min >= 0 && a.max < by ? a : (interval){0, by - 1};
    }
    default: {
      double v = (double)ix_estimate(pool, index);
      return (interval){v, v};
    }
  }
}

static double clip(const estimator *e, const tile_buf *b, int d, interval *at) {
  double last = (double)ix_estimate(&e->k->ix, b->dims[d]) - 1;
  if (at->min < 0) at->min = 0;
  if (at->max > last) at->max = last;
  return at->max < at->min ? 0 : at->max - at->min + 1;
}

static bool same_access(const tstmt *a, const tstmt *b) {
  if (a->kind != b->kind || a->buf != b->buf) return false;
  for (int d = 0; d < a->nix; d++)
    if (a->ix[d] != b->ix[d] || a->indirect[d] >= 0 || b->indirect[d] >= 0) return false;
  return true;
}

typedef struct axis_product {
  const estimator *e;
  bool *counted;
  double product;
} axis_product;

static void count_axis(void *ctx, int along) {
  axis_product *p = ctx;
  if (!p->counted[along]) p->product *= p->e->axes[along].size;
  p->counted[along] = true;
}

/// How many different coordinates the access can make: the sizes of the axes it uses.
static double coordinates(const estimator *e, const tstmt *s) {
  axis_product p = {e, arena_array(e->scratch, bool, e->k->axes.len), 1};
  for (int d = 0; d < s->nix; d++) {
    ix_axes(&e->k->ix, s->ix[d], count_axis, &p);
    const tval *v = s->indirect[d] >= 0 ? s->in[s->indirect[d]] : NULL;
    for (int i = 0; v && i < v->naxes; i++) count_axis(&p, v->axes[i]);
  }
  return p.product;
}

static double lanes_computed(const estimator *e, const tval *shape);

static void touch(estimator *e, const tstmt *s) {
  const tile_buf *b = &e->k->bufs.data[s->buf];
  if (b->local) return;
  double lanes = lanes_computed(e, s->kind == TILE_STORE ? s->in[0] : s->out[0]);
  e->moved += (s->adds ? 2 : 1) * lanes * dtype_bytes(b->type);
  for (int i = 0; i < e->accesses.len; i++)
    if (same_access(s, e->accesses.data[i])) return;
  vec_push(e->scratch, &e->accesses, s);
  box *to = s->kind == TILE_STORE ? &e->written[s->buf] : &e->read[s->buf];
  double volume = 1, different = coordinates(e, s);
  for (int d = 0; d < s->nix; d++) {
    interval at = reach(e, s->ix[d]);
    if (s->indirect[d] >= 0) at = (interval){0, 1e18};
    volume *= clip(e, b, d, &at);
    if (!to->touched || at.min < to->at[d].min) to->at[d].min = at.min;
    if (!to->touched || at.max > to->at[d].max) to->at[d].max = at.max;
  }
  to->touched = true;
  to->elements += volume < different ? volume : different;
}

static int64_t whole(double v) { return v > 9e18 ? INT64_MAX : (int64_t)v; }

static double box_elements(const estimator *e, const box *b, const tile_buf *buf) {
  if (!b->touched) return 0;
  double volume = 1;
  for (int d = 0; d < buf->rank; d++) {
    interval at = b->at[d];
    volume *= clip(e, buf, d, &at);
  }
  return b->elements < volume ? b->elements : volume;
}

// ---- flops

/// Lanes of these axes computed over the whole call: per open axis its size where the lanes run
/// along its range, else its steps; extents of closed ones.
static double lanes_computed(const estimator *e, const tval *shape) {
  double lanes = 1;
  for (int a = 0; a < e->k->axes.len; a++) {
    const walk_state *w = &e->axes[a];
    int extent = tval_extent(shape, a);
    bool along = w->extent && extent == w->extent;
    if (!w->extent)
      lanes *= extent ? extent : 1;
    else if (w->once)
      lanes *= extent ? extent : 1;
    else if (along) lanes *= w->walked;
    else lanes *= ceil(w->walked / w->extent) * (extent ? extent : 1);
  }
  return lanes;
}

static tval dot_shape(const tstmt *s) {
  tval shape = *s->in[2];
  for (int i = 0; i < s->naxes && shape.naxes < MAX_AXES; i++) {
    int extent = tval_extent(s->in[0], s->axes[i]);
    shape.axes[shape.naxes] = s->axes[i];
    shape.extents[shape.naxes++] = extent ? extent : tval_extent(s->in[1], s->axes[i]);
  }
  return shape;
}

static void estimate_region(estimator *e, const tregion *r);

/// Where a bound lies on the average, within the axis.
static double mean_bound(const estimator *e, ix bound, double size) {
  interval at = reach(e, bound);
  double mean = (at.min + at.max) / 2;
  return mean < 0 ? 0 : mean > size ? size : mean;
}

/// What a loop with bounds walks of the size on the average: a step at least.
static double walked_between(const estimator *e, const tstmt *s, double size) {
  double end = s->below ? mean_bound(e, s->below, size) : size;
  double walked = end - (s->from ? mean_bound(e, s->from, size) : 0);
  return walked >= s->extent ? walked : s->extent < size ? s->extent : size;
}

static void estimate_loop(estimator *e, const tstmt *s) {
  walk_state *w = &e->axes[s->axis], outer = *w;
  // Inside one step of an outer walk, the inner one still takes all of its own.
  if (outer.once) w->size = w->walked = outer.extent < outer.size ? outer.extent : outer.size;
  if (s->from || s->below) w->walked = walked_between(e, s, w->size);
  w->extent = s->extent;
  w->once = false;
  estimate_region(e, s->body);
  *w = outer;
}

static void estimate_if(estimator *e, const tstmt *s) {
  bool steps = s->cond == COND_FIRST || s->cond == COND_LAST;
  bool finished = s->cond == COND_FINISHED, of_axis = steps || finished;
  walk_state *w = of_axis ? &e->axes[s->axis] : NULL, outer = of_axis ? *w : (walk_state){0};
  if (steps) w->once = true;
  if (finished) w->extent = 0;  // one of the tiles along it does the work
  estimate_region(e, s->body);
  if (of_axis) *w = outer;
  if (s->other) estimate_region(e, s->other);
}

static void estimate_stmt(estimator *e, const tstmt *s) {
  switch (s->kind) {
    case TILE_MAP:
      e->flops += op_get(s->op)->cost * lanes_computed(e, s->out[0]);
      break;
    case TILE_ACCUM:
      e->flops += (s->op == OP_fma ? 2 : 1) * lanes_computed(e, s->out[0]);
      break;
    case TILE_REDUCE:
      e->flops += lanes_computed(e, s->in[0]);
      break;
    case TILE_ARG:
    case TILE_ARG_REDUCE:
      e->flops += 3 * lanes_computed(e, s->in[0]);
      break;
    case TILE_DOT: {
      tval shape = dot_shape(s);
      e->flops += 2 * lanes_computed(e, &shape);
      break;
    }
    case TILE_LOAD:
    case TILE_STORE:
      touch(e, s);
      break;
    case TILE_LOOP:
      estimate_loop(e, s);
      break;
    case TILE_IF:
      estimate_if(e, s);
      break;
    default:
      break;
  }
}

static void estimate_region(estimator *e, const tregion *r) {
  bool copies = false;
  for (int i = 0; i < r->stmts.len; i++) copies |= r->stmts.data[i]->stage;
  if (copies) e->waits += lanes_computed(e, &(tval){0});
  for (int i = 0; i < r->stmts.len; i++) estimate_stmt(e, r->stmts.data[i]);
}

static estimator estimator_of(const kernel *k, arena *a) {
  estimator e = {.k = k, .scratch = a};
  e.axes = arena_array(a, walk_state, k->axes.len);
  e.read = arena_array(a, box, k->nargs);
  e.written = arena_array(a, box, k->nargs);
  for (int i = 0; i < k->axes.len; i++)
    e.axes[i].size = e.axes[i].walked = (double)ix_estimate(&k->ix, k->axes.data[i].size);
  return e;
}

/// Where some loops are within values, those: what gives the values walks longer steps.
static void count_steps(const estimator *e, const tregion *r, bool within, double *all, double *walked) {
  for (int i = 0; i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    if (s->kind == TILE_LOOP && (s->from || s->below) && s->within >= within) {
      *all += e->axes[s->axis].size;
      *walked += walked_between(e, s, e->axes[s->axis].size);
    }
    if (s->body) count_steps(e, s->body, within, all, walked);
    if (s->other) count_steps(e, s->other, within, all, walked);
  }
}

static bool some_loop_is_within(const tregion *r) {
  bool some = false;
  for (int i = 0; r && !some && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    some = s->within || some_loop_is_within(s->body) || some_loop_is_within(s->other);
  }
  return some;
}

double kernel_skipped_share(const kernel *k) {
  scratch work;
  scratch_open(&work);
  estimator e = estimator_of(k, &work.arena);
  double all = 0, walked = 0;
  count_steps(&e, &k->body, some_loop_is_within(&k->body), &all, &walked);
  scratch_close(&work);
  return all > 0 && walked < all ? 1 - walked / all : 0;
}

/// A loop whose body ends with an if that data decides.
static bool some_step_is_tested(const tregion *r) {
  bool some = false;
  for (int i = 0; r && !some && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i], *last = NULL;
    if (s->kind == TILE_LOOP && s->body->stmts.len) last = s->body->stmts.data[s->body->stmts.len - 1];
    some = (last && last->kind == TILE_IF && last->cond == COND_ANY && !last->nout) ||
           some_step_is_tested(s->body) || some_step_is_tested(s->other);
  }
  return some;
}

bool kernel_skips_by_data(const kernel *k) {
  return some_loop_is_within(&k->body) || some_step_is_tested(&k->body);
}

kernel_cost kernel_estimate(const kernel *k) {
  scratch work;
  scratch_open(&work);
  estimator e = estimator_of(k, &work.arena);
  for (int i = 0; i < k->grid.len; i++)
    e.axes[k->grid.data[i].axis].extent = k->grid.data[i].extent;
  estimate_region(&e, &k->body);
  double read = 0, written = 0;
  for (int i = 0; i < k->nargs; i++) {
    const tile_buf *b = &k->bufs.data[i];
    // What the kernel reads of its own results has just been stored.
    if (!e.written[i].touched) read += box_elements(&e, &e.read[i], b) * dtype_bytes(b->type);
    written += box_elements(&e, &e.written[i], b) * dtype_bytes(b->type);
  }
  scratch_close(&work);
  return (kernel_cost){whole(read), whole(written), whole(e.flops), whole(e.moved), whole(e.waits)};
}
