// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements along axes: reductions, normalisations, products, running sums.
//
// Notation below: ea, ma are error and magnitude bounds of operand a; eps one rounding.
#include <math.h>
#include <stdio.h>

#include "tests/fuzz/gen_make.h"

bool without_axis(const gen_value *x, int axis, gen_value *v) {
  v->rank = 0;
  for (int i = 0; i < x->rank; i++)
    if (x->axes[i] != axis) v->axes[v->rank++] = x->axes[i];
  return v->rank < x->rank;
}

bool make_reduce(maker *m) {
  static const char *names[] = {"sum", "mean", "max", "min", "logsumexp", "prod", "sum", "max"};
  int which = pick(m, 8);
  bool ints = chance(m, 20);
  int a = pick_where(m, ints ? is_integer : is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  if (ints && (which == 1 || which == 4)) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x), second = pick_axis(m, x);
  if (second != axis && !chance(m, 25)) second = axis;
  double n = m->p->axes[axis].size;
  if (second != axis) n *= m->p->axes[second].size;
  if (n == 0 && !(which == 0 || which == 5 || which == 6)) return false;
  if (which == 5 && !ints && (n > 6 || x->magnitude > 4)) return false;
  char text[64];
  if (second != axis)
    snprintf(text, sizeof text, "%s($0, %s, %s)", names[which], m->p->axes[axis].name,
             m->p->axes[second].name);
  else snprintf(text, sizeof text, "%s($0, %s)", names[which], m->p->axes[axis].name);
  gen_value *v = start_value(m, x->type, text, a, -1, -1);
  without_axis(x, axis, v);
  if (second != axis) {
    gen_value once = *v;
    without_axis(&once, second, v);
  }
  double eps = type_eps(x->type), ea = x->error, ma = x->magnitude;
  switch (which) {
    case 0: case 6: v->magnitude = n * ma, v->error = n * ea + n * eps * n * ma; break;
    case 1: v->magnitude = ma, v->error = ea + (n + 2) * eps * ma; break;
    case 2: case 3: case 7: v->magnitude = ma, v->error = ea; break;
    case 4:
      v->magnitude = ma + log(n + 1);
      v->error = ea + (n + 16) * eps * (v->magnitude + 1);
      break;
    case 5:
      v->magnitude = n == 0 ? 1 : pow(fmax(ma, 1), n);
      v->error = n * pow(fmax(ma, 1) + ea, n - 1) * ea + n * eps * v->magnitude;
      break;
  }
  if (ints) v->magnitude = which == 5 ? integer_limit(v->type) : (n + 1) * ma, v->error = 0;
  return finish_value(m, v);
}

bool make_bool_reduce(maker *m) {
  int a = pick_where(m, is_bool);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x);
  char text[64];
  snprintf(text, sizeof text, "%s($0, %s)", chance(m, 50) ? "any" : "all", m->p->axes[axis].name);
  gen_value *v = start_value(m, GEN_BOOL, text, a, -1, -1);
  without_axis(x, axis, v);
  v->magnitude = 1;
  return finish_value(m, v);
}

bool make_arg(maker *m) {
  int a = pick_where(m, chance(m, 60) ? is_exact_float : chance(m, 80) ? is_integer : is_bool);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x), second = pick_axis(m, x);
  if (second != axis && !chance(m, 25)) second = axis;
  int n = m->p->axes[axis].size * (second != axis ? m->p->axes[second].size : 1);
  if (n == 0) return false;
  char text[64];
  const char *name = chance(m, 50) ? "argmax" : "argmin";
  if (second != axis)
    snprintf(text, sizeof text, "%s($0, %s, %s)", name, m->p->axes[axis].name,
             m->p->axes[second].name);
  else snprintf(text, sizeof text, "%s($0, %s)", name, m->p->axes[axis].name);
  gen_value *v = start_value(m, GEN_I32, text, a, -1, -1);
  without_axis(x, axis, v);
  if (second != axis) {
    gen_value once = *v;
    without_axis(&once, second, v);
  }
  v->limit = n;
  v->magnitude = v->limit;
  return finish_value(m, v);
}

bool make_softmax(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0 || m->p->values[a].magnitude > 1000) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x), n = m->p->axes[axis].size;
  if (n == 0) return false;
  char text[128];
  const char *name = m->p->axes[axis].name;
  if (chance(m, 50)) snprintf(text, sizeof text, "softmax($0, %s)", name);
  else
    snprintf(text, sizeof text, "exp($0 - max($0, %s)) / sum(exp($0 - max($0, %s)), %s)", name,
             name, name);
  gen_value *v = start_value(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = 1;
  v->error = 4 * x->error + (2 * x->magnitude + n + 24) * 2 * type_eps(x->type);
  return finish_value(m, v);
}

/// Statement by statement, so that shrinking can cut inside: mean, difference, variance, scale.
bool make_norm(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0 || m->p->nvalues + 6 > GEN_VALUES) return false;
  gen_value x = m->p->values[a];
  if (x.magnitude > 20) return false;
  int axis = pick_axis(m, &x);
  double n = m->p->axes[axis].size, eps = type_eps(x.type);
  if (n == 0) return false;
  char text[64];
  int first = m->p->nvalues;
  snprintf(text, sizeof text, "mean($0, %s)", m->p->axes[axis].name);
  gen_value *v = start_value(m, x.type, text, a, -1, -1);
  without_axis(&x, axis, v);
  v->magnitude = x.magnitude, v->error = x.error + (n + 2) * eps * x.magnitude;
  double e = x.error + v->error + 4 * eps * x.magnitude, d = 2 * x.magnitude;
  if (!finish_value(m, v)) return false;
  v = start_value(m, x.type, "$0 - $1", a, first, -1);
  copy_axes(v, &x), v->magnitude = d, v->error = e;
  if (!finish_value(m, v)) return false;
  snprintf(text, sizeof text, "mean($0 * $0, %s)", m->p->axes[axis].name);
  v = start_value(m, x.type, text, first + 1, -1, -1);
  without_axis(&x, axis, v);
  v->magnitude = d * d, v->error = 2 * d * e + e * e + (n + 4) * eps * d * d;
  double variance_error = v->error;
  if (!finish_value(m, v)) return false;
  v = start_value(m, x.type, "$0 * rsqrt(abs($1) + 0.1)", first + 1, first + 2, -1);
  copy_axes(v, &x);
  v->magnitude = d * 3.2;
  v->error = 3.2 * e + d * (15.9 * variance_error + 16 * eps * (3.2 + 15.9 * d * d));
  return finish_value(m, v);
}

/// Two values of one type that share an axis: all shared ones in `shared`.
static bool pick_contraction(maker *m, int *a, int *b, int *shared, int *nshared) {
  bool (*fits)(const gen_value *) = chance(m, 25) ? is_integer : is_small_float;
  for (int tries = 0; tries < 20; tries++) {
    *a = pick_where(m, fits);
    *b = pick_where(m, fits);
    if (*a < 0 || *b < 0) continue;
    const gen_value *x = &m->p->values[*a], *y = &m->p->values[*b];
    if (x->type != y->type || (*a == *b && tries < 10)) continue;
    *nshared = 0;
    for (int i = 0; i < x->rank; i++)
      if (value_has_axis(y, x->axes[i])) shared[(*nshared)++] = x->axes[i];
    if (*nshared > 0) return true;
  }
  return false;
}

/// Of integers.
static gen_type dot_type(gen_type t) {
  if (t == GEN_U16 || t == GEN_U32) return GEN_U32;
  return t == GEN_I64 || t == GEN_U64 ? t : GEN_I32;
}

bool make_dot(maker *m) {
  int shared[GEN_RANK], nshared = 0, a, b;
  if (!pick_contraction(m, &a, &b, shared, &nshared)) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  int axis = shared[pick(m, nshared)], second = shared[pick(m, nshared)];
  for (int i = 0; i < nshared; i++)
    if (shared[i] == m->focus_axis) axis = shared[i];
  if (!chance(m, 20)) second = axis;
  double n = m->p->axes[axis].size;
  char text[64];
  const char *name = m->p->axes[axis].name;
  bool ints = is_integer(x);
  // sum(a * b) is the same contraction; that of small integers wraps as they do
  bool spelled = (x->type == GEN_F32 && chance(m, 25)) || (ints && chance(m, 50));
  static const char *spellings[] = {"sum($0 * $1, %s)", "sum(-($0 * $1), %s)",
                                    "sum($0 * $1 * 3, %s)"};
  if (second != axis) {
    n *= m->p->axes[second].size;
    snprintf(text, sizeof text, "dot($0, $1, %s, %s)", name, m->p->axes[second].name);
  } else {
    // NOLINTNEXTLINE: the formats are those above
    snprintf(text, sizeof text, spelled ? spellings[ints ? pick(m, 3) : 0] : "dot($0, $1, %s)",
             name);
  }
  gen_type t = x->type == GEN_F64 ? GEN_F64 : GEN_F32;
  if (ints) t = spelled && second == axis ? x->type : dot_type(x->type);
  gen_value *v = start_value(m, t, text, a, b, -1);
  gen_value both;
  if (!unite_axes(x, y, &both)) return false;
  if (gen_elements(m->p, &both) > 40 * GEN_ELEMENTS) return false;
  without_axis(&both, axis, v);
  if (second != axis) {
    gen_value once = *v;
    without_axis(&once, second, v);
  }
  v->magnitude = n * x->magnitude * y->magnitude * (ints ? 3 : 1);
  if (ints) return finish_value(m, v);
  v->error = n * (x->error * y->magnitude + y->error * x->magnitude + x->error * y->error) +
             (n + 2) * type_eps(t) * v->magnitude;
  return finish_value(m, v);
}

static const char *scan_options(maker *m) {
  static const char *const texts[] = {"", "", ", reverse = true", ", exclusive = true",
                                      ", reverse = true, exclusive = true"};
  return texts[pick(m, 5)];
}

bool make_cumsum(maker *m) {
  int a = pick_where(m, chance(m, 70) ? is_arith_float : is_integer);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x);
  double n = m->p->axes[axis].size;
  char text[64];
  snprintf(text, sizeof text, "cumsum($0, %s%s)", m->p->axes[axis].name, scan_options(m));
  gen_value *v = start_value(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = n * x->magnitude;
  if (gen_is_float(x->type))
    v->error = n * x->error + n * type_eps(x->type) * n * x->magnitude;
  return finish_value(m, v);
}

/// Factors of at most 1, so that results do not grow out of range. Either operand may lack the axis.
bool make_affine(maker *m) {
  static const char *const floats[] = {"tanh($0)", "0.75", "sigmoid($0)", "sin($0)"};
  bool ints = chance(m, 25), (*fits)(const gen_value *) = ints ? is_integer : is_arith_float;
  int b = pick_where(m, fits), a = b < 0 ? -1 : pick_partner(m, b, fits);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  const char *factor = ints ? "$0 % 2" : floats[pick(m, 4)];
  gen_value *v = start_value(m, y->type, "", a, b, -1);
  if (factor[0] == '0') copy_axes(v, y);
  else if (!unite_axes(y, x, v)) return false;
  if (!v->rank) return false;
  int axis = pick_axis(m, v);
  snprintf(v->text, sizeof v->text, "affine_scan(%s, $1, %s%s)", factor, m->p->axes[axis].name,
           scan_options(m));
  double n = m->p->axes[axis].size, eps = type_eps(y->type);
  v->magnitude = n * y->magnitude;
  if (!ints) v->error = n * (y->error + (x->error + 8 * eps) * v->magnitude);
  return finish_value(m, v);
}

/// The last value that was made.
static gen_value *last_value(maker *m) { return &m->p->values[m->p->nvalues - 1]; }

/// v of the axes of x, with the bounds given.
static bool finish_like(maker *m, gen_value *v, const gen_value *x, double magnitude, double error) {
  copy_axes(v, x);
  v->magnitude = magnitude, v->error = error;
  return finish_value(m, v);
}

/// A value with the axis to multiply rows of it by, of the type; -1: none.
static int pick_along(maker *m, int axis, gen_type t) {
  for (int tries = 0; tries < 12; tries++) {
    int k = pick_value(m);
    const gen_value *x = &m->p->values[k];
    if (x->type == t && value_has_axis(x, axis) && is_small_float(x) && x->magnitude <= 20) return k;
  }
  return -1;
}

/// A mask under which each row along the axis keeps its first element, so that none is empty.
static void print_mask(maker *m, const char *axis, const char *other, char *text, size_t size) {
  switch (pick(m, 3)) {
    case 0:
      snprintf(text, size, "index(%s) <= index(%s) + %d", axis, other, pick(m, 3));
      return;
    case 1:
      snprintf(text, size, "index(%s) == 0 || (index(%s) <= index(%s) && index(%s) - index(%s) < %d)",
               axis, axis, other, other, axis, 1 + pick(m, 20));
      return;
    default:
      snprintf(text, size, "index(%s) == 0 || index(%s) / 7 == index(%s) / 7", axis, axis, other);
  }
}

/// A product whose rows are normalised and multiplied again, in one of the ways that this is written,
/// and mostly under a contract.
bool make_attention(maker *m) {
  gen_program *p = m->p;
  int first = p->nvalues;
  if (first + 10 > GEN_VALUES || !make_dot(m)) return false;
  const gen_value scores = *last_value(m);
  if (!is_arith_float(&scores) || scores.magnitude > 1000 || !scores.rank) return false;
  int axis = pick_axis(m, &scores), s = first, n = p->axes[axis].size;
  const char *name = p->axes[axis].name;
  int with = pick_along(m, axis, scores.type);
  double eps = type_eps(scores.type), e = scores.error, ma = scores.magnitude;
  if (n == 0 || with < 0) return false;
  const gen_value values = p->values[with];
  char text[320], mask[128] = "";
  bool masked = scores.rank > 1 && chance(m, 60);
  int other = masked ? scores.axes[scores.axes[0] == axis] : -1;
  if (masked && chance(m, 60)) {
    print_mask(m, name, p->axes[other].name, mask, sizeof mask);
  } else if (masked) {
    snprintf(text, sizeof text, "where(index(%s) %s index(%s) + %d, $0, -1000)", name,
             chance(m, 50) ? "<=" : ">=", p->axes[other].name, pick(m, 5) - 2);
    gen_value *v = start_value(m, scores.type, text, s, -1, -1);
    if (!finish_like(m, v, &scores, fmax(ma, 1000), e)) return false;
    s = p->nvalues - 1, ma = fmax(ma, 1000);
  }
  if (*mask) snprintf(text, sizeof text, "exp(where(%s, $0, -inf) - max(where(%s, $0, -inf), %s))", mask, mask, name);
  else snprintf(text, sizeof text, "exp($0 - max($0, %s))", name);
  gen_value *v = start_value(m, scores.type, text, s, -1, -1);
  double spread = 2 * e + (2 * ma + 24) * 2 * eps;
  if (!finish_like(m, v, &scores, 1, 2 * spread)) return false;
  int weights = p->nvalues - 1;
  snprintf(text, sizeof text, "sum($0, %s)", name);
  v = start_value(m, scores.type, text, weights, -1, -1);
  without_axis(&scores, axis, v);
  v->magnitude = n, v->error = n * (2 * spread + n * eps);
  if (!finish_value(m, v)) return false;
  int sum = p->nvalues - 1;
  bool last = chance(m, 50);
  if (!last) {
    v = start_value(m, scores.type, "$0 / $1", weights, sum, -1);
    if (!finish_like(m, v, &scores, 1, 4 * e + (2 * ma + n + 24) * 2 * eps)) return false;
    weights = p->nvalues - 1;
  }
  snprintf(text, sizeof text, "dot($0, $1, %s)", name);
  v = start_value(m, scores.type, text, weights, with, -1);
  gen_value both;
  if (!unite_axes(&scores, &values, &both) || gen_elements(p, &both) > 40 * GEN_ELEMENTS) return false;
  without_axis(&both, axis, v);
  const gen_value *w = &p->values[weights];
  v->magnitude = n * values.magnitude;
  v->error = n * (w->error * values.magnitude + values.error + w->error * values.error) +
             (n + 2) * eps * v->magnitude;
  if (!finish_value(m, v)) return false;
  if (last) {  // the sum is at least 1: the largest element is
    gen_value product = *last_value(m);
    v = start_value(m, scores.type, "$0 / $1", p->nvalues - 1, sum, -1);
    double bound = product.error + product.magnitude * (p->values[sum].error + 4 * eps);
    if (!finish_like(m, v, &product, product.magnitude, bound)) return false;
  }
  if (p->block_last >= 0 || chance(m, 40)) return true;
  p->block_first = first, p->block_last = p->nvalues - 1, p->block_axis = axis;
  return true;
}
