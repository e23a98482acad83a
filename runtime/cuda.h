// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// NVIDIA devices: memory, streams, modules, launches. All through the driver
// (runtime/cuda_driver.h), in the device's primary context, which is shared with whatever else in the process uses the
// device: it is retained and made current around calls, never reset or configured.
//
// Each cuda_device has a stream of its own, ordered with the legacy default stream. Work on a
// caller's stream is joined with it by events (cuda_join).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codegen/abi.h"
#include "runtime/cache.h"
#include "runtime/error.h"

typedef struct cuda_device cuda_device;
typedef struct cuda_module cuda_module;

typedef struct cuda_info {
  char name[128];
  int ordinal, major, minor;
  int driver;  // 13000: CUDA 13.0
  int multiprocessors, threads_per_sm, registers_per_sm;
  int64_t shared_per_block, shared_per_sm, l2_bytes, memory_bytes;
  double bytes_per_second;  // of memory, from clock and width; 0: the driver does not say
} cuda_info;

// ---- devices (runtime/cuda_device.c)

/// Null with *e: ERROR_DEVICE when there is no driver or no such device.
cuda_device *cuda_open(int ordinal, error *e);
cuda_device *cuda_share(cuda_device *d);  // one more cuda_close
void cuda_close(cuda_device *d);
const cuda_info *cuda_device_info(const cuda_device *d);
/// Seconds that the driver took so far for this cuda_device.
typedef struct cuda_spent {
  double start;    // to open: the library, the driver, the context
  double kernels;  // to compile PTX and to load modules
} cuda_spent;
cuda_spent cuda_device_spent(const cuda_device *d);

/// The context is current between enter and leave; both are cheap when it is already.
typedef struct cuda_scope {
  cuda_device *device;
  bool pushed;
} cuda_scope;
bool cuda_enter(cuda_scope *s, cuda_device *d, error *e);
void cuda_leave(cuda_scope *s);

/// Memory in the order of the device's stream; 256-byte aligned. Null with *e.
void *cuda_alloc(cuda_device *d, size_t bytes, error *e);
void cuda_free(cuda_device *d, void *p);
/// The same in the order of another stream: freed there too.
void *cuda_alloc_on(cuda_device *d, size_t bytes, void *stream, error *e);
void cuda_free_on(cuda_device *d, void *p, void *stream);

typedef enum cuda_direction { CUDA_TO_DEVICE, CUDA_TO_HOST, CUDA_ON_DEVICE } cuda_direction;
/// In the order of the device's stream. To the host: returns when the bytes are there; to the
/// device: when the host's bytes have been read.
bool cuda_copy(cuda_device *d, cuda_direction direction, void *to, const void *from, size_t bytes,
               error *e);

/// The device's stream, ordered after work that was put on callers' streams.
void *cuda_stream(cuda_device *d, error *e);
/// What follows on `stream` waits for the device's stream, and what follows on that waits for
/// what is on `stream` when cuda_part is called.
bool cuda_join(cuda_device *d, void *stream, error *e);
bool cuda_part(cuda_device *d, void *stream, error *e);
/// The device's stream waits for what is on `stream` now.
bool cuda_follow(cuda_device *d, void *stream, error *e);
bool cuda_is_capturing(cuda_device *d, void *stream);
/// Waits for the device's stream and for what was put on callers' streams.
bool cuda_wait(cuda_device *d, error *e);

/// A word for the checks of kernels, in host memory that the device sees; zero. Null with *e.
tcf_device_error *cuda_error_word(cuda_device *d, error *e);
void cuda_error_word_free(cuda_device *d, tcf_device_error *w);

// ---- modules (runtime/cuda_module.c, runtime/cuda_compile.c)

/// Loads a cubin, or PTX text ended by a zero byte; kernels: ended by one without a name, kept by
/// reference. The log of the driver's compiler is part of *e.
cuda_module *cuda_module_load(cuda_device *d, const tcf_kernel_info *kernels, const void *image,
                              error *e);
/// The same for PTX text (size: with its zero byte), whose cubin is taken from the cache or left
/// there (null: none).
cuda_module *cuda_module_compile(cuda_device *d, const tcf_kernel_info *kernels, const char *ptx,
                                 size_t size, cache *c, error *e);
void cuda_module_free(cuda_module *m);
int cuda_module_kernels(const cuda_module *m);

/// What the compiler made of a kernel.
typedef struct cuda_usage {
  const char *name;
  int threads, registers;
  int spilled_bytes;  // local memory per thread: spills and stack
  int shared_bytes;
  int blocks_per_sm;  // that fit
} cuda_usage;
bool cuda_module_usage(const cuda_module *m, int kernel, cuda_usage *out, error *e);

// ---- launches (runtime/cuda_launch.c)

/// One call of an entry; tcf_frame.device.
typedef struct cuda_call {
  cuda_module *module;
  void *stream;
  tcf_device_error *errors;  // null: the kernels have no checks
  uint64_t tickets;          // of its kernels; 0: those of the device's stream
  int launches;              // so far
  int step, kernel;          // of the launch that failed; -1: none
  error error;
} cuda_call;

/// tcf_frame.launch. A failure is in call->error with the kernel's name.
int32_t cuda_launch(void *call, int32_t kernel, int64_t *args, int64_t tiles, const int64_t *maps);

/// Runs body(ctx), which starts kernels through `call`, on a caller's stream, in the order of which
/// *arena is its memory meanwhile. Returns what body returned, or TCF_CALL_LAUNCH with an error in
/// the call.
int32_t cuda_run_on(cuda_call *call, void *stream, int64_t arena_bytes, void **arena,
                    int32_t (*body)(void *ctx), void *ctx);

/// Runs body(ctx), which starts kernels through `call`, on the device's stream. The second time
/// that it is run with the same key (whatever its launches depend on) they are recorded as a graph,
/// which is replayed from then on, when there are several. Returns what body returned, 0 for a replay; a
/// failure of the graph itself falls back to plain launches.
int32_t cuda_run(cuda_call *call, const int64_t *key, int nkey, int32_t (*body)(void *ctx),
                 void *ctx);

// ---- measuring (runtime/cuda_time.c)

typedef struct cuda_timer cuda_timer;
/// For up to n intervals on the device's stream. flush_bytes > 0: before each one that much memory
/// is written, so that nothing of interest is in the device's cache.
cuda_timer *cuda_timer_new(cuda_device *d, int n, size_t flush_bytes, error *e);
void cuda_timer_free(cuda_timer *t);
bool cuda_timer_begin(cuda_timer *t, error *e);
bool cuda_timer_end(cuda_timer *t, error *e);
/// Waits; seconds of each interval in order.
bool cuda_timer_read(cuda_timer *t, double *seconds, error *e);
