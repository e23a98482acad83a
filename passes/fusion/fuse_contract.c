// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Contracts: the nodes of a `fuse` block are one kernel that nothing else joins.
//
//   fuse { let m = max(x, T)            one cluster before the others look for neighbours:
//          return exp(x - m) }          {reduce_max, sub, exp}
//
// What a block may hold is what a kernel may hold (fuse_legality.c): a contract adds the promise, not
// the ability. A block that is no kernel is an error that names the node in the way, and the longest
// beginning of the block that would be one.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/fusion/outline.h"

static const contract *contract_of(const fusion *f, int number) {
  return &f->g->contracts.data[number];
}

int cluster_contract(const fusion *f, int cluster) {
  const ints *units = &f->clusters[cluster];
  return units->len ? f->nodes[units->data[0]]->contract : 0;
}

/// The units under contract `number` in one cluster; -1: it has none.
static int gather_units(fusion *f, int number, ints *units, ints *homes) {
  int cluster = -1;
  for (int id = 0; id < f->n; id++) {
    if (!is_unit(f, id) || f->nodes[id]->contract != number + 1) continue;
    vec_push(f->a, units, id);
    vec_push(f->a, homes, f->homes[id].data[0]);
    if (cluster < 0) cluster = f->homes[id].data[0];
    else clusters_merge(f, cluster, f->homes[id].data[0]);
  }
  return cluster;
}

static const char *op_title(const node *n) {
  return n->op == OP_call ? "call" : n->op == OP_pad ? "concat` or `pad" : op_get(n->op)->name;
}

/// Leaves the first `count` of the block's units in its cluster, of `now` that are in it.
static void keep_first(fusion *f, int cluster, const ints *units, const ints *homes, int now,
                       int count) {
  for (int i = now; i > count; i--) {
    cluster_remove(f, cluster, units->data[i - 1]);
    cluster_add(f, homes->data[i - 1], units->data[i - 1]);
  }
  for (int i = now; i < count; i++) {
    cluster_remove(f, homes->data[i], units->data[i]);
    cluster_add(f, cluster, units->data[i]);
  }
}

/// The line of the last unit of a beginning of the block that is one kernel, while one unit more is none;
/// 0 none. Such a place is found by halving, which asks little of long blocks.
static int line_that_holds(fusion *f, const diag_list *diags, int cluster, const ints *units,
                           const ints *homes) {
  int holds = 0, fails = units->len, now = units->len;
  for (int step = 1; fails - holds > 1; step *= 2) {
    // From the end, since most of a block is right.
    int half = (holds + fails) / 2, count = holds || fails - step < half ? half : fails - step;
    keep_first(f, cluster, units, homes, now, count);
    now = count;
    if (clusters_legal(f, cluster, -1, NULL).ok) holds = count;
    else fails = count;
  }
  span at = holds ? f->nodes[units->data[holds - 1]]->at : (span){0};
  return at.file ? diag_line_col(diags, at).line : 0;
}

static void note_calls(diag_list *diags, diag *d, const contract *c) {
  for (int i = 0; i < c->ncalls; i++)
    diag_add_note(diags, d, c->calls[i].at, "in this call of `%.*s`", STR_FMT(c->calls[i].function));
}

static void promise_note(diag_list *diags, diag *d, const contract *c) {
  diag_add_note(
      diags, d, c->at,
      c->gradient ? "the derivative of this block is streamed too; without `stream` it need not be"
                  : "this block promises one kernel");
  note_calls(diags, d, c);
  if (c->asked.file) diag_add_note(diags, d, c->asked, "which is asked for here");
}

static str axis_names(fusion *f, const int *axes, int n) {
  strbuf out = sb_new(f->a);
  for (int i = 0; i < n; i++)
    sb_printf(&out, "%s%.*s", i ? ", " : "", STR_FMT(f->g->axes.data[axes[i]].name));
  return sb_str(&out);
}

/// "f32[S, T]", and how many bytes where sizes are known.
static str type_and_bytes(fusion *f, const node *n) {
  strbuf out = sb_new(f->a);
  sb_puts(&out, dtype_name(n->type));
  if (n->naxes) sb_printf(&out, "[%.*s]", STR_FMT(axis_names(f, n->axes, n->naxes)));
  int64_t bytes = dtype_bytes(n->type), size;
  for (int k = 0; k < n->naxes; k++) {
    if (!ix_is_const(&f->g->ix, graph_axis_size(f->g, n->axes[k]), &size)) return sb_str(&out);
    bytes = estimate_times(bytes, size);
  }
  sb_printf(&out, " (%lld bytes)", (long long)bytes);
  return sb_str(&out);
}

// ---- streams

/// The op walks a streamed axis.
static bool walks_along(const contract *c, const node *n) {
  bool walks = false;
  for (int k = 0; op_get(n->op)->class != CLASS_leaf && k < n->nattr_axes; k++)
    walks |= axes_have(c->axes, c->naxes, n->attr_axes[k]);
  return walks;
}

/// Walks over the streamed axes, and the node that needs the last of them.
static int count_walks(fusion *f, const candidate *set, const contract *c, outline *o,
                       const node **last) {
  reason why;
  int at, total = 0;
  if (!outline_make(o, f->a, f->g, set->nodes, set->n, set->member, set->stored, c, &why, &at))
    return 0;
  for (int i = 0; i < set->n; i++) {
    const outline_value *v = &o->values[set->nodes[i]->id];
    bool works = v->state || (v->streamed && set->stored[set->nodes[i]->id]);
    if (works && v->walk > total) total = v->walk, *last = set->nodes[i];
  }
  return total;
}

/// The block walks no more often than it may.
static bool walks_allowed(fusion *f, int cluster, const contract *c) {
  candidate all = fusion_candidate(f, cluster, -1), set = fuse_through(&all, &f->scratch);
  const node *last;
  outline o;
  return !c->passes || count_walks(f, &set, c, &o, &last) <= c->passes;
}

// ---- what is no kernel

/// The GPU with the least memory on chip that holds what the target does not; null: none does.
static const target_info *find_roomy(fusion *f, int cluster) {
  const target_info *best = NULL;
  const char *name, *summary;
  candidate set = fusion_candidate(f, cluster, -1);
  for (int i = 0; target_named_row(i, &name, &summary); i++) {
    const char *arch = strchr(name, ':');
    const target_info *t = arch ? target_gpu(str_from(arch + 1)) : NULL;
    if (!t || (best && best->shared_per_block <= t->shared_per_block)) continue;
    set.target = t;
    if (fuse_legal(&set, &f->scratch, NULL).ok) best = t;
  }
  return best;
}

/// The kind of obstacle; *roomy: the target that would do.
static int code_of(fusion *f, int cluster, verdict v, const target_info **roomy) {
  *roomy = NULL;
  if (v.why == REASON_indirect_along_stream) return DIAG_stored_along_stream;
  if (v.why != REASON_on_chip) return DIAG_not_one_kernel;
  *roomy = find_roomy(f, cluster);
  return *roomy ? DIAG_target_is_short : DIAG_does_not_fit;
}

/// The block is one kernel where values along the streamed axes may be kept.
static bool holds_unstreamed(fusion *f, int cluster, const contract *c) {
  contract plain = *c;
  plain.streamed = false;
  plain.naxes = 0;
  candidate set = fusion_candidate(f, cluster, -1);
  set.promise = &plain;
  return fuse_legal(&set, &f->scratch, NULL).ok;
}

static void report(fusion *f, diag_list *diags, int number, int cluster, verdict v,
                   const ints *units, const ints *homes) {
  const contract *c = contract_of(f, number);
  const node *at = v.node >= 0 ? f->nodes[v.node] : NULL;
  const target_info *roomy;
  int code = code_of(f, cluster, v, &roomy);
  const char *of = c->gradient ? "the derivative of " : "";
  diag *d;
  if (at)
    d = diag_error(diags, code, at->at.file ? at->at : c->at,
                   "`%s` does not fit into the kernel of %sthis block on %.*s: %s (%s)",
                   op_title(at), of, STR_FMT(f->target->name), reason_text(v.why),
                   reason_name(v.why));
  else
    d = diag_error(diags, code, c->at, "%sthis block is not one kernel on %.*s: %s (%s)", of,
                   STR_FMT(f->target->name), reason_text(v.why), reason_name(v.why));
  if (v.detail.len) diag_add_note(diags, d, (span){0}, "%.*s", STR_FMT(v.detail));
  if (v.why == REASON_indirect_along_stream)
    diag_add_note(diags, d, at->in[0]->at, "%.*s would be in memory", STR_FMT(type_and_bytes(f, at->in[0])));
  promise_note(diags, d, c);
  if (c->streamed && v.why == REASON_part_of_stream && holds_unstreamed(f, cluster, c))
    diag_add_note(diags, d, (span){0}, "without `stream` the block is one kernel");
  if (roomy && walks_allowed(f, cluster, c)) diag_add_note(diags, d, (span){0}, "on %.*s it is one kernel", STR_FMT(roomy->name));
  else if (code == DIAG_does_not_fit && walks_allowed(f, cluster, c))
    diag_add_note(diags, d, (span){0}, "on a CPU it is one kernel");
  int line = line_that_holds(f, diags, cluster, units, homes);
  // A block on one line says nothing by it.
  bool before = line && (!at || !at->at.file || line < (int)diag_line_col(diags, at->at).line);
  if (before) diag_add_note(diags, d, (span){0}, "up to line %d it is one kernel", line);
}

// ---- what walks too often, or nothing

/// The result is the value, perhaps seen through a view.
static bool lies_in(const node *result, const node *n) {
  return result == n || (result->op == OP_view && result->in[0] == n);
}

/// A result along the stream that waits for its reductions.
static void report_stored(fusion *f, diag_list *diags, const contract *c, const node *n, int total) {
  str along = axis_names(f, c->axes, c->naxes), name = STR("this");
  for (int i = 0; i < f->g->outputs.len; i++)
    if (lies_in(f->g->outputs.data[i].value, n)) name = str_printf(f->a, "`%.*s`", STR_FMT(f->g->outputs.data[i].name));
  diag *d = diag_error(diags, DIAG_stored_along_stream, n->at.file ? n->at : c->at,
                       "%.*s is written along %.*s when reductions over it have ended: in walk %d, and "
                       "`passes = %d` allows %d (%s)",
                       STR_FMT(name), STR_FMT(along), total, c->passes, c->passes,
                       reason_name(REASON_stored_along_stream));
  diag_add_note(diags, d, (span){0},
                "%.*s of results in memory; what the reductions gave is enough to compute them again where "
                "they are read",
                STR_FMT(type_and_bytes(f, n)));
  promise_note(diags, d, c);
  diag_add_note(diags, d, (span){0}, "with `passes = %d` the block is one kernel", total);
}

static void report_walks(fusion *f, diag_list *diags, const candidate *set, const contract *c,
                         const outline *outline, const node *last, int total) {
  span at = last->at.file ? last->at : c->at;
  diag *d = diag_error(diags, DIAG_too_many_walks, at,
                       "this needs walk %d over the streamed axes, and `passes = %d` allows %d",
                       total, c->passes, c->passes);
  obstacle o = outline_obstacle(outline, f->a, set->nodes, set->n, f->off, last);
  diag_add_note(diags, d, o.at->at.file ? o.at->at : at,
                "`%s` waits for a reduction over a streamed axis: %s (%s)", op_title(o.at),
                reason_text(o.why), reason_name(o.why));
  for (int i = 0; i < RULE_COUNT; i++)
    if (o.rules >> i & 1)
      diag_add_note(diags, d, (span){0}, "the rule `%s` is switched off", rule_name(i));
  promise_note(diags, d, c);
  diag_add_note(diags, d, (span){0}, "with `passes = %d` the block is one kernel", total);
}

/// Parameters that the block reads and that have the axis; or the view that makes it part of another, which
/// is what could be streamed.
static void note_where(fusion *f, diag_list *diags, diag *d, const candidate *set, int axis) {
  strbuf names = sb_new(f->a);
  int count = 0;
  for (int i = 0; i < set->n; i++) {
    const node *n = set->nodes[i];
    for (int k = 0; n->op == OP_view && k < n->in[0]->naxes; k++) {
      if (n->in[0]->axes[k] != axis) continue;
      for (int j = 0; j < n->naxes; j++)
        if (n->axes[j] != axis && ix_uses_axis(&f->g->ix, n->index[k], n->axes[j]))
          return diag_add_note(diags, d, n->at, "this view makes %.*s of %.*s, which could be streamed",
                               STR_FMT(f->g->axes.data[n->axes[j]].name), STR_FMT(f->g->axes.data[axis].name));
    }
  }
  for (int id = 0; id < f->g->nparams; id++) {
    const node *p = f->nodes[id];
    bool read = false;
    for (int i = 0; i < set->n && !read; i++)
      for (int k = 0; k < set->nodes[i]->nin; k++) read |= set->nodes[i]->in[k] == p;
    if (read && node_has_axis(p, axis)) sb_printf(&names, "%s`%.*s`", count++ ? ", " : "", STR_FMT(p->name));
  }
  if (count)
    diag_add_note(diags, d, (span){0}, "of what the block reads %.*s %s %.*s", STR_FMT(sb_str(&names)),
                  count > 1 ? "have" : "has", STR_FMT(f->g->axes.data[axis].name));
}

/// Every streamed axis is reduced by something in the block. Else there is an error, unless diags is null.
static bool check_axes(fusion *f, diag_list *diags, int number, int cluster) {
  const contract *c = contract_of(f, number);
  candidate set = fusion_candidate(f, cluster, -1);
  for (int k = 0; k < c->naxes; k++) {
    bool reduced = false;
    contract one = {.naxes = 1, .axes = &c->axes[k]};
    int64_t size;
    // Reductions over one element, or none, are computed while compiling.
    if (ix_is_const(&f->g->ix, graph_axis_size(f->g, c->axes[k]), &size) && size < 2) continue;
    for (int i = 0; i < set.n && !reduced; i++) reduced = walks_along(&one, set.nodes[i]);
    if (reduced) continue;
    if (!diags) return false;
    str name = f->g->axes.data[c->axes[k]].name;
    diag *d = diag_error(diags, DIAG_nothing_to_stream, c->at,
                         "nothing in the block is reduced over %.*s: streamed axes are those that `sum`, "
                         "`max`, `dot` and running combines walk",
                         STR_FMT(name));
    note_where(f, diags, d, &set, c->axes[k]);
    note_calls(diags, d, c);
    return false;
  }
  return true;
}

static bool check_passes(fusion *f, diag_list *diags, int number, int cluster) {
  const contract *c = contract_of(f, number);
  candidate all = fusion_candidate(f, cluster, -1), set = fuse_through(&all, &f->scratch);
  const node *last = NULL;
  outline o;
  int total = count_walks(f, &set, c, &o, &last);
  if (!c->passes || total <= c->passes) return true;
  if (walks_along(c, last)) report_walks(f, diags, &set, c, &o, last, total);
  else report_stored(f, diags, c, last, total);
  return false;
}

/// What was chosen without its surroundings is no kernel among them: its units are free again.
static void dissolve(fusion *f, int cluster, const ints *units, const ints *homes) {
  for (int i = units->len - 1; i >= 0; i--) {
    f->nodes[units->data[i]]->contract = 0;
    if (homes->data[i] == cluster) continue;
    cluster_remove(f, cluster, units->data[i]);
    cluster_add(f, homes->data[i], units->data[i]);
  }
}

/// Results that are returned through views: the block stores them so.
static void take_views(fusion *f, int cluster) {
  for (int id = 0; id < f->n; id++) {
    bool end = is_unit(f, id) && f->nodes[id]->op == OP_view && !f->nodes[id]->contract;
    if (!end || f->deps[id].len != 1 || !in_cluster(f, f->deps[id].data[0], cluster)) continue;
    int home = f->homes[id].data[0];
    clusters_merge(f, cluster, home);
    if (clusters_legal(f, cluster, -1, NULL).ok) continue;
    cluster_remove(f, cluster, id);
    cluster_add(f, home, id);
  }
}

bool fuse_contracts(fusion *f, diag_list *diags) {
  bool ok = true;
  for (int k = 0; k < f->g->contracts.len; k++) {
    ints units = {0}, homes = {0};
    int cluster = gather_units(f, k, &units, &homes);
    if (cluster < 0) continue;  // all of it was computed while compiling
    verdict v = clusters_legal(f, cluster, -1, NULL);
    bool chosen = contract_of(f, k)->chosen;
    if (chosen && (!v.ok || clusters_cyclic(f, cluster, -1))) dissolve(f, cluster, &units, &homes);
    if (chosen) continue;
    // Of a derivative that is nothing but maps along the axis, nothing has to be on chip.
    if (contract_of(f, k)->gradient && !check_axes(f, NULL, k, cluster)) {
      dissolve(f, cluster, &units, &homes);
      continue;
    }
    if (!check_axes(f, diags, k, cluster)) {
      ok = false;
      continue;
    }
    if (v.ok && clusters_cyclic(f, cluster, -1)) v = (verdict){.why = REASON_cycle, .node = -1};
    if (v.ok && f->ordered && contract_of(f, k)->unordered) v = (verdict){.why = REASON_unordered_sum, .node = -1};
    if (!v.ok) {
      report(f, diags, k, cluster, v, &units, &homes);
      ok = false;
    } else {
      ok &= check_passes(f, diags, k, cluster);
      take_views(f, cluster);
    }
  }
  return ok;
}
