// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scatters in order and by rows: which of them it is, that both compute what the graph says, and that
// an index outside is an error in both.
#include <criterion/criterion.h>
#include <math.h>

#include "gpu_fixture.h"
#include "random_graph.h"

// ---- which

static void expect_form(const char *source, const target_info *target, bool by_rows) {
  lowered l;
  lowered_make_for(&l, source, target);
  cr_expect_eq(lowered_count(&l, "updates by row") > 0, by_rows, "%s\n%s", source, l.text.ptr);
  cr_expect_eq(lowered_count(&l, "f64[V = ") > 0, false, "wide sums in memory: %s\n%s", source, l.text.ptr);
  // The row is stored once, and what is not read of a constant base is not stored before.
  int lists = target->sm ? 3 : 1;  // on a GPU parts of long ones and what is left of them apart
  if (by_rows) cr_expect_eq(lowered_count(&l, "within"), lists, "%s\n%s", source, l.text.ptr);
  lowered_free(&l);
}

static const char many_rows[] =
    "fn f(dy: f32[N = 8192, D = 512], i: i32[N]) -> f32[V = 32000, D] {\n"
    " return scatter_add(broadcast(0.0, V = 32000, D), V = i, dy) }";
static const char counts[] =
    "fn f(i: i32[N = 100000]) -> i32[V = 256] { return scatter_add(broadcast(0, V = 256), V = i, 1) }";
static const char few_updates[] =
    "fn f(x: i32[V = 100000], i: i32[N = 4]) -> i32[V] { return scatter_add(x, V = i, 1) }";
static const char few_rows[] =
    "fn f(x: i32[V = 30], i: i32[N = 4]) -> i32[V] { return scatter_add(x, V = i, 1) }";
static const char across[] =  // elements of a row are not neighbours
    "fn f(x: i32[D = 512, V = 3000], u: i32[N = 9000, D], i: i32[N]) -> i32[D, V] {\n"
    " return scatter_add(x, V = i, u) }";

Test(lower_scatter, updates_are_listed_where_rows_are_long) {
  target_info one = cpu_target(1), eight = cpu_target(8);
  expect_form(many_rows, &one, true);
  expect_form(many_rows, &eight, true);
  expect_form(many_rows, &gpu_target, true);
  expect_form(counts, &one, false);
  expect_form(counts, &gpu_target, true);
  expect_form(few_updates, &one, false);
  expect_form(few_rows, &gpu_target, false);
  expect_form(across, &one, false);
  expect_form(across, &gpu_target, true);
}

// ---- what

enum { MACHINES = 4 };
typedef struct machine {
  const char *name;
  target_info target;
} machine;

static void machines(machine *m) {
  const machine all[MACHINES] = {{"one core", cpu_target(1)}, {"eight cores", cpu_target(8)},
                                 {"avx2", avx2_target(2)},   {"sm_90a", gpu_target}};
  memcpy(m, all, sizeof all);
}

typedef struct sizes {
  int64_t v, n, d;
} sizes;

typedef enum spread { SPREAD, ONE_ROW, OUTSIDE, BELOW } spread;

/// Sizes of axes that are open follow from their first letters; indices are below V.
static interp_tensor input(arena *a, const graph *g, const node *param, const sizes *s, spread how) {
  interp_tensor t = {.type = param->type, .rank = param->naxes};
  int64_t n = 1;
  for (int i = 0; i < param->naxes; i++) {
    const axis *ax = &g->axes.data[param->axes[i]];
    char letter = *ax->name.ptr;
    if (!ix_is_const(&g->ix, ax->size, &t.dims[i]))
      t.dims[i] = letter == 'V' ? s->v : letter == 'N' ? s->n : s->d;
    n *= t.dims[i];
  }
  t.data = arena_array(a, scalar, n + 1);
  bool indices = str_eqz(param->name, "i");
  for (int64_t i = 0; i < n; i++) {
    scalar v = {.f = sin(12.9898 * (double)i + (double)n)};
    t.data[i] = dtype_is_float(t.type) ? scalar_cast(v, DT_f64, t.type) : (scalar){.i = i * 7 % 23 - 11};
    if (indices) t.data[i].i = how == ONE_ROW ? s->v - 1 : s->v > 0 ? i * i * 31 % s->v : 0;
  }
  if (indices && n && how == OUTSIDE) t.data[n / 2].i = s->v;
  if (indices && n && how == BELOW) t.data[n / 2].i = -1;
  return t;
}

static void compare_on(const char *source, const machine *m, bool by_rows, const sizes *s, spread how) {
  lowered l;
  lowered_make_scheduled(&l, source, &m->target, by_rows ? "by_rows=1" : "by_rows=0");
  cr_expect_eq(lowered_count(&l, "updates by row") > 0, by_rows, "%s: %s", m->name, source);
  arena *a = &l.test.arena;
  interp_tensor in[4], want[2], got[2];
  for (int i = 0; i < l.original->nparams; i++)
    in[i] = input(a, l.original, l.original->nodes.data[i], s, how);
  str error = {0}, tile_error = {0};
  span at = {0}, tile_at = {0};
  bool graph = graph_interpret(l.original, a, in, want, NULL, &error, &at);
  bool tile = program_interpret(l.p, a, in, got, NULL, &tile_error, &tile_at);
  bool wrong = (how == OUTSIDE || how == BELOW || s->v == 0) && s->n > 0;
  cr_expect_eq(graph, !wrong, "%.*s", STR_FMT(error));
  cr_expect_eq(tile, !wrong, "%s, %lld %lld %lld: %.*s\n%s", m->name, (long long)s->v, (long long)s->n,
               (long long)s->d, STR_FMT(tile_error), l.text.ptr);
  // The same error: which index, of which expression.
  if (wrong) cr_expect(str_eq(error, tile_error), "%.*s / %.*s", STR_FMT(error), STR_FMT(tile_error));
  if (wrong) cr_expect(at.begin == tile_at.begin && at.end == tile_at.end);
  for (int i = 0; graph && tile && i < l.p->noutputs; i++) {
    double d = tensor_distance(&got[i], &want[i]);
    cr_expect_lt(d, 1e-5, "%s, %lld %lld %lld: off by %g\n%s", m->name, (long long)s->v, (long long)s->n,
                 (long long)s->d, d, l.text.ptr);
  }
  lowered_free(&l);
}

static const char *const sources[] = {
    "fn f(x: f32[V, D], u: f32[N, D], i: i32[N]) -> f32[V, D] { return scatter_add(x, V = i, u) }",
    "fn f(x: f64[V, D], u: f64[N, D], i: i64[N]) -> f64[V, D] { return scatter_add(x, V = i, u) }",
    // What makes the updates is computed where they are added; a constant base is not read.
    "fn f(x: f32[V], u: f32[N, D], i: i32[N, T = 3]) -> f32[V, D] {\n"
    " return scatter_add(broadcast(0.5, V = V, D = D), V = i, exp(u) * f32(index(T))) }",
    "fn f(x: f16[V, D], u: f16[N, D], i: i32[N]) -> f32[V, D] { return scatter_add(x, V = i, -u) }",
    "fn f(x: i32[V], i: i32[N]) -> i32[V] { return scatter_add(x, V = i, 1) }",
    // A list for each of the rows that the indices have.
    "fn f(x: f32[B = 3, V], u: f32[B, N], i: i32[B, N]) -> f32[B, V] { return scatter_add(x, V = i, u) }",
    "fn f(x: f32[D, V, B = 3], u: f32[N, D, B], i: i32[N, B]) -> f32[D, V, B] {\n"
    " return scatter_add(x, V = i, u) }",
    // The sizes are symbols of which nothing is known, and symbols of which something is.
    "fn f(x: f32[V, D], u: f32[N, D], i: i32[N]) -> f32[V, D] where V >= 1, V <= 5000, N <= 5000 {\n"
    " return scatter_add(x, V = i, u) }",
    "fn f(x: f32[V = 37, D = 70], u: f32[N = 41, D], i: i32[N]) -> f32[V, D] {\n"
    " return scatter_add(x, V = i, u) }",
};
enum { SOURCES = sizeof sources / sizeof *sources };

static void compare(const sizes *s, spread how) {
  machine all[MACHINES];
  machines(all);
  for (int i = 0; i < SOURCES; i++) {
    // The last one has sizes of its own.
    sizes own = i == SOURCES - 1 ? (sizes){37, 41, 70} : *s;
    for (int k = 0; k < MACHINES; k++)
      for (int by_rows = 0; by_rows < 2; by_rows++) compare_on(sources[i], &all[k], by_rows, &own, how);
  }
}

Test(lower_scatter, numbers) {
  compare(&(sizes){7, 40, 3}, SPREAD);
  compare(&(sizes){290, 530, 5}, SPREAD);  // several blocks of rows, several chunks
  compare(&(sizes){30, 600, 1}, ONE_ROW);
  compare(&(sizes){1, 300, 2}, SPREAD);
}

Test(lower_scatter, nothing_to_add) {
  compare(&(sizes){290, 0, 3}, SPREAD);
  compare(&(sizes){1, 0, 1}, SPREAD);
}

Test(lower_scatter, indices_outside) {
  compare(&(sizes){7, 40, 3}, OUTSIDE);
  compare(&(sizes){300, 3, 2}, BELOW);
}

Test(lower_scatter, an_axis_without_places) {
  machine all[MACHINES];
  machines(all);
  for (int k = 0; k < MACHINES; k++)
    for (int by_rows = 0; by_rows < 2; by_rows++)
      for (int64_t n = 0; n < 2; n++) compare_on(sources[0], &all[k], by_rows, &(sizes){0, n, 2}, SPREAD);
}

/// By what the program says: the index does not move with the updates.
Test(lower_scatter, one_place) {
  static const char source[] =
      "fn f(x: i32[V], i: i32[N]) -> i32[V] where V >= 1 { return scatter_add(x, V = 0 * i, i) }";
  machine all[MACHINES];
  machines(all);
  for (int k = 0; k < MACHINES; k++)
    for (int by_rows = 0; by_rows < 2; by_rows++) compare_on(source, &all[k], by_rows, &(sizes){26, 13, 1}, SPREAD);
}
