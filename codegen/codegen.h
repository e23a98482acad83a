// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Tile IR to code. The only LLVM user behind one narrow interface.
#pragma once
#include "ir/target.h"
#include "ir/tile.h"

typedef enum code_kind { CODE_OBJECT, CODE_ASSEMBLY, CODE_LLVM_IR } code_kind;

/// What a library knows of its function besides the code: see codegen/library.h.
typedef struct library_spec {
  const struct tcf_library_pointer *pointers;  // parameters, results
  const struct tcf_library_symbol *symbols;    // by symbol of the program
  const struct tcf_library_site *sites;
  const ix *site_sizes;  // of the axes that are indexed, over ix; 0: unknown
  int nsites;
  const char *const *places;  // by step of the program
  const ix_pool *ix;
  const ix *lengths;  // sizes that must not be negative, over ix
  const char *const *length_names;
  int nlengths;
} library_spec;

typedef struct code {
  const void *data;  // in the arena given
  size_t size;
} code;

typedef struct codegen_options {
  str cpu;       // LLVM CPU name; empty: the host
  str features;  // "+avx512f,-xop,..." on top of those of the CPU
  code_kind kind;
  str symbol;  // what the entry is exported as; empty: the program's name
  bool fast_math;
  bool deterministic;  // a map has the same bits in every kernel, whatever its lanes are
  const library_spec *library;  // the object of a library; null: one of codegen/abi.h
  code cubin;                   // devices: carried beside the PTX; size 0: none
} codegen_options;

/// Compiles every function of the program into one object (or text). False with *error (unknown
/// CPU, LLVM's own message).
bool codegen_cpu(arena *a, const program *p, const codegen_options *options, code *out,
                 str *error);

/// The facts of the host, or of a named CPU with the caches of the host.
bool codegen_cpu_target(arena *a, str cpu, target_info *out, str *error);
/// This machine has the vector extensions that code for the named CPU uses; false with those that it
/// lacks.
bool codegen_cpu_runs_here(arena *a, str cpu, str *lacks);
/// "-xop,-fma4,...": the features that this machine does not have. With them, code for a named CPU
/// that runs here keeps to instructions that both have.
str codegen_cpu_lacks_here(arena *a);
/// Text naming LLVM's version, CPU and features: part of every cache key.
str codegen_cpu_identity(arena *a, const codegen_options *options);

/// The same for an NVIDIA GPU; options->cpu is "sm_80", "sm_90a", ... CODE_OBJECT is a host object
/// (codegen/abi.h: the entry launches kernels) that carries PTX. CODE_ASSEMBLY is PTX, CODE_LLVM_IR
/// that of the device.
bool codegen_cuda(arena *a, const program *p, const codegen_options *options, code *out,
                  str *error);
/// Of ir/targets.def; null with *error: not known.
const target_info *codegen_cuda_target(arena *a, str arch, str *error);
str codegen_cuda_identity(arena *a, const codegen_options *options);

/// Loading objects into the process (ORC). One jit may hold many objects; thread-safe.
typedef struct jit jit;
typedef struct jit_object jit_object;
jit *jit_new(str *error, arena *a);
void jit_free(jit *j);
jit_object *jit_load(jit *j, const void *object, size_t size, arena *a, str *error);
void *jit_symbol(jit *j, jit_object *o, const char *name, arena *a, str *error);
void jit_unload(jit *j, jit_object *o);
