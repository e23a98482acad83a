// The makers of statements, with the error bound of each operation.
//
// Notation below: ea, ma are error and magnitude bounds of operand a; eps one rounding.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/gen_make.h"

static gen_value *start(maker *m, gen_type t, const char *text, int a, int b, int c) {
  gen_value *v = add_value(m, t);
  snprintf(v->text, sizeof v->text, "%s", text);
  int in[3] = {a, b, c};
  for (int i = 0; i < 3 && in[i] >= 0; i++) v->in[v->nin++] = in[i];
  return v;
}

static void copy_axes(gen_value *v, const gen_value *from) {
  v->rank = from->rank;
  memcpy(v->axes, from->axes, sizeof from->axes);
}

// ---- elementwise

/// |f(x) - f(y)| <= slope |x - y|; where slope is 0 f jumps and needs an exact operand.
typedef struct unary {
  const char *text;
  double slope;
  double bound;  // of the result; 0: that of the operand plus one, negative: times -bound
} unary;

static const unary unaries[] = {
    {"exp(min($0, 3.0))", 20.1, 20.1}, {"exp(-abs($0))", 1, 1},
    {"tanh($0)", 1, 1},                {"sigmoid($0)", 1, 1},
    {"erf($0)", 1.13, 1},              {"gelu($0)", 1.2, 0},
    {"silu($0)", 1.2, 0},              {"relu($0)", 1, 0},
    {"sqrt(abs($0) + 0.25)", 1, 0},    {"rsqrt($0 * $0 + 0.5)", 1.6, 1.42},
    {"rsqrt(abs($0) + 0.1)", 15.9, 3.2}, {"log(abs($0) + 0.5)", 2, 0},
    {"log1p(abs($0))", 1, 0},          {"expm1(min($0, 2.0))", 7.4, 6.4},
    {"sin($0)", 1, 1},                 {"cos($0)", 1, 1},
    {"1.0 / (abs($0) + 0.5)", 4, 2},   {"$0 * 0.25 + 1.0", 1, 0},
    {"2.0 - $0", 1, -3},               {"clamp($0, -1.0, 2.0)", 1, 2},
    {"-$0", 1, -1},                    {"abs($0)", 1, -1},
    {"min($0, 0.5)", 1, 0},            {"max($0, -0.25)", 1, 0},
    {"floor($0)", 0, 0},               {"ceil($0)", 0, 0},
    {"round($0)", 0, 0},               {"sign($0)", 0, 1},
};

static bool make_unary(maker *m) {
  const unary *u = &unaries[pick(m, (int)(sizeof unaries / sizeof *unaries))];
  int a = pick_where(m, u->slope == 0 ? is_exact_float : is_arith_float);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start(m, x->type, u->text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = u->bound > 0 ? u->bound : u->bound < 0 ? -u->bound * (x->magnitude + 1)
                                                        : x->magnitude + 1.5;
  // 16 roundings cover the documented bounds of the functions (a few ulp) and of the arithmetic
  // around them; sin and cos of the operand add nothing, their argument is exact in both.
  v->error = u->slope == 0 ? 0
                           : u->slope * x->error +
                                 16 * type_eps(x->type) * (v->magnitude + u->slope * x->magnitude);
  static const char *exact[] = {"-$0", "abs($0)", "min($0, 0.5)", "max($0, -0.25)", "relu($0)",
                                "clamp($0, -1.0, 2.0)"};
  for (int i = 0; i < 6; i++)
    if (!strcmp(u->text, exact[i])) v->error = x->error;
  return finish_value(m, v);
}

static bool make_square(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].magnitude > 80) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start(m, x->type, chance(m, 50) ? "$0 * $0" : "$0 ** 2", a, -1, -1);
  copy_axes(v, x);
  v->magnitude = x->magnitude * x->magnitude;
  v->error = (2 * x->magnitude + x->error) * x->error + type_eps(x->type) * 4 * v->magnitude;
  return finish_value(m, v);
}

static int pick_partner(maker *m, int a, bool (*fits)(const gen_value *)) {
  for (int tries = 0; tries < 16; tries++) {
    int b = pick_value(m);
    if (fits(&m->p->values[b]) && m->p->values[b].type == m->p->values[a].type) return b;
  }
  return -1;
}

static bool make_binary(maker *m) {
  static const char *texts[] = {"$0 + $1", "$0 - $1", "$0 * $1", "$0 / (abs($1) + 0.5)",
                                "min($0, $1)", "max($0, $1)", "$0 + $1 * 0.5"};
  int which = pick(m, 7), a = pick_where(m, is_arith_float);
  int b = a < 0 ? -1 : pick_partner(m, a, is_arith_float);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  gen_value *v = start(m, x->type, texts[which], a, b, -1);
  if (!unite_axes(x, y, v)) return false;
  double eps = type_eps(x->type);
  switch (which) {
    case 2:
      v->magnitude = x->magnitude * y->magnitude;
      v->error = x->error * y->magnitude + y->error * x->magnitude + x->error * y->error +
                 eps * 2 * v->magnitude;
      break;
    case 3:
      v->magnitude = 2 * x->magnitude;
      v->error = 2 * x->error + 4 * x->magnitude * y->error +
                 eps * (8 * v->magnitude + 4 * x->magnitude * (y->magnitude + 1));
      break;
    case 4:
    case 5:
      v->magnitude = fmax(x->magnitude, y->magnitude);
      v->error = fmax(x->error, y->error);
      break;
    default:
      v->magnitude = x->magnitude + y->magnitude;
      v->error = x->error + y->error + eps * 2 * v->magnitude;
  }
  return finish_value(m, v);
}

static bool make_integer(maker *m) {
  static const char *texts[] = {"$0 + $1", "$0 - $1", "$0 * $1", "$0 / $1", "$0 % $1",
                                "min($0, $1)", "max($0, $1)", "$0 * 3 + 1", "$0 % 7", "$0 / 3"};
  int which = pick(m, 10), a = pick_where(m, is_integer);
  int b = a < 0 ? -1 : which >= 7 ? a : pick_partner(m, a, is_integer);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  gen_value *v = start(m, x->type, texts[which], a, b, -1);
  if (!unite_axes(x, y, v)) return false;
  if (which == 2) v->magnitude = x->magnitude * y->magnitude;
  else if (which == 7) v->magnitude = x->magnitude * 3 + 1;
  else v->magnitude = x->magnitude + y->magnitude + 1;
  if (which == 8 && x->limit) v->limit = 7;
  return finish_value(m, v);
}

static bool make_compare(maker *m) {
  static const char *texts[] = {"$0 < $1", "$0 <= $1", "$0 > $1", "$0 >= $1", "$0 == $1",
                                "$0 != $1"};
  bool (*fits)(const gen_value *) = chance(m, 50) ? is_exact_float : is_integer;
  int a = pick_where(m, fits), b = a < 0 ? -1 : pick_partner(m, a, fits);
  if (b < 0) return false;
  gen_value *v = start(m, GEN_BOOL, texts[pick(m, 6)], a, b, -1);
  if (!unite_axes(&m->p->values[a], &m->p->values[b], v)) return false;
  v->magnitude = 1;
  return finish_value(m, v);
}

static bool make_logic(maker *m) {
  static const char *texts[] = {"$0 && $1", "$0 || !$1", "!$0 && $1"};
  int a = pick_where(m, is_bool), b = pick_where(m, is_bool);
  if (a < 0 || b < 0) return false;
  gen_value *v = start(m, GEN_BOOL, texts[pick(m, 3)], a, b, -1);
  if (!unite_axes(&m->p->values[a], &m->p->values[b], v)) return false;
  v->magnitude = 1;
  return finish_value(m, v);
}

static bool make_where(maker *m) {
  int c = pick_where(m, is_bool), a = pick_where(m, chance(m, 80) ? is_arith_float : is_integer);
  if (c < 0 || a < 0) return false;
  int b = pick_partner(m, a, is_any);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  gen_value *v = start(m, x->type, "where($0, $1, $2)", c, a, b);
  gen_value both;
  if (!unite_axes(&m->p->values[c], x, &both) || !unite_axes(&both, y, v)) return false;
  v->magnitude = fmax(x->magnitude, y->magnitude);
  v->error = fmax(x->error, y->error);
  return finish_value(m, v);
}

/// A mask made of coordinates, as in causal attention.
static bool make_index_mask(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  const char *one = m->p->axes[x->axes[pick(m, x->rank)]].name;
  const char *other = m->p->axes[x->axes[pick(m, x->rank)]].name;
  static const char *tests[] = {"index(%s) <= index(%s)", "index(%s) + index(%s) < 20",
                                "index(%s) > 2 * index(%s)", "index(%s) %% 3 != index(%s)"};
  char condition[80], text[128];
  // NOLINTNEXTLINE: the formats are those above
  snprintf(condition, sizeof condition, tests[pick(m, 4)], one, other);
  snprintf(text, sizeof text, "where(%s, $0, %s)", condition, chance(m, 50) ? "0" : "-3.5");
  gen_value *v = start(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = fmax(x->magnitude, 3.5);
  v->error = x->error;
  return finish_value(m, v);
}

static bool make_cast(maker *m) {
  int a = pick_where(m, is_any);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  static const gen_type all[] = {GEN_F32, GEN_F32, GEN_F32, GEN_F64, GEN_F16, GEN_BF16,
                                 GEN_I32, GEN_I64, GEN_I8, GEN_U8, GEN_I16};
  gen_type t = all[pick(m, 11)];
  // Work goes on in f32: what is not yet a number to calculate with becomes one more often.
  if (!gen_is_float(x->type) || x->type == GEN_F16 || x->type == GEN_BF16)
    t = chance(m, 70) ? GEN_F32 : t;
  if (t == x->type || (!gen_is_float(t) && x->error != 0)) return false;
  char text[32];
  snprintf(text, sizeof text, "%s($0)", gen_type_name(t));
  gen_value *v = start(m, t, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = x->magnitude;
  v->error = x->error;
  double width = t == GEN_F64 ? 0x1p53 : t == GEN_F32 ? 0x1p24 : t == GEN_F16 ? 0x1p11 : 0x1p8;
  if (!gen_is_float(t)) {
    v->limit = x->limit && x->limit <= 128 ? x->limit : 0;
  } else if (x->error != 0 || x->magnitude >= width) {
    // Values that differ a little may round to neighbours: one unit in the last place.
    if (!(x->error == 0 && (t == GEN_F16 || t == GEN_BF16)))
      v->error += 4 * x->magnitude / width;
    else v->error = 0;
  }
  return finish_value(m, v);
}

static bool make_index(maker *m) {
  int a = pick_where(m, has_axes);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)];
  char text[64];
  snprintf(text, sizeof text, "index(%s)", m->p->axes[axis].name);
  // The operand only says that the axis is in scope; it is named so that shrinking keeps it.
  gen_value *v = start(m, GEN_I32, text, a, -1, -1);
  v->rank = 1;
  v->axes[0] = axis;
  v->magnitude = m->p->axes[axis].size;
  v->limit = m->p->axes[axis].size;
  return finish_value(m, v);
}

// ---- along axes

static bool without_axis(const gen_value *x, int axis, gen_value *v) {
  v->rank = 0;
  for (int i = 0; i < x->rank; i++)
    if (x->axes[i] != axis) v->axes[v->rank++] = x->axes[i];
  return v->rank < x->rank;
}

static bool make_reduce(maker *m) {
  static const char *names[] = {"sum", "mean", "max", "min", "logsumexp", "prod", "sum", "max"};
  int which = pick(m, 8);
  bool ints = chance(m, 20);
  int a = pick_where(m, ints ? is_integer : is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  if (ints && (which == 1 || which == 4)) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)], second = x->axes[pick(m, x->rank)];
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
  gen_value *v = start(m, x->type, text, a, -1, -1);
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

static bool make_bool_reduce(maker *m) {
  int a = pick_where(m, is_bool);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)];
  char text[64];
  snprintf(text, sizeof text, "%s($0, %s)", chance(m, 50) ? "any" : "all", m->p->axes[axis].name);
  gen_value *v = start(m, GEN_BOOL, text, a, -1, -1);
  without_axis(x, axis, v);
  v->magnitude = 1;
  return finish_value(m, v);
}

static bool make_arg(maker *m) {
  int a = pick_where(m, chance(m, 60) ? is_exact_float : is_integer);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)];
  if (m->p->axes[axis].size == 0) return false;
  char text[64];
  snprintf(text, sizeof text, "%s($0, %s)", chance(m, 50) ? "argmax" : "argmin",
           m->p->axes[axis].name);
  gen_value *v = start(m, GEN_I32, text, a, -1, -1);
  without_axis(x, axis, v);
  v->limit = m->p->axes[axis].size;
  v->magnitude = v->limit;
  return finish_value(m, v);
}

static bool make_softmax(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0 || m->p->values[a].magnitude > 1000) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)], n = m->p->axes[axis].size;
  if (n == 0) return false;
  char text[128];
  const char *name = m->p->axes[axis].name;
  if (chance(m, 50)) snprintf(text, sizeof text, "softmax($0, %s)", name);
  else
    snprintf(text, sizeof text, "exp($0 - max($0, %s)) / sum(exp($0 - max($0, %s)), %s)", name,
             name, name);
  gen_value *v = start(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = 1;
  v->error = 4 * x->error + (2 * x->magnitude + n + 24) * 2 * type_eps(x->type);
  return finish_value(m, v);
}

/// Statement by statement, so that shrinking can cut inside: mean, difference, variance, scale.
static bool make_norm(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0 || m->p->nvalues + 6 > GEN_VALUES) return false;
  gen_value x = m->p->values[a];
  if (x.magnitude > 20) return false;
  int axis = x.axes[pick(m, x.rank)];
  double n = m->p->axes[axis].size, eps = type_eps(x.type);
  if (n == 0) return false;
  char text[64];
  int first = m->p->nvalues;
  snprintf(text, sizeof text, "mean($0, %s)", m->p->axes[axis].name);
  gen_value *v = start(m, x.type, text, a, -1, -1);
  without_axis(&x, axis, v);
  v->magnitude = x.magnitude, v->error = x.error + (n + 2) * eps * x.magnitude;
  double e = x.error + v->error + 4 * eps * x.magnitude, d = 2 * x.magnitude;
  if (!finish_value(m, v)) return false;
  v = start(m, x.type, "$0 - $1", a, first, -1);
  copy_axes(v, &x), v->magnitude = d, v->error = e;
  if (!finish_value(m, v)) return false;
  snprintf(text, sizeof text, "mean($0 * $0, %s)", m->p->axes[axis].name);
  v = start(m, x.type, text, first + 1, -1, -1);
  without_axis(&x, axis, v);
  v->magnitude = d * d, v->error = 2 * d * e + e * e + (n + 4) * eps * d * d;
  double variance_error = v->error;
  if (!finish_value(m, v)) return false;
  v = start(m, x.type, "$0 * rsqrt(abs($1) + 0.1)", first + 1, first + 2, -1);
  copy_axes(v, &x);
  v->magnitude = d * 3.2;
  v->error = 3.2 * e + d * (15.9 * variance_error + 16 * eps * (3.2 + 15.9 * d * d));
  return finish_value(m, v);
}

/// Two values of one type that share an axis: all shared ones in `shared`.
static bool pick_contraction(maker *m, int *a, int *b, int *shared, int *nshared) {
  for (int tries = 0; tries < 20; tries++) {
    *a = pick_where(m, is_small_float);
    *b = pick_where(m, is_small_float);
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

static bool make_dot(maker *m) {
  int shared[GEN_RANK], nshared = 0, a, b;
  if (!pick_contraction(m, &a, &b, shared, &nshared)) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  int axis = shared[pick(m, nshared)], second = shared[pick(m, nshared)];
  if (!chance(m, 20)) second = axis;
  double n = m->p->axes[axis].size;
  char text[64];
  const char *name = m->p->axes[axis].name;
  bool spelled = x->type == GEN_F32 && chance(m, 25);  // sum(a * b) is the same contraction
  if (second != axis) {
    n *= m->p->axes[second].size;
    snprintf(text, sizeof text, "dot($0, $1, %s, %s)", name, m->p->axes[second].name);
  } else {
    snprintf(text, sizeof text, spelled ? "sum($0 * $1, %s)" : "dot($0, $1, %s)", name);
  }
  gen_type t = x->type == GEN_F64 ? GEN_F64 : GEN_F32;
  gen_value *v = start(m, t, text, a, b, -1);
  gen_value both;
  if (!unite_axes(x, y, &both)) return false;
  if (gen_elements(m->p, &both) > 40 * GEN_ELEMENTS) return false;
  without_axis(&both, axis, v);
  if (second != axis) {
    gen_value once = *v;
    without_axis(&once, second, v);
  }
  v->magnitude = n * x->magnitude * y->magnitude;
  v->error = n * (x->error * y->magnitude + y->error * x->magnitude + x->error * y->error) +
             (n + 2) * type_eps(t) * v->magnitude;
  return finish_value(m, v);
}

static bool make_cumsum(maker *m) {
  int a = pick_where(m, chance(m, 70) ? is_arith_float : is_integer);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)];
  double n = m->p->axes[axis].size;
  char text[64];
  snprintf(text, sizeof text, "cumsum($0, %s)", m->p->axes[axis].name);
  gen_value *v = start(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = n * x->magnitude;
  if (gen_is_float(x->type))
    v->error = n * x->error + n * type_eps(x->type) * n * x->magnitude;
  return finish_value(m, v);
}

// ---- views: every one gives the result a new axis

static int replace_axis(maker *m, gen_value *v, const gen_value *x, int axis, int size,
                        bool symbolic) {
  int to = new_axis(m, size, symbolic);
  if (to < 0) return -1;
  copy_axes(v, x);
  for (int i = 0; i < v->rank; i++)
    if (v->axes[i] == axis) v->axes[i] = to;
  return to;
}

static bool view_split(maker *m, gen_value *v, const gen_value *x, int axis, char *text, int n) {
  int size = m->p->axes[axis].size, inner = size % 4 == 0 ? 4 : size % 3 == 0 ? 3 : 1;
  if (size == 0 || x->rank == GEN_RANK || m->p->axes[axis].symbolic) return false;
  int outer_axis = new_axis(m, size / inner, false), inner_axis = new_axis(m, inner, false);
  if (inner_axis < 0) return false;
  v->rank = 0;
  for (int i = 0; i < x->rank; i++) {
    if (x->axes[i] != axis) { v->axes[v->rank++] = x->axes[i]; continue; }
    v->axes[v->rank++] = outer_axis;
    v->axes[v->rank++] = inner_axis;
  }
  m->p->axes[axis].pinned = true;
  snprintf(text, (size_t)n, "$0[%s -> (%s, %s = %d)]", m->p->axes[axis].name,
           m->p->axes[outer_axis].name, m->p->axes[inner_axis].name, inner);
  return true;
}

static bool view_merge(maker *m, gen_value *v, const gen_value *x, char *text, int n) {
  if (x->rank < 2) return false;
  int at = pick(m, x->rank - 1), a = x->axes[at], b = x->axes[at + 1];
  bool symbolic = m->p->axes[a].symbolic || m->p->axes[b].symbolic;
  int to = new_axis(m, m->p->axes[a].size * m->p->axes[b].size, symbolic);
  if (to < 0) return false;
  for (int i = 0; i < x->rank; i++) {
    if (i == at + 1) continue;
    v->axes[v->rank++] = i == at ? to : x->axes[i];
  }
  m->p->axes[a].pinned = m->p->axes[b].pinned = true;
  snprintf(text, (size_t)n, "$0[(%s, %s) -> %s]", m->p->axes[a].name, m->p->axes[b].name,
           m->p->axes[to].name);
  return true;
}

static bool view_slice(maker *m, gen_value *v, const gen_value *x, int axis, char *text, int n) {
  int size = m->p->axes[axis].size;
  if (size < 2 || m->p->axes[axis].symbolic) return false;
  int begin = pick(m, size), end = begin + pick(m, size - begin + 1);
  if (begin == end && !chance(m, 5)) return false;
  int to = replace_axis(m, v, x, axis, end - begin, false);
  if (to < 0) return false;
  m->p->axes[axis].pinned = true;
  snprintf(text, (size_t)n, "$0[%s = %d:%d -> %s]", m->p->axes[axis].name, begin, end,
           m->p->axes[to].name);
  return true;
}

static bool view_window(maker *m, gen_value *v, const gen_value *x, int axis, char *text, int n) {
  int size = m->p->axes[axis].size, stride = 1 + pick(m, 2), width = 2 + pick(m, 2);
  if (size < width || x->rank == GEN_RANK || m->p->axes[axis].symbolic) return false;
  int steps = (size - width) / stride + 1;
  int outer = new_axis(m, steps, false), inner = new_axis(m, width, false);
  if (inner < 0) return false;
  for (int i = 0; i < x->rank; i++) {
    if (x->axes[i] != axis) { v->axes[v->rank++] = x->axes[i]; continue; }
    v->axes[v->rank++] = outer;
    v->axes[v->rank++] = inner;
  }
  m->p->axes[axis].pinned = true;
  snprintf(text, (size_t)n, "$0[%s -> %s * %d + (%s = %d)]", m->p->axes[axis].name,
           m->p->axes[outer].name, stride, m->p->axes[inner].name, width);
  return true;
}

static bool make_view(maker *m) {
  int a = pick_where(m, has_axes);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)], size = m->p->axes[axis].size;
  char text[128] = "";
  gen_value *v = start(m, x->type, "", a, -1, -1);
  bool good = false;
  switch (pick(m, 6)) {
    case 0: {
      int to = replace_axis(m, v, x, axis, size, m->p->axes[axis].symbolic);
      good = to >= 0;
      m->p->axes[axis].pinned |= good;  // the new axis has its size
      if (good)
        snprintf(text, sizeof text, "$0[%s -> %s]", m->p->axes[axis].name, m->p->axes[to].name);
      break;
    }
    case 1: good = view_split(m, v, x, axis, text, sizeof text); break;
    case 2: good = view_merge(m, v, x, text, sizeof text); break;
    case 3: good = view_slice(m, v, x, axis, text, sizeof text); break;
    case 4: good = view_window(m, v, x, axis, text, sizeof text); break;
    case 5: {
      int at = size > 0 ? pick(m, size) : 0;
      good = size > 0 && !m->p->axes[axis].symbolic && without_axis(x, axis, v);
      m->p->axes[axis].pinned |= good;
      snprintf(text, sizeof text, "$0[%s = %d]", m->p->axes[axis].name, at);
      break;
    }
  }
  if (!good) return false;
  snprintf(v->text, sizeof v->text, "%s", text);
  v->magnitude = x->magnitude;
  v->error = x->error;
  v->limit = x->limit;
  return finish_value(m, v);
}

static bool is_indices(const gen_value *v) { return v->type == GEN_I32 && v->limit > 0; }

static bool make_gather(maker *m) {
  int a = pick_where(m, has_axes), b = pick_where(m, is_indices);
  if (a < 0 || b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  int axis = -1;
  for (int i = 0; i < x->rank && axis < 0; i++)
    if (m->p->axes[x->axes[i]].size >= y->limit) axis = x->axes[i];
  if (axis < 0 || x->rank + y->rank > GEN_RANK) return false;
  for (int i = 0; i < y->rank; i++)
    if (value_has_axis(x, y->axes[i])) return false;
  char text[64];
  snprintf(text, sizeof text, "$0[%s = $1]", m->p->axes[axis].name);
  gen_value *v = start(m, x->type, text, a, b, -1);
  for (int i = 0; i < x->rank; i++) {
    if (x->axes[i] != axis) { v->axes[v->rank++] = x->axes[i]; continue; }
    for (int k = 0; k < y->rank; k++) v->axes[v->rank++] = y->axes[k];
  }
  m->p->axes[axis].pinned = true;
  v->magnitude = x->magnitude;
  v->error = x->error;
  v->limit = x->limit;
  return finish_value(m, v);
}

static bool make_pad(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = x->axes[pick(m, x->rank)], before = pick(m, 4), after = pick(m, 4);
  if (m->p->axes[axis].symbolic) return false;
  gen_value *v = start(m, x->type, "", a, -1, -1);
  int to = replace_axis(m, v, x, axis, m->p->axes[axis].size + before + after, false);
  if (to < 0) return false;
  snprintf(v->text, sizeof v->text, "pad($0, %s -> %s, %d, %d, 0.5)", m->p->axes[axis].name,
           m->p->axes[to].name, before, after);
  m->p->axes[axis].pinned = true;
  v->magnitude = fmax(x->magnitude, 0.5);
  v->error = x->error;
  return finish_value(m, v);
}

/// concat(a, b[Q -> R], (P, R) -> S): the operands share all axes but one.
static bool make_concat(maker *m) {
  int a = pick_where(m, has_axes), b = a < 0 ? -1 : pick_partner(m, a, has_axes);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  if (x->rank != y->rank) return false;
  int px = -1, py = -1;
  for (int i = 0; i < x->rank; i++) {
    if (!value_has_axis(y, x->axes[i])) { if (px >= 0) return false; px = x->axes[i]; }
    if (!value_has_axis(x, y->axes[i])) { if (py >= 0) return false; py = y->axes[i]; }
  }
  bool same = px < 0;
  if (same) px = py = x->axes[pick(m, x->rank)];
  gen_value *v = start(m, x->type, "", a, b, -1);
  int renamed = same ? new_axis(m, m->p->axes[py].size, m->p->axes[py].symbolic) : py;
  if (renamed < 0) return false;
  int to = replace_axis(m, v, x, px, m->p->axes[px].size + m->p->axes[py].size,
                        m->p->axes[px].symbolic || m->p->axes[py].symbolic);
  if (to < 0) return false;
  const gen_axis *axes = m->p->axes;
  if (same)
    snprintf(v->text, sizeof v->text, "concat($0, $1[%s -> %s], (%s, %s) -> %s)", axes[py].name,
             axes[renamed].name, axes[px].name, axes[renamed].name, axes[to].name);
  else
    snprintf(v->text, sizeof v->text, "concat($0, $1, (%s, %s) -> %s)", axes[px].name,
             axes[py].name, axes[to].name);
  m->p->axes[px].pinned = m->p->axes[py].pinned = true;
  v->magnitude = fmax(x->magnitude, y->magnitude);
  v->error = fmax(x->error, y->error);
  return finish_value(m, v);
}

/// `let v: T[B, A] = x`: the same value in another storage order.
static bool make_reorder(maker *m) {
  int a = pick_where(m, has_axes);
  if (a < 0 || m->p->values[a].rank < 2) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start(m, x->type, "$0", a, -1, -1);
  copy_axes(v, x);
  for (int i = v->rank - 1; i > 0; i--) {  // Fisher and Yates
    int k = pick(m, i + 1), t = v->axes[i];
    v->axes[i] = v->axes[k];
    v->axes[k] = t;
  }
  v->annotated = true;
  v->magnitude = x->magnitude;
  v->error = x->error;
  v->limit = x->limit;
  return finish_value(m, v);
}

bool make_statement(maker *m) {
  static const struct {
    bool (*make)(maker *);
    int weight;
  } makers[] = {{make_unary, 22}, {make_binary, 22}, {make_square, 4},  {make_integer, 6},
                {make_compare, 5}, {make_logic, 2},  {make_where, 6},   {make_index_mask, 4}, {make_cast, 10},
                {make_index, 3},   {make_reduce, 14}, {make_bool_reduce, 2}, {make_arg, 3},
                {make_softmax, 4}, {make_norm, 3},   {make_dot, 12},    {make_cumsum, 2},
                {make_view, 12},   {make_gather, 5}, {make_pad, 3},     {make_concat, 4},
                {make_reorder, 4}};
  int total = 0, count = (int)(sizeof makers / sizeof *makers);
  for (int i = 0; i < count; i++) total += makers[i].weight;
  int at = pick(m, total), which = 0;
  while (at >= makers[which].weight) at -= makers[which++].weight;
  if (m->p->nvalues >= GEN_VALUES - 6) return false;
  int axes = m->p->naxes;
  bool good = makers[which].make(m);
  if (!good) m->p->naxes = axes;
  return good;
}
