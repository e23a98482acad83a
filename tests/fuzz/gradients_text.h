// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What is differentiated for what, and the text of that (gradients.h).
#pragma once
#include "tests/fuzz/gen.h"

enum { GRADIENTS_WRT = 4 };

typedef struct gradients {
  int wrt[GRADIENTS_WRT], nwrt;  // parameters
  int between;                   // a value on the way; -1 none
  int of[4], nof;                // values that are summed
  int checkpoint_first, checkpoint_last;
  bool stops;    // what a stop() gives does not follow its argument in derivatives
  bool plain;    // without the contract
  bool streams;  // the contract's axis is one of a parameter
  bool second;   // derivatives of derivatives
} gradients;

gradients gradients_of(const gen_program *p);
int gradients_write(const gen_program *p, const gradients *g, char *text, int size);
