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
#pragma once
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
} tcf_frame;

enum { TCF_CALL_OK = 0, TCF_CALL_INDEX = 1, TCF_CALL_HOST = 2 };

// Beside each function f, the object exports
//   int64_t f_arena_size(const int64_t *symbols);    bytes for frame->arena
//   int64_t f_scratch_size(const int64_t *symbols);  bytes per worker
