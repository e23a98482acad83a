// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Derivatives against central differences, by the interpreter in f64.
#include <criterion/criterion.h>
#include <float.h>
#include <math.h>

#include "ir/grad.h"
#include "tests/unit/frontend_fixture.h"

static uint64_t state;

static double uniform_number(void) {
  state = state * 6364136223846793005u + 1442695040888963407u;
  return (double)(state >> 11) / 9007199254740992.0;
}

static double normal_number(void) {
  double u = uniform_number() + 1e-12;
  return sqrt(-2 * log(u)) * cos(2 * M_PI * uniform_number());
}

// ---- rows of ir/derivatives.def

enum { POINTS = 24 };

typedef struct row_test {
  arena arena;
  graph *forward, *backward;
  interp_tensor in[4];  // the operands, then the weights of the result
  int nin;
} row_test;

/// sum(op(a, b, c) * w), where b and c lack the axis if `scalars`.
static graph *row_graph(arena *a, op o, bool scalars, bool derivative) {
  graph *g = graph_new(a, STR("t"));
  int n = graph_add_axis(g, STR("N"), ix_const(&g->ix, POINTS));
  node *in[4], *x[3];
  int nin = op_get(o)->arity, nx = 0;
  for (int k = 0; k < nin; k++) {
    bool is_bool = o == OP_where && k == 0;
    in[k] = graph_param(g, str_printf(a, "p%d", k), is_bool ? DT_bool : DT_f64, &n,
                        k && scalars ? 0 : 1);
  }
  node *w = graph_param(g, STR("w"), DT_f64, &n, 1);
  for (int k = 0; k < nin; k++)
    if (in[k]->type == DT_f64) x[nx++] = in[k];
  node *y = graph_reduce(g, OP_sum, graph_binary(g, OP_mul, graph_map(g, o, in, nin, DT_f64), w), &n, 1);
  if (!derivative) {
    graph_output(g, y, STR("y"));
    return g;
  }
  grad_result r;
  cr_assert(graph_grad(g, y, x, nx, NULL, NULL, &r));
  for (int k = 0; k < nx; k++) graph_output(g, r.dx[k], str_printf(a, "d%d", k));
  str report;
  cr_assert(graph_verify(g, a, &report), "%.*s", STR_FMT(report));
  return g;
}

static double value_of(row_test *t) {
  interp_tensor out;
  str error;
  span at;
  cr_assert(graph_interpret(t->forward, &t->arena, t->in, &out, NULL, &error, &at));
  return out.data[0].f;
}

/// Of the function that moves with element i of operand k.
static double difference(row_test *t, int k, int i) {
  scalar *v = &t->in[k].data[i];
  double x = v->f, h = 1e-5 * fmax(1, fabs(x));
  v->f = x + h;
  double up = value_of(t);
  v->f = x - h;
  double down = value_of(t);
  v->f = x;
  return (up - down) / (2 * h);
}

/// Points at which the op is defined, and not within the step of a place where it is not smooth.
static double point_for(op o, int k) {
  double x = normal_number();
  switch (o) {
    case OP_asin: case OP_acos: return tanh(x) * 0.95;
    case OP_log: case OP_log2: case OP_log10: case OP_sqrt: case OP_rsqrt: return exp(x);
    case OP_log1p: return exp(x) - 0.9;
    case OP_pow: return k ? x : exp(x);
    case OP_rem: return k ? 2 + fabs(x) : x + 0.01;
    case OP_tan: return tanh(x);
    default: return x;
  }
}

static void check_row(op o, bool scalars) {
  row_test t = {.nin = op_get(o)->arity};
  int dims = POINTS;
  t.forward = row_graph(&t.arena, o, scalars, false);
  t.backward = row_graph(&t.arena, o, scalars, true);
  for (int k = 0; k <= t.nin; k++) {
    bool one = scalars && k && k < t.nin;
    t.in[k] = (interp_tensor){.type = t.forward->nodes.data[k]->type, .rank = !one, .dims = {dims}};
    t.in[k].data = arena_array(&t.arena, scalar, dims);
    for (int i = 0; i < dims; i++) {
      if (t.in[k].type == DT_bool) t.in[k].data[i].i = uniform_number() < 0.5;
      else t.in[k].data[i].f = k == t.nin ? normal_number() : point_for(o, k);
    }
  }
  interp_tensor out[3];
  str error;
  span at;
  cr_assert(graph_interpret(t.backward, &t.arena, t.in, out, NULL, &error, &at), "%.*s", STR_FMT(error));
  for (int k = 0, x = 0; k < t.nin; k++) {
    if (t.in[k].type == DT_bool) continue;
    for (int i = 0; i < (t.in[k].rank ? dims : 1); i++) {
      double got = out[x].data[i].f, want = difference(&t, k, i);
      cr_expect(fabs(got - want) <= 2e-6 * (1 + fabs(want)), "%s, operand %d, at %g: %g, not %g",
                op_get(o)->name, k, t.in[k].data[i].f, got, want);
    }
    x++;
  }
  arena_free(&t.arena);
}

Test(grad, every_op_has_a_row) {
  int partials = 0;
  static const struct { op o; } rows[] = {
#define ROW(name) {OP_##name},
#define PARTIALS(name, ...) ROW(name)
#define RULE(name) ROW(name)
#define FLAT(name) ROW(name)
#define CONSTANT(name) ROW(name)
#define NONE(name) ROW(name)
#include "ir/derivatives.def"
  };
  int count[OP_COUNT] = {0};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) count[rows[i].o]++;
  for (int o = 0; o < OP_COUNT; o++) {
    cr_expect_eq(count[o], 1, "%s", op_get((op)o)->name);
    partials += grad_row_of((op)o)->kind == GRAD_PARTIALS;
  }
  cr_expect_gt(partials, 30);
}

Test(grad, rows_of_the_table_are_central_differences) {
  state = 1;
  for (int o = 0; o < OP_COUNT; o++) {
    grad_kind kind = grad_row_of((op)o)->kind;
    if (kind != GRAD_PARTIALS && !(kind == GRAD_FLAT && op_is_map((op)o))) continue;
    if (kind == GRAD_FLAT) {  // 0 at points that are not steps
      check_row((op)o, false);
      continue;
    }
    check_row((op)o, false);
    check_row((op)o, true);
  }
}

// ---- programs: `f` gives a number, `df` its derivatives for the float parameters of f, in order

typedef struct program_case {
  const char *name, *text;
} program_case;

static graph *graph_named(program_test *t, const char *name) {
  for (int i = 0; i < t->graphs.graphs.len; i++)
    if (str_eqz(t->graphs.graphs.data[i]->name, name)) return t->graphs.graphs.data[i];
  cr_assert_fail("no function %s", name);
  return NULL;
}

/// Values of the parameters: axes of size as in the program.
static interp_tensor tensor_for(arena *a, const graph *g, const node *param) {
  interp_tensor t = {.type = param->type, .rank = param->naxes};
  int64_t n = 1, most = 3;
  for (int k = 0; k < param->naxes; k++) {
    bool known = ix_is_const(&g->ix, graph_axis_size(g, param->axes[k]), &t.dims[k]);
    cr_assert(known);
    n *= t.dims[k];
  }
  t.data = arena_array(a, scalar, n);
  for (int64_t i = 0; i < n; i++) {
    if (dtype_is_float(param->type))
      t.data[i] = scalar_cast((scalar){.f = normal_number()}, DT_f64, param->type);
    else t.data[i].i = (int64_t)(uniform_number() * (double)(param->type == DT_bool ? 2 : most));
  }
  return t;
}

static double run_number(arena *a, const graph *g, const interp_tensor *in) {
  interp_tensor out[16];
  str error = {0};
  span at;
  cr_assert(graph_interpret(g, a, in, out, NULL, &error, &at), "%.*s", STR_FMT(error));
  return out[0].data[0].f;
}

static void check_program(const program_case *c) {
  program_test t;
  program_test_run(&t, "t.tdsl", str_from(c->text));
  cr_assert(t.ok, "%s: %s", c->name, program_test_messages(&t).ptr);
  const graph *f = graph_named(&t, "f"), *df = graph_named(&t, "df");
  interp_tensor in[16], out[16];
  str error = {0};
  span at;
  for (int k = 0; k < f->nparams; k++) in[k] = tensor_for(&t.arena, f, f->nodes.data[k]);
  bool ran = graph_interpret(df, &t.arena, in, out, NULL, &error, &at);
  cr_assert(ran, "%s: %.*s", c->name, STR_FMT(error));
  for (int k = 0, x = 0; k < f->nparams; k++) {
    if (!dtype_is_float(in[k].type)) continue;
    int64_t n = 1;
    for (int i = 0; i < in[k].rank; i++) n *= in[k].dims[i];
    for (int64_t i = 0; i < n; i++) {
      double v = in[k].data[i].f, h = 1e-5;
      in[k].data[i].f = v + h;
      double up = run_number(&t.arena, f, in);
      in[k].data[i].f = v - h;
      double down = run_number(&t.arena, f, in);
      in[k].data[i].f = v;
      double want = (up - down) / (2 * h), got = out[x].data[i].f;
      cr_expect(fabs(got - want) <= 1e-5 * (1 + fabs(want)), "%s, parameter %d, element %d: %g, not %g",
                c->name, k, (int)i, got, want);
    }
    x++;
  }
  program_test_free(&t);
}

static const program_case programs[] = {
#define CASE(name, text) {name, text},
#include "tests/unit/grad_programs.def"
#undef CASE
};

Test(grad, programs_are_central_differences) {
  state = 7;
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) check_program(&programs[i]);
}

// ---- 16 bits

static const char narrow[] =
    "fn dotted(x: bf16[N = 5, K = 7], w: bf16[K = 7, M = 6], dy: f32[N = 5, M = 6]) -> (f32[N, K], f32[K, M]) {\n"
    "  let y = dot(x, w, K)\n  return grad(y, x, w, seed = dy)\n}\n"
    "fn summed(x: bf16[N = 5, K = 7], w: bf16[K = 7, M = 6], dy: f32[N = 5, M = 6]) -> (f32[N, K], f32[K, M]) {\n"
    "  let y = sum(x * w, K)\n  return grad(y, x, w, seed = dy)\n}\n"
    "fn exactly(x: bf16[N = 5, K = 7], w: bf16[K = 7, M = 6], dy: f32[N = 5, M = 6]) -> (f32[N, K], f32[K, M]) {\n"
    "  let y = dot(x, w, K)\n  return grad(y, x, w, seed = dy, exact = true)\n}\n"
    "fn widened(x: bf16[N = 5, K = 7], w: bf16[K = 7, M = 6], dy: f32[N = 5, M = 6]) -> f32[N, K] {\n"
    "  let wide = f32(x)\n  let y = sum(wide * w, K)\n  return grad(y, wide, seed = dy)\n}\n"
    "fn rounds(x: f32[N = 5], w: f32[N = 5]) -> f32[N] {\n"
    "  let h = bf16(x)\n  let y = sum(h * w + h * 3, N)\n  return grad(y, x)\n}\n"
    "fn rounds_not(x: f32[N = 5], w: f32[N = 5]) -> f32[N] {\n"
    "  let h = bf16(x)\n  let y = sum(h * w + h * 3, N)\n  return grad(y, h)\n}\n";

static void run_named(program_test *t, const char *name, const interp_tensor *in, interp_tensor *out) {
  str error = {0};
  span at;
  cr_assert(graph_interpret(graph_named(t, name), &t->arena, in, out, NULL, &error, &at));
}

Test(grad, products_of_16_bits_round_their_cotangent) {
  program_test t;
  state = 3;
  program_test_run(&t, "t.tdsl", str_from(narrow));
  cr_assert(t.ok, "%s", program_test_messages(&t).ptr);
  const graph *g = graph_named(&t, "dotted");
  interp_tensor in[3], a[2], b[2], exact[2], wide[1];
  for (int k = 0; k < 3; k++) in[k] = tensor_for(&t.arena, g, g->nodes.data[k]);
  run_named(&t, "dotted", in, a);
  run_named(&t, "summed", in, b);
  run_named(&t, "exactly", in, exact);
  run_named(&t, "widened", in, wide);
  bool rounded = false;
  for (int i = 0; i < 35; i++) {
    double want = 0, size = 0;  // of dy w
    for (int m = 0; m < 6; m++) {
      want += in[2].data[i / 7 * 6 + m].f * in[1].data[i % 7 * 6 + m].f;
      size += fabs(in[2].data[i / 7 * 6 + m].f * in[1].data[i % 7 * 6 + m].f);
    }
    cr_expect_eq(a[0].data[i].f, b[0].data[i].f);
    cr_expect(fabs(a[0].data[i].f - want) <= size / 256);
    cr_expect(fabs(exact[0].data[i].f - want) <= size * 1e-6);
    cr_expect(fabs(wide[0].data[i].f - want) <= size * 1e-6);  // a value with a name is f32
    rounded |= fabs(a[0].data[i].f - want) > size * 1e-5;
  }
  for (int i = 0; i < 42; i++) cr_expect_eq(a[1].data[i].f, b[1].data[i].f);
  cr_expect(rounded);
  program_test_free(&t);
}

Test(grad, cotangents_are_rounded_once_where_values_are) {
  program_test t;
  state = 4;
  program_test_run(&t, "t.tdsl", str_from(narrow));
  const graph *g = graph_named(&t, "rounds");
  interp_tensor in[2], once, none;
  for (int k = 0; k < 2; k++) in[k] = tensor_for(&t.arena, g, g->nodes.data[k]);
  run_named(&t, "rounds", in, &once);
  run_named(&t, "rounds_not", in, &none);
  for (int i = 0; i < 5; i++) {
    scalar sum = scalar_cast((scalar){.f = in[1].data[i].f + 3}, DT_f64, DT_f32);
    cr_expect_eq(none.data[i].f, sum.f);
    cr_expect_eq(once.data[i].f, scalar_cast(sum, DT_f32, DT_bf16).f);
  }
  program_test_free(&t);
}
