// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random programs and their derivatives. Of one program, which is smooth (gen.h), four functions are made:
//
//   value      a weighted sum of some of its values
//   straight   the derivatives of that for its parameters, and for a value on the way
//   rewritten  the same in other words: by seeds, products as sums and sums as products, views there and
//              back, under contracts, checkpoints, with values kept
//   curvature  the derivatives of a weighted sum of derivatives
//
// The interpreter in f64 is what counts. It is held against central differences of itself, where two steps
// of them agree; and it holds compiled code in f32 to what roundings may do, as far as the interpreter in
// f32 and at neighbouring arguments shows: derivatives cancel, and may jump.
#pragma once
#include "tests/fuzz/run_program.h"

verdict gradients_run(const gen_program *p, const run_options *options, char *why, int why_size);
/// The functions as text.
void gradients_print(const gen_program *p, char *text, int size);
