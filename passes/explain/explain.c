// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// Builds the explanation of a fused graph: groups, their costs, the decisions.
#include "passes/explain/explain_format.h"

#include <math.h>
#include <string.h>

#include "base/fault.h"
#include "passes/fusion/fuse.h"

typedef struct explainer {
  arena *a;
  const graph *g;
  const target_info *t;
  unsigned off;  // rules of streams that are switched off
  explanation *e;
  uint8_t *stored;       // by node id
  node **over;           // graph_in_place()
  fuse_scratch scratch;
  double *param_bytes;   // by node id: the most any kernel reads of it
} explainer;

typedef struct lowered_kernel {
  const kernel *kernel;  // null: none, or a CPU's
  const explain_usage *usage;
  int before;             // kernels that come first: they find what the kernel goes by
  double before_seconds;  // predicted for these, on a GPU
} lowered_kernel;

const char *group_kind_name(group_kind k) {
  static const char *const names[] = {"map", "reduce", "contraction", "scan", "scatter", "host",
                                      "nests", "stream"};
  return names[k];
}

// ---- names

static str node_label(arena *a, const node *n) {
  if (n->op == OP_param) return n->name;
  return str_printf(a, "%s %%%d", op_get(n->op)->name, n->id);
}

static str type_text(const explainer *x, const node *n) {
  strbuf b = sb_new(x->a);
  sb_puts(&b, dtype_name(n->type));
  for (int i = 0; i < n->naxes; i++) {
    sb_puts(&b, i ? ", " : "[");
    sb_put(&b, x->g->axes.data[n->axes[i]].name);
  }
  if (n->naxes) sb_putc(&b, ']');
  return sb_str(&b);
}

static explain_buffer buffer_of(const explainer *x, const node *n) {
  explain_buffer b = {.value = n, .type = type_text(x, n), .role = ROLE_TEMP};
  b.bytes = (int64_t)node_bytes(x->g, n);
  b.name = str_printf(x->a, "%%%d", n->id);
  if (n->op == OP_param) b.role = ROLE_PARAM, b.name = n->name;
  for (int i = x->g->outputs.len - 1; i >= 0; i--)
    if (x->g->outputs.data[i].value == n) b.role = ROLE_OUTPUT, b.name = x->g->outputs.data[i].name;
  return b;
}

static bool counts_as_operator(const node *n) {
  op_class c = op_get(n->op)->class;
  return c != CLASS_leaf && c != CLASS_view;
}

static str list_ops(arena *a, const group *grp) {
  strbuf b = sb_new(a);
  for (int i = 0; i < grp->nodes.len; i++) {
    if (!counts_as_operator(grp->nodes.data[i])) continue;
    if (b.len) sb_puts(&b, ", ");
    sb_puts(&b, op_get(grp->nodes.data[i]->op)->name);
  }
  if (!b.len) sb_puts(&b, "copy");
  return sb_str(&b);
}

static void add_span(arena *a, explain_kernel *k, span at) {
  if (!at.file) return;
  for (int i = 0; i < k->spans.len; i++)
    if (k->spans.data[i].begin == at.begin && k->spans.data[i].end == at.end) return;
  vec_push(a, &k->spans, at);
}

// ---- costs

static candidate as_candidate(const explainer *x, const group *grp) {
  uint8_t *member = arena_array(x->a, uint8_t, x->g->nodes.len);
  for (int i = 0; i < grp->nodes.len; i++) member[grp->nodes.data[i]->id] = 1;
  return (candidate){.g = x->g, .nodes = grp->nodes.data, .n = grp->nodes.len, .member = member,
                     .stored = x->stored, .promise = group_contract(x->g, grp->nodes.data[0]),
                     .target = x->t};
}

/// The work of the group's operators if each element were computed once.
static double needed_flops(const explainer *x, const candidate *c) {
  double total = 0;
  for (int i = 0; i < c->n; i++) {
    const node *n = c->nodes[i];
    total += fmin(x->scratch.flops[n->id], fuse_node_flops(c, &x->scratch, n, node_count(x->g, n)));
  }
  return total;
}

/// After fuse_cost.
static void find_heaviest(const explainer *x, explain_kernel *k, const group *grp) {
  double by_op[OP_COUNT] = {0}, all = 0;
  int most = 0;
  for (int i = 0; i < grp->nodes.len; i++) {
    const node *n = grp->nodes.data[i];
    by_op[n->op] += x->scratch.work[n->id];
    all += x->scratch.work[n->id];
    if (by_op[n->op] > by_op[most]) most = n->op;
  }
  k->heaviest = all > 0 ? op_get((op)most)->name : NULL;
  k->heaviest_share = all > 0 ? by_op[most] / all : 0;
}

/// The roofline of a kernel whose memory_seconds and compute_seconds are known.
static void add_roof(explain_kernel *k) {
  double bytes = k->bytes_read + k->bytes_written,
         longer = fmax(k->memory_seconds, k->compute_seconds);
  k->intensity = bytes > 0 ? k->flops / bytes : 0;
  k->attainable = longer > 0 ? k->flops / longer : 0;
  k->balance = k->compute_seconds > 0 ? k->intensity * k->memory_seconds / k->compute_seconds : 0;
  k->roof_seconds =
      fmax(k->memory_seconds, k->compute_seconds * (k->flops > 0 ? k->needed_flops / k->flops : 0));
  k->roof_share = k->seconds > 0 ? k->roof_seconds / k->seconds : 0;
  k->bound = k->memory_seconds > k->compute_seconds ? BOUND_MEMORY : BOUND_COMPUTE;
}

static void add_cost(explainer *x, explain_kernel *k, const group *grp) {
  candidate c = as_candidate(x, grp);
  cost r = fuse_cost(&c, x->t, &x->scratch);
  const double *touched = fuse_input_bytes(&c, &x->scratch);
  for (int i = 0; i < k->inputs.len; i++) {
    int id = k->inputs.data[i].value->id;
    k->inputs.data[i].bytes = (int64_t)touched[id];
    x->param_bytes[id] = fmax(x->param_bytes[id], touched[id]);
  }
  k->bytes_read = r.bytes_read;
  k->bytes_written = r.bytes_written;
  // Nearly all of a streamed kernel's arithmetic is in its steps.
  double taken = 1 - k->contract.skipped, longer = fmax(r.memory_seconds, r.compute_seconds);
  k->flops = r.flops * taken;
  k->memory_seconds = r.memory_seconds;
  k->compute_seconds = r.compute_seconds * taken;
  k->seconds = r.seconds - longer + fmax(k->memory_seconds, k->compute_seconds);
  k->needed_flops = needed_flops(x, &c) * taken;
  k->needed_bytes = r.bytes_read + r.bytes_written;
  for (int i = 0; i < k->inputs.len; i++)
    if (k->inputs.data[i].role == ROLE_TEMP) k->needed_bytes -= (double)k->inputs.data[i].bytes;
  for (int i = 0; i < k->outputs.len; i++)
    if (k->outputs.data[i].role == ROLE_TEMP) k->needed_bytes -= (double)k->outputs.data[i].bytes;
  k->needed_bytes = fmax(0, k->needed_bytes);
  add_roof(k);
  find_heaviest(x, k, grp);
  if (r.launch_seconds > fmax(r.memory_seconds, r.compute_seconds)) k->bound = BOUND_LAUNCH;
}

/// What multiply-adds take longer than on the unit that the cost model took a contraction to have,
/// where its kernel has none.
static double without_unit(const explainer *x, const explain_kernel *k, const group *grp) {
  double plain = x->t->flops_per_second * x->t->cores, work = 0;
  if (k->schedule.unit && strcmp(k->schedule.unit, dot_unit_name(DOT_FMA))) return 0;
  for (int i = 0; i < grp->nodes.len; i++) {
    const node *n = grp->nodes.data[i];
    if (n->op == OP_dot) work += x->scratch.flops[n->id] - x->scratch.work[n->id];
  }
  return fmax(0, work) / plain;
}

/// With its schedule on a GPU, the kernel's prediction takes the unit and the blocks into account.
static void add_schedule(const explainer *x, explain_kernel *k, const group *grp,
                         const lowered_kernel *lowered) {
  double launch = k->seconds - fmax(k->memory_seconds, k->compute_seconds);
  k->schedule = explain_kernel_schedule(x->a, lowered->kernel, x->t, lowered->usage);
  if (grp->columns) k->schedule.column_sums = grp->columns->n, k->schedule.chunk_rows = grp->columns->length;
  k->compute_seconds += without_unit(x, k, grp);
  if (grp->kind == GROUP_NEST) {
    kernel_cost c = kernel_estimate(lowered->kernel);
    k->seconds = explain_nest_seconds(x->t, &k->schedule, &c, k->memory_seconds, k->compute_seconds, launch);
  } else {
    k->seconds = explain_gpu_seconds(x->t, &k->schedule, k->memory_seconds, k->compute_seconds, launch);
  }
  add_roof(k);
  double start = x->t->launch_seconds, work = k->seconds - start;
  if (start > work) k->bound = BOUND_LAUNCH;
  else if (work > 2 * fmax(k->memory_seconds, k->compute_seconds)) k->bound = BOUND_LATENCY;
}

// ---- kernels and edges

static void add_buffers(const explainer *x, explain_kernel *k, const group *grp) {
  for (int i = 0; i < grp->inputs.len; i++)
    vec_push(x->a, &k->inputs, buffer_of(x, grp->inputs.data[i]));
  for (int i = 0; i < grp->written.len; i++) {
    explain_buffer b = buffer_of(x, grp->written.data[i]);
    const node *over = x->over[b.value->id];
    if (over) b.over = buffer_of(x, over).name;
    vec_push(x->a, &k->outputs, b);
  }
}

static void add_edges(const explainer *x, explain_kernel *k) {
  const graph *g = x->g;
  for (int i = 0; i < g->decisions.len; i++) {
    const decision *d = &g->decisions.data[i];
    if (d->consumer < 0 || g->nodes.data[d->consumer]->kernel != k->number) continue;
    explain_edge edge = {.why = *d, .other_kernel = -1};
    edge.consumer = node_label(x->a, g->nodes.data[d->consumer]);
    if (d->producer >= 0) {
      const node *producer = g->nodes.data[d->producer];
      edge.producer = node_label(x->a, producer);
      if (!d->fused) edge.other_kernel = producer->kernel;
    }
    if (d->shared) edge.shared = buffer_of(x, g->nodes.data[d->shared - 1]).name;
    vec_push(x->a, &k->edges, edge);
  }
}

/// Of a scatter by rows, or of what adds to memory.
static str before_text(arena *a, const group *grp, const lowered_kernel *lowered) {
  strbuf out = sb_new(a);
  int n = lowered->before;
  const char *s = n == 1 ? "s" : "";
  sb_printf(&out, "%d kernel%s before it ", n, n == 1 ? "" : "s");
  if (grp->kind == GROUP_STREAM) sb_printf(&out, "store%s the zeros that its blocks add to", s);
  else sb_printf(&out, "list%s the updates by row, so that each row is stored once", s);
  if (lowered->before_seconds <= 0) return sb_str(&out);
  sb_puts(&out, "; of the prediction that is ");
  explain_put_seconds(&out, lowered->before_seconds);
  return sb_str(&out);
}

static void add_kernel(explainer *x, const group *grp, const lowered_kernel *lowered) {
  explain_kernel k = {.number = grp->kernel, .kind = grp->kind, .what = list_ops(x->a, grp)};
  const node *center = grp->anchor           ? grp->anchor
                       : grp->reductions.len ? grp->reductions.data[0]
                                             : grp->outputs.data[0];
  k.at = center->at;
  for (int i = 0; i < grp->written.len; i++) {
    int phase = grp->written.data[i]->phase;
    if (!i || phase < k.first_phase) k.first_phase = phase;
    if (phase > k.last_phase) k.last_phase = phase;
  }
  for (int i = 0; i < grp->nodes.len; i++) {
    const node *n = grp->nodes.data[i];
    if (!counts_as_operator(n)) continue;
    k.operators++;
    add_span(x->a, &k, n->at);
    x->e->unfused_bytes += node_bytes(x->g, n);
    for (int j = 0; j < n->nin; j++) x->e->unfused_bytes += node_bytes(x->g, n->in[j]);
  }
  k.contract = explain_contract_of(x->a, x->g, x->t, x->off, grp, lowered->kernel);
  add_buffers(x, &k, grp);
  add_edges(x, &k);
  add_cost(x, &k, grp);
  if (lowered->kernel && x->t->sm) add_schedule(x, &k, grp, lowered);
  k.seconds += lowered->before_seconds;
  k.roof_share = k.seconds > 0 ? k.roof_seconds / k.seconds : 0;
  explain_limits(x->a, x->t, &k);
  if (lowered->before) vec_push(x->a, &k.limits, before_text(x->a, grp, lowered));
  x->e->bytes += k.bytes_read + k.bytes_written;
  x->e->flops += k.flops;
  x->e->seconds += k.seconds;
  vec_push(x->a, &x->e->kernels, k);
}

str explain_assumed(arena *a, const graph *g, int symbol) {
  str name = g->symbols.data[symbol];
  const ix_fact *fact = ix_find_fact(&g->ix, name);
  int64_t size = fact && fact->estimate ? fact->estimate : 1024;
  return str_printf(a, "%.*s = %lld", STR_FMT(name), (long long)size);
}

/// What predictions depend on: on a GPU the kernels, and where steps of a contract may be left out.
static bool needs_kernels(const explainer *x) { return x->t->sm || x->g->contracts.len; }

/// Counts of updates and their order are small numbers in memory.
static double seconds_before(const target_info *t, const kernel *k) {
  kernel_cost c = kernel_estimate(k);
  double memory = (double)(c.bytes_read + c.bytes_written) / t->bytes_per_second;
  return t->launch_seconds + fmax(memory, (double)c.flops / (t->flops_per_second * t->cores));
}

/// The kernel of each group: the last of several, which computes what the group stores.
static lowered_kernel *lowered_kernels(const explainer *x, const program *p, const group *groups,
                                       int count, explain_ask *ask, void *ctx) {
  lowered_kernel *kernels = arena_array(x->a, lowered_kernel, count);
  if (!p) return kernels;
  bool needed = needs_kernels(x);
  explain_usage *usages = arena_array(x->a, explain_usage, p->kernels.len);
  if (ask && needed) ask(ctx, x->a, p, usages);
  for (int i = 0, step = 0; i < count; i++)
    for (int first = step; step < p->steps.len && p->steps.data[step].group == groups[i].kernel; step++) {
      const struct step *s = &p->steps.data[step];
      if (s->kind != STEP_KERNEL) continue;
      const kernel *before = step > first ? p->kernels.data[s[-1].kernel] : NULL;
      kernels[i].before = step - first;
      if (before && x->t->sm) kernels[i].before_seconds += seconds_before(x->t, before);
      if (!needed) continue;
      kernels[i].kernel = p->kernels.data[s->kernel];
      kernels[i].usage = &usages[s->kernel];
    }
  return kernels;
}

/// memory: what intermediates take is asked for.
static explanation *explain_graph(arena *a, const graph *g, const pass_options *options,
                                  bool memory, explain_ask *ask, void *ctx) {
  explanation *e = arena_new(a, explanation);
  *e = (explanation){.function = g->name, .target = target_or_default(options)};
  explainer x = {.a = a, .g = g, .t = e->target, .off = rules_switched_off(options), .e = e};
  int count;
  group *groups = graph_groups(g, e->target, a, &count);
  x.stored = arena_array(a, uint8_t, g->nodes.len);
  for (int i = 0; i < count; i++) {
    const column_form *f = groups[i].columns;
    for (int k = 0; k < groups[i].outputs.len; k++) x.stored[groups[i].outputs.data[k]->id] = 1;
    for (int k = 0; f && k < f->n; k++) x.stored[f->sums[k]->id] = 1;
  }
  x.scratch = fuse_scratch_new(a, g->nodes.len);
  x.param_bytes = arena_array(a, double, g->nodes.len);
  x.over = graph_in_place(g, e->target, groups, count, a);
  for (int i = 0; i < g->symbols.len; i++) vec_push(a, &e->assumed, explain_assumed(a, g, i));
  for (int i = 0; i < g->outputs.len; i++)
    e->needed_bytes += node_bytes(g, g->outputs.data[i].value);
  pass_options own = options ? *options : (pass_options){0};
  own.target = e->target;
  const program *p = memory || needs_kernels(&x) ? lower_to_tiles(a, g, &own) : NULL;
  if (p) e->memory = program_temporaries(p);
  const lowered_kernel *lowered = lowered_kernels(&x, p, groups, count, ask, ctx);
  for (int i = 0; i < count; i++) add_kernel(&x, &groups[i], &lowered[i]);
  for (int i = 0; i < g->nparams; i++) e->needed_bytes += x.param_bytes[i];
  return e;
}

double predicted_seconds(arena *a, const graph *g, const pass_options *options) {
  pass_options own = *options;
  own.choices = NULL;
  own.schedule = (str){0};
  return explain_graph(a, g, &own, false, NULL, NULL)->seconds;
}

explanation *graph_explain(arena *a, const graph *g, const pass_options *options, explain_ask *ask,
                           void *ctx) {
  return explain_graph(a, g, options, true, ask, ctx);
}
