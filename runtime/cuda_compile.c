// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// PTX to a cubin by the driver's compiler, once: cubins are kept on disk.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_device.h"

/// The cubin of PTX text, malloc'd. Null when the driver's linker does not take it: loading the text
/// directly says why.
static void *link_ptx(cuda_device *d, const char *ptx, size_t *cubin_size) {
  const cuda_driver *c = &d->driver;
  jit_log *log = jit_log_new(NULL);
  cu_link link = NULL;
  void *cubin, *copy = NULL;
  if (!log) return NULL;
  if (!c->link_create(4, log->options, log->values, &link) &&
      !c->link_add(link, CU_INPUT_PTX, (void *)ptx, strlen(ptx) + 1, "tcc-fuse", 0, NULL, NULL) &&
      !c->link_complete(link, &cubin, cubin_size) && (copy = malloc(*cubin_size)))
    memcpy(copy, cubin, *cubin_size);  // the link owns it
  if (link) c->link_destroy(link);
  free(log);
  return copy;
}

static cache_key cubin_key(const cuda_device *d, const void *ptx, size_t size) {
  char who[64];
  int n = snprintf(who, sizeof who, "cubin of ptx, driver %d, sm %d.%d", d->info.driver,
                   d->info.major, d->info.minor);
  return cache_key_of(who, (size_t)n, ptx, size);
}

static cuda_module *load_cached(cuda_device *d, const tcf_kernel_info *kernels, cache *c,
                                const cache_key *key) {
  cache_entry entry;
  if (!c || !cache_load(c, key, &entry)) return NULL;
  cuda_module *m = cuda_module_load(d, kernels, entry.object, NULL);
  free(entry.block);
  return m;
}

/// Null: the text has to be loaded as it is.
static cuda_module *load_linked(cuda_device *d, const tcf_kernel_info *kernels, const char *ptx,
                                cache *c, const cache_key *key) {
  size_t size;
  cuda_scope s;
  if (!cuda_enter(&s, d, NULL)) return NULL;
  double begin = cuda_seconds();
  void *cubin = link_ptx(d, ptx, &size);
  d->spent.kernels += cuda_seconds() - begin;
  cuda_leave(&s);
  cuda_module *m = cubin ? cuda_module_load(d, kernels, cubin, NULL) : NULL;
  if (m && c) cache_store(c, key, "", 0, cubin, size);
  free(cubin);
  return m;
}

cuda_module *cuda_module_compile(cuda_device *d, const tcf_kernel_info *kernels, const char *ptx,
                                 size_t size, cache *c, error *e) {
  // The linker compiles relocatable code, for which it does not fix the registers at entry that
  // setmaxnreg starts from; such modules are loaded as text and kept in the driver's own cache.
  if (strstr(ptx, "setmaxnreg")) return cuda_module_load(d, kernels, ptx, e);
  cache_key key = cubin_key(d, ptx, size);
  cuda_module *m = load_cached(d, kernels, c, &key);
  if (!m) m = load_linked(d, kernels, ptx, c, &key);
  return m ? m : cuda_module_load(d, kernels, ptx, e);
}
