// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The explanation as text.
//
//   fn mlp on cpu: 2 kernels, 12 MB moved (84 MB without fusion, 6 MB at least),
//   4.8 GFLOP, predicted 24 ms
//
//   kernel 0, contraction: dot, add, sigmoid, mul, cast                          mlp.tdsl:3:12
//   kernel 0, contraction of the gradient: ...
//     reads      x bf16[N, D] 786 kB, w1 bf16[D, H] 4.7 MB
//     writes     %9 bf16[N, H] 3.1 MB (intermediate)
//     costs      2.4 GFLOP, 8.6 MB, 281 flop/byte: compute bound, predicted 12 ms, 100% of roof
//     contract   fuse stream(T): 1 walk over T; ...  under a contract
//     schedule   1024 blocks of 256 threads ...     on a GPU
//     registers  40 a thread, none spilled; by ptxas
//     layout     M:128 = t8@4 r2 t4@32 t2@128, ...
//     fused      dot %4 -> add %5: epilogue, saves 12.6 MB                     3:12 -> 3:24
//     not fused  ...
//     limits     ...
#include "passes/explain/explain_format.h"

static void put_heading(strbuf *out, const char *name) { sb_printf(out, "  %-10s ", name); }

static void put_buffers(strbuf *out, const char *heading, const explain_buffer *b, int n) {
  put_heading(out, heading);
  for (int i = 0; i < n; i++) {
    if (i) sb_puts(out, ", ");
    sb_printf(out, "%.*s %.*s ", STR_FMT(b[i].name), STR_FMT(b[i].type));
    explain_put_scaled(out, (double)b[i].bytes, "B");
    explain_put_role(out, &b[i]);
  }
  sb_puts(out, n ? "\n" : "nothing\n");
}

static void put_costs(strbuf *out, const explain_kernel *k) {
  put_heading(out, "costs");
  explain_put_scaled(out, k->flops, "FLOP");
  sb_puts(out, ", ");
  explain_put_scaled(out, k->bytes_read + k->bytes_written, "B");
  sb_printf(out, ", %.3g flop/byte: %s, predicted ", k->intensity, explain_bound_text(k->bound));
  explain_put_seconds(out, k->seconds);
  sb_printf(out, ", %.0f%% of the roofline", 100 * k->roof_share);
  if (k->measured_seconds > 0) {
    sb_puts(out, "; measured ");
    explain_put_seconds(out, k->measured_seconds);
    sb_printf(out, ", %.0f%%", 100 * k->roof_seconds / k->measured_seconds);
  }
  sb_putc(out, '\n');
}

static void put_schedule(strbuf *out, const explain_schedule *s) {
  if (!s->threads) return;
  put_heading(out, "schedule");
  explain_put_schedule(out, s);
  sb_putc(out, '\n');
  if (s->usage.source.len || s->usage.unknown.len) {
    put_heading(out, "registers");
    explain_put_usage(out, &s->usage);
    sb_putc(out, '\n');
  }
  if (!s->layout.len) return;
  put_heading(out, "layout");
  sb_printf(out, "%.*s\n", STR_FMT(s->layout));
}

static void put_edge(strbuf *out, const diag_list *files, const explain_edge *e) {
  const decision *d = &e->why;
  put_heading(out, d->fused ? "fused" : "not fused");
  sb_printf(out, "%.*s", STR_FMT(e->producer));
  if (e->other_kernel >= 0) sb_printf(out, " (kernel %d)", e->other_kernel);
  sb_printf(out, " -> %.*s: %s", STR_FMT(e->consumer), reason_name(d->why));
  if (!d->fused) sb_printf(out, ", %s", reason_text(d->why));
  if (e->shared.len) sb_printf(out, "; both read %.*s", STR_FMT(e->shared));
  if (d->bytes) {
    sb_puts(out, d->fused ? "; saves " : "; costs ");
    explain_put_scaled(out, (double)d->bytes, "B");
  }
  if (d->flops) {
    sb_puts(out, ", recomputes ");
    explain_put_scaled(out, (double)d->flops, "FLOP");
  }
  if (files && d->producer_at.file && d->consumer_at.file) {
    sb_puts(out, "  [");
    explain_put_position(out, files, d->producer_at, false);
    sb_puts(out, " -> ");
    explain_put_position(out, files, d->consumer_at, false);
    sb_putc(out, ']');
  }
  sb_putc(out, '\n');
}

static void put_kernel(strbuf *out, const diag_list *files, const explain_kernel *k) {
  sb_printf(out, "\nkernel %d, %s%s: %.*s", k->number, group_kind_name(k->kind),
            explain_phase_note(k), STR_FMT(k->what));
  if (files && k->at.file) {
    sb_puts(out, "  [");
    explain_put_position(out, files, k->at, true);
    sb_putc(out, ']');
  }
  sb_putc(out, '\n');
  put_buffers(out, "reads", k->inputs.data, k->inputs.len);
  put_buffers(out, "writes", k->outputs.data, k->outputs.len);
  put_costs(out, k);
  str contract = explain_contract_text(out->arena, &k->contract, files);
  if (contract.len) {
    put_heading(out, "contract");
    sb_printf(out, "%.*s\n", STR_FMT(contract));
  }
  put_schedule(out, &k->schedule);
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
  explain_put_totals(out, e);
  sb_putc(out, '\n');
  for (int i = 0; i < e->assumed.len; i++)
    sb_printf(out, "%s%.*s%s", i ? ", " : "assuming ", STR_FMT(e->assumed.data[i]),
              i == e->assumed.len - 1 ? "\n" : "");
  if (explain_put_memory(out, e)) sb_putc(out, '\n');
  for (int i = 0; i < e->kernels.len; i++) put_kernel(out, files, &e->kernels.data[i]);
}
