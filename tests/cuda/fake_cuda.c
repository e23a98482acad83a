// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See fake_cuda.h. Names and parameters are the driver's; two devices of compute capability 9.0. What
// is made in a device's context can only be used while that is current, as with a real one.
#define _GNU_SOURCE
#include "tests/cuda/fake_cuda.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/cuda_driver.h"

#define EXPORT __attribute__((visibility("default")))

enum { LOG_BYTES = 1 << 18, MOST_LAUNCHES = 64, MOST_FUNCTIONS = 32, MOST_BLOCKS = 1024 };
enum { INVALID_CONTEXT = 201, INVALID_VALUE = 1 };

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
  cu_context context;
  int number;
  cu_graph recording;
};
struct cu_event_ {
  cu_context context;
  int number;
  float when;
};
struct cu_function_ {
  cu_context context;
  char name[64];
  int words, maps;  // parameters of 8 and of 128 bytes
};
struct cu_module_ {
  cu_context context;
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
  atomic_int alive;
  int streams, events;
  _Atomic float clock;
  struct block {
    char *begin, *end;
    cu_context context;
  } blocks[MOST_BLOCKS];
} fake = {0};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;  // of the log and the blocks

static _Thread_local struct {
  cu_context current, stack[16];
  int depth;
} thread;

/// Writes the call down; its result is success, or what `fail` asked for.
__attribute__((format(printf, 2, 3))) static cu_result note(const char *name, const char *format,
                                                            ...) {
  va_list args;
  char line[512];
  va_start(args, format);
  int n = snprintf(line, sizeof line, "%s ", name);
  vsnprintf(line + n, sizeof line - (size_t)n, format, args);
  va_end(args);
  pthread_mutex_lock(&lock);
  if (fake.used + sizeof line + 1 < LOG_BYTES)
    fake.used += (size_t)sprintf(fake.log + fake.used, "%s\n", line);
  bool fails = fake.fail_times && !strcmp(name, fake.fail_name);
  fake.fail_times -= fails;
  pthread_mutex_unlock(&lock);
  if (!strcmp(name, fake.slow_name)) usleep(1000 * (unsigned)fake.slow_ms);
  return fails ? fake.fail_result : 0;
}

static cu_result born(void) { return atomic_fetch_add(&fake.alive, 1), 0; }
static cu_result gone(void) { return atomic_fetch_sub(&fake.alive, 1), 0; }

static bool is_current(cu_context c) { return c && c == thread.current; }
static bool may_use(cu_stream s) { return thread.current && (!s || is_current(s->context)); }

// ---- memory: which device's a pointer is

static struct block *find_block(const void *p) {
  for (int i = 0; i < MOST_BLOCKS; i++)
    if (fake.blocks[i].begin <= (const char *)p && (const char *)p < fake.blocks[i].end)
      return &fake.blocks[i];
  return NULL;
}

/// Memory that was not allocated here (a test's own) is any device's.
static cu_context context_of(const void *p) {
  pthread_mutex_lock(&lock);
  const struct block *b = find_block(p);
  cu_context c = b ? b->context : thread.current;
  pthread_mutex_unlock(&lock);
  return c;
}

static int device_of(const void *p) {
  cu_context c = context_of(p);
  return c ? (int)(uintptr_t)c - 0x100 : -1;
}

// ---- control

static void use(int device) {
  thread.current = device < 0 ? NULL : (cu_context)(uintptr_t)(0x100 + device);
}

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
static void spend(float milliseconds) { fake.clock = fake.clock + milliseconds; }
static int alive(void) { return fake.alive; }

EXPORT const fake_cuda *fake_cuda_control(void);
const fake_cuda *fake_cuda_control(void) {
  static const fake_cuda control = {play,  read_log, clear,     fail, slow,
                                    spend, use,      device_of, alive};
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
  born();
  return note("cuDevicePrimaryCtxRetain", "%d", d);
}
CU(cuDevicePrimaryCtxRelease_v2, cu_device d) {
  gone();
  return note("cuDevicePrimaryCtxRelease", "%d", d);
}
CU(cuCtxGetCurrent, cu_context *c) { return *c = thread.current, 0; }
CU(cuCtxPushCurrent_v2, cu_context c) {
  thread.stack[thread.depth++] = thread.current;
  return thread.current = c, 0;
}
CU(cuCtxPopCurrent_v2, cu_context *c) {
  *c = thread.current;
  return thread.current = thread.stack[--thread.depth], 0;
}

// ---- modules: names of entries are read off the PTX; the "cubin" lists them

static void put_function(cu_module m, const char *name, size_t length, int words, int maps) {
  if (m->n == MOST_FUNCTIONS || length >= sizeof m->functions->name) return;
  struct cu_function_ *f = &m->functions[m->n++];
  memcpy(f->name, name, length);
  f->words = words;
  f->maps = maps;
  f->context = m->context;
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
  if (r || !thread.current) return r ? r : INVALID_CONTEXT;
  *m = calloc(1, sizeof **m);
  (*m)->context = thread.current;
  born();
  if (!elf) return read_entries(*m, text), 0;
  for (const char *at = text + 4; *at; at += strlen(at) + 1) {
    int words = 0, maps = 0;
    sscanf(at + strcspn(at, " "), "%d %d", &words, &maps);
    put_function(*m, at, strcspn(at, " "), words, maps);
  }
  return 0;
}
CU(cuModuleUnload, cu_module m) {
  if (!is_current(m->context)) return INVALID_CONTEXT;
  free(m);
  gone();
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
  born();
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
  gone();
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
  if (!fits) return INVALID_VALUE;
  if (!is_current(f->context) || !may_use(s)) return INVALID_CONTEXT;
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
  born();
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
  return born();
}
CU(cuGraphLaunch, cu_exec x, cu_stream s) {
  const struct cu_graph_ *g = (void *)x;
  cu_result r = note("cuGraphLaunch", "%d launches stream %d", g->n, number_of(s));
  for (int i = 0; !r && i < g->n; i++) run(&g->launches[i]);
  return r;
}
CU(cuGraphDestroy, cu_graph g) { return free(g), gone(); }
CU(cuGraphExecDestroy, cu_exec x) { return free(x), gone(); }
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
  if (!thread.current) return INVALID_CONTEXT;
  char *memory = aligned_alloc(256, (bytes + 255) / 256 * 256);
  *p = (cu_pointer)(uintptr_t)memory;
  memset(memory, 0xFF, bytes);
  pthread_mutex_lock(&lock);
  for (int i = 0; i < MOST_BLOCKS; i++)
    if (!fake.blocks[i].begin) {
      fake.blocks[i] = (struct block){memory, memory + bytes, thread.current};
      break;
    }
  pthread_mutex_unlock(&lock);
  return born();
}

static cu_result release(cu_pointer p) {
  void *memory = (void *)(uintptr_t)p;
  if (!is_current(context_of(memory))) return INVALID_CONTEXT;
  pthread_mutex_lock(&lock);
  struct block *b = find_block(memory);
  if (b) *b = (struct block){0};
  pthread_mutex_unlock(&lock);
  free(memory);
  return gone();
}

/// Both ends of a copy that are a device's are of the current one.
static bool may_copy(const void *to, const void *from, cu_stream s) {
  return may_use(s) && is_current(context_of(to)) && is_current(context_of(from));
}

CU(cuMemPoolCreate, cu_pool *p, const cu_pool_props *props) {
  *p = malloc(1);
  born();
  return note("cuMemPoolCreate", "device %d", props->ordinal);
}
CU(cuMemPoolDestroy, cu_pool p) { return free(p), gone(); }
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
  cu_result r = release(p);
  return r ? r : note("cuMemFree", "stream %d", number_of(s));
}
CU(cuMemAlloc_v2, cu_pointer *p, size_t bytes) { return take(p, bytes); }
CU(cuMemFree_v2, cu_pointer p) { return release(p); }
CU(cuMemHostAlloc, void **p, size_t bytes, unsigned flags) {
  (void)flags;
  *p = calloc(1, bytes);
  return born();
}
CU(cuMemFreeHost, void *p) { return free(p), gone(); }
CU(cuMemHostGetDevicePointer_v2, cu_pointer *p, void *host, unsigned flags) {
  return (void)flags, *p = (cu_pointer)(uintptr_t)host, 0;
}
CU(cuMemcpyHtoDAsync_v2, cu_pointer to, const void *from, size_t bytes, cu_stream s) {
  if (!may_copy((void *)(uintptr_t)to, from, s)) return INVALID_CONTEXT;
  memcpy((void *)(uintptr_t)to, from, bytes);
  return note("cuMemcpyHtoD", "%zu stream %d", bytes, number_of(s));
}
CU(cuMemcpyDtoHAsync_v2, void *to, cu_pointer from, size_t bytes, cu_stream s) {
  if (!may_copy(to, (void *)(uintptr_t)from, s)) return INVALID_CONTEXT;
  memcpy(to, (void *)(uintptr_t)from, bytes);
  return note("cuMemcpyDtoH", "%zu stream %d", bytes, number_of(s));
}
CU(cuMemcpyDtoDAsync_v2, cu_pointer to, cu_pointer from, size_t bytes, cu_stream s) {
  if (!may_copy((void *)(uintptr_t)to, (void *)(uintptr_t)from, s)) return INVALID_CONTEXT;
  memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
  return note("cuMemcpyDtoD", "%zu stream %d", bytes, number_of(s));
}
CU(cuMemsetD8Async, cu_pointer p, unsigned char value, size_t bytes, cu_stream s) {
  memset((void *)(uintptr_t)p, value, bytes);
  return note("cuMemsetD8", "%zu stream %d", bytes, number_of(s));
}

// ---- streams and events

CU(cuStreamCreate, cu_stream *s, unsigned flags) {
  if (!thread.current) return INVALID_CONTEXT;
  *s = calloc(1, sizeof **s);
  (*s)->context = thread.current;
  (*s)->number = ++fake.streams;
  born();
  return note("cuStreamCreate", "%d flags %u", (*s)->number, flags);
}
CU(cuStreamDestroy_v2, cu_stream s) { return free(s), gone(); }
CU(cuStreamSynchronize, cu_stream s) {
  return !may_use(s) ? INVALID_CONTEXT : note("cuStreamSynchronize", "%d", number_of(s));
}
CU(cuStreamWaitEvent, cu_stream s, cu_event e, unsigned flags) {
  (void)flags;
  return note("cuStreamWaitEvent", "stream %d event %d", number_of(s), e->number);
}
CU(cuStreamIsCapturing, cu_stream s, int *status) { return *status = s && s->recording, 0; }
CU(cuEventCreate, cu_event *e, unsigned flags) {
  (void)flags;
  if (!thread.current) return INVALID_CONTEXT;
  *e = calloc(1, sizeof **e);
  (*e)->context = thread.current;
  (*e)->number = ++fake.events;
  return born();
}
CU(cuEventDestroy_v2, cu_event e) { return free(e), gone(); }
CU(cuEventRecord, cu_event e, cu_stream s) {
  if (!is_current(e->context) || !may_use(s)) return INVALID_CONTEXT;
  e->when = fake.clock;
  fake.clock = e->when + 1;
  return note("cuEventRecord", "event %d stream %d", e->number, number_of(s));
}
CU(cuEventSynchronize, cu_event e) { return (void)e, 0; }
CU(cuEventElapsedTime, float *milliseconds, cu_event from, cu_event to) {
  return *milliseconds = to->when - from->when, 0;
}
