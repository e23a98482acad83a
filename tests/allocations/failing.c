// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Makes allocation number k fail, for every k, while a host loads, compiles, calls and saves: each
// function ends with TCF_NO_MEMORY and a message or does without, works when it is called again,
// and nothing is leaked.
//
// Only what this program's own code asks for fails; it has the library linked into it. LLVM, which
// ends the process when an allocation fails, is a library of its own and left alone.
//
//   failing-allocations [SCENARIO [K]]
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tcc_fuse.h"
#include "../own_code.h"

// ---- allocations

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum { MOST_LIVE = 1 << 16 };
static code_range own;           // of this program's code
static long fail_at = -1, seen;  // the number of the one that fails; -1: none
static bool watching, failed;
// By hash: what was asked for here and not given back, and from where.
static struct allocation {
  void *at;
  const void *caller;
} live[MOST_LIVE];
static int nlive;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool is_ours(const void *caller) {
  return watching && in_code(own, caller);
}

static bool fails(const void *caller) {
  if (!is_ours(caller)) return false;
  bool now = __atomic_fetch_add(&seen, 1, __ATOMIC_RELAXED) == fail_at;
  if (now) failed = true, errno = ENOMEM;
  return now;
}

static size_t slot_of(const void *p) {
  size_t i = ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15u >> 48 & (MOST_LIVE - 1);
  while (live[i].at && live[i].at != p) i = (i + 1) & (MOST_LIVE - 1);
  return i;
}

static void *keep(void *p, const void *caller) {
  if (!p || !is_ours(caller)) return p;
  pthread_mutex_lock(&lock);
  if (nlive < MOST_LIVE / 2) live[slot_of(p)] = (struct allocation){p, caller}, nlive++;
  pthread_mutex_unlock(&lock);
  return p;
}

static void forget(void *p) {
  if (!p || !nlive) return;
  pthread_mutex_lock(&lock);
  size_t i = slot_of(p);
  if (live[i].at) {
    live[i].at = NULL;
    nlive--;
    // What was behind it moves up, so that no search ends at the hole.
    for (size_t k = (i + 1) & (MOST_LIVE - 1); live[k].at; k = (k + 1) & (MOST_LIVE - 1)) {
      struct allocation moved = live[k];
      live[k].at = NULL;
      live[slot_of(moved.at)] = moved;
    }
  }
  pthread_mutex_unlock(&lock);
}

#define CALLER __builtin_return_address(0)
void *malloc(size_t n) { return fails(CALLER) ? NULL : keep(__libc_malloc(n), CALLER); }
void *calloc(size_t n, size_t m) {
  return fails(CALLER) ? NULL : keep(__libc_calloc(n, m), CALLER);
}
void *aligned_alloc(size_t a, size_t n) {
  return fails(CALLER) ? NULL : keep(__libc_memalign(a, n), CALLER);
}
void *realloc(void *p, size_t n) {
  if (fails(CALLER)) return NULL;
  forget(p);
  return keep(__libc_realloc(p, n), CALLER);
}
void free(void *p) {
  forget(p);
  __libc_free(p);
}
char *strdup(const char *text) {
  size_t n = strlen(text) + 1;
  char *p = fails(CALLER) ? NULL : keep(__libc_malloc(n), CALLER);
  return p ? memcpy(p, text, n) : NULL;
}
char *strndup(const char *text, size_t n) {
  n = strnlen(text, n);
  char *p = fails(CALLER) ? NULL : keep(__libc_calloc(n + 1, 1), CALLER);
  return p ? memcpy(p, text, n) : NULL;
}
int asprintf(char **out, const char *format, ...) {
  va_list args;
  if (fails(CALLER)) return -1;
  va_start(args, format);
  int n = vasprintf(out, format, args);
  va_end(args);
  if (n >= 0) keep(*out, CALLER);
  return n;
}

/// The function of that name in the libraries behind this program.
#define NEXT(type, name) ((type)dlsym(RTLD_NEXT, name))
void *mmap(void *at, size_t n, int protection, int flags, int fd, off_t offset) {
  static void *(*next)(void *, size_t, int, int, int, off_t);
  if (!next) next = NEXT(void *(*)(void *, size_t, int, int, int, off_t), "mmap");
  return fails(CALLER) ? MAP_FAILED : next(at, n, protection, flags, fd, offset);
}
FILE *fopen(const char *path, const char *mode) {
  return fails(CALLER) ? NULL : NEXT(FILE * (*)(const char *, const char *), "fopen")(path, mode);
}
FILE *open_memstream(char **data, size_t *size) {
  return fails(CALLER) ? NULL : NEXT(FILE * (*)(char **, size_t *), "open_memstream")(data, size);
}
DIR *opendir(const char *path) {
  return fails(CALLER) ? NULL : NEXT(DIR * (*)(const char *), "opendir")(path);
}
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument) {
  int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = NEXT(
      int (*)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *), "pthread_create");
  return fails(CALLER) ? EAGAIN : next(thread, attributes, run, argument);
}

// ---- what a host does

static const char good[] =
    "extern fn h(x: f32[N]) -> f32[N]\n"
    "fn softmax_rows(x: f32[N, D]) -> f32[N, D] {\n"
    "  let e = exp(x - max(x, D))\n"
    "  return e / sum(e, D)\n"
    "}\n"
    "fn two(x: f32[N, D], w: f32[D, H]) -> (f32[N, H], f32[N]) {\n"
    "  return (dot(x, w, D) + 0.5, cumsum(sum(x, D), N))\n"
    "}\n"
    "fn called(x: f32[N]) -> f32[N] { return h(x) + 1.0 }\n"
    "fn pick(x: f32[V, D], i: i32[N]) -> f32[N, D] { return x[V = i] }\n"
    "fn derived(q: f32[S, D], k: f32[T, D]) -> (f32[S, D], f32[T, D]) {\n"
    "  fuse stream(T) { let o = dot(softmax(dot(q, k, D), T), k, T) }\n"
    "  return grad(sum(o * o, S, D), q, k)\n"
    "}\n";
static const char bad[] =
    "fn f(x: f32[N, D]) -> f32[N] {\n  let y = sum(x, H)\n  return yy + z\n}\n";

static char folder[] = "/tmp/tcc-fuse-allocations-XXXXXX";
static bool wrong;        // of this run
static const char *step;  // being tried

static void complain(const char *what, const char *more) {
  wrong = true;
  printf("    allocation %ld fails: %s: %s%s%s\n", fail_at, step, what, more ? ": " : "",
         more ? more : "");
}

/// After a failure: out of memory, said, and the second time it works.
static bool judge(tcf_session *s, tcf_status status, bool again, tcf_status expected) {
  if (status == expected) return false;
  if (again) return complain("fails again", tcf_session_message(s)), false;
  if (!failed) return complain(tcf_status_name(status), tcf_session_message(s)), false;
  if (status != TCF_NO_MEMORY) complain(tcf_status_name(status), s ? tcf_session_message(s) : NULL);
  if (s && !*tcf_session_message(s)) complain("nothing is said", NULL);
  return true;
}

#define GIVES(expected, s, call)                                                          \
  do {                                                                                    \
    step = #call;                                                                         \
    for (bool again = false; judge(s, (call), again, (expected)); again = true) continue; \
    if (wrong) goto end;                                                                  \
  } while (0)
#define TRY(s, call) GIVES(TCF_OK, s, call)

static int host(void *user, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  (void)user, (void)nin;
  return tcf_tensor_copy(NULL, out, in[0]) != TCF_OK;
}

static void ignore(void *user, const tcf_diagnostic *d) { (void)user, (void)d; }

typedef struct world {
  tcf_session *s;
  tcf_program *p;
  tcf_tensor *x, *w, *v, *ids, *y[2];
  tcf_archive *a;
  char *text;
} world;

static const char *path_of(const char *name, char path[96]) {
  snprintf(path, 96, "%s/%s", folder, name);
  return path;
}

static void drop_text(world *w) {
  tcf_text_free(w->text);
  w->text = NULL;
}

static void drop_results(world *w) {
  for (int i = 0; i < 2; i++) {
    tcf_tensor_free(w->y[i]);
    w->y[i] = NULL;
  }
}

static void open_world(world *w, const char *target, const char *cache) {
  char path[96];
  tcf_options o = {.size = sizeof o, .target = target, .threads = 2, .diagnostic = ignore};
  o.cache_dir = cache ? path_of(cache, path) : "";
  TRY(w->s, tcf_session_new(&o, &w->s));
  TRY(w->s, tcf_program_load(w->s, "good", good, sizeof good - 1, &w->p));
  TRY(w->s, tcf_register_extern(w->s, "h", host, NULL));
  TRY(w->s, tcf_register_extern_c(w->s, "g", (void (*)(void))host, "(f32[N]) -> f32[N]"));
  int64_t dims[3] = {5, 6, 3}, strides[2] = {4, 20};
  static float numbers[30];
  static int32_t ids[3] = {4, 0, 2};
  TRY(w->s, tcf_tensor_borrow(w->s, TCF_F32, 2, dims, strides, numbers, &w->x));
  TRY(w->s, tcf_tensor_new(w->s, TCF_F32, 2, dims + 1, &w->w));
  TRY(w->s, tcf_tensor_new(w->s, TCF_F32, 1, dims, &w->v));
  TRY(w->s, tcf_tensor_borrow(w->s, TCF_I32, 1, dims + 2, NULL, ids, &w->ids));
  tcf_tensor_fill_random(w->x, 1);
  tcf_tensor_fill_random(w->w, 2);
  tcf_tensor_fill_random(w->v, 3);
end:;
}

static void close_world(world *w) {
  drop_results(w);
  drop_text(w);
  tcf_tensor_free(w->x);
  tcf_tensor_free(w->w);
  tcf_tensor_free(w->v);
  tcf_tensor_free(w->ids);
  tcf_archive_free(w->a);
  tcf_session_free(w->s);
}

static void call_all(world *w) {
  const tcf_tensor *x[] = {w->x}, *xw[] = {w->x, w->w}, *v[] = {w->v}, *pick[] = {w->x, w->ids};
  tcf_function *f = tcf_program_function(w->p, "softmax_rows");
  double tolerance;
  tcf_cost cost;
  TRY(w->s, tcf_prepare(f, x, 1));
  TRY(w->s, tcf_call(f, x, 1, w->y, 1));
  TRY(w->s, tcf_call(f, x, 1, w->y, 1));
  TRY(w->s, tcf_function_tolerance(f, x, 1, 0, &tolerance));
  TRY(w->s, tcf_function_cost(f, x, 1, &cost));
  drop_results(w);
  TRY(w->s, tcf_call(tcf_program_function(w->p, "two"), xw, 2, w->y, 2));
  drop_results(w);
  TRY(w->s, tcf_call(tcf_program_function(w->p, "called"), v, 1, w->y, 1));
  drop_results(w);
  TRY(w->s, tcf_call(tcf_program_function(w->p, "pick"), pick, 2, w->y, 1));
  drop_results(w);
  ((int32_t *)tcf_tensor_data(w->ids))[1] = 9;
  GIVES(TCF_WRONG_DATA, w->s, tcf_call(tcf_program_function(w->p, "pick"), pick, 2, w->y, 1));
end:
  ((int32_t *)tcf_tensor_data(w->ids))[1] = 0;
}

static void interpret(void) {
  world w = {0};
  open_world(&w, "interp", NULL);
  if (!wrong) call_all(&w);
  close_world(&w);
}

static void interpret_tiles(void) {
  world w = {0};
  open_world(&w, "interp-tile", NULL);
  if (!wrong) call_all(&w);
  close_world(&w);
}

static void compile(void) {
  world w = {0};
  open_world(&w, "cpu", "cache");
  if (!wrong) call_all(&w);
  close_world(&w);
}

/// What was compiled is in the cache.
static void compile_again(void) { compile(); }

/// An entry that is damaged, in a directory of its own.
static bool put_damaged_entry(const char *directory) {
  static const char head[40] = "TCFO\1";
  char path[160];
  snprintf(path, sizeof path, "%s/00000000000000000000000000000000.tcfo", directory);
  mkdir(directory, 0700);
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  bool put = fd >= 0 && write(fd, head, sizeof head) == sizeof head;
  if (fd >= 0) close(fd);
  return put;
}

static void look_after_cache(void) {
  world w = {0};
  char path[96];
  tcf_cache_totals t = {.size = sizeof t};
  tcf_options o = {.size = sizeof o, .target = "interp", .cache_dir = path_of("damaged", path)};
  if (!put_damaged_entry(path)) return complain("no entry can be written", path);
  TRY(w.s, tcf_session_new(&o, &w.s));
  for (int task = TCF_CACHE_LIST; task <= TCF_CACHE_CLEAR; task++) {
    TRY(w.s, tcf_session_cache(w.s, (tcf_cache_task)task, NULL, NULL, &t));
    if (t.entries != 1 || t.faults != (task == TCF_CACHE_VERIFY))
      complain("not the one entry, or its fault", NULL);
  }
end:
  close_world(&w);
}

static void look(void) {
  world w = {0};
  tcf_program *p;
  open_world(&w, "cpu", NULL);
  if (wrong) goto end;
  for (int stage = TCF_STAGE_GRAPH; stage <= TCF_STAGE_TILE; stage++) {
    tcf_emit_options e = {.size = sizeof e, .stage = (tcf_stage)stage};
    TRY(w.s, tcf_program_emit(w.p, &e, &w.text));
    TRY(w.s, tcf_program_load(w.s, "again", w.text, strlen(w.text), &p));
    drop_text(&w);
  }
  for (int format = TCF_TEXT; format <= TCF_HTML; format++) {
    TRY(w.s, tcf_program_explain(w.p, NULL, NULL, 0, (tcf_format)format, &w.text));
    drop_text(&w);
  }
  for (int format = TCF_TEXT; format <= TCF_JSON; format++) {
    TRY(w.s, tcf_program_signatures(w.p, (tcf_format)format, &w.text));
    if (!strstr(w.text, "pick(x: f32[V, D], i: i32[N]) -> f32[N, D]"))
      complain("a signature is missing", w.text);
    drop_text(&w);
  }
  TRY(w.s, tcf_format_source(w.s, "good", good, sizeof good - 1, &w.text));
  GIVES(TCF_WRONG_PROGRAM, w.s, tcf_program_load(w.s, "bad", bad, sizeof bad - 1, &p));
  if (strlen(tcf_session_diagnostics_json(w.s)) < 100)
    complain("the diagnostics are not there", NULL);
end:
  close_world(&w);
}

static void build(void) {
  world w = {0};
  char path[96];
  size_t size;
  open_world(&w, "cpu", NULL);
  if (wrong) goto end;
  tcf_function *f = tcf_program_function(w.p, "pick");
  TRY(w.s, tcf_function_object(f, NULL, 0, &w.text, &size));
  drop_text(&w);
  TRY(w.s, tcf_function_header(f, NULL, 0, &w.text));
  drop_text(&w);
  TRY(w.s, tcf_function_library_header(f, NULL, 0, &w.text));
  drop_text(&w);
  TRY(w.s, tcf_function_library(f, NULL, 0, path_of("pick.a", path), &w.text));
end:
  close_world(&w);
}

static void divide(void) {
  world w = {0};
  tcf_function *forward, *backward;
  size_t first, count;
  open_world(&w, "interp", NULL);
  if (wrong) goto end;
  tcf_function *f = tcf_program_function(w.p, "softmax_rows");
  TRY(w.s, tcf_function_split(f, NULL, &forward, &backward));
  TRY(w.s, tcf_function_saved(forward, &first, &count));
  TRY(w.s, tcf_call(forward, (const tcf_tensor *[]){w.x}, 1, w.y, first + count));
  tcf_program_free(tcf_function_program(forward));
end:
  close_world(&w);
}

static void save(void) {
  world w = {0};
  char paths[4][96];
  open_world(&w, "interp", NULL);
  if (wrong) goto end;
  tcf_output outputs[] = {{path_of("x.npy", paths[0]), NULL, w.x, NULL, 0},
                          {path_of("x.npz", paths[1]), "x", w.x, NULL, 0},
                          {path_of("x.npz", paths[1]), "w", w.w, NULL, 0},
                          {path_of("x.safetensors", paths[2]), "x", w.x, NULL, 0},
                          {path_of("x.txt", paths[3]), NULL, NULL, "text", 4}};
  TRY(w.s, tcf_save(w.s, outputs, 5));
  TRY(w.s, tcf_npy_load(w.s, paths[0], &w.y[0]));
  for (int i = 1; i < 3; i++) {
    drop_results(&w);
    tcf_archive_free(w.a);
    w.a = NULL;
    TRY(w.s, tcf_archive_open(w.s, paths[i], &w.a));
    TRY(w.s, tcf_archive_load(w.s, w.a, "x", &w.y[0]));
  }
end:
  close_world(&w);
}

// ---- each allocation in turn

static const struct scenario {
  const char *name;
  void (*run)(void);
  bool compiles;
} scenarios[] = {{"interpret", interpret, false},
                 {"interpret_tiles", interpret_tiles, false},
                 {"look", look, false},
                 {"save", save, false},
                 {"divide", divide, false},
                 {"compile", compile, true},
                 {"compile_again", compile_again, false},
                 {"look_after_cache", look_after_cache, false},
                 {"build", build, true}};
enum { SCENARIOS = sizeof scenarios / sizeof *scenarios };

static void clear_folder(void) {
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s/*", folder);
  if (system(command)) exit(3);
}

static bool run(const struct scenario *s, long k) {
  fail_at = k;
  seen = 0;
  wrong = failed = false;
  if (s->compiles) clear_folder();
  watching = true;
  s->run();
  watching = false;
  for (int i = 0; nlive && i < MOST_LIVE; i++) {
    char text[64];
    if (!live[i].at) continue;
    // For addr2line -e failing-allocations.
    snprintf(text, sizeof text, "at 0x%zx", (size_t)((uintptr_t)live[i].caller - own.low));
    complain("leaked", text);
  }
  if (nlive) {
    memset(live, 0, sizeof live);
    nlive = 0;
  }
  return !wrong;
}

static void run_all(const struct scenario *s, int *passed, int *bad) {
  if (!run(s, -1)) {
    ++*bad;
    return;
  }
  long n = seen, done = 0;
  // What goes through LLVM takes its time: the first ones, then some of every kind.
  long stride = s->compiles && n > 150 ? 7 : 1;
  for (long k = 0; k < n; k += k < 20 ? 1 : stride, done++) ++*(run(s, k) ? passed : bad);
  printf("%s: %ld of %ld allocations\n", s->name, done, n);
}

int main(int argc, char **argv) {
  int passed = 0, bad = 0;
  setvbuf(stdout, NULL, _IOLBF, 1024);
  own = own_code();
  if (!mkdtemp(folder)) return 3;
  for (int i = 0; i < SCENARIOS; i++) {
    if (argc > 1 && strcmp(argv[1], scenarios[i].name)) continue;
    if (argc > 2) ++*(run(&scenarios[i], atol(argv[2])) ? &passed : &bad);
    else run_all(&scenarios[i], &passed, &bad);
  }
  clear_folder();
  rmdir(folder);
  printf("%d passed, %d failed\n", passed, bad);
  return bad != 0;
}
