// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls on a device, against the driver of tests/cuda: what is copied, what is used in place, what
// the driver is asked to do, and what is said when it refuses. Kernels are played in C.
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codegen/abi.h"
#include "tcc_fuse.h"
#include "tests/cuda/fake_cuda.h"

static const char text[] =
    "fn twice(x: f32[N]) -> f32[N] {\n  return x * 2\n}\n"
    "fn chain(x: f32[A, B], w: f32[B, C], v: f32[C, D]) -> f32[A, D] {\n"
    "  return dot(dot(x, w, B), v, C)\n}\n"
    "fn pick(table: f32[V, D], ids: i32[N]) -> f32[N, D] {\n  return table[V = ids]\n}\n"
    "fn product(a: bf16[M, K], b: bf16[K, N]) -> bf16[M, N] {\n  return bf16(dot(a, b, K))\n}\n"
    "fn causal(q: bf16[S, D = 128], k: bf16[T = S, D], v: bf16[T, E = 128]) -> bf16[S, E] {\n"
    "  fuse stream(T) {\n"
    "    let s = where(index(T) <= index(S), dot(q, k, D), -inf)\n"
    "    return bf16(dot(bf16(softmax(s, T)), v, T))\n  }\n}\n"
    "fn total(x: f32[N = 1000000]) -> f32 {\n  fuse { return sum(x, N) }\n}\n"
    "extern fn outside(x: f32[N]) -> f32[N]\n"
    "fn calls(x: f32[N]) -> f32[N] {\n  return outside(x * 2)\n}\n";

typedef struct rig {
  const fake_cuda *fake;
  tcf_session *s;
  tcf_program *p;
  // what played kernels saw
  int launches;
  int64_t n;  // elements of x * 2
  int64_t words[16];
  int bad_index;  // -1: none
  int n_block;    // threads of the last block, where they are played
} rig;

/// Plays x * 2 for any kernel of one input and one output; a gather's check fails on request.
static void play(void *ctx, const char *name, const unsigned char *params, size_t size,
                 unsigned grid, unsigned block, unsigned shared) {
  (void)name, (void)grid, (void)block, (void)shared;
  rig *r = ctx;
  r->launches++;
  memcpy(r->words, params, size < sizeof r->words ? size : sizeof r->words);
  tcf_device_error *e = (void *)(uintptr_t)r->words[TCF_KERNEL_ERROR];
  if (r->bad_index >= 0 && e) *e = (tcf_device_error){1 + r->words[TCF_KERNEL_SITE], r->bad_index};
  if (!r->n) return;
  const float *x = (void *)(uintptr_t)r->words[TCF_KERNEL_SYMBOLS];
  float *out = (void *)(uintptr_t)r->words[TCF_KERNEL_SYMBOLS + 1];
  for (int64_t i = 0; i < r->n; i++) out[i] = x[i] * 2;
}

static void open_rig_in(rig *r, const char *target, const char *cache_dir) {
  *r = (rig){.bad_index = -1};
  setenv("TCF_CUDA_LIBRARY", TCF_FAKE_CUDA, 1);
  void *library = dlopen(TCF_FAKE_CUDA, RTLD_NOW);
  cr_assert(library, "%s", dlerror());
  void *entry = dlsym(library, "fake_cuda_control");
  fake_cuda_entry control;
  memcpy(&control, &entry, sizeof entry);
  r->fake = control();
  r->fake->play(play, r);
  r->fake->clear();
  tcf_options o = {.size = sizeof o, .target = target, .cache_dir = cache_dir};
  cr_assert_eq(tcf_session_new(&o, &r->s), TCF_OK);
  cr_assert_eq(tcf_program_load(r->s, "test.tdsl", text, strlen(text), &r->p), TCF_OK, "%s",
               tcf_session_message(r->s));
}

static void open_rig(rig *r) { open_rig_in(r, "cuda", ""); }

/// Nothing of the driver may be left.
static void close_rig(rig *r) {
  tcf_session_free(r->s);
  cr_expect_eq(r->fake->alive(), 0, "%d things of the driver are left:\n%s", r->fake->alive(),
               r->fake->log());
}

static int count(const rig *r, const char *what) {
  int n = 0;
  for (const char *at = r->fake->log(); (at = strstr(at, what)); at++) n++;
  return n;
}

static tcf_tensor *host(int64_t n) {
  tcf_tensor *t;
  cr_assert_eq(tcf_tensor_new(NULL, TCF_F32, 1, &n, &t), TCF_OK);
  tcf_tensor_fill_random(t, 3);
  return t;
}

static tcf_tensor *there(rig *r, int64_t n) {
  tcf_tensor *t;
  cr_assert_eq(tcf_tensor_new_device(r->s, TCF_F32, 1, &n, &t), TCF_OK, "%s",
               tcf_session_message(r->s));
  tcf_tensor_fill_random(t, 3);
  return t;
}

static tcf_status call(rig *r, const char *name, tcf_tensor *x, tcf_tensor **y) {
  return tcf_call(tcf_program_function(r->p, name), (const tcf_tensor *const[]){x}, 1, y, 1);
}

static void expect_twice(const tcf_tensor *x, const tcf_tensor *y) {
  for (int64_t i = 0; i < tcf_tensor_elements(x); i++)
    cr_assert_float_eq(tcf_tensor_get(y, i), 2 * tcf_tensor_get(x, i), 1e-6, "element %d", (int)i);
}

// ---- without a device

Test(api_cuda, no_driver_is_said) {
  setenv("TCF_CUDA_LIBRARY", "/nowhere/libcuda.so.1", 1);
  tcf_options o = {.size = sizeof o, .target = "cuda", .cache_dir = ""};
  tcf_session *s;
  tcf_program *p;
  cr_assert_eq(tcf_session_new(&o, &s), TCF_OK);
  cr_assert_eq(tcf_program_load(s, "t", text, strlen(text), &p), TCF_OK);
  tcf_tensor *x = host(8), *y = NULL;
  cr_expect_eq(tcf_call(tcf_program_function(p, "twice"), (const tcf_tensor *const[]){x}, 1, &y, 1),
               TCF_UNAVAILABLE);
  cr_expect(strstr(tcf_session_message(s), "no NVIDIA driver: /nowhere"), "%s",
            tcf_session_message(s));
  tcf_tensor_free(x);
  tcf_session_free(s);
}

Test(api_cuda, devices_that_are_not_there) {
  static const char *const wrong[] = {"cuda:", "cuda:x", "cuda:-1", "cuda:1x"};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    tcf_options o = {.size = sizeof o, .target = wrong[i]};
    tcf_session *s;
    cr_expect_eq(tcf_session_new(&o, &s), TCF_WRONG_USE, "%s", wrong[i]);
  }
  rig r;
  open_rig_in(&r, "cuda:2", "");
  tcf_device_info info = {.size = sizeof info};
  cr_expect_eq(tcf_session_device(r.s, &info), TCF_UNAVAILABLE);
  cr_expect_str_eq(tcf_session_message(r.s), "there is no CUDA device 2: the driver finds 2");
  close_rig(&r);
  open_rig_in(&r, "cuda:sm_90a", "");
  tcf_tensor *x = host(8), *y = NULL;
  cr_expect_eq(tcf_session_device(r.s, &info), TCF_OK);
  cr_expect(!strcmp(info.arch, "sm_90a") && info.ordinal == -1);
  cr_expect_eq(call(&r, "twice", x, &y), TCF_UNAVAILABLE);
  cr_expect(strstr(tcf_session_message(r.s), "an architecture, not a device"));
  tcf_tensor_free(x);
  close_rig(&r);
}

Test(api_cuda, the_device_is_described) {
  rig r;
  open_rig_in(&r, "cuda:1", "");
  tcf_device_info info = {.size = sizeof info};
  cr_assert_eq(tcf_session_device(r.s, &info), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_str_eq(info.name, "Fake 1");
  cr_expect_str_eq(info.arch, "sm_90a");
  cr_expect(info.ordinal == 1 && info.multiprocessors == 4 && info.memory_bytes == 1 << 30);
  close_rig(&r);
}

// ---- calls

Test(api_cuda, host_tensors_are_copied_in_and_out) {
  rig r;
  open_rig(&r);
  r.n = 1000;
  tcf_tensor *x = host(1000), *y = NULL;
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(tcf_tensor_device(y), -1);
  expect_twice(x, y);
  cr_expect_eq(count(&r, "cuMemcpyHtoD 4000"), 1);
  cr_expect_eq(count(&r, "cuMemcpyDtoH 4000"), 1);
  cr_expect_eq(count(&r, "cuLaunchKernel"), 1, "%s", r.fake->log());
  cr_expect_eq(r.words[TCF_KERNEL_ERROR], 0);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

Test(api_cuda, device_tensors_are_used_in_place) {
  rig r;
  open_rig(&r);
  r.n = 1000;
  tcf_tensor *x = there(&r, 1000), *y = NULL;
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(tcf_tensor_device(y), 0);
  expect_twice(x, y);
  // The second and third time nothing is done but the launch.
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK);
  r.fake->clear();
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK);
  const char *log = r.fake->log(), *end = strchr(log, '\n');
  cr_expect(!strncmp(log, "cuLaunchKernel", 14) && end && !end[1], "%s", log);
  cr_expect_eq((void *)(uintptr_t)r.words[TCF_KERNEL_SYMBOLS], tcf_tensor_data(x));
  cr_expect_eq((void *)(uintptr_t)r.words[TCF_KERNEL_SYMBOLS + 1], tcf_tensor_data(y));
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

Test(api_cuda, what_does_not_lie_at_16_bytes_is_copied) {
  rig r;
  open_rig(&r);
  r.n = 100;
  tcf_tensor *all = there(&r, 120), *x, *y, *twice = NULL;
  int64_t n = 100;
  float *data = tcf_tensor_data(all);
  cr_assert_eq(tcf_tensor_borrow_device(r.s, TCF_F32, 1, &n, NULL, data + 1, &x), TCF_OK);
  tcf_tensor *memory = there(&r, 120);
  cr_assert_eq(
      tcf_tensor_borrow_device(r.s, TCF_F32, 1, &n, NULL, (float *)tcf_tensor_data(memory) + 3, &y),
      TCF_OK);
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(r.words[TCF_KERNEL_SYMBOLS] % 16, 0);
  cr_expect_eq(r.words[TCF_KERNEL_SYMBOLS + 1] % 16, 0);
  expect_twice(x, y);
  cr_assert_eq(call(&r, "twice", x, &twice), TCF_OK);
  expect_twice(x, twice);
  tcf_tensor *const free_these[] = {x, y, all, memory, twice};
  for (int i = 0; i < 5; i++) tcf_tensor_free(free_these[i]);
  close_rig(&r);
}

Test(api_cuda, tensors_outlive_the_session_and_move_anywhere) {
  rig r;
  open_rig(&r);
  int64_t dims[] = {6, 5}, turned[] = {4, 24};
  tcf_tensor *a, *b, *t, *back;
  cr_assert_eq(tcf_tensor_new(r.s, TCF_F32, 2, dims, &a), TCF_OK);
  cr_assert_eq(tcf_tensor_new(r.s, TCF_F32, 2, dims, &back), TCF_OK);
  cr_assert_eq(tcf_tensor_new_device(r.s, TCF_F32, 2, dims, &b), TCF_OK);
  tcf_tensor_fill_iota(a);
  cr_assert_eq(tcf_tensor_borrow_device(r.s, TCF_F32, 2, dims, turned, tcf_tensor_data(b), &t),
               TCF_OK);
  cr_assert_eq(tcf_tensor_copy(r.s, t, a), TCF_OK);
  for (int i = 0; i < 30; i++) cr_expect_eq(tcf_tensor_get(t, i), i);
  cr_assert_eq(tcf_tensor_copy(r.s, back, t), TCF_OK);
  tcf_difference d;
  cr_assert_eq(tcf_tensor_compare(r.s, back, a, 0, &d), TCF_OK);
  cr_expect_eq(d.failed, 0);
  cr_expect_eq(((float *)tcf_tensor_data(b))[1], 5);
  tcf_session_free(r.s);
  r.s = NULL;
  cr_expect_eq(tcf_tensor_get(b, 2), 10);
  tcf_tensor *const free_these[] = {a, b, t, back};
  for (int i = 0; i < 4; i++) tcf_tensor_free(free_these[i]);
  close_rig(&r);
}

static int outside(void *user, const tcf_tensor *const *in, size_t nin, tcf_tensor *out) {
  (void)nin;
  ++*(int *)user;
  for (int64_t i = 0; i < tcf_tensor_elements(out); i++)
    ((float *)tcf_tensor_data(out))[i] = -(float)tcf_tensor_get(in[0], i);
  return 0;
}

Test(api_cuda, host_functions_see_host_memory) {
  rig r;
  open_rig(&r);
  int called = 0;
  r.n = 50;
  tcf_register_extern(r.s, "outside", outside, &called);
  tcf_tensor *x = there(&r, 50), *y = NULL;
  cr_assert_eq(call(&r, "calls", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(called, 1);
  for (int i = 0; i < 50; i++)
    cr_assert_float_eq(tcf_tensor_get(y, i), -2 * tcf_tensor_get(x, i), 1e-6);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

// ---- graphs

/// Two products, one after the other, with an intermediate between them.
typedef struct chain {
  tcf_tensor *in[3], *out;
} chain;

static chain open_chain(rig *r) {
  chain c;
  int64_t dims[] = {64, 64};
  for (int i = 0; i < 4; i++)
    cr_assert_eq(tcf_tensor_new_device(r->s, TCF_F32, 2, dims, i < 3 ? &c.in[i] : &c.out), TCF_OK);
  return c;
}

static tcf_status call_chain(rig *r, chain *c, void *const *stream) {
  tcf_function *f = tcf_program_function(r->p, "chain");
  const tcf_tensor *const *args = (const tcf_tensor *const *)c->in;
  return stream ? tcf_call_on_stream(f, args, 3, &c->out, 1, *stream)
                : tcf_call(f, args, 3, &c->out, 1);
}

static void close_chain(chain *c) {
  for (int i = 0; i < 3; i++) tcf_tensor_free(c->in[i]);
  tcf_tensor_free(c->out);
}

Test(api_cuda, repeated_calls_of_several_kernels_are_recorded) {
  rig r;
  open_rig(&r);
  chain c = open_chain(&r);
  cr_assert_eq(call_chain(&r, &c, NULL), TCF_OK, "%s", tcf_session_message(r.s));
  int each = r.launches;
  cr_assert_geq(each, 2);
  for (int i = 0; i < 4; i++) cr_assert_eq(call_chain(&r, &c, NULL), TCF_OK);
  cr_expect_eq(r.launches, 5 * each);
  cr_expect_eq(count(&r, "cuStreamBeginCapture"), 1, "%s", r.fake->log());
  cr_expect_eq(count(&r, "cuGraphLaunch"), 4);
  cr_expect_eq(count(&r, "cuLaunchKernel"), 2 * each);
  close_chain(&c);
  close_rig(&r);
}

Test(api_cuda, a_graph_that_fails_is_done_without) {
  rig r;
  open_rig(&r);
  chain c = open_chain(&r);
  r.fake->fail("cuGraphInstantiate", 1, 801);
  for (int i = 0; i < 4; i++) cr_assert_eq(call_chain(&r, &c, NULL), TCF_OK);
  cr_expect_eq(r.launches % 4, 0);
  cr_expect_eq(count(&r, "cuStreamBeginCapture"), 1);
  cr_expect_eq(count(&r, "cuGraphLaunch"), 0);
  close_chain(&c);
  close_rig(&r);
}

// ---- streams

typedef int (*stream_create)(void **, unsigned);

static void *symbol(const char *name) { return dlsym(dlopen(TCF_FAKE_CUDA, RTLD_NOW), name); }

Test(api_cuda, a_callers_stream_is_respected) {
  rig r;
  open_rig(&r);
  r.n = 64;
  void *stream, *f = symbol("cuStreamCreate"), *destroy = symbol("cuStreamDestroy_v2");
  stream_create create;
  int (*end)(void *);
  memcpy(&create, &f, sizeof f);
  memcpy(&end, &destroy, sizeof f);
  tcf_tensor *x = there(&r, 64), *y = there(&r, 64), *h = host(64);
  r.fake->use(0);
  cr_assert_eq(create(&stream, 1), 0);
  tcf_function *twice = tcf_program_function(r.p, "twice");
  const tcf_tensor *const args[] = {x}, *const wrong[] = {h};
  cr_assert_eq(tcf_call_on_stream(twice, args, 1, &y, 1, stream), TCF_OK, "%s",
               tcf_session_message(r.s));
  expect_twice(x, y);
  r.fake->clear();
  for (int i = 0; i < 3; i++)
    cr_assert_eq(tcf_call_on_stream(twice, args, 1, &y, 1, stream), TCF_OK);
  cr_expect_eq(count(&r, "cuLaunchKernel"), 3);
  // One wait for the copies of expect_twice; then launches, and marks behind them.
  cr_expect_eq(count(&r, "cuStreamWaitEvent stream 2"), 1, "%s", r.fake->log());
  cr_expect_eq(count(&r, "stream 2"), 7, "%s", r.fake->log());
  cr_expect_eq(count(&r, "cuStreamSynchronize"), 0);
  // The session's own work comes after, and nobody forgets what the stream did.
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK);
  cr_expect_eq(count(&r, "cuStreamWaitEvent stream 1"), 1, "%s", r.fake->log());
  // With intermediates the call runs on the session's stream, joined on both sides.
  r.n = 0;
  chain c = open_chain(&r);
  r.fake->clear();
  cr_assert_eq(call_chain(&r, &c, &stream), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(count(&r, "cuStreamWaitEvent stream 2"), 1, "%s", r.fake->log());
  cr_expect_eq(tcf_call_on_stream(twice, wrong, 1, &y, 1, stream), TCF_WRONG_USE);
  cr_expect_eq(tcf_synchronize(r.s), TCF_OK);
  close_chain(&c);
  end(stream);
  r.fake->use(-1);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  tcf_tensor_free(h);
  close_rig(&r);
}

// ---- tickets

/// Parameters of `total`: x, its sum, the parts of it, the tickets.
enum { TICKETS = TCF_KERNEL_SYMBOLS + 3 };

static int *tickets_seen(const rig *r) { return (int *)(uintptr_t)r->words[TICKETS]; }

static void expect_clear(const rig *r) {
  for (size_t i = 0; i < TCF_TICKET_BYTES / sizeof(int); i++)
    cr_expect_eq(tickets_seen(r)[i], 0, "ticket %d", (int)i);
}

Test(api_cuda, kernels_on_the_devices_stream_share_tickets) {
  rig r;
  open_rig(&r);
  tcf_tensor *x = there(&r, 1000000), *y = NULL;
  cr_assert_eq(call(&r, "total", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(r.launches, 1);
  int *first = tickets_seen(&r);
  expect_clear(&r);
  // They are cleared once: a kernel leaves them as they were.
  first[7] = 1;
  cr_assert_eq(call(&r, "total", x, &y), TCF_OK);
  cr_expect_eq(tickets_seen(&r), first);
  cr_expect_eq(first[7], 1);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

typedef struct capture_calls {
  int (*begin)(void *, int), (*end)(void *, void **), (*make)(void **, void *, unsigned long long);
  int (*launch)(void *, void *), (*free)(void *), (*drop)(void *);
} capture_calls;

static capture_calls find_capture(void) {
  capture_calls c;
  const struct {
    void *to;
    const char *name;
  } all[] = {{&c.begin, "cuStreamBeginCapture_v2"},    {&c.end, "cuStreamEndCapture"},
             {&c.make, "cuGraphInstantiateWithFlags"}, {&c.launch, "cuGraphLaunch"},
             {&c.free, "cuGraphExecDestroy"},          {&c.drop, "cuGraphDestroy"}};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    void *f = symbol(all[i].name);
    cr_assert(f, "%s", all[i].name);
    memcpy(all[i].to, &f, sizeof f);
  }
  return c;
}

/// What is captured may run beside anything, itself captured again too: each has tickets of its own.
Test(api_cuda, captured_calls_have_tickets_of_their_own) {
  rig r;
  open_rig(&r);
  capture_calls c = find_capture();
  void *stream, *f = symbol("cuStreamCreate"), *destroy = symbol("cuStreamDestroy_v2");
  stream_create create;
  int (*end)(void *);
  memcpy(&create, &f, sizeof f);
  memcpy(&end, &destroy, sizeof f);
  tcf_tensor *x = there(&r, 1000000), *y = NULL;
  cr_assert_eq(call(&r, "total", x, &y), TCF_OK);
  int *own = tickets_seen(&r);
  r.fake->use(0);
  cr_assert_eq(create(&stream, 1), 0);
  void *graph, *exec;
  cr_assert_eq(c.begin(stream, 2), 0);
  for (int i = 0; i < 2; i++)
    cr_assert_eq(tcf_call_on_stream(tcf_program_function(r.p, "total"),
                                    (const tcf_tensor *const[]){x}, 1, &y, 1, stream),
                 TCF_OK, "%s", tcf_session_message(r.s));
  cr_assert_eq(c.end(stream, &graph), 0);
  cr_assert_eq(c.make(&exec, graph, 0), 0);
  r.launches = 0;
  cr_assert_eq(c.launch(exec, stream), 0);
  cr_expect_eq(r.launches, 2);
  cr_expect_neq(tickets_seen(&r), own);
  cr_expect_eq((uintptr_t)tickets_seen(&r) % 256, (uintptr_t)r.words[TICKETS - 1] % 256);
  cr_expect_eq(count(&r, "cuMemsetD8 4096"), 3, "%s", r.fake->log());
  c.free(exec);
  c.drop(graph);
  end(stream);
  r.fake->use(-1);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

// ---- errors

static tcf_status pick(rig *r, void *const *stream) {
  int64_t table[] = {7, 16}, ids = 32, out[] = {32, 16};
  tcf_tensor *t, *i, *y;
  cr_assert_eq(tcf_tensor_new_device(r->s, TCF_F32, 2, table, &t), TCF_OK);
  cr_assert_eq(tcf_tensor_new_device(r->s, TCF_I32, 1, &ids, &i), TCF_OK);
  cr_assert_eq(tcf_tensor_new_device(r->s, TCF_F32, 2, out, &y), TCF_OK);
  tcf_function *f = tcf_program_function(r->p, "pick");
  const tcf_tensor *const args[] = {t, i};
  tcf_status status =
      stream ? tcf_call_on_stream(f, args, 2, &y, 1, *stream) : tcf_call(f, args, 2, &y, 1);
  tcf_tensor_free(t);
  tcf_tensor_free(i);
  tcf_tensor_free(y);
  return status;
}

Test(api_cuda, a_bad_index_has_its_position) {
  rig r;
  open_rig(&r);
  cr_assert_eq(pick(&r, NULL), TCF_OK, "%s", tcf_session_message(r.s));
  r.bad_index = 99;
  cr_expect_eq(pick(&r, NULL), TCF_WRONG_DATA);
  cr_expect(strstr(tcf_session_message(r.s), "test.tdsl:8:"), "%s", tcf_session_message(r.s));
  cr_expect(strstr(tcf_session_message(r.s), "99"), "%s", tcf_session_message(r.s));
  void *legacy = NULL;
  cr_expect_eq(pick(&r, &legacy), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(tcf_synchronize(r.s), TCF_WRONG_DATA);
  r.bad_index = -1;
  cr_expect_eq(tcf_synchronize(r.s), TCF_OK);
  cr_expect_eq(pick(&r, NULL), TCF_OK);
  close_rig(&r);
}

Test(api_cuda, the_drivers_errors_name_kernel_and_position) {
  rig r;
  open_rig(&r);
  tcf_tensor *x = there(&r, 64), *y = there(&r, 64);
  r.fake->fail("cuLaunchKernel", 1, 700);
  cr_expect_eq(call(&r, "twice", x, &y), TCF_UNAVAILABLE);
  const char *said = tcf_session_message(r.s);
  cr_expect(strstr(said, "test.tdsl:2:") && strstr(said, "kernel twice"), "%s", said);
  cr_expect(strstr(said, "CUDA_ERROR_ILLEGAL_ADDRESS (700): an illegal memory access"), "%s", said);
  r.fake->fail("cuMemAlloc", 1, 2);
  int64_t n = 64;
  tcf_tensor *z;
  cr_expect_eq(tcf_tensor_new_device(r.s, TCF_F32, 1, &n, &z), TCF_NO_MEMORY);
  cr_expect(strstr(tcf_session_message(r.s), "256 bytes"), "%s", tcf_session_message(r.s));
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

Test(api_cuda, the_compilers_log_is_shown) {
  rig r;
  open_rig(&r);
  tcf_tensor *x = there(&r, 64), *y = there(&r, 64), *z = there(&r, 65), *w = NULL;
  // A cubin that does not load, and a linker that refuses: the text itself is tried.
  r.fake->fail("cuModuleLoadDataEx", 1, 218);
  cr_expect_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  r.fake->fail("cuLinkComplete", 1, 218);
  cr_expect_eq(call(&r, "twice", z, &w), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect_eq(count(&r, "cuModuleLoadDataEx ptx"), 2);
  tcf_tensor_free(w);
  tcf_tensor_free(z);
  z = there(&r, 66);
  w = NULL;
  r.fake->fail("cuModuleLoadDataEx", 2, 218);
  cr_expect_eq(call(&r, "twice", z, &w), TCF_UNAVAILABLE);
  const char *said = tcf_session_message(r.s);
  cr_expect(strstr(said, "loading kernels twice") && strstr(said, "ptxas fatal: line 7"), "%s",
            said);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  tcf_tensor_free(z);
  close_rig(&r);
}

Test(api_cuda, cubins_are_kept) {
  char directory[] = "/tmp/tcf-cuda-cache-XXXXXX";
  cr_assert(mkdtemp(directory));
  for (int i = 0; i < 2; i++) {
    rig r;
    open_rig_in(&r, "cuda", directory);
    r.n = 32;
    tcf_tensor *x = there(&r, 32), *y = NULL;
    cr_assert_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
    expect_twice(x, y);
    cr_expect_eq(count(&r, "cuLinkAddData"), i ? 0 : 1, "%s", r.fake->log());
    cr_expect_eq(count(&r, "cuModuleLoadDataEx cubin"), 1);
    tcf_tensor_free(x);
    tcf_tensor_free(y);
    close_rig(&r);
  }
  char *command;
  cr_assert(asprintf(&command, "rm -r %s", directory) > 0);
  cr_expect_eq(system(command), 0);
  free(command);
}

static int entries_of(const char *directory) {
  DIR *d = opendir(directory);
  int n = 0;
  cr_assert(d);
  for (const struct dirent *e; (e = readdir(d));) n += strstr(e->d_name, ".tcfo") != NULL;
  closedir(d);
  return n;
}

/// Runs a product of f32 in a session with these flags.
static void product_with(const char *directory, unsigned flags) {
  static const char source[] =
      "fn f(a: f32[M, K], b: f32[K, N]) -> f32[M, N] { return dot(a, b, K) }";
  rig r;
  open_rig_in(&r, "cuda", directory);
  tcf_session_free(r.s);
  tcf_options o = {.size = sizeof o, .target = "cuda", .cache_dir = directory, .flags = flags};
  cr_assert_eq(tcf_session_new(&o, &r.s), TCF_OK);
  cr_assert_eq(tcf_program_load(r.s, "f.tdsl", source, sizeof source - 1, &r.p), TCF_OK);
  tcf_tensor *x[2], *y = NULL;
  for (int i = 0; i < 2; i++)
    cr_assert_eq(tcf_tensor_new(NULL, TCF_F32, 2, (int64_t[]){256, 256}, &x[i]), TCF_OK);
  cr_assert_eq(tcf_call(tcf_program_function(r.p, "f"), (const tcf_tensor *const *)x, 2, &y, 1),
               TCF_OK, "%s", tcf_session_message(r.s));
  tcf_tensor_free(x[0]);
  tcf_tensor_free(x[1]);
  tcf_tensor_free(y);
  close_rig(&r);
}

Test(api_cuda, flags_have_kernels_of_their_own) {
  static const unsigned flags[] = {0, TCF_TF32, TCF_DETERMINISTIC, TCF_FAST_MATH, TCF_UNCHECKED};
  char directory[] = "/tmp/tcf-flags-XXXXXX", command[64];
  cr_assert(mkdtemp(directory));
  for (size_t i = 0, before = 0, now; i < sizeof flags / sizeof *flags; i++, before = now) {
    product_with(directory, flags[i]);
    now = (size_t)entries_of(directory);
    cr_expect_gt(now, before, "with the flags %u code of others was taken", flags[i]);
  }
  snprintf(command, sizeof command, "rm -r %s", directory);
  cr_assert_eq(system(command), 0);
}

// ---- products and maps

Test(api_cuda, tensor_maps_are_made_once) {
  rig r;
  open_rig(&r);
  int64_t a[] = {512, 256}, b[] = {256, 768}, c[] = {512, 768};
  tcf_tensor *x, *w, *y;
  cr_assert_eq(tcf_tensor_new_device(r.s, TCF_BF16, 2, a, &x), TCF_OK);
  cr_assert_eq(tcf_tensor_new_device(r.s, TCF_BF16, 2, b, &w), TCF_OK);
  cr_assert_eq(tcf_tensor_new_device(r.s, TCF_BF16, 2, c, &y), TCF_OK);
  tcf_function *f = tcf_program_function(r.p, "product");
  const tcf_tensor *const args[] = {x, w};
  cr_assert_eq(tcf_call(f, args, 2, &y, 1), TCF_OK, "%s", tcf_session_message(r.s));
  int maps = count(&r, "cuTensorMapEncodeTiled");
  for (int i = 0; i < 3; i++) cr_assert_eq(tcf_call(f, args, 2, &y, 1), TCF_OK);
  cr_expect_eq(count(&r, "cuTensorMapEncodeTiled"), maps);
  cr_expect(maps >= 2 && count(&r, "dim 256 box") >= 1, "%s", r.fake->log());
  tcf_kernel_usage usage;
  cr_assert_eq(tcf_function_kernel(f, args, 2, 0, &usage), TCF_OK, "%s", tcf_session_message(r.s));
  cr_expect(usage.registers == 40 && usage.threads > 0 && strstr(usage.name, "product"));
  cr_expect_eq(tcf_function_kernel(f, args, 2, 9, &usage), TCF_WRONG_USE);
  tcf_tensor_free(x);
  tcf_tensor_free(w);
  tcf_tensor_free(y);
  close_rig(&r);
}

Test(api_cuda, explain_asks_the_driver_for_registers) {
  rig r;
  open_rig(&r);
  char *told;
  const tcf_size n = {"N", 1000};
  cr_assert_eq(tcf_program_explain(r.p, "twice", &n, 1, TCF_TEXT, &told), TCF_OK, "%s",
               tcf_session_message(r.s));
  cr_expect(strstr(told, "registers  40 a thread, none spilled; by the driver"), "%s", told);
  tcf_text_free(told);
  r.fake->fail("cuModuleLoadDataEx", 2, 218);
  cr_assert_eq(tcf_program_explain(r.p, "twice", &n, 1, TCF_TEXT, &told), TCF_OK);
  cr_expect(strstr(told, "registers  not known: loading kernels twice_0: ptxas fatal: line 7"),
            "%s", told);
  tcf_text_free(told);
  close_rig(&r);
}

Test(api_cuda, the_drivers_time_is_told) {
  enum { MS = 20 };
  tcf_device_info before = {.size = sizeof before}, after = before;
  rig r;
  open_rig(&r);
  tcf_tensor *x = host(100), *y = NULL;
  r.fake->slow("cuInit", MS);
  cr_assert_eq(tcf_session_device(r.s, &before), TCF_OK);
  r.fake->slow("cuLinkComplete", MS);
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  cr_assert_eq(tcf_session_device(r.s, &after), TCF_OK);
  r.fake->slow("", 0);
  cr_expect(before.start_seconds >= MS * 1e-3 && before.kernel_seconds == 0);
  cr_expect(after.start_seconds == before.start_seconds && after.kernel_seconds >= MS * 1e-3);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

// ---- schedules by trial

/// x * 2 takes a time that follows from the threads of a block; with 32 it is wrong.
static void play_timed(void *ctx, const char *name, const unsigned char *params, size_t size,
                       unsigned grid, unsigned block, unsigned shared) {
  rig *r = ctx;
  play(ctx, name, params, size, grid, block, shared);
  float *out = (void *)(uintptr_t)r->words[TCF_KERNEL_SYMBOLS + 1];
  if (block == 32) out[0] += 1;
  r->fake->spend(block == 32 ? 1 : block == 64 ? 2 : block == 128 ? 5 : 9);
  r->n_block = (int)block;
}

typedef struct trials {
  int count, taken;
  bool refused;
  char last[64];
} trials;

static void note_trial(void *user, const tcf_trial *t) {
  trials *seen = user;
  seen->count++;
  seen->refused |= !strcmp(t->outcome, "its results differ") && strstr(t->schedule, "threads=32");
  if (strcmp(t->outcome, "taken")) return;
  seen->taken++;
  snprintf(seen->last, sizeof seen->last, "%s", t->schedule);
}

/// A call of x * 2 on 16384 elements in a session of its own; gives the threads of its blocks.
static int block_of_a_call(const char *cache_dir, unsigned flags, const char *schedule,
                           trials *seen) {
  enum { N = 16384 };
  rig r;
  open_rig_in(&r, "cuda", cache_dir);
  tcf_session_free(r.s);
  tcf_options o = {.size = sizeof o,
                   .target = "cuda",
                   .cache_dir = cache_dir,
                   .flags = flags,
                   .schedule = schedule,
                   .trial = note_trial,
                   .trial_user = seen};
  cr_assert_eq(tcf_session_new(&o, &r.s), TCF_OK);
  cr_assert_eq(tcf_program_load(r.s, "test.tdsl", text, strlen(text), &r.p), TCF_OK);
  r.fake->play(play_timed, &r);
  r.n = N;
  tcf_tensor *x = there(&r, N), *y = NULL;
  cr_assert_eq(call(&r, "twice", x, &y), TCF_OK, "%s", tcf_session_message(r.s));
  expect_twice(x, y);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  int block = r.n_block;
  close_rig(&r);
  return block;
}

Test(api_cuda, schedules_are_found_by_trial_and_kept) {
  char directory[] = "/tmp/tcf-tune-XXXXXX", command[64];
  trials seen = {0}, again = {0};
  cr_assert(mkdtemp(directory));
  int model = block_of_a_call(directory, 0, NULL, &seen);
  cr_expect_eq(seen.count, 0);
  cr_expect_neq(model, 64);
  cr_expect_eq(block_of_a_call(directory, TCF_AUTOTUNE, NULL, &seen), 64, "%s", seen.last);
  cr_expect(seen.count > 3 && seen.taken > 0, "%d trials, %d taken", seen.count, seen.taken);
  cr_expect(strstr(seen.last, "0.threads=64"), "%s", seen.last);
  cr_expect(seen.refused, "a schedule with wrong results was not refused");
  cr_expect_eq(block_of_a_call(directory, 0, NULL, &again), 64);
  cr_expect_eq(block_of_a_call(directory, TCF_AUTOTUNE, NULL, &again), 64);
  cr_expect_eq(again.count, 0, "what is kept is tried again");
  cr_expect_eq(block_of_a_call(directory, 0, "threads=128", &again), 128);
  snprintf(command, sizeof command, "rm -r %s", directory);
  cr_assert_eq(system(command), 0);
}

static int blocks_of_causal(int64_t rows) {
  rig r;
  open_rig(&r);
  tcf_tensor *x, *y = NULL;
  cr_assert_eq(tcf_tensor_new_device(r.s, TCF_BF16, 2, (int64_t[]){rows, 128}, &x), TCF_OK);
  const tcf_tensor *const args[] = {x, x, x};
  cr_assert_eq(tcf_call(tcf_program_function(r.p, "causal"), args, 3, &y, 1), TCF_OK, "%s",
               tcf_session_message(r.s));
  const char *launch = strstr(r.fake->log(), "cuLaunchKernel");
  int blocks = atoi(strstr(launch, "grid ") + 5);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
  return blocks;
}

// One kernel: the launch sees how long the walk is. 4 multiprocessors.
Test(api_cuda, short_walks_have_resident_blocks) {
  cr_expect_eq(blocks_of_causal(1024), 4);
  cr_expect(blocks_of_causal(1025) > 4);
  cr_expect_eq(blocks_of_causal(64), 1);
}

Test(api_cuda, times_are_the_devices) {
  rig r;
  open_rig(&r);
  tcf_tensor *x = there(&r, 64), *y = there(&r, 64);
  double seconds[4], rate;
  const tcf_tensor *const args[] = {x};
  cr_assert_eq(tcf_device_time(tcf_program_function(r.p, "twice"), args, 1, &y, 1, 1, 4, seconds),
               TCF_OK, "%s", tcf_session_message(r.s));
  for (int i = 0; i < 4; i++) cr_expect_float_eq(seconds[i], 1e-3, 1e-9);
  cr_assert_eq(tcf_device_copy_rate(r.s, 1 << 20, 0, &rate), TCF_OK);
  cr_expect_float_eq(rate, (1 << 20) * 1e3, 1);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  close_rig(&r);
}

// ---- DLPack: the layout of its first version, as a stranger's code has it

typedef struct stranger {
  void *data;
  struct {
    int32_t type, id;
  } device;
  int32_t ndim;
  struct {
    uint8_t code, bits;
    uint16_t lanes;
  } dtype;
  int64_t *shape, *strides;
  uint64_t byte_offset;
  void *context;
  void (*deleter)(struct stranger *);
} stranger;

static void note_deleted(stranger *m) { ++*(int *)m->context; }

Test(api_cuda, dlpack_goes_both_ways) {
  rig r;
  open_rig(&r);
  float values[] = {0, 1, 2, 3, 4, 5, 6};
  int64_t shape[] = {2, 3}, strides[] = {1, 2};
  int deleted = 0;
  stranger m = {.data = values,
                .device = {1, 0},
                .ndim = 2,
                .dtype = {2, 32, 1},
                .shape = shape,
                .strides = strides,
                .byte_offset = 4,
                .context = &deleted,
                .deleter = note_deleted};
  tcf_tensor *t;
  cr_assert_eq(tcf_tensor_from_dlpack(r.s, (void *)&m, &t), TCF_OK);
  cr_expect(tcf_tensor_device(t) == -1 && tcf_tensor_get(t, 1) == 3 && tcf_tensor_get(t, 5) == 6);
  struct DLManagedTensor *out_;
  cr_assert_eq(tcf_tensor_to_dlpack(r.s, t, &out_), TCF_OK);
  stranger *out = (void *)out_;
  cr_expect(out->data == values + 1 && out->device.type == 1 && out->ndim == 2 &&
            out->strides[1] == 2 && out->shape[1] == 3 && out->dtype.bits == 32);
  cr_expect_eq(deleted, 0);
  out->deleter(out);
  cr_expect_eq(deleted, 1);
  // Complex numbers, and devices that are none of ours.
  m.dtype.code = 5;
  cr_expect_eq(tcf_tensor_from_dlpack(r.s, (void *)&m, &t), TCF_WRONG_USE);
  m.dtype.code = 2;
  m.device.type = 2;
  m.device.id = 1;
  cr_expect_eq(tcf_tensor_from_dlpack(r.s, (void *)&m, &t), TCF_WRONG_USE);
  tcf_tensor *x = there(&r, 16);
  cr_assert_eq(tcf_tensor_to_dlpack(r.s, x, &out_), TCF_OK);
  out = (void *)out_;
  cr_expect(out->device.type == 2 && out->device.id == 0);
  cr_assert_eq(tcf_tensor_from_dlpack(r.s, out_, &t), TCF_OK);
  cr_expect_eq(tcf_tensor_device(t), 0);
  tcf_tensor_free(t);
  close_rig(&r);
}
