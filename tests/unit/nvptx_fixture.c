// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#include "nvptx_fixture.h"

#include <criterion/criterion.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "left_out.h"
#include "runtime/tool.h"

static LLVMTargetMachineRef machine(const char *arch) {
  LLVMInitializeNVPTXTargetInfo();
  LLVMInitializeNVPTXTarget();
  LLVMInitializeNVPTXTargetMC();
  LLVMInitializeNVPTXAsmPrinter();
  LLVMTargetRef target;
  char *error = NULL;
  cr_assert(!LLVMGetTargetFromTriple("nvptx64-nvidia-cuda", &target, &error), "%s", error);
  return LLVMCreateTargetMachine(target, "nvptx64-nvidia-cuda", arch, "+ptx87",
                                 LLVMCodeGenLevelAggressive, LLVMRelocDefault,
                                 LLVMCodeModelDefault);
}

void nvptx_emit_open(emit *e, arena *a, const char *arch) {
  LLVMContextRef c = LLVMContextCreate();
  *e = (emit){.context = c, .arena = a, .arch = ARCH_NVPTX};
  e->module = LLVMModuleCreateWithNameInContext("test", c);
  e->builder = LLVMCreateBuilderInContext(c);
  e->target = target_gpu(str_from(arch));
  cr_assert(e->target, "%s", arch);
  emit_types(e);
  e->bf16 = LLVMBFloatTypeInContext(c);
}

void nvptx_emit_close(emit *e) {
  LLVMDisposeBuilder(e->builder);
  LLVMDisposeModule(e->module);
  LLVMContextDispose(e->context);
}

static void function_string(emit *e, lval function, unsigned at, const char *key,
                            const char *value) {
  LLVMAddAttributeAtIndex(function, at,
                          LLVMCreateStringAttribute(e->context, key, (unsigned)strlen(key), value,
                                                    (unsigned)strlen(value)));
}

void nvptx_threads(emit *e, lval function, int threads) {
  char text[16];
  snprintf(text, sizeof text, "%d", threads);
  function_string(e, function, LLVMAttributeFunctionIndex, "nvvm.reqntid", text);
  function_string(e, function, LLVMAttributeFunctionIndex, "nvvm.minctasm", "1");
}

void nvptx_map_param(emit *e, lval function, int param) {
  unsigned byval = LLVMGetEnumAttributeKindForName("byval", 5);
  unsigned align = LLVMGetEnumAttributeKindForName("align", 5);
  unsigned at = (unsigned)param + 1;
  LLVMTypeRef map = LLVMArrayType2(e->i8, 128);
  LLVMAddAttributeAtIndex(function, at, LLVMCreateTypeAttribute(e->context, byval, map));
  LLVMAddAttributeAtIndex(function, at, LLVMCreateEnumAttribute(e->context, align, 64));
  function_string(e, function, at, "nvvm.grid_constant", "");
}

lval nvptx_shared_memory(emit *e) {
  lval g = LLVMAddGlobalInAddressSpace(e->module, LLVMArrayType2(e->i8, 0), "smem", SPACE_SHARED);
  LLVMSetAlignment(g, 1024);
  return g;
}

str nvptx_compile(emit *e, const char *arch, str what) {
  char *error = NULL;
  LLVMTargetMachineRef tm = machine(arch);
  LLVMSetTarget(e->module, "nvptx64-nvidia-cuda");
  LLVMSetModuleDataLayout(e->module, LLVMCreateTargetDataLayout(tm));
  cr_assert(!LLVMVerifyModule(e->module, LLVMReturnStatusAction, &error), "%.*s: %s", STR_FMT(what),
            error);
  LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
  LLVMErrorRef failed = LLVMRunPasses(e->module,
                                      "sroa,early-cse,instcombine,simplifycfg,loop-mssa(licm),gvn,"
                                      "instcombine,simplifycfg,dce",
                                      tm, options);
  cr_assert(!failed);
  LLVMDisposePassBuilderOptions(options);
  LLVMMemoryBufferRef text;
  cr_assert(!LLVMTargetMachineEmitToMemoryBuffer(tm, e->module, LLVMAssemblyFile, &error, &text),
            "%.*s: %s", STR_FMT(what), error);
  str out = str_dup(e->arena, (str){LLVMGetBufferStart(text), (int)LLVMGetBufferSize(text)});
  LLVMDisposeMemoryBuffer(text);
  LLVMDisposeTargetMachine(tm);
  return out;
}

int nvptx_count(str text, const char *what) {
  int n = 0, len = (int)strlen(what);
  for (int i = 0; i + len <= text.len; i++) n += !memcmp(text.ptr + i, what, (size_t)len);
  return n;
}

// ---- ptxas

static int number_before(const char *text, const char *what) {
  const char *at = strstr(text, what);
  if (!at) return 0;
  while (at > text && at[-1] == ' ') at--;
  while (at > text && at[-1] >= '0' && at[-1] <= '9') at--;
  return atoi(at);
}

nvptx_report nvptx_assemble(str ptx, const char *arch) {
  nvptx_report r = {0};
  char ptxas[1024];
  if (!ptxas_find(ptxas, sizeof ptxas)) {
    left_out("PTX is not assembled", "there is no ptxas");
    return r;
  }
  char path[] = "/tmp/tcf-ptx-XXXXXX", command[1280], log[16384];
  int fd = mkstemp(path);
  cr_assert(fd >= 0 && write(fd, ptx.ptr, (size_t)ptx.len) == ptx.len);
  close(fd);
  snprintf(command, sizeof command, "%s -v -arch=%s -o /dev/null %s 2>&1", ptxas, arch, path);
  FILE *p = popen(command, "r");
  cr_assert(p);
  size_t n = fread(log, 1, sizeof log - 1, p);
  log[n] = 0;
  int status = pclose(p);
  unlink(path);
  cr_expect(status == 0, "ptxas -arch=%s: %s\n%.*s", arch, log, STR_FMT(ptx));
  r.assembled = status == 0;
  r.registers = number_before(log, " registers");
  r.spill_bytes = number_before(log, " bytes spill stores");
  r.warnings = strstr(log, "(C75") || strstr(log, "warning");
  return r;
}
