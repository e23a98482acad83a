// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scatters on GPUs (gpu_scatter*.c alone).
#pragma once
#include "passes/lowering/lower_scatter.h"

/// Updates that are compared with each other, a power of two.
int64_t gpu_list_chunk(int64_t rows);
/// Adds the kernels that fill the lists.
void gpu_list_updates(lower *l, const group *grp, const scatter_lists *lists);
