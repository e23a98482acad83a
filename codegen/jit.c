// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Loading objects into the process through ORC.
//
// Each object gets a JITDylib of its own, so that two variants of one function may be loaded at
// once under the same names. The C API cannot remove a dylib from its session, so dylibs of
// unloaded objects are kept and used again. Names that an object leaves undefined (memcpy, memset,
// fmod: what LLVM itself calls) come from the process.
#include <llvm-c/Core.h>
#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <llvm-c/Target.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fault.h"
#include "codegen/codegen.h"

struct jit_object {
  LLVMOrcJITDylibRef dylib;
  LLVMOrcResourceTrackerRef tracker;  // null: unloaded
  jit_object *next;                   // of the unloaded
  jit_object *all;                    // of all
};

struct jit {
  LLVMOrcLLJITRef lljit;
  pthread_mutex_t lock;  // of what follows
  jit_object *unloaded, *all;
  int ndylibs;
};

// Consumes the error; false when there was one.
static bool succeeded(LLVMErrorRef e, arena *a, str *error) {
  if (!e) return true;
  char *text = LLVMGetErrorMessage(e);
  if (error) *error = str_dup(a, str_from(text));
  LLVMDisposeErrorMessage(text);
  return false;
}

static void initialise_target(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
}

jit *jit_new(str *error, arena *a) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, initialise_target);
  jit *j = calloc(1, sizeof *j);
  if (!j) fault_raise(FAULT_NOMEM, "out of memory for the loader of code");
  if (!succeeded(LLVMOrcCreateLLJIT(&j->lljit, NULL), a, error)) {
    free(j);
    return NULL;
  }
  pthread_mutex_init(&j->lock, NULL);
  return j;
}

void jit_free(jit *j) {
  if (!j) return;
  for (jit_object *o = j->all, *next; o; o = next) {
    next = o->all;
    if (o->tracker) LLVMOrcReleaseResourceTracker(o->tracker);
    free(o);
  }
  LLVMConsumeError(LLVMOrcDisposeLLJIT(j->lljit));
  pthread_mutex_destroy(&j->lock);
  free(j);
}

static jit_object *object_new(jit *j, arena *a, str *error) {
  pthread_mutex_lock(&j->lock);
  jit_object *o = j->unloaded;
  if (o) j->unloaded = o->next;
  int number = j->ndylibs += !o;
  pthread_mutex_unlock(&j->lock);
  if (o) return o;
  char name[32];
  snprintf(name, sizeof name, "object%d", number);
  o = calloc(1, sizeof *o);
  if (!o) fault_raise(FAULT_NOMEM, "out of memory for loaded code");
  o->dylib =
      LLVMOrcExecutionSessionCreateBareJITDylib(LLVMOrcLLJITGetExecutionSession(j->lljit), name);
  LLVMOrcDefinitionGeneratorRef process;
  if (!succeeded(LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(
                     &process, LLVMOrcLLJITGetGlobalPrefix(j->lljit), NULL, NULL),
                 a, error)) {
    free(o);
    return NULL;
  }
  LLVMOrcJITDylibAddGenerator(o->dylib, process);
  pthread_mutex_lock(&j->lock);
  o->all = j->all;
  j->all = o;
  pthread_mutex_unlock(&j->lock);
  return o;
}

jit_object *jit_load(jit *j, const void *object, size_t size, arena *a, str *error) {
  jit_object *o = object_new(j, a, error);
  if (!o) return NULL;
  LLVMMemoryBufferRef buffer =
      LLVMCreateMemoryBufferWithMemoryRangeCopy(object, size, "compiled object");
  o->tracker = LLVMOrcJITDylibCreateResourceTracker(o->dylib);
  if (succeeded(LLVMOrcLLJITAddObjectFileWithRT(j->lljit, o->tracker, buffer), a, error)) return o;
  jit_unload(j, o);
  return NULL;
}

void jit_unload(jit *j, jit_object *o) {
  if (!o) return;
  LLVMConsumeError(LLVMOrcResourceTrackerRemove(o->tracker));
  LLVMOrcReleaseResourceTracker(o->tracker);
  o->tracker = NULL;
  pthread_mutex_lock(&j->lock);
  o->next = j->unloaded;
  j->unloaded = o;
  pthread_mutex_unlock(&j->lock);
}

// The answer of a lookup, which may arrive on another thread.
typedef struct answer {
  pthread_mutex_t lock;
  pthread_cond_t arrived;
  bool done;
  LLVMErrorRef error;
  LLVMOrcExecutorAddress address;
} answer;

static void receive(LLVMErrorRef error, LLVMOrcCSymbolMapPairs pairs, size_t n, void *ctx) {
  answer *r = ctx;
  pthread_mutex_lock(&r->lock);
  r->error = error;
  if (!error && n) r->address = pairs[0].Sym.Address;
  r->done = true;
  pthread_cond_signal(&r->arrived);
  pthread_mutex_unlock(&r->lock);
}

void *jit_symbol(jit *j, jit_object *o, const char *name, arena *a, str *error) {
  answer r = {.lock = PTHREAD_MUTEX_INITIALIZER, .arrived = PTHREAD_COND_INITIALIZER};
  LLVMOrcCJITDylibSearchOrderElement order = {o->dylib, LLVMOrcJITDylibLookupFlagsMatchAllSymbols};
  LLVMOrcCLookupSetElement wanted = {LLVMOrcLLJITMangleAndIntern(j->lljit, name),
                                     LLVMOrcSymbolLookupFlagsRequiredSymbol};
  LLVMOrcExecutionSessionLookup(LLVMOrcLLJITGetExecutionSession(j->lljit), LLVMOrcLookupKindStatic,
                                &order, 1, &wanted, 1, receive, &r);
  pthread_mutex_lock(&r.lock);
  while (!r.done) pthread_cond_wait(&r.arrived, &r.lock);
  pthread_mutex_unlock(&r.lock);
  return succeeded(r.error, a, error) ? (void *)(uintptr_t)r.address : NULL;
}
