// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A program to an object: one LLVM context and target machine per call, all released on every
// path, also when a fault unwinds through the generator.
#include <llvm-c/TargetMachine.h>

#include "base/fault.h"
#include "codegen/codegen.h"
#include "codegen/cpu/cpu.h"
#include "codegen/cpu/machine.h"

typedef struct module_gen {
  emit e;
  machine machine;
  str error;  // of LLVM's diagnostic handler
  // the result while it is copied: the copy may run out of memory
  LLVMMemoryBufferRef object;
  char *text;
} module_gen;

lval function_new(emit *e, const char *name, LLVMTypeRef type, bool exported) {
  lval f = LLVMAddFunction(e->module, name, type);
  LLVMSetLinkage(f, exported ? LLVMExternalLinkage : LLVMInternalLinkage);
  unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
  LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex,
                          LLVMCreateEnumAttribute(e->context, nounwind, 0));
  return f;
}

lval constant_new(emit *e, str name, lval value, bool exported, unsigned alignment) {
  lval g = LLVMAddGlobal(e->module, LLVMTypeOf(value), str_z(e->arena, name));
  LLVMSetInitializer(g, value);
  LLVMSetGlobalConstant(g, 1);
  LLVMSetLinkage(g, exported ? LLVMExternalLinkage : LLVMPrivateLinkage);
  LLVMSetAlignment(g, alignment);
  return g;
}

lval constant_bytes(emit *e, code bytes) {
  return LLVMConstStringInContext2(e->context, bytes.data, bytes.size, 0);
}

lval constant_text(emit *e, const char *text) {
  if (!text) return LLVMConstNull(e->ptr);
  return constant_new(e, STR("text"), constant_bytes(e, (code){text, strlen(text)}), false, 1);
}

static void add_text_attribute(emit *e, lval f, const char *key, const char *value) {
  if (!*value) return;
  LLVMAttributeRef attribute = LLVMCreateStringAttribute(
      e->context, key, (unsigned)strlen(key), value, (unsigned)strlen(value));
  LLVMAddAttributeAtIndex(f, (LLVMAttributeIndex)LLVMAttributeFunctionIndex, attribute);
}

static void note_diagnostic(LLVMDiagnosticInfoRef info, void *ctx) {
  module_gen *m = ctx;
  if (LLVMGetDiagInfoSeverity(info) != LLVMDSError || m->error.len) return;
  char *text = LLVMGetDiagInfoDescription(info);
  m->error = str_dup(m->e.arena, str_from(text));
  LLVMDisposeMessage(text);
}

static void open_module(module_gen *m, str name, bool keep_names) {
  emit *e = &m->e;
  LLVMContextRef c = e->context = LLVMContextCreate();
  LLVMContextSetDiscardValueNames(c, !keep_names);
  LLVMContextSetDiagnosticHandler(c, note_diagnostic, m);
  e->module = LLVMModuleCreateWithNameInContext(str_z(e->arena, name), c);
  e->builder = LLVMCreateBuilderInContext(c);
  emit_types(e);
  // Half types are bits in registers: LLVM legalises selects and shuffles of bfloat (and of half
  // without F16C) by library calls.
  e->f16 = e->f16c || e->avx512 ? LLVMHalfTypeInContext(c) : e->i16;
  LLVMSetTarget(e->module, m->machine.triple);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(m->machine.tm);
  LLVMSetModuleDataLayout(e->module, layout);
  LLVMDisposeTargetData(layout);
}

static void close_module(module_gen *m) {
  if (m->object) LLVMDisposeMemoryBuffer(m->object);
  if (m->text) LLVMDisposeMessage(m->text);
  if (m->e.builder) LLVMDisposeBuilder(m->e.builder);
  if (m->e.module) LLVMDisposeModule(m->e.module);
  if (m->e.context) LLVMContextDispose(m->e.context);
  machine_close(&m->machine);
}

/// Kernels as tasks, then the entry.
static void fill_with_tasks(emit *e, const program *p, void *ctx) {
  const codegen_options *options = ctx;
  ix_pool sizes;
  ix_list peaks = {0};
  ix_init(&sizes, e->arena);
  int n = p->kernels.len;
  lval *tasks = arena_array(e->arena, lval, n), *constants = NULL;
  emit_choose_called(e, p);
  e->is_long = program_is_long(p);
  const int *like = e->is_long ? kernels_like(e->arena, p) : NULL;
  if (like) constants = arena_array(e->arena, lval, n);
  for (int i = 0; i < n; i++) {
    bool shared = like && like[i] >= 0;
    const kernel *k = p->kernels.data[i];
    if (shared) constants[i] = constants_table(e, e->arena, k);
    tasks[i] = shared && like[i] < i
                   ? tasks[like[i]]
                   : gen_kernel(e, e->arena, p, k, shared, &sizes, &peaks);
  }
  entry_kernels kernels = {
      .tasks = tasks, .constants = constants, .sizes = &sizes, .peaks = &peaks};
  gen_entry(e, e->arena, p, &kernels);
  if (options->library) gen_library(e, e->arena, p, options->library, NULL);
}

static void add_target_attributes(module_gen *m) {
  emit *e = &m->e;
  for (lval f = LLVMGetFirstFunction(e->module); f; f = LLVMGetNextFunction(f)) {
    if (LLVMIsDeclaration(f)) continue;
    add_text_attribute(e, f, "target-cpu", m->machine.cpu);
    add_text_attribute(e, f, "target-features", m->machine.features);
  }
}

/// More than a large model has: LLVM takes a second or more for it.
static bool is_long(LLVMModuleRef module) {
  enum { LONG_MODULE = 50000 };
  int n = 0;
  for (lval f = LLVMGetFirstFunction(module); f && n <= LONG_MODULE; f = LLVMGetNextFunction(f))
    for (LLVMBasicBlockRef b = LLVMGetFirstBasicBlock(f); b; b = LLVMGetNextBasicBlock(b))
      for (lval i = LLVMGetFirstInstruction(b); i; i = LLVMGetNextInstruction(i)) n++;
  return n > LONG_MODULE;
}

static bool write_code(module_gen *m, code_kind kind, arena *a, code *out, str *error) {
  if (kind == CODE_LLVM_IR) {
    m->text = LLVMPrintModuleToString(m->e.module);
    size_t length = strlen(m->text);
    *out = (code){arena_copy(a, m->text, length + 1), length};
    return true;
  }
  LLVMCodeGenFileType file = kind == CODE_ASSEMBLY ? LLVMAssemblyFile : LLVMObjectFile;
  if (LLVMTargetMachineEmitToMemoryBuffer(m->machine.tm, m->e.module, file, &m->text,
                                          &m->object)) {
    *error = str_dup(a, str_from(m->text));
    return false;
  }
  size_t size = LLVMGetBufferSize(m->object);
  char *data = arena_alloc(a, size + 1);
  memcpy(data, LLVMGetBufferStart(m->object), size);
  *out = (code){data, size};
  if (m->error.len) *error = str_dup(a, m->error);
  return m->error.len == 0;
}

/// The arena of what lives only during the call is released before a fault is passed on.
bool module_compile(arena *a, const program *p, const codegen_options *options, module_fill *fill,
                    void *ctx, code *out, str *error) {
  arena scratch = {0};
  module_gen m = {.e = {.arena = &scratch, .fast_math = options->fast_math,
                        .deterministic = options->deterministic}};
  volatile bool done = false;
  fault_frame frame;
  if (fault_try(&frame)) {
    if (machine_open(&m.machine, &scratch, options->cpu, options->features, &m.e, error)) {
      open_module(&m, p->name, options->kind == CODE_LLVM_IR);
      fill(&m.e, p, ctx);
      add_target_attributes(&m);
      emit_verify(&m.e, p->name);
      if (is_long(m.e.module)) machine_hurry(&m.machine);
      done = write_code(&m, options->kind, a, out, error);
    } else {
      *error = str_dup(a, *error);
    }
  }
  fault_pop(&frame);
  close_module(&m);
  arena_free(&scratch);
  if (frame.kind != FAULT_NONE) fault_raise(frame.kind, "%s", frame.text);
  return done;
}

/// Whether the kernels, which may have been read from text, are a CPU's.
static bool suits(arena *a, const program *p, str *error) {
  for (int i = 0; i < p->kernels.len; i++) {
    const kernel *k = p->kernels.data[i];
    if (!k->threads) continue;
    *error = str_printf(a, "kernel %.*s has threads: it was lowered for a GPU", STR_FMT(k->name));
    return false;
  }
  return true;
}

bool codegen_cpu(arena *a, const program *p, const codegen_options *options, code *out,
                 str *error) {
  if (!suits(a, p, error)) return false;
  codegen_options once = *options;
  return module_compile(a, p, options, fill_with_tasks, &once, out, error);
}
