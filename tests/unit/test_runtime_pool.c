// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The thread pool: every tile exactly once, worker numbers exclusive, sleeping and waking.
#include <criterion/criterion.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/call.h"
#include "runtime/modes.h"
#include "runtime/pool.h"

typedef struct job {
  atomic_int *counts;
  atomic_int inside[8];
  atomic_int clashes;
  int64_t n;
  int work;
} job;

static void count_tiles(void *args, int64_t begin, int64_t end, int32_t worker) {
  job *j = args;
  if (atomic_fetch_add(&j->inside[worker], 1)) atomic_fetch_add(&j->clashes, 1);
  for (int64_t i = begin; i < end; i++) {
    atomic_fetch_add(&j->counts[i], 1);
    for (volatile int k = 0; k < j->work; k++) {
    }
  }
  atomic_fetch_sub(&j->inside[worker], 1);
}

static void expect_each_once(pool *p, int64_t n, int work) {
  job j = {.counts = calloc((size_t)n + 1, sizeof(atomic_int)), .n = n, .work = work};
  pool_run(p, count_tiles, &j, n);
  for (int64_t i = 0; i < n; i++)
    cr_assert_eq(j.counts[i], 1, "tile %lld of %lld ran %d times", (long long)i, (long long)n,
                 j.counts[i]);
  cr_assert_eq(j.clashes, 0);
  free(j.counts);
}

Test(runtime_pool, every_tile_runs_once) {
  for (int workers = 1; workers <= 5; workers++) {
    pool *p = pool_new(workers);
    cr_assert_eq(pool_workers(p), workers);
    for (int64_t n = 0; n < 40; n++) expect_each_once(p, n, 10);
    for (int64_t n = 1; n < 20000; n = n * 7 + 3) expect_each_once(p, n, 1);
    pool_free(p);
  }
}

Test(runtime_pool, wakes_sleeping_workers) {
  pool *p = pool_new(4);
  for (int round = 0; round < 30; round++) {
    expect_each_once(p, 1000, 20);
    usleep(round % 3 * 2500);  // workers give up spinning after 2 ms
  }
  pool_free(p);
}

Test(runtime_pool, many_short_loops) {
  pool *p = pool_new(3);
  for (int round = 0; round < 3000; round++) expect_each_once(p, 1 + round % 9, 0);
  pool_free(p);
}

static void add_up(void *args, int64_t begin, int64_t end, int32_t worker) {
  (void)worker;
  // A tile is a huge range here, so only the borders are touched.
  atomic_fetch_add((_Atomic int64_t *)args, end - begin);
}

Test(runtime_pool, more_tiles_than_32_bits) {
  pool *p = pool_new(2);
  _Atomic int64_t total = 0;
  pool_run(p, add_up, &total, (3LL << 32) + 5);
  cr_assert_eq(total, (3LL << 32) + 5);
  pool_free(p);
}

static int32_t weigh(const double *x, const float *y, double *out, int64_t n, int64_t m,
                     tcf_frame *frame) {
  *out = x[0] * (double)n + y[0] * (double)m;
  return frame->workers;
}

Test(runtime_call, passes_pointers_sizes_and_the_frame) {
  call_shape shape;
  error e;
  cr_assert(call_prepare(&shape, 3, 2, true, &e));
  double x = 2, out = 0;
  float y = 0.5f;
  tcf_frame frame = {.workers = 42};
  void *pointers[] = {&x, &y, &out};
  int64_t sizes[] = {1LL << 40, -6};
  cr_assert_eq(call_invoke(&shape, (void (*)(void))weigh, pointers, sizes, &frame), 42);
  cr_assert_eq(out, 2 * 0x1p40 - 3);
  call_release(&shape);
}

static int32_t add2(const int *x, int *out, tcf_frame *frame) {
  *out = *x + 1;
  return frame->workers;
}
static int32_t add5(const int *x, const int *y, const int *z, const int *w, int *out,
                    tcf_frame *frame) {
  *out = *x + 10 * *y + 100 * *z + 1000 * *w;
  return frame->workers;
}
static int32_t add6(const int *x, const int *y, const int *z, const int *w, const int *v, int *out,
                    tcf_frame *frame) {
  *out = *x + 10 * *y + 100 * *z + 1000 * *w + 10000 * *v;
  return frame->workers;
}

Test(runtime_call, passes_pointers_only) {
  int in[5] = {1, 2, 3, 4, 5}, out;
  tcf_frame frame = {.workers = 7};
  struct {
    void (*function)(void);
    int pointers, sum;
  } list[] = {{(void (*)(void))add2, 2, 2},
              {(void (*)(void))add5, 5, 4321},
              {(void (*)(void))add6, 6, 54321}};
  for (int i = 0; i < 3; i++) {
    call_shape shape;
    error e;
    void *pointers[6];
    cr_assert(call_prepare(&shape, list[i].pointers, 0, true, &e));
    for (int k = 0; k + 1 < list[i].pointers; k++) pointers[k] = &in[k];
    pointers[list[i].pointers - 1] = &out;
    cr_assert_eq(call_invoke(&shape, list[i].function, pointers, NULL, &frame), 7);
    cr_assert_eq(out, list[i].sum);
    call_release(&shape);
  }
}

Test(runtime_call, memory_grows_and_is_kept) {
  call_memory m = {0};
  cr_assert(call_memory_reserve(&m, 100, NULL));
  void *first = m.data;
  cr_assert_eq((uintptr_t)first % 64, 0);
  cr_assert(call_memory_reserve(&m, 50, NULL));
  cr_assert_eq(m.data, first);
  cr_assert(call_memory_reserve(&m, 10000, NULL));
  memset(m.data, 1, 10000);
  error e = {0};
  cr_assert_not(call_memory_reserve(&m, INT64_MAX / 2, &e));
  cr_assert_eq(e.kind, ERROR_USAGE);
  cr_assert(strstr(e.text, "beyond the limit of 512 GiB"), "%s", e.text);
  call_memory_release(&m);
}

Test(runtime_call, denormals_are_flushed_only_between) {
  volatile float tiny = 1e-39f, one = 1;
  cr_assert_neq(tiny * one, 0);
  float_modes before = float_modes_enter(true);
  float flushed = tiny * one;
  float_modes_leave(before);
#if defined(__SSE__)
  cr_assert_eq(flushed, 0);
#else
  (void)flushed;
#endif
  cr_assert_neq(tiny * one, 0);
}
