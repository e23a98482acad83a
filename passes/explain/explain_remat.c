// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Recomputation as text.
//
//   fn step on cpu: 5 values of the forward pass are kept for gradients, 3 are computed again
//   assuming N = 1024
//   403 MB of memory for intermediates, 42 MB across the phases, predicted 4.83 s
//   keeping all: 713 MB, 84 MB across, 4.80 s; the least memory: 168 MB
//
//     kept   cast %548 bf16[N, H] 33.6 MB, ...; keeping 2.68 ms, again 536 ms: saved_cheaper  [12:3]
//     again  sigmoid %34 f32[N, H] 67.1 MB, ...
//
//     saved_cheaper           keeping it takes less than computing it again
//
//   time over memory, each plan judged
//     peak 125 MB, across 68 MB, 2.86 s ##########################  the least memory
#include "passes/explain/explain_remat.h"

#include <math.h>

#include "passes/explain/explain_format.h"

static const char *plural(int n) { return n == 1 ? "" : "s"; }

static void put_type(strbuf *out, const graph *g, const node *n) {
  sb_puts(out, dtype_name(n->type));
  for (int i = 0; i < n->naxes; i++)
    sb_printf(out, "%s%.*s", i ? ", " : "[", STR_FMT(g->axes.data[n->axes[i]].name));
  if (n->naxes) sb_putc(out, ']');
}

static void put_price(strbuf *out, const char *what, double seconds) {
  sb_printf(out, "%s ", what);
  if (isinf(seconds)) sb_puts(out, "never");
  else if (seconds <= 0) sb_puts(out, "free");
  else explain_put_seconds(out, seconds);
}

static void put_value(const remat_study *x, const remat_value *v, const diag_list *files,
                      strbuf *out) {
  const node *n = v->value;
  sb_printf(out, "  %-6s %s %%%d ", v->recomputed ? "again" : "kept", op_get(n->op)->name, n->id);
  put_type(out, x->g, n);
  sb_putc(out, ' ');
  explain_put_scaled(out, v->bytes, "B");
  sb_puts(out, ", ");
  explain_put_scaled(out, v->flops, "FLOP");
  put_price(out, "; keeping", v->keep);
  put_price(out, ", again", v->again);
  sb_printf(out, ": %s", reason_name(v->why));
  if (v->narrow != DT_COUNT)
    sb_printf(out, "; %s(%%%d) would halve it: all that the forward pass makes of it is rounded",
              dtype_name(v->narrow), n->id);
  if (files && n->at.file) {
    sb_puts(out, "  [");
    explain_put_position(out, files, n->at, false);
    sb_putc(out, ']');
  }
  sb_putc(out, '\n');
}

static void put_corners(strbuf *out, const char *before, unsigned corner) {
  static const char *const names[] = {"keeps all", "the least memory", "taken"};
  for (int i = 0; i < 3; i++) {
    if (!(corner >> i & 1)) continue;
    sb_printf(out, "%s%s", before, names[i]);
    before = ", ";
  }
}

static void put_curve(const remat_study *x, strbuf *out) {
  enum { WIDTH = 40 };
  double most = 0;
  for (int i = 0; i < x->curve.len; i++) most = fmax(most, x->curve.data[i].seconds);
  sb_puts(out, "\ntime over memory, each plan judged\n");
  for (int i = 0; i < x->curve.len; i++) {
    const remat_point *p = &x->curve.data[i];
    sb_puts(out, "  peak ");
    explain_put_scaled(out, (double)p->peak, "B");
    sb_puts(out, ", across ");
    explain_put_scaled(out, (double)p->saved, "B");
    sb_puts(out, ", ");
    explain_put_seconds(out, p->seconds);
    sb_putc(out, ' ');
    for (int k = 0; k < (int)lround(WIDTH * p->seconds / most); k++) sb_putc(out, '#');
    put_corners(out, " ", p->corner);
    sb_putc(out, '\n');
  }
}

/// What the reasons of the values mean, each once.
static void put_reasons(const remat_study *x, strbuf *out) {
  bool given[REASON_COUNT] = {0};
  for (int i = 0; i < x->values.len; i++) given[x->values.data[i].why] = true;
  if (x->values.len) sb_putc(out, '\n');
  for (int r = 0; r < REASON_COUNT; r++)
    if (given[r]) sb_printf(out, "  %-23s %s\n", reason_name((reason)r), reason_text((reason)r));
}

static void put_summary(const remat_study *x, strbuf *out) {
  int kept = 0;
  for (int i = 0; i < x->values.len; i++) kept += !x->values.data[i].recomputed;
  int again = x->values.len - kept;
  sb_printf(out, "%d value%s of the forward pass %s kept for gradients, %d %s computed again\n",
            kept, plural(kept), kept == 1 ? "is" : "are", again, again == 1 ? "is" : "are");
  for (int i = 0; i < x->g->symbols.len; i++)
    sb_printf(out, "%s%.*s", i ? ", " : "assuming ", STR_FMT(explain_assumed(out->arena, x->g, i)));
  if (x->g->symbols.len) sb_putc(out, '\n');
  explain_put_scaled(out, (double)x->allocated, "B");
  sb_puts(out, " of memory for intermediates, ");
  explain_put_scaled(out, (double)x->chosen.saved, "B");
  sb_puts(out, " across the phases, predicted ");
  explain_put_seconds(out, x->chosen.seconds);
  sb_puts(out, "\nkeeping all: ");
  explain_put_scaled(out, (double)x->full, "B");
  sb_puts(out, ", ");
  explain_put_scaled(out, (double)x->all.saved, "B");
  sb_puts(out, " across, ");
  explain_put_seconds(out, x->all.seconds);
  sb_puts(out, "; the least memory: ");
  explain_put_scaled(out, (double)x->least, "B");
  sb_putc(out, '\n');
  if (x->budget < 0) return;
  sb_puts(out, "budget: ");
  explain_put_scaled(out, (double)x->budget, "B");
  sb_puts(out, x->fits ? ", met\n" : ", NOT met\n");
}

const char *explain_remat_nothing(const remat_study *x) {
  if (x->decided) return "it came with its plan";
  if (!x->gradients) return "there are no gradients";
  if (x->unsized) return "a budget of memory needs sizes: --dim gives them";
  return x->planned ? NULL : "a contract is no kernel";
}

void explain_remat_text(const remat_study *x, const diag_list *files, strbuf *out) {
  const char *nothing = explain_remat_nothing(x);
  sb_printf(out, "fn %.*s on %.*s: ", STR_FMT(x->g->name), STR_FMT(x->target->name));
  if (nothing) {
    sb_printf(out, "%s\n", nothing);
    return;
  }
  put_summary(x, out);
  if (x->values.len) sb_putc(out, '\n');
  for (int i = 0; i < x->values.len; i++) put_value(x, &x->values.data[i], files, out);
  put_reasons(x, out);
  put_curve(x, out);
}
