// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How far two tensors are apart: absolute, relative, and in units in the last place.
#include <float.h>
#include <math.h>

#include "runtime/tensor.h"

static int mantissa_bits(dtype t) {
  return t == DT_f64 ? 53 : t == DT_f32 ? 24 : t == DT_f16 ? 11 : 8;
}

static int smallest_exponent(dtype t) {  // of the last place of subnormals
  return t == DT_f64 ? -1074 : t == DT_f32 ? -149 : t == DT_f16 ? -24 : -133;
}

// The spacing of values of type t at magnitude |v|.
static double last_place(dtype t, double v) {
  int exponent;
  frexp(v, &exponent);
  exponent -= mantissa_bits(t);
  int least = smallest_exponent(t);
  return ldexp(1, v == 0 || exponent < least ? least : exponent);
}

// How far outside the tolerance: <= 0 inside.
static double excess(double got, double wanted, double tolerance, double scale) {
  if (isnan(wanted) || isnan(got)) return isnan(wanted) && isnan(got) ? -1 : INFINITY;
  if (isinf(wanted) || isinf(got)) return got == wanted ? -1 : INFINITY;
  return fabs(got - wanted) - tolerance * fmax(fabs(wanted), scale);
}

static double largest(const tensor *t, int64_t n) {
  double scale = 0;
  for (int64_t i = 0; i < n; i++) {
    double v = fabs(scalar_double(tensor_at(t, i), t->type));
    if (v > scale && v <= DBL_MAX) scale = v;
  }
  return scale;
}

tensor_difference tensor_compare(const tensor *got, const tensor *wanted, double tolerance) {
  dtype t = got->type;
  tensor_difference d = {.elements = tensor_elements(got), .worst = -1};
  d.scale = largest(wanted, d.elements);
  double worst = 0;
  for (int64_t i = 0; i < d.elements; i++) {
    scalar gs = tensor_at(got, i), ws = tensor_at(wanted, i);
    double g = scalar_double(gs, t), w = scalar_double(ws, t);
    // Integers beyond 2^53 are equal as doubles before they are equal.
    d.nan += isnan(g) && isnan(w);
    d.infinite += isinf(g) && g == w;
    bool same = dtype_is_float(t) ? g == w || (isnan(g) && isnan(w)) : gs.i == ws.i;
    if (same) continue;
    double by = excess(g, w, tolerance, d.scale), apart = fabs(g - w);
    if (by > 0 || (tolerance == 0 && !dtype_is_float(t))) d.failed++;
    if (d.worst < 0 || by > worst) {
      worst = by;
      d.worst = i;
      d.got = g;
      d.wanted = w;
    }
    if (!(apart <= DBL_MAX)) apart = INFINITY;  // NaN or inf against a number
    d.max_abs = fmax(d.max_abs, apart);
    d.max_rel = fmax(d.max_rel, w != 0 ? apart / fabs(w) : INFINITY);
    if (dtype_is_float(t)) d.max_ulp = fmax(d.max_ulp, apart / last_place(t, w));
  }
  return d;
}
