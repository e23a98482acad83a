// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The functions of a library (codegen/library.h), around an entry and sizes that become private:
//
//   f(x, out, N, context)     pointers = { x, out }; symbols = { N };
//                             return tcf_library2_cpu_call(context, pointers, symbols)
//   f_open(number, context)   return tcf_library2_cpu_open(&{ description of f }, number, context)
//
// The runtime comes back through the description, whose `run` spreads pointers and symbols again:
// so it needs no signature, and the exported function no runtime in its code.
#include "codegen/library.h"

#include "base/fault.h"
#include "codegen/cpu/cpu.h"

typedef struct library_gen {
  emit *e;
  arena *a;
  const program *p;
  const library_spec *spec;
  const library_images *images;  // null: CPU
} library_gen;

// ---- pieces

static lval word(library_gen *l, int64_t v) { return emit_int(l->e->i64, v); }

static lval element(library_gen *l, lval base, int i) {
  lval at = word(l, i);
  return LLVMBuildGEP2(l->e->builder, l->e->i64, base, &at, 1, "");
}

static lval open_function(library_gen *l, str name, LLVMTypeRef type, bool exported) {
  lval f = function_new(l->e, name.ptr, type, exported);
  LLVMPositionBuilderAtEnd(l->e->builder, LLVMAppendBasicBlockInContext(l->e->context, f, ""));
  return f;
}

static str own_name(library_gen *l, const char *suffix) {
  return str_printf(l->a, "%.*s%s", STR_FMT(l->p->name), suffix);
}

/// A function of the runtime: hidden, so that the library does not export it.
static lval runtime_function(library_gen *l, const char *name, LLVMTypeRef type) {
  str full = str_printf(l->a, "%s%s", l->images ? LIBRARY_CUDA : LIBRARY_CPU, name);
  lval f = function_new(l->e, full.ptr, type, true);
  LLVMSetVisibility(f, LLVMHiddenVisibility);
  return f;
}

/// What gen_entry made under an exported name, out of the way of the library's own.
static lval take(library_gen *l, const char *suffix, const char *private_name) {
  lval f = LLVMGetNamedFunction(l->e->module, own_name(l, suffix).ptr);
  check(f);
  str name = own_name(l, private_name);
  LLVMSetLinkage(f, LLVMInternalLinkage);
  LLVMSetValueName2(f, name.ptr, (size_t)name.len);
  return f;
}

static lval array_constant(library_gen *l, LLVMTypeRef type, lval *items, int n) {
  if (!n) return LLVMConstNull(l->e->ptr);
  return constant_new(l->e, STR("table"), LLVMConstArray2(type, items, (uint64_t)n), false, 8);
}

static lval texts_constant(library_gen *l, const char *const *texts, int n) {
  lval *items = arena_array(l->a, lval, n);
  for (int i = 0; i < n; i++) items[i] = constant_text(l->e, texts[i]);
  return array_constant(l, l->e->ptr, items, n);
}

// ---- the description

static lval symbols_constant(library_gen *l) {
  int n = l->p->symbols.len;
  lval *items = arena_array(l->a, lval, n);
  for (int i = 0; i < n; i++) {
    const tcf_library_symbol *s = &l->spec->symbols[i];
    lval fields[] = {constant_text(l->e, s->name), word(l, s->least), word(l, s->most),
                     word(l, s->multiple_of)};
    items[i] = LLVMConstStructInContext(l->e->context, fields, 4, 0);
  }
  return array_constant(l, n ? LLVMTypeOf(items[0]) : NULL, items, n);
}

static lval pointers_constant(library_gen *l) {
  int n = l->p->nparams + l->p->noutputs;
  lval *items = arena_array(l->a, lval, n);
  for (int i = 0; i < n; i++) {
    const tcf_library_pointer *p = &l->spec->pointers[i];
    lval fields[] = {constant_text(l->e, p->name), word(l, p->alignment), word(l, p->is_result)};
    items[i] = LLVMConstStructInContext(l->e->context, fields, 3, 0);
  }
  return array_constant(l, n ? LLVMTypeOf(items[0]) : NULL, items, n);
}

static lval sites_constant(library_gen *l) {
  int n = l->spec->nsites;
  lval *items = arena_array(l->a, lval, n);
  for (int i = 0; i < n; i++) {
    const tcf_library_site *s = &l->spec->sites[i];
    lval fields[] = {word(l, s->site), constant_text(l->e, s->place), constant_text(l->e, s->axis)};
    items[i] = LLVMConstStructInContext(l->e->context, fields, 3, 0);
  }
  return array_constant(l, n ? LLVMTypeOf(items[0]) : NULL, items, n);
}

static lval image_constant(library_gen *l, code image) {
  if (!image.size) return LLVMConstNull(l->e->ptr);
  return constant_new(l->e, STR("image"), constant_bytes(l->e, image), false, 64);
}

/// int32_t negative(const int64_t *symbols): the last length that is, else -1.
static lval negative_function(library_gen *l) {
  emit *e = l->e;
  LLVMTypeRef type = LLVMFunctionType(e->i32, &e->ptr, 1, 0);
  lval f = function_new(e, own_name(l, ".negative").ptr, type, false);
  kgen g = kgen_open(e, l->a, l->p, NULL, f);
  g.symbol_words = LLVMGetParam(f, 0);
  lval found = emit_int(e->i32, -1);
  for (int i = 0; i < l->spec->nlengths; i++) {
    lval length = ix_value(&g, ix_substitute(&g.ix, l->spec->ix, l->spec->lengths[i], NULL, 0));
    lval bad = LLVMBuildICmp(e->builder, LLVMIntSLT, length, int64(&g, 0), "");
    found = LLVMBuildSelect(e->builder, bad, emit_int(e->i32, i), found, "");
  }
  LLVMBuildRet(e->builder, found);
  kgen_close(&g);
  return f;
}

/// void bytes.first(const int64_t *symbols, int64_t *bytes): of the buffers [first, end)
static lval bytes_of(library_gen *l, int first, int end) {
  emit *e = l->e;
  LLVMTypeRef params[] = {e->ptr, e->ptr};
  LLVMTypeRef type = LLVMFunctionType(e->void_, params, 2, 0);
  str name = str_printf(l->a, "%.*s.bytes.%d", STR_FMT(l->p->name), first);
  lval f = function_new(e, name.ptr, type, false);
  kgen g = kgen_open(e, l->a, l->p, NULL, f);
  g.symbol_words = LLVMGetParam(f, 0);
  for (int i = first; i < end; i++) {
    const buffer *b = &l->p->buffers.data[i];
    if (b->kind != BUFFER_PARAM && b->kind != BUFFER_OUTPUT) continue;
    lval bytes = int64(&g, dtype_bytes(b->type));
    for (int k = 0; k < b->rank; k++) {
      lval size = ix_value(&g, ix_substitute(&g.ix, &l->p->ix, b->dims[k], NULL, 0));
      bytes = LLVMBuildMul(e->builder, bytes, size, "");
    }
    int at = b->number + (b->kind == BUFFER_OUTPUT ? l->p->nparams : 0);
    LLVMBuildStore(e->builder, bytes, element(l, LLVMGetParam(f, 1), at));
  }
  LLVMBuildRetVoid(e->builder);
  kgen_close(&g);
  return f;
}

/// void bytes(const int64_t *symbols, int64_t *bytes), in parts for the same reason as places in
/// entry.c.
static lval bytes_function(library_gen *l) {
  enum { PART = 256 };
  emit *e = l->e;
  int n = l->p->buffers.len;
  lval *parts = arena_array(l->a, lval, n / PART + 1);
  for (int i = 0; i <= n / PART; i++)
    parts[i] = bytes_of(l, i * PART, (i + 1) * PART < n ? (i + 1) * PART : n);
  if (n < PART) return parts[0];
  LLVMTypeRef type = LLVMGlobalGetValueType(parts[0]);
  lval f = open_function(l, own_name(l, ".bytes"), type, false);
  lval args[] = {LLVMGetParam(f, 0), LLVMGetParam(f, 1)};
  for (int i = 0; i <= n / PART; i++) LLVMBuildCall2(e->builder, type, parts[i], args, 2, "");
  LLVMBuildRetVoid(e->builder);
  return f;
}

/// int64_t axis_size(const int64_t *symbols, int64_t number)
static lval axis_size_function(library_gen *l) {
  emit *e = l->e;
  LLVMTypeRef params[] = {e->ptr, e->i64};
  LLVMTypeRef type = LLVMFunctionType(e->i64, params, 2, 0);
  lval f = function_new(e, own_name(l, ".axis_size").ptr, type, false);
  kgen g = kgen_open(e, l->a, l->p, NULL, f);
  g.symbol_words = LLVMGetParam(f, 0);
  lval size = int64(&g, -1);
  for (int i = 0; i < l->spec->nsites; i++) {
    if (!l->spec->site_sizes[i]) continue;
    lval own = ix_value(&g, ix_substitute(&g.ix, l->spec->ix, l->spec->site_sizes[i], NULL, 0));
    lval this = LLVMBuildICmp(e->builder, LLVMIntEQ, LLVMGetParam(f, 1), int64(&g, i), "");
    size = LLVMBuildSelect(e->builder, this, own, size, "");
  }
  LLVMBuildRet(e->builder, size);
  kgen_close(&g);
  return f;
}

/// int32_t run(void *const *pointers, const int64_t *symbols, tcf_frame *frame)
static lval run_function(library_gen *l) {
  emit *e = l->e;
  lval entry = take(l, "", ".entry");
  if (call_takes_words(l->p)) {
    LLVMDeleteFunction(entry);  // what it would call is there
    return LLVMGetNamedFunction(e->module, own_name(l, ".run").ptr);
  }
  LLVMTypeRef params[] = {e->ptr, e->ptr, e->ptr};
  lval f = open_function(l, own_name(l, ".run"), LLVMFunctionType(e->i32, params, 3, 0), false);
  int npointers = l->p->nparams + l->p->noutputs, n = npointers + l->p->symbols.len;
  lval *args = arena_array(l->a, lval, n + 1);
  for (int i = 0; i < n; i++) {
    bool pointer = i < npointers;
    lval at = element(l, LLVMGetParam(f, !pointer), pointer ? i : i - npointers);
    args[i] = LLVMBuildLoad2(e->builder, pointer ? e->ptr : e->i64, at, "");
  }
  args[n] = LLVMGetParam(f, 2);
  LLVMTypeRef type = LLVMGlobalGetValueType(entry);
  LLVMBuildRet(e->builder, LLVMBuildCall2(e->builder, type, entry, args, (unsigned)n + 1, ""));
  return f;
}

/// The fields of tcf_library in its order.
static lval description(library_gen *l) {
  _Static_assert(sizeof(tcf_library) == 8 * 21, "description follows tcf_library");
  const library_spec *s = l->spec;
  library_images none = {.kernels = LLVMConstNull(l->e->ptr)};
  const library_images *images = l->images ? l->images : &none;
  int nsteps = l->p->steps.len;
  lval fields[] = {
      word(l, l->p->nparams + l->p->noutputs),
      word(l, l->p->symbols.len),
      word(l, s->nsites),
      word(l, nsteps),
      word(l, s->nlengths),
      pointers_constant(l),
      symbols_constant(l),
      sites_constant(l),
      texts_constant(l, s->places, nsteps),
      texts_constant(l, s->length_names, s->nlengths),
      negative_function(l),
      bytes_function(l),
      axis_size_function(l),
      take(l, "_arena_size", ".arena_size"),
      take(l, "_scratch_size", ".scratch_size"),
      run_function(l),
      images->kernels,
      image_constant(l, images->cubin),
      word(l, (int64_t)images->cubin.size),
      image_constant(l, images->ptx),
      word(l, (int64_t)images->ptx.size),
  };
  lval value = LLVMConstStructInContext(l->e->context, fields, sizeof fields / sizeof *fields, 0);
  return constant_new(l->e, own_name(l, ".library"), value, false, 8);
}

// ---- what is exported

/// Hands its arguments, after `first` (null: none), to the runtime's function of that name.
static void forward(library_gen *l, const char *name, LLVMTypeRef result, LLVMTypeRef *params,
                    int n, lval first) {
  emit *e = l->e;
  lval args[4];
  LLVMTypeRef types[4];
  int count = 0;
  str own = str_printf(l->a, "%.*s_%s", STR_FMT(l->p->name), name);
  lval f = open_function(l, own, LLVMFunctionType(result, params, (unsigned)n, 0), true);
  if (first) types[count] = e->ptr, args[count++] = first;
  for (int i = 0; i < n; i++)
    types[count] = params[i], args[count++] = LLVMGetParam(f, (unsigned)i);
  LLVMTypeRef type = LLVMFunctionType(result, types, (unsigned)count, 0);
  lval to = runtime_function(l, name, type);
  lval value = LLVMBuildCall2(e->builder, type, to, args, (unsigned)count, "");
  if (result == e->void_) LLVMBuildRetVoid(e->builder);
  else LLVMBuildRet(e->builder, value);
}

/// Calls the runtime with n words, of which `npointers` are pointers, and what is behind them.
static void call_runtime(library_gen *l, lval words, int npointers, lval *last) {
  emit *e = l->e;
  unsigned n = l->images ? 4 : 3;
  lval args[] = {last[0], words, element(l, words, npointers), last[1]};
  LLVMTypeRef types[] = {e->ptr, e->ptr, e->ptr, e->ptr};
  LLVMTypeRef call = LLVMFunctionType(e->i32, types, n, 0);
  lval to = runtime_function(l, "call", call);
  LLVMBuildRet(e->builder, LLVMBuildCall2(e->builder, call, to, args, n, ""));
}

/// int32_t f(params..., outputs..., symbols..., context[, stream])
static void call_function(library_gen *l) {
  emit *e = l->e;
  int npointers = l->p->nparams + l->p->noutputs, nsymbols = l->p->symbols.len;
  int n = npointers + nsymbols, nlast = l->images ? 2 : 1;
  LLVMTypeRef *params = arena_array(l->a, LLVMTypeRef, n + nlast);
  for (int i = 0; i < n + nlast; i++) params[i] = i >= npointers && i < n ? e->i64 : e->ptr;
  LLVMTypeRef type = LLVMFunctionType(e->i32, params, (unsigned)(n + nlast), 0);
  lval f = open_function(l, own_name(l, ""), type, true), last[2] = {0};
  lval words = LLVMBuildAlloca(e->builder, LLVMArrayType2(e->i64, (uint64_t)n + 1), "");
  LLVMSetAlignment(words, 8);
  for (int i = 0; i < n; i++)
    LLVMBuildStore(e->builder, LLVMGetParam(f, (unsigned)i), element(l, words, i));
  for (int i = 0; i < nlast; i++) last[i] = LLVMGetParam(f, (unsigned)(n + i));
  call_runtime(l, words, npointers, last);
}

/// The same of many parameters (words.c).
static void call_function_of_words(library_gen *l) {
  emit *e = l->e;
  int npointers = l->p->nparams + l->p->noutputs, n = npointers + l->p->symbols.len;
  int nlast = l->images ? 2 : 1;
  kgen g = kgen_open(e, l->a, l->p, NULL, words_function(e, l->a, own_name(l, "")));
  lval words = words_of_arguments(&g, n + nlast), last[2] = {0};
  for (int i = 0; i < nlast; i++)
    last[i] = LLVMBuildLoad2(e->builder, e->ptr, element(l, words, n + i), "");
  call_runtime(l, words, npointers, last);
  kgen_close(&g);
}

void gen_library(emit *e, arena *a, const program *p, const library_spec *spec,
                 const library_images *images) {
  library_gen l = {e, a, p, spec, images};
  lval about = description(&l);
  LLVMTypeRef number_and_place[] = {e->i32, e->ptr};
  (call_takes_words(p) ? call_function_of_words : call_function)(&l);
  forward(&l, "open", e->i32, number_and_place, 2, about);
  forward(&l, "message", e->ptr, &e->ptr, 1, NULL);
  forward(&l, "close", e->void_, &e->ptr, 1, NULL);
  if (images) forward(&l, "wait", e->i32, &e->ptr, 1, NULL);
}
