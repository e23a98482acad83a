// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Opening the driver and wording its errors: see runtime/cuda_driver.h.
#include "runtime/cuda_driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool find(const cuda_driver *c, const char *symbol, void *field) {
  void *f = dlsym(c->library, symbol);
  memcpy(field, &f, sizeof f);  // a function pointer, by way of an object pointer (POSIX)
  return f;
}

static const char *fill_table(cuda_driver *c) {
#define FIND(field, symbol, params) \
  if (!find(c, #symbol, &c->field)) return #symbol;
  CUDA_REQUIRED(FIND)
#undef FIND
#define FIND(field, symbol, params) find(c, #symbol, &c->field);
  CUDA_OPTIONAL(FIND)
#undef FIND
  return NULL;
}

bool cuda_driver_open(cuda_driver *c, error *e) {
  *c = (cuda_driver){0};
  const char *name = getenv("TCF_CUDA_LIBRARY");
  if (!name || !*name) name = "libcuda.so.1";
  c->library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!c->library) return error_set(e, ERROR_DEVICE, "no NVIDIA driver: %s", dlerror());
  const char *missing = fill_table(c);
  if (missing) {
    error_set(e, ERROR_DEVICE, "the NVIDIA driver is too old: %s has no %s", name, missing);
    cuda_driver_close(c);
    return false;
  }
  cu_result r = c->init(0);
  if (r == CU_NO_DEVICE) error_set(e, ERROR_DEVICE, "the NVIDIA driver finds no device");
  else if (cuda_ok(c, r, e, "the NVIDIA driver does not start")) return true;
  cuda_driver_close(c);
  return false;
}

void cuda_driver_close(cuda_driver *c) {
  if (c->library) dlclose(c->library);
  c->library = NULL;
}

bool cuda_ok(const cuda_driver *c, cu_result r, error *e, const char *what, ...) {
  if (!r) return true;
  char text[384];
  const char *name = NULL, *meaning = NULL;
  va_list args;
  va_start(args, what);
  vsnprintf(text, sizeof text, what, args);
  va_end(args);
  if (c->error_name(r, &name) || !name) name = "an unknown error";
  if (c->error_string(r, &meaning) || !meaning) meaning = "no description";
  return error_set(e, r == CU_OUT_OF_MEMORY ? ERROR_MEMORY : ERROR_DEVICE, "%s: %s (%d): %s", text,
                   name, r, meaning);
}
