// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
#pragma once
#include "ir/graph.h"
node *view_transpose(graph *g, const node *view, node *gy, bool *scattered);
node *pad_transpose_fill(graph *g, const node *pad, node *gy);
