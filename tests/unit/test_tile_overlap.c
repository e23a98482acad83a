// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Walks with bounds, steps that overlap, lanes that are left of a reduction, threads apart by value:
// the text, what is refused, and what the interpreter makes of it.
#include <criterion/criterion.h>
#include <math.h>

#include "tile_fixture.h"

#define ATTENTION(name) "../../gpu/attention/" name ".tile"

static const char *const texts[] = {
    ATTENTION("full_d128"),  ATTENTION("causal_d128"), ATTENTION("window_d128"),
    ATTENTION("alibi_d128"), ATTENTION("full_d64"),    ATTENTION("causal_d64"),
    ATTENTION("full_d96"),   ATTENTION("full_d192"),   ATTENTION("full_d256"),
    ATTENTION("plain_d128"),
};

/// The text with the first `from` replaced.
static str edited(arena *a, str text, const char *from, const char *to) {
  const char *at = strstr(text.ptr, from);
  cr_assert(at, "there is no \"%s\"", from);
  int before = (int)(at - text.ptr), after = before + (int)strlen(from);
  return str_printf(a, "%.*s%s%.*s", before, text.ptr, to, text.len - after, text.ptr + after);
}

Test(tile_overlap, texts_come_back) {
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    tile_fixture f = {0};
    tile_fixture_load(&f, texts[i]);
    strbuf printed = sb_new(&f.arena);
    program_print(f.p, &printed);
    cr_expect(str_eq(sb_str(&printed), tile_fixture_read(&f, texts[i])), "%s", texts[i]);
    tile_fixture_free(&f);
  }
}

// ---- what is refused

static void expect_note(str text, const char *note) {
  tile_fixture f = {0};
  str report;
  cr_assert(tile_fixture_parse(&f, text), "%.*s\n%.*s", STR_FMT(f.diags.items.data[0]->text),
            STR_FMT(text));
  program_verify(f.p, &f.arena, &report);
  str line = str_printf(&f.arena, "// ^ %s\n", note);
  cr_expect(report.len && strstr(report.ptr, line.ptr), "expected \"%s\" in\n%.*s", note,
            STR_FMT(report.len ? report : text));
  tile_fixture_free(&f);
}

typedef struct edit {
  const char *from, *to, *note;
} edit;

Test(tile_overlap, every_rule_fires) {
  static const edit edits[] = {
      {"threads 256 producers 4", "threads 256",
       "skew is for loops with stages that producers fill"},
      {"stages=2 skew", "stages=1 skew", "skew is for loops with stages that producers fill"},
      {"dot wgmma %16, %18", "dot %16, %18", "skew needs two statements with dots of unit wgmma"},
      {"skew turns", "turns", "turns are for loops with skew"},
      {"%12 = const 0.0 : f32[B_H:1, S:128, T:128]",
       "%z = const 0.0 : f32[T:128]\n      %12 = add %7, %z : f32[B_H:1, S:128, T:128]",
       "skew: what leads to the first dot needs a carried value"},
      {"reverse stages", "below T stages", "`below` uses axis T, which is not open here"},
      {"reverse stages", "within %1, %1 stages",
       "`within` takes scalars of type i32 or i64, which all threads share"},
      {"reverse stages", "from E stages", "`from` uses axis E, which is not open here"},
      {"grid B_H:1 group 1, S:128", "grid B_H:1, S:128 group 2",
       "S is grouped: only the last grid axis but one is"},
      {"to 4 : f32[B_H:1, S:128, T:4]", "to 3 : f32[B_H:1, S:128, T:3]",
       "3 lanes cannot be left of 128: they divide it and are fewer"},
      {"to 4 : f32[B_H:1, S:128, T:4]", "to 128 : f32[B_H:1, S:128, T:128]",
       "128 lanes cannot be left of 128: they divide it and are fewer"},
      {"over T to 4 : f32[B_H:1, S:128, T:4]", "over T, S to 4 : f32[B_H:1, T:4]",
       "lanes are left of one axis, not of 2"},
      {"T:4 = t4@1 }", "T:4 = t4@4 }", "T:4 does not lie on threads of T:128 alone"},
      {"T:4 = t4@1 }", "T:4 = r4 }", "T:4 does not lie on threads of T:128 alone"},
      {", T:4 = t4@1 }", " }", "T:4 does not lie on threads of T:128 alone"},
      {"dot wgmma %36", "dot mma %36",
       "operands of tensor cores are widened loads of on-chip buffers, alike in type"},
      {"T:128 = r2 t4@1 r16", "T:128 = r16 t4@1 r2",
       "rows in registers do not lie along T as columns of the accumulator do"},
      {"%19 = dot wgmma %16, %18",
       "%x = cast %18 : bf16[B_H:1, T:128, D:128]\n        %y = cast %x : f32[B_H:1, T:128, D:128]\n"
       "        %19 = dot wgmma %y, %16",
       "columns of wgmma are not in registers"},
      {"local v2 : bf16[B_H:1, T:128, E] panel E:64 swizzle", "local v2 : bf16[B_H:1, T:128, E]",
       "wgmma cannot read operand 1: operand is not in swizzled panels of 128 bytes"},
      {"E:128 = r2 t4@1 r16", "E:128 = r2 t4@4 r16", "E:128 lies on threads of another axis"},
  };
  for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
    arena a = {0};
    tile_fixture f = {0};
    str text = edited(&a, tile_fixture_read(&f, texts[0]), edits[i].from, edits[i].to);
    expect_note(text, edits[i].note);
    tile_fixture_free(&f);
    arena_free(&a);
  }
}

/// What one side of the overlap stores, the other must not use.
Test(tile_overlap, memory_is_not_shared_across_the_overlap) {
  tile_fixture f = {0};
  str text = tile_fixture_read(&f, texts[0]);
  text = edited(&f.arena, text, "    %1 = const -inf",
                "    local z : f32[S:128]\n    %1 = const -inf");
  text = edited(&f.arena, text, "      %12 = const 0.0",
                "      %x = const 1.0 : f32[S:128]\n      store z[S], %x\n      %12 = const 0.0");
  text = edited(&f.arena, text, "      yield %22, %31, %34",
                "      %y = load z[S] : f32[S:128]\n      yield %22, %31, %34");
  expect_note(text, "skew: z is stored on one side of the overlap and used on the other");
  tile_fixture_free(&f);
}

/// In turns nothing waits for all warpgroups, wherever in the loop it stands.
Test(tile_overlap, turns_wait_for_nobody_else) {
  static const edit stores[] = {
      {"      %12 = const 0.0", "      store z[S], %one\n      %12 = const 0.0", NULL},
      {"      %22 = ", "      store z[S], %one\n      %y = load z[S] : f32[S:128]\n      %22 = ",
       NULL},
      {"      yield %22, %31, %34", "      store z[S], %one\n      yield %22, %31, %34", NULL},
  };
  for (size_t i = 0; i < sizeof stores / sizeof *stores; i++) {
    tile_fixture f = {0};
    str text = tile_fixture_read(&f, texts[0]), report;
    text =
        edited(&f.arena, text, "    %1 = const -inf",
               "    local z : f32[S:128]\n    %one = const 1.0 : f32[S:128]\n    %1 = const -inf");
    text = edited(&f.arena, text, stores[i].from, stores[i].to);
    expect_note(text, "turns: z is stored by warpgroups that do not wait for each other");
    // Without turns all of them wait.
    cr_assert(tile_fixture_parse(&f, edited(&f.arena, text, "skew turns", "skew")));
    cr_expect(program_verify(f.p, &f.arena, &report), "%.*s", STR_FMT(report));
    tile_fixture_free(&f);
  }
  static const edit combined[] = {
      {"      yield %22, %31, %34",
       "      %y = reduce add %22 over S : f32[B_H:1]\n      yield %22, %31, %34",
       "S:128 is combined over t4@32: in turns, warps do not wait for each other"},
      {"      yield %22, %31, %34",
       "      %y = gt %22, %22 : bool[B_H:1, S:128]\n      if any %y {\n      }\n"
       "      yield %22, %31, %34",
       "in turns, warpgroups do not agree on conditions"},
  };
  for (size_t i = 0; i < sizeof combined / sizeof *combined; i++) {
    tile_fixture f = {0};
    expect_note(edited(&f.arena, tile_fixture_read(&f, texts[0]), combined[i].from, combined[i].to),
                combined[i].note);
    tile_fixture_free(&f);
  }
}

#define KERNEL(head, layouts, grid, body)                                                   \
  "program @p(N, D) {\n buffer %x : f32[N, D] param 0\n buffer %out : f32[N] output 0\n"    \
  " call @k(%x, %out)\n}\nkernel @k(x: f32[N, D], out: f32[N]) " head                       \
  " {\n axes N, D, E = 64\n " layouts "\n grid " grid " {\n %z = const 0.0 : f32\n" body    \
  "\n store out[N], %z\n }\n}\n"

Test(tile_overlap, rules_of_small_kernels) {
  static const edit cases[] = {
      {KERNEL("", "", "N:8", " loop D:8 {\n loop D:4 below N {\n }\n }"), "",
       "D is open here: only the walk of a whole axis has bounds"},
      {KERNEL("", "", "N:8", " %n = const 4 : i32\n loop D:8 {\n loop D:4 within %n, %n {\n }\n }"), "",
       "D is open here: only the walk of a whole axis has bounds"},
      {KERNEL("", "", "N:8", " loop D:8 within %z, %z {\n }"), "",
       "`within` takes scalars of type i32 or i64, which all threads share"},
      {KERNEL("", "", "N:8", " loop D:8 {\n %v = load x[N, D] : f32[N:8, D:8]\n loop D:4 {\n"
              " %w = reduce add %v over D to 4 : f32[N:8, D:4]\n }\n }"), "",
       "D is open with extent 4, which the lanes that are left would belong to"},
      {KERNEL("threads 64", "", "N:8", " loop D:8 turns {\n }"), "",
       "turns are for 2 to 7 warpgroups of 128 threads"},
      {KERNEL("threads 96", "layout { D:48 = t3@16 r16 }", "N:8", ""), "",
       "t3@16 of D: sizes and strides of thread digits are powers of two"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_note(str_from(cases[i].from), cases[i].note);
}

/// Two axes may lie on the same threads where no value has both.
Test(tile_overlap, threads_are_apart_by_value) {
  tile_fixture f = {0};
  str report;
  cr_assert(tile_fixture_parse(
      &f, STR(KERNEL("threads 32", "layout { D:32 = t32@1, E:32 = t32@1 }", "N:1",
                     " loop D:32 {\n %a = load x[N, D] : f32[N:1, D:32]\n loop E:32 {\n"
                     " %b = const 1.0 : f32[E:32]\n }\n }"))));
  cr_expect(program_verify(f.p, &f.arena, &report), "%.*s", STR_FMT(report));
  tile_fixture_free(&f);
  expect_note(STR(KERNEL("threads 32", "layout { D:32 = t32@1, E:32 = t32@1 }", "N:1",
                         " loop D:32 {\n %a = load x[N, D] : f32[N:1, D:32]\n loop E:32 {\n"
                         " %b = const 1.0 : f32[E:32]\n %c = add %a, %b : f32[N:1, D:32, E:32]\n"
                         " }\n }")),
              "E:32 lies on threads of another axis");
}

// ---- what it means

/// Runs the text with rows = keys = `rows` (keys where it has two sizes), one head.
static interp_tensor attention(tile_fixture *f, str text, int64_t rows, int64_t d) {
  interp_tensor in[3], out[1];
  int64_t dims[] = {1, 1, rows, d};
  cr_assert(tile_fixture_parse(f, text));
  f->random = 0x9E3779B97F4A7C15u;
  for (int i = 0; i < 3; i++) in[i] = random_tensor(f, DT_bf16, 4, dims);
  tile_fixture_run(f, in, out);
  return out[0];
}

/// Steps that bounds leave out would change nothing.
static void expect_same_without(const char *name, const char *bound, int64_t rows, int64_t d) {
  tile_fixture f = {0}, g = {0};
  str text = tile_fixture_read(&f, name);
  interp_tensor some = attention(&f, text, rows, d);
  interp_tensor all = attention(&g, edited(&g.arena, text, bound, ""), rows, d);
  for (int64_t i = 0; i < rows * d; i++)
    cr_assert_float_eq(some.data[i].f, all.data[i].f, 0, "%s without \"%s\", element %d: %g for %g",
                       name, bound, (int)i, all.data[i].f, some.data[i].f);
  tile_fixture_free(&f);
  tile_fixture_free(&g);
}

Test(tile_overlap, bounds_leave_out_what_changes_nothing) {
  expect_same_without(ATTENTION("causal_d64"), " below S + 192", 300, 64);
  expect_same_without(ATTENTION("causal_d64"), " skew turns", 130, 64);
}

/// Position sums: which steps are taken, in which order, at the bounds' edges.
Test(tile_overlap, bounds_round_to_steps) {
  static const struct {
    const char *bounds;
    int64_t n, sum;  // of the positions walked, times 1000 per step plus the base
  } cases[] = {
      {"", 20, 0 + 1000 + 8 + 2000 + 16 + 3000},
      {"below E + 9", 20, 0 + 1000 + 8 + 2000},
      {"below E + 8", 20, 0 + 1000},
      {"below E + 100", 20, 0 + 1000 + 8 + 2000 + 16 + 3000},
      {"below E - 5", 20, 0},
      {"from E + 1", 20, 8 + 1000 + 16 + 2000},
      {"from E + 8", 20, 8 + 1000 + 16 + 2000},
      {"from E - 3", 20, 0 + 1000 + 8 + 2000 + 16 + 3000},
      {"from E + 40", 20, 0},
      {"from E + 8 below E + 16", 20, 8 + 1000},
      {"from E + 16 below E + 8", 20, 0},
      {"reverse from E + 1", 20, 16 + 1000 + 8 + 2000},
      {"from E + 1 below #N - 4", 20, 8 + 1000},
      {"within %n0, %n20", 20, 0 + 1000 + 8 + 2000 + 16 + 3000},
      {"within %n7, %n9", 20, 0 + 1000 + 8 + 2000},
      {"within %n8, %n9", 20, 8 + 1000},
      {"within %n8, %n8", 20, 0},
      {"within %n9, %n9", 20, 8 + 1000},
      {"within %n20, %n0", 20, 0},
      {"within %most, %less", 20, 0},
      {"within %less, %most", 20, 0 + 1000 + 8 + 2000 + 16 + 3000},
      {"within %n20, %most", 20, 16 + 1000},
      {"reverse within %n8, %most", 20, 16 + 1000 + 8 + 2000},
      {"from E + 8 below E + 9 within %n0, %n20", 20, 8 + 1000},
      {"below E + 16 within %n9, %most", 20, 8 + 1000},
      {"within %less, %most", 0, 0},
      {"", 0, 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    tile_fixture f = {0};
    str text = str_printf(
        &f.arena,
        "program @p(N) {\n buffer %%x : i32[N] param 0\n buffer %%out : i32[E = 1] output 0\n"
        " call @k(%%x, %%out)\n}\nkernel @k(x: i32[N], out: i32[1]) {\n axes N, E = 1\n"
        " grid E:1 {\n  %%0 = const 0 : i32\n"
        "  %%n0 = const 0 : i64\n  %%n7 = const 7 : i32\n  %%n8 = const 8 : i32\n"
        "  %%n9 = const 9 : i64\n  %%n20 = const 20 : i32\n  %%less = const -2147483648 : i32\n"
        "  %%most = const 9223372036854775807 : i64\n"
        "  %%1, %%9 = loop N:8 %s carry %%2 = %%0, %%10 = %%0 {\n   %%3 = index N : i32[N:8]\n"
        "   %%4 = reduce min %%3 over N : i32\n   %%5 = const 1000 : i32\n"
        "   %%11 = add %%10, %%5 : i32\n   %%6 = add %%2, %%4 : i32\n"
        "   %%7 = add %%6, %%11 : i32\n   yield %%7, %%11\n  }\n  store out[E], %%1\n }\n}\n",
        cases[i].bounds);
    cr_assert(tile_fixture_parse(&f, text), "%.*s", STR_FMT(text));
    str report;
    cr_assert(program_verify(f.p, &f.arena, &report), "%.*s", STR_FMT(report));
    interp_tensor in[1] = {random_tensor(&f, DT_i32, 1, (int64_t[]){cases[i].n})}, out[1];
    tile_fixture_run(&f, in, out);
    cr_expect_eq(out[0].data[0].i, cases[i].sum, "\"%s\" over %d: %d", cases[i].bounds,
                 (int)cases[i].n, (int)out[0].data[0].i);
    tile_fixture_free(&f);
  }
}

Test(tile_overlap, lanes_that_are_left_make_the_whole) {
  for (int left = 1; left <= 8; left *= 2) {
    tile_fixture f = {0};
    str text = str_printf(
        &f.arena,
        "program @p(N) {\n buffer %%x : i64[N] param 0\n buffer %%out : i64[E = 1] output 0\n"
        " call @k(%%x, %%out)\n}\nkernel @k(x: i64[N], out: i64[1]) {\n axes N, E = 1\n"
        " grid E:1 {\n  %%0 = const 0 : i64[N:%d]\n  %%1 = loop N:16 carry %%2 = %%0 {\n"
        "   %%3 = load x[N] : i64[N:16]\n   %%4 = reduce add %%3 over N to %d : i64[N:%d]\n"
        "   %%5 = add %%2, %%4 : i64[N:%d]\n   yield %%5\n  }\n"
        "  %%6 = reduce add %%1 over N : i64\n  store out[E], %%6\n }\n}\n",
        left, left, left, left);
    cr_assert(tile_fixture_parse(&f, text), "%.*s", STR_FMT(text));
    str report;
    cr_assert(program_verify(f.p, &f.arena, &report), "%.*s", STR_FMT(report));
    interp_tensor in[1] = {random_tensor(&f, DT_i64, 1, (int64_t[]){37})}, out[1];
    tile_fixture_run(&f, in, out);
    int64_t sum = 0;
    for (int i = 0; i < 37; i++) sum += in[0].data[i].i;
    cr_expect_eq(out[0].data[0].i, sum, "%d lanes left", left);
    tile_fixture_free(&f);
  }
}

/// A walk of half the steps, on the average, costs half.
Test(tile_overlap, bounds_count_in_the_estimate) {
  tile_fixture f = {0}, g = {0};
  str text = edited(&f.arena, tile_fixture_read(&f, ATTENTION("causal_d128")),
                    "size S where S >= 1\n  axes", "size S where S >= 1, S ~ 8192\n  axes");
  cr_assert(tile_fixture_parse(&f, text));
  cr_assert(tile_fixture_parse(&g, edited(&f.arena, text, " below S + 128", "")));
  kernel_cost some = kernel_estimate(f.p->kernels.data[0]);
  kernel_cost all = kernel_estimate(g.p->kernels.data[0]);
  cr_expect_eq(some.bytes_read, all.bytes_read);
  cr_expect(some.flops > 0.45 * (double)all.flops && some.flops < 0.55 * (double)all.flops,
            "%lld of %lld", (long long)some.flops, (long long)all.flops);
  tile_fixture_free(&f);
  tile_fixture_free(&g);
}
