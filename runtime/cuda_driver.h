// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CUDA driver: libcuda.so.1 opened at run time, with prototypes of its stable C interface
// written here. Nothing of the CUDA toolkit is needed to build, and machines without a driver lose nothing
// but the device. Names are the driver's without "cu".
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

typedef int cu_result;  // 0: success
typedef int cu_device;
typedef uint64_t cu_pointer;
typedef struct cu_context_ *cu_context;
typedef struct cu_module_ *cu_module;
typedef struct cu_function_ *cu_function;
typedef struct cu_stream_ *cu_stream;
typedef struct cu_event_ *cu_event;
typedef struct cu_graph_ *cu_graph;
typedef struct cu_exec_ *cu_exec;
typedef struct cu_link_ *cu_link;
typedef struct cu_pool_ *cu_pool;

enum {
  CU_OUT_OF_MEMORY = 2,
  CU_NO_DEVICE = 100,
  CU_NOT_FOUND = 500,
  CU_NOT_READY = 600,

  CU_ATTRIBUTE_CLOCK = 13,  // kHz
  CU_ATTRIBUTE_MULTIPROCESSORS = 16,
  CU_ATTRIBUTE_MEMORY_CLOCK = 36,  // kHz
  CU_ATTRIBUTE_MEMORY_BITS = 37,
  CU_ATTRIBUTE_L2_BYTES = 38,
  CU_ATTRIBUTE_THREADS_PER_SM = 39,
  CU_ATTRIBUTE_MAJOR = 75,
  CU_ATTRIBUTE_MINOR = 76,
  CU_ATTRIBUTE_SHARED_PER_SM = 81,
  CU_ATTRIBUTE_REGISTERS_PER_SM = 82,
  CU_ATTRIBUTE_SHARED_PER_BLOCK = 97,  // what a block may ask for
  CU_ATTRIBUTE_POOLS = 115,

  CU_FUNCTION_SHARED = 1,  // static, bytes
  CU_FUNCTION_LOCAL = 3,   // bytes per thread: spills and stack
  CU_FUNCTION_REGISTERS = 4,
  CU_FUNCTION_DYNAMIC_SHARED = 8,
  CU_FUNCTION_LARGE_CLUSTERS = 14,

  CU_JIT_INFO_LOG = 3,
  CU_JIT_INFO_LOG_BYTES = 4,
  CU_JIT_ERROR_LOG = 5,
  CU_JIT_ERROR_LOG_BYTES = 6,
  CU_INPUT_PTX = 1,

  CU_POOL_RELEASE_THRESHOLD = 4,
  CU_STREAM_ORDERED_WITH_LEGACY = 0,
  CU_STREAM_INDEPENDENT = 1,
  CU_EVENT_TIMED = 0,
  CU_EVENT_UNTIMED = 2,
  CU_HOST_PORTABLE = 1,
  CU_HOST_MAPPED = 2,
  CU_CAPTURE_RELAXED = 2,

  CU_MAP_UINT8 = 0,
  CU_MAP_UINT16 = 1,
  CU_MAP_UINT32 = 2,
  CU_MAP_UINT64 = 4,
  CU_MAP_SWIZZLE_128 = 3,
  CU_MAP_PROMOTE_256 = 3,
  CU_MAP_BYTES = 128,
};

/// cuMemPoolCreate's argument; what is not named is zero.
typedef struct cu_pool_props {
  int allocation;  // 1: pinned to a location
  int handles;
  int location;  // 1: a device
  int ordinal;
  void *security;
  size_t most;
  unsigned char reserved[56];
} cu_pool_props;

// X(field, symbol, parameters)
#define CUDA_REQUIRED(X)                                                                        \
  X(init, cuInit, (unsigned flags))                                                             \
  X(driver_version, cuDriverGetVersion, (int *version))                                         \
  X(error_name, cuGetErrorName, (cu_result, const char **text))                                 \
  X(error_string, cuGetErrorString, (cu_result, const char **text))                             \
  X(device_count, cuDeviceGetCount, (int *count))                                               \
  X(device_get, cuDeviceGet, (cu_device *, int ordinal))                                        \
  X(device_name, cuDeviceGetName, (char *name, int size, cu_device))                            \
  X(device_attribute, cuDeviceGetAttribute, (int *value, int attribute, cu_device))             \
  X(device_memory, cuDeviceTotalMem_v2, (size_t * bytes, cu_device))                            \
  X(primary_retain, cuDevicePrimaryCtxRetain, (cu_context *, cu_device))                        \
  X(primary_release, cuDevicePrimaryCtxRelease_v2, (cu_device))                                 \
  X(context_current, cuCtxGetCurrent, (cu_context *))                                           \
  X(context_push, cuCtxPushCurrent_v2, (cu_context))                                            \
  X(context_pop, cuCtxPopCurrent_v2, (cu_context *))                                            \
  X(module_load, cuModuleLoadDataEx,                                                            \
    (cu_module *, const void *image, unsigned n, int *options, void **values))                  \
  X(module_unload, cuModuleUnload, (cu_module))                                                 \
  X(module_function, cuModuleGetFunction, (cu_function *, cu_module, const char *name))         \
  X(function_get, cuFuncGetAttribute, (int *value, int attribute, cu_function))                 \
  X(function_set, cuFuncSetAttribute, (cu_function, int attribute, int value))                  \
  X(occupancy, cuOccupancyMaxActiveBlocksPerMultiprocessor,                                     \
    (int *blocks, cu_function, int threads, size_t shared))                                     \
  X(launch, cuLaunchKernel,                                                                     \
    (cu_function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, \
     unsigned shared, cu_stream, void **params, void **extra))                                  \
  X(link_create, cuLinkCreate_v2, (unsigned n, int *options, void **values, cu_link *))         \
  X(link_add, cuLinkAddData_v2,                                                                 \
    (cu_link, int type, void *data, size_t size, const char *name, unsigned n, int *options,    \
     void **values))                                                                            \
  X(link_complete, cuLinkComplete, (cu_link, void **cubin, size_t *size))                       \
  X(link_destroy, cuLinkDestroy, (cu_link))                                                     \
  X(alloc, cuMemAlloc_v2, (cu_pointer *, size_t bytes))                                         \
  X(free, cuMemFree_v2, (cu_pointer))                                                           \
  X(host_alloc, cuMemHostAlloc, (void **, size_t bytes, unsigned flags))                        \
  X(host_free, cuMemFreeHost, (void *))                                                         \
  X(host_pointer, cuMemHostGetDevicePointer_v2, (cu_pointer *, void *host, unsigned flags))     \
  X(to_device, cuMemcpyHtoDAsync_v2, (cu_pointer, const void *, size_t bytes, cu_stream))       \
  X(to_host, cuMemcpyDtoHAsync_v2, (void *, cu_pointer, size_t bytes, cu_stream))               \
  X(on_device, cuMemcpyDtoDAsync_v2, (cu_pointer to, cu_pointer from, size_t bytes, cu_stream)) \
  X(set_bytes, cuMemsetD8Async, (cu_pointer, unsigned char, size_t bytes, cu_stream))           \
  X(stream_create, cuStreamCreate, (cu_stream *, unsigned flags))                               \
  X(stream_destroy, cuStreamDestroy_v2, (cu_stream))                                            \
  X(stream_wait, cuStreamSynchronize, (cu_stream))                                              \
  X(stream_wait_event, cuStreamWaitEvent, (cu_stream, cu_event, unsigned flags))                \
  X(stream_capturing, cuStreamIsCapturing, (cu_stream, int *status))                            \
  X(event_create, cuEventCreate, (cu_event *, unsigned flags))                                  \
  X(event_destroy, cuEventDestroy_v2, (cu_event))                                               \
  X(event_record, cuEventRecord, (cu_event, cu_stream))                                         \
  X(event_wait, cuEventSynchronize, (cu_event))                                                 \
  X(event_elapsed, cuEventElapsedTime, (float *milliseconds, cu_event from, cu_event to))

// Without these something is slower or missing: pools from CUDA 11.2, tensor maps from 12.0.
#define CUDA_OPTIONAL(X)                                                                   \
  X(pool_create, cuMemPoolCreate, (cu_pool *, const cu_pool_props *))                      \
  X(pool_destroy, cuMemPoolDestroy, (cu_pool))                                             \
  X(pool_set, cuMemPoolSetAttribute, (cu_pool, int attribute, void *value))                \
  X(pool_alloc, cuMemAllocFromPoolAsync, (cu_pointer *, size_t bytes, cu_pool, cu_stream)) \
  X(pool_free, cuMemFreeAsync, (cu_pointer, cu_stream))                                    \
  X(capture_begin, cuStreamBeginCapture_v2, (cu_stream, int mode))                         \
  X(capture_end, cuStreamEndCapture, (cu_stream, cu_graph *))                              \
  X(graph_instantiate, cuGraphInstantiateWithFlags,                                        \
    (cu_exec *, cu_graph, unsigned long long flags))                                       \
  X(graph_launch, cuGraphLaunch, (cu_exec, cu_stream))                                     \
  X(graph_destroy, cuGraphDestroy, (cu_graph))                                             \
  X(exec_destroy, cuGraphExecDestroy, (cu_exec))                                           \
  X(map_encode, cuTensorMapEncodeTiled,                                                    \
    (void *map, int type, uint32_t rank, void *address, const uint64_t *dims,              \
     const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave,  \
     int swizzle, int promotion, int fill))

typedef struct cuda_driver {
  void *library;
#define CUDA_FIELD(field, symbol, params) cu_result(*field) params;
  CUDA_REQUIRED(CUDA_FIELD)
  CUDA_OPTIONAL(CUDA_FIELD)
#undef CUDA_FIELD
} cuda_driver;

/// Opens the library (TCF_CUDA_LIBRARY names another file than libcuda.so.1) and initialises the
/// driver. False with *e: no library, too old, no device.
bool cuda_driver_open(cuda_driver *c, error *e);
/// The driver stays initialised; only the reference to the library goes.
void cuda_driver_close(cuda_driver *c);

/// True for success, else fills *e with "WHAT: CUDA_ERROR_X: the driver's text" and returns false.
bool cuda_ok(const cuda_driver *c, cu_result r, error *e, const char *what, ...)
    __attribute__((format(printf, 4, 5)));
