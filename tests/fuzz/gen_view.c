// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Views and what else moves elements; every one gives the result a new axis.
//
// Notation below: ea, ma are error and magnitude bounds of operand a; eps one rounding.
#include <math.h>
#include <stdio.h>

#include "tests/fuzz/gen_make.h"

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

bool make_view(maker *m) {
  int a = pick_where(m, has_axes);
  if (a < 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x), size = m->p->axes[axis].size;
  char text[128] = "";
  gen_value *v = start_value(m, x->type, "", a, -1, -1);
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

bool make_gather(maker *m) {
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
  gen_value *v = start_value(m, x->type, text, a, b, -1);
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

static bool is_sum(const gen_value *v) { return is_arith_float(v) || is_integer(v); }

/// scatter_add(x, V = indices, updates): updates over axes of the indices and of x without V.
bool make_scatter(maker *m) {
  int a = pick_where(m, is_sum), b = pick_where(m, is_indices);
  int c = a < 0 ? -1 : pick_partner(m, a, is_sum);
  if (b < 0 || c < 0) return false;
  const gen_value *x = &m->p->values[a], *y = &m->p->values[b], *u = &m->p->values[c];
  int axis = -1;
  for (int i = 0; i < x->rank; i++)
    if (m->p->axes[x->axes[i]].size >= y->limit && !value_has_axis(y, x->axes[i]) &&
        !value_has_axis(u, x->axes[i]))
      axis = x->axes[i];
  if (axis < 0) return false;
  double n = 1;  // updates to one element, at most
  for (int i = 0; i < u->rank; i++)
    if (!value_has_axis(x, u->axes[i]) && !value_has_axis(y, u->axes[i])) return false;
  for (int i = 0; i < y->rank; i++)
    if (!value_has_axis(x, y->axes[i])) n *= m->p->axes[y->axes[i]].size;
  if (n * (double)gen_elements(m->p, x) > 20 * GEN_ELEMENTS) return false;
  char text[64];
  // Now and then all go to one place.
  const char *where = chance(m, 20) ? " * 0" : "";
  if (chance(m, 30) && x->rank == 1)
    snprintf(text, sizeof text, "scatter_add(broadcast(%s(%d), %s), %s = $1%s, $2)",
             gen_type_name(x->type), pick(m, 2), m->p->axes[axis].name, m->p->axes[axis].name, where);
  else
    snprintf(text, sizeof text, "scatter_add($0, %s = $1%s, $2)", m->p->axes[axis].name, where);
  gen_value *v = start_value(m, x->type, text, a, b, c);
  copy_axes(v, x);
  m->p->axes[axis].pinned = true;
  v->magnitude = fmax(x->magnitude, 1) + n * u->magnitude;
  if (gen_is_float(x->type))
    v->error = x->error + n * u->error + (n + 1) * type_eps(x->type) * v->magnitude;
  return finish_value(m, v);
}

bool make_pad(maker *m) {
  int a = pick_where(m, is_arith_float);
  if (a < 0 || m->p->values[a].rank == 0) return false;
  const gen_value *x = &m->p->values[a];
  int axis = pick_axis(m, x), before = pick(m, 4), after = pick(m, 4);
  if (m->p->axes[axis].symbolic) return false;
  gen_value *v = start_value(m, x->type, "", a, -1, -1);
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
bool make_concat(maker *m) {
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
  if (same) px = py = pick_axis(m, x);
  gen_value *v = start_value(m, x->type, "", a, b, -1);
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
bool make_reorder(maker *m) {
  int a = pick_where(m, has_axes);
  if (a < 0 || m->p->values[a].rank < 2) return false;
  const gen_value *x = &m->p->values[a];
  gen_value *v = start_value(m, x->type, "$0", a, -1, -1);
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
