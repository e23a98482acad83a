// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a contract promises of a kernel and how it holds.
//
//   fuse stream(T): 1 walk over T; states reduce_max %11 (the frame of sum %14, dot %17);
//   by late_factors, exponents, frames, roundings; 48% of the steps are skipped
#include "passes/explain/explain_format.h"
#include "passes/fusion/outline.h"

static void put_axes(const graph *g, const int *axes, int n, strbuf *out) {
  for (int i = 0; i < n; i++)
    sb_printf(out, "%s%.*s", i ? ", " : "", STR_FMT(g->axes.data[axes[i]].name));
}

static str label(arena *a, const node *n) {
  return n ? str_printf(a, "%s %%%d", op_get(n->op)->name, n->id) : STR("");
}


static void add_states(arena *a, const outline *o, const group *grp, explain_contract *c) {
  // By node id: the state of the latest walk that a value is made of, through what is no state.
  const node **from = arena_array(a, const node *, o->g->nodes.len);
  for (int i = 0; i < grp->nodes.len; i++) {
    const node *n = grp->nodes.data[i];
    const outline_value *v = &o->values[n->id];
    const node *latest = NULL;
    for (int k = 0; k < n->nin; k++) {
      const node *one = from[n->in[k]->id];
      if (one && (!latest || o->values[one->id].walk > o->values[latest->id].walk)) latest = one;
    }
    from[n->id] = v->state ? n : latest;
    if (!v->state) continue;
    explain_state s = {.value = label(a, n), .walk = v->walk, .frame = label(a, v->frame)};
    if (v->frame) c->rules |= RULE_frames;
    if (v->walk > 1) s.waits = label(a, latest);
    vec_push(a, &c->states, s);
  }
}

explain_contract explain_contract_of(arena *a, const graph *g, const group *grp, const kernel *k) {
  const contract *promise = group_contract(g, grp->nodes.data[0]);
  explain_contract c = {.there = promise};
  if (!promise) return c;
  strbuf text = sb_new(a), axes = sb_new(a);
  put_axes(g, promise->axes, promise->naxes, &axes);
  c.axes = sb_str(&axes);
  sb_puts(&text, promise->streamed ? "fuse stream(" : "fuse");
  if (promise->streamed) sb_printf(&text, "%.*s)", STR_FMT(c.axes));
  c.promise = sb_str(&text);
  c.chosen = promise->chosen;
  c.rules = promise->rules;
  outline o;
  if (!promise->streamed || !outline_of_group(&o, a, g, grp)) return c;
  c.walks = o.walks;
  add_states(a, &o, grp, &c);
  if (k) c.skipped = kernel_skipped_share(k);
  return c;
}

/// "reduce_max %11 (the frame of sum %14, dot %17), sum %20"
static void put_states(const explain_contract *c, strbuf *out) {
  const char *lead = "; states ";
  for (int i = 0; i < c->states.len; i++) {
    const explain_state *s = &c->states.data[i];
    if (s->frame.len) continue;
    sb_printf(out, "%s%.*s", lead, STR_FMT(s->value));
    lead = ", ";
    const char *open = " (the frame of ";
    for (int j = 0; j < c->states.len; j++) {
      if (!str_eq(c->states.data[j].frame, s->value)) continue;
      sb_printf(out, "%s%.*s", open, STR_FMT(c->states.data[j].value));
      open = ", ";
    }
    if (open[0] == ',') sb_putc(out, ')');
  }
}

str explain_contract_text(arena *a, const explain_contract *c) {
  strbuf out = sb_new(a);
  if (!c->there) return STR("");
  sb_printf(&out, "%s%.*s", c->chosen ? "none: chosen by cost as " : "", STR_FMT(c->promise));
  if (!c->walks) return sb_str(&out);
  sb_printf(&out, ": %d walk%s over %.*s", c->walks, c->walks == 1 ? "" : "s", STR_FMT(c->axes));
  put_states(c, &out);
  for (int i = 0; i < c->states.len; i++) {
    const explain_state *s = &c->states.data[i];
    if (s->waits.len)
      sb_printf(&out, "; %.*s is in walk %d because it waits for %.*s", STR_FMT(s->value), s->walk,
                STR_FMT(s->waits));
  }
  for (int i = 0, any = 0; i < RULE_COUNT; i++)
    if (c->rules >> i & 1) sb_printf(&out, "%s%s", any++ ? ", " : "; by ", rule_name(i));
  if (c->skipped > 0) sb_printf(&out, "; %.0f%% of the steps are skipped", 100 * c->skipped);
  return sb_str(&out);
}
