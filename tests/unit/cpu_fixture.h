// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running tile programs as compiled code beside the interpreter.
#pragma once
#include "codegen/codegen.h"
#include "tile_fixture.h"

typedef struct cpu_case {
  int64_t sizes[8];  // of the program's symbols
  int64_t below[8];  // by param: integers are uniform in [0, below)
  double tolerance;  // |a - b| <= tolerance * (1 + |b|) for floats; 0: 1e-5
} cpu_case;

typedef struct cpu_code {
  arena arena;
  const program *p;
  const char *cpu;  // LLVM name; "": the host
  jit *jit;
  jit_object *object;
  void *function;
  int64_t (*arena_size)(const int64_t *);
  int64_t (*scratch_size)(const int64_t *);
} cpu_code;

/// Compiles and loads a program; fails the test with the error.
void cpu_code_make(cpu_code *c, const program *p, const char *cpu);
void cpu_code_free(cpu_code *c);

/// What a call left behind.
typedef struct cpu_result {
  int status;
  int64_t error_site, error_index;
} cpu_result;

/// Runs the program on tensors in guarded memory laid out as its buffers say, its tiles going
/// round the workers; outputs are allocated in a.
cpu_result cpu_run(arena *a, cpu_code *c, const int64_t *sizes, int workers,
                   const interp_tensor *in, interp_tensor *out);
/// Sizes of the program's symbols from the shapes of its params (those that are plain symbols).
void cpu_bind_sizes(const program *p, const interp_tensor *in, int64_t *sizes);

/// Random params, interpreter, compiled code for the host, AVX2 and SSE: all outputs must agree,
/// nothing outside the buffers may be touched. `what` is put in messages.
void cpu_compare(tile_fixture *f, const cpu_case *cases, int ncases, const char *what);
/// The same for program text.
void cpu_compare_text(const char *text, const cpu_case *cases, int ncases);
/// Assembly of the fixture's program for a CPU.
str cpu_assembly(tile_fixture *f, const char *cpu);
