// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors of devices: see runtime/cuda_tensor.h.
#include "runtime/cuda_tensor.h"

#include <stdlib.h>

static void release(tensor *t) {
  if (t->owned) cuda_free(t->device, t->owned);
  cuda_close(t->device);
}

static tensor *place(cuda_device *d, tensor *t) {
  if (!t) return NULL;
  t->device = cuda_share(d);
  t->release = release;
  return t;
}

tensor *cuda_tensor_borrow(cuda_device *d, dtype t, int rank, const int64_t *dims,
                           const int64_t *strides, void *data, error *e) {
  return place(d, tensor_borrow(t, rank, dims, strides, data, e));
}

tensor *cuda_tensor_new(cuda_device *d, dtype t, int rank, const int64_t *dims, error *e) {
  // Checked as a borrowed tensor of some memory, then given its own.
  tensor *x = cuda_tensor_borrow(d, t, rank, dims, NULL, d, e);
  if (!x) return NULL;
  x->data = x->owned = cuda_alloc(d, (size_t)tensor_bytes(x), e);
  if (x->owned) return x;
  tensor_free(x);
  return NULL;
}

int tensor_ordinal(const tensor *t) {
  return t->device ? cuda_device_info(t->device)->ordinal : -1;
}

tensor *cuda_tensor_realigned(const tensor *t, error *e) {
  enum { ALIGNMENT = 16 };
  const char *begin, *end;
  tensor_extent(t, &begin, &end);
  size_t bytes = (size_t)(end - begin), before = (size_t)((const char *)t->data - begin);
  size_t pad = (ALIGNMENT - before % ALIGNMENT) % ALIGNMENT;
  char *memory = cuda_alloc(t->device, bytes + pad, e);
  if (!memory) return NULL;
  tensor *x = cuda_tensor_borrow(t->device, t->type, t->rank, t->dims, t->strides,
                                 memory + pad + before, e);
  if (!x) {
    cuda_free(t->device, memory);
    return NULL;
  }
  x->owned = memory;
  if (cuda_copy(t->device, CUDA_ON_DEVICE, memory + pad, begin, bytes, e)) return x;
  tensor_free(x);
  return NULL;
}

/// The bytes from the first to the last element, gaps included, in the host's memory.
static tensor *download(const tensor *t, error *e) {
  const char *begin, *end;
  tensor_extent(t, &begin, &end);
  size_t bytes = (size_t)(end - begin);
  char *memory = tensor_memory(bytes);
  if (!memory) {
    error_set(e, ERROR_MEMORY, "out of memory for a copy of %zu bytes", bytes);
    return NULL;
  }
  tensor *x = tensor_borrow(t->type, t->rank, t->dims, t->strides,
                            memory + ((const char *)t->data - begin), e);
  if (x && cuda_copy(t->device, CUDA_TO_HOST, memory, begin, bytes, e)) {
    x->owned = memory;
    return x;
  }
  tensor_free(x);
  free(memory);
  return NULL;
}

static bool upload(tensor *to, const tensor *from, error *e) {
  const char *begin, *end;
  tensor_extent(to, &begin, &end);
  if (tensor_is_contiguous(to)) {
    tensor *compact = tensor_is_contiguous(from) ? NULL : tensor_compact(from, e);
    if (!compact && !tensor_is_contiguous(from)) return false;
    bool ok = cuda_copy(to->device, CUDA_TO_DEVICE, to->data, compact ? compact->data : from->data,
                        (size_t)tensor_bytes(to), e);
    tensor_free(compact);
    return ok;
  }
  // What lies between the elements stays as it is.
  tensor *image = download(to, e);
  if (!image) return false;
  tensor_copy(image, from);
  bool ok =
      cuda_copy(to->device, CUDA_TO_DEVICE, (void *)begin, image->owned, (size_t)(end - begin), e);
  tensor_free(image);
  return ok;
}

/// Two sessions have streams of their own on one device, which nothing orders.
static bool copy_there(tensor *to, const tensor *from, error *e) {
  bool strangers = to->device != from->device;
  if (strangers && !cuda_wait(from->device, e)) return false;
  return cuda_copy(to->device, CUDA_ON_DEVICE, to->data, from->data, (size_t)tensor_bytes(to), e) &&
         (!strangers || cuda_wait(to->device, e));
}

bool tensor_transfer(tensor *to, const tensor *from, error *e) {
  bool plain = tensor_is_contiguous(to) && tensor_is_contiguous(from);
  if (!tensor_elements(to)) return true;
  if (!to->device && !from->device) return tensor_copy(to, from), true;
  if (!from->device) return upload(to, from, e);
  if (plain && !to->device)
    return cuda_copy(from->device, CUDA_TO_HOST, to->data, from->data, (size_t)tensor_bytes(to), e);
  if (plain && tensor_ordinal(to) == tensor_ordinal(from)) return copy_there(to, from, e);
  tensor *image = download(from, e);
  if (!image) return false;
  bool ok = tensor_transfer(to, image, e);
  tensor_free(image);
  return ok;
}

tensor *tensor_to_host(const tensor *t, error *e) {
  tensor *x = tensor_new(t->type, t->rank, t->dims, e);
  if (x && tensor_transfer(x, t, e)) return x;
  tensor_free(x);
  return NULL;
}
