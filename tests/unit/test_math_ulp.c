// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The stated error bounds of the inline float functions, on every instruction set this machine has
// and as scalar code, against MPFR (f64) and libm in double, itself checked against MPFR (f32).
//
// TCF_MATH_POINTS=n   random significands per exponent (default 256 for f32, 4 for f64)
// TCF_EXHAUSTIVE=n    every n-th of the 2^32 arguments of the unary f32 functions, n odd or 1
// TCF_MATH_TABLE=1    prints the largest errors measured, for docs/math.md
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "codegen/emit.h"
#include "tests/unit/math_jit.h"
#include "tests/unit/math_points.h"

typedef struct sample {
  dtype t;
  op o;
  int64_t n;
  void *x, *y;
  long double *exact;
} sample;

static long double element(dtype t, const void *data, int64_t i) {
  return t == DT_f64 ? (long double)((const double *)data)[i]
                     : (long double)((const float *)data)[i];
}

/// For f32 the double is the reference where it is far from both the bound and a tie of rounding
/// (where its own error cannot matter); a sample of points checks that claim.
static void fill_exact(sample *s) {
  s->exact = malloc((size_t)s->n * sizeof *s->exact);
  for (int64_t i = 0; i < s->n; i++) {
    long double x = element(s->t, s->x, i), y = s->y ? element(s->t, s->y, i) : 0;
    if (s->t == DT_f64) {
      s->exact[i] = math_exact(s->o, x, y);
      continue;
    }
    s->exact[i] = math_reference(s->o, (double)x, (double)y);
    if (i % 97 == 0)
      cr_expect(math_ulp_error(DT_f32, s->exact[i], math_exact(s->o, x, y)) < 1e-6,
                "libm's %s(%La, %La) in double is %La", op_get(s->o)->name, x, y, s->exact[i]);
  }
}

static double worst_error(const sample *s, const void *got, int64_t *where) {
  double worst = 0;
  *where = 0;
  for (int64_t i = 0; i < s->n; i++) {
    double error = math_ulp_error(s->t, element(s->t, got, i), s->exact[i]);
    if (error > worst) worst = error, *where = i;
  }
  return worst;
}

static void check_on(math_jit *j, const sample *s, const math_target *target, int lanes) {
  math_loop *loop = math_jit_loop(j, target, s->o, s->t, s->t, lanes);
  void *got = malloc((size_t)s->n * (size_t)dtype_bytes(s->t));
  loop(got, s->x, s->y, NULL, s->n);
  int64_t at;
  double worst = worst_error(s, got, &at), bound = math_ulp_bound(s->o, s->t);
  if (getenv("TCF_MATH_TABLE"))
    fprintf(stderr, "%-8s %s %-7s x%-2d max %7.4f bound %.2f at %La\n", op_get(s->o)->name,
            dtype_name(s->t), target->name, lanes, worst, bound, element(s->t, s->x, at));
  cr_expect(worst <= bound, "%s %s %s x%d: %s(%La, %La) = %La, exact %La: %g ulp, bound %g",
            op_get(s->o)->name, dtype_name(s->t), target->name, lanes, op_get(s->o)->name,
            element(s->t, s->x, at), s->y ? element(s->t, s->y, at) : 0.0L,
            element(s->t, got, at), s->exact[at], worst, bound);
  free(got);
}

static void check_function(op o, dtype t) {
  const char *points = getenv("TCF_MATH_POINTS");
  int per_exponent = points ? atoi(points) : t == DT_f64 ? 4 : 256;
  sample s = {.t = t, .o = o};
  s.x = math_points(o, t, 0, per_exponent, &s.n);
  if (op_get(o)->arity > 1) s.y = math_points(o, t, 1, per_exponent, &s.n);
  fill_exact(&s);
  math_jit *j = math_jit_new();
  int count;
  const math_target *targets = math_targets(&count);
  for (int k = 0; k < count; k++) {
    int lanes = targets[k].vector_bytes / dtype_bytes(t);
    check_on(j, &s, &targets[k], lanes);
    check_on(j, &s, &targets[k], 0);
    if (targets[k].avx512) check_on(j, &s, &targets[k], lanes / 2);
  }
  math_jit_free(j);
  free(s.x);
  free(s.y);
  free(s.exact);
}

// ---- every argument

/// As math_ulp_error for f32 and an exact value in double; the usual case without long double.
static double fast_ulp_error(float got, double exact) {
  uint64_t bits;
  memcpy(&bits, &exact, 8);
  int exponent = (int)(bits >> 52 & 0x7ff) - 1023;
  if (exponent < -126 || exponent > 126) return math_ulp_error(DT_f32, got, exact);
  bits = (uint64_t)(exponent - 23 + 1023) << 52;
  double ulp;
  memcpy(&ulp, &bits, 8);
  return isfinite(got) ? fabs(got - exact) / ulp : INFINITY;
}

enum { CHUNK = 1 << 16 };

/// One chunk on every target; keeps the largest error of each and its argument.
static void check_chunk(op o, math_loop *const *loops, int count, const float *x, double *worst,
                        float *where) {
  static double exact[CHUNK];
  static float got[CHUNK];
  double bound = math_ulp_bound(o, DT_f32);
  for (int i = 0; i < CHUNK; i++) exact[i] = math_reference(o, x[i], 0);
  for (int k = 0; k < count; k++) {
    loops[k](got, x, NULL, NULL, CHUNK);
    for (int i = 0; i < CHUNK; i++) {
      double error = fast_ulp_error(got[i], exact[i]);
      if (error <= worst[k]) continue;
      if (error > bound) error = math_ulp_error(DT_f32, got[i], math_exact(o, x[i], 0));
      if (error > worst[k]) worst[k] = error, where[k] = x[i];
    }
  }
}

static void check_every(op o, uint32_t step) {
  math_jit *j = math_jit_new();
  int count;
  const math_target *targets = math_targets(&count);
  math_loop *loops[3];
  double worst[3] = {0};
  float where[3] = {0};
  for (int k = 0; k < count; k++)
    loops[k] = math_jit_loop(j, &targets[k], o, DT_f32, DT_f32, targets[k].vector_bytes / 4);
  static float x[CHUNK];
  uint64_t total = ((UINT64_C(1) << 32) + step - 1) / step;
  for (uint64_t first = 0; first < total; first += CHUNK) {
    for (uint64_t i = 0; i < CHUNK; i++) {
      uint32_t bits = (uint32_t)((first + i) * step);
      memcpy(&x[i], &bits, 4);
    }
    check_chunk(o, loops, count, x, worst, where);
  }
  for (int k = 0; k < count; k++) {
    fprintf(stderr, "%-8s f32 %-7s every %u-th: max %.4f ulp at %a\n", op_get(o)->name,
            targets[k].name, step, worst[k], where[k]);
    cr_expect(worst[k] <= math_ulp_bound(o, DT_f32));
  }
  math_jit_free(j);
}

#define EACH_UNARY(X)                                                                              \
  X(exp)                                                                                           \
  X(exp2)                                                                                          \
  X(expm1) X(log) X(log2) X(log1p) X(sqrt) X(rsqrt) X(tanh) X(erf) X(sigmoid) X(sin) X(cos) X(tan) \
      X(atan) X(asin) X(acos) X(sinh) X(cosh) X(erfc) X(log10)
#define EACH(X) EACH_UNARY(X) X(pow) X(atan2)

#define BOUND_TEST(name)                                                   \
  Test(math_ulp, name##_f32) { check_function(OP_##name, DT_f32); }        \
  Test(math_ulp, name##_f64) { check_function(OP_##name, DT_f64); }
EACH(BOUND_TEST)

#define EVERY_TEST(name)                                           \
  Test(math_ulp_every, name) {                                     \
    const char *step = getenv("TCF_EXHAUSTIVE");                   \
    if (!step) cr_skip_test("TCF_EXHAUSTIVE is not set");          \
    check_every(OP_##name, (uint32_t)strtoul(step, NULL, 10) | 1); \
  }
EACH_UNARY(EVERY_TEST)
