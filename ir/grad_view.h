// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Transposed views: what a cotangent of a view or pad gives to its operands.
#pragma once
#include "ir/graph.h"

/// The transpose of the linear map of `view` (a view or pad node) applied to gy: what gy, a
/// cotangent of its result, gives to its operand in[0]:
///   gx[c] = sum over r of gy[r], where the view reads c at r; zero where none does.
/// gy has any axes of the view's result (it is constant along those that it lacks) and may have
/// further axes, which in[0] has not. The result has axes of in[0], may lack some along which it is
/// constant, and has the further axes. *scattered (may be null): it is not known how to solve for
/// r, or the sum would have more terms than there are elements, and a scatter_add was built.
node *view_transpose(graph *g, const node *view, node *gy, bool *scattered);
/// What gy, a cotangent of the pad, gives to its fill value: the sum of gy where the coordinates
/// are outside of in[0]. The result has the further axes of gy only.
node *pad_transpose_fill(graph *g, const node *pad, node *gy);
/// v, summed over so many elements along which it does not vary.
node *sum_of_equal(graph *g, node *v, ix size);
