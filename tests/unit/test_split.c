// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// tcf_function_split: forward and backward part against the function with `grad`.
#include <math.h>
#include <stdio.h>

#include "tests/unit/split_support.h"

typedef struct program_case {
  const char *name, *text;
} program_case;

static const program_case programs[] = {
#define CASE(name, text) {name, text},
#include "tests/unit/grad_programs.def"
#undef CASE
};

static void check_close(const tcf_tensor *got, const tcf_tensor *want, double tolerance,
                        const char *what, size_t number) {
  tcf_difference d;
  cr_assert_eq(tcf_tensor_compare(NULL, got, want, tolerance, &d), TCF_OK, "%s: other sizes", what);
  cr_expect_eq(d.failed, 0, "%s: gradient %zu differs, %g instead of %g", what, number, d.got,
               d.wanted);
}

/// The parts of f on `target` give what df gives on it.
static void check_program(const program_case *c, const char *target) {
  tcf_session *s = open_on(target);
  tcf_tensor *args[MOST_VALUES], *want[MOST_VALUES] = {0}, *seed;
  tcf_function *f = compile(s, c->text);
  parts p = split_function(s, f, NULL);
  tcf_function *df = NULL;
  tcf_program *whole = tcf_function_program(f);
  for (size_t i = 0; i < tcf_program_count(whole); i++)
    if (!strcmp(tcf_function_name(tcf_program_at(whole, i)), "df")) df = tcf_program_at(whole, i);
  size_t n = tcf_function_results(df);
  cr_assert_eq(tcf_function_results(p.backward), n, "%s", c->name);
  make_arguments(s, f, NULL, 0, 3, args);
  cr_assert_eq(tcf_tensor_new(s, TCF_F64, 0, NULL, &seed), TCF_OK);
  tcf_tensor_fill(seed, 1);
  cr_assert_eq(tcf_call(df, (const tcf_tensor *const *)args, tcf_function_params(df), want, n),
               TCF_OK);
  parts_run(&p, args, &seed);
  for (size_t k = 0; k < n; k++) check_close(p.gradients[k], want[k], 1e-10, c->name, k);
  parts_forget(&p);
  free_tensors(want, n);
  free_tensors(args, tcf_function_params(f));
  tcf_tensor_free(seed);
  tcf_session_free(s);
}

Test(split, programs_give_the_gradients_of_the_whole) {
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    check_program(&programs[i], "cpu");
    check_program(&programs[i], "interp");
    check_program(&programs[i], "interp-tile:sm_90a");
  }
}

// ---- what the two functions take and give

/// Names, separated by spaces.
static const char *names_of(const tcf_function *f, bool results, char *out) {
  size_t n = results ? tcf_function_results(f) : tcf_function_params(f);
  *out = 0;
  for (size_t i = 0; i < n; i++) {
    tcf_value_info v = results ? result_of(f, i) : param_of(f, i);
    strcat(strcat(out, i ? " " : ""), v.name);
  }
  return out;
}

static void check_names(const char *text, const char *const *wrt, size_t nwrt, const char *results,
                        const char *takes, const char *gives) {
  char buffer[512];
  tcf_session *s = open_on("cpu");
  tcf_split_options o = {.size = sizeof o, .wrt = wrt, .nwrt = nwrt};
  parts p = split_function(s, compile(s, text), nwrt ? &o : NULL);
  cr_expect_str_eq(names_of(p.forward, true, buffer), results, "%s gives %s", text, buffer);
  cr_expect_str_eq(names_of(p.backward, false, buffer), takes, "%s: backward takes %s", text,
                   buffer);
  cr_expect_str_eq(names_of(p.backward, true, buffer), gives, "%s: backward gives %s", text,
                   buffer);
  tcf_session_free(s);
}

Test(split, what_is_there_is_not_saved) {
  // A result.
  check_names("fn f(x: f32[N]) -> f32[N] { return tanh(x) }", NULL, 0, "out", "out d_out", "d_x");
  // A result in another order.
  check_names("fn f(x: f32[N, M], w: f32[M, K]) -> f32[K, N] { return tanh(dot(x, w, M)) }", NULL,
              0, "out", "x w out d_out", "d_x d_w");
  // Parameters.
  check_names("fn f(x: f32[N], w: f32[N]) -> f32 { return sum(x * w, N) }", NULL, 0, "out",
              "x w d_out", "d_x d_w");
  // Of two results, and something else.
  check_names(
      "fn f(x: f32[N, M], w: f32[M, K], v: f32[K, L]) -> (f32[N, L], f32) {\n"
      "  let h = tanh(dot(x, w, M))\n  return (dot(h, v, K), sum(x, N, M))\n}",
      NULL, 0, "out0 out1 saved0", "x w v saved0 d_out0 d_out1", "d_x d_w d_v");
}

Test(split, parameters_are_taken_where_they_are_read_or_sizes_are_theirs) {
  check_names("fn f(x: f32[N]) -> f32 { return sum(x, N) }", NULL, 0, "out", "x d_out", "d_x");
  check_names("fn f(x: f32[N], y: f32[N]) -> f32[N] { return x + 2 * y }", NULL, 0, "out", "d_out",
              "d_x d_y");
  check_names("fn f(x: f32[N = 4]) -> f32 { return sum(x, N) }", NULL, 0, "out", "d_out", "d_x");
  check_names(
      "fn f(k: i32[M], x: f32[N], y: f32[N]) -> (f32, i32) { return (sum(x, N), sum(k, M)) }", NULL,
      0, "out0 out1", "x d_out0", "d_x d_y");
}

Test(split, gradients_come_in_the_order_that_is_asked_for) {
  const char *const wrt[] = {"w", "x"};
  const char text[] = "fn f(x: f32[N], w: f32[N], v: f32[N]) -> f32[N] { return x * w * v }";
  check_names(text, wrt, 2, "out", "x w v d_out", "d_w d_x");
  check_names(text, wrt, 1, "out", "x v d_out", "d_w");
}

Test(split, names_that_are_taken_are_not_given) {
  check_names(
      "fn f(saved0: f32[N, M], w: f32[M, K], v: f32[K, saved1]) -> f32[N, saved1] {\n"
      "  return dot(tanh(dot(saved0, w, M)), v, K)\n}",
      NULL, 0, "out saved0_", "saved0 w v saved0_ d_out", "d_saved0 d_w d_v");
}

// ---- what is saved

/// Of two layers, the first of which is tanh of a product.
static size_t count_of_layers(tcf_session *s, const char *open, const char *a, const char *close) {
  char text[512];
  snprintf(text, sizeof text,
           "fn f(x: f32[N, D], w: f32[D, E = D], v: f32[D, E = D]) -> f32[N, E] {\n"
           "  %s let a = %s(tanh(dot(x, w, D))) let b = dot(a[E -> D], v, D) %s\n  return b\n}\n",
           open, a, close);
  parts p = split_function(s, compile(s, text), NULL);
  return count_saved(&p);
}

Test(split, checkpoint_and_keep_say_what_is_saved) {
  tcf_session *s = open_on("cpu");
  cr_expect_eq(count_of_layers(s, "", "", ""), 1);
  cr_expect_eq(count_of_layers(s, "checkpoint {", "", "}"), 0);
  cr_expect_eq(count_of_layers(s, "checkpoint {", "keep", "}"), 1);
  const char *const product =
      "fn f(x: f32[N], w: f32[N]) -> f32 { let a = %s(x * w)  return sum(a * a, N) }";
  for (int keep = 0; keep < 2; keep++) {
    char text[256];
    snprintf(text, sizeof text, product, keep ? "keep" : "");
    parts p = split_function(s, compile(s, text), NULL);
    cr_expect_eq(count_saved(&p), keep, "a product of two parameters is computed again");
  }
  tcf_session_free(s);
}

static const char streamed[] =
    "fn f(q: f32[H = 2, S, D = 8], k: f32[H = 2, T, D = 8], v: f32[H = 2, T, E = 4]) -> f32[H, S, "
    "E] {\n"
    "  fuse stream(T) {\n    let a = attention(q, k, v, T, D)\n  }\n  return a\n}\n";

/// Something, and nothing along T.
static void expect_rows_saved(const parts *p) {
  size_t saved = count_saved(p);
  cr_expect_gt(saved, 0);
  for (size_t i = 0; i < saved; i++) {
    tcf_value_info v = result_of(p->forward, tcf_function_results(p->forward) - saved + i);
    for (int k = 0; k < v.rank; k++) cr_expect_str_neq(v.axes[k], "T", "%s", v.name);
    cr_expect_leq(v.rank, 2);
  }
}

Test(split, of_a_streamed_block_rows_are_saved) {
  tcf_session *s = open_on("cpu");
  parts p = split_function(s, compile(s, streamed), NULL);
  expect_rows_saved(&p);
  // The scores are computed again in streamed kernels.
  char *text;
  tcf_emit_options o = {.size = sizeof o, .stage = TCF_STAGE_FUSED};
  cr_assert_eq(tcf_program_emit(tcf_function_program(p.backward), &o, &text), TCF_OK, "%s",
               tcf_session_message(s));
  cr_expect(strstr(text, "stream(T) gradient"), "%s", text);
  tcf_text_free(text);
  tcf_session_free(s);
}

// The gradient that the function gives is streamed itself, and so is its own gradient.
Test(split, of_the_gradient_of_a_streamed_block_rows_are_saved) {
  static const char text[] =
      "fn f(q: f32[S, D = 8], k: f32[T, D = 8], v: f32[T, E = 4], p: f32[S, D]) -> f32[S, D] {\n"
      "  fuse stream(T) {\n    let a = attention(q, k, v, T, D)\n  }\n"
      "  let y = sum(sin(a), S, E)\n  return grad(y, q) * p\n}\n";
  tcf_session *s = open_on("cpu");
  parts p = split_function(s, compile(s, text), NULL);
  expect_rows_saved(&p);
  tcf_session_free(s);
}

// ---- sizes

/// f on random arguments of these sizes, in parts and with `grad` (g takes a seed): the same bits.
static void check_bits(const char *text, const char *target, unsigned flags, const tcf_size *sizes,
                       size_t nsizes, bool known) {
  tcf_options o = {
      .size = sizeof o, .target = target, .cache_dir = "", .flags = flags, .threads = 2};
  tcf_session *s;
  tcf_tensor *args[MOST_VALUES], *want[MOST_VALUES] = {0};
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  tcf_function *f = compile(s, text);
  cr_assert(f);
  tcf_function *g = tcf_program_function(tcf_function_program(f), "g");
  tcf_split_options split = {.size = sizeof split, .sizes = sizes, .nsizes = known ? nsizes : 0};
  parts p = split_function(s, f, &split);
  size_t params = tcf_function_params(f), all = tcf_function_params(g);
  make_arguments(s, g, sizes, nsizes, 5, args);
  size_t results = tcf_function_results(f), n = tcf_function_results(g);
  cr_assert_eq(tcf_call(g, (const tcf_tensor *const *)args, all, want, n), TCF_OK, "%s",
               tcf_session_message(s));
  parts_run(&p, args, args + params);
  for (size_t k = 0; k < n; k++) {
    const tcf_tensor *got = k < results ? p.results[k] : p.gradients[k - results];
    cr_expect(same_bits(got, want[k]), "%s on %s: result %zu has other bits", text, target, k);
  }
  for (size_t i = results; i < tcf_function_results(p.forward); i++) {
    int64_t dims[TCF_MAX_RANK];
    cr_expect_eq(tcf_function_result_dims(p.forward, i, sizes, nsizes, dims), TCF_OK);
    for (int k = 0; k < tcf_tensor_rank(p.results[i]); k++)
      cr_expect_eq(dims[k], tcf_tensor_dims(p.results[i])[k]);
  }
  parts_forget(&p);
  free_tensors(want, n);
  free_tensors(args, all);
  tcf_session_free(s);
}

static const char *const of_bits[] = {
    // Two layers.
    "fn net(x: f32[N, D], w: f32[D, H], v: f32[H, E]) -> f32[N, E] { return dot(gelu(dot(x, w, "
    "D)), v, H) }\n"
    "fn f(x: f32[N, D], w: f32[D, H], v: f32[H, E]) -> f32[N, E] { return net(x, w, v) }\n"
    "fn g(x: f32[N, D], w: f32[D, H], v: f32[H, E], d: f32[N, E]) -> (f32[N, E], f32[N, D], f32[D, "
    "H], f32[H, E]) {\n"
    "  let y = net(x, w, v)\n  let (dx, dw, dv) = grad(y, x, w, v, seed = d)\n  return (y, dx, dw, "
    "dv)\n}\n",
    // Dropout.
    "fn net(x: f32[N, D], w: f32[D, H], seed: i64) -> f32[N, H] {\n"
    "  return dot(where(uniform(seed, N, D) < 0.7, x / 0.7, 0), w, D)\n}\n"
    "fn f(x: f32[N, D], w: f32[D, H], seed: i64) -> f32[N, H] { return net(x, w, seed) }\n"
    "fn g(x: f32[N, D], w: f32[D, H], seed: i64, d: f32[N, H]) -> (f32[N, H], f32[N, D], f32[D, "
    "H]) {\n"
    "  let y = net(x, w, seed)\n  let (dx, dw) = grad(y, x, w, seed = d)\n  return (y, dx, "
    "dw)\n}\n",
    // Rows of a table, and integers that are returned.
    "fn net(t: f32[V, D], i: i32[N], w: f32[D, H]) -> f32[N, H] { return dot(t[V = i], w, D) }\n"
    "fn f(t: f32[V, D], i: i32[N], w: f32[D, H]) -> (f32[N, H], i32[N]) { return (net(t, i, w), i "
    "+ 1) }\n"
    "fn g(t: f32[V, D], i: i32[N], w: f32[D, H], d: f32[N, H]) -> (f32[N, H], i32[N], f32[V, D], "
    "f32[D, H]) {\n"
    "  let y = net(t, i, w)\n  let (dt, dw) = grad(y, t, w, seed = d)\n  return (y, i + 1, dt, "
    "dw)\n}\n",
    // 16 bits.
    "fn net(x: bf16[N, D], w: bf16[D, H]) -> bf16[N, H] { return bf16(tanh(dot(x, w, D))) }\n"
    "fn f(x: bf16[N, D], w: bf16[D, H]) -> bf16[N, H] { return net(x, w) }\n"
    "fn g(x: bf16[N, D], w: bf16[D, H], d: f32[N, H]) -> (bf16[N, H], f32[N, D], f32[D, H]) {\n"
    "  let y = net(x, w)\n  let (dx, dw) = grad(y, x, w, seed = d)\n  return (y, dx, dw)\n}\n",
    // A streamed block.
    "fn net(x: f32[N, D], k: f32[H, D], v: f32[H, V]) -> f32[N, V] {\n"
    "  fuse stream(H) {\n    let a = attention(x, k, v, H, D)\n  }\n  return a\n}\n"
    "fn f(x: f32[N, D], k: f32[H, D], v: f32[H, V]) -> f32[N, V] { return net(x, k, v) }\n"
    "fn g(x: f32[N, D], k: f32[H, D], v: f32[H, V], d: f32[N, V]) -> (f32[N, V], f32[N, D], f32[H, "
    "D], f32[H, V]) {\n"
    "  let y = net(x, k, v)\n  let (dx, dk, dv) = grad(y, x, k, v, seed = d)\n  return (y, dx, dk, "
    "dv)\n}\n",
    // The gradient of a streamed block.
    "fn net(x: f32[N, D], k: f32[H, D], v: f32[H, V]) -> f32[N, D] {\n"
    "  fuse stream(H) {\n    let a = attention(x, k, v, H, D)\n  }\n"
    "  let y = sum(sin(a), N, V)\n  return grad(y, x)\n}\n"
    "fn f(x: f32[N, D], k: f32[H, D], v: f32[H, V]) -> f32[N, D] { return net(x, k, v) }\n"
    "fn g(x: f32[N, D], k: f32[H, D], v: f32[H, V], d: f32[N, D]) -> (f32[N, D], f32[N, D], f32[H, "
    "D], f32[H, V]) {\n"
    "  let y = net(x, k, v)\n  let (dx, dk, dv) = grad(y, x, k, v, seed = d)\n  return (y, dx, dk, "
    "dv)\n}\n",
    // A fused block, a checkpoint.
    "fn net(x: f32[N, D], u: f32[D], w: f32[D, H]) -> f32[N, H] {\n"
    "  fuse {\n    let n = rmsnorm(x, u, 0.01, D)\n  }\n"
    "  checkpoint {\n    let a = silu(dot(n, w, D))\n  }\n  return a * a\n}\n"
    "fn f(x: f32[N, D], u: f32[D], w: f32[D, H]) -> f32[N, H] { return net(x, u, w) }\n"
    "fn g(x: f32[N, D], u: f32[D], w: f32[D, H], d: f32[N, H]) -> (f32[N, H], f32[N, D], f32[D], "
    "f32[D, H]) {\n"
    "  let y = net(x, u, w)\n  let (dx, du, dw) = grad(y, x, u, w, seed = d)\n  return (y, dx, du, "
    "dw)\n}\n",
};

static const tcf_size some[] = {{"N", 24}, {"D", 16}, {"H", 20}, {"E", 12}, {"V", 8}};

Test(split, results_have_the_bits_of_the_whole) {
  for (size_t i = 0; i < sizeof of_bits / sizeof *of_bits; i++)
    for (int known = 0; known < 2; known++) {
      check_bits(of_bits[i], "cpu", TCF_DETERMINISTIC, some, 5, known);
      check_bits(of_bits[i], "interp-tile:sm_90a", TCF_DETERMINISTIC, some, 5, known);
    }
}

// ---- what the language says of derivatives

/// By name, of the program that f belongs to.
static tcf_function *beside(const tcf_function *f, const char *name) {
  return tcf_program_function(tcf_function_program(f), name);
}

static int lookup(void *user, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  float *y = tcf_tensor_data(out);
  ++*(int *)user;
  for (int64_t i = 0; i < tcf_tensor_elements(out); i++) y[i] = 3 * (float)tcf_tensor_get(in[0], i);
  return nin != 1;
}

static int lookup_back(void *user, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  float *y = tcf_tensor_data(out);
  ++*(int *)user;
  for (int64_t i = 0; i < tcf_tensor_elements(out); i++)
    y[i] = 3 * (float)tcf_tensor_get(in[2], i) + (float)tcf_tensor_get(in[1], i);
  return nin != 3;
}

Test(split, derivatives_of_the_program_are_taken) {
  static const char text[] =
      "extern fn lookup(x: f32[N]) -> f32[N] vjp lookup_back\n"
      "extern fn lookup_back(x: f32[N], y: f32[N], dy: f32[N]) -> f32[N]\n"
      "fn twice(x: real[..]) -> real[..] vjp twice_back { return x + x }\n"
      "fn twice_back(x: real[..], y: real[..], dy: real[..]) -> real[..] { return 7 * dy }\n"
      "fn f(x: f32[N], w: f32[N]) -> f32[N] { return twice(lookup(x * w)) * stop(w) }\n"
      "fn g(x: f32[N], w: f32[N], d: f32[N]) -> (f32[N], f32[N]) {\n"
      "  let y = f(x, w)\n  return grad(y, x, w, seed = d)\n}\n";
  static const char *const targets[] = {"cpu", "interp", "interp-tile"};
  for (int t = 0; t < 3; t++) {
    int calls = 0, back = 0;
    tcf_session *s = open_on(targets[t]);
    tcf_tensor *args[MOST_VALUES], *want[2] = {0};
    cr_assert_eq(tcf_register_extern(s, "lookup", lookup, &calls), TCF_OK);
    cr_assert_eq(tcf_register_extern(s, "lookup_back", lookup_back, &back), TCF_OK);
    tcf_function *f = compile(s, text), *g = beside(f, "g");
    parts p = split_function(s, f, NULL);
    make_arguments(s, g, some, 5, 1, args);
    cr_assert_eq(tcf_call(g, (const tcf_tensor *const *)args, 3, want, 2), TCF_OK);
    calls = back = 0;
    parts_run(&p, args, args + 2);
    // What a host function gave is saved: it is not called again.
    cr_expect_eq(calls, 1, "%d calls on %s", calls, targets[t]);
    cr_expect_eq(back, 1);
    for (size_t k = 0; k < 2; k++) check_close(p.gradients[k], want[k], 1e-6, text, k);
    parts_forget(&p);
    free_tensors(want, 2);
    free_tensors(args, 3);
    tcf_session_free(s);
  }
}

Test(split, a_function_with_derivatives_can_be_divided) {
  static const char text[] =
      "fn net(x: f32[N], w: f32[N]) -> (f32[N], f32) {\n"
      "  let y = sum(exp(x * w) * sin(x), N)\n  return (grad(y, x), y)\n}\n"
      "fn f(x: f32[N], w: f32[N]) -> (f32[N], f32) { return net(x, w) }\n"
      "fn g(x: f32[N], w: f32[N], d0: f32[N], d1: f32) -> (f32[N], f32[N]) {\n"
      "  let (a, b) = net(x, w)\n  let z = sum(a * d0, N) + b * d1\n  return grad(z, x, w)\n}\n";
  tcf_session *s = open_on("cpu");
  tcf_tensor *args[MOST_VALUES], *want[2] = {0};
  tcf_function *f = compile(s, text), *g = beside(f, "g");
  cr_assert(g, "%s", tcf_session_message(s));
  parts p = split_function(s, f, NULL);
  make_arguments(s, g, some, 5, 1, args);
  cr_assert_eq(tcf_call(g, (const tcf_tensor *const *)args, 4, want, 2), TCF_OK);
  parts_run(&p, args, args + 2);
  for (size_t k = 0; k < 2; k++) check_close(p.gradients[k], want[k], 1e-5, text, k);
  // Once more: the forward part is a function like others.
  parts again = split_function(s, p.forward, NULL);
  cr_expect_eq(tcf_function_results(again.backward), 2);
  parts_forget(&p);
  free_tensors(want, 2);
  free_tensors(args, 4);
  tcf_session_free(s);
}

// ---- other sizes, other texts

Test(split, sizes_that_are_not_known_may_be_any) {
  static const char plain[] =
      "fn net(x: f32[N, D], w: f32[D, H]) -> f32[P] {\n"
      "  let y = x[N -> P + (R = 3)]\n  return sum(max(sin(dot(y, w, D)), R) ** 2, H)\n}\n"
      "fn f(x: f32[N, D], w: f32[D, H]) -> (f32[P], f32[H]) { return (net(x, w), sum(w, D)) }\n"
      "fn g(x: f32[N, D], w: f32[D, H], d: f32[P = N - 2], e: f32[H]) -> (f32[N, D], f32[D, H]) {\n"
      "  let y = net(x, w)\n  let z = sum(w, D)\n  let l = sum(y * d, P) + sum(z * e, H)\n  return "
      "grad(l, x, w)\n}\n";
  static const int64_t of[][3] = {{3, 1, 1}, {24, 16, 20}, {65, 7, 33}};
  tcf_session *s = open_on("cpu");
  tcf_function *f = compile(s, plain), *g = beside(f, "g");
  cr_assert(g, "%s", tcf_session_message(s));
  parts p = split_function(s, f, NULL);
  for (int symbolic = 0; symbolic < 2; symbolic++)
    for (int i = 0; i < 3; i++) {
      tcf_size sizes[] = {{"N", of[i][0]}, {"D", of[i][1]}, {"H", of[i][2]}};
      tcf_tensor *args[MOST_VALUES], *want[2] = {0};
      for (int k = 0; k < 3 && symbolic; k++) {
        tcf_function_keep_symbolic(p.forward, sizes[k].name, 1);
        tcf_function_keep_symbolic(p.backward, sizes[k].name, 1);
      }
      make_arguments(s, g, sizes, 3, 2, args);
      cr_assert_eq(tcf_call(g, (const tcf_tensor *const *)args, 4, want, 2), TCF_OK);
      parts_run(&p, args, args + 2);
      for (size_t k = 0; k < 2; k++) check_close(p.gradients[k], want[k], 1e-5, plain, k);
      free_tensors(want, 2);
      free_tensors(args, 4);
    }
  parts_forget(&p);
  tcf_session_free(s);
}

Test(split, ir_text_is_divided_too) {
  static const char text[] =
      "graph @f(%x: f32[N, T], %w: f32[T]) {\n"
      "  %0 = mul %x, %w : f32[N, T]\n"
      "  %1 = exp %0 : f32[N, T]\n"
      "  %2 = sum %1 over T : f32[N]\n"
      "  return %2 as total\n}\n";
  char names[256];
  tcf_session *s = open_on("cpu");
  tcf_tensor *args[2], *seed;
  tcf_function *f = compile(s, text);
  parts p = split_function(s, f, NULL);
  cr_expect_str_eq(names_of(p.backward, true, names), "d_x d_w");
  cr_expect(strstr(names_of(p.backward, false, names), "d_total"), "%s", names);
  tcf_size sizes[] = {{"N", 3}, {"T", 5}};
  make_arguments(s, f, sizes, 2, 4, args);
  cr_assert_eq(tcf_tensor_new(s, TCF_F32, 1, (int64_t[]){3}, &seed), TCF_OK);
  tcf_tensor_fill(seed, 1);
  parts_run(&p, args, &seed);
  for (int i = 0; i < 15; i++) {
    double x = tcf_tensor_get(args[0], i), w = tcf_tensor_get(args[1], i % 5);
    cr_expect_float_eq(tcf_tensor_get(p.gradients[0], i), w * exp(x * w), 1e-5 * exp(fabs(x * w)));
  }
  parts_forget(&p);
  tcf_tensor_free(seed);
  free_tensors(args, 2);
  tcf_session_free(s);
}

// ---- lives

Test(split, parts_live_as_long_as_the_program) {
  static const char text[] = "fn f(x: f32[N]) -> f32[N] { return tanh(x) }";
  tcf_session *s = open_on("cpu");
  tcf_function *f = compile(s, text), *none = NULL;
  parts a = split_function(s, f, NULL), b = split_function(s, f, NULL);
  cr_expect_neq(a.forward, b.forward);
  cr_expect_eq(tcf_program_count(tcf_function_program(a.forward)), 2);
  tcf_program_free(tcf_function_program(a.forward));
  cr_expect_str_eq(tcf_function_name(b.backward), "f_backward");
  cr_expect_eq(tcf_function_split(f, &(tcf_split_options){0}, &none, &none), TCF_WRONG_USE);
  cr_expect_eq(none, NULL);
  size_t first, count;
  cr_expect_eq(tcf_function_saved(f, &first, &count), TCF_OK);
  cr_expect_eq(first, 1);
  cr_expect_eq(count, 0);
  tcf_program_free(tcf_function_program(f));
  tcf_session_free(s);
}

Test(split, what_is_made_of_seeds_is_of_the_backward_part) {
  // Few rows are summed in chunks, by nodes that a pass makes.
  static const char text[] = "fn f(x: f32[N, D], b: f32[D]) -> f32[N, D] { return x * 2 + b }";
  enum { N = 100000, D = 2 };
  static const tcf_size sizes[] = {{"N", N}, {"D", D}};
  static const char *const targets[] = {"cpu", "interp-tile:sm_90a"};
  char names[256];
  for (int t = 0; t < 2; t++) {
    tcf_session *s = open_on(targets[t]);
    tcf_split_options o = {.size = sizeof o, .sizes = sizes, .nsizes = 2};
    tcf_function *f = compile(s, text);
    parts p = split_function(s, f, &o);
    cr_expect_str_eq(names_of(p.forward, true, names), "out");
    cr_expect_str_eq(names_of(p.backward, false, names), "d_out");
    if (!t) {
      tcf_tensor *args[2], *seed;
      double sum = 0, size = 0;
      make_arguments(s, f, sizes, 2, 1, args);
      cr_assert_eq(tcf_tensor_new(s, TCF_F32, 2, (int64_t[]){N, D}, &seed), TCF_OK);
      tcf_tensor_fill_random(seed, 9);
      parts_run(&p, args, &seed);
      for (int i = 0; i < N; i++) {
        sum += tcf_tensor_get(seed, 2 * i + 1);
        size += fabs(tcf_tensor_get(seed, 2 * i + 1));
      }
      cr_expect_float_eq(tcf_tensor_get(p.gradients[1], 1), sum, size * 1e-6);
      parts_forget(&p);
      tcf_tensor_free(seed);
      free_tensors(args, 2);
    }
    tcf_session_free(s);
  }
}
