// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See runtime/memory.h.
#define _DEFAULT_SOURCE
#include "runtime/memory.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, LARGEST_GIB = 512 };
static const size_t LARGEST = (size_t)LARGEST_GIB << 30;

void *tensor_memory(size_t bytes) {
  size_t alignment = bytes >= 2 * (size_t)HUGE_PAGE ? HUGE_PAGE : TENSOR_ALIGNMENT;
  if (bytes > LARGEST) return NULL;
  // Whole vectors, so that reading a last partial one stays inside the block.
  size_t size = (bytes + TENSOR_ALIGNMENT - 1) / TENSOR_ALIGNMENT * TENSOR_ALIGNMENT;
  if (!size) size = TENSOR_ALIGNMENT;
  size = (size + alignment - 1) / alignment * alignment;
  void *p = aligned_alloc(alignment, size);
  // 4 KB pages cost a fault each on the first write of an output.
  if (p && alignment == HUGE_PAGE) madvise(p, size, MADV_HUGEPAGE);
  return p;
}

bool tensor_memory_error(error *e, const char *what, int64_t bytes) {
  if ((uint64_t)bytes > LARGEST)
    return error_set(e, ERROR_USAGE, "%s of %lld bytes is beyond the limit of %d GiB", what,
                     (long long)bytes, LARGEST_GIB);
  return error_set(e, ERROR_MEMORY, "out of memory for %s of %lld bytes", what, (long long)bytes);
}

bool call_memory_reserve(call_memory *m, int64_t size, error *e) {
  if (size <= 0 || (uint64_t)size <= m->size) return true;
  free(m->data);
  m->data = tensor_memory((size_t)size);
  m->size = m->data ? (size_t)size : 0;
  return m->data || tensor_memory_error(e, "an arena for intermediates", size);
}

void call_memory_release(call_memory *m) {
  free(m->data);
  *m = (call_memory){0};
}
