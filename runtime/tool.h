// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Programs of the system that ahead-of-time output needs: found, run in a directory of their own,
// and heard. They inherit nothing but the environment (no signal is blocked or ignored in them); what they
// print is caught.
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "runtime/error.h"
#include "runtime/signals.h"

/// Looks for an executable in $PATH, then in the directories of `more` ("a:b"; null: none).
bool tool_find(const char *name, const char *more, char *path, size_t size);

/// A temporary directory with files in it.
typedef struct tool_place {
  char path[256];
  held_signals held;  // those that end the process wait until it is removed
} tool_place;
bool tool_place_open(tool_place *p, error *e);
/// Removes it with the files in it.
void tool_place_close(tool_place *p);
/// The path of a file there.
void tool_file(const tool_place *p, const char *name, char path[320]);
bool tool_write(const tool_place *p, const char *name, const void *data, size_t size, error *e);

/// Runs argv (ended by null), whose first is the path. *log: what it printed, malloc'd, set in any
/// case. False with *e, which has the beginning of the log, when it does not end with status 0.
bool tool_run(const tool_place *p, char *const argv[], char **log, error *e);

// ---- NVIDIA's assembler (runtime/ptxas.c)

typedef struct ptxas_output {
  void *cubin;  // malloc'd
  size_t size;
  char *log;  // malloc'd: registers, spills and shared memory of each kernel
} ptxas_output;
/// In $PATH, then in $CUDA_HOME/bin; without CUDA_HOME in /usr/local/cuda/bin.
bool ptxas_find(char *path, size_t size);
/// arch: "sm_90a". ERROR_DEVICE when it is not found or does not take the text.
bool ptxas_run(const char *arch, const char *ptx, size_t size, ptxas_output *out, error *e);
void ptxas_free(ptxas_output *out);

/// What the log says of a kernel.
typedef struct ptxas_usage {
  int registers;
  int stack_bytes;   // per thread, spills among them
  int shared_bytes;  // static
} ptxas_usage;
bool ptxas_usage_of(const ptxas_output *out, const char *kernel, ptxas_usage *usage);

// ---- linking (runtime/link.c)

typedef struct link_object {
  const char *name;  // "softmax.o"
  const void *data;
  size_t size;
  const char *const *symbols;  // that others may refer to, ended by null
} link_object;
/// A shared library, by the system's cc. ERROR_DEVICE when there is none or it fails.
bool link_shared(const char *path, const link_object *objects, int n, error *e);
/// An archive with an index.
bool link_archive(const char *path, const link_object *objects, int n, error *e);
