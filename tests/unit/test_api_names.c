// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Names of results and of temporaries beside parameters that have them already, at every level.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

static const char sources[] =
    "fn one(out: f32[A, B]) -> f32[A, B] { return out * 2 }\n"
    "fn two(out0: f32[A, B], out: f32[A, B]) -> (f32[A, B], f32[A, B]) {\n"
    "  return (out0 * 2, out + out0)\n}\n"
    "fn sized(x: f32[out, B]) -> f32[out, B] { return x * 2 }\n"
    "fn far(out: f32[A, B], out_: f32[A, B]) -> f32[A, B] { return out - out_ }\n"
    // The products between are in temporaries, which are called t and a number.
    "fn temps(t3: f32[A, B], t4: f32[B, C], t4_: f32[C, A]) -> f32[A, A2 = A] {\n"
    "  return dot(dot(t3, t4, B), t4_[A -> A2], C)\n}\n";

static tcf_session *open_session(const char *target) {
  tcf_options o = {.size = sizeof o, .target = target, .cache_dir = "", .threads = 1};
  tcf_session *s;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  return s;
}

static tcf_program *load(tcf_session *s, const char *text) {
  tcf_program *p;
  cr_assert_eq(tcf_program_load(s, "names", text, strlen(text), &p), TCF_OK, "%s\n%s",
               tcf_session_message(s), text);
  return p;
}

static void expect_names(const tcf_function *f, const char *const *names) {
  for (size_t i = 0; i < tcf_function_results(f); i++) {
    tcf_value_info info;
    tcf_function_result(f, i, &info);
    cr_expect_str_eq(info.name, names[i]);
  }
}

/// Calls the function of 8 x 8 matrices; results are the caller's.
static void call(tcf_session *s, tcf_function *f, tcf_tensor **results) {
  size_t n = tcf_function_params(f);
  tcf_tensor *args[4];
  for (size_t i = 0; i < n; i++) {
    cr_assert_eq(tcf_tensor_new(NULL, TCF_F32, 2, (int64_t[]){8, 8}, &args[i]), TCF_OK);
    tcf_tensor_fill_random(args[i], i);
  }
  cr_assert_eq(tcf_call(f, (const tcf_tensor *const *)args, n, results, tcf_function_results(f)),
               TCF_OK, "%s: %s", tcf_function_name(f), tcf_session_message(s));
  for (size_t i = 0; i < n; i++) tcf_tensor_free(args[i]);
}

static void expect_results(tcf_session *s, tcf_function *f, tcf_tensor *const *wanted) {
  tcf_tensor *got[2] = {0};
  call(s, f, got);
  for (size_t i = 0; i < tcf_function_results(f); i++) {
    tcf_difference d;
    cr_assert_eq(tcf_tensor_compare(NULL, got[i], wanted[i], 1e-5, &d), TCF_OK);
    cr_expect_eq(d.failed, 0, "%s", tcf_function_name(f));
    tcf_tensor_free(got[i]);
  }
}

/// The text of the function at the level is read back, has the names, and computes the same.
static void expect_level(const char *target, const char *name, tcf_stage stage,
                         const char *const *names, tcf_tensor *const *wanted) {
  tcf_session *s = open_session(target);
  tcf_emit_options o = {.size = sizeof o, .function = name, .stage = stage};
  char *text;
  cr_assert_eq(tcf_program_emit(load(s, sources), &o, &text), TCF_OK, "%s", tcf_session_message(s));
  tcf_function *f = tcf_program_function(load(s, text), name);
  expect_names(f, names);
  expect_results(s, f, wanted);
  tcf_text_free(text);
  tcf_session_free(s);
}

Test(api_names, results_and_temporaries_have_names_of_their_own) {
  static const struct {
    const char *function, *names[2];
  } cases[] = {{"one", {"out_"}},
               {"two", {"out0_", "out1"}},
               {"far", {"out__"}},
               {"sized", {"out_"}},
               {"temps", {"out"}}};
  static const char *const targets[] = {"cpu", "interp", "interp-tile", "interp-tile:sm_90a"};
  static const tcf_stage stages[] = {TCF_STAGE_GRAPH, TCF_STAGE_FUSED, TCF_STAGE_TILE};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tcf_session *s = open_session("interp");
    tcf_tensor *wanted[2] = {0};
    tcf_function *f = tcf_program_function(load(s, sources), cases[i].function);
    expect_names(f, cases[i].names);
    call(s, f, wanted);
    for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
      tcf_session *other = open_session(targets[t]);
      expect_results(other, tcf_program_function(load(other, sources), cases[i].function), wanted);
      tcf_session_free(other);
    }
    for (size_t k = 0; k < sizeof stages / sizeof *stages; k++)
      expect_level("cpu", cases[i].function, stages[k], cases[i].names, wanted);
    for (size_t k = 0; k < 2; k++) tcf_tensor_free(wanted[k]);
    tcf_session_free(s);
  }
}
