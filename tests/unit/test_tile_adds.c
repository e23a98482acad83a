// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Stores that add: the rules, what the interpreter makes of them, and the instructions.
#include <criterion/criterion.h>

#include "codegen/codegen.h"
#include "nvptx_fixture.h"
#include "tile_fixture.h"

#define PROGRAM(type, calls, head, body)                                                          \
  "program @p(T) {\n size T where T >= 1, T % 64 == 0\n buffer %x : f32[N = 6, T] param 0\n"       \
  " buffer %out : " type "[T] output 0\n" calls "}\n"                                             \
  "kernel @zero(out: " type "[T]) threads 32 {\n size T where T >= 1, T % 64 == 0\n axes T\n"      \
  " layout { T:64 = r2 t32@1 }\n grid T:64 {\n %0 = const 0.0 : " type                            \
  "[T:64]\n store out[T], %0\n }\n}\n"                                                            \
  "kernel @k(x: f32[6, T], out: " type "[T]) " head "{\n size T where T >= 1, T % 64 == 0\n"      \
  " axes N = 6, T\n" body "}\n"
#define CALLS " call @zero(%out)\n call @k(%x, %out)\n"
#define SUMS                                                                                      \
  " layout { T:64 = r2 t32@1 }\n grid N:1, T:64 {\n %0 = load x[N, T] : f32[N:1, T:64]\n"         \
  " %1 = reduce add %0 over N : f32[T:64]\n store out[T], %1 add\n }\n"
#define SOUND PROGRAM("f32", CALLS, "threads 32 ", SUMS)

static void parse(tile_fixture *f, const char *text) {
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s\n%.*s", text,
            STR_FMT(f->diags.items.data[0]->text));
}

Test(tile_adds, text_comes_back) {
  tile_fixture f = {0}, again = {0};
  parse(&f, SOUND);
  strbuf first = sb_new(&f.arena), second = sb_new(&f.arena);
  tile_module_print(&f.module, &first);
  cr_assert(strstr(first.data, "store out[T], %1 add\n"), "%s", first.data);
  parse(&again, first.data);
  tile_module_print(&again.module, &second);
  cr_assert(str_eq(sb_str(&first), sb_str(&second)), "%s", second.data);
  tile_fixture_free(&again);
  tile_fixture_free(&f);
}

Test(tile_adds, grid_tiles_add_to_the_same_elements) {
  tile_fixture f = {0};
  str error = {0}, report;
  parse(&f, SOUND);
  cr_assert(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  interp_tensor out, x = random_tensor(&f, DT_f32, 2, (int64_t[]){6, 128});
  for (int i = 0; i < 6 * 128; i++) x.data[i].f = i % 17 - 5;
  cr_assert(program_interpret(f.p, &f.arena, &x, &out, NULL, &error, NULL), "%.*s", STR_FMT(error));
  for (int t = 0; t < 128; t++) {
    double sum = 0;
    for (int n = 0; n < 6; n++) sum += x.data[n * 128 + t].f;
    cr_expect(out.data[t].f == sum, "%d: %g, not %g", t, out.data[t].f, sum);
  }
  tile_fixture_free(&f);
}

static void expect_fault(const char *text, const char *wanted) {
  tile_fixture f = {0};
  str report;
  parse(&f, text);
  cr_assert_not(program_verify(f.p, &f.arena, &report), "accepted:\n%s", text);
  cr_expect(strstr(report.ptr, wanted), "expected \"%s\" in\n%s", wanted, report.ptr);
  tile_fixture_free(&f);
}

Test(tile_adds, every_rule_fires) {
  expect_fault(PROGRAM("f32", " call @k(%x, %out)\n", "threads 32 ", SUMS),
               "k adds to buffer out before it is written");
  expect_fault(PROGRAM("f32", CALLS, "",
                       " grid N:1, T:64 {\n %0 = load x[N, T] : f32[N:1, T:64]\n"
                       " %1 = reduce add %0 over N : f32[T:64]\n store out[T], %1 add\n }\n"),
               "blocks of GPUs add to memory: the kernel has no threads");
  expect_fault(PROGRAM("f64", CALLS, "threads 32 ",
                       " grid N:1, T:64 {\n %0 = const 1.0 : f64\n store out[T], %0 add\n }\n"),
               "only f32 in memory is added to: out is f64");
  expect_fault(PROGRAM("f32", CALLS, "threads 32 ",
                       " grid N:1, T:64 {\n local l : f32[T:64]\n %0 = const 1.0 : f32\n"
                       " store l[T], %0 add\n }\n"),
               "only f32 in memory is added to: l is on chip");
  expect_fault(PROGRAM("f32", CALLS, "threads 32 ",
                       " grid N:1, T:64 {\n %0 = load out[T] : f32[T:64]\n store out[T], %0 add\n }\n"),
               "out is added to, and used otherwise: in what order is not known");
  expect_fault(PROGRAM("f32", CALLS, "threads 32 ",
                       " grid N:1, T:64 {\n %0 = const 1.0 : f32\n store out[T], %0 add\n"
                       " if finished N {\n }\n }\n"),
               "tiles that finish together do not add to memory");
}

static str compile(tile_fixture *f, const char *text, const char *arch) {
  str report, error;
  parse(f, text);
  cr_assert(program_verify(f->p, &f->arena, &report), "%.*s", STR_FMT(report));
  codegen_options options = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  cr_assert(codegen_cuda(&f->arena, f->p, &options, &out, &error), "%.*s", STR_FMT(error));
  str ptx = {out.data, (int)out.size};
  nvptx_assemble(ptx, arch);
  return ptx;
}

Test(tile_adds, neighbours_are_added_together_where_the_machine_can) {
  tile_fixture older = {0}, newer = {0};
  str ptx = compile(&older, SOUND, "sm_80");
  cr_expect_eq(nvptx_count(ptx, "red.relaxed.gpu.global.add.f32"), 2, "%s", ptx.ptr);
  ptx = compile(&newer, SOUND, "sm_90a");
  cr_expect_eq(nvptx_count(ptx, "red.relaxed.gpu.global.add.v2.f32"), 1, "%s", ptx.ptr);
  tile_fixture_free(&older);
  tile_fixture_free(&newer);
}

// Each element once, though every warp has all of them.
Test(tile_adds, one_of_several_warps_adds) {
  tile_fixture f = {0};
  str ptx = compile(&f, PROGRAM("f32", CALLS, "threads 64 ", SUMS), "sm_90a");
  const char *add = strstr(ptx.ptr, "red.relaxed");
  cr_assert(add, "%s", ptx.ptr);
  cr_expect(strstr(ptx.ptr, "bra") && strstr(ptx.ptr, "bra") < add, "%s", ptx.ptr);
  tile_fixture_free(&f);
}
