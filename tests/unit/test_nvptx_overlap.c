// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Steps that overlap, as PTX: what waits for what, no test inside the main loop, no copies of
// registers, and an assembler that has nothing to say.
#include <criterion/criterion.h>
#include <stdio.h>

#include "codegen/codegen.h"
#include "nvptx_fixture.h"
#include "tile_fixture.h"

#define ATTENTION(name) "../../gpu/attention/" name ".tile"

static str ptx_of(tile_fixture *f, str text, const char *what) {
  str report, error;
  cr_assert(tile_fixture_parse(f, text), "%s", what);
  cr_assert(program_verify(f->p, &f->arena, &report), "%s: %.*s", what, STR_FMT(report));
  codegen_options options = {.cpu = STR("sm_90a"), .kind = CODE_ASSEMBLY};
  code out;
  cr_assert(codegen_cuda(&f->arena, f->p, &options, &out, &error), "%s: %.*s", what,
            STR_FMT(error));
  str ptx = {out.data, (int)out.size};
  nvptx_report r = nvptx_assemble(ptx, "sm_90a");
  cr_expect(!r.spill_bytes && !r.warnings, "%s: %d registers, %d bytes spilled, warnings %d", what,
            r.registers, r.spill_bytes, r.warnings);
  cr_expect_eq(nvptx_count(ptx, ".local"), 0, "%s", what);
  return ptx;
}

/// The file's PTX, with the first `from` of its text replaced where it is not null.
static str attention_ptx(tile_fixture *f, const char *name, const char *from, const char *to) {
  str text = tile_fixture_read(f, name);
  const char *at = from ? strstr(text.ptr, from) : NULL;
  cr_assert(!from || at, "%s has no \"%s\"", name, from);
  if (at)
    text = str_printf(&f->arena, "%.*s%s%s", (int)(at - text.ptr), text.ptr, to,
                      text.ptr + (at - text.ptr) + strlen(from));
  return ptx_of(f, text, name);
}

/// From the label that branches go back to, to the last of them: the first loop with products.
static str main_loop(str ptx) {
  str loop = {0};
  for (const char *at = ptx.ptr; (at = strstr(at, "bra")); at++) {
    const char *label = strstr(at, "$L");
    if (!label || label > at + 16) continue;
    char line[64];
    snprintf(line, sizeof line, "\n%.*s:", (int)strcspn(label, ";"), label);
    const char *begin = strstr(ptx.ptr, line);
    if (!begin || begin > at || (loop.len && begin != loop.ptr)) continue;
    str found = {begin, (int)(at - begin)};
    if (nvptx_count(found, "wgmma.mma_async")) loop = found;
  }
  cr_assert(loop.len, "no loop with products");
  return loop;
}

typedef struct schedule {
  const char *name;
  int products;  // wgmma in the main loop
  int ex2;
} schedule;

Test(nvptx_overlap, main_loops_have_no_tests) {
  static const schedule cases[] = {
      {ATTENTION("full_d128"), 16, 66},   {ATTENTION("causal_d128"), 16, 66},
      {ATTENTION("alibi_d128"), 16, 66},  {ATTENTION("full_d64"), 12, 66},
      {ATTENTION("full_d96"), 13, 58},    {ATTENTION("full_d192"), 20, 66},
      {ATTENTION("full_d256"), 21, 42},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    str loop = main_loop(attention_ptx(&f, cases[i].name, NULL, NULL));
    cr_expect_eq(nvptx_count(loop, "wgmma.mma_async"), cases[i].products, "%s", cases[i].name);
    cr_expect_eq(nvptx_count(loop, "selp"), 0, "%s", cases[i].name);
    cr_expect_eq(nvptx_count(loop, "ex2.approx.ftz"), cases[i].ex2, "%s", cases[i].name);
    // the scores first, then the sums of the step before, each once; a ring each
    cr_expect_eq(nvptx_count(loop, "wgmma.wait_group"), 2, "%s", cases[i].name);
    const char *scores = strstr(loop.ptr, "wait_group.sync.aligned 1;");
    const char *sums = strstr(loop.ptr, "wait_group.sync.aligned 0;");
    cr_expect(scores && sums && scores < sums && sums < loop.ptr + loop.len, "%s", cases[i].name);
    cr_expect_eq(nvptx_count(loop, "mbarrier.arrive"), 2, "%s", cases[i].name);
    // rows of scores stay in quads of lanes, sums of lanes are finished after the loop
    cr_expect_eq(nvptx_count(loop, "shfl"), 4, "%s", cases[i].name);
    cr_expect_eq(nvptx_count(loop, "st.shared"), 0, "%s", cases[i].name);
    tile_fixture_free(&f);
  }
}

/// Coordinates become floats by two additions, once in a step for each row of a thread.
Test(nvptx_overlap, distances_are_sums) {
  static const char floats[] = "%22 = cast %20 : f32[S:128]\n      %23 = cast %21 : f32[T:128]\n"
                               "      %24 = sub %23, %22 : f32[S:128, T:128]\n";
  static const char whole[] = "%22 = sub %21, %20 : i32[S:128, T:128]\n"
                              "      %24 = cast %22 : f32[S:128, T:128]\n";
  tile_fixture f = {0};
  str loop = main_loop(attention_ptx(&f, ATTENTION("alibi_d128"), floats, whole));
  cr_expect_leq(nvptx_count(loop, "cvt.rn.f32.s32"), 3, "%d", nvptx_count(loop, "cvt.rn.f32.s32"));
  cr_expect_geq(nvptx_count(loop, "add.rn.f32"), 64);
  tile_fixture_free(&f);
}

/// (f32(base) + f32(inside)) is the integer's cast where base is a multiple of 128.
Test(nvptx_overlap, sums_of_exact_parts_round_as_casts) {
  uint64_t state = 88172645463325252u;
  for (int i = 0; i < 2000000; i++) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    int64_t base = (int32_t)(state >> 32) / 128 * 128, inside = (int64_t)(state % 4096) - 2048;
    volatile float a = (float)base, b = (float)inside, sum = a + b;
    cr_assert_eq(sum, (float)(base + inside), "%lld + %lld", (long long)base, (long long)inside);
  }
}

/// Resident blocks take tiles in pairs, one from either end.
Test(nvptx_overlap, resident_blocks_take_pairs) {
  tile_fixture f = {0}, g = {0};
  str each = attention_ptx(&f, ATTENTION("causal_d128"), NULL, NULL);
  str pairs = attention_ptx(&g, ATTENTION("causal_d128"), "producers 4 {",
                            "producers 4 blocks_per_sm 1 where S <= 1024 {");
  cr_expect_eq(nvptx_count(each, "%nctaid.x"), 0);
  cr_expect(nvptx_count(pairs, "%nctaid.x") > 0);
  cr_expect_eq(nvptx_count(main_loop(pairs), "wgmma.mma_async"), 16);
  tile_fixture_free(&f);
  tile_fixture_free(&g);
}

/// Where it is not known which steps the mask cuts, a branch goes around its selects.
Test(nvptx_overlap, masks_that_bounds_do_not_decide) {
  static const char *const names[] = {ATTENTION("window_d128"), ATTENTION("causal_d64")};
  for (int i = 0; i < 2; i++) {
    tile_fixture f = {0};
    str ptx = attention_ptx(&f, names[i], NULL, NULL);
    cr_expect(nvptx_count(ptx, "selp") > 128, "%s", names[i]);
    tile_fixture_free(&f);
  }
}

/// What a walk is within the producers learn from the others, through a slot with barriers of its own.
Test(nvptx_overlap, producers_learn_what_walks_are_within) {
  static const char loop[] = "    %4, %5, %6 = loop T:128 reverse below S + 192 ";
  tile_fixture f = {0}, g = {0};
  str alone = attention_ptx(&f, ATTENTION("causal_d64"), NULL, NULL);
  char within[512];
  snprintf(within, sizeof within,
           "    %%i = index S : i32[S:192]\n    %%lo = reduce min %%i over S : i32\n"
           "    %%j = cast %%i : i64[S:192]\n    %%hi = reduce max %%j over S : i64\n%swithin %%lo, %%hi ",
           loop);
  str ptx = attention_ptx(&g, ATTENTION("causal_d64"), loop, within);
  cr_expect_eq(nvptx_count(ptx, "mbarrier.init"), nvptx_count(alone, "mbarrier.init") + 2);
  cr_expect_eq(nvptx_count(ptx, "mbarrier.try_wait"), nvptx_count(alone, "mbarrier.try_wait") + 2);
  cr_expect_eq(nvptx_count(ptx, "wgmma.mma_async"), nvptx_count(alone, "wgmma.mma_async"));
  // 192 rows lie on three warpgroups, the last digit of the block: a barrier for each reduction
  cr_expect_eq(nvptx_count(ptx, "bar.sync \t1, 384"), nvptx_count(alone, "bar.sync \t1, 384") + 2);
  tile_fixture_free(&f);
  tile_fixture_free(&g);
}

/// Without skew the same text is made step by step; turns are named barriers.
Test(nvptx_overlap, attributes_are_what_makes_it) {
  tile_fixture f = {0}, g = {0}, h = {0};
  str plain = main_loop(attention_ptx(&f, ATTENTION("full_d128"), " skew turns", ""));
  cr_expect_eq(nvptx_count(plain, "wait_group.sync.aligned 1;"), 0);
  cr_expect_eq(nvptx_count(plain, "wait_group.sync.aligned 0;"), 2);
  str turns = main_loop(attention_ptx(&g, ATTENTION("full_d128"), NULL, NULL));
  str skew = main_loop(attention_ptx(&h, ATTENTION("full_d128"), " turns", ""));
  cr_expect_eq(nvptx_count(turns, "\tbar.sync"), 1);
  cr_expect_eq(nvptx_count(turns, "\tbar.arrive"), 1);
  cr_expect_eq(nvptx_count(skew, "\tbar.sync"), 0);
  tile_fixture_free(&f);
  tile_fixture_free(&g);
  tile_fixture_free(&h);
}

/// Where the engine cannot copy (a pitch of 130 elements) all threads do, and steps follow each other.
Test(nvptx_overlap, without_the_engine_nothing_overlaps) {
  tile_fixture f = {0};
  str text = tile_fixture_read(&f, ATTENTION("full_d128"));
  const char *const edits[][2] = {{"bf16[B, H, T, D = 128]", "bf16[B, H, T, F = 130]"},
                                  {"a1: bf16[B, H, T, 128]", "a1: bf16[B, H, T, 130]"}};
  for (int i = 0; i < 2; i++) {
    const char *at = strstr(text.ptr, edits[i][0]);
    cr_assert(at);
    text = str_printf(&f.arena, "%.*s%s%s", (int)(at - text.ptr), text.ptr, edits[i][1],
                      at + strlen(edits[i][0]));
  }
  str ptx = ptx_of(&f, text, "a pitch of 130");
  cr_expect_eq(nvptx_count(ptx, "setmaxnreg"), 0);
  cr_expect(nvptx_count(ptx, "cp.async.c") > 0);
  cr_expect_eq(nvptx_count(main_loop(ptx), "wait_group.sync.aligned 1;"), 0);
  tile_fixture_free(&f);
}

/// Lanes of the last partial step are zeros where rows pass registers: of sizes that have none, no
/// test is left.
Test(nvptx_overlap, rows_in_registers_are_zero_beyond_the_end) {
  tile_fixture f = {0}, g = {0};
  str any = attention_ptx(&f, ATTENTION("full_d128"), NULL, NULL);
  str text = tile_fixture_read(&g, ATTENTION("full_d128"));
  const char *at;
  while ((at = strstr(text.ptr, "T >= 1\n")))
    text = str_printf(&g.arena, "%.*sT >= 128, T %% 128 == 0\n%s", (int)(at - text.ptr), text.ptr,
                      at + 7);
  str whole = ptx_of(&g, text, "a multiple of the step");
  // 64 scores against the end for the maximum and the sum; words of two elements
  cr_expect(nvptx_count(any, "selp") > 128, "%d", nvptx_count(any, "selp"));
  cr_expect(nvptx_count(whole, "selp") < 8, "%d", nvptx_count(whole, "selp"));
  tile_fixture_free(&f);
  tile_fixture_free(&g);
}

/// The order of grid tiles is the text's: it needs no division where tiles follow the grid.
Test(nvptx_overlap, grids_say_their_order) {
  tile_fixture f = {0}, g = {0};
  str in_order = attention_ptx(&f, ATTENTION("full_d128"), NULL, NULL);
  str grouped = attention_ptx(&g, ATTENTION("full_d128"), "group 1", "group 8");
  cr_expect(nvptx_count(in_order, "div.u32") < nvptx_count(grouped, "div.u32"), "%d, %d",
            nvptx_count(in_order, "div.u32"), nvptx_count(grouped, "div.u32"));
  tile_fixture_free(&f);
  tile_fixture_free(&g);
}
