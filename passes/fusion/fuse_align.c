// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Operands of products on tensor cores whose rows are unaligned: the copy engine, and
// asynchronous copies, want them at multiples of 16 bytes. (Padded ones on CPUs: fuse_pads.c.)
//
//   dot %a, %b over K   with %a: bf16[M, K = 4099]   ──▶   %c = view %a[M, K]; dot %c, %b over K
//
// (a view that changes nothing, such as the views pass would have dropped). Whether it becomes a
// kernel is a question of cost, as for any producer. As a kernel of its own it writes a temporary,
// whose rows the lowering begins where the product wants them.
#include <string.h>

#include "passes/fusion/fuse.h"

enum { ROW_ALIGNMENT = 16 };

/// What is known to divide the stride of axis k, in elements.
static int64_t stride_divisor(const graph *g, const node *param, int k) {
  if (param->strides) return param->strides[k];
  int64_t stride = 1;
  for (int i = k + 1; i < param->naxes; i++)
    stride *= ix_divisor(&g->ix, graph_axis_size(g, param->axes[i]));
  return stride;
}

static bool rows_are_unaligned(const graph *g, const node *param) {
  int unit = param->naxes - 1;
  if (param->strides)
    for (unit = param->naxes - 1; unit >= 0 && param->strides[unit] != 1;) unit--;
  if (unit < 0) return param->naxes > 1;
  for (int k = 0; k < param->naxes; k++)
    if (k != unit && stride_divisor(g, param, k) * dtype_bytes(param->type) % ROW_ALIGNMENT)
      return true;
  return false;
}

static const node *below_views(const node *n, const uint8_t *member) {
  while (n->op == OP_view && (!member || member[n->id])) n = n->in[0];
  return n;
}

const node *fuse_unaligned_operand(const graph *g, const target_info *t, const node *dot, int k,
                                   const uint8_t *member) {
  if (dot->op != OP_dot) return NULL;
  if (target_tensor_flops(t, dot->in[0]->type, dot->in[1]->type) <= 0) return NULL;
  const node *x = below_views(dot->in[k], member);
  return x->op == OP_param && rows_are_unaligned(g, x) ? x : NULL;
}

bool node_is_copy(const graph *g, const node *n) {
  if (n->op != OP_view || n->naxes != n->in[0]->naxes) return false;
  for (int k = 0; k < n->naxes; k++) {
    int axis;
    if (n->axes[k] != n->in[0]->axes[k] || !ix_is_axis(&g->ix, n->index[k], &axis) ||
        axis != n->axes[k])
      return false;
  }
  return true;
}

node *node_copied(graph *g, node *operand) {
  ix index[MAX_AXES];
  for (int k = 0; k < operand->naxes; k++) index[k] = ix_axis(&g->ix, operand->axes[k]);
  node *copy = graph_view(g, operand, index, operand->axes, operand->naxes);
  copy->at = operand->at;
  return copy;
}

/// Of what the dot sees, not of the param: axes that a view makes one are one in the copy.
static node *copy_of(graph *g, node *operand, node **copies) {
  if (!copies[operand->id]) copies[operand->id] = node_copied(g, operand);
  return copies[operand->id];
}

/// The dot over copies of its operands; null: none of them needs one.
static node *dot_of_copies(graph *g, const target_info *t, const node *dot, node **copies) {
  node *in[2];
  bool any = false;
  // A copy is another kernel, which a contract excludes.
  for (int k = 0; dot->op == OP_dot && !dot->contract && k < 2; k++) {
    const node *param = fuse_unaligned_operand(g, t, dot, k, NULL);
    bool larger = param && node_count(g, dot->in[k]) > node_count(g, param);  // windows
    node *padded = fuse_copied_pad(g, t, dot, k);
    if (padded) in[k] = padded;
    else in[k] = param && !larger ? copy_of(g, dot->in[k], copies) : dot->in[k];
    any |= in[k] != dot->in[k];
  }
  return any ? graph_clone_node(g, dot, in) : NULL;
}

void fuse_copy_operands(graph *g, const target_info *t, arena *a) {
  int n = g->nodes.len;
  node **copies = arena_array(a, node *, n), **by_id = arena_array(a, node *, n);
  bool any = false;
  for (int id = 0; id < n; id++) {
    by_id[id] = dot_of_copies(g, t, g->nodes.data[id], copies);
    any |= by_id[id] != NULL;
  }
  if (!any) return;
  node **replacement = arena_array(a, node *, g->nodes.len);
  memcpy(replacement, by_id, sizeof *by_id * (size_t)n);
  graph_compact(g, replacement);
}
