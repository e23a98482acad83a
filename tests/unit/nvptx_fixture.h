// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Small modules for GPUs: emitter state without a program, compiling to PTX, assembling.
#pragma once
#include "base/str.h"
#include "codegen/nvptx/ptx.h"

/// "sm_80", "sm_90a", ...
void nvptx_emit_open(emit *e, arena *a, const char *arch);
void nvptx_emit_close(emit *e);
void nvptx_threads(emit *e, lval function, int threads);  // one block on a multiprocessor
void nvptx_map_param(emit *e, lval function, int param);
lval nvptx_shared_memory(emit *e);  // dynamic, aligned to 1024
/// Verifies, optimises and prints the module.
str nvptx_compile(emit *e, const char *arch, str what);

typedef struct nvptx_report {
  bool assembled;  // false: no ptxas here, or it failed (which fails the test)
  int registers, spill_bytes;
  bool warnings;  // wgmma serialised, setmaxnreg ignored, ...
} nvptx_report;
/// Runs ptxas -v when there is one, else says that it did not.
nvptx_report nvptx_assemble(str ptx, const char *arch);
int nvptx_count(str text, const char *what);
