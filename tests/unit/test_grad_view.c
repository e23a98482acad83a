// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transposed views: the forms that they take, and their values against a scatter written here, for
// named views and for random maps.
#include "graph_text.h"
#include "ir/grad_view.h"
#include "passes_support.h"

static char *print(arena *a, const graph *g) {
  strbuf b = sb_new(a);
  graph_print(g, &b);
  return b.data;
}

// ---- a scatter by hand

typedef struct sizes {
  const graph *g;
  const interp_tensor *params;
  const int64_t *at;  // coordinates by axis
} sizes;

static int64_t symbol_value(void *ctx, str name) {
  const sizes *s = ctx;
  for (int i = 0; i < s->g->nparams; i++) {
    const node *p = s->g->nodes.data[i];
    for (int k = 0; k < p->naxes; k++)
      if (graph_axis_size(s->g, p->axes[k]) == ix_sym((ix_pool *)&s->g->ix, name))
        return s->params[i].dims[k];
  }
  cr_assert_fail("unknown symbol");
  return 0;
}

static int64_t axis_value(void *ctx, int axis) { return ((const sizes *)ctx)->at[axis]; }

static int64_t size_of(const sizes *s, int axis) {
  return ix_eval(&s->g->ix, graph_axis_size(s->g, axis), symbol_value, NULL, (void *)s);
}

/// Steps through coordinates along the axes, the last one innermost; false at the end.
static bool next(const sizes *s, const int *axes, int n, int64_t *at) {
  for (int k = n - 1; k >= 0; k--) {
    if (++at[axes[k]] < size_of(s, axes[k])) return true;
    at[axes[k]] = 0;
  }
  return false;
}

static int64_t offset(const sizes *s, const int *axes, int n, const int64_t *at) {
  int64_t o = 0;
  for (int k = 0; k < n; k++) o = o * size_of(s, axes[k]) + at[axes[k]];
  return o;
}

static bool any(const sizes *s, const int *axes, int n) {
  for (int k = 0; k < n; k++)
    if (size_of(s, axes[k]) == 0) return false;
  return true;
}

static int64_t elements(const sizes *s, const int *axes, int n) {
  int64_t count = 1;
  for (int k = 0; k < n; k++) count *= size_of(s, axes[k]);
  return count;
}

/// What gy gives to the operand, by the axes `to`: those of the operand, then the further ones.
/// *outside: what it gives to the fill value, by the further axes.
static double *scattered_by_hand(arena *a, sizes *s, const node *view, const node *gy,
                                 const double *values, const int *to, int nto, double *outside) {
  double *gx = arena_array(a, double, elements(s, to, nto) + 1);
  int64_t *at = arena_array(a, int64_t, s->g->axes.len + 1),
          *from = arena_array(a, int64_t, s->g->axes.len + 1);
  int walk[2 * MAX_AXES], n = 0, nx = view->in[0]->naxes;
  for (int k = 0; k < view->naxes; k++) walk[n++] = view->axes[k];
  for (int k = nx; k < nto; k++) walk[n++] = to[k];
  if (!any(s, walk, n)) return gx;
  s->at = at;
  do {
    bool inside = true;
    for (int k = 0; k < nx; k++) {
      int64_t c = ix_eval(&s->g->ix, view->index[k], symbol_value, axis_value, s);
      inside = inside && c >= 0 && c < size_of(s, to[k]);
      from[to[k]] = c;
    }
    for (int k = nx; k < nto; k++) from[to[k]] = at[to[k]];
    double v = values[offset(s, gy->axes, gy->naxes, at)];
    if (inside) gx[offset(s, to, nto, from)] += v;
    else outside[offset(s, to + nx, nto - nx, from)] += v;
  } while (next(s, walk, n, at));
  return gx;
}

/// Compares an output, which may lack axes, with values by the axes `to`.
static void compare(sizes *s, const node *result, const interp_tensor *got, const double *want,
                    const int *to, int nto, arena *a, const char *text) {
  for (int k = 0; k < result->naxes; k++)
    cr_assert(axes_have(to, nto, result->axes[k]), "%s", text);
  if (!any(s, to, nto)) return;
  int64_t *at = arena_array(a, int64_t, s->g->axes.len + 1);
  s->at = at;
  do {
    double x = got->data[offset(s, result->axes, result->naxes, at)].f,
           y = want[offset(s, to, nto, at)];
    cr_assert_float_eq(x, y, 1e-9, "%g instead of %g\n%s", x, y, text);
  } while (next(s, to, nto, at));
}

/// The graph returns a view and a cotangent, which is a param; dims: of the params. False: it was
/// scattered.
static bool right(const graph *before, arena *a, const int64_t (*dims)[4], uint64_t seed,
                  bool with_passes) {
  graph *g = graph_copy(a, before);
  node *view = g->outputs.data[0].value, *gy = g->outputs.data[1].value;
  interp_tensor params[4] = {0}, out[2];
  rng r = {seed};
  for (int i = 0; i < g->nparams; i++) {
    const node *p = g->nodes.data[i];
    params[i] = (interp_tensor){.type = p->type, .rank = p->naxes};
    int64_t count = 1;
    for (int k = 0; k < p->naxes; k++) count *= params[i].dims[k] = dims[i][k];
    params[i].data = arena_array(a, scalar, count);
    for (int64_t k = 0; k < count; k++) params[i].data[k].f = rng_below(&r, 64) - 20;
  }
  sizes s = {g, params, NULL};
  int to[MAX_AXES], nto = 0;
  for (int k = 0; k < view->in[0]->naxes; k++) to[nto++] = view->in[0]->axes[k];
  for (int k = 0; k < gy->naxes; k++)
    if (!node_has_axis(view, gy->axes[k])) to[nto++] = gy->axes[k];
  double *values = arena_array(a, double, elements(&s, gy->axes, gy->naxes) + 1), outside[64] = {0};
  for (int64_t k = 0; k < elements(&s, gy->axes, gy->naxes); k++)
    values[k] = params[gy->id].data[k].f;
  double *want = scattered_by_hand(a, &s, view, gy, values, to, nto, outside);

  bool scattered, pad = view->op == OP_pad;
  int nx = view->in[0]->naxes;
  node *gx = view_transpose(g, view, gy, &scattered),
       *fill = pad ? pad_transpose_fill(g, view, gy) : NULL;
  g->outputs.len = 0;
  graph_output(g, gx, STR("gx"));
  if (pad) graph_output(g, fill, STR("fill"));
  graph_compact(g, NULL);
  const char *text = print(a, g);
  str why, error = {0};
  cr_assert(graph_verify(g, a, &why), "%.*s", STR_FMT(why));
  graph_of_text(a, text);  // what is read is known to stay inside
  cr_assert_eq(count_op(g, OP_scatter_add) > 0, scattered, "%s", text);
  span where;
  cr_assert(graph_interpret(g, a, params, out, NULL, &error, &where), "%.*s\n%s", STR_FMT(error),
            text);
  compare(&s, gx, &out[0], want, to, nto, a, text);
  if (pad) compare(&s, fill, &out[1], outside, to + nx, nto - nx, a, text);
  if (!with_passes) return !scattered;
  graph *passed = run_pass(a, g, NULL, false);
  results first = {.n = 1 + pad}, then = first;
  memcpy(first.out, out, sizeof out);
  cr_assert(graph_interpret(passed, a, params, then.out, NULL, &error, &where), "%.*s\n%s",
            STR_FMT(error), text);
  cr_assert_float_eq(difference(&first, &then), 0, 1e-9, "%s\n%s", text, print(a, passed));
  return !scattered;
}

// ---- named views

typedef struct named_view {
  const char *name, *text;
  int64_t dims[2][4];  // of x and of gy
} named_view;

/// x and gy as params, and the view.
static const named_view views[] = {
    {"rename", "(%x: f64[N], %gy: f64[E]) { axis E = N\n %1 = view %x[E] : f64[E]", {{5}, {5}}},
    {"permute",
     "(%x: f64[N, M], %gy: f64[M, N]) { %1 = view %x[N, M] : f64[M, N]",
     {{2, 3}, {3, 2}}},
    {"slice",
     "(%x: f64[N], %gy: f64[E]) { axis N = 7\n axis E = 4\n %1 = view %x[E + 2] : f64[E]",
     {{7}, {4}}},
    {"step",
     "(%x: f64[N], %gy: f64[E]) { axis N = 8\n axis E = 3\n %1 = view %x[E*3 + 1] : f64[E]",
     {{8}, {3}}},
    {"reverse",
     "(%x: f64[N], %gy: f64[E]) { axis E = N\n %1 = view %x[#N - E - 1] : f64[E]",
     {{6}, {6}}},
    {"reverse step",
     "(%x: f64[N], %gy: f64[E]) { axis N = 9\n axis E = 4\n %1 = view %x[8 - E*2] : f64[E]",
     {{9}, {4}}},
    {"select",
     "(%x: f64[N, V], %gy: f64[N]) { axis V = 5\n %1 = view %x[N, 3] : f64[N]",
     {{2, 5}, {2}}},
    {"split",
     "(%x: f64[N], %gy: f64[D, K]) { axis N = 12\n axis D = 3\n axis K = 4\n %1 = view %x[D*4 + K] "
     ": f64[D, K]",
     {{12}, {3, 4}}},
    {"split by sizes",
     "(%x: f64[N], %gy: f64[D, K]) { size D\n size K\n axis N = D*K\n %1 = view %x[D*#K + K] : "
     "f64[D, K]",
     {{12}, {3, 4}}},
    {"three parts",
     "(%x: f64[N], %gy: f64[A, B, C]) { size A\n size B\n size C\n axis N = A*B*C\n %1 = view "
     "%x[A*#B*#C + B*#C + C] : f64[A, B, C]",
     {{24}, {2, 3, 4}}},
    {"merge",
     "(%x: f64[D, K], %gy: f64[N]) { axis N = 12\n axis D = 3\n axis K = 4\n %1 = view %x[N / 4, N "
     "% 4] : f64[N]",
     {{3, 4}, {12}}},
    {"merge by sizes",
     "(%x: f64[D, K], %gy: f64[N]) { size D\n size K\n axis N = D*K\n %1 = view %x[N / #K, N % #K] "
     ": f64[N]",
     {{3, 4}, {12}}},
    {"repeat along a new axis",
     "(%x: f64[N], %gy: f64[N, M]) { %1 = view %x[N] : f64[N, M]",
     {{3}, {3, 4}}},
    {"diagonal",
     "(%x: f64[N, M], %gy: f64[E]) { axis N = 4\n axis M = 6\n axis E = 4\n %1 = view %x[E, E] : "
     "f64[E]",
     {{4, 6}, {4}}},
    {"upsampling",
     "(%x: f64[N], %gy: f64[V]) { axis N = 4\n axis V = 8\n %1 = view %x[V / 2] : f64[V]",
     {{4}, {8}}},
    {"ragged upsampling",
     "(%x: f64[N], %gy: f64[V]) { axis N = 4\n axis V = 7\n %1 = view %x[V / 2] : f64[V]",
     {{4}, {7}}},
    {"wrap",
     "(%x: f64[N], %gy: f64[V]) { axis N = 3\n axis V = 8\n %1 = view %x[V % 3] : f64[V]",
     {{3}, {8}}},
    {"window",
     "(%x: f64[N], %gy: f64[P, R]) { axis R = 3\n axis N = P + 2\n %1 = view %x[P + R] : f64[P, R]",
     {{9}, {7, 3}}},
    {"strided window",
     "(%x: f64[N], %gy: f64[P, R]) { axis R = 3\n axis N = P*2 + 1\n %1 = view %x[P*2 + R] : "
     "f64[P, R]",
     {{9}, {4, 3}}},
    {"dilated window",
     "(%x: f64[N], %gy: f64[P, R]) { axis R = 3\n axis N = P + 4\n %1 = view %x[P + R*2] : f64[P, "
     "R]",
     {{9}, {5, 3}}},
    {"strided and dilated",
     "(%x: f64[N], %gy: f64[P, R]) { axis P = 4\n axis R = 4\n axis N = 20\n %1 = view %x[P*3 + "
     "R*2] : f64[P, R]",
     {{20}, {4, 4}}},
    {"both even",
     "(%x: f64[N], %gy: f64[P, R]) { axis P = 4\n axis R = 3\n axis N = 12\n %1 = view %x[P*2 + "
     "R*2 + 1] : f64[P, R]",
     {{12}, {4, 3}}},
    {"window of a symbolic size",
     "(%x: f64[N], %gy: f64[P, R]) { size P where P >= 1\n size R where R >= 1\n axis N = P + R - "
     "1\n %1 = view %x[P + R] : f64[P, R]",
     {{9}, {7, 3}}},
    {"window in the axis of the operand",
     "(%x: f64[N], %gy: f64[N, R]) { axis N = 5\n axis R = 3\n %0 = const 0.0 : f64\n %1 = pad "
     "%x[N + R - 1], %0 : f64[N, R]",
     {{5}, {5, 3}}},
    {"one coordinate of pairs",
     "(%x: f64[N, J], %gy: f64[V]) { axis N = 4\n axis J = 2\n axis V = 4\n %1 = view %x[V, 1] : "
     "f64[V]",
     {{4, 2}, {4}}},
    {"pixels",
     "(%x: f64[N], %gy: f64[V, W]) { axis N = 24\n axis V = 4\n axis W = 6\n %1 = view %x[V/2*12 + "
     "W/3*6 + V%2*3 + W%3] : f64[V, W]",
     {{24}, {4, 6}}},
    {"axes of one element",
     "(%x: f64[N, I], %gy: f64[E, J]) { axis I = 1\n axis J = 1\n axis N = 3\n axis E = 3\n %1 = "
     "view %x[E, 0] : f64[E, J]",
     {{3, 1}, {3, 1}}},
    {"no elements",
     "(%x: f64[N], %gy: f64[E]) { axis N = 3\n axis E = 0\n %1 = view %x[E + 2] : f64[E]",
     {{3}, {0}}},
    {"no elements, symbolic",
     "(%x: f64[N], %gy: f64[D, K]) { size D\n size K\n axis N = D*K\n %1 = view %x[D*#K + K] : "
     "f64[D, K]",
     {{0}, {3, 0}}},
    {"no windows",
     "(%x: f64[N], %gy: f64[P, R]) { size P\n axis R = 3\n axis N = P + 2\n %1 = view %x[P + R] : "
     "f64[P, R]",
     {{2}, {0, 3}}},
    {"rows of a symbolic length, with a rest",
     "(%x: f64[N], %gy: f64[D, K]) { size D\n size K\n axis N = D*K + 5\n %1 = view %x[D*#K + K + "
     "2] : f64[D, K]",
     {{17}, {3, 4}}},
    {"rows of no length, with a rest",
     "(%x: f64[N], %gy: f64[D, K]) { size D\n size K\n axis N = D*K + 5\n %1 = view %x[D*#K + K + "
     "2] : f64[D, K]",
     {{5}, {3, 0}}},
    {"shift",
     "(%x: f64[N], %gy: f64[E]) { axis E = N\n %0 = const 1.0 : f64\n %1 = pad %x[E - 2], %0 : "
     "f64[E]",
     {{5}, {5}}},
    {"pad of a reversed axis",
     "(%x: f64[N], %gy: f64[E]) { axis N = 5\n axis E = 9\n %0 = const 1.0 : f64\n %1 = pad %x[6 - "
     "E], %0 : f64[E]",
     {{5}, {9}}},
    {"zeros between",
     "(%x: f64[N], %gy: f64[E, J]) { axis N = 3\n axis E = 4\n axis J = 2\n %0 = const 0.0 : f64\n "
     "%1 = pad %x[E - J*5], %0 : f64[E, J]",
     {{3}, {4, 2}}},
};

static graph *named(arena *a, const named_view *v) {
  return graph_of_text(a, str_z(a, str_printf(a, "graph @f%s\n return %%1, %%gy as g\n}\n", v->text)));
}

Test(grad_view, named_views_are_solved) {
  for (size_t k = 0; k < sizeof views / sizeof *views; k++) {
    arena a = {0};
    graph *g = named(&a, &views[k]);
    cr_assert(right(g, &a, views[k].dims, k, true), "%s is scattered", views[k].name);
    arena_free(&a);
  }
}

// ---- forms

/// The nodes that the cotangent of a named view becomes.
static void becomes(const char *name, const char *want) {
  arena a = {0};
  size_t k = 0;
  while (strcmp(views[k].name, name)) k++;
  graph *g = named(&a, &views[k]);
  node *view = g->outputs.data[0].value, *gy = g->outputs.data[1].value;
  int before = g->axes.len;
  g->outputs.len = 0;
  graph_output(g, view_transpose(g, view, gy, NULL), STR("gx"));
  graph_compact(g, NULL);
  strbuf got = sb_new(&a);
  for (int i = before; i < g->axes.len; i++) {
    int64_t size;
    cr_assert(ix_is_const(&g->ix, g->axes.data[i].size, &size));
    sb_printf(&got, "axis %.*s = %d\n", STR_FMT(g->axes.data[i].name), (int)size);
  }
  for (char *line = strstr(print(&a, g), "  %"); line && *line == ' ';
       line = strchr(line, '\n') + 1)
    if (line[2] == '%') sb_printf(&got, "%.*s\n", (int)(strchr(line, '\n') - line - 2), line + 2);
  cr_expect_str_eq(got.data, want, "%s:\n%s", name, got.data);
  arena_free(&a);
}

Test(grad_view, slices_are_padded) {
  becomes("slice", "%2 = const 0.0 : f64\n%3 = pad %gy[N - 2], %2 : f64[N]\n");
}

Test(grad_view, what_is_known_inside_is_a_view) {
  becomes("rename", "%2 = view %gy[N] : f64[N]\n");
  becomes("permute", "");
  becomes("reverse", "%2 = view %gy[#N - N - 1] : f64[N]\n");
  becomes("split", "%2 = view %gy[N / 4, N % 4] : f64[N]\n");
  becomes("split by sizes", "%2 = view %gy[N / #K, N % #K] : f64[N]\n");
  becomes("three parts", "%2 = view %gy[N / (#B*#C), (N / #C) % #B, N % #C] : f64[N]\n");
  becomes("merge", "%2 = view %gy[D*4 + K] : f64[D, K]\n");
  becomes("merge by sizes", "%2 = view %gy[#K*D + K] : f64[D, K]\n");
  becomes("pixels", "%2 = view %gy[(N / 12)*2 + (N / 3) % 2, ((N / 6) % 2)*3 + N % 3] : f64[N]\n");
  becomes("axes of one element", "%2 = view %gy[N, 0] : f64[N]\n");
}

Test(grad_view, repeated_values_are_summed_at_once) {
  becomes("repeat along a new axis", "%2 = sum %gy over M : f64[N]\n");
}

Test(grad_view, a_selection_is_a_condition) {
  becomes(
      "select",
      "%2 = index V : i32[V]\n%3 = const 3 : i32\n%4 = eq %2, %3 : bool[V]\n%5 = const 0.0 : f64\n"
      "%6 = where %4, %gy, %5 : f64[N, V]\n");
  becomes("diagonal",
          "%2 = view %gy[N] : f64[N]\n%3 = index N : i32[N]\n%4 = index M : i32[M]\n"
          "%5 = eq %3, %4 : bool[N, M]\n%6 = const 0.0 : f64\n%7 = where %5, %2, %6 : f64[N, M]\n");
}

Test(grad_view, upsampling_is_a_sum_of_views) {
  becomes("upsampling",
          "axis V.1 = 2\n%2 = view %gy[N*2 + V.1] : f64[N, V.1]\n%3 = sum %2 over V.1 : f64[N]\n");
}

Test(grad_view, windows_are_summed_without_wasted_terms) {
  becomes("window",
          "%2 = const 0.0 : f64\n%3 = pad %gy[N - R, R], %2 : f64[N, R]\n%4 = sum %3 over R : "
          "f64[N]\n");
  becomes("strided window",
          "axis R.1 = 2\n%2 = const 0.0 : f64\n%3 = pad %gy[N / 2 - R.1, R.1*2 + N % 2], %2 : "
          "f64[N, R.1]\n"
          "%4 = sum %3 over R.1 : f64[N]\n");
}

Test(grad_view, steps_test_what_they_divide) {
  becomes(
      "step",
      "%2 = view %gy[(N + 1) / 3] : f64[N]\n%3 = index N : i32[N]\n%4 = const 2 : i32\n"
      "%5 = add %3, %4 : i32[N]\n%6 = const 3 : i32\n%7 = const 0 : i32\n%8 = rem %5, %6 : i32[N]\n"
      "%9 = eq %8, %7 : bool[N]\n%10 = const 0.0 : f64\n%11 = where %9, %2, %10 : f64[N]\n");
}

// Products of coordinates are not solved; what stands outside goes nowhere.
Test(grad_view, what_is_not_solved_is_scattered) {
  static const named_view products[] = {
      {"product",
       "(%x: f64[N], %gy: f64[A, B]) { axis N = 10\n axis A = 4\n axis B = 4\n"
       " %1 = view %x[A*B] : f64[A, B]",
       {{10}, {4, 4}}},
      {"of rows, repeated",
       "(%x: f64[M, N], %gy: f64[A, B, C, M]) { axis N = 10\n axis A = 4\n axis B = 4\n axis C = "
       "2\n"
       " %1 = view %x[M, A*B] : f64[A, B, C, M]",
       {{3, 10}, {4, 4, 2, 3}}},
      {"partly outside",
       "(%x: f64[N, M], %gy: f64[A, B, K]) { axis N = 5\n axis M = 3\n axis A = 4\n axis B = 4\n "
       "axis K = 2\n"
       " %0 = const 0.0 : f64\n %1 = pad %x[A*B - 1, B - 1], %0 : f64[A, B]",
       {{5, 3}, {4, 4, 2}}},
      {"a size that may be zero",
       "(%x: f64[N], %gy: f64[A, K]) { size K\n axis N = 3*K + 1\n axis A = 4\n"
       " %1 = view %x[A*#K] : f64[A, K]",
       {{1}, {4, 0}}},
  };
  for (size_t k = 0; k < sizeof products / sizeof *products; k++) {
    arena a = {0};
    bool scattered = !right(named(&a, &products[k]), &a, products[k].dims, k, true);
    cr_expect(scattered || k == 3, "%s", products[k].name);
    arena_free(&a);
  }
}

Test(grad_view, a_cotangent_may_lack_axes) {
  static const named_view constant[] = {
      {"slice",
       "(%x: f64[N], %gy: f64) { axis N = 7\n axis E = 4\n %1 = view %x[E + 2] : f64[E]",
       {{7}}},
      {"rename",
       "(%x: f64[N], %gy: f64) { axis N = 7\n axis E = 7\n %1 = view %x[E] : f64[E]",
       {{7}}},
      {"window",
       "(%x: f64[N], %gy: f64[P]) { axis N = 9\n axis P = 7\n axis R = 3\n %1 = view %x[P + R] : "
       "f64[P, R]",
       {{9}, {7}}},
      {"window of ones",
       "(%x: f64[N], %gy: f64) { axis N = 9\n axis P = 7\n axis R = 3\n %1 = view %x[P + R] : "
       "f64[P, R]",
       {{9}}},
      {"repeat",
       "(%x: f64[N], %gy: f64[N]) { axis N = 9\n axis P = 7\n %1 = view %x[N] : f64[N, P]",
       {{9}, {9}}},
      {"upsampling",
       "(%x: f64[N], %gy: f64) { axis N = 4\n axis V = 8\n %1 = view %x[V / 2] : f64[V]",
       {{4}}},
      {"with further axes",
       "(%x: f64[N], %gy: f64[K, L]) { axis N = 7\n axis E = 4\n axis K = 2\n axis L = 3\n %1 = "
       "view %x[E + 2] : f64[E]",
       {{7}, {2, 3}}},
  };
  for (size_t k = 0; k < sizeof constant / sizeof *constant; k++) {
    arena a = {0};
    cr_expect(right(named(&a, &constant[k]), &a, constant[k].dims, k, true), "%s",
              constant[k].name);
    arena_free(&a);
  }
}

// ---- random maps

enum { MOST_MAP_AXES = 3 };

typedef struct random_map {
  rng r;
  graph *g;
  int axes[MOST_MAP_AXES], naxes;  // of the result
  int64_t size[MOST_MAP_AXES];
} random_map;

static ix random_axis(random_map *m) {
  return ix_axis(&m->g->ix, m->axes[rng_below(&m->r, m->naxes)]);
}

/// A coordinate, or a sum of a few, or a quotient or remainder of such.
static ix random_index(random_map *m, int depth) {
  ix_pool *p = &m->g->ix;
  ix e = random_axis(m);
  int kind = rng_below(&m->r, depth > 2 ? 1 : 6);
  if (kind == 0) return e;
  if (kind == 1) return ix_div(p, random_index(m, depth + 1), ix_const(p, 1 + rng_below(&m->r, 4)));
  if (kind == 2) return ix_mod(p, random_index(m, depth + 1), ix_const(p, 1 + rng_below(&m->r, 4)));
  for (int terms = 1 + rng_below(&m->r, 2); terms > 0; terms--) {
    int64_t by = 1 + rng_below(&m->r, 4);
    e = ix_add(p, e, ix_scale(p, random_index(m, depth + 2), rng_below(&m->r, 4) ? by : -by));
  }
  return kind == 3 ? ix_add(p, e, ix_const(p, rng_below(&m->r, 7) - 3)) : e;
}

/// Row-major positions along the axes of the result, split along those of the operand, in pieces.
static ix random_reshape(random_map *m, int k, int nx) {
  ix_pool *p = &m->g->ix;
  ix at = ix_const(p, 0);
  for (int j = 0; j < m->naxes; j++)
    at = ix_add(p, ix_mul(p, at, graph_axis_size(m->g, m->axes[j])), ix_axis(p, m->axes[j]));
  ix by = ix_const(p, 2 + rng_below(&m->r, 3));
  return nx == 1 ? at : k ? ix_mod(p, at, by) : ix_div(p, at, by);
}

/// Sizes of axes are numbers or symbols; the operand has any size, so that the map is a pad, which
/// is transposed as views are.
static graph *random_graph_of(arena *a, uint64_t seed, int64_t (*dims)[4]) {
  static const char *const names[] = {"A", "B", "C"}, *const symbols[] = {"S", "T", "U"};
  graph *g = graph_new(a, STR("f"));
  random_map m = {.r = {seed}, .g = g};
  ix_pool *p = &g->ix;
  m.naxes = 1 + rng_below(&m.r, MOST_MAP_AXES);
  for (int j = 0; j < m.naxes; j++) {
    m.size[j] = rng_below(&m.r, 12) ? 1 + rng_below(&m.r, 7) : 0;
    bool symbolic = rng_below(&m.r, 4) == 0;
    if (symbolic) vec_push(a, &g->symbols, str_from(symbols[j]));
    ix size = symbolic ? ix_sym(p, str_from(symbols[j])) : ix_const(p, m.size[j]);
    m.axes[j] = graph_add_axis(g, str_from(names[j]), size);
  }
  int x_axes[MOST_MAP_AXES], nx = 1 + rng_below(&m.r, MOST_MAP_AXES), further[2], nfurther = 0;
  for (int k = 0; k < nx; k++) {
    bool shared = k < m.naxes && rng_below(&m.r, 6) == 0;
    dims[0][k] = shared ? m.size[k] : 1 + rng_below(&m.r, 12);
    x_axes[k] = shared ? m.axes[k] : graph_add_axis(g, STR("N"), ix_const(p, dims[0][k]));
  }
  if (rng_below(&m.r, 4) == 0) further[nfurther++] = graph_add_axis(g, STR("K"), ix_const(p, 2));
  int gy_axes[MAX_AXES], ngy = 0;
  for (int j = 0; j < m.naxes; j++) {
    dims[2][j] = m.size[j];
    if (rng_below(&m.r, 6) == 0) continue;
    dims[1][ngy] = m.size[j];
    gy_axes[ngy++] = m.axes[j];
  }
  if (nfurther) dims[1][ngy] = 2, gy_axes[ngy++] = further[0];
  node *x = graph_param(g, STR("x"), DT_f64, x_axes, nx);
  node *gy = graph_param(g, STR("gy"), DT_f64, gy_axes, ngy);
  graph_param(g, STR("sizes"), DT_f64, m.axes, m.naxes);
  ix index[MOST_MAP_AXES];
  bool reshape = rng_below(&m.r, 5) == 0;
  for (int k = 0; k < nx; k++)
    index[k] = reshape && k < 2 ? random_reshape(&m, k, nx) : random_index(&m, 0);
  node *pad = graph_pad(g, x, graph_const_float(g, DT_f64, 0), index, m.axes, m.naxes);
  graph_output(g, pad, STR("y"));
  graph_output(g, gy, STR("g"));
  return g;
}

Test(grad_view, random_maps_agree_with_a_scatter) {
  enum { MAPS = 2500 };
  int solved = 0;
  for (uint64_t seed = 0; seed < MAPS; seed++) {
    arena a = {0};
    int64_t dims[3][4] = {{0}};
    graph *g = random_graph_of(&a, seed, dims);
    solved += right(g, &a, dims, seed, seed % 8 == 0);
    arena_free(&a);
  }
  cr_expect_geq(solved, MAPS * 9 / 10, "%d of %d", solved, MAPS);
}
