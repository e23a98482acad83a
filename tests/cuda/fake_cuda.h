// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A CUDA driver for tests on machines without one: memory of the "device" is the host's, work
// happens at once, kernels are played by a function of the test. It writes down what it is asked to do.
#pragma once
#include <stddef.h>

/// A launch: params is the block of words and tensor maps.
typedef void (*fake_kernel)(void *ctx, const char *name, const unsigned char *params, size_t size,
                            unsigned grid, unsigned block, unsigned shared);

typedef struct fake_cuda {
  /// Plays kernels; may be null.
  void (*play)(fake_kernel kernel, void *ctx);
  /// One line per call that does something; cleared by `clear`.
  const char *(*log)(void);
  void (*clear)(void);
  /// The next `times` calls of that name fail.
  void (*fail)(const char *name, int times, int result);
  /// Calls of that name take so long.
  void (*slow)(const char *name, int milliseconds);
  /// Time passes on the device: for kernels that are played, between events.
  void (*spend)(float milliseconds);
  /// Makes the context of a device current in this thread, as a host program may; -1: none.
  void (*use)(int device);
  /// Whose memory it is; that of the current device when it was not allocated by one.
  int (*device_of)(const void *p);
  /// What is alive: allocations, streams, events, modules, retained contexts, graphs.
  int (*alive)(void);
} fake_cuda;

/// Exported as fake_cuda_control: const fake_cuda *(void).
typedef const fake_cuda *(*fake_cuda_entry)(void);
