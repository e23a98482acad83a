// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Figures of machines for tests of the lowering, which runs without them.
#pragma once
#include "passes/passes.h"

/// An architecture of ir/targets.def as a session without tf32 sees it.
static inline target_info gpu_named(const char *arch) {
  target_info t = *target_gpu(str_from(arch));
  t.tf32_flops_per_second = 0;
  return t;
}

/// An sm_90a with the figures of an H200.
static inline const target_info *gpu_default(void) {
  static target_info t;
  if (!t.sm) t = gpu_named("sm_90a");
  return &t;
}
#define gpu_target (*gpu_default())

/// A GPU with tensor cores of the kind before wgmma and no clusters: figures of an A100.
static inline target_info sm_80_target(void) { return gpu_named("sm_80"); }

/// A CPU with 32 vector registers of 64 bytes, as of the year 2020.
static inline target_info cpu_target(int cores) {
  return (target_info){.name = {"test", 4}, .vector_bytes = 64, .vector_registers = 32,
      .l1_bytes = 48 << 10, .l2_bytes = 2 << 20, .l3_bytes = 32 << 20, .cores = cores,
      .flops_per_second = 170e9, .bytes_per_second = 25e9, .l2_bytes_per_second = 100e9};
}

/// The same with dots of bf16 pairs, `speed` times as fast as fmas.
static inline target_info cpu_pairs_target(int cores, double speed) {
  target_info t = cpu_target(cores);
  t.pair_flops_per_second = speed * t.flops_per_second;
  return t;
}

/// One with 16 registers of 32 bytes.
static inline target_info avx2_target(int cores) {
  target_info t = cpu_target(cores);
  t.vector_bytes = 32;
  t.vector_registers = 16;
  t.flops_per_second = 85e9;
  return t;
}
