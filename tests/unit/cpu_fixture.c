// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// See cpu_fixture.h. Every buffer ends at a page that may not be touched, so that an access past
// the end stops the test.
#define _GNU_SOURCE
#include "cpu_fixture.h"

#include <criterion/criterion.h>
#include <ffi.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/fault.h"
#include "codegen/abi.h"

// ---- memory

typedef struct block {
  char *map;
  size_t mapped;
  char *data;  // `bytes` before the guard page
} block;

enum { PAGE = 4096 };

/// Aligned to 64 when the size is a multiple of it, else to the element.
static block block_new(size_t bytes) {
  size_t pages = (bytes + PAGE - 1) / PAGE + 1;
  block b = {.mapped = (pages + 1) * PAGE};
  b.map = mmap(NULL, b.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  cr_assert(b.map != MAP_FAILED);
  cr_assert(!mprotect(b.map + pages * PAGE, PAGE, PROT_NONE));
  b.data = b.map + pages * PAGE - bytes;
  memset(b.map, 0xFF, pages * PAGE);  // NaN to whoever reads what was not written
  return b;
}

static void block_free(block b) { munmap(b.map, b.mapped); }

// ---- sizes

typedef struct binding {
  const program *p;
  const int64_t *sizes;
} binding;

static int64_t size_of_symbol(void *ctx, str name) {
  const binding *b = ctx;
  for (int i = 0; i < b->p->symbols.len; i++)
    if (str_eq(b->p->symbols.data[i], name)) return b->sizes[i];
  cr_assert(false, "unbound symbol %.*s", STR_FMT(name));
  return 0;
}

static int64_t eval(const program *p, ix e, const int64_t *sizes) {
  binding b = {p, sizes};
  return ix_eval(&p->ix, e, size_of_symbol, NULL, &b);
}

typedef struct layout {
  int rank;
  int64_t dims[MAX_AXES], strides[MAX_AXES], count, span;  // span: elements from first to last
} layout;

static layout layout_of(const program *p, const buffer *b, const int64_t *sizes) {
  layout l = {.rank = b->rank, .count = 1, .span = 1};
  for (int d = 0; d < b->rank; d++) {
    l.dims[d] = eval(p, b->dims[d], sizes);
    l.strides[d] = eval(p, b->strides[d], sizes);
    l.count *= l.dims[d];
    l.span += (l.dims[d] - 1) * l.strides[d];
  }
  if (l.count == 0) l.span = 0;
  return l;
}

static int64_t offset_of(const layout *l, int64_t index) {
  int64_t offset = 0;
  for (int d = l->rank - 1; d >= 0; d--) {
    offset += index % l->dims[d] * l->strides[d];
    index /= l->dims[d];
  }
  return offset;
}

// ---- compiling and calling

static void *symbol_of(cpu_code *c, const char *suffix) {
  str error = {0};
  str name = str_printf(&c->arena, "%.*s%s", STR_FMT(c->p->name), suffix);
  void *symbol = jit_symbol(c->jit, c->object, name.ptr, &c->arena, &error);
  cr_assert(symbol, "%.*s", STR_FMT(error));
  return symbol;
}

void cpu_code_make(cpu_code *c, const program *p, const char *cpu) {
  *c = (cpu_code){.p = p, .cpu = cpu};
  codegen_options options = {.cpu = str_from(cpu)};
  code object;
  str error = {0};
  fault_frame frame;
  if (fault_try(&frame)) {
    bool made = codegen_cpu(&c->arena, p, &options, &object, &error);
    cr_assert(made, "%.*s", STR_FMT(error));
  }
  fault_pop(&frame);
  cr_assert(frame.kind == FAULT_NONE, "%s", frame.text);
  c->jit = jit_new(&error, &c->arena);
  cr_assert(c->jit, "%.*s", STR_FMT(error));
  c->object = jit_load(c->jit, object.data, object.size, &c->arena, &error);
  cr_assert(c->object, "%.*s", STR_FMT(error));
  c->function = symbol_of(c, "");
  c->arena_size = (int64_t(*)(const int64_t *))symbol_of(c, "_arena_size");
  c->scratch_size = (int64_t(*)(const int64_t *))symbol_of(c, "_scratch_size");
}

void cpu_code_free(cpu_code *c) {
  jit_unload(c->jit, c->object);
  jit_free(c->jit);
  arena_free(&c->arena);
}

/// Single tiles, handed to the workers in turn.
static void run_tiles(void *pool, tcf_task task, void *args, int64_t n) {
  int workers = *(int *)pool;
  for (int64_t i = 0; i < n; i++) {
    int64_t end = i % 3 == 0 && i + 1 < n ? i + 2 : i + 1;  // some ranges of two
    task(args, i, end, (int32_t)(i % workers));
    i = end - 1;
  }
}

/// "negate" of the golden programs: the result is the first input with its sign changed.
static int32_t host_negate(void *host, int32_t step, void *const *ptrs, const int64_t *dims) {
  (void)host, (void)step;
  for (int64_t i = 0; i < dims[0]; i++) ((float *)ptrs[1])[i] = -((const float *)ptrs[0])[i];
  return 0;
}

static cpu_result call(cpu_code *c, void **pointers, const int64_t *sizes, int workers) {
  const program *p = c->p;
  int npointers = p->nparams + p->noutputs, n = npointers + p->symbols.len + 1;
  block scratch = block_new((size_t)(c->scratch_size(sizes) * workers));
  block memory = block_new((size_t)c->arena_size(sizes));
  tcf_frame frame = {.pool = &workers, .parallel_for = run_tiles, .workers = workers,
                     .scratch = scratch.data, .arena = memory.data, .host_call = host_negate};
  void *frame_pointer = &frame;
  ffi_type **types = arena_array(&c->arena, ffi_type *, n);
  void **values = arena_array(&c->arena, void *, n);
  for (int i = 0; i < n; i++) {
    bool size = i >= npointers && i < n - 1;
    types[i] = size ? &ffi_type_sint64 : &ffi_type_pointer;
    values[i] = size         ? (void *)&sizes[i - npointers]
                : i == n - 1 ? (void *)&frame_pointer
                             : (void *)&pointers[i];
  }
  ffi_cif cif;
  cr_assert(ffi_prep_cif(&cif, FFI_DEFAULT_ABI, (unsigned)n, &ffi_type_sint32, types) == FFI_OK);
  ffi_arg status = 0;
  ffi_call(&cif, FFI_FN(c->function), &status, values);
  block_free(scratch);
  block_free(memory);
  return (cpu_result){(int)status, frame.error_site, frame.error_index};
}

// ---- comparing

static bool close_to(scalar got, scalar want, dtype t, double tolerance) {
  if (!dtype_is_float(t)) return got.i == want.i;
  if (isnan(want.f) || isnan(got.f)) return isnan(want.f) && isnan(got.f);
  if (isinf(want.f)) return got.f == want.f;
  if (t == DT_bf16 && tolerance < 1e-2) tolerance = 1e-2;
  if (t == DT_f16 && tolerance < 2e-3) tolerance = 2e-3;
  return fabs(got.f - want.f) <= tolerance * (1 + fabs(want.f));
}

static const buffer *buffer_of(const program *p, int pointer) {
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    int at = b->number + (b->kind == BUFFER_OUTPUT ? p->nparams : 0);
    if (b->kind != BUFFER_TEMP && at == pointer) return b;
  }
  cr_assert(false);
  return NULL;
}

static void put_tensor(const block *to, const layout *l, const interp_tensor *t) {
  for (int64_t k = 0; k < l->count; k++)
    scalar_store(to->data + offset_of(l, k) * dtype_bytes(t->type), t->type, t->data[k]);
}

static interp_tensor get_tensor(arena *a, const block *from, const layout *l, dtype type) {
  interp_tensor t = {.type = type, .rank = l->rank, .data = arena_array(a, scalar, l->count)};
  for (int d = 0; d < l->rank; d++) t.dims[d] = l->dims[d];
  for (int64_t k = 0; k < l->count; k++)
    t.data[k] = scalar_load(from->data + offset_of(l, k) * dtype_bytes(type), type);
  return t;
}

cpu_result cpu_run(arena *a, cpu_code *c, const int64_t *sizes, int workers,
                   const interp_tensor *in, interp_tensor *out) {
  const program *p = c->p;
  int n = p->nparams + p->noutputs;
  block *blocks = arena_array(a, block, n);
  void **pointers = arena_array(a, void *, n);
  layout *layouts = arena_array(a, layout, n);
  for (int i = 0; i < n; i++) {
    const buffer *b = buffer_of(p, i);
    layouts[i] = layout_of(p, b, sizes);
    blocks[i] = block_new((size_t)(layouts[i].span * dtype_bytes(b->type)));
    pointers[i] = blocks[i].data;
    if (i < p->nparams) put_tensor(&blocks[i], &layouts[i], &in[i]);
  }
  cpu_result result = call(c, pointers, sizes, workers);
  for (int i = p->nparams; i < n; i++)
    out[i - p->nparams] = get_tensor(a, &blocks[i], &layouts[i], buffer_of(p, i)->type);
  for (int i = 0; i < n; i++) block_free(blocks[i]);
  return result;
}

void cpu_bind_sizes(const program *p, const interp_tensor *in, int64_t *sizes) {
  for (int s = 0; s < p->symbols.len; s++) {
    sizes[s] = -1;
    for (int i = 0; i < p->nparams; i++) {
      const buffer *b = buffer_of(p, i);
      for (int d = 0; d < b->rank; d++) {
        const ix_node *n = ix_get(&p->ix, b->dims[d]);
        if (n->kind == IX_SYM && str_eq(n->name, p->symbols.data[s])) sizes[s] = in[i].dims[d];
      }
    }
  }
}

static void expect_equal(const interp_tensor *got, const interp_tensor *want, const cpu_case *c,
                         const char *cpu, const char *what) {
  dtype t = want->type;
  int64_t count = 1;
  for (int d = 0; d < want->rank; d++) count *= want->dims[d];
  for (int64_t k = 0; k < count; k++) {
    scalar x = got->data[k], y = want->data[k];
    bool real = dtype_is_float(t);
    cr_assert(close_to(x, y, t, c->tolerance ? c->tolerance : 1e-5),
              "%s\nsizes %lld, %lld, %lld, cpu \"%s\", element %lld of %lld: %.9g, not %.9g", what,
              (long long)c->sizes[0], (long long)c->sizes[1], (long long)c->sizes[2], cpu,
              (long long)k, (long long)count, real ? x.f : (double)x.i, real ? y.f : (double)y.i);
  }
}

static bool negate(void *ctx, str name, const interp_tensor *in, int nin, interp_tensor *out) {
  (void)ctx, (void)name, (void)nin;
  for (int64_t i = 0; i < in[0].dims[0]; i++) out->data[i].f = -in[0].data[i].f;
  return true;
}

static void compare_case(tile_fixture *f, cpu_code *code, int ncodes, const cpu_case *c,
                         const char *what) {
  enum { MOST = 8, WORKERS = 3 };
  const program *p = f->p;
  interp_tensor in[MOST], *want = arena_array(&f->arena, interp_tensor, p->noutputs);
  interp_tensor *got = arena_array(&f->arena, interp_tensor, p->noutputs);
  interp_host host = {.call = negate};
  str error = {0};
  span at;
  cr_assert(p->nparams <= MOST);
  for (int i = 0; i < p->nparams; i++) {
    const buffer *b = buffer_of(p, i);
    layout l = layout_of(p, b, c->sizes);
    in[i] = random_tensor(f, b->type, l.rank, l.dims);
    for (int64_t k = 0; c->below[i] && k < l.count; k++)
      in[i].data[k].i = random_below(f, (int)c->below[i]);
  }
  bool fine = program_interpret(p, &f->arena, in, want, &host, &error, &at);
  cr_assert(fine, "%s: %.*s", what, STR_FMT(error));
  for (int k = 0; k < ncodes; k++) {
    cpu_result r = cpu_run(&f->arena, &code[k], c->sizes, WORKERS, in, got);
    cr_assert(r.status == 0, "%s: status %d", what, r.status);
    for (int i = 0; i < p->noutputs; i++) expect_equal(&got[i], &want[i], c, code[k].cpu, what);
  }
}

void cpu_compare(tile_fixture *f, const cpu_case *cases, int ncases, const char *what) {
  static const char *const cpus[] = {"", "x86-64-v3", "x86-64"};
  enum { NCPUS = sizeof cpus / sizeof *cpus };
  cpu_code code[NCPUS];
  for (int k = 0; k < NCPUS; k++) cpu_code_make(&code[k], f->p, cpus[k]);
  for (int i = 0; i < ncases; i++) compare_case(f, code, NCPUS, &cases[i], what);
  for (int k = 0; k < NCPUS; k++) cpu_code_free(&code[k]);
}

void cpu_compare_text(const char *text, const cpu_case *cases, int ncases) {
  tile_fixture f = {0};
  str report;
  if (!tile_fixture_parse(&f, str_from(text))) {
    strbuf message = sb_new(&f.arena);
    diag_render_text(&f.diags, f.diags.items.data[0], false, &message);
    cr_assert(false, "%s\n%s", text, message.data);
  }
  cr_assert(program_verify(f.p, &f.arena, &report), "%s", report.ptr);
  cpu_compare(&f, cases, ncases, text);
  tile_fixture_free(&f);
}

str cpu_assembly(tile_fixture *f, const char *cpu) {
  codegen_options options = {.cpu = str_from(cpu), .kind = CODE_ASSEMBLY};
  code text;
  str error = {0};
  cr_assert(codegen_cpu(&f->arena, f->p, &options, &text, &error), "%.*s", STR_FMT(error));
  return (str){text.data, (int)text.size};
}
