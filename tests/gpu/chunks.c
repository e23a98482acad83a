// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Few long rows on an NVIDIA GPU, whose blocks finish together: results are those of the interpreter at odd
// sizes, the same bits in every run, and in runs on two streams at once, which need tickets of their own.
//
// usage: chunks [RUNS]     prints "chunks: N passed, N failed"; RUNS of each (default 100)
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcc_fuse.h"

static const char text[] =
    "fn total(x: f32[T]) -> f32 {\n  fuse { return sum(x, T) }\n}\n"
    "fn columns(x: f32[T, E = 24]) -> (f32[E], f32[E]) {\n  fuse { return (sum(x, T), max(x, T)) }\n}\n"
    "fn best(x: f32[B = 3, T]) -> (i32[B], i32[B]) {\n  fuse { return (argmax(x, T), argmin(x, T)) }\n}\n"
    "fn logsumexp(x: f32[B = 3, T]) -> f32[B] {\n  fuse {\n    let m = max(x, T)\n"
    "    return log(sum(exp(x - m), T)) + m\n  }\n}\n"
    "fn streamed(x: f32[B = 3, T]) -> (f32[B], f32[B]) {\n  fuse stream(T, passes = 1) {\n"
    "    let m = max(x, T)\n    let c = sum(x, T) / T\n"
    "    return (log(sum(exp(x - m), T)) + m, sum((x - c) * (x - c), T) / T)\n  }\n}\n"
    "fn attention(q: f32[S = 4, D = 64], k: f32[T, D], v: f32[T, E = 40]) -> f32[S, E] {\n"
    "  fuse stream(T, passes = 1) {\n    return dot(softmax(dot(q, k, D) * 0.125, T), v, T)\n  }\n}\n";

static int passed, failed;

static void expect(int ok, const char *what, const char *why) {
  if (ok) passed++;
  else failed++, printf("FAIL %s: %s\n", what, why);
}

enum { MOST = 3 };

/// Arguments and results of a call: sizes with T in the place of -1.
typedef struct example {
  const char *name;
  int nargs, nresults;
  int64_t dims[MOST][2];  // of arguments; 0: no such axis
} example;

static const example examples[] = {
    {"total", 1, 1, {{-1}}},          {"columns", 1, 2, {{-1, 24}}},
    {"best", 1, 2, {{3, -1}}},        {"logsumexp", 1, 1, {{3, -1}}},
    {"streamed", 1, 2, {{3, -1}}},    {"attention", 3, 1, {{4, 64}, {-1, 64}, {-1, 40}}},
};

typedef struct bound {
  const example *e;
  tcf_tensor *host[MOST], *there[MOST], *wanted[MOST], *got[MOST];
  double tolerance;
} bound;

static tcf_session *session, *reference;
static tcf_program *program, *reference_program;

static tcf_status call(const bound *b, tcf_tensor **results, void *const *stream) {
  tcf_function *f = tcf_program_function(program, b->e->name);
  const tcf_tensor *const *args = (const tcf_tensor *const *)b->there;
  size_t n = (size_t)b->e->nargs, m = (size_t)b->e->nresults;
  return stream ? tcf_call_on_stream(f, args, n, results, m, *stream) : tcf_call(f, args, n, results, m);
}

static void bind(bound *b, const example *e, int64_t size) {
  *b = (bound){.e = e};
  tcf_function *f = tcf_program_function(reference_program, e->name);
  for (int i = 0; i < e->nargs; i++) {
    int64_t dims[2];
    int rank = e->dims[i][1] ? 2 : 1;
    for (int d = 0; d < 2; d++) dims[d] = e->dims[i][d] < 0 ? size : e->dims[i][d];
    if (tcf_tensor_new(NULL, TCF_F32, rank, dims, &b->host[i])) exit(3);
    tcf_tensor_fill_random(b->host[i], (uint64_t)i + 7);
    if (tcf_tensor_new_device(session, TCF_F32, rank, dims, &b->there[i]) ||
        tcf_tensor_copy(session, b->there[i], b->host[i]))
      exit(3);
  }
  const tcf_tensor *const *args = (const tcf_tensor *const *)b->host;
  if (tcf_call(f, args, (size_t)e->nargs, b->wanted, (size_t)e->nresults) ||
      tcf_function_tolerance(f, args, (size_t)e->nargs, 0, &b->tolerance))
    exit(3);
}

static void unbind(bound *b) {
  for (int i = 0; i < MOST; i++) {
    tcf_tensor_free(b->host[i]);
    tcf_tensor_free(b->there[i]);
    tcf_tensor_free(b->wanted[i]);
    tcf_tensor_free(b->got[i]);
  }
}

/// The same elements as the first results, bit by bit.
static int same(const bound *b, tcf_tensor *const *results) {
  for (int i = 0; i < b->e->nresults; i++)
    for (int64_t k = 0; k < tcf_tensor_elements(b->got[i]); k++) {
      double x = tcf_tensor_get(b->got[i], k), y = tcf_tensor_get(results[i], k);
      if (memcmp(&x, &y, sizeof x)) return 0;
    }
  return 1;
}

static void run_often(bound *b, int runs) {
  tcf_tensor *again[MOST] = {0};
  expect(!call(b, b->got, NULL), b->e->name, tcf_session_message(session));
  for (int i = 0; i < b->e->nresults && b->got[i]; i++) {
    tcf_difference d;
    tcf_status status = tcf_tensor_compare(session, b->got[i], b->wanted[i], b->tolerance, &d);
    expect(!status && !d.failed, b->e->name, status ? tcf_session_message(session) : "a wrong result");
  }
  int alike = 1;
  for (int i = 0; i < runs && alike; i++) alike = !call(b, again, NULL) && same(b, again);
  expect(alike, b->e->name, "runs differ");
  for (int i = 0; i < MOST; i++) tcf_tensor_free(again[i]);
}

// ---- two streams

typedef struct driver {
  int (*init)(unsigned), (*push)(void *), (*retain)(void **, int), (*create)(void **, unsigned), (*wait)(void *);
  int (*begin)(void *, int), (*end)(void *, void **), (*make)(void **, void *, unsigned long long);
  int (*launch)(void *, void *), (*device)(int *, int), (*free)(void *), (*drop)(void *), (*destroy)(void *);
} driver;

static int find_driver(driver *d) {
  void *library = dlopen("libcuda.so.1", RTLD_NOW);
  const struct {
    void *to;
    const char *name;
  } all[] = {{&d->init, "cuInit"},
             {&d->push, "cuCtxPushCurrent_v2"},    {&d->retain, "cuDevicePrimaryCtxRetain"},
             {&d->create, "cuStreamCreate"},       {&d->wait, "cuStreamSynchronize"},
             {&d->begin, "cuStreamBeginCapture_v2"}, {&d->end, "cuStreamEndCapture"},
             {&d->make, "cuGraphInstantiateWithFlags"}, {&d->launch, "cuGraphLaunch"},
             {&d->device, "cuDeviceGet"},          {&d->free, "cuGraphExecDestroy"},
             {&d->drop, "cuGraphDestroy"},         {&d->destroy, "cuStreamDestroy_v2"}};
  for (size_t i = 0; library && i < sizeof all / sizeof *all; i++) {
    void *f = dlsym(library, all[i].name);
    if (!f) return 0;
    memcpy(all[i].to, &f, sizeof f);
  }
  return library != NULL;
}

/// A graph of a call on each stream, and both replayed side by side.
static void run_at_once(const driver *d, bound *b, int runs) {
  enum { STREAMS = 2 };
  void *streams[STREAMS], *graphs[STREAMS], *execs[STREAMS];
  tcf_tensor *results[STREAMS][MOST] = {{0}};
  int ok = 1;
  for (int i = 0; i < STREAMS && ok; i++) {
    ok = !call(b, results[i], NULL);  // results to write to
    ok = ok && !d->create(&streams[i], 1) && !d->begin(streams[i], 2);
    ok = ok && !call(b, results[i], &streams[i]) && !d->end(streams[i], &graphs[i]);
    ok = ok && !d->make(&execs[i], graphs[i], 0);
  }
  expect(ok, b->e->name, "it is not captured");
  if (!ok) return;
  int alike = 1;
  for (int i = 0; i < runs && alike; i++) {
    for (int k = 0; k < 8; k++) ok = ok && !d->launch(execs[k % STREAMS], streams[k % STREAMS]);
    for (int k = 0; k < STREAMS; k++) ok = ok && !d->wait(streams[k]);
    for (int k = 0; k < STREAMS; k++) alike = alike && same(b, results[k]);
  }
  expect(ok && alike, b->e->name, "runs on two streams differ");
  for (int i = 0; i < STREAMS; i++) {
    d->free(execs[i]);
    d->drop(graphs[i]);
    d->destroy(streams[i]);
    for (int k = 0; k < MOST; k++) tcf_tensor_free(results[i][k]);
  }
}

int main(int argc, char **argv) {
  static const int64_t sizes[] = {65537, 100003, 1000001, 4194304};
  int runs = argc > 1 ? atoi(argv[1]) : 100, device;
  driver d;
  void *context;
  tcf_options o = {.size = sizeof o, .target = "cuda"}, slow = {.size = sizeof slow, .target = "interp"};
  if (tcf_session_new(&o, &session) || tcf_session_new(&slow, &reference) ||
      tcf_program_load(session, "chunks.tdsl", text, strlen(text), &program) ||
      tcf_program_load(reference, "chunks.tdsl", text, strlen(text), &reference_program)) {
    printf("chunks: %s\n", session ? tcf_session_message(session) : "no session");
    return 3;
  }
  int streams = find_driver(&d) && !d.init(0) && !d.device(&device, 0) && !d.retain(&context, device) && !d.push(context);
  expect(streams, "two streams", "the driver does not open");
  for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
      bound b;
      if (examples[i].nargs > 1 && sizes[k] > 200000) continue;
      bind(&b, &examples[i], sizes[k]);
      run_often(&b, runs);
      if (streams) run_at_once(&d, &b, runs);
      unbind(&b);
    }
  printf("chunks: %d passed, %d failed\n", passed, failed);
  tcf_session_free(session);
  tcf_session_free(reference);
  return failed > 0;
}
