// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// kernel_sum of examples/streaming/pairs.tdsl for points in space, written out by hand: bench/run.sh
// compiles it with -O3 -march=native -ffast-math, with which the compiler makes vectors of the inner
// loop and takes the C library's expf for them.
#include <math.h>

void pairs_loops(const float *restrict x, const float *restrict y, const float *restrict w,
                 float *restrict out, long rows, long columns) {
  for (long i = 0; i < rows; i++) {
    float sum = 0;
    for (long j = 0; j < columns; j++) {
      float a = x[3 * i] - y[3 * j], b = x[3 * i + 1] - y[3 * j + 1], c = x[3 * i + 2] - y[3 * j + 2];
      sum += w[j] * expf(-(a * a + b * b + c * c));
    }
    out[i] = sum;
  }
}

/// The same with y brought into columns first; `scratch` has the size of y.
void pairs_columns(const float *restrict x, const float *restrict y, const float *restrict w,
                   float *restrict out, long rows, long columns, float *restrict scratch) {
  for (long j = 0; j < columns; j++)
    for (int k = 0; k < 3; k++) scratch[k * columns + j] = y[3 * j + k];
  const float *y0 = scratch, *y1 = y0 + columns, *y2 = y1 + columns;
  for (long i = 0; i < rows; i++) {
    float sum = 0;
    for (long j = 0; j < columns; j++) {
      float a = x[3 * i] - y0[j], b = x[3 * i + 1] - y1[j], c = x[3 * i + 2] - y2[j];
      sum += w[j] * expf(-(a * a + b * b + c * c));
    }
    out[i] = sum;
  }
}
