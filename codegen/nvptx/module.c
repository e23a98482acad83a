// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// A program to PTX: module, passes, text.
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/fault.h"
#include "codegen/codegen.h"
#include "codegen/nvptx/host.h"
#include "codegen/nvptx/nvptx.h"
#include "codegen/nvptx/ptx.h"

// The pass that splits vector loads (vector-combine) is left out on purpose: what it splits loses
// its mark of being invariant.
static const char passes[] =
    "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),gvn,"
    "instcombine<no-verify-fixpoint>,simplifycfg,dce)";

static const char data_layout[] =
    "e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-n16:32:64";

// ---- architectures

const target_info *codegen_cuda_target(arena *a, str arch, str *error) {
  const target_info *t = target_gpu(arch);
  str known = target_gpu_names(a);
  if (!t)
    *error = str_printf(a, "unknown GPU architecture '%.*s'; known: %.*s", STR_FMT(arch),
                        STR_FMT(known));
  return t;
}

str codegen_cuda_identity(arena *a, const codegen_options *options) {
  unsigned major, minor, patch;
  LLVMGetVersion(&major, &minor, &patch);
  return str_printf(a, "llvm %u.%u.%u nvptx %.*s%s", major, minor, patch, STR_FMT(options->cpu),
                    options->fast_math ? " fast" : "");
}

// ---- the module

typedef struct device_gen {
  emit e;
  LLVMTargetMachineRef tm;
  LLVMMemoryBufferRef buffer;
  char *text;
  str error;
} device_gen;

static void register_nvptx(void) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
}

static void note_diagnostic(LLVMDiagnosticInfoRef info, void *ctx) {
  device_gen *d = ctx;
  if (LLVMGetDiagInfoSeverity(info) != LLVMDSError || d->error.len) return;
  char *text = LLVMGetDiagInfoDescription(info);
  d->error = str_dup(d->e.arena, str_from(text));
  LLVMDisposeMessage(text);
}

static bool open_module(device_gen *d, const program *p, const target_info *r, bool keep_names,
                        str *error) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_nvptx);
  emit *e = &d->e;
  LLVMTargetRef target;
  char *text = NULL;
  if (LLVMGetTargetFromTriple("nvptx64-nvidia-cuda", &target, &text)) {
    *error = str_dup(e->arena, str_from(text));
    LLVMDisposeMessage(text);
    return false;
  }
  str features = str_printf(e->arena, "+ptx%d", r->ptx_version);
  d->tm = LLVMCreateTargetMachine(target, "nvptx64-nvidia-cuda", str_z(e->arena, target_arch(r)),
                                  features.ptr, LLVMCodeGenLevelAggressive, LLVMRelocDefault,
                                  LLVMCodeModelDefault);
  LLVMContextRef c = e->context = LLVMContextCreate();
  LLVMContextSetDiscardValueNames(c, !keep_names);
  LLVMContextSetDiagnosticHandler(c, note_diagnostic, d);
  e->module = LLVMModuleCreateWithNameInContext(str_z(e->arena, p->name), c);
  e->builder = LLVMCreateBuilderInContext(c);
  e->arch = ARCH_NVPTX;
  e->target = r;
  emit_types(e);  // bf16 as bits; conversions are instructions
  LLVMSetTarget(e->module, "nvptx64-nvidia-cuda");
  LLVMSetDataLayout(e->module, data_layout);
  return true;
}

static void close_module(device_gen *d) {
  if (d->buffer) LLVMDisposeMemoryBuffer(d->buffer);
  if (d->text) LLVMDisposeMessage(d->text);
  if (d->e.builder) LLVMDisposeBuilder(d->e.builder);
  if (d->e.module) LLVMDisposeModule(d->e.module);
  if (d->e.context) LLVMContextDispose(d->e.context);
  if (d->tm) LLVMDisposeTargetMachine(d->tm);
}

static bool optimise(device_gen *d, str *error) {
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMErrorRef failed = LLVMRunPasses(d->e.module, passes, d->tm, options);
  LLVMDisposePassBuilderOptions(options);
  if (!failed) return true;
  char *text = LLVMGetErrorMessage(failed);
  *error = str_dup(d->e.arena, str_from(text));
  LLVMDisposeErrorMessage(text);
  return false;
}

static bool print_ptx(device_gen *d, arena *a, code *out, str *error) {
  if (LLVMTargetMachineEmitToMemoryBuffer(d->tm, d->e.module, LLVMAssemblyFile, &d->text,
                                          &d->buffer)) {
    *error = str_dup(a, str_from(d->text));
    return false;
  }
  if (d->error.len) {
    *error = str_dup(a, d->error);
    return false;
  }
  size_t size = LLVMGetBufferSize(d->buffer);
  char *text = arena_alloc(a, size + 1);
  memcpy(text, LLVMGetBufferStart(d->buffer), size);
  text[size] = 0;
  *out = (code){text, size + 1};
  return true;
}

/// Whether the architecture has what a kernel that was read from text asks for.
static bool fits(device_gen *d, const kernel *k, str *error) {
  const char *lacks = NULL;
  if (!k->threads) {
    *error = str_printf(d->e.arena, "kernel %.*s has no threads: it was lowered for a CPU", STR_FMT(k->name));
    return false;
  }
  if (k->cluster && !ptx_has(&d->e, PTX_TMA)) lacks = "clusters of blocks";
  if (region_has_tensor_dot(&k->body, DOT_WGMMA) && !ptx_has(&d->e, PTX_WGMMA)) lacks = "wgmma";
  if (!lacks) return true;
  *error = str_printf(d->e.arena, "kernel %.*s needs %s, which %.*s has not", STR_FMT(k->name),
                      lacks, STR_FMT(target_arch(d->e.target)));
  return false;
}

/// Whether a block may have the shared memory that the kernel's code asks for.
static bool shared_fits(device_gen *d, const kernel *k, const tcf_kernel_info *info, str *error) {
  const target_info *t = d->e.target;
  if (info->shared_bytes >= 0 && info->shared_bytes <= t->shared_per_block) return true;
  *error = str_printf(d->e.arena,
                      "kernel %.*s needs %u bytes of shared memory in a block; %.*s has %lld",
                      STR_FMT(k->name), (unsigned)info->shared_bytes, STR_FMT(target_arch(t)),
                      (long long)t->shared_per_block);
  return false;
}

static bool generate(device_gen *d, arena *a, const program *p, const codegen_options *options,
                     code *out, str *error) {
  int n = p->kernels.len;
  tcf_kernel_info *infos = arena_alloc(d->e.arena, sizeof *infos * (size_t)(n + 1));
  kernel_maps *maps = arena_alloc(d->e.arena, sizeof *maps * (size_t)(n + 1));
  for (int i = 0; i < n; i++)
    if (!fits(d, p->kernels.data[i], error)) return false;
  emit_choose_called(&d->e, p);
  for (int i = 0; i < n; i++)
    nv_kernel(&d->e, d->e.arena, p, p->kernels.data[i], &infos[i], &maps[i]);
  for (int i = 0; i < n; i++)
    if (!shared_fits(d, p->kernels.data[i], &infos[i], error)) return false;
  emit_verify(&d->e, p->name);
  if (!optimise(d, error)) return false;
  if (options->kind == CODE_LLVM_IR) {
    d->text = LLVMPrintModuleToString(d->e.module);
    size_t length = strlen(d->text);
    *out = (code){arena_copy(a, d->text, length + 1), length};
    return true;
  }
  code ptx;
  arena *place = options->kind == CODE_ASSEMBLY ? a : d->e.arena;
  if (!print_ptx(d, place, &ptx, error)) return false;
  if (options->kind == CODE_ASSEMBLY) {
    *out = (code){ptx.data, ptx.size - 1};
    return true;
  }
  return codegen_host_launcher(a, p, options, infos, maps, n, ptx, out, error);
}

bool codegen_cuda(arena *a, const program *p, const codegen_options *options, code *out,
                  str *error) {
  const target_info *r = codegen_cuda_target(a, options->cpu, error);
  if (!r) return false;
  arena scratch = {0};
  device_gen d = {.e = {.arena = &scratch, .fast_math = options->fast_math,
                        .deterministic = options->deterministic}};
  volatile bool done = false;
  fault_frame frame;
  if (fault_try(&frame)) {
    if (open_module(&d, p, r, options->kind == CODE_LLVM_IR, error))
      done = generate(&d, a, p, options, out, error);
    if (!done) *error = str_dup(a, *error);
  }
  fault_pop(&frame);
  close_module(&d);
  arena_free(&scratch);
  if (frame.kind != FAULT_NONE) fault_raise(frame.kind, "%s", frame.text);
  return done;
}
