// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the state of the host does to the library: nothing. Its locale, the floating point modes of
// its threads, its signals, its working directory, and processes that it forks.
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <fenv.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__SSE__)
#include <immintrin.h>
#endif

#include "tcc_fuse.h"

// Folded constants, literals of every kind, sizes as numbers, denormals, long sums.
static const char text[] =
    "fn f(x: f32[N, M], w: f64[M]) -> (f32[N, M], f64[N], f32[N]) {\n"
    "  let a = x * 0.5 + 2.75\n"
    "  let b = f64(x) * w / 3.0 + 1e-300 * 1e-10 + 0.1 * 0.7\n"
    "  let c = a * exp(0.3) / f32(M) + 1.17e-38 * 0.01\n"
    "  return (c, sum(b, M), sum(tanh(x * 1e-3) + x * 1e-38, M))\n"
    "}\n";

typedef struct output {
  char *data;
  size_t size;
  FILE *file;
} output;

static void put_bytes(output *o, const void *data, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) fprintf(o->file, "%02x", ((const unsigned char *)data)[i]);
  fputc('\n', o->file);
}

static void put_tensor(output *o, const tcf_tensor *t) {
  put_bytes(o, tcf_tensor_data(t),
            (size_t)tcf_tensor_elements(t) * tcf_dtype_size(tcf_tensor_dtype(t)));
}

static void put_text(output *o, tcf_session *s, tcf_status status, char *from) {
  cr_assert_eq(status, TCF_OK, "%s", tcf_session_message(s));
  fprintf(o->file, "%s\n", from);
  tcf_text_free(from);
}

static void put_call(output *o, tcf_session *s, tcf_program *p) {
  int64_t dims[2] = {37, 100};
  tcf_tensor *x, *w, *y[3] = {0};
  cr_assert_eq(tcf_tensor_new(s, TCF_F32, 2, dims, &x), TCF_OK);
  cr_assert_eq(tcf_tensor_new(s, TCF_F64, 1, dims + 1, &w), TCF_OK);
  tcf_tensor_fill_random(x, 1);
  tcf_tensor_fill_uniform(w, 2, -0.3, 0.7);
  const tcf_tensor *args[] = {x, w};
  double tolerance;
  tcf_cost cost;
  for (int twice = 0; twice < 2; twice++)
    cr_assert_eq(tcf_call(tcf_program_at(p, 0), args, 2, y, 3), TCF_OK, "%s",
                 tcf_session_message(s));
  if (!tcf_program_is_tile(p)) {
    cr_assert_eq(tcf_function_tolerance(tcf_program_at(p, 0), args, 2, 0, &tolerance), TCF_OK);
    cr_assert_eq(tcf_function_cost(tcf_program_at(p, 0), args, 2, &cost), TCF_OK);
    put_bytes(o, &tolerance, sizeof tolerance);
    put_bytes(o, &cost.flops, sizeof cost.flops);
  }
  put_tensor(o, x);
  put_tensor(o, w);
  for (int i = 0; i < 3; i++) {
    put_tensor(o, y[i]);
    tcf_tensor_free(y[i]);
  }
  tcf_tensor_free(x);
  tcf_tensor_free(w);
}

/// All that the library says of a program, and what calls of it give, as bytes.
static output everything(const char *target, tcf_parallel_for parallel_for) {
  output o;
  o.file = open_memstream(&o.data, &o.size);
  tcf_options options = {.size = sizeof options, .target = target, .cache_dir = "", .threads = 3};
  options.parallel_for = parallel_for;
  tcf_session *s;
  tcf_program *p;
  char *out, *tile = NULL;
  cr_assert_eq(tcf_session_new(&options, &s), TCF_OK);
  cr_assert_eq(tcf_program_load(s, "t", text, strlen(text), &p), TCF_OK, "%s",
               tcf_session_message(s));
  int stages = strcmp(target, "cpu") ? TCF_STAGE_TILE : TCF_STAGE_ASM;
  for (int stage = 0; stage <= stages; stage++) {
    tcf_emit_options e = {.size = sizeof e, .stage = (tcf_stage)stage};
    tcf_status status = tcf_program_emit(p, &e, &out);
    if (!status && stage == TCF_STAGE_TILE) tile = strdup(out);
    put_text(&o, s, status, out);
  }
  for (int format = TCF_TEXT; format <= TCF_HTML; format++) {
    tcf_status status = tcf_program_explain(p, NULL, NULL, 0, (tcf_format)format, &out);
    put_text(&o, s, status, out);
  }
  put_call(&o, s, p);
  // What was printed is read back.
  cr_assert_eq(tcf_program_load(s, "tile", tile, strlen(tile), &p), TCF_OK, "%s",
               tcf_session_message(s));
  put_call(&o, s, p);
  free(tile);
  tcf_session_free(s);
  fclose(o.file);
  return o;
}

static void expect_same(const output *a, output *b, const char *what) {
  size_t at = 0;
  while (at < a->size && at < b->size && a->data[at] == b->data[at]) at++;
  size_t from = at < 60 ? 0 : at - 60;
  cr_expect(a->size == b->size && at == a->size, "%s: byte %zu:\n%.100s\nand\n%.100s", what, at,
            a->data + from, b->data + from);
  free(b->data);
}

static const char *const targets[] = {"cpu", "interp", "interp-tile"};

// ---- locale

/// A locale with a decimal comma, made by localedef in a folder of its own. False: there is none.
static bool german(char folder[64]) {
  char command[256];
  snprintf(folder, 64, "/tmp/tcc-fuse-locale-XXXXXX");
  cr_assert(mkdtemp(folder));
  snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 >/dev/null 2>&1",
           folder);
  bool made = system(command) == 0;
  setenv("LOCPATH", folder, 1);
  made = made && setlocale(LC_ALL, "de_DE.UTF-8");
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_assert_eq(system(command), 0);
  return made;
}

Test(api_host, the_locale_changes_nothing, .timeout = 120) {
  char folder[64];
  output plain[3];
  for (int i = 0; i < 3; i++) plain[i] = everything(targets[i], NULL);
  if (!german(folder)) cr_skip_test("no localedef, or no de_DE: the locale is left out");
  cr_assert_eq(strtod("0,5", NULL), 0.5);
  for (int i = 0; i < 3; i++) {
    output now = everything(targets[i], NULL);
    expect_same(&plain[i], &now, targets[i]);
    free(plain[i].data);
  }
  cr_expect_str_eq(setlocale(LC_ALL, NULL), "de_DE.UTF-8");
  cr_expect_eq(uselocale((locale_t)0), LC_GLOBAL_LOCALE);
}

// ---- floating point modes

typedef struct piece {
  tcf_task task;
  void *args;
  int64_t n;
} piece;

/// One range on a thread whose modes the host has changed.
static void *run_piece(void *argument) {
  piece *p = argument;
  fesetround(FE_UPWARD);
#if defined(__SSE__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
  p->task(p->args, 0, p->n, 1);
  cr_expect_eq(fegetround(), FE_UPWARD);
  return NULL;
}

static void odd_threads(void *user, tcf_task task, void *args, int64_t n) {
  (void)user;
  pthread_t thread;
  piece p = {task, args, n};
  cr_assert_eq(pthread_create(&thread, NULL, run_piece, &p), 0);
  pthread_join(thread, NULL);
}

Test(api_host, rounding_and_denormals_of_the_host_change_nothing, .timeout = 120) {
  static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
  for (int i = 0; i < 3; i++) {
    output plain = everything(targets[i], NULL);
    for (int k = 0; k < 3; k++) {
      fesetround(modes[k]);
      output now = everything(targets[i], NULL);
      cr_expect_eq(fegetround(), modes[k]);
      fesetround(FE_TONEAREST);
      expect_same(&plain, &now, targets[i]);
    }
#if defined(__SSE__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    output flushed = everything(targets[i], NULL);
    cr_expect_eq(_mm_getcsr() & 0x8040, 0x8040);
    _mm_setcsr(before);
    expect_same(&plain, &flushed, targets[i]);
#endif
    output elsewhere = everything(targets[i], odd_threads);
    expect_same(&plain, &elsewhere, targets[i]);
    free(plain.data);
  }
}

Test(api_host, traps_of_the_host_do_not_spring) {
  cr_assert_eq(feclearexcept(FE_ALL_EXCEPT), 0);
  cr_assert_neq(feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), -1);
  const char program[] =
      "fn f(x: f32[N]) -> f32[N] { return x / 0.0 + exp(x * 1e30) + sqrt(x - 2) }";
  tcf_options o = {.size = sizeof o, .cache_dir = "", .threads = 1};
  int64_t n = 40;
  tcf_session *s;
  tcf_program *p;
  tcf_tensor *x, *y = NULL;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  cr_assert_eq(tcf_program_load(s, "t", program, strlen(program), &p), TCF_OK);
  cr_assert_eq(tcf_tensor_new(s, TCF_F32, 1, &n, &x), TCF_OK);
  tcf_tensor_fill(x, 1);
  cr_assert_eq(tcf_call(tcf_program_at(p, 0), (const tcf_tensor *const[]){x}, 1, &y, 1), TCF_OK);
  cr_expect_eq(fetestexcept(FE_ALL_EXCEPT), 0, "flags of the library are not the host's");
  fedisableexcept(FE_ALL_EXCEPT);
  cr_expect(isnan(tcf_tensor_get(y, 39)));
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  tcf_session_free(s);
}

// ---- a session that calls something in parallel

typedef struct rig {
  tcf_session *s;
  tcf_function *f;
  tcf_tensor *x, *y;
} rig;

static rig open_rig(const char *cache_dir) {
  static const char program[] = "fn f(x: f32[N, M]) -> f32[N, M] { return exp(x) + 1.0 }";
  rig r = {0};
  tcf_program *p;
  int64_t dims[2] = {1000, 3000};
  tcf_options o = {.size = sizeof o, .cache_dir = cache_dir, .threads = 4};
  cr_assert_eq(tcf_session_new(&o, &r.s), TCF_OK);
  cr_assert_eq(tcf_program_load(r.s, "t", program, strlen(program), &p), TCF_OK);
  cr_assert_eq(tcf_tensor_new(r.s, TCF_F32, 2, dims, &r.x), TCF_OK);
  cr_assert_eq(tcf_tensor_new(r.s, TCF_F32, 2, dims, &r.y), TCF_OK);
  tcf_tensor_fill(r.x, 0);
  r.f = tcf_program_at(p, 0);
  return r;
}

static bool call_rig(rig *r) {
  tcf_tensor_fill(r->y, 0);
  return !tcf_call(r->f, (const tcf_tensor *const[]){r->x}, 1, &r->y, 1) &&
         tcf_tensor_get(r->y, 0) == 2 && tcf_tensor_get(r->y, 2999999) == 2;
}

static void close_rig(rig *r) {
  tcf_tensor_free(r->x);
  tcf_tensor_free(r->y);
  tcf_session_free(r->s);
}

// ---- signals

/// Threads that block all of these signals, but not SIGSEGV.
static int blocking(const int *signals, int n) {
  int count = 0;
  DIR *d = opendir("/proc/self/task");
  for (struct dirent *t; d && (t = readdir(d));) {
    char path[300], line[128];
    unsigned long long mask;
    if (t->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/proc/self/task/%s/status", t->d_name);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
      if (sscanf(line, "SigBlk: %llx", &mask) == 1) {
        bool all = !(mask >> (SIGSEGV - 1) & 1);
        for (int i = 0; i < n; i++) all = all && mask >> (signals[i] - 1) & 1;
        count += all;
      }
    if (f) fclose(f);
  }
  if (d) closedir(d);
  return count;
}

Test(api_host, signals_are_not_delivered_to_threads_of_the_pool) {
  rig r = open_rig("");
  sigset_t before, after;
  static const int signals[] = {SIGINT, SIGTERM, SIGALRM, SIGUSR1, SIGCHLD, SIGPROF};
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  cr_assert(call_rig(&r));
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  cr_expect_eq(memcmp(&before, &after, _NSIG / 8), 0);
  int count = 0;  // while it starts, a thread blocks everything
  for (int turn = 0; turn < 500 && (count = blocking(signals, 6)) != 3; turn++) usleep(10000);
  cr_expect_eq(count, 3, "%d threads", count);
  close_rig(&r);
}

Test(api_host, children_that_the_host_does_not_wait_for) {
  if (system("command -v cc >/dev/null 2>&1")) cr_skip_test("no cc: linking is left out");
  char path[] = "/tmp/tcc-fuse-host-XXXXXX.so";
  close(mkstemps(path, 3));
  rig r = open_rig("");
  signal(SIGCHLD, SIG_IGN);  // children vanish, and nobody learns how they ended
  cr_expect_eq(tcf_function_library(r.f, NULL, 0, path, NULL), TCF_OK, "%s",
               tcf_session_message(r.s));
  struct stat st;
  cr_expect(!stat(path, &st) && st.st_size > 0);
  signal(SIGCHLD, SIG_DFL);
  remove(path);
  close_rig(&r);
}

// ---- the working directory

Test(api_host, a_cache_directory_stays_where_it_was) {
  char folder[] = "/tmp/tcc-fuse-host-XXXXXX", command[300];
  cr_assert(mkdtemp(folder) && !chdir(folder));
  rig r = open_rig("kept");
  cr_assert(!chdir("/"));
  cr_expect(call_rig(&r), "%s", tcf_session_message(r.s));
  snprintf(command, sizeof command, "ls %s/kept/*.tcfo >/dev/null", folder);
  cr_expect_eq(system(command), 0);
  snprintf(command, sizeof command, "rm -rf %s", folder);
  cr_expect_eq(system(command), 0);
  close_rig(&r);
}

// ---- fork

/// Runs work in a child; its exit status.
static int in_child(int (*work)(rig *), rig *r) {
  pid_t child = fork();
  if (!child) {
    alarm(20);
    _exit(work(r));
  }
  int status = -1;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static int frees(rig *r) {
  close_rig(r);
  return 0;
}

static int calls(rig *r) {
  bool ok = call_rig(r) && call_rig(r);
  close_rig(r);
  return ok ? 0 : 1;
}

static int compiles(rig *r) {
  tcf_session *s = NULL;
  rig fresh = open_rig("");
  bool ok = call_rig(&fresh) && call_rig(r) && !tcf_session_new(NULL, &s);
  tcf_session_free(s);
  close_rig(&fresh);
  close_rig(r);
  return ok ? 0 : 1;
}

Test(api_host, a_forked_child_frees_calls_and_compiles, .timeout = 60) {
  for (int started = 0; started < 2; started++) {
    rig r = open_rig("");
    if (started) cr_assert(call_rig(&r));
    usleep(20000);  // the threads sleep, or soon will
    cr_expect_eq(in_child(frees, &r), 0);
    cr_expect_eq(in_child(calls, &r), 0);
    cr_expect_eq(in_child(compiles, &r), 0);
    cr_expect(call_rig(&r));
    close_rig(&r);
  }
}
