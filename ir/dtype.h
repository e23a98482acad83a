// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Element types.
#pragma once
#include <stdbool.h>

#include "base/str.h"

/// name, bytes, class (F float, I signed, U unsigned, B bool), numpy descr
#define DTYPES(X)     \
  X(f64, 8, F, "f8")  \
  X(f32, 4, F, "f4")  \
  X(f16, 2, F, "f2")  \
  X(bf16, 2, F, "")   \
  X(i64, 8, I, "i8")  \
  X(i32, 4, I, "i4")  \
  X(i16, 2, I, "i2")  \
  X(i8, 1, I, "i1")   \
  X(u8, 1, U, "u1")   \
  X(bool, 1, B, "b1") \
  X(u64, 8, U, "u8")  \
  X(u32, 4, U, "u4")  \
  X(u16, 2, U, "u2")

typedef enum dtype {
#define X(name, bytes, class, npy) DT_##name,
  DTYPES(X)
#undef X
      DT_COUNT
} dtype;

int dtype_bytes(dtype t);
const char *dtype_name(dtype t);
bool dtype_parse(str name, dtype *out);
bool dtype_is_float(dtype t);  // f64 f32 f16 bf16
/// A cast that loses nothing of any value: f32 to f64, bf16 to f32, i16 to f32, bool to any...
bool dtype_cast_is_exact(dtype from, dtype to);
bool dtype_is_int(dtype t);       // i64 i32 i16 i8 u64 u32 u16 u8
bool dtype_is_unsigned(dtype t);  // u64 u32 u16 u8 bool: widened with zeros
bool dtype_is_storage(dtype t);   // f16 bf16: loaded, stored, cast and contracted, never added

/// Rounds or wraps a value to what an element of type t holds (floats: round to nearest even;
/// ints: truncation toward zero, then wrap-around; out-of-range float to int saturates, NaN to 0).
/// Floats travel as double, integers as int64_t, of u64 the one with the same bits.
typedef union scalar {
  double f;
  int64_t i;
} scalar;
scalar scalar_cast(scalar v, dtype from, dtype to);
/// a < b as values of type t; false when either is NaN.
bool scalar_less(scalar a, scalar b, dtype t);
/// The value as the nearest double.
double scalar_double(scalar v, dtype t);
/// The smallest (or largest) value of an integer type or bool.
scalar scalar_limit(dtype t, bool largest);
/// Reads and writes one element in memory format.
scalar scalar_load(const void *p, dtype t);
void scalar_store(void *p, dtype t, scalar v);

/// Text of a value: "1.0", "0.1" (the shortest that reads back as that value of type t), "-inf",
/// "nan", "42", "true"; and the value of such a text, false when t cannot hold it.
void scalar_print(scalar v, dtype t, strbuf *out);
bool scalar_parse(str text, dtype t, scalar *out);
