// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Each kind of statement of the tile IR as compiled code, over element types, tails and layouts.
// %s and %d in the texts are filled in with types and sizes.
#include <criterion/criterion.h>
#include <stdio.h>

#include "cpu_fixture.h"

enum { LONGEST = 1 << 14 };

#define COMPARE(text, ...)                                                   \
  do {                                                                       \
    static const cpu_case cases_[] = {__VA_ARGS__};                          \
    cpu_compare_text(text, cases_, (int)(sizeof cases_ / sizeof *cases_));   \
  } while (0)

/// Sizes around the vector length, for one axis.
#define AROUND_VECTORS                                                                          \
  {.sizes = {0}}, {.sizes = {1}}, {.sizes = {15}}, {.sizes = {16}}, {.sizes = {17}},            \
      {.sizes = {31}}, {.sizes = {32}}, {.sizes = {33}}, {.sizes = {64}}, {.sizes = {100}},     \
      {.sizes = {131}}

// ---- element types

Test(cpu_statements, maps_of_all_types) {
  static const char *const types[] = {"f64", "f32", "i64", "i32", "i16",
                                      "i8",  "u64", "u32", "u16", "u8"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    char text[LONGEST];
    const char *t = types[i];
    snprintf(text, sizeof text,
             "program @p(N) {\n buffer %%x : %s[N] param 0\n buffer %%y : %s[N] param 1\n"
             " buffer %%out : %s[N] output 0\n buffer %%less : bool[N] output 1\n"
             " call @k(%%x, %%y, %%out, %%less)\n}\n"
             "kernel @k(x: %s[N], y: %s[N], out: %s[N], less: bool[N]) vec N:16 {\n axes N\n"
             " grid N:32 {\n  %%0 = load x[N] : %s[N:32]\n  %%1 = load y[N] : %s[N:32]\n"
             "  %%2 = mul %%0, %%1 : %s[N:32]\n  %%3 = sub %%2, %%0 : %s[N:32]\n"
             "  %%4 = lt %%0, %%1 : bool[N:32]\n  %%5 = where %%4, %%3, %%1 : %s[N:32]\n"
             "  store out[N], %%5\n  store less[N], %%4\n }\n}\n",
             t, t, t, t, t, t, t, t, t, t, t);
    COMPARE(text, AROUND_VECTORS);
  }
}

Test(cpu_statements, storage_types_and_bools) {
  static const char *const types[] = {"f16", "bf16", "bool"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    char text[LONGEST];
    const char *t = types[i];
    snprintf(text, sizeof text,
             "program @p(N) {\n buffer %%x : %s[N] param 0\n buffer %%c : bool[N] param 1\n"
             " buffer %%out : %s[N] output 0\n buffer %%wide : f32[N] output 1\n"
             " call @k(%%x, %%c, %%out, %%wide)\n}\n"
             "kernel @k(x: %s[N], c: bool[N], out: %s[N], wide: f32[N]) vec N:16 {\n axes N\n"
             " grid N:32 {\n  %%0 = load x[N] : %s[N:32]\n  %%1 = load c[N] : bool[N:32]\n"
             "  %%2 = cast %%0 : f32[N:32]\n  %%3 = const 0.5 : f32\n"
             "  %%4 = mul %%2, %%3 : f32[N:32]\n  %%5 = cast %%4 : %s[N:32]\n"
             "  %%6 = const %s : %s\n  %%7 = where %%1, %%5, %%6 : %s[N:32]\n"
             "  store out[N], %%7\n  store wide[N], %%4\n }\n}\n",
             t, t, t, t, t, t, t[0] == 'b' && t[1] == 'o' ? "true" : "1.5", t, t);
    COMPARE(text, AROUND_VECTORS);
  }
}

// ---- tails

/// A tile of rows and lanes, both cut off; broadcast operands along either axis.
static const char rows_text[] =
    "program @p(M, N) {\n"
    " buffer %%x : f32[M, N] param 0\n buffer %%row : f32[M] param 1\n"
    " buffer %%col : f32[N] param 2\n buffer %%out : f32[M, N] output 0\n"
    " call @k(%%x, %%row, %%col, %%out)\n}\n"
    "kernel @k(x: f32[M, N], row: f32[M], col: f32[N], out: f32[M, N]) vec N:%d {\n"
    " axes M, N\n grid M:%d, N:%d {\n"
    "  %%0 = load x[M, N] : f32[M:%d, N:%d]\n  %%1 = load row[M] : f32[M:%d]\n"
    "  %%2 = load col[N] : f32[N:%d]\n  %%3 = mul %%0, %%1 : f32[M:%d, N:%d]\n"
    "  %%4 = add %%2, %%3 : f32[N:%d, M:%d]\n  store out[M, N], %%4\n }\n}\n";

Test(cpu_statements, tails_of_rows_and_lanes) {
  static const int shapes[][3] = {{16, 3, 32}, {8, 4, 8}, {16, 1, 24}, {8, 2, 4}, {1, 2, 3}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    char text[LONGEST];
    int lanes = shapes[i][0], m = shapes[i][1], n = shapes[i][2];
    snprintf(text, sizeof text, rows_text, lanes, m, n, m, n, m, n, m, n, n, m);
    COMPARE(text, {.sizes = {3, 32}}, {.sizes = {1, 1}}, {.sizes = {5, 33}}, {.sizes = {7, 24}},
            {.sizes = {8, 7}}, {.sizes = {4, 100}}, {.sizes = {0, 3}}, {.sizes = {3, 0}});
  }
}

/// The same with sizes known when the code is made.
Test(cpu_statements, tails_of_known_size) {
  static const int sizes[][2] = {{1, 1}, {3, 32}, {4, 17}, {7, 70}, {2, 64}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    char text[LONGEST];
    int m = sizes[i][0], n = sizes[i][1];
    snprintf(text, sizeof text,
             "program @p {\n buffer %%x : f32[M = %d, N = %d] param 0\n"
             " buffer %%out : f32[M = %d, N = %d] output 0\n call @k(%%x, %%out)\n}\n"
             "kernel @k(x: f32[%d, %d], out: f32[%d, %d]) vec N:16 {\n"
             " axes M = %d, N = %d\n grid M:3 {\n  loop N:32 unroll 2 {\n"
             "   %%0 = load x[M, N] : f32[M:3, N:32]\n   %%1 = mul %%0, %%0 : f32[M:3, N:32]\n"
             "   store out[M, N], %%1\n  }\n }\n}\n",
             m, n, m, n, m, n, m, n, m, n);
    COMPARE(text, {.sizes = {0}});
  }
}

// ---- layouts

/// x is stored with M fastest: squares are transposed in registers where they are whole.
static const char transposed_text[] =
    "program @p(M, N) {\n"
    " buffer %%x : %s[M, N] strides [1, M] param 0\n buffer %%out : %s[M, N]%s output 0\n"
    " call @k(%%x, %%out)\n}\n"
    "kernel @k(x: %s[M, N] strides [1, M], out: %s[M, N]%s) vec N:%d {\n"
    " axes M, N\n grid M:%d {\n  loop N:%d {\n"
    "   %%0 = load x[M, N] : %s[M:%d, N:%d]\n   store out[M, N], %%0\n  }\n }\n}\n";

/// A tail of one element: what lies behind it belongs to another row, or to nobody.
Test(cpu_statements, a_tail_of_one_narrow_element) {
  static const char *const types[] = {"bf16", "f16", "i16", "i8"};
  static const int sizes[] = {17, 33};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
      char text[LONGEST];
      const char *t = types[i], *wide = t[0] == 'i' ? "i32" : "f32";
      int n = sizes[k];
      snprintf(text, sizeof text,
               "program @p(N) {\n buffer %%x : %s[N, D = %d] param 0\n buffer %%out : %s[N, D = %d] output 0\n"
               " call @k(%%x, %%out)\n}\n"
               "kernel @k(x: %s[N, %d], out: %s[N, %d]) vec D:16 {\n axes N, D = %d\n"
               " grid N:1 {\n  loop D:16 {\n   %%0 = load x[N, D] : %s[N:1, D:16]\n"
               "   %%1 = mul %%0, %%0 : %s[N:1, D:16]\n   %%2 = cast %%1 : %s[N:1, D:16]\n"
               "   store out[N, D], %%2\n  }\n }\n}\n",
               wide, n, t, n, wide, n, t, n, n, wide, wide, t);
      COMPARE(text, {.sizes = {5}}, {.sizes = {1}});
    }
}

Test(cpu_statements, transposed_layouts) {
  static const char *const types[] = {"f32", "f64", "bf16", "u8", "bool"};
  static const int shapes[][3] = {{16, 16, 16}, {8, 16, 8}, {16, 3, 32}, {4, 8, 8}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (int swapped = 0; swapped < 2; swapped++) {
      // out row-major: the load transposes; out like x: lanes of both are far apart
      char text[LONGEST];
      const char *t = types[i], *strides = swapped ? " strides [1, M]" : "";
      const int *s = shapes[(i + (size_t)swapped) % 4];
      snprintf(text, sizeof text, transposed_text, t, t, strides, t, t, strides, s[0], s[1], s[2],
               t, s[1], s[2]);
      COMPARE(text, {.sizes = {16, 16}}, {.sizes = {1, 1}}, {.sizes = {17, 31}},
              {.sizes = {33, 40}}, {.sizes = {15, 64}}, {.sizes = {40, 5}}, {.sizes = {0, 9}});
    }
}

Test(cpu_statements, strides_and_views) {
  COMPARE("program @p(N) {\n buffer %x : f32[X = N*3 + 2] param 0\n buffer %y : i16[N] param 1\n"
          " buffer %out : f32[N] strides [2] output 0\n buffer %out2 : i16[N, C = 4] output 1\n"
          " call @k(%x, %y, %out, %out2)\n}\n"
          "kernel @k(x: f32[N*3 + 2], y: i16[N], out: f32[N] strides [2], out2: i16[N, 4])"
          " vec N:8 {\n axes N, C = 4\n grid N:16 {\n"
          "  %0 = load x[N*3 + 1] : f32[N:16]\n  %1 = load x[#N - N - 1] : f32[N:16]\n"
          "  %2 = add %0, %1 : f32[N:16]\n  store out[N], %2\n"
          "  %3 = load y[N] : i16[N:16]\n  loop C:2 {\n   store out2[N, C], %3\n  }\n }\n}\n",
          AROUND_VECTORS);
}

Test(cpu_statements, divided_coordinates) {
  // split and merge: D = H * 24 + K, in vectors that cross the rows of K, and of 16 that do not
  COMPARE("program @p(A) {\n buffer %x : f32[A, K = 24] param 0\n"
          " buffer %y : f32[A, L = 64] param 1\n"
          " buffer %out : f32[D = A*24] output 0\n buffer %out2 : f32[E = A*64] output 1\n"
          " call @k(%x, %out)\n call @l(%y, %out2)\n}\n"
          "kernel @k(x: f32[A, 24], out: f32[A*24]) vec D:16 {\n axes D = A*24\n grid D:32 {\n"
          "  %0 = load x[D / 24, D % 24] : f32[D:32]\n  store out[D], %0\n }\n}\n"
          "kernel @l(y: f32[A, 64], out2: f32[A*64]) vec D:16 {\n axes D = A*64\n grid D:128 {\n"
          "  %0 = load y[D / 64, D % 64] : f32[D:128]\n  store out2[D], %0\n }\n}\n",
          {.sizes = {1}}, {.sizes = {2}}, {.sizes = {5}}, {.sizes = {0}});
}

// ? is the type, $ the size, ~ the same in an index.
static const char near_text[] =
    "program @p&  buffer %x : ?[X = $*8 + 8] param 0\n  buffer %out : ?[A = $*2] output 0\n"
    "  buffer %out2 : ?[B = $*4] output 1\n  buffer %out3 : ?[C = $] output 2\n"
    "  call @k(%x, %out, %out2, %out3)\n}\n"
    "kernel @k(x: ?[$*8 + 8], out: ?[$*2], out2: ?[$*4], out3: ?[$]) vec D:16 {\n  axes D = $\n"
    "  grid D:64 {\n    loop D:16 {\n"
    "      %0 = load x[D*2 + 1] : ?[D:16]\n      %1 = load x[~*2 - D] : ?[D:16]\n"
    "      %2 = load x[(D / 2) % 4] : ?[D:16]\n      %3 = load x[D / 16*8 + (D / 8) % 2*3] : "
    "?[D:16]\n"
    "      %4 = load x[D / 4*16 + D % 4] : ?[D:16]\n      %5 = load x[D*5] : ?[D:16]\n"
    "      store out[D*2], %0\n      store out[D*2 + 1], %1\n      store out2[D*4], %2\n"
    "      store out2[D*4 + 1], %3\n      store out2[D*4 + 2], %4\n      store out2[D*4 + 3], %2\n"
    "      store out3[~ - 1 - D], %5\n    }\n  }\n}\n";

// Lanes a few vectors apart, read and written: every second, from behind, a part of a vector again and
// again, rows of four that lie apart.
Test(cpu_statements, near_lanes) {
  static const char *const types[] = {"f32", "f64", "bf16", "u8", "bool"}, *const sizes[] = {
                                                                               "N", "48", "21"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
      char text[LONGEST];
      int n = 0;
      for (const char *c = near_text; *c; c++) {
        char one[] = {*c, 0};
        const char *put = *c == '?'   ? types[i]
                          : *c == '$' ? sizes[k]
                          : *c == '~' ? k ? sizes[k] : "#N"
                          : *c == '&' ? k ? " {\n" : "(N) {\n"
                                      : one;
        n += snprintf(text + n, sizeof text - (size_t)n, "%s", put);
      }
      if (k) COMPARE(text, {.sizes = {0}});
      else COMPARE(text, AROUND_VECTORS);
    }
}

Test(cpu_statements, windows_with_padding) {
  COMPARE("program @p(Y, X) {\n buffer %x : f32[Y, X] param 0\n"
          " buffer %out : f32[Y, X] output 0\n call @k(%x, %out)\n}\n"
          "kernel @k(x: f32[Y, X], out: f32[Y, X]) vec X:16 {\n axes Y, X, R = 3, S = 3\n"
          " grid Y:2, X:16 {\n  %0 = const 0.0 : f32[Y:2, X:16]\n  %1 = const 0.25 : f32\n"
          "  %2 = loop R:1 carry %3 = %0 {\n   %4 = loop S:1 unroll 3 carry %5 = %3 {\n"
          "    %6 = load x[Y + R - 1, X + S*2 - 2] guard %1 : f32[Y:2, X:16, R:1, S:1]\n"
          "    %7 = reduce add %6 over R, S : f32[Y:2, X:16]\n"
          "    %8 = add %5, %7 : f32[Y:2, X:16]\n    yield %8\n   }\n   yield %4\n  }\n"
          "  store out[Y, X], %2\n }\n}\n",
          {.sizes = {1, 1}}, {.sizes = {5, 33}}, {.sizes = {4, 16}}, {.sizes = {3, 100}},
          {.sizes = {0, 4}});
}

static const char gather_text[] =
    "program @p(V, N) {\n buffer %%t : %s[V, C = 3] param 0\n buffer %%i : %s[N] param 1\n"
    " buffer %%out : %s[N, C = 3] output 0\n call @k(%%t, %%i, %%out)\n}\n"
    "kernel @k(t: %s[V, 3], i: %s[N], out: %s[N, 3]) vec N:8 {\n axes N, C = 3\n grid N:16 {\n"
    "  %%0 = load i[N] : %s[N:16]\n  check %%0 below V site 0\n  loop C:1 {\n"
    "   %%1 = load t[%%0, C] : %s[N:16, C:1]\n   store out[N, C], %%1\n  }\n }\n}\n";

Test(cpu_statements, gathers_by_lane) {
  static const char *const types[] = {"f32", "f64", "i8", "f16", "u16", "u32", "u64"};
  static const char *const indices[] = {"i32", "i64", "u8", "i16", "u64", "u32", "u16"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    char text[LONGEST];
    const char *t = types[i], *n = indices[i];
    snprintf(text, sizeof text, gather_text, t, n, t, t, n, t, n, t);
    COMPARE(text, {.sizes = {5, 16}, .below = {0, 5}}, {.sizes = {200, 37}, .below = {0, 120}},
            {.sizes = {1, 1}, .below = {0, 1}}, {.sizes = {3, 0}});
  }
}

Test(cpu_statements, scatters_by_lane) {
  // a permutation: out[N - 1 - n] by an index tile
  COMPARE("program @p(N) {\n buffer %x : f32[N] param 0\n buffer %out : f32[N] output 0\n"
          " call @k(%x, %out)\n}\n"
          "kernel @k(x: f32[N], out: f32[N]) vec N:16 {\n axes N\n grid N:32 {\n"
          "  %0 = index N : i64[N:32]\n  %1 = size N - 1 : i64\n  %2 = sub %1, %0 : i64[N:32]\n"
          "  %3 = load x[N] : f32[N:32]\n  store out[%2], %3\n }\n}\n",
          AROUND_VECTORS);
}

// ---- reductions

static const char reduce_text[] =
    "program @p(M, N) {\n buffer %%x : %s[M, N] param 0\n buffer %%all : %s[M] output 0\n"
    " buffer %%rows : %s[N] output 1\n call @k(%%x, %%all)\n call @l(%%x, %%rows)\n}\n"
    "kernel @k(x: %s[M, N], all: %s[M]) vec N:16 {\n axes M, N\n grid M:2 {\n"
    "  %%0 = const %s : %s[M:2, N:32]\n  %%1 = loop N:32 carry %%2 = %%0 {\n"
    "   %%3 = load x[M, N] : %s[M:2, N:32]\n   %%4 = accum %s %%2, %%3 : %s[M:2, N:32]\n"
    "   yield %%4\n  }\n  %%5 = reduce %s %%1 over N : %s[M:2]\n  store all[M], %%5\n }\n}\n"
    "kernel @l(x: %s[M, N], rows: %s[N]) vec N:16 {\n axes M, N\n grid N:16 {\n"
    "  %%0 = const %s : %s[N:16]\n  %%1 = loop M:4 carry %%2 = %%0 {\n"
    "   %%3 = load x[M, N] : %s[M:4, N:16]\n   %%4 = reduce %s %%3 over M : %s[N:16]\n"
    "   %%5 = accum %s %%2, %%4 : %s[N:16]\n   yield %%5\n  }\n  store rows[N], %%1\n }\n}\n";

static void compare_reduce(const char *o, const char *t, const char *identity) {
  char text[LONGEST];
  snprintf(text, sizeof text, reduce_text, t, t, t, t, t, identity, t, t, o, t, o, t, t, t,
           identity, t, t, o, t, o, t);
  COMPARE(text, {.sizes = {2, 32}}, {.sizes = {1, 1}}, {.sizes = {5, 33}}, {.sizes = {7, 100}},
          {.sizes = {3, 15}}, {.sizes = {0, 5}}, {.sizes = {4, 0}});
}

Test(cpu_statements, reductions) {
  compare_reduce("add", "f32", "0.0");
  compare_reduce("add", "f64", "0.0");
  compare_reduce("mul", "f64", "1.0");
  compare_reduce("max", "f32", "-inf");
  compare_reduce("min", "f64", "inf");
  compare_reduce("add", "i32", "0");
  compare_reduce("mul", "i16", "1");
  compare_reduce("max", "i8", "-128");
  compare_reduce("max", "u8", "0");
  compare_reduce("min", "u8", "255");
  compare_reduce("min", "i64", "9223372036854775807");
  compare_reduce("min", "u64", "18446744073709551615");
  compare_reduce("max", "u32", "0");
  compare_reduce("min", "u16", "65535");
  compare_reduce("and", "bool", "true");
  compare_reduce("or", "bool", "false");
  compare_reduce("or", "i32", "0");
}

Test(cpu_statements, reductions_of_lanes_in_tails) {
  // reduce itself skips invalid lanes and rows
  COMPARE("program @p(M, N) {\n buffer %x : f32[M, N] param 0\n buffer %out : f32[M] output 0\n"
          " buffer %total : f32 output 1\n call @k(%x, %out, %total)\n}\n"
          "kernel @k(x: f32[M, N], out: f32[M], total: f32) vec N:16 {\n axes M, N\n grid {\n"
          "  %0 = const -inf : f32\n"
          "  %1 = loop M:3 carry %2 = %0 {\n   %3 = const 0.0 : f32[M:3]\n"
          "   %4 = loop N:32 carry %5 = %3 {\n    %6 = load x[M, N] : f32[M:3, N:32]\n"
          "    %7 = exp %6 : f32[M:3, N:32]\n    %8 = reduce add %7 over N : f32[M:3]\n"
          "    %9 = add %5, %8 : f32[M:3]\n    yield %9\n   }\n   store out[M], %4\n"
          "   %10 = reduce max %4 over M : f32\n   %11 = max %2, %10 : f32\n   yield %11\n  }\n"
          "  store total[], %1\n }\n}\n",
          {.sizes = {3, 32}}, {.sizes = {1, 1}}, {.sizes = {5, 33}}, {.sizes = {7, 100}},
          {.sizes = {8, 15}}, {.sizes = {0, 5}});
}

Test(cpu_statements, arg_reductions) {
  static const char *const ops[] = {"max", "min"};
  static const char *const types[] = {"f32", "i8", "u64", "u16"};
  static const char *const worst[][2] = {
      {"-inf", "inf"}, {"-128", "127"}, {"0", "18446744073709551615"}, {"0", "65535"}};
  for (int o = 0; o < 2; o++)
    for (int t = 0; t < 4; t++) {
      char text[LONGEST];
      const char *type = types[t];
      snprintf(text, sizeof text,
               "program @p(M, N) {\n buffer %%x : %s[M, N] param 0\n"
               " buffer %%v : %s[M] output 0\n buffer %%i : i32[M] output 1\n"
               " call @k(%%x, %%v, %%i)\n}\n"
               "kernel @k(x: %s[M, N], v: %s[M], i: i32[M]) vec N:16 {\n axes M, N\n grid M:2 {\n"
               "  %%0 = const %s : %s[M:2, N:32]\n  %%1 = const 2147483647 : i32[M:2, N:32]\n"
               "  %%2, %%3 = loop N:32 carry %%4 = %%0, %%5 = %%1 {\n"
               "   %%6 = load x[M, N] : %s[M:2, N:32]\n   %%7 = index N : i32[N:32]\n"
               "   %%8, %%9 = arg %s %%4, %%5, %%6, %%7 : %s[M:2, N:32], i32[M:2, N:32]\n"
               "   yield %%8, %%9\n  }\n"
               "  %%10, %%11 = arg_reduce %s %%2, %%3 over N : %s[M:2], i32[M:2]\n"
               "  store v[M], %%10\n  store i[M], %%11\n }\n}\n",
               type, type, type, type, worst[t][o], type, type, ops[o], type, ops[o], type);
      COMPARE(text, {.sizes = {2, 32}}, {.sizes = {1, 1}}, {.sizes = {5, 33}}, {.sizes = {7, 100}},
              {.sizes = {3, 15}});
    }
}

// ---- dot

static const char dot_text[] =
    "program @p(M, N, K) {\n buffer %%a : %s[M, K] param 0\n buffer %%b : %s[K, N] param 1\n"
    " buffer %%out : %s[M, N] output 0\n call @k(%%a, %%b, %%out)\n}\n"
    "kernel @k(a: %s[M, K], b: %s[K, N], out: %s[M, N]) vec %s {\n axes M, N, K\n"
    " grid M:%d, N:%d {\n  %%0 = const %s : %s[M:%d, N:%d]\n"
    "  %%1 = loop K:%d unroll 2 carry %%2 = %%0 {\n"
    "   %%3 = load a[M, K] : %s[M:%d, K:%d]\n   %%4 = load b[K, N] : %s[K:%d, N:%d]\n"
    "   %%5 = dot %%3, %%4, %%2 over K : %s[M:%d, N:%d]\n   yield %%5\n  }\n"
    "  store out[M, N], %%1\n }\n}\n";

Test(cpu_statements, dots) {
  static const char *const types[] = {"f32", "f64", "i32", "i64", "u32", "u64"};
  static const struct {
    const char *vec;
    int m, n, k;
  } shapes[] = {{"N:16", 3, 32, 1}, {"N:16", 2, 16, 4}, {"N:8", 4, 8, 3}, {"K:16", 2, 2, 32}};
  for (size_t t = 0; t < sizeof types / sizeof *types; t++)
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
      char text[LONGEST];
      const char *type = types[t];
      int m = shapes[i].m, n = shapes[i].n, k = shapes[i].k;
      snprintf(text, sizeof text, dot_text, type, type, type, type, type, type, shapes[i].vec, m,
               n, type[0] == 'f' ? "0.0" : "0", type, m, n, k, type, m, k, type, k, n, type, m, n);
      COMPARE(text, {.sizes = {4, 32, 8}}, {.sizes = {1, 1, 1}}, {.sizes = {5, 33, 7}},
              {.sizes = {7, 20, 35}}, {.sizes = {3, 16, 0}});
    }
}

// ---- loops and conditions

Test(cpu_statements, first_and_last_steps) {
  COMPARE("program @p(N) {\n buffer %x : f32[N] param 0\n buffer %out : f32[N] output 0\n"
          " buffer %back : f32[N] output 1\n call @k(%x, %out, %back)\n}\n"
          "kernel @k(x: f32[N], out: f32[N], back: f32[N]) vec N:8 {\n axes N\n grid {\n"
          "  loop N:8 unroll 2 {\n   %0 = load x[N] : f32[N:8]\n   %1 = if first N {\n"
          "    %2 = add %0, %0 : f32[N:8]\n    yield %2\n   } else {\n    yield %0\n   }\n"
          "   %3 = if last N {\n    %4 = neg %1 : f32[N:8]\n    yield %4\n   } else {\n"
          "    yield %1\n   }\n   store out[N], %3\n  }\n"
          "  loop N:8 unroll 3 reverse {\n   %5 = load x[N] : f32[N:8]\n   if first N {\n"
          "    %6 = add %5, %5 : f32[N:8]\n    store back[N], %6\n   } else {\n"
          "    store back[N], %5\n   }\n   if last N {\n    %7 = neg %5 : f32[N:8]\n"
          "    store back[N], %7\n   }\n  }\n }\n}\n",
          AROUND_VECTORS);
}

Test(cpu_statements, reverse_walks_carry_backwards) {
  COMPARE("program @p(N) {\n buffer %x : i32[N] param 0\n buffer %out : i32[N] output 0\n"
          " call @k(%x, %out)\n}\n"
          "kernel @k(x: i32[N], out: i32[N]) {\n axes N\n grid {\n  %0 = const 7 : i32\n"
          "  %1 = loop N:1 unroll 4 reverse carry %2 = %0 {\n   %3 = load x[N] : i32[N:1]\n"
          "   %4 = reduce add %3 over N : i32\n   %5 = const 3 : i32\n   %6 = mul %2, %5 : i32\n"
          "   %7 = add %6, %4 : i32\n   store out[N], %7\n   yield %7\n  }\n }\n}\n",
          AROUND_VECTORS);
}

/// A row's sum over what lies near it: the tiles that bounds leave out are those a mask would empty.
static const char bounded_text[] =
    "program @p(N) {\n buffer %%x : f32[N] param 0\n buffer %%out : f32[N] output 0\n"
    " call @k(%%x, %%out)\n}\n"
    "kernel @k(x: f32[N], out: f32[N]) vec %s:8 {\n axes N, T = N\n grid N:4 descending {\n"
    "  %%0 = const 0.0 : f32[N:4, T:%d]\n  %%i = index N : i32[N:4]\n"
    "  %%five = const 5 : i32\n  %%a = reduce min %%i over N : i32\n  %%lo = sub %%a, %%five : i32\n"
    "  %%b = reduce max %%i over N : i32\n  %%hi = cast %%b : i64\n"
    "  %%1 = loop T:%d %s carry %%2 = %%0 {\n   %%3 = load x[T] : f32[T:%d]\n"
    "   %%4 = index T : i32[T:%d]\n   %%5 = le %%4, %%i : bool[N:4, T:%d]\n"
    "   %%6 = const 5 : i32\n   %%7 = sub %%i, %%6 : i32[N:4]\n"
    "   %%8 = gt %%4, %%7 : bool[N:4, T:%d]\n   %%9 = and %%5, %%8 : bool[N:4, T:%d]\n"
    "   %%10 = const 0.0 : f32\n   %%11 = where %%9, %%3, %%10 : f32[N:4, T:%d]\n"
    "   %%12 = accum add %%2, %%11 : f32[N:4, T:%d]\n   %%13 = if first T {\n"
    "    %%14 = accum add %%12, %%11 : f32[N:4, T:%d]\n    yield %%14\n   } else {\n"
    "    yield %%12\n   }\n   yield %%13\n  }\n"
    "  %%15 = reduce add %%1 over T : f32[N:4]\n  store out[N], %%15\n }\n}\n";

Test(cpu_statements, walks_with_bounds) {
  static const char *const bounds[] = {
      "below N + 4", "from (N - 4) / 8 * 8", "reverse from (N - 4) / 16 * 16 below N + 4",
      "unroll 2 from N - 4 below N + 4", "unroll 3 reverse from N - 100 below N + 100",
      "from N below N", "within %lo, %hi", "reverse within %lo, %hi", "within %hi, %lo",
      "unroll 2 from N - 4 below N + 4 within %lo, %b", "reverse from N - 100 within %a, %hi"};
  for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++)
    for (int along_t = 0; along_t < 2; along_t++)
      for (int e = 1; e <= 16; e *= 4) {
        char text[LONGEST];
        snprintf(text, sizeof text, bounded_text, along_t ? "T" : "N", e, e, bounds[i], e, e, e, e,
                 e, e, e, e);
        COMPARE(text, {.sizes = {0}}, {.sizes = {1}}, {.sizes = {5}}, {.sizes = {16}},
                {.sizes = {37}}, {.sizes = {64}});
      }
}

Test(cpu_statements, reductions_that_leave_lanes) {
  static const int left[] = {1, 2, 4, 8, 16};
  static const char *const ops[] = {"add", "max", "min"}, *const starts[] = {"0", "-9999", "9999"};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++)
    for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
      for (int along_t = 0; along_t < 2; along_t++) {
        char text[LONGEST];
        int n = left[i];
        snprintf(text, sizeof text,
                 "program @p(N, T) {\n buffer %%x : i32[N, T] param 0\n"
                 " buffer %%out : i32[N] output 0\n call @k(%%x, %%out)\n}\n"
                 "kernel @k(x: i32[N, T], out: i32[N]) vec %s:8 {\n axes N, T\n grid N:4 {\n"
                 "  %%0 = const %s : i32[N:4, T:%d]\n  %%1 = loop T:32 carry %%2 = %%0 {\n"
                 "   %%3 = load x[N, T] : i32[N:4, T:32]\n"
                 "   %%4 = reduce %s %%3 over T to %d : i32[N:4, T:%d]\n"
                 "   %%5 = %s %%2, %%4 : i32[N:4, T:%d]\n   yield %%5\n  }\n"
                 "  %%6 = reduce %s %%1 over T : i32[N:4]\n  store out[N], %%6\n }\n}\n",
                 along_t ? "T" : "N", starts[o], n, ops[o], n, n, ops[o], n, ops[o]);
        COMPARE(text, {.sizes = {5, 33}}, {.sizes = {4, 32}}, {.sizes = {1, 1}},
                {.sizes = {7, 100}}, {.sizes = {3, 0}});
      }
}

// ---- on-chip buffers

Test(cpu_statements, locals_of_all_shapes) {
  // a whole axis of unknown size, a block with rows, and panels, each written and read shifted
  COMPARE("program @p(M, N) {\n buffer %x : f32[M, N] param 0\n buffer %out : f32[M, N] output 0\n"
          " call @k(%x, %out)\n}\n"
          "kernel @k(x: f32[M, N], out: f32[M, N]) vec N:16 {\n axes M, N\n grid M:4 {\n"
          "  local whole : f32[M:4, N]\n  loop N:32 {\n   loop M:2 {\n"
          "    %0 = load x[M, N] : f32[M:2, N:32]\n    store whole[M, N], %0\n   }\n  }\n"
          "  loop N:64 {\n   local block : f32[M:4, N:64] panel N:32\n   loop M:1 {\n"
          "    loop N:16 {\n     %1 = load whole[M, N] : f32[M:1, N:16]\n"
          "     %2 = add %1, %1 : f32[M:1, N:16]\n     store block[M, N], %2\n    }\n   }\n"
          "   local rows : f32[M:4, N:64] panel M:2\n   loop M:2 {\n    loop N:32 {\n"
          "     %3 = load block[M, N] : f32[M:2, N:32]\n     store rows[M, N], %3\n    }\n   }\n"
          "   loop M:4 {\n    loop N:16 {\n     %4 = load rows[M, N] : f32[M:4, N:16]\n"
          "     store out[M, N], %4\n    }\n   }\n  }\n }\n}\n",
          {.sizes = {4, 64}}, {.sizes = {1, 1}}, {.sizes = {5, 33}}, {.sizes = {7, 100}},
          {.sizes = {3, 16}}, {.sizes = {0, 5}}, {.sizes = {4, 0}});
}

Test(cpu_statements, lanes_along_a_staging_loop) {
  COMPARE("program @p(M, N, K) {\n buffer %a : bf16[M, K] param 0\n buffer %b : f32[K, N] param 1\n"
          " buffer %out : f32[M, N] output 0\n call @k(%a, %b, %out)\n}\n"
          "kernel @k(a: bf16[M, K], b: f32[K, N], out: f32[M, N]) vec N:16 {\n axes M, N, K\n"
          " grid M:4 {\n  local wide : f32[M:4, K]\n  loop M:1 {\n   loop K:32 vec stage {\n"
          "    %0 = load a[M, K] : bf16[M:1, K:32]\n    %1 = cast %0 : f32[M:1, K:32]\n"
          "    store wide[M, K], %1\n   }\n  }\n  loop N:16 {\n   %2 = const 0.0 : f32[M:4, N:16]\n"
          "   %3 = loop K:1 unroll 4 carry %4 = %2 {\n    %5 = load wide[M, K] : f32[M:4, K:1]\n"
          "    %6 = load b[K, N] : f32[K:1, N:16]\n"
          "    %7 = dot %5, %6, %4 over K : f32[M:4, N:16]\n    yield %7\n   }\n"
          "   store out[M, N], %3\n  }\n }\n}\n",
          {.sizes = {4, 16, 32}}, {.sizes = {1, 1, 1}}, {.sizes = {5, 33, 37}},
          {.sizes = {6, 5, 70}}, {.sizes = {2, 3, 0}});
}

// ---- streaming

Test(cpu_statements, streaming_stores_and_prefetches) {
  // sizes of 48 make rows that are not aligned to 64 bytes
  COMPARE("program @p(M, N) {\n buffer %x : f32[M, N] param 0\n buffer %out : f32[M, N] output 0\n"
          " call @k(%x, %out)\n}\n"
          "kernel @k(x: f32[M, N], out: f32[M, N]) vec N:16 {\n axes M, N\n grid M:1 {\n"
          "  loop N:32 {\n   prefetch x[M + 1, N] level 2\n   prefetch out[M, N] level 1 write\n"
          "   %0 = load x[M, N] : f32[M:1, N:32]\n   %1 = neg %0 : f32[M:1, N:32]\n"
          "   store out[M, N], %1 nontemporal\n  }\n }\n}\n",
          {.sizes = {4, 64}}, {.sizes = {3, 48}}, {.sizes = {5, 33}}, {.sizes = {2, 128}});
}

/// Lanes beyond the end are 0 / 0 in the quotient, and in no sum.
Test(cpu_statements, quotients_of_lanes_beyond_the_end) {
  static const char *const types[] = {"f64", "f32"};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    for (int n = 5; n <= 9; n++) {
      char text[LONGEST];
      const char *t = types[i];
      snprintf(text, sizeof text,
               "program @p(N) {\n buffer %%x : %s[N, D = %d] param 0\n buffer %%y : %s[D = %d] param 1\n"
               " buffer %%out : %s[N] output 0\n call @k(%%x, %%y, %%out)\n}\n"
               "kernel @k(x: %s[N, %d], y: %s[%d], out: %s[N]) vec D:2 {\n axes N, D = %d\n"
               " grid N:1 {\n  %%0 = const 0.0 : %s[N:1, D:8]\n"
               "  %%1 = loop D:8 carry %%2 = %%0 {\n   %%3 = load x[N, D] : %s[N:1, D:8]\n"
               "   %%4 = load y[D] : %s[D:8]\n   %%5 = div %%3, %%4 : %s[N:1, D:8]\n"
               "   %%6 = accum add %%2, %%5 : %s[N:1, D:8]\n   yield %%6\n  }\n"
               "  %%7 = reduce add %%1 over D : %s[N:1]\n  store out[N], %%7\n }\n}\n",
               t, n, t, n, t, t, n, t, n, t, n, t, t, t, t, t, t);
      COMPARE(text, {.sizes = {3}});
    }
}
