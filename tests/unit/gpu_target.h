// Figures of a GPU for tests of the lowering, which runs without one.
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
