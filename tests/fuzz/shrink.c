// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Shrinking a failing program: fewer outputs, an earlier value as the only output, values turned
// into parameters, smaller axes; each step is kept when the program still fails the same way.
#include "tests/fuzz/run_program.h"

enum { MAX_TRIALS = 250 };

typedef struct shrinker {
  gen_program *p;
  const run_options *options;
  verdict failure;
  int trials;
} shrinker;

static bool still_fails(shrinker *s, const gen_program *candidate) {
  char why[256];
  if (s->trials++ >= MAX_TRIALS) return false;
  if (run_isolated(candidate, s->options, why, sizeof why) != s->failure) return false;
  *s->p = *candidate;
  return true;
}

/// The earliest value that fails as the only output.
static bool one_output(shrinker *s) {
  bool needed[GEN_VALUES];
  gen_needed(s->p, needed);
  for (int i = 0; i < s->p->nvalues; i++) {
    if (!needed[i] || s->p->values[i].param || s->p->values[i].cut) continue;
    if (s->p->noutputs == 1 && s->p->outputs[0] == i) return false;
    gen_program candidate = *s->p;
    candidate.noutputs = 1;
    candidate.outputs[0] = i;
    if (still_fails(s, &candidate)) return true;
  }
  return false;
}

static bool fewer_outputs(shrinker *s) {
  for (int k = 0; k < s->p->noutputs && s->p->noutputs > 1; k++) {
    gen_program candidate = *s->p;
    candidate.outputs[k] = candidate.outputs[--candidate.noutputs];
    if (still_fails(s, &candidate)) return true;
  }
  return false;
}

static bool cut_values(shrinker *s) {
  bool needed[GEN_VALUES], changed = false;
  for (int i = s->p->nvalues - 1; i >= 0; i--) {
    gen_needed(s->p, needed);
    const gen_value *v = &s->p->values[i];
    bool output = false;
    for (int k = 0; k < s->p->noutputs; k++) output |= s->p->outputs[k] == i;
    if (!needed[i] || v->param || v->cut || output) continue;
    gen_program candidate = *s->p;
    candidate.values[i].cut = true;
    changed |= still_fails(s, &candidate);
  }
  return changed;
}

static bool smaller_axes(shrinker *s) {
  static const int sizes[] = {1, 2, 3, 8, 16, 17};
  for (int a = 0; a < s->p->naxes; a++) {
    for (int i = 0; i < 6; i++) {
      gen_program candidate = *s->p;
      if (candidate.axes[a].pinned || candidate.axes[a].size <= sizes[i]) continue;
      candidate.axes[a].size = sizes[i];
      if (still_fails(s, &candidate)) return true;
    }
  }
  return false;
}

void shrink_program(gen_program *p, const run_options *options, verdict failure) {
  shrinker s = {p, options, failure, 0};
  while (s.trials < MAX_TRIALS)
    if (!one_output(&s) && !fewer_outputs(&s) && !cut_values(&s) && !smaller_axes(&s)) break;
}
