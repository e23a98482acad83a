// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Modules: code into the device, its kernels ready to start.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_device.h"

enum { LOG_SHOWN = 320 };

jit_log *jit_log_new(error *e) {
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

static cu_result load_image(cuda_module *m, const void *image, jit_log *log) {
  cuda_device *d = m->device;
  double begin = cuda_seconds();
  cu_result r = d->driver.module_load(&m->module, image, 4, log->options, log->values);
  d->spent.kernels += cuda_seconds() - begin;
  return r;
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
    m->has_tickets |= kernels[i].ticket_word != 0;
  }
  return !m->has_tickets || cuda_make_tickets(m->device, e);
}

cuda_module *cuda_module_load(cuda_device *d, const tcf_kernel_info *kernels, const void *image,
                              error *e) {
  cuda_scope s;
  jit_log *log = jit_log_new(e);
  cuda_module *m = log ? calloc(1, sizeof *m) : NULL;
  if (!m || !cuda_enter(&s, d, e)) {
    if (log && !m) error_set(e, ERROR_MEMORY, "out of memory");
    free(log);
    free(m);
    return NULL;
  }
  m->device = cuda_share(d);
  bool ok = log_fail(&d->driver, load_image(m, image, log), log, kernels, e) &&
            open_kernels(m, kernels, e);
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
