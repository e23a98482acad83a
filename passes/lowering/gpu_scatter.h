// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Scatters on GPUs (gpu_scatter*.c alone).
#pragma once
#include "passes/lowering/lower_scatter.h"

/// Updates that are compared with each other, a power of two.
int64_t gpu_list_chunk(int64_t rows);
/// Adds the kernels that fill the lists.
void gpu_list_updates(lower *l, const group *grp, scatter_lists *lists);
/// The kernel whose blocks add up a row each, and before it one for parts of long lists.
void gpu_add_by_rows(kbuild *b, scatter_axes *s, scatter_lists *lists);
