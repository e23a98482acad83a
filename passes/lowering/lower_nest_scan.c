// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Running combines in a kernel of loop nests: in order along their axis; along the stream on from the
// step before.
//
//   local carry[N]
//   loop T:256 {
//     loop N:16 { c = loop T:1 carry c = carry { c = c + x; v[T, N] = c }; carry = c }
//
// A step of some hundred elements on its own would be exact enough, but what all steps come to would
// not: long sums of f32 go on in f64, and those of f64 with what they lose.
#include "passes/lowering/lower_scan.h"
#include "passes/lowering/nest.h"

/// n without the scanned axis; axes has room for all.
static node without_axis(const node *n, int *axes) {
  node r = *n;
  r.naxes = 0;
  r.axes = axes;
  for (int k = 0; k < n->naxes; k++)
    if (n->axes[k] != n->attr_axes[0]) axes[r.naxes++] = n->axes[k];
  return r;
}

/// The loops over what is scanned.
static nest_loops scan_loops(const nest *t, const node *n) {
  nest_loops s = nest_loops_of(t, n);
  if (s.lanes == t->b->kaxis[n->attr_axes[0]]) s.lanes = -1;
  return s;
}

/// What a running combine goes on with.
typedef struct carried {
  dtype type;
  int count;
} carried;

static carried carried_of(const nest *t, const node *n) {
  bool is_long = scan_is_long(t->b, n, t->b->kaxis[n->attr_axes[0]]);
  return (carried){is_long ? DT_f64 : n->type, is_long && n->type == DT_f64 ? 2 : 1};
}

void nest_begin_carry(nest *t, const node *n) {
  kbuild *b = t->b;
  int kept[MAX_AXES], axes[MAX_KERNEL_AXES];
  node without = without_axis(n, kept);
  nest_loops s = scan_loops(t, n);
  int count = nest_axes_of(t, &without, s.lanes, axes);
  carried c = carried_of(t, n);
  t->carry_of[n->id] = kb_local(b, "carry", c.type, axes, count);
  if (c.count > 1) t->lost_of[n->id] = kb_local(b, "lost", c.type, axes, count);
  int o = nest_open(t, &without, &s);
  kb_store_local(b, t->carry_of[n->id], nest_filled(t, &without, c.type, scan_start(n), -1, 0));
  if (c.count > 1)
    kb_store_local(b, t->lost_of[n->id], nest_filled(t, &without, c.type, (scalar){.f = 0}, -1, 0));
  nest_close(t, o);
  nest_forget(b);
}

void nest_emit_scan(nest *t, const node *n) {
  kbuild *b = t->b;
  nest_loops s = scan_loops(t, n);
  int axis = b->kaxis[n->attr_axes[0]], kept[MAX_AXES];
  bool carries = t->o.values[n->id].carries, exclusive = n->flags & NODE_EXCLUSIVE;
  node without = without_axis(n, kept);
  int o = nest_open(t, &without, &s);
  carried c = carried_of(t, n);
  const int bufs[2] = {t->carry_of[n->id], t->lost_of[n->id]};
  tval *from[2], *next[2];
  for (int i = 0; i < c.count; i++)
    from[i] = carries ? kb_load_local(b, bufs[i])
                      : nest_filled(t, &without, c.type, i ? (scalar){.f = 0} : scan_start(n), -1, 0);
  if (axis < 0) {  // nothing stands before a single element
    if (!exclusive) scan_advance(b, n, axis, from, 1, next);
    nest_keep(t, n, exclusive ? from[0] : next[0]);
    nest_close(t, o);
    return;
  }
  tstmt *loop = kb_loop(b, axis, 1, from, c.count);
  loop->reverse = n->flags & NODE_REVERSE;
  tval **now = loop->body->params, **shown = exclusive ? now : next;
  scan_advance(b, n, axis, now, c.count, next);
  tval *value = c.count > 1 ? kb_map(b, OP_add, c.type, shown[0], shown[1], NULL) : shown[0];
  nest_keep(t, n, kb_as_type(b, value, n->type));
  tval **ends = kb_end_loop(b, next, c.count);
  for (int i = 0; carries && i < c.count; i++) kb_store_local(b, bufs[i], ends[i]);
  nest_close(t, o);
}
