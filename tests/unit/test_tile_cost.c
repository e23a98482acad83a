// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Estimates of traffic and work, counted by hand for golden kernels.
#include <criterion/criterion.h>

#include "tile_fixture.h"

static void expect_cost(const char *file, int64_t read, int64_t written, int64_t flops) {
  tile_fixture f = {0};
  tile_fixture_load(&f, file);
  kernel_cost c = kernel_estimate(f.p->kernels.data[0]);
  cr_expect(c.bytes_read == read && c.bytes_written == written && c.flops == flops,
            "%s: %lld read, %lld written, %lld flops", file, (long long)c.bytes_read,
            (long long)c.bytes_written, (long long)c.flops);
  tile_fixture_free(&f);
}

enum { K = 1024 };  // what an unknown size is taken for

Test(tile_cost, softmax_reads_once_and_computes_each_pass) {
  // max 1, then sub 1, exp 8, add 1, then div 4 per element; 32 and 16 lanes reduced per row
  expect_cost("softmax_last.tile", 4 * K * K, 4 * K * K, 15 * K * K + 48 * K);
}

Test(tile_cost, estimates_of_facts_are_used) {
  // T ~ 512; per element: reduce 1, max 1, two subs 2, two exps 16, fma 1; then 1 + 8 + 4
  expect_cost("softmax_first.tile", 4 * K * 512, 4 * K * 512, 34 * K * 512);
}

Test(tile_cost, product_counts_packing_per_tile_and_the_epilogue_once) {
  int64_t dot = 2LL * K * K * K, pack_a = 128LL * K * K, pack_b = 171LL * K * K;
  expect_cost("matmul_packed.tile", 2 * 2 * K * K + 4 * K, 4 * K * K,
              dot + pack_a + pack_b + 2 * K * K);
}

Test(tile_cost, guarded_reads_stay_inside) { expect_cost("pad_guard.tile", 4 * K, 4 * (K + 5), 0); }

Test(tile_cost, gathers_read_at_most_what_they_index) {
  expect_cost("gather_check.tile", 2 * K * K + 8 * K, 4 * K * K, K * K);
}
