// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The machines that code is made for: what cost models go by, what code may use. The facts are rows
// of ir/target_facts.def, the machines rows of ir/targets.def; no figure of a machine stands
// elsewhere.
#pragma once
#include "base/str.h"
#include "ir/dtype.h"

typedef str fact_TEXT;
typedef bool fact_FLAG;
typedef int fact_COUNT;
typedef int64_t fact_BYTES;
typedef double fact_RATE, fact_SECONDS;

typedef struct target_info {
#define FACT(kind, name, meaning) fact_##kind name;
#include "ir/target_facts.def"
#undef FACT
} target_info;

/// "name=cuda:sm_90a vector_bytes=16 ...": all facts, so that two targets that print alike are
/// alike.
void target_print(const target_info *t, strbuf *out);

/// "sm_90a"; null: not known.
const target_info *target_gpu(str arch);
/// Of the newest architecture whose code a device of this compute capability (90: 9.0) runs; null:
/// none.
const target_info *target_of_device(int capability);
/// The first whose blocks may have the most shared memory.
const target_info *target_with_most_shared(void);
/// "sm_80, sm_86, ..."
str target_gpu_names(arena *a);
/// "sm_90a" of "cuda:sm_90a"
str target_arch(const target_info *t);

/// What code for an x86-64 CPU may use.
typedef enum cpu_feature {
  CPU_F16C = 1,
  CPU_AVX2 = 2,    // with FMA
  CPU_AVX512 = 4,  // F, BW, DQ, VL
  CPU_BF16 = 8,
  CPU_FP16 = 16,
  CPU_FAST_PAIRS = 32,
  CPU_LEVEL_3 = CPU_F16C | CPU_AVX2,
  CPU_LEVEL_4 = CPU_LEVEL_3 | CPU_AVX512,
} cpu_feature;

/// The features of a CPU by its name ("skylake"); false: not known.
bool target_cpu_features(str name, int *features);
/// Facts of a CPU with these features.
target_info target_cpu(int features, int cores);
/// What is assumed where nothing is known.
const target_info *target_unknown(void);

/// Row i of the machines known by name, GPUs first; false behind the last.
bool target_named_row(int i, const char **name, const char **summary);

/// What tensor cores reach in a product of these types; 0: they do not take it.
double target_tensor_flops(const target_info *t, dtype a, dtype b);
