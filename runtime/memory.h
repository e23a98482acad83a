// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Memory of tensors, arenas and scratch.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/error.h"

enum { TENSOR_ALIGNMENT = 64 };

/// 64-byte aligned, in huge pages when large. Null: exhausted, or more than the limit of 512 GiB.
void *tensor_memory(size_t bytes);
/// Says which, and returns false; what: "a tensor".
bool tensor_memory_error(error *e, const char *what, int64_t bytes);

/// Memory that grows and is kept between calls: the planned arena and the scratch of workers.
typedef struct call_memory {
  void *data;
  size_t size;
} call_memory;
bool call_memory_reserve(call_memory *m, int64_t size, error *e);
void call_memory_release(call_memory *m);
