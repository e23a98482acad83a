// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Several NVIDIA GPUs in one process: sessions on devices 0 and 1 in turns and in threads, tensors of
// the other device, copies between them, DLPack's device numbers. Results are compared with the
// interpreter's.
//
// usage: devices      prints "devices: N passed, N failed"; "devices: only one" and 77 with less than two
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

static const char text[] =
    "fn softmax(x: f32[N, T]) -> f32[N, T] {\n"
    "  let e = exp(x - max(x, T))\n  return e / sum(e, T)\n}\n"
    "fn chain(x: bf16[A, B], w: bf16[B, C], v: bf16[C, D]) -> f32[A, D] {\n"
    "  return dot(bf16(dot(x, w, B)), v, C)\n}\n"
    "fn pick(table: f32[V, D], ids: i32[N]) -> f32[N, D] {\n  return table[V = ids]\n}\n";

enum { DEVICES = 2, MOST = 4 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int passed, failed;

static void expect(int ok, const char *what, const char *message) {
  pthread_mutex_lock(&lock);
  if (ok) passed++;
  else failed++, printf("FAIL %s: %s\n", what, message);
  pthread_mutex_unlock(&lock);
}

typedef struct place {
  tcf_session *s;
  tcf_program *p;
} place;

static tcf_status open_place(place *d, const char *target) {
  tcf_options o = {.size = sizeof o, .target = target};
  *d = (place){0};
  tcf_status status = tcf_session_new(&o, &d->s);
  return status ? status : tcf_program_load(d->s, "devices.tdsl", text, strlen(text), &d->p);
}

static const char *message(const place *d) { return tcf_session_message(d->s); }

/// A function and its arguments in the host's memory; `wanted` is the interpreter's result.
typedef struct example {
  const char *name;
  tcf_tensor *args[MOST], *wanted;
  size_t nargs;
  double tolerance;
} example;

static void add_argument(example *e, tcf_dtype type, int64_t rows, int64_t columns) {
  int64_t dims[] = {rows, columns};
  tcf_tensor *t;
  if (tcf_tensor_new(NULL, type, columns ? 2 : 1, dims, &t)) exit(3);
  tcf_tensor_fill_random(t, e->nargs + 1);
  e->args[e->nargs++] = t;
}

static void make_examples(example *e) {
  place reference;
  e[0] = (example){.name = "softmax"};
  add_argument(&e[0], TCF_F32, 1000, 3000);
  e[1] = (example){.name = "chain"};
  add_argument(&e[1], TCF_BF16, 512, 1024);
  add_argument(&e[1], TCF_BF16, 1024, 768);
  add_argument(&e[1], TCF_BF16, 768, 640);
  if (open_place(&reference, "interp")) exit(3);
  for (int i = 0; i < 2; i++) {
    tcf_function *f = tcf_program_function(reference.p, e[i].name);
    const tcf_tensor *const *args = (const tcf_tensor *const *)e[i].args;
    if (tcf_call(f, args, e[i].nargs, &e[i].wanted, 1) ||
        tcf_function_tolerance(f, args, e[i].nargs, 0, &e[i].tolerance))
      exit(3);
  }
  tcf_session_free(reference.s);
}

static void compare(const place *d, const example *e, const tcf_tensor *got) {
  tcf_difference difference;
  tcf_status status = tcf_tensor_compare(d->s, got, e->wanted, e->tolerance, &difference);
  expect(!status && !difference.failed, e->name, status ? message(d) : "a wrong result");
}

/// From the host's memory, then with tensors of the device.
static void run_example(place *d, const example *e, int ordinal) {
  tcf_function *f = tcf_program_function(d->p, e->name);
  tcf_tensor *there[MOST] = {0}, *host = NULL, *out = NULL;
  const tcf_tensor *const *args = (const tcf_tensor *const *)e->args;
  expect(!tcf_call(f, args, e->nargs, &host, 1), e->name, message(d));
  if (host) compare(d, e, host);
  for (size_t i = 0; i < e->nargs; i++) {
    const tcf_tensor *t = e->args[i];
    tcf_status status = tcf_tensor_new_device(d->s, tcf_tensor_dtype(t), tcf_tensor_rank(t),
                                              tcf_tensor_dims(t), &there[i]);
    if (!status) status = tcf_tensor_copy(d->s, there[i], t);
    expect(!status, "an argument on the device", message(d));
  }
  for (int again = 0; again < 4; again++)  // recorded and replayed
    expect(!tcf_call(f, (const tcf_tensor *const *)there, e->nargs, &out, 1), e->name, message(d));
  expect(out && tcf_tensor_device(out) == ordinal, e->name, "a result on another device");
  if (out) compare(d, e, out);
  for (size_t i = 0; i < e->nargs; i++) tcf_tensor_free(there[i]);
  tcf_tensor_free(host);
  tcf_tensor_free(out);
}

static void take_turns(place *d, const example *e) {
  for (int turn = 0; turn < 8; turn++)
    run_example(&d[turn % DEVICES], &e[turn / 2 % 2], turn % DEVICES);
}

typedef struct task {
  const example *examples;
  int ordinal;
} task;

static void *work(void *task_) {
  const task *t = task_;
  place d;
  tcf_status status = open_place(&d, t->ordinal ? "cuda:1" : "cuda:0");
  expect(!status, "a session of a thread", "it does not open");
  for (int i = 0; !status && i < 6; i++) run_example(&d, &t->examples[i % 2], t->ordinal);
  tcf_session_free(d.s);
  return NULL;
}

static void work_in_threads(const example *e) {
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  task tasks[THREADS];
  for (int i = 0; i < THREADS; i++) {
    tasks[i] = (task){e, i % DEVICES};
    if (pthread_create(&threads[i], NULL, work, &tasks[i])) exit(3);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
}

static void move_between(place *d, const example *e) {
  tcf_tensor *at[DEVICES], *back = NULL, *y = NULL;
  const tcf_tensor *x = e->args[0];
  for (int i = 0; i < DEVICES; i++)
    expect(!tcf_tensor_new_device(d[i].s, tcf_tensor_dtype(x), 2, tcf_tensor_dims(x), &at[i]),
           "a tensor of a device", message(&d[i]));
  expect(!tcf_tensor_copy(d[0].s, at[0], x) && !tcf_tensor_copy(d[1].s, at[1], at[0]),
         "a copy from device 0 to 1", message(&d[1]));
  tcf_function *f = tcf_program_function(d[1].p, e->name);
  expect(!tcf_call(f, (const tcf_tensor *const[]){at[1]}, 1, &back, 1), "on what was copied",
         message(&d[1]));
  if (back) compare(&d[1], e, back);
  expect(tcf_call(f, (const tcf_tensor *const[]){at[0]}, 1, &y, 1) == TCF_WRONG_USE &&
             strstr(message(&d[1]), "is on CUDA device 0"),
         "a tensor of the other device", message(&d[1]));
  for (int i = 0; i < DEVICES; i++) tcf_tensor_free(at[i]);
  tcf_tensor_free(back);
}

/// An error of one device says nothing of the other.
static void fail_apart(place *d, const example *e) {
  int64_t table[] = {7, 16}, n = 32;
  tcf_tensor *t, *ids, *y = NULL;
  if (tcf_tensor_new(NULL, TCF_F32, 2, table, &t) || tcf_tensor_new(NULL, TCF_I32, 1, &n, &ids))
    exit(3);
  tcf_tensor_fill_random(t, 1);
  tcf_tensor_fill(ids, 9);
  expect(tcf_call(tcf_program_function(d[0].p, "pick"), (const tcf_tensor *const[]){t, ids}, 2, &y,
                  1) == TCF_WRONG_DATA,
         "a bad index on device 0", message(&d[0]));
  run_example(&d[1], &e[0], 1);
  run_example(&d[0], &e[0], 0);
  tcf_tensor_free(t);
  tcf_tensor_free(ids);
}

int main(void) {
  place d[DEVICES];
  example e[2];
  tcf_device_info info = {.size = sizeof info};
  for (int i = 0; i < DEVICES; i++)
    if (open_place(&d[i], i ? "cuda:1" : "cuda:0")) return 3;
  if (tcf_session_device(d[1].s, &info)) {
    printf("devices: only one (%s)\n", message(&d[1]));
    return 77;
  }
  make_examples(e);
  take_turns(d, e);
  work_in_threads(e);
  move_between(d, &e[0]);
  fail_apart(d, e);
  for (int i = 0; i < DEVICES; i++) tcf_session_free(d[i].s);
  for (int i = 0; i < 2; i++) {
    for (size_t k = 0; k < e[i].nargs; k++) tcf_tensor_free(e[i].args[k]);
    tcf_tensor_free(e[i].wanted);
  }
  printf("devices: %d passed, %d failed\n", passed, failed);
  return failed != 0;
}
