// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The losses of a run as an SVG: every step in grey, their moving average in blue.
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "train.h"

enum { WIDTH = 720, HEIGHT = 360, LEFT = 60, RIGHT = 20, TOP = 30, BOTTOM = 40 };

typedef struct frame {
  double low, high;  // of the losses shown
  int64_t steps;
} frame;

static double x_of(const frame *f, double step) {
  return LEFT + step / (double)(f->steps > 1 ? f->steps - 1 : 1) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const frame *f, double loss) {
  return TOP + (f->high - loss) / (f->high - f->low) * (HEIGHT - TOP - BOTTOM);
}

// A distance of ticks that is 1, 2 or 5 times a power of ten: at most `n` over the range.
static double tick_of(double range, int n) {
  double unit = pow(10, floor(log10(range / n)));
  double ratio = range / n / unit;
  return unit * (ratio <= 1 ? 1 : ratio <= 2 ? 2 : ratio <= 5 ? 5 : 10);
}

static void axes(FILE *to, const frame *f) {
  double dy = tick_of(f->high - f->low, 6), dx = fmax(1, tick_of((double)f->steps, 8));
  for (double v = ceil(f->low / dy) * dy; v <= f->high; v += dy) {
    double y = y_of(f, v);
    fprintf(to, "<path d='M%d %.1fH%d' stroke='#ddd'/>", LEFT, y, WIDTH - RIGHT);
    fprintf(to, "<text x='%d' y='%.1f' text-anchor='end'>%g</text>\n", LEFT - 6, y + 4,
            fabs(v) < dy / 2 ? 0 : v);
  }
  for (double s = 0; s < (double)f->steps; s += dx)
    fprintf(to, "<text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n", x_of(f, s),
            HEIGHT - BOTTOM + 18, s);
  fprintf(to, "<text x='%d' y='%d' text-anchor='end'>step</text>\n", WIDTH - RIGHT, HEIGHT - 6);
}

// Of at most a thousand stretches of steps the mean: more are not to be seen.
static void line(FILE *to, const frame *f, const float *losses, const char *style) {
  int64_t stride = (f->steps + 999) / 1000;
  fprintf(to, "<polyline fill='none' %s points='", style);
  for (int64_t i = 0; i < f->steps; i += stride) {
    int64_t n = i + stride < f->steps ? stride : f->steps - i;
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += losses[i + k];
    fprintf(to, "%.1f,%.2f ", x_of(f, (double)i + (double)(n - 1) / 2), y_of(f, sum / (double)n));
  }
  fprintf(to, "'/>\n");
}

static void plot(FILE *to, const run *r, const char *title) {
  float *smooth = malloc(((size_t)r->step + 1) * sizeof *smooth);
  if (!smooth) fail(3, "out of memory");
  frame f = {.low = 0, .high = r->losses[0], .steps = r->step};
  double mean = r->losses[0], keep = 1 - fmin(1, 50.0 / (double)r->step);
  for (int64_t i = 0; i < r->step; i++) {
    mean = keep * mean + (1 - keep) * r->losses[i];
    smooth[i] = (float)mean;
    if (r->losses[i] > f.high) f.high = r->losses[i];
  }
  if (!(f.high > 0)) f.high = 1;
  fprintf(to, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif'"
          " font-size='12'>\n<rect width='100%%' height='100%%' fill='white'/>\n", WIDTH, HEIGHT);
  fprintf(to, "<text x='%d' y='18' font-size='14'>%s: loss, last %.4g</text>\n", LEFT, title, mean);
  axes(to, &f);
  line(to, &f, r->losses, "stroke='#bbb'");
  line(to, &f, smooth, "stroke='#06c' stroke-width='2'");
  fprintf(to, "</svg>\n");
  free(smooth);
}

void plot_save(const run *r, model *m) {
  if (!r->step) return;
  char path[4096], *text = NULL;
  size_t size = 0;
  const char *title = m->options->unit;
  snprintf(path, sizeof path, "%s/loss.svg", m->options->out);
  FILE *to = open_memstream(&text, &size);
  if (!to) fail(3, "out of memory");
  plot(to, r, title);
  if (fclose(to)) fail(3, "out of memory");
  tcf_output output = {.path = path, .data = text, .size = size};
  must(m->session, tcf_save(m->session, &output, 1));
  free(text);
}
