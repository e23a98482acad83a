// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tensors: an element type, sizes, byte strides, and memory that is owned or borrowed; of the host, or
// of a device (runtime/cuda_tensor.h makes those).
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ir/dtype.h"
#include "runtime/error.h"
#include "runtime/memory.h"

enum { TENSOR_MAX_RANK = 16 };

// The public header names the same struct tcf_tensor and keeps it opaque.
typedef struct tcf_tensor tensor;
struct tcf_tensor {
  dtype type;
  int rank;
  int64_t dims[TENSOR_MAX_RANK];
  int64_t strides[TENSOR_MAX_RANK];  // in bytes; may be negative, or 0 to repeat
  void *data;                        // element [0, 0, ...]; never null when elements exist
  void *owned;                       // what tensor_free releases; null: borrowed
  struct cuda_device *device;        // whose memory it is; null: the host's
  void (*release)(tensor *t);        // instead of free(owned)
};

/// Row-major, contiguous, 64-byte aligned; the elements are unspecified. Null with *e when the
/// sizes overflow or memory is exhausted.
tensor *tensor_new(dtype t, int rank, const int64_t *dims, error *e);
/// Borrows `data`, which must outlive the tensor; strides null: row-major contiguous.
tensor *tensor_borrow(dtype t, int rank, const int64_t *dims, const int64_t *strides, void *data,
                      error *e);
void tensor_free(tensor *t);

// What follows, up to the end of the file, is for memory of the host; what asks for sizes and
// addresses only takes any.

/// Number of elements; the constructors guarantee that it and the bytes fit an int64_t.
int64_t tensor_elements(const tensor *t);
int64_t tensor_bytes(const tensor *t);
/// Row-major without gaps (strides of axes of size 1 do not matter).
bool tensor_is_contiguous(const tensor *t);
/// Every element address is a multiple of the element size.
bool tensor_is_aligned(const tensor *t);
/// The byte range [*begin, *end) its elements lie in; empty tensors: begin == end.
void tensor_extent(const tensor *t, const char **begin, const char **end);
bool tensor_overlaps(const tensor *a, const tensor *b);
/// Copies element by element; type and sizes must be equal, the memory must not overlap.
void tensor_copy(tensor *to, const tensor *from);
/// A contiguous copy. Null with *e when out of memory.
tensor *tensor_compact(const tensor *t, error *e);

/// The elements of t as a scalar in row-major order, number i of tensor_elements().
scalar tensor_at(const tensor *t, int64_t i);

/// elements = product of dims, bytes = elements * size; false when a size is negative or a
/// product exceeds INT64_MAX / 4.
bool tensor_count(dtype t, int rank, const int64_t *dims, int64_t *elements, int64_t *bytes);

// ---- filling (runtime/fill.c)

/// Standard normal for floats; integers uniform in [0, 8); bool a fair coin. The element at
/// position i depends on (seed, i) alone.
void tensor_fill_random(tensor *t, uint64_t seed);
/// Uniform in [low, high) (integers: of whole numbers).
void tensor_fill_uniform(tensor *t, uint64_t seed, double low, double high);
void tensor_fill_value(tensor *t, scalar v, dtype from);
/// 0, 1, 2 ... in row-major order.
void tensor_fill_iota(tensor *t);

// ---- comparing (runtime/compare.c)

typedef struct tensor_difference {
  int64_t elements;
  int64_t worst;  // position of the largest excess over the tolerance; -1 all equal
  double max_abs, max_rel;
  double max_ulp;      // in units in the last place of the type, at the reference's magnitude
  double scale;        // largest finite |reference|
  int64_t failed;      // elements outside the tolerance
  int64_t nan, infinite;  // elements that are so in both, the infinities equal
  double got, wanted;  // at `worst`
} tensor_difference;

/// |got - wanted| <= tolerance * max(|wanted|, scale) elementwise, NaN only against NaN,
/// infinities only against equal ones; integers and bool must be equal when tolerance is 0.
/// Types and sizes must be equal.
tensor_difference tensor_compare(const tensor *got, const tensor *wanted, double tolerance);
