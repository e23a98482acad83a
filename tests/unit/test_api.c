// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The library as a host program uses it: loading, calling, strides, sizes, errors, host functions.
#include <criterion/criterion.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tcc_fuse.h"

static const char softmax_text[] =
    "fn rows(x: f32[N, T]) -> f32[N, T] {\n"
    "  let e = exp(x - max(x, T))\n"
    "  return e / sum(e, T)\n"
    "}\n"
    "fn two(x: f32[N], y: f32[N, M]) -> (f32[N, M], f32) {\n"
    "  return (x + y, sum(x, N))\n"
    "}\n"
    "fn pick(table: f32[V, D], ids: i32[N]) -> f32[N, D] {\n"
    "  return table[V = ids]\n"
    "}\n"
    "fn even(x: f32[N]) -> f32[N] where N % 4 == 0 {\n"
    "  return x * 2\n"
    "}\n";

static tcf_session *open_session(const char *target, unsigned flags) {
  tcf_options o = {
      .size = sizeof o, .target = target, .flags = flags, .cache_dir = "", .threads = 2};
  tcf_session *s = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  return s;
}

static tcf_program *load(tcf_session *s, const char *text) {
  tcf_program *p = NULL;
  cr_assert_eq(tcf_program_load(s, "test.tdsl", text, strlen(text), &p), TCF_OK, "%s",
               tcf_session_message(s));
  return p;
}

static tcf_tensor *random_of(tcf_dtype t, int rank, const int64_t *dims, uint64_t seed) {
  tcf_tensor *x = NULL;
  cr_assert_eq(tcf_tensor_new(NULL, t, rank, dims, &x), TCF_OK);
  tcf_tensor_fill_random(x, seed);
  return x;
}

static void expect_close(const tcf_tensor *got, const tcf_tensor *wanted, double tolerance) {
  tcf_difference d;
  cr_assert_eq(tcf_tensor_compare(NULL, got, wanted, tolerance, &d), TCF_OK);
  cr_assert_eq(d.failed, 0, "element %lld: %g, not %g", (long long)d.worst, d.got, d.wanted);
}

static const char *const targets[] = {"cpu", "interp", "interp-tile"};

static void keep_message(void *user, const tcf_diagnostic *d) {
  cr_assert(d->severity == TCF_ERROR && !d->file && !d->code);
  snprintf(user, 300, "%s", d->message);
}

Test(api, a_bad_target_is_told_to_the_callback) {
  char message[300] = "";
  tcf_session *s = NULL;
  tcf_options o = {.size = sizeof o, .target = "gpu"};
  o.diagnostic = keep_message;
  o.diagnostic_user = message;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  cr_assert(strstr(message, "there is no target \"gpu\": it is cpu, cpu:NAME, cuda"), "%s", message);
  o.target = "cpu:hasbeen";
  cr_assert_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  cr_assert(strstr(message, "there is no target \"cpu:hasbeen\": "), "%s", message);
  cr_assert_null(s);
}

Test(api, options) {
  tcf_session *s = NULL;
  tcf_options o = {.size = sizeof o, .target = "gpu"};
  cr_assert_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  o = (tcf_options){.size = 1};
  cr_assert_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  cr_assert_null(s);
  cr_assert_eq(tcf_session_new(NULL, &s), TCF_OK);
  cr_assert_str_eq(tcf_session_message(s), "");
  tcf_session_free(s);
  tcf_session_free(NULL);
}

Test(api, functions_tell_their_signature) {
  tcf_session *s = open_session("interp", 0);
  tcf_program *p = load(s, softmax_text);
  cr_assert_eq(tcf_program_count(p), 4);
  cr_assert_null(tcf_program_function(p, "none"));
  cr_assert_null(tcf_program_at(p, 4));
  tcf_function *f = tcf_program_function(p, "two");
  cr_assert_str_eq(tcf_function_name(f), "two");
  cr_assert_eq(tcf_function_params(f), 2);
  cr_assert_eq(tcf_function_results(f), 2);
  cr_assert_eq(tcf_function_symbols(f), 2);
  cr_assert_str_eq(tcf_function_symbol(f, 0), "N");
  tcf_value_info info;
  cr_assert_eq(tcf_function_param(f, 1, &info), TCF_OK);
  cr_assert_str_eq(info.name, "y");
  cr_assert_eq(info.dtype, TCF_F32);
  cr_assert_eq(info.rank, 2);
  cr_assert_str_eq(info.axes[1], "M");
  cr_assert_str_eq(info.sizes[1], "M");
  cr_assert_eq(tcf_function_result(f, 1, &info), TCF_OK);
  cr_assert_eq(info.rank, 0);
  cr_assert_eq(tcf_function_param(f, 2, &info), TCF_WRONG_USE);
  int64_t dims[TCF_MAX_RANK];
  tcf_size sizes[] = {{"N", 3}, {"M", 5}};
  cr_assert_eq(tcf_function_param_dims(f, 1, sizes, 2, dims), TCF_OK);
  cr_assert(dims[0] == 3 && dims[1] == 5);
  cr_assert_eq(tcf_function_param_dims(f, 1, sizes, 1, dims), TCF_WRONG_USE);
  cr_assert_str_eq(tcf_session_message(s), "the size M is not given");
  tcf_session_free(s);
}

Test(api, every_target_gives_the_same) {
  for (int t = 0; t < 3; t++) {
    tcf_session *s = open_session(targets[t], 0);
    tcf_program *p = load(s, softmax_text);
    tcf_tensor *x = random_of(TCF_F32, 2, (int64_t[]){5, 33}, 1), *y = NULL;
    cr_assert_eq(tcf_call(tcf_program_function(p, "rows"), (const tcf_tensor *[]){x}, 1, &y, 1),
                 TCF_OK, "%s: %s", targets[t], tcf_session_message(s));
    for (int i = 0; i < 5; i++) {
      double largest = -INFINITY, sum = 0;
      for (int k = 0; k < 33; k++) largest = fmax(largest, tcf_tensor_get(x, i * 33 + k));
      for (int k = 0; k < 33; k++) sum += exp(tcf_tensor_get(x, i * 33 + k) - largest);
      for (int k = 0; k < 33; k++)
        cr_assert_float_eq(tcf_tensor_get(y, i * 33 + k),
                           exp(tcf_tensor_get(x, i * 33 + k) - largest) / sum, 1e-6, "%s",
                           targets[t]);
    }
    tcf_tensor_free(x);
    tcf_tensor_free(y);
    tcf_session_free(s);
  }
}

Test(api, strided_arguments_and_results) {
  for (int t = 0; t < 3; t++) {
    tcf_session *s = open_session(targets[t], 0);
    tcf_function *f = tcf_program_function(load(s, softmax_text), "two");
    tcf_tensor *x = random_of(TCF_F32, 1, (int64_t[]){6}, 2);
    tcf_tensor *y = random_of(TCF_F32, 2, (int64_t[]){6, 7}, 3);
    tcf_tensor *wanted[2] = {0}, *got[2] = {0}, *xt, *yt;
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x, y}, 2, wanted, 2), TCF_OK);
    // The same numbers: x reversed in memory, y transposed.
    float xs[6], ys[42], outs[84];
    for (int i = 0; i < 6; i++) xs[5 - i] = (float)tcf_tensor_get(x, i);
    for (int i = 0; i < 6; i++)
      for (int k = 0; k < 7; k++) ys[k * 6 + i] = (float)tcf_tensor_get(y, i * 7 + k);
    tcf_tensor_borrow(s, TCF_F32, 1, (int64_t[]){6}, (int64_t[]){-4}, xs + 5, &xt);
    tcf_tensor_borrow(s, TCF_F32, 2, (int64_t[]){6, 7}, (int64_t[]){4, 24}, ys, &yt);
    tcf_tensor_borrow(s, TCF_F32, 2, (int64_t[]){6, 7}, (int64_t[]){8, 48}, outs, &got[0]);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){xt, yt}, 2, got, 2), TCF_OK, "%s",
                 tcf_session_message(s));
    expect_close(got[0], wanted[0], 0);
    expect_close(got[1], wanted[1], 1e-6);
    tcf_tensor *all[] = {x, y, xt, yt, wanted[0], wanted[1], got[0], got[1]};
    for (int i = 0; i < 8; i++) tcf_tensor_free(all[i]);
    tcf_session_free(s);
  }
}

static size_t bytes_in_use(void) {
  struct mallinfo2 m = mallinfo2();
  return m.uordblks + m.hblkhd;
}

// Calls of variants that are there leave no memory behind, whichever they go to.
Test(api, calls_of_other_sizes_keep_no_memory) {
  tcf_session *s = open_session("cpu", 0);
  tcf_function *f = tcf_program_function(load(s, softmax_text), "even");
  tcf_tensor *x[2], *y[2];
  for (int i = 0; i < 2; i++) {
    x[i] = random_of(TCF_F32, 1, (int64_t[]){4 + 4 * i}, 1);
    y[i] = random_of(TCF_F32, 1, (int64_t[]){4 + 4 * i}, 2);
  }
  size_t before = 0;
  for (int i = 0; i < 100000; i++) {
    if (i == 100) before = bytes_in_use();
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x[i % 2]}, 1, &y[i % 2], 1), TCF_OK);
  }
  size_t after = bytes_in_use();
  cr_assert(after <= before + 1024, "%zu bytes more than before", after - before);
  for (int i = 0; i < 2; i++) tcf_tensor_free(x[i]), tcf_tensor_free(y[i]);
  tcf_session_free(s);
}

Test(api, results_may_share_memory_with_arguments) {
  tcf_session *s = open_session("cpu", 0);
  tcf_function *f = tcf_program_function(load(s, softmax_text), "rows");
  tcf_tensor *x = random_of(TCF_F32, 2, (int64_t[]){4, 50}, 1), *y = NULL;
  cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x}, 1, &y, 1), TCF_OK);
  tcf_tensor *in_place = x;
  cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x}, 1, &in_place, 1), TCF_OK);
  expect_close(x, y, 0);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  tcf_session_free(s);
}

Test(api, unaligned_memory) {
  tcf_session *s = open_session("cpu", 0);
  tcf_function *f = tcf_program_function(load(s, softmax_text), "even");
  char bytes[4 * 8 + 1];
  for (int i = 0; i < 8; i++) memcpy(bytes + 1 + 4 * i, &(float){(float)i}, 4);
  tcf_tensor *x, *y = NULL;
  cr_assert_eq(tcf_tensor_borrow(s, TCF_F32, 1, (int64_t[]){8}, NULL, bytes + 1, &x), TCF_OK);
  cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x}, 1, &y, 1), TCF_OK);
  for (int i = 0; i < 8; i++) cr_assert_eq(tcf_tensor_get(y, i), 2 * i);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  tcf_session_free(s);
}

static void expect_wrong(tcf_function *f, tcf_session *s, const tcf_tensor *const *args, size_t n,
                         tcf_tensor **results, size_t nresults, const char *message) {
  cr_assert_eq(tcf_call(f, args, n, results, nresults), TCF_WRONG_USE, "%s", message);
  cr_assert_str_eq(tcf_session_message(s), message);
}

Test(api, wrong_arguments_are_named) {
  for (int t = 0; t < 3; t++) {
    tcf_session *s = open_session(targets[t], 0);
    tcf_program *p = load(s, softmax_text);
    tcf_function *f = tcf_program_function(p, "two"), *even = tcf_program_function(p, "even");
    tcf_tensor *x = random_of(TCF_F32, 1, (int64_t[]){6}, 2), *none[2] = {0};
    tcf_tensor *y = random_of(TCF_F32, 2, (int64_t[]){5, 7}, 3);
    tcf_tensor *z = random_of(TCF_F64, 1, (int64_t[]){6}, 3);
    expect_wrong(f, s, (const tcf_tensor *[]){x, y}, 2, none, 2, "x has N = 6, but y has N = 5");
    expect_wrong(f, s, (const tcf_tensor *[]){x, x}, 2, none, 2,
                 "argument y must have 2 axes, but has 1");
    expect_wrong(f, s, (const tcf_tensor *[]){z, y}, 2, none, 2,
                 "argument x must be f32, but is f64");
    expect_wrong(f, s, (const tcf_tensor *[]){x}, 1, none, 2, "two takes 2 arguments, not 1");
    expect_wrong(f, s, (const tcf_tensor *[]){x, NULL}, 2, none, 2, "argument y is missing");
    expect_wrong(even, s, (const tcf_tensor *[]){x}, 1, none, 1,
                 "N = 6, but the function demands a multiple of 4");
    tcf_tensor *y6 = random_of(TCF_F32, 2, (int64_t[]){6, 7}, 3), *bad[2] = {y, NULL};
    expect_wrong(f, s, (const tcf_tensor *[]){x, y6}, 2, none, 1, "two has 2 results, not 1");
    tcf_tensor *x4 = random_of(TCF_F32, 1, (int64_t[]){4}, 2);
    expect_wrong(even, s, (const tcf_tensor *[]){x4}, 1, none, 0, "even has 1 result, not 0");
    expect_wrong(even, s, NULL, 0, none, 1, "even takes 1 argument, not 0");
    tcf_tensor_free(x4);
    expect_wrong(f, s, (const tcf_tensor *[]){x, y6}, 2, bad, 2,
                 "axis N of result out0 must have size 6, but has 5");
    tcf_tensor *all[] = {x, y, z, y6};
    for (int i = 0; i < 4; i++) tcf_tensor_free(all[i]);
    tcf_session_free(s);
  }
}

static void keep_text(void *user, const tcf_diagnostic *d) {
  snprintf(user, 1000, "%d:%d E%04d %s", d->line, d->column, d->code, d->message);
}

static void keep_rendered(void *user, const tcf_diagnostic *d) {
  snprintf(user, 1000, "%s", d->text);
}

Test(api, indices_out_of_range_have_a_position) {
  for (int t = 0; t < 3; t++) {
    char text[1000] = "";
    tcf_options o = {.size = sizeof o,
                     .target = targets[t],
                     .cache_dir = "",
                     .diagnostic = keep_rendered,
                     .diagnostic_user = text};
    tcf_session *s;
    cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
    tcf_function *f = tcf_program_function(load(s, softmax_text), "pick");
    int32_t ids[] = {0, 2, 3, 1};
    tcf_tensor *table = random_of(TCF_F32, 2, (int64_t[]){3, 8}, 1), *i, *out = NULL;
    tcf_tensor_borrow(s, TCF_I32, 1, (int64_t[]){4}, NULL, ids, &i);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){table, i}, 2, &out, 1), TCF_WRONG_DATA, "%s",
                 targets[t]);
    cr_assert_null(out);
    cr_expect_str_eq(text,
                     "test.tdsl:9:16: error[E0601]: index 3 is outside of axis V of size 3\n"
                     "   9 |   return table[V = ids]\n"
                     "     |                ^~~~~~~\n",
                     "%s", targets[t]);
    ids[2] = 2;
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){table, i}, 2, &out, 1), TCF_OK);
    cr_assert_eq(tcf_tensor_get(out, 8), tcf_tensor_get(table, 16));
    tcf_tensor *all[] = {table, i, out};
    for (int k = 0; k < 3; k++) tcf_tensor_free(all[k]);
    tcf_session_free(s);
  }
}

Test(api, empty_and_single_sizes) {
  static const int64_t shapes[][2] = {{0, 4}, {4, 0}, {1, 1}, {1, 17}, {17, 1}};
  for (int t = 0; t < 3; t++) {
    tcf_session *s = open_session(targets[t], 0);
    tcf_function *f = tcf_program_function(load(s, softmax_text), "two");
    for (int k = 0; k < 5; k++) {
      tcf_tensor *x = random_of(TCF_F32, 1, shapes[k], 2), *out[2] = {0};
      tcf_tensor *y = random_of(TCF_F32, 2, shapes[k], 3);
      cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x, y}, 2, out, 2), TCF_OK, "%s",
                   tcf_session_message(s));
      for (int64_t i = 0; i < tcf_tensor_elements(y); i++)
        cr_assert_float_eq(tcf_tensor_get(out[0], i),
                           tcf_tensor_get(x, i / shapes[k][1]) + tcf_tensor_get(y, i), 1e-6);
      tcf_tensor *all[] = {x, y, out[0], out[1]};
      for (int i = 0; i < 4; i++) tcf_tensor_free(all[i]);
    }
    tcf_session_free(s);
  }
}

Test(api, sizes_kept_symbolic_share_a_variant) {
  tcf_session *s = open_session("cpu", 0);
  tcf_function *f = tcf_program_function(load(s, softmax_text), "rows");
  cr_assert_eq(tcf_function_keep_symbolic(f, "N", 1), TCF_OK);
  cr_assert_eq(tcf_function_keep_symbolic(f, "K", 1), TCF_WRONG_USE);
  for (int64_t n = 1; n < 20; n += 6) {
    tcf_tensor *x = random_of(TCF_F32, 2, (int64_t[]){n, 9}, 1), *y = NULL;
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x}, 1, &y, 1), TCF_OK, "%s",
                 tcf_session_message(s));
    for (int64_t i = 0; i < n; i++) {
      double sum = 0;
      for (int k = 0; k < 9; k++) sum += tcf_tensor_get(y, i * 9 + k);
      cr_assert_float_eq(sum, 1, 1e-6);
    }
    tcf_tensor_free(x);
    tcf_tensor_free(y);
  }
  tcf_session_free(s);
}

Test(api, wrong_programs_reach_the_callback) {
  char text[1000] = "";
  tcf_options o = {
      .size = sizeof o, .target = "interp", .diagnostic = keep_text, .diagnostic_user = text};
  tcf_session *s;
  tcf_program *p = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  static const char wrong[] = "fn f(x: f32[N]) -> f32[N] {\n  return x + y\n}\n";
  cr_assert_eq(tcf_program_load(s, "w.tdsl", wrong, sizeof wrong - 1, &p), TCF_WRONG_PROGRAM);
  cr_assert_null(p);
  cr_assert(strstr(text, "2:14 E02") == text, "%s", text);
  cr_assert(strstr(tcf_session_message(s), "w.tdsl:2:14: ") == tcf_session_message(s), "%s",
            tcf_session_message(s));
  cr_assert(strstr(tcf_session_diagnostics_json(s), "w.tdsl"));
  cr_assert_eq(tcf_program_load_file(s, "/no/such/file.tdsl", &p), TCF_NO_FILE);
  tcf_session_free(s);
}

// ---- host functions

static int scale_tensor(void *user, const tcf_tensor *const *in, size_t n, tcf_tensor *out) {
  cr_assert_eq(n, 1);
  const float *x = tcf_tensor_data(in[0]);
  float *y = tcf_tensor_data(out);
  for (int64_t i = 0; i < tcf_tensor_elements(out); i++) y[i] = x[i] * *(float *)user;
  return *(float *)user < 0;
}

static int32_t scale_plain(const float *x, float *out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = 3 * x[i];
  return 0;
}

static const char host_text[] =
    "extern fn scale(x: f32[N]) -> f32[N]\n"
    "fn f(x: f32[N]) -> f32[N] { return scale(x + 1) * 2 }\n";

Test(api, host_functions) {
  for (int t = 0; t < 3; t++) {
    tcf_session *s = open_session(targets[t], 0);
    tcf_function *f = tcf_program_function(load(s, host_text), "f");
    float data[] = {1, 2, 3}, by = 3;
    tcf_tensor *x, *y = NULL;
    tcf_tensor_borrow(s, TCF_F32, 1, (int64_t[]){3}, NULL, data, &x);
    const tcf_tensor *args[] = {x};
    cr_assert_eq(tcf_call(f, args, 1, &y, 1), TCF_WRONG_USE);
    cr_assert_str_eq(tcf_session_message(s),
                     "the program calls the host function scale, which is not registered");
    for (int plain = 0; plain < 2; plain++) {
      tcf_status status = plain ? tcf_register_extern_c(s, "scale", (void (*)(void))scale_plain,
                                                        "(f32[N]) -> f32[N]")
                                : tcf_register_extern(s, "scale", scale_tensor, &by);
      cr_assert_eq(status, TCF_OK);
      cr_assert_eq(tcf_call(f, args, 1, &y, 1), TCF_OK, "%s: %s", targets[t],
                   tcf_session_message(s));
      for (int i = 0; i < 3; i++) cr_assert_eq(tcf_tensor_get(y, i), (data[i] + 1) * 6);
      tcf_tensor_free(y);
      y = NULL;
    }
    cr_assert_eq(
        tcf_register_extern_c(s, "scale", (void (*)(void))scale_plain, "(f32[N, M]) -> f32[N]"),
        TCF_OK);
    cr_assert_eq(tcf_call(f, args, 1, &y, 1), TCF_WRONG_DATA);
    cr_assert(strstr(tcf_session_message(s), "does not fit its declaration"));
    by = -1;
    tcf_register_extern(s, "scale", scale_tensor, &by);
    cr_assert_eq(tcf_call(f, args, 1, &y, 1), TCF_WRONG_DATA);
    cr_assert_str_eq(tcf_session_message(s), "the host function scale returned 1");
    cr_assert_eq(tcf_register_extern_c(s, "g", (void (*)(void))scale_plain, "(f33[N]) -> f32"),
                 TCF_WRONG_USE);
    tcf_tensor_free(x);
    tcf_session_free(s);
  }
}

// ---- denormals, threads, cache

Test(api, denormals_are_exact_unless_asked) {
  for (int flush = 0; flush < 2; flush++) {
    tcf_session *s = open_session("cpu", flush ? TCF_FLUSH_DENORMALS : 0);
    tcf_function *f = tcf_program_function(load(s, softmax_text), "even");
    float tiny[] = {1e-39f, 1e-40f, 1e-44f, 1};
    tcf_tensor *x, *y = NULL;
    tcf_tensor_borrow(s, TCF_F32, 1, (int64_t[]){4}, NULL, tiny, &x);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){x}, 1, &y, 1), TCF_OK);
    for (int i = 0; i < 3; i++)
      cr_assert_eq(tcf_tensor_get(y, i), flush ? 0 : (double)tiny[i] * 2, "flush %d", flush);
    cr_assert_eq(tcf_tensor_get(y, 3), 2);
    volatile float after = tiny[0];
    cr_assert_gt(after * 0.5f, 0, "the caller's mode is as it was");
    tcf_tensor_free(x);
    tcf_tensor_free(y);
    tcf_session_free(s);
  }
}

typedef struct own_threads {
  int calls;
} own_threads;

static void count_and_run(void *user, tcf_task task, void *args, int64_t n) {
  ((own_threads *)user)->calls++;
  // Backwards, one tile at a time: any order is allowed.
  for (int64_t i = n - 1; i >= 0; i--) task(args, i, i + 1, (int32_t)(i % 2));
}

Test(api, the_host_may_bring_its_threads) {
  own_threads own = {0};
  tcf_options o = {.size = sizeof o,
                   .cache_dir = "",
                   .threads = 2,
                   .parallel_for = count_and_run,
                   .parallel_user = &own};
  tcf_session *s, *plain = open_session("cpu", 0);
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  tcf_tensor *x = random_of(TCF_F32, 2, (int64_t[]){300, 70}, 1), *y = NULL, *z = NULL;
  const tcf_tensor *args[] = {x};
  cr_assert_eq(tcf_call(tcf_program_function(load(s, softmax_text), "rows"), args, 1, &y, 1),
               TCF_OK);
  cr_assert_gt(own.calls, 0);
  cr_assert_eq(tcf_call(tcf_program_function(load(plain, softmax_text), "rows"), args, 1, &z, 1),
               TCF_OK);
  expect_close(y, z, 0);
  tcf_tensor *all[] = {x, y, z};
  for (int i = 0; i < 3; i++) tcf_tensor_free(all[i]);
  tcf_session_free(s);
  tcf_session_free(plain);
}

static int entries(const char *folder) {
  char command[128];
  snprintf(command, sizeof command, "ls %s | wc -l", folder);
  FILE *f = popen(command, "r");
  int n = 0;
  cr_assert_eq(fscanf(f, "%d", &n), 1);
  pclose(f);
  return n;
}

Test(api, compiled_code_is_found_on_disk) {
  char folder[] = "/tmp/tcf-api-XXXXXX", command[64];
  cr_assert(mkdtemp(folder));
  tcf_tensor *table = random_of(TCF_F32, 2, (int64_t[]){3, 8}, 1), *ids, *first = NULL, *y = NULL;
  int32_t good[] = {2, 0}, bad[] = {0, 7};
  for (int round = 0; round < 3; round++) {
    char text[1000] = "";
    tcf_options o = {.size = sizeof o,
                     .cache_dir = folder,
                     .threads = 1,
                     .diagnostic = keep_text,
                     .diagnostic_user = text};
    tcf_session *s;
    cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
    // A line above the function moves positions but not the code.
    char source[1000];
    snprintf(source, sizeof source, "%s%s", round == 2 ? "// one more line\n" : "", softmax_text);
    tcf_function *f = tcf_program_function(load(s, source), "pick");
    tcf_tensor_borrow(s, TCF_I32, 1, (int64_t[]){2}, NULL, good, &ids);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){table, ids}, 2, &y, 1), TCF_OK);
    cr_assert_eq(entries(folder), 1, "round %d", round);
    if (first)
      expect_close(y, first, 0);
    else
      first = y;
    if (y != first) tcf_tensor_free(y);
    y = NULL;
    tcf_tensor_free(ids);
    tcf_tensor_borrow(s, TCF_I32, 1, (int64_t[]){2}, NULL, bad, &ids);
    cr_assert_eq(tcf_call(f, (const tcf_tensor *[]){table, ids}, 2, &y, 1), TCF_WRONG_DATA);
    cr_assert(strstr(text, round == 2 ? "10:" : "9:") == text, "round %d: %s", round, text);
    tcf_tensor_free(ids);
    tcf_session_free(s);
  }
  tcf_tensor_free(table);
  tcf_tensor_free(first);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
}

// ---- looking inside

static void count_passes(void *user, const char *title, const char *text) {
  cr_assert(strlen(title) && strstr(text, "graph @"));
  ++*(int *)user;
}

Test(api, every_stage_prints_and_those_up_to_tile_run_again) {
  tcf_session *s = open_session("interp-tile", 0);
  tcf_program *p = load(s, softmax_text);
  tcf_tensor *x = random_of(TCF_F32, 2, (int64_t[]){5, 33}, 1), *wanted = NULL;
  cr_assert_eq(tcf_call(tcf_program_function(p, "rows"), (const tcf_tensor *[]){x}, 1, &wanted, 1),
               TCF_OK);
  for (int stage = TCF_STAGE_GRAPH; stage <= TCF_STAGE_ASM; stage++) {
    int passes = 0;
    char *text = NULL;
    tcf_emit_options o = {.size = sizeof o,
                          .function = "rows",
                          .stage = (tcf_stage)stage,
                          .after_pass = count_passes,
                          .user = &passes};
    cr_assert_eq(tcf_program_emit(p, &o, &text), TCF_OK, "%s", tcf_session_message(s));
    cr_assert_eq(passes > 0, stage > TCF_STAGE_GRAPH);
    if (stage <= TCF_STAGE_TILE) {
      tcf_program *again = load(s, text);
      cr_assert_eq(tcf_program_is_tile(again), stage == TCF_STAGE_TILE);
      tcf_tensor *y = NULL;
      cr_assert_eq(tcf_call(tcf_program_at(again, 0), (const tcf_tensor *[]){x}, 1, &y, 1), TCF_OK,
                   "%s", tcf_session_message(s));
      expect_close(y, wanted, 1e-6);
      tcf_tensor_free(y);
      char *twice;
      cr_assert_eq(
          tcf_program_emit(
              again, &(tcf_emit_options){.size = sizeof o, .passes = "", .stage = (tcf_stage)stage},
              &twice),
          TCF_OK);
      cr_assert_str_eq(twice, text);
      tcf_text_free(twice);
    }
    tcf_text_free(text);
  }
  char *text;
  cr_assert_eq(
      tcf_program_emit(p, &(tcf_emit_options){.size = sizeof(tcf_emit_options), .passes = "dec"},
                       &text),
      TCF_WRONG_USE);
  cr_assert_str_eq(tcf_session_message(s), "there is no pass dec; did you mean dce?");
  tcf_tensor_free(x);
  tcf_tensor_free(wanted);
  tcf_session_free(s);
}

Test(api, explanations_and_costs) {
  tcf_session *s = open_session("cpu", 0);
  tcf_program *p = load(s, softmax_text);
  char *text;
  cr_assert_eq(tcf_program_explain(p, "rows", NULL, 0, TCF_TEXT, &text), TCF_OK, "%s",
               tcf_session_message(s));
  cr_assert(strstr(text, "rows"));
  tcf_text_free(text);
  cr_assert_eq(tcf_program_explain(p, NULL, NULL, 0, TCF_JSON, &text), TCF_OK);
  cr_assert_eq(text[0], '[');
  tcf_text_free(text);
  cr_assert_eq(tcf_program_explain(p, "none", NULL, 0, TCF_TEXT, &text), TCF_WRONG_USE);
  tcf_tensor *x = random_of(TCF_F32, 2, (int64_t[]){64, 128}, 1);
  tcf_cost cost;
  cr_assert_eq(
      tcf_function_cost(tcf_program_function(p, "rows"), (const tcf_tensor *[]){x}, 1, &cost),
      TCF_OK);
  cr_assert_eq(cost.kernels, 1);
  cr_assert_geq(cost.bytes_read, 64 * 128 * 4);
  cr_assert_geq(cost.bytes_written, 64 * 128 * 4);
  double tolerance;
  cr_assert_eq(tcf_function_tolerance(tcf_program_function(p, "rows"), (const tcf_tensor *[]){x}, 1,
                                      0, &tolerance),
               TCF_OK);
  cr_assert(tolerance > 1e-7 && tolerance < 1e-4, "%g", tolerance);
  tcf_tensor_free(x);
  tcf_session_free(s);
}

Test(api, differences_count_what_is_no_number) {
  float a[6] = {NAN, INFINITY, -INFINITY, 1, NAN, INFINITY};
  float b[6] = {NAN, INFINITY, INFINITY, 1, 2, INFINITY};
  tcf_tensor *x, *y;
  tcf_difference d;
  cr_assert_eq(tcf_tensor_borrow(NULL, TCF_F32, 1, (int64_t[]){6}, NULL, a, &x), TCF_OK);
  cr_assert_eq(tcf_tensor_borrow(NULL, TCF_F32, 1, (int64_t[]){6}, NULL, b, &y), TCF_OK);
  cr_assert_eq(tcf_tensor_compare(NULL, x, y, 0, &d), TCF_OK);
  cr_expect(d.nan == 1 && d.infinite == 2 && d.failed == 2, "%d NaN, %d infinite, %d failed",
            (int)d.nan, (int)d.infinite, (int)d.failed);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
}

Test(api, results_that_no_rounding_changes) {
  static const struct {
    const char *text;
    int exact;
  } cases[] = {{"fn f(x: f32[N]) -> i32[N] { return i32(x) }", 1},
               {"fn f(x: f32[N]) -> f32 { return max(x, N) }", 1},
               {"fn f(x: f32[N]) -> bool[N] { return x < exp(x) }", 0},
               {"fn f(x: i32[N]) -> i32 { return sum(x * x, N) }", 1},
               {"fn f(x: f32[N]) -> i32[N] { return i32(exp(x)) }", 0},
               {"fn f(x: f32[N]) -> bool { return sum(x, N) < 1 }", 0},
               {"fn f(x: f32[N]) -> f32[N] { return x + x }", 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tcf_session *s = open_session("interp", 0);
    tcf_function *f = tcf_program_at(load(s, cases[i].text), 0);
    tcf_value_info info;
    int exact = -1;
    tcf_function_param(f, 0, &info);
    tcf_tensor *x = random_of(info.dtype, 1, (int64_t[]){5}, 1);
    const tcf_tensor *args[] = {x};
    cr_assert_eq(tcf_function_is_exact(f, args, 1, 0, &exact), TCF_OK);
    cr_expect_eq(exact, cases[i].exact, "%s", cases[i].text);
    cr_expect_eq(tcf_function_is_exact(f, args, 1, 1, &exact), TCF_WRONG_USE);
    tcf_tensor_free(x);
    tcf_session_free(s);
  }
}
