// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Two devices in one process, in turns and in two threads, against the driver of tests/cuda, which
// refuses what belongs to the other device's context.
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "codegen/abi.h"
#include "tcc_fuse.h"
#include "tests/cuda/fake_cuda.h"

static const char text[] =
    "fn twice(x: f32[N]) -> f32[N] {\n  return x * 2\n}\n"
    "fn chain(x: f32[A, B], w: f32[B, C], v: f32[C, D]) -> f32[A, D] {\n"
    "  return dot(dot(x, w, B), v, C)\n}\n";

static const fake_cuda *fake;
static _Atomic int strayed;  // launches whose memory is not of one device

/// x * 2 for any N; of other kernels nothing but where their memory is.
static void play(void *ctx, const char *name, const unsigned char *params, size_t size,
                 unsigned grid, unsigned block, unsigned shared) {
  (void)ctx, (void)grid, (void)block, (void)shared;
  int64_t words[16] = {0};
  memcpy(words, params, size < sizeof words ? size : sizeof words);
  if (strncmp(name, "twice", 5)) return;
  const float *x = (void *)(uintptr_t)words[TCF_KERNEL_SYMBOLS + 1];
  float *out = (void *)(uintptr_t)words[TCF_KERNEL_SYMBOLS + 2];
  if (fake->device_of(x) != fake->device_of(out)) strayed++;
  for (int64_t i = 0; i < words[TCF_KERNEL_SYMBOLS]; i++) out[i] = x[i] * 2;
}

static void open_fake(void) {
  setenv("TCF_CUDA_LIBRARY", TCF_FAKE_CUDA, 1);
  void *library = dlopen(TCF_FAKE_CUDA, RTLD_NOW);
  cr_assert(library, "%s", dlerror());
  void *entry = dlsym(library, "fake_cuda_control");
  fake_cuda_entry control;
  memcpy(&control, &entry, sizeof entry);
  fake = control();
  fake->play(play, NULL);
  fake->clear();
}

typedef struct place {
  tcf_session *s;
  tcf_program *p;
  tcf_function *twice;
  int ordinal;
} place;

static void open_place(place *d, int ordinal) {
  tcf_options o = {.size = sizeof o, .target = ordinal ? "cuda:1" : "cuda:0", .cache_dir = ""};
  *d = (place){.ordinal = ordinal};
  cr_assert_eq(tcf_session_new(&o, &d->s), TCF_OK);
  cr_assert_eq(tcf_program_load(d->s, "test.tdsl", text, strlen(text), &d->p), TCF_OK);
  d->twice = tcf_program_function(d->p, "twice");
  cr_assert_eq(tcf_function_keep_symbolic(d->twice, "N", 1), TCF_OK);
}

static tcf_tensor *there(place *d, int64_t n) {
  tcf_tensor *t;
  cr_assert_eq(tcf_tensor_new_device(d->s, TCF_F32, 1, &n, &t), TCF_OK, "%s",
               tcf_session_message(d->s));
  tcf_tensor_fill_random(t, (uint64_t)n);
  return t;
}

static bool call_twice(place *d, int64_t n) {
  tcf_tensor *x = there(d, n), *y = NULL;
  bool ok = !tcf_call(d->twice, (const tcf_tensor *const[]){x}, 1, &y, 1) &&
            tcf_tensor_device(y) == d->ordinal;
  for (int64_t i = 0; ok && i < n; i++) ok = tcf_tensor_get(y, i) == 2 * tcf_tensor_get(x, i);
  tcf_tensor_free(x);
  tcf_tensor_free(y);
  return ok;
}

static bool call_chain(place *d) {
  int64_t dims[3][2] = {{48, 64}, {64, 80}, {80, 96}};
  tcf_tensor *in[3], *out = NULL;
  for (int i = 0; i < 3; i++)
    cr_assert_eq(tcf_tensor_new_device(d->s, TCF_F32, 2, dims[i], &in[i]), TCF_OK);
  bool ok = true;
  for (int i = 0; ok && i < 4; i++)  // recorded and replayed
    ok = !tcf_call(tcf_program_function(d->p, "chain"), (const tcf_tensor *const *)in, 3, &out, 1);
  for (int i = 0; i < 3; i++) tcf_tensor_free(in[i]);
  tcf_tensor_free(out);
  return ok && !tcf_synchronize(d->s);
}

Test(cuda_devices, take_turns_in_one_thread) {
  place d[2];
  open_fake();
  for (int i = 0; i < 2; i++) open_place(&d[i], i);
  for (int turn = 0; turn < 20; turn++) {
    place *one = &d[turn % 2];
    cr_assert(call_twice(one, 10 + turn), "%s", tcf_session_message(one->s));
    cr_assert(call_chain(one), "%s", tcf_session_message(one->s));
  }
  cr_expect_eq(strayed, 0);
  for (int i = 0; i < 2; i++) tcf_session_free(d[i].s);
  cr_expect_eq(fake->alive(), 0, "%s", fake->log());
}

static void *calls_of_a_thread(void *ordinal) {
  place d;
  bool ok = true;
  open_place(&d, *(int *)ordinal);
  for (int turn = 0; ok && turn < 50; turn++) ok = call_twice(&d, 10 + turn) && call_chain(&d);
  tcf_session_free(d.s);
  return ok ? NULL : ordinal;
}

Test(cuda_devices, work_in_two_threads) {
  pthread_t threads[4];
  int ordinals[] = {0, 1, 0, 1};
  void *failed;
  open_fake();
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, calls_of_a_thread, &ordinals[i]);
  for (int i = 0; i < 4; i++) {
    pthread_join(threads[i], &failed);
    cr_expect_null(failed, "a call on device %d failed", ordinals[i]);
  }
  cr_expect_eq(strayed, 0);
  cr_expect_eq(fake->alive(), 0, "%s", fake->log());
}

Test(cuda_devices, leave_the_callers_context_alone) {
  place d;
  open_fake();
  fake->use(0);
  open_place(&d, 1);
  cr_expect(call_twice(&d, 100), "%s", tcf_session_message(d.s));
  cr_expect_eq(fake->device_of(&d), 0, "device 1 is still current");
  tcf_session_free(d.s);
  fake->use(-1);
}

Test(cuda_devices, tensors_of_another_one_are_refused_or_copied) {
  place d[2];
  open_fake();
  for (int i = 0; i < 2; i++) open_place(&d[i], i);
  tcf_tensor *a = there(&d[0], 33), *b = there(&d[1], 33), *y = NULL;
  cr_expect_eq(tcf_call(d[1].twice, (const tcf_tensor *const[]){a}, 1, &y, 1), TCF_WRONG_USE);
  cr_expect(strstr(tcf_session_message(d[1].s),
                   "argument x is on CUDA device 0, which is not the session's"),
            "%s", tcf_session_message(d[1].s));
  cr_expect_eq(tcf_call(d[1].twice, (const tcf_tensor *const[]){b}, 1, &a, 1), TCF_WRONG_USE);
  cr_expect(strstr(tcf_session_message(d[1].s), "result out is on CUDA device 0"), "%s",
            tcf_session_message(d[1].s));
  cr_expect_eq(tcf_call_on_stream(d[1].twice, (const tcf_tensor *const[]){a}, 1, &y, 1, NULL),
               TCF_WRONG_USE);
  tcf_tensor_fill_iota(a);
  cr_assert_eq(tcf_tensor_copy(d[1].s, b, a), TCF_OK, "%s", tcf_session_message(d[1].s));
  for (int i = 0; i < 33; i++) cr_expect_eq(tcf_tensor_get(b, i), i);
  cr_expect_eq(tcf_call(d[1].twice, (const tcf_tensor *const[]){b}, 1, &y, 1), TCF_OK);
  cr_expect_eq(tcf_tensor_get(y, 32), 64);
  tcf_tensor_free(a);
  tcf_tensor_free(b);
  tcf_tensor_free(y);
  for (int i = 0; i < 2; i++) tcf_session_free(d[i].s);
  cr_expect_eq(fake->alive(), 0, "%s", fake->log());
}

Test(cuda_devices, two_sessions_of_one_copy_in_order) {
  place d[2];
  open_fake();
  for (int i = 0; i < 2; i++) open_place(&d[i], 0);
  tcf_tensor *a = there(&d[0], 64), *b = there(&d[1], 64);
  fake->clear();
  cr_assert_eq(tcf_tensor_copy(d[1].s, b, a), TCF_OK);
  // The one that wrote `a`, then the one that copies: nothing else orders their streams.
  const char *copied = strstr(fake->log(), "cuMemcpyDtoD");
  cr_assert(copied, "%s", fake->log());
  cr_expect_lt(strstr(fake->log(), "cuStreamSynchronize"), copied, "%s", fake->log());
  cr_expect(strstr(copied, "cuStreamSynchronize"), "%s", fake->log());
  tcf_tensor_free(a);
  tcf_tensor_free(b);
  for (int i = 0; i < 2; i++) tcf_session_free(d[i].s);
}

/// Of DLPack: see test_api_cuda.c.
typedef struct managed {
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
  void (*deleter)(struct managed *);
} managed;

Test(cuda_devices, dlpack_says_which) {
  place d[2];
  open_fake();
  for (int i = 0; i < 2; i++) open_place(&d[i], i);
  tcf_tensor *b = there(&d[1], 8), *again;
  struct DLManagedTensor *out;
  cr_assert_eq(tcf_tensor_to_dlpack(d[1].s, b, &out), TCF_OK);
  managed *m = (managed *)(void *)out;
  cr_expect(m->device.type == 2 && m->device.id == 1);
  cr_expect_eq(tcf_tensor_from_dlpack(d[0].s, out, &again), TCF_WRONG_USE);
  cr_expect(strstr(tcf_session_message(d[0].s), "is on CUDA device 1"), "%s",
            tcf_session_message(d[0].s));
  cr_assert_eq(tcf_tensor_from_dlpack(d[1].s, out, &again), TCF_OK);
  cr_expect_eq(tcf_tensor_device(again), 1);
  tcf_tensor_free(again);
  for (int i = 0; i < 2; i++) tcf_session_free(d[i].s);
  cr_expect_eq(fake->alive(), 0, "%s", fake->log());
}

/// Where a device was opened before the fork it is not used any more, not even to free memory.
Test(cuda_devices, a_forked_child_leaves_the_device_alone) {
  place d;
  open_fake();
  open_place(&d, 0);
  cr_assert(call_twice(&d, 10));
  tcf_tensor *x = there(&d, 10), *y = NULL;
  fake->clear();
  pid_t child = fork();
  if (!child) {
    alarm(20);
    tcf_status status = tcf_call(d.twice, (const tcf_tensor *const[]){x}, 1, &y, 1);
    bool said = strstr(tcf_session_message(d.s), "before this process was forked");
    tcf_tensor_free(x);
    tcf_session_free(d.s);
    _exit(status == TCF_UNAVAILABLE && said && !y && !*fake->log() ? 0 : 1);
  }
  int status = -1;
  cr_assert_eq(waitpid(child, &status, 0), child);
  cr_expect_eq(status, 0);
  cr_expect(call_twice(&d, 12));
  tcf_tensor_free(x);
  tcf_session_free(d.s);
}
