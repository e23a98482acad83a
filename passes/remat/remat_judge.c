// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// What a graph would be as kernels, by the fuse pass itself and by the places that its intermediate
// results would get. Nothing is kept of it.
#include "base/fault.h"
#include "passes/fusion/fuse.h"
#include "passes/remat/remat.h"

static double all_seconds(fusion *f) {
  double sum = 0;
  for (int i = 0; i < f->nclusters; i++) sum += clusters_seconds(f, i, -1);
  return sum;
}

/// By kernel: it works for later phases. Views and casts that were cloned into it say nothing of that.
static bool *later_kernels(const graph *g, arena *a) {
  bool *later = arena_array(a, bool, g->nkernels + 1);
  uint8_t *stored = arena_array(a, uint8_t, g->nodes.len);
  graph_stored(g, stored);
  for (int i = g->nparams; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (stored[i] && n->phase) later[n->kernel] = true;
  }
  return later;
}

/// Bytes in memory that the first phase makes for later ones, beside params and results.
static int64_t bytes_across(const graph *g, arena *a) {
  const bool *later = later_kernels(g, a);
  uint8_t *seen = arena_array(a, uint8_t, g->nodes.len);
  for (int i = 0; i < g->outputs.len; i++) seen[g->outputs.data[i].value->id] = 1;
  double sum = 0;
  for (int i = g->nparams; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    for (int k = 0; later[n->kernel] && k < n->nin; k++) {
      const node *in = n->in[k];
      if (in->phase || in->op == OP_param || in->kernel == n->kernel || seen[in->id]) continue;
      seen[in->id] = 1;
      sum += node_bytes(g, in);
    }
  }
  return sum < 9e18 ? (int64_t)sum : INT64_MAX;
}

remat_judgement remat_judge_divided(fusion *f, pass_ctx *ctx, arena *a) {
  remat_judgement j = {.possible = true, .seconds = all_seconds(f)};
  pass_options own = *ctx->options;
  own.choices = NULL;
  fusion_emit(f, false);
  j.kernels = ctx->graph->nkernels;
  j.memory = graph_temporaries(ctx->graph, &own);
  j.saved = bytes_across(ctx->graph, a);
  return j;
}

/// Of a graph that nobody needs afterwards.
static remat_judgement judge(graph *g, const pass_options *options, arena *a) {
  pass_options own = options ? *options : (pass_options){0};
  own.target = target_or_default(options);
  diag_list diags = {.arena = a};
  pass_ctx ctx = {g, a, &own, &diags};
  fusion f;
  if (!fusion_partition(&f, &ctx)) return (remat_judgement){0};
  return remat_judge_divided(&f, &ctx, a);
}

remat_judgement remat_judge(const graph *g, const pass_options *options) {
  scratch s;
  scratch_open(&s);
  remat_judgement j = judge(graph_copy(&s.arena, g), options, &s.arena);
  scratch_close(&s);
  return j;
}

remat_judgement remat_judge_plan(const graph *g, const bool *recomputed,
                                 const pass_options *options) {
  scratch s;
  scratch_open(&s);
  graph *copy = graph_copy(&s.arena, g);
  remat_clone(copy, recomputed);
  remat_judgement j = judge(copy, options, &s.arena);
  scratch_close(&s);
  return j;
}

/// The graph after the plan, in kernels.
static graph *fused_plan(arena *a, const graph *g, const bool *recomputed,
                         const pass_options *options) {
  graph *copy = graph_copy(a, g);
  remat_clone(copy, recomputed);
  diag_list diags = {.arena = a};
  pass_ctx ctx = {copy, a, options, &diags};
  fusion f;
  check(fusion_partition(&f, &ctx));
  fusion_emit(&f, false);
  return ctx.graph;
}

temporaries remat_allocated(const graph *g, const bool *recomputed, const pass_options *options) {
  scratch s;
  scratch_open(&s);
  pass_options own = *options;
  own.choices = NULL;
  const graph *fused = fused_plan(&s.arena, g, recomputed, &own);
  temporaries t = program_temporaries(lower_to_tiles(&s.arena, fused, &own));
  scratch_close(&s);
  return t;
}

memory_peak remat_peak(arena *a, const graph *g, const bool *recomputed,
                       const pass_options *options, const graph **fused) {
  *fused = fused_plan(a, g, recomputed, options);
  return graph_peak(a, *fused, options);
}

bool *remat_read_later(arena *a, const graph *g, const bool *recomputed,
                       const pass_options *options) {
  scratch s;
  scratch_open(&s);
  bool *read = arena_array(a, bool, g->nodes.len);
  graph *copy = graph_copy(&s.arena, g);
  node **of = arena_copy(&s.arena, copy->nodes.data, sizeof(node *) * (size_t)g->nodes.len);
  remat_clone(copy, recomputed);
  diag_list diags = {.arena = &s.arena};
  pass_ctx ctx = {copy, &s.arena, options, &diags};
  fusion f;
  check(fusion_partition(&f, &ctx));
  for (int id = g->nparams; id < g->nodes.len; id++) {
    int unit = of[id]->id;
    if (unit >= f.n || f.nodes[unit] != of[id] || !is_unit(&f, unit)) continue;
    ints readers = unit_reading_clusters(&f, unit);
    for (int i = 0; i < readers.len; i++)
      for (int k = 0; k < f.clusters[readers.data[i]].len; k++)
        read[id] |= f.nodes[f.clusters[readers.data[i]].data[k]]->phase > 0;
  }
  scratch_close(&s);
  return read;
}

// ---- the same bits

static bool is_sum_of_floats(const node *n) {
  op_class c = op_get(n->op)->class;
  return (c == CLASS_reduce || c == CLASS_contraction || c == CLASS_scan) &&
         dtype_is_float(n->type);
}

static bool same_place(const node *a, const node *b) {
  return a->op == b->op && a->type == b->type && a->at.file == b->at.file &&
         a->at.begin == b->at.begin && a->at.end == b->at.end && a->naxes == b->naxes;
}

/// By kernel number of the graph: the program's kernel, which equal ones share; -1 none.
static int *program_kernels(arena *a, const graph *g, const schedule_choices *made) {
  int *of = arena_array(a, int, g->nkernels + 1);
  for (int i = 0; i < g->nkernels; i++) of[i] = -1;
  for (int i = 0; i < made->kernels.len; i++) of[made->kernels.data[i]] = made->shared.data[i];
  return of;
}

/// Everything of the forward pass that the copy may be of is computed by its kernel.
static bool has_bits_of(const graph *g, const int *kernels, const node *copy) {
  bool any = false;
  for (int i = 0; i < g->nodes.len; i++) {
    const node *n = g->nodes.data[i];
    if (n->flags & NODE_RECOMPUTED || n->phase >= copy->phase || !same_place(n, copy)) continue;
    if (kernels[n->kernel] < 0 || kernels[n->kernel] != kernels[copy->kernel]) return false;
    any = true;
  }
  return any;
}

int remat_forbid_changed(const graph *g, const bool *recomputed, const pass_options *options,
                         remat_units *u) {
  scratch s;
  scratch_open(&s);
  schedule_choices made = {0};
  pass_options own = *options;
  own.choices = &made;
  const graph *fused = fused_plan(&s.arena, g, recomputed, &own);
  lower_to_tiles(&s.arena, fused, &own);
  const int *kernels = program_kernels(&s.arena, fused, &made);
  int forbidden = 0;
  for (int i = fused->nparams; i < fused->nodes.len; i++) {
    const node *copy = fused->nodes.data[i];
    if (!(copy->flags & NODE_RECOMPUTED) || copy->contract || !is_sum_of_floats(copy)) continue;
    if (has_bits_of(fused, kernels, copy)) continue;
    for (int id = 0; id < u->n; id++)
      if (u->delicate[id] && recomputed[id] && same_place(g->nodes.data[id], copy))
        remat_forbid(u, id), forbidden++;
  }
  scratch_close(&s);
  return forbidden;
}
