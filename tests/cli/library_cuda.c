// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls libraries that `tcc-fuse build` made for an NVIDIA architecture, with the driver of
// tests/cuda, whose device addresses are the host's and whose kernels are played here. The driver is
// the one of TCF_CUDA_LIBRARY; without it the test is that opening says so.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codegen/abi.h"
#include "pick.h"
#include "tests/cuda/fake_cuda.h"
#include "twice.h"

static int failed;
static const fake_cuda *fake;
static int bad_index = -1;

static void expect(int ok, const char *what, const char *message) {
  if (ok) return;
  failed++;
  printf("%s: %s\n", what, message);
}

/// Plays x * 2 with one size; a gather only reports.
static void play(void *ctx, const char *name, const unsigned char *params, size_t size,
                 unsigned grid, unsigned block, unsigned shared) {
  (void)ctx, (void)grid, (void)block, (void)shared;
  int64_t words[16] = {0};
  memcpy(words, params, size < sizeof words ? size : sizeof words);
  tcf_device_error *e = (void *)(uintptr_t)words[TCF_KERNEL_ERROR];
  if (bad_index >= 0) *e = (tcf_device_error){1 + words[TCF_KERNEL_SITE], bad_index};
  if (strncmp(name, "twice", 5)) return;
  const float *x = (void *)(uintptr_t)words[TCF_KERNEL_SYMBOLS + 1];
  float *out = (void *)(uintptr_t)words[TCF_KERNEL_SYMBOLS + 2];
  for (int64_t i = 0; i < words[TCF_KERNEL_SYMBOLS]; i++) out[i] = x[i] * 2;
}

static int find_fake(void) {
  void *library = dlopen(getenv("TCF_CUDA_LIBRARY"), RTLD_NOW);
  void *entry = library ? dlsym(library, "fake_cuda_control") : NULL;
  fake_cuda_entry control;
  memcpy(&control, &entry, sizeof entry);
  if (!entry) return 0;
  fake = control();
  fake->play(play, NULL);
  return 1;
}

static void no_driver_is_said(void) {
  twice_context *c;
  expect(twice_open(0, &c) == TCF_CALL_LAUNCH && strstr(twice_message(c), "no NVIDIA driver"),
         "no driver", twice_message(c));
  expect(twice(NULL, NULL, 1, c, NULL) == TCF_CALL_LAUNCH, "a call all the same", twice_message(c));
  twice_close(c);
}

static void calls_run_on_the_stream(void) {
  _Alignas(16) float x[5] = {1, 2, 3, 4, 5}, out[5];
  twice_context *c;
  expect(!twice_open(1, &c), "open", twice_message(c));
  expect(!twice(x, out, 5, c, NULL) && out[0] == 2 && out[4] == 10, "twice", twice_message(c));
  expect(!twice_wait(c), "wait", twice_message(c));
  expect(strstr(fake->log(), "cuLaunchKernel twice") != NULL, "a launch", fake->log());
  expect(twice(x + 1, out, 4, c, NULL) == TCF_CALL_ARGUMENTS &&
             strstr(twice_message(c), "argument x is not at a multiple of 16 bytes"),
         "an address that does not suit", twice_message(c));
  expect(twice(NULL, out, 5, c, NULL) == TCF_CALL_ARGUMENTS &&
             strstr(twice_message(c), "argument x is missing"),
         "no argument", twice_message(c));
  expect(twice(x, x, 5, c, NULL) == TCF_CALL_ARGUMENTS &&
             strstr(twice_message(c), "result out shares memory with argument x"),
         "a result in an argument", twice_message(c));
  fake->fail("cuLaunchKernel", 1, 700);
  expect(twice(x, out, 5, c, NULL) == TCF_CALL_LAUNCH &&
             strstr(twice_message(c), "library.tdsl:11:10: kernel twice") &&
             strstr(twice_message(c), "CUDA_ERROR_ILLEGAL_ADDRESS"),
         "an error of the driver", twice_message(c));
  expect(!twice(x, out, 5, c, NULL), "a call after an error", twice_message(c));
  expect(!*twice_message(c), "its message", twice_message(c));
  twice_close(c);
}

static void bad_indices_are_found_by_waiting(void) {
  _Alignas(16) float table[6] = {0}, out[4];
  _Alignas(16) int32_t ids[2] = {0};
  pick_context *c;
  expect(!pick_open(0, &c), "open", pick_message(c));
  bad_index = 7;
  expect(!pick(table, ids, out, 3, 2, 2, c, NULL), "pick", pick_message(c));
  bad_index = -1;
  expect(pick_wait(c) == TCF_CALL_INDEX &&
             strstr(pick_message(c), "library.tdsl:7:16: index 7 is outside of axis V"),
         "a bad index", pick_message(c));
  expect(!pick(table, ids, out, 3, 2, 2, c, NULL) && !pick_wait(c), "afterwards", pick_message(c));
  pick_close(c);
}

static void kernels_that_do_not_load_say_why(void) {
  twice_context *c;
  fake->fail("cuModuleLoadDataEx", 2, 209);  // a cubin, then PTX
  expect(twice_open(0, &c) == TCF_CALL_LAUNCH && strstr(twice_message(c), "loading kernels twice"),
         "loading", twice_message(c));
  twice_close(c);
  fake->fail("", 0, 0);
}

int main(void) {
  if (find_fake()) {
    calls_run_on_the_stream();
    bad_indices_are_found_by_waiting();
    kernels_that_do_not_load_say_why();
    expect(!fake->alive(), "what is left at the end", "something");
  } else {
    no_driver_is_said();
  }
  return failed != 0;
}
