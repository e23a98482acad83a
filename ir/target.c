// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Machines by name, from the rows of ir/targets.def.
#include "ir/target.h"

#include <stddef.h>

#include "ir/units.h"

// ---- printing

static void print_TEXT(strbuf *out, str v) { sb_put(out, v); }
static void print_FLAG(strbuf *out, bool v) { sb_puts(out, v ? "yes" : "no"); }
static void print_COUNT(strbuf *out, int v) { sb_printf(out, "%d", v); }
static void print_BYTES(strbuf *out, int64_t v) { sb_printf(out, "%lld", (long long)v); }
static void print_RATE(strbuf *out, double v) { sb_put_float(out, v); }
static void print_SECONDS(strbuf *out, double v) { sb_put_float(out, v); }

void target_print(const target_info *t, strbuf *out) {
#define FACT(kind, name, meaning)                                        \
  sb_puts(out, offsetof(target_info, name) ? " " #name "=" : #name "="); \
  print_##kind(out, t->name);
#include "ir/target_facts.def"
#undef FACT
}

// ---- GPUs

enum { CUDA = sizeof "cuda:" - 1 };

static const target_info gpus[] = {
#define GPU(arch, n, threads, blocks, shared_kb, block_kb, l2_mb, bytes, flops, tensor, can, ...) \
  {.name = {"cuda:" arch, sizeof "cuda:" arch - 1},                                               \
   .cores = n,                                                                                    \
   .threads_per_core = threads,                                                                   \
   .blocks_per_core = blocks,                                                                     \
   .shared_per_core = shared_kb << 10,                                                            \
   .l1_bytes = block_kb << 10,                                                                    \
   .shared_per_block = block_kb << 10,                                                            \
   .l2_bytes = l2_mb << 20,                                                                       \
   .l3_bytes = l2_mb << 20,                                                                       \
   .bytes_per_second = bytes,                                                                     \
   .l2_bytes_per_second = 2.5 * bytes / n,                                                        \
   .flops_per_second = flops / n,                                                                 \
   .tensor_flops_per_second = tensor,                                                             \
   .tf32_flops_per_second = tensor / 2,                                                           \
   __VA_ARGS__},
#include "ir/targets.def"
};
enum { NGPUS = sizeof gpus / sizeof *gpus };

/// What `list targets` says of a GPU.
static const char *const gpu_summaries[] = {
#define GPU(arch, n, threads, blocks, shared_kb, block_kb, l2_mb, bytes, flops, tensor, can, ...) \
#n " multiprocessors, " #block_kb " KiB on chip a block, " #l2_mb " MiB of L2; " can,
#include "ir/targets.def"
};

str target_arch(const target_info *t) { return (str){t->name.ptr + CUDA, t->name.len - CUDA}; }

const target_info *target_gpu(str arch) {
  for (int i = 0; i < NGPUS; i++)
    if (str_eq(target_arch(&gpus[i]), arch)) return &gpus[i];
  return NULL;
}

const target_info *target_with_most_shared(void) {
  int most = 0;
  for (int i = 1; i < NGPUS; i++)
    if (gpus[i].shared_per_block > gpus[most].shared_per_block) most = i;
  return &gpus[most];
}

str target_gpu_names(arena *a) {
  strbuf names = sb_new(a);
  for (int i = 0; i < NGPUS; i++) {
    if (i) sb_puts(&names, ", ");
    sb_put(&names, target_arch(&gpus[i]));
  }
  return sb_str(&names);
}

/// Code for sm_90a and its kin runs on devices of that very capability alone.
static bool is_specific(const target_info *t) { return str_ends(t->name, STR("a")); }

const target_info *target_of_device(int capability) {
  const target_info *best = NULL;
  for (int i = 0; i < NGPUS; i++) {  // in ascending order, the specific ones behind the others
    const target_info *t = &gpus[i];
    if (t->sm == capability || (t->sm < capability && !is_specific(t))) best = t;
  }
  return best;
}

double target_tensor_flops(const target_info *t, dtype a, dtype b) {
  if (a != b || !unit_takes(DOT_MMA, a)) return 0;
  return a == DT_f32 ? t->tf32_flops_per_second : t->tensor_flops_per_second;  // f32: rounded
}

// ---- CPUs

static const struct cpu {
  const char *target;  // as --target takes it
  int features;
} cpus[] = {
#define CPU(name, features) {"cpu:" name, features},
#include "ir/targets.def"
};
enum { NCPUS = sizeof cpus / sizeof *cpus, CPU_PREFIX = sizeof "cpu:" - 1 };

bool target_cpu_features(str name, int *features) {
  for (int i = 0; i < NCPUS; i++) {
    if (!str_eqz(name, cpus[i].target + CPU_PREFIX)) continue;
    *features = cpus[i].features;
    return true;
  }
  return false;
}

static void set_level(target_info *t, int features) {
#define LEVEL(needs, bytes, registers, flops, l2_bytes)             \
  if (!t->vector_bytes && (features & (needs)) == (needs)) {        \
    t->vector_bytes = bytes, t->vector_registers = registers;       \
    t->flops_per_second = flops, t->l2_bytes_per_second = l2_bytes; \
  }
#include "ir/targets.def"
}

target_info target_cpu(int features, int cores) {
  target_info t = {.cores = cores};
  set_level(&t, features);
  if (features & CPU_FAST_PAIRS) t.pair_flops_per_second = 2 * t.flops_per_second;
#define CPUS(bytes, filling, launch, l1, l2, l3)                    \
  t.bytes_per_second = bytes * (cores < filling ? cores : filling); \
  t.launch_seconds = launch;                                        \
  t.l1_bytes = l1, t.l2_bytes = l2, t.l3_bytes = l3;
#include "ir/targets.def"
  return t;
}

const target_info *target_unknown(void) {
  static const target_info unknown =
#define UNKNOWN(...) {__VA_ARGS__}
#include "ir/targets.def"
      ;
  return &unknown;
}

// ---- all

static const char *cpu_summary(int features) {
  return features & CPU_FP16     ? "AVX-512 with bf16 and f16 arithmetic"
         : features & CPU_BF16   ? "AVX-512 with bf16 arithmetic"
         : features & CPU_AVX512 ? "AVX-512"
         : features & CPU_AVX2   ? "AVX2 with fused multiply-add"
                                 : "SSE";
}

bool target_named_row(int i, const char **name, const char **summary) {
  if (i >= NGPUS + NCPUS) return false;
  *name = i < NGPUS ? gpus[i].name.ptr : cpus[i - NGPUS].target;
  *summary = i < NGPUS ? gpu_summaries[i] : cpu_summary(cpus[i - NGPUS].features);
  return true;
}
