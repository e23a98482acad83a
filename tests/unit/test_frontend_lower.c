// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What programs become: axes, types, facts, positions, calls, imports, outputs.
#include <criterion/criterion.h>
#include <stdio.h>

#include "tests/unit/frontend_fixture.h"

static graph *compile(program_test *t, const char *text) {
  program_test_run(t, "test.tdsl", str_from(text));
  cr_assert(t->ok, "%s", program_test_messages(t).ptr);
  cr_assert(t->graphs.graphs.len > 0);
  return t->graphs.graphs.data[0];
}

static void expect_graph(const char *text, const char *expected) {
  program_test t;
  graph *g = compile(&t, text);
  strbuf out = sb_new(&t.arena);
  graph_print(g, &out);
  cr_expect_str_eq(out.data, expected);
  program_test_free(&t);
}

static const node *find_op(const graph *g, op o) {
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->op == o) return g->nodes.data[i];
  return NULL;
}

static int count_op(const graph *g, op o) {
  int n = 0;
  for (int i = 0; i < g->nodes.len; i++) n += g->nodes.data[i]->op == o;
  return n;
}

Test(frontend_lower, inlined_functions_have_axes_of_their_own) {
  expect_graph(
      "fn f(x: f32[N]) -> f32 { return pair_sum(x) + pair_sum(x[N -> M]) }\n"
      "fn pair_sum(v: real[A]) -> real { return sum(v * v[A -> N], A, N) }\n",
      "graph @f(%x: f32[N]) {\n"
      "  axis N.1 = N\n"
      "  axis M = N\n"
      "  axis N.2 = N\n"
      "  %1 = view %x[N.1] : f32[N.1]\n"
      "  %2 = mul %x, %1 : f32[N, N.1]\n"
      "  %3 = sum %2 over N, N.1 : f32\n"
      "  %4 = view %x[M] : f32[M]\n"
      "  %5 = view %4[N.2] : f32[N.2]\n"
      "  %6 = mul %4, %5 : f32[M, N.2]\n"
      "  %7 = sum %6 over M, N.2 : f32\n"
      "  %8 = add %3, %7 : f32\n"
      "  return %8\n"
      "}\n");
}

Test(frontend_lower, where_of_two_constants_is_typed_by_them_alone) {
  static const struct { const char *type, *arms; dtype made; } cases[] = {
      {"f32", "1.0, 0.0", DT_f32}, {"f32", "1, 0.5", DT_f32}, {"f32", "2.0, inf", DT_f32},
      {"f32", "N, 0.5", DT_f32},   {"i32", "1, 0", DT_i32},   {"f64", "f64(1), 0.5", DT_f64},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[200];
    snprintf(text, sizeof text, "fn f(x: f32[N]) -> %s[N] { return where(x > 0, %s) }\n",
             cases[i].type, cases[i].arms);
    program_test t;
    cr_expect_eq(find_op(compile(&t, text), OP_where)->type, cases[i].made, "%s", text);
    program_test_free(&t);
  }
  program_test t;
  const graph *g =
      compile(&t, "fn f(x: f32[N]) -> f32[N] { return x + exp(where(x > 0, 0.5, 2)) }\n");
  cr_expect_eq(count_op(g, OP_exp), 1);
  program_test_free(&t);
}

Test(frontend_lower, halves_of_an_axis_of_any_size) {
  program_test t;
  const graph *g = compile(
      &t, "fn f(x: f32[N, D]) -> f32[N, D] where D / 2 <= D, D % 2 == 0 {\n"
          "  return concat(-x[D = D/2: -> B], x[D = :D/2 -> A], (B, A) -> D)\n"
          "}\n");
  cr_expect_eq(count_op(g, OP_neg), 1);
  program_test_free(&t);
}

Test(frontend_lower, storage_types_are_widened_where_they_compute) {
  expect_graph(
      "fn f(x: bf16[N, D], w: bf16[D, M]) -> bf16[N, M] {\n"
      "  return bf16(dot(x, w, D) * x[D = 0])\n"
      "}\n",
      "graph @f(%x: bf16[N, D], %w: bf16[D, M]) {\n"
      "  size N\n"
      "  size D where D >= 1\n"
      "  size M\n"
      "  %2 = dot %x, %w over D : f32[N, M]\n"
      "  %3 = view %x[N, 0] : bf16[N]\n"
      "  %4 = cast %3 : f32[N]\n"
      "  %5 = mul %2, %4 : f32[N, M]\n"
      "  %6 = cast %5 : bf16[N, M]\n"
      "  return %6\n"
      "}\n");
}

Test(frontend_lower, declared_types_fix_the_storage_order) {
  program_test t;
  graph *g = compile(&t, "fn f(x: f32[N, D]) -> f32[D, N] { return x + 1 }\n");
  const node *out = g->outputs.data[0].value;
  cr_expect_str_eq(g->axes.data[out->axes[0]].name.ptr, "D");
  cr_expect_str_eq(g->axes.data[out->axes[1]].name.ptr, "N");
  program_test_free(&t);
}

Test(frontend_lower, arguments_match_by_name_then_by_position) {
  // `take` sums its second axis. [D, N] has both names; [K, L] has none of them.
  const char *text =
      "fn f(x: f32[D, N]) -> f32[N] { return take(x) }\n"
      "fn g(x: f32[K, L]) -> f32[K] { return take(x) }\n"
      "fn h(x: f32[K, L, M]) -> f32[L] { return ends(x) }\n"
      "fn take(x: f32[N, D]) -> f32[N] { return sum(x, D) }\n"
      "fn ends(x: real[A, .., B]) -> real[..] { return sum(x, A, B) }\n";
  program_test t;
  compile(&t, text);
  static const char *const expected[][2] = {{"f", "D"}, {"g", "L"}, {"h", "K"}};
  for (int i = 0; i < 3; i++) {
    graph *g = graph_find(&t.graphs, str_from(expected[i][0]));
    const node *sum = find_op(g, OP_sum);
    cr_assert(sum);
    cr_expect_str_eq(g->axes.data[sum->attr_axes[0]].name.ptr, expected[i][1]);
  }
  program_test_free(&t);
}

Test(frontend_lower, facts_are_stated_and_implied) {
  program_test t;
  graph *g = compile(&t,
                     "fn f(x: f32[N, D], y: f32[M]) -> f32 where D % 4 == 0, M < 100 {\n"
                     "  let s = x[D -> (H, K = 6)]\n"
                     "  return sum(s[N = 3], H, K) + sum(y[M = 2:10 -> P], P)\n"
                     "}\n");
  const ix_fact *d = ix_find_fact(&g->ix, STR("D")), *m = ix_find_fact(&g->ix, STR("M"));
  const ix_fact *n = ix_find_fact(&g->ix, STR("N"));
  cr_assert(d && m && n);
  cr_expect_eq(d->multiple_of, 12);
  cr_expect_eq(m->min, 10);
  cr_expect_eq(m->max, 99);
  cr_expect_eq(n->min, 4);
  program_test_free(&t);
}

/// Split and merge with a fact that comes after: the program is lowered again with it.
Test(frontend_lower, a_late_fact_simplifies_what_came_before) {
  program_test t;
  compile(&t,
          "fn f(x: f32[D]) -> f32[D] {\n"
          "  let n = D / 32 * 32\n"
          "  let s = x[D -> (H, K = 32)]\n"
          "  return s[(H, K) -> D] * n\n"
          "}\n");
  program_test_free(&t);
}

static void expect_at(const program_test *t, const node *n, const char *text) {
  cr_assert(n);
  str source = t->diags.files.data[n->at.file - 1].text;
  str at = {source.ptr + n->at.begin, (int)(n->at.end - n->at.begin)};
  cr_expect(str_eqz(at, text), "%.*s, not %s", STR_FMT(at), text);
}

Test(frontend_lower, nodes_know_their_place_in_the_program) {
  program_test t;
  graph *g = compile(&t,
                     "fn f(x: f32[N], i: i32[M]) -> f32[M] {\n"
                     "  let e = exp(x) + 1\n"
                     "  return softmax(e, N)[N = i]\n"
                     "}\n");
  const node *exp_node = NULL;
  for (int i = 0; i < g->nodes.len && !exp_node; i++)
    if (g->nodes.data[i]->op == OP_exp) exp_node = g->nodes.data[i];
  expect_at(&t, exp_node, "exp(x)");
  expect_at(&t, find_op(g, OP_add), "exp(x) + 1");
  // What a library function makes is at the call in the program.
  expect_at(&t, find_op(g, OP_reduce_max), "softmax(e, N)");
  expect_at(&t, find_op(g, OP_gather), "N = i");
  expect_at(&t, find_op(g, OP_param), "x");
  program_test_free(&t);
}

Test(frontend_lower, constants_take_the_type_of_what_they_meet) {
  program_test t;
  graph *g = compile(&t, "fn f(x: f64[N], i: i16[N]) -> (f64[N], i16[N], f32) {\n"
                         "  let third = 1 / 3\n"
                         "  return (x * third, i + third + 7, third)\n"
                         "}\n");
  cr_expect_eq(g->outputs.data[0].value->type, DT_f64);
  const node *mul = g->outputs.data[0].value;
  cr_expect_eq(mul->in[1]->value.f, 1.0 / 3.0);
  cr_expect_eq(g->outputs.data[2].value->value.f, (double)(float)(1.0 / 3.0));
  program_test_free(&t);
}

Test(frontend_lower, powers) {
  program_test t;
  graph *g = compile(&t, "fn f(x: f32[N], p: f32) -> f32[N] {\n"
                         "  return x ** 5 + x ** 0.5 + x ** -2 + x ** p\n"
                         "}\n");
  cr_expect_eq(count_op(g, OP_pow), 1);
  cr_expect_eq(count_op(g, OP_sqrt), 1);
  cr_expect_eq(count_op(g, OP_div), 1);
  cr_expect_eq(count_op(g, OP_mul), 4);  // three for the fifth power, one for the square
  program_test_free(&t);
}

Test(frontend_lower, outputs_have_names) {
  program_test t;
  compile(&t, "fn one(x: f32) -> f32 { return x }\n"
              "fn two(x: f32) -> (f32, f32) { return (x, 2 * x) }\n"
              "fn single(x: f32) -> (f32) { return x }\n");
  graph *one = graph_find(&t.graphs, STR("one")), *two = graph_find(&t.graphs, STR("two"));
  cr_expect_str_eq(one->outputs.data[0].name.ptr, "out");
  cr_expect_str_eq(two->outputs.data[0].name.ptr, "out0");
  cr_expect_str_eq(two->outputs.data[1].name.ptr, "out1");
  program_test_free(&t);
}

Test(frontend_lower, host_functions_get_their_declared_order) {
  program_test t;
  graph *g = compile(&t, "extern fn host(x: f32[A, B]) -> f32[B, C = 2 * A]\n"
                         "fn f(x: f32[N, A], y: f32[A]) -> f32[N, C = 2 * A] {\n"
                         "  return host(y * x)\n"
                         "}\n");
  const node *call = find_op(g, OP_call);
  cr_assert(call);
  cr_expect_str_eq(call->name.ptr, "host");
  // y * x is [A, N]; by position A is its first axis.
  cr_expect_str_eq(g->axes.data[call->in[0]->axes[0]].name.ptr, "A");
  cr_expect_str_eq(g->axes.data[call->axes[0]].name.ptr, "N");
  program_test_free(&t);
}

Test(frontend_lower, unchecked_marks_the_nodes) {
  arena a = {0};
  diag_list diags = {.arena = &a};
  module out;
  frontend_options options = {.unchecked = true};
  uint32_t file = diag_add_file(&diags, STR("u.tdsl"),
                                STR("fn f(x: f32[N], i: i32[M]) -> f32[M] { return x[N = i] }"));
  cr_assert(frontend_compile(&a, &diags, file, &options, &out, NULL));
  cr_expect(find_op(out.graphs.data[0], OP_gather)->flags & NODE_UNCHECKED);
  arena_free(&a);
}

// ---- imports

typedef struct library {
  const char *const (*files)[2];
  int n, loads;
} library;

static bool load(void *ctx, str importer, str path, str *name, str *text, str *error) {
  library *l = ctx;
  cr_expect(importer.len > 0);
  l->loads++;
  for (int i = 0; i < l->n; i++)
    if (str_eqz(path, l->files[i][0])) {
      *name = str_from(l->files[i][0]);
      *text = str_from(l->files[i][1]);
      return true;
    }
  *error = STR("no such file");
  return false;
}

static bool compile_files(arena *a, diag_list *diags, library *l, module *out) {
  frontend_options options = {.load = load, .ctx = l};
  diags->arena = a;
  uint32_t file = diag_add_file(diags, str_from(l->files[0][0]), str_from(l->files[0][1]));
  return frontend_compile(a, diags, file, &options, out, NULL);
}

Test(frontend_lower, imports_in_circles_and_hidden_library_functions) {
  static const char *const files[][2] = {
      {"main.tdsl", "import \"a.tdsl\"\nimport \"b.tdsl\"\n"
                    "fn main(x: f32[N]) -> f32[N] { return relu(twice(x)) }\n"},
      {"a.tdsl", "import \"b.tdsl\"\nfn relu(x: real[..]) -> real[..] { return twice(x) + 5 }\n"},
      {"b.tdsl", "import \"a.tdsl\"\nfn twice(x: real[..]) -> real[..] { return 2 * x }\n"
                 "fn concrete(x: f32) -> f32 { return relu(x) }\n"},
  };
  arena a = {0};
  diag_list diags = {0};
  library l = {files, 3, 0};
  module out;
  cr_assert(compile_files(&a, &diags, &l, &out));
  cr_expect_eq(out.graphs.len, 1);  // functions of imported files are not compiled by themselves
  cr_expect_eq(count_op(out.graphs.data[0], OP_add), 1);
  cr_expect_eq(count_op(out.graphs.data[0], OP_max), 0);
  arena_free(&a);
}

Test(frontend_lower, imports_that_define_one_name) {
  static const char *const files[][2] = {
      {"main.tdsl", "import \"a.tdsl\"\nimport \"b.tdsl\"\nimport \"c.tdsl\"\n"},
      {"a.tdsl", "fn f(x: f32) -> f32 { return x }\n"},
      {"b.tdsl", "fn f(x: f32) -> f32 { return x }\n"},
  };
  arena a = {0};
  diag_list diags = {0};
  library l = {files, 3, 0};
  module out;
  cr_expect(!compile_files(&a, &diags, &l, &out));
  cr_assert_eq(diags.items.len, 2);
  cr_expect_eq(diags.items.data[0]->code, DIAG_import_failed);
  cr_expect_eq(diags.items.data[1]->code, DIAG_duplicate_function);
  cr_expect_eq(diags.items.data[1]->notes.len, 1);
  arena_free(&a);
}
