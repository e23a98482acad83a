// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a contract promises of a kernel and how it holds.
//
//   fuse stream(T): 1 walk over T; states reduce_max %11 (the frame of sum %14, dot %17);
//   by late_factors, exponents, frames, roundings; 48% of the steps are skipped
//   fuse stream(T): ...; loop nests, not products of warpgroups: D has 512 elements: ... (stream_head)
//   fuse stream(T): 2 walks over T; ...; sum %9 is in walk 2 because it waits for sum %5, which no rule takes
//   out of `where` at 3:16: the condition waits for a reduction over the streamed axis (condition_waits)
//   fuse stream(S) gradient: ...; blocks add up in memory, in no order, dot %38
//   fuse; in memory dot %3 (4.2 MB)
#include "passes/explain/explain_format.h"
#include "passes/fusion/fuse.h"
#include "passes/fusion/stream_form.h"

static void put_axes(const graph *g, const int *axes, int n, strbuf *out) {
  for (int i = 0; i < n; i++)
    sb_printf(out, "%s%.*s", i ? ", " : "", STR_FMT(g->axes.data[axes[i]].name));
}

static str label(arena *a, const outline *o, const node *n) {
  if (!n) return STR("");
  return str_printf(a, "%s %%%d", o->values[n->id].is_centre ? "running mean" : op_get(n->op)->name,
                    n->id);
}

/// Why the value is not in the first walk.
static void add_later(arena *a, const outline *o, const group *grp, unsigned off, const node *n,
                      const node *waits, explain_contract *c) {
  obstacle found = outline_obstacle(o, a, grp->nodes.data, grp->nodes.len, off, n);
  explain_later l = {.value = label(a, o, n),
                     .walk = o->values[n->id].walk,
                     .waits = label(a, o, waits),
                     .why = found.why,
                     .obstacle = str_from(op_get(found.at->op)->name),
                     .at = found.at->at,
                     .rules = found.rules};
  vec_push(a, &c->later, l);
}

static void add_states(arena *a, const outline *o, unsigned off, const group *grp,
                       const uint8_t *stored, explain_contract *c) {
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
    if (v->walk > 1 && latest && (v->state || (v->streamed && stored[n->id])))
      add_later(a, o, grp, off, n, latest, c);
    if (v->added) vec_push(a, &c->added, label(a, o, n));
    if (!v->state && !v->is_centre && !v->carries) continue;
    const node *frame = v->ncentres ? v->centres[0] : v->frame;
    explain_state s = {.value = label(a, o, n), .walk = v->walk, .frame = label(a, o, frame)};
    if (v->frame) c->rules |= RULE_frames;
    vec_push(a, &c->states, s);
  }
}

/// Why registers of warpgroups do not hold the states, where the target has such.
static str other_form(arena *a, const target_info *t, const outline *o, const group *grp,
                      const uint8_t *member, const uint8_t *stored) {
  stream_form f;
  reason why;
  int at;
  str detail;
  if (grp->kind != GROUP_NEST || !t->wgmma || !grp->anchor ||
      stream_form_of(&f, o, a, grp->nodes.data, grp->nodes.len, member, stored, &why, &at, &detail))
    return STR("");
  if (!detail.len) detail = str_from(reason_text(why));
  return str_printf(a, "%.*s (%s)", STR_FMT(detail), reason_name(why));
}

/// What of it goes through memory between the nests of a block.
static void add_memory(arena *a, const target_info *t, outline *o, const group *grp,
                       const uint8_t *stored, explain_contract *c) {
  reason why;
  int at;
  str detail;
  if (grp->kind != GROUP_NEST || !t->sm) return;
  if (!outline_place(o, a, grp->nodes.data, grp->nodes.len, outline_room(t), &why, &at, &detail)) return;
  for (int i = 0; i < grp->nodes.len; i++) {
    const node *n = grp->nodes.data[i];
    if (!o->values[n->id].in_memory || stored[n->id]) continue;
    strbuf text = sb_new(a);
    sb_printf(&text, "%s %%%d (", op_get(n->op)->name, n->id);
    explain_put_scaled(&text, node_bytes(o->g, n), "B");
    sb_putc(&text, ')');
    vec_push(a, &c->memory, sb_str(&text));
  }
}

explain_contract explain_contract_of(arena *a, const graph *g, const target_info *t, unsigned off,
                                     const group *grp, const kernel *k) {
  const contract *promise = group_contract(g, grp->nodes.data[0]);
  explain_contract c = {.there = promise};
  if (!promise) return c;
  strbuf text = sb_new(a), axes = sb_new(a);
  put_axes(g, promise->axes, promise->naxes, &axes);
  c.axes = sb_str(&axes);
  sb_puts(&text, promise->streamed ? "fuse stream(" : "fuse");
  if (promise->streamed) sb_printf(&text, "%.*s)", STR_FMT(c.axes));
  if (promise->gradient) sb_puts(&text, " gradient");
  c.promise = sb_str(&text);
  c.chosen = promise->chosen;
  c.rules = promise->rules;
  outline o;
  if (!outline_of_group(&o, a, g, grp)) return c;
  uint8_t *member = arena_array(a, uint8_t, g->nodes.len), *stored = arena_array(a, uint8_t, g->nodes.len);
  for (int i = 0; i < grp->nodes.len; i++) member[grp->nodes.data[i]->id] = 1;
  for (int i = 0; i < grp->outputs.len; i++) stored[grp->outputs.data[i]->id] = 1;
  if (promise->streamed) {
    c.walks = o.walks;
    add_states(a, &o, off, grp, stored, &c);
    c.other_form = other_form(a, t, &o, grp, member, stored);
    if (k) c.skipped = kernel_skipped_share(k);
    if (k) c.skips_by_data = kernel_skips_by_data(k);
  }
  add_memory(a, t, &o, grp, stored, &c);
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

/// "; sum %9 is in walk 2 because it waits for sum %5, which no rule takes out of `where` at 3:16: the
/// condition waits for a reduction over the streamed axis (condition_waits)"; or ", which roundings,
/// switched off, would take out of `cast` at 4:9: ..."
static void put_later(const explain_later *l, const diag_list *files, strbuf *out) {
  const char *lead = ", which ";
  sb_printf(out, "; %.*s is in walk %d because it waits for %.*s", STR_FMT(l->value), l->walk,
            STR_FMT(l->waits));
  for (int i = 0; i < RULE_COUNT; i++) {
    if (!(l->rules >> i & 1)) continue;
    sb_printf(out, "%s%s", lead, rule_name(i));
    lead = ", ";
  }
  sb_puts(out, l->rules                               ? ", switched off, would take out of"
               : l->why == REASON_stored_along_stream ? ":"
                                                      : ", which no rule takes out of");
  sb_printf(out, " `%.*s`", STR_FMT(l->obstacle));
  if (files && l->at.file) sb_puts(out, " at ");
  explain_put_position(out, files, l->at, false);
  if (l->why != REASON_rule_off) sb_printf(out, ": %s", reason_text(l->why));
  sb_printf(out, " (%s)", reason_name(l->why));
}

str explain_contract_text(arena *a, const explain_contract *c, const diag_list *files) {
  strbuf out = sb_new(a);
  if (!c->there) return STR("");
  sb_printf(&out, "%s%.*s", c->chosen ? "none: chosen by cost as " : "", STR_FMT(c->promise));
  if (c->walks)
    sb_printf(&out, ": %d walk%s over %.*s", c->walks, c->walks == 1 ? "" : "s", STR_FMT(c->axes));
  put_states(c, &out);
  for (int i = 0; i < c->later.len; i++) put_later(&c->later.data[i], files, &out);
  for (int i = 0, any = 0; i < RULE_COUNT; i++)
    if (c->rules >> i & 1) sb_printf(&out, "%s%s", any++ ? ", " : "; by ", rule_name(i));
  if (c->skipped > 0) sb_printf(&out, "; %.0f%% of the steps are skipped", 100 * c->skipped);
  if (c->skips_by_data) sb_puts(&out, c->skipped > 0 ? ", others where data says so" : "; steps are skipped where data says so");
  if (c->other_form.len)
    sb_printf(&out, "; loop nests, not products of warpgroups: %.*s", STR_FMT(c->other_form));
  for (int i = 0; i < c->added.len; i++)
    sb_printf(&out, "%s%.*s", i ? ", " : "; blocks add up in memory, in no order, ",
              STR_FMT(c->added.data[i]));
  for (int i = 0; i < c->memory.len; i++)
    sb_printf(&out, "%s%.*s", i ? ", " : "; in memory ", STR_FMT(c->memory.data[i]));
  return sb_str(&out);
}
