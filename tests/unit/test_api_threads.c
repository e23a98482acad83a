// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Sessions in several threads at once: each compiles and calls programs with threads of its own, all
// share a cache directory, and host functions use other sessions.
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

static const char *const programs[] = {
    "fn f(x: f32[N, D]) -> f32[N, D] { return softmax(x, D) }",
    "fn f(x: f32[N, D]) -> f32[N, M = N] { return dot(x, x[N -> M], D) }",
    "fn f(x: f32[N, D]) -> f32[N, D] { return cumsum(x, D) + tanh(x) }",
    "extern fn h(x: f32[N, D]) -> f32[N, D]\nfn f(x: f32[N, D]) -> f32[N, D] { return h(x) + 1.0 }",
};
enum { PROGRAMS = sizeof programs / sizeof *programs, THREADS = 4, ROUNDS = 4 };

static char folder[] = "/tmp/tcc-fuse-threads-XXXXXX";
static atomic_int bad;

static tcf_session *open_session(const char *target, int threads, const char *cache) {
  tcf_session *s = NULL;
  tcf_options o = {.size = sizeof o, .target = target, .threads = threads, .cache_dir = cache};
  if (tcf_session_new(&o, &s)) bad++;
  return s;
}

/// The rows of softmax, by a session of its own.
static int inner(void *user, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  tcf_session *s = open_session("cpu", 1, user);
  tcf_program *p = NULL;
  tcf_tensor *y = out;
  int failed = !s || tcf_program_load(s, "inner", programs[0], strlen(programs[0]), &p) ||
               tcf_call(tcf_program_at(p, 0), in, nin, &y, 1);
  tcf_session_free(s);
  return failed;
}

/// The same in the interpreter: sessions do not disturb each other's results.
static bool agrees(int which, const tcf_tensor *x, const tcf_tensor *y) {
  tcf_session *s = open_session("interp", 1, "");
  tcf_program *p = NULL;
  tcf_tensor *wanted = NULL;
  tcf_difference d = {.failed = 1};
  tcf_register_extern(s, "h", inner, "");
  if (!tcf_program_load(s, "p", programs[which], strlen(programs[which]), &p) &&
      !tcf_call(tcf_program_at(p, 0), &x, 1, &wanted, 1))
    tcf_tensor_compare(s, y, wanted, 1e-4, &d);
  tcf_tensor_free(wanted);
  tcf_session_free(s);
  return !d.failed;
}

static void *work(void *argument) {
  int id = (int)(intptr_t)argument;
  for (int round = 0; round < ROUNDS; round++) {
    int which = (id + round) % PROGRAMS;
    const char *cache = round % 2 ? folder : "";
    tcf_session *s = open_session(id == 3 ? "interp-tile" : "cpu", 1 + (id + round) % 4, cache);
    tcf_program *p = NULL;
    if (tcf_register_extern(s, "h", inner, (void *)cache)) bad++;
    if (tcf_program_load(s, "p", programs[which], strlen(programs[which]), &p)) bad++;
    for (int call = 0; call < 3; call++) {
      int64_t dims[2] = {1 + (id * 7 + call * 13) % 20, 1 + (round * 11 + call * 5) % 30};
      tcf_tensor *x = NULL, *y = NULL;
      if (tcf_tensor_new(s, TCF_F32, 2, dims, &x)) bad++;
      tcf_tensor_fill_random(x, (uint64_t)(id + call));
      if (tcf_call(tcf_program_at(p, 0), (const tcf_tensor *const[]){x}, 1, &y, 1)) bad++;
      else if (!agrees(which, x, y)) bad++;
      tcf_tensor_free(x);
      tcf_tensor_free(y);
    }
    tcf_session_free(s);
  }
  return NULL;
}

Test(api_threads, sessions_are_independent, .timeout = 120) {
  pthread_t threads[THREADS];
  char command[80];
  cr_assert(mkdtemp(folder));
  for (intptr_t i = 0; i < THREADS; i++)
    cr_assert_eq(pthread_create(&threads[i], NULL, work, (void *)i), 0);
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  cr_expect_eq(bad, 0);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_expect_eq(system(command), 0);
}
