// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors in the memory of a device, and copies between any two tensors.
#pragma once
#include "runtime/cuda.h"
#include "runtime/tensor.h"

/// As tensor_new and tensor_borrow, in memory of the device; such a tensor keeps the device open.
tensor *cuda_tensor_new(cuda_device *d, dtype t, int rank, const int64_t *dims, error *e);
tensor *cuda_tensor_borrow(cuda_device *d, dtype t, int rank, const int64_t *dims,
                           const int64_t *strides, void *data, error *e);
/// Number of the device; -1: the host's memory.
int tensor_ordinal(const tensor *t);
/// The same elements and strides on the same device, the first element at a multiple of 16 bytes.
tensor *cuda_tensor_realigned(const tensor *t, error *e);
/// Copies between any tensors of one type and one shape; their memory must not overlap. On one
/// device the copy is in the order of its stream; others have happened when it returns. Tensors
/// with gaps or permuted axes go by way of the host.
bool tensor_transfer(tensor *to, const tensor *from, error *e);
/// A row-major copy in the host's memory.
tensor *tensor_to_host(const tensor *t, error *e);
