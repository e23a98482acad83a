// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The CPU that code is made for: LLVM's target machine and what emitters may use.
#pragma once
#include "codegen/emit.h"

#include <llvm-c/TargetMachine.h>

typedef struct machine {
  LLVMTargetRef target;
  LLVMTargetMachineRef tm;
  const char *triple, *cpu, *features;  // in the arena given
} machine;

/// Opens the target machine of a named CPU (empty: the host, with its features) and sets the
/// feature flags of *e. False with *error in `a` for a name that is not in the table. Close in
/// any case.
bool machine_open(machine *m, arena *a, str cpu, str features, emit *e, str *error);
/// For a long module: instructions are scheduled once, before registers are allocated. Processors
/// that reorder them hardly see the second time, and it is a tenth of LLVM's time.
void machine_hurry(machine *m);
void machine_close(machine *m);
