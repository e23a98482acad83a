// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random graphs through the whole pipeline: it must build legal groups, and the numbers must stay.
#include "passes/fusion/group.h"
#include "passes_support.h"

enum { GRAPHS = 4000, AXES = 6 };

typedef struct gen {
  rng r;
  graph *g;
  int axes[AXES];
  vec(node *) values;
} gen;

static node *pick(gen *x) { return x->values.data[rng_below(&x->r, x->values.len)]; }

static node *pick_f32(gen *x) {
  for (;;) {
    node *n = pick(x);
    if (n->type == DT_f32) return n;
  }
}

static int64_t size_of(gen *x, int axis) { return ix_estimate(&x->g->ix, graph_axis_size(x->g, axis)); }

static double elements(gen *x, const node *n) {
  double c = 1;
  for (int i = 0; i < n->naxes; i++) c *= (double)size_of(x, n->axes[i]);
  return c;
}

static node *gen_map(gen *x) {
  static const op unary[] = {OP_neg, OP_abs, OP_tanh, OP_sigmoid, OP_erf, OP_sin};
  static const op binary[] = {OP_add, OP_sub, OP_mul, OP_min, OP_max};
  node *a = pick_f32(x), *b = pick_f32(x);
  switch (rng_below(&x->r, 6)) {
    case 0: return graph_unary(x->g, unary[rng_below(&x->r, 6)], a);
    case 1: return graph_where(x->g, graph_map(x->g, OP_lt, (node *[]){a, b}, 2, DT_bool), a, b);
    case 2: return graph_cast(x->g, graph_cast(x->g, a, DT_bf16), DT_f32);
    case 3: return graph_binary(x->g, OP_div, a, graph_const_float(x->g, DT_f32, 4));
    default: return graph_binary(x->g, binary[rng_below(&x->r, 5)], a, b);
  }
}

static node *gen_reduce(gen *x) {
  static const op ops[] = {OP_sum, OP_sum, OP_reduce_max, OP_reduce_min};
  node *a = pick_f32(x);
  if (!a->naxes) return a;
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < a->naxes; i++)
    if (rng_below(&x->r, 2)) axes[n++] = a->axes[i];
  if (!n) axes[n++] = a->axes[rng_below(&x->r, a->naxes)];
  node *s = graph_reduce(x->g, ops[rng_below(&x->r, 4)], a, axes, n);
  return rng_below(&x->r, 2) ? s : graph_binary(x->g, OP_sub, a, s);
}

static node *gen_dot(gen *x) {
  node *a = pick_f32(x), *b = pick_f32(x);
  if (rng_below(&x->r, 3) == 0) a = graph_cast(x->g, a, DT_bf16), b = graph_cast(x->g, b, DT_bf16);
  for (int i = 0; i < a->naxes; i++)
    if (node_has_axis(b, a->axes[i])) {
      node *d = graph_dot(x->g, a, b, &a->axes[i], 1);
      if (a->type == DT_f32 && rng_below(&x->r, 3) == 0)
        return graph_reduce(x->g, OP_sum, graph_binary(x->g, OP_mul, a, b), &a->axes[i], 1);
      return d;
    }
  return pick_f32(x);
}

static node *gen_view(gen *x) {
  node *a = pick_f32(x);
  if (!a->naxes) return a;
  int k = rng_below(&x->r, a->naxes), axis = a->axes[k];
  ix index[MAX_AXES];
  int axes[MAX_AXES], n = 0;
  for (int i = 0; i < a->naxes; i++) {
    index[i] = ix_axis(&x->g->ix, a->axes[i]);
    if (i != k) axes[n++] = a->axes[i];
  }
  int other = x->axes[rng_below(&x->r, AXES)];
  if (node_has_axis(a, other) || size_of(x, other) > size_of(x, axis)) {
    index[k] = ix_const(&x->g->ix, rng_below(&x->r, (int)size_of(x, axis)));  // select
    return graph_view(x->g, a, index, axes, n);
  }
  axes[n++] = other;
  int64_t room = size_of(x, axis) - size_of(x, other);
  index[k] = ix_add(&x->g->ix, ix_axis(&x->g->ix, other),
                    ix_const(&x->g->ix, rng_below(&x->r, (int)room + 1)));
  if (rng_below(&x->r, 3)) return graph_view(x->g, a, index, axes, n);
  index[k] = ix_sub(&x->g->ix, index[k], ix_const(&x->g->ix, 2));
  return graph_pad(x->g, a, graph_const_float(x->g, DT_f32, 1.5), index, axes, n);
}

static node *gen_indirect(gen *x) {
  node *a = pick_f32(x), *i = x->values.data[0];
  if (!a->naxes) return a;
  int axis = a->axes[rng_below(&x->r, a->naxes)];
  if (rng_below(&x->r, 6) == 0)
    return graph_affine_scan(x->g, graph_unary(x->g, OP_tanh, pick_f32(x)), a, axis, (unsigned)rng_below(&x->r, 4));
  if (rng_below(&x->r, 3) == 0) return graph_scan(x->g, OP_cumsum, a, axis, 0);
  if (size_of(x, axis) < 4) return a;
  node *rows = graph_gather(x->g, a, axis, i);
  if (rng_below(&x->r, 3) || node_has_axis(i, axis)) return rows;
  return graph_scatter_add(x->g, a, axis, i, graph_unary(x->g, OP_tanh, rows));
}

static node *gen_value(gen *x) {
  for (;;) {
    node *n = NULL;
    switch (rng_below(&x->r, 9)) {
      case 0: n = gen_reduce(x); break;
      case 1: n = gen_dot(x); break;
      case 2: n = gen_view(x); break;
      case 3: n = gen_indirect(x); break;
      default: n = gen_map(x);
    }
    if (elements(x, n) <= 4000 && n->naxes <= 5) return n;
  }
}

static graph *generate(arena *a, uint64_t seed) {
  gen x = {.r = {seed}, .g = graph_new(a, STR("random"))};
  static const int sizes[AXES] = {4, 5, 1, 7, 4, 6};
  for (int i = 0; i < AXES; i++) {
    char name[2] = {(char)('A' + i), 0};
    x.axes[i] = graph_add_axis(x.g, str_from(name), ix_const(&x.g->ix, sizes[i]));
  }
  vec_push(a, &x.values, graph_param(x.g, STR("ids"), DT_i32, &x.axes[5], 1));
  int nparams = 2 + rng_below(&x.r, 3);
  for (int i = 0; i < nparams; i++) {
    int axes[3], n = 0;
    for (int k = 0; k < 5 && n < 3; k++)
      if (rng_below(&x.r, 2)) axes[n++] = x.axes[k];
    str name = str_printf(a, "p%d", i);
    vec_push(a, &x.values, graph_param(x.g, name, DT_f32, axes, n));
  }
  int steps = 3 + rng_below(&x.r, 25);
  for (int i = 0; i < steps; i++) {
    node *n = gen_value(&x);
    vec_push(a, &x.values, n);
  }
  int outputs = 1 + rng_below(&x.r, 3);
  for (int i = 0; i < outputs; i++) {
    node *n = i ? pick_f32(&x) : x.values.data[x.values.len - 1];
    if (n->type != DT_f32) n = x.values.data[1];
    graph_output(x.g, n, str_printf(a, "out%d", i));
  }
  return x.g;
}

static void check_graph(uint64_t seed, bool fast) {
  arena a = {0};
  fault_frame frame;
  if (fault_try(&frame)) {
    graph *g = generate(&a, seed);
    graph *fused = run_pass(&a, g, NULL, fast);
    int count;
    group *groups = graph_groups(fused, NULL, &a, &count);
    for (int i = 0; i < count; i++) cr_assert(groups[i].outputs.len > 0);
    for (int i = 0; i < fused->decisions.len; i++) {
      const decision *d = &fused->decisions.data[i];
      cr_assert(d->consumer >= fused->nparams && d->consumer < fused->nodes.len);
      cr_assert(d->producer >= 0 && d->producer < d->consumer);
    }
    results x = evaluate_wide(&a, g, seed), y = evaluate_wide(&a, fused, seed);
    double worst = difference(&x, &y);
    // Casts to bf16 round, and a last bit before them may decide which way.
    if (worst > (count_op(g, OP_cast) ? 0.02 : 1e-9)) {
      strbuf text = sb_new(&a);
      graph_print(g, &text);
      graph_print(fused, &text);
      cr_assert(false, "seed %llu%s: difference %g\n%s", (unsigned long long)seed,
                fast ? " fast" : "", worst, text.data);
    }
  } else {
    cr_assert(false, "seed %llu%s: %s", (unsigned long long)seed, fast ? " fast" : "", frame.text);
  }
  fault_pop(&frame);
  arena_free(&a);
}

Test(passes_random, the_pipeline_keeps_the_numbers) {
  for (uint64_t seed = 1; seed <= GRAPHS; seed++) check_graph(seed, false);
}

Test(passes_random, fast_math_keeps_them_nearly) {
  for (uint64_t seed = 1; seed <= GRAPHS / 3; seed++) check_graph(seed + 100000, true);
}
