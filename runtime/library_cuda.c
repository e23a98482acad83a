// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The runtime of libraries for CUDA devices: the kernels loaded into one device, and calls on the
// caller's streams.
#include <stdlib.h>

#include "runtime/cuda.h"
#include "runtime/library.h"

enum { ALIGNMENT = 16 };

struct tcf_context {
  const tcf_library *library;
  cuda_device *device;
  cuda_module *module;
  tcf_device_error *errors;  // null: the kernels have no checks
  int64_t *bytes;            // by pointer, during a call
  error error;
};

int32_t LIBRARY_NAME(cuda_open)(const tcf_library *l, int32_t ordinal, tcf_context **out);
int32_t LIBRARY_NAME(cuda_call)(tcf_context *c, void *const *pointers, const int64_t *symbols,
                                void *stream);
int32_t LIBRARY_NAME(cuda_wait)(tcf_context *c);
const char *LIBRARY_NAME(cuda_message)(const tcf_context *c);
void LIBRARY_NAME(cuda_close)(tcf_context *c);

static int32_t failed(const error *e) {
  return e->kind == ERROR_MEMORY ? TCF_CALL_MEMORY : TCF_CALL_LAUNCH;
}

/// The cubin where it runs, else the PTX, whose error is the one to tell.
static cuda_module *load(const tcf_library *l, cuda_device *d, error *e) {
  cuda_module *m = NULL;
  if (l->cubin_size) m = cuda_module_load(d, l->kernels, l->cubin, e);
  return m ? m : cuda_module_load(d, l->kernels, l->ptx, e);
}

static bool prepare(tcf_context *c, int32_t ordinal) {
  const tcf_library *l = c->library;
  error *e = &c->error;
  c->bytes = calloc((size_t)l->npointers + 1, sizeof *c->bytes);
  if (!c->bytes) return error_set(e, ERROR_MEMORY, "out of memory");
  if (!(c->device = cuda_open(ordinal, e))) return false;
  if (!(c->module = load(l, c->device, e))) return false;
  return !l->nsites || (c->errors = cuda_error_word(c->device, e));
}

int32_t LIBRARY_NAME(cuda_open)(const tcf_library *l, int32_t ordinal, tcf_context **out) {
  tcf_context *c = *out = calloc(1, sizeof *c);
  if (!c) return TCF_CALL_MEMORY;
  c->library = l;
  if (!prepare(c, ordinal)) return failed(&c->error);
  c->error.text[0] = 0;  // of a cubin that did not suit
  return TCF_CALL_OK;
}

/// What starts the kernels of a call.
typedef struct started {
  const tcf_library *library;
  void *const *pointers;
  const int64_t *symbols;
  tcf_frame frame;
} started;

static int32_t start(void *ctx) {
  started *s = ctx;
  return s->library->run(s->pointers, s->symbols, &s->frame);
}

/// "norms.tdsl:14:3: kernel softmax_0: CUDA_ERROR_..."
static int32_t launch_error(tcf_context *c, const cuda_call *call) {
  int step = call->step;
  const char *place = step >= 0 && step < c->library->nsteps ? c->library->places[step] : NULL;
  error_set(&c->error, call->error.kind, "%s%s%.400s", place ? place : "", place ? ": " : "",
            call->error.text);
  return failed(&call->error);
}

int32_t LIBRARY_NAME(cuda_call)(tcf_context *c, void *const *pointers, const int64_t *symbols,
                                void *stream) {
  if (!c) return TCF_CALL_MEMORY;
  const tcf_library *l = c->library;
  if (!c->module) return failed(&c->error);  // it could not be opened
  c->error.text[0] = 0;
  int32_t status = library_check(l, pointers, symbols, ALIGNMENT, c->bytes, &c->error);
  if (status) return status;
  cuda_call call = {.module = c->module, .errors = c->errors};
  started s = {l, pointers, symbols, {.device = &call, .launch = cuda_launch}};
  status = cuda_run_on(&call, stream, l->arena_size(symbols), &s.frame.arena, start, &s);
  return status ? launch_error(c, &call) : TCF_CALL_OK;
}

int32_t LIBRARY_NAME(cuda_wait)(tcf_context *c) {
  if (!c) return TCF_CALL_MEMORY;
  if (!c->module) return failed(&c->error);
  c->error.text[0] = 0;
  if (!cuda_wait(c->device, &c->error)) return failed(&c->error);
  if (!c->errors || !c->errors->site) return TCF_CALL_OK;
  tcf_device_error found = *c->errors;
  *c->errors = (tcf_device_error){0};
  return library_index_error(c->library, found.site, found.index, NULL, &c->error);
}

const char *LIBRARY_NAME(cuda_message)(const tcf_context *c) {
  return c ? c->error.text : "out of memory";
}

void LIBRARY_NAME(cuda_close)(tcf_context *c) {
  if (!c) return;
  if (c->device) cuda_wait(c->device, NULL);  // nothing of it may still run
  cuda_module_free(c->module);
  if (c->device) cuda_error_word_free(c->device, c->errors);
  cuda_close(c->device);
  free(c->bytes);
  free(c);
}
