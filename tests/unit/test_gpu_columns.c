// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Kernels of rows that also keep sums of columns: where they are one kernel and where not, and that the numbers are
// right at sizes of all kinds.
#include <criterion/criterion.h>
#include <stdio.h>

#include "codegen/codegen.h"
#include "gpu_fixture.h"
#include "nvptx_fixture.h"
#include "passes/explain/explain.h"
#include "random_graph.h"

/// A GPU of so few multiprocessors that a few rows are enough.
static const target_info *small_gpu(void) {
  static target_info t;
  if (!t.sm) t = gpu_target, t.cores = 6;
  return &t;
}

/// Kernels that walk the rows of a chunk and keep sums; those of chunks that finish together walk what they reduce.
static int count_walks(const lowered *l) { return lowered_count(l, " from C*") - lowered_count(l, "if finished"); }

/// Those, and all kernels.
static void expect_columns_for(const char *source, const target_info *t, int columns, int kernels) {
  lowered l;
  lowered_make_for(&l, source, t);
  int walks = count_walks(&l), calls = lowered_count(&l, "  call @");
  cr_expect(walks == columns && calls == kernels, "%d walks, %d kernels: %s\n%s", walks, calls, source, l.text.ptr);
  lowered_free(&l);
}

static void expect_columns(const char *source, int columns, int kernels) {
  expect_columns_for(source, &gpu_target, columns, kernels);
}

#define LAYERNORM(type, n, d)                                                                       \
  "fn f(x: " type "[N = " n ", D = " d "], gain: " type "[D], bias: " type "[D], dy: " type "[N, D])" \
  " -> (" type "[N, D], f32[D], f32[D]) {\n"                                                        \
  " let y = " type "(layernorm(x, gain, bias, 1e-5, D))\n"                                          \
  " let (dx, dg, db) = grad(y, x, gain, bias, seed = f32(dy))\n"                                    \
  " return (" type "(dx), dg, db)\n}"
#define RMSNORM(rows, d)                                                                     \
  "fn f(x: f32[" rows ", D = " d "], gain: f32[D], dy: f32[N, D]) -> (f32[N, D], f32[D]) {" \
  " let (dx, dg) = grad(rmsnorm(x, gain, 1e-5, D), x, gain, seed = dy)\n return (dx, dg) }"
#define BIAS(n, d)                                                                 \
  "fn f(x: f32[N = " n ", D = " d "], h: f32[N, D]) -> (f32[N, D], f32[D]) {"       \
  " let g = where(h > 0, x, 0)\n return (g, sum(g, N)) }"
#define SOFTMAX(n, d)                                                                       \
  "fn f(x: f32[N = " n ", D = " d "], bias: f32[D], dy: f32[N, D]) -> (f32[N, D], f32[D]) {" \
  " let (dx, db) = grad(softmax(x + bias, D), x, bias, seed = dy)\n return (dx, db) }"

Test(gpu_columns, it_fires) {
  expect_columns(LAYERNORM("bf16", "16384", "4096"), 1, 2);  // and the last sums
  expect_columns(LAYERNORM("f32", "16384", "4096"), 1, 2);
  expect_columns(LAYERNORM("bf16", "10001", "777"), 1, 2);
  expect_columns(LAYERNORM("bf16", "30000", "64"), 1, 2);
  expect_columns(RMSNORM("N = 8192", "8192"), 1, 2);
  expect_columns(SOFTMAX("20000", "512"), 1, 2);
  expect_columns(BIAS("20000", "2048"), 1, 2);
  // extremes; several of one value; results of rows beside them
  expect_columns(
      "fn f(x: f32[N = 20000, D = 512]) -> (f32[N], f32[D], f32[D], f32[D]) {"
      " let m = max(x, D)\n return (m, max(x, N), sum(exp(x - m), N), min(x - m, N)) }",
      1, 2);
  // rows of several axes, which need not be neighbours in memory; other types; operands from a table
  expect_columns(
      "fn f(x: f32[B = 3, H = 4, S = 8000, D = 16], w: f32[H, D]) -> (f32[B, S], f32[H, D]) {"
      " let m = sum(x * x * w, H, D)\n return (m, sum(x * m, B, S)) }",
      1, 2);
  expect_columns(
      "fn f(x: i32[N = 20000, D = 130]) -> (i32[N], i32[D], bool[D]) {"
      " let m = max(x, D)\n return (m, sum(x - m, N), all(x > 3, N)) }",
      1, 2);
  expect_columns(
      "fn f(x: f64[N = 20000, D = 64], t: i32[N], table: f64[V = 10, D]) -> (f64[N], f64[D]) {"
      " let y = x * table[V = t % 5 + 2]\n let m = sum(y, D)\n return (m, sum(y * m, N)) }",
      1, 2);
  // the sums alone are wanted
  expect_columns(
      "fn f(x: bf16[N = 20000, D = 1024], dy: f32[N, D]) -> f32[D] {"
      " let m = sum(f32(x) * f32(x), D)\n return sum(dy * x * rsqrt(m), N) }",
      1, 2);
}

Test(gpu_columns, rows_of_several_axes) {
  expect_columns(
      "fn f(x: bf16[B = 3, S = 5000, D = 1024], gain: bf16[D], dy: bf16[B, S, D]) -> (bf16[B, S, D], f32[D]) {"
      " let (dx, dg) = grad(rmsnorm(x, gain, 1e-5, D), x, gain, seed = f32(dy))\n return (bf16(dx), dg) }",
      1, 2);
}

Test(gpu_columns, it_does_not_fire) {
  expect_columns(LAYERNORM("bf16", "500", "4096"), 0, 2);      // blocks would have a few rows each
  expect_columns(LAYERNORM("bf16", "16384", "40000"), 0, 2);   // no block holds such rows and their sums
  expect_columns(BIAS("20000", "64"), 0, 1);                   // the last block finishes so few columns
  expect_columns(BIAS("20000", "16384"), 0, 1);                // blocks of columns are enough
  // of rows that nobody counts
  expect_columns(
      "fn f(x: f32[N, D = 1024], g: f32[D], dy: f32[N, D]) -> (f32[N, D], f32[D]) {"
      " let (dx, dg) = grad(rmsnorm(x, g, 1e-5, D), x, g, seed = dy)\n return (dx, dg) }",
      0, 2);
  // an operand that does not lie along the rows
  expect_columns(
      "fn f(x: f32[D = 1024, N = 20000], y: f32[N, D]) -> (f32[N], f32[D]) {"
      " let m = sum(x * y, D)\n return (m, sum(y * m, N)) }",
      0, 3);
  // on a CPU
  lowered l;
  target_info cpu = cpu_target(4);
  lowered_make_for(&l, RMSNORM("N = 20000", "512"), &cpu);
  cr_expect_eq(count_walks(&l), 0, "%s", l.text.ptr);
  lowered_free(&l);
}

/// x, dy [rows.., columns] and a weight: in the order of `shapes`, r for [N, D], b for [B, S, D], d for [B, H, S, D], c for [D].
static void compare_for(const char *source, const target_info *t, const char *shapes, const int64_t *sizes,
                        dtype type, double tolerance) {
  lowered l;
  lowered_make_for(&l, source, t);
  cr_expect_eq(count_walks(&l), 1, "%s\n%s", source, l.text.ptr);
  interp_tensor in[6];
  int64_t rank = shapes[0] == 'd' ? 4 : shapes[0] == 'b' ? 3 : 2;
  for (int i = 0; shapes[i]; i++)
    in[i] = lowered_values(&l.test.arena, type, shapes[i] == 'c' ? 1 : (int)rank,
                           shapes[i] == 'c' ? &sizes[rank - 1] : sizes);
  lowered_compare(&l, in, tolerance);
  lowered_free(&l);
}

static void compare(const char *source, const char *shapes, const int64_t *sizes, dtype type, double tolerance) {
  compare_for(source, small_gpu(), shapes, sizes, type, tolerance);
}

#define SIZES(...) ((const int64_t[]){__VA_ARGS__})

Test(gpu_columns, results_are_right) {
  compare(LAYERNORM("f32", "192", "64"), "rccr", SIZES(192, 64), DT_f32, 2e-5);
  compare(LAYERNORM("f32", "193", "65"), "rccr", SIZES(193, 65), DT_f32, 2e-5);
  compare(LAYERNORM("bf16", "101", "1030"), "rccr", SIZES(101, 1030), DT_bf16, 2e-2);
  compare(LAYERNORM("bf16", "97", "4096"), "rccr", SIZES(97, 4096), DT_bf16, 2e-2);
  compare(LAYERNORM("bf16", "99", "4097"), "rccr", SIZES(99, 4097), DT_bf16, 2e-2);
  compare(SOFTMAX("1111", "33"), "rcr", SIZES(1111, 33), DT_f32, 2e-5);
  compare_for(BIAS("2501", "2047"), &gpu_target, "rr", SIZES(2501, 2047), DT_f32, 2e-5);
  compare(
      "fn f(x: f32[N = 300, D = 130]) -> (f32[N], f32[D], f32[D], f32[D]) {"
      " let m = max(x, D)\n return (m, max(x, N), sum(exp(x - m), N), min(x - m, N)) }",
      "r", SIZES(300, 130), DT_f32, 2e-5);
}

#define BATCHED(b, s, d)                                                                                \
  "fn f(x: f32[B = " b ", S = " s ", D = " d "], gain: f32[D], dy: f32[B, S, D])"                        \
  " -> (f32[B, S, D], f32[D]) {"                                                                        \
  " let (dx, dg) = grad(rmsnorm(x, gain, 1e-5, D), x, gain, seed = dy)\n return (dx, dg) }"

Test(gpu_columns, results_of_rows_of_several_axes) {
  compare(BATCHED("3", "50", "96"), "bcb", SIZES(3, 50, 96), DT_f32, 2e-5);
  compare(BATCHED("7", "31", "33"), "bcb", SIZES(7, 31, 33), DT_f32, 2e-5);
  compare(BATCHED("1", "200", "64"), "bcb", SIZES(1, 200, 64), DT_f32, 2e-5);
  compare(
      "fn f(x: f32[B = 3, H = 4, S = 70, D = 16], w: f32[D]) -> (f32[B, S], f32[H, D]) {"
      " let m = sum(x * x * w, H, D)\n return (m, sum(x * m, B, S)) }",
      "dc", SIZES(3, 4, 70, 16), DT_f32, 2e-5);
  // an operand that moves with one of them
  compare(
      "fn f(x: f32[B = 4, S = 60, D = 40], w: f32[D]) -> (f32[B, S], f32[D]) {"
      " let y = x * f32(index(S))\n let m = max(y, D)\n return (m, sum(exp(y - m) * w, B, S)) }",
      "bc", SIZES(4, 60, 40), DT_f32, 2e-5);
}

/// Blocks add no more than some hundred rows one after the other: the more rows, the more chunks.
Test(gpu_columns, long_sums_are_cut) {
  lowered l;
  lowered_make_for(&l, LAYERNORM("bf16", "65536", "4096"), small_gpu());
  cr_expect_eq(lowered_count(&l, "below C*256 + 256"), 1, "%s", l.text.ptr);
  lowered_free(&l);
}

Test(gpu_columns, explain_says_why) {
  lowered l;
  lowered_make(&l, LAYERNORM("bf16", "16384", "4096"));
  int kept = 0, wait = 0;
  for (int i = 0; i < l.fused->decisions.len; i++) {
    const decision *d = &l.fused->decisions.data[i];
    kept += d->fused && d->why == REASON_column_sums;
    wait += !d->fused && d->why == REASON_columns_wait;
  }
  cr_expect(kept >= 1 && wait == 2, "%d kept, %d wait", kept, wait);
  pass_options options = {.target = &gpu_target};
  const explanation *e = graph_explain(&l.test.arena, l.fused, &options, NULL, NULL);
  strbuf out = sb_new(&l.test.arena);
  explain_text(e, NULL, &out);
  cr_expect(strstr(out.data, "each walks 63 rows and keeps 2 sums of columns"), "%s", out.data);
  // x, dy, dx; gain; and the sums of 261 chunks
  double bytes = 3 * 16384 * 4096 * 2.0 + 4096 * 2 + 2 * 261 * 4096 * 4.0;
  cr_expect_eq(e->kernels.data[0].bytes_read + e->kernels.data[0].bytes_written, bytes, "%s", out.data);
  lowered_free(&l);
  lowered_make(&l, LAYERNORM("bf16", "16384", "12000"));
  bool too_long = false;
  for (int i = 0; i < l.fused->decisions.len; i++)
    too_long |= l.fused->decisions.data[i].why == REASON_columns_too_long;
  cr_expect(too_long, "%s", l.text.ptr);
  lowered_free(&l);
}

// ---- random programs

typedef struct text {
  char s[2048];
  int n;
} text;

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...) {
  va_list ap;
  va_start(ap, format);
  t->n += vsnprintf(t->s + t->n, sizeof t->s - (size_t)t->n, format, ap);
  va_end(ap);
  cr_assert_lt(t->n, (int)sizeof t->s);
}

static int draw(uint64_t *state, int n) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return (int)(*state >> 33) % n;
}

/// Of values v0.. over rows and columns, the last of them or any.
static int any_value(uint64_t *r, int values) { return draw(r, 2) ? values - 1 : draw(r, values); }

static void random_program(uint64_t seed, text *t, int64_t *sizes) {
  static const char *const maps[] = {"v%d * v%d", "v%d - v%d", "max(v%d, v%d * 0.5)", "where(v%d > 0, v%d, w)",
                                     "v%d * w + v%d"};
  static const char *const rows[] = {"sum(v%d * v%d, D) * 0.01", "max(v%d + v%d, D)", "min(v%d * v%d, D)"};
  static const char *const columns[] = {"sum(v%d * v%d, N)", "max(v%d - v%d, N)", "sum(v%d + v%d, N)"};
  uint64_t r = seed * 977 + 11;
  sizes[0] = 200 + draw(&r, 300), sizes[1] = 1 + draw(&r, draw(&r, 2) ? 40 : 700);
  int values = 2, row_values = 0, ncolumns = 1 + draw(&r, 3), whole = draw(&r, 2);
  put(t, "fn f(v0: f32[N = %d, D = %d], w: f32[D], v1: f32[N, D]) -> (", (int)sizes[0], (int)sizes[1]);
  for (int i = 0; i < ncolumns; i++) put(t, "%sf32[D]", i ? ", " : "");
  put(t, "%s, f32[N]) {\n", whole ? ", f32[N, D]" : "");
  for (int i = 0, n = 2 + draw(&r, 5); i < n || !row_values; i++) {
    int a = any_value(&r, values), b = any_value(&r, values);
    if (i && !draw(&r, 2)) {
      put(t, " let v%d = ", values++);
      put(t, maps[draw(&r, 5)], a, b);
      put(t, "\n");
      continue;
    }
    put(t, " let r%d = ", row_values++);
    put(t, rows[draw(&r, 3)], a, b);
    put(t, "\n let v%d = v%d * sigmoid(r%d)\n", values, a, row_values - 1);
    values++;
  }
  put(t, " return (");
  for (int i = 0; i < ncolumns; i++) {
    put(t, "%s", i ? ", " : "");
    put(t, columns[draw(&r, 3)], any_value(&r, values), any_value(&r, values));
  }
  put(t, "%s%d, r%d) }", whole ? ", v" : ", r", whole ? values - 1 : row_values - 1, row_values - 1);
  if (!whole) {  // one result of rows
    t->n -= (int)strlen(strrchr(t->s, ','));
    put(t, ") }");
  }
}

Test(gpu_columns, random_programs) {
  int fused = 0;
  for (uint64_t seed = 0; seed < 60; seed++) {
    text t = {0};
    int64_t sizes[2];
    random_program(seed, &t, sizes);
    lowered l;
    lowered_make_for(&l, t.s, small_gpu());
    fused += count_walks(&l) > 0;
    interp_tensor in[] = {lowered_values(&l.test.arena, DT_f32, 2, sizes),
                          lowered_values(&l.test.arena, DT_f32, 1, sizes + 1),
                          lowered_values(&l.test.arena, DT_f32, 2, sizes)};
    for (int64_t i = 0; i < sizes[0] * sizes[1]; i++) in[2].data[i].f *= 0.7;
    lowered_compare(&l, in, 1e-4);
    lowered_free(&l);
  }
  cr_expect_gt(fused, 45, "%d", fused);
}

// ---- code

static str ptx_of(lowered *l, const char *source, const char *arch) {
  target_info t = gpu_named(arch);
  lowered_make_for(l, source, &t);
  cr_expect_eq(count_walks(l), 1, "%s\n%s", source, l->text.ptr);
  codegen_options options = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  str error;
  cr_assert(codegen_cuda(&l->test.arena, l->p, &options, &out, &error), "%.*s", STR_FMT(error));
  return (str){out.data, (int)out.size};
}

/// Rows come ahead of use, and what is added is not rounded before. Threads wait for one another once a row and
/// once for its reduction; where stages begin and where a block takes its next chunk; and in the sums of all chunks.
Test(gpu_columns, rows_are_copied_ahead) {
  lowered l;
  str ptx = ptx_of(&l,
                   "fn f(x: f32[N = 20000, D = 4096], w: f32[N, D]) -> (f32[N], f32[D]) {"
                   " let m = sum(x * x, D)\n return (m, sum(x * w * m, N)) }",
                   "sm_90a");
  cr_expect_gt(nvptx_count(ptx, "cp.async.cg.shared.global"), 0, "%s", ptx.ptr);
  cr_expect_gt(nvptx_count(ptx, "fma.rn.f32"), 0, "%s", ptx.ptr);
  cr_expect_eq(nvptx_count(ptx, "bar.sync"), 2 + 2 + 1, "%s", ptx.ptr);
  lowered_free(&l);
}

static void expect_assembled(const char *source, const char *arch) {
  lowered l;
  str ptx = ptx_of(&l, source, arch);
  nvptx_report r = nvptx_assemble(ptx, arch);
  if (r.assembled) cr_expect_eq(r.spill_bytes, 0, "%s on %s: %d bytes", source, arch, r.spill_bytes);
  lowered_free(&l);
}

Test(gpu_columns, nothing_is_spilled) {
  static const char *const archs[] = {"sm_80", "sm_90a"};
  for (int i = 0; i < 2; i++) {
    expect_assembled(LAYERNORM("bf16", "16384", "4096"), archs[i]);
    expect_assembled(LAYERNORM("f32", "16384", "4096"), archs[i]);
    expect_assembled(LAYERNORM("bf16", "16384", "8192"), archs[i]);
    expect_assembled(LAYERNORM("bf16", "16385", "777"), archs[i]);
    expect_assembled(RMSNORM("N = 16384", "5120"), archs[i]);
    expect_assembled(SOFTMAX("20000", "512"), archs[i]);
    expect_assembled(BIAS("20000", "2048"), archs[i]);
  }
}
