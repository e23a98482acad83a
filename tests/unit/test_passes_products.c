// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Views and sums of products in gradients become products; pads of pads become one. Each fires,
// does not fire where it must not, and the numbers stay right.
#include "graph_text.h"
#include "lower_targets.h"
#include "passes_support.h"

typedef struct counts {
  int dots, sums, views, pads;
} counts;

/// What a pass (null: all) leaves of the graph, which gives the same numbers.
static void leaves(const char *pass, const char *text, counts want) {
  arena a = {0};
  graph *before = graph_of_text(&a, text), *after = run_pass(&a, before, pass, false);
  strbuf b = sb_new(&a);
  graph_print(after, &b);
  counts got = {count_op(after, OP_dot), count_op(after, OP_sum), count_op(after, OP_view),
                count_op(after, OP_pad)};
  cr_expect(got.dots == want.dots && got.sums == want.sums && got.views == want.views &&
                got.pads == want.pads,
            "%s\n%s", pass ? pass : "all", b.data);
  results x = evaluate_wide(&a, before, 1), y = evaluate_wide(&a, after, 1);
  cr_expect_float_eq(difference(&x, &y), 0, 1e-12, "%s", b.data);
  arena_free(&a);
}

// ---- products

#define WINDOW(fill, phase)                                                                 \
  "graph @f(%gy: f32[O, P], %w: f32[O, C, R]) {\n"                                          \
  "  axis O = 4\n  axis P = 10\n  axis C = 5\n  axis R = 3\n  axis X = 12\n  axis Y = 10\n" \
  "  %2 = dot %gy, %w over O : f32[P, C, R]" phase                                          \
  "\n"                                                                                      \
  "  %3 = const " fill " : f32" phase                                                       \
  "\n"                                                                                      \
  "  %4 = pad %2[X - R, C, R], %3 : f32[X, C, R]" phase                                     \
  "\n"                                                                                      \
  "  %5 = sum %4 over R : f32[X, C]" phase "\n"

Test(passes_products, the_transpose_of_a_window_is_one_product) {
  leaves("contraction", WINDOW("0.0", " phase 1") "  return %5\n}\n", (counts){1, 0, 0, 1});
  leaves(NULL, WINDOW("0.0", " phase 1") "  return %5\n}\n", (counts){1, 0, 0, 1});
  leaves(NULL,
         WINDOW("0.0", " phase 1") "  %6 = view %5[Y + 1, C] : f32[Y, C] phase 1\n  return %6\n}\n",
         (counts){1, 0, 0, 1});
}

// A zero of the border would meet elements that may be infinite.
Test(passes_products, forward_windows_stay) {
  leaves("contraction", WINDOW("0.0", "") "  return %5\n}\n", (counts){1, 1, 0, 1});
}

Test(passes_products, other_borders_stay) {
  leaves("contraction", WINDOW("1.0", " phase 1") "  return %5\n}\n", (counts){1, 1, 0, 1});
}

Test(passes_products, products_with_other_readers_stay) {
  leaves("contraction", WINDOW("0.0", " phase 1") "  return %5, %2\n}\n", (counts){1, 1, 0, 1});
  leaves("contraction", WINDOW("0.0", " phase 1") "  return %5, %4\n}\n", (counts){1, 1, 0, 1});
}

// With a stride each place is read at half of the windows only: the weights are viewed, too.
#define STRIDED(n, c, o, p)                                                                        \
  "graph @f(%gy: f32[N, O, P, Q], %w: f32[O, C, R, S]) {\n  axis N = " n "\n  axis O = " o         \
  "\n"                                                                                             \
  "  axis P = " p "\n  axis Q = " p "\n  axis C = " c                                              \
  "\n  axis R = 3\n  axis S = 3\n"                                                                 \
  "  axis X = " p "*2 + 1\n  axis Y = " p                                                          \
  "*2 + 1\n  axis F = 2\n  axis E = 2\n"                                                           \
  "  %2 = dot %gy, %w over O : f32[N, P, Q, C, R, S] phase 1\n  %3 = const 0.0 : f32 phase 1\n"    \
  "  %4 = pad %2[N, X/2 - F, Y/2 - E, C, F*2 + X%2, E*2 + Y%2], %3 : f32[N, X, Y, C, F, E] phase " \
  "1\n"                                                                                            \
  "  %5 = sum %4 over F, E : f32[N, X, Y, C] phase 1\n  return %5\n}\n"

// With a stride each place is read at half of the windows only, and there are four kinds of places,
// by whether their coordinates are even: one product of all, not as many as there are places.
Test(passes_products, the_transpose_of_a_strided_window_is_one_product) {
  leaves("contraction", STRIDED("2", "3", "4", "3"), (counts){1, 0, 1, 2});
  arena a = {0};
  graph *g = run_pass(&a, graph_of_text(&a, STRIDED("2", "3", "4", "3")), "contraction", false);
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n->op != OP_dot) continue;
    ix batch = ix_const(&g->ix, 1);
    for (int k = 0; k < n->naxes; k++)
      if (node_has_axis(n->in[0], n->axes[k]) && node_has_axis(n->in[1], n->axes[k]))
        batch = ix_mul(&g->ix, batch, graph_axis_size(g, n->axes[k]));
    cr_expect(batch == ix_const(&g->ix, 1));
  }
  arena_free(&a);
}

static int kernels_of(const char *text, const target_info *target) {
  arena a = {0}, scratch = {0};
  pass_options options = {.target = target};
  pass_ctx ctx = {.graph = graph_of_text(&a, text), .scratch = &scratch, .options = &options};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  int n = ctx.graph->nkernels;
  arena_free(&scratch);
  arena_free(&a);
  return n;
}

#define CONVOLUTION(step, places)                                                             \
  "graph @f(%x: f32[N, C, Y, X], %w: f32[O, C, R, S], %g: f32[N, O, P, Q]) {\n  axis N = 8\n" \
  "  axis C = 64\n  axis Y = 28\n  axis X = 28\n  axis O = 64\n  axis R = 3\n  axis S = 3\n"  \
  "  axis P = " places "\n  axis Q = " places                                                 \
  "\n  %3 = const 0.0 : f32\n"                                                                \
  "  %4 = pad %x[N, C, P" step " + R - 1, Q" step " + S - 1], %3 : f32[N, C, P, R, Q, S]\n"

// Padded operands that would be packed element by element, and small beside it, are copied with
// their borders: the weights under a stride, what the gradient of the weights sums over, and images
// of which every second place is read. Windows whose places lie side by side are packed as they
// are.
Test(passes_products, padded_operands_are_copied_where_packing_is_slow) {
  target_info cpu = cpu_target(1);
  cpu.launch_seconds = 2e-6;
  cr_expect_eq(kernels_of(STRIDED("8", "64", "64", "14"), &cpu), 3);
  cr_expect_eq(kernels_of(STRIDED("2", "3", "4", "3"), &cpu), 2);
  static const char of_images[] =
      "  %5 = dot %4, %w over C, R, S : f32[N, P, Q, O]\n  return %5\n}\n";
  static const char of_weights[] =
      "  %5 = dot %g, %4 over N, P, Q : f32[O, C, R, S]\n  return %5\n}\n";
  const struct {
    const char *text, *of;
    int kernels;
  } cases[] = {{CONVOLUTION("", "28"), of_images, 1},
               {CONVOLUTION("*2", "14"), of_images, 2},
               {CONVOLUTION("", "28"), of_weights, 2},
               {CONVOLUTION("*2", "14"), of_weights, 2}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    arena a = {0};
    str text = str_printf(&a, "%s%s", cases[k].text, cases[k].of);
    cr_expect_eq(kernels_of(str_z(&a, text), &cpu), cases[k].kernels, "case %d", (int)k);
    cr_expect_eq(kernels_of(str_z(&a, text), gpu_default()), 1, "case %d", (int)k);
    arena_free(&a);
  }
}

Test(passes_products, copies_with_borders_give_the_same) {
  const char *const of[] = {"  %5 = dot %4, %w over C, R : f32[N, P, O]\n  return %5\n}\n",
                            "  %5 = dot %g, %4 over N, P : f32[O, C, R]\n  return %5\n}\n"};
  target_info cpu = cpu_target(1);
  for (int k = 0; k < 2; k++) {
    arena a = {0}, scratch = {0};
    str text = str_printf(&a,
                          "graph @f(%%x: f32[N, C, Y], %%w: f32[O, C, R], %%g: f32[N, O, P]) {\n"
                          "  axis N = 5\n  axis C = 6\n  axis Y = 31\n  axis O = 3\n  axis R = 4\n"
                          "  axis P = 17\n  %%3 = const 0.5 : f32\n"
                          "  %%4 = pad %%x[N, C, P*2 + R - 3], %%3 : f32[N, C, P, R]\n%s",
                          of[k]);
    graph *before = graph_of_text(&a, str_z(&a, text));
    pass_options options = {.target = &cpu};
    pass_ctx ctx = {.graph = graph_copy(&a, before), .scratch = &scratch, .options = &options};
    passes_run(&ctx, NULL, 0, NULL, NULL);
    cr_expect_eq(ctx.graph->nkernels, 2, "%d", k);
    results x = evaluate_wide(&a, before, 3), y = evaluate_wide(&a, ctx.graph, 3);
    cr_expect_float_eq(difference(&x, &y), 0, 1e-12);
    arena_free(&scratch);
    arena_free(&a);
  }
}

/// The last axes of the product of a convolution that others read, as it is stored.
static void stores_product(const char *operands, const target_info *target, const char *want) {
  arena a = {0}, scratch = {0};
  str text =
      str_printf(&a,
                 "%s  %%5 = dot %s over C, R, S : f32[N, P, Q, O]\n"
                 "  %%6 = sum %%5 over N, P, Q : f32[O]\n  %%7 = sub %%5, %%6 : f32[N, P, Q, O]\n"
                 "  return %%7\n}\n",
                 CONVOLUTION("", "28"), operands);
  pass_options options = {.target = target};
  pass_ctx ctx = {.graph = graph_of_text(&a, str_z(&a, text)), .scratch = &scratch, .options = &options};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  strbuf axes = sb_new(&a);
  for (int i = 0; i < ctx.graph->nodes.len; i++) {
    const node *n = ctx.graph->nodes.data[i];
    for (int k = 0; n->op == OP_dot && k < n->naxes; k++)
      sb_printf(&axes, "%.*s", STR_FMT(ctx.graph->axes.data[n->axes[k]].name));
  }
  cr_expect_str_eq(axes.data, want, "%s", operands);
  arena_free(&scratch);
  arena_free(&a);
}

// Where lanes run along the places of windows, the results lie as the images do.
Test(passes_products, products_of_windows_are_stored_as_images) {
  target_info cpu = cpu_target(1);
  stores_product("%4, %w", &cpu, "NOPQ");
  stores_product("%w, %4", &cpu, "NOPQ");
}

// ---- pads

#define PADS(fill, inner, outer)                                                                   \
  "graph @f(%x: f32[N, M]) {\n  axis N = 4\n  axis M = 5\n  axis P = 6\n  axis Q = 9\n  axis R = " \
  "3\n"                                                                                            \
  "  %1 = const 0.0 : f32\n  %2 = const " fill " : f32\n  %3 = pad %x[" inner                      \
  "], %1 : f32[P, M]\n"                                                                            \
  "  %4 = pad %3[" outer "], %2 : f32[Q, R]\n  return %4\n}\n"

Test(passes_products, pads_of_pads_are_one) {
  leaves("views", PADS("0.0", "P - 1, M", "Q - 2, R + 1"), (counts){0, 0, 0, 1});
  leaves("views", PADS("0.0", "P - 1, M", "Q - 2, R*3 - 1"), (counts){0, 0, 0, 1});
}

Test(passes_products, pads_of_pads_stay) {
  leaves("views", PADS("1.0", "P - 1, M", "Q - 2, R + 1"), (counts){0, 0, 0, 2});
  // The inner one reads beyond what the outer one shows.
  leaves("views", PADS("0.0", "P - 3, M", "Q - 2, R + 1"), (counts){0, 0, 0, 2});
  leaves("views", PADS("0.0", "3 - P/2, M", "Q - 2, R + 1"), (counts){0, 0, 1, 1});
}

Test(passes_products, pads_of_renamed_values_are_pads) {
  leaves(
      "views",
      "graph @f(%x: f32[N]) {\n  axis N = 4\n  axis P = 4\n  axis Q = 7\n  %1 = const 0.0 : f32\n"
      "  %2 = view %x[3 - P] : f32[P]\n  %3 = view %x[P] : f32[P]\n  %4 = pad %3[Q - 2], %1 : "
      "f32[Q]\n"
      "  %5 = pad %2[Q - 2], %1 : f32[Q]\n  return %4, %5\n}\n",
      (counts){0, 0, 1, 2});
}

// ---- choices by coordinates

#define CHOICE(condition, coordinate)                                                      \
  "graph @f(%x: f32[D], %y: f32) {\n  axis D = 8\n  axis P = 3\n  %i = index D : i64[D]\n" \
  "  %k = const 3 : i64\n  %c = " condition                                                \
  " : bool[D]\n  %w = where %c, %x, %y : f32[D]\n"                                         \
  "  %v = view %w[" coordinate "] : f32[P]\n  return %v\n}\n"

static int choices_left(const char *text) {
  arena a = {0};
  graph *before = graph_of_text(&a, text), *after = run_pass(&a, before, "views", false);
  results x = evaluate_wide(&a, before, 1), y = evaluate_wide(&a, after, 1);
  cr_expect_float_eq(difference(&x, &y), 0, 1e-12);
  int n = count_op(after, OP_where);
  arena_free(&a);
  return n;
}

Test(passes_products, choices_are_known_where_a_slice_has_one_side) {
  cr_expect_eq(choices_left(CHOICE("lt %i, %k", "P")), 0);
  cr_expect_eq(choices_left(CHOICE("lt %i, %k", "P + 3")), 0);
  cr_expect_eq(choices_left(CHOICE("lt %i, %k", "P + 1")), 1);
  cr_expect_eq(choices_left(CHOICE("ge %i, %k", "P + 2")), 1);
  cr_expect_eq(choices_left(CHOICE("ge %i, %k", "P + 5")), 0);
  cr_expect_eq(choices_left(CHOICE("le %i, %k", "P + 1")), 0);
  cr_expect_eq(choices_left(CHOICE("gt %i, %k", "P + 1")), 0);
  cr_expect_eq(choices_left(CHOICE("gt %k, %i", "P")), 0);
  cr_expect_eq(choices_left(CHOICE("eq %i, %k", "P")), 0);
  cr_expect_eq(choices_left(CHOICE("eq %i, %k", "P + 3")), 1);
  cr_expect_eq(choices_left(CHOICE("ne %i, %k", "P + 4")), 0);
  cr_expect_eq(choices_left(CHOICE("ne %i, %k", "7 - P")), 0);
}
