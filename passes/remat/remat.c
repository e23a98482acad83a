// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Which values of the forward pass are computed again for gradients: the pass.
#include "passes/remat/remat.h"

#include <math.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

bool remat_is_open(const graph *g) {
  if (g->fused) return false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    // Decided before; streamed blocks have copies of their own.
    if (n->flags & NODE_RECOMPUTED && !n->contract) return false;
  }
  return true;
}

static bool is_joint(const graph *g) {
  for (int i = 0; i < g->nodes.len; i++)
    if (g->nodes.data[i]->phase) return true;
  return false;
}

static bool any(const bool *set, int n) {
  for (int i = 0; i < n; i++)
    if (set[i]) return true;
  return false;
}

// ---- errors

int remat_unknown_axis(const graph *g) {
  for (int i = 0; i < g->nodes.len; i++)
    for (int k = 0; k < g->nodes.data[i]->naxes; k++) {
      int64_t size;
      int axis = g->nodes.data[i]->axes[k];
      if (!ix_is_const(&g->ix, graph_axis_size(g, axis), &size)) return axis;
    }
  return -1;
}

static bool sizes_are_known(const pass_ctx *ctx) {
  const graph *g = ctx->graph;
  int axis = remat_unknown_axis(g);
  if (axis < 0) return true;
  str name = g->axes.data[axis].name;
  diag_error(ctx->diags, DIAG_budget_sizes, g->outputs.data[0].value->at,
             "a budget of memory needs sizes, and that of the axis %.*s of %.*s is not known: "
             "--dim gives it",
             STR_FMT(name), STR_FMT(g->name));
  return false;
}

/// In the units of `explain`; rounded up, a text is a budget that is enough for these bytes.
static str bytes_text(arena *a, int64_t bytes, double round(double)) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
  double value = (double)bytes;
  int unit = 0;
  while (value >= 1000 && unit < 4) value /= 1000, unit++;
  return unit ? str_printf(a, "%.1f %s", round(value * 10) / 10, units[unit])
              : str_printf(a, "%lld B", (long long)bytes);
}

/// What lives where the least peak is, by position: the largest first.
static void note_values(const pass_ctx *ctx, diag *d, const graph *fused, const memory_peak *peak) {
  enum { MOST = 5 };
  for (int i = 0; i < peak->values.len && i < MOST; i++) {
    const peak_value *v = &peak->values.data[i];
    const node *n = fused->nodes.data[v->node];
    diag_add_note(ctx->diags, d, n->at, "this `%s` takes %.*s from step %d to step %d",
                  op_get(n->op)->name, STR_FMT(bytes_text(ctx->scratch, v->bytes, ceil)),
                  v->first + 1, v->last + 1);
  }
}

static void report_budget(const pass_ctx *ctx, const remat_solution *s) {
  const remat_search *r = &s->search;
  const graph *fused, *g = ctx->graph;
  memory_peak peak =
      remat_peak(ctx->scratch, g, r->plans.data[s->chosen].recomputed, r->options, &fused);
  str needed = bytes_text(ctx->scratch, s->least, ceil),
      given = bytes_text(ctx->scratch, s->budget, floor);
  diag *d = diag_error(ctx->diags, DIAG_budget, g->outputs.data[0].value->at,
                       "%.*s needs at least %.*s (%lld bytes) for intermediate results, more than "
                       "the budget of %.*s: "
                       "%d value%s live at step %d of %d",
                       STR_FMT(g->name), STR_FMT(needed), (long long)s->least, STR_FMT(given),
                       peak.values.len, peak.values.len == 1 ? "" : "s", peak.step + 1, peak.steps);
  note_values(ctx, d, fused, &peak);
}

// ---- the pass

bool pass_remat(pass_ctx *ctx) {
  graph *g = ctx->graph;
  pass_options options = ctx->options ? *ctx->options : (pass_options){0};
  bool budgeted = options.budget.kind != BUDGET_NONE;
  if (!remat_is_open(g) || !(is_joint(g) || budgeted)) return false;
  options.target = target_or_default(ctx->options);
  if (budgeted && !sizes_are_known(ctx)) return false;
  remat_solution s;
  // A contract that is no kernel: the fuse pass says why.
  if (!remat_solve(ctx->scratch, g, &options, &s)) return false;
  if (!s.fits) {
    report_budget(ctx, &s);
    return false;
  }
  const bool *recomputed = s.search.plans.data[s.chosen].recomputed;
  if (!any(recomputed, s.search.units.n)) return false;
  remat_clone(g, recomputed);
  return true;
}
