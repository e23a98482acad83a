// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Runs one generated program compiled and in the interpreter, and compares.
#pragma once
#include "tests/fuzz/gen.h"

typedef enum verdict {
  VERDICT_SAME,
  VERDICT_REJECTED,  // the front end refused it
  VERDICT_ERROR,     // some call failed
  VERDICT_DIFFERS,
  VERDICT_CRASHED,
  VERDICT_TIMEOUT,
} verdict;

typedef struct run_options {
  int threads;         // of the compiled code; 0: by the seed, mostly one
  const char *target;  // compared with the graph interpreter; "cpu"
  bool deterministic;  // always; else by the seed
  bool gradients;      // of smooth programs, instead of their values
} run_options;

/// A schedule that cuts the short rows of these programs into chunks, on GPUs.
extern const char run_in_chunks[];
/// What went wrong goes to `why` (one line or a rendered diagnostic).
verdict run_program(const gen_program *p, const run_options *options, char *why, int why_size);
/// The same in a child process, so that crashes and endless loops are verdicts too.
verdict run_isolated(const gen_program *p, const run_options *options, char *why, int why_size);
/// Cuts away what the failure does not need.
void shrink_program(gen_program *p, const run_options *options, verdict failure);
