// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements of one element each: arithmetic, comparisons, casts, coordinates.
//
// Notation below: ea, ma are error and magnitude bounds of operand a; eps one rounding.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/gen_make.h"

/// |f(x) - f(y)| <= slope |x - y|; where slope is 0 f jumps and needs an exact operand.
typedef struct unary {
  const char *text;
  double slope;
  double bound;  // of the result; 0: that of the operand plus one, negative: times -bound
} unary;

static const unary unaries[] = {
    {"exp(min($0, 3.0))", 20.1, 20.1},
    {"exp(-abs($0))", 1, 1},
    {"tanh($0)", 1, 1},
    {"sigmoid($0)", 1, 1},
    {"erf($0)", 1.13, 1},
    {"gelu($0)", 1.2, 0},
    {"silu($0)", 1.2, 0},
    {"relu($0)", 1, 0},
    {"sqrt(abs($0) + 0.25)", 1, 0},
    {"rsqrt($0 * $0 + 0.5)", 1.6, 1.42},
    {"rsqrt(abs($0) + 0.1)", 15.9, 3.2},
    {"log(abs($0) + 0.5)", 2, 0},
    {"log1p(abs($0))", 1, 0},
    {"expm1(min($0, 2.0))", 7.4, 6.4},
    {"sin($0)", 1, 1},
    {"cos($0)", 1, 1},
    {"sinh(clamp($0, -2.0, 2.0))", 3.8, 3.7},
    {"cosh(clamp($0, -2.0, 2.0))", 3.7, 3.8},
    {"asin(clamp($0, -0.9, 0.9))", 2.3, 1.2},
    {"acos(clamp($0, -0.9, 0.9))", 2.3, 2.7},
    {"erfc($0)", 1.13, 2},
    {"log10(abs($0) + 0.5)", 0.9, 0},
    {"atan2($0, abs($0) + 0.5)", 4, 1},
    {"1.0 / (abs($0) + 0.5)", 4, 2},
    {"$0 * 0.25 + 1.0", 1, 0},
    {"2.0 - $0", 1, -3},
    {"clamp($0, -1.0, 2.0)", 1, 2},
    {"-$0", 1, -1},
    {"abs($0)", 1, -1},
    {"min($0, 0.5)", 1, 0},
    {"max($0, -0.25)", 1, 0},
    {"floor($0)", 0, 0},
    {"ceil($0)", 0, 0},
    {"round($0)", 0, 0},
    {"sign($0)", 0, 1},
};

bool make_unary(maker *m) {
  const unary *u = &unaries[pick(m, (int)(sizeof unaries / sizeof *unaries))];
  int a = pick_where(m, u->slope == 0 ? is_exact_float : is_arith_float);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start_value(m, x->type, u->text, a, -1, -1);
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

bool make_square(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].magnitude > 80) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start_value(m, x->type, chance(m, 50) ? "$0 * $0" : "$0 ** 2", a, -1, -1);
  copy_axes(v, x);
  v->magnitude = x->magnitude * x->magnitude;
  v->error = (2 * x->magnitude + x->error) * x->error + type_eps(x->type) * 4 * v->magnitude;
  return finish_value(m, v);
}

int pick_partner(maker *m, int a, bool (*fits)(const gen_value *)) {
  for (int tries = 0; tries < 16; tries++) {
    int b = pick_value(m);
    if (fits(&m->p->values[b]) && m->p->values[b].type == m->p->values[a].type) return b;
  }
  return -1;
}

bool make_binary(maker *m) {
  static const char *texts[] = {"$0 + $1", "$0 - $1", "$0 * $1", "$0 / (abs($1) + 0.5)",
                                "min($0, $1)", "max($0, $1)", "$0 + $1 * 0.5"};
  int which = pick(m, 7), a = pick_where(m, is_arith_float);
  int b = a < 0 ? -1 : pick_partner(m, a, is_arith_float);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  gen_value *v = start_value(m, x->type, texts[which], a, b, -1);
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

bool make_integer(maker *m) {
  static const char *texts[] = {"$0 + $1", "$0 - $1", "$0 * $1", "$0 / $1", "$0 % $1",
                                "min($0, $1)", "max($0, $1)", "$0 * 3 + 1", "$0 % 7", "$0 / 3"};
  int which = pick(m, 10), a = pick_where(m, is_integer);
  int b = a < 0 ? -1 : which >= 7 ? a : pick_partner(m, a, is_integer);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  gen_value *v = start_value(m, x->type, texts[which], a, b, -1);
  if (!unite_axes(x, y, v)) return false;
  if (which == 2) v->magnitude = x->magnitude * y->magnitude;
  else if (which == 7) v->magnitude = x->magnitude * 3 + 1;
  else v->magnitude = x->magnitude + y->magnitude + 1;
  if (which == 1 && gen_is_unsigned(x->type)) v->magnitude = integer_limit(x->type);
  if (which == 8 && x->limit) v->limit = 7;
  return finish_value(m, v);
}

bool make_compare(maker *m) {
  static const char *texts[] = {"$0 < $1", "$0 <= $1", "$0 > $1", "$0 >= $1", "$0 == $1",
                                "$0 != $1"};
  bool (*fits)(const gen_value *) = chance(m, 50) ? is_exact_float : is_integer;
  int a = pick_where(m, fits), b = a < 0 ? -1 : pick_partner(m, a, fits);
  if (b < 0) return false;
  gen_value *v = start_value(m, GEN_BOOL, texts[pick(m, 6)], a, b, -1);
  if (!unite_axes(&m->p->values[a], &m->p->values[b], v)) return false;
  v->magnitude = 1;
  return finish_value(m, v);
}

bool make_logic(maker *m) {
  static const char *texts[] = {"$0 && $1", "$0 || !$1", "!$0 && $1"};
  int a = pick_where(m, is_bool), b = pick_where(m, is_bool);
  if (a < 0 || b < 0) return false;
  gen_value *v = start_value(m, GEN_BOOL, texts[pick(m, 3)], a, b, -1);
  if (!unite_axes(&m->p->values[a], &m->p->values[b], v)) return false;
  v->magnitude = 1;
  return finish_value(m, v);
}

bool make_where(maker *m) {
  int c = pick_where(m, is_bool), a = pick_where(m, chance(m, 80) ? is_arith_float : is_integer);
  if (c < 0 || a < 0) return false;
  int b = pick_partner(m, a, is_any);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  gen_value *v = start_value(m, x->type, "where($0, $1, $2)", c, a, b);
  gen_value both;
  if (!unite_axes(&m->p->values[c], x, &both) || !unite_axes(&both, y, v)) return false;
  v->magnitude = fmax(x->magnitude, y->magnitude);
  v->error = fmax(x->error, y->error);
  return finish_value(m, v);
}

/// A mask made of coordinates, as in causal attention.
bool make_index_mask(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  const char *one = m->p->axes[pick_axis(m, x)].name;
  const char *other = m->p->axes[pick_axis(m, x)].name;
  static const char *tests[] = {"index(%s) <= index(%s)", "index(%s) + index(%s) < 20",
                                "index(%s) > 2 * index(%s)", "index(%s) %% 3 != index(%s)"};
  char condition[80], text[128];
  // NOLINTNEXTLINE: the formats are those above
  snprintf(condition, sizeof condition, tests[pick(m, 4)], one, other);
  snprintf(text, sizeof text, "where(%s, $0, %s)", condition, chance(m, 50) ? "0" : "-3.5");
  gen_value *v = start_value(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = fmax(x->magnitude, 3.5);
  v->error = x->error;
  return finish_value(m, v);
}

bool make_cast(maker *m) {
  int a = pick_where(m, is_any);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  static const gen_type all[] = {GEN_F32, GEN_F32, GEN_F32, GEN_F64, GEN_F16, GEN_BF16, GEN_I32,
                                 GEN_I64, GEN_I8,  GEN_U8,  GEN_I16, GEN_U64, GEN_U32,  GEN_U16};
  gen_type t = all[pick(m, 14)];
  // Work goes on in f32: what is not yet a number to calculate with becomes one more often.
  if (!gen_is_float(x->type) || x->type == GEN_F16 || x->type == GEN_BF16)
    t = chance(m, 70) ? GEN_F32 : t;
  if (t == x->type || (!gen_is_float(t) && x->error != 0)) return false;
  char text[32];
  snprintf(text, sizeof text, "%s($0)", gen_type_name(t));
  gen_value *v = start_value(m, t, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = x->magnitude;
  v->error = x->error;
  double width = t == GEN_F64 ? 0x1p53 : t == GEN_F32 ? 0x1p24 : t == GEN_F16 ? 0x1p11 : 0x1p8;
  if (!gen_is_float(t)) {
    v->limit = x->limit && x->limit <= 128 ? x->limit : 0;
    bool wraps = gen_is_unsigned(t) && !gen_is_unsigned(x->type) && x->type != GEN_BOOL;
    if (wraps && !v->limit) v->magnitude = integer_limit(t);
  } else if (x->error != 0 || x->magnitude >= width) {
    // Values that differ a little may round to neighbours: one unit in the last place.
    if (!(x->error == 0 && (t == GEN_F16 || t == GEN_BF16)))
      v->error += 4 * x->magnitude / width;
    else v->error = 0;
  }
  return finish_value(m, v);
}

bool make_index(maker *m) {
  int a = pick_where(m, has_axes);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x);
  char text[64];
  snprintf(text, sizeof text, "index(%s)", m->p->axes[axis].name);
  // The operand only says that the axis is in scope; it is named so that shrinking keeps it.
  gen_value *v = start_value(m, GEN_I32, text, a, -1, -1);
  v->rank = 1;
  v->axes[0] = axis;
  v->magnitude = m->p->axes[axis].size;
  v->limit = m->p->axes[axis].size;
  return finish_value(m, v);
}

static bool is_comparable(const gen_value *v) {
  return v->type != GEN_F16 && v->type != GEN_BF16 && has_axes(v);
}

/// A value over an axis along which it does not vary; what follows is about it and that axis.
bool make_constant(maker *m) {
  int a = pick_where(m, is_comparable), b = pick_where(m, is_any);
  if (a < 0 || b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  int axis = pick_axis(m, x);
  for (int i = 0; i < x->rank && value_has_axis(y, axis); i++) axis = x->axes[i];
  if (value_has_axis(y, axis) || y->rank == GEN_RANK) return false;
  gen_value *v;
  bool wide = y->type != GEN_F16 && y->type != GEN_BF16;  // where(...) of them is f32
  if (wide && chance(m, 50)) {
    v = start_value(m, y->type, "where($0 == $0, $1, $1)", a, b, -1);
    if (!unite_axes(x, y, v)) return false;
  } else {  // the first operand only says that the axis is in scope
    char text[64];
    snprintf(text, sizeof text, "broadcast($1, %s)", m->p->axes[axis].name);
    v = start_value(m, y->type, text, a, b, -1);
    copy_axes(v, y);
    v->axes[v->rank++] = axis;
  }
  v->magnitude = y->magnitude;
  v->error = y->error;
  v->limit = y->limit;
  int at = m->p->nvalues;
  if (!finish_value(m, v)) return false;
  m->focus = at;
  m->focus_axis = axis;
  return true;
}
