// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Machines and options as rows: each fact of a target and each option that changes code is in what
// compiled code is kept under, and the table of machines says what it should.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/session.h"

// ---- what compiled code is kept under

static tcf_session *session_with(unsigned flags, const char *schedule) {
  tcf_options o = {.size = sizeof o,
                   .target = "cpu",
                   .flags = flags,
                   .schedule = schedule,
                   .cache_dir = "/tmp/tcf-identity"};
  tcf_session *s;
  const target_info *t;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  cr_assert_eq(session_target(s, &t), TCF_OK);
  return s;
}

/// Of a session whose figures were changed.
static char *identity_of(tcf_session *s) {
  s->identity.len = 0;
  str text = session_identity(s);
  cr_assert(text.len, "nothing is kept: the linker gave no build id");
  return strndup(text.ptr, (size_t)text.len);
}

static void flip_TEXT(str *v) { *v = STR("another"); }
static void flip_FLAG(bool *v) { *v = !*v; }
static void flip_COUNT(int *v) { ++*v; }
static void flip_BYTES(int64_t *v) { ++*v; }
static void flip_RATE(double *v) { *v = nextafter(*v, INFINITY); }
static void flip_SECONDS(double *v) { *v = nextafter(*v, INFINITY); }

Test(target, every_fact_is_part_of_the_key) {
  tcf_session *s = session_with(0, NULL);
  char *before = identity_of(s);
  target_info facts = *s->figures;
  int rows = 0;
#define FACT(kind, field, meaning)                                                    \
  {                                                                                   \
    flip_##kind(&s->figures->field);                                                  \
    char *after = identity_of(s);                                                     \
    cr_expect_str_neq(before, after, "%s is not part of the key: %s", #field, after); \
    free(after);                                                                      \
    *s->figures = facts;                                                              \
    rows++;                                                                           \
  }
#include "ir/target_facts.def"
  cr_expect_gt(rows, 20);
  char *again = identity_of(s);
  cr_expect_str_eq(before, again);
  free(again);
  free(before);
  tcf_session_free(s);
}

static void expect_key(const char *option, unsigned flag, bool changes) {
  tcf_session *plain = session_with(0, NULL), *s = session_with(flag, NULL);
  char *before = identity_of(plain), *after = identity_of(s);
  cr_expect_eq(strcmp(before, after) != 0, changes, "%s: %s", option, after);
  free(before);
  free(after);
  tcf_session_free(plain);
  tcf_session_free(s);
}

Test(target, every_option_that_changes_code_is_part_of_the_key) {
#define PASS_OPTION(flag, name) expect_key(#name, TCF_##flag, true);
#define CALL_OPTION(flag, name) expect_key(#name, TCF_##flag, false);
#define TEXT_OPTION(flag, name) expect_key(#name, TCF_##flag, false);
#include "ir/options.def"
  // The target of this session has no unit that takes tf32: the option itself counts.
#define TARGET_OPTION(flag, name) expect_key(#name, TCF_##flag, true);
#include "ir/options.def"
  tcf_session *plain = session_with(0, NULL), *rows = session_with(0, "rows=4");
  char *a = identity_of(plain), *b = identity_of(rows);
  cr_expect_str_neq(a, b);
  free(a);
  free(b);
  tcf_session_free(plain);
  tcf_session_free(rows);
}

static void keep_message(void *user, const tcf_diagnostic *d) {
  snprintf(user, 100, "%s", d->message);
}

Test(target, a_flag_without_a_row_is_refused) {
  unsigned known = 0;
  char said[100] = "";
#define PASS_OPTION(flag, name) known |= TCF_##flag;
#define TARGET_OPTION(flag, name) PASS_OPTION(flag, name)
#define CALL_OPTION(flag, name) PASS_OPTION(flag, name)
#define TEXT_OPTION(flag, name) PASS_OPTION(flag, name)
#include "ir/options.def"
  known &= ~(unsigned)TCF_DETERMINISTIC;  // not together with unordered sums
  tcf_options o = {.size = sizeof o, .cache_dir = "", .flags = known};
  tcf_session *s;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  tcf_session_free(s);
  known |= TCF_DETERMINISTIC;
  const unsigned none = ~known & (known + 1);  // the lowest that has no row
  o.flags = known | none;
  o.diagnostic = keep_message;
  o.diagnostic_user = said;
  cr_expect_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  char wanted[40];
  snprintf(wanted, sizeof wanted, "no such flags: 0x%x", none);
  cr_expect(strstr(said, wanted), "%s", said);
}

Test(target, sums_are_in_order_or_not) {
  char said[100] = "";
  tcf_options o = {.size = sizeof o,
                   .cache_dir = "",
                   .flags = TCF_DETERMINISTIC | TCF_UNORDERED_SUMS,
                   .diagnostic = keep_message,
                   .diagnostic_user = said};
  tcf_session *s;
  cr_expect_eq(tcf_session_new(&o, &s), TCF_WRONG_USE);
  cr_expect(strstr(said, "either deterministic or of unordered sums"), "%s", said);
}

// ---- the table

Test(target, a_device_runs_the_newest_code_it_can) {
  static const struct {
    int capability;
    const char *arch;
  } cases[] = {{80, "sm_80"},    {86, "sm_86"},   {87, "sm_86"},    {89, "sm_89"},  {90, "sm_90a"},
               {100, "sm_100a"}, {103, "sm_100"}, {120, "sm_120a"}, {121, "sm_120"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const target_info *t = target_of_device(cases[i].capability);
    cr_assert(t);
    cr_expect(str_eqz(target_arch(t), cases[i].arch), "%d: %.*s", cases[i].capability,
              STR_FMT(t->name));
  }
  cr_expect_null(target_of_device(75));
  cr_expect_null(target_gpu(STR("sm_91")));
}

Test(target, abilities_are_columns) {
  const target_info *ampere = target_gpu(STR("sm_80")), *hopper = target_gpu(STR("sm_90"));
  const target_info *specific = target_gpu(STR("sm_90a")), *rtx = target_gpu(STR("sm_120a"));
  cr_expect(!ampere->copy_engine && hopper->copy_engine && rtx->copy_engine);
  cr_expect(!hopper->wgmma && specific->wgmma && !target_gpu(STR("sm_100a"))->wgmma);
  cr_expect(ampere->cluster_most == 1 && hopper->cluster_most == 8 && rtx->cluster_most == 1);
  cr_expect_eq(target_tensor_flops(specific, DT_f32, DT_f32),
               specific->tensor_flops_per_second / 2);
  cr_expect_eq(target_tensor_flops(specific, DT_f32, DT_f16), 0);
  cr_expect_eq(target_tensor_flops(target_unknown(), DT_f16, DT_f16), 0);
}

Test(target, cpus_have_the_figures_of_their_vectors) {
  int features;
  cr_assert(target_cpu_features(STR("skylake"), &features));
  target_info t = target_cpu(features, 2);
  cr_expect(t.vector_bytes == 32 && t.vector_registers == 16 && t.bytes_per_second == 32e9);
  cr_assert(target_cpu_features(STR("znver5"), &features));
  t = target_cpu(features, 100);
  cr_expect(t.vector_bytes == 64 && t.vector_registers == 32);
  cr_expect(t.pair_flops_per_second == 2 * t.flops_per_second && t.bytes_per_second == 128e9);
  cr_assert(target_cpu_features(STR("x86-64"), &features));
  cr_expect_eq(target_cpu(features, 1).vector_bytes, 16);
  cr_expect_not(target_cpu_features(STR("i386"), &features));
}

Test(target, the_list_has_every_machine) {
  const char *name, *summary;
  int hopper = 0, zen = 0;
  for (size_t i = 0; tcf_list_row(TCF_LIST_TARGETS, i, NULL, &name, &summary); i++) {
    hopper += !strcmp(name, "cuda:sm_90a") && strstr(summary, "132 multiprocessors");
    zen += !strcmp(name, "cpu:znver4");
  }
  cr_expect(hopper == 1 && zen == 1);
}
