// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Statements for programs that are differentiated: selections of which the other side has no derivative, or
// no value, powers, running products and extrema, constants.
#include <math.h>
#include <stdio.h>

#include "tests/fuzz/gen_make.h"

/// Arguments are clamped in no way: what lies outside is not selected.
bool make_domain(maker *m) {
  static const char *const texts[] = {
      "where($0 > 0.1, log($0), 0.5)",
      "where($0 < 0.1, $0, log2($0))",
      "where($0 > 0.1, sqrt($0), -$0)",
      "where($0 <= 0.1, 0.0, rsqrt($0) * 0.1)",
      "where(abs($0) < 0.9, acos($0), $0 * 0.5)",
      "where(abs($0) < 0.9, asin($0), 1.0)",
      "where(abs($0) > 0.2, 0.2 / $0, $0)",
      "where($0 > 0.2, pow($0, 0.75), 0.0)",
      "where($0 > 0.2, where($0 > 0.4, log($0), sqrt($0)), 0.0)",
      "where($0 > -0.5, log1p($0), -1.0)",
      "where($0 < 2.0, exp($0), 1.0)",
      "where($0 < 20.0, expm1($0 * 0.1), 1.0) * 0.5",
      "atan2($0, 1.5) + log10(where($0 > 0.2, $0, 1.0))",
      "where(abs($0) < 1.2, tan($0), 0.0)",
      "where(abs($0) < 3.0, sinh($0), cosh($0 * 0.0))",
  };
  int a = pick_where(m, is_exact_float);
  if (a < 0 || m->p->values[a].magnitude > 100) return false;
  gen_value *v = start_value(m, m->p->values[a].type,
                             texts[pick(m, (int)(sizeof texts / sizeof *texts))], a, -1, -1);
  copy_axes(v, &m->p->values[a]);
  v->magnitude = m->p->values[a].magnitude + 12;
  v->error = 64 * type_eps(v->type) * (v->magnitude + 1);
  return finish_value(m, v);
}

bool make_power(maker *m) {
  static const char *const texts[] = {"pow(abs($0) * 0.1 + 0.5, tanh($1))", "$0 ** 3 * 0.1 + $1",
                                      "$0 % (abs($1) + 1.5)", "atan2($0, abs($1) + 0.5)",
                                      "(abs($0) + 0.5) ** -1 + $1"};
  int which = pick(m, 5), a = pick_where(m, which == 2 ? is_exact_float : is_arith_float);
  int b = a < 0 ? -1 : pick_partner(m, a, which == 2 ? is_exact_float : is_arith_float);
  if (b < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b];
  if (x->magnitude > 15 || y->magnitude > 15) return false;
  gen_value *v = start_value(m, x->type, texts[which], a, b, -1);
  if (!unite_axes(x, y, v)) return false;
  double ma = x->magnitude + x->error, cube = 0.1 * ma * ma * ma;
  v->magnitude = fmax(cube, 4) + y->magnitude;
  v->error = 4 * (x->error * (1 + 0.3 * ma * ma) + y->error) +
             32 * type_eps(v->type) * (v->magnitude + ma + 1);
  return finish_value(m, v);
}

/// Running products of factors of at most 1, running extrema.
bool make_scan(maker *m) {
  static const char *const texts[] = {"cumprod(tanh($0), %s%s)", "cumprod(sin($0), %s%s)",
                                      "cummax($0, %s%s)", "cummin($0, %s%s)",
                                      "cumprod($0 * 0.2, %s%s)"};
  static const char *const options[] = {"", ", reverse = true", ", exclusive = true",
                                        ", reverse = true, exclusive = true"};
  int a = pick_where(m, is_arith_float), which = pick(m, 5);
  if (a < 0 || !m->p->values[a].rank || m->p->values[a].magnitude > 5) return false;
  bool extremum = which == 2 || which == 3;
  const gen_value *x = &m->p->values[a];
  char text[96];
  // NOLINTNEXTLINE: the formats are those above
  snprintf(text, sizeof text, texts[which], m->p->axes[pick_axis(m, x)].name,
           options[pick(m, extremum ? 2 : 4)]);
  gen_value *v = start_value(m, x->type, text, a, -1, -1);
  copy_axes(v, x);
  v->magnitude = extremum ? x->magnitude : 1;
  v->error = extremum ? x->error : 100 * (x->error + 4 * type_eps(x->type));
  return finish_value(m, v);
}

bool make_stop(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start_value(m, x->type, "stop($0)", a, -1, -1);
  copy_axes(v, x);
  v->magnitude = x->magnitude;
  v->error = x->error;
  return finish_value(m, v);
}
