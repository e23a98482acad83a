// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Time per element of the inline float functions, in L1, on every instruction set of this machine:
// the least of many short runs, in nanoseconds.
//
//   build/bench-math [function...]
//   function    avx512   avx2     sse2    | f64: avx512   avx2     sse2
//   exp         0.160    0.31 ...
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/math_jit.h"

enum { ELEMENTS = 2048, RUNS = 400, REPEAT = 4 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/// Normal-looking arguments without subnormals: sums of four uniforms, positive where needed.
static void fill(dtype t, void *out, bool positive) {
  unsigned state = 12345;
  for (int k = 0; k < ELEMENTS; k++) {
    double v = 0;
    for (int n = 0; n < 4; n++) {
      state = state * 1664525u + 1013904223u;
      v += (double)(state >> 8) * 0x1p-24;
    }
    v = (v - 2) * 2;
    if (positive) v = v * v + 0.01;
    if (t == DT_f64) ((double *)out)[k] = v;
    else ((float *)out)[k] = (float)v;
  }
}

static double time_loop(math_loop *loop, void *out, const void *a, const void *b) {
  double best = 1;
  for (int k = 0; k < RUNS; k++) {
    double start = now();
    for (int n = 0; n < REPEAT; n++) loop(out, a, b, a, ELEMENTS);
    double t = (now() - start) / (ELEMENTS * REPEAT);
    if (t < best) best = t;
  }
  return best * 1e9;
}

static bool wanted(const char *name, char **list) {
  if (!*list) return true;
  for (; *list; list++)
    if (!strcmp(*list, name)) return true;
  return false;
}

int main(int argc, char **argv) {
  (void)argc;
  static _Alignas(64) double a[ELEMENTS], b[ELEMENTS], out[ELEMENTS];
  int count;
  const math_target *targets = math_targets(&count);
  math_jit *j = math_jit_new();
  printf("%-10s", "ns");
  for (int t = 0; t < 2; t++)
    for (int k = 0; k < count; k++)
      printf(" %s %-7s", t ? "f64" : "f32", targets[k].name);
  printf("\n");
  for (int o = 0; o < OP_COUNT; o++) {
    const op_info *info = op_get((op)o);
    bool float_op = op_is_map((op)o) && (info->types == TYPES_FLOAT || info->types == TYPES_NUM);
    if (!float_op || !wanted(info->name, argv + 1)) continue;
    printf("%-10s", info->name);
    for (int t = 0; t < 2; t++) {
      dtype type = t ? DT_f64 : DT_f32;
      bool root = o == OP_sqrt || o == OP_rsqrt;
      bool positive = root || o == OP_pow || !strncmp(info->name, "log", 3);
      fill(type, a, positive);
      fill(type, b, false);
      for (int k = 0; k < count; k++) {
        int lanes = targets[k].vector_bytes / dtype_bytes(type);
        math_loop *loop = math_jit_loop(j, &targets[k], (op)o, type, type, lanes);
        printf(" %11.3f", time_loop(loop, out, a, b));
      }
    }
    printf("\n");
    fflush(stdout);
  }
  math_jit_free(j);
  return 0;
}
