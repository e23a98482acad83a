// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// How long rows of temporaries are in memory: by who reads them, a row may take more than its elements.
#include "passes/fusion/group.h"

/// Flags of a value that lies in memory for products, for what knows no strides.
enum { READ_BY_PRODUCT = 1, READ_BY_OTHERS = 2 };

uint8_t *group_readers(const graph *g, const group *groups, int ngroups, arena *a) {
  uint8_t *readers = arena_array(a, uint8_t, g->nodes.len);
  for (int i = 0; i < ngroups; i++) {
    const node *anchor = groups[i].anchor;
    bool product = groups[i].kind == GROUP_CONTRACTION;
    if (anchor && !product && groups[i].kind != GROUP_SCAN) readers[anchor->id] |= READ_BY_OTHERS;
    for (int k = 0; anchor && k < anchor->nin; k++)
      for (const node *x = anchor->in[k];; x = x->in[0]) {
        readers[x->id] |= product ? READ_BY_PRODUCT : READ_BY_OTHERS;
        if (x->op != OP_view) break;
      }
  }
  return readers;
}

int group_row_unit(const graph *g, const target_info *t, const uint8_t *readers, const node *n) {
  enum { ROW_ALIGNMENT = 16, LINE = 128, SHARE = 8 };
  if (n->naxes < 2 || target_tensor_flops(t, n->type, n->type) <= 0) return 1;
  ix size = graph_axis_size(g, n->axes[n->naxes - 1]);
  int64_t row = ix_estimate(&g->ix, size);
  int unit = LINE / dtype_bytes(n->type);
  if (row < SHARE * unit) unit = ROW_ALIGNMENT / dtype_bytes(n->type);
  if (row < SHARE * unit || ix_divisor(&g->ix, size) % unit == 0) return 1;
  return readers[n->id] == READ_BY_PRODUCT ? unit : 1;
}
