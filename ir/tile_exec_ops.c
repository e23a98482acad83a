// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The tile interpreter: statements that compute.
#include <math.h>

#include "ir/tile_exec.h"

// ---- map ops

/// Poison passes through, but not where an op does not look: the branch not chosen, and the other
/// side of a decided "and" or "or".
static uint8_t map_poison(op o, dtype t, const scalar *in, const uint8_t *poison, int n) {
  if (o == OP_where) return poison[0] | (in[0].i ? poison[1] : poison[2]);
  bool decides = t == DT_bool && (o == OP_and || o == OP_or);
  for (int i = 0; decides && i < 2; i++)
    if (!poison[i] && !in[i].i == (o == OP_and)) return 0;
  uint8_t any = 0;
  for (int i = 0; i < n; i++) any |= poison[i];
  return any;
}

void exec_map(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  dtype operand = s->in[s->op == OP_where ? 1 : 0]->type;
  lanes *o = exec_lanes(m, out), *in[3];
  tile_walk w;
  twalk_over(m, &w, out);
  for (int i = 0; i < s->nin; i++) {
    in[i] = exec_lanes(m, s->in[i]);
    twalk_operand(&w, s->in[i]);
  }
  int lane = 0;
  do {
    scalar v[3];
    uint8_t poison[3];
    for (int i = 0; i < s->nin; i++) {
      v[i] = in[i]->data[w.offset[i]];
      poison[i] = in[i]->poison[w.offset[i]];
    }
    uint8_t marked = !twalk_valid(&w) || map_poison(s->op, operand, v, poison, s->nin);
    o->poison[lane] = marked;
    o->data[lane] = marked ? tile_poison(out->type) : op_eval(s->op, operand, out->type, v);
    lane++;
  } while (twalk_next(&w));
}

void exec_fill(machine *m, const tval *out, scalar v) {
  lanes *o = exec_lanes(m, out);
  for (int i = 0; i < o->n; i++) {
    o->data[i] = v;
    o->poison[i] = 0;
  }
  exec_poison_invalid(m, out);
}

void exec_size_value(machine *m, const tstmt *s) {
  scalar size = {.i = exec_size(m, s->ix[0])};
  exec_fill(m, s->out[0], scalar_cast(size, DT_i64, s->out[0]->type));
}

void exec_index(machine *m, const tstmt *s) {
  lanes *o = exec_lanes(m, s->out[0]);
  for (int i = 0; i < o->n; i++) {
    o->data[i].i = m->axes[s->axis].base + i;
    o->poison[i] = 0;
  }
  exec_poison_invalid(m, s->out[0]);
}

// ---- combining

void exec_accum(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = exec_lanes(m, out), *acc = exec_lanes(m, s->in[0]), *in[2];
  tile_walk w;
  twalk_over(m, &w, out);
  int at = twalk_operand(&w, s->in[0]);
  for (int i = 1; i < s->nin; i++) {
    in[i - 1] = exec_lanes(m, s->in[i]);
    twalk_operand(&w, s->in[i]);
  }
  int lane = 0;
  do {
    scalar old = acc->data[w.offset[at]];
    uint8_t poison = acc->poison[w.offset[at]];
    o->data[lane] = old;
    o->poison[lane] = poison;
    if (twalk_valid(&w)) {
      scalar a = in[0]->data[w.offset[1]];
      poison |= in[0]->poison[w.offset[1]];
      if (s->op == OP_fma) {
        poison |= in[1]->poison[w.offset[2]];
        o->data[lane] =
            op_eval(OP_fma, out->type, out->type, (scalar[]){a, in[1]->data[w.offset[2]], old});
      } else {
        o->data[lane] = op_eval(s->op, out->type, out->type, (scalar[]){old, a});
      }
      o->poison[lane] = poison;
    }
    lane++;
  } while (twalk_next(&w));
}

/// One op: rounded when all lanes are in.
static op_running *start_running(machine *m, const lanes *o) {
  if (m->nrunning < o->n) {
    m->running = arena_array(m->arena, op_running, o->n);
    m->nrunning = o->n;
  }
  for (int i = 0; i < o->n; i++) m->running[i] = op_start(o->data[i]);
  return m->running;
}

static void finish_running(const op_running *running, lanes *o, dtype t) {
  for (int i = 0; i < o->n; i++) o->data[i] = op_value(running[i], t);
}

/// How far before lane `at` along an axis the lane is that it combines with, of those that are left.
static int lanes_back(const tile_walk *w, const tstmt *s) {
  if (!s->extent) return 0;
  int along = 0;
  while (w->axes[along] != s->axes[0]) along++;
  return (w->at[along] - w->at[along] % s->extent) * w->stride[0][along];
}

void exec_reduce(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = exec_lanes(m, out), *in = exec_lanes(m, s->in[0]);
  exec_fill(m, out, op_identity(s->op, out->type));
  op_running *running = start_running(m, o);
  tile_walk w;
  twalk_over(m, &w, s->in[0]);
  twalk_operand(&w, out);
  int lane = 0;
  do {
    if (twalk_valid(&w)) {
      int to = w.offset[0] - lanes_back(&w, s);
      op_step(&running[to], s->op, out->type, in->data[lane]);
      o->poison[to] |= in->poison[lane];
    }
    lane++;
  } while (twalk_next(&w));
  finish_running(running, o, out->type);
}

/// NaN is best of all; of equals the smaller index.
static bool is_better(op o, dtype t, scalar v, scalar i, scalar best, scalar besti) {
  if (dtype_is_float(t)) {
    if (isnan(v.f) || isnan(best.f)) return isnan(v.f) && (!isnan(best.f) || i.i < besti.i);
    if (v.f != best.f) return o == OP_max ? v.f > best.f : v.f < best.f;
  } else if (v.i != best.i) {
    return o == OP_max ? scalar_less(best, v, t) : scalar_less(v, best, t);
  }
  return i.i < besti.i;
}

typedef struct best_pair {
  lanes *v, *i;
} best_pair;

static void take_better(op o, dtype t, best_pair best, int to, best_pair from, int v, int i) {
  bool better =
      is_better(o, t, from.v->data[v], from.i->data[i], best.v->data[to], best.i->data[to]);
  uint8_t poison = best.v->poison[to] | best.i->poison[to] | from.v->poison[v] | from.i->poison[i];
  if (better) {
    best.v->data[to] = from.v->data[v];
    best.i->data[to] = from.i->data[i];
  }
  best.v->poison[to] = best.i->poison[to] = poison;
}

void exec_arg(machine *m, const tstmt *s) {
  best_pair out = {exec_lanes(m, s->out[0]), exec_lanes(m, s->out[1])};
  best_pair best = {exec_lanes(m, s->in[0]), exec_lanes(m, s->in[1])};
  best_pair from = {exec_lanes(m, s->in[2]), exec_lanes(m, s->in[3])};
  tile_walk w;
  twalk_over(m, &w, s->out[0]);
  for (int i = 0; i < 4; i++) twalk_operand(&w, s->in[i]);
  int lane = 0;
  do {
    out.v->data[lane] = best.v->data[w.offset[0]];
    out.v->poison[lane] = best.v->poison[w.offset[0]];
    out.i->data[lane] = best.i->data[w.offset[1]];
    out.i->poison[lane] = best.i->poison[w.offset[1]];
    if (twalk_valid(&w))
      take_better(s->op, s->in[0]->type, out, lane, from, w.offset[2], w.offset[3]);
    lane++;
  } while (twalk_next(&w));
}

void exec_arg_reduce(machine *m, const tstmt *s) {
  best_pair out = {exec_lanes(m, s->out[0]), exec_lanes(m, s->out[1])};
  best_pair from = {exec_lanes(m, s->in[0]), exec_lanes(m, s->in[1])};
  enum { EMPTY = 2 };
  for (int i = 0; i < out.v->n; i++) {
    exec_poison_lane(out.v, i, s->out[0]->type);
    exec_poison_lane(out.i, i, s->out[1]->type);
    out.v->poison[i] = EMPTY;
  }
  tile_walk w;
  twalk_over(m, &w, s->in[0]);
  twalk_operand(&w, s->out[0]);
  twalk_operand(&w, s->in[1]);
  int lane = 0;
  do {
    int to = w.offset[0], i = w.offset[1];
    if (twalk_valid(&w) && out.v->poison[to] == EMPTY) {
      out.v->data[to] = from.v->data[lane];
      out.i->data[to] = from.i->data[i];
      out.v->poison[to] = out.i->poison[to] = from.v->poison[lane] | from.i->poison[i];
    } else if (twalk_valid(&w)) {
      take_better(s->op, s->in[0]->type, out, to, from, lane, i);
    }
    lane++;
  } while (twalk_next(&w));
  for (int i = 0; i < out.v->n; i++) out.v->poison[i] = out.v->poison[i] != 0;
}

/// a * b in double, exact where the type is f32; of f64 with what it rounds off.
static void add_product(op_running *r, dtype t, scalar a, scalar b) {
  if (!dtype_is_float(t)) {
    op_step(r, OP_add, t, op_eval(OP_mul, t, t, (scalar[]){a, b}));
    return;
  }
  double product = a.f * b.f;
  op_add_float(r, product);
  if (t == DT_f64) r->lost += fma(a.f, b.f, -product);
}

void exec_dot(machine *m, const tstmt *s) {
  const tval *out = s->out[0];
  lanes *o = exec_lanes(m, out), *a = exec_lanes(m, s->in[0]), *b = exec_lanes(m, s->in[1]);
  tile_walk w;
  twalk_over(m, &w, out);
  for (int i = 0; i < s->naxes; i++) {
    int extent = tval_extent(s->in[0], s->axes[i]);
    twalk_axis(m, &w, s->axes[i], extent ? extent : tval_extent(s->in[1], s->axes[i]));
  }
  twalk_operand(&w, out);
  twalk_operand(&w, s->in[0]);
  twalk_operand(&w, s->in[1]);
  exec_copy(m, out, s->in[2]);
  op_running *running = start_running(m, o);
  do {
    if (!twalk_valid(&w)) continue;
    int to = w.offset[0], x = w.offset[1], y = w.offset[2];
    add_product(&running[to], out->type, a->data[x], b->data[y]);
    o->poison[to] |= a->poison[x] | b->poison[y];
  } while (twalk_next(&w));
  finish_running(running, o, out->type);
  exec_poison_invalid(m, out);
}
