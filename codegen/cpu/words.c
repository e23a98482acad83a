// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Calls with hundreds of pointers. LLVM takes time quadratic in the parameters of a function that
// reads each of them, and in the arguments of a call; so nothing is made that has many of either:
//
//   int32_t f(...)                                the exported function, whatever its header says
//     words = { its arguments in their order }    a loop of va_arg
//     return f.run(words, words + pointers, frame)
//   int32_t f.run(void *const *pointers, const int64_t *symbols, tcf_frame *frame)
//     table = pointers; block.symbols = symbols   loops; the steps find them there
//
// In the calling convention of x86-64 (System V) words lie where they lie for a function with a
// prototype, which leaves unsaid only how many vector registers hold arguments: none is read here.
#include "codegen/cpu/entry.h"

bool call_takes_words(const program *p) {
  enum { MANY_POINTERS = 256 };
  return p->nparams + p->noutputs > MANY_POINTERS;
}

// ---- loops

counted count_begin(kgen *g) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef before = LLVMGetInsertBlock(b);
  counted c = {.head = block_new(g)};
  LLVMBuildBr(b, c.head);
  LLVMPositionBuilderAtEnd(b, c.head);
  c.i = LLVMBuildPhi(b, g->e->i64, "");
  lval zero = int64(g, 0);
  LLVMAddIncoming(c.i, &zero, &before, 1);
  return c;
}

void count_end(kgen *g, counted *c, lval n) {
  LLVMBuilderRef b = g->e->builder;
  LLVMBasicBlockRef latch = LLVMGetInsertBlock(b), after = block_new(g);
  lval next = LLVMBuildNSWAdd(b, c->i, int64(g, 1), "");
  LLVMAddIncoming(c->i, &next, &latch, 1);
  LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, n, ""), c->head, after);
  LLVMPositionBuilderAtEnd(b, after);
}

lval array_element(kgen *g, LLVMTypeRef type, int64_t bytes, lval values, lval at) {
  LLVMBuilderRef b = g->e->builder;
  lval offset = LLVMBuildNSWMul(b, at, int64(g, bytes), "");
  return LLVMBuildLoad2(b, type, byte_address(g, values, offset), "");
}

lval small_element(kgen *g, lval values, lval at) {
  return LLVMBuildSExt(g->e->builder, array_element(g, g->e->i32, 4, values, at), g->e->i64, "");
}

/// words[at] = x
static void set_element(kgen *g, lval words, lval at, lval x) {
  lval offset = LLVMBuildNSWMul(g->e->builder, at, int64(g, 8), "");
  LLVMBuildStore(g->e->builder, x, byte_address(g, words, offset));
}

// ---- the functions

lval words_function(emit *e, arena *a, str name) {
  return function_new(e, str_z(a, name), LLVMFunctionType(e->i32, NULL, 0, 1), true);
}

lval words_of_arguments(kgen *g, int n) {
  emit *e = g->e;
  lval words = stack_words(g, n), list = stack_words(g, 3);
  emit_intrinsic(e, "llvm.va_start", &e->ptr, 1, &list, 1);
  counted c = count_begin(g);
  set_element(g, words, c.i, LLVMBuildVAArg(e->builder, list, e->i64, ""));
  count_end(g, &c, int64(g, n));
  emit_intrinsic(e, "llvm.va_end", &e->ptr, 1, &list, 1);
  return words;
}

lval entry_run_function(emit *e, arena *a, const program *p) {
  LLVMTypeRef params[] = {e->ptr, e->ptr, e->ptr};
  str name = str_printf(a, "%.*s.run", STR_FMT(p->name));
  return function_new(e, name.ptr, LLVMFunctionType(e->i32, params, 3, 0), false);
}

void words_call_run(emit *e, arena *a, const program *p, lval run) {
  int npointers = p->nparams + p->noutputs, n = npointers + p->symbols.len;
  lval f = words_function(e, a, p->name);
  kgen g = kgen_open(e, a, p, NULL, f);
  lval words = words_of_arguments(&g, n + 1);
  lval args[] = {words, byte_address(&g, words, int64(&g, 8 * (int64_t)npointers)),
                 array_element(&g, e->ptr, 8, words, int64(&g, n))};
  LLVMTypeRef type = LLVMGlobalGetValueType(run);
  LLVMBuildRet(e->builder, LLVMBuildCall2(e->builder, type, run, args, 3, ""));
  kgen_close(&g);
}

static void copy_words(kgen *g, lval to, lval from, int n) {
  if (!n) return;
  counted c = count_begin(g);
  set_element(g, to, c.i, array_element(g, g->e->i64, 8, from, c.i));
  count_end(g, &c, int64(g, n));
}

/// Parameters and results are the first buffers, in the order of the pointers (program_verify).
void entry_copy_words(entry *en, lval pointers) {
  kgen *g = &en->g;
  const program *p = g->program;
  lval symbols = byte_address(g, en->block, int64(g, 8 * (int64_t)en->symbols));
  copy_words(g, symbols, g->symbol_words, p->symbols.len);
  copy_words(g, en->table, pointers, p->nparams + p->noutputs);
}
