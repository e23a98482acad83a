// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "random_graph.h"

#include <math.h>

#include "base/fault.h"

typedef struct rng {
  uint64_t key, at;
} rng;

static uint64_t bits(rng *r) { return op_random_bits(r->key, r->at++); }
static int below(rng *r, int n) { return n > 0 ? (int)(bits(r) % (uint64_t)n) : 0; }
static bool chance(rng *r, int percent) { return below(r, 100) < percent; }

static double normal(rng *r) {
  double u = ((double)(bits(r) >> 11) + 0.5) * 0x1p-53, v = (double)(bits(r) >> 11) * 0x1p-53;
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

typedef struct builder {
  graph *g;
  rng r;
  int axes[4];
  vec(node *) values;   // f32
  vec(node *) indices;  // i32, values in range of axes[0]
  int fresh;
} builder;

static const int64_t sizes[] = {0, 1, 2, 3, 5, 7, 8, 16, 17, 31, 33, 64, 70};

static int new_axis(builder *b, int64_t size) {
  char name[] = {(char)('A' + b->fresh % 26), (char)('a' + b->fresh / 26), 0};
  b->fresh++;
  return graph_add_axis(b->g, str_dup(b->g->arena, str_from(name)), ix_const(&b->g->ix, size));
}

static int64_t size_of(const builder *b, int axis_number) {
  int64_t v = 0;
  ix_is_const(&b->g->ix, graph_axis_size(b->g, axis_number), &v);
  return v;
}

static int64_t elements(const builder *b, const node *n) {
  int64_t v = 1;
  for (int i = 0; i < n->naxes; i++) v *= size_of(b, n->axes[i]);
  return v;
}

static node *pick(builder *b) { return b->values.data[below(&b->r, b->values.len)]; }

static node *cast_scaled(builder *b, node *x) {
  // Keeps sums of many terms moderate.
  return graph_binary(b->g, OP_mul, x, graph_const_float(b->g, DT_f32, 0.25));
}

static node *unary(builder *b) {
  static const op ops[] = {OP_neg, OP_abs, OP_tanh, OP_sigmoid, OP_floor, OP_erf, OP_sin};
  node *x = pick(b);
  if (chance(&b->r, 15)) return graph_cast(b->g, graph_cast(b->g, x, DT_bf16), DT_f32);
  if (chance(&b->r, 20)) return graph_unary(b->g, OP_exp, graph_unary(b->g, OP_tanh, x));
  return graph_unary(b->g, ops[below(&b->r, 7)], x);
}

static node *binary(builder *b) {
  static const op ops[] = {OP_add, OP_sub, OP_mul, OP_min, OP_max};
  node *x = pick(b), *y = pick(b);
  if (elements(b, x) * elements(b, y) > 200000) y = x;
  if (chance(&b->r, 15)) return graph_where(b->g, graph_binary(b->g, OP_lt, x, y), x, cast_scaled(b, y));
  return graph_binary(b->g, ops[below(&b->r, 5)], x, y);
}

static node *reduction(builder *b) {
  node *x = pick(b);
  if (!x->naxes) return x;
  int axis_number = x->axes[below(&b->r, x->naxes)];
  switch (below(&b->r, 5)) {
    case 0: return graph_reduce(b->g, OP_reduce_max, x, &axis_number, 1);
    case 1: return graph_reduce(b->g, OP_reduce_min, x, &axis_number, 1);
    case 2: {
      node *i = graph_reduce(b->g, OP_argmax, x, &axis_number, 1);
      return graph_cast(b->g, i, DT_f32);
    }
    case 3:
      if (x->naxes > 1) return graph_reduce(b->g, OP_sum, cast_scaled(b, x), x->axes, 2);
      // fall through
    default: return graph_reduce(b->g, OP_sum, cast_scaled(b, x), &axis_number, 1);
  }
}

static node *softmax(builder *b) {
  node *x = pick(b);
  if (!x->naxes) return x;
  int t = x->axes[below(&b->r, x->naxes)];
  node *d = graph_binary(b->g, OP_sub, x, graph_reduce(b->g, OP_reduce_max, x, &t, 1));
  node *e = graph_unary(b->g, OP_exp, d);
  return graph_binary(b->g, OP_div, e, graph_reduce(b->g, OP_sum, e, &t, 1));
}

static node *contraction(builder *b) {
  node *x = pick(b), *y = pick(b);
  for (int tries = 0; tries < 8; tries++, y = pick(b))
    for (int i = 0; i < x->naxes; i++)
      if (node_has_axis(y, x->axes[i]) && elements(b, x) * elements(b, y) < 400000) {
        node *xs = cast_scaled(b, x);
        if (chance(&b->r, 30))
          return graph_dot(b->g, graph_cast(b->g, x, DT_bf16), graph_cast(b->g, y, DT_bf16), &x->axes[i], 1);
        return graph_dot(b->g, xs, y, &x->axes[i], 1);
      }
  return x;
}

static node *view(builder *b) {
  node *x = pick(b);
  if (!x->naxes || x->naxes > 4) return x;
  graph *g = b->g;
  ix index[MAX_AXES];
  int axes[MAX_AXES + 1], n = 0, which = below(&b->r, x->naxes), kind = below(&b->r, 5);
  bool pads = false;
  for (int i = 0; i < x->naxes; i++) {
    int64_t size = size_of(b, x->axes[i]);
    index[i] = ix_axis(&g->ix, x->axes[i]);
    if (i != which) {
      axes[n++] = x->axes[i];
      continue;
    }
    if (kind == 0) {  // rename
      axes[n] = new_axis(b, size);
      index[i] = ix_axis(&g->ix, axes[n++]);
    } else if (kind == 1 && size > 2) {  // slice
      axes[n] = new_axis(b, size - 2);
      index[i] = ix_add(&g->ix, ix_axis(&g->ix, axes[n++]), ix_const(&g->ix, 1));
    } else if (kind == 2 && size % 2 == 0) {  // split
      axes[n] = new_axis(b, 2);
      axes[n + 1] = new_axis(b, size / 2);
      index[i] = ix_add(&g->ix, ix_scale(&g->ix, ix_axis(&g->ix, axes[n]), size / 2),
                        ix_axis(&g->ix, axes[n + 1]));
      n += 2;
    } else if (kind == 3 && size > 0) {  // select
      index[i] = ix_const(&g->ix, below(&b->r, (int)size));
    } else if (kind == 4) {  // pad
      axes[n] = new_axis(b, size + 3);
      index[i] = ix_sub(&g->ix, ix_axis(&g->ix, axes[n++]), ix_const(&g->ix, 1));
      pads = true;
    } else {
      axes[n++] = x->axes[i];
    }
  }
  if (pads) return graph_pad(g, x, graph_const_float(g, DT_f32, 0.5), index, axes, n);
  return graph_view(g, x, index, axes, n);
}

static node *merge(builder *b) {
  node *x = pick(b);
  if (x->naxes < 2) return x;
  graph *g = b->g;
  int axes[MAX_AXES], first = below(&b->r, x->naxes - 1), n = 0;
  int64_t inner = size_of(b, x->axes[first + 1]);
  int merged = new_axis(b, size_of(b, x->axes[first]) * inner);
  ix index[MAX_AXES], len = ix_const(&g->ix, inner);
  for (int i = 0; i < x->naxes; i++) {
    index[i] = ix_axis(&g->ix, x->axes[i]);
    if (i == first) index[i] = ix_div(&g->ix, ix_axis(&g->ix, merged), len);
    if (i == first + 1) index[i] = ix_mod(&g->ix, ix_axis(&g->ix, merged), len);
    if (i != first + 1) axes[n++] = i == first ? merged : x->axes[i];
  }
  return graph_view(g, x, index, axes, n);
}

static node *indirect(builder *b) {
  node *i = b->indices.data[0], *x = pick(b);
  for (int tries = 0; tries < 6; tries++, x = pick(b))
    if (size_of(b, b->axes[0]) > 0 && node_has_axis(x, b->axes[0]) && !node_has_axis(x, i->axes[0]) && elements(b, x) < 20000)
      return graph_gather(b->g, x, b->axes[0], i);
  return x;
}

static node *scan(builder *b) {
  node *x = pick(b);
  if (!x->naxes) return x;
  int along = x->axes[below(&b->r, x->naxes)];
  unsigned flags = (chance(&b->r, 30) ? NODE_REVERSE : 0) | (chance(&b->r, 30) ? NODE_EXCLUSIVE : 0);
  if (chance(&b->r, 35)) {
    node *a = chance(&b->r, 30) ? graph_const_float(b->g, DT_f32, 0.875) : graph_unary(b->g, OP_tanh, pick(b));
    if (elements(b, a) * elements(b, x) > 200000) a = x;
    return chance(&b->r, 50) ? graph_affine_scan(b->g, a, cast_scaled(b, x), along, flags)
                             : graph_affine_scan(b->g, graph_unary(b->g, OP_sin, x), cast_scaled(b, a), along, flags);
  }
  return chance(&b->r, 30) && !(flags & NODE_EXCLUSIVE)
             ? graph_scan(b->g, OP_cummax, x, along, flags)
             : graph_scan(b->g, OP_cumsum, cast_scaled(b, x), along, flags);
}

static node *positions(builder *b) {
  node *x = pick(b);
  if (!x->naxes) return x;
  node *i = graph_index(b->g, DT_i32, x->axes[below(&b->r, x->naxes)]);
  node *odd = graph_binary(b->g, OP_and, i, graph_const_float(b->g, DT_i32, 1));
  node *is_odd = graph_binary(b->g, OP_eq, odd, graph_const_float(b->g, DT_i32, 1));
  return graph_where(b->g, is_odd, x, cast_scaled(b, x));
}

static node *random_node(builder *b) {
  int d = below(&b->r, 100);
  if (d < 20) return unary(b);
  if (d < 42) return binary(b);
  if (d < 54) return reduction(b);
  if (d < 60) return softmax(b);
  if (d < 70) return contraction(b);
  if (d < 80) return view(b);
  if (d < 85) return merge(b);
  if (d < 90) return indirect(b);
  if (d < 95) return scan(b);
  return positions(b);
}

graph *random_graph(arena *a, uint64_t seed) {
  builder b = {.g = graph_new(a, STR("random")), .r = {.key = seed}};
  for (int i = 0; i < 4; i++)
    b.axes[i] = new_axis(&b, sizes[below(&b.r, (int)(sizeof sizes / sizeof *sizes))]);
  int nparams = 1 + below(&b.r, 3);
  for (int p = 0; p < nparams; p++) {
    int axes[4], n = 0, start = below(&b.r, 4), count = below(&b.r, 4);
    for (int i = 0; i < count; i++) axes[n++] = b.axes[(start + i) % 4];
    str name = str_printf(a, "p%d", p);
    vec_push(a, &b.values, graph_param(b.g, name, DT_f32, axes, n));
  }
  int rows = new_axis(&b, 1 + below(&b.r, 9));
  vec_push(a, &b.indices, graph_param(b.g, STR("rows"), DT_i32, &rows, 1));
  int steps = 2 + below(&b.r, 9);
  for (int i = 0; i < steps; i++) {
    node *n = random_node(&b);
    if (elements(&b, n) <= 200000 && n->naxes < 6) vec_push(a, &b.values, n);
  }
  int nout = 1 + below(&b.r, 2);
  for (int i = 0; i < nout; i++) {
    node *n = i ? pick(&b) : b.values.data[b.values.len - 1];
    graph_output(b.g, n, str_printf(a, "out%d", i));
  }
  return b.g;
}

interp_tensor random_input(arena *a, const graph *g, const node *param, uint64_t seed) {
  rng r = {.key = seed + 77 * (uint64_t)param->id};
  interp_tensor t = {.type = param->type, .rank = param->naxes};
  int64_t count = 1, first = 1;
  for (int i = 0; i < param->naxes; i++) {
    ix_is_const(&g->ix, graph_axis_size(g, param->axes[i]), &t.dims[i]);
    count *= t.dims[i];
  }
  ix_is_const(&g->ix, graph_axis_size(g, 0), &first);
  t.data = arena_array(a, scalar, count + 1);
  for (int64_t i = 0; i < count; i++) {
    if (dtype_is_float(t.type)) t.data[i] = scalar_cast((scalar){.f = normal(&r)}, DT_f64, t.type);
    else t.data[i].i = below(&r, (int)first);  // of axis 0; nothing to index when it is empty
  }
  return t;
}

double tensor_distance(const interp_tensor *x, const interp_tensor *y) {
  int64_t count = 1;
  if (x->rank != y->rank || x->type != y->type) return INFINITY;
  for (int i = 0; i < x->rank; i++) {
    if (x->dims[i] != y->dims[i]) return INFINITY;
    count *= x->dims[i];
  }
  double worst = 0;
  for (int64_t i = 0; i < count; i++) {
    double a = dtype_is_float(x->type) ? x->data[i].f : (double)x->data[i].i;
    double b = dtype_is_float(y->type) ? y->data[i].f : (double)y->data[i].i;
    if ((isnan(a) && isnan(b)) || a == b) continue;
    double d = fabs(a - b) / (1 + fabs(b));
    if (!(d <= worst)) worst = isnan(d) ? INFINITY : d;
  }
  return worst;
}
