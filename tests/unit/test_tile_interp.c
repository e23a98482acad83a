// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running the golden tile programs: results against plain loops written here, over sizes with and
// without tails, and the mistakes that only running shows.
#include <criterion/criterion.h>
#include <math.h>

#include "tile_fixture.h"

#define DIMS(...) ((int64_t[]){__VA_ARGS__})

static void expect_close(double got, double want, double bound, const char *where, int64_t i) {
  cr_expect(fabs(got - want) <= bound * (1 + fabs(want)), "%s[%d]: %.9g, not %.9g", where, (int)i,
            got, want);
}

static const double f32_bound = 2e-6;

static void run_softmax(const char *file, int64_t n, int64_t t, bool last) {
  tile_fixture f = {0};
  interp_tensor x, out;
  tile_fixture_load(&f, file);
  x = random_tensor(&f, DT_f32, 2, DIMS(n, t));
  tile_fixture_run(&f, &x, &out);
  int64_t rows = last ? n : t, len = last ? t : n, step = last ? 1 : t;
  for (int64_t r = 0; r < rows; r++) {
    const scalar *row = x.data + (last ? r * t : r), *got = out.data + (row - x.data);
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < len; i++) max = fmax(max, row[i * step].f);
    for (int64_t i = 0; i < len; i++) sum += exp(row[i * step].f - max);
    for (int64_t i = 0; i < len; i++)
      expect_close(got[i * step].f, exp(row[i * step].f - max) / sum, f32_bound, file, i);
  }
  tile_fixture_free(&f);
}

Test(tile_interp, softmax_last_axis) {
  static const int64_t lengths[] = {0, 1, 15, 16, 31, 32, 33, 70};
  for (int i = 0; i < 8; i++) run_softmax("softmax_last.tile", 3, lengths[i], true);
}

Test(tile_interp, softmax_first_axis) {
  static const int64_t lengths[] = {0, 1, 7, 8, 19};
  for (int i = 0; i < 5; i++) run_softmax("softmax_first.tile", 5, lengths[i], false);
  run_softmax("softmax_first.tile", 1, 9, false);
}

static void run_matmul(int64_t n, int64_t d, int64_t h) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "matmul_packed.tile");
  interp_tensor out,
      in[] = {random_tensor(&f, DT_bf16, 2, DIMS(n, d)), random_tensor(&f, DT_bf16, 2, DIMS(d, h)),
              random_tensor(&f, DT_f32, 1, DIMS(h))};
  tile_fixture_run(&f, in, &out);
  for (int64_t i = 0; i < n; i++) {
    for (int64_t j = 0; j < h; j++) {
      double sum = in[2].data[j].f;
      for (int64_t k = 0; k < d; k++) sum += in[0].data[i * d + k].f * in[1].data[k * h + j].f;
      expect_close(out.data[i * h + j].f, fmax(sum, 0), 1e-5, "matmul", i * h + j);
    }
  }
  tile_fixture_free(&f);
}

Test(tile_interp, packed_product) {
  run_matmul(6, 8, 8);
  run_matmul(7, 19, 9);
  run_matmul(1, 1, 1);
  run_matmul(13, 16, 3);
  run_matmul(5, 41, 22);
  run_matmul(0, 8, 8);
}

Test(tile_interp, argmax_prefers_nan_then_the_first) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "argmax.tile");
  enum { N = 6, T = 21 };
  interp_tensor out[2], x = random_tensor(&f, DT_f32, 2, DIMS(N, T));
  x.data[0 * T + 4].f = x.data[0 * T + 17].f = 50;
  x.data[1 * T + 20].f = 50;
  x.data[2 * T + 3].f = x.data[2 * T + 11].f = NAN;
  x.data[2 * T + 1].f = INFINITY;
  for (int i = 0; i < T; i++) x.data[3 * T + i].f = -INFINITY;
  tile_fixture_run(&f, &x, out);
  static const int expected[] = {4, 20, 3, 0};
  for (int i = 0; i < 4; i++) cr_expect(out[1].data[i].i == expected[i], "row %d", i);
  for (int i = 4; i < N; i++) {
    int best = 0;
    for (int j = 1; j < T; j++)
      if (x.data[i * T + j].f > x.data[i * T + best].f) best = j;
    cr_expect(out[1].data[i].i == best && out[0].data[i].f == x.data[i * T + best].f);
  }
  tile_fixture_free(&f);
}

Test(tile_interp, guarded_load_pads) {
  for (int64_t t = 0; t < 20; t += 3) {
    tile_fixture f = {0};
    tile_fixture_load(&f, "pad_guard.tile");
    interp_tensor out, x = random_tensor(&f, DT_f32, 1, DIMS(t));
    tile_fixture_run(&f, &x, &out);
    cr_assert(out.dims[0] == t + 5);
    for (int64_t i = 0; i < t + 5; i++)
      cr_expect(out.data[i].f == (i >= 2 && i < t + 2 ? x.data[i - 2].f : -1.0));
    tile_fixture_free(&f);
  }
}

Test(tile_interp, gather_checks_its_indices) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "gather_check.tile");
  enum { V = 9, D = 6, S = 5 };
  interp_tensor out,
      in[] = {random_tensor(&f, DT_f16, 2, DIMS(V, D)), random_tensor(&f, DT_i64, 1, DIMS(S))};
  for (int i = 0; i < S; i++) in[1].data[i].i = random_below(&f, V);
  tile_fixture_run(&f, in, &out);
  for (int i = 0; i < S * D; i++)
    cr_expect(out.data[i].f == in[0].data[in[1].data[i / D].i * D + i % D].f);
  static const int64_t wrong[] = {V, -1, INT64_MIN, INT64_MAX};
  for (int i = 0; i < 4; i++) {
    str error;
    span at;
    in[1].data[4].i = wrong[i];
    cr_assert_not(program_interpret(f.p, &f.arena, in, &out, NULL, &error, &at));
    str expected =
        str_printf(&f.arena, "index %lld is outside of an axis of size 9", (long long)wrong[i]);
    cr_expect(str_eq(error, expected), "%.*s", STR_FMT(error));
    str text = f.diags.files.data[0].text;
    cr_expect(str_starts((str){text.ptr + at.begin, text.len - (int)at.begin}, STR("check %0")));
  }
  tile_fixture_free(&f);
}

Test(tile_interp, scatter_adds_at_repeated_indices) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "scatter_add.tile");
  enum { V = 7, S = 23 };
  interp_tensor out,
      in[] = {random_tensor(&f, DT_f32, 1, DIMS(V)), random_tensor(&f, DT_i32, 1, DIMS(S)),
              random_tensor(&f, DT_f32, 1, DIMS(S))};
  double sums[V];
  for (int i = 0; i < V; i++) sums[i] = in[0].data[i].f;
  for (int i = 0; i < S; i++) {
    in[1].data[i].i = random_below(&f, V);
    sums[in[1].data[i].i] += in[2].data[i].f;
  }
  tile_fixture_run(&f, in, &out);
  for (int i = 0; i < V; i++) expect_close(out.data[i].f, sums[i], f32_bound, "scatter", i);
  tile_fixture_free(&f);
}

Test(tile_interp, nested_reversed_walks_with_tails) {
  for (int64_t t = 0; t < 40; t += 1 + t / 3) {
    tile_fixture f = {0};
    tile_fixture_load(&f, "nested_tails.tile");
    interp_tensor out, x = random_tensor(&f, DT_f32, 2, DIMS(3, t));
    tile_fixture_run(&f, &x, &out);
    for (int64_t n = 0; n < 3; n++) {
      double sum = 0;
      for (int64_t i = t - 1; i >= 0; i--) {
        sum += x.data[n * t + i].f;
        expect_close(out.data[n * t + i].f, sum, 1e-5, "suffix sums", i);
      }
    }
    tile_fixture_free(&f);
  }
}

Test(tile_interp, blocks_are_skipped_by_the_mask) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "skip_blocks.tile");
  enum { T = 11 };
  interp_tensor out, x = random_tensor(&f, DT_f32, 1, DIMS(T));
  str error;
  cr_assert(program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL), "%.*s",
            STR_FMT(error));
  cr_assert(out.dims[0] == 15 && out.dims[1] == 3);
  for (int s = 0; s < 15; s++) {
    double sum = 2 * T;
    for (int t = 0; t <= s && t < T; t++) sum += x.data[t].f * s;
    for (int c = 0; c < 3; c++) expect_close(out.data[s * 3 + c].f, sum, 1e-5, "causal", s);
  }
  tile_fixture_free(&f);
}

static bool negate(void *ctx, str name, const interp_tensor *in, int nin, interp_tensor *out) {
  ++*(int *)ctx;
  if (!str_eqz(name, "negate") || nin != 1) return false;
  for (int64_t i = 0; i < in->dims[0]; i++) out->data[i].f = -in->data[i].f;
  return true;
}

Test(tile_interp, host_steps_and_temporaries) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "temps_host.tile");
  int calls = 0;
  interp_host host = {negate, &calls};
  interp_tensor out, x = random_tensor(&f, DT_f32, 1, DIMS(37));
  str error;
  cr_assert(program_interpret(f.p, &f.arena, &x, &out, &host, &error, NULL), "%.*s",
            STR_FMT(error));
  for (int i = 0; i < 37; i++) cr_expect(out.data[i].f == x.data[i].f * -8);
  cr_expect(calls == 1);
  cr_expect_not(program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL));
  cr_expect(str_eqz(error, "the host function negate is unknown or failed"));
  tile_fixture_free(&f);
}

Test(tile_interp, rounds_each_value) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "softmax_last.tile");
  interp_tensor x = random_tensor(&f, DT_f32, 2, DIMS(2, 50)), out;
  str error;
  cr_assert(program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL));
  for (int i = 0; i < 100; i++) cr_expect(out.data[i].f == (float)out.data[i].f);
  tile_fixture_free(&f);
}

// ---- mistakes that running shows

#define PROGRAM(axes, body)                                                                      \
  "program @p(N) {\n arena N*4 + 64\n buffer %x : f32[N] param 0\n buffer %out : f32[N] output " \
  "0\n"                                                                                          \
  " call @k(%x, %out)\n}\nkernel @k(x: f32[N], out: f32[N]) {\n axes " axes "\n" body "\n}\n"

Test(tile_interp, mistakes_of_kernels_are_found) {
  static const struct {
    const char *text, *error;
  } cases[] = {
      {PROGRAM("N",
               "grid N:4 {\n %i = index N : i32[N:4]\n %0 = load x[%i + 1] unchecked : f32[N:4]\n"
               " store out[N], %0\n}"),
       "coordinate 10 of x, dimension 0, is outside [0, 10)"},
      {PROGRAM("N",
               "grid N:4 {\n %0 = load x[N] : f32[N:4]\n %i = index N : i32[N:4]\n"
               " %1 = const 1 : i32\n %j = sub %i, %1 : i32[N:4]\n store out[%j] unchecked, %0\n}"),
       "coordinate -1 of out, dimension 0, is outside [0, 10)"},
      // lanes beyond the size leak through a reduction that is not masked any more
      {PROGRAM("N, M = N",
               "grid {\n %0 = const 0.0 : f32[M:4]\n %1 = loop M:4 carry %2 = %0 {\n"
               " %3 = load x[M] : f32[M:4]\n yield %3\n }\n %4 = reduce add %1 over M : f32\n"
               " loop N:4 {\n store out[N], %4\n }\n}"),
       "stores an unspecified value in out"},
      {PROGRAM("N",
               "grid {\n local l : f32[N]\n loop N:4 {\n %0 = load l[N] : f32[N:4]\n"
               " store out[N], %0\n }\n}"),
       "stores an unspecified value in out"},
      {PROGRAM("N",
               "grid {\n local l : f32[N]\n loop N:2 {\n %0 = load l[N] : f32[N:2]\n"
               " %1 = cast %0 : i32[N:2]\n check %1 below N site 0\n store out[N], %0\n }\n}"),
       "checks an unspecified index"},
      {PROGRAM("N",
               "grid {\n local l : bool[N]\n loop N:2 {\n %0 = load l[N] : bool[N:2]\n"
               " if any %0 {\n }\n %1 = load x[N] : f32[N:2]\n store out[N], %1\n }\n}"),
       "branches on an unspecified value"},
      {PROGRAM("N, M = N",
               "grid M:1 {\n loop N:4 {\n %0 = load x[N] : f32[N:4]\n"
               " store out[N], %0\n }\n}"),
       "two grid tiles store the same element of out"},
      {PROGRAM("N",
               "grid N:1 {\n %0 = load x[N] : f32[N:1]\n store out[N], %0\n"
               " %1 = load out[N / 16] : f32[N:1]\n}"),
       "loads what another grid tile stores in out"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    str error = {0}, report;
    cr_assert(tile_fixture_parse(&f, str_from(cases[i].text)), "%s\n%.*s", cases[i].text,
              STR_FMT(f.diags.items.data[0]->text));
    cr_expect(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
    interp_tensor out, x = random_tensor(&f, DT_f32, 1, DIMS(10));
    bool fine = program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL);
    str expected = str_printf(&f.arena, "internal error in kernel @k: %s", cases[i].error);
    cr_expect(!fine && str_eq(error, expected), "%s\ngave: %.*s", cases[i].text, STR_FMT(error));
    tile_fixture_free(&f);
  }
}

Test(tile_interp, unstored_outputs_are_found) {
  tile_fixture f = {0};
  cr_assert(
      tile_fixture_parse(&f, STR(PROGRAM("N",
                                         "grid N:4 {\n if first N {\n %0 = load x[N] : f32[N:4]\n"
                                         " store out[N], %0\n }\n}"))));
  str error;
  interp_tensor out, x = random_tensor(&f, DT_f32, 1, DIMS(10));
  cr_assert_not(program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL));
  cr_expect(str_eqz(error, "internal error: element 4 of output out was never stored"), "%.*s",
            STR_FMT(error));
  tile_fixture_free(&f);
}

/// y2 lies on y: reading y once y2 is being written shows its poison.
Test(tile_interp, overlapping_temporaries_are_found) {
  tile_fixture f = {0};
  str text = tile_fixture_read(&f, "temps_host.tile");
  char *z = str_z(&f.arena, text), *place = strstr(z, "call @double(%z, %y2)");
  cr_assert(place);
  memcpy(place, "call @double(%y, %y2)", 21);
  cr_assert(tile_fixture_parse(&f, (str){z, text.len}));
  int calls = 0;
  interp_host host = {negate, &calls};
  interp_tensor out, x = random_tensor(&f, DT_f32, 1, DIMS(8));
  str error;
  cr_assert_not(program_interpret(f.p, &f.arena, &x, &out, &host, &error, NULL));
  cr_expect(str_ends(error, STR("stores an unspecified value in out")), "%.*s", STR_FMT(error));
  tile_fixture_free(&f);
}

Test(tile_interp, sizes_must_agree) {
  tile_fixture f = {0};
  tile_fixture_load(&f, "matmul_packed.tile");
  str error;
  interp_tensor out,
      in[] = {random_tensor(&f, DT_bf16, 2, DIMS(4, 5)), random_tensor(&f, DT_bf16, 2, DIMS(6, 3)),
              random_tensor(&f, DT_f32, 1, DIMS(3))};
  cr_assert_not(program_interpret(f.p, &f.arena, in, &out, NULL, &error, NULL));
  cr_expect(str_eqz(error, "axis D of b is 6, which is no value of its size D"), "%.*s",
            STR_FMT(error));
  in[1] = random_tensor(&f, DT_f32, 2, DIMS(5, 3));
  cr_assert_not(program_interpret(f.p, &f.arena, in, &out, NULL, &error, NULL));
  cr_expect(str_eqz(error, "b is f32, not bf16"), "%.*s", STR_FMT(error));
  tile_fixture_free(&f);
}
