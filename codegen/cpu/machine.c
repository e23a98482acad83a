// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// CPUs: the features and the cache sizes of this machine, the features of named ones
// (ir/targets.def).
#define _GNU_SOURCE
#include "codegen/cpu/machine.h"

#include <llvm-c/Target.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "base/fault.h"
#include "codegen/codegen.h"

// ---- features

/// True when the list "+a,-b,..." has the word; the last one counts.
static bool feature_set(str list, const char *word, bool before) {
  for (int at = 0; at < list.len;) {
    int end = at;
    while (end < list.len && list.ptr[end] != ',') end++;
    str item = {list.ptr + at + 1, end - at - 1};
    if (end > at && str_eqz(item, word)) before = list.ptr[at] == '+';
    at = end + 1;
  }
  return before;
}

/// What the CPU `has` by its name, changed by a list of features.
static int features_of_list(str list, int has) {
  bool avx512 = feature_set(list, "avx512f", has & CPU_AVX512) &&
                feature_set(list, "avx512bw", has & CPU_AVX512) &&
                feature_set(list, "avx512dq", has & CPU_AVX512) &&
                feature_set(list, "avx512vl", has & CPU_AVX512);
  bool avx2 = feature_set(list, "avx2", has & CPU_AVX2) && feature_set(list, "fma", has & CPU_AVX2);
  bool bf16 = avx512 && feature_set(list, "avx512bf16", has & CPU_BF16);
  return (feature_set(list, "f16c", has & CPU_F16C) ? CPU_F16C : 0) | (avx2 ? CPU_AVX2 : 0) |
         (avx512 ? CPU_AVX512 : 0) | (bf16 ? CPU_BF16 | (has & CPU_FAST_PAIRS) : 0) |
         (avx512 && feature_set(list, "avx512fp16", has & CPU_FP16) ? CPU_FP16 : 0);
}

/// LLVM's message strings as ours; without memory it has none.
static str owned(arena *a, char *text) {
  if (!text) fault_raise(FAULT_NOMEM, "out of memory in the code generator");
  str s = {0};
  fault_frame frame;
  if (fault_try(&frame)) s = str_dup(a, str_from(text));
  fault_pop(&frame);
  LLVMDisposeMessage(text);
  if (frame.kind) fault_raise(frame.kind, "%s", frame.text);
  return s;
}

/// The CPU's name, explicit features and what they come to.
typedef struct cpu_choice {
  str name, features;
  int has;
} cpu_choice;

static bool choose_cpu(arena *a, str cpu, str features, cpu_choice *out, str *error) {
  *out = (cpu_choice){cpu, features, 0};
  if (!cpu.len) {
    out->name = owned(a, LLVMGetHostCPUName());
    if (target_cpu_features(out->name, &out->has))
      out->has &= CPU_FAST_PAIRS;  // the list says the rest
    str host = owned(a, LLVMGetHostCPUFeatures());
    out->features = host;
    if (features.len)
      out->features = str_printf(a, "%.*s,%.*s", STR_FMT(host), STR_FMT(features));
  } else if (!target_cpu_features(cpu, &out->has)) {
    *error = str_printf(a, "unknown CPU \"%.*s\"", STR_FMT(cpu));
    return false;
  }
  out->has = features_of_list(out->features, out->has);
  return true;
}

bool codegen_cpu_runs_here(arena *a, str cpu, str *lacks) {
  static const struct { int has; const char *name; } extensions[] = {
      {CPU_F16C, "F16C"}, {CPU_AVX2, "AVX2"}, {CPU_AVX512, "AVX-512"},
      {CPU_BF16, "AVX512-BF16"}, {CPU_FP16, "AVX512-FP16"}};
  cpu_choice host, named;
  strbuf out = sb_new(a);
  if (!choose_cpu(a, (str){0}, (str){0}, &host, lacks)) return false;
  if (!choose_cpu(a, cpu, (str){0}, &named, lacks)) return false;
  for (size_t i = 0; i < sizeof extensions / sizeof *extensions; i++)
    if (extensions[i].has & named.has & ~host.has)
      sb_printf(&out, "%s%s", out.len ? ", " : "", extensions[i].name);
  *lacks = sb_str(&out);
  return !out.len;
}

str codegen_cpu_lacks_here(arena *a) {
  str host = owned(a, LLVMGetHostCPUFeatures());
  strbuf out = sb_new(a);
  for (int at = 0; at < host.len;) {
    int end = at;
    while (end < host.len && host.ptr[end] != ',') end++;
    if (host.ptr[at] == '-')
      sb_printf(&out, "%s%.*s", out.len ? "," : "", end - at, host.ptr + at);
    at = end + 1;
  }
  return sb_str(&out);
}

// ---- target machines

static void register_x86(void) {
  LLVMInitializeX86TargetInfo();
  LLVMInitializeX86Target();
  LLVMInitializeX86TargetMC();
  LLVMInitializeX86AsmPrinter();
}

/// LLVM keeps its targets in a process-wide registry; filling it twice at once is a race.
static void register_once(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_x86);
}

static LLVMTargetMachineRef target_machine(const machine *m, LLVMCodeGenOptLevel level) {
  return LLVMCreateTargetMachine(m->target, m->triple, m->cpu, m->features, level, LLVMRelocPIC,
                                 LLVMCodeModelSmall);
}

bool machine_open(machine *m, arena *a, str cpu, str features, emit *e, str *error) {
  cpu_choice c;
  register_once();
  if (!choose_cpu(a, cpu, features, &c, error)) return false;
  m->triple = owned(a, LLVMGetDefaultTargetTriple()).ptr;
  m->cpu = str_z(a, c.name);
  m->features = str_z(a, c.features);
  LLVMTargetRef target;
  char *text = NULL;
  if (LLVMGetTargetFromTriple(m->triple, &target, &text)) {
    *error = owned(a, text);
    return false;
  }
  m->target = target;
  m->tm = target_machine(m, LLVMCodeGenLevelDefault);
  e->arch = ARCH_X86;
  e->avx512 = c.has & CPU_AVX512;
  e->avx2 = c.has & CPU_AVX2;
  e->f16c = c.has & CPU_F16C;
  e->avx512_bf16 = c.has & CPU_BF16;
  e->avx512_fp16 = c.has & CPU_FP16;
  return true;
}

void machine_hurry(machine *m) {
  machine_close(m);
  m->tm = target_machine(m, LLVMCodeGenLevelLess);
}

void machine_close(machine *m) {
  if (m->tm) LLVMDisposeTargetMachine(m->tm);
  m->tm = NULL;
}

str codegen_cpu_identity(arena *a, const codegen_options *options) {
  unsigned major, minor, patch;
  cpu_choice c;
  str error;
  LLVMGetVersion(&major, &minor, &patch);
  if (!choose_cpu(a, options->cpu, options->features, &c, &error)) c = (cpu_choice){options->cpu};
  return str_printf(a, "llvm %u.%u.%u cpu %.*s features %.*s%s", major, minor, patch,
                    STR_FMT(c.name), STR_FMT(c.features), options->fast_math ? " fast" : "");
}

// ---- figures

static int64_t cache_size(int which, int64_t otherwise) {
  long size = sysconf(which);
  return size > 0 ? size : otherwise;
}

static int usable_cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  int n = CPU_COUNT(&set);
  return n > 0 ? n : 1;
}

bool codegen_cpu_target(arena *a, str cpu, target_info *out, str *error) {
  cpu_choice c;
  if (!choose_cpu(a, cpu, (str){0}, &c, error)) return false;
  *out = target_cpu(c.has, usable_cores());
  out->name = cpu.len ? str_printf(a, "cpu:%.*s", STR_FMT(cpu)) : STR("cpu");
  out->l1_bytes = cache_size(_SC_LEVEL1_DCACHE_SIZE, out->l1_bytes);
  out->l2_bytes = cache_size(_SC_LEVEL2_CACHE_SIZE, out->l2_bytes);
  out->l3_bytes = cache_size(_SC_LEVEL3_CACHE_SIZE, out->l3_bytes);
  return true;
}
