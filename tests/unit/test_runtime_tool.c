// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs of the system: what ptxas says, and archives as `ar` reads them.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/file.h"
#include "runtime/tool.h"

static const char said[] =
    "ptxas info    : 0 bytes gmem\n"
    "ptxas info    : Compiling entry function 'softmax_0' for 'sm_90a'\n"
    "ptxas info    : Function properties for softmax_0\n"
    "    16 bytes stack frame, 24 bytes spill stores, 24 bytes spill loads\n"
    "ptxas info    : Used 255 registers, used 1 barriers, 16 bytes cumulative stack size, 4096 "
    "bytes smem\n"
    "ptxas info    : Compile time = 24.246 ms\n"
    "ptxas info    : Compiling entry function 'softmax_01' for 'sm_90a'\n"
    "ptxas info    : Function properties for softmax_01\n"
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 32 registers, used 1 barriers\n";

Test(runtime_tool, what_ptxas_says_is_read_by_kernel) {
  ptxas_output out = {.log = (char *)said};
  ptxas_usage u;
  cr_assert(ptxas_usage_of(&out, "softmax_0", &u));
  cr_expect(u.registers == 255 && u.stack_bytes == 16 && u.shared_bytes == 4096);
  cr_assert(ptxas_usage_of(&out, "softmax_01", &u));
  cr_expect(u.registers == 32 && u.stack_bytes == 0 && u.shared_bytes == 0);
  cr_expect_not(ptxas_usage_of(&out, "softmax", &u));
  cr_expect_not(ptxas_usage_of(&(ptxas_output){0}, "softmax_0", &u));
}

Test(runtime_tool, programs_that_fail_are_heard) {
  tool_place p;
  error e = {0};
  char *log;
  cr_assert(tool_place_open(&p, &e), "%s", e.text);
  cr_expect_not(
      tool_run(&p, (char *[]){"/bin/sh", "-c", "echo so; echo it is >&2; exit 3", NULL}, &log, &e));
  cr_expect(strstr(e.text, "/bin/sh failed: so\nit is"), "%s", e.text);
  free(log);
  cr_expect_not(tool_run(&p, (char *[]){"/none/sh", NULL}, &log, &e));
  cr_expect(strstr(e.text, "/none/sh: No such file"), "%s", e.text);
  free(log);
  cr_expect(tool_run(&p, (char *[]){"/bin/sh", "-c", "exit 0", NULL}, &log, &e));
  free(log);
  tool_place_close(&p);
  int64_t size;
  cr_expect_eq(file_open(p.path, &size, &e), -1, "%s is still there", p.path);
}

Test(runtime_tool, archives_are_indexed) {
  tool_place p;
  error e;
  char path[320], *log;
  const char *const first[] = {"alpha", "beta", NULL}, *const second[] = {"gamma", NULL};
  link_object objects[] = {{"odd.o", "12345", 5, first},
                           {"a_member_with_a_long_name.o", "1234567", 7, second}};
  cr_assert(tool_place_open(&p, &e), "%s", e.text);
  tool_file(&p, "x.a", path);
  cr_assert(link_archive(path, objects, 2, &e), "%s", e.text);
  static char script[] =
      "ar t $0 && ar p $0 odd.o && ar p $0 a_member_with_a_long_name.o && nm -s $0 2>/dev/null; "
      "true";
  cr_assert(tool_run(&p, (char *[]){"/bin/sh", "-c", script, path, NULL}, &log, &e), "%s", e.text);
  cr_expect(strstr(log, "odd.o\na_member_with_a_long_name.o\n123451234567"), "%s", log);
  cr_expect(strstr(log, "alpha in odd.o\nbeta in odd.o\ngamma in a_member_with_a_long_name.o"),
            "%s", log);
  free(log);
  tool_place_close(&p);
}
