// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The walk from y to x. Nodes are visited once, in descending order: when one is reached, everything
// that uses it has given its contribution.
#include "ir/grad.h"

#include "base/fault.h"
#include "ir/grad_rules.h"
#include "ir/grad_view.h"

static const grad_row rows[OP_COUNT] = {
#define PARTIALS(op, ...) [OP_##op] = {GRAD_PARTIALS, {__VA_ARGS__}},
#define RULE(op) [OP_##op] = {GRAD_RULE, {0}},
#define FLAT(op) [OP_##op] = {GRAD_FLAT, {0}},
#define CONSTANT(op) [OP_##op] = {GRAD_CONSTANT, {0}},
#define NONE(op) [OP_##op] = {GRAD_NONE, {0}},
#include "ir/derivatives.def"
#undef PARTIALS
#undef RULE
#undef FLAT
#undef CONSTANT
#undef NONE
};

const grad_row *grad_row_of(op o) { return &rows[o]; }

dtype grad_type(dtype t) { return t == DT_f64 ? DT_f64 : DT_f32; }

// ---- building

node *grad_number(gradient *d, double v, dtype t) { return graph_const_float(d->g, t, v); }

node *grad_sum_present(graph *g, node *n, const int *axes, int naxes) {
  int present[MAX_AXES], count = 0;
  for (int k = 0; k < naxes; k++)
    if (node_has_axis(n, axes[k])) present[count++] = axes[k];
  return count ? graph_reduce(g, OP_sum, n, present, count) : n;
}

node *grad_value(gradient *d, cotangent c) {
  if (!c.mask) return c.value;
  return graph_where(d->g, c.mask, c.value, grad_number(d, 0, c.value->type));
}

// ---- contributions

bool grad_wants(const gradient *d, const node *n, int k) { return d->open[n->in[k]->id]; }

void grad_fail(gradient *d, const node *n) {
  if (!d->out->failed) d->out->failed = n;
}

static void fail_of_axes(gradient *d, const node *n, int axes) {
  d->out->axes = axes;
  grad_fail(d, n);
}

static cotangent sum_repeated(gradient *d, const node *n, cotangent c, const int *over, int nover) {
  graph *g = d->g;
  int summed[2 * MAX_AXES], nsummed = 0;
  ix equal = ix_const(&g->ix, 1);  // elements along axes that it does not vary along
  for (int k = 0; k < nover; k++) {
    if (node_has_axis(n, over[k]) || axes_have(over, k, over[k])) continue;
    bool varies = node_has_axis(c.value, over[k]) || (c.mask && node_has_axis(c.mask, over[k]));
    if (varies) summed[nsummed++] = over[k];
    else equal = ix_mul(&g->ix, equal, graph_axis_size(g, over[k]));
  }
  if (nsummed)
    c = (cotangent){graph_reduce(g, OP_sum, grad_value(d, c), summed, nsummed),
                    grad_mask_over(d, n, c.mask, summed, nsummed)};
  c.value = sum_of_equal(g, c.value, equal);
  return c;
}

/// 1 + the number of the streamed block that the nodes of a contract are of, or of a derivative of; 0 none.
static int block_of(const graph *g, int number) {
  if (!number) return 0;
  const contract *c = &g->contracts.data[number - 1];
  return c->of ? c->of : c->streamed ? number : 0;
}

/// The derivative that is being computed belongs to a streamed block, and n does not.
static bool leaves_block(const gradient *d, const node *n) {
  int derived = d->g->contract;
  int block = derived ? d->g->contracts.data[derived - 1].of : 0;
  return block && block_of(d->g, n->contract) != block;
}

void grad_give(gradient *d, node *n, cotangent c, const int *over, int nover) {
  if (!d->open[n->id] || !c.value) return;
  // The mask may be of the inside of the block, and is applied there.
  if (c.mask && leaves_block(d, n)) c = (cotangent){grad_value(d, c), NULL};
  if (c.value->type != grad_type(n->type)) c.value = graph_cast(d->g, c.value, grad_type(n->type));
  c = sum_repeated(d, n, c, over, nover);
  cotangent *sum = &d->of[n->id];
  if (!sum->value) {
    *sum = c;
  } else if (sum->mask == c.mask) {
    sum->value = graph_binary(d->g, OP_add, sum->value, c.value);
  } else {
    node *before = grad_value(d, *sum), *more = grad_value(d, c);
    *sum = (cotangent){graph_binary(d->g, OP_add, before, more),
                       grad_mask_of_both(d, n, sum->mask, c.mask)};
  }
}

// ---- the walk

static const grad_custom *custom_of(const gradient *d, const node *n) {
  bool asked = n->op == OP_call || n->flags & NODE_CUSTOM;
  return asked && d->options->custom ? d->options->custom(d->options->ctx, n) : NULL;
}

static bool custom_is_open(const gradient *d, const grad_custom *c) {
  for (int k = 0; k < c->n; k++)
    if (d->open[c->of[k]->id]) return true;
  return false;
}

/// Some x is reached from n through operands of which n is a function.
static bool passes_on(const gradient *d, const node *n) {
  const grad_row *row = grad_row_of(n->op);
  const grad_custom *custom = custom_of(d, n);
  if (n->flags & NODE_STOP || !dtype_is_float(n->type)) return false;
  if (custom) return custom_is_open(d, custom);
  if (row->kind == GRAD_CONSTANT || row->kind == GRAD_FLAT) return false;
  for (int k = 0; k < n->nin; k++) {
    if (!d->open[n->in[k]->id]) continue;
    if (row->kind != GRAD_PARTIALS || row->partials[k][0]) return true;
  }
  return false;
}

/// As passes_on(), through flat ops too.
static bool *reached_flatly(const gradient *d, node *x, arena *a) {
  bool *open = arena_array(a, bool, d->count);
  open[x->id] = true;
  for (int id = x->id + 1; id < d->count; id++) {
    const node *n = d->g->nodes.data[id];
    if (n->flags & NODE_STOP || !dtype_is_float(n->type)) continue;
    for (int k = 0; k < n->nin; k++) open[id] |= open[n->in[k]->id];
  }
  return open;
}

static void visit_cast(gradient *d, node *n, cotangent c) {
  grad_give(d, n->in[0], c, n->axes, n->naxes);
}

static void visit_view(gradient *d, node *n, cotangent c) {
  node *gy = grad_value(d, c);
  if (grad_wants(d, n, 0)) {
    // Views keep the axes that their operand has, so nothing is repeated here.
    cotangent gives = {view_transpose(d->g, n, gy, NULL), grad_mask_through(d, n, c.mask)};
    if (!gives.value) fail_of_axes(d, n, MAX_AXES + 1);
    grad_give(d, n->in[0], gives, NULL, 0);
  }
  if (n->op == OP_pad && grad_wants(d, n, 1))
    grad_give(d, n->in[1], (cotangent){pad_transpose_fill(d->g, n, gy), NULL}, NULL, 0);
}

static void visit_custom(gradient *d, node *n, const grad_custom *custom, cotangent c) {
  node **gives = arena_array(d->g->arena, node *, custom->n);
  if (!d->options->apply(d->options->ctx, n, grad_value(d, c), gives)) {
    d->out->reported = true;
    grad_fail(d, n);
    return;
  }
  for (int k = 0; k < custom->n; k++)
    grad_give(d, custom->of[k], (cotangent){gives[k], NULL}, NULL, 0);
}

static void visit_rule(gradient *d, node *n, cotangent c) {
  switch (op_get(n->op)->class) {
    case CLASS_map: visit_cast(d, n, c); return;
    case CLASS_reduce: grad_reduce(d, n, c); return;
    case CLASS_contraction: grad_dot(d, n, c); return;
    case CLASS_scan: grad_scan(d, n, c); return;
    case CLASS_view: visit_view(d, n, c); return;
    case CLASS_gather: grad_gather(d, n, c); return;
    case CLASS_scatter: grad_scatter(d, n, c); return;
    case CLASS_opaque: grad_fail(d, n); return;
    case CLASS_leaf: return;
  }
}

/// Where the graph rounds a value to 16 bits, its cotangent is rounded too: what is kept and moved of
/// it has the size that the program chose. All contributions are added before.
static cotangent rounded(gradient *d, const node *n, cotangent c) {
  if (d->options->exact || !dtype_is_storage(n->type)) return c;
  c.value = graph_cast(d->g, graph_cast(d->g, c.value, n->type), c.value->type);
  return c;
}

static void visit_row(gradient *d, node *n, cotangent c) {
  switch (grad_row_of(n->op)->kind) {
    case GRAD_PARTIALS: grad_map(d, n, c); return;
    case GRAD_RULE: visit_rule(d, n, c); return;
    case GRAD_NONE: grad_fail(d, n); return;
    case GRAD_FLAT:
    case GRAD_CONSTANT: return;
  }
}

/// What the builders put into node.contract for a derivative of n: for one of a streamed block a contract of
/// its own (ir/grad_stream.c), unless grad() itself is in the block.
static int contract_for(gradient *d, const node *n) {
  graph *g = d->g;
  int of = block_of(g, n->contract);
  if (!of || n->contract == d->contract) return d->contract;
  for (int k = d->ncontracts; k < g->contracts.len; k++)
    if (g->contracts.data[k].of == of) return k + 1;
  const contract *block = &g->contracts.data[of - 1];
  contract made = {.gradient = true,
                   .of = of,
                   .at = block->at,
                   .asked = d->options->at,
                   .ncalls = block->ncalls,
                   .calls = block->calls};
  return 1 + graph_add_contract(g, made);
}

/// The most axes of a value that the derivative of n is made of: those of n, or of an operand, and the further
/// ones of the seed.
static int axes_needed(const gradient *d, const node *n, cotangent c) {
  int all[6 * MAX_AXES], count = n->naxes, most, further = 0;
  const node *given[2] = {c.value, c.mask};
  memcpy(all, n->axes, sizeof(int) * (size_t)count);
  for (int i = 0; i < 2; i++)
    for (int k = 0; given[i] && k < given[i]->naxes; k++)
      if (!axes_have(all, count, given[i]->axes[k])) all[count++] = given[i]->axes[k], further++;
  most = count;
  for (int i = 0; i < n->nin; i++) {
    op_class class = op_get(n->op)->class;
    bool by_index = class == CLASS_scatter || class == CLASS_gather;  // which walks the axes of all
    if (d->open[n->in[i]->id] && n->in[i]->naxes + further > most) most = n->in[i]->naxes + further;
    for (int k = 0; by_index && k < n->in[i]->naxes; k++)
      if (!axes_have(all, count, n->in[i]->axes[k])) all[count++] = n->in[i]->axes[k];
    if (by_index && count > most) most = count;
  }
  return most;
}

static void visit(gradient *d, node *n) {
  cotangent c = d->of[n->id];
  if (!c.value || !passes_on(d, n)) return;
  int axes = axes_needed(d, n, c);
  if (axes > MAX_AXES) {
    fail_of_axes(d, n, axes);
    return;
  }
  d->g->contract = contract_for(d, n);
  int first = d->g->nodes.len;
  const grad_custom *custom = custom_of(d, n);
  c = rounded(d, n, c);
  if (custom) visit_custom(d, n, custom, c);
  else visit_row(d, n, c);
  for (int id = first; id < d->g->nodes.len; id++) d->g->nodes.data[id]->at = n->at;
  d->g->contract = d->contract;
}

// ---- the seed's further axes

typedef struct renaming {
  int from[MAX_AXES], to[MAX_AXES], n;
} renaming;

/// A value between x and y may have a further axis of the seed: for it they are two axes.
static renaming rename_further(graph *g, const node *y, const node *seed) {
  renaming r = {.n = 0};
  for (int k = 0; k < seed->naxes; k++) {
    if (node_has_axis(y, seed->axes[k])) continue;
    r.from[r.n] = seed->axes[k];
    r.to[r.n++] =
        graph_add_axis(g, g->axes.data[seed->axes[k]].name, graph_axis_size(g, seed->axes[k]));
  }
  return r;
}

/// The cotangent as a result: all axes of x in its order, then the further ones.
static node *finished(gradient *d, const node *x, cotangent c, const renaming *r) {
  graph *g = d->g;
  int axes[MAX_AXES], naxes = x->naxes;
  memcpy(axes, x->axes, sizeof(int) * (size_t)x->naxes);
  node *v = c.value ? grad_value(d, c) : grad_number(d, 0, grad_type(x->type));
  for (int k = 0; k < r->n; k++) {
    check(naxes < MAX_AXES);
    axes[naxes++] = r->to[k];
  }
  v = graph_reorder(g, graph_spread(g, v, axes, naxes), axes);
  return graph_rename(g, v, r->to, r->from, r->n);
}

static void find_open(gradient *d, node *const *x, int nx) {
  for (int i = 0; i < nx; i++) d->open[x[i]->id] = d->is_x[x[i]->id] = true;
  for (int id = 0; id < d->count; id++)
    if (!d->open[id]) d->open[id] = passes_on(d, d->g->nodes.data[id]);
}

static int phase_above(node *const *n, int count, int phase) {
  for (int i = 0; i < count; i++)
    if (phase < n[i]->phase) phase = n[i]->phase;
  return phase;
}

/// seeds: by y; their axes beside those of y are renamed.
static bool differentiate(graph *g, node *const *y, node *const *seeds, int ny, node *const *x,
                          int nx, const renaming *r, const grad_options *options,
                          grad_result *out) {
  static const grad_options plain = {0};
  gradient d = {.g = g,
                .options = options ? options : &plain,
                .out = out,
                .count = g->nodes.len,
                .contract = g->contract,
                .ncontracts = g->contracts.len};
  int last = -1;
  *out = (grad_result){.dx = arena_array(g->arena, node *, nx),
                       .reached = arena_array(g->arena, bool, nx),
                       .flat = arena_array(g->arena, bool, nx)};
  d.of = arena_array(g->arena, cotangent, d.count);
  d.open = arena_array(g->arena, bool, d.count);
  d.is_x = arena_array(g->arena, bool, d.count);
  d.fragile = arena_array(g->arena, bool, d.count);
  find_open(&d, x, nx);
  grad_find_fragile(&d);
  for (int k = 0; k < ny; k++) {
    grad_give(&d, y[k], (cotangent){seeds[k], NULL}, NULL, 0);
    if (y[k]->id > last) last = y[k]->id;
  }
  for (int id = last; id >= 0 && !out->failed; id--) visit(&d, g->nodes.data[id]);
  for (int i = 0; i < nx && !out->failed; i++) {
    out->reached[i] = d.of[x[i]->id].value;
    const bool *flatly = out->reached[i] ? NULL : reached_flatly(&d, x[i], g->arena);
    for (int k = 0; flatly && k < ny; k++) out->flat[i] |= x[i]->id <= y[k]->id && flatly[y[k]->id];
    out->dx[i] = finished(&d, x[i], d.of[x[i]->id], r);
  }
  return !out->failed;
}

bool graph_grad(graph *g, node *y, node *const *x, int nx, node *seed, const grad_options *options,
                grad_result *out) {
  int phase = g->phase, above = phase_above(x, nx, y->phase);
  g->phase = above < MAX_PHASE ? above + 1 : MAX_PHASE;
  if (!seed) seed = graph_const_float(g, grad_type(y->type), 1);
  renaming r = rename_further(g, y, seed);
  seed = graph_rename(g, seed, r.from, r.to, r.n);
  bool done = differentiate(g, &y, &seed, 1, x, nx, &r, options, out);
  g->phase = phase;
  return done;
}

bool graph_grad_of_all(graph *g, node *const *y, node *const *seeds, int ny, node *const *x, int nx,
                       const grad_options *options, grad_result *out) {
  static const renaming none = {.n = 0};
  int phase = g->phase, above = phase_above(x, nx, phase_above(y, ny, 0));
  g->phase = above < MAX_PHASE ? above + 1 : MAX_PHASE;
  bool done = differentiate(g, y, seeds, ny, x, nx, &none, options, out);
  g->phase = phase;
  return done;
}
