// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The curve of predicted time over peak memory as a picture that stands alone.
#include <math.h>

#include "passes/explain/explain_format.h"
#include "passes/explain/explain_remat.h"

/// What is told of a plan: a ring around its point, and its line of the legend. By remat_corner.
static const struct {
  unsigned corner;
  const char *name, *class;
  int radius;
} marks[] = {{CORNER_CHOSEN, "taken", "taken", 4},
             {CORNER_KEEPS_ALL, "keeps all", "all", 7},
             {CORNER_LEAST, "the least memory", "least", 10}};
enum { MARKS = sizeof marks / sizeof *marks };

enum { WIDTH = 640, HEIGHT = 400, LEFT = 80, RIGHT = 20, TOP = 56, BOTTOM = 50, TICKS = 5 };

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

/// Of ticks that read alike the first has its text.
static void put_tick(strbuf *out, double x, double y, const char *anchor, str text, str *last) {
  if (!str_eq(text, *last))
    sb_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%.*s</text>\n", x, y, anchor,
              STR_FMT(text));
  *last = text;
}

static void put_axes(strbuf *out, const frame *f) {
  str last_peak = {0}, last_time = {0};
  sb_printf(out, "<path d=\"M%d %d V%d H%d\" class=\"axis\"/>\n", LEFT, TOP, HEIGHT - BOTTOM,
            WIDTH - RIGHT);
  for (int i = 1; i < TICKS; i++) {
    double peak = f->peak_low + (f->peak_high - f->peak_low) * i / TICKS;
    double time = f->time_low + (f->time_high - f->time_low) * i / TICKS;
    strbuf memory = sb_new(out->arena), seconds = sb_new(out->arena);
    explain_put_scaled(&memory, fmax(peak, 0), "B");
    explain_put_seconds(&seconds, fmax(time, 0));
    put_tick(out, x_of(f, peak), HEIGHT - BOTTOM + 18, "middle", sb_str(&memory), &last_peak);
    put_tick(out, LEFT - 6, y_of(f, time) + 4, "end", sb_str(&seconds), &last_time);
  }
  sb_printf(out,
            "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">peak of intermediate results</text>\n",
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10);
}

static void put_legend(strbuf *out) {
  for (int i = 0, x = WIDTH - RIGHT - 300; i < MARKS; i++, x += 90)
    sb_printf(
        out,
        "<circle cx=\"%d\" cy=\"36\" r=\"%d\" class=\"%s\"/><text x=\"%d\" y=\"40\">%s</text>\n", x,
        marks[i].radius, marks[i].class, x + 14, marks[i].name);
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
    double cx = x_of(f, (double)p->peak), cy = y_of(f, p->seconds);
    for (int k = MARKS - 1; k >= 0; k--)
      if (p->corner & marks[k].corner)
        sb_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%d\" class=\"%s\"/>\n", cx, cy,
                  marks[k].radius, marks[k].class);
    sb_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\"%s><title>peak ", cx, cy,
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
      ".taken{fill:#c33}.all{fill:none;stroke:#36c}.least{fill:none;stroke:#393}</style>\n"
      "<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
      WIDTH, HEIGHT, WIDTH, HEIGHT);
  // Names are identifiers: nothing in them needs escaping.
  sb_printf(out, "<text x=\"%d\" y=\"20\">%.*s on %.*s: predicted time over memory; taken: ", LEFT,
            STR_FMT(x->g->name), STR_FMT(x->target->name));
  explain_put_scaled(out, (double)x->chosen.peak, "B");
  sb_puts(out, ", ");
  explain_put_seconds(out, x->chosen.seconds);
  sb_puts(out, "</text>\n");
  put_legend(out);
  put_axes(out, &f);
  put_points(out, x, &f);
  sb_puts(out, "</svg>\n");
}
