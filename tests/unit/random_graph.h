// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Random valid graphs for tests: every op class, small odd sizes, several outputs.
#pragma once
#include "ir/graph.h"

/// A graph whose values stay finite and of moderate size on standard normal inputs.
graph *random_graph(arena *a, uint64_t seed);
/// Standard normal floats, small integers (index params in range), random bools.
interp_tensor random_input(arena *a, const graph *g, const node *param, uint64_t seed);
/// max |x - y| / (1 + |y|) over the elements; NaN against NaN and equal infinities count as 0.
double tensor_distance(const interp_tensor *x, const interp_tensor *y);
