// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What compiled code and the runtime agree on. Plain C: no IR, no LLVM.
//
// A compiled function @f with params x, w, outputs out and size symbols N, D is
//
//   int32_t f(const float *x, const uint16_t *w, float *out, int64_t N, int64_t D,
//             tcf_frame *frame);
//
// pointers to the elements in declared storage order (or the strides it was specialised on),
// params, then outputs, then one int64_t per size symbol that is still open, in order of
// appearance in the signature (symbols specialised to constants are gone), then the frame. f16 and bf16 are uint16_t, bool is uint8_t. It returns 0, or TCF_CALL_* below.
// It runs its steps in order; each kernel is a task over grid tiles run by frame->parallel_for.
#ifndef TCF_ABI_H  // and no `#pragma once`: the headers of several functions carry it
#define TCF_ABI_H
#include <stdint.h>

/// Grid tiles [begin, end) of a kernel on worker number `worker`, 0 <= worker < frame->workers.
typedef void (*tcf_task)(void *args, int64_t begin, int64_t end, int32_t worker);

typedef struct tcf_frame {
  void *pool;  // for parallel_for
  /// Runs task over [0, n) split into any ranges, at most one running per worker number, and
  /// returns when all are done. With n == 1 it should run inline.
  void (*parallel_for)(void *pool, tcf_task task, void *args, int64_t n);
  int32_t workers;
  int32_t reserved;
  void *arena;    // arena_size() bytes, 64-byte aligned; may be null when 0
  char *scratch;  // workers * scratch_size() bytes, 64-byte aligned; worker w uses
                  // [w * scratch_size(), ...)
  void *host;     // for host_call
  /// Calls the extern function of program step `step`: pointers of its inputs, then the result;
  /// dims of all of them one after the other. Returns 0 or nonzero to stop.
  int32_t (*host_call)(void *host, int32_t step, void *const *ptrs, const int64_t *dims);
  /// First failed bounds check: 0 none, else 1 + (step << 16 | site); written with atomics.
  int64_t error_site;
  int64_t error_index;  // the offending index (racy between several, any one of them)
  // Device code: called instead of parallel_for. `kernel` is a number of f_kernels. args: the
  // kernel's parameters, words of 8 bytes as tcf_kernel_info says, buffers being device addresses;
  // maps: per tensor map its dims, innermost first, then its strides in bytes without the
  // innermost. Starts `tiles` grid tiles; returns 0, or nonzero to stop the call.
  void *device;
  int32_t (*launch)(void *device, int32_t kernel, int64_t *args, int64_t tiles,
                    const int64_t *maps);
} tcf_frame;

#ifndef TCF_CALL_STATUS  // the headers of libraries have it too
#define TCF_CALL_STATUS
enum {
  TCF_CALL_OK = 0,
  TCF_CALL_INDEX = 1,  // an index out of range
  // Of libraries:
  TCF_CALL_ARGUMENTS = 4,  // sizes or addresses that do not suit
  TCF_CALL_MEMORY = 5
};
#endif
#ifndef TCF_CALL_STATUS_DEVICE
#define TCF_CALL_STATUS_DEVICE
enum { TCF_CALL_LAUNCH = 3 };  // the device or its driver failed
#endif
enum { TCF_CALL_HOST = 2 };  // a host function failed

// Beside each function f, the object exports
//   int64_t f_arena_size(const int64_t *symbols);    bytes for frame->arena
//   int64_t f_scratch_size(const int64_t *symbols);  bytes per worker

// Device code. Its host object exports besides
//   const tcf_kernel_info f_kernels[];   ended by one with a null name
//   const char f_image[];                cubin, or PTX text ended by a zero byte
//   const int64_t f_image_size;
// A kernel's parameters are `words` words: the address of its tcf_device_error, the site base
// (step << 16), the number of grid tiles, the open symbols, the buffers, the tickets where
// ticket_word says so; then one CUtensorMap (128 bytes, aligned to 64) per map. Arena, params and outputs are device
// addresses; host_call gets device addresses too.

/// Written by kernels where a bounds check fails; zero before.
typedef struct tcf_device_error {
  int64_t site;   // as tcf_frame.error_site
  int64_t index;
} tcf_device_error;

enum { TCF_KERNEL_ERROR, TCF_KERNEL_SITE, TCF_KERNEL_TILES, TCF_KERNEL_SYMBOLS };  // words

/// Bytes of the tickets of a kernel whose blocks finish together: all zero before, and again when it is
/// done; no other kernel may have them meanwhile. The launcher gives their address.
enum { TCF_TICKET_BYTES = 4096 };

typedef struct tcf_map_info {
  int32_t word;       // of the buffer
  int32_t rank;
  int32_t element_bytes;
  int32_t swizzle;    // bytes: 0 or 128
  int32_t box[5];     // innermost first
} tcf_map_info;

typedef struct tcf_kernel_info {
  const char *name;
  int32_t words;
  int32_t threads;        // of a block
  int32_t shared_bytes;   // dynamic
  int32_t cluster;        // blocks; 1: none
  int32_t blocks_per_sm;  // grid = min(tiles, that many on each multiprocessor); 0: all tiles,
  int32_t size_word;      // as where this word (0: none) is more than
  int32_t size_most;
  int32_t ticket_word;  // of the tickets' address; 0: none
  int32_t nmaps;
  int32_t reserved;
  const tcf_map_info *maps;
} tcf_kernel_info;
#endif
