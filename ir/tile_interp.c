// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs a program of the tile IR: binds size symbols, keeps a memory per buffer, executes kernels
// (ir/tile_exec.c) and host functions step by step. Temporaries live at their places of the arena
// in the sense that writing one makes all that overlap it unspecified, so a wrong arena plan shows.
#include <math.h>

#include "base/fault.h"
#include "ir/tile_exec.h"

typedef struct runner {
  const program *p;
  arena *arena;  // of the whole run
  arena *step;   // of the current step
  size_system sizes;
  tile_memory *memories;  // by buffer
  int64_t *begin, *end;   // temps and outputs: bytes in the arena, or in the output that they lie in
  const interp_host *host;
  str *error;
  span *at;
} runner;

static bool fail(runner *r, span at, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fail(runner *r, span at, const char *format, ...) {
  va_list args;
  va_start(args, format);
  *r->error = str_vprintf(r->arena, format, args);
  va_end(args);
  *r->at = at;
  return false;
}

// ---- sizes

static int64_t symbol_value(void *ctx, str name) {
  const runner *r = ctx;
  const size_symbol *symbol = size_system_find(&r->sizes, name);
  if (!symbol || symbol->value < 0) panic("the size %.*s has no value", STR_FMT(name));
  return symbol->value;
}

static int64_t size_of(runner *r, ix e) { return ix_eval(&r->p->ix, e, symbol_value, NULL, r); }

static bool check_shapes(runner *r, const interp_tensor *params) {
  for (int i = 0; i < r->p->nparams; i++) {
    const buffer *b = &r->p->buffers.data[i];
    if (params[i].type != b->type)
      return fail(r, (span){0}, "%.*s is %s, not %s", STR_FMT(b->name), dtype_name(params[i].type),
                  dtype_name(b->type));
    if (params[i].rank != b->rank)
      return fail(r, (span){0}, "%.*s has %d axes, not %d", STR_FMT(b->name), params[i].rank,
                  b->rank);
    for (int d = 0; d < b->rank; d++)
      if (params[i].dims[d] < 0)
        return fail(r, (span){0}, "%.*s has a negative size", STR_FMT(b->name));
  }
  return true;
}

static bool check_sizes(runner *r, const interp_tensor *params) {
  for (int i = 0; i < r->p->nparams; i++) {
    const buffer *b = &r->p->buffers.data[i];
    for (int d = 0; d < b->rank; d++) {
      int64_t expected = -1;
      ix size = size_system_bind(&r->sizes, b->dims[d]);
      if (ix_is_const(&r->sizes.pool, size, &expected) && expected == params[i].dims[d]) continue;
      strbuf form = sb_new(r->arena);
      ix_print(&r->p->ix, b->dims[d], NULL, NULL, &form);
      return fail(r, (span){0}, "axis %.*s of %.*s is %lld, which is no value of its size %s",
                  STR_FMT(b->axis_names[d]), STR_FMT(b->name), (long long)params[i].dims[d],
                  form.data);
    }
  }
  return true;
}

static bool bind_params(runner *r, const interp_tensor *params) {
  const program *p = r->p;
  if (!check_shapes(r, params)) return false;
  r->sizes = size_system_new(r->arena, &p->ix, p->symbols.data, p->symbols.len);
  for (int i = 0; i < p->nparams; i++)
    for (int d = 0; d < p->buffers.data[i].rank; d++)
      size_system_add(&r->sizes, p->buffers.data[i].dims[d], params[i].dims[d], i);
  size_system_solve(&r->sizes);
  return check_sizes(r, params);
}

// ---- memories

static void poison_all(tile_memory *m) {
  for (int64_t i = 0; i < m->count; i++) m->data[i] = tile_poison(m->type);
  memset(m->poison, 1, (size_t)m->count);
}

static bool make_memory(runner *r, int i, const interp_tensor *params) {
  const buffer *b = &r->p->buffers.data[i];
  tile_memory *m = &r->memories[i];
  *m = (tile_memory){.name = b->name, .type = b->type, .rank = b->rank};
  for (int d = 0; d < b->rank; d++) {
    m->dims[d] = size_of(r, b->dims[d]);
    if (m->dims[d] < 0)
      return fail(r, (span){0}, "axis %.*s has the negative size %lld", STR_FMT(b->axis_names[d]),
                  (long long)m->dims[d]);
  }
  if (!tile_memory_count(m))
    return fail(r, (span){0}, "%.*s has too many elements", STR_FMT(b->name));
  m->kept = b->kind == BUFFER_OUTPUT;
  m->poison = arena_array(r->arena, uint8_t, m->count);
  m->writer = arena_array(r->arena, int32_t, m->count);
  if (b->kind == BUFFER_PARAM) {
    m->data = params[i].data;
    return true;
  }
  m->data = arena_array(r->arena, scalar, m->count);
  poison_all(m);
  return true;
}

/// The first and last byte of a temp, whatever its strides.
static bool place_temp(runner *r, int i) {
  const buffer *b = &r->p->buffers.data[i];
  int64_t last = 0;
  for (int d = 0; d < b->rank; d++)
    last += (r->memories[i].dims[d] - 1) * size_of(r, b->strides[d]);
  r->begin[i] = size_of(r, b->offset);
  r->end[i] = r->begin[i] + (r->memories[i].count ? (last + 1) * dtype_bytes(b->type) : 0);
  if (r->begin[i] % 64)
    return fail(r, (span){0}, "internal error: buffer %.*s at %lld is not aligned to 64 bytes",
                STR_FMT(b->name), (long long)r->begin[i]);
  int64_t limit = r->p->arena_bytes ? size_of(r, r->p->arena_bytes) : 0;
  if (b->host) limit = r->end[b->host - 1];
  if (r->begin[i] < 0 || r->end[i] > limit)
    return fail(r, (span){0}, "internal error: buffer %.*s ends at byte %lld of %s of %lld", STR_FMT(b->name),
                (long long)r->end[i], b->host ? "an output" : "an arena", (long long)limit);
  return true;
}

// ---- steps

/// 1 + the output in whose memory the buffer is; 0: it is in the arena.
static int host_of(const runner *r, int i) {
  const buffer *b = &r->p->buffers.data[i];
  return b->kind == BUFFER_OUTPUT ? 1 + i : b->host;
}

/// What the step is about to write takes the place of everything that overlaps it.
static void evict_overlaps(runner *r, int written) {
  if (r->p->buffers.data[written].kind == BUFFER_PARAM) return;
  for (int i = r->p->nparams; i < r->p->buffers.len; i++)
    if (i != written && host_of(r, i) == host_of(r, written) && r->begin[i] < r->end[written] &&
        r->begin[written] < r->end[i])
      poison_all(&r->memories[i]);
}

static bool same_element(dtype t, scalar a, scalar b) {
  return dtype_is_float(t) ? a.f == b.f || (isnan(a.f) && isnan(b.f)) : a.i == b.i;
}

/// The same when the tiles finish in another order: in which they do on a device is chance.
static bool same_backwards(runner *r, tile_call *call) {
  const kernel *k = call->k;
  tile_memory *forwards = arena_array(r->step, tile_memory, k->nargs);
  for (int i = 0; i < k->nargs; i++) {
    tile_memory *m = call->args[i];
    forwards[i] = *m;
    if (!k->bufs.data[i].written) continue;
    m->data = arena_array(r->arena, scalar, m->count);
    memset(m->writer, 0, sizeof(int32_t) * (size_t)m->count);
    m->poison = arena_array(r->arena, uint8_t, m->count);
    poison_all(m);
  }
  call->backwards = true;
  if (!kernel_execute(call, r->error, r->at)) return false;
  for (int i = 0; i < k->nargs; i++) {
    const tile_memory *m = call->args[i], *other = &forwards[i];
    for (int64_t e = 0; k->bufs.data[i].written && e < m->count; e++)
      if (m->poison[e] != other->poison[e] || !same_element(m->type, m->data[e], other->data[e]))
        return fail(r, (span){0},
                    "internal error in kernel @%.*s: %.*s depends on which grid tile is the last",
                    STR_FMT(k->name), STR_FMT(m->name));
  }
  return true;
}

static bool run_kernel(runner *r, const step *s) {
  const kernel *k = r->p->kernels.data[s->kernel];
  tile_memory **args = arena_array(r->step, tile_memory *, k->nargs);
  for (int i = 0; i < k->nargs; i++) {
    args[i] = &r->memories[s->bufs[i]];
    memset(args[i]->writer, 0, sizeof(int32_t) * (size_t)args[i]->count);
    if (k->bufs.data[i].written) evict_overlaps(r, s->bufs[i]);
  }
  tile_call call = {.k = k,
                    .arena = r->step,
                    .args = args,
                    .symbols = r->sizes.symbols,
                    .nsymbols = r->sizes.nsymbols,
                    .sites = s->sites,
                    .site_axes = s->site_axes};
  bool fine =
      kernel_execute(&call, r->error, r->at) && (!kernel_finish(k) || same_backwards(r, &call));
  if (!fine) *r->error = str_dup(r->arena, *r->error);
  return fine;
}

static interp_tensor tensor_of(const tile_memory *m) {
  interp_tensor t = {.type = m->type, .rank = m->rank, .data = m->data};
  for (int d = 0; d < m->rank; d++) t.dims[d] = m->dims[d];
  return t;
}

static bool run_host(runner *r, const step *s) {
  int nin = s->nbufs - 1;
  interp_tensor *in = arena_array(r->step, interp_tensor, nin);
  for (int i = 0; i < nin; i++) {
    const tile_memory *m = &r->memories[s->bufs[i]];
    for (int64_t e = 0; e < m->count; e++)
      if (m->poison[e])
        return fail(r, s->at, "internal error: %.*s gets an unspecified element of %.*s",
                    STR_FMT(s->host_name), STR_FMT(m->name));
    in[i] = tensor_of(m);
  }
  int result = s->bufs[nin];
  evict_overlaps(r, result);
  interp_tensor out = tensor_of(&r->memories[result]);
  if (!r->host || !r->host->call || !r->host->call(r->host->ctx, s->host_name, in, nin, &out))
    return fail(r, s->at, "the host function %.*s is unknown or failed", STR_FMT(s->host_name));
  tile_memory *m = &r->memories[result];
  if (out.data != m->data) memcpy(m->data, out.data, sizeof(scalar) * (size_t)m->count);
  memset(m->poison, 0, (size_t)m->count);
  return true;
}

static bool give_outputs(runner *r, interp_tensor *outputs, arena *a) {
  for (int i = 0; i < r->p->noutputs; i++) {
    const tile_memory *m = &r->memories[r->p->nparams + i];
    for (int64_t e = 0; e < m->count; e++)
      if (m->poison[e])
        return fail(r, (span){0}, "internal error: element %lld of output %.*s was never stored",
                    (long long)e, STR_FMT(m->name));
    outputs[i] = tensor_of(m);
    outputs[i].data = arena_copy(a, m->data, sizeof(scalar) * (size_t)m->count);
  }
  return true;
}

static bool run_program(runner *r, const interp_tensor *params, interp_tensor *outputs, arena *a) {
  const program *p = r->p;
  int n = p->buffers.len;
  if (!bind_params(r, params)) return false;
  r->memories = arena_array(r->arena, tile_memory, n);
  r->begin = arena_array(r->arena, int64_t, n);
  r->end = arena_array(r->arena, int64_t, n);
  for (int i = 0; i < n; i++) {
    if (!make_memory(r, i, params)) return false;
    if (p->buffers.data[i].kind == BUFFER_OUTPUT) r->end[i] = r->memories[i].count * dtype_bytes(p->buffers.data[i].type);
    if (p->buffers.data[i].kind == BUFFER_TEMP && !place_temp(r, i)) return false;
  }
  for (int i = 0; i < p->steps.len; i++) {
    const step *s = &p->steps.data[i];
    bool fine = s->kind == STEP_HOST ? run_host(r, s) : run_kernel(r, s);
    arena_free(r->step);
    if (!fine) return false;
  }
  return give_outputs(r, outputs, a);
}

bool program_interpret(const program *p, arena *a, const interp_tensor *params,
                       interp_tensor *outputs, const interp_host *host, str *error,
                       span *at) {
  arena scratch = {.user = "the interpreter"}, step_scratch = {.user = "the interpreter"};
  span nowhere;
  runner r = {.p = p,
              .arena = &scratch,
              .step = &step_scratch,
              .host = host,
              .error = error,
              .at = at ? at : &nowhere};
  *r.at = (span){0};
  fault_frame frame;
  bool fine = false;
  if (fault_try(&frame)) {
    fine = run_program(&r, params, outputs, a);
    if (!fine) *error = str_dup(a, *error);
  }
  fault_pop(&frame);
  arena_free(&step_scratch);
  arena_free(&scratch);
  if (frame.kind != FAULT_NONE) fault_raise(frame.kind, "%s", frame.text);
  return fine;
}
