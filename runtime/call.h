// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calling functions with plain C signatures whose types are only known now, through libffi.
#pragma once
#include "codegen/abi.h"
#include "runtime/tensor.h"

/// int32_t f(pointers..., int64_t..., [tcf_frame *]): codegen/abi.h.
typedef struct call_shape {
  void *private_;  // the prepared ffi_cif and its types
  int npointers, nints;
  bool frame;
} call_shape;

bool call_prepare(call_shape *s, int npointers, int nints, bool frame, error *e);
void call_release(call_shape *s);
int32_t call_invoke(const call_shape *s, void (*function)(void), void *const *pointers,
                    const int64_t *ints, tcf_frame *frame);
