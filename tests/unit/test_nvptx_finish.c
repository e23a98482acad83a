// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// `if finished` as PTX: a ticket between two barriers, parts that are read behind both, and nothing
// of the kind in other kernels.
#include <criterion/criterion.h>

#include "codegen/codegen.h"
#include "nvptx_fixture.h"
#include "tile_fixture.h"

#define PROGRAM(parts, end)                                                          \
  "program @p(N) {\n size N where N >= 1, N <= 1000\n arena 65536\n"                 \
  " buffer %x : f32[N, T = 4096] param 0\n buffer %out : f32[N] output 0\n"          \
  " buffer %part : f32[C = " parts                                                   \
  ", N] temp at 0\n call @k(%x, %out, %part)\n}\n"                                   \
  "kernel @k(x: f32[N, 4096], out: f32[N], part: f32[" parts                         \
  ", N]) threads 128 {\n"                                                            \
  " size N where N >= 1, N <= 1000\n axes N, T = 4096, C = " parts                   \
  "\n"                                                                               \
  " layout { T:512 = r4 t128@1, C:4 = t4@1 }\n grid C:1, N:1 {\n"                    \
  " %0 = const 0.0 : f32[N:1, T:512]\n"                                              \
  " %1 = loop T:512 from C*1024 below C*1024 + 1024 carry %2 = %0 {\n"               \
  " %3 = load x[N, T] : f32[N:1, T:512]\n %4 = accum add %2, %3 : f32[N:1, T:512]\n" \
  " yield %4\n }\n %5 = reduce add %1 over T : f32[N:1]\n store part[C, N], %5\n" end "\n }\n}\n"
#define FINISH                                                             \
  " if finished C {\n loop C:4 {\n %6 = load part[C, N] : f32[C:4, N:1]\n" \
  " %7 = reduce add %6 over C : f32[N:1]\n store out[N], %7\n }\n }"

static str compile(tile_fixture *f, const char *text, const char *arch) {
  str report, error;
  cr_assert(tile_fixture_parse(f, str_from(text)), "%s", text);
  cr_assert(program_verify(f->p, &f->arena, &report), "%.*s", STR_FMT(report));
  codegen_options options = {.cpu = str_from(arch), .kind = CODE_ASSEMBLY};
  code out;
  cr_assert(codegen_cuda(&f->arena, f->p, &options, &out, &error), "%.*s", STR_FMT(error));
  return (str){out.data, (int)out.size};
}

/// Where the text stands after `from`, which it does.
static const char *after(const char *from, const char *what) {
  const char *at = strstr(from, what);
  cr_assert(at, "no %s in\n%s", what, from);
  return at;
}

Test(nvptx_finish, the_last_block_reads_parts_behind_its_ticket) {
  static const char *const archs[] = {"sm_80", "sm_90a"};
  for (int i = 0; i < 2; i++) {
    tile_fixture f = {0};
    str ptx = compile(&f, PROGRAM("4", FINISH), archs[i]);
    nvptx_assemble(ptx, archs[i]);
    const char *ticket = "atom.acq_rel.gpu.global.inc.u32";
    cr_expect_eq(nvptx_count(ptx, ticket), 1, "%s", ptx.ptr);
    // parts are stored, all threads have done so, one takes the ticket, all know, parts are read
    const char *at = after(after(ptx.ptr, "st.global"), "bar.sync");
    at = after(after(at, ticket), "bar.red.or.pred");
    at = after(at, "ld.global.b32");
    after(at, "st.global");
    // never through the cache of what nobody stores
    cr_expect_null(strstr(after(ptx.ptr, ticket), "ld.global.nc"));
    cr_expect_gt(nvptx_count(ptx, "[k_param_7]"), 0, "the tickets come after the buffers");
    tile_fixture_free(&f);
  }
}

Test(nvptx_finish, one_block_of_a_row_takes_no_ticket) {
  tile_fixture f = {0};
  str ptx = compile(&f, PROGRAM("1", FINISH), "sm_90a");
  nvptx_assemble(ptx, "sm_90a");
  cr_expect_eq(nvptx_count(ptx, "atom."), 0);
  const char *at = after(after(ptx.ptr, "st.global"), "bar.sync");
  after(after(at, "ld.global.b32"), "st.global");
  tile_fixture_free(&f);
}

Test(nvptx_finish, other_kernels_know_no_tickets) {
  tile_fixture f = {0};
  str ptx = compile(&f, PROGRAM("4", " store out[N], %5"), "sm_90a");
  cr_expect_eq(nvptx_count(ptx, "atom."), 0);
  cr_expect_eq(nvptx_count(ptx, "bar.red"), 0);
  cr_expect_eq(nvptx_count(ptx, "k_param_7"), 0, "%s", ptx.ptr);
  tile_fixture_free(&f);
}
