// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Arguments and references of the float functions, and the error of a result in ulps.
#pragma once
#include <stdint.h>

#include "ir/op.h"

/// n values of the type (float or double), malloc'd: every exponent with random significands of
/// both signs (more of them around 1), the special values, the neighbourhoods where the function is
/// hard, uniform stretches. Deterministic. *n is a multiple of 16.
void *math_points(op o, dtype t, int operand, int per_exponent, int64_t *n);

/// The exact value to at least 64 bits, by MPFR.
long double math_exact(op o, long double x, long double y);
/// The same from libm in double: good enough (1e-8 ulp) to judge f32.
double math_reference(op o, double x, double y);

/// |got - exact| in units in the last place of t at exact. 0 for two NaN and for equal infinities;
/// infinite when only one is NaN, or a zero has the wrong sign. Overflow counts as 2^emax+1.
double math_ulp_error(dtype t, long double got, long double exact);
