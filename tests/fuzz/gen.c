// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Making a random program: axes, parameters, then statements drawn from a table of makers. A maker
// picks its operands among the values so far and fails (returns false) where they do not fit.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/gen_make.h"

// ---- picking

int pick(maker *m, int n) { return (int)(gen_random(&m->state) % (uint64_t)n); }
bool chance(maker *m, int percent) { return pick(m, 100) < percent; }

/// Prefers recent values, so that chains (what fusion is about) get long.
int pick_value(maker *m) {
  int n = m->p->nvalues;
  if (m->focus >= 0 && m->focus < n && chance(m, 25)) return m->focus;
  int back = chance(m, 60) ? pick(m, n < 4 ? n : 4) : pick(m, n);
  return n - 1 - back;
}

int pick_axis(maker *m, const gen_value *v) {
  if (m->focus_axis >= 0 && value_has_axis(v, m->focus_axis) && chance(m, 50)) return m->focus_axis;
  return v->axes[pick(m, v->rank)];
}

int pick_where(maker *m, bool (*fits)(const gen_value *)) {
  for (int tries = 0; tries < 12; tries++) {
    int v = pick_value(m);
    if (fits(&m->p->values[v])) return v;
  }
  return -1;
}

double type_eps(gen_type t) { return t == GEN_F64 ? 0x1p-51 : 0x1p-22; }

bool is_arith_float(const gen_value *v) {
  return (v->type == GEN_F32 || v->type == GEN_F64) && v->error <= 1e-2;
}
bool is_exact_float(const gen_value *v) {
  return (v->type == GEN_F32 || v->type == GEN_F64) && v->error == 0;
}
bool is_small_float(const gen_value *v) { return gen_is_float(v->type) && v->error <= 1e-2; }
bool is_integer(const gen_value *v) { return !gen_is_float(v->type) && v->type != GEN_BOOL; }
bool is_bool(const gen_value *v) { return v->type == GEN_BOOL; }
bool is_any(const gen_value *v) { return v->error <= 1e-2; }
bool has_axes(const gen_value *v) { return v->rank > 0 && v->error <= 1e-2; }

bool value_has_axis(const gen_value *v, int axis) {
  for (int i = 0; i < v->rank; i++)
    if (v->axes[i] == axis) return true;
  return false;
}

double integer_limit(gen_type t) {
  switch (t) {
    case GEN_I64: return 0x1p63;
    case GEN_I32: return 0x1p31;
    case GEN_I16: return 0x1p15;
    case GEN_I8: return 128;
    case GEN_U64: return 0x1p64;
    case GEN_U32: return 0x1p32;
    case GEN_U16: return 0x1p16;
    default: return 255;
  }
}

// ---- adding

gen_value *add_value(maker *m, gen_type t) {
  gen_value *v = &m->p->values[m->p->nvalues];
  memset(v, 0, sizeof *v);
  v->type = t;
  return v;
}

/// Keeps the value unless it is too large, too inexact, or the program is full.
bool finish_value(maker *m, gen_value *v) {
  if (is_integer(v) && v->magnitude > integer_limit(v->type))
    v->magnitude = integer_limit(v->type), v->limit = 0;
  if (gen_is_float(v->type) && (v->magnitude > 1e4 || v->error > 0.05)) return false;
  if (v->rank > GEN_RANK || gen_elements(m->p, v) > GEN_ELEMENTS) return false;
  m->p->nvalues++;
  return true;
}

int new_axis(maker *m, int size, bool symbolic) {
  gen_program *p = m->p;
  if (p->naxes == GEN_AXES) return -1;
  gen_axis *a = &p->axes[p->naxes];
  bool derived = p->naxes >= m->base_axes;
  *a = (gen_axis){.size = size, .symbolic = symbolic, .pinned = derived};
  if (p->naxes < 20) snprintf(a->name, sizeof a->name, "%c", 'A' + p->naxes);
  else snprintf(a->name, sizeof a->name, "X%d", p->naxes);
  return p->naxes++;
}

/// Axes of a, then those of b that a lacks: the rule of elementwise operations.
bool unite_axes(const gen_value *a, const gen_value *b, gen_value *out) {
  out->rank = a->rank;
  memcpy(out->axes, a->axes, sizeof a->axes);
  for (int i = 0; i < b->rank; i++) {
    if (value_has_axis(a, b->axes[i])) continue;
    if (out->rank == GEN_RANK) return false;
    out->axes[out->rank++] = b->axes[i];
  }
  return true;
}

static int axis_size_choice(maker *m) {
  static const int sizes[] = {1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 16, 16, 17, 18, 24,
                              31, 32, 33, 47, 64, 65, 100};
  if (chance(m, 3)) return 0;
  return sizes[pick(m, (int)(sizeof sizes / sizeof *sizes))];
}

static void make_param(maker *m) {
  static const gen_type types[] = {GEN_F32, GEN_F32,  GEN_F32, GEN_F32, GEN_F32, GEN_F64,
                                   GEN_F16, GEN_BF16, GEN_I32, GEN_I32, GEN_I64, GEN_I16,
                                   GEN_I8,  GEN_U8,   GEN_U64, GEN_U32, GEN_U16, GEN_BOOL};
  static const gen_type smooth[] = {GEN_F32, GEN_F32, GEN_F32, GEN_F32, GEN_F32, GEN_F32, GEN_I32, GEN_BOOL};
  bool first = !m->p->nvalues && m->p->smooth;  // of what there are derivatives
  gen_type t = m->p->smooth ? smooth[first ? 0 : pick(m, (int)(sizeof smooth / sizeof *smooth))]
                            : types[pick(m, (int)(sizeof types / sizeof *types))];
  gen_value *v = add_value(m, t);
  v->param = true;
  int rank = chance(m, 10) ? 0 : 1 + pick(m, 3);
  for (int i = 0; i < rank; i++) {
    int axis = pick(m, m->base_axes);
    if (i == 0 && m->focus_axis >= 0 && chance(m, 50)) axis = m->focus_axis;
    if (!value_has_axis(v, axis)) v->axes[v->rank++] = axis;
  }
  v->magnitude = gen_is_float(v->type) ? 4 : v->type == GEN_BOOL ? 1 : 100;
  if ((v->type == GEN_I32 || v->type == GEN_U32) &&
      chance(m, 50)) {  // usable as indices of a base axis
    int size = m->p->axes[pick(m, m->base_axes)].size;
    v->limit = size > 0 ? size : 0;
    if (v->limit) v->magnitude = v->limit - 1;
  }
  while (v->rank > 0 && gen_elements(m->p, v) > GEN_ELEMENTS) v->rank--;
  m->p->nvalues++;
}

/// Of the last values the one that needs the most others.
static int longest_chain(gen_program *p) {
  int best = p->nvalues - 1, most = -1;
  for (int i = p->nvalues - 1; i >= 0 && i >= p->nvalues - 8; i--) {
    bool needed[GEN_VALUES];
    int count = 0;
    if (p->smooth && p->values[i].type != GEN_F32) continue;
    p->outputs[0] = i;
    p->noutputs = 1;
    gen_needed(p, needed);
    for (int k = 0; k < p->nvalues; k++) count += needed[k];
    if (count > most) most = count, best = i;
  }
  return best;
}

static void make(uint64_t seed, bool smooth, gen_program *p) {
  *p = (gen_program){.seed = seed, .smooth = smooth, .block_last = -1};
  maker m = {.p = p, .state = seed * 2654435761u + 12345};
  m.base_axes = 2 + pick(&m, 3);
  for (int i = 0; i < m.base_axes; i++) {
    int size = axis_size_choice(&m);
    new_axis(&m, size, chance(&m, size > 1 ? 50 : 75));  // empty ones mostly when the code runs
  }
  m.focus = m.focus_axis = -1;
  for (int i = 0; i < m.base_axes; i++)
    if (p->axes[i].size == 0 || (p->axes[i].size == 1 && m.focus_axis < 0)) m.focus_axis = i;
  int nparams = 2 + pick(&m, 4);
  for (int i = 0; i < nparams; i++) make_param(&m);
  int wanted = p->nvalues + 4 + pick(&m, 26);
  for (int tries = 0; p->nvalues < wanted && tries < 400; tries++) {
    int before = p->nvalues;
    if (!make_statement(&m)) p->nvalues = before;
  }
  if (p->block_last < 0 && p->nvalues > nparams && chance(&m, 12)) {
    p->block_first = nparams + pick(&m, p->nvalues - nparams);
    p->block_last = p->block_first + pick(&m, 6);
    p->block_axis = chance(&m, 50) ? pick(&m, m.base_axes) : -1;
  }
  p->outputs[0] = longest_chain(p);
  p->noutputs = 1;
  for (int i = 0; i < 3 && chance(&m, 35); i++) {
    int v = nparams + pick(&m, p->nvalues - nparams > 0 ? p->nvalues - nparams : 1);
    bool fresh = v < p->nvalues;
    for (int k = 0; k < p->noutputs; k++) fresh &= p->outputs[k] != v;
    if (fresh) p->outputs[p->noutputs++] = v;
  }
}

void gen_make(uint64_t seed, gen_program *p) { make(seed, false, p); }
void gen_make_smooth(uint64_t seed, gen_program *p) { make(seed, true, p); }

// ---- printing

void gen_needed(const gen_program *p, bool *needed) {
  memset(needed, 0, sizeof(bool) * GEN_VALUES);
  for (int i = 0; i < p->noutputs; i++) needed[p->outputs[i]] = true;
  for (int i = p->nvalues - 1; i >= 0; i--) {
    const gen_value *v = &p->values[i];
    if (needed[i] && !v->param && !v->cut)
      for (int k = 0; k < v->nin; k++) needed[v->in[k]] = true;
  }
}

typedef struct out {
  char *text;
  int len, size;
  bool declared[GEN_AXES];  // the signature has shown the axis' size
} out;

static void __attribute__((format(printf, 2, 3))) put(out *o, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(o->text + o->len, (size_t)(o->size - o->len), format, args);
  va_end(args);
  o->len = o->len + n < o->size ? o->len + n : o->size - 1;
}

static void put_type(out *o, const gen_program *p, const gen_value *v, bool sizes) {
  put(o, "%s", gen_type_name(v->type));
  for (int i = 0; i < v->rank; i++) {
    const gen_axis *a = &p->axes[v->axes[i]];
    put(o, "%s%s", i ? ", " : "[", a->name);
    if (sizes && !a->symbolic && !o->declared[v->axes[i]]) put(o, " = %d", a->size);
    if (sizes) o->declared[v->axes[i]] = true;
  }
  if (v->rank) put(o, "]");
}

static void put_name(out *o, const gen_program *p, int i) {
  put(o, "%c%d", p->values[i].param || p->values[i].cut ? 'p' : 'v', i);
}

static void put_statement(out *o, const gen_program *p, int i, const char *text) {
  const gen_value *v = &p->values[i];
  put(o, "  let v%d", i);
  if (v->annotated) {
    put(o, ": ");
    put_type(o, p, v, false);
  }
  put(o, " = ");
  for (const char *c = text; *c; c++) {
    if (*c == '$') put_name(o, p, v->in[*++c - '0']);
    else put(o, "%c", *c);
  }
  put(o, "\n");
}

/// Axes of parameters that are left are known.
static void put_block(out *o, const gen_program *p, const bool *needed) {
  bool known = false;
  for (int i = 0; i < p->nvalues; i++)
    known |= needed[i] && (p->values[i].param || p->values[i].cut) &&
             value_has_axis(&p->values[i], p->block_axis);
  if (!known) put(o, "  fuse {\n");
  else put(o, "  fuse stream(%s) {\n", p->axes[p->block_axis].name);
}

static void put_params(out *o, const gen_program *p, const bool *needed) {
  const char *comma = "(";
  for (int i = 0; i < p->nvalues; i++) {
    const gen_value *v = &p->values[i];
    if (!needed[i] || !(v->param || v->cut)) continue;
    put(o, "%sp%d: ", comma, i);
    put_type(o, p, v, true);
    comma = ", ";
  }
  put(o, "%s)", *comma == '(' ? "(" : "");
}

int gen_print_params(const gen_program *p, char *text, int size) {
  bool needed[GEN_VALUES];
  gen_needed(p, needed);
  out o = {.text = text, .size = size};
  put_params(&o, p, needed);
  return o.len;
}

int gen_print_statement(const gen_program *p, int value, const char *expression, char *text, int size) {
  out o = {.text = text, .size = size};
  put_statement(&o, p, value, expression);
  return o.len;
}

int gen_print(const gen_program *p, char *text, int size) {
  bool needed[GEN_VALUES];
  gen_needed(p, needed);
  out o = {.text = text, .size = size};
  put(&o, "fn f");
  put_params(&o, p, needed);
  put(&o, " -> %s", p->noutputs > 1 ? "(" : "");
  for (int i = 0; i < p->noutputs; i++) {
    put(&o, "%s", i ? ", " : "");
    put_type(&o, p, &p->values[p->outputs[i]], false);
  }
  put(&o, "%s {\n", p->noutputs > 1 ? ")" : "");
  bool open = false;
  for (int i = 0; i < p->nvalues; i++) {
    if (!needed[i] || p->values[i].param || p->values[i].cut) continue;
    bool inside = i >= p->block_first && i <= p->block_last;
    if (open && !inside) put(&o, "  }\n");
    if (inside && !open) put_block(&o, p, needed);
    open = inside;
    put_statement(&o, p, i, p->values[i].text);
  }
  if (open) put(&o, "  }\n");
  put(&o, "  return %s", p->noutputs > 1 ? "(" : "");
  for (int i = 0; i < p->noutputs; i++) {
    put(&o, "%s", i ? ", " : "");
    put_name(&o, p, p->outputs[i]);
  }
  put(&o, "%s\n}\n", p->noutputs > 1 ? ")" : "");
  return o.len;
}
