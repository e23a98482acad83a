// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Starting kernels. A launch hands the driver one block of parameters:
//
//   | word 0 .. words-1, 8 bytes each | pad to 64 | tensor map 0, 128 bytes | tensor map 1 | ...
//
// Calls of several kernels are recorded as graphs when they repeat.
#include <stdlib.h>
#include <string.h>

#include "runtime/cuda_device.h"

enum { MOST_PARAMETERS = 128 };

// ---- tensor maps

static int map_type(int element_bytes) {
  return element_bytes == 1   ? CU_MAP_UINT8
         : element_bytes == 2 ? CU_MAP_UINT16
         : element_bytes == 4 ? CU_MAP_UINT32
                              : CU_MAP_UINT64;
}

/// Types are unsigned: copies move bits, and what is outside reads as zero.
static bool encode(cuda_call *call, const cuda_kernel *k, const tcf_map_info *info,
                   const int64_t *key, unsigned char *map) {
  const cuda_driver *c = &call->module->device->driver;
  uint64_t dims[5], strides[5];
  uint32_t box[5], steps[5];
  int rank = info->rank;
  if (!c->map_encode)
    return error_set(&call->error, ERROR_DEVICE, "kernel %s: the driver has no tensor maps",
                     k->info->name);
  for (int i = 0; i < rank; i++) {
    dims[i] = (uint64_t)key[1 + i];
    box[i] = (uint32_t)info->box[i];
    steps[i] = 1;
    if (i) strides[i - 1] = (uint64_t)key[rank + i];
  }
  cu_result r = c->map_encode(map, map_type(info->element_bytes), (uint32_t)rank,
                              (void *)(uintptr_t)key[0], dims, strides, box, steps, 0,
                              info->swizzle ? CU_MAP_SWIZZLE_128 : 0, CU_MAP_PROMOTE_256, 0);
  return cuda_ok(c, r, &call->error, "kernel %s: tensor map of parameter %d", k->info->name,
                 info->word);
}

/// The map for an address, sizes and strides; of those made before, or new in the place of an old
/// one. Null: the error is in the call.
static const unsigned char *find_map(cuda_call *call, cuda_kernel *k, int number, int64_t address,
                                     const int64_t *shape) {
  const tcf_map_info *info = &k->info->maps[number];
  int64_t key[MAP_KEY] = {address};
  memcpy(key + 1, shape, sizeof *shape * (size_t)(2 * info->rank - 1));
  map_way *ways = &k->ways[number * MAP_WAYS];
  for (int i = 0; i < MAP_WAYS; i++)
    if (!memcmp(ways[i].key, key, sizeof key)) return ways[i].map;
  map_way *way = &ways[k->next_way++ % MAP_WAYS];
  memset(way->key, 0, sizeof way->key);
  if (!encode(call, k, info, key, way->map)) return NULL;
  memcpy(way->key, key, sizeof key);
  return way->map;
}

/// Addresses of the parameters, one by one, for kernels with maps: where maps lie in a block of
/// parameters depends on where the device's compiler lets the block start. False: failed.
static bool parameters(cuda_call *call, cuda_kernel *k, int64_t *args, const int64_t *maps,
                       void **out) {
  const tcf_kernel_info *i = k->info;
  if (i->words + i->nmaps > MOST_PARAMETERS)
    return error_set(&call->error, ERROR_DEVICE, "kernel %s has %d parameters", i->name,
                     i->words + i->nmaps);
  for (int w = 0; w < i->words; w++) out[w] = &args[w];
  for (int m = 0; m < i->nmaps; m++) {
    const unsigned char *map = find_map(call, k, m, args[i->maps[m].word], maps);
    if (!map) return false;
    out[i->words + m] = (void *)(uintptr_t)map;
    maps += 2 * i->maps[m].rank - 1;
  }
  return true;
}

// ---- launches

/// A block, or a cluster of them, for each tile, or as many as are resident walk the tiles.
static int64_t blocks_for(const cuda_device *d, const tcf_kernel_info *i, const int64_t *args,
                          int64_t tiles) {
  int64_t most = (int64_t)i->blocks_per_sm * d->info.multiprocessors / i->cluster;
  if (i->size_word && args[i->size_word] > i->size_most) return tiles * i->cluster;
  if (i->blocks_per_sm && most < 1) most = 1;
  return (most && most < tiles ? most : tiles) * i->cluster;
}

static bool start(cuda_call *call, cuda_kernel *k, int64_t *args, int64_t tiles,
                  const int64_t *maps) {
  cuda_device *d = call->module->device;
  const cuda_driver *c = &d->driver;
  const tcf_kernel_info *i = k->info;
  void *params[MOST_PARAMETERS];
  size_t size = sizeof *args * (size_t)i->words;
  int64_t blocks = blocks_for(d, i, args, tiles);
  if (blocks > INT32_MAX)
    return error_set(&call->error, ERROR_DEVICE, "kernel %s: %lld blocks are more than fit a launch",
                     i->name, (long long)blocks);
  args[TCF_KERNEL_ERROR] = 0;
  if (call->errors)
    args[TCF_KERNEL_ERROR] =
        (int64_t)(d->words_device + sizeof *d->words * (size_t)(call->errors - d->words));
  if (i->ticket_word) args[i->ticket_word] = (int64_t)(call->tickets ? call->tickets : d->tickets);
  if (i->nmaps && !parameters(call, k, args, maps, params)) return false;
  void *extra[] = {(void *)1, args, (void *)2, &size, NULL};  // buffer, its size, end
  cu_result r = c->launch(k->function, (unsigned)blocks, 1, 1, (unsigned)i->threads, 1, 1,
                          (unsigned)i->shared_bytes, call->stream, i->nmaps ? params : NULL,
                          i->nmaps ? NULL : extra);
  if (!r && d->slow && !cuda_is_capturing(d, call->stream)) r = c->stream_wait(call->stream);
  return cuda_ok(c, r, &call->error, "kernel %s", i->name);
}

int32_t cuda_launch(void *call_, int32_t kernel, int64_t *args, int64_t tiles,
                    const int64_t *maps) {
  cuda_call *call = call_;
  call->launches++;
  if (start(call, &call->module->kernels[kernel], args, tiles, maps)) return 0;
  call->kernel = kernel;
  call->step = (int)(args[TCF_KERNEL_SITE] >> 16);
  return 1;
}

// ---- on a caller's stream

/// Memory of the call's own, in the order of its stream: calls on several streams run at the same time,
/// and so may what was captured from one of them twice. Tickets are cleared each time, since what is
/// known of memory ends when it is given back.
static bool own_memory(cuda_call *call, int64_t arena_bytes, void **arena) {
  const cuda_driver *c = &call->module->device->driver;
  enum { ALIGN = 256 };
  size_t bytes = arena_bytes > 0 ? (size_t)arena_bytes : 0,
         before = (bytes + ALIGN - 1) / ALIGN * ALIGN;
  bool tickets = call->module->has_tickets;
  if (tickets) bytes = before + TCF_TICKET_BYTES;
  if (!bytes) return true;
  *arena = cuda_alloc_on(call->module->device, bytes, call->stream, &call->error);
  if (!*arena || !tickets) return *arena;
  call->tickets = (cu_pointer)(uintptr_t)*arena + before;
  if (cuda_ok(c, c->set_bytes(call->tickets, 0, TCF_TICKET_BYTES, call->stream), &call->error,
              "clearing tickets"))
    return true;
  cuda_free_on(call->module->device, *arena, call->stream);
  return false;
}

static int32_t run_there(cuda_call *call, int64_t arena_bytes, void **arena,
                         int32_t (*body)(void *ctx), void *ctx) {
  cuda_device *d = call->module->device;
  error *e = &call->error;
  // A stream that is being captured cannot wait for what is not.
  bool capturing = cuda_is_capturing(d, call->stream);
  if (!capturing && !cuda_join(d, call->stream, e)) return TCF_CALL_LAUNCH;
  *arena = NULL;
  if (!own_memory(call, arena_bytes, arena)) return TCF_CALL_LAUNCH;
  int32_t status = body(ctx);
  cuda_free_on(d, *arena, call->stream);
  if (status || capturing || cuda_part(d, call->stream, e)) return status;
  return TCF_CALL_LAUNCH;
}

int32_t cuda_run_on(cuda_call *call, void *stream, int64_t arena_bytes, void **arena,
                    int32_t (*body)(void *ctx), void *ctx) {
  cuda_scope s;
  call->stream = stream;
  call->step = call->kernel = -1;
  if (!cuda_enter(&s, call->module->device, &call->error)) return TCF_CALL_LAUNCH;
  int32_t status = run_there(call, arena_bytes, arena, body, ctx);
  cuda_leave(&s);
  return status;
}

// ---- graphs

/// The entry of the key, moved to the front; a new one takes the place of the oldest.
static recorded *find_recorded(cuda_module *m, const int64_t *key, int nkey) {
  int at = 0;
  size_t bytes = sizeof *key * (size_t)nkey;
  while (at < GRAPHS - 1 && m->graphs[at].key &&
         (m->graphs[at].nkey != nkey || memcmp(m->graphs[at].key, key, bytes)))
    at++;
  recorded r = m->graphs[at];
  bool same = r.key && r.nkey == nkey && !memcmp(r.key, key, bytes);
  if (!same) {
    if (r.exec) m->device->driver.exec_destroy(r.exec);
    free(r.key);
    r = (recorded){.key = malloc(bytes + 1), .nkey = nkey};
    if (r.key) memcpy(r.key, key, bytes);
  }
  memmove(&m->graphs[1], &m->graphs[0], sizeof r * (size_t)at);
  m->graphs[0] = r;
  return &m->graphs[0];
}

static bool can_record(cuda_device *d) {
  const cuda_driver *c = &d->driver;
  if (d->slow || !c->capture_begin || !c->capture_end || !c->graph_instantiate ||
      !c->graph_launch || !c->graph_destroy || !c->exec_destroy)
    return false;
  // Of its own, and without ties to the legacy stream, which others may be using meanwhile.
  return d->capture || !c->stream_create(&d->capture, CU_STREAM_INDEPENDENT);
}

/// Records what the body starts. Null: it did not work out.
static cu_exec record(cuda_call *call, int32_t (*body)(void *ctx), void *ctx) {
  cuda_device *d = call->module->device;
  const cuda_driver *c = &d->driver;
  cu_graph graph = NULL;
  cu_exec exec = NULL;
  if (c->capture_begin(d->capture, CU_CAPTURE_RELAXED)) return NULL;
  call->stream = d->capture;
  bool ok = !body(ctx);
  if (c->capture_end(d->capture, &graph)) graph = NULL;
  if (ok && graph && c->graph_instantiate(&exec, graph, 0)) exec = NULL;
  if (graph) c->graph_destroy(graph);
  return exec;
}

int32_t cuda_run(cuda_call *call, const int64_t *key, int nkey, int32_t (*body)(void *ctx),
                 void *ctx) {
  cuda_module *m = call->module;
  const cuda_driver *c = &m->device->driver;
  call->stream = cuda_stream(m->device, &call->error);
  if (!call->stream) return TCF_CALL_LAUNCH;
  cu_stream stream = call->stream;
  recorded *r = find_recorded(m, key, nkey);
  if (!r->key) return body(ctx);
  if (!r->exec && !r->never && r->launches > 1) {
    r->exec = can_record(m->device) ? record(call, body, ctx) : NULL;
    r->never = !r->exec;
    call->stream = stream;
  }
  if (r->exec && !c->graph_launch(r->exec, stream)) return TCF_CALL_OK;
  call->launches = 0;
  call->error = (error){0};
  int32_t status = body(ctx);
  r->launches = call->launches;
  return status;
}
