// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Timing on the device by events.
#include <stdlib.h>

#include "runtime/cuda_device.h"

struct cuda_timer {
  cuda_device *device;
  int n, begun, ended;
  void *flush;
  size_t flush_bytes;
  cu_event events[];  // begin and end of each interval
};

cuda_timer *cuda_timer_new(cuda_device *d, int n, size_t flush_bytes, error *e) {
  cuda_timer *t = calloc(1, sizeof *t + sizeof *t->events * 2 * (size_t)n);
  cuda_scope s;
  if (!t) error_set(e, ERROR_MEMORY, "out of memory");
  if (!t || !cuda_enter(&s, d, e)) {
    free(t);
    return NULL;
  }
  *t = (cuda_timer){.device = cuda_share(d), .n = n, .flush_bytes = flush_bytes};
  bool ok = true;
  for (int i = 0; ok && i < 2 * n; i++)
    ok = cuda_ok(&d->driver, d->driver.event_create(&t->events[i], CU_EVENT_TIMED), e, "an event");
  cuda_leave(&s);
  if (ok && flush_bytes) ok = (t->flush = cuda_alloc(d, flush_bytes, e));
  if (ok) return t;
  cuda_timer_free(t);
  return NULL;
}

void cuda_timer_free(cuda_timer *t) {
  if (!t) return;
  cuda_scope s;
  if (cuda_enter(&s, t->device, NULL)) {
    for (int i = 0; i < 2 * t->n; i++)
      if (t->events[i]) t->device->driver.event_destroy(t->events[i]);
    cuda_leave(&s);
  }
  cuda_free(t->device, t->flush);
  cuda_close(t->device);
  free(t);
}

bool cuda_timer_begin(cuda_timer *t, error *e) {
  cuda_device *d = t->device;
  const cuda_driver *c = &d->driver;
  cuda_scope s;
  if (!cuda_enter(&s, d, e)) return false;
  cu_stream stream = cuda_stream(d, e);
  bool ok = stream;
  if (ok && t->flush)
    ok = cuda_ok(c,
                 c->set_bytes((cu_pointer)(uintptr_t)t->flush, (unsigned char)t->begun,
                              t->flush_bytes, stream),
                 e, "writing memory");
  ok = ok && cuda_ok(c, c->event_record(t->events[2 * t->begun++], stream), e, "an event");
  cuda_leave(&s);
  return ok;
}

bool cuda_timer_end(cuda_timer *t, error *e) {
  cuda_device *d = t->device;
  cuda_scope s;
  if (!cuda_enter(&s, d, e)) return false;
  cu_stream stream = cuda_stream(d, e);
  bool ok =
      stream && cuda_ok(&d->driver, d->driver.event_record(t->events[2 * t->ended++ + 1], stream),
                        e, "an event");
  cuda_leave(&s);
  return ok;
}

bool cuda_timer_read(cuda_timer *t, double *seconds, error *e) {
  const cuda_driver *c = &t->device->driver;
  cuda_scope s;
  if (!cuda_wait(t->device, e) || !cuda_enter(&s, t->device, e)) return false;
  bool ok = true;
  for (int i = 0; ok && i < t->ended; i++) {
    float milliseconds = 0;
    ok = cuda_ok(c, c->event_elapsed(&milliseconds, t->events[2 * i], t->events[2 * i + 1]), e,
                 "reading an event");
    seconds[i] = (double)milliseconds * 1e-3;
  }
  cuda_leave(&s);
  return ok;
}
