// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors in memory: construction with overflow checks, strided copies.
#include "runtime/tensor.h"

#include <stdlib.h>
#include <string.h>

bool tensor_count(dtype t, int rank, const int64_t *dims, int64_t *elements, int64_t *bytes) {
  // Zero-sized axes do not excuse the others: strides are computed from all of them.
  int64_t n = 1;
  bool empty = false;
  for (int k = 0; k < rank; k++) {
    if (dims[k] < 0) return false;
    if (dims[k] == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(n, dims[k], &n) || n > INT64_MAX / 4) {
      return false;
    }
  }
  if (n > INT64_MAX / 4 / dtype_bytes(t)) return false;
  *elements = empty ? 0 : n;
  *bytes = *elements * dtype_bytes(t);
  return true;
}

static tensor *tensor_shell(dtype t, int rank, const int64_t *dims, int64_t *bytes, error *e) {
  if (rank < 0 || rank > TENSOR_MAX_RANK) {
    error_set(e, ERROR_USAGE, "a tensor has at most %d axes, not %d", TENSOR_MAX_RANK, rank);
    return NULL;
  }
  for (int k = 0; k < rank; k++)
    if (dims[k] < 0) {
      error_set(e, ERROR_USAGE, "axis %d of a tensor has the negative size %lld", k,
                (long long)dims[k]);
      return NULL;
    }
  int64_t elements;
  if (!tensor_count(t, rank, dims, &elements, bytes)) {
    error_set(e, ERROR_USAGE, "a tensor of these sizes would have more than 2^61 bytes");
    return NULL;
  }
  tensor *x = calloc(1, sizeof *x);
  if (!x) {
    error_set(e, ERROR_MEMORY, "out of memory");
    return NULL;
  }
  x->type = t;
  x->rank = rank;
  int64_t stride = dtype_bytes(t);
  for (int k = rank - 1; k >= 0; k--) {
    x->dims[k] = dims[k];
    x->strides[k] = stride;
    if (dims[k]) stride *= dims[k];
  }
  return x;
}

tensor *tensor_new(dtype t, int rank, const int64_t *dims, error *e) {
  int64_t bytes;
  tensor *x = tensor_shell(t, rank, dims, &bytes, e);
  if (!x) return NULL;
  x->data = x->owned = tensor_memory((size_t)bytes);
  if (x->owned) return x;
  free(x);
  tensor_memory_error(e, "a tensor", bytes);
  return NULL;
}

tensor *tensor_borrow(dtype t, int rank, const int64_t *dims, const int64_t *strides, void *data,
                      error *e) {
  int64_t bytes;
  tensor *x = tensor_shell(t, rank, dims, &bytes, e);
  if (!x) return NULL;
  x->data = data;
  if (strides) memcpy(x->strides, strides, sizeof *strides * (size_t)rank);
  if (!data && bytes) {
    free(x);
    error_set(e, ERROR_USAGE, "a tensor of %lld bytes needs memory, not a null pointer",
              (long long)bytes);
    return NULL;
  }
  return x;
}

void tensor_free(tensor *t) {
  if (!t) return;
  if (t->release)
    t->release(t);
  else
    free(t->owned);
  free(t);
}

int64_t tensor_elements(const tensor *t) {
  int64_t n = 1;
  for (int k = 0; k < t->rank; k++) n *= t->dims[k];
  return n;
}

int64_t tensor_bytes(const tensor *t) { return tensor_elements(t) * dtype_bytes(t->type); }

bool tensor_is_contiguous(const tensor *t) {
  int64_t stride = dtype_bytes(t->type);
  for (int k = t->rank - 1; k >= 0; k--) {
    if (t->dims[k] == 0) return true;
    if (t->dims[k] != 1 && t->strides[k] != stride) return false;
    stride *= t->dims[k];
  }
  return true;
}

bool tensor_is_aligned(const tensor *t) {
  int64_t size = dtype_bytes(t->type);
  if ((uintptr_t)t->data % (uintptr_t)size) return false;
  for (int k = 0; k < t->rank; k++)
    if (t->dims[k] > 1 && t->strides[k] % size) return false;
  return true;
}

void tensor_extent(const tensor *t, const char **begin, const char **end) {
  *begin = *end = t->data;
  if (!tensor_elements(t)) return;
  *end += dtype_bytes(t->type);
  for (int k = 0; k < t->rank; k++) {
    int64_t span = (t->dims[k] - 1) * t->strides[k];
    *(span < 0 ? begin : end) += span;
  }
}

bool tensor_overlaps(const tensor *a, const tensor *b) {
  const char *a0, *a1, *b0, *b1;
  tensor_extent(a, &a0, &a1);
  tensor_extent(b, &b0, &b1);
  return a0 < b1 && b0 < a1;
}

static void copy_row(char *to, int64_t to_stride, const char *from, int64_t from_stride, int64_t n,
                     int size) {
  if (to_stride == size && from_stride == size) {
    memcpy(to, from, (size_t)(n * size));
    return;
  }
  switch (size) {  // constant sizes become plain moves
    case 1:
      for (; n--; to += to_stride, from += from_stride) memcpy(to, from, 1);
      break;
    case 2:
      for (; n--; to += to_stride, from += from_stride) memcpy(to, from, 2);
      break;
    case 4:
      for (; n--; to += to_stride, from += from_stride) memcpy(to, from, 4);
      break;
    default:
      for (; n--; to += to_stride, from += from_stride) memcpy(to, from, 8);
      break;
  }
}

void tensor_copy(tensor *to, const tensor *from) {
  int size = dtype_bytes(to->type), last = to->rank - 1;
  if (!tensor_elements(to)) return;
  if (tensor_is_contiguous(to) && tensor_is_contiguous(from)) {
    memcpy(to->data, from->data, (size_t)tensor_bytes(to));
    return;
  }
  int64_t at[TENSOR_MAX_RANK] = {0};
  char *d = to->data;
  const char *s = from->data;
  for (;;) {
    copy_row(d, to->strides[last], s, from->strides[last], to->dims[last], size);
    int k = last - 1;
    for (; k >= 0; k--) {
      d += to->strides[k];
      s += from->strides[k];
      if (++at[k] < to->dims[k]) break;
      d -= to->dims[k] * to->strides[k];
      s -= to->dims[k] * from->strides[k];
      at[k] = 0;
    }
    if (k < 0) return;
  }
}

tensor *tensor_compact(const tensor *t, error *e) {
  tensor *copy = tensor_new(t->type, t->rank, t->dims, e);
  if (copy) tensor_copy(copy, t);
  return copy;
}

scalar tensor_at(const tensor *t, int64_t i) {
  const char *p = t->data;
  for (int k = t->rank - 1; k >= 0; k--) {
    p += i % t->dims[k] * t->strides[k];
    i /= t->dims[k];
  }
  return scalar_load(p, t->type);
}
