// The stated error bounds of the inline float functions, on every instruction set this machine has
// and as scalar code, against MPFR (f64) and libm in double, itself checked against MPFR (f32).
//
// TCF_MATH_POINTS=n   random significands per exponent (default 256 for f32, 4 for f64)
// TCF_EXHAUSTIVE=1    all 2^32 arguments of the unary f32 functions
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

#define EACH(X) \
  X(exp) X(exp2) X(expm1) X(log) X(log2) X(log1p) X(sqrt) X(rsqrt) X(tanh) X(erf) X(sigmoid) \
  X(sin) X(cos) X(tan) X(atan) X(pow)

#define BOUND_TEST(name)                                                   \
  Test(math_ulp, name##_f32) { check_function(OP_##name, DT_f32); }        \
  Test(math_ulp, name##_f64) { check_function(OP_##name, DT_f64); }
EACH(BOUND_TEST)
