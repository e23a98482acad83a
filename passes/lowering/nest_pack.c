// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Operands of loop nests on CPUs that are copied with the lanes innermost, since neighbours in memory
// are others and each element is read for many rows:
//
//   sum((x[I, C] - y[J, C]) ** 2, C)             local packed[C, J:256]
#include "passes/lowering/nest.h"

enum { LEAST_ROWS = 8 };

int nest_pack(nest *t, const node *x, dtype type, int lanes) {
  kbuild *b = t->b;
  int axes[MAX_KERNEL_AXES], count = 0, nloops = 0;
  for (int k = 0; k < x->naxes; k++) {
    int axis = b->kaxis[x->axes[k]];
    if (axis >= 0 && axis != lanes && !axes_have(axes, count, axis)) axes[count++] = axis;
  }
  axes[count++] = lanes;
  int buf = kb_local(b, "packed", type, axes, count);
  // Vectors along the axis in which the operand lies: squares are transposed in registers.
  for (int i = 0; i < count; i++) {
    bool last = i + 1 == count, square = i + 2 == count && kb_kernel_size(b, axes[i]) >= b->lanes;
    int by = last || square ? b->lanes : 1;
    if (b->extent[axes[i]] == 1) continue;
    if (b->extent[axes[i]] && by > b->extent[axes[i]]) by = b->extent[axes[i]];
    nloops++;
    tstmt *loop = kb_loop(b, axes[i], by, NULL, 0);
    loop->stage = true;
    loop->vec = last && axes[i] != b->k->vec_axis;
  }
  kb_store_local(b, buf, kb_as_type(b, kb_value_here(b, x), type));
  while (nloops--) kb_end_loop(b, NULL, 0);
  return buf;
}

/// All rows of a tile read the same elements, which do not lie along the lanes.
static bool is_worth_packing(const nest *t, const node *x, int lanes) {
  if (t->block < 0 || nest_held(t, t->block) < LEAST_ROWS || kb_uses(t->b, x, t->block)) return false;
  if (!kb_uses(t->b, x, lanes) || x->naxes < 2 || t->b->local_ready[x->id]) return false;
  int unit = nest_unit_axis(t, x);
  return unit >= 0 && t->b->kaxis[unit] >= 0 && t->b->kaxis[unit] != lanes && skip_is_at_hand(t->b, &t->o, x);
}

static int find_operands(const nest *t, const node *n, int lanes, const node **found, int count,
                         bool *seen) {
  for (int k = 0; k < n->nin && count < MAX_AXES; k++) {
    const node *x = n->in[k];
    if (seen[x->id] || t->b->local_ready[x->id]) continue;
    seen[x->id] = true;
    bool map = kb_in_group(t->b, x) && op_is_map(x->op);
    if (map) count = find_operands(t, x, lanes, found, count, seen);
    else if (is_worth_packing(t, x, lanes)) found[count++] = x;
  }
  return count;
}

int nest_pack_operands(nest *t, const node *red, int lanes, const node **packed) {
  if (t->threads || lanes < 0) return 0;
  bool *seen = arena_array(t->b->l->a, bool, t->b->l->g->nodes.len);
  int count = find_operands(t, red, lanes, packed, 0, seen);
  for (int i = 0; i < count; i++) {
    int buf = nest_pack(t, packed[i], packed[i]->type, lanes);
    t->b->local_of[packed[i]->id] = buf;
  }
  for (int i = 0; i < count; i++) t->b->local_ready[packed[i]->id] = true;
  return count;
}

void nest_unpack_operands(nest *t, const node *const *packed, int count) {
  for (int i = 0; i < count; i++) {
    t->b->local_ready[packed[i]->id] = false;
    t->b->local_of[packed[i]->id] = -1;
  }
}
