// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tiles that finish together: the rules of `if finished`, what the interpreter makes of it in any
// order of tiles.
#include <criterion/criterion.h>

#include "tile_fixture.h"

#define KERNEL(head, axes, grid, body)                                                        \
  "program @p(T) {\n arena 4096\n buffer %x : f32[N = 3, T] param 0\n"                        \
  " buffer %out : f32[N = 3] output 0\n buffer %part : f32[C = 4, N = 3] temp at 0\n"         \
  " call @k(%x, %out, %part)\n}\nkernel @k(x: f32[3, T], out: f32[3], part: f32[4, 3]) " head \
  " {\n axes " axes "\n grid " grid " {\n" body "\n }\n}\n"
#define AXES "N = 3, C = 4, T"
#define PARTS                                                                                    \
  " %0 = const 0.0 : f32[N:1, T:8]\n"                                                            \
  " %1 = loop T:8 from (#T + 31) / 32 * 8 * C below (#T + 31) / 32 * 8 * (C + 1) carry %2 = %0 " \
  "{\n"                                                                                          \
  " %3 = load x[N, T] : f32[N:1, T:8]\n %4 = accum add %2, %3 : f32[N:1, T:8]\n yield %4\n }\n"  \
  " %5 = reduce add %1 over T : f32[N:1]\n store part[C, N], %5\n"
#define FINISH                                                             \
  " if finished C {\n loop C:4 {\n %6 = load part[C, N] : f32[C:4, N:1]\n" \
  " %7 = reduce add %6 over C : f32[N:1]\n store out[N], %7\n }\n }"
#define SOUND(grid) KERNEL("threads 32", AXES, grid, PARTS FINISH)

static void parse(tile_fixture *f, const char *text) {
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s\n%.*s", text,
            STR_FMT(f->diags.items.data[0]->text));
}

Test(tile_finish, text_comes_back) {
  tile_fixture f = {0}, again = {0};
  parse(&f, SOUND("C:1, N:1"));
  strbuf first = sb_new(&f.arena), second = sb_new(&f.arena);
  tile_module_print(&f.module, &first);
  cr_assert(strstr(first.data, "    if finished C {\n      loop C:4 {\n"), "%s", first.data);
  parse(&again, first.data);
  tile_module_print(&again.module, &second);
  cr_assert(str_eq(sb_str(&first), sb_str(&second)), "%s", second.data);
  tile_fixture_free(&again);
  tile_fixture_free(&f);
}

static void expect_sums(const char *text, int64_t size) {
  tile_fixture f = {0};
  str error = {0}, report;
  parse(&f, text);
  cr_assert(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  interp_tensor out, x = random_tensor(&f, DT_f32, 2, (int64_t[]){3, size});
  for (int i = 0; i < 3 * size; i++) x.data[i].f = i % 17 - 5;
  cr_assert(program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL), "%.*s", STR_FMT(error));
  for (int n = 0; n < 3; n++) {
    double sum = 0;
    for (int i = 0; i < size; i++) sum += x.data[n * size + i].f;
    cr_expect(out.data[n].f == sum, "row %d of %d: %g, not %g", n, (int)size, out.data[n].f, sum);
  }
  tile_fixture_free(&f);
}

Test(tile_finish, parts_are_combined_whatever_the_order_of_the_grid) {
  static const int64_t sizes[] = {0, 1, 7, 8, 31, 32, 33, 100};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    expect_sums(SOUND("C:1, N:1"), sizes[i]);
    expect_sums(SOUND("N:1, C:1"), sizes[i]);
  }
}

static void expect_note(const char *text, const char *note) {
  tile_fixture f = {0};
  str report;
  parse(&f, text);
  cr_assert_not(program_verify(f.p, &f.arena, &report), "accepted:\n%s", text);
  str line = str_printf(&f.arena, "// ^ %s\n", note);
  cr_expect(strstr(report.ptr, line.ptr), "expected \"%s\" in\n%s", note, report.ptr);
  tile_fixture_free(&f);
}

#define BODY(body) KERNEL("threads 32", AXES, "C:1, N:1", body)

Test(tile_finish, every_rule_fires) {
  static const struct {
    const char *text, *note;
  } cases[] = {
      {BODY(PARTS " if finished C {\n }\n %9 = const 0.0 : f32\n store out[N], %9"),
       "`if finished` ends the body of a kernel: all tiles come there, each once"},
      {BODY(PARTS " if first N {\n" FINISH "\n }"),
       "`if finished` ends the body of a kernel: all tiles come there, each once"},
      {BODY(PARTS " if finished C {\n} else {\n }\n"),
       "the tiles that are not the last have no else and no results"},
      {BODY(" if finished T {\n }"), "axis T is not open here"},
      {BODY(" loop T:8 {\n if finished T {\n }\n }"),
       "`if finished` ends the body of a kernel: all tiles come there, each once"},
      {KERNEL("", AXES, "C:1, N:1", PARTS FINISH),
       "tiles finish together on GPUs: the kernel has no threads"},
      {KERNEL("threads 32 blocks_per_sm 1", AXES, "C:1, N:1", PARTS FINISH),
       "tiles of clusters, producers and resident blocks do not finish together"},
      {KERNEL("threads 32 cluster 2", AXES, "C:1, N:1", PARTS FINISH),
       "tiles of clusters, producers and resident blocks do not finish together"},
      {KERNEL("threads 32", "N = 3, C = 4, T, M = 1025", "C:1, M:1, N:1", PARTS FINISH),
       "there may be 3075 groups of tiles, more than 1024 finish at a time"},
      // what is seen of the tile that is the last
      {BODY(PARTS " if finished C {\n store out[N], %5\n }"), "operand 0 is not visible here"},
      {BODY(PARTS " if finished C {\n %6 = load part[C, N] : f32[C:1, N:1]\n }"),
       "the index uses axis C, which is not open here"},
      {BODY(" local l : f32[N:1]\n" PARTS " if finished C {\n %6 = load l[N] : f32[N:1]\n"
            " store out[N], %6\n }"),
       "local l is not declared here"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    expect_note(cases[i].text, cases[i].note);
}

static void expect_error(const char *text, const char *wanted) {
  tile_fixture f = {0};
  str error = {0}, report;
  parse(&f, text);
  cr_assert(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  interp_tensor out, x = random_tensor(&f, DT_f32, 2, (int64_t[]){3, 100});
  bool fine = program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL);
  str expected = str_printf(&f.arena, "internal error in kernel @k: %s", wanted);
  cr_expect(!fine && str_eq(error, expected), "%s\ngave: %.*s", text, STR_FMT(error));
  tile_fixture_free(&f);
}

Test(tile_finish, mistakes_that_running_shows) {
  expect_error(BODY(PARTS " %8 = load part[0, N] : f32[N:1]\n store part[C, N], %8\n" FINISH),
               "loads what another grid tile stores in part");
  // Row 0 is there before rows 1 and 2, unless the tiles run backwards.
  expect_error(BODY(PARTS " if finished C {\n loop C:4 {\n %6 = load part[C, 0] : f32[C:4]\n"
                          " %7 = reduce add %6 over C : f32\n store out[N], %7\n }\n }"),
               "loads what another grid tile stores in part");
  expect_error(BODY(PARTS " if finished C {\n loop C:4 {\n %6 = load part[C, (N + 1) / 3 * 2]"
                          " : f32[C:4, N:1]\n %7 = reduce add %6 over C : f32[N:1]\n"
                          " store out[N], %7\n }\n }"),
               "loads what another grid tile stores in part");
}
