// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The walk of an affine_scan, y = a y + b step by step.
//
//   loop T:1 carry y = 0 { y' = a[T] y + b[T]; store (y if exclusive, else y'); yield y' }
//
// Blocks as those of long sums (lower_scan.c) would need the product of the a in a block, which may
// overflow where no y does. So long walks of f32 carry f64, and those of f64 what steps round off:
//
//   carry y, lost { p = a y; s = p + b; lost = a lost + (what p is off) + (what s is off); y = s }
//
// the compensated Horner scheme (op_step_affine in ir/op.c).
#include "base/fault.h"
#include "passes/lowering/lower_scan.h"
#include "passes/lowering/sums.h"

static tval *operand_at(kbuild *b, op o, const node *n, int axis) {
  tval *v = kb_value_here(b, n);
  return axis >= 0 && tval_extent(v, axis) ? kb_reduce_tile(b, o, v, &axis, 1) : v;
}

affine_step affine_next(kbuild *b, const node *scan, dtype t, int axis) {
  // Of the one element that a step has along the axis, product and sum are that element.
  return (affine_step){kb_as_type(b, operand_at(b, OP_mul, scan->in[0], axis), t),
                       kb_as_type(b, operand_at(b, OP_add, scan->in[1], axis), t)};
}

tval *affine_after(kbuild *b, const affine_step *s, tval *before) {
  tval *product = kb_map(b, OP_mul, before->type, s->a, before, NULL);
  return kb_map(b, OP_add, before->type, product, s->b, NULL);
}

void affine_pair(kbuild *b, const affine_step *s, tval *const *now, tval **next) {
  tval *y = now[0], *lost = now[1];
  dtype t = y->type;
  tval *product = kb_map(b, OP_mul, t, s->a, y, NULL), *sums[2];
  tval *off = kb_map(b, OP_fma, t, s->a, y, kb_map(b, OP_neg, t, product, NULL, NULL));
  sum_pair(b, product, s->b, sums);
  tval *carried = kb_map(b, OP_fma, t, s->a, lost, kb_map(b, OP_add, t, off, sums[1], NULL));
  next[0] = sums[0];
  // Beside infinities and NaN nothing is lost.
  tval *zero = kb_const(b, t, (scalar){.f = 0});
  tval *none = kb_map(b, OP_sub, t, sums[0], sums[0], NULL);
  tval *finite = kb_map(b, OP_eq, DT_bool, none, zero, NULL);
  next[1] = kb_map(b, OP_where, t, finite, carried, zero);
}

static void store_step(kbuild *b, const scan_steps *s, tval *y, tval *lost) {
  const node *scan = b->group->anchor;
  if (lost) y = kb_map(b, OP_add, y->type, y, lost, NULL);
  b->done[scan->id] = kb_as_type(b, y, scan->type);
  s->store(b);
  b->done[scan->id] = NULL;
}

affine_total affine_from(kbuild *b, const scan_steps *s, tval *start) {
  const node *scan = b->group->anchor;
  bool is_long = scan_is_long(b, scan, s->axis);
  dtype t = is_long ? DT_f64 : scan->type;
  start = kb_as_type(b, start, t);
  tval *from[3] = {start}, *next[3];
  int n = 1, lost = 0, factor = 0;
  if (is_long && scan->type == DT_f64) from[lost = n++] = kb_like(b, start, (scalar){.f = 0});
  if (!s->store) from[factor = n++] = kb_like(b, start, scalar_cast((scalar){.i = 1}, DT_i64, t));
  tstmt *loop = kb_loop(b, s->axis, 1, from, n);
  loop->reverse = s->reverse;
  loop->unroll = s->unroll;
  tval **now = loop->body->params;
  affine_step step = affine_next(b, scan, t, s->axis);
  if (lost) affine_pair(b, &step, now, next);
  else next[0] = affine_after(b, &step, now[0]);
  if (factor) next[factor] = kb_map(b, OP_mul, t, now[factor], step.a, NULL);
  tval **shown = scan->flags & NODE_EXCLUSIVE ? now : next;
  if (s->store) store_step(b, s, shown[0], lost ? shown[lost] : NULL);
  tval **ends = kb_end_loop(b, next, n);
  affine_total total = {.b = ends[0], .a = factor ? ends[factor] : NULL};
  if (lost && factor) total.b = kb_map(b, OP_add, t, ends[0], ends[lost], NULL);
  return total;
}
