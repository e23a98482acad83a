// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compiling needs of the host: stack of the calling thread, and memory for LLVM. Too little of
// either is a status, and the session works on.
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tcc_fuse.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };  // frames are larger, and address space cannot be limited
#else
enum { SANITIZED = 0 };
#endif
enum { LETS = 1000 };

static tcf_session *open_session(void) {
  tcf_options o = {.size = sizeof o, .cache_dir = "", .threads = 1};
  tcf_session *s = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  return s;
}

/// A chain of LETS additions, one let each.
static size_t long_program(char *text, size_t cap) {
  size_t n = (size_t)snprintf(text, cap, "fn f(x: f32[N]) -> f32[N] {\n  let a0 = x\n");
  for (int i = 1; i < LETS; i++)
    n += (size_t)snprintf(text + n, cap - n, "  let a%d = a%d + x\n", i, i - 1);
  n += (size_t)snprintf(text + n, cap - n, "  return a%d\n}\n", LETS - 1);
  cr_assert_lt(n, cap);
  return n;
}

// ---- stack

typedef struct calls {
  tcf_session *s;
  tcf_program *p;  // loaded already; null: to be loaded
  tcf_status load, format, emit, explain, prepare, call;
  char message[256];
} calls;

static tcf_status call(const calls *c, bool prepare) {
  float in[4] = {1, 2, 3, 4}, out[4] = {0};
  tcf_tensor *x = NULL, *y = NULL;
  tcf_tensor_borrow(c->s, TCF_F32, 1, (int64_t[]){4}, NULL, in, &x);
  tcf_tensor_borrow(c->s, TCF_F32, 1, (int64_t[]){4}, NULL, out, &y);
  const tcf_tensor *args[] = {x};
  tcf_function *f = tcf_program_function(c->p, "f");
  tcf_status status = prepare ? tcf_prepare(f, args, 1) : tcf_call(f, args, 1, &y, 1);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  if (!status && !prepare) cr_expect_eq(out[1], 2 * LETS);
  return status;
}

static void *work(void *ctx) {
  static char text[64 * LETS];
  calls *c = ctx;
  size_t size = long_program(text, sizeof text);
  tcf_program *p = c->p;
  char *made = NULL;
  c->load = tcf_program_load(c->s, "f.tdsl", text, size, &p);
  snprintf(c->message, sizeof c->message, "%s", tcf_session_message(c->s));
  c->format = tcf_format_source(c->s, "f.tdsl", text, size, &made);
  if (!c->format) tcf_text_free(made);
  if (!c->p) c->p = p;
  tcf_emit_options emit = {.size = sizeof emit, .stage = TCF_STAGE_TILE};
  c->emit = tcf_program_emit(c->p, &emit, &made);
  if (!c->emit) tcf_text_free(made);
  c->explain = tcf_program_explain(c->p, NULL, NULL, 0, TCF_TEXT, &made);
  if (!c->explain) tcf_text_free(made);
  c->prepare = call(c, true);
  c->call = call(c, false);
  return NULL;
}

static void on_stack(size_t bytes, calls *c) {
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, bytes);
  cr_assert_eq(pthread_create(&thread, &attributes, work, c), 0);
  pthread_attr_destroy(&attributes);
  pthread_join(thread, NULL);
}

Test(api_room, a_small_stack_is_a_status_and_not_a_fault) {
  static char text[64 * LETS];
  calls c = {.s = open_session()};
  size_t size = long_program(text, sizeof text);
  cr_assert_eq(tcf_program_load(c.s, "f.tdsl", text, size, &c.p), TCF_OK);
  on_stack(256 << 10, &c);
  cr_expect_eq(c.load, TCF_NO_MEMORY);
  cr_expect(strstr(c.message, "KB of stack left; what parses or compiles needs 1024 KB"), "%s",
            c.message);
  cr_expect_eq(c.format, TCF_NO_MEMORY);
  cr_expect_eq(c.emit, TCF_NO_MEMORY);
  cr_expect_eq(c.explain, TCF_NO_MEMORY);
  cr_expect_eq(c.prepare, TCF_NO_MEMORY);
  cr_expect_eq(c.call, TCF_NO_MEMORY);
  // What is compiled can be called there.
  cr_expect_eq(call(&c, true), TCF_OK, "%s", tcf_session_message(c.s));
  on_stack(256 << 10, &c);
  cr_expect_eq(c.load, TCF_NO_MEMORY);
  cr_expect_eq(c.call, TCF_OK, "%s", tcf_session_message(c.s));
  tcf_session_free(c.s);
}

Test(api_room, two_megabytes_of_stack_are_enough) {
  calls c = {.s = open_session()};
  on_stack((SANITIZED ? 16 : 2) << 20, &c);
  cr_expect_eq(c.load, TCF_OK, "%s", c.message);
  cr_expect_eq(c.format, TCF_OK);
  cr_expect_eq(c.emit, TCF_OK);
  cr_expect_eq(c.explain, TCF_OK);
  cr_expect_eq(c.prepare, TCF_OK);
  cr_expect_eq(c.call, TCF_OK);
  tcf_session_free(c.s);
}

// ---- memory

/// The soft limit on address space becomes what is mapped now and `more`.
static void leave_room(rlim_t more) {
  unsigned long pages = 0;
  struct rlimit limit;
  FILE *f = fopen("/proc/self/statm", "r");
  cr_assert(f && fscanf(f, "%lu", &pages) == 1);
  fclose(f);
  getrlimit(RLIMIT_AS, &limit);
  rlim_t mapped = pages * (rlim_t)sysconf(_SC_PAGESIZE);
  limit.rlim_cur = more == RLIM_INFINITY ? limit.rlim_max : mapped + more;
  cr_assert_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

static void no_room(const char *target) {
  static const char text[] = "fn f(x: f32[N]) -> f32[N] {\n  return exp(x) + 1\n}\n";
  tcf_options o = {.size = sizeof o, .cache_dir = "", .target = target, .threads = 1};
  tcf_session *s = NULL;
  tcf_program *p = NULL;
  char *made = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  cr_assert_eq(tcf_program_load(s, "f.tdsl", text, sizeof text - 1, &p), TCF_OK);
  tcf_emit_options emit = {.size = sizeof emit, .stage = TCF_STAGE_ASM};
  leave_room(64 << 20);
  cr_expect_eq(tcf_program_emit(p, &emit, &made), TCF_NO_MEMORY, "%s", target);
  cr_expect_str_eq(tcf_session_message(s), "out of memory (96 MB for the code generator)");
  leave_room(RLIM_INFINITY);
  cr_expect_eq(tcf_program_emit(p, &emit, &made), TCF_OK, "%s: %s", target, tcf_session_message(s));
  tcf_text_free(made);
  tcf_session_free(s);
}

Test(api_room, no_room_for_llvm_is_a_status) {
  if (SANITIZED) return;
  no_room("cpu");
  no_room("cpu:haswell");
  no_room("cuda:sm_80");
}
