// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Index expressions: folding against plain evaluation of random trees, and the identities that
// views rely on.
#include <criterion/criterion.h>

#include "ir/ix.h"

enum { AXES = 4, SYMBOLS = 3 };

static const char *const symbol_names[SYMBOLS] = {"N", "H", "M"};
static const char *const axis_names[AXES] = {"h", "k", "n", "t"};

/// Sizes: h: H, k: 8, n: N, t: 6*M (M a multiple of 4).
typedef struct world {
  arena arena;
  ix_pool pool;
  uint64_t state;
  int64_t symbol[SYMBOLS], axis[AXES], size[AXES];
} world;

static uint64_t draw(world *w, uint64_t below) {
  w->state = w->state * 6364136223846793005u + 1442695040888963407u;
  return (w->state >> 33) % below;
}

static void world_init(world *w, uint64_t seed) {
  *w = (world){.state = seed};
  ix_pool *p = &w->pool;
  ix_init(p, &w->arena);
  ix_fact_of(p, STR("M"))->multiple_of = 4;
  ix_set_axis(p, 0, ix_sym(p, STR("H")));
  ix_set_axis(p, 1, ix_const(p, 8));
  ix_set_axis(p, 2, ix_sym(p, STR("N")));
  ix_set_axis(p, 3, ix_scale(p, ix_sym(p, STR("M")), 6));
}

/// Random sizes, and coordinates within them.
static void world_sample(world *w) {
  w->symbol[0] = 1 + (int64_t)draw(w, 9);
  w->symbol[1] = 1 + (int64_t)draw(w, 5);
  w->symbol[2] = 4 * (1 + (int64_t)draw(w, 4));
  int64_t size[AXES] = {w->symbol[1], 8, w->symbol[0], 6 * w->symbol[2]};
  for (int k = 0; k < AXES; k++) {
    w->size[k] = size[k];
    w->axis[k] = (int64_t)draw(w, (uint64_t)size[k]);
  }
}

static int64_t symbol_value(void *ctx, str name) {
  world *w = ctx;
  for (int k = 0; k < SYMBOLS; k++)
    if (str_eqz(name, symbol_names[k])) return w->symbol[k];
  cr_assert_fail("unknown symbol");
  return 0;
}

static int64_t axis_value(void *ctx, int axis) { return ((world *)ctx)->axis[axis]; }

static str axis_name(void *ctx, int axis) {
  (void)ctx;
  return str_from(axis_names[axis]);
}

static ix resolve(void *ctx, str name) {
  for (int k = 0; k < AXES; k++)
    if (str_eqz(name, axis_names[k])) return ix_axis(&((world *)ctx)->pool, k);
  return 0;
}

static char *text_of(world *w, ix e) {
  strbuf b = sb_new(&w->arena);
  ix_print(&w->pool, e, axis_name, NULL, &b);
  return b.data;
}

static ix parse(world *w, const char *text) {
  int at = 0;
  const char *error = NULL;
  ix e = ix_parse(&w->pool, str_from(text), &at, resolve, w, &error);
  cr_assert(e, "%s: %s", text, error);
  cr_assert_eq(at, (int)strlen(text), "%s: stopped at %d", text, at);
  return e;
}

// ---- random trees

typedef struct tree {
  char kind;  // c s a + - * / %
  int64_t value;
  struct tree *left, *right;
} tree;

static tree *random_tree(world *w, int depth, bool positive) {
  tree *t = arena_new(&w->arena, tree);
  if (positive) {  // divisors: constants, symbols and their multiples
    t->kind = "ccs"[draw(w, 3)];
    t->value = t->kind == 's' ? (int64_t)draw(w, SYMBOLS) : (int64_t[]){2, 4, 8, 3, 6}[draw(w, 5)];
    return t;
  }
  if (depth == 0 || draw(w, 6) == 0) {
    t->kind = "csaa"[draw(w, 4)];
    t->value = t->kind == 'c'   ? (int64_t)draw(w, 20) - 6
               : t->kind == 's' ? (int64_t)draw(w, SYMBOLS)
                                : (int64_t)draw(w, AXES);
    return t;
  }
  t->kind = "++-*//%%"[draw(w, 8)];
  t->left = random_tree(w, depth - 1, false);
  bool divides = t->kind == '/' || t->kind == '%';
  t->right = random_tree(w, depth - 1, divides || t->kind == '*');
  return t;
}

static ix build(ix_pool *p, const tree *t) {
  if (t->kind == 'c') return ix_const(p, t->value);
  if (t->kind == 's') return ix_sym(p, str_from(symbol_names[t->value]));
  if (t->kind == 'a') return ix_axis(p, (int)t->value);
  ix a = build(p, t->left), b = build(p, t->right);
  switch (t->kind) {
    case '+': return ix_add(p, a, b);
    case '-': return ix_sub(p, a, b);
    case '*': return ix_mul(p, a, b);
    case '/': return ix_div(p, a, b);
    default: return ix_mod(p, a, b);
  }
}

static int64_t plain(const world *w, const tree *t) {
  if (t->kind == 'c') return t->value;
  if (t->kind == 's') return w->symbol[t->value];
  if (t->kind == 'a') return w->axis[t->value];
  int64_t a = plain(w, t->left), b = plain(w, t->right);
  int64_t quotient = t->kind == '/' || t->kind == '%' ? a / b - (a % b != 0 && a < 0) : 0;
  switch (t->kind) {
    case '+': return a + b;
    case '-': return a - b;
    case '*': return a * b;
    case '/': return quotient;
    default: return a - quotient * b;
  }
}

Test(ir_ix, folding_keeps_the_value) {
  for (uint64_t seed = 1; seed <= 4000; seed++) {
    world w;
    world_init(&w, seed);
    tree *t = random_tree(&w, 4, false);
    ix e = build(&w.pool, t);
    ix_range range = ix_bounds(&w.pool, e);
    int64_t divisor = ix_divisor(&w.pool, e);
    for (int sample = 0; sample < 12; sample++) {
      world_sample(&w);
      int64_t want = plain(&w, t), got = ix_eval(&w.pool, e, symbol_value, axis_value, &w);
      cr_assert_eq(got, want, "seed %lu: %s is %ld, not %ld", seed, text_of(&w, e), got, want);
      cr_assert(want >= range.min && want <= range.max, "seed %lu: %s is %ld, outside [%ld, %ld]",
                seed, text_of(&w, e), want, range.min, range.max);
      cr_assert(divisor == 0 ? want == 0 : want % divisor == 0, "seed %lu: %ld does not divide %ld",
                seed, divisor, want);
    }
    arena_free(&w.arena);
  }
}

Test(ir_ix, text_reads_back) {
  for (uint64_t seed = 1; seed <= 3000; seed++) {
    world w, other;
    world_init(&w, seed);
    ix e = build(&w.pool, random_tree(&w, 4, false));
    const char *text = text_of(&w, e);
    cr_assert_eq(parse(&w, text), e, "seed %lu: %s", seed, text);
    world_init(&other, seed);  // another history of the pool, the same text
    const char *again = text_of(&other, parse(&other, text));
    cr_assert_str_eq(again, text, "seed %lu", seed);
    arena_free(&w.arena);
    arena_free(&other.arena);
  }
}

Test(ir_ix, comparison_is_sound) {
  int known = 0;
  for (uint64_t seed = 1; seed <= 3000; seed++) {
    world w;
    world_init(&w, seed);
    tree *s = random_tree(&w, 3, false), *t = random_tree(&w, 3, false);
    ix a = build(&w.pool, s), b = build(&w.pool, t);
    bool le = ix_known_le(&w.pool, a, b);
    known += le;
    for (int sample = 0; le && sample < 20; sample++) {
      world_sample(&w);
      cr_assert_leq(plain(&w, s), plain(&w, t), "seed %lu: %s <= %s", seed, text_of(&w, a),
                    text_of(&w, b));
    }
    arena_free(&w.arena);
  }
  cr_assert_gt(known, 200, "%d comparisons were decided", known);
}

Test(ir_ix, substitution_and_affine_parts) {
  for (uint64_t seed = 1; seed <= 2000; seed++) {
    world w;
    world_init(&w, seed);
    tree *t = random_tree(&w, 3, false);
    ix_pool *p = &w.pool;
    ix e = build(p, t), coef, rest;
    if (ix_affine(p, e, 2, &coef, &rest)) {
      ix again = ix_add(p, ix_mul(p, coef, ix_axis(p, 2)), rest);
      cr_assert(!ix_uses_axis(p, coef, 2) && !ix_uses_axis(p, rest, 2));
      cr_assert_eq(again, e, "seed %lu: %s", seed, text_of(&w, e));
    }
    ix by[AXES] = {[1] = ix_sub(p, ix_const(p, 7), ix_axis(p, 1))};
    ix flipped = ix_substitute(p, p, e, by, AXES);
    world_sample(&w);
    int64_t got = ix_eval(p, flipped, symbol_value, axis_value, &w);
    w.axis[1] = 7 - w.axis[1];
    cr_assert_eq(got, plain(&w, t), "seed %lu: %s", seed, text_of(&w, flipped));
    arena_free(&w.arena);
  }
}

// ---- identities

static void folds(const char *from, const char *to) {
  world w;
  world_init(&w, 1);
  cr_expect_str_eq(text_of(&w, parse(&w, from)), to, "%s", from);
  arena_free(&w.arena);
}

Test(ir_ix, split_and_merge_cancel) {
  folds("(h*8 + k) / 8", "h");
  folds("(h*8 + k) % 8", "k");
  folds("t/8*8 + t%8", "t");
  folds("t/48*48 + t/8%6*8 + t%8", "t");
  folds("(n*#H + h) / #H", "n");
  folds("(n*#H + h) % #H", "h");
  folds("(k*#N*#H + n*#H + h) / (#N*#H)", "k");
  folds("(k*#N*#H + n*#H + h) / #H % #N", "n");
  folds("(h*8 + k) / 4", "h*2 + k / 4");
  folds("(h*8 + k) % 16", "(h % 2)*8 + k");
  folds("(n*(#H + 3) + h) / (#H + 3)", "n");
  folds("(n*(#H + 3) + h) % (#H + 3)", "h");
  folds("t/4/6", "t / 24");
  folds("t % 24 / 4", "(t / 4) % 6");
  folds("t % 24 % 4", "t % 4");
  folds("(t + 24) % 8", "t % 8");
  folds("#M/4*8", "#M*2");
  folds("(#M + 3) / 4", "#M / 4");
  folds("(#M*3 + 2) % 4", "2");
  folds("(#N - 1 - n) / #N", "0");
}

Test(ir_ix, text_is_canonical) {
  folds("2 + 4 * #N", "#N*4 + 2");
  folds("k + h*8", "h*8 + k");
  folds("0 - n + #N - 1", "#N - n - 1");
  folds("3 - n", "3 - n");
  folds("-2*n", "-n*2");
  folds("n / #N", "0");
  folds("(h + n)*(h - n)", "h*h - n*n");
  folds("n - n", "0");
}

Test(ir_ix, known_comparisons) {
  world w;
  world_init(&w, 1);
  const char *const le[][2] = {{"n", "#N - 1"}, {"n*#H + h", "#N*#H - 1"}, {"0", "#N - 1 - n"},
                               {"t / 4", "#M*6 / 4 - 1"}, {"#N/8*8", "#N"}, {"t%5", "4"},
                               {"n", "n + #H"}, {"n + 1", "#N*2"},
                               {"#N / 2", "#N"}, {"#N/4*3", "#N"}, {"0", "#N - #N/2"},
                               {"#N/2 + #N/3", "#N"}, {"#N / #H", "#N"}, {"#N % #H", "#N"},
                               {"#N/2*#H", "#N*#H"}, {"(#N + #H) / 2", "#N + #H"},
                               {"(#N + 1) / 2", "#N"}, {"#N / 4", "#N / 2"},
                               {"(#N + 7)/8 * 8", "#N + 7"}, {"#N / 6", "#N/3 + #N/7"},
                               {"#N", "#N/4*4 + 3"}, {"t%4*2 + 1", "7"},
                               {"t / (#M / 4)", "23"}, {"(7 - t)/32*32", "7 - t"},
                               {"#N*#H/2*3", "(#N*#H + 2)/3*5 + #N*#H"}};
  for (size_t k = 0; k < sizeof le / sizeof *le; k++)
    cr_expect(ix_known_le(&w.pool, parse(&w, le[k][0]), parse(&w, le[k][1])), "%s <= %s", le[k][0],
              le[k][1]);
  // Where a coordinate exists, its axis has an element: v < Y/2 - 1 says that Y is 4 at least.
  ix_set_axis(&w.pool, AXES, parse(&w, "#N/2 - 1"));
  ix v = ix_axis(&w.pool, AXES), last = parse(&w, "#N - 3"), one = ix_const(&w.pool, 1);
  cr_expect(ix_known_le(&w.pool, ix_add(&w.pool, v, one), last));
  cr_expect(ix_known_le(&w.pool, ix_add(&w.pool, ix_scale(&w.pool, v, 2), one), last));
  cr_expect_not(ix_known_le(&w.pool, ix_add(&w.pool, v, ix_const(&w.pool, 2)), last));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "n"), parse(&w, "#N - 2")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "#N/2 + #N/3*2"), parse(&w, "#N")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "(#N + 1) / 2 * 2"), parse(&w, "#N")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "(#N + 2) / 2"), parse(&w, "#N")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "(7 - t)/32*32"), parse(&w, "6 - t")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "(7 - t)/32"), parse(&w, "7 - t")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "#N / 2"), parse(&w, "#N / 3 + 1")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "#N"), parse(&w, "#N/4*4 + 2")));
  cr_expect_not(ix_known_le(&w.pool, parse(&w, "1"), parse(&w, "#N")));
  ix_fact_of(&w.pool, STR("N"))->min = 1;
  cr_expect(ix_known_le(&w.pool, parse(&w, "1"), parse(&w, "#N")));
  arena_free(&w.arena);
}

// Sizes of twelve positive symbols have 2^12 terms in what a proof shifts them by.
Test(ir_ix, a_proof_that_grows_out_of_bounds_is_none) {
  world w;
  world_init(&w, 1);
  ix inner = parse(&w, "#B*#C*#D*#E*#F*#G*#H*#I*#J*#K*#L");
  ix_set_axis(&w.pool, AXES, ix_mul(&w.pool, inner, ix_sym(&w.pool, STR("A"))));
  ix v = ix_axis(&w.pool, AXES);
  ix quotient = ix_div(&w.pool, v, inner), rest = ix_mod(&w.pool, v, inner);
  cr_expect_not(w.pool.overflow);
  cr_expect_eq(ix_add(&w.pool, ix_mul(&w.pool, quotient, inner), rest), v);
  cr_expect_not(ix_known_le(&w.pool, inner, ix_sub(&w.pool, v, ix_const(&w.pool, 1))));
  cr_expect_not(w.pool.overflow);
  arena_free(&w.arena);
}

// What was computed out of bounds says so each time.
Test(ir_ix, overflow_is_not_forgotten) {
  world w;
  world_init(&w, 1);
  ix large = ix_const(&w.pool, INT64_MAX);
  for (int k = 0; k < 2; k++) {
    w.pool.overflow = false;
    ix_mul(&w.pool, large, large);
    cr_expect(w.pool.overflow, "time %d", k);
  }
  arena_free(&w.arena);
}

Test(ir_ix, wrong_texts) {
  const char *const texts[] = {"", "+", "n +", "(n", "q", "9999999999999999999", "n / 0", "n % -1",
                               "#", "#1", "4611686018427387904*4", "n ** 2"};
  for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) {
    world w;
    world_init(&w, 1);
    int at = 0;
    const char *error = NULL;
    cr_expect_eq(ix_parse(&w.pool, str_from(texts[k]), &at, resolve, &w, &error), 0, "%s", texts[k]);
    cr_expect(error, "%s", texts[k]);
    cr_expect_not(w.pool.overflow);
    arena_free(&w.arena);
  }
}

Test(ir_ix, overflow_is_remembered) {
  world w;
  world_init(&w, 1);
  ix big = ix_const(&w.pool, INT64_MAX);
  ix_mul(&w.pool, big, ix_sym(&w.pool, STR("N")));
  cr_expect_not(w.pool.overflow);
  ix_add(&w.pool, big, big);
  cr_expect(w.pool.overflow);
  w.symbol[0] = 2;
  cr_expect_eq(ix_eval(&w.pool, ix_mul(&w.pool, big, ix_sym(&w.pool, STR("N"))), symbol_value, NULL,
                       &w),
               INT64_MAX);
  arena_free(&w.arena);
}

Test(ir_ix, deep_nesting_is_refused) {
  world w;
  world_init(&w, 1);
  char text[1000];
  memset(text, '(', sizeof text);
  int at = 0;
  const char *error = NULL;
  cr_expect_eq(ix_parse(&w.pool, (str){text, sizeof text}, &at, resolve, &w, &error), 0);
  cr_expect_str_eq(error, "too many parentheses");
  arena_free(&w.arena);
}
