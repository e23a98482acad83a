// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The graph interpreter against results by hand: every class of op, its edge cases, and its
// errors. Programs are IR text; tensors are texts like "f32 2x3: 1 2 3 4 5 6".
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "ir/graph.h"

static graph *parse(arena *a, const char *text) {
  diag_list diags = {.arena = a};
  module m;
  uint32_t file = diag_add_file(&diags, STR("test"), str_from(text));
  bool ok = module_parse(a, &diags, file, &m);
  cr_assert(ok && m.graphs.len == 1, "%s\n%s", text,
            diags.items.len ? str_z(a, diags.items.data[0]->text) : "");
  return m.graphs.data[0];
}

static interp_tensor tensor(arena *a, const char *text) {
  interp_tensor t = {0};
  char name[16];
  int at = 0;
  cr_assert_eq(sscanf(text, "%15[a-z0-9]%n", name, &at), 1, "%s", text);
  cr_assert(dtype_parse(str_from(name), &t.type), "%s", text);
  int64_t count = 1;
  for (text += at; *text != ':'; text++) {
    if (*text == ' ' || *text == 'x') continue;
    char *end;
    count *= t.dims[t.rank++] = strtoll(text, &end, 10);
    text = end - 1;
  }
  t.data = arena_array(a, scalar, count);
  text++;
  for (int64_t k = 0; k < count; k++) {
    while (*text == ' ') text++;
    int len = (int)strcspn(text, " ");
    scalar v;
    bool is_float = dtype_is_float(t.type);
    cr_assert(scalar_parse((str){text, len}, is_float ? DT_f64 : DT_i64, &v), "%s", text);
    t.data[k] = scalar_cast(v, is_float ? DT_f64 : DT_i64, t.type);
    text += len;
  }
  return t;
}

static const char *text_of(arena *a, const interp_tensor *t) {
  strbuf b = sb_new(a);
  int64_t count = 1;
  sb_printf(&b, "%s%s", dtype_name(t->type), t->rank ? " " : "");
  for (int k = 0; k < t->rank; k++) {
    sb_printf(&b, "%s%lld", k ? "x" : "", (long long)t->dims[k]);
    count *= t->dims[k];
  }
  sb_putc(&b, ':');
  for (int64_t k = 0; k < count; k++) {
    sb_putc(&b, ' ');
    if (dtype_is_float(t->type)) sb_printf(&b, "%.6g", t->data[k].f);
    else sb_printf(&b, "%lld", (long long)t->data[k].i);
  }
  return b.data;
}

enum { MOST = 4 };

static bool run(arena *a, const char *program, const char *const *in, interp_tensor *out,
                str *error, span *at) {
  graph *g = parse(a, program);
  interp_tensor params[MOST] = {0};
  for (int k = 0; k < g->nparams; k++) params[k] = tensor(a, in[k]);
  return graph_interpret(g, a, params, out, NULL, error, at);
}

/// One output, as text.
static void gives(const char *program, const char *const *in, const char *want) {
  arena a = {0};
  interp_tensor out[MOST];
  str error;
  bool ok = run(&a, program, in, out, &error, NULL);
  cr_assert(ok, "%s\n%.*s", program, STR_FMT(error));
  cr_expect_str_eq(text_of(&a, out), want, "%s\ngives %s, not %s", program, text_of(&a, out), want);
  arena_free(&a);
}

static void fails(const char *program, const char *const *in, const char *want) {
  arena a = {0};
  interp_tensor out[MOST];
  str error = {0};
  bool ok = run(&a, program, in, out, &error, NULL);
  cr_assert_not(ok, "%s", program);
  cr_expect_str_eq(str_z(&a, error), want);
  arena_free(&a);
}

#define IN(...) ((const char *const[]){__VA_ARGS__})
/// A graph of one node over x.
#define ON_X(type, body) "graph @f(%x: " type ") {\n %y = " body "\n return %y\n}\n"
#define ON_XY(x, y, body) "graph @f(%x: " x ", %y: " y ") {\n %z = " body "\n return %z\n}\n"

Test(ir_interp, leaves) {
  gives(ON_X("f32[N, T]", "index T : i32[T]"), IN("f32 2x3: 1 2 3 4 5 6"), "i32 3: 0 1 2");
  gives(ON_X("f32[N, T]", "size N*T + 1 : f32"), IN("f32 2x3: 1 2 3 4 5 6"), "f32: 7");
  gives(ON_X("f32", "const 2.5 : f32"), IN("f32: 1"), "f32: 2.5");
  gives("graph @f(%x: i8[N]) {\n return %x\n}\n", IN("i8 2: -3 4"), "i8 2: -3 4");
}

Test(ir_interp, maps_align_axes_by_name) {
  gives(ON_XY("f32[N, T]", "f32[N]", "sub %x, %y : f32[N, T]"),
        IN("f32 2x3: 1 2 3 4 5 6", "f32 2: 1 10"), "f32 2x3: 0 1 2 -6 -5 -4");
  gives(ON_XY("f32[N, T]", "f32[T, N]", "add %x, %y : f32[N, T]"),
        IN("f32 2x3: 1 2 3 4 5 6", "f32 3x2: 10 20 30 40 50 60"), "f32 2x3: 11 32 53 24 45 66");
  gives(ON_XY("f32[N]", "f32[T]", "mul %x, %y : f32[T, N]"),
        IN("f32 2: 2 3", "f32 3: 1 10 100"), "f32 3x2: 2 3 20 30 200 300");
  gives(ON_XY("i32[N]", "i32", "div %x, %y : i32[N]"), IN("i32 3: 7 -7 0", "i32: 2"),
        "i32 3: 3 -3 0");
  gives(ON_XY("f32[N]", "f32[N]", "lt %x, %y : bool[N]"), IN("f32 3: 1 2 3", "f32 3: 2 2 2"),
        "bool 3: 1 0 0");
  gives(ON_X("f32[N]", "cast %x : i8[N]"), IN("f32 4: 1.9 -1.9 1000 nan"), "i8 4: 1 -1 127 0");
  gives(ON_X("f32[N]", "cast %x : bf16[N]"), IN("f32 2: 1.00390625 1.01171875"),
        "bf16 2: 1 1.01562");
}

Test(ir_interp, reductions) {
  gives(ON_X("f32[N, T]", "sum %x over T : f32[N]"), IN("f32 2x3: 1 2 3 4 5 6"), "f32 2: 6 15");
  gives(ON_X("f32[N, T]", "sum %x over N : f32[T]"), IN("f32 2x3: 1 2 3 4 5 6"), "f32 3: 5 7 9");
  gives(ON_X("f32[N, T]", "prod %x over N, T : f32"), IN("f32 2x3: 1 2 3 4 5 6"), "f32: 720");
  gives(ON_X("f32[N]", "reduce_max %x over N : f32"), IN("f32 3: 1 nan 3"), "f32: nan");
  gives(ON_X("i8[N]", "sum %x over N : i8"), IN("i8 3: 100 100 100"), "i8: 44");
  gives(ON_X("bool[N, T]", "any %x over T : bool[N]"), IN("bool 2x2: 0 0 0 1"), "bool 2: 0 1");
  gives(ON_X("bool[N, T]", "all %x over T : bool[N]"), IN("bool 2x2: 1 1 0 1"), "bool 2: 1 0");
  // In f32 alone this sum would be 0; it is accumulated in double.
  gives(ON_X("f32[N]", "sum %x over N : f32"), IN("f32 3: 1e10 1 -1e10"), "f32: 1");
}

Test(ir_interp, empty_reductions) {
  gives(ON_X("f32[N, T]", "sum %x over T : f32[N]"), IN("f32 2x0:"), "f32 2: 0 0");
  gives(ON_X("f32[N, T]", "reduce_max %x over T : f32[N]"), IN("f32 1x0:"), "f32 1: -inf");
  gives(ON_X("i32[N]", "reduce_min %x over N : i32"), IN("i32 0:"), "i32: 2147483647");
  gives(ON_X("f32[N]", "argmax %x over N : i32"), IN("f32 0:"), "i32: 0");
  gives(ON_X("f32[N, T]", "sum %x over T : f32[N]"), IN("f32 0x3:"), "f32 0:");
  gives(ON_X("f32[N]", "exp %x : f32[N]"), IN("f32 0:"), "f32 0:");
}

Test(ir_interp, arguments_of_extrema) {
  gives(ON_X("f32[N, T]", "argmax %x over T : i32[N]"), IN("f32 2x3: 1 5 5 7 7 1"), "i32 2: 1 0");
  gives(ON_X("f32[N, T]", "argmin %x over N : i32[T]"), IN("f32 2x3: 1 5 5 7 5 1"), "i32 3: 0 0 1");
  gives(ON_X("f32[N]", "argmax %x over N : i32"), IN("f32 4: 1 nan 9 nan"), "i32: 1");
  gives(ON_X("f32[N]", "argmin %x over N : i32"), IN("f32 3: 0 -0 1"), "i32: 0");
  gives(ON_X("i64[N]", "argmin %x over N : i32"), IN("i64 3: 4 -4 -4"), "i32: 1");
  gives(ON_X("f32[N]", "argmax %x over N : i32"), IN("f32 2: -inf -inf"), "i32: 0");
}

Test(ir_interp, contractions) {
  gives(ON_XY("f32[M, K]", "f32[K, N]", "dot %x, %y over K : f32[M, N]"),
        IN("f32 2x2: 1 2 3 4", "f32 2x2: 1 10 100 1000"), "f32 2x2: 201 2010 403 4030");
  gives(ON_XY("f32[M, K]", "f32[N, K]", "dot %x, %y over K : f32[N, M]"),
        IN("f32 2x2: 1 2 3 4", "f32 3x2: 1 0 0 1 1 1"), "f32 3x2: 1 3 2 4 3 7");
  gives(ON_XY("f32[B, M, K]", "f32[B, K]", "dot %x, %y over K : f32[B, M]"),
        IN("f32 2x1x2: 1 2 3 4", "f32 2x2: 1 1 10 1"), "f32 2x1: 3 34");
  gives(ON_XY("f32[M, K]", "f32[M, K]", "dot %x, %y over M, K : f32"),
        IN("f32 2x2: 1 2 3 4", "f32 2x2: 1 1 1 1"), "f32: 10");
  gives(ON_XY("u8[K]", "u8[K]", "dot %x, %y over K : i32"), IN("u8 2: 255 255", "u8 2: 255 255"),
        "i32: 130050");
  gives(ON_XY("bf16[K]", "bf16[K]", "dot %x, %y over K : f32"), IN("bf16 2: 3 0.5", "bf16 2: 2 3"),
        "f32: 7.5");
  gives(ON_XY("f32[M, K]", "f32[K]", "dot %x, %y over K : f32[M]"), IN("f32 2x0:", "f32 0:"),
        "f32 2: 0 0");
}

Test(ir_interp, long_rows_of_contractions) {
  arena a = {0};
  graph *g = parse(&a, ON_XY("f32[M, K]", "f32[K, N]", "dot %x, %y over K : f32[M, N]"));
  enum { M = 3, K = 17, N = 19 };
  interp_tensor in[2] = {{DT_f32, 2, {M, K}, arena_array(&a, scalar, M * K)},
                         {DT_f32, 2, {K, N}, arena_array(&a, scalar, K * N)}};
  for (int k = 0; k < M * K; k++) in[0].data[k].f = (k * 7) % 11 - 5;
  for (int k = 0; k < K * N; k++) in[1].data[k].f = (k * 5) % 13 - 6;
  interp_tensor out;
  str error;
  cr_assert(graph_interpret(g, &a, in, &out, NULL, &error, NULL));
  for (int m = 0; m < M; m++)
    for (int n = 0; n < N; n++) {
      double sum = 0;
      for (int k = 0; k < K; k++) sum += in[0].data[m * K + k].f * in[1].data[k * N + n].f;
      cr_assert_eq(out.data[m * N + n].f, sum, "at %d, %d", m, n);
    }
  arena_free(&a);
}

Test(ir_interp, scans) {
  gives(ON_X("f32[N, T]", "cumsum %x over T : f32[N, T]"), IN("f32 2x3: 1 2 3 4 5 6"),
        "f32 2x3: 1 3 6 4 9 15");
  gives(ON_X("f32[N, T]", "cumsum %x over N : f32[N, T]"), IN("f32 2x3: 1 2 3 4 5 6"),
        "f32 2x3: 1 2 3 5 7 9");
  gives(ON_X("f32[T]", "cumsum %x over T exclusive : f32[T]"), IN("f32 3: 1 2 3"), "f32 3: 0 1 3");
  gives(ON_X("f32[T]", "cumsum %x over T reverse : f32[T]"), IN("f32 3: 1 2 3"), "f32 3: 6 5 3");
  gives(ON_X("f32[T]", "cumprod %x over T reverse exclusive : f32[T]"), IN("f32 3: 2 3 4"),
        "f32 3: 12 4 1");
  gives(ON_X("f32[T]", "cummax %x over T : f32[T]"), IN("f32 4: 1 3 2 nan"), "f32 4: 1 3 3 nan");
  gives(ON_X("i32[T]", "cummin %x over T exclusive : i32[T]"), IN("i32 2: 5 3"),
        "i32 2: 2147483647 5");
}

#define AFFINE(types, body) \
  "graph @s(%a: " types ") {\n %y = affine_scan " body "\n return %y\n}\n"

Test(ir_interp, affine_scans) {
  gives(AFFINE("f32[T], %b: f32[T]", "%a, %b over T : f32[T]"),
        IN("f32 4: 5 2 0 -1", "f32 4: 1 2 3 4"), "f32 4: 1 4 3 1");
  gives(AFFINE("f32[T], %b: f32[T]", "%a, %b over T exclusive : f32[T]"),
        IN("f32 4: 5 2 0 -1", "f32 4: 1 2 3 4"), "f32 4: 0 1 4 3");
  gives(AFFINE("f32[T], %b: f32[T]", "%a, %b over T reverse : f32[T]"),
        IN("f32 4: 5 2 0 -1", "f32 4: 1 2 3 4"), "f32 4: 41 8 3 4");
  gives(AFFINE("f32[T], %b: f32[T]", "%a, %b over T reverse exclusive : f32[T]"),
        IN("f32 4: 5 2 0 -1", "f32 4: 1 2 3 4"), "f32 4: 8 3 4 0");
  // The axes are those of b, then the others of a; either operand may lack the scanned one.
  gives(AFFINE("f32[N], %b: f32[T]", "%a, %b over T : f32[T, N]"),
        IN("f32 2: 2 -1", "f32 3: 1 2 3"), "f32 3x2: 1 1 4 1 11 2");
  gives(AFFINE("f32[T], %b: f32", "%a, %b over T : f32[T]"), IN("f32 3: 9 2 3", "f32 : 1"),
        "f32 3: 1 3 10");
  gives(AFFINE("u8[T], %b: u8[T]", "%a, %b over T : u8[T]"), IN("u8 3: 1 3 5", "u8 3: 100 1 2"),
        "u8 3: 100 45 227");
  // The zero before the first element is multiplied, too.
  gives(AFFINE("f32[T], %b: f32[T]", "%a, %b over T : f32[T]"), IN("f32 2: nan 1", "f32 2: 1 1"),
        "f32 2: nan nan");
  gives(AFFINE("f32[T], %b: f32[T]", "%a, %b over T : f32[T]"), IN("f32 0:", "f32 0:"), "f32 0:");
}

/// 2^-52 and its like would be lost beside 1, one after the other.
Test(ir_interp, affine_scans_of_doubles_keep_what_they_round_off) {
  op_running r = op_start((scalar){.f = 1});
  for (int i = 0; i < 1024; i++)
    op_step_affine(&r, DT_f64, (scalar){.f = 1}, (scalar){.f = 0x1p-54});
  cr_expect_eq(op_value(r, DT_f64).f, 1 + 0x1p-44);
  r = op_start((scalar){.f = 1});
  for (int i = 0; i < 8; i++)  // (1 + 2^-40)^8: beside 8 * 2^-40 is 28 * 2^-80
    op_step_affine(&r, DT_f64, (scalar){.f = 1 + 0x1p-40}, (scalar){.f = 0});
  op_step_affine(&r, DT_f64, (scalar){.f = 1}, (scalar){.f = -1 - 0x1p-37});
  cr_expect_float_eq(op_value(r, DT_f64).f, 0x1.cp-76, 0x1p-110);
}

#define VIEW(type, axes, body) "graph @f(%x: " type ") {\n " axes "\n %y = " body "\n return %y\n}\n"

Test(ir_interp, views) {
  gives(VIEW("f32[N, T]", "", "view %x[N, T] : f32[T, N]"), IN("f32 2x3: 1 2 3 4 5 6"),
        "f32 3x2: 1 4 2 5 3 6");
  gives(VIEW("f32[T]", "", "view %x[#T - 1 - T] : f32[T]"), IN("f32 3: 1 2 3"), "f32 3: 3 2 1");
  gives(VIEW("f32[N, T]", "size N size T where T >= 3", "view %x[N, 2] : f32[N]"), IN("f32 2x3: 1 2 3 4 5 6"), "f32 2: 3 6");
  gives(VIEW("f32[D]", "size H axis D = H*2 axis K = 2", "view %x[H*2 + K] : f32[K, H]"),
        IN("f32 6: 1 2 3 4 5 6"), "f32 2x3: 1 3 5 2 4 6");
  gives(VIEW("f32[H, K]", "size H size K axis D = H*K", "view %x[D / #K, D % #K] : f32[D]"),
        IN("f32 2x3: 1 2 3 4 5 6"), "f32 6: 1 2 3 4 5 6");
  gives(VIEW("f32[Y]", "size Y where Y >= 4 axis P = 3 axis R = 2", "view %x[P + R] : f32[P, R]"),
        IN("f32 4: 1 2 3 4"), "f32 3x2: 1 2 2 3 3 4");
  gives(VIEW("f32[Y]", "axis Y = 4 axis P = 2 axis R = 2", "view %x[(P*3 + R*2) / 2] : f32[P, R]"),
        IN("f32 4: 1 2 3 4"), "f32 2x2: 1 2 2 3");
  gives(VIEW("f32", "axis P = 2", "view %x[] : f32[P]"), IN("f32: 7"), "f32 2: 7 7");
}

Test(ir_interp, padding) {
  gives("graph @f(%x: f32[T], %v: f32) {\n axis E = T + 3\n"
        " %y = pad %x[E - 2], %v : f32[E]\n return %y\n}\n",
        IN("f32 3: 1 2 3", "f32: 9"), "f32 6: 9 9 1 2 3 9");
  gives("graph @f(%x: f32[N, T], %v: f32) {\n axis E = T + 1\n axis M = N + 1\n"
        " %y = pad %x[M - 1, E], %v : f32[E, M]\n return %y\n}\n",
        IN("f32 1x2: 1 2", "f32: 0"), "f32 3x2: 0 1 0 2 0 0");
}

Test(ir_interp, gather) {
  gives(ON_XY("f32[V, D]", "i32[S]", "gather %x, %y over V : f32[S, D]"),
        IN("f32 3x2: 1 2 3 4 5 6", "i32 2: 2 0"), "f32 2x2: 5 6 1 2");
  gives(ON_XY("f32[N, V]", "i64[N]", "gather %x, %y over V : f32[N]"),
        IN("f32 2x3: 1 2 3 4 5 6", "i64 2: 2 0"), "f32 2: 3 4");
  gives(ON_XY("f32[V]", "i32[V]", "gather %x, %y over V : f32[V]"),
        IN("f32 3: 1 2 3", "i32 3: 2 2 0"), "f32 3: 3 3 1");
  gives(ON_XY("bf16[V]", "i32", "gather %x, %y over V : bf16"), IN("bf16 3: 1 2 3", "i32: 1"),
        "bf16: 2");
  fails(ON_XY("f32[V]", "i32[S]", "gather %x, %y over V : f32[S]"),
        IN("f32 3: 1 2 3", "i32 2: 0 3"), "index 3 is outside of axis V of size 3");
  fails(ON_XY("f32[V]", "i32[S]", "gather %x, %y over V : f32[S]"),
        IN("f32 3: 1 2 3", "i32 2: 0 -1"), "index -1 is outside of axis V of size 3");
  gives(ON_XY("f32[V]", "i32[S]", "gather %x, %y over V : f32[S]"), IN("f32 0:", "i32 0:"),
        "f32 0:");
}

#define SCATTER(x, i, u) \
  "graph @f(%x: " x ", %i: " i ", %u: " u ") {\n %y = scatter_add %x, %i, %u over V : " x \
  "\n return %y\n}\n"

Test(ir_interp, scatter) {
  gives(SCATTER("f32[V]", "i32[S]", "f32[S]"), IN("f32 3: 1 1 1", "i32 3: 0 2 0", "f32 3: 5 6 7"),
        "f32 3: 13 1 7");
  gives(SCATTER("f32[V, D]", "i32[S]", "f32[S, D]"),
        IN("f32 2x2: 0 0 0 0", "i32 2: 1 1", "f32 2x2: 1 2 3 4"), "f32 2x2: 0 0 4 6");
  gives(SCATTER("i8[V]", "i32[S]", "i8"), IN("i8 2: 0 127", "i32 3: 1 0 0", "i8: 1"),
        "i8 2: 2 -128");
  gives(SCATTER("f32[N, V]", "i32[N]", "f32[N]"),
        IN("f32 2x2: 0 0 0 0", "i32 2: 1 0", "f32 2: 3 4"), "f32 2x2: 0 3 4 0");
  fails(SCATTER("f32[V]", "i32[S]", "f32[S]"), IN("f32 1: 1", "i32 1: 1", "f32 1: 5"),
        "index 1 is outside of axis V of size 1");
}

Test(ir_interp, errors_have_positions) {
  const char *program = ON_XY("f32[V]", "i32[S]", "gather %x, %y over V : f32[S]");
  arena a = {0};
  interp_tensor out;
  str error;
  span at = {0};
  cr_assert_not(run(&a, program, IN("f32 1: 1", "i32 1: 4"), &out, &error, &at));
  cr_expect_eq(at.file, 1);
  cr_expect(str_starts(str_from(program + at.begin), STR("%z = gather")));
  arena_free(&a);
}

Test(ir_interp, sizes_follow_from_shapes) {
  const char *two = ON_XY("f32[N]", "f32[N]", "add %x, %y : f32[N]");
  fails(two, IN("f32 2: 1 2", "f32 3: 1 2 3"), "x has N = 2, but y has N = 3");
  fails(two, IN("f32 2x1: 1 2", "f32 3: 1 2 3"), "x has 2 axes, not 1");
  fails(two, IN("f64 2: 1 2", "f32 2: 1 2"), "x is f64, not f32");
  const char *split = "graph @f(%x: f32[D]) {\n size H where H >= 2, H <= 8, H % 2 == 0\n"
                      " axis D = H*3 + 1\n %y = size H : i32\n return %y\n}\n";
  gives(split, IN("f32 7: 1 2 3 4 5 6 7"), "i32: 2");
  fails(split, IN("f32 6: 1 2 3 4 5 6"), "axis D of x is 6, which is no value of H*3 + 1");
  fails(split, IN("f32 4: 1 2 3 4"), "x has H = 1, but the program says H >= 2");
  fails(split, IN("f32 10: 1 2 3 4 5 6 7 8 9 10"), "x has H = 3, but the program says H % 2 == 0");
  const char *product = "graph @f(%x: f32[D], %y: f32[H]) {\n size H\n size K\n axis D = H*K\n"
                        " %z = size K : i32\n return %z\n}\n";
  gives(product, IN("f32 6: 1 2 3 4 5 6", "f32 3: 1 2 3"), "i32: 2");
  fails(product, IN("f32 6: 1 2 3 4 5 6", "f32 4: 1 2 3 4"),
        "axis D of x is 6, which is no value of H*K");
  const char *fixed = "graph @f(%x: f32[D]) {\n axis D = 2\n return %x\n}\n";
  fails(fixed, IN("f32 3: 1 2 3"), "axis D of x is 3, not 2");
}

static bool host_double(void *ctx, str name, const interp_tensor *in, int nin, interp_tensor *out) {
  if (!str_eqz(name, "twice") || nin != 1) return false;
  for (int64_t k = 0; k < in[0].dims[0]; k++) out->data[k].f = in[0].data[k].f * 2;
  ++*(int *)ctx;
  return true;
}

Test(ir_interp, host_functions) {
  arena a = {0};
  graph *g = parse(&a, ON_X("f32[N]", "call @twice(%x) : f32[N]"));
  interp_tensor in = tensor(&a, "f32 2: 1 2"), out;
  int calls = 0;
  interp_host host = {host_double, &calls};
  str error;
  cr_assert(graph_interpret(g, &a, &in, &out, &host, &error, NULL));
  cr_expect_str_eq(text_of(&a, &out), "f32 2: 2 4");
  cr_expect_eq(calls, 1);
  cr_assert_not(graph_interpret(g, &a, &in, &out, NULL, &error, NULL));
  cr_expect_str_eq(str_z(&a, error), "the host function twice is unknown or failed");
  arena_free(&a);
}

Test(ir_interp, every_node_is_rounded_to_its_type) {
  arena a = {0};
  graph *g = parse(&a, "graph @f(%x: f32) {\n %3 = const 3.0 : f32\n %y = div %x, %3 : f32\n"
                       " return %y\n}\n");
  interp_tensor in = tensor(&a, "f32: 1"), out;
  str error;
  cr_assert(graph_interpret(g, &a, &in, &out, NULL, &error, NULL));
  cr_expect_eq(out.data[0].f, (double)(1.0f / 3.0f));
  arena_free(&a);
  gives("graph @back(%x: f64) {\n %n = cast %x : f32\n %w = cast %n : f64\n"
        " %y = sub %x, %w : f64\n return %y\n}\n",
        (const char *[]){"f64: 0.1"}, "f64: -1.49012e-09");
  gives("graph @whole(%x: i32) {\n %n = cast %x : f32\n %w = cast %n : i32\n"
        " %y = sub %w, %x : i32\n return %y\n}\n",
        (const char *[]){"i32: 16777217"}, "i32: -1");
  gives("graph @over(%x: f32) {\n %n = mul %x, %x : f32\n %y = sqrt %n : f32\n return %y\n}\n",
        (const char *[]){"f32: 1e20"}, "f32: inf");
  // 2^54 + 2^30 + 1: by way of f64 it would be a tie.
  gives("graph @once(%x: i64) {\n %y = cast %x : f32\n %w = cast %y : i64\n return %w\n}\n",
        (const char *[]){"i64: 18014399583223809"}, "i64: 18014400656965632");
}

/// One op rounds once, however many elements it combines.
Test(ir_interp, sums_are_rounded_once) {
  gives("graph @s(%x: f32[N]) {\n %y = sum %x over N : f32\n return %y\n}\n",
        (const char *[]){"f32 5: 16777216 1 1 1 -16777216"}, "f32: 3");
  gives("graph @s(%x: f64[N]) {\n %y = sum %x over N : f64\n return %y\n}\n",
        (const char *[]){"f64 5: 1e17 1 1 1 -1e17"}, "f64: 3");
  gives("graph @s(%x: f64[N]) {\n %y = cumsum %x over N : f64[N]\n return %y\n}\n",
        (const char *[]){"f64 4: 1e17 1 -1e17 inf"}, "f64 4: 1e+17 1e+17 1 inf");
  gives("graph @s(%x: f64[N], %y: f64[N]) {\n %z = dot %x, %y over N : f64\n return %z\n}\n",
        (const char *[]){"f64 4: 1e17 1 1 1", "f64 4: 1 1 1 -1e17"}, "f64: 2");
}

Test(ir_interp, softmax) {
  gives("graph @softmax(%x: f32[N, T]) {\n"
        " %m = reduce_max %x over T : f32[N]\n"
        " %d = sub %x, %m : f32[N, T]\n"
        " %e = exp %d : f32[N, T]\n"
        " %s = sum %e over T : f32[N]\n"
        " %y = div %e, %s : f32[N, T]\n"
        " return %y\n}\n",
        IN("f32 2x2: 0 0 1 -inf"), "f32 2x2: 0.5 0.5 1 0");
}
