// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is behind cuda_device and cuda_module, for runtime/cuda_*.c.
#pragma once
#include <stdatomic.h>

#include "runtime/cuda.h"
#include "runtime/cuda_driver.h"
#include "runtime/fork.h"

enum { ERROR_WORDS = 4096, MAP_WAYS = 4, MAP_KEY = 10, GRAPHS = 4 };

struct cuda_device {
  cuda_driver driver;
  atomic_int users;
  cu_device number;
  cu_context context;
  cuda_info info;
  cu_pool pool;       // null: plain allocations
  cu_stream stream;   // ordered with the legacy default stream
  cu_stream capture;  // where graphs are recorded; made when first needed
  bool busy;          // the stream has work that callers' streams have not been told to wait for
  cu_event mine, theirs;
  cu_stream caller;         // whose last work `theirs` marks
  bool caller_busy;         // and `stream` has not been told to wait for
  tcf_device_error *words;  // ERROR_WORDS of them
  cu_pointer words_device;
  uint64_t words_used[ERROR_WORDS / 64];
  cu_pointer
      tickets;  // of kernels on `stream`, which come one after the other; 0: not needed so far
  cuda_spent spent;
  fork_mark mark;  // the driver does not work in children
  bool slow;  // TCF_CUDA_SYNC: every launch is waited for, so that errors name their kernel
};

/// Of a clock that only goes forward.
double cuda_seconds(void);

enum { LOG_BYTES = 8192 };

/// The driver's compiler writes here; sizes travel as pointers.
typedef struct jit_log {
  char info[LOG_BYTES], error[LOG_BYTES];
  int options[4];
  void *values[4];
} jit_log;
jit_log *jit_log_new(error *e);

/// A tensor map made before: for the same address, sizes and strides.
typedef struct map_way {
  _Alignas(64) unsigned char map[CU_MAP_BYTES];
  int64_t key[MAP_KEY];
} map_way;

typedef struct cuda_kernel {
  const tcf_kernel_info *info;
  cu_function function;
  map_way *ways;  // MAP_WAYS per map
  int next_way;
} cuda_kernel;

typedef struct recorded {
  int64_t *key;
  int nkey;
  int launches;  // of a plain run
  bool never;    // recording failed
  cu_exec exec;
} recorded;

struct cuda_module {
  cuda_device *device;
  cu_module module;
  cuda_kernel *kernels;
  int nkernels;
  bool has_tickets;         // of some kernel
  recorded graphs[GRAPHS];  // the most recent first
};

/// Tickets for the kernels on the device's stream, unless there are some.
bool cuda_make_tickets(cuda_device *d, error *e);
