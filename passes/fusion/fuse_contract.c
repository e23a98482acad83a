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
#include "passes/rewrite/factor.h"

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

/// The line of the last unit of the longest beginning of the block that is one kernel; 0 none.
static int line_that_holds(fusion *f, const diag_list *diags, int cluster, const ints *units,
                           const ints *homes) {
  for (int i = units->len - 1; i > 0; i--) {
    cluster_remove(f, cluster, units->data[i]);
    cluster_add(f, homes->data[i], units->data[i]);
    if (!clusters_legal(f, cluster, -1, NULL).ok) continue;
    span at = f->nodes[units->data[i - 1]]->at;
    return at.file ? diag_line_col(diags, at).line : 0;
  }
  return 0;
}

static void promise_note(diag_list *diags, diag *d, const contract *c) {
  diag_add_note(diags, d, c->at, "this block promises one kernel");
}

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

static void report(fusion *f, diag_list *diags, int number, int cluster, verdict v,
                   const ints *units, const ints *homes) {
  const contract *c = contract_of(f, number);
  const node *at = v.node >= 0 ? f->nodes[v.node] : NULL;
  const target_info *roomy;
  int code = code_of(f, cluster, v, &roomy);
  diag *d;
  if (at)
    d = diag_error(diags, code, at->at.file ? at->at : c->at,
                   "`%s` does not fit into the kernel of this block on %.*s: %s (%s)", op_title(at),
                   STR_FMT(f->target->name), reason_text(v.why), reason_name(v.why));
  else
    d = diag_error(diags, code, c->at, "this block is not one kernel on %.*s: %s (%s)",
                   STR_FMT(f->target->name), reason_text(v.why), reason_name(v.why));
  if (v.detail.len) diag_add_note(diags, d, (span){0}, "%.*s", STR_FMT(v.detail));
  promise_note(diags, d, c);
  if (roomy) diag_add_note(diags, d, (span){0}, "on %.*s it is one kernel", STR_FMT(roomy->name));
  else if (code == DIAG_does_not_fit) diag_add_note(diags, d, (span){0}, "on a CPU it is one kernel");
  int line = line_that_holds(f, diags, cluster, units, homes);
  // A block on one line says nothing by it.
  bool before = line && (!at || !at->at.file || line < (int)diag_line_col(diags, at->at).line);
  if (before) diag_add_note(diags, d, (span){0}, "up to line %d it is one kernel", line);
}

// ---- streams

static bool streams(const contract *c, int axis) {
  for (int i = 0; i < c->naxes; i++)
    if (c->axes[i] == axis) return true;
  return false;
}

/// The op walks a streamed axis.
static bool walks_along(const contract *c, const node *n) {
  bool walks = false;
  for (int k = 0; op_get(n->op)->class != CLASS_leaf && k < n->nattr_axes; k++)
    walks |= streams(c, n->attr_axes[k]);
  return walks;
}

/// Walks over the streamed axes, and the node that needs the last of them.
static int count_walks(fusion *f, const candidate *set, const contract *c, const node **last) {
  outline o;
  reason why;
  int at, total = 0;
  if (!outline_make(&o, f->a, f->g, set->nodes, set->n, set->member, set->stored, c, &why, &at))
    return 0;
  for (int i = 0; i < set->n; i++) {
    const outline_value *v = &o.values[set->nodes[i]->id];
    bool works = v->state || (v->streamed && set->stored[set->nodes[i]->id]);
    if (works && v->walk > total) total = v->walk, *last = set->nodes[i];
  }
  return total;
}

/// Why no rule takes what waits out of the state's elements.
static obstacle obstacle_of(fusion *f, const candidate *set, const contract *c, const node *state) {
  uint8_t *waits = arena_array(f->a, uint8_t, 64 * f->g->nodes.len);
  for (int i = 0; i < set->n; i++) {
    const node *n = set->nodes[i];
    waits[n->id] = walks_along(c, n) && op_get(n->op)->class != CLASS_scan;
    for (int k = 0; k < n->nin; k++) waits[n->id] |= waits[n->in[k]->id];
  }
  factoring how = {.g = f->g, .waits = waits, .axes = c->axes, .naxes = c->naxes,
                   .off = f->off, .obstacle = {.why = REASON_COUNT}};
  term t;
  int count = f->g->nodes.len;
  for (int k = 0; k < state->nin; k++)
    if (waits[state->in[k]->id] && !factor_value(&how, state->in[k], &t)) break;
  f->g->nodes.len = count;  // what was built for the question
  return how.obstacle;
}

static str axis_names(fusion *f, const int *axes, int n) {
  strbuf out = sb_new(f->a);
  for (int i = 0; i < n; i++)
    sb_printf(&out, "%s%.*s", i ? ", " : "", STR_FMT(f->g->axes.data[axes[i]].name));
  return sb_str(&out);
}

/// A result along the stream that waits for its reductions.
static void report_stored(fusion *f, diag_list *diags, const contract *c, const node *n, int total) {
  str along = axis_names(f, c->axes, c->naxes), axes = axis_names(f, n->axes, n->naxes);
  diag *d = diag_error(diags, DIAG_stored_along_stream, n->at.file ? n->at : c->at,
                       "this is written along %.*s when reductions over it have ended: in walk %d, and "
                       "`passes = %d` allows %d (%s)",
                       STR_FMT(along), total, c->passes, c->passes, reason_name(REASON_stored_along_stream));
  diag_add_note(diags, d, (span){0},
                "%s[%.*s] of results in memory; what the reductions gave is enough to compute them again where "
                "they are read",
                dtype_name(n->type), STR_FMT(axes));
  promise_note(diags, d, c);
  diag_add_note(diags, d, (span){0}, "with `passes = %d` the block is one kernel", total);
}

static void report_walks(fusion *f, diag_list *diags, const candidate *set, const contract *c,
                         const node *last, int total) {
  span at = last->at.file ? last->at : c->at;
  diag *d = diag_error(diags, DIAG_too_many_walks, at,
                       "this needs walk %d over the streamed axes, and `passes = %d` allows %d",
                       total, c->passes, c->passes);
  obstacle o = obstacle_of(f, set, c, last);
  if (o.why != REASON_COUNT)
    diag_add_note(diags, d, o.at && o.at->at.file ? o.at->at : at,
                  "`%s` waits for a reduction over a streamed axis: %s (%s)", op_title(o.at),
                  reason_text(o.why), reason_name(o.why));
  promise_note(diags, d, c);
  diag_add_note(diags, d, (span){0}, "with `passes = %d` the block is one kernel", total);
}

/// Parameters and other values from before the block that have the axis.
static void note_where(fusion *f, diag_list *diags, diag *d, const candidate *set, int axis) {
  strbuf names = sb_new(f->a);
  for (int id = 0; id < f->g->nparams; id++) {
    const node *p = f->nodes[id];
    bool read = false;
    for (int i = 0; i < set->n && !read; i++)
      for (int k = 0; k < set->nodes[i]->nin; k++) read |= set->nodes[i]->in[k] == p;
    if (read && node_has_axis(p, axis)) sb_printf(&names, "%s`%.*s`", names.len ? ", " : "", STR_FMT(p->name));
  }
  if (names.len)
    diag_add_note(diags, d, (span){0}, "of what the block reads %.*s has %.*s", STR_FMT(sb_str(&names)),
                  STR_FMT(f->g->axes.data[axis].name));
}

static bool check_stream(fusion *f, diag_list *diags, int number, int cluster) {
  const contract *c = contract_of(f, number);
  candidate all = fusion_candidate(f, cluster, -1), set = fuse_through(&all, f->a);
  const node *last = NULL;
  int total = count_walks(f, &set, c, &last);
  for (int k = 0; k < c->naxes; k++) {
    bool reduced = false;
    contract one = {.naxes = 1, .axes = &c->axes[k]};
    int64_t size;
    // Reductions over one element, or none, are computed while compiling.
    if (ix_is_const(&f->g->ix, graph_axis_size(f->g, c->axes[k]), &size) && size < 2) continue;
    for (int i = 0; i < set.n && !reduced; i++) reduced = walks_along(&one, set.nodes[i]);
    if (reduced) continue;
    str name = f->g->axes.data[c->axes[k]].name;
    diag *d = diag_error(diags, DIAG_nothing_to_stream, c->at,
                         "nothing in the block is reduced over %.*s: streamed axes are those that `sum`, "
                         "`max`, `dot` and running combines walk",
                         STR_FMT(name));
    note_where(f, diags, d, &set, c->axes[k]);
    return false;
  }
  if (!c->passes || total <= c->passes) return true;
  if (walks_along(c, last)) report_walks(f, diags, &set, c, last, total);
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
    if (v.ok && clusters_cyclic(f, cluster, -1)) v = (verdict){.why = REASON_cycle, .node = -1};
    if (!v.ok) {
      report(f, diags, k, cluster, v, &units, &homes);
      ok = false;
    } else {
      if (contract_of(f, k)->streamed) ok &= check_stream(f, diags, k, cluster);
      take_views(f, cluster);
    }
  }
  return ok;
}
