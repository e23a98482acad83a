// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The host side of device code: the x86 object whose entry computes sizes and addresses and starts
// the kernels through frame->launch (codegen/abi.h).
#pragma once
#include "codegen/abi.h"
#include "codegen/codegen.h"

/// What a tensor map is made of where it has not the dimensions of its argument: sizes and strides
/// (elements), innermost first.
typedef struct map_axes {
  bool used;
  ix size[5], stride[5];
} map_axes;
typedef struct kernel_maps {
  const ix_pool *pool;
  const map_axes *axes;  // by map
} kernel_maps;

/// kernels: by number in p->kernels, n of them; maps: likewise, null: all maps have the dimensions of
/// their arguments. image: PTX text (or a cubin), carried along. The code runs on any x86-64 and does
/// not depend on the host; of the options `kind`, `library` and `cubin` count. Exports f,
/// f_arena_size, f_scratch_size (zero), f_kernels, f_image, f_image_size; or what codegen/library.h
/// says.
bool codegen_host_launcher(arena *a, const program *p, const codegen_options *options,
                           const tcf_kernel_info *kernels, const kernel_maps *maps, int n,
                           code image, code *out, str *error);

/// The dimension of argument `arg` that is dimension d of its tensor map, 0 the innermost: the one
/// with stride 1 first, then the others from the last to the first.
int map_dimension(const kernel *k, int arg, int d);
