// Figures of machines for tests of the lowering, which runs without them.
#pragma once
#include "passes/passes.h"

/// An sm_90a with the figures of an H200.
static const target_info gpu_target = {
    .name = {"cuda:sm_90a", 11},
    .vector_bytes = 16,
    .vector_registers = 32,
    .l1_bytes = 227 << 10,
    .l2_bytes = 50 << 20,
    .cores = 132,
    .flops_per_second = 60e12 / 132,
    .bytes_per_second = 4.27e12,
    .l2_bytes_per_second = 5.5e12 / 132,
    .sm = 90,
    .sm_specific = true,
    .threads_per_core = 2048,
    .registers_per_core = 65536,
    .shared_per_block = 227 << 10,
    .tensor_flops_per_second = 790e12,
};

/// A GPU with tensor cores of the kind before wgmma and no clusters: figures of an A100.
static inline target_info sm_80_target(void) {
  target_info t = gpu_target;
  t.name = (str){"cuda:sm_80", 10};
  t.l1_bytes = t.shared_per_block = 163 << 10;
  t.l2_bytes = 40 << 20;
  t.cores = 108;
  t.flops_per_second = 19.5e12 / 108;
  t.bytes_per_second = 1.9e12;
  t.l2_bytes_per_second = 4.5e12 / 108;
  t.sm = 80;
  t.sm_specific = false;
  t.tensor_flops_per_second = 300e12;
  return t;
}

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
