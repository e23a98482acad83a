// Modules: PTX to a cubin once, the cubin into the device, its kernels ready to start.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_device.h"

enum { LOG_BYTES = 8192, LOG_SHOWN = 320 };

/// The driver's compiler writes here; sizes travel as pointers.
typedef struct jit_log {
  char info[LOG_BYTES], error[LOG_BYTES];
  int options[4];
  void *values[4];
} jit_log;

static jit_log *log_new(error *e) {
  jit_log *l = calloc(1, sizeof *l);
  if (!l) {
    error_set(e, ERROR_MEMORY, "out of memory");
    return NULL;
  }
  const int options[] = {CU_JIT_INFO_LOG, CU_JIT_INFO_LOG_BYTES, CU_JIT_ERROR_LOG,
                         CU_JIT_ERROR_LOG_BYTES};
  void *values[] = {l->info, (void *)(uintptr_t)LOG_BYTES, l->error, (void *)(uintptr_t)LOG_BYTES};
  memcpy(l->options, options, sizeof options);
  memcpy(l->values, values, sizeof values);
  return l;
}

/// "kernels softmax.0, softmax.1: ERROR: ...: ptxas fatal: ..."
static bool log_fail(const cuda_driver *c, cu_result r, const jit_log *l,
                     const tcf_kernel_info *kernels, error *e) {
  char names[128];
  int used = 0;
  for (const tcf_kernel_info *k = kernels; k->name && used < (int)sizeof names - 16; k++)
    used += snprintf(names + used, sizeof names - (size_t)used, "%s%s", k == kernels ? "" : ", ",
                     k->name);
  const char *text = l->error[0] ? l->error : l->info;
  size_t length = strlen(text);
  while (length && (text[length - 1] == '\n' || text[length - 1] == ' ')) length--;
  if (length > LOG_SHOWN) length = LOG_SHOWN;
  return cuda_ok(c, r, e, "loading kernels %s: %.*s", names, (int)length, text);
}

// ---- compiling

/// The cubin of PTX text, malloc'd. Null without an error in *e when the driver's linker does not
/// take it: loading the text directly says why.
static void *link_ptx(cuda_device *d, const char *ptx, size_t *cubin_size, error *e) {
  const cuda_driver *c = &d->driver;
  jit_log *log = log_new(e);
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

static cu_result load_image(cuda_module *m, const void *image, jit_log *log) {
  memset(log->info, 0, sizeof log->info);
  memset(log->error, 0, sizeof log->error);
  log->values[1] = log->values[3] = (void *)(uintptr_t)LOG_BYTES;
  return m->device->driver.module_load(&m->module, image, 4, log->options, log->values);
}

static cache_key cubin_key(const cuda_device *d, const void *ptx, size_t size) {
  char who[64];
  int n = snprintf(who, sizeof who, "cubin of ptx, driver %d, sm %d.%d", d->info.driver,
                   d->info.major, d->info.minor);
  return cache_key_of(who, (size_t)n, ptx, size);
}

static bool load_cached(cuda_module *m, cache *c, const cache_key *key, jit_log *log) {
  cache_entry entry;
  if (!c || !cache_load(c, key, &entry)) return false;
  bool ok = !load_image(m, entry.object, log);
  free(entry.block);
  return ok;
}

static bool load_ptx(cuda_module *m, const tcf_kernel_info *kernels, const void *ptx, size_t size,
                     cache *c, jit_log *log, error *e) {
  cuda_device *d = m->device;
  // The linker compiles relocatable code, for which it does not fix the registers at entry that
  // setmaxnreg starts from; such modules are loaded as text and kept in the driver's own cache.
  if (strstr(ptx, "setmaxnreg"))
    return log_fail(&d->driver, load_image(m, ptx, log), log, kernels, e);
  cache_key key = cubin_key(d, ptx, size);
  if (load_cached(m, c, &key, log)) return true;
  size_t cubin_size;
  void *cubin = link_ptx(d, ptx, &cubin_size, e);
  bool ok = cubin && !load_image(m, cubin, log);
  if (ok && c) cache_store(c, &key, "", 0, cubin, cubin_size);
  free(cubin);
  if (ok) return true;
  return log_fail(&d->driver, load_image(m, ptx, log), log, kernels, e);
}

// ---- loading

static bool open_kernel(cuda_module *m, cuda_kernel *k, error *e) {
  const cuda_driver *c = &m->device->driver;
  const tcf_kernel_info *i = k->info;
  if (!cuda_ok(c, c->module_function(&k->function, m->module, i->name), e, "kernel %s", i->name))
    return false;
  if (i->shared_bytes > 0 &&
      !cuda_ok(c, c->function_set(k->function, CU_FUNCTION_DYNAMIC_SHARED, i->shared_bytes), e,
               "kernel %s: %d bytes of shared memory", i->name, i->shared_bytes))
    return false;
  if (i->cluster > 8 && !cuda_ok(c, c->function_set(k->function, CU_FUNCTION_LARGE_CLUSTERS, 1), e,
                                 "kernel %s: clusters of %d blocks", i->name, i->cluster))
    return false;
  if (!i->nmaps) return true;
  size_t bytes = sizeof *k->ways * (size_t)i->nmaps * MAP_WAYS;
  k->ways = aligned_alloc(64, bytes);
  if (!k->ways) return error_set(e, ERROR_MEMORY, "out of memory");
  memset(k->ways, 0, bytes);
  return true;
}

static bool open_kernels(cuda_module *m, const tcf_kernel_info *kernels, error *e) {
  int n = 0;
  while (kernels[n].name) n++;
  m->kernels = calloc((size_t)n + 1, sizeof *m->kernels);
  if (!m->kernels) return error_set(e, ERROR_MEMORY, "out of memory");
  m->nkernels = n;
  for (int i = 0; i < n; i++) {
    m->kernels[i].info = &kernels[i];
    if (!open_kernel(m, &m->kernels[i], e)) return false;
  }
  return true;
}

cuda_module *cuda_module_load(cuda_device *d, const tcf_kernel_info *kernels, const void *image,
                              size_t size, cache *c, error *e) {
  cuda_scope s;
  jit_log *log = log_new(e);
  cuda_module *m = log ? calloc(1, sizeof *m) : NULL;
  if (!m || !cuda_enter(&s, d, e)) {
    if (log && !m) error_set(e, ERROR_MEMORY, "out of memory");
    free(log);
    free(m);
    return NULL;
  }
  m->device = cuda_share(d);
  bool elf = size > 4 && !memcmp(image, "\177ELF", 4);
  bool ok = elf ? log_fail(&d->driver, load_image(m, image, log), log, kernels, e)
                : load_ptx(m, kernels, image, size, c, log, e);
  ok = ok && open_kernels(m, kernels, e);
  cuda_leave(&s);
  free(log);
  if (ok) return m;
  cuda_module_free(m);
  return NULL;
}

static void forget(const cuda_driver *c, recorded *r) {
  if (r->exec) c->exec_destroy(r->exec);
  free(r->key);
}

void cuda_module_free(cuda_module *m) {
  if (!m) return;
  cuda_device *d = m->device;
  cuda_scope s;
  if (cuda_enter(&s, d, NULL)) {
    for (int i = 0; i < GRAPHS; i++) forget(&d->driver, &m->graphs[i]);
    if (m->module) d->driver.module_unload(m->module);
    cuda_leave(&s);
  }
  for (int i = 0; i < m->nkernels; i++) free(m->kernels[i].ways);
  free(m->kernels);
  free(m);
  cuda_close(d);
}

int cuda_module_kernels(const cuda_module *m) { return m->nkernels; }

bool cuda_module_usage(const cuda_module *m, int kernel, cuda_usage *out, error *e) {
  const cuda_driver *c = &m->device->driver;
  const cuda_kernel *k = &m->kernels[kernel];
  const tcf_kernel_info *i = k->info;
  int fixed = 0;
  cuda_scope s;
  *out = (cuda_usage){.name = i->name, .threads = i->threads};
  if (!cuda_enter(&s, m->device, e)) return false;
  bool ok =
      cuda_ok(c, c->function_get(&out->registers, CU_FUNCTION_REGISTERS, k->function), e,
              "kernel %s", i->name) &&
      cuda_ok(c, c->function_get(&out->spilled_bytes, CU_FUNCTION_LOCAL, k->function), e,
              "kernel %s", i->name) &&
      cuda_ok(c, c->function_get(&fixed, CU_FUNCTION_SHARED, k->function), e, "kernel %s",
              i->name) &&
      cuda_ok(c,
              c->occupancy(&out->blocks_per_sm, k->function, i->threads, (size_t)i->shared_bytes),
              e, "kernel %s", i->name);
  out->shared_bytes = fixed + i->shared_bytes;
  cuda_leave(&s);
  return ok;
}
