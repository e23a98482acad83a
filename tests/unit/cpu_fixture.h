// Running tile programs as compiled code beside the interpreter.
#pragma once
#include "codegen/codegen.h"
#include "tile_fixture.h"

typedef struct cpu_case {
  const char *cpu;      // LLVM name; "": the host
  int64_t sizes[8];     // of the program's symbols
  int64_t below[8];     // by param: integers are uniform in [0, below)
  int workers;          // tiles go round them; 0: one
  double tolerance;     // |a - b| <= tolerance * (1 + |b|) for floats; 0: 1e-5
} cpu_case;

typedef struct cpu_code {
  arena arena;
  jit *jit;
  jit_object *object;
  void *function;
  int64_t arena_bytes, scratch_bytes;
  double compile_seconds;
} cpu_code;

/// Compiles and loads a program; fails the test with the error.
void cpu_code_make(cpu_code *c, const program *p, const char *cpu, const int64_t *sizes);
void cpu_code_free(cpu_code *c);
/// Calls it on pointers to params, then outputs. Gives the status and the frame's error fields.
int cpu_code_call(cpu_code *c, const program *p, void **pointers, const int64_t *sizes,
                  int workers, int64_t *error_site, int64_t *error_index);

/// Runs a program on tensors in guarded memory laid out as its buffers say; outputs are allocated
/// in a. Gives the status of the call.
int cpu_run(arena *a, const program *p, const char *cpu, const int64_t *sizes, int workers,
            const interp_tensor *in, interp_tensor *out);
/// Sizes of the program's symbols from the shapes of its params (those that are plain symbols).
void cpu_bind_sizes(const program *p, const interp_tensor *in, int64_t *sizes);

/// Random params, interpreter, compiled code: all outputs must agree, nothing outside the buffers
/// may be touched. `what` is put in messages.
void cpu_compare(tile_fixture *f, const cpu_case *c, const char *what);
/// Assembly of the fixture's program for a CPU.
str cpu_assembly(tile_fixture *f, const char *cpu);
