// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What the object of a library and the runtime linked into it agree on. Plain C: no IR, no LLVM.
//
// A library is an object of codegen/abi.h whose symbols are private, with functions around it that
// need no frame, and a runtime that fills one. Of a function f these are exported
// (api/header.c declares them):
//
//   int32_t f_open(int32_t number, f_context **);   threads, or the device's ordinal
//   int32_t f(params..., outputs..., symbols..., f_context *);           CPUs
//   int32_t f(params..., outputs..., symbols..., f_context *, void *stream);   devices
//   int32_t f_wait(f_context *);                                         devices
//   const char *f_message(const f_context *);
//   void f_close(f_context *);
//
// They hand over to runtime/library_cpu.c or runtime/library_cuda.c, which see the function
// through a constant tcf_library. Those two are objects of their own (cmake/library_runtime.cmake);
// only the names below are visible in them, numbered by the layout of this file.
#pragma once
#include "codegen/abi.h"

#define LIBRARY_CPU "tcf_library2_cpu_"
#define LIBRARY_CUDA "tcf_library2_cuda_"
#define LIBRARY_NAME(suffix) tcf_library2_##suffix

/// What is demanded of a size.
typedef struct tcf_library_symbol {
  const char *name;
  int64_t least, most, multiple_of;
} tcf_library_symbol;

/// A parameter or result. Sizes of these in bytes: tcf_library.bytes.
typedef struct tcf_library_pointer {
  const char *name;
  int64_t alignment;  // of its elements
  int64_t is_result;
} tcf_library_pointer;

/// A check site: its position ("norms.tdsl:3:10") and the axis that is indexed, null where unknown.
typedef struct tcf_library_site {
  int64_t site;  // step << 16 | number
  const char *place, *axis;
} tcf_library_site;

typedef struct tcf_library {
  int64_t npointers, nsymbols, nsites, nsteps, nlengths;
  const tcf_library_pointer *pointers;
  const tcf_library_symbol *symbols;
  const tcf_library_site *sites;
  const char *const *places;   // by step
  const char *const *lengths;  // "the axis W of size N - 4"
  /// A length that is negative, else -1.
  int32_t (*negative)(const int64_t *symbols);
  /// bytes[i]: of the memory at pointer i.
  void (*bytes)(const int64_t *symbols, int64_t *bytes);
  /// Of the axis that sites[number] indexes; -1: unknown.
  int64_t (*axis_size)(const int64_t *symbols, int64_t number);
  int64_t (*arena_size)(const int64_t *symbols);
  int64_t (*scratch_size)(const int64_t *symbols);
  /// Calls f of codegen/abi.h: params and outputs, symbols.
  int32_t (*run)(void *const *pointers, const int64_t *symbols, tcf_frame *frame);
  // Devices. A cubin is of one architecture, which is tried first; PTX may run on later ones.
  const tcf_kernel_info *kernels;
  const void *cubin;
  int64_t cubin_size;  // 0: none
  const char *ptx;
  int64_t ptx_size;
} tcf_library;

typedef struct tcf_context tcf_context;  // each runtime has its own
