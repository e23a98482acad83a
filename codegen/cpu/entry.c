// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The exported functions of a program, as codegen/abi.h has them: the call itself, which runs the
// steps in order, and the sizes of the memory it needs.
//
//   int32_t f(params..., outputs..., symbols..., frame)
//     block = { frame, -, scratch size, symbols..., - }
//     per step: block.site = step << 16; block.buffers = ...; frame->parallel_for(kernel, tiles)
//
// (many steps are a loop over a table: steps.c). With kernels on a device:
//
//     block = { 0, -, -, symbols..., - }
//     per step: block.site = step << 16; block.tiles = tiles; block.buffers = ...; maps = ...
//               frame->launch(frame->device, kernel, block, tiles, maps)
#include "codegen/cpu/entry.h"

#include <stddef.h>

#include "base/fault.h"
#include "codegen/nvptx/host.h"

// The site is in the same word of both blocks.
_Static_assert((int)ARG_SITE == (int)TCF_KERNEL_SITE, "see kernel_step");

// ---- sizes

static lval largest(kgen *g, const ix *sizes, int n) {
  LLVMBuilderRef b = g->e->builder;
  lval most = int64(g, 0);
  for (int i = 0; i < n; i++) {
    lval size = ix_value(g, sizes[i]);
    most = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, size, most, ""), size, most, "");
  }
  return most;
}

/// The peaks, each once, in the generator's pool.
static ix_list distinct(kgen *g, const ix_pool *from, const ix_list *peaks) {
  ix_list kept = {0};
  for (int i = 0; i < peaks->len; i++) {
    ix e = ix_substitute(&g->ix, from, peaks->data[i], NULL, 0);
    bool seen = false;
    for (int k = 0; k < kept.len; k++) seen |= kept.data[k] == e;
    if (!seen) vec_push(g->arena, &kept, e);
  }
  return kept;
}

/// int64_t f_<what>_size(const int64_t *symbols)
static void size_function(emit *e, arena *a, const program *p, const char *what,
                          const ix_pool *from, const ix_list *sizes) {
  str name = str_printf(a, "%.*s_%s_size", STR_FMT(p->name), what);
  LLVMTypeRef type = LLVMFunctionType(e->i64, &e->ptr, 1, 0);
  lval function = function_new(e, name.ptr, type, true);
  kgen g = kgen_open(e, a, p, NULL, function);
  g.symbol_words = LLVMGetParam(function, 0);
  ix_list list = distinct(&g, from, sizes);
  LLVMBuildRet(e->builder, largest(&g, list.data, list.len));
  kgen_close(&g);
}

// ---- the call

/// Beyond, addresses of temps wait in memory: values that are live all through a long function cost
/// the register allocator time that grows with their number times the length.
enum { MANY_BUFFERS = 256, TABLE_PART = 256 };

lval byte_address(kgen *g, lval base, lval offset) {
  return LLVMBuildGEP2(g->e->builder, g->e->i8, base, &offset, 1, "");
}

lval load_field(kgen *g, LLVMTypeRef type, size_t offset) {
  return LLVMBuildLoad2(g->e->builder, type,
                        byte_address(g, g->frame, int64(g, (int64_t)offset)), "");
}

void put_word(kgen *g, lval block, int word, lval x) {
  LLVMBuildStore(g->e->builder, x, byte_address(g, block, int64(g, 8 * (int64_t)word)));
}

static void return_status(kgen *g, int status) {
  LLVMBuildRet(g->e->builder, emit_int(g->e->i32, status));
}

void return_if(kgen *g, lval failed, int status) {
  LLVMBasicBlockRef after = guard_begin(g, failed);
  return_status(g, status);
  LLVMPositionBuilderAtEnd(g->e->builder, after);
}

ix tiles_of(kgen *g, const kernel *k) {
  ix tiles = ix_const(&g->ix, 1);
  for (int i = 0; i < k->grid.len; i++) {
    const grid_axis *a = &k->grid.data[i];
    ix size = ix_substitute(&g->ix, &k->ix, k->axes.data[a->axis].size, NULL, 0);
    ix up = ix_add(&g->ix, size, ix_const(&g->ix, a->extent - 1));
    tiles = ix_mul(&g->ix, tiles, ix_div(&g->ix, up, ix_const(&g->ix, a->extent)));
  }
  return tiles;
}

void entry_run_tile(entry *en, lval task) {
  emit *e = en->g.e;
  LLVMTypeRef params[] = {e->ptr, e->i64, e->i64, e->i32};
  lval args[] = {en->block, int64(&en->g, 0), int64(&en->g, 1), emit_int(e->i32, 0)};
  LLVMBuildCall2(e->builder, LLVMFunctionType(e->void_, params, 4, 0), task, args, 4, "");
}

void entry_run_tiles(entry *en, lval task, lval count, bool maybe_none) {
  kgen *g = &en->g;
  emit *e = g->e;
  lval some = LLVMBuildICmp(e->builder, LLVMIntSGT, count, int64(g, 0), "");
  LLVMBasicBlockRef after = guard_begin(g, maybe_none ? some : NULL);
  LLVMTypeRef params[] = {e->ptr, e->ptr, e->ptr, e->i64};
  lval args[] = {load_field(g, e->ptr, offsetof(tcf_frame, pool)), task, en->block, count};
  LLVMBuildCall2(e->builder, LLVMFunctionType(e->void_, params, 4, 0),
                 load_field(g, e->ptr, offsetof(tcf_frame, parallel_for)), args, 4, "");
  guard_end(g, after);
}

static void run_tiles(entry *en, lval task, ix tiles) {
  kgen *g = &en->g;
  int64_t n;
  bool known = ix_is_const(&g->ix, tiles, &n);
  if (known && n <= 0) return;
  if (known && n == 1) entry_run_tile(en, task);
  else entry_run_tiles(en, task, ix_value(g, tiles), !known);
}

static void cpu_step(entry *en, const step *s) {
  kgen *g = &en->g;
  lval constants = en->kernels->constants ? en->kernels->constants[s->kernel] : NULL;
  if (constants) put_word(g, en->block, constants_word(g->program), constants);
  run_tiles(en, en->kernels->tasks[s->kernel], tiles_of(g, g->program->kernels.data[s->kernel]));
  if (!s->nsites) return;
  lval site = load_field(g, g->e->i64, offsetof(tcf_frame, error_site));
  return_if(g, LLVMBuildICmp(g->e->builder, LLVMIntNE, site, int64(g, 0), ""), TCF_CALL_INDEX);
}

/// Size and stride (elements) of dimension d of a map of the argument.
static void map_sizes(const entry *en, int kernel_number, int map, int arg, int d, ix *size,
                      ix *stride, const ix_pool **pool) {
  const kernel *k = en->g.program->kernels.data[kernel_number];
  const tile_buf *b = &k->bufs.data[arg];
  const kernel_maps *maps = en->kernels->maps ? &en->kernels->maps[kernel_number] : NULL;
  bool over_axes = maps && maps->axes[map].used;
  int own = over_axes ? 0 : map_dimension(k, arg, d);
  *size = over_axes ? maps->axes[map].size[d] : b->dims[own];
  *stride = over_axes ? maps->axes[map].stride[d] : b->strides[own];
  *pool = over_axes ? maps->pool : &k->ix;
}

/// Sizes, then strides in bytes without the innermost, of each argument that has a tensor map.
static void put_maps(entry *en, int kernel_number) {
  kgen *g = &en->g;
  const kernel *k = g->program->kernels.data[kernel_number];
  const tcf_kernel_info *info = &en->kernels->infos[kernel_number];
  int word = 0;
  for (int m = 0; m < info->nmaps; m++) {
    int arg = info->maps[m].word - TCF_KERNEL_SYMBOLS - g->program->symbols.len;
    check(arg >= 0 && arg < k->nargs);
    for (int strides = 0; strides < 2; strides++)
      for (int d = strides; d < info->maps[m].rank; d++) {
        ix size, stride;
        const ix_pool *pool;
        map_sizes(en, kernel_number, m, arg, d, &size, &stride, &pool);
        ix v = ix_substitute(&g->ix, pool, strides ? stride : size, NULL, 0);
        if (strides) v = ix_scale(&g->ix, v, dtype_bytes(k->bufs.data[arg].type));
        put_word(g, en->maps, word++, ix_value(g, v));
      }
  }
}

/// Errors of the device are found by who waits for it: launches only start.
static void device_step(entry *en, const step *s) {
  kgen *g = &en->g;
  emit *e = g->e;
  const kernel *k = g->program->kernels.data[s->kernel];
  ix tiles = tiles_of(g, k);
  int64_t n;
  bool known = ix_is_const(&g->ix, tiles, &n);
  if (known && n <= 0) return;
  lval count = ix_value(g, tiles);
  lval some = LLVMBuildICmp(e->builder, LLVMIntSGT, count, int64(g, 0), "");
  LLVMBasicBlockRef after = guard_begin(g, known ? NULL : some);
  put_word(g, en->block, TCF_KERNEL_TILES, count);
  put_maps(en, s->kernel);
  LLVMTypeRef params[] = {e->ptr, e->i32, e->ptr, e->i64, e->ptr};
  lval args[] = {load_field(g, e->ptr, offsetof(tcf_frame, device)), emit_int(e->i32, s->kernel),
                 en->block, count, en->maps};
  lval status = LLVMBuildCall2(e->builder, LLVMFunctionType(e->i32, params, 5, 0),
                               load_field(g, e->ptr, offsetof(tcf_frame, launch)), args, 5, "");
  return_if(g, LLVMBuildICmp(e->builder, LLVMIntNE, status, emit_int(e->i32, 0), ""),
            TCF_CALL_LAUNCH);
  guard_end(g, after);
}

static lval buffer_address(entry *en, int number) {
  if (en->buffers[number]) return en->buffers[number];
  emit *e = en->g.e;
  lval at = byte_address(&en->g, en->table, int64(&en->g, 8 * (int64_t)number));
  return LLVMBuildLoad2(e->builder, e->ptr, at, "");
}

static void kernel_step(entry *en, int number, const step *s) {
  kgen *g = &en->g;
  int first = en->symbols + g->program->symbols.len;
  put_word(g, en->block, ARG_SITE, int64(g, (int64_t)number << 16));
  for (int i = 0; i < s->nbufs; i++)
    put_word(g, en->block, first + i, buffer_address(en, s->bufs[i]));
  if (en->kernels->infos) device_step(en, s);
  else cpu_step(en, s);
}

static void host_step(entry *en, int number, const step *s) {
  kgen *g = &en->g;
  emit *e = g->e;
  int ndims = 0;
  for (int i = 0; i < s->nbufs; i++) {
    const buffer *b = &g->program->buffers.data[s->bufs[i]];
    put_word(g, en->host_ptrs, i, buffer_address(en, s->bufs[i]));
    for (int d = 0; d < b->rank; d++) put_word(g, en->host_dims, ndims++, ix_value(g, b->dims[d]));
  }
  LLVMTypeRef params[] = {e->ptr, e->i32, e->ptr, e->ptr};
  lval args[] = {load_field(g, e->ptr, offsetof(tcf_frame, host)), emit_int(e->i32, number),
                 en->host_ptrs, en->host_dims};
  lval status = LLVMBuildCall2(e->builder, LLVMFunctionType(e->i32, params, 4, 0),
                               load_field(g, e->ptr, offsetof(tcf_frame, host_call)), args, 4, "");
  return_if(g, LLVMBuildICmp(e->builder, LLVMIntNE, status, emit_int(e->i32, 0), ""),
            TCF_CALL_HOST);
}

lval stack_words(kgen *g, int words) {
  if (!words) return LLVMConstNull(g->e->ptr);
  lval block = LLVMBuildAlloca(level_builder(g, 0),
                               LLVMArrayType2(g->e->i64, (uint64_t)words), "");
  LLVMSetAlignment(block, 8);
  return block;
}

static int most_map_words(const entry *en) {
  int most = 0;
  for (int k = 0; en->kernels->infos && k < en->g.program->kernels.len; k++) {
    int words = 0;
    const tcf_kernel_info *info = &en->kernels->infos[k];
    for (int m = 0; m < info->nmaps; m++) words += 2 * info->maps[m].rank - 1;
    if (words > most) most = words;
  }
  return most;
}

/// Launchers write a word of some kernel.
static bool has_tickets(const entry *en) {
  bool any = false;
  for (int k = 0; en->kernels->infos && k < en->g.program->kernels.len; k++)
    any |= en->kernels->infos[k].ticket_word;
  return any;
}

static void place_blocks(entry *en) {
  const program *p = en->g.program;
  int bufs = 0, ptrs = 0, dims = 0;
  for (int i = 0; i < p->steps.len; i++) {
    const step *s = &p->steps.data[i];
    int ndims = 0;
    for (int b = 0; b < s->nbufs; b++) ndims += p->buffers.data[s->bufs[b]].rank;
    bool host = s->kind == STEP_HOST;
    if (!host && s->nbufs > bufs) bufs = s->nbufs;
    if (host && s->nbufs > ptrs) ptrs = s->nbufs;
    if (host && ndims > dims) dims = ndims;
  }
  int more = en->kernels->constants || has_tickets(en);
  en->block = stack_words(&en->g, en->symbols + p->symbols.len + bufs + more);
  en->maps = stack_words(&en->g, most_map_words(en));
  en->host_ptrs = stack_words(&en->g, ptrs);
  en->host_dims = stack_words(&en->g, dims);
  en->table = stack_words(&en->g, en->many ? p->buffers.len : 0);
}

static void place_buffers(entry *en) {
  kgen *g = &en->g;
  const program *p = g->program;
  lval arena_base = load_field(g, g->e->ptr, offsetof(tcf_frame, arena));
  en->buffers = arena_array(g->arena, lval, p->buffers.len);
  for (int i = 0; i < p->buffers.len; i++) {
    const buffer *b = &p->buffers.data[i];
    bool temp = b->kind == BUFFER_TEMP;
    if (b->host) continue;
    int parameter = b->number + (b->kind == BUFFER_OUTPUT ? p->nparams : 0);
    if (temp ? en->many : en->words) continue;
    en->buffers[i] = temp ? byte_address(g, arena_base, ix_value(g, b->offset))
                          : LLVMGetParam(g->function, (unsigned)parameter);
  }
}

/// void places(ptr table, ptr arena, ptr symbols): the addresses of buffers [first, end) that are
/// temps.
static lval table_function(emit *e, arena *a, const program *p, int first, int end) {
  LLVMTypeRef params[] = {e->ptr, e->ptr, e->ptr};
  str name = str_printf(a, "%.*s.places.%d", STR_FMT(p->name), first);
  lval function = function_new(e, name.ptr, LLVMFunctionType(e->void_, params, 3, 0), false);
  kgen g = kgen_open(e, a, p, NULL, function);
  g.symbol_words = LLVMGetParam(function, 2);
  for (int i = first; i < end; i++) {
    const buffer *b = &p->buffers.data[i];
    if (b->kind != BUFFER_TEMP || b->host) continue;
    lval at = byte_address(&g, LLVMGetParam(function, 1), ix_value(&g, b->offset));
    put_word(&g, LLVMGetParam(function, 0), i, at);
  }
  LLVMBuildRetVoid(e->builder);
  kgen_close(&g);
  return function;
}

/// In several functions: LLVM's schedulers take time quadratic in the stores of one.
static void fill_table(entry *en, const lval *functions) {
  enum { NPARAMS = 3 };
  kgen *g = &en->g;
  emit *e = g->e;
  LLVMTypeRef params[NPARAMS] = {e->ptr, e->ptr, e->ptr};
  LLVMTypeRef type = LLVMFunctionType(e->void_, params, NPARAMS, 0);
  lval args[NPARAMS] = {en->table, load_field(g, e->ptr, offsetof(tcf_frame, arena)),
                        byte_address(g, en->block, int64(g, 8 * (int64_t)en->symbols))};
  for (int i = 0; functions[i]; i++)
    LLVMBuildCall2(e->builder, type, functions[i], args, NPARAMS, "");
}

/// Temps in the memory of outputs. There are few.
static void place_in_outputs(entry *en) {
  kgen *g = &en->g;
  for (int i = 0; i < g->program->buffers.len; i++) {
    const buffer *b = &g->program->buffers.data[i];
    if (!b->host) continue;
    lval at = byte_address(g, buffer_address(en, b->host - 1), ix_value(g, b->offset));
    if (en->many) put_word(g, en->table, i, at);
    else en->buffers[i] = at;
  }
}

/// The functions that fill the table, null behind the last; none when there is no table.
static lval *table_functions(emit *e, arena *a, const program *p) {
  int n = p->buffers.len > MANY_BUFFERS ? p->buffers.len : 0, count = 0;
  lval *functions = arena_array(a, lval, n / TABLE_PART + 2);
  for (int i = 0; i < n; i += TABLE_PART)
    functions[count++] = table_function(e, a, p, i, i + TABLE_PART < n ? i + TABLE_PART : n);
  return functions;
}

static lval entry_function(emit *e, arena *a, const program *p) {
  int npointers = p->nparams + p->noutputs, n = npointers + p->symbols.len + 1;
  LLVMTypeRef *params = arena_array(a, LLVMTypeRef, n);
  for (int i = 0; i < n; i++) params[i] = i < npointers || i == n - 1 ? e->ptr : e->i64;
  LLVMTypeRef type = LLVMFunctionType(e->i32, params, (unsigned)n, 0);
  return function_new(e, str_z(a, p->name), type, true);
}

/// What is the same for all steps.
static void fill_block(entry *en) {
  kgen *g = &en->g;
  for (int i = 0; i < g->program->symbols.len && !en->words; i++)
    put_word(g, en->block, en->symbols + i, g->symbols[i]);
  if (en->kernels->infos) {
    put_word(g, en->block, TCF_KERNEL_ERROR, int64(g, 0));
    return;
  }
  ix_list list = distinct(g, en->kernels->sizes, en->kernels->peaks);
  put_word(g, en->block, ARG_FRAME, g->frame);
  put_word(g, en->block, ARG_SCRATCH, largest(g, list.data, list.len));
}

void gen_entry(emit *e, arena *a, const program *p, const entry_kernels *kernels) {
  const lval *table = table_functions(e, a, p);
  bool words = call_takes_words(p);
  lval function = words ? entry_run_function(e, a, p) : entry_function(e, a, p);
  int npointers = p->nparams + p->noutputs, nsymbols = p->symbols.len;
  entry en = {.g = kgen_open(e, a, p, NULL, function),
              .kernels = kernels,
              .symbols = kernels->infos ? TCF_KERNEL_SYMBOLS : ARG_SYMBOLS,
              .many = p->buffers.len > MANY_BUFFERS,
              .words = words};
  kgen *g = &en.g;
  g->frame = LLVMGetParam(function, words ? 2 : (unsigned)(npointers + nsymbols));
  if (words) g->symbol_words = LLVMGetParam(function, 1);
  for (int i = 0; i < nsymbols && !words; i++)
    g->symbols[i] = LLVMGetParam(function, (unsigned)(npointers + i));
  place_blocks(&en);
  place_buffers(&en);
  if (words) entry_copy_words(&en, LLVMGetParam(function, 0));
  fill_block(&en);
  fill_table(&en, table);
  place_in_outputs(&en);
  steps_fill_table(&en);
  for (int i = 0; i < p->steps.len;) {
    const step *s = &p->steps.data[i];
    int run = steps_in_table(&en, i);
    if (run) steps_run_table(&en, i, run);
    else if (s->kind == STEP_HOST) host_step(&en, i, s);
    else kernel_step(&en, i, s);
    i += run ? run : 1;
  }
  return_status(g, TCF_CALL_OK);
  kgen_close(g);
  if (words) words_call_run(e, a, p, function);
  ix_list arena_bytes = {0}, none = {0};
  if (p->arena_bytes) vec_push(a, &arena_bytes, p->arena_bytes);
  size_function(e, a, p, "arena", &p->ix, &arena_bytes);
  size_function(e, a, p, "scratch", kernels->sizes, kernels->peaks ? kernels->peaks : &none);
}
