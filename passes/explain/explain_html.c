// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The explanation as one HTML page without scripts: per function a summary, the source with the
// number of the kernel that computes each line, and a section per kernel with its edges.
#include "passes/explain/explain_format.h"

static void put_escaped(strbuf *out, str s) {
  for (int i = 0; i < s.len; i++) switch (s.ptr[i]) {
      case '<': sb_puts(out, "&lt;"); break;
      case '>': sb_puts(out, "&gt;"); break;
      case '&': sb_puts(out, "&amp;"); break;
      case '"': sb_puts(out, "&quot;"); break;
      default: sb_putc(out, s.ptr[i]);
    }
}

void explain_html_open(strbuf *out) {
  sb_puts(out,
          "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
          "<title>tcc-fuse explain</title>\n<style>\n"
          "body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; "
          "padding: 0 1em; color: #222; background: #fff; }\n"
          "pre { background: #f5f5f2; padding: .8em; overflow-x: auto; }\n"
          "pre a { color: #06c; text-decoration: none; display: inline-block; width: 6em; }\n"
          "table { border-collapse: collapse; margin: .6em 0; }\n"
          "td, th { text-align: left; padding: .15em .9em .15em 0; vertical-align: top; }\n"
          "tr.fused td:first-child { color: #176b2c; } tr.cut td:first-child { color: #a33; }\n"
          ".bar { background: #ddd; width: 12em; height: .7em; display: inline-block; }\n"
          ".bar i { background: #176b2c; height: 100%; display: block; }\n"
          "</style></head><body>\n");
}

void explain_html_close(strbuf *out) { sb_puts(out, "</body></html>\n"); }

/// The kernel (number + 1) that computes something on the line; the first one listed wins.
static int kernel_of_line(const explanation *e, const diag_list *files, uint32_t file, int line) {
  for (int i = 0; i < e->kernels.len; i++)
    for (int k = 0; k < e->kernels.data[i].spans.len; k++) {
      span at = e->kernels.data[i].spans.data[k];
      if (at.file == file && diag_line_col(files, at).line == line) return e->kernels.data[i].number + 1;
    }
  return 0;
}

static void put_source(strbuf *out, const explanation *e, const diag_list *files) {
  if (!files || !e->kernels.len) return;
  uint32_t file = e->kernels.data[0].at.file;
  if (!file || (int)file > files->files.len) return;
  str text = files->files.data[file - 1].text;
  sb_puts(out, "<pre>");
  for (int at = 0, line = 1; at < text.len; line++) {
    int end = at;
    while (end < text.len && text.ptr[end] != '\n') end++;
    int kernel = kernel_of_line(e, files, file, line);
    if (kernel)
      sb_printf(out, "<a href=\"#%.*s-%d\">kernel %d</a>", STR_FMT(e->function), kernel - 1, kernel - 1);
    else
      sb_puts(out, "<a></a>");
    put_escaped(out, (str){text.ptr + at, end - at});
    sb_putc(out, '\n');
    at = end + 1;
  }
  sb_puts(out, "</pre>\n");
}

static void put_buffers(strbuf *out, const char *heading, const explain_buffer *b, int n) {
  for (int i = 0; i < n; i++) {
    sb_printf(out, "<tr><th>%s</th><td><code>", i ? "" : heading);
    put_escaped(out, b[i].name);
    sb_puts(out, " ");
    put_escaped(out, b[i].type);
    sb_puts(out, "</code></td><td>");
    explain_put_scaled(out, (double)b[i].bytes, "B");
    explain_put_role(out, &b[i]);
    sb_puts(out, "</td></tr>\n");
  }
}

static void put_edge(strbuf *out, const diag_list *files, const explain_edge *e) {
  const decision *d = &e->why;
  sb_printf(out, "<tr class=\"%s\"><td>%s</td><td><code>", d->fused ? "fused" : "cut",
            d->fused ? "fused" : "not fused");
  put_escaped(out, e->producer);
  sb_puts(out, "</code>");
  if (e->other_kernel >= 0) sb_printf(out, " (kernel %d)", e->other_kernel);
  sb_puts(out, " &rarr; <code>");
  put_escaped(out, e->consumer);
  sb_printf(out, "</code></td><td title=\"%s\">", reason_name(d->why));
  put_escaped(out, str_from(reason_text(d->why)));
  if (e->shared.len) {
    sb_puts(out, "; both read <code>");
    put_escaped(out, e->shared);
    sb_puts(out, "</code>");
  }
  sb_puts(out, "</td><td>");
  if (d->bytes) {
    sb_puts(out, d->fused ? "saves " : "costs ");
    explain_put_scaled(out, (double)d->bytes, "B");
  }
  if (d->flops) {
    sb_puts(out, d->bytes ? ", recomputes " : "recomputes ");
    explain_put_scaled(out, (double)d->flops, "FLOP");
  }
  sb_puts(out, "</td><td>");
  if (d->producer_at.file && d->consumer_at.file) {
    explain_put_position(out, files, d->producer_at, false);
    sb_puts(out, " &rarr; ");
    explain_put_position(out, files, d->consumer_at, false);
  }
  sb_puts(out, "</td></tr>\n");
}

static void put_costs(strbuf *out, const explain_kernel *k) {
  sb_puts(out, "<tr><th>costs</th><td>");
  explain_put_scaled(out, k->flops, "FLOP");
  sb_puts(out, ", ");
  explain_put_scaled(out, k->bytes_read + k->bytes_written, "B");
  sb_printf(out, ", %.3g flop/byte</td><td>%s</td></tr>\n", k->intensity, explain_bound_text(k->bound));
  sb_puts(out, "<tr><th>predicted</th><td>");
  explain_put_seconds(out, k->seconds);
  double percent = 100 * k->roof_share;
  sb_printf(out, "</td><td><span class=\"bar\"><i style=\"width:%.0f%%\"></i></span> %.0f%% of the roofline"
                 "</td></tr>\n", percent, percent);
}

static void put_schedule(strbuf *out, const explain_schedule *s) {
  if (!s->threads) return;
  sb_puts(out, "<tr><th>schedule</th><td>");
  explain_put_schedule(out, s);
  sb_puts(out, "</td><td><code>");
  put_escaped(out, s->layout);
  sb_puts(out, "</code></td></tr>\n");
  if (!s->usage.source.len && !s->usage.unknown.len) return;
  strbuf usage = sb_new(out->arena);
  explain_put_usage(&usage, &s->usage);
  sb_puts(out, "<tr><th>registers</th><td colspan=\"2\">");
  put_escaped(out, sb_str(&usage));
  sb_puts(out, "</td></tr>\n");
}

static void put_kernel(strbuf *out, const explanation *e, const diag_list *files,
                       const explain_kernel *k) {
  sb_printf(out, "<h3 id=\"%.*s-%d\">kernel %d, %s%s: ", STR_FMT(e->function), k->number, k->number,
            group_kind_name(k->kind), explain_phase_note(k));
  put_escaped(out, k->what);
  sb_puts(out, "</h3>\n<table>\n");
  put_buffers(out, "reads", k->inputs.data, k->inputs.len);
  put_buffers(out, "writes", k->outputs.data, k->outputs.len);
  put_costs(out, k);
  str contract = explain_contract_text(out->arena, &k->contract, files);
  if (contract.len) {
    sb_puts(out, "<tr><th>contract</th><td>");
    put_escaped(out, contract);
    sb_puts(out, "</td></tr>\n");
  }
  put_schedule(out, &k->schedule);
  sb_puts(out, "</table>\n<table>\n");
  for (int fused = 1; fused >= 0; fused--)
    for (int i = 0; i < k->edges.len; i++)
      if (k->edges.data[i].why.fused == fused) put_edge(out, files, &k->edges.data[i]);
  sb_puts(out, "</table>\n");
  if (k->limits.len) sb_puts(out, "<ul>\n");
  for (int i = 0; i < k->limits.len; i++) {
    sb_puts(out, "<li>");
    put_escaped(out, k->limits.data[i]);
    sb_puts(out, "</li>\n");
  }
  if (k->limits.len) sb_puts(out, "</ul>\n");
}

void explain_html(const explanation *e, const diag_list *files, strbuf *out) {
  sb_printf(out, "<h2>fn %.*s</h2>\n<p>%d kernel%s on ", STR_FMT(e->function), e->kernels.len,
            e->kernels.len == 1 ? "" : "s");
  put_escaped(out, e->target->name);
  sb_puts(out, ": ");
  explain_put_totals(out, e);
  for (int i = 0; i < e->assumed.len; i++) {
    sb_puts(out, i ? ", " : "; assuming ");
    put_escaped(out, e->assumed.data[i]);
  }
  if (e->memory.bytes || e->memory.hosted) sb_puts(out, "; ");
  explain_put_memory(out, e);
  sb_puts(out, "</p>\n");
  put_source(out, e, files);
  for (int i = 0; i < e->kernels.len; i++) put_kernel(out, e, files, &e->kernels.data[i]);
}
