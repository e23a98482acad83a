// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The golden tile programs as compiled code, for several CPUs and sizes, against the interpreter.
#include <criterion/criterion.h>

#include "cpu_fixture.h"

static void compare_file(const char *name, const cpu_case *cases, int ncases) {
  tile_fixture f = {0};
  tile_fixture_load(&f, name);
  cpu_compare(&f, cases, ncases, name);
  tile_fixture_free(&f);
}

#define COMPARE(name, ...)                                             \
  do {                                                                 \
    static const cpu_case cases_[] = {__VA_ARGS__};                    \
    compare_file(name, cases_, (int)(sizeof cases_ / sizeof *cases_)); \
  } while (0)

Test(cpu_golden, softmax_last) {
  COMPARE("softmax_last.tile", {.sizes = {3, 70}}, {.sizes = {1, 1}}, {.sizes = {2, 32}},
          {.sizes = {2, 15}}, {.sizes = {3, 17}}, {.sizes = {0, 5}}, {.sizes = {4, 0}});
}

Test(cpu_golden, softmax_first) {
  COMPARE("softmax_first.tile", {.sizes = {3, 70}}, {.sizes = {1, 1}}, {.sizes = {5, 8}},
          {.sizes = {2, 7}}, {.sizes = {0, 5}});
}

Test(cpu_golden, matmul) {
  COMPARE("matmul_packed.tile", {.sizes = {6, 8, 8}}, {.sizes = {7, 11, 13}}, {.sizes = {1, 1, 1}},
          {.sizes = {13, 16, 5}}, {.sizes = {12, 9, 24}}, {.sizes = {5, 3, 4}},
          {.sizes = {0, 3, 4}});
}

Test(cpu_golden, argmax) {
  COMPARE("argmax.tile", {.sizes = {3, 70}}, {.sizes = {2, 8}}, {.sizes = {2, 1}},
          {.sizes = {4, 9}});
}

Test(cpu_golden, pad_guard) {
  COMPARE("pad_guard.tile", {.sizes = {0}}, {.sizes = {1}}, {.sizes = {3}}, {.sizes = {8}},
          {.sizes = {30}});
}

Test(cpu_golden, gather_check) {
  COMPARE("gather_check.tile", {.sizes = {9, 5, 7}, .below = {0, 9}},
          {.sizes = {1, 4, 1}, .below = {0, 1}}, {.sizes = {30, 8, 4}, .below = {0, 30}},
          {.sizes = {3, 0, 4}, .below = {0, 3}}, {.sizes = {3, 3, 0}, .below = {0, 3}});
}

Test(cpu_golden, scatter_add) {
  COMPARE("scatter_add.tile", {.sizes = {9, 25}, .below = {0, 9}},
          {.sizes = {1, 1}, .below = {0, 1}}, {.sizes = {4, 0}});
}

Test(cpu_golden, nested_tails) {
  COMPARE("nested_tails.tile", {.sizes = {3, 31}}, {.sizes = {2, 12}}, {.sizes = {1, 1}},
          {.sizes = {2, 4}}, {.sizes = {4, 23}}, {.sizes = {4, 0}});
}

Test(cpu_golden, skip_blocks) {
  COMPARE("skip_blocks.tile", {.sizes = {7}}, {.sizes = {16}}, {.sizes = {1}}, {.sizes = {30}},
          {.sizes = {0}});
}

Test(cpu_golden, temps_and_host_functions) {
  COMPARE("temps_host.tile", {.sizes = {1}}, {.sizes = {4}}, {.sizes = {37}}, {.sizes = {0}});
}
