// CPUs: names, features, cache sizes and the figures of the cost model.
#define _GNU_SOURCE
#include "codegen/cpu/machine.h"

#include "codegen/codegen.h"

#include <llvm-c/Target.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

// ---- names

enum {
  HAS_F16C = 1,
  HAS_AVX2 = 2,    // with FMA
  HAS_AVX512 = 4,  // F, BW, DQ, VL
  HAS_BF16 = 8,
  HAS_FP16 = 16,
  // Dots of bf16 pairs start as often as f32 fmas, and so do twice the work. Zen 5: 525 GF/s beside
  // 265, measured. Zen 4: AMD's peaks say so, not measured. Not Emerald Rapids: 86 GF/s beside 178,
  // measured, and none of its neighbours is known to be better.
  FAST_PAIRS = 32,
  LEVEL_3 = HAS_F16C | HAS_AVX2,
  LEVEL_4 = LEVEL_3 | HAS_AVX512,
};

/// LLVM prints a warning and goes on for names it does not know, so that names are checked here.
#define CPU(name, has) {"cpu:" name, has}
enum { PREFIX = sizeof "cpu:" - 1 };
static const struct cpu_name {
  const char *target;  // as --target takes it
  int has;
} cpu_names[] = {
    CPU("x86-64", 0),
    CPU("x86-64-v2", 0),
    CPU("x86-64-v3", LEVEL_3),
    CPU("x86-64-v4", LEVEL_4),
    CPU("core2", 0),
    CPU("penryn", 0),
    CPU("nehalem", 0),
    CPU("westmere", 0),
    CPU("sandybridge", 0),
    CPU("ivybridge", HAS_F16C),
    CPU("haswell", LEVEL_3),
    CPU("broadwell", LEVEL_3),
    CPU("skylake", LEVEL_3),
    CPU("skylake-avx512", LEVEL_4),
    CPU("cascadelake", LEVEL_4),
    CPU("cooperlake", LEVEL_4 | HAS_BF16),
    CPU("cannonlake", LEVEL_4),
    CPU("icelake-client", LEVEL_4),
    CPU("icelake-server", LEVEL_4),
    CPU("rocketlake", LEVEL_4),
    CPU("tigerlake", LEVEL_4),
    CPU("sapphirerapids", LEVEL_4 | HAS_BF16 | HAS_FP16),
    CPU("emeraldrapids", LEVEL_4 | HAS_BF16 | HAS_FP16),
    CPU("graniterapids", LEVEL_4 | HAS_BF16 | HAS_FP16),
    CPU("alderlake", LEVEL_3),
    CPU("raptorlake", LEVEL_3),
    CPU("meteorlake", LEVEL_3),
    CPU("arrowlake", LEVEL_3),
    CPU("lunarlake", LEVEL_3),
    CPU("sierraforest", LEVEL_3),
    CPU("grandridge", LEVEL_3),
    CPU("silvermont", 0),
    CPU("goldmont", 0),
    CPU("tremont", 0),
    CPU("gracemont", LEVEL_3),
    CPU("k8", 0),
    CPU("barcelona", 0),
    CPU("btver2", HAS_F16C),
    CPU("bdver2", HAS_F16C),
    CPU("bdver4", LEVEL_3),
    CPU("znver1", LEVEL_3),
    CPU("znver2", LEVEL_3),
    CPU("znver3", LEVEL_3),
    CPU("znver4", LEVEL_4 | HAS_BF16 | FAST_PAIRS),
    CPU("znver5", LEVEL_4 | HAS_BF16 | FAST_PAIRS),
};

static bool features_of_name(str cpu, int *has) {
  for (size_t i = 0; i < sizeof cpu_names / sizeof *cpu_names; i++) {
    if (!str_eqz(cpu, cpu_names[i].target + PREFIX)) continue;
    *has = cpu_names[i].has;
    return true;
  }
  return false;
}

bool codegen_cpu_row(int i, const char **target, const char **summary) {
  if (i >= (int)(sizeof cpu_names / sizeof *cpu_names)) return false;
  int has = cpu_names[i].has;
  *target = cpu_names[i].target;
  *summary = has & HAS_FP16     ? "AVX-512 with bf16 and f16 arithmetic"
             : has & HAS_BF16   ? "AVX-512 with bf16 arithmetic"
             : has & HAS_AVX512 ? "AVX-512"
             : has & HAS_AVX2   ? "AVX2 with fused multiply-add"
                                : "SSE";
  return true;
}

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
  bool avx512 = feature_set(list, "avx512f", has & HAS_AVX512) &&
                feature_set(list, "avx512bw", has & HAS_AVX512) &&
                feature_set(list, "avx512dq", has & HAS_AVX512) &&
                feature_set(list, "avx512vl", has & HAS_AVX512);
  bool avx2 = feature_set(list, "avx2", has & HAS_AVX2) && feature_set(list, "fma", has & HAS_AVX2);
  bool bf16 = avx512 && feature_set(list, "avx512bf16", has & HAS_BF16);
  return (feature_set(list, "f16c", has & HAS_F16C) ? HAS_F16C : 0) | (avx2 ? HAS_AVX2 : 0) |
         (avx512 ? HAS_AVX512 : 0) | (bf16 ? HAS_BF16 | (has & FAST_PAIRS) : 0) |
         (avx512 && feature_set(list, "avx512fp16", has & HAS_FP16) ? HAS_FP16 : 0);
}

/// LLVM's message strings as ours.
static str owned(arena *a, char *text) {
  str s = str_dup(a, str_from(text));
  LLVMDisposeMessage(text);
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
    if (features_of_name(out->name, &out->has)) out->has &= FAST_PAIRS;  // the list says the rest
    str host = owned(a, LLVMGetHostCPUFeatures());
    out->features = host;
    if (features.len)
      out->features = str_printf(a, "%.*s,%.*s", STR_FMT(host), STR_FMT(features));
  } else if (!features_of_name(cpu, &out->has)) {
    *error = str_printf(a, "unknown CPU \"%.*s\"", STR_FMT(cpu));
    return false;
  }
  out->has = features_of_list(out->features, out->has);
  return true;
}

bool codegen_cpu_runs_here(arena *a, str cpu, str *lacks) {
  static const struct { int has; const char *name; } extensions[] = {
      {HAS_F16C, "F16C"}, {HAS_AVX2, "AVX2"}, {HAS_AVX512, "AVX-512"},
      {HAS_BF16, "AVX512-BF16"}, {HAS_FP16, "AVX512-FP16"}};
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
  m->tm = LLVMCreateTargetMachine(target, m->triple, m->cpu, m->features,
                                  LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelSmall);
  e->arch = ARCH_X86;
  e->avx512 = c.has & HAS_AVX512;
  e->avx2 = c.has & HAS_AVX2;
  e->f16c = c.has & HAS_F16C;
  e->avx512_bf16 = c.has & HAS_BF16;
  e->avx512_fp16 = c.has & HAS_FP16;
  return true;
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

/// Measured on a Xeon of 2023 (Emerald Rapids, 2.8 GHz under AVX-512 load): one core reaches 178
/// GF/s in f32 with AVX-512 and 95 with AVX2, reads 142 GB/s from L2, and streams 16 GB/s from
/// memory; memory gives about 8 cores' worth before it is full.
static void set_speeds(target_info *t, int has) {
  enum { CORES_THAT_FILL_MEMORY = 8 };
  int streaming = t->cores < CORES_THAT_FILL_MEMORY ? t->cores : CORES_THAT_FILL_MEMORY;
  t->flops_per_second = has & HAS_AVX512 ? 178e9 : has & HAS_AVX2 ? 95e9 : 24e9;
  t->pair_flops_per_second = has & FAST_PAIRS ? 2 * t->flops_per_second : 0;
  t->bytes_per_second = 16e9 * streaming;
  t->l2_bytes_per_second = has & HAS_AVX512 ? 142e9 : has & HAS_AVX2 ? 115e9 : 60e9;
}

bool codegen_cpu_target(arena *a, str cpu, target_info *out, str *error) {
  cpu_choice c;
  if (!choose_cpu(a, cpu, (str){0}, &c, error)) return false;
  *out = (target_info){
      .name = cpu.len ? str_printf(a, "cpu:%.*s", STR_FMT(cpu)) : STR("cpu"),
      .vector_bytes = c.has & HAS_AVX512 ? 64 : c.has & HAS_AVX2 ? 32 : 16,
      .vector_registers = c.has & HAS_AVX512 ? 32 : 16,
      .l1_bytes = cache_size(_SC_LEVEL1_DCACHE_SIZE, 32 << 10),
      .l2_bytes = cache_size(_SC_LEVEL2_CACHE_SIZE, 1 << 20),
      .l3_bytes = cache_size(_SC_LEVEL3_CACHE_SIZE, 16 << 20),
      .cores = usable_cores(),
  };
  set_speeds(out, c.has);
  return true;
}
