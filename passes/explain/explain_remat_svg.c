// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The curve of predicted time over peak memory as a picture that stands alone.
#include <math.h>

#include "passes/explain/explain_format.h"
#include "passes/explain/explain_remat.h"

enum { WIDTH = 640, HEIGHT = 400, LEFT = 80, RIGHT = 20, TOP = 40, BOTTOM = 50, TICKS = 5 };

typedef struct frame {
  double peak_low, peak_high, time_low, time_high;
} frame;

static double x_of(const frame *f, double peak) {
  return LEFT + (peak - f->peak_low) / (f->peak_high - f->peak_low) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const frame *f, double seconds) {
  double share = (seconds - f->time_low) / (f->time_high - f->time_low);
  return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM);
}

/// Around all points, with room at each side.
static frame frame_of(const remat_study *x) {
  frame f = {INFINITY, 0, INFINITY, 0};
  for (int i = 0; i < x->curve.len; i++) {
    const remat_point *p = &x->curve.data[i];
    f.peak_low = fmin(f.peak_low, (double)p->peak),
    f.peak_high = fmax(f.peak_high, (double)p->peak);
    f.time_low = fmin(f.time_low, p->seconds), f.time_high = fmax(f.time_high, p->seconds);
  }
  double peaks = fmax(0.05 * (f.peak_high - f.peak_low), 0.01 * f.peak_high + 1);
  double times = fmax(0.08 * (f.time_high - f.time_low), 0.01 * f.time_high);
  f.peak_low -= peaks, f.peak_high += peaks, f.time_low -= times, f.time_high += times;
  return f;
}

static void put_axes(strbuf *out, const frame *f) {
  sb_printf(out, "<path d=\"M%d %d V%d H%d\" class=\"axis\"/>\n", LEFT, TOP, HEIGHT - BOTTOM,
            WIDTH - RIGHT);
  for (int i = 1; i < TICKS; i++) {
    double peak = f->peak_low + (f->peak_high - f->peak_low) * i / TICKS;
    double time = f->time_low + (f->time_high - f->time_low) * i / TICKS;
    sb_printf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">", x_of(f, peak),
              HEIGHT - BOTTOM + 18);
    explain_put_scaled(out, fmax(peak, 0), "B");
    sb_printf(out, "</text>\n<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">", LEFT - 6,
              y_of(f, time) + 4);
    explain_put_seconds(out, fmax(time, 0));
    sb_puts(out, "</text>\n");
  }
  sb_printf(out,
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">peak of intermediate results</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10);
}

static void put_points(strbuf *out, const remat_study *x, const frame *f) {
  const char *move = "M";
  double fastest = INFINITY;
  sb_puts(out, "<path class=\"curve\" d=\"");
  for (int i = 0; i < x->curve.len; i++) {
    const remat_point *p = &x->curve.data[i];
    if (p->seconds >= fastest) continue;  // another takes no more memory and less time
    fastest = p->seconds;
    sb_printf(out, "%s%.1f %.1f ", move, x_of(f, (double)p->peak), y_of(f, p->seconds));
    move = "L";
  }
  sb_puts(out, "\"/>\n");
  for (int i = 0; i < x->curve.len; i++) {
    const remat_point *p = &x->curve.data[i];
    sb_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\"%s><title>peak ",
              x_of(f, (double)p->peak), y_of(f, p->seconds), p->corner ? 5 : 3,
              p->corner & CORNER_CHOSEN ? " class=\"taken\"" : "");
    explain_put_scaled(out, (double)p->peak, "B");
    sb_puts(out, ", across ");
    explain_put_scaled(out, (double)p->saved, "B");
    sb_puts(out, ", ");
    explain_put_seconds(out, p->seconds);
    sb_puts(out, "</title></circle>\n");
  }
}

void explain_remat_svg(const remat_study *x, strbuf *out) {
  if (!x->planned) return;
  frame f = frame_of(x);
  sb_printf(
      out,
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\">\n<style>text{font:12px "
      "sans-serif}.axis{stroke:#000;fill:none}.curve{stroke:#36c;fill:none}circle{fill:#36c}"
      ".taken{fill:#c33}</style>\n",
      WIDTH, HEIGHT);
  // Names are identifiers: nothing in them needs escaping.
  sb_printf(out, "<text x=\"%d\" y=\"20\">%.*s on %.*s: predicted time over memory; taken: ", LEFT,
            STR_FMT(x->g->name), STR_FMT(x->target->name));
  explain_put_scaled(out, (double)x->chosen.peak, "B");
  sb_puts(out, ", ");
  explain_put_seconds(out, x->chosen.seconds);
  sb_puts(out, "</text>\n");
  put_axes(out, &f);
  put_points(out, x, &f);
  sb_puts(out, "</svg>\n");
}
