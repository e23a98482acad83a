// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Schedules: tests/golden/TARGET/NAME.tdsl is lowered and compared with NAME.tile.
// TCF_REWRITE_GOLDEN=1 writes the expectations. Besides, what --schedule changes.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/fault.h"
#include "frontend_fixture.h"
#include "lower_targets.h"

static const char golden[] = TCF_SOURCE_DIR "/tests/golden";

static void lower_all(program_test *t, str path, const target_info *target, const char *schedule,
                      strbuf *out) {
  bool found;
  program_test_run(t, path.ptr, read_whole_file(&t->arena, path.ptr, &found));
  cr_assert(t->ok, "%.*s: %.*s", STR_FMT(path), STR_FMT(program_test_messages(t)));
  pass_options options = {.target = target, .schedule = str_from(schedule)};
  for (int i = 0; i < t->graphs.graphs.len; i++) {
    arena scratch = {0};
    pass_ctx ctx = {t->graphs.graphs.data[i], &scratch, &options, &t->diags};
    passes_run(&ctx, NULL, 0, NULL, NULL);
    program *p = lower_to_tiles(&t->arena, ctx.graph, &options);
    str report;
    cr_expect(program_verify(p, &t->arena, &report), "%.*s", STR_FMT(report));
    if (i) sb_putc(out, '\n');
    program_print(p, out);
    arena_free(&scratch);
  }
}

static void compare_folder(const char *name, const target_info *target) {
  arena a = {0};
  str *names;
  int n = list_files(&a, str_printf(&a, "%s/%s", golden, name).ptr, ".tdsl", &names);
  cr_assert_geq(n, 1, "nothing in %s", name);
  for (int i = 0; i < n; i++) {
    program_test t = {0};
    strbuf out = sb_new(&a);
    bool found;
    lower_all(&t, names[i], target, "", &out);
    str path = str_printf(&a, "%.*s.tile", names[i].len - 5, names[i].ptr);
    if (getenv("TCF_REWRITE_GOLDEN")) write_whole_file(path.ptr, sb_str(&out));
    else
      cr_expect(str_eq(read_whole_file(&a, path.ptr, &found), sb_str(&out)), "%s is now\n%s",
                path.ptr, out.data);
    program_test_free(&t);
  }
  arena_free(&a);
}

Test(lower_golden, schedules_for_gpus) {
  target_info sm_80 = sm_80_target();
  compare_folder("gpu", &gpu_target);
  compare_folder("sm_80", &sm_80);
}

Test(lower_golden, schedules_for_cpus) {
  target_info avx512 = cpu_pairs_target(4, 2), avx2 = avx2_target(4);
  compare_folder("cpu", &avx512);
  compare_folder("avx2", &avx2);
}

/// The tile IR of a golden program under a schedule has this text.
static void expect_text(const char *name, const char *schedule, const char *text) {
  program_test t = {0};
  arena a = {0};
  strbuf out = sb_new(&a);
  lower_all(&t, str_printf(&a, "%s/gpu/%s", golden, name), &gpu_target, schedule, &out);
  cr_expect(strstr(out.data, text), "%s: no \"%s\" in\n%s", schedule, text, out.data);
  program_test_free(&t);
  arena_free(&a);
}

Test(lower_golden, schedules_can_be_overridden) {
  expect_text("map.tdsl", "threads=128", "layout { N_D:2048 = r4 t128@1 r4 }");
  expect_text("map.tdsl", "vector=2", "r2 t256@1");
  expect_text("softmax_rows.tdsl", "threads=128", "threads 128");
  expect_text("softmax_rows.tdsl", "rows=2", "N:16 = t8@32 r2");
  expect_text("product_bf16.tdsl", "m=128,n=128", "grid M:128, N:128");
  expect_text("product_bf16.tdsl", "m=256,n=128", "M:256 = t8@4 r2 t4@32 t2@128 r2");
  expect_text("product_bf16.tdsl", "unit=mma", "dot mma");
  expect_text("product_bf16.tdsl", "unit=fma", "unroll 16");
  expect_text("product_bf16.tdsl", "stages=2", "stages=2");
  expect_text("product_bf16.tdsl", "blocks_per_sm=2", "blocks_per_sm 2");
  expect_text("product_f32.tdsl", "k=8", "loop K:8 stages=2");
}

Test(lower_golden, schedules_are_checked) {
  static const char *const good[] = {"", "threads=256", "unit=wgmma,m=64", "unit=1",
                                     "vectors=2,kc=0"};
  static const struct {
    const char *text, *why;
  } bad[] = {
      {"thread=256", "with one of the keys threads"},
      {"threads", "threads is from 1 to 1024"},
      {"threads=", "threads is from 1 to 1024"},
      {"threads=0", "threads is from 1 to 1024"},
      {"threads=-64", "threads is from 1 to 1024"},
      {"threads=1e3", "threads is from 1 to 1024"},
      {"threads=99999999999999999999", "threads is from 1 to 1024"},
      {"m=64,unit=tensor", "unit is from 0 to 2"},
      {"m=64,,n=64", "with one of the keys"},
  };
  str why;
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    cr_expect(schedule_check(str_from(good[i]), &why), "%s: %.*s", good[i], STR_FMT(why));
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cr_expect(!schedule_check(str_from(bad[i].text), &why), "%s is accepted", bad[i].text);
    cr_expect(why.len && strstr(why.ptr, bad[i].why), "%s: %.*s", bad[i].text, STR_FMT(why));
  }
}
