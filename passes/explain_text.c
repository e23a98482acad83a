// The explanation as text.
//
//   fn mlp on cpu: 2 kernels, 12 MB moved (84 MB without fusion, 6 MB at least),
//   4.8 GFLOP, predicted 24 ms
//
//   kernel 0, contract: dot, add, sigmoid, mul, cast                          mlp.tdsl:3:12
//     reads      x bf16[N, D] 786 kB, w1 bf16[D, H] 4.7 MB
//     writes     %9 bf16[N, H] 3.1 MB (intermediate)
//     costs      2.4 GFLOP, 8.6 MB, 281 flop/byte: compute bound, predicted 12 ms, 100% of roof
//     fused      dot %4 -> add %5: epilogue, saves 12.6 MB                     3:12 -> 3:24
//     not fused  ...
//     limits     ...
#include <math.h>

#include "passes/explain.h"

static void put_scaled(strbuf *out, double v, const char *unit) {
  static const char *const prefix[] = {"", "k", "M", "G", "T", "P"};
  int p = 0;
  while (v >= 999.5 && p < 5) {
    v /= 1000;
    p++;
  }
  bool digits = p && v < 99.5;
  sb_printf(out, digits ? "%.1f %s%s" : "%.0f %s%s", v, prefix[p], unit);
}

static void put_seconds(strbuf *out, double s) {
  if (s < 1e-6) sb_printf(out, "%.0f ns", s * 1e9);
  else if (s < 1e-3) sb_printf(out, "%.3g us", s * 1e6);
  else if (s < 1) sb_printf(out, "%.3g ms", s * 1e3);
  else sb_printf(out, "%.3g s", s);
}

static void put_position(strbuf *out, const diag_list *files, span at, bool with_file) {
  if (!files || !at.file || (int)at.file > files->files.len) return;
  line_col lc = diag_line_col(files, at);
  if (with_file) sb_printf(out, "%.*s:", STR_FMT(files->files.data[at.file - 1].path));
  sb_printf(out, "%d:%d", lc.line, lc.col);
}

static void put_heading(strbuf *out, const char *name) { sb_printf(out, "  %-10s ", name); }

static const char *role_note(explain_role role) {
  return role == ROLE_TEMP ? " (intermediate)" : role == ROLE_OUTPUT ? " (returned)" : "";
}

static void put_buffers(strbuf *out, const char *heading, const explain_buffer *b, int n) {
  put_heading(out, heading);
  for (int i = 0; i < n; i++) {
    if (i) sb_puts(out, ", ");
    sb_printf(out, "%.*s %.*s ", STR_FMT(b[i].name), STR_FMT(b[i].type));
    put_scaled(out, (double)b[i].bytes, "B");
    sb_puts(out, role_note(b[i].role));
  }
  sb_puts(out, n ? "\n" : "nothing\n");
}

static const char *bound_text(explain_bound b) {
  return b == BOUND_MEMORY ? "memory bound" : b == BOUND_COMPUTE ? "compute bound"
                                                                 : "bound by its launch";
}

static void put_costs(strbuf *out, const explain_kernel *k) {
  put_heading(out, "costs");
  put_scaled(out, k->flops, "FLOP");
  sb_puts(out, ", ");
  put_scaled(out, k->bytes_read + k->bytes_written, "B");
  sb_printf(out, ", %.3g flop/byte: %s, predicted ", k->intensity, bound_text(k->bound));
  put_seconds(out, k->seconds);
  sb_printf(out, ", %.0f%% of the roofline", 100 * k->roof_share);
  if (k->measured_seconds > 0) {
    sb_puts(out, "; measured ");
    put_seconds(out, k->measured_seconds);
    sb_printf(out, ", %.0f%%", 100 * k->roof_seconds / k->measured_seconds);
  }
  sb_putc(out, '\n');
}

static void put_edge(strbuf *out, const diag_list *files, const explain_edge *e) {
  const decision *d = &e->why;
  put_heading(out, d->fused ? "fused" : "not fused");
  sb_printf(out, "%.*s", STR_FMT(e->producer));
  if (e->other_kernel >= 0) sb_printf(out, " (kernel %d)", e->other_kernel);
  sb_printf(out, " -> %.*s: %s", STR_FMT(e->consumer), reason_name(d->why));
  if (!d->fused) sb_printf(out, ", %s", reason_text(d->why));
  if (d->bytes) {
    sb_puts(out, d->fused ? "; saves " : "; costs ");
    put_scaled(out, (double)d->bytes, "B");
  }
  if (d->flops) {
    sb_puts(out, ", recomputes ");
    put_scaled(out, (double)d->flops, "FLOP");
  }
  if (files && d->producer_at.file && d->consumer_at.file) {
    sb_puts(out, "  [");
    put_position(out, files, d->producer_at, false);
    sb_puts(out, " -> ");
    put_position(out, files, d->consumer_at, false);
    sb_putc(out, ']');
  }
  sb_putc(out, '\n');
}

static void put_kernel(strbuf *out, const diag_list *files, const explain_kernel *k) {
  sb_printf(out, "\nkernel %d, %s: %.*s", k->number, group_kind_name(k->kind), STR_FMT(k->what));
  if (files && k->at.file) {
    sb_puts(out, "  [");
    put_position(out, files, k->at, true);
    sb_putc(out, ']');
  }
  sb_putc(out, '\n');
  put_buffers(out, "reads", k->inputs.data, k->inputs.len);
  put_buffers(out, "writes", k->outputs.data, k->outputs.len);
  put_costs(out, k);
  for (int fused = 1; fused >= 0; fused--)
    for (int i = 0; i < k->edges.len; i++)
      if (k->edges.data[i].why.fused == fused) put_edge(out, files, &k->edges.data[i]);
  for (int i = 0; i < k->limits.len; i++) {
    put_heading(out, "limits");
    sb_printf(out, "%.*s\n", STR_FMT(k->limits.data[i]));
  }
}

void explain_text(const explanation *e, const diag_list *files, strbuf *out) {
  sb_printf(out, "fn %.*s on %.*s: %d kernel%s, ", STR_FMT(e->function), STR_FMT(e->target->name),
            e->kernels.len, e->kernels.len == 1 ? "" : "s");
  put_scaled(out, e->bytes, "B");
  sb_puts(out, " moved (");
  put_scaled(out, e->unfused_bytes, "B");
  sb_puts(out, " without fusion, ");
  put_scaled(out, e->needed_bytes, "B");
  sb_puts(out, " at least), ");
  put_scaled(out, e->flops, "FLOP");
  sb_puts(out, ", predicted ");
  put_seconds(out, e->seconds);
  sb_putc(out, '\n');
  for (int i = 0; i < e->assumed.len; i++)
    sb_printf(out, "%s%.*s%s", i ? ", " : "assuming ", STR_FMT(e->assumed.data[i]),
              i == e->assumed.len - 1 ? "\n" : "");
  for (int i = 0; i < e->kernels.len; i++) put_kernel(out, files, &e->kernels.data[i]);
}
