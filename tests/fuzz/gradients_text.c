// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The functions of a program that is differentiated, as text.
#include "tests/fuzz/gradients_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { STATEMENT = 1024 };

typedef struct writer {
  const gen_program *p;
  const gradients *g;
  char *text;
  int length, size;
  bool rewrites, contract;
} writer;

__attribute__((format(printf, 2, 3))) static void put(writer *w, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int n = vsnprintf(w->text + w->length, (size_t)(w->size - w->length), format, args);
  va_end(args);
  w->length = w->length + n < w->size ? w->length + n : w->size - 1;
}

/// A number below n that belongs to the program and the value, whatever else is in the program.
static int draw(const gen_program *p, int value, int what, int n) {
  uint64_t state = p->seed * 1000003 + (uint64_t)value * 64 + (uint64_t)what;
  return (int)(gen_random(&state) % (uint64_t)n);
}

static bool is_param(const gen_value *v) { return v->param || v->cut; }

gradients gradients_of(const gen_program *p) {
  gradients g = {.between = -1, .checkpoint_last = -1};
  bool needed[GEN_VALUES];
  gen_needed(p, needed);
  for (int i = 0; i < p->nvalues; i++) {
    const gen_value *v = &p->values[i];
    if (!needed[i]) continue;
    g.stops |= !is_param(v) && strstr(v->text, "stop(") != NULL;
    if (v->type != GEN_F32) continue;
    if (is_param(v) && g.nwrt < GRADIENTS_WRT) g.wrt[g.nwrt++] = i;
    bool inside = i >= p->block_first && i <= p->block_last;
    if (!is_param(v) && !inside && draw(p, i, 1, 6) == 0) g.between = i;
  }
  for (int k = 0; k < p->noutputs; k++)
    if (p->values[p->outputs[k]].type == GEN_F32 && !is_param(&p->values[p->outputs[k]]))
      g.of[g.nof++] = p->outputs[k];
  double work = 0;
  for (int i = 0; i < p->nvalues; i++)
    work += needed[i] ? (double)gen_elements(p, &p->values[i]) : 0;
  g.second = work < 3000 && g.nwrt && draw(p, 0, 9, 2) == 0;
  for (int i = 0; i < p->nvalues; i++) {
    const gen_value *v = &p->values[i];
    for (int k = 0; needed[i] && is_param(v) && k < v->rank; k++)
      g.streams |= v->axes[k] == p->block_axis;
  }
  if (draw(p, 0, 2, 3) == 0 && p->nvalues > 0) {
    g.checkpoint_first = draw(p, 0, 3, p->nvalues);
    g.checkpoint_last = g.checkpoint_first + draw(p, 0, 4, 10);
    // Not over a border of the block that is under contract.
    if (p->block_last >= 0 && g.checkpoint_last >= p->block_first &&
        g.checkpoint_first <= p->block_last)
      g.checkpoint_last = -1;
  }
  return g;
}

// ---- in other words

static const gen_value *operand(const writer *w, const gen_value *v, int k) {
  return &w->p->values[v->in[k]];
}

/// "dot($0, $1, A)" with the name at the end in `axes`; false: the text is something else.
static bool is_call(const char *text, const char *head, char *axes) {
  size_t n = strlen(head);
  if (strncmp(text, head, n)) return false;
  size_t rest = strlen(text + n);
  if (rest < 2 || text[n + rest - 1] != ')' || rest > 60) return false;
  memcpy(axes, text + n, rest - 1);
  axes[rest - 1] = 0;
  return !strchr(axes, '(') && !strchr(axes, '=');
}

/// The operand there and back through a view of an axis.
static bool there_and_back(const writer *w, int value, char *text, int size) {
  const gen_value *v = &w->p->values[value];
  if (strcmp(v->text, "tanh($0)") && strcmp(v->text, "$0 + $1") && strcmp(v->text, "sin($0)") &&
      strcmp(v->text, "$0 * $1") && strcmp(v->text, "gelu($0)") && strcmp(v->text, "2.0 - $0"))
    return false;
  const gen_value *x = operand(w, v, 0);
  if (!x->rank) return false;
  const gen_axis *axis = &w->p->axes[x->axes[draw(w->p, value, 5, x->rank)]];
  bool splits = axis->size > 0 && axis->size % 2 == 0 && !axis->symbolic;
  char through[96];
  if (splits)
    snprintf(through, sizeof through, "$0[%s -> (Z%da, Z%db = 2)][(Z%da, Z%db) -> %s]", axis->name,
             value, value, value, value, axis->name);
  else
    snprintf(through, sizeof through, "$0[%s -> Z%d][Z%d -> %s]", axis->name, value, value,
             axis->name);
  int n = 0;
  for (const char *c = v->text; *c && n < size - 100; c++) {
    if (c[0] == '$' && c[1] == '0') n += snprintf(text + n, (size_t)(size - n), "%s", through), c++;
    else text[n++] = *c;
  }
  text[n] = 0;
  return true;
}

static void reword(const writer *w, int value, char *text, int size) {
  const gen_value *v = &w->p->values[value];
  char axes[64];
  size_t n = (size_t)size;
  snprintf(text, n, "%s", v->text);
  if (!w->rewrites || v->type != GEN_F32 || draw(w->p, value, 6, 3) == 0) return;
  if (is_call(v->text, "dot($0, $1, ", axes) && operand(w, v, 0)->type == GEN_F32)
    snprintf(text, n, draw(w->p, value, 7, 2) ? "sum($0 * $1, %s)" : "dot($1, $0, %s)", axes);
  else if (is_call(v->text, "sum($0 * $1, ", axes)) snprintf(text, n, "dot($0, $1, %s)", axes);
  else if (is_call(v->text, "softmax($0, ", axes))
    snprintf(text, n, "exp($0 - logsumexp($0, %s))", axes);
  else if (is_call(v->text, "mean($0, ", axes) && !strchr(axes, ','))
    snprintf(text, n, "sum($0 / f32(%s), %s)", axes, axes);
  else if (is_call(v->text, "sum($0, ", axes) && !strchr(axes, ','))
    snprintf(text, n, "dot($0, f32(index(%s) >= 0), %s)", axes, axes);
  else if (is_call(v->text, "cumsum($0, ", axes) && !strchr(axes, ','))
    snprintf(text, n, "affine_scan(1.0, $0, %s)", axes);
  else if (is_call(v->text, "max($0, ", axes) && !strchr(axes, ',') && operand(w, v, 0)->rank &&
           axes[0] >= 'A' && axes[0] <= 'Z')
    snprintf(text, n, "-min(-$0, %s)", axes);
  else if (!strcmp(v->text, "$0 * $0")) snprintf(text, n, "$0 ** 2");
  else if (!strcmp(v->text, "$0 ** 2")) snprintf(text, n, "$0 * $0");
  else if (!strcmp(v->text, "relu($0)")) snprintf(text, n, "where($0 <= 0, 0.0, $0)");
  else if (!strcmp(v->text, "sigmoid($0)")) snprintf(text, n, "1 / (1 + exp(-$0))");
  else if (!strcmp(v->text, "max($0, $1)")) snprintf(text, n, "-min(-$0, -$1)");
  else if (!strcmp(v->text, "$0 - $1")) snprintf(text, n, "$0 + -$1");
  else if (!strcmp(v->text, "abs($0)")) snprintf(text, n, "max($0, -$0)");
  else if (there_and_back(w, value, text, size)) return;
  else snprintf(text, n, "%s", v->text);
}

// ---- functions

/// Weights for the elements of a value; they may lack axes.
static void put_weights(writer *w, int value) {
  const gen_value *v = &w->p->values[value];
  bool any = false;
  for (int i = 0; i < v->rank; i++) {
    if (draw(w->p, value, 10 + i, 5) == 0) continue;
    put(w, "%scos(f32(index(%s)) * 0.%d + 0.3)", any ? " * " : "", w->p->axes[v->axes[i]].name,
        7 + i);
    any = true;
  }
  if (!any) put(w, "1.5");
}

static void put_name(writer *w, int value) {
  put(w, "%c%d", is_param(&w->p->values[value]) ? 'p' : 'v', value);
}

static void put_weighted_sum(writer *w, int value, const char *name) {
  const gen_value *v = &w->p->values[value];
  put(w, v->rank ? "sum(%s * " : "%s * ", name);
  put_weights(w, value);
  for (int i = 0; i < v->rank; i++) put(w, ", %s", w->p->axes[v->axes[i]].name);
  if (v->rank) put(w, ")");
}

static void put_type(writer *w, const gen_value *v) {
  put(w, "f32");
  for (int i = 0; i < v->rank; i++) put(w, "%s%s", i ? ", " : "[", w->p->axes[v->axes[i]].name);
  if (v->rank) put(w, "]");
}

/// Of the values that are differentiated for. `between`: of that on the way too.
static void put_types(writer *w, bool between) {
  const gradients *g = w->g;
  int n = g->nwrt + (between && g->between >= 0);
  put(w, " -> %s", n > 1 ? "(" : "");
  for (int i = 0; i < n; i++) {
    put(w, "%s", i ? ", " : "");
    put_type(w, &w->p->values[i < g->nwrt ? g->wrt[i] : g->between]);
  }
  put(w, "%s {\n", n > 1 ? ")" : "");
}

static void put_signature(writer *w, const char *name) {
  put(w, "fn %s", name);
  w->length += gen_print_params(w->p, w->text + w->length, w->size - w->length);
}

static void put_statement(writer *w, int i) {
  char text[STATEMENT], kept[STATEMENT + 16];
  reword(w, i, text, STATEMENT);
  bool inside = w->contract && i >= w->p->block_first && i <= w->p->block_last;
  bool keeps =
      w->rewrites && !inside && w->p->values[i].type == GEN_F32 && draw(w->p, i, 8, 8) == 0;
  snprintf(kept, sizeof kept, keeps ? "keep(%s)" : "%s", text);
  w->length += gen_print_statement(w->p, i, kept, w->text + w->length, w->size - w->length);
}

static void put_statements(writer *w) {
  const gen_program *p = w->p;
  bool needed[GEN_VALUES], contract = false, checkpoint = false;
  gen_needed(p, needed);
  for (int i = 0; i < p->nvalues; i++) {
    if (!needed[i] || is_param(&p->values[i])) continue;
    bool block = w->contract && i >= p->block_first && i <= p->block_last;
    bool again = w->rewrites && i >= w->g->checkpoint_first && i <= w->g->checkpoint_last;
    if ((contract && !block) || (checkpoint && !again)) put(w, "  }\n");
    if (block && !contract) {
      if (w->g->streams) put(w, "  fuse stream(%s) {\n", p->axes[p->block_axis].name);
      else put(w, "  fuse {\n");
    }
    if (again && !checkpoint) put(w, "  checkpoint {\n");
    contract = block, checkpoint = again;
    put_statement(w, i);
  }
  if (contract || checkpoint) put(w, "  }\n");
}

static void put_sum(writer *w) {
  put(w, "  let y = ");
  for (int k = 0; k < w->g->nof; k++) {
    char name[16];
    snprintf(name, sizeof name, "v%d", w->g->of[k]);
    put(w, "%s", k ? " + " : "");
    put_weighted_sum(w, w->g->of[k], name);
  }
  put(w, "\n");
}

static void put_arguments(writer *w, bool between) {
  for (int i = 0; i < w->g->nwrt; i++) put(w, ", p%d", w->g->wrt[i]);
  if (between && w->g->between >= 0) put(w, ", v%d", w->g->between);
}

/// Some seeds have a further axis, along which all but one of their elements are 0.
static void put_seeded(writer *w, int x) {
  for (int k = 0; k < w->g->nof; k++) {
    int of = w->g->of[k];
    bool further = draw(w->p, of, 9, 4) == 0;
    put(w, "%s%sgrad(v%d, ", k ? " + " : "", further ? "sum(" : "", of);
    put_name(w, x);
    put(w, ", seed = ");
    if (further) put(w, "f32(index(Z = 3) == 1) * ");
    put_weights(w, of);
    put(w, further ? "), Z)" : ")");
  }
}

static void put_rewritten(writer *w) {
  const gradients *g = w->g;
  w->rewrites = true, w->contract = w->p->block_last >= 0 && !g->plain;
  put_signature(w, "rewritten");
  put_types(w, true);
  put_statements(w);
  int n = g->nwrt + (g->between >= 0);
  put(w, "  return %s", n > 1 ? "(" : "");
  for (int i = 0; i < n; i++) {
    put(w, "%s", i ? ", " : "");
    put_seeded(w, i < g->nwrt ? g->wrt[i] : g->between);
  }
  put(w, "%s\n}\n", n > 1 ? ")" : "");
  w->rewrites = w->contract = false;
}

static void put_call(writer *w, const char *name) {
  bool needed[GEN_VALUES];
  gen_needed(w->p, needed);
  put(w, "%s(", name);
  const char *comma = "";
  for (int i = 0; i < w->p->nvalues; i++)
    if (needed[i] && is_param(&w->p->values[i])) put(w, "%sp%d", comma, i), comma = ", ";
  put(w, ")");
}

static void put_curvature(writer *w) {
  const gradients *g = w->g;
  put_signature(w, "slope");
  put(w, " -> f32 {\n");
  put_statements(w);
  put_sum(w);
  put(w, "  let d = grad(y, p%d)\n  return ", g->wrt[0]);
  put_weighted_sum(w, g->wrt[0], "d");
  put(w, "\n}\n");
  put_signature(w, "curvature");
  put_types(w, false);
  put(w, "  let z = ");
  put_call(w, "slope");
  put(w, "\n  return grad(z");
  put_arguments(w, false);
  put(w, ")\n}\n");
}

int gradients_write(const gen_program *p, const gradients *g, char *text, int size) {
  writer w = {.p = p, .g = g, .text = text, .size = size};
  put_signature(&w, "value");
  put(&w, " -> f32 {\n");
  put_statements(&w);
  put_sum(&w);
  put(&w, "  return y\n}\n");
  put_signature(&w, "straight");
  put_types(&w, true);
  put_statements(&w);
  put_sum(&w);
  put(&w, "  return grad(y");
  put_arguments(&w, true);
  put(&w, ")\n}\n");
  put_rewritten(&w);
  if (g->second) put_curvature(&w);
  return w.length;
}
