// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs of many steps, which a loop over a table runs (codegen/cpu/steps.c): kernels of many
// tiles, of one and of none, checked indices, host functions between.
#include <criterion/criterion.h>
#include <tcc_fuse.h>

#include "cpu_fixture.h"

#include <math.h>

enum { N = 45, STEPS = 300, BAD_STEP = 200 };

/// A chain of gathers, each of the temp before; one of them reads %j where the others read %i. Each
/// tenth step has one tile, whatever the sizes are.
static str gathers(arena *a) {
  strbuf b = sb_new(a);
  sb_puts(&b, "program @p(N) {\n");
  sb_printf(&b, " arena %d*((N + 15) / 16*64)\n", STEPS);
  sb_puts(&b, " buffer %x : f32[N] param 0\n buffer %i : i32[N] param 1\n"
              " buffer %j : i32[N] param 2\n buffer %out : f32[N] output 0\n");
  for (int i = 0; i < STEPS; i++)
    sb_printf(&b, " buffer %%t%d : f32[N] temp at %d*((N + 15) / 16*64)\n", i, i);
  sb_puts(&b, " call @k(%x, %i, %t0)\n");
  for (int i = 1; i < STEPS; i++)
    sb_printf(&b, " call @%s(%%t%d, %s, %%t%d)\n", i % 10 ? "k" : "one", i - 1,
              i == BAD_STEP - 1 ? "%j" : "%i", i);
  sb_printf(&b, " call @k(%%t%d, %%i, %%out)\n}\n", STEPS - 1);
  static const char body[] = "  %0 = load i[N] : i32[N:32]\n  check %0 below N site 0\n"
                             "  %1 = load t[%0] : f32[N:32]\n  store out[N], %1\n";
  static const char head[] = "(t: f32[N], i: i32[N], out: f32[N]) vec N:16 {\n axes N\n grid ";
  sb_printf(&b, "kernel @k%sN:32 {\n%s }\n}\n", head, body);
  sb_printf(&b, "kernel @one%s{\n loop N:32 {\n%s }\n }\n}\n", head, body);
  return sb_str(&b);
}

Test(cpu_long, a_loop_over_a_table_runs_the_steps) {
  tile_fixture f = {0};
  str report;
  cr_assert(tile_fixture_parse(&f, gathers(&f.arena)));
  cr_assert(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  cpu_case cases[] = {{.sizes = {N}, .below = {0, N, N}},
                      {.sizes = {1}, .below = {0, 1, 1}},
                      {.sizes = {0}, .below = {0, 1, 1}}};
  cpu_compare(&f, cases, 3, "gathers");
  // one call for all, not one for each
  str text = cpu_assembly(&f, "x86-64-v4");
  int lines = 0;
  for (int i = 0; i < text.len; i++) lines += text.ptr[i] == '\n';
  cr_expect_leq(lines, 5000, "%d lines", lines);
  tile_fixture_free(&f);
}

Test(cpu_long, a_bad_index_stops_at_its_step) {
  tile_fixture f = {0};
  cpu_code code;
  cr_assert(tile_fixture_parse(&f, gathers(&f.arena)));
  cpu_code_make(&code, f.p, "");
  for (int array = 1; array < 3; array++) {
    interp_tensor in[3], out[1];
    in[0] = random_tensor(&f, DT_f32, 1, (int64_t[]){N});
    for (int i = 1; i < 3; i++) {
      in[i] = random_tensor(&f, DT_i32, 1, (int64_t[]){N});
      for (int k = 0; k < N; k++) in[i].data[k].i = random_below(&f, N);
    }
    in[array].data[40].i = 77;
    cpu_result r = cpu_run(&f.arena, &code, (int64_t[]){N}, 2, in, out);
    int64_t step = array == 1 ? 0 : BAD_STEP - 1;
    cr_expect(r.status == 1 && r.error_index == 77);
    cr_expect_eq(r.error_site, 1 + (step << 16), "site %llx", (long long)r.error_site);
  }
  cpu_code_free(&code);
  tile_fixture_free(&f);
}

static int32_t thrice(const float *x, float *out, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = 3 * x[i];
  return 0;
}

/// Running sums, each twice: 300 values that are all read again, with a host function after the
/// first hundred and after the second, which a few steps follow.
static str with_host_functions(arena *a) {
  strbuf b = sb_new(a);
  sb_puts(&b, "extern fn thrice(x: f32[N]) -> f32[N]\nfn f(x: f32[N]) -> f32[N] {\n"
              "  let v0 = x * 0.5\n");
  for (int i = 1; i < 300; i++)
    sb_printf(&b, i % 100 == 50 ? "  let v%d = thrice(v%d)\n" : "  let v%d = cumsum(v%d * 0.5, N)\n",
              i, i - 1);
  sb_puts(&b, "  let s0 = v299\n");
  for (int i = 1; i < 300; i++)
    sb_printf(&b, i % 100 < 20 && i % 10 == 5 ? "  let s%d = thrice(s%d) + v%d\n"
                                              : "  let s%d = cumsum(s%d * 0.5 + v%d, N)\n",
              i, i - 1, 299 - i);
  sb_puts(&b, "  return s299\n}\n");
  return sb_str(&b);
}

Test(cpu_long, host_functions_between_the_steps) {
  arena a = {0};
  str text = with_host_functions(&a);
  double results[2][4];
  for (int compiled = 0; compiled < 2; compiled++) {
    tcf_options o = {.size = sizeof o, .target = compiled ? "cpu" : "interp", .cache_dir = "",
                     .threads = 2};
    tcf_session *s = NULL;
    tcf_program *p = NULL;
    cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
    cr_assert_eq(tcf_program_load(s, "long.tdsl", text.ptr, (size_t)text.len, &p), TCF_OK);
    cr_assert_eq(
        tcf_register_extern_c(s, "thrice", (void (*)(void))thrice, "(f32[N]) -> f32[N]"), TCF_OK);
    float data[] = {1, -2, 3, 0.25f};
    tcf_tensor *x, *y = NULL;
    tcf_tensor_borrow(s, TCF_F32, 1, (int64_t[]){4}, NULL, data, &x);
    cr_assert_eq(tcf_call(tcf_program_function(p, "f"), (const tcf_tensor *[]){x}, 1, &y, 1),
                 TCF_OK, "%s", tcf_session_message(s));
    for (int i = 0; i < 4; i++) results[compiled][i] = tcf_tensor_get(y, i);
    tcf_tensor_free(x);
    tcf_tensor_free(y);
    tcf_session_free(s);
  }
  for (int i = 0; i < 4; i++)
    cr_expect_float_eq(results[1][i], results[0][i], 1e-4 * (1 + fabs(results[0][i])), "%g, not %g",
                       results[1][i], results[0][i]);
  arena_free(&a);
}
