// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a contract promises of a kernel and how it holds, in a line.
//
//   fuse stream(T): 1 walk over T; states max %11 (the frame of sum %14, dot %17)
#include "passes/explain/explain_format.h"
#include "passes/fusion/outline.h"

static void put_axes(const graph *g, const int *axes, int n, strbuf *out) {
  for (int i = 0; i < n; i++)
    sb_printf(out, "%s%.*s", i ? ", " : "", STR_FMT(g->axes.data[axes[i]].name));
}

static void put_node(const node *n, strbuf *out) {
  sb_printf(out, "%s %%%d", op_get(n->op)->name, n->id);
}

/// "reduce_max %11 (the frame of sum %14, dot %17), sum %20"
static void put_states(const outline *o, const group *grp, strbuf *out) {
  bool any = false;
  for (int i = 0; i < grp->nodes.len; i++) {
    const node *n = grp->nodes.data[i];
    const outline_value *v = &o->values[n->id];
    if (!v->state || v->frame) continue;
    sb_puts(out, any ? ", " : "; states ");
    any = true;
    put_node(n, out);
    bool framed = false;
    for (int k = 0; k < grp->nodes.len; k++) {
      const node *other = grp->nodes.data[k];
      if (o->values[other->id].frame != n) continue;
      sb_puts(out, framed ? ", " : " (the frame of ");
      framed = true;
      put_node(other, out);
    }
    if (framed) sb_putc(out, ')');
  }
}

str explain_contract(arena *a, const graph *g, const group *grp) {
  const contract *c = group_contract(g, grp->nodes.data[0]);
  strbuf out = sb_new(a);
  if (!c) return STR("");
  sb_puts(&out, c->chosen ? "none: chosen by cost as fuse" : "fuse");
  if (!c->streamed) return sb_str(&out);
  sb_puts(&out, " stream(");
  put_axes(g, c->axes, c->naxes, &out);
  sb_putc(&out, ')');
  outline o;
  if (!outline_of_group(&o, a, g, grp)) return sb_str(&out);
  sb_printf(&out, ": %d walk%s over ", o.walks, o.walks == 1 ? "" : "s");
  put_axes(g, c->axes, c->naxes, &out);
  put_states(&o, grp, &out);
  return sb_str(&out);
}
