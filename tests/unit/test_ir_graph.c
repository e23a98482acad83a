// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR: builders, the verifier on each kind of violation, compaction, copies, specialisation,
// and random graphs through print and parse.
#include <criterion/criterion.h>

#include "base/fault.h"
#include "ir/graph.h"

typedef struct fixture {
  arena arena;
  graph *g;
  int n, t;
  node *x, *m, *e, *s, *y;
} fixture;

/// softmax(x: f32[N, T])
static void softmax(fixture *f) {
  *f = (fixture){0};
  graph *g = f->g = graph_new(&f->arena, STR("softmax"));
  vec_push(&f->arena, &g->symbols, STR("N"));
  vec_push(&f->arena, &g->symbols, STR("T"));
  f->n = graph_add_axis(g, STR("N"), ix_sym(&g->ix, STR("N")));
  f->t = graph_add_axis(g, STR("T"), ix_sym(&g->ix, STR("T")));
  f->x = graph_param(g, STR("x"), DT_f32, (int[]){f->n, f->t}, 2);
  f->m = graph_reduce(g, OP_reduce_max, f->x, &f->t, 1);
  f->e = graph_unary(g, OP_exp, graph_binary(g, OP_sub, f->x, f->m));
  f->s = graph_reduce(g, OP_sum, f->e, &f->t, 1);
  f->y = graph_binary(g, OP_div, f->e, f->s);
  graph_output(g, f->y, STR("out"));
}

static char *text_of(arena *a, const graph *g) {
  strbuf b = sb_new(a);
  graph_print(g, &b);
  return b.data;
}

Test(ir_graph, builders_infer_types_and_axes) {
  fixture f;
  softmax(&f);
  cr_expect_str_eq(text_of(&f.arena, f.g),
                   "graph @softmax(%x: f32[N, T]) {\n"
                   "  %1 = reduce_max %x over T : f32[N]\n"
                   "  %2 = sub %x, %1 : f32[N, T]\n"
                   "  %3 = exp %2 : f32[N, T]\n"
                   "  %4 = sum %3 over T : f32[N]\n"
                   "  %5 = div %3, %4 : f32[N, T]\n"
                   "  return %5\n"
                   "}\n");
  cr_expect(graph_verify(f.g, &f.arena, NULL));
  arena_free(&f.arena);
}

Test(ir_graph, axis_names_are_unique) {
  fixture f;
  softmax(&f);
  ix one = ix_const(&f.g->ix, 1);
  const char *const want[] = {"T.1", "T.2", "T.1.1", "Q"};
  const str add[] = {STR("T"), STR("T"), STR("T.1"), STR("Q")};
  for (int k = 0; k < 4; k++) {
    int a = graph_add_axis(f.g, add[k], one);
    cr_expect_str_eq(str_z(&f.arena, f.g->axes.data[a].name), want[k]);
    cr_expect_eq(graph_find_axis(f.g, str_from(want[k])), a);
  }
  cr_expect_eq(graph_find_axis(f.g, STR("Z")), -1);
  arena_free(&f.arena);
}

static bool panics(fixture *f, void (*body)(fixture *), const char *text) {
  fault_frame frame;
  bool raised = false;
  if (fault_try(&frame)) body(f);
  fault_pop(&frame);
  raised = frame.kind == FAULT_PANIC;
  cr_expect_str_eq(frame.text, text);
  return raised;
}

static void add_mixed_types(fixture *f) {
  graph_binary(f->g, OP_add, f->x, graph_const_float(f->g, DT_i32, 1));
}
static void reduce_missing_axis(fixture *f) { graph_reduce(f->g, OP_sum, f->m, &f->t, 1); }
static void dot_one_sided(fixture *f) { graph_dot(f->g, f->x, f->m, &f->t, 1); }
static void too_many_axes(fixture *f) {
  node *sum = f->x;
  for (int k = 0; k < MAX_AXES; k++) {
    int a = graph_add_axis(f->g, STR("A"), ix_const(&f->g->ix, 1));
    ix index[2] = {ix_const(&f->g->ix, 0), ix_const(&f->g->ix, 0)};
    sum = graph_binary(f->g, OP_add, sum, graph_view(f->g, f->x, index, &a, 1));
  }
}
static void view_of_foreign_axis(fixture *f) {
  graph_view(f->g, f->m, (ix[]){ix_axis(&f->g->ix, f->t)}, &f->n, 1);
}
/// x[N, T] and what has the axis `updates`, added where what has the axis `indices` points along N.
static void scatter(fixture *f, int indices, int updates) {
  node *at = graph_index(f->g, DT_i64, indices);
  node *more = graph_cast(f->g, graph_index(f->g, DT_i32, updates), DT_f32);
  graph_scatter_add(f->g, f->x, f->n, at, more);
}
static void scatter_of_foreign_axis(fixture *f) {
  scatter(f, f->t, graph_add_axis(f->g, STR("B"), ix_const(&f->g->ix, 4)));
}
static void scatter_of_its_axis(fixture *f) { scatter(f, f->t, f->n); }
static void scatter_by_its_axis(fixture *f) { scatter(f, f->n, f->t); }

Test(ir_graph, builders_refuse_what_does_not_fit) {
  fixture f;
  softmax(&f);
  cr_expect(panics(&f, add_mixed_types,
                   "add needs equal number types other than f16, bf16, not f32, i32"));
  cr_expect(panics(&f, reduce_missing_axis, "sum: the operand has no axis T"));
  cr_expect(panics(&f, dot_one_sided, "dot: the operand has no axis T"));
  cr_expect(panics(&f, too_many_axes, "add would have 17 axes; the limit is 16"));
  cr_expect(panics(&f, view_of_foreign_axis, "view uses axis T, which the result lacks"));
  cr_expect(panics(&f, scatter_of_foreign_axis,
                   "scatter_add: the updates have the axis B, which "
                   "neither the indices nor the base have"));
  cr_expect(panics(&f, scatter_of_its_axis, "scatter_add: the updates have the scattered axis N"));
  cr_expect(panics(&f, scatter_by_its_axis, "scatter_add: the indices have the scattered axis N"));
  arena_free(&f.arena);
}

// ---- the verifier

static void broken(void (*harm)(fixture *), const char *remark) {
  fixture f;
  softmax(&f);
  harm(&f);
  str report = {0};
  cr_assert_not(graph_verify(f.g, &f.arena, &report), "not found: %s", remark);
  cr_expect(strstr(str_z(&f.arena, report), remark), "%.*s\nlacks %s", STR_FMT(report), remark);
  arena_free(&f.arena);
}

static void wrong_type(fixture *f) { f->e->type = DT_f64; }
static void wrong_axes(fixture *f) { f->e->naxes = 1; }
static void axis_twice(fixture *f) { f->e->axes[0] = f->t; }
static void unknown_axis(fixture *f) { f->e->axes[0] = 77; }
static void wrong_order(fixture *f) { f->e->in[0] = f->y; }
static void foreign_node(fixture *f) { f->e->in[0] = graph_copy(&f->arena, f->g)->nodes.data[2]; }
static void null_operand(fixture *f) { f->e->in[0] = NULL; }
static void wrong_id(fixture *f) { f->e->id = 1; }
static void wrong_count(fixture *f) { f->y->nin = 1; }
static void late_param(fixture *f) { f->g->nparams = 0; }
static void early_node(fixture *f) { f->g->nparams = 2; }
static void stray_flag(fixture *f) { f->e->flags = NODE_REVERSE; }
static void no_output(fixture *f) { f->g->outputs.len = 0; }
static void output_twice(fixture *f) { graph_output(f->g, f->e, STR("out")); }
static void stray_output(fixture *f) {
  f->g->outputs.data[0].value = graph_copy(&f->arena, f->g)->nodes.data[3];
}
static void same_param(fixture *f) {
  f->g->nodes.len = 1;
  graph_param(f->g, STR("x"), DT_f32, NULL, 0);
  f->g->outputs.data[0].value = f->x;
}
static void unbound_size(fixture *f) { graph_add_axis(f->g, STR("Q"), ix_sym(&f->g->ix, STR("Q"))); }
static void negative_size(fixture *f) { graph_add_axis(f->g, STR("Q"), ix_const(&f->g->ix, -1)); }
static void size_of_coordinates(fixture *f) { f->g->axes.data[1].size = ix_axis(&f->g->ix, 0); }
static void large_const(fixture *f) { graph_const(f->g, DT_i8, (scalar){.i = 300}); }
static void unrounded_const(fixture *f) { graph_const(f->g, DT_f32, (scalar){.f = 0.1}); }
static void view_outside(fixture *f) {
  int a = graph_add_axis(f->g, STR("A"), ix_const(&f->g->ix, 4));
  int b = graph_add_axis(f->g, STR("B"), ix_const(&f->g->ix, 2));
  ix pick = ix_const(&f->g->ix, 0), past = ix_add(&f->g->ix, ix_axis(&f->g->ix, b), ix_const(&f->g->ix, 4));
  node *v = graph_view(f->g, f->m, &pick, &a, 1);
  graph_view(f->g, v, &past, &b, 1);
}
static void unfused_kernel(fixture *f) { f->e->kernel = 0; }
static void fuse(fixture *f, const int *kernels, int count) {
  f->g->fused = true;
  f->g->nkernels = count;
  for (int k = 0; k < 5; k++) f->g->nodes.data[k + 1]->kernel = kernels[k];
}
static void scattered_kernel(fixture *f) { fuse(f, (int[]){0, 1, 0, 1, 1}, 2); }
static void kernel_gap(fixture *f) { fuse(f, (int[]){0, 0, 2, 2, 2}, 3); }
static void kernel_missing(fixture *f) { fuse(f, (int[]){0, -1, 0, 0, 0}, 1); }
static void kernel_count(fixture *f) { fuse(f, (int[]){0, 0, 0, 0, 0}, 2); }
static void overflow(fixture *f) {
  ix big = ix_const(&f->g->ix, INT64_MAX);
  ix_add(&f->g->ix, big, big);
}
static void stray_strides(fixture *f) { f->e->strides = arena_array(&f->arena, int64_t, 2); }

Test(ir_graph, verifier_finds_each_violation) {
  broken(wrong_type, "has type f64, not f32");
  broken(wrong_axes, "should have the axes [N, T]");
  broken(axis_twice, "has axis T twice");
  broken(unknown_axis, "has an unknown axis");
  broken(wrong_order, "uses %5 before it is defined");
  broken(foreign_node, "operand 0 is not a node of the graph");
  broken(null_operand, "operand 0 is not a node of the graph");
  broken(wrong_id, "has id 1 at position 3");
  broken(wrong_count, "div takes 2 operands, not 1");
  broken(late_param, "is a param behind the params");
  broken(early_node, "is no param, but among them");
  broken(stray_flag, "has flags that exp does not take");
  broken(no_output, "returns nothing");
  broken(output_twice, "two outputs have the name out");
  broken(stray_output, "output 0 is not a node of the graph");
  broken(same_param, "has the name of another param, x");
  broken(unbound_size, "Q uses size Q, which no param binds");
  broken(negative_size, "axis Q has a negative size");
  broken(size_of_coordinates, "axis T has no size");
  broken(large_const, "holds a value outside of its type");
  broken(unrounded_const, "holds a value outside of its type");
  broken(view_outside, "is outside of axis A of its operand");
  broken(unfused_kernel, "is in kernel 0");
  broken(scattered_kernel, "is in kernel 0, after one of kernel 1");
  broken(kernel_gap, "is in kernel 2, after one of kernel 0");
  broken(kernel_missing, "is in no kernel");
  broken(kernel_count, "has 1 kernels, not 2");
  broken(overflow, "a size does not fit into 64 bits");
  broken(stray_strides, "has strides, but is no param");
}

Test(ir_graph, remarks_stand_below_their_nodes) {
  fixture f;
  softmax(&f);
  f.e->type = DT_f64;
  str report;
  cr_assert_not(graph_verify(f.g, &f.arena, &report));
  cr_expect(strstr(str_z(&f.arena, report), "  %3 = exp %2 : f64[N, T]\n"
                                            "  // ^ has type f64, not f32\n"));
  arena_free(&f.arena);
}

// ---- operations on graphs

Test(ir_graph, compaction_replaces_drops_and_sorts) {
  fixture f;
  softmax(&f);
  graph *g = f.g;
  node **replacement = arena_array(&f.arena, node *, g->nodes.len + 3);
  // exp becomes exp2 of a product, made after its users; the product replaces in turn.
  node *scale = graph_const_float(g, DT_f32, 1.5);
  node *fast = graph_unary(g, OP_exp2, graph_binary(g, OP_mul, f.e->in[0], scale));
  replacement[f.e->id] = fast;
  replacement[f.m->id] = f.m;  // itself: kept
  vec_push(&f.arena, &g->decisions, (decision){.producer = f.e->id, .consumer = f.y->id});
  vec_push(&f.arena, &g->decisions,
           (decision){.producer = f.s->id, .consumer = -1, .shared = 1 + f.s->id});
  graph_compact(g, replacement);
  cr_expect_str_eq(text_of(&f.arena, g),
                   "graph @softmax(%x: f32[N, T]) {\n"
                   "  %1 = reduce_max %x over T : f32[N]\n"
                   "  %2 = sub %x, %1 : f32[N, T]\n"
                   "  %3 = const 1.5 : f32\n"
                   "  %4 = mul %2, %3 : f32[N, T]\n"
                   "  %5 = exp2 %4 : f32[N, T]\n"
                   "  %6 = sum %5 over T : f32[N]\n"
                   "  %7 = div %5, %6 : f32[N, T]\n"
                   "  return %7\n"
                   "}\n");
  cr_expect(graph_verify(g, &f.arena, NULL));
  cr_expect_eq(g->decisions.data[0].producer, -1);
  cr_expect_eq(g->decisions.data[0].consumer, 7);
  cr_expect_eq(g->decisions.data[1].producer, 6);
  cr_expect_eq(g->decisions.data[1].shared, 7);
  arena_free(&f.arena);
}

Test(ir_graph, compaction_keeps_params) {
  fixture f;
  softmax(&f);
  f.g->outputs.data[0].value = graph_const_float(f.g, DT_f32, 2);
  graph_compact(f.g, NULL);
  cr_expect_eq(f.g->nodes.len, 2);
  cr_expect_eq(f.g->nodes.data[0], f.x);
  cr_expect(graph_verify(f.g, &f.arena, NULL));
  arena_free(&f.arena);
}

Test(ir_graph, use_counts) {
  fixture f;
  softmax(&f);
  int *uses = graph_use_counts(f.g, &f.arena);
  const int want[] = {2, 1, 1, 2, 1, 1};
  cr_expect_arr_eq(uses, want, sizeof want);
  arena_free(&f.arena);
}

Test(ir_graph, reorder_is_a_view_only_when_needed) {
  fixture f;
  softmax(&f);
  cr_expect_eq(graph_reorder(f.g, f.y, (int[]){f.n, f.t}), f.y);
  node *turned = graph_reorder(f.g, f.y, (int[]){f.t, f.n});
  cr_expect_eq(turned->op, OP_view);
  cr_expect_eq(turned->axes[0], f.t);
  cr_expect(node_same_axis_set(turned, f.y));
  arena_free(&f.arena);
}

Test(ir_graph, copies_are_deep) {
  fixture f;
  softmax(&f);
  ix_fact_of(&f.g->ix, STR("N"))->max = 99;
  char *before = text_of(&f.arena, f.g);
  arena other = {0};
  graph *copy = graph_copy(&other, f.g);
  node *again = graph_clone_node(copy, f.s, (node *[]){copy->nodes.data[f.e->id]});
  cr_expect_eq(again->attr_axes[0], f.t);
  graph_compact(copy, NULL);
  memset(f.e->axes, 0xff, sizeof(int) * 2);
  f.s->op = OP_prod;
  arena_free(&f.arena);
  cr_expect(graph_verify(copy, &other, NULL));
  cr_expect(strstr(text_of(&other, copy), "sum %3 over T"));
  cr_expect(strstr(text_of(&other, copy), "N <= 99"));
  (void)before;
  arena_free(&other);
}

static bool bind_t(void *ctx, str name, int64_t *v) {
  *v = *(int64_t *)ctx;
  return str_eqz(name, "T");
}

Test(ir_graph, specialisation_binds_sizes) {
  fixture f;
  softmax(&f);
  graph *g = f.g;
  ix half = ix_div(&g->ix, ix_sym(&g->ix, STR("T")), ix_const(&g->ix, 2));
  int h = graph_add_axis(g, STR("H"), half);
  ix index[2] = {ix_axis(&g->ix, f.n), ix_add(&g->ix, ix_axis(&g->ix, h), half)};
  graph_output(g, graph_view(g, f.y, index, (int[]){f.n, h}, 2), STR("half"));
  graph_output(g, graph_size(g, DT_i32, half), STR("h"));
  ix_fact_of(&g->ix, STR("N"))->multiple_of = 8;
  int64_t t = 64;
  graph *s = graph_specialise(&f.arena, g, bind_t, &t);
  cr_expect(graph_verify(s, &f.arena, NULL));
  const char *text = text_of(&f.arena, s);
  cr_expect(strstr(text, "  size N where N % 8 == 0\n  axis T = 64\n  axis H = 32\n"), "%s", text);
  cr_expect(strstr(text, "view %5[N, H + 32] : f32[N, H]"), "%s", text);
  cr_expect(strstr(text, "size 32 : i32"), "%s", text);
  cr_expect_eq(s->symbols.len, 1);
  arena_free(&f.arena);
}

Test(ir_graph, elements) {
  fixture f;
  softmax(&f);
  ix_pool *p = &f.g->ix;
  cr_expect_eq(node_elements(f.g, f.y), ix_mul(p, ix_sym(p, STR("N")), ix_sym(p, STR("T"))));
  cr_expect_eq(node_elements(f.g, graph_const_float(f.g, DT_f32, 1)), ix_const(p, 1));
  arena_free(&f.arena);
}
