// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See runtime/modes.h.
#include "runtime/modes.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum {
  MXCSR_DEFAULT = 0x1f80,  // nearest, all traps off, denormals are numbers
  MXCSR_FLAGS = 0x3f,
  FTZ_DAZ = 0x8040,
  X87_DEFAULT = 0x37f
};

static uint16_t x87_get(void) {
  uint16_t word;
  __asm__ volatile("fnstcw %0" : "=m"(word));
  return word;
}

/// Flags that are set would trap as soon as their traps are on.
static void x87_set(uint16_t word) { __asm__ volatile("fnclex\n\tfldcw %0" : : "m"(word)); }

float_modes float_modes_enter(bool flush) {
  float_modes before = {_mm_getcsr(), x87_get(), true};
  uint32_t wanted = MXCSR_DEFAULT | (flush ? FTZ_DAZ : 0);
  before.changed = (before.vector & ~(uint32_t)MXCSR_FLAGS) != wanted || before.x87 != X87_DEFAULT;
  if (!before.changed) return before;
  _mm_setcsr(wanted);
  x87_set(X87_DEFAULT);
  return before;
}

void float_modes_leave(float_modes before) {
  if (!before.changed) return;
  _mm_setcsr(before.vector);
  x87_set(before.x87);
}
#else
// Only x86-64 has been built for so far.
float_modes float_modes_enter(bool flush) {
  (void)flush;
  return (float_modes){0};
}
void float_modes_leave(float_modes before) { (void)before; }
#endif
