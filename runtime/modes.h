// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The floating point modes of a thread: rounding, traps, and what happens to denormal numbers.
//
// A host may have changed them (fesetround, feenableexcept, flush-to-zero). What the library
// computes, while compiling and in kernels, is defined by the default modes, so that every entry
// into it, and every thread that runs ranges of a kernel, sets them and puts back what was there.
#pragma once
#include <stdbool.h>
#include <stdint.h>

typedef struct float_modes {
  uint32_t vector;  // MXCSR
  uint16_t x87;     // long double, and what strtod and printf round by
  bool changed;
} float_modes;

/// To the default modes; flush: denormal operands and results count as zero. Returns what to give to
/// float_modes_leave(). Modes that are as wanted are left alone: then exception flags add up as they
/// do in any function; else they are restored too.
float_modes float_modes_enter(bool flush);
void float_modes_leave(float_modes before);
