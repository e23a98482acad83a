// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Opening a device and its memory, streams and error words: see runtime/cuda.h.
#include "runtime/cuda_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- opening

static int attribute(cuda_device *d, int which) {
  int value = 0;
  return d->driver.device_attribute(&value, which, d->number) ? 0 : value;
}

static void read_info(cuda_device *d, int ordinal) {
  cuda_info *i = &d->info;
  size_t bytes = 0;
  i->ordinal = ordinal;
  d->driver.device_name(i->name, sizeof i->name, d->number);
  d->driver.driver_version(&i->driver);
  d->driver.device_memory(&bytes, d->number);
  i->memory_bytes = (int64_t)bytes;
  i->major = attribute(d, CU_ATTRIBUTE_MAJOR);
  i->minor = attribute(d, CU_ATTRIBUTE_MINOR);
  i->multiprocessors = attribute(d, CU_ATTRIBUTE_MULTIPROCESSORS);
  i->threads_per_sm = attribute(d, CU_ATTRIBUTE_THREADS_PER_SM);
  i->registers_per_sm = attribute(d, CU_ATTRIBUTE_REGISTERS_PER_SM);
  i->shared_per_block = attribute(d, CU_ATTRIBUTE_SHARED_PER_BLOCK);
  i->shared_per_sm = attribute(d, CU_ATTRIBUTE_SHARED_PER_SM);
  i->l2_bytes = attribute(d, CU_ATTRIBUTE_L2_BYTES);
  // Two transfers a clock.
  i->bytes_per_second =
      2e3 * attribute(d, CU_ATTRIBUTE_MEMORY_CLOCK) * attribute(d, CU_ATTRIBUTE_MEMORY_BITS) / 8;
}

static bool choose_device(cuda_device *d, int ordinal, error *e) {
  int count = 0;
  if (!cuda_ok(&d->driver, d->driver.device_count(&count), e, "counting devices")) return false;
  if (!count) return error_set(e, ERROR_DEVICE, "the NVIDIA driver finds no device");
  if (ordinal < 0 || ordinal >= count)
    return error_set(e, ERROR_DEVICE, "there is no CUDA device %d: the driver finds %d", ordinal,
                     count);
  return cuda_ok(&d->driver, d->driver.device_get(&d->number, ordinal), e, "CUDA device %d",
                 ordinal);
}

/// A pool of our own: the process' default pool keeps the settings that its owner gave it. Memory
/// stays in it between calls, up to a sixteenth of the device.
static void open_pool(cuda_device *d) {
  const cuda_driver *c = &d->driver;
  if (!c->pool_create || !c->pool_set || !c->pool_alloc || !c->pool_free || !c->pool_destroy)
    return;
  if (!attribute(d, CU_ATTRIBUTE_POOLS)) return;
  cu_pool_props props = {.allocation = 1, .location = 1, .ordinal = d->info.ordinal};
  uint64_t keep = (uint64_t)d->info.memory_bytes / 16;
  if (c->pool_create(&d->pool, &props)) d->pool = NULL;
  if (d->pool) c->pool_set(d->pool, CU_POOL_RELEASE_THRESHOLD, &keep);
}

static bool open_context(cuda_device *d, error *e) {
  const cuda_driver *c = &d->driver;
  const char *name = d->info.name;
  if (!cuda_ok(c, c->primary_retain(&d->context, d->number), e, "%s: opening its context", name))
    return false;
  cuda_scope s;
  if (!cuda_enter(&s, d, e)) return false;
  open_pool(d);
  size_t bytes = sizeof *d->words * ERROR_WORDS;
  bool ok =
      cuda_ok(c, c->stream_create(&d->stream, CU_STREAM_ORDERED_WITH_LEGACY), e, "%s: stream",
              name) &&
      cuda_ok(c, c->event_create(&d->mine, CU_EVENT_UNTIMED), e, "%s: event", name) &&
      cuda_ok(c, c->event_create(&d->theirs, CU_EVENT_UNTIMED), e, "%s: event", name) &&
      cuda_ok(c, c->host_alloc((void **)&d->words, bytes, CU_HOST_PORTABLE | CU_HOST_MAPPED), e,
              "%s: pinned memory", name) &&
      cuda_ok(c, c->host_pointer(&d->words_device, d->words, 0), e, "%s: pinned memory", name);
  if (ok) memset(d->words, 0, bytes);
  cuda_leave(&s);
  return ok;
}

double cuda_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

cuda_device *cuda_open(int ordinal, error *e) {
  double begin = cuda_seconds();
  cuda_device *d = calloc(1, sizeof *d);
  if (!d) {
    error_set(e, ERROR_MEMORY, "out of memory");
    return NULL;
  }
  const char *slow = getenv("TCF_CUDA_SYNC");
  d->users = 1;
  d->mark = fork_mark_new();
  d->slow = slow && *slow && strcmp(slow, "0");
  bool ok = cuda_driver_open(&d->driver, e) && choose_device(d, ordinal, e);
  if (ok) {
    read_info(d, ordinal);
    ok = open_context(d, e);
  }
  d->spent.start = cuda_seconds() - begin;
  if (ok) return d;
  cuda_close(d);
  return NULL;
}

cuda_device *cuda_share(cuda_device *d) {
  d->users++;
  return d;
}

void cuda_close(cuda_device *d) {
  if (!d || --d->users > 0) return;
  const cuda_driver *c = &d->driver;
  cuda_scope s;
  if (d->context && cuda_enter(&s, d, NULL)) {
    if (d->stream) c->stream_wait(d->stream);
    if (d->words) c->host_free(d->words);
    if (d->tickets) c->free(d->tickets);
    if (d->mine) c->event_destroy(d->mine);
    if (d->theirs) c->event_destroy(d->theirs);
    if (d->capture) c->stream_destroy(d->capture);
    if (d->stream) c->stream_destroy(d->stream);
    if (d->pool) c->pool_destroy(d->pool);
    cuda_leave(&s);
  }
  bool here = fork_mark_is_here(&d->mark);
  if (d->context && here) c->primary_release(d->number);
  if (here) cuda_driver_close(&d->driver);
  fork_mark_free(&d->mark);
  free(d);
}

const cuda_info *cuda_device_info(const cuda_device *d) { return &d->info; }
cuda_spent cuda_device_spent(const cuda_device *d) { return d->spent; }

bool cuda_enter(cuda_scope *s, cuda_device *d, error *e) {
  const cuda_driver *c = &d->driver;
  cu_context now = NULL;
  *s = (cuda_scope){d, false};
  if (!fork_mark_is_here(&d->mark))
    return error_set(e, ERROR_DEVICE,
                     "%s was opened before this process was forked: open a session of its own",
                     d->info.name);
  if (!c->context_current(&now) && now == d->context) return true;
  s->pushed = true;
  if (cuda_ok(c, c->context_push(d->context), e, "%s: its context", d->info.name)) return true;
  s->pushed = false;
  return false;
}

void cuda_leave(cuda_scope *s) {
  cu_context popped;
  if (s->pushed) s->device->driver.context_pop(&popped);
}

// ---- streams

void *cuda_stream(cuda_device *d, error *e) {
  const cuda_driver *c = &d->driver;
  if (d->caller_busy) {
    if (!cuda_ok(c, c->stream_wait_event(d->stream, d->theirs, 0), e, "waiting for a stream"))
      return NULL;
    d->caller_busy = false;
  }
  d->busy = true;
  return d->stream;
}

bool cuda_join(cuda_device *d, void *stream, error *e) {
  const cuda_driver *c = &d->driver;
  // What an earlier caller's stream does comes before this one's work, by way of our stream.
  if (d->caller_busy && d->caller != stream && !cuda_stream(d, e)) return false;
  if (!d->busy) return true;
  d->busy = false;
  return cuda_ok(c, c->event_record(d->mine, d->stream), e, "marking a stream") &&
         cuda_ok(c, c->stream_wait_event(stream, d->mine, 0), e, "waiting for a stream");
}

bool cuda_part(cuda_device *d, void *stream, error *e) {
  const cuda_driver *c = &d->driver;
  if (d->caller_busy && d->caller != stream && !cuda_stream(d, e)) return false;
  d->caller = stream;
  d->caller_busy = true;
  return cuda_ok(c, c->event_record(d->theirs, stream), e, "marking a stream");
}

bool cuda_follow(cuda_device *d, void *stream, error *e) {
  return cuda_part(d, stream, e) && cuda_stream(d, e);
}

bool cuda_is_capturing(cuda_device *d, void *stream) {
  int status = 0;
  return !d->driver.stream_capturing(stream, &status) && status;
}

bool cuda_wait(cuda_device *d, error *e) {
  const cuda_driver *c = &d->driver;
  cuda_scope s;
  if (!cuda_enter(&s, d, e)) return false;
  bool ok =
      cuda_stream(d, e) && cuda_ok(c, c->stream_wait(d->stream), e, "waiting for %s", d->info.name);
  d->busy = false;
  cuda_leave(&s);
  return ok;
}

// ---- memory

void *cuda_alloc_on(cuda_device *d, size_t bytes, void *stream, error *e) {
  const cuda_driver *c = &d->driver;
  cu_pointer p = 0;
  cuda_scope s;
  if (!bytes) bytes = 1;
  if (!cuda_enter(&s, d, e)) return NULL;
  cu_result r = d->pool ? c->pool_alloc(&p, bytes, d->pool, stream) : c->alloc(&p, bytes);
  cuda_leave(&s);
  if (!cuda_ok(c, r, e, "%s: %zu bytes of memory", d->info.name, bytes)) return NULL;
  return (void *)(uintptr_t)p;
}

void cuda_free_on(cuda_device *d, void *p, void *stream) {
  const cuda_driver *c = &d->driver;
  cuda_scope s;
  if (!p || !cuda_enter(&s, d, NULL)) return;
  if (d->pool) c->pool_free((cu_pointer)(uintptr_t)p, stream);
  else c->free((cu_pointer)(uintptr_t)p);
  cuda_leave(&s);
}

void *cuda_alloc(cuda_device *d, size_t bytes, error *e) {
  cuda_scope s;
  if (!cuda_enter(&s, d, e)) return NULL;
  void *stream = cuda_stream(d, e);
  void *p = stream ? cuda_alloc_on(d, bytes, stream, e) : NULL;
  cuda_leave(&s);
  return p;
}

void cuda_free(cuda_device *d, void *p) {
  cuda_scope s;
  if (!p || !cuda_enter(&s, d, NULL)) return;
  void *stream = cuda_stream(d, NULL);
  if (stream) cuda_free_on(d, p, stream);
  cuda_leave(&s);
}

bool cuda_copy(cuda_device *d, cuda_direction direction, void *to, const void *from, size_t bytes,
               error *e) {
  const cuda_driver *c = &d->driver;
  cuda_scope s;
  if (!bytes) return true;
  if (!cuda_enter(&s, d, e)) return false;
  cu_stream stream = cuda_stream(d, e);
  cu_pointer device_to = (cu_pointer)(uintptr_t)to, device_from = (cu_pointer)(uintptr_t)from;
  bool ok = stream;
  if (ok && direction == CUDA_TO_DEVICE)
    ok = cuda_ok(c, c->to_device(device_to, from, bytes, stream), e, "copying %zu bytes to %s",
                 bytes, d->info.name);
  else if (ok && direction == CUDA_ON_DEVICE)
    ok = cuda_ok(c, c->on_device(device_to, device_from, bytes, stream), e,
                 "copying %zu bytes on %s", bytes, d->info.name);
  else if (ok)
    ok = cuda_ok(c, c->to_host(to, device_from, bytes, stream), e, "copying %zu bytes from %s",
                 bytes, d->info.name) &&
         cuda_ok(c, c->stream_wait(stream), e, "waiting for %s", d->info.name);
  cuda_leave(&s);
  return ok;
}

// ---- tickets

/// Once for all: a kernel leaves them as it found them (codegen/abi.h). Those of a call on a caller's
/// stream are its own (cuda_run_on).
bool cuda_make_tickets(cuda_device *d, error *e) {
  const cuda_driver *c = &d->driver;
  if (d->tickets) return true;
  cu_stream stream = cuda_stream(d, e);
  if (!stream) return false;
  if (!cuda_ok(c, c->alloc(&d->tickets, TCF_TICKET_BYTES), e, "%s: %d bytes of memory",
               d->info.name, TCF_TICKET_BYTES))
    return false;
  if (cuda_ok(c, c->set_bytes(d->tickets, 0, TCF_TICKET_BYTES, stream), e, "clearing tickets"))
    return true;
  c->free(d->tickets);
  d->tickets = 0;
  return false;
}

// ---- error words

tcf_device_error *cuda_error_word(cuda_device *d, error *e) {
  for (int i = 0; i < ERROR_WORDS; i++) {
    uint64_t *block = &d->words_used[i / 64], bit = (uint64_t)1 << i % 64;
    if (*block & bit) continue;
    *block |= bit;
    d->words[i] = (tcf_device_error){0};
    return &d->words[i];
  }
  error_set(e, ERROR_MEMORY, "more than %d functions with checks on one device", ERROR_WORDS);
  return NULL;
}

void cuda_error_word_free(cuda_device *d, tcf_device_error *w) {
  if (!w) return;
  ptrdiff_t i = w - d->words;
  d->words_used[i / 64] &= ~((uint64_t)1 << i % 64);
}
