// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "tests/unit/math_jit.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <stdio.h>
#include <stdlib.h>

#include "codegen/emit.h"

struct math_jit {
  LLVMOrcLLJITRef lljit;
  int count;
};

static _Noreturn void die(const char *what, const char *text) {
  fprintf(stderr, "math_jit: %s: %s\n", what, text);
  abort();
}

static void must(LLVMErrorRef error, const char *what) {
  if (error) die(what, LLVMGetErrorMessage(error));
}

const math_target *math_targets(int *count) {
  static const math_target all[] = {
      {"avx512fp16", "emeraldrapids", "-amx-tile,-amx-int8,-amx-bf16", true, true, true, true, 64},
      {"avx512", "icelake-server", "", true, false, true, true, 64},
      {"avx2", "haswell", "", false, false, true, true, 32},
      {"sse2", "x86-64", "", false, false, false, false, 16},
  };
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512vbmi2");
  bool halves = avx512 && __builtin_cpu_supports("avx512bf16") &&
                __builtin_cpu_supports("avx512fp16");
  int first = halves ? 0 : avx512 ? 1 : avx2 ? 2 : 3;
  *count = 4 - first;
  return all + first;
}

math_jit *math_jit_new(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
  math_jit *j = calloc(1, sizeof *j);
  must(LLVMOrcCreateLLJIT(&j->lljit, NULL), "LLJIT");
  return j;
}

void math_jit_free(math_jit *j) {
  must(LLVMOrcDisposeLLJIT(j->lljit), "dispose");
  free(j);
}

static void emit_init(emit *e, const char *name) {
  *e = (emit){.context = LLVMContextCreate()};
  e->module = LLVMModuleCreateWithNameInContext(name, e->context);
  e->builder = LLVMCreateBuilderInContext(e->context);
  e->i1 = LLVMInt1TypeInContext(e->context);
  e->i8 = LLVMInt8TypeInContext(e->context);
  e->i16 = LLVMInt16TypeInContext(e->context);
  e->i32 = LLVMInt32TypeInContext(e->context);
  e->i64 = LLVMInt64TypeInContext(e->context);
  e->f16 = LLVMHalfTypeInContext(e->context);
  e->bf16 = LLVMBFloatTypeInContext(e->context);
  e->f32 = LLVMFloatTypeInContext(e->context);
  e->f64 = LLVMDoubleTypeInContext(e->context);
  e->ptr = LLVMPointerTypeInContext(e->context, 0);
  e->void_ = LLVMVoidTypeInContext(e->context);
}

static LLVMValueRef load(emit *e, dtype t, int lanes, LLVMValueRef base, LLVMValueRef i) {
  LLVMTypeRef memory = t == DT_bool ? e->i8 : emit_type(e, t, 0);
  LLVMValueRef at = LLVMBuildGEP2(e->builder, memory, base, &i, 1, "");
  LLVMValueRef v = LLVMBuildLoad2(e->builder, emit_vec(memory, lanes), at, "");
  LLVMSetAlignment(v, 1);
  return t == DT_bool ? LLVMBuildTrunc(e->builder, v, emit_type(e, t, lanes), "") : v;
}

static void store(emit *e, dtype t, int lanes, LLVMValueRef v, LLVMValueRef base, LLVMValueRef i) {
  LLVMTypeRef memory = t == DT_bool ? e->i8 : emit_type(e, t, 0);
  if (t == DT_bool) v = LLVMBuildZExt(e->builder, v, emit_vec(memory, lanes), "");
  LLVMValueRef at = LLVMBuildGEP2(e->builder, memory, base, &i, 1, "");
  LLVMSetAlignment(LLVMBuildStore(e->builder, v, at), 1);
}

/// The loop of math_jit_loop as function `name`.
static void build_loop(emit *e, const char *name, op o, dtype t, dtype result, int lanes) {
  LLVMTypeRef params[] = {e->ptr, e->ptr, e->ptr, e->ptr, e->i64};
  LLVMValueRef f =
      LLVMAddFunction(e->module, name, LLVMFunctionType(e->void_, params, 5, false));
  LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(e->context, f, "");
  LLVMBasicBlockRef loop = LLVMAppendBasicBlockInContext(e->context, f, "");
  LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(e->context, f, "");
  LLVMPositionBuilderAtEnd(e->builder, entry);
  LLVMValueRef zero = LLVMConstInt(e->i64, 0, false), n = LLVMGetParam(f, 4);
  LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSGT, n, zero, ""), loop, done);
  LLVMPositionBuilderAtEnd(e->builder, loop);
  LLVMValueRef i = LLVMBuildPhi(e->builder, e->i64, ""), in[3];
  int nin = op_get(o)->arity;
  for (int k = 0; k < nin; k++) {
    dtype type = o == OP_where && k == 0 ? DT_bool : t;
    in[k] = load(e, type, lanes, LLVMGetParam(f, (unsigned)k + 1), i);
  }
  store(e, result, lanes, emit_map(e, o, t, result, in, nin), LLVMGetParam(f, 0), i);
  LLVMValueRef step = LLVMConstInt(e->i64, lanes ? (unsigned)lanes : 1, false);
  LLVMValueRef next = LLVMBuildAdd(e->builder, i, step, "");
  LLVMBasicBlockRef end = LLVMGetInsertBlock(e->builder);  // operators may branch
  LLVMAddIncoming(i, (LLVMValueRef[]){zero, next}, (LLVMBasicBlockRef[]){entry, end}, 2);
  LLVMBuildCondBr(e->builder, LLVMBuildICmp(e->builder, LLVMIntSLT, next, n, ""), loop, done);
  LLVMPositionBuilderAtEnd(e->builder, done);
  LLVMBuildRetVoid(e->builder);
}

static LLVMTargetMachineRef machine_for(emit *e, const char *triple, const char *cpu,
                                        const char *features) {
  LLVMTargetRef target;
  char *text = NULL;
  if (LLVMGetTargetFromTriple(triple, &target, &text)) die(triple, text);
  LLVMTargetMachineRef machine = LLVMCreateTargetMachine(
      target, triple, cpu, features, LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelSmall);
  LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
  LLVMSetTarget(e->module, triple);
  LLVMSetModuleDataLayout(e->module, layout);
  LLVMDisposeTargetData(layout);
  return machine;
}

/// Verifies and compiles the module, then releases it.
static LLVMMemoryBufferRef compile(emit *e, LLVMTargetMachineRef machine,
                                   LLVMCodeGenFileType kind) {
  char *text = NULL;
  LLVMMemoryBufferRef code;
  if (getenv("TCF_MATH_DUMP")) LLVMDumpModule(e->module);
  if (LLVMVerifyModule(e->module, LLVMReturnStatusAction, &text)) die("verify", text);
  LLVMDisposeMessage(text);
  if (LLVMTargetMachineEmitToMemoryBuffer(machine, e->module, kind, &text, &code))
    die("codegen", text);
  LLVMDisposeTargetMachine(machine);
  LLVMDisposeBuilder(e->builder);
  LLVMDisposeModule(e->module);
  LLVMContextDispose(e->context);
  return code;
}

math_loop *math_jit_loop(math_jit *j, const math_target *target, op o, dtype t, dtype result,
                         int lanes) {
  char name[64];
  snprintf(name, sizeof name, "%s_%s_%d", op_get(o)->name, dtype_name(t), j->count++);
  emit e;
  emit_init(&e, name);
  e.arch = ARCH_X86;
  e.avx512 = target->avx512;
  e.avx2 = target->avx2;
  e.f16c = target->f16c;
  e.avx512_bf16 = e.avx512_fp16 = target->halves;
  LLVMTargetMachineRef machine =
      machine_for(&e, "x86_64-pc-linux-gnu", target->cpu, target->features);
  build_loop(&e, name, o, t, result, lanes);
  if (getenv("TCF_MATH_ASM")) {
    char *text;
    LLVMMemoryBufferRef code;
    LLVMTargetMachineEmitToMemoryBuffer(machine, e.module, LLVMAssemblyFile, &text, &code);
    fprintf(stderr, "%s\n", LLVMGetBufferStart(code));
  }
  LLVMMemoryBufferRef object = compile(&e, machine, LLVMObjectFile);
  LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(j->lljit);
  must(LLVMOrcLLJITAddObjectFile(j->lljit, dylib, object), name);
  LLVMOrcExecutorAddress address = 0;
  must(LLVMOrcLLJITLookup(j->lljit, &address, name), name);
  return (math_loop *)(uintptr_t)address;
}

char *math_ptx(op o, dtype t, dtype result) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  emit e;
  emit_init(&e, "ptx");
  e.arch = ARCH_NVPTX;
  LLVMTargetMachineRef machine = machine_for(&e, "nvptx64-nvidia-cuda", "sm_90a", "+ptx80");
  build_loop(&e, "f", o, t, result, 0);
  LLVMMemoryBufferRef text = compile(&e, machine, LLVMAssemblyFile);
  char *copy = strdup(LLVMGetBufferStart(text));
  LLVMDisposeMemoryBuffer(text);
  return copy;
}
