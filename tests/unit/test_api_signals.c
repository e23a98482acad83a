// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Signals that writing raises: a status for the host, which learns nothing of them otherwise.
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tcc_fuse.h"

typedef struct rig {
  tcf_session *s;
  tcf_tensor *x;
  char folder[40];
} rig;

static rig open_rig(void) {
  rig r = {.folder = "/tmp/tcc-fuse-signals-XXXXXX"};
  int64_t n = 100000;
  tcf_options o = {.size = sizeof o, .cache_dir = ""};
  cr_assert(mkdtemp(r.folder));
  cr_assert_eq(tcf_session_new(&o, &r.s), TCF_OK);
  cr_assert_eq(tcf_tensor_new(r.s, TCF_F32, 1, &n, &r.x), TCF_OK);
  tcf_tensor_fill(r.x, 1);
  return r;
}

/// Nothing is in the folder.
static void close_rig(rig *r) {
  cr_expect_eq(rmdir(r->folder), 0, "files are left in %s", r->folder);
  tcf_tensor_free(r->x);
  tcf_session_free(r->s);
}

enum { SIGNALS = 6 };
static const int signals[SIGNALS] = {SIGXFSZ, SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};

/// As in a host that does nothing about them, whatever the tests were started by.
static void plain_signals(sigset_t *mask) {
  for (int i = 0; i < SIGNALS; i++) signal(signals[i], SIG_DFL);
  sigemptyset(mask);
  pthread_sigmask(SIG_SETMASK, mask, NULL);
}

static void expect_untouched(const sigset_t *mask) {
  sigset_t now, pending;
  struct sigaction action;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  sigpending(&pending);
  for (int i = 0; i < SIGNALS; i++) {
    cr_expect_eq(sigismember(&now, signals[i]), sigismember(mask, signals[i]));
    cr_expect_eq(sigismember(&pending, signals[i]), sigismember(mask, signals[i]));
    cr_expect(!sigaction(signals[i], NULL, &action) && action.sa_handler == SIG_DFL);
  }
}

static void save_what_does_not_fit(rig *r, const char *name) {
  char path[100];
  snprintf(path, sizeof path, "%s/%s", r->folder, name);
  tcf_output out = {.path = path, .name = strstr(name, ".npy") ? NULL : "x", .tensor = r->x};
  cr_expect_eq(tcf_save(r->s, &out, 1), TCF_NO_FILE, "%s", name);
  cr_expect(strstr(tcf_session_message(r->s), "File too large"), "%s", tcf_session_message(r->s));
  cr_expect(access(path, F_OK), "%s is there", name);
}

Test(api_signals, files_that_may_not_grow) {
  static const char *const names[] = {"x.npy", "x.npz", "x.safetensors"};
  rig r = open_rig();
  struct rlimit limit;
  sigset_t mask;
  cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
  rlim_t before = limit.rlim_cur;
  plain_signals(&mask);
  limit.rlim_cur = 4096;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  for (int i = 0; i < 3; i++) {
    save_what_does_not_fit(&r, names[i]);
    expect_untouched(&mask);
  }
  // One that waited for the host before goes on waiting.
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, SIGXFSZ);
  pthread_sigmask(SIG_BLOCK, &own, NULL);
  raise(SIGXFSZ);
  save_what_does_not_fit(&r, "x.npy");
  sigset_t pending;
  sigpending(&pending);
  cr_expect_eq(sigismember(&pending, SIGXFSZ), 1);
  cr_expect_eq(sigtimedwait(&own, NULL, &(struct timespec){0}), SIGXFSZ);
  limit.rlim_cur = before;
  setrlimit(RLIMIT_FSIZE, &limit);
  close_rig(&r);
}

Test(api_signals, a_cache_that_may_not_grow) {
  static const char text[] = "fn f(x: f32[N]) -> f32[N] { return x + 1.0 }";
  rig r = open_rig();
  struct rlimit limit;
  tcf_options o = {.size = sizeof o, .cache_dir = r.folder};
  tcf_session *s;
  tcf_program *p;
  tcf_tensor *y = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  cr_assert_eq(tcf_program_load(s, "t", text, strlen(text), &p), TCF_OK);
  cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = 100;
  cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
  tcf_status status = tcf_call(tcf_program_at(p, 0), (const tcf_tensor *const[]){r.x}, 1, &y, 1);
  limit.rlim_cur = before;
  setrlimit(RLIMIT_FSIZE, &limit);
  cr_expect_eq(status, TCF_OK, "%s", tcf_session_message(s));
  cr_expect_eq(tcf_tensor_get(y, 7), 2);
  tcf_tensor_free(y);
  tcf_session_free(s);
  close_rig(&r);
}

Test(api_signals, a_pipe_that_nobody_reads) {
  rig r = open_rig();
  int ends[2], out = dup(STDOUT_FILENO);
  sigset_t mask;
  plain_signals(&mask);
  cr_assert(!pipe(ends) && dup2(ends[1], STDOUT_FILENO) == STDOUT_FILENO);
  close(ends[0]);
  tcf_status status = tcf_save(r.s, &(tcf_output){.path = "-", .tensor = r.x}, 1);
  dup2(out, STDOUT_FILENO);
  cr_expect_eq(status, TCF_NO_FILE);
  cr_expect_str_eq(tcf_session_message(r.s), "standard output: Broken pipe");
  expect_untouched(&mask);
  close(ends[1]);
  close(out);
  close_rig(&r);
}
