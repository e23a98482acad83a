// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls the parts of net.tdsl that were built: descends, and compares with differences on the way.
#include <math.h>
#include <stdio.h>

#include "net.h"

enum { N = 21, D = 3, H = 5 };
static float x[N][D], w[D][H], v[H], t[N], loss, e[N], h[N][H], dw[D][H], dv[H];

#ifdef OBJECT
static void serial(void *pool, tcf_task task, void *args, int64_t n) {
  (void)pool;
  task(args, 0, n, 0);
}
static _Alignas(64) char arena[1 << 16], scratch[1 << 16];
static tcf_frame frame = {.parallel_for = serial, .workers = 1, .arena = arena, .scratch = scratch};
#define FORWARD &frame
#define BACKWARD &frame
#else
static net_forward_context *forward;
static net_backward_context *backward;
#define FORWARD forward
#define BACKWARD backward
#endif

static float forward_loss(void) {
  if (net_forward(*x, *w, v, t, &loss, e, *h, N, D, H, FORWARD)) return NAN;
  return loss;
}

/// (f(p + s) - f(p - s)) / 2 s
static int differs(float *p, float gradient) {
  float was = *p, step = 0x1p-7f;
  *p = was + step;
  float above = forward_loss();
  *p = was - step;
  float below = forward_loss();
  *p = was;
  float want = (above - below) / (2 * step);
  if (fabsf(gradient - want) <= 2e-3f * (1 + fabsf(want))) return 0;
  printf("the gradient is %g, differences give %g\n", (double)gradient, (double)want);
  return 1;
}

int main(void) {
#ifndef OBJECT
  if (net_forward_open(2, &forward) || net_backward_open(1, &backward)) return 1;
#endif
  const float one = 1, none[N] = {0};
  float first = 0;
  for (int i = 0; i < N; i++) {
    for (int k = 0; k < D; k++) x[i][k] = sinf((float)(3 * i + k));
    t[i] = x[i][0] * x[i][1];
  }
  for (int j = 0; j < H; j++) {
    v[j] = cosf((float)j);
    for (int k = 0; k < D; k++) w[k][j] = cosf((float)(k * H + j + 1));
  }
  for (int step = 0; step < 200; step++) {
    float now = forward_loss();
    if (!step) first = now;
    if (net_backward(*x, v, e, *h, &one, none, *dw, dv, N, D, H, BACKWARD)) return 2;
    if (step % 50 == 0)
      for (int j = 0; j < H; j++)
        if (differs(&w[j % D][j], dw[j % D][j]) || differs(&v[j], dv[j])) return 3;
    for (int j = 0; j < H; j++) {
      v[j] -= 0.1f * dv[j];
      for (int k = 0; k < D; k++) w[k][j] -= 0.1f * dw[k][j];
    }
  }
  printf("loss %g, at first %g\n", (double)forward_loss(), (double)first);
#ifndef OBJECT
  net_forward_close(forward);
  net_backward_close(backward);
#endif
  return !(loss < 0.5f * first);
}
