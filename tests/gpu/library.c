// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A library of `tcc-fuse build --target sm_90a` on a device: memory and streams are the driver's, as in a
// program that knows nothing of tcc-fuse. The functions are those of tests/cli/library.tdsl.
//
// usage: library FOLDER      of scaled.so and pick.so; prints "library: N passed, N failed"
#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static void expect(int ok, const char *what, const char *message) {
  if (ok) passed++;
  else failed++, printf("FAIL %s: %s\n", what, message);
}

static void *find(void *library, const char *name) {
  void *f = library ? dlsym(library, name) : NULL;
  if (!f) printf("FAIL %s is not there\n", name), exit(1);
  return f;
}

/// FIND(int, cuInit, unsigned) is a function pointer of that name.
#define FIND(library, result, name, ...) \
  result (*name)(__VA_ARGS__);           \
  *(void **)&name = find(library, #name)

static void *open_in(const char *folder, const char *name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  void *library = dlopen(path, RTLD_NOW);
  if (!library) printf("FAIL %s\n", dlerror()), exit(1);
  return library;
}

enum { N = 301, T = 4096, V = 7, D = 16, IDS = 64 };
static float x[N * T], out[N * T], table[V * D], rows[IDS * D];
static int32_t ids[IDS];

static double largest_error(void) {
  double worst = 0;
  for (int n = 0; n < N; n++) {
    double sum = 0;
    for (int t = 0; t < T; t++) sum += x[n * T + t];
    for (int t = 0; t < T; t++)
      worst = fmax(worst, fabs(out[n * T + t] - 2 * x[n * T + t] / sum) * sum);
  }
  return worst;
}

int main(int argc, char **argv) {
  void *driver = dlopen("libcuda.so.1", RTLD_NOW), *context, *stream, *c;
  const char *folder = argc > 1 ? argv[1] : ".";
  int32_t device;
  uint64_t dx, dout, dtable, dids, drows;
  FIND(driver, int, cuInit, unsigned);
  FIND(driver, int, cuDeviceGet, int32_t *, int);
  FIND(driver, int, cuDevicePrimaryCtxRetain, void **, int32_t);
  FIND(driver, int, cuCtxSetCurrent, void *);
  FIND(driver, int, cuStreamCreate, void **, unsigned);
  FIND(driver, int, cuStreamSynchronize, void *);
  FIND(driver, int, cuMemAlloc_v2, uint64_t *, size_t);
  FIND(driver, int, cuMemcpyHtoD_v2, uint64_t, const void *, size_t);
  FIND(driver, int, cuMemcpyDtoH_v2, void *, uint64_t, size_t);
  void *scaled_so = open_in(folder, "scaled.so"), *pick_so = open_in(folder, "pick.so");
  FIND(scaled_so, int32_t, scaled_open, int32_t, void **);
  FIND(scaled_so, int32_t, scaled, uint64_t, uint64_t, int64_t, int64_t, void *, void *);
  FIND(scaled_so, int32_t, scaled_wait, void *);
  FIND(scaled_so, const char *, scaled_message, void *);
  FIND(scaled_so, void, scaled_close, void *);
  FIND(pick_so, int32_t, pick_open, int32_t, void **);
  FIND(pick_so, int32_t, pick, uint64_t, uint64_t, uint64_t, int64_t, int64_t, int64_t, void *,
       void *);
  FIND(pick_so, int32_t, pick_wait, void *);
  FIND(pick_so, const char *, pick_message, void *);
  FIND(pick_so, void, pick_close, void *);

  if (cuInit(0) || cuDeviceGet(&device, 0) || cuDevicePrimaryCtxRetain(&context, device) ||
      cuCtxSetCurrent(context) || cuStreamCreate(&stream, 1))
    return printf("FAIL there is no device\n"), 1;
  for (int i = 0; i < N * T; i++) x[i] = 1 + (float)(i * 7 % 13) / 13;
  for (int i = 0; i < V * D; i++) table[i] = (float)i;
  for (int i = 0; i < IDS; i++) ids[i] = i % V;
  if (cuMemAlloc_v2(&dx, sizeof x) || cuMemAlloc_v2(&dout, sizeof out) ||
      cuMemAlloc_v2(&dtable, sizeof table) || cuMemAlloc_v2(&dids, sizeof ids) ||
      cuMemAlloc_v2(&drows, sizeof rows) || cuMemcpyHtoD_v2(dx, x, sizeof x) ||
      cuMemcpyHtoD_v2(dtable, table, sizeof table) || cuMemcpyHtoD_v2(dids, ids, sizeof ids))
    return printf("FAIL memory\n"), 1;

  expect(!scaled_open(0, &c), "scaled_open", scaled_message(c));
  for (int again = 0; again < 3; again++)
    expect(!scaled(dx, dout, N, T, c, stream), "scaled", scaled_message(c));
  expect(!scaled_wait(c), "scaled_wait", scaled_message(c));
  cuMemcpyDtoH_v2(out, dout, sizeof out);
  expect(largest_error() < 1e-5, "scaled", "a wrong result");
  expect(scaled(dx + 4, dout, N, T, c, stream) && strstr(scaled_message(c), "16 bytes"),
         "alignment", scaled_message(c));
  expect(scaled(dx, dout, N, 6, c, stream) && strstr(scaled_message(c), "multiple of 4"), "a size",
         scaled_message(c));
  scaled_close(c);

  expect(!pick_open(0, &c), "pick_open", pick_message(c));
  expect(!pick(dtable, dids, drows, V, D, IDS, c, stream) && !pick_wait(c), "pick",
         pick_message(c));
  cuMemcpyDtoH_v2(rows, drows, sizeof rows);
  int wrong = 0;
  for (int i = 0; i < IDS * D; i++) wrong += rows[i] != table[ids[i / D] * D + i % D];
  expect(!wrong, "pick", "a wrong result");
  ids[9] = 99;
  cuMemcpyHtoD_v2(dids, ids, sizeof ids);
  expect(!pick(dtable, dids, drows, V, D, IDS, c, stream), "pick", pick_message(c));
  expect(pick_wait(c) && strstr(pick_message(c), "index 99 is outside of axis V"), "a bad index",
         pick_message(c));
  cuStreamSynchronize(stream);
  pick_close(c);
  printf("library: %d passed, %d failed\n", passed, failed);
  return failed != 0;
}
