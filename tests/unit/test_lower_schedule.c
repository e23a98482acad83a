// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the lowering chooses where it matters for speed: grid tiles for the cores there are, and
// what is fetched ahead.
#include <criterion/criterion.h>
#include <string.h>

#include "base/fault.h"
#include "lower_targets.h"
#include "passes/passes.h"

/// The tile IR of the graph; lives in the arena.
static program *lowered_for(arena *a, const char *text, const target_info *target) {
  pass_options options = {.target = target};
  arena scratch = {0};
  diag_list diags = {.arena = a};
  module m;
  uint32_t file = diag_add_file(&diags, str_from("test.ir"), str_from(text));
  cr_assert(module_parse(a, &diags, file, &m), "%s does not parse", text);
  pass_ctx ctx = {.graph = m.graphs.data[0], .scratch = &scratch, .options = &options, .diags = &diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  program *p = lower_to_tiles(a, ctx.graph, &options);
  str report = {0};
  cr_assert(program_verify(p, a, &report), "%.*s", STR_FMT(report));
  arena_free(&scratch);
  return p;
}

/// The same for that many cores.
static program *lowered(arena *a, const char *text, int cores) {
  target_info target = cpu_target(cores);
  return lowered_for(a, text, &target);
}

static int64_t tiles(const program *p) {
  const kernel *k = p->kernels.data[0];
  int64_t n = 1;
  for (int i = 0; i < k->grid.len; i++) {
    int64_t size;
    cr_assert(ix_is_const(&k->ix, k->axes.data[k->grid.data[i].axis].size, &size));
    n *= (size + k->grid.data[i].extent - 1) / k->grid.data[i].extent;
  }
  return n;
}

/// What a statement is looked for by; fields that are 0 are not asked.
typedef struct wanted {
  tile_op kind;
  dot_unit unit;   // DOT
  int buf, level;  // PREFETCH
  bool write, vec, stage;
} wanted;

static bool is_wanted(const tstmt *s, const wanted *w) {
  if (s->kind != w->kind || (w->write && !s->write)) return false;
  if (w->kind == TILE_DOT) return s->unit == w->unit;
  if (w->kind == TILE_PREFETCH) return s->buf == w->buf && s->level == w->level;
  return s->vec == w->vec && s->stage == w->stage;
}

static int count_in(const tregion *r, const wanted *w) {
  int n = 0;
  for (int i = 0; r && i < r->stmts.len; i++) {
    const tstmt *s = r->stmts.data[i];
    n += is_wanted(s, w) + count_in(s->body, w) + count_in(s->other, w);
  }
  return n;
}

/// How many statements of the program's first kernel are as wanted.
static int count(const program *p, wanted w) { return count_in(&p->kernels.data[0]->body, &w); }

static bool has_axis(const program *p, const char *name) {
  const kernel *k = p->kernels.data[0];
  for (int i = 0; i < k->axes.len; i++)
    if (str_eqz(k->axes.data[i].name, name)) return true;
  return false;
}

static bool has_pairs_panel(const program *p) {
  const kernel *k = p->kernels.data[0];
  for (int i = 0; i < k->bufs.len; i++)
    if (k->bufs.data[i].local && k->bufs.data[i].pairs) return true;
  return false;
}

static const char *square(arena *a, int n) {
  strbuf out = sb_new(a);
  sb_printf(&out,
            "graph @f(%%x: f32[M, K], %%w: f32[K, N]) {\n  axis M = %d\n  axis K = %d\n"
            "  axis N = %d\n  %%2 = dot %%x, %%w over K : f32[M, N]\n  return %%2\n}\n", n, n, n);
  return sb_str(&out).ptr;
}

Test(lower_schedule, tiny_products_stay_on_one_core) {
  arena a = {0};
  for (int n = 16; n <= 48; n += 16)
    cr_assert_eq(tiles(lowered(&a, square(&a, n), 2)), 1, "%d", n);
  cr_assert_gt(tiles(lowered(&a, square(&a, 128), 2)), 1);
  arena_free(&a);
}

Test(lower_schedule, a_late_core_does_not_double_the_time) {
  arena a = {0};
  for (int n = 256; n <= 1024; n += 128) {
    cr_assert_geq(tiles(lowered(&a, square(&a, n), 2)), 4, "%d", n);
    cr_assert_geq(tiles(lowered(&a, square(&a, n), 8)), 16, "%d", n);
  }
  arena_free(&a);
}

Test(lower_schedule, heads_of_a_short_attention_share_a_tile) {
  arena a = {0};
  program *p = lowered(&a,
                       "graph @f(%q: f32[S, H, K], %k: f32[T, H, K]) {\n  axis S = 11\n"
                       "  axis H = 12\n  axis K = 32\n  axis T = 11\n"
                       "  %2 = dot %q, %k over K : f32[S, H, T]\n  return %2\n}\n", 2);
  cr_assert_eq(tiles(p), 1);
  p = lowered(&a,
              "graph @f(%q: f32[S, H, K], %k: f32[T, H, K]) {\n  axis S = 512\n  axis H = 12\n"
              "  axis K = 64\n  axis T = 512\n  %2 = dot %q, %k over K : f32[S, H, T]\n"
              "  return %2\n}\n", 2);
  cr_assert_geq(tiles(p), 12);
  arena_free(&a);
}

static str lanes_of(const program *p) {
  const kernel *k = p->kernels.data[0];
  return k->axes.data[k->vec_axis].name;
}

// The gradient of a convolution's weights: a window has three columns, which lie side by side in
// the operand and in the result, but the sum over all places is long. The images are packed then,
// in either order: there are fewer of them than windows.
Test(lower_schedule, lanes_of_long_sums_are_not_idle) {
  arena a = {0};
  for (int swap = 0; swap < 2; swap++) {
    const char *operands = swap ? "%2, %g" : "%g, %2";
    str text = str_printf(&a, "graph @f(%%x: f32[N, C, Y, X], %%g: f32[N, O, P, Q]) {\n"
                              "  axis N = 8\n  axis C = 64\n  axis Y = 30\n  axis X = 30\n"
                              "  axis O = 64\n  axis P = 28\n  axis Q = 28\n  axis R = 3\n  axis S = 3\n"
                              "  %%2 = view %%x[N, C, P + R, Q + S] : f32[N, C, P, R, Q, S]\n"
                              "  %%3 = dot %s over N, P, Q : f32[O, C, R, S]\n  return %%3\n}\n", operands);
    str lanes = lanes_of(lowered(&a, str_z(&a, text), 1));
    cr_expect(str_eqz(lanes, "O"), "%.*s", STR_FMT(lanes));
  }
  // A short sum is stored where it lies.
  str lanes = lanes_of(lowered(&a, "graph @f(%x: f32[N, K], %y: f32[M, K]) {\n  axis N = 64\n"
                                   "  axis M = 8\n  axis K = 4\n  %2 = dot %x, %y over K : f32[N, M]\n"
                                   "  return %2\n}\n", 1));
  cr_expect(str_eqz(lanes, "M"), "%.*s", STR_FMT(lanes));
  arena_free(&a);
}

static int lanes(const program *p) { return p->kernels.data[0]->vec_lanes; }

// A convolution of small images: vectors no wider than their rows. Others keep theirs.
Test(lower_schedule, short_rows_have_narrow_vectors) {
  arena a = {0};
  static const int cases[][2] = {{8, 8}, {7, 8}, {5, 8}, {9, 16}, {28, 16}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    str text =
        str_printf(&a,
                   "graph @f(%%x: f32[N, C, Y, X], %%w: f32[O, C, R, S]) {\n"
                   "  axis N = 8\n  axis C = 16\n  axis Y = 30\n  axis X = %d\n  axis O = 32\n"
                   "  axis P = 28\n  axis Q = %d\n  axis R = 3\n  axis S = 3\n"
                   "  %%2 = view %%x[N, C, P + R, Q + S] : f32[N, C, P, R, Q, S]\n"
                   "  %%3 = dot %%2, %%w over C, R, S : f32[N, O, P, Q]\n  return %%3\n}\n",
                   cases[i][0] + 2, cases[i][0]);
    program *p = lowered(&a, str_z(&a, text), 1);
    cr_expect(str_eqz(lanes_of(p), "Q"), "%d: %.*s", cases[i][0], STR_FMT(lanes_of(p)));
    cr_expect_eq(lanes(p), cases[i][1], "%d: %d", cases[i][0], lanes(p));
  }
  arena_free(&a);
}

// Axes that are short, but one run together, have lanes along the run: the gradient of weights that
// a linear layer has for channels, rows and columns of an image.
Test(lower_schedule, short_axes_of_a_run_have_its_lanes) {
  arena a = {0};
  program *p =
      lowered(&a,
              "graph @f(%g: f32[B, H], %x: f32[B, C, V, U]) {\n  axis B = 64\n  axis H = 64\n"
              "  axis C = 32\n  axis V = 4\n  axis U = 4\n"
              "  %2 = dot %g, %x over B : f32[H, C, V, U]\n  return %2\n}\n",
              1);
  cr_expect(str_eqz(lanes_of(p), "C_V_U"), "%.*s", STR_FMT(lanes_of(p)));
  arena_free(&a);
}

// The gradient of a maximum over windows of 2 x 2: lanes along the image, whose windows lie near each
// other, and not along the batch, whose images lie far apart. Of a sum over the windows: along the
// rows of windows, since two lanes at a time would be combined along each.
Test(lower_schedule, lanes_run_along_windows) {
  arena a = {0};
  program *p =
      lowered(&a,
              "graph @f(%g: f32[B, C, V, U], %h: bool[B, C, V, R, U, S]) {\n  axis B = 64\n"
              "  axis C = 32\n  axis V = 4\n  axis R = 2\n  axis U = 4\n  axis S = 2\n"
              "  axis P = 8\n  axis Q = 8\n"
              "  %2 = view %g[B, C, P / 2, Q / 2] : f32[B, C, P, Q]\n"
              "  %3 = view %h[B, C, P / 2, P % 2, Q / 2, Q % 2] : bool[B, C, P, Q]\n"
              "  %4 = const 0.0 : f32\n  %5 = where %3, %2, %4 : f32[B, C, P, Q]\n  return %5\n}\n",
              1);
  cr_expect(!str_eqz(lanes_of(p), "B"), "%.*s", STR_FMT(lanes_of(p)));
  p = lowered(
      &a,
      "graph @f(%x: f32[B, C, P, Q]) {\n  axis B = 64\n  axis C = 32\n  axis P = 8\n  axis Q = 8\n"
      "  axis V = 4\n  axis R = 2\n  axis U = 4\n  axis S = 2\n"
      "  %1 = view %x[B, C, V*2 + R, U*2 + S] : f32[B, C, V, R, U, S]\n"
      "  %2 = sum %1 over R, S : f32[B, C, V, U]\n  return %2\n}\n",
      1);
  cr_expect(!str_eqz(lanes_of(p), "S") && !str_eqz(lanes_of(p), "R"), "%.*s", STR_FMT(lanes_of(p)));
  // Long rows keep their lanes.
  p = lowered(&a,
              "graph @f(%x: f32[N, D]) {\n  axis N = 64\n  axis D = 512\n"
              "  %1 = sum %x over D : f32[N]\n  return %1\n}\n",
              1);
  cr_expect(str_eqz(lanes_of(p), "D"), "%.*s", STR_FMT(lanes_of(p)));
  arena_free(&a);
}

Test(lower_schedule, weights_of_few_rows_are_fetched_ahead) {
  arena a = {0};
  program *p = lowered(&a,
                       "graph @f(%x: f32[S, D], %w: f32[A, D]) {\n  axis S = 11\n  axis D = 384\n"
                       "  axis A = 384\n  %2 = dot %x, %w over D : f32[S, A]\n  return %2\n}\n", 2);
  cr_assert(count(p, (wanted){TILE_PREFETCH, .buf = 1, .level = 2}));
  cr_assert_geq(tiles(p), 4);
  arena_free(&a);
}

Test(lower_schedule, weights_read_once_are_fetched_ahead) {
  arena a = {0};
  program *p = lowered(&a,
                       "graph @f(%x: f32[M, K], %w: f32[K, N]) {\n  axis M = 16\n  axis K = 4096\n"
                       "  axis N = 4096\n  %2 = dot %x, %w over K : f32[M, N]\n  return %2\n}\n", 2);
  cr_assert(count(p, (wanted){TILE_PREFETCH, .buf = 1, .level = 2}));
  cr_assert_leq(tiles(p), 4, "long stretches of the rows");
  cr_assert_geq(tiles(p), 2);
  arena_free(&a);
}

/// A product of the type on a CPU that sums bf16 pairs `speed` times as fast as it does fmas.
static bool sums_pairs(const char *type, int k, double speed) {
  arena a = {0};
  strbuf out = sb_new(&a);
  sb_printf(&out,
            "graph @f(%%x: %s[M, K], %%w: %s[K, N]) {\n  axis M = 100\n  axis K = %d\n"
            "  axis N = 200\n  %%2 = dot %%x, %%w over K : f32[M, N]\n  return %%2\n}\n",
            type, type, k);
  target_info target = cpu_pairs_target(2, speed);
  program *p = lowered_for(&a, sb_str(&out).ptr, &target);
  bool panel = has_pairs_panel(p), dot = count(p, (wanted){TILE_DOT, .unit = DOT_PAIRS}) > 0;
  cr_expect_eq(panel, dot);
  arena_free(&a);
  return dot;
}

Test(lower_schedule, pairs_where_they_are_faster) {
  cr_expect(sums_pairs("bf16", 256, 2));
  cr_expect(sums_pairs("bf16", 77, 2));
  cr_expect(!sums_pairs("bf16", 256, 0), "no such instruction");
  cr_expect(!sums_pairs("bf16", 256, 0.5), "a slow one");
  cr_expect(!sums_pairs("bf16", 1, 2), "half of every pair is nothing");
  cr_expect(!sums_pairs("f16", 256, 2));
  cr_expect(!sums_pairs("f32", 256, 2));
}

/// Few rows, both operands contiguous along K, which has k elements.
static bool sums_pairs_in_lanes(int m, int k, double speed) {
  arena a = {0};
  strbuf out = sb_new(&a);
  sb_printf(&out,
            "graph @f(%%x: bf16[M, K], %%w: bf16[N, K]) {\n  axis M = %d\n  axis K = %d\n"
            "  axis N = 200\n  %%2 = dot %%x, %%w over K : f32[M, N]\n  return %%2\n}\n",
            m, k);
  target_info target = cpu_pairs_target(2, speed);
  const program *p = lowered_for(&a, sb_str(&out).ptr, &target);
  // Pairs along K lie in the lanes, so that their elements are an axis of the kernel.
  bool found = has_axis(p, "pair") && count(p, (wanted){TILE_DOT, .unit = DOT_PAIRS});
  arena_free(&a);
  return found;
}

Test(lower_schedule, few_rows_sum_pairs_in_lanes) {
  cr_expect(sums_pairs_in_lanes(8, 768, 2));
  cr_expect(sums_pairs_in_lanes(2, 32, 2));
  cr_expect(!sums_pairs_in_lanes(8, 768, 0.5));
  cr_expect(!sums_pairs_in_lanes(64, 768, 2), "many rows repay a panel");
  cr_expect(!sums_pairs_in_lanes(8, 96, 2), "combining lanes is most of the work");
  cr_expect(!sums_pairs_in_lanes(2, 769, 2), "the last vector is not whole");
}

Test(lower_schedule, rows_across_memory_are_packed_by_squares) {
  arena a = {0};
  const char *text =
      "graph @f(%x: bf16[K, M], %w: bf16[K, N]) {\n  axis K = 300\n  axis M = 100\n"
      "  axis N = 200\n  %2 = dot %x, %w over K : f32[M, N]\n  return %2\n}\n";
  program *p = lowered(&a, text, 2);
  cr_expect(count(p, (wanted){TILE_LOOP, .vec = true, .stage = true}));
  arena_free(&a);
}

static program *transposed(arena *a, int rows, int columns) {
  strbuf out = sb_new(a);
  sb_printf(&out,
            "graph @f(%%x: f32[N, M], %%y: f32[M, N]) {\n  axis N = %d\n  axis M = %d\n"
            "  %%2 = tanh %%y : f32[M, N]\n  %%3 = add %%x, %%2 : f32[N, M]\n  return %%3\n}\n",
            rows, columns);
  return lowered(a, sb_str(&out).ptr, 1);
}

Test(lower_schedule, squares_fetch_the_lines_they_will_write) {
  const wanted fetch = {TILE_PREFETCH, .buf = 2, .level = 1, .write = true};
  arena a = {0};
  cr_assert(count(transposed(&a, 1000, 1000), fetch));
  cr_assert(count(transposed(&a, 4001, 4099), fetch));
  cr_assert_not(count(transposed(&a, 100, 100), fetch), "all in cache");
  cr_assert_not(count(transposed(&a, 2000, 2000), fetch), "stored past the caches");
  arena_free(&a);
}

// ---- what could be chosen otherwise

// Kernel 0 is a product, kernel 1 sums its rows.
static const char product_and_sums[] =
    "graph @f(%x: bf16[N, K], %w: bf16[K, M]) {\n"
    "  axis N = 4096\n  axis K = 4096\n  axis M = 4096\n"
    "  %2 = dot %x, %w over K : f32[N, M]\n  %3 = sum %2 over M : f32[N]\n"
    "  return %2, %3\n}\n";

typedef struct choosing {
  arena arena, scratch;
  diag_list diags;
  module m;
  schedule_choices choices;
} choosing;

static program *choose(choosing *c, const char *text, const char *schedule) {
  pass_options options = {.target = &gpu_target, .schedule = str_from(schedule)};
  c->diags.arena = &c->arena;
  uint32_t file = diag_add_file(&c->diags, STR("test.ir"), str_from(text));
  cr_assert(module_parse(&c->arena, &c->diags, file, &c->m), "%s does not parse", text);
  pass_ctx ctx = {c->m.graphs.data[0], &c->scratch, &options, &c->diags};
  passes_run(&ctx, NULL, 0, NULL, NULL);
  options.choices = &c->choices;
  return lower_to_tiles(&c->arena, ctx.graph, &options);
}

static const schedule_alternative *offered(const choosing *c, int kernel, const char *items) {
  for (int i = 0; i < c->choices.alternatives.len; i++) {
    const schedule_alternative *one = &c->choices.alternatives.data[i];
    if (one->kernel == kernel && str_eqz(one->items, items)) return one;
  }
  return NULL;
}

Test(lower_schedule, a_product_offers_tiles_that_the_model_finds_near) {
  choosing c = {0};
  choose(&c, product_and_sums, "");
  cr_expect(offered(&c, 0, "m=128,n=192"));
  cr_expect_not(offered(&c, 0, "m=64,n=8"), "the model knows it to be slow");
  cr_expect(offered(&c, 0, "stages=6") && offered(&c, 0, "unit=1"));
  cr_expect(offered(&c, 1, "threads=256") || offered(&c, 1, "threads=512"));
  arena_free(&c.arena);
  arena_free(&c.scratch);
}

Test(lower_schedule, keys_with_a_number_are_for_one_kernel) {
  static const char *const schedules[] = {"", "1.threads=64", "threads=64", "0.threads=64",
                                          "1.threads=64,threads=512"};
  choosing c[5] = {0};
  str texts[5];
  for (int i = 0; i < 5; i++) {
    strbuf out = sb_new(&c[0].arena);
    program_print(choose(&c[i], product_and_sums, schedules[i]), &out);
    texts[i] = sb_str(&out);
  }
  cr_expect_not(str_eq(texts[0], texts[1]));
  cr_expect(str_eq(texts[1], texts[2]));
  cr_expect(str_eq(texts[0], texts[3]), "a product has no use for it");
  cr_expect(str_eq(texts[1], texts[4]), "the first counts");
  str error;
  cr_expect(schedule_check(STR("0.m=64,17.rows=2"), &error));
  cr_expect_not(schedule_check(STR("0.rowz=2"), &error));
  cr_expect_not(schedule_check(STR("m.rows=2"), &error));
  for (int i = 5; i-- > 0;) arena_free(&c[i].arena), arena_free(&c[i].scratch);
}

Test(lower_schedule, an_alternative_is_for_all_equal_kernels) {
  arena a = {0};
  schedule_choices c = {0};
  int kernels[] = {0, 1, 4}, same_as[] = {0, 1, 0};
  for (int i = 0; i < 3; i++) {
    vec_push(&a, &c.kernels, kernels[i]);
    vec_push(&a, &c.same_as, same_as[i]);
  }
  str s = schedule_with(&a, STR("0.m=64,1.rows=2,4.m=64"), &c,
                        &(schedule_alternative){0, STR("m=128,n=8")});
  cr_expect_str_eq(str_z(&a, s), "1.rows=2,0.m=128,0.n=8,4.m=128,4.n=8");
  s = schedule_with(&a, STR(""), &c, &(schedule_alternative){1, STR("rows=4")});
  cr_expect_str_eq(str_z(&a, s), "1.rows=4");
  arena_free(&a);
}
