// Runs a program of the tile IR: binds size symbols, keeps a memory per buffer, executes kernels
// (ir/tile_exec.c) and host functions step by step. Temporaries live at their places of the arena
// in the sense that writing one makes all that overlap it unspecified, so a wrong arena plan shows.
#include "ir/tile_exec.h"

typedef struct runner {
  const program *p;
  arena *arena;
  vec(tile_symbol) symbols;
  tile_memory *memories;   // by buffer
  int64_t *begin, *end;    // temps: bytes in the arena
  bool round_each;
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

static const tile_symbol *find_symbol(const runner *r, str name) {
  for (int i = 0; i < r->symbols.len; i++)
    if (str_eq(r->symbols.data[i].name, name)) return &r->symbols.data[i];
  return NULL;
}

static int64_t symbol_value(void *ctx, str name) {
  const tile_symbol *s = find_symbol(ctx, name);
  return s ? s->value : 0;  // symbols that no param names are in no size, or bind_params failed
}

static int64_t size_of(runner *r, ix e) { return ix_eval(&r->p->ix, e, symbol_value, NULL, r); }

// ---- binding

/// Params give their sizes to the symbols that are sizes by themselves; all others must agree.
static bool bind_params(runner *r, const interp_tensor *params) {
  const program *p = r->p;
  for (int i = 0; i < p->nparams; i++) {
    const buffer *b = &p->buffers.data[i];
    if (params[i].type != b->type || params[i].rank != b->rank)
      return fail(r, (span){0}, "param %.*s takes %s of rank %d, not %s of rank %d",
                  STR_FMT(b->name), dtype_name(b->type), b->rank, dtype_name(params[i].type),
                  params[i].rank);
    for (int d = 0; d < b->rank; d++) {
      const ix_node *n = ix_get(&p->ix, b->dims[d]);
      if (n->kind != IX_SYM || find_symbol(r, n->name)) continue;
      tile_symbol bound = {n->name, params[i].dims[d]};
      vec_push(r->arena, &r->symbols, bound);
    }
  }
  for (int i = 0; i < p->nparams; i++) {
    const buffer *b = &p->buffers.data[i];
    for (int d = 0; d < b->rank; d++) {
      int64_t expected = size_of(r, b->dims[d]);
      if (expected != params[i].dims[d])
        return fail(r, (span){0}, "param %.*s has size %lld along %.*s, not %lld",
                    STR_FMT(b->name), (long long)params[i].dims[d], STR_FMT(b->axis_names[d]),
                    (long long)expected);
    }
  }
  return true;
}

static void poison_all(tile_memory *m) {
  for (int64_t i = 0; i < m->count; i++) m->data[i] = tile_poison(m->type);
  memset(m->poison, 1, (size_t)m->count);
}

static void make_memory(runner *r, int i, const interp_tensor *params) {
  const buffer *b = &r->p->buffers.data[i];
  tile_memory *m = &r->memories[i];
  *m = (tile_memory){.name = b->name, .type = b->type, .rank = b->rank, .count = 1};
  for (int d = 0; d < b->rank; d++) {
    m->dims[d] = size_of(r, b->dims[d]);
    m->count *= m->dims[d];
  }
  m->kept = b->kind == BUFFER_OUTPUT;
  m->poison = arena_array(r->arena, uint8_t, m->count);
  m->writer = arena_array(r->arena, int32_t, m->count);
  if (b->kind == BUFFER_PARAM) {
    m->data = params[i].data;
    return;
  }
  m->data = arena_array(r->arena, scalar, m->count);
  poison_all(m);
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
  if (r->begin[i] < 0 || r->end[i] > limit)
    return fail(r, (span){0}, "internal error: buffer %.*s ends at byte %lld of an arena of %lld",
                STR_FMT(b->name), (long long)r->end[i], (long long)limit);
  return true;
}

// ---- steps

/// What the step is about to write takes the place of everything that overlaps it.
static void evict_overlaps(runner *r, int written) {
  if (r->p->buffers.data[written].kind != BUFFER_TEMP) return;
  for (int i = r->p->nparams + r->p->noutputs; i < r->p->buffers.len; i++)
    if (i != written && r->begin[i] < r->end[written] && r->begin[written] < r->end[i])
      poison_all(&r->memories[i]);
}

static bool run_kernel(runner *r, const step *s) {
  const kernel *k = r->p->kernels.data[s->kernel];
  tile_memory **args = arena_array(r->arena, tile_memory *, k->nargs);
  for (int i = 0; i < k->nargs; i++) {
    args[i] = &r->memories[s->bufs[i]];
    memset(args[i]->writer, 0, sizeof(int32_t) * (size_t)args[i]->count);
    if (k->bufs.data[i].written) evict_overlaps(r, s->bufs[i]);
  }
  tile_call call = {.k = k,
                    .arena = r->arena,
                    .args = args,
                    .symbols = r->symbols.data,
                    .nsymbols = r->symbols.len,
                    .sites = s->sites,
                    .round_each = r->round_each};
  return kernel_execute(&call, r->error, r->at);
}

static interp_tensor tensor_of(const tile_memory *m) {
  interp_tensor t = {.type = m->type, .rank = m->rank, .data = m->data};
  for (int d = 0; d < m->rank; d++) t.dims[d] = m->dims[d];
  return t;
}

static bool run_host(runner *r, const step *s) {
  int nin = s->nbufs - 1;
  interp_tensor *in = arena_array(r->arena, interp_tensor, nin);
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

static bool give_outputs(runner *r, interp_tensor *outputs) {
  for (int i = 0; i < r->p->noutputs; i++) {
    const tile_memory *m = &r->memories[r->p->nparams + i];
    for (int64_t e = 0; e < m->count; e++)
      if (m->poison[e])
        return fail(r, (span){0}, "internal error: element %lld of output %.*s was never stored",
                    (long long)e, STR_FMT(m->name));
    outputs[i] = tensor_of(m);
  }
  return true;
}

bool program_interpret(const program *p, arena *a, const interp_tensor *params,
                       interp_tensor *outputs, bool round_each, const interp_host *host,
                       str *error, span *at) {
  int n = p->buffers.len;
  runner r = {.p = p, .arena = a, .round_each = round_each, .host = host, .error = error,
              .at = at};
  r.memories = arena_array(a, tile_memory, n);
  r.begin = arena_array(a, int64_t, n);
  r.end = arena_array(a, int64_t, n);
  if (!bind_params(&r, params)) return false;
  for (int i = 0; i < n; i++) {
    make_memory(&r, i, params);
    if (p->buffers.data[i].kind == BUFFER_TEMP && !place_temp(&r, i)) return false;
  }
  for (int i = 0; i < p->steps.len; i++) {
    const step *s = &p->steps.data[i];
    if (!(s->kind == STEP_HOST ? run_host(&r, s) : run_kernel(&r, s))) return false;
  }
  return give_outputs(&r, outputs);
}
