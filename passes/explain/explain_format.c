// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How explanations write quantities and positions: shared by the text and the HTML form.
#include "passes/explain/explain_format.h"

void explain_put_scaled(strbuf *out, double v, const char *unit) {
  static const char *const prefix[] = {"", "k", "M", "G", "T", "P"};
  int p = 0;
  while (v >= 999.5 && p < 5) {
    v /= 1000;
    p++;
  }
  bool digits = p && v < 99.5;
  sb_printf(out, digits ? "%.1f %s%s" : "%.0f %s%s", v, prefix[p], unit);
}

void explain_put_seconds(strbuf *out, double s) {
  if (s < 1e-6) sb_printf(out, "%.0f ns", s * 1e9);
  else if (s < 1e-3) sb_printf(out, "%.3g us", s * 1e6);
  else if (s < 1) sb_printf(out, "%.3g ms", s * 1e3);
  else sb_printf(out, "%.3g s", s);
}

void explain_put_position(strbuf *out, const diag_list *files, span at, bool with_file) {
  if (!files || !at.file || (int)at.file > files->files.len) return;
  line_col lc = diag_line_col(files, at);
  if (with_file) sb_printf(out, "%.*s:", STR_FMT(files->files.data[at.file - 1].path));
  sb_printf(out, "%d:%d", lc.line, lc.col);
}

void explain_put_role(strbuf *out, const explain_buffer *b) {
  if (b->over.len) sb_printf(out, " (intermediate, in place of %.*s)", STR_FMT(b->over));
  else sb_puts(out, b->role == ROLE_TEMP ? " (intermediate)" : b->role == ROLE_OUTPUT ? " (returned)" : "");
}

const char *explain_phase_note(const explain_kernel *k) {
  if (!k->last_phase) return "";
  return k->first_phase ? " of the gradient" : " of the forward pass and the gradient";
}

const char *explain_bound_text(explain_bound b) {
  static const char *const texts[] = {"memory bound", "compute bound", "bound by its launch",
                                      "bound by latency"};
  return texts[b];
}

void explain_put_totals(strbuf *out, const explanation *e) {
  explain_put_scaled(out, e->bytes, "B");
  sb_puts(out, " moved (");
  explain_put_scaled(out, e->unfused_bytes, "B");
  sb_puts(out, " without fusion, ");
  explain_put_scaled(out, e->needed_bytes, "B");
  sb_puts(out, " at least), ");
  explain_put_scaled(out, e->flops, "FLOP");
  sb_puts(out, ", predicted ");
  explain_put_seconds(out, e->seconds);
}

bool explain_put_memory(strbuf *out, const explanation *e) {
  if (!e->memory.bytes && !e->memory.hosted) return false;
  explain_put_scaled(out, (double)e->memory.bytes, "B");
  sb_puts(out, " of memory for intermediates, ");
  if (e->memory.live != e->memory.bytes) {
    explain_put_scaled(out, (double)e->memory.live, "B");
    sb_puts(out, " of it in use at once");
  } else {
    sb_puts(out, "all of it in use at once");
  }
  if (!e->memory.hosted) return true;
  sb_puts(out, "; others of ");
  explain_put_scaled(out, (double)e->memory.hosted, "B");
  sb_puts(out, " lie in results that are written later");
  return true;
}
