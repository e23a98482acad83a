// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The runtime of libraries for CPUs: threads, and memory that is kept between calls.
#include <stdlib.h>

#include "runtime/library.h"
#include "runtime/memory.h"
#include "runtime/modes.h"
#include "runtime/pool.h"

struct tcf_context {
  const tcf_library *library;
  pool *pool;
  call_memory memory, scratch;
  int64_t *bytes;  // by pointer, during a call
  error error;
};

int32_t LIBRARY_NAME(cpu_open)(const tcf_library *l, int32_t threads, tcf_context **out);
int32_t LIBRARY_NAME(cpu_call)(tcf_context *c, void *const *pointers, const int64_t *symbols);
const char *LIBRARY_NAME(cpu_message)(const tcf_context *c);
void LIBRARY_NAME(cpu_close)(tcf_context *c);

int32_t LIBRARY_NAME(cpu_open)(const tcf_library *l, int32_t threads, tcf_context **out) {
  tcf_context *c = *out = calloc(1, sizeof *c);
  if (!c) return TCF_CALL_MEMORY;
  c->library = l;
  c->bytes = calloc((size_t)l->npointers + 1, sizeof *c->bytes);
  if (c->bytes) c->pool = pool_new(threads > 0 ? threads : pool_cpus());
  if (c->pool) return TCF_CALL_OK;
  error_set(&c->error, ERROR_MEMORY, "out of memory");
  return TCF_CALL_MEMORY;
}

int32_t LIBRARY_NAME(cpu_call)(tcf_context *c, void *const *pointers, const int64_t *symbols) {
  if (!c || !c->pool) return TCF_CALL_MEMORY;  // it could not be opened
  const tcf_library *l = c->library;
  c->error.text[0] = 0;
  int32_t status = library_check(l, pointers, symbols, 1, c->bytes, &c->error);
  if (status) return status;
  tcf_frame frame = {.pool = c->pool, .parallel_for = pool_run, .workers = pool_workers(c->pool)};
  if (!call_memory_reserve(&c->memory, l->arena_size(symbols), &c->error) ||
      !call_memory_reserve(&c->scratch, l->scratch_size(symbols) * frame.workers, &c->error))
    return TCF_CALL_MEMORY;
  frame.arena = c->memory.data;
  frame.scratch = c->scratch.data;
  float_modes before = float_modes_enter(false);
  status = l->run(pointers, symbols, &frame);
  float_modes_leave(before);
  if (status != TCF_CALL_INDEX) return status;
  return library_index_error(l, frame.error_site, frame.error_index, symbols, &c->error);
}

const char *LIBRARY_NAME(cpu_message)(const tcf_context *c) {
  return c ? c->error.text : "out of memory";
}

void LIBRARY_NAME(cpu_close)(tcf_context *c) {
  if (!c) return;
  pool_free(c->pool);
  free(c->bytes);
  call_memory_release(&c->memory);
  call_memory_release(&c->scratch);
  free(c);
}
