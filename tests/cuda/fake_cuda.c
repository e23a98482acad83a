// See fake_cuda.h. Names and parameters are the driver's; two devices of compute capability 9.0.
#define _GNU_SOURCE
#include "tests/cuda/fake_cuda.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda_driver.h"

#define EXPORT __attribute__((visibility("default")))

enum { LOG_BYTES = 1 << 18, MOST_LAUNCHES = 64, MOST_FUNCTIONS = 32 };

typedef struct launch {
  char name[64];
  unsigned char params[4096];
  size_t size;
  unsigned grid, block, shared;
} launch;

struct cu_graph_ {
  launch launches[MOST_LAUNCHES];
  int n;
};
struct cu_stream_ {
  int number;
  cu_graph recording;
};
struct cu_event_ {
  int number;
  float when;
};
struct cu_function_ {
  char name[64];
  int words, maps;  // parameters of 8 and of 128 bytes
};
struct cu_module_ {
  struct cu_function_ functions[MOST_FUNCTIONS];
  int n;
};
struct cu_link_ {
  char cubin[4096];
  size_t size;
};

static struct {
  fake_kernel kernel;
  void *ctx;
  char log[LOG_BYTES];
  size_t used;
  char fail_name[64];
  int fail_times, fail_result;
  char slow_name[64];
  int slow_ms;
  int alive, streams, events;
  cu_context current, stack[16];
  int depth;
  float clock;
} fake;

/// Writes the call down; its result is success, or what `fail` asked for.
__attribute__((format(printf, 2, 3))) static cu_result note(const char *name, const char *format,
                                                            ...) {
  va_list args;
  char line[512];
  va_start(args, format);
  int n = snprintf(line, sizeof line, "%s ", name);
  vsnprintf(line + n, sizeof line - (size_t)n, format, args);
  va_end(args);
  if (fake.used + sizeof line + 1 < LOG_BYTES)
    fake.used += (size_t)sprintf(fake.log + fake.used, "%s\n", line);
  if (!strcmp(name, fake.slow_name)) usleep(1000 * (unsigned)fake.slow_ms);
  if (!fake.fail_times || strcmp(name, fake.fail_name)) return 0;
  fake.fail_times--;
  return fake.fail_result;
}

// ---- control

static void play(fake_kernel kernel, void *ctx) {
  fake.kernel = kernel;
  fake.ctx = ctx;
}
static const char *read_log(void) { return fake.log; }
static void clear(void) { fake.log[fake.used = 0] = 0; }
static void fail(const char *name, int times, int result) {
  snprintf(fake.fail_name, sizeof fake.fail_name, "%s", name);
  fake.fail_times = times;
  fake.fail_result = result;
}
static void slow(const char *name, int milliseconds) {
  snprintf(fake.slow_name, sizeof fake.slow_name, "%s", name);
  fake.slow_ms = milliseconds;
}
static void spend(float milliseconds) { fake.clock += milliseconds; }
static int alive(void) { return fake.alive; }

EXPORT const fake_cuda *fake_cuda_control(void);
const fake_cuda *fake_cuda_control(void) {
  static const fake_cuda control = {play, read_log, clear, fail, slow, spend, alive};
  return &control;
}

// ---- the driver

#define CU(name, ...)                 \
  EXPORT cu_result name(__VA_ARGS__); \
  cu_result name(__VA_ARGS__)

CU(cuInit, unsigned flags) { return note("cuInit", "%u", flags); }
CU(cuDriverGetVersion, int *version) { return *version = 13000, 0; }
CU(cuGetErrorName, cu_result r, const char **text) {
  *text = r == 2     ? "CUDA_ERROR_OUT_OF_MEMORY"
          : r == 700 ? "CUDA_ERROR_ILLEGAL_ADDRESS"
                     : "CUDA_ERROR";
  return 0;
}
CU(cuGetErrorString, cu_result r, const char **text) {
  *text = r == 2     ? "out of memory"
          : r == 700 ? "an illegal memory access was encountered"
                     : "broken";
  return 0;
}
CU(cuDeviceGetCount, int *count) { return *count = 2, note("cuDeviceGetCount", " "); }
CU(cuDeviceGet, cu_device *d, int ordinal) { return *d = ordinal, 0; }
CU(cuDeviceGetName, char *name, int size, cu_device d) {
  return snprintf(name, (size_t)size, "Fake %d", d), 0;
}
CU(cuDeviceGetAttribute, int *value, int which, cu_device d) {
  static const int table[][2] = {{CU_ATTRIBUTE_MULTIPROCESSORS, 4},
                                 {CU_ATTRIBUTE_MAJOR, 9},
                                 {CU_ATTRIBUTE_MINOR, 0},
                                 {CU_ATTRIBUTE_L2_BYTES, 1 << 20},
                                 {CU_ATTRIBUTE_THREADS_PER_SM, 2048},
                                 {CU_ATTRIBUTE_REGISTERS_PER_SM, 65536},
                                 {CU_ATTRIBUTE_SHARED_PER_BLOCK, 232448},
                                 {CU_ATTRIBUTE_SHARED_PER_SM, 233472},
                                 {CU_ATTRIBUTE_POOLS, 1}};
  (void)d;
  *value = 0;
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    if (table[i][0] == which) *value = table[i][1];
  return 0;
}
CU(cuDeviceTotalMem_v2, size_t *bytes, cu_device d) { return (void)d, *bytes = 1 << 30, 0; }
CU(cuDevicePrimaryCtxRetain, cu_context *c, cu_device d) {
  *c = (cu_context)(uintptr_t)(0x100 + d);
  fake.alive++;
  return note("cuDevicePrimaryCtxRetain", "%d", d);
}
CU(cuDevicePrimaryCtxRelease_v2, cu_device d) {
  fake.alive--;
  return note("cuDevicePrimaryCtxRelease", "%d", d);
}
CU(cuCtxGetCurrent, cu_context *c) { return *c = fake.current, 0; }
CU(cuCtxPushCurrent_v2, cu_context c) {
  fake.stack[fake.depth++] = fake.current;
  return fake.current = c, 0;
}
CU(cuCtxPopCurrent_v2, cu_context *c) {
  *c = fake.current;
  return fake.current = fake.stack[--fake.depth], 0;
}

// ---- modules: names of entries are read off the PTX; the "cubin" lists them

static void put_function(cu_module m, const char *name, size_t length, int words, int maps) {
  if (m->n == MOST_FUNCTIONS || length >= sizeof m->functions->name) return;
  struct cu_function_ *f = &m->functions[m->n++];
  memcpy(f->name, name, length);
  f->words = words;
  f->maps = maps;
}

static void read_entries(cu_module m, const char *ptx) {
  for (const char *at = ptx; (at = strstr(at, ".entry ")); at++) {
    int words = 0, maps = 0;
    const char *end = strchr(at, ')');
    for (const char *p = at; (p = strstr(p, ".param ")) && p < end; p++) {
      const char *next = strpbrk(p, ",)"), *bytes = strstr(p, "[128]");
      if (bytes && bytes < next) maps++;
      else words++;
    }
    put_function(m, at + 7, strcspn(at + 7, "( \n"), words, maps);
  }
}

CU(cuModuleLoadDataEx, cu_module *m, const void *image, unsigned n, int *options, void **values) {
  const char *text = image;
  bool elf = !memcmp(text, "\177ELF", 4);
  cu_result r = note("cuModuleLoadDataEx", "%s", elf ? "cubin" : "ptx");
  for (unsigned i = 0; r && i < n; i++)
    if (options[i] == CU_JIT_ERROR_LOG) strcpy(values[i], "ptxas fatal: line 7; no such thing\n");
  if (r) return r;
  *m = calloc(1, sizeof **m);
  fake.alive++;
  if (!elf) return read_entries(*m, text), 0;
  for (const char *at = text + 4; *at; at += strlen(at) + 1) {
    int words = 0, maps = 0;
    sscanf(at + strcspn(at, " "), "%d %d", &words, &maps);
    put_function(*m, at, strcspn(at, " "), words, maps);
  }
  return 0;
}
CU(cuModuleUnload, cu_module m) {
  free(m);
  fake.alive--;
  return note("cuModuleUnload", " ");
}
CU(cuModuleGetFunction, cu_function *f, cu_module m, const char *name) {
  for (int i = 0; i < m->n; i++)
    if (!strcmp(m->functions[i].name, name)) return *f = &m->functions[i], 0;
  return note("cuModuleGetFunction", "%s is not there", name), CU_NOT_FOUND;
}
CU(cuFuncGetAttribute, int *value, int which, cu_function f) {
  return (void)f, *value = which == CU_FUNCTION_REGISTERS ? 40 : 0, 0;
}
CU(cuFuncSetAttribute, cu_function f, int which, int value) {
  return note("cuFuncSetAttribute", "%s %d = %d", f->name, which, value);
}
CU(cuOccupancyMaxActiveBlocksPerMultiprocessor, int *blocks, cu_function f, int threads,
   size_t shared) {
  return (void)f, (void)shared, *blocks = 2048 / threads, 0;
}
CU(cuLinkCreate_v2, unsigned n, int *options, void **values, cu_link *link) {
  (void)n, (void)options, (void)values;
  *link = calloc(1, sizeof **link);
  fake.alive++;
  return note("cuLinkCreate", " ");
}
CU(cuLinkAddData_v2, cu_link link, int type, void *data, size_t size, const char *name, unsigned n,
   int *options, void **values) {
  (void)name, (void)n, (void)options, (void)values;
  const char *text = data;
  struct cu_module_ m = {0};
  if (type != CU_INPUT_PTX || text[size - 1] || strlen(text) != size - 1) return 1;
  read_entries(&m, text);
  memcpy(link->cubin, "\177ELF", 4);
  link->size = 4;
  for (int i = 0; i < m.n; i++)
    link->size += (size_t)snprintf(link->cubin + link->size, 96, "%s %d %d", m.functions[i].name,
                                   m.functions[i].words, m.functions[i].maps) +
                  1;
  link->size++;
  return note("cuLinkAddData", "%d entries", m.n);
}
CU(cuLinkComplete, cu_link link, void **cubin, size_t *size) {
  *cubin = link->cubin;
  *size = link->size;
  return note("cuLinkComplete", " ");
}
CU(cuLinkDestroy, cu_link link) {
  free(link);
  fake.alive--;
  return 0;
}

// ---- launches and graphs

static void run(const launch *l) {
  if (fake.kernel) fake.kernel(fake.ctx, l->name, l->params, l->size, l->grid, l->block, l->shared);
}

static int number_of(cu_stream s) { return s ? s->number : 0; }

CU(cuLaunchKernel, cu_function f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
   unsigned bz, unsigned shared, cu_stream s, void **params, void **extra) {
  launch l = {.grid = gx, .block = bx, .shared = shared};
  bool fits = !params != !extra && gy == 1 && gz == 1 && by == 1 && bz == 1 && gx && bx;
  if (!fits || !fake.current) return 1;
  snprintf(l.name, sizeof l.name, "%s", f->name);
  if (extra && (extra[0] != (void *)1 || extra[2] != (void *)2 || extra[4])) return 1;
  if (extra) {
    l.size = *(size_t *)extra[3];
    if (l.size != 8 * (size_t)f->words + 128 * (size_t)f->maps && !f->maps) return 1;
    memcpy(l.params, extra[1], l.size);
  } else {
    l.size = 8 * (size_t)f->words;
    for (int i = 0; i < f->words; i++) memcpy(l.params + 8 * i, params[i], 8);
    for (int i = 0; i < f->maps; i++)
      if (((unsigned char *)params[f->words + i])[127] != 0x77) return 1;
  }
  cu_result r = note("cuLaunchKernel", "%s grid %u block %u shared %u stream %d", f->name, gx, bx,
                     shared, number_of(s));
  if (r) return r;
  if (s && s->recording) s->recording->launches[s->recording->n++] = l;
  else run(&l);
  return 0;
}
CU(cuStreamBeginCapture_v2, cu_stream s, int mode) {
  s->recording = calloc(1, sizeof *s->recording);
  fake.alive++;
  return note("cuStreamBeginCapture", "stream %d mode %d", s->number, mode);
}
CU(cuStreamEndCapture, cu_stream s, cu_graph *g) {
  *g = s->recording;
  s->recording = NULL;
  return note("cuStreamEndCapture", "stream %d: %d launches", s->number, (*g)->n);
}
CU(cuGraphInstantiateWithFlags, cu_exec *x, cu_graph g, unsigned long long flags) {
  (void)flags;
  cu_result r = note("cuGraphInstantiate", "%d launches", g->n);
  if (r) return r;
  cu_graph copy = malloc(sizeof *copy);
  *copy = *g;
  *x = (cu_exec)copy;
  return fake.alive++, 0;
}
CU(cuGraphLaunch, cu_exec x, cu_stream s) {
  const struct cu_graph_ *g = (void *)x;
  cu_result r = note("cuGraphLaunch", "%d launches stream %d", g->n, number_of(s));
  for (int i = 0; !r && i < g->n; i++) run(&g->launches[i]);
  return r;
}
CU(cuGraphDestroy, cu_graph g) { return free(g), fake.alive--, 0; }
CU(cuGraphExecDestroy, cu_exec x) { return free(x), fake.alive--, 0; }
CU(cuTensorMapEncodeTiled, void *map, int type, uint32_t rank, void *address, const uint64_t *dims,
   const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave, int swizzle,
   int promotion, int fill) {
  (void)address, (void)steps, (void)interleave, (void)promotion, (void)fill;
  char text[256] = "";
  int n = 0;
  for (uint32_t i = 0; i < rank; i++)
    n += snprintf(text + n, sizeof text - (size_t)n, " dim %llu box %u",
                  (unsigned long long)dims[i], box[i]);
  for (uint32_t i = 0; i + 1 < rank; i++)
    n +=
        snprintf(text + n, sizeof text - (size_t)n, " stride %llu", (unsigned long long)strides[i]);
  memset(map, 0x77, CU_MAP_BYTES);
  if ((uintptr_t)map % 64) return 1;
  return note("cuTensorMapEncodeTiled", "type %d swizzle %d%s", type, swizzle, text);
}

// ---- memory

static cu_result take(cu_pointer *p, size_t bytes) {
  *p = (cu_pointer)(uintptr_t)aligned_alloc(256, (bytes + 255) / 256 * 256);
  memset((void *)(uintptr_t)*p, 0xFF, bytes);
  return fake.alive++, 0;
}

CU(cuMemPoolCreate, cu_pool *p, const cu_pool_props *props) {
  *p = malloc(1);
  fake.alive++;
  return note("cuMemPoolCreate", "device %d", props->ordinal);
}
CU(cuMemPoolDestroy, cu_pool p) { return free(p), fake.alive--, 0; }
CU(cuMemPoolSetAttribute, cu_pool p, int which, void *value) {
  (void)p;
  return note("cuMemPoolSetAttribute", "%d = %llu", which, *(unsigned long long *)value);
}
CU(cuMemAllocFromPoolAsync, cu_pointer *p, size_t bytes, cu_pool pool, cu_stream s) {
  (void)pool;
  cu_result r = note("cuMemAlloc", "%zu stream %d", bytes, number_of(s));
  return r ? r : take(p, bytes);
}
CU(cuMemFreeAsync, cu_pointer p, cu_stream s) {
  free((void *)(uintptr_t)p);
  fake.alive--;
  return note("cuMemFree", "stream %d", number_of(s));
}
CU(cuMemAlloc_v2, cu_pointer *p, size_t bytes) { return take(p, bytes); }
CU(cuMemFree_v2, cu_pointer p) { return free((void *)(uintptr_t)p), fake.alive--, 0; }
CU(cuMemHostAlloc, void **p, size_t bytes, unsigned flags) {
  (void)flags;
  *p = calloc(1, bytes);
  return fake.alive++, 0;
}
CU(cuMemFreeHost, void *p) { return free(p), fake.alive--, 0; }
CU(cuMemHostGetDevicePointer_v2, cu_pointer *p, void *host, unsigned flags) {
  return (void)flags, *p = (cu_pointer)(uintptr_t)host, 0;
}
CU(cuMemcpyHtoDAsync_v2, cu_pointer to, const void *from, size_t bytes, cu_stream s) {
  memcpy((void *)(uintptr_t)to, from, bytes);
  return note("cuMemcpyHtoD", "%zu stream %d", bytes, number_of(s));
}
CU(cuMemcpyDtoHAsync_v2, void *to, cu_pointer from, size_t bytes, cu_stream s) {
  memcpy(to, (void *)(uintptr_t)from, bytes);
  return note("cuMemcpyDtoH", "%zu stream %d", bytes, number_of(s));
}
CU(cuMemcpyDtoDAsync_v2, cu_pointer to, cu_pointer from, size_t bytes, cu_stream s) {
  memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
  return note("cuMemcpyDtoD", "%zu stream %d", bytes, number_of(s));
}
CU(cuMemsetD8Async, cu_pointer p, unsigned char value, size_t bytes, cu_stream s) {
  (void)s;
  return memset((void *)(uintptr_t)p, value, bytes), 0;
}

// ---- streams and events

CU(cuStreamCreate, cu_stream *s, unsigned flags) {
  *s = calloc(1, sizeof **s);
  (*s)->number = ++fake.streams;
  fake.alive++;
  return note("cuStreamCreate", "%d flags %u", (*s)->number, flags);
}
CU(cuStreamDestroy_v2, cu_stream s) { return free(s), fake.alive--, 0; }
CU(cuStreamSynchronize, cu_stream s) { return note("cuStreamSynchronize", "%d", number_of(s)); }
CU(cuStreamWaitEvent, cu_stream s, cu_event e, unsigned flags) {
  (void)flags;
  return note("cuStreamWaitEvent", "stream %d event %d", number_of(s), e->number);
}
CU(cuStreamIsCapturing, cu_stream s, int *status) { return *status = s && s->recording, 0; }
CU(cuEventCreate, cu_event *e, unsigned flags) {
  (void)flags;
  *e = calloc(1, sizeof **e);
  (*e)->number = ++fake.events;
  return fake.alive++, 0;
}
CU(cuEventDestroy_v2, cu_event e) { return free(e), fake.alive--, 0; }
CU(cuEventRecord, cu_event e, cu_stream s) {
  e->when = fake.clock++;
  return note("cuEventRecord", "event %d stream %d", e->number, number_of(s));
}
CU(cuEventSynchronize, cu_event e) { return (void)e, 0; }
CU(cuEventElapsedTime, float *milliseconds, cu_event from, cu_event to) {
  return *milliseconds = to->when - from->when, 0;
}
