// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Graph IR as text: random graphs keep their text and their values through print and parse, and
// wrong texts get a diagnostic at the right place.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>

#include "base/fault.h"
#include "ir/graph.h"

static graph *parse(arena *a, str text, diag_list *diags) {
  module m;
  *diags = (diag_list){.arena = a};
  uint32_t file = diag_add_file(diags, STR("t.graph"), text);
  return module_parse(a, diags, file, &m) && m.graphs.len ? m.graphs.data[0] : NULL;
}

static str print(arena *a, const graph *g) {
  strbuf b = sb_new(a);
  graph_print(g, &b);
  return sb_str(&b);
}

// ---- random graphs

typedef struct maker {
  arena *arena;
  graph *g;
  uint64_t state;
  int axes[5];  // N, T, H = 4, D = T*2, E = T + 3
  vec(node *) floats, ints, bools;
} maker;

static int draw(maker *m, int below) {
  m->state = m->state * 6364136223846793005u + 1442695040888963407u;
  return (int)((m->state >> 33) % (uint64_t)below);
}

static node *any_float(maker *m) { return m->floats.data[draw(m, m->floats.len)]; }

static int any_axis_of(maker *m, const node *n) { return n->axes[draw(m, n->naxes)]; }

/// Marks of what gradients are made from, which change no value.
static void mark(maker *m, node *n) {
  if (n->op == OP_param) return;
  if (draw(m, 12) == 0) n->flags |= NODE_KEEP;
  if (draw(m, 12) == 0) n->flags |= NODE_RECOMPUTED;
  if (draw(m, 6) == 0) n->region = 1 + draw(m, 3);
  if (draw(m, 6) == 0) n->phase += 1;
}

static void keep(maker *m, node *n) {
  mark(m, n);
  if (n->type == DT_f32) vec_push(m->arena, &m->floats, n);
  else if (n->type == DT_i32) vec_push(m->arena, &m->ints, n);
  else if (n->type == DT_bool) vec_push(m->arena, &m->bools, n);
}

static node *make_view(maker *m, node *a) {
  graph *g = m->g;
  ix index[MAX_AXES];
  int axes[MAX_AXES], naxes = 0, cut = draw(m, a->naxes);
  for (int k = 0; k < a->naxes; k++) {
    ix size = graph_axis_size(g, a->axes[k]);
    if (k != cut) {
      axes[naxes++] = a->axes[k];
      index[k] = ix_axis(&g->ix, a->axes[k]);
      continue;
    }
    int fresh = graph_add_axis(g, g->axes.data[a->axes[k]].name, size);
    axes[naxes++] = fresh;
    ix at = ix_axis(&g->ix, fresh);
    index[k] = at;
    if (draw(m, 2)) index[k] = ix_sub(&g->ix, ix_sub(&g->ix, size, ix_const(&g->ix, 1)), at);
    if (draw(m, 3) == 0)
      index[k] = ix_mod(&g->ix, ix_add(&g->ix, ix_scale(&g->ix, at, 3), ix_const(&g->ix, draw(m, 9))),
                        size);
  }
  if (draw(m, 2)) return graph_view(g, a, index, axes, naxes);
  index[cut] = ix_sub(&g->ix, index[cut], ix_const(&g->ix, 1));
  return graph_pad(g, a, graph_const_float(g, DT_f32, draw(m, 100) / 7.0), index, axes, naxes);
}

static node *make_indirect(maker *m, node *a) {
  graph *g = m->g;
  int along = any_axis_of(m, a);
  node *at = graph_index(g, DT_i32, m->axes[draw(m, 3)]);
  node *size = graph_size(g, DT_i32, graph_axis_size(g, along));
  at = graph_binary(g, OP_rem, at, size);
  node *n = draw(m, 2) || node_has_axis(at, along)
                ? graph_gather(g, a, along, at)
                : graph_scatter_add(g, a, along, at, graph_const_float(g, DT_f32, 0.1));
  if (draw(m, 2)) n->flags |= NODE_UNCHECKED;
  return n;
}

static node *make_node(maker *m) {
  graph *g = m->g;
  node *a = any_float(m), *b = any_float(m);
  int along = a->naxes ? any_axis_of(m, a) : -1;
  static const op unary[] = {OP_exp, OP_neg, OP_tanh, OP_floor, OP_sign, OP_sqrt};
  static const op binary[] = {OP_add, OP_sub, OP_mul, OP_min, OP_max, OP_div};
  static const op reduce[] = {OP_sum, OP_prod, OP_reduce_max, OP_argmin, OP_argmax};
  static const op scan[] = {OP_cumsum, OP_cummax, OP_cummin};
  switch (draw(m, along < 0 ? 5 : 12)) {
    case 0: return graph_unary(g, unary[draw(m, 6)], a);
    case 1: return graph_binary(g, binary[draw(m, 6)], a, b);
    case 2: return graph_binary(g, OP_lt, a, b);
    case 3: return graph_const_float(g, DT_f32, (draw(m, 2000) - 1000) / 9.0);
    case 4:
      if (!m->bools.len) return graph_size(g, DT_f32, graph_axis_size(g, m->axes[draw(m, 5)]));
      return graph_where(g, m->bools.data[draw(m, m->bools.len)], a, b);
    case 5: return graph_reduce(g, reduce[draw(m, 5)], a, &along, 1);
    case 6: return graph_scan(g, scan[draw(m, 3)], a, along, (unsigned)draw(m, 4));
    case 7: return make_view(m, a);
    case 11: return graph_affine_scan(g, b, a, along, (unsigned)draw(m, 4));
    case 8: return make_indirect(m, a);
    case 9: return node_has_axis(b, along) ? graph_dot(g, a, b, &along, 1)
                                           : graph_index(g, DT_i32, along);
    default: return graph_cast(g, graph_cast(g, a, draw(m, 2) ? DT_bf16 : DT_f16), DT_f32);
  }
}

static graph *random_graph(arena *a, uint64_t seed) {
  graph *g = graph_new(a, STR("random"));
  maker m = {.arena = a, .g = g, .state = seed};
  ix_pool *p = &g->ix;
  if (draw(&m, 2)) ix_fact_of(p, STR("T"))->multiple_of = 2;
  if (draw(&m, 2)) ix_fact_of(p, STR("N"))->max = 64;
  if (draw(&m, 2)) ix_fact_of(p, STR("N"))->estimate = 12;
  vec_push(a, &g->symbols, STR("N"));
  vec_push(a, &g->symbols, STR("T"));
  ix n = ix_sym(p, STR("N")), t = ix_sym(p, STR("T"));
  m.axes[0] = graph_add_axis(g, STR("N"), n);
  m.axes[1] = graph_add_axis(g, STR("T"), t);
  m.axes[2] = graph_add_axis(g, STR("H"), ix_const(p, 4));
  m.axes[3] = graph_add_axis(g, STR("D"), ix_scale(p, t, 2));
  m.axes[4] = graph_add_axis(g, STR("E"), ix_add(p, t, ix_const(p, 3)));
  keep(&m, graph_param(g, STR("x"), DT_f32, (int[]){m.axes[0], m.axes[1]}, 2));
  keep(&m, graph_param(g, STR("y"), DT_f32, (int[]){m.axes[3], m.axes[2]}, 2));
  keep(&m, graph_param(g, STR("z"), DT_f32, (int[]){m.axes[4]}, 1));
  if (draw(&m, 2)) {
    g->nodes.data[1]->strides = arena_array(a, int64_t, 2);
    g->nodes.data[1]->strides[0] = draw(&m, 100) - 50;
    g->nodes.data[1]->strides[1] = 1;
  }
  int count = 4 + draw(&m, 20);
  for (int k = 0; k < count; k++) {
    node *last = make_node(&m);
    if (last->naxes > 4) continue;  // left dead
    keep(&m, last);
  }
  graph_output(g, any_float(&m), STR("out0"));
  graph_output(g, g->nodes.data[g->nodes.len - 1], draw(&m, 2) ? STR("out1") : STR("last"));
  if (draw(&m, 2)) {
    g->fused = true;
    for (int k = g->nparams; k < g->nodes.len; k++) {
      if (k == g->nparams || draw(&m, 3) == 0) g->nkernels++;
      g->nodes.data[k]->kernel = g->nkernels - 1;
    }
  }
  return g;
}

static bool same_value(scalar a, scalar b, dtype t) {
  return a.i == b.i || (dtype_is_float(t) && isnan(a.f) && isnan(b.f));
}

static void evaluate(arena *a, const graph *g, interp_tensor *out) {
  interp_tensor in[3] = {{DT_f32, 2, {3, 4}, NULL}, {DT_f32, 2, {8, 4}, NULL}, {DT_f32, 1, {7}, NULL}};
  for (int k = 0; k < 3; k++) {
    in[k].data = arena_array(a, scalar, 32);
    for (int i = 0; i < 32; i++) in[k].data[i].f = (float)((i * 37 + k * 11) % 23 - 11) / 4;
  }
  str error;
  cr_assert(graph_interpret(g, a, in, out, NULL, &error, NULL), "%.*s", STR_FMT(error));
}

static void same_results(arena *a, const graph *g, const graph *other, uint64_t seed) {
  interp_tensor x[2], y[2];
  evaluate(a, g, x);
  evaluate(a, other, y);
  for (int o = 0; o < 2; o++) {
    cr_assert_eq(x[o].rank, y[o].rank, "seed %lu", seed);
    int64_t count = 1;
    for (int k = 0; k < x[o].rank; k++) {
      cr_assert_eq(x[o].dims[k], y[o].dims[k], "seed %lu", seed);
      count *= x[o].dims[k];
    }
    for (int64_t k = 0; k < count; k++)
      cr_assert(same_value(x[o].data[k], y[o].data[k], x[o].type), "seed %lu", seed);
  }
}

static bool bind_sizes(void *ctx, str name, int64_t *v) {
  (void)ctx;
  *v = str_eqz(name, "N") ? 3 : 4;
  return true;
}

Test(ir_graph_text, random_graphs_survive) {
  for (uint64_t seed = 1; seed <= 600; seed++) {
    arena a = {0};
    graph *g = random_graph(&a, seed);
    str report = {0}, text = print(&a, g);
    cr_assert(graph_verify(g, &a, &report), "seed %lu\n%.*s", seed, STR_FMT(report));
    diag_list diags;
    graph *parsed = parse(&a, text, &diags);
    cr_assert(parsed, "seed %lu: %.*s\n%.*s", seed, STR_FMT(diags.items.data[0]->text),
              STR_FMT(text));
    str again = print(&a, parsed);
    cr_assert(str_eq(text, again), "seed %lu\n%.*s\n%.*s", seed, STR_FMT(text), STR_FMT(again));
    same_results(&a, g, parsed, seed);
    graph *copy = graph_copy(&a, g);
    cr_assert(str_eq(text, print(&a, copy)), "seed %lu", seed);
    if (!g->fused) graph_compact(copy, NULL);
    same_results(&a, g, copy, seed);
    graph *special = graph_specialise(&a, g, bind_sizes, NULL);
    cr_assert(graph_verify(special, &a, &report), "seed %lu\n%.*s", seed, STR_FMT(report));
    same_results(&a, g, special, seed);
    arena_free(&a);
  }
}

// ---- text that people write

Test(ir_graph_text, names_comments_and_layout_are_free) {
  arena a = {0};
  diag_list diags;
  graph *g = parse(&a, STR("// mean\ngraph@mean(%x:f32[N,D]){ %total=sum %x over D:f32[N]\n"
                           "%d = size D : f32 // as a number\n%mean = div %total,%d : f32[N] return %mean }"),
                   &diags);
  cr_assert(g, "%.*s", STR_FMT(diags.items.data[0]->text));
  cr_expect_str_eq(print(&a, g).ptr,
                   "graph @mean(%x: f32[N, D]) {\n"
                   "  %1 = sum %x over D : f32[N]\n"
                   "  %2 = size D : f32\n"
                   "  %3 = div %1, %2 : f32[N]\n"
                   "  return %3\n"
                   "}\n");
  cr_expect_eq(g->nodes.data[1]->at.file, 1);
  arena_free(&a);
}

Test(ir_graph_text, marks_have_no_order) {
  static const char *const texts[] = {
      "graph @f(%x: f32[N]) {\n  %y = exp %x : f32[N] keep in checkpoint#1\n"
      "  %z = exp %y : f32[N] recomputed phase 1\n  return %z\n}",
      "graph @f(%x: f32[N]) {\n  %y = exp %x : f32[N] in checkpoint#1 keep\n"
      "  %z = exp %y : f32[N] phase 1 recomputed return %z }"};
  arena a = {0};
  for (int i = 0; i < 2; i++) {
    diag_list diags = {.arena = &a};
    module m = {.arena = &a};
    cr_assert(module_parse(&a, &diags, diag_add_file(&diags, STR("f"), str_from(texts[i])), &m));
    node *const *nodes = m.graphs.data[0]->nodes.data;
    cr_expect_eq(nodes[1]->flags, NODE_KEEP);
    cr_expect_eq(nodes[1]->region, 2);
    cr_expect_eq(nodes[2]->flags, NODE_RECOMPUTED);
    cr_expect_eq(nodes[2]->phase, 1);
  }
  arena_free(&a);
}

Test(ir_graph_text, everything_has_a_text) {
  const char *text =
      "fused graph @layer(%x: f32[N, D], %w: bf16[V, D] strides [1, 4096], %t: i32[N]) {\n"
      "  size N where N >= 1, N <= 4096, N % 16 == 0, N ~ 512\n"
      "  size V\n"
      "  axis D = 64\n"
      "  axis H = 4\n"
      "  axis K = 16\n"
      "  kernel 0 {\n"
      "    %3 = sum %x over D : f32[N]\n"
      "    %4 = const 0.1 : f32\n"
      "    %5 = mul %3, %4 : f32[N]\n"
      "  }\n"
      "  kernel 1 {\n"
      "    %6 = view %x[N, H*16 + K] : f32[H, N, K]\n"
      "    %7 = const -inf : f32\n"
      "    %8 = pad %6[H, #N - N, K], %7 : f32[H, N, K]\n"
      "    %9 = cumsum %8 over K reverse exclusive : f32[H, N, K]\n"
      "  }\n"
      "  kernel 2 {\n"
      "    %10 = gather %w, %t over V unchecked : bf16[N, D]\n"
      "  }\n"
      "  kernel 3 {\n"
      "    %11 = call @host(%5, %t) : f32[N]\n"
      "  }\n"
      "  kernel 4 {\n"
      "    %12 = size N*V + 3 : i64\n"
      "    %13 = index N : i32[N]\n"
      "    %14 = argmax %x over D : i32[N]\n"
      "    %15 = const true : bool\n"
      "    %16 = const -7 : i8\n"
      "  }\n"
      "  return %5 as mean, %9, %10 as g, %12 as z, %13, %14, %11, %15, %16 as i\n"
      "}\n";
  arena a = {0};
  diag_list diags;
  graph *g = parse(&a, str_from(text), &diags);
  cr_assert(g, "%.*s", STR_FMT(diags.items.data[0]->text));
  cr_expect_str_eq(print(&a, g).ptr, text);
  arena_free(&a);
}

Test(ir_graph_text, many_params_take_a_line_each) {
  const char *text = "graph @wide(\n"
                     "    %first_parameter: f32[N, D],\n"
                     "    %second_parameter: f32[N, D],\n"
                     "    %third_parameter: f32[N, D]) {\n"
                     "  return %first_parameter\n"
                     "}\n";
  arena a = {0};
  diag_list diags;
  graph *g = parse(&a, str_from(text), &diags);
  cr_assert(g);
  cr_expect_str_eq(print(&a, g).ptr, text);
  arena_free(&a);
}

#define BODY(lines) "graph @f(%x: f32[N, T]) {\n" lines "\n  return %x\n}\n"

Test(ir_graph_text, wrong_texts_are_explained) {
  const struct {
    const char *text;
    int code, line, col;
    const char *message;
  } cases[] = {
      {"", 501, 1, 1, "expected 'graph'"},
      {"garph @f() {}", 501, 1, 1, "expected 'graph'"},
      {"graph @f(%x: f33) {\n return %x\n}", 502, 1, 14, "f33 is not an element type"},
      {"graph @f(%x: f32, %x: f32) {\n return %x\n}", 503, 1, 19, "%x is defined twice"},
      {"graph @f(%x: f32[N, N]) {\n return %x\n}", 503, 1, 21, "the axis is there twice"},
      {"graph @f(%x: f32[N] strides [1, 2]) {\n return %x\n}", 507, 1, 28,
       "there are 2 strides for 1 axes"},
      {"graph @f(%x: f32[N]) {\n return %x", 501, 2, 11, "expected '}'"},
      {"graph @f(%x: f32[N]) {\n}", 501, 2, 1, "expected 'return'"},
      {BODY("  %y = foo %x : f32"), 502, 2, 8, "there is no op foo"},
      {BODY("  %y = exp %x : f32[N, T] again"), 501, 2, 27,
       "there is no mark `again`; there are keep, recomputed, phase 1, in checkpoint#0, in fuse#0"},
      {BODY("  %y = exp %x : f32[N, T] phase 1 checkpoint#0"), 501, 2, 35,
       "there is no mark `checkpoint`; there are keep, recomputed, phase 1, in checkpoint#0, in fuse#0"},
      {BODY("  %y = exp %x : f32[N, T] in loop#0"), 501, 2, 30, "expected 'fuse'"},
      {BODY("  %y = param %x : f32"), 502, 2, 8, "there is no op param"},
      {BODY("  %y = exp %z : f32"), 502, 2, 12, "no value %z is defined"},
      {BODY("  %x = exp %x : f32[N, T]"), 503, 2, 3, "%x is defined twice"},
      {BODY("  %y = exp %x : f32[N, M]"), 502, 2, 24,
       "there is no axis M; declare it: axis M = ..."},
      {BODY("  %y = exp %x : f32[N]"), 506, 2, 3, "exp gives f32[N, T], not f32[N]"},
      {BODY("  %y = exp %x : f64[N, T]"), 506, 2, 3, "exp gives f32[N, T], not f64[N, T]"},
      {BODY("  %y = exp %x, %x : f32[N, T]"), 507, 2, 3, "exp takes 1 operand, not 2"},
      {BODY("  %y = sum %x : f32[N]"), 507, 2, 3, "sum names 0 axes"},
      {BODY("  %y = and %x, %x : f32[N, T]"), 507, 2, 3,
       "and needs integers or bools of one type, not f32, f32"},
      {BODY("  %y = view %x[N] : f32[N]"), 501, 2, 17, "expected ','"},
      {BODY("  %y = view %x[N, T, 3] : f32[N, T]"), 501, 2, 20,
       "the operand has 2 axes: expected ']'"},
      {BODY("  %y = view %x[N, q] : f32[N]"), 501, 2, 19, "unknown name"},
      {BODY("  %y = view %x[N, T] : f32[N]"), 507, 2, 3,
       "view uses axis T, which the result lacks"},
      {BODY("  %y = const 300 : u8"), 504, 2, 14, "300 is no u8"},
      {BODY("  %y = const abc : f32"), 504, 2, 14, "abc is no f32"},
      {BODY("  %y = index T reverse : i32[T]"), 507, 2, 3, "has flags that index does not take"},
      {BODY("  axis T = 3\n  axis T = 4"), 503, 3, 8, "axis T is declared twice"},
      {BODY("  axis M = Q*2"), 507, 1, 7, "M uses size Q, which no param binds"},
      {BODY("  axis M = 0 - 2"), 507, 1, 7, "axis M has a negative size"},
      {BODY("  size N where T >= 2"), 502, 2, 16, "the line is about N"},
      {BODY("  size N where N % 0 == 0"), 504, 2, 20,
       "the number is outside [1, 9223372036854775807]"},
      {BODY("  kernel 0 {\n  }"), 501, 2, 10,
       "kernels are in graphs that begin with 'fused graph'"},
      {"fused graph @f(%x: f32[N]) {\n  %y = exp %x : f32[N]\n  return %y\n}", 507, 2, 3,
       "is in no kernel"},
      {"fused graph @f(%x: f32) {\n kernel 1 {\n}\n  return %x\n}", 504, 2, 9,
       "the number is outside [0, 0]"},
      {"graph @f(%x: f32) {\n return %x as a, %x as a\n}", 507, 1, 7,
       "two outputs have the name a"},
      {"graph @f(%x: f32) {\n %1 = exp %x : f32\n return %1 as x\n}", 507, 1, 7,
       "an output and a param have the name x"},
      {"graph @f(%x: f32) {\n return %x\n}\ngraph @f(%x: f32) {\n return %x\n}", 503, 4, 7,
       "two graphs are called @f"},
  };
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    arena a = {0};
    diag_list diags;
    graph *g = parse(&a, str_from(cases[k].text), &diags);
    bool second = strstr(cases[k].text, "\ngraph") != NULL;
    cr_expect(second || !g, "%s", cases[k].text);
    cr_assert_eq(diags.errors, 1, "%s\nhas %d errors", cases[k].text, diags.errors);
    const diag *d = diags.items.data[0];
    line_col at = diag_line_col(&diags, d->at);
    cr_expect(d->code == cases[k].code && at.line == cases[k].line && at.col == cases[k].col &&
                  str_eqz(d->text, cases[k].message),
              "%s\ngives %d:%d E0%d %.*s", cases[k].text, at.line, at.col, d->code,
              STR_FMT(d->text));
    arena_free(&a);
  }
}

Test(ir_graph_text, each_graph_has_its_error) {
  arena a = {0};
  diag_list diags;
  parse(&a, STR("graph @a(%x: f33) {\n return %x\n}\ngraph @b(%x: f32) {\n return %x\n}\n"
                "fused graph @c(%x: f32) {\n return %y\n}\n"), &diags);
  cr_expect_eq(diags.errors, 2);
  arena_free(&a);
}

Test(ir_graph_text, cut_off_anywhere_is_an_error_and_no_crash) {
  arena a = {0};
  diag_list diags;
  str text = print(&a, random_graph(&a, 7));
  for (int len = 0; len < text.len - 2; len++) {
    arena scratch = {0};
    cr_expect_null(parse(&scratch, (str){text.ptr, len}, &diags), "%d", len);
    arena_free(&scratch);
  }
  arena_free(&a);
}

// ---- the documentation

static str read_file(arena *a, const char *path) {
  FILE *f = fopen(path, "rb");
  cr_assert(f, "%s", path);
  strbuf b = sb_new(a);
  char part[4096];
  for (size_t n; (n = fread(part, 1, sizeof part, f)) > 0;) sb_put(&b, (str){part, (int)n});
  fclose(f);
  return sb_str(&b);
}

Test(ir_graph_text, examples_of_the_documentation_are_canonical) {
  arena a = {0};
  char *text = str_z(&a, read_file(&a, TCF_SOURCE_DIR "/docs/ir.md"));
  int found = 0;
  for (char *at = text; (at = strstr(at, "```graph\n")); found++) {
    at += strlen("```graph\n");
    char *end = strstr(at, "```");
    cr_assert(end);
    str block = {at, (int)(end - at)};
    diag_list diags;
    graph *g = parse(&a, block, &diags);
    cr_assert(g, "%.*s", STR_FMT(diags.items.data[0]->text));
    cr_expect(str_eq(print(&a, g), block), "%.*s\nprints as\n%.*s", STR_FMT(block),
              STR_FMT(print(&a, g)));
  }
  cr_expect_eq(found, 2);
  arena_free(&a);
}

Test(ir_graph_text, the_documentation_names_every_op) {
  arena a = {0};
  const char *text = str_z(&a, read_file(&a, TCF_SOURCE_DIR "/docs/ir.md"));
  for (int o = 0; o < OP_COUNT; o++)
    cr_expect(strstr(text, op_get((op)o)->name), "%s", op_get((op)o)->name);
  arena_free(&a);
}

Test(ir_graph_text, damaged_texts_are_refused_or_valid) {
  arena a = {0};
  uint64_t state = 42;
  int read = 0;
  static const char bytes[] = "%@[]{}(),:=+-*/#019NTxfoverkln\n \xff";
  for (int round = 0; round < 3000; round++) {
    arena scratch = {0};
    str text = str_dup(&scratch, print(&scratch, random_graph(&scratch, (uint64_t)round % 40 + 1)));
    for (int hits = round % 3 + 1; hits > 0; hits--) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      ((char *)text.ptr)[(state >> 33) % (uint64_t)text.len] = bytes[(state >> 20) % (sizeof bytes - 1)];
    }
    fault_frame frame;
    diag_list diags = {0};
    graph *g = NULL;
    if (fault_try(&frame)) g = parse(&scratch, text, &diags);
    fault_pop(&frame);
    cr_assert_eq(frame.kind, FAULT_NONE, "%s\n%.*s", frame.text, STR_FMT(text));
    cr_assert_eq(!g, diags.errors > 0, "%.*s", STR_FMT(text));
    str report = {0};
    if (g) cr_assert(graph_verify(g, &scratch, &report), "%.*s", STR_FMT(report));
    read += g != NULL;
    arena_free(&scratch);
  }
  cr_expect_gt(read, 20, "%d", read);
  arena_free(&a);
}
